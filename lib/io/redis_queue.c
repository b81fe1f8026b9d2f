#include "io/redis_queue.h"

#include <assert.h>

#include "base/mem.h"

enum { FIRST_ROOM = 64 };

void redis_queue_fini(struct redis_queue *queue)
{
    assert(queue->count == 0);
    mem_free(queue->slots);
    queue->slots = NULL;
}

/* Where the slot stands that comes `ahead` after the first. */
static size_t place_of(const struct redis_queue *queue, size_t ahead)
{
    size_t place = queue->first + ahead;
    return place < queue->room ? place : place - queue->room;
}

/* A ring cannot grow in place: its end would no longer meet its beginning. */
static enum err grow(struct redis_queue *queue)
{
    size_t room = queue->room > 0 ? queue->room * 2 : FIRST_ROOM;
    struct redis_slot *slots = mem_new(room * sizeof *slots);
    if (slots == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < queue->count; i++)
        slots[i] = queue->slots[place_of(queue, i)];
    mem_free(queue->slots);
    queue->slots = slots;
    queue->room = room;
    queue->first = 0;
    return ERR_OK;
}

enum err redis_queue_reserve(struct redis_queue *queue)
{
    return queue->count < queue->room ? ERR_OK : grow(queue);
}

void redis_queue_put(struct redis_queue *queue, struct redis_slot slot)
{
    assert(queue->count < queue->room);
    queue->slots[place_of(queue, queue->count)] = slot;
    queue->count++;
}

const struct redis_slot *redis_queue_peek(const struct redis_queue *queue)
{
    return queue->count > 0 ? &queue->slots[queue->first] : NULL;
}

void redis_queue_answer(struct redis_queue *queue, const struct redisReply *reply)
{
    assert(queue->count > 0);
    struct redis_slot slot = queue->slots[queue->first];
    queue->first = place_of(queue, 1);
    queue->count--;
    mem_free(slot.channel);
    if (slot.done != NULL)
        slot.done(slot.owner, reply);
}
