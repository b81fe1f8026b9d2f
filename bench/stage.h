/* A private stage for one benchmark: a Redis, agentds and a broker, which die with the program. */
#ifndef BENCH_STAGE_H
#define BENCH_STAGE_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <sys/types.h>

enum { STAGE_AGENTDS_MAX = 4 };
struct stage {
    char dir[64];
    char redis_path[96];                /* its Unix socket */
    char agentd[STAGE_AGENTDS_MAX][96]; /* "unix:<path>" for client_open() */
    char broker[96];
    pid_t replica_pid, redis_pid, agentd_pid[STAGE_AGENTDS_MAX], broker_pid;
    unsigned agentds;
    int port; /* of its Redis, on 127.0.0.1 */
};

/* Before stage_open(): this server program instead of redis-server. */
void stage_choose_server(const char *program);
/* A replica of the stage's server, in step with it when this returns. It dies with the program. */
void stage_add_replica(struct stage *stage);

/* Ends the program when something does not start. Extra agentd flags: NULL or a NULL-terminated
 * list. */
void stage_open(struct stage *stage, unsigned agentds, bool with_broker, const char *const flags[]);
void stage_close(struct stage *stage);
redisContext *stage_redis(const struct stage *stage); /* a connection of one's own, RESP2 */
/* Until somebody listens at "unix:<path>", 10 s at most. */
void stage_wait_for(const char *where);
/* The path of a program of this build ("brakewire-agentd"); static memory. */
const char *program_path(const char *name);

#endif
