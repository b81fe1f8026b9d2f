/* How a run ends: Redis decides which end is recorded; while it is away, the same table does. */
#include "core/agent_inside.h"

static bool is_being_stopped(const struct agent *agent, const struct agent_run *run)
{
    return run->is_told && agent->options.mode != MODE_OBSERVE;
}

/* Only what was signalled goes on: who obeyed the notice has stopped, and its process may serve
 * others by now. A life that must not go on is stopped to the end. */
static bool ladder_must_go_on(const struct agent_run *run)
{
    bool is_signalled = run->stage == STAGE_TERM || run->stage == STAGE_KILL;
    return run->ladder_goes_on || (is_signalled && run->process_is_open);
}

void finish(struct agent *agent, struct agent_run *run, enum run_state state,
            enum run_state finished, const char *because)
{
    enum run_state from = run->state;
    const uint32_t cleared = RUN_FLAG_UNRESPONSIVE | RUN_FLAG_KILLING | RUN_FLAG_SUSPECT;
    run->state = state;
    run->finished = finished;
    run->flags = (run->flags & ~cleared) | RUN_FLAG_FROZEN;
    run->root->live--;
    agent->live_count--;
    agent->ended_count++;
    list_add_last(&agent->ended, &run->in_ended);
    link_remove(&run->in_report);
    run->deadline = run->exit_due = INSTANT_NEVER;
    run->forget_due = instant_after(agent->now, agent->options.remember);
    want_moved(agent, run, from, because);
    quarantine_run_ended(agent, run);
    if (is_being_stopped(agent, run)) {
        run->story.stopped = agent->wall;
        want_count(agent, COUNT_STOPPED, PROBLEM_NONE, run->box->record.at);
    }
    if (!ladder_must_go_on(run))
        ladder_stop(agent, run);
    run_set_due(agent, run);
    root_quieten(agent, run->root);
}

/* ---- on_end -------------------------------------------------------------------------------- */
/* Only an end of its own: one under a cancel is below the ban already. */
static bool end_cancels_below(const struct agent_run *run, enum run_state state)
{
    if (state == RUN_CANCELLED || state == RUN_ROLLED_BACK)
        return false;
    if ((run->flags & RUN_FLAG_END_CANCELS) != 0)
        return true;
    if ((run->flags & RUN_FLAG_END_LEAVES) != 0)
        return false;
    return state == RUN_ERROR || state == RUN_TIMEOUT;
}

static struct cancel_record end_record(const struct agent *agent, const struct agent_run *run)
{
    return own_record(agent, str_of(run->root->id), run->id, "parent_ended");
}

/* The script has banned the run; whoever is below it here need not wait for the message. A cancel
 * of it that still waits for Redis (one who only observes has ended by itself) goes on waiting. */
static void stop_below(struct agent *agent, struct agent_run *run, enum run_state state)
{
    bool ended_by_itself = state == RUN_SUCCESS || state == RUN_ERROR || state == RUN_PAUSED;
    if (!ended_by_itself || !end_cancels_below(run, state))
        return;
    struct cancel_record record = end_record(agent, run);
    struct record_box *box = box_make(agent, &record);
    if (box == NULL)
        return;
    const struct held *held = held_find(agent, record.root, record.target);
    bool is_waiting = held != NULL && !held->is_confirmed;
    (void)apply_cancel(agent, run->root, hold(agent, box, !is_waiting));
    box_drop(agent, box);
}

/* ---- the script ---------------------------------------------------------------------------- */
static struct str encode_end_record(struct agent *agent, const struct agent_run *run,
                                    enum run_state state)
{
    if (state == RUN_CANCELLED || state == RUN_ROLLED_BACK)
        return isolation_end_record(agent, run);
    if (!end_cancels_below(run, state))
        return STR_NONE;
    struct cancel_record record = end_record(agent, run);
    size_t len = agent->options.encode_record(&record, agent->scratch);
    return keep_str(agent, (struct str){agent->scratch, len});
}

static enum stopped_by stopped_by(const struct stop_story *story)
{
    if (story->killed.ms > 0)
        return STOPPED_BY_KILL;
    if (story->terminated.ms > 0)
        return STOPPED_BY_TERM;
    return story->delivered.ms > 0 ? STOPPED_BY_NOTICE : STOPPED_BY_NONE;
}

static struct str encode_story(struct agent *agent, struct agent_run *run)
{
    if (!is_being_stopped(agent, run))
        return STR_NONE;
    run->story.stopped = agent->wall;
    run->story.by = stopped_by(&run->story);
    size_t len = agent->options.encode_story(&run->story, agent->scratch);
    return keep_str(agent, (struct str){agent->scratch, len});
}

