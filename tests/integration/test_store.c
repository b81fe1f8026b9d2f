/* The store against a real server: order, scripts that vanish, restarts, subscriptions, big trees,
 * and every way to say where the server is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include <hiredis/hiredis.h>

#include "core/tree.h"
#include "store/command.h"
#include "store/store.h"
#include "support/redis_server.h"

enum { WAIT_MS = 15000, ANSWERS = 256, TEXT = 128, RUN_ID_LEN = 40 };

struct got {
    uint64_t token;
    enum store_verdict verdict;
    char text[TEXT];
    int64_t number;
    size_t runs;
};

struct scene {
    struct redis_process server;
    uv_loop_t loop;
    uv_timer_t tick; /* makes UV_RUN_ONCE return, so that a wait is bounded */
    struct store *store;
    char identity[TEXT]; /* of the server, as it came up last */
    unsigned ups, downs, messages, missed, closed, answers;
    char why[TEXT], root[TEXT], bytes[TEXT];
    bool watch;
    struct got got[ANSWERS];
    bool is_inside; /* a call of ours: nothing may call back now */
    bool close_on_answer;
    bool sends_again; /* from the first answer */
};

static void copy(char *out, struct str text)
{
    snprintf(out, TEXT, "%.*s", (int)text.len, text.len > 0 ? text.at : "");
}

static void on_up(void *owner, const struct redis_server *server)
{
    struct scene *scene = owner;
    assert_string_equal("master", server->role.at);
    scene->ups++;
    snprintf(scene->identity, sizeof scene->identity, "%.*s", (int)server->run_id.len,
             server->run_id.at);
}

static void on_down(void *owner, struct str why)
{
    struct scene *scene = owner;
    scene->downs++;
    copy(scene->why, why);
}

static void on_message(void *owner, struct str root, bool watch, struct str bytes)
{
    struct scene *scene = owner;
    scene->messages++;
    scene->watch = watch;
    copy(scene->root, root);
    copy(scene->bytes, bytes);
}

static void on_closed(void *owner)
{
    ((struct scene *)owner)->closed++;
}

static void on_missed(void *owner, struct str root, bool watch)
{
    struct scene *scene = owner;
    scene->missed++;
    scene->watch = watch;
    copy(scene->root, root);
}

static const struct store_events events = {.on_up = on_up,
                                           .on_down = on_down,
                                           .on_message = on_message,
                                           .on_missed = on_missed,
                                           .on_closed = on_closed};

static void ticked(uv_timer_t *timer)
{
    (void)timer;
}

#define WAIT_FOR(scene, condition)                                         \
    do {                                                                   \
        uint64_t until = uv_hrtime() / 1000000 + WAIT_MS;                  \
        while (!(condition) && uv_hrtime() / 1000000 < until)              \
            uv_run(&(scene)->loop, UV_RUN_ONCE);                           \
        if (!(condition))                                                  \
            print_error("still not: %s (%s)\n", #condition, (scene)->why); \
        assert_true(condition);                                            \
    } while (0)

static void open_with(struct scene *scene, const struct redis_target *target)
{
    const struct store_options options = {.namespace = "bw"};
    scene->ups = scene->downs = scene->answers = scene->closed = 0;
    assert_int_equal(store_open(&scene->loop, target, &options, &events, scene, &scene->store),
                     ERR_OK);
}

static void open_url(struct scene *scene, const char *url)
{
    const struct redis_target target = {.url = url, .client_name = "test", .seed = 1};
    open_with(scene, &target);
}

static void shut(struct scene *scene)
{
    if (scene->store != NULL)
        store_close(scene->store);
    scene->store = NULL;
    WAIT_FOR(scene, scene->closed == 1);
}

static int begin_with(void **state, const char *const *extra)
{
    struct scene *scene = calloc(1, sizeof *scene);
    redis_process_start(&scene->server, KIND_REDIS, extra);
    uv_loop_init(&scene->loop);
    uv_timer_init(&scene->loop, &scene->tick);
    uv_timer_start(&scene->tick, ticked, 20, 20);
    *state = scene;
    return 0;
}

static int begin(void **state)
{
    return begin_with(state, NULL);
}

static int begin_up(void **state)
{
    begin(state);
    struct scene *scene = *state;
    open_url(scene, scene->server.url);
    WAIT_FOR(scene, scene->ups == 1);
    return 0;
}

static int finish(void **state)
{
    struct scene *scene = *state;
    shut(scene);
    uv_close((uv_handle_t *)&scene->tick, NULL);
    uv_run(&scene->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&scene->loop), 0);
    redis_process_end(&scene->server);
    free(scene);
    return 0;
}

