/* What was asked: of a path, of the body of a JSON-RPC request, and of that of a REST request. */
#include <stdio.h>

#include "broker/a2a.h"

/* ---- paths --------------------------------------------------------------------------------- */
static bool drop_front(struct str *text, const char *front)
{
    size_t len = strlen(front);
    if (text->len < len || memcmp(text->at, front, len) != 0)
        return false;
    *text = (struct str){text->at + len, text->len - len};
    return true;
}

static bool drop_back(struct str *text, const char *back)
{
    size_t len = strlen(back);
    if (text->len < len || memcmp(text->at + text->len - len, back, len) != 0)
        return false;
    text->len -= len;
    return true;
}

/* Of a whole segment: /a2atasks is somewhere else. */
static bool drop_segment(struct str *path, const char *segment)
{
    struct str rest = *path;
    if (!drop_front(&rest, segment) || (rest.len > 0 && rest.at[0] != '/'))
        return false;
    *path = rest;
    return true;
}

static struct a2a_place place_of_task(struct str rest)
{
    struct a2a_place place = {.kind = A2A_AT_TASK, .allowed = "GET", .method = A2A_GET};
    struct str after = rest;
    place.task = str_cut(&after, '/');
    if (after.at != NULL && drop_segment(&after, "pushNotificationConfigs"))
        return (struct a2a_place){.kind = A2A_AT_REFUSAL, .fault = A2A_FAULT_NO_PUSH};
    if (after.at != NULL || place.task.len == 0)
        return (struct a2a_place){.kind = A2A_ELSEWHERE};
    if (drop_back(&place.task, ":cancel")) {
        place.method = A2A_CANCEL;
        place.allowed = "POST";
    } else if (drop_back(&place.task, ":subscribe")) {
        place.method = A2A_SUBSCRIBE;
        place.allowed = "GET, POST";
    }
    return place;
}

struct a2a_place a2a_place_of(struct str path)
{
    static const struct {
        const char *path;
        struct a2a_place place;
    } known[] = {
        {"/.well-known/agent-card.json", {.kind = A2A_AT_CARD, .allowed = "GET"}},
        {"/.well-known/agent.json", {.kind = A2A_AT_CARD, .allowed = "GET"}},
        {"/tasks", {A2A_AT_REFUSAL, "GET", A2A_GET, A2A_FAULT_UNSUPPORTED, {NULL, 0}}},
        {"/message:send", {A2A_AT_REFUSAL, "POST", A2A_GET, A2A_FAULT_UNSUPPORTED, {NULL, 0}}},
        {"/message:stream", {A2A_AT_REFUSAL, "POST", A2A_GET, A2A_FAULT_UNSUPPORTED, {NULL, 0}}},
        {"/extendedAgentCard", {A2A_AT_REFUSAL, "GET", A2A_GET, A2A_FAULT_NO_CARD, {NULL, 0}}},
        {"/card", {A2A_AT_REFUSAL, "GET", A2A_GET, A2A_FAULT_NO_CARD, {NULL, 0}}},
    };
    bool is_under = drop_segment(&path, "/a2a");
    if (is_under && (path.len == 0 || str_is(path, "/")))
        return (struct a2a_place){.kind = A2A_AT_RPC, .allowed = "POST"};
    (void)drop_segment(&path, "/v1");
    (void)drop_back(&path, "/");
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (str_is(path, known[i].path))
            return known[i].place;
    return drop_front(&path, "/tasks/") ? place_of_task(path)
                                        : (struct a2a_place){.kind = A2A_ELSEWHERE};
}

/* ---- members ------------------------------------------------------------------------------- */
static bool fails(struct a2a_trouble *trouble, enum a2a_fault fault, const char *detail)
{
    *trouble = (struct a2a_trouble){fault, detail};
    return false;
}

bool a2a_take_task_id(struct str id, struct a2a_call *call)
{
    if (!alias_is_valid(id))
        return false;
    memcpy(call->task, id.at, id.len);
    call->task[id.len] = '\0';
    return true;
}

static bool take_reason(const json_t *reason, struct a2a_call *call)
{
    if (reason == NULL || json_is_null(reason))
        return true;
    size_t len = json_string_length(reason);
    if (!json_is_string(reason) || len > TEXT_MAX_BYTES)
        return false;
    memcpy(call->reason, json_string_value(reason), len + 1);
    return true;
}

