/* brakewire-broker as it is shipped, beside a brakewire-agentd, on a real Redis, asked over HTTP.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "brakectl/sse.h"
#include "support/sidecar.h"

static struct redis_process redis;
static struct service agentd, broker;

static void broker_start(struct service *service, const char *sweep, const char *lease)
{
    char url[160], sweeps[64], leases[64];
    snprintf(url, sizeof url, "--redis-url=%s", redis.url);
    snprintf(sweeps, sizeof sweeps, "--sweep=%s", sweep);
    snprintf(leases, sizeof leases, "--lease=%s", lease);
    const char *const args[] = {url,    "--listen=127.0.0.1:0", sweeps,
                                leases, "--retransmit=300ms",   NULL};
    service_start(service, "brakewire-broker", true, args);
}

static int begin(void **state)
{
    (void)state;
    redis_process_start(&redis, KIND_REDIS, NULL);
    broker_start(&broker, "200ms", "15s");
    sidecar_start(&agentd, &redis, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    service_stop(&agentd);
    service_stop(&broker);
    redis_process_end(&redis);
    return 0;
}

/* ---- asking ------------------------------------------------------------------------------------
 */
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

static json_t *get(long status, const char *format, ...)
{
    char path[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(path, sizeof path, format, args);
    va_end(args);
    return ask(status, "GET", path, NULL);
}

static json_t *cancel(long status, const char *run, const char *body)
{
    char path[160];
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", run);
    return ask(status, "POST", path, body);
}

static void expect_word(json_t *json, const char *pointer, const char *wanted)
{
    assert_string_equal(json_word(json, pointer), wanted);
}

static void expect_true(json_t *json, const char *pointer, bool wanted)
{
    const json_t *member = json_member(json, pointer);
    assert_true(json_is_boolean(member));
    assert_int_equal(json_is_true(member), wanted);
}

static long long number(json_t *json, const char *pointer)
{
    const json_t *member = json_member(json, pointer);
    assert_true(json_is_integer(member));
    return json_integer_value(member);
}

static void expect_code(json_t *json, const char *code)
{
    expect_word(json, "code", code);
    json_decref(json);
}

/* ---- cancelling --------------------------------------------------------------------------------
 */
static void a_cancel_is_recorded_once_and_every_other_caller_gets_it(void **state)
{
    (void)state;
    struct started run = sidecar_run(&agentd, NULL, "{}");
    json_t *json = cancel(202, run.run, "{\"reason\":\"enough\",\"by\":\"user:ann\"}");
    expect_true(json, "already", false);
    expect_true(json, "known", true);
    expect_true(json, "complete", false);
    expect_word(json, "target_state", "running");
    json_decref(json);
    for (int i = 0; i < 3; i++) {
        json = cancel(202, run.run, "{\"by\":\"user:bob\"}");
        expect_true(json, "already", true);
        expect_word(json, "by", "user:ann");
        expect_word(json, "reason", "enough");
        json_decref(json);
    }
    sidecar_wait_for_state(&agentd, &run, "stopping");
    sidecar_end(&agentd, &run, "cancelled");
}

static void a_wait_ends_when_it_is_true_or_when_its_time_is_over(void **state)
{
    (void)state;
    struct started run = sidecar_run(&agentd, NULL, "{}");
    struct started child = sidecar_child(&agentd, &run, NULL);
    json_t *json = cancel(202, run.run, "{\"wait\":\"stopped\",\"timeout_ms\":300}");
    expect_true(json, "complete", false);
    assert_int_equal(number(json, "counts.runs"), 2);
    assert_int_equal(number(json, "counts.pending"), 2);
    json_decref(json);

    struct listening listening;
    listening_open(&listening, &agentd, run.token);
    json = cancel(200, run.run, "{\"wait\":\"delivered\",\"timeout_ms\":10000}");
    assert_int_equal(number(json, "counts.delivered"), 2);
    json_decref(json);
    listening_close(&listening);

    sidecar_end(&agentd, &child, "cancelled");
    sidecar_end(&agentd, &run, "cancelled");
    json = cancel(200, run.run, "{\"wait\":\"stopped\",\"timeout_ms\":10000}");
    expect_true(json, "complete", true);
    assert_int_equal(number(json, "counts.stopped"), 2);
    json_decref(json);
}

static int send_raw(const struct service *service, const char *text)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%.*s", (int)sizeof to.sun_path - 1,
             service->where + strlen("unix:"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    return fd;
}

static void a_crowd_that_waits_keeps_no_cancel_out(void **state)
{
    enum { WAITS = 3 };
    (void)state;
    struct service small;
    char url[160], text[512], path[160], got[16];
    int fd[WAITS];
    snprintf(url, sizeof url, "--redis-url=%s", redis.url);
    const char *const args[] = {url, "--listen=127.0.0.1:0", "--max-waits=4", NULL};
    service_start(&small, "brakewire-broker", true, args);
    struct started run = sidecar_run(&agentd, NULL, "{}");
    static const char body[] = "{\"wait\":\"stopped\",\"timeout_ms\":60000}";
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", run.run);
    snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s",
             path, strlen(body), body);
    for (int i = 0; i < WAITS; i++)
        fd[i] = send_raw(&small, text);
    json_t *json = NULL;
    struct waiting wait = WAITING;
    do { /* until all of them wait */
        json_decref(json);
        waiting_turn(&wait);
        assert_int_equal(service_call(&small, NULL, "POST", path,
                                      "{\"wait\":\"stopped\",\"timeout_ms\":1}", &json),
                         202);
    } while (strcmp(json_word(json, "wait"), "none") != 0);
    json_decref(json);
    assert_int_equal(service_call(&small, NULL, "POST", path, "{}", NULL), 202);
    sidecar_end(&agentd, &run, "cancelled");
    for (int i = 0; i < WAITS; i++) {
        assert_int_equal(recv(fd[i], got, sizeof got, 0), sizeof got);
        assert_memory_equal(got, "HTTP/1.1 200 ", strlen("HTTP/1.1 200 "));
        close(fd[i]);
    }
    service_stop(&small);
}