static void send_with(struct scene *scene, const struct store_call *call, uint64_t token);

static void answered(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct scene *scene = owner;
    assert_false(scene->is_inside);
    assert_true(scene->answers < ANSWERS);
    struct got *got = &scene->got[scene->answers++];
    *got = (struct got){.token = token, .verdict = answer->verdict, .number = answer->number};
    copy(got->text, answer->text);
    if (answer->tree != NULL)
        got->runs = answer->tree->run_count;
    if (scene->close_on_answer && scene->store != NULL) {
        store_close(scene->store);
        scene->store = NULL;
    }
    if (scene->sends_again) {
        const struct store_call again = {.op = STORE_TIME};
        scene->sends_again = false;
        send_with(scene, &again, token + 1000);
    }
}

static void send_with(struct scene *scene, const struct store_call *call, uint64_t token)
{
    scene->is_inside = true;
    assert_int_equal(store_send(scene->store, call, answered, scene, token), ERR_OK);
    scene->is_inside = false;
}

static void send_start(struct scene *scene, const char *root, const char *run, const char *path,
                       uint64_t token)
{
    const struct store_call call = {.op = STORE_START,
                                    .root = str_of(root),
                                    .run = str_of(run),
                                    .path = str_of(path),
                                    .incarnation = STR("i1"),
                                    .replica = STR("R1"),
                                    .deadline = SPAN_NONE,
                                    .max_runs = 100000,
                                    .max_children = 100000};
    send_with(scene, &call, token);
}

static void send_op(struct scene *scene, enum store_op op, const char *root, uint64_t token)
{
    const struct store_call call = {.op = op, .root = str_of(root), .bytes = STR("hello")};
    send_with(scene, &call, token);
}

#define SAID(scene, i, said) assert_string_equal(store_verdict_name((scene)->got[i].verdict), #said)

/* ---------------------------------------------------------------------------------------------- */
static void answers_come_in_the_order_of_the_calls(void **state)
{
    struct scene *scene = *state;
    for (uint64_t i = 0; i < 100; i++) {
        if (i % 3 == 0)
            send_op(scene, STORE_TIME, "", i);
        else
            send_start(scene, "r", i == 1 ? "r" : "a", i == 1 ? "" : "r", i);
    }
    WAIT_FOR(scene, scene->answers == 100);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(scene->got[i].token, i);
    SAID(scene, 1, started);
    SAID(scene, 2, started);
    SAID(scene, 4, already);
}

static void a_script_flush_costs_a_repeat_and_nothing_else(void **state)
{
    struct scene *scene = *state;
    redis_process_do(&scene->server, "SCRIPT FLUSH");
    for (uint64_t i = 0; i < 20; i++)
        send_start(scene, "r", "r", "", i);
    WAIT_FOR(scene, scene->answers == 20);
    SAID(scene, 0, started);
    for (unsigned i = 1; i < 20; i++)
        SAID(scene, i, already);
    assert_int_equal(scene->downs, 0);
}

static void calls_without_a_connection_are_answered_on_the_next_turn(void **state)
{
    struct scene *scene = *state;
    redis_process_kill(&scene->server);
    WAIT_FOR(scene, scene->downs >= 1);
    scene->sends_again = true;
    send_start(scene, "r", "r", "", 1);
    send_op(scene, STORE_TREE, "r", 2);
    assert_int_equal(scene->answers, 0);
    WAIT_FOR(scene, scene->answers == 3);
    for (unsigned i = 0; i < 3; i++)
        SAID(scene, i, offline);
    assert_int_equal(scene->got[2].token, 1001);
}

