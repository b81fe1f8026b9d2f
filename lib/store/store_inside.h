/* What store.c (the link and the subscriptions) and call.c (the calls) share. */
#ifndef STORE_INSIDE_H
#define STORE_INSIDE_H

#include "base/list.h"
#include "base/map.h"
#include "store/answer.h"
#include "store/command.h"
#include "store/store.h"

struct redisReply;

enum { SHA_HEX = 40, SCRIPTS_MAX = 32, TARGET_TEXTS = 9 };

struct script { /* as the servers know it */
    struct store *store;
    char sha[SHA_HEX + 1];
};

struct store {
    const struct store_events *events;
    void *owner;
    struct redis_router *router;
    struct keyspace keys;
    bool up;        /* greeted, subscriptions renewed, scripts loaded */
    bool closed;    /* store_close() was called: nobody is called back any more */
    unsigned alive; /* the router, the timer, those of `seconds` */

    uv_loop_t *loop;
    struct redis_target target; /* its strings are those of target_text */
    char *target_text[TARGET_TEXTS];
    size_t target_texts;
    struct durable_options durable_options;
    struct map
        seconds; /* of struct second, by place; of servers that more than memory was asked of */

    struct script script[SCRIPTS_MAX]; /* beside script_texts */
    size_t loading;                    /* SCRIPT LOADs without an answer */

    struct map subscriptions; /* by channel */

    uv_timer_t soon;     /* answers those of `refused` on the next turn */
    struct list refused; /* of struct waiting: sent while there was no connection */

    struct command command; /* what is being sent; too large for the stack of a callback */
    struct answer_room room;

    struct { /* of the server, kept while the scripts are loaded */
        char identity[128], version[32], name[32], role[16];
    } server;
};

/* SCRIPT LOAD of all of them. */
enum err store_load_scripts(struct store *store) MUST_CHECK;
/* The sha of a script by its name; "" before the first load. */
const char *store_sha(const struct store *store, const char *name);
struct str store_script_text(const char *name);
/* The second connection, made at its first use. */
enum err store_durable(struct store *store, struct str key, struct durable **out) MUST_CHECK;

/* Answers all that were refused with SAID_OFFLINE. */
void calls_refuse(struct store *store);
/* Forgets them, unanswered. */
void calls_forget(struct store *store);

#endif
