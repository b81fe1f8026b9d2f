/* A cancel from the ask to the honest answer, told as what is asked of Redis and what it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "core/cancels.h"
#include "wire/message.h"

#define ROOT  "0aaaaaaaaaaaaaaaaaaaa"
#define CHILD ROOT "-child"

enum { OPEN_MAX = 2048, TOKEN_BASE = 1000 };

struct world {
    struct cancels *cancels;
    struct cancels_effects todo;
    struct instant now;
    struct buf said; /* what the last step wanted, a line each */
    size_t open_count;
    struct {
        uint64_t token;
        enum store_op op;
        char root[RUN_ID_MAX + 1];
    } open[OPEN_MAX];
    struct tree tree;
    char record[MESSAGE_MAX_BYTES];
    size_t record_len;
};

static size_t encode(const struct cancel_record *record, char *out)
{
    struct buf buf = {.limit = MESSAGE_MAX_BYTES};
    size_t len = wire_record_encode(record, &buf) == ERR_OK ? buf.len : 0;
    memcpy(out, len > 0 ? buf.bytes : "", len);
    buf_fini(&buf);
    return len;
}

static bool decode(struct str bytes, struct cancel_record *out)
{
    return wire_record_decode(bytes, out) == ERR_OK;
}

static size_t encode_link(const struct run_link *link, char *out)
{
    struct buf buf = {.limit = MESSAGE_MAX_BYTES};
    size_t len = wire_link_encode(link, &buf) == ERR_OK ? buf.len : 0;
    memcpy(out, len > 0 ? buf.bytes : "", len);
    buf_fini(&buf);
    return len;
}

static int fresh_world(void **state)
{
    static struct world world;
    world = (struct world){.now = {1000}};
    world.cancels = cancels_new(&(struct cancels_options){
        .hold = SECONDS(900),
        .hold_max = 10000,
        .asks_max = 4,
        .lease = SECONDS(15),
        .token_base = TOKEN_BASE,
        .encode = encode,
        .decode = decode,
        .encode_link = encode_link,
    });
    assert_non_null(world.cancels);
    tree_init(&world.tree);
    *state = &world;
    return 0;
}

static int drop_world(void **state)
{
    struct world *world = *state;
    cancels_free(world->cancels);
    mem_free(world->todo.item);
    buf_fini(&world->said);
    tree_fini(&world->tree);
    return 0;
}

/* ---- the outside -------------------------------------------------------------------------------
 */
static void note_call(struct world *world, const struct cancels_effect *effect)
{
    const struct store_call *call = &effect->call;
    struct str about = call->run.len > 0 ? call->run : call->id;
    assert_true(world->open_count < OPEN_MAX);
    world->open[world->open_count].token = effect->token;
    world->open[world->open_count].op = call->op;
    snprintf(world->open[world->open_count++].root, sizeof world->open[0].root, "%.*s",
             (int)call->root.len, call->root.at);
    buf_addf(&world->said, "%s %.*s%s%.*s%s%s\n", store_op_name(call->op), (int)call->root.len,
             call->root.at, call->root.len > 0 && about.len > 0 ? "/" : "", (int)about.len,
             about.at, call->force ? " force" : "", call->even_if_over ? " even_if_over" : "");
    if (call->op == STORE_CANCEL) {
        memcpy(world->record, call->record.at, call->record.len);
        world->record_len = call->record.len;
    }
}

static void note_answer(struct world *world, uint64_t ask, const struct cancel_result *result)
{
    struct buf *said = &world->said;
    buf_addf(said, "answer %u:", (unsigned)ask);
    if (result->problem != PROBLEM_NONE) {
        buf_addf(said, " %s\n", problem_code(result->problem));
        if (result->problem == PROBLEM_TOO_MANY_MATCHED)
            buf_addf(said, "(%s)\n", result->detail);
        return;
    }
    buf_addf(said, "%s%s%s by %.*s", result->awaited ? " awaited" : " requested",
             result->already ? " already" : "", result->known ? "" : " unknown",
             (int)result->record.by.len, result->record.by.at);
    if (result->durability_asked != DURABLE_MEMORY)
        buf_addf(said, " %s%s%s", durability_name(result->durability),
                 result->not_durable != NULL ? " for " : "",
                 result->not_durable != NULL ? result->not_durable : "");
    if (result->covered_by.len > 0)
        buf_addf(said, " covered_by %.*s", (int)result->covered_by.len, result->covered_by.at);
    if (result->counted)
        buf_addf(said, " stopped %zu pending %zu%s", result->tally.stopped.count,
                 result->tally.pending.count, result->tally.complete ? " complete" : "");
    for (size_t i = 0; i < result->child_count; i++)
        buf_addf(said, " %.*s", (int)result->child[i].len, result->child[i].at);
    for (size_t i = 0; i < result->unconfirmed_count; i++)
        buf_addf(said, " unconfirmed %.*s", (int)result->unconfirmed[i].len,
                 result->unconfirmed[i].at);
    buf_addf(said, "%s\n", result->closed ? "" : " open");
}

static void note(struct world *world, const struct cancels_effect *effect)
{
    switch (effect->kind) {
    case CANCELS_DO_CALL:
        note_call(world, effect);
        break;
    case CANCELS_DO_WATCH:
        buf_addf(&world->said, "watch %.*s\n", (int)effect->root.len, effect->root.at);
        break;
    case CANCELS_DO_UNWATCH:
        buf_addf(&world->said, "unwatch %.*s\n", (int)effect->root.len, effect->root.at);
        break;
    case CANCELS_DO_ANSWER:
        note_answer(world, effect->ask, effect->result);
        break;
    case CANCELS_DO_AUDIT:
        buf_add_text(&world->said, "audit\n");
        break;
    }
}

