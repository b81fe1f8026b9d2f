/* The context between agents, against tests/vectors/baggage.json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "core/id.h"
#include "support/vectors.h"
#include "wire/baggage.h"

static struct span ttl_of(const json_t *vector)
{
    const json_t *ttl = json_object_get(vector, "ttl_ms");
    return json_is_integer(ttl) ? MILLIS(json_integer_value(ttl)) : SPAN_NONE;
}

static void expect_parsed(const json_t *vector, struct str header)
{
    struct str path = STR("before");
    struct span ttl = MILLIS(-7);
    enum err err = baggage_parse(header, &path, &ttl);
    if (json_object_get(vector, "error") != NULL) {
        bool too_large = str_is(vector_text(vector, "error"), "too_large");
        assert_int_equal(err, too_large ? ERR_TOO_LARGE : ERR_MALFORMED);
        assert_true(str_is(path, "before") && ttl.ms == -7);
        return;
    }
    assert_int_equal(err, ERR_OK);
    assert_int_equal(ttl.ms, ttl_of(vector).ms);
    if (json_is_null(json_object_get(vector, "path")))
        assert_null(path.at);
    else
        assert_true(str_eq(path, vector_text(vector, "path")));
}

static void headers_are_read_as_the_vectors_say(void **state)
{
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(*state, "parse"), i, vector)
    {
        print_message("  %s\n", vector_text(vector, "name").at);
        struct str header = vector_text(vector, "header");
        char *exact =
            mem_new(header.len); /* no NUL behind it: a sanitizer sees one read too many */
        memcpy(exact, header.at, header.len);
        expect_parsed(vector, (struct str){exact, header.len});
        mem_free(exact);
    }
}

static void headers_are_written_as_the_vectors_say(void **state)
{
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(*state, "format"), i, vector)
    {
        print_message("  %s\n", vector_text(vector, "name").at);
        struct buf out = {0};
        assert_int_equal(buf_add_text(&out, "before"), ERR_OK);
        assert_int_equal(baggage_format(vector_text(vector, "path"), ttl_of(vector),
                                        vector_text(vector, "others"), &out),
                         ERR_OK);
        assert_string_equal(out.bytes + strlen("before"), vector_text(vector, "header").at);
        buf_fini(&out);
    }
}

static void what_was_written_is_read_again(void **state)
{
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(*state, "format"), i, vector)
    {
        struct str path;
        struct span ttl;
        assert_int_equal(baggage_parse(vector_text(vector, "header"), &path, &ttl), ERR_OK);
        assert_int_equal(ttl.ms, ttl_of(vector).ms);
        assert_true(str_eq(path_root(path), path_root(vector_text(vector, "path"))));
        assert_true(str_eq(path_self(path), path_self(vector_text(vector, "path"))));
        assert_true(str_eq(path_parent(path), path_parent(vector_text(vector, "path"))));
    }
}

static void a_path_that_is_none_is_not_written(void **state)
{
    const json_t *path;
    size_t i;
    json_array_foreach(json_object_get(*state, "bad_paths"), i, path)
    {
        struct buf out = {0};
        assert_int_equal(baggage_format(str_of(json_string_value(path)), SPAN_NONE, STR_NONE, &out),
                         ERR_INVALID);
        assert_int_equal(out.len, 0);
        buf_fini(&out);
    }
}

static void members_that_are_no_text_are_left_out(void **state)
{
    (void)state;
    struct buf out = {0};
    assert_int_equal(baggage_format(STR("r"), SPAN_NONE, STR("a=\xff,b=\xc3\xa9"), &out), ERR_OK);
    assert_string_equal(out.bytes, "brakewire=1.r,b=\xc3\xa9");
    buf_fini(&out);
}

static void no_memory_leaves_the_bytes_as_they_were(void **state)
{
    (void)state;
    for (size_t limit = 6; limit < 40; limit++) {
        struct buf out = {.limit = limit};
        assert_int_equal(buf_add_text(&out, "before"), ERR_OK);
        enum err err = baggage_format(STR("r"), MILLIS(5), STR("other=x"), &out);
        if (err == ERR_OK)
            assert_string_equal(out.bytes, "beforebrakewire=1.r,brakewire-ttl=5,other=x");
        else
            assert_string_equal(out.bytes, "before");
        buf_fini(&out);
    }
}

static int load(void **state)
{
    *state = vectors_load("baggage.json");
    return 0;
}

static int unload(void **state)
{
    json_decref(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_read_as_the_vectors_say),
        cmocka_unit_test(headers_are_written_as_the_vectors_say),
        cmocka_unit_test(what_was_written_is_read_again),
        cmocka_unit_test(a_path_that_is_none_is_not_written),
        cmocka_unit_test(members_that_are_no_text_are_left_out),
        cmocka_unit_test(no_memory_leaves_the_bytes_as_they_were),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
