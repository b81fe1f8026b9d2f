#include "core/broker.h"

#include <assert.h>

#include "core/broker_inside.h"

const char *broker_fact_text(enum broker_fact fact)
{
    static const char *const text[] = {
        [FACT_REPLICA_SUSPECT] = "replica is suspect",
        [FACT_REPLICA_BACK] = "replica is back",
        [FACT_REPLICA_LOST] = "replica is lost",
        [FACT_REPLICA_CLEARED] = "replica is cleared away",
        [FACT_RUN_LOST] = "run is lost",
        [FACT_DEADLINE_PASSED] = "deadline has passed",
        [FACT_LINK_FOLLOWED] = "link followed",
        [FACT_PUBLISHED_AGAIN] = "cancel published again",
        [FACT_SWEEP_SUSPENDED] = "sweep suspended: too many replicas are gone",
        [FACT_SWEEP_RESUMED] = "sweep goes on",
    };
    return text[fact];
}

/* ---- effects -----------------------------------------------------------------------------------
 */
struct broker_effect *broker_effect_add(struct broker *b, enum broker_effect_kind kind)
{
    struct broker_effects *todo = b->todo;
    void *item = todo->item;
    if (!mem_grow(&item, &todo->room, sizeof *todo->item, todo->count + 1)) {
        b->failed = true;
        return NULL;
    }
    todo->item = item;
    struct broker_effect *effect = &todo->item[todo->count++];
    *effect = (struct broker_effect){.kind = kind};
    return effect;
}

void broker_say(struct broker *b, enum broker_fact fact, struct str root, struct str run,
                struct str replica)
{
    struct broker_effect *effect = broker_effect_add(b, BROKER_DO_LOG);
    if (effect == NULL)
        return;
    effect->fact = fact;
    effect->root = arena_copy(&b->arena, root);
    effect->run = arena_copy(&b->arena, run);
    effect->replica = arena_copy(&b->arena, replica);
}

struct str broker_record(struct broker *b, struct str root, struct str run, struct str reason)
{
    char cause[2 * (RUN_ID_MAX + 1)];
    memcpy(cause, root.at, root.len);
    cause[root.len] = '.';
    memcpy(cause + root.len + 1, run.at, run.len);
    struct cancel_record record = {
        .root = root,
        .target = run,
        .action = ACTION_INTERRUPT,
        .reason = reason,
        .by = STR("broker"),
        .at = b->wall,
        .grace = SPAN_NONE,
        .cause = {cause, root.len + 1 + run.len},
    };
    char *bytes = arena_take(&b->arena, MESSAGE_MAX_BYTES);
    if (bytes == NULL)
        return STR_NONE;
    size_t len = b->options.encode(&record, bytes);
    arena_give_back(&b->arena, MESSAGE_MAX_BYTES - ((len + 15) & ~(size_t)15));
    return (struct str){bytes, len};
}

/* ---- calls -------------------------------------------------------------------------------------
 */
static struct str token_key(const uint64_t *token)
{
    return (struct str){(const char *)token, sizeof *token};
}

bool broker_call(struct broker *b, struct broker_call about, const struct store_call *call)
{
    struct broker_call *sent = mem_new(sizeof *sent);
    if (sent == NULL)
        return false;
    *sent = about;
    sent->round = b->round;
    sent->token = b->options.token_base + ++b->last_token;
    struct broker_effect *effect = NULL;
    if (map_add(&b->calls, token_key(&sent->token), sent))
        effect = broker_effect_add(b, BROKER_DO_CALL);
    if (effect == NULL) {
        map_take(&b->calls, token_key(&sent->token));
        mem_free(sent);
        return false;
    }
    effect->token = sent->token;
    effect->call = *call;
    return true;
}

/* Everything that is under way is forgotten, and leases are trusted from now on only. */
static void start_over(struct broker *b)
{
    b->round++;
    b->trust_since = b->now;
    b->sweeping = b->walking = b->clears = false;
    b->clearing = NULL;
    b->leases_asked = b->lost_asked = b->counts_asked = 0;
}

bool broker_has_trouble(struct broker *b, const struct store_answer *answer)
{
    if (answer->verdict != SAID_OFFLINE && answer->verdict != SAID_UNWRITABLE
        && answer->verdict != SAID_ERROR)
        return false;
    start_over(b);
    return true;
}

