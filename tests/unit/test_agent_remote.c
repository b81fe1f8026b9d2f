/* Stop targets and links that are work in other programs, told as what the agent wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/agent_world.h"

static struct agent_world world;

static void fresh_in(enum agent_mode mode)
{
    struct agent_options options = agent_world_options();
    options.mode = mode;
    agent_world_init(&world, &options);
    world_link_up(&world, "server1", "g1");
    world_client_comes(&world, "ann");
    world_forget(&world);
}

static int fresh(void **state)
{
    (void)state;
    fresh_in(MODE_ENFORCE);
    return 0;
}

static int fresh_that_notifies(void **state)
{
    (void)state;
    fresh_in(MODE_NOTIFY);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    agent_world_fini(&world);
    return 0;
}

static struct stop_target at(const char *to)
{
    return (struct stop_target){
        .kind = STOP_HTTP, .grace = SPAN_NONE, .protocol = LINK_LANGGRAPH, .to = str_of(to)};
}

static struct stop_target process(uint32_t pid)
{
    return (struct stop_target){.kind = STOP_PROCESS, .grace = SPAN_NONE, .pid = pid};
}

/* "r", cancelled; its targets: the agent, and the process if `pid` is one. */
static void cancel_with(uint32_t pid)
{
    struct ask_start start = world_start_of("r", "");
    start.stop_count = pid != 0 ? 2 : 1;
    start.stop[0] = at("http://here");
    start.stop[1] = process(pid);
    world_started(&world, "ann", start);
    world_hear(&world, world_record("r", "r"));
}

static const char asked[] = "r: running > stopping (cancel)\n"
                            "interrupt langgraph of r at http://here, within 5000\n";

/* ---- stop targets -------------------------------------------------------------------------- */
static void what_an_agent_says_is_acknowledged_and_not_stopped(void **state)
{
    (void)state;
    cancel_with(0);
    world_expect(&world, asked);
    world_remote_says(&world, "r", REMOTE_CANCELLED);
    world_expect(&world, "report r r:1:6\n");
    assert_int_equal(world_view(&world, "r").state, RUN_STOPPING);
    world_ask_end(&world, "ann", "r", 1, RUN_CANCELLED);
    world_expect(&world, "end r/r epoch 1 cancelled story\n");
}

/* Many answer only when they have stopped. */
static void what_was_sent_is_delivered_though_no_answer_came(void **state)
{
    (void)state;
    cancel_with(0);
    world_forget(&world);
    world_remote_says(&world, "r", REMOTE_SENT);
    world_expect(&world, "report r r:1:2\n");
    world_ask_end(&world, "ann", "r", 1, RUN_CANCELLED);
    assert_int_equal(world_view(&world, "r").story.by, STOPPED_BY_NOTICE);
}

/* Its node ignores the signal: 204, and it runs on. */
static void an_agent_that_says_so_and_works_on_is_unresponsive(void **state)
{
    (void)state;
    cancel_with(0);
    world_remote_says(&world, "r", REMOTE_CANCELLED);
    world_forget(&world);
    world_pass(&world, 4900);
    world_expect(&world, "");
    world_pass(&world, 200);
    world_expect(&world, "count unresponsive\n"
                         "r: stopping > stopping (unresponsive)\n"
                         "report r r:1:20\n");
    assert_int_equal(world_view(&world, "r").state, RUN_STOPPING);
}

static void it_is_killed_when_it_can_be(void **state)
{
    (void)state;
    cancel_with(42);
    world_remote_says(&world, "r", REMOTE_CANCELLED);
    world_forget(&world);
    world_pass(&world, 5000);
    world_expect(&world, "signal r 15\n");
}

static void what_cannot_be_cancelled_is_signalled_at_once(void **state)
{
    (void)state;
    static const enum remote_outcome outcomes[] = {REMOTE_NOT_HERE, REMOTE_REFUSED, REMOTE_SILENT,
                                                   REMOTE_UNREACHED};
    for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++) {
        cancel_with(42);
        world_forget(&world);
        world_remote_says(&world, "r", outcomes[i]);
        world_expect(&world, "signal r 15\n"
                             "report r r:1:2\n");
        agent_world_fini(&world);
        fresh_in(MODE_ENFORCE);
    }
}

static void the_wish_alone_stops_no_clock(void **state)
{
    (void)state;
    cancel_with(42);
    world_forget(&world);
    world_remote_says(&world, "r", REMOTE_ASKED);
    world_expect(&world, "report r r:1:2\n");
    world_pass(&world, 5000);
    world_expect(&world, "signal r 15\n");
}

static void work_that_was_over_ends_its_run(void **state)
{
    (void)state;
    cancel_with(0);
    world_forget(&world);
    world_remote_says(&world, "r", REMOTE_SUCCEEDED);
    world_expect(&world, "end r/r epoch 1 success story\n");
}

