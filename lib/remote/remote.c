#include "remote/remote.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/list.h"
#include "base/mem.h"
#include "remote/answers.h"
#include "remote/text.h"

enum step { STEP_CARD, STEP_CANCEL, STEP_LOOK };

/* One question: one, two or three calls after another, within one time. */
struct talk {
    struct link in_talks;
    struct remote *remote;
    struct remote_name name;
    enum step step;
    enum action action;
    struct remote_work work; /* lent by `to` */
    struct buf endpoint;     /* a2a: where the calls go */
    uint64_t until_ms;       /* by the loop's clock */
    char *to, *headers;
};

struct remote {
    uv_loop_t *loop;
    struct http_caller *caller;
    remote_answered answered;
    void *owner;
    struct list talks;
};

static void talk_free(struct talk *talk)
{
    link_remove(&talk->in_talks);
    buf_fini(&talk->endpoint);
    mem_free(talk->to);
    mem_free(talk->headers);
    mem_free(talk);
}

static void conclude(struct talk *talk, enum remote_outcome outcome, const char *why)
{
    struct remote *remote = talk->remote;
    struct remote_name name = talk->name;
    char text[256] = "";
    if (why != NULL)
        snprintf(text, sizeof text, "%s", why);
    talk_free(talk);
    remote->answered(remote->owner, &name, outcome, text[0] != '\0' ? text : NULL);
}

/* ---- calls --------------------------------------------------------------------------------- */
static void on_outcome(void *owner, const struct http_outcome *outcome);
static void on_sent(void *owner);
static const struct http_called called = {on_sent, on_outcome};

struct request {
    const char *method;
    struct buf url, headers, body;
};

static struct span time_left(const struct talk *talk)
{
    uint64_t now = uv_now(talk->remote->loop);
    return MILLIS(talk->until_ms > now ? (int64_t)(talk->until_ms - now) : 1);
}

static enum err send_request(struct talk *talk, struct request *request)
{
    buf_add_text(&request->headers, talk->headers);
    bool fits = !request->url.failed && !request->headers.failed && !request->body.failed;
    struct http_errand errand = {
        .method = request->method,
        .url = request->url.len > 0 ? request->url.bytes : "",
        .headers = buf_str(&request->headers),
        .body = buf_str(&request->body),
        .within = time_left(talk),
    };
    enum err err =
        fits ? http_caller_call(talk->remote->caller, &errand, &called, talk) : ERR_NOMEM;
    buf_fini(&request->url);
    buf_fini(&request->headers);
    buf_fini(&request->body);
    return err;
}

/* ---- LangGraph ----------------------------------------------------------------------------- */
/* wait=0 is said: without it some servers wait, and some do not. */
static enum err langgraph_call(struct talk *talk)
{
    struct request request = {.method = talk->step == STEP_CANCEL ? "POST" : "GET"};
    buf_add_text(&request.url, talk->to);
    if (talk->step == STEP_CANCEL)
        buf_addf(&request.url, "/cancel?wait=0&action=%s", action_name(talk->action));
    return send_request(talk, &request);
}

/* ---- A2A ----------------------------------------------------------------------------------- */
static struct str base_url(struct str url)
{
    while (url.len > 0 && url.at[url.len - 1] == '/')
        url.len--;
    return url;
}

static void a2a_rpc(struct talk *talk, struct request *request)
{
    static const char *const methods[][2] = {{"tasks/cancel", "CancelTask"},
                                             {"tasks/get", "GetTask"}};
    struct buf id = {0};
    bool is_new = talk->work.version == A2A_1_0;
    request->method = "POST";
    buf_add_str(&request->url, buf_str(&talk->endpoint));
    buf_add_text(&request->headers, "Content-Type: application/json\n");
    if (remote_text_decode(talk->work.task_id, &id) != ERR_OK)
        request->body.failed = true;
    buf_addf(&request->body,
             "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\",\"params\":{\"id\":\"%.*s\"}}",
             methods[talk->step == STEP_LOOK][is_new], (int)id.len, id.len > 0 ? id.bytes : "");
    buf_fini(&id);
}

static void a2a_rest(struct talk *talk, struct request *request)
{
    bool is_cancel = talk->step == STEP_CANCEL;
    struct str base = base_url(buf_str(&talk->endpoint));
    request->method = is_cancel ? "POST" : "GET";
    buf_addf(&request->url, "%.*s%s/tasks/%.*s%s", (int)base.len, base.at,
             talk->work.version == A2A_0_3 ? "/v1" : "", (int)talk->work.task_id.len,
             talk->work.task_id.at, is_cancel ? ":cancel" : "");
    if (is_cancel)
        buf_add_text(&request->headers, "Content-Type: application/json\n");
}

