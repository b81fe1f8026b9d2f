#include "broker/brokerd.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "api/api_codec.h"
#include "base/log.h"
#include "base/mem.h"
#include "broker/inside.h"

struct instant brokerd_now(struct brokerd *d)
{
    uv_update_time(d->loop);
    return (struct instant){(int64_t)uv_now(d->loop)};
}

struct wall brokerd_wall(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (struct wall){(int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000};
}

/* ---- cancels that the core asks for ------------------------------------------------------------
 */
struct later {
    struct link in_order;
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

/* The two cores are never stepped from within each other's effects in a circle. */
static void ask_cancel_soon(struct brokerd *d, struct cancel_ask asked, uint64_t ask)
{
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
    asked.ask = ask | OURS;
    later->asked = asked;
    list_add_last(&d->later, &later->in_order);
}

static void settle(struct brokerd *d)
{
    while (d->busy == 0 && !list_is_empty(&d->later)) {
        struct later *later = LIST_OWNER(d->later.head.next, struct later, in_order);
        link_remove(&later->in_order);
        feed_cancels(d, (struct cancels_event){.kind = CANCELS_ASK, .asked = &later->asked});
        mem_free(later);
    }
}

/* ---- the core ----------------------------------------------------------------------------------
 */
static void log_fact(const struct broker_effect *effect)
{
    bool is_routine = effect->fact == FACT_PUBLISHED_AGAIN || effect->fact == FACT_LINK_FOLLOWED;
    bool needs_person = effect->fact == FACT_SWEEP_SUSPENDED;
    log_line(needs_person ? LOG_ERROR
             : is_routine ? LOG_DEBUG
                          : LOG_INFO,
             broker_fact_text(effect->fact), "%s%.*s%s%.*s%s%.*s",
             effect->replica.len > 0 ? "replica=" : "", (int)effect->replica.len,
             effect->replica.at, effect->root.len > 0 ? " root=" : "", (int)effect->root.len,
             effect->root.at, effect->run.len > 0 ? " run=" : "", (int)effect->run.len,
             effect->run.at);
}

static void carry_out(struct brokerd *d, const struct broker_effect *effect)
{
    switch (effect->kind) {
    case BROKER_DO_CALL:
        upstream_send(d, &effect->call, effect->token);
        break;
    case BROKER_DO_ASK_CANCEL:
        ask_cancel_soon(d, effect->cancel, effect->ask);
        break;
    case BROKER_DO_CANCEL_THERE:
        remotes_cancel(d, effect);
        break;
    case BROKER_DO_LOG:
        log_fact(effect);
        numbers_count(&d->numbers, effect->fact);
        break;
    }
}

void feed_core(struct brokerd *d, struct broker_event event)
{
    if (d->closing)
        return;
    event.at = brokerd_now(d);
    event.wall = brokerd_wall();
    d->busy++;
    if (broker_step(d->core, &event, &d->todo) != ERR_OK)
        log_error("event refused", "because=\"out of memory\"");
    for (size_t i = 0; i < d->todo.count; i++)
        carry_out(d, &d->todo.item[i]);
    d->busy--;
    settle(d);
    set_alarm(d);
}

/* ---- orders --------------------------------------------------------------------------------- */
static void carry_out_order(struct brokerd *d, const struct orders_effect *effect)
{
    switch (effect->kind) {
    case ORDERS_DO_CALL:
        upstream_send(d, &effect->call, effect->token);
        break;
    case ORDERS_DO_ASK_CANCEL:
        ask_cancel_soon(d, effect->cancel, effect->ask | OF_ORDER);
        break;
    case ORDERS_DO_ANSWER:
        answer_order(d, effect->ask, &effect->result);
        break;
    case ORDERS_DO_LOG:
        log_order(&effect->result);
        metric_add(&d->numbers.orders, 1);
        break;
    }
}

void feed_orders(struct brokerd *d, struct orders_event event)
{
    if (d->closing)
        return;
    event.at = brokerd_now(d);
    event.wall = brokerd_wall();
    d->busy++;
    if (orders_step(d->orders, &event, &d->orders_todo) != ERR_OK)
        log_error("order event refused", "because=\"out of memory\"");
    for (size_t i = 0; i < d->orders_todo.count; i++)
        carry_out_order(d, &d->orders_todo.item[i]);
    d->busy--;
    settle(d);
    set_alarm(d);
}

/* ---- cancels -----------------------------------------------------------------------------------
 */
static void tell_who_asked(struct brokerd *d, uint64_t ask, const struct cancel_result *result)
{
    enum cancel_outcome outcome = result->problem != PROBLEM_NONE ? OUTCOME_REFUSED
                                  : result->already               ? OUTCOME_ALREADY
                                                                  : OUTCOME_ACCEPTED;
    if (!result->dry_run)
        metric_add(&d->numbers.cancels[outcome], 1);
    if ((ask & OURS) != 0 && (ask & OF_ORDER) != 0)
        feed_orders(d, (struct orders_event){.kind = ORDERS_CANCEL_ANSWERED,
                                             .ask = ask & ~(OURS | OF_ORDER),
                                             .result = result});
    else if ((ask & OURS) != 0)
        feed_core(d, (struct broker_event){
                         .kind = BROKER_CANCEL_ANSWERED, .ask = ask & ~OURS, .result = result});
    else
        answer_cancel(d, ask, result);
}

static void carry_out_cancel(struct brokerd *d, const struct cancels_effect *effect)
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
    case CANCELS_DO_ANSWER:
        tell_who_asked(d, effect->ask, effect->result);
        break;
    case CANCELS_DO_AUDIT:
        audit_note(d, effect->result, effect->asked);
        break;
    }
}

