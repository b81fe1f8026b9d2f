/* Happy path: store_send -> transmit -> (answered) -> done. A tree goes round by round:
 * store_send -> scan -> scanned -> scan … -> done. Ways to fail: while there is no connection a
 * call waits in `refused` for the next turn; on NOSCRIPT the scripts are loaded and the call is
 * repeated with the script's own text: they may be flushed again in between. */
#include <hiredis/hiredis.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/tree.h"
#include "store/store_inside.h"
#include "wire/tree_fields.h"

enum { CURSOR_MAX = 24 };

/* One call on its way. */
struct waiting {
    struct store *store;
    struct link in_refused;
    enum store_op op;
    store_answered done;
    void *owner;
    uint64_t token;

    /* a tree; a call of several steps */
    struct tree *tree;
    char *name; /* its root; its replica */
    int step;

    /* a script: its words once more, in case it has to be repeated */
    const char *script;
    bool is_repeated;
    int argc;
    struct str argv[];
};

static void waiting_free(struct waiting *waiting)
{
    if (waiting->tree != NULL)
        tree_fini(waiting->tree);
    mem_free(waiting->tree);
    mem_free(waiting->name);
    mem_free(waiting);
}

/* Last: the owner may close the store in there. */
static void finish(struct waiting *waiting, struct store_answer *answer)
{
    struct store *store = waiting->store;
    if (waiting->done != NULL && !store->closed)
        waiting->done(waiting->owner, waiting->token, answer);
    waiting_free(waiting);
}

static void fail(struct waiting *waiting, enum store_verdict verdict, const char *text)
{
    struct store_answer answer;
    answer_fail(&answer, verdict, text);
    finish(waiting, &answer);
}

static const char offline[] = "there is no connection to redis";

/* READONLY: this server was demoted, the master is elsewhere. */
static void mistrust(struct store *store, const struct redisReply *reply)
{
    if (reply != NULL && reply_is_error(reply, "READONLY"))
        redis_router_reset(store->router, "the server has become a read-only replica");
}

/* What stands in store->command. */
static enum err send_command(struct store *store, redis_answered done, void *owner)
{
    struct command *command = &store->command;
    return redis_router_command(store->router, command->key, command->argc, command->argv, done,
                                owner);
}

static void answered(void *owner, const struct redisReply *reply);

static bool repeat(struct waiting *waiting)
{
    struct store *store = waiting->store;
    if (waiting->script == NULL || waiting->is_repeated)
        return false;
    waiting->is_repeated = true;
    if (store->loading == 0 && store_load_scripts(store) != ERR_OK) {
        redis_router_reset(store->router,
                           "cannot load the scripts"); /* half of them are of no use */
        return false;
    }
    waiting->argv[0] = STR("EVAL");
    waiting->argv[COMMAND_SHA] = store_script_text(waiting->script);
    return redis_router_command(store->router, waiting->argv[COMMAND_KEY], waiting->argc,
                                waiting->argv, answered, waiting)
           == ERR_OK;
}

/* The keys of the steps may be of different servers, so each waits for the one before it. */
static bool take_next_step(struct waiting *waiting, const struct redisReply *reply)
{
    struct store *store = waiting->store;
    const struct store_call call = {.op = waiting->op, .replica = str_of(waiting->name)};
    bool is_refused = reply == NULL || reply->type == REDIS_REPLY_ERROR || store->closed;
    return !is_refused && command_make(&store->command, &store->keys, &call, ++waiting->step)
           && send_command(store, answered, waiting) == ERR_OK;
}

static void answered(void *owner, const struct redisReply *reply)
{
    struct waiting *waiting = owner;
    struct store *store = waiting->store;
    struct store_answer answer;
    bool is_last = waiting->step + 1 == command_steps(waiting->op);
    if (reply != NULL && reply_is_error(reply, "NOSCRIPT") && repeat(waiting))
        return;
    if (!is_last && take_next_step(waiting, reply))
        return;
    if (!is_last && reply != NULL && reply->type != REDIS_REPLY_ERROR)
        reply = NULL; /* half of it is done, and the rest could not be sent */
    mistrust(store, reply);
    answer_read(waiting->op, reply, &store->room, &answer);
    finish(waiting, &answer);
}