static void feed(struct world *world, struct cancels_event event)
{
    event.at = world->now;
    event.wall = (struct wall){1700000000000 + world->now.ms};
    buf_clear(&world->said);
    assert_int_equal(cancels_step(world->cancels, &event, &world->todo), ERR_OK);
    for (size_t i = 0; i < world->todo.count; i++)
        note(world, &world->todo.item[i]);
}

/* Answers the oldest open call of this op, on this root ("" = any). */
static void say_on(struct world *world, enum store_op op, const char *root,
                   struct store_answer answer)
{
    for (size_t i = 0; i < world->open_count; i++) {
        if (world->open[i].op != op || (root[0] != '\0' && strcmp(root, world->open[i].root) != 0))
            continue;
        uint64_t token = world->open[i].token;
        memmove(&world->open[i], &world->open[i + 1],
                (--world->open_count - i) * sizeof world->open[0]);
        feed(world,
             (struct cancels_event){.kind = CANCELS_ANSWER, .token = token, .answer = &answer});
        return;
    }
    fail_msg("nobody asked for %s %s", store_op_name(op), root);
}

static void say(struct world *world, enum store_op op, struct store_answer answer)
{
    say_on(world, op, "", answer);
}

static void link_up(struct world *world, bool lost)
{
    feed(world,
         (struct cancels_event){.kind = CANCELS_LINK_UP, .lost = lost, .generation = STR("g2")});
}

/* Linked, and the list of replicas that is read then has come. */
static void linked(struct world *world)
{
    link_up(world, false);
    say(world, STORE_REPLICAS_READ, (struct store_answer){.verdict = SAID_OK});
}

static struct cancel_ask ask_for(const char *run)
{
    return (struct cancel_ask){
        .ask = 1,
        .run = str_of(run),
        .reason = STR("no longer needed"),
        .by = STR("user:me"),
        .grace = SPAN_NONE,
        .timeout = SECONDS(10),
        .remember_unknown = true,
        .expect_at_most = -1,
        .include_self = true,
    };
}

static void ask(struct world *world, struct cancel_ask asked)
{
    feed(world, (struct cancels_event){.kind = CANCELS_ASK, .asked = &asked});
}

static void pass(struct world *world, int64_t ms)
{
    world->now.ms += ms;
    feed(world, (struct cancels_event){.kind = CANCELS_TIME_PASSED});
}

static struct tree_run *add(struct world *world, const char *id, const char *parent,
                            enum run_state run_state, uint32_t flags)
{
    struct tree_run *run = tree_run_named(&world->tree, str_of(id));
    assert_non_null(run);
    run->state = run_state;
    run->flags = flags;
    assert_int_equal(tree_keep(&world->tree, str_of(parent), &run->parent), ERR_OK);
    return run;
}

static void say_tree(struct world *world, const char *root)
{
    tree_join(&world->tree);
    say_on(world, STORE_TREE, root,
           (struct store_answer){.verdict = SAID_OK, .tree = &world->tree});
}

static struct store_answer accepted(enum run_state before)
{
    return (struct store_answer){.verdict = SAID_ACCEPTED, .state = before, .number = 1};
}

#define expect(world, text) \
    assert_string_equal((world)->said.bytes != NULL ? (world)->said.bytes : "", text)
#define expect_nothing(world) assert_int_equal((world)->said.len, 0)

/* ---- the short way -----------------------------------------------------------------------------
 */
static void the_answer_alone_waits_for_replicas(void **state)
{
    struct world *world = *state;
    linked(world);
    struct cancel_ask wanted = ask_for(CHILD);
    wanted.durability = DURABLE_REPLICATED;
    for (int turn = 0; turn < 2; turn++) {
        ask(world, wanted);
        expect(world, "cancel " ROOT "/" CHILD "\n");
        say(world, STORE_CANCEL, accepted(RUN_RUNNING));
        expect(world, "sync " ROOT "/" CHILD "\n");
        say(world, STORE_SYNC,
            (struct store_answer){.verdict = turn == 0 ? SAID_OK : SAID_ERROR,
                                  .text = turn == 0 ? STR_NONE : STR("want of them")});
        expect(world, turn == 0
                          ? "audit\nanswer 1: requested by user:me replicated\n"
                          : "audit\nanswer 1: requested by user:me memory for want of them\n");
    }
}

static void a_minted_id_needs_one_command(void **state)
{
    struct world *world = *state;
    linked(world);
    ask(world, ask_for(CHILD));
    expect(world, "cancel " ROOT "/" CHILD "\n");
    say(world, STORE_CANCEL, accepted(RUN_RUNNING));
    expect(world, "audit\nanswer 1: requested by user:me\n");
}

