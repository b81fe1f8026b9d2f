#include "core/remote.h"

#include <assert.h>

const char *remote_outcome_name(enum remote_outcome outcome)
{
    static const char *const names[] = {
        [REMOTE_SENT] = "sent",           [REMOTE_CANCELLED] = "cancelled",
        [REMOTE_ASKED] = "asked",         [REMOTE_SUCCEEDED] = "succeeded",
        [REMOTE_FAILED] = "failed",       [REMOTE_NOT_HERE] = "not_here",
        [REMOTE_REFUSED] = "refused",     [REMOTE_SILENT] = "silent",
        [REMOTE_UNREACHED] = "unreached",
    };
    assert((int)outcome >= 0 && outcome < REMOTE_OUTCOME_COUNT);
    return names[outcome];
}

bool remote_is_settled(enum remote_outcome outcome, struct wall cancelled, struct wall now)
{
    if (outcome == REMOTE_NOT_HERE)
        return now.ms - cancelled.ms >= REMOTE_SETTLES_MS;
    return outcome == REMOTE_CANCELLED || outcome == REMOTE_SUCCEEDED || outcome == REMOTE_FAILED;
}

struct span remote_pause(unsigned attempt)
{
    enum { DOUBLINGS_MAX = 5 };
    return MILLIS(INT64_C(1000) << (attempt < DOUBLINGS_MAX ? attempt : DOUBLINGS_MAX));
}
