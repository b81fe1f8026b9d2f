/* What an agent does when the link to Redis comes and goes, and when Redis forgets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

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

static struct store_item go(void)
{
    return (struct store_item){.verdict = SAID_GO, .state = RUN_RUNNING, .epoch = 1};
}

static void the_first_link_makes_a_replica_with_a_lease(void **state)
{
    (void)state;
    struct agent_options options = agent_world_options();
    drop(state);
    agent_world_init(&world, &options);
    assert_false(agent_is_ready(world.agent));
    world_link_up(&world, "server1", "g1");
    world_expect(&world, "generation\n"
                         "replica_add\n"
                         "lease g1\n");
    assert_true(agent_is_ready(world.agent));
    assert_true(str_is(agent_generation(world.agent), "g1"));
    world_pass(&world, 5001);
    assert_int_equal(world_open(&world, STORE_LEASE_RENEW), 1);
}

static void a_replica_that_redis_did_not_take_down_says_so_again(void **state)
{
    (void)state;
    struct agent_options options = agent_world_options();
    drop(state);
    agent_world_init(&world, &options);
    world_feed(&world, (struct agent_event){.kind = AGENT_LINK_UP, .text = STR("server1")});
    world_say(&world, STORE_GENERATION,
              (struct store_answer){.verdict = SAID_OK, .text = STR("g1")});
    world_link_down(&world);
    world_forget(&world);
    world_link_up(&world, "server1", "g1");
    world_expect(&world, "generation\n"
                         "replica_add\n"
                         "lease g1\n");
}

static void on_every_link_up_live_runs_are_compared(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_start(&world, "ann", "a", "r");
    world_link_down(&world);
    world_link_up(&world, "server1", "g1");
    world_expect(&world, "generation\n"
                         "lease g1\n"
                         "reconcile r r:1:0 a:1:0\n");
    world_say_items(&world, STORE_RECONCILE, go());
    world_expect(&world, "");
}

/* Nobody else takes that back. */
static void a_run_that_was_suspect_says_that_it_lives(void **state)
{
    (void)state;
    struct store_item suspect = go();
    suspect.flags = RUN_FLAG_SUSPECT;
    world_start(&world, "ann", "r", "");
    world_start(&world, "ann", "a", "r");
    world_link_down(&world);
    world_link_up(&world, "server1", "g1");
    world_forget(&world);
    world_say_items(&world, STORE_RECONCILE, suspect);
    world_expect(&world, "find_claim r id r\n"
                         "root_add r\n"
                         "assert r/r below '' epoch 1\n"
                         "find_claim r id a\n"
                         "assert r/a below 'r' epoch 1\n");
}

/* Redis forgot an adoption: that is no later life. */
static void a_report_of_an_epoch_that_redis_forgot_fences_nobody(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("r", "");
    start.epoch = 1;
    start.takeover = true;
    world_ask_start(&world, "ann", start);
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_EXISTS, .epoch = 1, .owner = STR("there")});
    world_say(&world, STORE_ASSERT, (struct store_answer){.verdict = SAID_ADOPTED, .epoch = 2});
    world_hear(&world, world_record("r", "r"));
    world_forget(&world);
    world_say_items(&world, STORE_REPORT,
                    (struct store_item){.verdict = SAID_FENCED, .state = RUN_RUNNING, .epoch = 1});
    world_expect(&world, "find_claim r id r\n"
                         "root_add r\n"
                         "assert r/r below '' epoch 2\n");
}

/* Its root is nobody's run, so nobody else says that there is a tree. */
static void a_child_lists_a_root_that_never_ran(void **state)
{
    (void)state;
    world_ask_start(&world, "ann", world_start_of("a", "r"));
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_forget(&world);
    world_say(
        &world, STORE_START,
        (struct store_answer){.verdict = SAID_STARTED, .epoch = 1, .flags = RUN_FLAG_PARENT_GONE});
    world_expect(&world, "root_add r\n"
                         "a: pending > running (start)\n"
                         "answer 1: created r.a epoch 1 running\n");
}

/* A cancel has made the tree, so Redis does not say that it was gone; and whoever carries the root
 * may never come back to say that there is one. */
