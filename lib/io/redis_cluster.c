/* Happy path: redis_cluster_open -> reach_hosts -> node_up -> look -> slots_told -> (node_up of
 * each master) -> settle -> come_up. Ways to fail: whatever is missing is found by settle(), which
 * goes down, and look() asks again until nothing is missing. */
#include "io/redis_cluster.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "io/redis_cluster_inside.h"

enum {
    LOOK_EVERY_MS = 10000, /* while all is well: a slot that moves is found by MOVED */
    LOOK_AGAIN_MS = 100,   /* while something is missing; half of it and up to as much again */
    UNUSED_MS = 30000      /* a node without slots is left after this */
};

static const struct redis_link_events node_events;

/* ---- nodes --------------------------------------------------------------------------------- */
static struct node *find_node(struct redis_cluster *cluster, struct str host, int port)
{
    LIST_EACH (at, then, &cluster->nodes) {
        struct node *node = LIST_OWNER(at, struct node, in_nodes);
        if (node->port == port && str_is(host, node->host))
            return node;
    }
    return NULL;
}

struct node *node_at(struct redis_cluster *cluster, struct str host, int port)
{
    struct node *node = find_node(cluster, host, port);
    if (node != NULL || cluster->closed)
        return node;
    node = mem_new(sizeof *node + host.len + 1);
    if (node == NULL)
        return NULL;
    memcpy(node->host, host.at, host.len);
    node->port = port;
    node->cluster = cluster;
    node->used_ms = uv_now(cluster->loop);
    snprintf(node->why, sizeof node->why, "not connected yet");
    struct redis_target target = cluster->target;
    target.host = node->host;
    target.port = port;
    target.seed = rng_next(&cluster->rng);
    if (redis_link_open(cluster->loop, &target, &node_events, node, &node->link) != ERR_OK) {
        mem_free(node);
        return NULL;
    }
    cluster->alive++;
    list_add_last(&cluster->nodes, &node->in_nodes);
    return node;
}

static void leave(struct node *node)
{
    if (node->cluster->told_of == node)
        node->cluster->told_of = NULL;
    link_remove(&node->in_nodes);
    redis_link_close(node->link);
}

static void leave_the_useless(struct redis_cluster *cluster)
{
    LIST_EACH (at, then, &cluster->nodes) {
        struct node *node = LIST_OWNER(at, struct node, in_nodes);
        if (node->slots == 0 && uv_now(cluster->loop) - node->used_ms >= UNUSED_MS)
            leave(node);
    }
}

static void reach_hosts(struct redis_cluster *cluster)
{
    for (size_t i = 0; i < cluster->url.host_count; i++)
        (void)node_at(cluster, str_of(cluster->url.host[i].name), cluster->url.host[i].port);
}

void slot_give(struct redis_cluster *cluster, unsigned number, struct node *node)
{
    struct slot *slot = &cluster->slots[number];
    if (slot->owner == node)
        return;
    if (slot->owner != NULL)
        slot->owner->slots--;
    else
        cluster->unowned--;
    slot->owner = node;
    if (node != NULL)
        node->slots++;
    else
        cluster->unowned++;
    slot->is_held = slot->flying > 0; /* what is said to the new one waits for them */
}

/* The other servers may not have heard of it yet. */
void slot_moved(struct redis_cluster *cluster, unsigned slot, struct node *node)
{
    slot_give(cluster, slot, node);
    cluster->told_of = node;
    look_soon(cluster, 0);
}

/* ---- up and down --------------------------------------------------------------------------- */
static bool is_known(const struct redis_cluster *cluster, const struct node *node)
{
    for (size_t i = 0; i < cluster->known_count; i++)
        if (strcmp(cluster->known[i], node->life) == 0)
            return true;
    return false;
}

/* False: nothing is missing. */
static bool is_missing(const struct redis_cluster *cluster, char why[WHY_ROOM])
{
    LIST_EACH (at, then, &cluster->nodes) {
        const struct node *node = LIST_OWNER(at, struct node, in_nodes);
        if (node->slots == 0 || node->is_master)
            continue;
        snprintf(why, WHY_ROOM, "%.80s:%d, which holds %zu slots: %.160s", node->host, node->port,
                 node->slots, node->why);
        return true;
    }
    if (cluster->unowned > 0)
        snprintf(why, WHY_ROOM, "%zu slots of the cluster have no master", cluster->unowned);
    else if (!cluster->is_well)
        snprintf(why, WHY_ROOM, "the cluster says that it is down");
    return cluster->unowned > 0 || !cluster->is_well;
}

static bool has_a_new_master(const struct redis_cluster *cluster)
{
    LIST_EACH (at, then, &cluster->nodes) {
        const struct node *node = LIST_OWNER(at, struct node, in_nodes);
        if (node->slots > 0 && !is_known(cluster, node))
            return true;
    }
    return false;
}

