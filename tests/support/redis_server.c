#include "support/redis_server.h"

#include <errno.h>
#include <ftw.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STARTS_WITHIN_MS = 15000, LOOK_EVERY_MS = 5, ARGS_ROOM = 64 };

static const char *const program_names[KIND_COUNT] = {"redis-server", "valkey-server"};

static void give_up(const char *what, const char *about)
{
    fprintf(stderr, "redis_server: %s %s: %s\n", what, about, strerror(errno));
    abort();
}

const char *redis_kind_name(enum redis_kind kind)
{
    return kind == KIND_REDIS ? "redis" : "valkey";
}

static bool find_in_path(const char *name, char *out, size_t room)
{
    char all[4096];
    snprintf(all, sizeof all, "%s:/usr/bin:/usr/local/bin", getenv("PATH") ? getenv("PATH") : "");
    char *save = NULL;
    for (char *at = strtok_r(all, ":", &save); at != NULL; at = strtok_r(NULL, ":", &save)) {
        snprintf(out, room, "%s/%s", at, name);
        if (access(out, X_OK) == 0)
            return true;
    }
    return false;
}

static bool find_program(enum redis_kind kind, char *out, size_t room)
{
    if (find_in_path(program_names[kind], out, room))
        return true;
    snprintf(out, room, "%s/.deps/valkey/usr/bin/%s", BRAKEWIRE_SOURCE, program_names[kind]);
    return access(out, X_OK) == 0;
}

bool redis_kind_is_installed(enum redis_kind kind)
{
    char path[4200];
    return find_program(kind, path, sizeof path);
}

int redis_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0
        || getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        give_up("cannot find", "a free port");
    close(fd);
    return ntohs(address.sin_port);
}

static void become_server(const struct redis_process *process, const char *program, pid_t parent)
    __attribute__((noreturn));

static void become_server(const struct redis_process *process, const char *program, pid_t parent)
{
    char port[16], log[96];
    snprintf(port, sizeof port, "%d", process->port);
    snprintf(log, sizeof log, "%s/log", process->folder);
    char *argv[ARGS_ROOM] = {(char *)program, "--bind", "127.0.0.1", "--port", port, "--unixsocket",
                             (char *)process->socket, "--dir", (char *)process->folder, "--logfile",
                             log, "--save", "", "--daemonize", "no",
                             /* of a master: else a first replica waits 5 s for a second */
                             "--repl-diskless-sync-delay", "0"};
    int argc = 17;
    for (int i = 0; i < process->extra_count; i++)
        argv[argc++] = process->extra[i];
    argv[argc] = NULL;
    char *sentinel_argv[] = {(char *)program, (char *)process->config, "--sentinel", NULL};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent)
        execv(program, process->config[0] != '\0' ? sentinel_argv : argv);
    _exit(127);
}

static bool answers_ping(const struct redis_process *process)
{
    struct timeval patience = {.tv_sec = 1};
    redisContext *context = redisConnectUnixWithTimeout(process->socket, patience);
    if (context == NULL)
        give_up("cannot connect to", process->socket);
    redisReply *reply = context->err == 0 ? redisCommand(context, "PING") : NULL;
    bool ready =
        reply != NULL && (reply->type != REDIS_REPLY_ERROR || strncmp(reply->str, "NO", 2) == 0);
    freeReplyObject(reply);
    redisFree(context);
    return ready;
}

static void launch(struct redis_process *process)
{
    char program[4200];
    if (!find_program(process->kind, program, sizeof program))
        give_up("there is no", program_names[process->kind]);
    unlink(process->socket);
    pid_t parent = getpid();
    process->pid = fork();
    if (process->pid < 0)
        give_up("cannot start", program);
    if (process->pid == 0)
        become_server(process, program, parent);
    for (int waited = 0; !answers_ping(process); waited += LOOK_EVERY_MS) {
        if (waited > STARTS_WITHIN_MS || waitpid(process->pid, NULL, WNOHANG) != 0)
            give_up("did not come up:", program);
        poll(NULL, 0, LOOK_EVERY_MS);
    }
}

static void furnish(struct redis_process *process, enum redis_kind kind)
{
    *process = (struct redis_process){.kind = kind, .folder = "/tmp/bw-redis-XXXXXX"};
    if (mkdtemp(process->folder) == NULL)
        give_up("cannot make", process->folder);
    snprintf(process->socket, sizeof process->socket, "%s/socket", process->folder);
    snprintf(process->url, sizeof process->url, "unix://%s", process->socket);
    process->port = redis_free_port();
}

