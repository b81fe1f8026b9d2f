/* The scripts on a real server, call by call: stories of one tree each, and the lifecycle table of
 * core/run.h walked cell by cell. */
#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "support/ask_redis.h"
#include "wire/message.h"

static struct redis_process server;
static struct redis_asker asker;
static unsigned tree_number;

/* ---- calls ----------------------------------------------------------------------------------- */
enum { RECORD_ROOM = 256 };

static struct str root_now(void)
{
    static char root[32];
    snprintf(root, sizeof root, "tree%u", tree_number);
    return str_of(root);
}

/* The record of a cancel of `target` in the tree at hand, in a buffer of its own. */
static struct str record_for(const char *target, const char *reason, int64_t grace_ms)
{
    static struct buf bytes[8];
    static unsigned next;
    struct buf *out = &bytes[next++ % 8];
    struct cancel_record record = {.root = root_now(),
                                   .target = str_of(target),
                                   .reason = str_of(reason),
                                   .by = STR("user:ada"),
                                   .grace = {grace_ms},
                                   .cause = STR("c.c")};
    buf_clear(out);
    assert_int_equal(wire_record_encode(&record, out), ERR_OK);
    return buf_str(out);
}

static struct store_call base(enum store_op op, const char *run)
{
    return (struct store_call){
        .op = op,
        .root = root_now(),
        .run = str_of(run),
        .incarnation = STR("i1"),
        .replica = STR("R1"),
        .epoch = 1,
        .deadline = SPAN_NONE,
        .grace = SPAN_NONE,
        .max_runs = 10000,
        .max_children = 1000,
        .state = RUN_SUCCESS,
    };
}

static struct store_answer ask(struct store_call call)
{
    struct store_answer answer;
    redis_ask(&asker, &call, &answer);
    return answer;
}

static struct store_call start_call(const char *run, const char *path, uint32_t flags)
{
    struct store_call call = base(STORE_START, run);
    call.path = str_of(path);
    call.flags = flags;
    return call;
}

static struct store_answer start(const char *run, const char *path)
{
    return ask(start_call(run, path, 0));
}

static struct store_answer start_with(const char *run, const char *path, uint32_t flags)
{
    return ask(start_call(run, path, flags));
}

static struct store_answer cancel_for(const char *run, const char *reason)
{
    struct store_call call = base(STORE_CANCEL, run);
    call.record = record_for(run, reason, -1);
    return ask(call);
}

static struct store_answer cancel(const char *run)
{
    return cancel_for(run, "a user asked");
}

static struct store_answer bury_it(const char *run, const char *reason)
{
    struct store_call call = base(STORE_CANCEL, run);
    call.record = record_for(run, reason, -1);
    call.force = true;
    return ask(call);
}

static struct store_answer cancel_anyway(const char *run, const char *reason)
{
    struct store_call call = base(STORE_CANCEL, run);
    call.record = record_for(run, reason, -1);
    call.even_if_over = true;
    return ask(call);
}

static struct store_answer end(const char *run, enum run_state state)
{
    struct store_call call = base(STORE_END, run);
    call.state = state;
    if (state != RUN_CANCELLED && state != RUN_ROLLED_BACK)
        call.record = record_for(run, "parent_ended", -1);
    return ask(call);
}

static struct store_item report(const char *run, uint32_t flags)
{
    struct run_epoch item = {str_of(run), 1, flags};
    struct store_call call = base(STORE_REPORT, "");
    call.item_count = 1;
    call.item = &item;
    struct store_answer answer = ask(call);
    assert_int_equal(answer.verdict, SAID_OK);
    assert_int_equal(answer.item_count, 1);
    return answer.item[0];
}

static struct store_item reconcile(const char *run, uint32_t epoch)
{
    struct run_epoch item = {str_of(run), epoch, 0};
    struct store_call call = base(STORE_RECONCILE, "");
    call.item_count = 1;
    call.item = &item;
    struct store_answer answer = ask(call);
    assert_int_equal(answer.item_count, 1);
    return answer.item[0];
}

static struct store_answer lose(const char *run)
{
    struct store_call call = base(STORE_LOST, run);
    call.record = record_for(run, "lost", -1);
    return ask(call);
}

static struct store_answer adopt(const char *run, const char *path, uint32_t epoch)
{
    struct store_call call = start_call(run, path, 0);
    call.op = STORE_ASSERT;
    call.adopt = true;
    call.incarnation = STR("i2");
    call.epoch = epoch;
    return ask(call);
}

static struct store_answer assert_it(const char *run, const char *path, uint32_t epoch)
{
    struct store_call call = start_call(run, path, 0);
    call.op = STORE_ASSERT;
    call.epoch = epoch;
    return ask(call);
}

static struct store_answer checkpoint(const char *run, uint32_t epoch, const char *write_id)
{
    struct store_call call = base(STORE_CHECKPOINT, run);
    call.epoch = epoch;
    call.write_id = str_of(write_id);
    return ask(call);
}

static struct store_answer link_it(const char *run, const char *id)
{
    struct store_call call = base(STORE_LINK, run);
    call.link_id = str_of(id);
    call.link = STR("a link");
    return ask(call);
}

static struct store_answer peek(const char *run)
{
    return ask(base(STORE_PEEK, run));
}

#define SAYS(answer, said) assert_string_equal(store_verdict_name((answer).verdict), #said)
#define TEXT_IS(text, expected)            \
    assert_true(str_is((text), (expected)) \
                || (print_error("'%.*s'\n", (int)(text).len, (text).at), false))

static int new_tree(void **state)
{
    (void)state;
    tree_number++;
    return 0;
}

/* ---- stories --------------------------------------------------------------------------------- */
static void nothing_starts_below_a_cancelled_run(void **state)
{
    (void)state;
    SAYS(start("r", ""), started);
    SAYS(start("a", "r"), started);
    SAYS(cancel("a"), accepted);
    struct store_answer refused = start("b", "r.a");
    SAYS(refused, refused);
    TEXT_IS(refused.ban, "a");
    assert_true(refused.record.len > 0);
    SAYS(start("c", "r.a.unknown"), refused);
    SAYS(start("d", "r..a"), refused);
    SAYS(start("e", "r"), started);
}

