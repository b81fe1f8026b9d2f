#include "core/broker_inside.h"

/* What a replica that is gone has left behind, one replica at a time: first its runs are suspect,
 * after two leases they are lost, and when nothing of it lives any more it is forgotten. Nobody is
 * lost while more than a fifth of the replicas are gone: then it is Redis or the network that is in
 * trouble. */

enum { LOSSES_AT_LEAST = 3, FIFTH = 5 };

static bool was_gone(const struct broker *b, const struct replica *replica, struct instant at)
{
    return replica_absence(b, replica).ms - (b->now.ms - at.ms) >= 2 * b->options.lease.ms;
}

static bool is_gone(const struct broker *b, const struct replica *replica)
{
    return was_gone(b, replica, b->now);
}

static bool is_anybody_gone_uncounted(const struct broker *b)
{
    const struct replica *replica;
    for (size_t i = 0; (replica = map_next(&b->replicas, &i)) != NULL;)
        if (is_gone(b, replica) && !replica->counted && !replica->cleared)
            return true;
    return false;
}

/* ---- the next one ---------------------------------------------------------------------------- */
static void read_held(struct broker *b)
{
    struct store_call call = {.op = STORE_HELD_READ, .replica = str_of(b->clearing->name)};
    broker_call(b, (struct broker_call){.purpose = FOR_HELD}, &call);
}

static void look_at_lease(struct broker *b, enum purpose purpose)
{
    struct store_call call = {.op = STORE_LEASE_READ, .replica = str_of(b->clearing->name)};
    broker_call(b, (struct broker_call){.purpose = purpose}, &call);
}

static void count_loss(struct broker *b)
{
    struct replica *replica = b->clearing;
    struct store_call call = {
        .op = STORE_LOSS_COUNT, .replica = str_of(replica->name), .number = 1};
    replica->counted = true;
    broker_say(b, FACT_REPLICA_LOST, STR_NONE, STR_NONE, str_of(replica->name));
    broker_call(b, (struct broker_call){.purpose = FOR_NOTE_LOSS}, &call);
}

/* Suspects first: that harms nobody. The leases were read a while ago: who may have come back since
 * then is looked at once more before anything of it is lost. And who is gone only since it was
 * counted how many are waits for the next count. */
static void clear_next(struct broker *b)
{
    struct replica *replica;
    b->clearing = NULL;
    while (b->holds_lock && (replica = map_next(&b->replicas, &b->clear_at)) != NULL) {
        if (!replica->suspect || replica->cleared)
            continue;
        b->clearing = replica;
        b->clearing_left_some = false;
        b->clearing_losses =
            was_gone(b, replica, b->clear_began) && (!b->suspended || replica->confirmed);
        if (b->clearing_losses)
            look_at_lease(b, FOR_FIRST_LOOK);
        else
            read_held(b);
        return;
    }
    b->clears = false;
}

void clear_begin(struct broker *b)
{
    if (b->clears || !instant_reached(b->now, b->clear_next))
        return;
    b->clear_next = instant_after(b->now, MILLIS(b->options.lease.ms / 10));
    b->clear_at = 0;
    b->clear_began = b->now;
    b->clears = true;
    if (!is_anybody_gone_uncounted(b)) {
        if (b->suspended)
            broker_say(b, FACT_SWEEP_RESUMED, STR_NONE, STR_NONE, STR_NONE);
        b->suspended = false;
        clear_next(b);
        return;
    }
    struct store_call call = {.op = STORE_LOSS_COUNT, .replica = b->options.id, .number = 0};
    broker_call(b, (struct broker_call){.purpose = FOR_LOSSES}, &call);
}

/* Those that are suspect now count as if they were lost already: what went at once is not gone for
 * two leases in the same moment, and of half a fleet not even the first fifth is declared lost.
 * `recent` are others than those that are listed, so that each counts once, whoever has noted it,
 * and how often. */
static void losses_known(struct broker *b, int64_t recent)
{
    int64_t losses = recent, known = recent;
    const struct replica *replica;
    for (size_t i = 0; (replica = map_next(&b->replicas, &i)) != NULL;) {
        known += replica->cleared ? 0 : 1;
        losses += replica->suspect && !replica->cleared ? 1 : 0;
    }
    bool too_many = losses >= LOSSES_AT_LEAST && losses * FIFTH > known;
    if (too_many != b->suspended)
        broker_say(b, too_many ? FACT_SWEEP_SUSPENDED : FACT_SWEEP_RESUMED, STR_NONE, STR_NONE,
                   STR_NONE);
    b->suspended = too_many;
    struct store_call call = {.op = STORE_CONFIRM_READ};
    if (too_many && b->holds_lock)
        broker_call(b, (struct broker_call){.purpose = FOR_CONFIRMED}, &call);
    else
        clear_next(b);
}

/* ---- what an operator has confirmed ---------------------------------------------------------- */
/* In Redis: whichever broker was told, the one that sweeps must know. */
void clear_confirm(struct broker *b)
{
    struct replica *replica;
    for (size_t i = 0; (replica = map_next(&b->replicas, &i)) != NULL;) {
        struct store_call call = {.op = STORE_CONFIRM_ADD, .replica = str_of(replica->name)};
        if (is_gone(b, replica) && !replica->cleared)
            broker_call(b, (struct broker_call){.purpose = FOR_NOTHING}, &call);
    }
}

void confirm_forget(struct broker *b, struct str replica)
{
    struct store_call call = {.op = STORE_CONFIRM_DROP, .replica = arena_copy(&b->arena, replica)};
    broker_call(b, (struct broker_call){.purpose = FOR_NOTHING}, &call);
}

