/* How runs are told, stopped and ended, told as what the agent wants. */
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

static int drop(void **state)
{
    (void)state;
    agent_world_fini(&world);
    return 0;
}

static struct ask_start with_process(const char *run, const char *parents, uint32_t pid)
{
    struct ask_start start = world_start_of(run, parents);
    start.stop_count = 2;
    start.stop[0] = (struct stop_target){.kind = STOP_NOTIFY, .grace = SPAN_NONE};
    start.stop[1] = (struct stop_target){.kind = STOP_PROCESS, .grace = SPAN_NONE, .pid = pid};
    return start;
}

/* ---- who is told --------------------------------------------------------------------------- */
static void everybody_below_is_told_at_once_and_reported_together(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_start(&world, "ann", "a", "r");
    world_start(&world, "ann", "b", "a");
    world_start(&world, "ann", "c", "r");
    world_hear(&world, world_record("r", "a"));
    world_expect(&world, "a: running > stopping (cancel)\n"
                         "notify ann: a enough, grace 10000\n"
                         "b: running > stopping (cancel)\n"
                         "notify ann: b enough, grace 10000\n"
                         "report r a:1:2 b:1:2\n");
}

static void nobody_is_told_twice(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_start(&world, "ann", "a", "r");
    world_hear(&world, world_record("r", "a"));
    world_forget(&world);
    world_hear(&world, world_record("r", "a"));
    world_expect(&world, "");
    world_hear(&world, world_record("r", "r"));
    world_expect(&world, "r: running > stopping (cancel)\n"
                         "notify ann: r enough, grace 10000\n");
}

/* Its target may live again, with children of its new life. */
static void whom_a_takeover_lost_redis_is_asked(void **state)
{
    (void)state;
    struct cancel_record loss = world_record("r", "r");
    loss.reason = STR("lost");
    world_start(&world, "ann", "r", "");
    world_start(&world, "ann", "a", "r");
    world_hear(&world, loss);
    world_hear(&world, loss);
    world_pass(&world, 5); /* its jitter */
    world_expect(&world, "reconcile r r:1:0 a:1:0\n");
    world_say_items(&world, STORE_RECONCILE,
                    (struct store_item){.verdict = SAID_GO, .state = RUN_RUNNING, .epoch = 1});
    world_start(&world, "ann", "b", "r");
    world_expect(&world, "");
}

static void reports_of_a_root_go_twenty_times_a_second(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_start(&world, "ann", "a", "r");
    world_hear(&world, world_record("r", "a"));
    world_forget(&world);
    world_ask_ack(&world, "ann", "a", ACK_ACKNOWLEDGED);
    world_ask_ack(&world, "ann", "a", ACK_CLEANED_UP);
    world_expect(&world, "answer 3: ok r.a epoch 1 stopping cancel r.a by broker\n"
                         "answer 3: ok r.a epoch 1 stopping cancel r.a by broker\n");
    world_pass(&world, 50);
    world_expect(&world, "report r a:1:c\n");
}

static void a_report_that_was_not_taken_goes_again(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_hear(&world, world_record("r", "r"));
    world_link_down(&world);
    world_forget(&world);
    world_feed(&world, (struct agent_event){.kind = AGENT_LINK_UP, .text = STR("server1")});
    world_say(&world, STORE_GENERATION,
              (struct store_answer){.verdict = SAID_OK, .text = STR("g1")});
    world_pass(&world, 50);
    world_expect(&world, "generation\n"
                         "lease g1\n"
                         "reconcile r r:1:0\n"
                         "report r r:1:2\n");
}

static void a_client_that_is_away_is_told_when_it_comes(void **state)
{
    (void)state;
    world_start(&world, "bob", "r", "");
    world_hear(&world, world_record("r", "r"));
    world_expect(&world, "r: running > stopping (cancel)\n");
    assert_int_equal(world_view(&world, "r").story.delivered.ms, 0);
    world_client_comes(&world, "bob");
    world_expect(&world, "report r r:1:2\n");
    assert_true(world_view(&world, "r").story.delivered.ms > 0);
    size_t at = 0;
    struct agent_run_view view;
    assert_true(agent_next_standing(world.agent, STR("bob"), &at, world.now, &view));
    assert_true(str_is(view.run, "r"));
    assert_int_equal(view.grace.ms, agent_world_options().grace_notify.ms);
    world_pass(&world, 1500);
    assert_int_equal(world_view(&world, "r").grace.ms,
                     agent_world_options().grace_notify.ms - 1500);
    assert_false(agent_next_standing(world.agent, STR("bob"), &at, world.now, &view));
}

