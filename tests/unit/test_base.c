/* Text, buffers, memory and names: the small things that everything stands on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/mono.h"
#include "base/rng.h"

static void every_error_has_a_text(void **state)
{
    (void)state;
    assert_string_equal(err_text(ERR_OK), "success");
    assert_string_equal(err_text(ERR_SYSTEM), "system call failed");
    assert_string_equal(err_text((enum err)999), "unknown error");
}

static void a_text_is_cut_part_by_part(void **state)
{
    (void)state;
    struct str rest = STR("a,,b,");
    assert_true(str_is(str_cut(&rest, ','), "a"));
    assert_true(str_is(str_cut(&rest, ','), ""));
    assert_true(str_is(str_cut(&rest, ','), "b"));
    assert_non_null(rest.at); /* an empty part is left */
    assert_true(str_is(str_cut(&rest, ','), ""));
    assert_null(rest.at);
    assert_true(str_is(str_cut(&rest, ','), ""));
}

static void numbers_are_read_whole_or_not_at_all(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t number;
    } good[] = {
        {"0", 0},
        {"-0", 0},
        {"007", 7},
        {"-12", -12},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t number = 1;
        assert_true(str_to_int(str_of(good[i].text), &number));
        assert_true(number == good[i].number);
    }
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1x",
                                      "--1",
                                      "0x1",
                                      "1.0",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t number = 42;
        assert_false(str_to_int(str_of(bad[i]), &number));
        assert_true(number == 42);
    }
}

