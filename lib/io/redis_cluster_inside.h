/* What redis_cluster.c (the servers, up and down) and redis_errand.c (the commands) share. */
#ifndef IO_REDIS_CLUSTER_INSIDE_H
#define IO_REDIS_CLUSTER_INSIDE_H

#include "base/list.h"
#include "base/rng.h"
#include "io/redis_cluster.h"
#include "io/redis_slots.h"
#include "io/redis_url.h"

enum { LIFE_ROOM = 104, WHY_ROOM = 320 };

struct node {
    struct redis_cluster *cluster;
    struct link in_nodes; /* in no list: it is being closed */
    struct redis_link *link;
    bool is_master; /* and up */
    size_t slots;   /* that it owns */
    uint64_t used_ms;
    unsigned asking;      /* answers about the slots that are on their way */
    bool told_ok;         /* that the cluster is well */
    char life[LIFE_ROOM]; /* run id and history: another one after a start, or a promotion */
    char version[32], name[16];
    char why[WHY_ROOM]; /* it is not up */
    int port;
    char host[];
};

struct slot {
    struct node *owner; /* NULL: none */
    uint32_t flying;    /* commands without an answer */
    bool is_held;       /* some went to an earlier owner: later ones wait until those are back */
};

struct redis_cluster {
    uv_loop_t *loop;
    const struct redis_router_events *events;
    void *owner;
    struct redis_target target; /* strings of our own */
    struct redis_url url;
    bool up, closed;
    unsigned alive; /* nodes, and the timer */

    struct list nodes;
    struct slot slots[SLOT_COUNT + 1]; /* one more: for commands that belong to a node */
    size_t unowned;                    /* slots without an owner */

    uv_timer_t look_timer;
    struct node *told_of; /* by MOVED: it knows best; NULL: nobody. Never one that is closed */
    bool is_well;         /* a server has said so, and none has said CLUSTERDOWN since */
    unsigned turn;        /* whom to ask next */
    struct rng rng;

    /* Of struct errand, oldest first. Before those that wait come those that were sent back. */
    struct list flying, sent_back, waiting;
    size_t errands;
    struct redis_router_stats stats;

    char (*known)[LIFE_ROOM]; /* lives of the masters at the last up */
    size_t known_count, known_room;
    unsigned losses;
    char identity[LIFE_ROOM];
};

/* ---- redis_cluster.c ----------------------------------------------------------------------- */
/* The node at this address, with a link if it is new; NULL when there is no memory. */
struct node *node_at(struct redis_cluster *cluster, struct str host, int port);
void slot_give(struct redis_cluster *cluster, unsigned slot, struct node *node);
/* A server has said that the slot is over there. */
void slot_moved(struct redis_cluster *cluster, unsigned slot, struct node *node);
/* Asks for the slots within `ms`. */
void look_soon(struct redis_cluster *cluster, uint64_t ms);
/* Goes up or down, as the nodes and slots are now. Last: it calls out. */
void settle(struct redis_cluster *cluster);

/* ---- redis_errand.c ------------------------------------------------------------------------ */
/* Answers all of them with NULL. */
void errands_drop(struct redis_cluster *cluster);

#endif