static void observe_tells_nobody(void **state)
{
    (void)state;
    drop(state);
    fresh_in(MODE_OBSERVE);
    world_started(&world, "ann", with_process("r", "", 42));
    world_hear(&world, world_record("r", "r"));
    world_expect(&world, "count observed\n");
    world_pass(&world, 29000);
    world_expect(&world, "");
    world_ask_ack(&world, "ann", "r", ACK_ACKNOWLEDGED);
    world_expect(&world, "answer 3: not_cancelled r epoch 1 running would cancel r.r by broker\n");
}

/* ---- the ladder ---------------------------------------------------------------------------- */
static void a_run_that_ignores_us_is_terminated_and_killed(void **state)
{
    (void)state;
    world_started(&world, "ann", with_process("r", "", 42));
    world_hear(&world, world_record("r", "r"));
    world_say_items(&world, STORE_REPORT, (struct store_item){.verdict = SAID_OK});
    world_forget(&world);
    world_pass(&world, 9999);
    world_forget(&world);
    world_pass(&world, 1);
    world_expect(&world, "signal r 15\n");
    world_feed(&world, (struct agent_event){
                           .kind = AGENT_SIGNALLED, .run = STR("r"), .found = FOUND_BY_PID});
    world_pass(&world, 4999);
    world_forget(&world);
    world_pass(&world, 1);
    world_expect(&world, "signal r 9\n"
                         "report r r:1:80\n");
    world_process(&world, AGENT_PROCESS_EMPTY, "r");
    world_expect(&world, "end r/r epoch 1 cancelled story\n"
                         "close process of r\n");
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_CANCELLED});
    world_expect(&world, "r: stopping > cancelled (end)\n"
                         "unsubscribe r\n"
                         "held_drop r\n");
    assert_int_equal(world_view(&world, "r").story.by, STOPPED_BY_KILL);
    assert_int_equal(world_view(&world, "r").story.found, FOUND_BY_PID);
}

static void what_sigkill_does_not_end_is_unresponsive(void **state)
{
    (void)state;
    world_started(&world, "ann", with_process("r", "", 42));
    world_hear(&world, world_record("r", "r"));
    world_pass(&world, 19999);
    world_forget(&world);
    world_pass(&world, 1);
    world_expect(&world, "count unresponsive\n"
                         "r: stopping > stopping (SIGKILL did not help)\n"
                         "quarantined: SIGKILL did not help: 1\n"
                         "quarantine_add\n"
                         "report r r:1:20\n");
}

static void without_a_process_an_ignored_notice_is_unresponsive(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_hear(&world, world_record("r", "r"));
    world_pass(&world, 9999);
    world_forget(&world);
    world_pass(&world, 1);
    world_expect(&world, "count unresponsive\n"
                         "r: stopping > stopping (unresponsive)\n"
                         "report r r:1:20\n");
}

static void a_grace_of_nothing_kills_at_once(void **state)
{
    (void)state;
    world_started(&world, "ann", with_process("r", "", 42));
    struct cancel_record record = world_record("r", "r");
    record.grace = MILLIS(0);
    world_hear(&world, record);
    world_expect(&world, "r: running > stopping (cancel)\n"
                         "notify ann: r enough, grace 0\n"
                         "signal r 9\n"
                         "report r r:1:82\n");
}

static void a_lower_grace_hurries_who_was_told(void **state)
{
    (void)state;
    world_started(&world, "ann", with_process("r", "", 42));
    struct cancel_record record = world_record("r", "r");
    world_hear(&world, record);
    world_pass(&world, 2000);
    world_forget(&world);
    record.grace = MILLIS(1000);
    world_hear(&world, record);
    world_pass(&world, 999);
    world_expect(&world, "");
    world_pass(&world, 1001);
    world_expect(&world, "signal r 15\n"
                         "signal r 9\n"
                         "report r r:1:80\n");
}

