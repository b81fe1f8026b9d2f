#include "brakectl/exec_run.h"
#include "brakewire/environment.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "io/http_client.h"

/* The agentd is on this machine: one that stays silent for so long is as good as away. */
static const struct span local_call = {3000};

static bool make_secret(char out[SECRET_LEN + 1])
{
    static const char alphabet[64] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char bytes[SECRET_LEN];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return false;
    for (size_t i = 0; i < SECRET_LEN; i++)
        out[i] = alphabet[bytes[i] & 63];
    out[SECRET_LEN] = '\0';
    return true;
}

/* Where the run stands in the tree: what was said here, or what our own environment says. */
static void set_context(json_t *request, const struct exec_settings *settings)
{
    if (settings->entry) {
        json_object_set_new(request, "entry", json_true());
        return;
    }
    json_set_text(request, "parent", settings->parent);
    json_set_text(request, "root", settings->root);
    if (settings->baggage != NULL)
        json_set_text(request, "baggage", settings->baggage);
    else if (settings->parent == NULL && settings->root == NULL)
        json_set_text(request, "baggage", getenv(BRAKEWIRE_ENV_BAGGAGE));
}

static json_t *with_grace(json_t *target, struct span grace)
{
    if (grace.ms >= 0)
        json_object_set_new(target, "grace_ms", json_integer(grace.ms));
    return target;
}

/* Where nobody hears the notice, there is nothing to wait for. */
static struct span notice_grace(const struct exec_settings *settings)
{
    bool is_heard = settings->on_cancel != NULL || settings->notice_signal != NULL;
    return settings->grace.ms < 0 && !is_heard ? MILLIS(0) : settings->grace;
}

/* First the notice, then the signals to the whole process tree. */
static json_t *stop_targets(const struct exec_run *run, const struct exec_settings *settings,
                            pid_t command)
{
    const char *name = sigabbrev_np(signal_of(settings->signal));
    json_t *process = json_pack("{s:s, s:i, s:s, s:s, s:b}", "kind", "process", "pid", (int)command,
                                "token", run->run_token, "signal", name, "subreaper", 1);
    return json_pack("[o, o]",
                     with_grace(json_pack("{s:s}", "kind", "notify"), notice_grace(settings)),
                     with_grace(process, settings->term_grace));
}

static void set_policies(json_t *request, const struct exec_settings *settings)
{
    json_set_text(request, "run_id", settings->run_id);
    json_set_text(request, "agent", settings->agent);
    json_set_text(request, "thread_id", settings->thread);
    json_set_text(request, "on_end", settings->on_end);
    json_set_text(request, "on_lost", settings->on_lost);
    json_set_text(request, "on_client_gone", settings->on_client_gone);
    json_set_text(request, "when_isolated", settings->when_isolated);
    json_set_text(request, "collateral", settings->collateral);
    json_set_text(request, "linked_from", settings->linked_from);
    json_set_text(request, "retry_of", settings->retry_of);
    json_set_text(request, "resumed_from", settings->resumed_from);
    if (settings->strict)
        json_object_set_new(request, "strict", json_true());
    if (settings->deadline.ms >= 0)
        json_object_set_new(request, "deadline_ms", json_integer(settings->deadline.ms));
}

bool exec_run_init(struct exec_run *run, const struct ctl *ctl,
                   const struct exec_settings *settings, pid_t command)
{
    char incarnation[SECRET_LEN + 1];
    *run = (struct exec_run){.where = agentd_where(ctl->agentd), .request = json_object()};
    if (!make_secret(run->client_token) || !make_secret(run->run_token) || !make_secret(incarnation)
        || http_client_new(run->where, run->client_token, &run->http) != ERR_OK) {
        fprintf(stderr, "brakectl: cannot speak to '%s'\n", run->where);
        return false;
    }
    set_context(run->request, settings);
    set_policies(run->request, settings);
    json_set_text(run->request, "incarnation", incarnation);
    json_object_set_new(run->request, "stop", stop_targets(run, settings, command));
    return json_set_labels(run->request, &settings->labels);
}

void exec_run_fini(struct exec_run *run)
{
    if (run->http != NULL)
        http_client_free(run->http);
    json_decref(run->request);
    buf_fini(&run->environment);
}

