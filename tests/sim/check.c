/* What must hold after every step, and once all is healed. The guarantees by their numbers. */
#include <stdio.h>
#include <string.h>

#include "sim/sim.h"

bool is_in_scope(const struct sim *sim, const struct sim_run *run, const char *root,
                 const char *target)
{
    (void)sim;
    return strcmp(run->root, root) == 0
           && (strcmp(run->id, target) == 0 || path_has(str_of(run->parents), str_of(target)));
}

/* ---- what Redis records -------------------------------------------------------------------- */
static void note_ban(struct sim *sim, struct str root, struct str target)
{
    for (size_t i = 0; i < sim->ban_count; i++) {
        struct sim_ban *ban = &sim->ban[i];
        if (!str_is(root, ban->root) || !str_is(target, ban->target))
            continue;
        ban->is_kept = true;
        return;
    }
    if (sim->ban_count == sizeof sim->ban / sizeof *sim->ban)
        violated(sim, "more bans than the simulator has room for");
    struct sim_ban *ban = &sim->ban[sim->ban_count++];
    copy_text(ban->root, sizeof ban->root, root);
    copy_text(ban->target, sizeof ban->target, target);
    ban->is_kept = true;
}

static const struct sim_ban *ban_over(const struct sim *sim, const struct sim_run *run, bool kept)
{
    for (size_t i = 0; i < sim->ban_count; i++)
        if ((sim->ban[i].is_kept || !kept)
            && is_in_scope(sim, run, sim->ban[i].root, sim->ban[i].target))
            return &sim->ban[i];
    return NULL;
}

/* G1: the set of runs that must stop is fixed when the cancel is recorded. */
static void check_start(struct sim *sim, const struct store_call *call)
{
    for (size_t i = 0; i < sim->ban_count; i++) {
        const struct sim_ban *ban = &sim->ban[i];
        bool covers =
            ban->is_kept && str_is(call->root, ban->root)
            && (str_is(call->run, ban->target) || path_has(call->path, str_of(ban->target)));
        if (covers)
            violated(sim, "G1: %.*s starts below the ban of %s", S(call->run), ban->target);
    }
}

static struct sim_end *end_of(struct sim *sim, struct str run)
{
    for (size_t i = 0; i < sim->end_count; i++)
        if (str_is(run, sim->end[i].run))
            return &sim->end[i];
    if (sim->end_count == sizeof sim->end / sizeof *sim->end)
        violated(sim, "more ends than the simulator has room for");
    struct sim_end *end = &sim->end[sim->end_count++];
    *end = (struct sim_end){.state = RUN_NONE};
    copy_text(end->run, sizeof end->run, run);
    return end;
}

/* G4: one terminal state, written once; and nobody ends well under a ban. */
static void check_end(struct sim *sim, const struct store_call *call, enum run_state state)
{
    struct sim_end *end = end_of(sim, call->run);
    if (end->state != RUN_NONE && end->losses == sim->losses)
        violated(sim, "G4: %.*s ended %s and ends %s", S(call->run), run_state_name(end->state),
                 run_state_name(state));
    end->state = state;
    end->losses = sim->losses;
    size_t place = run_named(sim, call->run);
    bool is_well = state == RUN_SUCCESS || state == RUN_ERROR || state == RUN_PAUSED;
    const struct sim_ban *ban = place != SIZE_MAX ? ban_over(sim, &sim->run[place], true) : NULL;
    if (is_well && ban != NULL)
        violated(sim, "G4: %.*s ends %s below the ban of %s", S(call->run), run_state_name(state),
                 ban->target);
    if (call->record.len > 0)
        note_ban(sim, call->root, call->run); /* on_end, or isolated */
}

static void count_call(struct sim *sim, enum store_op op, enum store_verdict verdict)
{
    if (sim->counts == NULL)
        return;
    sim->counts->calls++;
    sim->counts->verdict[op][verdict]++;
    for (size_t i = 0; i < FAULT_COUNT; i++)
        if (sim->now < sim->fault_until[i])
            sim->counts->pair[i][op]++;
}

/* What daemons ask all the time. */
static bool is_boring(enum store_op op, enum store_verdict verdict)
{
    return verdict == SAID_OK
           && (op == STORE_LEASE_READ || op == STORE_LEASE_RENEW || op == STORE_LOCK
               || op == STORE_TIME || op == STORE_ROOTS_READ || op == STORE_ROOT_COUNTS
               || op == STORE_REPLICAS_READ || op == STORE_HELD_READ);
}

