/* http_server spoken to over real sockets, by a client that shares its loop. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "base/buf.h"
#include "io/http_server.h"

enum { WAIT_MS = 10000, TEXT = 256, KEPT = 8 };

struct scene {
    uv_loop_t loop;
    uv_timer_t tick; /* makes UV_RUN_ONCE return, so that a wait is bounded */
    char folder[64], path[96];
    struct http_server *server;
    struct http_request *late[KEPT];         /* waiting for their answers */
    struct http_stream *stream;              /* the latest */
    const struct http_stream *stream_closed; /* the latest: to compare, no more */
    unsigned lates, requests, hangups, streams_closed, closed;
    unsigned lines_to_send, lines_sent; /* on the stream, as it takes them */
    void *hung_up, *stream_owner_closed;
    pid_t peer;
    struct buf got; /* what the client has read */
    bool close_in_request;
};

static void ticked(uv_timer_t *timer)
{
    (void)timer;
}

static bool list_query(void *owner, struct str name, struct str value)
{
    buf_addf(owner, "%.*s=%.*s;", (int)name.len, name.at, (int)value.len, value.at);
    return true;
}

static void tell_all(struct scene *scene, struct http_request *request)
{
    struct buf text = {0};
    struct str method = http_method(request), path = http_path(request);
    struct str many = http_header(request, "x-many"), one = http_query(request, "one");
    buf_addf(&text, "%.*s %.*s many=%.*s one=%.*s all=", (int)method.len, method.at, (int)path.len,
             path.at, (int)many.len, many.at, (int)one.len, one.at);
    http_query_each(request, list_query, &text);
    static const char *const headers[] = {"X-Story", "told", NULL};
    (void)scene;
    http_answer(request, 200, "text/plain", buf_str(&text), headers);
    buf_fini(&text);
}

static void on_request(void *owner, struct http_request *request)
{
    static const char *const headers[] = {"X-Story", "told", NULL};
    struct scene *scene = owner;
    struct str path = http_path(request);
    uid_t uid;
    gid_t gid;
    scene->requests++;
    if (!http_peer(request, &scene->peer, &uid, &gid))
        scene->peer = -1;
    if (scene->close_in_request)
        http_server_close(scene->server);
    if (str_is(path, "/echo"))
        http_answer(request, 200, "text/plain", http_body(request), NULL);
    else if (str_is(path, "/json"))
        http_answer_json(request, 201, json_pack("{s:i}", "a", 1), NULL);
    else if (str_is(path, "/problem"))
        http_problem(request, 503, "redis_down", "Redis is down", "try again",
                     json_pack("{s:s}", "run", "r1"), 2);
    else if (str_is(path, "/garbled"))
        http_problem(request, 422, "invalid", "Invalid", "cut in a character: \xc3", NULL, 0);
    else if (str_is(path, "/stream"))
        scene->stream = http_stream(request, &scene->stream, headers);
    else if (path.len >= 5 && memcmp(path.at, "/late", 5) == 0)
        scene->late[scene->lates++] = request;
    else
        tell_all(scene, request);
    if (str_is(path, "/late/owned"))
        http_request_own(request, &scene->late);
}

static void on_hangup(void *owner, void *request_owner)
{
    struct scene *scene = owner;
    scene->hangups++;
    scene->hung_up = request_owner;
}

static void on_stream_closed(void *owner, struct http_stream *stream, void *stream_owner)
{
    struct scene *scene = owner;
    scene->streams_closed++;
    scene->stream_owner_closed = stream_owner;
    scene->stream_closed = stream;
    scene->stream = scene->stream == stream ? NULL : scene->stream;
}

static void on_stream_ready(void *owner, struct http_stream *stream, void *stream_owner)
{
    struct scene *scene = owner;
    (void)stream_owner;
    while (scene->lines_sent < scene->lines_to_send && http_stream_waiting(stream) < 1000) {
        char line[16];
        snprintf(line, sizeof line, "line %u\n", ++scene->lines_sent);
        assert_int_equal(http_stream_send(stream, str_of(line)), ERR_OK);
    }
}

static void on_closed(void *owner)
{
    ((struct scene *)owner)->closed++;
}

static const struct http_server_events events = {on_request, on_hangup, on_stream_closed, on_closed,
                                                 on_stream_ready};

