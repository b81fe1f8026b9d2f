/* The parts of one broker, for the files of this folder alone.
 *
 * brokerd.c    events into the cores, their effects carried out, the alarm set
 * upstream.c   what comes from Redis
 * routes.c     what comes over HTTP: cancels and the small answers; reads.c those that read a tree
 * asks.c       cancels that a request asked for
 * listing.c    GET /v1/runs; tree_json.c trees and nodes as JSON
 * listeners.c  event streams; events.c GET /v1/events, and trees that somebody looks at
 * langgraph*.c what comes over HTTP from clients of LangGraph
 * a2a.h        the face for clients of A2A
 * remotes.c    links that lead into other programs
 * orders.c     /v1/orders; audit.c who asked what; numbers.c metrics */
#ifndef BROKER_INSIDE_H
#define BROKER_INSIDE_H

#include "api/api.h"
#include "base/list.h"
#include "base/map.h"
#include "broker/brokerd.h"
#include "broker/numbers.h"
#include "core/broker.h"
#include "core/cancels.h"
#include "core/orders.h"
#include "io/http_server.h"
#include "io/redis_news.h"
#include "remote/remote.h"
#include "store/store.h"

#define CANCELS_TOKEN_BASE (UINT64_C(1) << 62)
#define ORDERS_TOKEN_BASE  (UINT64_C(1) << 61)
#define OURS               (UINT64_C(1) << 63) /* in an ask: a core asked, not a client: */
#define OF_ORDER           (UINT64_C(1) << 62) /* ... that of the orders */
enum { ORDERS_AT_ONCE = 64, BROKER_NAME_MAX = 64 };
/* Of each kind so many at once, so that none of them takes the room of a cancel. */
enum { READS_MAX = 1000, STREAMS_MAX = 1000, JOINS_MAX = 1000 };

/* A request that is answered later. What owns one begins with it. */
struct pending {
    struct http_request *request; /* NULL: its peer has hung up */
    void (*hung_up)(struct pending *pending);
};

/* A GET that reads from Redis, in one step or several. It goes on to its end when the peer has hung
 * up, and then answers nobody. */
struct read {
    struct pending pending; /* first */
    struct link in_reads;
    struct brokerd *daemon;
    void (*release)(struct read *read); /* frees it and what it holds */
    /* Answers that Redis cannot be read now; NULL: as a problem. */
    void (*refuse)(struct read *read, const char *detail);
};

/* An event stream. What owns one begins with it. */
struct listener {
    struct link in_listeners;
    struct brokerd *daemon;
    struct http_stream *http;
    void (*closed)(struct listener *listener); /* frees it */
};

/* Whoever wants to see a tree again after each change. */
struct watch {
    struct link in_feed;
    struct feed *feed; /* NULL: not begun, or ended */
    /* It may end the watch. NULL: there is no such tree (any more). */
    void (*tree_read)(struct watch *watch, const struct tree *tree);
};

struct brokerd {
    uv_loop_t *loop;
    const struct settings *settings;
    char id[BROKER_NAME_MAX + 1];
    struct rng rng;

    struct cancels *cancels;
    struct cancels_effects cancels_todo;
    struct broker *core;
    struct broker_effects todo;
    struct orders *orders;
    struct orders_effects orders_todo;
    struct store *store;
    struct http_server *http;
    struct host_list *call_hosts;
    struct remote *remote; /* NULL: not yet, or no more */
    unsigned busy;         /* cores being stepped right now, one within the other */
    struct list later;     /* cancels that the core asks for; fed when nothing is busy */
    struct list refused;   /* calls that the store did not take, answered by a timer */

    uv_timer_t alarm, refusals, heartbeat, check, audit_poll;
    bool linked; /* and the generation is known */
    bool closing;
    int exit_code;

    struct map asks, open_orders; /* open cancels and orders, by id as bytes */
    uint64_t last_ask;
    struct list reads; /* open GETs */
    size_t read_count;

    struct list listeners;
    size_t listener_count;
    size_t join_count, many_count; /* langgraph_join.c, langgraph_many.c */

    /* events.c */
    struct map feeds; /* root -> struct feed */
    uint64_t last_feed;
    struct list audit_streams;
    char audit_from[64]; /* stream id to go on from */
    bool audit_asked;

    struct list audit, audit_sent; /* entries that Redis has not taken yet, oldest first */
    size_t audit_count;

    char *server; /* run_id of the Redis seen last, NULL at first */
    struct redis_news redis_news;
    char *generation; /* NULL at first */
    bool server_changed, generation_asked;
    unsigned link_ups;         /* so far */
    unsigned eviction_checked; /* at which of them it was known first; 0: not yet */
    struct numbers numbers;
};

/* ---- brokerd.c ----------------------------------------------------------------------------- */
struct instant brokerd_now(struct brokerd *d);
struct wall brokerd_wall(void);
void feed_cancels(struct brokerd *d, struct cancels_event event);
void feed_core(struct brokerd *d, struct broker_event event);
void feed_orders(struct brokerd *d, struct orders_event event);
void set_alarm(struct brokerd *d);
void brokerd_give_up(struct brokerd *d); /* close everything; exit code 1 */

