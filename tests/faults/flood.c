/* Does a cancel get through while a hostile crowd floods a daemon, and does the daemon keep its
 * size?
 *
 *     flood [ROUNDS [CONNECTIONS [WORD [STARTS]]]]   only floods with this word in their name
 *
 * For each kind of flood and each door (agentd over its Unix socket and over TCP, the broker over
 * TCP): rounds of cancels in peace, in the flood, and in peace again. Each round has a ratio of its
 * own, and the one in the middle is judged: a machine that has other things to do for some seconds
 * spoils a round, not the row. Where it may (as root), it puts what is measured before all else on
 * the machine, and p99 is judged as well; else that is a measure of the machine. Then a million
 * starts, counted, at a full agentd. Each cancel is a connection of its own, as an operator's would
 * be. Ends with a table and "N passed, N failed". */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "faults/flooder.h"
#include "support/sidecar.h"

/* What is promised. */
enum { FILES_MAX = 12000, TIMES_USUAL = 2, TIMES_WORST = 10 };
enum {
    RSS_MAX_KIB = 128 << 10,
    WAITS_RSS_MAX_KIB = 320 << 10 /* 3,072 that wait, some 70 KiB each */
};
enum {
    ROUNDS_MAX = 15,
    CANCELS = 400, /* at least, and */
    ROUND_MS = 1000,
    FILES_IN_PEACE = 64,
    CANCEL_WAIT_MS = 2000,
    SAMPLES_MAX = 20000
};
enum { UNANSWERED_MAX = 3 }; /* a round: enough is enough */
enum {
    STARTS = 1000000,
    STARTS_WITHIN_S = 900,
    RUNS_MAX = 1000,         /* of the agentd */
    GROWTH_MAX_KIB = 4 << 10 /* of the peak of the second half over that of the first */
};

static bool is_undisturbed; /* the measured programs go before all others on this machine */
static unsigned rounds = 5, crowd_size = 10000, starts = STARTS;
static struct redis_process redis;
static struct service agentd, broker;
static char agentd_tcp[32], broker_tcp[32];
static struct started mine; /* a run that is there before the flood */
static unsigned long long cancel_number;

struct door {
    const char *name, *where;
    const struct service *of;
};
static struct door doors[] = {
    {"agentd, Unix socket", agentd.where, &agentd},
    {"agentd, TCP", agentd_tcp, &agentd},
    {"broker, TCP", broker_tcp, &broker},
};

static const struct {
    const char *name;
    enum flood_kind kind;
    unsigned divisor; /* of the crowd */
    bool is_for_broker;
} floods[] = {
    {"silent connections", FLOOD_SILENT, 1, false},
    {"a byte a second", FLOOD_SLOW, 1, false},
    {"64 KiB of headers", FLOOD_HEADERS, 10, false},
    {"1 GiB bodies", FLOOD_BODY, 100, false},
    {"1 GiB in chunks", FLOOD_CHUNKS, 100, false},
    {"runs above the limit", FLOOD_STARTS, 1, false},
    {"event streams", FLOOD_STREAMS, 1, false},
    {"streams of trees", FLOOD_TREES, 1, true},
    {"joins of a run", FLOOD_JOINS, 1, true},
    {"streams of a run", FLOOD_FOLLOWS, 1, true},
    {"A2A subscriptions", FLOOD_TASKS, 1, true},
    {"cancels of all runs", FLOOD_SEARCHES, 1, true},
    {"cancels that wait", FLOOD_WAITS, 1, true},
};
enum { FLOODS = sizeof floods / sizeof floods[0], DOORS = sizeof doors / sizeof doors[0] };

struct figures {
    bool measured, passed;
    double usual_us, usual_worst_us, flooded_us, worst_us, busy; /* of one CPU, in the flood */
    double acts;                                                 /* of the crowd, a second */
    long rss_kib, files;
    unsigned unanswered;
};
static struct figures page[FLOODS][DOORS];

static struct {
    struct figures figures;
    struct flood_counts *counts;
    double seconds;
    long early_kib, late_kib;
} million;

