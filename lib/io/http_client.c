#include "io/http_client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { TIMEOUT_S = 70, CONNECT_MS = 5000, BODY_MAX = 64 << 20 };

struct http_client {
    CURL *curl;
    char *base; /* "http://host:port", no slash at the end */
    char *unix_path;
    char *authorization;        /* the header, NULL: none */
    char told[CURL_ERROR_SIZE]; /* by libcurl */
    char why[CURL_ERROR_SIZE + 128];
};

/* Where the bytes of one answer go. */
struct sink {
    struct buf *body;
    bool (*on_bytes)(void *owner, struct str bytes);
    void *owner;
    bool had_enough;
};

static bool split_where(const char *where, struct http_client *client)
{
    if (strncmp(where, "unix:", 5) == 0) {
        const char *path = strncmp(where, "unix://", 7) == 0 ? where + 7 : where + 5;
        client->unix_path = mem_copy(str_of(path));
        client->base = mem_copy(STR("http://localhost"));
        return path[0] != '\0' && client->unix_path != NULL && client->base != NULL;
    }
    struct str base = str_of(where);
    bool is_web = strncmp(where, "http://", 7) == 0 || strncmp(where, "https://", 8) == 0;
    while (base.len > 0 && base.at[base.len - 1] == '/')
        base.len--;
    client->base = mem_copy(base);
    return is_web && base.len > strlen("https://") && client->base != NULL;
}

static bool keep_token(struct http_client *client, const char *token)
{
    struct buf header = {0};
    if (token == NULL || token[0] == '\0')
        return true;
    buf_addf(&header, "Authorization: Bearer %s", token);
    client->authorization = header.failed ? NULL : mem_copy(buf_str(&header));
    buf_fini(&header);
    return client->authorization != NULL;
}

enum err http_client_new(const char *where, const char *token, struct http_client **out)
{
    struct http_client *client = mem_new(sizeof *client);
    if (client == NULL)
        return ERR_NOMEM;
    enum err err = split_where(where, client) ? ERR_OK : ERR_INVALID;
    if (err == ERR_OK && !keep_token(client, token))
        err = ERR_NOMEM;
    if (err == ERR_OK && (client->curl = curl_easy_init()) == NULL)
        err = ERR_NOMEM;
    if (err != ERR_OK) {
        http_client_free(client);
        return err;
    }
    *out = client;
    return ERR_OK;
}

void http_client_free(struct http_client *client)
{
    if (client->curl != NULL)
        curl_easy_cleanup(client->curl);
    mem_free(client->base);
    mem_free(client->unix_path);
    mem_free(client->authorization);
    mem_free(client);
}

static size_t take_bytes(char *bytes, size_t size, size_t count, void *owner)
{
    struct sink *sink = owner;
    size_t len = size * count;
    if (sink->on_bytes == NULL)
        return buf_add(sink->body, bytes, len) == ERR_OK ? len : 0;
    if (sink->on_bytes(sink->owner, (struct str){bytes, len}))
        return len;
    sink->had_enough = true;
    return 0;
}

static struct curl_slist *with_header(struct curl_slist *list, const char *header, bool *failed)
{
    struct curl_slist *longer = header != NULL ? curl_slist_append(list, header) : list;
    if (longer == NULL && header != NULL)
        *failed = true;
    return longer != NULL ? longer : list;
}

/* "Expect:" without a value: no pause of a second before a larger body. */
static struct curl_slist *headers_of(const struct http_client *client, const struct http_call *call,
                                     bool *failed)
{
    struct curl_slist *list = with_header(NULL, "Expect:", failed);
    list = with_header(list, client->authorization, failed);
    if (call->body.len > 0)
        list = with_header(list, "Content-Type: application/json", failed);
    for (size_t i = 0; call->headers != NULL && call->headers[i] != NULL; i++)
        list = with_header(list, call->headers[i], failed);
    return list;
}

static void set_body(CURL *curl, const struct http_call *call)
{
    bool may_have_none = strcmp(call->method, "GET") == 0 || strcmp(call->method, "DELETE") == 0;
    if (call->body.len == 0 && may_have_none)
        return;
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body.len > 0 ? call->body.at : "");
}

/* Resetting keeps the connections, and nothing else of the call before. */
static void set_up(struct http_client *client, const struct http_call *call, const char *url,
                   struct curl_slist *headers, struct sink *sink)
{
    CURL *curl = client->curl;
    curl_easy_reset(curl);
    client->told[0] = '\0';
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* http_proxy in the environment is not for us */
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, client->told);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, sink);
    if (client->unix_path != NULL)
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, client->unix_path);
    set_body(curl, call);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
}

/* Of a Unix socket libcurl says that it "could not connect to localhost port 80". */
static void explain(struct http_client *client, CURLcode code)
{
    long number = 0;
    const char *told = client->told[0] != '\0' ? client->told : curl_easy_strerror(code);
    curl_easy_getinfo(client->curl, CURLINFO_OS_ERRNO, &number);
    if (client->unix_path != NULL && code == CURLE_COULDNT_CONNECT)
        told = number > 0 ? strerror((int)number) : "nobody listens there";
    snprintf(client->why, sizeof client->why, "%s: %s",
             client->unix_path != NULL ? client->unix_path : client->base, told);
}

static enum err outcome(struct http_client *client, CURLcode code, const struct sink *sink,
                        long *status, const char **why)
{
    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, status);
    if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && sink->had_enough))
        return ERR_OK;
    explain(client, code);
    *why = client->why;
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    case CURLE_OUT_OF_MEMORY:
        return ERR_NOMEM;
    case CURLE_WRITE_ERROR:
        return ERR_TOO_LARGE;
    default:
        return ERR_OFFLINE;
    }
}

static enum err perform(struct http_client *client, const struct http_call *call, long timeout_ms,
                        struct sink *sink, long *status, const char **why)
{
    struct buf url = {0};
    bool failed = false;
    struct curl_slist *headers = headers_of(client, call, &failed);
    buf_addf(&url, "%s%s", client->base, call->path);
    enum err err = ERR_NOMEM;
    *why = err_text(err);
    if (!failed && !url.failed) {
        set_up(client, call, url.bytes, headers, sink);
        curl_easy_setopt(client->curl, CURLOPT_TIMEOUT_MS, timeout_ms);
        err = outcome(client, curl_easy_perform(client->curl), sink, status, why);
    }
    curl_slist_free_all(headers);
    buf_fini(&url);
    return err;
}

enum err http_client_call(struct http_client *client, const struct http_call *call, long *status,
                          struct buf *body, const char **why)
{
    struct sink sink = {.body = body};
    long timeout_ms = call->timeout.ms > 0 ? (long)call->timeout.ms : TIMEOUT_S * 1000L;
    buf_clear(body);
    if (body->limit == 0)
        body->limit = BODY_MAX;
    return perform(client, call, timeout_ms, &sink, status, why);
}

enum err http_client_stream(struct http_client *client, const struct http_call *call, long *status,
                            bool (*on_bytes)(void *owner, struct str bytes), void *owner,
                            const char **why)
{
    struct sink sink = {.on_bytes = on_bytes, .owner = owner};
    long timeout_ms = call->timeout.ms > 0 ? (long)call->timeout.ms : 0;
    return perform(client, call, timeout_ms, &sink, status, why);
}
