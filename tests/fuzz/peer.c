#include "fuzz/peer.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Each time from another address of this host: TCP keeps used pairs for a minute, and the ports of
 * one address would run out. -1: libFuzzer's clock came in between, or the system is out of room.
 */
static int try_tcp(unsigned port)
{
    static uint32_t number;
    const struct linger at_once = {.l_onoff = 1};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(0x7f010000u + number++ % 0x10000u);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) == 0
        && connect(fd, (struct sockaddr *)&to, sizeof to) == 0
        && fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
        return fd;
    perror("fuzz peer");
    close(fd);
    return -1;
}

static int dial_tcp(unsigned port)
{
    enum { TRIES = 10 };
    int fd = -1;
    for (int i = 0; i < TRIES && fd < 0; i++)
        fd = try_tcp(port);
    assert(fd >= 0);
    return fd;
}

static int dial(const char *where)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (where[0] != '/')
        return dial_tcp((unsigned)atoi(where));
    assert(strlen(where) < sizeof to.sun_path);
    strcpy(to.sun_path, where);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    assert(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    return fd;
}

/* False: it is over. */
static bool listen_once(int fd, struct buf *answer)
{
    char room[4096];
    ssize_t len = recv(fd, room, sizeof room, 0);
    if (len > 0)
        (void)buf_add(answer, room, (size_t)len);
    return len > 0 || (len < 0 && errno == EAGAIN);
}

void peer_ask(uv_loop_t *loop, const char *where, struct str bytes, struct buf *answer)
{
    enum { TURNS = 2000 };
    int fd = dial(where), turns = 0;
    for (size_t sent = 0; sent < bytes.len && turns < TURNS; turns++) {
        ssize_t len = send(fd, bytes.at + sent, bytes.len - sent, MSG_NOSIGNAL);
        if (len < 0 && errno != EAGAIN)
            break; /* it has closed already: 413, 431 */
        sent += len > 0 ? (size_t)len : 0;
        (void)uv_run(loop, UV_RUN_NOWAIT);
    }
    (void)shutdown(fd, SHUT_WR);
    while (turns++ < TURNS && listen_once(fd, answer))
        (void)uv_run(loop, UV_RUN_NOWAIT);
    close(fd);
    assert(answer->len == 0 || memcmp(answer->bytes, "HTTP/1.", 7) == 0);
    assert(answer->len < 12 || memcmp(answer->bytes + 9, "500", 3) != 0);
}

void peer_compose(const char *const routes[], struct str input, struct buf *out)
{
    size_t count = 0;
    while (routes[count] != NULL)
        count++;
    struct str body = {input.at + 1, input.len - 1}, query = str_cut(&body, '\n');
    buf_add_text(out, routes[(unsigned char)input.at[0] % count]);
    if (query.len > 0)
        buf_add_text(out, "?");
    buf_add_str(out, query);
    buf_addf(out,
             " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\nAuthorization: "
             "Bearer a-token-of-the-fuzzer\r\n\r\n",
             body.len);
    buf_add_str(out, body);
}
