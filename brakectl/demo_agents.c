/* Starting agents, and hearing from them. An agent that calls another one sends us its name and the
 * baggage, as it would send a request to another pod; we are the other pod. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "brakectl/demo.h"
#include "brakectl/print.h"

enum { ARGS_MAX = 32, ENVIRONMENT_MAX = 5 };

static void calls_path(const struct demo *demo, char out[PROGRAM_PATH_MAX])
{
    snprintf(out, PROGRAM_PATH_MAX, "%.200s/calls", demo->folder);
}

/* Read and write, so that it never ends when the last agent closes it. */
bool demo_agents_open(struct demo *demo)
{
    char path[PROGRAM_PATH_MAX];
    calls_path(demo, path);
    if (mkfifo(path, 0600) != 0 && errno != EEXIST)
        return false;
    demo->calls = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    return demo->calls >= 0;
}

void demo_agents_close(struct demo *demo)
{
    for (size_t i = 0; i < demo->agent_count; i++) {
        program_stop(&demo->agent[i].exec, SIGKILL, SECONDS(1));
        free(demo->agent[i].baggage);
    }
    close(demo->calls);
    buf_fini(&demo->line);
}

struct demo_agent *demo_find(struct demo *demo, const char *name)
{
    for (size_t i = 0; i < demo->agent_count; i++)
        if (strcmp(demo->agent[i].plan->name, name) == 0)
            return &demo->agent[i];
    return NULL;
}

/* ---- starting ------------------------------------------------------------------------------- */

struct launch {
    char baggage[2048], agentd[PROGRAM_PATH_MAX + 24], calls[PROGRAM_PATH_MAX + 24];
    const char *environment[ENVIRONMENT_MAX];
};

static void launch_prepare(struct launch *launch, const struct demo *demo, unsigned pod,
                           const char *baggage)
{
    char path[PROGRAM_PATH_MAX];
    calls_path(demo, path);
    snprintf(launch->agentd, sizeof launch->agentd, "BRAKEWIRE_AGENTD=%s",
             demo->stack.agentd_socket[pod]);
    snprintf(launch->calls, sizeof launch->calls, "BRAKEWIRE_DEMO_CALLS=%s", path);
    snprintf(launch->baggage, sizeof launch->baggage, "BAGGAGE=%s", baggage != NULL ? baggage : "");
    launch->environment[0] = demo->mark;
    launch->environment[1] = launch->agentd;
    launch->environment[2] = launch->calls;
    launch->environment[3] = baggage != NULL ? launch->baggage : NULL;
    launch->environment[4] = NULL;
}

/* Graces short enough to watch. */
static const char *const exec_flags[] = {"--grace", "300ms",           "--term-grace",
                                         "500ms",   "--notice-signal", "USR1"};
enum { EXEC_FLAGS = sizeof exec_flags / sizeof *exec_flags };

struct argv {
    size_t count;
    const char *item[ARGS_MAX + 1];
};

static void argv_add(struct argv *argv, const char *flag, const char *value)
{
    if (value == NULL || argv->count + 2 > ARGS_MAX)
        return;
    argv->item[argv->count++] = flag;
    argv->item[argv->count++] = value;
}

static void argv_add_exec(struct argv *argv, const struct demo *demo)
{
    argv->item[argv->count++] = demo->self;
    argv->item[argv->count++] = "exec";
    for (size_t i = 0; i < EXEC_FLAGS; i += 2)
        argv_add(argv, exec_flags[i], exec_flags[i + 1]);
}

static void argv_make(struct argv *argv, const struct demo *demo, const struct demo_plan *plan,
                      const char *linked_from)
{
    argv_add_exec(argv, demo);
    argv_add(argv, "--agent", plan->name);
    argv_add(argv, "--run-id", plan->run_id);
    argv_add(argv, "--linked-from", linked_from);
    argv_add(argv, "--", demo->self);
    argv_add(argv, "demo-agent", "--name");
    argv_add(argv, plan->name, "--kind");
    argv->item[argv->count++] = plan->kind;
    argv_add(argv, "--calls", plan->calls);
    argv_add(argv, "--link", plan->link);
}

static bool start_agent(struct demo *demo, const struct demo_plan *plan, const char *baggage,
                        const char *linked_from)
{
    if (demo->agent_count == DEMO_AGENTS_MAX)
        return false;
    struct demo_agent *agent = &demo->agent[demo->agent_count];
    struct launch launch;
    struct argv argv = {0};
    *agent = (struct demo_agent){.plan = plan};
    snprintf(agent->exec.name, sizeof agent->exec.name, "%s", plan->name);
    snprintf(agent->exec.log, sizeof agent->exec.log, "%.180s/log/agent-%s.log", demo->folder,
             plan->name);
    launch_prepare(&launch, demo, plan->pod, baggage);
    argv_make(&argv, demo, plan, linked_from);
    if (program_start(&agent->exec, argv.item, launch.environment) != ERR_OK)
        return false;
    demo->agent_count++;
    return true;
}

