/* Stop targets and links that are work in other programs: real daemons, and an agent whose answers
 * are scripted. The real servers of LangGraph and A2A are in tests/interop. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "io/http_client.h"
#include "support/scripted_agent.h"
#include "support/sidecar.h"

static struct redis_process redis;
static struct service agentd, broker;
static struct scripted_agent there;

static void broker_start(const char *hosts)
{
    char url[160], flag[96];
    snprintf(url, sizeof url, "--redis-url=%s", redis.url);
    snprintf(flag, sizeof flag, "--call-hosts=%s", hosts);
    const char *const args[] = {
        url, "--listen=127.0.0.1:0", "--sweep=100ms", "--retransmit=200ms", flag, NULL};
    service_start(&broker, "brakewire-broker", true, args);
}

static int begin(void **state)
{
    (void)state;
    redis_process_start(&redis, KIND_REDIS, NULL);
    sidecar_start(&agentd, &redis, NULL);
    scripted_agent_start(&there);
    return 0;
}

static int end(void **state)
{
    (void)state;
    scripted_agent_end(&there);
    service_stop(&agentd);
    service_stop(&broker);
    redis_process_end(&redis);
    return 0;
}

#define UNTIL(truth)                                   \
    do {                                               \
        for (struct waiting wait = WAITING; !(truth);) \
            waiting_turn(&wait);                       \
    } while (0)

static struct started run_with(const char *path, int grace_ms, const char *more)
{
    return sidecar_run(&agentd, NULL,
                       "{\"stop\":[{\"kind\":\"http\",\"url\":\"http://127.0.0.1:%u%s\","
                       "\"grace_ms\":%d%s}]}",
                       there.port, path, grace_ms, more);
}

static json_t *link_to(const struct started *run, long status, const char *path)
{
    char where[160];
    snprintf(where, sizeof where, "/v1/runs/%s/links", run->run);
    return sidecar_call(&agentd, run->token, status, "POST", where,
                        "{\"epoch\":%d,\"kind\":\"http\",\"url\":\"http://127.0.0.1:%u%s\"}",
                        run->epoch, there.port, path);
}

static bool link_is_acknowledged(const struct started *run)
{
    char path[160];
    json_t *json;
    snprintf(path, sizeof path, "/v1/roots/%s/tree", run->root);
    assert_int_equal(service_call(&broker, NULL, "GET", path, NULL, &json), 200);
    const json_t *link = json_array_get(json_object_get(json, "links"), 0);
    bool is_acknowledged = json_is_true(json_object_get(link, "acknowledged"));
    json_decref(json);
    return is_acknowledged;
}

static bool has_flag(const struct started *run, const char *flag)
{
    char path[160];
    snprintf(path, sizeof path, "/v1/runs/%s", run->run);
    json_t *json = sidecar_call(&agentd, run->token, 200, "GET", path, "%s", "");
    const json_t *flags = json_object_get(json, "flags");
    bool is_there = false;
    for (size_t i = 0; i < json_array_size(flags); i++)
        is_there = is_there || strcmp(json_string_value(json_array_get(flags, i)), flag) == 0;
    json_decref(json);
    return is_there;
}

static void expect_metric(const char *line)
{
    struct http_client *client = NULL;
    struct buf text = {0};
    long status = 0;
    const char *why = NULL;
    struct http_call call = {.method = "GET", .path = "/metrics"};
    assert_int_equal(http_client_new(agentd.where, NULL, &client), ERR_OK);
    assert_int_equal(http_client_call(client, &call, &status, &text, &why), ERR_OK);
    if (strstr(text.bytes, line) == NULL)
        fail_msg("no '%s' in: %s", line, text.bytes);
    buf_fini(&text);
    http_client_free(client);
}

/* ---- stop targets -------------------------------------------------------------------------- */
static void what_an_agent_says_is_not_taken_for_its_end(void **state)
{
    (void)state;
    struct started run = run_with(
        "/ok", 300,
        ",\"method\":\"PUT\",\"body\":\"{\\\"stop\\\":1}\",\"headers\":{\"X-Extra\":\"a b\"}");
    json_decref(sidecar_cancel(&agentd, &run, "{}"));
    UNTIL(has_flag(&run, "acknowledged"));
    assert_string_equal(there.seen->method, "PUT");
    assert_string_equal(there.seen->body, "{\"stop\":1}");
    assert_string_equal(there.seen->extra, "a b");
    UNTIL(has_flag(&run, "unresponsive"));
    assert_int_equal(there.seen->ok, 1);
    sidecar_end(&agentd, &run, "cancelled");
    sidecar_wait_for_state(&agentd, &run, "cancelled");
    assert_true(service_logged(&agentd, "outcome=cancelled"));
    assert_false(service_logged(&agentd, "a b")); /* headers may be secrets */
    expect_metric("\nbrakewire_remote_cancels_total{outcome=\"sent\"} 1\n");
    expect_metric("\nbrakewire_remote_cancels_total{outcome=\"cancelled\"} 1\n");
}

static void who_hangs_is_left_for_the_next_target(void **state)
{
    (void)state;
    char next[160];
    snprintf(next, sizeof next, "},{\"kind\":\"http\",\"url\":\"http://127.0.0.1:%u/ok\"",
             there.port);
    struct started run = run_with("/late", 200, next);
    json_decref(sidecar_cancel(&agentd, &run, "{}"));
    UNTIL(there.seen->ok == 1);
    assert_int_equal(there.seen->late, 1);
    sidecar_end(&agentd, &run, "cancelled");
}