static void a_duplicate_gets_the_first_ones_record(void **state)
{
    struct world *world = *state;
    linked(world);
    struct cancel_ask second = ask_for(CHILD);
    second.by = STR("user:other");
    ask(world, ask_for(CHILD));
    say(world, STORE_CANCEL, accepted(RUN_RUNNING));
    char first[MESSAGE_MAX_BYTES];
    size_t len = world->record_len;
    memcpy(first, world->record, len);

    for (int i = 0; i < 3; i++) {
        ask(world, second);
        expect(world, "cancel " ROOT "/" CHILD "\n");
        say(world, STORE_CANCEL,
            (struct store_answer){.verdict = SAID_ALREADY,
                                  .state = RUN_STOPPING,
                                  .ban = STR(ROOT),
                                  .record = {first, len}});
        /* the second of them is not audited again so soon */
        expect(world, i == 0 ? "audit\nanswer 1: requested already by user:me covered_by " ROOT "\n"
                             : "answer 1: requested already by user:me covered_by " ROOT "\n");
    }
}

static void a_client_chosen_id_is_looked_up_once(void **state)
{
    struct world *world = *state;
    linked(world);
    for (int i = 0; i < 2; i++) {
        ask(world, ask_for("mine"));
        if (i == 0) {
            expect(world, "find_read mine\n");
            say(world, STORE_FIND_READ,
                (struct store_answer){.verdict = SAID_OK, .text = STR("tree")});
        }
        expect(world, "cancel tree/mine\n");
        say(world, STORE_CANCEL, accepted(RUN_RUNNING));
    }
}

static void a_root_that_was_remembered_wrong_is_asked_for_again(void **state)
{
    struct world *world = *state;
    linked(world);
    ask(world, ask_for("mine"));
    say(world, STORE_FIND_READ, (struct store_answer){.verdict = SAID_OK, .text = STR("tree")});
    say(world, STORE_CANCEL, accepted(RUN_RUNNING));
    ask(world, ask_for("mine"));
    say(world, STORE_CANCEL, (struct store_answer){.verdict = SAID_NOT_FOUND});
    expect(world, "find_read mine\n");
    say(world, STORE_FIND_READ, (struct store_answer){.verdict = SAID_OK, .text = STR("other")});
    expect(world, "cancel other/mine\n");
}

static void a_given_root_must_agree(void **state)
{
    struct world *world = *state;
    linked(world);
    struct cancel_ask asked = ask_for("mine");
    asked.root = STR("other");
    ask(world, asked);
    say(world, STORE_FIND_READ, (struct store_answer){.verdict = SAID_OK, .text = STR("tree")});
    expect(world, "answer 1: conflict\naudit\n");
    asked.run = STR(CHILD);
    ask(world, asked);
    expect(world, "answer 1: conflict\naudit\n");
    asked.run = STR("known_to_nobody");
    ask(world, asked);
    say(world, STORE_FIND_READ, (struct store_answer){.verdict = SAID_NOT_FOUND});
    expect(world, "cancel other/known_to_nobody\n");
}

static void an_id_nobody_has_seen_is_remembered_or_refused(void **state)
{
    struct world *world = *state;
    linked(world);
    struct cancel_ask asked = ask_for("unseen");
    asked.wait = WAIT_STOPPED; /* it would wait for nothing */
    ask(world, asked);
    say(world, STORE_FIND_READ, (struct store_answer){.verdict = SAID_NOT_FOUND});
    expect(world, "remember unseen\n");
    say(world, STORE_REMEMBER, (struct store_answer){.verdict = SAID_OK});
    expect(world, "cancel unseen/unseen force\n");
    say(world, STORE_CANCEL, accepted(RUN_NONE));
    expect(world, "find_claim unseen/unseen\n");
    say(world, STORE_FIND_CLAIM,
        (struct store_answer){.verdict = SAID_EXISTS, .text = STR("unseen")});
    expect(world, "audit\nanswer 1: requested unknown by user:me\n");

    asked = ask_for("unheard");
    asked.remember_unknown = false;
    ask(world, asked);
    say(world, STORE_FIND_READ, (struct store_answer){.verdict = SAID_NOT_FOUND});
    expect(world, "answer 1: not_found\naudit\n");

    asked = ask_for(CHILD);
    ask(world, asked);
    say(world, STORE_CANCEL, (struct store_answer){.verdict = SAID_NOT_FOUND});
    expect(world, "cancel " ROOT "/" CHILD " force\n");
}

/* A run of that id came back from a time without Redis, and looked before the tombstone was there.
 */
static void a_run_that_claims_its_id_meanwhile_is_cancelled_where_it_is(void **state)
{
    struct world *world = *state;
    linked(world);
    ask(world, ask_for("unseen"));
    say(world, STORE_FIND_READ, (struct store_answer){.verdict = SAID_NOT_FOUND});
    say(world, STORE_REMEMBER, (struct store_answer){.verdict = SAID_OK});
    say(world, STORE_CANCEL, accepted(RUN_NONE));
    expect(world, "find_claim unseen/unseen\n");
    say(world, STORE_FIND_CLAIM,
        (struct store_answer){.verdict = SAID_EXISTS, .text = STR("tree")});
    expect(world, "cancel tree/unseen\n");
    say(world, STORE_CANCEL, accepted(RUN_RUNNING));
    expect(world, "audit\nanswer 1: requested by user:me\n");
}

/* ---- what is over ------------------------------------------------------------------------------
 */
static void what_is_over_with_nothing_below_is_not_cancelable(void **state)
{
    struct world *world = *state;
    linked(world);
    add(world, ROOT, "", RUN_SUCCESS, 0);
    add(world, CHILD, ROOT, RUN_ERROR, 0);
    ask(world, ask_for(ROOT));
    say(world, STORE_CANCEL, (struct store_answer){.verdict = SAID_OVER, .state = RUN_SUCCESS});
    expect(world, "tree " ROOT "\n");
    say_tree(world, ROOT);
    expect(world, "answer 1: not_cancelable\naudit\n");
}

