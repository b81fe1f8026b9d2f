/* `brakectl cancel`: stop a run and all below it, and tell in words what has happened. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "brakectl/commands.h"
#include "brakectl/print.h"

struct cancel_settings {
    const char *action, *reason, *by, *root, *wait, *if_unknown, *durability;
    struct span timeout, grace;
    int64_t expect_at_most;
    bool dry_run, children_only;
};

static json_t *body_of(const struct cancel_settings *cancel)
{
    json_t *body = json_object();
    json_set_text(body, "action", cancel->action);
    json_set_text(body, "reason", cancel->reason);
    json_set_text(body, "by", cancel->by);
    json_set_text(body, "root", cancel->root);
    json_set_text(body, "wait", cancel->wait);
    json_set_text(body, "if_unknown", cancel->if_unknown);
    json_set_text(body, "durability", cancel->durability);
    json_set_number(body, "timeout_ms", cancel->timeout.ms);
    json_set_number(body, "grace_ms", cancel->grace.ms);
    json_set_number(body, "expect_at_most", cancel->expect_at_most);
    if (cancel->dry_run)
        json_object_set_new(body, "dry_run", json_true());
    if (cancel->children_only)
        json_object_set_new(body, "include_self", json_false());
    return body;
}

/* ---- in words ------------------------------------------------------------------------------- */

/* Nothing has started, so there is nothing to wait for. */
static bool is_remembered(const json_t *answer)
{
    return json_is_false(json_object_get(answer, "known"));
}

static void tell_target(const json_t *answer)
{
    const char *run = json_text(answer, "run_id");
    const char *covered_by = json_text(answer, "covered_by");
    if (json_is_yes(answer, "dry_run"))
        printf("Nothing was done. A cancel of %s would reach:\n", run);
    else if (is_remembered(answer))
        printf("Nobody has seen %s yet; whoever starts it will be refused.\n", run);
    else if (json_is_yes(answer, "already"))
        printf("%s was cancelled already (%s), %s, by %s%s%s\n", run, json_text(answer, "action"),
               json_text(answer, "requested_at"), json_text(answer, "by"),
               json_text(answer, "reason")[0] != '\0' ? ": " : "", json_text(answer, "reason"));
    else if (!json_is_yes(answer, "closed"))
        printf("Cancelled what is below %s, not itself (it was %s).\n", run,
               json_text(answer, "target_state"));
    else
        printf("Cancelled %s (it was %s).\n", run, json_text(answer, "target_state"));
    if (covered_by[0] != '\0')
        printf("It is below %s, which was cancelled before.\n", covered_by);
    if (json_is_yes(answer, "pending"))
        puts("Redis is away: this agentd has stopped its own part and tells Redis later.");
}

static void tell_durability(const json_t *answer)
{
    const char *reached = json_text(answer, "durability");
    const char *because = json_text(answer, "not_durable_because");
    if (because[0] != '\0')
        printf("Redis has recorded it, but it is not %s: %s. Ask again to have it so.\n",
               json_text(answer, "durability_asked"), because);
    else if (strcmp(reached, "replicated") == 0)
        puts("It is replicated: the loss of Redis' server does not undo it.");
    else if (strcmp(reached, "fsynced") == 0)
        puts("It is on disk: a restart of Redis does not undo it.");
}

static void tell_counts(const struct ctl *ctl, const json_t *counts)
{
    static const struct {
        const char *member;
        enum colour colour;
        bool always;
    } told[] = {
        {"runs", BOLD, true},
        {"delivered", PLAIN, true},
        {"acknowledged", PLAIN, true},
        {"stopped", GREEN, true},
        {"pending", YELLOW, false},
        {"unresponsive", RED, false},
        {"suspect", MAGENTA, false},
        {"lost", MAGENTA, false},
        {"finished_anyway", DIM, false},
        {"finished_before", DIM, false},
        {"observed", CYAN, false},
        {"links", PLAIN, false},
        {"links_acknowledged", PLAIN, false},
    };
    struct buf out = {0};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        char text[64];
        int64_t count = json_number(counts, told[i].member);
        if (count == 0 && !told[i].always)
            continue;
        snprintf(text, sizeof text, "%" PRId64 " %s", count,
                 i == 0 && count == 1 ? "run" : told[i].member);
        for (char *mark = text; (mark = strchr(mark, '_')) != NULL;)
            *mark = ' ';
        (void)buf_add_text(&out, out.len > 0 ? ", " : "  ");
        paint(&out, ctl->colour, told[i].colour, text);
    }
    printf("%s\n", out.bytes);
    buf_fini(&out);
}

/* Those that a person has to look after. */
static void tell_names(const json_t *names)
{
    static const char *const told[] = {"pending", "unresponsive", "suspect", "lost",
                                       "finished_anyway"};
    for (size_t k = 0; k < sizeof told / sizeof *told; k++) {
        const json_t *list = json_object_get(names, told[k]);
        size_t i;
        json_t *name;
        json_array_foreach(list, i, name) printf("  %s: %s\n", told[k], json_string_value(name));
    }
}

static void tell_list(const char *what, const json_t *list)
{
    size_t i;
    json_t *name;
    if (json_array_size(list) == 0)
        return;
    fputs(what, stdout);
    json_array_foreach(list, i, name) printf(" %s", json_string_value(name));
    putchar('\n');
}

