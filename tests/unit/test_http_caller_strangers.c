/* http_caller and those who mean it no good: servers whose answers have no end, and names whose
 * lookups hang or change their mind. The server is a bare socket on the same loop; the names are
 * answered by a getaddrinfo() of this program, which stands before the system's. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "base/buf.h"
#include "io/http_caller.h"
#include "io/uv_threads.h"

enum { WAIT_MS = 10000, HANGING_MAX = 32 };

/* ---- names --------------------------------------------------------------------------------- */
/* hangs-….test: until `may_go_on`, then 127.0.0.1; moves.test: 127.0.0.2 at first, then 127.0.0.1.
 */
static uv_mutex_t names_lock;
static uv_cond_t names_moved;
static bool may_go_on;
static atomic_uint hanging, moved;

static const char *address_of(const char *name)
{
    if (strcmp(name, "moves.test") == 0)
        return atomic_fetch_add(&moved, 1) == 0 ? "127.0.0.2" : "127.0.0.1";
    if (strncmp(name, "hangs-", 6) == 0) {
        uv_mutex_lock(&names_lock);
        atomic_fetch_add(&hanging, 1);
        while (!may_go_on)
            uv_cond_wait(&names_moved, &names_lock);
        atomic_fetch_sub(&hanging, 1);
        uv_mutex_unlock(&names_lock);
        return "127.0.0.1";
    }
    return strcmp(name, "quick.test") == 0 ? "127.0.0.1" : name;
}

static void let_names_go_on(bool truth)
{
    uv_mutex_lock(&names_lock);
    may_go_on = truth;
    uv_cond_broadcast(&names_moved);
    uv_mutex_unlock(&names_lock);
}
int getaddrinfo(const char *restrict name, const char *restrict service,
                const struct addrinfo *restrict hints, struct addrinfo **restrict out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(name != NULL ? address_of(name) : NULL, service, hints, out);
}

/* ---- the scene ----------------------------------------------------------------------------- */
struct scene {
    uv_loop_t loop;
    uv_timer_t tick;
    uv_tcp_t server;
    unsigned port, connections, done;
    struct str first, again; /* what is said, and then without end */
    uint64_t pause_ms;       /* between one of those and the next; 0: as fast as they are taken */
    struct host_list *hosts;
    struct http_caller *caller;
    enum err err;
    long status;
    struct buf body;
    char why[256];
};
struct peer {
    uv_tcp_t tcp;
    uv_timer_t pause;
    uv_write_t write;
    struct scene *scene;
    unsigned handles;
    bool has_begun;
};

static void peer_released(uv_handle_t *handle)
{
    struct peer *peer = handle->data;
    if (--peer->handles == 0)
        free(peer);
}

static void peer_close(struct peer *peer)
{
    if (uv_is_closing((uv_handle_t *)&peer->tcp))
        return;
    uv_close((uv_handle_t *)&peer->tcp, peer_released);
    uv_close((uv_handle_t *)&peer->pause, peer_released);
}

static void say_more(struct peer *peer);

static void on_paused(uv_timer_t *timer)
{
    say_more(timer->data);
}

static void on_written(uv_write_t *write, int status)
{
    struct peer *peer = write->data;
    if (status < 0 || peer->scene->again.len == 0)
        peer_close(peer);
    else
        uv_timer_start(&peer->pause, on_paused, peer->scene->pause_ms, 0);
}

static void say_more(struct peer *peer)
{
    struct str text = peer->has_begun ? peer->scene->again : peer->scene->first;
    uv_buf_t bytes = uv_buf_init((char *)text.at, (unsigned)text.len);
    peer->has_begun = true;
    peer->write.data = peer;
    if (uv_write(&peer->write, (uv_stream_t *)&peer->tcp, &bytes, 1, on_written) != 0)
        peer_close(peer);
}

static void give_room(uv_handle_t *handle, size_t wanted, uv_buf_t *out)
{
    static char room[4096];
    (void)handle, (void)wanted;
    *out = uv_buf_init(room, sizeof room);
}

static void on_request(uv_stream_t *stream, ssize_t len, const uv_buf_t *bytes)
{
    struct peer *peer = stream->data;
    (void)bytes;
    if (len < 0)
        peer_close(peer);
    else if (!peer->has_begun)
        say_more(peer);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct scene *scene = server->data;
    struct peer *peer = calloc(1, sizeof *peer);
    assert_int_equal(status, 0);
    scene->connections++;
    peer->scene = scene;
    peer->handles = 2;
    peer->tcp.data = peer->pause.data = peer;
    uv_tcp_init(&scene->loop, &peer->tcp);
    uv_timer_init(&scene->loop, &peer->pause);
    assert_int_equal(uv_accept(server, (uv_stream_t *)&peer->tcp), 0);
    uv_read_start((uv_stream_t *)&peer->tcp, give_room, on_request);
}

