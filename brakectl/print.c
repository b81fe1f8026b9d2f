#include "brakectl/print.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

void paint(struct buf *out, bool on, enum colour colour, const char *text)
{
    static const char *const code[] = {
        [BOLD] = "1",    [DIM] = "2",   [RED] = "31",     [GREEN] = "32",
        [YELLOW] = "33", [BLUE] = "34", [MAGENTA] = "35", [CYAN] = "36",
    };
    if (on && colour != PLAIN)
        (void)buf_addf(out, "\033[%sm%s\033[0m", code[colour], text);
    else
        (void)buf_add_text(out, text);
}

enum colour state_colour(const char *state)
{
    static const struct {
        const char *state;
        enum colour colour;
    } colours[] = {
        {"running", GREEN}, {"stopping", YELLOW}, {"cancelled", DIM}, {"rolled_back", DIM},
        {"success", BLUE},  {"error", RED},       {"lost", MAGENTA},  {"timeout", DIM},
        {"paused", CYAN},   {"pending", CYAN},
    };
    for (size_t i = 0; i < sizeof colours / sizeof *colours; i++)
        if (strcmp(colours[i].state, state) == 0)
            return colours[i].colour;
    return PLAIN;
}

void table_init(struct table *table, size_t columns)
{
    *table = (struct table){.columns = columns};
}

void table_fini(struct table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->cell[i].text);
    mem_free(table->cell);
    *table = (struct table){0};
}

void table_add(struct table *table, enum colour colour, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0
        || !mem_grow((void **)&table->cell, &table->room, sizeof *table->cell, table->count + 1)) {
        fputs("brakectl: out of memory\n", stderr);
        exit(EXIT_FAILURE);
    }
    table->cell[table->count++] = (struct table_cell){text, colour};
}

/* Every code point that we print is one column wide. */
size_t text_width(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

static void measure(const struct table *table, size_t widths[TABLE_COLUMNS_MAX])
{
    memset(widths, 0, TABLE_COLUMNS_MAX * sizeof *widths);
    for (size_t i = 0; i < table->count; i++) {
        size_t width = text_width(table->cell[i].text);
        if (width > widths[i % table->columns])
            widths[i % table->columns] = width;
    }
}

void table_print(const struct table *table, bool with_colour, struct buf *out)
{
    size_t widths[TABLE_COLUMNS_MAX];
    measure(table, widths);
    for (size_t i = 0; i < table->count; i++) {
        const struct table_cell *cell = &table->cell[i];
        size_t column = i % table->columns;
        bool ends_row = column + 1 == table->columns;
        paint(out, with_colour, i < table->columns ? BOLD : cell->colour, cell->text);
        if (!ends_row)
            (void)buf_addf(out, "%*s", (int)(widths[column] - text_width(cell->text) + 2), "");
        else
            (void)buf_add_text(out, "\n");
    }
}

bool wall_parse(const char *text, struct wall *out)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (rest == NULL)
        return false;
    int millis = 0, used = 0;
    if (sscanf(rest, ".%3dZ%n", &millis, &used) != 1 || used == 0)
        return false;
    *out = (struct wall){(int64_t)timegm(&tm) * 1000 + millis};
    return true;
}

static int64_t clock_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct wall wall_now(void)
{
    return (struct wall){clock_ms(CLOCK_REALTIME)};
}

struct instant mono_now(void)
{
    return (struct instant){clock_ms(CLOCK_MONOTONIC)};
}

const char *span_text(struct span span, char out[24])
{
    int64_t seconds = span.ms / 1000;
    if (seconds < 60)
        snprintf(out, 24, "%" PRId64 "s", seconds);
    else if (seconds < 3600)
        snprintf(out, 24, "%" PRId64 "m%02ds", seconds / 60, (int)(seconds % 60));
    else
        snprintf(out, 24, "%" PRId64 "h%02dm", seconds / 3600, (int)(seconds / 60 % 60));
    return out;
}

const char *clock_of(const char *text, char out[16])
{
    struct wall at;
    if (!wall_parse(text, &at))
        return text;
    snprintf(out, 16, "%.12s", text + 11);
    return out;
}
