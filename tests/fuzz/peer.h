/* A peer of a server that is a part of the fuzz target itself. */
#ifndef FUZZ_PEER_H
#define FUZZ_PEER_H

#include <uv.h>

#include "base/buf.h"

/* Sends `bytes` to a port of 127.0.0.1 or a Unix socket (a path) over a connection of their own,
 * says that nothing more comes, and turns the loop until the server ends it. `answer` gets what
 * came back: nothing, or HTTP that is no 500. */
void peer_ask(uv_loop_t *loop, const char *where, struct str bytes, struct buf *answer);

/* A request of the route that the first byte names, with the rest as its body; what stands before a
 * line end is the query. `routes`: "METHOD /path", NULL-terminated. */
void peer_compose(const char *const routes[], struct str input, struct buf *out);

#endif
