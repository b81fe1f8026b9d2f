/* What a broker does in the background, against the model of Redis: who is lost and when, what is
 * published again, whose links are followed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/api_codec.h"
#include "base/buf.h"
#include "base/mem.h"
#include "core/broker.h"
#include "core/tree.h"
#include "support/model.h"

enum { LEASE_MS = 15000, SWEEP_MS = 1000, CALLS_MAX = 4096, REPLICAS_MAX = 16 };

struct world {
    struct model *model;
    struct broker *broker;
    struct broker_effects todo;
    struct instant now;
    bool offline;
    struct buf said; /* facts and asks since it was last looked at, a line each */
    size_t call_count, commands;
    struct {
        uint64_t token;
        struct store_call call;
        char bytes[2048]; /* what the call's strings point to */
    } call[CALLS_MAX];
    const char *alive[REPLICAS_MAX]; /* renews its lease */
    const char *back;                /* has a lease again as soon as losses are counted, */
    int64_t back_at;                 /* or, with 1, as one is noted; NULL: nobody */
};

static void feed(struct world *world, struct broker_event event);

static int fresh_world(void **state)
{
    static struct world world;
    memset(&world, 0, sizeof world); /* too large for a literal */
    world.now.ms = 5000;
    world.model = model_new(1);
    world.broker = broker_new(&(struct broker_options){
        .id = STR("b1"),
        .lease = {LEASE_MS},
        .lost_grace = SECONDS(5),
        .sweep_every = {SWEEP_MS},
        .retransmit_every = SECONDS(5),
        .roots_per_sweep = 200,
        .token_base = 1,
        .encode = api_encode_record,
        .decode = api_decode_record,
        .encode_link = api_encode_link,
    });
    assert_non_null(world.broker);
    *state = &world;
    return 0;
}

static int drop_world(void **state)
{
    struct world *world = *state;
    broker_free(world->broker);
    model_free(world->model);
    mem_free(world->todo.item);
    buf_fini(&world->said);
    return 0;
}

/* ---- the outside -------------------------------------------------------------------------------
 */
static void keep(char **at, struct str *text)
{
    if (text->len > 0)
        memcpy(*at, text->at, text->len);
    text->at = *at;
    *at += text->len;
}

static void note_call(struct world *world, const struct broker_effect *effect)
{
    assert_true(world->call_count < CALLS_MAX);
    struct store_call *call = &world->call[world->call_count].call;
    char *at = world->call[world->call_count].bytes;
    world->call[world->call_count++].token = effect->token;
    *call = effect->call;
    struct str *texts[] = {&call->root,    &call->run,    &call->incarnation,
                           &call->replica, &call->record, &call->id,
                           &call->link_id, &call->link,   &call->bytes};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        keep(&at, texts[i]);
}

static void note(struct world *world, const struct broker_effect *effect)
{
    struct buf *said = &world->said;
    const struct cancel_ask *ask = &effect->cancel;
    switch (effect->kind) {
    case BROKER_DO_CALL:
        note_call(world, effect);
        break;
    case BROKER_DO_ASK_CANCEL:
        buf_addf(said, "cancel %.*s/%.*s because %.*s by %.*s%s ask %u\n", (int)ask->root.len,
                 ask->root.at, (int)ask->run.len, ask->run.at, (int)ask->reason.len, ask->reason.at,
                 (int)ask->by.len, ask->by.at, ask->force ? " force" : "", (unsigned)effect->ask);
        break;
    case BROKER_DO_CANCEL_THERE:
        buf_addf(said, "ask %s %.*s ask %u\n", link_kind_name(effect->remote.kind),
                 (int)effect->remote.to.len, effect->remote.to.at, (unsigned)effect->ask);
        break;
    case BROKER_DO_LOG:
        buf_addf(said, "%s %.*s%.*s\n", broker_fact_text(effect->fact), (int)effect->replica.len,
                 effect->replica.len > 0 ? effect->replica.at : "", (int)effect->run.len,
                 effect->run.len > 0 ? effect->run.at : "");
        break;
    }
}

static void feed(struct world *world, struct broker_event event)
{
    event.at = world->now;
    event.wall = model_time(world->model);
    assert_int_equal(broker_step(world->broker, &event, &world->todo), ERR_OK);
    for (size_t i = 0; i < world->todo.count; i++)
        note(world, &world->todo.item[i]);
}

