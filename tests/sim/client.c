/* Agent processes: they start runs, hear cancels, obey or do not. A call to their agentd takes no
 * time; an agentd that is away or frozen is called again a little later. */
#include <stdio.h>
#include <string.h>

#include "sim/sim.h"

enum { AGAIN_MS = 500, WORK_MS = 20 };

size_t run_named(const struct sim *sim, struct str id)
{
    for (size_t i = sim->run_count; i-- > 0;)
        if (str_is(id, sim->run[i].id) && sim->run[i].phase != RUN_REFUSED_START)
            return i;
    return SIZE_MAX;
}

size_t run_at(const struct sim *sim, const struct node *node, struct str id)
{
    for (size_t i = sim->run_count; i-- > 0;) {
        const struct sim_run *run = &sim->run[i];
        if (str_is(id, run->id) && run->phase != RUN_REFUSED_START
            && sim->client[run->client].node == node->index)
            return i;
    }
    return SIZE_MAX;
}

static struct node *node_of(struct sim *sim, const struct sim_run *run)
{
    return &sim->node[sim->client[run->client].node];
}

static bool is_there(const struct node *node)
{
    return node->is_alive && !node->is_frozen;
}

static struct agent_caller caller_of(const struct client *client)
{
    return (struct agent_caller){.token_hash = str_of(client->hash)};
}

static void later(struct sim *sim, size_t run, enum client_act act, enum run_state state,
                  int64_t ms)
{
    struct flight *flight = fly(sim, FLY_CLIENT, sim->now + ms);
    flight->run = run;
    flight->act = act;
    flight->state = state;
    flight->life = sim->run[run].client_life;
}

struct client *client_add(struct sim *sim, const char *name, struct node *node)
{
    struct client *client = &sim->client[sim->client_count];
    *client = (struct client){.name = name,
                              .node = node->index,
                              .index = (uint8_t)sim->client_count++,
                              .is_alive = true,
                              .life = 1};
    snprintf(client->hash, sizeof client->hash, "%s-1", name);
    return client;
}

/* Another process of its client goes on with the run: what was said to the one before, nobody
 * heard. */
static bool asker_was_replaced(const struct sim *sim, const struct ask *ask)
{
    const struct client *client = &sim->client[sim->run[ask->run].client];
    unsigned last = client->is_alive ? client->life : client->life - 1;
    return ask->life < last;
}

/* ---- starts -------------------------------------------------------------------------------- */
size_t client_run(struct sim *sim, struct client *client, const char *id, const char *parents)
{
    size_t place = sim->run_count++;
    struct sim_run *run = &sim->run[place];
    struct str root = parents[0] != '\0' ? path_root(str_of(parents)) : str_of(id);
    *run = (struct sim_run){.client = client->index,
                            .obeys = true,
                            .obeys_term = true,
                            .deadline = SPAN_NONE,
                            .client_life = client->life,
                            .ends_as = RUN_CANCELLED};
    copy_text(run->id, sizeof run->id, str_of(id));
    copy_text(run->root, sizeof run->root, root);
    copy_text(run->parents, sizeof run->parents, str_of(parents));
    return place;
}

/* Some that have no process can be asked by HTTP. */
static bool has_agent(const struct sim_run *run, size_t place)
{
    return !run->has_process && place % 2 == 1;
}

/* A later life of the client takes over what an earlier one began. */
static struct ask_start start_of(const struct sim *sim, const struct sim_run *run, size_t place)
{
    const struct client *client = &sim->client[run->client];
    struct ask_start start = {
        .incarnation = str_of(client->incarnation),
        .takeover = client->begins_again || run->adopts > 0,
        .run_id = str_of(run->id),
        .path = str_of(run->parents),
        .path_was_given = run->parents[0] != '\0',
        .meta = {.agent = str_of(agent_of(run))},
        .deadline = run->deadline,
        .on_end = run->on_end,
        .on_lost = run->on_lost,
        .on_client_gone = run->on_client_gone,
        .when_isolated = run->when_isolated,
        .epoch = run->phase == RUN_ALIVE ? run->epoch : run->adopts,
        .stop_count = run->has_process || has_agent(run, place) ? 2 : 0,
    };
    start.stop[0] = (struct stop_target){.kind = STOP_NOTIFY, .grace = SPAN_NONE};
    start.stop[1] = (struct stop_target){
        .kind = STOP_PROCESS, .grace = SPAN_NONE, .pid = 1000 + (uint32_t)place};
    if (has_agent(run, place))
        start.stop[1] = (struct stop_target){
            .kind = STOP_HTTP, .grace = SPAN_NONE, .protocol = LINK_HTTP, .to = STR("http://here")};
    return start;
}

