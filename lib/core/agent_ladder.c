/* How a run is stopped: its targets in order, each with its grace, then SIGKILL, then the truth.
 *
 * A signal is sent to a process tree only while every other live run of that process has been told,
 * too, unless the run was started with collateral = allow. */
#include "core/agent_inside.h"

static struct span shorter(struct span grace, struct span cap)
{
    return cap.ms >= 0 && cap.ms < grace.ms ? cap : grace;
}

static struct span grace_of(const struct agent *agent, const struct agent_run *run,
                            const struct stop_target *target)
{
    const struct span usual[] = {[STOP_NOTIFY] = agent->options.grace_notify,
                                 [STOP_PROCESS] = agent->options.grace_term,
                                 [STOP_HTTP] = agent->options.grace_http};
    return shorter(target->grace.ms >= 0 ? target->grace : usual[target->kind], run->cap);
}

struct span ladder_notice_left(const struct agent *agent, const struct agent_run *run,
                               struct instant now)
{
    if (run->stage != STAGE_NOTICE || run->ladder_due.ms <= now.ms)
        return MILLIS(0);
    struct span left = {run->ladder_due.ms - now.ms};
    return shorter(left, grace_of(agent, run, &run->stop[run->step - 1]));
}

static void wait_for(struct agent *agent, struct agent_run *run, enum stage stage,
                     struct span grace)
{
    run->stage = (uint8_t)stage;
    run->ladder_due = instant_after(agent->now, grace);
    run_set_due(agent, run);
}

static bool may_signal(const struct agent *agent, const struct agent_run *run)
{
    return agent->options.mode != MODE_NOTIFY && run->process_is_open;
}

static bool has_target_left(const struct agent *agent, const struct agent_run *run)
{
    for (size_t i = run->step; i < run->stop_count; i++)
        if (run->stop[i].kind != STOP_PROCESS || may_signal(agent, run))
            return true;
    return false;
}

/* ---- notice -------------------------------------------------------------------------------- */
static void mark_delivered(struct agent *agent, struct agent_run *run)
{
    if (run->story.delivered.ms > 0)
        return;
    run->story.delivered = agent->wall;
    want_count(agent, COUNT_TOLD, PROBLEM_NONE, run->box->record.at);
    report_later(agent, run, RUN_FLAG_DELIVERED);
}

void notice_written(struct agent *agent, struct agent_run *run)
{
    bool has_notice = run->is_told && run->step > 0 && agent->options.mode != MODE_OBSERVE;
    if (has_notice && run_is_live(run->state))
        mark_delivered(agent, run);
}

static void notify(struct agent *agent, struct agent_run *run, struct span grace)
{
    if (!run->client->is_open)
        return; /* it is among the standing cancels when the client comes */
    struct agent_effect *effect = want(agent, DO_NOTIFY);
    effect->client = str_of(run->client->hash);
    effect->run = run->id;
    effect->root = str_of(run->root->id);
    effect->record = run->box->record;
    effect->grace = grace;
    mark_delivered(agent, run);
}

/* ---- its agent's own protocol -------------------------------------------------------------- */
/* Names the question: the life, and which of its targets. */
static uint64_t call_name(const struct agent_run *run)
{
    return (uint64_t)run->epoch << 8 | run->step;
}

static void ask_agent(struct agent *agent, struct agent_run *run, const struct stop_target *target,
                      struct span grace)
{
    struct agent_effect *effect = want(agent, DO_CANCEL_THERE);
    effect->run = run->id;
    effect->token = call_name(run);
    effect->remote = (struct remote_ask){.kind = target->protocol,
                                         .to = target->to,
                                         .headers = target->headers,
                                         .action = run->box->record.action,
                                         .within = MILLIS(REMOTE_WITHIN_MS)};
    if (grace.ms > 0)
        effect->remote.within = shorter(effect->remote.within, grace);
}

/* ---- signals ------------------------------------------------------------------------------- */
/* What is below the same target is told in this step, too. */
static bool is_innocent(const struct agent_run *other, const struct agent_run *run)
{
    bool is_hit_too = other->is_told
                      || (other->root == run->root && run->box != NULL
                          && path_has(other->path, run->box->record.target));
    return other != run && run_is_live(other->state) && !is_hit_too;
}