static bool take_action(const json_t *action, struct a2a_call *call)
{
    if (action == NULL || json_is_null(action))
        return true;
    const char *word = json_string_value(action);
    if (word == NULL || (strcmp(word, "interrupt") != 0 && strcmp(word, "rollback") != 0))
        return false;
    call->action = strcmp(word, "rollback") == 0 ? ACTION_ROLLBACK : ACTION_INTERRUPT;
    return true;
}

static bool take_grace(const json_t *grace, struct a2a_call *call)
{
    enum { GRACE_MAX_MS = 24 * 60 * 60 * 1000 };
    if (grace == NULL || json_is_null(grace))
        return true;
    json_int_t ms = json_integer_value(grace);
    if (!json_is_integer(grace) || ms < 0 || ms > GRACE_MAX_MS)
        return false;
    call->grace = MILLIS(ms);
    return true;
}

/* Metadata is anybody's: only what lies under our own URI is read. */
static bool take_metadata(const json_t *metadata, struct a2a_call *call,
                          struct a2a_trouble *trouble)
{
    if (metadata == NULL || json_is_null(metadata))
        return true;
    if (!json_is_object(metadata))
        return fails(trouble, A2A_FAULT_PARAMS, "metadata must be an object");
    const json_t *ours = json_object_get(metadata, A2A_EXTENSION);
    if (ours == NULL || json_is_null(ours))
        return true;
    if (!json_is_object(ours))
        return fails(trouble, A2A_FAULT_PARAMS, "metadata of " A2A_EXTENSION " must be an object");
    if (!take_reason(json_object_get(ours, "reason"), call))
        return fails(trouble, A2A_FAULT_PARAMS, "reason must be a string of at most 1024 bytes");
    if (!take_action(json_object_get(ours, "action"), call))
        return fails(trouble, A2A_FAULT_PARAMS, "action must be interrupt or rollback");
    if (!take_grace(json_object_get(ours, "grace_ms"), call))
        return fails(trouble, A2A_FAULT_PARAMS,
                     "grace_ms must be a whole number of milliseconds, at most a day");
    return true;
}

/* ---- JSON-RPC ------------------------------------------------------------------------------ */
struct rpc_method {
    const char *name;
    enum a2a_fault fault; /* NONE: served, as `method` */
    enum a2a_method method;
};
static const struct rpc_method methods_1_0[] = {
    {"GetTask", A2A_FAULT_NONE, A2A_GET},
    {"CancelTask", A2A_FAULT_NONE, A2A_CANCEL},
    {"SubscribeToTask", A2A_FAULT_NONE, A2A_SUBSCRIBE},
    {"SendMessage", A2A_FAULT_UNSUPPORTED, A2A_GET},
    {"SendStreamingMessage", A2A_FAULT_UNSUPPORTED, A2A_GET},
    {"ListTasks", A2A_FAULT_UNSUPPORTED, A2A_GET},
    {"CreateTaskPushNotificationConfig", A2A_FAULT_NO_PUSH, A2A_GET},
    {"GetTaskPushNotificationConfig", A2A_FAULT_NO_PUSH, A2A_GET},
    {"ListTaskPushNotificationConfigs", A2A_FAULT_NO_PUSH, A2A_GET},
    {"DeleteTaskPushNotificationConfig", A2A_FAULT_NO_PUSH, A2A_GET},
    {"GetExtendedAgentCard", A2A_FAULT_NO_CARD, A2A_GET},
    {NULL, A2A_FAULT_NONE, A2A_GET},
};
static const struct rpc_method methods_0_3[] = {
    {"tasks/get", A2A_FAULT_NONE, A2A_GET},
    {"tasks/cancel", A2A_FAULT_NONE, A2A_CANCEL},
    {"tasks/resubscribe", A2A_FAULT_NONE, A2A_SUBSCRIBE},
    {"message/send", A2A_FAULT_UNSUPPORTED, A2A_GET},
    {"message/stream", A2A_FAULT_UNSUPPORTED, A2A_GET},
    {"tasks/pushNotificationConfig/set", A2A_FAULT_NO_PUSH, A2A_GET},
    {"tasks/pushNotificationConfig/get", A2A_FAULT_NO_PUSH, A2A_GET},
    {"tasks/pushNotificationConfig/list", A2A_FAULT_NO_PUSH, A2A_GET},
    {"tasks/pushNotificationConfig/delete", A2A_FAULT_NO_PUSH, A2A_GET},
    {"agent/getAuthenticatedExtendedCard", A2A_FAULT_NO_CARD, A2A_GET},
    {NULL, A2A_FAULT_NONE, A2A_GET},
};

