/* The JSON of what both daemons show. */
#include "api/api.h"

void api_problem(struct http_request *request, enum problem problem, const char *detail,
                 json_t *extra)
{
    unsigned status = problem_status(problem);
    http_problem(request, status, problem_code(problem), problem_title(problem), detail, extra,
                 status == 429 || status == 503 ? 1 : 0);
}

json_t *api_text(struct str text)
{
    return http_text(text);
}

json_t *api_time(struct wall at)
{
    char text[WALL_TEXT_MAX];
    return json_string(wall_text(at, text));
}

void api_set(json_t *object, const char *name, json_t *value)
{
    if (object == NULL)
        json_decref(value);
    else if (value != NULL)
        json_object_set_new_nocheck(object, name, value);
}

void api_set_text(json_t *object, const char *name, struct str text)
{
    if (text.len > 0)
        api_set(object, name, api_text(text));
}

void api_set_time(json_t *object, const char *name, struct wall at)
{
    if (at.ms != 0)
        api_set(object, name, api_time(at));
}

void api_set_span(json_t *object, const char *name, struct span span)
{
    if (span.ms >= 0)
        api_set(object, name, json_integer(span.ms));
}

json_t *api_flags(uint32_t flags)
{
    static const struct {
        uint32_t bit;
        const char *word;
    } words[] = {
        {RUN_FLAG_BANNED, "banned"},
        {RUN_FLAG_DELIVERED, "delivered"},
        {RUN_FLAG_ACKNOWLEDGED, "acknowledged"},
        {RUN_FLAG_CLEANED_UP, "cleaned_up"},
        {RUN_FLAG_CHECKPOINTED, "checkpointed"},
        {RUN_FLAG_UNRESPONSIVE, "unresponsive"},
        {RUN_FLAG_GONE, "gone"},
        {RUN_FLAG_KILLING, "killing"},
        {RUN_FLAG_FROZEN, "frozen"},
        {RUN_FLAG_ORPHAN, "orphan"},
        {RUN_FLAG_PARENT_GONE, "parent_gone"},
        {RUN_FLAG_SUSPECT, "suspect"},
        {RUN_FLAG_LATE, "late"},
        {RUN_FLAG_OBSERVE, "observe"},
        {RUN_FLAG_NOTIFY, "notify"},
        {RUN_FLAG_UNPROTECTED, "unprotected"},
    };
    json_t *array = json_array();
    for (size_t i = 0; array != NULL && i < sizeof words / sizeof words[0]; i++)
        if ((flags & words[i].bit) != 0)
            json_array_append_new(array, json_string(words[i].word));
    return array;
}

static json_t *found_words(uint32_t found)
{
    static const struct {
        uint32_t bit;
        const char *word;
    } words[] = {{FOUND_BY_PID, "pid"},
                 {FOUND_BY_CGROUP, "cgroup"},
                 {FOUND_BY_SUBREAPER, "subreaper"},
                 {FOUND_BY_TOKEN, "token"}};
    json_t *array = json_array();
    for (size_t i = 0; array != NULL && i < sizeof words / sizeof words[0]; i++)
        if ((found & words[i].bit) != 0)
            json_array_append_new(array, json_string(words[i].word));
    return array;
}

json_t *api_story(const struct stop_story *story)
{
    json_t *stop = json_object();
    api_set_time(stop, "delivered_at", story->delivered);
    api_set_time(stop, "acknowledged_at", story->acknowledged);
    api_set_time(stop, "cleaned_up_at", story->cleaned_up);
    api_set_time(stop, "checkpointed_at", story->checkpointed);
    api_set_time(stop, "terminated_at", story->terminated);
    api_set_time(stop, "killed_at", story->killed);
    api_set_time(stop, "stopped_at", story->stopped);
    api_set_text(stop, "by", str_of(stopped_by_name(story->by)));
    if (story->found != 0)
        api_set(stop, "found_by", found_words(story->found));
    return stop;
}

json_t *api_path(struct str path)
{
    json_t *array = json_array();
    for (struct str rest = path; array != NULL && rest.at != NULL && path.len > 0;)
        json_array_append_new(array, api_text(str_cut(&rest, '.')));
    return array;
}

json_t *api_cancel_object(const struct cancel_record *record)
{
    json_t *cancel = json_object();
    api_set(cancel, "cancel_id",
            json_sprintf("%.*s.%.*s", (int)record->root.len, record->root.at,
                         (int)record->target.len, record->target.at));
    api_set(cancel, "root", api_text(record->root));
    api_set(cancel, "run_id", api_text(record->target));
    api_set(cancel, "action", json_string(action_name(record->action)));
    api_set(cancel, "reason", api_text(record->reason));
    api_set(cancel, "by", api_text(record->by));
    api_set(cancel, "requested_at", api_time(record->at));
    api_set_span(cancel, "grace_ms", record->grace);
    api_set_text(cancel, "trace_id", record->trace_id);
    if (record->hops > 0) /* else it is its own cause */
        api_set_text(cancel, "cause", record->cause);
    return cancel;
}
