/* Many seeds on all cores. Who takes which seed does not matter: the sums are the same, and of the
 * schedules that fail the one with the lowest seed is told, for all below it have been tried. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/schedule.h"

enum { WORKERS_MAX = 256, HANG_SECONDS = 60, TOLD_MAX = 100 };

struct worker {
    pid_t pid;
    _Atomic uint64_t seed; /* that it is at */
    struct counts counts;
};
struct board { /* shared by all */
    _Atomic uint64_t next, done;
    _Atomic uint64_t failed;         /* the lowest seed that did */
    _Atomic uint64_t failures;       /* how many did */
    _Atomic uint64_t told[TOLD_MAX]; /* the first of them, as they came; 0: not yet written */
    struct worker worker[WORKERS_MAX];
};

static void note_failure(struct board *board, uint64_t seed)
{
    uint64_t place = atomic_fetch_add(&board->failures, 1);
    if (place < TOLD_MAX)
        atomic_store(&board->told[place], seed);
    uint64_t lowest = atomic_load(&board->failed);
    while (seed < lowest && !atomic_compare_exchange_weak(&board->failed, &lowest, seed))
        ;
}

/* ---- a worker ------------------------------------------------------------------------------- */
static void __attribute__((noreturn)) work(struct board *board, struct worker *self,
                                           const struct search *search)
{
    const uint64_t end = search->first + search->count;
    struct sim *sim = malloc(sizeof *sim);
    if (sim == NULL)
        abort();
    (void)!freopen("/dev/null", "w", stderr); /* an assert is told with the story */
    for (;;) {
        uint64_t seed = atomic_fetch_add(&board->next, 1);
        if (seed >= end || (!search->keeps_going && seed > atomic_load(&board->failed)))
            break;
        atomic_store(&self->seed, seed);
        alarm(HANG_SECONDS);
        struct schedule schedule = schedule_of(seed);
        if (!schedule_play(sim, &schedule, SHOWS_FAILURES, &self->counts))
            note_failure(board, seed);
        sim_fini(sim);
        atomic_fetch_add(&board->done, 1);
    }
    _exit(0);
}

static void start_worker(struct board *board, struct worker *worker, const struct search *search)
{
    fflush(stdout);
    const pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid != 0) {
        worker->pid = pid; /* not in the child: the board is shared */
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    work(board, worker, search);
}

/* ---- whoever waits for them ----------------------------------------------------------------- */
static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* On a terminal each second in one line, else every ten seconds. */
static void show_progress(struct board *board, const struct search *search, double *shown)
{
    bool is_terminal = isatty(STDERR_FILENO) == 1;
    double now = seconds_now();
    if (now - *shown < (is_terminal ? 1 : 10))
        return;
    *shown = now;
    fprintf(stderr, "%ssim: %" PRIu64 " of %" PRIu64 " schedules%s", is_terminal ? "\r" : "",
            (uint64_t)atomic_load(&board->done), search->count, is_terminal ? "" : "\n");
}

/* One that fails is told when it does: there may be half an hour to go. */
static void show_failures(struct board *board, uint64_t *shown)
{
    uint64_t failures = atomic_load(&board->failures);
    while (*shown < failures && *shown < TOLD_MAX && atomic_load(&board->told[*shown]) != 0)
        fprintf(stderr, "%ssim: seed %" PRIu64 " broke a guarantee\n",
                isatty(STDERR_FILENO) == 1 ? "\r\033[K" : "",
                (uint64_t)atomic_load(&board->told[(*shown)++]));
}

static void one_has_ended(struct board *board, unsigned workers, pid_t pid, int status)
{
    for (unsigned i = 0; i < workers; i++)
        if (board->worker[i].pid == pid && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
            note_failure(board, atomic_load(&board->worker[i].seed));
}

static void wait_for_all(struct board *board, const struct search *search, unsigned workers)
{
    double shown = seconds_now();
    uint64_t told = 0;
    const struct timespec moment = {.tv_nsec = 100000000};
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    for (unsigned running = workers; running > 0;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid > 0) {
            one_has_ended(board, workers, pid, status);
            running--;
            continue;
        }
        (void)sigtimedwait(&child, NULL, &moment);
        show_progress(board, search, &shown);
        if (search->keeps_going)
            show_failures(board, &told);
    }
    if (isatty(STDERR_FILENO) == 1)
        fputs("\r\033[K", stderr);
}

static unsigned count_workers(const struct search *search)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t workers = search->workers > 0 ? search->workers : cores > 0 ? (uint64_t)cores : 1;
    workers = workers < search->count ? workers : search->count;
    return workers < WORKERS_MAX ? (unsigned)workers : WORKERS_MAX;
}

