#include "core/cancels_inside.h"

/* Everything below a run, but not the run: one cancel per child and per link of the run, listed
 * again until none is new. Children that start later are not stopped; the answer says `closed:
 * false`. */

enum { UP_MAX = PATH_MAX_IDS }; /* stored parents may form a ring */

/* The direct child of `target` that `run` is or lives below; NULL if it is not below at all. */
static const struct tree_run *child_above(const struct tree_run *run, const struct tree_run *target)
{
    for (size_t i = 0; run != NULL && i < UP_MAX; i++, run = run->up)
        if (run->up == target)
            return run == target ? NULL : run;
    return NULL;
}

static bool is_listed(const struct job *job, struct str root, struct str run)
{
    for (size_t i = 0; i < job->child_count; i++)
        if (str_eq(id_str(&job->child[i].run), run) && str_eq(id_str(&job->child[i].root), root))
            return true;
    return false;
}

/* False: it was listed before, or the limit of this ask is reached. */
static bool child_add(struct cancels *c, struct job *job, struct str root, struct str run)
{
    struct target child;
    if (!id_parse(root, &child.root) || !id_parse(run, &child.run) || is_listed(job, root, run)
        || job->child_count == CHILDREN_MAX)
        return false;
    void *grown = job->child;
    if (!mem_grow(&grown, &job->child_room, sizeof *job->child, job->child_count + 1)) {
        c->failed = true;
        return false;
    }
    job->child = grown;
    job->child[job->child_count++] = child;
    return true;
}

static void list_children(struct cancels *c, struct job *job, const struct tree *tree,
                          const struct tree_run *target)
{
    for (size_t i = 0; i < tree->run_count; i++) {
        const struct tree_run *run = tree->run[i];
        if (!run_is_live(run->state)
            && !(run->state == RUN_LOST && (run->flags & RUN_FLAG_GONE) == 0))
            continue;
        const struct tree_run *child = child_above(run, target);
        if (child != NULL)
            child_add(c, job, id_str(&job->root), child->id);
    }
}

static void list_links(struct cancels *c, struct job *job, const struct tree *tree,
                       const struct tree_run *target)
{
    for (size_t i = 0; i < tree->link_count; i++) {
        struct target to;
        const struct tree_run *from = tree->link[i].from;
        if (!link_target(&tree->link[i], &to))
            continue;
        const struct tree_run *child = child_above(from, target);
        if (from == target)
            child_add(c, job, id_str(&to.root), id_str(&to.run));
        else if (child != NULL && !tree->link[i].acknowledged)
            child_add(c, job, id_str(&job->root), child->id);
    }
}

static struct cancel_record child_record(const struct job *job, const struct target *child,
                                         char own_id[CANCEL_ID_MAX])
{
    struct cancel_record record = record_for(job, child);
    bool is_link = !id_eq(&child->root, &job->root);
    if (is_link)
        record.hops++;
    if (record.cause.len == 0)
        record.cause = is_link ? cancel_id(id_str(&job->root), job->ask.run, own_id)
                               : cancel_id(record.root, record.target, own_id);
    return record;
}

static void send_children(struct cancels *c, struct job *job)
{
    while (job->children_sent < job->child_count && !job->over) {
        const struct target *child = &job->child[job->children_sent++];
        char own_id[CANCEL_ID_MAX];
        struct cancel_record wanted = child_record(job, child, own_id);
        record_send(c, job, FOR_CHILD, &wanted, !id_eq(&child->root, &job->root), true);
    }
}

/* Each is told again to a Redis that forgot: what is stored, which may be an earlier one's. */
static void hold_child(struct cancels *c, const struct job *job, const struct target *child,
                       const struct store_answer *answer)
{
    struct cancel_record stored;
    char own_id[CANCEL_ID_MAX];
    if (answer->verdict == SAID_ALREADY && c->options.decode(answer->record, &stored)) {
        hold_issued(c, &stored, answer->record);
        return;
    }
    struct cancel_record own = child_record(job, child, own_id);
    char *bytes = keep_bytes(c, MESSAGE_MAX_BYTES);
    if (bytes == NULL)
        return;
    size_t len = c->options.encode(&own, bytes);
    hold_issued(c, &own, (struct str){bytes, len});
    arena_give_back(&c->arena, MESSAGE_MAX_BYTES);
}

void children_look(struct cancels *c, struct job *job, const struct tree *tree)
{
    const struct tree_run *target = tree_find(tree, job->ask.run);
    if (target != NULL) {
        list_children(c, job, tree, target);
        list_links(c, job, tree, target);
    }
    if (job->children_sent < job->child_count) {
        send_children(c, job);
        return;
    }
    struct target self = {.root = job->root};
    if (id_parse(job->ask.run, &self.run))
        job->record = record_for(job, &self);
    job->record.root = id_str(&job->root);
    job->record.target = job->ask.run;
    if (job->record.cause.len == 0)
        job->record.cause = cancel_id(job->record.root, job->record.target, job->own_id);
    job_accepted(c, job);
}

static enum problem trouble_of(enum store_verdict verdict)
{
    switch (verdict) {
    case SAID_ACCEPTED:
    case SAID_ALREADY:
    case SAID_NOT_FOUND: /* its key has expired since the tree was read */
        return PROBLEM_NONE;
    case SAID_OFFLINE:
        return PROBLEM_UNKNOWN_OUTCOME;
    default:
        return PROBLEM_UNAVAILABLE;
    }
}

void child_recorded(struct cancels *c, struct job *job, size_t child,
                    const struct store_answer *answer)
{
    if (answer->verdict == SAID_ACCEPTED || answer->verdict == SAID_ALREADY)
        hold_child(c, job, &job->child[child - 1], answer);
    enum problem trouble = trouble_of(answer->verdict);
    if (job->trouble == PROBLEM_NONE)
        job->trouble = trouble;
    if (job->calls > 0)
        return;
    if (job->trouble != PROBLEM_NONE) {
        job_refuse(c, job, job->trouble, "not every child was reached; safe to repeat");
        return;
    }
    struct store_call call = {.op = STORE_TREE, .root = id_str(&job->root)};
    call_send(c, (struct call){.purpose = FOR_LOOK, .job = job}, &call);
}
