/* Everything on one machine: a private Redis or Valkey on a Unix socket, a broker, agentds. For
 * `up`, for `demo`, and for whoever wants to try something.
 *
 * All of it lives in one folder: sockets, data, log/. */
#ifndef BRAKECTL_STACK_H
#define BRAKECTL_STACK_H

#include "brakectl/program.h"

enum { STACK_AGENTDS_MAX = 8, STACK_EXTRA_MAX = 8 };

struct stack_options {
    const char *folder; /* made if it is not there */
    unsigned agentds;
    unsigned port;      /* of the broker; 0: any free one; a taken one is an error */
    bool keeps_data;    /* Redis writes an append-only file into the folder */
    const char *cgroup; /* for the first agentd; NULL: none */
    const char *agentd_extra[STACK_EXTRA_MAX]; /* more flags for every agentd; NULL ends */
    const char *broker_extra[STACK_EXTRA_MAX];
};

struct stack {
    struct stack_options options;
    char folder[PROGRAM_PATH_MAX];
    int lock; /* held while we live: two stacks in one folder would share their sockets */
    struct program redis, broker, agentd[STACK_AGENTDS_MAX];
    char redis_socket[PROGRAM_PATH_MAX];
    char broker_url[64];
    char agentd_socket[STACK_AGENTDS_MAX][PROGRAM_PATH_MAX];
};

/* Returns when all of it is ready. On an error it has said why on stderr and stopped everything. */
enum err stack_start(struct stack *stack, const struct stack_options *options) MUST_CHECK;
void stack_stop(struct stack *stack);
/* SIGKILL, and nothing is told to anybody. */
void stack_kill_agentd(struct stack *stack, unsigned which);
enum err stack_restart_agentd(struct stack *stack, unsigned which) MUST_CHECK;
/* The first daemon that has ended by itself, NULL while all run. */
const struct program *stack_find_dead(struct stack *stack);

#endif