static void a_cut_path_hides_no_ban(void **state)
{
    (void)state;
    start("r", "");
    start("h", "r");
    start("g", "r.h");
    SAYS(cancel("h"), accepted);
    SAYS(start("x", "r..g.unknown"), refused);
}

static void a_claimed_id_is_found_by_a_later_cancel(void **state)
{
    (void)state;
    start("r", "");
    struct store_answer started = start("b", "r.a");
    SAYS(started, started);
    TEXT_IS(started.path, "");
    struct store_answer accepted = cancel("a");
    SAYS(accepted, accepted);
    assert_int_equal(accepted.state, RUN_NEVER);
    assert_int_equal(reconcile("b", 1).verdict, SAID_STOP);
    SAYS(start("a", "r"), refused);
}

static void a_tombstone_waits_for_its_run(void **state)
{
    (void)state;
    SAYS(cancel("r"), not_found);
    SAYS(bury_it("r", "a user asked"), accepted);
    SAYS(cancel("r"), already);
    SAYS(start("r", ""), refused);
    SAYS(start("b", "r.a"), refused);
    assert_true(redis_tell(&asker, "PTTL bw:{%s}", root_now().at)->integer > 0);
}

static void a_foreign_tombstone_is_obeyed_here(void **state)
{
    (void)state;
    start("r", "");
    struct store_call call = start_call("x", "r", 0);
    call.tombstone_id = STR("x");
    call.tombstone = record_for("x", "a user asked", -1);
    SAYS(ask(call), refused);
    SAYS(start("y", "r.x"), refused);
    assert_int_equal(peek("x").state, RUN_NEVER);
}

static void a_start_again_is_told_what_is_there(void **state)
{
    (void)state;
    start("r", "");
    SAYS(start("r", ""), already);
    struct store_call other = start_call("r", "", 0);
    other.incarnation = STR("i2");
    struct store_answer exists = ask(other);
    SAYS(exists, exists);
    TEXT_IS(exists.owner, "R1");
    SAYS(end("r", RUN_SUCCESS), ended);
    SAYS(start("r", ""), over);
    SAYS(ask(other), over);
}

static void a_start_from_another_replica_moves_the_owner(void **state)
{
    (void)state;
    start("r", "");
    struct store_call call = start_call("r", "", 0);
    call.replica = STR("R2");
    SAYS(ask(call), already);
    TEXT_IS(peek("r").owner, "R2");
}

static void limits_are_kept(void **state)
{
    (void)state;
    start("r", "");
    struct store_call call = start_call("a", "r", 0);
    call.max_runs = 1;
    struct store_answer full = ask(call);
    SAYS(full, full);
    TEXT_IS(full.text, "runs");
    call.max_runs = 10;
    call.max_children = 1;
    SAYS(ask(call), started);
    call.run = STR("b");
    full = ask(call);
    SAYS(full, full);
    TEXT_IS(full.text, "children");
}

static void a_tree_is_at_most_128_deep(void **state)
{
    (void)state;
    char path[PATH_MAX_BYTES] = "", name[16];
    size_t len = 0;
    for (unsigned depth = 1; depth <= PATH_MAX_IDS; depth++) {
        snprintf(name, sizeof name, "n%u", depth);
        SAYS(start(name, path), started);
        len += (size_t)snprintf(path + len, sizeof path - len, "%s%s", depth > 1 ? "." : "", name);
    }
    struct store_answer full = start("deeper", path);
    SAYS(full, full);
    TEXT_IS(full.text, "path");
    SAYS(start("cut", "n1..n128"), full);
    assert_int_equal(path_depth(peek("n128").path), PATH_MAX_IDS);
    SAYS(cancel("n1"), accepted);
    assert_int_equal(reconcile("n128", 1).verdict, SAID_STOP);
}

static void flags_say_how_a_run_began(void **state)
{
    (void)state;
    assert_int_equal(start("b", "r.a").flags, RUN_FLAG_PARENT_GONE);
    SAYS(start("a", "r"), started);
    SAYS(end("a", RUN_SUCCESS), ended);
    assert_int_equal(start("c", "r.a").flags, RUN_FLAG_ORPHAN);
    struct store_answer hidden = start("d", "r..hidden");
    assert_int_equal(hidden.flags, RUN_FLAG_UNPROTECTED);
    TEXT_IS(hidden.path, "r.hidden.d");
    assert_int_equal(start("e", "r..c").flags, 0);
}

static void a_deadline_is_never_later_than_the_parents(void **state)
{
    (void)state;
    struct store_call call = start_call("r", "", 0);
    call.deadline = SECONDS(10);
    int64_t left = ask(call).deadline_ms;
    assert_true(left > 5000 && left <= 10000);
    left = start("a", "r").deadline_ms;
    assert_true(left > 5000 && left <= 10000);
    call = start_call("b", "r", 0);
    call.deadline = SECONDS(60);
    left = ask(call).deadline_ms;
    assert_true(left > 5000 && left <= 10000);
    call = start_call("c", "r", 0);
    call.deadline = SECONDS(2);
    left = ask(call).deadline_ms;
    assert_true(left > 0 && left <= 2000);
}

static void a_scope_is_cancelled_once(void **state)
{
    (void)state;
    start("r", "");
    start("a", "r");
    struct store_answer first = cancel("r");
    SAYS(first, accepted);
    assert_int_equal(first.state, RUN_RUNNING);
    assert_int_equal(first.number, 2);
    SAYS(cancel("r"), already);
    struct store_answer below = cancel("a");
    SAYS(below, accepted);
    TEXT_IS(below.ban, "r");
    below = cancel("a");
    SAYS(below, already);
    TEXT_IS(below.ban, "r");
}