static void an_assertion_below_a_root_elsewhere_lists_it(void **state)
{
    (void)state;
    world_link_down(&world);
    world_ask_start(&world, "ann", world_start_of("a", "r"));
    world_forget(&world);
    world_link_up(&world, "server1", "g1");
    world_expect(&world, "generation\n"
                         "held_add r\n"
                         "root_add r\n"
                         "find_claim r id a\n"
                         "assert r/a below 'r' epoch 1\n");
}

/* Its client may have been told by the agentd that was here before. */
static void without_redis_nobody_says_that_a_run_was_not_cancelled(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_link_down(&world);
    world_forget(&world);
    world_ask_ack(&world, "ann", "r", ACK_ACKNOWLEDGED);
    world_ask_end(&world, "ann", "r", 1, RUN_CANCELLED);
    world_expect(&world, "answer 3: unavailable r epoch 1 running\n"
                         "answer 2: unavailable r epoch 1 running\n");
}

/* Another replica told it to everybody while Redis could not record it; then Redis can. */
static void an_end_that_overtakes_its_cancel_waits_for_it(void **state)
{
    (void)state;
    struct cancel_record record = world_record("r", "r");
    record.unrecorded = true;
    world_start(&world, "ann", "r", "");
    world_hear(&world, record);
    world_forget(&world);
    world_ask_end(&world, "ann", "r", 1, RUN_CANCELLED);
    world_expect(&world, "end r/r epoch 1 cancelled story\n");
    world_says(&world, STORE_END, SAID_NOT_CANCELLED);
    world_expect(&world, "r: stopping > cancelled (end)\n"
                         "answer 2: pending r epoch 1 cancelled cancel r.r by broker\n");
    world_pass(&world, 1000);
    world_expect(&world, "cancel r/r force\n"
                         "end r/r epoch 1 cancelled story\n");
}

static void a_cancel_missed_while_offline_is_found(void **state)
{
    (void)state;
    struct cancel_record record = world_record("r", "r");
    world_start(&world, "ann", "r", "");
    world_link_down(&world);
    world_link_up(&world, "server1", "g1");
    world_forget(&world);
    world_say_items(&world, STORE_RECONCILE,
                    (struct store_item){.verdict = SAID_STOP,
                                        .epoch = 1,
                                        .ban = STR("r"),
                                        .record = world_bytes(&world, &record)});
    world_expect(&world, "count reconcile found\n"
                         "r: running > stopping (cancel)\n"
                         "notify ann: r enough, grace 10000\n"
                         "report r r:1:2\n");
}

/* No link broke, and still the message never came. */
static void a_cancel_that_nobody_heard_of_is_found_within_a_period(void **state)
{
    (void)state;
    struct cancel_record record = world_record("r", "r");
    world_start(&world, "ann", "r", "");
    world_forget(&world);
    world_pass(&world, 36001); /* 30 s and a fifth */
    assert_int_equal(world_open(&world, STORE_RECONCILE), 1);
    world_forget(&world);
    world_say_items(&world, STORE_RECONCILE,
                    (struct store_item){.verdict = SAID_STOP,
                                        .epoch = 1,
                                        .ban = STR("r"),
                                        .record = world_bytes(&world, &record)});
    world_expect(&world, "count reconcile found\n"
                         "r: running > stopping (cancel)\n"
                         "notify ann: r enough, grace 10000\n"
                         "report r r:1:2\n");
}

static void after_a_loss_all_is_told_again_in_order(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_start(&world, "ann", "a", "r");
    world_start(&world, "ann", "b", "a");
    world_start(&world, "ann", "c", "r");
    world_hear(&world, world_record("r", "a"));
    world_ask_end(&world, "ann", "c", 1, RUN_SUCCESS);
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_SUCCESS});
    world_link_down(&world);
    world_forget(&world);
    world_feed(&world, (struct agent_event){.kind = AGENT_LINK_UP, .text = STR("server1")});
    world_say(&world, STORE_GENERATION,
              (struct store_answer){.verdict = SAID_OK, .text = STR("g2")});
    world_expect(&world, "generation\n"
                         "replica_add\n"
                         "held_add r\n"
                         "root_add r\n"
                         "cancel r/a force\n"
                         "find_claim r id r\n"
                         "root_add r\n"
                         "assert r/r below '' epoch 1\n"
                         "find_claim r id a\n"
                         "assert r/a below 'r' epoch 1\n"
                         "find_claim r id b\n"
                         "assert r/b below 'r.a' epoch 1\n"
                         "end r/c epoch 1 success\n");
    world_says(&world, STORE_CANCEL, SAID_ACCEPTED);
    for (int i = 0; i < 3; i++)
        world_says(&world, STORE_ASSERT, SAID_ADOPTED);
    world_pass(&world, 50);
    world_expect(&world, "lease g2\n"
                         "report r a:1:2 b:1:2\n");
    world_says(&world, STORE_END, SAID_UNKNOWN);
    world_expect(&world, "find_claim r id c\n"
                         "assert r/c below 'r' epoch 1\n"
                         "end r/c epoch 1 success\n");
}

