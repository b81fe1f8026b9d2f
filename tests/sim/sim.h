/* A whole fleet in one process: agentds, brokers, clients and a model of Redis under one virtual
 * clock. Same script or seed, same story.
 *
 *   sim.c     the clock, what is on its way, the story
 *   copy.c    calls and answers while they are on their way
 *   redis.c   one Redis: connections, subscriptions, loss
 *   node.c    a daemon: its cores and how their effects are carried out
 *   client.c  agent processes: they start runs, hear cancels, obey or do not
 *   known.c   what Redis has said, and what it must not have said
 *   world.c   who really lives, and what is promised to hold a little later
 *   check.c   what must hold of each thing that a daemon does
 *   losses.c  who has renewed its lease, and who may be declared lost
 *   healed.c  what must come true once all faults are over
 *   counts.c  how often what happened
 *   stories.c golden stories; schedule.h: random schedules; main.c
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <setjmp.h>

#include "base/buf.h"
#include "base/rng.h"
#include "core/agent.h"
#include "core/broker.h"
#include "core/orders.h"
#include "sim/counts.h"
#include "sim/known.h"
#include "support/model.h"

#define S(str) (int)(str).len, (str).len > 0 ? (str).at : ""

enum {
    NODES_MAX = 6,
    CLIENTS_MAX = 12,
    RUNS_MAX = 128,
    ROOTS_MAX = 256,
    CANCELS_MAX = 64,
    PATH_TEXT_MAX = 700,
    NAME_TEXT_MAX = 72
};

struct sim;

/* ---- on its way ---------------------------------------------------------------------------- */
enum flight_kind {
    FLY_REQUEST,    /* node -> Redis */
    FLY_SUBSCRIBE,  /* node -> Redis: root, watch, on */
    FLY_ANSWER,     /* Redis -> node */
    FLY_MESSAGE,    /* Redis -> node: root, watch, bytes */
    FLY_ASK_CANCEL, /* agent or broker core -> cancels core of the same node */
    FLY_RECONNECT,  /* node */
    FLY_RESTART,    /* node */
    FLY_RESUME,     /* node: out of its freeze */
    FLY_PROCESS,    /* run: its process has died */
    FLY_REMOTE,     /* run's agent -> node: token, and in `len` what came of asking it to cancel */
    FLY_WENT,       /* client: its node notices that it went */
    FLY_CLIENT,     /* run: what its client does next */
    FLY_REGISTER,   /* client: comes (back) to its agentd */
    FLY_PROMISE,    /* node: who is banned has been told by now */
    FLY_LADDER,     /* run: its process is gone by now */
    FLY_NO_PONG,    /* node: it has noticed that nobody answers */
    FLY_DO          /* a step of a script */
};
enum client_act { CLIENT_ACKS, CLIENT_ENDS, CLIENT_STARTS };
struct flight {
    int64_t at;
    uint64_t seq;
    enum flight_kind kind;
    uint8_t node, client;
    bool watch, on;
    enum client_act act;
    enum run_state state;
    unsigned life, conn;
    uint64_t token;
    size_t run;
    struct store_call *call;     /* owned; request, and the answer to it */
    struct store_answer *answer; /* owned */
    struct cancel_ask *asked;    /* owned */
    char root[NAME_TEXT_MAX];
    char *bytes; /* owned; message */
    size_t len;
    void (*act_of)(struct sim *sim, const void *what);
    const void *what;
    struct flight *next_free;
};

struct store_call *copy_call(const struct store_call *call);
struct store_answer *copy_answer(const struct store_answer *answer);
struct cancel_ask *copy_ask(const struct cancel_ask *ask);

/* ---- daemons ------------------------------------------------------------------------------- */
struct subscription {
    char root[NAME_TEXT_MAX];
    bool watch;
    int count;
};
struct subscriptions {
    size_t count;
    struct subscription item[ROOTS_MAX];
};
struct token_list {
    size_t count, room;
    uint64_t *token;
};

struct node {
    const char *name;
    bool is_broker;
    enum agent_mode mode;
    uint8_t index;
    unsigned life, conn;
    bool is_alive, is_frozen, is_linked, is_reconnecting, was_cut;
    char replica[NAME_MAX_BYTES + 1];
    struct agent *agent;
    struct cancels *cancels;
    struct broker *broker;
    struct orders *orders;
    struct agent_effects todo;
    struct cancels_effects cancels_todo;
    struct broker_effects broker_todo;
    struct orders_effects orders_todo;
    struct subscriptions wanted, active; /* active: what this connection has subscribed to */
    struct token_list unanswered;
    unsigned lost_life, lost_conn;     /* of which requests were lost on the way */
    int64_t last_request, last_answer; /* one connection keeps its order */
    int64_t frozen_at, frozen_until, thawed_at;
    int64_t watches_since;              /* a broker: nothing has kept it from seeing leases since */
    bool loses_requests, loses_replies; /* half-open, and nobody has noticed */
    int64_t away_until;                 /* no way to Redis before */
    int64_t clock_is_off;               /* ms: its wall clock */
    int64_t trouble_until;              /* of its own, not of Redis; INT64_MAX: it is in trouble */
    char server[32], generation[NAME_MAX_BYTES + 1];
    struct instant deadline; /* of all its cores */
};

