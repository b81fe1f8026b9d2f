/* What comes from Redis: it is there, it is gone, it answers, it published something. */
#include "agentd/inside.h"

#include <hiredis/hiredis.h>

#include "api/api_codec.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/redis_router.h"
#include "wire/message.h"

/* ---- calls --------------------------------------------------------------------------------- */

struct refused_call {
    struct link in_order;
    uint64_t token;
};

void upstream_answered(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct agentd *d = owner;
    if (answer->verdict == SAID_UNWRITABLE)
        redis_news_refuses(&d->redis_news, answer->text, agentd_now(d));
    if (token >= CANCELS_TOKEN_BASE)
        feed_cancels(
            d, (struct cancels_event){.kind = CANCELS_ANSWER, .token = token, .answer = answer});
    else
        feed(d, (struct agent_event){.kind = AGENT_ANSWER, .token = token, .answer = answer});
}

/* A call that the store has no room for is answered like one that met no server, a little later: at
 * once it would only be asked again. */
void upstream_send_now(struct agentd *d, const struct store_call *call, uint64_t token)
{
    enum { A_LITTLE_MS = 20 };
    enum err err = store_send(d->store, call, upstream_answered, d, token);
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

/* Only cancels overtake reports: an end must find counted what was reported before it. */
void upstream_send(struct agentd *d, const struct store_call *call, uint64_t token)
{
    if (call->op == STORE_REPORT && reports_hold(d, call, token))
        return;
    if (call->op != STORE_CANCEL)
        reports_send(d);
    upstream_send_now(d, call, token);
}

void upstream_answer_refused(uv_timer_t *timer)
{
    struct agentd *d = timer->data;
    struct list refused;
    list_init(&refused);
    LIST_EACH (at, then, &d->refused) { /* what is refused from now on waits for the next time */
        link_remove(at);
        list_add_last(&refused, at);
    }
    LIST_EACH (at, then, &refused) {
        struct refused_call *call = LIST_OWNER(at, struct refused_call, in_order);
        link_remove(at);
        upstream_answered(d, call->token, &(struct store_answer){.verdict = SAID_OFFLINE});
        mem_free(call);
    }
}

void upstream_subscribe(struct agentd *d, struct str root, bool watch)
{
    enum err err = store_subscribe(d->store, root, watch);
    if (err != ERR_OK) /* the next reconcile finds what a message would have told */
        log_error("not subscribed", "root=%.*s because=\"%s\"", (int)root.len, root.at,
                  err_text(err));
}

void upstream_publish(struct agentd *d, const struct agent_effect *effect)
{
    char bytes[MESSAGE_MAX_BYTES];
    size_t len = api_encode_record(&effect->record, bytes);
    struct store_call call = {.op = STORE_PUBLISH, .root = effect->root, .bytes = {bytes, len}};
    if (len == 0 || store_send(d->store, &call, NULL, NULL, 0) != ERR_OK)
        log_error("cancel not published", "root=%.*s", (int)effect->root.len, effect->root.at);
}

/* ---- hints --------------------------------------------------------------------------------- */

static void on_hint(struct agentd *d, struct str root, struct str bytes)
{
    struct message message;
    struct agent_event event = {.kind = AGENT_GARBAGE_SEEN, .root = root};
    enum err err = wire_message_decode(bytes, &message);
    if (err == ERR_OK && message.kind == MESSAGE_CANCEL) {
        event.kind = AGENT_CANCEL_SEEN;
        event.record = &message.cancel;
    } else if (wire_text_cancel(bytes, &event.text, &event.reason) == ERR_OK) {
        event.kind = AGENT_TEXT_SEEN;
    } else if (err == ERR_INVALID) {
        event.kind = AGENT_NEWER_SEEN;
    } else {
        log_warn("message not understood", "root=%.*s bytes=%zu", (int)root.len, root.at,
                 bytes.len);
    }
    feed(d, event);
}

static void on_message(void *owner, struct str root, bool watch, struct str bytes)
{
    if (root.len == 0)
        feed(owner, (struct agent_event){.kind = AGENT_ORDERS_SEEN});
    else if (watch)
        feed_cancels(owner, (struct cancels_event){.kind = CANCELS_HINT, .root = root});
    else
        on_hint(owner, root, bytes);
}

/* Its slot has moved to another server of the cluster: what was said between the two is lost. */
static void on_missed(void *owner, struct str root, bool watch)
{
    if (root.len == 0)
        feed(owner, (struct agent_event){.kind = AGENT_ORDERS_SEEN});
    else if (watch)
        feed_cancels(owner, (struct cancels_event){.kind = CANCELS_HINT, .root = root});
    else
        feed(owner, (struct agent_event){.kind = AGENT_HINTS_MISSED, .root = root});
}

/* ---- the eviction policy ------------------------------------------------------------------- */

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
    struct agentd *d = owner;
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
        agentd_give_up(d);
}

