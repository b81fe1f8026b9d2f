#include "store/durable.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <stdio.h>

#include "base/list.h"
#include "base/mem.h"
#include "store/answer.h"
#include "store/command.h"

enum { TIMEOUT_MS = 1000, SLACK_MS = 1000, WHY_ROOM = 160 };

struct ask {
    struct link in_list; /* of `waiting` or of `round` */
    enum durability level;
    struct durable_words words;
    durable_answered done; /* NULL: answered already, the replies are still to come */
    void *owner;
    uint64_t due_ms;
    bool brings_text; /* the server did not know the script */
    enum store_verdict said;
    char why[WHY_ROOM];
};

struct durable {
    uv_loop_t *loop;
    struct durable_options options;
    void (*on_closed)(void *owner);
    void *owner;
    struct redis_link *link;
    uv_timer_t alarm; /* the oldest ask has waited long enough */
    unsigned alive;
    bool closed, is_busy; /* is_busy: a round is out */
    struct list waiting, round;
};

/* ---- answers ------------------------------------------------------------------------------- */
static void say(struct ask *ask, enum store_verdict verdict, const char *why, size_t len)
{
    ask->said = verdict;
    snprintf(ask->why, sizeof ask->why, "%.*s", (int)(len < WHY_ROOM ? len : WHY_ROOM - 1), why);
}

static void say_text(struct ask *ask, enum store_verdict verdict, const char *why)
{
    say(ask, verdict, why, strlen(why));
}

/* The last that is done with an ask in `waiting`; the owner may close everything in there. */
static void hand_over(struct ask *ask)
{
    durable_answered done = ask->done;
    ask->done = NULL;
    if (done != NULL)
        done(ask->owner, ask->said, ask->why);
}

static void settle(struct ask *ask)
{
    link_remove(&ask->in_list);
    hand_over(ask);
    mem_free(ask);
}

static struct ask *first_of(const struct list *list)
{
    return list_is_empty(list) ? NULL : LIST_OWNER(list->head.next, struct ask, in_list);
}

/* ---- a round ------------------------------------------------------------------------------- */
static void begin_round(struct durable *durable);

/* What a server without WAITAOF says is no help to who asked for `fsynced`. */
static void say_error(struct ask *ask, const struct redisReply *reply)
{
    bool is_unknown = ask->level == DURABLE_FSYNCED && strstr(reply->str, "unknown command");
    if (is_unknown)
        say_text(ask, SAID_ERROR,
                 "this server has no WAITAOF: fsynced needs Redis 7.2, Valkey 7.2 or later");
    else
        say(ask, SAID_ERROR, reply->str, reply->len);
}

/* No replica at all may be enough for a disk's sake only. */
static unsigned replicas_for(const struct durable *durable, enum durability level)
{
    unsigned replicas = durable->options.replicas;
    return replicas == 0 && level == DURABLE_REPLICATED ? 1 : replicas;
}

static void say_count(const struct durable *durable, struct ask *ask,
                      const struct redisReply *reply)
{
    bool on_disk = ask->level == DURABLE_FSYNCED;
    bool fits = on_disk ? reply->type == REDIS_REPLY_ARRAY && reply->elements == 2
                              && reply->element[0]->type == REDIS_REPLY_INTEGER
                              && reply->element[1]->type == REDIS_REPLY_INTEGER
                        : reply->type == REDIS_REPLY_INTEGER;
    if (!fits) {
        say_text(ask, SAID_ERROR, "redis answered WAIT in a shape that nobody knows");
        return;
    }
    long long own = on_disk ? reply->element[0]->integer : 1;
    long long replicas = on_disk ? reply->element[1]->integer : reply->integer;
    unsigned wanted = replicas_for(durable, ask->level);
    if (own >= 1 && replicas >= (long long)wanted)
        return;
    char text[WHY_ROOM];
    snprintf(text, sizeof text, "%s%lld of %u replicas had it%s within %lld ms",
             own >= 1 ? "" : "it is not on the server's disk, and ", replicas, wanted,
             on_disk ? " on disk" : "", (long long)durable->options.timeout.ms);
    say_text(ask, SAID_ERROR, text);
}

