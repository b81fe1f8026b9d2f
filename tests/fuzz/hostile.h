/* Stories for the cores, told by bytes: the next choice, the next id, what Redis says next. */
#ifndef FUZZ_HOSTILE_H
#define FUZZ_HOSTILE_H

#include "store/answer.h"

struct script {
    const uint8_t *bytes;
    size_t len, at;
};

unsigned script_next(struct script *script); /* 0 when it is at its end */
struct str script_id(struct script *script); /* r, a, b or c */

/* A reply put together from a dictionary of what our scripts say, of numbers, ids and records, and
 * read as the store reads it. Lent until the next one. */
void script_answer(struct script *script, enum store_op op, struct store_answer *out);

#endif