void client_asks_start(struct sim *sim, size_t place)
{
    const struct sim_run *run = &sim->run[place];
    const struct client *client = &sim->client[run->client];
    bool is_wanted = run->phase == RUN_ASKED || run->phase == RUN_ALIVE;
    if (client->is_alive && is_wanted && !run->is_ending)
        client_retries(sim, place);
}

void client_retries(struct sim *sim, size_t place)
{
    struct sim_run *run = &sim->run[place];
    struct node *node = node_of(sim, run);
    struct client *client = &sim->client[run->client];
    if (!is_there(node) || !client->is_connected) {
        later(sim, place, CLIENT_STARTS, RUN_NONE, AGAIN_MS);
        return;
    }
    if (run->has_process && !run->process_is_alive && run->phase != RUN_DEAD) {
        run->process++;
        run->process_is_alive = true;
    }
    run->asked_at = sim->now;
    struct ask_start start = start_of(sim, run, place);
    size_t ask = ask_open(sim, (struct ask){.kind = ASK_START, .run = place, .life = client->life});
    node_feed(sim, node,
              (struct agent_event){.kind = AGENT_ASKED_START,
                                   .ask = sim->ask[ask].ask,
                                   .caller = caller_of(client),
                                   .start = &start});
}

static void run_dies(struct sim *sim, struct sim_run *run)
{
    run->phase = RUN_DEAD;
    run->process_is_alive = false;
    run_recount(sim, run);
}

/* It has ended meanwhile, before its agentd knew it again. */
static void end_what_nobody_wants(struct sim *sim, size_t place, const struct agent_reply *reply)
{
    struct sim_run *run = &sim->run[place];
    if (!sim->client[run->client].is_alive || reply->problem != PROBLEM_NONE)
        return;
    run->phase = RUN_ALIVE;
    run->epoch = reply->epoch;
    run->is_settled = false;
    run->is_ending = true;
    later(sim, place, CLIENT_ENDS, run->ends_as, 0);
}

/* Its agentd may not have heard yet of a later life. */
static bool is_latest(const struct sim *sim, const struct sim_run *run, uint32_t epoch)
{
    uint16_t known = known_find(sim, str_of(run->id));
    return known != NOBODY && epoch >= sim->known.item[known].now.epoch;
}

static void start_answered(struct sim *sim, const struct ask *ask, const struct agent_reply *reply)
{
    const size_t place = ask->run;
    const bool is_unheard = asker_was_replaced(sim, ask);
    struct sim_run *run = &sim->run[place];
    if (run->phase == RUN_DEAD) {
        end_what_nobody_wants(sim, place, reply);
        return;
    }
    if (is_unheard && reply->problem != PROBLEM_NONE)
        return; /* the next one asks by itself */
    bool is_too_many = reply->problem == PROBLEM_OVERLOADED && run->phase == RUN_ASKED;
    switch (is_too_many ? PROBLEM_FULL : reply->problem) {
    case PROBLEM_NONE:
        tell(sim, "%s %s%s", run->id, run->phase == RUN_ALIVE ? "is carried on" : "starts",
             reply->is_protected ? "" : " unprotected");
        run->phase = RUN_ALIVE;
        run->told_life = reply->created ? 0 : run->told_life; /* another life is told for itself */
        run->epoch = reply->epoch;
        run->is_protected = reply->is_protected;
        run->is_superseded = run->is_superseded && !is_latest(sim, run, reply->epoch);
        run->is_between_lives = run->is_between_lives && is_unheard;
        run->known_life = node_of(sim, run)->life;
        run_recount(sim, run);
        break;
    case PROBLEM_UNAVAILABLE:
    case PROBLEM_UNKNOWN_OUTCOME:
    case PROBLEM_OVERLOADED:
        later(sim, place, CLIENT_STARTS, RUN_NONE, AGAIN_MS);
        break;
    default:
        tell(sim, "%s may not %s: %s", run->id, run->phase == RUN_ALIVE ? "go on" : "start",
             problem_code(reply->problem));
        run->was_stopped = run->phase == RUN_ALIVE;
        run->phase = run->phase == RUN_ALIVE ? RUN_DEAD : RUN_REFUSED_START;
        run->process_is_alive = false;
        run_recount(sim, run);
        run->is_settled = true;
        break;
    }
}

