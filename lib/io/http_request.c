/* What a route may ask of a request. */
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "io/http_parts.h"

int host_socket(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

struct str http_method(const struct http_request *request)
{
    return str_of(request->method);
}

struct str http_path(const struct http_request *request)
{
    return str_of(request->path);
}

struct str http_body(const struct http_request *request)
{
    return buf_str(&request->body);
}

void http_request_own(struct http_request *request, void *request_owner)
{
    request->request_owner = request_owner;
    request->is_owned = true;
}

bool http_peer(const struct http_request *request, pid_t *pid, uid_t *uid, gid_t *gid)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (!request->host->is_unix
        || getsockopt(host_socket(request->connection), SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return false;
    *pid = peer.pid;
    *uid = peer.uid;
    *gid = peer.gid;
    return true;
}

struct header_search {
    struct str name;
    struct str first;
    unsigned count;
    struct buf all; /* joined, if there is more than one */
};

static enum MHD_Result take_header(void *owner, enum MHD_ValueKind kind, const char *name,
                                   size_t name_len, const char *value, size_t value_len)
{
    struct header_search *search = owner;
    (void)kind;
    if (name_len != search->name.len || strncasecmp(name, search->name.at, name_len) != 0)
        return MHD_YES;
    if (search->count++ == 0) {
        search->first = (struct str){value != NULL ? value : "", value_len};
        return MHD_YES;
    }
    if (search->count == 2)
        buf_add_str(&search->all, search->first);
    buf_add_text(&search->all, ", ");
    buf_add(&search->all, value, value_len);
    return MHD_YES;
}

/* What was joined is lent like the rest, so it must live as long as the request. */
static struct str keep_joined(const struct http_request *request, const struct buf *text)
{
    struct joined_header *kept = mem_new(sizeof *kept + text->len);
    if (kept == NULL)
        return STR_NONE;
    memcpy(kept->text, text->bytes, text->len);
    list_add_last(request->joined, &kept->in_joined);
    return (struct str){kept->text, text->len};
}

struct str http_header(const struct http_request *request, const char *name)
{
    struct header_search search = {.name = str_of(name)};
    MHD_get_connection_values_n(request->connection, MHD_HEADER_KIND, take_header, &search);
    if (search.count <= 1)
        return search.first;
    struct str joined = search.all.failed ? STR_NONE : keep_joined(request, &search.all);
    buf_fini(&search.all);
    return joined;
}

struct query_walk {
    bool (*visit)(void *owner, struct str name, struct str value);
    void *owner;
};

static enum MHD_Result visit_query(void *owner, enum MHD_ValueKind kind, const char *name,
                                   size_t name_len, const char *value, size_t value_len)
{
    const struct query_walk *walk = owner;
    (void)kind;
    struct str text = {value != NULL ? value : "", value_len}; /* "?wait" has no value */
    return walk->visit(walk->owner, (struct str){name, name_len}, text) ? MHD_YES : MHD_NO;
}

void http_query_each(const struct http_request *request,
                     bool (*visit)(void *owner, struct str name, struct str value), void *owner)
{
    struct query_walk walk = {visit, owner};
    MHD_get_connection_values_n(request->connection, MHD_GET_ARGUMENT_KIND, visit_query, &walk);
}

struct query_search {
    const char *name;
    struct str value;
};

static bool is_not_the_one(void *owner, struct str name, struct str value)
{
    struct query_search *search = owner;
    if (!str_is(name, search->name))
        return true;
    search->value = value;
    return false;
}

struct str http_query(const struct http_request *request, const char *name)
{
    struct query_search search = {name, STR_NONE};
    http_query_each(request, is_not_the_one, &search);
    return search.value;
}