static void calls_in_flight_when_the_server_dies_are_answered_offline(void **state)
{
    struct scene *scene = *state;
    redis_process_pause(&scene->server);
    send_start(scene, "r", "r", "", 1);
    send_op(scene, STORE_TREE, "r", 2);
    uv_run(&scene->loop, UV_RUN_NOWAIT);
    redis_process_kill(&scene->server);
    WAIT_FOR(scene, scene->answers == 2);
    SAID(scene, 0, offline);
    SAID(scene, 1, offline);
}

static void lose_the_link(struct scene *scene)
{
    unsigned ups = scene->ups;
    redis_process_do(&scene->server, "CLIENT KILL TYPE normal");
    redis_process_do(&scene->server, "CLIENT KILL TYPE pubsub");
    WAIT_FOR(scene, scene->ups > ups);
}

/* Demoted and promoted again while nobody looked: it is the same process, and may have forgotten.
 */
static void a_server_with_another_history_is_another_server(void **state)
{
    struct scene *scene = *state;
    char first[TEXT];
    strcpy(first, scene->identity);
    lose_the_link(scene);
    assert_string_equal(scene->identity, first);
    redis_process_do(&scene->server, "REPLICAOF 127.0.0.1 1");
    redis_process_do(&scene->server, "REPLICAOF NO ONE");
    lose_the_link(scene);
    assert_string_not_equal(scene->identity, first);
    assert_memory_equal(scene->identity, first, RUN_ID_LEN); /* the same process */
}

static void after_a_restart_subscriptions_hold_and_scripts_are_there(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(store_subscribe(scene->store, STR("r"), false), ERR_OK);
    assert_int_equal(store_subscribe(scene->store, STR("r"), true), ERR_OK);
    redis_process_kill(&scene->server);
    WAIT_FOR(scene, scene->downs >= 1);
    redis_process_again(&scene->server);
    WAIT_FOR(scene, scene->ups == 2);
    assert_int_equal(redis_process_do(&scene->server, "PUBLISH bw:{r} cancel"), 1);
    WAIT_FOR(scene, scene->messages == 1);
    assert_false(scene->watch);
    assert_string_equal(scene->root, "r");
    assert_string_equal(scene->bytes, "cancel");
    assert_int_equal(redis_process_do(&scene->server, "PUBLISH bw:{r}:watch ended"), 1);
    WAIT_FOR(scene, scene->messages == 2);
    assert_true(scene->watch);
    send_start(scene, "r", "r", "", 1);
    WAIT_FOR(scene, scene->answers == 1);
    SAID(scene, 0, started);
}

static long long scripts_loaded(const struct scene *scene)
{
    redisContext *context = redis_process_connect(&scene->server);
    redisReply *info = redisCommand(context, "INFO commandstats");
    const char *calls = strstr(info->str, "cmdstat_script|load:calls=");
    long long count = calls != NULL ? atoll(strchr(calls, '=') + 1) : 0;
    freeReplyObject(info);
    redisFree(context);
    return count;
}

static void a_link_that_was_lost_does_not_load_the_scripts_again(void **state)
{
    struct scene *scene = *state;
    long long before = scripts_loaded(scene);
    assert_true(before > 1);
    redis_process_do(&scene->server, "CLIENT KILL TYPE normal");
    redis_process_do(&scene->server, "CLIENT KILL TYPE pubsub");
    WAIT_FOR(scene, scene->ups == 2);
    assert_int_equal(scripts_loaded(scene), before + 1);
    send_start(scene, "r", "r", "", 1);
    WAIT_FOR(scene, scene->answers == 1);
    SAID(scene, 0, started);
}

static void what_was_flushed_while_the_link_was_lost_is_loaded_when_it_is_missed(void **state)
{
    struct scene *scene = *state;
    redis_process_do(&scene->server, "SCRIPT FLUSH");
    redis_process_do(&scene->server, "CLIENT KILL TYPE normal");
    redis_process_do(&scene->server, "CLIENT KILL TYPE pubsub");
    WAIT_FOR(scene, scene->ups == 2);
    send_start(scene, "r", "r", "", 1);
    WAIT_FOR(scene, scene->answers == 1);
    SAID(scene, 0, started);
}

