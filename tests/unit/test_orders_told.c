/* A broker's orders against the model of Redis: what it tells again after a loss, and what it
 * answers when Redis is away in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/api_codec.h"
#include "base/mem.h"
#include "core/orders.h"
#include "support/model.h"

enum { CALLS_MAX = 256, ROOTS = 450, LOOK_MS = 1000, LONG_MS = 20000 };

static struct model *model;
static struct orders *orders;
static struct orders_effects todo;
static struct instant now;
static bool is_silent, is_refusing, loses_progress; /* Redis: says nothing; says no */
static bool was_unfinished;  /* for a moment: whoever looked then scans once more */
static size_t fake_roots;    /* in shard 0, three of each millisecond */
static enum problem problem; /* of the last answer */
static size_t answers;
static int64_t trees;

/* Writes are carried out at once, for their words are lent; what is read is read when it is told.
 */
static struct waiting_call {
    uint64_t token;
    struct store_call call;
    struct store_answer said;
    bool reads;
} waiting[CALLS_MAX];
static size_t waiting_count;

static int fresh(void **state)
{
    (void)state;
    model = model_new(1);
    is_silent = is_refusing = loses_progress = false;
    waiting_count = 0;
    fake_roots = answers = 0;
    now = (struct instant){1000};
    orders = orders_new(&(struct orders_options){
        .id = STR("b1"),
        .remember = SECONDS(900),
        .lease = SECONDS(1),
        .jobs_max = 8,
        .token_base = 1,
        .decode_order = api_decode_order,
        .decode_meta = api_decode_meta,
        .decode_progress = api_decode_progress,
        .encode_progress = api_encode_progress,
    });
    return orders == NULL ? -1 : 0;
}

static int drop(void **state)
{
    (void)state;
    orders_free(orders);
    model_free(model);
    mem_free(todo.item);
    todo = (struct orders_effects){0};
    return 0;
}

/* ---- Redis ---------------------------------------------------------------------------------- */
static void some_roots(const struct store_call *call, struct store_answer *out)
{
    static char text[ROOTS][24];
    static struct str name[ROOTS];
    static int64_t score[ROOTS];
    size_t count = 0;
    for (size_t i = 0; i < fake_roots && call->shard == 0 && count < call->limit; i++) {
        if ((int64_t)(i / 3) < call->number)
            continue;
        snprintf(text[count], sizeof text[count], "r%zu", i);
        name[count] = str_of(text[count]);
        score[count++] = (int64_t)(i / 3);
    }
    *out = (struct store_answer){
        .verdict = SAID_OK, .list_count = count, .list = name, .score = score};
}

static size_t progress_len(void)
{
    struct store_answer answer;
    model_call(model, &(struct store_call){.op = STORE_ORDERS_READ, .id = STR("o1")}, &answer);
    return answer.order_count == 1 ? answer.order[0].progress.len : SIZE_MAX;
}

static void send(const struct orders_effect *effect)
{
    enum store_op op = effect->call.op;
    if (is_silent)
        return;
    assert_true(waiting_count < CALLS_MAX);
    struct waiting_call *sent = &waiting[waiting_count++];
    *sent = (struct waiting_call){.token = effect->token, .call = effect->call};
    sent->reads = op == STORE_ROOTS_READ || op == STORE_ORDERS_READ || op == STORE_TREE
                  || op == STORE_ORDERS_VERSION;
    if (is_refusing || (loses_progress && op == STORE_ORDER_PROGRESS))
        sent->said.verdict = SAID_OFFLINE;
    else if (!sent->reads)
        model_call(model, &effect->call, &sent->said);
    was_unfinished = was_unfinished || progress_len() == 0;
}

static void answered(const struct order_result *result)
{
    problem = result->problem;
    trees = result->progress != NULL ? result->progress->roots : -1;
    answers++;
}

static void step(struct orders_event event)
{
    event.at = now;
    event.wall = model_time(model);
    assert_int_equal(orders_step(orders, &event, &todo), ERR_OK);
    for (size_t i = 0; i < todo.count; i++)
        if (todo.item[i].kind == ORDERS_DO_CALL)
            send(&todo.item[i]);
        else if (todo.item[i].kind == ORDERS_DO_ANSWER)
            answered(&todo.item[i].result);
}

static void redis_answers(void)
{
    while (waiting_count > 0) {
        struct waiting_call first = waiting[0];
        memmove(waiting, waiting + 1, --waiting_count * sizeof *waiting);
        if (first.reads && first.call.op == STORE_ROOTS_READ)
            some_roots(&first.call, &first.said);
        else if (first.reads && !is_refusing)
            model_call(model, &first.call, &first.said);
        step((struct orders_event){
            .kind = ORDERS_ANSWER, .token = first.token, .answer = &first.said});
    }
}

static void feed(struct orders_event event)
{
    step(event);
    redis_answers();
}

