/* What happens in a random schedule: what clients, operators, daemons and Redis do. */
#include <stdio.h>
#include <string.h>

#include "sim/acts.h"

static struct node *any_node(struct sim *sim)
{
    return &sim->node[rng_below(&sim->rng, (uint32_t)sim->node_count)];
}

static struct client *any_client(struct sim *sim)
{
    return &sim->client[rng_below(&sim->rng, (uint32_t)sim->client_count)];
}

static size_t any_run(struct sim *sim)
{
    if (sim->run_count == 0)
        return SIZE_MAX;
    size_t first = rng_below(&sim->rng, (uint32_t)sim->run_count);
    for (size_t i = 0; i < sim->run_count; i++) {
        size_t at = (first + i) % sim->run_count;
        if (sim->run[at].phase == RUN_ALIVE)
            return at;
    }
    return SIZE_MAX;
}

/* ---- what happens -------------------------------------------------------------------------- */
static void start(struct sim *sim, const char *parents)
{
    char id[NAME_TEXT_MAX];
    struct client *client = any_client(sim);
    if (sim->run_count == RUNS_MAX || !client->is_alive)
        return;
    snprintf(id, sizeof id, "%s%zu", parents[0] != '\0' ? "k" : "r", sim->run_count);
    struct sim_run *run = &sim->run[client_run(sim, client, id, parents)];
    run->has_process = by_chance(sim, 60);
    run->obeys = by_chance(sim, run->has_process ? 60 : 95);
    run->obeys_term = by_chance(sim, 60);
    run->on_end = (enum on_end)rng_below(&sim->rng, 3);
    run->on_lost = (enum on_lost)(by_chance(sim, 40) ? rng_below(&sim->rng, 3) : 0);
    run->on_client_gone = by_chance(sim, 70) ? ON_GONE_CANCEL : ON_GONE_CONTINUE;
    run->when_isolated = by_chance(sim, 30) ? WHEN_ISOLATED_CANCEL : WHEN_ISOLATED_DEFAULT;
    if (by_chance(sim, 10))
        run->deadline = MILLIS(some_ms(sim, 500, 20000));
    if (by_chance(sim, 20))
        run->ends_as = RUN_SUCCESS;
    client_asks_start(sim, sim->run_count - 1);
}

void act_starts_root(struct sim *sim)
{
    start(sim, "");
}

void act_starts_child(struct sim *sim)
{
    char path[PATH_TEXT_MAX];
    size_t parent = any_run(sim);
    if (parent == SIZE_MAX) {
        start(sim, "");
        return;
    }
    const struct sim_run *run = &sim->run[parent];
    snprintf(path, sizeof path, "%s%s%s", run->parents, run->parents[0] != '\0' ? "." : "",
             run->id);
    if (path_depth(str_of(path)) < 8)
        start(sim, path);
}

void act_ends(struct sim *sim)
{
    static const enum run_state state[] = {RUN_SUCCESS, RUN_SUCCESS, RUN_ERROR, RUN_PAUSED};
    size_t run = any_run(sim);
    if (run == SIZE_MAX || sim->run[run].is_ending)
        return;
    sim->run[run].ends_as = state[rng_below(&sim->rng, 4)];
    client_ends(sim, run, sim->run[run].ends_as);
}

static void cancel_any_way(struct sim *sim, struct node *node, const char *root, const char *target)
{
    static const enum cancel_wait waits[] = {WAIT_NONE, WAIT_NONE, WAIT_DELIVERED, WAIT_STOPPED};
    struct cancel_ask ask = {
        .run = str_of(target),
        .root = by_chance(sim, 70) ? str_of(root) : STR_NONE,
        .reason = STR("enough"),
        .action = by_chance(sim, 20) ? ACTION_ROLLBACK : ACTION_INTERRUPT,
        .grace = by_chance(sim, 20) ? MILLIS(some_ms(sim, 0, 2000)) : SPAN_NONE,
        .wait = waits[rng_below(&sim->rng, 4)],
        .timeout = MILLIS(some_ms(sim, 0, 60000)),
        .dry_run = by_chance(sim, 5),
        .expect_at_most = by_chance(sim, 5) ? some_ms(sim, 0, 3) : -1,
        .include_self = by_chance(sim, 90),
    };
    cancel_as(sim, node, &ask);
}

void act_cancels(struct sim *sim)
{
    size_t run = any_run(sim);
    if (run != SIZE_MAX)
        cancel_any_way(sim, any_node(sim), sim->run[run].root, sim->run[run].id);
}

void act_cancels_again(struct sim *sim)
{
    if (sim->cancel_count == 0)
        return;
    const struct sim_cancel *cancel =
        &sim->cancel[rng_below(&sim->rng, (uint32_t)sim->cancel_count)];
    char target[NAME_TEXT_MAX];
    memcpy(target, cancel->target, sizeof target);
    size_t run = run_named(sim, str_of(target));
    cancel_any_way(sim, any_node(sim), run != SIZE_MAX ? sim->run[run].root : "", target);
}

/* Of the id that will be started next, or after that. */
void act_cancels_what_comes(struct sim *sim)
{
    char target[NAME_TEXT_MAX];
    snprintf(target, sizeof target, "%s%zu", by_chance(sim, 70) ? "k" : "r",
             sim->run_count + rng_below(&sim->rng, 3));
    if (known_find(sim, str_of(target)) != NOBODY)
        return;
    struct cancel_ask ask = {.run = str_of(target),
                             .reason = STR("not at all"),
                             .grace = SPAN_NONE,
                             .timeout = SPAN_NONE,
                             .remember_unknown = true,
                             .expect_at_most = -1,
                             .include_self = true};
    cancel_as(sim, any_node(sim), &ask);
}

