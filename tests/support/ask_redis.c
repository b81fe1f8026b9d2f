#include "support/ask_redis.h"

#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "scripts.h"

static const char marker[] = "end-of-what-was-published";

static void give_up(const char *what, const redisContext *context)
{
    fprintf(stderr, "ask_redis: %s: %s\n", what, context->errstr);
    abort();
}

static void set_reply(struct redis_asker *asker, redisReply *reply)
{
    if (reply == NULL)
        give_up("no answer", asker->context);
    freeReplyObject(asker->reply);
    asker->reply = reply;
}

static void load_scripts(struct redis_asker *asker)
{
    for (size_t i = 0; i < script_text_count; i++) {
        set_reply(asker, redisCommand(asker->context, "SCRIPT LOAD %b", script_texts[i].text,
                                      script_texts[i].len));
        if (asker->reply->type != REDIS_REPLY_STRING) {
            fprintf(stderr, "ask_redis: %s.lua: %s\n", script_texts[i].name, asker->reply->str);
            abort();
        }
        snprintf(asker->sha[i], sizeof asker->sha[i], "%s", asker->reply->str);
    }
}

void redis_asker_init(struct redis_asker *asker, const struct redis_process *process)
{
    static char prefix[] = "bw";
    *asker = (struct redis_asker){
        .keys = {.prefix = prefix, .publish = "PUBLISH", .ttl = "86400000", .audit_max = "1000"}};
    asker->context = redis_process_connect(process);
    asker->listener = redis_process_connect(process);
    load_scripts(asker);
    redisReply *reply = redisCommand(asker->listener, "PSUBSCRIBE *");
    if (reply == NULL)
        give_up("cannot listen", asker->listener);
    freeReplyObject(reply);
}

void redis_asker_fini(struct redis_asker *asker)
{
    freeReplyObject(asker->reply);
    answer_room_fini(&asker->room);
    redisFree(asker->context);
    redisFree(asker->listener);
}

static const char *sha_of(const struct redis_asker *asker, const char *name)
{
    size_t i = 0;
    while (i < script_text_count && strcmp(script_texts[i].name, name) != 0)
        i++;
    if (i == script_text_count)
        give_up(name, asker->context);
    return asker->sha[i];
}

static void send_words(struct redis_asker *asker)
{
    const char *argv[COMMAND_ARGS_MAX];
    size_t len[COMMAND_ARGS_MAX];
    const struct command *command = &asker->command;
    for (int i = 0; i < command->argc; i++) {
        argv[i] = command->argv[i].len > 0 ? command->argv[i].at : "";
        len[i] = command->argv[i].len;
    }
    set_reply(asker, redisCommandArgv(asker->context, command->argc, argv, len));
}

void redis_ask(struct redis_asker *asker, const struct store_call *call, struct store_answer *out)
{
    for (int step = 0; step < command_steps(call->op); step++) {
        if (!command_make(&asker->command, &asker->keys, call, step))
            give_up("the call does not fit", asker->context);
        if (asker->command.script != NULL)
            asker->command.argv[COMMAND_SHA] = str_of(sha_of(asker, asker->command.script));
        send_words(asker);
    }
    answer_read(call->op, asker->reply, &asker->room, out);
}

const struct redisReply *redis_tell(struct redis_asker *asker, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(asker->context, format, args);
    va_end(args);
    set_reply(asker, reply);
    return asker->reply;
}

/* A marker goes the same way as the messages: before it is everything that was published. */
void redis_hear(struct redis_asker *asker, redis_heard *heard, void *owner)
{
    bool is_marker = false;
    set_reply(asker, redisCommand(asker->context, "PUBLISH %s x", marker));
    while (!is_marker) {
        redisReply *message = NULL;
        if (redisGetReply(asker->listener, (void **)&message) != REDIS_OK)
            give_up("cannot listen", asker->listener);
        const redisReply *channel = message->element[2], *bytes = message->element[3];
        is_marker = strcmp(channel->str, marker) == 0;
        if (!is_marker)
            heard(owner, (struct str){channel->str, channel->len},
                  (struct str){bytes->str, bytes->len});
        freeReplyObject(message);
    }
}
