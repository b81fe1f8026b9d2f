#include "support/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/tree.h"
#include "support/model_inside.h"
#include "wire/tree_fields.h"

/* ---- memory --------------------------------------------------------------------------------- */
struct pool_chunk {
    struct pool_chunk *next;
    size_t used, room;
    char bytes[];
};

enum { CHUNK_BYTES = 65536 };

static char *pool_take(struct model *model, size_t bytes)
{
    struct pool_chunk *chunk = model->pool;
    if (chunk == NULL || bytes > chunk->room - chunk->used) {
        size_t room = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        chunk = malloc(sizeof *chunk + room);
        if (chunk == NULL)
            abort();
        *chunk = (struct pool_chunk){.next = model->pool, .room = room};
        model->pool = chunk;
    }
    char *taken = chunk->bytes + chunk->used;
    chunk->used += bytes;
    return taken;
}

struct str pool_keep(struct model *model, struct str text)
{
    if (text.len == 0)
        return (struct str){"", 0};
    char *copy = pool_take(model, text.len);
    memcpy(copy, text.at, text.len);
    return (struct str){copy, text.len};
}

struct str pool_keepf(struct model *model, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0)
        abort();
    struct str kept = pool_keep(model, (struct str){text, (size_t)len});
    free(text);
    return kept;
}

void *model_append(void **array, size_t *count, size_t *room, size_t size)
{
    if (!mem_grow(array, room, size, *count + 1))
        abort();
    char *element = (char *)*array + size * (*count)++;
    memset(element, 0, size);
    return element;
}

/* ---- keys: copies, and what runs out ----------------------------------------------------------
 */
static void keys_fini(struct model_keys *keys)
{
    for (size_t i = 0; i < keys->tree_count; i++)
        model_tree_free(keys->tree[i]);
    mem_free(keys->tree);
    mem_free(keys->value);
    mem_free(keys->member);
    mem_free(keys->order);
    mem_free(keys->entry);
    mem_free(keys->thread);
    *keys = (struct model_keys){0};
}

static void *copy_of(const void *array, size_t bytes)
{
    void *copy = mem_new(bytes);
    if (copy == NULL)
        abort();
    if (bytes > 0)
        memcpy(copy, array, bytes);
    return copy;
}

static struct model_tree *tree_copy(const struct model_tree *tree)
{
    struct model_tree *copy = copy_of(tree, sizeof *tree);
    copy->by_id = (struct map){0};
    copy->run = copy_of(tree->run, tree->run_count * sizeof *tree->run);
    copy->run_room = tree->run_count;
    copy->link = copy_of(tree->link, tree->link_count * sizeof *tree->link);
    copy->link_room = tree->link_count;
    for (size_t i = 0; i < copy->run_count; i++) {
        copy->run[i] = copy_of(tree->run[i], sizeof *tree->run[i]);
        if (!map_add(&copy->by_id, copy->run[i]->id, copy->run[i]))
            abort();
    }
    return copy;
}

static void keys_copy(const struct model_keys *from, struct model_keys *to)
{
    *to = *from;
    to->tree = copy_of(from->tree, from->tree_count * sizeof *from->tree);
    to->value = copy_of(from->value, from->value_count * sizeof *from->value);
    to->member = copy_of(from->member, from->member_count * sizeof *from->member);
    to->tree_room = from->tree_count;
    to->value_room = from->value_count;
    to->member_room = from->member_count;
    to->order = copy_of(from->order, from->order_count * sizeof *from->order);
    to->order_room = from->order_count;
    to->entry = copy_of(from->entry, from->entry_count * sizeof *from->entry);
    to->entry_room = from->entry_count;
    to->thread = copy_of(from->thread, from->thread_count * sizeof *from->thread);
    to->thread_room = from->thread_count;
    for (size_t i = 0; i < to->tree_count; i++)
        to->tree[i] = tree_copy(from->tree[i]);
}

static bool has_run_out(const struct model *model, int64_t expires)
{
    return expires != FOREVER && expires <= model->now;
}

static void forget_what_ran_out(struct model *model)
{
    struct model_keys *keys = &model->keys;
    size_t kept = 0;
    for (size_t i = 0; i < keys->tree_count; i++) {
        if (has_run_out(model, keys->tree[i]->expires))
            model_tree_free(keys->tree[i]);
        else
            keys->tree[kept++] = keys->tree[i];
    }
    keys->tree_count = kept;
    kept = 0;
    for (size_t i = 0; i < keys->value_count; i++)
        if (!has_run_out(model, keys->value[i].expires))
            keys->value[kept++] = keys->value[i];
    keys->value_count = kept;
}