static void a_subscription_made_while_down_holds_when_it_is_up(void **state)
{
    struct scene *scene = *state;
    redis_process_kill(&scene->server);
    WAIT_FOR(scene, scene->downs >= 1);
    assert_int_equal(store_subscribe(scene->store, STR("r"), false), ERR_OK);
    redis_process_again(&scene->server);
    WAIT_FOR(scene, scene->ups == 2);
    assert_int_equal(redis_process_do(&scene->server, "PUBLISH bw:{r} x"), 1);
}

static void subscriptions_are_counted(void **state)
{
    struct scene *scene = *state;
    assert_int_equal(store_subscribe(scene->store, STR("r"), false), ERR_OK);
    assert_int_equal(store_subscribe(scene->store, STR("r"), false), ERR_OK);
    store_unsubscribe(scene->store, STR("r"), false);
    send_op(scene, STORE_PUBLISH, "r", 1);
    WAIT_FOR(scene, scene->answers == 1 && scene->messages == 1);
    assert_int_equal(scene->got[0].number, 1);
    store_unsubscribe(scene->store, STR("r"), false);
    send_op(scene, STORE_PUBLISH, "r", 2);
    WAIT_FOR(scene, scene->answers == 2);
    assert_int_equal(scene->got[1].number, 0);
    assert_int_equal(scene->messages, 1);
}

static void a_subscription_that_failed_may_be_taken_back(void **state)
{
    struct scene *scene = *state;
    char root[COMMAND_SCRATCH];
    memset(root, 'r', sizeof root);
    const struct str too_long = {root, sizeof root};
    assert_int_not_equal(store_subscribe(scene->store, too_long, false), ERR_OK);
    store_unsubscribe(scene->store, too_long, false);
    send_op(scene, STORE_PUBLISH, "r", 1);
    WAIT_FOR(scene, scene->answers == 1);
}

static void a_subscription_is_confirmed_before_the_next_call_is_carried_out(void **state)
{
    struct scene *scene = *state;
    const struct store_call cancel = {.op = STORE_CANCEL,
                                      .root = STR("r"),
                                      .run = STR("r"),
                                      .record = STR("a record"),
                                      .grace = SPAN_NONE,
                                      .force = true};
    assert_int_equal(store_subscribe(scene->store, STR("r"), false), ERR_OK);
    send_with(scene, &cancel, 1);
    WAIT_FOR(scene, scene->answers == 1 && scene->messages == 1);
    assert_string_equal(scene->bytes, "a record");
}

static void a_tree_of_ten_thousand_runs_is_read_whole(void **state)
{
    enum { RUNS = 10000, AT_ONCE = 200 };
    struct scene *scene = *state;
    char id[32];
    send_start(scene, "r", "r", "", 0);
    for (unsigned i = 1; i < RUNS; i++) {
        snprintf(id, sizeof id, "run-%u", i);
        send_start(scene, "r", id, "r", i);
        if (i % AT_ONCE == 0) {
            WAIT_FOR(scene, scene->answers >= AT_ONCE);
            scene->answers = 0;
        }
    }
    send_op(scene, STORE_TREE, "r", 1);
    send_op(scene, STORE_TREE, "nowhere", 2);
    WAIT_FOR(scene, scene->answers > 1 && scene->got[scene->answers - 1].token <= 2
                        && scene->got[scene->answers - 2].token <= 2);
    const struct got *big = &scene->got[scene->answers - 1];
    assert_int_equal(big->token, 1); /* several rounds: the small one overtakes it */
    assert_int_equal(big->verdict, SAID_OK);
    assert_int_equal(big->runs, RUNS);
    assert_int_equal(big->number, RUNS);
    assert_int_equal(scene->got[scene->answers - 2].runs, 0);
}

