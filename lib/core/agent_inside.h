/* What the files of the agent share; nobody else includes it.
 *
 *   agent.c         one step, and what the API is shown
 *   agent_keep.c    clients, roots, runs: made, found, forgotten
 *   agent_want.c    effects, calls on their way, memory that lives for one step
 *   agent_held.c    cancels that hold here
 *   agent_start.c   from the ask to the start script; agent_started.c: from its answer to ours
 *   agent_alias.c   what another protocol calls a run
 *   agent_holds.c   orders that refuse new runs
 *   agent_told.c    who is hit by a cancel; agent_ladder.c: how it is stopped
 *   agent_end.c     how a run ends; agent_report.c: what Redis is told of a stop
 *   agent_sync.c    link up and down, loss, lease; agent_verdict.c: what Redis says of our runs
 *   agent_isolation.c  out of reach of Redis for too long; agent_quarantine.c: SIGKILL has failed
 *   agent_ask.c     acknowledgement and fence; agent_link.c: links; agent_cancel.c: cancels asked
 * for
 */
#ifndef CORE_AGENT_INSIDE_H
#define CORE_AGENT_INSIDE_H

#include "base/list.h"
#include "base/map.h"
#include "base/rng.h"
#include "core/agent.h"
#include "core/arena.h"
#include "core/due.h"

enum {
    SIGNAL_KILL = 9,
    SIGNAL_TERM = 15,
    START_ASKS_MAX = 4, /* the same start asked again while it is on its way */
    HELD_MAX = 10000,
    TEXTS_MAX = 256,
    TEXT_JITTER_MS = 5,
    COMPARE_JITTER_MS = 5,
    REPORT_EVERY_MS = 50,
    SYNC_WINDOW = 256, /* calls of a link-up on their way at once */
    RETRY_MIN_MS = 200,
    RETRY_MAX_MS = 2000,
    FOLLOW_AGAIN_MS = 1000,
    BLOCKED_AGAIN_MS = 1000, /* is the process still shared with innocent runs? */
    UNREACHED_AGAIN_MS = 1000,
    RECONCILE_ROOT_MS = 1000,
    LINK_ID_LEN = 8,
    HOLDS_AGAIN_MS = 100 /* orders are read at most so often for hints */
};

/* An encoded record and what it says. Shared, never changed. */
struct record_box {
    uint32_t users;
    size_t len;
    bool is_unread; /* of a version that we do not speak: the record tells only whom it hits */
    struct cancel_record record; /* borrows from bytes */
    char bytes[];
};

/* A cancel that holds here, whether anything here is below it or not. */
struct held {
    struct link in_root, in_age, in_sync;
    struct agent_root *root;
    struct record_box *box;
    struct instant until;
    bool is_confirmed; /* Redis has it, since the last loss */
    bool is_on_its_way;
    bool is_refused;              /* by a Redis that did not say for how long */
    bool asked_here;              /* while Redis was away: whoever asked wants it audited */
    bool is_promised;             /* somebody was answered that it is pending */
    uint32_t asks;                /* that lean on it and have not been answered */
    char key[2 * RUN_ID_MAX + 2]; /* "<root>.<target>" */
};

struct agent_client {
    struct list runs;
    struct due due; /* end of lost_grace */
    bool is_open, is_gone;
    bool was_open; /* ever */
    char hash[NAME_MAX_BYTES + 1];
    char id[16], incarnation[24]; /* both read off the hash, so that they survive agentd */
};

struct agent_process {
    struct list runs;
    uint32_t pid;
    uint32_t within; /* pid of the nearest one of these that it descends from, 0 if none */
};

struct agent_root {
    struct list runs; /* in the order they came, ended ones too */
    struct list held;
    struct list reports; /* runs with phases that Redis does not know */
    struct link in_flush, in_sync;
    struct due due; /* reports, reconcile after garbage */
    struct instant next_report, next_reconcile;
    size_t live;
    uint32_t calls;
    bool is_subscribed, is_listed, wants_reconcile;
    char id[RUN_ID_MAX + 1];
};

/* A child elsewhere. */
struct agent_link {
    char id[LINK_ID_LEN + 1];
    bool is_written;  /* Redis has it */
    bool is_promised; /* its client was told so, or that Redis will */
    bool is_acknowledged, is_asked;
    enum link_kind kind;
    uint32_t attempts;    /* to cancel it, where it is not of the kind root; */
    struct instant again; /* ... not before then */
    char *to;
};

