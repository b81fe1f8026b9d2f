/* The words of the command line. */
#include <string.h>

#include "base/mem.h"
#include "io/conf_parts.h"

#ifndef BRAKEWIRE_VERSION
#define BRAKEWIRE_VERSION "dev"
#endif

static bool is_own_flag(struct conf_reading *reading, struct str name, const char *value)
{
    bool with_file = reading->program->takes_file;
    bool prints = with_file && str_is(name, "print-config");
    bool checks = with_file && str_is(name, "check-config");
    reading->prints = reading->prints || prints;
    reading->checks = reading->checks || checks;
    return value == NULL && (prints || checks);
}

static bool tell_unknown_flag(const struct conf_reading *reading, const char *word, struct str name)
{
    struct buf hint = {0};
    const struct conf_option *near = conf_nearest(reading->program, name);
    if (near != NULL) {
        buf_add_text(&hint, "; did you mean ");
        conf_flag_name(near->name, &hint);
        buf_add_text(&hint, "?");
    }
    fprintf(reading->err, "%s: %s: no such option%s (--help lists them)\n", reading->program->name,
            word, near != NULL ? hint.bytes : "");
    buf_fini(&hint);
    return false;
}

static bool tell_missing_value(const struct conf_reading *reading, const char *word)
{
    fprintf(reading->err, "%s: %s needs a value\n", reading->program->name, word);
    return false;
}

/* Names are written with '-' in flags; `out` gets the form of the table. */
static struct str plain_name(struct str flag, char *out, size_t room)
{
    size_t len = flag.len < room ? flag.len : room;
    for (size_t i = 0; i < len; i++)
        out[i] = flag.at[i] == '-' ? '_' : flag.at[i];
    return (struct str){out, len};
}

/* `next` is the word after it, NULL at the end; `used` counts the words taken. */
static bool read_long_flag(struct conf_reading *reading, const char *word, const char *next,
                           int *used)
{
    char text[128];
    struct str value = str_of(word + 2);
    struct str flag = str_cut(&value, '=');
    bool has_value = flag.len < strlen(word + 2);
    if (is_own_flag(reading, flag, has_value ? value.at : NULL))
        return true;
    bool is_config = reading->program->takes_file && str_is(flag, "config");
    struct str name = plain_name(flag, text, sizeof text);
    const struct conf_option *option = conf_find(reading->program, name);
    if (option == NULL && !is_config)
        return tell_unknown_flag(reading, word, name);
    if (!has_value && option != NULL && option->type == CONF_BOOL)
        return conf_give(reading, option, STR("true"), CONF_FROM_FLAG, 0);
    if (!has_value && next == NULL)
        return tell_missing_value(reading, word);
    if (!has_value) {
        value = str_of(next);
        *used = 2;
    }
    if (!is_config)
        return conf_give(reading, option, value, CONF_FROM_FLAG, 0);
    mem_free(reading->file);
    reading->file = mem_copy(value);
    return reading->file != NULL;
}

static bool read_letter(struct conf_reading *reading, const char *word, const char *next, int *used)
{
    const struct conf_program *program = reading->program;
    const struct conf_option *option = NULL;
    for (size_t i = 0; i < program->option_count; i++)
        if (program->option[i].letter == word[1])
            option = &program->option[i];
    if (option == NULL)
        return tell_unknown_flag(reading, word, STR_NONE);
    if (option->type == CONF_BOOL && word[2] == '\0')
        return conf_give(reading, option, STR("true"), CONF_FROM_FLAG, 0);
    if (word[2] != '\0')
        return conf_give(reading, option, str_of(word + 2), CONF_FROM_FLAG, 0);
    if (next == NULL)
        return tell_missing_value(reading, word);
    *used = 2;
    return conf_give(reading, option, str_of(next), CONF_FROM_FLAG, 0);
}

static bool prints_and_ends(const struct conf_reading *reading, const char *word)
{
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        conf_help(reading->program, reading->out);
    else if (strcmp(word, "--version") == 0)
        fprintf(reading->out, "%s %s\n", reading->program->name, BRAKEWIRE_VERSION);
    else
        return false;
    return true;
}

/* Stops at the first word that is no flag: the words after a command belong to the command. */
enum conf_outcome conf_read_flags(struct conf_reading *reading, int argc, char *argv[],
                                  int *rest_at)
{
    int at = 1;
    for (int used = 1; at < argc; at += used) {
        const char *word = argv[at], *next = at + 1 < argc ? argv[at + 1] : NULL;
        used = 1;
        if (word[0] != '-' || word[1] == '\0')
            break;
        if (strcmp(word, "--") == 0) {
            at++;
            break;
        }
        if (prints_and_ends(reading, word))
            return CONF_DONE;
        bool read = word[1] == '-' ? read_long_flag(reading, word, next, &used)
                                   : read_letter(reading, word, next, &used);
        if (!read)
            return CONF_BAD;
    }
    *rest_at = at;
    if (at == argc || reading->program->takes_rest)
        return CONF_GO;
    fprintf(reading->err, "%s: %s: only options are expected here (--help lists them)\n",
            reading->program->name, argv[at]);
    return CONF_BAD;
}
