/* Measurements and what is said of them. */
#ifndef BENCH_SAMPLE_H
#define BENCH_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

uint64_t now_ns(void); /* CLOCK_MONOTONIC */

struct samples { /* all zero is empty */
    double *value;
    size_t count, room;
    bool sorted;
};
void samples_add(struct samples *samples, double value);
void samples_fini(struct samples *samples);
/* percent 0..100; NaN when empty. */
double samples_percentile(struct samples *samples, double percent);

/* One row of the page. A figure that has a target is a ratio or a bound; `met` follows from them.
 *
 * question  what was asked, as in the page's first column
 * value     the figure itself, in `unit`
 * ratio     against the baseline measured in the same run, NaN if the row has none
 * target    the bound, NaN if there is none: on the ratio if the row has one, else on the value
 * at_least  the bound is a lower one */
struct row {
    const char *question, *unit;
    double value, ratio, target;
    bool at_least;
    const char *note; /* NULL: none */
};
/* Writes one JSON line on stdout; the page collects them. */
void row_print(const struct row *row);

/* Pin this process, and all that it starts from now on, to CPU 0 (or free it again). */
void pin(bool on);
/* Pin another process to CPU 1, away from all that pin() holds; false: there is no second CPU. */
bool pin_apart(pid_t pid);
/* A round trip of one byte between two processes over a Unix socket, in us, p50 of 2,000. */
double ping_pong_us(void);
/* Ends the program: a benchmark that cannot measure says so. */
_Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