static struct scene *scene_new(const char *hosts, struct http_caller_options options)
{
    struct scene *scene = calloc(1, sizeof *scene);
    struct sockaddr_in at;
    int len = sizeof at;
    struct str bad;
    uv_loop_init(&scene->loop);
    uv_timer_init(&scene->loop, &scene->tick);
    uv_tcp_init(&scene->loop, &scene->server);
    scene->server.data = scene;
    uv_ip4_addr("127.0.0.1", 0, &at);
    assert_int_equal(uv_tcp_bind(&scene->server, (struct sockaddr *)&at, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&scene->server, 16, on_connection), 0);
    uv_tcp_getsockname(&scene->server, (struct sockaddr *)&at, &len);
    scene->port = ntohs(at.sin_port);
    assert_int_equal(host_list_new(hosts, true, &scene->hosts, &bad), ERR_OK);
    options.hosts = scene->hosts;
    assert_int_equal(http_caller_open(&scene->loop, &options, &scene->caller), ERR_OK);
    return scene;
}

static void scene_free(struct scene *scene)
{
    http_caller_close(scene->caller);
    uv_close((uv_handle_t *)&scene->server, NULL);
    uv_close((uv_handle_t *)&scene->tick, NULL);
    uv_run(&scene->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&scene->loop), 0);
    host_list_free(scene->hosts);
    buf_fini(&scene->body);
    free(scene);
}

static void on_sent(void *owner)
{
    (void)owner;
}

static void on_done(void *owner, const struct http_outcome *outcome)
{
    struct scene *scene = owner;
    scene->done++;
    scene->err = outcome->err;
    scene->status = outcome->status;
    buf_clear(&scene->body);
    buf_add_str(&scene->body, outcome->body);
    snprintf(scene->why, sizeof scene->why, "%s", outcome->why != NULL ? outcome->why : "");
}

static void ticked(uv_timer_t *timer)
{
    (void)timer;
}

static void turn(struct scene *scene, uint64_t since)
{
    if (uv_hrtime() - since > (uint64_t)WAIT_MS * 1000000)
        fail_msg("waited in vain");
    uv_timer_start(&scene->tick, ticked, 10, 0);
    uv_run(&scene->loop, UV_RUN_ONCE);
}
#define WAIT_UNTIL(scene, truth)                                     \
    for (uint64_t since = uv_hrtime(); !(truth); turn(scene, since)) \
    continue

static void start(struct scene *scene, const char *host, struct span within)
{
    static const struct http_called called = {on_sent, on_done};
    char url[128];
    snprintf(url, sizeof url, "http://%s:%u/", host, scene->port);
    struct http_errand errand = {.method = "POST", .url = url, .within = within};
    assert_int_equal(http_caller_call(scene->caller, &errand, &called, scene), ERR_OK);
}

static void call(struct scene *scene, const char *host, struct span within)
{
    unsigned before = scene->done;
    start(scene, host, within);
    WAIT_UNTIL(scene, scene->done > before);
}

/* ---- answers ------------------------------------------------------------------------------- */
#define PAGE                                                                                     \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789" \
    "abcdef0123456789abcdef"

static void what_has_no_end_is_too_large(void **state)
{
    (void)state;
    static const struct {
        const char *what, *first, *again;
    } endless[] = {
        {"headers", "HTTP/1.1 200 OK\r\n", "X-More: " PAGE "\r\n"},
        {"one header", "HTTP/1.1 200 OK\r\nX-More: ", PAGE},
        {"interim answers", "HTTP/1.1 103 Early Hints\r\n\r\n",
         "HTTP/1.1 103 Early Hints\r\nLink: " PAGE "\r\n\r\n"},
        {"a body without a length", "HTTP/1.1 200 OK\r\n\r\n", PAGE},
        {"a body in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
         "8\r\n01234567\r\n"},
        {"trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
         "X-More: " PAGE "\r\n"},
        {"a body with a length", "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n",
         PAGE},
    };
    for (size_t i = 0; i < sizeof endless / sizeof endless[0]; i++) {
        struct scene *scene = scene_new(NULL, (struct http_caller_options){.answer_max = 2000});
        scene->first = str_of(endless[i].first);
        scene->again = str_of(endless[i].again);
        call(scene, "127.0.0.1", SECONDS(8));
        if (scene->err != ERR_TOO_LARGE)
            fail_msg("%s: err %d, %s", endless[i].what, (int)scene->err, scene->why);
        scene_free(scene);
    }
}

