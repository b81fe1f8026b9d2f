/* Files that hold a secret: passwords, private keys, configuration with either.
 *
 * Happy path: opened, seen to be closed to everybody else, read whole; all through one descriptor,
 * so that nobody can put another file in its place meanwhile. Ways to fail: it cannot be read, it
 * is no file, others may read or write it, it is too large. */
#ifndef IO_SECRET_FILE_H
#define IO_SECRET_FILE_H

#include <stdbool.h>

#include "base/buf.h"

/* Adds at most `max` bytes of it to `out`; whoever has them owes secret_wipe(). `why` gets what is
 * wrong and what to do, to follow the file's name: "can be read by everybody: chmod 600 /etc/…".
 * ERR_SYSTEM, ERR_INVALID (no file), ERR_REFUSED (open to others), ERR_TOO_LARGE, ERR_NOMEM. */
enum err secret_file_read(const char *path, size_t max, struct buf *out,
                          struct buf *why) MUST_CHECK;
/* Overwrites the bytes and frees them. */
void secret_wipe(struct buf *secret);

/* May somebody beside owner and group write the open file `fd`, or (`is_secret`) read it? Then
 * `why` says so and false is returned. */
bool secret_file_is_closed(int fd, const char *path, bool is_secret, struct buf *why);

#endif