static void what_is_over_is_not_cancelable(void **state)
{
    (void)state;
    struct started run = sidecar_run(&agentd, NULL, "{}");
    struct started child = sidecar_child(&agentd, &run, NULL);
    sidecar_end(&agentd, &run, "success"); /* the child goes on */
    json_t *json = cancel(202, run.run, "{}");
    expect_word(json, "target_state", "success");
    json_decref(json);
    sidecar_end(&agentd, &child, "cancelled");

    run = sidecar_run(&agentd, NULL, "{}");
    sidecar_end(&agentd, &run, "success");
    expect_code(cancel(409, run.run, "{}"), "not_cancelable");
    expect_code(cancel(409, run.run, "{\"dry_run\":true}"), "not_cancelable");
}

static void an_id_nobody_has_seen_is_refused_or_remembered(void **state)
{
    (void)state;
    expect_code(cancel(404, "unseen", "{\"if_unknown\":\"refuse\"}"), "not_found");
    json_t *json = cancel(202, "unseen", "{\"wait\":\"stopped\"}");
    expect_true(json, "known", false);
    expect_true(json, "complete", false);
    expect_word(json, "cancel_id", "unseen.unseen");
    json_decref(json);
    json = sidecar_call(&agentd, "tokentokentokentoken", 409, "POST", "/v1/runs",
                        "{\"run_id\":\"unseen\"}");
    expect_code(json, "cancelled");
}