enum stage {
    STAGE_NONE,
    STAGE_NOTICE,
    STAGE_CALL,      /* its agent was asked to cancel it */
    STAGE_UNHEARD,   /* ... and its grace is over, but what came of the question is not known */
    STAGE_UNREACHED, /* ... and is asked again in a moment: nobody was there */
    STAGE_TERM,
    STAGE_KILL,
    STAGE_BLOCKED,
    STAGE_OVER
};

/* What is only needed until the start is answered. */
struct start {
    uint64_t ask[START_ASKS_MAX];
    size_t ask_count;
    bool is_operator, entry, strict, takeover;
    bool was_sent;     /* the script: from here on it may have happened */
    bool is_offline;   /* a look-up could not be made */
    bool claim_is_new; /* ours to drop when the start is refused */
    bool replaces;     /* a life that was carried here until now */
    bool must_exist;   /* an id that only we mint, brought by a client */
    bool is_held;      /* an order holds new runs like this one: is it new? */
    uint32_t epoch;    /* > 0: it has been started before, in this epoch */
    unsigned waits;    /* look-ups on their way */
    struct span deadline;
    enum problem problem; /* found by a look-up */
    const char *detail;
    struct record_box *refusal, *tomb;
    struct run_id tomb_id;
    struct run_id retry_of, resumed_from;
    enum multitask multitask;
    bool is_entered, entry_is_new; /* in the list of its thread */
    unsigned thread_tries;
    size_t rival_count, rival_room;
    struct run_id *rival;      /* root runs of its thread that it has to do with */
    struct run_id origin_here; /* one of these two, when it is of this tree */
    uint32_t stored_epoch;     /* of the other incarnation */
    char owner[NAME_MAX_BYTES + 1];
};

struct agent_run {
    struct agent_root *root;
    struct agent_client *client;
    struct agent_process *process;
    struct link in_root, in_client, in_process, in_report, in_sync, in_ended, in_unchecked;
    struct str id, path, incarnation, agent_name, thread, meta, alias;
    char *moved_path;    /* path, when Redis stored another than was claimed */
    struct start *start; /* while it is pending */
    struct record_box *box;
    struct span cap; /* the lowest grace of all records; SPAN_NONE */
    struct due due;  /* the first of the five below */
    struct instant ladder_due, deadline, exit_due, links_due, forget_due;
    struct stop_story story;
    struct agent_link *links;
    size_t link_count, link_room;
    char *write_id; /* of the one checkpoint after the ban */
    struct wall started;
    uint32_t epoch, flags, reported, pid;
    uint32_t given_epoch; /* in the answer to its start; Redis may count on from there */
    uint32_t calls;       /* on their way, and asks; it is not forgotten before they are back */
    enum run_state state, finished, asked;
    uint8_t stage, step, stop_count;
    bool is_in_map;
    bool is_confirmed;  /* Redis has it, since the last loss */
    bool was_confirmed; /* ... ever */
    bool is_end_confirmed;
    bool is_told, is_fenced, is_doubted, is_asserting, is_frozen, freeze_is_confirmed;
    bool ended_here;   /* its end is ours to tell a Redis that forgot */
    bool is_claimed;   /* its id needs bw:find */
    bool alias_is_due; /* it is this run's, and Redis has not said that it knows */
    bool collateral_allowed, gone_cancels, awaits_stream, isolation_cancels;
    bool is_unkillable;  /* and lives */
    bool is_isolated;    /* stopped for that, and Redis does not know the reason */
    bool may_adopt;      /* it goes on with a run, and Redis could not be asked */
    bool claim_is_open;  /* its id may be buried in a tree of its own, and that is not settled */
    bool end_waits;      /* for the adoption: until then the end would be the other life's */
    bool ladder_goes_on; /* although the run is over: it may not be alive */
    bool process_is_open, process_has_exited, was_signalled;
    struct instant claimed_at;
    struct stop_target stop[]; /* and behind them the strings */
};

/* An order that holds. */
struct hold {
    struct instant until;
    struct order order;                    /* borrows from the bytes */
    char by[sizeof "order:" + RUN_ID_MAX]; /* of the cancels that it causes: "order:<id>" */
    char bytes[];
};

