/* Happy path: store_open -> link_up -> subscriptions renewed, scripts loaded -> script_loaded, the
 * last one -> on_up. Whatever is refused on the way drops the connection, and it begins again: a
 * store is up only when everything that it promises works. */
#include "store/store.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "scripts.h"
#include "store/store_inside.h"

enum { AUDIT_MAX = 100000, TOMBSTONE_TTL_MS = 24 * 60 * 60 * 1000 };

struct subscription {
    unsigned count;
    bool watch;
    struct str root; /* in `channel` */
    char channel[];
};

/* ---- scripts -------------------------------------------------------------------------------- */
static size_t script_at(const char *name)
{
    size_t i = 0;
    while (i < script_text_count && strcmp(script_texts[i].name, name) != 0)
        i++;
    assert(i < script_text_count); /* embedded at build time, like its callers */
    return i;
}

const char *store_sha(const struct store *store, const char *name)
{
    return store->script[script_at(name)].sha;
}

struct str store_script_text(const char *name)
{
    size_t i = script_at(name);
    return (struct str){script_texts[i].text, script_texts[i].len};
}

static void come_up(struct store *store)
{
    const struct redis_server server = {
        .run_id = str_of(store->server.identity),
        .version = str_of(store->server.version),
        .name = str_of(store->server.name),
        .role = str_of(store->server.role),
    };
    store->up = true;
    store->events->on_up(store->owner, &server);
}

static void script_loaded(void *owner, const struct redisReply *reply)
{
    struct script *script = owner;
    struct store *store = script->store;
    store->loading--;
    if (reply == NULL || store->closed)
        return;
    bool is_sha = reply->type == REDIS_REPLY_STRING && reply->len == SHA_HEX;
    if (is_sha)
        memcpy(script->sha, reply->str, SHA_HEX + 1);
    else
        redis_router_reset(store->router,
                           reply->str != NULL ? reply->str : "cannot load the scripts");
    if (is_sha && store->loading == 0 && !store->up && redis_router_is_up(store->router))
        come_up(store);
}