/* ---- a whole tree --------------------------------------------------------------------------- */
static void scanned(void *owner, const struct redisReply *reply);

static enum err scan(struct waiting *waiting, struct str cursor)
{
    struct store *store = waiting->store;
    struct command *command = &store->command;
    if (!command_scan(command, &store->keys, str_of(waiting->name), cursor))
        return ERR_FULL;
    return send_command(store, scanned, waiting);
}

/* A field that does not decode is left out: it must not hide the rest of the tree. */
static bool take_fields(struct tree *tree, const redisReply *fields)
{
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        const redisReply *field = fields->element[i], *value = fields->element[i + 1];
        if (field->type != REDIS_REPLY_STRING || value->type != REDIS_REPLY_STRING)
            return false;
        if (wire_tree_field(tree, (struct str){field->str, field->len},
                            (struct str){value->str, value->len})
            == ERR_NOMEM)
            return false;
    }
    return true;
}

static void scanned(void *owner, const struct redisReply *reply)
{
    struct waiting *waiting = owner;
    struct store *store = waiting->store;
    struct store_answer answer;
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR) {
        answer_read(waiting->op, reply, &store->room, &answer);
        finish(waiting, &answer);
        return;
    }
    bool is_round = reply->type == REDIS_REPLY_ARRAY && reply->elements == 2
                    && reply->element[0]->type == REDIS_REPLY_STRING
                    && reply->element[1]->type == REDIS_REPLY_ARRAY;
    if (!is_round || !take_fields(waiting->tree, reply->element[1])) {
        fail(waiting, SAID_ERROR, "the tree cannot be read");
        return;
    }
    struct str cursor = {reply->element[0]->str, reply->element[0]->len};
    if (!str_is(cursor, "0")) {
        if (store->closed || scan(waiting, cursor) != ERR_OK)
            fail(waiting, SAID_OFFLINE, offline);
        return;
    }
    tree_join(waiting->tree);
    answer = (struct store_answer){
        .verdict = SAID_OK, .number = waiting->tree->live, .tree = waiting->tree};
    finish(waiting, &answer);
}

static enum err begin_tree(struct waiting *waiting, const struct store_call *call)
{
    waiting->name = mem_copy(call->root);
    waiting->tree = mem_new(sizeof *waiting->tree);
    if (waiting->tree == NULL || waiting->name == NULL)
        return ERR_NOMEM;
    tree_init(waiting->tree);
    return scan(waiting, STR("0"));
}

/* ---- sending -------------------------------------------------------------------------------- */
/* With room behind it for the words of a script and what they say. command NULL: no command yet. */
static struct waiting *waiting_new(struct store *store, const struct command *command)
{
    bool is_script = command != NULL && command->script != NULL;
    size_t words = is_script ? (size_t)command->argc : 0, bytes = 0;
    for (size_t i = 0; is_script && i < words; i++)
        bytes += command->argv[i].len;
    struct waiting *waiting = malloc(sizeof *waiting + words * sizeof(struct str) + bytes);
    if (waiting == NULL)
        return NULL;
    *waiting = (struct waiting){.store = store, .script = is_script ? command->script : NULL};
    waiting->argc = (int)words;
    char *at = (char *)&waiting->argv[words];
    for (size_t i = 0; is_script && i < words; i++) {
        struct str word = command->argv[i];
        if (word.len > 0)
            memcpy(at, word.at, word.len);
        waiting->argv[i] = (struct str){at, word.len};
        at += word.len;
    }
    return waiting;
}

