/* What Redis says of our runs: go on, stop, or that they are somebody else's by now. */
#include "base/mem.h"
#include "core/agent_inside.h"

struct verdict verdict_of_answer(const struct store_answer *answer)
{
    return (struct verdict){
        .said = answer->verdict,
        .state = answer->state,
        .finished = answer->finished_anyway,
        .epoch = answer->epoch,
        .flags = answer->flags,
        .ban = answer->ban,
        .record = answer->record,
        .path = answer->path,
    };
}

static const char *over_reason(enum run_state state)
{
    static const char *const reason[RUN_STATE_COUNT] = {
        [RUN_SUCCESS] = "over:success",         [RUN_ERROR] = "over:error",
        [RUN_TIMEOUT] = "over:timeout",         [RUN_CANCELLED] = "over:cancelled",
        [RUN_ROLLED_BACK] = "over:rolled_back", [RUN_LOST] = "over:lost",
        [RUN_PAUSED] = "over:paused",
    };
    return reason[state] != NULL ? reason[state] : "over";
}

/* It may not go on: for the world it is over, here it is stopped. */
static void end_this_life(struct agent *agent, struct agent_run *run, const char *reason,
                          const struct verdict *verdict, enum run_state state)
{
    if (!run_is_listed_live(run))
        return;
    if (agent->options.mode != MODE_OBSERVE) {
        stop_alone(agent, run, reason);
        run->ladder_goes_on = true;
    }
    run->is_end_confirmed = true; /* not ours to say */
    finish(agent, run, state, verdict->finished, reason);
    links_resend(agent, run); /* promised while Redis was away */
}

static void fenced(struct agent *agent, struct agent_run *run, const struct verdict *verdict)
{
    run->is_fenced = true;
    run->is_end_confirmed = run->is_end_confirmed || run_is_over(run->state); /* not ours to say */
    end_this_life(agent, run, "fenced", verdict, RUN_LOST);
}

void run_is_forgotten(struct agent *agent, struct agent_run *run)
{
    const struct verdict verdict = {.said = SAID_UNKNOWN};
    end_this_life(agent, run, "forgotten", &verdict, RUN_LOST);
}

/* Unknown to a Redis that had confirmed it: Redis forgot the run, or forgot that it forgets. */
static void unknown(struct agent *agent, struct agent_run *run)
{
    if (!run_is_listed_live(run))
        return;
    if (!run->is_confirmed) {
        assert_send(agent, run, false);
        return;
    }
    run->is_doubted = true;
    sync_generation(agent);
}

static void confirm(struct agent *agent, struct agent_run *run, const struct verdict *verdict)
{
    run->is_confirmed = run->was_confirmed = true;
    run->is_doubted = false;
    if (verdict->epoch > run->epoch)
        run->epoch = verdict->epoch;
    if (verdict->path.len > 0 && !run_move_path(run, verdict->path))
        agent->is_starved = true;
}

static void must_stop(struct agent *agent, struct agent_run *run, const struct verdict *verdict)
{
    confirm(agent, run, verdict);
    struct record_box *box =
        box_of_ban(agent, verdict->record, str_of(run->root->id), verdict->ban);
    if (box == NULL)
        return;
    bool is_news = run_is_listed_live(run) && !run->is_told;
    bool is_late = (verdict->flags & RUN_FLAG_LATE) != 0;
    if (is_news)
        want_count(agent, is_late ? COUNT_LATE : COUNT_RECONCILE_FOUND, PROBLEM_NONE,
                   (struct wall){0});
    if (box_may_hold(box))
        (void)hold(agent, box, true);
    (void)tell_run(agent, run, box);
    box_drop(agent, box);
}

static void behind(struct agent *agent, struct agent_run *run)
{
    run->is_confirmed = false;
    if (run_is_listed_live(run))
        assert_send(agent, run, false);
}

/* Declared lost, but its own life may go on with it: whether it still may, assert says. */
static bool may_return(const struct agent_run *run, const struct verdict *verdict)
{
    return verdict->state == RUN_LOST && !verdict->is_of_assert
           && (run->flags & RUN_FLAG_LOST_CONTINUE) != 0;
}

