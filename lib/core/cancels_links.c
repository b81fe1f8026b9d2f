#include "core/cancels_inside.h"

/* Where the tree leaves its root: the far cancel first, by force, and when it stands the link is
 * acknowledged here. A child not yet there finds the tombstone. Loops end because a cancel that was
 * there already is not followed again, and after CAUSE_HOPS_MAX hops in any case. */

bool link_target(const struct tree_link *link, struct target *out)
{
    struct str run = link->to;
    struct str root = str_cut(&run, '/');
    struct target to;
    if (link->kind != LINK_ROOT || !id_parse(root, &to.root)
        || !id_parse(run.at != NULL ? run : root, &to.run))
        return false;
    *out = to;
    return true;
}

static struct str add_text(char **at, struct str text)
{
    memcpy(*at, text.at, text.len);
    struct str added = {*at, text.len};
    *at += text.len;
    return added;
}

/* NULL: no memory, or it is being followed just now. */
static struct followed *followed_new(struct cancels *c, const struct job *job,
                                     const struct tree_link *link)
{
    struct str to = link->to;
    struct str root = id_str(&job->root), run = link->from->id;
    size_t key_len = root.len + 1 + run.len + 1 + link->id.len;
    struct followed *followed = mem_new(sizeof *followed + key_len + link->id.len + to.len);
    if (followed == NULL)
        return NULL;
    char *at = followed->text;
    add_text(&at, root);
    add_text(&at, STR("/"));
    add_text(&at, run);
    add_text(&at, STR("/"));
    add_text(&at, link->id);
    followed->key = (struct str){followed->text, key_len};
    followed->id = add_text(&at, link->id);
    followed->to = add_text(&at, to);
    followed->kind = LINK_ROOT;
    followed->epoch = link->from->epoch;
    followed->from.root = job->root;
    if (!id_parse(run, &followed->from.run) || map_find(&c->following, followed->key) != NULL
        || !map_add(&c->following, followed->key, followed)) {
        mem_free(followed);
        return NULL;
    }
    return followed;
}

void followed_free(struct cancels *c, struct followed *followed)
{
    map_take(&c->following, followed->key);
    mem_free(followed);
}

static void follow(struct cancels *c, const struct job *job, const struct tree_link *link,
                   const struct target *to)
{
    struct followed *followed = followed_new(c, job, link);
    if (followed == NULL)
        return;
    struct cancel_ask ask = {
        .run = id_str(&to->run),
        .root = id_str(&to->root),
        .action = job->record.action,
        .reason = job->record.reason,
        .by = job->record.by,
        .trace_id = job->record.trace_id,
        .grace = job->record.grace,
        .force = true,
        .expect_at_most = -1,
        .include_self = true,
        .cause = job->record.cause,
        .hops = job->record.hops + 1,
        .follow_links = true,
    };
    struct job *far = job_new(c, &ask);
    if (far == NULL) {
        followed_free(c, followed);
        return;
    }
    far->followed = followed;
    job_begin(c, far);
}

void job_links_follow(struct cancels *c, struct job *job, const struct tree *tree)
{
    const struct tree_run *target = tree_find(tree, job->ask.run);
    if (target == NULL || job->record.hops >= CAUSE_HOPS_MAX || c->options.encode_link == NULL)
        return;
    for (size_t i = 0; i < tree->link_count; i++) {
        struct target to;
        if (!tree->link[i].acknowledged && link_target(&tree->link[i], &to)
            && tree_is_below(tree->link[i].from, target))
            follow(c, job, &tree->link[i], &to);
    }
}

void job_link_followed(struct cancels *c, struct job *job)
{
    struct followed *followed = job->followed;
    if (followed == NULL)
        return;
    struct run_link link = {.kind = followed->kind, .to = followed->to, .acknowledged = true};
    char *bytes = keep_bytes(c, MESSAGE_MAX_BYTES);
    if (bytes == NULL)
        return;
    size_t len = c->options.encode_link(&link, bytes);
    arena_give_back(&c->arena, MESSAGE_MAX_BYTES - ((len + 15) & ~(size_t)15));
    struct store_call call = {
        .op = STORE_LINK,
        .root = id_str(&followed->from.root),
        .run = id_str(&followed->from.run),
        .epoch = followed->epoch,
        .link_id = followed->id,
        .link = {bytes, len},
        .acknowledge = true,
    };
    call_send(c, (struct call){.purpose = FOR_ACKNOWLEDGE, .job = job}, &call);
}

void link_acknowledged(struct cancels *c, struct job *job)
{
    struct lookout *lookout = map_find(&c->lookouts, id_str(&job->followed->from.root));
    if (lookout != NULL)
        lookout_read(c, lookout); /* who waits there waits for the far tree now */
    if (job->calls == 0)
        job_end(c, job);
}
