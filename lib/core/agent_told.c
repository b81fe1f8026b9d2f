/* Who is hit by a cancel. */
#include "core/agent_inside.h"

/* A lower grace counts for whoever was told already, too: nobody is told twice, but hurried. */
static void hurry(struct agent *agent, struct agent_run *run, struct span grace)
{
    bool is_lower = grace.ms >= 0 && (run->cap.ms < 0 || grace.ms < run->cap.ms);
    if (!is_lower)
        return;
    run->cap = grace;
    ladder_hurry(agent, run);
}

static void take_box(struct agent *agent, struct agent_run *run, struct record_box *box)
{
    if (run->box == box)
        return;
    box_drop(agent, run->box);
    run->box = box_share(box);
}

/* Not told: only its links are followed. */
static void hit_ended(struct agent *agent, struct agent_run *run, struct record_box *box)
{
    if (run->box == NULL)
        take_box(agent, run, box);
    if (agent->options.mode != MODE_OBSERVE)
        links_follow(agent, run);
}

static void stop_running(struct agent *agent, struct agent_run *run)
{
    enum run_state from = run->state;
    if (from == RUN_STOPPING)
        return;
    run->state = RUN_STOPPING;
    want_moved(agent, run, from, "cancel");
}

/* What Redis has recorded replaces what we said while it was out of reach. */
static void told_again(struct agent *agent, struct agent_run *run, struct record_box *box)
{
    if (run->is_isolated) {
        run->is_isolated = false;
        take_box(agent, run, box);
        links_follow(agent, run);
    }
    hurry(agent, run, box->record.grace);
}

size_t tell_run(struct agent *agent, struct agent_run *run, struct record_box *box)
{
    if (run->is_told) {
        told_again(agent, run, box);
        return 0;
    }
    if (run->state == RUN_PENDING) {
        take_box(agent, run, box); /* told as soon as its start is answered */
        return 0;
    }
    if (!run_is_live(run->state)) {
        hit_ended(agent, run, box);
        return 0;
    }
    run->is_told = true;
    take_box(agent, run, box);
    run->cap = box->record.grace;
    run->deadline = INSTANT_NEVER;
    if (agent->options.mode == MODE_OBSERVE) {
        want_count(agent, COUNT_OBSERVED, PROBLEM_NONE, box->record.at);
        return 0;
    }
    stop_running(agent, run);
    ladder_start(agent, run);
    links_follow(agent, run);
    return 1;
}

size_t apply_cancel(struct agent *agent, struct agent_root *root, struct record_box *box)
{
    size_t told = 0;
    LIST_EACH (at, then, &root->runs) {
        struct agent_run *run = LIST_OWNER(at, struct agent_run, in_root);
        if (path_has(run->path, box->record.target))
            told += tell_run(agent, run, box);
    }
    return told;
}

void stop_alone(struct agent *agent, struct agent_run *run, const char *reason)
{
    struct cancel_record record = own_record(agent, str_of(run->root->id), run->id, reason);
    record.by = STR("brakewire");
    struct record_box *box = box_make(agent, &record);
    if (box == NULL)
        return;
    (void)tell_run(agent, run, box);
    box_drop(agent, box);
}

/* What a takeover lost takes along only those who were started by the life that was lost. Their ids
 * do not tell; Redis does. All agentds of the tree hear it at once, and do not all ask at once. */
static void compare_soon(struct agent *agent, struct agent_root *root)
{
    int64_t jitter = (int64_t)rng_below(&agent->rng, COMPARE_JITTER_MS + 1);
    if (!root->wants_reconcile && instant_reached(agent->now, root->next_reconcile))
        root->next_reconcile = instant_after(agent->now, MILLIS(jitter));
    root->wants_reconcile = true;
    root_due(agent, root);
}

void cancel_seen(struct agent *agent, const struct agent_event *event)
{
    struct agent_root *root = root_find(agent, event->root);
    if (!str_eq(event->record->root, event->root) || !id_is_valid(event->record->target)) {
        garbage_seen(agent, event->root); /* or a tombstone, brought from a tree of its own */
        return;
    }
    if (root == NULL)
        return; /* a late message of a tree that we have left */
    if (is_loss_record(event->record)) {
        compare_soon(agent, root);
        return;
    }
    struct record_box *box = box_make(agent, event->record);
    if (box == NULL)
        return;
    (void)apply_cancel(agent, root, hold(agent, box, !event->record->unrecorded));
    box_drop(agent, box);
}
