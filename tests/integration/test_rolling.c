/* A rolling upgrade: daemons of this version beside daemons of the next one, on one Redis and the
 * same trees. The next one is this one built to write message version 2, with a field more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "base/buf.h"
#include "io/http_client.h"
#include "support/sidecar.h"

static struct redis_process redis;
static struct service old_agentd, new_agentd, old_broker, new_broker;

static void daemon_start(struct service *service, const char *program)
{
    char url[160];
    snprintf(url, sizeof url, "--redis-url=unix://%s", redis.socket);
    bool is_broker = strstr(program, "broker") != NULL;
    /* so rarely that only a message can be what makes it compare */
    const char *const args[] = {url, is_broker ? "--listen=127.0.0.1:0" : "--reconcile=1h",
                                is_broker ? "--retransmit=200ms" : NULL, NULL};
    service_start(service, program, true, args);
}

static int begin(void **state)
{
    (void)state;
    redis_process_start(&redis, KIND_REDIS, NULL);
    daemon_start(&old_agentd, "brakewire-agentd");
    daemon_start(&new_agentd, "brakewire-agentd-next");
    daemon_start(&old_broker, "brakewire-broker");
    daemon_start(&new_broker, "brakewire-broker-next");
    return 0;
}

static int end(void **state)
{
    (void)state;
    service_stop(&old_agentd);
    service_stop(&new_agentd);
    service_stop(&old_broker);
    service_stop(&new_broker);
    redis_process_end(&redis);
    return 0;
}

static json_t *cancel_by(const struct service *broker, const char *run, const char *body)
{
    char path[160];
    json_t *json = NULL;
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", run);
    long status = service_call(broker, NULL, "POST", path, body, &json);
    if (status != 200 && status != 202)
        fail_msg("cancel: %ld %s", status, json_word(json, "detail"));
    return json;
}

static void cancel_with(const struct service *broker, const char *run)
{
    json_decref(cancel_by(broker, run, "{\"reason\":\"enough\",\"by\":\"user:ann\"}"));
}

static int stored_version(const struct started *run)
{
    return (int)redis_process_do(&redis, "EVAL %s 1 bw:{%s} c:%s",
                                 "return cmsgpack.unpack(redis.call('HGET',KEYS[1],ARGV[1]))[1]",
                                 run->root, run->run);
}

/* ---- an older daemon meets what is newer ------------------------------------------------------
 */
static void an_older_agentd_obeys_a_newer_cancel_at_once(void **state)
{
    (void)state;
    struct listening listening;
    struct started run = sidecar_run(&old_agentd, NULL, "{}");
    struct started child = sidecar_child(&old_agentd, &run, NULL);
    listening_open(&listening, &old_agentd, run.token);
    cancel_with(&new_broker, run.run);
    assert_int_equal(stored_version(&run), 2);
    for (size_t i = 1; i <= 2; i++)
        assert_string_equal(json_word(listening_wait(&listening, i), "by"), "a newer version");
    assert_string_equal(json_word(listening.notice[0], "run_id"), run.run);
    sidecar_end(&old_agentd, &child, "cancelled");
    sidecar_end(&old_agentd, &run, "cancelled");
    json_t *json = cancel_by(&new_broker, run.run, "{\"wait\":\"stopped\"}");
    assert_true(json_is_true(json_member(json, "complete")));
    assert_string_equal(json_word(json, "by"), "user:ann");
    json_decref(json);
    listening_close(&listening);
}

static void an_older_agentd_starts_nothing_below_a_newer_cancel(void **state)
{
    (void)state;
    struct started run = sidecar_run(&new_agentd, NULL, "{}");
    cancel_with(&new_broker, run.run);
    json_t *json = sidecar_call(&old_agentd, NULL, 409, "POST", "/v1/runs",
                                "{\"root\":\"%s\",\"parent\":\"%s\"}", run.root, run.run);
    assert_string_equal(json_word(json, "code"), "cancelled");
    assert_string_equal(json_word(json, "cancel.run_id"), run.run);
    json_decref(json);
}

/* What it is told of a run that it takes over is the newer record in Redis, not a message. */
static void an_older_agentd_that_adopts_a_cancelled_run_stops_it(void **state)
{
    (void)state;
    struct listening listening;
    struct started run = sidecar_run(&new_agentd, NULL, "{}");
    cancel_with(&new_broker, run.run);
    assert_int_equal(stored_version(&run), 2);
    json_t *json = sidecar_call(&old_agentd, run.token, 201, "POST", "/v1/runs",
                                "{\"run_id\":\"%s\",\"epoch\":1,\"takeover\":true,"
                                "\"incarnation\":\"later\"}",
                                run.run);
    assert_string_equal(json_word(json, "state"), "stopping");
    json_decref(json);
    listening_open(&listening, &old_agentd, run.token);
    assert_string_equal(json_word(listening_wait(&listening, 1), "run_id"), run.run);
    listening_close(&listening);
}

static void many_newer_cancels_in_one_tree_are_all_obeyed(void **state)
{
    (void)state;
    enum { CHILDREN = 12 };
    struct listening listening;
    struct started run = sidecar_run(&old_agentd, NULL, "{}"), child[CHILDREN];
    for (int i = 0; i < CHILDREN; i++)
        child[i] = sidecar_child(&old_agentd, &run, NULL);
    listening_open(&listening, &old_agentd, run.token);
    for (int i = 0; i < CHILDREN; i++)
        cancel_with(&new_broker, child[i].run);
    listening_wait(&listening, CHILDREN);
    listening_close(&listening);
}

