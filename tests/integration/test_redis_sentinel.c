/* A link by way of three sentinels, one master and two replicas: found, lost, and found again. */
#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "support/link_scene.h"
#include "support/sidecar.h"

enum { SERVERS = 3, SENTINELS = 3, HEARD_BY_THEN_MS = 4000 };

struct stage {
    enum redis_kind kind;
    struct redis_process server[SERVERS], sentinel[SENTINELS];
    char url[TEXT];
    struct scene *scene;
};

/* The text of the element behind `name` in the answer to SENTINEL MASTER; "" if there is none. */
static void ask_sentinel(const struct redis_process *sentinel, const char *name, char out[64])
{
    redisContext *context = redis_process_connect(sentinel);
    redisReply *reply = redisCommand(context, "SENTINEL MASTER mine");
    out[0] = '\0';
    for (size_t i = 0; reply != NULL && i + 1 < reply->elements; i += 2)
        if (strcmp(reply->element[i]->str, name) == 0)
            snprintf(out, 64, "%s", reply->element[i + 1]->str);
    freeReplyObject(reply);
    redisFree(context);
}

static bool all_say(const struct stage *stage, const char *name, const char *wanted)
{
    char said[64];
    for (size_t i = 0; i < SENTINELS; i++) {
        ask_sentinel(&stage->sentinel[i], name, said);
        if (strcmp(said, wanted) != 0)
            return false;
    }
    return true;
}

static void wait_until_all_say(const struct stage *stage, const char *name, const char *wanted)
{
    struct waiting wait = WAITING;
    while (!all_say(stage, name, wanted))
        waiting_turn(&wait);
}

/* Which server the first sentinel calls the master. */
static size_t master_of(const struct stage *stage)
{
    char port[64];
    ask_sentinel(&stage->sentinel[0], "port", port);
    for (size_t i = 0; i < SERVERS; i++)
        if (stage->server[i].port == atoi(port))
            return i;
    fail_msg("no server has the port %s", port);
    return 0;
}

static void wait_for_failover_from(const struct stage *stage, size_t old)
{
    struct waiting wait = WAITING;
    while (master_of(stage) == old)
        waiting_turn(&wait);
    char port[64];
    snprintf(port, sizeof port, "%d", stage->server[master_of(stage)].port);
    wait_until_all_say(stage, "port", port);
}

static void write_url(struct stage *stage)
{
    int len = snprintf(stage->url, sizeof stage->url, "sentinel://");
    for (size_t i = 0; i < SENTINELS; i++)
        len += snprintf(stage->url + len, sizeof stage->url - (size_t)len, "%s127.0.0.1:%d",
                        i > 0 ? "," : "", stage->sentinel[i].port);
    snprintf(stage->url + len, sizeof stage->url - (size_t)len, "/mine");
}

static void start_servers(struct stage *stage)
{
    char port[16];
    redis_process_start(&stage->server[0], stage->kind, NULL);
    snprintf(port, sizeof port, "%d", stage->server[0].port);
    const char *const replica[] = {"--replicaof", "127.0.0.1", port, NULL};
    for (size_t i = 1; i < SERVERS; i++)
        redis_process_start(&stage->server[i], stage->kind, replica);
}

static void start_sentinels(struct stage *stage)
{
    for (size_t i = 0; i < SENTINELS; i++)
        redis_sentinel_start(&stage->sentinel[i], stage->kind, "mine", stage->server[0].port, 2,
                             NULL);
    wait_until_all_say(stage, "num-other-sentinels", "2");
    wait_until_all_say(stage, "num-slaves", "2");
    write_url(stage);
}

static int set_up(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    stage->kind = *state == NULL ? KIND_REDIS : KIND_VALKEY;
    start_servers(stage);
    start_sentinels(stage);
    stage->scene = scene_new();
    *state = stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    bool clean = scene_free(stage->scene);
    for (size_t i = 0; i < SENTINELS; i++)
        redis_process_end(&stage->sentinel[i]);
    for (size_t i = 0; i < SERVERS; i++)
        redis_process_end(&stage->server[i]);
    free(stage);
    return clean ? 0 : -1;
}

static void open_link(struct stage *stage)
{
    unsigned before = stage->scene->ups;
    scene_open(stage->scene, (struct redis_target){.url = stage->url, .client_name = "story"});
    WAIT_FOR(stage->scene, stage->scene->ups > before);
}

