#include "agentd/inside.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "api/api_codec.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/redis_link.h"

struct instant agentd_now(struct agentd *d)
{
    uv_update_time(d->loop);
    return (struct instant){(int64_t)uv_now(d->loop)};
}

struct wall agentd_wall(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (struct wall){(int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000};
}

/* ---- events that wait until nothing is busy ------------------------------------------------ */

struct later {
    struct link in_order;
    bool is_cancel;
    struct agent_event event;
    struct cancel_ask asked;
    char text[];
};

static void keep(char **free_room, struct str *text)
{
    if (text->len > 0)
        memcpy(*free_room, text->at, text->len);
    text->at = *free_room;
    *free_room += text->len;
}

void feed_soon(struct agentd *d, struct agent_event event)
{
    if (d->busy == 0) {
        feed(d, event);
        return;
    }
    struct later *later =
        mem_new(sizeof *later + event.run.len + event.text.len + event.caller.token_hash.len);
    if (later == NULL) {
        log_error("event dropped", "because=\"out of memory\"");
        return;
    }
    char *room = later->text;
    later->event = event;
    keep(&room, &later->event.run);
    keep(&room, &later->event.text);
    keep(&room, &later->event.caller.token_hash);
    list_add_last(&d->later, &later->in_order);
}

/* The two cores are never stepped from within each other's effects in a circle. */
static void ask_cancel_soon(struct agentd *d, const struct agent_effect *effect)
{
    struct cancel_ask asked = effect->cancel;
    struct str *texts[] = {&asked.run, &asked.root,     &asked.reason,
                           &asked.by,  &asked.trace_id, &asked.cause};
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        bytes += texts[i]->len;
    struct later *later = mem_new(sizeof *later + bytes);
    if (later == NULL) {
        log_error("cancel dropped", "because=\"out of memory\"");
        return;
    }
    char *room = later->text;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        keep(&room, texts[i]);
    asked.ask = effect->ask;
    later->asked = asked;
    later->is_cancel = true;
    list_add_last(&d->later, &later->in_order);
}

static void settle(struct agentd *d)
{
    while (d->busy == 0 && !list_is_empty(&d->later)) {
        struct later *later = LIST_OWNER(d->later.head.next, struct later, in_order);
        link_remove(&later->in_order);
        if (later->is_cancel)
            feed_cancels(d, (struct cancels_event){.kind = CANCELS_ASK, .asked = &later->asked});
        else
            feed(d, later->event);
        mem_free(later);
    }
}

/* ---- the agent ----------------------------------------------------------------------------- */

static void log_moved(const struct agent_effect *effect)
{
    log_info("run moved", "run=%.*s from=%s to=%s because=%s", (int)effect->run.len, effect->run.at,
             run_state_name(effect->from), run_state_name(effect->to),
             effect->because != NULL ? effect->because : "unsaid");
}

static void carry_out(struct agentd *d, const struct agent_effect *effect)
{
    switch (effect->kind) {
    case DO_CALL:
        upstream_send(d, &effect->call, effect->token);
        break;
    case DO_SUBSCRIBE:
        upstream_subscribe(d, effect->root, false);
        break;
    case DO_UNSUBSCRIBE:
        store_unsubscribe(d->store, effect->root, false);
        break;
    case DO_ANSWER:
        answer_ask(d, effect->ask, &effect->reply);
        break;
    case DO_NOTIFY:
        streams_notify(d, effect);
        break;
    case DO_OPEN_PROCESS:
        process_open(d, effect->run, &effect->target);
        break;
    case DO_CLOSE_PROCESS:
        process_close(d, effect->run);
        break;
    case DO_SIGNAL:
        process_signal(d, effect->run, effect->signal);
        break;
    case DO_CANCEL_THERE:
        remotes_cancel(d, effect);
        break;
    case DO_ASK_CANCEL:
        ask_cancel_soon(d, effect);
        break;
    case DO_PUBLISH:
        upstream_publish(d, effect);
        break;
    case DO_MOVED:
        log_moved(effect);
        break;
    case DO_SAY:
        log_warn(agent_news_text(effect->news), "runs_told=%zu", effect->amount);
        break;
    case DO_COUNT:
        numbers_count(&d->numbers, effect, d->looking_at);
        break;
    }
}

/* The core ran out of memory: what it did decide still stands, what did not fit it finds again. */
static void complain(struct agentd *d, const struct agent_event *event)
{
    log_error("event not finished", "because=\"out of memory\"");
    if (event->kind >= AGENT_ASKED_START && event->kind <= AGENT_ASKED_CANCEL)
        answer_ask(d, event->ask,
                   &(struct agent_reply){.problem = PROBLEM_OVERLOADED, .detail = "out of memory"});
}

static void leave_if_drained(struct agentd *d);

void feed(struct agentd *d, struct agent_event event)
{
    if (d->closing)
        return;
    assert(!d->carrying_out);
    event.at = agentd_now(d);
    event.wall = agentd_wall();
    d->busy++;
    d->looking_at = event.kind == AGENT_ANSWER ? MALFORMED_STORE : MALFORMED_CHANNEL;
    enum err err = agent_step(d->agent, &event, &d->todo);
    d->carrying_out = true;
    for (size_t i = 0; i < d->todo.count; i++)
        carry_out(d, &d->todo.item[i]);
    d->carrying_out = false;
    if (err != ERR_OK)
        complain(d, &event);
    d->busy--;
    settle(d);
    upstream_check_generation(d);
    leave_if_drained(d);
    set_alarm(d);
}

/* ---- cancels asked for here ---------------------------------------------------------------- */

static void carry_out_cancel(struct agentd *d, const struct cancels_effect *effect)
{
    switch (effect->kind) {
    case CANCELS_DO_CALL:
        upstream_send(d, &effect->call, effect->token);
        break;
    case CANCELS_DO_WATCH:
        upstream_subscribe(d, effect->root, true);
        break;
    case CANCELS_DO_UNWATCH:
        store_unsubscribe(d->store, effect->root, true);
        break;
    case CANCELS_DO_ANSWER: /* the result is lent: the agent must see it now */
        feed(d, (struct agent_event){
                    .kind = AGENT_CANCEL_ANSWERED, .ask = effect->ask, .result = effect->result});
        break;
    case CANCELS_DO_AUDIT:
        audit_note(d, effect->result, effect->asked);
        break;
    }
}

void feed_cancels(struct agentd *d, struct cancels_event event)
{
    if (d->closing)
        return;
    event.at = agentd_now(d);
    event.wall = agentd_wall();
    d->busy++;
    if (cancels_step(d->cancels, &event, &d->cancels_todo) != ERR_OK)
        log_error("cancel event not finished", "because=\"out of memory\"");
    for (size_t i = 0; i < d->cancels_todo.count; i++)
        carry_out_cancel(d, &d->cancels_todo.item[i]);
    d->busy--;
    settle(d);
    set_alarm(d);
}

/* ---- one timer for both cores -------------------------------------------------------------- */

static void on_alarm(uv_timer_t *timer)
{
    struct agentd *d = timer->data;
    if (instant_reached(agentd_now(d), agent_deadline(d->agent)))
        feed(d, (struct agent_event){.kind = AGENT_TIME_PASSED});
    if (!d->closing && instant_reached(agentd_now(d), cancels_deadline(d->cancels)))
        feed_cancels(d, (struct cancels_event){.kind = CANCELS_TIME_PASSED});
    set_alarm(d);
}

void set_alarm(struct agentd *d)
{
    if (d->closing || d->busy > 0)
        return;
    struct instant due = instant_first(agent_deadline(d->agent), cancels_deadline(d->cancels));
    if (due.ms == INSTANT_NEVER.ms) {
        uv_timer_stop(&d->alarm);
        return;
    }
    int64_t wait = due.ms - (int64_t)uv_now(d->loop);
    uv_timer_start(&d->alarm, on_alarm, wait < 1 ? 1 : (uint64_t)wait, 0);
}

/* ---- leaving ------------------------------------------------------------------------------- */

static void close_parts(struct agentd *d)
{
    if (d->closing)
        return;
    d->closing = true;
    processes_close(d);
    remotes_close(d);
    http_server_close(d->http);
    store_close(d->store);
    uv_close((uv_handle_t *)&d->alarm, NULL);
    uv_close((uv_handle_t *)&d->refusals, NULL);
    uv_close((uv_handle_t *)&d->heartbeat, NULL);
    uv_close((uv_handle_t *)&d->drain, NULL);
    uv_close((uv_handle_t *)&d->report_timer, NULL);
}

static void on_left(void *owner, uint64_t token, const struct store_answer *answer)
{
    (void)token, (void)answer;
    close_parts(owner);
}

static void on_leaving_took_long(uv_timer_t *timer)
{
    close_parts(timer->data);
}

/* Whoever has no run left takes its name out of Redis; the others' lease runs out, so that a broker
 * finds their runs lost. */
static void leave(struct agentd *d)
{
    enum { PATIENCE_MS = 1000 };
    if (d->leaving || d->closing)
        return;
    d->leaving = true;
    log_info("leaving", "runs=%zu", agent_live_runs(d->agent));
    reports_send(d);
    struct store_call call = {.op = STORE_LEASE_DROP, .replica = str_of(d->replica)};
    if (!d->linked || agent_live_runs(d->agent) > 0
        || store_send(d->store, &call, on_left, d, 0) != ERR_OK)
        close_parts(d);
    else
        uv_timer_start(&d->drain, on_leaving_took_long, PATIENCE_MS, 0);
}

static void on_drain_over(uv_timer_t *timer)
{
    leave(timer->data);
}

static void leave_if_drained(struct agentd *d)
{
    if (d->stopping && d->busy == 0 && agent_live_runs(d->agent) == 0)
        leave(d);
}

void agentd_stop(struct agentd *d)
{
    if (d->closing)
        return;
    if (d->stopping) {
        close_parts(d);
        return;
    }
    d->stopping = true;
    uv_timer_start(&d->drain, on_drain_over, (uint64_t)d->settings->drain.ms, 0);
    feed(d, (struct agent_event){.kind = AGENT_DRAIN});
}

void agentd_give_up(struct agentd *d)
{
    d->exit_code = 1;
    close_parts(d);
}

/* ---- coming and going ---------------------------------------------------------------------- */

static uint64_t random_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        abort(); /* ids that can be guessed are worse than no daemon */
    return seed;
}

