/* Cancels asked for at an agent, links, fences: told as what the agent wants. */
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
    world_client_comes(&world, "bob");
    world_start(&world, "ann", "r", "");
    world_start(&world, "bob", "a", "r");
    world_forget(&world);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    agent_world_fini(&world);
    return 0;
}

/* ---- cancels ------------------------------------------------------------------------------- */
static void a_cancel_here_stops_what_is_local_at_once(void **state)
{
    (void)state;
    world_ask_cancel(&world, "ann", world_cancel_of("a"));
    world_expect(&world, "a: running > stopping (cancel)\n"
                         "notify bob: a enough, grace 10000\n"
                         "ask cancel r.a by client:ann: enough force\n"
                         "report r a:1:2\n");
    struct cancel_record stored = world_record("r", "a");
    world_cancel_says(&world, PROBLEM_NONE, stored);
    world_expect(&world, "answer 6: ok cancel r.a by broker told 1\n");
    world_hear(&world, stored);
    world_expect(&world, "");
}

static void a_client_cancels_its_own_and_what_is_below_alone(void **state)
{
    (void)state;
    world_ask_cancel(&world, "bob", world_cancel_of("r"));
    world_expect(&world, "answer 6: forbidden\n");
    world_ask_cancel(&world, "eve", world_cancel_of("a"));
    world_expect(&world, "answer 6: unauthorized\n");
    struct cancel_ask elsewhere = world_cancel_of("z");
    elsewhere.root = STR("r");
    world_ask_cancel(&world, "bob", elsewhere);
    world_expect(&world, "answer 6: forbidden\n");
    world_ask_cancel(&world, "ann", elsewhere);
    world_expect(&world, "ask cancel r.z by client:ann: enough\n");
    struct cancel_ask stranger = world_cancel_of("z");
    world_ask_cancel(&world, "ann", stranger);
    world_expect(&world, "answer 6: forbidden\n");
    world_ask_cancel(&world, "operator", world_cancel_of("a"));
    world_forget(&world);
}

static void without_redis_a_cancel_stops_here_and_is_recorded_later(void **state)
{
    (void)state;
    world_link_down(&world);
    world_forget(&world);
    world_ask_cancel(&world, "ann", world_cancel_of("a"));
    world_expect(&world, "a: running > stopping (cancel)\n"
                         "notify bob: a enough, grace 10000\n"
                         "answer 6: pending told 1\n");
    world_link_up(&world, "server1", "g1");
    world_expect(&world, "generation\n"
                         "cancel r/a force\n"
                         "lease g1\n"
                         "reconcile r r:1:0 a:1:0\n"
                         "report r a:1:2\n");
    world_says(&world, STORE_CANCEL, SAID_ACCEPTED);
    world_expect(&world, "ask cancel r.a by client:ann: enough force\n");
}

static void a_redis_that_cannot_record_it_still_publishes(void **state)
{
    (void)state;
    world_ask_cancel(&world, "ann", world_cancel_of("a"));
    world_forget(&world);
    world_cancel_says(&world, PROBLEM_UNAVAILABLE, (struct cancel_record){0});
    world_expect(&world, "answer 6: pending told 1\n"
                         "publish r.a unrecorded\n");
    world_pass(&world, 200);
    world_expect(&world, "cancel r/a force\n");
}

/* Two ask for the same: Redis does not know the run for the one, and cannot be asked for the other.
 */
static void one_refused_cancel_takes_no_other_along(void **state)
{
    (void)state;
    world_start(&world, "bob", "c", "z");
    struct cancel_ask cancel = world_cancel_of("z");
    struct agent_event second = {
        .kind = AGENT_ASKED_CANCEL, .ask = 7, .caller = {.operator_ = true}, .cancel = &cancel};
    world_ask_cancel(&world, "operator", cancel);
    world_feed(&world, second);
    world_forget(&world);
    world.last_ask = 6;
    world_cancel_says(&world, PROBLEM_NOT_FOUND, (struct cancel_record){0});
    world.last_ask = 7;
    world_cancel_says(&world, PROBLEM_UNAVAILABLE, (struct cancel_record){0});
    world_expect(&world, "answer 6: not_found told 1\n"
                         "answer 7: pending\n"
                         "publish z.z unrecorded\n");
    world_pass(&world, 200);
    world_expect(&world, "find_claim z id z\n"
                         "cancel z/z force\n");
}

