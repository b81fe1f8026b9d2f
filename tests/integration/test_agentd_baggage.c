/* The context between agents at the door of an agentd: which one is believed, and what goes on to
 * the children. Three agentds on one Redis, as in a mesh whose keys are being exchanged: `front`
 * signs with k1, `next` signs with k2 and knows k1, `loose` trusts everybody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "io/http_client.h"
#include "support/sidecar.h"

static struct redis_process redis;
static struct service front, next, loose;
static char folder[] = "/tmp/bw-keys-XXXXXX";
static char key_file[3][64];

static void write_file(char path[64], const char *name, const char *text)
{
    snprintf(path, 64, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_true(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void start_with(struct service *agentd, const char *mode, const char *keys)
{
    char use[32], file[96];
    snprintf(use, sizeof use, "--baggage=%s", mode);
    snprintf(file, sizeof file, "--baggage-key-file=%s", keys != NULL ? keys : "");
    const char *const flags[] = {use, keys != NULL ? file : NULL, NULL};
    sidecar_start(agentd, &redis, flags);
}

static int begin(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    write_file(key_file[0], "first", "k1 0123456789abcdef-one\n");
    write_file(key_file[1], "both", "k2 0123456789abcdef-two\nk1 0123456789abcdef-one\n");
    write_file(key_file[2], "short", "k1 too-short\n");
    redis_process_start(&redis, KIND_REDIS, NULL);
    start_with(&front, "signed", key_file[0]);
    start_with(&next, "signed", key_file[1]);
    start_with(&loose, "trust", NULL);
    return 0;
}

static int end(void **state)
{
    (void)state;
    service_stop(&front);
    service_stop(&next);
    service_stop(&loose);
    redis_process_end(&redis);
    for (int i = 0; i < 3; i++)
        remove(key_file[i]);
    remove(folder);
    return 0;
}

/* POST /v1/runs with these headers; 201, and the answer is the caller's. */
static json_t *start(const struct service *agentd, const char *body, const char *const headers[])
{
    json_t *answer;
    struct service_request request = {.method = "POST",
                                      .path = "/v1/runs",
                                      .token = "a-token-of-my-own-making",
                                      .body = body,
                                      .headers = headers};
    assert_int_equal(service_ask(agentd, &request, &answer), 201);
    return answer;
}

static json_t *start_below(const struct service *agentd, const char *baggage)
{
    char header[BAGGAGE_TEXT_MAX + 16];
    snprintf(header, sizeof header, "baggage: %s", baggage);
    return start(agentd, "{}", (const char *const[]){header, NULL});
}

static bool has_text(const json_t *answer, const char *member, const char *text)
{
    return strstr(json_word(answer, member), text) != NULL;
}

/* Of brakewire_malformed_total{source="baggage"}. */
static int disbelieved(const struct service *agentd)
{
    static const char name[] = "brakewire_malformed_total{source=\"baggage\"} ";
    struct http_client *client;
    struct buf body = {0};
    long status;
    const char *why;
    assert_int_equal(http_client_new(agentd->where, NULL, &client), ERR_OK);
    struct http_call call = {.method = "GET", .path = "/metrics"};
    assert_int_equal(http_client_call(client, &call, &status, &body, &why), ERR_OK);
    const char *found = strstr(body.bytes, name);
    int count = -1;
    assert_non_null(found);
    assert_int_equal(sscanf(found + strlen(name), "%d", &count), 1);
    buf_fini(&body);
    http_client_free(client);
    return count;
}

static void a_signed_context_leads_through_the_mesh(void **state)
{
    (void)state;
    json_t *top = start(&front, "{}", NULL);
    assert_true(has_text(top, "baggage", "~k1~"));
    json_t *middle = start_below(&next, json_word(top, "baggage"));
    assert_string_equal(json_word(middle, "path.0"), json_word(top, "run_id"));
    assert_true(has_text(middle, "baggage", "~k2~") && !has_text(middle, "baggage", "~k1~"));
    json_t *low = start_below(&loose, json_word(middle, "baggage"));
    assert_string_equal(json_word(low, "path.1"), json_word(middle, "run_id"));
    assert_false(has_text(low, "baggage", "~"));
    json_decref(top);
    json_decref(middle);
    json_decref(low);
}

