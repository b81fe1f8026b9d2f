/* LangGraph's routes of a broker, beside an agentd: the same stories on a private server behind a
 * Unix socket, as `brakectl up` runs one, on Redis and Valkey over TCP, and on a cluster. */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "brakectl/sse.h"
#include "support/redis_nodes.h"
#include "support/sidecar.h"

static struct redis_process redis;
static struct redis_nodes nodes;
static struct service agentd, broker;
static const char not_cancelable[] = "Some runs were not found or not cancelable";

/* ---- places ------------------------------------------------------------------------------------
 */
static void begin_daemons(const char *const *more)
{
    char url[300];
    snprintf(url, sizeof url, "--redis-url=%s", redis.url);
    const char *args[8] = {url, "--listen=127.0.0.1:0", "--langgraph-wait=5s"};
    for (size_t i = 0; more != NULL && more[i] != NULL; i++)
        args[3 + i] = more[i];
    service_start(&broker, "brakewire-broker", true, args);
    sidecar_start(&agentd, &redis, NULL);
}

static int begin_embedded(void **state)
{
    (void)state;
    redis_process_start(&redis, KIND_REDIS, NULL);
    begin_daemons(NULL);
    return 0;
}

static int begin_strict(void **state)
{
    static const char *const strict[] = {"--langgraph-already-cancelled=not_found", NULL};
    (void)state;
    redis_process_start(&redis, KIND_REDIS, NULL);
    begin_daemons(strict);
    return 0;
}

static int begin_over_tcp(enum redis_kind kind)
{
    redis_process_start(&redis, kind, NULL);
    snprintf(redis.url, sizeof redis.url, "redis%s://127.0.0.1:%d",
             redis.is_cluster ? "+cluster" : "", redis.port);
    begin_daemons(NULL);
    return 0;
}

static int begin_redis(void **state)
{
    (void)state;
    return begin_over_tcp(KIND_REDIS);
}

static int begin_valkey(void **state)
{
    (void)state;
    return begin_over_tcp(KIND_VALKEY);
}

static int end_servers(void **state)
{
    (void)state;
    service_stop(&agentd);
    service_stop(&broker);
    redis_process_end(&redis);
    return 0;
}

static int begin_cluster(void **state)
{
    (void)state;
    redis_nodes_start(&nodes, KIND_REDIS, 3, false);
    snprintf(redis.url, sizeof redis.url, "redis+cluster://127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d",
             nodes.node[0].port, nodes.node[1].port, nodes.node[2].port);
    begin_daemons(NULL);
    return 0;
}

static int end_cluster(void **state)
{
    (void)state;
    service_stop(&agentd);
    service_stop(&broker);
    redis_nodes_end(&nodes);
    return 0;
}

/* ---- asking ------------------------------------------------------------------------------------
 */
/* Compares the status; the answer, NULL when it was empty. */
static json_t *ask(long status, const char *method, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static json_t *ask(long status, const char *method, const char *format, ...)
{
    char path[1024];
    json_t *json = NULL;
    va_list args;
    va_start(args, format);
    vsnprintf(path, sizeof path, format, args);
    va_end(args);
    long got = service_call(&broker, NULL, method, path, NULL, &json);
    if (got != status) {
        char *text = json_dumps(json, JSON_COMPACT);
        fail_msg("%s %s: %ld %s", method, path, got, text != NULL ? text : "");
    }
    return json;
}

static void expect_detail(json_t *json, const char *wanted)
{
    assert_string_equal(json_word(json, "detail"), wanted);
    json_decref(json);
}

static void expect_empty(const json_t *json)
{
    assert_null(json);
}

struct lg_run { /* as LangGraph names it */
    struct started started;
    char thread[40], run[40];
};

static void name_uuid(char out[40])
{
    static unsigned count;
    snprintf(out, 40, "%08x-1111-4111-8111-%012x", ++count, (unsigned)getpid());
}

static struct lg_run begin_run(void)
{
    struct lg_run run;
    name_uuid(run.thread);
    name_uuid(run.run);
    run.started = sidecar_run(&agentd, NULL,
                              "{\"run_id\":\"%s\",\"thread_id\":\"%s\",\"agent\":\"researcher\","
                              "\"labels\":{\"team\":\"red\"}}",
                              run.run, run.thread);
    return run;
}

static json_t *cancel(long status, const struct lg_run *run, const char *query)
{
    return ask(status, "POST", "/threads/%s/runs/%s/cancel%s", run->thread, run->run, query);
}

static void expect_status(const struct lg_run *run, const char *status)
{
    json_t *json = ask(200, "GET", "/threads/%s/runs/%s", run->thread, run->run);
    assert_string_equal(json_word(json, "status"), status);
    json_decref(json);
}

/* ---- cancels -----------------------------------------------------------------------------------
 */
static void a_cancel_without_wait_is_202_and_empty(void **state)
{
    static const char *const queries[] = {"", "?wait=", "?wait=0", "?wait=false&action=interrupt"};
    (void)state;
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        struct lg_run run = begin_run();
        expect_empty(cancel(202, &run, queries[i]));
        sidecar_wait_for_state(&agentd, &run.started, "stopping");
        expect_status(&run, "running"); /* it has been told, no more */
        sidecar_end(&agentd, &run.started, "cancelled");
        expect_status(&run, "interrupted");
    }
}

