/* Golden stories: what must happen, word for word. Two agentds, a broker, a client at each agentd;
 * every message takes a millisecond. The clock begins at 100. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_codec.h"
#include "sim/sim.h"

enum { ANN, BEA, BROKER };

struct story {
    const char *name;
    void (*play)(struct sim *sim);
};

/* ---- words to tell them with --------------------------------------------------------------- */
static void until(struct sim *sim, int64_t ms)
{
    sim_run_until(sim, 100 + ms);
}

static size_t starts(struct sim *sim, int node, const char *id, const char *parents)
{
    size_t run = client_run(sim, &sim->client[node], id, parents);
    client_asks_start(sim, run);
    return run;
}

static size_t starts_stubborn(struct sim *sim, int node, const char *id, const char *parents)
{
    size_t run = client_run(sim, &sim->client[node], id, parents);
    sim->run[run].has_process = true;
    sim->run[run].obeys = sim->run[run].obeys_term = false;
    client_asks_start(sim, run);
    return run;
}

static void cancel(struct sim *sim, int node, const char *root, const char *target)
{
    cancel_at(sim, &sim->node[node], root, target, "enough", SPAN_NONE);
}

/* Of a run that nobody has seen, remembered. */
static void cancel_unseen(struct sim *sim, const char *root, const char *target)
{
    cancel_as(sim, &sim->node[BROKER],
              &(struct cancel_ask){.run = str_of(target),
                                   .root = str_of(root),
                                   .reason = STR("enough"),
                                   .grace = SPAN_NONE,
                                   .timeout = SPAN_NONE,
                                   .force = true,
                                   .expect_at_most = -1,
                                   .include_self = true});
}

static void cancel_and_wait(struct sim *sim, const char *root)
{
    cancel_as(sim, &sim->node[BROKER],
              &(struct cancel_ask){.run = str_of(root),
                                   .root = str_of(root),
                                   .reason = STR("enough"),
                                   .grace = SPAN_NONE,
                                   .wait = WAIT_STOPPED,
                                   .timeout = MILLIS(4000),
                                   .expect_at_most = -1,
                                   .include_self = true});
}

/* Of all runs: in a story each is a researcher. */
static void order(struct sim *sim, int node)
{
    struct sim_order *given = &sim->order[sim->order_count++];
    *given = (struct sim_order){.agent = "researcher", .id = "o1"};
    const struct order wanted = {.selector.agent = str_of(given->agent),
                                 .action = ORDER_INTERRUPT,
                                 .by = STR("operator"),
                                 .at = sim_wall(sim),
                                 .grace = SPAN_NONE};
    char record[MESSAGE_MAX_BYTES];
    struct order_ask ask = {.ask = sim->order_count,
                            .id = str_of(given->id),
                            .record = {record, api_encode_order(&wanted, record)},
                            .expect_at_most = -1};
    node_asks_order(sim, &sim->node[node], &ask);
}

static void restart_in(struct sim *sim, int node, int64_t ms)
{
    struct flight *flight = fly(sim, FLY_RESTART, sim->now + ms);
    flight->node = (uint8_t)node;
}

static void expect(struct sim *sim, const char *story)
{
    const char *told = sim->story.len > 0 ? sim->story.bytes : "";
    if (sim->traces || strcmp(told, story) == 0)
        return;
    printf("expected:\n%s\ngot:\n%s\n", story, told);
    violated(sim, "the story has changed");
}

/* ---- stories ------------------------------------------------------------------------------- */
static void five_deep_in_one_hop(struct sim *sim)
{
    starts(sim, ANN, "a", "");
    until(sim, 10);
    starts(sim, BEA, "b", "a");
    until(sim, 20);
    starts(sim, ANN, "c", "a.b");
    until(sim, 30);
    starts(sim, BEA, "d", "a.b.c");
    until(sim, 40);
    starts(sim, ANN, "e", "a.b.c.d");
    until(sim, 100);
    cancel(sim, BROKER, "a", "b");
    until(sim, 200);
    expect(sim, "[   104] a starts\n"
                "[   114] b starts\n"
                "[   124] c starts\n"
                "[   134] d starts\n"
                "[   144] e starts\n"
                "[   200] broker is asked to cancel b\n"
                "[   203] Redis records the cancel of b\n"
                "[   204] cancel of b: requested\n"
                "[   204] c is told: enough\n"
                "[   204] e is told: enough\n"
                "[   204] b is told: enough\n"
                "[   204] d is told: enough\n"
                "[   226] c ends cancelled\n"
                "[   226] e ends cancelled\n"
                "[   226] b ends cancelled\n"
                "[   226] d ends cancelled\n");
}

