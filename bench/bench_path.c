/* How long from a cancel to the notice at the deepest client, on another replica?
 *
 * Three agentds; a chain root > middle > leaf, one run on each. The cancel is given to the root's
 * agentd (or to a broker); the clock stops when the event stream of the leaf's client has it, and
 * when the last of the three has it. Beside it, in the same round, the bare transport: EVALSHA of a
 * script that writes one field and publishes -> a subscriber, a process of its own. Each begins
 * after a millisecond of silence, as a cancel does. */
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "stage.h"

enum { ROUNDS = 5, CANCELS_PER_ROUND = 150, WARM_UP = 10, LEVELS = 3 };

struct bench {
    struct stage stage;
    struct client *call[LEVELS], *events[LEVELS], *broker;
    redisContext *commands;
    pid_t subscriber;
    int heard; /* when the subscriber got each bare message, as the bytes of now_ns() */
    char sha[41];
};

static const char bare_script[] = "redis.call('HSET', KEYS[1], 'c', ARGV[1]) "
                                  "redis.call('PUBLISH', KEYS[1], ARGV[1]) return 1";

static void subscribe_bare(const struct stage *stage, int out)
{
    redisReply *reply;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    redisContext *redis = stage_redis(stage);
    redisSetTimeout(redis, (struct timeval){0});
    redisAppendCommand(redis, "SUBSCRIBE bare");
    while (redisGetReply(redis, (void **)&reply) == REDIS_OK) {
        uint64_t now = now_ns();
        freeReplyObject(reply);
        if (write(out, &now, sizeof now) != sizeof now)
            break;
    }
    _exit(0);
}

static uint64_t when_heard(const struct bench *b)
{
    uint64_t when;
    struct pollfd p = {.fd = b->heard, .events = POLLIN};
    if (poll(&p, 1, 5000) != 1 || read(b->heard, &when, sizeof when) != sizeof when)
        give_up("the bare subscriber heard nothing");
    return when;
}

static void open_bare(struct bench *b)
{
    int ends[2];
    if (pipe(ends) != 0)
        give_up("no pipe");
    b->heard = ends[0];
    b->subscriber = fork();
    if (b->subscriber == 0)
        subscribe_bare(&b->stage, ends[1]);
    close(ends[1]);
    (void)when_heard(b); /* it has subscribed */
    b->commands = stage_redis(&b->stage);
    redisReply *sha = redisCommand(b->commands, "SCRIPT LOAD %s", bare_script);
    snprintf(b->sha, sizeof b->sha, "%s", sha->str);
    freeReplyObject(sha);
}

static void open_all(struct bench *b)
{
    stage_open(&b->stage, LEVELS, true, NULL);
    for (int i = 0; i < LEVELS; i++) {
        char token[32];
        snprintf(token, sizeof token, "bench-client-token-%d", i);
        b->call[i] = client_open(b->stage.agentd[i], token);
        b->events[i] = client_open(b->stage.agentd[i], token);
        client_stream_open(b->events[i], "/v1/events");
    }
    b->broker = client_open(b->stage.broker, "");
    open_bare(b);
}

static void close_all(struct bench *b)
{
    for (int i = 0; i < LEVELS; i++) {
        client_close(b->call[i]);
        client_close(b->events[i]);
    }
    client_close(b->broker);
    redisFree(b->commands);
    kill(b->subscriber, SIGKILL);
    waitpid(b->subscriber, NULL, 0);
    close(b->heard);
    stage_close(&b->stage);
}

struct chain {
    struct {
        char text[80];
    } run[LEVELS];
    int epoch[LEVELS];
};

static void grow(struct bench *b, struct chain *chain)
{
    char body[4096] = "{\"entry\":true}", baggage[2048];
    for (int i = 0; i < LEVELS; i++) {
        json_t *run = client_json(b->call[i], "POST", "/v1/runs", body, 201);
        snprintf(chain->run[i].text, sizeof chain->run[i].text, "%s",
                 json_string_value(json_object_get(run, "run_id")));
        chain->epoch[i] = (int)json_integer_value(json_object_get(run, "epoch"));
        snprintf(baggage, sizeof baggage, "%s", json_string_value(json_object_get(run, "baggage")));
        snprintf(body, sizeof body, "{\"baggage\":\"%s\"}", baggage);
        json_decref(run);
    }
}

static void end_all(struct bench *b, const struct chain *chain)
{
    for (int i = 0; i < LEVELS; i++) {
        char path[160], body[64];
        snprintf(path, sizeof path, "/v1/runs/%s/end", chain->run[i].text);
        snprintf(body, sizeof body, "{\"epoch\":%d,\"state\":\"cancelled\"}", chain->epoch[i]);
        json_decref(client_json(b->call[i], "POST", path, body, 200));
    }
}

