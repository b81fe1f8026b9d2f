/* Happy path: redis_socket_open -> socket_ready (connected) -> redis_socket_send -> flush;
 * socket_ready -> read_replies -> hand_over_replies. With TLS what is said goes through seal() on
 * its way to flush(), and what is read comes by read_sealed(). Failures end in broken(). */
#include "io/redis_socket.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/mem.h"
#include "io/redis_tls.h"

/* A reply of a peer gone mad ends the connection, not the process. */
enum { DEPTH_MAX = 64, ELEMENTS_MAX = 1 << 22, REPLY_MAX = 256 << 20, SEALED_ROOM = 16 * 1024 };

enum stage { CONNECTING, SHAKING_HANDS, CONNECTED };

struct redis_socket {
    uv_poll_t poll;
    uv_idle_t flush_soon; /* runs before the loop blocks, and keeps it from blocking until it ran */
    redisContext *context;
    struct redis_tls *tls;  /* NULL: none */
    struct buf said, heard; /* with TLS: in the clear, not sealed yet, and just opened */
    struct buf unsent;
    int polled_for; /* UV_READABLE | UV_WRITABLE */
    enum stage stage;
    bool is_broken, closing;
    unsigned open_handles;
    uint64_t *bytes_in, *bytes_out;
    char why[256];
    const struct redis_socket_events *events;
    void *owner;
};

static void socket_ready(uv_poll_t *poll, int status, int events);

static void no_closed(void *owner)
{
    (void)owner;
}
static const struct redis_socket_events silent = {.on_closed = no_closed};

static void handle_closed(uv_handle_t *handle)
{
    struct redis_socket *redis = handle->data;
    if (--redis->open_handles > 0)
        return;
    const struct redis_socket_events *events = redis->events;
    void *owner = redis->owner;
    redis_tls_free(redis->tls);
    buf_fini(&redis->said);
    buf_fini(&redis->heard);
    buf_fini(&redis->unsent);
    mem_free(redis);
    events->on_closed(owner);
}

void redis_socket_close(struct redis_socket *redis)
{
    assert(!redis->closing);
    redis->closing = true;
    uv_close((uv_handle_t *)&redis->poll, handle_closed); /* out of epoll before the fd is closed */
    uv_close((uv_handle_t *)&redis->flush_soon, handle_closed);
    redisFree(redis->context);
    redis->context = NULL;
}

static void broken(struct redis_socket *redis, const char *why)
{
    if (redis->is_broken || redis->closing)
        return;
    redis->is_broken = true;
    uv_poll_stop(&redis->poll);
    uv_idle_stop(&redis->flush_soon);
    if (why != redis->why)
        snprintf(redis->why, sizeof redis->why, "%s", why);
    redis->events->on_broken(redis->owner, redis->why);
}

static void poll_for(struct redis_socket *redis, int events)
{
    if (redis->polled_for == events)
        return;
    redis->polled_for = events;
    (void)uv_poll_start(&redis->poll, events, socket_ready); /* cannot fail on a handle of ours */
}

/* The scripts, all at once, are a peak that does not come again: its room is given back. */
static void forget_sent(struct buf *unsent, size_t sent)
{
    enum { ROOM_KEPT = 64 * 1024 };
    if (sent < unsent->len)
        buf_drop(unsent, sent);
    else if (unsent->room > ROOM_KEPT)
        buf_fini(unsent);
    else
        buf_clear(unsent);
}

/* What went wrong with TLS; the server hears of it too, if it listens. */
static void tls_broken(struct redis_socket *redis, enum err err)
{
    if (redis->unsent.len > 0)
        (void)!send(redis->context->fd, redis->unsent.bytes, redis->unsent.len, MSG_NOSIGNAL);
    const char *why = redis_tls_why(redis->tls);
    broken(redis, err == ERR_OFFLINE ? "the server said good-bye"
                  : *why != '\0'     ? why
                                     : err_text(err));
}

static bool seal(struct redis_socket *redis)
{
    if (redis->said.len == 0 || redis->stage != CONNECTED)
        return true;
    enum err err = redis_tls_seal(redis->tls, buf_str(&redis->said), &redis->unsent);
    forget_sent(&redis->said, redis->said.len);
    if (err != ERR_OK)
        tls_broken(redis, err);
    return err == ERR_OK;
}

/* Writes directly; waits for the socket only when it takes no more. MSG_NOSIGNAL: a peer that is
 * gone must not kill the process. */