static void a_late_answer_is_of_no_account(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("r", "");
    start.stop_count = 2;
    start.stop[0] = at("http://first");
    start.stop[1] = at("http://second");
    world_started(&world, "ann", start);
    world_hear(&world, world_record("r", "r"));
    uint64_t first = world.last_call;
    world_pass(&world, 5000);
    world_forget(&world);
    world_feed(&world, (struct agent_event){.kind = AGENT_REMOTE_ANSWERED,
                                            .run = STR("r"),
                                            .token = first,
                                            .outcome = REMOTE_REFUSED});
    world_pass(&world, 4900);
    world_expect(&world, ""); /* the second has its whole grace */
}

static void who_cannot_be_reached_is_unresponsive_and_asked_again(void **state)
{
    (void)state;
    cancel_with(0);
    world_forget(&world);
    world_remote_says(&world, "r", REMOTE_UNREACHED);
    world_expect(&world, "count unresponsive\n"
                         "r: stopping > stopping (its agent cannot be reached)\n"
                         "report r r:1:20\n");
    world_say_items(&world, STORE_REPORT, (struct store_item){.verdict = SAID_OK});
    world_pass(&world, 1000);
    world_expect(&world, "interrupt langgraph of r at http://here, within 5000\n");
    world_remote_says(&world, "r", REMOTE_CANCELLED);
    world_expect(&world, "report r r:1:6\n");
}

/* The question has as long as the grace: either may be over first. */
static void who_was_not_reached_in_all_the_grace_is_asked_again_too(void **state)
{
    (void)state;
    cancel_with(0);
    world_pass(&world, 5000);
    world_say_items(&world, STORE_REPORT, (struct store_item){.verdict = SAID_OK});
    world_forget(&world);
    for (int i = 0; i < 3; i++) {
        world_remote_says(&world, "r", REMOTE_UNREACHED);
        world_pass(&world, 999);
        world_expect(&world, "");
        world_pass(&world, 1);
        world_expect(&world, "interrupt langgraph of r at http://here, within 5000\n");
        world_pass(&world, 5000);
    }
    world_remote_says(&world, "r", REMOTE_SILENT); /* it was there, and does not answer */
    world_pass(&world, 60000);
    world_forget(&world);
    world_pass(&world, 1000);
    assert_null(strstr(world.said.bytes != NULL ? world.said.bytes : "", "interrupt"));
}

/* A later cancel has shortened the grace; the question has still its time. */
static void who_is_hurried_is_asked_again_when_nobody_was_there(void **state)
{
    (void)state;
    cancel_with(0);
    struct cancel_record hasty = world_record("r", "r");
    hasty.grace = MILLIS(100);
    world_hear(&world, hasty);
    world_pass(&world, 100);
    world_forget(&world);
    world_pass(&world, 1900);
    world_remote_says(&world, "r", REMOTE_UNREACHED);
    world_forget(&world);
    world_pass(&world, 1000);
    world_expect(&world, "interrupt langgraph of r at http://here, within 100\n");
}

/* The end may be on its way. */
static void who_is_not_known_there_has_the_rest_of_the_grace(void **state)
{
    (void)state;
    cancel_with(0);
    world_remote_says(&world, "r", REMOTE_NOT_HERE);
    world_forget(&world);
    world_pass(&world, 4900);
    world_expect(&world, "");
    world_pass(&world, 100);
    world_expect(&world, "count unresponsive\n"
                         "r: stopping > stopping (unresponsive)\n"
                         "report r r:1:20\n");
}

static void without_grace_both_are_done_at_once(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("r", "");
    struct cancel_record record = world_record("r", "r");
    record.grace = MILLIS(0);
    start.stop_count = 2;
    start.stop[0] = at("http://here");
    start.stop[1] = process(42);
    world_started(&world, "ann", start);
    world_hear(&world, record);
    world_expect(&world, "r: running > stopping (cancel)\n"
                         "interrupt langgraph of r at http://here, within 5000\n"
                         "signal r 9\n"
                         "report r r:1:82\n");
}

static void mode_notify_asks_the_agent_and_signals_nobody(void **state)
{
    (void)state;
    cancel_with(42);
    world_expect(&world, asked);
    world_remote_says(&world, "r", REMOTE_REFUSED);
    world_expect(&world, "");
    world_pass(&world, 5000);
    world_expect(&world, "count unresponsive\n"
                         "r: stopping > stopping (unresponsive)\n"
                         "report r r:1:20\n");
}

/* ---- links --------------------------------------------------------------------------------- */
static void link_to(enum link_kind kind, const char *to)
{
    world_start(&world, "ann", "r", "");
    world_ask_link_of(&world, "ann", "r", kind, to);
    world_says(&world, STORE_LINK, SAID_LINKED);
    world_forget(&world);
}

