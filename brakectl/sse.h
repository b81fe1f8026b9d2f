/* A stream of server-sent events, read without blocking (libcurl's multi interface).
 *
 * Happy path: open -> sse_wait() again and again, which calls on_event. Ways to fail: nobody
 * answers, another status than 200, the peer ends it: is_open turns false and sse_why() says why;
 * the owner then frees it and opens another. */
#ifndef BRAKECTL_SSE_H
#define BRAKECTL_SSE_H

#include "base/mono.h"
#include "io/sse_reader.h"

struct sse;

/* where, path: as http_client; token: NULL or the bearer's. NULL: no memory. */
struct sse *sse_new(const char *where, const char *path, const char *token, sse_event on_event,
                    void *owner);
void sse_free(struct sse *sse); /* NULL is fine */
bool sse_is_open(const struct sse *sse);
const char *sse_why(const struct sse *sse);

/* Waits at most `longest` for bytes or for something to read on `fd` (-1: none), calling on_event
 * for what came. `sse` may be NULL: then it waits for the fd alone. */
void sse_wait(struct sse *sse, int fd, struct span longest);

#endif
