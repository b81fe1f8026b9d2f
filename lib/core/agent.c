#include <assert.h>

#include "base/mem.h"
#include "core/agent_inside.h"

/* ---- life ---------------------------------------------------------------------------------- */
static void lists_init(struct agent *agent)
{
    struct list *const lists[] = {&agent->ended,     &agent->held_by_age, &agent->flush,
                                  &agent->texts,     &agent->sync_held,   &agent->sync_runs,
                                  &agent->sync_ends, &agent->sync_roots,  &agent->unchecked,
                                  &agent->in_check};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        list_init(lists[i]);
}

struct agent *agent_new(const struct agent_options *options)
{
    struct agent *agent = mem_new(sizeof *agent);
    if (agent == NULL || !due_reserve(&agent->heap)) {
        mem_free(agent);
        return NULL;
    }
    assert(options->replica.len > 0 && options->replica.len <= NAME_MAX_BYTES);
    agent->options = *options;
    memcpy(agent->replica, options->replica.at, options->replica.len);
    agent->options.replica = str_of(agent->replica);
    agent->rng.state = options->seed;
    struct map *const maps[] = {&agent->clients,   &agent->roots, &agent->runs,
                                &agent->processes, &agent->held,  &agent->asks};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        maps[i]->seed = (uint32_t)rng_next(&agent->rng);
    lists_init(agent);
    agent->last = INSTANT_NEVER;
    agent->due.kind = DUE_AGENT;
    agent->renew_due = agent->reconcile_due = agent->retry_due = INSTANT_NEVER;
    agent->retry_ms = RETRY_MIN_MS;
    agent->wants_replica = true;
    return agent;
}

static void drop_runs(struct agent *agent)
{
    size_t at = 0;
    for (struct agent_root *root; (root = map_next(&agent->roots, &at)) != NULL;) {
        root->calls++; /* it stays until its last run is gone */
        LIST_EACH (link, then, &root->runs) {
            struct agent_run *run = LIST_OWNER(link, struct agent_run, in_root);
            run->calls = 0;
            start_free(agent, run);
            run_drop(agent, run);
        }
        LIST_EACH (link, then, &root->held)
            held_drop(agent, LIST_OWNER(link, struct held, in_root));
        root->calls = 0;
        root_drop_if_idle(agent, root);
    }
}

static void drop_asks(struct agent *agent)
{
    size_t at = 0;
    for (struct open_ask *open; (open = map_next(&agent->asks, &at)) != NULL;) {
        box_drop(agent, open->box);
        mem_free(open);
    }
}

void agent_free(struct agent *agent)
{
    if (agent == NULL)
        return;
    struct agent_effects todo = {0};
    agent->todo = &todo;
    drop_asks(agent);
    drop_runs(agent);
    texts_fini(agent);
    holds_fini(agent);
    size_t at = 0;
    for (struct agent_client *client; (client = map_next(&agent->clients, &at)) != NULL;) {
        client->is_open = false;
        client_drop_if_idle(agent, client);
    }
    mem_free(todo.item);
    want_fini(agent);
    struct map *const maps[] = {&agent->clients,   &agent->roots, &agent->runs,
                                &agent->processes, &agent->held,  &agent->asks};
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        map_fini(maps[i]);
    due_fini(&agent->heap);
    mem_free(agent);
}