static void who_is_busy_is_asked_again(void **state)
{
    (void)state;
    struct started run = run_with("/busy", 5000, "");
    json_decref(sidecar_cancel(&agentd, &run, "{}"));
    UNTIL(has_flag(&run, "acknowledged"));
    assert_int_equal(there.seen->busy, 3);
    sidecar_end(&agentd, &run, "cancelled");
}

/* ---- links --------------------------------------------------------------------------------- */
static void a_link_of_a_run_that_has_ended_is_cancelled(void **state)
{
    (void)state;
    struct started run = sidecar_run(&agentd, NULL, "{}");
    json_decref(link_to(&run, 201, "/ok"));
    sidecar_end(&agentd, &run, "success");
    json_t *cancel = sidecar_cancel(&agentd, &run, "{\"wait\":\"stopped\"}");
    assert_true(json_is_true(json_member(cancel, "complete")));
    assert_int_equal(json_integer_value(json_member(cancel, "counts.links_acknowledged")), 1);
    json_decref(cancel);
    assert_int_equal(there.seen->ok, 1);
}

static void nothing_is_complete_while_a_link_fails(void **state)
{
    (void)state;
    struct started run = sidecar_run(&agentd, NULL, "{}");
    json_decref(link_to(&run, 201, "/broken"));
    sidecar_end(&agentd, &run, "success");
    json_t *cancel = sidecar_cancel(&agentd, &run, "{\"wait\":\"stopped\",\"timeout_ms\":1500}");
    assert_true(json_is_false(json_member(cancel, "complete")));
    assert_int_equal(json_integer_value(json_member(cancel, "counts.links_acknowledged")), 0);
    json_decref(cancel);
    assert_true(there.seen->broken >= 2);
}

static void a_link_that_comes_too_late_is_cancelled_at_once(void **state)
{
    (void)state;
    struct started run = sidecar_run(&agentd, NULL, "{}");
    json_decref(sidecar_cancel(&agentd, &run, "{}"));
    json_t *refused = link_to(&run, 409, "/ok");
    assert_string_equal(json_word(refused, "code"), "cancelled");
    json_decref(refused);
    UNTIL(there.seen->ok == 1);
    sidecar_end(&agentd, &run, "cancelled");
}

static void without_redis_a_link_is_cancelled_all_the_same(void **state)
{
    (void)state;
    struct started run = sidecar_run(&agentd, NULL, "{}");
    json_decref(link_to(&run, 201, "/ok"));
    redis_process_kill(&redis);
    service_wait_for(&agentd, NULL, "/v1/version", "redis.linked", "false");
    json_decref(sidecar_cancel(&agentd, &run, "{}"));
    UNTIL(there.seen->ok == 1);
    redis_process_again(&redis);
    service_wait_for(&agentd, NULL, "/v1/version", "redis.linked", "true");
    sidecar_end(&agentd, &run, "cancelled");
}

/* Its agentd is gone before the cancel. */
static void a_broker_follows_a_link_that_nobody_carries(void **state)
{
    (void)state;
    struct started run = sidecar_run(&agentd, NULL, "{}");
    json_decref(link_to(&run, 201, "/busy"));
    service_signal(&agentd, SIGKILL);
    (void)service_wait(&agentd);
    broker_start("127.0.0.0/8");
    char path[160];
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", run.run);
    assert_int_equal(service_call(&broker, NULL, "POST", path, "{}", NULL), 202);
    UNTIL(link_is_acknowledged(&run));
    assert_int_equal(there.seen->busy, 3);
}

static void a_broker_calls_nobody_on_its_own_host_by_itself(void **state)
{
    (void)state;
    struct started run = sidecar_run(&agentd, NULL, "{}");
    json_decref(link_to(&run, 201, "/ok"));
    service_signal(&agentd, SIGKILL);
    (void)service_wait(&agentd);
    broker_start("*");
    char path[160];
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", run.run);
    assert_int_equal(service_call(&broker, NULL, "POST", path, "{}", NULL), 202);
    UNTIL(service_logged(&broker, "outcome=refused because=\"the host is not one"));
    assert_int_equal(there.seen->ok, 0);
    assert_false(link_is_acknowledged(&run));
}

/* ---- who may be called --------------------------------------------------------------------- */
static void only_hosts_of_the_list_can_be_named(void **state)
{
    (void)state;
    static const char *const more[] = {"--call-hosts=*.agents.svc", NULL};
    service_stop(&agentd);
    sidecar_start(&agentd, &redis, more);
    static const char start[] = "{\"stop\":[{\"kind\":\"http\",\"url\":\"http://%s/stop\"}]}";
    json_t *refused = sidecar_call(&agentd, NULL, 422, "POST", "/v1/runs", start, "elsewhere");
    assert_non_null(strstr(json_word(refused, "detail"), "call_hosts"));
    json_decref(refused);
    json_decref(sidecar_call(&agentd, NULL, 201, "POST", "/v1/runs", start, "a.agents.svc"));
    const char *const wrong[] = {"--call-hosts=http://x", NULL};
    assert_int_not_equal(service_run("brakewire-agentd", wrong), 0);
    assert_int_not_equal(service_run("brakewire-broker", wrong), 0);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(what_an_agent_says_is_not_taken_for_its_end),
        STORY(who_hangs_is_left_for_the_next_target),
        STORY(who_is_busy_is_asked_again),
        STORY(a_link_of_a_run_that_has_ended_is_cancelled),
        STORY(nothing_is_complete_while_a_link_fails),
        STORY(a_link_that_comes_too_late_is_cancelled_at_once),
        STORY(without_redis_a_link_is_cancelled_all_the_same),
        STORY(a_broker_follows_a_link_that_nobody_carries),
        STORY(a_broker_calls_nobody_on_its_own_host_by_itself),
        STORY(only_hosts_of_the_list_can_be_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
