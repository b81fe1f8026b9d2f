#include "core/arena.h"

#include "base/mem.h"

enum { CHUNK_BYTES = 16 * 1024, ALIGNMENT = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, room;
    size_t aligned; /* makes `bytes` begin at a multiple of ALIGNMENT */
    char bytes[];
};

void *arena_take(struct arena *arena, size_t bytes)
{
    bytes = (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    struct arena_chunk *chunk = arena->chunk;
    if (chunk == NULL || chunk->room - chunk->used < bytes) {
        size_t room = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        chunk = mem_new(sizeof *chunk + room);
        if (chunk == NULL)
            return NULL;
        chunk->next = arena->chunk;
        chunk->room = room;
        arena->chunk = chunk;
    }
    void *taken = chunk->bytes + chunk->used;
    chunk->used += bytes;
    return taken;
}

void arena_give_back(struct arena *arena, size_t bytes)
{
    arena->chunk->used -= bytes & ~(size_t)(ALIGNMENT - 1);
}

struct str arena_copy(struct arena *arena, struct str text)
{
    char *copy = text.len > 0 ? arena_take(arena, text.len + 1) : NULL;
    if (copy == NULL)
        return STR_NONE;
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    return (struct str){copy, text.len};
}

void arena_reset(struct arena *arena)
{
    if (arena->chunk == NULL)
        return;
    while (arena->chunk->next != NULL) {
        struct arena_chunk *next = arena->chunk->next;
        mem_free(arena->chunk);
        arena->chunk = next;
    }
    arena->chunk->used = 0;
}

void arena_fini(struct arena *arena)
{
    arena_reset(arena);
    mem_free(arena->chunk);
    arena->chunk = NULL;
}
