#include "core/order.h"

const char *order_action_name(enum order_action action)
{
    static const char *const name[] = {
        [ORDER_INTERRUPT] = "interrupt", [ORDER_ROLLBACK] = "rollback", [ORDER_HOLD_ONLY] = "none"};
    return name[action];
}

static bool has_label(const struct run_meta *meta, const struct label *wanted)
{
    for (size_t i = 0; i < meta->label_count; i++)
        if (str_eq(meta->label[i].key, wanted->key))
            return str_eq(meta->label[i].value, wanted->value);
    return false;
}

static bool is_as_given(struct str given, struct str has)
{
    return given.len == 0 || str_eq(given, has);
}

bool order_selects(const struct order_selector *selector, struct str root,
                   const struct run_meta *meta)
{
    for (size_t i = 0; i < selector->label_count; i++)
        if (!has_label(meta, &selector->label[i]))
            return false;
    return is_as_given(selector->root, root) && is_as_given(selector->agent, meta->agent)
           && is_as_given(selector->thread, meta->thread);
}

bool order_selects_something(const struct order_selector *selector)
{
    return selector->all || selector->label_count > 0 || selector->root.len > 0
           || selector->agent.len > 0 || selector->thread.len > 0;
}