static enum err load_from(struct store *store, size_t first)
{
    assert(script_text_count <= SCRIPTS_MAX && store->loading == 0);
    for (size_t i = first; i < script_text_count; i++) {
        const struct str argv[] = {
            STR("SCRIPT"), STR("LOAD"), {script_texts[i].text, script_texts[i].len}};
        size_t sent = 0;
        store->script[i].store = store;
        enum err err = redis_router_everywhere(store->router, 3, argv, script_loaded,
                                               &store->script[i], &sent);
        store->loading += sent;
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

enum err store_load_scripts(struct store *store)
{
    return load_from(store, 0);
}

/* A server that had them has them still, or says NOSCRIPT: the last one is enough to learn that all
 * was taken which was sent before it. */
static enum err load_what_is_missing(struct store *store, bool is_same_server)
{
    bool has_them = is_same_server && store->script[script_text_count - 1].sha[0] != '\0';
    return load_from(store, has_them ? script_text_count - 1 : 0);
}

/* ---- subscriptions -------------------------------------------------------------------------- */
static void subscribed(void *owner, const struct redisReply *reply)
{
    struct store *store = owner;
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR)
        redis_router_reset(store->router, reply->str);
}

static enum err subscribe(struct store *store, const struct subscription *subscription)
{
    return redis_router_subscribe(store->router, str_of(subscription->channel), subscribed, store);
}

static struct str channel_of(struct store *store, struct str root, bool watch)
{
    return command_channel(&store->command, &store->keys, root, watch);
}

static struct subscription *subscription_new(struct store *store, struct str root, bool watch)
{
    struct str channel = channel_of(store, root, watch);
    struct subscription *made = mem_new(sizeof *made + channel.len + 1);
    if (made == NULL)
        return NULL;
    memcpy(made->channel, channel.at, channel.len);
    made->watch = watch;
    if (root.len > 0)
        made->root = (struct str){strchr(made->channel, '{') + 1, root.len};
    if (map_add(&store->subscriptions, str_of(made->channel), made))
        return made;
    mem_free(made);
    return NULL;
}

enum err store_subscribe(struct store *store, struct str root, bool watch)
{
    struct str channel = channel_of(store, root, watch);
    if (channel.len == 0)
        return ERR_FULL;
    struct subscription *subscription = map_find(&store->subscriptions, channel);
    if (subscription == NULL)
        subscription = subscription_new(store, root, watch);
    if (subscription == NULL)
        return ERR_NOMEM;
    if (subscription->count++ > 0 || !redis_router_is_up(store->router))
        return ERR_OK;
    enum err err = subscribe(store, subscription);
    if (err != ERR_OK) /* it is remembered, and the next connection renews it */
        redis_router_reset(store->router, err_text(err));
    return ERR_OK;
}

void store_unsubscribe(struct store *store, struct str root, bool watch)
{
    struct str channel = channel_of(store, root, watch);
    struct subscription *subscription = map_find(&store->subscriptions, channel);
    if (subscription == NULL)
        return; /* there was no memory for it */
    assert(subscription->count > 0);
    if (--subscription->count > 0)
        return;
    /* When this is not sent the server goes on publishing to us; that is only ignored. */
    enum err err = redis_router_unsubscribe(store->router, channel);
    if (err == ERR_NOMEM)
        redis_router_reset(store->router, err_text(err));
    map_take(&store->subscriptions, channel);
    mem_free(subscription);
}

static enum err renew_subscriptions(struct store *store)
{
    const struct subscription *subscription;
    enum err err = ERR_OK;
    for (size_t at = 0;
         err == ERR_OK && (subscription = map_next(&store->subscriptions, &at)) != NULL;)
        err = subscribe(store, subscription);
    return err;
}

static struct subscription *subscription_of(struct store *store, const struct redisReply *push)
{
    bool has_channel = push != NULL && push->elements == 3 && push->element[1]->str != NULL;
    struct str channel =
        has_channel ? (struct str){push->element[1]->str, push->element[1]->len} : STR_NONE;
    return map_find(&store->subscriptions, channel);
}

static void subscribed_again(void *owner, const struct redisReply *reply)
{
    struct store *store = owner;
    const struct subscription *subscription = subscription_of(store, reply);
    if (subscription == NULL)
        subscribed(store, reply);
    else if (!store->closed)
        store->events->on_missed(store->owner, subscription->root, subscription->watch);
}

static void link_unsubscribed(void *owner, struct str channel)
{
    struct store *store = owner;
    if (store->closed || map_find(&store->subscriptions, channel) == NULL)
        return;
    enum err err = redis_router_subscribe(store->router, channel, subscribed_again, store);
    if (err != ERR_OK && err != ERR_OFFLINE) /* offline: the next link-up renews it */
        redis_router_reset(store->router, err_text(err));
}

/* ---- the link ------------------------------------------------------------------------------- */
static void keep(char *out, size_t room, struct str text)
{
    snprintf(out, room, "%.*s", (int)text.len, text.at);
}

/* A server that was demoted and promoted again has another history, though it is the same process:
 * meanwhile somebody else was written to. */
static void identify(const struct redis_server *server, char *out, size_t room)
{
    snprintf(out, room, "%.*s:%.*s", (int)server->run_id.len, server->run_id.at,
             (int)server->history.len, server->history.at);
}

static void link_up(void *owner, const struct redis_server *server)
{
    struct store *store = owner;
    if (store->closed)
        return;
    if (!str_is(server->role, "master")) {
        redis_router_reset(store->router, "the server is a replica");
        return;
    }
    char identity[sizeof store->server.identity];
    identify(server, identity, sizeof identity);
    bool is_same = strcmp(identity, store->server.identity) == 0;
    memcpy(store->server.identity, identity, sizeof identity);
    keep(store->server.version, sizeof store->server.version, server->version);
    keep(store->server.name, sizeof store->server.name, server->name);
    keep(store->server.role, sizeof store->server.role, server->role);
    enum err err = renew_subscriptions(store);
    if (err == ERR_OK)
        err = load_what_is_missing(store, is_same);
    if (err != ERR_OK)
        redis_router_reset(store->router, err_text(err));
}

static void link_push(void *owner, struct str kind, struct str channel, struct str bytes)
{
    struct store *store = owner;
    (void)kind;
    const struct subscription *subscription = map_find(&store->subscriptions, channel);
    if (subscription != NULL && !store->closed)
        store->events->on_message(store->owner, subscription->root, subscription->watch, bytes);
}

/* ---- the second connections ----------------------------------------------------------------- */
struct second {
    struct durable *durable;
    size_t len;
    char place[]; /* "" where the url says */
};

static void release(struct store *store);

static void durable_closed(void *owner)
{
    release(owner);
}

static enum err open_second(struct store *store, struct str place, const char *host, int port,
                            struct second **out)
{
    struct redis_target target = store->target;
    struct second *second = mem_new(sizeof *second + place.len);
    if (second == NULL)
        return ERR_NOMEM;
    if (host != NULL) {
        target.host = host;
        target.port = port;
    }
    second->len = place.len;
    memcpy(second->place, place.at, place.len);
    enum err err = durable_open(store->loop, &target, &store->durable_options, durable_closed,
                                store, &second->durable);
    if (err != ERR_OK) {
        mem_free(second);
        return err;
    }
    store->alive++;
    *out = second;
    return ERR_OK;
}

enum err store_durable(struct store *store, struct str key, struct durable **out)
{
    char text[300];
    const char *host = NULL;
    int port = 0;
    enum err err = redis_router_place(store->router, key, &host, &port);
    if (err != ERR_OK)
        return err;
    int len = host != NULL ? snprintf(text, sizeof text, "%s:%d", host, port) : 0;
    struct str place = {text, len < (int)sizeof text ? (size_t)len : 0};
    struct second *second = map_find(&store->seconds, place);
    if (second == NULL) {
        err = open_second(store, place, host, port, &second);
        if (err == ERR_OK
            && !map_add(&store->seconds, (struct str){second->place, second->len}, second)) {
            durable_close(second->durable);
            mem_free(second);
            err = ERR_NOMEM;
        }
    }
    if (err == ERR_OK)
        *out = second->durable;
    return err;
}

/* Also when a cluster is away: its masters may be others afterwards, and are asked for again. */
static void close_seconds(struct store *store)
{
    struct second *second;
    for (size_t at = 0; (second = map_next(&store->seconds, &at)) != NULL;) {
        map_take(&store->seconds, (struct str){second->place, second->len});
        durable_close(second->durable);
        mem_free(second);
    }
}

static void link_down(void *owner, struct str why)
{
    struct store *store = owner;
    store->up = false;
    if (redis_router_is_sharded(store->router))
        close_seconds(store);
    if (!store->closed)
        store->events->on_down(store->owner, why);
}

static const char *keep_text(struct store *store, const char *text)
{
    char **kept = &store->target_text[store->target_texts];
    if (text == NULL)
        return NULL;
    *kept = mem_copy(str_of(text));
    store->target_texts++;
    return *kept;
}

static bool keep_target(struct store *store, const struct redis_target *target)
{
    struct redis_target *kept = &store->target;
    *kept = *target;
    kept->url = keep_text(store, target->url);
    kept->host = keep_text(store, target->host);
    kept->tls.ca_file = keep_text(store, target->tls.ca_file);
    kept->tls.cert_file = keep_text(store, target->tls.cert_file);
    kept->tls.key_file = keep_text(store, target->tls.key_file);
    kept->tls.name = keep_text(store, target->tls.name);
    kept->user = keep_text(store, target->user);
    kept->password = keep_text(store, target->password);
    kept->client_name = keep_text(store, target->client_name);
    for (size_t i = 0; i < store->target_texts; i++)
        if (store->target_text[i] == NULL)
            return false;
    return true;
}

static void forget_target(struct store *store)
{
    for (size_t i = 0; i < store->target_texts; i++)
        mem_free(store->target_text[i]);
}

/* ---- life ----------------------------------------------------------------------------------- */
static void store_free(struct store *store)
{
    struct subscription *subscription;
    for (size_t at = 0; (subscription = map_next(&store->subscriptions, &at)) != NULL;)
        mem_free(subscription);
    map_fini(&store->subscriptions);
    map_fini(&store->seconds);
    answer_room_fini(&store->room);
    mem_free(store->keys.prefix);
    forget_target(store);
    mem_free(store);
}

static void release(struct store *store)
{
    if (--store->alive > 0)
        return;
    const struct store_events *events = store->events;
    void *owner = store->owner;
    store_free(store);
    events->on_closed(owner);
}

static void link_closed(void *owner)
{
    release(owner);
}

static void timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static const struct redis_router_events router_events = {
    .on_up = link_up,
    .on_down = link_down,
    .on_push = link_push,
    .on_unsubscribed = link_unsubscribed,
    .on_closed = link_closed,
};

static bool copy_options(struct store *store, const struct store_options *options)
{
    int64_t ttl = options->tombstone_ttl.ms > 0 ? options->tombstone_ttl.ms : TOMBSTONE_TTL_MS;
    size_t audit = options->audit_max > 0 ? options->audit_max : AUDIT_MAX;
    const char *prefix = options->namespace != NULL ? options->namespace : "bw";
    snprintf(store->keys.ttl, sizeof store->keys.ttl, "%" PRId64, ttl);
    snprintf(store->keys.audit_max, sizeof store->keys.audit_max, "%zu", audit);
    store->keys.prefix = mem_copy(str_of(prefix));
    return store->keys.prefix != NULL;
}

enum err store_open(uv_loop_t *loop, const struct redis_target *target,
                    const struct store_options *options, const struct store_events *events,
                    void *owner, struct store **out)
{
    struct store *store = mem_new(sizeof *store);
    if (store == NULL)
        return ERR_NOMEM;
    store->events = events;
    store->owner = owner;
    store->alive = 2;
    store->loop = loop;
    store->durable_options = options->durable;
    store->subscriptions.seed = (uint32_t)target->seed;
    list_init(&store->refused);
    bool is_kept = keep_target(store, target);
    enum err err = copy_options(store, options) && is_kept ? ERR_OK : ERR_NOMEM;
    if (err == ERR_OK)
        err = redis_router_open(loop, target, &router_events, store, &store->router);
    if (err != ERR_OK) {
        store_free(store);
        return err;
    }
    store->keys.publish = redis_router_is_sharded(store->router) ? "SPUBLISH" : "PUBLISH";
    uv_timer_init(loop, &store->soon);
    store->soon.data = store;
    *out = store;
    return ERR_OK;
}

void store_close(struct store *store)
{
    assert(!store->closed);
    store->closed = true;
    store->up = false;
    calls_forget(store);
    uv_close((uv_handle_t *)&store->soon, timer_closed);
    close_seconds(store);
    redis_router_close(store->router);
}

struct redis_router *store_router(struct store *store)
{
    return store->router;
}