#define WAIT_FOR(scene, condition)                                                          \
    do {                                                                                    \
        uint64_t start_ = uv_hrtime();                                                      \
        while (!(condition)) {                                                              \
            uv_run(&(scene)->loop, UV_RUN_ONCE);                                            \
            if (uv_hrtime() - start_ > WAIT_MS * 1000000ull)                                \
                fail_msg("waited in vain for %s; got: %s", #condition, (scene)->got.bytes); \
        }                                                                                   \
    } while (0)

static void open_server(struct scene *scene, struct http_server_options options)
{
    const char *why = "";
    options.tcp = options.unix_path == NULL ? "127.0.0.1:0" : NULL;
    if (http_server_open(&scene->loop, &options, &events, scene, &scene->server, &why) != ERR_OK)
        fail_msg("%s", why);
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    strcpy(scene->folder, "/tmp/http-server-XXXXXX");
    if (mkdtemp(scene->folder) == NULL)
        return -1;
    snprintf(scene->path, sizeof scene->path, "%s/s", scene->folder);
    uv_loop_init(&scene->loop);
    uv_timer_init(&scene->loop, &scene->tick);
    uv_timer_start(&scene->tick, ticked, 2, 2);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    if (scene->server != NULL && !scene->close_in_request)
        http_server_close(scene->server);
    uv_close((uv_handle_t *)&scene->tick, NULL);
    uv_run(&scene->loop, UV_RUN_DEFAULT);
    bool clean = uv_loop_close(&scene->loop) == 0 && scene->closed == (scene->server != NULL);
    buf_fini(&scene->got);
    unlink(scene->path);
    rmdir(scene->folder);
    free(scene);
    return clean ? 0 : -1;
}

static int dial(struct scene *scene)
{
    struct sockaddr_in tcp = {.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)http_server_port(scene->server)),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(connect(fd, (struct sockaddr *)&tcp, sizeof tcp) == 0 || errno == EINPROGRESS);
    return fd;
}

static int dial_unix(struct scene *scene)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strcpy(name.sun_path, scene->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
    return fd;
}

/* Writes all of it, running the loop while the socket is full. */
static void say(struct scene *scene, int fd, const char *bytes, size_t len)
{
    size_t sent = 0;
    while (sent < len) {
        ssize_t n = send(fd, bytes + sent, len - sent, MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        else if (errno == EPIPE || errno == ECONNRESET)
            return;
        uv_run(&scene->loop, UV_RUN_ONCE);
    }
}

static void say_text(struct scene *scene, int fd, const char *text)
{
    say(scene, fd, text, strlen(text));
}

static void get(struct scene *scene, int fd, const char *path)
{
    char text[TEXT];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    say_text(scene, fd, text);
}

/* What came so far holds `wanted`; or, with NULL: the connection has ended. */
static bool heard(struct scene *scene, int fd, const char *wanted)
{
    char bytes[4096];
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0) /* all that is there: turns may be slow */
        buf_add(&scene->got, bytes, (size_t)n);
    bool ended = n == 0 || (n < 0 && errno != EAGAIN);
    if (wanted == NULL)
        return ended;
    return scene->got.bytes != NULL && strstr(scene->got.bytes, wanted) != NULL;
}

static void a_request_is_told_whole_and_answered_at_once(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    int fd = dial(scene);
    say_text(scene, fd,
             "PUT /a%20b/c?one=%C3%BC+x&flag HTTP/1.1\r\nHost: x\r\nX-Many: 1\r\n"
             "X-Many: 2\r\nContent-Length: 0\r\n\r\n");
    WAIT_FOR(scene,
             heard(scene, fd, "PUT /a b/c many=1, 2 one=\xC3\xBC x all=one=\xC3\xBC x;flag=;"));
    assert_non_null(strstr(scene->got.bytes, "HTTP/1.1 200"));
    assert_non_null(strstr(scene->got.bytes, "X-Story: told"));
    assert_int_equal(scene->peer, -1);
    assert_int_equal(http_server_connections(scene->server), 1);
    close(fd);
    WAIT_FOR(scene, http_server_connections(scene->server) == 0);
}

static void a_nul_in_the_path_does_not_cut_it_short(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    int fd = dial(scene);
    get(scene, fd, "/a%00b");
    WAIT_FOR(scene, heard(scene, fd, "GET /a%00b many="));
    close(fd);
}

static void an_encoded_slash_parts_nothing_in_a_path(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    int fd = dial(scene);
    get(scene, fd, "/a%2Fb%2fc?one=x%2fy");
    WAIT_FOR(scene, heard(scene, fd, "GET /a%2Fb%2fc many= one=x/y"));
    close(fd);
}

