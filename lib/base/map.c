#include "base/map.h"

#include <stdlib.h>

/* Linear probing. A slot whose element was taken is marked, not filled from behind: a walk then
 * meets every element exactly once, whatever it takes out on its way. The marks go when the slots
 * are laid out anew, at the latest when three quarters are in use. */
enum { ROOM_MIN = 8 };

static const char was_taken[1]; /* the key of a marked slot points here */

static bool is_marked(const struct map_slot *slot)
{
    return slot->key.at == was_taken;
}

static bool is_free(const struct map_slot *slot)
{
    return slot->value == NULL && !is_marked(slot);
}

static uint32_t hash_of(const struct map *map, struct str key)
{
    const uint64_t odd = UINT64_C(0x9fb21c651e98df25);
    uint64_t hash = (map->seed ^ (uint64_t)key.len << 32) * odd;
    size_t i = 0;
    for (uint64_t word; key.len - i >= sizeof word; i += sizeof word) {
        memcpy(&word, key.at + i, sizeof word);
        hash = (hash ^ word) * odd;
        hash ^= hash >> 32;
    }
    uint64_t last = 0;
    if (i < key.len)
        memcpy(&last, key.at + i, key.len - i);
    hash = (hash ^ last) * odd;
    hash = (hash ^ hash >> 29) * odd;
    return (uint32_t)(hash >> 32);
}

static struct map_slot *slot_of(const struct map *map, struct str key)
{
    if (map->count == 0)
        return NULL;
    uint32_t hash = hash_of(map, key);
    for (size_t i = hash;; i++) {
        struct map_slot *slot = &map->slots[i & (map->room - 1)];
        if (is_free(slot))
            return NULL;
        if (slot->value != NULL && slot->hash == hash && str_eq(slot->key, key))
            return slot;
    }
}

static void put(struct map *map, struct map_slot element)
{
    size_t i = element.hash;
    while (!is_free(&map->slots[i & (map->room - 1)]))
        i++;
    map->slots[i & (map->room - 1)] = element;
}

/* Lays all out anew so that, with one more, at most half of the slots are in use. */
static bool lay_out(struct map *map)
{
    size_t room = ROOM_MIN;
    while (room / 2 < map->count + 1)
        room *= 2;
    struct map next = {.room = room, .seed = map->seed, .count = map->count, .used = map->count};
    next.slots = calloc(room, sizeof *next.slots);
    if (next.slots == NULL)
        return false;
    for (size_t i = 0; i < map->room; i++)
        if (map->slots[i].value != NULL)
            put(&next, map->slots[i]);
    free(map->slots);
    *map = next;
    return true;
}

void map_fini(struct map *map)
{
    free(map->slots);
    *map = (struct map){.seed = map->seed};
}

void *map_find(const struct map *map, struct str key)
{
    struct map_slot *slot = slot_of(map, key);
    return slot != NULL ? slot->value : NULL;
}

bool map_add(struct map *map, struct str key, void *value)
{
    if (map->used + 1 > map->room / 4 * 3 && !lay_out(map))
        return false;
    put(map, (struct map_slot){.key = key, .value = value, .hash = hash_of(map, key)});
    map->count++;
    map->used++;
    return true;
}

void *map_take(struct map *map, struct str key)
{
    struct map_slot *slot = slot_of(map, key);
    if (slot == NULL)
        return NULL;
    void *value = slot->value;
    *slot = (struct map_slot){.key = {was_taken, 0}};
    map->count--;
    return value;
}

void *map_next(const struct map *map, size_t *at)
{
    while (*at < map->room) {
        void *value = map->slots[(*at)++].value;
        if (value != NULL)
            return value;
    }
    return NULL;
}
