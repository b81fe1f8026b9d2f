/* The clock, what is on its way, the story. */
#include "sim/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { WALL_START = 1700000000 };

struct wall sim_wall(const struct sim *sim)
{
    return (struct wall){(int64_t)WALL_START * 1000 + sim->now};
}

struct wall node_wall(const struct sim *sim, const struct node *node)
{
    return (struct wall){sim_wall(sim).ms + node->clock_is_off};
}

void sim_init(struct sim *sim, uint64_t seed)
{
    memset(sim, 0, sizeof *sim);
    sim->seed = seed;
    sim->rng.state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    sim->model = model_new(seed + 1);
    sim->server = 1;
    sim->redis_is_up = true;
    sim->slow_until = sim->refused_until = -1;
    sim->max_runs = sim->max_tree_runs = 10000;
    sim->max_children = 1000;
    model_set_time(sim->model, sim_wall(sim));
}

static void flight_free(struct sim *sim, struct flight *flight)
{
    free(flight->call);
    free(flight->answer);
    free(flight->asked);
    free(flight->bytes);
    flight->next_free = sim->free_flights;
    sim->free_flights = flight;
}

void sim_fini(struct sim *sim)
{
    for (size_t i = 0; i < sim->node_count; i++)
        node_fini(&sim->node[i]);
    for (size_t i = 0; i < sim->heap_count; i++)
        flight_free(sim, sim->heap[i]);
    while (sim->free_flights != NULL) {
        struct flight *flight = sim->free_flights;
        sim->free_flights = flight->next_free;
        free(flight);
    }
    mem_free(sim->heap);
    if (sim->snapshot != NULL)
        model_snapshot_free(sim->snapshot);
    model_free(sim->model);
    buf_fini(&sim->story);
}

/* ---- the story ----------------------------------------------------------------------------- */
void tell(struct sim *sim, const char *format, ...)
{
    char line[1024];
    va_list ap;
    if (!sim->tells)
        return;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    buf_addf(&sim->story, "[%6lld] %s\n", (long long)sim->now, line);
}

void faulted(struct sim *sim, enum fault fault)
{
    sim->fault_until[fault] = sim->now + FAULT_LINGERS_MS;
    if (sim->counts != NULL)
        sim->counts->fault[fault]++;
}

void violated(struct sim *sim, const char *format, ...)
{
    char why[sizeof sim->why]; /* what is there already may be quoted */
    va_list ap;
    va_start(ap, format);
    vsnprintf(why, sizeof why, format, ap);
    va_end(ap);
    memcpy(sim->why, why, sizeof why);
    longjmp(sim->failed, 1);
}

void copy_text(char *to, size_t room, struct str text)
{
    size_t len = text.len < room ? text.len : room - 1;
    if (len > 0)
        memcpy(to, text.at, len);
    to[len] = '\0';
}

bool by_chance(struct sim *sim, unsigned percent)
{
    return percent > 0 && rng_below(&sim->rng, 100) < percent;
}

int64_t some_ms(struct sim *sim, int64_t from, int64_t to)
{
    return from + (int64_t)rng_below(&sim->rng, (uint32_t)(to - from + 1));
}

size_t ask_open(struct sim *sim, struct ask ask)
{
    const size_t room = sizeof sim->ask / sizeof *sim->ask;
    size_t place = 0;
    while (place < sim->ask_count && sim->ask[place].ask != 0)
        place++;
    if (place == room)
        violated(sim, "%zu asks are open: something answers nothing", room);
    if (place == sim->ask_count)
        sim->ask_count++;
    ask.ask = ++sim->next_ask;
    sim->ask[place] = ask;
    return place;
}