static void go_down(struct redis_cluster *cluster, const char *why)
{
    cluster->up = false;
    look_soon(cluster, LOOK_AGAIN_MS);
    errands_drop(cluster);
    if (!cluster->closed)
        cluster->events->on_down(cluster->owner, str_of(why));
}

static uint64_t mixed(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
    return hash;
}

/* The lives of all masters as one; in any order, for they are told in none. */
static void name_anew(struct redis_cluster *cluster)
{
    uint64_t all = 0;
    for (size_t i = 0; i < cluster->known_count; i++)
        all += mixed(UINT64_C(14695981039346656037), cluster->known[i]);
    snprintf(cluster->identity, sizeof cluster->identity, "cluster-%016" PRIx64 "-%u", all,
             cluster->losses++);
}

/* False: there is no memory to remember them by; nothing has changed. */
static bool remember_masters(struct redis_cluster *cluster)
{
    bool is_new = has_a_new_master(cluster);
    size_t count = 0;
    LIST_EACH (at, then, &cluster->nodes)
        count += LIST_OWNER(at, struct node, in_nodes)->slots > 0 ? 1 : 0;
    void *known = cluster->known;
    if (!mem_grow(&known, &cluster->known_room, sizeof *cluster->known, count))
        return false;
    cluster->known = known;
    cluster->known_count = 0;
    LIST_EACH (at, then, &cluster->nodes) {
        const struct node *node = LIST_OWNER(at, struct node, in_nodes);
        if (node->slots > 0)
            memcpy(cluster->known[cluster->known_count++], node->life, LIFE_ROOM);
    }
    if (is_new)
        name_anew(cluster);
    return true;
}

static void come_up(struct redis_cluster *cluster)
{
    const struct node *first = cluster->slots[0].owner;
    if (!remember_masters(cluster)) {
        look_soon(cluster, LOOK_AGAIN_MS);
        return;
    }
    const struct redis_server server = {
        .run_id = str_of(cluster->identity),
        .history = STR(""),
        .version = str_of(first->version),
        .name = str_of(first->name),
        .role = STR("master"),
    };
    cluster->up = true;
    look_soon(cluster, LOOK_EVERY_MS);
    cluster->events->on_up(cluster->owner, &server);
}

void settle(struct redis_cluster *cluster)
{
    char why[WHY_ROOM] = "a master is there that was none before: a replica was promoted, or it "
                         "was started again";
    if (cluster->closed)
        return;
    bool missing = is_missing(cluster, why);
    if (cluster->up && (missing || has_a_new_master(cluster)))
        go_down(cluster, why);
    if (!cluster->closed && !cluster->up && !missing)
        come_up(cluster);
}

/* ---- asking for the slots ------------------------------------------------------------------ */
static bool read_ranges(struct redis_cluster *cluster, const redisReply *reply,
                        const struct node *told_by)
{
    bool is_owned[SLOT_COUNT] = {false};
    struct slot_range range;
    for (size_t i = 0; i < reply->elements; i++)
        if (!slot_range_read(reply->element[i], &range))
            return false;
    for (size_t i = 0; i < reply->elements; i++) {
        (void)slot_range_read(reply->element[i], &range);
        struct str host = range.host.len > 0 ? range.host : str_of(told_by->host);
        struct node *node = node_at(cluster, host, range.port);
        for (unsigned slot = range.first; node != NULL && slot <= range.last; slot++) {
            slot_give(cluster, slot, node);
            is_owned[slot] = true;
        }
    }
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++)
        if (!is_owned[slot])
            slot_give(cluster, slot, NULL);
    return true;
}

/* What a server is, it says at the greeting alone. */
static void greet_the_promoted(struct redis_cluster *cluster)
{
    LIST_EACH (at, then, &cluster->nodes) {
        struct node *node = LIST_OWNER(at, struct node, in_nodes);
        if (node->slots > 0 && !node->is_master)
            redis_link_reset(node->link, "it was a replica, and has slots now");
    }
}

static void look_failed(struct redis_cluster *cluster, const char *why)
{
    look_soon(cluster, 10 * (uint64_t)LOOK_AGAIN_MS);
    if (!cluster->up)
        cluster->events->on_down(cluster->owner, str_of(why));
}

/* One node's view that the cluster is down is no reason to leave it while commands are answered:
 * that node may be the one that is cut off. */
