#include "support/agent_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/api_codec.h"
#include "base/mem.h"

#define S(str) (int)(str).len, (str).len > 0 ? (str).at : ""

enum { TOKEN_BASE = 7000 };

struct agent_options agent_world_options(void)
{
    return (struct agent_options){
        .replica = STR("here"),
        .mode = MODE_ENFORCE,
        .lease = SECONDS(15),
        .reconcile_every = SECONDS(30),
        .lost_grace = SECONDS(5),
        .grace_notify = SECONDS(10),
        .grace_term = SECONDS(5),
        .grace_http = SECONDS(5),
        .kill_patience = SECONDS(5),
        .remember = SECONDS(900),
        .tombstone_ttl = SECONDS(86400),
        .max_runs = 10000,
        .max_tree_runs = 10000,
        .max_children = 1000,
        .max_clients = 4096,
        .allow_without_redis = true,
        .seed = 1,
        .token_base = TOKEN_BASE,
        .encode_record = api_encode_record,
        .decode_record = api_decode_record,
        .encode_meta = api_encode_meta,
        .decode_meta = api_decode_meta,
        .decode_order = api_decode_order,
        .encode_link = api_encode_link,
        .encode_story = api_encode_story,
    };
}

void agent_world_init(struct agent_world *world, const struct agent_options *options)
{
    *world = (struct agent_world){.now = {1000}};
    world->agent = agent_new(options);
    assert_non_null(world->agent);
}

void agent_world_fini(struct agent_world *world)
{
    agent_free(world->agent);
    mem_free(world->todo.item);
    mem_free(world->open);
    buf_fini(&world->said);
}

/* ---- what it wants ------------------------------------------------------------------------- */
static void note_open(struct agent_world *world, const struct agent_effect *effect)
{
    void *open = world->open;
    if (effect->token == TOKEN_BASE)
        return; /* nobody looks at the answer */
    assert_true(mem_grow(&open, &world->open_room, sizeof *world->open, world->open_count + 1));
    world->open = open;
    world->open[world->open_count++] =
        (struct open_call){effect->token, effect->call.op, effect->call.item_count};
}

static void tell_call(struct buf *said, const struct store_call *call)
{
    buf_addf(said, "%s", store_op_name(call->op));
    if (call->root.len > 0)
        buf_addf(said, " %.*s", S(call->root));
    if (call->run.len > 0)
        buf_addf(said, "/%.*s", S(call->run));
    if (call->id.len > 0)
        buf_addf(said, " id %.*s", S(call->id));
    if (call->op == STORE_START || call->op == STORE_ASSERT)
        buf_addf(said, " below '%.*s'", S(call->path));
    if (call->op == STORE_ASSERT || call->op == STORE_END)
        buf_addf(said, " epoch %u", (unsigned)call->epoch);
    if (call->adopt)
        buf_add_text(said, " adopt");
    if (call->op == STORE_END)
        buf_addf(said, " %s%s%s", run_state_name(call->state),
                 call->record.len > 0 ? " banning" : "", call->story.len > 0 ? " story" : "");
    if (call->tombstone_id.len > 0)
        buf_addf(said, " tombstone %.*s", S(call->tombstone_id));
    if (call->retry_of.len > 0)
        buf_addf(said, " after %.*s", S(call->retry_of));
    for (size_t i = 0; i < call->item_count; i++)
        buf_addf(said, " %.*s:%u:%x", S(call->item[i].run), (unsigned)call->item[i].epoch,
                 (unsigned)call->item[i].flags);
    if (call->op == STORE_LINK)
        buf_addf(said, "%s", call->acknowledge ? " acknowledged" : "");
    if (call->op == STORE_CHECKPOINT || call->op == STORE_SYNC)
        buf_addf(said, " write %.*s", S(call->write_id));
    if (call->op == STORE_LEASE)
        buf_addf(said, " %.*s", S(call->generation));
    if (call->force)
        buf_add_text(said, " force");
    buf_add_text(said, "\n");
}

