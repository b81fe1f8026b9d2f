/* What happened in many schedules: how often each fault, action and verdict, and which scripts ran
 * while which fault was about. Sums only, so that the order of the schedules does not matter. */
#ifndef SIM_COUNTS_H
#define SIM_COUNTS_H

#include <stdint.h>
#include <stdio.h>

#include "core/problem.h"
#include "core/store_call.h"

#define FAULT_LIST(X)                                          \
    X(DROP, "a message is lost")                               \
    X(REPEAT, "a message comes twice")                         \
    X(DELAY, "a message is overtaken")                         \
    X(CUT, "a connection breaks")                              \
    X(LOST_REQUEST, "requests are lost on the way")            \
    X(LOST_REPLY, "replies are lost: done, nobody told")       \
    X(AGENTD_CRASH, "an agentd crashes")                       \
    X(BROKER_CRASH, "a broker crashes")                        \
    X(CLIENT_CRASH, "a client dies")                           \
    X(CLIENT_RESTART, "a client starts over")                  \
    X(FREEZE, "a daemon freezes")                              \
    X(FREEZE_LONG, "a daemon freezes past its lease")          \
    X(HALF_OPEN, "a connection is half-open")                  \
    X(CLOCK_JUMP, "a wall clock jumps")                        \
    X(REDIS_SLOW, "Redis is slow")                             \
    X(REDIS_RESTART, "Redis restarts, keeping its writes")     \
    X(REDIS_AWAY, "Redis is away")                             \
    X(REDIS_LOSES, "Redis fails over, losing its last writes") \
    X(REDIS_EMPTY, "Redis comes back empty")                   \
    X(REDIS_REFUSES, "Redis refuses to write")

enum fault {
#define X(name, text) FAULT_##name,
    FAULT_LIST(X)
#undef X
        FAULT_COUNT
};
enum { ACTION_KINDS_MAX = 48, FAULT_LINGERS_MS = 5000 };

struct counts { /* all zero: nothing yet */
    uint64_t schedules, steps, runs, cancels, calls;
    uint64_t action[ACTION_KINDS_MAX];
    uint64_t fault[FAULT_COUNT];
    uint64_t verdict[STORE_OP_COUNT][SAID_COUNT];
    uint64_t pair[FAULT_COUNT][STORE_OP_COUNT]; /* calls carried out while the fault was about */
    uint64_t problem[PROBLEM_COUNT];            /* answers to clients */
    uint64_t fewest_steps;                      /* 0: no schedule yet */
    uint64_t slowest_ms, slowest_seed; /* from the end of all faults until all was settled */
};

void counts_add(struct counts *to, const struct counts *more);
void counts_schedule(struct counts *counts, uint64_t seed, uint64_t steps, uint64_t healed_ms);
/* A page in Markdown. */
void counts_print(const struct counts *counts, FILE *out);

#endif
