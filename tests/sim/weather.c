/* The actions of a random schedule: what happens, and how often in which weather. */
#include <stdio.h>
#include <string.h>

#include "sim/schedule.h"

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
    run->obeys = !run->has_process || by_chance(sim, 60);
    run->obeys_term = by_chance(sim, 60);
    run->on_end = (enum on_end)rng_below(&sim->rng, 3);
    run->on_client_gone = by_chance(sim, 70) ? ON_GONE_CANCEL : ON_GONE_CONTINUE;
    run->when_isolated = by_chance(sim, 30) ? WHEN_ISOLATED_CANCEL : WHEN_ISOLATED_DEFAULT;
    if (by_chance(sim, 10))
        run->deadline = MILLIS(some_ms(sim, 500, 20000));
    if (by_chance(sim, 20))
        run->ends_as = RUN_SUCCESS;
    client_asks_start(sim, sim->run_count - 1);
}

static void starts_root(struct sim *sim)
{
    start(sim, "");
}

static void starts_child(struct sim *sim)
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

static void ends(struct sim *sim)
{
    static const enum run_state state[] = {RUN_SUCCESS, RUN_SUCCESS, RUN_ERROR, RUN_PAUSED};
    size_t run = any_run(sim);
    if (run == SIZE_MAX || sim->run[run].is_ending)
        return;
    sim->run[run].ends_as = state[rng_below(&sim->rng, 4)];
    client_ends(sim, run, sim->run[run].ends_as);
}

static void cancels(struct sim *sim)
{
    size_t place = any_run(sim);
    if (place == SIZE_MAX)
        return;
    const struct sim_run *run = &sim->run[place];
    struct span grace = by_chance(sim, 20) ? MILLIS(some_ms(sim, 0, 2000)) : SPAN_NONE;
    cancel_at(sim, any_node(sim), run->root, run->id, "enough", grace);
}

static void cancels_by_hand(struct sim *sim)
{
    char text[128];
    size_t run = any_run(sim);
    if (run == SIZE_MAX || !sim->redis_is_up || sim->cancel_count == CANCELS_MAX)
        return;
    struct sim_cancel *cancel = &sim->cancel[sim->cancel_count++];
    *cancel = (struct sim_cancel){.losses = sim->losses};
    memcpy(cancel->root, sim->run[run].root, sizeof cancel->root);
    memcpy(cancel->target, sim->run[run].id, sizeof cancel->target);
    int len = snprintf(text, sizeof text, "cancel %s by hand", sim->run[run].id);
    tell(sim, "somebody publishes: %s", text);
    redis_publish(sim, str_of(sim->run[run].root), false, (struct str){text, (size_t)len});
}

static void fences(struct sim *sim)
{
    char write_id[16];
    size_t run = any_run(sim);
    if (run == SIZE_MAX)
        return;
    snprintf(write_id, sizeof write_id, "w%u", (unsigned)rng_below(&sim->rng, 3));
    client_fences(sim, run, write_id);
}

static void links(struct sim *sim)
{
    char to[2 * NAME_TEXT_MAX];
    size_t from = any_run(sim), target = any_run(sim);
    if (from == SIZE_MAX || from == target)
        return;
    const struct sim_run *run = &sim->run[target];
    snprintf(to, sizeof to, "%s/%s", run->root, run->id);
    client_links(sim, from, to);
}

static void crashes(struct sim *sim)
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

static void freezes(struct sim *sim)
{
    int64_t ms = by_chance(sim, 60) ? some_ms(sim, 10, 3000) : some_ms(sim, 16000, 50000);
    node_freeze(sim, any_node(sim), ms);
}

static void cuts(struct sim *sim)
{
    struct node *node = any_node(sim);
    if (node->is_alive)
        redis_cut(sim, node);
}

static void client_dies(struct sim *sim)
{
    client_crashes(sim, any_client(sim));
}

static void client_begins_again(struct sim *sim)
{
    client_restarts(sim, any_client(sim));
}

static void redis_blinks(struct sim *sim)
{
    redis_start(sim, true);
}

static void redis_rests(struct sim *sim)
{
    if (sim->redis_is_up)
        redis_stop(sim);
    else
        redis_start(sim, true);
}

static void redis_saves(struct sim *sim)
{
    redis_snapshot(sim);
}

static void redis_loses(struct sim *sim)
{
    if (sim->snapshot != NULL)
        redis_fail_over(sim);
}

static void redis_empties(struct sim *sim)
{
    redis_start(sim, false);
}

static void redis_refuses(struct sim *sim)
{
    tell(sim, "Redis refuses to write");
    faulted(sim, FAULT_REDIS_REFUSES);
    sim->has_refused = true;
    sim->refused_until = INT64_MAX;
    model_set_unwritable(sim->model, "MISCONF");
}

static void redis_writes(struct sim *sim)
{
    tell(sim, "Redis writes again");
    sim->refused_until = sim->refused_until == INT64_MAX ? sim->now : sim->refused_until;
    model_set_unwritable(sim->model, NULL);
}

/* ---- how often ----------------------------------------------------------------------------- */
static const struct kind {
    const char *name;
    uint8_t share[WEATHER_COUNT]; /* calm, stormy, forgetful */
    void (*act)(struct sim *sim);
} actions[] = {
    {"a root starts", {12, 8, 8}, starts_root},
    {"a child starts", {40, 30, 30}, starts_child},
    {"a run ends", {12, 8, 8}, ends},
    {"a cancel", {14, 12, 14}, cancels},
    {"an order", {2, 2, 2}, order_given},
    {"a checkpoint", {3, 3, 3}, fences},
    {"a cancel by hand", {3, 3, 0}, cancels_by_hand},
    {"a link", {4, 4, 0}, links},
    {"a connection breaks", {6, 8, 6}, cuts},
    {"a daemon crashes", {0, 5, 0}, crashes},
    {"a daemon freezes", {0, 4, 0}, freezes},
    {"a client dies", {0, 3, 0}, client_dies},
    {"a client begins again", {3, 3, 0}, client_begins_again},
    {"Redis restarts", {0, 3, 3}, redis_blinks},
    {"Redis goes away or comes back", {0, 3, 0}, redis_rests},
    {"Redis is copied to a replica", {0, 0, 5}, redis_saves},
    {"Redis fails over", {0, 0, 4}, redis_loses},
    {"Redis comes back empty", {0, 0, 2}, redis_empties},
    {"Redis refuses to write", {0, 2, 0}, redis_refuses},
    {"Redis writes again", {0, 4, 0}, redis_writes},
};
enum { KINDS = sizeof actions / sizeof *actions };
_Static_assert((int)KINDS <= (int)ACTION_KINDS_MAX, "counts.h has too little room");

const char *action_name_at(size_t kind)
{
    return kind < KINDS ? actions[kind].name : NULL;
}

void action_take(struct sim *sim, enum weather weather)
{
    unsigned all = 0;
    for (size_t i = 0; i < KINDS; i++)
        all += actions[i].share[weather];
    unsigned roll = rng_below(&sim->rng, all);
    size_t kind = 0;
    while (roll >= actions[kind].share[weather])
        roll -= actions[kind++].share[weather];
    if (sim->counts != NULL)
        sim->counts->action[kind]++;
    actions[kind].act(sim);
}
