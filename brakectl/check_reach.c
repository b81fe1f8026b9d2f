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

struct redisContext *check_reach(const struct check_redis *redis, const struct redis_url *url,
                                 struct findings *findings)
{
    struct reach reach = {.redis = redis, .url = url, .findings = findings};
    redisContext *context = NULL;
    if (read_trust(&reach))
        context = reach_server(&reach, url->host[0].name, url->host[0].port);
    redis_trust_free(reach.trust);
    return context;
}
