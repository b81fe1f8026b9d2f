/* Random calls about the runs of a thread: the scripts on a real server and the model of them must
 * give the same answers, also where there is no more room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "base/rng.h"
#include "support/ask_redis.h"
#include "support/model.h"

enum { CALLS = 3000, KEPT = 5, RUNS = 9 };

static struct redis_asker asker;
static struct redis_process process;
static struct model *model;
static struct rng rng = {.state = 20261201};
static unsigned verdicts[SAID_COUNT];

static int begin(void **state)
{
    (void)state;
    redis_process_start(&process, KIND_REDIS, NULL);
    redis_asker_init(&asker, &process);
    model = model_new(1);
    return 0;
}

static int end(void **state)
{
    (void)state;
    redis_asker_fini(&asker);
    redis_process_end(&process);
    model_free(model);
    return 0;
}

static void tell_the_time(void)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    int64_t ms = (int64_t)now.tv_sec * 1000 + now.tv_usec / 1000;
    if (ms > model_time(model).ms)
        model_set_time(model, (struct wall){ms});
}

static struct store_call random_call(void)
{
    static const enum store_op ops[] = {STORE_THREAD_ENTER, STORE_THREAD_ENTER, STORE_THREAD_ENTER,
                                        STORE_THREAD_LEAVE, STORE_THREAD_READ};
    static const char *const run[RUNS] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    struct store_call call = {.op = ops[rng_below(&rng, sizeof ops / sizeof *ops)],
                              .id = rng_below(&rng, 4) == 0 ? STR("slack:C1 {x}") : STR("t"),
                              .run = str_of(run[rng_below(&rng, RUNS)]),
                              .limit = KEPT,
                              .multitask = (enum multitask)rng_below(&rng, MULTITASK_COUNT),
                              .thread_end = (enum thread_end)rng_below(&rng, 3)};
    if (call.op == STORE_THREAD_READ && rng_below(&rng, 2) == 0)
        call.run = STR("");
    call.root = rng_below(&rng, 4) == 0 ? STR("another") : call.run;
    return call;
}

static void assert_same_text(struct str a, struct str b)
{
    assert_int_equal(a.len, b.len);
    if (a.len > 0)
        assert_memory_equal(a.at, b.at, a.len);
}

/* All but when it entered. */
static struct str without_time(struct str entry, char out[128])
{
    struct str run = str_cut(&entry, ' '), letter = str_cut(&entry, ':'),
               strategy = str_cut(&entry, ':'), number = str_cut(&entry, ':');
    str_cut(&entry, ':');
    int len = snprintf(out, 128, "%.*s %.*s %.*s %.*s %.*s", (int)run.len, run.at, (int)letter.len,
                       letter.at, (int)strategy.len, strategy.at, (int)number.len, number.at,
                       (int)entry.len, entry.at);
    assert_in_range(len, 1, 127);
    return (struct str){out, (size_t)len};
}

static void assert_same_entries(const struct store_answer *real, const struct store_answer *ours)
{
    char one[128], other[128];
    for (size_t i = 0; i < real->list_count; i++) {
        struct str wanted = without_time(real->list[i], one);
        size_t found = 0;
        for (size_t k = 0; k < ours->list_count; k++)
            found += str_eq(wanted, without_time(ours->list[k], other)) ? 1 : 0;
        if (found != 1)
            fail_msg("%s: %zu times", one, found);
    }
}

static void the_scripts_do_what_the_model_does(void **state)
{
    (void)state;
    for (int i = 0; i < CALLS; i++) {
        struct store_call call = random_call();
        struct store_answer real, ours;
        tell_the_time();
        redis_ask(&asker, &call, &real);
        model_call(model, &call, &ours);
        assert_int_equal(real.verdict, ours.verdict);
        assert_int_equal(real.last, ours.last);
        assert_int_equal(real.list_count, ours.list_count);
        verdicts[real.verdict]++;
        if (call.op == STORE_THREAD_READ)
            assert_same_entries(&real, &ours);
        for (size_t k = 0; call.op == STORE_THREAD_ENTER && k < real.list_count; k++) {
            assert_same_text(real.list[k], ours.list[k]);
            assert_in_range(real.score[k], 0, 600000);
        }
    }
    assert_true(verdicts[SAID_OK] > 100);
    assert_true(verdicts[SAID_EXISTS] > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_scripts_do_what_the_model_does)};
    return cmocka_run_group_tests(tests, begin, end);
}
