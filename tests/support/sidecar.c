#include "support/sidecar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "brakectl/sse.h"

enum { BODY_MAX = 8192, FLAGS_MAX = 24 };

static void add_flags(const struct redis_process *redis, const char *const more[], char url[160],
                      const char *flags[FLAGS_MAX])
{
    size_t count = 0;
    snprintf(url, 160, "--redis-url=%s", redis->url);
    flags[count++] = url;
    flags[count++] = "--log-level=debug";
    for (size_t i = 0; more != NULL && more[i] != NULL && count + 1 < FLAGS_MAX; i++)
        flags[count++] = more[i];
    flags[count] = NULL;
}

void sidecar_start(struct service *agentd, const struct redis_process *redis,
                   const char *const more[])
{
    char url[160];
    const char *flags[FLAGS_MAX];
    add_flags(redis, more, url, flags);
    service_start(agentd, "brakewire-agentd", true, flags);
}

void sidecar_start_again(struct service *agentd, const struct redis_process *redis,
                         const char *const more[])
{
    char url[160];
    const char *flags[FLAGS_MAX];
    add_flags(redis, more, url, flags);
    service_start_again(agentd, true, flags);
}

static json_t *call(const struct service *agentd, const char *token, long status,
                    const char *method, const char *path, const char *body)
{
    json_t *json;
    long got = service_call(agentd, token, method, path, body, &json);
    if (got != status) {
        char *text = json == NULL ? NULL : json_dumps(json, JSON_INDENT(2));
        print_error("%s %s %s\nanswered %ld, not %ld: %s\n", method, path, body != NULL ? body : "",
                    got, status, text != NULL ? text : "");
        free(text);
        fail();
    }
    return json;
}

json_t *sidecar_call(const struct service *agentd, const char *token, long status,
                     const char *method, const char *path, const char *format, ...)
{
    char body[BODY_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(body, sizeof body, format, args);
    va_end(args);
    assert_true(len >= 0 && (size_t)len < sizeof body);
    return call(agentd, token, status, method, path, len > 0 ? body : NULL);
}

static struct started read_started(const json_t *json, const char *token)
{
    struct started run = {.epoch = (int)json_integer_value(json_object_get(json, "epoch"))};
    const char *minted = json_word(json, "token");
    snprintf(run.run, sizeof run.run, "%s", json_word(json, "run_id"));
    snprintf(run.root, sizeof run.root, "%s", json_word(json, "root"));
    snprintf(run.baggage, sizeof run.baggage, "%s", json_word(json, "baggage"));
    snprintf(run.token, sizeof run.token, "%s", token != NULL ? token : minted);
    return run;
}

struct started sidecar_run(const struct service *agentd, const char *token, const char *format, ...)
{
    char body[BODY_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(body, sizeof body, format, args);
    va_end(args);
    json_t *json = call(agentd, token, 201, "POST", "/v1/runs", body);
    struct started run = read_started(json, token);
    json_decref(json);
    return run;
}

struct started sidecar_child(const struct service *agentd, const struct started *parent,
                             const char *token)
{
    return sidecar_run(agentd, token != NULL ? token : parent->token, "{\"baggage\":\"%s\"}",
                       parent->baggage);
}

void sidecar_end(const struct service *agentd, const struct started *run, const char *state)
{
    char path[160];
    snprintf(path, sizeof path, "/v1/runs/%s/end", run->run);
    json_decref(sidecar_call(agentd, run->token, 200, "POST", path,
                             "{\"epoch\":%d,\"state\":\"%s\"}", run->epoch, state));
}

json_t *sidecar_cancel(const struct service *agentd, const struct started *run, const char *body)
{
    char path[160];
    json_t *json;
    snprintf(path, sizeof path, "/v1/runs/%s/cancel", run->run);
    long status = service_call(agentd, run->token, "POST", path, body, &json);
    assert_true(status == 200 || status == 202);
    return json;
}

void sidecar_wait_for_state(const struct service *agentd, const struct started *run,
                            const char *state)
{
    char path[160];
    snprintf(path, sizeof path, "/v1/runs/%s", run->run);
    service_wait_for(agentd, run->token, path, "state", state);
}

/* ---- notices ------------------------------------------------------------------------------- */

static void noted(void *owner, const char *name, const json_t *data)
{
    struct listening *listening = owner;
    if (strcmp(name, "cancel") != 0)
        return;
    assert_true(listening->count < NOTICES_MAX);
    listening->notice[listening->count++] = json_deep_copy(data);
}

void listening_open(struct listening *listening, const struct service *agentd, const char *token)
{
    struct waiting wait = WAITING;
    *listening = (struct listening){0};
    listening->stream = sse_new(agentd->where, "/v1/events", token, noted, listening);
    assert_non_null(listening->stream);
    for (const char *clients = "0"; strcmp(clients, "0") == 0;) { /* until it is heard over there */
        sse_wait(listening->stream, -1, MILLIS(5));
        json_t *json;
        service_call(agentd, NULL, "GET", "/v1/version", NULL, &json);
        clients = json_integer_value(json_object_get(json, "clients")) > 0 ? "some" : "0";
        json_decref(json);
        waiting_turn(&wait);
    }
}

void listening_close(struct listening *listening)
{
    sse_free(listening->stream);
    for (size_t i = 0; i < listening->count; i++)
        json_decref(listening->notice[i]);
    *listening = (struct listening){0};
}

const json_t *listening_wait(struct listening *listening, size_t count)
{
    struct waiting wait = WAITING;
    while (listening->count < count) {
        sse_wait(listening->stream, -1, MILLIS(5));
        waiting_turn(&wait);
    }
    return count == 0 ? NULL : listening->notice[count - 1];
}
