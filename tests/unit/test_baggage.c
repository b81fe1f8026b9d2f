/* The context between agents, against tests/vectors/baggage.json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "api/baggage_keys.h"
#include "base/mem.h"
#include "core/id.h"
#include "support/vectors.h"

static struct span ttl_of(const json_t *vector)
{
    const json_t *ttl = json_object_get(vector, "ttl_ms");
    return json_is_integer(ttl) ? MILLIS(json_integer_value(ttl)) : SPAN_NONE;
}

/* `header`, or `headers` joined by commas; the caller owes buf_fini(). */
static struct buf header_of(const json_t *vector)
{
    struct buf joined = {0};
    const json_t *headers = json_object_get(vector, "headers");
    if (headers == NULL)
        assert_int_equal(buf_add_str(&joined, vector_text(vector, "header")), ERR_OK);
    for (size_t i = 0; i < json_array_size(headers); i++)
        assert_int_equal(buf_addf(&joined, "%s%s", i > 0 ? "," : "",
                                  json_string_value(json_array_get(headers, i))),
                         ERR_OK);
    return joined;
}

static void expect_text(const json_t *vector, const char *name, struct str text)
{
    const json_t *wanted = json_object_get(vector, name);
    if (!json_is_string(wanted))
        assert_null(text.at);
    else
        assert_true(str_is(text, json_string_value(wanted)));
}

static void expect_parsed(const json_t *vector, struct str header)
{
    struct baggage context = {.path = STR("before"), .ttl = MILLIS(-7)};
    enum err err = baggage_parse(header, &context);
    if (json_object_get(vector, "error") != NULL) {
        bool too_large = str_is(vector_text(vector, "error"), "too_large");
        assert_int_equal(err, too_large ? ERR_TOO_LARGE : ERR_MALFORMED);
        assert_true(str_is(context.path, "before") && context.ttl.ms == -7);
        return;
    }
    assert_int_equal(err, ERR_OK);
    assert_int_equal(context.ttl.ms, ttl_of(vector).ms);
    expect_text(vector, "path", context.path);
    expect_text(vector, "key_id", context.key_id);
    if (json_object_get(vector, "mac") != NULL)
        assert_true(str_eq(context.mac, vector_text(vector, "mac")));
}

static void headers_are_read_as_the_vectors_say(void **state)
{
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(*state, "parse"), i, vector)
    {
        print_message("  %s\n", vector_text(vector, "name").at);
        struct buf header = header_of(vector);
        char *exact =
            mem_new(header.len); /* no NUL behind it: a sanitizer sees one read too many */
        memcpy(exact, header.bytes != NULL ? header.bytes : "", header.len);
        expect_parsed(vector, (struct str){exact, header.len});
        mem_free(exact);
        buf_fini(&header);
    }
}

static struct baggage context_of(const json_t *vector)
{
    return (struct baggage){.path = vector_text(vector, "path"), .ttl = ttl_of(vector)};
}

static void headers_are_written_as_the_vectors_say(void **state)
{
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(*state, "format"), i, vector)
    {
        print_message("  %s\n", vector_text(vector, "name").at);
        struct buf out = {0};
        struct baggage context = context_of(vector);
        assert_int_equal(buf_add_text(&out, "before"), ERR_OK);
        assert_int_equal(baggage_format(&context, vector_text(vector, "others"), &out), ERR_OK);
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
        struct baggage read;
        struct str path = vector_text(vector, "path");
        assert_int_equal(baggage_parse(vector_text(vector, "header"), &read), ERR_OK);
        assert_int_equal(read.ttl.ms, ttl_of(vector).ms);
        assert_true(str_eq(path_root(read.path), path_root(path)));
        assert_true(str_eq(path_self(read.path), path_self(path)));
        assert_true(str_eq(path_parent(read.path), path_parent(path)));
    }
}

/* What an agentd does between a request and the requests of the run that it starts. */
static void a_run_is_appended_as_the_vectors_say(void **state)
{
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(*state, "append"), i, vector)
    {
        print_message("  %s\n", vector_text(vector, "name").at);
        struct baggage in;
        struct buf header = header_of(vector), path = {0}, out = {0};
        assert_int_equal(baggage_parse(buf_str(&header), &in), ERR_OK);
        assert_int_equal(buf_addf(&path, "%.*s%s%s", (int)in.path.len,
                                  in.path.len > 0 ? in.path.at : "", in.path.len > 0 ? "." : "",
                                  vector_text(vector, "self").at),
                         ERR_OK);
        assert_string_equal(path.bytes, vector_text(vector, "path").at);
        struct baggage context = {.path = buf_str(&path), .ttl = ttl_of(vector)};
        assert_int_equal(baggage_format(&context, buf_str(&header), &out), ERR_OK);
        assert_string_equal(out.bytes, vector_text(vector, "children").at);
        buf_fini(&header);
        buf_fini(&path);
        buf_fini(&out);
    }
}

