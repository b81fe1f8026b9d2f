#include "io/redis_url.h"

#include <string.h>
#include <sys/un.h>

#include "base/mem.h"

enum { REDIS_PORT = 6379, DATABASE_LAST = 65535 };

void redis_url_fini(struct redis_url *url)
{
    if (url->password != NULL)
        explicit_bzero(url->password, strlen(url->password));
    mem_free(url->host);
    mem_free(url->path);
    mem_free(url->user);
    mem_free(url->password);
    *url = (struct redis_url){0};
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The byte that `%41` stands for; -1 where it is no escape, or stands for the NUL we cannot carry.
 */
static int escaped_byte(struct str text, size_t at)
{
    if (at + 2 >= text.len)
        return -1;
    int high = hex_digit(text.at[at + 1]), low = hex_digit(text.at[at + 2]);
    return high < 0 || low < 0 || high + low == 0 ? -1 : high * 16 + low;
}

static enum err copy_unescaped(struct str text, char **out, const char **why)
{
    char *copy = mem_copy(text);
    if (copy == NULL)
        return ERR_NOMEM;
    char *to = copy;
    for (size_t i = 0; i < text.len; i++) {
        int byte = text.at[i] == '%' ? escaped_byte(text, i) : text.at[i];
        if (byte == -1 && text.at[i] == '%') {
            mem_free(copy);
            *why =
                "a % in the user or password must be followed by two hex digits (write %25 for %)";
            return ERR_INVALID;
        }
        i += text.at[i] == '%' ? 2 : 0;
        *to++ = (char)byte;
    }
    *to = '\0';
    *out = copy;
    return ERR_OK;
}

static enum err read_database(struct str text, struct redis_url *url, const char **why)
{
    int64_t db = 0;
    if (text.len > 0 && (!str_to_int(text, &db) || db < 0 || db > DATABASE_LAST)) {
        *why = "the database must be a number from 0 to 65535";
        return ERR_INVALID;
    }
    url->db = (int)db;
    return ERR_OK;
}

static enum err read_login(struct str login, struct redis_url *url, const char **why)
{
    struct str password = login;
    struct str user = str_cut(&password, ':');
    bool has_password = user.len < login.len;
    enum err err = user.len > 0 ? copy_unescaped(user, &url->user, why) : ERR_OK;
    if (err == ERR_OK && has_password && password.len > 0)
        err = copy_unescaped(password, &url->password, why);
    return err;
}

static enum err read_port(struct str text, struct redis_url *url, const char **why)
{
    int64_t port = 0;
    if (!str_to_int(text, &port) || port < 1 || port > 65535) {
        *why = "the port must be a number from 1 to 65535";
        return ERR_INVALID;
    }
    url->port = (int)port;
    return ERR_OK;
}

/* "[::1]:6379" -> "::1" and "6379"; "host:6379" -> "host" and "6379". False: brackets do not match.
 */
static bool cut_host(struct str place, struct str *host, struct str *port)
{
    *port = place;
    if (place.len == 0 || place.at[0] != '[') {
        *host = str_cut(port, ':');
        return true;
    }
    const char *end = memchr(place.at, ']', place.len);
    if (end == NULL)
        return false;
    *host = (struct str){place.at + 1, (size_t)(end - place.at) - 1};
    *port = (struct str){end + 1, place.len - host->len - 2};
    if (port->len == 0)
        return true;
    struct str before = str_cut(port, ':');
    return before.len == 0;
}

static enum err read_host(struct str place, struct redis_url *url, const char **why)
{
    struct str host, port;
    if (!cut_host(place, &host, &port)) {
        *why = "an IPv6 address is written [address]:port";
        return ERR_INVALID;
    }
    if (host.len == 0) {
        *why = "the host is missing";
        return ERR_INVALID;
    }
    url->port = REDIS_PORT;
    url->host = mem_copy(host);
    if (url->host == NULL)
        return ERR_NOMEM;
    return port.len > 0 ? read_port(port, url, why) : ERR_OK;
}

/* [user[:password]@]host[:port][/db]; the last @ counts, a password may hold one unescaped. */
static enum err read_tcp(struct str rest, struct redis_url *url, const char **why)
{
    struct str db = rest;
    const char *at = memrchr(rest.at, '@', rest.len);
    if (at != NULL) {
        struct str login = {rest.at, (size_t)(at - rest.at)};
        enum err err = read_login(login, url, why);
        if (err != ERR_OK)
            return err;
        db = (struct str){at + 1, rest.len - login.len - 1};
    }
    struct str place = str_cut(&db, '/');
    enum err err = read_host(place, url, why);
    return err == ERR_OK ? read_database(db, url, why) : err;
}

static enum err read_unix(struct str rest, struct redis_url *url, const char **why)
{
    struct str db = rest;
    struct str path = str_cut(&db, '?');
    if (path.len == 0 || path.len >= sizeof((struct sockaddr_un *)NULL)->sun_path) {
        *why = "the path of the socket must have 1 to 107 bytes";
        return ERR_INVALID;
    }
    if (db.len > 0 && (db.len < 3 || memcmp(db.at, "db=", 3) != 0)) {
        *why = "after the path of the socket only ?db=N may follow";
        return ERR_INVALID;
    }
    url->path = mem_copy(path);
    if (url->path == NULL)
        return ERR_NOMEM;
    if (db.len == 0)
        return ERR_OK;
    return read_database((struct str){db.at + 3, db.len - 3}, url, why);
}

static bool cut_scheme(struct str *text, const char *scheme)
{
    size_t len = strlen(scheme);
    if (text->len < len || strncasecmp(text->at, scheme, len) != 0)
        return false;
    *text = (struct str){text->at + len, text->len - len};
    return true;
}

enum err redis_url_parse(const char *text, struct redis_url *out, const char **why)
{
    struct str rest = str_of(text);
    struct redis_url url = {0};
    enum err err = ERR_INVALID;
    if (cut_scheme(&rest, "redis://"))
        err = read_tcp(rest, &url, why);
    else if (cut_scheme(&rest, "unix://"))
        err = read_unix(rest, &url, why);
    else if (cut_scheme(&rest, "rediss://"))
        *why = "rediss:// (TLS to Redis) is not supported; use a TLS tunnel or a Unix socket";
    else if (strchr(text, '/') != NULL && strstr(text, "://") == NULL)
        err = read_unix(rest, &url, why);
    else
        *why = "it must begin with redis:// or unix://, or be the path of a socket";
    if (err != ERR_OK) {
        redis_url_fini(&url);
        return err;
    }
    *out = url;
    return ERR_OK;
}
