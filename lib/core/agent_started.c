/* What became of a start. */
#include "base/mem.h"
#include "core/agent_inside.h"

void start_free(struct agent *agent, struct agent_run *run)
{
    struct start *start = run->start;
    if (start == NULL)
        return;
    box_drop(agent, start->refusal);
    box_drop(agent, start->tomb);
    throw_away(agent, start->rival);
    throw_away(agent, start);
    run->start = NULL;
}

/* ---- refused ------------------------------------------------------------------------------- */
/* Where a run of this id is or may be, whoever cancels it must find it. */
static void drop_claim(struct agent *agent, const struct agent_run *run, enum problem problem)
{
    bool may_be_there = run->start->was_sent
                        && (problem == PROBLEM_UNKNOWN_OUTCOME || problem == PROBLEM_CONFLICT
                            || problem == PROBLEM_FORBIDDEN || problem == PROBLEM_OVER);
    if (may_be_there)
        return;
    if (run->start->entry_is_new)
        thread_leave(agent, run, THREAD_NEVER_BEGAN);
    if (!run->start->claim_is_new)
        return;
    struct store_call *call = want_silent_call(agent, STORE_FIND_DROP);
    call->id = run->id;
    call->root = str_of(run->root->id);
}

static void fill_refusal(struct agent *agent, const struct agent_run *run,
                         const struct store_answer *answer, struct agent_reply *reply)
{
    const struct start *start = run->start;
    reply->run = run->id;
    reply->root = str_of(run->root->id);
    reply->epoch = start->stored_epoch;
    reply->owner = keep_str(agent, str_of(start->owner));
    if (start->refusal != NULL) {
        reply->has_record = true;
        reply->record = start->refusal->record;
    }
    if (answer == NULL)
        return;
    reply->epoch = answer->epoch;
    reply->state = answer->state;
    reply->finished_anyway = answer->finished_anyway;
}

/* answer: that of the script, if there is one; NULL otherwise. */
void start_refuse(struct agent *agent, struct agent_run *run, enum problem problem,
                  const char *detail, const struct store_answer *answer)
{
    struct start *start = run->start;
    if (answer != NULL && answer->record.len > 0 && start->refusal == NULL)
        start->refusal = box_of_ban(agent, answer->record, str_of(run->root->id), answer->ban);
    for (size_t i = 0; i < start->ask_count; i++) {
        struct agent_reply reply = {.problem = problem, .detail = detail, .deadline = SPAN_NONE};
        fill_refusal(agent, run, answer, &reply);
        *want_answer(agent, start->ask[i]) = reply;
    }
    want_count(agent, COUNT_STARTS_REFUSED, problem, (struct wall){0});
    drop_claim(agent, run, problem);
    if (run->process_is_open)
        want(agent, DO_CLOSE_PROCESS)->run = run->id;
    run->process_is_open = false;
    start_free(agent, run);
    run_detach(agent, run);
    run_forget_if_due(agent, run);
}

static void refuse_cancelled(struct agent *agent, struct agent_run *run,
                             const struct store_answer *answer)
{
    struct record_box *box = box_of_bytes(agent, answer->record);
    if (box != NULL && box_may_hold(box))
        (void)hold(agent, box, true);
    box_drop(agent, box);
    start_refuse(agent, run, PROBLEM_CANCELLED, NULL, answer);
}

/* ---- started ------------------------------------------------------------------------------- */
static void join_root(struct agent *agent, struct agent_run *run, enum run_state state)
{
    run->state = state;
    run->root->live++;
    agent->live_count++;
    want_moved(agent, run, RUN_PENDING, "start");
    if (run->awaits_stream)
        client_is_awaited(agent, run->client);
}

/* An adoption fences the life before it: whoever waits for it hears whether that outlives Redis. */
static void sync_adoption(struct agent *agent, struct agent_run *run)
{
    struct start *start = run->start;
    run->given_epoch = run->epoch;
    for (size_t i = 0; i < start->ask_count; i++) {
        struct call about = {
            .kind = CALL_ADOPT_SYNC, .run = run, .ask = start->ask[i], .is_repeat = i > 0};
        struct store_call *sync = want_call(agent, STORE_SYNC, &about);
        sync->durability = agent->options.durability;
        sync->epoch = run->epoch;
    }
    start_free(agent, run);
}

