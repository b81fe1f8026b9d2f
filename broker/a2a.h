/* The face for clients of A2A (Agent2Agent): a run is a task, named by its run id or by the task id
 * that it was registered with (`aliases`). Versions 1.0 and 0.3, over JSON-RPC and over REST; the
 * answers are those that its SDKs read, and its errors have its own shapes. docs/PROTOCOL.md
 * section 5.4 is normative.
 *
 * a2a.c         which request is one of ours; get and cancel
 * a2a_stream.c  subscribe
 * a2a_read.c    what was asked: bytes into a struct a2a_call
 * a2a_task.c    a run of a tree as a task; a2a_json.c as JSON
 * a2a_answer.c  answers and errors in the shape of each version; a2a_words.c their words
 * a2a_card.c    the agent card */
#ifndef BROKER_A2A_H
#define BROKER_A2A_H

#include "broker/inside.h"

/* An identifier, not an address. docs/A2A-EXTENSION.md is what it stands for. */
#define A2A_EXTENSION "https://brakewire.dev/a2a/ext/run-context/v1"

enum a2a_version { A2A_0_3, A2A_1_0 };
enum a2a_binding { A2A_RPC, A2A_REST };
enum a2a_method { A2A_GET, A2A_CANCEL, A2A_SUBSCRIBE };
enum a2a_state {
    A2A_WORKING,
    A2A_INPUT_REQUIRED,
    A2A_COMPLETED,
    A2A_FAILED,
    A2A_CANCELED,
    A2A_STATE_COUNT
};

/* X(name, JSON-RPC code, HTTP status of REST 1.0 and 0.3, google.rpc.Code, reason of its ErrorInfo
 * ("" for what JSON-RPC defines), name of the error, message) */
#define A2A_FAULTS(X)                                                                              \
    X(NONE, 0, 200, 200, "OK", "", "", "")                                                         \
    X(PARSE, -32700, 400, 400, "INVALID_ARGUMENT", "", "JSONParseError", "Invalid JSON payload")   \
    X(REQUEST, -32600, 400, 400, "INVALID_ARGUMENT", "", "InvalidRequestError", "Invalid request") \
    X(METHOD, -32601, 404, 404, "NOT_FOUND", "", "MethodNotFoundError", "Method not found")        \
    X(PARAMS, -32602, 400, 400, "INVALID_ARGUMENT", "", "InvalidParamsError",                      \
      "Invalid parameters")                                                                        \
    X(INTERNAL, -32603, 500, 500, "INTERNAL", "", "InternalError", "Internal error")               \
    X(OVERLOADED, -32603, 429, 429, "RESOURCE_EXHAUSTED", "", "InternalError",                     \
      "This broker takes no more now")                                                             \
    X(UNAVAILABLE, -32603, 503, 503, "UNAVAILABLE", "", "InternalError",                           \
      "Redis cannot be asked now")                                                                 \
    X(NOT_FOUND, -32001, 404, 404, "NOT_FOUND", "TASK_NOT_FOUND", "TaskNotFoundError",             \
      "Task not found")                                                                            \
    X(NOT_CANCELABLE, -32002, 400, 409, "FAILED_PRECONDITION", "TASK_NOT_CANCELABLE",              \
      "TaskNotCancelableError", "Task cannot be canceled")                                         \
    X(NO_PUSH, -32003, 400, 400, "FAILED_PRECONDITION", "PUSH_NOTIFICATION_NOT_SUPPORTED",         \
      "PushNotificationNotSupportedError", "Push notifications are not supported")                 \
    X(UNSUPPORTED, -32004, 400, 400, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION",               \
      "UnsupportedOperationError",                                                                 \
      "Not supported: tasks can be got, canceled and subscribed to here; send messages to the "    \
      "agent itself")                                                                              \
    X(CONTENT_TYPE, -32005, 400, 415, "INVALID_ARGUMENT", "CONTENT_TYPE_NOT_SUPPORTED",            \
      "ContentTypeNotSupportedError", "Content type not supported: send application/json")         \
    X(NO_CARD, -32007, 400, 400, "FAILED_PRECONDITION", "EXTENDED_AGENT_CARD_NOT_CONFIGURED",      \
      "ExtendedAgentCardNotConfiguredError", "No extended agent card is configured")               \
    X(VERSION, -32009, 400, 400, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED",                   \
      "VersionNotSupportedError", "A2A version not supported: this broker speaks 1.0 and 0.3")
enum a2a_fault {
#define X(name, ...) A2A_FAULT_##name,
    A2A_FAULTS(X)
#undef X
        A2A_FAULT_COUNT
};
struct a2a_trouble {
    enum a2a_fault fault;
    const char *detail; /* instead of the message; NULL: none */
};