/* ---- answers ------------------------------------------------------------------------------- */
static void on_answer(struct agent *agent, const struct agent_event *event)
{
    struct call call;
    const struct store_answer *answer = event->answer;
    if (!call_take(agent, event->token, &call))
        return;
    agent->sync_open -= call.is_sync ? 1 : 0;
    if (answer->verdict != SAID_OFFLINE)
        isolation_heard(agent);
    switch (call.kind) {
    case CALL_START:
        start_answered(agent, &call, answer);
        break;
    case CALL_CLAIM:
    case CALL_PARENT:
    case CALL_TOMB:
    case CALL_ORIGIN:
    case CALL_ORIGIN_PEEK:
    case CALL_SELF:
    case CALL_HELD:
    case CALL_THREAD:
    case CALL_RIVAL:
        start_looked(agent, &call, answer);
        break;
    case CALL_OWNER:
        start_owner_answered(agent, &call, answer);
        break;
    case CALL_ADOPT:
        start_adopt_answered(agent, &call, answer);
        break;
    case CALL_ASSERT:
        assert_answered(agent, &call, answer);
        break;
    case CALL_RECLAIM:
    case CALL_OLD_TOMB:
        reclaim_answered(agent, &call, answer);
        break;
    case CALL_END:
        end_answered(agent, &call, answer);
        break;
    case CALL_LOST:
        lost_answered(agent, &call, answer);
        break;
    case CALL_REPORT:
        report_answered(agent, &call, answer);
        break;
    case CALL_RECONCILE:
        reconcile_answered(agent, &call, answer);
        break;
    case CALL_LINK:
    case CALL_LINK_DONE:
        link_answered(agent, &call, answer);
        break;
    case CALL_FENCE:
    case CALL_FREEZE:
        fence_answered(agent, &call, answer);
        break;
    case CALL_FENCE_SYNC:
        fence_synced(agent, &call, answer);
        break;
    case CALL_ALIAS:
        alias_answered(agent, &call, answer);
        break;
    case CALL_ADOPT_SYNC:
        adopt_synced(agent, &call, answer);
        break;
    case CALL_LISTED:
    case CALL_REPLICA:
        sync_listed(agent, &call, answer);
        break;
    case CALL_CANCEL:
        held_answered(agent, &call, answer);
        break;
    case CALL_GENERATION:
        sync_generation_answered(agent, &call, answer);
        break;
    case CALL_LEASE:
    case CALL_RENEW:
        sync_lease_answered(agent, &call, answer);
        break;
    case CALL_QUARANTINE:
    case CALL_QUARANTINE_READ:
        quarantine_answered(agent, &call, answer);
        break;
    case CALL_ORDERS:
    case CALL_ORDERS_VERSION:
        holds_answered(agent, &call, answer);
        break;
    }
    call_done(agent, &call);
    sync_pump(agent);
}

/* ---- time ---------------------------------------------------------------------------------- */
static void deadline_reached(struct agent *agent, struct agent_run *run)
{
    run->deadline = INSTANT_NEVER;
    if (!run_is_listed_live(run) || run->is_told)
        return;
    struct cancel_record record = own_record(agent, str_of(run->root->id), run->id, "deadline");
    (void)cancel_here(agent, &record);
}

static void run_due(struct agent *agent, struct agent_run *run)
{
    if (instant_reached(agent->now, run->deadline))
        deadline_reached(agent, run);
    if (instant_reached(agent->now, run->exit_due))
        process_exit_due(agent, run);
    if (instant_reached(agent->now, run->ladder_due))
        ladder_due(agent, run);
    if (instant_reached(agent->now, run->links_due))
        links_follow(agent, run);
    if (instant_reached(agent->now, run->forget_due)) {
        if (run_forget_if_due(agent, run))
            return;
        run->forget_due = instant_after(agent->now, agent->options.remember);
    }
    run_set_due(agent, run);
}

static void due_reached(struct agent *agent, struct due *due)
{
    switch ((enum due_kind)due->kind) {
    case DUE_RUN:
        run_due(agent, LIST_OWNER(due, struct agent_run, due));
        break;
    case DUE_ROOT:
        root_due(agent, LIST_OWNER(due, struct agent_root, due));
        break;
    case DUE_CLIENT:
        client_due(agent, LIST_OWNER(due, struct agent_client, due));
        break;
    case DUE_TEXT:
        text_due(agent, LIST_OWNER(due, struct text, due));
        break;
    case DUE_AGENT:
        sync_due(agent);
        break;
    }
}

/* Each timer that is due is taken out before its owner acts; the owner sets it anew. */
static void on_time(struct agent *agent)
{
    for (struct due *due;
         (due = due_first(&agent->heap)) != NULL && instant_reached(agent->now, due->at);) {
        due_set(&agent->heap, due, INSTANT_NEVER);
        due_reached(agent, due);
    }
}

/* ---- one step ------------------------------------------------------------------------------ */
static void with_run(struct agent *agent, const struct agent_event *event,
                     void (*act)(struct agent *agent, struct agent_run *run))
{
    struct agent_run *run = run_find(agent, event->run);
    if (run != NULL)
        act(agent, run);
}

