/* A daemon: its cores, and how their effects are carried out. As agentd and the broker do it, with
 * the model instead of a server. */
#include <stdio.h>
#include <string.h>

#include "api/api_codec.h"
#include "base/mem.h"
#include "sim/sim.h"
#include "wire/message.h"

#define AGENT_TOKENS   UINT64_C(1)
#define CANCELS_TOKENS (UINT64_C(1) << 60)
#define BROKER_TOKENS  (UINT64_C(1) << 61)
#define ORDERS_TOKENS  (UINT64_C(1) << 62)
#define OF_ORDER       (UINT64_C(1) << 62) /* in an ask, beside AGENT_ASK_INTERNAL */

static void feed_cancels(struct sim *sim, struct node *node, struct cancels_event event);
static void feed_broker(struct sim *sim, struct node *node, struct broker_event event);
static void feed_orders(struct sim *sim, struct node *node, struct orders_event event);

static void set_deadline(struct node *node)
{
    node->deadline = cancels_deadline(node->cancels);
    if (node->agent != NULL)
        node->deadline = instant_first(node->deadline, agent_deadline(node->agent));
    if (node->broker != NULL)
        node->deadline = instant_first(node->deadline, broker_deadline(node->broker));
    if (node->orders != NULL)
        node->deadline = instant_first(node->deadline, orders_deadline(node->orders));
}

static void ask_soon(struct sim *sim, struct node *node, const struct cancel_ask *ask, uint64_t key)
{
    struct flight *flight = fly(sim, FLY_ASK_CANCEL, sim->now);
    flight->node = node->index;
    flight->life = node->life;
    flight->asked = copy_ask(ask);
    flight->asked->ask = key;
}

/* ---- the agent's effects ------------------------------------------------------------------- */
static void publish(struct sim *sim, struct node *node, const struct agent_effect *effect)
{
    char bytes[MESSAGE_MAX_BYTES];
    size_t len = api_encode_record(&effect->record, bytes);
    struct store_call call = {.op = STORE_PUBLISH, .root = effect->root, .bytes = {bytes, len}};
    redis_request(sim, node, &call, AGENT_TOKENS);
}

static void open_process(struct sim *sim, struct node *node, const struct agent_effect *effect)
{
    size_t run = run_at(sim, node, effect->run);
    bool lives = run != SIZE_MAX && sim->run[run].process_is_alive;
    if (lives)
        sim->run[run].process_is_watched = true;
    struct agent_event event = {.kind = AGENT_PROCESS_OPENED,
                                .run = effect->run,
                                .problem = lives ? PROBLEM_NONE : PROBLEM_NOT_FOUND};
    char id[NAME_TEXT_MAX];
    copy_text(id, sizeof id, effect->run);
    event.run = str_of(id);
    node_feed(sim, node, event);
}

static void count(struct sim *sim, struct node *node, const struct agent_effect *effect)
{
    static const char *const what[] = {
        [COUNT_RECONCILE_FOUND] = "finds a cancel it had not heard of",
        [COUNT_MALFORMED] = "cannot use a message",
        [COUNT_UNREADABLE] = "meets a cancel of a newer version",
        [COUNT_OBSERVED] = "would have stopped a run",
        [COUNT_LATE] = "has a run that started too late",
        [COUNT_STOPPED] = NULL,
    };
    if (what[effect->which] != NULL)
        tell(sim, "%s %s", node->name, what[effect->which]);
}

static void notify(struct sim *sim, struct node *node, const struct agent_effect *effect)
{
    size_t run = run_at(sim, node, effect->run);
    if (run == SIZE_MAX)
        violated(sim, "a run that nobody started is told: %.*s", S(effect->run));
    check_told(sim, node, run, &effect->record);
    client_hears(sim, run, &effect->record, effect->grace);
}

static void moved(struct sim *sim, struct node *node, const struct agent_effect *effect)
{
    if (effect->from == effect->to)
        tell(sim, "%s: %.*s is stuck: %s", node->name, S(effect->run), effect->because);
}