static void a_byte_now_and_then_does_not_move_the_deadline(void **state)
{
    (void)state;
    struct scene *scene = scene_new(NULL, (struct http_caller_options){0});
    scene->first = STR("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    scene->again = STR("x");
    scene->pause_ms = 5;
    call(scene, "127.0.0.1", MILLIS(200));
    assert_int_equal(scene->err, ERR_TIMEOUT);
    scene_free(scene);
}

/* 64 bytes that would become many: they are handed out as they came. */
static void nothing_is_unpacked(void **state)
{
    (void)state;
    struct scene *scene = scene_new(NULL, (struct http_caller_options){0});
    scene->first = STR("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: "
                       "6\r\n\r\n\x1f\x8b\x08zip");
    call(scene, "127.0.0.1", SECONDS(8));
    assert_int_equal(scene->err, ERR_OK);
    assert_int_equal(scene->body.len, 6);
    scene_free(scene);
}

static void what_is_no_http_is_no_answer(void **state)
{
    (void)state;
    static const char *const strange[] = {
        "",
        "hello\r\n",
        "HTTP/2 2\x01+\r\n\r\nbody", /* status 2, says libcurl */
        "HTTP/1.1 999 Beyond\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    };
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++) {
        struct scene *scene = scene_new(NULL, (struct http_caller_options){0});
        scene->first = str_of(strange[i]);
        call(scene, "127.0.0.1", SECONDS(8));
        if (scene->err != ERR_OFFLINE)
            fail_msg("%s: err %d, status %ld", strange[i], (int)scene->err, scene->status);
        scene_free(scene);
    }
}

/* ---- names --------------------------------------------------------------------------------- */
/* 127.0.0.2 may be called, and nobody is there; the server is at 127.0.0.1. */
static void a_name_that_changes_its_mind_leads_nowhere_else(void **state)
{
    (void)state;
    struct scene *scene = scene_new("127.0.0.2", (struct http_caller_options){0});
    scene->first = STR("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    atomic_store(&moved, 0);
    call(scene, "moves.test", SECONDS(8));
    assert_true(scene->err == ERR_OFFLINE || scene->err == ERR_REFUSED);
    assert_true(atomic_load(&moved) > 0);
    call(scene, "moves.test", SECONDS(8));
    assert_int_equal(scene->err, ERR_REFUSED); /* judged anew */
    assert_int_equal(scene->connections, 0);
    scene_free(scene);
}

static void a_name_that_hangs_does_not_hold_up_the_others(void **state)
{
    (void)state;
    struct scene *scene = scene_new(NULL, (struct http_caller_options){.at_once = 64});
    scene->first = STR("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    for (int i = 0; i < 10; i++)
        start(scene, "hangs-1.test", SECONDS(8));
    WAIT_UNTIL(scene, atomic_load(&hanging) == 1);
    call(scene, "quick.test", SECONDS(8));
    assert_int_equal(scene->done, 1);
    assert_int_equal(scene->err, ERR_OK);
    assert_int_equal(atomic_load(&hanging), 1); /* one thread for one name */
    let_names_go_on(true);
    WAIT_UNTIL(scene, scene->done == 11);
    let_names_go_on(false); /* each of them was looked up */
    scene_free(scene);
}

static void names_that_hang_leave_threads_for_redis(void **state)
{
    (void)state;
    struct scene *scene = scene_new(NULL, (struct http_caller_options){.at_once = 64});
    char name[32];
    scene->first = STR("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    for (int i = 0; i < HANGING_MAX; i++) {
        snprintf(name, sizeof name, "hangs-%d.test", i);
        start(scene, name, MILLIS(300));
    }
    WAIT_UNTIL(scene, atomic_load(&hanging) == uv_threads_for_others());
    WAIT_UNTIL(scene, scene->done == HANGING_MAX); /* not reached in time */
    assert_int_equal(scene->err, ERR_OFFLINE);
    assert_int_equal(atomic_load(&hanging), uv_threads_for_others()); /* they still hang */
    let_names_go_on(true);
    WAIT_UNTIL(scene, atomic_load(&hanging) == 0);
    let_names_go_on(false);
    call(scene, "quick.test", SECONDS(8));
    assert_int_equal(scene->err, ERR_OK);
    scene_free(scene);
}

static void half_of_the_threads_look_names_up(void **state)
{
    (void)state;
    static const struct {
        const char *size;
        unsigned for_others;
    } cases[] = {{"16", 6}, {"8", 2}, {"4", 1}, {"1", 1}, {"0", 1}, {"none", 1}, {"99999", 510}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        setenv("UV_THREADPOOL_SIZE", cases[i].size, 1);
        uv_threads_set(); /* what is set stays */
        assert_int_equal(uv_threads_for_others(), cases[i].for_others);
    }
    unsetenv("UV_THREADPOOL_SIZE");
    assert_int_equal(uv_threads_for_others(), 1);
    uv_threads_set();
    assert_int_equal(uv_threads_for_others(), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_of_the_threads_look_names_up), /* first: libuv reads it once */
        cmocka_unit_test(what_has_no_end_is_too_large),
        cmocka_unit_test(a_byte_now_and_then_does_not_move_the_deadline),
        cmocka_unit_test(nothing_is_unpacked),
        cmocka_unit_test(what_is_no_http_is_no_answer),
        cmocka_unit_test(a_name_that_changes_its_mind_leads_nowhere_else),
        cmocka_unit_test(a_name_that_hangs_does_not_hold_up_the_others),
        cmocka_unit_test(names_that_hang_leave_threads_for_redis),
    };
    uv_mutex_init(&names_lock);
    uv_cond_init(&names_moved);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
