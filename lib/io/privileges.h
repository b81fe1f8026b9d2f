/* Root is for binding and opening; who serves strangers is somebody else.
 *
 * Happy path: privileges_find() before anything is opened, privileges_give() what others have to
 * reach, privileges_drop() before the loop turns. After it there is no way back: that is tried. */
#ifndef IO_PRIVILEGES_H
#define IO_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

struct privileges { /* who this process becomes */
    bool drops;     /* false: it stays who it is */
    uid_t uid;
    gid_t gid;
};

/* user, group: names or numbers; NULL or "": none. A group alone is refused; without one it is the
 * user's own. Who is no root may name nobody but himself. `why`: static text, says what to do. */
enum err privileges_find(const char *user, const char *group, struct privileges *out,
                         const char **why) MUST_CHECK;
/* Makes the file theirs; a symbolic link is not followed. */
enum err privileges_give(const struct privileges *to, const char *path) MUST_CHECK;
/* For good: no new privileges, no other groups, no way back. keeps_kill: signals to, and a look at,
 * processes of every user stay allowed (CAP_KILL, CAP_SYS_PTRACE). Call it while there is but one
 * thread. */
enum err privileges_drop(const struct privileges *to, bool keeps_kill, const char **why) MUST_CHECK;

#endif
