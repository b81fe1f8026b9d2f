/* libmicrohttpd on our loop. Its epoll descriptor is watched by uv_poll, its next timeout by a
 * timer; host_run() is the whole glue.
 *
 * Happy path: http_server_open -> access_handler (head) -> access_handler (body, in pieces) ->
 * access_handler (all there) -> on_request -> request_settle -> request_completed.
 * A late answer suspends in between and comes back to access_handler once more. */
#include "io/http_server.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "io/http_parts.h"

enum {
    BODY_MAX = 64 << 10,
    STREAM_MAX = 256 << 10,
    IDLE_TIMEOUT_S = 30,
    CONNECTION_MEMORY = 16 << 10,
    LARGE_BODIES_MAX = 32 << 20, /* of all that are larger than usual, together */
    SWALLOWED_MAX = 256 << 10,   /* of a body that is too large, so that its sender reads our 413 */
    UNIX_MODE = 0660
};

/* ---- the glue -------------------------------------------------------------------------------- */

static void host_run(struct host *host);

static void host_timeout(uv_timer_t *timer)
{
    host_run(timer->data);
}

static void host_ready(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    host_run(poll->data);
}

static void host_resumed(uv_idle_t *idle)
{
    host_run(idle->data);
}

static void host_run(struct host *host)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;
    uv_idle_stop(&host->run_soon);
    MHD_run(host->daemon);
    if (host->server->closing)
        return;
    if (MHD_get_timeout(host->daemon, &wait_ms) == MHD_YES)
        uv_timer_start(&host->timer, host_timeout, wait_ms, 0);
    else
        uv_timer_stop(&host->timer);
}

void host_run_soon(struct host *host)
{
    if (!host->server->closing)
        uv_idle_start(&host->run_soon, host_resumed);
}

/* ---- one request ----------------------------------------------------------------------------- */

struct request_line {
    const char *method, *path, *version;
};

static struct http_request *request_new(struct host *host, struct MHD_Connection *connection,
                                        const struct request_line *line)
{
    struct http_request *request = mem_new(sizeof *request);
    if (request == NULL)
        return NULL;
    request->host = host;
    request->connection = connection;
    request->method = line->method;
    request->path = line->path;
    request->is_old = strcmp(line->version, MHD_HTTP_VERSION_1_1) != 0;
    request->body.limit = host->server->body_max;
    list_init(&request->joined_headers);
    request->joined = &request->joined_headers;
    return request;
}

static void request_free(struct http_request *request)
{
    link_remove(&request->in_asked);
    watch_free(request->watch);
    request->host->server->held -= request->is_held ? 1 : 0;
    if (request->response != NULL)
        MHD_destroy_response(request->response);
    LIST_EACH (at, then, &request->joined_headers)
        mem_free(LIST_OWNER(at, struct joined_header, in_joined));
    request->host->server->large_bytes -= request->large_bytes;
    buf_fini(&request->body);
    mem_free(request);
}

static enum MHD_Result request_send(struct http_request *request)
{
    struct MHD_Response *response = request->response;
    request->state = REQUEST_GONE;
    request->response = NULL;
    if (response == NULL)
        return MHD_NO;
    visitor_waits(request->connection); /* who does not read an answer may be thrown out again */
    enum MHD_Result queued = MHD_queue_response(request->connection, request->status, response);
    MHD_destroy_response(response);
    return queued;
}

static void request_resume(struct http_request *request)
{
    watch_free(request->watch);
    request->watch = NULL;
    if (!request->suspended)
        return;
    request->suspended = false;
    MHD_resume_connection(request->connection);
    host_run_soon(request->host);
}

void request_settle(struct http_request *request, unsigned status, struct MHD_Response *response)
{
    assert(request->state == REQUEST_ASKED);
    request->state = REQUEST_ANSWERED;
    request->status = status;
    request->response = response;
    link_remove(&request->in_asked);
    request_resume(request);
}

/* Nobody who remembers the request: then it stays, so that http_answer() is still allowed. */
static void request_hang_up(void *owner)
{
    struct http_request *request = owner;
    struct http_server *server = request->host->server;
    if (!request->is_owned)
        return;
    request->state = REQUEST_GONE;
    link_remove(&request->in_asked);
    request_resume(request);
    server->events->on_hangup(server->owner, request->request_owner);
}

