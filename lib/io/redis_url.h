/* Where Redis is, as one line of text.
 *
 *     redis://[user[:password]@]host[:port][/db]   unix://PATH[?db=n]   /path/to/socket
 *     sentinel://[user[:password]@]host[:port],host[:port],…/master[/db]
 *     redis+cluster://[user[:password]@]host[:port],host[:port],…
 *
 * rediss://, sentinels:// and rediss+cluster:// are the same over TLS. user and password may be
 * %-escaped; an IPv6 address stands in brackets. The login is that of the servers which hold the
 * data, not of the sentinels. */
#ifndef IO_REDIS_URL_H
#define IO_REDIS_URL_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum redis_kind_of_url { REDIS_ALONE, REDIS_SENTINEL, REDIS_CLUSTER };
enum { REDIS_HOSTS_MAX = 16 };

struct redis_host {
    char *name; /* or an address, without brackets */
    int port;
};

/* A value that owns its strings. Either path is set or there is at least one host, and exactly one
 * where the kind is REDIS_ALONE. */
struct redis_url {
    enum redis_kind_of_url kind;
    bool is_tls;
    size_t host_count;
    struct redis_host host[REDIS_HOSTS_MAX];
    char *path;
    char *user, *password; /* NULL: not given */
    char *master;          /* the name that the sentinels know it by */
    int db;
};

/* ERR_INVALID: `*why` (static text) says what is wrong, without repeating the url: it may hold a
 * password. ERR_NOMEM. */
enum err redis_url_parse(const char *text, struct redis_url *out, const char **why) MUST_CHECK;
void redis_url_fini(struct redis_url *url);
/* Appends the url without user and password, in a form that redis_url_parse() reads. */
void redis_url_print(const struct redis_url *url, struct buf *out);

#endif
