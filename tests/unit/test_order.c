/* What a selector matches, and orders as bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "wire/order.h"

static const struct run_meta researcher = {
    .agent = {"researcher", 10},
    .thread = {"t1", 2},
    .label_count = 2,
    .label = {{{"version", 7}, {"1.4", 3}}, {{"team", 4}, {"x", 1}}},
};

static bool selects(struct order_selector selector)
{
    return order_selects(&selector, STR("r"), &researcher);
}

static void everything_that_was_given_must_be_equal(void **state)
{
    (void)state;
    assert_true(selects((struct order_selector){.all = true}));
    assert_true(selects((struct order_selector){.agent = STR("researcher")}));
    assert_false(selects((struct order_selector){.agent = STR("research")}));
    assert_true(selects((struct order_selector){.thread = STR("t1"), .root = STR("r")}));
    assert_false(selects((struct order_selector){.thread = STR("t1"), .root = STR("q")}));
    assert_true(selects((struct order_selector){
        .agent = STR("researcher"), .label_count = 1, .label = {{STR("version"), STR("1.4")}}}));
    assert_false(selects((struct order_selector){
        .label_count = 2, .label = {{STR("version"), STR("1.4")}, {STR("team"), STR("y")}}}));
    assert_false(
        selects((struct order_selector){.label_count = 1, .label = {{STR("region"), STR("")}}}));
}

static void an_empty_selector_selects_nothing(void **state)
{
    (void)state;
    assert_false(order_selects_something(&(struct order_selector){0}));
    assert_true(order_selects_something(&(struct order_selector){.all = true}));
    assert_true(order_selects_something(&(struct order_selector){.label_count = 1}));
}

static const struct order full = {
    .selector = {.root = {"r", 1},
                 .agent = {"a", 1},
                 .thread = {"t", 1},
                 .label_count = 1,
                 .label = {{{"k", 1}, {"v", 1}}}},
    .action = ORDER_ROLLBACK,
    .reason = {"why", 3},
    .by = {"user:op", 7},
    .at = {1767225600000},
    .grace = {0},
    .hold = {60000},
};

static void an_order_comes_back_as_it_was_written(void **state)
{
    (void)state;
    struct buf bytes = {0};
    struct order order;
    assert_int_equal(wire_order_encode(&full, &bytes), ERR_OK);
    assert_int_equal(wire_order_decode(buf_str(&bytes), &order), ERR_OK);
    assert_true(str_is(order.selector.root, "r") && str_is(order.selector.agent, "a"));
    assert_true(str_is(order.selector.thread, "t") && !order.selector.all);
    assert_int_equal(order.selector.label_count, 1);
    assert_true(str_is(order.selector.label[0].key, "k"));
    assert_true(str_is(order.selector.label[0].value, "v"));
    assert_int_equal(order.action, ORDER_ROLLBACK);
    assert_true(str_is(order.reason, "why") && str_is(order.by, "user:op"));
    assert_int_equal(order.at.ms, full.at.ms);
    assert_int_equal(order.grace.ms, 0);
    assert_int_equal(order.hold.ms, 60000);
    buf_fini(&bytes);
}

static void bytes_that_are_cut_or_select_nothing_are_refused(void **state)
{
    (void)state;
    struct buf bytes = {0};
    struct order order;
    assert_int_equal(wire_order_encode(&full, &bytes), ERR_OK);
    for (size_t len = 0; len < bytes.len; len++)
        assert_int_not_equal(wire_order_decode((struct str){bytes.bytes, len}, &order), ERR_OK);
    buf_clear(&bytes);
    struct order nothing = {.by = STR("x"), .grace = SPAN_NONE};
    assert_int_equal(wire_order_encode(&nothing, &bytes), ERR_OK);
    assert_int_equal(wire_order_decode(buf_str(&bytes), &order), ERR_MALFORMED);
    buf_fini(&bytes);
}

static void progress_names_what_failed(void **state)
{
    (void)state;
    static struct order_progress progress, back;
    struct buf bytes = {0};
    progress = (struct order_progress){.is_done = true,
                                       .roots = 7,
                                       .matched = 5,
                                       .accepted = 1,
                                       .already = 2,
                                       .covered = 1,
                                       .failed = 1,
                                       .finished = {1767225600000},
                                       .failure_count = 1,
                                       .failure = {{STR("r"), STR("x"), STR("full")}}};
    assert_int_equal(wire_progress_encode(&progress, &bytes), ERR_OK);
    assert_int_equal(wire_progress_decode(buf_str(&bytes), &back), ERR_OK);
    assert_true(back.is_done);
    assert_int_equal(back.roots + 10 * back.matched + 100 * back.already, 257);
    assert_int_equal(back.accepted + 10 * back.covered + 100 * back.failed, 111);
    assert_int_equal(back.failure_count, 1);
    assert_true(str_is(back.failure[0].run, "x") && str_is(back.failure[0].code, "full"));
    buf_fini(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_that_was_given_must_be_equal),
        cmocka_unit_test(an_empty_selector_selects_nothing),
        cmocka_unit_test(an_order_comes_back_as_it_was_written),
        cmocka_unit_test(bytes_that_are_cut_or_select_nothing_are_refused),
        cmocka_unit_test(progress_names_what_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