/* ---- takeovers ----------------------------------------------------------------------------- */
/* It has the same token. */
bool client_takes_over(struct sim *sim, size_t place, unsigned further)
{
    if (sim->run_count == RUNS_MAX)
        return false;
    const struct sim_run *run = &sim->run[place];
    bool is_last_life = run_named(sim, str_of(run->id)) == place && !run->is_superseded;
    uint16_t known = known_find(sim, str_of(run->id));
    size_t half = sim->client_count / 2;
    size_t other = run->client / half * half + (run->client + further) % half;
    struct client *client = &sim->client[other];
    bool was_there = run_at(sim, &sim->node[client->node], str_of(run->id)) != SIZE_MAX;
    if (!is_last_life || was_there || known == NOBODY || other == run->client || !client->is_alive)
        return false;
    bool was_lost = sim->known.item[known].now.state == RUN_LOST;
    size_t next = client_run(sim, client, run->id, run->parents);
    struct sim_run *life = &sim->run[next];
    life->has_process = run->has_process;
    life->obeys = life->obeys_term = true;
    life->on_end = run->on_end;
    life->on_lost = run->on_lost;
    life->adopts = was_lost ? 0 : run->epoch;
    tell(sim, "%s takes over %s", client->name, run->id);
    later(sim, next, CLIENT_STARTS, RUN_NONE, 0);
    return true;
}

/* Who waits for the loss is faster: what the broker has sent is on its way for a while. */
void clients_race_the_loss(struct sim *sim, struct node *broker, const struct store_call *lost)
{
    enum { ON_ITS_WAY_MS = 200 };
    size_t run = run_named(sim, lost->run);
    bool begins = sim->has_rival && !lost->only_suspect && run != SIZE_MAX
                  && sim->run[run].phase == RUN_ALIVE
                  && (client_takes_over(sim, run, 1) || client_takes_over(sim, run, 2));
    if (!begins)
        return;
    sim->has_rival = false;
    broker->last_request = sim->now + ON_ITS_WAY_MS;
}

/* ---- ends ---------------------------------------------------------------------------------- */
void client_ends(struct sim *sim, size_t place, enum run_state state)
{
    struct sim_run *run = &sim->run[place];
    struct node *node = node_of(sim, run);
    struct client *client = &sim->client[run->client];
    if (!client->is_alive || run->phase != RUN_ALIVE)
        return;
    run->is_ending = true;
    run_recount(sim, run);
    if (!is_there(node)) {
        later(sim, place, CLIENT_ENDS, state, AGAIN_MS);
        return;
    }
    struct ask_end end = {.run = str_of(run->id), .epoch = run->epoch, .state = state};
    size_t ask = ask_open(sim, (struct ask){.kind = ASK_END, .run = place, .life = client->life});
    node_feed(sim, node,
              (struct agent_event){.kind = AGENT_ASKED_END,
                                   .ask = sim->ask[ask].ask,
                                   .caller = caller_of(client),
                                   .end = &end});
}