static void only_a_lower_grace_is_taken_over(void **state)
{
    (void)state;
    struct cancel_record record;
    start("r", "");
    struct store_call call = base(STORE_CANCEL, "r");
    call.record = record_for("r", "first", 5000);
    SAYS(ask(call), accepted);
    static const struct {
        int64_t asked, stored;
    } rows[] = {{9000, 5000}, {-1, 5000}, {300, 300}, {400, 300}, {0, 0}, {100, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        call.record = record_for("r", "second", rows[i].asked);
        call.grace = MILLIS(rows[i].asked);
        struct store_answer again = ask(call);
        SAYS(again, already);
        assert_int_equal(wire_record_decode(again.record, &record), ERR_OK);
        assert_int_equal(record.grace.ms, rows[i].stored);
        TEXT_IS(record.reason, "first");
    }
}

static void a_completed_run_is_over_unless_asked_anyway(void **state)
{
    (void)state;
    start("r", "");
    start("a", "r");
    end("a", RUN_SUCCESS);
    struct store_answer over = cancel("a");
    SAYS(over, over);
    assert_int_equal(over.state, RUN_SUCCESS);
    assert_int_equal(over.number, 1);
    SAYS(cancel_anyway("a", "links"), accepted);
    SAYS(start("b", "r.a"), refused);
}

static void an_end_under_a_ban_is_a_cancel(void **state)
{
    (void)state;
    start("r", "");
    start("a", "r");
    start("b", "r");
    start("c", "r");
    SAYS(end("a", RUN_CANCELLED), not_cancelled);
    cancel("r");
    struct store_answer ended = end("a", RUN_SUCCESS);
    SAYS(ended, ended);
    assert_int_equal(ended.state, RUN_CANCELLED);
    assert_int_equal(ended.finished_anyway, RUN_SUCCESS);
    assert_int_equal(end("b", RUN_ROLLED_BACK).state, RUN_ROLLED_BACK);
    ended = end("a", RUN_ERROR);
    SAYS(ended, already);
    assert_int_equal(ended.finished_anyway, RUN_SUCCESS);
    SAYS(end("nobody", RUN_SUCCESS), unknown);
}

/* An agentd that was out of reach has stopped it, and says so now. */
static void an_end_may_bring_its_reason(void **state)
{
    (void)state;
    start("r", "");
    start("a", "r");
    start("b", "a");
    struct store_call call = base(STORE_END, "a");
    call.state = RUN_CANCELLED;
    call.record = record_for("a", "isolated", -1);
    struct store_answer ended = ask(call);
    SAYS(ended, ended);
    assert_int_equal(ended.state, RUN_CANCELLED);
    SAYS(start("c", "b"), refused);
    SAYS(end("r", RUN_CANCELLED), not_cancelled);
}

static void a_deadline_makes_its_target_time_out(void **state)
{
    (void)state;
    start("r", "");
    start("a", "r");
    cancel_for("r", "deadline");
    assert_int_equal(end("a", RUN_ERROR).state, RUN_CANCELLED);
    struct store_answer ended = end("r", RUN_ERROR);
    assert_int_equal(ended.state, RUN_TIMEOUT);
    assert_int_equal(ended.finished_anyway, RUN_ERROR);
}

static void an_error_cancels_the_children_and_a_success_leaves_them(void **state)
{
    (void)state;
    start("r", "");
    start("a", "r");
    start("a1", "r.a");
    start("b", "r");
    start("b1", "r.b");
    start_with("c", "r", RUN_FLAG_END_LEAVES);
    start("c1", "r.c");
    start_with("d", "r", RUN_FLAG_END_CANCELS);
    start("d1", "r.d");
    end("a", RUN_ERROR);
    end("b", RUN_SUCCESS);
    end("c", RUN_ERROR);
    end("d", RUN_SUCCESS);
    assert_int_equal(reconcile("a1", 1).verdict, SAID_STOP);
    assert_int_equal(reconcile("b1", 1).verdict, SAID_GO);
    assert_int_equal(reconcile("c1", 1).verdict, SAID_GO);
    assert_int_equal(reconcile("d1", 1).verdict, SAID_STOP);
    SAYS(start("a2", "r.a"), refused);
}

static void a_retry_is_refused_only_for_a_cancelled_run(void **state)
{
    (void)state;
    start("r", "");
    start("failed", "r");
    start("lost", "r");
    start("stopped", "r");
    end("failed", RUN_ERROR);
    lose("lost");
    cancel("stopped");
    struct store_call retry = start_call("again1", "r", 0);
    retry.retry_of = STR("failed");
    SAYS(ask(retry), started);
    retry = start_call("again2", "r", 0);
    retry.retry_of = STR("lost");
    SAYS(ask(retry), started);
    retry = start_call("again3", "r", 0);
    retry.retry_of = STR("stopped");
    SAYS(ask(retry), refused);
}

static void in_mode_observe_nothing_is_refused_or_rewritten(void **state)
{
    (void)state;
    start("r", "");
    cancel("r");
    struct store_answer started = start_with("a", "r", RUN_FLAG_OBSERVE);
    SAYS(started, started);
    TEXT_IS(started.ban, "r");
    assert_int_equal(report("a", RUN_FLAG_DELIVERED).state, RUN_RUNNING);
    SAYS(checkpoint("a", 1, "w1"), granted);
    struct store_answer granted = checkpoint("a", 1, "w2");
    SAYS(granted, granted);
    assert_false(granted.last);
    SAYS(link_it("a", "0"), linked);
    assert_int_equal(end("a", RUN_SUCCESS).state, RUN_SUCCESS);
}

static void phases_are_set_once_and_counted(void **state)
{
    (void)state;
    start("r", "");
    start("a", "r");
    cancel("r");
    struct store_item item = report("a", RUN_FLAG_DELIVERED);
    assert_int_equal(item.state, RUN_STOPPING);
    report("a", RUN_FLAG_DELIVERED | RUN_FLAG_ACKNOWLEDGED | RUN_FLAG_UNRESPONSIVE);
    const redisReply *counts = redis_tell(&asker, "HGET bw:{%s} t:r", root_now().at);
    assert_string_equal(counts->str, "1:1:0:1");
    end("a", RUN_SUCCESS);
    counts = redis_tell(&asker, "HGET bw:{%s} t:r", root_now().at);
    assert_string_equal(counts->str, "1:1:1:0");
    assert_int_equal(report("a", RUN_FLAG_DELIVERED).verdict, SAID_OVER);
    assert_int_equal(report("nobody", RUN_FLAG_DELIVERED).verdict, SAID_UNKNOWN);
}

static void a_lost_run_counts_as_stopped_only_when_it_is_gone(void **state)
{
    (void)state;
    start("r", "");
    SAYS(lose("r"), lost);
    SAYS(lose("r"), already);
    const redisReply *counts = redis_tell(&asker, "HGET bw:{%s} t:r", root_now().at);
    assert_string_equal(counts->str, "0:0:0:0");
    assert_int_equal(report("r", RUN_FLAG_GONE).verdict, SAID_OK);
    report("r", RUN_FLAG_GONE);
    counts = redis_tell(&asker, "HGET bw:{%s} t:r", root_now().at);
    assert_string_equal(counts->str, "0:0:1:0");
    SAYS(cancel("r"), already);
}

static void a_lost_run_is_a_compare_and_set(void **state)
{
    (void)state;
    start("r", "");
    struct store_call call = base(STORE_LOST, "r");
    call.record = record_for("r", "lost", -1);
    call.incarnation = STR("i2");
    SAYS(ask(call), fenced);
    call.incarnation = STR("i1");
    call.replica = STR("R2");
    SAYS(ask(call), fenced);
    call.replica = STR("R1");
    call.epoch = 2;
    SAYS(ask(call), fenced);
    call.epoch = 1;
    call.only_suspect = true;
    SAYS(ask(call), suspect);
    assert_true((peek("r").flags & RUN_FLAG_SUSPECT) != 0);
    SAYS(start("r", ""), already);
    assert_true((peek("r").flags & RUN_FLAG_SUSPECT) == 0);
}

/* A life that began without Redis, in the epoch of the one that was lost: it hears that there is
 * another one, and that it has stopped is no proof that the lost one has. */
static void another_life_in_the_epoch_of_a_lost_one_is_fenced(void **state)
{
    (void)state;
    start("r", "");
    SAYS(lose("r"), lost);
    struct store_call call = start_call("r", "", 0);
    call.op = STORE_ASSERT;
    call.incarnation = STR("i2");
    call.epoch = 1;
    struct store_answer fenced = ask(call);
    SAYS(fenced, fenced);
    assert_int_equal(fenced.epoch, 1);
    TEXT_IS(fenced.owner, "R1");
    call = base(STORE_END, "r");
    call.state = RUN_ERROR;
    call.incarnation = STR("i2");
    SAYS(ask(call), fenced);
    call.incarnation = STR("i1");
    SAYS(ask(call), already);
    SAYS(assert_it("r", "", 1), over);
}

static void a_takeover_starts_the_same_id_again_and_leaves_its_old_children(void **state)
{
    (void)state;
    start("r", "");
    start_with("t", "r", RUN_FLAG_LOST_TAKEOVER);
    start("old", "r.t");
    start("older", "r.t.old");
    SAYS(lose("t"), lost);
    assert_int_equal(reconcile("older", 1).verdict, SAID_STOP);
    SAYS(start("new", "r.t"), refused);
    struct store_call again = start_call("t", "r", RUN_FLAG_LOST_TAKEOVER);
    SAYS(ask(again), over);
    again.incarnation = STR("i2");
    struct store_answer started = ask(again);
    SAYS(started, started);
    assert_int_equal(started.epoch, 2);
    SAYS(start("new", "r.t"), started);
    assert_int_equal(reconcile("new", 1).verdict, SAID_GO);
    assert_int_equal(reconcile("old", 1).verdict, SAID_STOP);
}

/* Redis knows of the loss, and not any more of the life that went on from it. */
static void a_takeover_that_was_forgotten_goes_on(void **state)
{
    (void)state;
    start("r", "");
    start_with("t", "r", RUN_FLAG_LOST_TAKEOVER);
    start("old", "r.t");
    lose("t");
    struct store_call later = start_call("t", "r", RUN_FLAG_LOST_TAKEOVER | RUN_FLAG_END_CANCELS);
    later.op = STORE_ASSERT;
    later.incarnation = STR("i2");
    later.replica = STR("R2");
    later.epoch = 1;
    SAYS(ask(later), fenced);
    later.epoch = 3;
    assert_int_equal(reconcile("t", 3).verdict, SAID_BEHIND);
    struct store_answer adopted = ask(later);
    SAYS(adopted, adopted);
    assert_int_equal(adopted.epoch, 3);
    assert_int_equal(adopted.flags, RUN_FLAG_LOST_TAKEOVER | RUN_FLAG_END_CANCELS);
    TEXT_IS(peek("t").owner, "R2");
    assert_int_equal(reconcile("old", 1).verdict, SAID_STOP);
    SAYS(start("new", "r.t"), started);
}

static void a_cancelled_run_is_not_taken_over(void **state)
{
    (void)state;
    start("r", "");
    start_with("t", "r", RUN_FLAG_LOST_TAKEOVER);
    lose("t");
    SAYS(cancel("t"), accepted);
    struct store_call again = start_call("t", "r", RUN_FLAG_LOST_TAKEOVER);
    again.incarnation = STR("i2");
    SAYS(ask(again), over);
    again.op = STORE_ASSERT;
    again.epoch = 2;
    SAYS(ask(again), over);
}

static void with_continue_only_its_own_life_comes_back(void **state)
{
    (void)state;
    start("r", "");
    start_with("a", "r", RUN_FLAG_LOST_CONTINUE);
    start("b", "r.a");
    SAYS(lose("a"), lost);
    assert_int_equal(reconcile("b", 1).verdict, SAID_GO);
    struct store_call other = start_call("a", "r", 0);
    other.op = STORE_ASSERT;
    other.incarnation = STR("i2");
    other.epoch = 7;
    SAYS(ask(other), over);
    assert_int_equal(reconcile("a", 1).verdict, SAID_BEHIND); /* assert, it means */
    SAYS(assert_it("a", "r", 1), adopted);
    assert_int_equal(peek("a").state, RUN_RUNNING);
}

static void with_continue_its_own_life_may_start_it_again(void **state)
{
    (void)state;
    start("r", "");
    start_with("a", "r", RUN_FLAG_LOST_CONTINUE);
    lose("a");
    struct store_call other = start_call("a", "r", 0);
    other.incarnation = STR("i2");
    SAYS(ask(other), over);
    struct store_answer again = start_with("a", "r", RUN_FLAG_LOST_CONTINUE);
    SAYS(again, already);
    assert_int_equal(again.state, RUN_RUNNING);
    TEXT_IS(peek("a").owner, "R1");
    lose("a");
    report("a", RUN_FLAG_GONE);
    SAYS(start_with("a", "r", RUN_FLAG_LOST_CONTINUE), over);
    assert_int_equal(reconcile("a", 1).verdict, SAID_OVER);
}

static void an_adoption_is_a_compare_and_set_on_the_epoch(void **state)
{
    (void)state;
    struct run_meta meta = {.token_hash = STR("right"), .born_on = STR("R1")};
    struct buf bytes = {0};
    assert_int_equal(wire_meta_encode(&meta, &bytes), ERR_OK);
    struct store_call call = start_call("r", "", 0);
    call.meta = buf_str(&bytes);
    SAYS(ask(call), started);
    SAYS(adopt("nobody", "r", 1), unknown);
    SAYS(adopt("r", "", 3), fenced);
    call.op = STORE_ASSERT;
    call.adopt = true;
    call.incarnation = STR("i2");
    call.token_hash = STR("wrong");
    SAYS(ask(call), unauthorized);
    call.token_hash = STR("right");
    struct store_answer adopted = ask(call);
    SAYS(adopted, adopted);
    assert_int_equal(adopted.epoch, 2);
    adopted = ask(call); /* the answer was lost */
    SAYS(adopted, adopted);
    assert_int_equal(adopted.epoch, 2);
    SAYS(end("r", RUN_SUCCESS), fenced);
    buf_fini(&bytes);
}

/* It began without Redis, or Redis forgot the adoption between the two. */
static void another_life_in_the_same_epoch_ends_nothing(void **state)
{
    (void)state;
    start("r", "");
    start_with("a", "r", RUN_FLAG_END_CANCELS);
    struct store_call call = base(STORE_END, "r");
    call.state = RUN_SUCCESS;
    call.incarnation = STR("another");
    SAYS(ask(call), fenced);
    cancel("a"); /* what was said above is said in a tree with bans, too */
    SAYS(ask(call), fenced);
    call.run = STR("a");
    SAYS(ask(call), fenced);
    call.incarnation = STR_NONE;
    SAYS(ask(call), ended);
    SAYS(end("r", RUN_SUCCESS), ended);
}

/* Whoever carries it from now on keeps the deadline, too. */
static void an_adopted_run_keeps_its_deadline(void **state)
{
    (void)state;
    struct store_call call = start_call("r", "", 0);
    call.deadline = SECONDS(10);
    SAYS(ask(call), started);
    struct store_answer answer = adopt("r", "", 1);
    SAYS(answer, adopted);
    assert_in_range(answer.deadline_ms, 5000, 10000);
    cancel("r");
    call.op = STORE_ASSERT;
    call.deadline = SPAN_NONE;
    call.incarnation = STR("i9");
    call.epoch = 7;
    answer = ask(call);
    SAYS(answer, stop);
    assert_in_range(answer.deadline_ms, 5000, 10000);
    start("free", "");
    answer = adopt("free", "", 1);
    SAYS(answer, adopted);
    assert_int_equal(answer.deadline_ms, 0);
}

static void a_live_run_is_never_silently_refused(void **state)
{
    (void)state;
    bury_it("r", "a user asked");
    struct store_answer stop = assert_it("a", "r", 4);
    SAYS(stop, stop);
    assert_int_equal(stop.epoch, 4);
    assert_true((stop.flags & RUN_FLAG_LATE) != 0);
    TEXT_IS(stop.ban, "r");
    assert_int_equal(peek("a").state, RUN_STOPPING);
    struct store_call call = start_call("a", "r", 0);
    call.op = STORE_ASSERT;
    call.incarnation = STR("i2");
    call.epoch = 4;
    SAYS(ask(call), fenced);
    call.epoch = 5;
    SAYS(ask(call), stop);
}

static void one_checkpoint_is_granted_after_the_ban(void **state)
{
    (void)state;
    start("r", "");
    SAYS(checkpoint("r", 1, "w0"), granted);
    cancel("r");
    struct store_answer granted = checkpoint("r", 1, "w1");
    SAYS(granted, granted);
    assert_true(granted.last);
    SAYS(checkpoint("r", 1, "w1"), granted);
    SAYS(checkpoint("r", 1, "w2"), frozen);
    SAYS(adopt("r", "", 1), stop);
    SAYS(checkpoint("r", 2, "w3"), frozen);
    SAYS(checkpoint("r", 1, "w1"), fenced);
    end("r", RUN_SUCCESS);
    SAYS(checkpoint("nobody", 1, "w1"), unknown);
}

static void the_bytes_of_a_checkpoint_are_kept_beside_it(void **state)
{
    (void)state;
    start("r", "");
    struct store_call call = base(STORE_CHECKPOINT, "r");
    call.write_id = STR("w1");
    call.bytes = STR("state of mind");
    SAYS(ask(call), granted);
    struct store_answer read = ask(base(STORE_CHECKPOINT_READ, "r"));
    SAYS(read, ok);
    TEXT_IS(read.text, "state of mind");
    SAYS(ask(base(STORE_CHECKPOINT_READ, "nobody")), not_found);
}

static void a_link_is_written_before_the_ban_or_not_at_all(void **state)
{
    (void)state;
    start("r", "");
    SAYS(link_it("r", "0"), linked);
    SAYS(link_it("r", "0"), linked);
    SAYS(link_it("nobody", "0"), unknown);
    cancel("r");
    SAYS(link_it("r", "1"), refused);
    struct store_call call = base(STORE_LINK, "r");
    call.link_id = STR("0");
    call.link = STR("acknowledged");
    call.acknowledge = true;
    SAYS(ask(call), linked);
    const redisReply *stored = redis_tell(&asker, "HGET bw:{%s} l:r:0", root_now().at);
    assert_string_equal(stored->str, "acknowledged");
}

static void a_run_has_at_most_a_thousand_links(void **state)
{
    (void)state;
    char id[16];
    start("r", "");
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(id, sizeof id, "%x", i);
        SAYS(link_it("r", id), linked);
    }
    struct store_answer full = link_it("r", "more");
    SAYS(full, full);
    TEXT_IS(full.text, "links");
}

