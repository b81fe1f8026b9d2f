/* Does depth cost anything? The cancel of a root, the leaf 1 or 50 levels below it, root, leaf and
 * what is between them each on a replica of their own; rounds of both in turn. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "stage.h"

enum { ROUNDS = 5, CANCELS_PER_ROUND = 60, DEEP = 50 };

struct name {
    char text[80];
};
struct bench {
    struct stage stage;
    struct client *above, *between, *below, *events;
};

static void start_run(struct client *client, struct name *run, struct name *root, const char *body)
{
    json_t *answer = client_json(client, "POST", "/v1/runs", body, 201);
    snprintf(run->text, sizeof run->text, "%s",
             json_string_value(json_object_get(answer, "run_id")));
    snprintf(root->text, sizeof root->text, "%s",
             json_string_value(json_object_get(answer, "root")));
    json_decref(answer);
}

static struct client *carrier(struct bench *b, int level, int depth)
{
    return level == 0 ? b->above : level == depth ? b->below : b->between;
}

static void end_run(struct client *client, const char *run, const char *state)
{
    char path[160], body[64];
    snprintf(path, sizeof path, "/v1/runs/%s/end", run);
    snprintf(body, sizeof body, "{\"epoch\":1,\"state\":\"%s\"}", state);
    int status = client_call(client, "POST", path, body, NULL);
    if (status != 200)
        give_up("end answered %d", status);
}

/* What the starts and ends left to do (reports, subscriptions) is done before the clock runs. */
static void settle(struct bench *b)
{
    struct client *all[] = {b->between, b->below, b->above};
    for (int i = 0; i < 12; i++)
        if (client_call(all[i % 3], "GET", "/readyz", "", NULL) != 200)
            give_up("an agentd lost its readiness");
}

/* A tree that nobody cancels, of as many levels as the other depth has more: so that before both
 * cancels the same daemons have done the same work, and their caches are as cold. */
static void make_up_for(struct bench *b, int levels)
{
    struct name run[DEEP + 1], root;
    char body[256] = "{\"entry\":true}";
    for (int i = 0; i < levels; i++) {
        start_run(b->between, &run[i], &root, body);
        snprintf(body, sizeof body, "{\"parent\":\"%s\",\"root\":\"%s\"}", run[i].text, root.text);
    }
    for (int i = 0; i < levels; i++)
        end_run(b->between, run[i].text, "success");
}

/* us from the cancel of the root to the notice of the run `depth` levels below it. */
static double one(struct bench *b, int depth, bool all_live)
{
    struct name run[DEEP + 1], root;
    char body[256], path[160];
    start_run(b->above, &run[0], &root, "{\"entry\":true}");
    for (int i = 1; i <= depth; i++) {
        snprintf(body, sizeof body, "{\"parent\":\"%s\",\"root\":\"%s\"}", run[i - 1].text,
                 root.text);
        start_run(carrier(b, i, depth), &run[i], &root, body);
    }
    for (int i = 1; i < depth && !all_live; i++)
        end_run(b->between, run[i].text, "success");
    make_up_for(b, DEEP - depth);
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", run[0].text);
    settle(b);
    uint64_t start = now_ns();
    client_send(b->above, "POST", path, "{}");
    if (!client_stream_wait(b->events, "event: cancel", 5000))
        give_up("the leaf was not told within 5 s");
    double took = (double)(now_ns() - start) / 1e3;
    if (client_answer(b->above, NULL) != 202)
        give_up("the cancel was refused");
    for (int i = 0; i <= depth; i++)
        if (all_live || i == 0 || i == depth)
            end_run(carrier(b, i, depth), run[i].text, "cancelled");
    return took;
}

static void compare(struct bench *b, const char *question, bool all_live, double target)
{
    struct samples flat = {0}, deep = {0}, ratio = {0};
    for (int round = 0; round < ROUNDS; round++) {
        struct samples one_flat = {0}, one_deep = {0};
        for (int i = 0; i < CANCELS_PER_ROUND; i++) {
            samples_add(&one_flat, one(b, 1, all_live));
            samples_add(&one_deep, one(b, DEEP, all_live));
        }
        samples_add(&flat, samples_percentile(&one_flat, 50));
        samples_add(&deep, samples_percentile(&one_deep, 50));
        samples_add(&ratio, samples_percentile(&one_deep, 50) / samples_percentile(&one_flat, 50));
        samples_fini(&one_flat);
        samples_fini(&one_deep);
    }
    char note[64];
    snprintf(note, sizeof note, "depth 1: %.0f us", samples_percentile(&flat, 50));
    row_print(&(struct row){question, "us", samples_percentile(&deep, 50),
                            samples_percentile(&ratio, 50), target, false, note});
    samples_fini(&flat);
    samples_fini(&deep);
    samples_fini(&ratio);
}

int main(void)
{
    struct bench b = {0};
    pin(true);
    stage_open(&b.stage, 3, false, NULL);
    b.above = client_open(b.stage.agentd[0], "bench-client-above");
    b.between = client_open(b.stage.agentd[2], "bench-client-between");
    b.below = client_open(b.stage.agentd[1], "bench-client-below");
    b.events = client_open(b.stage.agentd[1], "bench-client-below");
    client_stream_open(b.events, "/v1/events");
    compare(&b, "cancel to notice at depth 50 against depth 1, p50", false, 1.15);
    compare(&b, "the same, all 50 levels live, 49 of them on one replica, p50", true, NAN);
    stage_close(&b.stage);
    return 0;
}
