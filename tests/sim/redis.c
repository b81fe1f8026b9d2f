/* One Redis: connections that keep their order, subscriptions, faults and loss. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sim/sim.h"

enum { WIRE_MS = 1, SLOW_MS = 700, PING_MS = 3000 };

/* ---- tokens that wait for an answer -------------------------------------------------------- */
static void token_add(struct token_list *list, uint64_t token)
{
    void *tokens = list->token;
    if (!mem_grow(&tokens, &list->room, sizeof *list->token, list->count + 1))
        abort();
    list->token = tokens;
    list->token[list->count++] = token;
}

/* A token is answered once. */
bool redis_answered(struct node *node, uint64_t token)
{
    struct token_list *list = &node->unanswered;
    for (size_t i = 0; i < list->count; i++) {
        if (list->token[i] != token)
            continue;
        memmove(&list->token[i], &list->token[i + 1], (--list->count - i) * sizeof *list->token);
        return true;
    }
    return false;
}

/* ---- requests ------------------------------------------------------------------------------ */
static int64_t on_the_wire(struct sim *sim)
{
    int64_t jitter = sim->seed != 0 ? some_ms(sim, 0, 2) : 0;
    return WIRE_MS + jitter + (sim->now < sim->slow_until ? some_ms(sim, 0, SLOW_MS) : 0);
}

static struct flight *send(struct sim *sim, struct node *node, enum flight_kind kind)
{
    int64_t at = sim->now + on_the_wire(sim);
    node->last_request = at > node->last_request ? at : node->last_request;
    struct flight *flight = fly(sim, kind, node->last_request);
    flight->node = node->index;
    flight->life = node->life;
    flight->conn = node->conn;
    return flight;
}

static struct flight *send_back(struct sim *sim, struct node *node, enum flight_kind kind)
{
    int64_t at = sim->now + on_the_wire(sim);
    node->last_answer = at > node->last_answer ? at : node->last_answer;
    struct flight *flight = fly(sim, kind, node->last_answer);
    flight->node = node->index;
    flight->life = node->life;
    flight->conn = node->conn;
    return flight;
}

void redis_request(struct sim *sim, struct node *node, const struct store_call *call,
                   uint64_t token)
{
    token_add(&node->unanswered, token);
    if (node->is_linked && node->loses_requests) {
        faulted(sim, FAULT_LOST_REQUEST);
        return; /* answered when the connection is given up */
    }
    if (node->is_linked) {
        if (call->op == STORE_LOST && node->is_broker) {
            check_declared(sim, node, call);
            clients_race_the_loss(sim, node, call);
        }
        struct flight *flight = send(sim, node, FLY_REQUEST);
        flight->token = token;
        flight->call = copy_call(call);
        return;
    }
    struct store_answer offline = {.verdict = SAID_OFFLINE};
    struct flight *flight = fly(sim, FLY_ANSWER, sim->now);
    flight->node = node->index;
    flight->life = node->life;
    flight->conn = node->conn;
    flight->on = true; /* needs no connection */
    flight->token = token;
    flight->answer = copy_answer(&offline);
}

static void deliver(struct sim *sim)
{
    size_t count;
    const struct model_message *message = model_messages(sim->model, &count);
    for (size_t i = 0; i < count; i++)
        redis_publish(sim, message[i].root, message[i].watch, message[i].bytes);
    model_forget_messages(sim->model);
}

/* What had reached the server when its client went away is carried out all the same, up to some
 * request, and until the server goes away; nothing behind that one is. */
static bool is_lost(struct sim *sim, struct node *node, const struct flight *flight,
                    bool has_client)
{
    bool is_behind = node->lost_life == flight->life && node->lost_conn == flight->conn;
    if (!is_behind && sim->redis_is_up && (has_client || by_chance(sim, 70)))
        return false;
    node->lost_life = flight->life;
    node->lost_conn = flight->conn;
    return true;
}

