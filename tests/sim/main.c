/* sim: golden stories, the schedules that once failed, then random ones.
 *
 *   sim [--seeds N] [--first-seed S] [--workers N] [--no-shrink] [--keep-going]
 *       [--summary FILE]
 *   sim --replay SCHEDULE [--trace]
 *   sim --stories [--show | --trace]
 *
 * Of random schedules a hundred thousand unless --seeds says otherwise, on all cores unless
 * --workers does. A schedule that breaks a guarantee is made as small as it can be, and its story
 * is told, with the command that plays it again; --keep-going plays the others all the same.
 * --summary writes a page of what happened, --show tells stories that hold as well, and --trace
 * what Redis is asked besides. The exit code is 1 when something failed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/schedule.h"

enum { SEEDS = 100000 };

struct options {
    int64_t seeds, first, workers;
    const char *replay, *summary, *regressions;
    bool only_stories, shrinks, keeps_going;
    enum shows shows;
};

static int usage(void)
{
    fputs("usage: sim [--seeds N] [--first-seed S] [--workers N] [--no-shrink] [--keep-going]\n"
          "           [--summary FILE]\n"
          "       sim --replay SCHEDULE [--trace]\n"
          "       sim --stories [--show | --trace]\n",
          stderr);
    return 2;
}

static bool parse_flag(struct options *options, const char *flag)
{
    if (strcmp(flag, "--stories") == 0)
        options->only_stories = true;
    else if (strcmp(flag, "--no-shrink") == 0)
        options->shrinks = false;
    else if (strcmp(flag, "--keep-going") == 0)
        options->keeps_going = true;
    else if (strcmp(flag, "--show") == 0)
        options->shows = SHOWS_STORIES;
    else if (strcmp(flag, "--trace") == 0)
        options->shows = SHOWS_CALLS;
    else
        return false;
    return true;
}

static bool parse_value(struct options *options, const char *name, const char *value)
{
    int64_t *number = strcmp(name, "--seeds") == 0        ? &options->seeds
                      : strcmp(name, "--first-seed") == 0 ? &options->first
                      : strcmp(name, "--workers") == 0    ? &options->workers
                                                          : NULL;
    const char **text = strcmp(name, "--replay") == 0        ? &options->replay
                        : strcmp(name, "--summary") == 0     ? &options->summary
                        : strcmp(name, "--regressions") == 0 ? &options->regressions
                                                             : NULL;
    if (text != NULL)
        *text = value;
    return text != NULL || (number != NULL && str_to_int(str_of(value), number) && *number >= 0);
}

static bool parse(int argc, char **argv, struct options *options)
{
    for (int i = 1; i < argc; i++) {
        if (parse_flag(options, argv[i]))
            continue;
        if (i + 1 == argc || !parse_value(options, argv[i], argv[i + 1]))
            return false;
        i++;
    }
    return options->first > 0; /* 0 is no seed: golden stories have none */
}

static int replay(const struct options *options)
{
    struct schedule schedule;
    struct outcome outcome;
    if (!schedule_parse(str_of(options->replay), &schedule) || schedule.seed == 0)
        return usage();
    schedule_try(&schedule, options->shows == SHOWS_CALLS ? SHOWS_CALLS : SHOWS_STORIES, &outcome);
    printf("seed %llu: %s\n", (unsigned long long)schedule.seed,
           outcome.holds ? "all guarantees held" : outcome.why);
    return outcome.holds ? 0 : 1;
}

/* Each story, each schedule that once failed, and the search are one check each. */
static int search(const struct options *options)
{
    unsigned passed = 0, failed = 0;
    stories(options->shows, &passed, &failed);
    if (!options->only_stories && !search_file(options->regressions, &passed, &failed)) {
        printf("sim: cannot read %s\n", options->regressions);
        failed++;
    }
    if (!options->only_stories && options->seeds > 0) {
        const struct search seeds = {.first = (uint64_t)options->first,
                                     .count = (uint64_t)options->seeds,
                                     .workers = (unsigned)options->workers,
                                     .shrinks = options->shrinks,
                                     .keeps_going = options->keeps_going,
                                     .summary = options->summary};
        unsigned broken = search_seeds(&seeds);
        failed += broken;
        passed += broken == 0 ? 1 : 0;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed > 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct options options = {
        .seeds = SEEDS, .first = 1, .shrinks = true, .regressions = SIM_REGRESSIONS};
    if (!parse(argc, argv, &options))
        return usage();
    return options.replay != NULL ? replay(&options) : search(&options);
}
