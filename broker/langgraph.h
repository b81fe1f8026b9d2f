/* The run routes of LangGraph's server, for clients that know nothing of Brakewire: a run of theirs
 * is a run of ours with the same id and thread_id. docs/PROTOCOL.md section 5.3 is normative.
 *
 * langgraph.c       which route, what is in its query, how it refuses
 * langgraph_seek.c  which run is meant; what its thread says of it
 * langgraph_stop.c  POST …/cancel
 * langgraph_many.c  POST /runs/cancel
 * langgraph_run.c   a run as LangGraph shows it
 * langgraph_thread.c all runs of a thread; DELETE
 * langgraph_join.c  GET …/join and …/stream: until the run is over */
#ifndef BROKER_LANGGRAPH_H
#define BROKER_LANGGRAPH_H

#include "broker/inside.h"

/* True: the path is one of these, and the request was answered or will be. */
bool langgraph_serves(struct brokerd *d, struct http_request *request);

typedef void langgraph_route(struct brokerd *d, struct http_request *request, struct str thread,
                             struct str run);
langgraph_route langgraph_cancel, langgraph_get, langgraph_join, langgraph_stream, langgraph_list,
    langgraph_delete, langgraph_cancel_many;

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

/* ---- langgraph_seek.c ------------------------------------------------------------------------ */
/* How a run stands in the list of its thread. */
struct langgraph_entry {
    struct run_id run, root;
    enum multitask multitask;
    bool is_deleted, is_ended;
    int64_t number; /* in the order in which they came */
};
/* As the store answers it. False: damaged. */
bool langgraph_entry_parse(struct str text, struct langgraph_entry *out);

/* Looks for a run. What asks for it holds one, and frees `thread` with mem_free() when it is done.
 */
struct langgraph_seek {
    struct brokerd *daemon;
    struct run_id run;
    char *thread; /* that it must be of; NULL: whichever it is of, which is put here */
    /* found: */
    struct run_id root;
    enum multitask multitask;
    /* `answer`: what Redis could not do; NULL: it could. Not found: nobody knows it, it is of
     * another thread, or it was deleted. */
    void (*done)(struct langgraph_seek *seek, bool is_found, const struct store_answer *answer);
};
void langgraph_seek(struct langgraph_seek *seek);

/* The same for a request. A read that is made bigger by whoever asks; it is freed as it is. */
struct langgraph_find {
    struct read read; /* first */
    struct langgraph_seek seek;
    const char *unknown; /* the detail of its 404 */
    /* The request is still there. It answers it or hands it on, and ends the read. */
    void (*found)(struct langgraph_find *find);
    /* Its client has hung up meanwhile, and the run is there. NULL: then there is nothing to do. */
    void (*dropped)(struct langgraph_find *find);
};
/* `bytes` of zeroed memory that begin with a langgraph_find. NULL: answered. */
void *langgraph_find_open(struct brokerd *d, struct http_request *request, size_t bytes,
                          struct str thread, struct str run);
void langgraph_find(struct langgraph_find *find, void (*found)(struct langgraph_find *find));

/* ---- langgraph_run.c ----------------------------------------------------------------------- */
/* LangGraph has taken it back, with all it wrote: for its clients it never was. */
bool langgraph_is_rolled_back(const struct tree_run *run);
/* "pending", "running", "error", "success", "timeout", "interrupted" */
const char *langgraph_status(const struct tree_run *run);
json_t *langgraph_run_json(const struct tree_run *run, enum multitask multitask);

/* ---- langgraph_stop.c ---------------------------------------------------------------------- */
extern const char langgraph_not_cancelable[]; /* "Some runs were not found or not cancelable" */
/* A cancel of this run as LangGraph's clients ask for it; lends the ids. */
struct cancel_ask langgraph_ask(struct brokerd *d, const struct run_id *root,
                                const struct run_id *run);
/* It may not be cancelled, or not any more. */
bool langgraph_is_not_cancelable(const struct brokerd *d, const struct cancel_result *result);
/* A client that was to cancel by going away has gone. */
void langgraph_cancel_for_gone(struct brokerd *d, const struct run_id *root,
                               const struct run_id *run);

#endif
