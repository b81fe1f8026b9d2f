/* Cancels asked for here: from the question to the honest answer.
 *
 * One `struct cancels` per daemon, the same in agentd and broker. It finds the root of a bare id,
 * records the cancel (one script), looks below a target that is over, cancels the children alone
 * (include_self false), waits for `delivered` or `stopped` by reading the tree again on every hint
 * from the watch channel and every second, and holds what it issued in the last 15 minutes so that
 * a Redis that forgot is told again. Pure: events in, effects out. */
#ifndef CORE_CANCELS_H
#define CORE_CANCELS_H

#include "base/err.h"
#include "core/problem.h"
#include "core/store_call.h"
#include "core/tree.h"

enum cancel_wait { WAIT_NONE, WAIT_DELIVERED, WAIT_STOPPED };

struct cancel_ask {
    uint64_t ask;    /* names it in the answer; 0: nobody wants the answer */
    struct str run;  /* the target */
    struct str root; /* "" = find it */
    enum action action;
    struct str reason, by, trace_id;
    struct span grace; /* SPAN_NONE */
    enum cancel_wait wait;
    struct span timeout;
    bool remember_unknown; /* if_unknown = remember: leave a tombstone */
    bool force;            /* a link or a re-assertion: tombstone in `root` without asking find */
    bool even_if_over;     /* ban a run that has ended, too: nothing may go on from it later */
    bool dry_run;
    int64_t expect_at_most; /* -1: any number */
    bool include_self;
    struct str cause; /* "" = its own id */
    uint32_t hops;
    enum durability durability; /* that the answer waits for, within bounds */
    bool follow_links; /* a broker: read the tree once after accepting and follow its links */
};

/* The answer. Strings and tree are lent for the call that hands it over. */
struct cancel_result {
    enum problem problem; /* NONE: requested */
    const char *detail;   /* text for a person when there is a problem */
    struct str root, run;
    struct cancel_record
        record; /* what is stored (the first one's, not the caller's, when already) */
    bool known; /* false: nobody has seen this id, a tombstone waits for it */
    bool already;
    struct str covered_by;
    enum run_state target_state;
    enum durability durability, durability_asked; /* reached, within what was asked for */
    const char *not_durable;                      /* why less was reached; NULL: it was not less */
    enum cancel_wait wait;
    bool awaited; /* what was waited for is true (200); else 202 */
    bool counted; /* tally is valid */
    struct tally tally;
    bool dry_run;
    size_t child_count;       /* include_self false: one cancel per child */
    const struct str *child;  /* their cancel ids: "<root>.<child>" */
    bool closed;              /* no run can start in the scope any more */
    size_t unconfirmed_count; /* replicas that have not asserted since the last loss */
    const struct str *unconfirmed;
};

enum cancels_event_kind {
    CANCELS_ASK,     /* ask */
    CANCELS_ABANDON, /* ask id: whoever asked has gone; the cancel itself stays */
    CANCELS_GIVE_UP, /* ask id: its wait is over now; it is answered as soon as it is recorded */
    CANCELS_ANSWER,  /* token, answer */
    CANCELS_HINT,    /* root: something was published on its watch channel */
    CANCELS_LINK_UP, /* lost: the generation changed, Redis may have forgotten */
    CANCELS_LINK_DOWN,
    CANCELS_TIME_PASSED
};
struct cancels_event {
    enum cancels_event_kind kind;
    struct instant at;
    struct wall wall;
    const struct cancel_ask *asked;
    uint64_t ask, token;
    const struct store_answer *answer;
    struct str root;
    bool lost;
    struct str generation; /* link_up: what the lease of a replica that has asserted holds; "" =
                              nobody knows, then only time tells that a loss is settled */
};
enum cancels_effect_kind {
    CANCELS_DO_CALL,  /* token, call */
    CANCELS_DO_WATCH, /* root: subscribe to its watch channel */
    CANCELS_DO_UNWATCH,
    CANCELS_DO_ANSWER, /* ask, result */
    CANCELS_DO_AUDIT   /* result (+ asked): one audit entry; also for refused ones */
};
struct cancels_effect {
    enum cancels_effect_kind kind;
    uint64_t token, ask;
    struct store_call call;
    struct str root;
    const struct cancel_result *result;
    const struct cancel_ask *asked;
};
struct cancels_effects { /* owned by the caller, emptied by each step; zero is empty */
    size_t count, room;
    struct cancels_effect *item;
};

struct cancels_options {
    struct span hold;    /* how long an issued cancel is re-asserted after a loss: 15 min */
    size_t hold_max;     /* 10,000 */
    size_t asks_max;     /* open asks; one more is refused `overloaded` */
    struct span lease;   /* after a loss no wait concludes for two leases */
    uint64_t token_base; /* tokens are token_base + n, so a daemon can tell whose answer it is */
    /* Encoding is wire's business, lent to a core that may not include it. Writes the record's
     * bytes to `out` (room MESSAGE_MAX_BYTES) and answers their number, 0 if it does not fit;
     * decode fills `out` with strings borrowed from `bytes`. */
    size_t (*encode)(const struct cancel_record *record, char *out);
    bool (*decode)(struct str bytes, struct cancel_record *out);
    /* The same for links; NULL: links to other roots are not followed. */
    size_t (*encode_link)(const struct run_link *link, char *out);
};

struct cancels;
/* False: Redis has forgotten lately, and not everything alive has said again that it is. Until then
 * what it does not hold proves nothing. */
bool cancels_are_settled(const struct cancels *cancels);
struct cancels *cancels_new(const struct cancels_options *options); /* NULL: no memory */
void cancels_free(struct cancels *cancels);
/* Everything in `todo` is valid until the next step. Effects must be carried out before the answer
 * or hint that caused them is gone. ERR_NOMEM: nothing changed. */
enum err cancels_step(struct cancels *cancels, const struct cancels_event *event,
                      struct cancels_effects *todo) MUST_CHECK;
struct instant cancels_deadline(const struct cancels *cancels);
#endif
