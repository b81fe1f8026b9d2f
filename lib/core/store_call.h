/* What the cores ask of Redis, and what it answers. One vocabulary for the shell (lib/store sends
 * it to a server) and the simulator (tests/support/model answers it).
 *
 * All strings are borrowed: a call's live until it was carried out, an answer's for the call that
 * hands it over. docs/PROTOCOL.md says what each script decides. */
#ifndef CORE_STORE_CALL_H
#define CORE_STORE_CALL_H

#include "base/mono.h"
#include "core/message.h"
#include "core/run.h"

enum store_op {
    /* scripts on one root: one atomic step each */
    STORE_START,
    STORE_ASSERT,
    STORE_CANCEL,
    STORE_END,
    STORE_REPORT,
    STORE_RECONCILE,
    STORE_LOST,
    STORE_LINK,
    STORE_CHECKPOINT,
    STORE_PEEK, /* one run: state, path, ban, record; read only */
    STORE_SYNC, /* make what was recorded outlive its server: the cancel of `run`, or (epoch > 0)
                   its adoption, and (write_id) its last checkpoint. OK: `durability` is reached;
                   NOT_FOUND: Redis has lost it; else text says what is missing */
    /* scripts elsewhere */
    STORE_LEASE,        /* create or refresh the lease of `replica` holding `generation` */
    STORE_REMEMBER,     /* find-or-tombstone of an id nobody has seen */
    STORE_THREAD_ENTER, /* `run` of `root` into the thread `id`, with `multitask`; at most `limit`
                           are kept. OK, or EXISTS for a reject that found somebody: list = root
                           runs that entered before and are not known to be over, score = their ages
                           in ms; last = it is entered for the first time */
    STORE_THREAD_LEAVE, /* thread_end says why */
    STORE_THREAD_READ,  /* of the thread `id`, `run` or all (""): list, each as the script says */
    /* plain commands */
    STORE_LEASE_RENEW, /* PEXPIRE alone; answers GONE when the lease had run out */
    STORE_LEASE_READ,  /* is there a lease of `replica`? OK + text = its generation, or NOT_FOUND */
    STORE_LEASE_DROP,  /* at a clean end: lease, held, quarantine, confirmation and membership */
    STORE_FIND_CLAIM,  /* SET NX of id -> root. OK: new; EXISTS + text = the root that has it, which
                          may be this one: then it was renewed */
    STORE_FIND_READ,   /* OK + text = root, or NOT_FOUND */
    STORE_FIND_DROP,   /* only if the value is ours */
    STORE_ALIAS,    /* `id` (kind:name) is `run` of `root` from now on; without `force` only if it
                       is nobody's or this one's already. OK, or EXISTS + text = whose it is */
    STORE_HELD_ADD, /* `replica` holds runs of `root`; a root's first start also lists it */
    STORE_HELD_DROP,
    STORE_HELD_READ, /* OK + list of roots */
    STORE_ROOT_ADD,  /* into bw:roots:<shard>, score = start time */
    STORE_ROOT_DROP,
    STORE_ROOTS_READ,  /* shard, from score, limit -> list of (root, score) */
    STORE_ROOT_COUNTS, /* number = live runs, epoch = bans; NOT_FOUND: the key is gone */
    STORE_REPLICA_ADD,
    STORE_REPLICAS_READ, /* list of (replica, score) */
    STORE_LOSS_COUNT,  /* note a loss of `replica` (number 0: none); answers how many replicas were
                          lost in the last 10 min and are listed no more */
    STORE_CONFIRM_ADD, /* an operator says that `replica` is really gone */
    STORE_CONFIRM_DROP,
    STORE_CONFIRM_READ,    /* OK + list of replicas */
    STORE_QUARANTINE_ADD,  /* `replica` takes no new runs: SIGKILL has failed there */
    STORE_QUARANTINE_DROP, /* number = 1: it was in the list */
    STORE_QUARANTINE_READ, /* OK + list of replicas */
    STORE_GENERATION,      /* text = the one that is stored, else `generation` from now on */
    STORE_LOCK,       /* `id` = lock, `replica` = holder, `span` = ttl; OK when it is ours now */
    STORE_AUDIT,      /* XADD of `bytes` (JSON) */
    STORE_AUDIT_READ, /* after `id` ("" = from the start; "+" = newest first), `limit` -> list of
                         entries, each "<stream id> <json>"; text = id to go on from */
    STORE_PUBLISH,    /* `bytes` on the channel of `root`; number = receivers */
    STORE_TREE,       /* read the whole tree of `root` (HSCAN) -> answer.tree */
    STORE_META_READ,  /* text = the encoded meta of `run`, or NOT_FOUND */
    STORE_CHECKPOINT_READ, /* text = the bytes kept beside the last granted checkpoint of `run` */
    STORE_TIME,            /* number = the server's wall clock in ms */
    /* scripts and commands on bw:orders */
    STORE_ORDER,          /* `id`, `record`, `span` = its hold, `limit` = most orders, `max_holds`,
                             `bytes` = its progress, if it has any:
                             OK + number = version; ALREADY + record; FULL + text */
    STORE_ORDER_LIFT,     /* OK, ALREADY (nothing of it holds), NOT_FOUND */
    STORE_ORDER_PROGRESS, /* `id`, `bytes` */
    STORE_ORDERS_READ,    /* `id`: that one; "" all of them; "*holds" those that hold now:
                             number = version, orders */
    STORE_ORDERS_VERSION, /* number; 0: there has never been one */
    STORE_OP_COUNT
};

