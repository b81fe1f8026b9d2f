/* Which route, what is in its query, how it refuses; which run is meant. */
#include "broker/langgraph.h"

#include <strings.h>

#include "base/mem.h"
#include "wire/message.h"

const char langgraph_unknown[] = "Run not found";

/* ---- refusals ----------------------------------------------------------------------------------
 */
void langgraph_refuse(struct http_request *request, unsigned status, const char *detail)
{
    static const char *const later[] = {"Retry-After", "1", NULL};
    json_t *json = json_object();
    api_set(json, "detail", api_text(str_of(detail)));
    http_answer_json(request, status, json, status == 429 || status == 503 ? later : NULL);
}

void langgraph_refuse_problem(struct http_request *request, enum problem problem,
                              const char *detail)
{
    unsigned status = problem_status(problem);
    if (status == 409) /* LangGraph knows it for deadlocks alone */
        status = 404;
    langgraph_refuse(request, status, detail != NULL ? detail : problem_title(problem));
}

/* ---- queries -----------------------------------------------------------------------------------
 */
static bool is_word(struct str text, const char *word)
{
    return text.len == strlen(word) && strncasecmp(text.at, word, text.len) == 0;
}

bool langgraph_query_flag(struct http_request *request, const char *name, bool *out)
{
    struct str text = http_query(request, name);
    char detail[96];
    bool is_no =
        text.len == 0 || is_word(text, "0") || is_word(text, "false") || is_word(text, "continue");
    bool is_yes =
        text.len > 0 && (is_word(text, "1") || is_word(text, "true") || is_word(text, "cancel"));
    *out = is_yes;
    if (is_no || is_yes)
        return true;
    snprintf(detail, sizeof detail, "%s must be 0, 1, false or true", name);
    langgraph_refuse(request, 422, detail);
    return false;
}

bool langgraph_query_action(struct http_request *request, enum action *out)
{
    struct str text = http_query(request, "action");
    *out = ACTION_INTERRUPT;
    if (text.len == 0 || action_of_name(text, out))
        return true;
    langgraph_refuse(request, 422, "action must be interrupt or rollback");
    return false;
}

/* ---- which run is meant ------------------------------------------------------------------------
 */
static void find_free(struct read *read)
{
    struct langgraph_find *find = (struct langgraph_find *)read;
    mem_free(find->thread);
    mem_free(find);
}

void *langgraph_find_open(struct brokerd *d, struct http_request *request, size_t bytes,
                          struct str thread, struct str run)
{
    struct langgraph_find *find = read_open(d, request, bytes, find_free);
    if (find == NULL)
        return NULL;
    find->unknown = langgraph_unknown;
    find->thread = thread.at != NULL ? mem_copy(thread) : NULL;
    if (id_parse(run, &find->run) && (thread.at == NULL) == (find->thread == NULL))
        return find;
    langgraph_refuse(request, 503, "out of memory"); /* the router has checked the id */
    read_end(&find->read);
    return NULL;
}

static void not_found(struct langgraph_find *find)
{
    langgraph_refuse(find->read.pending.request, 404, find->unknown);
    read_end(&find->read);
}

static void on_meta(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct langgraph_find *find = owner;
    struct run_meta meta;
    (void)token;
    if (read_failed(&find->read, answer))
        return;
    bool is_there = answer->verdict == SAID_OK && wire_meta_decode(answer->text, &meta) == ERR_OK;
    if (is_there && (find->thread == NULL || str_is(meta.thread, find->thread)))
        find->found(find);
    else
        not_found(find);
}

static void read_meta(struct langgraph_find *find)
{
    struct store_call call = {
        .op = STORE_META_READ, .root = id_str(&find->root), .run = id_str(&find->run)};
    read_call(&find->read, &call, on_meta);
}

static void on_root(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct langgraph_find *find = owner;
    (void)token;
    if (read_failed(&find->read, answer))
        return;
    if (answer->verdict == SAID_OK && id_parse(answer->text, &find->root))
        read_meta(find);
    else
        not_found(find);
}

void langgraph_find(struct langgraph_find *find, void (*found)(struct langgraph_find *find))
{
    struct str run = id_str(&find->run);
    find->found = found;
    if (id_parse(id_minted_root(run), &find->root))
        read_meta(find);
    else
        read_call(&find->read, &(struct store_call){.op = STORE_FIND_READ, .id = run}, on_root);
}

/* ---- routes ------------------------------------------------------------------------------------
 */
static const struct {
    const char *method, *path;
    langgraph_route *serve;
} routes[] = {
    {"POST", "/threads/{id}/runs/{id}/cancel", langgraph_cancel},
    {"GET", "/threads/{id}/runs/{id}", langgraph_get},
    {"GET", "/threads/{id}/runs/{id}/join", langgraph_join},
    {"GET", "/threads/{id}/runs/{id}/stream", langgraph_stream},
    {"GET", "/runs/{id}/stream", langgraph_stream},
};

static bool begins_with(struct str path, const char *word)
{
    size_t len = strlen(word);
    return path.len >= len && memcmp(path.at, word, len) == 0
           && (path.len == len || path.at[len] == '/');
}

static bool is_ours(struct str path)
{
    return begins_with(path, "/threads") || begins_with(path, "/runs");
}

/* Without a thread in the path, the one id is the run's. */
static void serve(struct brokerd *d, struct http_request *request, langgraph_route *route,
                  const struct str part[API_PARTS_MAX])
{
    bool has_both = part[1].at != NULL;
    struct str thread = has_both ? part[0] : STR_NONE, run = has_both ? part[1] : part[0];
    if (has_both && (thread.len == 0 || thread.len > TEXT_MAX_BYTES))
        langgraph_refuse(request, 422, "thread_id must have 1 to 1024 bytes");
    else if (!id_is_valid(run))
        langgraph_refuse(request, 422, "run_id must be 1 to 64 of A-Z a-z 0-9 _ -, a UUID for one");
    else
        route(d, request, thread, run);
}

bool langgraph_serves(struct brokerd *d, struct http_request *request)
{
    struct str path = http_path(request);
    bool knows_path = false;
    if (!is_ours(path))
        return false;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        struct str part[API_PARTS_MAX] = {{NULL, 0}};
        if (!api_path_fits(routes[i].path, path, part))
            continue;
        knows_path = true;
        if (str_is(http_method(request), routes[i].method)) {
            serve(d, request, routes[i].serve, part);
            return true;
        }
    }
    langgraph_refuse(request, knows_path ? 405 : 404,
                     knows_path ? "Method Not Allowed" : "Not Found");
    return true;
}