/* ---- what is on its way -------------------------------------------------------------------- */
static bool is_before(const struct flight *a, const struct flight *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

struct flight *fly(struct sim *sim, enum flight_kind kind, int64_t at)
{
    struct flight *flight = sim->free_flights;
    if (flight != NULL)
        sim->free_flights = flight->next_free;
    else if ((flight = malloc(sizeof *flight)) == NULL)
        abort();
    *flight = (struct flight){.kind = kind, .at = at, .seq = ++sim->next_seq};
    void *heap = sim->heap;
    if (!mem_grow(&heap, &sim->heap_room, sizeof *sim->heap, sim->heap_count + 1))
        abort();
    sim->heap = heap;
    size_t place = sim->heap_count++;
    for (; place > 0 && is_before(flight, sim->heap[(place - 1) / 2]); place = (place - 1) / 2)
        sim->heap[place] = sim->heap[(place - 1) / 2];
    sim->heap[place] = flight;
    return flight;
}

static struct flight *land(struct sim *sim)
{
    struct flight *first = sim->heap[0];
    struct flight *last = sim->heap[--sim->heap_count];
    size_t place = 0;
    for (size_t child; (child = 2 * place + 1) < sim->heap_count; place = child) {
        if (child + 1 < sim->heap_count && is_before(sim->heap[child + 1], sim->heap[child]))
            child++;
        if (!is_before(sim->heap[child], last))
            break;
        sim->heap[place] = sim->heap[child];
    }
    if (sim->heap_count > 0)
        sim->heap[place] = last;
    return first;
}

/* ---- arrivals ------------------------------------------------------------------------------ */
static void answer_arrives(struct sim *sim, struct node *node, struct flight *flight)
{
    struct store_answer answer;
    if (flight->answer != NULL) {
        node_answer(sim, node, flight->token, flight->answer);
        return;
    }
    model_call(sim->model, flight->call, &answer); /* a tree is read when it is looked at */
    node_answer(sim, node, flight->token, &answer);
}

static bool waits_for_thaw(struct sim *sim, struct flight *flight)
{
    struct node *node = &sim->node[flight->node];
    bool is_for_node = flight->kind == FLY_ANSWER || flight->kind == FLY_MESSAGE
                       || flight->kind == FLY_ASK_CANCEL || flight->kind == FLY_RECONNECT;
    if (!is_for_node || !node->is_frozen)
        return false;
    struct flight *later = fly(sim, flight->kind, node->frozen_until + 1);
    uint64_t seq = later->seq;
    *later = *flight;
    later->at = node->frozen_until + 1;
    later->seq = seq;
    flight->call = NULL;
    flight->answer = NULL;
    flight->asked = NULL;
    flight->bytes = NULL;
    return true;
}

static void arrive(struct sim *sim, struct flight *flight)
{
    struct node *node = &sim->node[flight->node];
    bool same_life = node->is_alive && node->life == flight->life;
    bool same_conn = same_life && node->is_linked && node->conn == flight->conn;
    switch (flight->kind) {
    case FLY_REQUEST:
        redis_take_request(sim, flight);
        break;
    case FLY_SUBSCRIBE:
        if (same_conn)
            redis_take_subscribe(sim, flight);
        break;
    case FLY_ANSWER:
        if (same_conn || (same_life && flight->on))
            answer_arrives(sim, node, flight);
        break;
    case FLY_MESSAGE:
        if (same_conn)
            node_message(sim, node, str_of(flight->root), flight->watch,
                         (struct str){flight->bytes, flight->len});
        break;
    case FLY_ASK_CANCEL:
        if (same_life)
            node_ask_cancel(sim, node, flight->asked);
        break;
    case FLY_RECONNECT:
        if (same_life)
            redis_connect(sim, node);
        break;
    case FLY_RESTART:
        if (!node->is_alive)
            node_start(sim, node);
        break;
    case FLY_RESUME:
        node_thaw(sim, node, flight->life);
        break;
    case FLY_PROCESS:
        if ((!flight->on || flight->conn == node->life)
            && sim->run[flight->run].process == flight->token)
            process_dies(sim, flight->run, flight->on);
        break;
    case FLY_REMOTE:
        if (same_life)
            agent_answers(sim, flight);
        break;
    case FLY_WENT:
        if (sim->client[flight->client].life == flight->life && flight->conn == node->life
            && !sim->client[flight->client].is_connected) /* else it is back already */
            client_leaves(sim, &sim->client[flight->client]);
        break;
    case FLY_CLIENT:
        if (sim->run[flight->run].client_life != flight->life)
            break;
        if (flight->act == CLIENT_ACKS)
            client_acks(sim, flight->run);
        else if (flight->act == CLIENT_ENDS)
            client_ends(sim, flight->run, flight->state);
        else
            client_asks_start(sim, flight->run);
        break;
    case FLY_REGISTER:
        if (sim->client[flight->client].life == flight->life)
            client_registers(sim, &sim->client[flight->client]);
        break;
    case FLY_PROMISE:
        promise_is_due(sim, flight);
        break;
    case FLY_LADDER:
        ladder_is_due(sim, flight);
        break;
    case FLY_NO_PONG:
        if (same_conn)
            redis_cut(sim, node);
        break;
    case FLY_DO:
        flight->act_of(sim, flight->what);
        break;
    }
}

/* ---- the clock ----------------------------------------------------------------------------- */
static struct node *first_due(struct sim *sim, int64_t *at)
{
    struct node *first = NULL;
    *at = INT64_MAX;
    for (size_t i = 0; i < sim->node_count; i++) {
        struct node *node = &sim->node[i];
        if (!node->is_alive || node->is_frozen || node->deadline.ms >= *at)
            continue;
        first = node;
        *at = node->deadline.ms;
    }
    return first;
}

static void set_now(struct sim *sim, int64_t now)
{
    if (now <= sim->now)
        return;
    sim->now = now;
    model_set_time(sim->model, sim_wall(sim));
}

void sim_run_until(struct sim *sim, int64_t ms)
{
    for (;;) {
        int64_t due;
        struct node *node = first_due(sim, &due);
        bool is_flight = sim->heap_count > 0 && sim->heap[0]->at <= due;
        if (is_flight)
            due = sim->heap[0]->at;
        if (due > ms)
            break;
        set_now(sim, due);
        sim->steps++;
        if (!is_flight) {
            node_time(sim, node);
            continue;
        }
        struct flight *flight = land(sim);
        if (!waits_for_thaw(sim, flight))
            arrive(sim, flight);
        flight_free(sim, flight);
    }
    set_now(sim, ms);
}
