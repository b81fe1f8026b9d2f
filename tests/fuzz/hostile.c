#include "fuzz/hostile.h"

#include <assert.h>
#include <hiredis/hiredis.h>

#include "api/api_codec.h"

static char long_id[101];
static char record[MESSAGE_MAX_BYTES], meta[MESSAGE_MAX_BYTES];
static struct str words[] = {
    {"", 0},
    {"r", 1},
    {"a", 1},
    {"b", 1},
    {"here", 4},
    {"r.a", 3},
    {"r.a.b", 5},
    {"r..b", 4},
    {"a..", 3},
    {"0", 1},
    {"1", 1},
    {"2", 1},
    {"1000", 4},
    {"-1", 2},
    {"4294967295", 10},
    {"9223372036854775807", 19},
    {"s", 1},
    {"S", 1},
    {"L", 1},
    {"C", 1},
    {"-", 1},
    {"runs", 4},
    {"children", 8},
    {"unauthorized", 12},
    {"unknown", 7},
    {"started", 7},
    {"already", 7},
    {"exists", 6},
    {"refused", 7},
    {"over", 4},
    {"full", 4},
    {"adopted", 7},
    {"stop", 4},
    {"fenced", 6},
    {"accepted", 8},
    {"not_found", 9},
    {"ended", 5},
    {"not_cancelled", 13},
    {"ok", 2},
    {"go", 2},
    {"behind", 6},
    {"lost", 4},
    {"linked", 6},
    {"granted", 7},
    {"frozen", 6},
    {long_id, 100},
    {record, 0},
    {meta, 0},
};
enum { WORDS = sizeof words / sizeof words[0] };

static void make_words(void)
{
    const struct cancel_record ban = {.root = STR("r"),
                                      .target = STR("a"),
                                      .reason = STR("stop"),
                                      .by = STR("x"),
                                      .grace = SPAN_NONE,
                                      .cause = STR("r.a")};
    const struct run_meta of_run = {.born_on = STR("here"), .token_hash = STR("0123456789abcdef")};
    memset(long_id, 'x', sizeof long_id - 1);
    words[WORDS - 2].len = api_encode_record(&ban, record);
    words[WORDS - 1].len = api_encode_meta(&of_run, meta);
    assert(words[WORDS - 2].len > 0 && words[WORDS - 1].len > 0);
}

unsigned script_next(struct script *script)
{
    return script->at < script->len ? script->bytes[script->at++] : 0;
}

struct str script_id(struct script *script)
{
    static const char *const ids[] = {"r", "a", "b", "c"};
    return str_of(ids[script_next(script) % 4]);
}

static struct str next_word(struct script *script)
{
    return words[script_next(script) % WORDS];
}

static void add_words(struct script *script, struct buf *resp, unsigned count)
{
    buf_addf(resp, "*%u\r\n", count);
    for (unsigned i = 0; i < count; i++) {
        struct str word = next_word(script);
        buf_addf(resp, "$%zu\r\n", word.len);
        buf_add_str(resp, word);
        buf_add_text(resp, "\r\n");
    }
}

static void add_reply(struct script *script, struct buf *resp)
{
    unsigned kind = script_next(script);
    switch (kind % 8) {
    case 0:
        buf_addf(resp, ":%u\r\n", script_next(script));
        break;
    case 1:
        buf_add_text(resp, "_\r\n");
        break;
    case 2:
        buf_add_text(resp, kind < 128 ? "-READONLY\r\n" : "-ERR no\r\n");
        break;
    case 3: {
        unsigned items = script_next(script) % 70;
        buf_addf(resp, "*%u\r\n", items);
        for (unsigned i = 0; i < items; i++)
            add_words(script, resp, 7);
        break;
    }
    default:
        add_words(script, resp, script_next(script) % 16);
    }
}

void script_answer(struct script *script, enum store_op op, struct store_answer *out)
{
    static struct answer_room room;
    static redisReader *reader;
    static void *reply;
    struct buf resp = {0};
    if (words[WORDS - 1].len == 0)
        make_words();
    if (reply != NULL)
        freeReplyObject(reply);
    if (reader != NULL)
        redisReaderFree(reader);
    reply = NULL;
    reader = redisReaderCreate();
    add_reply(script, &resp);
    assert(reader != NULL && !resp.failed);
    assert(redisReaderFeed(reader, resp.bytes, resp.len) == REDIS_OK);
    assert(redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL);
    buf_fini(&resp);
    answer_read(op, reply, &room, out);
}