void feed_cancels(struct brokerd *d, struct cancels_event event)
{
    if (d->closing)
        return;
    event.at = brokerd_now(d);
    event.wall = brokerd_wall();
    d->busy++;
    if (cancels_step(d->cancels, &event, &d->cancels_todo) != ERR_OK)
        log_error("cancel event refused", "because=\"out of memory\"");
    for (size_t i = 0; i < d->cancels_todo.count; i++)
        carry_out_cancel(d, &d->cancels_todo.item[i]);
    d->busy--;
    settle(d);
    set_alarm(d);
}

/* ---- one timer for all cores ------------------------------------------------------------------
 */
static void on_alarm(uv_timer_t *timer)
{
    struct brokerd *d = timer->data;
    if (instant_reached(brokerd_now(d), broker_deadline(d->core)))
        feed_core(d, (struct broker_event){.kind = BROKER_TIME_PASSED});
    if (!d->closing && instant_reached(brokerd_now(d), cancels_deadline(d->cancels)))
        feed_cancels(d, (struct cancels_event){.kind = CANCELS_TIME_PASSED});
    if (!d->closing && instant_reached(brokerd_now(d), orders_deadline(d->orders)))
        feed_orders(d, (struct orders_event){.kind = ORDERS_TIME_PASSED});
    set_alarm(d);
}

void set_alarm(struct brokerd *d)
{
    if (d->closing || d->busy > 0)
        return;
    struct instant due = instant_first(broker_deadline(d->core), cancels_deadline(d->cancels));
    due = instant_first(due, orders_deadline(d->orders));
    if (due.ms == INSTANT_NEVER.ms) {
        uv_timer_stop(&d->alarm);
        return;
    }
    uint64_t now = uv_now(d->loop);
    uint64_t wait = due.ms > (int64_t)now ? (uint64_t)due.ms - now : 1;
    if (uv_is_active((uv_handle_t *)&d->alarm) && uv_timer_get_due_in(&d->alarm) == wait)
        return;
    uv_timer_start(&d->alarm, on_alarm, wait, 0);
}

/* ---- coming and going --------------------------------------------------------------------------
 */
void brokerd_stop(struct brokerd *d)
{
    if (d->closing)
        return;
    d->closing = true;
    remotes_close(d);
    http_server_close(d->http);
    store_close(d->store);
    uv_timer_t *timers[] = {&d->alarm, &d->refusals, &d->heartbeat, &d->check, &d->audit_poll};
    for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++)
        uv_close((uv_handle_t *)timers[i], NULL);
}

void brokerd_give_up(struct brokerd *d)
{
    d->exit_code = 1;
    brokerd_stop(d);
}

static uint64_t random_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        abort(); /* ids that can be guessed are worse than no daemon */
    return seed;
}

static bool make_cores(struct brokerd *d)
{
    const struct settings *settings = d->settings;
    d->core = broker_new(&(struct broker_options){
        .id = str_of(d->id),
        .lease = settings->lease,
        .lost_grace = settings->lost_grace,
        .sweep_every = settings->sweep,
        .retransmit_every = settings->retransmit,
        .roots_per_sweep = 200,
        .token_base = 1,
        .encode = api_encode_record,
        .decode = api_decode_record,
        .encode_link = api_encode_link,
    });
    d->cancels = cancels_new(&(struct cancels_options){
        .hold = SECONDS(15 * 60),
        .hold_max = 10000,
        .asks_max = (size_t)settings->max_waits,
        .lease = settings->lease,
        .token_base = CANCELS_TOKEN_BASE,
        .encode = api_encode_record,
        .decode = api_decode_record,
        .encode_link = api_encode_link,
    });
    d->orders = orders_new(&(struct orders_options){
        .id = str_of(d->id),
        .remember = SECONDS(15 * 60),
        .lease = settings->lease,
        .jobs_max = ORDERS_AT_ONCE,
        .token_base = ORDERS_TOKEN_BASE,
        .decode_order = api_decode_order,
        .decode_meta = api_decode_meta,
        .decode_progress = api_decode_progress,
        .encode_progress = api_encode_progress,
    });
    return d->core != NULL && d->cancels != NULL && d->orders != NULL;
}

