/* The API of a whole broker without Redis: queries and bodies of anybody for each route.
 *
 * The first byte names the route, then come the query, a line end, and the body. The broker
 * believes that Redis is there, so that it reads the whole question before it learns better. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "broker/inside.h"
#include "broker/options.h"
#include "fuzz/peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const char *const routes[] = {
    "GET /v1/runs",
    "POST /v1/runs/a/cancel",
    "GET /v1/runs/a",
    "GET /v1/runs/a/checkpoint",
    "GET /v1/roots/a/tree",
    "GET /v1/audit",
    "GET /v1/replicas",
    "POST /v1/replicas/confirm-losses",
    "POST /threads/t/runs/a/cancel",
    "POST /runs/cancel",
    "GET /threads/t/runs",
    "GET /threads/t/runs/a",
    "GET /threads/t/runs/a/join",
    "GET /runs/a/stream",
    "DELETE /threads/t/runs/a",
    "POST /a2a",
    "GET /tasks/a",
    "POST /tasks/a:cancel",
    "POST /tasks/a:subscribe",
    "GET /v1/tasks/a",
    "POST /v1/tasks/a:cancel",
    "POST /a2a/message:send",
    "GET /.well-known/agent-card.json",
    NULL,
};

static uv_loop_t loop;
static struct brokerd *broker;
static char folder[] = "/tmp/fuzz-broker-XXXXXX", path[64];

static void clean_up(void)
{
    (void)unlink(path);
    (void)rmdir(folder);
}

static void begin(void)
{
    static struct settings settings;
    static char name[] = "broker", redis[] = "--redis-url=unix:///nowhere",
                tcp[] = "--listen=", socket[80];
    char *argv[] = {name, redis, tcp, socket, NULL};
    const char *why;
    assert(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/s", folder);
    snprintf(socket, sizeof socket, "--socket=%s", path);
    (void)atexit(clean_up);
    assert(conf_read(settings_program(), 4, argv, &settings, NULL, stdout, stderr) == CONF_GO);
    log_setup(LOG_ERROR, false, "fuzz");
    assert(uv_loop_init(&loop) == 0);
    assert(brokerd_open(&loop, &settings, &broker, &why) == ERR_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct buf request = {0}, answer = {0};
    if (broker == NULL)
        begin();
    if (len == 0)
        return 0;
    broker->linked = true;
    peer_compose(routes, (struct str){(const char *)bytes, len}, &request);
    peer_ask(&loop, path, buf_str(&request), &answer);
    buf_fini(&request);
    buf_fini(&answer);
    return 0;
}