static bool serves_innocent(const struct agent_process *process, const struct agent_run *run)
{
    LIST_EACH (at, then, &process->runs)
        if (is_innocent(LIST_OWNER(at, struct agent_run, in_process), run))
            return true;
    return false;
}

static bool lies_within(const struct agent *agent, const struct agent_process *process,
                        const struct agent_process *outer)
{
    for (int i = 0; i < PATH_MAX_IDS && process != NULL && process->within != 0; i++) {
        if (process->within == outer->pid)
            return true;
        process = map_find(&agent->processes,
                           (struct str){(const char *)&process->within, sizeof process->within});
    }
    return false;
}

/* A signal goes to the whole tree of processes: to those of other runs that were started in it. */
static bool shares_with_innocent(const struct agent *agent, const struct agent_run *run)
{
    if (run->process == NULL || run->collateral_allowed)
        return false;
    if (serves_innocent(run->process, run))
        return true;
    const struct agent_process *process;
    for (size_t at = 0; (process = map_next(&agent->processes, &at)) != NULL;)
        if (process->within != 0 && lies_within(agent, process, run->process)
            && serves_innocent(process, run))
            return true;
    return false;
}

static void send_signal(struct agent *agent, struct agent_run *run, int signal)
{
    struct agent_effect *effect = want(agent, DO_SIGNAL);
    effect->run = run->id;
    effect->signal = signal;
    run->was_signalled = true;
    mark_delivered(agent, run);
}

static void send_kill(struct agent *agent, struct agent_run *run)
{
    send_signal(agent, run, SIGNAL_KILL);
    run->story.killed = agent->wall;
    report_later(agent, run, RUN_FLAG_KILLING);
    wait_for(agent, run, STAGE_KILL, agent->options.kill_patience);
}

static void send_term(struct agent *agent, struct agent_run *run, const struct stop_target *target)
{
    struct span grace = grace_of(agent, run, target);
    if (grace.ms == 0) {
        send_kill(agent, run);
        return;
    }
    send_signal(agent, run, target->signal != 0 ? target->signal : SIGNAL_TERM);
    run->story.terminated = agent->wall;
    wait_for(agent, run, STAGE_TERM, grace);
}

/* ---- the ladder ---------------------------------------------------------------------------- */
static void give_up(struct agent *agent, struct agent_run *run, const char *because)
{
    run->stage = STAGE_OVER;
    run->ladder_due = INSTANT_NEVER;
    if (!run_is_live(run->state)) {
        ladder_stop(agent, run);
        return;
    }
    if ((run->flags & RUN_FLAG_UNRESPONSIVE) == 0) {
        want_count(agent, COUNT_UNRESPONSIVE, PROBLEM_NONE, (struct wall){0});
        want_moved(agent, run, run->state, because);
    }
    report_later(agent, run, RUN_FLAG_UNRESPONSIVE);
    run_set_due(agent, run);
}

/* Until the innocent runs are gone or told as well nothing is signalled. */
static void wait_for_innocent(struct agent *agent, struct agent_run *run)
{
    give_up(agent, run, "its process serves other runs");
    if (run_is_live(run->state))
        wait_for(agent, run, STAGE_BLOCKED, MILLIS(BLOCKED_AGAIN_MS));
}

/* It is asked, by the notice or by its agent's own protocol. */
static bool ask_to_stop(struct agent *agent, struct agent_run *run,
                        const struct stop_target *target)
{
    struct span grace = grace_of(agent, run, target);
    run->step++;
    if (target->kind == STOP_HTTP)
        ask_agent(agent, run, target, grace);
    else
        notify(agent, run, grace);
    if (grace.ms == 0 && has_target_left(agent, run))
        return false;
    wait_for(agent, run, target->kind == STOP_HTTP ? STAGE_CALL : STAGE_NOTICE,
             grace.ms > 0 ? grace : agent->options.kill_patience);
    return true;
}

/* True: something was done, and its grace runs. */
static bool take_step(struct agent *agent, struct agent_run *run)
{
    const struct stop_target *target = &run->stop[run->step];
    if (target->kind != STOP_PROCESS)
        return ask_to_stop(agent, run, target);
    if (!may_signal(agent, run)) {
        run->step++;
        return false;
    }
    if (shares_with_innocent(agent, run)) {
        wait_for_innocent(agent, run);
        return true;
    }
    run->step++;
    send_term(agent, run, target);
    return true;
}

