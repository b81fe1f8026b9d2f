/* agentd when things fail: Redis, itself, its clients. */
#include <hiredis/hiredis.h>
#include <netinet/in.h>
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

#include "support/sidecar.h"

static struct redis_process redis;
static struct service agentd;

static int begin(void **state)
{
    (void)state;
    redis_process_start(&redis, KIND_REDIS, NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    service_stop(&agentd);
    redis_process_end(&redis);
    return 0;
}

static void wait_for_link(const char *linked)
{
    service_wait_for(&agentd, NULL, "/v1/version", "redis.linked", linked);
}

/* Redis holds the record of a cancel with this target. */
static void wait_for_record(const struct started *run)
{
    struct waiting wait = WAITING;
    while (redis_process_do(&redis, "HEXISTS bw:{%s} c:%s", run->root, run->run) != 1)
        waiting_turn(&wait);
}

static void start_agentd(const char *flag)
{
    const char *const flags[] = {flag, NULL};
    sidecar_start(&agentd, &redis, flag != NULL ? flags : NULL);
}

/* ---- Redis --------------------------------------------------------------------------------- */

static void without_redis_a_cancel_holds_here_and_everywhere_later(void **state)
{
    (void)state;
    struct listening listening;
    start_agentd(NULL);
    struct started run = sidecar_run(&agentd, NULL, "{}");
    listening_open(&listening, &agentd, run.token);
    redis_process_kill(&redis);
    wait_for_link("false");
    json_t *asked = sidecar_cancel(&agentd, &run, "{\"reason\":\"in the dark\"}");
    assert_string_equal(json_word(asked, "durability"), "local");
    assert_true(json_is_true(json_member(asked, "pending")));
    assert_true(json_is_false(json_member(asked, "complete")));
    json_decref(asked);
    assert_string_equal(json_word(listening_wait(&listening, 1), "reason"), "in the dark");
    redis_process_again(&redis); /* with nothing in it */
    wait_for_link("true");
    wait_for_record(&run);
    sidecar_end(&agentd, &run, "cancelled");
    listening_close(&listening);
}

static int entries_about(const char *run)
{
    char wanted[64];
    int found = 0;
    redisContext *context = redis_process_connect(&redis);
    redisReply *all = redisCommand(context, "XRANGE bw:audit - +");
    assert_non_null(all);
    (void)snprintf(wanted, sizeof wanted, "\"run_id\":\"%s\"", run);
    for (size_t i = 0; i < all->elements; i++)
        found += strstr(all->element[i]->element[1]->element[1]->str, wanted) != NULL ? 1 : 0;
    freeReplyObject(all);
    redisFree(context);
    return found;
}

/* What was refused meanwhile is audited, too: the newest of it. */
static void while_redis_is_away_the_newest_audit_entries_wait(void **state)
{
    enum { ROOM = 1000, MORE = 3 };
    (void)state;
    struct waiting wait = WAITING;
    start_agentd(NULL);
    redis_process_kill(&redis);
    wait_for_link("false");
    for (int i = 0; i < ROOM + MORE; i++)
        json_decref(sidecar_call(&agentd, NULL, 503, "POST",
                                 i < MORE ? "/v1/runs/too-old/cancel" : "/v1/runs/kept/cancel",
                                 "{}"));
    assert_true(service_logged(&agentd, "audit entry dropped"));
    redis_process_again(&redis);
    wait_for_link("true");
    while (redis_process_do(&redis, "XLEN bw:audit") < ROOM)
        waiting_turn(&wait);
    assert_int_equal(redis_process_do(&redis, "XLEN bw:audit"), ROOM);
    assert_int_equal(entries_about("too-old"), 0);
    assert_int_equal(entries_about("kept"), ROOM);
}

static void without_redis_a_run_starts_unprotected_and_is_asserted_later(void **state)
{
    (void)state;
    start_agentd(NULL);
    redis_process_kill(&redis);
    wait_for_link("false");
    json_t *started = sidecar_call(&agentd, "the-token-of-an-optimist", 201, "POST", "/v1/runs",
                                   "{\"run_id\":\"%s\"}", "optimist");
    assert_true(json_is_false(json_member(started, "protected")));
    json_decref(started);
    redis_process_again(&redis);
    wait_for_link("true");
    service_wait_for(&agentd, NULL, "/v1/runs/optimist", "confirmed", "true");
    assert_int_equal(redis_process_do(&redis, "HEXISTS bw:{optimist} s:optimist"), 1);
}

static void an_end_without_redis_is_told_later(void **state)
{
    (void)state;
    char path[160];
    start_agentd(NULL);
    struct started run = sidecar_run(&agentd, NULL, "{}");
    redis_process_kill(&redis);
    wait_for_link("false");
    snprintf(path, sizeof path, "/v1/runs/%s/end", run.run);
    json_t *ended =
        sidecar_call(&agentd, run.token, 202, "POST", path, "{\"epoch\":1,\"state\":\"success\"}");
    assert_true(json_is_true(json_member(ended, "pending")));
    json_decref(ended);
    redis_process_again(&redis);
    snprintf(path, sizeof path, "/v1/runs/%s", run.run);
    service_wait_for(&agentd, run.token, path, "confirmed", "true");
}

static void a_cautious_agentd_starts_nothing_without_redis(void **state)
{
    (void)state;
    start_agentd("--when-redis-is-down=refuse");
    redis_process_kill(&redis);
    wait_for_link("false");
    json_t *refused = sidecar_call(&agentd, NULL, 503, "POST", "/v1/runs", "%s", "{}");
    assert_string_equal(json_word(refused, "code"), "unavailable");
    json_decref(refused);
    redis_process_again(&redis);
    struct waiting wait = WAITING; /* the node of a cluster refuses commands for a while */
    while (service_call(&agentd, NULL, "POST", "/v1/runs", "{}", NULL) != 201)
        waiting_turn(&wait);
}

/* Half-open: Redis is there, and silent. */
static void out_of_reach_for_a_lease_it_stops_who_asked_for_it(void **state)
{
    (void)state;
    struct listening listening;
    char path[160];
    start_agentd("--lease=1s");
    struct started goes_on = sidecar_run(&agentd, NULL, "{}");
    struct started run =
        sidecar_run(&agentd, goes_on.token, "{\"when_isolated\":\"%s\"}", "cancel");
    listening_open(&listening, &agentd, run.token);
    redis_process_pause(&redis);
    const json_t *notice = listening_wait(&listening, 1);
    assert_string_equal(json_word(notice, "run"), run.run);
    assert_string_equal(json_word(notice, "reason"), "isolated");
    assert_string_equal(json_word(notice, "by"), "agentd");
    service_wait_for(&agentd, NULL, "/v1/version", "redis.isolated", "true");
    assert_int_equal(service_call(&agentd, NULL, "GET", "/readyz", NULL, NULL), 200);
    redis_process_resume(&redis);
    service_wait_for(&agentd, NULL, "/v1/version", "redis.isolated", "false");
    wait_for_record(&run);
    sidecar_end(&agentd, &run, "cancelled");
    snprintf(path, sizeof path, "/v1/runs/%s", goes_on.run);
    service_wait_for(&agentd, goes_on.token, path, "state", "running");
    assert_int_equal(listening.count, 1);
    listening_close(&listening);
}

static void a_cancel_during_a_broken_connection_is_not_lost(void **state)
{
    (void)state;
    struct service other;
    start_agentd(NULL);
    sidecar_start(&other, &redis, NULL);
    for (int i = 0; i < 5; i++) {
        struct started top = sidecar_run(&agentd, NULL, "{}");
        struct started child = sidecar_child(&other, &top, "the-token-of-the-other");
        redis_process_do(&redis, "CLIENT KILL TYPE pubsub");
        redis_process_do(&redis, "CLIENT KILL TYPE normal");
        json_decref(sidecar_cancel(&agentd, &top, "{}"));
        sidecar_wait_for_state(&other, &child, "stopping");
    }
    service_stop(&other);
}

static void a_redis_that_evicts_is_refused_unless_told_otherwise(void **state)
{
    (void)state;
    char url[160];
    snprintf(url, sizeof url, "--redis-url=%s", redis.url);
    const char *const flags[] = {url, NULL};
    redis_process_do(&redis, "CONFIG SET maxmemory-policy allkeys-lru");
    assert_int_equal(service_run("brakewire-agentd", flags), 1);
    start_agentd("--eviction-override");
    struct waiting wait = WAITING;
    while (!service_logged(&agentd, "redis may evict cancels"))
        waiting_turn(&wait);
    assert_int_equal(service_call(&agentd, NULL, "GET", "/readyz", NULL, NULL), 200);
}

/* ---- agentd -------------------------------------------------------------------------------- */

static void it_is_not_ready_before_it_has_seen_redis(void **state)
{
    (void)state;
    char url[160];
    snprintf(url, sizeof url, "--redis-url=%s", redis.url);
    const char *const flags[] = {url, NULL};
    redis_process_kill(&redis);
    service_start(&agentd, "brakewire-agentd", false, flags);
    assert_int_equal(service_call(&agentd, NULL, "GET", "/readyz", NULL, NULL), 503);
    redis_process_again(&redis);
    struct waiting wait = WAITING;
    while (service_call(&agentd, NULL, "GET", "/readyz", NULL, NULL) != 200)
        waiting_turn(&wait);
    redis_process_kill(&redis);
    wait_for_link("false");
    assert_int_equal(service_call(&agentd, NULL, "GET", "/readyz", NULL, NULL), 200);
}

static void a_restarted_agentd_finds_the_cancel_it_missed(void **state)
{
    (void)state;
    struct service other;
    struct listening listening;
    start_agentd(NULL);
    sidecar_start(&other, &redis, NULL);
    struct started run = sidecar_run(&agentd, "the-token-that-comes-back", "{\"run_id\":\"back\"}");
    service_signal(&agentd, SIGKILL);
    assert_int_equal(service_wait(&agentd), 128 + SIGKILL);
    json_decref(sidecar_call(&other, NULL, 202, "POST", "/v1/runs/back/cancel",
                             "{\"reason\":\"%s\"}", "meanwhile"));
    sidecar_start_again(&agentd, &redis, NULL);
    listening_open(&listening, &agentd, run.token);
    json_t *again =
        sidecar_call(&agentd, run.token, 200, "POST", "/v1/runs", "{\"run_id\":\"%s\"}", "back");
    assert_string_equal(json_word(again, "cancel.reason"), "meanwhile");
    json_decref(again);
    assert_string_equal(json_word(listening_wait(&listening, 1), "run"), "back");
    sidecar_end(&agentd, &run, "cancelled");
    listening_close(&listening);
    service_stop(&other);
}

static void a_term_waits_for_the_runs_and_takes_no_new_ones(void **state)
{
    (void)state;
    start_agentd(NULL);
    struct started run = sidecar_run(&agentd, NULL, "{}");
    service_signal(&agentd, SIGTERM);
    struct waiting wait = WAITING;
    while (service_call(&agentd, NULL, "GET", "/readyz", NULL, NULL) != 503)
        waiting_turn(&wait);
    json_t *refused = sidecar_call(&agentd, NULL, 429, "POST", "/v1/runs", "%s", "{}");
    assert_string_equal(json_word(refused, "code"), "overloaded");
    json_decref(refused);
    long long replicas = redis_process_do(&redis, "ZCARD bw:replicas");
    sidecar_end(&agentd, &run, "success");
    assert_int_equal(service_wait(&agentd), 0);
    assert_int_equal(redis_process_do(&redis, "ZCARD bw:replicas"), replicas - 1);
}

static void a_second_term_is_obeyed_at_once(void **state)
{
    (void)state;
    start_agentd(NULL);
    (void)sidecar_run(&agentd, NULL, "{}");
    service_signal(&agentd, SIGTERM);
    struct waiting wait = WAITING;
    while (service_call(&agentd, NULL, "GET", "/readyz", NULL, NULL) != 503)
        waiting_turn(&wait);
    service_signal(&agentd, SIGTERM);
    assert_int_equal(service_wait(&agentd), 0);
}

static void an_idle_agentd_leaves_at_once(void **state)
{
    (void)state;
    start_agentd(NULL);
    service_signal(&agentd, SIGTERM);
    assert_int_equal(service_wait(&agentd), 0);
}

static void options_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "--listen=0.0.0.0:7320", "--listen=192.168.1.1:80", "--listen=[::]:80", "--listen=7320",
        "--socket-mode=rw",      "--namespace=Caps",        "--mode=kill",      "--lease=1",
        "--replica-prefix=a.b",  "--redis-url=ftp://x",     "--no-such-flag",   "--cgroups=/x",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *const flags[] = {wrong[i], NULL};
        int code = service_run("brakewire-agentd", flags);
        if (code != 1 && code != 2)
            print_error("%s: %d\n", wrong[i], code);
        assert_in_range(code, 1, 2);
    }
}

