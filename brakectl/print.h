/* Text for people: colours, tables, times. */
#ifndef BRAKECTL_PRINT_H
#define BRAKECTL_PRINT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/mono.h"

enum colour { PLAIN, BOLD, DIM, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN };

/* Appends `text` in that colour, or plainly when `on` is false. */
void paint(struct buf *out, bool on, enum colour colour, const char *text);
enum colour state_colour(const char *state);

/* Cells are collected row by row; the widths are known when it is printed. */
enum { TABLE_COLUMNS_MAX = 12 };
struct table {
    size_t columns;
    size_t count; /* of cells */
    size_t room;
    struct table_cell *cell;
};
struct table_cell {
    char *text;
    enum colour colour;
};

void table_init(struct table *table, size_t columns);
void table_fini(struct table *table);
void table_add(struct table *table, enum colour colour, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The first row is the heading. */
void table_print(const struct table *table, bool with_colour, struct buf *out);

size_t text_width(const char *text); /* in columns of a terminal, for the text we print */
/* "2026-01-31T12:00:00.000Z"; false when it is something else. */
bool wall_parse(const char *text, struct wall *out);
struct wall wall_now(void);
struct instant mono_now(void);
/* "3s", "5m12s", "2h03m" */
const char *span_text(struct span span, char out[24]);
/* "12:00:00.123" of such a time, in UTC; all of `text` when it is no time. */
const char *clock_of(const char *text, char out[16]);

#endif
