/* What `brakectl check` looks at, and what it found. */
#ifndef BRAKECTL_CHECK_H
#define BRAKECTL_CHECK_H

#include "brakectl/ctl.h"
#include "io/redis_trust.h"
#include "io/redis_url.h"

enum finding { FOUND_GOOD, FOUND_DOUBTFUL, FOUND_BAD };

enum { FINDINGS_MAX = 32, FINDING_TEXT_MAX = 320 };

struct findings {
    size_t count;
    struct {
        enum finding finding;
        const char *subject;
        char found[FINDING_TEXT_MAX];
        const char *advice; /* "" when there is nothing to do */
    } item[FINDINGS_MAX];
};

/* advice: static; what to do about it when it is not good. */
void found(struct findings *findings, enum finding finding, const char *subject, const char *advice,
           const char *format, ...) __attribute__((format(printf, 5, 6)));

/* url: as everywhere (redis://, unix://, a path); user, password: NULL: as the url says. */
struct check_redis {
    const char *url, *user, *password, *sentinel_password, *namespace;
    const char *durability; /* NULL, "memory": nothing is asked beyond that */
    struct redis_tls_options tls;
};
struct redisContext; /* hiredis */
/* Connected and logged in, for the caller to free; NULL: the findings say why not. */
struct redisContext *check_reach(const struct check_redis *redis, const struct redis_url *url,
                                 struct findings *findings);
/* The same for one server of the url's cluster. */
struct redisContext *check_reach_at(const struct check_redis *redis, const struct redis_url *url,
                                    const char *host, int port, struct findings *findings);
/* A connection to a master of the cluster, with an id of a root that it holds in `id`; NULL: the
 * findings say why not. What is wrong with the other masters is found on the way. */
enum { CHECK_ID_ROOM = 24 };
struct redisContext *check_cluster(const struct check_redis *redis, const struct redis_url *url,
                                   struct findings *findings, char id[CHECK_ID_ROOM]);
void check_redis(const struct check_redis *redis, struct findings *findings);
/* known: the agentd's own word on where Redis is and which namespace it serves. */
struct check_known {
    char redis_url[256], namespace[32];
};
void check_agentd(const struct ctl *ctl, struct findings *findings, struct check_known *known);
void check_broker(const struct ctl *ctl, struct findings *findings);

/* Milliseconds with two decimals: the middle one of `count` measurements in ns; sorts them. */
double middle_ms(int64_t *ns, size_t count);
int64_t nanoseconds_now(void);

#endif
