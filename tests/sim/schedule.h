/* One random schedule: what happens follows from a seed and from which of its items are kept. Each
 * item, an action or a setting, draws its own numbers, so taking one away leaves the others as they
 * are: that is how a failing schedule is made small.
 *
 *   acts.c      what may happen
 *   weather.c   how often, in which weather
 *   schedule.c  the settings, and a schedule from its first step to the reckoning
 *   shrink.c    fewer items that still break the same guarantee
 *   search.c    many seeds on all cores, and the seeds that once failed */
#ifndef SIM_SCHEDULE_H
#define SIM_SCHEDULE_H

#include "sim/sim.h"

enum { ACTIONS = 48, ITEMS = 64, SCHEDULE_TEXT_MAX = 256, WHY_MAX = 512 };
enum setting { /* items behind the actions */
               SETTING_DROPS = ACTIONS,
               SETTING_REPEATS,
               SETTING_DELAYS,
               SETTING_TABLES, /* small ones, that are full soon */
               SETTING_MODES,  /* one agentd only observes or notifies */
               SETTING_LAST
};
enum weather { WEATHER_CALM, WEATHER_STORMY, WEATHER_FORGETFUL, WEATHER_SPLIT, WEATHER_COUNT };

struct schedule {
    uint64_t seed;
    uint64_t kept; /* a bit for each item */
};
static inline struct schedule schedule_of(uint64_t seed)
{
    return (struct schedule){seed, UINT64_MAX};
}
/* `SEED`, or `SEED:` and the items that are kept: 17:0-3,9 */
const char *schedule_text(const struct schedule *schedule, char out[SCHEDULE_TEXT_MAX]);
bool schedule_parse(struct str text, struct schedule *out);

/* From beginning to end; true: all held. Otherwise sim->why says what did not. The caller owes
 * sim_fini(). */
bool schedule_play(struct sim *sim, const struct schedule *schedule, enum shows shows,
                   struct counts *counts);

void action_take(struct sim *sim, enum weather weather); /* any one */
const char *action_name_at(size_t kind);                 /* NULL: there are no more */

/* In a process of its own, so that a core that aborts or hangs is a failure like another. True: all
 * held. A hang takes a while. */
struct outcome {
    bool holds;
    char why[WHY_MAX];
};
void schedule_try(const struct schedule *schedule, enum shows shows, struct outcome *out);
/* `G1` of `G1: …`; what has no such beginning is its own guarantee. */
struct str outcome_guarantee(const struct outcome *outcome);

void schedule_shrink(struct schedule *schedule, const struct outcome *outcome);
/* Shrinks it, tells its story and how to see it again. */
void schedule_report(struct schedule schedule, const struct outcome *outcome, bool shrinks);

struct search {
    uint64_t first, count;
    unsigned workers; /* 0: one for each core */
    bool shrinks;
    bool keeps_going;    /* past a schedule that fails; up to 100 of them are told */
    const char *summary; /* file for the page; NULL: none */
};
/* Prints what it found; the number of failures: 0 or 1, unless it keeps going. */
unsigned search_seeds(const struct search *search);
/* The schedules of a file, one a line, `#` for a comment. Counts those that hold and do not. */
bool search_file(const char *path, unsigned *passed, unsigned *failed);

#endif
