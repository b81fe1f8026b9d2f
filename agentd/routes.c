/* The local API: who asks, what, and where it goes. */
#include "agentd/inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/log.h"
#include "io/redis_url.h"

#ifndef BRAKEWIRE_VERSION
#define BRAKEWIRE_VERSION "unknown"
#endif

/* ---- who asks ------------------------------------------------------------------------------ */

struct asker {
    char hash[API_TOKEN_HASH_LEN + 1];   /* "" = no token */
    struct agent_caller caller;          /* lends `hash` */
    char by[48];                         /* as cancel records name it */
    char minted[API_TOKEN_HASH_LEN + 1]; /* of the token that a start was given; "" = none */
};

static bool peer_is_operator(const struct http_request *request, uid_t *uid)
{
    pid_t pid;
    gid_t gid;
    return http_peer(request, &pid, uid, &gid) && (*uid == 0 || *uid == geteuid());
}

/* A token speaks for its client alone, whoever sends it; without one the uid may speak. */
static bool asker_read(struct http_request *request, struct asker *asker)
{
    struct str token;
    uid_t uid = 0;
    *asker = (struct asker){.hash = ""};
    if (!api_bearer(request, &token))
        return false;
    if (token.at != NULL) {
        api_token_hash(token, asker->hash);
        snprintf(asker->by, sizeof asker->by, "client:c-%.11s", asker->hash);
    } else if (peer_is_operator(request, &uid)) {
        asker->caller.operator_ = true;
        snprintf(asker->by, sizeof asker->by, "user:uid-%ld", (long)uid);
    }
    asker->caller.token_hash = str_of(asker->hash);
    return true;
}

static bool asker_is_known(struct http_request *request, const struct asker *asker)
{
    if (asker->hash[0] != '\0' || asker->caller.operator_)
        return true;
    api_problem(request, PROBLEM_UNAUTHORIZED,
                "send the token that started the run: Authorization: Bearer …", NULL);
    return false;
}

static bool body_fits(struct http_request *request)
{
    enum { BODY_MAX = 64 << 10 };
    if (http_body(request).len <= BODY_MAX)
        return true;
    api_problem(request, PROBLEM_TOO_LARGE, "the body may have 64 KiB", NULL);
    return false;
}

/* ---- starting ------------------------------------------------------------------------------ */

static bool mint_token(char out[TOKEN_LEN + 1])
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    size_t len = 0;
    while (len < TOKEN_LEN) {
        unsigned char byte[TOKEN_LEN];
        if (getrandom(byte, sizeof byte, 0) != (ssize_t)sizeof byte)
            return false;
        for (size_t i = 0; i < sizeof byte && len < TOKEN_LEN; i++)
            if (byte[i] < 248) /* 4 * 62: every digit as likely as any other */
                out[len++] = digits[byte[i] % 62];
    }
    out[len] = '\0';
    return true;
}

/* With an Idempotency-Key the id is minted here, so that a repeated start names the same run. */
static bool use_key(struct agentd *d, struct http_request *request, const struct asker *asker,
                    struct ask_start *start)
{
    enum { KEY_MAX = 255 };
    struct str key = http_header(request, "Idempotency-Key");
    if (key.at == NULL || start->run_id.len > 0 || asker->hash[0] == '\0')
        return true; /* nothing to remember it by, or nothing to remember */
    if (key.len == 0 || key.len > KEY_MAX) {
        api_problem(request, PROBLEM_INVALID, "Idempotency-Key may have 1 to 255 characters", NULL);
        return false;
    }
    struct run_id fresh = start->path.len == 0 || start->entry
                              ? id_mint_root(&d->rng)
                              : id_mint_child(&d->rng, path_root(start->path));
    start->run_id = key_run(d, asker->caller.token_hash, key, id_str(&fresh));
    start->run_id_is_ours = true;
    return true;
}

