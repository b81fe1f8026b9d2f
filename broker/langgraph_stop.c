/* POST /threads/{thread}/runs/{run}/cancel: told at once, and with wait=1 answered when it has
 * stopped. */
#include "base/mem.h"
#include "broker/langgraph.h"

const char langgraph_not_cancelable[] = "Some runs were not found or not cancelable";

/* ---- the answer --------------------------------------------------------------------------------
 */
struct stop {
    struct pending pending; /* first */
    struct brokerd *daemon;
    uint64_t ask;
};

static void stop_hung_up(struct pending *pending)
{
    struct stop *stop = (struct stop *)pending;
    struct brokerd *d = stop->daemon;
    uint64_t ask = stop->ask;
    mem_free(stop);
    ask_abandon(d, ask);
}

/* Its cancel is over: production, by its documentation, refuses another one; what we saw of other
 * servers does not. */
static bool is_refused_as_cancelled(const struct brokerd *d, const struct cancel_result *result)
{
    bool was_cancelled = result->already || result->covered_by.len > 0;
    return d->settings->langgraph_already_cancelled == 1 && was_cancelled
           && run_is_over(result->target_state);
}

bool langgraph_is_not_cancelable(const struct brokerd *d, const struct cancel_result *result)
{
    return result->problem == PROBLEM_NOT_FOUND || result->problem == PROBLEM_NOT_CANCELABLE
           || result->problem == PROBLEM_RUN_ID_TAKEN
           || (result->problem == PROBLEM_NONE && is_refused_as_cancelled(d, result));
}

static void stop_answered(void *owner, const struct cancel_result *result)
{
    struct stop *stop = owner;
    struct brokerd *d = stop->daemon;
    struct http_request *request = stop->pending.request;
    mem_free(stop);
    if (langgraph_is_not_cancelable(d, result))
        langgraph_refuse(request, 404, langgraph_not_cancelable);
    else if (result->problem != PROBLEM_NONE)
        langgraph_refuse_problem(request, result->problem, result->detail);
    else
        http_answer(request, result->wait == WAIT_STOPPED && result->awaited ? 204 : 202, NULL,
                    STR_NONE, NULL);
}

/* ---- the question ------------------------------------------------------------------------------
 */
struct stop_find {
    struct langgraph_find find; /* first */
    enum action action;
    bool wait;
};

struct cancel_ask langgraph_ask(struct brokerd *d, const struct run_id *root,
                                const struct run_id *run)
{
    return (struct cancel_ask){
        .root = id_str(root),
        .run = id_str(run),
        .by = STR("user:langgraph"),
        .grace = SPAN_NONE,
        .timeout = d->settings->langgraph_wait,
        .expect_at_most = -1,
        .include_self = true,
        .durability = (enum durability)d->settings->durability,
        .follow_links = true,
    };
}

static void on_found(struct langgraph_find *find)
{
    struct stop_find *asked = (struct stop_find *)find;
    struct brokerd *d = find->read.daemon;
    struct http_request *request = find->read.pending.request;
    struct stop *stop = mem_new(sizeof *stop);
    uint64_t ask = stop != NULL ? ask_open(d, stop, stop_answered) : 0;
    if (ask == 0) {
        mem_free(stop);
        langgraph_refuse(request, 503, "out of memory");
        read_end(&find->read);
        return;
    }
    *stop = (struct stop){{request, stop_hung_up}, d, ask};
    http_request_own(request, stop);
    struct cancel_ask cancel = langgraph_ask(d, &find->seek.root, &find->seek.run);
    cancel.ask = ask;
    cancel.action = asked->action;
    cancel.reason = http_query(request, "reason");
    cancel.trace_id = api_trace_id(request);
    cancel.wait = asked->wait ? WAIT_STOPPED : WAIT_NONE;
    ask_waits_if_there_is_room(d, &cancel);
    feed_cancels(d, (struct cancels_event){.kind = CANCELS_ASK, .asked = &cancel});
    read_end(&find->read);
}

void langgraph_cancel(struct brokerd *d, struct http_request *request, struct str thread,
                      struct str run)
{
    enum action action;
    bool wait;
    struct str reason = http_query(request, "reason");
    if (!langgraph_query_flag(request, "wait", &wait) || !langgraph_query_action(request, &action))
        return;
    if (reason.len > TEXT_MAX_BYTES || !str_is_utf8(reason)) {
        langgraph_refuse(request, 422, "reason must be UTF-8 of at most 1024 bytes");
        return;
    }
    struct stop_find *find = langgraph_find_open(d, request, sizeof *find, thread, run);
    if (find == NULL)
        return;
    find->action = action;
    find->wait = wait;
    find->find.unknown = langgraph_not_cancelable;
    langgraph_find(&find->find, on_found);
}

void langgraph_cancel_for_gone(struct brokerd *d, const struct run_id *root,
                               const struct run_id *run)
{
    struct cancel_ask cancel = langgraph_ask(d, root, run);
    cancel.reason = STR("on_disconnect");
    feed_cancels(d, (struct cancels_event){.kind = CANCELS_ASK, .asked = &cancel});
}