enum call_kind {
    CALL_START = 1,
    CALL_CLAIM,
    CALL_PARENT,
    CALL_TOMB,
    CALL_ORIGIN,
    CALL_ORIGIN_PEEK,
    CALL_SELF,
    CALL_THREAD,
    CALL_RIVAL, /* is_repeat: it may be about to begin */
    CALL_HELD,  /* a run that a hold matches: is it there already? */
    CALL_OWNER,
    CALL_ADOPT, /* starts */
    CALL_ASSERT,
    CALL_RECLAIM,
    CALL_OLD_TOMB,
    CALL_END,
    CALL_LOST,
    CALL_REPORT,
    CALL_RECONCILE,
    CALL_LINK,
    CALL_LINK_DONE,
    CALL_FENCE,
    CALL_FREEZE,
    CALL_FENCE_SYNC,
    CALL_ADOPT_SYNC,
    CALL_ALIAS,
    CALL_LISTED,
    CALL_REPLICA,
    CALL_CANCEL,
    CALL_GENERATION,
    CALL_LEASE,
    CALL_RENEW,
    CALL_QUARANTINE,
    CALL_QUARANTINE_READ,
    CALL_ORDERS,
    CALL_ORDERS_VERSION
};
struct batch { /* of report or reconcile */
    size_t count;
    struct agent_run *run[STORE_ITEMS_MAX];
    uint32_t flags[STORE_ITEMS_MAX];
};
struct call {
    uint64_t serial; /* 0: free */
    enum call_kind kind;
    bool is_sync;
    struct agent_run *run;   /* pinned */
    struct agent_root *root; /* pinned */
    struct batch *batch;     /* ours */
    uint64_t ask;            /* 0: nobody waits */
    struct held *held;
    char link_id[LINK_ID_LEN + 1];
    char *text;           /* ours: write_id, or the id that is looked for */
    enum run_state asked; /* end */
    uint32_t epoch;       /* end: that of its caller */
    bool is_repeat, is_claim, adopts;
    uint32_t next_free;
};

enum open_kind { OPEN_API, OPEN_OWN, OPEN_TEXT, OPEN_LINK };
struct open_ask { /* a DO_ASK_CANCEL that has not been answered */
    uint64_t key;
    enum open_kind kind;
    size_t told;
    struct record_box *box; /* what we would have recorded; NULL: it needs the answer first */
    struct held *held;      /* pinned: that cancel, where it holds here meanwhile */
    struct agent_run *run;  /* pinned: whose link */
    struct run_id target;   /* OPEN_API: what was asked for */
    bool is_of_children;    /* include_self false: the target itself is not banned */
    char link_id[LINK_ID_LEN + 1];
};

struct text { /* published by hand, waiting out its jitter */
    struct due due;
    struct link in_texts;
    struct run_id root, run;
    char reason[TEXT_MAX_BYTES + 1];
};

enum due_kind { DUE_RUN, DUE_ROOT, DUE_CLIENT, DUE_TEXT, DUE_AGENT };

struct agent {
    struct agent_options options;
    char replica[NAME_MAX_BYTES + 1];
    struct rng rng;
    struct instant now, last;
    struct wall wall;
    struct agent_effects *todo;
    struct agent_effect spare; /* written to when there is no memory for a real one */
    bool is_starved;
    struct arena arena;
    void **trash; /* freed at the next step: effects may point into it */
    size_t trash_count, trash_room;
    char scratch[MESSAGE_MAX_BYTES];

    struct map clients, roots, runs, processes, held, asks;
    struct list ended, held_by_age, flush, texts;
    size_t ended_count, live_count, text_count, open_clients;
    struct due_heap heap;

    struct call *calls;
    size_t call_count, call_room;
    uint32_t free_call; /* index + 1; 0: none */
    uint64_t next_serial, next_ask;

    bool is_linked, was_linked, is_draining;
    bool has_generation;   /* ever read */
    bool knows_generation; /* read over this link */
    bool wants_lease, wants_replica;
    uint64_t generation_call; /* on its way; 0: none */
    char server[NAME_MAX_BYTES + 1], asserted_server[NAME_MAX_BYTES + 1];
    char generation[NAME_MAX_BYTES + 1];
    struct list sync_held, sync_runs, sync_ends, sync_roots;
    size_t sync_open, asserts_open;
    struct instant lease_over; /* as far as we know */
    struct instant heard_at;   /* of Redis, the last time */
    bool is_isolated, has_begun;
    size_t unkillable_count;
    bool is_quarantined;
    bool quarantine_is_listed; /* in Redis, since the last loss */
    struct due due;            /* the first of these, and of the oldest held cancel */
    struct instant renew_due, reconcile_due, retry_due;
    int64_t retry_ms;