/* What becomes of a new root run in a thread where another one lives. */
enum multitask {
    MULTITASK_ENQUEUE, /* nothing: whoever runs them has put it into a queue */
    MULTITASK_REJECT,
    MULTITASK_INTERRUPT,
    MULTITASK_ROLLBACK,
    MULTITASK_COUNT
};
const char *multitask_name(enum multitask multitask); /* the word in JSON */
char multitask_letter(enum multitask multitask);
bool multitask_of_letter(char letter, enum multitask *out);
enum thread_end { THREAD_NEVER_BEGAN, THREAD_ENDED, THREAD_DELETED };

/* What an answer may rely on: Redis as it is configured; so many replicas have it; it is on disk.
 */
enum durability { DURABLE_MEMORY, DURABLE_REPLICATED, DURABLE_FSYNCED, DURABLE_COUNT };
const char *durability_name(enum durability durability);

enum store_verdict {
    SAID_OK,
    SAID_STARTED,      /* start: epoch, path (only when it differs from the claimed one), flags;
                          under a ban in mode observe also ban + record */
    SAID_ALREADY,      /* start: same incarnation, live: state, epoch, path, ban + record if any
                          cancel: `target` (nearest ban) + record, state
                          end: state, finished_anyway · lost: state */
    SAID_EXISTS,       /* start: another incarnation holds it: state, epoch, incarnation, owner
                          find: text = root */
    SAID_REFUSED,      /* start, link: ban + record */
    SAID_OVER,         /* a terminal state: state, epoch, finished_anyway (ban + record if any);
                          cancel: + live = live runs in the tree */
    SAID_FULL,         /* start: text = "runs" or "children" or "path" or "links" */
    SAID_ADOPTED,      /* assert: epoch, path */
    SAID_STOP,         /* assert, reconcile: as above, and banned: ban + record */
    SAID_FENCED,       /* epoch = the stored one; assert: owner */
    SAID_UNAUTHORIZED, /* adopt: not the token that is stored */
    SAID_ACCEPTED,     /* cancel: state before, ban = covering ban above, if any */
    SAID_NOT_FOUND,
    SAID_UNKNOWN, /* no such run here */
    SAID_ENDED,   /* state recorded, finished_anyway */
    SAID_NOT_CANCELLED,
    SAID_GO,     /* reconcile */
    SAID_BEHIND, /* reconcile: Redis holds a lower epoch; assert */
    SAID_LOST,
    SAID_SUSPECT,
    SAID_LINKED,
    SAID_GRANTED, /* checkpoint; `last` = this was the one after the ban */
    SAID_FROZEN,
    SAID_GONE, /* lease_renew: it had run out */
    /* the server could not do it */
    SAID_OFFLINE,    /* no connection, or it broke before the answer: the call may have happened */
    SAID_UNWRITABLE, /* READONLY, MISCONF, NOREPLICAS, OOM, LOADING…: nothing happened; text says */
    SAID_ERROR,      /* any other error reply; text */
    SAID_COUNT
};
const char *store_op_name(enum store_op op);
const char *store_verdict_name(enum store_verdict verdict);

