/* What the files of the HTTP server share; nobody else includes this. */
#ifndef IO_HTTP_PARTS_H
#define IO_HTTP_PARTS_H

#include <microhttpd.h>
#include <uv.h>

#include "base/buf.h"
#include "base/list.h"
#include "io/http_listen.h"
#include "io/http_server.h"

/* Notices that the peer of a suspended connection went away, which libmicrohttpd cannot: it watches
 * a duplicate of the connection's descriptor. */
struct watch;

/* A connection, from its first byte to its last. It waits while it has no whole request; those that
 * wait are thrown out when there are too many of them, or they wait too long: else whoever opens
 * many connections and says little keeps out everybody else. */
struct visitor {
    struct link in_waiting; /* the longest first */
    struct host *host;
    int fd;
    uint64_t since_ms;
};

struct host { /* one listener */
    struct http_server *server;
    struct MHD_Daemon *daemon; /* NULL: not used */
    uv_poll_t poll;
    uv_timer_t timer;
    uv_idle_t run_soon; /* something was resumed this turn */
    bool is_unix;
};

struct http_server {
    uv_loop_t *loop;
    const struct http_server_events *events;
    void *owner;
    struct host tcp, local;
    uv_idle_t closer;
    uv_timer_t patience; /* with those that wait; runs while there are any */
    char *unix_path;
    struct unix_name unix_name;
    unsigned port;
    size_t body_max, stream_max;
    unsigned idle_timeout_s;
    size_t waiting, waiting_max; /* connections without a whole request */
    size_t held, held_max;       /* requests that wait for an answer, and streams */
    size_t stream_count, streams_max;
    size_t stream_bytes;  /* that wait on all of them */
    size_t large_bytes;   /* of bodies, beyond the usual size */
    struct list visitors; /* those that wait */
    unsigned alive;       /* handles of ours and of our watches */
    bool closing;
    struct list asked; /* requests that wait for their answer */
    struct list streams;
    struct list unsent; /* streams with something to write, and */
    uv_idle_t sender;   /* ... a next turn for it */
};

enum request_state {
    REQUEST_READING,
    REQUEST_ASKED,    /* lent to the owner */
    REQUEST_ANSWERED, /* `response` is what to send; NULL: end the connection */
    REQUEST_GONE      /* the owner was told of the hang-up, or the answer is on its way */
};

struct joined_header {
    struct link in_joined;
    char text[];
};

struct http_request {
    struct link in_asked;
    struct host *host;
    struct MHD_Connection *connection;
    const char *method, *path;
    struct buf body;
    struct list *joined; /* = &joined_headers: a const request may still remember what it lent */
    struct list joined_headers;
    enum request_state state;
    bool too_large, suspended, is_owned, is_stream, is_held, is_ambiguous, is_crowded;
    bool is_old; /* before HTTP/1.1: it knows no chunks */
    size_t swallowed, large_bytes;
    void *request_owner;
    struct watch *watch;
    struct MHD_Response *response;
    unsigned status;
};

int host_socket(struct MHD_Connection *connection);

/* http_visitor.c: who may stay. */
void visitors_init(struct http_server *server, const struct http_server_options *options);
void visitors_close(struct http_server *server);
/* For MHD_OPTION_NOTIFY_CONNECTION; owner is the host. */
void visitor_changed(void *owner, struct MHD_Connection *connection, void **context,
                     enum MHD_ConnectionNotificationCode how);
void visitor_asks(struct MHD_Connection *connection);  /* its request is whole */
void visitor_waits(struct MHD_Connection *connection); /* it was answered */
void host_run_soon(struct host *host);
/* The response is ours until libmicrohttpd takes it; sends it at once or on the next turn. */
void request_settle(struct http_request *request, unsigned status, struct MHD_Response *response);

/* gone() is called once, from the loop. NULL: no memory or descriptor; then a hang-up is not
 * noticed. */
struct watch *watch_new(struct host *host, struct MHD_Connection *connection,
                        void (*gone)(void *owner), void *owner);
void watch_free(struct watch *watch); /* NULL is fine */
void server_release(struct http_server *server);
void streams_close(struct http_server *server);

#endif
