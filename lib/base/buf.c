#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_fini(struct buf *buf)
{
    size_t limit = buf->limit;
    free(buf->bytes);
    *buf = (struct buf){.limit = limit};
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->bytes != NULL)
        buf->bytes[0] = '\0';
}

static enum err fail(struct buf *buf, enum err why)
{
    buf->failed = true;
    return why;
}

/* Room for `more` bytes and the NUL. */
static enum err make_room(struct buf *buf, size_t more)
{
    size_t limit = buf->limit > 0 && buf->limit < SIZE_MAX ? buf->limit : SIZE_MAX - 1;
    if (buf->len > limit || more > limit - buf->len)
        return ERR_TOO_LARGE;

    size_t wanted = buf->len + more + 1;
    if (wanted <= buf->room)
        return ERR_OK;
    size_t room = buf->room < 32 ? 64 : buf->room;
    while (room < wanted && room <= SIZE_MAX / 2)
        room *= 2;
    if (room < wanted || room > limit)
        room = limit + 1;
    char *grown = realloc(buf->bytes, room);
    if (grown == NULL)
        return ERR_NOMEM;
    buf->bytes = grown;
    buf->room = room;
    return ERR_OK;
}

enum err buf_add(struct buf *buf, const void *bytes, size_t len)
{
    enum err err = make_room(buf, len);
    if (err != ERR_OK)
        return fail(buf, err);
    if (len > 0)
        memcpy(buf->bytes + buf->len, bytes, len);
    buf->len += len;
    buf->bytes[buf->len] = '\0';
    return ERR_OK;
}

enum err buf_add_str(struct buf *buf, struct str text)
{
    return buf_add(buf, text.at, text.len);
}

enum err buf_add_text(struct buf *buf, const char *text)
{
    return buf_add(buf, text, strlen(text));
}

enum err buf_addf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);

    enum err err = len < 0 ? ERR_INVALID : make_room(buf, (size_t)len);
    if (err == ERR_OK) {
        vsnprintf(buf->bytes + buf->len, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
    return err == ERR_OK ? ERR_OK : fail(buf, err);
}

void buf_drop(struct buf *buf, size_t len)
{
    if (len == 0)
        return;
    if (len >= buf->len) {
        bool failed = buf->failed;
        buf_clear(buf);
        buf->failed = failed;
        return;
    }
    buf->len -= len;
    memmove(buf->bytes, buf->bytes + len, buf->len + 1);
}

void buf_cut(struct buf *buf, size_t len)
{
    if (len > buf->len)
        return;
    buf->len = len;
    if (buf->bytes != NULL)
        buf->bytes[len] = '\0';
}
