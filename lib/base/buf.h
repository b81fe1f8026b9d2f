/* Bytes that grow up to a limit. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"
#include "base/str.h"

/* A value to look at; change it only through these functions. All zero but `limit` is a valid
 * empty buffer; a `limit` of 0 means SIZE_MAX. */
struct buf {
    char *bytes; /* NUL-terminated whenever it is not NULL */
    size_t len;
    size_t room;
    size_t limit;
    bool failed; /* an append did not fit or memory ran out; stays set until buf_clear() */
};

void buf_fini(struct buf *buf);
void buf_clear(struct buf *buf); /* keeps the memory */

/* Each appends all or nothing; after a failure the buffer is unchanged and `failed` is set, so a
 * chain of appends may be checked once, at the end. */
enum err buf_add(struct buf *buf, const void *bytes, size_t len);
enum err buf_add_str(struct buf *buf, struct str text);
enum err buf_add_text(struct buf *buf, const char *text);
enum err buf_addf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Drop the first `len` bytes. */
void buf_drop(struct buf *buf, size_t len);
/* Keep only the first `len` bytes, as if nothing had been added behind them. */
void buf_cut(struct buf *buf, size_t len);

static inline struct str buf_str(const struct buf *buf)
{
    return (struct str){buf->bytes, buf->len};
}

#endif
