/* JSON of the local API -> what the core is asked. */
#include "agentd/inside.h"

#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

enum { SPAN_MAX_MS = 1000000000, TOKEN_TEXT_MAX = 128, WORD_MAX = 256 };

/* ---- stop targets -------------------------------------------------------------------------- */

struct stop_members {
    int kind, signal;
    struct span grace_ms;
    int64_t pid;
    struct str token;
    bool subreaper;
    int preset;
    struct work_members work;
};
#define FIELD(name) API_FIELD(struct stop_members, name)
static const struct api_member stop_members[] = {
    {FIELD(kind), .type = API_CHOICE, .choices = "notify|process|http", .required = true},
    {FIELD(grace_ms), .type = API_SPAN_MS, .min = 0, .max = SPAN_MAX_MS},
    {FIELD(pid), .type = API_INT, .min = 2, .max = INT32_MAX},
    {FIELD(token), .type = API_TEXT, .min = 8, .max = TOKEN_TEXT_MAX},
    {FIELD(subreaper), .type = API_BOOL},
    {FIELD(signal), .type = API_CHOICE, .choices = "TERM|INT|HUP|QUIT|USR1|USR2|KILL"},
    {FIELD(preset), .type = API_CHOICE, .choices = "langgraph|a2a"},
    {WORK_FIELD(struct stop_members, headers), .type = API_OBJECT, .max = 16},
    WORK_MEMBERS(struct stop_members),
};
#undef FIELD
static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGKILL};

/* The uid whose processes this peer may have killed; root's word is good for any. */
static bool peer_uid(const struct http_request *request, uint32_t *uid)
{
    pid_t pid;
    uid_t peer;
    gid_t gid;
    if (!http_peer(request, &pid, &peer, &gid))
        return false;
    *uid = peer == 0 ? UINT32_MAX : (uint32_t)peer;
    return true;
}

static bool take_process(const struct http_request *request, const struct stop_members *asked,
                         struct stop_target *out, struct api_fault *fault)
{
    if (asked->pid == 0)
        return api_fault(fault, PROBLEM_INVALID, "pid", "a process needs its pid");
    if (!peer_uid(request, &out->uid))
        return api_fault(
            fault, PROBLEM_FORBIDDEN, "stop",
            "a process can only be named over the Unix socket, which tells whose it is");
    out->pid = (uint32_t)asked->pid;
    out->token = asked->token;
    out->has_subreaper = asked->subreaper;
    out->signal = signals[asked->signal];
    return true;
}

static bool take_work(struct agentd *d, const struct stop_members *asked, struct stop_target *out,
                      struct work_room *room, struct api_fault *fault)
{
    static const enum link_kind kinds[] = {LINK_HTTP, LINK_LANGGRAPH, LINK_A2A};
    out->protocol = kinds[asked->preset + 1];
    if (!work_take(d, out->protocol, &asked->work, room, fault))
        return false;
    out->to = str_of(room->to);
    out->headers = str_of(room->headers);
    return true;
}

static bool take_stop_target(struct agentd *d, const struct http_request *request,
                             const json_t *json, struct stop_target *out, struct work_room *room,
                             struct api_fault *fault)
{
    struct stop_members asked = {.grace_ms = SPAN_NONE, .preset = -1, .work = WORK_NONE};
    if (!json_is_object(json))
        return api_fault(fault, PROBLEM_INVALID, "stop", "each stop target must be an object");
    if (!api_take_members(json, stop_members, sizeof stop_members / sizeof stop_members[0], &asked,
                          fault))
        return false;
    *out = (struct stop_target){.kind = (enum stop_kind)asked.kind, .grace = asked.grace_ms};
    bool has_process = asked.pid != 0 || asked.token.len > 0;
    bool has_work = asked.preset >= 0 || asked.work.url.len > 0;
    if (out->kind != STOP_PROCESS && has_process)
        return api_fault(fault, PROBLEM_INVALID, "stop", "only a process has a pid and a token");
    if (out->kind != STOP_HTTP && has_work)
        return api_fault(fault, PROBLEM_INVALID, "stop", "only kind http has a url and a preset");
    if (out->kind == STOP_HTTP)
        return take_work(d, &asked, out, room, fault);
    return out->kind == STOP_NOTIFY || take_process(request, &asked, out, fault);
}

