/* Every decoder of msgpack, and the text form: whatever comes, nothing is read beyond the bytes,
 * and what was understood can be written and understood again as the same.
 *
 * The first byte says which decoder is asked. */
#include <assert.h>

#include "base/buf.h"
#include "wire/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* Encoding is not always the same bytes (others may write wide integers), but the second time it
 * must be what it was the first time. */
#define ROUND_TRIP(type, decode, encode)                                          \
    static void round_trip_##type(struct str bytes)                               \
    {                                                                             \
        static struct type first, second;                                         \
        struct buf once = {0}, twice = {0};                                       \
        if (decode(bytes, &first) == ERR_OK && encode(&first, &once) == ERR_OK) { \
            assert(decode(buf_str(&once), &second) == ERR_OK);                    \
            assert(encode(&second, &twice) == ERR_OK);                            \
            assert(str_eq(buf_str(&once), buf_str(&twice)));                      \
        }                                                                         \
        buf_fini(&once);                                                          \
        buf_fini(&twice);                                                         \
    }
ROUND_TRIP(message, wire_message_decode, wire_message_encode)
ROUND_TRIP(cancel_record, wire_record_decode, wire_record_encode)
ROUND_TRIP(run_meta, wire_meta_decode, wire_meta_encode)
ROUND_TRIP(run_link, wire_link_decode, wire_link_encode)
ROUND_TRIP(stop_story, wire_story_decode, wire_story_encode)

static void read_text_cancel(struct str bytes)
{
    struct str run, reason;
    if (wire_text_cancel(bytes, &run, &reason) != ERR_OK)
        return;
    assert(id_is_valid(run));
    assert(str_is_utf8(reason) && reason.len < bytes.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static void (*const decoder[])(struct str bytes) = {
        round_trip_message,  round_trip_cancel_record, round_trip_run_meta,
        round_trip_run_link, round_trip_stop_story,    read_text_cancel,
    };
    if (len > 0)
        decoder[bytes[0] % 6]((struct str){(const char *)bytes + 1, len - 1});
    return 0;
}
