/* What an agentd decides. It never acts: it is told events, it answers effects.
 *
 * It knows its clients, their runs with stored paths, and which cancels hold here. Truth is in
 * Redis; what it decides alone is what may not wait for Redis: telling and stopping local runs. All
 * strings in events are borrowed for the step and copied if kept; all strings in effects live until
 * the next step. Effects that fail come back as events on a later turn of the loop. */
#ifndef CORE_AGENT_H
#define CORE_AGENT_H

#include "base/err.h"
#include "core/cancels.h"
#include "core/order.h"
#include "core/problem.h"
#include "core/remote.h"
#include "core/store_call.h"

enum agent_mode { MODE_OBSERVE, MODE_NOTIFY, MODE_ENFORCE };

struct agent_options {
    struct str replica; /* minted at each start of the daemon */
    enum agent_mode mode;
    struct span lease;                                /* 15 s; renewed every lease / 3 */
    struct span reconcile_every;                      /* 30 s, +-20 % */
    struct span lost_grace;                           /* 5 s: how long a client may be away */
    struct span grace_notify, grace_term, grace_http; /* defaults of stop targets */
    struct span kill_patience; /* 5 s: after SIGKILL, before a run is unresponsive */
    struct span remember;      /* 15 min: ended runs stay for re-assertion and questions */
    struct span tombstone_ttl; /* 24 h: longer away than this, and unknown means forgotten */
    size_t max_runs, max_tree_runs, max_children; /* 10,000 10,000 1,000 */
    size_t max_clients;                           /* 4,096 */
    bool allow_without_redis;                     /* when_redis_is_down = allow */
    bool isolation_cancels;     /* when_isolated = cancel, for runs that say nothing of it */
    enum durability durability; /* of adoptions and of the last checkpoint */
    uint64_t seed;
    uint64_t token_base; /* of its store tokens */
    size_t (*encode_record)(const struct cancel_record *record, char *out);
    bool (*decode_record)(struct str bytes, struct cancel_record *out);
    size_t (*encode_meta)(const struct run_meta *meta, char *out); /* room MESSAGE_MAX_BYTES each */
    bool (*decode_meta)(struct str bytes, struct run_meta *out);
    bool (*decode_order)(struct str bytes, struct order *out);
    size_t (*encode_link)(const struct run_link *link, char *out);
    size_t (*encode_story)(const struct stop_story *story, char *out);
};

/* ---- asks: what the local API wants -------------------------------------------------------- */
enum stop_kind { STOP_NOTIFY, STOP_PROCESS, STOP_HTTP };
struct stop_target {
    enum stop_kind kind;
    struct span grace;       /* SPAN_NONE: the default */
    uint32_t pid;            /* process */
    struct str token;        /* process: environment token, "" if none */
    int signal;              /* process: 0 = SIGTERM */
    uint32_t uid;            /* process: it must belong to this user; UINT32_MAX: to anybody */
    bool has_subreaper;      /* process: its client inherits all orphans, and ends the run */
    enum link_kind protocol; /* http: LINK_LANGGRAPH, LINK_A2A, LINK_HTTP, */
    struct str to, headers;  /* ... and whom it asks: as in remote_ask */
};
enum { STOP_TARGETS_MAX = 4, LINKS_PER_RUN_MAX = 1000, THREAD_RUNS_MAX = 256 };
enum on_end { ON_END_DEFAULT, ON_END_CANCEL, ON_END_LEAVE };
enum on_lost { ON_LOST_CANCEL, ON_LOST_TAKEOVER, ON_LOST_CONTINUE };
enum on_client_gone { ON_GONE_CANCEL, ON_GONE_CONTINUE };
enum when_isolated { WHEN_ISOLATED_DEFAULT, WHEN_ISOLATED_CONTINUE, WHEN_ISOLATED_CANCEL };

struct agent_caller {
    struct str token_hash; /* 32 hex digits; "" = none was sent (start then makes a client) */
    bool operator_;        /* may touch everything: root or agentd's own uid on the Unix socket */
};
struct ask_start {
    struct str run_id;   /* "" = mint one */
    bool run_id_is_ours; /* the shell minted it, for an Idempotency-Key: its shape is ours */
    struct str path;     /* claimed, root to parent, from baggage or parent/root; "" = a new root */
    bool path_was_given; /* baggage or parent or root was there */
    bool entry;          /* ignore the path */
    bool strict;         /* refuse rather than start unprotected */
    struct span deadline; /* the lower of deadline_ms and the baggage's ttl; SPAN_NONE */
    size_t stop_count;    /* 0: notify alone */
    struct stop_target stop[STOP_TARGETS_MAX];
    bool collateral_allowed;
    enum on_end on_end;
    enum on_lost on_lost;
    enum on_client_gone on_client_gone;
    bool awaits_stream; /* its client said that it listens: gone, too, if it never does */
    enum when_isolated when_isolated;
    uint32_t epoch;         /* > 0: adopt, compare-and-set on this epoch */
    bool takeover;          /* adopt although the old owner's lease lives */
    struct str incarnation; /* "" = the client's own */
    struct str alias;       /* "<kind>:<name>": what another protocol calls it; "" = nothing */
    struct run_meta meta;   /* agent, thread, labels, linked_from, retry_of, resumed_from; the core
                               fills started, born_on, token_hash, pid */
    struct str token_hash;  /* of the token that the shell minted when the caller had none */
    enum multitask multitask; /* of a root run, towards the others of its thread */
};
enum ack_phase { ACK_ACKNOWLEDGED, ACK_CLEANED_UP, ACK_CHECKPOINTED };
struct ask_ack {
    struct str run;
    uint32_t epoch; /* 0: not given -> 428 */
    enum ack_phase phase;
};
struct ask_end {
    struct str run;
    uint32_t epoch;
    enum run_state state;
    uint32_t found; /* found_by bits the client knows better (a subreaper) */
};
struct ask_link {
    struct str run;
    uint32_t epoch;
    struct run_link link;
};
struct ask_fence {
    struct str run;
    uint32_t epoch;
    struct str write_id, bytes;
};