void redis_take_request(struct sim *sim, struct flight *flight)
{
    struct node *node = &sim->node[flight->node];
    bool has_client = node->is_alive && node->life == flight->life && node->is_linked
                      && node->conn == flight->conn;
    if (is_lost(sim, node, flight, has_client)) {
        faulted(sim, FAULT_LOST_REQUEST);
        return;
    }
    if (!has_client)
        faulted(sim, FAULT_LOST_REPLY);
    struct store_answer answer = {0};
    bool is_tree = flight->call->op == STORE_TREE;
    if (!is_tree) {
        model_call(sim->model, flight->call, &answer);
        check_call(sim, flight->call, &answer);
        lease_heard(sim, node, flight->call, answer.verdict);
    }
    if (has_client && node->loses_replies) {
        faulted(sim, FAULT_LOST_REPLY);
    } else if (has_client) {
        struct flight *back = send_back(sim, node, FLY_ANSWER);
        back->token = flight->token;
        back->answer = is_tree ? NULL : copy_answer(&answer);
        back->call = is_tree ? flight->call : NULL;
        flight->call = is_tree ? NULL : flight->call;
    }
    deliver(sim);
}

/* ---- subscriptions ------------------------------------------------------------------------- */
static struct subscription *find_subscription(struct subscriptions *all, struct str root,
                                              bool watch)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->item[i].watch == watch && str_is(root, all->item[i].root))
            return &all->item[i];
    return NULL;
}

static void change(struct sim *sim, struct subscriptions *all, struct str root, bool watch, bool on)
{
    struct subscription *one = find_subscription(all, root, watch);
    if (one == NULL && on) {
        if (all->count == ROOTS_MAX)
            violated(sim, "more than %d subscriptions", ROOTS_MAX);
        one = &all->item[all->count++];
        *one = (struct subscription){.watch = watch};
        copy_text(one->root, sizeof one->root, root);
    }
    if (one == NULL)
        return;
    one->count += on ? 1 : -1;
    if (one->count <= 0)
        *one = all->item[--all->count];
}

void redis_subscribe(struct sim *sim, struct node *node, struct str root, bool watch, bool on)
{
    change(sim, &node->wanted, root, watch, on);
    if (!node->is_linked || node->loses_requests)
        return;
    struct flight *flight = send(sim, node, FLY_SUBSCRIBE);
    copy_text(flight->root, sizeof flight->root, root);
    flight->watch = watch;
    flight->on = on;
}

void redis_take_subscribe(struct sim *sim, struct flight *flight)
{
    struct node *node = &sim->node[flight->node];
    change(sim, &node->active, str_of(flight->root), flight->watch, flight->on);
}

static void message_to(struct sim *sim, struct node *node, struct str root, bool watch,
                       struct str bytes, int64_t delay)
{
    struct flight *flight =
        delay == 0 ? send_back(sim, node, FLY_MESSAGE) : fly(sim, FLY_MESSAGE, sim->now + delay);
    flight->node = node->index;
    flight->life = node->life;
    flight->conn = node->conn;
    flight->watch = watch;
    flight->len = bytes.len;
    flight->bytes = malloc(bytes.len + 1);
    if (flight->bytes == NULL)
        abort();
    memcpy(flight->bytes, bytes.at, bytes.len);
    copy_text(flight->root, sizeof flight->root, root);
}

/* In order, late, twice, or not at all. */
static void message_flies(struct sim *sim, struct node *node, struct str root, bool watch,
                          struct str bytes)
{
    int64_t delay = by_chance(sim, sim->delays) ? some_ms(sim, 1, 3000) : 0;
    if (delay > 0)
        faulted(sim, FAULT_DELAY);
    if (by_chance(sim, sim->drops)) {
        faulted(sim, FAULT_DROP);
        tell(sim, "a message to %s is lost", node->name);
    } else {
        message_to(sim, node, root, watch, bytes, delay);
    }
    if (by_chance(sim, sim->repeats)) {
        faulted(sim, FAULT_REPEAT);
        message_to(sim, node, root, watch, bytes, some_ms(sim, 1, 3000));
    }
}

void redis_publish(struct sim *sim, struct str root, bool watch, struct str bytes)
{
    for (size_t i = 0; i < sim->node_count; i++) {
        struct node *node = &sim->node[i];
        if (!node->is_alive || !node->is_linked || node->loses_replies
            || find_subscription(&node->active, root, watch) == NULL)
            continue;
        message_flies(sim, node, root, watch, bytes);
    }
}

/* ---- connections --------------------------------------------------------------------------- */
static void answer_offline(struct sim *sim, struct node *node)
{
    const struct store_answer offline = {.verdict = SAID_OFFLINE};
    size_t count = node->unanswered.count;
    while (count-- > 0 && node->unanswered.count > 0)
        node_answer(sim, node, node->unanswered.token[0], &offline);
}