static void call_end(struct agent *agent, struct agent_run *run, struct call *about)
{
    about->epoch = run->epoch;
    struct str record = encode_end_record(agent, run, about->asked);
    struct str story = encode_story(agent, run);
    struct store_call *call = want_call(agent, STORE_END, about);
    call->epoch = run->epoch;
    call->incarnation = run->incarnation;
    call->state = about->asked;
    call->record = record;
    call->story = story;
}

/* ---- answers ------------------------------------------------------------------------------- */
static void answer_end(struct agent *agent, const struct agent_run *run, uint64_t ask,
                       enum problem problem)
{
    if (ask == 0)
        return;
    struct agent_reply *reply = want_answer(agent, ask);
    run_fill_reply(agent, run, reply);
    reply->problem = problem;
    reply->pending = problem == PROBLEM_NONE && !run->is_end_confirmed;
}

static enum run_event event_of(enum run_state state)
{
    switch (state) {
    case RUN_SUCCESS:
        return RUN_EV_END_SUCCESS;
    case RUN_PAUSED:
        return RUN_EV_END_PAUSED;
    case RUN_CANCELLED:
        return RUN_EV_END_CANCELLED;
    case RUN_ROLLED_BACK:
        return RUN_EV_END_ROLLED_BACK;
    default:
        return RUN_EV_END_ERROR;
    }
}

static enum run_ban ban_of(const struct agent *agent, const struct agent_run *run)
{
    if (!is_being_stopped(agent, run))
        return RUN_FREE;
    const struct cancel_record *record = &run->box->record;
    bool is_overdue = str_is(record->reason, "deadline") && str_eq(record->target, run->id);
    return is_overdue ? RUN_OVERDUE : RUN_BANNED;
}

/* Redis is away: what it would have said, to be confirmed when it is back. */
static void end_locally(struct agent *agent, struct agent_run *run, enum run_state state,
                        uint64_t ask)
{
    enum run_ban ban = ban_of(agent, run);
    enum run_state recorded = run->state;
    if (run_apply(&recorded, ban, event_of(state)) != RUN_MOVED) {
        answer_end(agent, run, ask, nobody_cancelled_it(agent, run));
        return;
    }
    bool differs = recorded != state && state != RUN_CANCELLED && state != RUN_ROLLED_BACK;
    run->asked = state;
    run->ended_here = true;
    finish(agent, run, recorded, differs ? state : RUN_NONE, "end");
    if (ban == RUN_FREE)
        stop_below(agent, run, state);
    answer_end(agent, run, ask, PROBLEM_NONE);
    if (agent->is_linked)
        sync_retry_later(agent);
}

/* In the epoch that it holds, the end would be that of the life that it goes on from. */
bool must_be_adopted(const struct agent_run *run)
{
    return run->may_adopt && !run->was_confirmed;
}

void end_send(struct agent *agent, struct agent_run *run, enum run_state state, uint64_t ask)
{
    if (!agent->is_linked || must_be_adopted(run)) {
        end_locally(agent, run, state, ask);
        return;
    }
    if (!run->is_confirmed)
        assert_send(agent, run, false);
    links_resend(agent, run); /* promised while Redis was away: behind its end it is too late */
    struct call about = {.kind = CALL_END, .run = run, .ask = ask, .asked = state};
    call_end(agent, run, &about);
}

void end_abandoned(struct agent *agent, struct agent_run *run, uint32_t epoch)
{
    struct str record = encode_end_record(agent, run, RUN_ERROR);
    struct store_call *call = want_silent_call(agent, STORE_END);
    call->root = str_of(run->root->id);
    call->run = run->id;
    call->epoch = epoch;
    call->incarnation = run->incarnation;
    call->state = RUN_ERROR;
    call->record = record;
}

/* ---- lost, and then the loss is lost ------------------------------------------------------- */
/* No other life of it is known of here. */
static bool is_lost_here(const struct agent_run *run)
{
    return run->state == RUN_LOST && !run->is_fenced && run->is_in_map;
}

bool lost_is_proven_dead(const struct agent_run *run)
{
    return is_lost_here(run) && (run->flags & RUN_FLAG_GONE) != 0;
}

/* A Redis that has forgotten that the run was declared lost thinks that it lives here, and nobody
 * else would ever end it. One that knows says `already`. An end would forbid the next life of one
 * that may be taken over: that one is declared lost once more. */
void lost_is_to_be_ended(struct agent_run *run)
{
    bool waits = (run->flags & RUN_FLAG_LOST_TAKEOVER) != 0;
    if (run->asked == RUN_NONE)
        run->asked = waits ? RUN_LOST : RUN_ERROR;
    run->ended_here = true;
    run->is_end_confirmed = false;
}

