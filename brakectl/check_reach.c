/* The way to Redis, whatever the url says: path, host, TLS, or sentinels that know where it is. */
#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brakectl/check.h"
#include "io/redis_trust.h"

enum { CHECK_MS = 3000, WHY_ROOM = 320, NAME_ROOM = 128 };

struct reach {
    const struct check_redis *redis;
    const struct redis_url *url;
    struct findings *findings;
    struct redis_trust *trust; /* NULL: no TLS */
};

static redisReply *ask(redisContext *context, int argc, const char *const argv[])
{
    return redisCommandArgv(context, argc, (const char **)(size_t)argv, NULL);
}

static const char *error_of(const redisContext *context, const redisReply *reply)
{
    if (reply == NULL)
        return context->errstr;
    return reply->type == REDIS_REPLY_ERROR ? reply->str : NULL;
}

/* ---- connecting ----------------------------------------------------------------------------- */

static bool begin_tls(const struct reach *reach, redisContext *context, const char *host,
                      char why[WHY_ROOM])
{
    static struct redis_fault fault; /* the session goes on pointing to it */
    SSL *session = NULL;
    if (reach->trust == NULL)
        return true;
    if (redis_trust_session(reach->trust, host, &fault, &session) != ERR_OK) {
        snprintf(why, WHY_ROOM, "out of memory");
        return false;
    }
    if (redisInitiateSSL(context, session) == REDIS_OK)
        return true;
    redis_fault_explain(&fault);
    snprintf(why, WHY_ROOM, "%s", fault.text);
    SSL_free(session);
    return false;
}

/* NULL: `why` says why. */
static redisContext *dial(const struct reach *reach, const char *host, int port, char why[WHY_ROOM])
{
    const struct timeval patience = {.tv_sec = CHECK_MS / 1000};
    const char *path = reach->url->path;
    redisContext *context = path != NULL ? redisConnectUnixWithTimeout(path, patience)
                                         : redisConnectWithTimeout(host, port, patience);
    if (context != NULL && context->err == 0) {
        redisSetTimeout(context, patience);
        if (begin_tls(reach, context, host, why))
            return context;
    } else {
        snprintf(why, WHY_ROOM, "%s", context != NULL ? context->errstr : "out of memory");
    }
    if (context != NULL)
        redisFree(context);
    return NULL;
}

/* ---- getting in ----------------------------------------------------------------------------- */

static bool authenticate(const struct reach *reach, redisContext *context)
{
    const struct check_redis *redis = reach->redis;
    const char *user = redis->user != NULL ? redis->user : reach->url->user;
    const char *password = redis->password != NULL ? redis->password : reach->url->password;
    const char *hello[] = {"HELLO", "3", "AUTH", user != NULL ? user : "default",
                           password != NULL ? password : ""};
    redisReply *reply = ask(context, password != NULL ? 5 : 2, hello);
    const char *error = error_of(context, reply);
    bool let_in = error == NULL;
    if (!let_in)
        found(reach->findings, FOUND_BAD, "redis: login",
              reply != NULL
                  ? "give --redis-user and --redis-password-file; RESP3 (HELLO 3) must be allowed"
                  : "is it a port with TLS, or one that wants our certificate? rediss:// and "
                    "--redis-cert-file",
              "%s", error);
    freeReplyObject(reply);
    return let_in;
}

static bool select_db(const struct reach *reach, redisContext *context)
{
    char number[16];
    snprintf(number, sizeof number, "%d", reach->url->db);
    if (reach->url->db == 0)
        return true;
    redisReply *reply = ask(context, 2, (const char *[]){"SELECT", number});
    const char *error = error_of(context, reply);
    if (error != NULL)
        found(reach->findings, FOUND_BAD, "redis: database", "name one that exists", "%s", error);
    freeReplyObject(reply);
    return error == NULL;
}

static redisContext *reach_server(const struct reach *reach, const char *host, int port)
{
    char why[WHY_ROOM] = "";
    const char *path = reach->url->path;
    redisContext *context = dial(reach, host, port, why);
    if (context == NULL) {
        found(reach->findings, FOUND_BAD, "redis: reachable",
              reach->trust != NULL
                  ? "start it, say where it is: --redis URL, or mend what TLS says: "
                    "--redis-ca-file, --redis-tls-name, --redis-cert-file"
                  : "start it, or say where it is: --redis URL",
              "%s: %s", path != NULL ? path : host, why);
        return NULL;
    }
    if (authenticate(reach, context) && select_db(reach, context))
        return context;
    redisFree(context);
    return NULL;
}