/* Every reply of the round is there, or none will come any more. */
static void waited(void *owner, const struct redisReply *reply)
{
    struct durable *durable = owner;
    for (struct ask *ask; (ask = first_of(&durable->round)) != NULL;) {
        if (ask->said == SAID_UNKNOWN && ask->done != NULL && reply != NULL) {
            link_remove(&ask->in_list);
            ask->brings_text = true;
            list_add_last(&durable->waiting, &ask->in_list);
            continue;
        }
        if (ask->said == SAID_OK && reply == NULL)
            say_text(ask, SAID_OFFLINE, "the connection to redis broke before WAIT was answered");
        else if (ask->said == SAID_OK && reply->type == REDIS_REPLY_ERROR)
            say_error(ask, reply);
        else if (ask->said == SAID_OK)
            say_count(durable, ask, reply);
        settle(ask);
    }
    durable->is_busy = false;
    begin_round(durable);
}

static void synced(void *owner, const struct redisReply *reply)
{
    struct ask *ask = owner;
    if (reply == NULL)
        say_text(ask, SAID_OFFLINE, "the connection to redis broke");
    else if (reply_is_error(reply, "NOSCRIPT"))
        say_text(ask, SAID_UNKNOWN, "redis has forgotten the scripts");
    else {
        struct store_answer answer;
        struct answer_room *nothing = NULL; /* this answer has no arrays */
        answer_read(STORE_SYNC, reply, nothing, &answer);
        if (answer.verdict == SAID_NOT_FOUND)
            say_text(ask, SAID_NOT_FOUND, "redis does not hold it any more: it lost writes");
        else
            say(ask, answer.verdict, answer.text.len > 0 ? answer.text.at : "", answer.text.len);
    }
}

static enum err send_sync(struct durable *durable, struct ask *ask)
{
    struct str argv[COMMAND_ARGS_MAX];
    int argc = ask->words.argc;
    memcpy(argv, ask->words.argv, (size_t)argc * sizeof *argv);
    if (ask->brings_text) {
        argv[0] = STR("EVAL");
        argv[COMMAND_SHA] = ask->words.text;
    }
    return redis_link_command(durable->link, argc, argv, synced, ask);
}

static enum err send_wait(struct durable *durable, enum durability level)
{
    char replicas[16], timeout[24];
    snprintf(replicas, sizeof replicas, "%u", replicas_for(durable, level));
    snprintf(timeout, sizeof timeout, "%lld", (long long)durable->options.timeout.ms);
    const struct str wait[] = {STR("WAIT"), str_of(replicas), str_of(timeout)};
    const struct str waitaof[] = {STR("WAITAOF"), STR("1"), str_of(replicas), str_of(timeout)};
    bool on_disk = level == DURABLE_FSYNCED;
    return redis_link_command(durable->link, on_disk ? 4 : 3, on_disk ? waitaof : wait, waited,
                              durable);
}

/* Those of the oldest one's level; the others are of a later round. */
static void begin_round(struct durable *durable)
{
    const struct ask *first = first_of(&durable->waiting);
    if (first == NULL || durable->closed || durable->is_busy || !redis_link_is_up(durable->link))
        return;
    enum durability level = first->level;
    enum err err = ERR_OK;
    LIST_EACH (at, then, &durable->waiting) {
        struct ask *ask = LIST_OWNER(at, struct ask, in_list);
        if (ask->level != level || err != ERR_OK)
            continue;
        err = send_sync(durable, ask);
        if (err != ERR_OK)
            continue;
        link_remove(at);
        list_add_last(&durable->round, at);
    }
    if (err == ERR_OK || !list_is_empty(&durable->round))
        err = send_wait(durable, level);
    durable->is_busy = err == ERR_OK;
    if (err != ERR_OK) /* what was sent is answered by the link's end */
        redis_link_reset(durable->link, err_text(err));
}

/* ---- patience ------------------------------------------------------------------------------ */
static void set_alarm(struct durable *durable);

static bool expire(struct list *list, uint64_t now, bool is_out)
{
    LIST_EACH (at, then, list) {
        struct ask *ask = LIST_OWNER(at, struct ask, in_list);
        if (ask->done == NULL || ask->due_ms > now)
            continue;
        say_text(ask, SAID_OFFLINE, "redis did not answer WAIT in time");
        if (is_out)
            hand_over(ask); /* freed with its round */
        else
            settle(ask);
        return true; /* whoever was answered may have changed the list */
    }
    return false;
}

static void alarm_rang(uv_timer_t *timer)
{
    struct durable *durable = timer->data;
    uint64_t now = uv_now(durable->loop);
    while (!durable->closed
           && (expire(&durable->waiting, now, false) || expire(&durable->round, now, true))) {
    }
    set_alarm(durable);
}

