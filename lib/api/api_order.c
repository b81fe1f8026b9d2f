/* POST /v1/orders: what is asked for, and how an order is shown. */
#include "api/api.h"

#define FIELD(name)    API_FIELD(struct order_members, name)
#define SELECTOR(name) API_FIELD(struct selector_members, name)

enum { GRACE_MAX_MS = 24 * 3600 * 1000, WORD_MAX = 256 };
#define HOLD_MAX_MS INT64_C(2592000000) /* 30 days */

struct selector_members {
    bool all;
    struct str root, agent, thread_id;
    const json_t *labels;
};
static const struct api_member selector_members[] = {
    {SELECTOR(all), .type = API_BOOL},
    {SELECTOR(root), .type = API_ID},
    {SELECTOR(agent), .type = API_TEXT, .min = 1, .max = WORD_MAX},
    {SELECTOR(thread_id), .type = API_TEXT, .min = 1, .max = WORD_MAX},
    {SELECTOR(labels), .type = API_OBJECT, .max = LABELS_MAX},
};

struct order_members {
    const json_t *selector;
    int action;
    struct str reason, by;
    struct span grace_ms, hold_ms;
    bool dry_run;
    int64_t expect_at_most;
};
static const struct api_member order_members[] = {
    {FIELD(selector), .type = API_OBJECT, .required = true},
    {FIELD(action), .type = API_CHOICE, .choices = "interrupt|rollback|none"},
    {FIELD(reason), .type = API_TEXT, .max = TEXT_MAX_BYTES},
    {FIELD(by), .type = API_TEXT, .min = 1, .max = 128},
    {FIELD(grace_ms), .type = API_SPAN_MS, .min = 0, .max = GRACE_MAX_MS},
    {FIELD(hold_ms), .type = API_SPAN_MS, .min = 0, .max = HOLD_MAX_MS},
    {FIELD(dry_run), .type = API_BOOL},
    {FIELD(expect_at_most), .type = API_INT, .min = 0, .max = INT32_MAX},
};

static bool take_selector(const json_t *json, struct order_selector *out, struct api_fault *fault)
{
    struct selector_members asked = {0};
    if (!api_take_members(json, selector_members,
                          sizeof selector_members / sizeof *selector_members, &asked, fault))
        return false;
    *out = (struct order_selector){
        .all = asked.all, .root = asked.root, .agent = asked.agent, .thread = asked.thread_id};
    if (asked.labels != NULL
        && !api_take_labels(asked.labels, out->label, &out->label_count, fault))
        return false;
    if (!order_selects_something(out))
        return api_fault(fault, PROBLEM_INVALID, "selector",
                         "an empty selector matches nothing; for every run say \"all\": true");
    if (out->all
        && (out->label_count > 0 || out->root.len > 0 || out->agent.len > 0 || out->thread.len > 0))
        return api_fault(fault, PROBLEM_INVALID, "selector",
                         "\"all\": true goes with nothing else");
    return true;
}

bool api_order_ask(struct http_request *request, const json_t *body, struct api_order_ask *out)
{
    struct api_fault fault = {0};
    struct order_members asked = {.grace_ms = SPAN_NONE, .by = STR("user"), .expect_at_most = -1};
    *out = (struct api_order_ask){.expect_at_most = -1};
    bool is_good = api_take_members(body, order_members,
                                    sizeof order_members / sizeof *order_members, &asked, &fault)
                   && take_selector(asked.selector, &out->order.selector, &fault);
    if (is_good && asked.action == ORDER_HOLD_ONLY && asked.hold_ms.ms == 0)
        is_good = api_fault(&fault, PROBLEM_INVALID, "action",
                            "action none does nothing without hold_ms");
    if (!is_good) {
        api_answer_fault(request, &fault);
        return false;
    }
    out->order.action = (enum order_action)asked.action;
    out->order.reason = asked.reason;
    out->order.by = asked.by;
    out->order.grace = asked.grace_ms;
    out->order.hold = asked.hold_ms;
    out->dry_run = asked.dry_run;
    out->expect_at_most = asked.expect_at_most;
    return true;
}

/* ---- how it is shown ----------------------------------------------------------------------- */
static json_t *selector_json(const struct order_selector *selector)
{
    json_t *json = json_object();
    if (selector->all)
        api_set(json, "all", json_true());
    api_set_text(json, "root", selector->root);
    api_set_text(json, "agent", selector->agent);
    api_set_text(json, "thread_id", selector->thread);
    json_t *labels = selector->label_count > 0 ? json_object() : NULL;
    for (size_t i = 0; labels != NULL && i < selector->label_count; i++) {
        const struct label *label = &selector->label[i];
        json_object_setn_new(labels, label->key.at, label->key.len, api_text(label->value));
    }
    api_set(json, "labels", labels);
    return json;
}

static json_t *counts_json(const struct order_progress *progress)
{
    json_t *json = json_object();
    const struct {
        const char *name;
        int64_t number;
    } numbers[] = {
        {"trees", progress->roots},       {"matched", progress->matched},
        {"accepted", progress->accepted}, {"already", progress->already},
        {"covered", progress->covered},   {"failed", progress->failed},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        api_set(json, numbers[i].name, json_integer(numbers[i].number));
    return json;
}

static json_t *failures_json(const struct order_progress *progress)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < progress->failure_count; i++) {
        json_t *one = json_object();
        api_set_text(one, "root", progress->failure[i].root);
        api_set_text(one, "run_id", progress->failure[i].run);
        api_set_text(one, "code", progress->failure[i].code);
        json_array_append_new(list, one);
    }
    return list;
}

static void set_hold(json_t *json, const struct order *order, const struct api_order_about *about)
{
    if (order->hold.ms == 0)
        return;
    api_set_span(json, "hold_ms", order->hold);
    api_set(json, "holds", json_boolean(about->hold_left.ms > 0));
    api_set(json, "hold_left_ms", json_integer(about->hold_left.ms));
    api_set_time(json, "lifted_at", about->lifted);
}

json_t *api_order(const struct order *order, const struct api_order_about *about)
{
    const struct order_progress *progress = about->progress;
    bool is_done = progress != NULL && progress->is_done;
    json_t *json = json_object();
    api_set_text(json, "order_id", about->id);
    api_set(json, "selector", selector_json(&order->selector));
    api_set(json, "action", json_string(order_action_name(order->action)));
    api_set_text(json, "reason", order->reason);
    api_set_text(json, "by", order->by);
    api_set_time(json, "created_at", order->at);
    api_set_span(json, "grace_ms", order->grace);
    set_hold(json, order, about);
    if (about->dry_run)
        api_set(json, "dry_run", json_true());
    else
        api_set(json, "state", json_string(is_done ? "done" : "running"));
    api_set(json, "already", json_boolean(about->already));
    if (progress == NULL)
        return json;
    api_set(json, "counts", counts_json(progress));
    api_set(json, "failures", failures_json(progress));
    api_set_time(json, "finished_at", progress->finished);
    return json;
}