static void slots_told(void *owner, const struct redisReply *reply)
{
    struct node *node = owner;
    struct redis_cluster *cluster = node->cluster;
    node->asking--;
    if (cluster->closed)
        return;
    look_soon(cluster, cluster->up ? LOOK_EVERY_MS : LOOK_AGAIN_MS);
    if (reply == NULL || (reply->type != REDIS_REPLY_ERROR && !node->told_ok))
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        look_failed(cluster, reply->str);
    } else if (reply->type != REDIS_REPLY_ARRAY || !read_ranges(cluster, reply, node)) {
        look_failed(cluster, "CLUSTER SLOTS had an answer that Redis does not give");
    } else {
        cluster->is_well = true;
        greet_the_promoted(cluster);
        if (cluster->up)
            leave_the_useless(cluster);
        settle(cluster);
    }
}

static void info_told(void *owner, const struct redisReply *reply)
{
    struct node *node = owner;
    node->asking--;
    node->told_ok =
        reply != NULL && reply->str != NULL && strstr(reply->str, "cluster_state:ok") != NULL;
}

static bool may_be_asked(const struct node *node)
{
    return node->asking == 0 && redis_link_is_up(node->link);
}

/* One after the other, so that one with a view of its own, or one that hangs, is not asked for
 * ever. */
static struct node *next_to_ask(struct redis_cluster *cluster)
{
    unsigned count = 0;
    struct node *told_of = cluster->told_of;
    cluster->told_of = NULL;
    if (told_of != NULL && may_be_asked(told_of))
        return told_of;
    LIST_EACH (at, then, &cluster->nodes)
        count += may_be_asked(LIST_OWNER(at, struct node, in_nodes)) ? 1 : 0;
    unsigned before = count > 0 ? cluster->turn++ % count : 0;
    LIST_EACH (at, then, &cluster->nodes) {
        struct node *node = LIST_OWNER(at, struct node, in_nodes);
        if (may_be_asked(node) && before-- == 0)
            return node;
    }
    return NULL;
}

static void look(uv_timer_t *timer)
{
    static const struct str info[] = {{"CLUSTER", 7}, {"INFO", 4}};
    static const struct str slots[] = {{"CLUSTER", 7}, {"SLOTS", 5}};
    struct redis_cluster *cluster = timer->data;
    struct node *node = next_to_ask(cluster);
    look_soon(cluster, cluster->up ? LOOK_EVERY_MS : LOOK_AGAIN_MS);
    if (node == NULL) {
        reach_hosts(cluster);
        return;
    }
    if (redis_link_command(node->link, 2, info, info_told, node) == ERR_OK)
        node->asking++;
    if (redis_link_command(node->link, 2, slots, slots_told, node) == ERR_OK)
        node->asking++;
}

void look_soon(struct redis_cluster *cluster, uint64_t ms)
{
    uint64_t wait = ms / 2 + rng_below(&cluster->rng, (uint32_t)ms + 1);
    bool is_set = uv_is_active((uv_handle_t *)&cluster->look_timer);
    if (!cluster->closed && (!is_set || uv_timer_get_due_in(&cluster->look_timer) > wait))
        uv_timer_start(&cluster->look_timer, look, wait, 0);
}

/* ---- what the links say -------------------------------------------------------------------- */
static void keep(char *out, size_t room, struct str text)
{
    snprintf(out, room, "%.*s", (int)text.len, text.at);
}

static void node_up(void *owner, const struct redis_server *server)
{
    struct node *node = owner;
    struct redis_cluster *cluster = node->cluster;
    if (cluster->closed)
        return;
    snprintf(node->life, sizeof node->life, "%.*s:%.*s", (int)server->run_id.len, server->run_id.at,
             (int)server->history.len, server->history.at);
    keep(node->version, sizeof node->version, server->version);
    keep(node->name, sizeof node->name, server->name);
    node->is_master = str_is(server->role, "master");
    keep(node->why, sizeof node->why, STR("it is a replica"));
    if (!cluster->is_well || !node->is_master)
        look_soon(cluster, 0);
    settle(cluster);
}

static void node_down(void *owner, struct str why)
{
    struct node *node = owner;
    struct redis_cluster *cluster = node->cluster;
    if (cluster->closed)
        return;
    bool matters = node->slots > 0 || cluster->unowned == SLOT_COUNT;
    node->is_master = false;
    keep(node->why, sizeof node->why, why);
    if (cluster->up) {
        settle(cluster);
    } else if (matters) {
        char text[WHY_ROOM + 128];
        snprintf(text, sizeof text, "%.80s:%d: %s", node->host, node->port, node->why);
        cluster->events->on_down(cluster->owner, str_of(text));
    }
}

static void node_push(void *owner, struct str kind, struct str channel, struct str bytes)
{
    struct redis_cluster *cluster = ((struct node *)owner)->cluster;
    if (!cluster->closed)
        cluster->events->on_push(cluster->owner, kind, channel, bytes);
}

static void node_unsubscribed(void *owner, struct str channel)
{
    struct redis_cluster *cluster = ((struct node *)owner)->cluster;
    if (!cluster->closed)
        cluster->events->on_unsubscribed(cluster->owner, channel);
}

