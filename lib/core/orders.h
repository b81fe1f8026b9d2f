/* Fleet orders, from the question to the last run that was cancelled for them.
 *
 * One `struct orders` per broker. It counts what a selector matches (dry_run, expect_at_most),
 * writes the order down, answers, and then scans all trees and asks for a cancel of every live run
 * that matches, the topmost ones of each tree. Whoever carries an order out holds its lock in
 * Redis; when that broker dies another one finds the order unfinished and begins its scan again:
 * cancelling twice is cancelling once. A Redis that forgot is told the order again. Pure. */
#ifndef CORE_ORDERS_H
#define CORE_ORDERS_H

#include "base/err.h"
#include "core/cancels.h"
#include "core/order.h"
#include "core/problem.h"
#include "core/store_call.h"

struct order_ask {
    uint64_t ask;
    struct str id;     /* 1..64 of [A-Za-z0-9_-] */
    struct str record; /* encoded order */
    bool dry_run;
    int64_t expect_at_most; /* -1: any number */
};

/* Lent for the call that hands it over. */
struct order_result {
    enum problem problem;
    const char *detail;
    struct str id, record; /* what is stored: the first one's, when already */
    bool already, dry_run;
    const struct order_progress *progress;
};

enum orders_event_kind {
    ORDERS_ASK,             /* asked */
    ORDERS_ANSWER,          /* token, answer */
    ORDERS_CANCEL_ANSWERED, /* ask, result: of an ORDERS_DO_ASK_CANCEL */
    ORDERS_LINK_UP,         /* lost: Redis may have forgotten */
    ORDERS_LINK_DOWN,
    ORDERS_TIME_PASSED
};
struct orders_event {
    enum orders_event_kind kind;
    struct instant at;
    struct wall wall;
    uint64_t token, ask;
    bool lost;
    const struct order_ask *asked;
    const struct store_answer *answer;
    const struct cancel_result *result;
};
enum orders_effect_kind {
    ORDERS_DO_CALL,       /* token, call */
    ORDERS_DO_ASK_CANCEL, /* ask, cancel */
    ORDERS_DO_ANSWER,     /* ask, result */
    ORDERS_DO_LOG         /* result: this order is carried out (progress says how) */
};
struct orders_effect {
    enum orders_effect_kind kind;
    uint64_t token, ask;
    union { /* one of them at a time */
        struct store_call call;
        struct cancel_ask cancel;
        struct order_result result;
    };
};
struct orders_effects { /* owned by the caller, emptied by each step; zero is empty */
    size_t count, room;
    struct orders_effect *item;
};

struct orders_options {
    struct str id;        /* of this broker, who holds the locks */
    struct span remember; /* 15 min: an order of ours is told again to a Redis that forgot */
    struct span lease; /* after a loss runs come back for two of them: then it is scanned again */
    size_t jobs_max;   /* carried out at once; one more is refused `overloaded` */
    uint64_t token_base;
    bool (*decode_order)(struct str bytes, struct order *out);
    bool (*decode_meta)(struct str bytes, struct run_meta *out);
    bool (*decode_progress)(struct str bytes, struct order_progress *out);
    size_t (*encode_progress)(const struct order_progress *progress, char *out);
};

struct orders;
struct orders *orders_new(const struct orders_options *options); /* NULL: no memory */
void orders_free(struct orders *orders);
/* ERR_NOMEM: what is in `todo` stands; the rest is done again at the next look. */
enum err orders_step(struct orders *orders, const struct orders_event *event,
                     struct orders_effects *todo) MUST_CHECK;
struct instant orders_deadline(const struct orders *orders);
size_t orders_open(const struct orders *orders); /* being carried out here */

#endif