static void climb(struct agent *agent, struct agent_run *run)
{
    while (run->step < run->stop_count)
        if (take_step(agent, run))
            return;
    give_up(agent, run, "unresponsive");
}

/* Its grace may run out a moment before it is known that nobody could be reached: then it is to be
 * asked again all the same. */
static void call_is_overdue(struct agent *agent, struct agent_run *run)
{
    if (has_target_left(agent, run)) {
        climb(agent, run);
        return;
    }
    give_up(agent, run, "unresponsive");
    if (run_is_live(run->state))
        run->stage = STAGE_UNHEARD;
}

void ladder_start(struct agent *agent, struct agent_run *run)
{
    run->step = 0;
    climb(agent, run);
}

void ladder_due(struct agent *agent, struct agent_run *run)
{
    run->ladder_due = INSTANT_NEVER;
    switch ((enum stage)run->stage) {
    case STAGE_NOTICE:
    case STAGE_UNREACHED:
    case STAGE_BLOCKED:
        climb(agent, run);
        break;
    case STAGE_CALL:
        call_is_overdue(agent, run);
        break;
    case STAGE_TERM:
        send_kill(agent, run);
        break;
    case STAGE_KILL:
        give_up(agent, run, "SIGKILL did not help");
        quarantine_begin(agent, run);
        break;
    case STAGE_NONE:
    case STAGE_UNHEARD:
    case STAGE_OVER:
        break;
    }
}

void ladder_hurry(struct agent *agent, struct agent_run *run)
{
    bool waits = run->stage == STAGE_NOTICE || run->stage == STAGE_CALL || run->stage == STAGE_TERM;
    if (!waits)
        return;
    struct instant due = instant_after(agent->now, run->cap);
    run->ladder_due = instant_first(run->ladder_due, due);
    run_set_due(agent, run);
}

/* ---- what its agent said ------------------------------------------------------------------- */
/* That it is cancelled is its word, and stops no clock: a node that ignores the signal says so,
 * too, and works on. Stopped is a run that has ended. */
static void agent_obeyed(struct agent *agent, struct agent_run *run, bool is_cancelled)
{
    mark_delivered(agent, run);
    if (!is_cancelled)
        return;
    if (run->story.acknowledged.ms == 0)
        run->story.acknowledged = agent->wall;
    report_later(agent, run, RUN_FLAG_ACKNOWLEDGED);
}

/* Nobody was there: without another target it counts as unresponsive, and is asked again. */
static void agent_unreached(struct agent *agent, struct agent_run *run)
{
    run->step--;
    give_up(agent, run, "its agent cannot be reached");
    wait_for(agent, run, STAGE_UNREACHED, MILLIS(UNREACHED_AGAIN_MS));
}

/* What cannot be stopped in this way is stopped in the next one, at once. Without a next one the
 * rest of the grace is for an end that may be on its way. */
static void agent_failed(struct agent *agent, struct agent_run *run, enum remote_outcome outcome)
{
    if (has_target_left(agent, run))
        climb(agent, run);
    else if (outcome == REMOTE_UNREACHED)
        agent_unreached(agent, run);
}

void ladder_remote_answered(struct agent *agent, struct agent_run *run,
                            const struct agent_event *event)
{
    bool is_of_this_life = event->token >> 8 == run->epoch;
    bool is_awaited = run->stage == STAGE_CALL || run->stage == STAGE_UNHEARD;
    bool is_current = is_awaited && event->token == call_name(run);
    if (!is_of_this_life || !run->is_told || !run_is_live(run->state))
        return;
    switch (event->outcome) {
    case REMOTE_SENT:
    case REMOTE_CANCELLED:
    case REMOTE_ASKED:
        agent_obeyed(agent, run, event->outcome == REMOTE_CANCELLED);
        break;
    case REMOTE_SUCCEEDED:
    case REMOTE_FAILED:
        end_send(agent, run, event->outcome == REMOTE_SUCCEEDED ? RUN_SUCCESS : RUN_ERROR, 0);
        ladder_stop(agent, run);
        break;
    case REMOTE_NOT_HERE:
    case REMOTE_REFUSED:
    case REMOTE_SILENT:
    case REMOTE_UNREACHED:
        if (is_current)
            agent_failed(agent, run, event->outcome);
        break;
    case REMOTE_OUTCOME_COUNT:
        break;
    }
}

