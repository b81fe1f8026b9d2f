/* Random calls over small trees: the scripts on a real server and the model of them must give the
 * same answers, hold the same hash, publish the same messages and agree on whether it has a TTL.
 *
 *     test_scripts_random [seed [calls]]        or BW_SEED, BW_CALLS */
#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/rng.h"
#include "core/tree.h"
#include "support/ask_redis.h"
#include "support/model.h"
#include "wire/message.h"

enum { CALLS = 24000, CALLS_A_TREE = 80, CLOCK_SLACK_MS = 4000, TEXT = 1200 };

static uint64_t first_seed = 20260101;
static unsigned calls_wanted = CALLS;

struct trial {
    struct rng rng;
    uint64_t seed;
    unsigned step;
    char root[32];
    struct model *model;
    struct redis_asker *asker;
    char said[TEXT]; /* the call in words, for whoever has to find the difference */
    unsigned verdicts[STORE_OP_COUNT][SAID_COUNT];
    /* what a call borrows */
    struct buf record, tomb, meta, link;
    struct run_epoch item[STORE_ITEMS_MAX];
    char path[512];
};

/* ---- random calls ---------------------------------------------------------------------------- */
static uint32_t below(struct trial *t, uint32_t end)
{
    return rng_below(&t->rng, end);
}

static bool chance(struct trial *t, uint32_t percent)
{
    return below(t, 100) < percent;
}

/* Each with the path that it mostly claims. */
static const char *const ids[][2] = {
    {"r", ""},        {"a", "r"},   {"b", "r.a"},       {"c", "r.a.b"},
    {"d", "r.a.b.c"}, {"e", "r.a"}, {"f", "r.a.b.c.d"}, {"g", "r.e"},
};
enum { IDS = sizeof ids / sizeof *ids };

static const char *any_id(struct trial *t)
{
    return ids[below(t, IDS)][0];
}

static bool is_in_path(const char *path, const char *id)
{
    const char *at = strstr(path, id);
    return at != NULL;
}

static struct str random_path(struct trial *t, const char *run, const char *natural)
{
    static const char *const odd[] = {"r..b",  "r..c",   "r.x", "r.x.y", "r.a..y", "r.b",
                                      "r.a.e", "r..x.e", "",    "r.g.d", "r..zz"};
    const char *path = natural;
    if (chance(t, 25))
        path = odd[below(t, sizeof odd / sizeof *odd)];
    if (is_in_path(path, run)) /* daemons refuse such a path */
        path = natural;
    snprintf(t->path, sizeof t->path, "%s", path);
    return str_of(t->path);
}

static uint32_t likely_epoch(struct trial *t, struct str run)
{
    const struct store_call peek = {.op = STORE_PEEK, .root = str_of(t->root), .run = run};
    struct store_answer answer;
    if (chance(t, 15))
        return below(t, 4);
    model_call(t->model, &peek, &answer);
    return answer.verdict == SAID_OK ? answer.epoch : 1;
}

