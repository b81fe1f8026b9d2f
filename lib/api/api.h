/* The JSON that agentd and broker have in common: how a request is read, and the shapes that mean
 * the same wherever they appear. docs/PROTOCOL.md section 5 is normative.
 *
 * Happy path: api_route() finds the handler -> api_read_object() -> api_read_members() by a table
 * ->
 * ... -> http_answer_json(). Whatever is wrong with the request is answered in here: a function
 * that takes the request and returns false (or NULL) has answered it, and the caller only returns.
 *
 * Functions that make JSON return a new reference, NULL when there is no memory; NULL may be passed
 * on to every other function here and to http_answer_json(). */
#ifndef API_API_H
#define API_API_H

#include <jansson.h>

#include "base/mono.h"
#include "core/cancels.h"
#include "core/order.h"
#include "core/problem.h"
#include "io/http_server.h"

/* ---- requests ------------------------------------------------------------------------------ */

/* `path` in pieces: "{id}" stands for one run id, checked before the handler is called (422);
 * at most API_PARTS_MAX of them. */
enum { API_PARTS_MAX = 2 };
struct api_route {
    const char *method;
    const char *path; /* "/v1/runs/{id}/cancel" */
    void (*serve)(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX]);
};
/* Calls the one that fits, else answers 404, or 405 with Allow. HEAD is served as GET. */
void api_route(struct http_request *request, const struct api_route *routes, size_t count,
               void *owner);

/* Does `path` have the form of `pattern`? What stands for {id} goes into `part`, unchecked. */
bool api_path_fits(const char *pattern, struct str path, struct str part[API_PARTS_MAX]);
/* 405; allowed: as in Allow. */
void api_refuse_method(struct http_request *request, const char *allowed);

/* The body, an object; an empty body is an empty object. The caller owes json_decref().
 * NULL: answered, 400 not JSON (or nested too deep), 422 not an object, 503 no memory. */
json_t *api_read_object(struct http_request *request);

enum api_type {
    API_TEXT,    /* struct str, lent by the JSON */
    API_INT,     /* int64_t */
    API_BOOL,    /* bool */
    API_OBJECT,  /* const json_t *, lent */
    API_ARRAY,   /* const json_t *, lent */
    API_CHOICE,  /* int: index into `choices` */
    API_SPAN_MS, /* struct span, from a whole number of ms */
    API_ID       /* struct str, a valid run id */
};
struct api_member {
    const char *name;
    size_t offset; /* of the field in the caller's struct */
    enum api_type type;
    bool required;
    int64_t min, max;    /* INT, SPAN_MS: the value; TEXT: bytes; ARRAY: elements; both 0: no bounds
                            but TEXT_MAX_BYTES */
    const char *choices; /* "refuse|allow" */
};
#define API_FIELD(owner, field) .name = #field, .offset = offsetof(owner, field)
/* What is wrong with a request, and where: for readers below the top level. */
struct api_fault {
    enum problem problem;
    char member[64];
    char detail[384];
};
/* Fills the fields of `out` whose members are there; the others keep what the caller put in. null
 * is as good as absent. A member that is not in the table is a fault that names the allowed ones.
 */
bool api_take_members(const json_t *object, const struct api_member *table, size_t count, void *out,
                      struct api_fault *fault);
/* Same; a fault is answered 422. */
bool api_read_members(struct http_request *request, const json_t *object,
                      const struct api_member *table, size_t count, void *out);
/* printf into a fault; returns false, so that a reader can return it. */
bool api_fault(struct api_fault *fault, enum problem problem, const char *member,
               const char *format, ...) __attribute__((format(printf, 4, 5)));
void api_answer_fault(struct http_request *request, const struct api_fault *fault);
/* An object of at most LABELS_MAX members (the table has seen to that), lent by the JSON. */
bool api_take_labels(const json_t *labels, struct label *out, size_t *count,
                     struct api_fault *fault);

