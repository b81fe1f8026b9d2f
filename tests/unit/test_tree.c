/* Who is below whom, and which ban reaches whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/tree.h"

static int fresh_tree(void **state)
{
    static struct tree tree;
    tree_init(&tree);
    *state = &tree;
    return 0;
}

static int drop_tree(void **state)
{
    tree_fini(*state);
    return 0;
}

static struct tree_run *add(struct tree *tree, const char *id, const char *parent, uint32_t flags)
{
    struct tree_run *run = tree_run_named(tree, str_of(id));
    assert_non_null(run);
    run->state = RUN_RUNNING;
    run->flags = flags;
    assert_int_equal(tree_keep(tree, str_of(parent), &run->parent), ERR_OK);
    return run;
}

static void a_ban_reaches_everything_below_it_and_nothing_else(void **state)
{
    struct tree *tree = *state;
    struct tree_run *deep = add(tree, "deep", "left", 0); /* added before those above it */
    struct tree_run *root = add(tree, "root", "", 0);
    struct tree_run *left = add(tree, "left", "root", RUN_FLAG_BANNED);
    struct tree_run *right = add(tree, "right", "root", 0);
    tree_join(tree);
    assert_null(root->ban);
    assert_null(right->ban);
    assert_ptr_equal(left->ban, left);
    assert_ptr_equal(deep->ban, left);
    assert_ptr_equal(deep->up, left);
    assert_int_equal(root->depth, 1);
    assert_int_equal(deep->depth, 3);
    assert_true(tree_is_below(deep, left) && tree_is_below(deep, root));
    assert_true(tree_is_below(left, left));
    assert_false(tree_is_below(right, left) || tree_is_below(left, deep));
}

static void the_nearest_ban_is_the_one(void **state)
{
    struct tree *tree = *state;
    add(tree, "root", "", RUN_FLAG_BANNED);
    struct tree_run *mid = add(tree, "mid", "root", RUN_FLAG_BANNED);
    struct tree_run *low = add(tree, "low", "mid", 0);
    tree_join(tree);
    assert_ptr_equal(low->ban, mid);
}

static void a_run_of_an_unknown_parent_stands_alone(void **state)
{
    struct tree *tree = *state;
    struct tree_run *lone = add(tree, "lone", "nobody", 0);
    tree_join(tree);
    assert_null(lone->up);
    assert_null(lone->ban);
    assert_int_equal(lone->depth, 1);
}

static void a_takeover_bans_the_children_of_the_lost_life_alone(void **state)
{
    struct tree *tree = *state;
    struct tree_run *worker = add(tree, "worker", "", 0);
    worker->lost_epoch = 3;
    struct tree_run *old = add(tree, "old", "worker", 0);
    old->parent_epoch = 3;
    struct tree_run *below_old = add(tree, "below_old", "old", 0);
    struct tree_run *new = add(tree, "new", "worker", 0);
    new->parent_epoch = 4;
    tree_join(tree);
    assert_null(worker->ban);
    assert_ptr_equal(old->ban, worker);
    assert_ptr_equal(below_old->ban, worker);
    assert_null(new->ban);
}

static void joined_again_a_tree_shows_what_changed(void **state)
{
    struct tree *tree = *state;
    struct tree_run *root = add(tree, "root", "", RUN_FLAG_BANNED);
    struct tree_run *low = add(tree, "low", "root", 0);
    tree_join(tree);
    assert_ptr_equal(low->ban, root);
    root->flags = 0;
    tree_join(tree);
    assert_null(low->ban);
}

static void a_circle_ends_the_search_and_its_ban_reaches_all_of_it(void **state)
{
    struct tree *tree = *state;
    struct tree_run *ring[5];
    for (int banned = 0; banned < 5; banned++) {
        for (int i = 0; i < 5; i++) {
            char id[16], parent[16];
            (void)snprintf(id, sizeof id, "r%d", i);
            (void)snprintf(parent, sizeof parent, "r%d", (i + 1) % 5);
            ring[i] = add(tree, id, parent, i == banned ? RUN_FLAG_BANNED : 0);
        }
        struct tree_run *hanging = add(tree, "hanging", "r2", 0);
        struct tree_run *self = add(tree, "self", "self", 0);
        tree_join(tree);
        for (int i = 0; i < 5; i++)
            assert_ptr_equal(ring[i]->ban, ring[banned]);
        assert_ptr_equal(hanging->ban, ring[banned]);
        assert_null(self->ban);
        assert_false(tree_is_below(self, hanging));
        assert_true(tree_is_below(ring[0], ring[4]));
    }
}

static void marks_say_the_same_for_many_targets_at_once(void **state)
{
    struct tree *tree = *state;
    struct tree_run *root = add(tree, "root", "", 0);
    struct tree_run *a = add(tree, "a", "root", 0);
    struct tree_run *b = add(tree, "b", "root", 0);
    struct tree_run *low = add(tree, "low", "a", 0);
    struct tree_run *lower = add(tree, "lower", "low", 0);
    struct tree_run *x = add(tree, "x", "y", 0);
    add(tree, "y", "x", 0);
    tree_join(tree);
    tree_unmark(tree);
    tree_mark(tree, STR("a"));
    tree_mark(tree, STR("low"));
    assert_true(tree_is_marked(lower));
    assert_true(tree_is_marked(low));
    assert_true(tree_is_marked(a));
    assert_false(tree_is_marked(root));
    assert_false(tree_is_marked(b));
    assert_false(tree_is_marked(x));
    tree_unmark(tree);
    tree_mark(tree, STR("y"));
    assert_true(tree_is_marked(x));
    assert_false(tree_is_marked(lower));
    for (size_t i = 0; i < tree->run_count; i++)
        for (size_t k = 0; k < tree->run_count; k++) {
            tree_unmark(tree);
            tree_mark(tree, tree->run[k]->id);
            assert_int_equal(tree_is_marked(tree->run[i]),
                             tree_is_below(tree->run[i], tree->run[k]));
        }
}

static void a_chain_longer_than_any_path_is_still_bounded(void **state)
{
    struct tree *tree = *state;
    enum { LONG = 2000 };
    for (int i = LONG; i >= 0; i--) {
        char id[16], parent[16];
        (void)snprintf(id, sizeof id, "c%d", i);
        (void)snprintf(parent, sizeof parent, "c%d", i - 1);
        add(tree, id, i > 0 ? parent : "", i == 0 ? RUN_FLAG_BANNED : 0);
    }
    tree_join(tree);
    const struct tree_run *root = tree_find(tree, STR("c0"));
    assert_ptr_equal(tree_find(tree, STR("c127"))->ban, root);
    assert_true(tree_is_below(tree_find(tree, STR("c127")), root));
    assert_false(tree_is_below(tree_find(tree, STR("c128")), root));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define STORY(name) cmocka_unit_test_setup_teardown(name, fresh_tree, drop_tree)
        STORY(a_ban_reaches_everything_below_it_and_nothing_else),
        STORY(the_nearest_ban_is_the_one),
        STORY(a_run_of_an_unknown_parent_stands_alone),
        STORY(a_takeover_bans_the_children_of_the_lost_life_alone),
        STORY(joined_again_a_tree_shows_what_changed),
        STORY(a_circle_ends_the_search_and_its_ban_reaches_all_of_it),
        STORY(marks_say_the_same_for_many_targets_at_once),
        STORY(a_chain_longer_than_any_path_is_still_bounded),
#undef STORY
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
