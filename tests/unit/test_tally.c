/* What an answer says of a scope: each run counted once, and only what is true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/tree.h"

struct world {
    struct tree tree;
    struct tally tally;
};

static int fresh_world(void **state)
{
    static struct world world;
    tree_init(&world.tree);
    *state = &world;
    return 0;
}

static int drop_world(void **state)
{
    tree_fini(&((struct world *)*state)->tree);
    return 0;
}

static struct tree_run *add(struct world *world, const char *id, const char *parent,
                            enum run_state run_state, uint32_t flags)
{
    struct tree_run *run = tree_run_named(&world->tree, str_of(id));
    assert_non_null(run);
    run->state = run_state;
    run->flags = flags;
    assert_int_equal(tree_keep(&world->tree, str_of(parent), &run->parent), ERR_OK);
    return run;
}

static void add_link(struct world *world, const char *run, const char *id, bool acknowledged)
{
    struct run_link link = {.kind = LINK_ROOT, .to = STR("far"), .acknowledged = acknowledged};
    assert_int_equal(tree_add_link(&world->tree, str_of(run), str_of(id), STR("encoded"), &link),
                     ERR_OK);
}

/* Counts the scope of `target` and checks what holds of every tally. */
static const struct tally *count(struct world *world, const char *target)
{
    struct tally *tally = &world->tally;
    tree_join(&world->tree);
    tally_scope(&world->tree, tree_find(&world->tree, str_of(target)), tally);
    size_t named = tally->stopped.count + tally->pending.count + tally->unresponsive.count
                   + tally->suspect.count + tally->lost.count + tally->observed.count;
    assert_int_equal(tally->requested, named);
    assert_int_equal(tally->runs, named + tally->finished_before);
    assert_true(tally->delivered <= tally->requested);
    assert_true(tally->acknowledged <= tally->delivered);
    return tally;
}

static void expect_name(const struct tally_names *names, const char *id)
{
    assert_int_equal(names->count, 1);
    assert_true(str_is(names->name[0], id));
}

enum { TOLD = RUN_FLAG_DELIVERED, SAID_SO = RUN_FLAG_DELIVERED | RUN_FLAG_ACKNOWLEDGED };

static void each_kind_of_run_is_named_once(void **state)
{
    struct world *world = *state;
    add(world, "top", "", RUN_CANCELLED, RUN_FLAG_BANNED | SAID_SO);
    add(world, "asked", "top", RUN_STOPPING, TOLD);
    add(world, "stuck", "top", RUN_STOPPING, TOLD | RUN_FLAG_UNRESPONSIVE);
    add(world, "quiet", "top", RUN_STOPPING, RUN_FLAG_SUSPECT);
    add(world, "away", "top", RUN_LOST, TOLD);
    add(world, "seen", "top", RUN_RUNNING, RUN_FLAG_OBSERVE);
    add(world, "early", "top", RUN_SUCCESS, 0);
    add(world, "ghost", "top", RUN_NEVER, 0);
    const struct tally *tally = count(world, "top");
    expect_name(&tally->stopped, "top");
    expect_name(&tally->pending, "asked");
    expect_name(&tally->unresponsive, "stuck");
    expect_name(&tally->suspect, "quiet");
    expect_name(&tally->lost, "away");
    expect_name(&tally->observed, "seen");
    assert_int_equal(tally->runs, 7);
    assert_int_equal(tally->requested, 6);
    assert_int_equal(tally->finished_before, 1);
    assert_int_equal(tally->delivered, 4);
    assert_int_equal(tally->acknowledged, 1);
    assert_false(tally->complete || tally->all_delivered);
}

static void only_the_scope_is_counted(void **state)
{
    struct world *world = *state;
    add(world, "root", "", RUN_RUNNING, 0);
    add(world, "target", "root", RUN_CANCELLED, RUN_FLAG_BANNED | TOLD);
    add(world, "below", "target", RUN_ROLLED_BACK, TOLD);
    add(world, "beside", "root", RUN_RUNNING, 0);
    add_link(world, "beside", "1", false);
    const struct tally *tally = count(world, "target");
    assert_int_equal(tally->runs, 2);
    assert_int_equal(tally->stopped.count, 2);
    assert_int_equal(tally->links, 0);
    assert_true(tally->complete);
}

static void everything_that_stopped_under_the_ban_counts_as_stopped(void **state)
{
    struct world *world = *state;
    add(world, "top", "", RUN_TIMEOUT, RUN_FLAG_BANNED);
    add(world, "kept", "top", RUN_CANCELLED, TOLD);
    add(world, "undone", "top", RUN_ROLLED_BACK, TOLD);
    add(world, "dead", "top", RUN_LOST, RUN_FLAG_GONE);
    struct tree_run *own = add(world, "own", "top", RUN_ERROR, 0);
    own->finished_anyway = RUN_ERROR;
    const struct tally *tally = count(world, "top");
    assert_int_equal(tally->stopped.count, 5);
    expect_name(&tally->finished_anyway, "own");
    assert_true(tally->complete);
    assert_true(tally->all_delivered); /* nobody is left who could be told */
}

