/* Which slot a key is in, and what servers say about slots. */
#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "io/redis_slots.h"

/* The numbers are those of CLUSTER KEYSLOT. */
static void slots_are_those_of_the_servers(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        unsigned slot;
    } known[] = {
        {"123456789", 0x31c3}, {"", 0},        {"bw:gen", 3332}, {"{b}ctl", 3300},
        {"b", 3300},           {"{}b", 6680},  {"{b", 6215},     {"a{b}c{d}", 3300},
        {"{{b}}", 6215},       {"foo", 12182}, {"bar", 5061},    {"bw:{root}:watch", 15680},
        {"root", 15680},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_int_equal(slot_of(str_of(known[i].key)), known[i].slot);
}

static void redirections_are_read(void **state)
{
    (void)state;
    struct redirect found;
    assert_true(redirect_read(STR("MOVED 3999 127.0.0.1:6381"), &found));
    assert_false(found.is_ask);
    assert_int_equal(found.slot, 3999);
    assert_true(str_is(found.host, "127.0.0.1"));
    assert_int_equal(found.port, 6381);
    assert_true(redirect_read(STR("ASK 0 fd00::1:7000"), &found));
    assert_true(found.is_ask);
    assert_true(str_is(found.host, "fd00::1"));
    assert_true(redirect_read(STR("MOVED 16383 :6381"), &found));
    assert_int_equal(found.host.len, 0);
}

static void what_is_no_redirection_is_none(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "MOVED",
        "MOVED ",
        "MOVED 1",
        "MOVED 1 ",
        "MOVED 1 host",
        "MOVED 1 host:",
        "MOVED 1 host:0",
        "MOVED 1 host:65536",
        "MOVED 16384 host:1",
        "MOVED -1 host:1",
        "MOVED x host:1",
        "MOVEDX 1 host:1",
        "ERR MOVED 1 host:1",
    };
    struct redirect found;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(redirect_read(str_of(wrong[i]), &found));
}

/* One element of CLUSTER SLOTS, as a server writes it. */
static bool reads(const char *bytes, struct slot_range *out)
{
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    static char host[64];
    redisReaderFeed(reader, bytes, strlen(bytes));
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_non_null(reply);
    bool is_range = slot_range_read(reply, out);
    if (is_range && out->host.len > 0) { /* it lends from the reply */
        memcpy(host, out->host.at, out->host.len);
        out->host.at = host;
    }
    freeReplyObject(reply);
    redisReaderFree(reader);
    return is_range;
}

static void ranges_are_read(void **state)
{
    (void)state;
    struct slot_range range;
    assert_true(
        reads("*3\r\n:0\r\n:5460\r\n*4\r\n$4\r\nhost\r\n:7000\r\n$1\r\ni\r\n*0\r\n", &range));
    assert_int_equal(range.first, 0);
    assert_int_equal(range.last, 5460);
    assert_true(str_is(range.host, "host"));
    assert_int_equal(range.port, 7000);
    assert_true(reads("*3\r\n:7\r\n:7\r\n*2\r\n$-1\r\n:7000\r\n", &range));
    assert_int_equal(range.host.len, 0);
    assert_true(reads("*3\r\n:7\r\n:7\r\n*2\r\n$1\r\n?\r\n:7000\r\n", &range));
    assert_int_equal(range.host.len, 0);
}

static void what_is_no_range_is_none(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        ":1\r\n",
        "*0\r\n",
        "*2\r\n:0\r\n:1\r\n",
        "*3\r\n:1\r\n:0\r\n*2\r\n$1\r\nh\r\n:1\r\n",
        "*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\nh\r\n:1\r\n",
        "*3\r\n:-1\r\n:1\r\n*2\r\n$1\r\nh\r\n:1\r\n",
        "*3\r\n$1\r\n0\r\n:1\r\n*2\r\n$1\r\nh\r\n:1\r\n",
        "*3\r\n:0\r\n:1\r\n*1\r\n$1\r\nh\r\n",
        "*3\r\n:0\r\n:1\r\n*2\r\n$1\r\nh\r\n:0\r\n",
        "*3\r\n:0\r\n:1\r\n*2\r\n$1\r\nh\r\n$1\r\n7\r\n",
        "*3\r\n:0\r\n:1\r\n$1\r\nh\r\n",
    };
    struct slot_range range;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(reads(wrong[i], &range));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_those_of_the_servers), cmocka_unit_test(redirections_are_read),
        cmocka_unit_test(what_is_no_redirection_is_none), cmocka_unit_test(ranges_are_read),
        cmocka_unit_test(what_is_no_range_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
