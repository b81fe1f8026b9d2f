#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "brakectl/demo.h"
#include "brakectl/print.h"
#include "brakectl/tree_view.h"

/* On a terminal over what was drawn before. */
void demo_draw(struct demo *demo, const json_t *tree)
{
    struct buf out = {0};
    if (demo->ctl->json)
        return;
    if (demo->ctl->colour && demo->drawn_lines > 0)
        (void)buf_addf(&out, "\033[%zuA\033[J", demo->drawn_lines);
    tree_view(tree, demo->ctl->colour, &out);
    tree_view_summary(tree, demo->ctl->colour, &out);
    demo->drawn_lines = 0;
    for (size_t i = 0; i < out.len; i++)
        demo->drawn_lines += out.bytes[i] == '\n';
    fwrite(out.bytes, 1, out.len, stdout);
    fflush(stdout);
    buf_fini(&out);
}

/* ---- the timeline --------------------------------------------------------------------------- */

static const char *const moments[] = {"delivered_at",    "acknowledged_at", "cleaned_up_at",
                                      "checkpointed_at", "terminated_at",   "killed_at",
                                      "stopped_at"};
static const char *const headings[] = {"RUN",        "REPLICA",    "TOLD",    "ACKNOWLEDGED",
                                       "CLEANED UP", "CHECKPOINT", "TERM",    "KILL",
                                       "STOPPED",    "BY",         "FOUND BY"};
enum { COLUMNS = sizeof headings / sizeof *headings, MOMENTS = sizeof moments / sizeof *moments };

static void add_moment(struct table *table, const json_t *stop, const char *moment,
                       struct wall requested)
{
    struct wall at;
    if (wall_parse(json_text(stop, moment), &at))
        table_add(table, PLAIN, "%+" PRId64 " ms", at.ms - requested.ms);
    else
        table_add(table, DIM, "·");
}

static const char *joined(const json_t *words, char out[64])
{
    size_t i, len = 0;
    json_t *word;
    out[0] = '\0';
    json_array_foreach(words, i, word) if (len < 48) len +=
        (size_t)snprintf(out + len, 64 - len, "%s%s", i > 0 ? ", " : "", json_string_value(word));
    return out;
}

static void add_row(struct table *table, const json_t *node, struct wall requested)
{
    char found_by[64];
    const json_t *stop = json_object_get(node, "stop");
    const char *by = json_text(stop, "by");
    table_add(table, PLAIN, "%s", tree_view_name(node));
    table_add(table, DIM, "%.6s", json_text(node, "owner"));
    for (size_t i = 0; i < MOMENTS; i++)
        add_moment(table, stop, moments[i], requested);
    table_add(table, strcmp(by, "KILL") == 0 ? RED : GREEN, "%s", by);
    table_add(table, DIM, "%s", joined(json_object_get(stop, "found_by"), found_by));
}

static void keep_for_json(struct demo *demo, const json_t *node)
{
    json_t *line = json_pack("{s:s, s:s, s:s}", "run", tree_view_name(node), "replica",
                             json_text(node, "owner"), "state", json_text(node, "state"));
    json_object_set(line, "stop", json_object_get(node, "stop"));
    json_array_append_new(demo->timeline, line);
}

void demo_show_timeline(struct demo *demo, const json_t *tree)
{
    const json_t *cancel = json_array_get(json_object_get(tree, "cancels"), 0);
    struct wall requested = {0};
    struct table table;
    struct buf out = {0};
    size_t i;
    json_t *node;
    (void)wall_parse(json_text(cancel, "requested_at"), &requested);
    table_init(&table, COLUMNS);
    for (size_t k = 0; k < COLUMNS; k++)
        table_add(&table, BOLD, "%s", headings[k]);
    json_array_foreach(json_object_get(tree, "runs"), i, node)
    {
        add_row(&table, node, requested);
        keep_for_json(demo, node);
    }
    table_print(&table, demo->ctl->colour, &out);
    demo_say(demo, "requested at %s; from then on:\n", json_text(cancel, "requested_at"));
    if (!demo->ctl->json)
        fwrite(out.bytes, 1, out.len, stdout);
    buf_fini(&out);
    table_fini(&table);
}
