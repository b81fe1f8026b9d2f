/* Work in other programs: as text, and what their answers mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "remote/answers.h"

/* ---- text ---------------------------------------------------------------------------------- */
static void expect_text(struct remote_work work, const char *wanted)
{
    struct buf text = {0};
    struct remote_work read;
    const char *fault = remote_text_write(&work, &text);
    if (fault != NULL)
        fail_msg("%s: %s", wanted, fault);
    assert_string_equal(text.bytes, wanted);
    assert_true(remote_text_read(work.kind, buf_str(&text), &read));
    assert_true(str_eq(read.body, work.body));
    assert_int_equal(read.version, work.version);
    assert_int_equal(read.binding, work.binding);
    buf_fini(&text);
}

static void each_kind_has_its_form(void **state)
{
    (void)state;
    expect_text((struct remote_work){.kind = LINK_LANGGRAPH,
                                     .url = STR("http://far:2024/api//"),
                                     .thread_id = STR("a/b"),
                                     .run_id = STR("r-1")},
                "http://far:2024/api/threads/a%2Fb/runs/r-1");
    expect_text((struct remote_work){.kind = LINK_A2A,
                                     .url = STR("http://far"),
                                     .task_id = STR("t&1"),
                                     .version = A2A_1_0,
                                     .binding = A2A_REST},
                "http://far#task=t%261&version=1.0&binding=rest");
    expect_text(
        (struct remote_work){.kind = LINK_A2A, .url = STR("http://x/"), .task_id = STR("t")},
        "http://x/#task=t");
    expect_text((struct remote_work){.kind = LINK_HTTP, .url = STR("http://far/stop")},
                "http://far/stop");
    expect_text((struct remote_work){.kind = LINK_HTTP,
                                     .url = STR("http://far/stop?a=1"),
                                     .method = STR("PUT"),
                                     .body = STR("{\n}")},
                "PUT http://far/stop?a=1\n{\n}");
}

static void what_cannot_be_called_is_refused_with_a_reason(void **state)
{
    (void)state;
    char long_id[REMOTE_ID_MAX + 1];
    memset(long_id, 'x', sizeof long_id);
    const struct remote_work works[] = {
        {.kind = LINK_LANGGRAPH, .thread_id = STR("t"), .run_id = STR("r")},
        {.kind = LINK_LANGGRAPH, .url = STR("http://x"), .run_id = STR("r")},
        {.kind = LINK_LANGGRAPH,
         .url = STR("http://x?q"),
         .thread_id = STR("t"),
         .run_id = STR("r")},
        {.kind = LINK_A2A, .url = STR("http://x")},
        {.kind = LINK_A2A, .url = STR("http://x#y"), .task_id = STR("t")},
        {.kind = LINK_A2A, .url = STR("http://x"), .task_id = STR("\"")},
        {.kind = LINK_A2A, .url = STR("http://x"), .task_id = {long_id, sizeof long_id}},
        {.kind = LINK_HTTP, .url = STR("http://x y")},
        {.kind = LINK_HTTP, .url = STR("http://x"), .method = STR("put")},
    };
    for (size_t i = 0; i < sizeof works / sizeof works[0]; i++) {
        struct buf text = {0};
        assert_non_null(remote_text_write(&works[i], &text));
        assert_int_equal(text.len, 0);
        buf_fini(&text);
    }
}

static void a_text_of_nobody_is_not_read(void **state)
{
    (void)state;
    struct remote_work work;
    assert_false(remote_text_read(LINK_LANGGRAPH, STR("http://x/threads/t"), &work));
    assert_false(remote_text_read(LINK_LANGGRAPH, STR("http://x/threads/t/runs/"), &work));
    assert_false(remote_text_read(LINK_LANGGRAPH, STR("http://x/threads/t/runs/r/x"), &work));
    assert_false(remote_text_read(LINK_A2A, STR("http://x"), &work));
    assert_false(remote_text_read(LINK_A2A, STR("#task=t"), &work));
    assert_false(remote_text_read(LINK_HTTP, STR(""), &work));
    assert_false(remote_text_read(LINK_ROOT, STR("r"), &work));
}

static void an_id_is_decoded_when_it_needs_no_escape_in_json(void **state)
{
    (void)state;
    struct buf out = {0};
    assert_int_equal(remote_text_decode(STR("a%2Fb"), &out), ERR_OK);
    assert_string_equal(out.bytes, "a/b");
    assert_int_equal(remote_text_decode(STR("%22"), &out), ERR_MALFORMED);
    assert_int_equal(remote_text_decode(STR("%2"), &out), ERR_MALFORMED);
    assert_int_equal(remote_text_decode(STR("%zz"), &out), ERR_MALFORMED);
    buf_fini(&out);
}

