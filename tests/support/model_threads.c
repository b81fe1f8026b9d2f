/* bw:thread:<thread>: who is in a thread, in the order they came. */
#include <inttypes.h>

#include "support/model_inside.h"

static struct model_thread *thread_find(const struct model *model, struct str name)
{
    for (size_t i = 0; i < model->keys.thread_count; i++)
        if (str_eq(model->keys.thread[i].name, name))
            return &model->keys.thread[i];
    return NULL;
}

static void forget(struct model *model, struct str name)
{
    struct model_keys *keys = &model->keys;
    struct model_thread *thread = thread_find(model, name);
    for (size_t i = keys->entry_count; i-- > 0;)
        if (str_eq(keys->entry[i].thread, name))
            keys->entry[i] = keys->entry[--keys->entry_count];
    if (thread != NULL)
        *thread = keys->thread[--keys->thread_count];
}

static struct model_entry *entry_find(const struct model *model, struct str thread, struct str run)
{
    for (size_t i = 0; i < model->keys.entry_count; i++) {
        struct model_entry *entry = &model->keys.entry[i];
        if (str_eq(entry->thread, thread) && str_eq(entry->run, run))
            return entry;
    }
    return NULL;
}

static struct model_entry *entry_add(struct model *model, const struct store_call *call)
{
    struct model_keys *keys = &model->keys;
    struct model_entry *entry = model_append((void **)&keys->entry, &keys->entry_count,
                                             &keys->entry_room, sizeof *keys->entry);
    *entry = (struct model_entry){.thread = pool_keep(model, call->id),
                                  .run = pool_keep(model, call->run),
                                  .root = pool_keep(model, call->root)};
    return entry;
}

/* An ended one before all that live, and of those the one that came first. */
static void make_room(struct model *model, struct str thread, size_t max)
{
    struct model_entry *out = NULL;
    size_t count = 0;
    for (size_t i = 0; i < model->keys.entry_count; i++) {
        struct model_entry *entry = &model->keys.entry[i];
        if (!str_eq(entry->thread, thread))
            continue;
        count++;
        bool is_better =
            out == NULL || (out->letter == 'l' && entry->letter != 'l')
            || ((out->letter == 'l') == (entry->letter == 'l') && entry->number < out->number);
        out = is_better ? entry : out;
    }
    if (out != NULL && count >= max)
        *out = model->keys.entry[--model->keys.entry_count];
}

static void list_others(struct model *model, const struct store_call *call,
                        const struct model_entry *own, struct store_answer *out)
{
    size_t count = 0;
    for (size_t i = 0; i < model->keys.entry_count; i++) {
        const struct model_entry *entry = &model->keys.entry[i];
        bool is_other = str_eq(entry->thread, call->id) && !str_eq(entry->run, call->run)
                        && str_eq(entry->root, entry->run) && entry->letter != 'e';
        if (!is_other || (own != NULL && entry->number > own->number))
            continue;
        size_t ignored = count;
        model_append((void **)&model->list, &ignored, &model->list_room, sizeof *model->list);
        ignored = count;
        model_append((void **)&model->score, &ignored, &model->score_room, sizeof *model->score);
        size_t at = count++;
        for (; at > 0 && entry_find(model, call->id, model->list[at - 1])->number > entry->number;
             at--) {
            model->list[at] = model->list[at - 1];
            model->score[at] = model->score[at - 1];
        }
        model->list[at] = entry->run;
        model->score[at] = model->now - entry->at;
    }
    out->list_count = count;
    out->list = model->list;
    out->score = model->score;
}

static void enter(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct model_keys *keys = &model->keys;
    struct model_entry *own = entry_find(model, call->id, call->run);
    bool is_new = own == NULL;
    *out = (struct store_answer){.verdict = SAID_OK, .last = is_new};
    list_others(model, call, own, out);
    if (call->multitask == MULTITASK_REJECT && is_new && out->list_count > 0) {
        out->verdict = SAID_EXISTS;
        out->last = false;
        return;
    }
    if (is_new)
        make_room(model, call->id, call->limit);
    struct model_thread *thread = thread_find(model, call->id);
    if (thread == NULL) {
        thread = model_append((void **)&keys->thread, &keys->thread_count, &keys->thread_room,
                              sizeof *keys->thread);
        *thread = (struct model_thread){.name = pool_keep(model, call->id)};
    }
    thread->expires = model->now + model->ttl;
    if (is_new) {
        own = entry_add(model, call);
        own->multitask = call->multitask;
        own->number = ++thread->last_number;
        own->at = model->now;
    }
    own = entry_find(model, call->id, call->run);
    own->letter = own->letter == 'd' ? 'd' : 'l';
    own->root = pool_keep(model, call->root);
}

static void leave(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct model_keys *keys = &model->keys;
    struct model_entry *own = entry_find(model, call->id, call->run);
    *out = (struct store_answer){.verdict = SAID_OK};
    if (call->thread_end == THREAD_NEVER_BEGAN && own != NULL) {
        *own = keys->entry[--keys->entry_count];
    } else if (call->thread_end != THREAD_NEVER_BEGAN && own != NULL && own->letter != 'd') {
        own->letter = call->thread_end == THREAD_DELETED ? 'd' : 'e';
    } else if (call->thread_end == THREAD_DELETED && own == NULL) {
        struct model_thread *thread = thread_find(model, call->id);
        if (thread == NULL) {
            thread = model_append((void **)&keys->thread, &keys->thread_count, &keys->thread_room,
                                  sizeof *keys->thread);
            *thread = (struct model_thread){.name = pool_keep(model, call->id)};
        }
        thread->expires = model->now + model->ttl;
        own = entry_add(model, call);
        own->letter = 'd';
        own->number = ++thread_find(model, call->id)->last_number;
        own->at = model->now;
    }
}

static void read(struct model *model, const struct store_call *call, struct store_answer *out)
{
    size_t count = 0;
    for (size_t i = 0; i < model->keys.entry_count; i++) {
        const struct model_entry *entry = &model->keys.entry[i];
        bool is_asked = call->run.len == 0 || str_eq(call->run, entry->run);
        if (!str_eq(entry->thread, call->id) || !is_asked)
            continue;
        size_t ignored = count;
        model_append((void **)&model->list, &ignored, &model->list_room, sizeof *model->list);
        model->list[count++] =
            pool_keepf(model, "%.*s %c:%c:%" PRId64 ":%" PRId64 ":%.*s", (int)entry->run.len,
                       entry->run.at, entry->letter, multitask_letter(entry->multitask),
                       entry->number, entry->at, (int)entry->root.len, entry->root.at);
    }
    *out = (struct store_answer){.verdict = SAID_OK, .list_count = count, .list = model->list};
}

bool model_threads(struct model *model, const struct store_call *call, struct store_answer *out)
{
    const struct model_thread *thread = thread_find(model, call->id);
    switch (call->op) {
    case STORE_THREAD_ENTER:
    case STORE_THREAD_LEAVE:
    case STORE_THREAD_READ:
        break;
    default:
        return false;
    }
    if (thread != NULL && thread->expires <= model->now)
        forget(model, call->id);
    if (call->op == STORE_THREAD_ENTER)
        enter(model, call, out);
    else if (call->op == STORE_THREAD_LEAVE)
        leave(model, call, out);
    else
        read(model, call, out);
    return true;
}