/* ---- sentinels ------------------------------------------------------------------------------ */

struct spoken { /* by the sentinels: the first answer, and what the others have to it */
    char host[NAME_ROOM];
    int port; /* 0: no answer */
    size_t agree, differ;
    char why[WHY_ROOM]; /* of one that did not answer */
};

static void listen_to(const redisContext *context, const redisReply *reply, struct spoken *spoken)
{
    const char *error = error_of(context, reply);
    if (error != NULL || reply->elements != 2) {
        snprintf(spoken->why, sizeof spoken->why, "%s",
                 error != NULL ? error : "knows no master of this name");
        return;
    }
    const char *host = reply->element[0]->str;
    int port = atoi(reply->element[1]->str);
    if (spoken->port == 0) {
        snprintf(spoken->host, sizeof spoken->host, "%s", host);
        spoken->port = port;
    }
    bool agrees = port == spoken->port && strcmp(host, spoken->host) == 0;
    spoken->agree += agrees ? 1 : 0;
    spoken->differ += agrees ? 0 : 1;
}

static void ask_sentinel(const struct reach *reach, const struct redis_host *place,
                         struct spoken *spoken)
{
    const char *password = reach->redis->sentinel_password;
    redisContext *context = dial(reach, place->name, place->port, spoken->why);
    if (context == NULL)
        return;
    if (password != NULL)
        freeReplyObject(ask(context, 2, (const char *[]){"AUTH", password}));
    redisReply *reply =
        ask(context, 3,
            (const char *[]){"SENTINEL", "GET-MASTER-ADDR-BY-NAME", reach->url->master});
    listen_to(context, reply, spoken);
    freeReplyObject(reply);
    redisFree(context);
}

static redisContext *reach_by_sentinels(const struct reach *reach)
{
    const struct redis_url *url = reach->url;
    struct spoken spoken = {0};
    for (size_t i = 0; i < url->host_count; i++)
        ask_sentinel(reach, &url->host[i], &spoken);
    if (spoken.port == 0) {
        found(reach->findings, FOUND_BAD, "redis: sentinels",
              "start them, or say where they are and how they call the master: --redis "
              "sentinel://host,host/NAME; --redis-sentinel-password-file",
              "none says where \"%s\" is: %s", url->master, spoken.why);
        return NULL;
    }
    bool all = spoken.agree == url->host_count;
    found(reach->findings, all ? FOUND_GOOD : FOUND_DOUBTFUL, "redis: sentinels",
          "a failover needs most of them, of one mind: look at those that do not answer or differ",
          "%zu of %zu say %s:%d%s%s", spoken.agree, url->host_count, spoken.host, spoken.port,
          spoken.differ > 0 ? "; others differ"
          : all             ? ""
                            : "; another: ",
          all || spoken.differ > 0 ? "" : spoken.why);
    return reach_server(reach, spoken.host, spoken.port);
}

/* ---- all of it ------------------------------------------------------------------------------ */

static bool read_trust(struct reach *reach)
{
    struct buf why = {0};
    if (!reach->url->is_tls)
        return true;
    bool fine = redis_trust_new(&reach->redis->tls, &reach->trust, &why) == ERR_OK;
    if (!fine)
        found(reach->findings, FOUND_BAD, "redis: TLS",
              "--redis-ca-file, --redis-cert-file, --redis-key-file", "%s",
              why.len > 0 ? why.bytes : "out of memory");
    buf_fini(&why);
    return fine;
}

struct redisContext *check_reach_at(const struct check_redis *redis, const struct redis_url *url,
                                    const char *host, int port, struct findings *findings)
{
    struct reach reach = {.redis = redis, .url = url, .findings = findings};
    redisContext *context = read_trust(&reach) ? reach_server(&reach, host, port) : NULL;
    redis_trust_free(reach.trust);
    return context;
}

struct redisContext *check_reach(const struct check_redis *redis, const struct redis_url *url,
                                 struct findings *findings)
{
    struct reach reach = {.redis = redis, .url = url, .findings = findings};
    redisContext *context = NULL;
    if (read_trust(&reach) && url->kind == REDIS_SENTINEL)
        context = reach_by_sentinels(&reach);
    else if (reach.trust != NULL || !url->is_tls)
        context = reach_server(&reach, url->host[0].name, url->host[0].port);
    redis_trust_free(reach.trust);
    return context;
}