/* It holds for as long as the replica stays away: the next time it must be confirmed anew. */
static void confirmed_known(struct broker *b, const struct store_answer *answer)
{
    for (size_t i = 0; i < answer->list_count; i++) {
        struct replica *replica = map_find(&b->replicas, answer->list[i]);
        if (replica != NULL && is_gone(b, replica))
            replica->confirmed = true;
        else if (replica == NULL || replica->leased)
            confirm_forget(b, answer->list[i]);
    }
    clear_next(b);
}

/* ---- its roots, one after the other ------------------------------------------------------------
 */
static void read_next_tree(struct broker *b)
{
    while (b->held_at < b->held_count) {
        struct store_call call = {.op = STORE_TREE, .root = id_str(&b->held[b->held_at])};
        if (broker_call(b, (struct broker_call){.purpose = FOR_OWNED}, &call))
            return;
        b->held_at++;
    }
    if (!b->clearing_losses || b->clearing_left_some) {
        clear_next(b);
        return;
    }
    look_at_lease(b, FOR_LAST_LOOK);
}

static void looked(struct broker *b, enum purpose purpose, const struct store_answer *answer)
{
    struct replica *replica = b->clearing;
    if (answer->verdict == SAID_OK) {
        replica_is_back(b, replica, answer->text);
        clear_next(b);
    } else if (purpose == FOR_LAST_LOOK) {
        struct store_call call = {.op = STORE_LEASE_DROP, .replica = str_of(replica->name)};
        broker_call(b, (struct broker_call){.purpose = FOR_DROP}, &call);
    } else if (replica->counted) {
        read_held(b);
    } else {
        count_loss(b);
    }
}

static void held_known(struct broker *b, const struct store_answer *answer)
{
    void *grown = b->held;
    b->held_at = b->held_count = 0;
    if (!mem_grow(&grown, &b->held_room, sizeof *b->held, answer->list_count)) {
        clear_next(b);
        return;
    }
    b->held = grown;
    for (size_t i = 0; i < answer->list_count; i++)
        if (id_parse(answer->list[i], &b->held[b->held_count]))
            b->held_count++;
    read_next_tree(b);
}

/* May it be lost already, or only be suspect? */
static bool only_suspect(const struct broker *b, const struct tree_run *run)
{
    if (!b->clearing_losses)
        return true;
    if ((run->flags & RUN_FLAG_LOST_CONTINUE) == 0)
        return false;
    int64_t patience = 2 * b->options.lease.ms + b->options.lost_grace.ms;
    return replica_absence(b, b->clearing).ms < patience;
}

static void declare(struct broker *b, struct str root, const struct tree_run *run, bool suspect)
{
    struct store_call call = {
        .op = STORE_LOST,
        .root = root,
        .run = run->id,
        .epoch = run->epoch,
        .incarnation = run->incarnation,
        .replica = run->owner,
        .record = broker_record(b, root, run->id, STR("lost")),
        .only_suspect = suspect,
    };
    struct broker_call about = {.purpose = FOR_LOST};
    if (!id_parse(run->id, &about.run) || !id_parse(root, &about.root))
        return;
    if (broker_call(b, about, &call))
        b->lost_asked++;
}

static void look_at(struct broker *b, const struct tree *tree, struct str root)
{
    struct str owner = str_of(b->clearing->name);
    int64_t redis_now = b->wall.ms + b->redis_ahead_ms;
    for (size_t i = 0; i < tree->run_count; i++) {
        const struct tree_run *run = tree->run[i];
        if (!run_is_live(run->state) || !str_eq(run->owner, owner))
            continue;
        bool suspect = only_suspect(b, run);
        if (suspect || b->lost_asked >= CALLS_PER_TREE)
            b->clearing_left_some = true;
        if (run->deadline_ms > 0 && run->deadline_ms <= redis_now)
            follow_deadline(b, tree, run, root);
        if (b->lost_asked < CALLS_PER_TREE && !(suspect && (run->flags & RUN_FLAG_SUSPECT) != 0))
            declare(b, root, run, suspect);
    }
}

static void tree_known(struct broker *b, const struct store_answer *answer)
{
    struct str root = id_str(&b->held[b->held_at++]); /* lives longer than the effects */
    if (answer->tree != NULL)
        look_at(b, answer->tree, root);
    if (b->lost_asked == 0)
        read_next_tree(b);
}

/* Fenced: somebody else carries it now, and it is not this replica's any more. */
static void declared(struct broker *b, const struct broker_call *call,
                     const struct store_answer *answer)
{
    if (answer->verdict == SAID_LOST)
        broker_say(b, FACT_RUN_LOST, id_str(&call->root), id_str(&call->run),
                   str_of(b->clearing->name));
    if (--b->lost_asked == 0)
        read_next_tree(b);
}

static void dropped(struct broker *b)
{
    struct replica *replica = b->clearing;
    broker_say(b, FACT_REPLICA_CLEARED, STR_NONE, STR_NONE, str_of(replica->name));
    replica->cleared =
        true; /* its memory goes with the next list: its lease may be asked for now */
    clear_next(b);
}

void clear_answered(struct broker *b, const struct broker_call *call,
                    const struct store_answer *answer)
{
    if (broker_has_trouble(b, answer))
        return;
    switch (call->purpose) {
    case FOR_LOSSES:
        losses_known(b, answer->number);
        break;
    case FOR_CONFIRMED:
        confirmed_known(b, answer);
        break;
    case FOR_FIRST_LOOK:
    case FOR_LAST_LOOK:
        looked(b, call->purpose, answer);
        break;
    case FOR_NOTE_LOSS:
        read_held(b);
        break;
    case FOR_HELD:
        held_known(b, answer);
        break;
    case FOR_OWNED:
        tree_known(b, answer);
        break;
    case FOR_LOST:
        declared(b, call, answer);
        break;
    default:
        dropped(b);
    }
}