/* Carries out what was asked, in order, and what is asked because of it. */
static void come_back(struct world *world, const struct store_call *call)
{
    struct store_answer ignored;
    struct store_call lease = {.op = STORE_LEASE, .generation = STR("g1"), .span = {LEASE_MS}};
    if (world->back == NULL || call->op != STORE_LOSS_COUNT || call->number != world->back_at)
        return;
    lease.replica = str_of(world->back);
    model_call(world->model, &lease, &ignored);
    world->alive[0] = world->back;
    world->back = NULL;
}

static void settle(struct world *world)
{
    for (size_t done = 0; done < world->call_count; done++) {
        struct store_answer answer = {.verdict = SAID_OFFLINE};
        if (!world->offline)
            model_call(world->model, &world->call[done].call, &answer);
        come_back(world, &world->call[done].call);
        world->commands++;
        feed(world, (struct broker_event){.kind = BROKER_ANSWER,
                                          .token = world->call[done].token,
                                          .answer = &answer});
    }
    world->call_count = 0;
}

static struct store_answer call(struct world *world, struct store_call call)
{
    struct store_answer answer;
    model_call(world->model, &call, &answer);
    return answer;
}

static void pass(struct world *world, int64_t ms)
{
    for (int64_t step; ms > 0; ms -= step) {
        step = ms < SWEEP_MS / 2 ? ms : SWEEP_MS / 2;
        world->now.ms += step;
        model_set_time(world->model, (struct wall){model_time(world->model).ms + step});
        for (size_t i = 0; i < REPLICAS_MAX; i++)
            if (world->alive[i] != NULL)
                call(world, (struct store_call){.op = STORE_LEASE,
                                                .replica = str_of(world->alive[i]),
                                                .generation = STR("g1"),
                                                .span = {LEASE_MS}});
        if (instant_reached(world->now, broker_deadline(world->broker)))
            feed(world, (struct broker_event){.kind = BROKER_TIME_PASSED});
        settle(world);
    }
}

static void link_up(struct world *world)
{
    world->offline = false;
    feed(world, (struct broker_event){.kind = BROKER_LINK_UP});
    settle(world);
}

static void link_down(struct world *world)
{
    world->offline = true;
    settle(world);
    feed(world, (struct broker_event){.kind = BROKER_LINK_DOWN});
}

static void replica(struct world *world, size_t i, const char *name)
{
    world->alive[i] = name;
    call(world, (struct store_call){.op = STORE_REPLICA_ADD,
                                    .replica = str_of(name),
                                    .number = model_time(world->model).ms});
}

static void start(struct world *world, const char *name, const char *root, const char *run,
                  uint32_t flags, struct span deadline)
{
    bool is_root = strcmp(root, run) == 0;
    struct store_answer started =
        call(world, (struct store_call){.op = STORE_START,
                                        .root = str_of(root),
                                        .run = str_of(run),
                                        .path = str_of(is_root ? "" : root),
                                        .incarnation = STR("life"),
                                        .replica = str_of(name),
                                        .flags = flags,
                                        .meta = STR(""),
                                        .deadline = deadline,
                                        .max_runs = 100,
                                        .max_children = 100});
    assert_int_equal(started.verdict, SAID_STARTED);
    call(world,
         (struct store_call){.op = STORE_HELD_ADD, .replica = str_of(name), .root = str_of(root)});
    call(world, (struct store_call){.op = STORE_ROOT_ADD,
                                    .root = str_of(root),
                                    .number = model_time(world->model).ms});
}

static void cancel(struct world *world, const char *root, const char *run)
{
    char bytes[MESSAGE_MAX_BYTES];
    struct cancel_record record = {
        .root = str_of(root),
        .target = str_of(run),
        .reason = STR("enough"),
        .by = STR("user:me"),
        .at = model_time(world->model),
        .grace = SPAN_NONE,
        .cause = STR("x.x"),
    };
    size_t len = api_encode_record(&record, bytes);
    struct store_answer answer = call(world, (struct store_call){.op = STORE_CANCEL,
                                                                 .root = str_of(root),
                                                                 .run = str_of(run),
                                                                 .grace = SPAN_NONE,
                                                                 .record = {bytes, len}});
    assert_int_equal(answer.verdict, SAID_ACCEPTED);
    model_forget_messages(world->model);
}

static const struct tree_run *run_of(struct world *world, const char *root, const char *run)
{
    struct store_answer answer =
        call(world, (struct store_call){.op = STORE_TREE, .root = str_of(root)});
    assert_non_null(answer.tree);
    const struct tree_run *found = tree_find(answer.tree, str_of(run));
    assert_non_null(found);
    return found;
}

static void expect(struct world *world, const char *text)
{
    assert_string_equal(world->said.len > 0 ? world->said.bytes : "", text);
    buf_clear(&world->said);
}

