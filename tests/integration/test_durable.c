/* durability = replicated | fsynced: answers that wait for real replicas and real disks, and say
 * what was reached. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include <hiredis/hiredis.h>

#include "support/sidecar.h"

#define REPLICATED "{\"durability\":\"replicated\"}"
#define FSYNCED    "{\"durability\":\"fsynced\"}"

static struct redis_process master, replica;
static struct service agentd, broker;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- the scene --------------------------------------------------------------------------------
 */
static void replica_start(void)
{
    char port[16];
    snprintf(port, sizeof port, "%d", master.port);
    const char *const extra[] = {"--replicaof", "127.0.0.1", port, NULL};
    redis_process_start(&replica, master.kind, extra);
    struct waiting wait = WAITING;
    while (redis_process_do(&master, "WAIT 1 100") < 1)
        waiting_turn(&wait);
}

static void daemons_start(const char *timeout, const char *replicas, const char *durability)
{
    char url[160], patience[64], enough[64], usual[64];
    snprintf(url, sizeof url, "--redis-url=unix://%s", master.socket);
    snprintf(patience, sizeof patience, "--durable-timeout=%s", timeout);
    snprintf(enough, sizeof enough, "--durable-replicas=%s", replicas);
    snprintf(usual, sizeof usual, "--durability=%s", durability);
    const char *const args[] = {url, "--listen=127.0.0.1:0", patience, enough, usual, NULL};
    const char *const more[] = {patience, enough, usual, NULL};
    service_start(&broker, "brakewire-broker", true, args);
    sidecar_start(&agentd, &master, more);
}

static int begin(void **state)
{
    (void)state;
    redis_process_start(&master, KIND_REDIS, NULL);
    return 0;
}

static int begin_replicated(void **state)
{
    begin(state);
    replica_start();
    daemons_start("5s", "1", "memory");
    return 0;
}

/* Where WAIT minds only what its own connection wrote (Redis 7.2, Valkey). */
static int begin_replicated_valkey(void **state)
{
    bool is_there = redis_kind_is_installed(KIND_VALKEY);
    redis_process_start(&master, is_there ? KIND_VALKEY : KIND_REDIS, NULL);
    replica_start();
    daemons_start("1s", "1", "memory");
    *state = is_there ? &master : NULL;
    return 0;
}

static int begin_alone(void **state)
{
    begin(state);
    daemons_start("200ms", "1", "replicated");
    return 0;
}

static int begin_patient(void **state)
{
    begin(state);
    replica_start();
    daemons_start("4s", "1", "memory");
    return 0;
}

static int end(void **state)
{
    (void)state;
    service_stop(&agentd);
    service_stop(&broker);
    redis_process_end(&replica);
    redis_process_end(&master);
    return 0;
}

/* ---- asking ------------------------------------------------------------------------------------
 */
static json_t *cancel_at(const struct service *service, const char *run, const char *body)
{
    char path[160];
    json_t *json = NULL;
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", run);
    long status = service_call(service, NULL, "POST", path, body, &json);
    if (status != 200 && status != 202)
        fail_msg("cancel: %ld %s", status, json_word(json, "detail"));
    return json;
}

static void expect_durability(const struct service *service, const char *run, const char *body,
                              const char *wanted)
{
    json_t *json = cancel_at(service, run, body);
    const char *because = json_word(json, "not_durable_because");
    if (strcmp(json_word(json, "durability"), wanted) != 0)
        fail_msg("%s, not %s: %s", json_word(json, "durability"), wanted, because);
    assert_true(json_is_false(json_member(json, "pending")));
    bool is_less = strcmp(wanted, json_word(json, "durability_asked")) != 0;
    assert_int_equal(because[0] != '\0', is_less);
    json_decref(json);
}

static void expect_because(const char *run, const char *body, const char *part)
{
    json_t *json = cancel_at(&broker, run, body);
    assert_string_equal(json_word(json, "durability"), "memory");
    if (strstr(json_word(json, "not_durable_because"), part) == NULL)
        fail_msg("because of this? %s", json_word(json, "not_durable_because"));
    json_decref(json);
}

static bool has_record(const struct redis_process *server, const struct started *run)
{
    return redis_process_do(server, "HEXISTS bw:{%s} c:%s", run->root, run->run) == 1;
}

static struct started fresh_run(void)
{
    return sidecar_run(&agentd, NULL, "{}");
}

static void redis_restarts(struct redis_process *server)
{
    redis_process_kill(server);
    redis_process_again(server);
}

/* ---- replicated --------------------------------------------------------------------------------
 */
static void a_cancel_says_replicated_when_a_replica_has_it(void **state)
{
    (void)state;
    struct started here = fresh_run(), there = fresh_run();
    expect_durability(&agentd, here.run, REPLICATED, "replicated");
    assert_true(has_record(&replica, &here));
    expect_durability(&broker, there.run, REPLICATED, "replicated");
    assert_true(has_record(&replica, &there));
    expect_durability(&broker, there.run, "{}", "memory");
}

