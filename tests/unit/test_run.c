/* The lifecycle. The loops over all cells are its specification; the scripts are held to the same
 * table on a real server (tests/integration). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/message.h"
#include "core/run.h"
#include "core/store_call.h"

struct moved {
    enum run_verdict verdict;
    enum run_state state;
};

static struct moved apply(enum run_state state, enum run_ban ban, enum run_event event)
{
    struct moved moved = {.state = state};
    moved.verdict = run_apply(&moved.state, ban, event);
    assert_int_equal(moved.verdict == RUN_MOVED, moved.state != state);
    return moved;
}

static void expect(enum run_state state, enum run_ban ban, enum run_event event,
                   enum run_state wanted)
{
    struct moved moved = apply(state, ban, event);
    if (moved.verdict == RUN_REFUSED || moved.state != wanted)
        fail_msg("%s, ban %d, event %d: verdict %d, %s", run_state_name(state), (int)ban,
                 (int)event, (int)moved.verdict, run_state_name(moved.state));
}

static void expect_refused(enum run_state state, enum run_ban ban, enum run_event event)
{
    if (apply(state, ban, event).verdict != RUN_REFUSED)
        fail_msg("%s, ban %d, event %d: not refused", run_state_name(state), (int)ban, (int)event);
}

#define EACH(type, at, end) for (enum type at = (enum type)0; at < (end); at = (enum type)(at + 1))
#define EACH_CELL(state, ban, event)        \
    EACH(run_state, state, RUN_STATE_COUNT) \
    EACH(run_ban, ban, RUN_BAN_COUNT)       \
    EACH(run_event, event, RUN_EVENT_COUNT)

static bool is_end(enum run_event event)
{
    return event >= RUN_EV_END_SUCCESS && event <= RUN_EV_END_ROLLED_BACK;
}

static void over_is_over(void **state)
{
    (void)state;
    EACH_CELL(from, ban, event)
    {
        if (run_is_over(from))
            assert_int_equal(apply(from, ban, event).state, from);
    }
}

static void every_state_is_live_or_over_or_never_began(void **state)
{
    (void)state;
    EACH(run_state, at, RUN_STATE_COUNT)
    {
        bool began = at != RUN_NONE && at != RUN_NEVER;
        assert_int_equal((int)run_is_live(at) + (int)run_is_over(at), began ? 1 : 0);
    }
}

static void nothing_returns_to_an_earlier_state(void **state)
{
    (void)state;
    EACH_CELL(from, ban, event)
    {
        enum run_state to = apply(from, ban, event).state;
        if (run_is_live(from) || run_is_over(from))
            assert_true(to >= from);
        assert_true(to != RUN_PENDING || from == RUN_PENDING); /* never stored */
    }
}

static void nothing_starts_under_a_ban(void **state)
{
    (void)state;
    EACH(run_ban, ban, RUN_BAN_COUNT)
    {
        if (ban == RUN_FREE)
            continue;
        expect_refused(RUN_NONE, ban, RUN_EV_START);
        expect_refused(RUN_NEVER, ban, RUN_EV_START);
        expect_refused(RUN_PENDING, ban, RUN_EV_START);
        EACH(run_event, event, RUN_EVENT_COUNT)
        {
            EACH(run_state, from, RUN_STATE_COUNT)
            if (from != RUN_RUNNING)
                assert_int_not_equal(apply(from, ban, event).state, RUN_RUNNING);
        }
    }
}

static void a_free_start_runs(void **state)
{
    (void)state;
    expect(RUN_NONE, RUN_FREE, RUN_EV_START, RUN_RUNNING);
    expect(RUN_NEVER, RUN_FREE, RUN_EV_START, RUN_RUNNING);
    expect(RUN_PENDING, RUN_FREE, RUN_EV_START, RUN_RUNNING);
    expect(RUN_RUNNING, RUN_FREE, RUN_EV_START, RUN_RUNNING); /* the same again: already */
}