/* ---- life ----------------------------------------------------------------------------------- */
struct model *model_new(uint64_t seed)
{
    struct model *model = mem_new(sizeof *model);
    if (model == NULL)
        abort();
    model->seed = seed;
    model->now = INT64_C(1000000000000);
    model->ttl = MODEL_TOMBSTONE_TTL_MS;
    return model;
}

static void drop_tree(struct model *model)
{
    if (model->tree != NULL)
        tree_fini(model->tree);
    mem_free(model->tree);
    model->tree = NULL;
}

void model_free(struct model *model)
{
    drop_tree(model);
    keys_fini(&model->keys);
    while (model->pool != NULL) {
        struct pool_chunk *chunk = model->pool;
        model->pool = chunk->next;
        free(chunk);
    }
    mem_free(model->message);
    mem_free(model->list);
    mem_free(model->score);
    mem_free(model->order);
    mem_free(model);
}

void model_set_time(struct model *model, struct wall now)
{
    if (now.ms > model->now)
        model->now = now.ms;
    forget_what_ran_out(model);
}

struct wall model_time(const struct model *model)
{
    return (struct wall){model->now};
}

void model_set_tombstone_ttl(struct model *model, struct span ttl)
{
    model->ttl = ttl.ms;
}

const struct model_message *model_messages(const struct model *model, size_t *count)
{
    *count = model->message_count;
    return model->message;
}

void model_forget_messages(struct model *model)
{
    model->message_count = 0;
}

void model_set_receivers(struct model *model, int64_t (*receivers)(void *owner, struct str root),
                         void *owner)
{
    model->receivers = receivers;
    model->receivers_owner = owner;
}

void model_set_unwritable(struct model *model, const char *text)
{
    model->unwritable = text != NULL ? pool_keep(model, str_of(text)) : STR_NONE;
}

struct model_snapshot *model_save(const struct model *model)
{
    struct model_snapshot *snapshot = mem_new(sizeof *snapshot);
    if (snapshot == NULL)
        abort();
    keys_copy(&model->keys, &snapshot->keys);
    return snapshot;
}

void model_restore(struct model *model, const struct model_snapshot *snapshot)
{
    keys_fini(&model->keys);
    keys_copy(&snapshot->keys, &model->keys);
    forget_what_ran_out(model);
}

void model_snapshot_free(struct model_snapshot *snapshot)
{
    keys_fini(&snapshot->keys);
    mem_free(snapshot);
}

void model_wipe(struct model *model)
{
    keys_fini(&model->keys);
}

struct span model_ttl(const struct model *model, struct str root)
{
    const struct model_tree *tree = model_tree_find(model, root);
    if (tree == NULL)
        return MILLIS(-2);
    return tree->expires == FOREVER ? SPAN_NONE : MILLIS(tree->expires - model->now);
}

/* ---- a tree as the fields of its hash ---------------------------------------------------------
 */
struct emission {
    model_field *emit;
    void *owner;
    struct buf field, value;
};

static void emit(struct emission *e)
{
    e->emit(e->owner, buf_str(&e->field), buf_str(&e->value));
    buf_clear(&e->field);
    buf_clear(&e->value);
}

static void emit_text(struct emission *e, char kind, struct str id, struct str value)
{
    buf_addf(&e->field, "%c:%.*s", kind, (int)id.len, id.at);
    buf_add_str(&e->value, value);
    emit(e);
}

static void emit_record(struct emission *e, const struct model_run *run)
{
    buf_addf(&e->field, "s:%.*s", (int)run->id.len, run->id.at);
    buf_addf(&e->value, "%c:%u:%u:%.*s:%.*s:%.*s:%u:%u", run_state_letter(run->state), run->epoch,
             run->flags, (int)run->incarnation.len, run->incarnation.at, (int)run->owner.len,
             run->owner.at, (int)run->parent.len, run->parent.at, run->parent_epoch, run->children);
    if (run->finished != RUN_NONE)
        buf_addf(&e->value, ":%c", run_state_letter(run->finished));
    emit(e);
}

static void emit_marks(struct emission *e, const struct model_run *run)
{
    if (run->has_record)
        emit_text(e, 'c', run->id, run->record);
    if (run->has_counts) {
        buf_addf(&e->field, "t:%.*s", (int)run->id.len, run->id.at);
        buf_addf(&e->value, "%u:%u:%u:%u", run->delivered, run->acknowledged, run->stopped,
                 run->unresponsive);
        emit(e);
    }
    if (run->is_marked) {
        buf_addf(&e->field, "x:%.*s", (int)run->id.len, run->id.at);
        buf_addf(&e->value, "%u:", run->lost_epoch);
        buf_add_str(&e->value, run->loss);
        emit(e);
    }
}

