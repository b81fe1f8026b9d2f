/* Out of reach of Redis for longer than a lease: no cancel from elsewhere arrives here, and soon a
 * broker will say that our runs are lost. Those that were started with when_isolated = cancel are
 * stopped by their own stop targets.
 *
 * Redis learns the reason when it is back: with the end of the run, or, while it still lives, by a
 * cancel. Only of a life that is still ours by then: another may go on with the run. */
#include "core/agent_inside.h"

void isolation_begin(struct agent *agent)
{
    agent->has_begun = true;
    agent->heard_at = agent->now;
    agent_set_due(agent);
}

/* The lease was renewed by what we sent before this answer, so Redis keeps it no longer than we
 * wait. */
void isolation_heard(struct agent *agent)
{
    agent->heard_at = agent->now;
    if (!agent->is_isolated)
        return;
    agent->is_isolated = false;
    agent_set_due(agent);
    want_news(agent, NEWS_IN_REACH, 0);
}

/* Nobody listened meanwhile: what Redis has said lies in the socket. A third of a lease is enough
 * to hear it. */
void isolation_thawed(struct agent *agent)
{
    struct instant soon = instant_after(agent->now, MILLIS(-agent->options.lease.ms * 2 / 3));
    if (agent->heard_at.ms < soon.ms)
        agent->heard_at = soon;
}

struct instant isolation_due(const struct agent *agent)
{
    return agent->is_isolated ? INSTANT_NEVER
                              : instant_after(agent->heard_at, agent->options.lease);
}

/* Its links are followed as soon as Redis has recorded the reason: this is our own act alone. */
size_t isolation_stop(struct agent *agent, struct agent_run *run)
{
    if (!run_is_listed_live(run) || run->is_told || !run->isolation_cancels)
        return 0;
    struct cancel_record record = own_record(agent, str_of(run->root->id), run->id, "isolated");
    struct record_box *box = box_make(agent, &record);
    if (box == NULL)
        return 0;
    run->is_isolated = true;
    size_t told = tell_run(agent, run, box);
    box_drop(agent, box);
    return told;
}

void isolation_look(struct agent *agent)
{
    if (agent->is_isolated || !instant_reached(agent->now, isolation_due(agent)))
        return;
    agent->is_isolated = true;
    size_t told = 0, at = 0;
    for (struct agent_run *run;
         agent->options.mode != MODE_OBSERVE && (run = map_next(&agent->runs, &at)) != NULL;)
        told += isolation_stop(agent, run);
    want_news(agent, NEWS_ISOLATED, told);
}

bool isolation_forbids(const struct agent *agent, const struct agent_run *run)
{
    return agent->is_isolated && run->isolation_cancels && agent->options.mode != MODE_OBSERVE;
}

void isolation_record(struct agent *agent, struct agent_run *run)
{
    if (!run->is_isolated || !run_is_listed_live(run))
        return;
    struct open_ask about = {.kind = OPEN_OWN, .box = run->box};
    (void)ask_cancel(agent, &run->box->record, true, &about);
}

struct str isolation_end_record(struct agent *agent, const struct agent_run *run)
{
    if (!run->is_isolated)
        return STR_NONE;
    return keep_str(agent, (struct str){run->box->bytes, run->box->len});
}

void isolation_settled(struct agent *agent, struct agent_run *run)
{
    if (!run->is_isolated)
        return;
    run->is_isolated = false;
    if (run->state == RUN_CANCELLED || run->state == RUN_ROLLED_BACK)
        links_follow(agent, run);
    else
        run->is_told = false; /* it had ended by itself: nothing was cancelled */
}

struct span agent_isolated_for(const struct agent *agent, struct instant now)
{
    return MILLIS(agent->is_isolated ? now.ms - agent->heard_at.ms : 0);
}
