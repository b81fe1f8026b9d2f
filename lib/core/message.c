#include "core/message.h"

#include <assert.h>

static const char *const action_names[ACTION_COUNT] = {
    [ACTION_INTERRUPT] = "interrupt",
    [ACTION_ROLLBACK] = "rollback",
};

const char *action_name(enum action action)
{
    assert((int)action >= 0 && action < ACTION_COUNT);
    return action_names[action];
}

bool action_of_name(struct str word, enum action *out)
{
    for (int i = 0; i < ACTION_COUNT; i++) {
        if (str_is(word, action_names[i])) {
            *out = (enum action)i;
            return true;
        }
    }
    return false;
}

const char *stopped_by_name(enum stopped_by by)
{
    static const char *const name[] = {
        [STOPPED_BY_NONE] = "",
        [STOPPED_BY_NOTICE] = "notice",
        [STOPPED_BY_TERM] = "TERM",
        [STOPPED_BY_KILL] = "KILL",
    };
    assert((int)by >= 0 && by <= STOPPED_BY_KILL);
    return name[by];
}

const char *link_kind_name(enum link_kind kind)
{
    static const char *const name[] = {
        [LINK_ROOT] = "root",
        [LINK_A2A] = "a2a",
        [LINK_LANGGRAPH] = "langgraph",
        [LINK_HTTP] = "http",
    };
    assert((int)kind >= 0 && kind <= LINK_HTTP);
    return name[kind];
}
