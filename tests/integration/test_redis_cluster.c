/* A store on a real cluster: slots that move, masters that die, hosts that are not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "store/store.h"
#include "support/certificates.h"
#include "support/redis_nodes.h"

enum { WAIT_MS = 20000, ANSWERS = 16384, TEXT = 256 };

static struct redis_nodes nodes;

struct scene {
    uv_loop_t loop;
    uv_timer_t tick; /* makes UV_RUN_ONCE return, so that a wait is bounded */
    struct store *store;
    unsigned ups, downs, messages, missed, closed, answers;
    char why[TEXT], server[TEXT], root[TEXT], bytes[TEXT];
    uint64_t token[ANSWERS];
    enum store_verdict verdict[ANSWERS];
};

static void copy(char *out, struct str text)
{
    snprintf(out, TEXT, "%.*s", (int)text.len, text.len > 0 ? text.at : "");
}

static void on_up(void *owner, const struct redis_server *server)
{
    struct scene *scene = owner;
    scene->ups++;
    copy(scene->server, server->run_id);
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
    (void)watch;
    scene->messages++;
    copy(scene->root, root);
    copy(scene->bytes, bytes);
}

static void on_missed(void *owner, struct str root, bool watch)
{
    struct scene *scene = owner;
    (void)watch;
    scene->missed++;
    copy(scene->root, root);
}

static void on_closed(void *owner)
{
    ((struct scene *)owner)->closed++;
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
    const struct store_options options = {.namespace = "bw",
                                          .durable = {.replicas = 1, .timeout = MILLIS(300)}};
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
    store_close(scene->store);
    WAIT_FOR(scene, scene->closed == 1);
}

static int begin(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    uv_loop_init(&scene->loop);
    uv_timer_init(&scene->loop, &scene->tick);
    uv_timer_start(&scene->tick, ticked, 10, 10);
    *state = scene;
    return 0;
}

static int begin_up(void **state)
{
    begin(state);
    struct scene *scene = *state;
    open_url(scene, nodes.url);
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
    free(scene);
    return 0;
}

static void answered(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct scene *scene = owner;
    assert_true(scene->answers < ANSWERS);
    scene->token[scene->answers] = token;
    scene->verdict[scene->answers++] = answer->verdict;
}

static void send_with(struct scene *scene, const struct store_call *call, uint64_t token)
{
    assert_int_equal(store_send(scene->store, call, answered, scene, token), ERR_OK);
}

static void send_start(struct scene *scene, const char *root, const char *run, uint64_t token)
{
    const struct store_call call = {.op = STORE_START,
                                    .root = str_of(root),
                                    .run = str_of(run),
                                    .path = strcmp(root, run) == 0 ? STR("") : str_of(root),
                                    .incarnation = STR("i1"),
                                    .replica = STR("R1"),
                                    .deadline = SPAN_NONE,
                                    .max_runs = 100000,
                                    .max_children = 100000};
    send_with(scene, &call, token);
}

static void send_op(struct scene *scene, enum store_op op, const char *root, uint64_t token)
{
    const struct store_call call = {.op = op,
                                    .root = str_of(root),
                                    .run = str_of(root),
                                    .id = str_of(root),
                                    .replica = str_of(root),
                                    .generation = STR("g"),
                                    .span = SECONDS(60),
                                    .bytes = STR("hello")};
    send_with(scene, &call, token);
}

static enum store_verdict said(struct scene *scene)
{
    WAIT_FOR(scene, scene->answers > 0);
    return scene->verdict[--scene->answers];
}

static void expect_said(struct scene *scene, const char *verdict)
{
    assert_string_equal(store_verdict_name(said(scene)), verdict);
}

/* A new root in a slot of this node. */
static void root_at(int node, char out[TEXT])
{
    static int tried;
    for (;;) {
        snprintf(out, TEXT, "root-%d", tried++);
        if (redis_nodes_owner(&nodes, node, redis_nodes_slot(&nodes, out)) == node)
            return;
    }
}

static int slot_of_root(const char *root)
{
    return redis_nodes_slot(&nodes, root);
}

