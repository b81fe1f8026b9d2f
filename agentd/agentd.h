/* One agentd: the core meets Redis, the local API and processes. */
#ifndef AGENTD_AGENTD_H
#define AGENTD_AGENTD_H

#include <uv.h>

#include "agentd/options.h"
#include "base/err.h"

struct agentd;

/* `settings` is borrowed until the loop has nothing left to do. why: for a person, on an error. */
enum err agentd_open(uv_loop_t *loop, const struct settings *settings, struct agentd **out,
                     const char **why) MUST_CHECK;
/* The first time: no new runs, serve the rest until it has ended or `drain` is over. The second
 * time: at once. Then every handle closes, and the loop ends. */
void agentd_stop(struct agentd *d);
/* After the loop has ended: 0, or 1 when something made it give up. Frees it. */
int agentd_free(struct agentd *d);

#endif
