/* An agentd that Redis has been out of reach of for longer than its lease. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/agent_world.h"

static struct agent_world world;

enum { LEASE_MS = 15000 };

static void fresh_with(bool cancels, enum agent_mode mode)
{
    struct agent_options options = agent_world_options();
    options.isolation_cancels = cancels;
    options.mode = mode;
    agent_world_init(&world, &options);
    world_link_up(&world, "server1", "g1");
    world_client_comes(&world, "ann");
    world_forget(&world);
}

static int fresh(void **state)
{
    (void)state;
    fresh_with(false, MODE_ENFORCE);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    agent_world_fini(&world);
    return 0;
}

static void start(const char *run, const char *parents, enum when_isolated when)
{
    struct ask_start start = world_start_of(run, parents);
    start.when_isolated = when;
    world_started(&world, "ann", start);
}

static bool is_isolated(void)
{
    return agent_isolated_for(world.agent, world.now).ms > 0;
}

static void be_isolated(void)
{
    world_link_down(&world);
    world_pass(&world, LEASE_MS);
    assert_true(is_isolated());
}

/* ---- when it stops ------------------------------------------------------------------------- */
static void after_a_lease_without_redis_it_stops_those_that_asked_for_it(void **state)
{
    (void)state;
    start("r", "", WHEN_ISOLATED_CONTINUE);
    start("a", "r", WHEN_ISOLATED_CANCEL);
    start("b", "a", WHEN_ISOLATED_DEFAULT);
    world_link_down(&world);
    world_pass(&world, LEASE_MS - 1);
    world_expect(&world, "");
    assert_false(is_isolated());
    world_pass(&world, 1);
    world_expect(&world, "a: running > stopping (cancel)\n"
                         "notify ann: a isolated, grace 10000\n"
                         "out of reach of redis for longer than the lease: 1\n");
    assert_true(str_is(world_view(&world, "a").record->by, "agentd"));
    world_pass(&world, 500);
    assert_int_equal(agent_isolated_for(world.agent, world.now).ms, LEASE_MS + 500);
}

static void the_daemon_may_ask_for_all(void **state)
{
    drop(state);
    fresh_with(true, MODE_ENFORCE);
    start("r", "", WHEN_ISOLATED_DEFAULT);
    start("a", "r", WHEN_ISOLATED_CONTINUE);
    world_link_down(&world);
    world_pass(&world, LEASE_MS);
    world_expect(&world, "r: running > stopping (cancel)\n"
                         "notify ann: r isolated, grace 10000\n"
                         "out of reach of redis for longer than the lease: 1\n");
}

static void a_link_that_is_half_open_is_none(void **state)
{
    (void)state;
    start("r", "", WHEN_ISOLATED_CANCEL);
    world_pass(&world, 5001);
    world_says(&world, STORE_LEASE_RENEW, SAID_OK);
    world_pass(&world, LEASE_MS - 1);
    world_expect(&world, "");
    world_pass(&world, 1);
    assert_true(is_isolated());
    world_expect(&world, "r: running > stopping (cancel)\n"
                         "notify ann: r isolated, grace 10000\n"
                         "out of reach of redis for longer than the lease: 1\n"
                         "report r r:1:2\n");
}

/* It cannot write, but what it says is heard here. */
static void a_redis_that_refuses_is_in_reach(void **state)
{
    (void)state;
    start("r", "", WHEN_ISOLATED_CANCEL);
    for (int i = 0; i < 5; i++) {
        world_pass(&world, 5001);
        if (world_open(&world, STORE_LEASE_RENEW) > 0)
            world_says(&world, STORE_LEASE_RENEW, SAID_UNWRITABLE);
        while (world_open(&world, STORE_LEASE) > 0)
            world_says(&world, STORE_LEASE, SAID_UNWRITABLE);
    }
    assert_false(is_isolated());
    assert_int_equal(world_view(&world, "r").state, RUN_RUNNING);
}

static void in_mode_observe_nothing_is_stopped(void **state)
{
    drop(state);
    fresh_with(true, MODE_OBSERVE);
    start("r", "", WHEN_ISOLATED_CANCEL);
    be_isolated();
    world_expect(&world, "");
}

/* What Redis has said meanwhile lies in the socket. */
static void after_a_freeze_it_listens_first(void **state)
{
    (void)state;
    start("r", "", WHEN_ISOLATED_CANCEL);
    world.now = instant_after(world.now, MILLIS(3 * LEASE_MS));
    world_feed(&world, (struct agent_event){.kind = AGENT_TIME_PASSED});
    assert_false(is_isolated());
    world_pass(&world, LEASE_MS / 3 - 1);
    assert_false(is_isolated());
    world_pass(&world, 1);
    assert_true(is_isolated());
}

static void who_wants_no_life_without_redis_is_not_started(void **state)
{
    (void)state;
    be_isolated();
    struct ask_start start = world_start_of("r", "");
    start.when_isolated = WHEN_ISOLATED_CANCEL;
    world_ask_start(&world, "ann", start);
    world_expect(&world, "subscribe r\nanswer 1: unavailable\nunsubscribe r\n");
    start.when_isolated = WHEN_ISOLATED_CONTINUE;
    world_ask_start(&world, "ann", start);
    assert_int_equal(world_view(&world, "r").state, RUN_RUNNING);
}