static void a_body_in_pieces_arrives_whole(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    int fd = dial(scene);
    say_text(scene, fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\none, ");
    WAIT_FOR(scene, http_server_connections(scene->server) == 1);
    say_text(scene, fd, "and two");
    WAIT_FOR(scene, heard(scene, fd, "one, and two"));
    say_text(scene, fd,
             "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    WAIT_FOR(scene, heard(scene, fd, "100 Continue"));
    say_text(scene, fd, "three");
    WAIT_FOR(scene, heard(scene, fd, "three"));
    close(fd);
}

static void json_and_problems_have_their_form(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    int fd = dial(scene);
    get(scene, fd, "/json");
    WAIT_FOR(scene, heard(scene, fd, "{\"a\":1}"));
    assert_non_null(strstr(scene->got.bytes, "HTTP/1.1 201"));
    assert_non_null(strstr(scene->got.bytes, "Content-Type: application/json"));
    get(scene, fd, "/problem");
    WAIT_FOR(scene, heard(scene, fd, "\"run\":\"r1\"}"));
    assert_non_null(strstr(scene->got.bytes, "HTTP/1.1 503"));
    assert_non_null(strstr(scene->got.bytes, "Content-Type: application/problem+json"));
    assert_non_null(strstr(scene->got.bytes, "Retry-After: 2"));
    assert_non_null(strstr(scene->got.bytes,
                           "{\"type\":\"about:blank\",\"title\":\"Redis is down\",\"status\":503,"
                           "\"code\":\"redis_down\",\"detail\":\"try again\","));
    close(fd);
}

static void a_detail_that_is_no_text_is_answered_all_the_same(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    int fd = dial(scene);
    get(scene, fd, "/garbled");
    WAIT_FOR(scene, heard(scene, fd, "\"detail\":\"cut in a character: \xef\xbf\xbd\""));
    assert_non_null(strstr(scene->got.bytes, "HTTP/1.1 422"));
    close(fd);
}

static void a_body_beyond_the_limit_gets_413(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){.body_max = 100});
    static char big[5000];
    memset(big, 'x', sizeof big);
    static const char *const heads[] = {
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4990\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n137e\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4990\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        int fd = dial(scene);
        say_text(scene, fd, heads[i]);
        if (i < 2)
            say(scene, fd, big, 4990);
        if (i == 1)
            say_text(scene, fd, "\r\n0\r\n\r\n");
        WAIT_FOR(scene, heard(scene, fd, "\"code\":\"too_large\""));
        assert_non_null(strstr(scene->got.bytes, "HTTP/1.1 413"));
        buf_clear(&scene->got);
        close(fd);
    }
    assert_int_equal(scene->requests, 0);
}

static void an_answer_may_come_later_and_the_connection_goes_on(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    int fd = dial(scene);
    get(scene, fd, "/late/owned");
    WAIT_FOR(scene, scene->lates == 1);
    http_answer(scene->late[0], 200, "text/plain", STR("at last"), NULL);
    WAIT_FOR(scene, heard(scene, fd, "at last"));
    get(scene, fd, "/late/owned");
    get(scene, fd, "/after");
    WAIT_FOR(scene, scene->lates == 2);
    assert_int_equal(scene->requests, 2); /* a connection is answered in order */
    http_answer(scene->late[1], 200, "text/plain", STR("again"), NULL);
    WAIT_FOR(scene, heard(scene, fd, "/after many="));
    assert_non_null(strstr(scene->got.bytes, "again"));
    assert_int_equal(scene->hangups, 0);
    close(fd);
}

static void a_hang_up_before_the_answer_is_noticed(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    int fd = dial(scene);
    get(scene, fd, "/late/owned");
    WAIT_FOR(scene, scene->lates == 1);
    close(fd);
    WAIT_FOR(scene, scene->hangups == 1);
    assert_ptr_equal(scene->hung_up, &scene->late);
    WAIT_FOR(scene, http_server_connections(scene->server) == 0);
}

static void a_hang_up_nobody_asked_about_leaves_the_request_answerable(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    int fd = dial(scene);
    get(scene, fd, "/late/free");
    WAIT_FOR(scene, scene->lates == 1);
    close(fd);
    int other = dial(scene);
    get(scene, other, "/x");
    WAIT_FOR(scene, heard(scene, other, "GET /x"));
    assert_int_equal(scene->hangups, 0);
    http_answer(scene->late[0], 200, "text/plain", STR("too late"), NULL);
    close(other);
    WAIT_FOR(scene, http_server_connections(scene->server) == 0);
}