static void a_wait_is_204_when_it_has_stopped_and_202_when_it_has_not(void **state)
{
    (void)state;
    struct lg_run run = begin_run();
    expect_empty(cancel(202, &run, "?wait=1"));
    sidecar_end(&agentd, &run.started, "cancelled");
    expect_empty(cancel(204, &run, "?wait=1"));
    expect_empty(cancel(204, &run, "?wait=true"));
    expect_empty(cancel(202, &run, "?wait=0"));
}

static void what_is_over_cannot_be_cancelled(void **state)
{
    (void)state;
    struct lg_run run = begin_run();
    sidecar_end(&agentd, &run.started, "success");
    expect_detail(cancel(404, &run, ""), not_cancelable);
    expect_detail(cancel(404, &run, "?wait=1"), not_cancelable);
    expect_detail(cancel(404, &run, "?action=rollback"), not_cancelable);
    expect_status(&run, "success");
}

static void a_run_of_another_thread_is_unknown(void **state)
{
    (void)state;
    struct lg_run run = begin_run(), other = begin_run(), nobody = run;
    struct lg_run astray = other;
    memcpy(astray.thread, run.thread, sizeof astray.thread);
    name_uuid(nobody.run);
    expect_detail(cancel(404, &astray, ""), not_cancelable);
    expect_detail(cancel(404, &nobody, ""), not_cancelable);
    expect_detail(ask(404, "GET", "/threads/%s/runs/%s", astray.thread, astray.run),
                  "Run not found");
    expect_status(&other, "running");
    sidecar_end(&agentd, &run.started, "success");
    sidecar_end(&agentd, &other.started, "success");
}

static void a_rollback_takes_the_run_back(void **state)
{
    (void)state;
    struct lg_run run = begin_run();
    expect_empty(cancel(202, &run, "?action=rollback&reason=taken%3Aenough"));
    json_t *json = ask(200, "GET", "/threads/%s/runs/%s", run.thread, run.run);
    assert_string_equal(json_word(json, "cancel_reason"), "taken:enough");
    json_decref(json);
    sidecar_end(&agentd, &run.started, "rolled_back");
    expect_detail(ask(404, "GET", "/threads/%s/runs/%s", run.thread, run.run), "Run not found");
}

static void a_run_has_the_members_of_their_model(void **state)
{
    static const char *const words[] = {"run_id",     "thread_id",  "assistant_id",
                                        "created_at", "updated_at", "status",
                                        "metadata",   "kwargs",     "multitask_strategy"};
    (void)state;
    struct lg_run run = begin_run();
    json_t *json = ask(200, "GET", "/threads/%s/runs/%s", run.thread, run.run);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        assert_non_null(json_member(json, words[i]));
    assert_string_equal(json_word(json, "run_id"), run.run);
    assert_string_equal(json_word(json, "thread_id"), run.thread);
    assert_string_equal(json_word(json, "assistant_id"), "researcher");
    assert_string_equal(json_word(json, "metadata.team"), "red");
    assert_true(json_is_null(json_member(json, "cancel_reason")));
    json_decref(json);
    sidecar_end(&agentd, &run.started, "error");
    expect_status(&run, "error");
}