    struct hold *hold[HOLDS_MAX];
    size_t hold_count;
    int64_t orders_version; /* that `hold` is of */
    bool wants_orders, wants_version, orders_on_their_way;
    struct instant orders_due; /* not read again before */
    /* fresh runs of which nobody has said yet that no hold is newer than what refuses here; and
     * those of them that the call on its way will speak for */
    struct list unchecked, in_check;
};

/* ---- agent_want.c ---- */
struct agent_effect *want(struct agent *agent, enum agent_effect_kind kind); /* never NULL */
struct agent_reply *want_answer(struct agent *agent, uint64_t ask);
void want_refusal(struct agent *agent, uint64_t ask, enum problem problem, const char *detail);
void want_count(struct agent *agent, enum agent_count which, enum problem problem,
                struct wall since);
void want_news(struct agent *agent, enum agent_news news, size_t amount);
void want_moved(struct agent *agent, const struct agent_run *run, enum run_state from,
                const char *because);
/* `out` is the call that was made: say what its answer is for. It is lent until the next want. */
struct store_call *want_call(struct agent *agent, enum store_op op, const struct call *about);
struct store_call *want_silent_call(struct agent *agent, enum store_op op);
bool call_take(struct agent *agent, uint64_t token, struct call *out);
void call_done(struct agent *agent, struct call *call); /* unpins, frees */
void *keep_for_step(struct agent *agent, size_t bytes); /* NULL: starved */
struct str keep_str(struct agent *agent, struct str text);
void throw_away(struct agent *agent, void *memory); /* freed at the next step */
void want_reset(struct agent *agent);
void want_fini(struct agent *agent);

/* ---- agent_thread.c ---- */
/* Takes its place among the runs of its thread, if it has one; answered like other look-ups. */
void thread_enter(struct agent *agent, struct agent_run *run);
void thread_renew(struct agent *agent, const struct agent_run *run);
void thread_leave(struct agent *agent, const struct agent_run *run, enum thread_end why);
void thread_entered(struct agent *agent, struct call *call, const struct store_answer *answer);
void thread_rival_answered(struct agent *agent, struct call *call,
                           const struct store_answer *answer);
/* All look-ups are back. True: it was refused, or looks once more. */
bool thread_decides(struct agent *agent, struct agent_run *run);
void thread_supersede(struct agent *agent, const struct agent_run *run);

/* ---- agent_keep.c ---- */
struct agent_client *client_find(const struct agent *agent, struct str hash);
struct agent_client *client_make(struct agent *agent, struct str hash);
void client_drop_if_idle(struct agent *agent, struct agent_client *client);
struct agent_root *root_find(const struct agent *agent, struct str id);
struct agent_root *root_make(struct agent *agent, struct str id);
void root_subscribe(struct agent *agent, struct agent_root *root);
void root_list(struct agent *agent, struct agent_root *root); /* into bw:held and bw:roots */
/* Into bw:roots once more: Redis had no such tree, or may have none. */
void root_announce(struct agent *agent, const struct agent_run *run);
void root_quieten(struct agent *agent, struct agent_root *root); /* nothing live: unsubscribe */
void root_drop_if_idle(struct agent *agent, struct agent_root *root);
struct agent_run *run_find(const struct agent *agent, struct str id);
struct agent_run *run_make(struct agent *agent, struct agent_client *client,
                           struct agent_root *root, struct str id, struct str path,
                           const struct ask_start *start, struct str meta);
bool run_move_path(struct agent_run *run, struct str path);
void run_detach(struct agent *agent, struct agent_run *run); /* its id is free for another life */
void run_drop(struct agent *agent, struct agent_run *run);
void run_set_due(struct agent *agent, struct agent_run *run);
bool run_forget_if_due(struct agent *agent, struct agent_run *run); /* true: it is gone */
void ended_trim(struct agent *agent);
bool run_is_listed_live(const struct agent_run *run);
struct str run_parent_path(const struct agent_run *run); /* root to parent, "" for a root */
struct agent_run *run_owned(struct agent *agent, const struct agent_event *event, struct str id,
                            enum problem *problem); /* NULL: not the caller's, problem says */
