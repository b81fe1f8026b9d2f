/* The hash bw:{root}, field by field, into a tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/buf.h"
#include "wire/message.h"
#include "wire/tree_fields.h"

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

static enum err add(struct tree *tree, const char *field, const char *value)
{
    return wire_tree_field(tree, str_of(field), str_of(value));
}

static void a_run_has_all_its_parts(void **state)
{
    struct tree *tree = *state;
    assert_int_equal(add(tree, "s:kid", "C:7:65537:inc-1:replica.2:mum:3:12:S"), ERR_OK);
    const struct tree_run *run = tree_find(tree, STR("kid"));
    assert_non_null(run);
    assert_int_equal(run->state, RUN_CANCELLED);
    assert_int_equal(run->finished_anyway, RUN_SUCCESS);
    assert_int_equal(run->epoch, 7);
    assert_int_equal(run->flags, 65537);
    assert_true(str_is(run->incarnation, "inc-1"));
    assert_true(str_is(run->owner, "replica.2"));
    assert_true(str_is(run->parent, "mum"));
    assert_int_equal(run->parent_epoch, 3);
    assert_int_equal(run->children, 12);
}

static void a_placeholder_is_almost_empty(void **state)
{
    struct tree *tree = *state;
    assert_int_equal(add(tree, "s:x", "-:0:0::::0:0"), ERR_OK);
    const struct tree_run *run = tree_find(tree, STR("x"));
    assert_int_equal(run->state, RUN_NEVER);
    assert_int_equal(run->finished_anyway, RUN_NONE);
    assert_int_equal(run->parent.len, 0);
}

static void the_fields_of_one_run_come_in_any_order(void **state)
{
    struct tree *tree = *state;
    assert_int_equal(add(tree, "d:x", "1767225600000"), ERR_OK);
    assert_int_equal(add(tree, "e:x", "story"), ERR_OK);
    assert_int_equal(add(tree, "x:x", "4:record:with:colons"), ERR_OK);
    assert_int_equal(add(tree, "c:x", "cancel"), ERR_OK);
    assert_int_equal(add(tree, "m:x", "meta"), ERR_OK);
    assert_int_equal(add(tree, "s:x", "r:5:0:i:o::0:0"), ERR_OK);
    assert_int_equal(tree->run_count, 1);
    const struct tree_run *run = tree->run[0];
    assert_int_equal(run->state, RUN_RUNNING);
    assert_true(run->deadline_ms == 1767225600000);
    assert_true(str_is(run->story, "story"));
    assert_true(str_is(run->loss, "record:with:colons"));
    assert_int_equal(run->lost_epoch, 4);
    assert_true(str_is(run->record, "cancel"));
    assert_true(str_is(run->meta, "meta"));
}

static void a_story_tells_the_phases_that_no_report_told(void **state)
{
    struct tree *tree = *state;
    struct buf bytes = {0};
    struct stop_story story = {.delivered = {1}, .acknowledged = {2}, .stopped = {3}};
    assert_int_equal(wire_story_encode(&story, &bytes), ERR_OK);
    for (int story_first = 0; story_first < 2; story_first++) {
        struct str id = story_first ? STR("a") : STR("b");
        const char *fields[] = {story_first ? "e:a" : "s:b", story_first ? "s:a" : "e:b"};
        for (int i = 0; i < 2; i++) {
            bool is_story = fields[i][0] == 'e';
            struct str value = is_story ? buf_str(&bytes) : STR("C:1:1:i:o::0:0");
            assert_int_equal(wire_tree_field(tree, str_of(fields[i]), value), ERR_OK);
        }
        assert_int_equal(tree_find(tree, id)->flags,
                         RUN_FLAG_BANNED | RUN_FLAG_DELIVERED | RUN_FLAG_ACKNOWLEDGED);
    }
    buf_fini(&bytes);
}

static void the_counts_of_the_tree_are_read(void **state)
{
    struct tree *tree = *state;
    assert_int_equal(add(tree, "n", "12"), ERR_OK);
    assert_int_equal(add(tree, "b", "3"), ERR_OK);
    assert_int_equal(tree->live, 12);
    assert_int_equal(tree->bans, 3);
}

static void a_link_is_decoded_and_seen_twice_is_one(void **state)
{
    struct tree *tree = *state;
    struct buf bytes = {0};
    struct run_link link = {.kind = LINK_ROOT, .to = STR("other/run")};
    assert_int_equal(wire_link_encode(&link, &bytes), ERR_OK);
    assert_int_equal(wire_tree_field(tree, STR("l:x:1"), buf_str(&bytes)), ERR_OK);
    assert_int_equal(wire_tree_field(tree, STR("l:x:2"), buf_str(&bytes)), ERR_OK);
    buf_clear(&bytes);
    link.acknowledged = true;
    assert_int_equal(wire_link_encode(&link, &bytes), ERR_OK);
    assert_int_equal(wire_tree_field(tree, STR("l:x:1"), buf_str(&bytes)), ERR_OK);
    assert_int_equal(wire_tree_field(tree, STR("l:y:1"), buf_str(&bytes)), ERR_OK);

    assert_int_equal(tree->link_count, 3);
    assert_true(tree->link[0].acknowledged);
    assert_false(tree->link[1].acknowledged);
    assert_ptr_equal(tree->link[0].from, tree_find(tree, STR("x")));
    assert_ptr_equal(tree->link[2].from, tree_find(tree, STR("y")));
    assert_true(str_is(tree->link[0].to, "other/run"));
    assert_true(str_eq(tree->link[0].link, buf_str(&bytes)));
    buf_fini(&bytes);
}

static void what_nobody_knows_is_passed_over(void **state)
{
    struct tree *tree = *state;
    static const char *const field[] = {"", "t:x", "w:x", "z:x", "n:x", "future", "s", "nn"};
    for (size_t i = 0; i < sizeof field / sizeof *field; i++)
        assert_int_equal(add(tree, field[i], "whatever"), ERR_OK);
    assert_int_equal(tree->run_count, 0);
}

static void a_known_field_that_does_not_decode_leaves_the_tree_alone(void **state)
{
    struct tree *tree = *state;
    static const char *const bad[][2] = {
        {"s:", "r:1:0:i:o::0:0"},
        {"s:a b", "r:1:0:i:o::0:0"},
        {"s:x:y", "r:1:0:i:o::0:0"},
        {"s:x", ""},
        {"s:x", "r"},
        {"s:x", "?:1:0:i:o::0:0"},
        {"s:x", "0:1:0:i:o::0:0"},
        {"s:x", "p:1:0:i:o::0:0"},
        {"s:x", "rr:1:0:i:o::0:0"},
        {"s:x", "r:-1:0:i:o::0:0"},
        {"s:x", "r:4294967296:0:i:o::0:0"},
        {"s:x", "r:1::i:o::0:0"},
        {"s:x", "r:1:0:i:o:a b:0:0"},
        {"s:x", "r:1:0:i:o::0"},
        {"s:x", "r:1:0:i:o::0:x"},
        {"s:x", "C:1:0:i:o::0:0:?"},
        {"d:x", "soon"},
        {"d:x", "-1"},
        {"x:x", "5"},
        {"x:x", "a:record"},
        {"l:x", "\x94\x01\x00\xa1x\xc2"},
        {"l:x:", "\x94\x01\x00\xa1x\xc2"},
        {"l:x:1", "\x94\x01\x00\xa1x"},
        {"l:x:1", "\x94\x02\x01\xa1x\xc2"},
        {"n", ""},
        {"b", "1.5"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (add(tree, bad[i][0], bad[i][1]) != ERR_MALFORMED)
            fail_msg("%s = %s", bad[i][0], bad[i][1]);
    assert_int_equal(tree->run_count, 0);
    assert_int_equal(tree->link_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define STORY(name) cmocka_unit_test_setup_teardown(name, fresh_tree, drop_tree)
        STORY(a_run_has_all_its_parts),
        STORY(a_placeholder_is_almost_empty),
        STORY(the_fields_of_one_run_come_in_any_order),
        STORY(a_story_tells_the_phases_that_no_report_told),
        STORY(the_counts_of_the_tree_are_read),
        STORY(a_link_is_decoded_and_seen_twice_is_one),
        STORY(what_nobody_knows_is_passed_over),
        STORY(a_known_field_that_does_not_decode_leaves_the_tree_alone),
#undef STORY
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