static void ask_start(struct agentd *d, struct http_request *request, struct asker *asker,
                      json_t *body, struct ask_start *start, const struct start_room *room)
{
    struct open_ask *ask = ask_open(d, ASK_START, request, body);
    if (ask == NULL)
        return;
    ask->others = room->others;
    if (asker->hash[0] == '\0') {
        if (!mint_token(ask->token)) {
            answer_ask(d, ask->id,
                       &(struct agent_reply){.problem = PROBLEM_OVERLOADED,
                                             .detail = "no randomness"});
            return;
        }
        api_token_hash(str_of(ask->token), asker->minted);
        start->token_hash = str_of(asker->minted);
    }
    feed(d,
         (struct agent_event){
             .kind = AGENT_ASKED_START, .ask = ask->id, .caller = asker->caller, .start = start});
}

static bool has_room_for_start(const struct agentd *d, struct http_request *request)
{
    if (d->starts_open < STARTS_OPEN_MAX)
        return true;
    api_problem(request, PROBLEM_OVERLOADED, "too many starts wait for Redis", NULL);
    return false;
}

static void serve_start(void *owner, struct http_request *request,
                        const struct str part[API_PARTS_MAX])
{
    (void)part;
    struct agentd *d = owner;
    struct asker asker;
    struct ask_start start;
    struct start_room room;
    json_t *body;
    if (!body_fits(request) || !has_room_for_start(d, request) || !asker_read(request, &asker)
        || (body = api_read_object(request)) == NULL)
        return;
    if (request_start(d, request, body, &start, &room) && use_key(d, request, &asker, &start))
        ask_start(d, request, &asker, body, &start, &room);
    else
        json_decref(body);
}

/* ---- asks about one run -------------------------------------------------------------------- */

/* The request's body once it is clear that somebody may ask; NULL: answered. */
static json_t *read_ask(struct http_request *request, struct asker *asker)
{
    if (!asker_read(request, asker) || !asker_is_known(request, asker))
        return NULL;
    return api_read_object(request);
}

static void put_ask(struct agentd *d, enum ask_kind kind, struct http_request *request,
                    const struct asker *asker, json_t *body, struct agent_event event)
{
    struct open_ask *ask = ask_open(d, kind, request, body);
    if (ask == NULL)
        return;
    event.ask = ask->id;
    event.caller = asker->caller;
    feed(d, event);
}

static void serve_ack(void *owner, struct http_request *request,
                      const struct str part[API_PARTS_MAX])
{
    struct asker asker;
    struct ask_ack ack;
    json_t *body;
    if (!body_fits(request) || (body = read_ask(request, &asker)) == NULL)
        return;
    if (!request_ack(request, body, &ack)) {
        json_decref(body);
        return;
    }
    ack.run = part[0];
    put_ask(owner, ASK_ACK, request, &asker, body,
            (struct agent_event){.kind = AGENT_ASKED_ACK, .ack = &ack});
}

static void serve_end(void *owner, struct http_request *request,
                      const struct str part[API_PARTS_MAX])
{
    struct asker asker;
    struct ask_end end;
    json_t *body;
    if (!body_fits(request) || (body = read_ask(request, &asker)) == NULL)
        return;
    if (!request_end(request, body, &end)) {
        json_decref(body);
        return;
    }
    end.run = part[0];
    put_ask(owner, ASK_END, request, &asker, body,
            (struct agent_event){.kind = AGENT_ASKED_END, .end = &end});
}

static void serve_link(void *owner, struct http_request *request,
                       const struct str part[API_PARTS_MAX])
{
    struct asker asker;
    struct ask_link link;
    struct work_room room;
    json_t *body;
    if (!body_fits(request) || (body = read_ask(request, &asker)) == NULL)
        return;
    if (!request_link(owner, request, body, &link, &room)) {
        json_decref(body);
        return;
    }
    link.run = part[0];
    put_ask(owner, ASK_LINK, request, &asker, body,
            (struct agent_event){.kind = AGENT_ASKED_LINK, .link = &link});
}

