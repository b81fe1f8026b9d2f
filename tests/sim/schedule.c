/* A small fleet, everything that can go wrong, then peace, then the reckoning. */
#include "sim/schedule.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { AGENTDS = 3, BROKERS = 2, CLIENTS = 6 };
enum { HEAL_MAX_MS = 300000, HEAL_STEP_MS = 10000, UNDONE_MAX_MS = 20000 };

/* ---- as text ------------------------------------------------------------------------------- */
static bool is_kept(const struct schedule *schedule, unsigned item)
{
    return (schedule->kept >> item & 1) != 0;
}

const char *schedule_text(const struct schedule *schedule, char out[SCHEDULE_TEXT_MAX])
{
    int len = snprintf(out, SCHEDULE_TEXT_MAX, "%" PRIu64, schedule->seed);
    if (schedule->kept == UINT64_MAX)
        return out;
    char separator = ':';
    for (unsigned first = 0, end; first < ITEMS; first = end + 1) {
        for (end = first; end < ITEMS && is_kept(schedule, end); end++)
            ;
        if (end == first)
            continue;
        len += snprintf(out + len, SCHEDULE_TEXT_MAX - (size_t)len,
                        end == first + 1 ? "%c%u" : "%c%u-%u", separator, first, end - 1);
        separator = ',';
    }
    if (separator == ':') /* nothing at all */
        snprintf(out + len, SCHEDULE_TEXT_MAX - (size_t)len, ":");
    return out;
}

static bool parse_items(struct str text, uint64_t *kept)
{
    int64_t first, last;
    struct str from = str_cut(&text, '-');
    if (!str_to_int(from, &first) || (text.at != NULL && !str_to_int(text, &last)))
        return false;
    if (text.at == NULL)
        last = first;
    for (int64_t item = first; item <= last && item >= 0 && item < ITEMS; item++)
        *kept |= UINT64_C(1) << item;
    return first >= 0 && first <= last && last < ITEMS;
}

bool schedule_parse(struct str text, struct schedule *out)
{
    int64_t seed;
    struct str items = text;
    struct str number = str_cut(&items, ':');
    if (!str_to_int(number, &seed) || seed < 0)
        return false;
    *out = schedule_of((uint64_t)seed);
    if (items.at == NULL)
        return true;
    out->kept = 0;
    while (items.len > 0)
        if (!parse_items(str_cut(&items, ','), &out->kept))
            return false;
    return true;
}

/* ---- numbers of its own for each item ------------------------------------------------------- */
static void draw_for(struct sim *sim, unsigned item, unsigned purpose)
{
    struct rng mix = {sim->seed * UINT64_C(0x9e3779b97f4a7c15) + item * 2 + purpose};
    sim->rng.state = rng_next(&mix);
}

static unsigned percent(struct sim *sim, const struct schedule *schedule, enum setting setting,
                        unsigned chance)
{
    draw_for(sim, setting, 0);
    unsigned value = by_chance(sim, chance) ? rng_below(&sim->rng, 30) : 0;
    return is_kept(schedule, setting) ? value : 0;
}

static void set_tables(struct sim *sim, const struct schedule *schedule)
{
    draw_for(sim, SETTING_TABLES, 0);
    if (!by_chance(sim, 10) || !is_kept(schedule, SETTING_TABLES))
        return;
    sim->max_tree_runs = (size_t)some_ms(sim, 2, 10);
    sim->max_children = (size_t)some_ms(sim, 1, 4);
}

static enum agent_mode odd_mode(struct sim *sim, const struct schedule *schedule)
{
    draw_for(sim, SETTING_MODES, 0);
    enum agent_mode mode = by_chance(sim, 50) ? MODE_OBSERVE : MODE_NOTIFY;
    return by_chance(sim, 15) && is_kept(schedule, SETTING_MODES) ? mode : MODE_ENFORCE;
}

/* Two services with three replicas each, one beside each agentd; a service has one token. */
static void add_client(struct sim *sim, size_t i)
{
    static const char *const name[CLIENTS] = {"c0", "c1", "c2", "c3", "c4", "c5"};
    struct client *client = client_add(sim, name[i], &sim->node[i % AGENTDS]);
    snprintf(client->hash, sizeof client->hash, i < CLIENTS / 2 ? "token-1" : "token-2");
    snprintf(client->incarnation, sizeof client->incarnation, "%s-1", name[i]);
    client_registers(sim, client);
}

