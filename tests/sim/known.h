/* What Redis has said so far, a third time and much simpler than the scripts or the model: what is
 * kept of each id is what the guarantees are about. And how many really live below it, whatever
 * Redis says. Each step costs what the path of a run is long, never what its tree is large. */
#ifndef SIM_KNOWN_H
#define SIM_KNOWN_H

#include "core/store_call.h"

enum { KNOWN_MAX = 320, KNOWN_SLOTS = 1024, KNOWN_NAME_MAX = 72, NOBODY = UINT16_MAX };

struct kept { /* in Redis: what a failover takes back and a wipe takes away */
    enum run_state state;
    uint32_t epoch, parent_epoch, lost_epoch, flags; /* flags: the policy it started with */
    uint32_t live, children;                         /* live: of the whole tree, kept at its root */
    uint64_t first_cancel;                           /* who, why and when, as a number */
    uint64_t life;                                   /* its incarnation, as a number */
    int64_t banned_at;
    bool is_banned;
    uint16_t banned_in; /* which tree: a tombstone may lie in one of its own */
    bool is_late_tomb;  /* ... though a run of that id had begun elsewhere, where bw:find leads */
    char granted[32];   /* write id granted under the ban */
    char owner[32];
};
struct known {
    char id[KNOWN_NAME_MAX];
    uint16_t root, parent; /* parent NOBODY: of a root, and where nobody has said it */
    bool was_banned;       /* at any time, in any Redis */
    bool was_buried;       /* as a root of its own, when nobody knew whose it is */
    bool was_let_in;       /* in mode observe, below a ban: who had looked before saw nothing */
    unsigned alive;        /* lives at and below it that were promised something */
    struct kept now, saved;
};
struct known_all {
    size_t count;
    struct known item[KNOWN_MAX];
    uint16_t slot[KNOWN_SLOTS]; /* place + 1 by hash */
};

struct sim;
uint16_t known_find(const struct sim *sim, struct str id); /* NOBODY */
/* The nearest at or above that is banned, by a cancel or by a takeover; NOBODY: none is. */
uint16_t known_ban(const struct sim *sim, uint16_t place);
/* A script was carried out: what follows from its answer, and what must not have been answered. */
void known_call(struct sim *sim, const struct store_call *call, const struct store_answer *answer);
void known_save(struct sim *sim);
void known_restore(struct sim *sim);
void known_wipe(struct sim *sim);

#endif
