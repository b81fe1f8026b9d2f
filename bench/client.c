#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static int connect_unix(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        give_up("nobody answers at %s: %s", path, strerror(errno));
    return fd;
}

static int connect_tcp(const char *where)
{
    const char *colon = strrchr(where, ':');
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)atoi(colon + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        give_up("nobody answers at %s: %s", where, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* Nobody is waited for without end: a read that takes that long fails. */
static int connect_to(const char *where)
{
    int fd = strncmp(where, "unix:", 5) == 0 ? connect_unix(where + 5) : connect_tcp(where);
    struct timeval patience = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

struct client *client_open(const char *where, const char *token)
{
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL)
        give_up("out of memory");
    client->fd = connect_to(where);
    snprintf(client->token, sizeof client->token, "%s", token);
    return client;
}

void client_close(struct client *client)
{
    close(client->fd);
    free(client);
}

size_t request_text(char *out, size_t room, const char *method, const char *path, const char *token,
                    const char *body)
{
    int len = snprintf(out, room,
                       "%s %s HTTP/1.1\r\nHost: b\r\n%s%s%sContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\n\r\n%s",
                       method, path, token[0] != '\0' ? "Authorization: Bearer " : "", token,
                       token[0] != '\0' ? "\r\n" : "", strlen(body), body);
    if (len < 0 || (size_t)len >= room)
        give_up("request does not fit");
    return (size_t)len;
}

static void write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n <= 0)
            give_up("the daemon hung up: %s", strerror(errno));
        bytes += n;
        len -= (size_t)n;
    }
}

void client_send(struct client *client, const char *method, const char *path, const char *body)
{
    char text[8192];
    size_t len = request_text(text, sizeof text, method, path, client->token, body);
    write_all(client->fd, text, len);
}

/* Length of the first whole answer in `bytes`, 0 if it is not whole yet. */
static size_t whole_answer(const char *bytes, size_t have, size_t *body_at)
{
    const char *end = memmem(bytes, have, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end - bytes) + 4, body = 0;
    for (const char *line = bytes; line < end;) {
        if (strncasecmp(line, "content-length:", 15) == 0)
            body = strtoul(line + 15, NULL, 10);
        const char *next = memchr(line, '\n', (size_t)(end - line));
        line = next == NULL ? end : next + 1;
    }
    *body_at = head;
    return have >= head + body ? head + body : 0;
}

static bool read_more(struct client *client)
{
    if (client->have >= sizeof client->bytes - 1)
        give_up("an answer is too long");
    ssize_t n =
        read(client->fd, client->bytes + client->have, sizeof client->bytes - 1 - client->have);
    if (n <= 0)
        return false;
    client->have += (size_t)n;
    client->bytes[client->have] = '\0';
    return true;
}

int client_answer(struct client *client, const char **answer)
{
    static char body[65536];
    size_t body_at = 0, len;
    while ((len = whole_answer(client->bytes, client->have, &body_at)) == 0)
        if (!read_more(client))
            give_up("the daemon hung up before its answer");
    int status = atoi(client->bytes + 9);
    memcpy(body, client->bytes + body_at, len - body_at);
    body[len - body_at] = '\0';
    memmove(client->bytes, client->bytes + len, client->have - len);
    client->have -= len;
    client->bytes[client->have] = '\0';
    if (answer != NULL)
        *answer = body;
    return status;
}

int client_call(struct client *client, const char *method, const char *path, const char *body,
                const char **answer)
{
    client_send(client, method, path, body);
    return client_answer(client, answer);
}

json_t *client_json(struct client *client, const char *method, const char *path, const char *body,
                    int wanted)
{
    const char *text;
    int status = client_call(client, method, path, body, &text);
    if (status != wanted)
        give_up("%s %s: %d instead of %d: %s", method, path, status, wanted, text);
    json_t *json = json_loads(text, 0, NULL);
    if (json == NULL)
        give_up("%s %s: not JSON: %s", method, path, text);
    return json;
}

static bool readable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1;
}

static void forget(struct client *client, size_t len)
{
    memmove(client->bytes, client->bytes + len, client->have - len);
    client->have -= len;
    client->bytes[client->have] = '\0';
}

void client_stream_open(struct client *client, const char *path)
{
    char text[1024];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer %s\r\n\r\n",
             path, client->token);
    write_all(client->fd, text, strlen(text));
    char *end;
    while ((end = memmem(client->bytes, client->have, "\r\n\r\n", 4)) == NULL)
        if (!read_more(client))
            give_up("no event stream");
    if (atoi(client->bytes + 9) != 200)
        give_up("no event stream: %s", client->bytes);
    forget(client, (size_t)(end - client->bytes) + 4);
}

