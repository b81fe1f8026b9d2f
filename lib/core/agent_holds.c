/* Orders that refuse new runs.
 *
 * What holds is read at every link-up, when something is said on bw:orders, and when the version
 * has changed: that is asked at every reconcile, and once more behind each fresh start. The order
 * was written before the fleet is scanned for it, so a run that started before the order is found
 * by the scan, and one that started after it by its agentd, here. A hold refuses fresh starts only,
 * never an adoption or an assertion, and in mode observe nothing. */
#include "base/mem.h"
#include "core/agent_inside.h"

static void drop_all(struct agent *agent)
{
    for (size_t i = 0; i < agent->hold_count; i++)
        throw_away(agent, agent->hold[i]);
    agent->hold_count = 0;
}

void holds_fini(struct agent *agent)
{
    for (size_t i = 0; i < agent->hold_count; i++)
        mem_free(agent->hold[i]);
}

/* ---- asking -------------------------------------------------------------------------------- */
/* What has started before this call is sent is judged by its answer. */
static void cover_all(struct agent *agent)
{
    LIST_EACH (at, then, &agent->unchecked) {
        link_remove(at);
        list_add_last(&agent->in_check, at);
    }
}

/* One at a time: what starts meanwhile is covered by the next. */
static void pump(struct agent *agent)
{
    if (!agent->is_linked || agent->orders_on_their_way)
        return;
    bool reads = agent->wants_orders && instant_reached(agent->now, agent->orders_due);
    if (!reads && !agent->wants_version && list_is_empty(&agent->unchecked))
        return;
    cover_all(agent);
    agent->orders_on_their_way = true;
    agent->wants_version = false;
    struct call about = {.kind = reads ? CALL_ORDERS : CALL_ORDERS_VERSION};
    if (!reads) {
        want_call(agent, STORE_ORDERS_VERSION, &about);
        return;
    }
    agent->wants_orders = false;
    agent->orders_due = instant_after(agent->now, MILLIS(HOLDS_AGAIN_MS));
    want_call(agent, STORE_ORDERS_READ, &about)->id = STR("*holds");
}

void holds_read(struct agent *agent)
{
    agent->wants_orders = true;
    agent->orders_due = agent->now;
    pump(agent);
}

void holds_seen(struct agent *agent)
{
    agent->wants_orders = true;
    pump(agent);
    agent_set_due(agent);
}

void holds_check(struct agent *agent)
{
    agent->wants_version = true;
    pump(agent);
}

void holds_due(struct agent *agent)
{
    if (agent->wants_orders && instant_reached(agent->now, agent->orders_due))
        pump(agent);
}

/* ---- one run ------------------------------------------------------------------------------- */
const struct hold *hold_over(const struct agent *agent, struct str root,
                             const struct run_meta *meta)
{
    if (agent->options.mode == MODE_OBSERVE)
        return NULL;
    for (size_t i = 0; i < agent->hold_count; i++) {
        const struct hold *hold = agent->hold[i];
        if (!instant_reached(agent->now, hold->until)
            && order_selects(&hold->order.selector, root, meta))
            return hold;
    }
    return NULL;
}

static void stop_if_held(struct agent *agent, struct agent_run *run)
{
    struct run_meta meta;
    if (!run_is_listed_live(run) || run->is_told || !agent->options.decode_meta(run->meta, &meta))
        return;
    const struct hold *hold = hold_over(agent, str_of(run->root->id), &meta);
    if (hold == NULL)
        return;
    struct cancel_record record = own_record(agent, str_of(run->root->id), run->id, "held");
    if (hold->order.reason.len > 0)
        record.reason = hold->order.reason;
    record.by = str_of(hold->by);
    record.grace = hold->order.grace;
    if (hold->order.action == ORDER_ROLLBACK)
        record.action = ACTION_ROLLBACK;
    (void)cancel_here(agent, &record);
}

/* What is known to hold by now stops it at once; whether more does, the version tells. */
void hold_check_run(struct agent *agent, struct agent_run *run)
{
    if (agent->options.mode == MODE_OBSERVE)
        return;
    stop_if_held(agent, run);
    list_add_last(&agent->unchecked, &run->in_unchecked);
    pump(agent);
}

/* Also where nothing is new: the news may have come between the look at the holds and the start. */
static void judge_covered(struct agent *agent)
{
    LIST_EACH (at, then, &agent->in_check) {
        link_remove(at);
        if (agent->hold_count > 0)
            stop_if_held(agent, LIST_OWNER(at, struct agent_run, in_unchecked));
    }
}

/* ---- answers ------------------------------------------------------------------------------- */
static void keep_hold(struct agent *agent, const struct store_order *stored)
{
    struct order order;
    if (agent->hold_count == HOLDS_MAX || stored->hold_left.ms <= 0 || !id_is_valid(stored->id)
        || !agent->options.decode_order(stored->record, &order)) {
        want_count(agent, COUNT_MALFORMED, PROBLEM_NONE, (struct wall){0});
        return;
    }
    struct hold *hold = mem_new(sizeof *hold + stored->record.len);
    if (hold == NULL) {
        agent->is_starved = true;
        return;
    }
    memcpy(hold->by, "order:", 6);
    memcpy(hold->by + 6, stored->id.at, stored->id.len);
    memcpy(hold->bytes, stored->record.at, stored->record.len);
    hold->until = instant_after(agent->now, stored->hold_left);
    (void)agent->options.decode_order((struct str){hold->bytes, stored->record.len}, &hold->order);
    agent->hold[agent->hold_count++] = hold;
}

static void take_orders(struct agent *agent, const struct store_answer *answer)
{
    drop_all(agent);
    for (size_t i = 0; i < answer->order_count; i++)
        keep_hold(agent, &answer->order[i]);
    agent->orders_version = answer->number;
    judge_covered(agent);
}

void holds_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    agent->orders_on_their_way = false;
    if (answer->verdict != SAID_OK) {
        agent->wants_orders = true; /* at the next link-up, or in a moment */
        agent->orders_due = instant_after(agent->now, MILLIS(RETRY_MAX_MS));
    } else if (call->kind == CALL_ORDERS) {
        take_orders(agent, answer);
    } else if (answer->number == agent->orders_version) {
        judge_covered(agent);
    } else {
        agent->wants_orders = true;
        agent->orders_due = agent->now;
    }
    pump(agent);
    agent_set_due(agent);
}
