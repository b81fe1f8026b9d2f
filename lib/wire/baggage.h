/* The context between agents: one member of W3C baggage (https://www.w3.org/TR/baggage/).
 *
 *     baggage: brakewire=1.<root>.<…>.<self>[~<key id>~<mac>],brakewire-ttl=<ms>,<other members>
 *
 * At more than 16 ids or 1024 bytes (without a signature) the root and the last 14 ids are kept, an
 * empty id marks the cut. It is a claim of descent, never a right to cancel. Members of others are
 * passed on untouched, in their order. docs/PROTOCOL.md, section 6. */
#ifndef WIRE_BAGGAGE_H
#define WIRE_BAGGAGE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mono.h"

enum {
    BAGGAGE_MAX_BYTES = 8192,  /* section 3.3.2 of the W3C: what everybody must pass on */
    BAGGAGE_MEMBERS_MAX = 180, /* more of them OpenTelemetry drops, the last ones first */
    BAGGAGE_IDS_MAX = 16,
    BAGGAGE_MEMBER_MAX = 1024,
    BAGGAGE_KEY_ID_MAX = 16,
    BAGGAGE_MAC_LEN = 22 /* base64url of the first 132 bits */
};

/* A value; its texts are borrowed. */
struct baggage {
    struct str path; /* ids joined by dots; STR_NONE: no member of ours */
    struct span ttl; /* what is left of the deadline, SPAN_NONE if nothing is said */
    struct str key_id,
        mac; /* the signature as it came, in whatever shape; empty if there is none */
};

/* Reads our members out of a whole header value (several headers joined by commas); lends from it.
 * ERR_MALFORMED: our member is there and is not valid (the caller then starts no tree from it).
 * ERR_TOO_LARGE: more than BAGGAGE_MAX_BYTES. The first member of a name counts. Whether the
 * signature is good is not asked here. */
enum err baggage_parse(struct str header, struct baggage *out) MUST_CHECK;

/* Appends the header value for children of the run at the end of `context->path`: our members
 * first, then those of `others` that are not ours (pass STR_NONE for none) as long as they fit and
 * are text. Cuts the path where needed. ERR_INVALID: no valid path. */
enum err baggage_format(const struct baggage *context, struct str others,
                        struct buf *out) MUST_CHECK;

/* Appends what a signature is made over: "1." and the path, cut as baggage_format() cuts it.
 * ERR_INVALID: no valid path. */
enum err baggage_add_signed_text(struct str path, struct buf *out) MUST_CHECK;

/* Appends the header of a request that has one already: our members of `ours` (a header that
 * baggage_format() made), then the foreign ones of `existing`, then those of `ours` whose key
 * `existing` does not have. Without a member of ours in `ours` there is none in the result. */
enum err baggage_merge(struct str ours, struct str existing, struct buf *out) MUST_CHECK;

#endif
