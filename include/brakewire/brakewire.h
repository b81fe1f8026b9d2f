/* libbrakewire: an agent in C joins the tree that can be cancelled.
 *
 *     struct bw_run *run;
 *     bw_run_start(client, &(struct bw_run_params){.agent = "researcher"}, &run);
 *     while (!bw_run_is_cancelled(run) && work())
 *         ;
 *     bw_run_end(run, bw_run_is_cancelled(run) ? BW_CANCELLED : BW_SUCCESS);
 *
 * The library speaks to the brakewire-agentd of this pod. It registers runs, is told when one of
 * them is to stop, connects again by itself and then registers what still runs. Where there is no
 * agentd a run starts all the same, is never cancelled, and one warning says so; it is registered
 * as soon as there is one.
 *
 * Threads. With bw_client_open() the library has a thread of its own, on which the callbacks are
 * made; every function may be called from any thread. Those marked "waits" wait for an answer, so
 * from within a callback they answer BW_ERR_WOULD_BLOCK: use their ..._then() there. With
 * bw_client_open_on_loop() the callbacks come from the caller's loop, and the same holds on the
 * thread that runs it. No function may be called for a run that has ended, or for a client that was
 * closed, so whoever ends a run sees to it that no other thread is about to ask for it; those that
 * wait already are answered BW_ERR_OFFLINE.
 *
 * After fork() the child must open a client of its own. What it asks of its parent's runs is
 * BW_ERR_INVALID, and to close its parent's client does nothing. As long as it lives without an
 * exec it holds the parent's connections open: the agentd does not see then that the parent is
 * gone.
 *
 * Structs that are passed in may be all zero: then everything is at its default. Texts that are
 * passed in are copied; texts that come out are lent, for as long as is said. All text is UTF-8,
 * times are milliseconds. */
#ifndef BRAKEWIRE_BRAKEWIRE_H
#define BRAKEWIRE_BRAKEWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define BW_API __attribute__((visibility("default")))
#else
#define BW_API
#endif

struct uv_loop_s; /* libuv's uv_loop_t */
struct bw_client;
struct bw_run;

enum bw_err {
    BW_OK = 0,
    BW_ERR_CANCELLED,     /* the run, or something above it, has been cancelled */
    BW_ERR_FROZEN,        /* no more checkpoint for this run */
    BW_ERR_FENCED,        /* a later life of this run exists: stop this one */
    BW_ERR_OVER,          /* the run has ended already */
    BW_ERR_NOT_CANCELLED, /* it cannot end as cancelled: nobody cancelled it */
    BW_ERR_UNAVAILABLE,   /* the agentd cannot do it now (Redis, a limit, an order that holds) */
    BW_ERR_REFUSED,       /* the agentd says no; bw_why() tells */
    BW_ERR_OFFLINE,       /* no agentd answered in time */
    BW_ERR_INVALID,       /* an argument is wrong; bw_why() tells */
    BW_ERR_WOULD_BLOCK,   /* from within a callback, or on the thread of the loop: use ..._then() */
    BW_ERR_NOMEM,
    BW_ERR_SYSTEM /* no thread, no loop */
};
/* Static text, also for a value outside the enum. */
BW_API const char *bw_err_text(enum bw_err err);
/* What the last call of this thread that failed can say about it, for a person. Lent until the next
 * call of this thread. */
BW_API const char *bw_why(void);

/* ---- the client ---------------------------------------------------------------------------- */

enum bw_log_level { BW_LOG_WARNING, BW_LOG_INFO };

struct bw_client_options {
    /* "/path" (at most 107 bytes), "unix:/path" or "http://127.0.0.1:7320"; NULL:
     * $BRAKEWIRE_AGENTD, else the agentd's own default, below $XDG_RUNTIME_DIR (users) or /run. */
    const char *agentd;
    /* Secret that names this client, 16 to 256 printable characters; NULL: a fresh one. */
    const char *token;
    /* How long a start waits for an agentd that is away or silent, before the run goes on without
     * it. 0: not at all when none has been there yet, else 1,000. */
    int64_t start_wait_ms;
    /* A start without an agentd is BW_ERR_OFFLINE, instead of a run that nobody can cancel. */
    bool require_agentd;
    /* NULL: warnings go to stderr. May be called from any of the library's callbacks' threads. */
    void (*on_log)(void *owner, enum bw_log_level level, const char *text);
    /* The client is gone, with bw_client_open_on_loop(); the last callback of all. May be NULL. */
    void (*on_closed)(void *owner);
    void *owner; /* passed back, never touched */
};

/* Returns BW_ERR_INVALID, BW_ERR_NOMEM, BW_ERR_SYSTEM; nobody need be there yet. options may be
 * NULL. */
BW_API enum bw_err bw_client_open(const struct bw_client_options *options, struct bw_client **out);
/* On the thread that runs `loop`. The loop does not end by itself before the client is closed. */
BW_API enum bw_err bw_client_open_on_loop(struct uv_loop_s *loop,
                                          const struct bw_client_options *options,
                                          struct bw_client **out);
