/* `brakectl replica`: the agentds that Redis knows; those that are gone for good can be confirmed.
 */
#include <stdio.h>
#include <string.h>

#include "brakectl/commands.h"
#include "brakectl/print.h"
#include "core/id.h"

static void add_row(struct table *table, const json_t *replica)
{
    char since[16], away[24] = "-";
    bool leased = json_is_yes(replica, "leased");
    int64_t away_ms = json_number(replica, "without_lease_ms");
    if (away_ms > 0)
        span_text(MILLIS(away_ms), away);
    table_add(table, PLAIN, "%s", json_text(replica, "replica_id"));
    bool quarantined = json_is_yes(replica, "quarantined");
    table_add(table, leased && !quarantined ? GREEN : RED, "%s",
              !leased       ? "silent"
              : quarantined ? "quarantined"
                            : "alive");
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
              "then: brakectl replica confirm-losses\n");
    fwrite(out.bytes, 1, out.len, stdout);
    buf_fini(&out);
    table_fini(&table);
}

static void print_answer(const struct ctl *ctl, const json_t *answer)
{
    if (ctl->json)
        json_show(answer);
    else if (json_object_get(answer, "replicas") == NULL)
        printf("%s takes new runs again, as soon as it renews its lease\n",
               json_text(answer, "replica_id"));
    else if (json_array_size(json_object_get(answer, "replicas")) == 0)
        puts("no replicas yet: the broker looks every few seconds");
    else
        print_replicas(ctl, answer);
}

/* The words as a request; false: they say nothing that we know. */
static bool request_of(int count, char *words[], const char **method, struct buf *path)
{
    const char *verb = count > 0 ? words[0] : "list";
    bool resumes = strcmp(verb, "resume") == 0;
    bool confirms = strcmp(verb, "confirm-losses") == 0;
    bool is_known = resumes || confirms || strcmp(verb, "list") == 0;
    if (!is_known || count > (resumes ? 2 : 1) || (resumes && count < 2)
        || (resumes && !id_is_valid(str_of(words[1]))))
        return false;
    *method = resumes || confirms ? "POST" : "GET";
    buf_add_text(path, "/v1/replicas");
    if (resumes)
        buf_addf(path, "/%s/resume", words[1]);
    else if (confirms)
        buf_add_text(path, "/confirm-losses");
    buf_add(path, "", 1);
    return !path->failed;
}

static int replica_main(const struct ctl *ctl, const void *settings, int count, char *words[])
{
    (void)settings;
    struct answer answer;
    struct buf path = {0};
    const char *method;
    int code = EXIT_DONE;
    if (!request_of(count, words, &method, &path)) {
        buf_fini(&path);
        fputs("brakectl: usage: brakectl replica [list | resume REPLICA | confirm-losses]\n",
              stderr);
        return EXIT_USAGE;
    }
    broker_answer_to(ctl, method, path.bytes, NULL, &answer);
    if (answer_is_good(&answer))
        print_answer(ctl, answer.json);
    else
        code = answer_complain(ctl, &answer, ctl->broker);
    answer_fini(&answer);
    buf_fini(&path);
    return code;
}

const struct command command_replica = {
    .name = "replica",
    .words = "[list | resume REPLICA | confirm-losses]",
    .about = "list the agentds, resume a quarantined one, confirm that the silent ones are gone",
    .examples =
        "  brakectl replica                   who is there, and gives signs of life\n"
        "  brakectl replica resume a0x3f      it takes new runs again although SIGKILL failed\n"
        "  brakectl replica confirm-losses    those that are gone now are really gone: declare\n"
        "                                     their runs lost\n"
        "  brakectl --json replica | jq '.replicas[] | select(.leased | not)'\n",
    .words_max = 2,
    .run = replica_main,
};