void ladder_stop(struct agent *agent, struct agent_run *run)
{
    run->stage = STAGE_OVER;
    run->ladder_goes_on = false;
    run->ladder_due = INSTANT_NEVER;
    if (run->process_is_open)
        want(agent, DO_CLOSE_PROCESS)->run = run->id;
    run->process_is_open = false;
    run_set_due(agent, run);
}

/* ---- what the process did ------------------------------------------------------------------ */
static bool is_being_stopped(const struct agent *agent, const struct agent_run *run)
{
    return run->is_told && agent->options.mode != MODE_OBSERVE;
}

static void end_stopped(struct agent *agent, struct agent_run *run)
{
    if (run_is_live(run->state))
        end_send(agent, run, is_being_stopped(agent, run) ? RUN_CANCELLED : RUN_ERROR, 0);
    else
        lost_is_gone(agent, run);
    ladder_stop(agent, run);
}

const struct stop_target *process_target(const struct agent_run *run)
{
    for (size_t i = 0; i < run->stop_count; i++)
        if (run->stop[i].kind == STOP_PROCESS)
            return &run->stop[i];
    return NULL;
}

/* A subreaper also has what no scan finds, and stops that with the same graces. */
static bool client_will_say(const struct agent *agent, const struct agent_run *run)
{
    return process_target(run)->has_subreaper && run->client->is_open && run_is_live(run->state)
           && is_being_stopped(agent, run);
}

static void nothing_is_left(struct agent *agent, struct agent_run *run)
{
    if (!client_will_say(agent, run)) {
        end_stopped(agent, run);
        return;
    }
    ladder_stop(agent, run);
    run->exit_due = instant_after(agent->now, agent->options.lost_grace);
    for (size_t i = 0; i < run->stop_count; i++)
        run->exit_due = instant_after(run->exit_due, grace_of(agent, run, &run->stop[i]));
    run_set_due(agent, run);
}

/* The main process is gone; what it left behind is stopped like the rest. */
static void stop_leftovers(struct agent *agent, struct agent_run *run)
{
    if (agent->options.mode != MODE_ENFORCE) {
        nothing_is_left(agent, run);
        return;
    }
    if (run->was_signalled || shares_with_innocent(agent, run))
        return;
    const struct stop_target *target = process_target(run);
    run->step = run->stop_count;
    send_term(agent, run, target);
}

void process_exited(struct agent *agent, struct agent_run *run)
{
    run->process_has_exited = true;
    if (is_being_stopped(agent, run)) {
        stop_leftovers(agent, run);
        return;
    }
    if (!run_is_live(run->state) || run->state == RUN_PENDING)
        return;
    if (run->client->is_gone) {
        end_stopped(agent, run);
        return;
    }
    run->exit_due = instant_after(agent->now, agent->options.lost_grace);
    run_set_due(agent, run);
}

/* Whoever carried it has had time to say how it ended. While it is being stopped and something is
 * left that will be signalled, that is waited for. */
void process_exit_due(struct agent *agent, struct agent_run *run)
{
    bool is_signalled_next =
        is_being_stopped(agent, run) && run->process_is_open && agent->options.mode == MODE_ENFORCE;
    run->exit_due = INSTANT_NEVER;
    if (run_is_live(run->state) && !is_signalled_next)
        end_stopped(agent, run);
    run_set_due(agent, run);
}

void process_emptied(struct agent *agent, struct agent_run *run)
{
    if (!run->process_is_open)
        return;
    run->process_has_exited = true;
    if (run->state != RUN_PENDING)
        nothing_is_left(agent, run);
}

/* It hit nobody: who obeyed the notice was gone already, and is not said to be stopped by it. */
static void forget_signal(struct agent_run *run, int signal)
{
    struct wall *sent = signal == SIGNAL_KILL ? &run->story.killed : &run->story.terminated;
    *sent = (struct wall){0};
}

void process_signalled(struct agent *agent, const struct agent_event *event)
{
    struct agent_run *run = run_find(agent, event->run);
    if (run == NULL)
        return;
    run->story.found |= event->found;
    if (event->found == 0)
        forget_signal(run, event->signal);
}