static void flush(struct redis_socket *redis)
{
    uv_idle_stop(&redis->flush_soon);
    if (redis->tls != NULL && !seal(redis))
        return;
    while (redis->unsent.len > 0) {
        ssize_t sent =
            send(redis->context->fd, redis->unsent.bytes, redis->unsent.len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            poll_for(redis, UV_READABLE | UV_WRITABLE);
            return;
        }
        if (sent < 0) {
            broken(redis, strerror(errno));
            return;
        }
        *redis->bytes_out += (uint64_t)sent;
        forget_sent(&redis->unsent, (size_t)sent);
    }
    poll_for(redis, UV_READABLE);
}

static void turn_ends(uv_idle_t *idle)
{
    struct redis_socket *redis = idle->data;
    if (redis->why[0] != '\0')
        broken(redis, redis->why);
    else
        flush(redis);
}

static bool is_within_limits(const redisReader *reader)
{
    return reader->ridx < DEPTH_MAX && reader->len - reader->pos < REPLY_MAX;
}

static void hand_over_replies(struct redis_socket *redis)
{
    redisReader *reader = redis->context->reader;
    for (;;) {
        void *reply = NULL;
        if (redisReaderGetReply(reader, &reply) != REDIS_OK) {
            broken(redis, reader->errstr);
            return;
        }
        if (reply == NULL)
            break;
        redis->events->on_reply(redis->owner, reply);
        freeReplyObject(reply);
        if (redis->closing || redis->is_broken || redis->why[0] != '\0')
            return;
    }
    if (!is_within_limits(reader))
        broken(redis, "the server sent a reply beyond all limits");
}

static void read_replies(struct redis_socket *redis)
{
    redisReader *reader = redis->context->reader;
    size_t before = reader->len;
    if (redisBufferRead(redis->context) != REDIS_OK) {
        broken(redis, redis->context->errstr);
        return;
    }
    *redis->bytes_in += reader->len - before;
    hand_over_replies(redis);
}

/* The server closes a connection without a word when it does not understand us. */
static const char *end_of_stream(const struct redis_socket *redis)
{
    return redis->stage == SHAKING_HANDS ? "the server closed the connection during the TLS "
                                           "handshake: is it a TLS port?"
                                         : "Server closed the connection";
}

/* False: it is broken, and that was told. */
static bool hear(struct redis_socket *redis)
{
    char bytes[SEALED_ROOM];
    ssize_t len = recv(redis->context->fd, bytes, sizeof bytes, 0);
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (len <= 0) {
        broken(redis, len == 0 ? end_of_stream(redis) : strerror(errno));
        return false;
    }
    enum err err =
        redis_tls_open(redis->tls, (struct str){bytes, (size_t)len}, &redis->heard, &redis->unsent);
    if (err != ERR_OK)
        tls_broken(redis, err);
    return err == ERR_OK;
}

static void read_sealed(struct redis_socket *redis)
{
    redisReader *reader = redis->context->reader;
    if (!hear(redis))
        return;
    *redis->bytes_in += redis->heard.len;
    if (redis->heard.len > 0
        && redisReaderFeed(reader, redis->heard.bytes, redis->heard.len) != REDIS_OK) {
        broken(redis, reader->errstr);
        return;
    }
    buf_clear(&redis->heard);
    if (redis->stage == SHAKING_HANDS && redis_tls_is_established(redis->tls)) {
        redis->stage = CONNECTED;
        redis->events->on_connected(redis->owner);
    }
    if (!redis->closing && !redis->is_broken && redis->why[0] == '\0')
        hand_over_replies(redis);
}

static void finish_connecting(struct redis_socket *redis)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(redis->context->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error != 0) {
        broken(redis, strerror(error));
        return;
    }
    redis->context->flags |= REDIS_CONNECTED;
    poll_for(redis, UV_READABLE);
    redis->stage = redis->tls != NULL ? SHAKING_HANDS : CONNECTED;
    if (redis->stage == CONNECTED)
        redis->events->on_connected(redis->owner);
}

static void socket_ready(uv_poll_t *poll, int status, int events)
{
    struct redis_socket *redis = poll->data;
    if (redis->why[0] != '\0')
        return;
    bool is_readable = status < 0 || (events & UV_READABLE) != 0;
    if (redis->stage == CONNECTING)
        finish_connecting(redis);
    else if (is_readable && redis->tls != NULL)
        read_sealed(redis);
    else if (is_readable)
        read_replies(redis);
    if (redis->closing || redis->is_broken)
        return;
    if (status < 0)
        broken(redis, "the connection was reset"); /* libuv has stopped polling it */
    else if (redis->unsent.len > 0 || redis->said.len > 0)
        flush(redis);
}