static void what_is_over_is_cancelled_for_what_lives_below(void **state)
{
    static const struct {
        enum run_state below;
        uint32_t flags;
        bool open;
    } cell[] = {
        {RUN_RUNNING, 0, true},    {RUN_RUNNING, RUN_FLAG_SUSPECT, true},
        {RUN_LOST, 0, true},       {RUN_LOST, RUN_FLAG_GONE, false},
        {RUN_CANCELLED, 0, false},
    };
    struct world *world = *state;
    linked(world);
    add(world, ROOT, "", RUN_SUCCESS, 0);
    for (size_t i = 0; i < sizeof cell / sizeof cell[0]; i++) {
        add(world, CHILD, ROOT, cell[i].below, cell[i].flags);
        ask(world, ask_for(ROOT));
        say(world, STORE_CANCEL, (struct store_answer){.verdict = SAID_OVER, .state = RUN_SUCCESS});
        say_tree(world, ROOT);
        expect(world, cell[i].open ? "cancel " ROOT "/" ROOT " even_if_over\n"
                                   : "answer 1: not_cancelable\naudit\n");
        if (cell[i].open)
            say(world, STORE_CANCEL, accepted(RUN_SUCCESS));
    }
}

/* ---- the tree first
 * ------------------------------------------------------------------------------ */
static void a_dry_run_writes_nothing(void **state)
{
    struct world *world = *state;
    linked(world);
    add(world, ROOT, "", RUN_RUNNING, 0);
    add(world, CHILD, ROOT, RUN_RUNNING, 0);
    struct cancel_ask asked = ask_for(ROOT);
    asked.dry_run = true;
    ask(world, asked);
    expect(world, "tree " ROOT "\n");
    say_tree(world, ROOT);
    expect(world, "answer 1: requested by user:me stopped 0 pending 2\n");
    assert_int_equal(world->open_count, 0);
}

static void a_dry_run_of_the_children_counts_them_alone(void **state)
{
    struct world *world = *state;
    linked(world);
    add(world, ROOT, "", RUN_RUNNING, 0);
    add(world, CHILD, ROOT, RUN_RUNNING, 0);
    struct cancel_ask asked = ask_for(ROOT);
    asked.dry_run = true;
    asked.include_self = false;
    asked.expect_at_most = 1;
    ask(world, asked);
    say_tree(world, ROOT);
    expect(world, "answer 1: requested by user:me stopped 0 pending 1 open\n");
}

static void more_than_expected_is_refused(void **state)
{
    struct world *world = *state;
    linked(world);
    add(world, ROOT, "", RUN_RUNNING, 0);
    add(world, CHILD, ROOT, RUN_RUNNING, 0);
    struct cancel_ask asked = ask_for(ROOT);
    asked.expect_at_most = 1;
    ask(world, asked);
    say_tree(world, ROOT);
    expect(world, "answer 1: too_many_matched\n"
                  "(2 live runs match, more than the 1 expected)\n"
                  "audit\n");
    asked.expect_at_most = 2;
    ask(world, asked);
    say_tree(world, ROOT);
    expect(world, "cancel " ROOT "/" ROOT "\n");
}

static void only_the_children_are_cancelled_until_none_is_new(void **state)
{
    struct world *world = *state;
    linked(world);
    add(world, ROOT, "", RUN_RUNNING, 0);
    add(world, "a", ROOT, RUN_RUNNING, 0);
    add(world, "b", ROOT, RUN_SUCCESS, 0);
    add(world, "b1", "b", RUN_RUNNING, 0);
    add(world, "c", ROOT, RUN_SUCCESS, 0);
    struct cancel_ask asked = ask_for(ROOT);
    asked.include_self = false;
    ask(world, asked);
    say_tree(world, ROOT);
    expect(world, "cancel " ROOT "/a even_if_over\ncancel " ROOT "/b even_if_over\n");
    say(world, STORE_CANCEL, accepted(RUN_RUNNING));
    expect_nothing(world);
    say(world, STORE_CANCEL, accepted(RUN_SUCCESS));
    expect(world, "tree " ROOT "\n");
    add(world, "late", ROOT, RUN_RUNNING, 0);
    say_tree(world, ROOT);
    expect(world, "cancel " ROOT "/late even_if_over\n");
    say(world, STORE_CANCEL, accepted(RUN_RUNNING));
    say_tree(world, ROOT);
    expect(world,
           "audit\nanswer 1: requested by user:me " ROOT ".a " ROOT ".b " ROOT ".late open\n");
}

/* ---- waits ----------------------------------------------------------------------------------- */
static void wait_for(struct world *world, enum cancel_wait wait)
{
    struct cancel_ask asked = ask_for(ROOT);
    asked.wait = wait;
    ask(world, asked);
    say(world, STORE_CANCEL, accepted(RUN_RUNNING));
}

static void a_wait_subscribes_then_reads_and_reads_again_on_a_hint(void **state)
{
    struct world *world = *state;
    linked(world);
    struct tree_run *root = add(world, ROOT, "", RUN_STOPPING, RUN_FLAG_BANNED);
    wait_for(world, WAIT_STOPPED);
    expect(world, "audit\nwatch " ROOT "\ntree " ROOT "\n");
    say_tree(world, ROOT);
    expect_nothing(world);
    feed(world, (struct cancels_event){.kind = CANCELS_HINT, .root = STR(ROOT)});
    expect(world, "tree " ROOT "\n");
    feed(world, (struct cancels_event){.kind = CANCELS_HINT, .root = STR(ROOT)});
    feed(world, (struct cancels_event){.kind = CANCELS_HINT, .root = STR(ROOT)});
    expect_nothing(world); /* one read on its way, and one more after it */
    say_tree(world, ROOT);
    expect(world, "tree " ROOT "\n");
    root->state = RUN_CANCELLED;
    say_tree(world, ROOT);
    expect(world, "answer 1: awaited by user:me stopped 1 pending 0 complete\nunwatch " ROOT "\n");
}