static uint64_t first_due(const struct list *list, uint64_t due)
{
    LIST_EACH (at, then, list) {
        const struct ask *ask = LIST_OWNER(at, struct ask, in_list);
        if (ask->done != NULL && ask->due_ms < due)
            due = ask->due_ms;
    }
    return due;
}

static void set_alarm(struct durable *durable)
{
    if (durable->closed)
        return;
    uint64_t due = first_due(&durable->waiting, first_due(&durable->round, UINT64_MAX));
    uint64_t now = uv_now(durable->loop);
    if (due == UINT64_MAX)
        uv_timer_stop(&durable->alarm);
    else
        uv_timer_start(&durable->alarm, alarm_rang, due > now ? due - now : 0, 0);
}

/* ---- asking -------------------------------------------------------------------------------- */
enum err durable_ask(struct durable *durable, enum durability level,
                     const struct durable_words *words, durable_answered done, void *owner)
{
    assert(level != DURABLE_MEMORY && !durable->closed);
    struct ask *ask = mem_new(sizeof *ask);
    if (ask == NULL)
        return ERR_NOMEM;
    uint64_t patience = 2 * (uint64_t)durable->options.timeout.ms + SLACK_MS;
    *ask = (struct ask){.level = level,
                        .words = *words,
                        .done = done,
                        .owner = owner,
                        .due_ms = uv_now(durable->loop) + patience,
                        .said = SAID_OFFLINE};
    list_add_last(&durable->waiting, &ask->in_list);
    begin_round(durable);
    if (!uv_is_active((uv_handle_t *)&durable->alarm))
        set_alarm(durable);
    return ERR_OK;
}

/* ---- life ---------------------------------------------------------------------------------- */
static void link_up(void *owner, const struct redis_server *server)
{
    struct durable *durable = owner;
    if (!str_is(server->role, "master"))
        redis_link_reset(durable->link, "the server is a replica");
    else
        begin_round(durable);
}

/* Those in the round have been answered one by one, with nothing. */
static void link_down(void *owner, struct str why)
{
    struct durable *durable = owner;
    (void)why;
    durable->is_busy = false;
    for (struct ask *ask; (ask = first_of(&durable->round)) != NULL;)
        settle(ask);
}

static void nothing_published(void *owner, struct str kind, struct str channel, struct str bytes)
{
    (void)owner, (void)kind, (void)channel, (void)bytes;
}

static void release(struct durable *durable)
{
    if (--durable->alive > 0)
        return;
    void (*on_closed)(void *owner) = durable->on_closed;
    void *owner = durable->owner;
    mem_free(durable);
    on_closed(owner);
}

static void link_closed(void *owner)
{
    release(owner);
}

static void alarm_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static const struct redis_link_events events = {
    .on_up = link_up,
    .on_down = link_down,
    .on_push = nothing_published,
    .on_closed = link_closed,
};

enum err durable_open(uv_loop_t *loop, const struct redis_target *target,
                      const struct durable_options *options, void (*on_closed)(void *owner),
                      void *owner, struct durable **out)
{
    struct durable *durable = mem_new(sizeof *durable);
    if (durable == NULL)
        return ERR_NOMEM;
    durable->loop = loop;
    durable->options = *options;
    if (durable->options.timeout.ms <= 0)
        durable->options.timeout = MILLIS(TIMEOUT_MS);
    durable->on_closed = on_closed;
    durable->owner = owner;
    durable->alive = 2;
    list_init(&durable->waiting);
    list_init(&durable->round);
    struct redis_target patient = *target;
    struct span ping = target->ping_every.ms > 0 ? target->ping_every : SECONDS(3);
    patient.ping_every = MILLIS(ping.ms + durable->options.timeout.ms); /* WAIT is no silence */
    enum err err = redis_link_open(loop, &patient, &events, durable, &durable->link);
    if (err != ERR_OK) {
        mem_free(durable);
        return err;
    }
    uv_timer_init(loop, &durable->alarm);
    durable->alarm.data = durable;
    *out = durable;
    return ERR_OK;
}

void durable_close(struct durable *durable)
{
    assert(!durable->closed);
    durable->closed = true;
    uv_close((uv_handle_t *)&durable->alarm, alarm_closed);
    redis_link_close(durable->link); /* answers what is out */
    for (struct ask *ask; (ask = first_of(&durable->round)) != NULL;)
        settle(ask);
    for (struct ask *ask; (ask = first_of(&durable->waiting)) != NULL;)
        settle(ask);
}