/* ---- A2A ----------------------------------------------------------------------------------- */
static void every_spelling_of_a_state_is_understood(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum a2a_said said;
    } tasks[] = {
        {"{\"result\":{\"kind\":\"task\",\"status\":{\"state\":\"canceled\"}}}", A2A_CANCELED},
        {"{\"result\":{\"status\":{\"state\":\"TASK_STATE_CANCELED\"}}}", A2A_CANCELED},
        {"{\"status\":{\"state\":\"TASK_STATE_CANCELLED\"}}", A2A_CANCELED},
        {"{\"task\":{\"status\":{\"state\":\"cancelled\"}}}", A2A_CANCELED},
        {"{\"result\":{\"status\":{\"state\":\"completed\"}}}", A2A_COMPLETED},
        {"{\"status\":{\"state\":\"TASK_STATE_FAILED\"}}", A2A_FAILED},
        {"{\"status\":{\"state\":\"rejected\"}}", A2A_FAILED},
        {"{\"status\":{\"state\":\"input-required\"}}", A2A_ACTIVE},
        {"{\"status\":{\"state\":\"TASK_STATE_WORKING\"}}", A2A_ACTIVE},
        {"{\"status\":{}}", A2A_ERROR},
        {"{\"result\":null}", A2A_ERROR},
        {"[]", A2A_ERROR},
        {"<html>", A2A_ERROR},
        {"", A2A_ERROR},
    };
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++) {
        assert_int_equal(a2a_read_answer(200, str_of(tasks[i].body)), tasks[i].said);
        if (tasks[i].said != A2A_ERROR)
            assert_int_equal(a2a_read_answer(202, str_of(tasks[i].body)), tasks[i].said);
    }
}

static void every_shape_of_an_error_is_understood(void **state)
{
    (void)state;
    static const struct {
        long status;
        const char *body;
        enum a2a_said said;
    } errors[] = {
        {200, "{\"error\":{\"code\":-32001,\"message\":\"Task not found\"}}", A2A_NO_SUCH_TASK},
        {200, "{\"error\":{\"code\":-32002,\"message\":\"no\"}}", A2A_NOT_CANCELABLE},
        {200, "{\"error\":{\"code\":-32004,\"message\":\"no\"}}", A2A_ERROR},
        {200, "{\"error\":{\"code\":-32601,\"message\":\"no\"}}", A2A_ERROR},
        {200, "{\"error\":{\"code\":-32603,\"message\":\"no\"}}", A2A_ERROR},
        {404,
         "{\"error\":{\"code\":404,\"status\":\"NOT_FOUND\",\"message\":\"x\",\"details\":"
         "[{\"reason\":\"TASK_NOT_FOUND\"}]}}",
         A2A_NO_SUCH_TASK},
        {400,
         "{\"error\":{\"code\":400,\"status\":\"FAILED_PRECONDITION\",\"details\":"
         "[{\"@type\":\"x\"},{\"reason\":\"TASK_NOT_CANCELABLE\"}]}}",
         A2A_NOT_CANCELABLE},
        {400, "{\"code\":-32002,\"message\":\"no\"}", A2A_NOT_CANCELABLE},
        {404, "{\"code\":-32001,\"message\":\"no\"}", A2A_NO_SUCH_TASK},
        {409, "{\"message\":\"no\"}", A2A_NOT_CANCELABLE},
        {404, "{\"message\":\"no\"}", A2A_NO_SUCH_TASK},
        {404, "{\"code\":-32601,\"message\":\"no such method\"}", A2A_ERROR},
        {404, "<html>", A2A_ERROR},
        {404, "{}", A2A_ERROR},
        {503, "", A2A_BUSY},
        {500, "{}", A2A_ERROR},
    };
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (a2a_read_answer(errors[i].status, str_of(errors[i].body)) != errors[i].said)
            fail_msg("%ld %s", errors[i].status, errors[i].body);
}

static void expect_interface(const char *card, enum a2a_version version, enum a2a_binding binding,
                             enum a2a_version wanted_version, enum a2a_binding wanted_binding,
                             const char *path)
{
    struct a2a_interface found;
    assert_true(a2a_read_card(str_of(card), version, binding, &found));
    assert_int_equal(found.version, wanted_version);
    assert_int_equal(found.binding, wanted_binding);
    assert_string_equal(found.path.bytes, path);
    buf_fini(&found.path);
}