static void key_files_are_read_as_the_vectors_say(void **state)
{
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(*state, "key_files"), i, vector)
    {
        print_message("  %s\n", vector_text(vector, "name").at);
        struct baggage_keys keys = {.count = 99};
        const char *why = NULL;
        const json_t *ids = json_object_get(vector, "ids");
        enum err err = baggage_keys_read(vector_text(vector, "text"), &keys, &why);
        if (ids == NULL) {
            assert_int_equal(err, ERR_MALFORMED);
            assert_int_equal(keys.count, 99);
            assert_non_null(strstr(why, vector_text(vector, "fault").at));
            continue;
        }
        assert_int_equal(err, ERR_OK);
        assert_int_equal(keys.count, json_array_size(ids));
        for (size_t k = 0; k < keys.count; k++)
            assert_true(str_is(keys.key[k].id, json_string_value(json_array_get(ids, k))));
    }
}

static struct baggage_keys keys_of(const json_t *vectors)
{
    struct baggage_keys keys;
    const char *why;
    assert_int_equal(baggage_keys_read(vector_text(vectors, "keys"), &keys, &why), ERR_OK);
    return keys;
}

static void paths_are_signed_as_the_vectors_say(void **state)
{
    const json_t *vector;
    size_t i;
    struct baggage_keys keys = keys_of(*state);
    json_array_foreach(json_object_get(*state, "sign"), i, vector)
    {
        print_message("  %s\n", vector_text(vector, "name").at);
        struct buf out = {0};
        assert_int_equal(baggage_keys_format(&keys, vector_text(vector, "path"), ttl_of(vector),
                                             vector_text(vector, "others"), &out),
                         ERR_OK);
        assert_string_equal(out.bytes, vector_text(vector, "header").at);
        struct baggage read;
        assert_int_equal(baggage_parse(buf_str(&out), &read), ERR_OK);
        assert_int_equal(baggage_keys_verify(&keys, &read), BAGGAGE_IS_GOOD);
        buf_fini(&out);
    }
    struct buf out = {0};
    assert_int_equal(baggage_keys_format(&keys, STR("a.."), SPAN_NONE, STR_NONE, &out),
                     ERR_INVALID);
    assert_null(out.bytes);
}

static void signatures_are_verified_as_the_vectors_say(void **state)
{
    static const char *const words[] = {"good", "unsigned", "unknown_key", "forged"};
    const json_t *vector;
    size_t i;
    struct baggage_keys keys = keys_of(*state);
    json_array_foreach(json_object_get(*state, "verify"), i, vector)
    {
        print_message("  %s\n", vector_text(vector, "name").at);
        struct baggage read;
        const char *verdict = "malformed";
        if (baggage_parse(vector_text(vector, "header"), &read) == ERR_OK)
            verdict = read.path.len > 0 ? words[baggage_keys_verify(&keys, &read)] : "none";
        assert_string_equal(verdict, vector_text(vector, "verdict").at);
    }
}

static void headers_are_merged_as_the_vectors_say(void **state)
{
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(*state, "merge"), i, vector)
    {
        print_message("  %s\n", vector_text(vector, "name").at);
        struct buf out = {0};
        assert_int_equal(buf_add_text(&out, "before"), ERR_OK);
        assert_int_equal(baggage_merge(vector_text(vector, "ours"), vector_text(vector, "existing"),
                                       &out),
                         ERR_OK);
        assert_string_equal(out.bytes + strlen("before"), vector_text(vector, "header").at);
        buf_fini(&out);
    }
}

static void a_path_that_is_none_is_not_written(void **state)
{
    const json_t *path;
    size_t i;
    json_array_foreach(json_object_get(*state, "bad_paths"), i, path)
    {
        struct buf out = {0};
        struct baggage context = {.path = str_of(json_string_value(path)), .ttl = SPAN_NONE};
        assert_int_equal(baggage_format(&context, STR_NONE, &out), ERR_INVALID);
        assert_int_equal(out.len, 0);
        buf_fini(&out);
    }
}

static void members_that_are_no_text_are_left_out(void **state)
{
    (void)state;
    struct buf out = {0};
    struct baggage context = {.path = STR("r"), .ttl = SPAN_NONE};
    assert_int_equal(baggage_format(&context, STR("a=\xff,b=\xc3\xa9"), &out), ERR_OK);
    assert_string_equal(out.bytes, "brakewire=1.r,b=\xc3\xa9");
    buf_fini(&out);
}

static void no_memory_leaves_the_bytes_as_they_were(void **state)
{
    (void)state;
    for (size_t limit = 6; limit < 40; limit++) {
        struct buf out = {.limit = limit};
        assert_int_equal(buf_add_text(&out, "before"), ERR_OK);
        struct baggage context = {.path = STR("r"), .ttl = MILLIS(5)};
        enum err err = baggage_format(&context, STR("other=x"), &out);
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
        cmocka_unit_test(a_run_is_appended_as_the_vectors_say),
        cmocka_unit_test(key_files_are_read_as_the_vectors_say),
        cmocka_unit_test(paths_are_signed_as_the_vectors_say),
        cmocka_unit_test(signatures_are_verified_as_the_vectors_say),
        cmocka_unit_test(headers_are_merged_as_the_vectors_say),
        cmocka_unit_test(a_path_that_is_none_is_not_written),
        cmocka_unit_test(members_that_are_no_text_are_left_out),
        cmocka_unit_test(no_memory_leaves_the_bytes_as_they_were),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
