/* The parts of one agentd, for the files of this folder alone.
 *
 * agentd.c     feed(): an event into the core, its effects carried out, the alarm set
 * upstream.c   what comes from Redis
 * routes.c     what comes over HTTP; requests.c and answers.c are its JSON
 * streams.c    event streams; processes.c stop targets that are processes
 * remotes.c    those, and links, that are work in other programs; works.c is their JSON
 * reports.c    what Redis is told of a stop, a moment later
 * audit.c      who asked what; numbers.c metrics; keys.c Idempotency-Key */
#ifndef AGENTD_INSIDE_H
#define AGENTD_INSIDE_H

#include "agentd/agentd.h"
#include "agentd/numbers.h"
#include "api/api.h"
#include "api/baggage_keys.h"
#include "base/list.h"
#include "base/map.h"
#include "core/agent.h"
#include "core/cancels.h"
#include "io/http_server.h"
#include "io/proctree.h"
#include "io/redis_news.h"
#include "remote/remote.h"
#include "remote/text.h"
#include "store/store.h"

/* Starts that wait for Redis at once, of all questions that may: what is refused first is new runs,
 * so that cancels find room. */
enum { TOKEN_LEN = 32, STARTS_OPEN_MAX = 2048, OTHER_ASKS_MAX = 3072 };
/* Of the rest. When so many are open, a cancel is answered as soon as it is recorded, so that no
 * crowd that waits keeps one out. */
enum { WAITING_ASKS_MAX = (OTHER_ASKS_MAX - STARTS_OPEN_MAX) * 3 / 4 };
#define CANCELS_TOKEN_BASE (UINT64_C(1) << 62)

/* ---- open questions of HTTP clients -------------------------------------------------------- */
enum ask_kind { ASK_START, ASK_ACK, ASK_END, ASK_LINK, ASK_FENCE, ASK_CANCEL };
struct open_ask {
    uint64_t id;
    enum ask_kind kind;
    struct agentd *daemon;
    struct http_request *request; /* NULL: hung up; the core answers all the same */
    json_t *body;                 /* lends the ask its strings */
    char token[TOKEN_LEN + 1];    /* minted for this start, "" if the client had its own */
    struct str others;            /* incoming baggage, lent by the request or by `body` */
};

struct agentd {
    uv_loop_t *loop;
    const struct settings *settings;
    struct baggage_keys baggage_keys; /* lent by the settings */
    char replica[RUN_ID_MAX + 1];
    struct rng rng;
    struct wall started;

    struct agent *agent;
    struct agent_effects todo;
    struct cancels *cancels;
    struct cancels_effects cancels_todo;
    struct store *store;
    struct http_server *http;
    struct host_list *call_hosts;
    struct remote *remote; /* NULL: not yet, or no more */
    bool carrying_out;   /* effects of the agent, which never call feed(): an assert looks at it */
    unsigned busy;       /* cores being stepped right now, one within the other */
    struct list later;   /* events that effects led to, in order; fed when nothing is busy */
    struct list refused; /* calls that the store did not take, answered by a timer */
    struct list reports; /* calls that wait a moment */

    uv_timer_t alarm, refusals, heartbeat, drain, report_timer;
    bool linked, stopping, leaving, closing;
    int exit_code;

    struct map asks; /* by id, as bytes */
    uint64_t last_ask;
    size_t starts_open;
    struct map streams; /* client's token hash -> struct listener */
    size_t stream_count;
    uint64_t last_notice;
    struct map processes; /* run -> struct process */
    struct list keys_by_age;
    struct map keys;
    struct list audit; /* entries that Redis has not taken yet, oldest first */
    size_t audit_count;

    char *server; /* run_id of the Redis seen last, NULL at first */
    struct redis_news redis_news;
    char *generation;          /* that `cancels` was told of, NULL at first */
    unsigned link_ups;         /* so far */
    unsigned eviction_checked; /* at which of them it was known first; 0: not yet */
    struct numbers numbers;
    enum malformed_source looking_at; /* where the event that is being fed comes from */
};

/* ---- agentd.c ------------------------------------------------------------------------------ */
struct instant agentd_now(struct agentd *d);
struct wall agentd_wall(void);
/* One event into the core. Never from within carry_out(). */
void feed(struct agentd *d, struct agent_event event);
void feed_cancels(struct agentd *d, struct cancels_event event);
/* Feeds it now, or, while an effect is being carried out, right after. Keeps what it needs of
 * `run`, `text` and `caller`; nothing else may be lent. */
void feed_soon(struct agentd *d, struct agent_event event);
void set_alarm(struct agentd *d);
void agentd_give_up(struct agentd *d); /* close everything; exit code 1 */

/* ---- upstream.c ---------------------------------------------------------------------------- */
extern const struct store_events upstream_events;
void upstream_answered(void *owner, uint64_t token, const struct store_answer *answer);
void upstream_send(struct agentd *d, const struct store_call *call, uint64_t token);
/* Past the reports that wait. */
void upstream_send_now(struct agentd *d, const struct store_call *call, uint64_t token);
void upstream_subscribe(struct agentd *d, struct str root, bool watch);
void upstream_publish(struct agentd *d, const struct agent_effect *effect);
void upstream_answer_refused(uv_timer_t *timer);
/* Tells `cancels` when the core has seen a new generation. */
void upstream_check_generation(struct agentd *d);

