/* One schedule in a process of its own, and fewer items that still break the same guarantee. */
#include "sim/schedule.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HANG_SECONDS = 20, SHRINK_SECONDS = 20 };

/* ---- a process of its own ------------------------------------------------------------------- */
static struct sim *playing; /* for whoever aborts: the story so far */

static void story_so_far(int signal_number)
{
    const struct buf *story = &playing->story;
    for (size_t at = 0; at < story->len;) {
        ssize_t sent = write(STDOUT_FILENO, story->bytes + at, story->len - at);
        if (sent <= 0)
            break;
        at += (size_t)sent;
    }
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void __attribute__((noreturn)) play_and_exit(const struct schedule *schedule,
                                                    enum shows shows, struct outcome *out)
{
    playing = calloc(1, sizeof *playing);
    if (playing == NULL)
        _exit(1);
    if (shows != SHOWS_FAILURES)
        signal(SIGABRT, story_so_far);
    else
        (void)!freopen("/dev/null", "w", stderr); /* an assert is told once, with the story */
    alarm(HANG_SECONDS);
    out->holds = schedule_play(playing, schedule, shows, NULL);
    snprintf(out->why, sizeof out->why, "%s", playing->why);
    if (shows != SHOWS_FAILURES)
        fwrite(playing->story.bytes, 1, playing->story.len, stdout);
    fflush(stdout);
    _exit(0);
}

static void describe_death(int status, struct outcome *out)
{
    if (!WIFSIGNALED(status))
        return;
    out->holds = false;
    if (WTERMSIG(status) == SIGALRM)
        snprintf(out->why, sizeof out->why, "hang: it went on for %d s", HANG_SECONDS);
    else
        snprintf(out->why, sizeof out->why, "crash: %s", strsignal(WTERMSIG(status)));
}

void schedule_try(const struct schedule *schedule, enum shows shows, struct outcome *out)
{
    int status = 0;
    struct outcome *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        abort();
    *shared = (struct outcome){0};
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        abort();
    if (child == 0)
        play_and_exit(schedule, shows, shared);
    while (waitpid(child, &status, 0) != child)
        ;
    *out = *shared;
    munmap(shared, sizeof *shared);
    describe_death(status, out);
}

/* ---- fewer items ---------------------------------------------------------------------------- */
struct str outcome_guarantee(const struct outcome *outcome)
{
    struct str rest = str_of(outcome->why);
    return str_cut(&rest, ':');
}

static int64_t seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static bool still_breaks(const struct schedule *fewer, const struct outcome *outcome)
{
    struct outcome again;
    schedule_try(fewer, SHOWS_FAILURES, &again);
    return !again.holds && str_eq(outcome_guarantee(&again), outcome_guarantee(outcome));
}

/* The lowest `size` items of `rest`. */
static uint64_t take_items(uint64_t *rest, unsigned size)
{
    uint64_t items = 0;
    for (; size > 0 && *rest != 0; size--) {
        items |= *rest & -*rest;
        *rest &= *rest - 1;
    }
    return items;
}

void schedule_shrink(struct schedule *schedule, const struct outcome *outcome)
{
    const int64_t until = seconds_now() + SHRINK_SECONDS;
    bool is_smaller = true;
    while (is_smaller) {
        is_smaller = false;
        for (unsigned size = ITEMS / 2; size > 0; size /= 2) {
            for (uint64_t rest = schedule->kept, items; rest != 0 && seconds_now() < until;) {
                items = take_items(&rest, size);
                struct schedule fewer = {schedule->seed, schedule->kept & ~items};
                if (!still_breaks(&fewer, outcome))
                    continue;
                *schedule = fewer;
                is_smaller = true;
            }
        }
    }
}

void schedule_report(struct schedule schedule, const struct outcome *outcome, bool shrinks)
{
    char text[SCHEDULE_TEXT_MAX];
    struct outcome told;
    if (shrinks)
        schedule_shrink(&schedule, outcome);
    schedule_try(&schedule, SHOWS_STORIES, &told);
    printf("seed %llu: %s\n", (unsigned long long)schedule.seed, told.why);
    printf("again: ./dev sim --replay %s\n", schedule_text(&schedule, text));
}
