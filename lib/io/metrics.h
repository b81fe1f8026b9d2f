/* Counters, gauges and histograms in Prometheus' text form. A daemon owns a static table of them.
 */
#ifndef IO_METRICS_H
#define IO_METRICS_H

#include <stdint.h>

#include "base/buf.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

enum { METRIC_BUCKETS = 14 }; /* 100 us … 60 s; see metrics.c */
struct metric_series {
    const char *labels; /* "state=\"running\"", NULL for none */
    double value;       /* counter, gauge; histogram: sum in seconds */
    uint64_t count, bucket[METRIC_BUCKETS];
};
struct metric {
    const char *name; /* brakewire_cancels_total */
    const char *help;
    enum metric_kind kind;
    struct metric_series *series;
    size_t series_count;
};

void metric_add(struct metric_series *series, double amount);
void metric_set(struct metric_series *series, double value);
void metric_observe(struct metric_series *series, double seconds);
void metrics_print(const struct metric *metrics, size_t count, struct buf *out);

#endif
