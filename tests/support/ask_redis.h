/* One store_call to a real server, asked and waited for, through the same words and the same
 * reading as lib/store. And what the scripts published meanwhile. */
#ifndef SUPPORT_ASK_REDIS_H
#define SUPPORT_ASK_REDIS_H

#include "store/answer.h"
#include "store/command.h"
#include "support/redis_server.h"

struct redisReply;

struct redis_asker {
    struct redisContext *context, *listener;
    struct keyspace keys;
    struct redisReply *reply; /* of the last call; its answer borrows from it */
    struct answer_room room;
    struct command command;
    char sha[32][41];
};

void redis_asker_init(struct redis_asker *asker, const struct redis_process *process);
void redis_asker_fini(struct redis_asker *asker);
/* Every op but STORE_TREE. The answer is valid until the next call. */
void redis_ask(struct redis_asker *asker, const struct store_call *call, struct store_answer *out);
/* Any command; the reply is valid until the next call. */
const struct redisReply *redis_tell(struct redis_asker *asker, const char *format, ...);

/* Hands over what was published since the last time, in order: channel and bytes. */
typedef void redis_heard(void *owner, struct str channel, struct str bytes);
void redis_hear(struct redis_asker *asker, redis_heard *heard, void *owner);

#endif
