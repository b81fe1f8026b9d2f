/* Requests of A2A: which they are, and those that are answered at once. */
#include <strings.h>

#include "base/buf.h"
#include "base/mem.h"
#include "broker/a2a.h"

struct a2a_job {
    struct read read; /* first */
    struct a2a_call call;
    struct a2a_task task;
    struct run_id root, run;
    bool is_cancelled; /* our cancel was recorded, */
    bool has_stopped;  /* everything in its scope has, in other trees, too */
    bool has_looked;   /* ... which is known now */
};

/* ---- the life of a question ---------------------------------------------------------------- */
static void free_job(struct read *read)
{
    struct a2a_job *job = (struct a2a_job *)read;
    json_decref(job->call.id);
    mem_free(job);
}

static void end_with(struct a2a_job *job, struct a2a_trouble trouble)
{
    if (job->read.pending.request != NULL)
        a2a_answer_fault(job->read.pending.request, &job->call, &trouble);
    read_end(&job->read);
}

static void end_with_fault(struct a2a_job *job, enum a2a_fault fault)
{
    end_with(job, (struct a2a_trouble){fault, NULL});
}

static void refuse(struct read *read, const char *detail)
{
    struct a2a_job *job = (struct a2a_job *)read;
    struct a2a_trouble trouble = {A2A_FAULT_UNAVAILABLE, detail};
    a2a_answer_fault(read->pending.request, &job->call, &trouble);
}

static void end_with_task(struct a2a_job *job)
{
    if (job->read.pending.request != NULL)
        a2a_answer_task(job->read.pending.request, &job->call, &job->task);
    read_end(&job->read);
}

/* ---- cancel -------------------------------------------------------------------------------- */
static void read_task(struct a2a_job *job);

static void on_cancelled(void *owner, const struct cancel_result *result)
{
    struct a2a_job *job = owner;
    if (result->problem != PROBLEM_NONE) {
        end_with(job, a2a_trouble_of(result->problem, result->detail));
        return;
    }
    job->is_cancelled = true;
    job->has_looked = job->has_stopped = result->wait == WAIT_STOPPED && result->awaited;
    read_task(job);
}

static void cancel(struct a2a_job *job)
{
    struct brokerd *d = job->read.daemon;
    struct span wait = d->settings->a2a_wait;
    struct cancel_ask ask = {
        .ask = ask_open(d, job, on_cancelled),
        .run = id_str(&job->run),
        .root = id_str(&job->root),
        .action = job->call.action,
        .reason = str_of(job->call.reason),
        .by = STR("a2a"),
        .grace = job->call.grace,
        .wait = wait.ms > 0 ? WAIT_STOPPED : WAIT_NONE,
        .timeout = wait,
        .even_if_over = job->task.state == A2A_INPUT_REQUIRED,
        .expect_at_most = -1,
        .include_self = true,
        .durability = (enum durability)d->settings->durability,
        .follow_links = true,
    };
    ask_waits_if_there_is_room(d, &ask);
    if (ask.ask == 0)
        end_with_fault(job, A2A_FAULT_OVERLOADED);
    else
        feed_cancels(d, (struct cancels_event){.kind = CANCELS_ASK, .asked = &ask});
}

/* A task that is over is not cancelable; 1.0 lets the cancel of a canceled one be repeated. */
static void answer_cancel_of_task(struct a2a_job *job)
{
    bool is_done =
        job->is_cancelled || (job->task.state == A2A_CANCELED && job->call.version == A2A_1_0);
    if (is_done)
        end_with_task(job);
    else if (a2a_task_is_over(&job->task))
        end_with_fault(job, A2A_FAULT_NOT_CANCELABLE);
    else
        cancel(job);
}

/* ---- what the task is ---------------------------------------------------------------------- */
static void answer_known(struct a2a_job *job)
{
    if (job->read.pending.request == NULL) {
        read_end(&job->read);
    } else if (job->call.method == A2A_CANCEL) {
        answer_cancel_of_task(job);
    } else if (job->call.method == A2A_GET) {
        end_with_task(job);
    } else {
        a2a_subscribe(job->read.daemon, job->read.pending.request, &job->call, &job->task);
        read_end(&job->read);
    }
}