static void end_answered(struct sim *sim, const struct ask *ask, const struct agent_reply *reply)
{
    const size_t place = ask->run;
    struct sim_run *run = &sim->run[place];
    if (asker_was_replaced(sim, ask))
        return;
    bool must_repeat =
        reply->problem == PROBLEM_UNAVAILABLE || reply->problem == PROBLEM_UNKNOWN_OUTCOME;
    bool was_wrong = reply->problem == PROBLEM_NOT_CANCELLED;
    if (must_repeat || was_wrong) {
        later(sim, place, CLIENT_ENDS, was_wrong ? RUN_ERROR : run->ends_as, AGAIN_MS);
        return;
    }
    if (reply->problem == PROBLEM_NONE)
        tell(sim, "%s ends %s%s%s%s", run->id, run_state_name(reply->state),
             reply->finished_anyway != RUN_NONE ? ", finished_anyway " : "",
             reply->finished_anyway != RUN_NONE ? run_state_name(reply->finished_anyway) : "",
             reply->pending ? ", pending" : "");
    else
        tell(sim, "%s ends: %s", run->id, problem_code(reply->problem));
    run->is_settled = reply->problem != PROBLEM_NOT_FOUND;
    if (!run->is_settled && run->process_is_alive) { /* its agentd may just be taking it on */
        struct flight *flight = fly(sim, FLY_PROCESS, sim->now + 1);
        flight->run = place;
        flight->token = run->process;
        return;
    }
    run_dies(sim, run);
}

/* ---- cancels ------------------------------------------------------------------------------- */
void client_hears(struct sim *sim, size_t place, const struct cancel_record *record,
                  struct span grace)
{
    struct sim_run *run = &sim->run[place];
    struct client *client = &sim->client[run->client];
    (void)grace;
    if (!client->is_alive || run->phase == RUN_DEAD)
        return;
    tell(sim, "%s is told: %.*s", run->id, S(record->reason));
    run->was_stopped = true;
    if (!run->obeys || run->is_ending)
        return;
    int64_t work = sim->seed != 0 ? some_ms(sim, 0, 2000) : WORK_MS;
    later(sim, place, CLIENT_ACKS, RUN_NONE, work / 2);
    later(sim, place, CLIENT_ENDS, run->ends_as, work);
}

void client_acks(struct sim *sim, size_t place)
{
    struct sim_run *run = &sim->run[place];
    struct node *node = node_of(sim, run);
    struct client *client = &sim->client[run->client];
    if (!client->is_alive || !is_there(node) || run->phase != RUN_ALIVE)
        return;
    struct ask_ack ack = {.run = str_of(run->id), .epoch = run->epoch, .phase = ACK_ACKNOWLEDGED};
    size_t ask = ask_open(sim, (struct ask){.kind = ASK_ACK, .run = place});
    node_feed(sim, node,
              (struct agent_event){.kind = AGENT_ASKED_ACK,
                                   .ask = sim->ask[ask].ask,
                                   .caller = caller_of(client),
                                   .ack = &ack});
}

void cancel_concluded(struct sim *sim, uint64_t key, enum problem problem, bool pending,
                      const struct cancel_result *result)
{
    for (size_t i = 0; i < sim->ask_count; i++) {
        if (sim->ask[i].ask != key)
            continue;
        struct sim_cancel *cancel = &sim->cancel[sim->ask[i].cancel];
        sim->ask[i].ask = 0;
        check_cancel_answer(sim, cancel, problem, result);
        cancel->was_unknown = result != NULL && !result->known;
        cancel->is_accepted = problem == PROBLEM_NONE && !cancel->is_only_counted;
        cancel->is_pending = pending;
        cancel->losses = sim->losses;
        cancel->crashes = sim->crashes;
        tell(sim, "cancel of %s: %s", cancel->target,
             problem != PROBLEM_NONE ? problem_code(problem)
             : pending               ? "pending"
                                     : "requested");
        return;
    }
}

