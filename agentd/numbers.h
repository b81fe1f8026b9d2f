/* What /metrics shows. */
#ifndef AGENTD_NUMBERS_H
#define AGENTD_NUMBERS_H

#include "core/agent.h"
#include "io/metrics.h"

enum cancel_outcome { OUTCOME_ACCEPTED, OUTCOME_ALREADY, OUTCOME_REFUSED, OUTCOME_COUNT };
enum malformed_source { MALFORMED_CHANNEL, MALFORMED_STORE, MALFORMED_BAGGAGE, MALFORMED_COUNT };
enum { NUMBERS_LABEL_MAX = 40 };

/* An object with one owner; it must not move. */
struct numbers {
    struct metric_series told_and_stopped[2], cancels[OUTCOME_COUNT], malformed[MALFORMED_COUNT];
    struct metric_series runs[RUN_STATE_COUNT], starts_refused[PROBLEM_COUNT];
    struct metric_series unresponsive, link_up, moved, isolated, quarantined, reconcile_found,
        observed, late;
    struct metric_series not_durable, unreadable, build;
    struct metric_series remote[REMOTE_OUTCOME_COUNT];
    char remote_label[REMOTE_OUTCOME_COUNT][NUMBERS_LABEL_MAX];
    char run_label[RUN_STATE_COUNT][NUMBERS_LABEL_MAX];
    char refused_label[PROBLEM_COUNT][NUMBERS_LABEL_MAX];
};

void numbers_init(struct numbers *numbers);
/* Of an answer to a cancel: was it less durable than asked for? */
void numbers_note_durability(struct numbers *numbers, const struct cancel_result *result);
/* A DO_COUNT. source: of what the agent was looking at, should that be malformed. */
void numbers_count(struct numbers *numbers, const struct agent_effect *effect,
                   enum malformed_source source);
/* What came of asking another program to cancel. */
void numbers_note_remote(struct numbers *numbers, enum remote_outcome outcome);
/* The gauges are read off the agent. */
void numbers_print(struct numbers *numbers, const struct agent *agent, struct instant now,
                   struct buf *out);

#endif
