/* The two sources that are not flags: the file and the environment. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/conf_parts.h"
#include "io/secret_file.h"

enum { LINE_MAX_BYTES = 64 << 10 };
static const char env_prefix[] = "BRAKEWIRE_";

const char *const conf_env_of_runs[] = {
    "BRAKEWIRE_AGENTD", "BRAKEWIRE_BROKER", "BRAKEWIRE_RUN_ID",    "BRAKEWIRE_ROOT",
    "BRAKEWIRE_EPOCH",  "BRAKEWIRE_TOKEN",  "BRAKEWIRE_RUN_TOKEN", NULL,
};

/* BRAKEWIRE_BROKER_SERVICE_HOST, BRAKEWIRE_BROKER_PORT_7319_TCP_ADDR, ...: every pod beside a
 * service of that name has them. */
static bool is_of_kubernetes(struct str name)
{
    static const char *const marks[] = {"_SERVICE_HOST", "_SERVICE_PORT", "_PORT_"};
    static const struct str port = {"_PORT", 5};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (memmem(name.at, name.len, marks[i], strlen(marks[i])) != NULL)
            return true;
    return name.len > port.len && memcmp(name.at + name.len - port.len, port.at, port.len) == 0;
}

static bool is_ignored(const struct conf_program *program, struct str name)
{
    if (is_of_kubernetes(name))
        return true;
    for (size_t i = 0; program->env_ignored != NULL && program->env_ignored[i] != NULL; i++)
        if (str_is(name, program->env_ignored[i]))
            return true;
    return false;
}

static const struct conf_option *find_by_env(const struct conf_program *program, struct str name)
{
    char lower[64];
    size_t skip = sizeof env_prefix - 1;
    if (name.len - skip >= sizeof lower)
        return NULL;
    for (size_t i = skip; i < name.len; i++)
        lower[i - skip] = (char)tolower((unsigned char)name.at[i]);
    return conf_find(program, (struct str){lower, name.len - skip});
}

static void tell_unknown_env(const struct conf_reading *reading, struct str name)
{
    char lower[64];
    struct buf hint = {0};
    size_t len = name.len - (sizeof env_prefix - 1);
    for (size_t i = 0; i < len && i < sizeof lower; i++)
        lower[i] = (char)tolower((unsigned char)name.at[name.len - len + i]);
    struct str plain = {lower, len < sizeof lower ? len : sizeof lower};
    const struct conf_option *near = conf_nearest(reading->program, plain);
    if (near != NULL) {
        buf_add_text(&hint, "; did you mean ");
        conf_env_name(near->name, &hint);
        buf_add_text(&hint, "?");
    }
    fprintf(reading->err, "%s: %.*s in the environment: no such option%s\n", reading->program->name,
            (int)name.len, name.at, hint.len > 0 ? hint.bytes : "");
    buf_fini(&hint);
}

static bool read_variable(struct conf_reading *reading, const char *variable)
{
    struct str value = str_of(variable);
    struct str name = str_cut(&value, '=');
    size_t skip = sizeof env_prefix - 1;
    if (name.len <= skip || memcmp(name.at, env_prefix, skip) != 0
        || is_ignored(reading->program, name))
        return true;
    if (reading->program->takes_file && str_is(name, "BRAKEWIRE_CONFIG")) {
        if (reading->file == NULL)
            reading->file = mem_copy(value);
        return true;
    }
    const struct conf_option *option = find_by_env(reading->program, name);
    if (option == NULL) {
        tell_unknown_env(reading, name);
        return false;
    }
    return conf_give(reading, option, value, CONF_FROM_ENV, 0);
}

bool conf_read_env(struct conf_reading *reading)
{
    bool good = true;
    for (char **at = environ; at != NULL && *at != NULL; at++)
        good = read_variable(reading, *at) && good;
    return good;
}

static struct str trimmed(struct str text)
{
    while (text.len > 0 && isspace((unsigned char)text.at[0]))
        text = (struct str){text.at + 1, text.len - 1};
    while (text.len > 0 && isspace((unsigned char)text.at[text.len - 1]))
        text.len--;
    return text;
}

