/* Ids and paths: what is one, and what can be read off it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/id.h"

#define ROOT "0abcdefghijABCDEFGHIJ"
#define LONG "0123456789012345678901234567890123456789012345678901234567890123" /* 64 */

static void an_id_has_1_to_64_of_few_characters(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "Z", "0", "_", "-", "run-1_B", LONG};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(id_is_valid(str_of(good[i])));
    static const char *const bad[] = {"",    "a b",      "a.b", "a:b", "a/b",
                                      "a\n", "\xc3\xb6", "a~",  "{a}", LONG "x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(id_is_valid(str_of(bad[i])));
    assert_false(id_is_valid((struct str){"a\0b", 3}));
}

static void an_id_is_a_value(void **state)
{
    (void)state;
    struct run_id a, b;
    assert_true(id_parse(STR(LONG), &a));
    assert_true(id_parse(STR("other"), &b));
    assert_false(id_eq(&a, &b));
    b = a;
    assert_true(id_eq(&a, &b) && str_is(id_str(&b), LONG));
    assert_false(id_parse(STR("no id"), &b));
    assert_true(id_eq(&a, &b));
}

static void a_minted_id_names_its_root(void **state)
{
    (void)state;
    static const char *const minted[] = {ROOT, ROOT "-x", ROOT "-0123456789abcdef"};
    for (size_t i = 0; i < sizeof minted / sizeof *minted; i++) {
        assert_true(id_is_minted(str_of(minted[i])));
        assert_true(str_is(id_minted_root(str_of(minted[i])), ROOT));
    }
    static const char *const other[] = {"",
                                        "0",
                                        "1abcdefghijABCDEFGHIJ",
                                        "0abcdefghijABCDEFGHI",
                                        ROOT "x",
                                        ROOT "-",
                                        ROOT "-x-y",
                                        ROOT "-x_y",
                                        ROOT "-01234567890abcdef",
                                        ROOT "_x",
                                        "0abcdefghij-BCDEFGHIJ",
                                        "r0abcdefghijABCDEFGHIJ"};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        assert_false(id_is_minted(str_of(other[i])));
        assert_int_equal(id_minted_root(str_of(other[i])).len, 0);
    }
}

static void what_we_mint_is_of_our_shapes_and_never_the_same(void **state)
{
    (void)state;
    struct rng rng = {.state = 42};
    struct run_id root = id_mint_root(&rng), other = id_mint_root(&rng);
    assert_true(str_eq(id_minted_root(id_str(&root)), id_str(&root)));
    assert_false(id_eq(&root, &other));

    struct run_id child = id_mint_child(&rng, id_str(&root));
    struct run_id second = id_mint_child(&rng, id_str(&root));
    assert_true(id_is_valid(id_str(&child)));
    assert_true(str_eq(id_minted_root(id_str(&child)), id_str(&root)));
    assert_true(strlen(child.text) > strlen(root.text));
    assert_false(id_eq(&child, &second));
}

static void below_a_root_of_a_client_a_child_names_nobody(void **state)
{
    (void)state;
    struct rng rng = {.state = 42};
    static const char *const root[] = {"conversation-7", ROOT "-child", ""};
    for (size_t i = 0; i < sizeof root / sizeof *root; i++) {
        struct run_id child = id_mint_child(&rng, str_of(root[i]));
        assert_int_equal(child.text[0], 'r');
        assert_int_equal(strlen(child.text), 21);
        assert_true(id_is_valid(id_str(&child)) && !id_is_minted(id_str(&child)));
    }
}

static void paths_that_are_good(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        size_t depth;
        const char *root, *parent, *self;
        bool cut;
    } good[] = {
        {"r", 1, "r", "", "r", false},      {"r.x", 2, "r", "r", "x", false},
        {"r.x.y", 3, "r", "x", "y", false}, {"r..y", 2, "r", "", "y", true},
        {"r..x.y", 3, "r", "x", "y", true},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct str path = str_of(good[i].path);
        assert_true(path_is_valid(path));
        assert_int_equal(path_is_cut(path), good[i].cut);
        assert_int_equal(path_depth(path), good[i].depth);
        assert_true(str_is(path_root(path), good[i].root));
        assert_true(str_is(path_parent(path), good[i].parent));
        assert_true(str_is(path_self(path), good[i].self));
    }
    assert_null(path_parent(STR("r")).at);
    assert_non_null(path_parent(STR("r..y")).at); /* it has one, and we are not told which */
}

static void paths_that_are_not(void **state)
{
    (void)state;
    static const char *const bad[] = {"",      ".",       "..",    ".r",         "r.",
                                      "r..",   "..r",     "r...x", "r.x..y",     "r..x..y",
                                      "r. .x", "r.x.a b", "r,x",   "r." LONG "x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (path_is_valid(str_of(bad[i])))
            fail_msg("%s", bad[i]);
    assert_false(path_is_valid(STR_NONE));
    assert_int_equal(path_depth(STR_NONE), 0);
    assert_int_equal(path_self(STR_NONE).len, 0);
    assert_int_equal(path_root(STR_NONE).len, 0);
}

static void a_path_has_128_ids_at_most(void **state)
{
    (void)state;
    char path[2 * PATH_MAX_IDS + 2];
    for (size_t i = 0; i < sizeof path; i++)
        path[i] = i % 2 == 0 ? 'x' : '.';
    assert_true(path_is_valid((struct str){path, 2 * PATH_MAX_IDS - 1}));
    assert_false(path_is_valid((struct str){path, 2 * PATH_MAX_IDS + 1}));
}

static void a_path_has_whole_ids_only(void **state)
{
    (void)state;
    struct str path = STR("root.mid.mid2..low");
    assert_true(path_has(path, STR("root")) && path_has(path, STR("mid")));
    assert_true(path_has(path, STR("low")));
    assert_false(path_has(path, STR("roo")) || path_has(path, STR("mid2.low")));
    assert_false(path_has(path, STR("")) || path_has(STR_NONE, STR("x")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_has_1_to_64_of_few_characters),
        cmocka_unit_test(an_id_is_a_value),
        cmocka_unit_test(a_minted_id_names_its_root),
        cmocka_unit_test(what_we_mint_is_of_our_shapes_and_never_the_same),
        cmocka_unit_test(below_a_root_of_a_client_a_child_names_nobody),
        cmocka_unit_test(paths_that_are_good),
        cmocka_unit_test(paths_that_are_not),
        cmocka_unit_test(a_path_has_128_ids_at_most),
        cmocka_unit_test(a_path_has_whole_ids_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