static bool is_full(const struct http_server *server)
{
    return server->held >= server->held_max;
}

static void refuse(struct http_request *request)
{
    request->state = REQUEST_ASKED;
    if (request->is_ambiguous)
        http_problem(request, MHD_HTTP_BAD_REQUEST, "invalid", "Invalid request",
                     "The request does not say clearly where it ends.", NULL, 0);
    else if (request->too_large && !request->is_crowded)
        http_problem(request, MHD_HTTP_CONTENT_TOO_LARGE, "too_large", "Body too large",
                     "The body has more bytes than this server accepts.", NULL, 0);
    else if (request->host->server->closing)
        http_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE, "unavailable", "Shutting down", NULL,
                     NULL, 1);
    else
        http_problem(request, MHD_HTTP_TOO_MANY_REQUESTS, "overloaded", "Overloaded",
                     request->is_crowded ? "Too many large bodies are being read."
                                         : "Too many requests wait for their answer.",
                     NULL, 1);
}

static enum MHD_Result request_dispatch(struct http_request *request)
{
    struct http_server *server = request->host->server;
    if (request->too_large || server->closing || is_full(server)) {
        refuse(request);
        return request_send(request);
    }
    visitor_asks(request->connection);
    request->is_held = true;
    server->held++;
    request->state = REQUEST_ASKED;
    list_add_last(&server->asked, &request->in_asked);
    server->events->on_request(server->owner, request);
    if (request->state == REQUEST_ANSWERED)
        return request_send(request);
    request->suspended = true;
    request->watch = watch_new(request->host, request->connection, request_hang_up, request);
    MHD_suspend_connection(request->connection);
    return MHD_YES;
}

/* A body whose length is told and far too large, or whose sender asks first, is refused unread. */
static bool is_hopeless(struct http_request *request)
{
    int64_t length;
    struct str told = http_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    if (told.len == 0 || !str_to_int(told, &length))
        return false;
    request->too_large = (uint64_t)length > request->body.limit;
    return request->too_large
           && (length > SWALLOWED_MAX || http_header(request, MHD_HTTP_HEADER_EXPECT).len > 0);
}

/* Two lengths, a length and chunks, a coding that nobody reads: who stands before us may have seen
 * another end of this request than we do, and taken the rest for the next one of somebody else. */
