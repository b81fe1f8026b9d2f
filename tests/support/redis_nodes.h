/* A private Redis or Valkey Cluster for one test: masters first, then as many replicas, the n-th of
 * the n-th. Everything that redis_process_*() does may be done to its nodes. */
#ifndef SUPPORT_REDIS_NODES_H
#define SUPPORT_REDIS_NODES_H

#include "support/redis_server.h"

enum { NODES_MAX = 8, NODE_TIMEOUT_MS = 1000 };

struct redis_nodes { /* a value to look at */
    int count, masters;
    struct redis_process node[NODES_MAX];
    char url[256]; /* redis+cluster:// of all of them */
};

/* Returns when every node says that the cluster is well and every replica has its master's data. */
void redis_nodes_start(struct redis_nodes *nodes, enum redis_kind kind, int masters,
                       bool has_replicas);
void redis_nodes_end(struct redis_nodes *nodes);

/* The slot of a key, as a server says. */
int redis_nodes_slot(const struct redis_nodes *nodes, const char *key);
/* Which node has a slot, as `asked` says; -1: none. */
int redis_nodes_owner(const struct redis_nodes *nodes, int asked, int slot);
/* The replica of a master that was killed has taken over, and every other node knows it. */
void redis_nodes_wait_for_takeover(const struct redis_nodes *nodes, int killed, int slot);

/* The three steps of moving a slot: announced at both ends; its keys are over there; everybody
 * knows. */
void redis_nodes_open_move(const struct redis_nodes *nodes, int slot, int from, int to);
void redis_nodes_move_keys(const struct redis_nodes *nodes, int slot, int from, int to);
void redis_nodes_close_move(const struct redis_nodes *nodes, int slot, int to);

#endif
