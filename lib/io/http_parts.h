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
    char *unix_path;
    struct unix_name unix_name;
    unsigned port;
    size_t body_max, stream_max;
    unsigned connections_max, idle_timeout_s;
    unsigned alive; /* handles of ours and of our watches */
    bool closing;
    struct list asked; /* requests that wait for their answer */
    struct list streams;
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
    bool too_large, suspended, is_owned;
    size_t swallowed;
    void *request_owner;
    struct watch *watch;
    struct MHD_Response *response;
    unsigned status;
};

struct http_stream {
    struct link in_streams;
    struct host *host;
    struct MHD_Connection *connection;
    struct buf waiting;
    bool handed_out, suspended, ending, cut;
    void *stream_owner;
    struct watch *watch;
};

int host_socket(struct MHD_Connection *connection);
void host_run_soon(struct host *host);
/* The response is ours until libmicrohttpd takes it; sends it at once or on the next turn. */
void request_settle(struct http_request *request, unsigned status, struct MHD_Response *response);

/* gone() is called once, from the loop. NULL: no memory or descriptor; then a hang-up is not
 * noticed. */
struct watch *watch_new(struct host *host, struct MHD_Connection *connection,
                        void (*gone)(void *owner), void *owner);
void watch_free(struct watch *watch); /* NULL is fine */
void server_release(struct http_server *server);
void stream_finish(struct http_stream *stream); /* the server closes */

#endif
