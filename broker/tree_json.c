/* Trees and nodes as JSON. */
#include <stdlib.h>

#include "broker/inside.h"
#include "wire/message.h"

/* ---- one run ------------------------------------------------------------------------------- */
static void add_labels(json_t *node, const struct run_meta *meta)
{
    if (meta->label_count == 0)
        return;
    json_t *labels = json_object();
    for (size_t i = 0; labels != NULL && i < meta->label_count; i++)
        json_object_setn_new(labels, meta->label[i].key.at, meta->label[i].key.len,
                             api_text(meta->label[i].value));
    api_set(node, "labels", labels);
}

static void add_meta(json_t *node, const struct tree_run *run)
{
    struct run_meta meta;
    if (run->meta.len == 0 || wire_meta_decode(run->meta, &meta) != ERR_OK)
        return;
    api_set_text(node, "agent", meta.agent);
    api_set_text(node, "thread_id", meta.thread);
    add_labels(node, &meta);
    api_set_time(node, "started_at", meta.started);
}

static enum run_state effective_state(const struct tree_run *run)
{
    return run_is_live(run->state) && run->ban != NULL ? RUN_STOPPING : run->state;
}

json_t *node_json(const struct tree_run *run, struct str root)
{
    struct stop_story story;
    json_t *node = json_object();
    api_set(node, "run_id", api_text(run->id));
    api_set(node, "root", api_text(root));
    api_set_text(node, "parent", run->parent);
    api_set(node, "depth", json_integer((json_int_t)run->depth));
    api_set(node, "state", json_string(run_state_name(run->state)));
    api_set(node, "effective_state", json_string(run_state_name(effective_state(run))));
    add_meta(node, run);
    api_set(node, "owner", api_text(run->owner));
    api_set(node, "epoch", json_integer(run->epoch));
    api_set(node, "flags", api_flags(run->flags));
    api_set_time(node, "deadline_at", (struct wall){run->deadline_ms});
    if (run->finished_anyway != RUN_NONE)
        api_set(node, "finished_anyway", json_string(run_state_name(run->finished_anyway)));
    if (run->ban != NULL)
        api_set(node, "cancelled_by", api_text(run->ban->id));
    if (run->story.len > 0 && wire_story_decode(run->story, &story) == ERR_OK)
        api_set(node, "stop", api_story(&story));
    return node;
}

static bool record_of(const struct tree_run *run, struct cancel_record *out)
{
    struct str bytes = run->record.len > 0 ? run->record : run->loss;
    return bytes.len > 0 && wire_record_decode(bytes, out) == ERR_OK;
}

json_t *run_json(const struct tree_run *run, struct str root)
{
    struct cancel_record record;
    json_t *node = node_json(run, root), *path = json_array();
    size_t steps = 0;
    for (const struct tree_run *at = run; at != NULL && steps < PATH_MAX_IDS; at = at->up, steps++)
        if (path != NULL)
            json_array_insert_new(path, 0, api_text(at->id));
    api_set(node, "path", path);
    if (run->ban != NULL && record_of(run->ban, &record))
        api_set(node, "cancel", api_cancel_object(&record));
    return node;
}

/* ---- a tree ------------------------------------------------------------------------------------
 */
struct placed {
    const struct tree_run *run;
    int64_t started_ms;
};

static int by_place(const void *a, const void *b)
{
    const struct placed *one = a, *other = b;
    if (one->run->depth != other->run->depth)
        return one->run->depth < other->run->depth ? -1 : 1;
    if (one->started_ms != other->started_ms)
        return one->started_ms < other->started_ms ? -1 : 1;
    size_t len = one->run->id.len < other->run->id.len ? one->run->id.len : other->run->id.len;
    int order = memcmp(one->run->id.at, other->run->id.at, len);
    return order != 0 ? order : (int)one->run->id.len - (int)other->run->id.len;
}

static bool is_in_view(const struct tree_run *run, const struct tree_run *under,
                       const struct tree_view *view)
{
    uint32_t top = under != NULL ? under->depth : 1;
    if (run->state == RUN_NONE || (under != NULL && !tree_is_below(run, under)))
        return false;
    return view->depth < 0 || (int64_t)run->depth - (int64_t)top <= view->depth;
}

/* Parents before children, and among those of one depth the elder first. NULL: no memory. */
static struct placed *place(const struct tree *tree, const struct tree_run *under,
                            const struct tree_view *view, size_t *count)
{
    struct placed *placed = calloc(tree->run_count + 1, sizeof *placed);
    *count = 0;
    for (size_t i = 0; placed != NULL && i < tree->run_count; i++) {
        struct run_meta meta = {.started = {0}};
        const struct tree_run *run = tree->run[i];
        if (!is_in_view(run, under, view))
            continue;
        if (run->meta.len > 0 && wire_meta_decode(run->meta, &meta) != ERR_OK)
            meta.started.ms = 0;
        placed[(*count)++] = (struct placed){run, meta.started.ms};
    }
    if (placed != NULL)
        qsort(placed, *count, sizeof *placed, by_place);
    return placed;
}

/* Each cancel with what it has reached. */
static json_t *cancels_json(const struct tree *tree, const struct placed *placed, size_t count)
{
    enum { CANCELS_MAX = 100 };
    json_t *cancels = json_array();
    for (size_t i = 0; i < count && json_array_size(cancels) < CANCELS_MAX; i++) {
        struct cancel_record record;
        struct tally tally;
        if (!record_of(placed[i].run, &record))
            continue;
        tally_scope(tree, placed[i].run, &tally);
        json_t *cancel = api_cancel_object(&record);
        api_set(cancel, "counts", api_counts(&tally));
        api_set(cancel, "complete", json_boolean(tally.complete));
        if (cancels != NULL)
            json_array_append_new(cancels, cancel);
    }
    return cancels;
}

static json_t *links_json(const struct tree *tree, const struct tree_run *under,
                          const struct tree_view *view)
{
    json_t *links = json_array();
    for (size_t i = 0; links != NULL && i < tree->link_count; i++) {
        const struct tree_link *link = &tree->link[i];
        if (!is_in_view(link->from, under, view) || json_array_size(links) >= view->limit)
            continue;
        json_t *json = json_object();
        api_set(json, "run_id", api_text(link->from->id));
        api_set(json, "kind", json_string(link_kind_name(link->kind)));
        api_set(json, "to", api_text(link->to));
        api_set(json, "acknowledged", json_boolean(link->acknowledged));
        json_array_append_new(links, json);
    }
    return links;
}

json_t *tree_json(const struct tree *tree, struct str root, const struct tree_view *view)
{
    size_t count = 0;
    const struct tree_run *under = view->under.len > 0 ? tree_find(tree, view->under) : NULL;
    struct placed *placed = place(tree, under, view, &count);
    json_t *json = json_object(), *runs = json_array();
    size_t shown = count < view->limit ? count : view->limit;
    for (size_t i = 0; runs != NULL && i < shown; i++)
        json_array_append_new(runs, node_json(placed[i].run, root));
    api_set(json, "root", api_text(root));
    api_set(json, "live", json_integer(tree->live));
    api_set(json, "runs", runs);
    api_set(json, "cancels", cancels_json(tree, placed, count));
    api_set(json, "links", links_json(tree, under, view));
    api_set(json, "truncated", json_boolean(shown < count));
    free(placed);
    return json;
}