static void tell_reply(struct buf *said, uint64_t ask, const struct agent_reply *reply)
{
    buf_addf(said, "answer %u: ", (unsigned)ask);
    if (reply->problem != PROBLEM_NONE)
        buf_addf(said, "%s", problem_code(reply->problem));
    else
        buf_addf(said, "%s", reply->created ? "created" : reply->pending ? "pending" : "ok");
    if (reply->path.len > 0)
        buf_addf(said, " %.*s epoch %u %s", S(reply->path), (unsigned)reply->epoch,
                 run_state_name(reply->state));
    if (reply->finished_anyway != RUN_NONE)
        buf_addf(said, " finished_anyway %s", run_state_name(reply->finished_anyway));
    if (reply->created && !reply->is_protected)
        buf_add_text(said, " unprotected");
    if (reply->would_be_cancelled)
        buf_add_text(said, " would");
    if (reply->has_record)
        buf_addf(said, " cancel %.*s.%.*s by %.*s", S(reply->record.root), S(reply->record.target),
                 S(reply->record.by));
    if (reply->pending && reply->result != NULL && !reply->result->closed)
        buf_addf(said, " children of %.*s, %s", S(reply->result->record.target),
                 reply->result->not_durable != NULL ? "not all" : "all");
    if (reply->told_here > 0)
        buf_addf(said, " told %zu", reply->told_here);
    if (reply->last)
        buf_add_text(said, " last");
    if (reply->unconfirmed)
        buf_add_text(said, " unconfirmed");
    buf_add_text(said, "\n");
}

static void tell_count(struct buf *said, const struct agent_effect *effect)
{
    static const char *const name[] = {
        [COUNT_RECONCILE_FOUND] = "reconcile found",
        [COUNT_MALFORMED] = "malformed",
        [COUNT_UNREADABLE] = "unreadable",
        [COUNT_OBSERVED] = "observed",
        [COUNT_LATE] = "late",
        [COUNT_UNRESPONSIVE] = "unresponsive",
        [COUNT_STOPPED] = NULL,
    };
    if (name[effect->which] != NULL)
        buf_addf(said, "count %s\n", name[effect->which]);
}

/* What goes on all the time beside every story. */
static bool is_shown(enum store_op op)
{
    return op != STORE_LEASE_RENEW && op != STORE_ORDERS_READ && op != STORE_ORDERS_VERSION;
}

static void tell(struct agent_world *world, const struct agent_effect *effect)
{
    struct buf *said = &world->said;
    switch (effect->kind) {
    case DO_CALL:
        note_open(world, effect);
        if (is_shown(effect->call.op))
            tell_call(said, &effect->call);
        break;
    case DO_SUBSCRIBE:
        buf_addf(said, "subscribe %.*s\n", S(effect->root));
        break;
    case DO_UNSUBSCRIBE:
        buf_addf(said, "unsubscribe %.*s\n", S(effect->root));
        break;
    case DO_ANSWER:
        tell_reply(said, effect->ask, &effect->reply);
        break;
    case DO_NOTIFY:
        buf_addf(said, "notify %.*s: %.*s %.*s, grace %lld\n", S(effect->client), S(effect->run),
                 S(effect->record.reason), (long long)effect->grace.ms);
        break;
    case DO_OPEN_PROCESS:
        buf_addf(said, "open process %u of %.*s\n", (unsigned)effect->target.pid, S(effect->run));
        break;
    case DO_CLOSE_PROCESS:
        buf_addf(said, "close process of %.*s\n", S(effect->run));
        break;
    case DO_SIGNAL:
        buf_addf(said, "signal %.*s %d\n", S(effect->run), effect->signal);
        break;
    case DO_CANCEL_THERE:
        world->last_call = effect->token;
        snprintf(world->last_link, sizeof world->last_link, "%.*s", S(effect->text));
        buf_addf(said, "%s %s of %.*s at %.*s, within %lld\n", action_name(effect->remote.action),
                 link_kind_name(effect->remote.kind), S(effect->run), S(effect->remote.to),
                 (long long)effect->remote.within.ms);
        break;
    case DO_ASK_CANCEL:
        world->last_ask = effect->ask;
        buf_addf(said, "ask cancel %.*s.%.*s by %.*s: %.*s%s", S(effect->cancel.root),
                 S(effect->cancel.run), S(effect->cancel.by), S(effect->cancel.reason),
                 effect->cancel.force ? " force" : "");
        if (effect->cancel.hops > 0)
            buf_addf(said, " cause %.*s hops %u", S(effect->cancel.cause),
                     (unsigned)effect->cancel.hops);
        buf_add_text(said, "\n");
        break;
    case DO_PUBLISH:
        buf_addf(said, "publish %.*s.%.*s%s\n", S(effect->root), S(effect->record.target),
                 effect->record.unrecorded ? " unrecorded" : "");
        break;
    case DO_MOVED:
        buf_addf(said, "%.*s: %s > %s (%s)\n", S(effect->run), run_state_name(effect->from),
                 run_state_name(effect->to), effect->because);
        break;
    case DO_SAY:
        if (effect->amount > 0)
            buf_addf(said, "%s: %zu\n", agent_news_text(effect->news), effect->amount);
        break;
    case DO_COUNT:
        tell_count(said, effect);
        break;
    }
}

