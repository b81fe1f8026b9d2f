/* How runs begin, told as what the agent wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/agent_world.h"

#define ROOT "0aaaaaaaaaaaaaaaaaaaa"

static struct agent_world world;

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
    return 0;
}

static void a_root_run_is_claimed_subscribed_listed_and_started(void **state)
{
    (void)state;
    world_ask_start(&world, "ann", world_start_of("r", ""));
    world_expect(&world, "subscribe r\n"
                         "find_claim r/r id r\n");
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_expect(&world, "held_add r\n"
                         "root_add r\n"
                         "start r/r below ''\n");
    world_says(&world, STORE_START, SAID_STARTED);
    world_expect(&world, "r: pending > running (start)\n"
                         "answer 1: created r epoch 1 running\n");
}

static void a_minted_id_needs_no_claim(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("", ROOT);
    world_ask_start(&world, "ann", start);
    assert_int_equal(world_open(&world, STORE_FIND_CLAIM), 0);
    assert_int_equal(world_open(&world, STORE_START), 1);
}

static void a_child_starts_below_the_path_that_is_stored_here(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_start(&world, "ann", "a", "r");
    world_ask_start(&world, "ann", world_start_of("b", "a"));
    world_expect(&world, "find_claim r/b id b\n");
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_expect(&world, "start r/b below 'r.a'\n");
}

static void an_entry_point_begins_a_tree_of_its_own(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("e", "r.a");
    start.entry = true;
    world_started(&world, "ann", start);
    assert_true(str_is(world_view(&world, "e").path, "e"));
}

static void a_shape_that_only_we_mint_is_refused_unless_it_exists(void **state)
{
    (void)state;
    world_ask_start(&world, "ann", world_start_of(ROOT, ""));
    world_expect(&world, "subscribe " ROOT "\n"
                         "peek " ROOT "/" ROOT " id " ROOT "\n");
    world_says(&world, STORE_PEEK, SAID_UNKNOWN);
    world_expect(&world, "answer 1: invalid\n"
                         "unsubscribe " ROOT "\n");
    world_ask_start(&world, "ann", world_start_of(ROOT "-x", "r"));
    world_expect(&world, "answer 1: invalid\n");
}

static void a_cancelled_scope_starts_nothing(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    struct cancel_record record = world_record("r", "r");
    world_ask_start(&world, "ann", world_start_of("a", "r"));
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_forget(&world);
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_REFUSED,
                                    .ban = STR("r"),
                                    .record = world_bytes(&world, &record)});
    world_expect(&world, "answer 1: cancelled cancel r.r by broker\n"
                         "find_drop r id a\n");
}

static void a_cancel_that_overtook_the_start_refuses_it_here(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_start(&world, "ann", "b", "r");
    world_hear(&world, world_record("r", "a"));
    world_expect(&world, "");
    struct ask_start start = world_start_of("", "r.a");
    world_ask_start(&world, "ann", start);
    world_expect(&world, "answer 1: cancelled cancel r.a by broker\n");
}

static void a_cancel_that_comes_while_the_start_is_on_its_way_tells_the_run(void **state)
{
    (void)state;
    world_client_comes(&world, "ann");
    world_ask_start(&world, "ann", world_start_of("r", ""));
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_hear(&world, world_record("r", "r"));
    world_forget(&world);
    world_says(&world, STORE_START, SAID_STARTED);
    world_expect(&world, "r: pending > running (start)\n"
                         "answer 1: created r epoch 1 running cancel r.r by broker\n"
                         "r: running > stopping (cancel)\n"
                         "notify ann: r enough, grace 10000\n"
                         "report r r:1:2\n");
}

static void a_cancel_before_the_script_refuses_the_start(void **state)
{
    (void)state;
    world_ask_start(&world, "ann", world_start_of("r", ""));
    world_hear(&world, world_record("r", "r"));
    world_forget(&world);
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_expect(&world, "answer 1: cancelled cancel r.r by broker\n"
                         "find_drop r id r\n"
                         "unsubscribe r\n");
}

/* Its agentd was started again, and its client says so in the moment of the cancel: refused, it
 * would be left in Redis with nobody to end it. */
