#include "core/run.h"

#include <assert.h>

/* The whole lifecycle, once without a ban, once under one, once under the run's own deadline. A
 * cell that is not written is refused.
 *
 * Policies of one run are not in it: the scripts look at LOST_TAKEOVER and LOST_CONTINUE before a
 * lost run is answered over, and at OBSERVE before a start is refused. START and ASSERT come from
 * the incarnation that holds the run, ADOPT from another. */
#define ON(event, state) [RUN_EV_##event] = RUN_##state

/* What ended stays as it is: a second end is a duplicate, everything else is too late. */
#define OVER(state)                                                                                \
    ON(END_SUCCESS, state), ON(END_ERROR, state), ON(END_PAUSED, state), ON(END_CANCELLED, state), \
        ON(END_ROLLED_BACK, state), ON(LEASE_OVER, state)

/* At or below a ban a cancel of what ended is a duplicate too: it gets the standing record. */
#define OVER_WHEN_BANNED                                              \
    [RUN_SUCCESS] = {OVER(SUCCESS), ON(CANCEL, SUCCESS)},             \
    [RUN_ERROR] = {OVER(ERROR), ON(CANCEL, ERROR)},                   \
    [RUN_TIMEOUT] = {OVER(TIMEOUT), ON(CANCEL, TIMEOUT)},             \
    [RUN_CANCELLED] = {OVER(CANCELLED), ON(CANCEL, CANCELLED)},       \
    [RUN_ROLLED_BACK] = {OVER(ROLLED_BACK), ON(CANCEL, ROLLED_BACK)}, \
    [RUN_LOST] = {OVER(LOST), ON(CANCEL, LOST)}, [RUN_PAUSED] = {OVER(PAUSED), ON(CANCEL, PAUSED)}

/* Whoever works below a ban ends as cancelled, whatever it says of itself (finished_anyway keeps
 * what it said). */
#define ENDS_BANNED                                                                  \
    ON(END_SUCCESS, CANCELLED), ON(END_ERROR, CANCELLED), ON(END_PAUSED, CANCELLED), \
        ON(END_CANCELLED, CANCELLED), ON(END_ROLLED_BACK, ROLLED_BACK), ON(LEASE_OVER, LOST)
#define ENDS_OVERDUE                                                           \
    ON(END_SUCCESS, TIMEOUT), ON(END_ERROR, TIMEOUT), ON(END_PAUSED, TIMEOUT), \
        ON(END_CANCELLED, TIMEOUT), ON(END_ROLLED_BACK, TIMEOUT), ON(LEASE_OVER, LOST)
#define ENDS_FREE \
    ON(END_SUCCESS, SUCCESS), ON(END_ERROR, ERROR), ON(END_PAUSED, PAUSED), ON(LEASE_OVER, LOST)