static void a_cancel_is_answered_in_every_state(void **state)
{
    (void)state;
    EACH(run_state, from, RUN_STATE_COUNT)
    {
        EACH(run_ban, ban, RUN_BAN_COUNT)
        {
            struct moved moved = apply(from, ban, RUN_EV_CANCEL);
            bool is_over_and_free = run_is_over(from) && from != RUN_LOST && ban == RUN_FREE;
            assert_int_equal(moved.verdict == RUN_REFUSED, is_over_and_free);
        }
    }
    expect(RUN_RUNNING, RUN_FREE, RUN_EV_CANCEL, RUN_STOPPING);
    expect(RUN_RUNNING, RUN_BANNED, RUN_EV_CANCEL, RUN_STOPPING); /* covered by the ban above */
    expect(RUN_NONE, RUN_FREE, RUN_EV_CANCEL, RUN_NEVER);         /* by force: a tombstone */
    expect(RUN_LOST, RUN_FREE, RUN_EV_CANCEL, RUN_LOST);
}

static void a_cancel_repeated_stays(void **state)
{
    (void)state;
    EACH(run_state, from, RUN_STATE_COUNT)
    {
        struct moved once = apply(from, RUN_FREE, RUN_EV_CANCEL);
        if (once.verdict != RUN_REFUSED)
            assert_int_equal(apply(once.state, RUN_BANNED, RUN_EV_CANCEL).verdict, RUN_STAYED);
    }
}

static void an_end_under_a_ban_is_cancelled_whatever_it_says(void **state)
{
    (void)state;
    EACH(run_state, from, RUN_STATE_COUNT)
    {
        if (from != RUN_RUNNING && from != RUN_STOPPING)
            continue;
        EACH(run_event, event, RUN_EVENT_COUNT)
        {
            if (!is_end(event))
                continue;
            bool rolled_back = event == RUN_EV_END_ROLLED_BACK;
            expect(from, RUN_BANNED, event, rolled_back ? RUN_ROLLED_BACK : RUN_CANCELLED);
            expect(from, RUN_OVERDUE, event, RUN_TIMEOUT);
        }
    }
}

static void without_a_ban_nobody_ends_as_cancelled(void **state)
{
    (void)state;
    EACH(run_state, from, RUN_STATE_COUNT)
    {
        if (!run_is_live(from))
            continue;
        expect_refused(from, RUN_FREE, RUN_EV_END_CANCELLED);
        expect_refused(from, RUN_FREE, RUN_EV_END_ROLLED_BACK);
    }
    expect(RUN_RUNNING, RUN_FREE, RUN_EV_END_SUCCESS, RUN_SUCCESS);
    expect(RUN_RUNNING, RUN_FREE, RUN_EV_END_ERROR, RUN_ERROR);
    expect(RUN_RUNNING, RUN_FREE, RUN_EV_END_PAUSED, RUN_PAUSED);
}

static void only_a_deadline_writes_timeout(void **state)
{
    (void)state;
    EACH_CELL(from, ban, event)
    {
        if (from != RUN_TIMEOUT && apply(from, ban, event).state == RUN_TIMEOUT)
            assert_true(ban == RUN_OVERDUE && is_end(event));
    }
}

static void an_end_of_what_ended_is_a_duplicate(void **state)
{
    (void)state;
    EACH_CELL(from, ban, event)
    {
        if (run_is_over(from) && (is_end(event) || event == RUN_EV_LEASE_OVER))
            assert_int_equal(apply(from, ban, event).verdict, RUN_STAYED);
    }
}

static void what_never_started_cannot_end(void **state)
{
    (void)state;
    EACH_CELL(from, ban, event)
    {
        bool is_of_the_living = is_end(event) || event == RUN_EV_LEASE_OVER || event == RUN_EV_TOLD
                                || event == RUN_EV_ADOPT;
        if ((from == RUN_NONE || from == RUN_NEVER) && is_of_the_living)
            expect_refused(from, ban, event);
    }
}

static void who_says_again_that_it_lives_is_never_refused_while_it_does(void **state)
{
    (void)state;
    EACH(run_state, from, RUN_STATE_COUNT)
    {
        EACH(run_ban, ban, RUN_BAN_COUNT)
        {
            if (run_is_over(from))
                expect_refused(from, ban, RUN_EV_ASSERT);
            else if (from == RUN_STOPPING || ban != RUN_FREE)
                expect(from, ban, RUN_EV_ASSERT, RUN_STOPPING);
            else
                expect(from, ban, RUN_EV_ASSERT, RUN_RUNNING);
        }
    }
}