/* What has ended and could not be told yet is told, for two seconds at the most. Runs that have not
 * ended stay as they are for the agentd, which finds that their client is gone; here they are
 * freed. Waits, and must not be called from a callback; with bw_client_open_on_loop() it returns at
 * once, must be called on the loop's thread, and on_closed says when it is done. NULL is fine. */
BW_API void bw_client_close(struct bw_client *client);
/* Is an agentd there, and does it tell us of cancels? */
BW_API bool bw_client_is_linked(const struct bw_client *client);

/* ---- runs ---------------------------------------------------------------------------------- */

enum bw_action { BW_INTERRUPT, BW_ROLLBACK }; /* keep the state, or discard what the run wrote */

struct bw_cancel {
    const char *cancel_id, *run_id; /* which cancel; its target, this run or one above it */
    enum bw_action action;
    /* Free text, or: deadline, parent_ended, lost, client_gone, isolated; and where the run is not
     * ours any more: fenced, conflict, over or over:STATE. */
    const char *reason;
    const char *by;
    int64_t grace_ms; /* from now until the next way to stop it; -1: not said */
};

struct bw_label {
    const char *key, *value;
};

enum bw_on_end { BW_ON_END_DEFAULT, BW_ON_END_CANCEL, BW_ON_END_LEAVE };
enum bw_on_lost { BW_ON_LOST_CANCEL, BW_ON_LOST_TAKEOVER, BW_ON_LOST_CONTINUE };
enum bw_on_client_gone { BW_ON_CLIENT_GONE_CANCEL, BW_ON_CLIENT_GONE_CONTINUE };
enum bw_when_isolated {
    BW_WHEN_ISOLATED_DEFAULT,
    BW_WHEN_ISOLATED_CONTINUE,
    BW_WHEN_ISOLATED_CANCEL
};

/* What each of them means: docs/PROTOCOL.md, section 5.1, POST /v1/runs. */
struct bw_run_params {
    const char *agent, *thread_id;
    const struct bw_label *labels; /* at most 16 */
    size_t label_count;

    /* Where it belongs: the baggage header of the request that it serves, or its parent and root.
     * With neither, $BAGGAGE. entry: it is at the top of a tree, whatever came in. */
    const char *baggage;
    const char *parent, *root;
    bool entry, strict;

    const char *run_id;  /* NULL: the agentd makes one */
    int64_t deadline_ms; /* 0: none */
    int64_t grace_ms;    /* between notice and the next way to stop it. 0: the agentd's */
    /* This process carries the run alone: when the grace is over the agentd ends it and all that it
     * started, by SIGTERM and SIGKILL. */
    bool kills_process;

    enum bw_on_end on_end;
    enum bw_on_lost on_lost;
    enum bw_on_client_gone on_client_gone;
    enum bw_when_isolated when_isolated;
    const char *linked_from; /* "<root>/<run>" whose link leads here */
    const char *retry_of, *resumed_from;

    /* The run is to stop. Once for each run, and never after bw_run_end() has returned. `cancel` is
     * lent for the call, its texts until the run has ended. It must not take long: other runs wait
     * for their notices. */
    void (*on_cancel)(void *owner, struct bw_run *run, const struct bw_cancel *cancel);
    void *owner; /* passed back, never touched */
    /* bw_run_ack() says when a cancel is acknowledged; else it is when on_cancel has returned (or,
     * without one, as soon as bw_run_is_cancelled() answers true). */
    bool acknowledges_itself;
};

/* Waits. The caller owes exactly one bw_run_end() for *out, which is set only on BW_OK. params may
 * be NULL. BW_ERR_CANCELLED: nothing may start there. */
BW_API enum bw_err bw_run_start(struct bw_client *client, const struct bw_run_params *params,
                                struct bw_run **out);

/* An atomic read, for loops: a few nanoseconds, from any thread. */
BW_API bool bw_run_is_cancelled(const struct bw_run *run);
/* True, and *out set, once bw_run_is_cancelled(). grace_ms is what is left now. Its texts are lent
 * until the run has ended. */
BW_API bool bw_run_cancel(const struct bw_run *run, struct bw_cancel *out);

/* Lent until the run has ended. Empty while no agentd has the run. */
BW_API const char *bw_run_id(const struct bw_run *run);
BW_API const char *bw_run_root(const struct bw_run *run);
/* 0 while no agentd has the run. */
BW_API uint32_t bw_run_epoch(const struct bw_run *run);
/* When it was registered last. False: nobody could cancel it, or only this agentd (Redis was away).
 */
BW_API bool bw_run_is_protected(const struct bw_run *run);

/* The baggage header for the requests that this run makes to other agents, and $BAGGAGE of the
 * processes it starts. Without an agentd it is what came in. Lent until the run has ended. */
BW_API const char *bw_run_baggage(const struct bw_run *run);
/* The same for a request that has a baggage header already (`existing`, may be NULL), with what is
 * left of the deadline now. Writes at most `room` bytes, NUL included, and returns the length of
 * the whole header, like snprintf(); 8,193 bytes always fit it. */
