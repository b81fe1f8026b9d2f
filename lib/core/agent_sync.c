/* Link up and down. On every link-up Redis is told what it has not confirmed, in this order:
 * cancels, live runs (parents first), ends; then what it has confirmed is compared. When its
 * generation has changed, or it is another server, it has confirmed nothing. */
#include "core/agent_inside.h"

enum { GENERATION_LEN = 16 };

static void timer_set(struct agent *agent, struct instant *timer, struct instant at)
{
    *timer = at;
    agent_set_due(agent);
}

void agent_set_due(struct agent *agent)
{
    struct instant first = instant_first(agent->renew_due, agent->reconcile_due);
    first = instant_first(first, agent->retry_due);
    first = instant_first(first, isolation_due(agent));
    if (agent->is_linked && agent->wants_orders && !agent->orders_on_their_way)
        first = instant_first(first, agent->orders_due);
    if (!list_is_empty(&agent->held_by_age))
        first = instant_first(first,
                              LIST_OWNER(agent->held_by_age.head.next, struct held, in_age)->until);
    due_set(&agent->heap, &agent->due, first);
}

static void lists_clear(struct agent *agent)
{
    struct list *const lists[] = {&agent->sync_held, &agent->sync_runs, &agent->sync_ends,
                                  &agent->sync_roots};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        LIST_EACH (at, then, lists[i])
            link_remove(at);
}

/* ---- what Redis does not have -------------------------------------------------------------- */
static void gather_held(struct agent *agent)
{
    LIST_EACH (at, then, &agent->held_by_age) {
        struct held *held = LIST_OWNER(at, struct held, in_age);
        if (!held->is_confirmed && !held->is_on_its_way && !link_is_in_list(&held->in_sync))
            list_add_last(&agent->sync_held, &held->in_sync);
    }
}

/* Parents first: one list for each depth, and then one after the other. */
static void gather_runs(struct agent *agent)
{
    struct list by_depth[PATH_MAX_IDS + 1];
    for (size_t i = 0; i <= PATH_MAX_IDS; i++)
        list_init(&by_depth[i]);
    size_t at = 0;
    for (struct agent_run *run; (run = map_next(&agent->runs, &at)) != NULL;) {
        if (run->links_due.ms != INSTANT_NEVER.ms)
            links_follow(agent, run); /* what could not be asked for while Redis was away */
        if (!run_is_listed_live(run))
            continue;
        if (run->is_confirmed && !run->claim_is_open) {
            report_again(agent, run);
            continue;
        }
        link_remove(&run->in_sync);
        size_t depth = path_depth(run->path);
        list_add_last(&by_depth[depth < PATH_MAX_IDS ? depth : PATH_MAX_IDS], &run->in_sync);
    }
    for (size_t i = 0; i <= PATH_MAX_IDS; i++)
        LIST_EACH (link, then, &by_depth[i]) {
            link_remove(link);
            list_add_last(&agent->sync_runs, link);
        }
}

static void gather_ends(struct agent *agent)
{
    LIST_EACH (at, then, &agent->ended) {
        struct agent_run *run = LIST_OWNER(at, struct agent_run, in_ended);
        if (!run->is_end_confirmed && run->ended_here && !link_is_in_list(&run->in_sync))
            list_add_last(&agent->sync_ends, &run->in_sync);
        if (run->is_fenced || run->is_end_confirmed)
            links_resend(agent, run); /* no end of its own takes them along */
    }
}

static void gather_roots(struct agent *agent, bool reconciles)
{
    size_t at = 0;
    for (struct agent_root *root; (root = map_next(&agent->roots, &at)) != NULL;) {
        if (!root->is_subscribed)
            continue; /* all of it is over, and Redis knows */
        root_list(agent, root);
        if (reconciles && root->live > 0 && !link_is_in_list(&root->in_sync))
            list_add_last(&agent->sync_roots, &root->in_sync);
    }
}