/* ---- clients ------------------------------------------------------------------------------- */
struct client {
    const char *name;
    uint8_t index, node;
    unsigned life;
    bool is_alive, is_connected; /* its stream is open */
    bool begins_again;           /* it takes over what an earlier life began */
    char hash[NAME_TEXT_MAX];
    char incarnation[16]; /* "": the first life, which needs no name */
};
enum run_phase { RUN_ASKED, RUN_ALIVE, RUN_DEAD, RUN_REFUSED_START };
struct sim_run {
    char id[NAME_TEXT_MAX], root[NAME_TEXT_MAX], parents[PATH_TEXT_MAX];
    size_t client;
    enum run_phase phase;
    uint32_t epoch;
    enum on_end on_end;
    enum on_client_gone on_client_gone;
    enum when_isolated when_isolated;
    enum on_lost on_lost;
    uint32_t adopts; /* the epoch of the life that this one takes over; 0: it takes over none */
    struct span deadline;
    int64_t asked_at; /* when its start was asked for, the last time */
    unsigned process; /* the how-manieth of its processes */
    bool has_process, process_is_alive, process_is_watched, was_signalled;
    bool obeys; /* a notice */
    bool obeys_term;
    bool is_protected, is_ending;
    enum run_state ends_as; /* what its client says at its end */
    unsigned told_life;     /* life of its node in which it was told; 0: never */
    unsigned client_life;
    bool was_stopped;                /* told or signalled */
    bool is_settled;                 /* its end was answered */
    bool is_counted;                 /* among those that live; world.c */
    bool is_superseded;              /* there is a later life */
    bool is_between_lives;           /* its client starts over */
    unsigned known_life;             /* life of its node that has answered its start */
    char granted[NAME_TEXT_MAX];     /* write id granted after the ban */
    unsigned ordered_by, held_by;    /* the order that means it, counted from 1; 0: none */
    unsigned held_losses, held_life; /* of Redis, of its node: when it started under the hold */
};

/* ---- what was asked, and what Redis has said ----------------------------------------------- */
struct sim_cancel {
    char root[NAME_TEXT_MAX], target[NAME_TEXT_MAX];
    bool is_accepted; /* its asker was told so */
    bool is_pending;  /* and that one agentd alone knows of it */
    bool includes_self, is_only_counted;
    bool was_unknown;         /* nobody had seen the id: what waits for it is a tombstone */
    bool had_life;            /* something lived below it when it was asked for */
    unsigned losses, crashes; /* when it was accepted */
};
struct sim_link { /* that a run was told is written, or refused because it was cancelled */
    size_t run;
    char root[NAME_TEXT_MAX], target[NAME_TEXT_MAX];
};
struct sim_replica { /* one life of an agentd */
    char name[32];
    int64_t renewed_at, back_at; /* back_at: after two leases without one */
};
enum { SIM_ORDERS_MAX = 32, SIM_REPLICAS_MAX = 128 };
struct sim_order {
    char id[16];
    const char *agent; /* what it selects */
    bool only_holds, is_written;
    unsigned losses; /* of Redis, when it was written */
};

