/* The servers of a cluster behind io/redis_router.h, which says what it promises.
 *
 * Happy path: redis_cluster_open -> a link to each host of the url -> CLUSTER INFO and CLUSTER
 * SLOTS of the first that is up -> a link to each master -> on_up -> commands go to the master of
 * their slot. Ways to fail: a master is lost, a slot has none, a server says CLUSTERDOWN: down, and
 * the slots are asked for again and again, of one server after the other. MOVED: the command is
 * sent again to where it says, at most five times, and the slots are asked for. ASK: sent once
 * more, to where it says. */
#ifndef IO_REDIS_CLUSTER_H
#define IO_REDIS_CLUSTER_H

#include "io/redis_router.h"

struct redis_cluster;

enum err redis_cluster_open(uv_loop_t *loop, const struct redis_target *target,
                            const struct redis_router_events *events, void *owner,
                            struct redis_cluster **out) MUST_CHECK;
void redis_cluster_close(struct redis_cluster *cluster);
bool redis_cluster_is_up(const struct redis_cluster *cluster);
enum err redis_cluster_command(struct redis_cluster *cluster, struct str key, int argc,
                               const struct str *argv, redis_answered done, void *owner) MUST_CHECK;
enum err redis_cluster_everywhere(struct redis_cluster *cluster, int argc, const struct str *argv,
                                  redis_answered done, void *owner, size_t *sent) MUST_CHECK;
/* verb: SSUBSCRIBE SUNSUBSCRIBE */
enum err redis_cluster_subscribe(struct redis_cluster *cluster, const char *verb,
                                 struct str channel, redis_answered done, void *owner) MUST_CHECK;
enum err redis_cluster_place(const struct redis_cluster *cluster, struct str key, const char **host,
                             int *port) MUST_CHECK;
void redis_cluster_reset(struct redis_cluster *cluster, const char *why);
struct redis_router_stats redis_cluster_stats(const struct redis_cluster *cluster);

#endif
