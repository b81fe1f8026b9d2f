/* Fleet orders as an operator gives them: real brokers and agentds on a real Redis. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "support/sidecar.h"

static struct redis_process redis;
static struct service agentd, other, broker, second;

static void broker_start(struct service *service)
{
    char url[160];
    snprintf(url, sizeof url, "--redis-url=%s", redis.url);
    const char *const args[] = {url, "--listen=127.0.0.1:0", "--sweep=100ms", NULL};
    service_start(service, "brakewire-broker", true, args);
}

static int begin(void **state)
{
    (void)state;
    redis_process_start(&redis, KIND_REDIS, NULL);
    broker_start(&broker);
    sidecar_start(&agentd, &redis, NULL);
    sidecar_start(&other, &redis, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    service_stop(&agentd);
    service_stop(&other);
    service_stop(&broker);
    service_stop(&second);
    redis_process_end(&redis);
    return 0;
}

static json_t *ask(long status, const char *method, const char *path, const char *body)
{
    json_t *json = NULL;
    long got = service_call(&broker, NULL, method, path, body, &json);
    if (got != status) {
        char *text = json_dumps(json, JSON_COMPACT);
        fail_msg("%s %s: %ld %s", method, path, got, text != NULL ? text : "");
    }
    return json;
}

static long long number(const json_t *json, const char *pointer)
{
    const json_t *member = json_member(json, pointer);
    if (!json_is_integer(member)) {
        char *text = json_dumps(json, JSON_COMPACT);
        fail_msg("no number %s in %s", pointer, text != NULL ? text : "");
    }
    return json_integer_value(member);
}

/* The answer to a POST, and the order when it is carried out. */
static json_t *give(const char *body)
{
    char path[160];
    json_t *json = ask(202, "POST", "/v1/orders", body);
    snprintf(path, sizeof path, "/v1/orders/%s", json_word(json, "order_id"));
    json_decref(json);
    service_wait_for(&broker, NULL, path, "state", "done");
    return ask(200, "GET", path, NULL);
}

static json_t *refused_start(const struct service *service, const char *body)
{
    return sidecar_call(service, NULL, 409, "POST", "/v1/runs", "%s", body);
}

static void an_order_cancels_what_it_selects_and_nothing_else(void **state)
{
    (void)state;
    struct started bad =
        sidecar_run(&agentd, NULL, "{\"agent\":\"researcher\",\"labels\":{\"v\":\"1.4\"}}");
    struct started below = sidecar_child(&other, &bad, NULL);
    struct started good =
        sidecar_run(&other, NULL, "{\"agent\":\"researcher\",\"labels\":{\"v\":\"1.5\"}}");
    json_t *order = give("{\"selector\":{\"agent\":\"researcher\",\"labels\":{\"v\":\"1.4\"}},"
                         "\"reason\":\"bad prompt\",\"by\":\"user:op\"}");
    assert_int_equal(number(order, "counts.matched"), 1);
    assert_int_equal(number(order, "counts.accepted"), 1);
    assert_int_equal(number(order, "counts.failed"), 0);
    sidecar_wait_for_state(&agentd, &bad, "stopping");
    sidecar_wait_for_state(&other, &below, "stopping");
    sidecar_wait_for_state(&other, &good, "running");
    char path[160], by[96];
    snprintf(path, sizeof path, "/v1/runs/%s", bad.run);
    json_t *run = ask(200, "GET", path, NULL);
    snprintf(by, sizeof by, "order:%s", json_word(order, "order_id"));
    assert_string_equal(json_word(run, "cancel.by"), by);
    assert_string_equal(json_word(run, "cancel.reason"), "bad prompt");
    json_decref(run);
    json_decref(order);
}

