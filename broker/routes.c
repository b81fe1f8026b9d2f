/* The API: cancels, and what is answered at once. */
#include "base/mem.h"
#include "broker/a2a.h"
#include "broker/inside.h"
#include "broker/langgraph.h"
#include "io/redis_url.h"

#ifndef BRAKEWIRE_VERSION
#define BRAKEWIRE_VERSION "unknown"
#endif

/* ---- cancels -----------------------------------------------------------------------------------
 */
struct open_cancel {
    struct pending pending; /* first */
    struct brokerd *daemon;
    uint64_t ask;
};

/* The cancel itself stays; only its wait is given up. */
static void cancel_hung_up(struct pending *pending)
{
    struct open_cancel *cancel = (struct open_cancel *)pending;
    struct brokerd *d = cancel->daemon;
    uint64_t ask = cancel->ask;
    mem_free(cancel);
    ask_abandon(d, ask);
}

static void cancel_was_answered(void *owner, const struct cancel_result *result)
{
    static const struct api_cancel_about about = {.pending = false};
    struct open_cancel *cancel = owner;
    struct http_request *request = cancel->pending.request;
    mem_free(cancel);
    api_answer_cancel(request, result, &about);
}

static struct open_cancel *cancel_open(struct brokerd *d, struct http_request *request)
{
    struct open_cancel *cancel = mem_new(sizeof *cancel);
    uint64_t ask = cancel != NULL ? ask_open(d, cancel, cancel_was_answered) : 0;
    if (ask == 0) {
        mem_free(cancel);
        api_problem(request, PROBLEM_OVERLOADED, "out of memory", NULL);
        return NULL;
    }
    *cancel = (struct open_cancel){{request, cancel_hung_up}, d, ask};
    http_request_own(request, cancel);
    return cancel;
}

static void serve_cancel(void *owner, struct http_request *request,
                         const struct str part[API_PARTS_MAX])
{
    struct brokerd *d = owner;
    struct cancel_ask cancel = {.durability = (enum durability)d->settings->durability};
    json_t *body = api_read_object(request);
    if (body == NULL)
        return;
    if (api_cancel_ask(request, body, part[0], true, &cancel)) {
        struct open_cancel *open = cancel_open(d, request);
        cancel.by = cancel.by.len > 0 ? cancel.by : STR("user");
        cancel.follow_links = true;
        cancel.ask = open != NULL ? open->ask : 0;
        ask_waits_if_there_is_room(d, &cancel);
        if (open != NULL)
            feed_cancels(d, (struct cancels_event){.kind = CANCELS_ASK, .asked = &cancel});
    }
    json_decref(body);
}

/* ---- replicas
 * ------------------------------------------------------------------------------------ */
static json_t *replica_json(const struct broker_replica_view *view)
{
    json_t *json = json_object();
    api_set(json, "replica_id", api_text(view->replica));
    api_set(json, "leased", json_boolean(view->leased));
    api_set(json, "quarantined", json_boolean(view->quarantined));
    api_set(json, "generation", api_text(view->generation));
    if (!view->leased)
        api_set(json, "without_lease_ms", json_integer(view->without_lease.ms));
    api_set_time(json, "since", (struct wall){view->since_ms});
    return json;
}

static void answer_replicas(struct brokerd *d, struct http_request *request)
{
    struct broker_replica_view view;
    json_t *json = json_object(), *replicas = json_array();
    for (size_t at = 0; broker_next_replica(d->core, &at, brokerd_now(d), &view);)
        if (replicas != NULL)
            json_array_append_new(replicas, replica_json(&view));
    api_set(json, "replicas", replicas);
    api_set(json, "sweep_suspended", json_boolean(broker_sweep_suspended(d->core)));
    http_answer_json(request, 200, json, NULL);
}

static void serve_replicas(void *owner, struct http_request *request,
                           const struct str part[API_PARTS_MAX])
{
    static const char *const allowed[] = {NULL};
    (void)part;
    if (api_check_query(request, allowed))
        answer_replicas(owner, request);
}

/* An operator has seen that those agentds are really gone. */
static void serve_confirm(void *owner, struct http_request *request,
                          const struct str part[API_PARTS_MAX])
{
    (void)part;
    feed_core(owner, (struct broker_event){.kind = BROKER_CONFIRM_LOSSES});
    answer_replicas(owner, request);
}

/* ---- what this broker is -----------------------------------------------------------------------
 */