static enum err transmit(struct store *store, const struct store_call *call, struct waiting **out)
{
    struct command *command = &store->command;
    if (!command_make(command, &store->keys, call, 0))
        return ERR_FULL;
    if (command->script != NULL)
        command->argv[COMMAND_SHA] = str_of(store_sha(store, command->script));
    struct waiting *waiting = waiting_new(store, command);
    if (waiting == NULL)
        return ERR_NOMEM;
    enum err err = ERR_OK;
    if (command_steps(call->op) > 1 && (waiting->name = mem_copy(call->replica)) == NULL)
        err = ERR_NOMEM;
    if (err == ERR_OK)
        err = send_command(store, answered, waiting);
    if (err == ERR_OK)
        *out = waiting;
    else
        waiting_free(waiting);
    return err;
}

/* ---- what waits for replicas and disks --------------------------------------------------------
 */
static void synced(void *owner, enum store_verdict verdict, const char *why)
{
    fail(owner, verdict, why);
}

static enum err transmit_sync(struct store *store, const struct store_call *call,
                              struct waiting **out)
{
    struct command *command = &store->command;
    struct durable *durable;
    enum err err = command_make(command, &store->keys, call, 0) ? ERR_OK : ERR_FULL;
    if (err == ERR_OK)
        err = store_durable(store, command->key, &durable);
    if (err != ERR_OK)
        return err;
    command->argv[COMMAND_SHA] = str_of(store_sha(store, command->script));
    struct waiting *waiting = waiting_new(store, command);
    if (waiting == NULL)
        return ERR_NOMEM;
    const struct durable_words words = {
        .argc = waiting->argc,
        .argv = waiting->argv,
        .text = store_script_text(command->script),
    };
    err = durable_ask(durable, call->durability, &words, synced, waiting);
    if (err == ERR_OK)
        *out = waiting;
    else
        waiting_free(waiting);
    return err;
}

static enum err transmit_tree(struct store *store, const struct store_call *call,
                              struct waiting **out)
{
    struct waiting *waiting = waiting_new(store, NULL);
    if (waiting == NULL)
        return ERR_NOMEM;
    enum err err = begin_tree(waiting, call);
    if (err == ERR_OK)
        *out = waiting;
    else
        waiting_free(waiting);
    return err;
}

static void soon(uv_timer_t *timer)
{
    calls_refuse(timer->data);
}

static enum err refuse_soon(struct store *store, struct waiting **out)
{
    struct waiting *waiting = waiting_new(store, NULL);
    if (waiting == NULL)
        return ERR_NOMEM;
    list_add_last(&store->refused, &waiting->in_refused);
    uv_timer_start(&store->soon, soon, 0, 0);
    *out = waiting;
    return ERR_OK;
}

enum err store_send(struct store *store, const struct store_call *call, store_answered done,
                    void *owner, uint64_t token)
{
    struct waiting *waiting = NULL;
    enum err err = ERR_OFFLINE;
    if (store->up)
        err = call->op == STORE_TREE   ? transmit_tree(store, call, &waiting)
              : call->op == STORE_SYNC ? transmit_sync(store, call, &waiting)
                                       : transmit(store, call, &waiting);
    if (err == ERR_OFFLINE)
        err = refuse_soon(store, &waiting);
    if (err != ERR_OK)
        return err;
    waiting->op = call->op;
    waiting->done = done;
    waiting->owner = owner;
    waiting->token = token;
    return ERR_OK;
}

static struct waiting *take_refused(struct store *store)
{
    if (list_is_empty(&store->refused))
        return NULL;
    struct waiting *first = LIST_OWNER(store->refused.head.next, struct waiting, in_refused);
    link_remove(&first->in_refused);
    return first;
}

/* Those that are refused meanwhile wait for the next turn. */
void calls_refuse(struct store *store)
{
    struct list now;
    list_init(&now);
    for (struct waiting *w; (w = take_refused(store)) != NULL;)
        list_add_last(&now, &w->in_refused);
    LIST_EACH (at, then, &now) {
        link_remove(at);
        fail(LIST_OWNER(at, struct waiting, in_refused), SAID_OFFLINE, offline);
    }
}

void calls_forget(struct store *store)
{
    for (struct waiting *w; (w = take_refused(store)) != NULL;)
        waiting_free(w);
}
