/* The control group (v2) of a run. */
#ifndef IO_PROC_CGROUP_H
#define IO_PROC_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* A directory of cgroup v2, not its root, and without us in it: all that is in it may be killed. */
bool proc_cgroup_is_usable(const char *path);
/* Every process in it and in the cgroups below. */
void proc_cgroup_each(const char *path, void (*visit)(void *owner, pid_t pid), void *owner);
/* False: this kernel has no cgroup.kill (before 5.14), or it is not ours to write. */
bool proc_cgroup_kill(const char *path);

#endif