static void a_cancel_missed_while_offline(struct sim *sim)
{
    starts(sim, ANN, "a", "");
    until(sim, 10);
    sim->node[ANN].is_reconnecting = true; /* by itself it would be back in 10 ms */
    redis_cut(sim, &sim->node[ANN]);
    cancel(sim, BROKER, "a", "a");
    until(sim, 5000);
    sim->node[ANN].is_reconnecting = false;
    redis_connect(sim, &sim->node[ANN]);
    until(sim, 5100);
    expect(sim, "[   104] a starts\n"
                "[   110] ann loses its link\n"
                "[   110] broker is asked to cancel a\n"
                "[   113] Redis records the cancel of a\n"
                "[   114] cancel of a: requested\n"
                "[  5100] ann is linked\n"
                "[  5104] ann finds a cancel it had not heard of\n"
                "[  5104] a is told: enough\n"
                "[  5126] a ends cancelled\n");
}

static void a_cancel_that_overtakes_its_start(struct sim *sim)
{
    starts(sim, ANN, "a", "");
    until(sim, 10);
    starts(sim, BEA, "x", "a");
    cancel(sim, BROKER, "a", "x");
    until(sim, 100);
    starts(sim, BEA, "y", "a.x");
    until(sim, 200);
    expect(sim, "[   104] a starts\n"
                "[   110] broker is asked to cancel x\n"
                "[   113] Redis records the cancel of x\n"
                "[   114] x starts\n"
                "[   114] cancel of x: requested\n"
                "[   114] x is told: enough\n"
                "[   136] x ends cancelled\n"
                "[   204] y may not start: cancelled\n");
}

static void a_run_that_ignores_everything(struct sim *sim)
{
    starts_stubborn(sim, ANN, "a", "");
    until(sim, 10);
    cancel(sim, BROKER, "a", "a");
    until(sim, 30000);
    expect(sim, "[   104] a starts\n"
                "[   110] broker is asked to cancel a\n"
                "[   113] Redis records the cancel of a\n"
                "[   114] cancel of a: requested\n"
                "[   114] a is told: enough\n"
                "[  9022] broker: cancel published again\n"
                "[ 10114] ann signals a: TERM\n"
                "[ 15022] broker: cancel published again\n"
                "[ 15114] ann signals a: KILL\n"
                "[ 15115] the process of a is gone\n");
}

static void lost_and_then_back(struct sim *sim)
{
    starts_stubborn(sim, ANN, "a", "");
    until(sim, 10);
    starts(sim, BEA, "b", "a");
    until(sim, 20);
    node_freeze(sim, &sim->node[ANN], 70000);
    until(sim, 90000);
    expect(sim, "[   104] a starts\n"
                "[   114] b starts\n"
                "[   120] ann is frozen\n"
                "[ 30010] broker: replica is suspect\n"
                "[ 46008] broker: replica is lost\n"
                "[ 46015] Redis records that a is lost\n"
                "[ 46016] broker: run is lost: a\n"
                "[ 46020] broker: replica is cleared away\n"
                "[ 46021] bea finds a cancel it had not heard of\n"
                "[ 46021] b is told: lost\n"
                "[ 46043] b ends cancelled\n"
                "[ 70120] ann goes on\n"
                "[ 70122] a is told: over:lost\n"
                "[ 80122] ann signals a: TERM\n"
                "[ 85122] ann signals a: KILL\n"
                "[ 85123] the process of a is gone\n");
}

static void agentd_restarts_and_finds_the_cancel(struct sim *sim)
{
    starts(sim, ANN, "a", "");
    until(sim, 10);
    node_crash(sim, &sim->node[ANN]);
    restart_in(sim, ANN, 50);
    cancel(sim, BROKER, "a", "a");
    until(sim, 2000);
    expect(sim, "[   104] a starts\n"
                "[   110] ann crashes\n"
                "[   110] broker is asked to cancel a\n"
                "[   113] Redis records the cancel of a\n"
                "[   114] cancel of a: requested\n"
                "[   160] ann starts\n"
                "[   160] ann is linked\n"
                "[  1088] a is carried on\n"
                "[  1088] a is told: enough\n"
                "[  1110] a ends cancelled\n");
}

