/* Orders and their progress as somebody else wrote them: decoded within their limits or refused,
 * and what was decoded is encoded to something that decodes. */
#include <assert.h>

#include "wire/order.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void check_order(struct str input)
{
    struct order order, again;
    struct buf out = {0};
    if (wire_order_decode(input, &order) != ERR_OK)
        return;
    assert(order.selector.label_count <= LABELS_MAX && order_selects_something(&order.selector));
    static const struct run_meta nobody;
    (void)order_selects(&order.selector, STR("r"), &nobody);
    assert(wire_order_encode(&order, &out) == ERR_OK);
    assert(wire_order_decode(buf_str(&out), &again) == ERR_OK);
    assert(again.hold.ms == order.hold.ms && str_eq(again.by, order.by));
    buf_fini(&out);
}

static void check_progress(struct str input)
{
    static struct order_progress progress, again;
    struct buf out = {0};
    if (wire_progress_decode(input, &progress) != ERR_OK)
        return;
    assert(progress.failure_count <= ORDER_FAILURES_MAX);
    assert(wire_progress_encode(&progress, &out) == ERR_OK);
    assert(wire_progress_decode(buf_str(&out), &again) == ERR_OK);
    assert(again.matched == progress.matched);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    check_order((struct str){(const char *)bytes, len});
    check_progress((struct str){(const char *)bytes, len});
    return 0;
}
