/* `brakectl replica`: the agentds that Redis knows; those that are gone for good can be confirmed.
 */
#include <stdio.h>

#include "brakectl/commands.h"
#include "brakectl/print.h"

struct replica_settings {
    bool confirms_losses;
};

static void add_row(struct table *table, const json_t *replica)
{
    char since[16], away[24] = "-";
    bool leased = json_is_yes(replica, "leased");
    int64_t away_ms = json_number(replica, "without_lease_ms");
    if (away_ms > 0)
        span_text(MILLIS(away_ms), away);
    table_add(table, PLAIN, "%s", json_text(replica, "replica_id"));
    table_add(table, leased ? GREEN : RED, "%s", leased ? "alive" : "silent");
    table_add(table, PLAIN, "%s", away);
    table_add(table, PLAIN, "%s", clock_of(json_text(replica, "since"), since));
    table_add(table, DIM, "%s", json_text(replica, "generation"));
}

static void print_replicas(const struct ctl *ctl, const json_t *answer)
{
    static const char *const headings[] = {"REPLICA", "LEASE", "SILENT FOR", "SINCE", "GENERATION"};
    struct table table;
    struct buf out = {0};
    size_t i;
    json_t *replica;
    table_init(&table, sizeof headings / sizeof *headings);
    for (size_t k = 0; k < table.columns; k++)
        table_add(&table, BOLD, "%s", headings[k]);
    json_array_foreach(json_object_get(answer, "replicas"), i, replica) add_row(&table, replica);
    table_print(&table, ctl->colour, &out);
    if (json_is_yes(answer, "sweep_suspended"))
        paint(&out, ctl->colour, RED,
              "too many were lost at once: nobody is declared lost now. Are they really gone?\n"
              "then: brakectl replica --confirm-losses\n");
    fwrite(out.bytes, 1, out.len, stdout);
    buf_fini(&out);
    table_fini(&table);
}

static int replica_main(const struct ctl *ctl, const void *settings, int count, char *words[])
{
    const struct replica_settings *wanted = settings;
    (void)count;
    (void)words;
    struct answer answer;
    int code = EXIT_DONE;
    if (wanted->confirms_losses)
        broker_answer_to(ctl, "POST", "/v1/replicas/confirm-losses", NULL, &answer);
    else
        broker_answer_to(ctl, "GET", "/v1/replicas", NULL, &answer);
    if (!answer_is_good(&answer))
        code = answer_complain(ctl, &answer, ctl->broker);
    else if (ctl->json)
        json_show(answer.json);
    else if (json_array_size(json_object_get(answer.json, "replicas")) == 0)
        puts("no replicas yet: the broker looks every few seconds");
    else
        print_replicas(ctl, answer.json);
    answer_fini(&answer);
    return code;
}

static const struct flag replica_flags[] = {
    {"confirm-losses", FLAG_YES, offsetof(struct replica_settings, confirms_losses), NULL,
     "those that are gone now are really gone: declare their runs lost"},
};

const struct command command_replica = {
    .name = "replica",
    .words = "",
    .about = "list the agentds, and whether they give signs of life",
    .examples = "  brakectl replica\n"
                "  brakectl replica --confirm-losses\n"
                "  brakectl --json replica | jq '.replicas[] | select(.leased | not)'\n",
    COMMAND_FLAGS(replica_flags),
    COMMAND_SETTINGS(struct replica_settings),
    .run = replica_main,
};
