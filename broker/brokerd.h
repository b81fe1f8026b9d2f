/* One broker: the cores meet Redis and the API. */
#ifndef BROKER_BROKERD_H
#define BROKER_BROKERD_H

#include <uv.h>

#include "base/err.h"
#include "broker/options.h"

struct brokerd;

/* `settings` is borrowed until the loop has nothing left to do. why: for a person, on an error. */
enum err brokerd_open(uv_loop_t *loop, const struct settings *settings, struct brokerd **out,
                      const char **why) MUST_CHECK;
/* Every handle closes, and the loop ends. Whoever waits may ask any other broker again. */
void brokerd_stop(struct brokerd *d);
/* After the loop has ended: 0, or 1 when something made it give up. Frees it. */
int brokerd_free(struct brokerd *d);

#endif
