/* A replica on which SIGKILL did not help. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/agent_world.h"

static struct agent_world world;

static int fresh(void **state)
{
    (void)state;
    struct agent_options options = agent_world_options();
    agent_world_init(&world, &options);
    world_link_up(&world, "server1", "g1");
    world_client_comes(&world, "ann");
    world_forget(&world);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    agent_world_fini(&world);
    return 0;
}

static void renew(void)
{
    while (world_open(&world, STORE_LEASE_RENEW) > 0)
        world_says(&world, STORE_LEASE_RENEW, SAID_OK);
}

/* Lets time pass with a Redis that keeps the lease. */
static void pass(int64_t ms)
{
    for (int64_t step; ms > 0; ms -= step) {
        step = ms < 1000 ? ms : 1000;
        world_pass(&world, step);
        renew();
    }
}

static void start(const char *run, uint32_t pid)
{
    struct ask_start start = world_start_of(run, "");
    start.stop_count = 1;
    start.stop[0] = (struct stop_target){.kind = STOP_PROCESS, .grace = SPAN_NONE, .pid = pid};
    world_started(&world, "ann", start);
}

/* Cancelled, signalled, killed, and still there. */
static void fail_to_kill(const char *run)
{
    struct cancel_record record = world_record(run, run);
    record.grace = MILLIS(0);
    world_hear(&world, record);
    pass(5000);
}

static void be_quarantined(void)
{
    start("r", 100);
    fail_to_kill("r");
    assert_true(agent_is_quarantined(world.agent));
    world_says(&world, STORE_QUARANTINE_ADD, SAID_OK);
    world_forget(&world);
}

static void say_list(const struct str *list, size_t count)
{
    world_say(&world, STORE_QUARANTINE_READ,
              (struct store_answer){.verdict = SAID_OK, .list_count = count, .list = list});
}

static void ask_start(const char *run)
{
    world_ask_start(&world, "ann", world_start_of(run, ""));
}

/* ---- stories ------------------------------------------------------------------------------- */
static void where_a_kill_fails_no_new_run_starts(void **state)
{
    (void)state;
    start("r", 100);
    start("s", 200);
    world_hear(&world, world_record("r", "r"));
    pass(9999);
    assert_false(agent_is_quarantined(world.agent));
    world_forget(&world);
    pass(1);
    world_expect(&world, "count unresponsive\n"
                         "r: stopping > stopping (SIGKILL did not help)\n"
                         "quarantined: SIGKILL did not help: 1\n"
                         "quarantine_add\n"
                         "report r r:1:20\n");
    ask_start("t");
    world_expect(&world, "answer 1: overloaded\n");
    ask_start("s");
    world_expect(&world, "answer 1: ok s epoch 1 running\n");
}

static void it_is_over_when_the_run_has_ended(void **state)
{
    (void)state;
    be_quarantined();
    world_process(&world, AGENT_PROCESS_EMPTY, "r");
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_CANCELLED});
    assert_false(agent_is_quarantined(world.agent));
    world_expect(&world, "end r/r epoch 1 cancelled story\n"
                         "close process of r\n"
                         "r: stopping > cancelled (end)\n"
                         "quarantine_drop\n"
                         "unsubscribe r\n"
                         "held_drop r\n");
}

static void of_two_both_must_end(void **state)
{
    (void)state;
    start("s", 200);
    be_quarantined();
    fail_to_kill("s");
    world_says(&world, STORE_QUARANTINE_ADD, SAID_OK);
    world_process(&world, AGENT_PROCESS_EMPTY, "r");
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_CANCELLED});
    assert_true(agent_is_quarantined(world.agent));
    world_process(&world, AGENT_PROCESS_EMPTY, "s");
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_CANCELLED});
    assert_false(agent_is_quarantined(world.agent));
}

static void an_operator_may_lift_it(void **state)
{
    (void)state;
    const struct str others[] = {STR("there"), STR("here")};
    be_quarantined();
    pass(5001);
    say_list(others, 2);
    assert_true(agent_is_quarantined(world.agent));
    world_forget(&world);
    pass(5001);
    say_list(others, 1);
    world_expect(&world, "quarantine_read\n"
                         "quarantine was lifted by an operator: 1\n");
    ask_start("t");
    assert_int_equal(world_view(&world, "t").state, RUN_PENDING);
    world_forget(&world);
    pass(5001); /* and nobody asks any more */
    assert_int_equal(world_open(&world, STORE_QUARANTINE_READ), 0);
}

/* What the operator said was before it. */
static void the_next_failure_is_a_new_one(void **state)
{
    (void)state;
    start("s", 200);
    be_quarantined();
    pass(5001);
    fail_to_kill("s");
    while (world_open(&world, STORE_QUARANTINE_READ) > 0)
        say_list(NULL, 0);
    assert_true(agent_is_quarantined(world.agent));
    world_says(&world, STORE_QUARANTINE_ADD, SAID_OK);
    pass(5001);
    say_list(NULL, 0);
    assert_false(agent_is_quarantined(world.agent));
}

static void a_list_that_redis_forgot_is_no_word_of_an_operator(void **state)
{
    (void)state;
    be_quarantined();
    world_link_down(&world);
    world_link_up(&world, "server2", "g2");
    world_says(&world, STORE_ASSERT, SAID_ADOPTED);
    world_says(&world, STORE_LEASE, SAID_OK);
    world_pass(&world, 50); /* and the reports */
    world_forget(&world);
    world_pass(&world, 5001);
    world_expect(&world, "quarantine_add\n");
    assert_true(agent_is_quarantined(world.agent));
    world_says(&world, STORE_QUARANTINE_ADD, SAID_OK);
    world_pass(&world, 5001);
    world_expect(&world, "quarantine_read\n");
    world_says(&world, STORE_LEASE_RENEW, SAID_GONE); /* emptied, under our feet */
    say_list(NULL, 0);
    assert_true(agent_is_quarantined(world.agent));
}

/* Refused to be recorded, it holds here all the same, and is said again. */
static void what_was_not_taken_is_said_again(void **state)
{
    (void)state;
    start("r", 100);
    fail_to_kill("r");
    world_says(&world, STORE_QUARANTINE_ADD, SAID_UNWRITABLE);
    world_forget(&world);
    pass(5001);
    world_expect(&world, "quarantine_add\n");
    assert_true(agent_is_quarantined(world.agent));
}

static void an_end_overtakes_its_listing(void **state)
{
    (void)state;
    start("r", 100);
    fail_to_kill("r");
    world_process(&world, AGENT_PROCESS_EMPTY, "r");
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_CANCELLED});
    world_forget(&world);
    world_says(&world, STORE_QUARANTINE_ADD, SAID_OK);
    world_expect(&world, "quarantine_drop\n");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, drop)
    const struct CMUnitTest tests[] = {
        T(where_a_kill_fails_no_new_run_starts),
        T(it_is_over_when_the_run_has_ended),
        T(of_two_both_must_end),
        T(an_operator_may_lift_it),
        T(the_next_failure_is_a_new_one),
        T(a_list_that_redis_forgot_is_no_word_of_an_operator),
        T(what_was_not_taken_is_said_again),
        T(an_end_overtakes_its_listing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