static void a_stream_opens_at_once_and_carries_what_is_sent(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    int fd = dial(scene);
    get(scene, fd, "/stream");
    WAIT_FOR(scene, heard(scene, fd, "Content-Type: text/event-stream"));
    assert_true(heard(scene, fd, "X-Story: told"));
    assert_int_equal(http_stream_send(scene->stream, STR("data: 1\n\n")), ERR_OK);
    WAIT_FOR(scene, heard(scene, fd, "data: 1\n\n"));
    assert_int_equal(http_stream_send(scene->stream, STR("data: 2\n\n")), ERR_OK);
    assert_int_equal(http_stream_send(scene->stream, STR("data: 3\n\n")), ERR_OK);
    WAIT_FOR(scene, heard(scene, fd, "data: 2\n\n") && heard(scene, fd, "data: 3\n\n"));
    assert_int_equal(http_stream_waiting(scene->stream), 0);
    assert_int_equal(http_stream_send(scene->stream, STR("data: last\n\n")), ERR_OK);
    http_stream_end(scene->stream);
    WAIT_FOR(scene, scene->streams_closed == 1 && heard(scene, fd, "\r\n0\r\n\r\n"));
    assert_non_null(strstr(scene->got.bytes, "data: last\n\n"));
    assert_ptr_equal(scene->stream_owner_closed, &scene->stream);
    WAIT_FOR(scene, heard(scene, fd, NULL)); /* as it was told: */
    assert_non_null(strstr(scene->got.bytes, "\r\nConnection: close\r\n"));
    close(fd);
}

/* RFC 9110, section 9.3.2 */
static void a_stream_that_is_asked_for_by_head_has_headers_alone(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    int fd = dial(scene);
    say_text(scene, fd, "HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    WAIT_FOR(scene, scene->stream != NULL);
    assert_int_equal(http_stream_send(scene->stream, STR("data: 1\n\n")), ERR_OK);
    WAIT_FOR(scene, heard(scene, fd, NULL));
    assert_non_null(strstr(scene->got.bytes, "Content-Type: text/event-stream\r\n"));
    assert_string_equal(strstr(scene->got.bytes, "\r\n\r\n"), "\r\n\r\n");
    assert_int_equal(scene->streams_closed, 1);
    close(fd);
}

/* Far more than may wait at once; and as much as the socket's buffers hold several times. */
static void a_stream_asks_for_more_when_it_has_room(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){.stream_max = 2000});
    int fd = dial(scene);
    scene->lines_to_send = 50000;
    get(scene, fd, "/stream");
    WAIT_FOR(scene, heard(scene, fd, "text/event-stream"));
    WAIT_FOR(scene, !heard(scene, fd, "the end") && scene->lines_sent == 50000
                        && http_stream_waiting(scene->stream) == 0);
    assert_int_equal(http_stream_send(scene->stream, STR("the end")), ERR_OK);
    WAIT_FOR(scene, heard(scene, fd, "the end"));
    assert_int_equal(scene->streams_closed, 0);
    http_stream_cut(scene->stream);
    WAIT_FOR(scene, scene->streams_closed == 1);
    close(fd);
}

static void a_stream_may_be_opened_later(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    int fd = dial(scene);
    get(scene, fd, "/late/owned");
    WAIT_FOR(scene, scene->lates == 1);
    scene->stream = http_stream(scene->late[0], scene, NULL);
    assert_int_equal(http_stream_send(scene->stream, STR("data: 1\n\n")), ERR_OK);
    WAIT_FOR(scene, heard(scene, fd, "data: 1\n\n"));
    close(fd);
    WAIT_FOR(scene, scene->streams_closed == 1);
    assert_int_equal(scene->hangups, 0);
}

static void a_stream_whose_reader_went_away_is_closed(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    int fd = dial(scene);
    get(scene, fd, "/stream");
    WAIT_FOR(scene, heard(scene, fd, "text/event-stream"));
    close(fd);
    WAIT_FOR(scene, scene->streams_closed == 1);
    WAIT_FOR(scene, http_server_connections(scene->server) == 0);
}

static void a_stream_whose_reader_is_too_slow_is_cut(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){.stream_max = 10000});
    int fd = dial(scene);
    get(scene, fd, "/stream");
    WAIT_FOR(scene, heard(scene, fd, "text/event-stream"));
    static char event[1000];
    memset(event, 'x', sizeof event);
    enum err err = ERR_OK;
    for (int i = 0; i < 100000 && err == ERR_OK; i++) {
        err = http_stream_send(scene->stream, (struct str){event, sizeof event});
        uv_run(&scene->loop, UV_RUN_NOWAIT);
        assert_true(scene->stream == NULL || http_stream_waiting(scene->stream) <= 10000);
    }
    assert_int_equal(err, ERR_FULL);
    WAIT_FOR(scene, scene->streams_closed == 1);
    WAIT_FOR(scene, http_server_connections(scene->server) == 0);
    close(fd);
}

