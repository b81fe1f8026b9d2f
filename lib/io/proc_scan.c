#include "io/proc_scan.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

enum { ENVIRONMENT_MAX = 8 << 20, CHUNK = 16 << 10 };

static int open_file(pid_t pid, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static bool read_start(pid_t pid, const char *name, char *out, size_t room)
{
    int fd = open_file(pid, name);
    if (fd < 0)
        return false;
    ssize_t len = read(fd, out, room - 1);
    close(fd);
    out[len > 0 ? len : 0] = '\0';
    return len > 0;
}

/* pid (name) state parent …; the name may hold anything, so the last ')' ends it. Field 20 is the
 * number of threads: a process whose first thread has ended looks like a zombie and is none. */
bool proc_read(pid_t pid, struct proc_entry *out)
{
    char text[1024], state;
    int parent;
    long threads;
    unsigned long long start;
    if (!read_start(pid, "stat", text, sizeof text))
        return false;
    const char *end = strrchr(text, ')');
    if (end == NULL
        || sscanf(end + 1,
                  " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %ld %*d %llu",
                  &state, &parent, &threads, &start)
               != 4)
        return false;
    *out = (struct proc_entry){
        .pid = pid,
        .parent = parent,
        .start = start,
        .is_alive = (state != 'Z' && state != 'X') || threads > 1,
    };
    return true;
}

bool proc_read_uid(pid_t pid, uid_t *out)
{
    char text[2048];
    unsigned uid;
    if (!read_start(pid, "status", text, sizeof text))
        return false;
    const char *line = strstr(text, "\nUid:");
    if (line == NULL || sscanf(line, " Uid: %u", &uid) != 1)
        return false;
    *out = uid;
    return true;
}

static bool read_environment(pid_t pid, struct buf *out)
{
    char chunk[CHUNK];
    ssize_t len;
    int fd = open_file(pid, "environ");
    if (fd < 0)
        return false;
    buf_clear(out);
    out->limit = ENVIRONMENT_MAX;
    do {
        len = read(fd, chunk, sizeof chunk);
        if (len > 0)
            (void)buf_add(out, chunk, (size_t)len);
    } while ((len > 0 && !out->failed) || (len < 0 && errno == EINTR));
    close(fd);
    return out->len > 0;
}

bool proc_environment_has(pid_t pid, struct str assignment, struct buf *room)
{
    if (!read_environment(pid, room))
        return false;
    for (struct str rest = buf_str(room); rest.len > 0;)
        if (str_eq(str_cut(&rest, '\0'), assignment))
            return true;
    return false;
}

static int compare_pids(const void *a, const void *b)
{
    pid_t left = ((const struct proc_entry *)a)->pid, right = ((const struct proc_entry *)b)->pid;
    return (left > right) - (left < right);
}

static enum err scan_folder(struct proc_scan *scan, DIR *folder)
{
    const struct dirent *file;
    while ((file = readdir(folder)) != NULL) {
        struct proc_entry entry;
        if (!isdigit((unsigned char)file->d_name[0])
            || !proc_read((pid_t)strtol(file->d_name, NULL, 10), &entry))
            continue;
        void *array = scan->entry;
        if (!mem_grow(&array, &scan->room, sizeof entry, scan->count + 1))
            return ERR_NOMEM;
        scan->entry = array;
        scan->entry[scan->count++] = entry;
    }
    return ERR_OK;
}

enum err proc_scan(struct proc_scan *scan)
{
    DIR *folder = opendir("/proc");
    scan->count = 0;
    if (folder == NULL)
        return ERR_SYSTEM;
    enum err err = scan_folder(scan, folder);
    closedir(folder);
    if (scan->count > 0)
        qsort(scan->entry, scan->count, sizeof *scan->entry, compare_pids);
    return err;
}

void proc_scan_fini(struct proc_scan *scan)
{
    mem_free(scan->entry);
    *scan = (struct proc_scan){0};
}

struct proc_entry *proc_scan_find(const struct proc_scan *scan, pid_t pid)
{
    const struct proc_entry wanted = {.pid = pid};
    return scan->count > 0 ? bsearch(&wanted, scan->entry, scan->count, sizeof wanted, compare_pids)
                           : NULL;
}
