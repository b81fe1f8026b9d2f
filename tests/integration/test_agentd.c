/* brakewire-agentd as it is shipped, on a real Redis, asked over HTTP. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include <hiredis/hiredis.h>

#include "support/ask_redis.h"
#include "support/sidecar.h"

static struct redis_process redis;
static struct service agentd;

static int begin(void **state)
{
    (void)state;
    redis_process_start(&redis, KIND_REDIS, NULL);
    sidecar_start(&agentd, &redis, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    service_stop(&agentd);
    redis_process_end(&redis);
    return 0;
}

static void path_of(char out[160], const struct started *run, const char *rest)
{
    snprintf(out, 160, "/v1/runs/%s%s", run->run, rest);
}

static void expect_word(const json_t *json, const char *pointer, const char *wanted)
{
    assert_string_equal(json_word(json, pointer), wanted);
}

static long long expect_number(const json_t *json, const char *pointer)
{
    assert_true(json_is_integer(json_member(json, pointer)));
    return json_integer_value(json_member(json, pointer));
}

/* ---- a run's life -------------------------------------------------------------------------- */

static void a_run_starts_is_shown_and_ends_once(void **state)
{
    (void)state;
    char path[160];
    struct started run =
        sidecar_run(&agentd, NULL,
                    "{\"agent\":\"writer\",\"thread_id\":\"t1\",\"labels\":{\"v\":\"1\"}}");
    assert_int_equal(strlen(run.token), 32);
    assert_string_equal(run.run, run.root);
    path_of(path, &run, "");
    json_t *shown = sidecar_call(&agentd, run.token, 200, "GET", path, "%s", "");
    expect_word(shown, "state", "running");
    expect_word(shown, "agent", "writer");
    assert_true(json_is_true(json_member(shown, "protected")));
    json_decref(shown);
    sidecar_end(&agentd, &run, "success");
    sidecar_wait_for_state(&agentd, &run, "success");
    path_of(path, &run, "/end");
    json_t *again =
        sidecar_call(&agentd, run.token, 409, "POST", path, "{\"epoch\":1,\"state\":\"error\"}");
    expect_word(again, "code", "over");
    expect_word(again, "state", "success");
    json_decref(again);
}

static void a_child_learns_its_place_from_baggage_parent_or_root(void **state)
{
    (void)state;
    struct started top = sidecar_run(&agentd, NULL, "{}");
    struct started by_baggage = sidecar_child(&agentd, &top, NULL);
    struct started by_parent =
        sidecar_run(&agentd, top.token, "{\"parent\":\"%s\"}", by_baggage.run);
    struct started by_root = sidecar_run(&agentd, top.token, "{\"root\":\"%s\"}", top.run);
    char path[160];
    path_of(path, &by_parent, "");
    json_t *shown = sidecar_call(&agentd, top.token, 200, "GET", path, "%s", "");
    expect_word(shown, "path.0", top.run);
    expect_word(shown, "path.1", by_baggage.run);
    expect_word(shown, "path.2", by_parent.run);
    json_decref(shown);
    assert_string_equal(by_root.root, top.run);
    struct started entry =
        sidecar_run(&agentd, top.token, "{\"baggage\":\"%s\",\"entry\":true}", top.baggage);
    assert_string_equal(entry.root, entry.run);
}

static void the_same_key_starts_the_same_run(void **state)
{
    (void)state;
    const char *const headers[] = {"Idempotency-Key: one", NULL};
    struct service_request request = {.method = "POST",
                                      .path = "/v1/runs",
                                      .token = "a-token-of-my-own-making",
                                      .body = "{}",
                                      .headers = headers};
    json_t *first, *second;
    assert_int_equal(service_ask(&agentd, &request, &first), 201);
    assert_int_equal(service_ask(&agentd, &request, &second), 200);
    assert_string_equal(json_word(first, "run_id"), json_word(second, "run_id"));
    request.token = "somebody-elses-own-token";
    json_t *other;
    assert_int_equal(service_ask(&agentd, &request, &other), 201);
    assert_string_not_equal(json_word(first, "run_id"), json_word(other, "run_id"));
    json_decref(first);
    json_decref(second);
    json_decref(other);
}