static void a_read_only_server_is_a_link_down(void **state)
{
    struct scene *scene = *state;
    redis_process_do(&scene->server, "REPLICAOF 127.0.0.1 1");
    send_start(scene, "r", "r", "", 1);
    WAIT_FOR(scene, scene->answers == 1);
    SAID(scene, 0, unwritable);
    WAIT_FOR(scene, scene->downs >= 2 && strstr(scene->why, "replica") != NULL);
    assert_int_equal(scene->ups, 1);
    redis_process_do(&scene->server, "REPLICAOF NO ONE");
    WAIT_FOR(scene, scene->ups == 2);
}

static void a_server_that_cannot_save_says_so_and_recovers(void **state)
{
    struct scene *scene = *state;
    redis_process_do(&scene->server, "CONFIG SET min-replicas-to-write 1");
    send_start(scene, "r", "r", "", 1);
    send_op(scene, STORE_PUBLISH, "r", 2);
    WAIT_FOR(scene, scene->answers == 2);
    SAID(scene, 0, unwritable);
    assert_non_null(strstr(scene->got[0].text, "NOREPLICAS"));
    SAID(scene, 1, ok);
    redis_process_do(&scene->server, "CONFIG SET min-replicas-to-write 0");
    send_start(scene, "r", "r", "", 3);
    WAIT_FOR(scene, scene->answers == 3);
    SAID(scene, 2, started);
    assert_int_equal(scene->downs, 0);
}

static void a_key_of_another_kind_is_an_error_and_no_crash(void **state)
{
    struct scene *scene = *state;
    redis_process_do(&scene->server, "SET bw:{r} text");
    send_start(scene, "r", "r", "", 1);
    send_op(scene, STORE_TREE, "r", 2);
    WAIT_FOR(scene, scene->answers == 2);
    SAID(scene, 0, error);
    SAID(scene, 1, error);
}

static void tcp_with_a_database_works_as_well(void **state)
{
    struct scene *scene = *state;
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d/3", scene->server.port);
    open_url(scene, url);
    WAIT_FOR(scene, scene->ups == 1);
    send_start(scene, "r", "r", "", 1);
    WAIT_FOR(scene, scene->answers == 1);
    SAID(scene, 0, started);
    assert_int_equal(redis_process_do(&scene->server, "EXISTS bw:{r}"), 0);
}

static void a_user_with_a_password_comes_in(void **state)
{
    struct scene *scene = *state;
    redis_process_do(&scene->server, "ACL SETUSER brakewire on >secret ~bw:* &bw:* +@all");
    const struct redis_target target = {
        .url = scene->server.url, .user = "brakewire", .password = "secret", .seed = 1};
    open_with(scene, &target);
    WAIT_FOR(scene, scene->ups == 1);
    assert_int_equal(store_subscribe(scene->store, STR("r"), false), ERR_OK);
    send_start(scene, "r", "r", "", 1);
    WAIT_FOR(scene, scene->answers == 1);
    SAID(scene, 0, started);
}

static void a_wrong_password_is_told_and_tried_again(void **state)
{
    struct scene *scene = *state;
    redis_process_do(&scene->server, "ACL SETUSER brakewire on >secret ~bw:* &bw:* +@all");
    const struct redis_target target = {
        .url = scene->server.url, .user = "brakewire", .password = "wrong", .seed = 1};
    open_with(scene, &target);
    WAIT_FOR(scene, scene->downs >= 2);
    assert_non_null(strstr(scene->why, "WRONGPASS"));
    assert_int_equal(scene->ups, 0);
    redis_process_do(&scene->server, "ACL SETUSER brakewire >wrong");
    WAIT_FOR(scene, scene->ups == 1);
}

static void a_refused_subscription_is_a_link_down_with_its_reason(void **state)
{
    struct scene *scene = *state;
    redis_process_do(&scene->server, "ACL SETUSER brakewire on >secret ~bw:* +@all resetchannels");
    const struct redis_target target = {
        .url = scene->server.url, .user = "brakewire", .password = "secret", .seed = 1};
    open_with(scene, &target);
    WAIT_FOR(scene, scene->ups == 1);
    assert_int_equal(store_subscribe(scene->store, STR("r"), false), ERR_OK);
    WAIT_FOR(scene, scene->downs >= 2 && strstr(scene->why, "NOPERM") != NULL);
    redis_process_do(&scene->server, "ACL SETUSER brakewire &bw:*");
    WAIT_FOR(scene, scene->ups == 2);
}