enum agent_event_kind {
    AGENT_LINK_UP, /* text = run_id of the server */
    AGENT_LINK_DOWN,
    AGENT_ANSWER,       /* token, answer */
    AGENT_CANCEL_SEEN,  /* root, record: a CANCEL message from the channel */
    AGENT_TEXT_SEEN,    /* root, text = run, reason: published by hand */
    AGENT_GARBAGE_SEEN, /* root: a message that nobody understands */
    AGENT_HINTS_MISSED, /* root: messages of it may have been lost */
    AGENT_ORDERS_SEEN,  /* something on bw:orders: there is a new order, or a hold was lifted */
    AGENT_NEWER_SEEN,   /* root: a message of a version that we do not speak */
    AGENT_CLIENT_CAME,  /* caller: its event stream is open (again) */
    AGENT_CLIENT_WENT,  /* caller: its last event stream closed */
    AGENT_CLIENT_SLOW,  /* caller: its stream overflowed and was closed */
    AGENT_ASKED_START,  /* ask, caller, start */
    AGENT_ASKED_ACK,
    AGENT_ASKED_END,
    AGENT_ASKED_LINK,
    AGENT_ASKED_FENCE,
    AGENT_ASKED_CANCEL,    /* ask, caller, cancel (its `ask` field is ignored) */
    AGENT_CANCEL_ANSWERED, /* ask, result: of a DO_ASK_CANCEL */
    AGENT_PROCESS_OPENED,  /* run, ok: the answer to DO_OPEN_PROCESS, in the same turn or later */
    AGENT_PROCESS_EXITED,  /* run: its main process has ended */
    AGENT_PROCESS_EMPTY,   /* run: nothing of its tree is left */
    AGENT_SIGNALLED,       /* run, signal, count, found: what a DO_SIGNAL hit */
    AGENT_REMOTE_ANSWERED, /* run, text, token, outcome: what came of a DO_CANCEL_THERE, first
                              perhaps REMOTE_SENT */
    AGENT_DRAIN,           /* SIGTERM: refuse new runs, finish the rest */
    AGENT_TIME_PASSED
};
struct agent_event {
    enum agent_event_kind kind;
    struct instant at;
    struct wall wall;
    uint64_t ask, token;
    struct agent_caller caller;
    struct str root, run, text, reason;
    const struct store_answer *answer;
    const struct cancel_record *record;
    const struct cancel_result *result;
    enum problem problem; /* process_opened: NONE, NOT_FOUND, FORBIDDEN */
    int signal;
    unsigned count, found;
    enum remote_outcome outcome;
    uint32_t within; /* process_opened: pid of the nearest watched process that it descends
                        from, 0 if none */
    union {
        const struct ask_start *start;
        const struct ask_ack *ack;
        const struct ask_end *end;
        const struct ask_link *link;
        const struct ask_fence *fence;
        const struct cancel_ask *cancel;
    };
};

