/* What comes from Redis: it is there, it is gone, it answers, it published something. */
#include <hiredis/hiredis.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/inside.h"
#include "io/redis_router.h"

/* ---- calls of the cores ------------------------------------------------------------------------
 */
struct refused_call {
    struct link in_order;
    uint64_t token;
};

static void on_answered(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct brokerd *d = owner;
    if (answer->verdict == SAID_UNWRITABLE)
        redis_news_refuses(&d->redis_news, answer->text, brokerd_now(d));
    if (token >= CANCELS_TOKEN_BASE)
        feed_cancels(
            d, (struct cancels_event){.kind = CANCELS_ANSWER, .token = token, .answer = answer});
    else if (token >= ORDERS_TOKEN_BASE)
        feed_orders(d,
                    (struct orders_event){.kind = ORDERS_ANSWER, .token = token, .answer = answer});
    else
        feed_core(d,
                  (struct broker_event){.kind = BROKER_ANSWER, .token = token, .answer = answer});
}

/* A call that the store has no room for is answered like one that met no server, a little later: at
 * once it would only be asked again. */
void upstream_send(struct brokerd *d, const struct store_call *call, uint64_t token)
{
    enum { A_LITTLE_MS = 20 };
    enum err err = store_send(d->store, call, on_answered, d, token);
    if (err == ERR_OK)
        return;
    struct refused_call *refused = mem_new(sizeof *refused);
    log_error("call refused", "call=%s because=\"%s\"", store_op_name(call->op), err_text(err));
    if (refused == NULL)
        return;
    refused->token = token;
    list_add_last(&d->refused, &refused->in_order);
    if (!uv_is_active((uv_handle_t *)&d->refusals))
        uv_timer_start(&d->refusals, upstream_answer_refused, A_LITTLE_MS, 0);
}

void upstream_answer_refused(uv_timer_t *timer)
{
    struct brokerd *d = timer->data;
    struct list refused;
    list_init(&refused);
    LIST_EACH (at, then, &d->refused) { /* what is refused from now on waits for the next time */
        link_remove(at);
        list_add_last(&refused, at);
    }
    LIST_EACH (at, then, &refused) {
        struct refused_call *call = LIST_OWNER(at, struct refused_call, in_order);
        link_remove(at);
        on_answered(d, call->token, &(struct store_answer){.verdict = SAID_OFFLINE});
        mem_free(call);
    }
}

void upstream_subscribe(struct brokerd *d, struct str root, bool watch)
{
    enum err err = store_subscribe(d->store, root, watch);
    if (err != ERR_OK) /* the tree is read again every second */
        log_error("not subscribed", "root=%.*s because=\"%s\"", (int)root.len, root.at,
                  err_text(err));
}

static void on_message(void *owner, struct str root, bool watch, struct str bytes)
{
    struct brokerd *d = owner;
    (void)bytes; /* a hint is a reason to look, not something to believe */
    if (d->closing)
        return;
    if (watch)
        feed_cancels(d, (struct cancels_event){.kind = CANCELS_HINT, .root = root});
    events_hint(d, root);
}

static void on_missed(void *owner, struct str root, bool watch)
{
    on_message(owner, root, watch, STR_NONE);
}

/* ---- the generation ----------------------------------------------------------------------------
 */
static void link_is_up(struct brokerd *d, bool lost)
{
    struct str generation = d->generation != NULL ? str_of(d->generation) : STR_NONE;
    d->linked = true;
    if (lost)
        log_warn("redis has forgotten", "generation=%.*s", (int)generation.len, generation.at);
    feed_cancels(
        d, (struct cancels_event){.kind = CANCELS_LINK_UP, .lost = lost, .generation = generation});
    feed_core(d, (struct broker_event){.kind = BROKER_LINK_UP, .lost = lost});
    feed_orders(d, (struct orders_event){.kind = ORDERS_LINK_UP, .lost = lost});
    audit_send_waiting(d);
}

static void on_generation(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct brokerd *d = owner;
    (void)token;
    d->generation_asked = false;
    if (d->closing || answer->verdict == SAID_OFFLINE)
        return;
    bool is_known = answer->verdict == SAID_OK;
    bool changed = is_known && d->generation != NULL && !str_is(answer->text, d->generation);
    if (is_known && (changed || d->generation == NULL)) {
        mem_free(d->generation);
        d->generation = mem_copy(answer->text);
    }
    bool lost = changed || d->server_changed;
    if (!d->linked || lost)
        link_is_up(d, lost);
    d->server_changed = false;
}

static void ask_generation(struct brokerd *d)
{
    enum { GENERATION_LEN = 16 };
    char fresh[GENERATION_LEN + 1];
    rng_name(&d->rng, fresh, GENERATION_LEN);
    struct store_call call = {.op = STORE_GENERATION, .generation = str_of(fresh)};
    if (!d->generation_asked)
        d->generation_asked = store_send(d->store, &call, on_generation, d, 0) == ERR_OK;
}

