/* One name in its three forms, and the nearest to a misspelt one. */
#include <ctype.h>

#include "io/conf_parts.h"

const struct conf_option *conf_find(const struct conf_program *program, struct str name)
{
    for (size_t i = 0; i < program->option_count; i++)
        if (str_is(name, program->option[i].name))
            return &program->option[i];
    return NULL;
}

void conf_flag_name(const char *name, struct buf *out)
{
    buf_add_text(out, "--");
    for (; *name != '\0'; name++)
        buf_add(out, *name == '_' ? "-" : name, 1);
}

void conf_env_name(const char *name, struct buf *out)
{
    buf_add_text(out, "BRAKEWIRE_");
    for (; *name != '\0'; name++) {
        char upper = (char)toupper((unsigned char)*name);
        buf_add(out, &upper, 1);
    }
}

/* Levenshtein: letters to add, drop or change. Long names never match; they have no misspelling
 * worth a guess. */
static size_t distance(struct str a, struct str b)
{
    enum { LONGEST = 64 };
    size_t row[LONGEST + 1];
    if (a.len > LONGEST || b.len > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t changed = diagonal + (a.at[i - 1] != b.at[j - 1] ? 1 : 0);
            size_t shorter = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = changed < shorter ? changed : shorter;
        }
    }
    return row[b.len];
}

const struct conf_option *conf_nearest(const struct conf_program *program, struct str name)
{
    const struct conf_option *nearest = NULL;
    size_t least = name.len / 3 + 2;
    for (size_t i = 0; i < program->option_count; i++) {
        size_t far = distance(name, str_of(program->option[i].name));
        if (far < least) {
            least = far;
            nearest = &program->option[i];
        }
    }
    return nearest;
}
