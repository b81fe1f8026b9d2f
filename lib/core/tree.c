#include "core/tree.h"

#include "base/mem.h"

/* Everything in a tree is freed at once, so it is cut from chunks. */
struct tree_chunk {
    struct tree_chunk *next;
    size_t used, room;
    char bytes[];
};

enum { CHUNK_BYTES = 16384, ALIGNMENT = 16 };

static struct tree_chunk *chunk_with(struct tree *tree, size_t bytes)
{
    struct tree_chunk *chunk = tree->memory;
    if (chunk != NULL && bytes <= chunk->room - chunk->used)
        return chunk;
    size_t room = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
    chunk = room > SIZE_MAX / 2 ? NULL : mem_new(sizeof *chunk + room);
    if (chunk == NULL)
        return NULL;
    chunk->room = room;
    chunk->next = tree->memory;
    tree->memory = chunk;
    return chunk;
}

static void *take_aligned(struct tree *tree, size_t bytes)
{
    struct tree_chunk *chunk = chunk_with(tree, bytes + ALIGNMENT);
    if (chunk == NULL)
        return NULL;
    uintptr_t at = (uintptr_t)(chunk->bytes + chunk->used);
    chunk->used += (ALIGNMENT - at % ALIGNMENT) % ALIGNMENT;
    void *taken = chunk->bytes + chunk->used;
    chunk->used += bytes;
    return taken;
}

enum err tree_keep(struct tree *tree, struct str text, struct str *out)
{
    if (text.len == 0) {
        *out = STR_NONE;
        return ERR_OK;
    }
    struct tree_chunk *chunk = chunk_with(tree, text.len);
    if (chunk == NULL)
        return ERR_NOMEM;
    char *copy = chunk->bytes + chunk->used;
    memcpy(copy, text.at, text.len);
    chunk->used += text.len;
    *out = (struct str){copy, text.len};
    return ERR_OK;
}

void tree_init(struct tree *tree)
{
    *tree = (struct tree){0};
}

void tree_fini(struct tree *tree)
{
    while (tree->memory != NULL) {
        struct tree_chunk *chunk = tree->memory;
        tree->memory = chunk->next;
        mem_free(chunk);
    }
    map_fini(&tree->by_id);
    mem_free(tree->run);
    mem_free(tree->link);
    *tree = (struct tree){0};
}

struct tree_run *tree_find(const struct tree *tree, struct str id)
{
    return map_find(&tree->by_id, id);
}

struct tree_run *tree_run_named(struct tree *tree, struct str id)
{
    struct tree_run *run = tree_find(tree, id);
    if (run != NULL)
        return run;
    void *runs = tree->run;
    if (!mem_grow(&runs, &tree->run_room, sizeof *tree->run, tree->run_count + 1))
        return NULL;
    tree->run = runs;
    run = take_aligned(tree, sizeof *run);
    if (run == NULL)
        return NULL;
    *run = (struct tree_run){0};
    if (tree_keep(tree, id, &run->id) != ERR_OK || !map_add(&tree->by_id, run->id, run))
        return NULL;
    tree->run[tree->run_count++] = run;
    return run;
}

static struct tree_link *find_link(const struct tree *tree, const struct tree_run *run,
                                   struct str id)
{
    for (size_t number = run->last_link; number > 0; number = tree->link[number - 1].earlier)
        if (str_eq(tree->link[number - 1].id, id))
            return &tree->link[number - 1];
    return NULL;
}

enum err tree_add_link(struct tree *tree, struct str run, struct str id, struct str link,
                       const struct run_link *decoded)
{
    struct tree_run *from = tree_run_named(tree, run);
    void *links = tree->link;
    if (from == NULL
        || !mem_grow(&links, &tree->link_room, sizeof *tree->link, tree->link_count + 1))
        return ERR_NOMEM;
    tree->link = links;

    struct tree_link new = {.from = from,
                            .kind = decoded->kind,
                            .acknowledged = decoded->acknowledged,
                            .earlier = from->last_link};
    if (tree_keep(tree, id, &new.id) != ERR_OK || tree_keep(tree, link, &new.link) != ERR_OK
        || tree_keep(tree, decoded->to, &new.to) != ERR_OK)
        return ERR_NOMEM;
    struct tree_link *old = find_link(tree, from, id);
    if (old != NULL) {
        new.earlier = old->earlier;
        *old = new;
        return ERR_OK;
    }
    tree->link[tree->link_count++] = new;
    from->last_link = tree->link_count;
    return ERR_OK;
}

