/* What was recorded is made to outlive its server: a connection of its own for WAIT and WAITAOF,
 * which hold up everything behind them.
 *
 * Happy path: durable_ask -> (connected) -> a round: each ask's `sync` script, then one WAIT for
 * all of them -> answered. Who asks during a round is of the next one, so an ask is answered within
 * two rounds, however many ask. Ways to fail, each told in words: the record is gone (Redis failed
 * over), too few replicas or disks have it in time, the server knows no WAITAOF, no connection.
 *
 * One for each server that is written to; it connects at the first ask. */
#ifndef STORE_DURABLE_H
#define STORE_DURABLE_H

#include <uv.h>

#include "base/err.h"
#include "core/store_call.h"
#include "io/redis_link.h"

struct durable;

struct durable_options {
    unsigned replicas;   /* that must have it; 0 with `fsynced`: the server's own disk is enough */
    struct span timeout; /* for them; 0: 1 s */
};

/* SAID_OK: reached. Else why not: SAID_NOT_FOUND, SAID_OFFLINE, SAID_UNWRITABLE, SAID_ERROR. */
typedef void (*durable_answered)(void *owner, enum store_verdict verdict, const char *why);

enum err durable_open(uv_loop_t *loop, const struct redis_target *target,
                      const struct durable_options *options, void (*on_closed)(void *owner),
                      void *owner, struct durable **out) MUST_CHECK;
void durable_close(struct durable *durable); /* answers all that are open first, from inside */

/* argv: the words of the script `sync`; borrowed until `done`, which is called once, from the loop.
 * text: of that script, for a server that does not have it. level: not DURABLE_MEMORY. */
struct durable_words {
    int argc;
    const struct str *argv;
    struct str text;
};
enum err durable_ask(struct durable *durable, enum durability level,
                     const struct durable_words *words, durable_answered done,
                     void *owner) MUST_CHECK;

#endif