/* Of an id that only others have named nobody can say in which tree it is. */
static bool was_seen(const struct known *known)
{
    return known->now.state != RUN_NONE && known->now.state != RUN_NEVER;
}

void cancel_as(struct sim *sim, struct node *node, const struct cancel_ask *asked)
{
    if (!is_there(node) || sim->cancel_count == CANCELS_MAX)
        return;
    size_t place = sim->cancel_count++;
    struct sim_cancel *cancel = &sim->cancel[place];
    *cancel = (struct sim_cancel){.losses = sim->losses,
                                  .includes_self = asked->include_self,
                                  .is_only_counted = asked->dry_run};
    uint16_t known = known_find(sim, asked->run);
    size_t run = run_named(sim, asked->run);
    struct str root = asked->root.len > 0 ? asked->root
                      : run != SIZE_MAX   ? str_of(sim->run[run].root)
                                          : asked->run;
    copy_text(cancel->root, sizeof cancel->root, root);
    copy_text(cancel->target, sizeof cancel->target, asked->run);
    cancel->had_life =
        known != NOBODY && sim->known.item[known].alive > 0 && was_seen(&sim->known.item[known]);
    tell(sim, "%s is asked to cancel %s%s%s", node->name,
         asked->include_self ? "" : "what is below ", cancel->target,
         asked->dry_run ? ", only to count" : "");
    struct ask open = {.kind = ASK_CANCEL, .cancel = place, .node = node->index};
    struct cancel_ask ask = *asked;
    ask.ask = sim->ask[ask_open(sim, open)].ask;
    ask.by = node->is_broker ? STR("user:sue") : STR("client:sue");
    if (node->is_broker)
        node_ask_cancel(sim, node, &ask);
    else
        node_feed(sim, node,
                  (struct agent_event){.kind = AGENT_ASKED_CANCEL,
                                       .ask = ask.ask,
                                       .caller = {.operator_ = true},
                                       .cancel = &ask});
    if (!node->is_broker && !asked->dry_run && asked->expect_at_most < 0)
        check_local_first(sim, node, cancel);
}

void cancel_at(struct sim *sim, struct node *node, const char *root, const char *target,
               const char *reason, struct span grace)
{
    cancel_as(sim, node,
              &(struct cancel_ask){.run = str_of(target),
                                   .root = str_of(root),
                                   .reason = str_of(reason),
                                   .grace = grace,
                                   .timeout = SPAN_NONE,
                                   .expect_at_most = -1,
                                   .include_self = true});
}

/* ---- fences and links ---------------------------------------------------------------------- */
void client_fences(struct sim *sim, size_t place, const char *write_id)
{
    struct sim_run *run = &sim->run[place];
    struct node *node = node_of(sim, run);
    if (!is_there(node) || run->phase != RUN_ALIVE)
        return;
    struct ask_fence fence = {
        .run = str_of(run->id), .epoch = run->epoch, .write_id = str_of(write_id)};
    struct ask ask = {.kind = ASK_FENCE, .run = place};
    copy_text(ask.text, sizeof ask.text, str_of(write_id));
    size_t key = ask_open(sim, ask);
    node_feed(sim, node,
              (struct agent_event){.kind = AGENT_ASKED_FENCE,
                                   .ask = sim->ask[key].ask,
                                   .caller = caller_of(&sim->client[run->client]),
                                   .fence = &fence});
}

void client_links(struct sim *sim, size_t place, const char *to)
{
    struct sim_run *run = &sim->run[place];
    struct node *node = node_of(sim, run);
    if (!is_there(node) || run->phase != RUN_ALIVE)
        return;
    struct ask_link link = {
        .run = str_of(run->id), .epoch = run->epoch, .link = {.kind = LINK_ROOT, .to = str_of(to)}};
    struct ask ask = {.kind = ASK_LINK, .run = place};
    copy_text(ask.text, sizeof ask.text, str_of(to));
    size_t key = ask_open(sim, ask);
    node_feed(sim, node,
              (struct agent_event){.kind = AGENT_ASKED_LINK,
                                   .ask = sim->ask[key].ask,
                                   .caller = caller_of(&sim->client[run->client]),
                                   .link = &link});
}

