/* The local API of a whole agentd without Redis: queries and bodies of anybody for each route.
 *
 * The first byte names the route, then come the query, a line end, and the body. Over TCP, where no
 * process can be named: nothing is ever signalled. */
#include <assert.h>
#include <stdio.h>
#include <unistd.h>

#include "agentd/inside.h"
#include "agentd/options.h"
#include "base/log.h"
#include "fuzz/peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const char *const routes[] = {
    "POST /v1/runs",         "POST /v1/runs/a/ack",
    "POST /v1/runs/a/end",   "POST /v1/runs/a/links",
    "POST /v1/runs/a/fence", "POST /v1/runs/a/cancel",
    "GET /v1/runs",          "GET /v1/runs/a",
    "GET /v1/events",        NULL,
};

static uv_loop_t loop;
static struct agentd *agentd;

static void begin(void)
{
    static struct settings settings;
    static char name[] = "agentd", redis[] = "--redis-url=unix:///nowhere",
                mode[] = "--mode=observe", tcp[] = "--listen=127.0.0.1:0",
                runs[] = "--max-runs=500";
    char folder[] = "/tmp/fuzz-agentd-XXXXXX", path[96];
    const char *why;
    assert(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "--socket=%s/s", folder);
    char *argv[] = {name, redis, mode, tcp, runs, path, NULL};
    assert(conf_read(settings_program(), 6, argv, &settings, NULL, stdout, stderr) == CONF_GO);
    log_setup(LOG_ERROR, false, "fuzz");
    assert(uv_loop_init(&loop) == 0);
    assert(agentd_open(&loop, &settings, &agentd, &why) == ERR_OK);
    (void)unlink(path + strlen("--socket="));
    (void)rmdir(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct buf request = {0}, answer = {0};
    char port[16];
    if (agentd == NULL)
        begin();
    if (len == 0 || bytes[0] % 9 == 8) /* a stream has no end; the server's own target opens some */
        return 0;
    peer_compose(routes, (struct str){(const char *)bytes, len}, &request);
    snprintf(port, sizeof port, "%u", http_server_port(agentd->http));
    peer_ask(&loop, port, buf_str(&request), &answer);
    buf_fini(&request);
    buf_fini(&answer);
    return 0;
}
