/* What Redis is told of a stop: phases, collected per root, at most 20 times a second. */
#include "base/mem.h"
#include "core/agent_inside.h"

static uint32_t unreported(const struct agent_run *run)
{
    return run->flags & RUN_FLAGS_PHASES & ~run->reported;
}

static void queue(struct agent *agent, struct agent_run *run)
{
    struct agent_root *root = run->root;
    if (!run->is_in_map)
        return;
    if (!link_is_in_list(&run->in_report))
        list_add_last(&root->reports, &run->in_report);
    if (!link_is_in_list(&root->in_flush))
        list_add_last(&agent->flush, &root->in_flush);
}

/* Of what is over Redis takes one thing more: that a lost run is proven dead. */
static bool may_be_reported(const struct agent_run *run)
{
    uint32_t news = unreported(run);
    return run_is_live(run->state) ? news != 0
                                   : run->state == RUN_LOST && (news & RUN_FLAG_GONE) != 0;
}

void report_later(struct agent *agent, struct agent_run *run, uint32_t flags)
{
    run->flags |= flags;
    report_again(agent, run);
}

void report_again(struct agent *agent, struct agent_run *run)
{
    if (may_be_reported(run))
        queue(agent, run);
}

static void send_batch(struct agent *agent, struct agent_root *root, struct batch *batch)
{
    struct run_epoch *item = keep_for_step(agent, batch->count * sizeof *item);
    if (item == NULL) {
        mem_free(batch);
        return;
    }
    for (size_t i = 0; i < batch->count; i++) {
        struct agent_run *run = batch->run[i];
        batch->flags[i] = unreported(run);
        item[i] = (struct run_epoch){run->id, run->epoch, batch->flags[i]};
        run->reported |= batch->flags[i];
        run->calls++;
    }
    struct call about = {.kind = CALL_REPORT, .root = root, .batch = batch};
    struct store_call *call = want_call(agent, STORE_REPORT, &about);
    call->item_count = batch->count;
    call->item = item;
}

/* Runs that Redis does not have are left out: they come back when it has them. */
static struct batch *next_batch(struct agent_root *root)
{
    struct batch *batch = NULL;
    while (!list_is_empty(&root->reports) && (batch == NULL || batch->count < REPORT_ITEMS_MAX)) {
        struct link *first = root->reports.head.next;
        struct agent_run *run = LIST_OWNER(first, struct agent_run, in_report);
        if (batch == NULL && (batch = mem_new(sizeof *batch)) == NULL)
            return NULL;
        link_remove(first);
        if (run->is_confirmed && unreported(run) != 0)
            batch->run[batch->count++] = run;
    }
    return batch;
}

static void flush_root(struct agent *agent, struct agent_root *root)
{
    for (struct batch *batch; (batch = next_batch(root)) != NULL;) {
        if (batch->count == 0) {
            mem_free(batch);
            continue;
        }
        send_batch(agent, root, batch);
        root->next_report = instant_after(agent->now, MILLIS(REPORT_EVERY_MS));
    }
}

void report_flush(struct agent *agent)
{
    LIST_EACH (at, then, &agent->flush) {
        struct agent_root *root = LIST_OWNER(at, struct agent_root, in_flush);
        link_remove(at);
        if (!agent->is_linked)
            continue; /* the next link-up comes back to it */
        if (instant_reached(agent->now, root->next_report))
            flush_root(agent, root);
        else
            due_set(&agent->heap, &root->due,
                    root->wants_reconcile ? instant_first(root->due.at, root->next_report)
                                          : root->next_report);
    }
}

void report_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct batch *batch = call->batch;
    for (size_t i = 0; i < batch->count; i++) {
        struct agent_run *run = batch->run[i];
        bool is_answered = answer->verdict == SAID_OK && i < answer->item_count;
        enum store_verdict said = is_answered ? answer->item[i].verdict : answer->verdict;
        bool is_old = said == SAID_FENCED && is_answered && answer->item[i].epoch == run->epoch;
        if (!is_answered || said == SAID_UNKNOWN || is_old)
            run->reported &= ~batch->flags[i];
        if (!is_answered || (said != SAID_FENCED && said != SAID_OVER))
            continue;
        bool is_forgotten = said == SAID_FENCED && answer->item[i].epoch < run->epoch;
        if (is_forgotten) /* the adoption, not the run */
            run->reported &= ~batch->flags[i];
        struct verdict verdict = {.said = is_forgotten ? SAID_BEHIND : said,
                                  .state = answer->item[i].state,
                                  .epoch = answer->item[i].epoch};
        verdict_apply(agent, run, &verdict);
    }
    if (answer->verdict != SAID_OK && answer->verdict != SAID_OFFLINE)
        sync_retry_later(agent);
}
