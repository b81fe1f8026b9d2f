/* What the files of the model share: what it keeps. Every text is copied once into the model's pool
 * and never freed before the model is, so everything else may be copied as it is. */
#ifndef SUPPORT_MODEL_INSIDE_H
#define SUPPORT_MODEL_INSIDE_H

#include "base/buf.h"
#include "base/map.h"
#include "support/model.h"

enum { FOREVER = -1 };

struct model_run {
    struct str id;
    bool stored; /* s: is there; false: only fields of it that outlived nothing */
    enum run_state state, finished;
    uint32_t epoch, flags, parent_epoch, children;
    struct str incarnation, owner, parent;
    bool has_meta, has_story, has_record, has_counts, has_write_id, is_marked;
    struct str meta, story, record, write_id;
    int64_t deadline; /* 0: none */
    unsigned delivered, acknowledged, stopped, unresponsive;
    uint32_t lost_epoch; /* x:, when is_marked */
    struct str loss;
    unsigned links; /* ever made */
};

struct model_link {
    struct str run, id, bytes;
};

struct model_tree {
    struct str root;
    int64_t expires;
    bool has_n, has_b;
    int64_t n, b;
    struct map by_id;
    size_t run_count, run_room;
    struct model_run **run;
    size_t link_count, link_room;
    struct model_link *link;
};

struct model_value { /* a string key */
    struct str key, value;
    int64_t expires;
};
struct model_member { /* of a set or sorted set */
    struct str key, member;
    int64_t score;
};

struct model_order {
    struct str id, record, progress;
    int64_t hold_until, kept_until, lifted;
};

struct model_entry { /* of a run in a thread */
    struct str thread, run, root;
    char letter;
    enum multitask multitask;
    int64_t number, at;
};
struct model_thread {
    struct str name;
    int64_t last_number, expires;
};

struct model_keys { /* all that Redis holds, and that a snapshot copies */
    size_t tree_count, tree_room;
    struct model_tree **tree;
    size_t value_count, value_room;
    struct model_value *value;
    size_t member_count, member_room;
    struct model_member *member;
    size_t order_count, order_room;
    struct model_order *order;
    int64_t orders_version;
    size_t entry_count, entry_room;
    struct model_entry *entry;
    size_t thread_count, thread_room;
    struct model_thread *thread;
};

struct model_snapshot {
    struct model_keys keys;
};

struct pool_chunk;

struct model {
    uint64_t seed;
    int64_t now, ttl;
    struct model_keys keys;
    struct pool_chunk *pool;
    size_t message_count, message_room;
    struct model_message *message;
    int64_t (*receivers)(void *owner, struct str root);
    void *receivers_owner;
    struct str unwritable; /* at NULL: writable */
    struct store_item item[STORE_ITEMS_MAX];
    size_t list_room, score_room, order_room;
    struct store_order *order;
    struct str *list;
    int64_t *score;
    struct tree *tree; /* of the last STORE_TREE */
};

struct str pool_keep(struct model *model, struct str text);
struct str pool_keepf(struct model *model, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A new last element, zeroed. */
void *model_append(void **array, size_t *count, size_t *room, size_t size);

/* ---- model_tree.c: a tree and what is banned in it */
struct model_tree *model_tree_find(const struct model *model,
                                   struct str root); /* NULL: no such key */
struct model_tree *model_tree_make(struct model *model, struct str root);
void model_tree_free(struct model_tree *tree);
struct model_run *model_run_find(const struct model_tree *tree, struct str id); /* only if stored */
struct model_run *model_run_make(struct model *model, struct model_tree *tree, struct str id);
struct model_link *model_link_find(const struct model_tree *tree, struct str run, struct str id);

/* The ids of a claimed path that are not stored, and the run that is about to be, taken as if they
 * were stored. */
struct supposed {
    struct str id, parent;
    uint32_t flags, parent_epoch;
};
struct supposition {
    size_t count;
    struct supposed item[PATH_MAX_IDS + 2];
};
struct bans {
    size_t count;
    struct str id[2 * PATH_MAX_IDS];
};
/* Every ban at or above `run`, nearest first; where there is none, those of the claimed ids. */
void model_bans(const struct model_tree *tree, const struct supposition *supposed, struct str run,
                struct str claimed, struct bans *out);
struct str model_record_of(const struct model_tree *tree, struct str id);
/* Root to run, by stored parents. */
struct str model_path(struct model *model, const struct model_tree *tree,
                      const struct supposition *supposed, struct str run);
bool model_has(const struct model_run *run, uint32_t flags);
/* on_lost = continue: was it lost, and may its own life go on with it? */
bool model_may_return(const struct model_run *run);
void model_publish(struct model *model, struct str root, bool watch, struct str bytes);
void model_commit(struct model *model, struct model_tree *tree); /* a TTL where nothing lives */
void model_lives_again(struct model_tree *tree);                 /* n+1, no TTL */
void model_ban(struct model *model, struct model_tree *tree, struct model_run *run,
               struct str record);
void model_stop(struct model_run *run); /* running -> stopping, but in mode observe */
void model_count(struct model_tree *tree, struct model *model, const struct bans *bans,
                 int delivered, int acknowledged, int stopped, int unresponsive);
void model_tell_ended(struct model *model, const struct model_tree *tree,
                      const struct model_run *run);

/* ---- the scripts */
typedef void model_op(struct model *model, const struct store_call *call, struct store_answer *out);
model_op model_start, model_assert; /* model_start.c */
model_op model_cancel, model_end, model_report, model_reconcile, model_lost, model_link_op,
    model_checkpoint, model_peek, model_sync; /* model_runs.c */
bool model_plain(struct model *model, const struct store_call *call, struct store_answer *out);
bool model_threads(struct model *model, const struct store_call *call, struct store_answer *out);
bool model_orders(struct model *model, const struct store_call *call, struct store_answer *out);

#endif
