/* An HTTP client that never blocks: many calls at once, on the daemon's own loop (libcurl).
 *
 * Only http and https, no redirects, no proxy from the environment, and only to hosts of a list,
 * whose addresses are looked at once more after the name has been resolved, and again when one of
 * them is connected to. A call has one deadline for all of it, waiting for its turn included, and
 * an answer of bounded length: 64 KiB of headers, whatever may be before or behind the body, and
 * the body, which is never unpacked. */
#ifndef IO_HTTP_CALLER_H
#define IO_HTTP_CALLER_H

#include <uv.h>

#include "base/err.h"
#include "base/mono.h"
#include "base/str.h"
#include "io/host_list.h"

struct http_caller_options {
    const struct host_list *hosts; /* borrowed until the loop has nothing left to do */
    size_t at_once;                /* in flight; a quarter of it for one host. 0: 64 */
    size_t waiting_max;            /* for their turn. 0: 10,000 */
    size_t answer_max;             /* bytes of a body. 0: 256 KiB */
};

struct http_caller;
enum err http_caller_open(uv_loop_t *loop, const struct http_caller_options *options,
                          struct http_caller **out) MUST_CHECK;
/* Calls that are open are never answered; the memory is gone when the loop is done. */
void http_caller_close(struct http_caller *caller);

struct http_errand {
    const char *method; /* "POST" */
    const char *url;    /* a fragment is not sent */
    struct str headers; /* lines "Name: value\n" */
    struct str body;
    struct span within;
};
struct http_outcome {
    /* OK: there is a status. OFFLINE: nobody was reached, also not in time; TIMEOUT: it was sent,
     * and not answered in time; TOO_LARGE; REFUSED: the host is not on the list; INVALID: no such
     * url; FULL: too many calls wait; else what went wrong here.
     */
    enum err err;
    long status;
    struct str body;
    const char *why; /* for a person, with an error */
};
struct http_called {
    void (*sent)(
        void *owner); /* the request is written to the socket; perhaps never, before done */
    void (*done)(void *owner, const struct http_outcome *outcome); /* once */
};
/* Copies the errand. Both come from the loop, never from within. ERR_NOMEM: then nothing comes. */
enum err http_caller_call(struct http_caller *caller, const struct http_errand *errand,
                          const struct http_called *called, void *owner) MUST_CHECK;

/* Is it an http or https URL, without a user in it, to a host of the list? NULL, or what is wrong
 * with it, for a person. Of a name only the name is looked at. */
const char *http_url_fault(const struct host_list *hosts, struct str url);

#endif
