#include "io/redis_url.h"

#include <string.h>
#include <sys/un.h>

#include "base/mem.h"

enum { REDIS_PORT = 6379, SENTINEL_PORT = 26379, DATABASE_LAST = 65535 };

static const struct {
    const char *text;
    enum redis_kind_of_url kind;
    bool is_tls;
} schemes[] = {
    {"redis://", REDIS_ALONE, false},           {"rediss://", REDIS_ALONE, true},
    {"sentinel://", REDIS_SENTINEL, false},     {"sentinels://", REDIS_SENTINEL, true},
    {"redis+cluster://", REDIS_CLUSTER, false}, {"rediss+cluster://", REDIS_CLUSTER, true},
};

void redis_url_fini(struct redis_url *url)
{
    if (url->password != NULL)
        explicit_bzero(url->password, strlen(url->password));
    for (size_t i = 0; i < url->host_count; i++)
        mem_free(url->host[i].name);
    mem_free(url->path);
    mem_free(url->master);
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
            *why = "a % must be followed by two hex digits, not 00 (write %25 for % itself)";
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

static enum err read_port(struct str text, struct redis_host *host, const char **why)
{
    int64_t port = 0;
    if (!str_to_int(text, &port) || port < 1 || port > 65535) {
        *why = "the port must be a number from 1 to 65535";
        return ERR_INVALID;
    }
    host->port = (int)port;
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

/* A name as name servers know them, or what stands in brackets: nothing that means something else
 * in a url. */
static bool is_host(struct str host, bool is_in_brackets)
{
    bool has_colon = false;
    for (size_t i = 0; i < host.len; i++) {
        char c = host.at[i];
        bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_word && c != '.' && c != '-' && c != (is_in_brackets ? ':' : '_'))
            return false;
        has_colon = has_colon || c == ':';
    }
    return has_colon == is_in_brackets;
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
    if (!is_host(host, place.at[0] == '[')) {
        *why = "a host has letters, digits, - . _ only; an IPv6 address is written [address]:port";
        return ERR_INVALID;
    }
    struct redis_host *made = &url->host[url->host_count];
    made->port = url->kind == REDIS_SENTINEL ? SENTINEL_PORT : REDIS_PORT;
    made->name = mem_copy(host);
    if (made->name == NULL)
        return ERR_NOMEM;
    url->host_count++;
    return port.len > 0 ? read_port(port, made, why) : ERR_OK;
}

/* host[:port],host[:port],… */
static enum err read_hosts(struct str places, struct redis_url *url, const char **why)
{
    enum err err = ERR_OK;
    do {
        if (url->host_count == REDIS_HOSTS_MAX) {
            *why = "more than 16 hosts";
            return ERR_INVALID;
        }
        err = read_host(str_cut(&places, ','), url, why);
    } while (err == ERR_OK && places.at != NULL);
    if (err == ERR_OK && url->kind == REDIS_ALONE && url->host_count > 1) {
        *why = "several hosts go with sentinel:// or redis+cluster://, redis:// has one";
        return ERR_INVALID;
    }
    return err;
}

/* What follows the hosts: database, or name of the master and database, or nothing. */
static enum err read_rest(struct str rest, struct redis_url *url, const char **why)
{
    if (url->kind == REDIS_CLUSTER && rest.len > 0) {
        *why = "a cluster has one database only: nothing may follow the hosts";
        return ERR_INVALID;
    }
    if (url->kind != REDIS_SENTINEL)
        return read_database(rest, url, why);
    struct str master = str_cut(&rest, '/');
    if (master.len == 0) {
        *why = "the name of the master must follow: sentinel://host:port,host:port/NAME";
        return ERR_INVALID;
    }
    enum err err = copy_unescaped(master, &url->master, why);
    return err == ERR_OK ? read_database(rest, url, why) : err;
}

/* The last @ counts: a password may hold one unescaped. */
static enum err read_tcp(struct str rest, struct redis_url *url, const char **why)
{
    struct str places = rest;
    const char *at = rest.len > 0 ? memrchr(rest.at, '@', rest.len) : NULL;
    if (at != NULL) {
        struct str login = {rest.at, (size_t)(at - rest.at)};
        enum err err = read_login(login, url, why);
        if (err != ERR_OK)
            return err;
        places = (struct str){at + 1, rest.len - login.len - 1};
    }
    struct str behind = places;
    places = str_cut(&behind, '/');
    enum err err = read_hosts(places, url, why);
    return err == ERR_OK ? read_rest(behind, url, why) : err;
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

static enum err read_url(const char *text, struct redis_url *url, const char **why)
{
    struct str rest = str_of(text);
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        if (!cut_scheme(&rest, schemes[i].text))
            continue;
        url->kind = schemes[i].kind;
        url->is_tls = schemes[i].is_tls;
        return read_tcp(rest, url, why);
    }
    bool is_path = strchr(text, '/') != NULL && strstr(text, "://") == NULL;
    if (is_path || cut_scheme(&rest, "unix://"))
        return read_unix(rest, url, why);
    *why =
        "it must begin with redis://, rediss://, sentinel://, redis+cluster:// or unix://, or be "
        "the path of a socket";
    return ERR_INVALID;
}

enum err redis_url_parse(const char *text, struct redis_url *out, const char **why)
{
    struct redis_url url = {0};
    enum err err = read_url(text, &url, why);
    if (err != ERR_OK) {
        redis_url_fini(&url);
        return err;
    }
    *out = url;
    return ERR_OK;
}

/* The name of a master may hold what means something else in a url. */
static void print_escaped(const char *text, struct buf *out)
{
    for (const char *at = text; *at != '\0'; at++) {
        bool is_plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z')
                        || (*at >= '0' && *at <= '9') || strchr("-._", *at) != NULL;
        (void)buf_addf(out, is_plain ? "%c" : "%%%02X", is_plain ? *at : (unsigned char)*at);
    }
}

static void print_hosts(const struct redis_url *url, struct buf *out)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (schemes[i].kind == url->kind && schemes[i].is_tls == url->is_tls)
            (void)buf_add_text(out, schemes[i].text);
    for (size_t i = 0; i < url->host_count; i++) {
        const struct redis_host *host = &url->host[i];
        bool is_ipv6 = strchr(host->name, ':') != NULL;
        (void)buf_addf(out, is_ipv6 ? "%s[%s]:%d" : "%s%s:%d", i > 0 ? "," : "", host->name,
                       host->port);
    }
}

void redis_url_print(const struct redis_url *url, struct buf *out)
{
    if (url->path != NULL)
        (void)buf_addf(out, "unix://%s", url->path);
    else
        print_hosts(url, out);
    if (url->master != NULL) {
        (void)buf_add_text(out, "/");
        print_escaped(url->master, out);
    }
    if (url->db != 0)
        (void)buf_addf(out, url->path != NULL ? "?db=%d" : "/%d", url->db);
}
