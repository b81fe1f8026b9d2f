/* Happy path: redis_sentinels_open -> (sentinel_up) -> ask_one -> (address_told, epoch_told) ->
 * choose -> on_moved. Asked again by every +switch-master, and every ASK_EVERY. */
#include "io/redis_sentinel.h"

#include <hiredis/hiredis.h>
#include <stdio.h>

#include "base/mem.h"

enum { ASK_EVERY_MS = 3000, HOST_ROOM = 256, WHY_ROOM = 160 };

struct answer { /* a value */
    char host[HOST_ROOM];
    int port; /* 0: has not answered */
    int64_t epoch;
};

struct sentinel {
    struct redis_sentinels *all;
    const struct redis_host *place; /* in the url of the one who opened us */
    struct redis_link *link;
    bool asked;         /* and not answered yet */
    struct answer half; /* the address; the epoch is under way */
    struct answer said; /* the last whole answer */
    char why[WHY_ROOM]; /* it has none: "" or what went wrong last */
};

struct redis_sentinels {
    const struct redis_sentinels_events *events;
    void *owner;
    char *name; /* of the master */
    uv_timer_t ask_again;
    struct redis_host master; /* name NULL: nobody has said */
    bool closing;
    unsigned alive; /* links and the timer */
    size_t count;
    struct sentinel sentinel[];
};

static void no_closed(void *owner)
{
    (void)owner;
}
static const struct redis_sentinels_events silent = {.on_closed = no_closed};

static void release(struct redis_sentinels *all)
{
    if (--all->alive > 0)
        return;
    const struct redis_sentinels_events *events = all->events;
    void *owner = all->owner;
    mem_free(all->master.name);
    mem_free(all->name);
    mem_free(all);
    events->on_closed(owner);
}