static void on_opened(struct agent *agent, const struct agent_event *event)
{
    struct agent_run *run = run_find(agent, event->run);
    if (run == NULL)
        return;
    if (run->process != NULL && event->within != run->pid)
        run->process->within = event->within;
    start_process_opened(agent, run, event->problem);
}

static void on_remote_answer(struct agent *agent, const struct agent_event *event)
{
    struct agent_run *run = run_find(agent, event->run);
    if (run == NULL)
        return;
    if (event->text.len > 0)
        link_remote_answered(agent, run, event);
    else
        ladder_remote_answered(agent, run, event);
}

static void dispatch(struct agent *agent, const struct agent_event *event)
{
    switch (event->kind) {
    case AGENT_LINK_UP:
        link_up(agent, event);
        break;
    case AGENT_LINK_DOWN:
        link_down(agent);
        break;
    case AGENT_ANSWER:
        on_answer(agent, event);
        break;
    case AGENT_CANCEL_SEEN:
        cancel_seen(agent, event);
        break;
    case AGENT_TEXT_SEEN:
        text_seen(agent, event);
        break;
    case AGENT_NEWER_SEEN:
        newer_seen(agent, event->root);
        break;
    case AGENT_GARBAGE_SEEN:
        garbage_seen(agent, event->root);
        break;
    case AGENT_HINTS_MISSED:
        hints_missed(agent, event->root);
        break;
    case AGENT_ORDERS_SEEN:
        holds_seen(agent);
        break;
    case AGENT_CLIENT_CAME:
        client_came(agent, event->caller.token_hash);
        break;
    case AGENT_CLIENT_WENT:
    case AGENT_CLIENT_SLOW:
        client_went(agent, event->caller.token_hash);
        break;
    case AGENT_ASKED_START:
        start_asked(agent, event);
        break;
    case AGENT_ASKED_ACK:
        ack_asked(agent, event);
        break;
    case AGENT_ASKED_END:
        end_asked(agent, event);
        break;
    case AGENT_ASKED_LINK:
        link_asked(agent, event);
        break;
    case AGENT_ASKED_FENCE:
        fence_asked(agent, event);
        break;
    case AGENT_ASKED_CANCEL:
        cancel_asked(agent, event);
        break;
    case AGENT_CANCEL_ANSWERED:
        cancel_answered(agent, event);
        break;
    case AGENT_PROCESS_OPENED:
        on_opened(agent, event);
        break;
    case AGENT_PROCESS_EXITED:
        with_run(agent, event, process_exited);
        break;
    case AGENT_PROCESS_EMPTY:
        with_run(agent, event, process_emptied);
        break;
    case AGENT_SIGNALLED:
        process_signalled(agent, event);
        break;
    case AGENT_REMOTE_ANSWERED:
        on_remote_answer(agent, event);
        break;
    case AGENT_DRAIN:
        agent->is_draining = true;
        break;
    case AGENT_TIME_PASSED:
        break;
    }
}

/* Longer without a step than a lease lives: we were frozen, and the world went on. */
static bool was_frozen(const struct agent *agent)
{
    return agent->is_linked && agent->last.ms != INSTANT_NEVER.ms
           && agent->now.ms - agent->last.ms > agent->options.lease.ms;
}

enum err agent_step(struct agent *agent, const struct agent_event *event,
                    struct agent_effects *todo)
{
    todo->count = 0;
    want_reset(agent);
    agent->todo = todo;
    agent->is_starved = false;
    agent->now = event->at;
    agent->wall = event->wall;
    bool is_resumed = was_frozen(agent);
    agent->last = event->at;
    if (!agent->has_begun)
        isolation_begin(agent);
    if (is_resumed)
        isolation_thawed(agent);
    dispatch(agent, event);
    on_time(agent);
    if (is_resumed)
        sync_resume(agent);
    report_flush(agent);
    ended_trim(agent);
    if (agent->is_starved)
        sync_soon(agent); /* what was lost of this step is found by comparing */
    agent->todo = NULL;
    return agent->is_starved ? ERR_NOMEM : ERR_OK;
}

struct instant agent_deadline(const struct agent *agent)
{
    const struct due *first = due_first(&agent->heap);
    return first != NULL ? first->at : INSTANT_NEVER;
}
