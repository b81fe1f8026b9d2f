#include "io/http_listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096, KEEPALIVE_S = 30, UNACKED_MS = 60000, PLACE_ROOM = 300 };

/* "[::1]:80" -> "::1" and "80", in the caller's copy. */
static bool split_place(char *place, char **host, char **port)
{
    char *colon = strrchr(place, ':');
    if (colon == NULL || colon[1] == '\0')
        return false;
    *colon = '\0';
    *port = colon + 1;
    *host = place;
    if (place[0] != '[')
        return strchr(place, ':') == NULL;
    if (colon[-1] != ']')
        return false;
    colon[-1] = '\0';
    *host = place + 1;
    return true;
}

/* Accepted connections inherit these: a peer that vanished must not keep its stream for ever. */
static void expect_dead_peers(int fd)
{
    int on = 1, idle = KEEPALIVE_S, unacked = UNACKED_MS;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked, sizeof unacked);
}

static int bind_first(const struct addrinfo *found)
{
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        expect_dead_peers(fd);
        if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
            return fd;
        int saved = errno;
        close(fd);
        errno = saved;
    }
    return -1;
}

static unsigned bound_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } name = {.any.sa_family = AF_UNSPEC};
    socklen_t len = sizeof name;
    if (getsockname(fd, &name.any, &len) != 0)
        return 0;
    return ntohs(name.any.sa_family == AF_INET6 ? name.v6.sin6_port : name.v4.sin_port);
}

enum err http_listen_tcp(const char *place, int *out_fd, unsigned *out_port, const char **why)
{
    char copy[PLACE_ROOM], *host, *port;
    if ((size_t)snprintf(copy, sizeof copy, "%s", place) >= sizeof copy
        || !split_place(copy, &host, &port)) {
        *why = "the place to listen on is not written host:port or [address]:port";
        return ERR_INVALID;
    }
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    if (getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &found) != 0) {
        *why = "the place to listen on is no address and port of this machine";
        return ERR_INVALID;
    }
    int fd = bind_first(found);
    freeaddrinfo(found);
    if (fd < 0) {
        *why = errno == EADDRINUSE ? "the port to listen on is taken" : "cannot listen on the port";
        return ERR_SYSTEM;
    }
    *out_fd = fd;
    *out_port = bound_port(fd);
    return ERR_OK;
}

static bool fill_name(struct sockaddr_un *name, const char *path, const char *suffix)
{
    *name = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t room = sizeof name->sun_path;
    return (size_t)snprintf(name->sun_path, room, "%s%s", path, suffix) < room;
}

static bool somebody_answers(const struct sockaddr_un *name)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool connected = connect(fd, (const struct sockaddr *)name, sizeof *name) == 0
                     || errno == EAGAIN; /* its backlog is full */
    close(fd);
    return connected;
}

/* Whoever may rename files there can put a socket of their own in the place of ours, and be told
 * every token. In a sticky folder (/tmp) only the owner of a file may. */
static bool folder_is_safe(const char *path)
{
    char folder[PLACE_ROOM];
    struct stat info;
    const char *slash = strrchr(path, '/');
    size_t len = slash != NULL ? (size_t)(slash - path) : 0;
    if (len >= sizeof folder)
        return false;
    memcpy(folder, path, len);
    folder[len] = '\0';
    const char *name = slash == NULL ? "." : len == 0 ? "/" : folder;
    if (stat(name, &info) != 0)
        return true; /* it is not there: binding says so */
    return (info.st_mode & S_IWOTH) == 0 || (info.st_mode & S_ISVTX) != 0;
}

/* The mode is set while nobody can connect yet: a socket that does not listen refuses. */
static int listen_at(const struct sockaddr_un *name, mode_t mode)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)unlink(name->sun_path);
    if (bind(fd, (const struct sockaddr *)name, sizeof *name) == 0
        && chmod(name->sun_path, mode) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Listens under another name first and moves it over the old one, so that a client never finds the
 * file missing or not yet listening. */
enum err http_listen_unix(const char *path, mode_t mode, int *out_fd, struct unix_name *out_name,
                          const char **why)
{
    struct sockaddr_un name, made;
    struct stat file;
    if (!fill_name(&name, path, "") || !fill_name(&made, path, ".new")) {
        *why = "the path of the socket is too long";
        return ERR_INVALID;
    }
    if (!folder_is_safe(path)) {
        *why =
            "everybody may write into the folder of the socket, and so put another in its place: "
            "chmod o-w that folder, or choose another";
        return ERR_REFUSED;
    }
    if (lstat(path, &file) == 0 && !S_ISSOCK(file.st_mode)) { /* a symbolic link is none either */
        *why = "the path of the socket is a file that is no socket";
        return ERR_SYSTEM;
    }
    if (somebody_answers(&name)) {
        *why = "another daemon answers there";
        return ERR_SYSTEM;
    }
    int fd = listen_at(&made, mode);
    if (fd < 0 || stat(made.sun_path, &file) != 0 || rename(made.sun_path, path) != 0) {
        *why = errno == ENOENT   ? "the folder of the socket is not there: make it, or name another"
               : errno == EACCES ? "no right to make the socket in its folder: choose another, or "
                                   "start as a user that may"
                                 : "cannot make the socket in its folder";
        if (fd >= 0)
            close(fd);
        return ERR_SYSTEM;
    }
    *out_name = (struct unix_name){file.st_dev, file.st_ino};
    *out_fd = fd;
    return ERR_OK;
}

void http_unlisten_unix(const char *path, struct unix_name name)
{
    struct stat file;
    if (lstat(path, &file) == 0 && file.st_dev == name.dev && file.st_ino == name.ino)
        (void)unlink(path);
}