/* Where Redis is, without the secrets that the url may hold. */
static json_t *redis_address(const char *text)
{
    struct redis_url url;
    const char *why;
    if (redis_url_parse(text, &url, &why) != ERR_OK)
        return NULL;
    struct buf shown = {0};
    redis_url_print(&url, &shown);
    json_t *json = json_stringn(shown.bytes, shown.len);
    buf_fini(&shown);
    redis_url_fini(&url);
    return json;
}

static void serve_version(void *owner, struct http_request *request,
                          const struct str part[API_PARTS_MAX])
{
    (void)part;
    struct brokerd *d = owner;
    json_t *redis = json_object(), *json = json_object();
    api_set(redis, "linked", json_boolean(d->linked));
    api_set(redis, "url", redis_address(d->settings->redis_url));
    api_set_text(redis, "generation", d->generation != NULL ? str_of(d->generation) : STR_NONE);
    api_set(json, "name", json_string("brakewire-broker"));
    api_set(json, "version", json_string(BRAKEWIRE_VERSION));
    api_set(json, "broker_id", json_string(d->id));
    api_set(json, "namespace", json_string(d->settings->namespace));
    api_set(json, "protocol", json_integer(MESSAGE_VERSION));
    api_set(json, "redis", redis);
    api_set(json, "sweeps", json_boolean(broker_holds_lock(d->core)));
    http_answer_json(request, 200, json, NULL);
}

static void serve_livez(void *owner, struct http_request *request,
                        const struct str part[API_PARTS_MAX])
{
    (void)owner, (void)part;
    http_answer(request, 200, "text/plain", STR("ok\n"), NULL);
}

static void serve_readyz(void *owner, struct http_request *request,
                         const struct str part[API_PARTS_MAX])
{
    (void)part;
    struct brokerd *d = owner;
    if (d->linked)
        http_answer(request, 200, "text/plain", STR("ok\n"), NULL);
    else
        api_problem(request, PROBLEM_UNAVAILABLE, "not linked to Redis", NULL);
}

static void serve_metrics(void *owner, struct http_request *request,
                          const struct str part[API_PARTS_MAX])
{
    (void)part;
    struct brokerd *d = owner;
    struct buf text = {0};
    struct redis_router_stats stats = redis_router_stats(store_router(d->store));
    metric_set(&d->numbers.moved, (double)(stats.moved + stats.asked));
    numbers_print(&d->numbers, d->core, d->linked, brokerd_now(d), &text);
    http_answer(request, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&text), NULL);
    buf_fini(&text);
}

/* ---- all of it ---------------------------------------------------------------------------------
 */
static const struct api_route routes[] = {
    {"POST", "/v1/runs/{id}/cancel", serve_cancel},
    {"GET", "/v1/runs", serve_runs},
    {"GET", "/v1/runs/{id}", serve_run},
    {"GET", "/v1/runs/{id}/checkpoint", serve_checkpoint},
    {"GET", "/v1/roots/{id}/tree", serve_tree},
    {"GET", "/v1/events", serve_events},
    {"GET", "/v1/audit", serve_audit},
    {"POST", "/v1/orders", serve_order_ask},
    {"GET", "/v1/orders", serve_orders},
    {"GET", "/v1/orders/{id}", serve_order},
    {"DELETE", "/v1/orders/{id}", serve_lift},
    {"GET", "/v1/replicas", serve_replicas},
    {"POST", "/v1/replicas/confirm-losses", serve_confirm},
    {"POST", "/v1/replicas/{id}/resume", serve_resume},
    {"GET", "/v1/version", serve_version},
    {"GET", "/livez", serve_livez},
    {"GET", "/readyz", serve_readyz},
    {"GET", "/metrics", serve_metrics},
};

static void on_request(void *owner, struct http_request *request)
{
    if (!a2a_serves(owner, request) && !langgraph_serves(owner, request))
        api_route(request, routes, sizeof routes / sizeof routes[0], owner);
}

static void on_hangup(void *owner, void *request_owner)
{
    (void)owner;
    struct pending *pending = request_owner;
    pending->request = NULL;
    pending->hung_up(pending);
}

static void on_closed(void *owner)
{
    (void)owner; /* the loop ends when everything is closed: nothing to count */
}

const struct http_server_events api_events = {
    .on_request = on_request,
    .on_hangup = on_hangup,
    .on_stream_closed = listener_closed,
    .on_closed = on_closed,
};
