/* Two agentds and a broker on a cluster of three masters and their replicas: cancels while nothing
 * happens, while a slot moves, and while a master dies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "brakectl/sse.h"
#include "support/redis_nodes.h"
#include "support/sidecar.h"

enum { TREES = 9 };
static const char below[] = "the-token-of-the-sub-agent";

static struct redis_nodes nodes;
static struct redis_process address; /* its url alone is used */
static struct service ann, bob, broker;
static struct listening at_bob;

static int begin(void **state)
{
    (void)state;
    char url[160];
    snprintf(address.url, sizeof address.url,
             "redis+cluster://127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d", nodes.node[0].port,
             nodes.node[1].port, nodes.node[2].port);
    snprintf(url, sizeof url, "--redis-url=%s", address.url);
    const char *const args[] = {url, "--listen=127.0.0.1:0", "--retransmit=60s", NULL};
    sidecar_start(&ann, &address, NULL);
    sidecar_start(&bob, &address, NULL);
    service_start(&broker, "brakewire-broker", true, args);
    listening_open(&at_bob, &bob, below);
    return 0;
}

static int end(void **state)
{
    (void)state;
    listening_close(&at_bob);
    service_stop(&ann);
    service_stop(&bob);
    service_stop(&broker);
    return 0;
}

/* ---- trees --------------------------------------------------------------------------------- */
struct tree {
    struct started root, child; /* at ann's; at bob's */
};

static struct tree plant(void)
{
    struct tree tree;
    tree.root = sidecar_run(&ann, NULL, "{}");
    tree.child = sidecar_child(&bob, &tree.root, below);
    return tree;
}

static int slot_of_tree(const struct tree *tree)
{
    return redis_nodes_slot(&nodes, tree->root.root);
}

/* The first is planted again until its slot is of this node. */
static struct tree plant_at(int node)
{
    for (;;) {
        struct tree tree = plant();
        if (redis_nodes_owner(&nodes, node, slot_of_tree(&tree)) == node)
            return tree;
    }
}

static void expect_told(const struct started *run)
{
    struct waiting wait = WAITING;
    for (bool is_told = false; !is_told; waiting_turn(&wait)) {
        sse_wait(at_bob.stream, -1, MILLIS(5));
        for (size_t i = 0; i < at_bob.count; i++)
            is_told = is_told || strcmp(json_word(at_bob.notice[i], "run"), run->run) == 0;
    }
}

static void cancel_by_broker(const struct started *run, const char *body, long wanted)
{
    char path[160];
    json_t *json;
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", run->run);
    long status = service_call(&broker, NULL, "POST", path, body, &json);
    if (status != wanted) {
        char *text = json_dumps(json, JSON_COMPACT);
        fail_msg("%s: %ld %s", path, status, text != NULL ? text : "");
    }
    json_decref(json);
}

/* ---------------------------------------------------------------------------------------------- */
static void a_cancel_reaches_the_other_agentd_whatever_server_has_the_tree(void **state)
{
    (void)state;
    for (int i = 0; i < TREES; i++) {
        struct tree tree = plant_at(i % nodes.masters);
        json_decref(sidecar_cancel(&ann, &tree.root, "{}"));
        expect_told(&tree.child);
        sidecar_end(&bob, &tree.child, "cancelled");
        sidecar_end(&ann, &tree.root, "cancelled");
        cancel_by_broker(&tree.root, "{\"wait\":\"stopped\",\"timeout_ms\":10000}", 200);
    }
}

/* While its tree is between two servers a cancel is recorded at the new one and published there;
 * who listens at the old one learns it when the slot has moved. */
