/* What the API is shown. */
#include "core/agent_inside.h"

static struct span left_of(const struct agent_run *run, struct instant now)
{
    if (run->deadline.ms == INSTANT_NEVER.ms)
        return SPAN_NONE;
    return MILLIS(run->deadline.ms > now.ms ? run->deadline.ms - now.ms : 0);
}

static void show(const struct agent *agent, const struct agent_run *run, struct instant now,
                 struct agent_run_view *out)
{
    *out = (struct agent_run_view){
        .run = run->id,
        .root = str_of(run->root->id),
        .path = run->path,
        .client = str_of(run->client->hash),
        .agent_name = run->agent_name,
        .thread = run->thread,
        .state = run->state,
        .finished_anyway = run->finished,
        .epoch = run->epoch,
        .flags = run->flags,
        .confirmed = run_is_over(run->state) ? run->is_end_confirmed : run->is_confirmed,
        .is_protected = run->was_confirmed && (run->flags & RUN_FLAG_UNPROTECTED) == 0,
        .record = run->is_told ? &run->box->record : NULL,
        .story = run->story,
        .grace = run->is_told ? ladder_notice_left(agent, run, now) : SPAN_NONE,
        .deadline = left_of(run, now),
        .started = run->started,
        .pid = run->pid,
    };
}

bool agent_next_run(const struct agent *agent, size_t *at, struct instant now,
                    struct agent_run_view *out)
{
    const struct agent_run *run = map_next(&agent->runs, at);
    if (run == NULL)
        return false;
    show(agent, run, now, out);
    return true;
}

bool agent_find_run(const struct agent *agent, struct str run, struct instant now,
                    struct agent_run_view *out)
{
    const struct agent_run *found = run_find(agent, run);
    if (found == NULL)
        return false;
    show(agent, found, now, out);
    return true;
}

/* A life that may not go on stands among them until its own client has ended it. */
static bool is_standing(const struct agent_run *run)
{
    return run->is_told && (run_is_live(run->state) || run->ladder_goes_on);
}

bool agent_next_standing(const struct agent *agent, struct str client, size_t *at,
                         struct instant now, struct agent_run_view *out)
{
    if (agent->options.mode == MODE_OBSERVE)
        return false;
    for (const struct agent_run *run; (run = map_next(&agent->runs, at)) != NULL;) {
        if (!str_is(client, run->client->hash) || !is_standing(run))
            continue;
        show(agent, run, now, out);
        return true;
    }
    return false;
}

bool agent_is_ready(const struct agent *agent)
{
    return agent->was_linked;
}

bool agent_is_linked(const struct agent *agent)
{
    return agent->is_linked;
}

bool agent_is_draining(const struct agent *agent)
{
    return agent->is_draining;
}

size_t agent_live_runs(const struct agent *agent)
{
    return agent->live_count;
}

size_t agent_clients_connected(const struct agent *agent)
{
    return agent->open_clients;
}

size_t agent_holds(const struct agent *agent)
{
    return agent->hold_count;
}

struct str agent_generation(const struct agent *agent)
{
    return str_of(agent->generation);
}
