/* What may happen in a random schedule. Each does nothing where it makes no sense. */
#ifndef SIM_ACTS_H
#define SIM_ACTS_H

#include "sim/sim.h"

typedef void act(struct sim *sim);
act act_starts_root, act_starts_child, act_ends, act_cancels, act_cancels_again,
    act_cancels_what_comes, act_cancels_by_hand, act_fences, act_links, act_starts_again,
    act_takes_over, act_awaits_a_loss, act_crashes, act_freezes, act_cuts, act_client_dies,
    act_client_begins_again, act_redis_blinks, act_redis_rests, act_redis_saves, act_redis_loses,
    act_redis_empties, act_redis_refuses, act_redis_writes, act_goes_half_open,
    act_redis_slows_down, act_clock_jumps;

#endif