static void another_server_is_a_loss_too(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_link_down(&world);
    world_link_up(&world, "server2", "g1");
    assert_int_equal(world_open(&world, STORE_ASSERT), 1);
}

static void a_run_asserted_below_a_ban_is_told(void **state)
{
    (void)state;
    struct cancel_record record = world_record("r", "r");
    world_start(&world, "ann", "r", "");
    world_link_down(&world);
    world_link_up(&world, "server2", "g2");
    world_forget(&world);
    world_say(&world, STORE_ASSERT,
              (struct store_answer){.verdict = SAID_STOP,
                                    .epoch = 1,
                                    .flags = RUN_FLAG_LATE,
                                    .ban = STR("r"),
                                    .record = world_bytes(&world, &record)});
    world_expect(&world, "count late\n"
                         "r: running > stopping (cancel)\n"
                         "notify ann: r enough, grace 10000\n"
                         "lease g2\n"
                         "report r r:1:2\n");
}

static void a_fenced_run_stops_and_ends_nothing(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_pass(&world, 36001);
    world_forget(&world);
    world_say_items(&world, STORE_RECONCILE,
                    (struct store_item){.verdict = SAID_FENCED, .epoch = 2});
    world_expect(&world, "r: running > stopping (cancel)\n"
                         "notify ann: r fenced, grace 10000\n"
                         "r: stopping > lost (fenced)\n"
                         "unsubscribe r\n"
                         "held_drop r\n");
    world_ask_end(&world, "ann", "r", 1, RUN_SUCCESS);
    world_expect(&world, "answer 2: fenced r epoch 1 lost cancel r.r by brakewire\n");
}

/* Not even while Redis, which would say so, is away: what is known here is enough. */
static void a_fenced_life_does_not_begin_again(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_pass(&world, 36001);
    world_say_items(&world, STORE_RECONCILE,
                    (struct store_item){.verdict = SAID_FENCED, .epoch = 2});
    world_forget(&world);
    struct ask_start start = world_start_of("r", "");
    world_ask_start(&world, "ann", start);
    world_expect(&world, "answer 1: fenced r epoch 1 lost cancel r.r by brakewire\n");
    world_link_down(&world);
    world_forget(&world);
    start.incarnation = STR("another");
    start.epoch = 1;
    start.takeover = true;
    world_ask_start(&world, "ann", start);
    world_expect(&world, "answer 1: fenced r epoch 1 lost cancel r.r by brakewire\n");
}

/* Taken over while Redis was away; then the link breaks, or Redis cannot write, once more. */
static void an_adoption_that_was_not_answered_is_made_again(void **state)
{
    (void)state;
    struct store_answer fenced = {.verdict = SAID_FENCED, .epoch = 1, .owner = STR("here")};
    struct ask_start start = world_start_of("r", "");
    start.epoch = 1;
    start.takeover = true;
    world_link_down(&world);
    world_ask_start(&world, "ann", start);
    world_link_up(&world, "server1", "g1");
    world_say(&world, STORE_ASSERT, fenced);
    world_link_down(&world);
    world_drop_calls(&world);
    world_link_up(&world, "server1", "g1");
    world_forget(&world);
    world_say(&world, STORE_ASSERT, fenced);
    world_expect(&world, "find_claim r id r\n"
                         "root_add r\n"
                         "assert r/r below '' epoch 1 adopt\n");
    world_says(&world, STORE_ASSERT, SAID_UNWRITABLE);
    world_pass(&world, 200);
    world_forget(&world);
    world_say(&world, STORE_ASSERT, fenced);
    world_expect(&world, "find_claim r id r\n"
                         "root_add r\n"
                         "assert r/r below '' epoch 1 adopt\n");
    world_say(&world, STORE_ASSERT, (struct store_answer){.verdict = SAID_ADOPTED, .epoch = 2});
    assert_int_equal(world_view(&world, "r").epoch, 2);
}