/* The end of r takes along what is below it; but that end may yet be fenced. */
static void a_cancel_that_is_pending_waits_for_no_end(void **state)
{
    (void)state;
    world_ask_end(&world, "ann", "r", 1, RUN_ERROR);
    world_says(&world, STORE_END, SAID_UNWRITABLE);
    world_ask_cancel(&world, "ann", world_cancel_of("r"));
    world_forget(&world);
    world_cancel_says(&world, PROBLEM_UNAVAILABLE, (struct cancel_record){0});
    world_expect(&world, "answer 6: pending\n"
                         "publish r.r unrecorded\n");
    world_pass(&world, 200);
    world_expect(&world, "cancel r/r force\n"
                         "end r/r epoch 1 error banning\n");
}

static void children_alone_each_get_their_own(void **state)
{
    (void)state;
    world_start(&world, "bob", "b", "r");
    struct cancel_ask ask = world_cancel_of("r");
    ask.include_self = false;
    world_ask_cancel(&world, "ann", ask);
    world_expect(&world, "a: running > stopping (cancel)\n"
                         "notify bob: a enough, grace 10000\n"
                         "b: running > stopping (cancel)\n"
                         "notify bob: b enough, grace 10000\n"
                         "ask cancel r.r by client:ann: enough\n"
                         "report r a:1:2 b:1:2\n");
    world_cancel_says(&world, PROBLEM_NONE, world_record("r", "r"));
    assert_int_equal(world_view(&world, "r").state, RUN_RUNNING);
}

/* Nobody can name those elsewhere: whoever asks must not take `pending` for more than it is. */
static void of_children_out_of_reach_nothing_is_promised(void **state)
{
    (void)state;
    world_start(&world, "bob", "b", "r");
    struct cancel_ask ask = world_cancel_of("r");
    ask.include_self = false;
    world_ask_cancel(&world, "ann", ask);
    world_forget(&world);
    world_cancel_says(&world, PROBLEM_UNAVAILABLE, (struct cancel_record){0});
    world_expect(&world, "answer 6: pending children of r, not all told 2\n"
                         "publish r.b unrecorded\n");
    world_link_down(&world);
    world_ask_start(&world, "bob", world_start_of("c", "r"));
    world_forget(&world);
    world_ask_cancel(&world, "ann", ask);
    world_expect(&world, "c: running > stopping (cancel)\n"
                         "notify bob: c enough, grace 10000\n"
                         "answer 6: pending children of r, not all told 1\n");
    world_ask_cancel(&world, "ann", world_cancel_of("r"));
    world_expect(&world, "r: running > stopping (cancel)\n"
                         "notify ann: r enough, grace 10000\n"
                         "answer 6: pending told 1\n");
}

static void a_dry_run_and_a_bounded_one_stop_nobody_before_they_are_counted(void **state)
{
    (void)state;
    struct cancel_ask ask = world_cancel_of("a");
    ask.expect_at_most = 1;
    world_ask_cancel(&world, "ann", ask);
    world_expect(&world, "ask cancel r.a by client:ann: enough force\n");
    world_cancel_says(&world, PROBLEM_TOO_MANY_MATCHED, (struct cancel_record){0});
    world_expect(&world, "answer 6: too_many_matched\n");
    ask.dry_run = true;
    world_ask_cancel(&world, "ann", ask);
    world_expect(&world, "ask cancel r.a by client:ann: enough\n");
}

static void a_cancel_by_hand_asks_and_obeys_what_is_stored(void **state)
{
    (void)state;
    struct agent_event by_hand = {
        .kind = AGENT_TEXT_SEEN, .root = STR("r"), .text = STR("a"), .reason = STR("by hand")};
    world_feed(&world, by_hand);
    world_pass(&world, 5);
    world_expect(&world, "ask cancel r.a by channel: by hand\n");
    world_cancel_says(&world, PROBLEM_NONE, world_record("r", "a"));
    world_expect(&world, "a: running > stopping (cancel)\n"
                         "notify bob: a enough, grace 10000\n"
                         "report r a:1:2\n");
    by_hand.text = STR("nobody");
    world_feed(&world, by_hand);
    world_pass(&world, 5);
    world_expect(&world, "ask cancel r.nobody by channel: by hand\n");
    world_cancel_says(&world, PROBLEM_NOT_FOUND, (struct cancel_record){0});
    world_expect(&world, "count malformed\n");
}

