/* HTTP/1.1 on our loop (libmicrohttpd inside), with answers that may come later, and event streams.
 *
 * Happy path: a request is read whole (its body at most body_max bytes), on_request gets it, and
 * exactly one of http_answer(), http_stream() is called on it, at once or later; then it is gone.
 * Ways to fail: body too large -> 413 problem+json by itself; the peer hangs up before its answer
 * -> on_hangup, after which the request must not be touched; a stream's peer hangs up or is slower
 * than stream_max bytes -> on_stream_closed. */
#ifndef IO_HTTP_SERVER_H
#define IO_HTTP_SERVER_H

#include <jansson.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"
#include "base/mono.h"
#include "base/str.h"

struct http_server;
struct http_request;
struct http_stream;

struct http_server_options {
    const char *unix_path;    /* NULL: none. Removed and made anew; mode 0664 & unix_mode */
    unsigned unix_mode;       /* 0: 0660 */
    const char *tcp;          /* NULL: none; "127.0.0.1:8080", "[::1]:0" */
    size_t body_max;          /* 0: 64 KiB; all that is beyond 64 KiB: 32 MiB, else 429 */
    size_t stream_max;        /* bytes that may wait on one stream; 0: 256 KiB; on all: 32 MiB, else
                                 the one with the most is closed */
    unsigned connections_max; /* requests that wait for their answer, and streams; one more is
                                 refused 429; 0: 2000 */
    unsigned streams_max;     /* of those; 0 or too many: three quarters */
    struct span idle_timeout; /* for a whole request, however it trickles; 0: 30 s; streams are
                                 exempt */
};

struct http_server_events {
    void (*on_request)(void *owner, struct http_request *request);
    void (*on_hangup)(void *owner,
                      void *request_owner); /* set by http_request_own(); else not called */
    void (*on_stream_closed)(void *owner, struct http_stream *stream, void *stream_owner);
    void (*on_closed)(void *owner);
    /* All that was sent is with the socket: more may be sent from in here. May be NULL. */
    void (*on_stream_ready)(void *owner, struct http_stream *stream, void *stream_owner);
};

/* why: static text for the log when anything but ERR_OK and ERR_NOMEM is returned; may be NULL */
enum err http_server_open(uv_loop_t *loop, const struct http_server_options *options,
                          const struct http_server_events *events, void *owner,
                          struct http_server **out, const char **why) MUST_CHECK;
/* Ends every stream and request, each with its usual callback from the loop; then on_closed. */
void http_server_close(struct http_server *server);
unsigned http_server_port(const struct http_server *server); /* TCP port really bound, 0 if none */
size_t http_server_connections(const struct http_server *server);

/* Everything below is lent for the life of the request. */
struct str http_method(const struct http_request *request);
struct str http_path(const struct http_request *request); /* decoded, without the query */
struct str http_header(const struct http_request *request, const char *name); /* STR_NONE if absent;
                                                    several of one name are joined by commas */
struct str http_query(const struct http_request *request,
                      const char *name); /* STR_NONE if absent */
/* Walks all query names; false to stop. For routes that refuse unknown ones. */
void http_query_each(const struct http_request *request,
                     bool (*visit)(void *owner, struct str name, struct str value), void *owner);
struct str http_body(const struct http_request *request);
/* Unix sockets: pid is 0 where the kernel cannot say (another pid namespace). TCP: false. */
bool http_peer(const struct http_request *request, pid_t *pid, uid_t *uid, gid_t *gid);
/* Remember who answers it later; on_hangup passes it back. */
void http_request_own(struct http_request *request, void *request_owner);

/* Ends the request. body may be STR_NONE; type e.g. "application/json"; headers: NULL or
 * NULL-terminated name, value, name, value, … */
void http_answer(struct http_request *request, unsigned status, const char *type, struct str body,
                 const char *const headers[]);
/* Same, and takes over `json` (one reference). */
void http_answer_json(struct http_request *request, unsigned status, json_t *json,
                      const char *const headers[]);
/* A JSON string; bytes that are not UTF-8 are shown as U+FFFD. NULL: no memory. */
json_t *http_text(struct str text);
/* RFC 9457: {"type":"about:blank","title":…,"status":…,"code":…,"detail":…} plus the members of
 * `extra` (taken over; may be NULL). 429 and 503 carry Retry-After: retry_after_s > 0. */
void http_problem(struct http_request *request, unsigned status, const char *code,
                  const char *title, const char *detail, json_t *extra, unsigned retry_after_s);

/* Ends the request by opening text/event-stream, with which its connection ends, too; headers as
 * those of http_answer(). NULL: no memory (answered 503), or too many streams (429). */
struct http_stream *http_stream(struct http_request *request, void *stream_owner,
                                const char *const headers[]);
/* ERR_FULL: the reader is too slow; the stream is being closed and on_stream_closed follows. */
enum err http_stream_send(struct http_stream *stream, struct str bytes) MUST_CHECK;
void http_stream_end(struct http_stream *stream); /* on_stream_closed follows */
/* At once, whatever still waits: for who does not read. on_stream_closed follows. */
void http_stream_cut(struct http_stream *stream);
size_t
http_stream_waiting(const struct http_stream *stream); /* bytes not yet handed to the socket */

#endif
