/* What a client of A2A sends: the first byte chooses version and binding, the rest is a path, a
 * version, a list of extensions and a body at once. Whatever is read is within its bounds, and
 * whatever is not has an error that is JSON. */
#include <assert.h>
#include <stdlib.h>

#include "broker/a2a.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void expect_bounds(const struct a2a_call *call)
{
    assert(strlen(call->task) <= ALIAS_MAX && strlen(call->reason) <= TEXT_MAX_BYTES);
    assert(str_is_utf8(str_of(call->reason)));
    assert(call->grace.ms >= -1 && call->action < ACTION_COUNT);
    assert(call->id == NULL || json_is_string(call->id) || json_is_number(call->id)
           || json_is_null(call->id));
}

static void expect_json(json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);
    assert(text != NULL);
    free(text);
    json_decref(json);
}

static void answer(const struct a2a_call *call, bool is_read, const struct a2a_trouble *trouble)
{
    static const struct a2a_task task = {
        .context = "c", .root = {"r"}, .run = {"r"}, .state = A2A_CANCELED, .is_cancelled = true};
    expect_bounds(call);
    if (is_read) {
        expect_json(a2a_first_event(&task, call));
        expect_json(a2a_next_event(&task, call, true));
    } else {
        assert(trouble->fault > A2A_FAULT_NONE && trouble->fault < A2A_FAULT_COUNT);
        expect_json(a2a_fault_json(call, trouble));
    }
}

static void read_path(struct str path)
{
    struct a2a_call call = {.grace = SPAN_NONE};
    struct a2a_place place = a2a_place_of(path);
    if (place.kind != A2A_AT_TASK)
        return;
    assert(place.task.at >= path.at && place.task.at + place.task.len <= path.at + path.len);
    if (a2a_take_task_id(place.task, &call))
        assert(alias_is_valid(str_of(call.task)));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len == 0)
        return 0;
    struct str rest = {(const char *)bytes + 1, len - 1};
    struct a2a_call call = {.version = (bytes[0] & 1) != 0 ? A2A_1_0 : A2A_0_3,
                            .binding = (bytes[0] & 2) != 0 ? A2A_REST : A2A_RPC,
                            .grace = SPAN_NONE};
    struct a2a_trouble trouble = {A2A_FAULT_NONE, NULL};
    enum a2a_version version;
    read_path(rest);
    (void)a2a_version_read(rest, &version);
    (void)a2a_names_extension(rest);
    bool is_read = call.binding == A2A_RPC ? a2a_read_rpc(rest, &call, &trouble)
                                           : a2a_read_rest(rest, &call, &trouble);
    answer(&call, is_read, &trouble);
    json_decref(call.id);
    return 0;
}
