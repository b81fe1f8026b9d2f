/* http_caller, answered by our own http_server on the same loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "base/buf.h"
#include "io/http_caller.h"
#include "io/http_server.h"

enum { WAIT_MS = 10000, LATE_MAX = 128, CALLS_MAX = 256 };

struct scene {
    uv_loop_t loop;
    uv_timer_t tick; /* makes UV_RUN_ONCE return, so that a wait is bounded */
    struct http_server *server;
    struct http_request *late[LATE_MAX];
    unsigned lates, most_lates, requests;
    struct host_list *hosts;
    struct http_caller *caller;
    unsigned sent, done;
    enum err err;
    long status;
    struct buf body;
    char why[256];
    bool close_when_done, has_empty;
};

/* ---- the server ---------------------------------------------------------------------------- */
static void on_request(void *owner, struct http_request *request)
{
    struct scene *scene = owner;
    struct str path = http_path(request);
    scene->requests++;
    if (str_is(path, "/late") && scene->lates < LATE_MAX) {
        http_request_own(request, scene);
        scene->late[scene->lates++] = request;
        scene->most_lates = scene->lates > scene->most_lates ? scene->lates : scene->most_lates;
    } else if (str_is(path, "/moved")) {
        static const char *const there[] = {"Location", "/here", NULL};
        http_answer(request, 302, "text/plain", STR("moved"), there);
    } else if (str_is(path, "/large")) {
        char *bytes = calloc(1, 2000);
        http_answer(request, 200, "text/plain", (struct str){bytes, 2000}, NULL);
        free(bytes);
    } else {
        struct buf text = {0};
        struct str method = http_method(request), body = http_body(request);
        struct str extra = http_header(request, "x-extra");
        scene->has_empty = http_header(request, "x-empty").at != NULL;
        buf_addf(&text, "%.*s %.*s [%.*s] %.*s", (int)method.len, method.at, (int)path.len, path.at,
                 (int)body.len, body.at, (int)extra.len, extra.at);
        http_answer(request, 202, "text/plain", buf_str(&text), NULL);
        buf_fini(&text);
    }
}

static void on_hangup(void *owner, void *request_owner)
{
    struct scene *scene = owner;
    (void)request_owner;
    scene->lates--; /* whichever it was: those that hang up are not answered here */
}

static void on_nothing(void *owner)
{
    (void)owner;
}

/* ---- the scene ----------------------------------------------------------------------------- */
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

static struct scene *scene_new(const char *hosts, struct http_caller_options options)
{
    static const struct http_server_events events = {
        .on_request = on_request, .on_hangup = on_hangup, .on_closed = on_nothing};
    struct scene *scene = calloc(1, sizeof *scene);
    struct str bad;
    uv_loop_init(&scene->loop);
    uv_timer_init(&scene->loop, &scene->tick);
    assert_int_equal(host_list_new(hosts, true, &scene->hosts, &bad), ERR_OK);
    options.hosts = scene->hosts;
    assert_int_equal(http_server_open(&scene->loop,
                                      &(struct http_server_options){.tcp = "127.0.0.1:0"}, &events,
                                      scene, &scene->server, NULL),
                     ERR_OK);
    assert_int_equal(http_caller_open(&scene->loop, &options, &scene->caller), ERR_OK);
    return scene;
}

/* Nothing may be left behind on the loop. */
static void scene_free(struct scene *scene)
{
    if (scene->caller != NULL)
        http_caller_close(scene->caller);
    http_server_close(scene->server);
    uv_close((uv_handle_t *)&scene->tick, NULL);
    uv_run(&scene->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&scene->loop), 0);
    host_list_free(scene->hosts);
    buf_fini(&scene->body);
    free(scene);
}

static void on_sent(void *owner)
{
    struct scene *scene = owner;
    scene->sent++;
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
    if (scene->close_when_done && scene->caller != NULL) {
        http_caller_close(scene->caller);
        scene->caller = NULL;
    }
}
static const struct http_called called = {on_sent, on_done};

