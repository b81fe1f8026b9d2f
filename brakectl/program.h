/* A program that we start, watch and stop: a daemon of ours, or a Redis. It dies with us. */
#ifndef BRAKECTL_PROGRAM_H
#define BRAKECTL_PROGRAM_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/mono.h"

enum { PROGRAM_PATH_MAX = 256, PROGRAM_NAME_MAX = 24 };

struct program {
    pid_t pid; /* 0: not running */
    char name[PROGRAM_NAME_MAX];
    char log[PROGRAM_PATH_MAX]; /* its stdout and stderr, appended */
};

/* The program beside our own, else `name` as PATH has it. Returns out. */
const char *program_find(const char *name, char out[PROGRAM_PATH_MAX]);
/* name and log are set already. In a session of its own, so that a Ctrl-C is ours alone to pass on;
 * without the BRAKEWIRE_* and BAGGAGE of our environment, which are meant for us; with the
 * "NAME=value" of `environment` (NULL-terminated; NULL: nothing) added. */
enum err program_start(struct program *program, const char *const argv[],
                       const char *const environment[]) MUST_CHECK;
bool program_is_running(struct program *program);
/* Ends it by its pid: the signal, after `patience` SIGKILL; returns when it is gone. */
void program_stop(struct program *program, int signal, struct span patience);
/* The last lines of its log on stderr, for a start that failed. */
void program_show_log(const struct program *program);

#endif
