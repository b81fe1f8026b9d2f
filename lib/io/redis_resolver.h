/* The numeric addresses of a host, asked for off the loop. */
#ifndef IO_REDIS_RESOLVER_H
#define IO_REDIS_RESOLVER_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"

enum { RESOLVER_ADDRESSES = 8, RESOLVER_TEXT = 64 };

struct resolver { /* its owner is not freed before `busy` is false */
    uv_getaddrinfo_t request;
    bool busy;
    size_t count;
    char address[RESOLVER_ADDRESSES][RESOLVER_TEXT]; /* replaced whole, by each answer */
    void (*on_resolved)(void *owner, const char *why);
    void *owner;
};

/* on_resolved comes from the loop: why NULL, or what went wrong (the old addresses are kept). A
 * host that is an address already is filled in at once; then *out_now is true and nothing is
 * called. */
enum err resolver_ask(uv_loop_t *loop, struct resolver *resolver, const char *host,
                      bool *out_now) MUST_CHECK;
/* Asks the loop to give up; on_resolved still comes, perhaps late. */
void resolver_cancel(struct resolver *resolver);

#endif
