/* Memory, so that lib/core needs no stdlib.h. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

#include "base/str.h"

/* Zeroed; NULL when there is none. */
void *mem_new(size_t bytes) __attribute__((malloc));
/* Grows `*array` (elements of `size` bytes, `*room` of them allocated) to hold at least `wanted`.
 * New elements are not initialised. False, with everything unchanged, when memory ran out. */
bool mem_grow(void **array, size_t *room, size_t size, size_t wanted);
/* A NUL-terminated copy; NULL when there is no memory. */
char *mem_copy(struct str text);
void mem_free(void *memory); /* NULL is fine */

#endif
