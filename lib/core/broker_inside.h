/* What the broker_*.c files share; nobody else includes this.
 *
 * Three small machines, each with one thing at a time: the sweep (lock, time, replicas and their
 * leases), the clearing of one replica that is gone after the other, and the walk over the roots.
 * Any answer that shows trouble stops all three and restarts the time in which leases are trusted
 * to be missing. */
#ifndef CORE_BROKER_INSIDE_H
#define CORE_BROKER_INSIDE_H

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/arena.h"
#include "core/broker.h"
#include "core/tree.h"

enum {
    ROOT_SHARDS = 64,
    REPLICAS_MAX = 10000,
    ROOTS_KNOWN_MAX = 50000, /* roots with bans whose last look is remembered */
    CALLS_PER_TREE = 256,    /* one look at a tree makes at most so many; the next look goes on */
    FOLLOWING_MAX = 1000,
    FOLLOWED_WITHIN_MS = 60 * 1000 /* then its answer was lost, with the memory for it */
};

enum purpose {
    FOR_LOCK,
    FOR_TIME,
    FOR_REPLICAS,
    FOR_QUARANTINED,
    FOR_LEASE,
    FOR_LOSSES,     /* how many were lost lately, before anybody is */
    FOR_CONFIRMED,  /* which of those that are gone an operator has confirmed */
    FOR_FIRST_LOOK, /* is it really without a lease? before anything of it is lost */
    FOR_LAST_LOOK,  /* and still? before it is forgotten */
    FOR_NOTE_LOSS,
    FOR_HELD,
    FOR_OWNED, /* the tree of a root that a gone replica holds */
    FOR_LOST,
    FOR_DROP,
    FOR_ROOTS,
    FOR_COUNTS,
    FOR_BANNED, /* the tree of a root with bans */
    FOR_NOTHING /* publish, acknowledge, root_drop: the next walk sees what came of it */
};
struct broker_call {
    uint64_t token; /* the key in `calls` */
    uint64_t round; /* of before the last trouble: ignored */
    enum purpose purpose;
    size_t index; /* in `roots` */
    struct replica *replica;
    struct run_id root, run;
};

struct replica {
    char name[NAME_MAX_BYTES + 1]; /* the key in `replicas` */
    char generation[NAME_MAX_BYTES + 1];
    int64_t since_ms;
    bool listed;
    bool leased, quarantined;
    struct instant without_since;
    bool suspect;   /* said so */
    bool counted;   /* as one of the losses of the last 10 minutes */
    bool confirmed; /* an operator has said so */
    bool cleared;   /* nothing of it is left; the next list does not have it */
};

struct root_seen {      /* of a root with bans */
    struct run_id root; /* the key in `seen` */
    struct link by_age;
    int64_t live;
    uint32_t bans;
    bool settled;               /* nothing to do while `live` and `bans` stay as they are */
    uint32_t remote_attempts;   /* to reach what its links lead to in other programs; */
    struct instant remote_next; /* ... not before then */
    struct instant next;        /* look again, unless settled */
};

struct walked_root {
    struct run_id root;
    int64_t started_ms;
    bool wanted; /* it has bans, and it is time */
    int64_t live;
    uint32_t bans;
};

struct following {                 /* a far cancel on its way */
    uint64_t ask;                  /* the key in `following` */
    char key[2 * RUN_ID_MAX + 24]; /* "<root>/<run>/<n>", the key in `following_links`; "" for a
                                      deadline: then "<root>/<run>" is */
    struct link by_age;
    struct instant since;
    struct run_id root, run;
    uint32_t epoch;
    char link_id[17];
    bool is_link;
    enum link_kind kind;
    struct wall cancelled;
    size_t to_len;
    char to[];
};

struct broker {
    struct broker_options options;
    struct instant now, last; /* this step, the one before it */
    struct wall wall;
    struct broker_effects *todo;
    bool failed;
    struct arena arena;
    struct map calls;
    uint64_t last_token, last_ask, round;

    bool linked, holds_lock, suspended;
    struct instant trust_since; /* linked to one writable server since then */
    struct instant next_sweep;
    int64_t redis_ahead_ms; /* the clock of Redis minus ours */

    /* sweep */
    struct map replicas;
    bool sweeping;
    size_t leases_asked;
    struct instant leases_next;
    /* clearing */
    bool clears;
    struct replica *clearing; /* NULL: nobody yet */
    bool clearing_losses;     /* lost, not only suspect */
    bool clearing_left_some;
    size_t held_count, held_room, held_at, lost_asked;
    struct run_id *held;
    struct instant clear_next, clear_began;
    size_t clear_at; /* where in `replicas` */
    /* walk */
    bool walking;
    uint32_t shard; /* the next one to read, from this score */
    int64_t from_score;
    struct instant next_round; /* over all shards */
    size_t walked;             /* roots in this sweep */
    size_t roots_count, roots_room, roots_at, counts_asked;
    struct walked_root *roots;
    struct map seen;
    struct list seen_by_age;
    struct map following, following_links;
    struct list following_by_age;
};

/* broker.c */
bool broker_call(struct broker *b, struct broker_call about, const struct store_call *call);
struct broker_effect *broker_effect_add(struct broker *b, enum broker_effect_kind kind);
void broker_say(struct broker *b, enum broker_fact fact, struct str root, struct str run,
                struct str replica);
/* The record of a cancel of ours, encoded in the arena; "" when it does not fit. */
struct str broker_record(struct broker *b, struct str root, struct str run, struct str reason);
struct span lock_lives(const struct broker *b); /* bw:lock:sweep, once taken */
bool broker_has_trouble(struct broker *b, const struct store_answer *answer);

/* broker_sweep.c */
void sweep_begin(struct broker *b);
void sweep_answered(struct broker *b, const struct broker_call *call,
                    const struct store_answer *answer);
void replicas_forget(struct broker *b);
void replica_is_back(struct broker *b, struct replica *replica, struct str generation);
struct span replica_absence(const struct broker *b, const struct replica *replica);

/* broker_clear.c */
void clear_begin(struct broker *b); /* after the leases were read */
void clear_answered(struct broker *b, const struct broker_call *call,
                    const struct store_answer *answer);
void clear_confirm(struct broker *b);
void confirm_forget(struct broker *b, struct str replica);

/* broker_walk.c */
void walk_begin(struct broker *b);
void walk_answered(struct broker *b, const struct broker_call *call,
                   const struct store_answer *answer);
void walk_cancelled(struct broker *b, uint64_t ask, const struct cancel_result *result);
void walk_remote_answered(struct broker *b, uint64_t ask, enum remote_outcome outcome);
void walk_forget(struct broker *b);
void follow_deadline(struct broker *b, const struct tree *tree, const struct tree_run *run,
                     struct str root);

#endif
