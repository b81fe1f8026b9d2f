#include "remote/text.h"

#include <string.h>

static const char too_long[] = "it is longer than 1024 bytes in all";

static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'
           || c == '_' || c == '.' || c == '~';
}

static void add_encoded(struct buf *out, struct str id)
{
    for (size_t i = 0; i < id.len; i++) {
        unsigned char c = (unsigned char)id.at[i];
        if (is_plain(c))
            buf_add(out, &id.at[i], 1);
        else
            buf_addf(out, "%%%02X", c);
    }
}

static int digit_of(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* Visible, and as it is in JSON and in a line. */
static bool is_in_ids(char c)
{
    return c > ' ' && (unsigned char)c < 127 && c != '"' && c != '\\';
}

enum err remote_text_decode(struct str encoded, struct buf *out)
{
    for (size_t i = 0; i < encoded.len; i++) {
        char c = encoded.at[i];
        if (c == '%') {
            int high = i + 2 < encoded.len ? digit_of(encoded.at[i + 1]) : -1;
            int low = i + 2 < encoded.len ? digit_of(encoded.at[i + 2]) : -1;
            if (high < 0 || low < 0)
                return ERR_MALFORMED;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (!is_in_ids(c))
            return ERR_MALFORMED;
        if (buf_add(out, &c, 1) != ERR_OK)
            return ERR_NOMEM;
    }
    return ERR_OK;
}

/* ---- writing ------------------------------------------------------------------------------- */
static const char *url_fault(struct str url, const char *without)
{
    if (url.len == 0)
        return "it needs a url";
    for (size_t i = 0; i < url.len; i++)
        if ((unsigned char)url.at[i] <= ' ' || (unsigned char)url.at[i] >= 127)
            return "url: no blanks, and only ASCII";
        else if (strchr(without, url.at[i]) != NULL)
            return "url: the base address, without a query and a fragment";
    return NULL;
}

static struct str without_slashes(struct str url)
{
    while (url.len > 0 && url.at[url.len - 1] == '/')
        url.len--;
    return url;
}

static const char *id_fault(struct str id, const char *missing)
{
    if (id.len == 0)
        return missing;
    for (size_t i = 0; i < id.len; i++)
        if (!is_in_ids(id.at[i]))
            return "an id has no blanks, quotes, backslashes, and only ASCII";
    return id.len <= REMOTE_ID_MAX ? NULL : "an id has at most 256 bytes";
}

static const char *write_langgraph(const struct remote_work *work, struct buf *out)
{
    const char *fault = url_fault(work->url, "?#");
    if (fault == NULL)
        fault = id_fault(work->thread_id, "langgraph needs a thread_id");
    if (fault == NULL)
        fault = id_fault(work->run_id, "langgraph needs a run_id");
    if (fault != NULL)
        return fault;
    buf_add_str(out, without_slashes(work->url));
    buf_add_text(out, "/threads/");
    add_encoded(out, work->thread_id);
    buf_add_text(out, "/runs/");
    add_encoded(out, work->run_id);
    return NULL;
}

static const char *write_a2a(const struct remote_work *work, struct buf *out)
{
    static const char *const versions[] = {"", "&version=0.3", "&version=1.0"};
    static const char *const bindings[] = {"", "&binding=jsonrpc", "&binding=rest"};
    const char *fault = url_fault(work->url, "#");
    if (fault == NULL)
        fault = id_fault(work->task_id, "a2a needs a task_id");
    if (fault != NULL)
        return fault;
    buf_add_str(out, work->url);
    buf_add_text(out, "#task=");
    add_encoded(out, work->task_id);
    buf_add_text(out, versions[work->version]);
    buf_add_text(out, bindings[work->binding]);
    return NULL;
}

static const char *write_http(const struct remote_work *work, struct buf *out)
{
    const char *fault = url_fault(work->url, "#");
    if (fault != NULL)
        return fault;
    for (size_t i = 0; i < work->method.len; i++)
        if (work->method.at[i] < 'A' || work->method.at[i] > 'Z'
            || work->method.len > REMOTE_METHOD_MAX)
            return "method: such as POST, PUT or DELETE";
    if (work->method.len > 0 && !str_is(work->method, "POST")) {
        buf_add_str(out, work->method);
        buf_add_text(out, " ");
    }
    buf_add_str(out, work->url);
    if (work->body.len > 0) {
        buf_add_text(out, "\n");
        buf_add_str(out, work->body);
    }
    return NULL;
}

const char *remote_text_write(const struct remote_work *work, struct buf *out)
{
    size_t before = out->len;
    const char *fault = work->kind == LINK_LANGGRAPH ? write_langgraph(work, out)
                        : work->kind == LINK_A2A     ? write_a2a(work, out)
                                                     : write_http(work, out);
    if (fault == NULL && (out->failed || out->len - before > TEXT_MAX_BYTES))
        fault = too_long;
    if (fault != NULL)
        buf_cut(out, before);
    return fault;
}

/* ---- reading ------------------------------------------------------------------------------- */
static bool read_langgraph(struct str text, struct remote_work *out)
{
    static const char threads[] = "/threads/", runs[] = "/runs/";
    struct str rest = text;
    size_t len = strlen(threads), at = text.len; /* the last one: no id holds a slash */
    while (at > 0 && (at + len > text.len || memcmp(text.at + at, threads, len) != 0))
        at--;
    if (at == 0)
        return false;
    out->url = (struct str){text.at, at};
    rest.at += at + len;
    rest.len -= at + len;
    out->thread_id = str_cut(&rest, '/');
    if (rest.at == NULL || rest.len < strlen(runs) - 1
        || memcmp(rest.at, runs + 1, strlen(runs) - 1) != 0)
        return false;
    out->run_id = (struct str){rest.at + strlen(runs) - 1, rest.len - (strlen(runs) - 1)};
    return out->thread_id.len > 0 && out->run_id.len > 0
           && memchr(out->run_id.at, '/', out->run_id.len) == NULL;
}

static bool read_a2a(struct str text, struct remote_work *out)
{
    struct str rest = text;
    out->url = str_cut(&rest, '#');
    while (rest.at != NULL) {
        struct str value = str_cut(&rest, '&');
        struct str name = str_cut(&value, '=');
        if (str_is(name, "task"))
            out->task_id = value;
        else if (str_is(name, "version"))
            out->version = str_is(value, "0.3") ? A2A_0_3 : A2A_1_0;
        else if (str_is(name, "binding"))
            out->binding = str_is(value, "rest") ? A2A_REST : A2A_JSONRPC;
    }
    return out->task_id.len > 0;
}

static bool read_http(struct str text, struct remote_work *out)
{
    struct str body = text, url = str_cut(&body, '\n');
    struct str rest = url, method = str_cut(&rest, ' ');
    out->url = rest.at != NULL ? rest : url;
    out->method = rest.at != NULL ? method : STR("POST");
    out->body = body.at != NULL ? body : STR_NONE;
    return out->method.len > 0 && out->method.len <= REMOTE_METHOD_MAX;
}

bool remote_text_read(enum link_kind kind, struct str text, struct remote_work *out)
{
    *out = (struct remote_work){.kind = kind};
    if (text.len == 0 || text.len > TEXT_MAX_BYTES)
        return false;
    bool is_read = kind == LINK_LANGGRAPH ? read_langgraph(text, out)
                   : kind == LINK_A2A     ? read_a2a(text, out)
                   : kind == LINK_HTTP    ? read_http(text, out)
                                          : false;
    return is_read && out->url.len > 0;
}