struct sim {
    struct rng rng;
    uint64_t seed; /* printed on failure; 0: a golden story */
    bool tells, traces;
    int64_t now;
    uint64_t next_seq, next_ask;
    struct flight **heap;
    size_t heap_count, heap_room;
    struct flight *free_flights;
    struct buf story;
    struct model *model;
    struct model_snapshot *snapshot;
    unsigned server, losses, crashes;
    bool redis_is_up, has_refused;   /* has_refused: to write, ever */
    unsigned drops, repeats, delays; /* of messages, per cent */
    size_t node_count, client_count, run_count, cancel_count;
    struct node node[NODES_MAX];
    struct client client[CLIENTS_MAX];
    struct sim_run run[RUNS_MAX];
    struct sim_cancel cancel[CANCELS_MAX];
    size_t link_count;
    struct known_all known;
    size_t max_runs, max_tree_runs, max_children; /* of an agentd */
    bool has_rival;                    /* who takes over the next run that is about to be lost */
    int64_t slow_until, refused_until; /* when Redis was well again; INT64_MAX: it is not */
    struct sim_link link[CANCELS_MAX];
    struct ask { /* to a core, not answered yet */
        uint64_t ask;
        enum { ASK_START, ASK_END, ASK_ACK, ASK_FENCE, ASK_LINK, ASK_CANCEL } kind;
        size_t run, cancel;
        uint8_t node;  /* cancel: who was asked */
        unsigned life; /* start, end: of the client that asked */
        char text[NAME_TEXT_MAX];
    } ask[512];
    size_t ask_count;
    struct sim_order order[SIM_ORDERS_MAX];
    size_t order_count;
    struct sim_replica replica[SIM_REPLICAS_MAX];
    size_t replica_count;
    int64_t confirmed_at; /* when an operator last said that who is gone is really gone */
    size_t steps;
    struct counts *counts; /* NULL: nobody counts */
    int64_t fault_until[FAULT_COUNT];
    jmp_buf failed;
    char why[512];
};

/* ---- sim.c ---- */
void sim_init(struct sim *sim, uint64_t seed);
void sim_fini(struct sim *sim);
void sim_run_until(struct sim *sim, int64_t ms);
struct flight *fly(struct sim *sim, enum flight_kind kind, int64_t at); /* fill in the rest */
bool by_chance(struct sim *sim, unsigned percent);
int64_t some_ms(struct sim *sim, int64_t from, int64_t to);
void faulted(struct sim *sim, enum fault fault); /* it has just happened */
void tell(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void violated(struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));
void copy_text(char *to, size_t room, struct str text);
struct wall sim_wall(const struct sim *sim);
struct wall node_wall(const struct sim *sim, const struct node *node);
size_t ask_open(struct sim *sim, struct ask ask); /* numbers it; answers its place */

/* ---- redis.c ---- */
void redis_request(struct sim *sim, struct node *node, const struct store_call *call,
                   uint64_t token);
void redis_subscribe(struct sim *sim, struct node *node, struct str root, bool watch, bool on);
void redis_take_request(struct sim *sim, struct flight *flight);
void redis_take_subscribe(struct sim *sim, struct flight *flight);
void redis_publish(struct sim *sim, struct str root, bool watch, struct str bytes);
bool redis_answered(struct node *node, uint64_t token); /* false: it was before */
void redis_cut(struct sim *sim, struct node *node);     /* the connection breaks */
void redis_notice_cut(struct sim *sim, struct node *node);
/* Nothing gets through to Redis, or back, or both; PING notices after a while. */
void redis_half_open(struct sim *sim, struct node *node, bool requests, bool replies, int64_t ms);
void redis_connect(struct sim *sim, struct node *node); /* if it can */
void redis_stop(struct sim *sim);
void redis_start(struct sim *sim, bool keeps_writes); /* another process */
void redis_fail_over(struct sim *sim);                /* back to the snapshot */
void redis_snapshot(struct sim *sim);

/* ---- node.c ---- */
struct node *node_add(struct sim *sim, const char *name, bool is_broker, enum agent_mode mode);
void node_start(struct sim *sim, struct node *node);
void node_crash(struct sim *sim, struct node *node);
void node_freeze(struct sim *sim, struct node *node, int64_t ms);
void node_thaw(struct sim *sim, struct node *node, unsigned life);
void node_fini(struct node *node);
void node_answer(struct sim *sim, struct node *node, uint64_t token,
                 const struct store_answer *answer);
void node_message(struct sim *sim, struct node *node, struct str root, bool watch,
                  struct str bytes);
void node_link_up(struct sim *sim, struct node *node);
void node_link_down(struct sim *sim, struct node *node);
void node_ask_cancel(struct sim *sim, struct node *node, const struct cancel_ask *ask);
void node_asks_order(struct sim *sim, struct node *node, const struct order_ask *ask);
void node_confirm_losses(struct sim *sim, struct node *node);
void node_time(struct sim *sim, struct node *node);
void node_feed(struct sim *sim, struct node *node, struct agent_event event);

/* ---- client.c ---- */
struct client *client_add(struct sim *sim, const char *name, struct node *node);
size_t client_run(struct sim *sim, struct client *client, const char *id, const char *parents);
void client_asks_start(struct sim *sim, size_t run);
void client_ends(struct sim *sim, size_t run, enum run_state state);
void client_acks(struct sim *sim, size_t run);
void client_fences(struct sim *sim, size_t run, const char *write_id);
void client_links(struct sim *sim, size_t run, const char *to);
void client_crashes(struct sim *sim, struct client *client);
void client_restarts(struct sim *sim, struct client *client);
void client_registers(struct sim *sim, struct client *client);
void client_hears(struct sim *sim, size_t run, const struct cancel_record *record,
                  struct span grace);