void adopt_synced(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_reply reply = {.created = !call->is_repeat};
    run_fill_reply(agent, call->run, &reply);
    reply.unconfirmed = answer->verdict != SAID_OK;
    *want_answer(agent, call->ask) = reply;
}

static void answer_started(struct agent *agent, struct agent_run *run, bool is_created)
{
    struct start *start = run->start;
    bool needs_alias = run->alias.len > 0 && agent->is_linked;
    run->given_epoch = run->epoch;
    for (size_t i = 0; i < start->ask_count; i++) {
        struct agent_reply reply = {.created = is_created && i == 0};
        if (needs_alias) {
            alias_send(agent, run, start->ask[i], reply.created);
            continue;
        }
        run_fill_reply(agent, run, &reply);
        *want_answer(agent, start->ask[i]) = reply;
    }
    start_free(agent, run);
}

static void set_deadline(struct agent *agent, struct agent_run *run, struct span left)
{
    if (left.ms >= 0)
        run->deadline = instant_after(agent->now, left);
    run_set_due(agent, run);
}

/* A cancel that came while the start was on its way, or that holds for the path Redis stored. */
static void tell_if_hit(struct agent *agent, struct agent_run *run)
{
    struct record_box *box = run->box;
    run->box = NULL;
    if (box == NULL) {
        const struct held *held = held_over_path(agent, str_of(run->root->id), run->path);
        box = held != NULL ? box_share(held->box) : NULL;
    }
    if (box != NULL)
        tell_run(agent, run, box);
    box_drop(agent, box);
    if (run->process_has_exited)
        process_exited(agent, run); /* while the start was on its way */
}

static void take_answer(struct agent *agent, struct agent_run *run,
                        const struct store_answer *answer)
{
    run->epoch = answer->epoch;
    run->flags |= answer->flags;
    run->reported = answer->flags & RUN_FLAGS_PHASES;
    run->is_confirmed = run->was_confirmed = true;
    if (answer->path.len > 0 && !run_move_path(run, answer->path))
        agent->is_starved = true;
    struct record_box *box = box_of_ban(agent, answer->record, str_of(run->root->id), answer->ban);
    if (box == NULL)
        return;
    if (box_may_hold(box))
        (void)hold(agent, box, true);
    if (run->box == NULL)
        run->box = box_share(box);
    box_drop(agent, box);
}

static void started(struct agent *agent, struct agent_run *run, enum run_state state,
                    const struct store_answer *answer, bool is_created)
{
    take_answer(agent, run, answer);
    if ((answer->flags & RUN_FLAG_PARENT_GONE) != 0)
        root_announce(agent, run);
    struct span left = answer->deadline_ms > 0 ? MILLIS(answer->deadline_ms) : SPAN_NONE;
    set_deadline(agent, run, left);
    join_root(agent, run, state);
    thread_supersede(agent, run);
    bool is_adopted = run->start->epoch > 0 && is_created;
    alias_begin(run, is_created && !is_adopted);
    if (is_adopted && agent->options.durability != DURABLE_MEMORY)
        sync_adoption(agent, run);
    else
        answer_started(agent, run, is_created);
    tell_if_hit(agent, run);
}

/* Where the cut of the claimed path hides who is above, a strict start is taken back. */
static void take_back(struct agent *agent, struct agent_run *run, const struct store_answer *answer)
{
    take_answer(agent, run, answer);
    join_root(agent, run, RUN_RUNNING);
    for (size_t i = 0; i < run->start->ask_count; i++)
        want_refusal(agent, run->start->ask[i], PROBLEM_INVALID,
                     "the cut path hides who is above, and strict was asked for");
    start_free(agent, run);
    run->flags |= RUN_FLAG_END_LEAVES;
    end_send(agent, run, RUN_ERROR, 0);
}