/* Redis may forget without a new connection: FLUSHALL. */
void upstream_check(uv_timer_t *timer)
{
    struct brokerd *d = timer->data;
    if (d->linked)
        ask_generation(d);
}

/* ---- the eviction policy -----------------------------------------------------------------------
 */
static struct str policy_of(const struct redisReply *reply)
{
    bool is_pair = reply != NULL
                   && (reply->type == REDIS_REPLY_MAP || reply->type == REDIS_REPLY_ARRAY)
                   && reply->elements == 2 && reply->element[1]->str != NULL;
    return is_pair ? (struct str){reply->element[1]->str, reply->element[1]->len} : STR_NONE;
}

/* A Redis that evicts any key may drop a cancel without a word. Where an ACL hides the policy,
 * nobody knows, and `brakectl check` says so. */
static void on_policy(void *owner, const struct redisReply *reply)
{
    struct brokerd *d = owner;
    struct str policy = policy_of(reply);
    bool is_first = d->eviction_checked == 0 || d->eviction_checked == d->link_ups;
    if (policy.at == NULL || d->closing)
        return;
    d->eviction_checked = is_first ? d->link_ups : d->eviction_checked;
    if (policy.len < 8 || memcmp(policy.at, "allkeys-", 8) != 0)
        return;
    bool refuses = is_first && !d->settings->eviction_override;
    log_error("redis may evict cancels",
              "maxmemory_policy=%.*s because=\"set it to noeviction or volatile-ttl%s\"",
              (int)policy.len, policy.at, refuses ? "; eviction_override starts all the same" : "");
    if (refuses)
        brokerd_give_up(d);
}

static void ask_policy(struct brokerd *d)
{
    const struct str words[] = {STR("CONFIG"), STR("GET"), STR("maxmemory-policy")};
    size_t sent = 0;
    d->link_ups++;
    if (redis_router_everywhere(store_router(d->store), 3, words, on_policy, d, &sent) != ERR_OK)
        log_debug("eviction policy not asked", "because=offline");
}

/* ---- what the server can do ---------------------------------------------------------------- */

/* Better no daemon than one that can never keep what it was configured to promise. */
static void on_waitaof(void *owner, const struct redisReply *reply)
{
    struct brokerd *d = owner;
    bool has_none = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 1
                    && reply->element[0]->type == REDIS_REPLY_NIL;
    if (!has_none || d->closing)
        return;
    log_error("redis cannot wait for disks",
              "durability=fsynced because=\"it has no WAITAOF: Redis 7.2, Valkey 7.2 or later do; "
              "or choose durability = replicated\"");
    brokerd_give_up(d);
}

static void ask_waitaof(struct brokerd *d)
{
    const struct str words[] = {STR("COMMAND"), STR("INFO"), STR("WAITAOF")};
    if (d->settings->durability != DURABLE_FSYNCED)
        return;
    if (redis_router_command(store_router(d->store), STR_NONE, 3, words, on_waitaof, d) != ERR_OK)
        log_debug("waitaof not asked for", "because=offline");
}

/* ---- up and down -------------------------------------------------------------------------------
 */
/* Another process answers at this address than the last time: it may have forgotten writes. */
static bool server_is_another(struct brokerd *d, struct str run_id)
{
    bool is_another = d->server != NULL && !str_is(run_id, d->server);
    mem_free(d->server);
    d->server = mem_copy(run_id);
    return is_another;
}

static void on_up(void *owner, const struct redis_server *server)
{
    struct brokerd *d = owner;
    if (d->closing)
        return;
    d->server_changed = server_is_another(d, server->run_id) || d->server_changed;
    redis_news_there(&d->redis_news, server, d->server_changed);
    ask_policy(d);
    ask_waitaof(d);
    ask_generation(d);
}

static void on_down(void *owner, struct str why)
{
    struct brokerd *d = owner;
    bool was_linked = d->linked;
    d->linked = false;
    if (d->closing)
        return;
    redis_news_away(&d->redis_news, why, brokerd_now(d));
    if (!was_linked)
        return;
    feed_cancels(d, (struct cancels_event){.kind = CANCELS_LINK_DOWN});
    feed_core(d, (struct broker_event){.kind = BROKER_LINK_DOWN});
    feed_orders(d, (struct orders_event){.kind = ORDERS_LINK_DOWN});
}

static void on_closed(void *owner)
{
    (void)owner; /* the loop ends when everything is closed: nothing to count */
}

const struct store_events upstream_events = {
    .on_up = on_up,
    .on_down = on_down,
    .on_message = on_message,
    .on_missed = on_missed,
    .on_closed = on_closed,
};
