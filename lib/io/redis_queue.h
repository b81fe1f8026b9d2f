/* The commands that were sent and not yet answered, oldest first: a ring that grows. */
#ifndef IO_REDIS_QUEUE_H
#define IO_REDIS_QUEUE_H

#include <stdbool.h>

#include "base/err.h"
#include "io/redis_link.h"

struct redis_slot {
    redis_answered done; /* may be NULL */
    void *owner;
    const char *kind; /* of the push that acknowledges it ("subscribe"); NULL for a plain command */
    char *channel;    /* of that push; owned */
    bool is_fence;    /* an ECHO that ends what an SUNSUBSCRIBE may have answered twice */
};

struct redis_queue { /* all zero is an empty queue */
    struct redis_slot *slots;
    size_t room, first, count;
};

void redis_queue_fini(struct redis_queue *queue);
/* Room for one more slot. */
enum err redis_queue_reserve(struct redis_queue *queue) MUST_CHECK;
/* After redis_queue_reserve(); takes over slot.channel. */
void redis_queue_put(struct redis_queue *queue, struct redis_slot slot);
/* The oldest, lent; NULL if the queue is empty. */
const struct redis_slot *redis_queue_peek(const struct redis_queue *queue);
/* Drops the oldest and answers it with `reply`, last. */
void redis_queue_answer(struct redis_queue *queue, const struct redisReply *reply);

#endif
