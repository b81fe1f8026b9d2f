#include "stage.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"

const char *program_path(const char *name)
{
    static char path[512];
    char self[400];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len < 0)
        give_up("cannot find my own path");
    self[len] = '\0';
    *strrchr(self, '/') = '\0';
    snprintf(path, sizeof path, "%s/%s", self, name);
    return path;
}

static pid_t launch(const struct stage *stage, const char *log, const char *const argv[])
{
    pid_t parent = getpid(), child = fork();
    if (child != 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    char path[128];
    snprintf(path, sizeof path, "%s/%s.log", stage->dir, log);
    if (freopen(path, "w", stderr) == NULL || freopen("/dev/null", "w", stdout) == NULL)
        _exit(1);
    execvp(argv[0], (char *const *)(void *)argv);
    _exit(127);
}

static bool answers(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool up = connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
    close(fd);
    return up;
}

static void wait_for_socket(const char *path, pid_t pid)
{
    for (uint64_t until = now_ns() + 10000000000u; now_ns() < until;) {
        if (answers(path))
            return;
        if (pid > 0 && waitpid(pid, NULL, WNOHANG) == pid)
            give_up("%s did not start; see the log beside it", path);
        poll(NULL, 0, 5);
    }
    give_up("%s did not start within 10 s", path);
}

void stage_wait_for(const char *where)
{
    wait_for_socket(where + 5, 0);
}

static void wait_until_ready(const char *where)
{
    for (uint64_t until = now_ns() + 10000000000u; now_ns() < until; poll(NULL, 0, 5)) {
        struct client *client = client_open(where, "");
        int status = client_call(client, "GET", "/readyz", "", NULL);
        client_close(client);
        if (status == 200)
            return;
    }
    give_up("%s is not ready after 10 s", where);
}

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0
        || getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        give_up("no free port: %s", strerror(errno));
    close(fd);
    return ntohs(address.sin_port);
}

static const char *server_program = "redis-server";

void stage_choose_server(const char *program)
{
    server_program = program;
}

static void start_redis(struct stage *stage)
{
    snprintf(stage->redis_path, sizeof stage->redis_path, "%s/redis.sock", stage->dir);
    char port[16];
    stage->port = free_port(); /* for replicas; all else comes by the socket */
    snprintf(port, sizeof port, "%d", stage->port);
    const char *argv[] = {server_program,
                          "--port",
                          port,
                          "--bind",
                          "127.0.0.1",
                          "--repl-diskless-sync-delay",
                          "0",
                          "--unixsocket",
                          stage->redis_path,
                          "--save",
                          "",
                          "--appendonly",
                          "no",
                          "--dir",
                          stage->dir,
                          "--maxclients",
                          "10000",
                          "--hash-max-listpack-value",
                          "256", /* as in deploy/redis/redis.conf */
                          "--tcp-backlog",
                          "2048",
                          NULL};
    stage->redis_pid = launch(stage, "redis", argv);
    wait_for_socket(stage->redis_path, stage->redis_pid);
}

void stage_add_replica(struct stage *stage)
{
    char path[112], port[16];
    redisContext *redis = stage_redis(stage);
    snprintf(port, sizeof port, "%d", stage->port);
    snprintf(path, sizeof path, "%s/replica.sock", stage->dir);
    const char *argv[] = {server_program,
                          "--port",
                          "0",
                          "--unixsocket",
                          path,
                          "--save",
                          "",
                          "--dir",
                          stage->dir,
                          "--dbfilename",
                          "replica.rdb",
                          "--replicaof",
                          "127.0.0.1",
                          port,
                          NULL};
    stage->replica_pid = launch(stage, "replica", argv);
    wait_for_socket(path, stage->replica_pid);
    redisReply *reply = redisCommand(redis, "SET bench:step 1");
    freeReplyObject(reply);
    for (long long have = 0, turns = 0; have < 1; turns++) {
        reply = redisCommand(redis, "WAIT 1 100");
        have = reply != NULL ? reply->integer : 0;
        freeReplyObject(reply);
        if (turns > 100)
            give_up("the replica does not come into step");
    }
    redisFree(redis);
}

static void start_daemon(struct stage *stage, const char *program, const char *name,
                         const char *const flags[], char *where, size_t room, pid_t *pid)
{
    char socket_flag[160], redis_flag[160];
    snprintf(where, room, "unix:%s/%s.sock", stage->dir, name);
    snprintf(socket_flag, sizeof socket_flag, "--socket=%s", where + 5);
    snprintf(redis_flag, sizeof redis_flag, "--redis-url=%s", stage->redis_path);
    const char *argv[16] = {program_path(program), socket_flag, redis_flag, "--log-level=warn"};
    for (size_t i = 0; flags != NULL && flags[i] != NULL && i < 10; i++)
        argv[4 + i] = flags[i];
    *pid = launch(stage, name, argv);
    wait_for_socket(where + 5, *pid);
    wait_until_ready(where);
}

void stage_open(struct stage *stage, unsigned agentds, bool with_broker, const char *const flags[])
{
    static const char *const broker_flags[] = {"--listen=127.0.0.1:0", "--durable-replicas=0",
                                               "--durable-timeout=5s", NULL};
    *stage = (struct stage){.agentds = agentds};
    snprintf(stage->dir, sizeof stage->dir, "%s/bw-bench-XXXXXX",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    if (mkdtemp(stage->dir) == NULL)
        give_up("no private folder: %s", strerror(errno));
    start_redis(stage);
    for (unsigned i = 0; i < agentds; i++) {
        char name[24];
        snprintf(name, sizeof name, "agentd-%u", i);
        start_daemon(stage, "brakewire-agentd", name, flags, stage->agentd[i],
                     sizeof stage->agentd[i], &stage->agentd_pid[i]);
    }
    if (with_broker)
        start_daemon(stage, "brakewire-broker", "broker", broker_flags, stage->broker,
                     sizeof stage->broker, &stage->broker_pid);
}

static void end_process(pid_t pid)
{
    if (pid <= 0)
        return;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

void stage_close(struct stage *stage)
{
    end_process(stage->broker_pid);
    for (unsigned i = 0; i < stage->agentds; i++)
        end_process(stage->agentd_pid[i]);
    end_process(stage->replica_pid);
    end_process(stage->redis_pid);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", stage->dir);
    if (system(command) != 0)
        fprintf(stderr, "bench: %s is left behind\n", stage->dir);
}

redisContext *stage_redis(const struct stage *stage)
{
    redisContext *redis = redisConnectUnix(stage->redis_path);
    if (redis == NULL || redis->err != 0)
        give_up("no connection to the private redis");
    redisSetTimeout(redis, (struct timeval){.tv_sec = 20});
    return redis;
}
