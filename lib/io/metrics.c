#include "io/metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Close together where a cancel should be, wide where somebody gives up waiting. */
static const double upper_bounds[METRIC_BUCKETS] = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 10, 60,
};

void metric_add(struct metric_series *series, double amount)
{
    series->value += amount;
}

void metric_set(struct metric_series *series, double value)
{
    series->value = value;
}

/* Buckets are kept apart and summed up when printed: this is the side that must be cheap. */
void metric_observe(struct metric_series *series, double seconds)
{
    size_t at = 0;
    while (at < METRIC_BUCKETS && seconds > upper_bounds[at])
        at++;
    if (at < METRIC_BUCKETS)
        series->bucket[at]++;
    series->count++;
    series->value += seconds;
}

/* The shortest text that reads back as the same number; 0.1, not 0.10000000000000001. */
static const char *number_text(double number, char *out, size_t room)
{
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(out, room, "%.*g", digits, number);
        if (isnan(number) || strtod(out, NULL) == number) /* NaN equals nothing */
            break;
    }
    return out;
}

static void print_sample(const char *name, const char *suffix, const char *labels, double value,
                         struct buf *out)
{
    char text[40];
    buf_addf(out, "%s%s%s%s%s %s\n", name, suffix, labels != NULL ? "{" : "",
             labels != NULL ? labels : "", labels != NULL ? "}" : "",
             number_text(value, text, sizeof text));
}

static void print_bucket(const char *name, const char *labels, const char *bound, uint64_t count,
                         struct buf *out)
{
    buf_addf(out, "%s_bucket{%s%sle=\"%s\"} %llu\n", name, labels != NULL ? labels : "",
             labels != NULL ? "," : "", bound, (unsigned long long)count);
}

static void print_histogram(const char *name, const struct metric_series *series, struct buf *out)
{
    char text[40];
    uint64_t below = 0;
    for (size_t i = 0; i < METRIC_BUCKETS; i++) {
        below += series->bucket[i];
        print_bucket(name, series->labels, number_text(upper_bounds[i], text, sizeof text), below,
                     out);
    }
    print_bucket(name, series->labels, "+Inf", series->count, out);
    print_sample(name, "_sum", series->labels, series->value, out);
    print_sample(name, "_count", series->labels, (double)series->count, out);
}

void metrics_print(const struct metric *metrics, size_t count, struct buf *out)
{
    static const char *const kinds[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};
    for (size_t i = 0; i < count; i++) {
        const struct metric *metric = &metrics[i];
        buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
                 kinds[metric->kind]);
        for (size_t k = 0; k < metric->series_count; k++) {
            const struct metric_series *series = &metric->series[k];
            if (metric->kind == METRIC_HISTOGRAM)
                print_histogram(metric->name, series, out);
            else
                print_sample(metric->name, "", series->labels, series->value, out);
        }
    }
}