/* ---------------------------------------------------------------------------------------------- */
static void trees_of_all_servers_are_started_and_read(void **state)
{
    struct scene *scene = *state;
    char root[TEXT];
    for (int i = 0; i < nodes.masters; i++) {
        root_at(i, root);
        send_start(scene, root, root, 1);
        expect_said(scene, "started");
        send_start(scene, root, "child", 2);
        expect_said(scene, "started");
        send_op(scene, STORE_PEEK, root, 3);
        expect_said(scene, "ok");
        send_op(scene, STORE_TREE, root, 4);
        expect_said(scene, "ok");
    }
    send_op(scene, STORE_TIME, "", 5);
    expect_said(scene, "ok");
    assert_int_equal(scene->downs, 0);
}

/* Keys of one call on three servers, and a later step that never comes before an earlier one. */
static void a_replica_is_taken_off_in_steps(void **state)
{
    struct scene *scene = *state;
    static const enum store_op ops[] = {STORE_LEASE, STORE_HELD_ADD, STORE_REPLICA_ADD,
                                        STORE_LEASE_READ, STORE_LEASE_DROP};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        send_op(scene, ops[i], "some-replica", i);
        expect_said(scene, "ok");
    }
    send_op(scene, STORE_LEASE_READ, "some-replica", 9);
    expect_said(scene, "not_found");
}

static void a_message_reaches_who_subscribed(void **state)
{
    struct scene *scene = *state;
    char root[TEXT];
    for (int i = 0; i < nodes.masters; i++) {
        root_at(i, root);
        assert_int_equal(store_subscribe(scene->store, str_of(root), false), ERR_OK);
        send_op(scene, STORE_PUBLISH, root, 1);
        expect_said(scene, "ok");
        WAIT_FOR(scene, scene->messages == (unsigned)i + 1);
        assert_string_equal(scene->root, root);
        store_unsubscribe(scene->store, str_of(root), false);
    }
}

static void scripts_are_flushed_on_one_of_them(void **state)
{
    struct scene *scene = *state;
    char root[TEXT];
    root_at(1, root);
    redis_process_do(&nodes.node[1], "SCRIPT FLUSH");
    for (uint64_t i = 0; i < 20; i++)
        send_op(scene, STORE_PEEK, root, i);
    WAIT_FOR(scene, scene->answers == 20);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(scene->verdict[i], scene->verdict[0]);
    assert_true(scene->verdict[0] == SAID_OK || scene->verdict[0] == SAID_UNKNOWN);
    assert_int_equal(scene->downs, 0);
}

/* WAIT goes to the server of the tree, on a connection of its own. */
static void replicas_confirm_what_each_of_their_masters_has(void **state)
{
    struct scene *scene = *state;
    char root[TEXT];
    for (int i = 0; i < nodes.masters; i++) {
        root_at(i, root);
        send_start(scene, root, root, 1);
        (void)said(scene);
        const struct store_call cancel = {.op = STORE_CANCEL,
                                          .root = str_of(root),
                                          .run = str_of(root),
                                          .record = STR("record"),
                                          .grace = SPAN_NONE};
        send_with(scene, &cancel, 2);
        expect_said(scene, "accepted");
        const struct store_call sync = {.op = STORE_SYNC,
                                        .root = str_of(root),
                                        .run = str_of(root),
                                        .record = STR("record"),
                                        .durability = DURABLE_REPLICATED};
        send_with(scene, &sync, 3);
        expect_said(scene, "ok");
        redis_process_pause(&nodes.node[nodes.masters + i]);
        send_with(scene, &sync, 4);
        expect_said(scene, "error");
        redis_process_resume(&nodes.node[nodes.masters + i]);
    }
    assert_int_equal(scene->downs, 0);
}

/* ---- a slot moves ---------------------------------------------------------------------------- */
static void move(int slot, int from, int to)
{
    redis_nodes_open_move(&nodes, slot, from, to);
    redis_nodes_move_keys(&nodes, slot, from, to);
    redis_nodes_close_move(&nodes, slot, to);
}

