/* Tasks and events as JSON, in the shape of each version. */
#include "broker/a2a.h"

/* What A2A has no word for. */
static json_t *metadata(const struct a2a_task *task)
{
    json_t *all = json_object(), *ours = json_object();
    api_set(ours, "run_id", api_text(id_str(&task->run)));
    api_set(ours, "root", api_text(id_str(&task->root)));
    api_set(ours, "state", json_string(run_state_name(task->run_state)));
    if (task->is_cancelled) {
        bool has_stopped = task->state == A2A_CANCELED;
        api_set(ours, "cancel", json_string(has_stopped ? "stopped" : "requested"));
        api_set(ours, "cancel_id", json_string(task->cancel_id));
        api_set(ours, "acked", json_integer((json_int_t)task->acked));
        api_set(ours, "pending", json_integer((json_int_t)task->pending));
        api_set(ours, "unresponsive", json_integer((json_int_t)task->unresponsive));
        api_set(ours, "lost", json_integer((json_int_t)task->lost));
    }
    api_set(all, A2A_EXTENSION, ours);
    return all;
}

static json_t *status(const struct a2a_task *task, const struct a2a_call *call)
{
    json_t *json = json_object();
    api_set(json, "state", json_string(a2a_state_word(task->state, call)));
    api_set_time(json, "timestamp", task->at);
    return json;
}

/* 0.3 tells its objects apart by `kind`, but not in protobuf's JSON, which its REST binding is. */
static json_t *object_of_kind(const char *kind, const struct a2a_call *call)
{
    json_t *json = json_object();
    if (call->version == A2A_0_3 && call->binding == A2A_RPC)
        api_set(json, "kind", json_string(kind));
    return json;
}

json_t *a2a_task_json(const struct a2a_task *task, const struct a2a_call *call)
{
    json_t *json = object_of_kind("task", call);
    api_set(json, "id", json_string(call->task));
    api_set(json, "contextId", api_text(str_of(task->context)));
    api_set(json, "status", status(task, call));
    api_set(json, "metadata", metadata(task));
    return json;
}

static json_t *update_json(const struct a2a_task *task, const struct a2a_call *call, bool is_last)
{
    json_t *json = object_of_kind("status-update", call);
    api_set(json, "taskId", json_string(call->task));
    api_set(json, "contextId", api_text(str_of(task->context)));
    api_set(json, "status", status(task, call));
    if (call->version == A2A_0_3)
        api_set(json, "final", json_boolean(is_last));
    api_set(json, "metadata", metadata(task));
    return json;
}

/* An event says which of its kinds it is by the name of its one member, but in 0.3's JSON-RPC. */
static json_t *wrapped(const char *name, json_t *event, const struct a2a_call *call)
{
    json_t *json = event;
    if (call->version == A2A_1_0 || call->binding == A2A_REST) {
        json = json_object();
        api_set(json, name, event);
    }
    if (call->binding == A2A_REST)
        return json;
    json_t *response = json_object();
    api_set(response, "jsonrpc", json_string("2.0"));
    api_set(response, "id", call->id != NULL ? json_incref(call->id) : json_null());
    api_set(response, "result", json);
    return response;
}

json_t *a2a_first_event(const struct a2a_task *task, const struct a2a_call *call)
{
    return wrapped("task", a2a_task_json(task, call), call);
}

json_t *a2a_next_event(const struct a2a_task *task, const struct a2a_call *call, bool is_last)
{
    return wrapped("statusUpdate", update_json(task, call, is_last), call);
}
