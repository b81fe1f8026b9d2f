/* Happy path: http_stream -> next_bytes (suspends, there is nothing) -> http_stream_send (resumes)
 * -> next_bytes … -> http_stream_end -> freed -> on_stream_closed. A peer that hangs up, or reads
 * too slowly, ends in freed() as well. */
#include <assert.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "io/http_parts.h"

enum { BLOCK = 4096 };

static void wake(struct http_stream *stream)
{
    if (!stream->suspended)
        return;
    stream->suspended = false;
    MHD_resume_connection(stream->connection);
    host_run_soon(stream->host);
}

static void stream_hang_up(void *owner)
{
    struct http_stream *stream = owner;
    stream->cut = true;
    wake(stream);
}

void stream_finish(struct http_stream *stream)
{
    stream->ending = true;
    wake(stream);
}

static void sleep_until_woken(struct http_stream *stream)
{
    if (stream->watch == NULL)
        stream->watch = watch_new(stream->host, stream->connection, stream_hang_up, stream);
    stream->suspended = true;
    MHD_suspend_connection(stream->connection);
}

static void ask_for_more(struct http_stream *stream)
{
    struct http_server *server = stream->host->server;
    if (server->events->on_stream_ready != NULL && stream->handed_out && !stream->ending)
        server->events->on_stream_ready(server->owner, stream, stream->stream_owner);
}

static ssize_t next_bytes(void *owner, uint64_t position, char *out, size_t room)
{
    struct http_stream *stream = owner;
    (void)position;
    if (stream->cut)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (stream->waiting.len == 0)
        ask_for_more(stream);
    if (stream->waiting.len == 0 && stream->ending)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (stream->waiting.len == 0) {
        sleep_until_woken(stream);
        return 0;
    }
    size_t len = stream->waiting.len < room ? stream->waiting.len : room;
    memcpy(out, stream->waiting.bytes, len);
    buf_drop(&stream->waiting, len);
    return (ssize_t)len;
}

static void freed(void *owner)
{
    struct http_stream *stream = owner;
    struct http_server *server = stream->host->server;
    watch_free(stream->watch);
    buf_fini(&stream->waiting);
    link_remove(&stream->in_streams);
    server->stream_count -= stream->handed_out ? 1 : 0;
    if (stream->handed_out)
        server->events->on_stream_closed(server->owner, stream, stream->stream_owner);
    mem_free(stream);
}

static struct MHD_Response *make_response(struct http_stream *stream, const char *const headers[])
{
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, next_bytes, stream, freed);
    if (response == NULL)
        return NULL;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Accel-Buffering", "no"); /* nginx would hold events back */
    for (size_t i = 0; headers != NULL && headers[i] != NULL; i += 2)
        MHD_add_response_header(response, headers[i], headers[i + 1]);
    return response;
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
    struct http_stream *stream = mem_new(sizeof *stream);
    struct MHD_Response *response = stream != NULL ? make_response(stream, headers) : NULL;
    if (response == NULL) {
        mem_free(stream);
        http_problem(request, MHD_HTTP_SERVICE_UNAVAILABLE, "unavailable", "Out of memory", NULL,
                     NULL, 1);
        return NULL;
    }
    stream->host = request->host;
    stream->connection = request->connection;
    stream->waiting.limit = server->stream_max;
    stream->stream_owner = stream_owner;
    stream->handed_out = true;
    server->stream_count++;
    request->is_stream = true;
    list_add_last(&server->streams, &stream->in_streams);
    (void)MHD_set_connection_option(request->connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
    request_settle(request, MHD_HTTP_OK, response);
    return stream;
}

/* A peer that does not read would keep the connection for ever: nothing more is written to it, so
 * nothing fails. Breaking the socket makes libmicrohttpd look. */
void http_stream_cut(struct http_stream *stream)
{
    stream->cut = true;
    (void)shutdown(host_socket(stream->connection), SHUT_RDWR);
    wake(stream);
}

enum err http_stream_send(struct http_stream *stream, struct str bytes)
{
    if (stream->cut || stream->ending)
        return ERR_FULL;
    if (buf_add_str(&stream->waiting, bytes) != ERR_OK) {
        http_stream_cut(stream);
        return ERR_FULL;
    }
    wake(stream);
    return ERR_OK;
}

void http_stream_end(struct http_stream *stream)
{
    struct http_server *server = stream->host->server;
    assert(!stream->ending);
    stream->ending = true;
    (void)MHD_set_connection_option(stream->connection, MHD_CONNECTION_OPTION_TIMEOUT,
                                    server->idle_timeout_s); /* for who does not read the rest */
    wake(stream);
}

size_t http_stream_waiting(const struct http_stream *stream)
{
    return stream->waiting.len;
}
