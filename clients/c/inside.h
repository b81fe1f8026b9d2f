/* The parts of the library, for the files of this folder alone.
 *
 * client.c   opening and closing, the thread, what other threads post to it
 * uplink.c   is an agentd there: the event stream, coming back, registering again
 * run.c      what a run is, and what the agentd answers to its registration
 * params.c   bw_run_params -> JSON
 * ops.c      a question about a run on its way: it waits, is sent, is answered
 * calls.c    the questions themselves: ack, fence, links, cancel, end
 * notice.c   a run is to stop
 * say.c      the log, bw_why(), words for errors
 * courier.c  HTTP
 *
 * What is marked "posted" may be touched by any thread, under `lock` or as an atomic; all the rest
 * belongs to the thread that runs the loop. */
#ifndef CLIENTS_C_INSIDE_H
#define CLIENTS_C_INSIDE_H

#include <jansson.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/list.h"
#include "base/str.h"
#include "brakewire/brakewire.h"
#include "courier.h"
#include "io/sse_reader.h"

enum { SECRET_LEN = 32, PATIENCE_MS = 10000, LOCAL_CALL_MS = 10000 };

enum { START_WAIT_MS = 1000, END_WAIT_MS = 5000, CLOSE_WAIT_MS = 2000 };

enum link_state {
    LINK_IDLE,      /* no run needs an agentd yet */
    LINK_UP,        /* the stream is open, or being opened */
    LINK_AWAY,      /* nobody answers; the retry timer runs */
    LINK_RETURNING, /* somebody does: the runs are registered again, then the stream is opened */
};

struct bw_client {
    uv_loop_t *loop, own_loop;
    bool has_own_loop;
    uv_pid_t process;       /* that opened it */
    uv_thread_t thread;     /* that runs the loop */
    uv_thread_t own_thread; /* for whoever joins it */
    uv_sem_t has_begun;
    char *where, *token;
    char incarnation[SECRET_LEN + 1];
    struct bw_client_options options; /* `agentd` and `token` are NULL: they were the caller's */

    uv_mutex_t lock;
    struct list posted;    /* posted: ops, and that the client is to close */
    bool is_to_close;      /* posted */
    atomic_bool is_linked; /* posted */
    uv_async_t wake;

    struct courier *courier;
    struct sse_reader sse;
    enum link_state link;
    bool was_linked, has_warned, must_reconnect;
    int64_t retry_ms;
    uv_timer_t retry, clock, patience; /* clock: of whoever waits; patience: of who closes */
    struct list runs;                  /* in_runs */
    struct list ready;                 /* ops that are gone through just now, one by one */
    struct list waiting;               /* ops that cannot be sent now */
    struct list flying;                /* ops that were sent */
    bool is_leaving, is_closing;       /* leaving: what has ended is still told, until close_by */
    int64_t close_by;
    unsigned handles;
};

/* What an agentd has told of a run; its texts are never changed, only replaced by others, so that
 * other threads may read. */
struct place {
    struct place *before; /* with other texts; kept, for they are lent */
    char *run_id, *root, *baggage;
    _Atomic(int64_t) deadline_at; /* on our clock, -1: none */
    atomic_bool is_protected;
};

struct op;
struct bw_run {
    atomic_bool is_cancelled;      /* posted; `cancel` is set before */
    _Atomic(struct place *) place; /* posted */
    atomic_uint_least32_t epoch;   /* posted */
    _Atomic(int64_t) stop_at;      /* posted: when the grace is over, -1: not said */
    struct bw_cancel cancel;       /* lent by cancel_json */
    json_t *cancel_json;

    struct bw_client *client;
    struct link in_runs;
    json_t *request;          /* what it is registered with, again and again */
    char key[SECRET_LEN + 1]; /* so that it is one run, however often it is asked for */
    void (*on_cancel)(void *owner, struct bw_run *run, const struct bw_cancel *cancel);
    void *owner;
    bool acknowledges_itself;
    bool is_registered;
    enum bw_err given_up;    /* why the agentd does not want it; BW_OK: it does */
    bool is_ending;          /* bw_run_end() was called: no more callbacks */
    struct op *start;        /* somebody waits for it to start */
    struct op *registration; /* on its way */
};

