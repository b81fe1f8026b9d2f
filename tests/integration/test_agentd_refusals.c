/* Everything that a client of agentd can get wrong, route by route: the status, the code, and the
 * member or words that help. Nothing here may change a run, and nothing may end the daemon. */
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "support/sidecar.h"

#define MINE  "the-token-of-the-table"
#define OTHER "the-token-of-a-stranger"

static struct redis_process redis;
static struct service agentd;

static int begin(void **state)
{
    (void)state;
    redis_process_start(&redis, KIND_REDIS, NULL);
    sidecar_start(&agentd, &redis, NULL);
    /* no daemon opens its socket to everybody; here a stranger has to be refused further in */
    assert_int_equal(chmod(agentd.where + strlen("unix:"), 0666), 0);
    (void)sidecar_run(&agentd, MINE, "{\"run_id\":\"mine\"}");
    (void)sidecar_run(&agentd, OTHER, "{\"run_id\":\"theirs\"}");
    return 0;
}

static int end(void **state)
{
    (void)state;
    service_stop(&agentd);
    redis_process_end(&redis);
    return 0;
}

struct refusal {
    const char *method, *path, *body;
    const char *token; /* NULL: MINE; "": none at all */
    long status;
    const char *code;
    const char *says; /* in `member` or `detail`; NULL: anything */
};

static void check(const struct refusal *row)
{
    json_t *json;
    const char *token = row->token == NULL ? MINE : row->token[0] == '\0' ? NULL : row->token;
    long status = service_call(&agentd, token, row->method, row->path, row->body, &json);
    const char *member = json_word(json, "member"), *detail = json_word(json, "detail");
    bool is_right = status == row->status && strcmp(json_word(json, "code"), row->code) == 0
                    && (row->says == NULL || strstr(detail, row->says) != NULL
                        || strcmp(member, row->says) == 0);
    if (!is_right) {
        char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
        print_error("%s %s %s\nanswered %ld %s\n", row->method, row->path,
                    row->body != NULL ? row->body : "", status, text != NULL ? text : "no JSON");
        free(text);
    }
    assert_true(is_right);
    assert_int_equal(json_integer_value(json_object_get(json, "status")), row->status);
    assert_string_equal(json_word(json, "type"), "about:blank");
    assert_true(json_word(json, "title")[0] != '\0');
    json_decref(json);
}

#define POST(route, text, ...) {.method = "POST", .path = route, .body = text, __VA_ARGS__}
#define INVALID                .status = 422, .code = "invalid"
#define START                  "/v1/runs"