static bool take_stop(struct agentd *d, const struct http_request *request, const json_t *list,
                      struct ask_start *out, struct start_room *room, struct api_fault *fault)
{
    size_t processes = 0;
    out->stop_count = json_array_size(list);
    for (size_t i = 0; i < out->stop_count; i++) {
        if (!take_stop_target(d, request, json_array_get(list, i), &out->stop[i], &room->work[i],
                              fault))
            return false;
        processes += out->stop[i].kind == STOP_PROCESS;
    }
    return processes <= 1 || api_fault(fault, PROBLEM_INVALID, "stop", "at most one process a run");
}

/* ---- labels and references ----------------------------------------------------------------- */

/* "<root>/<run>", or a run alone where `alone` allows it. */
static bool names_a_run(struct str text, bool alone)
{
    struct str rest = text, root = str_cut(&rest, '/');
    return id_is_valid(root) && (rest.at == NULL ? alone : id_is_valid(rest));
}

/* Those that somebody asks for: the tasks of A2A. */
static bool take_aliases(const json_t *aliases, struct ask_start *out, struct start_room *room,
                         struct api_fault *fault)
{
    struct names {
        struct str a2a;
    } names = {STR_NONE};
    static const struct api_member members[] = {
        {API_FIELD(struct names, a2a), .type = API_TEXT, .min = 1, .max = ALIAS_MAX},
    };
    if (!api_take_members(aliases, members, 1, &names, fault))
        return false;
    if (names.a2a.len == 0)
        return true;
    if (!alias_is_valid(names.a2a))
        return api_fault(fault, PROBLEM_INVALID, "a2a",
                         "a2a must be a task id: 1 to %d visible ASCII characters", ALIAS_MAX);
    int len =
        snprintf(room->alias, sizeof room->alias, "a2a:%.*s", (int)names.a2a.len, names.a2a.at);
    out->alias = (struct str){room->alias, (size_t)len};
    return true;
}

/* ---- where in the tree --------------------------------------------------------------------- */

struct start_members {
    struct str run_id, parent, root, baggage, agent, thread_id, incarnation;
    struct str linked_from, retry_of, resumed_from;
    bool entry, strict, takeover;
    const json_t *labels, *stop, *aliases;
    struct span deadline_ms;
    int collateral, on_end, on_lost, on_client_gone, when_isolated, multitask_strategy;
    int64_t epoch;
};
#define FIELD(name) API_FIELD(struct start_members, name)
static const struct api_member start_members[] = {
    {FIELD(run_id), .type = API_ID},
    {FIELD(parent), .type = API_ID},
    {FIELD(root), .type = API_ID},
    {FIELD(baggage), .type = API_TEXT, .max = BAGGAGE_MAX_BYTES},
    {FIELD(entry), .type = API_BOOL},
    {FIELD(strict), .type = API_BOOL},
    {FIELD(agent), .type = API_TEXT, .max = WORD_MAX},
    {FIELD(thread_id), .type = API_TEXT, .max = WORD_MAX},
    {FIELD(multitask_strategy), .type = API_CHOICE, .choices = "enqueue|reject|interrupt|rollback"},
    {FIELD(labels), .type = API_OBJECT, .max = LABELS_MAX},
    {FIELD(deadline_ms), .type = API_SPAN_MS, .min = 0, .max = INT64_C(31536000000)},
    {FIELD(stop), .type = API_ARRAY, .max = STOP_TARGETS_MAX},
    {FIELD(collateral), .type = API_CHOICE, .choices = "refuse|allow"},
    {FIELD(on_end), .type = API_CHOICE, .choices = "cancel|leave"},
    {FIELD(on_lost), .type = API_CHOICE, .choices = "cancel|takeover|continue"},
    {FIELD(on_client_gone), .type = API_CHOICE, .choices = "cancel|continue"},
    {FIELD(when_isolated), .type = API_CHOICE, .choices = "continue|cancel"},
    {FIELD(aliases), .type = API_OBJECT, .max = 1},
    {FIELD(linked_from), .type = API_TEXT, .max = 2 * RUN_ID_MAX + 1},
    {FIELD(retry_of), .type = API_ID},
    {FIELD(resumed_from), .type = API_ID},
    {FIELD(epoch), .type = API_INT, .min = 1, .max = UINT32_MAX},
    {FIELD(takeover), .type = API_BOOL},
    {FIELD(incarnation), .type = API_ID},
};
#undef FIELD

/* The claimed path to a parent that was named by id. What is stored of a parent here is the truth;
 * else the ids between root and parent stay open: a cut. */
