/* One TLS session between memory and memory: what came from the network goes in, what must go to
 * the network comes out. It never touches a socket, so its owner polls as for a plain one: the
 * handshake waits for bytes, and never spins. */
#ifndef IO_REDIS_TLS_H
#define IO_REDIS_TLS_H

#include "base/buf.h"
#include "io/redis_trust.h"

struct redis_tls;

/* ERR_NOMEM. The first bytes of the handshake are in `sealed`. */
enum err redis_tls_new(const struct redis_trust *trust, const char *host, struct buf *sealed,
                       struct redis_tls **out) MUST_CHECK;
void redis_tls_free(struct redis_tls *tls); /* NULL is fine */

/* The handshake is over and the server is who it should be. */
bool redis_tls_is_established(const struct redis_tls *tls);
/* Bytes from the network: what they say is added to `opened`, what must be answered to `sealed`.
 * ERR_OFFLINE: the server has said good-bye; ERR_REFUSED: redis_tls_why() says why, and `sealed`
 * may hold a last word to the server; ERR_NOMEM. */
enum err redis_tls_open(struct redis_tls *tls, struct str bytes, struct buf *opened,
                        struct buf *sealed) MUST_CHECK;
/* Only when established. ERR_REFUSED, ERR_NOMEM: the session is of no more use. */
enum err redis_tls_seal(struct redis_tls *tls, struct str bytes, struct buf *sealed) MUST_CHECK;
const char *redis_tls_why(const struct redis_tls *tls);

#endif
