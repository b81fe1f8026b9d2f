/* Stop targets that are processes: one per run, found again by the run's id. */
#include "agentd/inside.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"

struct process {
    struct agentd *daemon;
    struct proctree *tree;
    char run[RUN_ID_MAX + 1];
    char cgroup[256]; /* "" = none of ours */
};

static void on_exit_of(void *owner)
{
    struct process *process = owner;
    feed_soon(process->daemon,
              (struct agent_event){.kind = AGENT_PROCESS_EXITED, .run = str_of(process->run)});
}

static void on_empty(void *owner)
{
    struct process *process = owner;
    feed_soon(process->daemon,
              (struct agent_event){.kind = AGENT_PROCESS_EMPTY, .run = str_of(process->run)});
}

static void on_closed(void *owner)
{
    struct process *process = owner;
    if (process->cgroup[0] != '\0')
        proctree_cgroup_remove(process->cgroup);
    mem_free(process);
}

static void on_probe_closed(void *owner)
{
    (void)owner;
}

static const struct proctree_events events = {on_exit_of, on_empty, on_closed};

static bool cgroups_are_wanted(const struct agentd *d)
{
    const char *base = d->settings->cgroup;
    return base != NULL && base[0] != '\0' && strcmp(base, "off") != 0;
}

/* Whose process it is is asked first: nobody may move a stranger's into a cgroup that dies. */
static enum err make_cgroup(struct process *process, const struct proctree_options *options)
{
    static const struct proctree_events nothing = {.on_closed = on_probe_closed};
    struct agentd *d = process->daemon;
    struct proctree *probe;
    enum err err = proctree_open(d->loop, options, &nothing, NULL, &probe);
    if (err != ERR_OK)
        return err;
    if (proctree_cgroup_make(d->settings->cgroup, process->run, options->pid, process->cgroup,
                             sizeof process->cgroup)
        != ERR_OK) {
        process->cgroup[0] = '\0';
        log_warn("no cgroup", "run=%s base=%s", process->run, d->settings->cgroup);
    }
    proctree_close(probe);
    return ERR_OK;
}

static enum err open_tree(struct process *process, const struct stop_target *target)
{
    char token[256];
    struct agentd *d = process->daemon;
    snprintf(token, sizeof token, "%.*s", (int)target->token.len, target->token.at);
    struct proctree_options options = {
        .pid = (pid_t)target->pid,
        .token = token,
        .owner_uid = target->uid == UINT32_MAX ? (uid_t)-1 : (uid_t)target->uid,
    };
    if (cgroups_are_wanted(d)) {
        enum err err = make_cgroup(process, &options);
        if (err != ERR_OK)
            return err;
        options.cgroup = process->cgroup[0] != '\0' ? process->cgroup : NULL;
    }
    return proctree_open(d->loop, &options, &events, process, &process->tree);
}

static enum err open_process(struct agentd *d, struct str run, const struct stop_target *target)
{
    struct process *process = mem_new(sizeof *process);
    if (process == NULL)
        return ERR_NOMEM;
    process->daemon = d;
    snprintf(process->run, sizeof process->run, "%.*s", (int)run.len, run.at);
    enum err err = open_tree(process, target);
    if (err != ERR_OK) {
        mem_free(process);
        return err;
    }
    if (!map_add(&d->processes, str_of(process->run), process)) {
        proctree_close(process->tree);
        return ERR_NOMEM;
    }
    return ERR_OK;
}

static bool is_watched(void *owner, pid_t pid)
{
    const struct agentd *d = owner;
    const struct process *process;
    for (size_t at = 0; (process = map_next(&d->processes, &at)) != NULL;)
        if (proctree_pid(process->tree) == pid)
            return true;
    return false;
}

void process_open(struct agentd *d, struct str run, const struct stop_target *target)
{
    process_close(d, run); /* a run that came back with another process */
    enum err err = open_process(d, run, target);
    enum problem problem = err == ERR_OK          ? PROBLEM_NONE
                           : err == ERR_NOT_FOUND ? PROBLEM_NOT_FOUND
                           : err == ERR_REFUSED   ? PROBLEM_FORBIDDEN
                                                  : PROBLEM_OVERLOADED;
    if (err != ERR_OK && err != ERR_NOT_FOUND && err != ERR_REFUSED)
        log_error("process not watched", "run=%.*s pid=%u because=\"%s\"", (int)run.len, run.at,
                  target->pid, err_text(err));
    pid_t within = err == ERR_OK ? proctree_ancestor((pid_t)target->pid, is_watched, d) : 0;
    feed_soon(d, (struct agent_event){.kind = AGENT_PROCESS_OPENED,
                                      .run = run,
                                      .problem = problem,
                                      .within = (uint32_t)within});
}

void process_signal(struct agentd *d, struct str run, int signal)
{
    struct process *process = map_find(&d->processes, run);
    unsigned found = 0, count = 0;
    if (process != NULL) {
        enum err err = proctree_signal(process->tree, signal, &found, &count);
        log_info("signalled", "run=%s signal=%d processes=%u found_by=%u result=\"%s\"",
                 process->run, signal, count, found, err_text(err));
    }
    feed_soon(d, (struct agent_event){.kind = AGENT_SIGNALLED,
                                      .run = run,
                                      .signal = signal,
                                      .count = count,
                                      .found = found});
}

void process_close(struct agentd *d, struct str run)
{
    struct process *process = map_take(&d->processes, run);
    if (process != NULL)
        proctree_close(process->tree);
}

void processes_close(struct agentd *d)
{
    struct process *process;
    for (size_t at = 0; (process = map_next(&d->processes, &at)) != NULL;)
        process_close(d, str_of(process->run));
}