/* Each is within its own limit; together they are too many bytes. */
static void of_many_slow_readers_the_slowest_is_cut(void **state)
{
    enum { READERS = 12, PIECE = 3 << 20, LARGER = PIECE + (1 << 19) };
    static char bytes[LARGER];
    struct scene *scene = *state;
    struct http_stream *stream[READERS];
    int fd[READERS];
    memset(bytes, 'x', sizeof bytes);
    open_server(scene, (struct http_server_options){.unix_path = scene->path,
                                                    .stream_max = 4 << 20,
                                                    .streams_max = READERS});
    for (int i = 0; i < READERS; i++) {
        fd[i] = dial_unix(scene);
        scene->stream = NULL;
        get(scene, fd[i], "/stream");
        WAIT_FOR(scene, scene->stream != NULL);
        stream[i] = scene->stream;
        struct str piece = {bytes, i == 3 ? LARGER : PIECE};
        assert_int_equal(http_stream_send(stream[i], piece), ERR_OK);
    }
    WAIT_FOR(scene, scene->streams_closed > 0);
    assert_int_equal(scene->streams_closed, 1);
    assert_ptr_equal(scene->stream_closed, stream[3]);
    WAIT_FOR(scene, heard(scene, fd[3], NULL));
    assert_int_equal(http_stream_send(stream[0], STR("and on it goes")), ERR_OK);
    WAIT_FOR(scene, heard(scene, fd[0], "and on it goes"));
    for (int i = 0; i < READERS; i++)
        close(fd[i]);
    WAIT_FOR(scene, scene->streams_closed == READERS);
}

static void an_old_client_gets_its_stream_without_chunks(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    int fd = dial(scene);
    say_text(scene, fd, "GET /stream HTTP/1.0\r\n\r\n");
    WAIT_FOR(scene, heard(scene, fd, "text/event-stream"));
    assert_int_equal(http_stream_send(scene->stream, STR("data: 1\n\n")), ERR_OK);
    http_stream_end(scene->stream);
    WAIT_FOR(scene, heard(scene, fd, NULL));
    assert_null(strstr(scene->got.bytes, "chunked"));
    assert_non_null(strstr(scene->got.bytes, "\r\n\r\ndata: 1\n\n"));
    assert_string_equal(strstr(scene->got.bytes, "data: 1"), "data: 1\n\n");
    close(fd);
}

/* Who does not read the end of it may not keep it for ever. */
static void a_stream_that_has_ended_waits_for_its_reader_and_not_for_ever(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){.idle_timeout = MILLIS(1000)});
    int fd = dial(scene);
    get(scene, fd, "/stream");
    WAIT_FOR(scene, heard(scene, fd, "text/event-stream"));
    while (http_stream_waiting(scene->stream) < 1000) {
        assert_int_equal(http_stream_send(scene->stream, STR("more and more, ")), ERR_OK);
        uv_run(&scene->loop, UV_RUN_NOWAIT);
    }
    http_stream_end(scene->stream);
    WAIT_FOR(scene, scene->streams_closed == 1);
    close(fd);
}

static void an_idle_connection_is_closed_but_a_stream_is_not(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){.idle_timeout = MILLIS(1000)});
    int stream = dial(scene);
    get(scene, stream, "/stream");
    WAIT_FOR(scene, heard(scene, stream, "text/event-stream"));
    while (http_stream_waiting(scene->stream) == 0) { /* its reader has stopped reading */
        assert_int_equal(http_stream_send(scene->stream, STR("more and more, ")), ERR_OK);
        uv_run(&scene->loop, UV_RUN_NOWAIT);
        uv_run(&scene->loop, UV_RUN_NOWAIT);
    }
    int idle = dial(scene);
    WAIT_FOR(scene, http_server_connections(scene->server) == 2);
    WAIT_FOR(scene, heard(scene, idle, NULL));
    WAIT_FOR(scene, http_server_connections(scene->server) <= 1);
    assert_int_equal(scene->streams_closed, 0);
    assert_int_equal(http_stream_send(scene->stream, STR("still here")), ERR_OK);
    WAIT_FOR(scene, heard(scene, stream, "still here"));
    close(stream);
    close(idle);
}