static void start(struct scene *scene, const char *host, struct http_errand errand,
                  const char *path)
{
    char url[256];
    snprintf(url, sizeof url, "http://%s:%u%s", host, http_server_port(scene->server), path);
    errand.url = errand.url != NULL ? errand.url : url;
    errand.method = errand.method != NULL ? errand.method : "POST";
    errand.within = errand.within.ms > 0 ? errand.within : SECONDS(8);
    assert_int_equal(http_caller_call(scene->caller, &errand, &called, scene), ERR_OK);
}

static void call(struct scene *scene, const char *host, struct http_errand errand, const char *path)
{
    unsigned before = scene->done;
    start(scene, host, errand, path);
    assert_int_equal(scene->done, before); /* never from within */
    WAIT_UNTIL(scene, scene->done > before);
}

/* ---- stories ------------------------------------------------------------------------------- */
static void a_call_says_what_it_is_told_and_brings_the_answer(void **state)
{
    (void)state;
    struct scene *scene = scene_new(NULL, (struct http_caller_options){0});
    call(scene, "127.0.0.1",
         (struct http_errand){.body = STR("{}"), .headers = STR("X-Extra: one\nX-Empty: \n")},
         "/a?b=c#never-sent");
    assert_int_equal(scene->err, ERR_OK);
    assert_int_equal(scene->status, 202);
    assert_string_equal(scene->body.bytes, "POST /a [{}] one");
    assert_true(scene->has_empty);
    call(scene, "127.0.0.1", (struct http_errand){.method = "GET"}, "/g");
    assert_string_equal(scene->body.bytes, "GET /g [] ");
    call(scene, "127.0.0.1", (struct http_errand){.method = "DELETE"}, "/d");
    assert_string_equal(scene->body.bytes, "DELETE /d [] ");
    scene_free(scene);
}

static void a_name_is_looked_up_and_its_addresses_are_judged(void **state)
{
    (void)state;
    struct scene *scene = scene_new("localhost", (struct http_caller_options){0});
    call(scene, "localhost", (struct http_errand){0}, "/x");
    assert_int_equal(scene->status, 202);
    call(scene, "127.0.0.1", (struct http_errand){0}, "/x");
    assert_int_equal(scene->err, ERR_REFUSED);
    assert_non_null(strstr(scene->why, "call_hosts"));
    scene_free(scene);
    scene = scene_new("10.0.0.0/8", (struct http_caller_options){0});
    call(scene, "localhost", (struct http_errand){0}, "/x");
    assert_int_equal(scene->err, ERR_REFUSED);
    assert_int_equal(scene->requests, 0);
    scene_free(scene);
}

static void who_does_not_answer_has_one_deadline_for_all(void **state)
{
    (void)state;
    struct scene *scene = scene_new(NULL, (struct http_caller_options){0});
    call(scene, "127.0.0.1", (struct http_errand){.within = MILLIS(150)}, "/late");
    assert_int_equal(scene->err, ERR_TIMEOUT);
    assert_int_equal(scene->sent, 1); /* it may have heard */
    scene_free(scene);
}

static void whose_turn_never_came_has_reached_nobody(void **state)
{
    (void)state;
    struct scene *scene = scene_new(NULL, (struct http_caller_options){.at_once = 4});
    start(scene, "127.0.0.1", (struct http_errand){0}, "/late");
    WAIT_UNTIL(scene, scene->lates == 1);
    call(scene, "127.0.0.1", (struct http_errand){.within = MILLIS(150)}, "/x");
    assert_int_equal(scene->err, ERR_OFFLINE);
    scene_free(scene);
}

static void what_was_sent_is_said_before_the_answer(void **state)
{
    (void)state;
    struct scene *scene = scene_new(NULL, (struct http_caller_options){0});
    start(scene, "127.0.0.1", (struct http_errand){0}, "/late");
    WAIT_UNTIL(scene, scene->sent == 1);
    assert_int_equal(scene->done, 0);
    WAIT_UNTIL(scene, scene->lates == 1);
    http_answer(scene->late[0], 200, "text/plain", STR("at last"), NULL);
    WAIT_UNTIL(scene, scene->done == 1);
    assert_string_equal(scene->body.bytes, "at last");
    scene_free(scene);
}