static struct str random_text(struct trial *t, const char *const *texts, uint32_t count)
{
    return str_of(texts[below(t, count)]);
}
#define ONE_OF(t, ...)                                 \
    random_text(t, (const char *const[]){__VA_ARGS__}, \
                sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static struct str random_record(struct trial *t, struct buf *out, const char *target)
{
    static const int64_t graces[] = {-1, -1, 0, 500, 5000};
    char cause[96];
    snprintf(cause, sizeof cause, "%s.%s", t->root, target);
    struct cancel_record record = {
        .root = str_of(t->root),
        .target = str_of(target),
        .action = chance(t, 30) ? ACTION_ROLLBACK : ACTION_INTERRUPT,
        .reason = ONE_OF(t, "a user asked", "deadline", "parent_ended", "lost", ""),
        .by = STR("user:ada"),
        .at = {INT64_C(1767225600000) + t->step},
        .trace_id = chance(t, 50) ? STR("0af7651916cd43dd8448eb211c80319c") : STR_NONE,
        .grace = {graces[below(t, 5)]},
        .cause = str_of(cause),
        .hops = below(t, 3),
    };
    buf_clear(out);
    assert_int_equal(wire_record_encode(&record, out), ERR_OK);
    return buf_str(out);
}

static struct str random_meta(struct trial *t)
{
    struct run_meta meta = {
        .agent = STR("researcher"),
        .started = {INT64_C(1767225600000) + t->step},
        .born_on = STR("R1"),
        .token_hash = ONE_OF(t, "hash1", "hash2"),
    };
    buf_clear(&t->meta);
    assert_int_equal(wire_meta_encode(&meta, &t->meta), ERR_OK);
    return buf_str(&t->meta);
}

static struct str random_link(struct trial *t)
{
    struct run_link link = {
        .kind = LINK_ROOT, .to = ONE_OF(t, "other", "another"), .acknowledged = chance(t, 30)};
    buf_clear(&t->link);
    assert_int_equal(wire_link_encode(&link, &t->link), ERR_OK);
    return buf_str(&t->link);
}

static uint32_t random_policy(struct trial *t)
{
    static const uint32_t policies[] = {
        RUN_FLAG_END_CANCELS,   RUN_FLAG_END_LEAVES,
        RUN_FLAG_LOST_TAKEOVER, RUN_FLAG_LOST_CONTINUE,
        RUN_FLAG_OBSERVE,       RUN_FLAG_NOTIFY,
        RUN_FLAG_UNPROTECTED,   RUN_FLAG_BANNED /* not a caller's to set */,
    };
    uint32_t flags = 0;
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
        flags |= chance(t, 12) ? policies[i] : 0;
    return flags;
}

static void random_claim(struct trial *t, uint32_t which, struct store_call *call)
{
    call->path = random_path(t, ids[which][0], ids[which][1]);
    call->incarnation = ONE_OF(t, "i1", "i1", "i2");
    call->replica = ONE_OF(t, "R1", "R1", "R2");
    call->flags = random_policy(t);
    call->meta = random_meta(t);
    call->deadline = chance(t, 20) ? MILLIS(20000 + 1000 * below(t, 100)) : SPAN_NONE;
    if (chance(t, 4)) {
        const char *tomb = chance(t, 50) ? ids[which][0] : any_id(t);
        call->tombstone_id = str_of(tomb);
        call->tombstone = random_record(t, &t->tomb, tomb);
    }
}

static void random_items(struct trial *t, struct store_call *call)
{
    static const uint32_t bits[] = {2, 4, 8, 16, 32, 64, 128, 2 | 4, 1, 0};
    call->item_count = 1 + below(t, 4);
    call->item = t->item;
    for (size_t i = 0; i < call->item_count; i++) {
        t->item[i].run = chance(t, 95) ? str_of(any_id(t)) : STR("nobody");
        t->item[i].epoch = likely_epoch(t, t->item[i].run);
        t->item[i].flags = bits[below(t, sizeof bits / sizeof *bits)];
    }
}

static enum store_op random_op(struct trial *t)
{
    static const enum store_op ops[] = {
        STORE_START,     STORE_START, STORE_START, STORE_START,      STORE_ASSERT,
        STORE_CANCEL,    STORE_END,   STORE_END,   STORE_REPORT,     STORE_REPORT,
        STORE_RECONCILE, STORE_LOST,  STORE_LINK,  STORE_CHECKPOINT, STORE_PEEK,
    };
    return ops[below(t, sizeof ops / sizeof *ops)];
}

static enum run_state random_end(struct trial *t)
{
    static const enum run_state states[] = {RUN_SUCCESS, RUN_SUCCESS,   RUN_ERROR,
                                            RUN_PAUSED,  RUN_CANCELLED, RUN_ROLLED_BACK};
    return states[below(t, sizeof states / sizeof *states)];
}

static void random_rest(struct trial *t, uint32_t which, struct store_call *call)
{
    call->epoch = likely_epoch(t, call->run);
    if (call->op == STORE_ASSERT && call->epoch == 0)
        call->epoch = 1; /* 0 is the epoch of what never started; nobody holds it */
    call->record = random_record(t, &t->record, ids[which][0]);
    if (call->op == STORE_END && chance(t, 50))
        call->record = STR_NONE; /* else one that was not cancelled is */
    call->story = chance(t, 50) ? STR("a story") : STR_NONE;
    call->state = random_end(t);
    call->only_suspect = chance(t, 40);
    call->link_id = ONE_OF(t, "0", "1", "z9");
    call->link = random_link(t);
    call->acknowledge = chance(t, 30);
    call->write_id = ONE_OF(t, "w1", "w2");
    call->bytes = chance(t, 30) ? STR("bytes") : STR_NONE;
    call->force = chance(t, 20);
    call->even_if_over = chance(t, 20);
    call->grace = chance(t, 40) ? MILLIS(300 * below(t, 4)) : SPAN_NONE;
    call->adopt = chance(t, 50);
    call->token_hash = ONE_OF(t, "", "hash1", "hash2");
    call->retry_of = chance(t, 10) ? str_of(any_id(t)) : STR_NONE;
    call->max_runs = chance(t, 5) ? 2 : 10000;
    call->max_children = chance(t, 5) ? 1 : 1000;
}

static void random_call(struct trial *t, struct store_call *call)
{
    uint32_t which = below(t, IDS);
    *call = (struct store_call){.op = random_op(t), .root = str_of(t->root)};
    if (call->op == STORE_CANCEL && chance(t, 50)) /* or nothing ever lives */
        call->op = STORE_START;
    call->run = str_of(ids[which][0]);
    random_claim(t, which, call);
    random_rest(t, which, call);
    random_items(t, call);
}

/* ---- comparing ------------------------------------------------------------------------------- */
static void describe(struct trial *t, const struct store_call *call)
{
    snprintf(t->said, sizeof t->said,
             "seed %llu tree %s step %u: %s run=%.*s path=%.*s inc=%.*s replica=%.*s flags=%x "
             "epoch=%u state=%s adopt=%d force=%d even=%d grace=%lld tomb=%.*s retry=%.*s "
             "max=%u/%u deadline=%lld suspect=%d ack=%d write=%.*s items=%.*s:%u:%x",
             (unsigned long long)t->seed, t->root, t->step, store_op_name(call->op),
             (int)call->run.len, call->run.at, (int)call->path.len, call->path.at,
             (int)call->incarnation.len, call->incarnation.at, (int)call->replica.len,
             call->replica.at, call->flags, call->epoch, run_state_name(call->state), call->adopt,
             call->force, call->even_if_over, (long long)call->grace.ms,
             (int)call->tombstone_id.len, call->tombstone_id.len > 0 ? call->tombstone_id.at : "",
             (int)call->retry_of.len, call->retry_of.len > 0 ? call->retry_of.at : "",
             call->max_runs, call->max_children, (long long)call->deadline.ms, call->only_suspect,
             call->acknowledge, (int)call->write_id.len, call->write_id.at,
             (int)call->item[0].run.len, call->item[0].run.at, call->item[0].epoch,
             call->item[0].flags);
}

static void __attribute__((format(printf, 2, 3))) differ(struct trial *t, const char *format, ...)
{
    char text[TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    print_error("%s\n  %s\n", t->said, text);
    fail();
}

static void same_text(struct trial *t, const char *what, struct str real, struct str model)
{
    if (!str_eq(real, model))
        differ(t, "%s: the server says '%.*s', the model '%.*s'", what, (int)real.len,
               real.len > 0 ? real.at : "", (int)model.len, model.len > 0 ? model.at : "");
}

static void same_number(struct trial *t, const char *what, int64_t real, int64_t model)
{
    if (real != model)
        differ(t, "%s: the server says %lld, the model %lld", what, (long long)real,
               (long long)model);
}

static bool is_close(int64_t a, int64_t b)
{
    return a - b <= CLOCK_SLACK_MS && b - a <= CLOCK_SLACK_MS;
}

static void same_answer(struct trial *t, const struct store_answer *real,
                        const struct store_answer *model)
{
    if (real->verdict != model->verdict)
        differ(t, "the server says %s %.*s, the model %s", store_verdict_name(real->verdict),
               (int)real->text.len, real->text.len > 0 ? real->text.at : "",
               store_verdict_name(model->verdict));
    same_number(t, "state", real->state, model->state);
    same_number(t, "finished_anyway", real->finished_anyway, model->finished_anyway);
    same_number(t, "epoch", real->epoch, model->epoch);
    same_number(t, "flags", real->flags, model->flags);
    same_number(t, "number", real->number, model->number);
    same_number(t, "last", real->last, model->last);
    same_number(t, "items", (int64_t)real->item_count, (int64_t)model->item_count);
    same_text(t, "path", real->path, model->path);
    same_text(t, "ban", real->ban, model->ban);
    same_text(t, "record", real->record, model->record);
    same_text(t, "incarnation", real->incarnation, model->incarnation);
    same_text(t, "owner", real->owner, model->owner);
    same_text(t, "text", real->text, model->text);
    if ((real->deadline_ms == 0) != (model->deadline_ms == 0)
        || !is_close(real->deadline_ms, model->deadline_ms))
        same_number(t, "deadline", real->deadline_ms, model->deadline_ms);
}

static void same_items(struct trial *t, const struct store_answer *real,
                       const struct store_answer *model)
{
    for (size_t i = 0; i < real->item_count; i++) {
        const struct store_item *r = &real->item[i], *m = &model->item[i];
        same_number(t, "item verdict", r->verdict, m->verdict);
        same_number(t, "item state", r->state, m->state);
        same_number(t, "item epoch", r->epoch, m->epoch);
        same_number(t, "item flags", r->flags, m->flags);
        same_text(t, "item ban", r->ban, m->ban);
        same_text(t, "item record", r->record, m->record);
    }
}

struct fields {
    struct trial *trial;
    const redisReply *real; /* HGETALL */
    size_t count;
};

static void same_field(void *owner, struct str field, struct str value)
{
    struct fields *fields = owner;
    const redisReply *real = fields->real;
    fields->count++;
    for (size_t i = 0; i + 1 < real->elements; i += 2) {
        struct str name = {real->element[i]->str, real->element[i]->len};
        struct str stored = {real->element[i + 1]->str, real->element[i + 1]->len};
        if (!str_eq(name, field))
            continue;
        int64_t a, b;
        bool is_time =
            field.at[0] == 'd' && str_to_int(stored, &a) && str_to_int(value, &b) && is_close(a, b);
        if (!is_time)
            same_text(fields->trial, name.at, stored, value);
        return;
    }
    differ(fields->trial, "the server has no %.*s (the model: %.*s)", (int)field.len, field.at,
           (int)value.len, value.at);
}

static void same_tree(struct trial *t)
{
    struct fields fields = {.trial = t, .real = redis_tell(t->asker, "HGETALL bw:{%s}", t->root)};
    model_fields(t->model, str_of(t->root), same_field, &fields);
    same_number(t, "fields", (int64_t)fields.real->elements / 2, (int64_t)fields.count);

    int64_t real = redis_tell(t->asker, "PTTL bw:{%s}", t->root)->integer;
    int64_t model = model_ttl(t->model, str_of(t->root)).ms;
    if ((real < 0 || model < 0) && real != model)
        same_number(t, "TTL", real, model);
    if (real >= 0 && !is_close(real, model))
        same_number(t, "TTL", real, model);
}

struct heard {
    struct trial *trial;
    const struct model_message *message;
    size_t count, at;
};

static void same_message(void *owner, struct str channel, struct str bytes)
{
    struct heard *heard = owner;
    char expected[96];
    if (heard->at == heard->count)
        differ(heard->trial, "the server published on %.*s, the model nothing", (int)channel.len,
               channel.at);
    const struct model_message *message = &heard->message[heard->at++];
    snprintf(expected, sizeof expected, "bw:{%.*s}%s", (int)message->root.len, message->root.at,
             message->watch ? ":watch" : "");
    same_text(heard->trial, "channel", channel, str_of(expected));
    same_text(heard->trial, "message", bytes, message->bytes);
}

static void same_messages(struct trial *t)
{
    struct heard heard = {.trial = t};
    heard.message = model_messages(t->model, &heard.count);
    redis_hear(t->asker, same_message, &heard);
    same_number(t, "messages", (int64_t)heard.at, (int64_t)heard.count);
    model_forget_messages(t->model);
}

/* core/tree.c finds the bans of a whole tree that was read; it must find the ones the scripts find.
 */
static void same_bans(struct trial *t)
{
    const struct store_call read = {.op = STORE_TREE, .root = str_of(t->root)};
    struct store_answer answer, peeked;
    model_call(t->model, &read, &answer);
    for (size_t i = 0; i < answer.tree->run_count; i++) {
        const struct tree_run *run = answer.tree->run[i];
        const struct store_call peek = {.op = STORE_PEEK, .root = str_of(t->root), .run = run->id};
        redis_ask(t->asker, &peek, &peeked);
        same_text(t, "nearest ban", peeked.ban, run->ban != NULL ? run->ban->id : STR_NONE);
    }
}

/* What must be true whatever was called: nothing lives without a key for good, and the other way.
 */
static void ttl_says_whether_anything_lives(struct trial *t)
{
    const redisReply *n = redis_tell(t->asker, "HGET bw:{%s} n", t->root);
    int64_t live = n->type == REDIS_REPLY_STRING ? atoll(n->str) : 0;
    int64_t ttl = redis_tell(t->asker, "PTTL bw:{%s}", t->root)->integer;
    if (ttl != -2 && (live > 0) != (ttl == -1))
        differ(t, "%lld live runs and a TTL of %lld", (long long)live, (long long)ttl);
}

/* ---- the test -------------------------------------------------------------------------------- */
static struct wall wall_now(void)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    return (struct wall){(int64_t)now.tv_sec * 1000 + now.tv_usec / 1000};
}

static void one_call(struct trial *t)
{
    struct store_call call;
    struct store_answer real, model;
    model_set_time(t->model, wall_now());
    random_call(t, &call);
    describe(t, &call);
    redis_ask(t->asker, &call, &real);
    model_call(t->model, &call, &model);
    t->verdicts[call.op][real.verdict]++;
    same_answer(t, &real, &model);
    same_items(t, &real, &model);
    for (size_t i = 0; i < real.item_count; i++)
        t->verdicts[call.op][real.item[i].verdict]++;
    same_messages(t);
    same_tree(t);
    same_bans(t);
    ttl_says_whether_anything_lives(t);
}

static void say_what_was_seen(const struct trial *t, enum redis_kind kind, unsigned calls)
{
    print_message("%s: %u calls, first seed %llu:", redis_kind_name(kind), calls,
                  (unsigned long long)first_seed);
    for (int op = 0; op < STORE_OP_COUNT; op++)
        for (int said = 0; said < SAID_COUNT; said++)
            if (t->verdicts[op][said] > 0)
                print_message(" %s:%s=%u", store_op_name((enum store_op)op),
                              store_verdict_name((enum store_verdict)said), t->verdicts[op][said]);
    print_message("\n");
}

static void trial_fini(struct trial *t)
{
    buf_fini(&t->record);
    buf_fini(&t->tomb);
    buf_fini(&t->meta);
    buf_fini(&t->link);
}

/* Each tree has its own seed, so that a difference is found again at once. */
static void scripts_and_model_agree(enum redis_kind kind)
{
    static struct redis_asker asker;
    struct redis_process process;
    struct trial t = {.asker = &asker};
    redis_process_start(&process, kind, NULL);
    redis_asker_init(&asker, &process);
    unsigned calls = 0;
    for (unsigned tree = 0; calls < calls_wanted; tree++) {
        t.seed = first_seed + tree;
        t.rng.state = t.seed;
        t.model = model_new(t.seed);
        snprintf(t.root, sizeof t.root, "t%llu", (unsigned long long)t.seed);
        for (t.step = 0; t.step < CALLS_A_TREE && calls < calls_wanted; t.step++, calls++)
            one_call(&t);
        model_free(t.model);
        redis_tell(&asker, "FLUSHALL");
    }
    say_what_was_seen(&t, kind, calls);
    trial_fini(&t);
    redis_asker_fini(&asker);
    redis_process_end(&process);
}

static void the_scripts_on_redis_do_what_the_model_does(void **state)
{
    (void)state;
    scripts_and_model_agree(KIND_REDIS);
}

static void the_scripts_on_valkey_do_what_the_model_does(void **state)
{
    (void)state;
    if (!redis_kind_is_installed(KIND_VALKEY)) {
        print_message("valkey-server is not installed: skipped\n");
        skip();
    }
    scripts_and_model_agree(KIND_VALKEY);
}

static const char *given(const char *name, int argc, char **argv, int at)
{
    return argc > at ? argv[at] : getenv(name);
}

int main(int argc, char **argv)
{
    const char *seed = given("BW_SEED", argc, argv, 1), *calls = given("BW_CALLS", argc, argv, 2);
    if (seed != NULL)
        first_seed = strtoull(seed, NULL, 10);
    if (calls != NULL)
        calls_wanted = (unsigned)strtoul(calls, NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_scripts_on_redis_do_what_the_model_does),
        cmocka_unit_test(the_scripts_on_valkey_do_what_the_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