static void a_link_to_another_tree(struct sim *sim)
{
    size_t a = starts(sim, ANN, "a", "");
    starts(sim, BEA, "z", "");
    until(sim, 10);
    client_links(sim, a, "z");
    until(sim, 20);
    cancel(sim, BROKER, "a", "a");
    until(sim, 200);
    expect(sim, "[   104] a starts\n"
                "[   104] z starts\n"
                "[   112] a links z: ok\n"
                "[   120] broker is asked to cancel a\n"
                "[   123] Redis records the cancel of a\n"
                "[   124] cancel of a: requested\n"
                "[   124] a is told: enough\n"
                "[   125] Redis records the cancel of z\n"
                "[   126] z is told: enough\n"
                "[   146] a ends cancelled\n"
                "[   148] z ends cancelled\n");
}

static void a_link_promised_while_redis_was_away(struct sim *sim)
{
    size_t a = starts(sim, ANN, "a", "");
    starts(sim, BEA, "z", "");
    until(sim, 10);
    starts(sim, BEA, "b", "a");
    until(sim, 20);
    sim->node[ANN].is_reconnecting = true; /* it comes back when the cancel has been recorded */
    redis_stop(sim);
    client_links(sim, a, "z");
    client_ends(sim, a, RUN_SUCCESS);
    cancel(sim, BEA, "a", "a");
    until(sim, 100);
    redis_start(sim, true);
    until(sim, 500);
    sim->node[ANN].is_reconnecting = false;
    redis_connect(sim, &sim->node[ANN]);
    until(sim, 1000);
    expect(sim, "[   104] a starts\n"
                "[   104] z starts\n"
                "[   114] b starts\n"
                "[   120] Redis goes away\n"
                "[   120] ann loses its link\n"
                "[   120] bea loses its link\n"
                "[   120] broker loses its link\n"
                "[   120] a links z: ok\n"
                "[   120] a ends success, pending\n"
                "[   120] bea is asked to cancel a\n"
                "[   120] b is told: enough\n"
                "[   120] cancel of a: pending\n"
                "[   140] b ends cancelled, pending\n"
                "[   200] Redis is back\n"
                "[   380] bea is linked\n"
                "[   380] broker is linked\n"
                "[   383] Redis records the cancel of a\n"
                "[   600] ann is linked\n"
                "[   605] Redis records the cancel of z\n"
                "[   606] z is told: enough\n"
                "[   628] z ends cancelled\n");
}

static void links_in_a_circle(struct sim *sim)
{
    size_t a = starts(sim, ANN, "a", "");
    size_t z = starts(sim, BEA, "z", "");
    until(sim, 10);
    client_links(sim, a, "z");
    client_links(sim, z, "a");
    until(sim, 20);
    cancel(sim, ANN, "a", "a");
    until(sim, 200);
    expect(sim, "[   104] a starts\n"
                "[   104] z starts\n"
                "[   112] a links z: ok\n"
                "[   112] z links a: ok\n"
                "[   120] ann is asked to cancel a\n"
                "[   120] a is told: enough\n"
                "[   121] Redis records the cancel of z\n"
                "[   121] Redis records the cancel of a\n"
                "[   122] z is told: enough\n"
                "[   122] cancel of a: requested\n"
                "[   142] a ends cancelled\n"
                "[   144] z ends cancelled\n");
}

static void a_cancel_by_hand(struct sim *sim)
{
    static const char text[] = "cancel a I do not like it";
    starts(sim, ANN, "a", "");
    until(sim, 10);
    starts(sim, BEA, "b", "a");
    until(sim, 20);
    redis_publish(sim, STR("a"), false, (struct str){text, sizeof text - 1});
    until(sim, 200);
    expect(sim, "[   104] a starts\n"
                "[   114] b starts\n"
                "[   124] Redis records the cancel of a\n"
                "[   125] b is told: I do not like it\n"
                "[   125] a is told: I do not like it\n"
                "[   147] b ends cancelled\n"
                "[   147] a ends cancelled\n");
}