/* Before any run of ours is written: a broker finds runs by their replica. */
void replica_list(struct agent *agent)
{
    if (!agent->wants_replica)
        return;
    agent->wants_replica = false;
    struct call about = {.kind = CALL_REPLICA};
    want_call(agent, STORE_REPLICA_ADD, &about)->number = agent->wall.ms;
}

void sync_begin(struct agent *agent, bool reconciles)
{
    if (!agent->is_linked)
        return;
    replica_list(agent);
    gather_held(agent);
    gather_runs(agent);
    gather_ends(agent);
    gather_roots(agent, reconciles);
    sync_pump(agent);
}

/* ---- a few at a time ----------------------------------------------------------------------- */
static void send_lease(struct agent *agent)
{
    agent->wants_lease = false;
    struct call about = {.kind = CALL_LEASE};
    struct store_call *call = want_call(agent, STORE_LEASE, &about);
    call->generation = str_of(agent->generation);
    call->span = agent->options.lease;
}

static struct link *take_first(struct list *list)
{
    struct link *first = list->head.next;
    link_remove(first);
    return first;
}

static bool all_is_asserted(const struct agent *agent)
{
    return agent->asserts_open == 0 && agent->retry_due.ms == INSTANT_NEVER.ms;
}

/* False: there is nothing left to send. The lease says which generation the replica has asserted
 * to, so it waits until all that lives here was answered. */
static bool send_one(struct agent *agent)
{
    if (!list_is_empty(&agent->sync_held))
        held_send(agent, LIST_OWNER(take_first(&agent->sync_held), struct held, in_sync));
    else if (!list_is_empty(&agent->sync_runs))
        assert_send(agent, LIST_OWNER(take_first(&agent->sync_runs), struct agent_run, in_sync),
                    true);
    else if (!list_is_empty(&agent->sync_ends))
        end_resend(agent, LIST_OWNER(take_first(&agent->sync_ends), struct agent_run, in_sync));
    else if (agent->wants_lease && all_is_asserted(agent))
        send_lease(agent);
    else if (!list_is_empty(&agent->sync_roots))
        reconcile_root(agent,
                       LIST_OWNER(take_first(&agent->sync_roots), struct agent_root, in_sync));
    else
        return false;
    return true;
}

void sync_pump(struct agent *agent)
{
    while (agent->is_linked && agent->knows_generation && agent->sync_open < SYNC_WINDOW
           && send_one(agent))
        ;
}

/* ---- a server that cannot write now -------------------------------------------------------- */
void sync_retry_later(struct agent *agent)
{
    if (agent->retry_due.ms != INSTANT_NEVER.ms)
        return;
    timer_set(agent, &agent->retry_due, instant_after(agent->now, MILLIS(agent->retry_ms)));
    agent->retry_ms = agent->retry_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : agent->retry_ms * 2;
}

void sync_it_writes(struct agent *agent)
{
    agent->retry_ms = RETRY_MIN_MS;
}

/* ---- generation ---------------------------------------------------------------------------- */
void sync_generation(struct agent *agent)
{
    if (agent->generation_call != 0 || !agent->is_linked)
        return;
    agent->knows_generation = false;
    struct call about = {.kind = CALL_GENERATION};
    char proposed[GENERATION_LEN + 1];
    rng_name(&agent->rng, proposed, GENERATION_LEN); /* for a Redis that has none */
    struct str kept = keep_str(agent, (struct str){proposed, GENERATION_LEN});
    want_call(agent, STORE_GENERATION, &about)->generation = kept;
    agent->generation_call = agent->next_serial;
}

/* A run's own end bans it again; sent as a cancel it would change how the run ended. But that end
 * may be fenced, so what somebody was promised is sent all the same. */
static bool comes_back_with_its_end(const struct agent *agent, const struct held *held)
{
    const struct cancel_record *record = &held->box->record;
    return !held->is_promised && str_is(record->reason, "parent_ended")
           && run_find(agent, record->target) != NULL;
}