static void a_hint_that_an_acl_refuses_does_not_undo_the_cancel(void **state)
{
    struct scene *scene = *state;
    redis_process_do(&scene->server, "ACL SETUSER brakewire on >secret ~bw:* +@all resetchannels");
    const struct redis_target target = {
        .url = scene->server.url, .user = "brakewire", .password = "secret", .seed = 1};
    const struct store_call cancel = {.op = STORE_CANCEL,
                                      .root = STR("r"),
                                      .run = STR("r"),
                                      .record = STR("a record"),
                                      .grace = SPAN_NONE};
    open_with(scene, &target);
    WAIT_FOR(scene, scene->ups == 1);
    send_start(scene, "r", "r", "", 1);
    send_with(scene, &cancel, 2);
    WAIT_FOR(scene, scene->answers == 2);
    SAID(scene, 1, accepted);
}

static void nobody_is_called_after_a_close(void **state)
{
    struct scene *scene = *state;
    for (uint64_t i = 0; i < 10; i++)
        send_start(scene, "r", "r", "", i);
    send_op(scene, STORE_TREE, "r", 10);
    store_close(scene->store);
    scene->store = NULL;
    WAIT_FOR(scene, scene->closed == 1);
    assert_int_equal(scene->answers, 0);
    assert_int_equal(scene->downs, 0);
}

static void an_answer_may_close_the_store(void **state)
{
    struct scene *scene = *state;
    scene->close_on_answer = true;
    for (uint64_t i = 0; i < 10; i++)
        send_start(scene, "r", "r", "", i);
    WAIT_FOR(scene, scene->closed == 1);
    assert_int_equal(scene->answers, 1);
}

static void a_name_that_is_too_long_is_refused_here(void **state)
{
    static char name[5000];
    struct scene *scene = *state;
    memset(name, 'x', sizeof name - 1);
    const struct store_call call = {.op = STORE_PEEK, .root = str_of(name), .run = STR("r")};
    assert_int_equal(store_send(scene->store, &call, answered, scene, 1), ERR_FULL);
}

#define UP(name)   cmocka_unit_test_setup_teardown(name, begin_up, finish)
#define SHUT(name) cmocka_unit_test_setup_teardown(name, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UP(answers_come_in_the_order_of_the_calls),
        UP(a_script_flush_costs_a_repeat_and_nothing_else),
        UP(calls_without_a_connection_are_answered_on_the_next_turn),
        UP(calls_in_flight_when_the_server_dies_are_answered_offline),
        UP(a_server_with_another_history_is_another_server),
        UP(after_a_restart_subscriptions_hold_and_scripts_are_there),
        UP(a_link_that_was_lost_does_not_load_the_scripts_again),
        UP(what_was_flushed_while_the_link_was_lost_is_loaded_when_it_is_missed),
        UP(a_subscription_made_while_down_holds_when_it_is_up),
        UP(subscriptions_are_counted),
        UP(a_subscription_that_failed_may_be_taken_back),
        UP(a_subscription_is_confirmed_before_the_next_call_is_carried_out),
        UP(a_tree_of_ten_thousand_runs_is_read_whole),
        UP(a_read_only_server_is_a_link_down),
        UP(a_server_that_cannot_save_says_so_and_recovers),
        UP(a_key_of_another_kind_is_an_error_and_no_crash),
        SHUT(tcp_with_a_database_works_as_well),
        SHUT(a_user_with_a_password_comes_in),
        SHUT(a_wrong_password_is_told_and_tried_again),
        SHUT(a_refused_subscription_is_a_link_down_with_its_reason),
        SHUT(a_hint_that_an_acl_refuses_does_not_undo_the_cancel),
        UP(nobody_is_called_after_a_close),
        UP(an_answer_may_close_the_store),
        UP(a_name_that_is_too_long_is_refused_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