/* All that was counted is done, so it is what could not be counted that the answer waits for. */
static bool nothing_is_open(const json_t *counts)
{
    return counts != NULL
           && json_number(counts, "runs")
                  == json_number(counts, "stopped") + json_number(counts, "finished_before")
           && json_number(counts, "links") == json_number(counts, "links_acknowledged");
}

static void tell_why_not(const json_t *answer)
{
    const json_t *unconfirmed = json_object_get(answer, "unconfirmed_replicas");
    const json_t *isolated = json_object_get(answer, "isolated_replicas");
    tell_list("Redis has lost what it held, and these agentds have not told it yet what they run:",
              unconfirmed);
    tell_list("No sign of life from these agentds, so nobody knows about their runs:", isolated);
    if (json_array_size(unconfirmed) == 0 && json_array_size(isolated) == 0
        && nothing_is_open(json_object_get(answer, "counts")))
        puts("Redis has lost what it held: until every agentd has had the time to tell it what it\n"
             "runs (two leases), nobody can be sure that this is all.");
}

static void tell(const struct ctl *ctl, const json_t *answer)
{
    const json_t *counts = json_object_get(answer, "counts");
    tell_target(answer);
    tell_durability(answer);
    if (counts != NULL)
        tell_counts(ctl, counts);
    tell_names(json_object_get(answer, "names"));
    if (json_is_yes(answer, "dry_run") || is_remembered(answer))
        return;
    if (json_is_yes(answer, "complete")) {
        puts("Everything has stopped.");
    } else if (strcmp(json_text(answer, "wait"), "none") != 0) {
        tell_why_not(answer);
        puts("Not everything has: ask again, or look with 'brakectl tree'.");
    }
}

/* ---- the command ---------------------------------------------------------------------------- */

static int code_of(const struct cancel_settings *cancel, const struct answer *answer)
{
    bool waited =
        strcmp(cancel->wait, "none") != 0 && !cancel->dry_run && !is_remembered(answer->json);
    return waited && answer->status != 200 ? EXIT_INCOMPLETE : EXIT_DONE;
}

static int cancel_main(const struct ctl *ctl, const void *settings, int count, char *words[])
{
    (void)count;
    char path[256], escaped[200];
    struct answer answer;
    url_escape(words[0], escaped, sizeof escaped);
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", escaped);
    broker_answer_to(ctl, "POST", path, body_of(settings), &answer);
    int code;
    if (!answer_is_good(&answer)) {
        code = answer_complain(ctl, &answer, ctl->broker);
    } else {
        code = code_of(settings, &answer);
        if (ctl->json)
            json_show(answer.json);
        else
            tell(ctl, answer.json);
    }
    answer_fini(&answer);
    return code;
}

#define FIELD(name) offsetof(struct cancel_settings, name)
static const struct flag cancel_flags[] = {
    {"reason", FLAG_TEXT, FIELD(reason), "TEXT", "why; every run is told, and it is kept"},
    {"action", FLAG_CHOICE, FIELD(action), "interrupt|rollback",
     "keep what the runs wrote (the default), or have them discard it"},
    {"wait", FLAG_CHOICE, FIELD(wait), "none|delivered|stopped", "for what to wait (stopped)"},
    {"timeout", FLAG_SPAN, FIELD(timeout), "TIME", "how long at most (30s; 60s at most)"},
    {"grace", FLAG_SPAN, FIELD(grace), "TIME", "shorten every grace to this; 0: kill now"},
    {"durability", FLAG_CHOICE, FIELD(durability), "memory|replicated|fsynced",
     "wait until Redis' replicas or disks have it (as the broker is set)"},
    {"dry-run", FLAG_YES, FIELD(dry_run), NULL, "only say whom it would reach"},
    {"expect-at-most", FLAG_NUMBER, FIELD(expect_at_most), "N", "refuse if the scope is larger"},
    {"children-only", FLAG_YES, FIELD(children_only), NULL, "leave the run itself alone"},
    {"root", FLAG_TEXT, FIELD(root), "RUN", "the root of its tree, where it is known"},
    {"if-unknown", FLAG_CHOICE, FIELD(if_unknown), "refuse|remember",
     "an id that nobody has seen: 404, or refuse its start (refuse)"},
    {"by", FLAG_TEXT, FIELD(by), "WHO", "who asks, for the record"},
};

static const struct cancel_settings cancel_defaults = {.timeout = {30000},
                                                       .grace = {-1},
                                                       .expect_at_most = -1,
                                                       .wait = "stopped",
                                                       .if_unknown = "refuse"};

const struct command command_cancel = {
    .name = "cancel",
    .words = "RUN",
    .about = "stop a run and everything below it, on every replica",
    .examples =
        "  brakectl cancel RUN --reason 'wrong customer'\n"
        "  brakectl cancel RUN --dry-run\n"
        "  brakectl cancel RUN --action rollback --wait stopped --timeout 30s\n"
        "  brakectl cancel RUN --grace 0 --reason 'stop it now'\n\n"
        "exit codes: 0 all that was waited for is true; 1 refused; 4 the wait ended before\n",
    COMMAND_FLAGS(cancel_flags),
    COMMAND_SETTINGS(struct cancel_settings),
    .defaults = &cancel_defaults,
    .words_min = 1,
    .words_max = 1,
    .run = cancel_main,
};