static void delivered_is_not_stopped(void **state)
{
    struct world *world = *state;
    linked(world);
    add(world, ROOT, "", RUN_STOPPING, RUN_FLAG_BANNED | RUN_FLAG_DELIVERED);
    wait_for(world, WAIT_DELIVERED);
    say_tree(world, ROOT);
    expect(world, "answer 1: awaited by user:me stopped 0 pending 1\nunwatch " ROOT "\n");
}

static void a_wait_whose_time_is_over_answers_what_it_knows(void **state)
{
    struct world *world = *state;
    linked(world);
    add(world, ROOT, "", RUN_STOPPING, RUN_FLAG_BANNED);
    wait_for(world, WAIT_STOPPED);
    say_tree(world, ROOT);
    assert_true(cancels_deadline(world->cancels).ms <= world->now.ms + 1000);
    pass(world, 1000);
    expect(world, "tree " ROOT "\n");
    say_tree(world, ROOT);
    pass(world, 9000);
    expect(world, "answer 1: requested by user:me stopped 0 pending 1\nunwatch " ROOT "\n");
}

static void whoever_hangs_up_is_not_answered(void **state)
{
    struct world *world = *state;
    linked(world);
    add(world, ROOT, "", RUN_STOPPING, RUN_FLAG_BANNED);
    wait_for(world, WAIT_STOPPED);
    say_tree(world, ROOT);
    feed(world, (struct cancels_event){.kind = CANCELS_ABANDON, .ask = 1});
    expect(world, "unwatch " ROOT "\n");
    pass(world, 20000);
    expect_nothing(world);
}

static void a_wait_that_is_given_up_is_answered_with_what_is_known(void **state)
{
    struct world *world = *state;
    linked(world);
    add(world, ROOT, "", RUN_STOPPING, RUN_FLAG_BANNED);
    wait_for(world, WAIT_STOPPED);
    say_tree(world, ROOT);
    feed(world, (struct cancels_event){.kind = CANCELS_GIVE_UP, .ask = 1});
    expect(world, "answer 1: requested by user:me stopped 0 pending 1\nunwatch " ROOT "\n");

    struct cancel_ask asked = ask_for(ROOT);
    asked.wait = WAIT_STOPPED;
    ask(world, asked);
    feed(world, (struct cancels_event){.kind = CANCELS_GIVE_UP, .ask = 1});
    expect_nothing(world); /* it is not recorded yet */
    say(world, STORE_CANCEL, accepted(RUN_RUNNING));
    expect(world, "audit\nanswer 1: requested by user:me\n");
}

static void many_waits_share_one_watch_and_one_read(void **state)
{
    struct world *world = *state;
    linked(world);
    struct tree_run *root = add(world, ROOT, "", RUN_STOPPING, RUN_FLAG_BANNED);
    wait_for(world, WAIT_STOPPED);
    say_tree(world, ROOT);
    wait_for(world, WAIT_STOPPED);
    expect(world, "audit\ntree " ROOT "\n");
    root->state = RUN_CANCELLED;
    say_tree(world, ROOT);
    expect(world, "answer 1: awaited by user:me stopped 1 pending 0 complete\n"
                  "answer 1: awaited by user:me stopped 1 pending 0 complete\n"
                  "unwatch " ROOT "\n");
}

static void a_wait_follows_links_to_other_roots(void **state)
{
    struct world *world = *state;
    linked(world);
    struct run_link link = {.kind = LINK_ROOT, .to = STR("far"), .acknowledged = true};
    add(world, ROOT, "", RUN_CANCELLED, RUN_FLAG_BANNED);
    assert_int_equal(tree_add_link(&world->tree, STR(ROOT), STR("1"), STR(""), &link), ERR_OK);
    wait_for(world, WAIT_STOPPED);
    say_tree(world, ROOT);
    expect(world, "watch far\ntree far\n");
    tree_fini(&world->tree);
    struct tree_run *far = add(world, "far", "", RUN_STOPPING, RUN_FLAG_BANNED);
    say_tree(world, "far");
    expect_nothing(world);
    far->state = RUN_CANCELLED;
    feed(world, (struct cancels_event){.kind = CANCELS_HINT, .root = STR("far")});
    say_tree(world, "far");
    expect(world, "answer 1: awaited by user:me stopped 2 pending 0 complete\n"
                  "unwatch " ROOT "\nunwatch far\n");
}

