/* Fleet orders: an operator gives them, and what they select must stop; what they hold must not
 * start. Which run is meant is decided by the server: who was live when the order was written, and
 * who started while it held. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api_codec.h"
#include "sim/sim.h"

static const char *agent_name(unsigned long number)
{
    static const char *const name[] = {"researcher", "writer", "critic"};
    return name[number % (sizeof name / sizeof *name)];
}

/* All lives of a run are of one agent. */
const char *agent_of(const struct sim_run *run)
{
    return agent_name(strtoul(run->id + 1, NULL, 10));
}

static struct node *any_broker(struct sim *sim)
{
    struct node *node = &sim->node[rng_below(&sim->rng, (uint32_t)sim->node_count)];
    return node->is_broker && node->is_alive && !node->is_frozen ? node : NULL;
}

void order_given(struct sim *sim)
{
    struct node *node = any_broker(sim);
    if (node == NULL || sim->order_count == SIM_ORDERS_MAX)
        return;
    struct sim_order *order = &sim->order[sim->order_count++];
    *order = (struct sim_order){.agent = agent_name(rng_below(&sim->rng, 3))};
    snprintf(order->id, sizeof order->id, "o%zu", sim->order_count);
    order->only_holds = by_chance(sim, 30);
    struct order asked = {
        .selector.agent = str_of(order->agent),
        .action = order->only_holds ? ORDER_HOLD_ONLY : ORDER_INTERRUPT,
        .by = STR("operator"),
        .at = sim_wall(sim),
        .grace = SPAN_NONE,
        .hold = MILLIS(order->only_holds || by_chance(sim, 50)
                           ? some_ms(sim, 1000, by_chance(sim, 50) ? 5000 : 7200000)
                           : 0),
    };
    char record[MESSAGE_MAX_BYTES];
    struct order_ask ask = {.ask = sim->order_count,
                            .id = str_of(order->id),
                            .record = {record, api_encode_order(&asked, record)},
                            .expect_at_most = by_chance(sim, 20) ? 3 : -1};
    tell(sim, "%s is asked for %s: %s every %s%s", node->name, order->id,
         order->only_holds ? "hold" : "cancel", order->agent,
         asked.hold.ms > 0 ? ", and hold" : "");
    node_asks_order(sim, node, &ask);
}

void order_answered(struct sim *sim, uint64_t ask, const struct order_result *result)
{
    tell(sim, "order %s: %s", sim->order[ask - 1].id,
         result->problem == PROBLEM_NONE ? "given" : problem_code(result->problem));
}

/* ---- what the server does ------------------------------------------------------------------- */
static struct sim_order *order_named(struct sim *sim, struct str id)
{
    for (size_t i = 0; i < sim->order_count; i++)
        if (str_is(id, sim->order[i].id))
            return &sim->order[i];
    return NULL;
}

static bool is_live_there(struct sim *sim, const struct sim_run *run)
{
    struct store_answer answer;
    struct store_call peek = {.op = STORE_PEEK, .root = str_of(run->root), .run = str_of(run->id)};
    model_call(sim->model, &peek, &answer);
    return answer.verdict == SAID_OK && run_is_live(answer.state)
           && (answer.flags & RUN_FLAG_OBSERVE) == 0;
}

static void written(struct sim *sim, struct sim_order *order)
{
    bool is_again = order->is_written;
    order->is_written = true;
    order->losses = sim->losses;
    for (size_t i = 0; i < sim->run_count && !order->only_holds && !is_again; i++)
        if (strcmp(agent_of(&sim->run[i]), order->agent) == 0 && is_live_there(sim, &sim->run[i]))
            sim->run[i].ordered_by = (unsigned)(order - sim->order) + 1;
}

static void started(struct sim *sim, struct str id)
{
    struct store_answer answer;
    size_t run = run_named(sim, id);
    if (run == SIZE_MAX)
        return;
    sim->run[run].held_by = 0;
    sim->run[run].held_losses = sim->losses;
    sim->run[run].held_life = sim->node[sim->client[sim->run[run].client].node].life;
    model_call(sim->model, &(struct store_call){.op = STORE_ORDERS_READ, .id = STR("*holds")},
               &answer);
    for (size_t i = 0; i < answer.order_count; i++) {
        const struct sim_order *order = order_named(sim, answer.order[i].id);
        if (order != NULL && strcmp(order->agent, agent_of(&sim->run[run])) == 0)
            sim->run[run].held_by = (unsigned)(order - sim->order) + 1;
    }
}

void orders_heard(struct sim *sim, const struct store_call *call, enum store_verdict said)
{
    struct sim_order *order = call->op == STORE_ORDER ? order_named(sim, call->id) : NULL;
    if (order != NULL && said == SAID_OK)
        written(sim, order);
    if (call->op == STORE_START && said == SAID_STARTED && (call->flags & RUN_FLAG_OBSERVE) == 0)
        started(sim, call->run);
}

/* G11: only what it selects is stopped for it. */
void check_order_reason(struct sim *sim, const struct cancel_record *record)
{
    struct str id = record->by;
    if (record->hops > 0 || !str_is(str_cut(&id, ':'), "order"))
        return;
    const struct sim_order *order = order_named(sim, id);
    size_t run = run_named(sim, record->target);
    bool is_selected = order != NULL && order->is_written && run != SIZE_MAX
                       && strcmp(order->agent, agent_of(&sim->run[run])) == 0;
    if (!is_selected)
        violated(sim, "G11: %.*s is stopped for %.*s, which does not select it", S(record->target),
                 S(record->by));
}

/* ---- when all is healed --------------------------------------------------------------------- */
static bool is_finished(struct sim *sim, const struct sim_order *order, bool *holds)
{
    static struct order_progress progress;
    struct store_answer answer;
    model_call(sim->model, &(struct store_call){.op = STORE_ORDERS_READ, .id = str_of(order->id)},
               &answer);
    *holds = answer.order_count == 1 && answer.order[0].hold_left.ms > 0;
    return order->only_holds
           || (answer.order_count == 1 && api_decode_progress(answer.order[0].progress, &progress)
               && progress.is_done);
}

/* Its agentd looks behind the start: at what Redis has not forgotten meanwhile, and unless it dies
 * before. */
static bool must_be_held(const struct sim *sim, const struct sim_run *run)
{
    const struct node *node = &sim->node[sim->client[run->client].node];
    return run->is_protected && run->held_losses == sim->losses && run->held_life == node->life;
}

/* NULL: all is well. What a loss of writes took away nobody promised. */
const char *orders_broken(struct sim *sim, const struct sim_run **victim)
{
    for (size_t i = 0; i < sim->order_count; i++) {
        const struct sim_order *order = &sim->order[i];
        bool holds = false;
        if (!order->is_written || order->losses != sim->losses)
            continue;
        if (!is_finished(sim, order, &holds))
            return "G7: an order is never finished";
        for (size_t k = 0; k < sim->run_count; k++) {
            *victim = &sim->run[k];
            if (sim->run[k].phase != RUN_ALIVE || may_live_on(sim, &sim->run[k]))
                continue;
            if (sim->run[k].ordered_by == i + 1)
                return "G1: an order does not stop a run that it selects";
            if (holds && sim->run[k].held_by == i + 1 && must_be_held(sim, &sim->run[k]))
                return "G1: a run that started under a hold lives on";
        }
    }
    *victim = NULL;
    return NULL;
}
