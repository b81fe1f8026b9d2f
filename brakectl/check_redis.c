/* Redis as the daemons will use it: the same commands, on keys of our own that are removed again.
 */
#include "brakectl/check.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "io/redis_url.h"

enum { PINGS = 51, NAME_ROOM = 96 };

struct probe {
    redisContext *redis;
    struct findings *findings;
    const char *namespace;
    char id[CHECK_ID_ROOM]; /* a root that nobody has */
    bool is_cluster;        /* says the url */
    const char *durability;
    char *info;
};

static redisReply *ask(struct probe *probe, int argc, const char *const argv[])
{
    return redisCommandArgv(probe->redis, argc, (const char **)(size_t)argv, NULL);
}

static const char *error_of(const struct probe *probe, const redisReply *reply)
{
    if (reply == NULL)
        return probe->redis->errstr;
    return reply->type == REDIS_REPLY_ERROR ? reply->str : NULL;
}

/* The value of a line "name:value" of INFO; "" when there is none. */
static const char *info_of(const struct probe *probe, const char *name, char out[NAME_ROOM])
{
    char wanted[NAME_ROOM];
    snprintf(wanted, sizeof wanted, "\n%s:", name);
    const char *at = probe->info != NULL ? strstr(probe->info, wanted) : NULL;
    out[0] = '\0';
    if (at != NULL) {
        at += strlen(wanted);
        snprintf(out, NAME_ROOM, "%.*s", (int)strcspn(at, "\r\n"), at);
    }
    return out;
}

static void read_info(struct probe *probe)
{
    redisReply *reply = ask(probe, 1, (const char *[]){"INFO"});
    const char *error = error_of(probe, reply);
    if (error != NULL)
        found(probe->findings, FOUND_BAD, "redis: INFO", "allow +info", "%s", error);
    else if (asprintf(&probe->info, "\n%.*s", (int)reply->len, reply->str) < 0)
        probe->info = NULL;
    freeReplyObject(reply);
}

/* ---- what it is ----------------------------------------------------------------------------- */

static void check_server(struct probe *probe)
{
    char name[NAME_ROOM], version[NAME_ROOM], role[NAME_ROOM];
    bool is_valkey = strcmp(info_of(probe, "server_name", name), "valkey") == 0;
    info_of(probe, is_valkey ? "valkey_version" : "redis_version", version);
    bool is_new_enough = atoi(version) >= 7;
    found(probe->findings, is_new_enough ? FOUND_GOOD : FOUND_BAD, "redis: version",
          "Redis 7.0 or Valkey 7.2, or newer", "%s %s", is_valkey ? "Valkey" : "Redis", version);
    info_of(probe, "role", role);
    found(probe->findings, strcmp(role, "master") == 0 ? FOUND_GOOD : FOUND_BAD, "redis: role",
          "a replica cannot record anything: name the primary", "%s",
          strcmp(role, "slave") == 0 ? "replica" : "primary");
}

static void check_memory(struct probe *probe)
{
    char policy[NAME_ROOM];
    info_of(probe, "maxmemory_policy", policy);
    enum finding finding = strcmp(policy, "noeviction") == 0    ? FOUND_GOOD
                           : strncmp(policy, "allkeys", 7) == 0 ? FOUND_BAD
                                                                : FOUND_DOUBTFUL;
    found(probe->findings, finding, "redis: eviction",
          "CONFIG SET maxmemory-policy noeviction, or a Redis of Brakewire's own: a cancel that is "
          "evicted is forgotten",
          "%s", policy[0] != '\0' ? policy : "unknown");
}

static void check_persistence(struct probe *probe)
{
    char aof[NAME_ROOM], replicas[NAME_ROOM];
    bool has_aof = strcmp(info_of(probe, "aof_enabled", aof), "1") == 0;
    bool has_replica = atoi(info_of(probe, "connected_slaves", replicas)) > 0;
    found(probe->findings, has_aof || has_replica ? FOUND_GOOD : FOUND_DOUBTFUL,
          "redis: durability",
          "appendonly yes, or a replica: after a restart only what the daemons still hold is known",
          "%s",
          has_aof && has_replica ? "append-only file and a replica"
          : has_aof              ? "append-only file"
          : has_replica          ? "a replica"
                                 : "in memory alone");
}