static enum err a2a_call(struct talk *talk)
{
    struct request request = {.method = "GET"};
    if (talk->step == STEP_CARD) {
        struct str base = base_url(talk->work.url);
        buf_addf(&request.url, "%.*s/.well-known/agent-card.json", (int)base.len, base.at);
        return send_request(talk, &request);
    }
    if (talk->work.version == A2A_1_0)
        buf_add_text(&request.headers, "A2A-Version: 1.0\n");
    if (talk->work.binding == A2A_REST)
        a2a_rest(talk, &request);
    else
        a2a_rpc(talk, &request);
    return send_request(talk, &request);
}

/* ---- plain HTTP ---------------------------------------------------------------------------- */
static enum err http_call(struct talk *talk)
{
    char method[REMOTE_METHOD_MAX + 1];
    const struct remote_work *work = &talk->work;
    snprintf(method, sizeof method, "%.*s", (int)work->method.len, work->method.at);
    struct request request = {.method = method};
    buf_add_str(&request.url, work->url);
    buf_add_str(&request.body, work->body);
    return send_request(talk, &request);
}

/* ---- what came ----------------------------------------------------------------------------- */
static enum err next_call(struct talk *talk)
{
    switch (talk->work.kind) {
    case LINK_LANGGRAPH:
        return langgraph_call(talk);
    case LINK_A2A:
        return a2a_call(talk);
    case LINK_HTTP:
    case LINK_ROOT:
        break;
    }
    return http_call(talk);
}

static void go_on(struct talk *talk, enum step step)
{
    talk->step = step;
    enum err err = next_call(talk);
    if (err != ERR_OK)
        conclude(talk, REMOTE_UNREACHED, err_text(err));
}

static bool is_fine(long status)
{
    return status >= 200 && status < 300;
}

static enum remote_outcome of_status(long status)
{
    bool is_busy = status == 429 || status == 502 || status == 503 || status == 504;
    return is_busy ? REMOTE_UNREACHED : REMOTE_REFUSED;
}

static void conclude_by_status(struct talk *talk, enum remote_outcome outcome, long status)
{
    char why[64];
    snprintf(why, sizeof why, "HTTP status %ld", status);
    conclude(talk, outcome, why);
}

/* Its 202 and 204 say that the run is marked interrupted, no more; 404 and 409 that it cannot be
 * cancelled: not there, or over. */
static void langgraph_answered(struct talk *talk, const struct http_outcome *outcome)
{
    static const enum remote_outcome meant[] = {
        [LANGGRAPH_INTERRUPTED] = REMOTE_CANCELLED, [LANGGRAPH_SUCCESS] = REMOTE_SUCCEEDED,
        [LANGGRAPH_FAILED] = REMOTE_FAILED,         [LANGGRAPH_ACTIVE] = REMOTE_REFUSED,
        [LANGGRAPH_UNCLEAR] = REMOTE_REFUSED,
    };
    long status = outcome->status;
    bool cannot = status == 404 || status == 409;
    if (talk->step == STEP_CANCEL && cannot)
        go_on(talk, STEP_LOOK);
    else if (talk->step == STEP_CANCEL)
        conclude_by_status(talk, is_fine(status) ? REMOTE_CANCELLED : of_status(status), status);
    else if (is_fine(status))
        conclude(talk, meant[langgraph_read_run(outcome->body)], NULL);
    else
        conclude_by_status(talk,
                           status == 404 && langgraph_has_no_such_run(outcome->body)
                               ? REMOTE_NOT_HERE
                               : of_status(status),
                           status);
}

static bool take_card(struct talk *talk, struct str body)
{
    struct a2a_interface found;
    struct str url = talk->work.url;
    if (!a2a_read_card(body, talk->work.version, talk->work.binding, &found))
        return false;
    size_t host = 0;
    while (host + 3 <= url.len && memcmp(url.at + host, "://", 3) != 0)
        host++;
    for (host += 3; host < url.len && url.at[host] != '/';)
        host++;
    talk->work.version = found.version;
    talk->work.binding = found.binding;
    buf_add(&talk->endpoint, url.at, host < url.len ? host : url.len);
    buf_add_str(&talk->endpoint, buf_str(&found.path));
    buf_fini(&found.path);
    return !talk->endpoint.failed;
}

static void a2a_answered(struct talk *talk, const struct http_outcome *outcome)
{
    enum a2a_said said = a2a_read_answer(outcome->status, outcome->body);
    bool is_look = talk->step == STEP_LOOK;
    switch (said) {
    case A2A_CANCELED:
        conclude(talk, REMOTE_CANCELLED, NULL);
        break;
    case A2A_COMPLETED:
        conclude(talk, REMOTE_SUCCEEDED, NULL);
        break;
    case A2A_FAILED:
        conclude(talk, REMOTE_FAILED, NULL);
        break;
    case A2A_ACTIVE:
        conclude(talk, is_look ? REMOTE_REFUSED : REMOTE_ASKED, "the task is still active");
        break;
    case A2A_NO_SUCH_TASK:
        conclude(talk, REMOTE_NOT_HERE, NULL);
        break;
    case A2A_NOT_CANCELABLE:
        if (is_look)
            conclude(talk, REMOTE_REFUSED, "the task is not cancelable");
        else
            go_on(talk, STEP_LOOK);
        break;
    case A2A_BUSY:
        conclude_by_status(talk, REMOTE_UNREACHED, outcome->status);
        break;
    case A2A_ERROR:
        conclude(talk, REMOTE_REFUSED, "the agent answered with an error");
        break;
    }
}