static void be_silent(void)
{
    poll(NULL, 0, 1);
}

/* One cancel: us until the leaf was told, and until the last was. */
static void one_cancel(struct bench *b, bool by_broker, double *leaf, double *last)
{
    struct chain chain;
    grow(b, &chain);
    char path[160];
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", chain.run[0].text);
    struct client *asked = by_broker ? b->broker : b->call[0];
    be_silent();
    uint64_t start = now_ns();
    client_send(asked, "POST", path, "{\"reason\":\"bench\"}");
    if (!client_stream_wait(b->events[LEVELS - 1], "event: cancel", 5000))
        give_up("the leaf was not told within 5 s");
    *leaf = (double)(now_ns() - start) / 1e3;
    for (int i = 0; i < LEVELS - 1; i++)
        if (!client_stream_wait(b->events[i], "event: cancel", 5000))
            give_up("level %d was not told within 5 s", i);
    *last = (double)(now_ns() - start) / 1e3;
    if (client_answer(asked, NULL) != 202)
        give_up("the cancel was refused");
    end_all(b, &chain);
}

static double one_bare(struct bench *b)
{
    be_silent();
    uint64_t start = now_ns();
    redisReply *reply = redisCommand(b->commands, "EVALSHA %s 1 bare x", b->sha);
    if (reply == NULL || reply->type == REDIS_REPLY_ERROR)
        give_up("the bare script failed");
    freeReplyObject(reply);
    return (double)(when_heard(b) - start) / 1e3;
}

struct figures { /* one per round: medians; p99 over all */
    struct samples leaf, last, broker, bare;
    struct samples all_leaf;
};

static void one_round(struct bench *b, struct figures *f, int warm)
{
    struct samples leaf = {0}, last = {0}, broker = {0}, bare = {0};
    for (int i = 0; i < CANCELS_PER_ROUND + warm; i++) {
        double a, z, via, over, raw = one_bare(b);
        one_cancel(b, false, &a, &z);
        one_cancel(b, true, &via, &over);
        if (i < warm)
            continue;
        samples_add(&leaf, a);
        samples_add(&f->all_leaf, a);
        samples_add(&last, z);
        samples_add(&broker, via);
        samples_add(&bare, raw);
    }
    samples_add(&f->leaf, samples_percentile(&leaf, 50));
    samples_add(&f->last, samples_percentile(&last, 50));
    samples_add(&f->broker, samples_percentile(&broker, 50));
    samples_add(&f->bare, samples_percentile(&bare, 50));
    samples_fini(&leaf);
    samples_fini(&last);
    samples_fini(&broker);
    samples_fini(&bare);
}

static void say(const char *question, double value, double ratio, double target, const char *note)
{
    row_print(&(struct row){question, "us", value, ratio, target, false, note});
}

static void report(struct figures *f, bool pinned)
{
    double bare = samples_percentile(&f->bare, 50), leaf = samples_percentile(&f->leaf, 50);
    double last = samples_percentile(&f->last, 50), broker = samples_percentile(&f->broker, 50);
    double p99 = samples_percentile(&f->all_leaf, 99);
    char note[96];
    snprintf(note, sizeof note,
             "bare EVALSHA+PUBLISH to its subscriber: %.0f us; ping-pong %.1f us", bare,
             ping_pong_us());
    double none = NAN;
    say(pinned ? "cancel at an agentd to the deepest notice, p50, pinned"
               : "cancel at an agentd to the deepest notice, p50, unpinned",
        leaf, leaf / bare, pinned ? 2.0 : none, note);
    say(pinned ? "the same to the last of 3 replicas, p50, pinned"
               : "the same to the last of 3 replicas, p50, unpinned",
        last, last / bare, pinned ? 2.6 : none, NULL);
    say(pinned ? "the same through a broker, p50, pinned"
               : "the same through a broker, p50, unpinned",
        broker, broker / bare, pinned ? 3.2 : none, NULL);
    say(pinned ? "cancel at an agentd to the deepest notice, p99, pinned"
               : "cancel at an agentd to the deepest notice, p99, unpinned",
        p99, none, pinned ? 2000 : none, NULL);
}

static void measure(bool pinned)
{
    struct bench b = {0};
    struct figures f = {0};
    pin(pinned);
    open_all(&b);
    for (int round = 0; round < ROUNDS; round++)
        one_round(&b, &f, round == 0 ? WARM_UP : 0);
    report(&f, pinned);
    close_all(&b);
    samples_fini(&f.leaf);
    samples_fini(&f.last);
    samples_fini(&f.broker);
    samples_fini(&f.bare);
    samples_fini(&f.all_leaf);
}

int main(void)
{
    measure(true);
    measure(false);
    return 0;
}
