/* What orders.c (asking, writing, remembering) and orders_scan.c (the fleet) share. */
#ifndef CORE_ORDERS_INSIDE_H
#define CORE_ORDERS_INSIDE_H

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/arena.h"
#include "core/id.h"
#include "core/orders.h"
#include "core/tree.h"

enum {
    SHARDS = 64,
    ROOTS_AT_ONCE = 200,  /* of one read of the list */
    TREES_AT_ONCE = 8,    /* reads on their way */
    CANCELS_AT_ONCE = 64, /* asked and not yet answered */
    LOOK_EVERY_MS = 1000,
    LOCK_MS = 10000,
    LOCK_AGAIN_MS = 3000,
    FIND_UNFINISHED_MS = 5000
};

enum job_phase {
    JOB_COUNTING, /* before it is written */
    JOB_WRITING,
    JOB_SCANNING,
    JOB_WAITING, /* for Redis: then it scans from the beginning */
    JOB_DONE     /* remembered */
};

struct wanted_cancel {
    struct run_id root, run;
};

struct job {
    struct link in_jobs;
    struct run_id id;
    struct order order;                    /* borrows from bytes */
    char by[sizeof "order:" + RUN_ID_MAX]; /* of its cancels: "order:<id>" */
    enum job_phase phase;
    uint32_t round;           /* answers of earlier ones are ignored */
    uint64_t ask;             /* waits for its answer; 0: nobody does */
    bool dry_run, is_foreign; /* foreign: another broker wrote it down and did not finish */
    int64_t expect_at_most;
    struct instant forget, lock_due, hold_until, again; /* again: waits until then */
    bool is_unsaid;    /* its progress has changed since it was written */
    bool is_forgotten; /* by Redis, perhaps: told again until it is there */
    bool is_lifted;
    struct order_progress progress;
    struct run_id failed_root[ORDER_FAILURES_MAX], failed_run[ORDER_FAILURES_MAX];

    /* the scan */
    uint32_t shard;
    int64_t from_score;
    bool reads_roots, roots_are_done;
    size_t root_count, root_room, root_at, trees_open;
    struct run_id *root;
    size_t wanted_count, wanted_room, wanted_at, cancels_open;
    struct wanted_cancel *wanted;

    size_t len;
    char bytes[];
};

enum job_purpose {
    FOR_ROOTS_OF_SHARD,
    FOR_TREE,
    FOR_WRITE,
    FOR_LOCK_OF_JOB,
    FOR_VERSION,
    FOR_ALL, /* orders that nobody finished */
    FOR_PROGRESS,
    FOR_NOBODY
};
struct job_call {
    uint64_t token; /* the key */
    enum job_purpose purpose;
    struct run_id job, root;
    uint32_t round;
};
struct job_cancel {
    uint64_t ask; /* the key */
    struct run_id job, root, run;
    uint32_t round;
};

struct orders {
    struct orders_options options;
    struct instant now, next_look, find_due;
    struct instant settled; /* what a loss took away is told again by then */
    struct wall wall;
    struct orders_effects *todo;
    bool failed, is_linked, is_finding, some_are_unfinished;
    int64_t version; /* when it was last looked for unfinished ones; -1: never */
    struct arena arena;
    struct list jobs;
    size_t job_count;
    struct map calls, cancels;
    uint64_t last_token, last_ask;
};

/* orders.c */
struct orders_effect *orders_want(struct orders *o, enum orders_effect_kind kind); /* or NULL */
bool orders_call(struct orders *o, const struct job *job, enum job_purpose purpose, struct str root,
                 const struct store_call *call);
void job_counted(struct orders *o, struct job *job);
void job_carried_out(struct orders *o, struct job *job);
void job_wait(struct orders *o, struct job *job); /* Redis is in trouble */

/* orders_scan.c */
void scan_begin(struct orders *o, struct job *job);
void scan_answered(struct orders *o, struct job *job, const struct job_call *call,
                   const struct store_answer *answer);
void scan_cancelled(struct orders *o, struct job *job, const struct job_cancel *cancel,
                    const struct cancel_result *result);

#endif
