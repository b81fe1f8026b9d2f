/* What Redis has said, and what it must not have said: the guarantees as they look from Redis. */
#include "sim/known.h"

#include <string.h>

#include "api/api_codec.h"
#include "sim/sim.h"
#include "wire/message.h"

enum { STEPS_MAX = 64, BY_MESSAGE_MS = 100, BY_COMPARING_MS = 1500 };

/* ---- by id ---------------------------------------------------------------------------------- */
static uint64_t mix(uint64_t hash, struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (unsigned char)text.at[i]) * UINT64_C(1099511628211);
    return hash ^ hash >> 29;
}

static size_t slot_of(const struct sim *sim, struct str id)
{
    const struct known_all *all = &sim->known;
    size_t slot = (size_t)mix(UINT64_C(14695981039346656037), id) % KNOWN_SLOTS;
    while (all->slot[slot] != 0 && !str_is(id, all->item[all->slot[slot] - 1].id))
        slot = (slot + 1) % KNOWN_SLOTS;
    return slot;
}

uint16_t known_find(const struct sim *sim, struct str id)
{
    const uint16_t at = sim->known.slot[slot_of(sim, id)];
    return at == 0 ? NOBODY : (uint16_t)(at - 1);
}

static uint16_t known_make(struct sim *sim, struct str root, struct str id, uint16_t parent)
{
    struct known_all *all = &sim->known;
    size_t slot = slot_of(sim, id);
    if (all->slot[slot] == 0) {
        if (all->count == KNOWN_MAX)
            violated(sim, "more ids than the simulator has room for");
        all->slot[slot] = (uint16_t)++all->count;
        struct known *known = &all->item[all->count - 1];
        copy_text(known->id, sizeof known->id, id);
        known->parent = NOBODY;
        known->root = (uint16_t)(all->count - 1);
    }
    uint16_t place = (uint16_t)(all->slot[slot] - 1);
    if (str_eq(root, id))
        return place;
    struct known *known = &all->item[place];
    uint16_t top = known_find(sim, root);
    known->root = top != NOBODY ? top : known_make(sim, root, root, NOBODY);
    if (known->parent == NOBODY)
        known->parent = parent;
    return place;
}

static uint16_t make_path(struct sim *sim, struct str root, struct str path)
{
    uint16_t parent = NOBODY;
    for (struct str rest = path; rest.len > 0;) {
        struct str id = str_cut(&rest, '.');
        if (id.len > 0) /* empty: the path was cut here */
            parent = known_make(sim, root, id, parent);
    }
    return parent;
}

static struct known *of_call(struct sim *sim, const struct store_call *call)
{
    uint16_t parent = make_path(sim, call->root, call->path);
    return &sim->known.item[known_make(sim, call->root, call->run, parent)];
}

/* ---- bans ----------------------------------------------------------------------------------- */
static bool is_set(const struct known *known, uint32_t flags)
{
    return (known->now.flags & flags) != 0;
}

/* A takeover lost the parent in an epoch in which this child was started. */
static bool was_left_behind(const struct known *parent, uint32_t parent_epoch)
{
    return parent->now.lost_epoch > 0 && parent_epoch <= parent->now.lost_epoch
           && is_set(parent, RUN_FLAG_LOST_TAKEOVER);
}

static bool is_banned_here(const struct known *known)
{
    return known->now.is_banned && known->now.banned_in == known->root;
}

/* A tombstone in a tree of its own, where a start that was asked for at that time looks. Whoever
 * leaves one too late cancels the run itself, and is refused where that is over. */
static bool is_tomb_since(const struct sim *sim, const struct known *known, int64_t asked_at)
{
    return known->now.is_banned && !known->now.is_late_tomb && sim->losses == 0
           && known->now.banned_at < asked_at;
}

/* asked_at: of a start, which finds tombstones wherever they lie; else -1. */
static uint16_t ban_above(const struct sim *sim, uint16_t place, int64_t asked_at)
{
    for (unsigned step = 0; place != NOBODY && step < STEPS_MAX; step++) {
        const struct known *known = &sim->known.item[place];
        if (is_banned_here(known) || is_tomb_since(sim, known, asked_at))
            return place;
        bool is_behind =
            known->parent != NOBODY
            && was_left_behind(&sim->known.item[known->parent], known->now.parent_epoch);
        if (is_behind)
            return known->parent;
        place = known->parent;
    }
    return NOBODY;
}

uint16_t known_ban(const struct sim *sim, uint16_t place)
{
    return ban_above(sim, place, -1);
}