static void only_utf8_is_utf8(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "plain",
                                       "gr\xc3\xb6\xc3\x9f",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x9b\x91",
                                       "\xef\xbf\xbf",
                                       "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(str_is_utf8(str_of(good[i])));
    static const char *const bad[] = {"\x80",             /* a middle without a start */
                                      "\xc3",             /* a start without a middle */
                                      "a\xe2\x82",        /* cut */
                                      "\xc0\xaf",         /* longer than needed */
                                      "\xe0\x80\x80",     /* longer than needed */
                                      "\xf0\x80\x80\x80", /* longer than needed */
                                      "\xed\xa0\x80",     /* half a surrogate pair */
                                      "\xf4\x90\x80\x80", /* beyond Unicode */
                                      "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(str_is_utf8(str_of(bad[i])));
}

static void a_buffer_grows_and_ends_in_nul(void **state)
{
    (void)state;
    struct buf buf = {0};
    for (int i = 0; i < 1000; i++)
        assert_int_equal(buf_addf(&buf, "%d,", i % 10), ERR_OK);
    assert_int_equal(buf.len, 2000);
    assert_int_equal(buf.bytes[2000], '\0');
    assert_true(strncmp(buf.bytes, "0,1,2,", 6) == 0);
    buf_drop(&buf, 1996);
    assert_string_equal(buf.bytes, "8,9,");
    buf_cut(&buf, 3);
    buf_cut(&buf, 100);
    assert_string_equal(buf.bytes, "8,9");
    buf_drop(&buf, 100);
    assert_int_equal(buf.len, 0);
    buf_fini(&buf);
}

static void a_buffer_takes_all_or_nothing(void **state)
{
    (void)state;
    struct buf buf = {.limit = 10};
    assert_int_equal(buf_add_text(&buf, "12345"), ERR_OK);
    assert_int_equal(buf_add_text(&buf, "678901"), ERR_TOO_LARGE);
    assert_string_equal(buf.bytes, "12345");
    assert_true(buf.failed);
    assert_int_equal(buf_addf(&buf, "%s", "67890"), ERR_OK);
    assert_int_equal(buf_addf(&buf, "%s", "x"), ERR_TOO_LARGE);
    assert_string_equal(buf.bytes, "1234567890");
    assert_true(buf.failed); /* a chain is checked once, at its end */
    buf_clear(&buf);
    assert_false(buf.failed);
    assert_int_equal(buf.len, 0);
    assert_int_equal(buf_add(&buf, NULL, 0), ERR_OK);
    buf_fini(&buf);
    assert_int_equal(buf.limit, 10);
}

static void an_array_grows_to_what_is_wanted(void **state)
{
    (void)state;
    void *array = NULL;
    size_t room = 0;
    for (size_t count = 0; count < 1000; count++) {
        assert_true(mem_grow(&array, &room, sizeof(size_t), count + 1));
        ((size_t *)array)[count] = count;
    }
    assert_true(room >= 1000 && ((size_t *)array)[999] == 999);
    void *before = array;
    size_t room_before = room;
    assert_false(mem_grow(&array, &room, sizeof(size_t), SIZE_MAX / 4));
    assert_false(mem_grow(&array, &room, 1000, SIZE_MAX));
    assert_true(array == before && room == room_before);
    mem_free(array);
}

static void a_copy_ends_in_nul(void **state)
{
    (void)state;
    char *copy = mem_copy((struct str){"abcdef", 3});
    assert_string_equal(copy, "abc");
    mem_free(copy);
    copy = mem_copy(STR_NONE);
    assert_string_equal(copy, "");
    mem_free(copy);
}

static void the_same_seed_gives_the_same_numbers(void **state)
{
    (void)state;
    struct rng rng = {.state = 0};
    assert_true(rng_next(&rng) == UINT64_C(0xe220a8397b1dcdaf)); /* of splitmix64 */
    assert_true(rng_next(&rng) == UINT64_C(0x6e789e6aa1b965f4));
    size_t seen[6] = {0};
    for (int i = 0; i < 6000; i++)
        seen[rng_below(&rng, 6)]++;
    for (size_t i = 0; i < 6; i++)
        assert_in_range(seen[i], 850, 1150);
    char name[21], other[21];
    rng_name(&rng, name, 20);
    rng_name(&rng, other, 20);
    assert_int_equal(strlen(name), 20);
    assert_string_not_equal(name, other);
}

static void times_saturate_and_never_wrap(void **state)
{
    (void)state;
    struct instant start = {1000};
    assert_true(instant_after(start, SECONDS(2)).ms == 3000);
    assert_true(instant_after(start, (struct span){INT64_MAX}).ms == INT64_MAX);
    assert_true(instant_after(INSTANT_NEVER, MILLIS(1)).ms == INT64_MAX);
    assert_true(instant_reached(start, start));
    assert_false(instant_reached(start, INSTANT_NEVER));
    assert_true(instant_first(start, INSTANT_NEVER).ms == 1000);
}

static void a_time_is_shown_in_rfc_3339(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } shown[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {951782399999, "2000-02-28T23:59:59.999Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {1767225600001, "2026-01-01T00:00:00.001Z"},
        {4107542400000, "2100-03-01T00:00:00.000Z"}, /* 2100 has no leap day */
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {-1, "1970-01-01T00:00:00.000Z"},
    };
    char text[WALL_TEXT_MAX];
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        assert_string_equal(wall_text((struct wall){shown[i].ms}, text), shown[i].text);
}

struct thing {
    int number;
    struct link in_order;
};

static void things_leave_a_list_while_it_is_walked(void **state)
{
    (void)state;
    struct thing thing[4] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
    struct list list;
    list_init(&list);
    for (size_t i = 0; i < 4; i++)
        list_add_last(&list, &thing[i].in_order);
    int sum = 0;
    LIST_EACH (at, then, &list) {
        struct thing *here = LIST_OWNER(at, struct thing, in_order);
        sum = sum * 10 + here->number;
        if (here->number % 2 == 1)
            link_remove(at);
    }
    assert_int_equal(sum, 123);
    assert_false(link_is_in_list(&thing[1].in_order));
    assert_true(link_is_in_list(&thing[2].in_order));
    link_remove(&thing[1].in_order); /* in no list: nothing happens */
    link_remove(&thing[0].in_order);
    link_remove(&thing[2].in_order);
    assert_true(list_is_empty(&list));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_a_text),
        cmocka_unit_test(a_text_is_cut_part_by_part),
        cmocka_unit_test(numbers_are_read_whole_or_not_at_all),
        cmocka_unit_test(only_utf8_is_utf8),
        cmocka_unit_test(a_buffer_grows_and_ends_in_nul),
        cmocka_unit_test(a_buffer_takes_all_or_nothing),
        cmocka_unit_test(an_array_grows_to_what_is_wanted),
        cmocka_unit_test(a_copy_ends_in_nul),
        cmocka_unit_test(the_same_seed_gives_the_same_numbers),
        cmocka_unit_test(times_saturate_and_never_wrap),
        cmocka_unit_test(a_time_is_shown_in_rfc_3339),
        cmocka_unit_test(things_leave_a_list_while_it_is_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
