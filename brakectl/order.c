/* `brakectl order`: cancel every run that matches, hold new ones, and lift that again. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "brakectl/commands.h"
#include "brakectl/print.h"

struct order_settings {
    const char *agent, *thread, *root, *action, *reason, *by, *lift;
    struct flag_list labels;
    struct span grace, hold;
    int64_t expect_at_most;
    bool all, dry_run;
};

static json_t *body_of(const struct order_settings *order)
{
    json_t *body = json_object(), *selector = json_object();
    json_set_text(selector, "agent", order->agent);
    json_set_text(selector, "thread_id", order->thread);
    json_set_text(selector, "root", order->root);
    if (order->all)
        json_object_set_new(selector, "all", json_true());
    bool is_good = json_set_labels(selector, &order->labels);
    json_object_set_new(body, "selector", selector);
    json_set_text(body, "action", order->action);
    json_set_text(body, "reason", order->reason);
    json_set_text(body, "by", order->by);
    json_set_number(body, "grace_ms", order->grace.ms);
    json_set_number(body, "hold_ms", order->hold.ms);
    json_set_number(body, "expect_at_most", order->expect_at_most);
    if (order->dry_run)
        json_object_set_new(body, "dry_run", json_true());
    if (is_good)
        return body;
    json_decref(body);
    return NULL;
}

/* ---- in words ------------------------------------------------------------------------------- */
static void add_selected(struct buf *out, const char *name, const char *value)
{
    if (value[0] == '\0')
        return;
    (void)buf_addf(out, "%s%s=%s", out->len > 0 ? " " : "", name, value);
}

static void selector_text(const json_t *selector, struct buf *out)
{
    const char *key;
    json_t *value;
    add_selected(out, "agent", json_text(selector, "agent"));
    add_selected(out, "thread", json_text(selector, "thread_id"));
    add_selected(out, "root", json_text(selector, "root"));
    json_object_foreach(json_object_get(selector, "labels"), key, value)
        add_selected(out, key, json_string_value(value));
    if (out->len == 0)
        (void)buf_add_text(out, "every run");
    (void)buf_add(out, "", 1);
}

static void tell_failures(const json_t *order)
{
    size_t i;
    json_t *failure;
    json_array_foreach(json_object_get(order, "failures"), i, failure)
        printf("  not cancelled: %s (%s)\n", json_text(failure, "run_id"),
               json_text(failure, "code"));
}

static void tell_counts(const json_t *order)
{
    const json_t *counts = json_object_get(order, "counts");
    int64_t matched = json_number(counts, "matched");
    if (json_is_yes(order, "dry_run")) {
        printf("Nothing was done. %" PRId64 " live run%s of %" PRId64 " tree%s match.\n", matched,
               matched == 1 ? "" : "s", json_number(counts, "trees"),
               json_number(counts, "trees") == 1 ? "" : "s");
        return;
    }
    printf("  %s: %" PRId64 " matched, %" PRId64 " cancelled, %" PRId64
           " below one of them, %" PRId64 " were over or cancelled already, %" PRId64 " failed\n",
           json_text(order, "state"), matched, json_number(counts, "accepted"),
           json_number(counts, "covered"), json_number(counts, "already"),
           json_number(counts, "failed"));
    tell_failures(order);
}

static void tell_hold(const json_t *order)
{
    char left[24];
    if (json_number(order, "hold_ms") == 0)
        return;
    if (json_is_yes(order, "holds"))
        printf("  New runs like these are refused for %s; lift it: brakectl order --lift %s\n",
               span_text(MILLIS(json_number(order, "hold_left_ms")), left),
               json_text(order, "order_id"));
    else
        puts("  It holds no more.");
}

static void tell(const json_t *order)
{
    struct buf selected = {0};
    selector_text(json_object_get(order, "selector"), &selected);
    if (!json_is_yes(order, "dry_run"))
        printf("Order %s: %s, %s%s\n", json_text(order, "order_id"), json_text(order, "action"),
               selected.bytes, json_is_yes(order, "already") ? " (given before)" : "");
    tell_counts(order);
    tell_hold(order);
    buf_fini(&selected);
}

static void add_row(struct table *table, const json_t *order)
{
    struct buf selected = {0};
    char at[16], left[24] = "-";
    bool holds = json_is_yes(order, "holds"),
         is_done = strcmp(json_text(order, "state"), "done") == 0;
    const json_t *counts = json_object_get(order, "counts");
    selector_text(json_object_get(order, "selector"), &selected);
    if (holds)
        span_text(MILLIS(json_number(order, "hold_left_ms")), left);
    table_add(table, PLAIN, "%s", json_text(order, "order_id"));
    table_add(table, PLAIN, "%s", clock_of(json_text(order, "created_at"), at));
    table_add(table, PLAIN, "%s", json_text(order, "action"));
    table_add(table, is_done ? GREEN : YELLOW, "%s", json_text(order, "state"));
    table_add(table, holds ? RED : DIM, "%s", left);
    table_add(table, PLAIN, "%" PRId64, json_number(counts, "matched"));
    table_add(table, PLAIN, "%s", selected.bytes);
    table_add(table, DIM, "%s", json_text(order, "reason"));
    buf_fini(&selected);
}

