/* The context between agents: one member of W3C baggage (https://www.w3.org/TR/baggage/).
 *
 *     baggage: brakewire=1.<root>.<…>.<self>,brakewire-ttl=<ms>,<other members untouched>
 *
 * At more than 16 ids or 1024 bytes the root and the last 14 ids are kept, an empty id marks the
 * cut. It is a claim of descent, never a right to cancel. */
#ifndef WIRE_BAGGAGE_H
#define WIRE_BAGGAGE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mono.h"

enum { BAGGAGE_MAX_BYTES = 8192, BAGGAGE_IDS_MAX = 16, BAGGAGE_MEMBER_MAX = 1024 };

/* Reads our members out of a whole header value (several headers joined by commas).
 * path  the ids joined by dots, borrowed from `header`; STR_NONE when there is no member of ours
 * ttl   remaining deadline, SPAN_NONE if absent
 * ERR_MALFORMED: our member is there and is not valid (the caller then starts no tree from it).
 * ERR_TOO_LARGE: more than BAGGAGE_MAX_BYTES. The first member of a name counts; a signature behind
 * the path ("~…") is not looked at. */
enum err baggage_parse(struct str header, struct str *path, struct span *ttl) MUST_CHECK;

/* Appends the header value for children of the run with this full path: our members first, then
 * those of `others` that are not ours (pass STR_NONE for none) as long as they fit and are text.
 * Cuts the path where needed. ERR_INVALID: no valid path. */
enum err baggage_format(struct str path, struct span ttl, struct str others,
                        struct buf *out) MUST_CHECK;

#endif
