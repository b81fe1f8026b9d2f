/* Who really lives, and what is promised to hold a little later. */
#include <limits.h>
#include <string.h>

#include "sim/sim.h"

enum {
    RECONCILED_MS = 37000, /* 30 s, 20 % and the way */
    OVERTAKEN_MS = 3100,   /* the longest that a message is late */
    LINKED_MS = 300,
    CALM_MS = 2000,   /* after a time of slowness */
    LADDER_MS = 17000 /* notice 10 s, TERM 5 s, and the way */
};

/* ---- who lives ------------------------------------------------------------------------------ */
/* Counted at the run and at all above it, as they were claimed. */
static void add_alive(struct sim *sim, const struct sim_run *run, unsigned more)
{
    uint16_t place = known_find(sim, str_of(run->id));
    for (; place != NOBODY; place = sim->known.item[place].parent)
        sim->known.item[place].alive += more;
}

void run_recount(struct sim *sim, struct sim_run *run)
{
    const uint16_t known = known_find(sim, str_of(run->id));
    bool counts = run->phase == RUN_ALIVE && !run->is_ending && run->is_protected
                  && !run->is_superseded && !run->is_between_lives && known != NOBODY
                  && !sim->known.item[known].was_let_in;
    if (counts == run->is_counted)
        return;
    run->is_counted = counts;
    add_alive(sim, run, counts ? 1 : UINT_MAX);
}

void lives_are_superseded(struct sim *sim, const struct known *known, uint32_t epoch)
{
    for (size_t i = 0; i < sim->run_count; i++) {
        struct sim_run *run = &sim->run[i];
        const struct node *node = &sim->node[sim->client[run->client].node];
        bool is_owned = strcmp(node->replica, known->now.owner) == 0;
        if (strcmp(run->id, known->id) != 0 || (!is_owned && run->epoch >= epoch))
            continue;
        run->is_superseded = !is_owned;
        run_recount(sim, run);
    }
}

void life_is_fenced(struct sim *sim, struct str replica, struct str id)
{
    for (size_t i = 0; i < sim->run_count; i++) {
        struct sim_run *run = &sim->run[i];
        const struct node *node = &sim->node[sim->client[run->client].node];
        if (!str_is(id, run->id) || !str_is(replica, node->replica))
            continue;
        run->is_superseded = true;
        run_recount(sim, run);
    }
}

/* ---- promises ------------------------------------------------------------------------------- */
/* linked: of all that was banned before; else of what is banned now. */
static void promise(struct sim *sim, const struct node *node, int64_t within, bool linked)
{
    struct flight *flight = fly(sim, FLY_PROMISE, sim->now + within);
    flight->node = node->index;
    flight->life = node->life;
    flight->conn = node->conn;
    flight->token = (uint64_t)sim->now;
    flight->on = linked;
}

/* G2: in one hop where no message is lost, else by the next comparison at the latest. */
void promise_told(struct sim *sim, int64_t in_one_hop)
{
    int64_t within = sim->drops > 0    ? RECONCILED_MS
                     : sim->delays > 0 ? OVERTAKEN_MS + in_one_hop
                                       : in_one_hop;
    for (size_t i = 0; i < sim->node_count; i++)
        if (sim->node[i].is_alive && sim->node[i].is_linked && !sim->node[i].is_broker)
            promise(sim, &sim->node[i], within, false);
}

void promise_linked(struct sim *sim, const struct node *node)
{
    promise(sim, node, LINKED_MS, true);
}

static bool is_not_told(const struct sim *sim, const struct node *node, const struct sim_run *run,
                        const struct flight *flight)
{
    bool is_here = sim->client[run->client].node == node->index && run->is_counted
                   && run->known_life == node->life;
    if (!is_here || run->told_life == node->life || run->was_stopped)
        return false;
    uint16_t over = known_ban(sim, known_find(sim, str_of(run->id)));
    if (over == NOBODY || !sim->known.item[over].now.is_banned)
        return false;
    const int64_t since = (int64_t)flight->token, at = sim->known.item[over].now.banned_at;
    return flight->on ? at <= since : at == since;
}

void promise_is_due(struct sim *sim, const struct flight *flight)
{
    const struct node *node = &sim->node[flight->node];
    const int64_t since = (int64_t)flight->token;
    bool was_well = node->is_alive && node->life == flight->life && node->conn == flight->conn
                    && node->is_linked && !node->is_frozen && node->trouble_until <= since
                    && sim->slow_until + CALM_MS < since && sim->refused_until < since;
    if (!was_well || node->mode == MODE_OBSERVE)
        return;
    for (size_t i = 0; i < sim->run_count; i++)
        if (is_not_told(sim, node, &sim->run[i], flight))
            violated(sim, "G2: %s has not been told", sim->run[i].id);
}

