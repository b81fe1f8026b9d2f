/* `brakectl exec`: one process tree as one run. */
#ifndef BRAKECTL_EXEC_H
#define BRAKECTL_EXEC_H

#include "brakectl/flags.h"

struct exec_settings {
    const char *run_id, *parent, *root, *baggage, *agent, *thread;
    bool entry, strict;
    struct flag_list labels;
    struct span deadline, grace, term_grace, end_wait;
    const char *signal, *on_cancel, *notice_signal;
    const char *on_end, *on_lost, *on_client_gone, *when_isolated, *collateral;
    const char *linked_from, *retry_of, *resumed_from;
};

/* The number of TERM, SIGTERM or 15; 0: no such signal. */
int signal_of(const char *name);

#endif
