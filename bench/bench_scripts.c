/* What does a start cost Redis, against a bare SET? Both pipelined (64 deep) by one client on the
 * CPU of the server, in turn, at depth 1 and 1 to 10: calls a second as that client sees them, and
 * beside it, without a target, what the server alone spends on a call. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sample.h"
#include "scripts.h"
#include "stage.h"

enum { ROUNDS = 5, CALLS = 20000, PIPELINE = 64 };

struct bench {
    struct stage stage;
    redisContext *redis;
};

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

static void append_set(redisContext *redis, int i)
{
    redisAppendCommand(redis, "SET bench:%d 0123456789012345678901234567890123456789", i);
}

/* What the starts name, made before the clock runs: trees of `depth` levels, one after the other.
 */
struct names {
    char key[32], run[40], path[320];
};
static struct names names[CALLS];

static void name_all(int depth)
{
    for (int i = 0; i < CALLS; i++) {
        struct names *n = &names[i], *above = n - 1;
        int tree = i / depth, level = i % depth;
        snprintf(n->key, sizeof n->key, "bw:{0bench%015d}", tree);
        snprintf(n->run, sizeof n->run, level == 0 ? "0bench%015d" : "0bench%015d-%06d", tree,
                 level);
        snprintf(n->path, sizeof n->path, "%s%s%s", level == 0 ? "" : above->path,
                 level < 2 ? "" : ".", level == 0 ? "" : above->run);
    }
}

static void append_start(redisContext *redis, int i)
{
    const struct names *n = &names[i];
    redisAppendCommand(redis,
                       "EVALSHA %s 1 %s 86400000 PUBLISH %s %s inc45678901 rep45678901 0 "
                       "0123456789012345678901234567890123456789 %s %s %s %s 10000 1000",
                       sha, n->key, n->run, n->path, "", "", "", "");
}

/* Time on a CPU so far, in us. */
static double cpu_us(pid_t pid)
{
    char path[64];
    uint64_t ns;
    snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
    FILE *in = fopen(path, "r");
    if (in == NULL || fscanf(in, "%" SCNu64, &ns) != 1)
        give_up("cannot read %s", path);
    fclose(in);
    return (double)ns / 1e3;
}

static void take_replies(redisContext *redis, int count)
{
    for (; count > 0; count--) {
        redisReply *reply;
        if (redisGetReply(redis, (void **)&reply) != REDIS_OK)
            give_up("redis hung up: %s", redis->errstr);
        if (reply->type == REDIS_REPLY_ERROR)
            give_up("redis refused: %s", reply->str);
        freeReplyObject(reply);
    }
}

struct cost { /* us a call */
    double seen, cpu;
};

static struct cost cost_of(struct bench *b, void (*append)(redisContext *, int))
{
    freeReplyObject(redisCommand(b->redis, "FLUSHALL"));
    double cpu = cpu_us(b->stage.redis_pid);
    uint64_t start = now_ns();
    for (int sent = 0; sent < CALLS;) {
        int batch = 0;
        for (; batch < PIPELINE && sent < CALLS; batch++)
            append(b->redis, sent++);
        take_replies(b->redis, batch);
    }
    double seen = (double)(now_ns() - start) / 1e3;
    return (struct cost){seen / (double)CALLS, (cpu_us(b->stage.redis_pid) - cpu) / (double)CALLS};
}

static void say(const char *question, struct samples *ours, struct samples *bare,
                struct samples *ratio, double target)
{
    char note[64];
    snprintf(note, sizeof note, "SET: %.2f us; pipelined 64 deep", samples_percentile(bare, 50));
    row_print(&(struct row){question, "us", samples_percentile(ours, 50),
                            samples_percentile(ratio, 50), target, false, note});
    samples_fini(ours);
    samples_fini(bare);
    samples_fini(ratio);
}

static void measure(struct bench *b, int depth, const char *seen, const char *cpu)
{
    struct samples start[2] = {0}, set[2] = {0}, ratio[2] = {0};
    name_all(depth);
    for (int round = 0; round < ROUNDS; round++) {
        struct cost bare = cost_of(b, append_set), ours = cost_of(b, append_start);
        samples_add(&set[0], bare.seen);
        samples_add(&set[1], bare.cpu);
        samples_add(&start[0], ours.seen);
        samples_add(&start[1], ours.cpu);
        samples_add(&ratio[0], ours.seen / bare.seen);
        samples_add(&ratio[1], ours.cpu / bare.cpu);
    }
    say(seen, &start[0], &set[0], &ratio[0], 7);
    say(cpu, &start[1], &set[1], &ratio[1], NAN);
}

int main(void)
{
    struct bench b;
    pin(true);
    stage_open(&b.stage, 0, false, NULL);
    b.redis = stage_redis(&b.stage);
    load_start(b.redis);
    measure(&b, 1, "start script in Redis against a bare SET, roots",
            "the same, CPU time of Redis alone");
    measure(&b, 10, "start script in Redis against a bare SET, depth up to 10",
            "the same, CPU time of Redis alone");
    redisFree(b.redis);
    stage_close(&b.stage);
    return 0;
}
