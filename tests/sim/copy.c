/* Calls and answers while they are on their way: one block of memory each. */
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"

static const size_t call_texts[] = {
    offsetof(struct store_call, root),         offsetof(struct store_call, run),
    offsetof(struct store_call, path),         offsetof(struct store_call, incarnation),
    offsetof(struct store_call, replica),      offsetof(struct store_call, meta),
    offsetof(struct store_call, token_hash),   offsetof(struct store_call, retry_of),
    offsetof(struct store_call, tombstone_id), offsetof(struct store_call, tombstone),
    offsetof(struct store_call, record),       offsetof(struct store_call, story),
    offsetof(struct store_call, link_id),      offsetof(struct store_call, link),
    offsetof(struct store_call, write_id),     offsetof(struct store_call, bytes),
    offsetof(struct store_call, id),           offsetof(struct store_call, generation),
};
static const size_t answer_texts[] = {
    offsetof(struct store_answer, path),        offsetof(struct store_answer, ban),
    offsetof(struct store_answer, record),      offsetof(struct store_answer, text),
    offsetof(struct store_answer, incarnation), offsetof(struct store_answer, owner),
};
static const size_t ask_texts[] = {
    offsetof(struct cancel_ask, run),    offsetof(struct cancel_ask, root),
    offsetof(struct cancel_ask, reason), offsetof(struct cancel_ask, by),
    offsetof(struct cancel_ask, cause),  offsetof(struct cancel_ask, trace_id),
};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct str *text_at(const void *base, size_t offset)
{
    return (struct str *)(void *)((char *)(uintptr_t)base + offset);
}

static size_t texts_bytes(const void *base, const size_t *offsets, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += text_at(base, offsets[i])->len;
    return bytes;
}

static void move_text(struct str *text, char **to)
{
    if (text->len > 0)
        memcpy(*to, text->at, text->len);
    text->at = *to;
    *to += text->len;
}

static void move_texts(void *base, const size_t *offsets, size_t count, char **to)
{
    for (size_t i = 0; i < count; i++)
        move_text(text_at(base, offsets[i]), to);
}

static void *block(size_t bytes)
{
    void *memory = malloc(bytes);
    if (memory == NULL)
        abort();
    return memory;
}

struct store_call *copy_call(const struct store_call *call)
{
    size_t items = call->item_count * sizeof *call->item;
    size_t bytes = sizeof *call + items + texts_bytes(call, call_texts, COUNT(call_texts));
    for (size_t i = 0; i < call->item_count; i++)
        bytes += call->item[i].run.len;
    struct store_call *copy = block(bytes);
    struct run_epoch *item = (struct run_epoch *)(copy + 1);
    char *to = (char *)item + items;
    *copy = *call;
    move_texts(copy, call_texts, COUNT(call_texts), &to);
    for (size_t i = 0; i < call->item_count; i++) {
        item[i] = call->item[i];
        move_text(&item[i].run, &to);
    }
    copy->item = item;
    return copy;
}

static size_t answer_bytes(const struct store_answer *answer)
{
    size_t bytes = texts_bytes(answer, answer_texts, COUNT(answer_texts));
    for (size_t i = 0; i < answer->item_count; i++)
        bytes += answer->item[i].ban.len + answer->item[i].record.len;
    for (size_t i = 0; i < answer->list_count; i++)
        bytes += answer->list[i].len;
    for (size_t i = 0; i < answer->order_count; i++)
        bytes +=
            answer->order[i].id.len + answer->order[i].record.len + answer->order[i].progress.len;
    return bytes;
}

struct store_answer *copy_answer(const struct store_answer *answer)
{
    size_t items = answer->item_count * sizeof *answer->item;
    size_t scores = answer->score != NULL ? answer->list_count * sizeof *answer->score : 0;
    size_t list = answer->list_count * sizeof *answer->list;
    size_t orders = answer->order_count * sizeof *answer->order;
    struct store_answer *copy =
        block(sizeof *answer + orders + items + scores + list + answer_bytes(answer));
    struct store_order *order = (struct store_order *)(copy + 1);
    struct store_item *item = (struct store_item *)(void *)((char *)order + orders);
    int64_t *score = (int64_t *)((char *)item + items);
    struct str *texts = (struct str *)((char *)score + scores);
    char *to = (char *)texts + list;
    *copy = *answer;
    move_texts(copy, answer_texts, COUNT(answer_texts), &to);
    for (size_t i = 0; i < answer->item_count; i++) {
        item[i] = answer->item[i];
        move_text(&item[i].ban, &to);
        move_text(&item[i].record, &to);
    }
    for (size_t i = 0; i < answer->list_count; i++) {
        texts[i] = answer->list[i];
        move_text(&texts[i], &to);
        if (scores > 0)
            score[i] = answer->score[i];
    }
    for (size_t i = 0; i < answer->order_count; i++) {
        order[i] = answer->order[i];
        move_text(&order[i].id, &to);
        move_text(&order[i].record, &to);
        move_text(&order[i].progress, &to);
    }
    copy->order = order;
    copy->item = item;
    copy->list = texts;
    copy->score = scores > 0 ? score : NULL;
    return copy;
}

struct cancel_ask *copy_ask(const struct cancel_ask *ask)
{
    struct cancel_ask *copy = block(sizeof *ask + texts_bytes(ask, ask_texts, COUNT(ask_texts)));
    char *to = (char *)(copy + 1);
    *copy = *ask;
    move_texts(copy, ask_texts, COUNT(ask_texts), &to);
    return copy;
}