static void a_run_that_was_there_before_is_told_not_refused(void **state)
{
    (void)state;
    world_client_comes(&world, "ann");
    world_ask_start(&world, "ann", world_start_of(ROOT, ""));
    world_hear(&world, world_record(ROOT, ROOT));
    world_forget(&world);
    world_say(&world, STORE_PEEK, (struct store_answer){.verdict = SAID_OK, .state = RUN_RUNNING});
    assert_int_equal(world_open(&world, STORE_START), 1);
    world_forget(&world);
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_ALREADY, .state = RUN_RUNNING, .epoch = 1});
    world_expect(&world, ROOT ": pending > running (start)\n"
                              "answer 1: ok " ROOT " epoch 1 running cancel " ROOT "." ROOT
                              " by broker\n" ROOT ": running > stopping (cancel)\n"
                              "notify ann: " ROOT " enough, grace 10000\n"
                              "report " ROOT " " ROOT ":1:2\n");
}

/* ... and in the moment in which the cancel, asked for here, is not in Redis yet. */
static void a_run_that_was_there_before_is_looked_for_below_a_cancel(void **state)
{
    (void)state;
    world_client_comes(&world, "ann");
    world_ask_start(&world, "ann", world_start_of(ROOT, ""));
    world_say(&world, STORE_PEEK, (struct store_answer){.verdict = SAID_OK, .state = RUN_RUNNING});
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_ALREADY, .state = RUN_RUNNING, .epoch = 1});
    world_ask_cancel(&world, "ann", world_cancel_of(ROOT));
    world_forget(&world);
    world_ask_start(&world, "ann", world_start_of(ROOT "-x", ROOT));
    assert_int_equal(world_open(&world, STORE_PEEK), 1);
    world_says(&world, STORE_PEEK, SAID_UNKNOWN);
    world_expect(&world, "peek " ROOT "/" ROOT "-x id " ROOT "-x\n"
                         "answer 1: invalid\n"); /* it was not */
}

/* Else nobody would find that run by its id again. */
static void a_refused_start_gives_back_no_claim_of_another(void **state)
{
    (void)state;
    world_ask_start(&world, "ann", world_start_of("r", ""));
    world_say(&world, STORE_FIND_CLAIM,
              (struct store_answer){.verdict = SAID_EXISTS, .text = STR("r")});
    world_forget(&world);
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_FULL, .text = STR("runs")});
    world_expect(&world, "answer 1: full\n"
                         "unsubscribe r\n"
                         "held_drop r\n");
    world_ask_start(&world, "ann", world_start_of("s", ""));
    world_says(&world, STORE_FIND_CLAIM, SAID_OK); /* it was first, but the other's start was */
    world_forget(&world);
    world_says(&world, STORE_START, SAID_EXISTS);
    world_expect(&world, "answer 1: conflict\n"
                         "unsubscribe s\n"
                         "held_drop s\n");
}

static void an_id_of_another_tree_is_taken(void **state)
{
    (void)state;
    world_ask_start(&world, "ann", world_start_of("a", "r"));
    world_forget(&world);
    world_say(&world, STORE_FIND_CLAIM,
              (struct store_answer){.verdict = SAID_EXISTS, .text = STR("other")});
    world_expect(&world, "answer 1: run_id_taken\n"
                         "unsubscribe r\n");
}

/* Its root's agentd may be gone before it said that there is a tree, and a cancel may have made the
 * tree: then Redis does not say that it was gone. */