static void carry_out(struct sim *sim, struct node *node, const struct agent_effect *effect)
{
    size_t run;
    switch (effect->kind) {
    case DO_CALL:
        redis_request(sim, node, &effect->call, effect->token);
        break;
    case DO_SUBSCRIBE:
    case DO_UNSUBSCRIBE:
        redis_subscribe(sim, node, effect->root, false, effect->kind == DO_SUBSCRIBE);
        break;
    case DO_ANSWER:
        client_answered(sim, effect->ask, &effect->reply);
        break;
    case DO_NOTIFY:
        notify(sim, node, effect);
        break;
    case DO_OPEN_PROCESS:
        break; /* afterwards: it feeds the agent */
    case DO_CLOSE_PROCESS:
        run = run_at(sim, node, effect->run);
        if (run != SIZE_MAX)
            sim->run[run].process_is_watched = false;
        break;
    case DO_SIGNAL:
        process_signalled_here(sim, node, effect->run, effect->signal);
        break;
    case DO_CANCEL_THERE:
        agent_asked_there(sim, node, effect);
        break;
    case DO_ASK_CANCEL:
        ask_soon(sim, node, &effect->cancel, effect->ask);
        break;
    case DO_PUBLISH:
        publish(sim, node, effect);
        break;
    case DO_MOVED:
        moved(sim, node, effect);
        break;
    case DO_SAY:
        tell(sim, "%s: %s", node->name, agent_news_text(effect->news));
        break;
    case DO_COUNT:
        count(sim, node, effect);
        break;
    }
}

static void check_generation(struct sim *sim, struct node *node)
{
    struct str now = agent_generation(node->agent);
    if (now.len == 0 || str_is(now, node->generation))
        return;
    bool lost = node->generation[0] != '\0';
    copy_text(node->generation, sizeof node->generation, now);
    feed_cancels(sim, node,
                 (struct cancels_event){.kind = CANCELS_LINK_UP, .lost = lost, .generation = now});
}

void node_feed(struct sim *sim, struct node *node, struct agent_event event)
{
    event.at = (struct instant){sim->now};
    event.wall = node_wall(sim, node);
    if (agent_step(node->agent, &event, &node->todo) != ERR_OK)
        violated(sim, "%s is out of memory", node->name);
    struct agent_effects todo = node->todo; /* what opens a process steps the agent again */
    node->todo = (struct agent_effects){0};
    for (size_t i = 0; i < todo.count; i++)
        carry_out(sim, node, &todo.item[i]);
    for (size_t i = 0; i < todo.count; i++)
        if (todo.item[i].kind == DO_OPEN_PROCESS)
            open_process(sim, node, &todo.item[i]);
    mem_free(node->todo.item);
    node->todo = todo;
    check_generation(sim, node);
    check_bounds(sim, node);
    set_deadline(node);
}

/* ---- the other cores ----------------------------------------------------------------------- */
static void cancel_answered(struct sim *sim, struct node *node, const struct cancels_effect *effect)
{
    if (node->agent != NULL)
        node_feed(sim, node,
                  (struct agent_event){
                      .kind = AGENT_CANCEL_ANSWERED, .ask = effect->ask, .result = effect->result});
    else if ((effect->ask & AGENT_ASK_INTERNAL) != 0 && (effect->ask & OF_ORDER) != 0)
        feed_orders(sim, node,
                    (struct orders_event){.kind = ORDERS_CANCEL_ANSWERED,
                                          .ask = effect->ask & ~(AGENT_ASK_INTERNAL | OF_ORDER),
                                          .result = effect->result});
    else if ((effect->ask & AGENT_ASK_INTERNAL) != 0)
        feed_broker(sim, node,
                    (struct broker_event){.kind = BROKER_CANCEL_ANSWERED,
                                          .ask = effect->ask & ~AGENT_ASK_INTERNAL,
                                          .result = effect->result});
    else
        cancel_concluded(sim, effect->ask, effect->result->problem, false, effect->result);
}

static void carry_out_cancel(struct sim *sim, struct node *node,
                             const struct cancels_effect *effect)
{
    switch (effect->kind) {
    case CANCELS_DO_CALL:
        redis_request(sim, node, &effect->call, effect->token);
        break;
    case CANCELS_DO_WATCH:
    case CANCELS_DO_UNWATCH:
        redis_subscribe(sim, node, effect->root, true, effect->kind == CANCELS_DO_WATCH);
        break;
    case CANCELS_DO_ANSWER:
        cancel_answered(sim, node, effect);
        break;
    case CANCELS_DO_AUDIT:
        break;
    }
}

static void feed_cancels(struct sim *sim, struct node *node, struct cancels_event event)
{
    event.at = (struct instant){sim->now};
    event.wall = node_wall(sim, node);
    if (cancels_step(node->cancels, &event, &node->cancels_todo) != ERR_OK)
        violated(sim, "%s is out of memory", node->name);
    for (size_t i = 0; i < node->cancels_todo.count; i++)
        carry_out_cancel(sim, node, &node->cancels_todo.item[i]);
    set_deadline(node);
}