void verdict_apply(struct agent *agent, struct agent_run *run, const struct verdict *verdict)
{
    switch (verdict->said) {
    case SAID_GO:
        confirm(agent, run, verdict);
        if ((verdict->flags & RUN_FLAG_SUSPECT) != 0 && run_is_listed_live(run))
            assert_send(agent, run, false);
        isolation_record(agent, run);
        break;
    case SAID_ADOPTED:
        confirm(agent, run, verdict);
        isolation_record(agent, run);
        break;
    case SAID_STOP:
        must_stop(agent, run, verdict);
        break;
    case SAID_FENCED:
        if (must_be_adopted(run) && !verdict->is_of_assert)
            assert_send(agent, run, false); /* the later life may be this one */
        else if (verdict->is_by_incarnation || verdict->epoch > run->epoch)
            fenced(agent, run, verdict);
        break; /* else the call was older than our own adoption */
    case SAID_OVER:
        if (may_return(run, verdict))
            behind(agent, run);
        else
            end_this_life(agent, run, over_reason(verdict->state), verdict, verdict->state);
        break;
    case SAID_BEHIND:
        behind(agent, run);
        break;
    case SAID_UNKNOWN:
        unknown(agent, run);
        break;
    default:
        break;
    }
}

/* ---- assert -------------------------------------------------------------------------------- */
/* The id may have been cancelled under itself while Redis did not know whose it is. */
static void claim_again(struct agent *agent, struct agent_run *run)
{
    struct call about = {.kind = CALL_RECLAIM, .run = run};
    struct store_call *claim = want_call(agent, STORE_FIND_CLAIM, &about);
    claim->id = run->id;
    claim->root = str_of(run->root->id);
    claim->run = STR_NONE;
    run->claimed_at = agent->now;
    run->claim_is_open = true;
}

/* NULL: one is on its way. */
static struct store_call *call_assert(struct agent *agent, struct agent_run *run, bool is_sync,
                                      bool adopts, bool claims)
{
    if (run->is_asserting)
        return NULL;
    run->is_asserting = true;
    agent->asserts_open++;
    root_list(agent, run->root);
    if (run->is_claimed && claims)
        claim_again(agent, run);
    if (run->alias.len > 0)
        alias_send(agent, run, 0, false);
    if (run_is_live(run->state))
        thread_renew(agent, run);
    root_announce(agent, run);
    struct call about = {.kind = CALL_ASSERT, .run = run, .is_sync = is_sync, .adopts = adopts};
    struct store_call *call = want_call(agent, STORE_ASSERT, &about);
    call->path = run_parent_path(run);
    call->incarnation = run->incarnation;
    call->epoch = run->epoch;
    call->flags = run->flags & RUN_FLAGS_POLICY;
    call->meta = run->meta;
    call->deadline = run_deadline_left(agent, run);
    call->token_hash = str_of(run->client->hash);
    call->adopt = adopts;
    return call;
}

void assert_send(struct agent *agent, struct agent_run *run, bool is_sync)
{
    (void)call_assert(agent, run, is_sync, false, true);
}

/* Its tombstone lies in a tree of its own: the run brings it home. */
static void assert_with_tomb(struct agent *agent, struct agent_run *run, struct str tomb)
{
    struct store_call *call = call_assert(agent, run, false, false, false);
    if (call == NULL)
        return; /* which claims, and finds it again */
    call->tombstone_id = run->id;
    call->tombstone = keep_str(agent, tomb);
}

/* Somebody is about to leave a tombstone, or could not. Who leaves it looks at the claim
 * afterwards, and we, who claim, look for it once more: one of us sees the other. */
static void claim_what_nobody_has(struct agent *agent, struct agent_run *run)
{
    struct store_call *drop = want_silent_call(agent, STORE_FIND_DROP);
    drop->id = drop->root = run->id;
    struct call about = {.kind = CALL_RECLAIM, .run = run, .is_repeat = true};
    struct store_call *claim = want_call(agent, STORE_FIND_CLAIM, &about);
    claim->id = run->id;
    claim->root = str_of(run->root->id);
    claim->run = STR_NONE;
}

