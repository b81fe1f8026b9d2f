/* A whole tree as read from Redis, and the honest count of what a cancel has reached in it. */
#ifndef CORE_TREE_H
#define CORE_TREE_H

#include "base/err.h"
#include "base/map.h"
#include "core/message.h"

struct tree_run { /* strings are owned by the tree: put there by tree_keep() */
    struct str id, parent, incarnation, owner;
    enum run_state state, finished_anyway;
    uint32_t epoch, parent_epoch, flags, children;
    struct str meta, story; /* encoded, "" if none */
    int64_t deadline_ms;    /* Unix ms by Redis' clock, 0 = none */
    struct tree_run *up;    /* after tree_join(); NULL for a root or an unknown parent */
    struct tree_run *ban;   /* nearest banned at or above, after tree_join() */
    uint32_t depth;         /* 1 for a root or below an unknown parent, after tree_join() */
    struct str record;      /* encoded, only where this run is a target */
    uint32_t lost_epoch;    /* x: of a takeover */
    struct str loss;        /* x: record of that loss */
    uint8_t mark;           /* of tree_mark() */
    size_t last_link;       /* number of its link that was added last, from 1; 0: it has none */
};
struct tree_link {
    struct tree_run *from;
    struct str id;   /* n */
    struct str link; /* encoded run_link, and the same decoded */
    enum link_kind kind;
    struct str to;
    bool acknowledged;
    size_t earlier; /* number of the link of the same run added before it, 0: none */
};
struct tree_chunk;
struct tree {
    struct str root;
    struct map by_id;
    size_t run_count, run_room;
    struct tree_run **run;
    size_t link_count, link_room;
    struct tree_link *link;
    int64_t live; /* field n */
    int64_t bans; /* field b */
    struct tree_chunk *memory;
};

void tree_init(struct tree *tree);
void tree_fini(struct tree *tree);
/* Lends; makes an empty one of state NONE if it is new. NULL when there is no memory. */
struct tree_run *tree_run_named(struct tree *tree, struct str id);
struct tree_run *tree_find(const struct tree *tree, struct str id); /* NULL if unknown */
/* A link of the same run and id is replaced: a scan may show it twice. */
enum err tree_add_link(struct tree *tree, struct str run, struct str id, struct str link,
                       const struct run_link *decoded) MUST_CHECK;
/* A copy of `text` that lives as long as the tree. */
enum err tree_keep(struct tree *tree, struct str text, struct str *out) MUST_CHECK;
/* After everything was added: resolves `up` and `ban`, bounded against cycles. Call again after
 * changes. Children started under an epoch <= lost_epoch of a takeover count as banned by it. */
void tree_join(struct tree *tree);
/* Is `run` the target or below it? */
bool tree_is_below(const struct tree_run *run, const struct tree_run *target);

/* The same for many targets in one go: unmark all, mark the targets, ask for each run. What was
 * asked once is remembered until all are unmarked again. */
void tree_unmark(const struct tree *tree);
void tree_mark(const struct tree *tree, struct str target); /* nothing, if it is not there */
bool tree_is_marked(struct tree_run *run);                  /* it, or one above it */

enum { TALLY_NAMES_MAX = 100 };
struct tally_names {
    size_t count;                     /* all of them */
    struct str name[TALLY_NAMES_MAX]; /* the first of them; lent by the tree */
};
/* The answer to "what has this cancel reached?". Each run in scope is counted once in `runs`, and
 * in exactly one of stopped, unresponsive, suspect, lost, or, while still stopping, `pending`. */
struct tally {
    size_t runs;      /* in scope, that ever started */
    size_t requested; /* = runs that were live when counted or were stopped under the ban */
    size_t delivered, acknowledged; /* told / said so, ended ones included */
    size_t finished_before;         /* ended before any ban reached them; not part of `requested` */
    struct tally_names stopped, pending, unresponsive, suspect, lost, finished_anyway, observed;
    struct tally_names isolated; /* replicas without a lease that hold suspect or lost runs of it */
    size_t links, links_acknowledged;
    bool all_delivered; /* every live run in scope was told; links acknowledged */
    bool complete; /* nothing pending, unresponsive, suspect, lost, observed; links acknowledged */
};
void tally_scope(const struct tree *tree, const struct tree_run *target, struct tally *out);
/* Of all that is marked, each run once, but for `spared` (NULL: nobody); the links of the spared
 * one count. */
void tally_marked(const struct tree *tree, const struct tree_run *spared, struct tally *out);
/* The same without the target itself; its own links count, for they are told as its children are.
 */
void tally_below(const struct tree *tree, const struct tree_run *target, struct tally *out);

#endif