/* ---- effects ------------------------------------------------------------------------------- */
struct agent_reply { /* the structured answer to an ask; the shell makes JSON of it */
    enum problem problem;
    const char *detail;         /* text for a person, with a problem */
    bool created;               /* start: 201, else 200 (already) */
    bool pending;               /* 202: kept here, Redis will be told when it is back */
    struct str run, root, path; /* path: dotted */
    uint32_t epoch;
    enum run_state state, finished_anyway;
    uint32_t flags;
    bool is_protected;
    bool would_be_cancelled; /* mode observe */
    bool has_record;
    struct cancel_record record; /* the standing cancel */
    struct span deadline;        /* left, SPAN_NONE */
    struct str client, incarnation, owner;
    bool last; /* fence: this was the one after the ban */
    bool unconfirmed;
    struct str link_id;
    const struct cancel_result *result; /* cancel */
    size_t told_here;                   /* cancel: local runs told at once */
};
enum agent_effect_kind {
    DO_CALL,      /* token, call; every one is answered, at the latest with SAID_OFFLINE */
    DO_SUBSCRIBE, /* root; carried out before any later DO_CALL */
    DO_UNSUBSCRIBE,
    DO_ANSWER,        /* ask, reply */
    DO_NOTIFY,        /* client (token hash), record, run, grace: one SSE event "cancel" */
    DO_OPEN_PROCESS,  /* run, target: watch this process */
    DO_CLOSE_PROCESS, /* run */
    DO_SIGNAL,        /* run, signal */
    DO_CANCEL_THERE,  /* run, text (a link's id, "" of a stop target), token, remote; answered
                         with these three, after remote.within at the latest */
    DO_ASK_CANCEL,    /* ask (the API's own number, or one with AGENT_ASK_INTERNAL), cancel */
    DO_PUBLISH,       /* root, record with `unrecorded`: Redis cannot record but may publish */
    DO_MOVED,         /* log + metrics: run, from, to, because */
    DO_SAY,           /* log: news, amount = runs that it concerns */
    DO_COUNT          /* metric: which, amount */
};
enum agent_news {
    NEWS_ISOLATED,         /* cut from Redis for longer than a lease; amount = runs told to stop */
    NEWS_IN_REACH,         /* of Redis again */
    NEWS_QUARANTINED,      /* SIGKILL has failed: no new runs; amount = runs that it failed on */
    NEWS_QUARANTINE_OVER,  /* they have ended */
    NEWS_QUARANTINE_LIFTED /* an operator says so; amount as above */
};
const char *agent_news_text(enum agent_news news);
enum agent_count {
    COUNT_STARTS_REFUSED, /* problem says the code */
    COUNT_RECONCILE_FOUND,
    COUNT_MALFORMED,
    COUNT_UNREADABLE, /* of a version that we do not speak: obeyed by what Redis says of it */
    COUNT_OBSERVED,
    COUNT_LATE,
    COUNT_UNRESPONSIVE,
    COUNT_TOLD,   /* seconds = since the record's `at` */
    COUNT_STOPPED /* seconds likewise */
};
struct agent_effect {
    enum agent_effect_kind kind;
    uint64_t ask, token;
    struct str root, run, client, text;
    struct cancel_record record;
    struct span grace;
    struct stop_target target;
    int signal;
    enum run_state from, to;
    const char *because;
    enum agent_count which;
    enum agent_news news;
    size_t amount;
    enum problem problem;
    struct span took;
    union {                       /* the large ones: one of them at a time */
        struct store_call call;   /* DO_CALL */
        struct cancel_ask cancel; /* DO_ASK_CANCEL */
        struct remote_ask remote; /* DO_CANCEL_THERE */
        struct agent_reply reply; /* DO_ANSWER */
    };
};
/* Asks that the agent makes for itself carry this bit, the API's never do. Tokens are below
 * token_base + 2^52; token_base itself means that nobody looks at the answer. */
#define AGENT_ASK_INTERNAL (UINT64_C(1) << 63)
struct agent_effects { /* owned by the caller; emptied by each step; zero is empty */
    size_t count, room;
    struct agent_effect *item;
};

struct agent;
struct agent *agent_new(const struct agent_options *options); /* NULL: no memory */
void agent_free(struct agent *agent);

/* Feed one event; read what must now be done, in order, from `todo`.
 * ERR_NOMEM: what is in `todo` still stands; what did not fit is found again by comparing with
 * Redis a moment later, but an ask may stay unanswered. */
enum err agent_step(struct agent *agent, const struct agent_event *event,
                    struct agent_effects *todo) MUST_CHECK;
/* When it next wants AGENT_TIME_PASSED; INSTANT_NEVER if it waits for nothing. */
struct instant agent_deadline(const struct agent *agent);

/* ---- what the API shows -------------------------------------------------------------------- */
struct agent_run_view {
    struct str run, root, path, client, agent_name, thread;
    enum run_state state, finished_anyway;
    uint32_t epoch, flags;
    bool confirmed; /* Redis has it */
    bool is_protected;
    const struct cancel_record *record; /* NULL: not told to stop */
    struct stop_story story;
    struct span grace; /* told: what is left of the notice's; else SPAN_NONE */
    struct span deadline;
    struct wall started;
    uint32_t pid;
};
/* Walks all runs, ended ones that are still remembered included: start with *at = 0. */
bool agent_next_run(const struct agent *agent, size_t *at, struct instant now,
                    struct agent_run_view *out);
bool agent_find_run(const struct agent *agent, struct str run, struct instant now,
                    struct agent_run_view *out);
/* Standing cancels of one client's runs, for the start of its event stream. */
bool agent_next_standing(const struct agent *agent, struct str client, size_t *at,
                         struct instant now, struct agent_run_view *out);
bool agent_is_ready(const struct agent *agent); /* has been linked once */
bool agent_is_linked(const struct agent *agent);
bool agent_is_draining(const struct agent *agent);
bool agent_is_quarantined(const struct agent *agent); /* SIGKILL has failed: no new runs */
/* For how long nothing was heard of Redis, once that is longer than a lease; before that 0. */
struct span agent_isolated_for(const struct agent *agent, struct instant now);
size_t agent_live_runs(const struct agent *agent);
size_t agent_clients_connected(const struct agent *agent);
size_t agent_holds(const struct agent *agent); /* orders that refuse new runs here */
struct str agent_generation(const struct agent *agent);

#endif