/* ---- crowds -------------------------------------------------------------------------------- */

static struct rlimit usual_files;

/* With 512 files 128 connections may wait. */
static int set_up_with_few_files(void **state)
{
    struct rlimit few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual_files), 0);
    few = usual_files;
    few.rlim_cur = 512;
    return setrlimit(RLIMIT_NOFILE, &few) != 0 ? -1 : set_up(state);
}

static int tear_down_with_few_files(void **state)
{
    (void)setrlimit(RLIMIT_NOFILE, &usual_files);
    return tear_down(state);
}

static void who_asks_gets_in_although_a_crowd_says_nothing(void **state)
{
    enum { CROWD = 160, MAY_WAIT = 128 };
    struct scene *scene = *state;
    int silent[CROWD];
    open_server(scene, (struct http_server_options){0});
    int late = dial(scene);
    get(scene, late, "/late");
    WAIT_FOR(scene, scene->lates == 1);
    for (int i = 0; i < CROWD; i++) {
        silent[i] = dial(scene);
        uv_run(&scene->loop, UV_RUN_NOWAIT);
    }
    int asks = dial(scene);
    get(scene, asks, "/x");
    WAIT_FOR(scene, heard(scene, asks, "GET /x"));
    WAIT_FOR(scene, http_server_connections(scene->server) <= MAY_WAIT + 1);
    WAIT_FOR(scene, heard(scene, silent[0], NULL)); /* it has waited longest */
    assert_false(heard(scene, silent[CROWD - 1], NULL));
    http_answer(scene->late[0], 200, "text/plain", STR("not thrown out"), NULL);
    WAIT_FOR(scene, heard(scene, late, "not thrown out"));
    for (int i = 0; i < CROWD; i++)
        close(silent[i]);
    close(asks);
    close(late);
}

static void a_request_that_trickles_has_its_time(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){.idle_timeout = MILLIS(1000)});
    int fd = dial(scene);
    say_text(scene, fd, "GET /x HTTP/1.1\r\nHost: x\r\nX-Slow: ");
    uint64_t begun = uv_hrtime();
    while (!heard(scene, fd, NULL)) { /* never silent, and never done */
        (void)send(fd, "x", 1, MSG_NOSIGNAL);
        uv_run(&scene->loop, UV_RUN_ONCE);
        assert_true(uv_hrtime() - begun < WAIT_MS * 1000000ull);
    }
    assert_int_equal(scene->requests, 0);
    close(fd);
}

static void one_request_too_many_is_refused_and_sent_away(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){.connections_max = 2, .streams_max = 1});
    int stream = dial(scene), more = dial(scene), late = dial(scene), third = dial(scene);
    get(scene, stream, "/stream");
    WAIT_FOR(scene, heard(scene, stream, "text/event-stream"));
    struct http_stream *first = scene->stream;
    get(scene, more, "/stream");
    WAIT_FOR(scene, heard(scene, more, "too many event streams") || heard(scene, more, NULL));
    assert_non_null(strstr(scene->got.bytes, "HTTP/1.1 429"));
    assert_non_null(strstr(scene->got.bytes, "Retry-After: 1"));
    scene->stream = first;
    get(scene, late, "/late");
    WAIT_FOR(scene, scene->lates == 1);
    get(scene, third, "/x");
    WAIT_FOR(scene, heard(scene, third, "wait for their answer"));
    WAIT_FOR(scene, heard(scene, third, NULL)); /* it has to come again */
    http_answer(scene->late[0], 200, "text/plain", STR("answered"), NULL);
    WAIT_FOR(scene, heard(scene, late, "answered"));
    get(scene, late, "/y");
    WAIT_FOR(scene, heard(scene, late, "GET /y"));
    close(stream);
    close(more);
    close(late);
    close(third);
}

