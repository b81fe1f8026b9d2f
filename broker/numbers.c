#include "broker/numbers.h"

#ifndef BRAKEWIRE_VERSION
#define BRAKEWIRE_VERSION "unknown"
#endif

void numbers_init(struct numbers *numbers)
{
    *numbers = (struct numbers){
        .cancels = {{.labels = "outcome=\"accepted\""},
                    {.labels = "outcome=\"already\""},
                    {.labels = "outcome=\"refused\""}},
        .replicas = {{.labels = "leased=\"yes\""}, {.labels = "leased=\"no\""}},
        .malformed = {.labels = "source=\"store\""},
        .build = {.labels = "version=\"" BRAKEWIRE_VERSION "\"", .value = 1},
    };
}

void numbers_note_durability(struct numbers *numbers, const struct cancel_result *result)
{
    if (result->not_durable != NULL)
        metric_add(&numbers->not_durable, 1);
}

void numbers_count(struct numbers *numbers, enum broker_fact fact)
{
    if (fact == FACT_RUN_LOST)
        metric_add(&numbers->runs_lost, 1);
    else if (fact == FACT_DEADLINE_PASSED)
        metric_add(&numbers->deadlines, 1);
    else if (fact == FACT_LINK_FOLLOWED)
        metric_add(&numbers->links, 1);
    else if (fact == FACT_PUBLISHED_AGAIN)
        metric_add(&numbers->published, 1);
}

static void read_gauges(struct numbers *numbers, const struct broker *core, bool linked,
                        struct instant now)
{
    struct broker_replica_view view;
    metric_set(&numbers->replicas[0], 0);
    metric_set(&numbers->replicas[1], 0);
    for (size_t at = 0; broker_next_replica(core, &at, now, &view);)
        metric_add(&numbers->replicas[view.leased ? 0 : 1], 1);
    metric_set(&numbers->suspect, (double)broker_suspect_replicas(core));
    metric_set(&numbers->suspended, broker_sweep_suspended(core) ? 1 : 0);
    metric_set(&numbers->holds_lock, broker_holds_lock(core) ? 1 : 0);
    metric_set(&numbers->link_up, linked ? 1 : 0);
}

void numbers_print(struct numbers *numbers, const struct broker *core, bool linked,
                   struct instant now, struct buf *out)
{
    read_gauges(numbers, core, linked, now);
    const struct metric table[] = {
        {"brakewire_cancels_total", "Cancels asked for here, by their outcome.", METRIC_COUNTER,
         numbers->cancels, OUTCOME_COUNT},
        {"brakewire_cancels_not_durable_total",
         "Cancels answered with less durability than was asked for.", METRIC_COUNTER,
         &numbers->not_durable, 1},
        {"brakewire_runs_lost_total", "Runs that this broker declared lost.", METRIC_COUNTER,
         &numbers->runs_lost, 1},
        {"brakewire_deadlines_enforced_total",
         "Deadlines of runs whose agentd was gone, enforced here.", METRIC_COUNTER,
         &numbers->deadlines, 1},
        {"brakewire_orders_carried_out_total", "Fleet orders whose scan ended here.",
         METRIC_COUNTER, &numbers->orders, 1},
        {"brakewire_links_followed_total",
         "Links to other trees and programs that were cancelled from here.", METRIC_COUNTER,
         &numbers->links, 1},
        {"brakewire_published_again_total",
         "Trees whose cancels were published again because they had not stopped.", METRIC_COUNTER,
         &numbers->published, 1},
        {"brakewire_malformed_total", "Records that nobody understands.", METRIC_COUNTER,
         &numbers->malformed, 1},
        {"brakewire_replicas", "Known agentds, with a lease and without.", METRIC_GAUGE,
         numbers->replicas, 2},
        {"brakewire_suspect_replicas", "Agentds that have been without a lease for too long.",
         METRIC_GAUGE, &numbers->suspect, 1},
        {"brakewire_sweep_suspended",
         "1 while too many agentds are gone at once and nobody is declared lost.", METRIC_GAUGE,
         &numbers->suspended, 1},
        {"brakewire_sweep_holder", "1 while this broker is the one that sweeps.", METRIC_GAUGE,
         &numbers->holds_lock, 1},
        {"brakewire_redis_link_up", "1 while Redis answers.", METRIC_GAUGE, &numbers->link_up, 1},
        {"brakewire_redis_moved_total", "Commands that a server of a cluster sent to another one.",
         METRIC_COUNTER, &numbers->moved, 1},
        {"brakewire_build_info", "What is running.", METRIC_GAUGE, &numbers->build, 1},
    };
    metrics_print(table, sizeof table / sizeof table[0], out);
}
