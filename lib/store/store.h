/* Redis as the cores see it: core/store_call.h over one redis_router.
 *
 * A script goes as EVALSHA and is loaded and repeated by itself on NOSCRIPT. READONLY and a server
 * in the role of a replica are a link down: the master is elsewhere. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <uv.h>

#include "base/err.h"
#include "core/store_call.h"
#include "io/redis_router.h"
#include "store/durable.h"

struct store;

struct store_options {
    const char *namespace;     /* key and channel prefix, "bw" */
    struct span tombstone_ttl; /* of ended trees and tombstones */
    size_t audit_max;          /* entries kept, about */
    struct durable_options durable;
};

struct store_events {
    /* server->run_id: of the process and its history; another one may have forgotten writes. */
    void (*on_up)(void *owner, const struct redis_server *server);
    void (*on_down)(void *owner, struct str why);
    /* A message on the channel of `root`; watch: on bw:{root}:watch. root "": on bw:orders. */
    void (*on_message)(void *owner, struct str root, bool watch, struct str bytes);
    /* Messages on that channel may have been lost; from now on they come again. */
    void (*on_missed)(void *owner, struct str root, bool watch);
    void (*on_closed)(void *owner);
};
typedef void (*store_answered)(void *owner, uint64_t token, const struct store_answer *answer);

enum err store_open(uv_loop_t *loop, const struct redis_target *target,
                    const struct store_options *options, const struct store_events *events,
                    void *owner, struct store **out) MUST_CHECK;
/* No callback but on_closed follows: calls in flight stay unanswered. */
void store_close(struct store *store);

/* done is called exactly once, from the loop, never from inside; while the link is down too (then
 * with SAID_OFFLINE, on the next turn). Only ERR_NOMEM and ERR_FULL (the queue, or a name longer
 * than any of ours) are returned, and then done is not called. done NULL: nobody wants to know.
 *
 * The order of the calls holds but for three cases: a tree is answered when it is whole; calls in
 * flight while somebody flushes the scripts are repeated behind those sent meanwhile; and on a
 * cluster only the calls of one key keep their order (those of one root do).
 *
 * STORE_SYNC goes by a connection of its own and holds nothing else up; it is answered within about
 * two `durable.timeout`. */
enum err store_send(struct store *store, const struct store_call *call, store_answered done,
                    void *owner, uint64_t token) MUST_CHECK;
/* root "": where orders are announced.
 * Confirmed before any call on that root sent after it is carried out. Subscriptions are
 * remembered and renewed before on_up is called again. Counted: as many unsubscribes as subscribes.
 * One that failed may be taken back, too: nothing happens. */
enum err store_subscribe(struct store *store, struct str root, bool watch) MUST_CHECK;
void store_unsubscribe(struct store *store, struct str root, bool watch);
struct redis_router *store_router(struct store *store); /* lends, for stats and other commands */

#endif