static size_t published(struct world *world)
{
    size_t count, cancels = 0;
    const struct model_message *messages = model_messages(world->model, &count);
    for (size_t i = 0; i < count; i++)
        cancels += messages[i].watch ? 0 : 1;
    model_forget_messages(world->model);
    return cancels;
}

/* ---- lost --------------------------------------------------------------------------------------
 */
static void a_replica_that_is_gone_is_suspect_then_lost_then_forgotten(void **state)
{
    struct world *world = *state;
    link_up(world);
    replica(world, 0, "gone");
    replica(world, 1, "here");
    start(world, "gone", "tree", "tree", 0, SPAN_NONE);
    start(world, "here", "other", "other", 0, SPAN_NONE);
    pass(world, 60000);
    expect(world, "");

    world->alive[0] = NULL; /* its lease lasts 15 s more */
    pass(world, 28000);
    expect(world, "");
    assert_int_equal(run_of(world, "tree", "tree")->flags & RUN_FLAG_SUSPECT, 0);
    pass(world, 10000);
    expect(world, "replica is suspect gone\n");
    assert_int_not_equal(run_of(world, "tree", "tree")->flags & RUN_FLAG_SUSPECT, 0);
    assert_int_equal(run_of(world, "tree", "tree")->state, RUN_RUNNING);
    pass(world, 12000);
    expect(world, "replica is lost gone\nrun is lost gonetree\nreplica is cleared away gone\n");
    assert_int_equal(run_of(world, "tree", "tree")->state, RUN_LOST);
    assert_int_not_equal(run_of(world, "tree", "tree")->flags & RUN_FLAG_BANNED, 0);
    assert_int_equal(run_of(world, "other", "other")->state, RUN_RUNNING);
    pass(world, 60000);
    expect(world, "");
}

static bool is_quarantined(const struct world *world, const char *name)
{
    struct broker_replica_view view;
    for (size_t at = 0; broker_next_replica(world->broker, &at, world->now, &view);)
        if (str_is(view.replica, name))
            return view.quarantined;
    fail_msg("no replica %s", name);
    return false;
}

static void who_is_quarantined_is_shown(void **state)
{
    struct world *world = *state;
    struct store_call sick = {.op = STORE_QUARANTINE_ADD, .replica = STR("sick")};
    link_up(world);
    replica(world, 0, "sick");
    replica(world, 1, "well");
    call(world, sick);
    pass(world, 5000);
    assert_true(is_quarantined(world, "sick"));
    assert_false(is_quarantined(world, "well"));
    sick.op = STORE_QUARANTINE_DROP;
    call(world, sick);
    pass(world, 5000);
    assert_false(is_quarantined(world, "sick"));
}

/* The leases were read a moment before that. */
static void who_comes_back_at_the_last_moment_loses_nothing(void **state)
{
    struct world *world = *state;
    link_up(world);
    replica(world, 0, "away");
    start(world, "away", "tree", "tree", 0, SPAN_NONE);
    pass(world, 5000);
    world->alive[0] = NULL;
    world->back = "away";
    pass(world, 60000);
    expect(world, "replica is suspect away\nreplica is back away\n");
    assert_int_equal(run_of(world, "tree", "tree")->state, RUN_RUNNING);
}

static void who_comes_back_even_later_stays_known(void **state)
{
    struct world *world = *state;
    link_up(world);
    replica(world, 0, "away");
    start(world, "away", "tree", "tree", 0, SPAN_NONE);
    pass(world, 5000);
    world->alive[0] = NULL;
    world->back = "away";
    world->back_at = 1;
    pass(world, 60000);
    expect(world, "replica is suspect away\nreplica is lost away\nrun is lost awaytree\n"
                  "replica is back away\n");
    assert_int_equal(call(world, (struct store_call){.op = STORE_REPLICAS_READ}).list_count, 1);
    assert_int_equal(
        call(world, (struct store_call){.op = STORE_HELD_READ, .replica = STR("away")}).list_count,
        1);
}

static void a_replica_that_comes_back_loses_nothing(void **state)
{
    struct world *world = *state;
    link_up(world);
    replica(world, 0, "away");
    start(world, "away", "tree", "tree", 0, SPAN_NONE);
    pass(world, 5000);
    world->alive[0] = NULL;
    pass(world, 40000);
    expect(world, "replica is suspect away\n");
    world->alive[0] = "away";
    pass(world, 60000);
    expect(world, "replica is back away\n");
    assert_int_equal(run_of(world, "tree", "tree")->state, RUN_RUNNING);
}

