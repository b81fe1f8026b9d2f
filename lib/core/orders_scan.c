/* Over all trees, shard by shard: what does the selector match? In a tree only the topmost matches
 * are cancelled; what is below them is in their scope. */
#include "core/orders_inside.h"

/* ---- cancels ------------------------------------------------------------------------------- */
static void ask_cancel(struct orders *o, struct job *job, const struct wanted_cancel *wanted)
{
    struct job_cancel *cancel = mem_new(sizeof *cancel);
    if (cancel == NULL) {
        o->failed = true;
        return;
    }
    *cancel = (struct job_cancel){.ask = ++o->last_ask,
                                  .job = job->id,
                                  .root = wanted->root,
                                  .run = wanted->run,
                                  .round = job->round};
    struct orders_effect *effect = NULL;
    if (map_add(&o->cancels, (struct str){(const char *)&cancel->ask, sizeof cancel->ask}, cancel))
        effect = orders_want(o, ORDERS_DO_ASK_CANCEL);
    if (effect == NULL) {
        (void)map_take(&o->cancels, (struct str){(const char *)&cancel->ask, sizeof cancel->ask});
        mem_free(cancel);
        o->failed = true;
        return;
    }
    effect->ask = cancel->ask;
    effect->cancel = (struct cancel_ask){
        .ask = cancel->ask,
        .run = id_str(&cancel->run),
        .root = id_str(&cancel->root),
        .action = job->order.action == ORDER_ROLLBACK ? ACTION_ROLLBACK : ACTION_INTERRUPT,
        .reason = job->order.reason.len > 0 ? job->order.reason : STR("order"),
        .by = str_of(job->by),
        .grace = job->order.grace,
        .expect_at_most = -1,
        .include_self = true,
        .follow_links = true,
    };
    job->cancels_open++;
}

static void note_failure(struct job *job, const struct job_cancel *cancel, enum problem problem)
{
    struct order_progress *progress = &job->progress;
    size_t i = progress->failure_count;
    progress->failed++;
    if (i == ORDER_FAILURES_MAX)
        return;
    job->failed_root[i] = cancel->root;
    job->failed_run[i] = cancel->run;
    progress->failure[i] =
        (struct order_failure){id_str(&job->failed_root[i]), id_str(&job->failed_run[i]),
                               str_of(problem_code(problem))};
    progress->failure_count++;
}

static void go_on(struct orders *o, struct job *job);

void scan_cancelled(struct orders *o, struct job *job, const struct job_cancel *cancel,
                    const struct cancel_result *result)
{
    job->cancels_open--;
    job->is_unsaid = true;
    switch (result->problem) {
    case PROBLEM_NONE:
        job->progress.accepted += result->already ? 0 : 1;
        job->progress.already += result->already ? 1 : 0;
        break;
    case PROBLEM_NOT_CANCELABLE: /* it ended before we came */
    case PROBLEM_NOT_FOUND:
        job->progress.already++;
        break;
    case PROBLEM_UNAVAILABLE:
    case PROBLEM_UNKNOWN_OUTCOME:
        job_wait(o, job);
        return;
    default:
        note_failure(job, cancel, result->problem);
        break;
    }
    go_on(o, job);
}

/* ---- one tree ------------------------------------------------------------------------------ */
static bool is_match(const struct orders *o, const struct job *job, struct str root,
                     const struct tree_run *run)
{
    struct run_meta meta;
    return run_is_live(run->state) && o->options.decode_meta(run->meta, &meta)
           && order_selects(&job->order.selector, root, &meta);
}

/* Bounded by the depth of a path: tree_join() has cut every circle. */
static bool is_covered(const struct orders *o, const struct job *job, struct str root,
                       const struct tree_run *run)
{
    for (const struct tree_run *up = run->up; up != NULL; up = up->up)
        if (is_match(o, job, root, up))
            return true;
    return false;
}

static void want_cancel(struct orders *o, struct job *job, struct str root,
                        const struct tree_run *run)
{
    void *grown = job->wanted;
    struct wanted_cancel wanted;
    if (!mem_grow(&grown, &job->wanted_room, sizeof *job->wanted, job->wanted_count + 1)) {
        o->failed = true;
        return;
    }
    job->wanted = grown;
    if (id_parse(root, &wanted.root) && id_parse(run->id, &wanted.run))
        job->wanted[job->wanted_count++] = wanted;
}

static void look_at_tree(struct orders *o, struct job *job, struct str root,
                         const struct tree *tree)
{
    for (size_t i = 0; i < tree->run_count; i++) {
        const struct tree_run *run = tree->run[i];
        if (!is_match(o, job, root, run))
            continue;
        job->progress.matched++;
        if (job->phase == JOB_COUNTING)
            continue;
        if (run->ban != NULL)
            job->progress.already++;
        else if (is_covered(o, job, root, run))
            job->progress.covered++;
        else
            want_cancel(o, job, root, run);
    }
}

