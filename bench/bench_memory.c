/* What does an agentd weigh, what does a run weigh in it and in Redis, and does it sleep when idle?
 */
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "stage.h"

enum { RUNS = 9000, TREES = 900, PER_TREE = 10, IDLE_SECONDS = 10 };

/* A field of /proc/<pid>/<file>, "Name:   123 kB" or "name:   123". */
static double proc_field(pid_t pid, const char *file, const char *field)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    FILE *in = fopen(path, "r");
    if (in == NULL)
        give_up("cannot read %s", path);
    double value = -1;
    while (fgets(line, sizeof line, in) != NULL)
        if (strncmp(line, field, strlen(field)) == 0)
            value = atof(line + strlen(field));
    fclose(in);
    if (value < 0)
        give_up("%s has no %s", path, field);
    return value;
}

static double private_kib(pid_t pid)
{
    return proc_field(pid, "smaps_rollup", "Private_Dirty:")
           + proc_field(pid, "smaps_rollup", "Private_Clean:");
}

static double redis_bytes(redisContext *redis)
{
    redisReply *info = redisCommand(redis, "INFO memory");
    const char *at = info == NULL ? NULL : strstr(info->str, "used_memory_dataset:");
    if (at == NULL)
        give_up("redis does not say its memory");
    double bytes = atof(at + strlen("used_memory_dataset:"));
    freeReplyObject(info);
    return bytes;
}

/* What of a program and its libraries counts as private hangs on who else runs them: beside another
 * agentd, as on a node with many sidecars, nearly nothing; where nobody runs them, all of it. */
static void private_memory(const struct stage *stage, double alone)
{
    pid_t pid = stage->agentd_pid[0];
    char note[96];
    snprintf(note, sizeof note, "%.0f KiB of it written; %.0f KiB without the other",
             proc_field(pid, "smaps_rollup", "Private_Dirty:"), alone);
    row_print(&(struct row){"agentd, idle: private memory, beside another agentd", "KiB",
                            private_kib(pid), NAN, 4096, false, note});
}

static double alone(void)
{
    struct stage stage;
    stage_open(&stage, 1, false, NULL);
    double kib = private_kib(stage.agentd_pid[0]);
    stage_close(&stage);
    return kib;
}

static void idle(const struct stage *stage)
{
    pid_t pid = stage->agentd_pid[0];
    row_print(&(struct row){"agentd, idle: resident memory", "KiB",
                            proc_field(pid, "status", "VmRSS:"), NAN, 14336, false, NULL});
    double before = proc_field(pid, "status", "voluntary_ctxt_switches:");
    poll(NULL, 0, IDLE_SECONDS * 1000);
    double woken = proc_field(pid, "status", "voluntary_ctxt_switches:") - before;
    row_print(&(struct row){"agentd, idle: wake-ups a second", "1/s", woken / (double)IDLE_SECONDS,
                            NAN, 2, false,
                            "voluntary context switches over 10 s, linked to Redis"});
}

/* Trees of ten: a root and nine children. client_ids: the client chooses the ids. */
static void grow(struct client *client, bool client_ids, int first_tree)
{
    for (int tree = first_tree; tree < first_tree + TREES; tree++) {
        char root[80] = "", body[256];
        for (int i = 0; i < PER_TREE; i++) {
            int len = snprintf(body, sizeof body, "{\"agent\":\"researcher\"");
            if (client_ids)
                len += snprintf(body + len, sizeof body - (size_t)len,
                                ",\"run_id\":\"client-chosen-%08d-%08d\"", tree, i);
            if (i > 0)
                len += snprintf(body + len, sizeof body - (size_t)len, ",\"parent\":\"%s\"", root);
            snprintf(body + len, sizeof body - (size_t)len, "}");
            json_t *run = client_json(client, "POST", "/v1/runs", body, 201);
            if (i == 0)
                snprintf(root, sizeof root, "%s",
                         json_string_value(json_object_get(run, "run_id")));
            json_decref(run);
        }
    }
}

static void in_redis(bool client_ids, const char *question, double target)
{
    struct stage stage;
    stage_open(&stage, 1, false, NULL);
    struct client *client = client_open(stage.agentd[0], "bench-client-token");
    redisContext *redis = stage_redis(&stage);
    double before = redis_bytes(redis), weight = private_kib(stage.agentd_pid[0]);
    grow(client, client_ids, 0);
    row_print(&(struct row){question, "bytes", (redis_bytes(redis) - before) / (double)RUNS, NAN,
                            target, false, "10 runs a tree, 900 trees"});
    if (!client_ids)
        row_print(&(struct row){"agentd: private memory a run", "bytes",
                                (private_kib(stage.agentd_pid[0]) - weight) * 1024 / (double)RUNS,
                                NAN, 1024, false, "9,000 live runs"});
    redisFree(redis);
    client_close(client);
    stage_close(&stage);
}

int main(void)
{
    struct stage stage;
    double without_the_other = alone();
    stage_open(&stage, 2, false, NULL);
    private_memory(&stage, without_the_other);
    idle(&stage);
    stage_close(&stage);
    in_redis(false, "Redis memory an active run, minted ids", 480);
    in_redis(true, "Redis memory an active run, client's ids", 700);
    return 0;
}