static void a_redirect_is_an_answer_like_any_other(void **state)
{
    (void)state;
    struct scene *scene = scene_new(NULL, (struct http_caller_options){0});
    call(scene, "127.0.0.1", (struct http_errand){0}, "/moved");
    assert_int_equal(scene->status, 302);
    assert_int_equal(scene->requests, 1);
    scene_free(scene);
}

static void an_answer_is_no_longer_than_its_limit(void **state)
{
    (void)state;
    struct scene *scene = scene_new(NULL, (struct http_caller_options){.answer_max = 1000});
    call(scene, "127.0.0.1", (struct http_errand){0}, "/large");
    assert_int_equal(scene->err, ERR_TOO_LARGE);
    scene_free(scene);
}

static void nobody_there_is_offline_and_no_url_is_invalid(void **state)
{
    (void)state;
    struct scene *scene = scene_new(NULL, (struct http_caller_options){0});
    call(scene, "", (struct http_errand){.url = "http://127.0.0.1:1/"}, "");
    assert_int_equal(scene->err, ERR_OFFLINE);
    assert_int_equal(scene->sent, 0);
    call(scene, "", (struct http_errand){.url = "http://no-such-host.invalid/"}, "");
    assert_int_equal(scene->err, ERR_OFFLINE);
    call(scene, "", (struct http_errand){.url = "file:///etc/passwd"}, "");
    assert_int_equal(scene->err, ERR_INVALID);
    call(scene, "", (struct http_errand){.url = ""}, "");
    assert_int_equal(scene->err, ERR_INVALID);
    scene_free(scene);
}

static void one_host_that_hangs_leaves_room_for_others(void **state)
{
    (void)state;
    struct scene *scene =
        scene_new(NULL, (struct http_caller_options){.at_once = 8, .waiting_max = 20});
    for (int i = 0; i < 10; i++)
        start(scene, "127.0.0.1", (struct http_errand){0}, "/late");
    WAIT_UNTIL(scene, scene->lates == 2);                    /* a quarter of 8 */
    call(scene, "127.0.0.2", (struct http_errand){0}, "/x"); /* another host: it is refused there */
    assert_int_equal(scene->done, 1);
    assert_int_equal(scene->most_lates, 2);
    for (int i = 0; i < 20; i++)
        start(scene, "127.0.0.1", (struct http_errand){0}, "/late");
    WAIT_UNTIL(scene, scene->done > 1);
    assert_int_equal(scene->err, ERR_FULL);
    scene_free(scene); /* with calls in flight, and others that wait */
}

static void many_calls_are_answered_each_once(void **state)
{
    (void)state;
    struct scene *scene = scene_new(NULL, (struct http_caller_options){.at_once = 8});
    for (int i = 0; i < CALLS_MAX; i++)
        start(scene, "127.0.0.1", (struct http_errand){0}, "/x");
    WAIT_UNTIL(scene, scene->done == CALLS_MAX);
    assert_int_equal(scene->requests, CALLS_MAX);
    scene_free(scene);
}

static void it_may_be_closed_from_within_an_answer(void **state)
{
    (void)state;
    struct scene *scene = scene_new(NULL, (struct http_caller_options){0});
    scene->close_when_done = true;
    start(scene, "localhost", (struct http_errand){0}, "/late"); /* being looked up, or in flight */
    start(scene, "127.0.0.1", (struct http_errand){0}, "/x");
    WAIT_UNTIL(scene, scene->done == 1);
    scene_free(scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_says_what_it_is_told_and_brings_the_answer),
        cmocka_unit_test(a_name_is_looked_up_and_its_addresses_are_judged),
        cmocka_unit_test(who_does_not_answer_has_one_deadline_for_all),
        cmocka_unit_test(whose_turn_never_came_has_reached_nobody),
        cmocka_unit_test(what_was_sent_is_said_before_the_answer),
        cmocka_unit_test(a_redirect_is_an_answer_like_any_other),
        cmocka_unit_test(an_answer_is_no_longer_than_its_limit),
        cmocka_unit_test(nobody_there_is_offline_and_no_url_is_invalid),
        cmocka_unit_test(one_host_that_hangs_leaves_room_for_others),
        cmocka_unit_test(many_calls_are_answered_each_once),
        cmocka_unit_test(it_may_be_closed_from_within_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
