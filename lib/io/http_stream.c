/* An event stream leaves the library: it keeps some 20 KiB for each connection, and looks at every
 * one that waits whenever one of them goes on, so that thousands of streams would make each cancel
 * wait. Its socket is duplicated, the library is told to close (which, with MHD_USE_TURBO, shuts
 * nothing down), and from then on bytes are all there is to it.
 *
 * Happy path: http_stream -> http_stream_send -> unsent (the next turn) -> write_out -> … ->
 * http_stream_end -> shut -> handle_closed -> on_stream_closed. A peer that hangs up, or reads too
 * slowly, ends in shut() as well. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/http_parts.h"

enum {
    TOGETHER_MAX = 32 << 20, /* bytes that wait on all streams */
    MUCH = TOGETHER_MAX / 2, /* then they are written at once */
    CHUNK_MORE = 24          /* around the bytes of a chunk */
};
static const char last_chunk[] = "0\r\n\r\n";

struct http_stream {
    struct link in_streams, in_unsent;
    struct http_server *server;
    uv_poll_t poll;
    uv_timer_t patience; /* with who does not read the rest */
    unsigned open_handles;
    int fd; /* -1: it is being closed */
    struct buf waiting;
    bool is_chunked, is_blocked, is_broken, is_ending;
    bool is_head; /* HEAD was asked: the headers are all there is (RFC 9110, section 9.3.2) */
    void *stream_owner;
};

/* ---- closing ------------------------------------------------------------------------------- */

static void handle_closed(uv_handle_t *handle)
{
    struct http_stream *stream = handle->data;
    struct http_server *server = stream->server;
    if (--stream->open_handles > 0)
        return;
    link_remove(&stream->in_streams);
    server->stream_count--;
    server->held--;
    server->events->on_stream_closed(server->owner, stream, stream->stream_owner);
    mem_free(stream);
    server_release(server);
}

static void shut(struct http_stream *stream)
{
    if (stream->fd < 0)
        return;
    link_remove(&stream->in_unsent);
    stream->server->stream_bytes -= stream->waiting.len;
    buf_fini(&stream->waiting);
    uv_close((uv_handle_t *)&stream->poll, handle_closed); /* takes it out of epoll at once */
    uv_close((uv_handle_t *)&stream->patience, handle_closed);
    close(stream->fd);
    stream->fd = -1;
}

static void out_of_patience(uv_timer_t *timer)
{
    shut(timer->data);
}

/* ---- writing ------------------------------------------------------------------------------- */

static void polled(uv_poll_t *poll, int status, int events);

static void listen_for(struct http_stream *stream, bool is_blocked)
{
    stream->is_blocked = is_blocked;
    (void)uv_poll_start(&stream->poll, UV_DISCONNECT | (is_blocked ? UV_WRITABLE : 0), polled);
}

/* As much as the socket takes; calls nobody back. */
static void write_out(struct http_stream *stream)
{
    if (stream->fd < 0 || stream->waiting.len == 0 || stream->is_broken)
        return;
    ssize_t sent =
        send(stream->fd, stream->waiting.bytes, stream->waiting.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    stream->is_broken = sent < 0 && errno != EAGAIN && errno != EINTR;
    if (sent <= 0)
        return;
    stream->server->stream_bytes -= (size_t)sent;
    if ((size_t)sent == stream->waiting.len)
        buf_fini(&stream->waiting); /* most streams are silent for most of their life */
    else
        buf_drop(&stream->waiting, (size_t)sent);
}

static void go_on(struct http_stream *stream)
{
    struct http_server *server = stream->server;
    write_out(stream);
    bool is_done = stream->waiting.len == 0;
    if (stream->is_broken || (is_done && (stream->is_ending || stream->is_head))) {
        shut(stream);
        return;
    }
    if (stream->is_blocked == is_done)
        listen_for(stream, !is_done);
    if (is_done && server->events->on_stream_ready != NULL)
        server->events->on_stream_ready(server->owner, stream, stream->stream_owner);
}

static void polled(uv_poll_t *poll, int status, int events)
{
    struct http_stream *stream = poll->data;
    if (status < 0 || (events & UV_DISCONNECT) != 0)
        shut(stream);
    else if ((events & UV_WRITABLE) != 0)
        go_on(stream);
}

/* What is sent while they go on waits for the next turn. */
static void send_unsent(uv_idle_t *idle)
{
    struct http_server *server = idle->data;
    struct list now;
    list_init(&now);
    LIST_EACH (at, then, &server->unsent) {
        link_remove(at);
        list_add_last(&now, at);
    }
    uv_idle_stop(idle);
    while (!list_is_empty(&now)) {
        struct http_stream *stream = LIST_OWNER(now.head.next, struct http_stream, in_unsent);
        link_remove(&stream->in_unsent);
        go_on(stream);
    }
}

static void wake(struct http_stream *stream)
{
    struct http_server *server = stream->server;
    if (stream->is_blocked || link_is_in_list(&stream->in_unsent))
        return;
    list_add_last(&server->unsent, &stream->in_unsent);
    uv_idle_start(&server->sender, send_unsent);
}

/* ---- sending ------------------------------------------------------------------------------- */

static bool put(struct http_stream *stream, struct str bytes)
{
    size_t had = stream->waiting.len;
    bool fits;
    if (stream->is_chunked)
        fits = buf_addf(&stream->waiting, "%zx\r\n", bytes.len) == ERR_OK
               && buf_add_str(&stream->waiting, bytes) == ERR_OK
               && buf_add_text(&stream->waiting, "\r\n") == ERR_OK;
    else
        fits = buf_add_str(&stream->waiting, bytes) == ERR_OK;
    if (!fits)
        buf_cut(&stream->waiting, had);
    stream->server->stream_bytes += stream->waiting.len - had;
    return fits;
}

static struct http_stream *greediest(const struct http_server *server)
{
    struct http_stream *found = NULL;
    LIST_EACH (at, then, &server->streams) {
        struct http_stream *stream = LIST_OWNER(at, struct http_stream, in_streams);
        if (found == NULL || stream->waiting.len > found->waiting.len)
            found = stream;
    }
    return found;
}

/* Asked for at most stream_max. A stream may be slow, but many slow ones together may not fill the
 * memory: who has the most waiting goes first. False: it was this one. */
static bool make_room(struct http_stream *stream, size_t len)
{
    struct http_server *server = stream->server;
    while (server->stream_bytes + len + CHUNK_MORE > TOGETHER_MAX && stream->fd >= 0)
        shut(greediest(server));
    return stream->fd >= 0;
}

enum err http_stream_send(struct http_stream *stream, struct str bytes)
{
    if (stream->fd < 0 || stream->is_ending)
        return ERR_FULL;
    if (bytes.len == 0 || stream->is_head) /* an empty chunk would be the last */
        return ERR_OK;
    bool fits = bytes.len <= stream->server->stream_max;
    if (!fits || !make_room(stream, bytes.len) || !put(stream, bytes)) {
        shut(stream);
        return ERR_FULL;
    }
    if (stream->server->stream_bytes > MUCH)
        write_out(stream);
    wake(stream);
    return ERR_OK;
}

size_t http_stream_waiting(const struct http_stream *stream)
{
    return stream->waiting.len;
}

/* ---- beginning and end --------------------------------------------------------------------- */

static void put_head(struct http_stream *stream, const char *const headers[])
{
    char date[64];
    struct tm parts;
    time_t now = time(NULL);
    struct buf *out = &stream->waiting;
    (void)strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &parts));
    buf_addf(out,
             "HTTP/1.1 200 OK\r\nDate: %s\r\nConnection: close\r\nCache-Control: no-store\r\n"
             "Content-Type: text/event-stream\r\n%s",
             date, stream->is_chunked ? "Transfer-Encoding: chunked\r\n" : "");
    buf_add_text(out, "X-Accel-Buffering: no\r\n"); /* nginx would hold events back */
    for (size_t i = 0; headers != NULL && headers[i] != NULL; i += 2) {
        size_t len = strcspn(headers[i], "\r\n"), value = strcspn(headers[i + 1], "\r\n");
        assert(headers[i][len] == '\0' && headers[i + 1][value] == '\0');
        (void)len, (void)value;
        buf_addf(out, "%s: %s\r\n", headers[i], headers[i + 1]);
    }
    buf_add_text(out, "\r\n");
    stream->server->stream_bytes += out->len;
}

