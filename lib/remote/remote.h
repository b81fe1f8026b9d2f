/* Asks other programs, by their own protocols, to cancel one piece of work (core/remote.h). */
#ifndef REMOTE_REMOTE_H
#define REMOTE_REMOTE_H

#include "core/remote.h"
#include "io/http_caller.h"

/* Whose question it was; comes back with the answer. */
struct remote_name {
    char run[RUN_ID_MAX + 1];
    char link[24]; /* "" = none */
    uint64_t token;
};
/* why: for a person, may be NULL; never holds a header. */
typedef void (*remote_answered)(void *owner, const struct remote_name *name,
                                enum remote_outcome outcome, const char *why);

struct remote;
/* hosts: those that may be called, borrowed until the loop has nothing left to do. */
enum err remote_open(uv_loop_t *loop, const struct host_list *hosts, remote_answered answered,
                     void *owner, struct remote **out) MUST_CHECK;
/* No answer comes any more; the memory is gone when the loop is done. */
void remote_close(struct remote *remote);

/* Copies both. One answer comes, from the loop, never from within: after ask->within at the latest.
 * Before it, perhaps, REMOTE_SENT comes as well.
 * ERR_NOMEM: then none comes. */
enum err remote_cancel(struct remote *remote, const struct remote_ask *ask,
                       const struct remote_name *name) MUST_CHECK;

#endif