static void baggage_of_others_is_passed_on(void **state)
{
    (void)state;
    struct started top = sidecar_run(&agentd, NULL, "{\"deadline_ms\":60000}");
    char header[BAGGAGE_TEXT_MAX + 32];
    snprintf(header, sizeof header, "baggage: userId=alice,%s", top.baggage);
    const char *const headers[] = {header, NULL};
    struct service_request request = {
        .method = "POST", .path = "/v1/runs", .token = top.token, .body = "{}", .headers = headers};
    json_t *child;
    assert_int_equal(service_ask(&agentd, &request, &child), 201);
    expect_word(child, "root", top.run);
    assert_non_null(strstr(json_word(child, "baggage"), "userId=alice"));
    assert_in_range(expect_number(child, "deadline_ms"), 1, 60000);
    json_decref(child);
}

/* ---- cancels ------------------------------------------------------------------------------- */

static void acknowledge(const struct started *run)
{
    char path[160];
    path_of(path, run, "/ack");
    json_t *acked = sidecar_call(&agentd, run->token, 200, "POST", path,
                                 "{\"epoch\":%d,\"phase\":\"acknowledged\"}", run->epoch);
    expect_word(acked, "phases.1", "acknowledged");
    json_decref(acked);
}

static void a_cancel_is_told_acknowledged_and_stopped(void **state)
{
    (void)state;
    struct listening listening;
    struct started top = sidecar_run(&agentd, NULL, "{}");
    struct started child = sidecar_child(&agentd, &top, "the-token-of-the-child");
    listening_open(&listening, &agentd, child.token);
    json_t *asked =
        sidecar_cancel(&agentd, &top,
                       "{\"reason\":\"enough\",\"action\":\"rollback\",\"wait\":\"delivered\"}");
    assert_true(json_is_false(json_member(asked, "complete")));
    assert_int_equal(expect_number(asked, "counts.runs"), 2);
    json_decref(asked);
    const json_t *notice = listening_wait(&listening, 1);
    expect_word(notice, "run", child.run);
    expect_word(notice, "run_id", top.run);
    expect_word(notice, "action", "rollback");
    expect_word(notice, "reason", "enough");
    assert_int_equal(expect_number(notice, "epoch"), 1);
    acknowledge(&child);
    sidecar_end(&agentd, &child, "rolled_back");
    sidecar_end(&agentd, &top, "success");
    json_t *done = sidecar_cancel(&agentd, &top, "{\"wait\":\"stopped\"}");
    assert_true(json_is_true(json_member(done, "already")));
    assert_true(json_is_true(json_member(done, "complete")));
    assert_int_equal(expect_number(done, "counts.stopped"), 2);
    assert_int_equal(expect_number(done, "counts.acknowledged"), 1);
    expect_word(done, "names.finished_anyway.0", top.run);
    json_decref(done);
    sidecar_wait_for_state(&agentd, &child, "rolled_back");
    sidecar_wait_for_state(&agentd, &top, "cancelled");
    listening_close(&listening);
}

static void a_cancel_counts_who_was_told_before_it_was_recorded(void **state)
{
    (void)state;
    struct listening listening;
    struct redis_asker asker;
    struct waiting wait = WAITING;
    const struct redisReply *counted;
    struct started run = sidecar_run(&agentd, NULL, "{}");
    listening_open(&listening, &agentd, run.token);
    json_decref(sidecar_cancel(&agentd, &run, "{}"));
    (void)listening_wait(&listening, 1);
    redis_asker_init(&asker, &redis);
    while (counted = redis_tell(&asker, "HGET bw:{%s} t:%s", run.root, run.run),
           counted->str == NULL || strcmp(counted->str, "1:0:0:0") != 0)
        waiting_turn(&wait);
    redis_asker_fini(&asker);
    listening_close(&listening);
}

static void who_connects_late_hears_of_every_standing_cancel(void **state)
{
    (void)state;
    struct listening listening;
    struct started run = sidecar_run(&agentd, NULL, "{}");
    json_decref(sidecar_cancel(&agentd, &run, "{\"reason\":\"early\"}"));
    listening_open(&listening, &agentd, run.token);
    const json_t *heard = listening_wait(&listening, 1);
    expect_word(heard, "reason", "early");
    assert_true(expect_number(heard, "grace_ms") > 0);
    listening_close(&listening);
    sidecar_end(&agentd, &run, "cancelled");
}

static void nothing_starts_below_a_cancel(void **state)
{
    (void)state;
    struct started top = sidecar_run(&agentd, NULL, "{}");
    json_decref(sidecar_cancel(&agentd, &top, "{\"reason\":\"no more\"}"));
    json_t *refused = sidecar_call(&agentd, top.token, 409, "POST", "/v1/runs",
                                   "{\"baggage\":\"%s\"}", top.baggage);
    expect_word(refused, "code", "cancelled");
    expect_word(refused, "cancel.reason", "no more");
    json_decref(refused);
    sidecar_end(&agentd, &top, "cancelled");
}

