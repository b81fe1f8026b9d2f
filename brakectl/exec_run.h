/* What `exec` says to the agentd about its run. Every call is safe to repeat: an agentd that was
 * restarted is told the whole story again. */
#ifndef BRAKECTL_EXEC_RUN_H
#define BRAKECTL_EXEC_RUN_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "brakectl/ctl.h"
#include "brakectl/exec.h"

enum { SECRET_LEN = 32 };

struct exec_run {
    const char *where;
    struct http_client *http;
    char client_token[SECRET_LEN + 1]; /* who we are to the agentd */
    char run_token[SECRET_LEN + 1];    /* marks the processes of the run, in their environment */
    json_t *request;                   /* what we register with, again after each reconnect */
    char run_id[72], root[72], state[16];
    int64_t epoch;
    struct buf environment; /* for the command: "NAME=value" entries, the last one empty */
};

enum exec_verdict {
    EXEC_GOOD,
    EXEC_AWAY,   /* nobody answers, or not now: try again */
    EXEC_REFUSED /* this run is not ours to carry (any more) */
};

/* False: said why on stderr (wrong usage). */
bool exec_run_init(struct exec_run *run, const struct ctl *ctl,
                   const struct exec_settings *settings, pid_t command);
void exec_run_fini(struct exec_run *run);

/* The caller owes answer_fini() for `answer`, whatever comes. */
enum exec_verdict exec_run_register(struct exec_run *run, struct answer *answer);
void exec_run_ack(struct exec_run *run, const char *phase);
void exec_run_look(struct exec_run *run, struct answer *answer); /* what the agentd knows of it */
/* state: as it ended; run->state becomes what is recorded. */
enum exec_verdict exec_run_end(struct exec_run *run, const char *state, bool by_subreaper);

#endif