static void a_start_is_read_to_the_letter(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        POST(START, "{", .status = 400, .code = "invalid", .says = "not JSON"),
        POST(START, "{} {}", .status = 400, .code = "invalid"),
        POST(START, "{\"run_id\":\"a\",\"run_id\":\"b\"}", .status = 400, .code = "invalid"),
        POST(START, "[]", INVALID, .says = "object"),
        POST(START, "\"x\"", .status = 422, .code = "invalid"),
        POST(START, "{\"run\":\"a\"}", INVALID, .says = "unknown member 'run'"),
        POST(START, "{\"run\":\"a\"}", INVALID, .says = "run"),
        POST(START, "{\"run_id\":\"a.b\"}", INVALID, .says = "run_id"),
        POST(START, "{\"run_id\":\"\"}", INVALID, .says = "run_id"),
        POST(START, "{\"run_id\":7}", INVALID, .says = "run_id"),
        POST(START, "{\"run_id\":\"0123456789abcdefghijX\",\"root\":\"other\"}", INVALID),
        POST(START, "{\"entry\":\"yes\"}", INVALID, .says = "entry"),
        POST(START, "{\"deadline_ms\":-1}", INVALID, .says = "deadline_ms"),
        POST(START, "{\"deadline_ms\":1.5}", INVALID, .says = "deadline_ms"),
        POST(START, "{\"deadline_ms\":\"1s\"}", INVALID, .says = "deadline_ms"),
        POST(START, "{\"baggage\":\"brakewire=2.x\"}", INVALID, .says = "baggage"),
        POST(START, "{\"baggage\":\"brakewire=1.a\",\"parent\":\"a\"}", INVALID, .says = "baggage"),
        POST(START, "{\"labels\":[]}", INVALID, .says = "labels"),
        POST(START, "{\"labels\":{\"a\":1}}", INVALID, .says = "labels"),
        POST(START, "{\"labels\":{\"\":\"x\"}}", INVALID, .says = "labels"),
        POST(START, "{\"stop\":{}}", INVALID, .says = "stop"),
        POST(START, "{\"stop\":[1]}", INVALID, .says = "stop"),
        POST(START, "{\"stop\":[{}]}", INVALID, .says = "kind"),
        POST(START, "{\"stop\":[{\"kind\":\"fax\"}]}", INVALID, .says = "kind"),
        POST(START, "{\"stop\":[{\"kind\":\"http\"}]}", INVALID, .says = "url"),
        POST(START,
             "{\"stop\":[{\"kind\":\"http\",\"preset\":\"langgraph\",\"url\":\"http://x\"}]}",
             INVALID, .says = "thread_id"),
        POST(START, "{\"stop\":[{\"kind\":\"http\",\"url\":\"http://x\",\"task_id\":\"t\"}]}",
             INVALID, .says = "task_id belongs to a2a"),
        POST(START, "{\"stop\":[{\"kind\":\"http\",\"url\":\"http://u@x\"}]}", INVALID,
             .says = "headers"),
        POST(START,
             "{\"stop\":[{\"kind\":\"http\",\"url\":\"http://x\",\"headers\":{\"a\":\"b\\n\"}}]}",
             INVALID, .says = "headers"),
        POST(START, "{\"stop\":[{\"kind\":\"notify\",\"url\":\"http://x\"}]}", INVALID,
             .says = "only kind http"),
        POST(START, "{\"stop\":[{\"kind\":\"process\"}]}", INVALID, .says = "pid"),
        POST(START, "{\"stop\":[{\"kind\":\"process\",\"pid\":1}]}", INVALID, .says = "pid"),
        POST(START, "{\"stop\":[{\"kind\":\"process\",\"pid\":2,\"signal\":\"STOP\"}]}", INVALID,
             .says = "signal"),
        POST(START, "{\"stop\":[{\"kind\":\"notify\",\"pid\":2}]}", INVALID, .says = "stop"),
        POST(START, "{\"stop\":[{\"kind\":\"notify\",\"wait\":2}]}", INVALID, .says = "wait"),
        POST(START,
             "{\"stop\":[{\"kind\":\"process\",\"pid\":2},{\"kind\":\"process\",\"pid\":3}]}",
             INVALID, .says = "stop"),
        POST(START,
             "{\"stop\":[{\"kind\":\"notify\"},{\"kind\":\"notify\"},{\"kind\":\"notify\"},"
             "{\"kind\":\"notify\"},{\"kind\":\"notify\"}]}",
             INVALID, .says = "stop"),
        POST(START, "{\"stop\":[{\"kind\":\"process\",\"pid\":2147483647}]}", .status = 404,
             .code = "not_found"),
        POST(START, "{\"collateral\":\"maybe\"}", INVALID, .says = "collateral"),
        POST(START, "{\"on_end\":\"die\"}", INVALID, .says = "on_end"),
        POST(START, "{\"on_lost\":\"\"}", INVALID, .says = "on_lost"),
        POST(START, "{\"on_client_gone\":true}", INVALID, .says = "on_client_gone"),
        POST(START, "{\"aliases\":[]}", INVALID, .says = "aliases"),
        POST(START, "{\"aliases\":{\"mcp\":\"t\"}}", INVALID, .says = "a2a"),
        POST(START, "{\"aliases\":{\"a2a\":\"\"}}", INVALID, .says = "a2a"),
        POST(START, "{\"aliases\":{\"a2a\":\"a b\"}}", INVALID, .says = "visible ASCII"),
        POST(START, "{\"aliases\":{\"a2a\":\"\u00fc\"}}", INVALID, .says = "visible ASCII"),
        POST(START, "{\"linked_from\":\"a\"}", INVALID, .says = "linked_from"),
        POST(START, "{\"linked_from\":\"a/b/c\"}", INVALID, .says = "linked_from"),
        POST(START, "{\"retry_of\":\"a/b\"}", INVALID, .says = "retry_of"),
        POST(START, "{\"epoch\":0}", INVALID, .says = "epoch"),
        POST(START, "{\"epoch\":4294967296}", INVALID, .says = "epoch"),
        POST(START, "{\"epoch\":1}", INVALID, .says = "epoch"),
        POST(START, "{\"parent\":\"nobody-knows\"}", .status = 404, .code = "not_found"),
        POST(START, "{\"run_id\":\"theirs\"}", .status = 409, .code = "conflict"),
        POST(START, "{}", .token = "short", .status = 401, .code = "unauthorized"),
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check(&rows[i]);
}

