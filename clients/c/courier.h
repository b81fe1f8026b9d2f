/* HTTP to one agentd, on a libuv loop, without ever blocking it (libcurl's multi interface).
 *
 * Happy path: open -> send again and again, each answered once; one event stream beside them ->
 * close. Ways to fail: nobody is there, no answer in time, an answer that is too large; each answer
 * says which. Order among errands is not kept. */
#ifndef CLIENTS_C_COURIER_H
#define CLIENTS_C_COURIER_H

#include <uv.h>

#include "base/buf.h"
#include "base/err.h"

struct courier;

/* where: "unix:/path" or "http://host:port". token: the bearer's. Both are copied. */
enum err courier_open(uv_loop_t *loop, const char *where, const char *token,
                      struct courier **out) MUST_CHECK;
/* Nothing is answered any more. on_closed comes from the loop, when the memory is gone. */
void courier_close(struct courier *courier, void (*on_closed)(void *owner), void *owner);

struct errand {
    const char *path; /* of a POST, already escaped */
    const char *key;  /* Idempotency-Key; NULL: none */
    struct str body;  /* JSON */
    long timeout_ms;
};
struct delivery {
    enum err err; /* OK: there is a status; OFFLINE, TIMEOUT, TOO_LARGE, NOMEM */
    long status;
    struct str body; /* lent for the call */
    const char *why; /* for a person, with an error */
};
typedef void (*courier_done)(void *owner, const struct delivery *delivery);
/* Copies the errand. done comes once, from the loop, never from within. */
enum err courier_send(struct courier *courier, const struct errand *errand, courier_done done,
                      void *owner) MUST_CHECK;

/* GET path, an event stream; at most one at a time. Neither callback comes from within, nor after
 * courier_hang_up(). on_bytes false: enough of it. on_end: the stream is gone; status 0: never
 * reached. */
struct stream_events {
    bool (*on_bytes)(void *owner, struct str bytes);
    void (*on_open)(void *owner); /* answered 200 */
    void (*on_end)(void *owner, long status, const char *why);
};
enum err courier_listen(struct courier *courier, const char *path,
                        const struct stream_events *events, void *owner) MUST_CHECK;
/* Not from within on_bytes. */
void courier_hang_up(struct courier *courier);

#endif