static void run_id_of(const struct redis_process *server, char out[64])
{
    redisContext *context = redis_process_connect(server);
    redisReply *reply = redisCommand(context, "INFO server");
    const char *at = strstr(reply->str, "run_id:");
    snprintf(out, 64, "%.40s", at != NULL ? at + strlen("run_id:") : "");
    freeReplyObject(reply);
    redisFree(context);
}

static bool is_at(const struct stage *stage, size_t server)
{
    char run_id[64];
    run_id_of(&stage->server[server], run_id);
    return strcmp(stage->scene->run_id, run_id) == 0;
}

/* An order to fail over needs a replica that is caught up: asked until it is taken. */
static void order_failover(const struct stage *stage)
{
    struct waiting wait = WAITING;
    for (bool taken = false; !taken;) {
        redisContext *context = redis_process_connect(&stage->sentinel[0]);
        redisReply *reply = redisCommand(context, "SENTINEL FAILOVER mine");
        taken = reply != NULL && reply->type == REDIS_REPLY_STATUS;
        freeReplyObject(reply);
        redisFree(context);
        if (!taken)
            waiting_turn(&wait);
    }
}

static void expect_writes(struct scene *scene)
{
    scene_ask(scene, "SET written 1");
    assert_string_equal(scene_answer(scene), "OK");
    assert_string_equal(scene->role, "master");
}

/* And back: the first server again, as the same process, with another history. */
static void an_ordered_failover_is_followed(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = stage->scene;
    char first[TEXT];
    open_link(stage);
    assert_true(is_at(stage, 0));
    strcpy(first, scene->history);
    size_t at = 0;
    for (int hops = 0; hops < 8 && (hops == 0 || at != 0); hops++) {
        unsigned ups = scene->ups;
        order_failover(stage);
        wait_for_failover_from(stage, at);
        at = master_of(stage);
        WAIT_FOR(scene, scene->ups > ups && is_at(stage, at) && redis_link_is_up(scene->link));
        expect_writes(scene);
    }
    if (at == 0)
        assert_string_not_equal(scene->history, first);
}

/* One sentinel sleeps through it: what it believes when it wakes is older, and counts less. */
static void a_killed_master_is_replaced_by_a_replica(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = stage->scene;
    char first[TEXT];
    open_link(stage);
    strcpy(first, scene->run_id);
    redis_process_pause(&stage->sentinel[2]);
    uint64_t start = uv_hrtime();
    redis_process_kill(&stage->server[0]);
    WAIT_FOR(scene, scene->ups >= 2 && redis_link_is_up(scene->link));
    print_message("on the new master after %.1f s\n", (double)(uv_hrtime() - start) / 1e9);
    expect_writes(scene);
    redis_process_resume(&stage->sentinel[2]);
    start = uv_hrtime();
    WAIT_FOR(scene, uv_hrtime() - start > HEARD_BY_THEN_MS * 1000000ull);
    assert_true(redis_link_is_up(scene->link)); /* the server that it names is dead */
    assert_string_not_equal(scene->run_id, first);
    redis_process_again(&stage->server[0]);
    expect_writes(scene);
}

static void without_sentinels_at_the_start_it_says_so_and_waits(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = stage->scene;
    for (size_t i = 0; i < SENTINELS; i++)
        redis_process_kill(&stage->sentinel[i]);
    scene_open(scene, (struct redis_target){.url = stage->url, .connect_timeout = MILLIS(300)});
    WAIT_FOR(scene, strstr(scene->why, "Connection refused") != NULL);
    assert_non_null(strstr(scene->why, "no sentinel says where \"mine\" is: 127.0.0.1:"));
    for (size_t i = 0; i < SENTINELS; i++)
        redis_process_again(&stage->sentinel[i]);
    WAIT_FOR(scene, scene->ups == 1);
    assert_true(is_at(stage, 0));
}

static void while_the_sentinels_are_away_the_master_is_kept(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = stage->scene;
    open_link(stage);
    for (size_t i = 0; i < SENTINELS; i++)
        redis_process_kill(&stage->sentinel[i]);
    expect_writes(scene);
    assert_int_equal(scene_say(scene, "CLIENT KILL TYPE normal SKIPME no"), ERR_OK);
    WAIT_FOR(scene, scene->ups == 2);
    expect_writes(scene);
}

