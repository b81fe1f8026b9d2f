/* Bytes of anybody, sent to the HTTP server: it answers or closes, what it hands over is whole, and
 * every reader of lib/api can be asked about it. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/api.h"
#include "fuzz/peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static uv_loop_t loop;
static struct http_server *server;
static char folder[] = "/tmp/fuzz-http-XXXXXX", path[64];

static void look_at(struct str text)
{
    volatile char last = 0;
    for (size_t i = 0; i < text.len; i++)
        last = text.at[i];
    (void)last;
}

static bool look_at_query(void *owner, struct str name, struct str value)
{
    (void)owner;
    look_at(name);
    look_at(value);
    return true;
}

/* False: a reader has answered. */
static bool is_read(struct http_request *request)
{
    static const char *const allowed[] = {"wait", "limit", "id", NULL};
    struct str token, id = STR_NONE;
    int64_t limit = 0;
    if (!api_bearer(request, &token) || !api_check_query(request, allowed)
        || !api_query_int(request, "limit", 1, 1000, &limit) || !api_query_id(request, "id", &id))
        return false;
    assert(token.at == NULL || (token.len >= 16 && token.len <= 256));
    assert(limit >= 0 && limit <= 1000 && id.len <= RUN_ID_MAX);
    look_at(api_trace_id(request));
    json_t *body = api_read_object(request);
    bool is_object = body != NULL;
    json_decref(body);
    return is_object;
}

static void serve(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX])
{
    (void)owner;
    assert(part[0].len > 0 && part[0].len <= RUN_ID_MAX);
    if (is_read(request))
        http_answer(request, 200, "text/plain", http_path(request), NULL);
}

static void serve_stream(void *owner, struct http_request *request,
                         const struct str part[API_PARTS_MAX])
{
    (void)owner, (void)part;
    struct http_stream *stream = http_stream(request, NULL, NULL);
    assert(stream != NULL && http_stream_send(stream, STR(": hello\n\n")) == ERR_OK);
    http_stream_end(stream);
}

static void on_request(void *owner, struct http_request *request)
{
    static const struct api_route routes[] = {
        {"POST", "/v1/runs/{id}/cancel", serve},
        {"GET", "/v1/runs/{id}", serve},
        {"GET", "/v1/events", serve_stream},
    };
    look_at(http_method(request));
    look_at(http_path(request));
    look_at(http_body(request));
    look_at(http_header(request, "baggage"));
    http_query_each(request, look_at_query, NULL);
    api_route(request, routes, sizeof routes / sizeof routes[0], owner);
}

static void on_stream_closed(void *owner, struct http_stream *stream, void *stream_owner)
{
    (void)owner, (void)stream, (void)stream_owner;
}

static void clean_up(void)
{
    (void)unlink(path);
    (void)rmdir(folder);
}

static void begin(void)
{
    static const struct http_server_events events = {.on_request = on_request,
                                                     .on_stream_closed = on_stream_closed};
    const struct http_server_options options = {.unix_path = path};
    assert(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/s", folder);
    (void)atexit(clean_up);
    assert(uv_loop_init(&loop) == 0);
    assert(http_server_open(&loop, &options, &events, NULL, &server, NULL) == ERR_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct buf answer = {0};
    if (server == NULL)
        begin();
    peer_ask(&loop, path, (struct str){(const char *)bytes, len}, &answer);
    buf_fini(&answer);
    return 0;
}