void act_cancels_by_hand(struct sim *sim)
{
    char text[128];
    size_t run = any_run(sim);
    if (run == SIZE_MAX || !sim->redis_is_up || sim->cancel_count == CANCELS_MAX)
        return;
    struct sim_cancel *cancel = &sim->cancel[sim->cancel_count++];
    *cancel = (struct sim_cancel){.losses = sim->losses, .includes_self = true};
    memcpy(cancel->root, sim->run[run].root, sizeof cancel->root);
    memcpy(cancel->target, sim->run[run].id, sizeof cancel->target);
    int len = snprintf(text, sizeof text, "cancel %s by hand", sim->run[run].id);
    tell(sim, "somebody publishes: %s", text);
    redis_publish(sim, str_of(sim->run[run].root), false, (struct str){text, (size_t)len});
}

void act_fences(struct sim *sim)
{
    char write_id[16];
    size_t run = any_run(sim);
    if (run == SIZE_MAX)
        return;
    snprintf(write_id, sizeof write_id, "w%u", (unsigned)rng_below(&sim->rng, 3));
    client_fences(sim, run, write_id);
}

void act_links(struct sim *sim)
{
    char to[2 * NAME_TEXT_MAX];
    size_t from = any_run(sim), target = any_run(sim);
    if (from == SIZE_MAX || from == target)
        return;
    const struct sim_run *run = &sim->run[target];
    snprintf(to, sizeof to, "%s/%s", run->root, run->id);
    client_links(sim, from, to);
}

/* The same request once more: its answer was lost, or somebody is careless. */
void act_starts_again(struct sim *sim)
{
    if (sim->run_count == 0)
        return;
    size_t run = rng_below(&sim->rng, (uint32_t)sim->run_count);
    const struct client *client = &sim->client[sim->run[run].client];
    bool was_answered = sim->run[run].phase == RUN_ALIVE || sim->run[run].phase == RUN_DEAD;
    if (was_answered && !sim->run[run].is_ending && client->is_alive && client->is_connected)
        client_retries(sim, run);
}

void act_takes_over(struct sim *sim)
{
    size_t run = any_run(sim);
    if (run != SIZE_MAX)
        (void)client_takes_over(sim, run, 1 + rng_below(&sim->rng, 2));
}

void act_awaits_a_loss(struct sim *sim)
{
    sim->has_rival = true;
}

void act_crashes(struct sim *sim)
{
    struct node *node = any_node(sim);
    if (!node->is_alive)
        return;
    node_crash(sim, node);
    struct flight *flight =
        fly(sim, FLY_RESTART,
            sim->now + (by_chance(sim, 70) ? some_ms(sim, 50, 3000) : some_ms(sim, 20000, 60000)));
    flight->node = node->index;
}

void act_freezes(struct sim *sim)
{
    int64_t ms = by_chance(sim, 60) ? some_ms(sim, 10, 3000) : some_ms(sim, 16000, 50000);
    node_freeze(sim, any_node(sim), ms);
}

void act_cuts(struct sim *sim)
{
    struct node *node = any_node(sim);
    if (node->is_alive)
        redis_cut(sim, node);
}

void act_client_dies(struct sim *sim)
{
    client_crashes(sim, any_client(sim));
}

void act_client_begins_again(struct sim *sim)
{
    client_restarts(sim, any_client(sim));
}

void act_redis_blinks(struct sim *sim)
{
    redis_start(sim, true);
}

void act_redis_rests(struct sim *sim)
{
    if (sim->redis_is_up)
        redis_stop(sim);
    else
        redis_start(sim, true);
}

void act_redis_saves(struct sim *sim)
{
    redis_snapshot(sim);
}

void act_redis_loses(struct sim *sim)
{
    if (sim->snapshot != NULL)
        redis_fail_over(sim);
}

void act_redis_empties(struct sim *sim)
{
    redis_start(sim, false);
}

void act_redis_refuses(struct sim *sim)
{
    tell(sim, "Redis refuses to write");
    faulted(sim, FAULT_REDIS_REFUSES);
    sim->has_refused = true;
    sim->refused_until = INT64_MAX;
    model_set_unwritable(sim->model, "MISCONF");
}

void act_redis_writes(struct sim *sim)
{
    tell(sim, "Redis writes again");
    sim->refused_until = sim->refused_until == INT64_MAX ? sim->now : sim->refused_until;
    model_set_unwritable(sim->model, NULL);
}

void act_goes_half_open(struct sim *sim)
{
    unsigned way = rng_below(&sim->rng, 3);
    int64_t ms = by_chance(sim, 60) ? some_ms(sim, 3000, 9000) : some_ms(sim, 20000, 70000);
    redis_half_open(sim, any_node(sim), way != 0, way != 1, ms);
}

void act_redis_slows_down(struct sim *sim)
{
    tell(sim, "Redis is slow");
    faulted(sim, FAULT_REDIS_SLOW);
    sim->slow_until = sim->now + some_ms(sim, 500, 15000);
}

void act_clock_jumps(struct sim *sim)
{
    static const int64_t jumps[] = {-86400000, -3600000, -1000, 1000, 3600000, 86400000};
    struct node *node = any_node(sim);
    node->clock_is_off = jumps[rng_below(&sim->rng, 6)];
    tell(sim, "the clock of %s jumps", node->name);
    faulted(sim, FAULT_CLOCK_JUMP);
}