static double metric_of(const struct buf *metrics, const char *name)
{
    const char *line = strstr(metrics->bytes, name);
    assert_non_null(line);
    return atof(line + strlen(name));
}

static void what_was_not_readable_is_counted(void **state)
{
    (void)state;
    struct http_client *client;
    struct buf metrics = {0};
    const struct http_call call = {.method = "GET", .path = "/metrics"};
    const char *why;
    long status = 0;
    assert_int_equal(http_client_new(old_agentd.where, NULL, &client), ERR_OK);
    assert_int_equal(http_client_call(client, &call, &status, &metrics, &why), ERR_OK);
    assert_int_equal(buf_add(&metrics, "", 1), ERR_OK);
    assert_true(metric_of(&metrics, "\nbrakewire_unreadable_cancels_total ") > 0);
    assert_true(metric_of(&metrics, "\nbrakewire_malformed_total{source=\"channel\"} ") == 0);
    buf_fini(&metrics);
    http_client_free(client);
}

static void an_older_broker_shows_what_it_understands(void **state)
{
    (void)state;
    struct started run = sidecar_run(&new_agentd, NULL, "{}");
    cancel_with(&new_broker, run.run);
    json_t *json = cancel_by(&old_broker, run.run, "{\"by\":\"user:bob\",\"reason\":\"mine\"}");
    assert_true(json_is_true(json_member(json, "already")));
    assert_string_equal(json_word(json, "by"), "a newer version");
    assert_string_equal(json_word(json, "reason"), "");
    json_decref(json);
    char path[160];
    snprintf(path, sizeof path, "/v1/runs/%s", run.run);
    assert_int_equal(service_call(&old_broker, NULL, "GET", path, NULL, &json), 200);
    assert_string_equal(json_word(json, "effective_state"), "stopping");
    assert_string_equal(json_word(json, "cancelled_by"), run.run);
    json_decref(json);
    snprintf(path, sizeof path, "/v1/roots/%s/tree", run.root);
    assert_int_equal(service_call(&old_broker, NULL, "GET", path, NULL, &json), 200);
    json_decref(json);
    sidecar_end(&new_agentd, &run, "cancelled");
    json = cancel_by(&old_broker, run.run, "{\"wait\":\"stopped\"}");
    assert_true(json_is_true(json_member(json, "complete")));
    json_decref(json);
    assert_int_equal(stored_version(&run), 2);
}

/* ---- and the other way round ------------------------------------------------------------------
 */
static void a_newer_agentd_reads_an_older_cancel(void **state)
{
    (void)state;
    struct listening listening;
    struct started run = sidecar_run(&new_agentd, NULL, "{}");
    listening_open(&listening, &new_agentd, run.token);
    cancel_with(&old_broker, run.run);
    assert_int_equal(stored_version(&run), 1);
    assert_string_equal(json_word(listening_wait(&listening, 1), "by"), "user:ann");
    assert_string_equal(json_word(listening.notice[0], "reason"), "enough");
    listening_close(&listening);
    json_t *json = cancel_by(&new_broker, run.run, "{}");
    assert_string_equal(json_word(json, "by"), "user:ann");
    json_decref(json);
}

static void an_older_agentds_cancel_reaches_a_newer_one(void **state)
{
    (void)state;
    struct listening listening;
    struct started run = sidecar_run(&old_agentd, NULL, "{}");
    struct started child = sidecar_child(&new_agentd, &run, NULL);
    listening_open(&listening, &new_agentd, child.token);
    json_decref(sidecar_cancel(&old_agentd, &run, "{\"reason\":\"enough\"}"));
    assert_string_equal(json_word(listening_wait(&listening, 1), "reason"), "enough");
    listening_close(&listening);
}

static void a_newer_agentds_cancel_reaches_an_older_one(void **state)
{
    (void)state;
    struct listening listening;
    struct started run = sidecar_run(&new_agentd, NULL, "{}");
    struct started child = sidecar_child(&old_agentd, &run, NULL);
    listening_open(&listening, &old_agentd, child.token);
    json_decref(sidecar_cancel(&new_agentd, &run, "{\"reason\":\"enough\"}"));
    assert_string_equal(json_word(listening_wait(&listening, 1), "run_id"), run.run);
    listening_close(&listening);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_older_agentd_obeys_a_newer_cancel_at_once),
        cmocka_unit_test(an_older_agentd_starts_nothing_below_a_newer_cancel),
        cmocka_unit_test(an_older_agentd_that_adopts_a_cancelled_run_stops_it),
        cmocka_unit_test(many_newer_cancels_in_one_tree_are_all_obeyed),
        cmocka_unit_test(what_was_not_readable_is_counted),
        cmocka_unit_test(an_older_broker_shows_what_it_understands),
        cmocka_unit_test(a_newer_agentd_reads_an_older_cancel),
        cmocka_unit_test(an_older_agentds_cancel_reaches_a_newer_one),
        cmocka_unit_test(a_newer_agentds_cancel_reaches_an_older_one),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