static uint16_t place_of(const struct sim *sim, const struct known *known)
{
    return (uint16_t)(known - sim->known.item);
}

static const char *name_at(const struct sim *sim, uint16_t place)
{
    return sim->known.item[place].id;
}

static uint64_t cause_of(struct str bytes)
{
    struct cancel_record record;
    if (!api_decode_record(bytes, &record))
        return 0;
    uint64_t hash = mix(mix((uint64_t)record.at.ms, record.reason), record.by);
    return hash != 0 ? hash : 1;
}

/* A cancel with the reason `lost`, or one that came by a link from such a one, is obeyed by
 * comparing, at most once a second. */
static int64_t told_within(struct str root, struct str bytes)
{
    struct cancel_record record;
    bool is_lost = api_decode_record(bytes, &record)
                   && (str_is(record.reason, "lost") || !str_eq(record.root, root));
    return is_lost ? BY_COMPARING_MS : BY_MESSAGE_MS;
}

static bool has_begun(const struct known *known)
{
    return known->now.state != RUN_NONE && known->now.state != RUN_NEVER;
}

static void ban(struct sim *sim, struct known *known, struct str root, struct str record)
{
    known->was_banned = true;
    known->was_buried = known->was_buried || str_is(root, known->id);
    if (is_banned_here(known))
        return;
    known->now.is_banned = true;
    known->now.banned_in = known_find(sim, root);
    known->now.is_late_tomb = known->now.banned_in != known->root && has_begun(known);
    known->now.banned_at = sim->now;
    known->now.first_cancel = cause_of(record);
    promise_told(sim, told_within(root, record));
}

/* ---- starts --------------------------------------------------------------------------------- */
static uint64_t life_of(const struct store_call *call)
{
    return mix(UINT64_C(14695981039346656037), call->incarnation);
}

static void moves_to(struct known *known, const struct store_call *call)
{
    copy_text(known->now.owner, sizeof known->now.owner, call->replica);
    known->now.life = life_of(call);
}

static void lives(struct sim *sim, struct known *known, const struct store_call *call,
                  uint32_t epoch)
{
    struct known *root = &sim->known.item[known->root];
    struct known *parent = known->parent != NOBODY ? &sim->known.item[known->parent] : NULL;
    bool is_fresh = known->now.state == RUN_NONE || known->now.state == RUN_NEVER;
    if (!run_is_live(known->now.state))
        root->now.live++;
    if (is_fresh && parent != NULL) {
        parent->now.children++;
        known->now.parent_epoch = parent->now.epoch;
    }
    known->now.state = RUN_RUNNING;
    known->now.epoch = epoch;
    known->now.flags =
        (call->flags & RUN_FLAGS_POLICY) | (known->now.flags & RUN_FLAG_LOST_TAKEOVER);
    moves_to(known, call);
}

static int64_t asked_at(const struct sim *sim, const struct known *known)
{
    int64_t last = -1;
    for (size_t i = 0; i < sim->run_count; i++)
        if (strcmp(sim->run[i].id, known->id) == 0 && sim->run[i].asked_at > last)
            last = sim->run[i].asked_at;
    return last;
}

/* G1, as it would be stored. */
static uint16_t ban_over_start(const struct sim *sim, const struct known *known, bool is_fresh)
{
    const struct known *parent = known->parent != NOBODY ? &sim->known.item[known->parent] : NULL;
    if (is_fresh && parent != NULL && was_left_behind(parent, parent->now.epoch))
        return known->parent;
    if (!is_fresh)
        return known_ban(sim, place_of(sim, known));
    const int64_t asked = asked_at(sim, known);
    if (is_banned_here(known) || is_tomb_since(sim, known, asked))
        return place_of(sim, known);
    return ban_above(sim, known->parent, asked);
}

static void check_limits(struct sim *sim, const struct known *known, const struct store_call *call)
{
    const struct known *root = &sim->known.item[known->root];
    if (root->now.live >= call->max_runs)
        violated(sim, "G10: %s starts as run %u of %u", known->id, root->now.live + 1,
                 call->max_runs);
    if (known->parent == NOBODY)
        return;
    const struct known *parent = &sim->known.item[known->parent];
    if (parent->now.children >= call->max_children)
        violated(sim, "G10: %s starts as child %u of %u", known->id, parent->now.children + 1,
                 call->max_children);
}

