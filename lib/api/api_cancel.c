/* POST …/cancel: the question and the honest answer. */
#include "api/api.h"

#define FIELD(name) API_FIELD(struct cancel_members, name)

struct cancel_members {
    int action, wait, if_unknown, durability;
    struct str reason, root, by;
    struct span grace_ms, timeout_ms;
    bool include_self, dry_run;
    int64_t expect_at_most;
};

enum { GRACE_MAX_MS = 24 * 3600 * 1000, WAIT_MAX_MS = 60 * 1000 };

static const struct api_member cancel_members[] = {
    {FIELD(action), .type = API_CHOICE, .choices = "interrupt|rollback"},
    {FIELD(reason), .type = API_TEXT, .max = TEXT_MAX_BYTES},
    {FIELD(grace_ms), .type = API_SPAN_MS, .min = 0, .max = GRACE_MAX_MS},
    {FIELD(wait), .type = API_CHOICE, .choices = "none|delivered|stopped"},
    {FIELD(timeout_ms), .type = API_SPAN_MS, .min = 0, .max = WAIT_MAX_MS},
    {FIELD(include_self), .type = API_BOOL},
    {FIELD(root), .type = API_ID},
    {FIELD(if_unknown), .type = API_CHOICE, .choices = "refuse|remember"},
    {FIELD(dry_run), .type = API_BOOL},
    {FIELD(expect_at_most), .type = API_INT, .min = 0, .max = INT32_MAX},
    {FIELD(durability), .type = API_CHOICE, .choices = "memory|replicated|fsynced"},
    {FIELD(by), .type = API_TEXT, .min = 1, .max = 128}, /* last: not everybody may say it */
};

bool api_cancel_ask(struct http_request *request, const json_t *body, struct str run,
                    bool may_name_by, struct cancel_ask *out)
{
    struct cancel_members asked = {
        .if_unknown = 1,
        .durability = (int)out->durability,
        .grace_ms = SPAN_NONE,
        .timeout_ms = SECONDS(10),
        .include_self = true,
        .expect_at_most = -1,
    };
    size_t known = sizeof cancel_members / sizeof cancel_members[0] - (may_name_by ? 0 : 1);
    if (!api_read_members(request, body, cancel_members, known, &asked))
        return false;
    *out = (struct cancel_ask){
        .run = run,
        .root = asked.root,
        .action = (enum action)asked.action,
        .reason = asked.reason,
        .by = asked.by,
        .trace_id = api_trace_id(request),
        .grace = asked.grace_ms,
        .wait = (enum cancel_wait)asked.wait,
        .timeout = asked.timeout_ms,
        .remember_unknown = asked.if_unknown == 1,
        .dry_run = asked.dry_run,
        .expect_at_most = asked.expect_at_most,
        .include_self = asked.include_self,
        .durability = (enum durability)asked.durability,
    };
    return true;
}

json_t *api_counts(const struct tally *tally)
{
    json_t *json = json_object();
    const struct {
        const char *name;
        size_t number;
    } numbers[] = {
        {"runs", tally->runs},
        {"requested", tally->requested},
        {"delivered", tally->delivered},
        {"acknowledged", tally->acknowledged},
        {"stopped", tally->stopped.count},
        {"pending", tally->pending.count},
        {"unresponsive", tally->unresponsive.count},
        {"suspect", tally->suspect.count},
        {"lost", tally->lost.count},
        {"finished_anyway", tally->finished_anyway.count},
        {"finished_before", tally->finished_before},
        {"observed", tally->observed.count},
        {"links", tally->links},
        {"links_acknowledged", tally->links_acknowledged},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        api_set(json, numbers[i].name, json_integer((json_int_t)numbers[i].number));
    return json;
}

static json_t *list_of(const struct str *names, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; array != NULL && i < count; i++)
        json_array_append_new(array, api_text(names[i]));
    return array;
}

static json_t *names(const struct tally *tally)
{
    const struct {
        const char *name;
        const struct tally_names *names;
    } lists[] = {
        {"stopped", &tally->stopped},
        {"pending", &tally->pending},
        {"unresponsive", &tally->unresponsive},
        {"suspect", &tally->suspect},
        {"lost", &tally->lost},
        {"finished_anyway", &tally->finished_anyway},
    };
    json_t *json = json_object();
    bool truncated = false;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        size_t count = lists[i].names->count;
        truncated = truncated || count > TALLY_NAMES_MAX;
        api_set(json, lists[i].name,
                list_of(lists[i].names->name, count < TALLY_NAMES_MAX ? count : TALLY_NAMES_MAX));
    }
    api_set(json, "truncated", json_boolean(truncated));
    return json;
}