/* What the daemons ask of it, of this server alone and without waiting for anything. */
static void check_replicated(struct probe *probe)
{
    char replicas[NAME_ROOM];
    redisReply *reply = ask(probe, 3, (const char *[]){"WAIT", "0", "1"});
    const char *error = error_of(probe, reply);
    bool has_replica = atoi(info_of(probe, "connected_slaves", replicas)) > 0;
    if (error != NULL)
        found(probe->findings, FOUND_BAD, "redis: replicated", "ACL SETUSER <user> +wait", "%s",
              error);
    else
        found(probe->findings, has_replica ? FOUND_GOOD : FOUND_BAD, "redis: replicated",
              "a replica of this server, or durability = memory: no cancel becomes replicated",
              "%s", has_replica ? "a replica is there to wait for" : "no replica is connected");
    freeReplyObject(reply);
}

static const char *advice_for_waitaof(const char *error)
{
    return strncmp(error, "NOPERM", 6) == 0 ? "ACL SETUSER <user> +waitaof"
           : strstr(error, "unknown command") != NULL
               ? "Redis 7.2, Valkey 7.2 or newer, or durability = replicated"
               : "appendonly yes: no cancel becomes fsynced without it";
}

static void check_fsynced(struct probe *probe)
{
    redisReply *reply = ask(probe, 4, (const char *[]){"WAITAOF", "1", "0", "1000"});
    const char *error = error_of(probe, reply);
    if (error != NULL) {
        found(probe->findings, FOUND_BAD, "redis: fsynced", advice_for_waitaof(error), "%s", error);
        freeReplyObject(reply);
        return;
    }
    freeReplyObject(reply);
    reply = ask(probe, 3, (const char *[]){"CONFIG", "GET", "appendfsync"});
    bool is_shown = error_of(probe, reply) == NULL && reply->elements == 2;
    const char *how = is_shown ? reply->element[1]->str : "not shown to us";
    found(probe->findings, strcmp(how, "always") == 0 ? FOUND_GOOD : FOUND_DOUBTFUL,
          "redis: fsynced",
          is_shown
              ? "appendfsync always: with another one each answer waits for the next time"
              : "allow +config|get to have this looked at; appendfsync always is what it needs",
          "appendfsync: %s", how);
    freeReplyObject(reply);
}

static void check_wanted_durability(struct probe *probe)
{
    const char *wanted = probe->durability != NULL ? probe->durability : "memory";
    if (strcmp(wanted, "replicated") == 0)
        check_replicated(probe);
    else if (strcmp(wanted, "fsynced") == 0)
        check_fsynced(probe);
}

/* Pub/sub connections that read too slowly are cut; ours read the truth again after that. */
static void check_output_buffer(struct probe *probe)
{
    redisReply *reply =
        ask(probe, 3, (const char *[]){"CONFIG", "GET", "client-output-buffer-limit"});
    const char *text = error_of(probe, reply);
    const char *pubsub =
        text == NULL && reply->elements == 2 ? strstr(reply->element[1]->str, "pubsub ") : NULL;
    long long hard = pubsub != NULL ? atoll(pubsub + strlen("pubsub ")) : -1;
    if (text != NULL || pubsub == NULL)
        found(probe->findings, FOUND_DOUBTFUL, "redis: output buffer",
              "allow +config|get to have this looked at; the default is good", "not shown to us");
    else
        found(probe->findings, hard == 0 || hard >= 1024 * 1024 ? FOUND_GOOD : FOUND_DOUBTFUL,
              "redis: output buffer", "client-output-buffer-limit pubsub 32mb 8mb 60", "%s",
              pubsub);
    freeReplyObject(reply);
}

