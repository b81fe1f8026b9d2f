/* Redis as one thing to talk to: a single server, or the servers of a cluster.
 *
 * The caller names the key of each command; where that is, the router finds out. Everything else is
 * as of one redis_link: up or down, commands answered in order, NULL for what was lost. Of a
 * cluster that holds for the commands of one slot; those of different slots go to different
 * servers.
 *
 * A cluster is up while every slot has a master that we are linked to. When one of them is lost
 * all is down, and whatever was on its way anywhere is answered with NULL: who talks to it has one
 * link, not some.  */
#ifndef IO_REDIS_ROUTER_H
#define IO_REDIS_ROUTER_H

#include "io/redis_link.h"

struct redis_router;

struct redis_router_events {
    /* run_id: of a cluster it changes when a master is there that was none at the last up, or has
     * another run_id or history: it was started again, it is a replica that was promoted, or it is
     * new here. A slot that moves between masters changes nothing. */
    void (*on_up)(void *owner, const struct redis_server *server);
    void (*on_down)(void *owner, struct str why);
    void (*on_push)(void *owner, struct str kind, struct str channel, struct str bytes);
    void (*on_closed)(void *owner);
    /* Of a cluster: the slot of this channel has moved. Whoever wants its messages subscribes
     * again; what was said meanwhile is lost. */
    void (*on_unsubscribed)(void *owner, struct str channel);
};

/* As redis_link_open(). */
enum err redis_router_open(uv_loop_t *loop, const struct redis_target *target,
                           const struct redis_router_events *events, void *owner,
                           struct redis_router **out) MUST_CHECK;
void redis_router_close(struct redis_router *router);
bool redis_router_is_up(const struct redis_router *router);
/* Does a message go to one server alone (SPUBLISH, SSUBSCRIBE), or to all (PUBLISH, SUBSCRIBE)? */
bool redis_router_is_sharded(const struct redis_router *router);

/* As redis_link_command(). key: STR_NONE goes to any server. */
enum err redis_router_command(struct redis_router *router, struct str key, int argc,
                              const struct str *argv, redis_answered done, void *owner) MUST_CHECK;
/* To every server, `done` once for each; *sent says how many, also on an error. */
enum err redis_router_everywhere(struct redis_router *router, int argc, const struct str *argv,
                                 redis_answered done, void *owner, size_t *sent) MUST_CHECK;
/* Whichever of (S)SUBSCRIBE and (S)UNSUBSCRIBE is right here. */
enum err redis_router_subscribe(struct redis_router *router, struct str channel,
                                redis_answered done, void *owner) MUST_CHECK;
enum err redis_router_unsubscribe(struct redis_router *router, struct str channel) MUST_CHECK;
void redis_router_reset(struct redis_router *router, const char *why);

/* Where the server of this key is, lent until the loop goes on. *host NULL: where the url says.
 * ERR_OFFLINE: nowhere, now. */
enum err redis_router_place(const struct redis_router *router, struct str key, const char **host,
                            int *port) MUST_CHECK;

struct redis_router_stats {
    uint64_t moved, asked; /* commands that were told to go elsewhere */
};
struct redis_router_stats redis_router_stats(const struct redis_router *router);

#endif