static void mode_notify_signals_nobody(void **state)
{
    (void)state;
    drop(state);
    fresh_in(MODE_NOTIFY);
    world_started(&world, "ann", with_process("r", "", 42));
    world_hear(&world, world_record("r", "r"));
    world_forget(&world);
    world_pass(&world, 10000);
    world_expect(&world, "count unresponsive\n"
                         "r: stopping > stopping (unresponsive)\n"
                         "report r r:1:20\n");
}

static void a_process_that_serves_innocent_runs_is_spared(void **state)
{
    (void)state;
    world_started(&world, "ann", with_process("r", "", 42));
    world_started(&world, "ann", with_process("s", "", 42));
    world_hear(&world, world_record("r", "r"));
    world_pass(&world, 9999);
    world_forget(&world);
    world_pass(&world, 1);
    world_expect(&world, "count unresponsive\n"
                         "r: stopping > stopping (its process serves other runs)\n"
                         "report r r:1:20\n");
    world_ask_end(&world, "ann", "s", 1, RUN_SUCCESS);
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_SUCCESS});
    world_forget(&world);
    world_pass(&world, 1000);
    world_expect(&world, "signal r 15\n");
}

/* `inner` registers from within the process tree of `r`. */
static void started_within(const char *inner, uint32_t pid, uint32_t outer)
{
    world_started(&world, "ann", with_process(inner, "", pid));
    world_feed(&world, (struct agent_event){
                           .kind = AGENT_PROCESS_OPENED, .run = str_of(inner), .within = outer});
}

static void a_run_of_another_root_in_its_process_tree_is_spared(void **state)
{
    (void)state;
    world_started(&world, "ann", with_process("r", "", 42));
    started_within("middle", 43, 42);
    started_within("s", 44, 43);
    world_hear(&world, world_record("middle", "middle"));
    world_hear(&world, world_record("r", "r"));
    world_pass(&world, 10000);
    assert_int_equal(world_view(&world, "r").story.terminated.ms, 0);
    assert_int_equal(world_view(&world, "middle").story.terminated.ms, 0);
    world_ask_end(&world, "ann", "s", 1, RUN_SUCCESS);
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_SUCCESS});
    world_forget(&world);
    world_pass(&world, 1000);
    world_expect(&world, "signal r 15\n"
                         "signal middle 15\n");
}

static void what_is_cancelled_with_it_is_not_innocent(void **state)
{
    (void)state;
    world_started(&world, "ann", with_process("r", "", 42));
    world_started(&world, "ann", with_process("c", "r", 43));
    world_feed(&world,
               (struct agent_event){.kind = AGENT_PROCESS_OPENED, .run = STR("c"), .within = 42});
    world_forget(&world);
    struct cancel_record record = world_record("r", "r");
    record.grace = MILLIS(0);
    world_hear(&world, record);
    assert_int_not_equal(world_view(&world, "r").story.killed.ms, 0);
    assert_int_not_equal(world_view(&world, "c").story.killed.ms, 0);
}

static void collateral_may_be_allowed(void **state)
{
    (void)state;
    struct ask_start start = with_process("r", "", 42);
    start.collateral_allowed = true;
    world_started(&world, "ann", start);
    world_started(&world, "ann", with_process("s", "", 42));
    world_hear(&world, world_record("r", "r"));
    world_pass(&world, 9999);
    world_forget(&world);
    world_pass(&world, 1);
    world_expect(&world, "signal r 15\n");
}

static void who_obeyed_the_notice_is_not_killed(void **state)
{
    (void)state;
    world_started(&world, "ann", with_process("r", "", 42));
    world_hear(&world, world_record("r", "r"));
    world_ask_end(&world, "ann", "r", 1, RUN_CANCELLED);
    world_forget(&world);
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_CANCELLED});
    world_expect(&world, "r: stopping > cancelled (end)\n"
                         "close process of r\n"
                         "unsubscribe r\n"
                         "held_drop r\n"
                         "answer 2: ok r epoch 1 cancelled cancel r.r by broker\n");
    assert_int_equal(world_view(&world, "r").story.by, STOPPED_BY_NOTICE);
}

