/* What must hold after every step, and once all is healed. The guarantees by their numbers. */
#include <stdio.h>
#include <string.h>

#include "sim/sim.h"

enum { LEASE_MS = 15000, CALLS_OPEN_MAX = 2000 };

/* Ids are unique: the tree of the target need not be known. */
bool is_in_scope(const struct sim_run *run, const char *target)
{
    return strcmp(run->id, target) == 0 || path_has(str_of(run->parents), str_of(target));
}

/* ---- what Redis says ------------------------------------------------------------------------ */
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
    known_call(sim, call, answer);
    orders_heard(sim, call, answer->verdict);
}

/* G11: a replica that is well is never lost, whatever Redis and the brokers go through. */
void check_lost(struct sim *sim, const struct known *known, struct str replica)
{
    for (size_t i = 0; i < sim->node_count; i++) {
        const struct node *node = &sim->node[i];
        bool is_well = node->is_alive && str_is(replica, node->replica) && !node->is_frozen
                       && node->trouble_until != INT64_MAX
                       && sim->now - node->trouble_until > 2 * LEASE_MS;
        if (is_well)
            violated(sim, "G11: %s is declared lost, and %s is well", known->id, node->name);
    }
}

/* G11: a Redis that forgot a loss is told of it again by its own agentd, when that life is dead. */
void check_lost_again(struct sim *sim, const struct known *known, struct str replica)
{
    for (size_t i = 0; i < sim->node_count; i++) {
        const struct node *node = &sim->node[i];
        size_t run =
            str_is(replica, node->replica) ? run_at(sim, node, str_of(known->id)) : SIZE_MAX;
        if (run != SIZE_MAX && sim->run[run].phase == RUN_ALIVE)
            violated(sim, "G11: %s is declared lost by its own agentd, and lives", known->id);
    }
}

/* ---- what daemons do ----------------------------------------------------------------------- */
static bool is_asked_for(const struct sim_cancel *cancel, struct str target, const char *parent)
{
    bool is_child = strcmp(cancel->target, parent) == 0;
    return cancel->includes_self ? str_is(target, cancel->target) : is_child;
}

/* By the path that the run was started with. */
static void parent_of(const struct sim_run *run, struct str target, char out[NAME_TEXT_MAX])
{
    struct str above = STR_NONE, rest = str_of(run->parents);
    while (rest.len > 0) {
        struct str id = str_cut(&rest, '.');
        if (str_eq(id, target))
            break;
        above = id;
    }
    copy_text(out, NAME_TEXT_MAX, above);
}

static bool was_asked(const struct sim *sim, const struct sim_run *run,
                      const struct cancel_record *record)
{
    char parent[NAME_TEXT_MAX];
    parent_of(run, record->target, parent);
    for (size_t i = 0; i < sim->cancel_count; i++)
        if (is_asked_for(&sim->cancel[i], record->target, parent))
            return true;
    uint16_t place = known_find(sim, record->target);
    return place != NOBODY && sim->known.item[place].was_banned;
}

/* G11: nobody is stopped whom nobody cancelled. */
static void check_reason(struct sim *sim, const struct sim_run *run,
                         const struct cancel_record *record)
{
    static const char *const own[] = {"deadline", "client_gone", "parent_ended", "fenced",
                                      "isolated"};
    char target[NAME_TEXT_MAX];
    copy_text(target, sizeof target, record->target);
    if (!is_in_scope(run, target))
        violated(sim, "G11: %s is told to stop because of %s", run->id, target);
    check_order_reason(sim, record);
    if (was_asked(sim, run, record) || record->hops > 0 || str_is(record->reason, "held"))
        return;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (str_is(record->reason, own[i]))
            return;
    if (record->reason.len > 5 && memcmp(record->reason.at, "over:", 5) == 0)
        return;
    violated(sim, "G11: %s is told to stop: %.*s, and nobody asked for it", run->id,
             S(record->reason));
}

/* G11 and G3: who is signalled was told to stop before, and only where killing is enforced. */
void check_signalled(struct sim *sim, struct node *node, size_t place)
{
    const struct sim_run *run = &sim->run[place];
    struct agent_run_view view;
    struct instant now = {sim->now};
    if (node->mode != MODE_ENFORCE)
        violated(sim, "G11: %s signals %s, and enforces nothing", node->name, run->id);
    bool is_known =
        run->was_stopped
        || (agent_find_run(node->agent, str_of(run->id), now, &view) && view.record != NULL);
    if (!is_known)
        violated(sim, "G11: %s is signalled, and nobody cancelled it", run->id);
}

/* G5: one interruption. */
void check_told(struct sim *sim, struct node *node, size_t place,
                const struct cancel_record *record)
{
    struct sim_run *run = &sim->run[place];
    if (node->mode == MODE_OBSERVE)
        violated(sim, "G11: %s tells %s, and only observes", node->name, run->id);
    check_reason(sim, run, record);
    if (run->told_life == node->life)
        violated(sim, "G5: %s is told twice by %s", run->id, node->name);
    run->told_life = run->is_between_lives ? 0 : node->life; /* the next life is told for itself */
    promise_stopped(sim, node, place);
}

/* G9, as clients see it: after the ban one more write. */
void check_granted(struct sim *sim, size_t place, const char *write_id, bool last)
{
    struct sim_run *run = &sim->run[place];
    if (!last)
        return;
    bool is_second = run->granted[0] != '\0' && strcmp(run->granted, write_id) != 0;
    if (is_second && sim->losses == 0 && sim->crashes == 0)
        violated(sim, "G9: %s is told that it may write %s after %s", run->id, write_id,
                 run->granted);
    copy_text(run->granted, sizeof run->granted, str_of(write_id));
}

/* G10: what may come from outside has an end. */
void check_bounds(struct sim *sim, const struct node *node)
{
    if (agent_live_runs(node->agent) > sim->max_runs)
        violated(sim, "G10: %s carries %zu runs", node->name, agent_live_runs(node->agent));
    size_t clients = 0;
    for (size_t i = 0; i < sim->client_count; i++)
        clients += sim->client[i].node == node->index ? 1 : 0;
    if (agent_clients_connected(node->agent) > clients)
        violated(sim, "G10: %s has %zu clients", node->name, agent_clients_connected(node->agent));
    if (node->unanswered.count > CALLS_OPEN_MAX)
        violated(sim, "G10: %s has %zu calls open", node->name, node->unanswered.count);
}

/* ---- links --------------------------------------------------------------------------------------
 */
/* G1: the child elsewhere starts behind its link, or whoever starts it was told that it waits. */
void check_link_is_written(struct sim *sim, size_t place, const char *to)
{
    const struct sim_run *run = &sim->run[place];
    struct store_answer answer;
    model_call(sim->model, &(struct store_call){.op = STORE_TREE, .root = str_of(run->root)},
               &answer);
    const struct tree *tree = answer.tree;
    for (size_t i = 0; tree != NULL && i < tree->link_count; i++)
        if (str_is(tree->link[i].from->id, run->id) && str_is(tree->link[i].to, to))
            return;
    violated(sim, "G1: %s may start %s, and its link is not written", run->id, to);
}

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