static void pass(int64_t ms)
{
    for (; ms > 0; ms -= LOOK_MS) {
        now.ms += LOOK_MS;
        model_set_time(model, (struct wall){model_time(model).ms + LOOK_MS});
        feed((struct orders_event){.kind = ORDERS_TIME_PASSED});
    }
}

static void link_up(bool lost)
{
    feed((struct orders_event){.kind = ORDERS_LINK_UP, .lost = lost});
}

static void ask(bool dry_run)
{
    char record[MESSAGE_MAX_BYTES];
    struct order order = {.selector.agent = STR("a"),
                          .action = dry_run ? ORDER_INTERRUPT : ORDER_HOLD_ONLY,
                          .by = STR("op"),
                          .grace = SPAN_NONE,
                          .hold = SECONDS(dry_run ? 0 : 3600)};
    struct order_ask asked = {.ask = 1,
                              .id = STR("o1"),
                              .record = {record, api_encode_order(&order, record)},
                              .dry_run = dry_run,
                              .expect_at_most = -1};
    feed((struct orders_event){.kind = ORDERS_ASK, .asked = &asked});
}

/* -1: there is no such order. */
static int64_t hold_left_ms(void)
{
    struct store_answer answer;
    model_call(model, &(struct store_call){.op = STORE_ORDERS_READ, .id = STR("o1")}, &answer);
    return answer.order_count == 1 ? answer.order[0].hold_left.ms : -1;
}

static void lift(void)
{
    struct store_answer answer;
    model_call(model, &(struct store_call){.op = STORE_ORDER_LIFT, .id = STR("o1")}, &answer);
    assert_int_equal(answer.verdict, SAID_OK);
}

/* ---- the stories ---------------------------------------------------------------------------- */
static void a_redis_that_forgot_is_told_what_is_left_of_the_hold(void **state)
{
    (void)state;
    link_up(false);
    ask(false);
    pass(LONG_MS);
    model_wipe(model);
    link_up(true);
    assert_int_equal(hold_left_ms(), 3600000 - LONG_MS);
}

static void a_hold_that_was_lifted_does_not_come_back(void **state)
{
    (void)state;
    link_up(false);
    ask(false);
    struct model_snapshot *before = model_save(model);
    lift();
    pass(LONG_MS);
    model_wipe(model);
    link_up(true);
    assert_int_equal(hold_left_ms(), 0);
    model_restore(model, before); /* a replica that had the order, and not that it was lifted */
    link_up(true);
    assert_int_equal(hold_left_ms(), 0);
    model_snapshot_free(before);
}

static void it_is_told_until_redis_has_heard_it(void **state)
{
    (void)state;
    link_up(false);
    ask(false);
    model_wipe(model);
    is_refusing = true;
    link_up(true);
    feed((struct orders_event){.kind = ORDERS_LINK_DOWN});
    is_refusing = false;
    link_up(false);
    pass(LOOK_MS);
    assert_true(hold_left_ms() > 0);
}

static void one_that_is_done_is_told_as_done(void **state)
{
    (void)state;
    link_up(false);
    ask(false);
    model_wipe(model);
    was_unfinished = false;
    link_up(true);
    pass(LOOK_MS);
    assert_true(hold_left_ms() > 0);
    assert_false(was_unfinished);
}

static void that_it_is_done_is_said_until_redis_has_heard_it(void **state)
{
    (void)state;
    link_up(false);
    loses_progress = true;
    ask(false);
    assert_int_equal(progress_len(), 0);
    loses_progress = false;
    pass(LOOK_MS);
    assert_true(progress_len() > 0);
}

static void who_asks_has_an_answer_though_redis_never_gives_one(void **state)
{
    (void)state;
    link_up(false);
    is_silent = true;
    ask(false);
    assert_int_equal(answers, 0);
    feed((struct orders_event){.kind = ORDERS_LINK_DOWN});
    assert_int_equal(answers, 1);
    assert_int_equal(problem, PROBLEM_UNKNOWN_OUTCOME);
    assert_int_equal(orders_open(orders), 0);
}

static void a_tree_is_counted_once_however_long_the_list(void **state)
{
    (void)state;
    fake_roots = ROOTS;
    link_up(false);
    ask(true);
    assert_int_equal(answers, 1);
    assert_int_equal(problem, PROBLEM_NONE);
    assert_int_equal(trees, ROOTS);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, drop)
    const struct CMUnitTest tests[] = {
        T(a_redis_that_forgot_is_told_what_is_left_of_the_hold),
        T(a_hold_that_was_lifted_does_not_come_back),
        T(it_is_told_until_redis_has_heard_it),
        T(one_that_is_done_is_told_as_done),
        T(that_it_is_done_is_said_until_redis_has_heard_it),
        T(who_asks_has_an_answer_though_redis_never_gives_one),
        T(a_tree_is_counted_once_however_long_the_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
