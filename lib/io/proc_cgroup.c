#include "io/proc_cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/proctree.h"

enum { DEPTH_MAX = 8 };

static bool path_of(char *out, size_t room, const char *folder, const char *name)
{
    return (size_t)snprintf(out, room, "%s/%s", folder, name) < room;
}

static bool write_text(const char *folder, const char *name, const char *text)
{
    char path[PATH_MAX];
    int fd = path_of(path, sizeof path, folder, name) ? open(path, O_WRONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    ssize_t len = (ssize_t)strlen(text);
    bool written = write(fd, text, (size_t)len) == len;
    close(fd);
    return written;
}

static void visit_own(const char *folder, void (*visit)(void *owner, pid_t pid), void *owner)
{
    char path[PATH_MAX];
    int pid;
    FILE *file = path_of(path, sizeof path, folder, "cgroup.procs") ? fopen(path, "re") : NULL;
    if (file == NULL)
        return;
    while (fscanf(file, "%d", &pid) == 1)
        visit(owner, pid);
    fclose(file);
}

static void visit_below(const char *folder, void (*visit)(void *owner, pid_t pid), void *owner,
                        int depth)
{
    visit_own(folder, visit, owner);
    DIR *children = depth < DEPTH_MAX ? opendir(folder) : NULL;
    const struct dirent *child;
    while (children != NULL && (child = readdir(children)) != NULL) {
        char path[PATH_MAX];
        if (child->d_type == DT_DIR && child->d_name[0] != '.'
            && path_of(path, sizeof path, folder, child->d_name))
            visit_below(path, visit, owner, depth + 1);
    }
    if (children != NULL)
        closedir(children);
}

void proc_cgroup_each(const char *path, void (*visit)(void *owner, pid_t pid), void *owner)
{
    visit_below(path, visit, owner, 0);
}

static void note_ourselves(void *owner, pid_t pid)
{
    bool *found = owner;
    *found = *found || pid == getpid();
}

bool proc_cgroup_is_usable(const char *path)
{
    char events[PATH_MAX]; /* every cgroup has this file, but the root */
    bool holds_us = false;
    if (!path_of(events, sizeof events, path, "cgroup.events") || access(events, R_OK) != 0)
        return false;
    proc_cgroup_each(path, note_ourselves, &holds_us);
    return !holds_us;
}

bool proc_cgroup_kill(const char *path)
{
    return write_text(path, "cgroup.kill", "1");
}

static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL;
}

enum err proctree_cgroup_make(const char *base, const char *name, pid_t pid, char *out, size_t room)
{
    char path[PATH_MAX], digits[16];
    if (!is_plain_name(name) || !path_of(path, sizeof path, base, name) || strlen(path) >= room
        || mkdir(path, 0755) != 0)
        return ERR_SYSTEM;
    snprintf(digits, sizeof digits, "%d", (int)pid);
    if (!write_text(path, "cgroup.procs", digits)) {
        (void)rmdir(path);
        return ERR_SYSTEM;
    }
    strcpy(out, path);
    return ERR_OK;
}

void proctree_cgroup_remove(const char *path)
{
    (void)rmdir(path); /* refused while somebody is in it: then it stays, harmless */
}
