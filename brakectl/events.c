/* `brakectl events`: who cancelled what, and what happens in a tree. */
#include <stdio.h>
#include <string.h>

#include "brakectl/commands.h"
#include "brakectl/print.h"
#include "brakectl/sse.h"
#include "brakectl/tree_view.h"

struct events_settings {
    const char *root, *run;
    int64_t limit;
    bool follow;
};

struct events {
    const struct ctl *ctl;
    json_t *states; /* of a tree: run id -> the state shown last */
    bool is_over;
};

static void show_entry(const struct ctl *ctl, const json_t *entry)
{
    char at[16];
    if (ctl->json) {
        json_dumpf(entry, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        const char *reason = json_text(entry, "reason");
        printf("%s  %s %s %s%s%s (by %s, via %s%s%s)\n", clock_of(json_text(entry, "at"), at),
               json_text(entry, "what"), json_text(entry, "run_id"), json_text(entry, "outcome"),
               reason[0] != '\0' ? ": " : "", reason, json_text(entry, "by"),
               json_text(entry, "via"), json_text(entry, "code")[0] != '\0' ? ", " : "",
               json_text(entry, "code"));
    }
    fflush(stdout);
}

/* ---- a tree: what has changed since the last time -------------------------------------------- */

static void show_change(const json_t *node, const char *before)
{
    char now[WALL_TEXT_MAX], at[16];
    printf("%s  %s %s", clock_of(wall_text(wall_now(), now), at), json_text(node, "run_id"),
           tree_view_name(node));
    if (before != NULL)
        printf(" %s →", before);
    printf(" %s\n", json_text(node, "effective_state"));
}

static void show_changes(struct events *events, const json_t *tree)
{
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(tree, "runs"), i, node)
    {
        const char *run = json_text(node, "run_id");
        const char *before = json_string_value(json_object_get(events->states, run));
        const char *state = json_text(node, "effective_state");
        if (before != NULL && strcmp(before, state) == 0)
            continue;
        show_change(node, before);
        json_object_set_new(events->states, run, json_string(state));
    }
    fflush(stdout);
}

static void event_came(void *owner, const char *name, const json_t *data)
{
    struct events *events = owner;
    if (data == NULL)
        return;
    if (strcmp(name, "audit") == 0) {
        show_entry(events->ctl, data);
    } else if (strcmp(name, "tree") == 0) {
        if (events->ctl->json)
            json_show(data);
        else
            show_changes(events, data);
        events->is_over = json_number(data, "live") == 0;
    }
}

static int follow(const struct ctl *ctl, const char *path)
{
    struct events events = {.ctl = ctl, .states = json_object()};
    struct sse *sse = sse_new(ctl->broker, path, NULL, event_came, &events);
    while (sse != NULL && sse_is_open(sse) && !events.is_over)
        sse_wait(sse, -1, SECONDS(1));
    if (!events.is_over)
        fprintf(stderr, "brakectl: no more news: %s\n",
                sse != NULL ? sse_why(sse) : "nothing to ask at this --broker");
    sse_free(sse);
    json_decref(events.states);
    return events.is_over ? EXIT_DONE : EXIT_UNAVAILABLE;
}

/* ---- what has been -------------------------------------------------------------------------- */

static int show_audit(const struct ctl *ctl, const struct events_settings *settings)
{
    char path[400], run[256] = "";
    struct answer answer;
    if (settings->run != NULL)
        url_escape(settings->run, run, sizeof run);
    snprintf(path, sizeof path, "/v1/audit?limit=%lld%s%s", (long long)settings->limit,
             run[0] != '\0' ? "&run=" : "", run);
    broker_answer_to(ctl, "GET", path, NULL, &answer);
    int code = EXIT_DONE;
    if (!answer_is_good(&answer))
        code = answer_complain(ctl, &answer, ctl->broker);
    const json_t *entries = json_object_get(answer.json, "entries");
    for (size_t i = json_array_size(entries); i > 0 && code == EXIT_DONE; i--)
        show_entry(ctl, json_array_get(entries, i - 1)); /* they come newest first */
    answer_fini(&answer);
    return code;
}

static int events_main(const struct ctl *ctl, const void *settings, int count, char *words[])
{
    (void)count;
    (void)words;
    const struct events_settings *events = settings;
    char path[128];
    if (events->root != NULL) {
        snprintf(path, sizeof path, "/v1/events?root=%.64s", events->root);
        return follow(ctl, path);
    }
    int code = show_audit(ctl, events);
    if (code == EXIT_DONE && events->follow)
        code = follow(ctl, "/v1/events");
    return code;
}

#define FIELD(name) offsetof(struct events_settings, name)
static const struct flag events_flags[] = {
    {"limit", FLAG_NUMBER, FIELD(limit), "N", "the last N cancels (20)"},
    {"run", FLAG_TEXT, FIELD(run), "RUN", "only those of this run"},
    {"follow", FLAG_YES, FIELD(follow), NULL, "then each as it comes"},
    {"root", FLAG_TEXT, FIELD(root), "RUN", "what changes in this tree, until nothing in it lives"},
};

static const struct events_settings events_defaults = {.limit = 20};

const struct command command_events = {
    .name = "events",
    .words = "",
    .about = "who cancelled what and why; or what happens in a tree",
    .examples = "  brakectl events --limit 50\n"
                "  brakectl events --follow\n"
                "  brakectl events --root ROOT\n"
                "  brakectl --json events --run RUN    a line of JSON each\n",
    COMMAND_FLAGS(events_flags),
    COMMAND_SETTINGS(struct events_settings),
    .defaults = &events_defaults,
    .run = events_main,
};