static void what_was_signalled_is_stopped_to_the_end(void **state)
{
    (void)state;
    world_started(&world, "ann", with_process("r", "", 42));
    world_hear(&world, world_record("r", "r"));
    world_pass(&world, 10000);
    world_ask_end(&world, "ann", "r", 1, RUN_CANCELLED);
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_CANCELLED});
    world_forget(&world);
    world_pass(&world, 5000);
    world_expect(&world, "signal r 9\n");
    world_process(&world, AGENT_PROCESS_EMPTY, "r");
    world_expect(&world, "close process of r\n");
}

static void what_a_told_process_leaves_behind_is_stopped(void **state)
{
    (void)state;
    world_started(&world, "ann", with_process("r", "", 42));
    world_hear(&world, world_record("r", "r"));
    world_forget(&world);
    world_process(&world, AGENT_PROCESS_EXITED, "r");
    world_expect(&world, "signal r 15\n");
    world_process(&world, AGENT_PROCESS_EMPTY, "r");
    world_expect(&world, "end r/r epoch 1 cancelled story\n"
                         "close process of r\n");
}

static void leftovers_have_the_grace_of_their_run(void **state)
{
    (void)state;
    struct ask_start start = with_process("r", "", 42);
    start.stop[1].grace = MILLIS(300);
    start.stop[1].signal = 2;
    world_started(&world, "ann", start);
    world_hear(&world, world_record("r", "r"));
    world_process(&world, AGENT_PROCESS_EXITED, "r");
    world_forget(&world);
    world_pass(&world, 299);
    world_forget(&world);
    world_pass(&world, 1);
    world_expect(&world, "signal r 9\n"
                         "report r r:1:80\n");
}

static void a_signal_that_hit_nobody_stopped_nobody(void **state)
{
    (void)state;
    world_started(&world, "ann", with_process("r", "", 42));
    world_hear(&world, world_record("r", "r"));
    world_process(&world, AGENT_PROCESS_EXITED, "r");
    world_feed(&world,
               (struct agent_event){.kind = AGENT_SIGNALLED, .run = STR("r"), .signal = 15});
    world_process(&world, AGENT_PROCESS_EMPTY, "r");
    assert_int_equal(world_view(&world, "r").story.by, STOPPED_BY_NOTICE);
    assert_int_equal(world_view(&world, "r").story.terminated.ms, 0);
}

static void what_a_subreaper_still_has_is_waited_for(void **state)
{
    (void)state;
    struct ask_start start = with_process("r", "", 42);
    start.stop[1].has_subreaper = true;
    world_started(&world, "ann", start);
    world_hear(&world, world_record("r", "r"));
    world_process(&world, AGENT_PROCESS_EXITED, "r");
    world_forget(&world);
    world_process(&world, AGENT_PROCESS_EMPTY, "r");
    world_expect(&world, "close process of r\n");
    world_ask_end(&world, "ann", "r", 1, RUN_ROLLED_BACK);
    world_expect(&world, "end r/r epoch 1 rolled_back story\n");
}

static void but_not_for_ever(void **state)
{
    (void)state;
    struct ask_start start = with_process("r", "", 42);
    start.stop[1].has_subreaper = true;
    world_started(&world, "ann", start);
    world_hear(&world, world_record("r", "r"));
    world_process(&world, AGENT_PROCESS_EXITED, "r");
    world_process(&world, AGENT_PROCESS_EMPTY, "r");
    world_forget(&world);
    world_pass(&world, 19999);
    world_expect(&world, "");
    world_pass(&world, 1);
    world_expect(&world, "end r/r epoch 1 cancelled story\n");
}

/* ---- ends ---------------------------------------------------------------------------------- */
static void a_child_reports_its_end(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_ask_end(&world, "ann", "r", 1, RUN_SUCCESS);
    world_expect(&world, "end r/r epoch 1 success\n");
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_SUCCESS});
    world_expect(&world, "r: running > success (end)\n"
                         "unsubscribe r\n"
                         "held_drop r\n"
                         "answer 2: ok r epoch 1 success\n");
    world_ask_end(&world, "ann", "r", 1, RUN_SUCCESS);
    world_expect(&world, "answer 2: ok r epoch 1 success\n");
    world_ask_end(&world, "ann", "r", 1, RUN_ERROR);
    world_expect(&world, "answer 2: over r epoch 1 success\n");
}

