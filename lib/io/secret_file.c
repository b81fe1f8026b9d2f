#include "io/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

bool secret_file_is_closed(int fd, const char *path, bool is_secret, struct buf *why)
{
    struct stat file;
    if (fstat(fd, &file) != 0) {
        buf_addf(why, "cannot be looked at: %s", strerror(errno));
        return false;
    }
    bool written = (file.st_mode & S_IWOTH) != 0;
    bool read = is_secret && (file.st_mode & S_IROTH) != 0;
    if (!written && !read)
        return true;
    const char *what = written && read ? "read and written" : written ? "written" : "read";
    buf_addf(why, "can be %s by everybody: chmod %s %s", what, is_secret ? "600" : "o-w", path);
    return false;
}

/* A pipe is fine, too: <(secret-tool ...) of a shell. Opened without waiting for a writer, so that
 * a forgotten FIFO stops no start. */
static int open_file(const char *path, struct buf *why)
{
    struct stat file;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &file) != 0) {
        buf_addf(why, "cannot be read: %s", strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    if (S_ISREG(file.st_mode) || S_ISFIFO(file.st_mode)) {
        (void)fcntl(fd, F_SETFL, O_RDONLY); /* from here on a pipe may take its time */
        return fd;
    }
    buf_add_text(why, "is not a file");
    close(fd);
    errno = 0;
    return -1;
}

static enum err read_whole(int fd, size_t max, struct buf *out, struct buf *why)
{
    char chunk[4096];
    size_t taken = 0;
    ssize_t len;
    enum err err = ERR_OK;
    do {
        len = read(fd, chunk, sizeof chunk);
        taken += len > 0 ? (size_t)len : 0;
        if (taken > max)
            err = ERR_TOO_LARGE;
        else if (len > 0)
            err = buf_add(out, chunk, (size_t)len);
        else if (len < 0 && errno != EINTR)
            err = ERR_SYSTEM;
    } while (err == ERR_OK && len != 0);
    if (err == ERR_SYSTEM)
        buf_addf(why, "cannot be read: %s", strerror(errno));
    else if (err == ERR_TOO_LARGE)
        buf_addf(why, "is larger than %zu bytes", max);
    explicit_bzero(chunk, sizeof chunk);
    return err;
}

enum err secret_file_read(const char *path, size_t max, struct buf *out, struct buf *why)
{
    int fd = open_file(path, why);
    if (fd < 0)
        return errno != 0 ? ERR_SYSTEM : ERR_INVALID;
    enum err err =
        secret_file_is_closed(fd, path, true, why) ? read_whole(fd, max, out, why) : ERR_REFUSED;
    close(fd);
    return err;
}

void secret_wipe(struct buf *secret)
{
    if (secret->bytes != NULL)
        explicit_bzero(secret->bytes, secret->room);
    buf_fini(secret);
}