/* Nobody may know any more of which replica we are and which roots we hold. */
static void unlist(struct agent *agent)
{
    size_t at = 0;
    for (struct agent_root *root; (root = map_next(&agent->roots, &at)) != NULL;)
        root->is_listed = false;
    agent->wants_replica = true;
}

/* A broker clears away a replica whose lease has run out. */
static bool may_be_cleared_away(const struct agent *agent)
{
    return instant_reached(agent->now, agent->lease_over);
}

static void forget_confirmations(struct agent *agent)
{
    size_t at = 0;
    for (struct agent_run *run; (run = map_next(&agent->runs, &at)) != NULL;) {
        run->is_confirmed = run->is_doubted = run->freeze_is_confirmed = false;
        run->reported = 0;
        bool is_ours_to_say = run->ended_here && !run->is_fenced;
        run->is_end_confirmed = run->is_end_confirmed && !is_ours_to_say;
        if (lost_is_proven_dead(run))
            lost_is_to_be_ended(run);
        for (size_t i = 0; i < run->link_count; i++)
            run->links[i].is_written = false;
    }
    LIST_EACH (link, then, &agent->held_by_age) {
        struct held *held = LIST_OWNER(link, struct held, in_age);
        held->is_confirmed = comes_back_with_its_end(agent, held);
    }
    unlist(agent);
    quarantine_doubt(agent);
}

/* It had confirmed them, it has not lost writes, and it does not know them: they were removed. */
static void stop_forgotten(struct agent *agent)
{
    size_t at = 0;
    for (struct agent_run *run; (run = map_next(&agent->runs, &at)) != NULL;)
        if (run->is_doubted && run_is_listed_live(run))
            run_is_forgotten(agent, run);
}

static bool is_loss(const struct agent *agent, struct str generation)
{
    return agent->has_generation
           && (!str_is(generation, agent->generation)
               || strcmp(agent->server, agent->asserted_server) != 0);
}

void sync_generation_answered(struct agent *agent, struct call *call,
                              const struct store_answer *answer)
{
    if (call->serial != agent->generation_call)
        return; /* asked over a link that is gone */
    agent->generation_call = 0;
    if (answer->verdict != SAID_OK || answer->text.len > NAME_MAX_BYTES) {
        if (answer->verdict != SAID_OFFLINE)
            sync_retry_later(agent);
        return;
    }
    if (is_loss(agent, answer->text))
        forget_confirmations(agent);
    else
        stop_forgotten(agent);
    if (may_be_cleared_away(agent))
        unlist(agent);
    agent->has_generation = agent->knows_generation = true;
    memcpy(agent->asserted_server, agent->server, sizeof agent->server);
    memcpy(agent->generation, answer->text.at, answer->text.len);
    agent->generation[answer->text.len] = '\0';
    agent->wants_lease = true;
    sync_begin(agent, true);
}

/* ---- link ---------------------------------------------------------------------------------- */
static struct instant next_reconcile(struct agent *agent)
{
    int64_t every = agent->options.reconcile_every.ms;
    int64_t fifth = every / 5;
    int64_t off = fifth > 0 ? (int64_t)rng_below(&agent->rng, (uint32_t)(2 * fifth + 1)) : 0;
    return instant_after(agent->now, MILLIS(every - fifth + off + 1));
}

static struct instant next_renewal(const struct agent *agent)
{
    return instant_after(agent->now, MILLIS(agent->options.lease.ms / 3 + 1));
}

void link_up(struct agent *agent, const struct agent_event *event)
{
    size_t len = event->text.len < NAME_MAX_BYTES ? event->text.len : NAME_MAX_BYTES;
    memset(agent->server, 0, sizeof agent->server);
    if (len > 0)
        memcpy(agent->server, event->text.at, len);
    agent->is_linked = agent->was_linked = true;
    isolation_heard(agent);
    agent->generation_call = 0;
    agent->renew_due = next_renewal(agent);
    agent->reconcile_due = next_reconcile(agent);
    agent_set_due(agent);
    sync_generation(agent);
    holds_read(agent);
}

