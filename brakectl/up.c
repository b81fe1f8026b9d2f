/* `brakectl up`: the whole of Brakewire on this machine, until Ctrl-C. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "brakectl/commands.h"
#include "brakectl/stack.h"

enum { BROKER_PORT = 7319 };

struct up_settings {
    const char *folder;
    int64_t agentds, port;
    bool any_port;
};

static const char *default_folder(void)
{
    static char folder[PROGRAM_PATH_MAX];
    const char *runtime_dir = getenv("XDG_RUNTIME_DIR");
    if (runtime_dir != NULL && runtime_dir[0] != '\0')
        snprintf(folder, sizeof folder, "%s/brakewire", runtime_dir);
    else
        snprintf(folder, sizeof folder, "/tmp/brakewire-%u", (unsigned)getuid());
    return folder;
}

static void show_in_json(const struct stack *stack)
{
    json_t *agentds = json_array();
    for (unsigned i = 0; i < stack->options.agentds; i++)
        json_array_append_new(agentds, json_string(stack->agentd_socket[i]));
    json_t *all = json_pack("{s:s, s:s, s:s, s:o}", "folder", stack->folder, "redis",
                            stack->redis_socket, "broker", stack->broker_url, "agentds", agentds);
    json_show(all);
    json_decref(all);
}

static void show(const struct stack *stack)
{
    printf("Brakewire is up. Everything is in %s, logs in %s/log.\n\n", stack->folder,
           stack->folder);
    printf("  export BRAKEWIRE_BROKER=%s\n", stack->broker_url);
    for (unsigned i = 0; i < stack->options.agentds; i++)
        printf("  %sexport BRAKEWIRE_AGENTD=%s\n", i > 0 ? "# or: " : "", stack->agentd_socket[i]);
    printf("\nThen a process as a run, from any other terminal:\n\n"
           "  brakectl exec --agent hello -- sleep 1000\n"
           "  brakectl runs\n"
           "  brakectl cancel RUN --reason 'enough'\n\n"
           "Or an agent that speaks HTTP itself:\n\n"
           "  curl -s --unix-socket $BRAKEWIRE_AGENTD http://localhost/v1/runs \\\n"
           "       -H 'authorization: Bearer my-own-secret-token' -d '{\"agent\":\"hello\"}'\n"
           "  curl -sN --unix-socket $BRAKEWIRE_AGENTD http://localhost/v1/events \\\n"
           "       -H 'authorization: Bearer my-own-secret-token'\n"
           "  curl -s $BRAKEWIRE_BROKER/v1/runs/RUN/cancel -d '{\"reason\":\"enough\"}'\n\n"
           "And by hand, whatever else is down:\n\n"
           "  redis-cli -s %s PUBLISH 'bw:{ROOT}' 'cancel RUN enough'\n\n"
           "Ctrl-C stops it all.\n",
           stack->redis_socket);
    fflush(stdout);
}

/* Returns when we are asked to stop (true) or when a daemon has ended by itself. */
static bool wait_for_the_end(struct stack *stack, const sigset_t *signals)
{
    for (;;) {
        int number = sigwaitinfo(signals, NULL);
        const struct program *dead = stack_find_dead(stack);
        if (number > 0 && number != SIGCHLD)
            return true;
        if (dead != NULL) {
            fprintf(stderr, "brakectl: %s has ended by itself\n", dead->name);
            program_show_log(dead);
            return false;
        }
    }
}

static void block_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGHUP);
    sigaddset(signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, signals, NULL);
}

static int up_main(const struct ctl *ctl, const void *settings, int count, char *words[])
{
    (void)count;
    (void)words;
    const struct up_settings *up = settings;
    struct stack stack;
    sigset_t signals;
    if (!flag_is_within("brakectl up", "agentds", up->agentds, 1, STACK_AGENTDS_MAX)
        || !flag_is_within("brakectl up", "port", up->port, 0, UINT16_MAX))
        return EXIT_USAGE;
    const struct stack_options options = {
        .folder = up->folder != NULL ? up->folder : default_folder(),
        .agentds = (unsigned)up->agentds,
        .port = up->any_port ? 0 : (unsigned)up->port,
        .keeps_data = true,
    };
    block_signals(&signals);
    if (stack_start(&stack, &options) != ERR_OK)
        return EXIT_REFUSED;
    if (ctl->json)
        show_in_json(&stack);
    else
        show(&stack);
    bool was_asked = wait_for_the_end(&stack, &signals);
    stack_stop(&stack);
    return was_asked ? EXIT_DONE : EXIT_REFUSED;
}

static const struct flag up_flags[] = {
    {"dir", FLAG_TEXT, offsetof(struct up_settings, folder), "FOLDER",
     "sockets, data and logs ($XDG_RUNTIME_DIR/brakewire)"},
    {"agentds", FLAG_NUMBER, offsetof(struct up_settings, agentds), "N", "how many, at most 8 (1)"},
    {"port", FLAG_NUMBER, offsetof(struct up_settings, port), "N",
     "of the broker (7319); 0: any that is free"},
    {"any-port", FLAG_YES, offsetof(struct up_settings, any_port), NULL, "the same as --port 0"},
};

static const struct up_settings up_defaults = {.agentds = 1, .port = BROKER_PORT};

const struct command command_up = {
    .name = "up",
    .about = "start everything on this machine: a private Redis, a broker, agentds",
    .words = "",
    .examples = "  brakectl up\n"
                "  brakectl up --dir /tmp/try --agentds 3 --any-port\n"
                "  brakectl --json up --any-port     one line when all is ready\n",
    COMMAND_FLAGS(up_flags),
    COMMAND_SETTINGS(struct up_settings),
    .defaults = &up_defaults,
    .run = up_main,
};