static void the_children_alone_are_replicated_each(void **state)
{
    (void)state;
    struct started parent = fresh_run();
    struct started child = sidecar_child(&agentd, &parent, NULL);
    expect_durability(&broker, parent.run, "{\"durability\":\"replicated\",\"include_self\":false}",
                      "replicated");
    assert_true(has_record(&replica, &child));
    assert_false(has_record(&replica, &parent));
}

static void a_cancel_that_was_answered_replicated_survives_a_failover(void **state)
{
    (void)state;
    enum { RUNS = 20 };
    struct started run[RUNS];
    for (int i = 0; i < RUNS; i++)
        run[i] = fresh_run();
    for (int i = 0; i < RUNS; i++)
        expect_durability(&broker, run[i].run, REPLICATED, "replicated");
    redis_process_kill(&master);
    redis_process_do(&replica, "REPLICAOF NO ONE");
    for (int i = 0; i < RUNS; i++)
        assert_true(has_record(&replica, &run[i]));
}

/* The record of the first cancel never reached the replica; the repeat must not say that it did
 * because something else did. */
static void a_repeat_waits_for_the_record_itself(void **state)
{
    if (*state == NULL)
        skip();
    struct started run = fresh_run();
    redis_process_pause(&replica);
    expect_because(run.run, REPLICATED, "0 of 1 replicas had it within 1000 ms");
    expect_because(run.run, REPLICATED, "0 of 1 replicas");
    redis_process_resume(&replica);
    json_t *json = cancel_at(&broker, run.run, REPLICATED);
    assert_true(json_is_true(json_member(json, "already")));
    assert_string_equal(json_word(json, "durability"), "replicated");
    json_decref(json);
    assert_true(has_record(&replica, &run));
}

static void without_a_replica_it_says_memory_and_why(void **state)
{
    (void)state;
    struct started run = fresh_run();
    int64_t before = now_ms();
    expect_because(run.run, "{}", "0 of 1 replicas had it within 200 ms");
    assert_true(now_ms() - before >= 200);
    expect_durability(&broker, run.run, "{\"durability\":\"memory\"}", "memory");
}

/* Asks for `replicated` in a process of its own, which ends when the answer is there. */
static pid_t ask_aside(const struct started *run)
{
    pid_t pid = fork();
    if (pid == 0) {
        char path[160];
        snprintf(path, sizeof path, "/v1/runs/%s/cancel", run->run);
        service_call(&broker, NULL, "POST", path, REPLICATED, NULL);
        _exit(0);
    }
    assert_true(pid > 0);
    return pid;
}

static void a_slow_replica_never_delays_who_does_not_wait_for_it(void **state)
{
    (void)state;
    enum { ASIDE = 8, RUNS = 40 };
    struct started slow[ASIDE], run[RUNS];
    pid_t aside[ASIDE];
    for (int i = 0; i < ASIDE; i++)
        slow[i] = fresh_run();
    for (int i = 0; i < RUNS; i++)
        run[i] = fresh_run();
    redis_process_pause(&replica);
    int64_t before = now_ms();
    for (int i = 0; i < ASIDE; i++)
        aside[i] = ask_aside(&slow[i]);
    for (int i = 0; i < ASIDE; i++) { /* told all the same: the record is there and published */
        struct waiting wait = WAITING;
        while (!has_record(&master, &slow[i]))
            waiting_turn(&wait);
    }
    for (int i = 0; i < RUNS; i++)
        expect_durability(&broker, run[i].run, "{}", "memory");
    int64_t took = now_ms() - before;
    for (int i = 0; i < ASIDE; i++)
        assert_int_equal(waitpid(aside[i], NULL, WNOHANG), 0);
    assert_true(took < 4000);
    for (int i = 0; i < ASIDE; i++)
        assert_int_equal(waitpid(aside[i], NULL, 0), aside[i]);
    assert_true(now_ms() - before < 4000 * 2 + 2000); /* two rounds, however many ask */
}

/* ---- checkpoints and adoptions ------------------------------------------------------------- */
static json_t *fence(const struct started *run, const char *write_id)
{
    char path[160];
    snprintf(path, sizeof path, "/v1/runs/%s/fence", run->run);
    return sidecar_call(&agentd, run->token, 200, "POST", path,
                        "{\"epoch\":%d,\"write_id\":\"%s\"}", run->epoch, write_id);
}

/* Is the last checkpoint of a cancelled run confirmed? */
static bool last_write_is_confirmed(const struct started *run)
{
    json_t *json = fence(run, "w2");
    assert_true(json_is_true(json_member(json, "last")));
    bool is_confirmed = json_member(json, "unconfirmed") == NULL;
    json_decref(json);
    return is_confirmed;
}

static void a_last_checkpoint_nobody_else_has_is_unconfirmed(void **state)
{
    (void)state;
    struct started run = fresh_run();
    json_t *json = fence(&run, "w1");
    assert_null(json_member(json, "unconfirmed"));
    json_decref(json);
    json_decref(cancel_at(&agentd, run.run, "{\"durability\":\"memory\"}"));
    assert_false(last_write_is_confirmed(&run));
    replica_start();
    struct waiting wait = WAITING;
    while (!last_write_is_confirmed(&run))
        waiting_turn(&wait);
}