void client_answered(struct sim *sim, uint64_t ask, const struct agent_reply *reply);
void clients_lose_node(struct sim *sim, const struct node *node);
void process_signalled_here(struct sim *sim, struct node *node, struct str run, int signal);
void agent_asked_there(struct sim *sim, struct node *node, const struct agent_effect *effect);
void agent_answers(struct sim *sim, const struct flight *flight);
void process_dies(struct sim *sim, size_t run, bool was_before);
void client_leaves(struct sim *sim, struct client *client);
void client_retries(struct sim *sim, size_t run); /* the same start once more */
/* Another replica of the same service goes on with the run; false: it cannot. */
bool client_takes_over(struct sim *sim, size_t run, unsigned client);
void clients_race_the_loss(struct sim *sim, struct node *broker, const struct store_call *lost);
size_t run_named(const struct sim *sim, struct str id); /* its last life; SIZE_MAX: none */
size_t run_at(const struct sim *sim, const struct node *node, struct str id); /* its life there */
void cancel_at(struct sim *sim, struct node *node, const char *root, const char *target,
               const char *reason, struct span grace);
void cancel_as(struct sim *sim, struct node *node, const struct cancel_ask *ask);
void cancel_concluded(struct sim *sim, uint64_t ask, enum problem problem, bool pending,
                      const struct cancel_result *result); /* NULL: none came */

/* ---- check.c ---- */
void check_call(struct sim *sim, const struct store_call *call,
                const struct store_answer *answer); /* as Redis carries it out */
void check_lost(struct sim *sim, const struct known *known, struct str replica);
void check_lost_again(struct sim *sim, const struct known *known, struct str replica);
void check_told(struct sim *sim, struct node *node, size_t run, const struct cancel_record *record);
void check_signalled(struct sim *sim, struct node *node, size_t run);
void check_bounds(struct sim *sim, const struct node *node);
void check_granted(struct sim *sim, size_t run, const char *write_id, bool last);
void check_linked(struct sim *sim, size_t run, const char *to);
void check_link_is_written(struct sim *sim, size_t run, const char *to);

/* ---- losses.c ---- */
void lease_heard(struct sim *sim, struct node *node, const struct store_call *call,
                 enum store_verdict said);              /* as Redis carries it out */
void watch_begins(struct sim *sim, struct node *node);  /* it is linked */
void watch_goes_on(struct sim *sim, struct node *node); /* it was frozen */
void check_declared(struct sim *sim, const struct node *broker,
                    const struct store_call *call); /* a loss, as it is sent */

/* ---- world.c ---- */
void run_recount(struct sim *sim, struct sim_run *run); /* after any change to it */
/* But for the life that its owner carries: that one has the epoch. */
void lives_are_superseded(struct sim *sim, const struct known *known, uint32_t epoch);
void life_is_fenced(struct sim *sim, struct str replica, struct str id); /* Redis said so */
void promise_told(struct sim *sim, int64_t in_one_hop);                  /* something was banned */
void promise_linked(struct sim *sim, const struct node *node);
void promise_is_due(struct sim *sim, const struct flight *flight);
void promise_stopped(struct sim *sim, const struct node *node, size_t run);
void ladder_is_due(struct sim *sim, const struct flight *flight);
void check_local_first(struct sim *sim, const struct node *node, const struct sim_cancel *cancel);
void check_cancel_answer(struct sim *sim, const struct sim_cancel *cancel, enum problem problem,
                         const struct cancel_result *result);

/* ---- orders.c ---- */
const char *agent_of(const struct sim_run *run);
void order_given(struct sim *sim);
void order_answered(struct sim *sim, uint64_t ask, const struct order_result *result);
void orders_heard(struct sim *sim, const struct store_call *call, enum store_verdict said);
void check_order_reason(struct sim *sim, const struct cancel_record *record);
const char *orders_broken(struct sim *sim, const struct sim_run **victim);

/* ---- healed.c ---- */
bool check_healed(struct sim *sim); /* false: not yet, and `why` says what is missing */
bool may_live_on(struct sim *sim, const struct sim_run *run); /* it need not stop */
bool is_in_scope(const struct sim_run *run, const char *target);

/* ---- stories.c ---- */
enum shows { SHOWS_FAILURES, SHOWS_STORIES, SHOWS_CALLS };
void stories(enum shows shows, unsigned *passed, unsigned *failed);

#endif
