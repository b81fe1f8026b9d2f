/* What another protocol calls a run, told as what the agent wants. */
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
    options.tombstone_ttl = SECONDS(400);
    agent_world_init(&world, &options);
    world_link_up(&world, "server1", "g1");
    world_forget(&world);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    agent_world_fini(&world);
    return 0;
}

static void ask_for(const char *run, const char *alias)
{
    struct ask_start start = world_start_of(run, "");
    start.alias = str_of(alias);
    world_ask_start(&world, "ann", start);
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
}

static void a_start_is_answered_when_its_alias_is_known(void **state)
{
    (void)state;
    ask_for("r", "a2a:t-1");
    world_forget(&world);
    world_says(&world, STORE_START, SAID_STARTED);
    world_expect(&world, "r: pending > running (start)\n"
                         "alias r/r id a2a:t-1 force\n");
    world_says(&world, STORE_ALIAS, SAID_OK);
    world_expect(&world, "answer 1: created r epoch 1 running\n");
}

static void a_start_that_is_refused_leaves_the_alias_alone(void **state)
{
    (void)state;
    ask_for("r", "a2a:t-1");
    world_says(&world, STORE_START, SAID_OVER);
    assert_int_equal(world_open(&world, STORE_ALIAS), 0);
}

/* The latest turn of a task may be another run by now. */
static void who_registers_again_does_not_take_it_back(void **state)
{
    (void)state;
    ask_for("r", "a2a:t-1");
    world_forget(&world);
    world_says(&world, STORE_START, SAID_ALREADY);
    world_expect(&world, "r: pending > running (start)\n"
                         "alias r/r id a2a:t-1\n");
    world_says(&world, STORE_ALIAS, SAID_EXISTS);
    world_expect(&world, "answer 1: ok r epoch 1 running\n");
}

static void what_redis_did_not_hear_is_said_again_with_the_next_look(void **state)
{
    (void)state;
    ask_for("r", "a2a:t-1");
    world_says(&world, STORE_START, SAID_STARTED);
    world_forget(&world);
    world_says(&world, STORE_ALIAS, SAID_OFFLINE);
    world_expect(&world, "answer 1: created r epoch 1 running\n");
    world_pass(&world, 40000); /* 30 s and a fifth at most */
    assert_int_equal(world_open(&world, STORE_ALIAS), 1);
    world_says(&world, STORE_ALIAS, SAID_OK);
    world_says(&world, STORE_RECONCILE, SAID_OK);
    world_pass(&world, 40000);
    assert_int_equal(world_open(&world, STORE_ALIAS), 0);
}

static void an_alias_is_renewed_long_before_it_is_forgotten(void **state)
{
    (void)state;
    ask_for("r", "a2a:t-1");
    world_says(&world, STORE_START, SAID_STARTED);
    world_says(&world, STORE_ALIAS, SAID_OK);
    world_pass(&world, 40000);
    assert_int_equal(world_open(&world, STORE_ALIAS), 0);
    world_say_items(&world, STORE_RECONCILE, (struct store_item){.verdict = SAID_GO, .epoch = 1});
    world_pass(&world, 100000);
    assert_int_equal(world_open(&world, STORE_ALIAS), 1);
}

static void a_run_that_began_without_redis_takes_its_alias_when_it_is_back(void **state)
{
    (void)state;
    world_link_down(&world);
    struct ask_start start = world_start_of("r", "");
    start.alias = STR("a2a:t-1");
    world_ask_start(&world, "ann", start);
    assert_int_equal(world_open(&world, STORE_ALIAS), 0);
    world_link_up(&world, "server1", "g1");
    assert_int_equal(world_open(&world, STORE_ALIAS), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_start_is_answered_when_its_alias_is_known, fresh, drop),
        cmocka_unit_test_setup_teardown(a_start_that_is_refused_leaves_the_alias_alone, fresh,
                                        drop),
        cmocka_unit_test_setup_teardown(who_registers_again_does_not_take_it_back, fresh, drop),
        cmocka_unit_test_setup_teardown(what_redis_did_not_hear_is_said_again_with_the_next_look,
                                        fresh, drop),
        cmocka_unit_test_setup_teardown(an_alias_is_renewed_long_before_it_is_forgotten, fresh,
                                        drop),
        cmocka_unit_test_setup_teardown(
            a_run_that_began_without_redis_takes_its_alias_when_it_is_back, fresh, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
