/* One connection to one Redis or Valkey server, commands and pub/sub together (RESP3).
 *
 * Happy path: open -> resolve -> connect -> AUTH/HELLO 3 -> SELECT -> on_up -> commands answer in
 * order, pushes go to on_push -> close -> on_closed. Ways to fail: the connection breaks or stays
 * silent (PING every ping_every, TCP user timeout): every command still unanswered is answered with
 * NULL, on_down is called, and it reconnects by itself: at once with 0-5 ms jitter, then with
 * back-off up to backoff_max. A command given while it is down is refused with ERR_OFFLINE.
 *
 * With sentinel:// the master is where the sentinels say, and a master that they have replaced is a
 * connection that breaks.
 *
 * Our own dispatcher over hiredis' reader: hiredis' async.c aborts on sharded pub/sub and
 * disconnects on a SUBSCRIBE that an ACL refuses. */
#ifndef IO_REDIS_LINK_H
#define IO_REDIS_LINK_H

#include <stddef.h>
#include <uv.h>

#include "base/err.h"
#include "base/mono.h"
#include "base/str.h"
#include "io/redis_trust.h"

struct redisReply; /* hiredis */
struct redis_link;

/* All strings are copied by redis_link_open(). */
struct redis_target {
    const char *url; /* io/redis_url.h; of a cluster only together with `host` */
    /* NULL: the url's own. Else one of those it names: a node of the cluster, with the url's login
     * and TLS; or one of the sentinels, with their password and TLS. */
    const char *host;
    int port;                      /* of `host` */
    const char *sentinel_password; /* NULL or "": none */
    struct redis_tls_options tls;  /* for a url with TLS; refused beside one without */
    const char *user;              /* NULL or "": the default user; overrides the url's */
    const char *password;          /* NULL or "": none */
    const char *client_name;       /* CLIENT SETNAME */
    struct span connect_timeout, ping_every, backoff_max; /* 0: 3 s, 3 s, 2 s */
    uint64_t seed;                                        /* jitter */
    size_t queue_max; /* commands in flight; 0: 100,000; one more is refused with ERR_FULL */
};

struct redis_server {   /* learned at each connect, lent for the call */
    struct str run_id;  /* INFO server: another one after each start */
    struct str history; /* INFO replication, master_replid: another one after each promotion */
    struct str version, name; /* "7.0.15", "redis" | "valkey" */
    struct str role;          /* "master" | "slave" */
};

struct redis_link_events {
    void (*on_up)(void *owner, const struct redis_server *server);
    void (*on_down)(void *owner, struct str why); /* once per up; and once per failed attempt */
    void (*on_push)(void *owner, struct str kind, struct str channel,
                    struct str bytes); /* message, smessage */
    void (*on_closed)(void *owner);
    /* The server ended a subscription by itself: its slot moved to another. NULL: the connection is
     * dropped, so that it is renewed. */
    void (*on_unsubscribed)(void *owner, struct str channel);
};

/* reply  borrowed for the call; NULL: the connection was lost, the command may have happened.
 *        An error reply is a reply (REDIS_REPLY_ERROR). */
typedef void (*redis_answered)(void *owner, const struct redisReply *reply);

/* Are url and files as they must be? If not, `why` says which option is wrong, and how. */
enum err redis_target_check(const struct redis_target *target, struct buf *why) MUST_CHECK;
/* ERR_INVALID: redis_target_check() says why, or a cluster without `host`; ERR_NOMEM. Then no
 * callback is ever made. */
enum err redis_link_open(uv_loop_t *loop, const struct redis_target *target,
                         const struct redis_link_events *events, void *owner,
                         struct redis_link **out) MUST_CHECK;
void redis_link_close(struct redis_link *link); /* answers what is in flight with NULL first */
bool redis_link_is_up(const struct redis_link *link);

/* Queued and written once per loop turn, in order. `done` may be NULL. On an error `done` is never
 * called. Never calls back from inside. */
enum err redis_link_command(struct redis_link *link, int argc, const struct str *argv,
                            redis_answered done, void *owner) MUST_CHECK;
/* verb: SUBSCRIBE UNSUBSCRIBE SSUBSCRIBE SUNSUBSCRIBE. `done` gets the acknowledgement push or the
 * error reply. */
enum err redis_link_subscribe(struct redis_link *link, const char *verb, struct str channel,
                              redis_answered done, void *owner) MUST_CHECK;
/* Drop the connection and reconnect: the server said READONLY, or a half-open link is suspected. */
void redis_link_reset(struct redis_link *link, const char *why);

struct redis_link_stats {
    uint64_t commands, pushes, reconnects, bytes_in, bytes_out;
};
const struct redis_link_stats *redis_link_stats(const struct redis_link *link);

#endif