void link_down(struct agent *agent)
{
    agent->is_linked = false;
    lists_clear(agent);
    agent->renew_due = agent->reconcile_due = agent->retry_due = INSTANT_NEVER;
    agent->retry_ms = RETRY_MIN_MS;
    agent_set_due(agent);
}

void sync_resume(struct agent *agent)
{
    agent->wants_lease = true;
    sync_generation(agent);
}

/* What nobody knows of, no broker looks after: it is said again at the next link-up. */
void sync_listed(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    if (answer->verdict == SAID_OK)
        return;
    if (call->kind == CALL_REPLICA)
        agent->wants_replica = true;
    else
        call->root->is_listed = false;
    if (answer->verdict != SAID_OFFLINE)
        sync_retry_later(agent);
}

void sync_lease_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    if (answer->verdict == SAID_OK)
        agent->lease_over = instant_after(agent->now, agent->options.lease);
    if (answer->verdict == SAID_OK || answer->verdict == SAID_OFFLINE)
        return;
    if (call->kind == CALL_RENEW && answer->verdict == SAID_GONE) {
        agent->lease_over = agent->now;
        quarantine_doubt(agent);
        sync_resume(agent); /* we were away too long, or Redis forgot more than a lease */
        return;
    }
    agent->wants_lease = true;
    sync_retry_later(agent);
}

/* ---- time ---------------------------------------------------------------------------------- */
static void renew(struct agent *agent)
{
    agent->renew_due = next_renewal(agent);
    if (!agent->knows_generation || agent->wants_lease)
        return;
    struct call about = {.kind = CALL_RENEW};
    want_call(agent, STORE_LEASE_RENEW, &about)->span = agent->options.lease;
    quarantine_look(agent);
}

static void retry(struct agent *agent)
{
    agent->retry_due = INSTANT_NEVER;
    if (agent->knows_generation)
        sync_begin(agent, false);
    else
        sync_generation(agent);
}

void sync_due(struct agent *agent)
{
    if (instant_reached(agent->now, agent->renew_due))
        renew(agent);
    if (instant_reached(agent->now, agent->reconcile_due)) {
        agent->reconcile_due = next_reconcile(agent);
        sync_begin(agent, true);
        holds_check(agent);
    }
    if (instant_reached(agent->now, agent->retry_due))
        retry(agent);
    isolation_look(agent);
    holds_due(agent);
    held_expire(agent);
    agent_set_due(agent);
}

void sync_soon(struct agent *agent)
{
    struct instant soon = instant_after(agent->now, MILLIS(RETRY_MIN_MS));
    if (agent->is_linked)
        timer_set(agent, &agent->reconcile_due, instant_first(agent->reconcile_due, soon));
}

void root_due(struct agent *agent, struct agent_root *root)
{
    if (!list_is_empty(&root->reports) && !link_is_in_list(&root->in_flush))
        list_add_last(&agent->flush, &root->in_flush);
    if (!root->wants_reconcile)
        return;
    if (!instant_reached(agent->now, root->next_reconcile)) {
        due_set(&agent->heap, &root->due, root->next_reconcile);
        return;
    }
    root->wants_reconcile = false;
    root->next_reconcile = instant_after(agent->now, MILLIS(RECONCILE_ROOT_MS));
    if (agent->is_linked)
        reconcile_root(agent, root);
}

void hints_missed(struct agent *agent, struct str id)
{
    struct agent_root *root = root_find(agent, id);
    if (root == NULL)
        return;
    root->wants_reconcile = true;
    root_due(agent, root);
}

void garbage_seen(struct agent *agent, struct str id)
{
    want_count(agent, COUNT_MALFORMED, PROBLEM_NONE, (struct wall){0});
    hints_missed(agent, id);
}

void newer_seen(struct agent *agent, struct str id)
{
    want_count(agent, COUNT_UNREADABLE, PROBLEM_NONE, (struct wall){0});
    hints_missed(agent, id);
}
