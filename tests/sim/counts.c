/* Adding up, and the summary page. */
#include "sim/counts.h"

#include <inttypes.h>

#include "sim/schedule.h"

static const char *const fault_text[] = {
#define X(name, text) text,
    FAULT_LIST(X)
#undef X
};

static void add_all(uint64_t *to, const uint64_t *more, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] += more[i];
}

static void slowest(struct counts *counts, uint64_t ms, uint64_t seed)
{
    bool is_slower = ms > counts->slowest_ms
                     || (ms == counts->slowest_ms && ms > 0 && seed < counts->slowest_seed);
    if (!is_slower)
        return;
    counts->slowest_ms = ms;
    counts->slowest_seed = seed;
}

static void fewest(struct counts *counts, uint64_t steps)
{
    if (steps > 0 && (counts->fewest_steps == 0 || steps < counts->fewest_steps))
        counts->fewest_steps = steps;
}

void counts_add(struct counts *to, const struct counts *more)
{
    to->schedules += more->schedules;
    to->steps += more->steps;
    to->runs += more->runs;
    to->cancels += more->cancels;
    to->calls += more->calls;
    add_all(to->action, more->action, ACTION_KINDS_MAX);
    add_all(to->fault, more->fault, FAULT_COUNT);
    add_all(to->verdict[0], more->verdict[0], (size_t)STORE_OP_COUNT * SAID_COUNT);
    add_all(to->pair[0], more->pair[0], (size_t)FAULT_COUNT * STORE_OP_COUNT);
    add_all(to->problem, more->problem, PROBLEM_COUNT);
    fewest(to, more->fewest_steps);
    slowest(to, more->slowest_ms, more->slowest_seed);
}

void counts_schedule(struct counts *counts, uint64_t seed, uint64_t steps, uint64_t healed_ms)
{
    counts->schedules++;
    counts->steps += steps;
    fewest(counts, steps);
    slowest(counts, healed_ms, seed);
}

/* ---- the page ------------------------------------------------------------------------------ */
static void print_list(FILE *out, const char *title)
{
    fprintf(out, "\n## %s\n\n| | times |\n|---|---:|\n", title);
}

static void print_verdicts(const struct counts *counts, FILE *out)
{
    fprintf(out, "\n## What the scripts answered\n\n| script | answer | times |\n|---|---|---:|\n");
    for (size_t op = 0; op < STORE_OP_COUNT; op++)
        for (size_t said = 0; said < SAID_COUNT; said++)
            if (counts->verdict[op][said] > 0)
                fprintf(out, "| %s | %s | %" PRIu64 " |\n", store_op_name((enum store_op)op),
                        store_verdict_name((enum store_verdict)said), counts->verdict[op][said]);
}

static bool was_called(const struct counts *counts, size_t op)
{
    for (size_t said = 0; said < SAID_COUNT; said++)
        if (counts->verdict[op][said] > 0)
            return true;
    return false;
}

/* Scripts across, faults down: how many calls were carried out within five seconds of the fault. */
static void print_pairs(const struct counts *counts, FILE *out)
{
    unsigned pairs = 0, seen = 0;
    fprintf(out, "\n## Scripts that ran while a fault was about\n\n| |");
    for (size_t op = 0; op < STORE_OP_COUNT; op++)
        if (was_called(counts, op))
            fprintf(out, " %s |", store_op_name((enum store_op)op));
    fprintf(out, "\n|---|");
    for (size_t op = 0; op < STORE_OP_COUNT; op++)
        if (was_called(counts, op))
            fprintf(out, "---:|");
    for (size_t fault = 0; fault < FAULT_COUNT; fault++) {
        fprintf(out, "\n| %s |", fault_text[fault]);
        for (size_t op = 0; op < STORE_OP_COUNT; op++) {
            if (!was_called(counts, op))
                continue;
            fprintf(out, " %" PRIu64 " |", counts->pair[fault][op]);
            pairs++;
            seen += counts->pair[fault][op] > 0 ? 1 : 0;
        }
    }
    fprintf(out, "\n\n%u of %u pairs were seen.\n", seen, pairs);
}

void counts_print(const struct counts *counts, FILE *out)
{
    uint64_t schedules = counts->schedules > 0 ? counts->schedules : 1;
    fprintf(out,
            "%" PRIu64 " schedules, %" PRIu64 " steps (%" PRIu64 " a schedule, at least %" PRIu64
            "), %" PRIu64 " runs, %" PRIu64 " cancels, %" PRIu64 " calls to Redis.\n\n",
            counts->schedules, counts->steps, counts->steps / schedules, counts->fewest_steps,
            counts->runs, counts->cancels, counts->calls);
    fprintf(out, "Slowest until all was settled after the last fault: %.1f s (seed %" PRIu64 ").\n",
            (double)counts->slowest_ms / 1000, counts->slowest_seed);
    print_list(out, "What was done");
    for (size_t i = 0; action_name_at(i) != NULL; i++)
        fprintf(out, "| %s | %" PRIu64 " |\n", action_name_at(i), counts->action[i]);
    print_list(out, "What went wrong");
    for (size_t i = 0; i < FAULT_COUNT; i++)
        fprintf(out, "| %s | %" PRIu64 " |\n", fault_text[i], counts->fault[i]);
    print_list(out, "What clients were answered");
    for (size_t i = 0; i < PROBLEM_COUNT; i++)
        fprintf(out, "| %s | %" PRIu64 " |\n",
                i == PROBLEM_NONE ? "done" : problem_code((enum problem)i), counts->problem[i]);
    print_verdicts(counts, out);
    print_pairs(counts, out);
}