static void one_interruption_for_many_cancels(struct sim *sim)
{
    size_t a = starts(sim, ANN, "a", "");
    sim->run[a].obeys = false;
    until(sim, 10);
    cancel(sim, BROKER, "a", "a");
    cancel(sim, BROKER, "a", "a");
    cancel(sim, BEA, "a", "a");
    cancel(sim, ANN, "a", "a");
    until(sim, 100);
    cancel(sim, BROKER, "a", "a");
    until(sim, 200);
    expect(sim, "[   104] a starts\n"
                "[   110] broker is asked to cancel a\n"
                "[   110] broker is asked to cancel a\n"
                "[   110] bea is asked to cancel a\n"
                "[   110] ann is asked to cancel a\n"
                "[   110] a is told: enough\n"
                "[   111] Redis records the cancel of a\n"
                "[   112] cancel of a: requested\n"
                "[   114] cancel of a: requested\n"
                "[   114] cancel of a: requested\n"
                "[   114] cancel of a: requested\n"
                "[   200] broker is asked to cancel a\n"
                "[   202] cancel of a: requested\n");
}

static void an_end_that_races_the_cancel(struct sim *sim)
{
    size_t a = starts(sim, ANN, "a", "");
    until(sim, 10);
    cancel(sim, BROKER, "a", "a");
    until(sim, 13);
    client_ends(sim, a, RUN_SUCCESS);
    until(sim, 100);
    expect(sim, "[   104] a starts\n"
                "[   110] broker is asked to cancel a\n"
                "[   113] Redis records the cancel of a\n"
                "[   114] cancel of a: requested\n"
                "[   114] a is told: enough\n"
                "[   115] a ends cancelled, finished_anyway success\n");
}

static void a_failover_that_loses_the_cancel(struct sim *sim)
{
    starts(sim, ANN, "a", "");
    size_t b = client_run(sim, &sim->client[BEA], "b", "a");
    sim->run[b].obeys = false;
    until(sim, 10);
    client_asks_start(sim, b);
    until(sim, 20);
    redis_snapshot(sim);
    cancel(sim, BROKER, "a", "b");
    until(sim, 30);
    redis_fail_over(sim);
    until(sim, 200);
    starts(sim, BEA, "c", "a.b");
    until(sim, 300);
    expect(sim, "[   104] a starts\n"
                "[   114] b starts\n"
                "[   120] broker is asked to cancel b\n"
                "[   123] Redis records the cancel of b\n"
                "[   124] cancel of b: requested\n"
                "[   124] b is told: enough\n"
                "[   130] Redis goes away\n"
                "[   130] ann loses its link\n"
                "[   130] bea loses its link\n"
                "[   130] broker loses its link\n"
                "[   130] Redis fails over, losing writes\n"
                "[   140] ann is linked\n"
                "[   140] bea is linked\n"
                "[   140] broker is linked\n"
                "[   141] Redis records the cancel of b\n"
                "[   304] c may not start: cancelled\n");
}

static void an_empty_redis(struct sim *sim)
{
    size_t a = starts(sim, ANN, "a", "");
    until(sim, 10);
    size_t b = starts(sim, BEA, "b", "a");
    until(sim, 20);
    redis_start(sim, false);
    until(sim, 200);
    client_ends(sim, b, RUN_SUCCESS);
    client_ends(sim, a, RUN_SUCCESS);
    until(sim, 300);
    expect(sim, "[   104] a starts\n"
                "[   114] b starts\n"
                "[   120] Redis goes away\n"
                "[   120] ann loses its link\n"
                "[   120] bea loses its link\n"
                "[   120] broker loses its link\n"
                "[   120] Redis is back, empty\n"
                "[   130] ann is linked\n"
                "[   130] bea is linked\n"
                "[   130] broker is linked\n"
                "[   302] b ends success\n"
                "[   302] a ends success\n");
}