static void print_orders(const struct ctl *ctl, const json_t *answer)
{
    static const char *const headings[] = {"ORDER", "GIVEN",   "ACTION",   "STATE",
                                           "HOLDS", "MATCHED", "SELECTOR", "REASON"};
    struct table table;
    struct buf out = {0};
    size_t i;
    json_t *order;
    table_init(&table, sizeof headings / sizeof *headings);
    for (size_t k = 0; k < table.columns; k++)
        table_add(&table, BOLD, "%s", headings[k]);
    json_array_foreach(json_object_get(answer, "orders"), i, order) add_row(&table, order);
    table_print(&table, ctl->colour, &out);
    fwrite(out.bytes, 1, out.len, stdout);
    buf_fini(&out);
    table_fini(&table);
}

static void show(const struct ctl *ctl, const json_t *answer)
{
    if (ctl->json)
        json_show(answer);
    else if (json_object_get(answer, "orders") == NULL)
        tell(answer);
    else if (json_array_size(json_object_get(answer, "orders")) == 0)
        puts("no orders");
    else
        print_orders(ctl, answer);
}

/* ---- the command ---------------------------------------------------------------------------- */
static bool selects_something(const struct order_settings *order)
{
    return order->all || order->agent != NULL || order->thread != NULL || order->root != NULL
           || order->labels.count > 0;
}

/* Who says how, and not which runs, did not mean to look at a list. */
static bool says_how(const struct order_settings *order)
{
    return order->action != NULL || order->reason != NULL || order->by != NULL
           || order->grace.ms >= 0 || order->hold.ms >= 0 || order->expect_at_most >= 0
           || order->dry_run;
}

static const char *misuse(const struct order_settings *order, bool gives, bool names_one)
{
    if (gives && names_one)
        return "give an order, or look at or lift one: not both";
    if (!gives && says_how(order))
        return "which runs? --agent, --label, --thread, --root, or --all; they give an order";
    return NULL;
}

static int order_main(const struct ctl *ctl, const void *settings, int count, char *words[])
{
    const struct order_settings *order = settings;
    struct answer answer;
    char path[256] = "/v1/orders", escaped[200];
    bool gives = selects_something(order), names_one = count == 1 || order->lift != NULL;
    const char *wrong = misuse(order, gives, names_one);
    if (wrong != NULL) {
        fprintf(stderr, "brakectl: %s\n", wrong);
        return EXIT_USAGE;
    }
    if (names_one) {
        url_escape(order->lift != NULL ? order->lift : words[0], escaped, sizeof escaped);
        snprintf(path, sizeof path, "/v1/orders/%s", escaped);
    }
    json_t *body = gives ? body_of(order) : NULL;
    if (gives && body == NULL)
        return EXIT_USAGE;
    broker_answer_to(ctl,
                     gives                 ? "POST"
                     : order->lift != NULL ? "DELETE"
                                           : "GET",
                     path, body, &answer);
    int code = EXIT_DONE;
    if (answer_is_good(&answer))
        show(ctl, answer.json);
    else
        code = answer_complain(ctl, &answer, ctl->broker);
    answer_fini(&answer);
    return code;
}

#define FIELD(name) offsetof(struct order_settings, name)
static const struct flag order_flags[] = {
    {"agent", FLAG_TEXT, FIELD(agent), "NAME", "runs of this agent"},
    {"label", FLAG_LIST, FIELD(labels), "KEY=VALUE",
     "with this label; up to 16 times, all of them"},
    {"thread", FLAG_TEXT, FIELD(thread), "ID", "of this thread"},
    {"root", FLAG_TEXT, FIELD(root), "RUN", "of this tree"},
    {"all", FLAG_YES, FIELD(all), NULL, "every run there is"},
    {"reason", FLAG_TEXT, FIELD(reason), "TEXT", "why; every run is told, and it is kept"},
    {"action", FLAG_CHOICE, FIELD(action), "interrupt|rollback|none",
     "keep what the runs wrote (the default), discard it, or only hold new ones"},
    {"hold", FLAG_SPAN, FIELD(hold), "TIME", "refuse new runs like these for so long"},
    {"grace", FLAG_SPAN, FIELD(grace), "TIME", "shorten every grace to this; 0: kill now"},
    {"dry-run", FLAG_YES, FIELD(dry_run), NULL, "only say how many match"},
    {"expect-at-most", FLAG_NUMBER, FIELD(expect_at_most), "N", "refuse if more match"},
    {"lift", FLAG_TEXT, FIELD(lift), "ORDER", "end its hold before its time"},
    {"by", FLAG_TEXT, FIELD(by), "WHO", "who asks, for the record"},
};

static const struct order_settings order_defaults = {
    .grace = {-1}, .hold = {-1}, .expect_at_most = -1};

const struct command command_order = {
    .name = "order",
    .words = "[ORDER]",
    .about = "cancel every run that matches, hold new ones; without flags: list the orders",
    .examples =
        "  brakectl order --agent researcher --label version=1.4 --dry-run\n"
        "  brakectl order --agent researcher --label version=1.4 --reason 'bad prompt' --hold 10m\n"
        "  brakectl order --all --reason 'stop everything'\n"
        "  brakectl order                      what was ordered, and how far it is\n"
        "  brakectl order ORDER                one of them\n"
        "  brakectl order --lift ORDER         let new runs start again\n",
    COMMAND_FLAGS(order_flags),
    COMMAND_SETTINGS(struct order_settings),
    .defaults = &order_defaults,
    .words_max = 1,
    .run = order_main,
};