static void feed_broker(struct sim *sim, struct node *node, struct broker_event event)
{
    event.at = (struct instant){sim->now};
    event.wall = node_wall(sim, node);
    if (broker_step(node->broker, &event, &node->broker_todo) != ERR_OK)
        violated(sim, "%s is out of memory", node->name);
    for (size_t i = 0; i < node->broker_todo.count; i++) {
        const struct broker_effect *effect = &node->broker_todo.item[i];
        if (effect->kind == BROKER_DO_CALL)
            redis_request(sim, node, &effect->call, effect->token);
        else if (effect->kind == BROKER_DO_ASK_CANCEL)
            ask_soon(sim, node, &effect->cancel, effect->ask | AGENT_ASK_INTERNAL);
        else
            tell(sim, "%s: %s%s%.*s", node->name, broker_fact_text(effect->fact),
                 effect->run.len > 0 ? ": " : "", S(effect->run));
    }
    set_deadline(node);
}

static void feed_orders(struct sim *sim, struct node *node, struct orders_event event)
{
    event.at = (struct instant){sim->now};
    event.wall = sim_wall(sim);
    if (orders_step(node->orders, &event, &node->orders_todo) != ERR_OK)
        violated(sim, "%s is out of memory", node->name);
    for (size_t i = 0; i < node->orders_todo.count; i++) {
        const struct orders_effect *effect = &node->orders_todo.item[i];
        if (effect->kind == ORDERS_DO_CALL)
            redis_request(sim, node, &effect->call, effect->token);
        else if (effect->kind == ORDERS_DO_ASK_CANCEL)
            ask_soon(sim, node, &effect->cancel, effect->ask | AGENT_ASK_INTERNAL | OF_ORDER);
        else if (effect->kind == ORDERS_DO_ANSWER)
            order_answered(sim, effect->ask, &effect->result);
        else
            tell(sim, "%s: order %.*s is carried out", node->name, S(effect->result.id));
    }
    set_deadline(node);
}

void node_asks_order(struct sim *sim, struct node *node, const struct order_ask *ask)
{
    feed_orders(sim, node, (struct orders_event){.kind = ORDERS_ASK, .asked = ask});
}

/* An operator looked: the losses are real. Who is frozen is not asked: it would hear of it when it
 * goes on, with whatever came then. */
void node_confirm_losses(struct sim *sim, struct node *node)
{
    sim->confirmed_at = sim->now;
    if (node->is_alive && node->is_broker && !node->is_frozen)
        feed_broker(sim, node, (struct broker_event){.kind = BROKER_CONFIRM_LOSSES});
}

void node_ask_cancel(struct sim *sim, struct node *node, const struct cancel_ask *ask)
{
    feed_cancels(sim, node, (struct cancels_event){.kind = CANCELS_ASK, .asked = ask});
}

/* ---- what arrives -------------------------------------------------------------------------- */
void node_answer(struct sim *sim, struct node *node, uint64_t token,
                 const struct store_answer *answer)
{
    if (!redis_answered(node, token))
        return;
    if (token >= ORDERS_TOKENS)
        feed_orders(sim, node,
                    (struct orders_event){.kind = ORDERS_ANSWER, .token = token, .answer = answer});
    else if (token >= BROKER_TOKENS)
        feed_broker(sim, node,
                    (struct broker_event){.kind = BROKER_ANSWER, .token = token, .answer = answer});
    else if (token >= CANCELS_TOKENS)
        feed_cancels(
            sim, node,
            (struct cancels_event){.kind = CANCELS_ANSWER, .token = token, .answer = answer});
    else
        node_feed(sim, node,
                  (struct agent_event){.kind = AGENT_ANSWER, .token = token, .answer = answer});
}

void node_message(struct sim *sim, struct node *node, struct str root, bool watch, struct str bytes)
{
    struct message message;
    struct agent_event event = {.kind = AGENT_GARBAGE_SEEN, .root = root};
    if (watch) {
        feed_cancels(sim, node, (struct cancels_event){.kind = CANCELS_HINT, .root = root});
        return;
    }
    if (root.len == 0) {
        node_feed(sim, node, (struct agent_event){.kind = AGENT_ORDERS_SEEN});
        return;
    }
    enum err err = wire_message_decode(bytes, &message);
    if (err == ERR_OK && message.kind == MESSAGE_CANCEL) {
        event.kind = AGENT_CANCEL_SEEN;
        event.record = &message.cancel;
    } else if (wire_text_cancel(bytes, &event.text, &event.reason) == ERR_OK) {
        event.kind = AGENT_TEXT_SEEN;
    } else if (err == ERR_INVALID) {
        event.kind = AGENT_NEWER_SEEN;
    }
    node_feed(sim, node, event);
}