static void a_cancel_by_hand_is_obeyed_where_redis_cannot_be_asked(void **state)
{
    (void)state;
    world_feed(&world, (struct agent_event){.kind = AGENT_TEXT_SEEN,
                                            .root = STR("r"),
                                            .text = STR("a"),
                                            .reason = STR("by hand")});
    world_pass(&world, 5);
    world_expect(&world, "ask cancel r.a by channel: by hand\n");
    world_cancel_says(&world, PROBLEM_UNAVAILABLE, (struct cancel_record){0});
    world_expect(&world, "a: running > stopping (cancel)\n"
                         "notify bob: a by hand, grace 10000\n"
                         "report r a:1:2\n");
}

/* ---- links --------------------------------------------------------------------------------- */
static void a_link_is_written_and_followed_until_it_is_acknowledged(void **state)
{
    (void)state;
    world_ask_link(&world, "bob", "a", "other/x");
    world_expect(&world, "link r/a\n");
    world_says(&world, STORE_LINK, SAID_LINKED);
    world_expect(&world, "answer 5: ok r.a epoch 1 running\n");
    world_hear(&world, world_record("r", "r"));
    world_expect(&world, "r: running > stopping (cancel)\n"
                         "notify ann: r enough, grace 10000\n"
                         "a: running > stopping (cancel)\n"
                         "notify bob: a enough, grace 10000\n"
                         "ask cancel other.x by broker: enough force cause cause hops 1\n"
                         "report r r:1:2 a:1:2\n");
    world_cancel_says(&world, PROBLEM_UNAVAILABLE, (struct cancel_record){0});
    world_expect(&world, "");
    world_pass(&world, 1000);
    world_expect(&world, "ask cancel other.x by broker: enough force cause cause hops 1\n");
    world_cancel_says(&world, PROBLEM_NONE, world_record("other", "x"));
    world_expect(&world, "link r/a acknowledged\n");
    world_pass(&world, 3000);
    world_expect(&world, "");
}

static void links_of_ended_runs_are_followed_too(void **state)
{
    (void)state;
    world_ask_link(&world, "bob", "a", "other");
    world_says(&world, STORE_LINK, SAID_LINKED);
    world_ask_end(&world, "bob", "a", 1, RUN_SUCCESS);
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_SUCCESS});
    world_forget(&world);
    world_hear(&world, world_record("r", "a"));
    world_expect(&world, "ask cancel other.other by broker: enough force cause cause hops 1\n");
}

static void a_link_posted_too_late_is_refused_and_cancelled(void **state)
{
    (void)state;
    struct cancel_record record = world_record("r", "r");
    world_ask_link(&world, "bob", "a", "other");
    world_forget(&world);
    world_say(&world, STORE_LINK,
              (struct store_answer){.verdict = SAID_REFUSED,
                                    .ban = STR("r"),
                                    .record = world_bytes(&world, &record)});
    world_expect(&world, "count reconcile found\n"
                         "a: running > stopping (cancel)\n"
                         "notify bob: a enough, grace 10000\n"
                         "ask cancel other.other by broker: enough force cause cause hops 1\n"
                         "answer 5: cancelled r.a epoch 1 stopping cancel r.r by broker\n"
                         "report r a:1:2\n");
    world_ask_link(&world, "bob", "a", "another");
    world_expect(&world, "answer 5: cancelled r.a epoch 1 stopping cancel r.r by broker\n"
                         "ask cancel another.another by broker: enough force cause cause hops 1\n");
}

/* The end overtakes the link, and Redis cannot say so. */
static void behind_an_end_no_link_is_promised(void **state)
{
    (void)state;
    world_ask_end(&world, "ann", "r", 1, RUN_SUCCESS);
    world_ask_link(&world, "ann", "r", "z");
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_SUCCESS});
    world_forget(&world);
    world_says(&world, STORE_LINK, SAID_UNWRITABLE);
    world_expect(&world, "answer 5: over r epoch 1 success\n");
}

/* Its run was lost meanwhile: no end of its own takes the link along. */
static void a_promised_link_of_a_lost_run_is_written_at_every_link_up(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("s", "");
    world_started(&world, "ann", start);
    world_link_down(&world);
    world_ask_link(&world, "ann", "s", "z");
    world_link_up(&world, "server1", "g1");
    world_say_items(&world, STORE_RECONCILE,
                    (struct store_item){.verdict = SAID_OVER, .state = RUN_LOST, .epoch = 1});
    world_say_items(&world, STORE_RECONCILE,
                    (struct store_item){.verdict = SAID_OVER, .state = RUN_LOST, .epoch = 1});
    assert_int_equal(world_open(&world, STORE_LINK), 1);
    world_link_down(&world);
    assert_int_equal(world_open(&world, STORE_LINK), 0);
    world_link_up(&world, "server1", "g1");
    assert_int_equal(world_open(&world, STORE_LINK), 1);
}

