/* Replies that no server of ours sends, and the words of each call: lib/store without a server. */
#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "base/rng.h"
#include "scripts.h"
#include "store/answer.h"
#include "store/command.h"

static struct answer_room room;

/* What a server would send, read by hiredis as it would come. */
static struct store_answer read_bytes(enum store_op op, const char *bytes, redisReply **reply)
{
    struct store_answer answer;
    redisReader *reader = redisReaderCreate();
    void *parsed = NULL;
    redisReaderFeed(reader, bytes, strlen(bytes));
    assert_int_equal(redisReaderGetReply(reader, &parsed), REDIS_OK);
    assert_non_null(parsed);
    *reply = parsed;
    answer_read(op, *reply, &room, &answer);
    redisReaderFree(reader);
    return answer;
}

static void a_shape_that_no_script_has_is_an_error(void **state)
{
    (void)state;
    static const struct {
        enum store_op op;
        const char *bytes;
    } rows[] = {
        {STORE_START, ":1\r\n"},
        {STORE_START, "*0\r\n"},
        {STORE_START, "*1\r\n:5\r\n"},
        {STORE_START, "*1\r\n$7\r\nstarted\r\n"},
        {STORE_START, "*2\r\n$7\r\nunheard\r\n:1\r\n"},
        {STORE_START, "*8\r\n$7\r\nstarted\r\n:-1\r\n:0\r\n+\r\n+\r\n+\r\n+\r\n+\r\n"},
        {STORE_START, "*8\r\n$7\r\nstarted\r\n:99999999999\r\n:0\r\n+\r\n+\r\n+\r\n+\r\n+\r\n"},
        {STORE_START, "*8\r\n$7\r\nstarted\r\n:1\r\n:0\r\n*0\r\n+\r\n+\r\n+\r\n+\r\n"},
        {STORE_START, "*8\r\n$7\r\nstarted\r\n:1\r\n:0\r\n+\r\n+\r\n+\r\n+\r\n+soon\r\n"},
        {STORE_END, "*3\r\n+ended\r\n+Z\r\n+\r\n"},
        {STORE_END, "*3\r\n+ended\r\n+SS\r\n+\r\n"},
        {STORE_REPORT, "*1\r\n+ok\r\n"},
        {STORE_REPORT, "*1\r\n*2\r\n+ok\r\n+r\r\n"},
        {STORE_RECONCILE, "$2\r\ngo\r\n"},
        {STORE_HELD_READ, "*1\r\n:1\r\n"},
        {STORE_ROOTS_READ, "*1\r\n+a\r\n"},
        {STORE_ROOTS_READ, "*1\r\n*1\r\n+a\r\n"},
        {STORE_ROOTS_READ, "*2\r\n*2\r\n+a\r\n,1\r\n+b\r\n"},
        {STORE_ROOTS_READ, "*1\r\n*2\r\n+a\r\n,inf\r\n"},
        {STORE_AUDIT_READ, "*1\r\n*1\r\n+1-1\r\n"},
        {STORE_AUDIT_READ, "*1\r\n*2\r\n+1-1\r\n*1\r\n+json\r\n"},
        {STORE_TIME, "*1\r\n+1\r\n"},
        {STORE_TIME, "*2\r\n+99999999999999\r\n+1\r\n"},
        {STORE_FIND_READ, "*0\r\n"},
        {STORE_LEASE_RENEW, "*0\r\n"},
        {STORE_ROOT_COUNTS, "*1\r\n_\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        redisReply *reply;
        struct store_answer answer = read_bytes(rows[i].op, rows[i].bytes, &reply);
        if (answer.verdict != SAID_ERROR)
            print_error("row %zu: %s\n", i, store_verdict_name(answer.verdict));
        assert_int_equal(answer.verdict, SAID_ERROR);
        assert_true(answer.text.len > 0);
        freeReplyObject(reply);
    }
}

static void more_items_than_were_asked_for_are_an_error(void **state)
{
    (void)state;
    char bytes[4096];
    size_t len = (size_t)snprintf(bytes, sizeof bytes, "*65\r\n");
    for (int i = 0; i < 65; i++)
        len += (size_t)snprintf(bytes + len, sizeof bytes - len, "*4\r\n+ok\r\n+r\r\n:1\r\n:0\r\n");
    redisReply *reply;
    assert_int_equal(read_bytes(STORE_REPORT, bytes, &reply).verdict, SAID_ERROR);
    freeReplyObject(reply);
}

static void errors_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        enum store_verdict said;
    } rows[] = {
        {"-READONLY You can't write against a read only replica.\r\n", SAID_UNWRITABLE},
        {"-MISCONF Errors writing to the AOF file\r\n", SAID_UNWRITABLE},
        {"-NOREPLICAS Not enough good replicas to write.\r\n", SAID_UNWRITABLE},
        {"-OOM command not allowed when used memory > 'maxmemory'.\r\n", SAID_UNWRITABLE},
        {"-LOADING Redis is loading the dataset in memory\r\n", SAID_UNWRITABLE},
        {"-BUSY Redis is busy running a script.\r\n", SAID_UNWRITABLE},
        {"-CLUSTERDOWN The cluster is down\r\n", SAID_UNWRITABLE},
        {"-MOVED 3999 127.0.0.1:6381\r\n", SAID_UNWRITABLE},
        {"-ASK 3999 127.0.0.1:6381\r\n", SAID_UNWRITABLE},
        {"-MASTERDOWN Link with MASTER is down\r\n", SAID_UNWRITABLE},
        {"-TRYAGAIN Multiple keys request during rehashing of slot\r\n", SAID_UNWRITABLE},
        {"-OOMPH is no error of redis\r\n", SAID_ERROR},
        {"-NOPERM this user has no permissions\r\n", SAID_ERROR},
        {"-ERR\r\n", SAID_ERROR},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        redisReply *reply;
        struct store_answer answer = read_bytes(STORE_CANCEL, rows[i].bytes, &reply);
        assert_int_equal(answer.verdict, rows[i].said);
        assert_true(answer.text.len > 0);
        freeReplyObject(reply);
    }
    struct store_answer answer;
    answer_read(STORE_CANCEL, NULL, &room, &answer);
    assert_int_equal(answer.verdict, SAID_OFFLINE);
}