static void who_starts_below_a_root_elsewhere_lists_it_first(void **state)
{
    (void)state;
    world_ask_start(&world, "ann", world_start_of("a", "r"));
    world_forget(&world);
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_expect(&world, "held_add r\n"
                         "root_add r\n"
                         "start r/a below 'r'\n");
    world_says(&world, STORE_HELD_ADD, SAID_OK);
    world_says(&world, STORE_ROOT_ADD, SAID_OK);
    world_says(&world, STORE_START, SAID_STARTED);
    world_start(&world, "ann", "b", "r");
    world_ask_start(&world, "ann", world_start_of("c", "r.b"));
    world_forget(&world);
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_expect(&world, "start r/c below 'r.b'\n");
}

/* What Redis did not take is said again, as soon as it takes something. */
static void a_list_of_roots_that_was_not_written_is_written_later(void **state)
{
    (void)state;
    world_ask_start(&world, "ann", world_start_of("a", "r"));
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_says(&world, STORE_HELD_ADD, SAID_OK);
    world_says(&world, STORE_ROOT_ADD, SAID_UNWRITABLE);
    world_says(&world, STORE_START, SAID_STARTED);
    world_forget(&world);
    world_pass(&world, 200);
    world_expect(&world, "held_add r\n"
                         "root_add r\n");
}

static void a_tombstone_of_the_id_is_carried_into_its_tree(void **state)
{
    (void)state;
    struct cancel_record record = world_record("a", "a");
    world_ask_start(&world, "ann", world_start_of("a", "r"));
    world_forget(&world);
    world_say(&world, STORE_FIND_CLAIM,
              (struct store_answer){.verdict = SAID_EXISTS, .text = STR("a")});
    world_expect(&world, "peek a/a\n");
    world_say(&world, STORE_PEEK,
              (struct store_answer){.verdict = SAID_OK,
                                    .state = RUN_NEVER,
                                    .ban = STR("a"),
                                    .record = world_bytes(&world, &record)});
    world_expect(&world, "held_add r\n"
                         "root_add r\n"
                         "start r/a below 'r' tombstone a\n");
}

static void a_tree_under_that_id_is_no_tombstone(void **state)
{
    (void)state;
    world_ask_start(&world, "ann", world_start_of("a", "r"));
    world_say(&world, STORE_FIND_CLAIM,
              (struct store_answer){.verdict = SAID_EXISTS, .text = STR("a")});
    world_forget(&world);
    world_say(&world, STORE_PEEK, (struct store_answer){.verdict = SAID_OK, .state = RUN_RUNNING});
    world_expect(&world, "answer 1: run_id_taken\n"
                         "unsubscribe r\n");
}

static void a_tombstone_of_a_claimed_parent_is_carried_too(void **state)
{
    (void)state;
    struct cancel_record record = world_record("p", "p");
    world_ask_start(&world, "ann", world_start_of("q", "r.p"));
    world_expect(&world, "subscribe r\n"
                         "find_claim r/q id q\n"
                         "find_read r/q id p\n");
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_say(&world, STORE_FIND_READ, (struct store_answer){.verdict = SAID_OK, .text = STR("p")});
    world_say(&world, STORE_PEEK,
              (struct store_answer){.verdict = SAID_OK,
                                    .state = RUN_NEVER,
                                    .ban = STR("p"),
                                    .record = world_bytes(&world, &record)});
    world_expect(&world, "peek p/p\n"
                         "held_add r\n"
                         "root_add r\n"
                         "start r/q below 'r.p' tombstone p\n");
}

static void a_retry_of_a_cancelled_run_elsewhere_is_refused(void **state)
{
    (void)state;
    struct cancel_record record = world_record("old", "old");
    struct ask_start start = world_start_of("n", "");
    start.meta.retry_of = STR("old");
    world_ask_start(&world, "ann", start);
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_forget(&world);
    world_say(&world, STORE_FIND_READ,
              (struct store_answer){.verdict = SAID_OK, .text = STR("old")});
    world_expect(&world, "peek old/old\n");
    world_say(&world, STORE_PEEK,
              (struct store_answer){.verdict = SAID_OK,
                                    .state = RUN_CANCELLED,
                                    .ban = STR("old"),
                                    .record = world_bytes(&world, &record)});
    world_expect(&world, "answer 1: cancelled cancel old.old by broker\n"
                         "find_drop n id n\n"
                         "unsubscribe n\n");
}