/* As root, too: who mistypes a path is told, and finds no new folder. */
static void a_mistyped_folder_of_the_socket_is_not_made(void **state)
{
    (void)state;
    char folder[] = "/tmp/agentd-folder-XXXXXX", flag[128];
    assert_non_null(mkdtemp(folder));
    assert_int_equal(rmdir(folder), 0);
    snprintf(flag, sizeof flag, "--socket=%s/agentd.sock", folder);
    const char *const flags[] = {flag, NULL};
    assert_int_equal(service_run("brakewire-agentd", flags), 1);
    assert_int_equal(access(folder, F_OK), -1);
}

static void in_mode_observe_nothing_is_refused_or_told(void **state)
{
    (void)state;
    start_agentd("--mode=observe");
    struct started top = sidecar_run(&agentd, NULL, "{}");
    json_decref(sidecar_cancel(&agentd, &top, "{\"reason\":\"would be\"}"));
    json_t *child = sidecar_call(&agentd, top.token, 201, "POST", "/v1/runs",
                                 "{\"baggage\":\"%s\"}", top.baggage);
    assert_string_equal(json_word(child, "would"), "cancelled");
    assert_string_equal(json_word(child, "cancel.reason"), "would be");
    json_decref(child);
    sidecar_wait_for_state(&agentd, &top, "running");
}