static void one_checkpoint_after_the_ban(struct sim *sim)
{
    size_t a = starts(sim, ANN, "a", "");
    sim->run[a].obeys = false;
    until(sim, 10);
    client_fences(sim, a, "w1");
    until(sim, 20);
    cancel(sim, BROKER, "a", "a");
    until(sim, 30);
    client_fences(sim, a, "w2");
    until(sim, 40);
    client_fences(sim, a, "w3");
    client_fences(sim, a, "w2");
    until(sim, 50);
    expect(sim, "[   104] a starts\n"
                "[   112] a may write w1\n"
                "[   120] broker is asked to cancel a\n"
                "[   123] Redis records the cancel of a\n"
                "[   124] cancel of a: requested\n"
                "[   124] a is told: enough\n"
                "[   132] a may write w2, the last\n"
                "[   140] a may not write w3: frozen\n"
                "[   142] a may write w2, the last\n");
}

static void redis_is_gone_for_a_minute(struct sim *sim)
{
    starts(sim, ANN, "a", "");
    until(sim, 10);
    starts(sim, ANN, "b", "a");
    starts(sim, BEA, "c", "a");
    until(sim, 20);
    redis_stop(sim);
    until(sim, 30000);
    cancel(sim, ANN, "a", "a");
    cancel(sim, BROKER, "a", "a");
    starts(sim, BEA, "d", "");
    until(sim, 60000);
    redis_start(sim, true);
    until(sim, 61000);
    expect(sim, "[   104] a starts\n"
                "[   114] b starts\n"
                "[   114] c starts\n"
                "[   120] Redis goes away\n"
                "[   120] ann loses its link\n"
                "[   120] bea loses its link\n"
                "[   120] broker loses its link\n"
                "[ 15116] ann: out of reach of redis for longer than the lease\n"
                "[ 15116] bea: out of reach of redis for longer than the lease\n"
                "[ 30100] ann is asked to cancel a\n"
                "[ 30100] a is told: enough\n"
                "[ 30100] b is told: enough\n"
                "[ 30100] cancel of a: pending\n"
                "[ 30100] broker is asked to cancel a\n"
                "[ 30100] cancel of a: unavailable\n"
                "[ 30100] d starts unprotected\n"
                "[ 30120] a ends cancelled, pending\n"
                "[ 30120] b ends cancelled, pending\n"
                "[ 60100] Redis is back\n"
                "[ 60130] ann is linked\n"
                "[ 60130] ann: in reach of redis again\n"
                "[ 60130] bea is linked\n"
                "[ 60130] bea: in reach of redis again\n"
                "[ 60130] broker is linked\n"
                "[ 60133] Redis records the cancel of a\n"
                "[ 60134] c is told: enough\n"
                "[ 60156] c ends cancelled\n");
}

static void a_supervisor_that_fails(struct sim *sim)
{
    size_t a = starts(sim, ANN, "a", "");
    until(sim, 10);
    starts(sim, BEA, "b", "a");
    until(sim, 20);
    client_ends(sim, a, RUN_ERROR);
    until(sim, 100);
    starts(sim, BEA, "c", "a.b");
    until(sim, 200);
    expect(sim, "[   104] a starts\n"
                "[   114] b starts\n"
                "[   122] a ends error\n"
                "[   122] b is told: parent_ended\n"
                "[   144] b ends cancelled\n"
                "[   204] c may not start: cancelled\n");
}

static void a_client_that_dies(struct sim *sim)
{
    starts(sim, ANN, "a", "");
    until(sim, 10);
    starts(sim, BEA, "b", "a");
    until(sim, 20);
    client_crashes(sim, &sim->client[ANN]);
    until(sim, 6000);
    expect(sim, "[   104] a starts\n"
                "[   114] b starts\n"
                "[   120] al dies\n"
                "[  5121] Redis records the cancel of a\n"
                "[  5122] b is told: client_gone\n"
                "[  5144] b ends cancelled\n");
}

/* Nobody whom Redis has ever seen carries its root: who starts below it says that there is a tree.
 */
static void an_order_finds_a_tree_that_a_cancel_made(struct sim *sim)
{
    cancel_unseen(sim, "a", "x");
    until(sim, 20);
    starts(sim, BEA, "b", "a");
    until(sim, 40);
    order(sim, BROKER);
    until(sim, 3000);
    expect(sim, "[   100] broker is asked to cancel x\n"
                "[   101] Redis records the cancel of x\n"
                "[   102] cancel of x: requested\n"
                "[   124] b starts\n"
                "[   142] order o1: given\n"
                "[   155] Redis records the cancel of b\n"
                "[   156] b is told: order\n"
                "[   178] b ends cancelled\n"
                "[   276] broker: order o1 is carried out\n");
}

