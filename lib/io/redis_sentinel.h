/* What the sentinels say about one master: where it is, and that it has moved.
 *
 * Happy path: open -> a connection to each sentinel -> asked, and subscribed to +switch-master ->
 * on_moved, at the first answer and whenever the best answer is another one. Ways to fail: a
 * sentinel that is away, knows no such master or lags behind: the answer of the latest failover
 * (the highest config-epoch) counts, then that of most sentinels; an answer once given is believed
 * until there is a better one, so that the sentinels may all be away while the master lives. */
#ifndef IO_REDIS_SENTINEL_H
#define IO_REDIS_SENTINEL_H

#include "io/redis_link.h"
#include "io/redis_url.h"

struct redis_sentinels;

struct redis_sentinels_events {
    void (*on_moved)(void *owner); /* redis_sentinels_master() says another place than before */
    void (*on_closed)(void *owner);
};

/* target: its url is that of `url`, and lists sentinels. ERR_NOMEM, ERR_INVALID: no callback is
 * ever made. */
enum err redis_sentinels_open(uv_loop_t *loop, const struct redis_target *target,
                              const struct redis_url *url,
                              const struct redis_sentinels_events *events, void *owner,
                              struct redis_sentinels **out) MUST_CHECK;
void redis_sentinels_close(struct redis_sentinels *sentinels);

/* Where the master is, lent until on_moved; NULL: none of them has said so far. */
const struct redis_host *redis_sentinels_master(const struct redis_sentinels *sentinels);
/* Asks all that can be reached once more: the master does not answer, or answers as a replica. */
void redis_sentinels_ask(struct redis_sentinels *sentinels);
/* Why none of them has said where the master is. */
void redis_sentinels_why(const struct redis_sentinels *sentinels, char *why, size_t room);

#endif