/* Somebody must end what Redis has. */
static void who_goes_on_with_a_run_is_told(void **state)
{
    (void)state;
    start("r", "", WHEN_ISOLATED_CANCEL);
    be_isolated();
    world_forget(&world);
    struct ask_start start = world_start_of("r", "");
    start.when_isolated = WHEN_ISOLATED_CANCEL;
    start.incarnation = STR("second");
    start.epoch = 1;
    start.takeover = true;
    world_ask_start(&world, "ann", start);
    assert_int_equal(world_view(&world, "r").state, RUN_STOPPING);
    world_ask_end(&world, "ann", "r", 1, RUN_CANCELLED);
    assert_int_equal(world_view(&world, "r").state, RUN_CANCELLED);
}

/* ---- what Redis learns --------------------------------------------------------------------- */
static void its_end_says_why(void **state)
{
    (void)state;
    start("r", "", WHEN_ISOLATED_CANCEL);
    be_isolated();
    world_ask_end(&world, "ann", "r", 1, RUN_CANCELLED);
    world_forget(&world);
    world_link_up(&world, "server1", "g1");
    world_expect(&world, "generation\n"
                         "replica_add\n"
                         "held_add r\n"
                         "root_add r\n"
                         "end r/r epoch 1 cancelled banning story\n"
                         "lease g1\n");
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_CANCELLED});
    assert_int_equal(world_view(&world, "r").state, RUN_CANCELLED);
}

static void who_had_ended_by_itself_was_not_cancelled(void **state)
{
    (void)state;
    start("r", "", WHEN_ISOLATED_CANCEL);
    be_isolated();
    world_ask_end(&world, "ann", "r", 1, RUN_SUCCESS);
    world_forget(&world);
    world_link_up(&world, "server1", "g1");
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_SUCCESS});
    assert_int_equal(world_view(&world, "r").state, RUN_SUCCESS);
    assert_null(world_view(&world, "r").record);
}

static void who_still_lives_is_cancelled_everywhere(void **state)
{
    (void)state;
    start("r", "", WHEN_ISOLATED_CANCEL);
    start("a", "r", WHEN_ISOLATED_CONTINUE);
    be_isolated();
    world_link_up(&world, "server1", "g1");
    assert_false(is_isolated());
    world_forget(&world);
    world_say_items(&world, STORE_RECONCILE,
                    (struct store_item){.verdict = SAID_GO, .state = RUN_RUNNING, .epoch = 1});
    world_expect(&world, "ask cancel r.r by agentd: isolated force\n");
    struct cancel_record record = world_record("r", "r");
    record.reason = STR("isolated");
    world_cancel_says(&world, PROBLEM_NONE, record);
    world_expect(&world, "a: running > stopping (cancel)\n"
                         "notify ann: a isolated, grace 10000\n");
}

/* The next life of the run is none of our business. */
static void another_life_is_not_cancelled(void **state)
{
    (void)state;
    start("r", "", WHEN_ISOLATED_CANCEL);
    be_isolated();
    world_link_up(&world, "server1", "g1");
    world_forget(&world);
    world_say_items(&world, STORE_RECONCILE,
                    (struct store_item){.verdict = SAID_FENCED, .state = RUN_RUNNING, .epoch = 2});
    world_expect(&world, "r: stopping > lost (fenced)\nunsubscribe r\nheld_drop r\n");
}

static void links_wait_for_the_record(void **state)
{
    (void)state;
    start("r", "", WHEN_ISOLATED_CANCEL);
    start("x", "", WHEN_ISOLATED_CONTINUE);
    world_ask_link(&world, "ann", "r", "x");
    world_says(&world, STORE_LINK, SAID_LINKED);
    be_isolated();
    assert_int_equal(world_view(&world, "x").state, RUN_RUNNING);
    world_link_up(&world, "server1", "g1");
    while (world_open(&world, STORE_RECONCILE) > 0)
        world_say_items(&world, STORE_RECONCILE,
                        (struct store_item){.verdict = SAID_GO, .state = RUN_RUNNING, .epoch = 1});
    world_forget(&world);
    struct cancel_record record = world_record("r", "r");
    record.reason = STR("isolated");
    world_cancel_says(&world, PROBLEM_NONE, record);
    world_expect(&world, "ask cancel x.x by broker: isolated force cause cause hops 1\n");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, drop)
    const struct CMUnitTest tests[] = {
        T(after_a_lease_without_redis_it_stops_those_that_asked_for_it),
        T(the_daemon_may_ask_for_all),
        T(a_link_that_is_half_open_is_none),
        T(a_redis_that_refuses_is_in_reach),
        T(in_mode_observe_nothing_is_stopped),
        T(after_a_freeze_it_listens_first),
        T(who_wants_no_life_without_redis_is_not_started),
        T(who_goes_on_with_a_run_is_told),
        T(its_end_says_why),
        T(who_had_ended_by_itself_was_not_cancelled),
        T(who_still_lives_is_cancelled_everywhere),
        T(another_life_is_not_cancelled),
        T(links_wait_for_the_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