static const char *why_not_without_redis(const struct agent *agent, const struct agent_run *run)
{
    if (!agent->options.allow_without_redis || run->start->strict)
        return "Redis is away";
    bool is_fresh = run->start->epoch == 0 && !run->start->was_sent;
    if (is_fresh && run->thread.len > 0 && run->start->multitask == MULTITASK_REJECT)
        return "Redis is away, and it alone knows whether this thread is busy";
    if (is_fresh && isolation_forbids(agent, run))
        return "Redis is away for longer than the lease, and when_isolated is cancel";
    return NULL;
}

void start_without_redis(struct agent *agent, struct agent_run *run, bool is_known_unwritten)
{
    struct start *start = run->start;
    bool may_be_there = start->was_sent && !is_known_unwritten;
    bool is_fresh = start->epoch == 0;
    const char *why_not = why_not_without_redis(agent, run);
    if (why_not != NULL) {
        start_refuse(agent, run, may_be_there ? PROBLEM_UNKNOWN_OUTCOME : PROBLEM_UNAVAILABLE,
                     why_not, NULL);
        return;
    }
    /* What Redis may have is not refused but told: somebody must end it. */
    may_be_there = may_be_there || start_has_begun(start);
    if (run->box != NULL && agent->options.mode != MODE_OBSERVE && !may_be_there) {
        start->refusal = box_share(run->box);
        start_refuse(agent, run, PROBLEM_CANCELLED, "cancelled while it started", NULL);
        return;
    }
    if (start->epoch > 0)
        run->epoch = start->epoch;
    run->may_adopt = start->epoch > 0 && (start->takeover || start->replaces);
    run->flags |= RUN_FLAG_UNPROTECTED;
    set_deadline(agent, run, start->deadline);
    join_root(agent, run, RUN_RUNNING);
    alias_begin(run, is_fresh);
    answer_started(agent, run, true);
    tell_if_hit(agent, run);
    if (isolation_forbids(agent, run))
        (void)isolation_stop(agent, run);
    if (is_fresh)
        hold_check_run(agent, run);
    if (agent->is_linked)
        sync_retry_later(agent);
}

/* ---- another incarnation has it ------------------------------------------------------------ */
static void adopt(struct agent *agent, struct agent_run *run)
{
    root_list(agent, run->root);
    struct call about = {.kind = CALL_ADOPT, .run = run};
    struct store_call *call = want_call(agent, STORE_ASSERT, &about);
    call->adopt = true;
    call->path = run_parent_path(run);
    call->incarnation = run->incarnation;
    call->epoch = run->start->epoch;
    call->flags = run->flags & RUN_FLAGS_POLICY;
    call->meta = run->meta;
    call->token_hash = run->start->is_operator ? STR_NONE : str_of(run->client->hash);
}

static void on_exists(struct agent *agent, struct agent_run *run, const struct store_answer *answer)
{
    struct start *start = run->start;
    start->stored_epoch = answer->epoch;
    if (answer->owner.len <= NAME_MAX_BYTES && answer->owner.len > 0)
        memcpy(start->owner, answer->owner.at, answer->owner.len);
    /* What our own earlier life was adopted to meanwhile, its client need not know. */
    if (start->replaces && str_is(answer->owner, agent->replica))
        start->epoch = answer->epoch;
    if (start->epoch == 0) {
        start_refuse(agent, run, PROBLEM_CONFLICT, NULL, NULL);
    } else if (start->takeover || str_is(answer->owner, agent->replica)) {
        adopt(agent, run); /* a life that we carry was looked at before */
    } else {
        struct call about = {.kind = CALL_OWNER, .run = run};
        want_call(agent, STORE_LEASE_READ, &about)->replica = keep_str(agent, answer->owner);
    }
}

void start_owner_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    if (answer->verdict == SAID_NOT_FOUND)
        adopt(agent, run);
    else if (answer->verdict == SAID_OK)
        start_refuse(agent, run, PROBLEM_CONFLICT, "its replica is alive", NULL);
    else
        start_refuse(agent, run, PROBLEM_UNAVAILABLE, "Redis is away", NULL);
}