void world_feed(struct agent_world *world, struct agent_event event)
{
    event.at = world->now;
    event.wall = (struct wall){1700000000000 + world->now.ms};
    assert_int_equal(agent_step(world->agent, &event, &world->todo), ERR_OK);
    for (size_t i = 0; i < world->todo.count; i++)
        tell(world, &world->todo.item[i]);
}

void world_pass(struct agent_world *world, int64_t ms)
{
    struct instant until = instant_after(world->now, MILLIS(ms));
    for (;;) {
        struct instant due = agent_deadline(world->agent);
        if (due.ms > until.ms)
            break;
        world->now = due.ms > world->now.ms ? due : world->now;
        world_feed(world, (struct agent_event){.kind = AGENT_TIME_PASSED});
    }
    world->now = until;
}

void world_expect(struct agent_world *world, const char *story)
{
    const char *said = world->said.len > 0 ? world->said.bytes : "";
    if (strcmp(said, story) != 0)
        fail_msg("expected:\n%s\ngot:\n%s", story, said);
    world_forget(world);
}

void world_forget(struct agent_world *world)
{
    buf_clear(&world->said);
}

struct agent_run_view world_view(const struct agent_world *world, const char *run)
{
    struct agent_run_view view;
    if (!agent_find_run(world->agent, str_of(run), world->now, &view))
        fail_msg("no run %s here", run);
    return view;
}

/* ---- Redis --------------------------------------------------------------------------------- */
static struct open_call take_open(struct agent_world *world, enum store_op op)
{
    for (size_t i = 0; i < world->open_count; i++) {
        if (world->open[i].op != op)
            continue;
        struct open_call call = world->open[i];
        memmove(&world->open[i], &world->open[i + 1],
                (--world->open_count - i) * sizeof *world->open);
        return call;
    }
    fail_msg("nobody asked for %s", store_op_name(op));
    return (struct open_call){0};
}

size_t world_open(const struct agent_world *world, enum store_op op)
{
    size_t count = 0;
    for (size_t i = 0; i < world->open_count; i++)
        count += world->open[i].op == op ? 1 : 0;
    return count;
}

void world_say(struct agent_world *world, enum store_op op, struct store_answer answer)
{
    struct open_call call = take_open(world, op);
    world_feed(world,
               (struct agent_event){.kind = AGENT_ANSWER, .token = call.token, .answer = &answer});
}

void world_says(struct agent_world *world, enum store_op op, enum store_verdict verdict)
{
    world_say(world, op, (struct store_answer){.verdict = verdict, .epoch = 1});
}

void world_say_items(struct agent_world *world, enum store_op op, struct store_item item)
{
    struct store_item items[STORE_ITEMS_MAX];
    struct open_call call = take_open(world, op);
    for (size_t i = 0; i < call.item_count; i++)
        items[i] = item;
    struct store_answer answer = {.verdict = SAID_OK, .item_count = call.item_count, .item = items};
    world_feed(world,
               (struct agent_event){.kind = AGENT_ANSWER, .token = call.token, .answer = &answer});
}