static void large_bodies_share_a_purse_and_small_ones_get_in(void **state)
{
    enum { MIB = 1 << 20, GIVEN = 3 };
    static char piece[11 * MIB];
    struct scene *scene = *state;
    int fd[GIVEN];
    memset(piece, 'x', sizeof piece);
    open_server(scene, (struct http_server_options){.body_max = 12 * MIB});
    for (int i = 0; i < GIVEN; i++) { /* the third is one too many for 32 MiB */
        fd[i] = dial(scene);
        say_text(scene, fd[i],
                 "POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 12000000\r\n\r\n");
        say(scene, fd[i], piece, sizeof piece);
    }
    int small = dial(scene);
    say_text(scene, small, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
    WAIT_FOR(scene, heard(scene, small, "{}"));
    buf_clear(&scene->got);
    say(scene, fd[GIVEN - 1], piece, 12000000 - sizeof piece);
    WAIT_FOR(scene, heard(scene, fd[GIVEN - 1], "large bodies"));
    assert_non_null(strstr(scene->got.bytes, "HTTP/1.1 429"));
    assert_int_equal(scene->lates, 0);
    for (int i = 0; i < GIVEN; i++)
        close(fd[i]);
    close(small);
    WAIT_FOR(scene, http_server_connections(scene->server) == 0);
}

static void a_request_whose_end_is_not_clear_is_refused(void **state)
{
    struct scene *scene = *state;
    static const char *const heads[] = {
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "Content-Length: -5\r\n\r\nhello",
        "Content-Length: +5\r\n\r\nhello",
        "Content-Length: 5, 5\r\n\r\nhello",
        "Content-Length: 18446744073709551617\r\n\r\nhello",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    };
    open_server(scene, (struct http_server_options){0});
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        int fd = dial(scene);
        buf_clear(&scene->got);
        say_text(scene, fd, "POST /echo HTTP/1.1\r\nHost: x\r\n");
        say_text(scene, fd, heads[i]);
        get(scene, fd, "/smuggled");
        WAIT_FOR(scene, heard(scene, fd, NULL));
        if (scene->got.len == 0 || strstr(scene->got.bytes, "HTTP/1.1 4") != scene->got.bytes)
            fail_msg("%s -> %s", heads[i], scene->got.len > 0 ? scene->got.bytes : "nothing");
        close(fd);
    }
    assert_int_equal(scene->requests, 0);
}

static void a_unix_socket_has_its_mode_and_names_its_peer(void **state)
{
    struct scene *scene = *state;
    struct stat file;
    open_server(scene, (struct http_server_options){.unix_path = scene->path, .unix_mode = 0777});
    assert_int_equal(stat(scene->path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0664); /* never for everybody */
    int fd = dial_unix(scene);
    get(scene, fd, "/x");
    WAIT_FOR(scene, heard(scene, fd, "GET /x"));
    assert_int_equal(scene->peer, getpid());
    assert_int_equal(http_server_port(scene->server), 0);
    close(fd);
    http_server_close(scene->server);
    WAIT_FOR(scene, scene->closed == 1);
    scene->server = NULL;
    scene->closed = 0;
    assert_int_equal(stat(scene->path, &file), -1);
}

static void a_dead_socket_is_replaced_and_a_living_daemon_is_not(void **state)
{
    struct scene *scene = *state;
    const char *why = NULL;
    struct http_server *second = NULL;
    const struct http_server_options same = {.unix_path = scene->path};
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    strcpy(name.sun_path, scene->path);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&name, sizeof name), 0);
    close(dead);
    open_server(scene, same);
    assert_int_equal(http_server_open(&scene->loop, &same, &events, scene, &second, &why),
                     ERR_SYSTEM);
    assert_string_equal(why, "another daemon answers there");
    int fd = dial_unix(scene);
    get(scene, fd, "/x");
    WAIT_FOR(scene, heard(scene, fd, "GET /x"));
    close(fd);
}

static void expect_no_socket(struct scene *scene, const char *path, enum err wanted,
                             const char *reason)
{
    const char *why = NULL;
    struct http_server *server = NULL;
    const struct http_server_options options = {.unix_path = path};
    assert_int_equal(http_server_open(&scene->loop, &options, &events, scene, &server, &why),
                     wanted);
    assert_non_null(why);
    assert_non_null(strstr(why, reason));
}

static void a_folder_that_everybody_may_change_is_refused(void **state)
{
    struct scene *scene = *state;
    char folder[] = "/tmp/open-folder-XXXXXX", path[64];
    struct stat file;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/socket", folder);
    assert_int_equal(chmod(folder, 0777), 0);
    expect_no_socket(scene, path, ERR_REFUSED, "chmod o-w");
    assert_int_equal(stat(path, &file), -1);
    assert_int_equal(chmod(folder, 01777), 0); /* as /tmp */
    open_server(scene, (struct http_server_options){.unix_path = path});
    http_server_close(scene->server);
    WAIT_FOR(scene, scene->closed == 1);
    scene->server = NULL;
    scene->closed = 0;
    assert_int_equal(rmdir(folder), 0);
}

