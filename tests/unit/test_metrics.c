/* metrics: what a Prometheus server reads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "io/metrics.h"

static void expect_text(const struct metric *metrics, size_t count, const char *expected)
{
    struct buf out = {0};
    metrics_print(metrics, count, &out);
    assert_false(out.failed);
    assert_string_equal(out.bytes, expected);
    buf_fini(&out);
}

static void counters_and_gauges_are_printed_with_their_labels(void **state)
{
    (void)state;
    struct metric_series cancels[] = {{.labels = "outcome=\"new\""},
                                      {.labels = "outcome=\"already\""}};
    struct metric_series up[] = {{.labels = NULL}};
    const struct metric metrics[] = {
        {"brakewire_cancels_total", "Cancels by outcome.", METRIC_COUNTER, cancels, 2},
        {"brakewire_redis_link_up", "1 while linked.", METRIC_GAUGE, up, 1},
    };
    metric_add(&cancels[0], 1);
    metric_add(&cancels[0], 2);
    metric_set(up, 0.1);
    expect_text(metrics, 2,
                "# HELP brakewire_cancels_total Cancels by outcome.\n"
                "# TYPE brakewire_cancels_total counter\n"
                "brakewire_cancels_total{outcome=\"new\"} 3\n"
                "brakewire_cancels_total{outcome=\"already\"} 0\n"
                "# HELP brakewire_redis_link_up 1 while linked.\n"
                "# TYPE brakewire_redis_link_up gauge\n"
                "brakewire_redis_link_up 0.1\n");
}

static void large_numbers_lose_no_digit(void **state)
{
    (void)state;
    struct metric_series bytes[] = {{.value = 9007199254740991.0}};
    const struct metric metric = {"b", "B.", METRIC_COUNTER, bytes, 1};
    expect_text(&metric, 1, "# HELP b B.\n# TYPE b counter\nb 9007199254740991\n");
    metric_set(bytes, NAN);
    expect_text(&metric, 1, "# HELP b B.\n# TYPE b counter\nb nan\n");
}

static void a_histogram_sums_its_buckets_up(void **state)
{
    (void)state;
    struct metric_series waits[] = {{.labels = "phase=\"notice\""}};
    const struct metric metric = {"w", "W.", METRIC_HISTOGRAM, waits, 1};
    metric_observe(waits, 0.0001); /* a bound belongs to its bucket */
    metric_observe(waits, 0.003);
    metric_observe(waits, 0.004);
    metric_observe(waits, 100);
    expect_text(&metric, 1,
                "# HELP w W.\n# TYPE w histogram\n"
                "w_bucket{phase=\"notice\",le=\"0.0001\"} 1\n"
                "w_bucket{phase=\"notice\",le=\"0.00025\"} 1\n"
                "w_bucket{phase=\"notice\",le=\"0.0005\"} 1\n"
                "w_bucket{phase=\"notice\",le=\"0.001\"} 1\n"
                "w_bucket{phase=\"notice\",le=\"0.0025\"} 1\n"
                "w_bucket{phase=\"notice\",le=\"0.005\"} 3\n"
                "w_bucket{phase=\"notice\",le=\"0.01\"} 3\n"
                "w_bucket{phase=\"notice\",le=\"0.025\"} 3\n"
                "w_bucket{phase=\"notice\",le=\"0.05\"} 3\n"
                "w_bucket{phase=\"notice\",le=\"0.1\"} 3\n"
                "w_bucket{phase=\"notice\",le=\"0.5\"} 3\n"
                "w_bucket{phase=\"notice\",le=\"1\"} 3\n"
                "w_bucket{phase=\"notice\",le=\"10\"} 3\n"
                "w_bucket{phase=\"notice\",le=\"60\"} 3\n"
                "w_bucket{phase=\"notice\",le=\"+Inf\"} 4\n"
                "w_sum{phase=\"notice\"} 100.0071\n"
                "w_count{phase=\"notice\"} 4\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_and_gauges_are_printed_with_their_labels),
        cmocka_unit_test(large_numbers_lose_no_digit),
        cmocka_unit_test(a_histogram_sums_its_buckets_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
