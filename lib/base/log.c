#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mono.h"
#include "base/str.h"

enum { FIELDS_MAX = 4096, LINE_MAX_BYTES = 8192 };

static enum log_level shown = LOG_INFO;
static bool in_json;
static const char *program_name = "brakewire";

static const char *const level_name[] = {
    [LOG_ERROR] = "error",
    [LOG_WARN] = "warn",
    [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug",
};

void log_setup(enum log_level level, bool json, const char *program)
{
    shown = level;
    in_json = json;
    program_name = program;
}

bool log_level_parse(const char *text, enum log_level *out)
{
    for (size_t i = 0; i < sizeof level_name / sizeof *level_name; i++) {
        if (strcmp(text, level_name[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* Text with a fixed end. Once something did not fit, nothing more is added. */
struct line {
    char *bytes;
    size_t len, room; /* room: without the NUL */
    bool full;
};

static void add(struct line *line, const char *bytes, size_t len)
{
    line->full = line->full || len > line->room - line->len;
    if (line->full)
        return;
    memcpy(line->bytes + line->len, bytes, len);
    line->len += len;
    line->bytes[line->len] = '\0';
}

static void add_text(struct line *line, const char *text)
{
    add(line, text, strlen(text));
}

/* Adds the first character of `text` as it stands inside a JSON string; returns its length. */
static size_t add_escaped(struct line *line, struct str text)
{
    static const char plain[] = "\"\\\n\r\t", letter[] = "\"\\nrt";
    const char *found = text.at[0] != '\0' ? strchr(plain, text.at[0]) : NULL;
    size_t len = str_utf8_length(text);
    if (found != NULL) {
        add(line, (char[]){'\\', letter[found - plain]}, 2);
        return 1;
    }
    if (len == 0) {
        add_text(line, "\\ufffd");
        return 1;
    }
    if ((unsigned char)text.at[0] < 0x20 || text.at[0] == 0x7f) {
        char code[8];
        snprintf(code, sizeof code, "\\u%04x", (unsigned char)text.at[0]);
        add_text(line, code);
        return 1;
    }
    add(line, text.at, len);
    return len;
}

static void add_quoted(struct line *line, struct str text)
{
    add_text(line, "\"");
    while (text.len > 0 && !line->full) {
        size_t len = add_escaped(line, text);
        text = (struct str){text.at + len, text.len - len};
    }
    add_text(line, "\"");
}

const char *log_quoted(const char *text, char *out, unsigned long room)
{
    if (room < 3) { /* not even "" */
        if (room > 0)
            out[0] = '\0';
        return out;
    }
    struct line line = {.bytes = out, .room = room - 2}; /* the closing quote always fits */
    struct str rest = str_of(text);
    add_text(&line, "\"");
    while (rest.len > 0 && !line.full) {
        size_t len = add_escaped(&line, rest);
        rest = (struct str){rest.at + len, rest.len - len};
    }
    line.full = false;
    line.room++;
    add_text(&line, "\"");
    return out;
}

static void skip_blanks(struct str *rest)
{
    while (rest->len > 0 && rest->at[0] == ' ')
        *rest = (struct str){rest->at + 1, rest->len - 1};
}

/* The value at the start of `rest`, cut off with the blanks behind it. A quoted one keeps its
 * quotes: log_quoted() writes what JSON reads. */
static struct str cut_value(struct str *rest)
{
    if (rest->len == 0)
        return STR_NONE;
    bool quoted = rest->at[0] == '"';
    size_t len = quoted ? 1 : 0;
    while (len < rest->len && rest->at[len] != (quoted ? '"' : ' '))
        len += quoted && rest->at[len] == '\\' && len + 1 < rest->len ? 2 : 1;
    len += quoted && len < rest->len ? 1 : 0;

    struct str value = {rest->at, len};
    *rest = (struct str){rest->at + len, rest->len - len};
    skip_blanks(rest);
    return value;
}

static bool is_quoted_whole(struct str value)
{
    return value.len >= 2 && value.at[0] == '"' && value.at[value.len - 1] == '"';
}

/* The length of the JSON escape at the start of `text`, 0 if it is none. */
static size_t escape_length(struct str text)
{
    if (text.len < 2 || text.at[0] != '\\')
        return 0;
    if (text.at[1] != 'u')
        return text.at[1] != '\0' && strchr("\"\\/bfnrt", text.at[1]) != NULL ? 2 : 0;
    bool has_digits = text.len >= 6 && strspn(text.at + 2, "0123456789abcdefABCDEF") >= 4;
    return has_digits ? 6 : 0;
}

/* A value that is quoted already: its escapes stay, what should have been escaped is. */
static void add_requoted(struct line *line, struct str value)
{
    struct str rest = {value.at + 1, value.len - 2};
    add_text(line, "\"");
    while (rest.len > 0 && !line->full) {
        size_t len = escape_length(rest);
        if (len > 0)
            add(line, rest.at, len);
        else
            len = add_escaped(line, rest);
        rest = (struct str){rest.at + len, rest.len - len};
    }
    add_text(line, "\"");
}

/* Turns logfmt pairs into members. One that does not fit is left out with all behind it, so that
 * the line stays JSON. */
static void add_members(struct line *line, struct str rest)
{
    skip_blanks(&rest);
    while (rest.len > 0) {
        size_t before = line->len;
        struct str key = str_cut(&rest, '=');
        struct str value = cut_value(&rest);
        add_text(line, ",");
        add_quoted(line, key);
        add_text(line, ":");
        if (is_quoted_whole(value))
            add_requoted(line, value);
        else
            add_quoted(line, value);
        if (line->full) {
            line->len = before;
            return;
        }
    }
}

static void add_json(struct line *line, enum log_level level, const char *now, const char *fact,
                     const char *fields)
{
    add_text(line, "{\"ts\":");
    add_quoted(line, str_of(now));
    add_text(line, ",\"level\":");
    add_quoted(line, str_of(level_name[level]));
    add_text(line, ",\"program\":");
    add_quoted(line, str_of(program_name));
    add_text(line, ",\"msg\":");
    add_quoted(line, str_of(fact));
    add_members(line, str_of(fields));
    line->full = false;
    line->room += 1;
    add_text(line, "}");
}

static void add_logfmt(struct line *line, enum log_level level, const char *now, const char *fact,
                       const char *fields)
{
    add_text(line, "ts=");
    add_text(line, now);
    add_text(line, " level=");
    add_text(line, level_name[level]);
    add_text(line, " program=");
    add_text(line, program_name);
    add_text(line, " msg=");
    add_quoted(line, str_of(fact));
    if (fields[0] != '\0')
        add_text(line, " ");
    for (struct str rest = str_of(fields); rest.len > 0 && !line->full;) {
        bool plain = (unsigned char)rest.at[0] >= ' ' && rest.at[0] != 0x7f;
        if (plain)
            add(line, rest.at, 1);
        else
            add_escaped(line, rest); /* a line end would begin a line of its own */
        rest = (struct str){rest.at + 1, rest.len - 1};
    }
}

void log_line(enum log_level level, const char *fact, const char *fields, ...)
{
    if (level > shown)
        return;

    char pairs[FIELDS_MAX];
    va_list args;
    va_start(args, fields);
    vsnprintf(pairs, sizeof pairs, fields, args);
    va_end(args);

    struct timespec clock;
    clock_gettime(CLOCK_REALTIME, &clock);
    char now[WALL_TEXT_MAX];
    wall_text((struct wall){(int64_t)clock.tv_sec * 1000 + clock.tv_nsec / 1000000}, now);

    char bytes[LINE_MAX_BYTES];
    struct line line = {.bytes = bytes, .room = sizeof bytes - 3}; /* "}", "\n" and the NUL */
    (in_json ? add_json : add_logfmt)(&line, level, now, fact, pairs);
    line.full = false;
    line.room = sizeof bytes - 1;
    add_text(&line, "\n");
    if (write(STDERR_FILENO, line.bytes, line.len) < 0)
        return; /* a log that cannot be written has nobody to tell */
}
