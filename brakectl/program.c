#include "brakectl/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "brakectl/print.h"

const char *program_find(const char *name, char out[PROGRAM_PATH_MAX])
{
    ssize_t len = readlink("/proc/self/exe", out, PROGRAM_PATH_MAX - 1);
    out[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(out, '/');
    if (slash != NULL) {
        size_t room = PROGRAM_PATH_MAX - (size_t)(slash + 1 - out);
        int wanted = snprintf(slash + 1, room, "%s", name);
        if (wanted > 0 && (size_t)wanted < room && access(out, X_OK) == 0)
            return out;
    }
    snprintf(out, PROGRAM_PATH_MAX, "%s", name);
    return out;
}

static bool is_ours_alone(const char *entry)
{
    return strncmp(entry, "BRAKEWIRE_", 10) == 0 || strncmp(entry, "BAGGAGE=", 8) == 0;
}

static void environment_make(const char *const added[])
{
    char **kept = environ;
    for (char **entry = environ; *entry != NULL; entry++)
        if (!is_ours_alone(*entry))
            *kept++ = *entry;
    *kept = NULL;
    for (size_t i = 0; added != NULL && added[i] != NULL; i++)
        putenv(strdup(added[i]));
}

static void signals_as_usual(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void become(const struct program *program, const char *const argv[],
                             const char *const environment[], pid_t parent)
{
    int log = open(program->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(nothing, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) /* it died before the line above */
        _exit(EXIT_FAILURE);
    signals_as_usual();
    environment_make(environment);
    execvp(argv[0], (char *const *)argv);
    fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

enum err program_start(struct program *program, const char *const argv[],
                       const char *const environment[])
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        become(program, argv, environment, parent);
    if (pid < 0)
        return ERR_SYSTEM;
    program->pid = pid;
    return ERR_OK;
}

bool program_is_running(struct program *program)
{
    if (program->pid != 0 && waitpid(program->pid, NULL, WNOHANG) == program->pid)
        program->pid = 0;
    return program->pid != 0;
}

void program_stop(struct program *program, int signal, struct span patience)
{
    if (!program_is_running(program))
        return;
    kill(program->pid, signal);
    struct instant due = instant_after(mono_now(), patience);
    while (program_is_running(program)) {
        if (instant_reached(mono_now(), due))
            kill(program->pid, SIGKILL);
        nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
    }
}

void program_show_log(const struct program *program)
{
    enum { TAIL_BYTES = 2000 };
    char tail[TAIL_BYTES + 1];
    FILE *file = fopen(program->log, "re");
    if (file == NULL)
        return;
    if (fseek(file, -TAIL_BYTES, SEEK_END) != 0)
        rewind(file);
    size_t len = fread(tail, 1, TAIL_BYTES, file);
    fclose(file);
    tail[len] = '\0';
    fprintf(stderr, "---- %s says (%s):\n%s----\n", program->name, program->log, tail);
}