/* ---- life ---------------------------------------------------------------------------------- */
enum { TARGET_TEXTS = 8 };

static void list_texts(struct redis_target *target, const char **texts[TARGET_TEXTS])
{
    const char **const all[TARGET_TEXTS] = {
        &target->url,         &target->user,          &target->password,     &target->client_name,
        &target->tls.ca_file, &target->tls.cert_file, &target->tls.key_file, &target->tls.name,
    };
    memcpy(texts, all, sizeof all);
}

static void forget_target(struct redis_target *target)
{
    const char **texts[TARGET_TEXTS];
    list_texts(target, texts);
    for (size_t i = 0; i < TARGET_TEXTS; i++) {
        char *text = (char *)(size_t)*texts[i];
        if (text != NULL)
            explicit_bzero(text, strlen(text));
        mem_free(text);
    }
}

/* Links are opened long after the caller's strings are gone. */
static bool keep_target(struct redis_target *target)
{
    const char **texts[TARGET_TEXTS];
    bool kept = true;
    list_texts(target, texts);
    for (size_t i = 0; i < TARGET_TEXTS; i++)
        if (*texts[i] != NULL && (*texts[i] = mem_copy(str_of(*texts[i]))) == NULL)
            kept = false;
    return kept;
}

static void cluster_free(struct redis_cluster *cluster)
{
    forget_target(&cluster->target);
    redis_url_fini(&cluster->url);
    mem_free(cluster->known);
    mem_free(cluster);
}

static void release(struct redis_cluster *cluster)
{
    if (--cluster->alive > 0)
        return;
    const struct redis_router_events *events = cluster->events;
    void *owner = cluster->owner;
    cluster_free(cluster);
    events->on_closed(owner);
}

static void node_closed(void *owner)
{
    struct node *node = owner;
    struct redis_cluster *cluster = node->cluster;
    mem_free(node);
    release(cluster);
}

static void timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static const struct redis_link_events node_events = {
    .on_up = node_up,
    .on_down = node_down,
    .on_push = node_push,
    .on_unsubscribed = node_unsubscribed,
    .on_closed = node_closed,
};

enum err redis_cluster_open(uv_loop_t *loop, const struct redis_target *target,
                            const struct redis_router_events *events, void *owner,
                            struct redis_cluster **out)
{
    struct redis_cluster *cluster = mem_new(sizeof *cluster);
    struct buf reason = {0};
    const char *why;
    if (cluster == NULL)
        return ERR_NOMEM;
    cluster->target = *target;
    enum err err = keep_target(&cluster->target) ? ERR_OK : ERR_NOMEM;
    if (err == ERR_OK)
        err = redis_target_check(target, &reason);
    buf_fini(&reason);
    if (err == ERR_OK)
        err = redis_url_parse(target->url, &cluster->url, &why);
    if (err != ERR_OK) {
        cluster_free(cluster);
        return err;
    }
    cluster->loop = loop;
    cluster->events = events;
    cluster->owner = owner;
    cluster->alive = 1;
    cluster->unowned = SLOT_COUNT;
    cluster->rng.state = target->seed;
    list_init(&cluster->nodes);
    list_init(&cluster->flying);
    list_init(&cluster->sent_back);
    list_init(&cluster->waiting);
    uv_timer_init(loop, &cluster->look_timer);
    cluster->look_timer.data = cluster;
    reach_hosts(cluster);
    look_soon(cluster, LOOK_AGAIN_MS);
    *out = cluster;
    return ERR_OK;
}

void redis_cluster_close(struct redis_cluster *cluster)
{
    assert(!cluster->closed);
    cluster->closed = true;
    cluster->up = false;
    LIST_EACH (at, then, &cluster->nodes)
        leave(LIST_OWNER(at, struct node, in_nodes));
    uv_close((uv_handle_t *)&cluster->look_timer, timer_closed);
    errands_drop(cluster);
}

bool redis_cluster_is_up(const struct redis_cluster *cluster)
{
    return cluster->up;
}

void redis_cluster_reset(struct redis_cluster *cluster, const char *why)
{
    LIST_EACH (at, then, &cluster->nodes)
        redis_link_reset(LIST_OWNER(at, struct node, in_nodes)->link, why);
}

enum err redis_cluster_place(const struct redis_cluster *cluster, struct str key, const char **host,
                             int *port)
{
    const struct node *owner = cluster->slots[slot_of(key)].owner;
    if (owner == NULL)
        return ERR_OFFLINE;
    *host = owner->host;
    *port = owner->port;
    return ERR_OK;
}

struct redis_router_stats redis_cluster_stats(const struct redis_cluster *cluster)
{
    return cluster->stats;
}
