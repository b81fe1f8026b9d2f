/* Replies of a server that is not ours, or was changed: read for every question that we ask,
 * without a crash, and what was understood lies within the reply.
 *
 * The first byte says what was asked; what follows is RESP. */
#include <assert.h>
#include <hiredis/hiredis.h>

#include "store/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* Reads each byte, so that ASan sees one that is not there. */
static void look_at(struct str text)
{
    volatile char last = 0;
    for (size_t i = 0; i < text.len; i++)
        last = text.at[i];
    (void)last;
}

static void look_through(const struct store_answer *answer)
{
    const struct str texts[] = {answer->path,        answer->ban,   answer->record,
                                answer->incarnation, answer->owner, answer->text};
    assert(answer->verdict < SAID_COUNT && answer->item_count <= STORE_ITEMS_MAX);
    assert(answer->state < RUN_STATE_COUNT && answer->finished_anyway < RUN_STATE_COUNT);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        look_at(texts[i]);
    for (size_t i = 0; i < answer->item_count; i++) {
        look_at(answer->item[i].ban);
        look_at(answer->item[i].record);
    }
    for (size_t i = 0; i < answer->list_count; i++) {
        look_at(answer->list[i]);
        if (answer->score != NULL)
            assert(answer->score[i] == answer->score[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct answer_room room;
    void *reply = NULL;
    if (len == 0)
        return 0;
    enum store_op op = (enum store_op)(bytes[0] % STORE_OP_COUNT);
    redisReader *reader = redisReaderCreate();
    assert(reader != NULL);
    reader->maxelements = 4096; /* as the link bounds it, only smaller: hiredis asks for it all */
    (void)redisReaderFeed(reader, (const char *)bytes + 1, len - 1);
    while (redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL) {
        struct store_answer answer;
        answer_read(op, reply, &room, &answer);
        look_through(&answer);
        freeReplyObject(reply);
    }
    redisReaderFree(reader);
    answer_room_fini(&room);
    return 0;
}
