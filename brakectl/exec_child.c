#include "brakectl/exec_child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "brakectl/ctl.h"

enum { ENVIRONMENT_MAX = 16 * 1024, GATE_CLOSED = 125 };

static const int wanted_signals[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

static void wanted_set(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < sizeof wanted_signals / sizeof *wanted_signals; i++)
        sigaddset(set, wanted_signals[i]);
}

int exec_signals_open(void)
{
    sigset_t set;
    wanted_set(&set);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        return -1;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int exec_signals_take(int fd, bool *from_terminal)
{
    struct signalfd_siginfo info;
    if (read(fd, &info, sizeof info) != (ssize_t)sizeof info)
        return 0;
    *from_terminal = info.ssi_code == SI_KERNEL;
    return (int)info.ssi_signo;
}

static void signals_as_usual(void)
{
    sigset_t set;
    wanted_set(&set);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void environment_add(char *environment)
{
    for (char *entry = environment; *entry != '\0'; entry += strlen(entry) + 1)
        putenv(entry);
}

/* Everything that comes through the gate, until it is closed. */
static size_t gate_read(int gate, char *bytes, size_t room)
{
    size_t len = 0;
    while (len < room) {
        ssize_t got = read(gate, bytes + len, room - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        len += (size_t)got;
    }
    return len;
}

/* The child. An environment always ends in an empty entry: less means that exec gave up or died,
 * and then the command must never run. */
static _Noreturn void wait_and_execute(int gate, char *argv[])
{
    static char environment[ENVIRONMENT_MAX];
    size_t len = gate_read(gate, environment, sizeof environment);
    if (len == 0 || environment[len - 1] != '\0' || (len > 1 && environment[len - 2] != '\0'))
        _exit(GATE_CLOSED);
    signals_as_usual();
    environment_add(environment);
    execvp(argv[0], argv);
    int why = errno;
    fprintf(stderr, "brakectl: %s: %s\n", argv[0], strerror(why));
    _exit(why == ENOENT ? EXIT_NO_COMMAND : EXIT_CANNOT_RUN);
}

bool exec_child_start(char *argv[], struct exec_child *out)
{
    int gate[2];
    if (pipe2(gate, O_CLOEXEC) != 0)
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        close(gate[1]);
        wait_and_execute(gate[0], argv);
    }
    close(gate[0]);
    if (pid < 0) {
        close(gate[1]);
        return false;
    }
    *out = (struct exec_child){pid, gate[1]};
    return true;
}

bool exec_child_release(struct exec_child *child, const char *environment, size_t len)
{
    bool written = len <= ENVIRONMENT_MAX && write(child->gate, environment, len) == (ssize_t)len;
    close(child->gate);
    child->gate = -1;
    return written;
}

pid_t exec_hook_start(const char *command, const char *environment)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    signals_as_usual();
    for (const char *entry = environment; *entry != '\0'; entry += strlen(entry) + 1)
        putenv(strdup(entry));
    unsetenv("BRAKEWIRE_RUN_TOKEN");
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(EXIT_NO_COMMAND);
}

static pid_t parent_of(const char *pid)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    size_t len = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[len] = '\0';
    const char *after_name = strrchr(line, ')'); /* the name may hold anything */
    int parent = 0;
    if (after_name == NULL || sscanf(after_name, ") %*c %d", &parent) != 1)
        return 0;
    return parent;
}

unsigned exec_orphans_signal(int signal, pid_t spared)
{
    unsigned count = 0;
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 0 && pid != spared && parent_of(entry->d_name) == getpid())
            count += kill(pid, signal) == 0;
    }
    closedir(proc);
    return count;
}