/* ---- clients ------------------------------------------------------------------------------- */

static void a_client_that_stays_away_is_cancelled_for(void **state)
{
    (void)state;
    struct listening listening;
    start_agentd("--lost-grace=50ms");
    struct started run = sidecar_run(&agentd, NULL, "{}");
    struct started patient =
        sidecar_run(&agentd, run.token, "{\"on_client_gone\":\"%s\"}", "continue");
    listening_open(&listening, &agentd, run.token);
    listening_close(&listening);
    struct waiting wait = WAITING;
    char path[160];
    snprintf(path, sizeof path, "/v1/runs/%s", run.run);
    for (bool is_running = true; is_running; waiting_turn(&wait)) {
        json_t *shown = sidecar_call(&agentd, run.token, 200, "GET", path, "%s", "");
        is_running = strcmp(json_word(shown, "state"), "running") == 0;
        json_decref(shown);
    }
    sidecar_wait_for_state(&agentd, &patient, "running");
}

static int connect_to_agentd(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", agentd.where + strlen("unix:"));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void who_hangs_up_while_waiting_changes_nothing(void **state)
{
    (void)state;
    char request[512];
    start_agentd(NULL);
    struct started run = sidecar_run(&agentd, NULL, "{}");
    static const char body[] = "{\"wait\":\"stopped\",\"timeout_ms\":60000}";
    snprintf(request, sizeof request,
             "POST /v1/runs/%s/cancel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             run.run, run.token, strlen(body), body);
    for (int i = 0; i < 3; i++) {
        int fd = connect_to_agentd();
        assert_true(write(fd, request, strlen(request)) == (ssize_t)strlen(request));
        sidecar_wait_for_state(&agentd, &run, "stopping");
        close(fd);
    }
    struct waiting wait =
        WAITING; /* nobody listens for their sake, long before their time is over */
    const char *publish = redis.is_cluster ? "SPUBLISH" : "PUBLISH";
    while (redis_process_do(&redis, "%s bw:{%s}:watch hint", publish, run.root) != 0)
        waiting_turn(&wait);
    sidecar_end(&agentd, &run, "cancelled");
    json_t *done = sidecar_cancel(&agentd, &run, "{\"wait\":\"stopped\"}");
    assert_true(json_is_true(json_member(done, "complete")));
    json_decref(done);
}

static void a_reader_that_does_not_read_is_dropped_not_waited_for(void **state)
{
    (void)state;
    enum { RUNS = 600 };
    char text[2048], reason[1001];
    memset(reason, 'x', sizeof reason - 1);
    reason[sizeof reason - 1] = '\0';
    start_agentd("--sse-heartbeat=1s");
    struct started top = sidecar_run(&agentd, "the-token-of-the-slow-one", "{}");
    snprintf(text, sizeof text,
             "GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", top.token);
    int fd = connect_to_agentd();
    assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    service_wait_for(&agentd, NULL, "/v1/version", "clients", "1");
    for (int i = 0; i < RUNS; i++)
        (void)sidecar_child(&agentd, &top, NULL);
    snprintf(text, sizeof text, "{\"reason\":\"%s\"}", reason);
    json_decref(sidecar_cancel(&agentd, &top, text));
    struct waiting wait = WAITING;
    while (!service_logged(&agentd, "client is too slow"))
        waiting_turn(&wait);
    service_wait_for(&agentd, NULL, "/v1/version", "clients", "0");
    close(fd);
}

/* Reads to the end, which must come; only the last kilobyte is kept. */
static void read_to_the_end(int fd, char last[1025])
{
    size_t len = 0;
    const struct timeval patience = {.tv_sec = 20};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    for (;;) {
        char more[1024];
        ssize_t got = read(fd, more, sizeof more);
        assert_true(got >= 0);
        if (got == 0)
            break;
        size_t kept = len + (size_t)got > 1024 ? 1024 - (size_t)got : len;
        memmove(last, last + len - kept, kept);
        memcpy(last + kept, more, (size_t)got);
        len = kept + (size_t)got;
    }
    last[len] = '\0';
}

static void a_crowd_that_waits_keeps_no_cancel_out(void **state)
{
    enum { WAITS = 768 };
    (void)state;
    static int fd[WAITS];
    char path[160], text[512];
    start_agentd(NULL);
    struct started run = sidecar_run(&agentd, NULL, "{}");
    static const char body[] = "{\"wait\":\"stopped\",\"timeout_ms\":60000}";
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", run.run);
    snprintf(text, sizeof text,
             "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %zu"
             "\r\n\r\n%s",
             path, run.token, strlen(body), body);
    for (int i = 0; i < WAITS; i++) {
        fd[i] = connect_to_agentd();
        assert_int_equal(write(fd[i], text, strlen(text)), strlen(text));
    }
    json_t *json = NULL;
    struct waiting wait = WAITING;
    do { /* until all of them wait */
        json_decref(json);
        waiting_turn(&wait);
        json = sidecar_call(&agentd, run.token, 202, "POST", path, "%s",
                            "{\"wait\":\"stopped\",\"timeout_ms\":1}");
    } while (strcmp(json_word(json, "wait"), "none") != 0);
    json_decref(json);
    sidecar_end(&agentd, &run, "cancelled");
    for (int i = 0; i < WAITS; i++) {
        assert_int_equal(read(fd[i], text, 13), 13);
        assert_memory_equal(text, "HTTP/1.1 200 ", 13);
        close(fd[i]);
    }
}

static void who_reads_too_slowly_is_told_to_connect_again(void **state)
{
    (void)state;
    enum { ROUNDS = 2000 };
    char text[2048], reason[1001], last[1025];
    memset(reason, 'x', sizeof reason - 1);
    reason[sizeof reason - 1] = '\0';
    start_agentd("--max-runs=2");
    struct started first = sidecar_run(&agentd, "the-token-of-the-slow-one", "{}");
    snprintf(text, sizeof text,
             "GET /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
             "Authorization: Bearer %s\r\n\r\n",
             first.token);
    int fd = connect_to_agentd();
    assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    service_wait_for(&agentd, NULL, "/v1/version", "clients", "1");
    snprintf(text, sizeof text, "{\"reason\":\"%s\"}", reason);
    for (int i = 0; i < ROUNDS && !service_logged(&agentd, "client is too slow"); i++) {
        struct started run = sidecar_run(&agentd, first.token, "{}");
        json_decref(sidecar_cancel(&agentd, &run, text));
        sidecar_wait_for_state(&agentd, &run, "stopping");
        sidecar_end(&agentd, &run, "cancelled");
    }
    assert_true(service_logged(&agentd, "client is too slow"));
    read_to_the_end(fd, last);
    assert_non_null(strstr(last, "event: resync\ndata: {}\n\n"));
    close(fd);
}

static void over_tcp_a_token_is_needed_and_a_process_cannot_be_named(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    char flag[64], body[96];
    int fd = socket(AF_INET, SOCK_STREAM, 0); /* a port that is free, a moment ago at least */
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    snprintf(flag, sizeof flag, "--listen=127.0.0.1:%d", ntohs(address.sin_port));
    start_agentd(flag);
    struct service over_tcp = agentd;
    snprintf(over_tcp.where, sizeof over_tcp.where, "http://127.0.0.1:%d", ntohs(address.sin_port));
    (void)sidecar_run(&over_tcp, NULL, "{}");
    json_decref(sidecar_call(&over_tcp, NULL, 401, "GET", "/v1/runs", "%s", ""));
    snprintf(body, sizeof body, "{\"stop\":[{\"kind\":\"process\",\"pid\":%d}]}", (int)getpid());
    json_decref(sidecar_call(&over_tcp, NULL, 403, "POST", "/v1/runs", "%s", body));
}

static int stop_agentd(void **state)
{
    (void)state;
    service_stop(&agentd);
    if (redis.pid == 0)
        redis_process_again(&redis);
    redis_process_do(&redis, "CONFIG SET maxmemory-policy noeviction");
    redis_process_do(&redis, "FLUSHALL");
    return 0;
}

int main(void)
{
#define STORY(name) cmocka_unit_test_teardown(name, stop_agentd)
    const struct CMUnitTest tests[] = {
        STORY(without_redis_a_cancel_holds_here_and_everywhere_later),
        STORY(while_redis_is_away_the_newest_audit_entries_wait),
        STORY(without_redis_a_run_starts_unprotected_and_is_asserted_later),
        STORY(an_end_without_redis_is_told_later),
        STORY(a_cautious_agentd_starts_nothing_without_redis),
        STORY(out_of_reach_for_a_lease_it_stops_who_asked_for_it),
        STORY(a_cancel_during_a_broken_connection_is_not_lost),
        STORY(a_redis_that_evicts_is_refused_unless_told_otherwise),
        STORY(it_is_not_ready_before_it_has_seen_redis),
        STORY(a_restarted_agentd_finds_the_cancel_it_missed),
        STORY(a_term_waits_for_the_runs_and_takes_no_new_ones),
        STORY(a_second_term_is_obeyed_at_once),
        STORY(an_idle_agentd_leaves_at_once),
        STORY(options_that_make_no_sense_are_refused),
        STORY(a_mistyped_folder_of_the_socket_is_not_made),
        STORY(in_mode_observe_nothing_is_refused_or_told),
        STORY(a_client_that_stays_away_is_cancelled_for),
        STORY(who_hangs_up_while_waiting_changes_nothing),
        STORY(a_reader_that_does_not_read_is_dropped_not_waited_for),
        STORY(a_crowd_that_waits_keeps_no_cancel_out),
        STORY(who_reads_too_slowly_is_told_to_connect_again),
        STORY(over_tcp_a_token_is_needed_and_a_process_cannot_be_named),
    };
#undef STORY
    return cmocka_run_group_tests(tests, begin, end);
}