/* ---- answers ------------------------------------------------------------------------------- */
static void fence_answered(struct sim *sim, const struct ask *ask, const struct agent_reply *reply)
{
    const struct sim_run *run = &sim->run[ask->run];
    if (reply->problem != PROBLEM_NONE) {
        tell(sim, "%s may not write %s: %s", run->id, ask->text, problem_code(reply->problem));
        return;
    }
    tell(sim, "%s may write %s%s%s", run->id, ask->text, reply->last ? ", the last" : "",
         reply->unconfirmed ? ", unconfirmed" : "");
    check_granted(sim, ask->run, ask->text, reply->last);
}

static void link_answered(struct sim *sim, const struct ask *ask, const struct agent_reply *reply)
{
    tell(sim, "%s links %s: %s", sim->run[ask->run].id, ask->text,
         reply->problem != PROBLEM_NONE ? problem_code(reply->problem) : "ok");
    if (reply->problem == PROBLEM_NONE && !reply->pending)
        check_link_is_written(sim, ask->run, ask->text);
    if (reply->problem == PROBLEM_NONE || reply->problem == PROBLEM_CANCELLED)
        check_linked(sim, ask->run, ask->text);
}

void client_answered(struct sim *sim, uint64_t key, const struct agent_reply *reply)
{
    for (size_t i = 0; i < sim->ask_count; i++) {
        if (sim->ask[i].ask != key)
            continue;
        struct ask ask = sim->ask[i];
        if (sim->counts != NULL)
            sim->counts->problem[reply->problem]++;
        if (ask.kind == ASK_CANCEL) {
            cancel_concluded(sim, key, reply->problem, reply->pending, reply->result);
            return;
        }
        sim->ask[i].ask = 0;
        if (ask.kind == ASK_START)
            start_answered(sim, &ask, reply);
        else if (ask.kind == ASK_END)
            end_answered(sim, &ask, reply);
        else if (ask.kind == ASK_FENCE)
            fence_answered(sim, &ask, reply);
        else if (ask.kind == ASK_LINK)
            link_answered(sim, &ask, reply);
        return;
    }
    violated(sim, "ask %llu is answered twice, or was never asked", (unsigned long long)key);
}

/* ---- coming and going ---------------------------------------------------------------------- */
void client_registers(struct sim *sim, struct client *client)
{
    struct node *node = &sim->node[client->node];
    if (!client->is_alive)
        return;
    if (!is_there(node)) {
        struct flight *flight = fly(sim, FLY_REGISTER, sim->now + AGAIN_MS);
        flight->client = client->index;
        flight->life = client->life;
        return;
    }
    client->is_connected = true;
    node_feed(sim, node,
              (struct agent_event){.kind = AGENT_CLIENT_CAME, .caller = caller_of(client)});
    size_t at = 0;
    struct agent_run_view view;
    struct instant now = {sim->now};
    while (agent_next_standing(node->agent, str_of(client->hash), &at, now, &view)) {
        size_t run = run_at(sim, node, view.run);
        if (run != SIZE_MAX)
            client_hears(sim, run, view.record, SPAN_NONE);
    }
    for (size_t i = 0; i < sim->run_count; i++)
        if (sim->run[i].client == client->index && sim->run[i].phase == RUN_ALIVE)
            client_asks_start(sim, i);
}

