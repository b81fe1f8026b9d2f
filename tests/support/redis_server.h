/* A private Redis or Valkey for one test: its own folder, a Unix socket and a TCP port on
 * 127.0.0.1. It dies with the test. Aborts the test with a message when something is wrong with the
 * machine. */
#ifndef SUPPORT_REDIS_SERVER_H
#define SUPPORT_REDIS_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

enum redis_kind { KIND_REDIS, KIND_VALKEY, KIND_COUNT };
const char *redis_kind_name(enum redis_kind kind);
/* Where its program is: redis-server in PATH; valkey-server in PATH or below .deps/valkey. */
bool redis_kind_is_installed(enum redis_kind kind);

/* One that nobody listens on, on 127.0.0.1. */
int redis_free_port(void);

struct redis_process { /* a value to look at; change it only through these functions */
    enum redis_kind kind;
    char folder[64]; /* dump files, log, socket */
    char socket[96]; /* a path, and as a url: unix://path */
    char url[112];
    char config[96]; /* of a sentinel, which keeps its memory in there; else "" */
    int port;        /* on 127.0.0.1 */
    bool is_cluster; /* $BW_AS_CLUSTER is set: a cluster of one, and the url says so */
    pid_t pid;       /* 0: not running */
    int extra_count;
    char *extra[32];
};

/* Returns when PING answers (or refuses for want of a password). `extra`: further arguments of
 * redis-server, NULL-terminated; NULL for none. Nothing is saved unless they say so. */
void redis_process_start(struct redis_process *process, enum redis_kind kind,
                         const char *const *extra);
/* A sentinel that watches the server on this port of 127.0.0.1 as `name`, and calls it down after
 * a second and a half. extra: lines for its file, NULL-terminated; NULL for none. */
void redis_sentinel_start(struct redis_process *process, enum redis_kind kind, const char *name,
                          int master_port, int quorum, const char *const *extra);
/* Gone when it returns; the folder stays, so that it can be started again with its data. */
void redis_process_kill(struct redis_process *process);     /* SIGKILL */
void redis_process_shutdown(struct redis_process *process); /* SIGTERM: saves where it is told to */
void redis_process_again(struct redis_process *process);    /* same folder, port and arguments */
void redis_process_pause(struct redis_process *process);    /* SIGSTOP */
void redis_process_resume(struct redis_process *process);   /* SIGCONT */
/* Kills it if it still runs, and removes the folder. */
void redis_process_end(struct redis_process *process);

struct redisContext; /* hiredis */
/* A blocking connection for the test's own questions, RESP2; the caller frees it (redisFree). */
struct redisContext *redis_process_connect(const struct redis_process *process);
/* One command, its integer or 0; for CONFIG SET, CLIENT KILL, DEL and the like. */
long long redis_process_do(const struct redis_process *process, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