/* The end is that of another life in the same epoch. */
static void an_end_that_another_life_fences_is_not_sent_again(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_forget(&world);
    world_ask_end(&world, "ann", "r", 1, RUN_SUCCESS);
    world_expect(&world, "end r/r epoch 1 success\n");
    world_say(&world, STORE_END, (struct store_answer){.verdict = SAID_FENCED, .epoch = 1});
    world_expect(&world, "r: running > stopping (cancel)\n"
                         "notify ann: r fenced, grace 10000\n"
                         "r: stopping > lost (fenced)\n"
                         "unsubscribe r\n"
                         "held_drop r\n"
                         "answer 2: fenced r epoch 1 lost cancel r.r by brakewire\n");
}

static void a_run_declared_lost_is_killed_and_reported_gone(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("r", "");
    start.stop_count = 1;
    start.stop[0] = (struct stop_target){.kind = STOP_PROCESS, .grace = SPAN_NONE, .pid = 42};
    world_started(&world, "ann", start);
    world_pass(&world, 36001);
    world_forget(&world);
    world_say_items(&world, STORE_RECONCILE,
                    (struct store_item){.verdict = SAID_OVER, .state = RUN_LOST, .epoch = 1});
    world_expect(&world, "r: running > stopping (cancel)\n"
                         "signal r 15\n"
                         "r: stopping > lost (over:lost)\n"
                         "unsubscribe r\n"
                         "held_drop r\n");
    world_process(&world, AGENT_PROCESS_EMPTY, "r");
    world_expect(&world, "close process of r\n"
                         "report r r:1:42\n");
}

static void declared_lost(const char *run)
{
    world_start(&world, "ann", run, "");
    world_pass(&world, 36001);
    world_say_items(&world, STORE_RECONCILE,
                    (struct store_item){.verdict = SAID_OVER, .state = RUN_LOST, .epoch = 1});
    world_forget(&world);
}

/* Redis thinks again that it lives, here, and nobody else would ever end it. */
static void a_redis_that_forgot_that_a_run_was_lost_is_told_its_end(void **state)
{
    (void)state;
    declared_lost("r");
    world_ask_end(&world, "ann", "r", 1, RUN_SUCCESS);
    world_link_down(&world);
    world_forget(&world);
    world_link_up(&world, "server2", "g2");
    world_expect(&world, "generation\n"
                         "replica_add\n"
                         "end r/r epoch 1 error banning story\n"
                         "lease g2\n");
    world_say(&world, STORE_END, (struct store_answer){.verdict = SAID_ENDED, .state = RUN_ERROR});
    assert_int_equal(world_view(&world, "r").state, RUN_ERROR);
}

/* An end would be a lie while it is still being stopped. */
static void what_was_lost_and_is_not_dead_yet_ends_when_it_is(void **state)
{
    (void)state;
    declared_lost("r");
    world_link_down(&world);
    world_link_up(&world, "server2", "g2");
    assert_int_equal(world_open(&world, STORE_END), 0);
    world_forget(&world);
    world_ask_end(&world, "ann", "r", 1, RUN_SUCCESS);
    world_expect(&world, "end r/r epoch 1 error banning story\n"
                         "answer 2: over r epoch 1 lost cancel r.r by brakewire\n");
    world_say(&world, STORE_END, (struct store_answer){.verdict = SAID_ALREADY, .state = RUN_LOST});
    world_expect(&world, "report r r:1:42\n");
}

static void lost_and_dead_while_it_may_be_taken_over(void)
{
    struct ask_start start = world_start_of("r", "");
    start.on_lost = ON_LOST_TAKEOVER;
    world_started(&world, "ann", start);
    world_pass(&world, 36001);
    world_say_items(&world, STORE_RECONCILE,
                    (struct store_item){.verdict = SAID_OVER, .state = RUN_LOST, .epoch = 1});
    world_ask_end(&world, "ann", "r", 1, RUN_SUCCESS);
    world_link_down(&world);
    world_forget(&world);
    world_link_up(&world, "server2", "g2");
}