/* Answers what is asked until a loss is to be noted; that question stays open. */
static bool settle_until_a_loss(struct world *world)
{
    for (size_t done = 0; done < world->call_count; done++) {
        const struct store_call *next = &world->call[done].call;
        struct store_answer answer = {.verdict = SAID_OFFLINE};
        if (next->op == STORE_LOSS_COUNT && next->number > 0) {
            world->call[0] = world->call[done];
            world->call_count = 1;
            return true;
        }
        model_call(world->model, next, &answer);
        feed(world, (struct broker_event){.kind = BROKER_ANSWER,
                                          .token = world->call[done].token,
                                          .answer = &answer});
    }
    world->call_count = 0;
    return false;
}

static void a_broker_that_was_frozen_trusts_nothing_that_it_knew(void **state)
{
    struct world *world = *state;
    link_up(world);
    replica(world, 0, "away");
    start(world, "away", "tree", "tree", 0, SPAN_NONE);
    pass(world, 5000);
    world->alive[0] = NULL;
    pass(world, 2 * LEASE_MS - 2000);
    do {
        world->now.ms += SWEEP_MS / 2;
        model_set_time(world->model, (struct wall){model_time(world->model).ms + SWEEP_MS / 2});
        feed(world, (struct broker_event){.kind = BROKER_TIME_PASSED});
    } while (!settle_until_a_loss(world));

    world->alive[0] = "away"; /* it comes back, and nobody looks */
    world->now.ms += 60000;
    settle(world);
    pass(world, 60000);
    assert_int_equal(run_of(world, "tree", "tree")->state, RUN_RUNNING);
}

static void any_trouble_with_redis_restarts_the_two_leases(void **state)
{
    struct world *world = *state;
    link_up(world);
    replica(world, 0, "gone");
    start(world, "gone", "tree", "tree", 0, SPAN_NONE);
    pass(world, 5000);
    world->alive[0] = NULL;
    for (int i = 0; i < 5; i++) {
        pass(world, 28000);
        if (i % 2 == 0) {
            link_down(world);
            pass(world, 1000);
            link_up(world);
        } else {
            model_set_unwritable(world->model, "READONLY");
            pass(world, 2000);
            model_set_unwritable(world->model, NULL);
        }
    }
    assert_null(strstr(world->said.bytes, "lost"));
    assert_int_equal(run_of(world, "tree", "tree")->state, RUN_RUNNING);
    pass(world, 36000);
    assert_int_equal(run_of(world, "tree", "tree")->state, RUN_LOST);
}

static void when_a_fifth_of_the_fleet_is_gone_nobody_is_lost(void **state)
{
    static const char *const names[] = {"r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9"};
    struct world *world = *state;
    link_up(world);
    for (size_t i = 0; i < 10; i++) {
        replica(world, i, names[i]);
        start(world, names[i], names[i], names[i], 0, SPAN_NONE);
    }
    pass(world, 5000);
    for (size_t i = 0; i < 3; i++)
        world->alive[i] = NULL;
    pass(world, 120000);
    assert_true(broker_sweep_suspended(world->broker));
    assert_int_equal(broker_suspect_replicas(world->broker), 3);
    assert_null(strstr(world->said.bytes, "lost"));
    assert_non_null(strstr(world->said.bytes, "sweep suspended"));
    buf_clear(&world->said);

    world->alive[0] = "r0";
    world->alive[1] = "r1";
    pass(world, 20000);
    assert_false(broker_sweep_suspended(world->broker));
    assert_int_equal(run_of(world, "r0", "r0")->state, RUN_RUNNING);
    assert_int_equal(run_of(world, "r2", "r2")->state, RUN_LOST);
}

static void those_that_go_one_after_the_other_count_together(void **state)
{
    static const char *const names[] = {"r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9"};
    struct world *world = *state;
    link_up(world);
    for (size_t i = 0; i < 10; i++) {
        replica(world, i, names[i]);
        start(world, names[i], names[i], names[i], 0, SPAN_NONE);
    }
    for (size_t i = 0; i < 3; i++) {
        pass(world, 5000);
        world->alive[i] = NULL;
    }
    pass(world, 120000);
    assert_true(broker_sweep_suspended(world->broker));
    assert_null(strstr(world->said.bytes, "lost"));
}