static void a_run_that_ended_before_the_ban_is_not_called_stopped(void **state)
{
    struct world *world = *state;
    add(world, "top", "", RUN_CANCELLED, RUN_FLAG_BANNED);
    add(world, "good", "top", RUN_SUCCESS, 0);
    add(world, "bad", "top", RUN_ERROR, 0);
    add(world, "waits", "top", RUN_PAUSED, 0);
    const struct tally *tally = count(world, "top");
    assert_int_equal(tally->finished_before, 3);
    assert_int_equal(tally->requested, 1);
    assert_true(tally->complete);
}

static void one_open_run_of_any_kind_keeps_it_from_being_complete(void **state)
{
    struct world *world = *state;
    static const struct {
        enum run_state state;
        uint32_t flags;
        bool all_delivered; /* a lost run is not live, so nobody is left to tell */
    } open[] = {
        {RUN_LOST, 0, true},
        {RUN_STOPPING, TOLD, true},
        {RUN_RUNNING, 0, false},
        {RUN_RUNNING, RUN_FLAG_OBSERVE, false},
        {RUN_STOPPING, RUN_FLAG_SUSPECT, false},
        {RUN_STOPPING, TOLD | RUN_FLAG_UNRESPONSIVE, true},
    };
    add(world, "top", "", RUN_CANCELLED, RUN_FLAG_BANNED);
    for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
        add(world, "low", "top", open[i].state, open[i].flags);
        assert_false(count(world, "top")->complete);
        assert_int_equal(world->tally.all_delivered, open[i].all_delivered);
    }
    add(world, "low", "top", RUN_CANCELLED, 0);
    assert_true(count(world, "top")->complete);
}

static void delivered_means_every_live_run_was_told(void **state)
{
    struct world *world = *state;
    add(world, "top", "", RUN_STOPPING, RUN_FLAG_BANNED | TOLD);
    struct tree_run *low = add(world, "low", "top", RUN_RUNNING, 0);
    assert_false(count(world, "top")->all_delivered);
    low->flags = RUN_FLAG_ACKNOWLEDGED; /* whoever answers was told */
    assert_true(count(world, "top")->all_delivered);
    assert_int_equal(world->tally.delivered, 2);
    assert_false(world->tally.complete);
}

static void replicas_that_hold_runs_and_have_no_lease_are_named_once(void **state)
{
    struct world *world = *state;
    add(world, "top", "", RUN_STOPPING, RUN_FLAG_BANNED | TOLD)->owner = STR("here");
    add(world, "a", "top", RUN_STOPPING, RUN_FLAG_SUSPECT)->owner = STR("away");
    add(world, "b", "top", RUN_LOST, 0)->owner = STR("away");
    add(world, "c", "top", RUN_LOST, 0)->owner = STR("far");
    add(world, "d", "top", RUN_LOST, RUN_FLAG_GONE)->owner = STR("dead");
    const struct tally *tally = count(world, "top");
    assert_int_equal(tally->isolated.count, 2);
    assert_true(str_is(tally->isolated.name[0], "away"));
    assert_true(str_is(tally->isolated.name[1], "far"));
}

static void links_must_be_acknowledged_too(void **state)
{
    struct world *world = *state;
    add(world, "top", "", RUN_CANCELLED, RUN_FLAG_BANNED);
    add_link(world, "top", "1", true);
    add_link(world, "top", "2", false);
    const struct tally *tally = count(world, "top");
    assert_int_equal(tally->links, 2);
    assert_int_equal(tally->links_acknowledged, 1);
    assert_false(tally->complete || tally->all_delivered); /* nobody has told who is over there */
    add_link(world, "top", "2", true);
    assert_true(count(world, "top")->complete);
    assert_true(world->tally.all_delivered);
}

static void many_names_are_counted_and_the_first_are_said(void **state)
{
    struct world *world = *state;
    add(world, "top", "", RUN_CANCELLED, RUN_FLAG_BANNED);
    for (int i = 0; i < 10000; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "r%d", i);
        add(world, id, "top", RUN_STOPPING, TOLD);
    }
    const struct tally *tally = count(world, "top");
    assert_int_equal(tally->pending.count, 10000);
    assert_true(str_is(tally->pending.name[TALLY_NAMES_MAX - 1], "r99"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define STORY(name) cmocka_unit_test_setup_teardown(name, fresh_world, drop_world)
        STORY(each_kind_of_run_is_named_once),
        STORY(only_the_scope_is_counted),
        STORY(everything_that_stopped_under_the_ban_counts_as_stopped),
        STORY(a_run_that_ended_before_the_ban_is_not_called_stopped),
        STORY(one_open_run_of_any_kind_keeps_it_from_being_complete),
        STORY(delivered_means_every_live_run_was_told),
        STORY(replicas_that_hold_runs_and_have_no_lease_are_named_once),
        STORY(links_must_be_acknowledged_too),
        STORY(many_names_are_counted_and_the_first_are_said),
#undef STORY
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
