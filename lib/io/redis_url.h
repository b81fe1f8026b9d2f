/* Where Redis is, as one line of text.
 *
 *     redis://[user[:password]@]host[:port][/db]   unix://PATH[?db=N]   /path/to/socket
 *
 * user and password may be %-escaped; an IPv6 address stands in brackets. */
#ifndef IO_REDIS_URL_H
#define IO_REDIS_URL_H

#include "base/err.h"
#include "base/str.h"

/* A value that owns its strings. Exactly one of host, path is set. */
struct redis_url {
    char *host, *path;
    char *user, *password; /* NULL: not given */
    int port, db;
};

/* ERR_INVALID: `*why` (static text) says what is wrong, without repeating the url: it may hold a
 * password. ERR_NOMEM. */
enum err redis_url_parse(const char *text, struct redis_url *out, const char **why) MUST_CHECK;
void redis_url_fini(struct redis_url *url);

#endif
