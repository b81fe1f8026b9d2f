/* A raw HTTP/1.1 client over a Unix socket or loopback TCP: cheap enough not to be what is
 * measured. Blocking, one request at a time; or many connections at once through load_run(). */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sample.h"

struct client {
    int fd;
    char token[64];
    size_t have; /* bytes in `bytes` not yet used */
    char bytes[65536];
};

/* where: "unix:/path" or "127.0.0.1:port". Ends the program when nobody answers. */
struct client *client_open(const char *where, const char *token);
void client_close(struct client *client);

/* Status; body (NUL-terminated, lent until the next call) if not NULL. */
int client_call(struct client *client, const char *method, const char *path, const char *body,
                const char **answer);
/* Same, and the answer must be `wanted`; parsed JSON, the caller's. */
json_t *client_json(struct client *client, const char *method, const char *path, const char *body,
                    int wanted);
/* Send only; the answer is read later with client_answer(). */
void client_send(struct client *client, const char *method, const char *path, const char *body);
int client_answer(struct client *client, const char **answer);

/* An event stream: opened when this returns (its head has been read). */
void client_stream_open(struct client *client, const char *path);
/* Blocks until bytes holding `word` have arrived on the stream, then forgets all bytes up to the
 * end of that event. False at `timeout_ms`. */
bool client_stream_wait(struct client *client, const char *word, int timeout_ms);

/* `connections` clients, each with one request in flight, until `requests` were answered.
 * next   writes request number i for connection c into out (whole HTTP text), gives its length
 * took   latencies in us, may be NULL; rate: at most so many a second over all, 0 = as fast as it
 * goes Returns requests a second. An answer whose status is not 2xx is counted in *refused. */
double load_run(const char *where, unsigned connections, uint64_t requests, double rate,
                size_t (*next)(void *owner, unsigned c, uint64_t i, char *out, size_t room),
                void (*answered)(void *owner, unsigned c, uint64_t i, int status, const char *body),
                void *owner, struct samples *took, uint64_t *refused);
/* Request text. */
size_t request_text(char *out, size_t room, const char *method, const char *path, const char *token,
                    const char *body);

#endif