static void an_id_lives_in_one_tree(void **state)
{
    (void)state;
    struct store_call call = {.op = STORE_FIND_CLAIM, .id = STR("chosen"), .root = STR("rootA")};
    SAYS(ask(call), ok);
    struct store_answer exists = ask(call);
    SAYS(exists, exists);
    TEXT_IS(exists.text, "rootA");
    call.root = STR("rootB");
    exists = ask(call);
    SAYS(exists, exists);
    TEXT_IS(exists.text, "rootA");
    call.op = STORE_FIND_DROP;
    SAYS(ask(call), ok);
    call.op = STORE_FIND_READ;
    TEXT_IS(ask(call).text, "rootA");
    call.op = STORE_FIND_DROP;
    call.root = STR("rootA");
    SAYS(ask(call), ok);
    call.op = STORE_FIND_READ;
    SAYS(ask(call), not_found);
    call.op = STORE_REMEMBER;
    SAYS(ask(call), ok);
    exists = ask(call);
    SAYS(exists, exists);
    TEXT_IS(exists.text, "chosen");
}

static void an_alias_is_of_the_run_that_began_last(void **state)
{
    (void)state;
    struct store_call call = {
        .op = STORE_ALIAS, .id = STR("a2a:t-1"), .root = STR("r"), .run = STR("one")};
    SAYS(ask(call), ok);
    SAYS(ask(call), ok);
    call.run = STR("two");
    struct store_answer exists = ask(call);
    SAYS(exists, exists);
    TEXT_IS(exists.text, "r/one");
    call.force = true;
    SAYS(ask(call), ok);
    call.op = STORE_FIND_READ;
    TEXT_IS(ask(call).text, "r/two");
}