BW_API size_t bw_run_baggage_for(const struct bw_run *run, const char *existing, char *out,
                                 size_t room);

enum bw_phase { BW_ACKNOWLEDGED, BW_CLEANED_UP, BW_CHECKPOINTED };
/* Waits. How far the stop of a cancelled run has come. */
BW_API enum bw_err bw_run_ack(struct bw_run *run, enum bw_phase phase);

/* Waits. May a checkpoint be written? The same write_id (1 to 128 bytes) may be asked
 * for again. bytes (at most 1 MiB; NULL for none) are kept beside it. is_last (may be NULL): no
 * other one is granted. BW_ERR_FROZEN, BW_ERR_FENCED, BW_ERR_OVER: do not write. A run that no
 * agentd ever had is granted everything. */
BW_API enum bw_err bw_run_fence(struct bw_run *run, const char *write_id, const void *bytes,
                                size_t len, bool *is_last);

/* A child that lives outside of this tree: docs/PROTOCOL.md, section 5.1, says which members name
 * the work of each kind. NULL: not given. */
struct bw_link {
    const char *kind;                        /* "root" (NULL, too), "langgraph", "a2a", "http" */
    const char *to;                          /* of a root: "<root>" or "<root>/<run>" */
    const char *url;                         /* of all others */
    const char *thread_id, *run_id;          /* langgraph */
    const char *task_id, *version, *binding; /* a2a */
    const char *method, *body;               /* http */
};
/* Waits. Says, *before* it is started where that is possible, that it is there. BW_ERR_CANCELLED:
 * do not start it; it has been cancelled. */
BW_API enum bw_err bw_run_link(struct bw_run *run, const struct bw_link *link);

enum bw_wait { BW_WAIT_NONE, BW_WAIT_DELIVERED, BW_WAIT_STOPPED };

struct bw_cancel_params {
    const char *run_id; /* below the run, and valid: [A-Za-z0-9_-]; NULL: all its children */
    enum bw_action action;
    const char *reason;
    bool has_grace;
    int64_t grace_ms; /* with has_grace: 0 is "kill now" */
    enum bw_wait wait;
    int64_t timeout_ms; /* of that wait, at most 60,000; 0: 10,000 */
};
/* Waits. Cancels what is below the run, not the run. is_complete (may be NULL): all of it has
 * stopped. params may be NULL. While Redis is away only what is at this agentd is told, and is not
 * complete: repeat it. */
BW_API enum bw_err bw_run_cancel_children(struct bw_run *run, const struct bw_cancel_params *params,
                                          bool *is_complete);

enum bw_end { BW_SUCCESS, BW_ERROR, BW_PAUSED, BW_CANCELLED, BW_ROLLED_BACK };
/* Waits, five seconds at the most. The run is over, and `run` is gone, whatever is answered, but
 * for BW_ERR_NOT_CANCELLED, BW_ERR_UNAVAILABLE, BW_ERR_INVALID, BW_ERR_WOULD_BLOCK and
 * BW_ERR_NOMEM. BW_ERR_OFFLINE: the agentd is away; it is told when it is back, until the client is
 * closed. What is ended as anything else after a cancel is recorded as cancelled, with how it
 * finished. */
BW_API enum bw_err bw_run_end(struct bw_run *run, enum bw_end state);

/* ---- without waiting ------------------------------------------------------------------------ */

struct bw_answer { /* all lent for the call */
    enum bw_err err;
    int status;         /* of HTTP; 0: there was none */
    const char *code;   /* of a problem (RFC 9457), else "" */
    const char *detail; /* for a person, "" where there is nothing to say */
    const char *json;   /* the body as it came, "" if there was none */
    struct bw_run *run; /* of a start: the run, on BW_OK; else NULL */
};
/* From the loop, never from within the call. */
typedef void (*bw_done)(void *owner, const struct bw_answer *answer);

/* As their namesakes. They return BW_OK when `done` (NULL: nobody asks) will be called, once, else
 * BW_ERR_INVALID or BW_ERR_NOMEM. After bw_client_close() it is called with BW_ERR_OFFLINE. */
BW_API enum bw_err bw_run_start_then(struct bw_client *client, const struct bw_run_params *params,
                                     bw_done done, void *owner);
BW_API enum bw_err bw_run_ack_then(struct bw_run *run, enum bw_phase phase, bw_done done,
                                   void *owner);
BW_API enum bw_err bw_run_fence_then(struct bw_run *run, const char *write_id, const void *bytes,
                                     size_t len, bw_done done, void *owner);
BW_API enum bw_err bw_run_link_then(struct bw_run *run, const struct bw_link *link, bw_done done,
                                    void *owner);
BW_API enum bw_err bw_run_cancel_children_then(struct bw_run *run,
                                               const struct bw_cancel_params *params, bw_done done,
                                               void *owner);
BW_API enum bw_err bw_run_end_then(struct bw_run *run, enum bw_end state, bw_done done,
                                   void *owner);

#ifdef __cplusplus
}
#endif

#endif
