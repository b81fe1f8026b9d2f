/* What the cancels_*.c files share; nobody else includes this.
 *
 * A job is one ask on its way to its answer. A lookout is a root that somebody waits for: one
 * watch, and one read of its tree for all who wait. A scope is what one job wants to know of one
 * lookout. Finished jobs are buried and freed in the next step, so that effects may point into
 * them. */
#ifndef CORE_CANCELS_INSIDE_H
#define CORE_CANCELS_INSIDE_H

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/arena.h"
#include "core/cancels.h"

enum {
    CANCEL_ID_MAX = 2 * (RUN_ID_MAX + 1),
    SCOPES_MAX = 128,     /* linked roots that one wait, or one count, follows */
    CHILDREN_MAX = 4096,  /* cancels that one include_self=false makes */
    RECENT_MAX = 10000,   /* ids whose root is remembered */
    REASSERT_WINDOW = 64, /* re-sent cancels in flight */
    REPLICAS_MAX = 10000
};
#define RECENT_FOR       SECONDS(60)
#define READ_AGAIN_EVERY SECONDS(1)
#define TIMEOUT_DEFAULT  SECONDS(10)
#define TIMEOUT_MAX      SECONDS(60)

enum purpose {               /* why a call was sent */
               FOR_FIND,     /* where is this id? */
               FOR_REMEMBER, /* nobody knows it: leave a tombstone */
               FOR_LOOK,     /* the tree, before it is decided what to record */
               FOR_OVER,     /* the tree, because the target is over */
               FOR_RECORD,   /* the cancel itself */
               FOR_OWNER,    /* of an id that got a tombstone: has somebody begun it meanwhile? */
               FOR_CHILD,    /* the cancel of one child */
               FOR_SYNC,     /* what was recorded, made durable */
               FOR_FOLLOW,   /* the tree, for its links, after the answer */
               FOR_TREE,     /* a lookout's tree */
               FOR_REASSERT,
               FOR_CLAIM,     /* of the id that was reasserted */
               FOR_ELSEWHERE, /* the same cancel, in the tree that had claimed that id */
               FOR_ACKNOWLEDGE,
               FOR_REPLICAS,
               FOR_LEASE
};
struct call {
    uint64_t token; /* the key in `calls` */
    enum purpose purpose;
    struct job *job;
    struct lookout *lookout;
    struct held *held;
    struct replica *replica;
    size_t child; /* FOR_CHILD: which of the job's, from 1 */
};

struct target {
    struct run_id root, run;
};
struct followed { /* the link that a job follows */
    struct target from;
    uint32_t epoch;
    struct str key;    /* "<root>/<run>/<n>", in `following` while it is being followed */
    struct str id, to; /* parts of `text` */
    enum link_kind kind;
    char text[];
};

struct job {
    struct link in_jobs; /* open ones; else in `buried` */
    struct link in_waiting;
    struct link in_ripe;   /* its scopes were read: look whether it is answered */
    struct cancel_ask ask; /* strings in `text` */
    struct wall at;        /* when it was asked */
    size_t calls;          /* on their way */
    bool over;             /* answered and buried as soon as `calls` is 0 */
    bool counted;          /* as one of asks_max */
    bool root_is_a_guess;  /* from the table of recent ids: ask find when it was wrong */
    bool forced;           /* leave a tombstone */
    bool even_if_over;
    bool known, already;
    bool waits;
    bool overlooks; /* there is no room to look at all that it waits for */
    bool counts;    /* reads the trees behind its links before anything is recorded */
    bool has_counted;
    bool unreadable; /* one of them could not be read */
    struct run_id root, covered_by;
    enum run_state target_state;
    struct cancel_record record; /* strings in ask, own_id or `stored` */
    char *stored;
    char own_id[CANCEL_ID_MAX];
    struct instant due;
    size_t scope_count;
    struct list scopes;
    size_t child_count, child_room, children_sent;
    struct target *child;
    enum problem trouble;       /* of a child's cancel */
    enum durability durability; /* reached so far */
    char *not_durable;          /* why less than asked for; ours */
    struct followed *followed;
    char text[];
};