static bool path_to_parent(struct agentd *d, const struct start_members *asked,
                           struct start_room *room, struct str *path, struct api_fault *fault)
{
    struct agent_run_view parent;
    struct str root = asked->root;
    if (asked->parent.len == 0) {
        *path = root;
        return true;
    }
    if (agent_find_run(d->agent, asked->parent, agentd_now(d), &parent)
        && (root.len == 0 || str_eq(root, parent.root))) {
        *path = parent.path;
        return true;
    }
    if (root.len == 0)
        root = id_minted_root(asked->parent);
    if (root.len == 0)
        return api_fault(fault, PROBLEM_NOT_FOUND, "parent",
                         "the parent does not run here: name its root too, or pass its baggage on");
    int len = str_eq(root, asked->parent)
                  ? snprintf(room->path, sizeof room->path, "%.*s", (int)root.len, root.at)
                  : snprintf(room->path, sizeof room->path, "%.*s..%.*s", (int)root.len, root.at,
                             (int)asked->parent.len, asked->parent.at);
    *path = (struct str){room->path, (size_t)len};
    return true;
}

static void note_disbelief(struct agentd *d, const char *because)
{
    metric_add(&d->numbers.malformed[MALFORMED_BAGGAGE], 1);
    log_debug("baggage not taken", "because=\"%s\"", because);
}

/* With `signed` whoever is outside the mesh may send anything: it is as if there were nothing. */
static bool is_believed(struct agentd *d, const struct baggage *context)
{
    static const char *const because[] = {[BAGGAGE_IS_UNSIGNED] = "unsigned",
                                          [BAGGAGE_HAS_UNKNOWN_KEY] = "unknown key",
                                          [BAGGAGE_IS_FORGED] = "wrong signature"};
    if (d->settings->baggage == BAGGAGE_TRUST)
        return true;
    if (context->path.len == 0)
        return false; /* a deadline alone is nothing that is signed */
    enum baggage_trust trust = baggage_keys_verify(&d->baggage_keys, context);
    if (trust != BAGGAGE_IS_GOOD)
        note_disbelief(d, because[trust]);
    return trust == BAGGAGE_IS_GOOD;
}

/* What the header claims, as far as it is to be taken; false: it is refused. */
static bool take_baggage(struct agentd *d, struct str header, struct baggage *out)
{
    struct baggage context;
    *out = (struct baggage){.ttl = SPAN_NONE};
    if (header.len == 0 || d->settings->baggage == BAGGAGE_IGNORE)
        return true;
    if (baggage_parse(header, &context) != ERR_OK) {
        note_disbelief(d, "malformed");
        return d->settings->baggage == BAGGAGE_SIGNED;
    }
    if (is_believed(d, &context))
        *out = context;
    return true;
}

static bool take_place(struct agentd *d, struct http_request *request,
                       const struct start_members *asked, struct ask_start *out,
                       struct start_room *room, struct api_fault *fault)
{
    struct baggage claimed = {.ttl = SPAN_NONE};
    bool says_where = asked->parent.len > 0 || asked->root.len > 0;
    struct str header = asked->baggage.len > 0 ? asked->baggage : http_header(request, "baggage");
    if (says_where && asked->baggage.len > 0)
        return api_fault(fault, PROBLEM_INVALID, "baggage",
                         "give either baggage, or parent and root");
    room->others = header;
    if (!asked->entry && !take_baggage(d, header, &claimed))
        return api_fault(fault, PROBLEM_INVALID, "baggage",
                         "the brakewire member of baggage is not 1.<root>.<...>.<parent>");
    if (claimed.ttl.ms >= 0 && (out->deadline.ms < 0 || claimed.ttl.ms < out->deadline.ms))
        out->deadline = claimed.ttl;
    out->path = claimed.path;
    if (says_where && !path_to_parent(d, asked, room, &out->path, fault))
        return false;
    out->path_was_given = out->path.len > 0;
    return true;
}