/* ---- ops.c --------------------------------------------------------------------------------- */
enum op_kind { OP_START, OP_REGISTER, OP_ACK, OP_FENCE, OP_LINK, OP_CANCEL, OP_END };
struct op {
    struct link in_list; /* posted, then ready, waiting or flying */
    enum op_kind kind;
    struct bw_client *client;
    struct bw_run *run;  /* NULL: it is gone, and so is the question */
    char target[80];     /* of OP_CANCEL: a run below; "": the run itself */
    json_t *body;        /* without the epoch */
    int64_t patience_ms; /* whoever asks waits so long */
    int64_t due;         /* when that is over */
    unsigned tries;
    bool is_flying, is_answered;
    bw_done done; /* NULL: nobody asks */
    void *owner;
};
/* Owns `body`, which may be NULL: no memory. NULL: no memory, and `body` is gone. */
struct op *op_new(enum op_kind kind, struct bw_client *client, struct bw_run *run, json_t *body);
void op_free(struct op *op); /* in no list */
/* On the loop: sends it, or lets it wait. */
void op_begin(struct op *op);
/* Tells who asked, once. */
void op_answer(struct op *op, const struct bw_answer *answer);
void op_answer_err(struct op *op, enum bw_err err, const char *detail);
/* To be sent in any case; false: no memory. */
bool op_fly(struct op *op, const char *path, const char *key, json_t *body);
void ops_begin(struct bw_client *client, struct list *posted); /* leaves it empty */
void ops_flush(struct bw_client *client); /* those that wait: can they be sent by now? */
void ops_set_clock(struct bw_client *client);
void ops_drop(struct bw_client *client, const struct bw_run *run); /* all about this run */
bool ops_have_ends(const struct bw_client *client);
void on_clock(uv_timer_t *timer);

/* ---- client.c ------------------------------------------------------------------------------ */
void client_post(struct bw_client *client, struct op *op);
bool client_is_here(const struct bw_client *client); /* we are on its thread */
bool client_is_ours(const struct bw_client *client); /* no child of fork(): it has no such thread */
int64_t now_ms(void);
bool make_secret(char out[SECRET_LEN + 1]);
/* Posts it and waits for its answer; `seen` (may be NULL) looks at it first. Owns the op. */
enum bw_err ask(struct op *op, void (*seen)(void *seer, const struct bw_answer *answer),
                void *seer);

/* ---- uplink.c ------------------------------------------------------------------------------ */
void uplink_lost(struct bw_client *client, const char *why);
/* One registration less is on its way. */
void uplink_registered(struct bw_client *client);
void uplink_warn(struct bw_client *client, const char *why);
void on_retry(uv_timer_t *timer);

/* ---- run.c, params.c, notice.c ------------------------------------------------------------- */
struct bw_run *run_new(struct bw_client *client, const struct bw_run_params *params,
                       enum bw_err *err);
void run_free(struct bw_run *run);
void run_begin(struct op *start);
void run_register(struct bw_run *run);
void run_registered(struct op *registration, const struct delivery *delivery, const json_t *json);
void run_start_is_due(struct op *start);
/* NULL: no memory, or bw_why() says what is wrong: then *err is BW_ERR_INVALID. */
json_t *params_to_json(const struct bw_run_params *params, const char *incarnation,
                       enum bw_err *err);
const char *incoming_baggage(const struct bw_run_params *params);

void notice_came(void *owner, const char *name, const json_t *data); /* an event of the stream */
/* The run is to stop, by this cancel object; again: a lower grace. */
void notice_tell(struct bw_run *run, const json_t *cancel);
/* ... or because the agentd says that it is not ours (any more). */
void notice_disown(struct bw_run *run, const char *reason);

/* ---- say.c --------------------------------------------------------------------------------- */
void say(struct bw_client *client, enum bw_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Keeps the text for bw_why() and returns err. */
enum bw_err fault(enum bw_err err, const char *format, ...) __attribute__((format(printf, 2, 3)));
enum bw_err err_of_code(const char *code, long status);
const char *word_of(const json_t *json, const char *member); /* "" if it is not there */

#endif
