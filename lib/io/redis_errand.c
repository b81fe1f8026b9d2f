/* Commands on their way through a cluster.
 *
 * Happy path: redis_cluster_command -> send_to (the owner of the slot) -> errand_answered -> done.
 * MOVED: errand_answered -> go_elsewhere -> held, until all that went to the old owner are back ->
 * release_held -> send_to. So the commands of one slot stay in order: what is said later waits
 * behind what has to be said again. ASK: errand_answered -> ask_there; all of them go that way
 * round, in order. */
#include <hiredis/hiredis.h>

#include "base/mem.h"
#include "io/redis_cluster_inside.h"

enum { TRIES_MAX = 5, ERRANDS_MAX = 100000, NO_SLOT = SLOT_COUNT };

struct errand {
    struct redis_cluster *cluster; /* NULL: answered already; it only waits for its reply to go */
    struct link in_order;          /* of one of the cluster's three lists */
    struct node *node;             /* that it was sent to last */
    redis_answered done;
    void *owner;
    unsigned slot, tries;
    const char *verb; /* SSUBSCRIBE, SUNSUBSCRIBE: then argv[0] is the channel. NULL: a command */
    int argc;
    struct str argv[]; /* what they say stands behind them */
};

static struct errand *errand_new(struct redis_cluster *cluster, int argc, const struct str *argv)
{
    size_t words = (size_t)argc, bytes = 0;
    for (size_t i = 0; i < words; i++)
        bytes += argv[i].len;
    struct errand *errand = mem_new(sizeof *errand + words * sizeof *argv + bytes);
    if (errand == NULL)
        return NULL;
    char *at = (char *)&errand->argv[words];
    for (size_t i = 0; i < words; i++) {
        if (argv[i].len > 0)
            memcpy(at, argv[i].at, argv[i].len);
        errand->argv[i] = (struct str){at, argv[i].len};
        at += argv[i].len;
    }
    errand->argc = argc;
    errand->cluster = cluster;
    cluster->errands++;
    return errand;
}

static struct errand *first_of(struct list *list)
{
    return list_is_empty(list) ? NULL : LIST_OWNER(list->head.next, struct errand, in_order);
}

static void errand_free(struct errand *errand)
{
    if (errand->cluster != NULL)
        errand->cluster->errands--;
    mem_free(errand);
}

/* Last: whoever waits may close the cluster in there. */
static void finish(struct errand *errand, const struct redisReply *reply)
{
    redis_answered done = errand->done;
    void *owner = errand->owner;
    errand_free(errand);
    if (done != NULL)
        done(owner, reply);
}

static void errand_answered(void *owner, const struct redisReply *reply);

static enum err send_to(struct errand *errand, struct node *node)
{
    struct redis_cluster *cluster = errand->cluster;
    if (node == NULL)
        return ERR_OFFLINE;
    enum err err =
        errand->verb != NULL
            ? redis_link_subscribe(node->link, errand->verb, errand->argv[0], errand_answered,
                                   errand)
            : redis_link_command(node->link, errand->argc, errand->argv, errand_answered, errand);
    if (err != ERR_OK)
        return err;
    errand->node = node;
    node->used_ms = uv_now(cluster->loop);
    cluster->slots[errand->slot].flying++;
    list_add_last(&cluster->flying, &errand->in_order);
    return ERR_OK;
}

/* ---- elsewhere ----------------------------------------------------------------------------- */
static void send_held(struct redis_cluster *cluster, struct list *held, unsigned slot,
                      struct list *lost)
{
    LIST_EACH (at, then, held) {
        struct errand *errand = LIST_OWNER(at, struct errand, in_order);
        if (errand->slot != slot)
            continue;
        link_remove(at);
        if (send_to(errand, cluster->slots[slot].owner) != ERR_OK)
            list_add_last(lost, at);
    }
}

/* All that went to the old owner are back: now those that wait go to the new one, in order. */
static void release_held(struct redis_cluster *cluster, unsigned slot)
{
    struct list lost;
    list_init(&lost);
    cluster->slots[slot].is_held = false;
    send_held(cluster, &cluster->sent_back, slot, &lost);
    send_held(cluster, &cluster->waiting, slot, &lost);
    for (struct errand *errand; (errand = first_of(&lost)) != NULL;) {
        link_remove(&errand->in_order);
        finish(errand, NULL);
    }
}

static struct node *node_named(struct errand *errand, const struct redirect *redirect)
{
    struct str host = redirect->host.len > 0 ? redirect->host : str_of(errand->node->host);
    return node_at(errand->cluster, host, redirect->port);
}

/* The target may be new here, and without a link yet: then the caller learns of the ASK, and by the
 * time that it tries again the link is there. */
static bool ask_there(struct errand *errand, struct node *node)
{
    static const struct str asking[] = {{"ASKING", 6}};
    return redis_link_command(node->link, 1, asking, NULL, NULL) == ERR_OK
           && send_to(errand, node) == ERR_OK;
}

