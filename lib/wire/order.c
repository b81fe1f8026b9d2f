#include "wire/order.h"

#include "wire/pack.h"

enum { ORDER_VERSION = 1 };

/* order: version all root agent thread [key value…] action reason by at_ms grace_ms hold_ms */

static void read_selector_labels(struct reader *in, struct order_selector *selector)
{
    struct reader labels = take_array(in);
    if (labels.left > (size_t)LABELS_MAX * 2) {
        reader_fail(in, ERR_TOO_LARGE);
        return;
    }
    while (labels.left > 0 && labels.err == ERR_OK) {
        struct label *label = &selector->label[selector->label_count++];
        label->key = take_text(&labels);
        label->value = take_text(&labels);
    }
    if (labels.err != ERR_OK)
        reader_fail(in, labels.err);
}

static struct order read_order(struct reader *in)
{
    struct order order = {.grace = SPAN_NONE};
    take_version(in, ORDER_VERSION);
    order.selector.all = take_bool(in);
    order.selector.root = take_text(in);
    order.selector.agent = take_text(in);
    order.selector.thread = take_text(in);
    read_selector_labels(in, &order.selector);
    order.action = (enum order_action)take_int(in, ORDER_INTERRUPT, ORDER_HOLD_ONLY);
    order.reason = take_text(in);
    order.by = take_text(in);
    order.at = take_wall(in);
    order.grace = (struct span){take_int(in, SPAN_NONE.ms, INT64_MAX)};
    order.hold = (struct span){take_int(in, 0, INT64_MAX)};
    if (in->err == ERR_OK && !order_selects_something(&order.selector))
        reader_fail(in, ERR_MALFORMED);
    return order;
}

enum err wire_order_decode(struct str bytes, struct order *out)
{
    msgpack_unpacked memory;
    struct reader in;
    struct order order;
    enum err err = reader_open(bytes, &memory, &in);
    if (err == ERR_OK) {
        order = read_order(&in);
        err = in.err;
    }
    msgpack_unpacked_destroy(&memory);
    if (err == ERR_OK)
        *out = order;
    return err;
}

enum err wire_order_encode(const struct order *order, struct buf *out)
{
    const struct order_selector *selector = &order->selector;
    struct writer writer;
    writer_open(&writer, out);
    put_array(&writer, 12);
    put_int(&writer, ORDER_VERSION);
    put_bool(&writer, selector->all);
    put_text(&writer, selector->root);
    put_text(&writer, selector->agent);
    put_text(&writer, selector->thread);
    put_array(&writer, selector->label_count * 2);
    for (size_t i = 0; i < selector->label_count; i++) {
        put_text(&writer, selector->label[i].key);
        put_text(&writer, selector->label[i].value);
    }
    put_int(&writer, (int64_t)order->action);
    put_text(&writer, order->reason);
    put_text(&writer, order->by);
    put_int(&writer, order->at.ms);
    put_int(&writer, order->grace.ms);
    put_int(&writer, order->hold.ms);
    return writer_close(&writer);
}

/* progress: version done roots matched accepted already covered failed finished_ms
 * [[root run code]…] */

static void read_failures(struct reader *in, struct order_progress *progress)
{
    struct reader failures = take_array(in);
    if (failures.left > ORDER_FAILURES_MAX) {
        reader_fail(in, ERR_TOO_LARGE);
        return;
    }
    progress->failure_count = 0;
    while (failures.left > 0 && failures.err == ERR_OK) {
        struct reader fields = take_array(&failures);
        struct order_failure *failure = &progress->failure[progress->failure_count++];
        failure->root = take_text(&fields);
        failure->run = take_text(&fields);
        failure->code = take_text(&fields);
        if (fields.err != ERR_OK)
            reader_fail(&failures, fields.err);
    }
    if (failures.err != ERR_OK)
        reader_fail(in, failures.err);
}

static void read_progress(struct reader *in, struct order_progress *progress)
{
    take_version(in, ORDER_VERSION);
    progress->is_done = take_bool(in);
    progress->roots = take_int(in, 0, INT64_MAX);
    progress->matched = take_int(in, 0, INT64_MAX);
    progress->accepted = take_int(in, 0, INT64_MAX);
    progress->already = take_int(in, 0, INT64_MAX);
    progress->covered = take_int(in, 0, INT64_MAX);
    progress->failed = take_int(in, 0, INT64_MAX);
    progress->finished = take_wall(in);
    read_failures(in, progress);
}

enum err wire_progress_decode(struct str bytes, struct order_progress *out)
{
    msgpack_unpacked memory;
    struct reader in;
    struct order_progress progress = {0};
    enum err err = reader_open(bytes, &memory, &in);
    if (err == ERR_OK) {
        read_progress(&in, &progress);
        err = in.err;
    }
    msgpack_unpacked_destroy(&memory);
    if (err == ERR_OK)
        *out = progress;
    return err;
}

enum err wire_progress_encode(const struct order_progress *progress, struct buf *out)
{
    struct writer writer;
    writer_open(&writer, out);
    put_array(&writer, 10);
    put_int(&writer, ORDER_VERSION);
    put_bool(&writer, progress->is_done);
    put_int(&writer, progress->roots);
    put_int(&writer, progress->matched);
    put_int(&writer, progress->accepted);
    put_int(&writer, progress->already);
    put_int(&writer, progress->covered);
    put_int(&writer, progress->failed);
    put_int(&writer, progress->finished.ms);
    put_array(&writer, progress->failure_count);
    for (size_t i = 0; i < progress->failure_count; i++) {
        put_array(&writer, 3);
        put_text(&writer, progress->failure[i].root);
        put_text(&writer, progress->failure[i].run);
        put_text(&writer, progress->failure[i].code);
    }
    return writer_close(&writer);
}
