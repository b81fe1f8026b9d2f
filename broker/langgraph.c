/* Which route, what is in its query, how it refuses. */
#include "broker/langgraph.h"

#include <strings.h>

const char langgraph_unknown[] = "Run not found";

/* ---- refusals ----------------------------------------------------------------------------------
 */
void langgraph_refuse(struct http_request *request, unsigned status, const char *detail)
{
    static const char *const later[] = {"Retry-After", "1", NULL};
    static const char *const too_much[] = {"Retry-After", "1", "Connection", "close", NULL};
    json_t *json = json_object();
    api_set(json, "detail", api_text(str_of(detail)));
    http_answer_json(request, status, json,
                     status == 429   ? too_much
                     : status == 503 ? later
                                     : NULL);
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

/* ---- routes ------------------------------------------------------------------------------------
 */
static const struct {
    const char *method, *path;
    langgraph_route *serve;
    bool has_thread, has_run;
} routes[] = {
    {"POST", "/threads/{id}/runs/{id}/cancel", langgraph_cancel, true, true},
    {"POST", "/runs/cancel", langgraph_cancel_many, false, false},
    {"GET", "/threads/{id}/runs", langgraph_list, true, false},
    {"GET", "/threads/{id}/runs/{id}", langgraph_get, true, true},
    {"DELETE", "/threads/{id}/runs/{id}", langgraph_delete, true, true},
    {"GET", "/threads/{id}/runs/{id}/join", langgraph_join, true, true},
    {"GET", "/threads/{id}/runs/{id}/stream", langgraph_stream, true, true},
    {"GET", "/runs/{id}/stream", langgraph_stream, false, true},
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

static void serve(struct brokerd *d, struct http_request *request, size_t route,
                  const struct str part[API_PARTS_MAX])
{
    size_t next = 0;
    struct str thread = routes[route].has_thread ? part[next++] : STR_NONE;
    struct str run = routes[route].has_run ? part[next] : STR_NONE;
    if (routes[route].has_thread && (thread.len == 0 || thread.len > TEXT_MAX_BYTES))
        langgraph_refuse(request, 422, "thread_id must have 1 to 1024 bytes");
    else if (routes[route].has_run && !id_is_valid(run))
        langgraph_refuse(request, 422, "run_id must be 1 to 64 of A-Z a-z 0-9 _ -, a UUID for one");
    else
        routes[route].serve(d, request, thread, run);
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
            serve(d, request, i, part);
            return true;
        }
    }
    langgraph_refuse(request, knows_path ? 405 : 404,
                     knows_path ? "Method Not Allowed" : "Not Found");
    return true;
}