struct span run_deadline_left(const struct agent *agent, const struct agent_run *run);
void run_fill_reply(const struct agent *agent, const struct agent_run *run,
                    struct agent_reply *reply);
void agent_set_due(struct agent *agent);

/* ---- agent_held.c ---- */
struct record_box *box_make(struct agent *agent, const struct cancel_record *record); /* 1 user */
struct record_box *box_of_bytes(struct agent *agent, struct str bytes); /* NULL: does not decode */
/* What is stored of a ban, readable here or not: whom it hits is known. NULL: nothing is stored. */
struct record_box *box_of_ban(struct agent *agent, struct str bytes, struct str root,
                              struct str ban);
/* Does it hold for others, too? What a takeover lost bans only children of the lost life, and what
 * cannot be read may be that. */
bool box_may_hold(const struct record_box *box);
struct record_box *box_share(struct record_box *box);
void box_drop(struct agent *agent, struct record_box *box); /* NULL is fine */
struct cancel_record own_record(const struct agent *agent, struct str root, struct str target,
                                const char *reason);
/* Of a run that was lost: whom it bans the ids of a path do not tell. What follows a link for its
 * sake bans its target like any other cancel. */
bool is_loss_record(const struct cancel_record *record);
/* Remembers it; answers the box that is kept for this target, which may be an older one with the
 * lower grace. Takes over nothing: the caller keeps its box. */
struct record_box *hold(struct agent *agent, struct record_box *box, bool is_confirmed);
struct held *held_find(const struct agent *agent, struct str root, struct str target);
struct held *held_over_path(const struct agent *agent, struct str root, struct str path);
void held_drop(struct agent *agent, struct held *held);
/* An ask that leans on it was refused. Both may be NULL. */
void held_withdraw(struct agent *agent, struct held *held, const struct record_box *box);
void held_expire(struct agent *agent);
void held_send(struct agent *agent, struct held *held);
void held_answered(struct agent *agent, struct call *call, const struct store_answer *answer);

/* ---- agent_holds.c ---- */
void holds_read(struct agent *agent);
void holds_seen(struct agent *agent);  /* a hint: there may be new ones */
void holds_check(struct agent *agent); /* is what we know of them still so? */
void holds_due(struct agent *agent);
void holds_answered(struct agent *agent, struct call *call, const struct store_answer *answer);
/* Does one refuse a new run like this? NULL: none. */
const struct hold *hold_over(const struct agent *agent, struct str root,
                             const struct run_meta *meta);
/* It has just started: it is stopped if a hold is found that was there before it. */
void hold_check_run(struct agent *agent, struct agent_run *run);
void holds_fini(struct agent *agent);

/* ---- agent_start.c, agent_started.c ---- */
void start_asked(struct agent *agent, const struct agent_event *event);
void start_process_opened(struct agent *agent, struct agent_run *run, enum problem problem);
bool start_has_begun(const struct start *start); /* in a life before this one, for all we know */
void start_send(struct agent *agent, struct agent_run *run);
void start_answered(struct agent *agent, struct call *call, const struct store_answer *answer);
void start_looked(struct agent *agent, struct call *call, const struct store_answer *answer);
void start_refuse(struct agent *agent, struct agent_run *run, enum problem problem,
                  const char *detail, const struct store_answer *answer);
void start_without_redis(struct agent *agent, struct agent_run *run, bool is_known_unwritten);
void start_free(struct agent *agent, struct agent_run *run);
void adopt_synced(struct agent *agent, struct call *call, const struct store_answer *answer);
/* agent_alias.c: the alias of a run, if it has one */
void alias_begin(struct agent_run *run, bool is_latest); /* it was started just now */
/* ask: answered as a start (`is_created`) when Redis has the alias; 0: nobody waits for it */
void alias_send(struct agent *agent, struct agent_run *run, uint64_t ask, bool is_created);
void alias_answered(struct agent *agent, struct call *call, const struct store_answer *answer);
void start_adopt_answered(struct agent *agent, struct call *call,
                          const struct store_answer *answer);
