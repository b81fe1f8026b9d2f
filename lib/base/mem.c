#include "base/mem.h"

#include <stdlib.h>

void *mem_new(size_t bytes)
{
    return calloc(1, bytes > 0 ? bytes : 1);
}

bool mem_grow(void **array, size_t *room, size_t size, size_t wanted)
{
    if (wanted <= *room)
        return true;
    size_t limit = SIZE_MAX / 2 / size;
    if (wanted > limit)
        return false;

    size_t more = *room < 8 ? 8 : *room * 2; /* no overflow: *room <= limit */
    if (more < wanted)
        more = wanted;
    if (more > limit)
        more = limit;
    void *grown = realloc(*array, more * size);
    if (grown == NULL)
        return false;
    *array = grown;
    *room = more;
    return true;
}

char *mem_copy(struct str text)
{
    if (text.len == SIZE_MAX)
        return NULL;
    char *copy = malloc(text.len + 1);
    if (copy == NULL)
        return NULL;
    if (text.len > 0)
        memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    return copy;
}

void mem_free(void *memory)
{
    free(memory);
}
