#include "core/tree.h"

static void add_name(struct tally_names *names, const struct tree_run *run)
{
    if (names->count < TALLY_NAMES_MAX)
        names->name[names->count] = run->id;
    names->count++;
}

/* Each replica once; of more than can be named the rest is not counted. */
static void add_owner(struct tally_names *names, struct str owner)
{
    for (size_t i = 0; i < names->count; i++)
        if (str_eq(names->name[i], owner))
            return;
    if (owner.len > 0 && names->count < TALLY_NAMES_MAX)
        names->name[names->count++] = owner;
}

static bool is_set(const struct tree_run *run, uint32_t flags)
{
    return (run->flags & flags) != 0;
}

static void count_live(struct tally *tally, const struct tree_run *run)
{
    if (is_set(run, RUN_FLAG_UNRESPONSIVE))
        add_name(&tally->unresponsive, run);
    else if (is_set(run, RUN_FLAG_SUSPECT))
        add_name(&tally->suspect, run);
    else if (is_set(run, RUN_FLAG_OBSERVE))
        add_name(&tally->observed, run);
    else
        add_name(&tally->pending, run);
    if (!is_set(run, RUN_FLAG_DELIVERED | RUN_FLAG_ACKNOWLEDGED))
        tally->all_delivered = false;
}

static bool was_stopped(const struct tree_run *run)
{
    return run->state == RUN_CANCELLED || run->state == RUN_ROLLED_BACK || run->state == RUN_TIMEOUT
           || run->finished_anyway != RUN_NONE
           || (run->state == RUN_LOST && is_set(run, RUN_FLAG_GONE));
}

static bool is_out_of_sight(const struct tree_run *run)
{
    return run_is_live(run->state) ? is_set(run, RUN_FLAG_SUSPECT)
                                   : run->state == RUN_LOST && !is_set(run, RUN_FLAG_GONE);
}

static void count_run(struct tally *tally, const struct tree_run *run)
{
    tally->runs++;
    if (is_out_of_sight(run))
        add_owner(&tally->isolated, run->owner);
    if (run_is_live(run->state))
        count_live(tally, run);
    else if (was_stopped(run))
        add_name(&tally->stopped, run);
    else if (run->state == RUN_LOST)
        add_name(&tally->lost, run);
    else {
        tally->finished_before++;
        return;
    }
    tally->requested++;
    tally->delivered += is_set(run, RUN_FLAG_DELIVERED | RUN_FLAG_ACKNOWLEDGED) ? 1 : 0;
    tally->acknowledged += is_set(run, RUN_FLAG_ACKNOWLEDGED) ? 1 : 0;
    if (run->finished_anyway != RUN_NONE)
        add_name(&tally->finished_anyway, run);
}

static bool has_started(const struct tree_run *run)
{
    return run->state != RUN_NONE && run->state != RUN_NEVER;
}

void tally_marked(const struct tree *tree, const struct tree_run *spared, struct tally *out)
{
    *out = (struct tally){.all_delivered = true};
    for (size_t i = 0; i < tree->run_count; i++) {
        struct tree_run *run = tree->run[i];
        if (run != spared && has_started(run) && tree_is_marked(run))
            count_run(out, run);
    }
    for (size_t i = 0; i < tree->link_count; i++) {
        if (!tree_is_marked(tree->link[i].from))
            continue;
        out->links++;
        out->links_acknowledged += tree->link[i].acknowledged ? 1 : 0;
    }
    size_t open = out->pending.count + out->unresponsive.count + out->suspect.count
                  + out->lost.count + out->observed.count;
    bool links_are_done = out->links == out->links_acknowledged;
    out->complete = open == 0 && links_are_done;
    out->all_delivered = out->all_delivered && links_are_done;
}

void tally_scope(const struct tree *tree, const struct tree_run *target, struct tally *out)
{
    tree_unmark(tree);
    tree_mark(tree, target->id);
    tally_marked(tree, NULL, out);
}

void tally_below(const struct tree *tree, const struct tree_run *target, struct tally *out)
{
    tree_unmark(tree);
    tree_mark(tree, target->id);
    tally_marked(tree, target, out);
}
