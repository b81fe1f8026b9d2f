/* One connection to a Redis server: bytes of commands out, whole replies in. Knows no command.
 *
 * Happy path: open -> (TLS) -> on_connected -> commands go out, replies come in -> close ->
 * on_closed. Ways to fail: whatever breaks (refused, reset, end of file, bytes that are no replies)
 * is told once by on_broken; the owner then closes it and opens another. */
#ifndef IO_REDIS_SOCKET_H
#define IO_REDIS_SOCKET_H

#include <stdbool.h>
#include <uv.h>

#include "base/err.h"
#include "base/mono.h"
#include "base/str.h"

struct redisReply;
struct redis_trust;
struct redis_socket;

struct redis_socket_events {
    void (*on_connected)(void *owner);
    void (*on_reply)(void *owner, struct redisReply *reply); /* borrowed for the call */
    void (*on_broken)(void *owner, const char *why);         /* once */
    void (*on_closed)(void *owner);
};

struct redis_place {
    const char *path;    /* of a Unix socket, or NULL */
    const char *address; /* numeric, so that connecting never asks a name server */
    int port;
    const struct redis_trust *trust; /* NULL: no TLS */
    const char *host;                /* whom the server's certificate must be for */
    struct span silence;             /* TCP gives up on unacknowledged bytes after this */
    uint64_t *bytes_in, *bytes_out;  /* counted here until redis_socket_close() */
};

/* ERR_OFFLINE: nobody there, known at once; `why` is filled. ERR_NOMEM, ERR_SYSTEM. */
enum err redis_socket_open(uv_loop_t *loop, const struct redis_place *place,
                           const struct redis_socket_events *events, void *owner,
                           struct redis_socket **out, char *why, size_t why_room) MUST_CHECK;
void redis_socket_close(struct redis_socket *redis);
/* Connected, but TLS is not established yet. */
bool redis_socket_is_shaking_hands(const struct redis_socket *redis);

/* Appends one command; it is written before the loop next blocks, with all others of this turn. */
enum err redis_socket_send(struct redis_socket *redis, int argc, const struct str *argv) MUST_CHECK;
/* on_broken(why) on the next turn; replies are no longer read. */
void redis_socket_break(struct redis_socket *redis, const char *why);

#endif
