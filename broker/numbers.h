/* What /metrics shows. */
#ifndef BROKER_NUMBERS_H
#define BROKER_NUMBERS_H

#include "core/broker.h"
#include "io/metrics.h"

enum cancel_outcome { OUTCOME_ACCEPTED, OUTCOME_ALREADY, OUTCOME_REFUSED, OUTCOME_COUNT };

/* An object with one owner; it must not move. */
struct numbers {
    struct metric_series cancels[OUTCOME_COUNT];
    struct metric_series runs_lost, deadlines, links, published, malformed, not_durable, orders;
    struct metric_series replicas[2], suspect, suspended, link_up, moved, holds_lock, build;
};

void numbers_init(struct numbers *numbers);
/* Of an answer to a cancel: was it less durable than asked for? */
void numbers_note_durability(struct numbers *numbers, const struct cancel_result *result);
void numbers_count(struct numbers *numbers, enum broker_fact fact);
/* The gauges are read off the core. */
void numbers_print(struct numbers *numbers, const struct broker *core, bool linked,
                   struct instant now, struct buf *out);

#endif