void start_owner_answered(struct agent *agent, struct call *call,
                          const struct store_answer *answer);

/* ---- agent_told.c ---- */
/* Tells every run here that is below; answers how many were told now. */
size_t apply_cancel(struct agent *agent, struct agent_root *root, struct record_box *box);
size_t tell_run(struct agent *agent, struct agent_run *run, struct record_box *box);
/* The same for one run alone: it may not go on, but nothing was cancelled. */
void stop_alone(struct agent *agent, struct agent_run *run, const char *reason);
void cancel_seen(struct agent *agent, const struct agent_event *event);

/* ---- agent_ladder.c ---- */
void ladder_start(struct agent *agent, struct agent_run *run);
void ladder_due(struct agent *agent, struct agent_run *run);
void ladder_hurry(struct agent *agent, struct agent_run *run);
/* Until the next step, while what was told last is a notice. */
struct span ladder_notice_left(const struct agent *agent, const struct agent_run *run,
                               struct instant now);
void ladder_stop(struct agent *agent, struct agent_run *run); /* closes the process as well */
void notice_written(struct agent *agent, struct agent_run *run);
const struct stop_target *process_target(const struct agent_run *run); /* NULL: none */
void process_exited(struct agent *agent, struct agent_run *run);
void process_emptied(struct agent *agent, struct agent_run *run);
void process_signalled(struct agent *agent, const struct agent_event *event);
void process_exit_due(struct agent *agent, struct agent_run *run);
void ladder_remote_answered(struct agent *agent, struct agent_run *run,
                            const struct agent_event *event);

/* ---- agent_end.c ---- */
void end_asked(struct agent *agent, const struct agent_event *event);
/* It goes on from another life, and Redis has not said yet that it may. */
bool must_be_adopted(const struct agent_run *run);
void end_after_adoption(struct agent *agent, struct agent_run *run, enum store_verdict said);
void end_send(struct agent *agent, struct agent_run *run, enum run_state state, uint64_t ask);
/* Nobody carries it any more, and nobody will. */
void end_abandoned(struct agent *agent, struct agent_run *run, uint32_t epoch);
void end_resend(struct agent *agent, struct agent_run *run); /* at link-up */
/* A run that was declared lost is dead now, by its process or by its client's word. */
void lost_is_gone(struct agent *agent, struct agent_run *run);
bool lost_is_proven_dead(const struct agent_run *run);
void lost_is_to_be_ended(struct agent_run *run);
void lost_answered(struct agent *agent, struct call *call, const struct store_answer *answer);
void end_answered(struct agent *agent, struct call *call, const struct store_answer *answer);
void finish(struct agent *agent, struct agent_run *run, enum run_state state,
            enum run_state finished, const char *because);

/* ---- agent_report.c ---- */
void report_later(struct agent *agent, struct agent_run *run, uint32_t flags);
void report_again(struct agent *agent, struct agent_run *run); /* what was not taken */
void report_flush(struct agent *agent);                        /* at the end of each step */
void report_answered(struct agent *agent, struct call *call, const struct store_answer *answer);

/* ---- agent_sync.c ---- */
void link_up(struct agent *agent, const struct agent_event *event);
void link_down(struct agent *agent);
void sync_generation(struct agent *agent);
void sync_generation_answered(struct agent *agent, struct call *call,
                              const struct store_answer *answer);
void replica_list(struct agent *agent);
void sync_begin(struct agent *agent, bool reconciles);
void sync_pump(struct agent *agent);
void sync_listed(struct agent *agent, struct call *call, const struct store_answer *answer);
void sync_resume(struct agent *agent); /* after a freeze */
void sync_retry_later(struct agent *agent);
void sync_it_writes(struct agent *agent);
void sync_due(struct agent *agent);
void sync_soon(struct agent *agent);
void sync_lease_answered(struct agent *agent, struct call *call, const struct store_answer *answer);
void reconcile_root(struct agent *agent, struct agent_root *root);
void root_due(struct agent *agent, struct agent_root *root);
void newer_seen(struct agent *agent, struct str id);
void garbage_seen(struct agent *agent, struct str root);
void hints_missed(struct agent *agent, struct str id);