/* One wait follows 128 roots; of what it cannot look at it does not say that it stopped. */
static void links_to_more_roots_than_are_followed_are_not_called_stopped(void **state)
{
    enum { LINKS = 130 };
    struct world *world = *state;
    linked(world);
    add(world, ROOT, "", RUN_CANCELLED, RUN_FLAG_BANNED | RUN_FLAG_DELIVERED);
    for (int i = 0; i < LINKS; i++) {
        char to[16];
        (void)snprintf(to, sizeof to, "far%d", i);
        struct run_link link = {.kind = LINK_ROOT, .to = str_of(to), .acknowledged = true};
        assert_int_equal(tree_add_link(&world->tree, STR(ROOT), str_of(to), STR(""), &link),
                         ERR_OK);
    }
    wait_for(world, WAIT_STOPPED);
    say_tree(world, ROOT);
    tree_fini(&world->tree);
    for (int i = 0; i < LINKS - 3; i++) {
        char root[16];
        (void)snprintf(root, sizeof root, "far%d", i);
        say_tree(world, root);
    }
    expect_nothing(world);
}

static void add_link(struct world *world, const char *from, const char *to)
{
    struct run_link link = {.kind = LINK_ROOT, .to = str_of(to)};
    assert_int_equal(tree_add_link(&world->tree, str_of(from), str_of(to), STR(""), &link), ERR_OK);
}

/* ROOT links to far/run, which has a child, and whose tree links back to ROOT. */
static void count_round(struct world *world, struct cancel_ask asked)
{
    tree_fini(&world->tree);
    add(world, ROOT, "", RUN_RUNNING, 0);
    add_link(world, ROOT, "far/run");
    ask(world, asked);
    say_tree(world, ROOT);
    expect(world, "watch " ROOT "\ntree " ROOT "\n");
    say_tree(world, ROOT);
    expect(world, "watch far\ntree far\n");
    tree_fini(&world->tree);
    add(world, "far", "", RUN_RUNNING, 0);
    add(world, "run", "far", RUN_RUNNING, 0);
    add(world, "below", "run", RUN_RUNNING, RUN_FLAG_SUSPECT);
    add_link(world, "below", ROOT "/" ROOT);
    say_tree(world, "far");
}

static void what_links_lead_to_is_counted_before_anything_is_recorded(void **state)
{
    struct world *world = *state;
    linked(world);
    struct cancel_ask asked = ask_for(ROOT);
    asked.dry_run = true;
    count_round(world, asked);
    expect(world, "answer 1: requested by user:me stopped 0 pending 2\n"
                  "unwatch " ROOT "\nunwatch far\n");

    asked.dry_run = false;
    asked.expect_at_most = 2;
    count_round(world, asked);
    expect(world, "answer 1: too_many_matched\n"
                  "(3 live runs match, more than the 2 expected)\n"
                  "audit\nunwatch " ROOT "\nunwatch far\n");

    asked.expect_at_most = 3;
    count_round(world, asked);
    expect(world, "unwatch " ROOT "\nunwatch far\ncancel " ROOT "/" ROOT "\n");
    say(world, STORE_CANCEL, accepted(RUN_RUNNING));
    expect(world, "audit\nanswer 1: requested by user:me\n");
}

static void a_count_of_the_children_leaves_out_the_run_that_links(void **state)
{
    struct world *world = *state;
    linked(world);
    struct cancel_ask asked = ask_for(ROOT);
    asked.include_self = false;
    asked.expect_at_most = 2;
    count_round(world, asked);
    expect(world, "unwatch " ROOT "\nunwatch far\ntree " ROOT "\n");
    tree_fini(&world->tree);
    add(world, ROOT, "", RUN_RUNNING, 0);
    add_link(world, ROOT, "far/run");
    say_tree(world, ROOT);
    expect(world, "cancel far/run force even_if_over\n");
    asked.dry_run = true;
    count_round(world, asked);
    expect(world, "answer 1: requested by user:me stopped 0 pending 1 open\n"
                  "unwatch " ROOT "\nunwatch far\n");
}

/* What cannot be counted is not cancelled on a guess. */
static void links_that_cannot_be_counted_refuse_the_cancel(void **state)
{
    struct world *world = *state;
    linked(world);
    struct cancel_ask asked = ask_for(ROOT);
    asked.expect_at_most = 1000;
    add(world, ROOT, "", RUN_RUNNING, 0);
    add_link(world, ROOT, "far");
    ask(world, asked);
    say_tree(world, ROOT);
    say_tree(world, ROOT);
    say_on(world, STORE_TREE, "far", (struct store_answer){.verdict = SAID_ERROR});
    expect(world, "answer 1: unavailable\naudit\nunwatch " ROOT "\nunwatch far\n");

    ask(world, asked);
    say_tree(world, ROOT);
    say_tree(world, ROOT);
    pass(world, 10000);
    assert_non_null(strstr(world->said.bytes, "answer 1: unavailable\naudit\n"));
    say_on(world, STORE_TREE, "far", (struct store_answer){.verdict = SAID_NOT_FOUND});

    for (int i = 0; i < 130; i++) {
        char to[16];
        (void)snprintf(to, sizeof to, "far%d", i);
        add_link(world, ROOT, to);
    }
    ask(world, asked);
    say_tree(world, ROOT);
    say_tree(world, ROOT);
    assert_non_null(strstr(world->said.bytes, "answer 1: too_many_matched\n(its links lead to"));
}

