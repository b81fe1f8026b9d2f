/* What a line of the log looks like to a person and to a machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/log.h"

/* stderr goes into a pipe: a log line is written in one piece and fits into it. */
static int real_stderr, pipe_end[2];

static int catch_stderr(void **state)
{
    (void)state;
    if (pipe(pipe_end) != 0)
        return -1;
    real_stderr = dup(STDERR_FILENO);
    return dup2(pipe_end[1], STDERR_FILENO) < 0 ? -1 : 0;
}

static int release_stderr(void **state)
{
    (void)state;
    (void)dup2(real_stderr, STDERR_FILENO);
    (void)close(real_stderr);
    (void)close(pipe_end[0]);
    (void)close(pipe_end[1]);
    return 0;
}

/* All that was written since; a mark behind it, so that nothing written is nothing to wait for. */
static const char *written(void)
{
    static char text[65536];
    assert_int_equal(write(pipe_end[1], "!", 1), 1);
    ssize_t len = read(pipe_end[0], text, sizeof text - 1);
    assert_true(len > 0 && text[len - 1] == '!');
    text[len - 1] = '\0';
    return text;
}

static json_t *written_as_json(void)
{
    const char *line = written();
    assert_int_equal(line[strlen(line) - 1], '\n');
    json_t *json = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    if (json == NULL)
        fail_msg("not JSON: %s", line);
    return json;
}

static const char *member(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));
    return text != NULL ? text : "(missing)";
}

static void a_line_is_logfmt(void **state)
{
    (void)state;
    log_setup(LOG_INFO, false, "tester");
    log_info("run moved", "run=%s from=%s", "7f3a", "running");
    const char *line = written();
    assert_int_equal(strncmp(line, "ts=20", 5), 0);
    const char *behind_time = strchr(line, ' ');
    assert_non_null(behind_time);
    assert_string_equal(behind_time,
                        " level=info program=tester msg=\"run moved\" run=7f3a from=running\n");
    assert_int_equal(behind_time[-1], 'Z');
}

static void a_line_without_fields_ends_behind_its_fact(void **state)
{
    (void)state;
    log_setup(LOG_INFO, false, "tester");
    log_warn("said \"no\"", "%s", "");
    assert_non_null(strstr(written(), "level=warn program=tester msg=\"said \\\"no\\\"\"\n"));
}

static void what_is_below_the_level_is_not_written(void **state)
{
    (void)state;
    log_setup(LOG_WARN, false, "tester");
    log_info("quiet", "%s", "");
    log_debug("quieter", "%s", "");
    assert_string_equal(written(), "");
    log_error("loud", "%s", "");
    assert_non_null(strstr(written(), "level=error"));
}

static void machines_get_json(void **state)
{
    (void)state;
    char quoted[64];
    log_setup(LOG_DEBUG, true, "tester");
    log_debug("it \"happened\"", "run=%s why=%s empty= last=%d", "r1",
              log_quoted("a \"b\"\n\x01", quoted, sizeof quoted), 7);
    json_t *json = written_as_json();
    assert_string_equal(member(json, "level"), "debug");
    assert_string_equal(member(json, "program"), "tester");
    assert_string_equal(member(json, "msg"), "it \"happened\"");
    assert_string_equal(member(json, "run"), "r1");
    assert_string_equal(member(json, "why"), "a \"b\"\n\x01");
    assert_string_equal(member(json, "empty"), "");
    assert_string_equal(member(json, "last"), "7");
    assert_int_equal(strlen(member(json, "ts")), 24);
    json_decref(json);
}

static void a_careless_caller_still_gets_json(void **state)
{
    (void)state;
    static const char *const fields[] = {"key",
                                         "=",
                                         "a=\"open",
                                         "a=b\"c\"",
                                         "a=\x01\xff",
                                         "a=\\",
                                         "  a=1   b=2  ",
                                         "a=\"x\\",
                                         "a=\"tab\there\"",
                                         "a=\"bad \\q escape\"",
                                         "a=\"\xff\"",
                                         "a=\"\\u12\"",
                                         "a=\"\\u123\\\""};
    log_setup(LOG_INFO, true, "tester");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        log_info("careless", "%s", fields[i]);
        json_decref(written_as_json());
    }
}

static void a_line_end_in_a_field_begins_no_line(void **state)
{
    (void)state;
    log_setup(LOG_INFO, false, "tester");
    log_info("moved", "run=%s", "x\nts=2026 level=error msg=\"forged\"");
    const char *line = written();
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void a_line_too_long_is_cut_between_fields(void **state)
{
    (void)state;
    static char text[6000];
    memset(text, '"', sizeof text - 1);
    log_setup(LOG_INFO, true, "tester");
    log_info("long", "small=1 large=%s", text);
    json_t *json = written_as_json();
    assert_string_equal(member(json, "small"), "1");
    json_decref(json);
    log_setup(LOG_INFO, false, "tester");
    log_info("long", "large=%s", text);
    const char *line = written();
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void a_quoted_text_is_cut_between_characters(void **state)
{
    (void)state;
    char out[8];
    assert_string_equal(log_quoted("plain", out, sizeof out), "\"plain\"");
    assert_string_equal(log_quoted("plainly", out, sizeof out), "\"plain\"");
    assert_string_equal(log_quoted("1234\n", out, sizeof out), "\"1234\"");
    assert_string_equal(log_quoted("1234\xc3\xb6", out, sizeof out), "\"1234\"");
    assert_string_equal(log_quoted("", out, 3), "\"\"");
    assert_string_equal(log_quoted("x", out, 2), "");
}

static void levels_have_names(void **state)
{
    (void)state;
    enum log_level level = LOG_INFO;
    assert_true(log_level_parse("debug", &level));
    assert_int_equal(level, LOG_DEBUG);
    assert_false(log_level_parse("loud", &level));
    assert_int_equal(level, LOG_DEBUG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CAUGHT(name) cmocka_unit_test_setup_teardown(name, catch_stderr, release_stderr)
        CAUGHT(a_line_is_logfmt),
        CAUGHT(a_line_without_fields_ends_behind_its_fact),
        CAUGHT(what_is_below_the_level_is_not_written),
        CAUGHT(machines_get_json),
        CAUGHT(a_careless_caller_still_gets_json),
        CAUGHT(a_line_end_in_a_field_begins_no_line),
        CAUGHT(a_line_too_long_is_cut_between_fields),
        CAUGHT(a_quoted_text_is_cut_between_characters),
        CAUGHT(levels_have_names),
#undef CAUGHT
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
