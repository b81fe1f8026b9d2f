/* core/order.h <-> msgpack bytes: the fields `o:<id>` and `p:<id>` of bw:orders. As wire/message.h:
 * unknown trailing fields are ignored, everything else that differs is refused. */
#ifndef WIRE_ORDER_H
#define WIRE_ORDER_H

#include "base/buf.h"
#include "base/err.h"
#include "core/order.h"

enum err wire_order_decode(struct str bytes, struct order *out) MUST_CHECK;
enum err wire_order_encode(const struct order *order, struct buf *out) MUST_CHECK;
enum err wire_progress_decode(struct str bytes, struct order_progress *out) MUST_CHECK;
enum err wire_progress_encode(const struct order_progress *progress, struct buf *out) MUST_CHECK;

#endif