static void ask_policy(struct agentd *d)
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
    struct agentd *d = owner;
    bool has_none = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 1
                    && reply->element[0]->type == REDIS_REPLY_NIL;
    if (!has_none || d->closing)
        return;
    log_error("redis cannot wait for disks",
              "durability=fsynced because=\"it has no WAITAOF: Redis 7.2, Valkey 7.2 or later do; "
              "or choose durability = replicated\"");
    agentd_give_up(d);
}

static void ask_waitaof(struct agentd *d)
{
    const struct str words[] = {STR("COMMAND"), STR("INFO"), STR("WAITAOF")};
    if (d->settings->durability != DURABLE_FSYNCED)
        return;
    if (redis_router_command(store_router(d->store), STR_NONE, 3, words, on_waitaof, d) != ERR_OK)
        log_debug("waitaof not asked for", "because=offline");
}

/* ---- up and down --------------------------------------------------------------------------- */

/* Another process answers at this address than the last time: it may have forgotten writes. */
static bool server_is_another(struct agentd *d, struct str run_id)
{
    bool is_another = d->server != NULL && !str_is(run_id, d->server);
    mem_free(d->server);
    d->server = mem_copy(run_id);
    return is_another;
}

static void on_up(void *owner, const struct redis_server *server)
{
    struct agentd *d = owner;
    bool lost = server_is_another(d, server->run_id);
    d->linked = true;
    redis_news_there(&d->redis_news, server, lost);
    ask_policy(d);
    ask_waitaof(d);
    feed(d, (struct agent_event){.kind = AGENT_LINK_UP, .text = server->run_id});
    feed_cancels(d, (struct cancels_event){.kind = CANCELS_LINK_UP,
                                           .lost = lost,
                                           .generation = agent_generation(d->agent)});
    audit_send_waiting(d);
}

static void on_down(void *owner, struct str why)
{
    struct agentd *d = owner;
    bool was_linked = d->linked;
    d->linked = false;
    if (d->closing)
        return;
    redis_news_away(&d->redis_news, why, agentd_now(d));
    if (!was_linked)
        return;
    feed(d, (struct agent_event){.kind = AGENT_LINK_DOWN});
    feed_cancels(d, (struct cancels_event){.kind = CANCELS_LINK_DOWN});
}

void upstream_check_generation(struct agentd *d)
{
    struct str now = agent_generation(d->agent);
    if (d->busy > 0 || now.len == 0 || (d->generation != NULL && str_is(now, d->generation)))
        return;
    bool lost = d->generation != NULL;
    mem_free(d->generation);
    d->generation = mem_copy(now);
    if (lost)
        log_warn("redis has forgotten", "generation=%.*s", (int)now.len, now.at);
    feed_cancels(d,
                 (struct cancels_event){.kind = CANCELS_LINK_UP, .lost = lost, .generation = now});
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