static void expect_refusal(struct stage *stage, const char *url, const char *said)
{
    struct scene *scene = stage->scene;
    unsigned before = scene->ups;
    scene->why[0] = '\0';
    scene_open(scene, (struct redis_target){.url = url, .connect_timeout = MILLIS(300)});
    WAIT_FOR(scene, strstr(scene->why, said) != NULL);
    assert_int_equal(scene->ups, before);
    scene_close(scene);
}

static void a_url_that_does_not_fit_is_told(void **state)
{
    struct stage *stage = *state;
    char url[TEXT];
    snprintf(url, sizeof url, "sentinel://127.0.0.1:%d/other", stage->sentinel[0].port);
    expect_refusal(stage, url, "knows no master named \"other\"");
    snprintf(url, sizeof url, "sentinel://127.0.0.1:%d/mine", stage->server[0].port);
    expect_refusal(stage, url, "this is no sentinel");
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", stage->sentinel[0].port);
    expect_refusal(stage, url, "this is a sentinel: begin the url with sentinel://");
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", stage->server[1].port);
    scene_open(stage->scene, (struct redis_target){.url = url});
    WAIT_FOR(stage->scene, stage->scene->ups == 1);
    assert_string_equal(stage->scene->role, "slave"); /* the store refuses it */
}

static void sentinels_and_servers_have_passwords_of_their_own(void **state)
{
    struct stage *stage = *state;
    struct scene *scene = stage->scene;
    struct redis_target target = {.url = stage->url, .connect_timeout = MILLIS(500)};
    for (size_t i = 0; i < SENTINELS; i++)
        redis_process_do(&stage->sentinel[i], "ACL SETUSER default >watch");
    redis_process_do(&stage->server[0], "CONFIG SET requirepass data");
    scene_open(scene, target);
    WAIT_FOR(scene, strstr(scene->why, "NOAUTH") != NULL);
    scene_close(scene);
    target.password = "data";
    target.sentinel_password = "watch";
    scene_open(scene, target);
    WAIT_FOR(scene, scene->ups == 1);
    expect_writes(scene);
}

static int doctor_says(const char *url)
{
    char command[2 * TEXT];
    snprintf(command, sizeof command,
             BRAKEWIRE_BIN "/brakectl check --no-agentd --no-broker --redis %s", url);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void the_daemons_and_the_doctor_go_by_the_sentinels(void **state)
{
    struct stage *stage = *state;
    static struct service agentd, broker;
    char url[TEXT + 16], generation[TEXT];
    snprintf(url, sizeof url, "--redis-url=%s", stage->url);
    const char *const flags[] = {url, "--listen=", NULL};
    service_start(&agentd, "brakewire-agentd", true, flags);
    service_start(&broker, "brakewire-broker", true, flags);
    service_wait_for(&agentd, NULL, "/v1/version", "redis.url", stage->url);
    struct started run = sidecar_run(&agentd, NULL, "{}");
    assert_int_equal(doctor_says(stage->url), 0);
    json_t *version = NULL;
    assert_int_equal(service_call(&agentd, NULL, "GET", "/v1/version", NULL, &version), 200);
    snprintf(generation, sizeof generation, "%s", json_word(version, "redis.generation"));
    json_decref(version);
    redis_process_kill(&stage->server[0]);
    wait_for_failover_from(stage, 0);
    service_wait_for(&agentd, NULL, "/v1/version", "redis.linked", "true");
    service_wait_for(&broker, NULL, "/v1/version", "redis.linked", "true");
    sidecar_wait_for_state(&agentd, &run, "running");
    json_decref(sidecar_cancel(&broker, &run, "{\"reason\":\"after the failover\"}"));
    sidecar_wait_for_state(&agentd, &run, "stopping");
    service_stop(&agentd);
    service_stop(&broker);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(an_ordered_failover_is_followed),
        STORY(a_killed_master_is_replaced_by_a_replica),
        STORY(without_sentinels_at_the_start_it_says_so_and_waits),
        STORY(while_the_sentinels_are_away_the_master_is_kept),
        STORY(a_url_that_does_not_fit_is_told),
        STORY(sentinels_and_servers_have_passwords_of_their_own),
        STORY(the_daemons_and_the_doctor_go_by_the_sentinels),
    };
    const struct CMUnitTest with_valkey[] = {
        {"with valkey", a_killed_master_is_replaced_by_a_replica, set_up, tear_down,
         (void *)"valkey"},
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (redis_kind_is_installed(KIND_VALKEY))
        return failed + cmocka_run_group_tests(with_valkey, NULL, NULL);
    print_message("skipped: valkey-server is not installed\n");
    return failed;
}