static void a_retry_in_the_same_tree_is_the_scripts_to_check(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_start(&world, "ann", "a", "r");
    struct ask_start start = world_start_of("b", "r");
    start.meta.retry_of = STR("a");
    world_ask_start(&world, "ann", start);
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_expect(&world, "find_claim r/b id b\n"
                         "start r/b below 'r' after a\n");
}

static void a_process_is_watched_before_anything_else(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("r", "");
    start.stop_count = 1;
    start.stop[0] = (struct stop_target){.kind = STOP_PROCESS, .grace = SPAN_NONE, .pid = 42};
    world_ask_start(&world, "ann", start);
    world_expect(&world, "subscribe r\n"
                         "open process 42 of r\n");
    world_feed(&world, (struct agent_event){.kind = AGENT_PROCESS_OPENED,
                                            .run = STR("r"),
                                            .problem = PROBLEM_FORBIDDEN});
    world_expect(&world, "answer 1: forbidden\n"
                         "unsubscribe r\n");
}

static void a_known_run_keeps_its_parents_but_not_under_another_root(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_start(&world, "ann", "a", "r");
    world_start(&world, "ann", "b", "r");
    world_ask_start(&world, "ann", world_start_of("b", "r.a"));
    world_expect(&world, "answer 1: ok r.b epoch 1 running\n");
    world_ask_start(&world, "ann", world_start_of("b", "other"));
    world_expect(&world, "answer 1: run_id_taken\n");
    world_ask_start(&world, "ann", world_start_of("b", ""));
    world_expect(&world, "answer 1: ok r.b epoch 1 running\n");
}

static void without_redis_a_run_starts_unprotected_and_is_asserted_later(void **state)
{
    (void)state;
    world_link_down(&world);
    world_ask_start(&world, "ann", world_start_of("r", ""));
    world_expect(&world, "subscribe r\n"
                         "r: pending > running (start)\n"
                         "answer 1: created r epoch 1 running unprotected\n");
    world_link_up(&world, "server1", "g1");
    world_expect(&world, "generation\n"
                         "held_add r\n"
                         "root_add r\n"
                         "find_claim r id r\n"
                         "root_add r\n"
                         "assert r/r below '' epoch 1\n");
    world_says(&world, STORE_ASSERT, SAID_ADOPTED);
    world_expect(&world, "lease g1\n");
    assert_true(world_view(&world, "r").confirmed);
}

static void a_start_whose_answer_was_lost_goes_on_unprotected(void **state)
{
    (void)state;
    world_ask_start(&world, "ann", world_start_of("r", ""));
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_forget(&world);
    world_link_down(&world);
    world_expect(&world, "r: pending > running (start)\n"
                         "answer 1: created r epoch 1 running unprotected\n");
}

static void a_start_that_redis_may_have_is_told_rather_than_refused(void **state)
{
    (void)state;
    world_client_comes(&world, "ann");
    world_ask_start(&world, "ann", world_start_of("r", ""));
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_hear(&world, world_record("r", "r"));
    world_forget(&world);
    world_link_down(&world);
    world_expect(&world, "r: pending > running (start)\n"
                         "answer 1: created r epoch 1 running unprotected cancel r.r by broker\n"
                         "r: running > stopping (cancel)\n"
                         "notify ann: r enough, grace 10000\n");
}

static void a_strict_start_waits_for_no_redis(void **state)
{
    (void)state;
    world_link_down(&world);
    struct ask_start start = world_start_of("r", "");
    start.strict = true;
    world_ask_start(&world, "ann", start);
    world_expect(&world, "subscribe r\n"
                         "answer 1: unavailable\n"
                         "unsubscribe r\n");
}

