/* Answers and errors, in the shape of each version and binding. */
#include <stdlib.h>

#include "broker/a2a.h"

struct shape {
    int code;           /* of JSON-RPC */
    unsigned status[2]; /* of REST, by version */
    const char *word;   /* google.rpc.Code */
    const char *reason; /* of the ErrorInfo, "" for none */
    const char *name;
    const char *message;
};
static const struct shape shapes[A2A_FAULT_COUNT] = {
#define X(tag, code, status_1_0, status_0_3, word, reason, name, message) \
    [A2A_FAULT_##tag] = {code, {status_0_3, status_1_0}, word, reason, name, message},
    A2A_FAULTS(X)
#undef X
};

void a2a_headers(const struct a2a_call *call, const char *headers[A2A_HEADERS_MAX])
{
    size_t count = 0;
    if (call->is_extended) {
        headers[count++] = call->version == A2A_1_0 ? "A2A-Extensions" : "X-A2A-Extensions";
        headers[count++] = A2A_EXTENSION;
    }
    headers[count] = NULL;
}

static void answer(struct http_request *request, const struct a2a_call *call, unsigned status,
                   json_t *json)
{
    bool is_new_rest = call->version == A2A_1_0 && call->binding == A2A_REST;
    const char *headers[A2A_HEADERS_MAX];
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    a2a_headers(call, headers);
    size_t count = 0;
    while (headers[count] != NULL)
        count++;
    if (status == 429 || status == 503) {
        headers[count++] = "Retry-After";
        headers[count++] = "1";
        headers[count] = NULL;
    }
    http_answer(request, text != NULL ? status : 503,
                is_new_rest ? "application/a2a+json" : "application/json",
                text != NULL ? str_of(text) : STR_NONE, headers);
    free(text);
}

static json_t *response(const struct a2a_call *call, const char *member, json_t *value)
{
    json_t *json = json_object();
    api_set(json, "jsonrpc", json_string("2.0"));
    api_set(json, "id", call->id != NULL ? json_incref(call->id) : json_null());
    api_set(json, member, value);
    return json;
}

void a2a_answer_task(struct http_request *request, const struct a2a_call *call,
                     const struct a2a_task *task)
{
    json_t *json = a2a_task_json(task, call);
    answer(request, call, 200, call->binding == A2A_RPC ? response(call, "result", json) : json);
}

/* 0.3 has no such thing. */
static json_t *details(const struct a2a_call *call, const struct shape *shape)
{
    if (call->version == A2A_0_3 || shape->reason[0] == '\0')
        return NULL;
    return json_pack("[{s:s, s:s, s:s}]", "@type", "type.googleapis.com/google.rpc.ErrorInfo",
                     "reason", shape->reason, "domain", "a2a-protocol.org");
}

json_t *a2a_fault_json(const struct a2a_call *call, const struct a2a_trouble *trouble)
{
    const struct shape *shape = &shapes[trouble->fault];
    const char *text = trouble->detail != NULL ? trouble->detail : shape->message;
    json_t *json = json_object(), *message = api_text(str_of(text));
    if (call->binding == A2A_RPC || call->version == A2A_0_3) {
        api_set(json, "code", json_integer(shape->code));
        api_set(json, "message", message);
        api_set(json, "data", details(call, shape));
        if (call->binding == A2A_REST) /* what the SDK in Python goes by */
            api_set(json, "type", json_string(shape->name));
        return call->binding == A2A_RPC ? response(call, "error", json) : json;
    }
    json_t *outer = json_object();
    api_set(json, "code", json_integer((json_int_t)shape->status[call->version]));
    api_set(json, "status", json_string(shape->word));
    api_set(json, "message", message);
    api_set(json, "details", details(call, shape));
    api_set(outer, "error", json);
    return outer;
}

void a2a_answer_fault(struct http_request *request, const struct a2a_call *call,
                      const struct a2a_trouble *trouble)
{
    unsigned status = shapes[trouble->fault].status[call->version];
    answer(request, call, call->binding == A2A_RPC ? 200 : status, a2a_fault_json(call, trouble));
}

struct a2a_trouble a2a_trouble_of(enum problem problem, const char *detail)
{
    switch (problem) {
    case PROBLEM_NOT_FOUND:
    case PROBLEM_CONFLICT:
        return (struct a2a_trouble){A2A_FAULT_NOT_FOUND, NULL};
    case PROBLEM_NOT_CANCELABLE:
    case PROBLEM_OVER:
        return (struct a2a_trouble){A2A_FAULT_NOT_CANCELABLE, NULL};
    case PROBLEM_OVERLOADED:
        return (struct a2a_trouble){A2A_FAULT_OVERLOADED, detail};
    case PROBLEM_UNAVAILABLE:
    case PROBLEM_UNKNOWN_OUTCOME:
        return (struct a2a_trouble){A2A_FAULT_UNAVAILABLE, detail};
    default:
        return (struct a2a_trouble){A2A_FAULT_INTERNAL, detail};
    }
}