static void mint_replica(struct agentd *d)
{
    enum { SUFFIX = 12 };
    char suffix[SUFFIX + 1];
    rng_name(&d->rng, suffix, SUFFIX);
    snprintf(d->replica, sizeof d->replica, "%s%s", d->settings->replica_prefix, suffix);
}

static bool make_cores(struct agentd *d)
{
    const struct settings *settings = d->settings;
    d->agent = agent_new(&(struct agent_options){
        .replica = str_of(d->replica),
        .mode = (enum agent_mode)settings->mode,
        .lease = settings->lease,
        .reconcile_every = settings->reconcile,
        .lost_grace = settings->lost_grace,
        .grace_notify = settings->grace_notify,
        .grace_term = settings->grace_term,
        .grace_http = settings->grace_http,
        .kill_patience = settings->kill_patience,
        .remember = SECONDS(15 * 60),
        .tombstone_ttl = settings->tombstone_ttl,
        .max_runs = (size_t)settings->max_runs,
        .max_tree_runs = 10000,
        .max_children = 1000,
        .max_clients = (size_t)settings->max_clients,
        .allow_without_redis = settings->when_redis_is_down == REDIS_DOWN_ALLOW,
        .isolation_cancels = settings->when_isolated == ISOLATED_CANCEL,
        .durability = (enum durability)settings->durability,
        .seed = rng_next(&d->rng),
        .token_base = 1,
        .encode_record = api_encode_record,
        .decode_record = api_decode_record,
        .encode_meta = api_encode_meta,
        .decode_meta = api_decode_meta,
        .decode_order = api_decode_order,
        .encode_link = api_encode_link,
        .encode_story = api_encode_story,
    });
    d->cancels = cancels_new(&(struct cancels_options){
        .hold = SECONDS(15 * 60),
        .hold_max = 10000,
        .asks_max = 10000,
        .lease = settings->lease,
        .token_base = CANCELS_TOKEN_BASE,
        .encode = api_encode_record,
        .decode = api_decode_record,
        .encode_link = api_encode_link,
    });
    return d->agent != NULL && d->cancels != NULL;
}