static bool is_ambiguous(const struct http_request *request)
{
    int64_t number;
    struct str length = http_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    struct str coding = http_header(request, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    if (coding.at != NULL)
        return length.at != NULL || coding.len != 7 || strncasecmp(coding.at, "chunked", 7) != 0;
    return length.at != NULL && (!str_to_int(length, &number) || number < 0);
}

static enum MHD_Result request_begin(struct host *host, struct MHD_Connection *connection,
                                     const struct request_line *line, void **context)
{
    struct http_request *request = request_new(host, connection, line);
    if (request == NULL)
        return MHD_NO;
    *context = request;
    request->is_ambiguous = is_ambiguous(request);
    if (!request->is_ambiguous && !is_hopeless(request))
        return MHD_YES;
    refuse(request);
    return request_send(request);
}

static void drop_body(struct http_request *request)
{
    request->host->server->large_bytes -= request->large_bytes;
    request->large_bytes = 0;
    buf_fini(&request->body);
}

/* A small body always finds room; what goes beyond that shares one purse. */
static bool has_room(struct http_request *request, size_t len)
{
    struct http_server *server = request->host->server;
    size_t had = request->body.len > BODY_MAX ? request->body.len : BODY_MAX;
    size_t more = request->body.len + len > had ? request->body.len + len - had : 0;
    request->is_crowded = more > LARGE_BODIES_MAX - server->large_bytes;
    if (request->is_crowded)
        return false;
    server->large_bytes += more;
    request->large_bytes += more;
    return true;
}

static enum MHD_Result request_take(struct http_request *request, const char *bytes, size_t *len)
{
    if (!request->too_large
        && (!has_room(request, *len) || buf_add(&request->body, bytes, *len) != ERR_OK)) {
        request->too_large = true;
        drop_body(request);
    }
    request->swallowed += *len;
    *len = 0;
    return request->swallowed <= request->body.limit + SWALLOWED_MAX ? MHD_YES : MHD_NO;
}

static enum MHD_Result access_handler(void *owner, struct MHD_Connection *connection,
                                      const char *path, const char *method, const char *version,
                                      const char *upload, size_t *upload_len, void **context)
{
    struct http_request *request = *context;
    if (request == NULL)
        return request_begin(owner, connection, &(struct request_line){method, path, version},
                             context);
    if (*upload_len > 0)
        return request_take(request, upload, upload_len);
    switch (request->state) {
    case REQUEST_READING:
        return request_dispatch(request);
    case REQUEST_ANSWERED:
        return request_send(request);
    case REQUEST_ASKED:
    case REQUEST_GONE:
        break;
    }
    return MHD_NO;
}

static void request_completed(void *owner, struct MHD_Connection *connection, void **context,
                              enum MHD_RequestTerminationCode how)
{
    struct http_request *request = *context;
    (void)owner;
    (void)how;
    *context = NULL;
    if (request == NULL || !request->is_stream) /* its socket lives on, and must not be shut down */
        visitor_waits(connection);              /* for its next request, or to be closed at once */
    if (request != NULL)
        request_free(request);
}

/* Leaves a text with an encoded NUL as it came: it would end every C string early. A path with an
 * encoded slash too: whoever stands before us and looks at paths must see the same parts as we. */
static size_t unescape(void *owner, struct MHD_Connection *connection, char *text)
{
    (void)owner;
    (void)connection;
    bool stays = strstr(text, "%00") != NULL || (text[0] == '/' && strcasestr(text, "%2f") != NULL);
    return stays ? strlen(text) : MHD_http_unescape(text);
}

/* ---- opening and closing --------------------------------------------------------------------- */

static void log_from_library(void *owner, const char *format, va_list args)
{
    char text[256], quoted[600];
    (void)owner;
    vsnprintf(text, sizeof text, format, args);
    log_debug("http library", "text=%s", log_quoted(text, quoted, sizeof quoted));
}

static bool host_open(struct http_server *server, struct host *host, int fd)
{
    enum { LEAVING = 256 }; /* thrown out, and not yet gone: it never stops accepting */
    enum { FLAGS = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO | MHD_USE_ERROR_LOG };
    host->daemon = MHD_start_daemon(
        FLAGS, 0, NULL, NULL, access_handler, host, MHD_OPTION_EXTERNAL_LOGGER, log_from_library,
        NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, request_completed, NULL,
        MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_NOTIFY_CONNECTION, visitor_changed,
        host, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)(server->held_max + server->waiting_max) + LEAVING, MHD_OPTION_CONNECTION_TIMEOUT,
        server->idle_timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_END);
    if (host->daemon == NULL) /* it has closed the socket */
        return false;
    host->server = server;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(host->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL || uv_poll_init(server->loop, &host->poll, info->epoll_fd) != 0) {
        MHD_stop_daemon(host->daemon);
        host->daemon = NULL;
        return false;
    }
    uv_timer_init(server->loop, &host->timer);
    uv_idle_init(server->loop, &host->run_soon);
    host->poll.data = host->timer.data = host->run_soon.data = host;
    server->alive += 3;
    (void)uv_poll_start(&host->poll, UV_READABLE, host_ready);
    return true;
}

void server_release(struct http_server *server)
{
    if (--server->alive > 0)
        return;
    const struct http_server_events *events = server->events;
    void *owner = server->owner;
    mem_free(server->unix_path);
    mem_free(server);
    if (events != NULL)
        events->on_closed(owner);
}

static void handle_closed(uv_handle_t *handle)
{
    struct host *host = handle->data;
    server_release(host->server);
}

static void end_everything(struct http_server *server)
{
    while (!list_is_empty(&server->asked)) {
        struct http_request *request =
            LIST_OWNER(server->asked.head.next, struct http_request, in_asked);
        link_remove(&request->in_asked);
        if (request->is_owned)
            request_hang_up(request);
        else
            request_resume(request);
    }
    streams_close(server);
}

/* Stopping while a connection is suspended is an error there; running once takes back what was
 * resumed. */