static void declare_lost(struct agent *agent, struct agent_run *run)
{
    struct cancel_record record = own_record(agent, str_of(run->root->id), run->id, "lost");
    size_t len = agent->options.encode_record(&record, agent->scratch);
    struct str bytes = keep_str(agent, (struct str){agent->scratch, len});
    struct call about = {.kind = CALL_LOST, .run = run, .is_sync = true};
    struct store_call *call = want_call(agent, STORE_LOST, &about);
    call->epoch = run->epoch;
    call->incarnation = run->incarnation;
    call->record = bytes;
}

/* Fenced, or unknown: it is not the life that Redis knows, and nothing of it is left to be said. */
void lost_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    enum store_verdict said = answer->verdict;
    bool is_there = said == SAID_LOST || said == SAID_ALREADY;
    run->is_end_confirmed =
        run->is_end_confirmed || is_there || said == SAID_FENCED || said == SAID_UNKNOWN;
    if (is_there) {
        run->is_confirmed = true;
        report_later(agent, run, RUN_FLAG_GONE);
    }
    if (!run->is_end_confirmed && said != SAID_OFFLINE)
        sync_retry_later(agent);
    root_quieten(agent, run->root);
}

void lost_is_gone(struct agent *agent, struct agent_run *run)
{
    if (run->state != RUN_LOST || run->is_fenced)
        return;
    report_later(agent, run, RUN_FLAG_GONE);
    if (run->is_confirmed || !is_lost_here(run))
        return;
    lost_is_to_be_ended(run);
    if (agent->is_linked)
        end_resend(agent, run);
}

/* ---- again --------------------------------------------------------------------------------- */
/* What Redis never had is asserted first; what it may have is ended, and asserted when unknown. A
 * link that was promised while Redis was away comes before the end: a ban finds it either way. */
void end_resend(struct agent *agent, struct agent_run *run)
{
    if (run->asked == RUN_LOST) {
        declare_lost(agent, run);
        return;
    }
    if (must_be_adopted(run)) {
        assert_send(agent, run, true);
        run->end_waits = true;
        return;
    }
    if (!run->was_confirmed)
        assert_send(agent, run, true);
    links_resend(agent, run);
    struct call about = {.kind = CALL_END,
                         .run = run,
                         .asked = run->asked,
                         .is_sync = true,
                         .is_repeat = !run->was_confirmed};
    call_end(agent, run, &about);
}

void end_after_adoption(struct agent *agent, struct agent_run *run, enum store_verdict said)
{
    bool is_ours = said == SAID_ADOPTED || said == SAID_STOP;
    bool is_not = said == SAID_FENCED || said == SAID_OVER || said == SAID_UNAUTHORIZED;
    run->end_waits = false; /* an answer that says neither: it is sent again like other ends */
    if (is_ours)
        end_resend(agent, run);
    run->is_end_confirmed = run->is_end_confirmed || is_not;
    root_quieten(agent, run->root);
}

static void end_unknown(struct agent *agent, struct call *call)
{
    struct agent_run *run = call->run;
    if (call->is_repeat) {
        run->is_end_confirmed = true;
        if (run_is_live(run->state))
            finish(agent, run, call->asked, RUN_NONE, "end of a run nobody knows");
        answer_end(agent, run, call->ask, PROBLEM_NOT_FOUND);
        return;
    }
    run->is_confirmed = false;
    assert_send(agent, run, call->is_sync);
    links_resend(agent, run);
    struct call again = {.kind = CALL_END,
                         .run = run,
                         .ask = call->ask,
                         .asked = call->asked,
                         .is_sync = call->is_sync,
                         .is_repeat = true};
    call_end(agent, run, &again);
}

static void ended(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    sync_it_writes(agent);
    run->is_end_confirmed = run->was_confirmed = true;
    if (run_is_live(run->state)) {
        run->asked = call->asked;
        run->ended_here = true;
        finish(agent, run, answer->state, answer->finished_anyway, "end");
        thread_leave(agent, run, THREAD_ENDED);
        stop_below(agent, run, answer->state);
    } else {
        run->state = answer->state; /* Redis knew of a ban that we did not, or the other way */
        run->finished = answer->finished_anyway;
    }
    answer_end(agent, run, call->ask, PROBLEM_NONE);
}