static enum err open_store(struct agentd *d, const char **why)
{
    char name[sizeof d->replica + 16];
    snprintf(name, sizeof name, "brakewire-%s", d->replica);
    const struct settings *settings = d->settings;
    struct redis_target target = settings_redis(settings);
    target.client_name = name;
    target.seed = rng_next(&d->rng);
    struct store_options options = {.namespace = settings->namespace,
                                    .tombstone_ttl = settings->tombstone_ttl,
                                    .audit_max = 100000,
                                    .durable = {.replicas = (unsigned)settings->durable_replicas,
                                                .timeout = settings->durable_timeout}};
    redis_news_init(&d->redis_news, settings->redis_url);
    *why = "redis_url cannot be used";
    enum err err = store_open(d->loop, &target, &options, &upstream_events, d, &d->store);
    if (err == ERR_OK)
        upstream_subscribe(d, STR_NONE, false); /* bw:orders */
    return err;
}

/* Under /run and $XDG_RUNTIME_DIR nobody else makes our folder. */
static void make_socket_folder(const char *path)
{
    char folder[108];
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path || (size_t)(slash - path) >= sizeof folder)
        return;
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = '\0';
    if (mkdir(folder, 0755) != 0 && errno != EEXIST)
        log_warn("no folder for the socket", "path=%s because=\"%s\"", folder, strerror(errno));
}

