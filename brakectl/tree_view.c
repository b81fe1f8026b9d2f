#include "brakectl/tree_view.h"

#include <inttypes.h>
#include <string.h>

#include "brakectl/ctl.h"
#include "brakectl/print.h"

enum { DEPTH_MAX = 130, INDENT_MAX = DEPTH_MAX * 6 };

struct view {
    const json_t *runs, *links;
    bool with_colour;
    struct buf *out;
    char indent[INDENT_MAX + 1];
};

const char *tree_view_name(const json_t *node)
{
    const char *agent = json_text(node, "agent");
    return agent[0] != '\0' ? agent : json_text(node, "run_id");
}

static bool is_child_of(const json_t *node, const char *parent)
{
    return strcmp(json_text(node, "parent"), parent) == 0;
}

static bool has_node(const json_t *runs, const char *run_id)
{
    size_t i;
    json_t *node;
    json_array_foreach(runs, i,
                       node) if (strcmp(json_text(node, "run_id"), run_id) == 0) return true;
    return false;
}

/* The words that a reader should not miss; the phases have their own place in the timeline. */
static void add_flags(const struct view *view, const json_t *node)
{
    static const char *const shown[] = {"banned", "killing",     "unresponsive", "suspect",
                                        "orphan", "late",        "parent_gone",  "observe",
                                        "notify", "unprotected", "checkpointed"};
    size_t i;
    json_t *flag;
    json_array_foreach(json_object_get(node, "flags"), i,
                       flag) for (size_t k = 0; k < sizeof shown / sizeof *shown;
                                  k++) if (strcmp(shown[k], json_string_value(flag)) == 0)
    {
        (void)buf_add_text(view->out, " ");
        paint(view->out, view->with_colour, k == 0 ? RED : MAGENTA,
              k == 0 ? "cancelled-here" : shown[k]);
    }
}

static void add_stopped_by(const struct view *view, const json_t *node)
{
    const char *by = json_text(json_object_get(node, "stop"), "by");
    const char *anyway = json_text(node, "finished_anyway");
    if (by[0] != '\0')
        (void)buf_addf(view->out, " by %s", by);
    if (anyway[0] != '\0')
        (void)buf_addf(view->out, " (finished anyway: %s)", anyway);
}

static void add_node(const struct view *view, const json_t *node)
{
    const char *state = json_text(node, "effective_state");
    if (state[0] == '\0')
        state = json_text(node, "state");
    paint(view->out, view->with_colour, BOLD, tree_view_name(node));
    (void)buf_add_text(view->out, " ");
    paint(view->out, view->with_colour, state_colour(state), state);
    add_stopped_by(view, node);
    add_flags(view, node);
    (void)buf_add_text(view->out, " ");
    if (tree_view_name(node) != json_text(node, "run_id"))
        paint(view->out, view->with_colour, DIM, json_text(node, "run_id"));
    (void)buf_add_text(view->out, " ");
    paint(view->out, view->with_colour, DIM, json_text(node, "owner"));
    (void)buf_add_text(view->out, "\n");
}

/* Of what a link leads to the first line: a request may hold more. */
static void add_link(const struct view *view, const json_t *link)
{
    const char *to = json_text(link, "to");
    bool is_done = json_is_yes(link, "acknowledged");
    (void)buf_addf(view->out, "⇢ %s %.*s ", json_text(link, "kind"), (int)strcspn(to, "\n"), to);
    paint(view->out, view->with_colour, is_done ? DIM : MAGENTA,
          is_done ? "acknowledged" : "not acknowledged");
    (void)buf_add_text(view->out, "\n");
}

/* Children that live elsewhere. */
static void add_links(const struct view *view, const char *run_id, size_t indent_len)
{
    size_t i;
    json_t *link;
    json_array_foreach(view->links, i, link)
    {
        if (strcmp(json_text(link, "run_id"), run_id) != 0)
            continue;
        (void)buf_add(view->out, view->indent, indent_len);
        add_link(view, link);
    }
}

/* The next child of `parent` from `*at` on; NULL: no more. */
static const json_t *next_child(const struct view *view, const char *parent, size_t *at)
{
    for (; *at < json_array_size(view->runs); ++*at) {
        const json_t *node = json_array_get(view->runs, *at);
        if (is_child_of(node, parent)) {
            ++*at;
            return node;
        }
    }
    return NULL;
}

/* Not deeper than a path may be, so a loop in what we were sent ends. */
static void add_children(struct view *view, const char *parent, size_t indent_len)
{
    size_t at = 0;
    const json_t *node = next_child(view, parent, &at);
    add_links(view, parent, indent_len);
    while (node != NULL && indent_len + 6 < INDENT_MAX) {
        const json_t *next = next_child(view, parent, &at);
        view->indent[indent_len] = '\0';
        (void)buf_addf(view->out, "%s%s", view->indent, next != NULL ? "├─ " : "└─ ");
        add_node(view, node);
        const char *bar = next != NULL ? "│  " : "   ";
        strcpy(view->indent + indent_len, bar);
        add_children(view, json_text(node, "run_id"), indent_len + strlen(bar));
        node = next;
    }
}

void tree_view(const json_t *tree, bool with_colour, struct buf *out)
{
    struct view view = {.runs = json_object_get(tree, "runs"),
                        .links = json_object_get(tree, "links"),
                        .with_colour = with_colour,
                        .out = out};
    size_t i;
    json_t *node;
    json_array_foreach(view.runs, i, node)
    {
        if (has_node(view.runs, json_text(node, "parent")))
            continue;
        add_node(&view, node);
        add_children(&view, json_text(node, "run_id"), 0);
    }
}

void tree_view_summary(const json_t *tree, bool with_colour, struct buf *out)
{
    static const char *const states[] = {"running",   "stopping",    "success", "error", "timeout",
                                         "cancelled", "rolled_back", "lost",    "paused"};
    const json_t *runs = json_object_get(tree, "runs");
    size_t all = json_array_size(runs);
    (void)buf_addf(out, "%zu %s", all, all == 1 ? "run" : "runs");
    for (size_t k = 0; k < sizeof states / sizeof *states; k++) {
        size_t i, count = 0;
        json_t *node;
        json_array_foreach(runs, i, node) count +=
            strcmp(json_text(node, "effective_state"), states[k]) == 0;
        if (count == 0)
            continue;
        char text[40];
        snprintf(text, sizeof text, "%zu %s", count, states[k]);
        (void)buf_add_text(out, ", ");
        paint(out, with_colour, state_colour(states[k]), text);
    }
    (void)buf_add_text(out, json_is_yes(tree, "truncated") ? " (truncated)\n" : "\n");
}
