/* The processes of `exec`: the command, behind a gate until its run is registered, and the orphans
 * that come to us as their subreaper. */
#ifndef BRAKECTL_EXEC_CHILD_H
#define BRAKECTL_EXEC_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

struct exec_child {
    pid_t pid;
    int gate; /* writing end of the pipe that it waits on; -1 once it was let go */
};

/* Blocks the signals that the loop wants, makes us a subreaper; returns the signalfd or -1. */
int exec_signals_open(void);
/* One signal from it. from_terminal: the kernel sent it to the whole foreground group. 0: none. */
int exec_signals_take(int fd, bool *from_terminal);

/* Forks; the child executes argv once exec_child_release() was called, and ends with 126 or 127
 * when it cannot, with 125 when we die first. False: fork failed. */
bool exec_child_start(char *argv[], struct exec_child *out);
/* environment: "NAME=value" strings to add or replace, each terminated, one empty at the end. */
bool exec_child_release(struct exec_child *child, const char *environment, size_t len);

/* A shell command with the same additions, started at once; -1: not started. Without the mark of
 * the run: it has its time to clean up, though the command obeys and what it leaves behind is
 * stopped. */
pid_t exec_hook_start(const char *command, const char *environment);

/* Signals every process that is our own child now, but `spared` (0: none). A pid that is our child
 * cannot be somebody else's, and who lives deeper becomes our child when its parent dies. Returns
 * how many. */
unsigned exec_orphans_signal(int signal, pid_t spared);

#endif