static const char *wait_name(enum cancel_wait wait)
{
    return wait == WAIT_STOPPED ? "stopped" : wait == WAIT_DELIVERED ? "delivered" : "none";
}

json_t *api_cancel_answer(const struct cancel_result *result, const struct api_cancel_about *about)
{
    json_t *json = api_cancel_object(&result->record);
    api_set(json, "known", json_boolean(result->known));
    api_set(json, "already", json_boolean(result->already));
    api_set_text(json, "covered_by", result->covered_by);
    api_set(json, "target_state", json_string(run_state_name(result->target_state)));
    const char *reached = about->pending ? "local" : durability_name(result->durability);
    api_set(json, "durability", json_string(reached));
    api_set(json, "durability_asked", json_string(durability_name(result->durability_asked)));
    if (result->not_durable != NULL)
        api_set(json, "not_durable_because", api_text(str_of(result->not_durable)));
    api_set(json, "pending", json_boolean(about->pending));
    api_set(json, "wait", json_string(wait_name(result->wait)));
    api_set(json, "complete",
            json_boolean(result->counted && result->tally.complete && !about->pending
                         && result->unconfirmed_count == 0));
    api_set(json, "closed", json_boolean(result->closed));
    if (result->counted) {
        api_set(json, "counts", api_counts(&result->tally));
        api_set(json, "names", names(&result->tally));
    }
    api_set(json, "unconfirmed_replicas", list_of(result->unconfirmed, result->unconfirmed_count));
    const struct tally_names *isolated = &result->tally.isolated;
    api_set(json, "isolated_replicas",
            list_of(isolated->name,
                    isolated->count < TALLY_NAMES_MAX ? isolated->count : TALLY_NAMES_MAX));
    if (result->child_count > 0)
        api_set(json, "cancels", list_of(result->child, result->child_count));
    if (result->dry_run)
        api_set(json, "dry_run", json_true());
    if (about->at_agentd)
        api_set(json, "told_here", json_integer((json_int_t)about->told_here));
    return json;
}

static void answer_problem(struct http_request *request, const struct cancel_result *result)
{
    json_t *extra = json_object();
    api_set_text(extra, "run_id", result->run);
    if (result->target_state != RUN_NONE)
        api_set(extra, "state", json_string(run_state_name(result->target_state)));
    if (result->counted)
        api_set(extra, "counts", api_counts(&result->tally));
    api_problem(request, result->problem, result->detail, extra);
}

void api_answer_cancel(struct http_request *request, const struct cancel_result *result,
                       const struct api_cancel_about *about)
{
    if (result->problem != PROBLEM_NONE) {
        answer_problem(request, result);
        return;
    }
    bool is_done = result->dry_run || (result->wait != WAIT_NONE && result->awaited);
    http_answer_json(request, is_done ? 200 : 202, api_cancel_answer(result, about), NULL);
}

json_t *api_audit_entry(struct wall at, const struct cancel_result *result,
                        const struct cancel_ask *asked, const char *via, struct str from)
{
    bool refused = result->problem != PROBLEM_NONE;
    const struct cancel_record *record = &result->record;
    struct str run = asked != NULL ? asked->run : result->run;
    json_t *entry = json_object();
    api_set(entry, "at", api_time(at));
    api_set(entry, "what", json_string("cancel"));
    api_set(entry, "outcome",
            json_string(refused           ? "refused"
                        : result->already ? "already"
                                          : "accepted"));
    if (refused)
        api_set(entry, "code", json_string(problem_code(result->problem)));
    api_set(entry, "run_id", api_text(run));
    api_set_text(entry, "root", result->root.len > 0 || asked == NULL ? result->root : asked->root);
    api_set(entry, "action",
            json_string(action_name(asked != NULL ? asked->action : record->action)));
    api_set(entry, "reason", api_text(asked != NULL ? asked->reason : record->reason));
    api_set(entry, "by", api_text(asked != NULL ? asked->by : record->by));
    api_set(entry, "via", json_string(via));
    if (!refused && record->target.len > 0)
        api_set(entry, "cancel_id",
                json_sprintf("%.*s.%.*s", (int)record->root.len, record->root.at,
                             (int)record->target.len, record->target.at));
    api_set(entry, "from", api_text(from));
    return entry;
}
