/* All processes at one moment, as /proc tells. */
#ifndef IO_PROC_SCAN_H
#define IO_PROC_SCAN_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

struct proc_entry {
    pid_t pid, parent;
    uint64_t start; /* clock ticks since boot: with the pid it names a process for good */
    bool is_alive;  /* a zombie is not */
    unsigned found; /* for the scan's owner */
};

struct proc_scan {            /* all zero is empty; its memory is used again by the next scan */
    struct proc_entry *entry; /* by rising pid */
    size_t count, room;
};

enum err proc_scan(struct proc_scan *scan) MUST_CHECK;
void proc_scan_fini(struct proc_scan *scan);
struct proc_entry *proc_scan_find(const struct proc_scan *scan, pid_t pid);

/* False: no such process. */
bool proc_read(pid_t pid, struct proc_entry *out);
/* Real user id. False: no such process. */
bool proc_read_uid(pid_t pid, uid_t *out);
/* Its environment, as it was when its program began, holds exactly `assignment` (NAME=value). False
 * also where we may not look. `room` is scratch memory. */
bool proc_environment_has(pid_t pid, struct str assignment, struct buf *room);

#endif