static void three_of_three_go(struct world *world, bool another_sweeps)
{
    static const char *const names[] = {"r0", "r1", "r2"};
    const struct store_call lock = {
        .op = STORE_LOCK, .id = STR("sweep"), .replica = STR("b2"), .span = {600000}};
    if (another_sweeps)
        call(world, lock);
    link_up(world);
    for (size_t i = 0; i < 3; i++) {
        replica(world, i, names[i]);
        start(world, names[i], names[i], names[i], 0, SPAN_NONE);
    }
    pass(world, 5000);
    for (size_t i = 0; i < 3; i++)
        world->alive[i] = NULL;
    pass(world, 100000);
    assert_int_equal(broker_holds_lock(world->broker), !another_sweeps);
}

/* Whichever broker is asked: it knows, and what it is told reaches the one that sweeps. */
static void a_broker_that_does_not_sweep_passes_the_operator_on(void **state)
{
    struct world *world = *state;
    three_of_three_go(world, true);
    assert_true(broker_sweep_suspended(world->broker));
    feed(world, (struct broker_event){.kind = BROKER_CONFIRM_LOSSES});
    pass(world, 10000);
    assert_int_equal(run_of(world, "r1", "r1")->state, RUN_RUNNING); /* the other's business */
    assert_int_equal(call(world, (struct store_call){.op = STORE_CONFIRM_READ}).list_count, 3);
}

static void what_another_broker_was_told_is_heeded(void **state)
{
    struct world *world = *state;
    three_of_three_go(world, false);
    assert_true(broker_sweep_suspended(world->broker));
    call(world, (struct store_call){.op = STORE_CONFIRM_ADD, .replica = STR("r0")});
    call(world, (struct store_call){.op = STORE_CONFIRM_ADD, .replica = STR("r2")});
    pass(world, 10000);
    assert_int_equal(run_of(world, "r0", "r0")->state, RUN_LOST);
    assert_int_equal(run_of(world, "r1", "r1")->state, RUN_RUNNING);
    assert_int_equal(run_of(world, "r2", "r2")->state, RUN_LOST);
    assert_int_equal(call(world, (struct store_call){.op = STORE_CONFIRM_READ}).list_count, 0);
}

/* Else it would be lost without a question the next time. */
static void who_comes_back_is_not_confirmed_any_more(void **state)
{
    struct world *world = *state;
    three_of_three_go(world, true);
    feed(world, (struct broker_event){.kind = BROKER_CONFIRM_LOSSES});
    pass(world, 1000);
    world->alive[0] = "r0";
    pass(world, 10000);
    call(world, (struct store_call){
                    .op = STORE_LOCK, .id = STR("sweep"), .replica = STR("b2"), .span = {1}});
    pass(world, 10000);
    assert_true(broker_holds_lock(world->broker));
    assert_int_equal(call(world, (struct store_call){.op = STORE_CONFIRM_READ}).list_count, 0);
    assert_int_equal(run_of(world, "r0", "r0")->state, RUN_RUNNING);
}

static void an_operator_may_say_that_they_are_really_gone(void **state)
{
    static const char *const names[] = {"r0", "r1", "r2"};
    struct world *world = *state;
    link_up(world);
    for (size_t i = 0; i < 3; i++) {
        replica(world, i, names[i]);
        start(world, names[i], names[i], names[i], 0, SPAN_NONE);
    }
    pass(world, 5000);
    for (size_t i = 0; i < 3; i++)
        world->alive[i] = NULL;
    pass(world, 100000);
    assert_true(broker_sweep_suspended(world->broker));
    assert_int_equal(run_of(world, "r1", "r1")->state, RUN_RUNNING);
    feed(world, (struct broker_event){.kind = BROKER_CONFIRM_LOSSES});
    pass(world, 10000);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(run_of(world, names[i], names[i])->state, RUN_LOST);
    assert_false(broker_sweep_suspended(world->broker));
}

/* Two brokers hold the lock in turn, and each notes what it sees. */
static void two_of_three_are_lost_however_often_that_was_noted(void **state)
{
    static const char *const names[] = {"r0", "r1", "r2"};
    struct world *world = *state;
    link_up(world);
    for (size_t i = 0; i < 3; i++) {
        replica(world, i, names[i]);
        start(world, names[i], names[i], names[i], 0, SPAN_NONE);
    }
    pass(world, 5000);
    for (size_t i = 0; i < 2; i++) {
        world->alive[i] = NULL;
        call(world,
             (struct store_call){.op = STORE_LOSS_COUNT, .replica = str_of(names[i]), .number = 1});
    }
    pass(world, 60000);
    assert_null(strstr(world->said.bytes, "sweep suspended"));
    assert_int_equal(run_of(world, "r0", "r0")->state, RUN_LOST);
    assert_int_equal(run_of(world, "r1", "r1")->state, RUN_LOST);
    assert_int_equal(run_of(world, "r2", "r2")->state, RUN_RUNNING);
}