static void host_close(struct host *host)
{
    if (host->daemon == NULL)
        return;
    MHD_run(host->daemon);
    uv_close((uv_handle_t *)&host->poll, handle_closed);
    uv_close((uv_handle_t *)&host->timer, handle_closed);
    uv_close((uv_handle_t *)&host->run_soon, handle_closed);
    MHD_stop_daemon(host->daemon);
}

static void closer_closed(uv_handle_t *handle)
{
    server_release(handle->data);
}

static void close_now(uv_idle_t *closer)
{
    struct http_server *server = closer->data;
    end_everything(server);
    host_close(&server->tcp);
    host_close(&server->local);
    if (server->unix_path != NULL)
        http_unlisten_unix(server->unix_path, server->unix_name);
    visitors_close(server);
    uv_close((uv_handle_t *)&server->sender, closer_closed);
    uv_close((uv_handle_t *)closer, closer_closed);
}

/* Not at once: we may be inside a callback of the library. */
void http_server_close(struct http_server *server)
{
    assert(!server->closing);
    server->closing = true;
    uv_idle_start(&server->closer, close_now);
}

static struct http_server *server_new(uv_loop_t *loop, const struct http_server_options *options)
{
    struct http_server *server = mem_new(sizeof *server);
    if (server == NULL)
        return NULL;
    int64_t idle_ms = options->idle_timeout.ms;
    server->loop = loop;
    server->body_max = options->body_max > 0 ? options->body_max : BODY_MAX;
    server->stream_max = options->stream_max > 0 ? options->stream_max : STREAM_MAX;
    server->idle_timeout_s = idle_ms > 0 ? (unsigned)((idle_ms + 999) / 1000) : IDLE_TIMEOUT_S;
    list_init(&server->asked);
    list_init(&server->streams);
    list_init(&server->unsent);
    uv_idle_init(loop, &server->closer);
    uv_idle_init(loop, &server->sender);
    server->closer.data = server->sender.data = server;
    server->alive = 3;
    visitors_init(server, options);
    return server;
}

static enum err open_unix(struct http_server *server, const struct http_server_options *options,
                          const char **why)
{
    int fd;
    mode_t mode = options->unix_mode > 0 ? options->unix_mode & 0664 : UNIX_MODE;
    char *path = mem_copy(str_of(options->unix_path));
    if (path == NULL)
        return ERR_NOMEM;
    enum err err = http_listen_unix(path, mode, &fd, &server->unix_name, why);
    if (err != ERR_OK) {
        mem_free(path);
        return err;
    }
    server->unix_path = path;
    server->local.is_unix = true;
    return host_open(server, &server->local, fd) ? ERR_OK : ERR_SYSTEM;
}

static enum err open_tcp(struct http_server *server, const char *place, const char **why)
{
    int fd;
    enum err err = http_listen_tcp(place, &fd, &server->port, why);
    if (err != ERR_OK)
        return err;
    return host_open(server, &server->tcp, fd) ? ERR_OK : ERR_SYSTEM;
}

enum err http_server_open(uv_loop_t *loop, const struct http_server_options *options,
                          const struct http_server_events *events, void *owner,
                          struct http_server **out, const char **why)
{
    const char *unheard = NULL;
    why = why != NULL ? why : &unheard;
    *why = "the HTTP library does not start";
    struct http_server *server = server_new(loop, options);
    if (server == NULL)
        return ERR_NOMEM;
    enum err err = ERR_OK;
    if (options->tcp != NULL)
        err = open_tcp(server, options->tcp, why);
    if (err == ERR_OK && options->unix_path != NULL)
        err = open_unix(server, options, why);
    if (err != ERR_OK) {
        http_server_close(server); /* the loop frees it; no events yet, so nobody is told */
        return err;
    }
    server->events = events;
    server->owner = owner;
    *why = NULL;
    *out = server;
    return ERR_OK;
}

unsigned http_server_port(const struct http_server *server)
{
    return server->port;
}

static size_t host_connections(const struct host *host)
{
    if (host->daemon == NULL)
        return 0;
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(host->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info != NULL ? info->num_connections : 0;
}

size_t http_server_connections(const struct http_server *server)
{
    return host_connections(&server->tcp) + host_connections(&server->local) + server->stream_count;
}