/* Its agentd is gone: open asks are never answered, streams break; it comes back. */
void clients_lose_node(struct sim *sim, const struct node *node)
{
    for (size_t i = 0; i < sim->ask_count; i++) {
        struct ask *ask = &sim->ask[i];
        const struct node *asked =
            ask->kind == ASK_CANCEL ? &sim->node[ask->node] : node_of(sim, &sim->run[ask->run]);
        if (ask->ask == 0 || asked != node)
            continue;
        ask->ask = 0;
        if (ask->kind == ASK_START)
            later(sim, ask->run, CLIENT_STARTS, RUN_NONE, AGAIN_MS);
        if (ask->kind == ASK_END)
            later(sim, ask->run, CLIENT_ENDS, sim->run[ask->run].ends_as, AGAIN_MS);
    }
    for (size_t i = 0; i < sim->client_count; i++) {
        struct client *client = &sim->client[i];
        if (client->node != node->index || !client->is_alive)
            continue;
        client->is_connected = false;
        struct flight *flight = fly(sim, FLY_REGISTER, sim->now + some_ms(sim, 100, 1000));
        flight->client = client->index;
        flight->life = client->life;
    }
    for (size_t i = 0; i < sim->run_count; i++)
        if (node_of(sim, &sim->run[i]) == node)
            sim->run[i].process_is_watched = false;
}

/* ---- processes ----------------------------------------------------------------------------- */
/* A frozen agentd notices when it goes on. */
static bool notices_later(struct sim *sim, const struct node *node, enum flight_kind kind,
                          size_t run, const struct client *client)
{
    if (!node->is_alive || !node->is_frozen)
        return false;
    struct flight *flight = fly(sim, kind, node->frozen_until + 1);
    flight->run = run;
    flight->token = sim->run[run].process;
    flight->on = true;
    flight->node = node->index;
    flight->conn = node->life; /* another life never notices */
    if (client != NULL) {
        flight->client = client->index;
        flight->life = client->life;
    }
    return true;
}

static void feed_process(struct sim *sim, size_t place, enum agent_event_kind kind)
{
    char id[NAME_TEXT_MAX];
    struct sim_run *run = &sim->run[place];
    if (!run->process_is_watched)
        return;
    memcpy(id, run->id, sizeof id);
    node_feed(sim, node_of(sim, run), (struct agent_event){.kind = kind, .run = str_of(id)});
}

/* on: it died before, and is noticed now. */
void process_dies(struct sim *sim, size_t place, bool on)
{
    struct sim_run *run = &sim->run[place];
    struct node *node = node_of(sim, run);
    if (!on && run->process_is_alive) {
        tell(sim, "the process of %s is gone", run->id);
        run_dies(sim, run);
        run->client_life++;
    }
    if (!node->is_alive || notices_later(sim, node, FLY_PROCESS, place, NULL))
        return;
    feed_process(sim, place, AGENT_PROCESS_EXITED);
    if (run->was_signalled)
        feed_process(sim, place, AGENT_PROCESS_EMPTY);
}

void process_signalled_here(struct sim *sim, struct node *node, struct str id, int signal)
{
    size_t place = run_at(sim, node, id);
    if (place == SIZE_MAX)
        violated(sim, "%s signals %.*s, which nobody started", node->name, S(id));
    struct sim_run *run = &sim->run[place];
    check_signalled(sim, node, place);
    tell(sim, "%s signals %s: %s", node->name, run->id, signal == 9 ? "KILL" : "TERM");
    run->was_stopped = run->was_signalled = true;
    bool ends = signal == 9 || run->obeys_term;
    if (!ends && run->process_is_alive)
        return;
    struct flight *flight = fly(sim, FLY_PROCESS, sim->now + 1);
    flight->run = place;
    flight->token = run->process;
}

/* What it says is never the end of its run: who does not obey the notice works on all the same. */
void agent_asked_there(struct sim *sim, struct node *node, const struct agent_effect *effect)
{
    static const enum remote_outcome outcomes[] = {REMOTE_CANCELLED, REMOTE_SILENT,
                                                   REMOTE_NOT_HERE,  REMOTE_REFUSED,
                                                   REMOTE_ASKED,     REMOTE_UNREACHED};
    size_t place = run_at(sim, node, effect->run);
    if (place == SIZE_MAX)
        violated(sim, "%s calls the agent of %.*s, which nobody started", node->name,
                 S(effect->run));
    enum remote_outcome outcome = outcomes[place / 2 % (sizeof outcomes / sizeof outcomes[0])];
    int64_t takes = outcome == REMOTE_SILENT ? effect->remote.within.ms : 1;
    tell(sim, "%s asks the agent of %s", node->name, sim->run[place].id);
    sim->run[place].was_stopped = true;
    struct flight *flight = fly(sim, FLY_REMOTE, sim->now + takes);
    flight->node = node->index;
    flight->life = node->life;
    flight->run = place;
    flight->token = effect->token;
    flight->len = outcome;
}