/* The first two have been cleared away and are listed no more. */
static void a_third_one_within_ten_minutes_is_too_many(void **state)
{
    static const char *const names[] = {"r0", "r1", "r2", "r3"};
    struct world *world = *state;
    link_up(world);
    for (size_t i = 0; i < 4; i++) {
        replica(world, i, names[i]);
        start(world, names[i], names[i], names[i], 0, SPAN_NONE);
    }
    pass(world, 5000);
    for (size_t i = 0; i < 3; i++) {
        world->alive[i] = NULL;
        pass(world, 60000);
    }
    assert_true(broker_sweep_suspended(world->broker));
    assert_int_equal(run_of(world, "r2", "r2")->state, RUN_RUNNING);
    pass(world, 600000);
    assert_false(broker_sweep_suspended(world->broker));
    assert_int_equal(run_of(world, "r2", "r2")->state, RUN_LOST);
}

static void what_continues_is_only_suspect_for_a_while_longer(void **state)
{
    struct world *world = *state;
    link_up(world);
    replica(world, 0, "gone");
    start(world, "gone", "tree", "tree", RUN_FLAG_LOST_CONTINUE, SPAN_NONE);
    start(world, "gone", "quick", "quick", 0, SPAN_NONE);
    pass(world, 5000);
    world->alive[0] = NULL;
    pass(world, 48000);
    assert_int_equal(run_of(world, "quick", "quick")->state, RUN_LOST);
    assert_int_equal(run_of(world, "tree", "tree")->state, RUN_RUNNING);
    pass(world, 12000);
    assert_int_equal(run_of(world, "tree", "tree")->state, RUN_LOST);
    assert_int_equal(run_of(world, "tree", "tree")->flags & RUN_FLAG_BANNED, 0);
}

static void a_broker_without_the_lock_only_looks(void **state)
{
    struct world *world = *state;
    link_up(world);
    replica(world, 0, "gone");
    start(world, "gone", "tree", "tree", 0, SPAN_NONE);
    world->alive[0] = NULL;
    for (int i = 0; i < 100; i++) {
        call(world,
             (struct store_call){
                 .op = STORE_LOCK, .id = STR("sweep"), .replica = STR("b2"), .span = {60000}});
        pass(world, 1000);
        call(world,
             (struct store_call){
                 .op = STORE_LOCK, .id = STR("sweep"), .replica = STR("b2"), .span = {60000}});
    }
    assert_false(broker_holds_lock(world->broker));
    assert_int_equal(broker_suspect_replicas(world->broker), 1);
    assert_int_equal(run_of(world, "tree", "tree")->state, RUN_RUNNING);
}

static void a_deadline_is_kept_when_its_agentd_is_gone(void **state)
{
    struct world *world = *state;
    link_up(world);
    replica(world, 0, "gone");
    start(world, "gone", "tree", "tree", 0, SECONDS(20));
    world->alive[0] = NULL;
    pass(world, 32000);
    assert_non_null(
        strstr(world->said.bytes, "cancel tree/tree because deadline by broker ask 1\n"));
    assert_null(strstr(world->said.bytes, "ask 2")); /* once is enough while it is on its way */
}

/* ---- cancels that have not stopped everything --------------------------------------------------
 */
static void a_cancel_is_published_again_until_its_scope_has_stopped(void **state)
{
    struct world *world = *state;
    link_up(world);
    replica(world, 0, "here");
    start(world, "here", "tree", "tree", 0, SPAN_NONE);
    start(world, "here", "tree", "child", 0, SPAN_NONE);
    start(world, "here", "calm", "calm", 0, SPAN_NONE);
    cancel(world, "tree", "tree");
    pass(world, 3000);
    assert_int_equal(published(world), 0); /* the cancel itself was just published */
    pass(world, 30000);
    size_t count = published(world);
    assert_in_range(count, 3, 6);
    call(world, (struct store_call){.op = STORE_END,
                                    .root = STR("tree"),
                                    .run = STR("tree"),
                                    .epoch = 1,
                                    .state = RUN_SUCCESS});
    pass(world, 10000);
    assert_true(published(world) > 0);
    call(world, (struct store_call){.op = STORE_END,
                                    .root = STR("tree"),
                                    .run = STR("child"),
                                    .epoch = 1,
                                    .state = RUN_SUCCESS});
    pass(world, 10000);
    (void)published(world);
    pass(world, 30000);
    assert_int_equal(published(world), 0);
}

