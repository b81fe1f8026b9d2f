/* What the log says of a Redis: a change at once, and what lasts once a minute.
 *
 * A server that is away is tried again many times a second, and each attempt fails for the same
 * reason, or for two that take turns: first it hung up, then it says WRONGPASS. */
#ifndef IO_REDIS_NEWS_H
#define IO_REDIS_NEWS_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/mono.h"
#include "io/redis_link.h"

struct redis_news_line { /* one that is said again and again */
    char why[2][96];     /* the reasons said last, cut; "": none */
    struct instant said;
};

struct redis_news {
    struct buf address; /* without its secrets, quoted */
    struct redis_news_line away, refuses;
};

/* The url is one that redis_url_parse() accepts; lent for the call. */
void redis_news_init(struct redis_news *news, const char *url);
void redis_news_fini(struct redis_news *news);

/* An attempt failed, or the link broke. */
void redis_news_away(struct redis_news *news, struct str why, struct instant now);
/* Linked: the next "away" is news again. `another`: it is not the server that it was. */
void redis_news_there(struct redis_news *news, const struct redis_server *server, bool another);
/* It answered that it takes no writes: MISCONF, NOREPLICAS, OOM… */
void redis_news_refuses(struct redis_news *news, struct str why, struct instant now);

#endif