static void look_for_tomb(struct agent *agent, struct agent_run *run, bool is_repeat)
{
    struct call about = {.kind = CALL_OLD_TOMB, .run = run, .is_repeat = is_repeat};
    struct store_call *peek = want_call(agent, STORE_PEEK, &about);
    peek->root = peek->run = run->id;
}

static void tomb_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    bool is_tomb =
        answer->state == RUN_NEVER && answer->record.len > 0 && str_eq(answer->ban, run->id);
    if (answer->verdict == SAID_OK && is_tomb) {
        assert_with_tomb(agent, run, answer->record); /* settled when that says `stop` */
        return;
    }
    if (answer->verdict == SAID_UNKNOWN && !call->is_repeat) {
        claim_what_nobody_has(agent, run);
        return;
    }
    run->claim_is_open = answer->verdict != SAID_OK && answer->verdict != SAID_UNKNOWN;
}

void reclaim_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    bool is_own_root = answer->verdict == SAID_EXISTS && str_eq(answer->text, run->id)
                       && !str_is(run->id, run->root->id);
    if (!run_is_listed_live(run)) {
        /* Its own end is on its way; what starts below it looks for the tombstone. */
        bool is_free =
            answer->verdict == SAID_OK || (answer->verdict == SAID_EXISTS && !is_own_root);
        if (call->kind == CALL_RECLAIM && is_free)
            run->claim_is_open = false;
        return;
    }
    if (call->kind == CALL_OLD_TOMB)
        tomb_answered(agent, call, answer);
    else if (is_own_root || (call->is_repeat && answer->verdict == SAID_OK))
        look_for_tomb(agent, run, !is_own_root);
    else
        run->claim_is_open = answer->verdict != SAID_OK && answer->verdict != SAID_EXISTS;
    if (answer->verdict == SAID_UNWRITABLE)
        sync_retry_later(agent);
}

/* The life before still stands in Redis, in the very epoch that this one was to go on from, or in
 * one that it took here itself without hearing of it. */
static bool adopts_now(struct agent *agent, struct agent_run *run,
                       const struct store_answer *answer)
{
    bool has_end = run_is_over(run->state) && run->ended_here && !run->is_end_confirmed;
    bool is_wanted = run_is_listed_live(run) || has_end;
    bool is_ours = answer->epoch == run->epoch || str_is(answer->owner, agent->replica);
    bool is_free = run->may_adopt && is_ours && is_wanted;
    run->may_adopt = false;
    run->epoch = is_free ? answer->epoch : run->epoch;
    run->end_waits = is_free && has_end;
    if (is_free)
        (void)call_assert(agent, run, true, true, true);
    return is_free;
}

/* Nothing of the tree was there before it. */
static void below_nobody(struct agent *agent, struct agent_run *run, uint32_t flags)
{
    bool is_news = (flags & ~run->flags & RUN_FLAG_PARENT_GONE) != 0;
    run->flags |= flags & RUN_FLAG_PARENT_GONE;
    if (is_news)
        root_announce(agent, run);
}

/* An assertion that was on its way when Redis said that the run is over has brought it back (it was
 * lost, and may return): nobody carries it any more. */
static void end_what_came_back(struct agent *agent, struct agent_run *run, bool is_banned)
{
    if (run_is_live(run->state) || !run->is_end_confirmed || run->is_fenced)
        return;
    run->is_end_confirmed = false;
    if (run->asked == RUN_NONE)
        run->asked = is_banned ? RUN_CANCELLED : RUN_ERROR;
    end_resend(agent, run);
}