static void a_link_that_nobody_carried_is_followed_and_acknowledged(void **state)
{
    struct world *world = *state;
    char bytes[MESSAGE_MAX_BYTES];
    struct run_link link = {.kind = LINK_ROOT, .to = STR("far/away")};
    link_up(world);
    replica(world, 0, "here");
    start(world, "here", "tree", "tree", 0, SPAN_NONE);
    call(world, (struct store_call){.op = STORE_LINK,
                                    .root = STR("tree"),
                                    .run = STR("tree"),
                                    .epoch = 1,
                                    .link_id = STR("1"),
                                    .link = {bytes, api_encode_link(&link, bytes)}});
    pass(world, 10000);
    expect(world, "");
    cancel(world, "tree", "tree");
    pass(world, 12000);
    const char *wanted = "link followed tree\n"
                         "cancel far/away because enough by user:me force ask 1\n";
    assert_int_equal(strncmp(world->said.bytes, wanted, strlen(wanted)), 0);
    struct cancel_result result = {.problem = PROBLEM_NONE};
    feed(world, (struct broker_event){.kind = BROKER_CANCEL_ANSWERED, .ask = 1, .result = &result});
    settle(world);
    struct store_answer tree =
        call(world, (struct store_call){.op = STORE_TREE, .root = STR("tree")});
    assert_int_equal(tree.tree->link_count, 1);
    assert_true(tree.tree->link[0].acknowledged);
}

/* A tree "tree" of one run, with a link of the kind langgraph, cancelled. */
static void cancel_with_a_remote_link(struct world *world, uint32_t flags)
{
    char bytes[MESSAGE_MAX_BYTES];
    struct run_link link = {.kind = LINK_LANGGRAPH, .to = STR("http://far/threads/t/runs/r")};
    link_up(world);
    replica(world, 0, "here");
    start(world, "here", "tree", "tree", flags, SPAN_NONE);
    call(world, (struct store_call){.op = STORE_LINK,
                                    .root = STR("tree"),
                                    .run = STR("tree"),
                                    .epoch = 1,
                                    .link_id = STR("1"),
                                    .link = {bytes, api_encode_link(&link, bytes)}});
    cancel(world, "tree", "tree");
}

static const struct tree_link *only_link(struct world *world)
{
    struct store_answer tree =
        call(world, (struct store_call){.op = STORE_TREE, .root = STR("tree")});
    assert_int_equal(tree.tree->link_count, 1);
    return &tree.tree->link[0];
}

static void a_link_into_another_program_is_left_to_its_agentd_at_first(void **state)
{
    struct world *world = *state;
    cancel_with_a_remote_link(world, 0);
    pass(world, 2000);
    expect(world, "");
    pass(world, 10000);
    assert_non_null(strstr(world->said.bytes, "link followed tree\n"
                                              "ask langgraph http://far/threads/t/runs/r ask 1\n"));
    feed(world, (struct broker_event){
                    .kind = BROKER_REMOTE_ANSWERED, .ask = 1, .outcome = REMOTE_CANCELLED});
    settle(world);
    assert_true(only_link(world)->acknowledged);
    assert_int_equal(only_link(world)->kind, LINK_LANGGRAPH);
}

static void what_does_not_answer_is_asked_again_and_less_often(void **state)
{
    struct world *world = *state;
    size_t asked = 0;
    cancel_with_a_remote_link(world, 0);
    for (int minute = 0; minute < 10; minute++)
        for (int second = 0; second < 60; second++) {
            buf_clear(&world->said);
            pass(world, 1000);
            const char *ask = world->said.len > 0 ? strstr(world->said.bytes, "runs/r ask ") : NULL;
            if (ask == NULL)
                continue;
            asked++;
            feed(world, (struct broker_event){.kind = BROKER_REMOTE_ANSWERED,
                                              .ask = (uint64_t)strtoul(ask + strlen("runs/r ask "),
                                                                       NULL, 10),
                                              .outcome = REMOTE_UNREACHED});
        }
    assert_in_range(asked, 5, 12); /* of 120 looks */
    assert_false(only_link(world)->acknowledged);
}

static size_t asked_there(struct world *world, const char **last)
{
    size_t asked = 0;
    *last = NULL;
    for (const char *at = world->said.len > 0 ? world->said.bytes : "";
         (at = strstr(at, "runs/r ask ")) != NULL; asked++)
        *last = at += strlen("runs/r ask ");
    return asked;
}

