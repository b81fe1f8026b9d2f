/* Work in another program, as a stop target or a link names it: JSON -> lib/remote's text. */
#include "agentd/inside.h"

#include <stdio.h>

struct misplaced {
    bool is_given;
    enum link_kind belongs_to;
    const char *member;
};

/* Whoever names a task of LangGraph means something else than what would be done. */
static bool fits(enum link_kind kind, const struct work_members *asked, struct api_fault *fault)
{
    const struct misplaced members[] = {
        {asked->thread_id.len > 0, LINK_LANGGRAPH, "thread_id"},
        {asked->run_id.len > 0, LINK_LANGGRAPH, "run_id"},
        {asked->task_id.len > 0, LINK_A2A, "task_id"},
        {asked->version >= 0, LINK_A2A, "version"},
        {asked->binding >= 0, LINK_A2A, "binding"},
        {asked->method.len > 0, LINK_HTTP, "method"},
        {asked->body.len > 0, LINK_HTTP, "body"},
    };
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        if (members[i].is_given && members[i].belongs_to != kind)
            return api_fault(fault, PROBLEM_INVALID, members[i].member,
                             "%s belongs to %s%s, not to %s", members[i].member,
                             members[i].belongs_to == LINK_HTTP ? "plain " : "",
                             link_kind_name(members[i].belongs_to), link_kind_name(kind));
    return true;
}

/* ---- headers ------------------------------------------------------------------------------- */
static bool is_header_name(const char *name)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    return name[0] != '\0' && strspn(name, letters) == strlen(name);
}

static bool is_header_value(struct str value)
{
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.at[i] < ' ' || value.at[i] == 127)
            return false;
    return true;
}

/* What says where a message ends is libcurl's to say. */
static bool is_ours(const char *name)
{
    static const char *const ours[] = {"host", "content-length", "transfer-encoding", "connection"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (strcasecmp(name, ours[i]) == 0)
            return true;
    return false;
}

static bool take_headers(const json_t *headers, struct work_room *room, struct api_fault *fault)
{
    const char *name;
    json_t *json;
    size_t len = 0;
    room->headers[0] = '\0';
    json_object_foreach((json_t *)headers, name, json)
    {
        struct str value = {json_string_value(json), json_string_length(json)};
        if (!is_header_name(name) || is_ours(name) || value.at == NULL || !is_header_value(value))
            return api_fault(fault, PROBLEM_INVALID, "headers",
                             "headers holds names and texts of one line, without Host, "
                             "Content-Length, Transfer-Encoding and Connection");
        int more = snprintf(room->headers + len, sizeof room->headers - len, "%s: %.*s\n", name,
                            (int)value.len, value.at);
        if (more < 0 || (len += (size_t)more) >= sizeof room->headers)
            return api_fault(fault, PROBLEM_INVALID, "headers", "headers: at most 1024 bytes");
    }
    return true;
}

/* ---- all of it ----------------------------------------------------------------------------- */
static bool write_text(enum link_kind kind, const struct work_members *asked,
                       struct work_room *room, struct api_fault *fault)
{
    const struct remote_work work = {
        .kind = kind,
        .url = asked->url,
        .thread_id = asked->thread_id,
        .run_id = asked->run_id,
        .task_id = asked->task_id,
        .version = (enum a2a_version)(asked->version + 1),
        .binding = (enum a2a_binding)(asked->binding + 1),
        .method = asked->method,
        .body = asked->body,
    };
    struct buf text = {0};
    const char *wrong = remote_text_write(&work, &text);
    if (wrong == NULL)
        snprintf(room->to, sizeof room->to, "%.*s", (int)text.len, text.bytes);
    buf_fini(&text);
    return wrong == NULL || api_fault(fault, PROBLEM_INVALID, "url", "%s", wrong);
}

bool work_take(struct agentd *d, enum link_kind kind, const struct work_members *asked,
               struct work_room *room, struct api_fault *fault)
{
    if (!fits(kind, asked, fault) || !take_headers(asked->headers, room, fault)
        || !write_text(kind, asked, room, fault))
        return false;
    const char *wrong = http_url_fault(d->call_hosts, asked->url);
    return wrong == NULL || api_fault(fault, PROBLEM_INVALID, "url", "url: %s", wrong);
}