static void a_circle_of_links_ends(void **state)
{
    (void)state;
    world_ask_link(&world, "bob", "a", "other");
    world_says(&world, STORE_LINK, SAID_LINKED);
    struct cancel_record record = world_record("r", "a");
    record.hops = CAUSE_HOPS_MAX;
    world_forget(&world);
    world_hear(&world, record);
    world_expect(&world, "a: running > stopping (cancel)\n"
                         "notify bob: a enough, grace 10000\n"
                         "report r a:1:2\n");
}

/* ---- fence --------------------------------------------------------------------------------- */
static void after_the_ban_one_more_write_is_granted(void **state)
{
    (void)state;
    world_ask_fence(&world, "ann", "r", "w1");
    world_expect(&world, "checkpoint r/r write w1\n");
    world_says(&world, STORE_CHECKPOINT, SAID_GRANTED);
    world_expect(&world, "answer 4: ok r epoch 1 running\n");
    world_hear(&world, world_record("r", "r"));
    world_ask_fence(&world, "ann", "r", "w2");
    world_forget(&world);
    world_say(&world, STORE_CHECKPOINT,
              (struct store_answer){.verdict = SAID_GRANTED, .last = true});
    world_expect(&world, "answer 4: ok r epoch 1 stopping cancel r.r by broker last\n");
    world_ask_fence(&world, "ann", "r", "w3");
    world_expect(&world, "answer 4: frozen r epoch 1 stopping cancel r.r by broker\n");
    world_ask_fence(&world, "ann", "r", "w2");
    world_expect(&world, "checkpoint r/r write w2\n");
}

/* The answer to its adoption was lost: that Redis knows a later life says nothing yet. */
static void a_fence_is_no_verdict_before_the_adoption_is(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("s", "");
    start.epoch = 1;
    start.takeover = true;
    world_ask_start(&world, "ann", start);
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_EXISTS, .epoch = 1, .owner = STR("there")});
    world_says(&world, STORE_ASSERT, SAID_OFFLINE);
    world_ask_fence(&world, "ann", "s", "w1");
    world_forget(&world);
    world_say(&world, STORE_CHECKPOINT, (struct store_answer){.verdict = SAID_FENCED, .epoch = 2});
    world_expect(&world, "find_claim s id s\n"
                         "root_add s\n"
                         "assert s/s below '' epoch 1\n"
                         "answer 4: unknown_outcome s epoch 1 running\n");
    world_say(&world, STORE_ASSERT, (struct store_answer){.verdict = SAID_ADOPTED, .epoch = 2});
    assert_int_equal(world_view(&world, "s").state, RUN_RUNNING);
    assert_int_equal(world_view(&world, "s").epoch, 2);
}

static void the_last_write_is_told_when_replicas_have_it_or_that_they_have_not(void **state)
{
    (void)state;
    agent_world_fini(&world);
    struct agent_options options = agent_world_options();
    options.durability = DURABLE_REPLICATED;
    agent_world_init(&world, &options);
    world_link_up(&world, "server1", "g1");
    world_client_comes(&world, "ann");
    world_start(&world, "ann", "r", "");
    world_forget(&world);
    static const enum store_verdict verdict[] = {SAID_OK, SAID_ERROR};
    world_ask_fence(&world, "ann", "r", "w1");
    world_says(&world, STORE_CHECKPOINT, SAID_GRANTED);
    world_expect(&world, "checkpoint r/r write w1\nanswer 4: ok r epoch 1 running\n");
    world_hear(&world, world_record("r", "r"));
    for (int i = 0; i < 2; i++) {
        world_ask_fence(&world, "ann", "r", "w2");
        world_forget(&world);
        world_say(&world, STORE_CHECKPOINT,
                  (struct store_answer){.verdict = SAID_GRANTED, .last = true});
        world_expect(&world, "sync r/r write w2\n");
        world_says(&world, STORE_SYNC, verdict[i]);
        world_expect(&world, i == 0 ? "answer 4: ok r epoch 1 stopping cancel r.r by broker last\n"
                                    : "answer 4: ok r epoch 1 stopping cancel r.r by broker last "
                                      "unconfirmed\n");
    }
}