void agent_answers(struct sim *sim, const struct flight *flight)
{
    enum remote_outcome outcome = (enum remote_outcome)flight->len;
    const struct sim_run *run = &sim->run[flight->run];
    const struct node *node = &sim->node[flight->node];
    if (node->is_frozen) {
        struct flight *again = fly(sim, FLY_REMOTE, node->frozen_until + 1);
        again->node = flight->node;
        again->life = flight->life;
        again->run = flight->run;
        again->token = flight->token;
        again->len = flight->len;
        return;
    }
    tell(sim, "the agent of %s: %s", run->id, remote_outcome_name(outcome));
    node_feed(sim, &sim->node[flight->node],
              (struct agent_event){.kind = AGENT_REMOTE_ANSWERED,
                                   .run = str_of(run->id),
                                   .token = flight->token,
                                   .outcome = outcome});
}

void client_leaves(struct sim *sim, struct client *client)
{
    struct node *node = &sim->node[client->node];
    if (!node->is_alive || notices_later(sim, node, FLY_WENT, 0, client))
        return;
    node_feed(sim, node,
              (struct agent_event){.kind = AGENT_CLIENT_WENT, .caller = caller_of(client)});
}

static void outlives_its_process(struct sim *sim, size_t place)
{
    struct sim_run *run = &sim->run[place];
    struct node *node = node_of(sim, run);
    run->client_life++;
    run->told_life = 0;
    run->is_ending = run->was_signalled = run->process_is_alive = false;
    run->is_between_lives = true; /* until it is carried on */
    run_recount(sim, run);
    if (node->is_alive && !notices_later(sim, node, FLY_PROCESS, place, NULL))
        feed_process(sim, place, AGENT_PROCESS_EXITED);
}

static void is_given_up(struct sim *sim, size_t place)
{
    if (sim->run[place].process_is_alive)
        process_dies(sim, place, false);
    run_dies(sim, &sim->run[place]);
}

/* Another process with the same token, and another incarnation. */
void client_restarts(struct sim *sim, struct client *client)
{
    if (!client->is_alive)
        return;
    tell(sim, "%s starts over", client->name);
    faulted(sim, FAULT_CLIENT_RESTART);
    snprintf(client->incarnation, sizeof client->incarnation, "%s-%u", client->name,
             ++client->life);
    client->begins_again = true;
    for (size_t i = 0; i < sim->run_count; i++) {
        if (sim->run[i].client != client->index)
            continue;
        if (sim->run[i].phase == RUN_ASKED)
            is_given_up(sim, i);
        else if (sim->run[i].phase == RUN_ALIVE)
            outlives_its_process(sim, i);
    }
    if (client->is_connected)
        client_leaves(sim, client);
    client->is_connected = false;
    struct flight *flight = fly(sim, FLY_REGISTER, sim->now + some_ms(sim, 10, 3000));
    flight->client = client->index;
    flight->life = client->life;
}

void client_crashes(struct sim *sim, struct client *client)
{
    if (!client->is_alive)
        return;
    tell(sim, "%s dies", client->name);
    faulted(sim, FAULT_CLIENT_CRASH);
    client->is_alive = false;
    client->life++;
    bool was_connected = client->is_connected;
    client->is_connected = false;
    for (size_t i = 0; i < sim->run_count; i++) {
        struct sim_run *run = &sim->run[i];
        bool is_there_still = run->phase == RUN_ALIVE || run->phase == RUN_ASKED;
        if (run->client != client->index || !is_there_still)
            continue;
        is_given_up(sim, i);
    }
    if (was_connected)
        client_leaves(sim, client);
}