bool redis_socket_is_shaking_hands(const struct redis_socket *redis)
{
    return redis->stage == SHAKING_HANDS;
}

static bool prepare_socket(int fd, const struct redis_place *place)
{
    int on = 1, idle = (int)(place->silence.ms / 1000) + 1, silence = (int)place->silence.ms;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return false;
    if (place->path != NULL)
        return true;
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0
           && setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) == 0
           && setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle) == 0
           && setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof idle) == 0
           && setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof silence) == 0;
}

static enum err connect_context(const struct redis_place *place, redisContext **out, char *why,
                                size_t why_room)
{
    redisOptions options = {.options = REDIS_OPT_NONBLOCK};
    if (place->path != NULL) {
        REDIS_OPTIONS_SET_UNIX(&options, place->path);
    } else {
        REDIS_OPTIONS_SET_TCP(&options, place->address, place->port);
        options.options |= strchr(place->address, ':') != NULL ? REDIS_OPT_PREFER_IPV6 : 0;
    }
    redisContext *context = redisConnectWithOptions(&options);
    if (context == NULL)
        return ERR_NOMEM;
    if (context->err != 0 || !prepare_socket(context->fd, place)) {
        snprintf(why, why_room, "%s", context->err != 0 ? context->errstr : strerror(errno));
        redisFree(context);
        return ERR_OFFLINE;
    }
    context->reader->maxelements = ELEMENTS_MAX;
    *out = context;
    return ERR_OK;
}

enum err redis_socket_open(uv_loop_t *loop, const struct redis_place *place,
                           const struct redis_socket_events *events, void *owner,
                           struct redis_socket **out, char *why, size_t why_room)
{
    struct redis_socket *redis = mem_new(sizeof *redis);
    if (redis == NULL)
        return ERR_NOMEM;
    enum err err = connect_context(place, &redis->context, why, why_room);
    if (err == ERR_OK && place->trust != NULL) {
        err = redis_tls_new(place->trust, place->host, &redis->unsent, &redis->tls);
        if (err != ERR_OK)
            redisFree(redis->context);
    }
    if (err == ERR_OK && uv_poll_init(loop, &redis->poll, redis->context->fd) != 0) {
        redisFree(redis->context);
        err = ERR_SYSTEM;
    }
    if (err != ERR_OK) {
        redis_tls_free(redis->tls);
        buf_fini(&redis->unsent);
        mem_free(redis);
        return err;
    }
    redis->bytes_in = place->bytes_in;
    redis->bytes_out = place->bytes_out;
    redis->events = events;
    redis->owner = owner;
    redis->open_handles = 2;
    uv_idle_init(loop, &redis->flush_soon);
    redis->poll.data = redis->flush_soon.data = redis;
    redis->polled_for = UV_READABLE | UV_WRITABLE;
    if (uv_poll_start(&redis->poll, redis->polled_for, socket_ready) != 0) {
        redis->events = &silent;
        redis_socket_close(redis);
        return ERR_SYSTEM;
    }
    *out = redis;
    return ERR_OK;
}

void redis_socket_break(struct redis_socket *redis, const char *why)
{
    if (redis->is_broken || redis->closing || redis->why[0] != '\0')
        return;
    snprintf(redis->why, sizeof redis->why, "%s", why);
    uv_idle_start(&redis->flush_soon, turn_ends);
}

/* "$12\r\n"; a command has a dozen of these, so no printf. */
static void add_header(struct buf *out, char mark, size_t number)
{
    char text[24];
    size_t at = sizeof text;
    text[--at] = '\n';
    text[--at] = '\r';
    do {
        text[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    text[--at] = mark;
    buf_add(out, text + at, sizeof text - at);
}

enum err redis_socket_send(struct redis_socket *redis, int argc, const struct str *argv)
{
    if (redis->is_broken || redis->why[0] != '\0')
        return ERR_OFFLINE;
    struct buf *unsent = redis->tls != NULL ? &redis->said : &redis->unsent;
    add_header(unsent, '*', (size_t)argc);
    for (int i = 0; i < argc; i++) {
        add_header(unsent, '$', argv[i].len);
        buf_add_str(unsent, argv[i]);
        buf_add(unsent, "\r\n", 2);
    }
    if (unsent->failed) {
        redis_socket_break(redis, "out of memory"); /* half a command must never go out */
        return ERR_NOMEM;
    }
    if (redis->stage == CONNECTED)
        uv_idle_start(&redis->flush_soon, turn_ends);
    return ERR_OK;
}