/* Who was to put the question had no memory for it, nor to say so. */
static void a_question_whose_answer_was_lost_is_put_again(void **state)
{
    struct world *world = *state;
    const char *last = NULL;
    cancel_with_a_remote_link(world, 0);
    pass(world, 30000);
    assert_int_equal(asked_there(world, &last), 1);
    pass(world, 70000);
    assert_int_equal(asked_there(world, &last), 2);
    feed(world, (struct broker_event){
                    .kind = BROKER_REMOTE_ANSWERED, .ask = 1, .outcome = REMOTE_CANCELLED});
    settle(world);
    assert_false(only_link(world)->acknowledged); /* that one is not waited for any more */
    (void)asked_there(world, &last);
    feed(world, (struct broker_event){.kind = BROKER_REMOTE_ANSWERED,
                                      .ask = (uint64_t)strtoul(last, NULL, 10),
                                      .outcome = REMOTE_CANCELLED});
    settle(world);
    assert_true(only_link(world)->acknowledged);
}

static void a_link_of_a_run_that_is_only_observed_is_not_followed(void **state)
{
    struct world *world = *state;
    cancel_with_a_remote_link(world, RUN_FLAG_OBSERVE);
    pass(world, 20000);
    assert_true(world->said.len == 0 || strstr(world->said.bytes, "langgraph") == NULL);
}

static void a_root_whose_key_has_expired_leaves_the_list(void **state)
{
    struct world *world = *state;
    uint32_t left = 0;
    link_up(world);
    call(world, (struct store_call){.op = STORE_ROOT_ADD,
                                    .root = STR("expired"),
                                    .number = model_time(world->model).ms});
    pass(world, 30000);
    for (uint32_t shard = 0; shard < 64; shard++)
        left +=
            (uint32_t)call(world,
                           (struct store_call){.op = STORE_ROOTS_READ, .shard = shard, .limit = 10})
                .list_count;
    assert_int_equal(left, 1); /* a start lists its root a moment before its key is there */
    pass(world, 60000);
    for (uint32_t shard = 0; shard < 64; shard++)
        assert_int_equal(
            call(world, (struct store_call){.op = STORE_ROOTS_READ, .shard = shard, .limit = 10})
                .list_count,
            0);
}

static void trees_without_a_cancel_cost_next_to_nothing(void **state)
{
    struct world *world = *state;
    char name[16];
    link_up(world);
    replica(world, 0, "here");
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "tree%d", i);
        start(world, "here", name, name, 0, SPAN_NONE);
    }
    pass(world, 10000);
    size_t before = world->commands;
    pass(world, 10000);
    assert_true(world->commands - before < 5000);
    expect(world, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define STORY(name) cmocka_unit_test_setup_teardown(name, fresh_world, drop_world)
        STORY(a_replica_that_is_gone_is_suspect_then_lost_then_forgotten),
        STORY(who_is_quarantined_is_shown),
        STORY(a_replica_that_comes_back_loses_nothing),
        STORY(who_comes_back_at_the_last_moment_loses_nothing),
        STORY(who_comes_back_even_later_stays_known),
        STORY(a_broker_that_was_frozen_trusts_nothing_that_it_knew),
        STORY(any_trouble_with_redis_restarts_the_two_leases),
        STORY(when_a_fifth_of_the_fleet_is_gone_nobody_is_lost),
        STORY(those_that_go_one_after_the_other_count_together),
        STORY(an_operator_may_say_that_they_are_really_gone),
        STORY(a_broker_that_does_not_sweep_passes_the_operator_on),
        STORY(what_another_broker_was_told_is_heeded),
        STORY(who_comes_back_is_not_confirmed_any_more),
        STORY(two_of_three_are_lost_however_often_that_was_noted),
        STORY(a_third_one_within_ten_minutes_is_too_many),
        STORY(what_continues_is_only_suspect_for_a_while_longer),
        STORY(a_broker_without_the_lock_only_looks),
        STORY(a_deadline_is_kept_when_its_agentd_is_gone),
        STORY(a_cancel_is_published_again_until_its_scope_has_stopped),
        STORY(a_link_that_nobody_carried_is_followed_and_acknowledged),
        STORY(a_link_into_another_program_is_left_to_its_agentd_at_first),
        STORY(what_does_not_answer_is_asked_again_and_less_often),
        STORY(a_question_whose_answer_was_lost_is_put_again),
        STORY(a_link_of_a_run_that_is_only_observed_is_not_followed),
        STORY(a_root_whose_key_has_expired_leaves_the_list),
        STORY(trees_without_a_cancel_cost_next_to_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
