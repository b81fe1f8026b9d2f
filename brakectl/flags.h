/* Flags of a command, from one table: parsing (getopt_long) and help come from it. */
#ifndef BRAKECTL_FLAGS_H
#define BRAKECTL_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/mono.h"

enum flag_kind {
    FLAG_YES,    /* bool */
    FLAG_TEXT,   /* const char * */
    FLAG_NUMBER, /* int64_t, not negative */
    FLAG_SPAN,   /* struct span: 500ms, 10s, 5m, 2h, or a bare number of ms */
    FLAG_CHOICE, /* const char *, one of the words of `value`, "a|b|c" */
    FLAG_LIST    /* struct flag_list; given again, it adds */
};

enum { FLAG_LIST_MAX = 16 };
struct flag_list {
    size_t count;
    const char *item[FLAG_LIST_MAX];
};

struct flag {
    const char *name; /* without the dashes */
    enum flag_kind kind;
    size_t offset;     /* of its field in the settings */
    const char *value; /* how help names the value; NULL for FLAG_YES */
    const char *help;
};

/* One table and the struct that it fills; what is not given is left alone. */
struct flag_set {
    const struct flag *flag;
    size_t count;
    void *settings;
};

#define FLAGS(table, into) \
    {.flag = (table), .count = sizeof(table) / sizeof *(table), .settings = (into)}

enum { FLAGS_MAX = 40 }; /* in all sets together */

enum flags_outcome { FLAGS_GO, FLAGS_HELP, FLAGS_BAD /* said why on stderr */ };

/* Reads argv[1..]; words that are not flags are left, from *rest on. in_order: the first of them
 * ends the flags, as for a command whose own flags follow. `whose`: what was called, for what is
 * said of a wrong flag: "brakectl runs". */
enum flags_outcome flags_read(const struct flag_set *sets, size_t count, const char *whose,
                              bool in_order, int argc, char *argv[], int *rest);
/* False, and said on stderr: --name was given a number outside of least..most. */
bool flag_is_within(const char *whose, const char *name, int64_t value, int64_t least,
                    int64_t most);
void flags_help(const struct flag_set *set, FILE *out);
bool flag_parse_span(const char *text, struct span *out);

#endif