static void serve_fence(void *owner, struct http_request *request,
                        const struct str part[API_PARTS_MAX])
{
    struct asker asker;
    struct ask_fence fence;
    char *bytes;
    json_t *body = read_ask(request, &asker);
    if (body == NULL)
        return;
    if (request_fence(request, body, &fence, &bytes)) {
        fence.run = part[0];
        put_ask(owner, ASK_FENCE, request, &asker, body,
                (struct agent_event){.kind = AGENT_ASKED_FENCE, .fence = &fence});
    } else {
        json_decref(body);
    }
    free(bytes);
}

static void serve_cancel(void *owner, struct http_request *request,
                         const struct str part[API_PARTS_MAX])
{
    const struct agentd *d = owner;
    struct asker asker;
    struct cancel_ask cancel = {.durability = (enum durability)d->settings->durability};
    json_t *body;
    if (!body_fits(request) || (body = read_ask(request, &asker)) == NULL)
        return;
    if (!api_cancel_ask(request, body, part[0], false, &cancel)) {
        json_decref(body);
        return;
    }
    cancel.by = str_of(asker.by);
    if (d->asks.count - d->starts_open >= WAITING_ASKS_MAX)
        cancel.wait = WAIT_NONE;
    put_ask(owner, ASK_CANCEL, request, &asker, body,
            (struct agent_event){.kind = AGENT_ASKED_CANCEL, .cancel = &cancel});
}

/* ---- looking ------------------------------------------------------------------------------- */

/* Before anything else is done for it: a crowd that is refused must cost next to nothing. */
static bool has_room_for_stream(const struct agentd *d, struct http_request *request)
{
    if (d->stream_count < (size_t)d->settings->max_clients)
        return true;
    api_problem(request, PROBLEM_OVERLOADED, "too many event streams are open (max_clients)", NULL);
    return false;
}

static void serve_events(void *owner, struct http_request *request,
                         const struct str part[API_PARTS_MAX])
{
    (void)part;
    struct agentd *d = owner;
    struct asker asker;
    if (!has_room_for_stream(d, request) || !asker_read(request, &asker))
        return;
    if (asker.hash[0] == '\0')
        api_problem(request, PROBLEM_UNAUTHORIZED,
                    "events are of one client: send its token, Authorization: Bearer …", NULL);
    else
        streams_connect(d, request, asker.caller.token_hash);
}

static bool may_see(const struct asker *asker, const struct agent_run_view *view)
{
    return asker->caller.operator_ || str_eq(view->client, asker->caller.token_hash);
}

static void serve_runs(void *owner, struct http_request *request,
                       const struct str part[API_PARTS_MAX])
{
    (void)part;
    struct agentd *d = owner;
    struct asker asker;
    struct agent_run_view view;
    if (!asker_read(request, &asker) || !asker_is_known(request, &asker))
        return;
    json_t *runs = json_array(), *answer = json_object();
    for (size_t at = 0; agent_next_run(d->agent, &at, agentd_now(d), &view);)
        if (may_see(&asker, &view))
            json_array_append_new(runs, answer_run(&view));
    api_set(answer, "runs", runs);
    http_answer_json(request, 200, answer, NULL);
}