/* The cores are busy in here: what comes next may not be a cancel, so the tree is read again. */
static void on_looked_elsewhere(void *owner, const struct cancel_result *result)
{
    struct a2a_job *job = owner;
    job->has_looked = true;
    job->has_stopped = result->problem == PROBLEM_NONE && result->tally.complete;
    read_task(job);
}

uint64_t a2a_ask_whether_stopped(struct brokerd *d, const struct a2a_task *task, void *owner,
                                 cancel_answered answered)
{
    struct cancel_ask ask = {.ask = ask_open(d, owner, answered),
                             .run = id_str(&task->run),
                             .root = id_str(&task->root),
                             .by = STR("a2a"),
                             .grace = SPAN_NONE,
                             .timeout = {2000},
                             .dry_run = true,
                             .expect_at_most = -1,
                             .include_self = true};
    if (ask.ask != 0)
        feed_cancels(d, (struct cancels_event){.kind = CANCELS_ASK, .asked = &ask});
    return ask.ask;
}

/* Canceled is said only when it is true of everything below it, in other trees, too. */
static void on_tree(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct a2a_job *job = owner;
    struct brokerd *d = job->read.daemon;
    (void)token;
    if (read_failed(&job->read, answer))
        return;
    if (!a2a_task_of(answer->tree, &job->root, &job->run, &job->task)) {
        end_with_fault(job, A2A_FAULT_NOT_FOUND);
        return;
    }
    if (job->task.state == A2A_CANCELED && !job->has_stopped) {
        bool is_settled = cancels_are_settled(d->cancels);
        bool must_look = is_settled && job->task.leads_elsewhere && !job->has_looked;
        if (must_look && a2a_ask_whether_stopped(d, &job->task, job, on_looked_elsewhere) != 0)
            return;
        if (!is_settled || job->task.leads_elsewhere)
            a2a_task_goes_on(&job->task);
    }
    answer_known(job);
}

static void read_task(struct a2a_job *job)
{
    struct store_call call = {.op = STORE_TREE, .root = id_str(&job->root)};
    read_call(&job->read, &call, on_tree);
}

/* ---- whose task it is ---------------------------------------------------------------------- */
static void on_found(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct a2a_job *job = owner;
    (void)token;
    if (read_failed(&job->read, answer))
        return;
    if (answer->verdict == SAID_OK && id_parse(answer->text, &job->root))
        read_task(job);
    else
        end_with_fault(job, A2A_FAULT_NOT_FOUND);
}

static void on_alias(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct a2a_job *job = owner;
    (void)token;
    if (read_failed(&job->read, answer))
        return;
    struct str rest = answer->text, task = str_of(job->call.task), root = str_cut(&rest, '/');
    bool is_alias = answer->verdict == SAID_OK;
    if (is_alias && id_parse(root, &job->root) && id_parse(rest, &job->run))
        read_task(job);
    else if (is_alias || !id_parse(task, &job->run))
        end_with_fault(job, A2A_FAULT_NOT_FOUND);
    else if (id_parse(id_minted_root(task), &job->root))
        read_task(job);
    else
        read_call(&job->read, &(struct store_call){.op = STORE_FIND_READ, .id = task}, on_found);
}

static void begin(struct brokerd *d, struct http_request *request, struct a2a_call *call)
{
    char alias[sizeof "a2a:" + ALIAS_MAX] = "a2a:";
    enum problem problem;
    const char *detail;
    struct a2a_job *job = read_make(d, request, sizeof *job, free_job, &problem, &detail);
    if (job == NULL) {
        struct a2a_trouble trouble = a2a_trouble_of(problem, detail);
        a2a_answer_fault(request, call, &trouble);
        json_decref(call->id);
        return;
    }
    job->read.refuse = refuse;
    job->call = *call;
    strcat(alias, job->call.task);
    read_call(&job->read, &(struct store_call){.op = STORE_FIND_READ, .id = str_of(alias)},
              on_alias);
}