static void a_dry_run_and_an_expectation_write_nothing(void **state)
{
    (void)state;
    struct started run = sidecar_run(&agentd, NULL, "{}");
    struct started child = sidecar_child(&agentd, &run, NULL);
    json_t *json = cancel(200, run.run, "{\"dry_run\":true}");
    expect_true(json, "dry_run", true);
    assert_int_equal(number(json, "counts.pending"), 2);
    json_decref(json);
    expect_code(cancel(409, run.run, "{\"expect_at_most\":1}"), "too_many_matched");
    json = get(200, "/v1/runs/%s", child.run);
    expect_word(json, "state", "running");
    json_decref(json);
    json_decref(cancel(202, run.run, "{\"expect_at_most\":2}"));
    sidecar_end(&agentd, &child, "cancelled");
    sidecar_end(&agentd, &run, "cancelled");
}

static void only_the_children_can_be_cancelled(void **state)
{
    (void)state;
    struct started run = sidecar_run(&agentd, NULL, "{}");
    struct started child = sidecar_child(&agentd, &run, NULL);
    json_t *json = cancel(202, run.run, "{\"include_self\":false}");
    expect_true(json, "closed", false);
    assert_int_equal(json_array_size(json_member(json, "cancels")), 1);
    json_decref(json);
    sidecar_wait_for_state(&agentd, &child, "stopping");
    sidecar_wait_for_state(&agentd, &run, "running");
    sidecar_end(&agentd, &child, "cancelled");
    json = cancel(200, run.run, "{\"include_self\":false,\"wait\":\"stopped\"}");
    json_decref(json);
    sidecar_end(&agentd, &run, "success");
}

static void a_wait_goes_on_where_the_tree_leaves_its_root(void **state)
{
    (void)state;
    char path[160];
    struct started run = sidecar_run(&agentd, NULL, "{\"run_id\":\"caller\"}");
    snprintf(path, sizeof path, "/v1/runs/%s/links", run.run);
    json_decref(sidecar_call(&agentd, run.token, 201, "POST", path,
                             "{\"epoch\":1,\"kind\":\"root\",\"to\":\"callee\"}"));
    struct started far =
        sidecar_run(&agentd, NULL, "{\"run_id\":\"callee\",\"linked_from\":\"caller/caller\"}");
    json_decref(cancel(202, "caller", "{}"));
    sidecar_wait_for_state(&agentd, &far, "stopping");
    sidecar_end(&agentd, &run, "cancelled");
    json_t *json = cancel(202, "caller", "{\"wait\":\"stopped\",\"timeout_ms\":1500}");
    assert_int_equal(number(json, "counts.runs"), 2);
    assert_int_equal(number(json, "counts.links_acknowledged"), 1);
    json_decref(json);
    sidecar_end(&agentd, &far, "cancelled");
    json = cancel(200, "caller", "{\"wait\":\"stopped\",\"timeout_ms\":5000}");
    assert_int_equal(number(json, "counts.stopped"), 2);
    json_decref(json);
    json = get(200, "/v1/runs/callee");
    expect_word(json, "cancel.cause", "caller.caller");
    json_decref(json);
}

static void a_root_that_does_not_agree_is_refused(void **state)
{
    (void)state;
    struct started run = sidecar_run(&agentd, NULL, "{\"run_id\":\"mine\"}");
    json_decref(cancel(409, "mine", "{\"root\":\"other\"}"));
    json_decref(cancel(202, "mine", "{\"root\":\"mine\"}"));
    sidecar_end(&agentd, &run, "cancelled");
}

/* ---- bad input ---------------------------------------------------------------------------------
 */
