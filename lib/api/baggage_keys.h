/* The keys that contexts are signed with, so that only who shares one can claim a place in a tree.
 *
 * Happy path: baggage_keys_read() once -> baggage_keys_verify() what comes in,
 * baggage_keys_format() what goes out. A signature is HMAC-SHA-256 (RFC 2104) over "1.<path>" as it
 * is sent, base64url (RFC 4648, section 5), the first 22 characters. docs/PROTOCOL.md, section 6.
 */
#ifndef API_BAGGAGE_KEYS_H
#define API_BAGGAGE_KEYS_H

#include "wire/baggage.h"

enum { BAGGAGE_KEYS_MAX = 16, BAGGAGE_SECRET_MIN = 16, BAGGAGE_SECRET_MAX = 256 };

/* A value that lends from the text it was read from. All zero: no keys. */
struct baggage_keys {
    size_t count;
    struct {
        struct str id, secret;
    } key[BAGGAGE_KEYS_MAX]; /* the first one signs, each of them verifies */
};

/* Lines "<key id> <secret>", blank ones and those that begin with '#' are skipped. ERR_MALFORMED:
 * `why` says which line and what is wrong, never a secret. */
enum err baggage_keys_read(struct str text, struct baggage_keys *out, const char **why) MUST_CHECK;

enum baggage_trust {
    BAGGAGE_IS_GOOD,
    BAGGAGE_IS_UNSIGNED,
    BAGGAGE_HAS_UNKNOWN_KEY,
    BAGGAGE_IS_FORGED /* the signature is not that of this path, or none at all */
};
/* Of a context that has a path. */
enum baggage_trust baggage_keys_verify(const struct baggage_keys *keys,
                                       const struct baggage *context);

/* baggage_format(), signed when there is a key. */
enum err baggage_keys_format(const struct baggage_keys *keys, struct str path, struct span ttl,
                             struct str others, struct buf *out) MUST_CHECK;

#endif