/* ---- choosing ------------------------------------------------------------------------------- */
static bool is_same_place(const struct answer *a, const struct answer *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

static size_t votes_for(const struct redis_sentinels *all, const struct answer *answer)
{
    size_t votes = 0;
    for (size_t i = 0; i < all->count; i++)
        votes += is_same_place(&all->sentinel[i].said, answer) ? 1 : 0;
    return votes;
}

static bool is_better(const struct redis_sentinels *all, const struct answer *answer,
                      const struct answer *best)
{
    if (answer->port == 0 || best == NULL || answer->epoch != best->epoch)
        return answer->port != 0 && (best == NULL || answer->epoch > best->epoch);
    return votes_for(all, answer) > votes_for(all, best);
}

static void choose(struct redis_sentinels *all)
{
    const struct answer *best = NULL;
    for (size_t i = 0; i < all->count; i++)
        if (is_better(all, &all->sentinel[i].said, best))
            best = &all->sentinel[i].said;
    bool is_known = best == NULL
                    || (all->master.name != NULL && all->master.port == best->port
                        && strcmp(all->master.name, best->host) == 0);
    char *name = is_known ? NULL : mem_copy(str_of(best->host));
    if (name == NULL) /* without memory it is chosen when they are asked again */
        return;
    mem_free(all->master.name);
    all->master = (struct redis_host){.name = name, .port = best->port};
    all->events->on_moved(all->owner);
}

/* ---- asking --------------------------------------------------------------------------------- */
static void complain(struct sentinel *sentinel, const char *why)
{
    snprintf(sentinel->why, sizeof sentinel->why, "%s", why);
}

static const redisReply *field_of(const redisReply *reply, const char *name)
{
    for (size_t i = 0; i + 1 < reply->elements; i += 2)
        if (reply->element[i]->str != NULL && strcmp(reply->element[i]->str, name) == 0)
            return reply->element[i + 1];
    return NULL;
}

static int64_t number_in(const redisReply *reply)
{
    int64_t number = 0;
    bool is_number = reply != NULL && reply->str != NULL
                     && str_to_int((struct str){reply->str, reply->len}, &number);
    return is_number && number > 0 ? number : 0;
}

/* The answer to SENTINEL MASTER. An ACL may keep it from us: then all epochs are 0. */
static void epoch_told(void *owner, const struct redisReply *reply)
{
    struct sentinel *sentinel = owner;
    sentinel->asked = false;
    if (reply == NULL || sentinel->all->closing || sentinel->half.port == 0)
        return;
    sentinel->said = sentinel->half;
    sentinel->said.epoch = number_in(field_of(reply, "config-epoch"));
    choose(sentinel->all);
}

static bool read_address(const redisReply *reply, struct answer *out)
{
    if (reply->elements != 2 || reply->element[0]->str == NULL)
        return false;
    int64_t port = number_in(reply->element[1]);
    size_t len = reply->element[0]->len;
    if (port < 1 || port > 65535 || len == 0 || len >= HOST_ROOM
        || strlen(reply->element[0]->str) != len)
        return false;
    memcpy(out->host, reply->element[0]->str, len + 1);
    out->port = (int)port;
    return true;
}

/* The answer to SENTINEL GET-MASTER-ADDR-BY-NAME: during a failover the new master's already. */
static void address_told(void *owner, const struct redisReply *reply)
{
    struct sentinel *sentinel = owner;
    char why[WHY_ROOM];
    sentinel->half = (struct answer){0};
    if (reply == NULL || read_address(reply, &sentinel->half))
        return;
    if (reply->type == REDIS_REPLY_NIL)
        snprintf(why, sizeof why, "knows no master named \"%.60s\"", sentinel->all->name);
    else
        snprintf(why, sizeof why, "%s",
                 reply->type == REDIS_REPLY_ERROR ? reply->str
                                                  : "had an answer that is no address");
    complain(sentinel, why);
    sentinel->said = (struct answer){0};
}

static void ask_one(struct sentinel *sentinel)
{
    const struct str name = str_of(sentinel->all->name);
    const struct str address[] = {STR("SENTINEL"), STR("GET-MASTER-ADDR-BY-NAME"), name};
    const struct str epoch[] = {STR("SENTINEL"), STR("MASTER"), name};
    if (sentinel->asked || !redis_link_is_up(sentinel->link))
        return;
    if (redis_link_command(sentinel->link, 3, address, address_told, sentinel) != ERR_OK)
        return;
    sentinel->asked = redis_link_command(sentinel->link, 3, epoch, epoch_told, sentinel) == ERR_OK;
}

void redis_sentinels_ask(struct redis_sentinels *all)
{
    for (size_t i = 0; i < all->count; i++)
        ask_one(&all->sentinel[i]);
}

static void time_to_ask(uv_timer_t *timer)
{
    redis_sentinels_ask(timer->data);
}

/* ---- the connections ------------------------------------------------------------------------ */
static void sentinel_up(void *owner, const struct redis_server *server)
{
    struct sentinel *sentinel = owner;
    (void)server;
    if (sentinel->all->closing)
        return;
    /* Refused by an ACL it is asked every ASK_EVERY all the same. */
    (void)!redis_link_subscribe(sentinel->link, "SUBSCRIBE", STR("+switch-master"), NULL, NULL);
    sentinel->asked = false;
    ask_one(sentinel);
}

static void sentinel_down(void *owner, struct str why)
{
    struct sentinel *sentinel = owner;
    sentinel->asked = false;
    snprintf(sentinel->why, sizeof sentinel->why, "%.*s", (int)why.len, why.at);
}

/* "NAME OLD-IP OLD-PORT NEW-IP NEW-PORT", perhaps of a master that is not ours. */
static void sentinel_push(void *owner, struct str kind, struct str channel, struct str bytes)
{
    struct sentinel *sentinel = owner;
    (void)kind;
    (void)channel;
    if (!sentinel->all->closing && str_is(str_cut(&bytes, ' '), sentinel->all->name))
        redis_sentinels_ask(sentinel->all);
}

static void sentinel_closed(void *owner)
{
    release(((struct sentinel *)owner)->all);
}

static void timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static const struct redis_link_events sentinel_events = {
    .on_up = sentinel_up,
    .on_down = sentinel_down,
    .on_push = sentinel_push,
    .on_closed = sentinel_closed,
};

/* ---- life ----------------------------------------------------------------------------------- */
static enum err open_links(struct redis_sentinels *all, uv_loop_t *loop,
                           const struct redis_target *target, const struct redis_url *url)
{
    struct redis_target place = *target;
    for (size_t i = 0; i < url->host_count; i++) {
        struct sentinel *sentinel = &all->sentinel[i];
        place.host = url->host[i].name;
        place.port = url->host[i].port;
        place.seed = target->seed + i;
        sentinel->all = all;
        sentinel->place = &url->host[i];
        enum err err = redis_link_open(loop, &place, &sentinel_events, sentinel, &sentinel->link);
        if (err != ERR_OK)
            return err;
        all->count++;
        all->alive++;
    }
    return ERR_OK;
}

enum err redis_sentinels_open(uv_loop_t *loop, const struct redis_target *target,
                              const struct redis_url *url,
                              const struct redis_sentinels_events *events, void *owner,
                              struct redis_sentinels **out)
{
    struct redis_sentinels *all = mem_new(sizeof *all + url->host_count * sizeof *all->sentinel);
    char *name = mem_copy(str_of(url->master));
    if (all == NULL || name == NULL) {
        mem_free(all);
        mem_free(name);
        return ERR_NOMEM;
    }
    all->events = events;
    all->owner = owner;
    all->name = name;
    all->alive = 1;
    uv_timer_init(loop, &all->ask_again);
    all->ask_again.data = all;
    uv_timer_start(&all->ask_again, time_to_ask, ASK_EVERY_MS, ASK_EVERY_MS);
    enum err err = open_links(all, loop, target, url);
    if (err != ERR_OK) {
        all->events = &silent;
        redis_sentinels_close(all);
        return err;
    }
    *out = all;
    return ERR_OK;
}

void redis_sentinels_close(struct redis_sentinels *all)
{
    all->closing = true;
    uv_close((uv_handle_t *)&all->ask_again, timer_closed);
    for (size_t i = 0; i < all->count; i++)
        redis_link_close(all->sentinel[i].link);
}

const struct redis_host *redis_sentinels_master(const struct redis_sentinels *all)
{
    return all->master.name != NULL ? &all->master : NULL;
}

void redis_sentinels_why(const struct redis_sentinels *all, char *why, size_t room)
{
    int used = snprintf(why, room, "no sentinel says where \"%.60s\" is", all->name);
    for (size_t i = 0; i < all->count && used > 0 && (size_t)used < room; i++) {
        const struct sentinel *sentinel = &all->sentinel[i];
        used += snprintf(why + used, room - (size_t)used, "%s %.60s:%d: %.70s", i > 0 ? ";" : ":",
                         sentinel->place->name, sentinel->place->port,
                         sentinel->why[0] != '\0' ? sentinel->why : "no answer yet");
    }
}