static void a_moved_slot_is_followed_and_is_no_loss(void **state)
{
    struct scene *scene = *state;
    char root[TEXT];
    root_at(0, root);
    send_start(scene, root, root, 1);
    (void)said(scene);
    int slot = slot_of_root(root);
    move(slot, 0, 2);
    send_start(scene, root, "after", 2);
    expect_said(scene, "started");
    assert_true(redis_router_stats(store_router(scene->store)).moved > 0);
    assert_int_equal(scene->ups, 1);
    assert_int_equal(scene->downs, 0);
    move(slot, 2, 0);
}

static void send_numbered(struct scene *scene, const char *root, uint64_t number)
{
    char run[TEXT];
    snprintf(run, sizeof run, "c%d", (int)number);
    send_start(scene, root, run, number);
}

/* What was said before the slot moved is said again after it, behind nothing that was said later:
 * not even while the answers of the old server are still coming in. */
static void calls_keep_their_order_while_their_slot_moves(void **state)
{
    enum { ROUNDS = 3, IN_FLIGHT = 2000 };
    struct scene *scene = *state;
    char root[TEXT];
    root_at(0, root);
    int slot = slot_of_root(root);
    send_start(scene, root, root, 0);
    (void)said(scene);
    uint64_t sent = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int from = round % 2 == 0 ? 0 : 2;
        move(slot, from, 2 - from);
        for (int i = 0; i < IN_FLIGHT; i++)
            send_numbered(scene, root, sent++);
        for (int i = 0; i < IN_FLIGHT; i++) {
            uv_run(&scene->loop, UV_RUN_ONCE);
            send_numbered(scene, root, sent++);
        }
        WAIT_FOR(scene, scene->answers == sent);
    }
    for (unsigned i = 0; i < sent; i++) {
        assert_int_equal(scene->token[i], i);
        assert_string_equal(store_verdict_name(scene->verdict[i]), "started");
    }
    assert_int_equal(scene->downs, 0);
    move(slot, 2, 0);
}

static void send_checkpoint(struct scene *scene, const char *root, const char *write_id)
{
    const struct store_call call = {.op = STORE_CHECKPOINT,
                                    .root = str_of(root),
                                    .run = str_of(root),
                                    .epoch = 1,
                                    .write_id = str_of(write_id),
                                    .bytes = STR("bytes")};
    send_with(scene, &call, 1);
}

static void between_two_servers_a_tree_is_asked_for_over_there(void **state)
{
    struct scene *scene = *state;
    char root[TEXT], other[TEXT];
    root_at(1, root);
    int slot = slot_of_root(root);
    snprintf(other, sizeof other, "{%s}", root);
    send_start(scene, root, root, 1);
    (void)said(scene);
    redis_nodes_open_move(&nodes, slot, 1, 0);
    send_start(scene, root, "still-here", 2);
    expect_said(scene, "started");
    send_checkpoint(scene, root, "early");
    expect_said(scene, "error"); /* its key would be there already, and the tree is here */
    redis_nodes_move_keys(&nodes, slot, 1, 0);
    send_checkpoint(scene, root, "early");
    expect_said(scene, "granted");
    send_start(scene, root, "already-there", 3);
    expect_said(scene, "started");
    send_op(scene, STORE_TREE, root, 4);
    expect_said(scene, "ok");
    assert_true(redis_router_stats(store_router(scene->store)).asked >= 2);
    redis_nodes_close_move(&nodes, slot, 0);
    send_start(scene, root, "settled", 5);
    expect_said(scene, "started");
    assert_int_equal(scene->downs, 0);
    move(slot, 0, 1);
}

static void a_subscription_follows_its_slot(void **state)
{
    struct scene *scene = *state;
    char root[TEXT];
    root_at(1, root);
    int slot = slot_of_root(root);
    assert_int_equal(store_subscribe(scene->store, str_of(root), false), ERR_OK);
    send_op(scene, STORE_PUBLISH, root, 1);
    WAIT_FOR(scene, scene->messages == 1);
    move(slot, 1, 2);
    WAIT_FOR(scene, scene->missed == 1);
    assert_string_equal(scene->root, root);
    send_op(scene, STORE_PUBLISH, root, 2);
    WAIT_FOR(scene, scene->messages == 2);
    assert_int_equal(scene->downs, 0);
    move(slot, 2, 1);
    WAIT_FOR(scene, scene->missed == 2);
}

