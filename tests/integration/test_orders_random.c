/* Random calls about fleet orders: the scripts on a real server and the model of them must give the
 * same answers, also where there is no more room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/time.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "base/rng.h"
#include "support/ask_redis.h"
#include "support/model.h"
#include "wire/order.h"

enum { CALLS = 1500, ORDERS = 4, HOLDS = 2, IDS = 9 };

static struct redis_asker asker;
static struct redis_process process;
static struct model *model;
static struct rng rng = {.state = 20260102};
static struct buf done, begun;
static unsigned verdicts[SAID_COUNT];

static void progress_of(bool is_done, struct buf *out)
{
    struct order_progress progress = {.is_done = is_done, .roots = 3};
    assert_int_equal(wire_progress_encode(&progress, out), ERR_OK);
}

/* Each call has a millisecond of its own, so that of two orders one is the older. */
static void next_moment(void)
{
    struct timeval now;
    int64_t ms;
    do {
        gettimeofday(&now, NULL);
        ms = (int64_t)now.tv_sec * 1000 + now.tv_usec / 1000;
    } while (ms <= model_time(model).ms);
    model_set_time(model, (struct wall){ms});
}

static struct store_call random_call(void)
{
    static const enum store_op ops[] = {STORE_ORDER,         STORE_ORDER,
                                        STORE_ORDER_LIFT,    STORE_ORDER_PROGRESS,
                                        STORE_ORDERS_READ,   STORE_ORDERS_VERSION,
                                        STORE_ORDER_PROGRESS};
    static const char *const id[IDS] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    struct store_call call = {.op = ops[rng_below(&rng, sizeof ops / sizeof *ops)],
                              .id = str_of(id[rng_below(&rng, IDS)]),
                              .record = STR("a record"),
                              .limit = ORDERS,
                              .max_holds = HOLDS};
    const struct str bytes[] = {buf_str(&done), buf_str(&done), buf_str(&begun), STR("garbage")};
    call.span = rng_below(&rng, 3) == 0 ? SECONDS(3600) : MILLIS(0);
    call.bytes = bytes[rng_below(&rng, 4)];
    if (call.op == STORE_ORDERS_READ && rng_below(&rng, 2) == 0)
        call.id = rng_below(&rng, 2) == 0 ? STR("") : STR("*holds");
    return call;
}

static void assert_same_text(struct str a, struct str b)
{
    assert_int_equal(a.len, b.len);
    if (a.len > 0)
        assert_memory_equal(a.at, b.at, a.len);
}

static void assert_same_orders(const struct store_answer *real, const struct store_answer *ours)
{
    assert_int_equal(real->order_count, ours->order_count);
    for (size_t i = 0; i < real->order_count; i++) {
        assert_same_text(real->order[i].id, ours->order[i].id);
        assert_same_text(real->order[i].record, ours->order[i].record);
        assert_same_text(real->order[i].progress, ours->order[i].progress);
        assert_int_equal(real->order[i].hold_left.ms > 0, ours->order[i].hold_left.ms > 0);
        assert_int_equal(real->order[i].lifted_ms > 0, ours->order[i].lifted_ms > 0);
    }
}

static void one_call(void)
{
    struct store_call call = random_call();
    struct store_answer real, ours;
    next_moment();
    redis_ask(&asker, &call, &real);
    model_call(model, &call, &ours);
    assert_string_equal(store_verdict_name(real.verdict), store_verdict_name(ours.verdict));
    assert_int_equal(real.number, ours.number);
    assert_same_text(real.record, ours.record);
    assert_same_text(real.text, ours.text);
    assert_same_orders(&real, &ours);
    model_forget_messages(model);
    verdicts[real.verdict]++;
}

static void the_scripts_of_orders_do_what_the_model_does(void **state)
{
    (void)state;
    redis_process_start(&process, KIND_REDIS, NULL);
    redis_asker_init(&asker, &process);
    model = model_new(1);
    progress_of(true, &done);
    progress_of(false, &begun);
    for (int i = 0; i < CALLS; i++)
        one_call();
    assert_true(verdicts[SAID_OK] > 0 && verdicts[SAID_ALREADY] > 0 && verdicts[SAID_FULL] > 0
                && verdicts[SAID_NOT_FOUND] > 0);
    buf_fini(&done);
    buf_fini(&begun);
    model_free(model);
    redis_asker_fini(&asker);
    redis_process_end(&process);
}

static void what_is_over_makes_room_for_the_next_order(void **state)
{
    (void)state;
    struct store_answer said;
    struct store_call order = {.op = STORE_ORDER, .record = STR("x"), .limit = 2, .max_holds = 2};
    struct store_call progress = {.op = STORE_ORDER_PROGRESS, .id = STR("b")};
    redis_process_start(&process, KIND_REDIS, NULL);
    redis_asker_init(&asker, &process);
    progress_of(true, &done);
    progress.bytes = buf_str(&done);
    for (char id[] = "a"; id[0] <= 'b'; id[0]++) {
        order.id = str_of(id);
        redis_ask(&asker, &order, &said);
        assert_string_equal(store_verdict_name(said.verdict), "ok");
    }
    order.id = STR("c");
    redis_ask(&asker, &order, &said);
    assert_string_equal(store_verdict_name(said.verdict), "full");
    redis_ask(&asker, &progress, &said);
    redis_ask(&asker, &order, &said);
    assert_string_equal(store_verdict_name(said.verdict), "ok");
    redis_ask(&asker, &(struct store_call){.op = STORE_ORDERS_READ, .id = STR("")}, &said);
    assert_int_equal(said.order_count, 2);
    assert_true(str_is(said.order[0].id, "a") && str_is(said.order[1].id, "c"));
    buf_fini(&done);
    redis_asker_fini(&asker);
    redis_process_end(&process);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_scripts_of_orders_do_what_the_model_does),
        cmocka_unit_test(what_is_over_makes_room_for_the_next_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