static void a_deadline_that_has_passed_is_told_as_one_millisecond(void **state)
{
    (void)state;
    redisReply *reply;
    struct store_answer answer =
        read_bytes(STORE_START, "*8\r\n+started\r\n:1\r\n:0\r\n+\r\n+\r\n+\r\n+\r\n:-20\r\n",
                   &reply);
    assert_int_equal(answer.verdict, SAID_STARTED);
    assert_int_equal(answer.deadline_ms, 1);
    freeReplyObject(reply);
    answer =
        read_bytes(STORE_START, "*8\r\n+started\r\n:1\r\n:0\r\n+\r\n+\r\n+\r\n+\r\n+\r\n", &reply);
    assert_int_equal(answer.deadline_ms, 0);
    freeReplyObject(reply);
}

static void losses_are_no_replicas(void **state)
{
    (void)state;
    redisReply *reply;
    struct store_answer answer =
        read_bytes(STORE_REPLICAS_READ, "*2\r\n*2\r\n+lost:R1:17:2\r\n,17\r\n*2\r\n+R1\r\n,5\r\n",
                   &reply);
    assert_int_equal(answer.list_count, 1);
    assert_true(str_is(answer.list[0], "R1"));
    assert_int_equal(answer.score[0], 5);
    freeReplyObject(reply);
}

/* Every op reads every reply: whatever comes, there is an answer. */
static void random_replies_never_crash(void **state)
{
    (void)state;
    static const char *const parts[] = {"*2\r\n",    "*1\r\n",    "*0\r\n", ":1\r\n",
                                        ":-7\r\n",   "+ok\r\n",   "+r\r\n", "+\r\n",
                                        "_\r\n",     ",1.5\r\n",  "~1\r\n", "#t\r\n",
                                        "+stop\r\n", "+over\r\n", "%1\r\n", "+started\r\n"};
    struct rng rng = {7};
    for (unsigned round = 0; round < 20000; round++) {
        redisReader *reader = redisReaderCreate();
        void *reply = NULL;
        for (unsigned i = 0; i < 40 && reply == NULL; i++) {
            const char *part = parts[rng_below(&rng, sizeof parts / sizeof *parts)];
            redisReaderFeed(reader, part, strlen(part));
            if (redisReaderGetReply(reader, &reply) != REDIS_OK)
                break;
        }
        for (int op = 0; reply != NULL && op < STORE_OP_COUNT; op++) {
            struct store_answer answer;
            if (op == STORE_TREE)
                continue;
            answer_read((enum store_op)op, reply, &room, &answer);
            assert_true(answer.verdict < SAID_COUNT);
        }
        freeReplyObject(reply);
        redisReaderFree(reader);
    }
}

