/* Orders that refuse new runs, told as what an agent wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/agent_world.h"
#include "wire/order.h"

static struct agent_world world;
static struct buf record;

static int fresh(void **state)
{
    (void)state;
    struct agent_options options = agent_world_options();
    agent_world_init(&world, &options);
    world_link_up(&world, "server1", "g1");
    world_forget(&world);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    agent_world_fini(&world);
    buf_fini(&record);
    return 0;
}

static struct store_order hold_of(struct order order, int64_t left_ms)
{
    order.grace = SPAN_NONE;
    buf_clear(&record);
    assert_int_equal(wire_order_encode(&order, &record), ERR_OK);
    return (struct store_order){
        .id = STR("o1"), .record = {record.bytes, record.len}, .hold_left = MILLIS(left_ms)};
}

static struct order of_agent(const char *agent)
{
    return (struct order){.selector.agent = str_of(agent), .by = STR("user:op")};
}

/* What Redis answers to the read that is on its way. */
static void orders_are(int64_t version, const struct store_order *order)
{
    world_say(&world, STORE_ORDERS_READ,
              (struct store_answer){.verdict = SAID_OK,
                                    .number = version,
                                    .order_count = order != NULL ? 1 : 0,
                                    .order = order});
}

static void version_is(int64_t version)
{
    world_say(&world, STORE_ORDERS_VERSION,
              (struct store_answer){.verdict = SAID_OK, .number = version});
}

static void hold(const char *agent)
{
    struct store_order order = hold_of(of_agent(agent), 60000);
    world_pass(&world, 100); /* since the read of the link-up */
    world_feed(&world, (struct agent_event){.kind = AGENT_ORDERS_SEEN});
    orders_are(1, &order);
    world_forget(&world);
}

static struct ask_start run_of_agent(const char *run, const char *agent)
{
    struct ask_start start = world_start_of(run, "");
    start.meta.agent = str_of(agent);
    return start;
}

static void what_an_order_holds_is_refused(void **state)
{
    (void)state;
    hold("researcher");
    world_ask_start(&world, "ann", run_of_agent("", "researcher"));
    world_expect(&world, "answer 1: held\n");
    world_ask_start(&world, "ann", run_of_agent("", "writer"));
    assert_int_equal(world_open(&world, STORE_START), 1);
}

static void a_brought_id_is_refused_only_when_it_is_new(void **state)
{
    (void)state;
    hold("researcher");
    world_ask_start(&world, "ann", run_of_agent("r", "researcher"));
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    assert_int_equal(world_open(&world, STORE_START), 0);
    world_say(&world, STORE_PEEK,
              (struct store_answer){.verdict = SAID_OK, .state = RUN_RUNNING, .epoch = 1});
    assert_int_equal(world_open(&world, STORE_START), 1);
    world_forget(&world);
    world_ask_start(&world, "ann", run_of_agent("s", "researcher"));
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_forget(&world);
    world_says(&world, STORE_PEEK, SAID_UNKNOWN);
    assert_int_equal(world_open(&world, STORE_START), 1);
    world_expect(&world, "answer 1: held\n"
                         "find_drop s id s\n"
                         "unsubscribe s\n");
}

/* Whatever becomes of the look at the version: Redis may forget the order in between. */
static void a_hold_that_is_known_by_then_stops_the_run_at_once(void **state)
{
    (void)state;
    world_ask_start(&world, "ann", run_of_agent("r", "researcher"));
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    hold("researcher");
    world_say(&world, STORE_START, (struct store_answer){.verdict = SAID_STARTED, .epoch = 1});
    assert_int_equal(world_open(&world, STORE_ORDERS_VERSION), 1);
    assert_int_equal(world_view(&world, "r").state, RUN_STOPPING);
    assert_true(str_is(world_view(&world, "r").record->by, "order:o1"));
}

/* The start script was carried out before the agent had heard of the hold. */
static void a_hold_that_came_in_between_stops_the_run(void **state)
{
    (void)state;
    world_started(&world, "ann", run_of_agent("r", "researcher"));
    version_is(1);
    struct store_order order = hold_of(of_agent("researcher"), 60000);
    orders_are(1, &order);
    assert_int_equal(world_view(&world, "r").state, RUN_STOPPING);
    assert_true(str_is(world_view(&world, "r").record->reason, "held"));
    assert_true(str_is(world_view(&world, "r").record->by, "order:o1"));
}

/* Found by the simulator: the start was asked for before the hold was known, and sent after. */
static void a_hold_that_came_between_the_ask_and_the_script_stops_the_run(void **state)
{
    (void)state;
    world_pass(&world, 100);
    world_ask_start(&world, "ann", run_of_agent("r", "researcher"));
    hold("researcher");
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_says(&world, STORE_START, SAID_STARTED);
    version_is(1);
    assert_int_equal(world_view(&world, "r").state, RUN_STOPPING);
}

