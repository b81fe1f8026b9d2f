/* Memory that lives until the next step of a core: what its effects point to. */
#ifndef CORE_ARENA_H
#define CORE_ARENA_H

#include <stddef.h>

#include "base/str.h"

struct arena_chunk;
struct arena { /* all zero is empty */
    struct arena_chunk *chunk;
};

void *arena_take(struct arena *arena, size_t bytes); /* NULL: no memory */
/* The last `bytes` of what was taken last are not needed. */
void arena_give_back(struct arena *arena, size_t bytes);
struct str arena_copy(struct arena *arena,
                      struct str text); /* NUL-terminated; STR_NONE: no memory */
void arena_reset(struct arena *arena);  /* keeps one chunk */
void arena_fini(struct arena *arena);

#endif