void assert_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    run->is_asserting = false;
    agent->asserts_open--;
    struct verdict verdict = verdict_of_answer(answer);
    verdict.is_of_assert = verdict.is_by_incarnation = true;
    switch (answer->verdict) {
    case SAID_ADOPTED:
    case SAID_STOP:
        run->claim_is_open = run->claim_is_open && answer->verdict != SAID_STOP;
        sync_it_writes(agent);
        below_nobody(agent, run, answer->flags);
        verdict_apply(agent, run, &verdict);
        run->reported &= answer->flags; /* one that was lost comes back without its phases */
        report_again(agent, run);
        links_resend(agent, run);
        freeze_resend(agent, run);
        end_what_came_back(agent, run, answer->verdict == SAID_STOP);
        break;
    case SAID_UNAUTHORIZED:
        verdict.said = SAID_FENCED;
        verdict_apply(agent, run, &verdict);
        break;
    case SAID_FENCED:
        if (!adopts_now(agent, run, answer))
            verdict_apply(agent, run, &verdict);
        break;
    case SAID_OVER:
        verdict_apply(agent, run, &verdict);
        break;
    case SAID_OFFLINE:
        run->may_adopt = run->may_adopt || call->adopts;
        break;
    default:
        run->may_adopt = run->may_adopt || call->adopts;
        sync_retry_later(agent);
        break;
    }
    if (run->end_waits && !run->is_asserting && answer->verdict != SAID_OFFLINE)
        end_after_adoption(agent, run, answer->verdict);
}

/* ---- reconcile ----------------------------------------------------------------------------- */
static struct batch *batch_from(struct link **at, const struct agent_root *root)
{
    struct batch *batch = NULL;
    for (; *at != &root->runs.head; *at = (*at)->next) {
        struct agent_run *run = LIST_OWNER(*at, struct agent_run, in_root);
        if (!run_is_listed_live(run) || !run->is_confirmed)
            continue;
        if (batch == NULL && (batch = mem_new(sizeof *batch)) == NULL)
            return NULL;
        if (batch->count == STORE_ITEMS_MAX)
            return batch;
        batch->run[batch->count++] = run;
    }
    return batch;
}

/* bw:find lives as long as an ended tree does; a run may live longer. */
static void renew_claim(struct agent *agent, struct agent_run *run)
{
    struct span old = MILLIS(agent->options.tombstone_ttl.ms / 4);
    bool is_old = instant_reached(agent->now, instant_after(run->claimed_at, old));
    if (run->alias.len > 0 && (is_old || run->alias_is_due))
        alias_send(agent, run, 0, false);
    if (!is_old)
        return;
    run->claimed_at = agent->now;
    thread_renew(agent, run);
    if (!run->is_claimed)
        return;
    struct store_call *claim = want_silent_call(agent, STORE_FIND_CLAIM);
    claim->id = run->id;
    claim->root = str_of(run->root->id);
}

void reconcile_root(struct agent *agent, struct agent_root *root)
{
    struct link *at = root->runs.head.next;
    for (struct batch *batch; (batch = batch_from(&at, root)) != NULL;) {
        struct run_epoch *item = keep_for_step(agent, batch->count * sizeof *item);
        if (item == NULL) {
            mem_free(batch);
            return;
        }
        for (size_t i = 0; i < batch->count; i++) {
            item[i] = (struct run_epoch){batch->run[i]->id, batch->run[i]->epoch, 0};
            batch->run[i]->calls++;
            renew_claim(agent, batch->run[i]);
        }
        struct call about = {.kind = CALL_RECONCILE, .root = root, .batch = batch, .is_sync = true};
        struct store_call *call = want_call(agent, STORE_RECONCILE, &about);
        call->item_count = batch->count;
        call->item = item;
    }
}

void reconcile_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    const struct batch *batch = call->batch;
    if (answer->verdict != SAID_OK)
        return;
    for (size_t i = 0; i < batch->count && i < answer->item_count; i++) {
        const struct store_item *item = &answer->item[i];
        struct verdict verdict = {.said = item->verdict,
                                  .state = item->state,
                                  .epoch = item->epoch,
                                  .flags = item->flags & ~(uint32_t)RUN_FLAG_LATE,
                                  .ban = item->ban,
                                  .record = item->record};
        verdict_apply(agent, batch->run[i], &verdict);
    }
}