static void started(struct sim *sim, struct known *known, const struct store_call *call,
                    const struct store_answer *answer)
{
    bool is_fresh = known->now.state == RUN_NONE || known->now.state == RUN_NEVER;
    bool is_taken_over = known->now.state == RUN_LOST && is_set(known, RUN_FLAG_LOST_TAKEOVER);
    if (!is_fresh && !is_taken_over)
        violated(sim, "G4: %s was %s and starts again", known->id,
                 run_state_name(known->now.state));
    uint16_t over = ban_over_start(sim, known, is_fresh);
    if (over != NOBODY && (call->flags & RUN_FLAG_OBSERVE) == 0)
        violated(sim, "G1: %s starts below the ban of %s", known->id, name_at(sim, over));
    known->was_let_in = over != NOBODY;
    if (is_fresh && call->op == STORE_START)
        check_limits(sim, known, call);
    if (answer->epoch <= known->now.epoch)
        violated(sim, "G4: %s starts in epoch %u after %u", known->id, answer->epoch,
                 known->now.epoch);
    lives(sim, known, call, answer->epoch);
    lives_are_superseded(sim, known, answer->epoch);
}

/* A start by the life that carries it already. */
static void registered_again(struct sim *sim, struct known *known, const struct store_call *call,
                             const struct store_answer *answer)
{
    uint32_t flags = known->now.flags;
    bool may_return = known->now.state == RUN_LOST && is_set(known, RUN_FLAG_LOST_CONTINUE);
    if (run_is_over(known->now.state)) {
        if (!may_return)
            violated(sim, "G4: %s was %s and is carried on", known->id,
                     run_state_name(known->now.state));
        lives(sim, known, call, answer->epoch);
        known->now.flags = flags;
    }
    moves_to(known, call);
}

/* Redis has forgotten that it was. */
static bool is_taken_over_before(const struct known *known, const struct store_call *call,
                                 const struct store_answer *answer)
{
    return !call->adopt && known->now.state == RUN_LOST && is_set(known, RUN_FLAG_LOST_TAKEOVER)
           && answer->epoch > known->now.epoch;
}

/* An assertion or an adoption was taken. */
static void goes_on(struct sim *sim, struct known *known, const struct store_call *call,
                    const struct store_answer *answer)
{
    enum run_state before = known->now.state;
    bool is_forgotten = is_taken_over_before(known, call, answer);
    bool may_return =
        is_forgotten
        || is_set(known, call->adopt ? RUN_FLAG_LOST_TAKEOVER : RUN_FLAG_LOST_CONTINUE);
    if (run_is_over(before) && !(before == RUN_LOST && may_return))
        violated(sim, "G4: %s was %s and lives again", known->id, run_state_name(before));
    if (answer->epoch < known->now.epoch)
        violated(sim, "G4: %s goes on in epoch %u after %u", known->id, answer->epoch,
                 known->now.epoch);
    bool is_another = call->adopt && run_is_live(before) && known->now.life != life_of(call);
    if (is_another && answer->epoch == known->now.epoch)
        violated(sim, "G4: another life of %s goes on in epoch %u, too", known->id, answer->epoch);
    uint32_t flags = known->now.flags;
    bool keeps = run_is_live(before) || (before == RUN_LOST && !call->adopt && !is_forgotten);
    if (before == RUN_NONE || before == RUN_NEVER || !run_is_live(before))
        lives(sim, known, call, answer->epoch);
    if (keeps)
        known->now.flags = flags;
    known->now.epoch = answer->epoch;
    moves_to(known, call);
    lives_are_superseded(sim, known, answer->epoch);
    uint16_t over = known_ban(sim, place_of(sim, known));
    if (before == RUN_NONE || before == RUN_NEVER)
        known->was_let_in = over != NOBODY && is_set(known, RUN_FLAG_OBSERVE);
    if (answer->verdict == SAID_ADOPTED && over != NOBODY)
        violated(sim, "G2: %s is asserted below the ban of %s, and may go on", known->id,
                 name_at(sim, over));
    if (answer->verdict == SAID_STOP && over == NOBODY)
        violated(sim, "G11: %s is asserted and must stop, and nobody cancelled it", known->id);
}

/* ---- cancels and ends ----------------------------------------------------------------------- */
static void cancelled(struct sim *sim, struct known *known, const struct store_call *call,
                      const struct store_answer *answer)
{
    bool is_same = known->now.is_banned && known->now.banned_in == known_find(sim, call->root);
    if (answer->verdict == SAID_ACCEPTED && is_same)
        violated(sim, "G5: %s is cancelled twice", known->id);
    if (answer->verdict == SAID_ALREADY && !known->now.is_banned)
        violated(sim, "G5: the cancel of %s was not accepted before", known->id);
    bool is_first = cause_of(answer->record) == known->now.first_cancel;
    if (answer->verdict == SAID_ALREADY && is_same && !is_first)
        violated(sim, "G5: the first cause of the cancel of %s was not kept", known->id);
    bool is_banned = known_ban(sim, place_of(sim, known)) != NOBODY;
    if (answer->verdict == SAID_OVER && is_banned)
        violated(sim, "G5: %s is cancelled, and a second cancel is refused", known->id);
    if (answer->verdict != SAID_ACCEPTED)
        return;
    tell(sim, "Redis records the cancel of %s", known->id);
    if (known->now.state == RUN_NONE)
        known->now.state = RUN_NEVER;
    ban(sim, known, call->root, call->record);
}

