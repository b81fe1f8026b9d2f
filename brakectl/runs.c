/* `brakectl runs`: what runs where. */
#include <stdio.h>
#include <string.h>

#include "brakectl/commands.h"
#include "brakectl/print.h"
#include "brakectl/tree_view.h"

struct runs_settings {
    const char *state, *agent, *label, *thread, *root;
    int64_t limit;
};

enum { QUERY_ROOM = 2048, PAGE_MAX = 1000 };

static void query_add(char query[QUERY_ROOM], const char *name, const char *value)
{
    char escaped[400];
    if (value == NULL)
        return;
    size_t len = strlen(query);
    url_escape(value, escaped, sizeof escaped);
    snprintf(query + len, QUERY_ROOM - len, "%c%s=%s", strchr(query, '?') != NULL ? '&' : '?', name,
             escaped);
}

static void query_make(char query[QUERY_ROOM], const struct runs_settings *runs, int64_t limit,
                       const char *cursor)
{
    char number[24], label[300];
    snprintf(query, QUERY_ROOM, "/v1/runs");
    snprintf(number, sizeof number, "%lld", (long long)(limit < PAGE_MAX ? limit : PAGE_MAX));
    query_add(query, "limit", number);
    query_add(query, "state", runs->state);
    query_add(query, "agent", runs->agent);
    query_add(query, "thread", runs->thread);
    query_add(query, "root", runs->root);
    if (runs->label != NULL) { /* key=value as everywhere here; the broker writes key:value */
        snprintf(label, sizeof label, "%s", runs->label);
        char *mark = strchr(label, '=');
        if (mark != NULL)
            *mark = ':';
        query_add(query, "label", label);
    }
    query_add(query, "cursor", cursor);
}

/* Follows the cursor until `limit` runs are in `all`. */
static bool ask_all(const struct ctl *ctl, const struct runs_settings *runs, json_t *all,
                    struct answer *answer)
{
    char query[QUERY_ROOM], cursor[600] = "";
    do {
        int64_t left = runs->limit - (int64_t)json_array_size(all);
        query_make(query, runs, left, cursor[0] != '\0' ? cursor : NULL);
        broker_answer_to(ctl, "GET", query, NULL, answer);
        if (!answer_is_good(answer))
            return false;
        json_array_extend(all, json_object_get(answer->json, "runs"));
        snprintf(cursor, sizeof cursor, "%s", json_text(answer->json, "cursor"));
        answer_fini(answer);
    } while (cursor[0] != '\0' && (int64_t)json_array_size(all) < runs->limit);
    return true;
}

static const char *age_of(const json_t *node, char out[24])
{
    struct wall started;
    if (!wall_parse(json_text(node, "started_at"), &started))
        return "-";
    int64_t ms = wall_now().ms - started.ms;
    return span_text(MILLIS(ms > 0 ? ms : 0), out);
}

static void add_row(struct table *table, const json_t *node)
{
    char age[24];
    const char *state = json_text(node, "effective_state");
    const char *agent = json_text(node, "agent");
    table_add(table, PLAIN, "%s", json_text(node, "run_id"));
    table_add(table, PLAIN, "%s", agent[0] != '\0' ? agent : "-");
    table_add(table, state_colour(state), "%s", state);
    table_add(table, PLAIN, "%lld", (long long)json_number(node, "depth"));
    table_add(table, DIM, "%s", json_text(node, "root"));
    table_add(table, DIM, "%s", json_text(node, "owner"));
    table_add(table, PLAIN, "%s", age_of(node, age));
}

static void print_runs(const struct ctl *ctl, const json_t *all)
{
    static const char *const headings[] = {"RUN",  "AGENT",   "STATE", "DEPTH",
                                           "ROOT", "REPLICA", "AGE"};
    struct table table;
    struct buf out = {0};
    size_t i;
    json_t *node;
    table_init(&table, sizeof headings / sizeof *headings);
    for (size_t k = 0; k < table.columns; k++)
        table_add(&table, BOLD, "%s", headings[k]);
    json_array_foreach(all, i, node) add_row(&table, node);
    table_print(&table, ctl->colour, &out);
    fwrite(out.bytes, 1, out.len, stdout);
    buf_fini(&out);
    table_fini(&table);
}

static int runs_main(const struct ctl *ctl, const void *settings, int count, char *words[])
{
    (void)count;
    (void)words;
    struct answer answer;
    json_t *all = json_array();
    int code = EXIT_DONE;
    if (!ask_all(ctl, settings, all, &answer)) {
        code = answer_complain(ctl, &answer, ctl->broker);
        answer_fini(&answer);
    } else if (ctl->json) {
        json_t *object = json_pack("{s:O}", "runs", all);
        json_show(object);
        json_decref(object);
    } else if (json_array_size(all) == 0) {
        puts("no runs");
    } else {
        print_runs(ctl, all);
    }
    json_decref(all);
    return code;
}

static const struct flag runs_flags[] = {
    {"state", FLAG_TEXT, offsetof(struct runs_settings, state), "STATE",
     "running, stopping, cancelled, success, error, lost, ..."},
    {"agent", FLAG_TEXT, offsetof(struct runs_settings, agent), "NAME", "of this agent"},
    {"label", FLAG_TEXT, offsetof(struct runs_settings, label), "KEY=VALUE", "with this label"},
    {"thread", FLAG_TEXT, offsetof(struct runs_settings, thread), "ID", "of this conversation"},
    {"root", FLAG_TEXT, offsetof(struct runs_settings, root), "RUN", "of this tree"},
    {"limit", FLAG_NUMBER, offsetof(struct runs_settings, limit), "N", "at most so many (100)"},
};

static const struct runs_settings runs_defaults = {.limit = 100};

const struct command command_runs = {
    .name = "runs",
    .words = "",
    .about = "list runs, oldest first",
    .examples =
        "  brakectl runs --state running\n"
        "  brakectl runs --agent researcher --label version=1.4 --limit 1000\n"
        "  brakectl --json runs --root ROOT | jq '.runs[] | select(.state == \"running\")'\n",
    COMMAND_FLAGS(runs_flags),
    COMMAND_SETTINGS(struct runs_settings),
    .defaults = &runs_defaults,
    .run = runs_main,
};