static void a_symbolic_link_is_not_followed(void **state)
{
    struct scene *scene = *state;
    char folder[] = "/tmp/link-folder-XXXXXX", path[64], goal[64];
    struct stat file;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/socket", folder);
    snprintf(goal, sizeof goal, "%s/goal", folder);
    assert_int_equal(symlink(goal, path), 0);
    expect_no_socket(scene, path, ERR_SYSTEM, "no socket");
    assert_int_equal(stat(goal, &file), -1);
    assert_int_equal(lstat(path, &file), 0);
    assert_true(S_ISLNK(file.st_mode));
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
}

static void places_that_make_no_sense_are_refused_with_a_reason(void **state)
{
    struct scene *scene = *state;
    expect_no_socket(scene, "/no-such-folder/socket", ERR_SYSTEM, "is not there");
    static const char *const bad[] = {"8080", "host:", "::1:80", "[::1:80", "127.0.0.1:http", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *why = NULL;
        struct http_server *server;
        const struct http_server_options options = {.tcp = bad[i]};
        assert_int_equal(http_server_open(&scene->loop, &options, &events, scene, &server, &why),
                         ERR_INVALID);
        assert_non_null(why);
    }
}

static void closing_ends_requests_and_streams_and_says_so(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    int first = dial(scene), second = dial(scene), third = dial(scene);
    get(scene, first, "/late/owned");
    get(scene, second, "/stream");
    get(scene, third, "/late/free");
    WAIT_FOR(scene, scene->lates == 2 && heard(scene, second, "text/event-stream"));
    http_server_close(scene->server);
    assert_int_equal(scene->hangups + scene->streams_closed, 0); /* never from inside */
    WAIT_FOR(scene, scene->closed == 1);
    assert_int_equal(scene->hangups, 1);
    assert_int_equal(scene->streams_closed, 1);
    assert_true(heard(scene, first, NULL));
    scene->server = NULL;
    scene->closed = 0;
    close(first);
    close(second);
    close(third);
}

static void it_may_be_closed_from_within_a_request(void **state)
{
    struct scene *scene = *state;
    open_server(scene, (struct http_server_options){0});
    scene->close_in_request = true;
    int fd = dial(scene);
    get(scene, fd, "/goodbye");
    WAIT_FOR(scene, scene->closed == 1);
    WAIT_FOR(scene, heard(scene, fd, "GET /goodbye"));
    close(fd);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(a_request_is_told_whole_and_answered_at_once),
        STORY(a_nul_in_the_path_does_not_cut_it_short),
        STORY(an_encoded_slash_parts_nothing_in_a_path),
        STORY(a_body_in_pieces_arrives_whole),
        STORY(json_and_problems_have_their_form),
        STORY(a_detail_that_is_no_text_is_answered_all_the_same),
        STORY(a_body_beyond_the_limit_gets_413),
        STORY(an_answer_may_come_later_and_the_connection_goes_on),
        STORY(a_hang_up_before_the_answer_is_noticed),
        STORY(a_hang_up_nobody_asked_about_leaves_the_request_answerable),
        STORY(a_stream_opens_at_once_and_carries_what_is_sent),
        STORY(a_stream_that_is_asked_for_by_head_has_headers_alone),
        STORY(a_stream_asks_for_more_when_it_has_room),
        STORY(a_stream_may_be_opened_later),
        STORY(a_stream_whose_reader_went_away_is_closed),
        STORY(a_stream_whose_reader_is_too_slow_is_cut),
        STORY(of_many_slow_readers_the_slowest_is_cut),
        STORY(an_old_client_gets_its_stream_without_chunks),
        STORY(a_stream_that_has_ended_waits_for_its_reader_and_not_for_ever),
        STORY(an_idle_connection_is_closed_but_a_stream_is_not),
        cmocka_unit_test_setup_teardown(who_asks_gets_in_although_a_crowd_says_nothing,
                                        set_up_with_few_files, tear_down_with_few_files),
        STORY(a_request_that_trickles_has_its_time),
        STORY(one_request_too_many_is_refused_and_sent_away),
        STORY(large_bodies_share_a_purse_and_small_ones_get_in),
        STORY(a_request_whose_end_is_not_clear_is_refused),
        STORY(a_unix_socket_has_its_mode_and_names_its_peer),
        STORY(a_dead_socket_is_replaced_and_a_living_daemon_is_not),
        STORY(a_folder_that_everybody_may_change_is_refused),
        STORY(a_symbolic_link_is_not_followed),
        STORY(places_that_make_no_sense_are_refused_with_a_reason),
        STORY(closing_ends_requests_and_streams_and_says_so),
        STORY(it_may_be_closed_from_within_a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