struct run_epoch {
    struct str run;
    uint32_t epoch;
    uint32_t flags; /* report: phase bits to set */
};
enum { STORE_ITEMS_MAX = 64 };

/* Fields not named for an op are ignored by it. */
struct store_call {
    enum store_op op;
    struct str root; /* of every op on a tree */
    struct str run;  /* start assert end lost link checkpoint peek; cancel: the target */
    uint32_t epoch;  /* assert: held or expected; end lost link checkpoint: the caller's */
    /* start, assert */
    struct str path;        /* claimed, root to parent, without the run itself; "" for a root */
    struct str incarnation; /* start assert lost; end: "" = of whoever carries it */
    struct str replica;     /* start assert lost, and the ops on replicas */
    uint32_t flags;         /* start assert: RUN_FLAGS_POLICY bits */
    struct str meta;        /* start assert: encoded run_meta */
    struct span deadline;   /* start assert: from now; SPAN_NONE */
    struct str token_hash;  /* assert adopt: must be the one in meta; "" = an operator */
    bool adopt;             /* assert: adopt instead of assert */
    struct str retry_of;    /* start: this run of the same tree must not be banned ("" = none) */
    struct str tombstone_id, tombstone; /* start assert: record found under its own root for
                            `run` or a claimed id; copied into this root first */
    uint32_t max_runs, max_children;    /* start */
    /* cancel, lost, end (record for on_end = cancel) */
    struct str record; /* encoded cancel_record */
    struct span grace; /* cancel: as in the record; a lower one is merged into a standing record */
    bool force;        /* cancel: leave a tombstone for an unknown run; alias: take it over */
    bool even_if_over; /* cancel: the caller saw live runs or open links below */
    /* end */
    enum run_state state;
    struct str story; /* encoded stop_story, "" = none */
    /* lost */
    bool only_suspect; /* lost: set the suspect flag, nothing else */
    /* report, reconcile */
    size_t item_count;
    const struct run_epoch *item;
    /* link */
    struct str link_id;         /* n: 1..16 of [0-9a-z] */
    struct str link;            /* encoded run_link */
    bool acknowledge;           /* link: mark it acknowledged instead of adding it */
    enum durability durability; /* sync */
    /* checkpoint, sync; audit, publish */
    struct str write_id;
    struct str bytes;
    /* the rest */
    struct str id; /* find, remember, lock */
    struct str generation;
    struct span span; /* lease, lock: how long */
    int64_t number;   /* root_add: wall ms; roots_read: from score; loss_count: how many */
    uint32_t shard, limit, max_holds;
    /* thread */
    enum multitask multitask;
    enum thread_end thread_end;
};

struct store_item { /* one answer of report or reconcile, in the order asked */
    enum store_verdict verdict;
    enum run_state state;
    uint32_t epoch, flags;
    struct str ban, record;
};

struct store_order {
    struct str id, record, progress; /* encoded order and order_progress; "" none yet */
    struct span hold_left;           /* by the clock of Redis; 0: it does not hold */
    int64_t lifted_ms;               /* 0: nobody lifted it */
};

struct store_answer {
    enum store_verdict verdict;
    enum run_state state, finished_anyway;
    uint32_t epoch, flags;
    struct str path;   /* stored path, root to the run itself; "" = as claimed */
    struct str ban;    /* the nearest banned id at or above */
    struct str record; /* its encoded record */
    struct str incarnation, owner;
    struct str text;
    int64_t number;      /* live runs, receivers, time */
    int64_t deadline_ms; /* started, already, adopted, stop of assert, peek: what is left of the
                            run's deadline, at least 1; 0 = it has none */
    bool last;
    size_t item_count;
    const struct store_item *item;
    size_t list_count; /* roots, replicas */
    const struct str *list;
    const int64_t *score;    /* beside list, where it has scores */
    const struct tree *tree; /* STORE_TREE; lent for the call (core/tree.h) */
    size_t order_count;
    const struct store_order *order;
};

#endif
