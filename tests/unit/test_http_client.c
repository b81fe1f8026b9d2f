/* http_client, answered by our own http_server in a process of its own (the client blocks). */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "io/http_client.h"
#include "io/http_server.h"

/* ---- the server --------------------------------------------------------------------------------
 */

static struct http_server *server;
static struct http_stream *endless;

static void tell_all(struct http_request *request)
{
    struct buf text = {0};
    struct str method = http_method(request), path = http_path(request), body = http_body(request);
    struct str token = http_header(request, "Authorization"),
               extra = http_header(request, "X-Extra");
    struct str type = http_header(request, "Content-Type");
    buf_addf(&text, "%.*s %.*s [%.*s] %.*s %.*s %.*s connections=%zu", (int)method.len, method.at,
             (int)path.len, path.at, (int)body.len, body.at, (int)token.len, token.at,
             (int)extra.len, extra.at, (int)type.len, type.at, http_server_connections(server));
    http_answer(request, 202, "text/plain", buf_str(&text), NULL);
    buf_fini(&text);
}

static void on_request(void *owner, struct http_request *request)
{
    struct str path = http_path(request);
    (void)owner;
    if (str_is(path, "/never"))
        return;
    if (str_is(path, "/three")) {
        struct http_stream *stream = http_stream(request, NULL, NULL);
        for (int i = 0; i < 3; i++)
            if (http_stream_send(stream, STR("data: x\n\n")) != ERR_OK)
                abort();
        http_stream_end(stream);
    } else if (str_is(path, "/endless")) {
        endless = http_stream(request, NULL, NULL);
    } else {
        tell_all(request);
    }
}

static void on_stream_closed(void *owner, struct http_stream *stream, void *stream_owner)
{
    (void)owner;
    (void)stream_owner;
    if (stream == endless)
        endless = NULL;
}

static void send_more(uv_timer_t *timer)
{
    (void)timer;
    if (endless != NULL && http_stream_send(endless, STR("data: more\n\n")) != ERR_OK)
        abort();
}

static void serve(const char *path, int ready)
{
    static const struct http_server_events events = {.on_request = on_request,
                                                     .on_stream_closed = on_stream_closed};
    const struct http_server_options options = {.unix_path = path, .tcp = "127.0.0.1:0"};
    uv_loop_t loop;
    uv_timer_t timer;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    uv_loop_init(&loop);
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, send_more, 2, 2);
    if (http_server_open(&loop, &options, &events, NULL, &server, NULL) != ERR_OK)
        _exit(1);
    unsigned port = http_server_port(server);
    if (write(ready, &port, sizeof port) != sizeof port)
        _exit(1);
    uv_run(&loop, UV_RUN_DEFAULT);
    _exit(0);
}

/* ---- the scene ---------------------------------------------------------------------------------
 */

struct scene {
    char folder[64], path[96], where[128];
    pid_t server;
    unsigned port;
    struct http_client *client;
    struct buf body;
    long status;
    const char *why;
    unsigned pieces, pieces_wanted;
};

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    int ready[2];
    strcpy(scene->folder, "/tmp/http-client-XXXXXX");
    if (mkdtemp(scene->folder) == NULL || pipe(ready) != 0)
        return -1;
    snprintf(scene->path, sizeof scene->path, "%s/s", scene->folder);
    snprintf(scene->where, sizeof scene->where, "unix:%s", scene->path);
    scene->server = fork();
    if (scene->server == 0)
        serve(scene->path, ready[1]);
    bool served = read(ready[0], &scene->port, sizeof scene->port) == sizeof scene->port;
    close(ready[0]);
    close(ready[1]);
    *state = scene;
    return served ? 0 : -1;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    if (scene->client != NULL)
        http_client_free(scene->client);
    buf_fini(&scene->body);
    kill(scene->server, SIGKILL);
    waitpid(scene->server, NULL, 0);
    unlink(scene->path);
    rmdir(scene->folder);
    free(scene);
    return 0;
}

static void open_client(struct scene *scene, const char *where, const char *token)
{
    assert_int_equal(http_client_new(where, token, &scene->client), ERR_OK);
}

static enum err call(struct scene *scene, struct http_call request)
{
    return http_client_call(scene->client, &request, &scene->status, &scene->body, &scene->why);
}

static bool count_piece(void *owner, struct str bytes)
{
    struct scene *scene = owner;
    assert_true(bytes.len > 0);
    scene->pieces++;
    assert_int_equal(buf_add_str(&scene->body, bytes), ERR_OK);
    return scene->pieces != scene->pieces_wanted;
}

static enum err stream(struct scene *scene, const char *path, struct span timeout)
{
    const struct http_call request = {.method = "GET", .path = path, .timeout = timeout};
    buf_clear(&scene->body);
    return http_client_stream(scene->client, &request, &scene->status, count_piece, scene,
                              &scene->why);
}

