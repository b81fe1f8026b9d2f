/* What is due when: a binary heap of timers that live inside the objects they belong to.
 *
 * Room is made before an object is used (due_reserve), so that setting a timer never fails. */
#ifndef CORE_DUE_H
#define CORE_DUE_H

#include "base/mono.h"
#include "base/str.h"

struct due { /* all zero: not set */
    struct instant at;
    uint32_t place; /* in the heap, counted from 1; 0: not in it */
    uint8_t kind;   /* the owner's business */
};
struct due_heap { /* all zero is empty */
    struct due **item;
    size_t count, room;
    size_t reserved; /* objects that may be in it at once */
};

void due_fini(struct due_heap *heap);
/* Once for each object that will ever be in the heap; false when there is no memory. */
bool due_reserve(struct due_heap *heap);
/* The object goes: out of the heap, and its room with it. */
void due_release(struct due_heap *heap, struct due *due);
/* Sets, moves, or with INSTANT_NEVER takes out. */
void due_set(struct due_heap *heap, struct due *due, struct instant at);
struct due *due_first(const struct due_heap *heap); /* NULL: nothing is waited for */

#endif
