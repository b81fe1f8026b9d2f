/* What a broker does in the background, whichever of them holds the lock in Redis.
 *
 * Every `sweep_every` the holder of bw:lock:sweep reads the replicas and their leases, declares the
 * runs of a replica that is gone suspect and then lost, enforces deadlines of runs whose agentd is
 * gone, publishes again the cancels whose scope has not stopped, follows links that nobody carries,
 * and forgets roots whose key has expired. Pure, like the agent. */
#ifndef CORE_BROKER_H
#define CORE_BROKER_H

#include "core/cancels.h"
#include "core/remote.h"
#include "core/store_call.h"

struct broker_options {
    struct str id;                /* this broker, holder of locks */
    struct span lease;            /* of replicas; nobody is lost before two of them */
    struct span lost_grace;       /* on_lost = continue: suspect for so much longer, then lost */
    struct span sweep_every;      /* 1 s */
    struct span retransmit_every; /* 5 s: at most so often for one root */
    size_t roots_per_sweep;       /* 200 */
    uint64_t token_base;
    size_t (*encode)(const struct cancel_record *record, char *out);
    bool (*decode)(struct str bytes, struct cancel_record *out);
    size_t (*encode_link)(const struct run_link *link, char *out);
};

enum broker_event_kind {
    BROKER_LINK_UP, /* lost = Redis may have forgotten */
    BROKER_LINK_DOWN,
    BROKER_ANSWER,          /* token, answer */
    BROKER_CANCEL_ANSWERED, /* ask, result: of a BROKER_DO_ASK_CANCEL (links, deadlines) */
    BROKER_REMOTE_ANSWERED, /* ask, outcome: of a BROKER_DO_CANCEL_THERE */
    BROKER_CONFIRM_LOSSES,  /* an operator says: go on sweeping */
    BROKER_TIME_PASSED
};
struct broker_event {
    enum broker_event_kind kind;
    struct instant at;
    struct wall wall;
    uint64_t token, ask;
    bool lost;
    const struct store_answer *answer;
    const struct cancel_result *result;
    enum remote_outcome outcome;
};
enum broker_effect_kind {
    BROKER_DO_CALL,         /* token, call */
    BROKER_DO_ASK_CANCEL,   /* ask (own number), cancel */
    BROKER_DO_CANCEL_THERE, /* ask (own number), run, remote; answered after remote.within at the
                               latest */
    BROKER_DO_LOG           /* because: one of broker_fact below; root, run, replica */
};
enum broker_fact {
    FACT_REPLICA_SUSPECT, /* without a lease for one lease */
    FACT_REPLICA_BACK,    /* was suspect, has a lease again */
    FACT_REPLICA_LOST,    /* two leases: its runs are declared lost */
    FACT_REPLICA_CLEARED, /* nothing of it lives any more: forgotten */
    FACT_RUN_LOST,
    FACT_DEADLINE_PASSED, /* of a run whose agentd is gone */
    FACT_LINK_FOLLOWED,
    FACT_PUBLISHED_AGAIN,
    FACT_SWEEP_SUSPENDED,
    FACT_SWEEP_RESUMED
};
const char *broker_fact_text(enum broker_fact fact);

struct broker_effect {
    enum broker_effect_kind kind;
    uint64_t token, ask;
    struct store_call call;
    struct cancel_ask cancel;
    struct remote_ask remote;
    struct str root, run, replica;
    enum broker_fact fact;
};
struct broker_effects {
    size_t count, room;
    struct broker_effect *item;
};

struct broker;
struct broker *broker_new(const struct broker_options *options);
void broker_free(struct broker *broker);
enum err broker_step(struct broker *broker, const struct broker_event *event,
                     struct broker_effects *todo) MUST_CHECK;
struct instant broker_deadline(const struct broker *broker);

/* For metrics, /v1/replicas and readiness. */
bool broker_sweep_suspended(const struct broker *broker);
size_t broker_suspect_replicas(const struct broker *broker);
struct broker_replica_view {
    struct str replica, generation; /* "" generation: no lease */
    bool leased, quarantined;
    struct span without_lease; /* seen without one for so long */
    int64_t since_ms;
};
bool broker_next_replica(const struct broker *broker, size_t *at, struct instant now,
                         struct broker_replica_view *out);
bool broker_holds_lock(const struct broker *broker);

#endif
