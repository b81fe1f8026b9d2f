/* `brakectl tree`: the runs below a root, or below any run; with --watch until it is over. */
#include <stdio.h>
#include <string.h>

#include "brakectl/commands.h"
#include "brakectl/print.h"
#include "brakectl/sse.h"
#include "brakectl/tree_view.h"

struct tree_settings {
    bool watch;
    int64_t depth, limit;
};

enum { PATH_ROOM = 256 };

static void print_tree(const struct ctl *ctl, const json_t *tree)
{
    struct buf out = {0};
    tree_view(tree, ctl->colour, &out);
    tree_view_summary(tree, ctl->colour, &out);
    fwrite(out.bytes, 1, out.len, stdout);
    fflush(stdout);
    buf_fini(&out);
}

static void tree_path(char out[PATH_ROOM], const struct tree_settings *settings, const char *root,
                      const char *under)
{
    char escaped[128];
    url_escape(root, escaped, sizeof escaped);
    int len = snprintf(out, PATH_ROOM, "/v1/roots/%s/tree?limit=%lld", escaped,
                       (long long)settings->limit);
    if (under != NULL)
        len += snprintf(out + len, PATH_ROOM - (size_t)len, "&under=%.64s", under);
    if (settings->depth > 0)
        snprintf(out + len, PATH_ROOM - (size_t)len, "&depth=%lld", (long long)settings->depth);
}

/* What was named may be a root, or a run somewhere: then its root is asked for first. */
static void ask_tree(const struct ctl *ctl, const struct tree_settings *settings, const char *id,
                     struct answer *answer)
{
    char path[PATH_ROOM], escaped[128];
    tree_path(path, settings, id, NULL);
    broker_answer_to(ctl, "GET", path, NULL, answer);
    if (answer->status != 404)
        return;
    answer_fini(answer);
    url_escape(id, escaped, sizeof escaped);
    snprintf(path, sizeof path, "/v1/runs/%s", escaped);
    broker_answer_to(ctl, "GET", path, NULL, answer);
    if (!answer_is_good(answer))
        return;
    struct answer run = *answer;
    tree_path(path, settings, json_text(run.json, "root"), id);
    broker_answer_to(ctl, "GET", path, NULL, answer);
    answer_fini(&run);
}

/* ---- watching ------------------------------------------------------------------------------- */

struct watch {
    const struct ctl *ctl;
    size_t lines; /* on the screen, to be drawn over */
    bool is_over;
};

static size_t count_lines(const struct buf *text)
{
    size_t lines = 0;
    for (size_t i = 0; i < text->len; i++)
        lines += text->bytes[i] == '\n';
    return lines;
}

static void redraw(struct watch *watch, const json_t *tree)
{
    struct buf out = {0};
    if (watch->ctl->colour && watch->lines > 0)
        (void)buf_addf(&out, "\033[%zuA\033[J", watch->lines);
    size_t before = out.len;
    tree_view(tree, watch->ctl->colour, &out);
    tree_view_summary(tree, watch->ctl->colour, &out);
    struct buf drawn = {.bytes = out.bytes + before, .len = out.len - before};
    watch->lines = count_lines(&drawn);
    fwrite(out.bytes, 1, out.len, stdout);
    fflush(stdout);
    buf_fini(&out);
}

static void tree_came(void *owner, const char *name, const json_t *data)
{
    struct watch *watch = owner;
    if (strcmp(name, "tree") != 0 || data == NULL)
        return;
    if (watch->ctl->json)
        json_show(data);
    else
        redraw(watch, data);
    watch->is_over = json_number(data, "live") == 0;
}

static int watch_tree(const struct ctl *ctl, const char *root)
{
    char path[PATH_ROOM];
    snprintf(path, sizeof path, "/v1/events?root=%.64s", root);
    struct watch watch = {.ctl = ctl};
    struct sse *sse = sse_new(ctl->broker, path, NULL, tree_came, &watch);
    while (sse != NULL && sse_is_open(sse) && !watch.is_over)
        sse_wait(sse, -1, SECONDS(1));
    if (!watch.is_over && sse != NULL)
        fprintf(stderr, "brakectl: no more news: %s\n", sse_why(sse));
    sse_free(sse);
    return watch.is_over ? EXIT_DONE : EXIT_UNAVAILABLE;
}

static int tree_main(const struct ctl *ctl, const void *settings, int count, char *words[])
{
    (void)count;
    const struct tree_settings *tree = settings;
    struct answer answer;
    ask_tree(ctl, tree, words[0], &answer);
    int code = EXIT_DONE;
    if (!answer_is_good(&answer))
        code = answer_complain(ctl, &answer, ctl->broker);
    else if (tree->watch)
        code = watch_tree(ctl, json_text(answer.json, "root"));
    else if (ctl->json)
        json_show(answer.json);
    else
        print_tree(ctl, answer.json);
    answer_fini(&answer);
    return code;
}

static const struct flag tree_flags[] = {
    {"watch", FLAG_YES, offsetof(struct tree_settings, watch), NULL,
     "draw it again at every change, until nothing lives (the whole tree)"},
    {"depth", FLAG_NUMBER, offsetof(struct tree_settings, depth), "N", "not deeper than this"},
    {"limit", FLAG_NUMBER, offsetof(struct tree_settings, limit), "N",
     "at most so many runs (1000)"},
};

static const struct tree_settings tree_defaults = {.limit = 1000};

const struct command command_tree = {
    .name = "tree",
    .words = "RUN",
    .about = "draw the tree of a root, or what is below a run",
    .examples = "  brakectl tree ROOT\n"
                "  brakectl tree ROOT --watch\n"
                "  brakectl --json tree RUN | jq -r '.runs[].run_id'\n",
    COMMAND_FLAGS(tree_flags),
    COMMAND_SETTINGS(struct tree_settings),
    .defaults = &tree_defaults,
    .words_min = 1,
    .words_max = 1,
    .run = tree_main,
};
