/* The encoders that the cores borrow (core/agent.h, core/cancels.h, core/broker.h): lib/wire behind
 * the signatures that a core may name. Each writes at most MESSAGE_MAX_BYTES to `out` and answers
 * their number, 0 when it does not fit. */
#ifndef API_CODEC_H
#define API_CODEC_H

#include "core/message.h"
#include "core/order.h"

size_t api_encode_record(const struct cancel_record *record, char *out);
bool api_decode_record(struct str bytes, struct cancel_record *out);
size_t api_encode_meta(const struct run_meta *meta, char *out);
size_t api_encode_link(const struct run_link *link, char *out);
size_t api_encode_story(const struct stop_story *story, char *out);
bool api_decode_meta(struct str bytes, struct run_meta *out);
size_t api_encode_order(const struct order *order, char *out);
bool api_decode_order(struct str bytes, struct order *out);
bool api_decode_progress(struct str bytes, struct order_progress *out);
size_t api_encode_progress(const struct order_progress *progress, char *out);

#endif
