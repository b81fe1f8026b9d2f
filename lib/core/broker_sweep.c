#include "core/broker_inside.h"

/* Who is there, and who has a lease. Every broker looks, so that it knows how long a lease has been
 * missing when it comes to hold the lock; only the holder acts. */

static void ask(struct broker *b, enum purpose purpose, struct store_call call)
{
    broker_call(b, (struct broker_call){.purpose = purpose}, &call);
}

void sweep_begin(struct broker *b)
{
    b->next_sweep = instant_after(b->now, b->options.sweep_every);
    if (b->sweeping)
        return;
    b->sweeping = true;
    ask(b, FOR_LOCK,
        (struct store_call){
            .op = STORE_LOCK, .id = STR("sweep"), .replica = b->options.id, .span = lock_lives(b)});
}

struct span replica_absence(const struct broker *b, const struct replica *replica)
{
    int64_t since = replica->without_since.ms > b->trust_since.ms ? replica->without_since.ms
                                                                  : b->trust_since.ms;
    return (struct span){replica->leased ? 0 : b->now.ms - since};
}

static void sweep_end(struct broker *b)
{
    b->sweeping = false;
    clear_begin(b);
    if (b->holds_lock)
        walk_begin(b);
}

/* ---- lock and clock
 * ------------------------------------------------------------------------------ */
static void locked(struct broker *b, const struct store_answer *answer)
{
    b->holds_lock = answer->verdict == SAID_OK;
    ask(b, FOR_TIME, (struct store_call){.op = STORE_TIME});
}

static void timed(struct broker *b, const struct store_answer *answer)
{
    b->redis_ahead_ms = answer->number - b->wall.ms;
    if (!instant_reached(b->now, b->leases_next)) {
        sweep_end(b);
        return;
    }
    int64_t every = b->options.lease.ms / 5;
    b->leases_next =
        instant_after(b->now, MILLIS(every - every / 4)); /* sweeps come a little late */
    ask(b, FOR_REPLICAS, (struct store_call){.op = STORE_REPLICAS_READ});
}

/* ---- replicas
 * ------------------------------------------------------------------------------------ */
static struct replica *replica_named(struct broker *b, struct str name)
{
    struct replica *replica = map_find(&b->replicas, name);
    if (replica != NULL || name.len > NAME_MAX_BYTES || name.len == 0
        || b->replicas.count == REPLICAS_MAX)
        return replica;
    replica = mem_new(sizeof *replica);
    if (replica == NULL)
        return NULL;
    memcpy(replica->name, name.at, name.len);
    replica->leased = true; /* until we have looked */
    if (!map_add(&b->replicas, str_of(replica->name), replica)) {
        mem_free(replica);
        return NULL;
    }
    return replica;
}

void replicas_forget(struct broker *b)
{
    struct replica *replica;
    for (size_t i = 0; (replica = map_next(&b->replicas, &i)) != NULL;) {
        map_take(&b->replicas, str_of(replica->name));
        mem_free(replica);
    }
}

static void forget_unlisted(struct broker *b)
{
    struct replica *replica;
    for (size_t i = 0; (replica = map_next(&b->replicas, &i)) != NULL;) {
        if (replica->listed || replica == b->clearing)
            continue;
        map_take(&b->replicas, str_of(replica->name));
        mem_free(replica);
    }
}

static void listed(struct broker *b, const struct store_answer *answer)
{
    struct replica *replica;
    for (size_t i = 0; (replica = map_next(&b->replicas, &i)) != NULL;)
        replica->listed = false;
    for (size_t i = 0; i < answer->list_count; i++) {
        replica = replica_named(b, answer->list[i]);
        if (replica == NULL)
            continue;
        replica->listed = true;
        replica->since_ms = answer->score != NULL ? answer->score[i] : 0;
    }
    forget_unlisted(b);
    ask(b, FOR_QUARANTINED, (struct store_call){.op = STORE_QUARANTINE_READ});
}

static void quarantine_known(struct broker *b, const struct store_answer *answer)
{
    struct replica *replica;
    for (size_t i = 0; (replica = map_next(&b->replicas, &i)) != NULL;)
        replica->quarantined = false;
    for (size_t i = 0; i < answer->list_count; i++)
        if ((replica = map_find(&b->replicas, answer->list[i])) != NULL)
            replica->quarantined = true;
}

static void ask_for_leases(struct broker *b)
{
    struct replica *replica;
    for (size_t i = 0; (replica = map_next(&b->replicas, &i)) != NULL;) {
        struct store_call call = {.op = STORE_LEASE_READ, .replica = str_of(replica->name)};
        if (broker_call(b, (struct broker_call){.purpose = FOR_LEASE, .replica = replica}, &call))
            b->leases_asked++;
    }
    if (b->leases_asked == 0)
        sweep_end(b);
}

void replica_is_back(struct broker *b, struct replica *replica, struct str generation)
{
    size_t len = generation.len <= NAME_MAX_BYTES ? generation.len : NAME_MAX_BYTES;
    memset(replica->generation, 0, sizeof replica->generation);
    if (len > 0)
        memcpy(replica->generation, generation.at, len);
    if (replica->suspect) {
        broker_say(b, FACT_REPLICA_BACK, STR_NONE, STR_NONE, str_of(replica->name));
        confirm_forget(b, str_of(replica->name));
    }
    replica->leased = true;
    replica->suspect = replica->counted = replica->confirmed = replica->cleared = false;
}

static void lease_is_missing(struct broker *b, struct replica *replica)
{
    if (replica->leased)
        replica->without_since = b->now;
    replica->leased = false;
    replica->generation[0] = '\0';
    if (!replica->suspect && replica_absence(b, replica).ms >= b->options.lease.ms) {
        replica->suspect = true;
        broker_say(b, FACT_REPLICA_SUSPECT, STR_NONE, STR_NONE, str_of(replica->name));
    }
}

void sweep_answered(struct broker *b, const struct broker_call *call,
                    const struct store_answer *answer)
{
    if (broker_has_trouble(b, answer))
        return;
    switch (call->purpose) {
    case FOR_LOCK:
        locked(b, answer);
        break;
    case FOR_TIME:
        timed(b, answer);
        break;
    case FOR_REPLICAS:
        listed(b, answer);
        break;
    case FOR_QUARANTINED:
        quarantine_known(b, answer);
        ask_for_leases(b);
        break;
    default:
        if (answer->verdict == SAID_OK)
            replica_is_back(b, call->replica, answer->text);
        else
            lease_is_missing(b, call->replica);
        if (--b->leases_asked == 0)
            sweep_end(b);
    }
}