static void a_run_that_was_there_before_is_left_alone(void **state)
{
    (void)state;
    world_started(&world, "ann", run_of_agent("r", "researcher"));
    version_is(0);
    hold("researcher");
    assert_int_equal(world_view(&world, "r").state, RUN_RUNNING);
}

static void what_starts_while_the_version_is_asked_is_asked_for_again(void **state)
{
    (void)state;
    world_started(&world, "ann", run_of_agent("r", "researcher"));
    world_started(&world, "ann", run_of_agent("s", "researcher"));
    assert_int_equal(world_open(&world, STORE_ORDERS_VERSION), 1);
    version_is(0);
    assert_int_equal(world_open(&world, STORE_ORDERS_VERSION), 1);
    version_is(1);
    struct store_order order = hold_of(of_agent("researcher"), 60000);
    orders_are(1, &order);
    assert_int_equal(world_view(&world, "r").state, RUN_RUNNING);
    assert_int_equal(world_view(&world, "s").state, RUN_STOPPING);
}

static void a_hold_ends_by_itself(void **state)
{
    (void)state;
    hold("researcher");
    world_pass(&world, 60000);
    world_ask_start(&world, "ann", run_of_agent("", "researcher"));
    assert_int_equal(world_open(&world, STORE_START), 1);
}

static void a_hold_that_was_lifted_holds_no_more(void **state)
{
    (void)state;
    hold("researcher");
    world_pass(&world, 100);
    world_feed(&world, (struct agent_event){.kind = AGENT_ORDERS_SEEN});
    orders_are(2, NULL);
    world_ask_start(&world, "ann", run_of_agent("", "researcher"));
    assert_int_equal(world_open(&world, STORE_START), 1);
}

static void many_hints_are_one_read_in_a_tenth_of_a_second(void **state)
{
    (void)state;
    hold("researcher");
    for (int i = 0; i < 10; i++)
        world_feed(&world, (struct agent_event){.kind = AGENT_ORDERS_SEEN});
    assert_int_equal(world_open(&world, STORE_ORDERS_READ), 0);
    world_pass(&world, 100);
    assert_int_equal(world_open(&world, STORE_ORDERS_READ), 1);
}

static void orders_are_read_at_every_link_up_and_judge_what_started_without_redis(void **state)
{
    (void)state;
    world_link_down(&world);
    world_drop_calls(&world);
    world_ask_start(&world, "ann", run_of_agent("r", "researcher"));
    assert_int_equal(world_view(&world, "r").state, RUN_RUNNING);
    world_feed(&world, (struct agent_event){.kind = AGENT_LINK_UP, .text = STR("server1")});
    struct store_order order = hold_of(of_agent("researcher"), 60000);
    orders_are(1, &order);
    assert_int_equal(world_view(&world, "r").state, RUN_STOPPING);
}

static void in_mode_observe_nothing_is_held(void **state)
{
    (void)state;
    agent_world_fini(&world);
    struct agent_options options = agent_world_options();
    options.mode = MODE_OBSERVE;
    agent_world_init(&world, &options);
    world_link_up(&world, "server1", "g1");
    hold("researcher");
    world_ask_start(&world, "ann", run_of_agent("", "researcher"));
    assert_int_equal(world_open(&world, STORE_START), 1);
}

static void an_order_that_does_not_decode_is_counted_and_holds_nothing(void **state)
{
    (void)state;
    world_pass(&world, 100);
    world_feed(&world, (struct agent_event){.kind = AGENT_ORDERS_SEEN});
    world_forget(&world);
    struct store_order broken = {.id = STR("o1"), .record = STR("?"), .hold_left = MILLIS(1000)};
    orders_are(1, &broken);
    assert_int_equal(agent_holds(world.agent), 0);
    world_ask_start(&world, "ann", run_of_agent("", "researcher"));
    assert_int_equal(world_open(&world, STORE_START), 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, drop)
    const struct CMUnitTest tests[] = {
        T(what_an_order_holds_is_refused),
        T(a_brought_id_is_refused_only_when_it_is_new),
        T(a_hold_that_is_known_by_then_stops_the_run_at_once),
        T(a_hold_that_came_in_between_stops_the_run),
        T(a_hold_that_came_between_the_ask_and_the_script_stops_the_run),
        T(a_run_that_was_there_before_is_left_alone),
        T(what_starts_while_the_version_is_asked_is_asked_for_again),
        T(a_hold_ends_by_itself),
        T(a_hold_that_was_lifted_holds_no_more),
        T(many_hints_are_one_read_in_a_tenth_of_a_second),
        T(orders_are_read_at_every_link_up_and_judge_what_started_without_redis),
        T(in_mode_observe_nothing_is_held),
        T(an_order_that_does_not_decode_is_counted_and_holds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
