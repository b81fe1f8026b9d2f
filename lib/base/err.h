/* The one error type. Every function that can fail returns it. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#define ERR_LIST(X)                              \
    X(OK, "success")                             \
    X(NOMEM, "out of memory")                    \
    X(FULL, "a fixed limit was reached")         \
    X(TOO_LARGE, "larger than its limit allows") \
    X(MALFORMED, "bytes do not decode")          \
    X(INVALID, "a value is not allowed here")    \
    X(NOT_FOUND, "no such thing")                \
    X(OFFLINE, "not connected to redis")         \
    X(REFUSED, "the peer refused")               \
    X(TIMEOUT, "took longer than allowed")       \
    X(SYSTEM, "system call failed")

enum err {
#define X(name, text) ERR_##name,
    ERR_LIST(X)
#undef X
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* Static text; never NULL, also for a value outside the enum. */
const char *err_text(enum err err);

#endif
