/* What does a start cost Redis, against a bare SET? Both pipelined (64 deep) from one connection,
 * in turn, at depth 1 and 10; the server's own time is what limits them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sample.h"
#include "scripts.h"
#include "stage.h"

enum { ROUNDS = 5, CALLS = 20000, PIPELINE = 64 };

static char sha[41];

static void load_start(redisContext *redis)
{
    for (size_t i = 0; i < script_text_count; i++) {
        if (strcmp(script_texts[i].name, "start") != 0)
            continue;
        redisReply *reply =
            redisCommand(redis, "SCRIPT LOAD %b", script_texts[i].text, script_texts[i].len);
        if (reply == NULL || reply->type != REDIS_REPLY_STRING)
            give_up("the start script does not load: %s", reply == NULL ? "" : reply->str);
        snprintf(sha, sizeof sha, "%s", reply->str);
        freeReplyObject(reply);
        return;
    }
    give_up("there is no start script");
}

static void append_set(redisContext *redis, int i, int depth)
{
    (void)depth;
    redisAppendCommand(redis, "SET bench:%d 0123456789012345678901234567890123456789", i);
}

/* A tree of `depth` levels, one after the other. */
static void append_start(redisContext *redis, int i, int depth)
{
    char key[64], path[512] = "", run[64];
    int tree = i / depth, level = i % depth;
    snprintf(key, sizeof key, "bw:{0bench%015d}", tree);
    for (int up = 0; up < level; up++) {
        size_t used = strlen(path);
        snprintf(path + used, sizeof path - used, "%s0bench%015d-%06d", up == 0 ? "" : ".", tree,
                 up);
    }
    snprintf(run, sizeof run, "0bench%015d-%06d", tree, level);
    redisAppendCommand(redis,
                       "EVALSHA %s 1 %s 86400000 PUBLISH %s %s inc45678901 rep45678901 0 "
                       "0123456789012345678901234567890123456789 %s %s %s %s 10000 1000",
                       sha, key, run, path, "", "", "", "");
}

static double calls_a_second(redisContext *redis, void (*append)(redisContext *, int, int),
                             int depth)
{
    freeReplyObject(redisCommand(redis, "FLUSHALL"));
    uint64_t start = now_ns();
    for (int sent = 0; sent < CALLS;) {
        int batch = 0;
        for (; batch < PIPELINE && sent < CALLS; batch++)
            append(redis, sent++, depth);
        for (; batch > 0; batch--) {
            redisReply *reply;
            if (redisGetReply(redis, (void **)&reply) != REDIS_OK)
                give_up("redis hung up: %s", redis->errstr);
            if (reply->type == REDIS_REPLY_ERROR)
                give_up("redis refused: %s", reply->str);
            freeReplyObject(reply);
        }
    }
    return CALLS / ((double)(now_ns() - start) / 1e9);
}

static void measure(redisContext *redis, int depth, const char *question)
{
    struct samples ratio = {0}, rate = {0};
    for (int round = 0; round < ROUNDS; round++) {
        double bare = calls_a_second(redis, append_set, depth);
        double ours = calls_a_second(redis, append_start, depth);
        samples_add(&ratio, bare / ours);
        samples_add(&rate, 1e6 / ours);
    }
    row_print(&(struct row){question, "us", samples_percentile(&rate, 50),
                            samples_percentile(&ratio, 50), 7, false, "pipelined 64 deep"});
    samples_fini(&ratio);
    samples_fini(&rate);
}

int main(void)
{
    struct stage stage;
    pin(true);
    stage_open(&stage, 0, false, NULL);
    redisContext *redis = stage_redis(&stage);
    load_start(redis);
    measure(redis, 1, "start script in Redis against a bare SET, roots");
    measure(redis, 10, "start script in Redis against a bare SET, depth up to 10");
    redisFree(redis);
    stage_close(&stage);
    return 0;
}
