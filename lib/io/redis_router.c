#include "io/redis_router.h"

#include "base/mem.h"
#include "io/redis_cluster.h"
#include "io/redis_url.h"

struct redis_router { /* one of the two */
    struct redis_link *link;
    struct redis_cluster *cluster;
    const struct redis_router_events *events;
    void *owner;
};

static void link_up(void *owner, const struct redis_server *server)
{
    const struct redis_router *router = owner;
    router->events->on_up(router->owner, server);
}

static void link_down(void *owner, struct str why)
{
    const struct redis_router *router = owner;
    router->events->on_down(router->owner, why);
}

static void link_push(void *owner, struct str kind, struct str channel, struct str bytes)
{
    const struct redis_router *router = owner;
    router->events->on_push(router->owner, kind, channel, bytes);
}

static void link_unsubscribed(void *owner, struct str channel)
{
    const struct redis_router *router = owner;
    router->events->on_unsubscribed(router->owner, channel);
}

static void link_closed(void *owner)
{
    struct redis_router *router = owner;
    const struct redis_router_events *events = router->events;
    void *whose = router->owner;
    mem_free(router);
    events->on_closed(whose);
}

static const struct redis_link_events link_events = {
    .on_up = link_up,
    .on_down = link_down,
    .on_push = link_push,
    .on_closed = link_closed,
};
static const struct redis_router_events cluster_events = {
    .on_up = link_up,
    .on_down = link_down,
    .on_push = link_push,
    .on_closed = link_closed,
    .on_unsubscribed = link_unsubscribed,
};

static enum err is_of_a_cluster(const char *text, bool *out)
{
    struct redis_url url;
    const char *why;
    enum err err = redis_url_parse(text, &url, &why);
    if (err != ERR_OK)
        return err;
    *out = url.kind == REDIS_CLUSTER;
    redis_url_fini(&url);
    return ERR_OK;
}

enum err redis_router_open(uv_loop_t *loop, const struct redis_target *target,
                           const struct redis_router_events *events, void *owner,
                           struct redis_router **out)
{
    struct redis_router *router = mem_new(sizeof *router);
    bool is_cluster = false;
    if (router == NULL)
        return ERR_NOMEM;
    router->events = events;
    router->owner = owner;
    enum err err = is_of_a_cluster(target->url, &is_cluster);
    if (err == ERR_OK && is_cluster)
        err = redis_cluster_open(loop, target, &cluster_events, router, &router->cluster);
    else if (err == ERR_OK)
        err = redis_link_open(loop, target, &link_events, router, &router->link);
    if (err == ERR_OK)
        *out = router;
    else
        mem_free(router);
    return err;
}

void redis_router_close(struct redis_router *router)
{
    if (router->link != NULL)
        redis_link_close(router->link);
    else
        redis_cluster_close(router->cluster);
}

bool redis_router_is_up(const struct redis_router *router)
{
    return router->link != NULL ? redis_link_is_up(router->link)
                                : redis_cluster_is_up(router->cluster);
}

bool redis_router_is_sharded(const struct redis_router *router)
{
    return router->cluster != NULL;
}

enum err redis_router_command(struct redis_router *router, struct str key, int argc,
                              const struct str *argv, redis_answered done, void *owner)
{
    if (router->link != NULL)
        return redis_link_command(router->link, argc, argv, done, owner);
    return redis_cluster_command(router->cluster, key, argc, argv, done, owner);
}

enum err redis_router_everywhere(struct redis_router *router, int argc, const struct str *argv,
                                 redis_answered done, void *owner, size_t *sent)
{
    if (router->cluster != NULL)
        return redis_cluster_everywhere(router->cluster, argc, argv, done, owner, sent);
    enum err err = redis_link_command(router->link, argc, argv, done, owner);
    *sent = err == ERR_OK ? 1 : 0;
    return err;
}

enum err redis_router_subscribe(struct redis_router *router, struct str channel,
                                redis_answered done, void *owner)
{
    if (router->cluster != NULL)
        return redis_cluster_subscribe(router->cluster, "SSUBSCRIBE", channel, done, owner);
    return redis_link_subscribe(router->link, "SUBSCRIBE", channel, done, owner);
}

enum err redis_router_unsubscribe(struct redis_router *router, struct str channel)
{
    if (router->cluster != NULL)
        return redis_cluster_subscribe(router->cluster, "SUNSUBSCRIBE", channel, NULL, NULL);
    return redis_link_subscribe(router->link, "UNSUBSCRIBE", channel, NULL, NULL);
}

void redis_router_reset(struct redis_router *router, const char *why)
{
    if (router->link != NULL)
        redis_link_reset(router->link, why);
    else
        redis_cluster_reset(router->cluster, why);
}

enum err redis_router_place(const struct redis_router *router, struct str key, const char **host,
                            int *port)
{
    if (router->cluster != NULL)
        return redis_cluster_place(router->cluster, key, host, port);
    *host = NULL;
    return ERR_OK;
}

struct redis_router_stats redis_router_stats(const struct redis_router *router)
{
    return router->cluster != NULL ? redis_cluster_stats(router->cluster)
                                   : (struct redis_router_stats){0};
}