/* ---- what one cancel takes ----------------------------------------------------------------- */

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int dial(const char *where)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in tcp = {.sin_family = AF_INET};
    bool is_unix = strncmp(where, "unix:", 5) == 0;
    const struct timeval patience = {.tv_sec = CANCEL_WAIT_MS / 1000};
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    int done;
    if (is_unix) {
        snprintf(local.sun_path, sizeof local.sun_path, "%s", where + 5);
        done = connect(fd, (struct sockaddr *)&local, sizeof local);
    } else {
        tcp.sin_port = htons((uint16_t)atoi(strrchr(where, ':') + 1));
        tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        done = connect(fd, (struct sockaddr *)&tcp, sizeof tcp);
    }
    if (done == 0)
        return fd;
    close(fd);
    return -1;
}

/* Its time in us; below 0: it was not answered 202. At an agentd a client cancels its own run again
 * and again, at the broker each run is another. */
static double cancel_once(const struct door *door)
{
    char text[512], answer[4096], run[ID_TEXT_MAX];
    if (door->of == &agentd)
        snprintf(run, sizeof run, "%s", mine.run);
    else
        snprintf(run, sizeof run, "cancelled-%llu", ++cancel_number);
    double from = now_us();
    int len = snprintf(text, sizeof text,
                       "POST /v1/runs/%s/cancel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s"
                       "\r\nContent-Length: 2\r\n\r\n{}",
                       run, mine.token);
    int fd = dial(door->where);
    ssize_t got = -1;
    if (fd >= 0 && send(fd, text, (size_t)len, MSG_NOSIGNAL) == len)
        got = recv(fd, answer, sizeof answer - 1, 0);
    double took = now_us() - from;
    if (fd >= 0)
        close(fd);
    answer[got > 0 ? got : 0] = '\0';
    return strncmp(answer, "HTTP/1.1 202", 12) == 0 ? took : -1;
}

static int by_size(const void *a, const void *b)
{
    const double *one = a, *other = b;
    return (*one > *other) - (*one < *other);
}

struct times {
    size_t count;
    unsigned unanswered;
    double us[SAMPLES_MAX];
};

/* So many, and for so long. */
static void cancel_many(const struct door *door, struct times *times, int count, int for_ms)
{
    unsigned unanswered = times->unanswered;
    double until = now_us() + for_ms * 1e3;
    for (int i = 0;
         (i < count || now_us() < until) && times->unanswered < unanswered + UNANSWERED_MAX; i++) {
        double took = cancel_once(door);
        if (took < 0)
            times->unanswered++;
        else if (times->count < SAMPLES_MAX)
            times->us[times->count++] = took;
    }
}

static double percentile(struct times *times, double percent)
{
    if (times->count == 0)
        return 0;
    qsort(times->us, times->count, sizeof times->us[0], by_size);
    return times->us[(size_t)((double)(times->count - 1) * percent / 100)];
}

/* ---- how large the daemon is --------------------------------------------------------------- */

static long status_kib(pid_t pid, const char *field)
{
    char path[64], line[256];
    long value = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, field, strlen(field)) == 0)
            value = atol(line + strlen(field));
    if (file != NULL)
        fclose(file);
    return value;
}

