/* Happy path: conf_read_flags, conf_read_env, conf_read_file each keep the text that counts;
 * apply() then turns the texts into values, so that an overridden one is never looked at. */
#include "io/conf.h"

#include <ctype.h>
#include <string.h>

#include "base/mem.h"
#include "io/conf_parts.h"

/* ---- what was given -------------------------------------------------------------------------- */

static char *joined(const char *first, struct str second)
{
    struct buf text = {0};
    buf_addf(&text, "%s,", first);
    buf_add_str(&text, second);
    char *copy = text.failed ? NULL : mem_copy(buf_str(&text));
    buf_fini(&text);
    return copy;
}

/* Sources are read in falling order of weight, so what is there already counts; only flags may
 * follow flags: the last one wins, those of a list add up. */
bool conf_give(struct conf_reading *reading, const struct conf_option *option, struct str text,
               enum conf_source source, unsigned line)
{
    struct conf_given *given = &reading->given[option - reading->program->option];
    if (given->text != NULL && given->source != source)
        return true;
    bool adds = given->text != NULL && option->type == CONF_TEXT_LIST;
    char *copy = adds ? joined(given->text, text) : mem_copy(text);
    if (copy == NULL) {
        fprintf(reading->err, "%s: out of memory\n", reading->program->name);
        return false;
    }
    mem_free(given->text);
    *given = (struct conf_given){copy, source, line};
    return true;
}

/* ---- values ---------------------------------------------------------------------------------- */

static void tell_bad_value(const struct conf_reading *reading, const struct conf_option *option,
                           const struct conf_given *given, const char *text, const char *why)
{
    struct buf name = {0};
    switch (given->source) {
    case CONF_FROM_FLAG:
        conf_flag_name(option->name, &name);
        buf_addf(&name, "=%s", text);
        break;
    case CONF_FROM_ENV:
        conf_env_name(option->name, &name);
        buf_addf(&name, "=%s in the environment", text);
        break;
    case CONF_FROM_FILE:
        buf_addf(&name, "%s:%u: %s = %s", reading->file, given->line, option->name, text);
        break;
    case CONF_FROM_DEFAULT:
        buf_addf(&name, "%s = %s, its default,", option->name, text);
        break;
    }
    fprintf(reading->err, "%s: %s %s\n", reading->program->name, name.bytes, why);
    buf_fini(&name);
}

static bool apply(const struct conf_reading *reading, void *settings)
{
    struct buf why = {0};
    bool good = true;
    for (size_t i = 0; i < reading->program->option_count; i++) {
        const struct conf_option *option = &reading->program->option[i];
        const struct conf_given *given = &reading->given[i];
        const char *text = given->text != NULL ? given->text : option->fallback;
        if (text == NULL)
            continue;
        buf_clear(&why);
        enum err err = conf_value_set(option, text, settings, &why);
        if (err != ERR_OK) {
            tell_bad_value(reading, option, given, text, why.len > 0 ? why.bytes : err_text(err));
            good = false;
        }
    }
    buf_fini(&why);
    return good;
}

static bool is_sound(const struct conf_reading *reading, const void *settings)
{
    const char *why = NULL;
    if (reading->program->is_sound == NULL || reading->program->is_sound(settings, &why))
        return true;
    fprintf(reading->err, "%s: %s\n", reading->program->name, why);
    return false;
}

static size_t type_size(enum conf_type type)
{
    static const size_t sizes[] = {
        [CONF_TEXT] = sizeof(char *),
        [CONF_INT] = sizeof(int64_t),
        [CONF_BOOL] = sizeof(bool),
        [CONF_SPAN] = sizeof(int64_t),
        [CONF_CHOICE] = sizeof(int),
        [CONF_SECRET_FILE] = sizeof(char *),
        [CONF_TEXT_LIST] = sizeof(struct conf_list),
    };
    return sizes[type];
}

static void clear_fields(const struct conf_program *program, void *settings)
{
    for (size_t i = 0; i < program->option_count; i++)
        memset((char *)settings + program->option[i].offset, 0, type_size(program->option[i].type));
}

static enum conf_outcome read_all(struct conf_reading *reading, int argc, char *argv[],
                                  void *settings, int *rest_at)
{
    enum conf_outcome outcome = conf_read_flags(reading, argc, argv, rest_at);
    if (outcome != CONF_GO)
        return outcome;
    if (!conf_read_env(reading) || !conf_read_file(reading) || !apply(reading, settings)
        || !is_sound(reading, settings))
        return CONF_BAD;
    if (reading->prints)
        conf_print(reading->program, settings, reading->out);
    else if (reading->checks)
        fprintf(reading->out, "%s: the configuration makes sense\n", reading->program->name);
    return reading->prints || reading->checks ? CONF_DONE : CONF_GO;
}

enum conf_outcome conf_read(const struct conf_program *program, int argc, char *argv[],
                            void *settings, int *rest_at, FILE *out, FILE *err)
{
    int unheard;
    struct conf_reading reading = {.program = program, .out = out, .err = err};
    reading.given = mem_new((program->option_count + 1) * sizeof *reading.given);
    clear_fields(program, settings);
    if (reading.given == NULL) {
        fprintf(err, "%s: out of memory\n", program->name);
        return CONF_BAD;
    }
    enum conf_outcome outcome =
        read_all(&reading, argc, argv, settings, rest_at != NULL ? rest_at : &unheard);
    if (outcome != CONF_GO)
        conf_fini(program, settings);
    for (size_t i = 0; i < program->option_count; i++)
        mem_free(reading.given[i].text);
    mem_free(reading.given);
    mem_free(reading.file);
    return outcome;
}

void conf_fini(const struct conf_program *program, void *settings)
{
    for (size_t i = 0; i < program->option_count; i++)
        conf_value_fini(&program->option[i], settings);
}

/* ---- printing -------------------------------------------------------------------------------- */

static bool needs_quotes(struct str text)
{
    if (text.len == 0 || text.at[0] == '"' || isspace((unsigned char)text.at[0])
        || isspace((unsigned char)text.at[text.len - 1]))
        return true;
    return memchr(text.at, '\n', text.len) != NULL || memchr(text.at, '\r', text.len) != NULL;
}

static void print_quoted(struct str text, FILE *out)
{
    fputc('"', out);
    for (size_t i = 0; i < text.len; i++) {
        char byte = text.at[i];
        if (byte == '"' || byte == '\\' || byte == '\n' || byte == '\r')
            fputc('\\', out);
        fputc(byte == '\n' ? 'n' : byte == '\r' ? 'r' : byte, out);
    }
    fputc('"', out);
}

void conf_print(const struct conf_program *program, const void *settings, FILE *out)
{
    for (size_t i = 0; i < program->option_count; i++) {
        const struct conf_option *option = &program->option[i];
        struct buf text = {0};
        bool has_value = conf_value_text(option, settings, &text);
        fprintf(out, "%s%s =%s", has_value ? "" : "# ", option->name, has_value ? " " : "");
        if (has_value && needs_quotes(buf_str(&text)))
            print_quoted(buf_str(&text), out);
        else if (has_value)
            fputs(text.bytes, out);
        fputc('\n', out);
        buf_fini(&text);
    }
}