/* ---- hosts ----------------------------------------------------------------------------------- */
static void a_dead_host_among_those_of_the_url_does_no_harm(void **state)
{
    struct scene *scene = *state;
    char url[TEXT];
    snprintf(url, sizeof url, "redis+cluster://127.0.0.1:%d,127.0.0.1:%d", redis_free_port(),
             nodes.node[2].port);
    open_url(scene, url);
    WAIT_FOR(scene, scene->ups == 1);
    send_op(scene, STORE_TIME, "", 1);
    expect_said(scene, "ok");
}

static void dead_hosts_alone_are_told_and_tried_again(void **state)
{
    struct scene *scene = *state;
    char url[TEXT];
    snprintf(url, sizeof url, "redis+cluster://127.0.0.1:%d", redis_free_port());
    open_url(scene, url);
    WAIT_FOR(scene, scene->downs > 2);
    assert_non_null(strstr(scene->why, "cannot connect"));
    send_op(scene, STORE_TIME, "", 1);
    expect_said(scene, "offline");
}

static void the_wrong_kind_of_url_is_told(void **state)
{
    struct scene *scene = *state;
    open_url(scene, nodes.node[0].url);
    WAIT_FOR(scene, scene->downs > 0);
    assert_non_null(strstr(scene->why, "in cluster mode: begin the url with redis+cluster://"));
    shut(scene);
    struct redis_process alone;
    char url[TEXT];
    redis_process_start(&alone, KIND_REDIS, NULL);
    snprintf(url, sizeof url, "redis+cluster://127.0.0.1:%d", alone.port);
    open_url(scene, url);
    WAIT_FOR(scene, scene->downs > 0);
    assert_non_null(strstr(scene->why, "not of a cluster: begin the url with redis://"));
    redis_process_end(&alone);
}

/* ---- masters ------------------------------------------------------------------------------- */
static void a_master_that_comes_back_by_itself_is_no_loss(void **state)
{
    struct scene *scene = *state;
    char before[TEXT];
    copy(before, str_of(scene->server));
    redis_process_do(&nodes.node[1], "CLIENT KILL TYPE normal");
    WAIT_FOR(scene, scene->downs > 0 && scene->ups == 2);
    assert_string_equal(scene->server, before);
}

static void a_killed_master_is_replaced_and_that_is_a_loss(void **state)
{
    struct scene *scene = *state;
    char before[TEXT], root[TEXT];
    root_at(2, root);
    int slot = slot_of_root(root);
    copy(before, str_of(scene->server));
    send_start(scene, root, root, 1);
    (void)said(scene);
    assert_int_equal(store_subscribe(scene->store, str_of(root), false), ERR_OK);
    redis_process_kill(&nodes.node[2]);
    send_start(scene, root, "lost", 2);
    expect_said(scene, "offline");
    WAIT_FOR(scene, scene->ups == 2);
    assert_string_not_equal(scene->server, before);
    send_start(scene, root, "after", 3);
    expect_said(scene, "started");
    send_op(scene, STORE_PUBLISH, root, 4);
    WAIT_FOR(scene, scene->messages == 1);
    redis_process_again(&nodes.node[2]);
    redis_nodes_wait_for_takeover(&nodes, 2, slot);
}

/* It says nothing and closes nothing; when it goes on it still believes to be a master. */
static void a_master_that_hangs_is_left_behind(void **state)
{
    struct scene *scene = *state;
    const struct redis_target target = {.url = nodes.url, .ping_every = SECONDS(1), .seed = 1};
    char before[TEXT], root[TEXT];
    open_with(scene, &target);
    WAIT_FOR(scene, scene->ups == 1);
    copy(before, str_of(scene->server));
    root_at(0, root);
    int slot = slot_of_root(root);
    redis_process_pause(&nodes.node[0]);
    send_start(scene, root, root, 1);
    expect_said(scene, "offline");
    WAIT_FOR(scene, scene->ups == 2);
    assert_string_not_equal(scene->server, before);
    send_start(scene, root, root, 2);
    expect_said(scene, "started");
    redis_process_resume(&nodes.node[0]);
    redis_nodes_wait_for_takeover(&nodes, 0, slot);
    send_start(scene, root, "later", 3);
    expect_said(scene, "started");
    assert_int_equal(scene->ups, 2);
}