static void an_ask_about_a_run_is_read_to_the_letter(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        POST("/v1/runs/mine/ack", "{\"phase\":\"acknowledged\"}", .status = 428,
             .code = "epoch_required"),
        POST("/v1/runs/mine/end", "{\"state\":\"success\"}", .status = 428,
             .code = "epoch_required"),
        POST("/v1/runs/mine/links", "{\"kind\":\"root\",\"to\":\"a\"}", .status = 428,
             .code = "epoch_required"),
        POST("/v1/runs/mine/fence", "{\"write_id\":\"w\"}", .status = 428,
             .code = "epoch_required"),
        POST("/v1/runs/mine/ack", "{\"epoch\":1}", INVALID, .says = "phase"),
        POST("/v1/runs/mine/ack", "{\"epoch\":1,\"phase\":\"seen\"}", INVALID, .says = "phase"),
        POST("/v1/runs/mine/ack", "{\"epoch\":\"1\",\"phase\":\"acknowledged\"}", INVALID,
             .says = "epoch"),
        POST("/v1/runs/mine/ack", "{\"epoch\":1,\"phase\":\"acknowledged\"}", .status = 409,
             .code = "not_cancelled"),
        POST("/v1/runs/mine/end", "{\"epoch\":1}", INVALID, .says = "state"),
        POST("/v1/runs/mine/end", "{\"epoch\":1,\"state\":\"lost\"}", INVALID, .says = "state"),
        POST("/v1/runs/mine/end", "{\"epoch\":1,\"state\":\"cancelled\"}", .status = 409,
             .code = "not_cancelled"),
        POST("/v1/runs/mine/end", "{\"epoch\":9,\"state\":\"success\"}", INVALID),
        POST("/v1/runs/mine/end", "{\"epoch\":1,\"state\":\"success\",\"found_by\":[\"luck\"]}",
             INVALID, .says = "found_by"),
        POST("/v1/runs/mine/links", "{\"epoch\":1,\"kind\":\"root\"}", INVALID, .says = "to"),
        POST("/v1/runs/mine/links", "{\"epoch\":1,\"kind\":\"root\",\"to\":\"a b\"}", INVALID,
             .says = "to"),
        POST("/v1/runs/mine/links", "{\"epoch\":1,\"kind\":\"a2a\",\"to\":\"http://x\"}", INVALID,
             .says = "url"),
        POST("/v1/runs/mine/links", "{\"epoch\":1,\"kind\":\"a2a\",\"url\":\"http://x\"}", INVALID,
             .says = "task_id"),
        POST("/v1/runs/mine/links",
             "{\"epoch\":1,\"kind\":\"http\",\"url\":\"file:///etc/passwd\"}", INVALID,
             .says = "only http"),
        POST("/v1/runs/mine/links",
             "{\"epoch\":1,\"kind\":\"http\",\"url\":\"http://x\",\"headers\":{\"A\":\"b\"}}",
             INVALID, .says = "headers"),
        POST("/v1/runs/mine/links",
             "{\"epoch\":1,\"kind\":\"root\",\"to\":\"r\",\"url\":\"http://x\"}", INVALID,
             .says = "root has no url"),
        POST("/v1/runs/mine/fence", "{\"epoch\":1}", INVALID, .says = "write_id"),
        POST("/v1/runs/mine/fence", "{\"epoch\":1,\"write_id\":\"\"}", INVALID, .says = "write_id"),
        POST("/v1/runs/mine/fence", "{\"epoch\":1,\"write_id\":\"w\",\"bytes\":\"a\"}", INVALID,
             .says = "bytes"),
        POST("/v1/runs/mine/fence", "{\"epoch\":1,\"write_id\":\"w\",\"bytes\":\"!!!!\"}", INVALID,
             .says = "bytes"),
        POST("/v1/runs/theirs/ack", "{\"epoch\":1,\"phase\":\"acknowledged\"}", .status = 403,
             .code = "forbidden"),
        POST("/v1/runs/theirs/end", "{\"epoch\":1,\"state\":\"success\"}", .status = 403,
             .code = "forbidden"),
        POST("/v1/runs/theirs/cancel", "{}", .status = 403, .code = "forbidden"),
        POST("/v1/runs/nobody/end", "{\"epoch\":1,\"state\":\"success\"}", .status = 404,
             .code = "not_found"),
        POST("/v1/runs/mine/cancel", "{\"because\":\"x\"}", INVALID, .says = "because"),
        POST("/v1/runs/mine/cancel", "{\"by\":\"me\"}", INVALID, .says = "by"),
        POST("/v1/runs/mine/cancel", "{\"action\":\"stop\"}", INVALID, .says = "action"),
        POST("/v1/runs/mine/cancel", "{\"wait\":\"forever\"}", INVALID, .says = "wait"),
        POST("/v1/runs/mine/cancel", "{\"timeout_ms\":60001}", INVALID, .says = "timeout_ms"),
        POST("/v1/runs/mine/cancel", "{\"grace_ms\":-1}", INVALID, .says = "grace_ms"),
        POST("/v1/runs/mine/cancel", "{\"root\":\"a.b\"}", INVALID, .says = "root"),
        POST("/v1/runs/mine/cancel", "{\"root\":\"other\"}", INVALID, .says = "root"),
        POST("/v1/runs/mine/cancel", "{\"include_self\":1}", INVALID, .says = "include_self"),
        POST("/v1/runs/mine/cancel", "{\"if_unknown\":\"x\"}", INVALID, .says = "if_unknown"),
        POST("/v1/runs/mine/cancel", "{\"expect_at_most\":0}", .status = 409,
             .code = "too_many_matched"),
        POST("/v1/runs/a.b/cancel", "{}", INVALID, .says = "path"),
        {"GET", "/v1/runs/a%20b", NULL, NULL, INVALID, .says = "path"},
        {"GET", "/v1/runs/nobody", NULL, NULL, 404, "not_found", NULL},
        {"GET", "/v1/events", NULL, "", 401, "unauthorized", "token"},
        {"GET", "/v1/nothing", NULL, NULL, 404, "not_found", "path"},
        {"GET", "/v1/runs/mine/end", NULL, NULL, 405, "method_not_allowed", "POST"},
        {"PUT", "/v1/runs", "{}", NULL, 405, "method_not_allowed", "POST, GET"},
        {"DELETE", "/v1/runs/mine", NULL, NULL, 405, "method_not_allowed", "GET"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check(&rows[i]);
    json_t *mine = sidecar_call(&agentd, MINE, 200, "GET", "/v1/runs/mine", "%s", "");
    assert_string_equal(json_word(mine, "state"), "running");
    json_decref(mine);
}

/* The limit is on the bytes, not on what carries them: these two are as long in base64. */
static void a_checkpoint_is_measured_in_its_own_bytes(void **state)
{
    (void)state;
    enum { BASE64_LEN = 1398104 };
    static const char head[] = "{\"epoch\":1,\"write_id\":\"w\",\"bytes\":\"";
    char *body = malloc(sizeof head + BASE64_LEN + 2);
    assert_non_null(body);
    char *base64 = body + sizeof head - 1;
    memcpy(body, head, sizeof head - 1);
    memset(base64, 'A', BASE64_LEN);
    memcpy(base64 + BASE64_LEN, "\"}", 3);
    base64[BASE64_LEN - 1] = '='; /* 1 MiB and a byte */
    check(&(struct refusal)POST("/v1/runs/mine/fence", body, INVALID, .says = "1 MiB"));
    base64[BASE64_LEN - 2] = '=';
    assert_int_equal(service_call(&agentd, MINE, "POST", "/v1/runs/mine/fence", body, NULL), 200);
    free(body);
}

static void who_is_refused_is_told_why(void **state)
{
    (void)state;
    static const char body[] = "{\"epoch\":1,\"state\":\"success\"}";
    static const char nothing[] = "{\"stop\":[{\"kind\":\"process\",\"pid\":4194305}]}";
    struct started other = sidecar_run(&agentd, "a-token-of-somebody-else", "{}");
    char path[128];
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", other.run);
    check(&(struct refusal)POST(path, "{}", .status = 403, .code = "forbidden",
                                .says = "another client"));
    check(&(struct refusal)POST("/v1/runs/nobody/end", body, .status = 404, .code = "not_found",
                                .says = "no such run"));
    check(&(struct refusal)POST(START, nothing, .status = 404, .code = "not_found",
                                .says = "no process 4194305"));
    sidecar_end(&agentd, &other, "success");
}

static void an_earlier_life_of_a_run_is_fenced(void **state)
{
    (void)state;
    struct started run = sidecar_run(&agentd, MINE, "{\"run_id\":\"twice\"}");
    json_decref(sidecar_call(&agentd, MINE, 201, "POST", START,
                             "{\"run_id\":\"twice\",\"incarnation\":\"second\",\"epoch\":1,"
                             "\"takeover\":true}"));
    json_t *fenced = sidecar_call(&agentd, run.token, 409, "POST", "/v1/runs/twice/end",
                                  "{\"epoch\":1,\"state\":\"success\"}");
    assert_string_equal(json_word(fenced, "code"), "fenced");
    assert_int_equal(json_integer_value(json_object_get(fenced, "epoch")), 2);
    json_decref(fenced);
}

static void json_of_an_enemy_is_refused(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        POST(START, "{\"agent\":\"a\\u0000b\"}", .status = 400, .code = "invalid"),
        POST(START, "{\"run_id\\u0000x\":\"a\"}", .status = 400, .code = "invalid"),
        POST(START, "{\"agent\":\"\\ud800\"}", .status = 400, .code = "invalid"),
        POST(START, "{\"agent\":\"\xff\"}", .status = 400, .code = "invalid"),
        POST(START, "{\"agent\":\"\xc0\xaf\"}", .status = 400, .code = "invalid"),
        POST(START, "{\"deadline_ms\":9223372036854775808}", .status = 400, .code = "invalid"),
        POST(START, "{\"deadline_ms\":1e400}", .status = 400, .code = "invalid"),
        POST(START, "{\"deadline_ms\":1e3}", INVALID, .says = "deadline_ms"),
        POST(START, "{\"deadline_ms\":NaN}", .status = 400, .code = "invalid"),
        POST(START, "{\"epoch\":4294967296}", INVALID, .says = "epoch"),
        POST(START, "{\"labels\":{\"a\":\"1\",\"a\":\"2\"}}", .status = 400, .code = "invalid"),
        POST(START, "{\"labels\":{\"a\":{\"b\":[]}}}", INVALID, .says = "labels"),
        /* its 60th byte is the middle of a character */
        POST(START,
             "{\"a\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
             "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
             "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
             "\xc3\xa9\":1}",
             INVALID, .says = "unknown member"),
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check(&rows[i]);
}

static void json_of_60_thousand_levels_is_refused(void **state)
{
    (void)state;
    enum { LEVELS = 60000 };
    char *body = malloc(LEVELS + 1);
    assert_non_null(body);
    memset(body, '[', LEVELS);
    body[LEVELS] = '\0';
    check(&(struct refusal)POST(START, body, .status = 400, .code = "invalid"));
    free(body);
}

static void a_path_is_taken_apart_before_it_is_decoded(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        {"GET", "/v1/runs/a%2Fend", .status = 422, .code = "invalid"},
        {"GET", "/v1/runs/mine%00", .status = 422, .code = "invalid"},
        {"GET", "/v1/runs/%ff", .status = 422, .code = "invalid"},
        {"GET", "/v1/runs/%2e%2e", .status = 422, .code = "invalid"},
        {"GET", "/v1/runs/mine%2F..%2F..%2Fmetrics", .status = 422, .code = "invalid"},
        {"GET", "/v1%2Fruns", .status = 404, .code = "not_found"},
        {"GET", "/v1//runs", .status = 404, .code = "not_found"},
        {"GET", "//v1/runs", .status = 404, .code = "not_found"},
        {"GET", "/v1/runs/", .status = 422, .code = "invalid"},
        {"GET", "/V1/runs", .status = 404, .code = "not_found"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check(&rows[i]);
}

static void a_body_has_a_limit(void **state)
{
    (void)state;
    enum { TOO_MUCH = (64 << 10) + 1, FAR_TOO_MUCH = 2 << 20 };
    char *body = malloc(FAR_TOO_MUCH + 1);
    assert_non_null(body);
    memset(body, ' ', FAR_TOO_MUCH);
    body[TOO_MUCH] = '\0';
    check(&(struct refusal)POST(START, body, .status = 413, .code = "too_large"));
    body[TOO_MUCH] = ' ';
    body[FAR_TOO_MUCH] = '\0';
    long status = service_call(&agentd, MINE, "POST", START, body, NULL);
    assert_true(status == 413 || status == 0); /* it may hang up on us while we still write */
    free(body);
    assert_int_equal(service_call(&agentd, NULL, "GET", "/livez", NULL, NULL), 200);
}

/* Bytes that are not HTTP, and then the peer is gone. */
static void noise_does_not_end_it(void **state)
{
    (void)state;
    static const char *const noise[] = {
        "\r\n\r\n\r\n",
        "GET",
        "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{",
        "POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
        "chunked\r\n\r\nffffffffffffffff\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " MINE "\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof noise / sizeof noise[0]; i++) {
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        snprintf(to.sun_path, sizeof to.sun_path, "%s", agentd.where + strlen("unix:"));
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
        assert_true(write(fd, noise[i], strlen(noise[i])) > 0);
        close(fd);
        assert_int_equal(service_call(&agentd, NULL, "GET", "/livez", NULL, NULL), 200);
    }
}

/* ---- somebody else's process --------------------------------------------------------------- */

static int status_for_nobody(const char *body)
{
    struct passwd *nobody = getpwnam("nobody");
    if (nobody == NULL || setgid(nobody->pw_gid) != 0 || setuid(nobody->pw_uid) != 0)
        return 1;
    json_t *json = NULL;
    long status = service_call(&agentd, "the-token-of-nobody-at-all", "POST", START, body, &json);
    return status == 403 && strstr(json_word(json, "detail"), "another user") != NULL ? 0 : 2;
}

static void a_process_of_another_user_is_not_watched(void **state)
{
    (void)state;
    char body[128];
    snprintf(body, sizeof body, "{\"stop\":[{\"kind\":\"process\",\"pid\":%d}]}", (int)getpid());
    if (getuid() != 0)
        skip(); /* only root can be somebody else */
    assert_int_equal(chmod(agentd.folder, 0755), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(status_for_nobody(body));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void without_a_token_a_stranger_is_nobody(void **state)
{
    (void)state;
    if (getuid() != 0)
        skip();
    assert_int_equal(chmod(agentd.folder, 0755), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct passwd *nobody = getpwnam("nobody");
        bool became = nobody != NULL && setgid(nobody->pw_gid) == 0 && setuid(nobody->pw_uid) == 0;
        _exit(became && service_call(&agentd, NULL, "GET", START, NULL, NULL) == 401
                      && service_call(&agentd, NULL, "POST", "/v1/runs/mine/cancel", "{}", NULL)
                             == 401
                  ? 0
                  : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_is_read_to_the_letter),
        cmocka_unit_test(an_ask_about_a_run_is_read_to_the_letter),
        cmocka_unit_test(a_checkpoint_is_measured_in_its_own_bytes),
        cmocka_unit_test(who_is_refused_is_told_why),
        cmocka_unit_test(an_earlier_life_of_a_run_is_fenced),
        cmocka_unit_test(json_of_an_enemy_is_refused),
        cmocka_unit_test(json_of_60_thousand_levels_is_refused),
        cmocka_unit_test(a_path_is_taken_apart_before_it_is_decoded),
        cmocka_unit_test(a_body_has_a_limit),
        cmocka_unit_test(noise_does_not_end_it),
        cmocka_unit_test(a_process_of_another_user_is_not_watched),
        cmocka_unit_test(without_a_token_a_stranger_is_nobody),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
