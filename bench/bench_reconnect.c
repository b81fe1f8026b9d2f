/* Does a cancel get lost while the subscriber's connection is down, and how late is it told?
 *
 * One agentd holds 100 trees. Its connection to Redis is killed, and in the same moment all 100 are
 * cancelled through a broker by another process; 100 times, 10,000 cancels. The clock of each runs
 * from the broker's answer (it is recorded) to the event at the client: it includes the reconnect
 * itself. */
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "stage.h"

/* A link that is lost within a second of its coming is not tried at once again, so it gets more. */
enum { TREES = 100, KILLS = 100, STEADY_MS = 1050, LATEST_MS = 5000 };

struct shared { /* with the process that cancels */
    struct {
        char text[80];
    } run[TREES];
    uint64_t recorded[TREES];
};

struct bench {
    struct stage stage;
    struct client *client, *events;
    redisContext *redis;
    struct shared *shared;
    uint64_t told[TREES];
    struct samples took;
    unsigned lost;
};

static void grow(struct bench *b)
{
    for (int i = 0; i < TREES; i++) {
        json_t *run = client_json(b->client, "POST", "/v1/runs", "{\"entry\":true}", 201);
        snprintf(b->shared->run[i].text, sizeof b->shared->run[i].text, "%s",
                 json_string_value(json_object_get(run, "run_id")));
        json_decref(run);
        b->told[i] = b->shared->recorded[i] = 0;
    }
}

static size_t next_cancel(void *owner, unsigned c, uint64_t i, char *out, size_t room)
{
    struct shared *shared = owner;
    char path[160];
    (void)c;
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", shared->run[i].text);
    return request_text(out, room, "POST", path, "", "{}");
}

static void recorded(void *owner, unsigned c, uint64_t i, int status, const char *body)
{
    struct shared *shared = owner;
    (void)c;
    if (status != 202)
        give_up("a cancel answered %d: %s", status, body);
    shared->recorded[i] = now_ns();
}

static pid_t cancel_all(struct bench *b)
{
    pid_t child = fork();
    if (child != 0)
        return child;
    load_run(b->stage.broker, 20, TREES, 0, next_cancel, recorded, b->shared, NULL, NULL);
    _exit(0);
}

static void kill_link(struct bench *b)
{
    redisReply *list = redisCommand(b->redis, "CLIENT LIST");
    unsigned killed = 0;
    char *rest = list->str;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        long long id;
        if (strstr(line, "name=brakewire-a") == NULL || sscanf(line, "id=%lld", &id) != 1)
            continue;
        freeReplyObject(redisCommand(b->redis, "CLIENT KILL ID %lld", id));
        killed++;
    }
    freeReplyObject(list);
    if (killed == 0)
        give_up("no connection of an agentd to kill");
}

/* One event: which tree was told? -1: none of them. */
static int tree_in(const struct bench *b, const char *event, size_t len)
{
    const char *at = memmem(event, len, "\"run_id\":\"", 10);
    if (at == NULL)
        return -1;
    for (int i = 0; i < TREES; i++)
        if (strncmp(at + 10, b->shared->run[i].text, strlen(b->shared->run[i].text)) == 0)
            return i;
    return -1;
}

static unsigned take_events(struct bench *b)
{
    struct client *c = b->events;
    unsigned news = 0;
    for (char *end; (end = memmem(c->bytes, c->have, "\n\n", 2)) != NULL;) {
        size_t len = (size_t)(end - c->bytes) + 2;
        int tree = tree_in(b, c->bytes, len);
        if (tree >= 0 && b->told[tree] == 0) {
            b->told[tree] = now_ns();
            news++;
        }
        memmove(c->bytes, c->bytes + len, c->have - len);
        c->have -= len;
    }
    return news;
}

static void listen_for_all(struct bench *b)
{
    uint64_t until = now_ns() + (uint64_t)LATEST_MS * 1000000u;
    for (unsigned told = 0; told < TREES && now_ns() < until;) {
        struct pollfd p = {.fd = b->events->fd, .events = POLLIN};
        if (poll(&p, 1, 100) != 1)
            continue;
        ssize_t n = read(p.fd, b->events->bytes + b->events->have,
                         sizeof b->events->bytes - b->events->have);
        if (n <= 0)
            give_up("the event stream broke");
        b->events->have += (size_t)n;
        told += take_events(b);
    }
}

static void one_kill(struct bench *b)
{
    grow(b);
    poll(NULL, 0, STEADY_MS);
    kill_link(b);
    pid_t child = cancel_all(b);
    listen_for_all(b);
    int status;
    waitpid(child, &status, 0);
    if (status != 0)
        give_up("the process that cancels failed");
    for (int i = 0; i < TREES; i++) {
        b->lost += b->told[i] == 0;
        if (b->told[i] != 0) {
            double us = ((double)b->told[i] - (double)b->shared->recorded[i]) / 1e3;
            samples_add(&b->took, us > 0 ? us : 0);
        }
    }
    for (int i = 0; i < TREES; i++) {
        char path[160];
        snprintf(path, sizeof path, "/v1/runs/%s/end", b->shared->run[i].text);
        client_call(b->client, "POST", path, "{\"epoch\":1,\"state\":\"cancelled\"}", NULL);
    }
}

int main(void)
{
    static struct bench b;
    stage_open(&b.stage, 1, true, NULL);
    b.client = client_open(b.stage.agentd[0], "bench-client-token");
    b.events = client_open(b.stage.agentd[0], "bench-client-token");
    client_stream_open(b.events, "/v1/events");
    b.redis = stage_redis(&b.stage);
    b.shared =
        mmap(NULL, sizeof *b.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b.shared == MAP_FAILED)
        give_up("no shared memory");
    for (int i = 0; i < KILLS; i++)
        one_kill(&b);
    row_print(&(struct row){"cancel while the subscriber is down: recorded to told, p99", "us",
                            samples_percentile(&b.took, 99), NAN, 10000, false,
                            "100 trees on the replica; the reconnect is included"});
    row_print(&(struct row){"the same: lost", "of 10,000", b.lost, NAN, 0, false, NULL});
    stage_close(&b.stage);
    return 0;
}