static void emit_run(struct emission *e, const struct model_run *run)
{
    if (run->stored)
        emit_record(e, run);
    if (run->has_meta)
        emit_text(e, 'm', run->id, run->meta);
    if (run->has_story)
        emit_text(e, 'e', run->id, run->story);
    if (run->has_write_id)
        emit_text(e, 'w', run->id, run->write_id);
    if (run->deadline != 0) {
        buf_addf(&e->field, "d:%.*s", (int)run->id.len, run->id.at);
        buf_addf(&e->value, "%lld", (long long)run->deadline);
        emit(e);
    }
    if (run->links > 0) {
        buf_addf(&e->field, "k:%.*s", (int)run->id.len, run->id.at);
        buf_addf(&e->value, "%u", run->links);
        emit(e);
    }
    emit_marks(e, run);
}

static void emit_count(struct emission *e, const char *field, int64_t count)
{
    buf_add_text(&e->field, field);
    buf_addf(&e->value, "%lld", (long long)count);
    emit(e);
}

void model_fields(const struct model *model, struct str root, model_field *field, void *owner)
{
    const struct model_tree *tree = model_tree_find(model, root);
    struct emission e = {.emit = field, .owner = owner};
    if (tree == NULL)
        return;
    if (tree->has_n)
        emit_count(&e, "n", tree->n);
    if (tree->has_b)
        emit_count(&e, "b", tree->b);
    for (size_t i = 0; i < tree->run_count; i++)
        emit_run(&e, tree->run[i]);
    for (size_t i = 0; i < tree->link_count; i++) {
        const struct model_link *link = &tree->link[i];
        buf_addf(&e.field, "l:%.*s:%.*s", (int)link->run.len, link->run.at, (int)link->id.len,
                 link->id.at);
        buf_add_str(&e.value, link->bytes);
        emit(&e);
    }
    buf_fini(&e.field);
    buf_fini(&e.value);
}

static void add_field(void *owner, struct str field, struct str value)
{
    enum err err = wire_tree_field(owner, field, value);
    if (err == ERR_NOMEM)
        abort();
}

static void read_tree(struct model *model, const struct store_call *call, struct store_answer *out)
{
    model->tree = mem_new(sizeof *model->tree);
    if (model->tree == NULL)
        abort();
    tree_init(model->tree);
    model_fields(model, call->root, add_field, model->tree);
    tree_join(model->tree);
    *out =
        (struct store_answer){.verdict = SAID_OK, .number = model->tree->live, .tree = model->tree};
}

/* ---- one call -------------------------------------------------------------------------------- */
static bool only_reads(enum store_op op)
{
    switch (op) {
    case STORE_RECONCILE:
    case STORE_PEEK:
    case STORE_LEASE_READ:
    case STORE_FIND_READ:
    case STORE_HELD_READ:
    case STORE_QUARANTINE_READ:
    case STORE_CONFIRM_READ:
    case STORE_ROOTS_READ:
    case STORE_ROOT_COUNTS:
    case STORE_AUDIT_READ:
    case STORE_REPLICAS_READ:
    case STORE_PUBLISH:
    case STORE_TREE:
    case STORE_META_READ:
    case STORE_THREAD_READ:
    case STORE_CHECKPOINT_READ:
    case STORE_TIME:
    case STORE_ORDERS_READ:
    case STORE_ORDERS_VERSION:
        return true;
    default:
        return false;
    }
}

void model_call(struct model *model, const struct store_call *call, struct store_answer *answer)
{
    static model_op *const scripts[STORE_OP_COUNT] = {
        [STORE_START] = model_start,
        [STORE_ASSERT] = model_assert,
        [STORE_CANCEL] = model_cancel,
        [STORE_END] = model_end,
        [STORE_REPORT] = model_report,
        [STORE_RECONCILE] = model_reconcile,
        [STORE_LOST] = model_lost,
        [STORE_LINK] = model_link_op,
        [STORE_CHECKPOINT] = model_checkpoint,
        [STORE_PEEK] = model_peek,
        [STORE_SYNC] = model_sync,
        [STORE_TREE] = read_tree,
    };
    drop_tree(model);
    forget_what_ran_out(model);
    if (model->unwritable.at != NULL && !only_reads(call->op))
        *answer = (struct store_answer){.verdict = SAID_UNWRITABLE, .text = model->unwritable};
    else if (scripts[call->op] != NULL)
        scripts[call->op](model, call, answer);
    else
        model_plain(model, call, answer);
}