static void of_a_tree_only_the_topmost_matches_are_cancelled(void **state)
{
    (void)state;
    struct started root = sidecar_run(&agentd, NULL, "{}");
    char body[BAGGAGE_TEXT_MAX + 64];
    snprintf(body, sizeof body, "{\"agent\":\"w\",\"baggage\":\"%s\"}", root.baggage);
    struct started top = sidecar_run(&agentd, NULL, "%s", body);
    snprintf(body, sizeof body, "{\"agent\":\"w\",\"baggage\":\"%s\"}", top.baggage);
    struct started low = sidecar_run(&other, NULL, "%s", body);
    json_t *order = give("{\"selector\":{\"agent\":\"w\"}}");
    assert_int_equal(number(order, "counts.matched"), 2);
    assert_int_equal(number(order, "counts.accepted"), 1);
    assert_int_equal(number(order, "counts.covered"), 1);
    sidecar_wait_for_state(&other, &low, "stopping");
    sidecar_wait_for_state(&agentd, &root, "running");
    json_decref(order);
}

static void a_dry_run_counts_and_touches_nothing(void **state)
{
    (void)state;
    struct started run = sidecar_run(&agentd, NULL, "{\"thread_id\":\"t\"}");
    json_t *json =
        ask(200, "POST", "/v1/orders", "{\"selector\":{\"thread_id\":\"t\"},\"dry_run\":true}");
    assert_int_equal(number(json, "counts.matched"), 1);
    json_decref(json);
    json = ask(200, "GET", "/v1/orders", NULL);
    assert_int_equal(json_array_size(json_object_get(json, "orders")), 0);
    json_decref(json);
    sidecar_wait_for_state(&agentd, &run, "running");
}

static void more_than_was_expected_is_refused(void **state)
{
    (void)state;
    struct started one = sidecar_run(&agentd, NULL, "{\"agent\":\"a\"}");
    struct started two = sidecar_run(&agentd, NULL, "{\"agent\":\"a\"}");
    json_t *json =
        ask(409, "POST", "/v1/orders", "{\"selector\":{\"agent\":\"a\"},\"expect_at_most\":1}");
    assert_string_equal(json_word(json, "code"), "too_many_matched");
    assert_int_equal(number(json, "matched"), 2);
    json_decref(json);
    sidecar_wait_for_state(&agentd, &one, "running");
    json = give("{\"selector\":{\"agent\":\"a\"},\"expect_at_most\":2}");
    assert_int_equal(number(json, "counts.accepted"), 2);
    json_decref(json);
    sidecar_wait_for_state(&agentd, &two, "stopping");
}

static void a_hold_refuses_new_runs_until_it_is_lifted(void **state)
{
    (void)state;
    struct started before = sidecar_run(&agentd, NULL, "{\"agent\":\"a\",\"run_id\":\"r\"}");
    json_t *order = give("{\"selector\":{\"agent\":\"a\"},\"action\":\"none\",\"hold_ms\":600000}");
    assert_true(json_is_true(json_object_get(order, "holds")));
    struct waiting wait = WAITING;
    json_t *json = NULL;
    while (service_call(&other, NULL, "POST", "/v1/runs", "{\"agent\":\"a\"}", &json) == 201) {
        json_decref(json);
        waiting_turn(&wait);
    }
    assert_string_equal(json_word(json, "code"), "held");
    json_decref(json);
    json_decref(refused_start(&other, "{\"agent\":\"a\",\"run_id\":\"new\"}"));
    struct started free = sidecar_run(&other, NULL, "{\"agent\":\"b\"}");
    json_decref(sidecar_call(&agentd, before.token, 200, "POST", "/v1/runs",
                             "{\"agent\":\"a\",\"run_id\":\"r\"}"));
    sidecar_wait_for_state(&agentd, &before, "running");
    sidecar_wait_for_state(&other, &free, "running");
    char path[160];
    snprintf(path, sizeof path, "/v1/orders/%s", json_word(order, "order_id"));
    json_decref(order);
    json = ask(200, "DELETE", path, NULL);
    assert_false(json_is_true(json_object_get(json, "holds")));
    assert_string_not_equal(json_word(json, "lifted_at"), "");
    json_decref(json);
    wait = WAITING;
    while (service_call(&other, NULL, "POST", "/v1/runs", "{\"agent\":\"a\"}", NULL) != 201)
        waiting_turn(&wait);
}