/* G3: who was told and does not stop is killed, whatever becomes of Redis. */
void promise_stopped(struct sim *sim, const struct node *node, size_t place)
{
    const struct sim_run *run = &sim->run[place];
    if (!run->has_process || node->mode != MODE_ENFORCE)
        return;
    struct flight *flight = fly(sim, FLY_LADDER, sim->now + LADDER_MS);
    flight->node = node->index;
    flight->life = node->life;
    flight->run = place;
    flight->token = run->process;
    flight->len = (size_t)sim->now;
}

void ladder_is_due(struct sim *sim, const struct flight *flight)
{
    const struct node *node = &sim->node[flight->node];
    const struct sim_run *run = &sim->run[flight->run];
    bool was_well = node->is_alive && node->life == flight->life && !node->is_frozen
                    && node->thawed_at <= (int64_t)flight->len;
    if (was_well && run->process == flight->token && run->process_is_alive
        && run->process_is_watched)
        violated(sim, "G3: the process of %s has outlived all graces", run->id);
}

/* ---- cancels -------------------------------------------------------------------------------- */
/* G8: what is here was told in this very step. */
void check_local_first(struct sim *sim, const struct node *node, const struct sim_cancel *cancel)
{
    for (size_t i = 0; i < sim->run_count && node->mode != MODE_OBSERVE; i++) {
        const struct sim_run *run = &sim->run[i];
        bool is_here = run->phase == RUN_ALIVE && !run->is_ending && !run->is_superseded
                       && !run->is_between_lives && sim->client[run->client].node == node->index
                       && run->known_life == node->life;
        bool is_below = strcmp(run->id, cancel->target) != 0 || cancel->includes_self;
        if (is_here && is_below && is_in_scope(run, cancel->target) && run->told_life != node->life
            && !run->was_stopped)
            violated(sim, "G8: %s is here, and is not told at once", run->id);
    }
}

static void check_names(struct sim *sim, const struct tally_names *names)
{
    size_t count = names->count < TALLY_NAMES_MAX ? names->count : TALLY_NAMES_MAX;
    for (size_t i = 0; i < count; i++) {
        size_t run = run_named(sim, names->name[i]);
        if (run != SIZE_MAX && sim->run[run].is_counted)
            violated(sim, "G6: %s is said to have stopped, and lives", sim->run[run].id);
    }
}

static bool started_without_redis(const struct sim *sim, const struct known *known)
{
    size_t run = run_named(sim, str_of(known->id));
    return run != SIZE_MAX && !sim->run[run].is_protected;
}

/* G5: a cancel may be refused because nobody can record it now, or because it makes no sense. */
static bool may_be_refused(const struct sim *sim, const struct sim_cancel *cancel,
                           const struct known *known, enum problem problem)
{
    bool has_life = known != NULL && known->alive > 0 && cancel->had_life;
    switch (problem) {
    case PROBLEM_NONE:
    case PROBLEM_UNAVAILABLE:
    case PROBLEM_UNKNOWN_OUTCOME:
    case PROBLEM_OVERLOADED:
    case PROBLEM_TOO_MANY_MATCHED:
        return true;
    case PROBLEM_NOT_CANCELABLE:
        return !has_life;
    case PROBLEM_NOT_FOUND:
        return !has_life || sim->losses > 0;
    case PROBLEM_CONFLICT: /* a tombstone lies in another tree than the one that was named */
    case PROBLEM_RUN_ID_TAKEN:
        return known == NULL || known->was_buried || started_without_redis(sim, known);
    default:
        return false;
    }
}

/* G6: what is answered is true when it is answered. */
void check_cancel_answer(struct sim *sim, const struct sim_cancel *cancel, enum problem problem,
                         const struct cancel_result *result)
{
    uint16_t place = known_find(sim, str_of(cancel->target));
    const struct known *known = place != NOBODY ? &sim->known.item[place] : NULL;
    if (!may_be_refused(sim, cancel, known, problem))
        violated(sim, "G5: the cancel of %s is refused: %s", cancel->target, problem_code(problem));
    if (result == NULL || problem != PROBLEM_NONE || !result->counted)
        return;
    check_names(sim, &result->tally.stopped);
    check_names(sim, &result->tally.finished_anyway);
    bool is_complete = result->tally.complete && result->unconfirmed_count == 0;
    bool is_said =
        is_complete && !result->dry_run && (result->wait != WAIT_STOPPED || result->awaited);
    if (is_said && known != NULL && cancel->includes_self && known->alive > 0)
        violated(sim, "G6: the cancel of %s is complete, and %u live on", cancel->target,
                 known->alive);
}
