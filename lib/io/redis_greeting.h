/* What is said first on a new connection, and what the answers tell about the server. */
#ifndef IO_REDIS_GREETING_H
#define IO_REDIS_GREETING_H

#include "base/err.h"
#include "base/str.h"

struct redisReply;

enum { GREETING_ARGS = 7 };

/* In the order they are sent. PING comes last because a server that is still loading its data
 * answers all the others. */
enum greeting { GREET_HELLO, GREET_SELECT, GREET_INFO, GREET_ROLE, GREET_PING, GREET_COUNT };

struct greeting_words {                        /* a value; borrowed strings */
    const char *user, *password, *client_name; /* each may be NULL or "" */
    char db[12];
};

struct greeting_answers { /* a value */
    char mode[16];        /* standalone, sentinel, cluster */
    char run_id[48], history[48], version[32], name[16], role[16];
};

/* Fills argv[GREETING_ARGS] with one of the commands; returns how many words it has. */
int greeting_command(enum greeting which, const struct greeting_words *words, struct str *argv);
/* ERR_REFUSED: an error, or not the answer that belongs to it; `why` is filled. */
enum err greeting_answered(enum greeting which, const struct redisReply *reply,
                           struct greeting_answers *answers, char *why, size_t why_room) MUST_CHECK;

#endif
