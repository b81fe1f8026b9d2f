/* A borrowed run of bytes: text that somebody else owns, not NUL-terminated. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *at; /* may be NULL when len is 0 */
    size_t len;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_NONE     ((struct str){NULL, 0})

static inline struct str str_of(const char *text)
{
    return (struct str){text, strlen(text)};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static inline bool str_is(struct str a, const char *text)
{
    return str_eq(a, str_of(text));
}

/* Cuts the part before `mark` off `rest` (and the mark); the whole rest when there is none, and
 * then rest->at is NULL: no more parts. After a mark at the very end one empty part is left. */
struct str str_cut(struct str *rest, char mark);

/* A decimal number, all of `text`, no sign but '-', no blanks. False on anything else. */
bool str_to_int(struct str text, int64_t *out);

/* The length of the UTF-8 character that `text` (not empty) begins with, 0 if there is none. */
size_t str_utf8_length(struct str text);
bool str_is_utf8(struct str text);

#endif
