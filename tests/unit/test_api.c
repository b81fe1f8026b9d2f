/* The JSON that agentd and broker share: members read by a table, and the shapes of answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "api/api.h"

struct fields {
    struct str text, id;
    int64_t number;
    bool flag;
    int choice;
    struct span span;
    const json_t *list, *object;
};
#define FIELD(name) API_FIELD(struct fields, name)
static const struct api_member table[] = {
    {FIELD(text), .type = API_TEXT, .min = 2, .max = 5},
    {FIELD(id), .type = API_ID},
    {FIELD(number), .type = API_INT, .min = -3, .max = 10, .required = true},
    {FIELD(flag), .type = API_BOOL},
    {FIELD(choice), .type = API_CHOICE, .choices = "refuse|allow"},
    {FIELD(span), .type = API_SPAN_MS, .min = 0, .max = 1000},
    {FIELD(list), .type = API_ARRAY, .max = 2},
    {FIELD(object), .type = API_OBJECT, .max = 1},
};

static bool take(const char *text, struct fields *out, struct api_fault *fault)
{
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    bool taken = api_take_members(json, table, sizeof table / sizeof table[0], out, fault);
    json_decref(json);
    return taken;
}

static void what_is_given_is_taken_and_the_rest_is_left(void **state)
{
    (void)state;
    struct api_fault fault;
    struct fields out = {.choice = 7, .span = {-1}};
    assert_true(take("{\"number\": -3, \"flag\": true}", &out, &fault));
    assert_int_equal(out.number, -3);
    assert_true(out.flag);
    assert_int_equal(out.choice, 7);
    assert_int_equal(out.span.ms, -1);
    assert_true(take("{\"number\": 10, \"choice\": \"allow\", \"span\": 1000}", &out, &fault));
    assert_int_equal(out.choice, 1);
    assert_int_equal(out.span.ms, 1000);
}

static void null_is_as_good_as_absent(void **state)
{
    (void)state;
    struct api_fault fault;
    struct fields out = {.choice = 7};
    assert_true(take("{\"number\": 1, \"choice\": null, \"text\": null}", &out, &fault));
    assert_int_equal(out.choice, 7);
    assert_false(take("{\"number\": null}", &out, &fault));
}

static void what_is_wrong_is_said_in_words(void **state)
{
    (void)state;
    static const struct {
        const char *json, *member, *says;
    } cases[] = {
        {"{}", "number", "number is missing"},
        {"{\"number\": 1, \"nubmer\": 2}", "nubmer",
         "unknown member 'nubmer'; allowed: text id number flag choice span list object"},
        {"{\"number\": 11}", "number", "number must be from -3 to 10"},
        {"{\"number\": -4}", "number", "number must be from -3 to 10"},
        {"{\"number\": 1.5}", "number", "number must be a whole number"},
        {"{\"number\": \"1\"}", "number", "number must be a whole number"},
        {"{\"number\": 1, \"text\": 5}", "text", "text must be a string"},
        {"{\"number\": 1, \"text\": \"a\"}", "text", "text needs at least 2 bytes"},
        {"{\"number\": 1, \"text\": \"abcdef\"}", "text", "text may have at most 5 bytes"},
        {"{\"number\": 1, \"id\": \"a.b\"}", "id", "id must be an id: 1 to 64 of A-Z a-z 0-9 _ -"},
        {"{\"number\": 1, \"id\": \"\"}", "id", "id must be an id: 1 to 64 of A-Z a-z 0-9 _ -"},
        {"{\"number\": 1, \"flag\": 1}", "flag", "flag must be true or false"},
        {"{\"number\": 1, \"choice\": \"maybe\"}", "choice", "choice must be one of refuse|allow"},
        {"{\"number\": 1, \"choice\": 1}", "choice", "choice must be one of refuse|allow"},
        {"{\"number\": 1, \"span\": 1001}", "span", "span must be from 0 to 1000"},
        {"{\"number\": 1, \"span\": \"1s\"}", "span",
         "span must be a whole number of milliseconds"},
        {"{\"number\": 1, \"list\": {}}", "list", "list must be an array"},
        {"{\"number\": 1, \"list\": [1,2,3]}", "list", "list may have at most 2 elements"},
        {"{\"number\": 1, \"object\": []}", "object", "object must be an object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct api_fault fault;
        struct fields out = {.choice = 0};
        assert_false(take(cases[i].json, &out, &fault));
        assert_int_equal(fault.problem, PROBLEM_INVALID);
        assert_string_equal(fault.member, cases[i].member);
        assert_string_equal(fault.detail, cases[i].says);
    }
}

static void a_very_long_member_name_is_cut_not_copied(void **state)
{
    (void)state;
    char json[700] = "{\"number\": 1, \"";
    memset(json + strlen(json), 'x', 600);
    strcat(json, "\": 2}");
    struct api_fault fault;
    struct fields out = {.choice = 0};
    assert_false(take(json, &out, &fault));
    assert_int_equal(strlen(fault.member), sizeof fault.member - 1);
}

static void bytes_that_are_no_text_are_shown_as_such(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *shown;
    } cases[] = {
        {"plain", "plain"},
        {"caf\xc3\xa9", "caf\xc3\xa9"},
        {"bad\xff!", "bad\xef\xbf\xbd!"},
        {"cut\xe2\x82", "cut\xef\xbf\xbd\xef\xbf\xbd"},
        {"over\xc0\xaf", "over\xef\xbf\xbd\xef\xbf\xbd"},
        {"surrogate\xed\xa0\x80", "surrogate\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *json = api_text(str_of(cases[i].bytes));
        assert_string_equal(json_string_value(json), cases[i].shown);
        json_decref(json);
    }
}

static void expect_json(json_t *json, const char *expected)
{
    char *text = json_dumps(json, JSON_COMPACT);
    assert_string_equal(text, expected);
    free(text);
    json_decref(json);
}

static void a_cancel_says_who_when_and_why(void **state)
{
    (void)state;
    struct cancel_record record = {.root = STR("r"),
                                   .target = STR("t"),
                                   .action = ACTION_ROLLBACK,
                                   .reason = STR("enough"),
                                   .by = STR("user:ann"),
                                   .at = {1769860800123},
                                   .grace = SPAN_NONE,
                                   .cause = STR("r.t")};
    expect_json(api_cancel_object(&record),
                "{\"cancel_id\":\"r.t\",\"root\":\"r\",\"run_id\":\"t\",\"action\":\"rollback\","
                "\"reason\":\"enough\",\"by\":\"user:ann\","
                "\"requested_at\":\"2026-01-31T12:00:00.123Z\"}");
    record.grace = MILLIS(0);
    record.hops = 1;
    record.cause = STR("q.u");
    record.trace_id = STR("4bf92f3577b34da6a3ce929d0e0e4736");
    expect_json(api_cancel_object(&record),
                "{\"cancel_id\":\"r.t\",\"root\":\"r\",\"run_id\":\"t\",\"action\":\"rollback\","
                "\"reason\":\"enough\",\"by\":\"user:ann\","
                "\"requested_at\":\"2026-01-31T12:00:00.123Z\",\"grace_ms\":0,"
                "\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"cause\":\"q.u\"}");
}

static void flags_paths_and_stories_are_words(void **state)
{
    (void)state;
    expect_json(api_flags(RUN_FLAG_BANNED | RUN_FLAG_KILLING | RUN_FLAG_END_LEAVES),
                "[\"banned\",\"killing\"]");
    expect_json(api_path(STR("a.b.c")), "[\"a\",\"b\",\"c\"]");
    expect_json(api_path(STR("")), "[]");
    struct stop_story story = {
        .killed = {1769860800000}, .by = STOPPED_BY_KILL, .found = FOUND_BY_PID | FOUND_BY_TOKEN};
    expect_json(api_story(&story), "{\"killed_at\":\"2026-01-31T12:00:00.000Z\",\"by\":\"KILL\","
                                   "\"found_by\":[\"pid\",\"token\"]}");
}

static void an_answer_never_calls_what_is_not_stopped_complete(void **state)
{
    (void)state;
    struct api_cancel_about about = {.at_agentd = true, .told_here = 2};
    struct cancel_result result = {.known = true, .counted = true, .tally = {.complete = true}};
    static const struct str replica = {"a1", 2};
    json_t *json = api_cancel_answer(&result, &about);
    assert_true(json_is_true(json_object_get(json, "complete")));
    assert_int_equal(json_integer_value(json_object_get(json, "told_here")), 2);
    json_decref(json);
    for (int doubt = 0; doubt < 3; doubt++) {
        struct cancel_result doubtful = result;
        about.pending = doubt == 0;
        doubtful.counted = doubt != 1;
        doubtful.unconfirmed_count = doubt == 2 ? 1 : 0;
        doubtful.unconfirmed = &replica;
        json = api_cancel_answer(&doubtful, &about);
        assert_true(json_is_false(json_object_get(json, "complete")));
        json_decref(json);
    }
}

static void an_answer_names_the_durability_that_was_reached(void **state)
{
    (void)state;
    struct api_cancel_about about = {.pending = false};
    struct cancel_result result = {.durability = DURABLE_MEMORY,
                                   .durability_asked = DURABLE_FSYNCED,
                                   .not_durable = "no disk"};
    json_t *json = api_cancel_answer(&result, &about);
    assert_string_equal(json_string_value(json_object_get(json, "durability")), "memory");
    assert_string_equal(json_string_value(json_object_get(json, "durability_asked")), "fsynced");
    assert_string_equal(json_string_value(json_object_get(json, "not_durable_because")), "no disk");
    json_decref(json);
    about.pending = true;
    json = api_cancel_answer(&result, &about);
    assert_string_equal(json_string_value(json_object_get(json, "durability")), "local");
    json_decref(json);
}

static void a_token_is_known_by_the_hash_alone(void **state)
{
    (void)state;
    char hash[API_TOKEN_HASH_LEN + 1];
    api_token_hash(STR("abc"), hash);
    assert_string_equal(hash, "ba7816bf8f01cfea414140de5dae2223");
}

static void an_audit_entry_tells_a_refusal_from_an_acceptance(void **state)
{
    (void)state;
    struct cancel_ask asked = {.run = STR("t"), .reason = STR("why"), .by = STR("user:ann")};
    struct cancel_result result = {.problem = PROBLEM_NOT_FOUND, .run = STR("t")};
    expect_json(api_audit_entry((struct wall){1769860800000}, &result, &asked, "agentd", STR("a1")),
                "{\"at\":\"2026-01-31T12:00:00.000Z\",\"what\":\"cancel\",\"outcome\":\"refused\","
                "\"code\":\"not_found\",\"run_id\":\"t\",\"action\":\"interrupt\","
                "\"reason\":\"why\",\"by\":\"user:ann\",\"via\":\"agentd\",\"from\":\"a1\"}");
    result = (struct cancel_result){.root = STR("r"),
                                    .run = STR("t"),
                                    .already = true,
                                    .record = {.root = STR("r"), .target = STR("t")}};
    expect_json(api_audit_entry((struct wall){1769860800000}, &result, &asked, "agentd", STR("a1")),
                "{\"at\":\"2026-01-31T12:00:00.000Z\",\"what\":\"cancel\",\"outcome\":\"already\","
                "\"run_id\":\"t\",\"root\":\"r\",\"action\":\"interrupt\",\"reason\":\"why\","
                "\"by\":\"user:ann\",\"via\":\"agentd\",\"cancel_id\":\"r.t\",\"from\":\"a1\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_given_is_taken_and_the_rest_is_left),
        cmocka_unit_test(null_is_as_good_as_absent),
        cmocka_unit_test(what_is_wrong_is_said_in_words),
        cmocka_unit_test(a_very_long_member_name_is_cut_not_copied),
        cmocka_unit_test(bytes_that_are_no_text_are_shown_as_such),
        cmocka_unit_test(a_cancel_says_who_when_and_why),
        cmocka_unit_test(flags_paths_and_stories_are_words),
        cmocka_unit_test(an_answer_never_calls_what_is_not_stopped_complete),
        cmocka_unit_test(an_answer_names_the_durability_that_was_reached),
        cmocka_unit_test(a_token_is_known_by_the_hash_alone),
        cmocka_unit_test(an_audit_entry_tells_a_refusal_from_an_acceptance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