static void a_link_is_cancelled_over_there_and_then_acknowledged(void **state)
{
    struct world *world = *state;
    linked(world);
    struct run_link link = {.kind = LINK_ROOT, .to = STR("far/run")};
    add(world, ROOT, "", RUN_STOPPING, RUN_FLAG_BANNED);
    assert_int_equal(tree_add_link(&world->tree, STR(ROOT), STR("1"), STR(""), &link), ERR_OK);
    struct cancel_ask asked = ask_for(ROOT);
    asked.follow_links = true;
    ask(world, asked);
    say(world, STORE_CANCEL, accepted(RUN_RUNNING));
    expect(world, "audit\nanswer 1: requested by user:me\ntree " ROOT "\n");
    say_tree(world, ROOT);
    expect(world, "cancel far/run force even_if_over\n");
    struct cancel_record record;
    assert_true(decode((struct str){world->record, world->record_len}, &record));
    assert_true(str_is(record.cause, ROOT "." ROOT));
    assert_int_equal(record.hops, 1);
    say(world, STORE_CANCEL,
        (struct store_answer){.verdict = SAID_ALREADY, .state = RUN_NEVER, .record = STR("")});
    expect(world, "audit\nlink " ROOT "/" ROOT "\n");
    say(world, STORE_LINK, (struct store_answer){.verdict = SAID_LINKED});
    expect_nothing(world);
}

/* ---- trouble --------------------------------------------------------------------------------- */
static void without_redis_the_answer_is_unavailable_or_unknown(void **state)
{
    struct world *world = *state;
    ask(world, ask_for(ROOT));
    expect(world, "answer 1: unavailable\naudit\n");
    linked(world);
    ask(world, ask_for(ROOT));
    say(world, STORE_CANCEL, (struct store_answer){.verdict = SAID_OFFLINE});
    expect(world, "answer 1: unknown_outcome\naudit\n");
    ask(world, ask_for(ROOT));
    say(world, STORE_CANCEL,
        (struct store_answer){.verdict = SAID_UNWRITABLE, .text = STR("READONLY")});
    expect(world, "answer 1: unavailable\naudit\n");
    ask(world, ask_for("mine"));
    say(world, STORE_FIND_READ, (struct store_answer){.verdict = SAID_OFFLINE});
    expect(world, "answer 1: unavailable\naudit\n");
}

static void more_asks_than_allowed_are_refused(void **state)
{
    struct world *world = *state;
    linked(world);
    for (int i = 0; i < 4; i++)
        ask(world, ask_for(ROOT));
    ask(world, ask_for(ROOT));
    expect(world, "answer 1: overloaded\naudit\n");
    say(world, STORE_CANCEL, accepted(RUN_RUNNING));
    ask(world, ask_for(ROOT));
    expect(world, "cancel " ROOT "/" ROOT "\n");
}

static void a_redis_that_forgot_is_told_again(void **state)
{
    struct world *world = *state;
    linked(world);
    ask(world, ask_for(ROOT));
    say(world, STORE_CANCEL, accepted(RUN_RUNNING));
    link_up(world, false);
    expect(world, "replicas_read \n");
    say(world, STORE_REPLICAS_READ, (struct store_answer){.verdict = SAID_OK});
    link_up(world, true);
    expect(world, "replicas_read \ncancel " ROOT "/" ROOT " force even_if_over\n");
    say(world, STORE_CANCEL, accepted(RUN_NONE));
    expect_nothing(world);
    pass(world, 16 * 60 * 1000);
    link_up(world, true);
    assert_null(strstr(world->said.bytes, "cancel"));
}

/* The run claims its id, and looks for the tombstone afterwards: it may be faster by a moment. */
static void a_tombstone_that_is_told_again_looks_at_the_claim_behind_it(void **state)
{
    struct world *world = *state;
    struct store_answer in_tree = {.verdict = SAID_EXISTS, .text = STR("tree")};
    linked(world);
    ask(world, ask_for("unseen"));
    say(world, STORE_FIND_READ, (struct store_answer){.verdict = SAID_NOT_FOUND});
    say(world, STORE_REMEMBER, (struct store_answer){.verdict = SAID_OK});
    say(world, STORE_CANCEL, accepted(RUN_NONE));
    say(world, STORE_FIND_CLAIM, (struct store_answer){.verdict = SAID_OK});
    link_up(world, true);
    expect(world, "replicas_read \ncancel unseen/unseen force even_if_over\n");
    say(world, STORE_CANCEL, accepted(RUN_NONE));
    expect(world, "find_claim unseen/unseen\n");
    say(world, STORE_FIND_CLAIM, in_tree);
    expect(world, "cancel tree/unseen force even_if_over\n");
    say(world, STORE_CANCEL, (struct store_answer){.verdict = SAID_UNWRITABLE});
    pass(world, 1000);
    assert_non_null(strstr(world->said.bytes, "cancel unseen/unseen force even_if_over\n"));
    say(world, STORE_CANCEL, (struct store_answer){.verdict = SAID_ALREADY});
    say(world, STORE_FIND_CLAIM, in_tree);
    expect(world, "cancel tree/unseen force even_if_over\n");
    say(world, STORE_CANCEL, accepted(RUN_RUNNING));
    expect_nothing(world);
}

static void a_redis_that_forgot_is_told_of_each_child_again(void **state)
{
    struct world *world = *state;
    linked(world);
    add(world, ROOT, "", RUN_RUNNING, 0);
    add(world, "a", ROOT, RUN_RUNNING, 0);
    add(world, "b", ROOT, RUN_RUNNING, 0);
    struct cancel_ask asked = ask_for(ROOT);
    asked.include_self = false;
    ask(world, asked);
    say_tree(world, ROOT);
    say(world, STORE_CANCEL, accepted(RUN_RUNNING));
    say(world, STORE_CANCEL, accepted(RUN_RUNNING));
    say_tree(world, ROOT);
    link_up(world, false);
    say(world, STORE_REPLICAS_READ, (struct store_answer){.verdict = SAID_OK});
    buf_clear(&world->said);
    link_up(world, true);
    expect(world, "replicas_read \ncancel " ROOT "/a force even_if_over\n"
                  "cancel " ROOT "/b force even_if_over\n");
}