static void the_same_key_is_the_same_order(void **state)
{
    (void)state;
    static const char *const headers[] = {"Idempotency-Key: deploy-7", NULL};
    struct service_request request = {"POST", "/v1/orders", NULL,
                                      "{\"selector\":{\"all\":true},\"hold_ms\":600000}", headers};
    char id[ID_TEXT_MAX];
    json_t *json = NULL;
    assert_int_equal(service_ask(&broker, &request, &json), 202);
    snprintf(id, sizeof id, "%s", json_word(json, "order_id"));
    json_decref(json);
    char path[160];
    snprintf(path, sizeof path, "/v1/orders/%s", id);
    service_wait_for(&broker, NULL, path, "state", "done");
    json_decref(ask(200, "DELETE", path, NULL));
    struct waiting wait = WAITING;
    while (service_call(&agentd, NULL, "POST", "/v1/runs", "{\"run_id\":\"r\"}", NULL) != 201)
        waiting_turn(&wait);
    broker_start(&second);
    const struct service *const asked[] = {&broker, &second};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(service_ask(asked[i], &request, &json), 202);
        assert_string_equal(json_word(json, "order_id"), id);
        assert_true(json_is_true(json_object_get(json, "already")));
        assert_string_equal(json_word(json, "state"), "done");
        assert_false(json_is_true(json_object_get(json, "holds")));
        json_decref(json);
    }
    service_wait_for(&broker, NULL, "/v1/runs/r", "state", "running");
}

/* Written down, and then the broker was gone: as it leaves things when it is killed in between. */
static void an_order_that_nobody_finished_is_carried_out_by_another_broker(void **state)
{
    (void)state;
    struct started run = sidecar_run(&agentd, NULL, "{\"agent\":\"a\"}");
    json_t *order = give("{\"selector\":{\"agent\":\"a\"},\"reason\":\"first\"}");
    sidecar_wait_for_state(&agentd, &run, "stopping");
    struct started late = sidecar_run(&agentd, NULL, "{\"agent\":\"a\"}");
    service_signal(&broker, SIGKILL);
    service_wait(&broker);
    redis_process_do(&redis, "HDEL bw:orders p:%s", json_word(order, "order_id"));
    redis_process_do(&redis, "DEL bw:lock:order:%s", json_word(order, "order_id"));
    broker_start(&second);
    sidecar_wait_for_state(&agentd, &late, "stopping");
    json_decref(order);
}

static void what_is_wrong_with_an_order_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *body, *member;
    } wrong[] = {
        {"{}", "selector"},
        {"{\"selector\":{}}", "selector"},
        {"{\"selector\":{\"agnet\":\"a\"}}", "agnet"},
        {"{\"selector\":{\"all\":true,\"agent\":\"a\"}}", "selector"},
        {"{\"selector\":{\"agent\":\"a\"},\"action\":\"none\"}", "action"},
        {"{\"selector\":{\"agent\":\"a\"},\"action\":\"stop\"}", "action"},
        {"{\"selector\":{\"labels\":{\"v\":7}}}", "labels"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *json = ask(422, "POST", "/v1/orders", wrong[i].body);
        assert_string_equal(json_word(json, "member"), wrong[i].member);
        json_decref(json);
    }
    json_decref(ask(404, "GET", "/v1/orders/nobody", NULL));
    json_decref(ask(404, "DELETE", "/v1/orders/nobody", NULL));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        T(an_order_cancels_what_it_selects_and_nothing_else),
        T(of_a_tree_only_the_topmost_matches_are_cancelled),
        T(a_dry_run_counts_and_touches_nothing),
        T(more_than_was_expected_is_refused),
        T(a_hold_refuses_new_runs_until_it_is_lifted),
        T(the_same_key_is_the_same_order),
        T(an_order_that_nobody_finished_is_carried_out_by_another_broker),
        T(what_is_wrong_with_an_order_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
