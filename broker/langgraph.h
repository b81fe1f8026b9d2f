/* The run routes of LangGraph's server, for clients that know nothing of Brakewire: a run of theirs
 * is a run of ours with the same id and thread_id. docs/PROTOCOL.md section 5.3 is normative.
 *
 * langgraph.c       which route, what is in its query, how it refuses; which run is meant
 * langgraph_stop.c  POST …/cancel
 * langgraph_run.c   a run as LangGraph shows it
 * langgraph_join.c  GET …/join and …/stream: until the run is over */
#ifndef BROKER_LANGGRAPH_H
#define BROKER_LANGGRAPH_H

#include "broker/inside.h"

/* True: the path is one of these, and the request was answered or will be. */
bool langgraph_serves(struct brokerd *d, struct http_request *request);

typedef void langgraph_route(struct brokerd *d, struct http_request *request, struct str thread,
                             struct str run);
langgraph_route langgraph_cancel, langgraph_get, langgraph_join, langgraph_stream;

/* ---- langgraph.c --------------------------------------------------------------------------- */
extern const char langgraph_unknown[]; /* "Run not found" */
/* {"detail": …}; 429 and 503 with Retry-After. */
void langgraph_refuse(struct http_request *request, unsigned status, const char *detail);
/* The same for what the core refused. Never a 409. */
void langgraph_refuse_problem(struct http_request *request, enum problem problem,
                              const char *detail);
/* 0 and 1, false and true; without a value it is no. False: answered 422. */
bool langgraph_query_flag(struct http_request *request, const char *name, bool *out);
bool langgraph_query_action(struct http_request *request, enum action *out);

/* A run that a request names: where it is, and whether it is of that thread. A read that is made
 * bigger by whoever asks; it is freed with mem_free() alone. */
struct langgraph_find {
    struct read read; /* first */
    struct run_id run, root;
    char *thread;        /* NULL: whichever it is of */
    const char *unknown; /* the detail of its 404 */
    /* The request is still there. It answers it or hands it on, and ends the read. */
    void (*found)(struct langgraph_find *find);
};
/* `bytes` of zeroed memory that begin with a langgraph_find. NULL: answered. */
void *langgraph_find_open(struct brokerd *d, struct http_request *request, size_t bytes,
                          struct str thread, struct str run);
/* Looks; a run that is not there, or of another thread, is 404 with `unknown`. */
void langgraph_find(struct langgraph_find *find, void (*found)(struct langgraph_find *find));

/* ---- langgraph_run.c ----------------------------------------------------------------------- */
/* LangGraph has taken it back, with all it wrote: for its clients it never was. */
bool langgraph_is_rolled_back(const struct tree_run *run);
/* "pending", "running", "error", "success", "timeout", "interrupted" */
const char *langgraph_status(const struct tree_run *run);
json_t *langgraph_run_json(const struct tree_run *run);

/* ---- langgraph_stop.c ---------------------------------------------------------------------- */
/* A client that was to cancel by going away has gone. */
void langgraph_cancel_for_gone(struct brokerd *d, const struct run_id *root,
                               const struct run_id *run);

#endif