/* ---- reports.c ----------------------------------------------------------------------------- */
/* Copies the call; false: no memory. */
bool reports_hold(struct agentd *d, const struct store_call *call, uint64_t token);
void reports_send(struct agentd *d); /* those that wait, now */
void reports_due(uv_timer_t *timer);
void reports_fini(struct agentd *d);

/* ---- routes.c, requests.c, answers.c ------------------------------------------------------- */
extern const struct http_server_events local_api;
/* The ask's JSON into what the core understands; strings are lent by body and request. */
struct work_room { /* as in core/remote.h */
    char to[TEXT_MAX_BYTES + 1], headers[TEXT_MAX_BYTES + 1];
};
struct start_room {
    struct work_room work[STOP_TARGETS_MAX];
    char path[PATH_MAX_BYTES + 1]; /* of a claimed path that had to be put together */
    struct str others;             /* incoming baggage, to be passed on but for our members */
    char alias[sizeof "a2a:" + ALIAS_MAX];
};
bool request_start(struct agentd *d, struct http_request *request, const json_t *body,
                   struct ask_start *out, struct start_room *room);
bool request_ack(struct http_request *request, const json_t *body, struct ask_ack *out);
bool request_end(struct http_request *request, const json_t *body, struct ask_end *out);
bool request_link(struct agentd *d, struct http_request *request, const json_t *body,
                  struct ask_link *out, struct work_room *room);
/* bytes: what `out` lends; the caller frees it. */
bool request_fence(struct http_request *request, const json_t *body, struct ask_fence *out,
                   char **bytes);

void answer_ask(struct agentd *d, uint64_t ask, const struct agent_reply *reply);
void answer_hung_up(void *owner, void *request_owner);
json_t *answer_run(const struct agent_run_view *view);
/* Takes over `body`. NULL: no memory; it was answered. */
struct open_ask *ask_open(struct agentd *d, enum ask_kind kind, struct http_request *request,
                          json_t *body);
void asks_fini(struct agentd *d);

/* ---- streams.c ----------------------------------------------------------------------------- */
void streams_connect(struct agentd *d, struct http_request *request, struct str client);
void streams_notify(struct agentd *d, const struct agent_effect *effect);
void streams_closed(void *owner, struct http_stream *stream, void *stream_owner);
void streams_ready(void *owner, struct http_stream *stream, void *stream_owner);
void streams_beat(uv_timer_t *timer);

/* ---- processes.c --------------------------------------------------------------------------- */
void process_open(struct agentd *d, struct str run, const struct stop_target *target);
void process_signal(struct agentd *d, struct str run, int signal);
void process_close(struct agentd *d, struct str run);
void processes_close(struct agentd *d);

/* ---- works.c, remotes.c -------------------------------------------------------------------- */
struct work_members { /* of a stop target and of a link */
    struct str url, thread_id, run_id, task_id, method, body;
    int version, binding;  /* -1: not given */
    const json_t *headers; /* of a stop target */
};
/* Of a table of members, whose struct has a `struct work_members work`. */
#define WORK_FIELD(owner, field) \
    .name = #field, .offset = offsetof(owner, work) + offsetof(struct work_members, field)
#define WORK_MEMBERS(owner)                                                                \
    {WORK_FIELD(owner, url), .type = API_TEXT, .min = 1, .max = TEXT_MAX_BYTES},           \
        {WORK_FIELD(owner, thread_id), .type = API_TEXT, .min = 1, .max = REMOTE_ID_MAX},  \
        {WORK_FIELD(owner, run_id), .type = API_TEXT, .min = 1, .max = REMOTE_ID_MAX},     \
        {WORK_FIELD(owner, task_id), .type = API_TEXT, .min = 1, .max = REMOTE_ID_MAX},    \
        {WORK_FIELD(owner, version), .type = API_CHOICE, .choices = "0.3|1.0"},            \
        {WORK_FIELD(owner, binding), .type = API_CHOICE, .choices = "jsonrpc|rest"},       \
        {WORK_FIELD(owner, method), .type = API_TEXT, .min = 1, .max = REMOTE_METHOD_MAX}, \
    {                                                                                      \
        WORK_FIELD(owner, body), .type = API_TEXT, .max = TEXT_MAX_BYTES                   \
    }
#define WORK_NONE ((struct work_members){.version = -1, .binding = -1})
bool work_take(struct agentd *d, enum link_kind kind, const struct work_members *asked,
               struct work_room *room, struct api_fault *fault);

enum err remotes_open(struct agentd *d) MUST_CHECK;
void remotes_close(struct agentd *d);
void remotes_cancel(struct agentd *d, const struct agent_effect *effect);

/* ---- keys.c, audit.c ----------------------------------------------------------------------- */
/* The run id that belongs to this client's key: the same as 15 minutes ago, or else `fresh`, which
 * is remembered. Lent until the next call. */
struct str key_run(struct agentd *d, struct str client, struct str key, struct str fresh);
void keys_fini(struct agentd *d);

void audit_note(struct agentd *d, const struct cancel_result *result,
                const struct cancel_ask *asked);
void audit_send_waiting(struct agentd *d);
void audit_fini(struct agentd *d);

#endif
