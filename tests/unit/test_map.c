/* The map against a plain array that says what must be in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/rng.h"

enum { THINGS = 2000 };

struct thing {
    char key[16];
    bool is_in;
    unsigned visits;
};

static struct thing thing[THINGS];

static struct str key_of(size_t i)
{
    return str_of(thing[i].key);
}

static int name_things(void **state)
{
    (void)state;
    for (size_t i = 0; i < THINGS; i++) {
        thing[i] = (struct thing){0};
        (void)snprintf(thing[i].key, sizeof thing[i].key, "%s%zu", i % 3 == 0 ? "a-longer-" : "k",
                       i);
    }
    return 0;
}

static void add(struct map *map, size_t i)
{
    assert_true(map_add(map, key_of(i), &thing[i]));
    thing[i].is_in = true;
}

static void expect_same(const struct map *map)
{
    size_t count = 0;
    for (size_t i = 0; i < THINGS; i++) {
        assert_ptr_equal(map_find(map, key_of(i)), thing[i].is_in ? &thing[i] : NULL);
        count += thing[i].is_in ? 1 : 0;
    }
    assert_int_equal(map->count, count);
}

static void an_empty_map_has_nothing(void **state)
{
    (void)state;
    struct map map = {0};
    size_t at = 0;
    assert_null(map_find(&map, STR("x")));
    assert_null(map_take(&map, STR("x")));
    assert_null(map_next(&map, &at));
    map_fini(&map);
}

static void what_is_added_is_found_and_what_is_taken_is_not(void **state)
{
    (void)state;
    struct map map = {.seed = 77};
    struct rng rng = {.state = 1};
    for (int round = 0; round < 40000; round++) {
        size_t i = rng_below(&rng, THINGS);
        if (!thing[i].is_in)
            add(&map, i);
        else {
            assert_ptr_equal(map_take(&map, key_of(i)), &thing[i]);
            thing[i].is_in = false;
        }
        if (round % 4000 == 0)
            expect_same(&map);
    }
    expect_same(&map);
    map_fini(&map);
}

static void a_small_map_that_is_always_in_use_stays_small(void **state)
{
    (void)state;
    struct map map = {0};
    for (size_t round = 0; round < 100000; round++) {
        size_t i = round % THINGS;
        add(&map, i);
        assert_ptr_equal(map_take(&map, key_of(i)), &thing[i]);
        thing[i].is_in = false;
    }
    assert_true(map.room <= 16);
    map_fini(&map);
}

static void a_walk_meets_each_once_whatever_it_takes_out(void **state)
{
    (void)state;
    struct map map = {.seed = 5};
    struct rng rng = {.state = 9};
    for (size_t i = 0; i < THINGS; i++)
        add(&map, i);
    struct thing *met;
    for (size_t at = 0; (met = map_next(&map, &at)) != NULL;) {
        met->visits++;
        if (rng_below(&rng, 2) == 0) {
            assert_ptr_equal(map_take(&map, str_of(met->key)), met);
            met->is_in = false;
        }
    }
    for (size_t i = 0; i < THINGS; i++)
        assert_int_equal(thing[i].visits, 1);
    expect_same(&map);
    map_fini(&map);
}

static void keys_are_told_apart_by_every_byte(void **state)
{
    (void)state;
    struct map map = {0};
    int one = 1, two = 2, none = 3;
    assert_true(map_add(&map, STR("abcdefgh"), &one));
    assert_true(map_add(&map, STR("abcdefgh\0"), &two));
    assert_true(map_add(&map, STR_NONE, &none));
    assert_ptr_equal(map_find(&map, STR("abcdefgh")), &one);
    assert_ptr_equal(map_find(&map, STR("abcdefgh\0")), &two);
    assert_ptr_equal(map_find(&map, STR("")), &none);
    assert_null(map_find(&map, STR("abcdefg")));
    assert_ptr_equal(map_take(&map, STR("")), &none);
    assert_null(map_find(&map, STR("")));
    map_fini(&map);
}

static void the_seed_changes_the_order_and_nothing_else(void **state)
{
    (void)state;
    struct map a = {.seed = 1}, b = {.seed = 2};
    for (size_t i = 0; i < 100; i++) {
        assert_true(map_add(&a, key_of(i), &thing[i]));
        assert_true(map_add(&b, key_of(i), &thing[i]));
    }
    size_t at_a = 0, at_b = 0, same = 0;
    for (size_t i = 0; i < 100; i++)
        same += map_next(&a, &at_a) == map_next(&b, &at_b) ? 1 : 0;
    assert_true(same < 20);
    map_fini(&a);
    map_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define STORY(name) cmocka_unit_test_setup(name, name_things)
        STORY(an_empty_map_has_nothing),
        STORY(what_is_added_is_found_and_what_is_taken_is_not),
        STORY(a_small_map_that_is_always_in_use_stays_small),
        STORY(a_walk_meets_each_once_whatever_it_takes_out),
        STORY(keys_are_told_apart_by_every_byte),
        STORY(the_seed_changes_the_order_and_nothing_else),
#undef STORY
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