void world_drop_calls(struct agent_world *world)
{
    size_t count = world->open_count;
    while (count-- > 0) {
        struct store_answer answer = {.verdict = SAID_OFFLINE};
        struct open_call call = take_open(world, world->open[0].op);
        world_feed(world, (struct agent_event){
                              .kind = AGENT_ANSWER, .token = call.token, .answer = &answer});
    }
}

void world_link_up(struct agent_world *world, const char *server, const char *generation)
{
    world_feed(world, (struct agent_event){.kind = AGENT_LINK_UP, .text = str_of(server)});
    world_say(world, STORE_GENERATION,
              (struct store_answer){.verdict = SAID_OK, .text = str_of(generation)});
    if (world_open(world, STORE_REPLICA_ADD) > 0)
        world_says(world, STORE_REPLICA_ADD, SAID_OK);
    if (world_open(world, STORE_LEASE) > 0)
        world_says(world, STORE_LEASE, SAID_OK);
    while (world_open(world, STORE_HELD_ADD) > 0)
        world_says(world, STORE_HELD_ADD, SAID_OK);
    while (world_open(world, STORE_ROOT_ADD) > 0)
        world_says(world, STORE_ROOT_ADD, SAID_OK);
    world_says(world, STORE_ORDERS_READ, SAID_OK);
}

void world_link_down(struct agent_world *world)
{
    world_feed(world, (struct agent_event){.kind = AGENT_LINK_DOWN});
    world_drop_calls(world);
}

/* ---- clients ------------------------------------------------------------------------------- */
static struct agent_caller caller_named(const char *client)
{
    return (struct agent_caller){.token_hash = str_of(client),
                                 .operator_ = strcmp(client, "operator") == 0};
}

void world_client_comes(struct agent_world *world, const char *client)
{
    world_feed(world,
               (struct agent_event){.kind = AGENT_CLIENT_CAME, .caller = caller_named(client)});
}

void world_client_goes(struct agent_world *world, const char *client)
{
    world_feed(world,
               (struct agent_event){.kind = AGENT_CLIENT_WENT, .caller = caller_named(client)});
}

struct ask_start world_start_of(const char *run, const char *parents)
{
    return (struct ask_start){
        .run_id = str_of(run),
        .path = str_of(parents),
        .path_was_given = parents[0] != '\0',
        .deadline = SPAN_NONE,
    };
}

void world_ask_start(struct agent_world *world, const char *client, struct ask_start start)
{
    world_feed(world, (struct agent_event){.kind = AGENT_ASKED_START,
                                           .ask = 1,
                                           .caller = caller_named(client),
                                           .start = &start});
}

void world_started(struct agent_world *world, const char *client, struct ask_start start)
{
    world_ask_start(world, client, start);
    if (start.stop_count > 0 && start.stop[start.stop_count - 1].kind == STOP_PROCESS)
        world_feed(world, (struct agent_event){.kind = AGENT_PROCESS_OPENED,
                                               .run = start.run_id,
                                               .problem = PROBLEM_NONE});
    while (world_open(world, STORE_FIND_CLAIM) > 0)
        world_says(world, STORE_FIND_CLAIM, SAID_OK);
    while (world_open(world, STORE_FIND_READ) > 0)
        world_says(world, STORE_FIND_READ, SAID_NOT_FOUND);
    while (world_open(world, STORE_HELD_ADD) > 0)
        world_says(world, STORE_HELD_ADD, SAID_OK);
    while (world_open(world, STORE_ROOT_ADD) > 0)
        world_says(world, STORE_ROOT_ADD, SAID_OK);
    world_says(world, STORE_START, SAID_STARTED);
    world_forget(world);
}

void world_start(struct agent_world *world, const char *client, const char *run,
                 const char *parents)
{
    world_started(world, client, world_start_of(run, parents));
}