/* A broker reads the generation by itself before it looks at anything else. */
static void broker_link_up(struct sim *sim, struct node *node, bool another)
{
    struct store_answer answer;
    model_call(sim->model, &(struct store_call){.op = STORE_GENERATION}, &answer);
    bool lost = another || (node->generation[0] != '\0' && !str_is(answer.text, node->generation));
    copy_text(node->generation, sizeof node->generation, answer.text);
    feed_cancels(sim, node,
                 (struct cancels_event){.kind = CANCELS_LINK_UP,
                                        .lost = lost,
                                        .generation = str_of(node->generation)});
    feed_broker(sim, node, (struct broker_event){.kind = BROKER_LINK_UP, .lost = lost});
    feed_orders(sim, node, (struct orders_event){.kind = ORDERS_LINK_UP, .lost = lost});
}

void node_link_up(struct sim *sim, struct node *node)
{
    char server[32];
    snprintf(server, sizeof server, "server%u", sim->server);
    bool another = node->server[0] != '\0' && strcmp(server, node->server) != 0;
    memcpy(node->server, server, sizeof server);
    if (node->is_broker) {
        broker_link_up(sim, node, another);
        return;
    }
    node_feed(sim, node, (struct agent_event){.kind = AGENT_LINK_UP, .text = str_of(server)});
    feed_cancels(sim, node,
                 (struct cancels_event){.kind = CANCELS_LINK_UP,
                                        .lost = another,
                                        .generation = str_of(node->generation)});
}

void node_link_down(struct sim *sim, struct node *node)
{
    if (node->agent != NULL)
        node_feed(sim, node, (struct agent_event){.kind = AGENT_LINK_DOWN});
    feed_cancels(sim, node, (struct cancels_event){.kind = CANCELS_LINK_DOWN});
    if (node->broker != NULL)
        feed_broker(sim, node, (struct broker_event){.kind = BROKER_LINK_DOWN});
    if (node->orders != NULL)
        feed_orders(sim, node, (struct orders_event){.kind = ORDERS_LINK_DOWN});
}

void node_time(struct sim *sim, struct node *node)
{
    struct instant now = {sim->now};
    if (node->agent != NULL && instant_reached(now, agent_deadline(node->agent)))
        node_feed(sim, node, (struct agent_event){.kind = AGENT_TIME_PASSED});
    if (instant_reached(now, cancels_deadline(node->cancels)))
        feed_cancels(sim, node, (struct cancels_event){.kind = CANCELS_TIME_PASSED});
    if (node->broker != NULL && instant_reached(now, broker_deadline(node->broker)))
        feed_broker(sim, node, (struct broker_event){.kind = BROKER_TIME_PASSED});
    if (node->orders != NULL && instant_reached(now, orders_deadline(node->orders)))
        feed_orders(sim, node, (struct orders_event){.kind = ORDERS_TIME_PASSED});
    set_deadline(node);
}

/* ---- life ---------------------------------------------------------------------------------- */
static struct agent *new_agent(struct sim *sim, const struct node *node)
{
    return agent_new(&(struct agent_options){
        .replica = str_of(node->replica),
        .mode = node->mode,
        .lease = SECONDS(15),
        .reconcile_every = SECONDS(30),
        .lost_grace = SECONDS(5),
        .grace_notify = SECONDS(10),
        .grace_term = SECONDS(5),
        .grace_http = SECONDS(5),
        .kill_patience = SECONDS(5),
        .remember = SECONDS(900),
        .tombstone_ttl = SECONDS(86400),
        .max_runs = sim->max_runs,
        .max_tree_runs = sim->max_tree_runs,
        .max_children = sim->max_children,
        .max_clients = 4096,
        .allow_without_redis = true,
        .seed = rng_next(&sim->rng),
        .token_base = AGENT_TOKENS,
        .encode_record = api_encode_record,
        .decode_record = api_decode_record,
        .encode_meta = api_encode_meta,
        .decode_meta = api_decode_meta,
        .decode_order = api_decode_order,
        .encode_link = api_encode_link,
        .encode_story = api_encode_story,
    });
}

static struct broker *new_broker(const struct node *node)
{
    return broker_new(&(struct broker_options){
        .id = str_of(node->replica),
        .lease = SECONDS(15),
        .lost_grace = SECONDS(5),
        .sweep_every = SECONDS(1),
        .retransmit_every = SECONDS(5),
        .roots_per_sweep = 200,
        .token_base = BROKER_TOKENS,
        .encode = api_encode_record,
        .decode = api_decode_record,
        .encode_link = api_encode_link,
    });
}