/* Nobody takes it over, and Redis takes the dead run for a live one of an agentd that is well. */
static void a_failover_that_loses_a_loss(struct sim *sim)
{
    size_t a = client_run(sim, &sim->client[ANN], "a", "");
    sim->run[a].on_lost = ON_LOST_TAKEOVER;
    client_asks_start(sim, a);
    until(sim, 20);
    redis_snapshot(sim);
    node_freeze(sim, &sim->node[ANN], 60000);
    until(sim, 65000);
    redis_fail_over(sim);
    until(sim, 120000);
    cancel_and_wait(sim, "a");
    until(sim, 125000);
    expect(sim, "[   104] a starts\n"
                "[   120] ann is frozen\n"
                "[ 30010] broker: replica is suspect\n"
                "[ 46008] broker: replica is lost\n"
                "[ 46015] Redis records that a is lost\n"
                "[ 46016] broker: run is lost: a\n"
                "[ 46020] broker: replica is cleared away\n"
                "[ 60120] ann goes on\n"
                "[ 60122] a is told: over:lost\n"
                "[ 60142] a ends: over\n"
                "[ 65100] Redis goes away\n"
                "[ 65100] ann loses its link\n"
                "[ 65100] bea loses its link\n"
                "[ 65100] broker loses its link\n"
                "[ 65100] Redis fails over, losing writes\n"
                "[ 65110] ann is linked\n"
                "[ 65110] bea is linked\n"
                "[ 65110] broker is linked\n"
                "[ 65113] Redis records that a is lost\n"
                "[120100] broker is asked to cancel a\n"
                "[120103] Redis records the cancel of a\n"
                "[120106] cancel of a: requested\n");
}

static const struct story all[] = {
#define T(name) {#name, name}
    T(five_deep_in_one_hop),
    T(a_cancel_missed_while_offline),
    T(a_cancel_that_overtakes_its_start),
    T(a_run_that_ignores_everything),
    T(lost_and_then_back),
    T(agentd_restarts_and_finds_the_cancel),
    T(a_link_to_another_tree),
    T(a_link_promised_while_redis_was_away),
    T(links_in_a_circle),
    T(a_cancel_by_hand),
    T(one_interruption_for_many_cancels),
    T(an_end_that_races_the_cancel),
    T(a_failover_that_loses_the_cancel),
    T(an_empty_redis),
    T(one_checkpoint_after_the_ban),
    T(redis_is_gone_for_a_minute),
    T(a_supervisor_that_fails),
    T(a_client_that_dies),
    T(a_failover_that_loses_a_loss),
    T(an_order_finds_a_tree_that_a_cancel_made),
};

/* ---- telling ------------------------------------------------------------------------------- */
static void build(struct sim *sim)
{
    node_add(sim, "ann", false, MODE_ENFORCE);
    node_add(sim, "bea", false, MODE_ENFORCE);
    node_add(sim, "broker", true, MODE_ENFORCE);
    for (size_t i = 0; i < sim->node_count; i++)
        node_start(sim, &sim->node[i]);
    client_registers(sim, client_add(sim, "al", &sim->node[ANN]));
    client_registers(sim, client_add(sim, "bo", &sim->node[BEA]));
    until(sim, 0);
}

static bool holds(struct sim *sim, const struct story *story, enum shows shows)
{
    sim_init(sim, 0);
    if (setjmp(sim->failed) != 0) {
        printf("%s: %s\n", story->name, sim->why);
        return false;
    }
    build(sim);
    sim->tells = true;
    sim->traces = shows == SHOWS_CALLS;
    story->play(sim);
    if (shows != SHOWS_FAILURES)
        printf("%s:\n%.*s\n", story->name, (int)sim->story.len, sim->story.bytes);
    return true;
}

void stories(enum shows shows, unsigned *passed, unsigned *failed)
{
    const size_t count = sizeof all / sizeof *all;
    struct sim *sim = malloc(sizeof *sim);
    if (sim == NULL)
        abort();
    for (size_t i = 0; i < count; i++) {
        *(holds(sim, &all[i], shows) ? passed : failed) += 1;
        sim_fini(sim);
    }
    free(sim);
    printf("sim: %zu stories, %u wrong\n", count, *failed);
}