/* ---- the request --------------------------------------------------------------------------- */
static bool is_json(struct str type)
{
    struct str rest = type, name = str_cut(&rest, ';');
    while (name.len > 0 && name.at[name.len - 1] == ' ')
        name.len--;
    static const char *const known[] = {"application/json", "application/a2a+json"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (name.len == strlen(known[i]) && strncasecmp(name.at, known[i], name.len) == 0)
            return true;
    return type.at == NULL; /* who says nothing may still have sent it */
}

/* False: `trouble` says why; what it has to be answered in is in `call` all the same. */
static bool read_envelope(struct http_request *request, struct a2a_call *call,
                          struct a2a_trouble *trouble)
{
    struct str version = http_header(request, "A2A-Version");
    struct str extensions = http_header(request, "A2A-Extensions");
    if (version.len == 0)
        version = http_query(request, "A2A-Version");
    if (extensions.at == NULL)
        extensions = http_header(request, "X-A2A-Extensions");
    call->is_extended = a2a_names_extension(extensions);
    call->version = A2A_1_0;
    *trouble = (struct a2a_trouble){A2A_FAULT_NONE, NULL};
    if (!a2a_version_read(version, &call->version))
        trouble->fault = A2A_FAULT_VERSION;
    else if (http_body(request).len > 0 && !is_json(http_header(request, "Content-Type")))
        trouble->fault = A2A_FAULT_CONTENT_TYPE;
    return trouble->fault == A2A_FAULT_NONE;
}

static bool read_call_of(struct http_request *request, const struct a2a_place *place,
                         struct a2a_call *call, struct a2a_trouble *trouble)
{
    if (!read_envelope(request, call, trouble))
        return false;
    if (place->kind == A2A_AT_RPC)
        return a2a_read_rpc(http_body(request), call, trouble);
    call->method = place->method;
    trouble->fault = place->fault;
    if (place->kind == A2A_AT_REFUSAL)
        return false;
    trouble->fault = A2A_FAULT_NOT_FOUND;
    return a2a_take_task_id(place->task, call)
           && (place->method != A2A_CANCEL || a2a_read_rest(http_body(request), call, trouble));
}

static void serve_call(struct brokerd *d, struct http_request *request,
                       const struct a2a_place *place)
{
    struct a2a_trouble trouble;
    struct a2a_call call = {.binding = place->kind == A2A_AT_RPC ? A2A_RPC : A2A_REST,
                            .grace = SPAN_NONE};
    if (read_call_of(request, place, &call, &trouble)) {
        begin(d, request, &call);
        return;
    }
    a2a_answer_fault(request, &call, &trouble);
    json_decref(call.id);
}

/* A Host that could not stand in a URL is not repeated. */
static bool is_host(struct str host)
{
    for (size_t i = 0; i < host.len; i++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]",
                   host.at[i])
            == NULL)
            return false;
    return host.len > 0 && host.len <= 255;
}

static void serve_card(struct brokerd *d, struct http_request *request)
{
    struct buf base = {0};
    struct str host = http_header(request, "Host");
    const char *url = d->settings->a2a_url;
    if (url != NULL && url[0] != '\0') {
        buf_add_text(&base, url);
        while (base.len > 0 && base.bytes[base.len - 1] == '/')
            base.len--;
    } else {
        buf_add_text(&base, "http://");
        buf_add_str(&base, is_host(host) ? host : STR("localhost"));
    }
    http_answer_json(request, 200, a2a_card(buf_str(&base)), NULL);
    buf_fini(&base);
}

static bool is_allowed(const struct a2a_place *place, struct str method)
{
    struct str rest = place->allowed != NULL ? str_of(place->allowed) : STR_NONE;
    if (str_is(method, "HEAD"))
        method = STR("GET");
    while (rest.at != NULL) {
        struct str one = str_cut(&rest, ',');
        if (one.len > 0 && one.at[0] == ' ')
            one = (struct str){one.at + 1, one.len - 1};
        if (str_eq(one, method))
            return true;
    }
    return place->allowed == NULL;
}

bool a2a_serves(struct brokerd *d, struct http_request *request)
{
    struct a2a_place place = a2a_place_of(http_path(request));
    if (place.kind == A2A_ELSEWHERE)
        return false;
    if (!is_allowed(&place, http_method(request)))
        api_refuse_method(request, place.allowed);
    else if (place.kind == A2A_AT_CARD)
        serve_card(d, request);
    else
        serve_call(d, request, &place);
    return true;
}
