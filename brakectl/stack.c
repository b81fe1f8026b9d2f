#include "brakectl/stack.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "brakectl/ctl.h"
#include "brakectl/print.h"
#include "io/http_client.h"

enum { ARGS_MAX = 24, ARG_MAX_BYTES = 320 };

/* One command line under construction. */
struct args {
    size_t count;
    const char *item[ARGS_MAX + 1];
    char text[ARGS_MAX][ARG_MAX_BYTES];
};

static void args_add(struct args *args, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void args_add(struct args *args, const char *format, ...)
{
    if (args->count == ARGS_MAX)
        return;
    va_list list;
    va_start(list, format);
    vsnprintf(args->text[args->count], ARG_MAX_BYTES, format, list);
    va_end(list);
    args->item[args->count] = args->text[args->count];
    args->item[++args->count] = NULL;
}

static void args_add_all(struct args *args, const char *const extra[])
{
    for (size_t i = 0; i < STACK_EXTRA_MAX && extra[i] != NULL; i++)
        args_add(args, "%s", extra[i]);
}

static void name_program(const struct stack *stack, struct program *program, const char *name)
{
    snprintf(program->name, sizeof program->name, "%s", name);
    snprintf(program->log, sizeof program->log, "%.200s/log/%s.log", stack->folder, name);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
}

/* ---- readiness ------------------------------------------------------------------------------ */

static bool is_ready(const char *where)
{
    struct http_client *client = NULL;
    if (http_client_new(where, NULL, &client) != ERR_OK)
        return false;
    struct answer answer;
    answer_to(client, "GET", "/readyz", NULL, MILLIS(1000), &answer);
    bool ready = answer.status == 200;
    answer_fini(&answer);
    http_client_free(client);
    return ready;
}

static bool accepts(const char *socket_path)
{
    return access(socket_path, F_OK) == 0;
}

/* Says why not. */
static enum err wait_until(struct program *program, bool (*good)(const char *), const char *where)
{
    struct instant give_up = instant_after(mono_now(), SECONDS(10));
    while (!good(where)) {
        bool too_late = instant_reached(mono_now(), give_up);
        if (!program_is_running(program) || too_late) {
            fprintf(stderr, "brakectl: %s %s\n", program->name,
                    too_late ? "is not ready after 10 s" : "ended as soon as it was started");
            program_show_log(program);
            return too_late ? ERR_TIMEOUT : ERR_SYSTEM;
        }
        nap();
    }
    return ERR_OK;
}

/* ---- each daemon ---------------------------------------------------------------------------- */

static bool is_in_path(const char *name)
{
    const char *path = getenv("PATH");
    for (struct str rest = str_of(path != NULL ? path : ""); rest.at != NULL;) {
        char full[PROGRAM_PATH_MAX];
        struct str folder = str_cut(&rest, ':');
        snprintf(full, sizeof full, "%.*s/%s", (int)folder.len, folder.at, name);
        if (access(full, X_OK) == 0)
            return true;
    }
    return false;
}

static enum err start_redis(struct stack *stack)
{
    const char *server = is_in_path("redis-server") ? "redis-server" : "valkey-server";
    struct args args = {0};
    args_add(&args, "%s", server);
    args_add(&args, "--port");
    args_add(&args, "0");
    args_add(&args, "--unixsocket");
    args_add(&args, "%s", stack->redis_socket);
    args_add(&args, "--unixsocketperm");
    args_add(&args, "700");
    args_add(&args, "--dir");
    args_add(&args, "%s", stack->folder);
    args_add(&args, "--save");
    args_add(&args, "%s", "");
    args_add(&args, "--appendonly");
    args_add(&args, stack->options.keeps_data ? "yes" : "no");
    unlink(stack->redis_socket);
    if (program_start(&stack->redis, args.item, NULL) != ERR_OK)
        return ERR_SYSTEM;
    return wait_until(&stack->redis, accepts, stack->redis_socket);
}

static int bound_socket(unsigned port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((in_port_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

/* 0: there is none, or the one that was asked for is taken. */
static unsigned free_port(unsigned wanted)
{
    struct sockaddr_in address = {0};
    socklen_t len = sizeof address;
    int fd = bound_socket(wanted);
    if (fd < 0)
        return 0;
    getsockname(fd, (struct sockaddr *)&address, &len);
    close(fd);
    return ntohs(address.sin_port);
}

static enum err start_broker(struct stack *stack)
{
    unsigned port = free_port(stack->options.port);
    if (port == 0) {
        fprintf(stderr, "brakectl: port %u is taken: --port N is another, --any-port a free one\n",
                stack->options.port);
        return ERR_SYSTEM;
    }
    char program[PROGRAM_PATH_MAX];
    struct args args = {0};
    args_add(&args, "%s", program_find("brakewire-broker", program));
    args_add(&args, "--redis-url=unix://%s", stack->redis_socket);
    args_add(&args, "--listen=127.0.0.1:%u", port);
    args_add_all(&args, stack->options.broker_extra);
    snprintf(stack->broker_url, sizeof stack->broker_url, "http://127.0.0.1:%u", port);
    if (program_start(&stack->broker, args.item, NULL) != ERR_OK)
        return ERR_SYSTEM;
    return wait_until(&stack->broker, is_ready, stack->broker_url);
}

static enum err start_agentd(struct stack *stack, unsigned which)
{
    char program[PROGRAM_PATH_MAX], where[PROGRAM_PATH_MAX + 8];
    struct args args = {0};
    args_add(&args, "%s", program_find("brakewire-agentd", program));
    args_add(&args, "--redis-url=unix://%s", stack->redis_socket);
    args_add(&args, "--socket=%s", stack->agentd_socket[which]);
    args_add(&args, "--replica-prefix=%c", 'a' + (char)which);
    if (which == 0 && stack->options.cgroup != NULL)
        args_add(&args, "--cgroup=%s", stack->options.cgroup);
    args_add_all(&args, stack->options.agentd_extra);
    if (program_start(&stack->agentd[which], args.item, NULL) != ERR_OK)
        return ERR_SYSTEM;
    snprintf(where, sizeof where, "unix:%s", stack->agentd_socket[which]);
    return wait_until(&stack->agentd[which], is_ready, where);
}

/* ---- all of them ---------------------------------------------------------------------------- */

static bool take_lock(struct stack *stack)
{
    char path[PROGRAM_PATH_MAX];
    snprintf(path, sizeof path, "%.200s/lock", stack->folder);
    stack->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (stack->lock >= 0 && flock(stack->lock, LOCK_EX | LOCK_NB) == 0)
        return true;
    fprintf(stderr, "brakectl: something is up in %s already: end it, or name another --dir\n",
            stack->folder);
    return false;
}

/* A Unix socket's path has 107 bytes at most. */
static bool make_folder(struct stack *stack)
{
    enum { FOLDER_MAX = 107 - sizeof "/agentd-8.sock" };
    char log[PROGRAM_PATH_MAX];
    if (strlen(stack->options.folder) > FOLDER_MAX) {
        fprintf(stderr, "brakectl: %s: too long for the path of a socket\n", stack->options.folder);
        return false;
    }
    snprintf(stack->folder, sizeof stack->folder, "%s", stack->options.folder);
    snprintf(log, sizeof log, "%.200s/log", stack->folder);
    bool made = (mkdir(stack->folder, 0700) == 0 || errno == EEXIST)
                && (mkdir(log, 0700) == 0 || errno == EEXIST);
    if (!made)
        fprintf(stderr, "brakectl: %s: %s\n", stack->folder, strerror(errno));
    return made;
}

static void name_everything(struct stack *stack)
{
    name_program(stack, &stack->redis, "redis");
    name_program(stack, &stack->broker, "broker");
    snprintf(stack->redis_socket, PROGRAM_PATH_MAX, "%.200s/redis.sock", stack->folder);
    for (unsigned i = 0; i < stack->options.agentds; i++) {
        char name[PROGRAM_NAME_MAX] = "agentd"; /* the first is where brakectl looks by itself */
        if (i > 0)
            snprintf(name, sizeof name, "agentd-%u", i + 1);
        name_program(stack, &stack->agentd[i], name);
        snprintf(stack->agentd_socket[i], PROGRAM_PATH_MAX, "%.200s/%s.sock", stack->folder, name);
    }
}

enum err stack_start(struct stack *stack, const struct stack_options *options)
{
    *stack = (struct stack){.options = *options};
    if (!make_folder(stack) || !take_lock(stack))
        return ERR_SYSTEM;
    name_everything(stack);
    enum err err = start_redis(stack);
    if (err == ERR_OK)
        err = start_broker(stack);
    for (unsigned i = 0; i < options->agentds && err == ERR_OK; i++)
        err = start_agentd(stack, i);
    if (err != ERR_OK)
        stack_stop(stack);
    return err;
}

/* Clients of Redis before Redis, so that nobody has to complain about its end. */
void stack_stop(struct stack *stack)
{
    for (unsigned i = 0; i < stack->options.agentds; i++)
        program_stop(&stack->agentd[i], SIGTERM, SECONDS(2));
    program_stop(&stack->broker, SIGTERM, SECONDS(2));
    program_stop(&stack->redis, SIGTERM, SECONDS(5));
    close(stack->lock);
}

void stack_kill_agentd(struct stack *stack, unsigned which)
{
    program_stop(&stack->agentd[which], SIGKILL, SECONDS(5));
}

enum err stack_restart_agentd(struct stack *stack, unsigned which)
{
    return start_agentd(stack, which);
}

const struct program *stack_find_dead(struct stack *stack)
{
    if (!program_is_running(&stack->redis))
        return &stack->redis;
    if (!program_is_running(&stack->broker))
        return &stack->broker;
    for (unsigned i = 0; i < stack->options.agentds; i++)
        if (!program_is_running(&stack->agentd[i]))
            return &stack->agentd[i];
    return NULL;
}