int demo_exec(struct demo *demo, unsigned pod, const char *const flags[])
{
    struct launch launch;
    struct argv argv = {0};
    struct program exec = {.name = "exec"};
    snprintf(exec.log, sizeof exec.log, "%.180s/log/exec.log", demo->folder);
    launch_prepare(&launch, demo, pod, NULL);
    argv_add_exec(&argv, demo);
    for (size_t i = 0; flags[i] != NULL && flags[i + 1] != NULL; i += 2)
        argv_add(&argv, flags[i], flags[i + 1]);
    argv_add(&argv, "--", "true");
    int status = 0;
    if (program_start(&exec, argv.item, launch.environment) != ERR_OK
        || waitpid(exec.pid, &status, 0) != exec.pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* ---- hearing -------------------------------------------------------------------------------- */

static const struct demo_plan *plan_find(const struct demo *demo, const char *name)
{
    for (size_t i = 0; i < demo->growing_count; i++)
        if (strcmp(demo->growing[i].name, name) == 0)
            return &demo->growing[i];
    return NULL;
}

/* Over a link only its place is known; within a tree the baggage says it all. */
static void agent_called(struct demo *demo, struct demo_agent *from, const char *name,
                         const char *baggage)
{
    const struct demo_plan *plan = plan_find(demo, name);
    char linked_from[2 * DEMO_ID_MAX];
    if (plan == NULL)
        return;
    if (from->baggage == NULL)
        from->baggage = strdup(baggage);
    snprintf(linked_from, sizeof linked_from, "%s/%s", from->run_id, from->run_id);
    bool by_link = from->plan->link != NULL;
    start_agent(demo, plan, by_link ? NULL : baggage, by_link ? linked_from : NULL);
}

static void take_line(struct demo *demo, char *line)
{
    char *at = line, *word[4];
    for (size_t i = 0; i < 4; i++)
        if ((word[i] = strsep(&at, " ")) == NULL)
            return;
    struct demo_agent *from = demo_find(demo, word[1]);
    if (from == NULL)
        return;
    if (strcmp(word[0], "notice") == 0)
        from->notices++;
    else if (strcmp(word[0], "call") == 0)
        agent_called(demo, from, word[2], word[3]);
    else if (strcmp(word[0], "ready") == 0) {
        snprintf(from->run_id, sizeof from->run_id, "%s", word[2]);
        from->pid = (pid_t)strtol(word[3], NULL, 10);
        from->is_ready = true;
    }
}

static void take_lines(struct demo *demo)
{
    char bytes[4096];
    ssize_t got;
    while ((got = read(demo->calls, bytes, sizeof bytes)) > 0)
        (void)buf_add(&demo->line, bytes, (size_t)got);
    char *end;
    while (demo->line.len > 0 && (end = memchr(demo->line.bytes, '\n', demo->line.len)) != NULL) {
        *end = '\0';
        take_line(demo, demo->line.bytes);
        buf_drop(&demo->line, (size_t)(end - demo->line.bytes) + 1);
    }
}

void demo_listen(struct demo *demo, struct span how_long)
{
    struct instant until = instant_after(mono_now(), how_long);
    for (;;) {
        int64_t left = until.ms - mono_now().ms;
        struct pollfd calls = {.fd = demo->calls, .events = POLLIN};
        int ready = poll(&calls, 1, left > 0 ? (int)left : 0);
        if (ready > 0)
            take_lines(demo);
        if (left <= 0 || demo_interrupted)
            return;
    }
}

static size_t ready_count(struct demo *demo)
{
    size_t count = 0;
    for (size_t i = 0; i < demo->growing_count; i++) {
        struct demo_agent *agent = demo_find(demo, demo->growing[i].name);
        count += agent != NULL && agent->is_ready;
    }
    return count;
}

/* On a terminal one sees it grow. */
static void show_growth(struct demo *demo, const char *first)
{
    const struct demo_agent *root = demo_find(demo, first);
    if (!demo->ctl->colour || demo->ctl->json || root == NULL || !root->is_ready)
        return;
    json_t *tree = demo_tree(demo, root->run_id);
    if (tree != NULL)
        demo_draw(demo, tree);
    json_decref(tree);
}

bool demo_grow(struct demo *demo, const struct demo_plan *plan, size_t count)
{
    struct instant give_up = instant_after(mono_now(), SECONDS(15));
    demo->growing = plan;
    demo->growing_count = count;
    if (!start_agent(demo, &plan[0], NULL, NULL))
        return false;
    while (ready_count(demo) < count) {
        if (instant_reached(mono_now(), give_up) || demo_interrupted)
            return false;
        demo_listen(demo, MILLIS(30));
        show_growth(demo, plan[0].name);
    }
    return true;
}
