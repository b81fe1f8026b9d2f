/* Slots of a cluster: which one a key is in, and what servers say about where one is. */
#ifndef IO_REDIS_SLOTS_H
#define IO_REDIS_SLOTS_H

#include "base/str.h"

struct redisReply;

enum { SLOT_COUNT = 16384 };

/* Of what is between the first { and the next }, where that is not empty; else of all of it. */
unsigned slot_of(struct str key);

/* "MOVED 3999 127.0.0.1:6381" and "ASK …". */
struct redirect {
    bool is_ask;
    unsigned slot;
    struct str host; /* empty: the host of whoever says it */
    int port;
};
/* False: it says something else. */
bool redirect_read(struct str error, struct redirect *out);

/* One element of what CLUSTER SLOTS answers. */
struct slot_range {
    unsigned first, last;
    struct str host; /* of the master; empty: the host of whoever says it */
    int port;
};
bool slot_range_read(const struct redisReply *element, struct slot_range *out);

#endif