static void leases_losses_locks_and_lists(void **state)
{
    (void)state;
    struct store_call call = {.op = STORE_LEASE,
                              .replica = STR("R9"),
                              .generation = STR("g1"),
                              .span = SECONDS(15),
                              .root = STR("some-root"),
                              .number = 1767225600000};
    SAYS(ask(call), ok);
    call.op = STORE_LEASE_READ;
    TEXT_IS(ask(call).text, "g1");
    call.op = STORE_LEASE_RENEW;
    SAYS(ask(call), ok);
    call.op = STORE_HELD_ADD;
    SAYS(ask(call), ok);
    call.op = STORE_HELD_READ;
    TEXT_IS(ask(call).list[0], "some-root");
    call.op = STORE_REPLICA_ADD;
    SAYS(ask(call), ok);
    call.op = STORE_LOSS_COUNT;
    call.number = 1;
    assert_int_equal(ask(call).number, 0); /* it is listed still: whoever asks sees it */
    assert_int_equal(ask(call).number, 0);
    call.op = STORE_REPLICAS_READ;
    struct store_answer replicas = ask(call);
    assert_int_equal(replicas.list_count, 1);
    TEXT_IS(replicas.list[0], "R9");
    assert_int_equal(replicas.score[0], 1767225600000);
    call.op = STORE_CONFIRM_ADD;
    SAYS(ask(call), ok);
    call.op = STORE_CONFIRM_READ;
    TEXT_IS(ask(call).list[0], "R9");
    call.op = STORE_CONFIRM_DROP;
    assert_int_equal(ask(call).number, 1);
    call.op = STORE_QUARANTINE_DROP;
    assert_int_equal(ask(call).number, 0);
    call.op = STORE_QUARANTINE_ADD;
    SAYS(ask(call), ok);
    call.op = STORE_QUARANTINE_READ;
    TEXT_IS(ask(call).list[0], "R9");
    call.op = STORE_LEASE_DROP;
    SAYS(ask(call), ok);
    call.op = STORE_QUARANTINE_READ;
    assert_int_equal(ask(call).list_count, 0);
    call.op = STORE_REPLICAS_READ;
    assert_int_equal(ask(call).list_count, 0);
    call.op = STORE_LEASE_RENEW;
    SAYS(ask(call), gone);
    call.op = STORE_LOSS_COUNT;
    call.number = 0;
    assert_int_equal(ask(call).number, 1);
    call.op = STORE_HELD_READ;
    assert_int_equal(ask(call).list_count, 0);
}