static void dies(struct sim *sim, struct known *known, enum run_state state)
{
    if (run_is_over(known->now.state))
        violated(sim, "G4: %s ended %s and ends %s", known->id, run_state_name(known->now.state),
                 run_state_name(state));
    if (run_is_live(known->now.state))
        sim->known.item[known->root].now.live--;
    known->now.state = state;
}

static void ended(struct sim *sim, struct known *known, const struct store_call *call,
                  const struct store_answer *answer)
{
    bool is_another = call->epoch == known->now.epoch && known->now.life != life_of(call);
    if (call->epoch < known->now.epoch || is_another)
        violated(sim, "G4: %s life of %s ends it", is_another ? "another" : "an older", known->id);
    dies(sim, known, answer->state);
    if (call->epoch > known->now.epoch) {
        moves_to(known, call);
        lives_are_superseded(sim, known, call->epoch);
    }
    known->now.epoch = call->epoch;
    bool is_well =
        answer->state == RUN_SUCCESS || answer->state == RUN_ERROR || answer->state == RUN_PAUSED;
    uint16_t over = known_ban(sim, place_of(sim, known));
    if (is_well && over != NOBODY && !is_set(known, RUN_FLAG_OBSERVE))
        violated(sim, "G4: %s ends %s below the ban of %s", known->id,
                 run_state_name(answer->state), name_at(sim, over));
    if (!is_well && over == NOBODY && call->record.len == 0)
        violated(sim, "G4: %s ends %s, and nobody cancelled it", known->id,
                 run_state_name(answer->state));
    bool leaves = is_set(known, RUN_FLAG_END_LEAVES);
    bool cancels =
        is_set(known, RUN_FLAG_END_CANCELS) || (!leaves && answer->state == RUN_ERROR) || !is_well;
    if (over == NOBODY && call->record.len > 0 && cancels)
        ban(sim, known, call->root, call->record);
}

static bool is_by_agentd(const struct store_call *call)
{
    struct cancel_record record;
    return wire_record_decode(call->record, &record) == ERR_OK && str_is(record.by, "agentd");
}

static void lost(struct sim *sim, struct known *known, const struct store_call *call)
{
    tell(sim, "Redis records that %s is lost", known->id);
    if (call->epoch != known->now.epoch || !str_is(call->replica, known->now.owner)
        || known->now.life != life_of(call))
        violated(sim, "G11: another life of %s is declared lost", known->id);
    if (is_by_agentd(call))
        check_lost_again(sim, known, call->replica);
    else
        check_lost(sim, known, call->replica);
    dies(sim, known, RUN_LOST);
    if (is_set(known, RUN_FLAG_LOST_TAKEOVER))
        known->now.lost_epoch = known->now.epoch;
    else if (!is_set(known, RUN_FLAG_LOST_CONTINUE))
        ban(sim, known, call->root, call->record);
    known->was_banned = known->was_banned || is_set(known, RUN_FLAG_LOST_TAKEOVER);
}

/* ---- the rest ------------------------------------------------------------------------------- */
static void compared(struct sim *sim, const struct known *known, const struct run_epoch *asked,
                     enum store_verdict said)
{
    uint16_t over = known_ban(sim, place_of(sim, known));
    if (said == SAID_GO && over != NOBODY)
        violated(sim, "G2: %s may go on below the ban of %s", known->id, name_at(sim, over));
    if (said == SAID_STOP && over == NOBODY)
        violated(sim, "G11: %s must stop, and nobody cancelled it", known->id);
    if (said == SAID_GO && asked->epoch != known->now.epoch)
        violated(sim, "G4: an older life of %s may go on", known->id);
}