static void cancels_go_on_while_their_slot_moves(void **state)
{
    (void)state;
    struct tree tree = plant_at(0);
    struct started run[4];
    int slot = slot_of_tree(&tree);
    for (int i = 0; i < 4; i++)
        run[i] = sidecar_child(&bob, &tree.root, below);
    cancel_by_broker(&run[0], "{}", 202);
    expect_told(&run[0]);
    redis_nodes_open_move(&nodes, slot, 0, 1);
    cancel_by_broker(&run[1], "{}", 202);
    expect_told(&run[1]);
    redis_nodes_move_keys(&nodes, slot, 0, 1);
    cancel_by_broker(&run[2], "{}", 202);
    redis_nodes_close_move(&nodes, slot, 1);
    expect_told(&run[2]);
    cancel_by_broker(&run[3], "{}", 202);
    expect_told(&run[3]);
    sidecar_wait_for_state(&bob, &tree.child, "running");
    json_decref(sidecar_cancel(&ann, &tree.root, "{}"));
    expect_told(&tree.child);
}

static void a_master_dies_and_nothing_that_lives_is_lost(void **state)
{
    (void)state;
    struct tree tree[TREES];
    for (int i = 0; i < TREES; i++)
        tree[i] = plant_at(i % nodes.masters);
    int slot = slot_of_tree(&tree[2]);
    redis_process_kill(&nodes.node[2]);
    service_wait_for(&ann, tree[2].root.token, "/v1/version", "redis.linked", "false");
    json_t *asked = sidecar_cancel(&ann, &tree[2].root, "{}");
    assert_true(json_is_true(json_member(asked, "pending")));
    json_decref(asked);
    redis_nodes_wait_for_takeover(&nodes, 2, slot);
    expect_told(&tree[2].child);
    for (int i = 0; i < TREES; i++) {
        if (i == 2)
            continue;
        sidecar_wait_for_state(&ann, &tree[i].root, "running");
        sidecar_wait_for_state(&bob, &tree[i].child, "running");
        json_decref(sidecar_cancel(&ann, &tree[i].root, "{}"));
        expect_told(&tree[i].child);
    }
    redis_process_again(&nodes.node[2]);
}

/* ---- the doctor ---------------------------------------------------------------------------- */
static int check(const char *url, char *out, size_t room)
{
    char command[1024];
    snprintf(command, sizeof command, BRAKEWIRE_BIN "/brakectl check --agentd %s --redis %s 2>&1",
             ann.where + strlen("unix:"), url);
    FILE *process = popen(command, "r");
    assert_non_null(process);
    size_t len = fread(out, 1, room - 1, process);
    out[len] = '\0';
    return pclose(process);
}

static void expect_found(const char *url, const char *text)
{
    char out[16384];
    (void)check(url, out, sizeof out);
    if (strstr(out, text) == NULL)
        fail_msg("\"%s\" is not in:\n%s", text, out);
}

static void the_doctor_knows_clusters(void **state)
{
    (void)state;
    struct redis_process alone;
    char url[64];
    expect_found(nodes.url, "3 masters hold 16384 of 16384 slots");
    expect_found(nodes.url, "scripts and keys of bw:*");
    expect_found(nodes.url, "may subscribe to bw:*");
    expect_found(nodes.node[0].url, "begin the url with redis+cluster://");
    redis_process_start(&alone, KIND_REDIS, NULL);
    snprintf(url, sizeof url, "redis+cluster://127.0.0.1:%d", alone.port);
    expect_found(url, "this server is not of a cluster");
    redis_process_end(&alone);
    redis_process_do(&nodes.node[1], "CONFIG SET maxmemory-policy allkeys-lru");
    expect_found(nodes.url, "allkeys-* at 127.0.0.1");
    redis_process_do(&nodes.node[1], "CONFIG SET maxmemory-policy noeviction");
}

/* ---------------------------------------------------------------------------------------------- */
#define STORY(name) cmocka_unit_test_setup_teardown(name, begin, end)

static const struct CMUnitTest tests[] = {
    STORY(a_cancel_reaches_the_other_agentd_whatever_server_has_the_tree),
    STORY(cancels_go_on_while_their_slot_moves),
    STORY(the_doctor_knows_clusters),
    STORY(a_master_dies_and_nothing_that_lives_is_lost),
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
