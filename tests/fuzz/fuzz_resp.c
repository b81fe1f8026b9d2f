/* A server gone mad, at the other end of a redis_link: whatever it says, each command is answered
 * once, in its order, the link says once that it is down, and nothing is left behind.
 *
 * The first byte: odd, the server greets as it should before the bytes come; else they are its
 * greeting. Behind it the bytes, in pieces of as many as the first byte says. */
#include <assert.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "io/redis_link.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { COMMANDS = 5, BYTES_MAX = 64 * 1024, TURNS_MAX = 200000 };

struct server { /* a value; what a Redis says on a new connection */
    int listening, peer;
    char folder[32], url[80];
};

struct client {
    struct redis_link *link;
    unsigned asked, answered, ups, downs;
    bool closed;
};

static struct server server = {.listening = -1};

static const char greeting[] =
    "%1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n"
    "$51\r\nrun_id:x\r\nmaster_replid:y\r\nredis_version:7.0.15\r\n..\r\n"
    "*1\r\n$6\r\nmaster\r\n+PONG\r\n";

static void remove_folder(void)
{
    unlink(server.url + strlen("unix://"));
    rmdir(server.folder);
}

static void begin_listening(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(server.folder, "/tmp/bw-resp-XXXXXX");
    assert(mkdtemp(server.folder) != NULL);
    snprintf(server.url, sizeof server.url, "unix://%s/socket", server.folder);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", server.folder);
    server.listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert(server.listening >= 0);
    assert(bind(server.listening, (struct sockaddr *)&address, sizeof address) == 0);
    assert(listen(server.listening, 8) == 0);
    atexit(remove_folder);
}

/* ---- the client ----------------------------------------------------------------------------- */

static void answered(void *owner, const struct redisReply *reply)
{
    struct client *client = owner;
    (void)reply;
    client->answered++;
}

static void on_up(void *owner, const struct redis_server *about)
{
    static const char *const verb[] = {"SUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "SUNSUBSCRIBE"};
    struct client *client = owner;
    const struct str get[] = {STR("GET"), STR("a")};
    assert(about->run_id.len > 0);
    client->ups++;
    for (size_t i = 0; i < sizeof verb / sizeof *verb; i++)
        if (redis_link_subscribe(client->link, verb[i], STR("a"), answered, client) == ERR_OK)
            client->asked++;
    if (redis_link_command(client->link, 2, get, answered, client) == ERR_OK)
        client->asked++;
}

static void on_down(void *owner, struct str why)
{
    struct client *client = owner;
    assert(why.len > 0);
    client->downs++;
}

static void on_push(void *owner, struct str kind, struct str channel, struct str bytes)
{
    (void)owner;
    (void)channel;
    (void)bytes;
    assert(str_is(kind, "message") || str_is(kind, "smessage"));
}

static void on_closed(void *owner)
{
    ((struct client *)owner)->closed = true;
}

static const struct redis_link_events events = {
    .on_up = on_up, .on_down = on_down, .on_push = on_push, .on_closed = on_closed};

/* ---- one conversation ----------------------------------------------------------------------- */

/* False: the link is down and wants to hear no more. */
static bool say(uv_loop_t *loop, const struct client *client, const void *bytes, size_t len)
{
    ssize_t sent = send(server.peer, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    uv_run(loop, UV_RUN_NOWAIT);
    return sent == (ssize_t)len && client->downs == 0;
}

static void say_all(uv_loop_t *loop, const struct client *client, const uint8_t *bytes, size_t len)
{
    size_t piece = bytes[0] / 2 > 0 ? bytes[0] / 2 : BYTES_MAX;
    bool listens = (bytes[0] & 1) == 0 || say(loop, client, greeting, sizeof greeting - 1);
    for (size_t at = 1; listens && at < len; at += piece)
        listens = say(loop, client, bytes + at, len - at < piece ? len - at : piece);
}

static void accept_link(uv_loop_t *loop)
{
    do
        uv_run(loop, UV_RUN_ONCE);
    while ((server.peer = accept(server.listening, NULL, NULL)) < 0);
    uv_run(loop, UV_RUN_NOWAIT);
}

/* A link that went down early may have come back already: that is nobody's conversation. */
static void hang_up(void)
{
    do
        close(server.peer);
    while ((server.peer = accept(server.listening, NULL, NULL)) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct client client = {0};
    struct redis_target target = {.client_name = "fuzz"};
    uv_loop_t loop;
    if (len < 2 || len > BYTES_MAX)
        return 0;
    if (server.listening < 0)
        begin_listening();
    target.url = server.url;
    assert(uv_loop_init(&loop) == 0);
    assert(redis_link_open(&loop, &target, &events, &client, &client.link) == ERR_OK);
    accept_link(&loop);
    say_all(&loop, &client, bytes, len);
    shutdown(server.peer, SHUT_RDWR);
    for (int turns = 0; client.downs == 0; turns++) {
        assert(turns < TURNS_MAX);
        uv_run(&loop, UV_RUN_ONCE);
    }
    assert(client.downs == 1 && client.ups <= 1);
    assert(client.answered == client.asked && client.asked <= COMMANDS);
    redis_link_close(client.link);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert(client.closed && uv_loop_close(&loop) == 0);
    hang_up();
    return 0;
}