static void without_redis_the_write_is_counted_here_and_told_later(void **state)
{
    (void)state;
    world_hear(&world, world_record("r", "r"));
    world_link_down(&world);
    world_forget(&world);
    world_ask_fence(&world, "ann", "r", "w1");
    world_ask_fence(&world, "ann", "r", "w1");
    world_ask_fence(&world, "ann", "r", "w2");
    world_expect(&world, "answer 4: ok r epoch 1 stopping cancel r.r by broker last unconfirmed\n"
                         "answer 4: ok r epoch 1 stopping cancel r.r by broker last unconfirmed\n"
                         "answer 4: frozen r epoch 1 stopping cancel r.r by broker\n");
    world_link_up(&world, "server2", "g2");
    world_says(&world, STORE_CANCEL, SAID_ACCEPTED);
    world_forget(&world);
    world_says(&world, STORE_ASSERT, SAID_ADOPTED);
    world_pass(&world, 50);
    world_expect(&world, "checkpoint r/r write w1\n"
                         "report r r:1:2\n");
}

static void an_ack_is_of_a_cancel(void **state)
{
    (void)state;
    world_ask_ack(&world, "ann", "r", ACK_ACKNOWLEDGED);
    world_expect(&world, "answer 3: not_cancelled r epoch 1 running\n");
    world_hear(&world, world_record("r", "r"));
    world_ask_ack(&world, "ann", "r", ACK_ACKNOWLEDGED);
    assert_int_equal(world_view(&world, "r").flags, RUN_FLAG_DELIVERED | RUN_FLAG_ACKNOWLEDGED);
}

/* More than it can hold for a Redis that is away. */
static void what_is_not_kept_is_not_promised(void **state)
{
    enum { HELD_MAX = 10000 };
    char name[16];
    (void)state;
    struct agent_options options = agent_world_options();
    options.max_runs = 2 * HELD_MAX;
    agent_world_fini(&world);
    agent_world_init(&world, &options);
    for (int i = 0; i <= HELD_MAX; i++) {
        snprintf(name, sizeof name, "r%d", i);
        world_ask_start(&world, "ann", world_start_of(name, ""));
        world_forget(&world);
        world_ask_cancel(&world, "ann", world_cancel_of(name));
    }
    world_expect(&world, "r10000: running > stopping (cancel)\n"
                         "answer 6: overloaded\n");
    world_ask_start(&world, "ann", world_start_of("c", "r10000"));
    world_forget(&world);
    struct cancel_ask below = world_cancel_of("r10000");
    below.include_self = false;
    world_ask_cancel(&world, "ann", below);
    world_expect(&world, "c: running > stopping (cancel)\n"
                         "answer 6: overloaded\n");
    world_ask_cancel(&world, "ann", world_cancel_of("r7"));
    world_expect(&world, "answer 6: pending\n");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, drop)
    const struct CMUnitTest tests[] = {
        T(a_cancel_here_stops_what_is_local_at_once),
        T(a_client_cancels_its_own_and_what_is_below_alone),
        T(without_redis_a_cancel_stops_here_and_is_recorded_later),
        T(a_redis_that_cannot_record_it_still_publishes),
        T(one_refused_cancel_takes_no_other_along),
        T(a_cancel_that_is_pending_waits_for_no_end),
        T(children_alone_each_get_their_own),
        T(of_children_out_of_reach_nothing_is_promised),
        T(a_dry_run_and_a_bounded_one_stop_nobody_before_they_are_counted),
        T(a_cancel_by_hand_asks_and_obeys_what_is_stored),
        T(a_cancel_by_hand_is_obeyed_where_redis_cannot_be_asked),
        T(a_link_is_written_and_followed_until_it_is_acknowledged),
        T(links_of_ended_runs_are_followed_too),
        T(a_link_posted_too_late_is_refused_and_cancelled),
        T(behind_an_end_no_link_is_promised),
        T(a_promised_link_of_a_lost_run_is_written_at_every_link_up),
        T(a_circle_of_links_ends),
        T(after_the_ban_one_more_write_is_granted),
        T(without_redis_the_write_is_counted_here_and_told_later),
        T(a_fence_is_no_verdict_before_the_adoption_is),
        T(the_last_write_is_told_when_replicas_have_it_or_that_they_have_not),
        T(an_ack_is_of_a_cancel),
        T(what_is_not_kept_is_not_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
