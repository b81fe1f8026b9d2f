/* What a server that nobody knows answers to http_caller, byte for byte: each call is answered
 * once, by an answer within its limits or by what went wrong out there.
 *
 * The first byte says how it is asked and in which slices the rest comes. Each time from another
 * address of this host, so that no connection is used twice and no pair of ports runs out. */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "io/http_caller.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { ANSWER_MAX = 4096, TURNS = 20000 };

static uv_loop_t loop;
static struct http_caller *caller;
static int listener = -1;
static unsigned port;

static void begin(void)
{
    static struct host_list *hosts;
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof at;
    struct str bad = STR_NONE;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert(listener >= 0 && bind(listener, (struct sockaddr *)&at, sizeof at) == 0);
    assert(listen(listener, 16) == 0);
    assert(getsockname(listener, (struct sockaddr *)&at, &len) == 0);
    port = ntohs(at.sin_port);
    assert(uv_loop_init(&loop) == 0);
    assert(host_list_new("127.0.0.0/8", true, &hosts, &bad) == ERR_OK);
    struct http_caller_options options = {.hosts = hosts, .at_once = 4, .answer_max = ANSWER_MAX};
    assert(http_caller_open(&loop, &options, &caller) == ERR_OK);
}

/* ---- the server ---------------------------------------------------------------------------- */
struct server {
    int fd; /* -1: nobody has come yet */
    bool has_heard, is_over, is_answered;
    struct str rest;
    size_t slice;
};

static void serve(struct server *server)
{
    char room[4096];
    if (server->fd < 0) {
        server->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        return;
    }
    server->has_heard = recv(server->fd, room, sizeof room, 0) > 0 || server->has_heard;
    if (!server->has_heard || server->is_over)
        return;
    size_t len = server->slice < server->rest.len ? server->slice : server->rest.len;
    ssize_t sent = len > 0 ? send(server->fd, server->rest.at, len, MSG_NOSIGNAL) : 0;
    if (sent > 0)
        server->rest = (struct str){server->rest.at + sent, server->rest.len - (size_t)sent};
    server->is_over = server->rest.len == 0 || (sent < 0 && errno != EAGAIN);
    if (server->is_over)
        (void)shutdown(server->fd, SHUT_WR);
}

/* ---- the call ------------------------------------------------------------------------------ */
static void on_sent(void *owner)
{
    (void)owner;
}

static void on_done(void *owner, const struct http_outcome *outcome)
{
    struct server *server = owner;
    assert(!server->is_answered);
    server->is_answered = true;
    assert(outcome->body.len <= ANSWER_MAX);
    if (outcome->err == ERR_OK)
        assert(outcome->status >= 200 && outcome->status <= 599);
    else
        assert((outcome->err == ERR_OFFLINE || outcome->err == ERR_TOO_LARGE) && outcome->why[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const struct http_called called = {on_sent, on_done};
    static uint32_t number;
    char url[64];
    if (caller == NULL)
        begin();
    if (len == 0)
        return 0;
    number = (number + 1) % (1u << 22);
    snprintf(url, sizeof url, "http://127.%u.%u.%u:%u/", 64 + (number >> 16), number >> 8 & 255,
             number & 255, port);
    struct server server = {.fd = -1,
                            .rest = {(const char *)bytes + 1, len - 1},
                            .slice = bytes[0] < 8 ? bytes[0] + 1u : (size_t)bytes[0] << 6};
    struct http_errand errand = {.method = bytes[0] % 2 == 0 ? "GET" : "POST",
                                 .url = url,
                                 .body = STR("{}"),
                                 .within = SECONDS(30)};
    assert(http_caller_call(caller, &errand, &called, &server) == ERR_OK);
    for (int turns = 0; !server.is_answered; turns++) {
        assert(turns < TURNS);
        (void)uv_run(&loop, UV_RUN_NOWAIT);
        serve(&server);
    }
    if (server.fd >= 0)
        close(server.fd);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    return 0;
}