/* ---- all of them --------------------------------------------------------------------------- */
static void read_shard(struct orders *o, struct job *job)
{
    struct store_call call = {.op = STORE_ROOTS_READ,
                              .shard = job->shard,
                              .number = job->from_score,
                              .limit = ROOTS_AT_ONCE};
    job->reads_roots = orders_call(o, job, FOR_ROOTS_OF_SHARD, STR_NONE, &call);
}

/* How many are for now, and where the next read goes on. Those of the last millisecond are left to
 * it, for there may be more of them, and a tree is counted once. */
static size_t advance(struct job *job, const struct store_answer *answer)
{
    size_t count = answer->list_count;
    if (count < ROOTS_AT_ONCE || answer->score == NULL) {
        job->roots_are_done = ++job->shard == SHARDS;
        job->from_score = 0;
        return count;
    }
    int64_t last = answer->score[count - 1];
    bool is_one_moment = answer->score[0] == last;
    job->from_score = is_one_moment ? last + 1 : last;
    while (!is_one_moment && answer->score[count - 1] == last)
        count--;
    return count;
}

/* False: there is no memory for them, and the job may be gone. */
static bool roots_known(struct orders *o, struct job *job, const struct store_answer *answer)
{
    void *grown = job->root;
    job->reads_roots = false;
    job->root_count = job->root_at = 0;
    if (!mem_grow(&grown, &job->root_room, sizeof *job->root, answer->list_count)) {
        job_wait(o, job);
        return false;
    }
    job->root = grown;
    size_t count = advance(job, answer);
    for (size_t i = 0; i < count; i++)
        if (id_parse(answer->list[i], &job->root[job->root_count]))
            job->root_count++;
    return true;
}

static void send_cancels(struct orders *o, struct job *job)
{
    while (job->wanted_at < job->wanted_count && job->cancels_open < CANCELS_AT_ONCE && !o->failed)
        ask_cancel(o, job, &job->wanted[job->wanted_at++]);
    if (job->wanted_at == job->wanted_count)
        job->wanted_at = job->wanted_count = 0;
}

/* A tree may want 10,000 cancels: no more trees until they are on their way. */
static void read_trees(struct orders *o, struct job *job)
{
    while (job->root_at < job->root_count && job->trees_open < TREES_AT_ONCE
           && job->wanted_count == 0) {
        const struct run_id *root = &job->root[job->root_at];
        struct store_call call = {.op = STORE_TREE, .root = id_str(root)};
        if (!orders_call(o, job, FOR_TREE, id_str(root), &call))
            return;
        job->root_at++;
        job->trees_open++;
    }
}

static bool is_selected_root_alone(const struct job *job)
{
    return job->order.selector.root.len > 0;
}

static void go_on(struct orders *o, struct job *job)
{
    send_cancels(o, job);
    read_trees(o, job);
    if (job->root_at < job->root_count || job->trees_open > 0 || job->wanted_count > 0
        || job->cancels_open > 0 || job->reads_roots)
        return;
    if (!job->roots_are_done)
        read_shard(o, job);
    else if (job->phase == JOB_COUNTING)
        job_counted(o, job);
    else
        job_carried_out(o, job);
}

void scan_begin(struct orders *o, struct job *job)
{
    job->round++;
    job->shard = 0;
    job->from_score = 0;
    job->reads_roots = job->roots_are_done = false;
    job->root_count = job->root_at = job->trees_open = 0;
    job->wanted_count = job->wanted_at = job->cancels_open = 0;
    job->progress = (struct order_progress){0};
    void *grown = job->root;
    if (is_selected_root_alone(job) && mem_grow(&grown, &job->root_room, sizeof *job->root, 1)) {
        job->root = grown;
        job->root_count = id_parse(job->order.selector.root, &job->root[0]) ? 1 : 0;
        job->roots_are_done = true;
    }
    go_on(o, job);
}

void scan_answered(struct orders *o, struct job *job, const struct job_call *call,
                   const struct store_answer *answer)
{
    bool is_missing = answer->verdict == SAID_NOT_FOUND;
    if (answer->verdict != SAID_OK && !is_missing) {
        job_wait(o, job);
        return;
    }
    if (call->purpose == FOR_ROOTS_OF_SHARD) {
        if (!roots_known(o, job, answer))
            return;
    } else {
        job->trees_open--;
        job->progress.roots++;
        job->is_unsaid = true;
        if (answer->tree != NULL)
            look_at_tree(o, job, id_str(&call->root), answer->tree);
    }
    if (job->phase == JOB_COUNTING || job->phase == JOB_SCANNING)
        go_on(o, job);
}