/* A takeover leaves its id free and bans what was started by the life that was lost. */
static bool is_child_of_a_lost_life(const struct tree_run *run)
{
    const struct tree_run *up = run->up;
    return up != NULL && up->lost_epoch > 0 && run->parent_epoch <= up->lost_epoch;
}

/* The ban that a run meets before it asks its parent; NULL if none. */
static struct tree_run *own_ban(struct tree_run *run)
{
    if ((run->flags & RUN_FLAG_BANNED) != 0)
        return run;
    return is_child_of_a_lost_life(run) ? run->up : NULL;
}

static struct tree_run *ban_by_walking(struct tree_run *run)
{
    struct tree_run *ban = NULL;
    for (size_t steps = 0; run != NULL && ban == NULL && steps < PATH_MAX_IDS; steps++) {
        ban = own_ban(run);
        run = run->up;
    }
    return ban;
}

/* Climbs to the first run that is joined already and comes back down the same way, so that every
 * run is climbed to once. Stored parents are only as good as what wrote them: a circle fills the
 * way with its members, and then the topmost of them is asked on its own. */
static void join_upwards(struct tree_run *run)
{
    struct tree_run *way[PATH_MAX_IDS];
    size_t steps = 0;
    for (; run != NULL && run->depth == 0 && steps < PATH_MAX_IDS; run = run->up)
        way[steps++] = run;
    bool above_is_known = run == NULL || run->depth > 0;
    while (steps > 0) {
        struct tree_run *at = way[--steps];
        if (above_is_known) {
            struct tree_run *own = own_ban(at);
            at->ban = own != NULL || at->up == NULL ? own : at->up->ban;
            at->depth = at->up != NULL ? at->up->depth + 1 : 1;
        } else {
            at->ban = ban_by_walking(at);
            at->depth = 1;
        }
        above_is_known = true;
    }
}

void tree_join(struct tree *tree)
{
    for (size_t i = 0; i < tree->run_count; i++) {
        struct tree_run *run = tree->run[i];
        run->up = run->parent.len > 0 ? tree_find(tree, run->parent) : NULL;
        run->ban = NULL;
        run->depth = 0;
    }
    for (size_t i = 0; i < tree->run_count; i++)
        join_upwards(tree->run[i]);
}

bool tree_is_below(const struct tree_run *run, const struct tree_run *target)
{
    for (size_t steps = 0; run != NULL && steps < PATH_MAX_IDS; steps++) {
        if (run == target)
            return true;
        run = run->up;
    }
    return false;
}

enum { MARK_UNKNOWN, MARK_IN, MARK_OUT };

void tree_unmark(const struct tree *tree)
{
    for (size_t i = 0; i < tree->run_count; i++)
        tree->run[i]->mark = MARK_UNKNOWN;
}

void tree_mark(const struct tree *tree, struct str target)
{
    struct tree_run *run = tree_find(tree, target);
    if (run != NULL)
        run->mark = MARK_IN;
}

/* Whoever is on the way up has the same answer, unless the way is too long: then it is a circle. */
bool tree_is_marked(struct tree_run *run)
{
    struct tree_run *way[PATH_MAX_IDS], *top = run;
    size_t steps = 0;
    for (; top->mark == MARK_UNKNOWN && top->up != NULL && steps < PATH_MAX_IDS; top = top->up)
        way[steps++] = top;
    bool is_known = top->mark != MARK_UNKNOWN || top->up == NULL;
    uint8_t mark = top->mark == MARK_IN ? MARK_IN : MARK_OUT;
    (is_known ? top : run)->mark = mark;
    for (size_t i = 0; i < steps && is_known; i++)
        way[i]->mark = mark;
    return run->mark == MARK_IN;
}