static void one_holds_a_lock(void **state)
{
    (void)state;
    struct store_call call = {
        .op = STORE_LOCK, .id = STR("sweep"), .replica = STR("b1"), .span = SECONDS(5)};
    SAYS(ask(call), ok);
    SAYS(ask(call), ok);
    call.replica = STR("b2");
    struct store_answer exists = ask(call);
    SAYS(exists, exists);
    TEXT_IS(exists.text, "b1");
}

static void a_generation_is_set_once(void **state)
{
    (void)state;
    redis_tell(&asker, "DEL bw:gen");
    struct store_call call = {.op = STORE_GENERATION};
    SAYS(ask(call), not_found);
    call.generation = STR("g1");
    TEXT_IS(ask(call).text, "g1");
    call.generation = STR("g2");
    TEXT_IS(ask(call).text, "g1");
}

static void roots_are_listed_by_shard_and_time(void **state)
{
    (void)state;
    /* CRC-32 of "123456789" is cbf43926 */
    assert_int_equal(root_shard(STR("123456789")), 0xcbf43926u % ROOT_SHARDS);
    struct store_call call = {
        .op = STORE_ROOT_ADD, .root = STR("123456789"), .number = 1767225600123, .limit = 10};
    SAYS(ask(call), ok);
    call.op = STORE_ROOTS_READ;
    call.shard = 0xcbf43926u % ROOT_SHARDS;
    call.number = 0;
    struct store_answer roots = ask(call);
    assert_int_equal(roots.list_count, 1);
    assert_int_equal(roots.score[0], 1767225600123);
    call.number = 1767225600124;
    assert_int_equal(ask(call).list_count, 0);
    call.op = STORE_ROOT_DROP;
    SAYS(ask(call), ok);
}

