/* How many runs a second can one agentd start and end? 64 connections, each start followed by its
 * end on the same connection; agentd with a CPU to itself, Redis and the load on another; and all
 * on one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "stage.h"

enum { CONNECTIONS = 64, PAIRS = 20000, ROUNDS = 5 };

struct lanes {
    struct {
        char text[80];
    } run[CONNECTIONS]; /* started, to be ended next; "" = start one */
};

static size_t next_request(void *owner, unsigned c, uint64_t i, char *out, size_t room)
{
    struct lanes *lanes = owner;
    char token[32], path[160];
    (void)i;
    snprintf(token, sizeof token, "bench-lane-number-%03u", c);
    if (lanes->run[c].text[0] == '\0')
        return request_text(out, room, "POST", "/v1/runs", token,
                            "{\"entry\":true,\"agent\":\"bench\"}");
    snprintf(path, sizeof path, "/v1/runs/%s/end", lanes->run[c].text);
    lanes->run[c].text[0] = '\0';
    return request_text(out, room, "POST", path, token, "{\"epoch\":1,\"state\":\"success\"}");
}

static void answered(void *owner, unsigned c, uint64_t i, int status, const char *body)
{
    struct lanes *lanes = owner;
    (void)i;
    if (status == 200)
        return;
    const char *id = strstr(body, "\"run_id\":\"");
    if (status != 201 || id == NULL)
        give_up("start answered %d: %s", status, body);
    size_t len = strcspn(id + 10, "\"");
    snprintf(lanes->run[c].text, sizeof lanes->run[c].text, "%.*s", (int)len, id + 10);
}

static double one_round(const struct stage *stage)
{
    struct lanes lanes = {0};
    uint64_t refused;
    double rate = load_run(stage->agentd[0], CONNECTIONS, 2 * PAIRS, 0, next_request, answered,
                           &lanes, NULL, &refused);
    if (refused > 0)
        give_up("%llu requests were refused", (unsigned long long)refused);
    return rate / 2;
}

static void measure(bool apart, const char *question, double target)
{
    struct stage stage;
    struct samples rate = {0};
    pin(true);
    stage_open(&stage, 1, false, NULL);
    if (apart && !pin_apart(stage.agentd_pid[0]))
        give_up("there is no second CPU");
    for (int round = 0; round < ROUNDS; round++)
        samples_add(&rate, one_round(&stage));
    row_print(&(struct row){question, "pairs/s", samples_percentile(&rate, 50), NAN, target, true,
                            "64 connections, median of 5 rounds"});
    stage_close(&stage);
    samples_fini(&rate);
}

int main(void)
{
    measure(true, "start + end a second through one agentd, on a CPU of its own", 10000);
    measure(false, "start + end a second through one agentd, all on one CPU", 6000);
    return 0;
}