void start_adopt_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    struct start *start = run->start;
    switch (answer->verdict) {
    case SAID_ADOPTED:
    case SAID_STARTED:
        started(agent, run, RUN_RUNNING, answer, true);
        break;
    case SAID_STOP:
        started(agent, run, RUN_STOPPING, answer, true);
        break;
    case SAID_FENCED:
        start->stored_epoch = answer->epoch;
        start_refuse(agent, run, PROBLEM_CONFLICT, "this epoch is not the stored one", NULL);
        break;
    case SAID_UNAUTHORIZED:
        start_refuse(agent, run, PROBLEM_FORBIDDEN, "not the token it was started with", NULL);
        break;
    case SAID_OVER:
        start_refuse(agent, run, PROBLEM_OVER, NULL, answer);
        break;
    case SAID_UNKNOWN:
        start_refuse(agent, run, PROBLEM_NOT_FOUND, NULL, NULL);
        break;
    case SAID_OFFLINE:
    case SAID_UNWRITABLE:
        start_without_redis(agent, run, answer->verdict == SAID_UNWRITABLE);
        break;
    default:
        start_refuse(agent, run, PROBLEM_UNAVAILABLE, "Redis refused the script", NULL);
        break;
    }
}

/* ---- the script's answer ------------------------------------------------------------------- */
static const char *what_is_full(struct str what)
{
    static const char *const known[] = {"runs", "children", "path"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (str_is(what, known[i]))
            return known[i];
    return "a limit of the tree";
}

static void on_started(struct agent *agent, struct agent_run *run,
                       const struct store_answer *answer)
{
    sync_it_writes(agent);
    bool is_guess = run->start->strict && (answer->flags & RUN_FLAG_UNPROTECTED) != 0;
    if (is_guess)
        take_back(agent, run, answer);
    else
        started(agent, run, RUN_RUNNING, answer, true);
    hold_check_run(agent, run);
}

void start_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    if (run->start == NULL)
        return;
    switch (answer->verdict) {
    case SAID_STARTED:
        on_started(agent, run, answer);
        break;
    case SAID_ALREADY:
        started(agent, run, answer->state == RUN_STOPPING ? RUN_STOPPING : RUN_RUNNING, answer,
                false);
        break;
    case SAID_EXISTS:
        on_exists(agent, run, answer);
        break;
    case SAID_REFUSED:
        refuse_cancelled(agent, run, answer);
        break;
    case SAID_OVER:
        start_refuse(agent, run, PROBLEM_OVER, NULL, answer);
        break;
    case SAID_FULL:
        start_refuse(agent, run, PROBLEM_FULL, what_is_full(answer->text), NULL);
        break;
    case SAID_OFFLINE:
        start_without_redis(agent, run, false);
        break;
    case SAID_UNWRITABLE:
        start_without_redis(agent, run, true);
        break;
    default:
        start_refuse(agent, run, PROBLEM_UNAVAILABLE, "Redis refused the script", NULL);
        break;
    }
}

/* ---- what the look-ups found --------------------------------------------------------------- */
/* An id that is its own root elsewhere is a tombstone, or a tree of its own. */
static void look_at_tomb(struct agent *agent, struct call *about, struct str id)
{
    struct call peek = {.kind = CALL_TOMB,
                        .run = about->run,
                        .text = mem_copy(id),
                        .is_claim = about->kind == CALL_CLAIM};
    about->run->start->waits++;
    struct store_call *call = want_call(agent, STORE_PEEK, &peek);
    call->root = call->run = keep_str(agent, id);
}

static void on_tomb(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct start *start = call->run->start;
    bool is_tomb = answer->verdict == SAID_OK && answer->state == RUN_NEVER
                   && answer->record.len > 0 && call->text != NULL
                   && str_is(answer->ban, call->text);
    if (is_tomb && start->tomb == NULL) {
        start->tomb = box_of_ban(agent, answer->record, answer->ban, answer->ban);
        (void)id_parse(str_of(call->text), &start->tomb_id);
    } else if (!is_tomb && call->is_claim) {
        start->problem = PROBLEM_RUN_ID_TAKEN;
    }
}

