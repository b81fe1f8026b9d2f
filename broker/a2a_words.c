/* The words of A2A, as each version and binding spells them. */
#include "broker/a2a.h"

/* 0.3 in JSON-RPC; and the two protobuf enums, which part in one word. */
static const char *const words[A2A_STATE_COUNT][3] = {
    [A2A_WORKING] = {"working", "TASK_STATE_WORKING", "TASK_STATE_WORKING"},
    [A2A_INPUT_REQUIRED] = {"input-required", "TASK_STATE_INPUT_REQUIRED",
                            "TASK_STATE_INPUT_REQUIRED"},
    [A2A_COMPLETED] = {"completed", "TASK_STATE_COMPLETED", "TASK_STATE_COMPLETED"},
    [A2A_FAILED] = {"failed", "TASK_STATE_FAILED", "TASK_STATE_FAILED"},
    [A2A_CANCELED] = {"canceled", "TASK_STATE_CANCELED", "TASK_STATE_CANCELLED"},
};

const char *a2a_state_word(enum a2a_state state, const struct a2a_call *call)
{
    if (call->version == A2A_1_0)
        return words[state][1];
    return words[state][call->binding == A2A_RPC ? 0 : 2];
}

bool a2a_version_read(struct str text, enum a2a_version *out)
{
    struct str rest = text, major = str_cut(&rest, '.'), minor = str_cut(&rest, '.');
    if (text.len == 0 || (str_is(major, "0") && str_is(minor, "3")))
        *out = A2A_0_3;
    else if (str_is(major, "1") && (minor.at == NULL || str_is(minor, "0")))
        *out = A2A_1_0;
    else
        return false;
    return true;
}

static struct str trimmed(struct str text)
{
    while (text.len > 0 && (text.at[0] == ' ' || text.at[0] == '\t'))
        text = (struct str){text.at + 1, text.len - 1};
    while (text.len > 0 && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
        text.len--;
    return text;
}

bool a2a_names_extension(struct str list)
{
    while (list.at != NULL)
        if (str_is(trimmed(str_cut(&list, ',')), A2A_EXTENSION))
            return true;
    return false;
}