/* Seconds of CPU so far. */
static double cpu_seconds(pid_t pid)
{
    char path[64], text[1024] = "";
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    const char *rest =
        file != NULL && fgets(text, sizeof text, file) != NULL ? strrchr(text, ')') : NULL;
    if (rest != NULL)
        (void)sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    if (file != NULL)
        fclose(file);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static long open_files(pid_t pid)
{
    char path[64];
    long count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *folder = opendir(path);
    while (folder != NULL && readdir(folder) != NULL)
        count++;
    if (folder != NULL)
        closedir(folder);
    return count;
}

static void look_at(const struct service *service, struct figures *figures)
{
    long rss = status_kib(service->pid, "VmRSS:"), files = open_files(service->pid);
    figures->rss_kib = rss > figures->rss_kib ? rss : figures->rss_kib;
    figures->files = files > figures->files ? files : figures->files;
}

/* The crowd is dead; the daemon still has to notice. */
static void wait_for_peace(const struct service *service)
{
    struct waiting wait = WAITING;
    while (open_files(service->pid) > FILES_IN_PEACE)
        waiting_turn(&wait);
}

/* ---- one row ------------------------------------------------------------------------------- */

/* Peace on both sides of the flood: the machine is as busy with other things in one as in the
 * other, and what slowly becomes more or less is in both. */
static void measure_round(const struct door *door, size_t flood, struct figures *out)
{
    static struct times peace, war;
    peace.count = war.count = peace.unanswered = war.unanswered = 0;
    cancel_many(door, &peace, CANCELS / 2, ROUND_MS / 2);
    pid_t crowd =
        flooder_start(door->where, floods[flood].kind, crowd_size / floods[flood].divisor, NULL);
    double from = now_us(), worked = cpu_seconds(door->of->pid);
    unsigned long long acts = flooder_acts();
    cancel_many(door, &war, CANCELS, ROUND_MS);
    double seconds = (now_us() - from) / 1e6;
    out->busy = (cpu_seconds(door->of->pid) - worked) / seconds;
    out->acts = (double)(flooder_acts() - acts) / seconds;
    look_at(door->of, out);
    flooder_end(crowd);
    wait_for_peace(door->of);
    cancel_many(door, &peace, CANCELS / 2, ROUND_MS / 2);
    out->usual_us = percentile(&peace, 50);
    out->flooded_us = percentile(&war, 50);
    out->worst_us = percentile(&war, 99);
    out->usual_worst_us = percentile(&peace, 99);
    out->unanswered += peace.unanswered + war.unanswered;
}

static double ratio_of(const struct figures *figures)
{
    return figures->usual_us > 0 ? figures->flooded_us / figures->usual_us : 0;
}

/* The slowest cancel of a hundred; what else the machine does is in it, unless it has to wait. */
static bool is_fast(const struct figures *figures)
{
    return figures->usual_us > 0 && ratio_of(figures) <= (double)TIMES_USUAL
           && (!is_undisturbed || figures->worst_us <= figures->usual_worst_us * TIMES_WORST);
}

static int by_ratio(const void *a, const void *b)
{
    double one = ratio_of(a), other = ratio_of(b);
    return (one > other) - (one < other);
}

static long rss_max_kib(size_t flood)
{
    return floods[flood].kind == FLOOD_WAITS ? WAITS_RSS_MAX_KIB : RSS_MAX_KIB;
}

/* The round in the middle speaks for all, but size and unanswered cancels are of all. */
static void measure(const struct door *door, size_t flood, struct figures *figures)
{
    struct figures round[ROUNDS_MAX] = {{.measured = true}}, all = {.measured = true};
    for (unsigned i = 0; i < rounds; i++) {
        measure_round(door, flood, &round[i]);
        all.rss_kib = round[i].rss_kib > all.rss_kib ? round[i].rss_kib : all.rss_kib;
        all.files = round[i].files > all.files ? round[i].files : all.files;
        all.unanswered += round[i].unanswered;
    }
    qsort(round, rounds, sizeof round[0], by_ratio);
    *figures = round[rounds / 2];
    figures->measured = true;
    figures->rss_kib = all.rss_kib;
    figures->files = all.files;
    figures->unanswered = all.unanswered;
    figures->passed = figures->unanswered == 0 && figures->rss_kib <= rss_max_kib(flood)
                      && figures->files <= FILES_MAX && is_fast(figures);
}

static void flood_all_doors(size_t flood)
{
    bool passed = true;
    for (size_t door = 0; door < DOORS; door++) {
        struct figures *figures = &page[flood][door];
        if (floods[flood].is_for_broker && doors[door].of != &broker)
            continue;
        measure(&doors[door], flood, figures);
        passed = passed && figures->passed;
        assert_int_equal(service_call(doors[door].of, NULL, "GET", "/livez", NULL, NULL), 200);
    }
    assert_true(passed);
}

static void run_flood(void **state)
{
    const size_t *flood = *state;
    flood_all_doors(*flood);
}

/* ---- a million starts ---------------------------------------------------------------------- */

/* Until so many were answered, with some cancels after each few thousand. */
static void flood_until(const struct door *door, unsigned long long answers, double give_up_us,
                        struct times *war)
{
    enum { EACH = 4000 };
    while (flood_answers(million.counts) < answers && now_us() < give_up_us) {
        unsigned long long next = flood_answers(million.counts) + EACH;
        struct waiting wait = WAITING;
        cancel_many(door, war, CANCELS / 10, 0);
        look_at(door->of, &million.figures);
        while (flood_answers(million.counts) < (next < answers ? next : answers))
            waiting_turn(&wait);
    }
}

static bool held_the_million(void)
{
    const struct figures *f = &million.figures;
    const struct flood_counts *counts = million.counts;
    return flood_answers(counts) >= starts && counts->strange == 0 && counts->accepted <= RUNS_MAX
           && counts->refused > 0 && f->unanswered == 0 && f->rss_kib <= RSS_MAX_KIB
           && f->files <= FILES_MAX && million.late_kib - million.early_kib <= GROWTH_MAX_KIB
           && is_fast(f);
}

static void a_million_starts(void **state)
{
    static struct times peace, war;
    const struct door *door = &doors[0];
    struct figures *figures = &million.figures;
    (void)state;
    million.counts = flood_counts_new();
    assert_non_null(million.counts);
    cancel_many(door, &peace, CANCELS, ROUND_MS / 2);
    pid_t crowd = flooder_start(door->where, FLOOD_STARTS, crowd_size / 10, million.counts);
    double from = now_us(), worked = cpu_seconds(door->of->pid);
    double give_up_us = from + (double)STARTS_WITHIN_S * 1e6;
    flood_until(door, starts / 2, give_up_us, &war);
    million.early_kib = figures->rss_kib;
    figures->rss_kib = 0;
    flood_until(door, starts, give_up_us, &war);
    million.late_kib = figures->rss_kib;
    if (figures->rss_kib < million.early_kib)
        figures->rss_kib = million.early_kib;
    million.seconds = (now_us() - from) / 1e6;
    figures->busy = (cpu_seconds(door->of->pid) - worked) / million.seconds;
    figures->acts = (double)flood_answers(million.counts) / million.seconds;
    flooder_end(crowd);
    wait_for_peace(door->of);
    cancel_many(door, &peace, CANCELS, ROUND_MS / 2);
    figures->usual_us = percentile(&peace, 50);
    figures->flooded_us = percentile(&war, 50);
    figures->worst_us = percentile(&war, 99);
    figures->usual_worst_us = percentile(&peace, 99);
    figures->unanswered = peace.unanswered + war.unanswered;
    figures->measured = true;
    figures->passed = held_the_million();
    assert_true(figures->passed);
}

/* ---- all of it ----------------------------------------------------------------------------- */

static void start_broker(void)
{
    char url[128];
    snprintf(url, sizeof url, "--redis-url=%s", redis.url);
    /* below those that the system gives to whoever dials */
    for (unsigned port = 20000 + (unsigned)getpid() % 12000;; port++) {
        char listen_at[48];
        snprintf(broker_tcp, sizeof broker_tcp, "127.0.0.1:%u", port);
        snprintf(listen_at, sizeof listen_at, "--listen=%s", broker_tcp);
        int taken = dial(broker_tcp);
        if (taken >= 0) {
            close(taken);
            continue;
        }
        const char *const args[] = {url, listen_at, "--log-level=error", NULL};
        service_start(&broker, "brakewire-broker", true, args);
        break;
    }
}

static void start_agentd(void)
{
    char url[128], listen_at[48];
    snprintf(url, sizeof url, "--redis-url=%s", redis.url);
    snprintf(agentd_tcp, sizeof agentd_tcp, "127.0.0.1:%u",
             (unsigned)atoi(strrchr(broker_tcp, ':') + 1) + 1);
    snprintf(listen_at, sizeof listen_at, "--listen=%s", agentd_tcp);
    char runs[32];
    snprintf(runs, sizeof runs, "--max-runs=%d", RUNS_MAX);
    const char *const args[] = {url, listen_at, runs, "--log-level=error", NULL};
    service_start(&agentd, "brakewire-agentd", true, args);
}

static int begin(void **state)
{
    (void)state;
    is_undisturbed = sched_setscheduler(0, SCHED_RR, &(struct sched_param){1}) == 0;
    redis_process_start(&redis, KIND_REDIS, NULL);
    start_broker();
    start_agentd();
    mine = sidecar_run(&agentd, NULL, "{}");
    (void)sidecar_run(&agentd, NULL,
                      "{\"run_id\":\"" FLOOD_RUN "\",\"thread_id\":\"" FLOOD_THREAD "\"}");
    return 0;
}

static int end(void **state)
{
    (void)state;
    service_stop(&agentd);
    service_stop(&broker);
    redis_process_end(&redis);
    return 0;
}

static void print_row(const char *flood, const char *door, const struct figures *f)
{
    printf("%-22s %-20s %9.0f %9.0f %6.2f %9.0f %9.0f %6.2f %8.0f %8.1f %6ld %10u %s\n", flood,
           door, f->usual_us, f->flooded_us, ratio_of(f), f->usual_worst_us, f->worst_us, f->busy,
           f->acts, (double)f->rss_kib / 1024, f->files, f->unanswered, f->passed ? "" : "FAILED");
}

static void print_million(void)
{
    const struct flood_counts *counts = million.counts;
    print_row("a million starts", doors[0].name, &million.figures);
    printf(
        "  %llu starts answered in %.0f s: %llu accepted, %llu refused (429), %llu anything else; "
        "RSS %.1f MiB at most in the first half, %.1f MiB in the second\n",
        flood_answers(counts), million.seconds, counts->accepted, counts->refused, counts->strange,
        (double)million.early_kib / 1024, (double)million.late_kib / 1024);
}

static void print_page(void)
{
    unsigned passed = 0, failed = 0;
    printf("\n%-22s %-20s %9s %9s %6s %9s %9s %6s %8s %8s %6s %10s\n", "flood of", "at", "usual us",
           "flood us", "ratio", "usual p99", "p99 us", "busy", "crowd/s", "RSS MiB", "files",
           "unanswered");
    for (size_t flood = 0; flood < FLOODS; flood++) {
        for (size_t door = 0; door < DOORS; door++) {
            const struct figures *f = &page[flood][door];
            if (!f->measured)
                continue;
            print_row(floods[flood].name, doors[door].name, f);
            passed += f->passed ? 1 : 0;
            failed += f->passed ? 0 : 1;
        }
    }
    if (million.figures.measured) {
        print_million();
        passed += million.figures.passed ? 1 : 0;
        failed += million.figures.passed ? 0 : 1;
    }
    printf("promised: at most %d times the usual p50, %d MiB (%d while thousands wait), %d files, "
           "every cancel answered; while a million start at most %d runs accepted, at most %d MiB "
           "more in their second half\n",
           TIMES_USUAL, RSS_MAX_KIB >> 10, WAITS_RSS_MAX_KIB >> 10, FILES_MAX, RUNS_MAX,
           GROWTH_MAX_KIB >> 10);
    if (is_undisturbed)
        printf("and at most %d times the usual p99\n", TIMES_WORST);
    else
        printf("p99 is not judged: this user may not put the daemons before all else\n");
    printf("%u passed, %u failed\n", passed, failed);
}

int main(int argc, char *argv[])
{
    static size_t number[FLOODS];
    struct CMUnitTest tests[FLOODS + 1];
    rounds = argc > 1 ? (unsigned)atoi(argv[1]) % (ROUNDS_MAX + 1) : rounds;
    rounds = rounds > 0 ? rounds : 1;
    crowd_size = argc > 2 ? (unsigned)atoi(argv[2]) : crowd_size;
    const char *word = argc > 3 ? argv[3] : "";
    starts = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : starts;
    size_t count = 0;
    for (size_t i = 0; i < FLOODS; i++) {
        if (strstr(floods[i].name, word) == NULL)
            continue;
        number[i] = i;
        tests[count++] = (struct CMUnitTest){
            .name = floods[i].name, .test_func = run_flood, .initial_state = &number[i]};
    }
    if (strstr("a million starts", word) != NULL)
        tests[count++] =
            (struct CMUnitTest){.name = "a million starts", .test_func = a_million_starts};
    int failed = _cmocka_run_group_tests("flood", tests, count, begin, end);
    print_page();
    return failed;
}