/* A value that a plain line cannot carry (blanks at its ends, newlines) stands in quotes. */
static bool unquote(struct str *value, struct buf *room)
{
    if (value->len == 0 || value->at[0] != '"')
        return true;
    if (value->len < 2 || value->at[value->len - 1] != '"')
        return false;
    buf_clear(room);
    buf_add_text(room, "");
    for (size_t i = 1; i + 1 < value->len; i++) {
        char byte = value->at[i];
        if (byte == '"')
            return false;
        if (byte == '\\') {
            byte = value->at[++i];
            if (i + 1 == value->len)
                return false;
            byte = byte == 'n' ? '\n' : byte == 'r' ? '\r' : byte;
        }
        buf_add(room, &byte, 1);
    }
    *value = buf_str(room);
    return !room->failed;
}

static bool refuse_line(const struct conf_reading *reading, unsigned line, struct str name,
                        const char *what, const char *hint)
{
    fprintf(reading->err, "%s: %s:%u: %.*s%s%s%s\n", reading->program->name, reading->file, line,
            (int)name.len, name.at, name.len > 0 ? ": " : "", what, hint);
    return false;
}

static bool refuse_unknown(const struct conf_reading *reading, unsigned line, struct str name)
{
    struct buf hint = {0};
    const struct conf_option *near = conf_nearest(reading->program, name);
    if (near != NULL)
        buf_addf(&hint, "; did you mean %s?", near->name);
    (void)refuse_line(reading, line, name, "no such option", near != NULL ? hint.bytes : "");
    buf_fini(&hint);
    return false;
}

static bool read_line(struct conf_reading *reading, struct str text, unsigned line,
                      unsigned *first_line, struct buf *room)
{
    struct str value = trimmed(text);
    if (value.len == 0 || value.at[0] == '#')
        return true;
    if (memchr(value.at, '=', value.len) == NULL)
        return refuse_line(reading, line, STR_NONE, "a line is written `name = value`", "");
    struct str name = trimmed(str_cut(&value, '='));
    value = trimmed(value);
    const struct conf_option *option = conf_find(reading->program, name);
    if (option == NULL)
        return refuse_unknown(reading, line, name);
    if (!unquote(&value, room))
        return refuse_line(reading, line, name, "a quote is not closed", "");
    unsigned *first = &first_line[option - reading->program->option];
    if (*first != 0)
        return refuse_line(reading, line, name, "was given further up already", "");
    *first = line;
    return conf_give(reading, option, value, CONF_FROM_FILE, line);
}

static bool read_lines(struct conf_reading *reading, FILE *file, unsigned *first_line)
{
    char *text = NULL;
    size_t text_room = 0;
    ssize_t len;
    struct buf room = {.limit = LINE_MAX_BYTES};
    bool good = true;
    for (unsigned line = 1; (len = getline(&text, &text_room, file)) >= 0; line++)
        good = read_line(reading, (struct str){text, (size_t)len}, line, first_line, &room) && good;
    free(text);
    buf_fini(&room);
    return good;
}

/* redis://user:password@host */
static bool has_password(const char *text)
{
    const char *rest = strstr(text, "://");
    if (rest == NULL)
        return false;
    struct str server = {rest + 3, strcspn(rest + 3, "/?#")};
    const char *end = memrchr(server.at, '@', server.len);
    return end != NULL && memchr(server.at, ':', (size_t)(end - server.at)) != NULL;
}

static bool holds_a_secret(const struct conf_reading *reading)
{
    for (size_t i = 0; i < reading->program->option_count; i++) {
        const struct conf_given *given = &reading->given[i];
        if (given->text != NULL && given->source == CONF_FROM_FILE && has_password(given->text))
            return true;
    }
    return false;
}

/* Whoever may write it decides which Redis is believed; whoever reads a password has it. */
static bool is_closed(const struct conf_reading *reading, FILE *file)
{
    struct buf why = {0};
    bool closed = secret_file_is_closed(fileno(file), reading->file, holds_a_secret(reading), &why);
    if (!closed)
        fprintf(reading->err, "%s: %s: %s\n", reading->program->name, reading->file, why.bytes);
    buf_fini(&why);
    return closed;
}

bool conf_read_file(struct conf_reading *reading)
{
    if (reading->file == NULL)
        return true;
    FILE *file = fopen(reading->file, "re");
    unsigned *first_line = mem_new((reading->program->option_count + 1) * sizeof *first_line);
    bool good = file != NULL && first_line != NULL && read_lines(reading, file, first_line)
                && ferror(file) == 0 && is_closed(reading, file);
    if (file == NULL || ferror(file) != 0)
        fprintf(reading->err, "%s: %s: cannot be read: %s\n", reading->program->name, reading->file,
                strerror(errno));
    if (file != NULL)
        fclose(file);
    mem_free(first_line);
    return good;
}
