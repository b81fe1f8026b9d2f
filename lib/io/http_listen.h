/* The sockets that the HTTP server listens on. */
#ifndef IO_HTTP_LISTEN_H
#define IO_HTTP_LISTEN_H

#include <sys/types.h>

#include "base/err.h"

/* `place`: "127.0.0.1:8080", "[::1]:0", "localhost:8080". ERR_INVALID, ERR_SYSTEM; `*why` is static
 * text. */
enum err http_listen_tcp(const char *place, int *out_fd, unsigned *out_port,
                         const char **why) MUST_CHECK;

struct unix_name { /* which file is ours, so that closing never removes another daemon's */
    dev_t dev;
    ino_t ino;
};
/* Takes the place of a socket file nobody listens on; refuses one that somebody answers, a file
 * that is no socket (symbolic links are never followed), and a folder that everybody may change. */
enum err http_listen_unix(const char *path, mode_t mode, int *out_fd, struct unix_name *out_name,
                          const char **why) MUST_CHECK;
void http_unlisten_unix(const char *path, struct unix_name name);

#endif