/* An end would forbid its next life; and without one nobody else would say that it is over. */
static void one_that_may_be_taken_over_is_declared_lost_again(void **state)
{
    (void)state;
    lost_and_dead_while_it_may_be_taken_over();
    world_expect(&world, "generation\n"
                         "replica_add\n"
                         "lost r/r\n"
                         "lease g2\n");
    world_say(&world, STORE_LOST, (struct store_answer){.verdict = SAID_LOST});
    world_pass(&world, 50);
    world_expect(&world, "report r r:1:42\n");
    world_say_items(&world, STORE_REPORT, (struct store_item){.verdict = SAID_OK});
    world_link_down(&world);
    world_link_up(&world, "server2", "g2");
    assert_int_equal(world_open(&world, STORE_LOST), 0);
}

static void one_that_was_taken_over_is_its_next_lifes(void **state)
{
    (void)state;
    lost_and_dead_while_it_may_be_taken_over();
    world_forget(&world);
    world_say(&world, STORE_LOST, (struct store_answer){.verdict = SAID_FENCED, .epoch = 2});
    world_pass(&world, 50);
    world_expect(&world, "");
    world_link_down(&world);
    world_link_up(&world, "server2", "g2");
    assert_int_equal(world_open(&world, STORE_LOST), 0);
}

static void a_loss_that_redis_cannot_record_is_said_until_it_can(void **state)
{
    (void)state;
    lost_and_dead_while_it_may_be_taken_over();
    world_says(&world, STORE_LOST, SAID_UNWRITABLE);
    world_forget(&world);
    world_pass(&world, 200);
    world_expect(&world, "lost r/r\n");
}

/* Stopped by a cancel that never was recorded. */
static void an_end_that_nobody_had_asked_for_is_told_until_it_is_taken(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_link_down(&world);
    world_ask_cancel(&world, "ann", world_cancel_of("r"));
    world_ask_end(&world, "ann", "r", 1, RUN_CANCELLED);
    world_link_up(&world, "server1", "g1");
    world_says(&world, STORE_CANCEL, SAID_ERROR);
    world_forget(&world);
    world_says(&world, STORE_END, SAID_NOT_CANCELLED);
    world_expect(&world, "end r/r epoch 1 error banning story\n");
    world_link_down(&world);
    world_forget(&world);
    world_link_up(&world, "server1", "g1");
    world_says(&world, STORE_CANCEL, SAID_ERROR);
    world_forget(&world);
    world_say(&world, STORE_END, (struct store_answer){.verdict = SAID_ENDED, .state = RUN_ERROR});
    assert_int_equal(world_view(&world, "r").state, RUN_ERROR);
}

/* on_lost = continue: it says that it lives, and lives on. */
static void a_run_that_may_return_is_asserted(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("r", "");
    start.on_lost = ON_LOST_CONTINUE;
    world_started(&world, "ann", start);
    world_hear(&world, world_record("r", "r"));
    world_forget(&world);
    world_say_items(&world, STORE_REPORT,
                    (struct store_item){.verdict = SAID_OVER, .state = RUN_LOST, .epoch = 1});
    world_expect(&world, "find_claim r id r\n"
                         "root_add r\n"
                         "assert r/r below '' epoch 1\n");
    world_says(&world, STORE_ASSERT, SAID_ADOPTED);
    assert_int_equal(world_view(&world, "r").state, RUN_STOPPING);
    world_ask_ack(&world, "ann", "r", ACK_CHECKPOINTED);
    world_pass(&world, 50);
    world_say_items(&world, STORE_REPORT,
                    (struct store_item){.verdict = SAID_OVER, .state = RUN_LOST, .epoch = 1});
    world_say(&world, STORE_ASSERT,
              (struct store_answer){.verdict = SAID_OVER, .state = RUN_LOST, .epoch = 1});
    assert_int_equal(world_view(&world, "r").state, RUN_LOST);
}

static void unknown_to_a_redis_that_lost_nothing_is_forgotten(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_pass(&world, 36001);
    world_forget(&world);
    world_say_items(&world, STORE_RECONCILE, (struct store_item){.verdict = SAID_UNKNOWN});
    world_expect(&world, "generation\n");
    world_say(&world, STORE_GENERATION,
              (struct store_answer){.verdict = SAID_OK, .text = STR("g1")});
    world_expect(&world, "r: running > stopping (cancel)\n"
                         "notify ann: r forgotten, grace 10000\n"
                         "r: stopping > lost (forgotten)\n"
                         "unsubscribe r\n"
                         "held_drop r\n"
                         "replica_add\n"
                         "lease g1\n");
}