static bool take_method(const char *name, struct a2a_call *call, struct a2a_trouble *trouble)
{
    const struct rpc_method *method = call->version == A2A_1_0 ? methods_1_0 : methods_0_3;
    while (method->name != NULL && strcmp(method->name, name) != 0)
        method++;
    if (method->name == NULL)
        return fails(trouble, A2A_FAULT_METHOD, NULL);
    call->method = method->method;
    return method->fault == A2A_FAULT_NONE || fails(trouble, method->fault, NULL);
}

/* A number is good for its digits, as it is to the SDKs. */
static bool take_task(const json_t *params, struct a2a_call *call, struct a2a_trouble *trouble)
{
    const json_t *id = json_object_get(params, "id");
    char digits[32];
    struct str text = {json_string_value(id), json_string_length(id)};
    if (json_is_integer(id)) {
        snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(id));
        text = str_of(digits);
    } else if (!json_is_string(id) || text.len == 0) {
        bool is_of_mcp = json_is_string(json_object_get(params, "taskId"));
        return fails(trouble, A2A_FAULT_PARAMS,
                     is_of_mcp ? "params.id is missing; params.taskId is that of MCP, which is not "
                                 "served here"
                               : "params.id must be the id of a task");
    }
    return a2a_take_task_id(text, call) || fails(trouble, A2A_FAULT_NOT_FOUND, NULL);
}

static bool read_request(const json_t *request, struct a2a_call *call, struct a2a_trouble *trouble)
{
    const json_t *version = json_object_get(request, "jsonrpc"), *params;
    json_t *id = json_object_get(request, "id");
    const char *method = json_string_value(json_object_get(request, "method"));
    if (!json_is_object(request))
        return fails(trouble, A2A_FAULT_REQUEST, "one request object is served, not a batch");
    if (id != NULL && !json_is_string(id) && !json_is_number(id) && !json_is_null(id))
        return fails(trouble, A2A_FAULT_REQUEST, "id must be a string, a number or null");
    call->id = json_incref(id);
    if (!json_is_string(version) || strcmp(json_string_value(version), "2.0") != 0)
        return fails(trouble, A2A_FAULT_REQUEST, "jsonrpc must be \"2.0\"");
    if (method == NULL)
        return fails(trouble, A2A_FAULT_REQUEST, "method must be a string");
    if (!take_method(method, call, trouble))
        return false;
    params = json_object_get(request, "params");
    if (!json_is_object(params))
        return fails(trouble, A2A_FAULT_PARAMS, "params must be an object");
    return take_task(params, call, trouble)
           && (call->method != A2A_CANCEL
               || take_metadata(json_object_get(params, "metadata"), call, trouble));
}

bool a2a_read_rpc(struct str body, struct a2a_call *call, struct a2a_trouble *trouble)
{
    json_t *request = json_loadb(body.len > 0 ? body.at : "", body.len, JSON_DECODE_ANY, NULL);
    if (request == NULL)
        return fails(trouble, A2A_FAULT_PARSE, NULL);
    bool is_fine = read_request(request, call, trouble);
    json_decref(request);
    return is_fine;
}

/* ---- REST ---------------------------------------------------------------------------------- */
static bool is_blank(struct str body)
{
    for (size_t i = 0; i < body.len; i++)
        if (strchr(" \t\r\n", body.at[i]) == NULL || body.at[i] == '\0')
            return false;
    return true;
}

/* Clients send nothing, null, or an object whose id only repeats the path. */
bool a2a_read_rest(struct str body, struct a2a_call *call, struct a2a_trouble *trouble)
{
    if (is_blank(body))
        return true;
    json_t *members = json_loadb(body.at, body.len, JSON_DECODE_ANY, NULL);
    if (members == NULL)
        return fails(trouble, A2A_FAULT_PARSE, NULL);
    bool is_fine = json_is_null(members) || json_is_object(members)
                   || fails(trouble, A2A_FAULT_REQUEST, "the body must be an object");
    is_fine = is_fine && take_metadata(json_object_get(members, "metadata"), call, trouble);
    json_decref(members);
    return is_fine;
}