/* The next life takes it over; is that confirmed? */
static bool adoption_is_confirmed(struct started *run)
{
    json_t *json = sidecar_call(&agentd, NULL, 201, "POST", "/v1/runs",
                                "{\"run_id\":\"%s\",\"epoch\":%d,\"takeover\":true,"
                                "\"incarnation\":\"life%d\"}",
                                run->run, run->epoch, run->epoch);
    assert_int_equal(json_integer_value(json_member(json, "epoch")), run->epoch + 1);
    run->epoch++;
    bool is_confirmed = json_member(json, "unconfirmed") == NULL;
    json_decref(json);
    return is_confirmed;
}

static void an_adoption_nobody_else_has_is_unconfirmed(void **state)
{
    (void)state;
    struct started run = fresh_run();
    assert_false(adoption_is_confirmed(&run));
    replica_start();
    struct waiting wait = WAITING;
    while (!adoption_is_confirmed(&run))
        waiting_turn(&wait);
}

/* ---- fsynced ------------------------------------------------------------------------------------
 */
static void a_server_without_waitaof_is_told_apart(void **state)
{
    enum { HAS_WAITAOF = 0x00070200 };
    (void)state;
    if (redis_process_do(&master, "EVAL %s 0", "return redis.REDIS_VERSION_NUM") >= HAS_WAITAOF)
        skip();
    struct started run = fresh_run();
    expect_because(run.run, FSYNCED, "WAITAOF");
    char url[160];
    snprintf(url, sizeof url, "--redis-url=unix://%s", master.socket);
    const char *const args[] = {url, "--durability=fsynced", NULL};
    assert_int_equal(service_run("brakewire-agentd", args), 1);
}

static int begin_on_disk(const char *policy, const char *replicas)
{
    const char *const extra[] = {"--appendonly", "yes", "--appendfsync", policy, NULL};
    if (!redis_kind_is_installed(KIND_VALKEY))
        return 1;
    redis_process_start(&master, KIND_VALKEY, extra);
    daemons_start("5s", replicas, "fsynced");
    return 0;
}

static int begin_fsync_always(void **state)
{
    *state = begin_on_disk("always", "0") == 0 ? &master : NULL;
    return 0;
}

static int begin_fsync_everysec(void **state)
{
    *state = begin_on_disk("everysec", "0") == 0 ? &master : NULL;
    return 0;
}

static void a_cancel_that_was_answered_fsynced_survives_the_server(void **state)
{
    if (*state == NULL)
        skip();
    enum { RUNS = 5 };
    struct started run[RUNS];
    for (int i = 0; i < RUNS; i++) {
        run[i] = fresh_run();
        expect_durability(i % 2 == 0 ? &broker : &agentd, run[i].run, "{}", "fsynced");
    }
    redis_restarts(&master);
    for (int i = 0; i < RUNS; i++)
        assert_true(has_record(&master, &run[i]));
}

static void a_server_without_aof_says_so(void **state)
{
    (void)state;
    if (!redis_kind_is_installed(KIND_VALKEY))
        skip();
    redis_process_start(&master, KIND_VALKEY, NULL);
    daemons_start("2s", "0", "memory");
    struct started run = fresh_run();
    expect_because(run.run, FSYNCED, "appendonly is disabled");
    expect_because(run.run, REPLICATED, "0 of 1 replicas"); /* 0 is for disks alone */
    replica_start();
    expect_durability(&broker, run.run, REPLICATED, "replicated");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_cancel_says_replicated_when_a_replica_has_it,
                                        begin_replicated, end),
        cmocka_unit_test_setup_teardown(the_children_alone_are_replicated_each, begin_replicated,
                                        end),
        cmocka_unit_test_setup_teardown(a_cancel_that_was_answered_replicated_survives_a_failover,
                                        begin_replicated, end),
        cmocka_unit_test_setup_teardown(a_repeat_waits_for_the_record_itself,
                                        begin_replicated_valkey, end),
        cmocka_unit_test_setup_teardown(without_a_replica_it_says_memory_and_why, begin_alone, end),
        cmocka_unit_test_setup_teardown(a_slow_replica_never_delays_who_does_not_wait_for_it,
                                        begin_patient, end),
        cmocka_unit_test_setup_teardown(a_last_checkpoint_nobody_else_has_is_unconfirmed,
                                        begin_alone, end),
        cmocka_unit_test_setup_teardown(an_adoption_nobody_else_has_is_unconfirmed, begin_alone,
                                        end),
        cmocka_unit_test_setup_teardown(a_server_without_waitaof_is_told_apart, begin_replicated,
                                        end),
        cmocka_unit_test_setup_teardown(a_cancel_that_was_answered_fsynced_survives_the_server,
                                        begin_fsync_always, end),
        cmocka_unit_test_setup_teardown(a_cancel_that_was_answered_fsynced_survives_the_server,
                                        begin_fsync_everysec, end),
        cmocka_unit_test_setup_teardown(a_server_without_aof_says_so, NULL, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
