#include "api/api_codec.h"

#include "wire/message.h"
#include "wire/order.h"

/* One for all, and kept: this runs for every run that starts. We are on one thread. */
static struct buf scratch = {.limit = MESSAGE_MAX_BYTES};

static size_t hand_over(enum err err, char *out)
{
    size_t len = err == ERR_OK && !scratch.failed ? scratch.len : 0;
    if (len > 0)
        memcpy(out, scratch.bytes, len);
    buf_clear(&scratch);
    return len;
}

size_t api_encode_record(const struct cancel_record *record, char *out)
{
    return hand_over(wire_record_encode(record, &scratch), out);
}

bool api_decode_record(struct str bytes, struct cancel_record *out)
{
    return wire_record_decode(bytes, out) == ERR_OK;
}

size_t api_encode_meta(const struct run_meta *meta, char *out)
{
    return hand_over(wire_meta_encode(meta, &scratch), out);
}

size_t api_encode_link(const struct run_link *link, char *out)
{
    return hand_over(wire_link_encode(link, &scratch), out);
}

size_t api_encode_story(const struct stop_story *story, char *out)
{
    return hand_over(wire_story_encode(story, &scratch), out);
}

bool api_decode_meta(struct str bytes, struct run_meta *out)
{
    return wire_meta_decode(bytes, out) == ERR_OK;
}

size_t api_encode_order(const struct order *order, char *out)
{
    return hand_over(wire_order_encode(order, &scratch), out);
}

bool api_decode_order(struct str bytes, struct order *out)
{
    return wire_order_decode(bytes, out) == ERR_OK;
}

bool api_decode_progress(struct str bytes, struct order_progress *out)
{
    return wire_progress_decode(bytes, out) == ERR_OK;
}

size_t api_encode_progress(const struct order_progress *progress, char *out)
{
    return hand_over(wire_progress_encode(progress, &scratch), out);
}