static void card_answered(struct talk *talk, const struct http_outcome *outcome)
{
    if (!is_fine(outcome->status))
        conclude_by_status(talk, of_status(outcome->status), outcome->status);
    else if (take_card(talk, outcome->body))
        go_on(talk, STEP_CANCEL);
    else
        conclude(talk, REMOTE_REFUSED, "no interface in its agent card that we speak");
}

static void plain_answered(struct talk *talk, const struct http_outcome *outcome)
{
    bool is_gone = outcome->status == 404 || outcome->status == 410;
    conclude_by_status(talk,
                       is_fine(outcome->status) ? REMOTE_CANCELLED
                       : is_gone                ? REMOTE_NOT_HERE
                                                : of_status(outcome->status),
                       outcome->status);
}

/* The host was there and hung: it may have heard. */
static enum remote_outcome of_error(enum err err)
{
    switch (err) {
    case ERR_TIMEOUT:
        return REMOTE_SILENT;
    case ERR_REFUSED:
    case ERR_INVALID:
    case ERR_TOO_LARGE:
        return REMOTE_REFUSED;
    default:
        return REMOTE_UNREACHED;
    }
}

static void on_sent(void *owner)
{
    const struct talk *talk = owner;
    struct remote *remote = talk->remote;
    struct remote_name name = talk->name;
    if (talk->step == STEP_CANCEL)
        remote->answered(remote->owner, &name, REMOTE_SENT, NULL);
}

static void on_outcome(void *owner, const struct http_outcome *outcome)
{
    struct talk *talk = owner;
    if (outcome->err != ERR_OK)
        conclude(talk, of_error(outcome->err), outcome->why);
    else if (talk->step == STEP_CARD)
        card_answered(talk, outcome);
    else if (talk->work.kind == LINK_LANGGRAPH)
        langgraph_answered(talk, outcome);
    else if (talk->work.kind == LINK_A2A)
        a2a_answered(talk, outcome);
    else
        plain_answered(talk, outcome);
}

/* ---- from outside -------------------------------------------------------------------------- */
static struct talk *talk_new(struct remote *remote, const struct remote_ask *ask,
                             const struct remote_name *name)
{
    struct talk *talk = mem_new(sizeof *talk);
    if (talk == NULL)
        return NULL;
    talk->remote = remote;
    talk->name = *name;
    talk->action = ask->action;
    talk->until_ms = uv_now(remote->loop) + (uint64_t)(ask->within.ms > 0 ? ask->within.ms : 1);
    talk->to = mem_copy(ask->to);
    talk->headers = mem_copy(ask->headers);
    list_add_last(&remote->talks, &talk->in_talks);
    if (talk->to != NULL && talk->headers != NULL)
        return talk;
    talk_free(talk);
    return NULL;
}

/* What is stored was checked when it was registered; by a later version perhaps, or by hand. What
 * we cannot read has no URL, and is answered like any that is none. */
static enum err begin(struct talk *talk, enum link_kind kind)
{
    struct remote_work *work = &talk->work;
    if (!remote_text_read(kind, str_of(talk->to), work))
        *work = (struct remote_work){.kind = LINK_HTTP, .method = STR("POST")};
    bool has_endpoint = work->kind == LINK_A2A && work->version != A2A_ANY_VERSION;
    talk->step = work->kind == LINK_A2A && !has_endpoint ? STEP_CARD : STEP_CANCEL;
    if (has_endpoint)
        buf_add_str(&talk->endpoint, work->url);
    return talk->endpoint.failed ? ERR_NOMEM : next_call(talk);
}

enum err remote_cancel(struct remote *remote, const struct remote_ask *ask,
                       const struct remote_name *name)
{
    struct talk *talk = talk_new(remote, ask, name);
    if (talk == NULL)
        return ERR_NOMEM;
    enum err err = begin(talk, ask->kind);
    if (err != ERR_OK)
        talk_free(talk);
    return err;
}

enum err remote_open(uv_loop_t *loop, const struct host_list *hosts, remote_answered answered,
                     void *owner, struct remote **out)
{
    struct remote *remote = mem_new(sizeof *remote);
    if (remote == NULL)
        return ERR_NOMEM;
    remote->loop = loop;
    remote->answered = answered;
    remote->owner = owner;
    list_init(&remote->talks);
    enum err err =
        http_caller_open(loop, &(struct http_caller_options){.hosts = hosts}, &remote->caller);
    if (err != ERR_OK) {
        mem_free(remote);
        return err;
    }
    *out = remote;
    return ERR_OK;
}

void remote_close(struct remote *remote)
{
    http_caller_close(remote->caller);
    LIST_EACH (at, then, &remote->talks)
        talk_free(LIST_OWNER(at, struct talk, in_talks));
    mem_free(remote);
}