static void unknown_to_a_redis_that_was_emptied_is_asserted(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_pass(&world, 36001);
    world_say_items(&world, STORE_RECONCILE, (struct store_item){.verdict = SAID_UNKNOWN});
    world_say(&world, STORE_GENERATION,
              (struct store_answer){.verdict = SAID_OK, .text = STR("g2")});
    assert_int_equal(world_open(&world, STORE_ASSERT), 1);
    assert_int_equal(world_view(&world, "r").state, RUN_RUNNING);
}

static void a_lease_that_ran_out_is_made_again_and_all_compared(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_pass(&world, 5001);
    world_forget(&world);
    world_says(&world, STORE_LEASE_RENEW, SAID_GONE);
    world_say(&world, STORE_GENERATION,
              (struct store_answer){.verdict = SAID_OK, .text = STR("g1")});
    world_expect(&world, "generation\n"
                         "replica_add\n"
                         "held_add r\n"
                         "root_add r\n"
                         "lease g1\n"
                         "reconcile r r:1:0\n");
}

static void after_a_freeze_all_is_compared_at_once(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world.now = instant_after(world.now, SECONDS(16));
    world_forget(&world);
    world_feed(&world, (struct agent_event){.kind = AGENT_TIME_PASSED});
    world_say(&world, STORE_GENERATION,
              (struct store_answer){.verdict = SAID_OK, .text = STR("g1")});
    world_expect(&world, "generation\n"
                         "replica_add\n"
                         "held_add r\n"
                         "root_add r\n"
                         "lease g1\n"
                         "reconcile r r:1:0\n");
}

static void a_server_that_cannot_write_is_asked_again_and_again(void **state)
{
    (void)state;
    world_ask_start(&world, "ann", world_start_of("r", ""));
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_says(&world, STORE_HELD_ADD, SAID_OK);
    world_says(&world, STORE_START, SAID_UNWRITABLE);
    world_forget(&world);
    world_pass(&world, 199);
    world_expect(&world, "");
    world_pass(&world, 1);
    world_expect(&world, "find_claim r id r\n"
                         "root_add r\n"
                         "assert r/r below '' epoch 1\n");
    world_says(&world, STORE_ASSERT, SAID_UNWRITABLE);
    world_pass(&world, 399);
    world_expect(&world, "");
    world_pass(&world, 1);
    world_forget(&world);
    world_says(&world, STORE_ASSERT, SAID_ADOPTED);
    assert_true(world_view(&world, "r").confirmed);
}

static void garbage_makes_its_root_compared_once_a_second(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    struct agent_event garbage = {.kind = AGENT_GARBAGE_SEEN, .root = STR("r")};
    world_feed(&world, garbage);
    world_feed(&world, garbage);
    world_expect(&world, "count malformed\n"
                         "reconcile r r:1:0\n"
                         "count malformed\n");
    world_pass(&world, 1000);
    world_expect(&world, "reconcile r r:1:0\n");
    world_pass(&world, 2000);
    world_expect(&world, "");
}

static void a_root_whose_messages_may_be_lost_is_compared(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_feed(&world, (struct agent_event){.kind = AGENT_HINTS_MISSED, .root = STR("r")});
    world_expect(&world, "reconcile r r:1:0\n");
    world_feed(&world, (struct agent_event){.kind = AGENT_HINTS_MISSED, .root = STR("other")});
    world_expect(&world, "");
}

/* Bytes that only a newer version reads: what Redis says of the run is enough. */
static void a_cancel_of_a_newer_version_is_obeyed_unread(void **state)
{
    (void)state;
    static const char later[] = "\x91\x07";
    const struct str bytes = {later, 2};
    world_start(&world, "ann", "r", "");
    world_forget(&world);
    world_feed(&world, (struct agent_event){.kind = AGENT_NEWER_SEEN, .root = STR("r")});
    world_feed(&world, (struct agent_event){.kind = AGENT_NEWER_SEEN, .root = STR("r")});
    world_expect(&world, "count unreadable\n"
                         "reconcile r r:1:0\n"
                         "count unreadable\n");
    world_say_items(&world, STORE_RECONCILE,
                    (struct store_item){.verdict = SAID_STOP,
                                        .state = RUN_STOPPING,
                                        .epoch = 1,
                                        .ban = STR("r"),
                                        .record = bytes});
    world_expect(&world, "count unreadable\n"
                         "count reconcile found\n"
                         "r: running > stopping (cancel)\n"
                         "notify ann: r , grace 10000\n"
                         "report r r:1:2\n");
    assert_string_equal(world_view(&world, "r").record->by.at, "a newer version");
}

