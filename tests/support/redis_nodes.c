#include "support/redis_nodes.h"

#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/service.h"

enum { SLOTS = 16384, ID_ROOM = 64 };

/* ---- questions ----------------------------------------------------------------------------- */

/* NULL where the node does not answer, or not in this form. The caller frees it. */
static redisReply *ask(const struct redis_process *node, const char *format, ...)
{
    redisContext *context = redisConnectUnix(node->socket);
    if (context == NULL || context->err != 0) {
        redisFree(context);
        return NULL;
    }
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(context, format, args);
    va_end(args);
    redisFree(context);
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR) {
        freeReplyObject(reply);
        return NULL;
    }
    return reply;
}

static bool says(const struct redis_process *node, const char *command, const char *wanted)
{
    redisReply *reply = ask(node, command);
    bool is_said = reply != NULL && reply->str != NULL && strstr(reply->str, wanted) != NULL;
    freeReplyObject(reply);
    return is_said;
}

static void id_of(const struct redis_process *node, char out[ID_ROOM])
{
    redisReply *reply = ask(node, "CLUSTER MYID");
    snprintf(out, ID_ROOM, "%s", reply != NULL && reply->str != NULL ? reply->str : "");
    freeReplyObject(reply);
}

int redis_nodes_slot(const struct redis_nodes *nodes, const char *key)
{
    for (int i = 0; i < nodes->count; i++) {
        redisReply *reply = ask(&nodes->node[i], "CLUSTER KEYSLOT %s", key);
        int slot = reply != NULL ? (int)reply->integer : -1;
        freeReplyObject(reply);
        if (slot >= 0)
            return slot;
    }
    return -1;
}

static int node_at_port(const struct redis_nodes *nodes, long long port)
{
    for (int i = 0; i < nodes->count; i++)
        if (nodes->node[i].port == port)
            return i;
    return -1;
}

int redis_nodes_owner(const struct redis_nodes *nodes, int asked, int slot)
{
    redisReply *reply = ask(&nodes->node[asked], "CLUSTER SLOTS");
    int owner = -1;
    for (size_t i = 0; reply != NULL && i < reply->elements; i++) {
        redisReply *const *range = reply->element[i]->element;
        if (range[0]->integer <= slot && slot <= range[1]->integer)
            owner = node_at_port(nodes, range[2]->element[1]->integer);
    }
    freeReplyObject(reply);
    return owner;
}

/* ---- a cluster ----------------------------------------------------------------------------- */

static void start_node(struct redis_nodes *nodes, int i, enum redis_kind kind)
{
    char bus[16], patience[16];
    snprintf(bus, sizeof bus, "%d", redis_free_port());
    snprintf(patience, sizeof patience, "%d", NODE_TIMEOUT_MS);
    const char *const extra[] = {"--cluster-enabled",
                                 "yes",
                                 "--cluster-port",
                                 bus,
                                 "--cluster-node-timeout",
                                 patience,
                                 "--cluster-replica-validity-factor",
                                 "0",
                                 "--cluster-allow-replica-migration",
                                 "no",
                                 NULL};
    redis_process_start(&nodes->node[i], kind, extra);
    redis_process_do(&nodes->node[i], "CLUSTER SET-CONFIG-EPOCH %d", i + 1);
}

static void share_out(const struct redis_nodes *nodes)
{
    for (int i = 0; i < nodes->masters; i++)
        redis_process_do(&nodes->node[i], "CLUSTER ADDSLOTSRANGE %d %d", SLOTS * i / nodes->masters,
                         SLOTS * (i + 1) / nodes->masters - 1);
    for (int i = 1; i < nodes->count; i++)
        redis_process_do(&nodes->node[0], "CLUSTER MEET 127.0.0.1 %d %s", nodes->node[i].port,
                         nodes->node[i].extra[3]);
}

static void wait_until_all_say(const struct redis_nodes *nodes, const char *command,
                               const char *wanted)
{
    struct waiting wait = WAITING;
    for (int i = 0; i < nodes->count; i++)
        while (nodes->node[i].pid != 0 && !says(&nodes->node[i], command, wanted))
            waiting_turn(&wait);
}