static enum err open_http(struct agentd *d, const char **why)
{
    const struct settings *settings = d->settings;
    bool has_tcp = settings->listen != NULL && settings->listen[0] != '\0';
    if (settings_socket_folder_is_ours(settings))
        make_socket_folder(settings->socket);
    struct http_server_options options = {.unix_path = settings->socket,
                                          .unix_mode = settings_socket_mode(settings),
                                          .tcp = has_tcp ? settings->listen : NULL,
                                          .body_max = 3 << 19, /* 1.5 MiB: a fence with bytes */
                                          .connections_max =
                                              (unsigned)settings->max_clients + OTHER_ASKS_MAX,
                                          .streams_max = (unsigned)settings->max_clients};
    return http_server_open(d->loop, &options, &local_api, d, &d->http, why);
}

static void init_timers(struct agentd *d)
{
    uv_timer_t *timers[] = {&d->alarm, &d->refusals, &d->heartbeat, &d->drain, &d->report_timer};
    for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++) {
        uv_timer_init(d->loop, timers[i]);
        timers[i]->data = d;
    }
}

static void free_memory(struct agentd *d)
{
    LIST_EACH (at, then, &d->later)
        mem_free(LIST_OWNER(at, struct later, in_order));
    agent_free(d->agent);
    cancels_free(d->cancels);
    mem_free(d->todo.item);
    mem_free(d->cancels_todo.item);
    asks_fini(d);
    keys_fini(d);
    audit_fini(d);
    reports_fini(d);
    host_list_free(d->call_hosts);
    map_fini(&d->asks);
    map_fini(&d->streams);
    map_fini(&d->processes);
    redis_news_fini(&d->redis_news);
    mem_free(d->server);
    mem_free(d->generation);
    mem_free(d);
}

enum err agentd_open(uv_loop_t *loop, const struct settings *settings, struct agentd **out,
                     const char **why)
{
    struct agentd *d = mem_new(sizeof *d);
    if (d == NULL)
        return ERR_NOMEM;
    d->loop = loop;
    d->settings = settings;
    d->rng.state = random_seed();
    d->streams.seed = d->keys.seed = (uint32_t)rng_next(&d->rng);
    list_init(&d->later);
    list_init(&d->refused);
    list_init(&d->reports);
    list_init(&d->keys_by_age);
    list_init(&d->audit);
    mint_replica(d);
    numbers_init(&d->numbers);
    enum err err = ERR_OK;
    if (settings->baggage_keys != NULL)
        err = baggage_keys_read(str_of(settings->baggage_keys), &d->baggage_keys, why);
    if (err == ERR_OK && !make_cores(d))
        err = ERR_NOMEM;
    if (err == ERR_OK)
        err = open_http(d, why);
    if (err == ERR_OK
        && ((err = remotes_open(d)) != ERR_OK || (err = open_store(d, why)) != ERR_OK)) {
        d->closing = true; /* the loop ends by itself; nothing of it reaches the cores */
        remotes_close(d);
        http_server_close(d->http);
        uv_run(loop, UV_RUN_DEFAULT);
    }
    if (err != ERR_OK) {
        free_memory(d);
        return err;
    }
    init_timers(d);
    static const char *const modes[] = {"observe", "notify", "enforce"};
    log_info("agentd started", "replica=%s socket=%s port=%u mode=%s", d->replica, settings->socket,
             http_server_port(d->http), modes[settings->mode]);
    *out = d;
    return ERR_OK;
}

int agentd_free(struct agentd *d)
{
    int exit_code = d->exit_code;
    free_memory(d);
    return exit_code;
}
