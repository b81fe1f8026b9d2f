/* Acknowledgements, and whether a checkpoint may be written. */
#include "base/mem.h"
#include "core/agent_inside.h"

bool epoch_is_right(struct agent *agent, const struct agent_run *run, uint64_t ask, uint32_t epoch)
{
    bool is_its = epoch != 0 && (epoch == run->epoch || epoch == run->given_epoch);
    if (is_its && !run->is_fenced)
        return true;
    struct agent_reply *reply = want_answer(agent, ask);
    run_fill_reply(agent, run, reply);
    if (epoch == 0) {
        reply->problem = PROBLEM_EPOCH_REQUIRED;
    } else if (epoch < run->epoch || run->is_fenced) {
        reply->problem = PROBLEM_FENCED;
    } else {
        reply->problem = PROBLEM_INVALID;
        reply->detail = "nobody was ever given this epoch";
    }
    return false;
}

/* ---- acknowledgement ----------------------------------------------------------------------- */
static void stamp(struct wall *once, struct wall at)
{
    if (once->ms == 0)
        *once = at;
}

/* Whoever acknowledges has been told. */
static void acknowledge(struct agent *agent, struct agent_run *run, enum ack_phase phase)
{
    uint32_t flags = RUN_FLAG_DELIVERED;
    stamp(&run->story.delivered, agent->wall);
    switch (phase) {
    case ACK_ACKNOWLEDGED:
        flags |= RUN_FLAG_ACKNOWLEDGED;
        stamp(&run->story.acknowledged, agent->wall);
        break;
    case ACK_CLEANED_UP:
        flags |= RUN_FLAG_CLEANED_UP;
        stamp(&run->story.cleaned_up, agent->wall);
        break;
    case ACK_CHECKPOINTED:
        flags |= RUN_FLAG_CHECKPOINTED;
        stamp(&run->story.checkpointed, agent->wall);
        break;
    }
    report_later(agent, run, flags);
}

/* Only Redis knows; a client may have been told by the agentd that was here before us. */
enum problem nobody_cancelled_it(const struct agent *agent, const struct agent_run *run)
{
    bool is_known = agent->is_linked && run->is_confirmed;
    bool is_observed = agent->options.mode == MODE_OBSERVE;
    return is_known || is_observed ? PROBLEM_NOT_CANCELLED : PROBLEM_UNAVAILABLE;
}

void ack_asked(struct agent *agent, const struct agent_event *event)
{
    enum problem problem = PROBLEM_NONE;
    struct agent_run *run = run_owned(agent, event, event->ack->run, &problem);
    if (run == NULL) {
        want_refusal(agent, event->ask, problem, NULL);
        return;
    }
    if (!epoch_is_right(agent, run, event->ask, event->ack->epoch))
        return;
    bool is_told = run->is_told && agent->options.mode != MODE_OBSERVE;
    if (run_is_over(run->state))
        problem = PROBLEM_OVER;
    else if (!is_told)
        problem = nobody_cancelled_it(agent, run);
    else
        acknowledge(agent, run, event->ack->phase);
    struct agent_reply *reply = want_answer(agent, event->ask);
    run_fill_reply(agent, run, reply);
    reply->problem = problem;
}

/* ---- fence --------------------------------------------------------------------------------- */
static struct agent_reply *answer_fence(struct agent *agent, const struct agent_run *run,
                                        uint64_t ask, enum problem problem)
{
    struct agent_reply *reply = want_answer(agent, ask);
    run_fill_reply(agent, run, reply);
    reply->problem = problem;
    return reply;
}

static void freeze(struct agent *agent, struct agent_run *run, struct str write_id,
                   bool is_confirmed)
{
    run->is_frozen = true;
    run->freeze_is_confirmed = is_confirmed;
    if (run->write_id != NULL)
        return;
    run->write_id = mem_copy(write_id);
    agent->is_starved = agent->is_starved || run->write_id == NULL;
}

/* At most one more write after the ban, counted here while Redis cannot. */
static void grant_locally(struct agent *agent, struct agent_run *run, uint64_t ask,
                          struct str write_id)
{
    bool is_told = run->is_told && agent->options.mode != MODE_OBSERVE;
    bool is_repeat = run->write_id != NULL && str_is(write_id, run->write_id);
    if (run_is_over(run->state) || (run->is_frozen && !is_repeat)) {
        answer_fence(agent, run, ask, PROBLEM_FROZEN);
        return;
    }
    if (is_told && !run->is_frozen)
        freeze(agent, run, write_id, false);
    struct agent_reply *reply = answer_fence(agent, run, ask, PROBLEM_NONE);
    reply->last = is_told;
    reply->unconfirmed = true;
}