static void what_ended_before_its_cancel_is_cancelled_as_a_switch_says(void **state)
{
    (void)state;
    struct lg_run run = begin_run();
    expect_empty(cancel(202, &run, ""));
    expect_empty(cancel(202, &run, "")); /* in flight: never an error */
    sidecar_end(&agentd, &run.started, "cancelled");
    expect_detail(cancel(404, &run, ""), not_cancelable);
    expect_detail(cancel(404, &run, "?wait=1"), not_cancelable);
}

static void what_is_wrong_has_a_detail(void **state)
{
    static const struct {
        long status;
        const char *method, *path;
    } table[] = {
        {422, "POST", "/threads/t/runs/r/cancel?wait=banana"},
        {422, "POST", "/threads/t/runs/r/cancel?action=bogus"},
        {422, "POST", "/threads/t/runs/r/cancel?reason=%ff"},
        {422, "POST", "/threads/t/runs/r%20r/cancel"},
        {422, "GET", "/threads/t/runs/r.r"},
        {422, "GET", "/threads/t/runs/r/join?cancel_on_disconnect=maybe"},
        {422, "GET", "/threads/t/runs/r/stream?cancel_on_disconnect=2"},
        {404, "GET", "/threads/t/runs/r"},
        {404, "GET", "/threads/t/runs/r/join"},
        {404, "GET", "/threads/t/runs/r/stream"},
        {404, "GET", "/runs/r/stream"},
        {422, "GET", "/threads/t/runs?limit=0"},
        {422, "GET", "/threads/t/runs?offset=-1"},
        {422, "GET", "/threads/t/runs?status=busy"},
        {404, "DELETE", "/threads/t/runs/r"},
        {404, "POST", "/threads"},
        {404, "GET", "/threads/t/state"},
        {405, "GET", "/threads/t/runs/r/cancel"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        json_t *json = ask(table[i].status, table[i].method, "%s", table[i].path);
        assert_true(json_string_length(json_member(json, "detail")) > 0);
        json_decref(json);
    }
}

/* ---- until it is over --------------------------------------------------------------------------
 */
static void a_join_answers_the_run_when_it_is_over(void **state)
{
    (void)state;
    struct lg_run run = begin_run();
    sidecar_end(&agentd, &run.started, "success");
    json_t *json = ask(200, "GET", "/threads/%s/runs/%s/join", run.thread, run.run);
    assert_string_equal(json_word(json, "status"), "success");
    json_decref(json);
}

/* ---- many runs ---------------------------------------------------------------------------------
 */
static struct lg_run begin_in(const char *thread, const char *more)
{
    struct lg_run run;
    snprintf(run.thread, sizeof run.thread, "%s", thread);
    name_uuid(run.run);
    run.started = sidecar_run(&agentd, NULL, "{\"run_id\":\"%s\",\"thread_id\":\"%s\"%s}", run.run,
                              run.thread, more);
    return run;
}

static size_t list_runs(const char *thread, const char *query, json_t **out)
{
    json_t *json = ask(200, "GET", "/threads/%s/runs%s", thread, query);
    size_t count = json_array_size(json);
    assert_true(json_is_array(json));
    if (out != NULL)
        *out = json;
    else
        json_decref(json);
    return count;
}

static void a_thread_lists_its_runs_the_latest_first(void **state)
{
    (void)state;
    char thread[40];
    json_t *json;
    name_uuid(thread);
    assert_int_equal(list_runs(thread, "", NULL), 0);
    struct lg_run one = begin_in(thread, ""), two = begin_in(thread, ""),
                  three = begin_in(thread, ",\"multitask_strategy\":\"enqueue\"");
    sidecar_end(&agentd, &two.started, "success");
    assert_int_equal(list_runs(thread, "", &json), 3);
    const char *const order[] = {three.run, two.run, one.run};
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(json_word(json_array_get(json, i), "run_id"), order[i]);
    json_decref(json);
    assert_int_equal(list_runs(thread, "?limit=1&offset=1", &json), 1);
    assert_string_equal(json_word(json_array_get(json, 0), "run_id"), two.run);
    json_decref(json);
    assert_int_equal(list_runs(thread, "?status=running", NULL), 2);
    assert_int_equal(list_runs(thread, "?status=success", NULL), 1);
    assert_int_equal(list_runs(thread, "?status=error", NULL), 0);
    assert_int_equal(list_runs(thread, "?offset=3", NULL), 0);

    expect_empty(ask(204, "DELETE", "/threads/%s/runs/%s", thread, two.run));
    assert_int_equal(list_runs(thread, "", NULL), 2);
    expect_detail(ask(404, "DELETE", "/threads/%s/runs/%s", thread, two.run), "Run not found");
    expect_detail(ask(404, "GET", "/threads/%s/runs/%s", thread, two.run), "Run not found");
    expect_empty(ask(204, "DELETE", "/threads/%s/runs/%s", thread, one.run));
    sidecar_wait_for_state(&agentd, &one.started, "stopping");
    sidecar_end(&agentd, &one.started, "cancelled");
    assert_int_equal(list_runs(thread, "", NULL), 1);
    sidecar_end(&agentd, &three.started, "success");
}

static json_t *cancel_many(long status, const char *query, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static json_t *cancel_many(long status, const char *query, const char *format, ...)
{
    char body[2048], path[64];
    json_t *json = NULL;
    va_list args;
    va_start(args, format);
    vsnprintf(body, sizeof body, format, args);
    va_end(args);
    snprintf(path, sizeof path, "/runs/cancel%s", query);
    long got = service_call(&broker, NULL, "POST", path, body, &json);
    if (got != status)
        fail_msg("%s: %ld %s", body, got, json_word(json, "detail"));
    return json;
}

/* It hears of an end behind the end's answer. */
static void wait_until_thread_is_over(const char *thread)
{
    struct waiting wait = WAITING;
    char body[128];
    snprintf(body, sizeof body, "{\"thread_id\":\"%s\",\"status\":\"all\"}", thread);
    while (service_call(&broker, NULL, "POST", "/runs/cancel", body, NULL) == 204)
        waiting_turn(&wait);
}

static void many_runs_are_cancelled_by_name_thread_or_state(void **state)
{
    (void)state;
    struct lg_run one = begin_run(), two = begin_in(one.thread, ""), other = begin_run();
    expect_empty(cancel_many(204, "?action=interrupt",
                             "{\"thread_id\":\"%s\",\"run_ids\":[\"%s\"]}", one.thread, one.run));
    sidecar_wait_for_state(&agentd, &one.started, "stopping");
    expect_status(&two, "running");
    /* what is there is cancelled, and what is not is told */
    expect_detail(cancel_many(404, "", "{\"thread_id\":\"%s\",\"run_ids\":[\"%s\",\"%s\"]}",
                              one.thread, two.run, other.run),
                  not_cancelable);
    sidecar_wait_for_state(&agentd, &two.started, "stopping");
    sidecar_wait_for_state(&agentd, &other.started, "running");
    sidecar_end(&agentd, &one.started, "cancelled");
    sidecar_end(&agentd, &two.started, "cancelled");

    struct lg_run three = begin_in(one.thread, "");
    expect_empty(cancel_many(204, "", "{\"thread_id\":\"%s\",\"status\":\"running\"}", one.thread));
    sidecar_wait_for_state(&agentd, &three.started, "stopping");
    sidecar_wait_for_state(&agentd, &other.started, "running");
    sidecar_end(&agentd, &three.started, "cancelled");
    wait_until_thread_is_over(one.thread);
    expect_detail(cancel_many(404, "", "{\"thread_id\":\"%s\",\"status\":\"all\"}", one.thread),
                  not_cancelable);

    struct started alone = sidecar_run(&agentd, NULL, "{}"); /* of no thread: not LangGraph's */
    expect_detail(cancel_many(404, "", "{\"status\":\"pending\"}"), not_cancelable);
    expect_empty(cancel_many(204, "?action=rollback", "{\"status\":\"all\",\"run_ids\":null}"));
    sidecar_wait_for_state(&agentd, &other.started, "stopping");
    sidecar_wait_for_state(&agentd, &alone, "running");
    sidecar_end(&agentd, &other.started, "rolled_back");
    sidecar_end(&agentd, &alone, "success");
    expect_detail(cancel_many(404, "", "{\"status\":\"all\"}"), not_cancelable);
}

static void a_question_about_many_is_looked_at_closely(void **state)
{
    static const char *const wrong[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"status\":\"running\",\"run_ids\":[\"a\"],\"thread_id\":\"t\"}",
        "{\"run_ids\":[\"a\"]}",
        "{\"thread_id\":\"t\"}",
        "{\"thread_id\":\"t\",\"run_ids\":[]}",
        "{\"thread_id\":\"t\",\"run_ids\":[1]}",
        "{\"thread_id\":\"t\",\"run_ids\":\"a\"}",
        "{\"thread_id\":1,\"run_ids\":[\"a\"]}",
        "{\"thread_id\":\"t\",\"run_ids\":[\"a b\"]}",
        "{\"status\":\"busy\"}"};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        json_decref(cancel_many(422, "", "%s", wrong[i]));
    json_decref(cancel_many(422, "?action=stop", "{\"status\":\"all\"}"));
}

/* ---- a crowd -----------------------------------------------------------------------------------
 */
enum { CROWD_MAX = 1001 };
struct crowd {
    size_t count;
    struct pollfd member[CROWD_MAX];
};

static void join_crowd(struct crowd *crowd, const char *request)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%.*s", (int)sizeof to.sun_path - 1,
             broker.where + strlen("unix:"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    crowd->member[crowd->count++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

/* Who is answered next leaves the crowd; its status and Retry-After are looked at. */
static int next_answer(struct crowd *crowd)
{
    char text[2048];
    assert_true(poll(crowd->member, crowd->count, SERVICE_WAIT_MS) > 0);
    size_t i = 0;
    while (crowd->member[i].revents == 0)
        i++;
    ssize_t len = recv(crowd->member[i].fd, text, sizeof text - 1, 0);
    assert_true(len > 0);
    text[len] = '\0';
    close(crowd->member[i].fd);
    crowd->member[i] = crowd->member[--crowd->count];
    int status = atoi(text + strlen("HTTP/1.1 "));
    assert_true(status != 429 || strstr(text, "Retry-After: 1") != NULL);
    return status;
}

/* Redis does not answer for a moment, so that all who may search are at it. */
static void a_crowd_that_cancels_all_there_is_leaves_room_for_others(void **state)
{
    enum { SEARCHES = 16, NAMED = 48 - SEARCHES };
    (void)state;
    struct crowd crowd = {0};
    char named[512], body[200];
    struct lg_run run = begin_run();
    int len = snprintf(body, sizeof body, "{\"thread_id\":\"%s\",\"run_ids\":[\"%s\"]}", run.thread,
                       run.run);
    snprintf(named, sizeof named,
             "POST /runs/cancel HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len, body);
    kill(redis.pid, SIGSTOP);
    for (size_t i = 0; i < SEARCHES + 1; i++)
        join_crowd(&crowd, "POST /runs/cancel HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n"
                           "{\"status\":\"all\"}");
    int first = next_answer(&crowd);
    for (size_t i = 0; i < NAMED + 1; i++)
        join_crowd(&crowd, named);
    int second = next_answer(&crowd);
    kill(redis.pid, SIGCONT);
    assert_int_equal(first, 429);
    assert_int_equal(second, 429);
    assert_int_equal(crowd.count, SEARCHES + NAMED);
    while (crowd.count > 0)
        assert_int_equal(next_answer(&crowd), 204);
    sidecar_end(&agentd, &run.started, "cancelled");
    expect_detail(cancel_many(404, "", "{\"status\":\"all\"}"), not_cancelable);
}

/* More runs than are cancelled at once, and of more trees than one. */
static void however_many_are_named_each_is_cancelled(void **state)
{
    enum { MANY = 40 };
    (void)state;
    struct lg_run run[MANY] = {begin_run()};
    char body[MANY * 48 + 100];
    int len = snprintf(body, sizeof body, "{\"thread_id\":\"%s\",\"run_ids\":[\"%s\"",
                       run[0].thread, run[0].run);
    for (size_t i = 1; i < MANY; i++) {
        run[i] = begin_in(run[0].thread, "");
        len += snprintf(body + len, sizeof body - (size_t)len, ",\"%s\"", run[i].run);
    }
    expect_empty(cancel_many(204, "", "%s]}", body));
    for (size_t i = 0; i < MANY; i++) {
        sidecar_wait_for_state(&agentd, &run[i].started, "stopping");
        sidecar_end(&agentd, &run[i].started, "cancelled");
    }
}

static void allow_files(unsigned count)
{
    struct rlimit files;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_cur > count ? files.rlim_cur : count;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
}

static void a_crowd_that_joins_a_run_leaves_room_for_its_cancel(void **state)
{
    (void)state;
    static struct crowd crowd;
    char request[256];
    struct lg_run run = begin_run();
    allow_files(CROWD_MAX + 100);
    snprintf(request, sizeof request, "GET /threads/%s/runs/%s/join HTTP/1.1\r\nHost: x\r\n\r\n",
             run.thread, run.run);
    for (size_t i = 0; i < CROWD_MAX; i++)
        join_crowd(&crowd, request);
    assert_int_equal(next_answer(&crowd), 429);
    expect_empty(cancel(202, &run, ""));
    sidecar_end(&agentd, &run.started, "cancelled");
    while (crowd.count > 0)
        assert_int_equal(next_answer(&crowd), 200);
    json_decref(ask(200, "GET", "/threads/%s/runs/%s/join", run.thread, run.run));
}

/* ---- one after the other in a thread -----------------------------------------------------------
 */
static void a_new_run_takes_the_place_of_the_old_one_as_it_asks(void **state)
{
    (void)state;
    char thread[40];
    json_t *json;
    name_uuid(thread);
    struct lg_run old = begin_in(thread, "");
    struct lg_run second = begin_in(thread, ",\"multitask_strategy\":\"enqueue\"");
    expect_status(&old, "running");
    struct lg_run third = begin_in(thread, ",\"multitask_strategy\":\"interrupt\"");
    sidecar_wait_for_state(&agentd, &old.started, "stopping");
    sidecar_wait_for_state(&agentd, &second.started, "stopping");
    sidecar_wait_for_state(&agentd, &third.started, "running");
    json = ask(200, "GET", "/threads/%s/runs/%s", thread, old.run);
    char reason[80];
    snprintf(reason, sizeof reason, "superseded by run %s", third.run);
    assert_string_equal(json_word(json, "cancel_reason"), reason);
    json_decref(json);
    json = ask(200, "GET", "/threads/%s/runs/%s", thread, third.run);
    assert_string_equal(json_word(json, "multitask_strategy"), "interrupt");
    json_decref(json);
    sidecar_end(&agentd, &old.started, "cancelled");
    sidecar_end(&agentd, &second.started, "cancelled");

    json = sidecar_call(&agentd, NULL, 409, "POST", "/v1/runs",
                        "{\"thread_id\":\"%s\",\"multitask_strategy\":\"reject\"}", thread);
    assert_string_equal(json_word(json, "code"), "conflict");
    assert_non_null(strstr(json_word(json, "detail"), third.run));
    json_decref(json);
    struct lg_run fourth = begin_in(thread, ",\"multitask_strategy\":\"rollback\"");
    sidecar_wait_for_state(&agentd, &third.started, "stopping");
    sidecar_end(&agentd, &third.started, "rolled_back");
    assert_int_equal(list_runs(thread, "?status=running", NULL), 1);
    sidecar_end(&agentd, &fourth.started, "success");
    struct lg_run fifth = begin_in(thread, ",\"multitask_strategy\":\"reject\"");
    sidecar_end(&agentd, &fifth.started, "success");
}

/* The list still names a run that ended where nobody could say so. */
static void a_thread_is_not_busy_because_of_a_run_that_is_over(void **state)
{
    (void)state;
    char thread[40], place[80];
    name_uuid(thread);
    struct lg_run old = begin_in(thread, "");
    sidecar_end(&agentd, &old.started, "success");
    snprintf(place, sizeof place, "bw:thread:%s", thread);
    if (redis.pid == 0)
        return; /* a cluster: the key is on one of three */
    redis_process_do(&redis, "HSET %s %s l:e:1:1:%s", place, old.run, old.run);
    redis_process_do(&redis, "HSET %s %s l:e:2:2:%s", place, "never-began", "never-began");
    struct lg_run next = begin_in(thread, ",\"multitask_strategy\":\"reject\"");
    sidecar_end(&agentd, &next.started, "success");
}

/* Whoever carries a run enters it again. */
static void a_thread_is_listed_again_when_redis_has_forgotten_it(void **state)
{
    (void)state;
    char thread[40];
    struct waiting wait = WAITING;
    name_uuid(thread);
    struct lg_run run = begin_in(thread, "");
    redis_process_do(&redis, "FLUSHALL");
    while (list_runs(thread, "", NULL) == 0)
        waiting_turn(&wait);
    json_t *json = sidecar_call(&agentd, NULL, 409, "POST", "/v1/runs",
                                "{\"thread_id\":\"%s\",\"multitask_strategy\":\"reject\"}", thread);
    assert_string_equal(json_word(json, "code"), "conflict");
    json_decref(json);
    sidecar_end(&agentd, &run.started, "success");
}

#define STORIES                                                                      \
    cmocka_unit_test(a_cancel_without_wait_is_202_and_empty),                        \
        cmocka_unit_test(a_wait_is_204_when_it_has_stopped_and_202_when_it_has_not), \
        cmocka_unit_test(what_is_over_cannot_be_cancelled),                          \
        cmocka_unit_test(a_run_of_another_thread_is_unknown),                        \
        cmocka_unit_test(a_rollback_takes_the_run_back),                             \
        cmocka_unit_test(a_run_has_the_members_of_their_model),                      \
        cmocka_unit_test(a_join_answers_the_run_when_it_is_over),                    \
        cmocka_unit_test(a_thread_lists_its_runs_the_latest_first),                  \
        cmocka_unit_test(many_runs_are_cancelled_by_name_thread_or_state),           \
        cmocka_unit_test(a_new_run_takes_the_place_of_the_old_one_as_it_asks),       \
        cmocka_unit_test(a_thread_is_not_busy_because_of_a_run_that_is_over)

int main(void)
{
    const struct CMUnitTest embedded[] = {
        STORIES,
        cmocka_unit_test(what_is_wrong_has_a_detail),
        cmocka_unit_test(a_thread_is_listed_again_when_redis_has_forgotten_it),
        cmocka_unit_test(a_question_about_many_is_looked_at_closely),
        cmocka_unit_test(a_crowd_that_cancels_all_there_is_leaves_room_for_others),
        cmocka_unit_test(however_many_are_named_each_is_cancelled),
        cmocka_unit_test(a_crowd_that_joins_a_run_leaves_room_for_its_cancel)};
    const struct CMUnitTest deployed[] = {STORIES};
    const struct CMUnitTest strict[] = {
        cmocka_unit_test(what_ended_before_its_cancel_is_cancelled_as_a_switch_says)};
    int failed = cmocka_run_group_tests_name("embedded", embedded, begin_embedded, end_servers);
    failed += cmocka_run_group_tests_name("redis", deployed, begin_redis, end_servers);
    if (redis_kind_is_installed(KIND_VALKEY))
        failed += cmocka_run_group_tests_name("valkey", deployed, begin_valkey, end_servers);
    failed += cmocka_run_group_tests_name("cluster", deployed, begin_cluster, end_cluster);
    return failed + cmocka_run_group_tests_name("strict", strict, begin_strict, end_servers);
}