static bool take_start(struct agentd *d, struct http_request *request,
                       const struct start_members *asked, struct ask_start *out,
                       struct start_room *room, struct api_fault *fault)
{
    *out = (struct ask_start){
        .run_id = asked->run_id,
        .entry = asked->entry,
        .strict = asked->strict,
        .deadline = asked->deadline_ms,
        .collateral_allowed = asked->collateral == 1,
        .on_end = (enum on_end)(asked->on_end + 1),
        .on_lost = (enum on_lost)asked->on_lost,
        .on_client_gone =
            asked->on_client_gone < 0 ? ON_GONE_CANCEL : (enum on_client_gone)asked->on_client_gone,
        .awaits_stream = asked->on_client_gone >= 0,
        .when_isolated = (enum when_isolated)(asked->when_isolated + 1),
        .multitask = (enum multitask)asked->multitask_strategy,
        .epoch = (uint32_t)asked->epoch,
        .takeover = asked->takeover,
        .incarnation = asked->incarnation,
        .meta = {.agent = asked->agent,
                 .thread = asked->thread_id,
                 .linked_from = asked->linked_from,
                 .retry_of = asked->retry_of,
                 .resumed_from = asked->resumed_from},
    };
    if (asked->multitask_strategy != MULTITASK_ENQUEUE && asked->thread_id.len == 0)
        return api_fault(fault, PROBLEM_INVALID, "multitask_strategy",
                         "multitask_strategy is about the runs of a thread: name its thread_id");
    if (asked->linked_from.len > 0 && !names_a_run(asked->linked_from, false))
        return api_fault(fault, PROBLEM_INVALID, "linked_from", "linked_from must be <root>/<run>");
    if (asked->epoch > 0 && asked->run_id.len == 0)
        return api_fault(fault, PROBLEM_INVALID, "epoch", "epoch adopts a run: name its run_id");
    return (asked->labels == NULL
            || api_take_labels(asked->labels, out->meta.label, &out->meta.label_count, fault))
           && (asked->stop == NULL || take_stop(d, request, asked->stop, out, room, fault))
           && (asked->aliases == NULL || take_aliases(asked->aliases, out, room, fault))
           && take_place(d, request, asked, out, room, fault);
}

bool request_start(struct agentd *d, struct http_request *request, const json_t *body,
                   struct ask_start *out, struct start_room *room)
{
    struct api_fault fault;
    struct start_members asked = {.deadline_ms = SPAN_NONE,
                                  .on_end = ON_END_DEFAULT - 1,
                                  .on_client_gone = -1,
                                  .when_isolated = WHEN_ISOLATED_DEFAULT - 1};
    if (!api_read_members(request, body, start_members,
                          sizeof start_members / sizeof start_members[0], &asked))
        return false;
    if (take_start(d, request, &asked, out, room, &fault))
        return true;
    api_answer_fault(request, &fault);
    return false;
}

/* ---- asks about a run ---------------------------------------------------------------------- */

struct run_members {
    int64_t epoch;
    int phase, state;
    const json_t *found_by;
    struct str write_id, bytes;
};
#define FIELD(name) API_FIELD(struct run_members, name)
#define EPOCH \
    {FIELD(epoch), .type = API_INT, .min = 1, .max = UINT32_MAX} /* the core asks for it */

bool request_ack(struct http_request *request, const json_t *body, struct ask_ack *out)
{
    static const struct api_member members[] = {
        EPOCH,
        {FIELD(phase), .type = API_CHOICE, .choices = "acknowledged|cleaned_up|checkpointed",
         .required = true},
    };
    struct run_members asked = {0};
    if (!api_read_members(request, body, members, sizeof members / sizeof members[0], &asked))
        return false;
    *out = (struct ask_ack){.epoch = (uint32_t)asked.epoch, .phase = (enum ack_phase)asked.phase};
    return true;
}

static bool take_found(const json_t *words, uint32_t *found)
{
    static const char *const known[] = {"pid", "cgroup", "subreaper", "token"};
    for (size_t i = 0; i < json_array_size(words); i++) {
        const char *word = json_string_value(json_array_get(words, i));
        size_t bit = 0;
        while (bit < 4 && (word == NULL || strcmp(word, known[bit]) != 0))
            bit++;
        if (bit == 4)
            return false;
        *found |= UINT32_C(1) << bit;
    }
    return true;
}

bool request_end(struct http_request *request, const json_t *body, struct ask_end *out)
{
    static const struct api_member members[] = {
        EPOCH,
        {FIELD(state), .type = API_CHOICE, .choices = "success|error|paused|cancelled|rolled_back",
         .required = true},
        {FIELD(found_by), .type = API_ARRAY, .max = 4},
    };
    static const enum run_state states[] = {RUN_SUCCESS, RUN_ERROR, RUN_PAUSED, RUN_CANCELLED,
                                            RUN_ROLLED_BACK};
    struct api_fault fault;
    struct run_members asked = {0};
    if (!api_read_members(request, body, members, sizeof members / sizeof members[0], &asked))
        return false;
    *out = (struct ask_end){.epoch = (uint32_t)asked.epoch, .state = states[asked.state]};
    if (take_found(asked.found_by, &out->found))
        return true;
    api_fault(&fault, PROBLEM_INVALID, "found_by",
              "found_by holds pid, cgroup, subreaper or token");
    api_answer_fault(request, &fault);
    return false;
}

