/* Runs of one thread, told as what an agent wants. */
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
    world_forget(&world);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    agent_world_fini(&world);
    return 0;
}

static struct ask_start run_in_thread(const char *run, enum multitask multitask)
{
    struct ask_start start = world_start_of(run, "");
    start.meta.thread = STR("talk");
    start.multitask = multitask;
    return start;
}

/* The list of the thread: one other, which entered so long ago. */
static void thread_says(enum store_verdict verdict, const char *other, int64_t age_ms)
{
    struct str name = str_of(other);
    int64_t score = age_ms;
    world_say(&world, STORE_THREAD_ENTER,
              (struct store_answer){.verdict = verdict,
                                    .last = verdict == SAID_OK,
                                    .list_count = name.len > 0 ? 1 : 0,
                                    .list = &name,
                                    .score = &score});
}

static void other_is(enum store_verdict verdict, enum run_state state)
{
    world_say(&world, STORE_PEEK,
              (struct store_answer){.verdict = verdict, .state = state, .epoch = 1});
}

static void ask_for(const char *run, enum multitask multitask)
{
    world_ask_start(&world, "ann", run_in_thread(run, multitask));
    world_says(&world, STORE_FIND_CLAIM, SAID_OK);
    world_forget(&world);
}

static void start_is_good(void)
{
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_STARTED, .state = RUN_RUNNING, .epoch = 1});
}

static const char sent[] = "held_add new\n"
                           "root_add new\n"
                           "start new/new below ''\n";

static void a_new_run_interrupts_the_old_one_when_it_has_started(void **state)
{
    (void)state;
    ask_for("new", MULTITASK_INTERRUPT);
    thread_says(SAID_OK, "old", 90000);
    world_expect(&world, "peek old/old\n"); /* not before it is known who lives */
    other_is(SAID_OK, RUN_RUNNING);
    world_expect(&world, sent);
    start_is_good();
    world_expect(&world, "new: pending > running (start)\n"
                         "ask cancel old.old by agentd: superseded by run new force\n"
                         "answer 1: created new epoch 1 running\n");
}

static void one_that_is_about_to_begin_finds_its_cancel(void **state)
{
    (void)state;
    ask_for("new", MULTITASK_ROLLBACK);
    thread_says(SAID_OK, "other", 20);
    world_forget(&world);
    other_is(SAID_UNKNOWN, RUN_NONE);
    world_expect(&world, sent);
    start_is_good();
    world_expect(&world, "new: pending > running (start)\n"
                         "ask cancel other.other by agentd: superseded by run new force\n"
                         "answer 1: created new epoch 1 running\n");
}

static void what_is_over_is_left_alone(void **state)
{
    (void)state;
    ask_for("new", MULTITASK_INTERRUPT);
    thread_says(SAID_OK, "old", 90000);
    world_forget(&world);
    other_is(SAID_OK, RUN_SUCCESS);
    world_expect(&world, "leave old/old id talk\n"
                         "held_add new\n"
                         "root_add new\n"
                         "start new/new below ''\n");
    start_is_good();
    world_expect(&world, "new: pending > running (start)\n"
                         "answer 1: created new epoch 1 running\n");
}

static void a_busy_thread_rejects(void **state)
{
    (void)state;
    ask_for("new", MULTITASK_REJECT);
    thread_says(SAID_EXISTS, "old", 90000);
    world_forget(&world);
    other_is(SAID_OK, RUN_STOPPING); /* told, and still there */
    world_expect(&world, "answer 1: conflict\n"
                         "find_drop new id new\n"
                         "unsubscribe new\n");
}

static void a_thread_that_only_seems_busy_does_not(void **state)
{
    (void)state;
    ask_for("new", MULTITASK_REJECT);
    thread_says(SAID_EXISTS, "old", 90000);
    world_forget(&world);
    other_is(SAID_UNKNOWN, RUN_NONE); /* it never began, and that is long ago */
    world_expect(&world, "leave old/old id talk\n"
                         "enter new/new id talk\n");
    thread_says(SAID_OK, "", 0);
    world_expect(&world, sent);
}

static void one_who_cannot_start_is_not_in_the_thread(void **state)
{
    (void)state;
    ask_for("new", MULTITASK_ENQUEUE);
    thread_says(SAID_OK, "", 0);
    world_forget(&world);
    world_say(&world, STORE_START,
              (struct store_answer){.verdict = SAID_FULL, .text = STR("runs")});
    world_expect(&world, "answer 1: full\n"
                         "leave new/new id talk\n"
                         "find_drop new id new\n"
                         "unsubscribe new\n"
                         "held_drop new\n");
}

static void without_redis_nobody_knows_whether_it_is_busy(void **state)
{
    (void)state;
    world_link_down(&world);
    world_forget(&world);
    world_ask_start(&world, "ann", run_in_thread("new", MULTITASK_REJECT));
    world_expect(&world, "subscribe new\n"
                         "answer 1: unavailable\n"
                         "unsubscribe new\n");
    world_ask_start(&world, "ann", run_in_thread("new", MULTITASK_INTERRUPT));
    world_expect(&world, "subscribe new\n"
                         "new: pending > running (start)\n"
                         "answer 1: created new epoch 1 running unprotected\n");
}

static void in_observe_nobody_is_rejected(void **state)
{
    (void)state;
    struct agent_options options = agent_world_options();
    agent_world_fini(&world);
    options.mode = MODE_OBSERVE;
    agent_world_init(&world, &options);
    world_link_up(&world, "server1", "g1");
    ask_for("new", MULTITASK_REJECT);
    thread_says(SAID_OK, "old", 90000);
    world_expect(&world, sent);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, fresh, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(a_new_run_interrupts_the_old_one_when_it_has_started),
        STORY(one_that_is_about_to_begin_finds_its_cancel),
        STORY(what_is_over_is_left_alone),
        STORY(a_busy_thread_rejects),
        STORY(a_thread_that_only_seems_busy_does_not),
        STORY(one_who_cannot_start_is_not_in_the_thread),
        STORY(without_redis_nobody_knows_whether_it_is_busy),
        STORY(in_observe_nobody_is_rejected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