struct lookout {
    struct run_id root; /* the key in `lookouts` */
    struct list scopes;
    bool reading, again;
    struct instant next;       /* read, at the latest */
    struct instant not_before; /* large trees are read less often */
};

struct scope {
    struct link in_job, in_lookout;
    struct job *job;
    struct lookout *lookout;
    bool linked; /* of another root than the ask's */
    bool read;
    size_t target_count, target_room;
    struct run_id *target;
    struct tally tally; /* names in `names` */
    char *names;
};

struct recent {
    struct run_id run; /* the key in `recent` */
    struct run_id root;
    struct link by_age;
    struct instant until;
    struct instant audit_again; /* a duplicate is audited once a while, not 20,000 times a second */
};

struct held {
    struct link by_age, in_reassert;
    struct instant until;
    struct run_id root, run;
    struct span grace;
    bool sent;      /* the answer to its re-assertion is awaited */
    struct str key; /* "<root>.<run>", in `held_by_id` */
    struct str record;
    char text[];
};

struct replica {
    char name[NAME_MAX_BYTES + 1]; /* the key in `replicas` */
    bool unconfirmed;              /* has not asserted since the last loss */
    bool seen;                     /* listed since the last loss */
    bool listed;                   /* in the last list */
};

struct cancels {
    struct cancels_options options;
    struct instant now;
    struct wall wall;
    struct cancels_effects *todo; /* of the step that is running */
    bool failed;                  /* memory ran out in this step */
    bool linked;
    uint64_t last_token;
    struct instant due; /* not later than the next thing to do */
    struct map calls;
    struct list jobs, waiting, ripe, buried;
    size_t open_asks;
    struct map lookouts;
    struct map following;
    /* cancels_memory.c */
    struct map recent;
    struct list recent_by_age;
    struct map held_by_id;
    struct list held_by_age, to_reassert;
    size_t reasserting;
    struct map replicas;
    bool lost_once;
    struct instant lost_at, replicas_read_at, replicas_next;
    bool replicas_asked;
    size_t leases_asked;
    char generation[TEXT_MAX_BYTES];
    struct arena arena; /* what the effects of this step point to */
};

/* cancels.c */
void *keep_bytes(struct cancels *c,
                 size_t bytes); /* in the arena; NULL: no memory, `failed` is set */
struct cancels_effect *effect_add(struct cancels *c, enum cancels_effect_kind kind);
/* False: no memory; then no answer comes, and its job was refused. */
bool call_send(struct cancels *c, struct call about, const struct store_call *call);
void wake_at(struct cancels *c, struct instant when);
struct job *job_new(struct cancels *c, const struct cancel_ask *ask);
void job_end(struct cancels *c, struct job *job); /* no answer; releases its scopes */
struct cancel_result *result_of(struct cancels *c, const struct job *job);
void job_refuse(struct cancels *c, struct job *job, enum problem problem, const char *detail);
/* Copies `text` where it lives until the next step. */
const char *text_kept(struct cancels *c, struct str text, const char *otherwise);
struct str text_str(struct cancels *c, struct str text); /* likewise */
void audit(struct cancels *c, struct job *job, const struct cancel_result *result);

/* cancels_record.c: from an ask to what is recorded */
void job_begin(struct cancels *c, struct job *job);
void job_found(struct cancels *c, struct job *job, const struct store_answer *answer);
void job_remembered(struct cancels *c, struct job *job, const struct store_answer *answer);
void job_looked(struct cancels *c, struct job *job, const struct store_answer *answer);
void job_looked_below(struct cancels *c, struct job *job, const struct store_answer *answer);
void job_recorded(struct cancels *c, struct job *job, const struct store_answer *answer);
void job_owner_known(struct cancels *c, struct job *job, const struct store_answer *answer);
struct cancel_record record_for(const struct job *job, const struct target *target);
struct str cancel_id(struct str root, struct str run, char out[CANCEL_ID_MAX]);
/* Encodes and sends; false when that failed, and then the job was refused. */
bool record_send(struct cancels *c, struct job *job, enum purpose purpose,
                 const struct cancel_record *record, bool force, bool even_if_over);