struct link_members {
    int64_t epoch;
    int kind;
    struct str to;
    struct work_members work;
};

static bool take_link(struct agentd *d, const struct link_members *asked, struct ask_link *out,
                      struct work_room *room, struct api_fault *fault)
{
    enum link_kind kind = (enum link_kind)asked->kind;
    *out =
        (struct ask_link){.epoch = (uint32_t)asked->epoch, .link = {.kind = kind, .to = asked->to}};
    if (kind == LINK_ROOT) {
        if (asked->work.url.len > 0)
            return api_fault(fault, PROBLEM_INVALID, "url", "a root has no url: name it in to");
        return names_a_run(asked->to, true)
               || api_fault(fault, PROBLEM_INVALID, "to", "to must be <root> or <root>/<run>");
    }
    if (asked->to.len > 0)
        return api_fault(fault, PROBLEM_INVALID, "to",
                         "to is for the kind root; the others have a url and ids");
    if (!work_take(d, kind, &asked->work, room, fault))
        return false;
    out->link.to = str_of(room->to);
    return true;
}

bool request_link(struct agentd *d, struct http_request *request, const json_t *body,
                  struct ask_link *out, struct work_room *room)
{
    static const struct api_member members[] = {
        {API_FIELD(struct link_members, epoch), .type = API_INT, .min = 1, .max = UINT32_MAX},
        {API_FIELD(struct link_members, kind), .type = API_CHOICE,
         .choices = "root|a2a|langgraph|http", .required = true},
        {API_FIELD(struct link_members, to), .type = API_TEXT, .min = 1, .max = TEXT_MAX_BYTES},
        WORK_MEMBERS(struct link_members),
    };
    struct api_fault fault;
    struct link_members asked = {.work = WORK_NONE};
    if (!api_read_members(request, body, members, sizeof members / sizeof members[0], &asked))
        return false;
    if (take_link(d, &asked, out, room, &fault))
        return true;
    api_answer_fault(request, &fault);
    return false;
}

/* Into fresh memory; NULL when it is not base64 or there is none. */
static char *decode_base64(struct str text, size_t *len)
{
    size_t padding = 0;
    if (text.len % 4 != 0)
        return NULL;
    while (padding < 2 && padding < text.len && text.at[text.len - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < text.len - padding; i++)
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", text.at[i])
            == NULL)
            return NULL;
    unsigned char *bytes = malloc(text.len / 4 * 3 + 1);
    if (bytes == NULL)
        return NULL;
    EVP_DecodeBlock(bytes, (const unsigned char *)text.at, (int)text.len);
    *len = text.len / 4 * 3 - padding;
    return (char *)bytes;
}

bool request_fence(struct http_request *request, const json_t *body, struct ask_fence *out,
                   char **bytes)
{
    enum { BYTES_MAX = 1 << 20, BASE64_MAX = (BYTES_MAX + 2) / 3 * 4 };
    static const struct api_member members[] = {
        EPOCH,
        {FIELD(write_id), .type = API_TEXT, .min = 1, .max = 128, .required = true},
        {FIELD(bytes), .type = API_TEXT, .max = BASE64_MAX},
    };
    struct api_fault fault;
    struct run_members asked = {0};
    *bytes = NULL;
    if (!api_read_members(request, body, members, sizeof members / sizeof members[0], &asked))
        return false;
    *out = (struct ask_fence){.epoch = (uint32_t)asked.epoch, .write_id = asked.write_id};
    if (asked.bytes.len == 0)
        return true;
    *bytes = decode_base64(asked.bytes, &out->bytes.len);
    out->bytes.at = *bytes;
    if (*bytes != NULL && out->bytes.len <= BYTES_MAX)
        return true;
    api_fault(&fault, PROBLEM_INVALID, "bytes",
              *bytes == NULL ? "bytes must be base64 with its padding"
                             : "bytes must be at most 1 MiB before they are base64");
    free(*bytes);
    *bytes = NULL;
    api_answer_fault(request, &fault);
    return false;
}
