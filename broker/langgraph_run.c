/* A run as LangGraph shows it: GET /threads/{thread}/runs/{run}. */
#include "broker/langgraph.h"
#include "wire/message.h"

static bool record_of(const struct tree_run *run, struct cancel_record *out)
{
    if (run->ban == NULL)
        return false;
    struct str bytes = run->ban->record.len > 0 ? run->ban->record : run->ban->loss;
    return bytes.len > 0 && wire_record_decode(bytes, out) == ERR_OK;
}

bool langgraph_is_rolled_back(const struct tree_run *run)
{
    struct cancel_record record;
    if (!run_is_over(run->state))
        return false;
    return run->state == RUN_ROLLED_BACK
           || (run->state == RUN_CANCELLED && record_of(run, &record)
               && record.action == ACTION_ROLLBACK);
}

/* A run that was told to stop is running until it has stopped: its cancel_reason says the rest. */
const char *langgraph_status(const struct tree_run *run)
{
    switch (run->state) {
    case RUN_RUNNING:
    case RUN_STOPPING:
        return "running";
    case RUN_SUCCESS:
        return "success";
    case RUN_ERROR:
    case RUN_LOST:
        return "error";
    case RUN_TIMEOUT:
        return "timeout";
    case RUN_CANCELLED:
    case RUN_ROLLED_BACK:
    case RUN_PAUSED:
        return "interrupted";
    default:
        return "pending";
    }
}

static json_t *reason_json(const struct tree_run *run)
{
    struct cancel_record record;
    if (!record_of(run, &record))
        return run->ban != NULL ? json_string("cancelled") : json_null();
    return record.reason.len > 0
               ? api_text(record.reason)
               : json_sprintf("cancelled by %.*s", (int)record.by.len, record.by.at);
}

static struct wall last_change(const struct tree_run *run, const struct run_meta *meta)
{
    struct cancel_record record;
    struct stop_story story;
    struct wall last = meta->started;
    if (record_of(run, &record) && record.at.ms > last.ms)
        last = record.at;
    if (run->story.len == 0 || wire_story_decode(run->story, &story) != ERR_OK)
        return last;
    const struct wall points[] = {story.delivered,    story.acknowledged, story.cleaned_up,
                                  story.checkpointed, story.terminated,   story.killed,
                                  story.stopped};
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        last = points[i].ms > last.ms ? points[i] : last;
    return last;
}

static json_t *metadata_json(const struct run_meta *meta)
{
    json_t *json = json_object();
    for (size_t i = 0; json != NULL && i < meta->label_count; i++)
        json_object_setn_new(json, meta->label[i].key.at, meta->label[i].key.len,
                             api_text(meta->label[i].value));
    return json;
}

json_t *langgraph_run_json(const struct tree_run *run, enum multitask multitask)
{
    struct run_meta meta = {.label_count = 0};
    if (run->meta.len > 0 && wire_meta_decode(run->meta, &meta) != ERR_OK)
        meta = (struct run_meta){.label_count = 0};
    json_t *json = json_object();
    api_set(json, "run_id", api_text(run->id));
    api_set(json, "thread_id", api_text(meta.thread));
    api_set(json, "assistant_id", api_text(meta.agent));
    api_set(json, "created_at", api_time(meta.started));
    api_set(json, "updated_at", api_time(last_change(run, &meta)));
    api_set(json, "status", json_string(langgraph_status(run)));
    api_set(json, "metadata", metadata_json(&meta));
    api_set(json, "kwargs", json_object());
    api_set(json, "multitask_strategy", json_string(multitask_name(multitask)));
    api_set(json, "cancel_reason", reason_json(run));
    return json;
}

/* ---- GET …/runs/{run} ----------------------------------------------------------------------- */
static void on_tree(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct langgraph_find *find = owner;
    (void)token;
    if (read_failed(&find->read, answer))
        return;
    struct http_request *request = find->read.pending.request;
    const struct tree_run *run =
        answer->tree != NULL ? tree_find(answer->tree, id_str(&find->seek.run)) : NULL;
    if (run == NULL || langgraph_is_rolled_back(run))
        langgraph_refuse(request, 404, langgraph_unknown);
    else
        http_answer_json(request, 200, langgraph_run_json(run, find->seek.multitask), NULL);
    read_end(&find->read);
}

static void on_found(struct langgraph_find *find)
{
    struct store_call call = {.op = STORE_TREE, .root = id_str(&find->seek.root)};
    read_call(&find->read, &call, on_tree);
}

void langgraph_get(struct brokerd *d, struct http_request *request, struct str thread,
                   struct str run)
{
    struct langgraph_find *find = langgraph_find_open(d, request, sizeof *find, thread, run);
    if (find != NULL)
        langgraph_find(find, on_found);
}