void check_call(struct sim *sim, const struct store_call *call, const struct store_answer *answer)
{
    count_call(sim, call->op, answer->verdict);
    if (sim->traces && !is_boring(call->op, answer->verdict))
        tell(sim, "    %s %.*s/%.*s of %.*s: %s", store_op_name(call->op), S(call->root),
             S(call->run), S(call->replica), store_verdict_name(answer->verdict));
    if (answer->verdict == SAID_STARTED)
        check_start(sim, call);
    if (call->op == STORE_CANCEL && answer->verdict == SAID_ACCEPTED)
        tell(sim, "Redis records the cancel of %.*s", S(call->run));
    if (call->op == STORE_CANCEL
        && (answer->verdict == SAID_ACCEPTED || answer->verdict == SAID_ALREADY))
        note_ban(sim, call->root, call->run);
    if (call->op == STORE_END && answer->verdict == SAID_ENDED)
        check_end(sim, call, answer->state);
    if (answer->verdict == SAID_LOST) {
        tell(sim, "Redis records that %.*s is lost", S(call->run));
        check_end(sim, call, RUN_LOST);
        note_ban(sim, call->root, call->run);
    }
}

void check_loss(struct sim *sim)
{
    sim->losses++;
    for (size_t i = 0; i < sim->ban_count; i++)
        sim->ban[i].is_kept = false;
}

/* ---- what daemons do ----------------------------------------------------------------------- */
static bool was_asked(const struct sim *sim, const struct cancel_record *record)
{
    for (size_t i = 0; i < sim->cancel_count; i++)
        if (str_is(record->root, sim->cancel[i].root)
            && str_is(record->target, sim->cancel[i].target))
            return true;
    for (size_t i = 0; i < sim->ban_count; i++)
        if (str_is(record->root, sim->ban[i].root) && str_is(record->target, sim->ban[i].target))
            return true;
    return false;
}

/* G11: nobody is stopped whom nobody cancelled. */
static void check_reason(struct sim *sim, const struct sim_run *run,
                         const struct cancel_record *record)
{
    static const char *const own[] = {"deadline", "client_gone", "parent_ended", "fenced",
                                      "isolated"};
    char target[NAME_TEXT_MAX], root[NAME_TEXT_MAX];
    copy_text(target, sizeof target, record->target);
    copy_text(root, sizeof root, record->root);
    if (!is_in_scope(sim, run, root, target))
        violated(sim, "G11: %s is told to stop because of %s", run->id, target);
    if (was_asked(sim, record) || record->hops > 0)
        return;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (str_is(record->reason, own[i]))
            return;
    if (record->reason.len > 5 && memcmp(record->reason.at, "over:", 5) == 0)
        return;
    violated(sim, "G11: %s is told to stop: %.*s, and nobody asked for it", run->id,
             S(record->reason));
}

/* G5: one interruption. record NULL: it is signalled. */
void check_told(struct sim *sim, struct node *node, size_t place,
                const struct cancel_record *record)
{
    struct sim_run *run = &sim->run[place];
    if (record == NULL) {
        bool is_known =
            run->was_stopped || run->told_life == node->life || ban_over(sim, run, false) != NULL;
        for (size_t i = 0; !is_known && i < sim->cancel_count; i++)
            is_known = is_in_scope(sim, run, sim->cancel[i].root, sim->cancel[i].target);
        struct agent_run_view view;
        struct instant now = {sim->now};
        is_known =
            is_known
            || (agent_find_run(node->agent, str_of(run->id), now, &view) && view.record != NULL);
        if (!is_known)
            violated(sim, "G11: %s is signalled, and nobody cancelled it", run->id);
        return;
    }
    check_reason(sim, run, record);
    if (run->told_life == node->life)
        violated(sim, "G5: %s is told twice by %s", run->id, node->name);
    run->told_life = node->life;
}

/* G9: after the ban one more write, whoever asks. */
void check_granted(struct sim *sim, size_t place, const char *write_id, bool last)
{
    struct sim_run *run = &sim->run[place];
    if (!last)
        return;
    bool is_second = run->granted[0] != '\0' && strcmp(run->granted, write_id) != 0;
    if (is_second && sim->losses == 0 && sim->crashes == 0)
        violated(sim, "G9: %s may write %s after %s", run->id, write_id, run->granted);
    copy_text(run->granted, sizeof run->granted, str_of(write_id));
}

/* ---- links --------------------------------------------------------------------------------------
 */
void check_linked(struct sim *sim, size_t run, const char *to)
{
    struct str target = str_of(to);
    struct str root = str_cut(&target, '/');
    if (sim->link_count == CANCELS_MAX)
        return;
    struct sim_link *link = &sim->link[sim->link_count++];
    link->run = run;
    copy_text(link->root, sizeof link->root, root);
    copy_text(link->target, sizeof link->target, target.at != NULL ? target : root);
}