/* ---- agent_isolation.c ---- */
void isolation_begin(struct agent *agent);  /* at the first step: nothing was heard before */
void isolation_heard(struct agent *agent);  /* Redis has said something */
void isolation_thawed(struct agent *agent); /* after a freeze, before anything else */
void isolation_look(struct agent *agent);
struct instant isolation_due(const struct agent *agent);
/* May it not live here now? */
bool isolation_forbids(const struct agent *agent, const struct agent_run *run);
size_t isolation_stop(struct agent *agent, struct agent_run *run); /* how many it told: 0 or 1 */
/* Its life is ours and goes on, as Redis says: now it is told why we stop it. */
void isolation_record(struct agent *agent, struct agent_run *run);
/* The record with which its end bans it; STR_NONE: it was stopped for no such reason. */
struct str isolation_end_record(struct agent *agent, const struct agent_run *run);
void isolation_settled(struct agent *agent, struct agent_run *run); /* Redis has its end */

/* ---- agent_quarantine.c ---- */
void quarantine_begin(struct agent *agent, struct agent_run *run); /* SIGKILL did not end it */
void quarantine_run_ended(struct agent *agent, struct agent_run *run);
void quarantine_look(struct agent *agent);  /* is it lifted? with each renewal of the lease */
void quarantine_doubt(struct agent *agent); /* Redis may have forgotten it */
void quarantine_answered(struct agent *agent, struct call *call, const struct store_answer *answer);

/* ---- agent_verdict.c ---- */
struct verdict { /* what Redis says of a run: the common part of several answers */
    enum store_verdict said;
    enum run_state state, finished;
    uint32_t epoch, flags;
    struct str ban, record, path;
    bool is_of_assert;
    bool is_by_incarnation; /* fenced: by another one, be it in the same epoch */
};
struct verdict verdict_of_answer(const struct store_answer *answer);
void verdict_apply(struct agent *agent, struct agent_run *run, const struct verdict *verdict);
void run_is_forgotten(struct agent *agent, struct agent_run *run);
void assert_send(struct agent *agent, struct agent_run *run, bool is_sync);
void assert_answered(struct agent *agent, struct call *call, const struct store_answer *answer);
void reclaim_answered(struct agent *agent, struct call *call, const struct store_answer *answer);
void reconcile_answered(struct agent *agent, struct call *call, const struct store_answer *answer);

/* ---- agent_ask.c, agent_link.c ---- */
bool epoch_is_right(struct agent *agent, const struct agent_run *run, uint64_t ask, uint32_t epoch);
enum problem nobody_cancelled_it(const struct agent *agent, const struct agent_run *run);
void ack_asked(struct agent *agent, const struct agent_event *event);
void fence_asked(struct agent *agent, const struct agent_event *event);
void fence_answered(struct agent *agent, struct call *call, const struct store_answer *answer);
void fence_synced(struct agent *agent, struct call *call, const struct store_answer *answer);
void freeze_resend(struct agent *agent, struct agent_run *run);
void link_asked(struct agent *agent, const struct agent_event *event);
void link_answered(struct agent *agent, struct call *call, const struct store_answer *answer);
void links_follow(struct agent *agent, struct agent_run *run);
void links_resend(struct agent *agent, struct agent_run *run);
void link_followed(struct agent *agent, struct open_ask *open, const struct cancel_result *result);
bool links_are_done(const struct agent_run *run);
/* One is open that must be followed from here; others a broker follows as well. */
bool links_hold(const struct agent_run *run);
void link_remote_answered(struct agent *agent, struct agent_run *run,
                          const struct agent_event *event);

/* ---- agent_cancel.c ---- */
void cancel_asked(struct agent *agent, const struct agent_event *event);
void cancel_answered(struct agent *agent, const struct agent_event *event);
/* A cancel of our own: local at once, then everywhere. */
size_t cancel_here(struct agent *agent, const struct cancel_record *record);
bool ask_cancel(struct agent *agent, const struct cancel_record *record, bool force,
                struct open_ask *about);
void text_seen(struct agent *agent, const struct agent_event *event);
void text_due(struct agent *agent, struct text *text);
void texts_fini(struct agent *agent);

/* ---- clients, in agent_keep.c ---- */
/* A run of it has started that counts on its stream. */
void client_is_awaited(struct agent *agent, struct agent_client *client);
void client_came(struct agent *agent, struct str hash);
void client_went(struct agent *agent, struct str hash);
void client_due(struct agent *agent, struct agent_client *client);

#endif
