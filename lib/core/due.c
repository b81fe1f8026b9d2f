#include "core/due.h"

#include <assert.h>

#include "base/mem.h"

void due_fini(struct due_heap *heap)
{
    mem_free(heap->item);
    *heap = (struct due_heap){0};
}

bool due_reserve(struct due_heap *heap)
{
    void *item = heap->item;
    if (!mem_grow(&item, &heap->room, sizeof *heap->item, heap->reserved + 1))
        return false;
    heap->item = item;
    heap->reserved++;
    return true;
}

static void put(struct due_heap *heap, size_t at, struct due *due)
{
    heap->item[at] = due;
    due->place = (uint32_t)at + 1;
}

static void rise(struct due_heap *heap, size_t at, struct due *due)
{
    while (at > 0 && heap->item[(at - 1) / 2]->at.ms > due->at.ms) {
        put(heap, at, heap->item[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(heap, at, due);
}

static void sink(struct due_heap *heap, size_t at, struct due *due)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && heap->item[child + 1]->at.ms < heap->item[child]->at.ms)
            child++;
        if (heap->item[child]->at.ms >= due->at.ms)
            break;
        put(heap, at, heap->item[child]);
        at = child;
    }
    put(heap, at, due);
}

static void take(struct due_heap *heap, struct due *due)
{
    size_t at = due->place - 1;
    struct due *last = heap->item[--heap->count];
    due->place = 0;
    if (last == due)
        return;
    sink(heap, at, last);
    rise(heap, last->place - 1, last);
}

void due_release(struct due_heap *heap, struct due *due)
{
    if (due->place > 0)
        take(heap, due);
    heap->reserved--;
}

void due_set(struct due_heap *heap, struct due *due, struct instant at)
{
    if (due->place > 0 && due->at.ms == at.ms)
        return;
    if (due->place > 0)
        take(heap, due);
    due->at = at;
    if (at.ms == INSTANT_NEVER.ms)
        return;
    assert(heap->count < heap->reserved);
    rise(heap, heap->count++, due);
}

struct due *due_first(const struct due_heap *heap)
{
    return heap->count > 0 ? heap->item[0] : NULL;
}