static void another_incarnation_is_a_conflict_with_its_epoch(void **state)
{
    (void)state;
    world_ask_start(&world, "ann", world_start_of("r", ""));
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_forget(&world);
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_EXISTS, .epoch = 3, .owner = STR("there")});
    world_expect(&world, "answer 1: conflict\n"
                         "unsubscribe r\n"
                         "held_drop r\n");
}

static void a_run_of_a_replica_without_a_lease_is_adopted(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("r", "");
    start.epoch = 3;
    world_ask_start(&world, "ann", start);
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_forget(&world);
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_EXISTS, .epoch = 3, .owner = STR("there")});
    world_expect(&world, "lease_read r/r\n");
    world_says(&world, STORE_LEASE_READ, SAID_NOT_FOUND);
    world_expect(&world, "assert r/r below '' epoch 3 adopt\n");
    world_say(&world, STORE_ASSERT, (struct store_answer){.verdict = SAID_ADOPTED, .epoch = 4});
    world_expect(&world, "r: pending > running (start)\n"
                         "answer 1: created r epoch 4 running\n");
}

static void an_adopted_run_keeps_its_deadline(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("r", "");
    start.epoch = 3;
    start.takeover = true;
    world_ask_start(&world, "ann", start);
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_EXISTS, .epoch = 3, .owner = STR("there")});
    world_say(&world, STORE_ASSERT,
              (struct store_answer){.verdict = SAID_ADOPTED, .epoch = 4, .deadline_ms = 500});
    world_forget(&world);
    world_pass(&world, 499);
    world_expect(&world, "");
    world_pass(&world, 1);
    assert_int_equal(world_view(&world, "r").state, RUN_STOPPING);
}

static void a_run_of_a_living_replica_is_not(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("r", "");
    start.epoch = 3;
    world_ask_start(&world, "ann", start);
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_EXISTS, .epoch = 3, .owner = STR("there")});
    world_forget(&world);
    world_says(&world, STORE_LEASE_READ, SAID_OK);
    world_expect(&world, "answer 1: conflict\n"
                         "unsubscribe r\n"
                         "held_drop r\n");
}

static void a_client_that_registers_again_finds_its_standing_cancel(void **state)
{
    (void)state;
    struct cancel_record record = world_record("r", "r");
    world_client_comes(&world, "ann");
    world_ask_start(&world, "ann", world_start_of("r", ""));
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_forget(&world);
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_ALREADY,
                                    .state = RUN_STOPPING,
                                    .epoch = 1,
                                    .flags = RUN_FLAG_BANNED,
                                    .ban = STR("r"),
                                    .record = world_bytes(&world, &record)});
    world_expect(&world, "r: pending > stopping (start)\n"
                         "answer 1: ok r epoch 1 stopping cancel r.r by broker\n"
                         "notify ann: r enough, grace 10000\n"
                         "report r r:1:2\n");
}

static void the_same_start_again_is_answered_from_here(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_ask_start(&world, "ann", world_start_of("r", ""));
    world_expect(&world, "answer 1: ok r epoch 1 running\n");
    world_ask_start(&world, "bob", world_start_of("r", ""));
    world_expect(&world, "answer 1: conflict r epoch 1 running\n");
}

static void the_next_life_of_a_client_that_is_gone_takes_its_run(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("r", "");
    start.on_client_gone = ON_GONE_CONTINUE;
    world_client_comes(&world, "ann");
    world_started(&world, "ann", start);
    start.incarnation = STR("second");
    start.epoch = 1;
    world_ask_start(&world, "ann", start);
    world_expect(&world, "answer 1: conflict r epoch 1 running\n");
    world_client_goes(&world, "ann");
    world_pass(&world, 6000);
    world_forget(&world);
    world_ask_start(&world, "ann", start);
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_EXISTS, .epoch = 1, .owner = STR("here")});
    world_forget(&world);
    world_say(&world, STORE_ASSERT, (struct store_answer){.verdict = SAID_ADOPTED, .epoch = 2});
    world_expect(&world, "r: pending > running (start)\n"
                         "answer 1: created r epoch 2 running\n");
}