static void every_call_has_its_words_and_every_script_its_call(void **state)
{
    (void)state;
    static char prefix[] = "bw";
    static struct command command;
    const struct keyspace keys = {
        .prefix = prefix, .publish = "PUBLISH", .ttl = "1000", .audit_max = "10"};
    unsigned used = 0;
    for (int op = 0; op < STORE_OP_COUNT; op++) {
        const struct store_call call = {.op = (enum store_op)op, .root = STR("r"), .run = STR("x")};
        if (op == STORE_TREE)
            continue;
        for (int step = 0; step < command_steps((enum store_op)op); step++)
            assert_true(command_make(&command, &keys, &call, step));
        assert_true(command.argc > 0);
        for (size_t i = 0; command.script != NULL && i < script_text_count; i++)
            if (strcmp(script_texts[i].name, command.script) == 0)
                used++;
    }
    assert_int_equal(used, script_text_count);
}

/* So that on a cluster every command has one server. */
static void every_call_is_about_one_key_and_says_which(void **state)
{
    (void)state;
    static char prefix[] = "bw";
    static struct command command;
    const struct keyspace keys = {
        .prefix = prefix, .publish = "SPUBLISH", .ttl = "1000", .audit_max = "10"};
    for (int op = 0; op < STORE_OP_COUNT; op++) {
        const struct store_call call = {.op = (enum store_op)op, .root = STR("r"), .run = STR("x")};
        for (int step = 0; op != STORE_TREE && step < command_steps(call.op); step++) {
            assert_true(command_make(&command, &keys, &call, step));
            int named = 0;
            for (int i = 0; i < command.argc; i++) {
                bool is_key = command.argv[i].len > 3 && memcmp(command.argv[i].at, "bw:", 3) == 0;
                named += is_key ? 1 : 0;
                assert_true(!is_key || str_eq(command.argv[i], command.key));
                assert_false(str_is(command.argv[i], "PUBLISH"));
            }
            assert_int_equal(named, op == STORE_TIME ? 0 : 1);
            assert_true(command.script == NULL || str_is(command.argv[2], "1"));
        }
    }
}

static void the_fullest_call_fits(void **state)
{
    (void)state;
    static char prefix[] = "sixteen-letters-";
    static struct command command;
    char id[RUN_ID_MAX + 1];
    struct run_epoch item[STORE_ITEMS_MAX];
    const struct keyspace keys = {
        .prefix = prefix, .publish = "PUBLISH", .ttl = "86400000", .audit_max = "100000"};
    memset(id, 'x', RUN_ID_MAX);
    id[RUN_ID_MAX] = '\0';
    for (size_t i = 0; i < STORE_ITEMS_MAX; i++)
        item[i] = (struct run_epoch){str_of(id), UINT32_MAX, UINT32_MAX};
    const struct store_call call = {
        .op = STORE_REPORT, .root = str_of(id), .item_count = STORE_ITEMS_MAX, .item = item};
    assert_true(command_make(&command, &keys, &call, 0));
    assert_int_equal(command.argc, 6 + 3 * STORE_ITEMS_MAX);
}

static int room_is_freed(void **state)
{
    (void)state;
    answer_room_fini(&room);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shape_that_no_script_has_is_an_error),
        cmocka_unit_test(more_items_than_were_asked_for_are_an_error),
        cmocka_unit_test(errors_are_told_apart),
        cmocka_unit_test(a_deadline_that_has_passed_is_told_as_one_millisecond),
        cmocka_unit_test(losses_are_no_replicas),
        cmocka_unit_test(random_replies_never_crash),
        cmocka_unit_test(every_call_has_its_words_and_every_script_its_call),
        cmocka_unit_test(every_call_is_about_one_key_and_says_which),
        cmocka_unit_test(the_fullest_call_fits),
    };
    return cmocka_run_group_tests(tests, NULL, room_is_freed);
}