static void a_thousand_runs_are_asserted_a_few_at_a_time(void **state)
{
    (void)state;
    char name[16];
    world_start(&world, "ann", "r", "");
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "k%d", i);
        world_start(&world, "ann", name, "r");
    }
    world_link_down(&world);
    world_link_up(&world, "server2", "g2");
    size_t answered = 0;
    while (world_open(&world, STORE_ASSERT) > 0) {
        assert_true(world_open(&world, STORE_ASSERT) <= 256);
        assert_int_equal(world_open(&world, STORE_LEASE), 0);
        world_says(&world, STORE_ASSERT, SAID_ADOPTED);
        answered++;
    }
    assert_int_equal(answered, 1001);
    assert_int_equal(world_open(&world, STORE_LEASE), 1);
}

static void ended_runs_are_forgotten_after_a_while(void **state)
{
    (void)state;
    struct agent_run_view view;
    world_start(&world, "ann", "r", "");
    world_ask_end(&world, "ann", "r", 1, RUN_SUCCESS);
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_SUCCESS});
    world_pass(&world, 899999);
    assert_true(agent_find_run(world.agent, STR("r"), world.now, &view));
    world_pass(&world, 1);
    assert_false(agent_find_run(world.agent, STR("r"), world.now, &view));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, drop)
    const struct CMUnitTest tests[] = {
        T(the_first_link_makes_a_replica_with_a_lease),
        T(a_replica_that_redis_did_not_take_down_says_so_again),
        T(on_every_link_up_live_runs_are_compared),
        T(a_run_that_was_suspect_says_that_it_lives),
        T(a_report_of_an_epoch_that_redis_forgot_fences_nobody),
        T(a_child_lists_a_root_that_never_ran),
        T(an_assertion_below_a_root_elsewhere_lists_it),
        T(without_redis_nobody_says_that_a_run_was_not_cancelled),
        T(an_end_that_overtakes_its_cancel_waits_for_it),
        T(a_cancel_missed_while_offline_is_found),
        T(a_cancel_that_nobody_heard_of_is_found_within_a_period),
        T(after_a_loss_all_is_told_again_in_order),
        T(another_server_is_a_loss_too),
        T(a_run_asserted_below_a_ban_is_told),
        T(a_fenced_run_stops_and_ends_nothing),
        T(a_fenced_life_does_not_begin_again),
        T(an_adoption_that_was_not_answered_is_made_again),
        T(an_end_that_another_life_fences_is_not_sent_again),
        T(a_run_declared_lost_is_killed_and_reported_gone),
        T(a_redis_that_forgot_that_a_run_was_lost_is_told_its_end),
        T(what_was_lost_and_is_not_dead_yet_ends_when_it_is),
        T(one_that_may_be_taken_over_is_declared_lost_again),
        T(one_that_was_taken_over_is_its_next_lifes),
        T(a_loss_that_redis_cannot_record_is_said_until_it_can),
        T(an_end_that_nobody_had_asked_for_is_told_until_it_is_taken),
        T(a_run_that_may_return_is_asserted),
        T(unknown_to_a_redis_that_lost_nothing_is_forgotten),
        T(unknown_to_a_redis_that_was_emptied_is_asserted),
        T(a_lease_that_ran_out_is_made_again_and_all_compared),
        T(after_a_freeze_all_is_compared_at_once),
        T(a_server_that_cannot_write_is_asked_again_and_again),
        T(garbage_makes_its_root_compared_once_a_second),
        T(a_root_whose_messages_may_be_lost_is_compared),
        T(a_thousand_runs_are_asserted_a_few_at_a_time),
        T(a_cancel_of_a_newer_version_is_obeyed_unread),
        T(ended_runs_are_forgotten_after_a_while),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
