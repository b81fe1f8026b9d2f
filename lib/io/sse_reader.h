/* The bytes of an event stream, in whatever pieces they come, as events.
 *
 * Happy path: sse_reader_take() again and again, which calls on_event. Way to fail: a line or an
 * event longer than 64 MiB; the stream is then of no use any more. */
#ifndef IO_SSE_READER_H
#define IO_SSE_READER_H

#include <jansson.h>

#include "base/buf.h"

/* data is borrowed; NULL when it was not JSON. */
typedef void (*sse_event)(void *owner, const char *name, const json_t *data);

enum { SSE_NAME_MAX = 32 };

struct sse_reader { /* change it only through these functions */
    sse_event on_event;
    void *owner;
    struct buf line, data;
    char name[SSE_NAME_MAX];
};

void sse_reader_init(struct sse_reader *reader, sse_event on_event, void *owner);
bool sse_reader_take(struct sse_reader *reader, struct str bytes) MUST_CHECK;
void sse_reader_fini(struct sse_reader *reader);

#endif