static void an_end_needs_the_epoch_and_the_owner(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_ask_end(&world, "ann", "r", 0, RUN_SUCCESS);
    world_expect(&world, "answer 2: epoch_required r epoch 1 running\n");
    world_ask_end(&world, "ann", "r", 2, RUN_SUCCESS);
    world_expect(&world, "answer 2: invalid r epoch 1 running\n");
    world_ask_end(&world, "eve", "r", 1, RUN_SUCCESS);
    world_expect(&world, "answer 2: unauthorized\n");
    world_client_comes(&world, "eve");
    world_ask_end(&world, "eve", "r", 1, RUN_SUCCESS);
    world_expect(&world, "answer 2: forbidden\n");
    world_ask_end(&world, "operator", "r", 1, RUN_TIMEOUT);
    world_expect(&world, "answer 2: invalid\n");
}

static void finishing_under_a_ban_is_recorded_as_cancelled(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_ask_end(&world, "ann", "r", 1, RUN_SUCCESS);
    world_hear(&world, world_record("r", "r"));
    world_forget(&world);
    world_say(&world, STORE_END,
              (struct store_answer){
                  .verdict = SAID_ENDED, .state = RUN_CANCELLED, .finished_anyway = RUN_SUCCESS});
    world_expect(&world,
                 "r: stopping > cancelled (end)\n"
                 "unsubscribe r\n"
                 "held_drop r\n"
                 "answer 2: ok r epoch 1 cancelled finished_anyway success cancel r.r by broker\n");
}

static void an_error_takes_what_is_below_with_it(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_start(&world, "ann", "a", "r");
    world_ask_end(&world, "ann", "r", 1, RUN_ERROR);
    world_expect(&world, "end r/r epoch 1 error banning\n");
    world_say(&world, STORE_END, (struct store_answer){.verdict = SAID_ENDED, .state = RUN_ERROR});
    world_expect(&world, "r: running > error (end)\n"
                         "a: running > stopping (cancel)\n"
                         "notify ann: a parent_ended, grace 10000\n"
                         "answer 2: ok r epoch 1 error\n"
                         "report r a:1:2\n");
}

static void an_end_while_redis_is_away_is_kept(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_link_down(&world);
    world_ask_end(&world, "ann", "r", 1, RUN_SUCCESS);
    world_expect(&world, "r: running > success (end)\n"
                         "answer 2: pending r epoch 1 success\n");
    world_link_up(&world, "server1", "g1");
    world_expect(&world, "generation\n"
                         "end r/r epoch 1 success\n"
                         "lease g1\n");
    world_say(&world, STORE_END,
              (struct store_answer){.verdict = SAID_ENDED, .state = RUN_SUCCESS});
    world_expect(&world, "unsubscribe r\n"
                         "held_drop r\n");
    assert_true(world_view(&world, "r").confirmed);
}

static void an_end_that_redis_forgot_the_run_of_asserts_it_first(void **state)
{
    (void)state;
    world_start(&world, "ann", "r", "");
    world_ask_end(&world, "ann", "r", 1, RUN_SUCCESS);
    world_forget(&world);
    world_says(&world, STORE_END, SAID_UNKNOWN);
    world_expect(&world, "find_claim r id r\n"
                         "root_add r\n"
                         "assert r/r below '' epoch 1\n"
                         "end r/r epoch 1 success\n");
}

static void a_process_that_just_ends_is_an_error_after_a_while(void **state)
{
    (void)state;
    world_started(&world, "ann", with_process("r", "", 42));
    world_process(&world, AGENT_PROCESS_EXITED, "r");
    world_pass(&world, 4999);
    world_expect(&world, "");
    world_pass(&world, 1);
    world_expect(&world, "end r/r epoch 1 error banning\n"
                         "close process of r\n");
}

static void a_client_that_is_gone_takes_its_runs_with_it(void **state)
{
    (void)state;
    world_started(&world, "ann", with_process("r", "", 42));
    world_client_goes(&world, "ann");
    world_pass(&world, 4999);
    world_expect(&world, "");
    world_pass(&world, 1);
    world_expect(&world, "r: running > stopping (cancel)\n"
                         "ask cancel r.r by agentd: client_gone force\n");
}

static void or_it_does_not(void **state)
{
    (void)state;
    struct ask_start start = with_process("r", "", 42);
    start.on_client_gone = ON_GONE_CONTINUE;
    world_started(&world, "ann", start);
    world_client_goes(&world, "ann");
    world_pass(&world, 10000);
    world_forget(&world);
    world_process(&world, AGENT_PROCESS_EXITED, "r");
    world_expect(&world, "end r/r epoch 1 error banning\n"
                         "close process of r\n");
}

