/* A reply of Redis as a store_answer. Whatever the server sends is decoded defensively: a shape
 * that no script of ours answers is SAID_ERROR, never a crash. */
#ifndef STORE_ANSWER_H
#define STORE_ANSWER_H

#include "base/buf.h"
#include "core/store_call.h"

struct redisReply;

struct answer_room { /* what the answer's arrays point to; all zero is empty; reused */
    struct store_item item[STORE_ITEMS_MAX];
    struct str *list;
    int64_t *score;
    struct store_order *order;
    size_t list_room, score_room, order_room;
    struct buf text; /* of entries that are put together here */
};
void answer_room_fini(struct answer_room *room);

/* `reply` NULL: the connection broke. The answer borrows from reply and room. */
void answer_read(enum store_op op, const struct redisReply *reply, struct answer_room *room,
                 struct store_answer *out);
void answer_fail(struct store_answer *out, enum store_verdict verdict, const char *text);

/* Is it an error reply that begins with this word? */
bool reply_is_error(const struct redisReply *reply, const char *word);

#endif
