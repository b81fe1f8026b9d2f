/* How often what happens in which weather. */
#include "sim/acts.h"
#include "sim/schedule.h"

static const struct kind {
    const char *name;
    uint8_t share[WEATHER_COUNT]; /* calm, stormy, forgetful, split */
    act *act;
} actions[] = {
    {"a root starts", {12, 8, 8, 8}, act_starts_root},
    {"a child starts", {40, 30, 30, 30}, act_starts_child},
    {"a run ends", {12, 8, 8, 8}, act_ends},
    {"a cancel", {14, 12, 14, 14}, act_cancels},
    {"an order", {2, 2, 2, 0}, order_given},
    {"a checkpoint", {3, 3, 3, 3}, act_fences},
    {"a cancel by hand", {3, 3, 0, 2}, act_cancels_by_hand},
    {"a link", {4, 4, 3, 3}, act_links},
    {"a connection breaks", {6, 8, 6, 6}, act_cuts},
    {"a daemon crashes", {0, 5, 0, 0}, act_crashes},
    {"a daemon freezes", {0, 4, 0, 3}, act_freezes},
    {"a client dies", {0, 3, 0, 0}, act_client_dies},
    {"a client begins again", {3, 3, 0, 0}, act_client_begins_again},
    {"Redis restarts", {0, 3, 3, 0}, act_redis_blinks},
    {"Redis goes away or comes back", {0, 3, 0, 0}, act_redis_rests},
    {"Redis is copied to a replica", {0, 0, 5, 0}, act_redis_saves},
    {"Redis fails over", {0, 0, 4, 0}, act_redis_loses},
    {"Redis comes back empty", {0, 0, 2, 0}, act_redis_empties},
    {"Redis refuses to write", {0, 2, 0, 2}, act_redis_refuses},
    {"Redis writes again", {0, 4, 0, 4}, act_redis_writes},
    {"a cancel of what was cancelled", {4, 3, 3, 3}, act_cancels_again},
    {"a cancel of what nobody has seen", {3, 2, 3, 2}, act_cancels_what_comes},
    {"a start is sent again", {3, 3, 2, 3}, act_starts_again},
    {"another replica takes over", {2, 2, 1, 2}, act_takes_over},
    {"another replica waits for a loss", {0, 3, 0, 3}, act_awaits_a_loss},
    {"a connection is half-open", {0, 2, 0, 10}, act_goes_half_open},
    {"Redis is slow", {0, 1, 1, 5}, act_redis_slows_down},
    {"a wall clock jumps", {1, 1, 1, 1}, act_clock_jumps},
};
enum { KINDS = sizeof actions / sizeof *actions };
_Static_assert((int)KINDS <= (int)ACTION_KINDS_MAX, "counts.h has too little room");

const char *action_name_at(size_t kind)
{
    return kind < KINDS ? actions[kind].name : NULL;
}

void action_take(struct sim *sim, enum weather weather)
{
    unsigned all = 0;
    for (size_t i = 0; i < KINDS; i++)
        all += actions[i].share[weather];
    unsigned roll = rng_below(&sim->rng, all);
    size_t kind = 0;
    while (roll >= actions[kind].share[weather])
        roll -= actions[kind++].share[weather];
    if (sim->counts != NULL)
        sim->counts->action[kind]++;
    actions[kind].act(sim);
}
