/* sim: golden stories, then random schedules.
 *
 *   sim [--seeds N] [--first-seed S] [--show | --trace]
 *
 * Without --seeds only the stories. --show prints every story, also those that hold,
 * and --trace what Redis is asked besides. A schedule that
 * breaks a guarantee prints its seed and its story, and the exit code is 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"

static int usage(void)
{
    fputs("usage: sim [--seeds N] [--first-seed S] [--show | --trace]\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    int64_t seeds = 0, first = 1;
    enum shows shows = SHOWS_FAILURES;
    for (int i = 1; i < argc; i++) {
        int64_t *number = strcmp(argv[i], "--seeds") == 0        ? &seeds
                          : strcmp(argv[i], "--first-seed") == 0 ? &first
                                                                 : NULL;
        if (strcmp(argv[i], "--show") == 0)
            shows = SHOWS_STORIES;
        else if (strcmp(argv[i], "--trace") == 0)
            shows = SHOWS_CALLS;
        else if (number == NULL || ++i == argc || !str_to_int(str_of(argv[i]), number)
                 || *number < 0)
            return usage();
    }
    int failed = stories(shows);
    if (failed == 0 && seeds > 0)
        failed = random_schedules((uint64_t)first, (uint64_t)seeds, shows);
    return failed;
}
