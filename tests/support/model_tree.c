#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "support/model_inside.h"
#include "wire/message.h"

struct model_tree *model_tree_find(const struct model *model, struct str root)
{
    for (size_t i = 0; i < model->keys.tree_count; i++) {
        struct model_tree *tree = model->keys.tree[i];
        if (str_eq(tree->root, root))
            return tree;
    }
    return NULL;
}

struct model_tree *model_tree_make(struct model *model, struct str root)
{
    struct model_tree *tree = model_tree_find(model, root);
    if (tree != NULL)
        return tree;
    tree = mem_new(sizeof *tree);
    if (tree == NULL)
        abort();
    tree->root = pool_keep(model, root);
    tree->expires = FOREVER;
    struct model_keys *keys = &model->keys;
    struct model_tree **place =
        model_append((void **)&keys->tree, &keys->tree_count, &keys->tree_room, sizeof *keys->tree);
    *place = tree;
    return tree;
}

void model_tree_free(struct model_tree *tree)
{
    for (size_t i = 0; i < tree->run_count; i++)
        mem_free(tree->run[i]);
    map_fini(&tree->by_id);
    mem_free(tree->run);
    mem_free(tree->link);
    mem_free(tree);
}

struct model_run *model_run_find(const struct model_tree *tree, struct str id)
{
    struct model_run *run = tree != NULL ? map_find(&tree->by_id, id) : NULL;
    return run != NULL && run->stored ? run : NULL;
}

struct model_run *model_run_make(struct model *model, struct model_tree *tree, struct str id)
{
    struct model_run *run = map_find(&tree->by_id, id);
    if (run == NULL) {
        run = mem_new(sizeof *run);
        if (run == NULL)
            abort();
        run->id = pool_keep(model, id);
        struct model_run **place =
            model_append((void **)&tree->run, &tree->run_count, &tree->run_room, sizeof *tree->run);
        *place = run;
        if (!map_add(&tree->by_id, run->id, run))
            abort();
    }
    if (!run->stored) {
        run->stored = true;
        run->state = RUN_NEVER;
    }
    return run;
}

struct model_link *model_link_find(const struct model_tree *tree, struct str run, struct str id)
{
    for (size_t i = 0; i < tree->link_count; i++)
        if (str_eq(tree->link[i].run, run) && str_eq(tree->link[i].id, id))
            return &tree->link[i];
    return NULL;
}

bool model_has(const struct model_run *run, uint32_t flags)
{
    return (run->flags & flags) != 0;
}

/* ---- bans ----------------------------------------------------------------------------------- */
struct view { /* of a run, stored or supposed */
    struct str id, parent;
    uint32_t flags, parent_epoch;
};

static bool look(const struct model_tree *tree, const struct supposition *supposed, struct str id,
                 struct view *out)
{
    for (size_t i = 0; supposed != NULL && i < supposed->count; i++) {
        const struct supposed *s = &supposed->item[i];
        if (str_eq(s->id, id)) {
            *out = (struct view){s->id, s->parent, s->flags, s->parent_epoch};
            return true;
        }
    }
    const struct model_run *run = model_run_find(tree, id);
    if (run == NULL)
        return false;
    *out = (struct view){run->id, run->parent, run->flags, run->parent_epoch};
    return true;
}

struct walk {
    const struct model_tree *tree;
    const struct supposition *supposed;
    struct bans *found;
    size_t seen_count;
    struct str seen[4 * PATH_MAX_IDS];
};

static bool was_seen(struct walk *walk, struct str id)
{
    for (size_t i = 0; i < walk->seen_count; i++)
        if (str_eq(walk->seen[i], id))
            return true;
    if (walk->seen_count < sizeof walk->seen / sizeof *walk->seen)
        walk->seen[walk->seen_count++] = id;
    return false;
}

static void note_ban(struct walk *walk, struct str id)
{
    if (walk->found->count < sizeof walk->found->id / sizeof *walk->found->id)
        walk->found->id[walk->found->count++] = id;
}

/* Did the run start in an epoch of its parent that a takeover lost? */
static bool died_with(const struct walk *walk, const struct view *run, const struct view *parent)
{
    const struct model_run *up = model_run_find(walk->tree, parent->id);
    return up != NULL && up->is_marked && !(parent->flags & RUN_FLAG_BANNED)
           && (parent->flags & RUN_FLAG_LOST_TAKEOVER) && run->parent_epoch <= up->lost_epoch;
}

static void climb(struct walk *walk, struct str id)
{
    struct view at, up;
    bool known = look(walk->tree, walk->supposed, id, &at);
    for (int steps = 0; known && steps < PATH_MAX_IDS && !was_seen(walk, at.id); steps++) {
        if (at.flags & RUN_FLAG_BANNED)
            note_ban(walk, at.id);
        known = at.parent.len > 0 && look(walk->tree, walk->supposed, at.parent, &up);
        if (known && died_with(walk, &at, &up))
            note_ban(walk, up.id);
        if (known)
            at = up;
    }
}