/* NULL: no memory or descriptor. */
static struct http_stream *stream_new(struct http_request *request, void *stream_owner,
                                      const char *const headers[])
{
    struct http_server *server = request->host->server;
    struct http_stream *stream = mem_new(sizeof *stream);
    if (stream == NULL)
        return NULL;
    stream->fd = fcntl(host_socket(request->connection), F_DUPFD_CLOEXEC, 0);
    if (stream->fd < 0 || uv_poll_init(server->loop, &stream->poll, stream->fd) != 0) {
        if (stream->fd >= 0)
            close(stream->fd);
        mem_free(stream);
        return NULL;
    }
    uv_timer_init(server->loop, &stream->patience);
    stream->poll.data = stream->patience.data = stream;
    stream->open_handles = 2;
    stream->server = server;
    stream->stream_owner = stream_owner;
    stream->is_chunked = !request->is_old;
    stream->is_head = strcmp(request->method, MHD_HTTP_METHOD_HEAD) == 0;
    listen_for(stream, false);
    put_head(stream, headers);
    stream->waiting.limit = server->stream_max;
    list_add_last(&server->streams, &stream->in_streams);
    server->alive++;
    server->stream_count++;
    server->held++;
    return stream;
}

struct http_stream *http_stream(struct http_request *request, void *stream_owner,
                                const char *const headers[])
{
    struct http_server *server = request->host->server;
    if (server->stream_count >= server->streams_max) {
        http_problem(request, MHD_HTTP_TOO_MANY_REQUESTS, "overloaded", "Overloaded",
                     "Too many event streams are open.", NULL, 1);
        return NULL;
    }
    struct http_stream *stream = stream_new(request, stream_owner, headers);
    if (stream == NULL) {
        http_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE, "unavailable", "Out of memory", NULL,
                     NULL, 1);
        return NULL;
    }
    request->is_stream = true;
    request_settle(request, 0, NULL);
    wake(stream);
    return stream;
}

static void end(struct http_stream *stream)
{
    stream->is_ending = true;
    if (stream->fd < 0)
        return;
    size_t had = stream->waiting.len;
    stream->waiting.limit = 0; /* for these few bytes there is always room */
    if (stream->is_chunked && !stream->is_head
        && buf_add_text(&stream->waiting, last_chunk) == ERR_OK)
        stream->server->stream_bytes += stream->waiting.len - had;
    uv_timer_start(&stream->patience, out_of_patience,
                   (uint64_t)stream->server->idle_timeout_s * 1000, 0);
    wake(stream);
}

void http_stream_end(struct http_stream *stream)
{
    assert(!stream->is_ending);
    end(stream);
}

void http_stream_cut(struct http_stream *stream)
{
    shut(stream);
}

void streams_close(struct http_server *server)
{
    LIST_EACH (at, then, &server->streams) {
        struct http_stream *stream = LIST_OWNER(at, struct http_stream, in_streams);
        if (!stream->is_ending)
            end(stream);
        write_out(stream);
        shut(stream);
    }
}
