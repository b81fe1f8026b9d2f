/* Ids and paths: who is who in a tree of runs.
 *
 * A run id is 1..64 of [A-Za-z0-9_-]. A path is ids joined by dots, from the root to the run
 * itself, at most PATH_MAX_IDS of them. Two shapes are ours alone, so that a root can be read off
 * an id: root   "0" + 20 of [0-9A-Za-z]             names its own tree child  <such a root> "-"
 * + 1..16 of [0-9A-Za-z] A client that brings an id of these shapes is refused (422). */
#ifndef CORE_ID_H
#define CORE_ID_H

#include "base/rng.h"
#include "base/str.h"

enum {
    RUN_ID_MAX = 64,
    PATH_MAX_IDS = 128,
    PATH_MAX_BYTES = PATH_MAX_IDS * (RUN_ID_MAX + 1),
    ROOT_MINTED_LEN = 21,
    NAME_MAX_BYTES = 64 /* incarnations, replica ids, client ids */
};

/* NUL-terminated; passed by value. */
struct run_id {
    char text[RUN_ID_MAX + 1];
};

bool id_is_valid(struct str text);
/* What another protocol calls a run: 1..ALIAS_MAX visible ASCII characters. */
enum { ALIAS_MAX = 128 };
bool alias_is_valid(struct str text);
/* False, and out untouched, unless id_is_valid(). */
bool id_parse(struct str text, struct run_id *out);
struct str id_str(const struct run_id *id); /* lends */
bool id_eq(const struct run_id *a, const struct run_id *b);

bool id_is_minted(struct str id);
/* The root that a minted id names; STR_NONE for an id of any other shape. Lends from `id`. */
struct str id_minted_root(struct str id);
struct run_id id_mint_root(struct rng *rng);
/* A child's id: it names `root` where root is minted; else "r" + 20 characters, and the caller
 * must write bw:find for it. */
struct run_id id_mint_child(struct rng *rng, struct str root);

/* A path is valid when it has 1..128 ids, all valid. A cut path has an empty one behind the root:
 * "root..x.y" says that what was between root and x is not told. */
bool path_is_valid(struct str path);
bool path_is_cut(struct str path);
size_t path_depth(struct str path);            /* number of ids; 1 for a root */
struct str path_root(struct str path);         /* first id */
struct str path_self(struct str path);         /* last id */
struct str path_parent(struct str path);       /* last but one id; STR_NONE for a root */
bool path_has(struct str path, struct str id); /* as one of its ids, never as a part of one */

#endif