/* ---- upstream.c ---------------------------------------------------------------------------- */
extern const struct store_events upstream_events;
void upstream_send(struct brokerd *d, const struct store_call *call, uint64_t token);
void upstream_subscribe(struct brokerd *d, struct str root, bool watch);
void upstream_answer_refused(uv_timer_t *timer);
void upstream_check(uv_timer_t *timer); /* is it the generation we know? */

/* ---- asks.c -------------------------------------------------------------------------------- */
typedef void (*cancel_answered)(void *owner, const struct cancel_result *result);
/* The number for a CANCELS_ASK; its answer is handed over once, at the earliest while that is fed,
 * and not at all when the broker ends before. 0: no memory. */
uint64_t ask_open(struct brokerd *d, void *owner, cancel_answered answered);
/* Who waits holds a place among max_waits: the last quarter of them is for cancels that are
 * answered as soon as they are recorded, so that no crowd that waits keeps one out. */
void ask_waits_if_there_is_room(const struct brokerd *d, struct cancel_ask *ask);
/* Nobody wants the answer any more. The cancel itself stays. */
void ask_abandon(struct brokerd *d, uint64_t ask);
void answer_cancel(struct brokerd *d, uint64_t ask, const struct cancel_result *result);
void asks_fini(struct brokerd *d);

/* ---- routes.c, reads.c, listing.c ---------------------------------------------------------- */
extern const struct http_server_events api_events;
/* `bytes` of zeroed memory that begin with a struct read. NULL: Redis is away, too many reads are
 * open, no memory; it is for the caller to answer that. */
void *read_make(struct brokerd *d, struct http_request *request, size_t bytes,
                void (*release)(struct read *read), enum problem *problem, const char **detail);
/* The same; NULL: it was answered. */
void *read_open(struct brokerd *d, struct http_request *request, size_t bytes,
                void (*release)(struct read *read));
/* Sends its next call. A call that is not taken ends the read with 503. */
void read_call(struct read *read, const struct store_call *call, store_answered done);
void read_end(struct read *read); /* its request was answered, or there is nobody to answer */
/* True: the answer shows trouble and the read has ended with 503. */
bool read_failed(struct read *read, const struct store_answer *answer);
void reads_fini(struct brokerd *d);
void serve_run(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX]);
void serve_checkpoint(void *owner, struct http_request *request,
                      const struct str part[API_PARTS_MAX]);
void serve_tree(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX]);
void serve_resume(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX]);
void serve_audit(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX]);
void serve_runs(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX]);

/* ---- orders.c ------------------------------------------------------------------------------ */
void serve_order_ask(void *owner, struct http_request *request,
                     const struct str part[API_PARTS_MAX]);
void serve_orders(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX]);
void serve_order(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX]);
void serve_lift(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX]);
void answer_order(struct brokerd *d, uint64_t ask, const struct order_result *result);
void log_order(const struct order_result *result);
void orders_asked_fini(struct brokerd *d);

/* ---- tree_json.c --------------------------------------------------------------------------- */
struct tree_view {
    struct str under; /* "": the whole tree */
    int64_t depth;    /* levels below, -1: all */
    size_t limit;
};
json_t *tree_json(const struct tree *tree, struct str root, const struct tree_view *view);
json_t *node_json(const struct tree_run *run, struct str root);
json_t *run_json(const struct tree_run *run, struct str root); /* a node, its path and cancel */

/* ---- listeners.c --------------------------------------------------------------------------- */
/* Ends the request by making it a stream; `listener` has its `closed`. headers: as those of
 * http_answer(). False: it was answered: Redis is away, too many streams, no memory; `listener` is
 * still the caller's, who otherwise waits for `closed`. */
bool listener_open(struct brokerd *d, struct http_request *request, struct listener *listener,
                   const char *const headers[]);
/* False: it was answered. Asked before anything else is done for a request: a crowd that is refused
 * must cost next to nothing. */
bool listener_has_room(struct brokerd *d, struct http_request *request);
bool listener_send(struct listener *listener, struct str event, struct str id, struct str data);
void listener_closed(void *owner, struct http_stream *http, void *stream_owner);
void listeners_beat(uv_timer_t *timer);

/* ---- events.c ------------------------------------------------------------------------------ */
void serve_events(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX]);
void events_hint(struct brokerd *d, struct str root);
void events_poll_audit(uv_timer_t *timer);
/* The tree is read soon, after each change (at most ten times a second) and once a second. False:
 * no memory. */
bool watch_begin(struct brokerd *d, struct str root, struct watch *watch);
void watch_end(struct watch *watch); /* nothing, if it was not begun */

/* ---- remotes.c ----------------------------------------------------------------------------- */
enum err remotes_open(struct brokerd *d) MUST_CHECK;
void remotes_close(struct brokerd *d);
void remotes_cancel(struct brokerd *d, const struct broker_effect *effect);

/* ---- audit.c ------------------------------------------------------------------------------- */
void audit_note(struct brokerd *d, const struct cancel_result *result,
                const struct cancel_ask *asked);
void audit_send_waiting(struct brokerd *d);
void audit_fini(struct brokerd *d);

#endif