static enum err open_store(struct brokerd *d, const char **why)
{
    char name[sizeof d->id + 16];
    snprintf(name, sizeof name, "brakewire-%s", d->id);
    const struct settings *settings = d->settings;
    struct redis_target target = settings_redis(settings);
    target.client_name = name;
    target.seed = rng_next(&d->rng);
    struct store_options options = {.namespace = settings->namespace,
                                    .tombstone_ttl = settings->tombstone_ttl,
                                    .audit_max = (size_t)settings->audit_max,
                                    .durable = {.replicas = (unsigned)settings->durable_replicas,
                                                .timeout = settings->durable_timeout}};
    redis_news_init(&d->redis_news, settings->redis_url);
    *why = "redis_url cannot be used";
    return store_open(d->loop, &target, &options, &upstream_events, d, &d->store);
}

static const char *said(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : NULL;
}

static enum err open_http(struct brokerd *d, const char **why)
{
    const struct settings *settings = d->settings;
    struct http_server_options options = {.unix_path = said(settings->socket),
                                          .unix_mode = settings_socket_mode(settings),
                                          .tcp = said(settings->listen),
                                          .stream_max = 4 << 20, /* a tree is one event */
                                          .connections_max = (unsigned)settings->max_waits
                                                             + READS_MAX + STREAMS_MAX + JOINS_MAX,
                                          .streams_max = STREAMS_MAX};
    return http_server_open(d->loop, &options, &api_events, d, &d->http, why);
}

static void init_timers(struct brokerd *d)
{
    enum { CHECK_MS = 5000 };
    uv_timer_t *timers[] = {&d->alarm, &d->refusals, &d->heartbeat, &d->check, &d->audit_poll};
    for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++) {
        uv_timer_init(d->loop, timers[i]);
        timers[i]->data = d;
    }
    uv_timer_start(&d->check, upstream_check, CHECK_MS, CHECK_MS);
}

static void free_memory(struct brokerd *d)
{
    LIST_EACH (at, then, &d->later)
        mem_free(LIST_OWNER(at, struct later, in_order));
    broker_free(d->core);
    cancels_free(d->cancels);
    orders_free(d->orders);
    mem_free(d->todo.item);
    mem_free(d->cancels_todo.item);
    mem_free(d->orders_todo.item);
    orders_asked_fini(d);
    asks_fini(d);
    reads_fini(d);
    audit_fini(d);
    host_list_free(d->call_hosts);
    map_fini(&d->asks);
    map_fini(&d->feeds);
    redis_news_fini(&d->redis_news);
    mem_free(d->server);
    mem_free(d->generation);
    mem_free(d);
}

static struct brokerd *brokerd_new(uv_loop_t *loop, const struct settings *settings)
{
    enum { SUFFIX = 12 };
    char suffix[SUFFIX + 1];
    struct brokerd *d = mem_new(sizeof *d);
    if (d == NULL)
        return NULL;
    d->loop = loop;
    d->settings = settings;
    d->rng.state = random_seed();
    rng_name(&d->rng, suffix, SUFFIX);
    snprintf(d->id, sizeof d->id, "%s%s", settings->id_prefix, suffix);
    d->feeds.seed = (uint32_t)rng_next(&d->rng);
    struct list *lists[] = {&d->later,      &d->refused,       &d->reads,    &d->audit,
                            &d->audit_sent, &d->audit_streams, &d->listeners};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        list_init(lists[i]);
    numbers_init(&d->numbers);
    if (make_cores(d))
        return d;
    free_memory(d);
    return NULL;
}

/* The loop must run once more before the memory may go: a store is being closed. */
static void undo(struct brokerd *d)
{
    d->closing = true;
    remotes_close(d);
    if (d->store != NULL)
        store_close(d->store);
    uv_run(d->loop, UV_RUN_DEFAULT);
    free_memory(d);
}

enum err brokerd_open(uv_loop_t *loop, const struct settings *settings, struct brokerd **out,
                      const char **why)
{
    struct brokerd *d = brokerd_new(loop, settings);
    if (d == NULL)
        return ERR_NOMEM;
    enum err err = remotes_open(d);
    if (err == ERR_OK)
        err = open_store(d, why);
    if (err == ERR_OK)
        err = open_http(d, why);
    if (err != ERR_OK) {
        undo(d);
        return err;
    }
    init_timers(d);
    log_info("broker is there", "id=%s listen=%s port=%u namespace=%s", d->id,
             said(settings->listen) != NULL ? settings->listen : "none", http_server_port(d->http),
             settings->namespace);
    *out = d;
    return ERR_OK;
}

int brokerd_free(struct brokerd *d)
{
    int code = d->exit_code;
    free_memory(d);
    return code;
}
