#include "agentd/numbers.h"

#include <stdio.h>

#ifndef BRAKEWIRE_VERSION
#define BRAKEWIRE_VERSION "unknown"
#endif

void numbers_init(struct numbers *numbers)
{
    *numbers = (struct numbers){
        .told_and_stopped = {{.labels = "phase=\"told\""}, {.labels = "phase=\"stopped\""}},
        .cancels = {{.labels = "outcome=\"accepted\""},
                    {.labels = "outcome=\"already\""},
                    {.labels = "outcome=\"refused\""}},
        .malformed = {{.labels = "source=\"channel\""},
                      {.labels = "source=\"store\""},
                      {.labels = "source=\"baggage\""}},
        .build = {.labels = "version=\"" BRAKEWIRE_VERSION "\"", .value = 1},
    };
    for (int i = 0; i < RUN_STATE_COUNT; i++) {
        snprintf(numbers->run_label[i], NUMBERS_LABEL_MAX, "state=\"%s\"",
                 run_state_name((enum run_state)i));
        numbers->runs[i].labels = numbers->run_label[i];
    }
    for (int i = 0; i < REMOTE_OUTCOME_COUNT; i++) {
        snprintf(numbers->remote_label[i], NUMBERS_LABEL_MAX, "outcome=\"%s\"",
                 remote_outcome_name((enum remote_outcome)i));
        numbers->remote[i].labels = numbers->remote_label[i];
    }
    for (int i = 0; i < PROBLEM_COUNT; i++) {
        snprintf(numbers->refused_label[i], NUMBERS_LABEL_MAX, "code=\"%s\"",
                 problem_code((enum problem)i));
        numbers->starts_refused[i].labels = numbers->refused_label[i];
    }
}

void numbers_note_durability(struct numbers *numbers, const struct cancel_result *result)
{
    if (result->not_durable != NULL)
        metric_add(&numbers->not_durable, 1);
}

void numbers_note_remote(struct numbers *numbers, enum remote_outcome outcome)
{
    metric_add(&numbers->remote[outcome], 1);
}

void numbers_count(struct numbers *numbers, const struct agent_effect *effect,
                   enum malformed_source source)
{
    double seconds = (double)(effect->took.ms > 0 ? effect->took.ms : 0) / 1000;
    switch (effect->which) {
    case COUNT_STARTS_REFUSED:
        metric_add(&numbers->starts_refused[effect->problem], 1);
        break;
    case COUNT_RECONCILE_FOUND:
        metric_add(&numbers->reconcile_found, 1);
        break;
    case COUNT_MALFORMED:
        metric_add(&numbers->malformed[source], 1);
        break;
    case COUNT_UNREADABLE:
        metric_add(&numbers->unreadable, 1);
        break;
    case COUNT_OBSERVED:
        metric_add(&numbers->observed, 1);
        break;
    case COUNT_LATE:
        metric_add(&numbers->late, 1);
        break;
    case COUNT_UNRESPONSIVE: /* a gauge: counted when it is read */
        break;
    case COUNT_TOLD:
        metric_observe(&numbers->told_and_stopped[0], seconds);
        break;
    case COUNT_STOPPED:
        metric_observe(&numbers->told_and_stopped[1], seconds);
        break;
    }
}

static void read_gauges(struct numbers *numbers, const struct agent *agent, struct instant now)
{
    struct agent_run_view view;
    for (int i = 0; i < RUN_STATE_COUNT; i++)
        metric_set(&numbers->runs[i], 0);
    metric_set(&numbers->unresponsive, 0);
    for (size_t at = 0; agent_next_run(agent, &at, now, &view);) {
        metric_add(&numbers->runs[view.state], 1);
        if (run_is_live(view.state) && (view.flags & RUN_FLAG_UNRESPONSIVE) != 0)
            metric_add(&numbers->unresponsive, 1);
    }
    metric_set(&numbers->link_up, agent_is_linked(agent) ? 1 : 0);
    metric_set(&numbers->quarantined, agent_is_quarantined(agent) ? 1 : 0);
    metric_set(&numbers->isolated, (double)agent_isolated_for(agent, now).ms / 1000);
}

void numbers_print(struct numbers *numbers, const struct agent *agent, struct instant now,
                   struct buf *out)
{
    read_gauges(numbers, agent, now);
    const struct metric table[] = {
        {"brakewire_cancel_propagation_seconds",
         "From the request of a cancel to a run here being told, and to its end.", METRIC_HISTOGRAM,
         numbers->told_and_stopped, 2},
        /* the first two states are of ids, never of a run here */
        {"brakewire_runs", "Runs this agentd knows, ended ones for 15 minutes.", METRIC_GAUGE,
         &numbers->runs[RUN_PENDING], RUN_STATE_COUNT - RUN_PENDING},
        {"brakewire_cancels_total", "Cancels asked for here, by their outcome.", METRIC_COUNTER,
         numbers->cancels, OUTCOME_COUNT},
        {"brakewire_cancels_not_durable_total",
         "Cancels answered with less durability than was asked for.", METRIC_COUNTER,
         &numbers->not_durable, 1},
        {"brakewire_starts_refused_total", "Runs that were not allowed to start, by code.",
         METRIC_COUNTER, &numbers->starts_refused[PROBLEM_NONE + 1], PROBLEM_COUNT - 1},
        {"brakewire_unresponsive_runs",
         "Live runs that did not stop although everything was tried.", METRIC_GAUGE,
         &numbers->unresponsive, 1},
        {"brakewire_redis_link_up", "1 while Redis answers.", METRIC_GAUGE, &numbers->link_up, 1},
        {"brakewire_redis_moved_total", "Commands that a server of a cluster sent to another one.",
         METRIC_COUNTER, &numbers->moved, 1},
        {"brakewire_redis_isolated_seconds",
         "For how long Redis has been out of reach, once that is longer than the lease; else 0.",
         METRIC_GAUGE, &numbers->isolated, 1},
        {"brakewire_quarantined", "1 while no new run starts here because SIGKILL has failed.",
         METRIC_GAUGE, &numbers->quarantined, 1},
        {"brakewire_reconcile_found_total", "Cancels that no message had told of.", METRIC_COUNTER,
         &numbers->reconcile_found, 1},
        {"brakewire_malformed_total",
         "Messages, records and contexts that nobody understands or believes.", METRIC_COUNTER,
         numbers->malformed, MALFORMED_COUNT},
        {"brakewire_unreadable_cancels_total",
         "Cancels, published or stored, of a version not spoken here: obeyed all the same.",
         METRIC_COUNTER, &numbers->unreadable, 1},
        {"brakewire_remote_cancels_total",
         "Other programs asked to cancel, sent and then by what came of it.", METRIC_COUNTER,
         numbers->remote, REMOTE_OUTCOME_COUNT},
        {"brakewire_observed_total", "Runs that mode observe would have stopped.", METRIC_COUNTER,
         &numbers->observed, 1},
        {"brakewire_late_total", "Runs found below a cancel that they should not have outlived.",
         METRIC_COUNTER, &numbers->late, 1},
        {"brakewire_build_info", "What is running.", METRIC_GAUGE, &numbers->build, 1},
    };
    metrics_print(table, sizeof table / sizeof table[0], out);
}