static void a_card_says_where_and_in_which_version(void **state)
{
    (void)state;
    static const char old[] =
        "{\"url\":\"http://public/a2a\",\"protocolVersion\":\"0.3.0\",\"preferredTransport\":"
        "\"JSONRPC\",\"additionalInterfaces\":[{\"url\":\"http://public/rest\",\"transport\":"
        "\"HTTP+JSON\"},{\"url\":\"http://public/g\",\"transport\":\"GRPC\"}]}";
    static const char both[] =
        "{\"url\":\"http://public/old\",\"protocolVersion\":\"0.3.0\",\"supportedInterfaces\":["
        "{\"url\":\"http://public/v1/rest\",\"protocolBinding\":\"HTTP+JSON\",\"protocolVersion\":"
        "\"1.0\"},{\"url\":\"https://public:1/v1/rpc?x\",\"protocolBinding\":\"JSONRPC\","
        "\"protocolVersion\":\"1.0\"}]}";
    expect_interface(old, A2A_ANY_VERSION, A2A_ANY_BINDING, A2A_0_3, A2A_JSONRPC, "/a2a");
    expect_interface(old, A2A_ANY_VERSION, A2A_REST, A2A_0_3, A2A_REST, "/rest");
    expect_interface(both, A2A_ANY_VERSION, A2A_ANY_BINDING, A2A_1_0, A2A_JSONRPC, "/v1/rpc");
    expect_interface(both, A2A_ANY_VERSION, A2A_REST, A2A_1_0, A2A_REST, "/v1/rest");
    expect_interface(both, A2A_0_3, A2A_ANY_BINDING, A2A_0_3, A2A_JSONRPC, "/old");
    expect_interface("{\"url\":\"http://public\",\"protocolVersion\":\"0.3.0\"}", A2A_ANY_VERSION,
                     A2A_ANY_BINDING, A2A_0_3, A2A_JSONRPC, "/");
}

static void a_card_without_what_we_speak_is_none(void **state)
{
    (void)state;
    static const char *const cards[] = {
        "",
        "{}",
        "[1]",
        "{\"url\":1}",
        "{\"url\":\"http://x\",\"protocolVersion\":\"0.2.6\"}",
        "{\"url\":\"http://x\",\"protocolVersion\":\"0.3.0\",\"preferredTransport\":\"GRPC\"}",
        "{\"url\":\"http://x/a b\",\"protocolVersion\":\"0.3.0\"}",
    };
    struct a2a_interface found;
    for (size_t i = 0; i < sizeof cards / sizeof cards[0]; i++)
        assert_false(a2a_read_card(str_of(cards[i]), A2A_ANY_VERSION, A2A_ANY_BINDING, &found));
}

/* ---- LangGraph ----------------------------------------------------------------------------- */
static void the_status_of_a_langgraph_run_is_read(void **state)
{
    (void)state;
    assert_int_equal(langgraph_read_run(STR("{\"status\":\"interrupted\"}")),
                     LANGGRAPH_INTERRUPTED);
    assert_int_equal(langgraph_read_run(STR("{\"status\":\"success\"}")), LANGGRAPH_SUCCESS);
    assert_int_equal(langgraph_read_run(STR("{\"status\":\"timeout\"}")), LANGGRAPH_FAILED);
    assert_int_equal(langgraph_read_run(STR("{\"status\":\"running\"}")), LANGGRAPH_ACTIVE);
    assert_int_equal(langgraph_read_run(STR("{\"status\":5}")), LANGGRAPH_UNCLEAR);
    assert_int_equal(langgraph_read_run(STR("no")), LANGGRAPH_UNCLEAR);
    assert_true(langgraph_has_no_such_run(STR("Run not found")));
    assert_true(langgraph_has_no_such_run(STR("{\"detail\":\"Thread with ID x not found\"}")));
    assert_false(langgraph_has_no_such_run(STR("404 Not Found")));
}

static void a_path_that_is_not_served_is_no_work_that_is_not_there(void **state)
{
    (void)state;
    assert_false(langgraph_has_no_such_run(STR("<pre>Cannot GET /threads/t1/runs/r1</pre>")));
    assert_false(
        langgraph_has_no_such_run(STR("{\"status\":404,\"path\":\"/threads/t1/runs/r1\"}")));
    assert_int_equal(a2a_read_answer(404, STR("{\"message\":\"Cannot POST /tasks/t1:cancel\","
                                              "\"error\":\"Not Found\",\"statusCode\":404}")),
                     A2A_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_has_its_form),
        cmocka_unit_test(what_cannot_be_called_is_refused_with_a_reason),
        cmocka_unit_test(a_text_of_nobody_is_not_read),
        cmocka_unit_test(an_id_is_decoded_when_it_needs_no_escape_in_json),
        cmocka_unit_test(every_spelling_of_a_state_is_understood),
        cmocka_unit_test(every_shape_of_an_error_is_understood),
        cmocka_unit_test(a_path_that_is_not_served_is_no_work_that_is_not_there),
        cmocka_unit_test(a_card_says_where_and_in_which_version),
        cmocka_unit_test(a_card_without_what_we_speak_is_none),
        cmocka_unit_test(the_status_of_a_langgraph_run_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