bool client_stream_wait(struct client *client, const char *word, int timeout_ms)
{
    uint64_t until = now_ns() + (uint64_t)timeout_ms * 1000000u;
    for (;;) {
        char *at = memmem(client->bytes, client->have, word, strlen(word));
        char *end =
            at == NULL ? NULL : memmem(at, client->have - (size_t)(at - client->bytes), "\n\n", 2);
        if (end != NULL) {
            forget(client, (size_t)(end - client->bytes) + 2);
            return true;
        }
        int64_t left = ((int64_t)(until - now_ns()) + 999999) / 1000000;
        if (left <= 0 || !readable(client->fd, (int)left) || !read_more(client))
            return false;
    }
}

/* ---- many at once ---- */

struct lane {
    struct client *client;
    uint64_t started, number;
    bool busy;
};
struct load {
    struct lane *lane;
    unsigned count;
    uint64_t sent, done, total, begun;
    double rate;
    size_t (*next)(void *, unsigned, uint64_t, char *, size_t);
    void (*answered)(void *, unsigned, uint64_t, int, const char *);
    void *owner;
    struct samples *took;
    uint64_t refused;
};

static bool may_send(const struct load *load)
{
    if (load->sent == load->total)
        return false;
    double due = (double)load->sent / (load->rate > 0 ? load->rate : 1e18);
    return (double)(now_ns() - load->begun) / 1e9 >= due;
}

static void lane_send(struct load *load, unsigned c)
{
    char text[8192];
    struct lane *lane = &load->lane[c];
    lane->number = load->sent++;
    size_t len = load->next(load->owner, c, lane->number, text, sizeof text);
    lane->busy = true;
    lane->started = now_ns();
    write_all(lane->client->fd, text, len);
}

static void lane_read(struct load *load, unsigned c)
{
    struct lane *lane = &load->lane[c];
    if (!read_more(lane->client))
        give_up("a connection was closed under load");
    size_t body_at = 0;
    if (whole_answer(lane->client->bytes, lane->client->have, &body_at) == 0)
        return;
    const char *body;
    int status = client_answer(lane->client, &body);
    if (load->took != NULL)
        samples_add(load->took, (double)(now_ns() - lane->started) / 1e3);
    lane->busy = false;
    load->done++;
    load->refused += status < 200 || status > 299;
    if (load->answered != NULL)
        load->answered(load->owner, c, lane->number, status, body);
    if (may_send(load))
        lane_send(load, c);
}

static void feed_idle_lanes(struct load *load)
{
    for (unsigned c = 0; c < load->count && may_send(load); c++)
        if (!load->lane[c].busy)
            lane_send(load, c);
}

static void lanes_open(struct load *load, const char *where, int epoll)
{
    for (unsigned c = 0; c < load->count; c++) {
        load->lane[c].client = client_open(where, "");
        struct epoll_event wish = {.events = EPOLLIN, .data.u32 = c};
        epoll_ctl(epoll, EPOLL_CTL_ADD, load->lane[c].client->fd, &wish);
    }
}

double load_run(const char *where, unsigned connections, uint64_t requests, double rate,
                size_t (*next)(void *owner, unsigned c, uint64_t i, char *out, size_t room),
                void (*answered)(void *owner, unsigned c, uint64_t i, int status, const char *body),
                void *owner, struct samples *took, uint64_t *refused)
{
    struct load load = {.count = connections,
                        .total = requests,
                        .rate = rate,
                        .next = next,
                        .answered = answered,
                        .owner = owner,
                        .took = took};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    load.lane = calloc(connections, sizeof *load.lane);
    if (epoll < 0 || load.lane == NULL)
        give_up("cannot open %u connections", connections);
    lanes_open(&load, where, epoll);
    uint64_t answered_at = load.begun = now_ns();
    while (load.done < load.total) {
        struct epoll_event event[64];
        feed_idle_lanes(&load);
        int n = epoll_wait(epoll, event, 64, rate > 0 ? 1 : 10000);
        if (n > 0)
            answered_at = now_ns();
        else if (now_ns() - answered_at > 9000000000u)
            give_up("no answer for 9 s under load");
        for (int i = 0; i < n; i++)
            lane_read(&load, event[i].data.u32);
    }
    double seconds = (double)(now_ns() - load.begun) / 1e9;
    for (unsigned c = 0; c < connections; c++)
        client_close(load.lane[c].client);
    free(load.lane);
    close(epoll);
    if (refused != NULL)
        *refused = load.refused;
    return (double)requests / seconds;
}