/* The other way round is found before: a cluster is asked for its slots first. */
static bool check_kind(struct probe *probe)
{
    char cluster[NAME_ROOM];
    bool is_cluster = strcmp(info_of(probe, "cluster_enabled", cluster), "1") == 0;
    if (is_cluster && !probe->is_cluster)
        found(probe->findings, FOUND_BAD, "redis: kind",
              "begin the url with redis+cluster:// (rediss+cluster:// with TLS)",
              "this server is in cluster mode");
    return is_cluster == probe->is_cluster;
}

/* What not every version has: nothing needs it, but answers and waits are better with it. */
static void check_features(struct probe *probe)
{
    char cluster[NAME_ROOM];
    redisReply *reply = ask(probe, 3, (const char *[]){"COMMAND", "INFO", "WAITAOF"});
    bool has_waitaof =
        reply != NULL && reply->elements == 1 && reply->element[0]->type != REDIS_REPLY_NIL;
    bool is_cluster = strcmp(info_of(probe, "cluster_enabled", cluster), "1") == 0;
    found(probe->findings, FOUND_GOOD, "redis: features", "", "RESP3, %s, %s",
          has_waitaof ? "WAITAOF" : "no WAITAOF", is_cluster ? "cluster" : "no cluster");
    freeReplyObject(reply);
}

/* ---- what we may do ------------------------------------------------------------------------- */

/* One command; false and a finding when it was refused. */
static bool may(struct probe *probe, const char *subject, int argc, const char *const argv[])
{
    redisReply *reply = ask(probe, argc, argv);
    const char *error = error_of(probe, reply);
    if (error != NULL)
        found(probe->findings, FOUND_BAD, subject,
              "ACL SETUSER <user> ~bw:* &bw:* +@read +@write +@scripting +@pubsub +@connection "
              "+cluster|slots +cluster|info +info +time +role (bw: the namespace)",
              "%s: %s", argv[0], error);
    freeReplyObject(reply);
    return error == NULL;
}

/* What the scripts do, in one: that is also how permissions inside of scripts are checked. */
static bool may_run_scripts(struct probe *probe, const char *tree)
{
    static const char script[] =
        "#!lua flags=allow-oom\n"
        "redis.call('HSET', KEYS[1], 'n', 0) redis.call('PEXPIRE', KEYS[1], 60000)\n"
        "redis.call('TIME') redis.call('DEL', KEYS[1]) redis.call(ARGV[2], ARGV[1], '')\n"
        "return 'ok'";
    return may(probe, "redis: scripts", 6,
               (const char *[]){"EVAL", script, "1", tree, tree,
                                probe->is_cluster ? "SPUBLISH" : "PUBLISH"});
}

static void check_keys(struct probe *probe)
{
    static const char *const subject = "redis: keys";
    char tree[NAME_ROOM], find[NAME_ROOM], shard[NAME_ROOM], held[NAME_ROOM];
    snprintf(tree, sizeof tree, "%s:{%s}", probe->namespace, probe->id);
    snprintf(find, sizeof find, "%s:find:{%s}", probe->namespace, probe->id);
    snprintf(shard, sizeof shard, "%s:roots:{%s}", probe->namespace, probe->id);
    snprintf(held, sizeof held, "%s:held:{%s}", probe->namespace, probe->id);
    bool allowed = may_run_scripts(probe, tree)
                   && may(probe, subject, 6, (const char *[]){"SET", find, "", "NX", "PX", "60000"})
                   && may(probe, subject, 4, (const char *[]){"ZADD", shard, "1", "x"})
                   && may(probe, subject, 3, (const char *[]){"SADD", held, "x"})
                   && may(probe, subject, 2, (const char *[]){"HGETALL", tree});
    freeReplyObject(ask(probe, 4, (const char *[]){"DEL", find, shard, held}));
    if (allowed)
        found(probe->findings, FOUND_GOOD, "redis: rights", "", "scripts and keys of %s:*",
              probe->namespace);
}

/* Last of all: the connection is a subscriber's from here on. In RESP2 the answer to SUBSCRIBE is a
 * reply like any other. */