/* False: it stays where it is, and the error is its answer. */
static bool go_elsewhere(struct errand *errand, struct str error)
{
    struct redis_cluster *cluster = errand->cluster;
    struct redirect redirect;
    if (errand->slot == NO_SLOT || errand->tries++ >= TRIES_MAX || !redirect_read(error, &redirect)
        || redirect.slot != errand->slot)
        return false;
    struct node *node = node_named(errand, &redirect);
    if (node == NULL)
        return false;
    if (redirect.is_ask) {
        cluster->stats.asked++;
        return ask_there(errand, node);
    }
    cluster->stats.moved++;
    slot_moved(cluster, errand->slot, node);
    cluster->slots[errand->slot].is_held = true;
    list_add_last(&cluster->sent_back, &errand->in_order);
    return true;
}

static void errand_answered(void *owner, const struct redisReply *reply)
{
    struct errand *errand = owner;
    struct redis_cluster *cluster = errand->cluster;
    if (cluster == NULL) {
        mem_free(errand);
        return;
    }
    unsigned number = errand->slot;
    struct slot *slot = &cluster->slots[number];
    bool is_error = reply != NULL && reply->type == REDIS_REPLY_ERROR; /* NULL: on_down follows */
    struct str error = is_error ? (struct str){reply->str, reply->len} : STR_NONE;
    slot->flying -= slot->flying > 0 ? 1 : 0; /* none are counted while they are dropped */
    link_remove(&errand->in_order);
    if (is_error && strncmp(error.at, "CLUSTERDOWN", 11) == 0)
        cluster->is_well = false;
    bool goes_on = is_error && go_elsewhere(errand, error);
    if (slot->is_held && slot->flying == 0)
        release_held(cluster, number);
    if (!goes_on)
        finish(errand, reply);
    if (is_error)
        settle(cluster);
}

/* ---- sending ------------------------------------------------------------------------------- */
static enum err start(struct redis_cluster *cluster, struct errand *errand)
{
    struct slot *slot = &cluster->slots[errand->slot];
    if (slot->is_held) {
        list_add_last(&cluster->waiting, &errand->in_order);
        return ERR_OK;
    }
    enum err err = send_to(errand, slot->owner);
    if (err != ERR_OK)
        errand_free(errand);
    return err;
}

static enum err set_out(struct redis_cluster *cluster, struct str key, const char *verb, int argc,
                        const struct str *argv, redis_answered done, void *owner)
{
    if (!cluster->up)
        return ERR_OFFLINE;
    if (cluster->errands >= ERRANDS_MAX)
        return ERR_FULL;
    struct errand *errand = errand_new(cluster, argc, argv);
    if (errand == NULL)
        return ERR_NOMEM;
    errand->verb = verb;
    errand->slot = slot_of(key);
    errand->done = done;
    errand->owner = owner;
    return start(cluster, errand);
}

enum err redis_cluster_command(struct redis_cluster *cluster, struct str key, int argc,
                               const struct str *argv, redis_answered done, void *owner)
{
    return set_out(cluster, key, NULL, argc, argv, done, owner);
}

enum err redis_cluster_subscribe(struct redis_cluster *cluster, const char *verb,
                                 struct str channel, redis_answered done, void *owner)
{
    return set_out(cluster, channel, verb, 1, &channel, done, owner);
}

enum err redis_cluster_everywhere(struct redis_cluster *cluster, int argc, const struct str *argv,
                                  redis_answered done, void *owner, size_t *sent)
{
    *sent = 0;
    if (!cluster->up)
        return ERR_OFFLINE;
    LIST_EACH (at, then, &cluster->nodes) {
        struct node *node = LIST_OWNER(at, struct node, in_nodes);
        if (!node->is_master)
            continue;
        struct errand *errand = errand_new(cluster, argc, argv);
        if (errand == NULL)
            return ERR_NOMEM;
        errand->slot = NO_SLOT;
        errand->done = done;
        errand->owner = owner;
        enum err err = send_to(errand, node);
        if (err != ERR_OK) {
            errand_free(errand);
            return err;
        }
        (*sent)++;
    }
    return ERR_OK;
}

static void drop(struct errand *errand, bool is_flying)
{
    redis_answered done = errand->done;
    void *owner = errand->owner;
    link_remove(&errand->in_order);
    if (is_flying) {
        errand->cluster->errands--;
        errand->cluster = NULL;
    } else {
        errand_free(errand);
    }
    if (done != NULL)
        done(owner, NULL);
}

/* What was sent is answered now, and by its server later; nobody hears that any more. One after the
 * other, from the front: whoever is answered may close the cluster in there. */
void errands_drop(struct redis_cluster *cluster)
{
    for (unsigned i = 0; i <= SLOT_COUNT; i++) {
        cluster->slots[i].flying = 0;
        cluster->slots[i].is_held = false;
    }
    for (struct errand *errand; (errand = first_of(&cluster->flying)) != NULL;)
        drop(errand, true);
    for (struct errand *errand; (errand = first_of(&cluster->sent_back)) != NULL;)
        drop(errand, false);
    for (struct errand *errand; (errand = first_of(&cluster->waiting)) != NULL;)
        drop(errand, false);
}