static void answered(struct broker *b, uint64_t token, const struct store_answer *answer)
{
    struct broker_call *found = map_take(&b->calls, token_key(&token));
    if (found == NULL)
        return;
    struct broker_call call = *found;
    mem_free(found);
    if (call.round != b->round || call.purpose == FOR_NOTHING)
        return;
    if (call.purpose <= FOR_LEASE)
        sweep_answered(b, &call, answer);
    else if (call.purpose <= FOR_DROP)
        clear_answered(b, &call, answer);
    else
        walk_answered(b, &call, answer);
}

/* ---- events ------------------------------------------------------------------------------------
 */
static void link_came(struct broker *b, bool lost)
{
    start_over(b);
    b->linked = true;
    b->holds_lock = false;
    b->next_sweep = b->now;
    b->leases_next = b->now;
    if (lost)
        walk_forget(b); /* what was settled may be open again */
}

static void link_went(struct broker *b)
{
    start_over(b);
    b->linked = b->holds_lock = false;
    b->next_sweep = INSTANT_NEVER;
}

static void take_event(struct broker *b, const struct broker_event *event)
{
    switch (event->kind) {
    case BROKER_LINK_UP:
        link_came(b, event->lost);
        break;
    case BROKER_LINK_DOWN:
        link_went(b);
        break;
    case BROKER_ANSWER:
        answered(b, event->token, event->answer);
        break;
    case BROKER_CANCEL_ANSWERED:
        walk_cancelled(b, event->ask, event->result);
        break;
    case BROKER_REMOTE_ANSWERED:
        walk_remote_answered(b, event->ask, event->outcome);
        break;
    case BROKER_CONFIRM_LOSSES:
        clear_confirm(b);
        break;
    case BROKER_TIME_PASSED:
        if (b->linked && instant_reached(b->now, b->next_sweep))
            sweep_begin(b);
        break;
    }
}

struct span lock_lives(const struct broker *b)
{
    return MILLIS(3 * b->options.sweep_every.ms);
}

/* Longer without a step than the lock lives: we were frozen, and what was read then is old. */
static bool was_frozen(const struct broker *b)
{
    return b->linked && b->now.ms - b->last.ms > lock_lives(b).ms;
}

enum err broker_step(struct broker *b, const struct broker_event *event,
                     struct broker_effects *todo)
{
    arena_reset(&b->arena);
    todo->count = 0;
    b->todo = todo;
    b->failed = false;
    b->now = event->at;
    b->wall = event->wall;
    if (was_frozen(b)) {
        start_over(b);
        b->holds_lock = false;
    }
    b->last = event->at;
    take_event(b, event);
    return b->failed ? ERR_NOMEM : ERR_OK;
}

struct instant broker_deadline(const struct broker *b)
{
    return b->next_sweep;
}

struct broker *broker_new(const struct broker_options *options)
{
    struct broker *b = mem_new(sizeof *b);
    if (b == NULL)
        return NULL;
    b->options = *options;
    b->next_sweep = INSTANT_NEVER;
    list_init(&b->seen_by_age);
    list_init(&b->following_by_age);
    return b;
}

void broker_free(struct broker *b)
{
    if (b == NULL)
        return;
    void *item;
    for (size_t i = 0; (item = map_next(&b->calls, &i)) != NULL;)
        mem_free(item);
    for (size_t i = 0; (item = map_next(&b->following, &i)) != NULL;)
        mem_free(item);
    walk_forget(b);
    replicas_forget(b);
    map_fini(&b->calls);
    map_fini(&b->following);
    map_fini(&b->following_links);
    map_fini(&b->seen);
    map_fini(&b->replicas);
    mem_free(b->held);
    mem_free(b->roots);
    arena_fini(&b->arena);
    mem_free(b);
}

/* ---- to look at --------------------------------------------------------------------------------
 */
bool broker_sweep_suspended(const struct broker *b)
{
    return b->suspended;
}

bool broker_holds_lock(const struct broker *b)
{
    return b->holds_lock;
}

size_t broker_suspect_replicas(const struct broker *b)
{
    size_t count = 0;
    const struct replica *replica;
    for (size_t i = 0; (replica = map_next(&b->replicas, &i)) != NULL;)
        count += replica->suspect && !replica->cleared ? 1 : 0;
    return count;
}

bool broker_next_replica(const struct broker *b, size_t *at, struct instant now,
                         struct broker_replica_view *out)
{
    const struct replica *replica = map_next(&b->replicas, at);
    if (replica == NULL)
        return false;
    int64_t without = replica->leased ? 0 : now.ms - replica->without_since.ms;
    *out = (struct broker_replica_view){
        .replica = str_of(replica->name),
        .generation = str_of(replica->generation),
        .leased = replica->leased,
        .quarantined = replica->quarantined,
        .without_lease = {without},
        .since_ms = replica->since_ms,
    };
    return true;
}