static void a_deadline_cancels_the_scope(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("r", "");
    start.deadline = MILLIS(3000);
    world_ask_start(&world, "ann", start);
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_STARTED, .epoch = 1, .deadline_ms = 2000});
    world_forget(&world);
    world_pass(&world, 1999);
    world_expect(&world, "");
    world_pass(&world, 1);
    world_expect(&world, "r: running > stopping (cancel)\n"
                         "notify ann: r deadline, grace 10000\n"
                         "ask cancel r.r by agentd: deadline force\n"
                         "report r r:1:2\n");
}

/* ---- clients that never listened ------------------------------------------------------------ */
static void who_never_listened_is_never_gone(void **state)
{
    (void)state;
    world_start(&world, "mute", "r", "");
    world_pass(&world, 4000);
    world_expect(&world, "");
    assert_int_equal(world_view(&world, "r").state, RUN_RUNNING);
    world_pass(&world, 4000);
    assert_int_equal(world_view(&world, "r").state, RUN_RUNNING);
}

static void who_promised_to_listen_has_lost_grace_for_it(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("r", "");
    start.awaits_stream = true;
    world_started(&world, "mute", start);
    world_start(&world, "mute", "s", "");
    world_started(&world, "bob", world_start_of("other", ""));
    world_pass(&world, 4999);
    world_expect(&world, "");
    world_pass(&world, 1);
    world_expect(&world, "r: running > stopping (cancel)\n"
                         "ask cancel r.r by agentd: client_gone force\n");
    assert_int_equal(world_view(&world, "s").state, RUN_RUNNING);
}

static void who_listens_in_time_is_there(void **state)
{
    (void)state;
    struct ask_start start = world_start_of("r", "");
    start.awaits_stream = true;
    world_started(&world, "bob", start);
    world_pass(&world, 3000);
    world_client_comes(&world, "bob");
    world_pass(&world, 9000);
    assert_int_equal(world_view(&world, "r").state, RUN_RUNNING);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, drop)
    const struct CMUnitTest tests[] = {
        T(everybody_below_is_told_at_once_and_reported_together),
        T(nobody_is_told_twice),
        T(whom_a_takeover_lost_redis_is_asked),
        T(reports_of_a_root_go_twenty_times_a_second),
        T(a_report_that_was_not_taken_goes_again),
        T(a_client_that_is_away_is_told_when_it_comes),
        T(observe_tells_nobody),
        T(a_run_that_ignores_us_is_terminated_and_killed),
        T(what_sigkill_does_not_end_is_unresponsive),
        T(without_a_process_an_ignored_notice_is_unresponsive),
        T(a_grace_of_nothing_kills_at_once),
        T(a_lower_grace_hurries_who_was_told),
        T(mode_notify_signals_nobody),
        T(a_process_that_serves_innocent_runs_is_spared),
        T(a_run_of_another_root_in_its_process_tree_is_spared),
        T(what_is_cancelled_with_it_is_not_innocent),
        T(collateral_may_be_allowed),
        T(who_obeyed_the_notice_is_not_killed),
        T(what_was_signalled_is_stopped_to_the_end),
        T(what_a_told_process_leaves_behind_is_stopped),
        T(what_a_subreaper_still_has_is_waited_for),
        T(but_not_for_ever),
        T(leftovers_have_the_grace_of_their_run),
        T(a_signal_that_hit_nobody_stopped_nobody),
        T(a_child_reports_its_end),
        T(an_end_needs_the_epoch_and_the_owner),
        T(finishing_under_a_ban_is_recorded_as_cancelled),
        T(an_error_takes_what_is_below_with_it),
        T(an_end_while_redis_is_away_is_kept),
        T(an_end_that_redis_forgot_the_run_of_asserts_it_first),
        T(a_process_that_just_ends_is_an_error_after_a_while),
        T(a_client_that_is_gone_takes_its_runs_with_it),
        T(or_it_does_not),
        T(a_deadline_cancels_the_scope),
        T(who_never_listened_is_never_gone),
        T(who_promised_to_listen_has_lost_grace_for_it),
        T(who_listens_in_time_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
