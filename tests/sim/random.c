/* Random schedules: a small fleet, everything that can go wrong, then peace, then the reckoning. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"

enum { ACTIONS = 60, AGENTDS = 3, CLIENTS = 6, HEAL_MS = 150000 };

struct weight {
    unsigned share;
    void (*act)(struct sim *sim);
};

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
    sim->has_refused = true;
    model_set_unwritable(sim->model, "MISCONF");
}

static void redis_writes(struct sim *sim)
{
    tell(sim, "Redis writes again");
    model_set_unwritable(sim->model, NULL);
}

/* ---- how often ----------------------------------------------------------------------------- */
static const struct weight calm[] = {
    {12, starts_root}, {40, starts_child}, {12, ends},
    {14, cancels},     {3, fences},        {3, cancels_by_hand},
    {4, links},        {6, cuts},          {3, client_begins_again},
};
static const struct weight stormy[] = {
    {8, starts_root},  {30, starts_child},   {8, ends},          {12, cancels},
    {3, fences},       {3, cancels_by_hand}, {4, links},         {8, cuts},
    {5, crashes},      {4, freezes},         {3, client_dies},   {3, client_begins_again},
    {3, redis_blinks}, {3, redis_rests},     {2, redis_refuses}, {4, redis_writes},
};
static const struct weight forgetful[] = {
    {8, starts_root}, {30, starts_child}, {8, ends},        {14, cancels},      {3, fences},
    {6, cuts},        {5, redis_saves},   {4, redis_loses}, {2, redis_empties}, {3, redis_blinks},
};

static void act(struct sim *sim, const struct weight *weights, size_t count)
{
    unsigned all = 0;
    for (size_t i = 0; i < count; i++)
        all += weights[i].share;
    unsigned roll = rng_below(&sim->rng, all);
    for (size_t i = 0; i < count; i++) {
        if (roll < weights[i].share) {
            weights[i].act(sim);
            return;
        }
        roll -= weights[i].share;
    }
}

static int64_t pause(struct sim *sim)
{
    if (by_chance(sim, 5))
        return some_ms(sim, 2000, 40000);
    return by_chance(sim, 50) ? some_ms(sim, 0, 5) : some_ms(sim, 0, 500);
}

static void build(struct sim *sim)
{
    static const char *const agentd[] = {"ann", "bea", "cid"};
    static const char *const client[] = {"c0", "c1", "c2", "c3", "c4", "c5"};
    for (size_t i = 0; i < AGENTDS; i++)
        node_add(sim, agentd[i], false, MODE_ENFORCE);
    node_add(sim, "broker", true, MODE_ENFORCE);
    for (size_t i = 0; i < sim->node_count; i++)
        node_start(sim, &sim->node[i]);
    for (size_t i = 0; i < CLIENTS; i++)
        client_registers(sim, client_add(sim, client[i], &sim->node[i % AGENTDS]));
}

static void heal(struct sim *sim)
{
    tell(sim, "all is healed");
    sim->drops = sim->repeats = sim->delays = 0;
    model_set_unwritable(sim->model, NULL);
    if (!sim->redis_is_up)
        redis_start(sim, true);
    for (int64_t ms = 0; ms < HEAL_MS; ms += HEAL_MS / 10) {
        sim_run_until(sim, sim->now + HEAL_MS / 10);
        for (size_t i = 0; i < sim->node_count; i++)
            node_confirm_losses(sim, &sim->node[i]);
    }
}

static void play(struct sim *sim)
{
    static const struct {
        const struct weight *weights;
        size_t count;
    } weather[] = {
        {calm, sizeof calm / sizeof *calm},
        {stormy, sizeof stormy / sizeof *stormy},
        {forgetful, sizeof forgetful / sizeof *forgetful},
    };
    size_t kind = rng_below(&sim->rng, 3);
    sim->drops = by_chance(sim, 50) ? rng_below(&sim->rng, 30) : 0;
    sim->repeats = by_chance(sim, 30) ? rng_below(&sim->rng, 30) : 0;
    sim->delays = by_chance(sim, 30) ? rng_below(&sim->rng, 30) : 0;
    build(sim);
    for (size_t i = 0; i < ACTIONS; i++) {
        sim_run_until(sim, sim->now + pause(sim));
        act(sim, weather[kind].weights, weather[kind].count);
    }
    heal(sim);
    check_healed(sim);
}

/* True: all held. */
static bool try_seed(struct sim *sim, uint64_t seed, enum shows shows)
{
    sim_init(sim, seed);
    sim->tells = shows != SHOWS_FAILURES;
    sim->traces = shows == SHOWS_CALLS;
    bool holds = setjmp(sim->failed) == 0;
    if (holds)
        play(sim);
    return holds;
}

int random_schedules(uint64_t first, uint64_t count, enum shows shows)
{
    struct sim *sim = malloc(sizeof *sim);
    uint64_t steps = 0;
    if (sim == NULL)
        return 1;
    for (uint64_t seed = first; seed < first + count; seed++) {
        bool holds = try_seed(sim, seed, shows);
        steps += sim->steps;
        if (holds && shows != SHOWS_FAILURES)
            fwrite(sim->story.bytes, 1, sim->story.len, stdout);
        sim_fini(sim);
        if (holds)
            continue;
        (void)try_seed(sim, seed, shows == SHOWS_CALLS ? shows : SHOWS_STORIES); /* once more */
        printf("%.*s", (int)sim->story.len, sim->story.bytes != NULL ? sim->story.bytes : "");
        printf("seed %" PRIu64 ": %s\nrun again with: sim --first-seed %" PRIu64 " --seeds 1\n",
               seed, sim->why, seed);
        sim_fini(sim);
        free(sim);
        return 1;
    }
    printf("sim: %" PRIu64 " random schedules from seed %" PRIu64 ", %" PRIu64 " steps: ok\n",
           count, first, steps);
    free(sim);
    return 0;
}