static void reconnect_in(struct sim *sim, struct node *node, int64_t ms)
{
    if (node->is_reconnecting)
        return;
    node->is_reconnecting = true;
    struct flight *flight = fly(sim, FLY_RECONNECT, sim->now + ms);
    flight->node = node->index;
    flight->life = node->life;
}

void redis_cut(struct sim *sim, struct node *node)
{
    if (!node->is_linked)
        return;
    faulted(sim, FAULT_CUT);
    if (sim->redis_is_up)
        node->trouble_until = INT64_MAX;
    node->is_linked = node->loses_requests = node->loses_replies = false;
    node->conn++;
    node->active.count = 0;
    if (node->is_frozen)
        node->was_cut = true; /* it notices when it goes on */
    else
        redis_notice_cut(sim, node);
}

void redis_half_open(struct sim *sim, struct node *node, bool requests, bool replies, int64_t ms)
{
    if (!node->is_alive || !node->is_linked || !sim->redis_is_up || node->away_until > sim->now)
        return;
    tell(sim, "nothing gets from %s%s%s", requests ? node->name : "Redis", " to ",
         !requests ? node->name
         : replies ? "Redis, nor back"
                   : "Redis");
    faulted(sim, FAULT_HALF_OPEN);
    node->loses_requests = requests;
    node->loses_replies = replies;
    node->away_until = sim->now + ms;
    node->trouble_until = INT64_MAX;
    struct flight *flight = fly(sim, FLY_NO_PONG, sim->now + some_ms(sim, PING_MS, 2 * PING_MS));
    flight->node = node->index;
    flight->life = node->life;
    flight->conn = node->conn;
}

void redis_notice_cut(struct sim *sim, struct node *node)
{
    tell(sim, "%s loses its link", node->name);
    node->was_cut = false;
    node_link_down(sim, node);
    answer_offline(sim, node);
    reconnect_in(sim, node, sim->seed != 0 ? some_ms(sim, 1, 2000) : 10);
}

void redis_connect(struct sim *sim, struct node *node)
{
    node->is_reconnecting = false;
    if (!node->is_alive || node->is_linked)
        return;
    if (!sim->redis_is_up || sim->now < node->away_until) {
        reconnect_in(sim, node, 250);
        return;
    }
    node->is_linked = true;
    node->conn++;
    node->last_request = node->last_answer = sim->now;
    node->active = node->wanted;
    if (node->trouble_until == INT64_MAX)
        node->trouble_until = sim->now;
    tell(sim, "%s is linked", node->name);
    watch_begins(sim, node);
    if (!node->is_broker)
        promise_linked(sim, node);
    node_link_up(sim, node);
}

void redis_stop(struct sim *sim)
{
    if (!sim->redis_is_up)
        return;
    sim->redis_is_up = false;
    tell(sim, "Redis goes away");
    faulted(sim, FAULT_REDIS_AWAY);
    for (size_t i = 0; i < sim->node_count; i++)
        redis_cut(sim, &sim->node[i]);
}

void redis_start(struct sim *sim, bool keeps_writes)
{
    redis_stop(sim);
    sim->redis_is_up = true;
    sim->server++;
    if (!keeps_writes) {
        model_wipe(sim->model);
        known_wipe(sim);
        sim->losses++;
    }
    faulted(sim, keeps_writes ? FAULT_REDIS_RESTART : FAULT_REDIS_EMPTY);
    tell(sim, "Redis is back%s", keeps_writes ? "" : ", empty");
}

void redis_snapshot(struct sim *sim)
{
    if (sim->snapshot != NULL)
        model_snapshot_free(sim->snapshot);
    sim->snapshot = model_save(sim->model);
    known_save(sim);
}

void redis_fail_over(struct sim *sim)
{
    redis_stop(sim);
    sim->redis_is_up = true;
    sim->server++;
    if (sim->snapshot != NULL)
        model_restore(sim->model, sim->snapshot);
    else
        model_wipe(sim->model);
    known_restore(sim); /* nothing was saved: all zero */
    sim->losses++;
    faulted(sim, FAULT_REDIS_LOSES);
    tell(sim, "Redis fails over, losing writes");
}