static void send_fence(struct agent *agent, struct agent_run *run, const struct call *about,
                       struct str write_id, struct str bytes)
{
    struct str kept_id = keep_str(agent, write_id);
    struct str kept_bytes = keep_str(agent, bytes);
    struct store_call *call = want_call(agent, STORE_CHECKPOINT, about);
    call->epoch = run->epoch;
    call->write_id = kept_id;
    call->bytes = kept_bytes;
}

void fence_asked(struct agent *agent, const struct agent_event *event)
{
    const struct ask_fence *fence = event->fence;
    enum problem problem = PROBLEM_NONE;
    struct agent_run *run = run_owned(agent, event, fence->run, &problem);
    if (run == NULL) {
        want_refusal(agent, event->ask, problem, NULL);
        return;
    }
    if (!epoch_is_right(agent, run, event->ask, fence->epoch))
        return;
    if (fence->write_id.len == 0 || fence->write_id.len > TEXT_MAX_BYTES) {
        want_refusal(agent, event->ask, PROBLEM_INVALID, "write_id: 1 to 1024 bytes");
        return;
    }
    bool is_another =
        run->is_frozen && (run->write_id == NULL || !str_is(fence->write_id, run->write_id));
    if (is_another) {
        answer_fence(agent, run, event->ask, PROBLEM_FROZEN);
        return;
    }
    if (!agent->is_linked) {
        grant_locally(agent, run, event->ask, fence->write_id);
        return;
    }
    struct call about = {
        .kind = CALL_FENCE, .run = run, .ask = event->ask, .text = mem_copy(fence->write_id)};
    send_fence(agent, run, &about, fence->write_id, fence->bytes);
}

static void fence_by_verdict(struct agent *agent, struct call *call,
                             const struct store_answer *answer)
{
    struct verdict verdict = verdict_of_answer(answer);
    verdict_apply(agent, call->run, &verdict);
    bool is_fenced = call->run->is_fenced; /* else: asked before our adoption was answered */
    answer_fence(agent, call->run, call->ask, is_fenced ? PROBLEM_FENCED : PROBLEM_UNKNOWN_OUTCOME);
}

/* Redis has it; who writes the checkpoint hears when those have it that outlive Redis. */
static void granted(struct agent *agent, struct call *call, struct str write_id, bool last)
{
    if (last)
        freeze(agent, call->run, write_id, true);
    if (!last || agent->options.durability == DURABLE_MEMORY) {
        answer_fence(agent, call->run, call->ask, PROBLEM_NONE)->last = last;
        return;
    }
    struct call about = {.kind = CALL_FENCE_SYNC, .run = call->run, .ask = call->ask};
    struct str kept = keep_str(agent, write_id);
    struct store_call *sync = want_call(agent, STORE_SYNC, &about);
    sync->durability = agent->options.durability;
    sync->epoch = call->run->epoch;
    sync->write_id = kept;
}

void fence_synced(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_reply *reply = answer_fence(agent, call->run, call->ask, PROBLEM_NONE);
    reply->last = true;
    reply->unconfirmed = answer->verdict != SAID_OK;
}

void fence_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    struct str write_id = call->text != NULL ? str_of(call->text) : STR_NONE;
    if (call->kind == CALL_FREEZE) {
        run->freeze_is_confirmed =
            answer->verdict == SAID_GRANTED || answer->verdict == SAID_FROZEN;
        return;
    }
    bool was_granted_another =
        run->is_frozen && run->write_id != NULL && !str_is(write_id, run->write_id);
    switch (answer->verdict) {
    case SAID_GRANTED:
        if (answer->last && was_granted_another) /* here, while Redis did not know the run */
            answer_fence(agent, run, call->ask, PROBLEM_FROZEN);
        else
            granted(agent, call, write_id, answer->last);
        break;
    case SAID_FROZEN:
        run->is_frozen = run->freeze_is_confirmed = true;
        answer_fence(agent, run, call->ask, PROBLEM_FROZEN);
        break;
    case SAID_FENCED:
        fence_by_verdict(agent, call, answer);
        break;
    case SAID_UNKNOWN: {
        struct verdict verdict = verdict_of_answer(answer);
        verdict_apply(agent, run, &verdict);
        grant_locally(agent, run, call->ask, write_id);
        break;
    }
    default:
        grant_locally(agent, run, call->ask, write_id);
        if (answer->verdict != SAID_OFFLINE)
            sync_retry_later(agent);
        break;
    }
}

/* Redis is told of a grant that was made without it, or that it has forgotten. */
void freeze_resend(struct agent *agent, struct agent_run *run)
{
    if (!run->is_frozen || run->freeze_is_confirmed || run->write_id == NULL)
        return;
    struct call about = {.kind = CALL_FREEZE, .run = run};
    send_fence(agent, run, &about, str_of(run->write_id), STR_NONE);
}
