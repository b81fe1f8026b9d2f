/* Orders: a cancel of every run that a selector matches, and a hold that refuses new ones.
 *
 * An order is written down in bw:orders before the fleet is scanned for it; a fresh start reads the
 * version once more after its own script. So a run that a hold matches was either there before the
 * order, and the scan finds it, or its agentd learns of the hold and stops it. */
#ifndef CORE_ORDER_H
#define CORE_ORDER_H

#include "core/message.h"

enum {
    ORDERS_MAX = 1000,        /* kept; one more takes the place of one that is done */
    ORDER_FAILURES_MAX = 100, /* named in the progress */
    HOLDS_MAX = 256           /* that hold at once; one more is refused */
};

/* What was given must be equal; what was not given matches everything. Nothing given: `all`. */
struct order_selector {
    bool all;
    struct str root, agent, thread;
    size_t label_count;
    struct label label[LABELS_MAX];
};

enum order_action { ORDER_INTERRUPT, ORDER_ROLLBACK, ORDER_HOLD_ONLY };
const char *order_action_name(enum order_action action); /* "interrupt" "rollback" "none" */

/* Stored once, never changed. Strings are borrowed from the bytes it was decoded from. */
struct order {
    struct order_selector selector;
    enum order_action action;
    struct str reason, by;
    struct wall at;
    struct span grace; /* of its cancels; SPAN_NONE */
    struct span hold;  /* as it was asked for; 0: none */
};

/* How far its scan is, for whoever asks; written by the broker that carries it out. */
struct order_progress {
    bool is_done;
    int64_t roots;                              /* trees that were read */
    int64_t matched;                            /* live runs; in observe mode too */
    int64_t accepted, already, covered, failed; /* covered: below another one that matched */
    struct wall finished;
    size_t failure_count;
    struct order_failure {
        struct str root, run, code; /* code: of core/problem.h */
    } failure[ORDER_FAILURES_MAX];
};

bool order_selects(const struct order_selector *selector, struct str root,
                   const struct run_meta *meta);
/* Is anything given, or `all`? An empty selector is a mistake. */
bool order_selects_something(const struct order_selector *selector);

#endif
