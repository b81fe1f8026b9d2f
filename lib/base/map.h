/* From short text to a pointer. Open addressing, keys borrowed from the objects they name.
 *
 * Not safe against additions while being walked; removals of any element are. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/str.h"

struct map_slot {
    struct str key; /* lives in the object `value` points to */
    void *value;    /* NULL: free, or its element was taken */
    uint32_t hash;
};

struct map { /* all zero is an empty map */
    struct map_slot *slots;
    size_t room;
    size_t count;
    size_t used;   /* slots that a search must step over: the elements, and the taken ones */
    uint32_t seed; /* set it before the first add where keys come from strangers */
};

void map_fini(struct map *map); /* the objects stay the caller's */
void *map_find(const struct map *map, struct str key);
/* `key` must stay valid and unchanged while it is in the map, and must not be in it yet.
 * False when there is no memory. */
bool map_add(struct map *map, struct str key, void *value);
/* The value that was taken out, NULL if there was none. */
void *map_take(struct map *map, struct str key);
/* Walk in no fixed order: `for (size_t i = 0; (v = map_next(&map, &i)) != NULL;)`. */
void *map_next(const struct map *map, size_t *at);

#endif