static void the_audit_is_read_both_ways(void **state)
{
    (void)state;
    struct store_call call = {.op = STORE_AUDIT, .bytes = STR("{\"n\":1}"), .limit = 10};
    SAYS(ask(call), ok);
    call.bytes = STR("{\"n\":2}");
    SAYS(ask(call), ok);
    call.op = STORE_AUDIT_READ;
    struct store_answer read = ask(call);
    assert_int_equal(read.list_count, 2);
    assert_int_equal(read.list[0].at[read.list[0].len - 2], '1');
    call.id = STR("+");
    read = ask(call);
    assert_int_equal(read.list[0].at[read.list[0].len - 2], '2');
    char id[64];
    snprintf(id, sizeof id, "%.*s", (int)read.text.len, read.text.at);
    call.id = str_of(id);
    assert_int_equal(ask(call).list_count, 1);
}

static void when_memory_is_full_only_what_is_new_is_refused(void **state)
{
    (void)state;
    start("r", "");
    start("a", "r");
    redis_tell(&asker, "CONFIG SET maxmemory 1");
    struct store_answer refused = start("b", "r");
    SAYS(refused, unwritable);
    assert_true(refused.text.len > 3 && memcmp(refused.text.at, "OOM", 3) == 0);
    SAYS(checkpoint("r", 1, "w"), unwritable);
    SAYS(cancel("a"), accepted);
    assert_int_equal(report("a", RUN_FLAG_DELIVERED).verdict, SAID_OK);
    SAYS(end("a", RUN_SUCCESS), ended);
    SAYS(bury_it("x", "a user asked"), accepted);
    struct store_call lease = {
        .op = STORE_LEASE, .replica = STR("R9"), .generation = STR("g"), .span = SECONDS(1)};
    SAYS(ask(lease), ok);
    struct store_call order = {
        .op = STORE_ORDER, .id = STR("o1"), .record = STR("x"), .limit = 1000, .max_holds = 256};
    SAYS(ask(order), ok);
    redis_tell(&asker, "CONFIG SET maxmemory 0");
    SAYS(start("b", "r"), started);
}

static void garbage_in_a_field_is_not_a_run(void **state)
{
    (void)state;
    start("r", "");
    redis_tell(&asker, "HSET bw:{%s} s:x garbage s:y r:1 c:z nothing b 1", root_now().at);
    SAYS(end("x", RUN_SUCCESS), unknown);
    SAYS(peek("y"), unknown);
    SAYS(start("x", "r.y"), started);
    SAYS(cancel("x"), accepted);
    redis_tell(&asker, "HSET bw:{%s} c:x nothing", root_now().at);
    SAYS(cancel("x"), already);
    SAYS(end("x", RUN_SUCCESS), ended);
}

/* ---- the lifecycle, cell by cell --------------------------------------------------------------
 */
enum banned_where { NOWHERE, ABOVE, ITSELF, ITSELF_BY_DEADLINE, PLACES };
static const enum run_ban ban_of[PLACES] = {RUN_FREE, RUN_BANNED, RUN_BANNED, RUN_OVERDUE};

static void ban_it(enum banned_where where)
{
    const char *reason = where == ITSELF_BY_DEADLINE ? "deadline" : "a user asked";
    struct store_call call = base(STORE_CANCEL, where == ABOVE ? "r" : "x");
    call.record = record_for(where == ABOVE ? "r" : "x", reason, -1);
    call.force = call.even_if_over = true;
    if (where != NOWHERE)
        ask(call);
}

/* Some are told before they end: only what is under a ban ends as cancelled. */
static void bring_to(enum run_state state, enum banned_where where, uint32_t flags)
{
    start("r", "");
    if (state == RUN_NEVER && where != ITSELF && where != ITSELF_BY_DEADLINE)
        start("y", "r.x");
    if (state != RUN_NONE && state != RUN_NEVER)
        start_with("x", "r", flags);
    bool ends_free = state == RUN_SUCCESS || state == RUN_ERROR || state == RUN_PAUSED;
    if (ends_free)
        end("x", state);
    if (state == RUN_LOST)
        lose("x");
    if ((state == RUN_CANCELLED || state == RUN_ROLLED_BACK) && where == ITSELF_BY_DEADLINE) {
        ban_it(ABOVE);
        end("x", state);
    }
    ban_it(where);
    if (state == RUN_STOPPING)
        report("x", RUN_FLAG_DELIVERED);
    if (state == RUN_CANCELLED || state == RUN_ROLLED_BACK || state == RUN_TIMEOUT)
        end("x", state == RUN_TIMEOUT ? RUN_ERROR : state);
}

static bool is_there(enum run_state state, enum banned_where where)
{
    struct store_answer x = peek("x");
    if (state == RUN_NONE)
        return x.verdict == SAID_UNKNOWN && where <= ABOVE;
    bool itself = (x.flags & RUN_FLAG_BANNED) != 0;
    return x.verdict == SAID_OK && x.state == state && (x.ban.len > 0) == (where != NOWHERE)
           && itself == (where >= ITSELF);
}

static void happens(enum run_event event)
{
    static const enum run_state ends[RUN_EVENT_COUNT] = {
        [RUN_EV_END_SUCCESS] = RUN_SUCCESS,         [RUN_EV_END_ERROR] = RUN_ERROR,
        [RUN_EV_END_PAUSED] = RUN_PAUSED,           [RUN_EV_END_CANCELLED] = RUN_CANCELLED,
        [RUN_EV_END_ROLLED_BACK] = RUN_ROLLED_BACK,
    };
    switch (event) {
    case RUN_EV_START:
        start("x", "r");
        break;
    case RUN_EV_ADOPT:
        adopt("x", "r", 1);
        break;
    case RUN_EV_ASSERT:
        assert_it("x", "r", 1);
        break;
    case RUN_EV_CANCEL:
        bury_it("x", "a user asked");
        break;
    case RUN_EV_TOLD:
        report("x", RUN_FLAG_DELIVERED);
        break;
    case RUN_EV_LEASE_OVER:
        lose("x");
        break;
    default:
        end("x", ends[event]);
    }
}

/* What keeps a run that ended or was lost without a ban, without bringing it back on this event. */
static uint32_t policy_for(enum run_state state, enum banned_where where, enum run_event event)
{
    if (state == RUN_LOST && where != ITSELF)
        return event == RUN_EV_ASSERT || event == RUN_EV_START ? RUN_FLAG_LOST_TAKEOVER
                                                               : RUN_FLAG_LOST_CONTINUE;
    return state == RUN_ERROR ? RUN_FLAG_END_LEAVES : 0;
}

