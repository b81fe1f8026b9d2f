/* Options from one table: flags, environment, file. Precedence: flag > environment > file >
 * default.
 *
 *     --redis-url=U   BRAKEWIRE_REDIS_URL=U   redis_url = U        (one name: redis_url)
 *
 * The file is `name = value` lines, '#' starts a comment line. An unknown key is an error
 * everywhere (in the environment: any unknown BRAKEWIRE_*, except those in
 * conf_program.env_ignored and what Kubernetes tells of a service brakewire-*). A secret is given
 * by NAME_FILE only: its option has type CONF_SECRET_FILE and holds the path; the content is read
 * once, trailing newline removed, and never printed. A file that everybody may write is refused,
 * and one that everybody may read when it holds a secret, or a URL with a password. */
#ifndef IO_CONF_H
#define IO_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum conf_type {
    CONF_TEXT,        /* char *  */
    CONF_INT,         /* int64_t */
    CONF_BOOL,        /* bool; a flag without a value means true */
    CONF_SPAN,        /* struct span; written 500ms, 10s, 5m, 24h, or a bare number of ms */
    CONF_CHOICE,      /* int: index into `choices` */
    CONF_SECRET_FILE, /* char *: the content of the file; the option's value is the path */
    CONF_TEXT_LIST    /* struct conf_list; the flag may be repeated, else comma separated */
};
struct conf_list {
    size_t count;
    char **item;
};
struct conf_option {
    const char *name; /* redis_url */
    enum conf_type type;
    size_t offset;        /* of the field in the program's struct */
    const char *fallback; /* in the form a person writes; NULL: none */
    int64_t min, max;     /* INT and SPAN (ms); both 0: no bounds */
    const char *choices;  /* "observe|notify|enforce" */
    const char *unit;     /* for help: "URL", "PATH", … NULL: by type */
    char letter;          /* short flag, 0: none */
    const char *help;
};
struct conf_program {
    const char *name, *about; /* brakewire-agentd; one sentence */
    const char *usage;        /* "brakewire-agentd [OPTIONS]" */
    const char *examples;     /* block of text shown last in --help */
    const struct conf_option *option;
    size_t option_count;
    const char *const *env_ignored; /* NULL-terminated, may be NULL; conf_env_of_runs */
    /* Asked when all values were read, for --check-config too; may be NULL. */
    bool (*is_sound)(const void *settings, const char **why);
    bool takes_rest; /* words after the options (or after "--") are left for the program */
    bool takes_file; /* adds --config FILE, --print-config, --check-config */
};

/* What clients and runs have in their environment, where a daemon may be started too. */
extern const char *const conf_env_of_runs[];

enum conf_outcome {
    CONF_GO,
    CONF_DONE /* printed help, version or config: exit 0 */,
    CONF_BAD /* said why: exit 2 */
};

/* Fills *settings (all strings owned by it; nothing is owned unless CONF_GO). rest_at: index in
 * argv of the first word left over; may be NULL. Words after the options are refused unless
 * takes_rest. */
enum conf_outcome conf_read(const struct conf_program *program, int argc, char *argv[],
                            void *settings, int *rest_at, FILE *out, FILE *err);
void conf_fini(const struct conf_program *program, void *settings);
/* In the file's form; conf_read() of it gives the same settings. Secrets appear as their path. */
void conf_print(const struct conf_program *program, const void *settings, FILE *out);

#endif
