#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "brakectl/demo.h"

enum { ENVIRON_MAX = 256 * 1024 };

/* "" for a process that has ended or is not ours to look at. */
static size_t read_environment(const char *pid, char *out, size_t room)
{
    char path[64];
    size_t len = 0;
    snprintf(path, sizeof path, "/proc/%.20s/environ", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (ssize_t got = 1; fd >= 0 && got > 0 && len < room - 1; len += got > 0 ? (size_t)got : 0)
        got = read(fd, out + len, room - 1 - len);
    if (fd >= 0)
        close(fd);
    out[len] = '\0';
    return len;
}

static bool has_entry(const char *environment, size_t len, const char *prefix)
{
    for (const char *entry = environment; entry < environment + len; entry += strlen(entry) + 1)
        if (strncmp(entry, prefix, strlen(prefix)) == 0)
            return true;
    return false;
}

/* signal 0: only counts. */
static size_t each_process(const char *mark, bool with_token, int signal)
{
    static char environment[ENVIRON_MAX];
    size_t count = 0;
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 0 || pid == getpid())
            continue;
        size_t len = read_environment(entry->d_name, environment, sizeof environment);
        if (!has_entry(environment, len, mark)
            || (with_token && !has_entry(environment, len, "BRAKEWIRE_RUN_TOKEN=")))
            continue;
        count++;
        if (signal != 0)
            kill(pid, signal);
    }
    closedir(proc);
    return count;
}

size_t demo_processes(const char *mark, bool with_token)
{
    return each_process(mark, with_token, 0);
}

void demo_kill_processes(const char *mark)
{
    enum { TRIES = 200 };
    for (int i = 0; i < TRIES && each_process(mark, false, SIGKILL) > 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
}
