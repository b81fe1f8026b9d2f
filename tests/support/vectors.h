/* The shared test vectors of tests/vectors: hex on one side, JSON on the other. */
#ifndef SUPPORT_VECTORS_H
#define SUPPORT_VECTORS_H

#include <jansson.h>

#include "base/buf.h"

/* The file `name` of tests/vectors. Never NULL: a file that cannot be read ends the test. The
 * caller owes json_decref(). */
json_t *vectors_load(const char *name);

/* A member that must be there, as text. Lent by `object`. */
struct str vector_text(const json_t *object, const char *key);

/* A member of hex digits as bytes, in memory of exactly their size, so that ASan sees one read too
 * many. The caller owes vector_free(). */
struct str vector_bytes(const json_t *object, const char *key);
void vector_free(struct str bytes);

/* Bytes back to hex, for comparisons that can be read. Appends. */
void vector_add_hex(struct buf *out, struct str bytes);

#endif