static void check_channels(struct probe *probe)
{
    freeReplyObject(ask(probe, 2, (const char *[]){"HELLO", "2"}));
    char channels[3][NAME_ROOM];
    snprintf(channels[0], NAME_ROOM, "%s:{%s}", probe->namespace, probe->id);
    snprintf(channels[1], NAME_ROOM, "%s:{%s}:watch", probe->namespace, probe->id);
    snprintf(channels[2], NAME_ROOM, "%s:fleet", probe->namespace);
    for (size_t i = 0; i < 3; i++) {
        const char *channel = channels[i];
        const char *verb = probe->is_cluster && i < 2 ? "SSUBSCRIBE" : "SUBSCRIBE";
        redisReply *reply = ask(probe, 2, (const char *[]){verb, channel});
        const char *error = error_of(probe, reply);
        if (error != NULL) {
            found(probe->findings, FOUND_BAD, "redis: channels",
                  "ACL SETUSER <user> &bw:* (bw: the namespace)", "%s: %s", channel, error);
            freeReplyObject(reply);
            return;
        }
        freeReplyObject(reply);
    }
    found(probe->findings, FOUND_GOOD, "redis: channels", "", "may subscribe to %s:*",
          probe->namespace);
}

static void check_speed(struct probe *probe)
{
    int64_t took[PINGS];
    for (size_t i = 0; i < PINGS; i++) {
        int64_t before = nanoseconds_now();
        redisReply *reply = ask(probe, 1, (const char *[]){"PING"});
        took[i] = nanoseconds_now() - before;
        bool lost = reply == NULL;
        freeReplyObject(reply);
        if (lost)
            return;
    }
    double ms = middle_ms(took, PINGS);
    found(probe->findings, ms < 10 ? FOUND_GOOD : FOUND_DOUBTFUL, "redis: round trip",
          "a cancel takes about two of these: bring Redis closer", "%.2f ms, the slowest %.2f ms",
          ms, (double)took[PINGS - 1] / 1e6);
}

/* ---- all of it ------------------------------------------------------------------------------ */

static void make_id(char out[CHECK_ID_ROOM])
{
    unsigned char bytes[8] = {0};
    (void)!getrandom(bytes, sizeof bytes, 0);
    int len = snprintf(out, CHECK_ID_ROOM, "check-");
    for (size_t i = 0; i < sizeof bytes; i++)
        len += snprintf(out + len, CHECK_ID_ROOM - (size_t)len, "%02x", bytes[i]);
}

static void look(struct probe *probe)
{
    found(probe->findings, FOUND_GOOD, "redis: reachable", "", "yes");
    read_info(probe);
    if (probe->info != NULL) {
        check_server(probe);
        check_features(probe);
        check_memory(probe);
        check_persistence(probe);
        check_wanted_durability(probe);
    }
    if (probe->info != NULL && !check_kind(probe))
        return;
    check_output_buffer(probe);
    check_speed(probe);
    check_keys(probe);
    check_channels(probe);
}

void check_redis(const struct check_redis *redis, struct findings *findings)
{
    struct probe probe = {.findings = findings, .namespace = redis->namespace};
    struct redis_url url;
    probe.durability = redis->durability;
    const char *why = NULL;
    if (redis_url_parse(redis->url, &url, &why) != ERR_OK) {
        found(
            findings, FOUND_BAD, "redis: url",
            "redis://[user@]host[:port][/db], sentinel://host,host/NAME, redis+cluster://host,host "
            "or unix://PATH; with TLS rediss://, sentinels:// or rediss+cluster://",
            "%s", why != NULL ? why : "not understood");
        return;
    }
    make_id(probe.id);
    probe.is_cluster = url.kind == REDIS_CLUSTER;
    if (probe.is_cluster)
        probe.redis = check_cluster(redis, &url, findings, probe.id);
    else
        probe.redis = check_reach(redis, &url, findings);
    if (probe.redis != NULL)
        look(&probe);
    if (probe.redis != NULL)
        redisFree(probe.redis);
    free(probe.info);
    redis_url_fini(&url);
}