void world_ask_end(struct agent_world *world, const char *client, const char *run, uint32_t epoch,
                   enum run_state state)
{
    struct ask_end end = {.run = str_of(run), .epoch = epoch, .state = state};
    world_feed(world,
               (struct agent_event){
                   .kind = AGENT_ASKED_END, .ask = 2, .caller = caller_named(client), .end = &end});
}

void world_ask_ack(struct agent_world *world, const char *client, const char *run,
                   enum ack_phase phase)
{
    struct ask_ack ack = {.run = str_of(run), .epoch = 1, .phase = phase};
    world_feed(world,
               (struct agent_event){
                   .kind = AGENT_ASKED_ACK, .ask = 3, .caller = caller_named(client), .ack = &ack});
}

void world_ask_fence(struct agent_world *world, const char *client, const char *run,
                     const char *write_id)
{
    struct ask_fence fence = {.run = str_of(run), .epoch = 1, .write_id = str_of(write_id)};
    world_feed(world, (struct agent_event){.kind = AGENT_ASKED_FENCE,
                                           .ask = 4,
                                           .caller = caller_named(client),
                                           .fence = &fence});
}

void world_ask_link(struct agent_world *world, const char *client, const char *run, const char *to)
{
    world_ask_link_of(world, client, run, LINK_ROOT, to);
}

void world_remote_says(struct agent_world *world, const char *run, enum remote_outcome outcome)
{
    world_feed(world, (struct agent_event){.kind = AGENT_REMOTE_ANSWERED,
                                           .run = str_of(run),
                                           .text = str_of(world->last_link),
                                           .token = world->last_call,
                                           .outcome = outcome});
}

void world_ask_link_of(struct agent_world *world, const char *client, const char *run,
                       enum link_kind kind, const char *to)
{
    struct ask_link link = {
        .run = str_of(run), .epoch = 1, .link = {.kind = kind, .to = str_of(to)}};
    world_feed(world, (struct agent_event){.kind = AGENT_ASKED_LINK,
                                           .ask = 5,
                                           .caller = caller_named(client),
                                           .link = &link});
}

struct cancel_ask world_cancel_of(const char *run)
{
    return (struct cancel_ask){
        .run = str_of(run),
        .reason = STR("enough"),
        .by = STR("client:ann"),
        .grace = SPAN_NONE,
        .timeout = SPAN_NONE,
        .expect_at_most = -1,
        .include_self = true,
    };
}

void world_ask_cancel(struct agent_world *world, const char *client, struct cancel_ask cancel)
{
    world_feed(world, (struct agent_event){.kind = AGENT_ASKED_CANCEL,
                                           .ask = 6,
                                           .caller = caller_named(client),
                                           .cancel = &cancel});
}

void world_process(struct agent_world *world, enum agent_event_kind kind, const char *run)
{
    world_feed(world, (struct agent_event){.kind = kind, .run = str_of(run)});
}

/* ---- cancels ------------------------------------------------------------------------------- */
struct cancel_record world_record(const char *root, const char *target)
{
    return (struct cancel_record){
        .root = str_of(root),
        .target = str_of(target),
        .reason = STR("enough"),
        .by = STR("broker"),
        .at = {1700000000000},
        .grace = SPAN_NONE,
        .cause = STR("cause"),
    };
}

struct str world_bytes(struct agent_world *world, const struct cancel_record *record)
{
    return (struct str){world->bytes, api_encode_record(record, world->bytes)};
}

void world_hear(struct agent_world *world, struct cancel_record record)
{
    world_feed(world, (struct agent_event){
                          .kind = AGENT_CANCEL_SEEN, .root = record.root, .record = &record});
}

void world_cancel_says(struct agent_world *world, enum problem problem, struct cancel_record record)
{
    struct cancel_result result = {
        .problem = problem, .root = record.root, .run = record.target, .record = record};
    world_feed(world, (struct agent_event){.kind = AGENT_CANCEL_ANSWERED,
                                           .ask = world->last_ask,
                                           .result = &result});
}
