/* What a run is registered with. What an agentd would refuse is left to it, so that there is one
 * place that knows. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "brakewire/environment.h"
#include "inside.h"

static bool set(json_t *json, const char *member, json_t *value)
{
    return json_object_set_new(json, member, value) == 0;
}

/* Nothing for NULL; false: no memory, or no UTF-8. */
static bool set_text(json_t *json, const char *member, const char *text)
{
    return text == NULL || set(json, member, json_string(text));
}

static bool set_word(json_t *json, const char *member, const char *const words[], size_t count,
                     int which)
{
    if (which <= 0 || (size_t)which >= count)
        return which == 0;
    return set(json, member, json_string(words[which]));
}
#define SET_WORD(json, member, which, ...)                                            \
    set_word(json, member, (const char *const[]){NULL, __VA_ARGS__},                  \
             sizeof((const char *const[]){NULL, __VA_ARGS__}) / sizeof(const char *), \
             (int)(which))

const char *incoming_baggage(const struct bw_run_params *params)
{
    if (params->entry)
        return NULL;
    if (params->baggage != NULL || params->parent != NULL || params->root != NULL)
        return params->baggage;
    const char *environment = getenv(BRAKEWIRE_ENV_BAGGAGE);
    return environment != NULL && environment[0] != '\0' ? environment : NULL;
}

static bool set_policies(json_t *json, const struct bw_run_params *params)
{
    return SET_WORD(json, "on_end", params->on_end, "cancel", "leave")
           && SET_WORD(json, "on_lost", params->on_lost, "takeover", "continue")
           && SET_WORD(json, "on_client_gone", params->on_client_gone, "continue")
           && SET_WORD(json, "when_isolated", params->when_isolated, "continue", "cancel");
}

static bool set_labels(json_t *json, const struct bw_run_params *params)
{
    json_t *labels = params->label_count > 0 ? json_object() : NULL;
    bool fits = params->label_count == 0 || labels != NULL;
    for (size_t i = 0; fits && i < params->label_count; i++)
        fits = set(labels, params->labels[i].key, json_string(params->labels[i].value));
    if (labels != NULL)
        fits = set(json, "labels", labels) && fits;
    return fits;
}

static bool add_target(json_t *stop, json_t *target, int64_t grace_ms)
{
    bool fits = grace_ms <= 0 || set(target, "grace_ms", json_integer(grace_ms));
    return json_array_append_new(stop, target) == 0 && fits;
}

static bool set_stop(json_t *json, const struct bw_run_params *params)
{
    json_t *stop = json_array();
    bool fits = add_target(stop, json_pack("{s:s}", "kind", "notify"), params->grace_ms);
    if (params->kills_process)
        fits = fits
               && add_target(stop, json_pack("{s:s, s:i}", "kind", "process", "pid", (int)getpid()),
                             0);
    return set(json, "stop", stop) && fits;
}

static bool set_all(json_t *json, const struct bw_run_params *params, const char *incarnation)
{
    return set_text(json, "baggage", incoming_baggage(params))
           && set_text(json, "parent", params->parent) && set_text(json, "root", params->root)
           && set_text(json, "run_id", params->run_id) && set_text(json, "agent", params->agent)
           && set_text(json, "thread_id", params->thread_id)
           && set_text(json, "linked_from", params->linked_from)
           && set_text(json, "retry_of", params->retry_of)
           && set_text(json, "resumed_from", params->resumed_from)
           && set_text(json, "incarnation", incarnation)
           && (!params->entry || set(json, "entry", json_true()))
           && (!params->strict || set(json, "strict", json_true()))
           && (params->deadline_ms <= 0
               || set(json, "deadline_ms", json_integer(params->deadline_ms)))
           && set_policies(json, params) && set_labels(json, params) && set_stop(json, params);
}

json_t *params_to_json(const struct bw_run_params *params, const char *incarnation,
                       enum bw_err *err)
{
    json_t *json = json_object();
    if (json != NULL && set_all(json, params, incarnation))
        return json;
    json_decref(json);
    *err = fault(BW_ERR_INVALID,
                 "a text of the run is not UTF-8, or a choice is none (or there is no memory)");
    return NULL;
}
