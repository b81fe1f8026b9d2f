/* A small blocking HTTP client (libcurl) for brakectl: one request, one answer, or a stream. */
#ifndef IO_HTTP_CLIENT_H
#define IO_HTTP_CLIENT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mono.h"

struct http_client; /* keeps connections alive between calls */

/* where: "http://host:port", or "unix:/path" */
enum err http_client_new(const char *where, const char *token, struct http_client **out) MUST_CHECK;
void http_client_free(struct http_client *client);

struct http_call {
    const char *method, *path;  /* path with query, already escaped */
    struct str body;            /* JSON, STR_NONE for none */
    struct span timeout;        /* 0: 70 s, above the longest wait */
    const char *const *headers; /* NULL-terminated "Name: value", may be NULL */
};
/* status: HTTP status; body: replaced. ERR_OFFLINE: nobody answers there (why: text for a person).
 */
enum err http_client_call(struct http_client *client, const struct http_call *call, long *status,
                          struct buf *body, const char **why) MUST_CHECK;
/* Blocks, handing over each piece as it comes, until the peer ends, the timeout passes (0: never),
 * or on_bytes returns false. */
enum err http_client_stream(struct http_client *client, const struct http_call *call, long *status,
                            bool (*on_bytes)(void *owner, struct str bytes), void *owner,
                            const char **why) MUST_CHECK;

#endif
