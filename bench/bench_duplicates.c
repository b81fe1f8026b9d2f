/* How cheap is the same cancel, asked again and again? 200 connections through one broker: the rate
 * it sustains, its p99 at half the wanted rate, Redis commands per duplicate, and interruptions
 * caused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "stage.h"

enum { CONNECTIONS = 200, DUPLICATES = 60000, ROUNDS = 5 };

static char cancel_path[160];

static size_t next_request(void *owner, unsigned c, uint64_t i, char *out, size_t room)
{
    (void)owner, (void)c, (void)i;
    return request_text(out, room, "POST", cancel_path, "", "{\"reason\":\"again\"}");
}

static long long counter(redisContext *redis, const char *name)
{
    redisReply *info = redisCommand(redis, "INFO commandstats");
    char line[64];
    snprintf(line, sizeof line, "cmdstat_%s:calls=", name);
    const char *at = info == NULL ? NULL : strstr(info->str, line);
    long long calls = at == NULL ? 0 : atoll(at + strlen(line));
    freeReplyObject(info);
    return calls;
}

/* Commands that clients sent: what scripts call is counted too, so only whole kinds are compared.
 */
static long long client_commands(redisContext *redis)
{
    return counter(redis, "evalsha") + counter(redis, "get") + counter(redis, "hscan");
}

static void start_root(struct client *client, char *run, size_t room)
{
    json_t *answer = client_json(client, "POST", "/v1/runs", "{\"entry\":true}", 201);
    snprintf(run, room, "%s", json_string_value(json_object_get(answer, "run_id")));
    json_decref(answer);
}

int main(void)
{
    struct stage stage;
    struct samples rate = {0}, took = {0};
    uint64_t refused = 0, all_refused = 0;
    char run[80];
    stage_open(&stage, 1, true, NULL);
    struct client *client = client_open(stage.agentd[0], "bench-client-token");
    struct client *events = client_open(stage.agentd[0], "bench-client-token");
    client_stream_open(events, "/v1/events");
    start_root(client, run, sizeof run);
    snprintf(cancel_path, sizeof cancel_path, "/v1/runs/%s/cancel", run);
    redisContext *redis = stage_redis(&stage);
    long long before = client_commands(redis);
    for (int round = 0; round < ROUNDS; round++) {
        samples_add(&rate, load_run(stage.broker, CONNECTIONS, DUPLICATES, 0, next_request, NULL,
                                    NULL, NULL, &refused));
        all_refused += refused;
    }
    double commands =
        (double)(client_commands(redis) - before) / ((double)ROUNDS * (double)DUPLICATES);
    row_print(&(struct row){"duplicate cancels a second through one broker", "requests/s",
                            samples_percentile(&rate, 50), NAN, 20000, true,
                            "200 connections, median of 5 rounds; the load shares 2 CPUs"});
    load_run(stage.broker, CONNECTIONS, DUPLICATES, 10000, next_request, NULL, NULL, &took,
             &refused);
    all_refused += refused;
    row_print(&(struct row){"duplicate cancels at 10,000 a second, p99", "us",
                            samples_percentile(&took, 99), NAN, 5000, false, NULL});
    row_print(&(struct row){"Redis commands per duplicate cancel", "commands", commands, NAN, 1.01,
                            false, "EVALSHA, GET and HSCAN calls, background work included"});
    int told = 0;
    while (client_stream_wait(events, "event: cancel", told == 0 ? 2000 : 200))
        told++;
    row_print(
        &(struct row){"interruptions caused by all of them", "events", told, NAN, 1, false, NULL});
    row_print(&(struct row){"duplicates that were refused", "answers", (double)all_refused, NAN, 0,
                            false, NULL});
    redisFree(redis);
    client_close(client);
    client_close(events);
    stage_close(&stage);
    return 0;
}
