#include <fcntl.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/http_parts.h"

struct watch {
    uv_poll_t poll;
    struct http_server *server;
    int fd;
    void (*gone)(void *owner);
    void *owner;
};

static void closed(uv_handle_t *handle)
{
    struct watch *watch = handle->data;
    struct http_server *server = watch->server;
    mem_free(watch);
    server_release(server);
}

static void disconnected(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;
    (void)status;
    (void)events;
    uv_poll_stop(poll);
    watch->gone(watch->owner);
}

struct watch *watch_new(struct host *host, struct MHD_Connection *connection,
                        void (*gone)(void *owner), void *owner)
{
    struct watch *watch = mem_new(sizeof *watch);
    if (watch == NULL)
        return NULL;
    watch->fd = fcntl(host_socket(connection), F_DUPFD_CLOEXEC, 0);
    if (watch->fd < 0 || uv_poll_init(host->server->loop, &watch->poll, watch->fd) != 0) {
        if (watch->fd >= 0)
            close(watch->fd);
        mem_free(watch);
        return NULL;
    }
    watch->server = host->server;
    watch->gone = gone;
    watch->owner = owner;
    watch->poll.data = watch;
    host->server->alive++;
    (void)uv_poll_start(&watch->poll, UV_DISCONNECT,
                        disconnected); /* a fresh handle: cannot fail */
    return watch;
}

void watch_free(struct watch *watch)
{
    if (watch == NULL)
        return;
    uv_close((uv_handle_t *)&watch->poll, closed); /* takes the descriptor out of epoll at once */
    close(watch->fd);
}