static void report_failure(const struct search *search, uint64_t seed)
{
    struct schedule schedule = schedule_of(seed);
    struct outcome outcome;
    schedule_try(&schedule, SHOWS_FAILURES, &outcome);
    if (outcome.holds) /* only among others: that would be a bug of the simulator */
        snprintf(outcome.why, sizeof outcome.why, "unsure: it failed once and not again");
    schedule_report(schedule, &outcome, search->shrinks && !outcome.holds);
    struct str guarantee = outcome_guarantee(&outcome);
    printf("sim: seed %" PRIu64 " broke %.*s after %" PRIu64 " schedules\n", seed, S(guarantee),
           seed - search->first + 1);
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *one = a, *other = b;
    return (*one > *other) - (*one < *other);
}

static void report_failures(const struct search *search, struct board *board)
{
    uint64_t failures = atomic_load(&board->failures), seed[TOLD_MAX];
    uint64_t told = failures < TOLD_MAX ? failures : TOLD_MAX;
    for (uint64_t i = 0; i < told; i++)
        seed[i] = atomic_load(&board->told[i]);
    qsort(seed, told, sizeof seed[0], by_number);
    for (uint64_t i = 0; i < told; i++)
        report_failure(search, seed[i]);
    printf("sim: %" PRIu64 " of %" PRIu64 " schedules broke a guarantee\n", failures,
           search->count);
}

static bool write_summary(const struct search *search, const struct counts *all, uint64_t failures)
{
    FILE *out = fopen(search->summary, "w");
    if (out == NULL) {
        fprintf(stderr, "sim: cannot write %s: %s\n", search->summary, strerror(errno));
        return false;
    }
    fprintf(out, "# Random schedules %" PRIu64 " to %" PRIu64 "\n\n", search->first,
            search->first + search->count - 1);
    if (failures > 0)
        fprintf(out, "A guarantee broke in %" PRIu64 " of them. In the others all held. ",
                failures);
    else
        fputs("All guarantees held. ", out);
    counts_print(all, out);
    return fclose(out) == 0;
}

static void report_success(const struct search *search, const struct counts *all)
{
    printf("sim: %" PRIu64 " random schedules from seed %" PRIu64 ", %" PRIu64
           " steps, at least %" PRIu64 " each: all guarantees held\n",
           all->schedules, search->first, all->steps, all->fewest_steps);
}

static unsigned conclude(const struct search *search, struct board *board, unsigned workers)
{
    const uint64_t failures = atomic_load(&board->failures);
    if (failures > 0 && !search->keeps_going) {
        report_failure(search, atomic_load(&board->failed));
        return 1;
    }
    struct counts *all = calloc(1, sizeof *all);
    if (all == NULL)
        abort();
    for (unsigned i = 0; i < workers; i++)
        counts_add(all, &board->worker[i].counts);
    unsigned broken = (unsigned)failures;
    if (failures > 0)
        report_failures(search, board);
    else
        report_success(search, all);
    if (all->schedules + failures != search->count) {
        printf("sim: only %" PRIu64 " of %" PRIu64 " schedules were played\n",
               all->schedules + failures, search->count);
        broken++;
    }
    if (search->summary != NULL && !write_summary(search, all, failures))
        broken++;
    free(all);
    return broken;
}

unsigned search_seeds(const struct search *search)
{
    const unsigned workers = count_workers(search);
    struct board *board =
        mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        abort();
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    atomic_init(&board->next, search->first);
    atomic_init(&board->failed, UINT64_MAX);
    for (unsigned i = 0; i < workers; i++)
        start_worker(board, &board->worker[i], search);
    wait_for_all(board, search, workers);
    unsigned failures = conclude(search, board, workers);
    munmap(board, sizeof *board);
    return failures;
}

/* ---- schedules that once failed ------------------------------------------------------------- */
bool search_file(const char *path, unsigned *passed, unsigned *failed)
{
    char line[1024];
    FILE *in = fopen(path, "r");
    if (in == NULL)
        return false;
    while (fgets(line, sizeof line, in) != NULL) {
        struct schedule schedule;
        struct outcome outcome;
        struct str rest = str_of(line);
        struct str text = str_cut(&rest, ' ');
        if (text.len == 0 || text.at[0] == '#' || text.at[0] == '\n')
            continue;
        if (!schedule_parse(text, &schedule)) {
            printf("%s: not a schedule: %s", path, line);
            (*failed)++;
            continue;
        }
        schedule_try(&schedule, SHOWS_FAILURES, &outcome);
        *(outcome.holds ? passed : failed) += 1;
        if (!outcome.holds)
            schedule_report(schedule, &outcome, false);
    }
    fclose(in);
    return true;
}
