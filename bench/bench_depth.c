/* Does depth cost anything? The cancel of a root, the leaf 1 or 50 levels below it, on another
 * replica; rounds of both in turn. */
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
    struct client *above, *below, *events;
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

static void end_run(struct client *client, const char *run)
{
    char path[160];
    snprintf(path, sizeof path, "/v1/runs/%s/end", run);
    int status = client_call(client, "POST", path, "{\"epoch\":1,\"state\":\"cancelled\"}", NULL);
    if (status != 200)
        give_up("end answered %d", status);
}

/* us from the cancel of the root to the notice of the run `depth` levels below it. */
static double one(struct bench *b, int depth)
{
    struct name run[DEEP + 1], root;
    char body[256], path[160];
    start_run(b->above, &run[0], &root, "{\"entry\":true}");
    for (int i = 1; i <= depth; i++) {
        snprintf(body, sizeof body, "{\"parent\":\"%s\",\"root\":\"%s\"}", run[i - 1].text,
                 root.text);
        start_run(i == depth ? b->below : b->above, &run[i], &root, body);
    }
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", run[0].text);
    uint64_t start = now_ns();
    client_send(b->above, "POST", path, "{}");
    if (!client_stream_wait(b->events, "event: cancel", 5000))
        give_up("the leaf was not told within 5 s");
    double took = (double)(now_ns() - start) / 1e3;
    if (client_answer(b->above, NULL) != 202)
        give_up("the cancel was refused");
    for (int i = 0; i <= depth; i++)
        end_run(i == depth ? b->below : b->above, run[i].text);
    return took;
}

int main(void)
{
    struct bench b = {0};
    struct samples flat = {0}, deep = {0}, ratio = {0};
    pin(true);
    stage_open(&b.stage, 2, false, NULL);
    b.above = client_open(b.stage.agentd[0], "bench-client-above");
    b.below = client_open(b.stage.agentd[1], "bench-client-below");
    b.events = client_open(b.stage.agentd[1], "bench-client-below");
    client_stream_open(b.events, "/v1/events");
    for (int round = 0; round < ROUNDS; round++) {
        struct samples one_flat = {0}, one_deep = {0};
        for (int i = 0; i < CANCELS_PER_ROUND; i++) {
            samples_add(&one_flat, one(&b, 1));
            samples_add(&one_deep, one(&b, DEEP));
        }
        samples_add(&flat, samples_percentile(&one_flat, 50));
        samples_add(&deep, samples_percentile(&one_deep, 50));
        samples_add(&ratio, samples_percentile(&one_deep, 50) / samples_percentile(&one_flat, 50));
        samples_fini(&one_flat);
        samples_fini(&one_deep);
    }
    char note[64];
    snprintf(note, sizeof note, "depth 1: %.0f us", samples_percentile(&flat, 50));
    row_print(&(struct row){"cancel to notice at depth 50 against depth 1, p50", "us",
                            samples_percentile(&deep, 50), samples_percentile(&ratio, 50), 1.15,
                            false, note});
    stage_close(&b.stage);
    return 0;
}