static void on_claim(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    if (answer->verdict == SAID_OK)
        run->start->claim_is_new = true;
    else if (answer->verdict != SAID_EXISTS || str_is(answer->text, run->root->id))
        return;
    else if (str_eq(answer->text, run->id))
        look_at_tomb(agent, call, run->id);
    else
        run->start->problem = PROBLEM_RUN_ID_TAKEN;
}

static void on_parent(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    bool is_own_root = answer->verdict == SAID_OK && call->text != NULL
                       && str_is(answer->text, call->text)
                       && !str_is(answer->text, call->run->root->id);
    if (is_own_root)
        look_at_tomb(agent, call, answer->text);
}

static void on_origin(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct start *start = call->run->start;
    if (answer->verdict != SAID_OK || call->text == NULL)
        return;
    struct call peek = {.kind = CALL_ORIGIN_PEEK, .run = call->run};
    start->waits++;
    struct store_call *out = want_call(agent, STORE_PEEK, &peek);
    out->root = keep_str(agent, answer->text);
    out->run = keep_str(agent, str_of(call->text));
}

static void on_origin_peek(struct agent *agent, struct call *call,
                           const struct store_answer *answer)
{
    struct start *start = call->run->start;
    if (answer->verdict != SAID_OK || answer->ban.len == 0 || agent->options.mode == MODE_OBSERVE)
        return;
    start->problem = PROBLEM_CANCELLED;
    start->detail = "what it retries or resumes was cancelled";
    if (start->refusal == NULL)
        start->refusal = box_of_bytes(agent, answer->record);
}

static void on_self(struct call *call, const struct store_answer *answer)
{
    struct start *start = call->run->start;
    if (answer->verdict != SAID_UNKNOWN && answer->state != RUN_NEVER)
        return;
    start->problem = PROBLEM_INVALID;
    start->detail = "run_id: this shape is minted here, bring another";
}

/* A hold refuses new runs, never one that goes on. */
static void on_held(struct call *call, const struct store_answer *answer)
{
    struct start *start = call->run->start;
    if (answer->verdict == SAID_OK && answer->state != RUN_NEVER)
        return;
    bool is_new = answer->verdict == SAID_OK || answer->verdict == SAID_UNKNOWN;
    start->problem = is_new ? PROBLEM_HELD : PROBLEM_UNAVAILABLE;
    start->detail = is_new ? "an order holds new runs like this one; a broker's /v1/orders lists it"
                           : "an order holds new runs like this one, and Redis cannot be asked "
                             "whether it is new";
}

void start_looked(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    struct start *start = run->start;
    if (start == NULL)
        return;
    start->waits--;
    if (answer->verdict == SAID_OFFLINE || answer->verdict == SAID_UNWRITABLE
        || answer->verdict == SAID_ERROR)
        start->is_offline = true;
    else if (call->kind == CALL_CLAIM)
        on_claim(agent, call, answer);
    else if (call->kind == CALL_PARENT)
        on_parent(agent, call, answer);
    else if (call->kind == CALL_TOMB)
        on_tomb(agent, call, answer);
    else if (call->kind == CALL_ORIGIN)
        on_origin(agent, call, answer);
    else if (call->kind == CALL_ORIGIN_PEEK)
        on_origin_peek(agent, call, answer);
    else if (call->kind == CALL_HELD)
        on_held(call, answer);
    else if (call->kind == CALL_THREAD)
        thread_entered(agent, call, answer);
    else if (call->kind == CALL_RIVAL)
        thread_rival_answered(agent, call, answer);
    else
        on_self(call, answer);
    if (start->waits > 0)
        return;
    if (start->problem != PROBLEM_NONE)
        start_refuse(agent, run, start->problem, start->detail, NULL);
    else if (start->is_offline)
        start_without_redis(agent, run, true);
    else if (!thread_decides(agent, run))
        start_send(agent, run);
}