void job_accepted(struct cancels *c, struct job *job); /* recorded, whatever it was */
void job_settled(struct cancels *c, struct job *job);  /* and durable: wait or answer */

/* cancels_durable.c */
bool durable_begin(struct cancels *c, struct job *job);
void durable_answered(struct cancels *c, struct job *job, const struct store_answer *answer);

/* What a dry run says; `tally` NULL: nothing was counted. Ends the job. */
void answer_counted(struct cancels *c, struct job *job, const struct tally *tally);
void refuse_too_many(struct cancels *c, struct job *job, size_t live);
void record_or_look(struct cancels *c, struct job *job);

/* cancels_count.c: dry_run and expect_at_most where the tree leaves its root */
bool leads_elsewhere(const struct tree *tree, const struct tree_run *target);
void count_begin(struct cancels *c, struct job *job);
void count_read(struct cancels *c, struct job *job); /* some of it was read, or cannot be */
void count_give_up(struct cancels *c, struct job *job);

/* cancels_children.c: everything below a run, but not the run */
void children_look(struct cancels *c, struct job *job, const struct tree *tree);
void child_recorded(struct cancels *c, struct job *job, size_t child,
                    const struct store_answer *answer);

/* cancels_wait.c */
void wait_begin(struct cancels *c, struct job *job);
void scopes_begin(struct cancels *c, struct job *job); /* also its time, until it is given up */
void scopes_drop(struct cancels *c,
                 struct job *job); /* all of that: it goes on to something else */
bool tally_of_scopes(const struct job *job, struct tally *sum); /* false: home was not read */
void wait_give_up(struct cancels *c, struct job *job); /* its time is over: answer what is known */
void lookout_read(struct cancels *c, struct lookout *lookout);
void lookout_answered(struct cancels *c, struct lookout *lookout,
                      const struct store_answer *answer);
void scopes_release(struct cancels *c, struct job *job);
void scopes_free(struct job *job);
void answer_the_ripe(struct cancels *c);

/* cancels_links.c */
bool link_target(const struct tree_link *link, struct target *out); /* false: of another kind */
void job_links_follow(struct cancels *c, struct job *job, const struct tree *tree);
void job_link_followed(struct cancels *c,
                       struct job *job); /* the far cancel stands: acknowledge it here */
void link_acknowledged(struct cancels *c, struct job *job);
void followed_free(struct cancels *c, struct followed *followed);

/* cancels_memory.c */
struct recent *recent_find(struct cancels *c, struct str run);
void recent_note(struct cancels *c, struct str run, struct str root);
void recent_forget(struct cancels *c, struct str run);
void hold_issued(struct cancels *c, const struct cancel_record *record, struct str bytes);
void reassert_all(struct cancels *c);
void reasserted(struct cancels *c, struct held *held, const struct store_answer *answer);
void claimed_again(struct cancels *c, struct held *held, const struct store_answer *answer);
void reasserted_elsewhere(struct cancels *c, struct held *held, const struct store_answer *answer);
void memory_expire(struct cancels *c);
void memory_free(struct cancels *c);
void replicas_begin(struct cancels *c, bool lost, struct str generation);
void replicas_refresh(struct cancels *c); /* before a wait: the list may be old */
void replicas_poll(struct cancels *c);
void replicas_answered(struct cancels *c, const struct store_answer *answer);
void lease_answered(struct cancels *c, struct replica *replica, const struct store_answer *answer);
bool loss_is_settled(const struct cancels *c);
const struct str *replicas_unconfirmed(struct cancels *c, size_t *count);

#endif