/* ---- what was asked ------------------------------------------------------------------------ */
struct a2a_call {
    enum a2a_version version;
    enum a2a_binding binding;
    enum a2a_method method;
    json_t *id; /* of the JSON-RPC request, owned; NULL: null */
    char task[ALIAS_MAX + 1];
    /* of a cancel, from the metadata of the extension */
    enum action action;
    struct span grace; /* SPAN_NONE */
    char reason[TEXT_MAX_BYTES + 1];
    bool is_extended; /* the extension was asked for: the answer says that it is active */
};

enum a2a_place_kind { A2A_ELSEWHERE, A2A_AT_CARD, A2A_AT_RPC, A2A_AT_TASK, A2A_AT_REFUSAL };
struct a2a_place {
    enum a2a_place_kind kind;
    const char *allowed;    /* HTTP methods, as in Allow; NULL: any */
    enum a2a_method method; /* at a task */
    enum a2a_fault fault;   /* at a refusal: an operation that tasks of ours do not have */
    struct str task;        /* lent by the path */
};
/* path: decoded, without the query */
struct a2a_place a2a_place_of(struct str path);
/* The text of an A2A-Version; "" is 0.3. False: neither of ours. */
bool a2a_version_read(struct str text, enum a2a_version *out);
/* Is the extension one of this comma separated list of URIs? */
bool a2a_names_extension(struct str list);
/* The body of a JSON-RPC request; version is set. The caller owes json_decref() of the id, whatever
 * comes back. False: `trouble` says why. */
bool a2a_read_rpc(struct str body, struct a2a_call *call, struct a2a_trouble *trouble);
/* The body of a REST request, which may be empty. */
bool a2a_read_rest(struct str body, struct a2a_call *call, struct a2a_trouble *trouble);
/* False: no task of ours can have this id. */
bool a2a_take_task_id(struct str id, struct a2a_call *call);

/* ---- tasks --------------------------------------------------------------------------------- */
enum { A2A_CONTEXT_MAX = 256 };
struct a2a_task { /* a value: nothing in it points to the tree */
    char context[A2A_CONTEXT_MAX + 1];
    struct run_id root, run;
    enum a2a_state state;
    enum run_state run_state;
    bool is_cancelled; /* a cancel covers it, whether or not it has stopped */
    char cancel_id[2 * RUN_ID_MAX + 2];
    size_t acked, pending, unresponsive, lost;
    bool leads_elsewhere; /* its scope has links: canceled only when those trees say so, too */
    struct wall at;       /* since when it is in this state; 0: nobody knows */
};
/* False: no such task. A task is CANCELED when nothing of its scope in this tree is left. */
bool a2a_task_of(const struct tree *tree, const struct run_id *root, const struct run_id *run,
                 struct a2a_task *out);
bool a2a_task_is_over(const struct a2a_task *task);
/* The scope is not known to have stopped, after all. */
void a2a_task_goes_on(struct a2a_task *task);
const char *a2a_state_word(enum a2a_state state, const struct a2a_call *call);
json_t *a2a_task_json(const struct a2a_task *task, const struct a2a_call *call);
/* The first event of a stream, and those that follow; the last one closes it. */
json_t *a2a_first_event(const struct a2a_task *task, const struct a2a_call *call);
json_t *a2a_next_event(const struct a2a_task *task, const struct a2a_call *call, bool is_last);

/* ---- answers ------------------------------------------------------------------------------- */
enum { A2A_HEADERS_MAX = 6 };
/* NULL-terminated; with the activated extension. */
void a2a_headers(const struct a2a_call *call, const char *headers[A2A_HEADERS_MAX]);
void a2a_answer_task(struct http_request *request, const struct a2a_call *call,
                     const struct a2a_task *task);
void a2a_answer_fault(struct http_request *request, const struct a2a_call *call,
                      const struct a2a_trouble *trouble);
json_t *a2a_fault_json(const struct a2a_call *call, const struct a2a_trouble *trouble);
struct a2a_trouble a2a_trouble_of(enum problem problem, const char *detail);
/* base: the URL under which its client reaches this broker, "http://host:port" */
json_t *a2a_card(struct str base);

/* ---- what takes time ----------------------------------------------------------------------- */
/* One question about one task, over several reads. */
struct a2a_job;
/* True: it was a request of A2A, and is or will be answered. */
bool a2a_serves(struct brokerd *d, struct http_request *request);
/* The answer to a subscription is a stream, or an error. Takes over call->id. */
void a2a_subscribe(struct brokerd *d, struct http_request *request, struct a2a_call *call,
                   const struct a2a_task *task);
/* Asks whether the scope has stopped in the trees that its links lead to, too; `answered` as for
 * ask_open(). 0: no memory. */
uint64_t a2a_ask_whether_stopped(struct brokerd *d, const struct a2a_task *task, void *owner,
                                 cancel_answered answered);

#endif