void redis_sentinel_start(struct redis_process *process, enum redis_kind kind, const char *name,
                          int master_port, int quorum, const char *const *extra)
{
    furnish(process, kind);
    snprintf(process->config, sizeof process->config, "%s/sentinel.conf", process->folder);
    FILE *file = fopen(process->config, "we");
    if (file == NULL)
        give_up("cannot write", process->config);
    fprintf(file,
            "bind 127.0.0.1\nport %d\nunixsocket %s\ndir %s\nlogfile %s/log\n"
            "sentinel monitor %s 127.0.0.1 %d %d\n"
            "sentinel down-after-milliseconds %s 1500\nsentinel failover-timeout %s 3000\n",
            process->port, process->socket, process->folder, process->folder, name, master_port,
            quorum, name, name);
    for (; extra != NULL && *extra != NULL; extra++)
        fprintf(file, "%s\n", *extra);
    fclose(file);
    launch(process);
}

static void become_cluster(struct redis_process *process)
{
    char bus[16];
    snprintf(bus, sizeof bus, "%d", redis_free_port());
    const char *const more[] = {"--cluster-enabled", "yes", "--cluster-port", bus};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        process->extra[process->extra_count++] = strdup(more[i]);
    snprintf(process->url, sizeof process->url, "redis+cluster://127.0.0.1:%d", process->port);
}

void redis_process_start(struct redis_process *process, enum redis_kind kind,
                         const char *const *extra)
{
    furnish(process, kind);
    for (; extra != NULL && extra[process->extra_count] != NULL; process->extra_count++) {
        if (process->extra_count >= (int)(sizeof process->extra / sizeof *process->extra))
            give_up("too many arguments for", program_names[kind]);
        process->extra[process->extra_count] = strdup(extra[process->extra_count]);
    }
    process->is_cluster = getenv("BW_AS_CLUSTER") != NULL;
    if (process->is_cluster)
        become_cluster(process);
    launch(process);
    if (process->is_cluster)
        redis_process_do(process, "CLUSTER ADDSLOTSRANGE 0 16383");
}

static void stop_with(struct redis_process *process, int signal)
{
    if (process->pid == 0)
        return;
    kill(process->pid, signal);
    waitpid(process->pid, NULL, 0);
    process->pid = 0;
}

void redis_process_kill(struct redis_process *process)
{
    stop_with(process, SIGKILL);
}

void redis_process_shutdown(struct redis_process *process)
{
    stop_with(process, SIGTERM);
}

void redis_process_again(struct redis_process *process)
{
    launch(process);
}

void redis_process_pause(struct redis_process *process)
{
    kill(process->pid, SIGSTOP);
}

void redis_process_resume(struct redis_process *process)
{
    kill(process->pid, SIGCONT);
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about;
    (void)kind;
    (void)where;
    return remove(path);
}

void redis_process_end(struct redis_process *process)
{
    redis_process_kill(process);
    nftw(process->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    for (int i = 0; i < process->extra_count; i++)
        free(process->extra[i]);
    process->extra_count = 0;
}

struct redisContext *redis_process_connect(const struct redis_process *process)
{
    redisContext *context = redisConnectUnix(process->socket);
    if (context == NULL || context->err != 0)
        give_up("cannot connect to", process->socket);
    return context;
}

/* Again while it is the node of a cluster that has just come back and does not trust itself yet. */
static redisReply *answer_of(redisContext *context, const char *formatted, size_t len)
{
    for (int waited = 0;; waited += LOOK_EVERY_MS) {
        redisReply *reply = NULL;
        redisAppendFormattedCommand(context, formatted, len);
        if (redisGetReply(context, (void **)&reply) != REDIS_OK)
            return NULL;
        if (reply->type != REDIS_REPLY_ERROR || strncmp(reply->str, "CLUSTERDOWN", 11) != 0
            || waited > STARTS_WITHIN_MS)
            return reply;
        freeReplyObject(reply);
        poll(NULL, 0, LOOK_EVERY_MS);
    }
}

long long redis_process_do(const struct redis_process *process, const char *format, ...)
{
    redisContext *context = redis_process_connect(process);
    char *formatted;
    va_list args;
    va_start(args, format);
    int len = redisvFormatCommand(&formatted, format, args);
    va_end(args);
    if (len < 0)
        give_up("cannot write", format);
    redisReply *reply = answer_of(context, formatted, (size_t)len);
    redisFreeCommand(formatted);
    if (reply == NULL)
        give_up("no answer to", format);
    if (reply->type == REDIS_REPLY_ERROR) {
        fprintf(stderr, "redis_server: %s: %s\n", format, reply->str);
        abort();
    }
    long long number = reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
    freeReplyObject(reply);
    redisFree(context);
    return number;
}
