/* The stable `code` of every refusal, its HTTP status and title. docs/PROTOCOL.md section 5
 * explains each. */
#ifndef CORE_PROBLEM_H
#define CORE_PROBLEM_H

/* name, status, code, title */
#define PROBLEM_LIST(X)                                                                           \
    X(NONE, 200, "", "")                                                                          \
    X(CANCELLED, 409, "cancelled", "This scope has been cancelled")                               \
    X(CONFLICT, 409, "conflict", "Another incarnation carries this run")                          \
    X(RUN_ID_TAKEN, 409, "run_id_taken", "This run id belongs to another tree")                   \
    X(HELD, 409, "held", "New runs like this one are held")                                       \
    X(FULL, 429, "full", "A limit of the tree was reached")                                       \
    X(OVER, 409, "over", "This run has ended")                                                    \
    X(FENCED, 409, "fenced", "A later life of this run has taken over")                           \
    X(FROZEN, 409, "frozen", "No more writes for this run")                                       \
    X(NOT_CANCELLED, 409, "not_cancelled", "This run has not been cancelled")                     \
    X(NOT_CANCELABLE, 409, "not_cancelable", "This run is over and nothing below it lives")       \
    X(NOT_FOUND, 404, "not_found", "Not found")                                                   \
    X(TOO_MANY_MATCHED, 409, "too_many_matched", "More runs match than expected")                 \
    X(EPOCH_REQUIRED, 428, "epoch_required", "This call needs the run's epoch")                   \
    X(UNAUTHORIZED, 401, "unauthorized", "Say who you are")                                       \
    X(FORBIDDEN, 403, "forbidden", "Not yours to touch")                                          \
    X(TOO_LARGE, 413, "too_large", "The body is too large")                                       \
    X(OVERLOADED, 429, "overloaded", "This daemon takes no more work now")                        \
    X(UNAVAILABLE, 503, "unavailable", "Redis cannot record it now")                              \
    X(UNKNOWN_OUTCOME, 503, "unknown_outcome", "It may or may not have happened; safe to repeat") \
    X(UNSUPPORTED, 501, "unsupported", "Not supported here")                                      \
    X(METHOD, 405, "method_not_allowed", "This path has no such method")                          \
    X(INVALID, 422, "invalid", "The request is not valid")

enum problem {
#define X(name, status, code, title) PROBLEM_##name,
    PROBLEM_LIST(X)
#undef X
        PROBLEM_COUNT
};

unsigned problem_status(enum problem problem);
const char *problem_code(enum problem problem);
const char *problem_title(enum problem problem);

#endif