/* Refuses query names that are not in the NULL-terminated `allowed` (422). */
bool api_check_query(struct http_request *request, const char *const allowed[]);
/* A whole number from the query; `out` keeps its value when it is absent. */
bool api_query_int(struct http_request *request, const char *name, int64_t min, int64_t max,
                   int64_t *out);
bool api_query_id(struct http_request *request, const char *name, struct str *out);

/* The token of "Authorization: Bearer …". STR_NONE when there is no such header; false: answered
 * 401 because there is one that is no such token (16..256 printable characters without blanks). */
bool api_bearer(struct http_request *request, struct str *token);
enum { API_TOKEN_HASH_LEN = 32 };
/* The first 32 hex digits of its SHA-256, and a NUL. */
void api_token_hash(struct str token, char out[API_TOKEN_HASH_LEN + 1]);
/* The trace id of a W3C traceparent header, STR_NONE if there is none or it is not valid. */
struct str api_trace_id(const struct http_request *request);

/* ---- answers ------------------------------------------------------------------------------- */

/* title, status and Retry-After by `problem`; detail may be NULL; `extra` is taken over, may be
 * NULL. */
void api_problem(struct http_request *request, enum problem problem, const char *detail,
                 json_t *extra);

json_t *api_text(struct str text); /* bytes that are not UTF-8 are shown as U+FFFD */
json_t *api_time(struct wall at);
/* Sets a member, taking over `value`; does nothing where either is NULL. */
void api_set(json_t *object, const char *name, json_t *value);
/* Only when there is something to say: text not empty, time not 0, span not SPAN_NONE. */
void api_set_text(json_t *object, const char *name, struct str text);
void api_set_time(json_t *object, const char *name, struct wall at);
void api_set_span(json_t *object, const char *name, struct span span);

json_t *api_flags(uint32_t flags);                 /* array of words */
json_t *api_story(const struct stop_story *story); /* the `stop` object */
json_t *api_path(struct str path);                 /* dotted -> array of ids */
json_t *api_cancel_object(const struct cancel_record *record);

/* ---- cancels: POST …/cancel of both daemons ------------------------------------------------ */

/* Members and traceparent into `out`; strings are lent by `body`, which must live until the ask was
 * handed over. `run` is the id in the path. Defaults: interrupt, wait none, 10 s, if_unknown
 * remember, include_self; out->durability is kept where the body does not say it. `by` is read only
 * where `may_name_by`; else it is an unknown member. ask, by, cause, hops and follow_links are left
 * to the caller. */
bool api_cancel_ask(struct http_request *request, const json_t *body, struct str run,
                    bool may_name_by, struct cancel_ask *out);

struct api_cancel_about {
    bool pending;   /* Redis does not know it yet */
    bool at_agentd; /* tell `told_here` */
    size_t told_here;
};
json_t *api_counts(const struct tally *tally); /* the `counts` object */
json_t *api_cancel_answer(const struct cancel_result *result, const struct api_cancel_about *about);
/* The whole answer: a problem, or 202 requested, or 200 when what was waited for is true. */
void api_answer_cancel(struct http_request *request, const struct cancel_result *result,
                       const struct api_cancel_about *about);
/* ---- orders: /v1/orders of the broker ------------------------------------------------------ */

struct api_order_ask {  /* strings are lent by the body */
    struct order order; /* by: "user" unless it was given; at: the caller's */
    bool dry_run;
    int64_t expect_at_most; /* -1 */
};
bool api_order_ask(struct http_request *request, const json_t *body, struct api_order_ask *out);

struct api_order_about {
    struct str id;
    bool already, dry_run;
    const struct order_progress *progress; /* NULL: nobody has begun it */
    struct span hold_left;
    struct wall lifted;
};
json_t *api_order(const struct order *order, const struct api_order_about *about);

/* One entry of bw:audit. via: broker agentd channel deadline parent_ended lost link order. asked
 * may be NULL. */
json_t *api_audit_entry(struct wall at, const struct cancel_result *result,
                        const struct cancel_ask *asked, const char *via, struct str from);

#endif
