#include "core/cancels_inside.h"

/* Counting before anything is recorded, where the tree leaves its root: the trees that links lead
 * to are read as those of a wait are, and as many of them. More than that is refused and not
 * guessed. */

bool leads_elsewhere(const struct tree *tree, const struct tree_run *target)
{
    for (size_t i = 0; i < tree->link_count; i++) {
        struct target to;
        if (link_target(&tree->link[i], &to) && tree_is_below(tree->link[i].from, target))
            return true;
    }
    return false;
}

void count_begin(struct cancels *c, struct job *job)
{
    job->counts = true;
    scopes_begin(c, job);
}

static bool all_is_read(const struct job *job)
{
    LIST_EACH (at, then, &job->scopes)
        if (!LIST_OWNER(at, struct scope, in_job)->read)
            return false;
    return true;
}

/* Nothing was recorded, so the trees of a wait begin anew. */
static void go_on(struct cancels *c, struct job *job)
{
    job->counts = false;
    job->has_counted = true;
    scopes_drop(c, job);
    record_or_look(c, job);
}

static void counted(struct cancels *c, struct job *job)
{
    struct tally sum = {.all_delivered = true, .complete = true};
    (void)tally_of_scopes(job, &sum);
    size_t live =
        sum.pending.count + sum.unresponsive.count + sum.suspect.count + sum.observed.count;
    if (job->ask.expect_at_most >= 0 && (int64_t)live > job->ask.expect_at_most)
        refuse_too_many(c, job, live);
    else if (job->ask.dry_run)
        answer_counted(c, job, &sum);
    else
        go_on(c, job);
}

void count_read(struct cancels *c, struct job *job)
{
    if (job->unreadable)
        job_refuse(c, job, PROBLEM_UNAVAILABLE, "a tree that its links lead to cannot be read now");
    else if (job->overlooks)
        job_refuse(
            c, job, PROBLEM_TOO_MANY_MATCHED,
            "its links lead to more trees than are counted (128), or to too many runs of one");
    else if (all_is_read(job))
        counted(c, job);
}

void count_give_up(struct cancels *c, struct job *job)
{
    job_refuse(c, job, PROBLEM_UNAVAILABLE,
               "the trees that its links lead to could not be read in time; nothing was recorded");
}