static void set_up(struct sim *sim, const struct schedule *schedule)
{
    static const char *const agentd[] = {"ann", "bea", "cid"};
    static const char *const broker[] = {"bob", "ben"};
    sim->drops = percent(sim, schedule, SETTING_DROPS, 50);
    sim->repeats = percent(sim, schedule, SETTING_REPEATS, 30);
    sim->delays = percent(sim, schedule, SETTING_DELAYS, 30);
    set_tables(sim, schedule);
    enum agent_mode mode = odd_mode(sim, schedule);
    draw_for(sim, SETTING_LAST, 0);
    for (size_t i = 0; i < AGENTDS; i++)
        node_add(sim, agentd[i], false, i == AGENTDS - 1 ? mode : MODE_ENFORCE);
    for (size_t i = 0; i < BROKERS; i++)
        node_add(sim, broker[i], true, MODE_ENFORCE);
    for (size_t i = 0; i < sim->node_count; i++)
        node_start(sim, &sim->node[i]);
    for (size_t i = 0; i < CLIENTS; i++)
        add_client(sim, i);
}

/* ---- from beginning to end ------------------------------------------------------------------ */
static int64_t pause(struct sim *sim)
{
    if (by_chance(sim, 5))
        return some_ms(sim, 2000, 40000);
    return by_chance(sim, 50) ? some_ms(sim, 0, 5) : some_ms(sim, 0, 500);
}

static void make_peace(struct sim *sim)
{
    tell(sim, "all is healed");
    sim->drops = sim->repeats = sim->delays = 0;
    model_set_unwritable(sim->model, NULL);
    sim->refused_until = sim->refused_until == INT64_MAX ? sim->now : sim->refused_until;
    if (!sim->redis_is_up)
        redis_start(sim, true);
    sim->slow_until = sim->slow_until < sim->now ? sim->slow_until : sim->now;
    for (size_t i = 0; i < sim->node_count; i++)
        sim->node[i].away_until = sim->now;
}

/* Until everything is as it should be: the time that takes in ms. One schedule in sixteen is
 * watched to the end, for what is undone later; a deadline that passes then takes its time. */
static int64_t heal(struct sim *sim)
{
    const int64_t since = sim->now;
    const bool is_watched = sim->seed % 16 == 0;
    int64_t settled = -1;
    unsigned undone = 0;
    for (int64_t ms = 0; ms < HEAL_MAX_MS && (settled < 0 || is_watched); ms += HEAL_STEP_MS) {
        sim_run_until(sim, sim->now + HEAL_STEP_MS);
        for (size_t i = 0; i < sim->node_count; i++)
            node_confirm_losses(sim, &sim->node[i]);
        bool is_settled = check_healed(sim);
        undone = is_settled ? 0 : undone + 1;
        if (settled >= 0 && undone * HEAL_STEP_MS > UNDONE_MAX_MS)
            violated(sim, "%s (it had been settled before)", sim->why);
        if (is_settled && settled < 0)
            settled = sim->now - since;
    }
    if (settled < 0)
        violated(sim, "%s", sim->why);
    return settled;
}

static void play(struct sim *sim, const struct schedule *schedule)
{
    draw_for(sim, ITEMS, 0);
    enum weather weather = (enum weather)rng_below(&sim->rng, WEATHER_COUNT);
    set_up(sim, schedule);
    for (unsigned i = 0; i < ACTIONS; i++) {
        draw_for(sim, i, 0);
        sim_run_until(sim, sim->now + pause(sim));
        draw_for(sim, i, 1);
        if (is_kept(schedule, i))
            action_take(sim, weather);
    }
    make_peace(sim);
    int64_t took = heal(sim);
    if (sim->counts == NULL)
        return;
    counts_schedule(sim->counts, sim->seed, sim->steps, (uint64_t)took);
    sim->counts->runs += sim->run_count;
    sim->counts->cancels += sim->cancel_count;
}

bool schedule_play(struct sim *sim, const struct schedule *schedule, enum shows shows,
                   struct counts *counts)
{
    sim_init(sim, schedule->seed);
    sim->tells = shows != SHOWS_FAILURES;
    sim->traces = shows == SHOWS_CALLS;
    sim->counts = counts;
    bool holds = setjmp(sim->failed) == 0;
    if (holds)
        play(sim, schedule);
    return holds;
}