static void a_cancel_reaches_the_child_on_another_replica(void **state)
{
    (void)state;
    struct service other;
    struct listening listening;
    sidecar_start(&other, &redis, NULL);
    struct started top = sidecar_run(&agentd, NULL, "{}");
    struct started child = sidecar_child(&other, &top, "the-token-of-the-other");
    listening_open(&listening, &other, child.token);
    json_decref(sidecar_cancel(&agentd, &top, "{\"reason\":\"everywhere\"}"));
    expect_word(listening_wait(&listening, 1), "run", child.run);
    sidecar_end(&other, &child, "cancelled");
    sidecar_end(&agentd, &top, "cancelled");
    listening_close(&listening);
    service_stop(&other);
}

static void a_cancel_published_by_hand_is_obeyed(void **state)
{
    (void)state;
    const char *publish = redis.is_cluster ? "SPUBLISH" : "PUBLISH";
    struct started run = sidecar_run(&agentd, NULL, "{}");
    redis_process_do(&redis, "%s bw:{%s} %s", publish, run.root, "not a message");
    char text[160];
    snprintf(text, sizeof text, "cancel %s by hand", run.run);
    redis_process_do(&redis, "%s bw:{%s} %s", publish, run.root, text);
    sidecar_wait_for_state(&agentd, &run, "stopping");
    char path[160];
    path_of(path, &run, "");
    json_t *shown = sidecar_call(&agentd, run.token, 200, "GET", path, "%s", "");
    expect_word(shown, "cancel.by", "channel");
    expect_word(shown, "cancel.reason", "by hand");
    json_decref(shown);
    assert_true(service_logged(&agentd, "message not understood"));
    sidecar_end(&agentd, &run, "cancelled");
}

static void every_cancel_leaves_an_audit_entry(void **state)
{
    (void)state;
    struct waiting wait = WAITING;
    long long before = redis_process_do(&redis, "XLEN bw:audit");
    struct started run = sidecar_run(&agentd, NULL, "{}");
    json_decref(sidecar_cancel(&agentd, &run, "{}"));
    json_decref(sidecar_cancel(&agentd, &run, "{}"));
    while (redis_process_do(&redis, "XLEN bw:audit") < before + 2)
        waiting_turn(&wait);
    sidecar_end(&agentd, &run, "cancelled");
}

static void a_checkpoint_is_granted_once_after_the_cancel(void **state)
{
    (void)state;
    char path[160];
    struct started run = sidecar_run(&agentd, NULL, "{}");
    path_of(path, &run, "/fence");
    json_t *granted = sidecar_call(&agentd, run.token, 200, "POST", path,
                                   "{\"epoch\":1,\"write_id\":\"w1\",\"bytes\":\"aGVsbG8=\"}");
    assert_true(json_is_false(json_member(granted, "last")));
    json_decref(granted);
    json_decref(sidecar_cancel(&agentd, &run, "{}"));
    for (int i = 0; i < 2; i++) { /* the same write again costs nothing */
        granted = sidecar_call(&agentd, run.token, 200, "POST", path,
                               "{\"epoch\":1,\"write_id\":\"w2\"}");
        assert_true(json_is_true(json_member(granted, "last")));
        json_decref(granted);
    }
    json_t *frozen =
        sidecar_call(&agentd, run.token, 409, "POST", path, "{\"epoch\":1,\"write_id\":\"w3\"}");
    expect_word(frozen, "code", "frozen");
    json_decref(frozen);
    sidecar_end(&agentd, &run, "cancelled");
}

static void a_link_takes_its_target_along(void **state)
{
    (void)state;
    char path[160];
    struct started from = sidecar_run(&agentd, NULL, "{}");
    struct started to =
        sidecar_run(&agentd, NULL, "{\"linked_from\":\"%s/%s\"}", from.root, from.run);
    path_of(path, &from, "/links");
    json_decref(sidecar_call(&agentd, from.token, 201, "POST", path,
                             "{\"epoch\":1,\"kind\":\"root\",\"to\":\"%s\"}", to.root));
    json_decref(sidecar_cancel(&agentd, &from, "{\"reason\":\"and its links\"}"));
    sidecar_wait_for_state(&agentd, &to, "stopping");
    sidecar_end(&agentd, &to, "cancelled");
    sidecar_end(&agentd, &from, "cancelled");
}

/* ---- processes ----------------------------------------------------------------------------- */