static void a_link_is_cancelled_over_there_and_acknowledged_here(void **state)
{
    (void)state;
    link_to(LINK_A2A, "http://far#task=1");
    world_hear(&world, world_record("r", "r"));
    world_expect(&world, "r: running > stopping (cancel)\n"
                         "notify ann: r enough, grace 10000\n"
                         "interrupt a2a of r at http://far#task=1, within 5000\n"
                         "report r r:1:2\n");
    world_remote_says(&world, "r", REMOTE_CANCELLED);
    world_expect(&world, "link r/r acknowledged\n");
}

static void a_link_of_an_ended_run_is_cancelled_too(void **state)
{
    (void)state;
    link_to(LINK_HTTP, "http://far/stop");
    world_ask_end(&world, "ann", "r", 1, RUN_SUCCESS);
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_SUCCESS});
    world_forget(&world);
    world_hear(&world, world_record("r", "r"));
    world_expect(&world, "interrupt http of r at http://far/stop, within 5000\n");
}

static void a_link_that_fails_is_asked_again_and_less_often(void **state)
{
    (void)state;
    link_to(LINK_LANGGRAPH, "http://far/threads/t/runs/r");
    world_hear(&world, world_record("r", "r"));
    static const int64_t pauses[] = {1000, 2000, 4000, 8000};
    for (size_t i = 0; i < sizeof pauses / sizeof pauses[0]; i++) {
        world_remote_says(&world, "r", REMOTE_UNREACHED);
        world_pass(&world, pauses[i] - 1);
        world_forget(&world);
        world_pass(&world, 1);
        assert_non_null(strstr(world.said.bytes, "langgraph of r at"));
    }
}

/* It may be about to start; later it is gone. */
static void work_that_nobody_knows_is_done_after_a_while(void **state)
{
    (void)state;
    link_to(LINK_LANGGRAPH, "http://far/threads/t/runs/r");
    world_hear(&world, world_record("r", "r"));
    world_forget(&world);
    world_remote_says(&world, "r", REMOTE_NOT_HERE);
    world_expect(&world, "");
    world_pass(&world, 1000);
    world_remote_says(&world, "r", REMOTE_NOT_HERE);
    world_pass(&world, 9000);
    world_forget(&world);
    world_remote_says(&world, "r", REMOTE_NOT_HERE);
    world_expect(&world, "link r/r acknowledged\n");
}

static void a_link_that_comes_too_late_is_cancelled_at_once(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_hear(&world, world_record("r", "r"));
    world_forget(&world);
    world_ask_link_of(&world, "ann", "r", LINK_HTTP, "http://far/stop");
    world_expect(&world, "answer 5: cancelled r epoch 1 stopping cancel r.r by broker\n"
                         "interrupt http of r at http://far/stop, within 5000\n");
}

static void without_redis_a_link_is_cancelled_all_the_same(void **state)
{
    (void)state;
    link_to(LINK_HTTP, "http://far/stop");
    world_link_down(&world);
    world_forget(&world);
    world_ask_cancel(&world, "ann", world_cancel_of("r"));
    assert_non_null(strstr(world.said.bytes, "interrupt http of r at http://far/stop"));
}

#define IN_ENFORCE(test) cmocka_unit_test_setup_teardown(test, fresh, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_ENFORCE(what_an_agent_says_is_acknowledged_and_not_stopped),
        IN_ENFORCE(what_was_sent_is_delivered_though_no_answer_came),
        IN_ENFORCE(an_agent_that_says_so_and_works_on_is_unresponsive),
        IN_ENFORCE(it_is_killed_when_it_can_be),
        IN_ENFORCE(what_cannot_be_cancelled_is_signalled_at_once),
        IN_ENFORCE(the_wish_alone_stops_no_clock),
        IN_ENFORCE(work_that_was_over_ends_its_run),
        IN_ENFORCE(a_late_answer_is_of_no_account),
        IN_ENFORCE(who_cannot_be_reached_is_unresponsive_and_asked_again),
        IN_ENFORCE(who_was_not_reached_in_all_the_grace_is_asked_again_too),
        IN_ENFORCE(who_is_hurried_is_asked_again_when_nobody_was_there),
        IN_ENFORCE(who_is_not_known_there_has_the_rest_of_the_grace),
        IN_ENFORCE(without_grace_both_are_done_at_once),
        cmocka_unit_test_setup_teardown(mode_notify_asks_the_agent_and_signals_nobody,
                                        fresh_that_notifies, drop),
        IN_ENFORCE(a_link_is_cancelled_over_there_and_acknowledged_here),
        IN_ENFORCE(a_link_of_an_ended_run_is_cancelled_too),
        IN_ENFORCE(a_link_that_fails_is_asked_again_and_less_often),
        IN_ENFORCE(work_that_nobody_knows_is_done_after_a_while),
        IN_ENFORCE(a_link_that_comes_too_late_is_cancelled_at_once),
        IN_ENFORCE(without_redis_a_link_is_cancelled_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
