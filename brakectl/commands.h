/* The one table of commands. */
#ifndef BRAKECTL_COMMANDS_H
#define BRAKECTL_COMMANDS_H

#include "brakectl/ctl.h"

struct command {
    const char *name;
    const char *words; /* what follows the flags, for help: "RUN", "-- COMMAND [ARG...]", "" */
    const char *about; /* a sentence */
    const char *examples;
    const struct flag *flag;
    size_t flag_count;
    size_t settings_size;
    bool in_order;            /* the first word ends the flags: the rest is somebody else's */
    bool is_hidden;           /* runs for another command, not for people */
    int words_min, words_max; /* words_max -1: any number */
    const void *defaults;     /* settings_size bytes to start from; NULL: zeros */
    /* words[count] is NULL. Returns the exit code. */
    int (*run)(const struct ctl *ctl, const void *settings, int count, char *words[]);
};

enum { SETTINGS_MAX = 1024 };

#define COMMAND_FLAGS(table)   .flag = (table), .flag_count = sizeof(table) / sizeof *(table)
#define COMMAND_SETTINGS(type) .settings_size = sizeof(type)

extern const struct command command_cancel, command_check, command_demo, command_demo_agent,
    command_events, command_exec, command_order, command_replica, command_runs, command_tree,
    command_up;

/* Everything but main(). */
int commands_main(int argc, char *argv[]);

#endif