static struct orders *new_orders(const struct node *node)
{
    return orders_new(&(struct orders_options){
        .id = str_of(node->replica),
        .remember = SECONDS(900),
        .lease = SECONDS(15),
        .jobs_max = 64,
        .token_base = ORDERS_TOKENS,
        .decode_order = api_decode_order,
        .decode_meta = api_decode_meta,
        .decode_progress = api_decode_progress,
        .encode_progress = api_encode_progress,
    });
}

static struct cancels *new_cancels(void)
{
    return cancels_new(&(struct cancels_options){
        .hold = SECONDS(900),
        .hold_max = 10000,
        .asks_max = 256,
        .lease = SECONDS(15),
        .token_base = CANCELS_TOKENS,
        .encode = api_encode_record,
        .decode = api_decode_record,
        .encode_link = api_encode_link,
    });
}

struct node *node_add(struct sim *sim, const char *name, bool is_broker, enum agent_mode mode)
{
    struct node *node = &sim->node[sim->node_count];
    *node = (struct node){
        .name = name, .is_broker = is_broker, .mode = mode, .index = (uint8_t)sim->node_count++};
    return node;
}

void node_start(struct sim *sim, struct node *node)
{
    node->life++;
    snprintf(node->replica, sizeof node->replica, "%s-%u", node->name, node->life);
    node->is_alive = true;
    node->trouble_until = node->thawed_at = sim->now;
    node->is_frozen = node->is_linked = node->is_reconnecting = node->was_cut = false;
    node->loses_requests = node->loses_replies = false;
    node->wanted.count = node->active.count = 0;
    node->server[0] = node->generation[0] = '\0';
    node->cancels = new_cancels();
    node->agent = node->is_broker ? NULL : new_agent(sim, node);
    node->broker = node->is_broker ? new_broker(node) : NULL;
    node->orders = node->is_broker ? new_orders(node) : NULL;
    set_deadline(node);
    tell(sim, "%s starts", node->name);
    if (node->agent != NULL)
        redis_subscribe(sim, node, STR_NONE, false, true);
    redis_connect(sim, node);
}

void node_crash(struct sim *sim, struct node *node)
{
    if (!node->is_alive)
        return;
    tell(sim, "%s crashes", node->name);
    faulted(sim, node->is_broker ? FAULT_BROKER_CRASH : FAULT_AGENTD_CRASH);
    node_fini(node);
    node->is_alive = node->is_linked = node->is_frozen = false;
    sim->crashes++;
    clients_lose_node(sim, node);
}

void node_freeze(struct sim *sim, struct node *node, int64_t ms)
{
    if (!node->is_alive || node->is_frozen)
        return;
    tell(sim, "%s is frozen", node->name);
    faulted(sim, ms > 15000 ? FAULT_FREEZE_LONG : FAULT_FREEZE);
    node->is_frozen = true;
    node->frozen_at = sim->now;
    node->trouble_until = INT64_MAX;
    node->frozen_until = sim->now + ms;
    struct flight *flight = fly(sim, FLY_RESUME, node->frozen_until);
    flight->node = node->index;
    flight->life = node->life;
}

void node_thaw(struct sim *sim, struct node *node, unsigned life)
{
    if (!node->is_alive || node->life != life)
        return;
    tell(sim, "%s goes on", node->name);
    node->is_frozen = false;
    node->thawed_at = sim->now;
    watch_goes_on(sim, node);
    if (node->is_linked && !node->loses_requests && !node->loses_replies)
        node->trouble_until = sim->now;
    if (node->was_cut)
        redis_notice_cut(sim, node);
}

void node_fini(struct node *node)
{
    agent_free(node->agent);
    cancels_free(node->cancels);
    broker_free(node->broker);
    orders_free(node->orders);
    mem_free(node->todo.item);
    mem_free(node->cancels_todo.item);
    mem_free(node->broker_todo.item);
    mem_free(node->orders_todo.item);
    mem_free(node->unanswered.token);
    node->agent = NULL;
    node->cancels = NULL;
    node->broker = NULL;
    node->orders = NULL;
    node->todo = (struct agent_effects){0};
    node->cancels_todo = (struct cancels_effects){0};
    node->broker_todo = (struct broker_effects){0};
    node->orders_todo = (struct orders_effects){0};
    node->unanswered = (struct token_list){0};
}