static void serve_run(void *owner, struct http_request *request,
                      const struct str part[API_PARTS_MAX])
{
    struct agentd *d = owner;
    struct asker asker;
    struct agent_run_view view;
    if (!asker_read(request, &asker) || !asker_is_known(request, &asker))
        return;
    if (!agent_find_run(d->agent, part[0], agentd_now(d), &view))
        api_problem(request, PROBLEM_NOT_FOUND, "no such run here", NULL);
    else if (!may_see(&asker, &view))
        api_problem(request, PROBLEM_FORBIDDEN, "this run is another client's", NULL);
    else
        http_answer_json(request, 200, answer_run(&view), NULL);
}

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
    static const char *const modes[] = {"observe", "notify", "enforce"};
    struct agentd *d = owner;
    json_t *redis = json_object(), *json = json_object();
    api_set(redis, "linked", json_boolean(agent_is_linked(d->agent)));
    api_set(redis, "url", redis_address(d->settings->redis_url));
    api_set_text(redis, "generation", agent_generation(d->agent));
    struct span isolated = agent_isolated_for(d->agent, agentd_now(d));
    api_set(redis, "isolated", json_boolean(isolated.ms > 0));
    if (isolated.ms > 0)
        api_set_span(redis, "isolated_ms", isolated);
    api_set(json, "name", json_string("brakewire-agentd"));
    api_set(json, "version", json_string(BRAKEWIRE_VERSION));
    api_set(json, "replica_id", json_string(d->replica));
    api_set(json, "mode", json_string(modes[d->settings->mode]));
    api_set(json, "when_isolated",
            json_string(d->settings->when_isolated == ISOLATED_CANCEL ? "cancel" : "continue"));
    api_set(json, "namespace", json_string(d->settings->namespace));
    api_set(json, "protocol", json_integer(MESSAGE_VERSION));
    api_set(json, "redis", redis);
    api_set(json, "quarantined", json_boolean(agent_is_quarantined(d->agent)));
    api_set(json, "runs", json_integer((json_int_t)agent_live_runs(d->agent)));
    api_set(json, "clients", json_integer((json_int_t)agent_clients_connected(d->agent)));
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
    struct agentd *d = owner;
    if (!agent_is_ready(d->agent))
        api_problem(request, PROBLEM_UNAVAILABLE, "not linked to Redis yet", NULL);
    else if (agent_is_draining(d->agent))
        api_problem(request, PROBLEM_UNAVAILABLE, "draining: no new runs", NULL);
    else if (agent_is_quarantined(d->agent))
        api_problem(request, PROBLEM_UNAVAILABLE,
                    "quarantined, no new runs: SIGKILL did not end a run here", NULL);
    else
        http_answer(request, 200, "text/plain", STR("ok\n"), NULL);
}

static void serve_metrics(void *owner, struct http_request *request,
                          const struct str part[API_PARTS_MAX])
{
    (void)part;
    struct agentd *d = owner;
    struct buf text = {0};
    struct redis_router_stats stats = redis_router_stats(store_router(d->store));
    metric_set(&d->numbers.moved, (double)(stats.moved + stats.asked));
    numbers_print(&d->numbers, d->agent, agentd_now(d), &text);
    http_answer(request, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&text), NULL);
    buf_fini(&text);
}

static const struct api_route routes[] = {
    {"POST", "/v1/runs", serve_start},
    {"GET", "/v1/runs", serve_runs},
    {"GET", "/v1/runs/{id}", serve_run},
    {"GET", "/v1/events", serve_events},
    {"POST", "/v1/runs/{id}/ack", serve_ack},
    {"POST", "/v1/runs/{id}/end", serve_end},
    {"POST", "/v1/runs/{id}/links", serve_link},
    {"POST", "/v1/runs/{id}/fence", serve_fence},
    {"POST", "/v1/runs/{id}/cancel", serve_cancel},
    {"GET", "/v1/version", serve_version},
    {"GET", "/livez", serve_livez},
    {"GET", "/readyz", serve_readyz},
    {"GET", "/metrics", serve_metrics},
};

static void on_request(void *owner, struct http_request *request)
{
    api_route(request, routes, sizeof routes / sizeof routes[0], owner);
}

static void on_closed(void *owner)
{
    (void)owner; /* the loop ends when everything is closed: nothing to count */
}

const struct http_server_events local_api = {
    .on_request = on_request,
    .on_hangup = answer_hung_up,
    .on_stream_closed = streams_closed,
    .on_stream_ready = streams_ready,
    .on_closed = on_closed,
};
