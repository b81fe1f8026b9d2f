/* What does it cost to ask for an answer that outlives Redis? The same cancel at memory,
 * replicated and fsynced, through one broker: until the answer, until the client of the run is
 * told, and how many a second.
 *
 * One replica on this machine. The disk is asked with appendfsync always: with everysec a WAITAOF
 * is answered before the disk has it (Valkey 8.0.1). Where the server knows no WAITAOF (Redis
 * before 7.2) that row is missing. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "stage.h"

enum { ROUNDS = 5, CANCELS = 200, CONNECTIONS = 64, MANY = 6000 };
enum price { AT_MEMORY, AT_REPLICATED, AT_AOF, AT_FSYNC, PRICES };

static const struct {
    const char *name, *body, *appendonly, *appendfsync;
} prices[PRICES] = {
    {"memory", "{}", "no", "everysec"},
    {"replicated", "{\"durability\":\"replicated\"}", "no", "everysec"},
    {"memory, appendfsync always", "{}", "yes", "always"},
    {"fsynced, appendfsync always", "{\"durability\":\"fsynced\"}", "yes", "always"},
};

struct bench {
    struct stage stage;
    struct client *client, *events, *asker;
    redisContext *redis;
    struct samples answered[PRICES], told[PRICES], rate[PRICES];
    char path[CANCELS][160];
    enum price price;
};

/* A server that knows WAITAOF, if there is one: Debian 12's redis-server does not. */
static void choose_server(void)
{
    static char path[600];
    static const char *const places[] = {"/usr/bin", "/usr/local/bin"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s/valkey-server", places[i]);
        if (access(path, X_OK) == 0) {
            stage_choose_server(path);
            return;
        }
    }
    snprintf(path, sizeof path, "%s", program_path("../../.deps/valkey/usr/bin/valkey-server"));
    if (access(path, X_OK) == 0)
        stage_choose_server(path);
}

static bool knows_waitaof(redisContext *redis)
{
    redisReply *reply = redisCommand(redis, "COMMAND INFO WAITAOF");
    bool knows = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 1
                 && reply->element[0]->type == REDIS_REPLY_ARRAY;
    freeReplyObject(reply);
    return knows;
}

/* Rewriting the file is no part of what is measured. */
static void set_disk(struct bench *b)
{
    freeReplyObject(redisCommand(b->redis, "CONFIG SET appendonly %s appendfsync %s",
                                 prices[b->price].appendonly, prices[b->price].appendfsync));
    for (bool busy = true; busy;) {
        redisReply *info = redisCommand(b->redis, "INFO persistence");
        if (info == NULL)
            give_up("redis has gone");
        busy = strstr(info->str, "aof_rewrite_in_progress:1") != NULL
               || strstr(info->str, "aof_rewrite_scheduled:1") != NULL;
        freeReplyObject(info);
    }
}

static void grow(struct bench *b)
{
    for (int i = 0; i < CANCELS; i++) {
        json_t *run = client_json(b->client, "POST", "/v1/runs", "{\"entry\":true}", 201);
        snprintf(b->path[i], sizeof b->path[i], "/v1/runs/%s/cancel",
                 json_string_value(json_object_get(run, "run_id")));
        json_decref(run);
    }
}

static void one_cancel(struct bench *b, const char *path)
{
    const char *answer;
    uint64_t before = now_ns();
    client_send(b->asker, "POST", path, prices[b->price].body);
    if (!client_stream_wait(b->events, "event: cancel", 5000))
        give_up("nobody was told");
    uint64_t told = now_ns();
    int status = client_answer(b->asker, &answer);
    if (status != 202 || strstr(answer, "not_durable_because") != NULL)
        give_up("a cancel at %s answered %d: %s", prices[b->price].name, status, answer);
    samples_add(&b->told[b->price], (double)(told - before) / 1e3);
    samples_add(&b->answered[b->price], (double)(now_ns() - before) / 1e3);
}

static size_t next_request(void *owner, unsigned c, uint64_t i, char *out, size_t room)
{
    struct bench *b = owner;
    (void)c;
    return request_text(out, room, "POST", b->path[i % CANCELS], "", prices[b->price].body);
}

static void end_all(struct bench *b)
{
    for (int i = 0; i < CANCELS; i++) {
        char path[160];
        snprintf(path, sizeof path, "%.*s/end", (int)(strlen(b->path[i]) - 7), b->path[i]);
        client_call(b->client, "POST", path, "{\"epoch\":1,\"state\":\"cancelled\"}", NULL);
    }
}

static void measure(struct bench *b)
{
    uint64_t refused = 0;
    set_disk(b);
    grow(b);
    for (int i = 0; i < CANCELS; i++)
        one_cancel(b, b->path[i]);
    samples_add(&b->rate[b->price], load_run(b->stage.broker, CONNECTIONS, MANY, 0, next_request,
                                             NULL, b, NULL, &refused));
    if (refused > 0)
        give_up("%llu cancels were refused", (unsigned long long)refused);
    end_all(b);
}

static void print_one(struct samples *samples, struct samples *base, double percent,
                      const char *what, const char *name, const char *unit)
{
    char question[160];
    double value = samples_percentile(samples, percent);
    snprintf(question, sizeof question, "cancel at %s: %s", name, what);
    row_print(&(struct row){question, unit, value, value / samples_percentile(base, percent), NAN,
                            false, base == samples ? "the measure of those below" : NULL});
}

static void print_rows(struct bench *b, int count)
{
    for (int i = 0; i < count; i++) {
        const char *name = prices[i].name;
        print_one(&b->answered[i], &b->answered[AT_MEMORY], 50, "to the answer, p50", name, "us");
        print_one(&b->answered[i], &b->answered[AT_MEMORY], 99, "to the answer, p99", name, "us");
        print_one(&b->told[i], &b->told[AT_MEMORY], 50, "to the notice, p50", name, "us");
        print_one(&b->rate[i], &b->rate[AT_MEMORY], 50, "a second, 64 connections", name,
                  "requests/s");
    }
}

int main(void)
{
    static struct bench b;
    choose_server();
    stage_open(&b.stage, 1, true, NULL);
    stage_add_replica(&b.stage);
    b.client = client_open(b.stage.agentd[0], "bench-client-token");
    b.events = client_open(b.stage.agentd[0], "bench-client-token");
    client_stream_open(b.events, "/v1/events");
    b.asker = client_open(b.stage.broker, "");
    b.redis = stage_redis(&b.stage);
    int count = knows_waitaof(b.redis) ? PRICES : AT_AOF + 1;
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < count; i++) {
            b.price = (enum price)i;
            measure(&b);
        }
    print_rows(&b, count);
    stage_close(&b.stage);
    return 0;
}