static void what_is_wrong_is_said(void **state)
{
    static const struct {
        const char *method, *path, *body;
        long status;
        const char *code;
    } table[] = {
        {"POST", "/v1/runs/a/cancel", "{", 400, "invalid"},
        {"POST", "/v1/runs/a/cancel", "[]", 422, "invalid"},
        {"POST", "/v1/runs/a/cancel", "{\"reson\":\"x\"}", 422, "invalid"},
        {"POST", "/v1/runs/a/cancel", "{\"action\":\"kill\"}", 422, "invalid"},
        {"POST", "/v1/runs/a/cancel", "{\"wait\":\"forever\"}", 422, "invalid"},
        {"POST", "/v1/runs/a/cancel", "{\"timeout_ms\":-1}", 422, "invalid"},
        {"POST", "/v1/runs/a/cancel", "{\"timeout_ms\":60001}", 422, "invalid"},
        {"POST", "/v1/runs/a/cancel", "{\"grace_ms\":\"1\"}", 422, "invalid"},
        {"POST", "/v1/runs/a/cancel", "{\"root\":\"a b\"}", 422, "invalid"},
        {"POST", "/v1/runs/a/cancel", "{\"by\":\"\"}", 422, "invalid"},
        {"POST", "/v1/runs/a/cancel", "{\"expect_at_most\":-1}", 422, "invalid"},
        {"POST", "/v1/runs/a%20b/cancel", "{}", 422, "invalid"},
        {"POST", "/v1/runs/a/cancel/now", "{}", 404, "not_found"},
        {"GET", "/v1/runs/a/cancel", NULL, 405, "method_not_allowed"},
        {"DELETE", "/v1/runs", NULL, 405, "method_not_allowed"},
        {"GET", "/v1/nothing", NULL, 404, "not_found"},
        {"GET", "/v1/runs?stat=running", NULL, 422, "invalid"},
        {"GET", "/v1/runs?state=busy", NULL, 422, "invalid"},
        {"GET", "/v1/runs?label=x", NULL, 422, "invalid"},
        {"GET", "/v1/runs?limit=0", NULL, 422, "invalid"},
        {"GET", "/v1/runs?limit=1001", NULL, 422, "invalid"},
        {"GET", "/v1/runs?limit=ten", NULL, 422, "invalid"},
        {"GET", "/v1/runs?cursor=abc", NULL, 422, "invalid"},
        {"GET", "/v1/runs?cursor=AAAA", NULL, 422, "invalid"},
        {"GET", "/v1/runs?root=a.b", NULL, 422, "invalid"},
        {"GET", "/v1/runs/nobody", NULL, 404, "not_found"},
        {"GET", "/v1/runs/nobody?root=neither", NULL, 404, "not_found"},
        {"GET", "/v1/runs/a?roots=b", NULL, 422, "invalid"},
        {"GET", "/v1/runs/nobody/checkpoint", NULL, 404, "not_found"},
        {"GET", "/v1/roots/nobody/tree", NULL, 404, "not_found"},
        {"GET", "/v1/roots/a/tree?depth=-1", NULL, 422, "invalid"},
        {"GET", "/v1/roots/a/tree?under=.", NULL, 422, "invalid"},
        {"GET", "/v1/audit?limit=x", NULL, 422, "invalid"},
        {"GET", "/v1/audit?run=a/b", NULL, 422, "invalid"},
        {"GET", "/v1/events?root=a.b", NULL, 422, "invalid"},
        {"GET", "/v1/replicas?x=1", NULL, 422, "invalid"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        expect_code(ask(table[i].status, table[i].method, table[i].path, table[i].body),
                    table[i].code);
}

/* ---- looking -----------------------------------------------------------------------------------
 */
static void a_tree_shows_parents_before_children(void **state)
{
    (void)state;
    struct started run =
        sidecar_run(&agentd, NULL, "{\"agent\":\"planner\",\"labels\":{\"team\":\"red\"}}");
    struct started child = sidecar_child(&agentd, &run, NULL);
    struct started grandchild = sidecar_child(&agentd, &child, NULL);
    json_t *json = get(200, "/v1/roots/%s/tree", run.root);
    const json_t *runs = json_member(json, "runs");
    assert_int_equal(json_array_size(runs), 3);
    const char *const order[] = {run.run, child.run, grandchild.run};
    for (size_t i = 0; i < 3; i++) {
        const json_t *node = json_array_get(runs, i);
        assert_string_equal(json_word(node, "run_id"), order[i]);
        assert_int_equal(json_integer_value(json_member(node, "depth")), i + 1);
    }
    expect_word(json_array_get(runs, 0), "labels.team", "red");
    assert_int_equal(number(json, "live"), 3);
    json_decref(json);

    json = get(200, "/v1/roots/%s/tree?under=%s&depth=0", run.root, child.run);
    assert_int_equal(json_array_size(json_member(json, "runs")), 1);
    json_decref(json);
    json = get(200, "/v1/roots/%s/tree?limit=2", run.root);
    expect_true(json, "truncated", true);
    json_decref(json);

    json_decref(cancel(202, child.run, "{}"));
    json = get(200, "/v1/runs/%s", grandchild.run);
    expect_word(json, "effective_state", "stopping");
    expect_word(json, "cancelled_by", child.run);
    assert_int_equal(json_array_size(json_member(json, "path")), 3);
    expect_word(json, "cancel.run_id", child.run);
    json_decref(json);
    json = get(200, "/v1/roots/%s/tree", run.root);
    assert_int_equal(json_array_size(json_member(json, "cancels")), 1);
    json_decref(json);
    sidecar_end(&agentd, &grandchild, "cancelled");
    sidecar_end(&agentd, &child, "cancelled");
    sidecar_end(&agentd, &run, "success");
}

static void a_listing_comes_in_pages(void **state)
{
    enum { RUNS = 23, A_PAGE = 5 };
    (void)state;
    struct started run[RUNS];
    char cursor[400] = "";
    size_t seen = 0, pages = 0;
    for (size_t i = 0; i < RUNS; i++)
        run[i] = i % 3 == 2 ? sidecar_child(&agentd, &run[i - 1], NULL)
                            : sidecar_run(&agentd, NULL,
                                          "{\"agent\":\"paged\",\"labels\":{\"k\":\"v:w\"}}");
    do {
        json_t *json = get(200, "/v1/runs?label=k:v:w&state=running&limit=%d%s%s", A_PAGE,
                           cursor[0] != '\0' ? "&cursor=" : "", cursor);
        assert_true(json_array_size(json_member(json, "runs")) <= A_PAGE);
        seen += json_array_size(json_member(json, "runs"));
        pages++;
        snprintf(cursor, sizeof cursor, "%s", json_word(json, "cursor"));
        json_decref(json);
        if (pages == 1)
            expect_code(get(422, "/v1/runs?agent=paged&cursor=%s", cursor), "invalid");
    } while (cursor[0] != '\0' && pages < 100);
    assert_int_equal(seen, RUNS - RUNS / 3);
    json_t *json = get(200, "/v1/runs?root=%s", run[1].root);
    assert_int_equal(json_array_size(json_member(json, "runs")), 2);
    json_decref(json);
    for (size_t i = RUNS; i-- > 0;)
        sidecar_end(&agentd, &run[i], "success");
}

static void a_page_goes_on_behind_the_last_id_however_long(void **state)
{
    (void)state;
    static const char *const ids[] = {"a", "aazz", "ab", "abc", "b"};
    char name[16], cursor[400] = "";
    size_t next = 0;
    struct started top = sidecar_run(&agentd, NULL, "{\"run_id\":\"aa0\"}"), below[5];
    for (size_t i = 0; i < 5; i++)
        below[i] = sidecar_run(&agentd, top.token, "{\"run_id\":\"%s\",\"baggage\":\"%s\"}", ids[i],
                               top.baggage);
    for (; next < 6; next++) {
        static const char *const order[] = {"a", "aa0", "aazz", "ab", "abc", "b"};
        json_t *json =
            get(200, "/v1/runs?root=aa0&limit=1%s%s", cursor[0] != '\0' ? "&cursor=" : "", cursor);
        snprintf(name, sizeof name, "%s",
                 json_word(json_array_get(json_member(json, "runs"), 0), "run_id"));
        snprintf(cursor, sizeof cursor, "%s", json_word(json, "cursor"));
        json_decref(json);
        assert_string_equal(name, order[next]);
    }
    assert_string_equal(cursor, "");
    for (size_t i = 0; i < 5; i++)
        sidecar_end(&agentd, &below[i], "success");
    sidecar_end(&agentd, &top, "success");
}

static void every_cancel_is_audited_the_refused_ones_too(void **state)
{
    struct waiting wait = WAITING;
    size_t entries = 0;
    (void)state;
    struct started run = sidecar_run(&agentd, NULL, "{\"run_id\":\"watched\"}");
    json_decref(cancel(409, "watched", "{\"root\":\"elsewhere\"}"));
    json_decref(cancel(202, "watched", "{\"reason\":\"seen\"}"));
    while (entries < 2) {
        json_t *json = get(200, "/v1/audit?run=watched");
        entries = json_array_size(json_member(json, "entries"));
        if (entries == 2) {
            expect_word(json_array_get(json_member(json, "entries"), 0), "outcome", "accepted");
            expect_word(json_array_get(json_member(json, "entries"), 1), "outcome", "refused");
        }
        json_decref(json);
        waiting_turn(&wait);
    }
    sidecar_end(&agentd, &run, "cancelled");
}

static void a_kept_checkpoint_can_be_read(void **state)
{
    (void)state;
    char path[160];
    struct started run = sidecar_run(&agentd, NULL, "{}");
    snprintf(path, sizeof path, "/v1/runs/%s/fence", run.run);
    json_decref(sidecar_call(&agentd, run.token, 200, "POST", path,
                             "{\"epoch\":1,\"write_id\":\"w1\",\"bytes\":\"eyJhIjoxfQ==\"}"));
    json_t *json = get(200, "/v1/runs/%s/checkpoint", run.run); /* {"a":1} */
    assert_int_equal(number(json, "a"), 1);
    json_decref(json);
    sidecar_end(&agentd, &run, "success");
}

static void replicas_are_shown_with_their_leases(void **state)
{
    struct waiting wait = WAITING;
    bool leased = false;
    (void)state;
    while (!leased) {
        json_t *json = get(200, "/v1/replicas");
        const json_t *first = json_array_get(json_member(json, "replicas"), 0);
        leased = json_is_true(json_member(first, "leased"));
        json_decref(json);
        waiting_turn(&wait);
    }
}

static bool is_quarantined(char replica[ID_TEXT_MAX])
{
    json_t *json = get(200, "/v1/replicas");
    const json_t *first = json_array_get(json_member(json, "replicas"), 0);
    bool is_so = json_is_true(json_member(first, "quarantined"));
    snprintf(replica, ID_TEXT_MAX, "%s", json_word(first, "replica_id"));
    json_decref(json);
    return is_so;
}

static void a_quarantined_replica_is_shown_and_resumed(void **state)
{
    (void)state;
    struct waiting wait = WAITING;
    char replica[ID_TEXT_MAX], path[160];
    while (is_quarantined(replica) || replica[0] == '\0')
        waiting_turn(&wait);
    assert_int_equal(redis_process_do(&redis, "SADD bw:quarantined %s", replica), 1);
    while (!is_quarantined(replica))
        waiting_turn(&wait);
    snprintf(path, sizeof path, "/v1/replicas/%s/resume", replica);
    json_t *resumed = NULL;
    assert_int_equal(service_call(&broker, NULL, "POST", path, NULL, &resumed), 200);
    assert_string_equal(json_word(resumed, "replica_id"), replica);
    json_decref(resumed);
    assert_int_equal(redis_process_do(&redis, "SCARD bw:quarantined"), 0);
    assert_int_equal(service_call(&broker, NULL, "POST", path, NULL, NULL), 404);
}

static void count_events(void *owner, const char *name, const json_t *data)
{
    size_t *seen = owner;
    if (strcmp(name, "tree") == 0 && json_array_size(json_member(data, "cancels")) > 0)
        seen[0]++;
    if (strcmp(name, "audit") == 0 && strcmp(json_word(data, "run_id"), "shown") == 0)
        seen[1]++;
}

static void changes_are_shown_as_they_happen(void **state)
{
    (void)state;
    struct waiting wait = WAITING;
    size_t seen[2] = {0};
    struct started run = sidecar_run(&agentd, NULL, "{\"run_id\":\"shown\"}");
    struct sse *tree = sse_new(broker.where, "/v1/events?root=shown", NULL, count_events, seen);
    struct sse *audit = sse_new(broker.where, "/v1/events", NULL, count_events, seen);
    json_decref(cancel(202, "shown", "{}"));
    for (int i = 0; seen[0] == 0 || seen[1] == 0; i++) {
        sse_wait(tree, -1, MILLIS(5));
        sse_wait(audit, -1, MILLIS(5));
        if (i % 20
            == 19) /* the audit is heard from when it was opened; refusals are not thinned out */
            json_decref(cancel(409, "shown", "{\"root\":\"elsewhere\"}"));
        waiting_turn(&wait);
    }
    sse_free(tree);
    sse_free(audit);
    sidecar_end(&agentd, &run, "cancelled");
}

/* ---- trouble -----------------------------------------------------------------------------------
 */
static void the_runs_of_a_dead_agentd_are_lost(void **state)
{
    (void)state;
    struct service quick, mortal;
    static const char *const short_lease[] = {"--lease=500ms", NULL};
    char path[160];
    service_signal(&broker, SIGSTOP); /* its two leases are longer, and it may hold the lock */
    broker_start(&quick, "50ms", "500ms");
    sidecar_start(&mortal, &redis, short_lease);
    struct started run = sidecar_run(&mortal, NULL, "{}");
    service_signal(&mortal, SIGKILL);
    (void)service_wait(&mortal);
    snprintf(path, sizeof path, "/v1/runs/%s", run.run);
    service_wait_for(&quick, NULL, path, "state", "lost");
    snprintf(path, sizeof path, "/v1/tasks/%s", run.run);
    service_wait_for(&quick, NULL, path, "status.state", "TASK_STATE_FAILED");
    service_stop(&mortal);
    service_stop(&quick);
    service_signal(&broker, SIGCONT);
}

/* In the shapes of A2A, whose JSON-RPC errors travel in a 200. */
static void says_unavailable_in_a2a(void)
{
    json_t *json = get(503, "/tasks/any?A2A-Version=1.0");
    expect_word(json, "error.status", "UNAVAILABLE");
    json_decref(json);
    json = get(503, "/v1/tasks/any");
    assert_int_equal(number(json, "code"), -32603);
    json_decref(json);
    json = ask(200, "POST", "/a2a",
               "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tasks/cancel\","
               "\"params\":{\"id\":\"any\"}}");
    assert_int_equal(number(json, "error.code"), -32603);
    assert_int_equal(number(json, "id"), 7);
    json_decref(json);
}

static void without_redis_it_says_so_and_comes_back_by_itself(void **state)
{
    (void)state;
    struct waiting wait = WAITING;
    redis_process_kill(&redis);
    while (service_call(&broker, NULL, "GET", "/readyz", NULL, NULL) != 503)
        waiting_turn(&wait);
    expect_code(cancel(503, "any", "{}"), "unavailable");
    expect_code(get(503, "/v1/runs"), "unavailable");
    expect_code(get(503, "/v1/runs/any"), "unavailable");
    expect_code(get(503, "/v1/events?root=any"), "unavailable");
    says_unavailable_in_a2a();
    redis_process_again(&redis);
    while (service_call(&broker, NULL, "GET", "/readyz", NULL, NULL) != 200)
        waiting_turn(&wait);
    json_decref(cancel(202, "any", "{}"));
}

/* What was refused meanwhile is audited, too: the newest of it. */
static void while_redis_is_away_the_newest_audit_entries_wait(void **state)
{
    enum { ROOM = 1000, MORE = 3 };
    (void)state;
    struct waiting wait = WAITING;
    redis_process_kill(&redis);
    service_wait_for(&broker, NULL, "/v1/version", "redis.linked", "false");
    for (int i = 0; i < ROOM + MORE; i++)
        json_decref(cancel(503, i < MORE ? "too-old" : "kept", "{}"));
    assert_true(service_logged(&broker, "audit entry dropped"));
    redis_process_again(&redis);
    while (service_call(&broker, NULL, "GET", "/readyz", NULL, NULL) != 200)
        waiting_turn(&wait); /* the node of a cluster refuses commands for a while */
    while (redis_process_do(&redis, "XLEN bw:audit") < ROOM)
        waiting_turn(&wait);
    json_t *kept = get(200, "/v1/audit?run=kept&limit=1000");
    json_t *old = get(200, "/v1/audit?run=too-old");
    assert_int_equal(json_array_size(json_member(kept, "entries")), ROOM);
    assert_int_equal(json_array_size(json_member(old, "entries")), 0);
    json_decref(kept);
    json_decref(old);
}

static void a_cancel_is_told_to_a_redis_that_came_back_empty(void **state)
{
    (void)state;
    struct waiting wait = WAITING;
    json_decref(cancel(202, "acknowledged", "{\"by\":\"user:ann\"}"));
    redis_process_kill(&redis);
    redis_process_again(&redis); /* nothing was saved */
    while (service_call(&broker, NULL, "GET", "/v1/runs/acknowledged?root=acknowledged", NULL, NULL)
           != 200)
        waiting_turn(&wait);
    json_t *json = get(200, "/v1/runs/acknowledged?root=acknowledged");
    expect_word(json, "cancel.by", "user:ann");
    json_decref(json);
    while (service_call(&broker, NULL, "GET", "/tasks/acknowledged", NULL, NULL) != 200)
        waiting_turn(&wait);
    json = get(200, "/tasks/acknowledged?A2A-Version=1.0");
    expect_word(json, "status.state", "TASK_STATE_WORKING"); /* who lives has not said so again */
    json_decref(json);
}

static void it_ends_when_it_is_told_to(void **state)
{
    (void)state;
    struct service brief;
    broker_start(&brief, "200ms", "15s");
    service_signal(&brief, SIGTERM);
    assert_int_equal(service_wait(&brief), 0);
    service_stop(&brief);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cancel_is_recorded_once_and_every_other_caller_gets_it),
        cmocka_unit_test(a_wait_ends_when_it_is_true_or_when_its_time_is_over),
        cmocka_unit_test(a_crowd_that_waits_keeps_no_cancel_out),
        cmocka_unit_test(what_is_over_is_not_cancelable),
        cmocka_unit_test(an_id_nobody_has_seen_is_refused_or_remembered),
        cmocka_unit_test(a_dry_run_and_an_expectation_write_nothing),
        cmocka_unit_test(only_the_children_can_be_cancelled),
        cmocka_unit_test(a_wait_goes_on_where_the_tree_leaves_its_root),
        cmocka_unit_test(a_root_that_does_not_agree_is_refused),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(a_tree_shows_parents_before_children),
        cmocka_unit_test(a_listing_comes_in_pages),
        cmocka_unit_test(a_page_goes_on_behind_the_last_id_however_long),
        cmocka_unit_test(every_cancel_is_audited_the_refused_ones_too),
        cmocka_unit_test(a_kept_checkpoint_can_be_read),
        cmocka_unit_test(replicas_are_shown_with_their_leases),
        cmocka_unit_test(a_quarantined_replica_is_shown_and_resumed),
        cmocka_unit_test(changes_are_shown_as_they_happen),
        cmocka_unit_test(the_runs_of_a_dead_agentd_are_lost),
        cmocka_unit_test(without_redis_it_says_so_and_comes_back_by_itself),
        cmocka_unit_test(while_redis_is_away_the_newest_audit_entries_wait),
        cmocka_unit_test(a_cancel_is_told_to_a_redis_that_came_back_empty),
        cmocka_unit_test(it_ends_when_it_is_told_to),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
