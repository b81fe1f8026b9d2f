/* A cluster: is every slot held by a master that we reach, and does none of them evict? One of the
 * masters is then looked at as if it were alone. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brakectl/check.h"
#include "io/redis_slots.h"

enum { MASTERS_MAX = 256, HOST_ROOM = 256 };

struct master {
    char host[HOST_ROOM];
    int port;
};

struct survey {
    const struct check_redis *redis;
    const struct redis_url *url;
    struct findings *findings;
    const char *told_by; /* the host that was asked */
    size_t covered, count;
    struct master master[MASTERS_MAX];
    unsigned short owner[SLOT_COUNT]; /* index + 1; 0: nobody */
};

static size_t index_of(struct survey *survey, const struct slot_range *range)
{
    struct master found;
    struct str host = range->host.len > 0 ? range->host : str_of(survey->told_by);
    snprintf(found.host, sizeof found.host, "%.*s", (int)host.len, host.at);
    found.port = range->port;
    for (size_t i = 0; i < survey->count; i++)
        if (survey->master[i].port == found.port && strcmp(survey->master[i].host, found.host) == 0)
            return i;
    if (survey->count == MASTERS_MAX)
        return 0;
    survey->master[survey->count] = found;
    return survey->count++;
}

static bool read_slots(struct survey *survey, const redisReply *reply)
{
    struct slot_range range;
    for (size_t i = 0; i < reply->elements; i++) {
        if (!slot_range_read(reply->element[i], &range))
            return false;
        size_t master = index_of(survey, &range);
        for (unsigned slot = range.first; slot <= range.last; slot++)
            survey->owner[slot] = (unsigned short)(master + 1);
        survey->covered += range.last - range.first + 1;
    }
    return true;
}

static bool ask_slots(struct survey *survey, redisContext *context)
{
    redisReply *reply = redisCommand(context, "CLUSTER SLOTS");
    bool is_error = reply != NULL && reply->type == REDIS_REPLY_ERROR;
    bool is_known = reply != NULL && !is_error && read_slots(survey, reply);
    if (is_error && strstr(reply->str, "cluster support disabled") != NULL)
        found(survey->findings, FOUND_BAD, "redis: kind",
              "begin the url with redis:// (rediss:// with TLS)",
              "this server is not of a cluster");
    else if (!is_known)
        found(survey->findings, FOUND_BAD, "redis: cluster", "allow +cluster|slots +cluster|info",
              "%s", is_error ? reply->str : "CLUSTER SLOTS is not answered");
    freeReplyObject(reply);
    return is_known;
}

/* The first host that answers. */
static bool learn(struct survey *survey)
{
    struct findings silent = {0};
    for (size_t i = 0; i < survey->url->host_count; i++) {
        const struct redis_host *host = &survey->url->host[i];
        bool is_last = i + 1 == survey->url->host_count;
        redisContext *context = check_reach_at(survey->redis, survey->url, host->name, host->port,
                                               is_last ? survey->findings : &silent);
        silent.count = 0;
        if (context == NULL)
            continue;
        survey->told_by = host->name;
        bool is_known = ask_slots(survey, context);
        redisFree(context);
        return is_known;
    }
    return false;
}

static void check_eviction(const struct survey *survey, redisContext *context, size_t master)
{
    redisReply *reply = redisCommand(context, "INFO memory");
    if (reply != NULL && reply->str != NULL
        && strstr(reply->str, "maxmemory_policy:allkeys") != NULL)
        found(survey->findings, FOUND_BAD, "redis: eviction",
              "CONFIG SET maxmemory-policy noeviction on every server", "allkeys-* at %.200s:%d",
              survey->master[master].host, survey->master[master].port);
    freeReplyObject(reply);
}

/* All but the first, which is looked at more closely. */
static bool reach_others(const struct survey *survey)
{
    bool all = true;
    for (size_t i = 1; i < survey->count; i++) {
        redisContext *context = check_reach_at(survey->redis, survey->url, survey->master[i].host,
                                               survey->master[i].port, survey->findings);
        all = all && context != NULL;
        if (context == NULL)
            continue;
        check_eviction(survey, context, i);
        redisFree(context);
    }
    return all;
}

static void find_id(const struct survey *survey, char id[CHECK_ID_ROOM])
{
    int tried = 0;
    do
        snprintf(id, CHECK_ID_ROOM, "check-%d-%d", (int)(nanoseconds_now() % 1000000000), tried++);
    while (survey->owner[slot_of(str_of(id))] != 1);
}

static redisContext *look_around(struct survey *survey, char id[CHECK_ID_ROOM])
{
    if (!learn(survey))
        return NULL;
    bool is_whole = survey->covered == SLOT_COUNT;
    found(survey->findings, is_whole ? FOUND_GOOD : FOUND_BAD, "redis: cluster",
          "every slot needs a master: CLUSTER INFO, redis-cli --cluster fix",
          "%zu masters hold %zu of %d slots", survey->count, survey->covered, SLOT_COUNT);
    if (!is_whole || !reach_others(survey))
        return NULL;
    find_id(survey, id);
    return check_reach_at(survey->redis, survey->url, survey->master[0].host,
                          survey->master[0].port, survey->findings);
}

struct redisContext *check_cluster(const struct check_redis *redis, const struct redis_url *url,
                                   struct findings *findings, char id[CHECK_ID_ROOM])
{
    struct survey *survey = calloc(1, sizeof *survey);
    if (survey == NULL)
        return NULL;
    survey->redis = redis;
    survey->url = url;
    survey->findings = findings;
    redisContext *context = look_around(survey, id);
    free(survey);
    return context;
}
