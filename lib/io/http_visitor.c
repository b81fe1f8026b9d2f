/* Who may stay. A connection without a whole request may be thrown out at any time, one that waits
 * for an answer or reads a stream never; so there is always room for whoever asks at once. */
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "io/http_parts.h"

enum { WAITING_MAX = 1024, HELD_MAX = 2000, FILES_OF_OTHERS = 128, LOOK_EVERY_MS = 1000 };

static size_t open_files_max(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur > 1 << 20)
        return 1 << 20;
    return (size_t)files.rlim_cur;
}

/* One that waits is one file; one that is held is two, for its hang-up is watched. Where the system
 * allows fewer files than were asked for, there is less room, but never none for the next. */
static void share_files(struct http_server *server)
{
    size_t files = open_files_max(), waiting = files / 4;
    server->waiting_max = waiting < WAITING_MAX ? waiting : WAITING_MAX;
    size_t taken = server->waiting_max + FILES_OF_OTHERS;
    size_t room = files > taken + 2 ? (files - taken) / 2 : 1;
    server->held_max = server->held_max < room ? server->held_max : room;
}

void visitors_init(struct http_server *server, const struct http_server_options *options)
{
    list_init(&server->visitors);
    uv_timer_init(server->loop, &server->patience);
    server->patience.data = server;
    server->held_max = options->connections_max > 0 ? options->connections_max : HELD_MAX;
    share_files(server);
    size_t most = server->held_max - server->held_max / 4;
    bool fits = options->streams_max > 0 && options->streams_max < most;
    server->streams_max = fits ? options->streams_max : most;
}

/* The library notices, and ends it as if its peer had gone. */
static void throw_out(struct visitor *visitor)
{
    link_remove(&visitor->in_waiting);
    visitor->host->server->waiting--;
    (void)shutdown(visitor->fd, SHUT_RDWR);
}

static void look(uv_timer_t *timer)
{
    struct http_server *server = timer->data;
    uint64_t patience_ms = (uint64_t)server->idle_timeout_s * 1000, now = uv_now(server->loop);
    LIST_EACH (at, then, &server->visitors) {
        struct visitor *visitor = LIST_OWNER(at, struct visitor, in_waiting);
        if (now < visitor->since_ms + patience_ms)
            return;
        throw_out(visitor);
    }
    uv_timer_stop(timer); /* nobody waits */
}

static void begins_to_wait(struct visitor *visitor)
{
    struct http_server *server = visitor->host->server;
    visitor->since_ms = uv_now(server->loop);
    list_add_last(&server->visitors, &visitor->in_waiting);
    if (++server->waiting > server->waiting_max)
        throw_out(LIST_OWNER(server->visitors.head.next, struct visitor, in_waiting));
    if (!server->closing && !uv_is_active((uv_handle_t *)&server->patience))
        uv_timer_start(&server->patience, look, LOOK_EVERY_MS, LOOK_EVERY_MS);
}

static void ends_to_wait(struct visitor *visitor)
{
    if (!link_is_in_list(&visitor->in_waiting))
        return;
    link_remove(&visitor->in_waiting);
    visitor->host->server->waiting--;
}

/* NULL: there was no memory for it; it stays until the library finds it idle. */
static struct visitor *visitor_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

void visitor_changed(void *owner, struct MHD_Connection *connection, void **context,
                     enum MHD_ConnectionNotificationCode how)
{
    struct visitor *visitor = *context;
    if (how == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (visitor != NULL)
            ends_to_wait(visitor);
        mem_free(visitor);
        *context = NULL;
        return;
    }
    visitor = mem_new(sizeof *visitor);
    if (visitor == NULL)
        return;
    visitor->host = owner;
    visitor->fd = host_socket(connection);
    *context = visitor;
    begins_to_wait(visitor);
}

void visitor_asks(struct MHD_Connection *connection)
{
    struct visitor *visitor = visitor_of(connection);
    if (visitor != NULL)
        ends_to_wait(visitor);
}

void visitor_waits(struct MHD_Connection *connection)
{
    struct visitor *visitor = visitor_of(connection);
    if (visitor != NULL && !link_is_in_list(&visitor->in_waiting))
        begins_to_wait(visitor);
}

static void closed(uv_handle_t *handle)
{
    server_release(handle->data);
}

void visitors_close(struct http_server *server)
{
    uv_close((uv_handle_t *)&server->patience, closed);
}