/* clang-format off */
static const enum run_state next_state[RUN_BAN_COUNT][RUN_STATE_COUNT][RUN_EVENT_COUNT] = {
    [RUN_FREE] = {
        [RUN_NONE]     = {ON(START, RUNNING), ON(ASSERT, RUNNING), ON(CANCEL, NEVER)}, /* forced */
        [RUN_NEVER]    = {ON(START, RUNNING), ON(ASSERT, RUNNING), ON(CANCEL, NEVER)},
        [RUN_PENDING]  = {ON(START, RUNNING), ON(ASSERT, RUNNING), ON(CANCEL, STOPPING)},
        [RUN_RUNNING]  = {ON(START, RUNNING), ON(ADOPT, RUNNING), ON(ASSERT, RUNNING),
                          ON(CANCEL, STOPPING), ON(TOLD, RUNNING), ENDS_FREE},
        [RUN_STOPPING] = {ON(START, STOPPING), ON(ADOPT, STOPPING), ON(ASSERT, STOPPING),
                          ON(CANCEL, STOPPING), ON(TOLD, STOPPING), ENDS_FREE},
        [RUN_SUCCESS]     = {OVER(SUCCESS)},
        [RUN_ERROR]       = {OVER(ERROR)},
        [RUN_TIMEOUT]     = {OVER(TIMEOUT)},
        [RUN_CANCELLED]   = {OVER(CANCELLED)},
        [RUN_ROLLED_BACK] = {OVER(ROLLED_BACK)},
        [RUN_LOST]        = {OVER(LOST), ON(CANCEL, LOST)}, /* it may be alive somewhere */
        [RUN_PAUSED]      = {OVER(PAUSED)},
    },
    [RUN_BANNED] = {
        [RUN_NONE]     = {ON(ASSERT, STOPPING), ON(CANCEL, NEVER)},
        [RUN_NEVER]    = {ON(ASSERT, STOPPING), ON(CANCEL, NEVER)},
        [RUN_PENDING]  = {ON(ASSERT, STOPPING), ON(CANCEL, STOPPING)},
        [RUN_RUNNING]  = {ON(START, RUNNING), ON(ADOPT, STOPPING), ON(ASSERT, STOPPING),
                          ON(CANCEL, STOPPING), ON(TOLD, STOPPING), ENDS_BANNED},
        [RUN_STOPPING] = {ON(START, STOPPING), ON(ADOPT, STOPPING), ON(ASSERT, STOPPING),
                          ON(CANCEL, STOPPING), ON(TOLD, STOPPING), ENDS_BANNED},
        OVER_WHEN_BANNED,
    },
    [RUN_OVERDUE] = { /* the run's own ban: a cancel of it is a duplicate wherever it is */
        [RUN_NONE]     = {ON(ASSERT, STOPPING), ON(CANCEL, NEVER)},
        [RUN_NEVER]    = {ON(ASSERT, STOPPING), ON(CANCEL, NEVER)},
        [RUN_PENDING]  = {ON(ASSERT, STOPPING), ON(CANCEL, STOPPING)},
        [RUN_RUNNING]  = {ON(START, RUNNING), ON(ADOPT, STOPPING), ON(ASSERT, STOPPING),
                          ON(CANCEL, RUNNING), ON(TOLD, STOPPING), ENDS_OVERDUE},
        [RUN_STOPPING] = {ON(START, STOPPING), ON(ADOPT, STOPPING), ON(ASSERT, STOPPING),
                          ON(CANCEL, STOPPING), ON(TOLD, STOPPING), ENDS_OVERDUE},
        OVER_WHEN_BANNED,
    },
};
/* clang-format on */
#undef ON

enum run_verdict run_apply(enum run_state *state, enum run_ban ban, enum run_event event)
{
    assert((int)*state >= 0 && *state < RUN_STATE_COUNT);
    assert((int)ban >= 0 && ban < RUN_BAN_COUNT);
    assert((int)event >= 0 && event < RUN_EVENT_COUNT);

    enum run_state to = next_state[ban][*state][event];
    if (to == RUN_NONE)
        return RUN_REFUSED;
    if (to == *state)
        return RUN_STAYED;
    *state = to;
    return RUN_MOVED;
}

static const struct {
    char letter;
    const char *word;
} state_names[RUN_STATE_COUNT] = {
#define X(name, letter, word) [RUN_##name] = {letter, word},
    RUN_STATE_LIST(X)
#undef X
};

bool run_is_live(enum run_state state)
{
    return state == RUN_PENDING || state == RUN_RUNNING || state == RUN_STOPPING;
}

bool run_is_over(enum run_state state)
{
    return state != RUN_NONE && state != RUN_NEVER && !run_is_live(state);
}

const char *run_state_name(enum run_state state)
{
    assert((int)state >= 0 && state < RUN_STATE_COUNT);
    return state_names[state].word;
}

char run_state_letter(enum run_state state)
{
    assert((int)state >= 0 && state < RUN_STATE_COUNT);
    return state_names[state].letter;
}

bool run_state_of_letter(char letter, enum run_state *out)
{
    for (int i = 0; i < RUN_STATE_COUNT; i++) {
        if (state_names[i].letter == letter) {
            *out = (enum run_state)i;
            return true;
        }
    }
    return false;
}

bool run_state_of_name(struct str word, enum run_state *out)
{
    for (int i = 0; i < RUN_STATE_COUNT; i++) {
        if (str_is(word, state_names[i].word)) {
            *out = (enum run_state)i;
            return true;
        }
    }
    return false;
}