static void each_item(struct sim *sim, const struct store_call *call,
                      const struct store_answer *answer)
{
    for (size_t i = 0; i < answer->item_count && i < call->item_count; i++) {
        uint16_t place = known_find(sim, call->item[i].run);
        if (place == NOBODY)
            continue;
        const struct known *known = &sim->known.item[place];
        if (call->op == STORE_RECONCILE)
            compared(sim, known, &call->item[i], answer->item[i].verdict);
        else if (answer->item[i].verdict == SAID_OK && call->item[i].epoch != known->now.epoch)
            violated(sim, "G4: an older life of %s reports", known->id);
    }
}

static void linked(struct sim *sim, const struct known *known, const struct store_call *call)
{
    uint16_t over = known_ban(sim, place_of(sim, known));
    if (over != NOBODY && !call->acknowledge && !is_set(known, RUN_FLAG_OBSERVE))
        violated(sim, "G1: %s gets a link below the ban of %s", known->id, name_at(sim, over));
}

static void granted(struct sim *sim, struct known *known, const struct store_call *call,
                    const struct store_answer *answer)
{
    if (call->epoch < known->now.epoch)
        violated(sim, "G9: an older life of %s may write", known->id);
    known->now.epoch = call->epoch;
    bool is_free = known_ban(sim, place_of(sim, known)) == NOBODY;
    if (is_free || is_set(known, RUN_FLAG_OBSERVE))
        return;
    char write_id[sizeof known->now.granted];
    copy_text(write_id, sizeof write_id, call->write_id);
    if (known->now.granted[0] != '\0' && strcmp(known->now.granted, write_id) != 0)
        violated(sim, "G9: %s may write %s after %s", known->id, write_id, known->now.granted);
    if (!answer->last)
        violated(sim, "G9: %s may write %s, and is not told that it is the last", known->id,
                 write_id);
    memcpy(known->now.granted, write_id, sizeof write_id);
}

static void copied_tombstone(struct sim *sim, const struct store_call *call)
{
    if (call->tombstone_id.len == 0)
        return;
    make_path(sim, call->root, call->path);
    uint16_t place = known_make(sim, call->root, call->tombstone_id, NOBODY);
    ban(sim, &sim->known.item[place], call->root, call->tombstone);
}

void known_call(struct sim *sim, const struct store_call *call, const struct store_answer *answer)
{
    enum store_verdict said = answer->verdict;
    if (said == SAID_UNWRITABLE || said == SAID_ERROR || said == SAID_UNKNOWN)
        return;
    switch (call->op) {
    case STORE_START:
        copied_tombstone(sim, call);
        if (said == SAID_STARTED)
            started(sim, of_call(sim, call), call, answer);
        if (said == SAID_ALREADY)
            registered_again(sim, of_call(sim, call), call, answer);
        break;
    case STORE_ASSERT:
        copied_tombstone(sim, call);
        if (said == SAID_STARTED)
            started(sim, of_call(sim, call), call, answer);
        if (!call->adopt
            && (said == SAID_FENCED || (said == SAID_OVER && answer->state != RUN_LOST)))
            life_is_fenced(sim, call->replica, call->run); /* over: by the end of another life */
        if (said == SAID_ADOPTED || said == SAID_STOP)
            goes_on(sim, of_call(sim, call), call, answer);
        break;
    case STORE_REMEMBER:
        if (said == SAID_OK)
            sim->known.item[known_make(sim, call->id, call->id, NOBODY)].was_buried = true;
        break;
    case STORE_CANCEL:
        if (said != SAID_NOT_FOUND)
            cancelled(sim, of_call(sim, call), call, answer);
        break;
    case STORE_END:
        if (said == SAID_ENDED)
            ended(sim, of_call(sim, call), call, answer);
        break;
    case STORE_LOST:
        if (said == SAID_LOST)
            lost(sim, of_call(sim, call), call);
        break;
    case STORE_REPORT:
    case STORE_RECONCILE:
        each_item(sim, call, answer);
        break;
    case STORE_LINK:
        if (said == SAID_LINKED)
            linked(sim, of_call(sim, call), call);
        break;
    case STORE_CHECKPOINT:
        if (said == SAID_GRANTED)
            granted(sim, of_call(sim, call), call, answer);
        break;
    default:
        break;
    }
}

/* ---- loss ----------------------------------------------------------------------------------- */
void known_save(struct sim *sim)
{
    for (size_t i = 0; i < sim->known.count; i++)
        sim->known.item[i].saved = sim->known.item[i].now;
}

void known_restore(struct sim *sim)
{
    for (size_t i = 0; i < sim->known.count; i++)
        sim->known.item[i].now = sim->known.item[i].saved;
}

void known_wipe(struct sim *sim)
{
    for (size_t i = 0; i < sim->known.count; i++)
        sim->known.item[i].now = (struct kept){0};
}