static struct str cut_last(struct str *path)
{
    size_t at = path->len;
    while (at > 0 && path->at[at - 1] != '.')
        at--;
    struct str last = {path->at + at, path->len - at};
    path->len = at > 0 ? at - 1 : 0;
    return last;
}

bool model_may_return(const struct model_run *run)
{
    return run->state == RUN_LOST && model_has(run, RUN_FLAG_LOST_CONTINUE)
           && !model_has(run, RUN_FLAG_GONE);
}

void model_bans(const struct model_tree *tree, const struct supposition *supposed, struct str run,
                struct str claimed, struct bans *out)
{
    struct walk walk = {.tree = tree, .supposed = supposed, .found = out};
    out->count = 0;
    if (tree == NULL || tree->b == 0)
        return;
    climb(&walk, run);
    while (out->count == 0 && claimed.len > 0) {
        struct str id = cut_last(&claimed);
        if (id.len > 0)
            climb(&walk, id);
    }
}

struct str model_record_of(const struct model_tree *tree, struct str id)
{
    const struct model_run *run = id.len > 0 ? model_run_find(tree, id) : NULL;
    if (run == NULL)
        return STR_NONE;
    return run->has_record ? run->record : run->is_marked ? run->loss : STR_NONE;
}

struct str model_path(struct model *model, const struct model_tree *tree,
                      const struct supposition *supposed, struct str run)
{
    struct bans ignored;
    struct walk walk = {.tree = tree, .found = &ignored};
    struct str path = STR_NONE;
    struct view at = {.id = run};
    for (int ids = 0; ids <= PATH_MAX_IDS && at.id.len > 0 && !was_seen(&walk, at.id); ids++) {
        path = ids == 0 ? pool_keep(model, at.id)
                        : pool_keepf(model, "%.*s.%.*s", (int)at.id.len, at.id.at, (int)path.len,
                                     path.at);
        struct str next = look(tree, supposed, at.id, &at) ? at.parent : STR_NONE;
        at.id = next;
    }
    return path;
}

/* ---- what every script does ------------------------------------------------------------------ */
void model_publish(struct model *model, struct str root, bool watch, struct str bytes)
{
    struct model_message *message = model_append((void **)&model->message, &model->message_count,
                                                 &model->message_room, sizeof *model->message);
    *message = (struct model_message){
        .root = pool_keep(model, root), .watch = watch, .bytes = pool_keep(model, bytes)};
}

void model_commit(struct model *model, struct model_tree *tree)
{
    if (tree->n == 0)
        tree->expires = model->now + model->ttl;
}

void model_lives_again(struct model_tree *tree)
{
    tree->has_n = true;
    tree->n++;
    tree->expires = FOREVER;
}

void model_ban(struct model *model, struct model_tree *tree, struct model_run *run,
               struct str record)
{
    run->flags |= RUN_FLAG_BANNED;
    run->has_record = run->has_counts = true;
    run->record = pool_keep(model, record);
    run->delivered = run->acknowledged = run->stopped = run->unresponsive = 0;
    tree->has_b = true;
    tree->b++;
}

void model_stop(struct model_run *run)
{
    if (run->state == RUN_RUNNING && !model_has(run, RUN_FLAG_OBSERVE))
        run->state = RUN_STOPPING;
}

static unsigned moved(unsigned count, int by)
{
    return by < 0 && count < (unsigned)-by ? 0 : count + (unsigned)by;
}

void model_count(struct model_tree *tree, struct model *model, const struct bans *bans,
                 int delivered, int acknowledged, int stopped, int unresponsive)
{
    for (size_t i = 0; i < bans->count; i++) {
        struct model_run *run = model_run_make(model, tree, bans->id[i]);
        run->has_counts = true;
        run->delivered = moved(run->delivered, delivered);
        run->acknowledged = moved(run->acknowledged, acknowledged);
        run->stopped = moved(run->stopped, stopped);
        run->unresponsive = moved(run->unresponsive, unresponsive);
    }
}

void model_tell_ended(struct model *model, const struct model_tree *tree,
                      const struct model_run *run)
{
    struct buf bytes = {0};
    struct message message = {
        .kind = MESSAGE_ENDED,
        .ended = {tree->root, run->id, run->epoch, run->state, run->finished, run->flags},
    };
    if (wire_message_encode(&message, &bytes) != ERR_OK)
        abort();
    model_publish(model, tree->root, true, buf_str(&bytes));
    buf_fini(&bytes);
}