static void a_run_that_was_told_under_a_ban_is_stopping(void **state)
{
    (void)state;
    expect(RUN_RUNNING, RUN_BANNED, RUN_EV_TOLD, RUN_STOPPING);
    expect(RUN_RUNNING, RUN_OVERDUE, RUN_EV_TOLD, RUN_STOPPING);
    expect(RUN_RUNNING, RUN_FREE, RUN_EV_TOLD, RUN_RUNNING);
    expect(RUN_RUNNING, RUN_BANNED, RUN_EV_ADOPT, RUN_STOPPING);
    expect_refused(RUN_SUCCESS, RUN_BANNED, RUN_EV_TOLD);
    expect_refused(RUN_LOST, RUN_BANNED, RUN_EV_TOLD);
}

static void a_lease_that_is_over_loses_the_living_only(void **state)
{
    (void)state;
    EACH(run_state, from, RUN_STATE_COUNT)
    {
        EACH(run_ban, ban, RUN_BAN_COUNT)
        {
            if (from == RUN_RUNNING || from == RUN_STOPPING)
                expect(from, ban, RUN_EV_LEASE_OVER, RUN_LOST);
            else
                assert_int_equal(apply(from, ban, RUN_EV_LEASE_OVER).state, from);
        }
    }
}

static void states_are_found_by_their_letters_and_words(void **state)
{
    (void)state;
    EACH(run_state, at, RUN_STATE_COUNT)
    {
        enum run_state by_letter, by_word;
        assert_true(run_state_of_letter(run_state_letter(at), &by_letter));
        assert_true(run_state_of_name(str_of(run_state_name(at)), &by_word));
        assert_true(by_letter == at && by_word == at);
    }
    enum run_state untouched = RUN_PAUSED;
    assert_false(run_state_of_letter('x', &untouched));
    assert_false(run_state_of_letter('\0', &untouched));
    assert_false(run_state_of_name(STR("Success"), &untouched));
    assert_int_equal(untouched, RUN_PAUSED);
    assert_int_equal(run_state_letter(RUN_ROLLED_BACK), 'B');
    assert_string_equal(run_state_name(RUN_ROLLED_BACK), "rolled_back");
}

static void everything_else_has_a_name_too(void **state)
{
    (void)state;
    EACH(store_op, op, STORE_OP_COUNT)
    assert_non_null(store_op_name(op));
    EACH(store_verdict, verdict, SAID_COUNT)
    assert_non_null(store_verdict_name(verdict));
    EACH(action, action, ACTION_COUNT)
    {
        enum action found;
        assert_true(action_of_name(str_of(action_name(action)), &found));
        assert_int_equal(found, action);
    }
    enum action untouched = ACTION_ROLLBACK;
    assert_false(action_of_name(STR("stop"), &untouched));
    assert_int_equal(untouched, ACTION_ROLLBACK);
    assert_string_equal(stopped_by_name(STOPPED_BY_NONE), "");
    assert_string_equal(stopped_by_name(STOPPED_BY_KILL), "KILL");
    assert_string_equal(link_kind_name(LINK_ROOT), "root");
    assert_string_equal(link_kind_name(LINK_HTTP), "http");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(over_is_over),
        cmocka_unit_test(every_state_is_live_or_over_or_never_began),
        cmocka_unit_test(nothing_returns_to_an_earlier_state),
        cmocka_unit_test(nothing_starts_under_a_ban),
        cmocka_unit_test(a_free_start_runs),
        cmocka_unit_test(a_cancel_is_answered_in_every_state),
        cmocka_unit_test(a_cancel_repeated_stays),
        cmocka_unit_test(an_end_under_a_ban_is_cancelled_whatever_it_says),
        cmocka_unit_test(without_a_ban_nobody_ends_as_cancelled),
        cmocka_unit_test(only_a_deadline_writes_timeout),
        cmocka_unit_test(an_end_of_what_ended_is_a_duplicate),
        cmocka_unit_test(what_never_started_cannot_end),
        cmocka_unit_test(who_says_again_that_it_lives_is_never_refused_while_it_does),
        cmocka_unit_test(a_run_that_was_told_under_a_ban_is_stopping),
        cmocka_unit_test(a_lease_that_is_over_loses_the_living_only),
        cmocka_unit_test(states_are_found_by_their_letters_and_words),
        cmocka_unit_test(everything_else_has_a_name_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
