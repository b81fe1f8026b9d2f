/* A process and all that it started: watch it, signal it, prove that nothing of it is left.
 *
 * The tree of a run is: its main pid; everything in its cgroup, where one was given; everything
 * whose environment carries its token (BRAKEWIRE_RUN_TOKEN=<token>), also after a double fork and
 * setsid; and every descendant of those by parent pid. Signals go through pidfds, and what a scan
 * found is read again after its pidfd was opened, so a pid that was reused meanwhile is never hit.
 *
 * Happy path: open -> (main exits: on_exit) -> signal TERM -> ... -> signal KILL -> on_empty.
 * Ways to fail: the pid is gone or belongs to somebody else (open refuses); a process that SIGKILL
 * does not end (on_empty never comes; the caller waits for a while and then says so). */
#ifndef IO_PROCTREE_H
#define IO_PROCTREE_H

#include <sys/types.h>
#include <uv.h>

#include "base/err.h"
#include "base/str.h"

struct proctree;

struct proctree_options {
    pid_t pid;
    const char *token;  /* NULL or "": no scan of environments */
    const char *cgroup; /* directory of a cgroup v2 that holds the tree, NULL: none */
    uid_t owner_uid;    /* the pid must belong to this uid; (uid_t)-1: do not check */
};
struct proctree_events {
    void (*on_exit)(void *owner);  /* the main process has ended (others may live on); once */
    void (*on_empty)(void *owner); /* after a signal: nothing of the tree is left; once */
    void (*on_closed)(void *owner);
};

/* ERR_NOT_FOUND: no such process, or a zombie. ERR_REFUSED: not owner_uid's, pid 1 or ourselves, or
 * a cgroup that is a root or holds us. ERR_SYSTEM, ERR_NOMEM. */
enum err proctree_open(uv_loop_t *loop, const struct proctree_options *options,
                       const struct proctree_events *events, void *owner,
                       struct proctree **out) MUST_CHECK;
/* Signals every process of the tree once. From the first call on it looks every 5..50 ms (backing
 * off) whether anything is left and calls on_empty when not. found: bits of found_by in
 * core/message.h (PID 1, CGROUP 2, TOKEN 8) for what was hit now; count: processes signalled.
 * SIGKILL also uses cgroup.kill and repeats until nothing new is found. */
enum err proctree_signal(struct proctree *tree, int signal, unsigned *found, unsigned *count);
/* Look without a signal: how many are alive now. */
size_t proctree_count(struct proctree *tree);
pid_t proctree_pid(const struct proctree *tree);
/* The nearest ancestor of `pid` by parent pid that is_wanted says yes to; 0 if none is. Is this
 * process part of what another run started? */
pid_t proctree_ancestor(pid_t pid, bool (*is_wanted)(void *owner, pid_t pid), void *owner);
void proctree_close(struct proctree *tree); /* signals nobody */

/* A cgroup for a run below `base` (a delegated cgroup v2 directory), with `pid` moved into it.
 * Writes the path into out. ERR_SYSTEM where that is not possible: go on without. */
enum err proctree_cgroup_make(const char *base, const char *name, pid_t pid, char *out,
                              size_t room) MUST_CHECK;
void proctree_cgroup_remove(const char *path);

#endif