/* ---- TLS and users ------------------------------------------------------------------------- */
static void start_alone_with_tls(struct redis_process *server, const struct certificate *cert,
                                 const char *ca_file, int port)
{
    char bus[16], tls_port[16];
    snprintf(bus, sizeof bus, "%d", redis_free_port());
    snprintf(tls_port, sizeof tls_port, "%d", port);
    const char *const extra[] = {"--cluster-enabled",
                                 "yes",
                                 "--cluster-port",
                                 bus,
                                 "--tls-cluster",
                                 "yes",
                                 "--tls-port",
                                 tls_port,
                                 "--tls-cert-file",
                                 cert->cert_file,
                                 "--tls-key-file",
                                 cert->key_file,
                                 "--tls-ca-cert-file",
                                 ca_file,
                                 "--tls-auth-clients",
                                 "no",
                                 NULL};
    redis_process_start(server, nodes.node[0].kind, extra);
    redis_process_do(server, "CLUSTER ADDSLOTSRANGE 0 16383");
    redis_process_do(server, "ACL SETUSER brakewire on >secret ~bw:* &bw:* +@all");
}

/* The links to the masters are opened later than that to the host of the url, as it was opened. */
static void every_node_is_spoken_to_over_tls_and_with_the_login(void **state)
{
    struct scene *scene = *state;
    struct redis_process server;
    char folder[] = "/tmp/bw-cluster-tls-XXXXXX", url[TEXT], command[TEXT];
    int port = redis_free_port();
    assert_non_null(mkdtemp(folder));
    struct certificate ca = certificate_authority(folder, "Example-CA");
    struct certificate cert =
        certificate_signed_by(&ca, folder, "server", "IP:127.0.0.1,DNS:localhost", 2);
    start_alone_with_tls(&server, &cert, ca.cert_file, port);
    snprintf(url, sizeof url, "rediss+cluster://brakewire:secret@localhost:%d", port);
    const struct redis_target target = {.url = url, .tls.ca_file = ca.cert_file, .seed = 1};
    open_with(scene, &target);
    WAIT_FOR(scene, scene->ups == 1);
    send_start(scene, "tls", "tls", 1);
    expect_said(scene, "started");
    redis_process_end(&server);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

/* ---------------------------------------------------------------------------------------------- */
#define STORY(name) cmocka_unit_test_setup_teardown(name, begin_up, finish)
#define APART(name) cmocka_unit_test_setup_teardown(name, begin, finish)

static const struct CMUnitTest tests[] = {
    STORY(trees_of_all_servers_are_started_and_read),
    STORY(a_replica_is_taken_off_in_steps),
    STORY(a_message_reaches_who_subscribed),
    STORY(scripts_are_flushed_on_one_of_them),
    STORY(replicas_confirm_what_each_of_their_masters_has),
    STORY(a_moved_slot_is_followed_and_is_no_loss),
    STORY(calls_keep_their_order_while_their_slot_moves),
    STORY(between_two_servers_a_tree_is_asked_for_over_there),
    STORY(a_subscription_follows_its_slot),
    APART(a_dead_host_among_those_of_the_url_does_no_harm),
    APART(dead_hosts_alone_are_told_and_tried_again),
    APART(the_wrong_kind_of_url_is_told),
    APART(every_node_is_spoken_to_over_tls_and_with_the_login),
    STORY(a_master_that_comes_back_by_itself_is_no_loss),
    STORY(a_killed_master_is_replaced_and_that_is_a_loss),
    APART(a_master_that_hangs_is_left_behind),
};

int main(void)
{
    int failed = 0;
    for (enum redis_kind kind = KIND_REDIS; kind < KIND_COUNT; kind++) {
        if (!redis_kind_is_installed(kind))
            continue;
        redis_nodes_start(&nodes, kind, 3, true);
        failed += _cmocka_run_group_tests(redis_kind_name(kind), tests,
                                          sizeof tests / sizeof *tests, NULL, NULL);
        redis_nodes_end(&nodes);
    }
    return failed;
}