/* A process that SIGTERM does not impress. */
static pid_t stubborn_process(void)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t parent = getpid(), pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGTERM, SIG_IGN);
        if (getppid() != parent || write(ready[1], "r", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void a_process_that_does_not_stop_is_killed(void **state)
{
    (void)state;
    pid_t pid = stubborn_process();
    struct started run = sidecar_run(&agentd, NULL,
                                     "{\"stop\":[{\"kind\":\"notify\",\"grace_ms\":20},"
                                     "{\"kind\":\"process\",\"pid\":%d,\"grace_ms\":50}]}",
                                     (int)pid);
    json_decref(sidecar_cancel(&agentd, &run, "{}"));
    struct waiting wait = WAITING;
    int status;
    while (waitpid(pid, &status, WNOHANG) != pid)
        waiting_turn(&wait);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    sidecar_wait_for_state(&agentd, &run, "cancelled");
    char path[160];
    path_of(path, &run, "");
    json_t *shown = sidecar_call(&agentd, run.token, 200, "GET", path, "%s", "");
    expect_word(shown, "stop.by", "KILL");
    expect_word(shown, "stop.found_by.0", "pid");
    json_decref(shown);
}

static void a_run_whose_process_dies_is_not_forgotten(void **state)
{
    (void)state;
    pid_t pid = stubborn_process();
    struct started run =
        sidecar_run(&agentd, NULL, "{\"stop\":[{\"kind\":\"process\",\"pid\":%d,\"grace_ms\":50}]}",
                    (int)pid);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    char path[160];
    path_of(path, &run, "");
    struct waiting wait = WAITING;
    for (bool is_over = false; !is_over; waiting_turn(&wait)) {
        json_t *shown = sidecar_call(&agentd, run.token, 200, "GET", path, "%s", "");
        is_over = strcmp(json_word(shown, "state"), "running") != 0;
        json_decref(shown);
    }
}

/* ---- what is shown ------------------------------------------------------------------------- */

static void a_client_sees_its_own_runs_alone(void **state)
{
    (void)state;
    struct started mine = sidecar_run(&agentd, "a-token-of-one-client", "{}");
    struct started other = sidecar_run(&agentd, "a-token-of-another-one", "{}");
    char path[160];
    path_of(path, &other, "");
    json_decref(sidecar_call(&agentd, mine.token, 403, "GET", path, "%s", ""));
    json_t *seen = sidecar_call(&agentd, mine.token, 200, "GET", "/v1/runs", "%s", "");
    assert_int_equal(json_array_size(json_member(seen, "runs")), 1);
    json_decref(seen);
    json_t *all = sidecar_call(&agentd, NULL, 200, "GET", "/v1/runs", "%s", "");
    assert_true(json_array_size(json_member(all, "runs")) >= 2);
    json_decref(all);
}

static void the_version_tells_where_redis_is(void **state)
{
    (void)state;
    service_wait_for(&agentd, NULL, "/v1/version", "redis.linked", "true");
    json_t *version = sidecar_call(&agentd, NULL, 200, "GET", "/v1/version", "%s", "");
    expect_word(version, "name", "brakewire-agentd");
    expect_word(version, "mode", "enforce");
    expect_word(version, "redis.url", redis.url);
    assert_int_equal(expect_number(version, "protocol"), 1);
    json_decref(version);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_starts_is_shown_and_ends_once),
        cmocka_unit_test(a_child_learns_its_place_from_baggage_parent_or_root),
        cmocka_unit_test(the_same_key_starts_the_same_run),
        cmocka_unit_test(baggage_of_others_is_passed_on),
        cmocka_unit_test(a_cancel_is_told_acknowledged_and_stopped),
        cmocka_unit_test(a_cancel_counts_who_was_told_before_it_was_recorded),
        cmocka_unit_test(who_connects_late_hears_of_every_standing_cancel),
        cmocka_unit_test(nothing_starts_below_a_cancel),
        cmocka_unit_test(a_cancel_reaches_the_child_on_another_replica),
        cmocka_unit_test(a_cancel_published_by_hand_is_obeyed),
        cmocka_unit_test(every_cancel_leaves_an_audit_entry),
        cmocka_unit_test(a_checkpoint_is_granted_once_after_the_cancel),
        cmocka_unit_test(a_link_takes_its_target_along),
        cmocka_unit_test(a_process_that_does_not_stop_is_killed),
        cmocka_unit_test(a_run_whose_process_dies_is_not_forgotten),
        cmocka_unit_test(a_client_sees_its_own_runs_alone),
        cmocka_unit_test(the_version_tells_where_redis_is),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