static void a_call_carries_all_it_was_given(void **state)
{
    struct scene *scene = *state;
    static const char *const headers[] = {"X-Extra: 1", NULL};
    open_client(scene, scene->where, "s3cret");
    assert_int_equal(call(scene, (struct http_call){.method = "POST",
                                                    .path = "/v1/x%20y?a=b",
                                                    .body = STR("{\"a\":1}"),
                                                    .headers = headers}),
                     ERR_OK);
    assert_int_equal(scene->status, 202);
    assert_string_equal(scene->body.bytes, "POST /v1/x y [{\"a\":1}] Bearer s3cret 1 "
                                           "application/json connections=1");
    assert_int_equal(call(scene, (struct http_call){.method = "GET", .path = "/x"}), ERR_OK);
    assert_string_equal(scene->body.bytes, "GET /x [] Bearer s3cret   connections=1");
    assert_int_equal(call(scene, (struct http_call){.method = "DELETE", .path = "/x"}), ERR_OK);
    assert_string_equal(scene->body.bytes, "DELETE /x [] Bearer s3cret   connections=1");
    assert_int_equal(call(scene, (struct http_call){.method = "POST", .path = "/x"}), ERR_OK);
    assert_memory_equal(scene->body.bytes, "POST /x []", 10);
}

static void it_speaks_over_tcp_too(void **state)
{
    struct scene *scene = *state;
    char where[64];
    snprintf(where, sizeof where, "http://127.0.0.1:%u/", scene->port);
    open_client(scene, where, NULL);
    assert_int_equal(call(scene, (struct http_call){.method = "GET", .path = "/x"}), ERR_OK);
    assert_string_equal(scene->body.bytes, "GET /x []    connections=1");
}

static void a_stream_is_handed_over_until_its_end(void **state)
{
    struct scene *scene = *state;
    open_client(scene, scene->where, NULL);
    assert_int_equal(stream(scene, "/three", MILLIS(0)), ERR_OK);
    assert_int_equal(scene->status, 200);
    assert_string_equal(scene->body.bytes, "data: x\n\ndata: x\n\ndata: x\n\n");
}

static void a_stream_is_left_when_somebody_has_had_enough(void **state)
{
    struct scene *scene = *state;
    open_client(scene, scene->where, NULL);
    scene->pieces_wanted = 3;
    assert_int_equal(stream(scene, "/endless", MILLIS(0)), ERR_OK);
    assert_int_equal(scene->pieces, 3);
    assert_int_equal(call(scene, (struct http_call){.method = "GET", .path = "/after"}), ERR_OK);
}

static void whoever_takes_too_long_is_given_up(void **state)
{
    struct scene *scene = *state;
    open_client(scene, scene->where, NULL);
    assert_int_equal(
        call(scene, (struct http_call){.method = "GET", .path = "/never", .timeout = MILLIS(50)}),
        ERR_TIMEOUT);
    assert_non_null(strstr(scene->why, scene->path));
    /* However slow the machine is: some time is long enough to hear something. */
    for (int64_t ms = 50; scene->pieces == 0; ms *= 2) {
        assert_true(ms < 10000);
        assert_int_equal(stream(scene, "/endless", MILLIS(ms)), ERR_TIMEOUT);
    }
}

static void nobody_there_is_said_with_the_place(void **state)
{
    struct scene *scene = *state;
    open_client(scene, "unix:/nowhere/s", NULL);
    assert_int_equal(call(scene, (struct http_call){.method = "GET", .path = "/"}), ERR_OFFLINE);
    assert_memory_equal(scene->why, "/nowhere/s: ", 12);
    http_client_free(scene->client);
    open_client(scene, "http://127.0.0.1:1", NULL);
    assert_int_equal(call(scene, (struct http_call){.method = "GET", .path = "/"}), ERR_OFFLINE);
    assert_memory_equal(scene->why, "http://127.0.0.1:1: ", 20);
}

static void a_server_that_was_restarted_is_found_again(void **state)
{
    struct scene *scene = *state;
    int ready[2];
    open_client(scene, scene->where, NULL);
    assert_int_equal(call(scene, (struct http_call){.method = "GET", .path = "/x"}), ERR_OK);
    kill(scene->server, SIGKILL);
    waitpid(scene->server, NULL, 0);
    assert_int_equal(call(scene, (struct http_call){.method = "GET", .path = "/x"}), ERR_OFFLINE);
    assert_int_equal(pipe(ready), 0);
    scene->server = fork();
    if (scene->server == 0)
        serve(scene->path, ready[1]);
    assert_int_equal(read(ready[0], &scene->port, sizeof scene->port), sizeof scene->port);
    close(ready[0]);
    close(ready[1]);
    assert_int_equal(call(scene, (struct http_call){.method = "GET", .path = "/x"}), ERR_OK);
}

static void an_answer_beyond_the_limit_is_refused(void **state)
{
    struct scene *scene = *state;
    open_client(scene, scene->where, NULL);
    scene->body.limit = 5;
    assert_int_equal(call(scene, (struct http_call){.method = "GET", .path = "/x"}), ERR_TOO_LARGE);
}

static void places_that_make_no_sense_are_refused(void **state)
{
    struct scene *scene = *state;
    static const char *const bad[] = {"", "127.0.0.1:80", "ftp://x", "unix:", "http://"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (http_client_new(bad[i], NULL, &scene->client) != ERR_INVALID)
            fail_msg("accepted: %s", bad[i]);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(a_call_carries_all_it_was_given),
        STORY(it_speaks_over_tcp_too),
        STORY(a_stream_is_handed_over_until_its_end),
        STORY(a_stream_is_left_when_somebody_has_had_enough),
        STORY(whoever_takes_too_long_is_given_up),
        STORY(nobody_there_is_said_with_the_place),
        STORY(a_server_that_was_restarted_is_found_again),
        STORY(an_answer_beyond_the_limit_is_refused),
        STORY(places_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