static void observe_starts_what_it_would_have_refused(void **state)
{
    (void)state;
    struct agent_options options = agent_world_options();
    options.mode = MODE_OBSERVE;
    agent_world_fini(&world);
    agent_world_init(&world, &options);
    world_link_up(&world, "server1", "g1");
    struct cancel_record record = world_record("r", "r");
    world_ask_start(&world, "ann", world_start_of("a", "r"));
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_forget(&world);
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_STARTED,
                                    .epoch = 1,
                                    .ban = STR("r"),
                                    .record = world_bytes(&world, &record)});
    world_expect(&world, "a: pending > running (start)\n"
                         "answer 1: created r.a epoch 1 running would cancel r.r by broker\n"
                         "count observed\n");
}

static void a_full_or_draining_agent_takes_no_more(void **state)
{
    (void)state;
    struct agent_options options = agent_world_options();
    options.max_runs = 1;
    agent_world_fini(&world);
    agent_world_init(&world, &options);
    world_link_up(&world, "server1", "g1");
    world_start(&world, "ann", "r", "");
    world_ask_start(&world, "ann", world_start_of("s", ""));
    world_expect(&world, "answer 1: overloaded\n");
    world_ask_end(&world, "ann", "r", 1, RUN_SUCCESS);
    world_says(&world, STORE_END, SAID_ENDED);
    world_feed(&world, (struct agent_event){.kind = AGENT_DRAIN});
    world_forget(&world);
    world_ask_start(&world, "ann", world_start_of("s", ""));
    world_expect(&world, "answer 1: overloaded\n");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, drop)
    const struct CMUnitTest tests[] = {
        T(a_root_run_is_claimed_subscribed_listed_and_started),
        T(a_minted_id_needs_no_claim),
        T(a_child_starts_below_the_path_that_is_stored_here),
        T(an_entry_point_begins_a_tree_of_its_own),
        T(a_shape_that_only_we_mint_is_refused_unless_it_exists),
        T(a_cancelled_scope_starts_nothing),
        T(a_cancel_that_overtook_the_start_refuses_it_here),
        T(a_cancel_that_comes_while_the_start_is_on_its_way_tells_the_run),
        T(a_run_that_was_there_before_is_told_not_refused),
        T(a_run_that_was_there_before_is_looked_for_below_a_cancel),
        T(a_cancel_before_the_script_refuses_the_start),
        T(a_refused_start_gives_back_no_claim_of_another),
        T(an_id_of_another_tree_is_taken),
        T(who_starts_below_a_root_elsewhere_lists_it_first),
        T(a_list_of_roots_that_was_not_written_is_written_later),
        T(a_tombstone_of_the_id_is_carried_into_its_tree),
        T(a_tree_under_that_id_is_no_tombstone),
        T(a_tombstone_of_a_claimed_parent_is_carried_too),
        T(a_retry_of_a_cancelled_run_elsewhere_is_refused),
        T(a_retry_in_the_same_tree_is_the_scripts_to_check),
        T(a_process_is_watched_before_anything_else),
        T(a_known_run_keeps_its_parents_but_not_under_another_root),
        T(without_redis_a_run_starts_unprotected_and_is_asserted_later),
        T(a_start_whose_answer_was_lost_goes_on_unprotected),
        T(a_start_that_redis_may_have_is_told_rather_than_refused),
        T(a_strict_start_waits_for_no_redis),
        T(another_incarnation_is_a_conflict_with_its_epoch),
        T(a_run_of_a_replica_without_a_lease_is_adopted),
        T(an_adopted_run_keeps_its_deadline),
        T(a_run_of_a_living_replica_is_not),
        T(a_client_that_registers_again_finds_its_standing_cancel),
        T(the_same_start_again_is_answered_from_here),
        T(the_next_life_of_a_client_that_is_gone_takes_its_run),
        T(observe_starts_what_it_would_have_refused),
        T(a_full_or_draining_agent_takes_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
