/* A run, and what is below it, as a task. */
#include <stdio.h>

#include "broker/a2a.h"
#include "wire/message.h"

static bool may_come_back(const struct tree_run *run)
{
    return run->ban == NULL && (run->flags & RUN_FLAG_GONE) == 0
           && (run->flags & (RUN_FLAG_LOST_TAKEOVER | RUN_FLAG_LOST_CONTINUE)) != 0;
}

/* As if nothing below it mattered; CANCELED is what the whole scope has to earn. */
static enum a2a_state state_of(const struct tree_run *run)
{
    switch (run->state) {
    case RUN_SUCCESS:
        return A2A_COMPLETED;
    case RUN_ERROR:
    case RUN_TIMEOUT:
        return A2A_FAILED;
    case RUN_LOST:
        return may_come_back(run) ? A2A_WORKING : A2A_FAILED;
    case RUN_PAUSED:
        return run->ban != NULL ? A2A_CANCELED : A2A_INPUT_REQUIRED;
    case RUN_NEVER:
    case RUN_CANCELLED:
    case RUN_ROLLED_BACK:
        return A2A_CANCELED;
    default:
        return A2A_WORKING;
    }
}

static bool leads_elsewhere(const struct tree *tree, const struct tree_run *target)
{
    for (size_t i = 0; i < tree->link_count; i++)
        if (tree_is_below(tree->link[i].from, target))
            return true;
    return false;
}

static void take_context(const struct tree_run *run, const struct run_id *root,
                         struct a2a_task *out)
{
    struct run_meta meta;
    struct str context = id_str(root);
    if (run->meta.len > 0 && wire_meta_decode(run->meta, &meta) == ERR_OK) {
        out->at = meta.started;
        if (meta.thread.len > 0 && meta.thread.len <= A2A_CONTEXT_MAX)
            context = meta.thread;
    }
    memcpy(out->context, context.at, context.len);
    out->context[context.len] = '\0';
}

/* The end of a run that nobody stopped has no time of its own. */
static void take_time(const struct tree_run *run, struct a2a_task *out)
{
    struct stop_story story;
    struct cancel_record record;
    bool has_story = run->story.len > 0 && wire_story_decode(run->story, &story) == ERR_OK;
    bool has_record = run->ban != NULL && run->ban->record.len > 0
                      && wire_record_decode(run->ban->record, &record) == ERR_OK;
    if (out->state != A2A_WORKING)
        out->at = has_story ? story.stopped : (struct wall){0};
    else if (has_record)
        out->at = record.at;
}

static void take_counts(const struct tally *tally, struct a2a_task *out)
{
    size_t started = tally->runs - tally->finished_before;
    out->acked = tally->acknowledged;
    out->pending = started > tally->stopped.count ? started - tally->stopped.count : 0;
    out->unresponsive = tally->unresponsive.count;
    out->lost = tally->lost.count;
}

bool a2a_task_of(const struct tree *tree, const struct run_id *root, const struct run_id *id,
                 struct a2a_task *out)
{
    struct tally tally;
    const struct tree_run *run = tree != NULL ? tree_find(tree, id_str(id)) : NULL;
    if (run == NULL || run->state == RUN_NONE || (run->state == RUN_NEVER && run->ban == NULL))
        return false;
    *out = (struct a2a_task){.root = *root,
                             .run = *id,
                             .state = state_of(run),
                             .run_state = run->state,
                             .is_cancelled = run->ban != NULL,
                             .leads_elsewhere = leads_elsewhere(tree, run)};
    tally_scope(tree, run, &tally);
    take_counts(&tally, out);
    if (out->state == A2A_CANCELED && !tally.complete)
        out->state = A2A_WORKING;
    take_context(run, root, out);
    take_time(run, out);
    if (run->ban != NULL)
        snprintf(out->cancel_id, sizeof out->cancel_id, "%.*s.%.*s", (int)id_str(root).len,
                 id_str(root).at, (int)run->ban->id.len, run->ban->id.at);
    return true;
}

bool a2a_task_is_over(const struct a2a_task *task)
{
    return task->state == A2A_COMPLETED || task->state == A2A_FAILED || task->state == A2A_CANCELED;
}

void a2a_task_goes_on(struct a2a_task *task)
{
    task->state = A2A_WORKING;
    task->at = (struct wall){0};
}