static void after_a_loss_no_wait_ends_before_all_have_asserted(void **state)
{
    struct world *world = *state;
    struct str replica[] = {STR("rep1"), STR("rep2")};
    struct store_answer both = {.verdict = SAID_OK, .list_count = 2, .list = replica};
    link_up(world, false);
    say(world, STORE_REPLICAS_READ, both);
    add(world, ROOT, "", RUN_CANCELLED, RUN_FLAG_BANNED);
    link_up(world, true);
    wait_for(world, WAIT_STOPPED);
    say_tree(world, ROOT);
    expect_nothing(world);
    say(world, STORE_REPLICAS_READ, both);
    expect(world, "lease_read \nlease_read \n");
    say(world, STORE_LEASE_READ, (struct store_answer){.verdict = SAID_OK, .text = STR("g2")});
    say(world, STORE_LEASE_READ, (struct store_answer){.verdict = SAID_OK, .text = STR("g1")});
    pass(world, 10000);
    assert_non_null(strstr(world->said.bytes, "answer 1: requested by user:me stopped 1 pending 0 "
                                              "unconfirmed rep"));

    pass(world, 21000); /* two leases are over, one replica has not asserted */
    wait_for(world, WAIT_STOPPED);
    say_tree(world, ROOT);
    expect_nothing(world);
    say(world, STORE_REPLICAS_READ, both);
    say(world, STORE_LEASE_READ, (struct store_answer){.verdict = SAID_OK, .text = STR("g2")});
    say(world, STORE_LEASE_READ, (struct store_answer){.verdict = SAID_OK, .text = STR("g2")});
    pass(world, 1000);
    say_tree(world, ROOT);
    expect(world, "answer 1: awaited by user:me stopped 1 pending 0 complete\nunwatch " ROOT "\n");
}

/* The generation is still there, and so is the lease of an agentd that is cut off: a restart lost
 * the start of a run of it. That lease runs out. */
static void a_lease_that_survived_a_loss_says_nothing(void **state)
{
    struct world *world = *state;
    struct str replica[] = {STR("rep1")};
    struct store_answer one = {.verdict = SAID_OK, .list_count = 1, .list = replica};
    add(world, ROOT, "", RUN_CANCELLED, RUN_FLAG_BANNED);
    link_up(world, true);
    say(world, STORE_REPLICAS_READ, one);
    say(world, STORE_LEASE_READ, (struct store_answer){.verdict = SAID_OK, .text = STR("g2")});
    pass(world, 31000);
    say(world, STORE_REPLICAS_READ, one);
    say(world, STORE_LEASE_READ, (struct store_answer){.verdict = SAID_NOT_FOUND});
    wait_for(world, WAIT_STOPPED);
    say_tree(world, ROOT);
    expect_nothing(world);
    pass(world, 10000);
    assert_non_null(strstr(world->said.bytes, "requested by user:me stopped 1 pending 0 "
                                              "unconfirmed rep1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define STORY(name) cmocka_unit_test_setup_teardown(name, fresh_world, drop_world)
        STORY(a_minted_id_needs_one_command),
        STORY(the_answer_alone_waits_for_replicas),
        STORY(a_duplicate_gets_the_first_ones_record),
        STORY(a_client_chosen_id_is_looked_up_once),
        STORY(a_root_that_was_remembered_wrong_is_asked_for_again),
        STORY(a_given_root_must_agree),
        STORY(an_id_nobody_has_seen_is_remembered_or_refused),
        STORY(a_run_that_claims_its_id_meanwhile_is_cancelled_where_it_is),
        STORY(what_is_over_with_nothing_below_is_not_cancelable),
        STORY(what_is_over_is_cancelled_for_what_lives_below),
        STORY(a_dry_run_writes_nothing),
        STORY(a_dry_run_of_the_children_counts_them_alone),
        STORY(more_than_expected_is_refused),
        STORY(only_the_children_are_cancelled_until_none_is_new),
        STORY(a_wait_subscribes_then_reads_and_reads_again_on_a_hint),
        STORY(delivered_is_not_stopped),
        STORY(a_wait_whose_time_is_over_answers_what_it_knows),
        STORY(whoever_hangs_up_is_not_answered),
        STORY(a_wait_that_is_given_up_is_answered_with_what_is_known),
        STORY(many_waits_share_one_watch_and_one_read),
        STORY(a_wait_follows_links_to_other_roots),
        STORY(links_to_more_roots_than_are_followed_are_not_called_stopped),
        STORY(what_links_lead_to_is_counted_before_anything_is_recorded),
        STORY(a_count_of_the_children_leaves_out_the_run_that_links),
        STORY(links_that_cannot_be_counted_refuse_the_cancel),
        STORY(a_link_is_cancelled_over_there_and_then_acknowledged),
        STORY(without_redis_the_answer_is_unavailable_or_unknown),
        STORY(more_asks_than_allowed_are_refused),
        STORY(a_redis_that_forgot_is_told_again),
        STORY(a_tombstone_that_is_told_again_looks_at_the_claim_behind_it),
        STORY(a_redis_that_forgot_is_told_of_each_child_again),
        STORY(after_a_loss_no_wait_ends_before_all_have_asserted),
        STORY(a_lease_that_survived_a_loss_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