static bool cell_is_kept(enum run_state state, enum banned_where where, enum run_event event)
{
    tree_number++;
    bring_to(state, where, policy_for(state, where, event));
    if (!is_there(state, where))
        return false;
    enum run_state expected = state;
    run_apply(&expected, ban_of[where], event);
    happens(event);
    enum run_state now = peek("x").state;
    if (now != expected)
        print_error("ban %d, %s, event %d: the table says %s, the scripts %s\n", (int)where,
                    run_state_name(state), (int)event, run_state_name(expected),
                    run_state_name(now));
    assert_int_equal(now, expected);
    return true;
}

static void the_scripts_keep_the_lifecycle_table(void **state)
{
    (void)state;
    /* No call leads there: a ban moves a running target to stopping; without a ban nobody stops, is
     * cancelled, rolled back or timed out; only the deadline's own target times out. */
    static const struct {
        enum run_state state;
        enum banned_where where;
    } unreachable[] = {
        {RUN_NONE, ITSELF},         {RUN_NONE, ITSELF_BY_DEADLINE},
        {RUN_RUNNING, ITSELF},      {RUN_RUNNING, ITSELF_BY_DEADLINE},
        {RUN_STOPPING, NOWHERE},    {RUN_CANCELLED, NOWHERE},
        {RUN_ROLLED_BACK, NOWHERE}, {RUN_TIMEOUT, NOWHERE},
        {RUN_TIMEOUT, ABOVE},       {RUN_TIMEOUT, ITSELF},
    };
    unsigned visited = 0, cells = 0;
    for (enum run_state s = RUN_NONE; s < RUN_STATE_COUNT; s++) {
        if (s == RUN_PENDING) /* never stored */
            continue;
        for (enum banned_where where = NOWHERE; where < PLACES; where++) {
            bool expected = true;
            for (size_t i = 0; i < sizeof unreachable / sizeof *unreachable; i++)
                expected =
                    expected && !(unreachable[i].state == s && unreachable[i].where == where);
            for (enum run_event e = RUN_EV_START; e < RUN_EVENT_COUNT; e++, cells++) {
                bool reached = cell_is_kept(s, where, e);
                if (reached != expected)
                    print_error("%s, ban %d: %s\n", run_state_name(s), (int)where,
                                reached ? "can be reached after all" : "was not reached");
                assert_int_equal(reached, expected);
                visited += reached;
            }
        }
    }
    print_message("%u of %u cells\n", visited, cells);
}

/* ---------------------------------------------------------------------------------------------- */
static enum redis_kind kind_now;

static int begin(void **state)
{
    (void)state;
    redis_process_start(&server, kind_now, NULL);
    redis_asker_init(&asker, &server);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    redis_asker_fini(&asker);
    redis_process_end(&server);
    return 0;
}

#define STORY(name) cmocka_unit_test_setup(name, new_tree)

static int tell_all(enum redis_kind kind)
{
    const struct CMUnitTest stories[] = {
        STORY(nothing_starts_below_a_cancelled_run),
        STORY(a_cut_path_hides_no_ban),
        STORY(a_claimed_id_is_found_by_a_later_cancel),
        STORY(a_tombstone_waits_for_its_run),
        STORY(a_foreign_tombstone_is_obeyed_here),
        STORY(a_start_again_is_told_what_is_there),
        STORY(a_start_from_another_replica_moves_the_owner),
        STORY(limits_are_kept),
        STORY(a_tree_is_at_most_128_deep),
        STORY(flags_say_how_a_run_began),
        STORY(a_deadline_is_never_later_than_the_parents),
        STORY(a_scope_is_cancelled_once),
        STORY(only_a_lower_grace_is_taken_over),
        STORY(a_completed_run_is_over_unless_asked_anyway),
        STORY(an_end_under_a_ban_is_a_cancel),
        STORY(an_end_may_bring_its_reason),
        STORY(a_deadline_makes_its_target_time_out),
        STORY(an_error_cancels_the_children_and_a_success_leaves_them),
        STORY(a_retry_is_refused_only_for_a_cancelled_run),
        STORY(in_mode_observe_nothing_is_refused_or_rewritten),
        STORY(phases_are_set_once_and_counted),
        STORY(a_lost_run_counts_as_stopped_only_when_it_is_gone),
        STORY(a_lost_run_is_a_compare_and_set),
        STORY(another_life_in_the_epoch_of_a_lost_one_is_fenced),
        STORY(a_takeover_starts_the_same_id_again_and_leaves_its_old_children),
        STORY(a_takeover_that_was_forgotten_goes_on),
        STORY(a_cancelled_run_is_not_taken_over),
        STORY(with_continue_only_its_own_life_comes_back),
        STORY(with_continue_its_own_life_may_start_it_again),
        STORY(an_adoption_is_a_compare_and_set_on_the_epoch),
        STORY(another_life_in_the_same_epoch_ends_nothing),
        STORY(an_adopted_run_keeps_its_deadline),
        STORY(a_live_run_is_never_silently_refused),
        STORY(one_checkpoint_is_granted_after_the_ban),
        STORY(the_bytes_of_a_checkpoint_are_kept_beside_it),
        STORY(a_link_is_written_before_the_ban_or_not_at_all),
        STORY(a_run_has_at_most_a_thousand_links),
        STORY(an_id_lives_in_one_tree),
        STORY(an_alias_is_of_the_run_that_began_last),
        STORY(leases_losses_locks_and_lists),
        STORY(one_holds_a_lock),
        STORY(a_generation_is_set_once),
        STORY(roots_are_listed_by_shard_and_time),
        STORY(the_audit_is_read_both_ways),
        STORY(when_memory_is_full_only_what_is_new_is_refused),
        STORY(garbage_in_a_field_is_not_a_run),
        STORY(the_scripts_keep_the_lifecycle_table),
    };
    kind_now = kind;
    return cmocka_run_group_tests_name(redis_kind_name(kind), stories, begin, finish);
}

int main(void)
{
    int failed = tell_all(KIND_REDIS);
    if (redis_kind_is_installed(KIND_VALKEY))
        failed += tell_all(KIND_VALKEY);
    else
        printf("valkey-server is not installed: skipped\n");
    return failed;
}
