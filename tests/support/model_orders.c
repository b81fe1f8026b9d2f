/* bw:orders: written once, held for a while, lifted, carried out. */
#include <inttypes.h>

#include "support/model_inside.h"
#include "wire/order.h"

/* Forgotten tombstone_ttl after its hold, as it was asked for. */
static bool is_forgotten(const struct model *model, const struct model_order *order)
{
    return order->kept_until < model->now;
}

static bool is_over(const struct model *model, const struct model_order *order)
{
    static struct order_progress progress;
    return order->hold_until <= model->now
           && wire_progress_decode(order->progress, &progress) == ERR_OK && progress.is_done;
}

static struct model_order *order_find(const struct model *model, struct str id)
{
    for (size_t i = 0; i < model->keys.order_count; i++)
        if (str_eq(model->keys.order[i].id, id))
            return &model->keys.order[i];
    return NULL;
}

static void next_version(struct model *model)
{
    struct str text = pool_keepf(model, "%" PRId64, ++model->keys.orders_version);
    model_publish(model, STR_NONE, false, text);
}

static void make_room(struct model *model)
{
    struct model_keys *keys = &model->keys;
    size_t kept = 0;
    for (size_t i = 0; i < keys->order_count; i++)
        if (!is_forgotten(model, &keys->order[i]))
            keys->order[kept++] = keys->order[i];
    keys->order_count = kept;
}

static struct model_order *oldest_over(const struct model *model)
{
    struct model_order *oldest = NULL;
    for (size_t i = 0; i < model->keys.order_count; i++) {
        struct model_order *order = &model->keys.order[i];
        if (is_over(model, order) && (oldest == NULL || order->kept_until < oldest->kept_until))
            oldest = order;
    }
    return oldest;
}

static size_t holds(const struct model *model)
{
    size_t count = 0;
    for (size_t i = 0; i < model->keys.order_count; i++)
        count += model->keys.order[i].hold_until > model->now ? 1 : 0;
    return count;
}

static void add(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct model_keys *keys = &model->keys;
    const struct model_order *stored = order_find(model, call->id);
    if (stored != NULL) {
        *out = (struct store_answer){.verdict = SAID_ALREADY, .record = stored->record};
        return;
    }
    make_room(model);
    if (call->span.ms > 0 && holds(model) >= call->max_holds) {
        *out = (struct store_answer){.verdict = SAID_FULL, .text = STR("holds")};
        return;
    }
    bool is_full = keys->order_count >= call->limit;
    struct model_order *oldest = is_full ? oldest_over(model) : NULL;
    if (is_full && oldest == NULL) {
        *out = (struct store_answer){.verdict = SAID_FULL, .text = STR("orders")};
        return;
    }
    if (oldest != NULL)
        *oldest = keys->order[--keys->order_count];
    struct model_order *order = model_append((void **)&keys->order, &keys->order_count,
                                             &keys->order_room, sizeof *keys->order);
    *order = (struct model_order){.id = pool_keep(model, call->id),
                                  .record = pool_keep(model, call->record),
                                  .progress = pool_keep(model, call->bytes),
                                  .hold_until = model->now + call->span.ms,
                                  .kept_until = model->now + call->span.ms + model->ttl};
    next_version(model);
    *out = (struct store_answer){.verdict = SAID_OK, .number = keys->orders_version};
}

static void lift(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct model_order *order = order_find(model, call->id);
    *out = (struct store_answer){.verdict = order == NULL ? SAID_NOT_FOUND : SAID_ALREADY};
    if (order == NULL || order->hold_until <= model->now)
        return;
    order->hold_until = order->lifted = model->now;
    next_version(model);
    out->verdict = SAID_OK;
}

/* By id, as the script answers them. */
static void sort(struct store_order *order, size_t count)
{
    for (size_t i = 1; i < count; i++)
        for (size_t at = i; at > 0; at--) {
            struct str a = order[at - 1].id, b = order[at].id;
            int differs = memcmp(a.at, b.at, a.len < b.len ? a.len : b.len);
            if (differs < 0 || (differs == 0 && a.len <= b.len))
                break;
            struct store_order swap = order[at];
            order[at] = order[at - 1];
            order[at - 1] = swap;
        }
}

static void read_orders(struct model *model, const struct store_call *call,
                        struct store_answer *out)
{
    size_t count = 0;
    for (size_t i = 0; i < model->keys.order_count; i++) {
        const struct model_order *order = &model->keys.order[i];
        int64_t left = order->hold_until > model->now ? order->hold_until - model->now : 0;
        bool is_wanted = call->id.len == 0 || str_eq(call->id, order->id)
                         || (str_is(call->id, "*holds") && left > 0);
        if (!is_wanted)
            continue;
        struct store_order *answer =
            model_append((void **)&model->order, &count, &model->order_room, sizeof *model->order);
        *answer = (struct store_order){.id = order->id,
                                       .record = order->record,
                                       .progress = order->progress,
                                       .hold_left = {left},
                                       .lifted_ms = order->lifted};
    }
    sort(model->order, count);
    *out = (struct store_answer){.verdict = SAID_OK,
                                 .number = model->keys.orders_version,
                                 .order_count = count,
                                 .order = model->order};
}

bool model_orders(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct model_order *order;
    switch (call->op) {
    case STORE_ORDER:
        add(model, call, out);
        return true;
    case STORE_ORDER_LIFT:
        lift(model, call, out);
        return true;
    case STORE_ORDER_PROGRESS:
        order = order_find(model, call->id);
        *out = (struct store_answer){.verdict = order != NULL ? SAID_OK : SAID_NOT_FOUND};
        if (order != NULL)
            order->progress = pool_keep(model, call->bytes);
        return true;
    case STORE_ORDERS_READ:
        read_orders(model, call, out);
        return true;
    case STORE_ORDERS_VERSION:
        *out = (struct store_answer){.verdict = SAID_OK, .number = model->keys.orders_version};
        return true;
    default:
        return false;
    }
}
