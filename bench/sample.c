#include "sample.h"

#include <jansson.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void give_up(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void samples_add(struct samples *samples, double value)
{
    if (samples->count == samples->room) {
        samples->room = samples->room == 0 ? 1024 : samples->room * 2;
        samples->value = realloc(samples->value, samples->room * sizeof *samples->value);
        if (samples->value == NULL)
            give_up("out of memory");
    }
    samples->value[samples->count++] = value;
    samples->sorted = false;
}

void samples_fini(struct samples *samples)
{
    free(samples->value);
    *samples = (struct samples){0};
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double samples_percentile(struct samples *samples, double percent)
{
    if (samples->count == 0)
        return NAN;
    if (!samples->sorted)
        qsort(samples->value, samples->count, sizeof *samples->value, by_value);
    samples->sorted = true;
    double at = percent / 100.0 * (double)(samples->count - 1);
    return samples->value[(size_t)(at + 0.5)];
}

static json_t *number_or_null(double value)
{
    return isnan(value) ? json_null() : json_real(value);
}

void row_print(const struct row *row)
{
    double judged = isnan(row->ratio) ? row->value : row->ratio;
    json_t *met = json_null();
    if (!isnan(row->target))
        met = json_boolean(row->at_least ? judged >= row->target : judged <= row->target);
    json_t *line =
        json_pack("{s:s, s:f, s:s, s:o, s:o, s:s, s:o, s:s?}", "question", row->question, "value",
                  row->value, "unit", row->unit, "ratio", number_or_null(row->ratio), "target",
                  number_or_null(row->target), "bound", row->at_least ? "at least" : "at most",
                  "met", met, "note", row->note);
    if (line == NULL)
        give_up("row %s does not pack", row->question);
    json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    putchar('\n');
    fflush(stdout);
    json_decref(line);
}

void pin(bool on)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    size_t count = on ? 1 : (size_t)sysconf(_SC_NPROCESSORS_ONLN);
    for (size_t i = 0; i < count; i++)
        CPU_SET(i, &cpus);
    if (sched_setaffinity(0, sizeof cpus, &cpus) != 0)
        give_up("cannot pin to CPU 0");
}

bool pin_apart(pid_t pid)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(1, &cpus);
    return sched_setaffinity(pid, sizeof cpus, &cpus) == 0;
}

static void echo(int fd)
{
    char byte;
    while (read(fd, &byte, 1) == 1)
        if (write(fd, &byte, 1) != 1)
            break;
    _exit(0);
}

double ping_pong_us(void)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        give_up("no socketpair");
    pid_t child = fork();
    if (child == 0) {
        close(pair[0]);
        echo(pair[1]);
    }
    close(pair[1]);
    struct samples trips = {0};
    for (int i = 0; i < 2000; i++) {
        char byte = 'x';
        uint64_t start = now_ns();
        if (write(pair[0], &byte, 1) != 1 || read(pair[0], &byte, 1) != 1)
            give_up("ping-pong broke");
        samples_add(&trips, (double)(now_ns() - start) / 1e3);
    }
    close(pair[0]);
    waitpid(child, NULL, 0);
    double p50 = samples_percentile(&trips, 50);
    samples_fini(&trips);
    return p50;
}