/* Whoever is outside can neither join a tree nor keep its own request from being served. */
static void what_nobody_signed_begins_a_tree_of_its_own(void **state)
{
    (void)state;
    json_t *top = start(&next, "{}", NULL); /* k2, which `front` does not know */
    char forged[BAGGAGE_TEXT_MAX];
    snprintf(forged, sizeof forged, "brakewire=1.%s.x~k1~AAAAAAAAAAAAAAAAAAAAAA,userId=alice",
             json_word(top, "run_id"));
    const char *const bad[] = {json_word(top, "baggage"), "brakewire=1.made-up,brakewire-ttl=1",
                               forged, "brakewire=%%%,userId=alice"};
    static const char *const because[] = {"unknown key", "unsigned", "wrong signature",
                                          "malformed"};
    for (int i = 0; i < 4; i++) {
        char line[64];
        int before = disbelieved(&front);
        json_t *run = start_below(&front, bad[i]);
        assert_string_equal(json_word(run, "root"), json_word(run, "run_id"));
        assert_null(json_member(run, "deadline_ms"));
        assert_true(has_text(run, "baggage", "~k1~"));
        assert_int_equal(has_text(run, "baggage", "userId=alice"), i >= 2);
        assert_int_equal(disbelieved(&front), before + 1);
        snprintf(line, sizeof line, "because=\"%s\"", because[i]);
        assert_true(service_logged(&front, line));
        json_decref(run);
    }
    json_decref(top);
}

static void baggage_of_others_alone_is_nothing_to_disbelieve(void **state)
{
    (void)state;
    int before = disbelieved(&front);
    json_t *run = start_below(&front, "userId=alice,serverNode=DF%2028;x=1");
    assert_true(has_text(run, "baggage", ",userId=alice,serverNode=DF%2028;x=1"));
    assert_int_equal(disbelieved(&front), before);
    json_decref(run);
}

static void two_headers_are_one(void **state)
{
    (void)state;
    json_t *top = start(&front, "{}", NULL);
    char ours[BAGGAGE_TEXT_MAX + 16];
    snprintf(ours, sizeof ours, "baggage: %s", json_word(top, "baggage"));
    json_t *child = start(&front, "{}", (const char *const[]){"baggage: a=1", ours, NULL});
    assert_string_equal(json_word(child, "root"), json_word(top, "run_id"));
    assert_true(has_text(child, "baggage", ",a=1"));
    json_decref(top);
    json_decref(child);
}

/* {deadline_ms asked for, brakewire-ttl, upper bound of the answer's}; -1: not given */
static void a_context_only_shortens_a_deadline(void **state)
{
    (void)state;
    static const int ms[][3] = {
        {60000, 30000, 30000}, {30000, 60000, 30000}, {-1, 40000, 40000}, {50000, -1, 50000}};
    for (int i = 0; i < 4; i++) {
        char body[64] = "{}", baggage[64] = "a=1";
        if (ms[i][0] >= 0)
            snprintf(body, sizeof body, "{\"deadline_ms\":%d}", ms[i][0]);
        if (ms[i][1] >= 0)
            snprintf(baggage, sizeof baggage, "baggage: a=1,brakewire-ttl=%d", ms[i][1]);
        json_t *run = start(&loose, body, (const char *const[]){baggage, NULL});
        json_int_t left = json_integer_value(json_member(run, "deadline_ms"));
        assert_in_range(left, ms[i][2] - 10000, ms[i][2]);
        assert_true(has_text(run, "baggage", ",brakewire-ttl="));
        json_decref(run);
    }
}

static void keys_that_cannot_be_used_stop_the_start(void **state)
{
    (void)state;
    char file[96];
    assert_int_equal(
        service_run("brakewire-agentd", (const char *const[]){"--baggage=signed", NULL}), 2);
    snprintf(file, sizeof file, "--baggage-key-file=%s", key_file[2]);
    assert_int_equal(service_run("brakewire-agentd", (const char *const[]){file, NULL}), 2);
    assert_int_equal(chmod(key_file[0], 0644), 0);
    snprintf(file, sizeof file, "--baggage-key-file=%s", key_file[0]);
    assert_int_equal(service_run("brakewire-agentd", (const char *const[]){file, NULL}), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signed_context_leads_through_the_mesh),
        cmocka_unit_test(what_nobody_signed_begins_a_tree_of_its_own),
        cmocka_unit_test(baggage_of_others_alone_is_nothing_to_disbelieve),
        cmocka_unit_test(two_headers_are_one),
        cmocka_unit_test(a_context_only_shortens_a_deadline),
        cmocka_unit_test(keys_that_cannot_be_used_stop_the_start),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