static void ended_before(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    bool is_repeat = answer->state == call->asked || answer->finished_anyway == call->asked
                     || run->asked == call->asked;
    run->is_end_confirmed = true;
    if (run_is_live(run->state)) {
        run->asked = is_repeat ? call->asked : RUN_NONE;
        finish(agent, run, answer->state, answer->finished_anyway, "end");
        thread_leave(agent, run, THREAD_ENDED);
    } else if (answer->state != RUN_LOST || !run->is_fenced) {
        run->state = answer->state;
        run->finished = answer->finished_anyway;
    }
    if (run->state == RUN_LOST) {
        run->is_confirmed = true; /* it is there: it was declared lost */
        report_later(agent, run, RUN_FLAG_GONE);
    }
    answer_end(agent, run, call->ask, is_repeat ? PROBLEM_NONE : PROBLEM_OVER);
}

/* It was sent before an adoption of ours was answered, or there is another life. */
static void end_fenced(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    struct verdict verdict = verdict_of_answer(answer);
    verdict.is_by_incarnation = answer->epoch == call->epoch;
    verdict_apply(agent, run, &verdict);
    if (!run->is_fenced && answer->epoch == run->epoch) {
        struct call again = {.kind = CALL_END, .run = run, .ask = call->ask, .asked = call->asked};
        call_end(agent, run, &again);
        return;
    }
    run->is_end_confirmed = true;
    answer_end(agent, run, call->ask, PROBLEM_FENCED);
}

/* It is dead, and Redis knows of no cancel. Until that is answered it is told at every link-up. */
static void end_without_a_reason(struct agent *agent, struct agent_run *run)
{
    if (run_is_over(run->state))
        run->asked = RUN_ERROR;
    end_send(agent, run, RUN_ERROR, 0);
}

/* It was told by a cancel that Redis could not record, here or at another replica; then Redis took
 * writes again, and its end came before the cancel. */
static bool its_cancel_is_unrecorded(const struct agent *agent, const struct agent_run *run)
{
    const struct held *held =
        run->is_told ? held_over_path(agent, str_of(run->root->id), run->path) : NULL;
    return held != NULL && !held->is_confirmed && !held->is_refused;
}

static void end_not_cancelled(struct agent *agent, struct call *call)
{
    struct agent_run *run = call->run;
    if (!its_cancel_is_unrecorded(agent, run)) {
        if (call->ask != 0)
            answer_end(agent, run, call->ask, PROBLEM_NOT_CANCELLED);
        else
            end_without_a_reason(agent, run);
        return;
    }
    if (run_is_live(run->state))
        end_locally(agent, run, call->asked, call->ask);
    else
        answer_end(agent, run, call->ask, PROBLEM_NONE);
    sync_retry_later(agent); /* the cancel first, then the end */
}

void end_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    switch (answer->verdict) {
    case SAID_ENDED:
        ended(agent, call, answer);
        break;
    case SAID_ALREADY:
    case SAID_OVER:
        ended_before(agent, call, answer);
        break;
    case SAID_FENCED:
        end_fenced(agent, call, answer);
        break;
    case SAID_UNKNOWN:
        end_unknown(agent, call);
        break;
    case SAID_NOT_CANCELLED:
        end_not_cancelled(agent, call);
        break;
    default:
        if (run_is_live(run->state))
            end_locally(agent, run, call->asked, call->ask);
        else
            answer_end(agent, run, call->ask, PROBLEM_NONE);
        if (answer->verdict != SAID_OFFLINE)
            sync_retry_later(agent);
        break;
    }
    if (run->is_end_confirmed)
        isolation_settled(agent, run);
    root_quieten(agent, run->root);
}

/* ---- the ask ------------------------------------------------------------------------------- */
static bool is_an_end(enum run_state state)
{
    return state == RUN_SUCCESS || state == RUN_ERROR || state == RUN_PAUSED
           || state == RUN_CANCELLED || state == RUN_ROLLED_BACK;
}

static void end_again(struct agent *agent, struct agent_run *run, const struct agent_event *event)
{
    lost_is_gone(agent, run);
    ladder_stop(agent, run);
    answer_end(agent, run, event->ask,
               run->asked == event->end->state ? PROBLEM_NONE : PROBLEM_OVER);
}

void end_asked(struct agent *agent, const struct agent_event *event)
{
    const struct ask_end *end = event->end;
    enum problem problem = PROBLEM_NONE;
    struct agent_run *run = run_owned(agent, event, end->run, &problem);
    if (run == NULL) {
        want_refusal(agent, event->ask, problem, NULL);
        return;
    }
    if (!is_an_end(end->state)) {
        want_refusal(agent, event->ask, PROBLEM_INVALID,
                     "state: success, error, paused, cancelled or rolled_back");
        return;
    }
    if (!epoch_is_right(agent, run, event->ask, end->epoch))
        return;
    run->story.found |= end->found;
    if (run_is_over(run->state))
        end_again(agent, run, event);
    else
        end_send(agent, run, end->state, event->ask);
}
