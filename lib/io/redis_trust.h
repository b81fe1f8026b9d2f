/* Whom we trust when we speak TLS to Redis, and who we say we are.
 *
 * Happy path: redis_trust_new reads the files -> redis_trust_session, once per connection -> the
 * handshake verifies the chain of the server's certificate, its dates and its name. Ways to fail:
 * all are refusals with a text that says what to do; there is no way to do without verification. */
#ifndef IO_REDIS_TRUST_H
#define IO_REDIS_TRUST_H

#include "base/buf.h"

struct ssl_st; /* OpenSSL's SSL */
struct redis_trust;

struct redis_tls_options {            /* a value; borrowed strings, each may be NULL or "" */
    const char *ca_file;              /* "": those that the system trusts */
    const char *cert_file, *key_file; /* ours, for a server that asks for one; both or none */
    const char *name; /* that the server's certificate must bear; "": the host of the connection */
};

/* ERR_INVALID, ERR_NOMEM; `why` says which file, what is wrong with it and what to do. */
enum err redis_trust_new(const struct redis_tls_options *options, struct redis_trust **out,
                         struct buf *why) MUST_CHECK;
void redis_trust_free(struct redis_trust *trust);
/* Reads the files again if they have changed: certificates are renewed while we run. What cannot be
 * read (any more, or not yet) leaves all as it was, and the log says why. */
void redis_trust_renew(struct redis_trust *trust);

struct redis_fault { /* filled during the handshake; must outlive the session */
    char host[128];  /* or its address, as a person knows it */
    bool has_certificate;
    char text[240]; /* "": nothing found yet */
};

/* A client's session that verifies the server as `host`; the caller owes SSL_free(). ERR_NOMEM. */
enum err redis_trust_session(const struct redis_trust *trust, const char *host,
                             struct redis_fault *fault, struct ssl_st **out) MUST_CHECK;
/* After a call of OpenSSL has failed on a session: fills fault->text, unless the verification has
 * done so. */
void redis_fault_explain(struct redis_fault *fault);

#endif