static void environment_add(struct exec_run *run, const char *name, const char *value)
{
    (void)buf_addf(&run->environment, "%s=%s", name, value);
    (void)buf_add(&run->environment, "", 1);
}

/* What the command and its children need: to pass the context on, and to speak for the run. */
static void environment_make(struct exec_run *run, const char *baggage)
{
    char epoch[24];
    snprintf(epoch, sizeof epoch, "%" PRId64, run->epoch);
    buf_clear(&run->environment);
    environment_add(run, BRAKEWIRE_ENV_BAGGAGE, baggage);
    bool is_unix = strncmp(run->where, "unix:", 5) == 0;
    environment_add(run, BRAKEWIRE_ENV_AGENTD, is_unix ? run->where + 5 : run->where);
    environment_add(run, BRAKEWIRE_ENV_EPOCH, epoch);
    environment_add(run, BRAKEWIRE_ENV_ROOT, run->root);
    environment_add(run, BRAKEWIRE_ENV_RUN_ID, run->run_id);
    environment_add(run, BRAKEWIRE_ENV_RUN_TOKEN, run->run_token);
    environment_add(run, BRAKEWIRE_ENV_TOKEN, run->client_token);
    (void)buf_add(&run->environment, "", 1);
}

static void remember(struct exec_run *run, const json_t *json)
{
    snprintf(run->run_id, sizeof run->run_id, "%s", json_text(json, "run_id"));
    snprintf(run->root, sizeof run->root, "%s", json_text(json, "root"));
    run->epoch = json_number(json, "epoch");
    json_set_text(run->request, "run_id", run->run_id);
    environment_make(run, json_text(json, "baggage"));
}

static enum exec_verdict verdict_of(const struct answer *answer)
{
    if (answer->status >= 200 && answer->status < 300)
        return EXEC_GOOD;
    bool may_pass = answer->status == 0 || answer->status == 429 || answer->status >= 500;
    return may_pass ? EXEC_AWAY : EXEC_REFUSED;
}

enum exec_verdict exec_run_register(struct exec_run *run, struct answer *answer)
{
    answer_to(run->http, "POST", "/v1/runs", json_incref(run->request), local_call, answer);
    enum exec_verdict verdict = verdict_of(answer);
    if (verdict == EXEC_GOOD)
        remember(run, answer->json);
    return verdict;
}

static void call_run(struct exec_run *run, const char *what, json_t *body, struct answer *answer)
{
    char path[128];
    snprintf(path, sizeof path, "/v1/runs/%s/%s", run->run_id, what);
    json_object_set_new(body, "epoch", json_integer(run->epoch));
    answer_to(run->http, "POST", path, body, local_call, answer);
}

/* A lost acknowledgement costs nothing but its place in the story. */
void exec_run_ack(struct exec_run *run, const char *phase)
{
    struct answer answer;
    call_run(run, "ack", json_pack("{s:s}", "phase", phase), &answer);
    answer_fini(&answer);
}

void exec_run_look(struct exec_run *run, struct answer *answer)
{
    char path[128];
    snprintf(path, sizeof path, "/v1/runs/%s", run->run_id);
    answer_to(run->http, "GET", path, NULL, local_call, answer);
}

static void remember_state(struct exec_run *run, const struct answer *answer)
{
    const char *state = json_text(answer->json, "state");
    if (state[0] != '\0')
        snprintf(run->state, sizeof run->state, "%s", state);
}

enum exec_verdict exec_run_end(struct exec_run *run, const char *state, bool by_subreaper)
{
    json_t *body = json_pack("{s:s}", "state", state);
    if (by_subreaper)
        json_object_set_new(body, "found_by", json_pack("[s]", "subreaper"));
    struct answer answer;
    call_run(run, "end", body, &answer);
    enum exec_verdict verdict = verdict_of(&answer);
    /* An agentd that was restarted knows neither us nor the run: register again first. */
    if (answer.status == 401 || answer.status == 404)
        verdict = EXEC_AWAY;
    snprintf(run->state, sizeof run->state, "%s", state);
    remember_state(run, &answer);
    answer_fini(&answer);
    return verdict;
}