static void give_replicas(const struct redis_nodes *nodes)
{
    for (int i = nodes->masters; i < nodes->count; i++) {
        struct waiting wait = WAITING;
        char master[ID_ROOM];
        id_of(&nodes->node[i - nodes->masters], master);
        redis_process_do(&nodes->node[i], "CLUSTER REPLICATE %s", master);
        while (!says(&nodes->node[i], "INFO replication", "master_link_status:up"))
            waiting_turn(&wait);
    }
}

/* A replica that is not known to be one is never voted for. */
static void wait_for_roles(const struct redis_nodes *nodes)
{
    struct waiting wait = WAITING;
    for (int i = 0; i < nodes->count; i++)
        for (int known = -1; known != nodes->count - nodes->masters;) {
            redisReply *reply = ask(&nodes->node[i], "CLUSTER NODES");
            known = 0;
            for (const char *at = reply != NULL ? reply->str : NULL;
                 at != NULL && (at = strstr(at, "slave ")) != NULL; at++)
                known++;
            freeReplyObject(reply);
            if (known != nodes->count - nodes->masters)
                waiting_turn(&wait);
        }
}

void redis_nodes_start(struct redis_nodes *nodes, enum redis_kind kind, int masters,
                       bool has_replicas)
{
    char known[40];
    *nodes =
        (struct redis_nodes){.masters = masters, .count = has_replicas ? 2 * masters : masters};
    size_t len = (size_t)snprintf(nodes->url, sizeof nodes->url, "redis+cluster://");
    for (int i = 0; i < nodes->count; i++) {
        start_node(nodes, i, kind);
        len += (size_t)snprintf(nodes->url + len, sizeof nodes->url - len, "%s127.0.0.1:%d",
                                i > 0 ? "," : "", nodes->node[i].port);
    }
    share_out(nodes);
    snprintf(known, sizeof known, "cluster_known_nodes:%d\r", nodes->count);
    wait_until_all_say(nodes, "CLUSTER INFO", known);
    give_replicas(nodes);
    wait_until_all_say(nodes, "CLUSTER INFO", "cluster_state:ok");
    wait_for_roles(nodes);
}

void redis_nodes_end(struct redis_nodes *nodes)
{
    for (int i = 0; i < nodes->count; i++)
        redis_process_end(&nodes->node[i]);
    nodes->count = 0;
}

void redis_nodes_wait_for_takeover(const struct redis_nodes *nodes, int killed, int slot)
{
    struct waiting wait = WAITING;
    for (int i = 0; i < nodes->count; i++) {
        int owner = killed;
        while (nodes->node[i].pid != 0
               && ((owner = redis_nodes_owner(nodes, i, slot)) == killed || owner < 0))
            waiting_turn(&wait);
    }
    wait_until_all_say(nodes, "CLUSTER INFO", "cluster_state:ok");
}

/* ---- moving a slot ------------------------------------------------------------------------- */

void redis_nodes_open_move(const struct redis_nodes *nodes, int slot, int from, int to)
{
    char id[ID_ROOM];
    id_of(&nodes->node[from], id);
    redis_process_do(&nodes->node[to], "CLUSTER SETSLOT %d IMPORTING %s", slot, id);
    id_of(&nodes->node[to], id);
    redis_process_do(&nodes->node[from], "CLUSTER SETSLOT %d MIGRATING %s", slot, id);
}

void redis_nodes_move_keys(const struct redis_nodes *nodes, int slot, int from, int to)
{
    redisReply *keys = ask(&nodes->node[from], "CLUSTER GETKEYSINSLOT %d 1000", slot);
    for (size_t i = 0; keys != NULL && i < keys->elements; i++)
        redis_process_do(&nodes->node[from], "MIGRATE 127.0.0.1 %d %s 0 5000", nodes->node[to].port,
                         keys->element[i]->str);
    freeReplyObject(keys);
}

void redis_nodes_close_move(const struct redis_nodes *nodes, int slot, int to)
{
    char id[ID_ROOM];
    id_of(&nodes->node[to], id);
    redis_process_do(&nodes->node[to], "CLUSTER SETSLOT %d NODE %s", slot, id);
    for (int i = 0; i < nodes->masters; i++)
        if (i != to && nodes->node[i].pid != 0)
            redis_process_do(&nodes->node[i], "CLUSTER SETSLOT %d NODE %s", slot, id);
}
