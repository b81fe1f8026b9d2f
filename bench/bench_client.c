/* What does it cost a program to look whether it is cancelled? bw_run_is_cancelled() of the shared
 * library, beside a plain relaxed load in the same loop; in time of the CPU, for neighbours are not
 * a part of it. */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "brakewire/brakewire.h"
#include "sample.h"

enum { LOOKS = 20000000, ROUNDS = 5 };

static double cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (double)used.tv_sec * 1e9 + (double)used.tv_nsec;
}

static double library_ns(const struct bw_run *run)
{
    double began = cpu_ns();
    for (long i = 0; i < LOOKS; i++)
        if (bw_run_is_cancelled(run))
            give_up("a run that nobody can cancel is cancelled");
    return (cpu_ns() - began) / LOOKS;
}

static double plain_ns(atomic_bool *flag)
{
    double began = cpu_ns();
    for (long i = 0; i < LOOKS; i++)
        if (atomic_load_explicit(flag, memory_order_relaxed))
            give_up("a flag that nobody sets is set");
    return (cpu_ns() - began) / LOOKS;
}

static void be_silent(void *owner, enum bw_log_level level, const char *text)
{
    (void)owner, (void)level, (void)text;
}

int main(void)
{
    struct bw_client *client;
    struct bw_run *run;
    struct samples library = {0}, plain = {0};
    static atomic_bool flag;
    struct bw_client_options options = {.agentd = "/nowhere/agentd.sock", .on_log = be_silent};
    if (bw_client_open(&options, &client) != BW_OK || bw_run_start(client, NULL, &run) != BW_OK)
        give_up("no run: %s", bw_why());
    for (int round = 0; round < ROUNDS; round++) {
        samples_add(&plain, plain_ns(&flag));
        samples_add(&library, library_ns(run));
    }
    double ns = samples_percentile(&library, 50), base = samples_percentile(&plain, 50);
    row_print(&(struct row){"a look at bw_run_is_cancelled()", "ns", ns, NAN, 10, false,
                            "through the shared library"});
    row_print(&(struct row){"the same against a plain relaxed load in that loop", "ns", ns,
                            ns / base, NAN, false, NULL});
    bw_run_end(run, BW_SUCCESS);
    bw_client_close(client);
    samples_fini(&library);
    samples_fini(&plain);
    return 0;
}
