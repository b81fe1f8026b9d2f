/* Where SIGKILL itself did not end a run something is wrong with the machine: no new run starts on
 * this replica until that run has ended, or an operator takes the replica out of the list in Redis.
 * That is looked at with each renewal of the lease: nothing depends on a message. */
#include "core/agent_inside.h"

static void list_it(struct agent *agent)
{
    agent->quarantine_is_listed = false;
    struct call about = {.kind = CALL_QUARANTINE};
    if (agent->is_linked)
        want_call(agent, STORE_QUARANTINE_ADD, &about);
}

void quarantine_begin(struct agent *agent, struct agent_run *run)
{
    if (!run_is_live(run->state) || !run->process_is_open || run->is_unkillable)
        return;
    run->is_unkillable = true;
    agent->unkillable_count++;
    agent->is_quarantined = true;
    want_news(agent, NEWS_QUARANTINED, agent->unkillable_count);
    list_it(agent); /* again, if it is: what an operator said was before this one */
}

static void end(struct agent *agent, enum agent_news news)
{
    agent->is_quarantined = agent->quarantine_is_listed = false;
    want_news(agent, news, agent->unkillable_count);
}

void quarantine_run_ended(struct agent *agent, struct agent_run *run)
{
    if (!run->is_unkillable)
        return;
    run->is_unkillable = false;
    if (--agent->unkillable_count > 0 || !agent->is_quarantined)
        return;
    end(agent, NEWS_QUARANTINE_OVER);
    if (agent->is_linked)
        want_silent_call(agent, STORE_QUARANTINE_DROP);
}

void quarantine_doubt(struct agent *agent)
{
    agent->quarantine_is_listed = false;
}

void quarantine_look(struct agent *agent)
{
    struct call about = {.kind = CALL_QUARANTINE_READ};
    if (!agent->is_quarantined)
        return;
    if (agent->quarantine_is_listed)
        want_call(agent, STORE_QUARANTINE_READ, &about);
    else
        list_it(agent);
}

/* Not of a list that Redis may have forgotten, nor of one from before we asked to be in it. */
static void look_at_list(struct agent *agent, const struct store_answer *answer)
{
    if (!agent->is_quarantined || !agent->quarantine_is_listed)
        return;
    for (size_t i = 0; i < answer->list_count; i++)
        if (str_is(answer->list[i], agent->replica))
            return;
    end(agent, NEWS_QUARANTINE_LIFTED);
}

void quarantine_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    if (answer->verdict != SAID_OK)
        return; /* the next renewal comes back to it */
    if (call->kind == CALL_QUARANTINE_READ)
        look_at_list(agent, answer);
    else if (agent->is_quarantined)
        agent->quarantine_is_listed = true;
    else
        want_silent_call(agent, STORE_QUARANTINE_DROP); /* it ended while this was on its way */
}

bool agent_is_quarantined(const struct agent *agent)
{
    return agent->is_quarantined;
}
