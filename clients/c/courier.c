#include "courier.h"

#include <stdio.h>
#include <string.h>

#include "base/list.h"
#include "base/mem.h"
#include "io/curl_loop.h"

enum {
    AT_ONCE = 8, /* an agentd is next door: more connections make nothing faster */
    CONNECT_MS = 3000,
    SILENCE_S = 40, /* of a stream; the agentd sends a comment every 15 s */
    ANSWER_MAX = 4 << 20,
    URL_MAX = 512
};

struct call {
    struct link in_list; /* of those that wait for their turn, or fly */
    struct courier *courier;
    CURL *easy;
    struct curl_slist *headers;
    struct buf body; /* what is sent, then what came */
    struct buf answer;
    courier_done done;
    void *owner;
    bool is_stream, is_open;
    char why[CURL_ERROR_SIZE];
};

struct courier {
    struct curl_loop *curl;
    struct list waiting, flying;
    size_t flying_count;
    struct call *stream;
    const struct stream_events *events;
    void *stream_owner;
    char *base, *unix_path, *authorization;
    bool is_closing;
    void (*on_closed)(void *owner);
    void *owner;
};

/* ---- life ---------------------------------------------------------------------------------- */

static void call_free(struct call *call)
{
    link_remove(&call->in_list);
    if (call->easy != NULL)
        curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    buf_fini(&call->body);
    buf_fini(&call->answer);
    mem_free(call);
}

/* ---- answers ------------------------------------------------------------------------------- */

/* Of a Unix socket libcurl says that it "could not connect to localhost port 80". */
static const char *explain(struct call *call, CURLcode code)
{
    long number = 0;
    curl_easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &number);
    if (code == CURLE_COULDNT_CONNECT && call->courier->unix_path != NULL)
        return number > 0 ? strerror((int)number) : "nobody listens there";
    return call->why[0] != '\0' ? call->why : curl_easy_strerror(code);
}

static void fly_next(struct courier *courier);

static void stream_finished(struct call *call, CURLcode code)
{
    struct courier *courier = call->courier;
    long status = 0;
    char why[CURL_ERROR_SIZE];
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    snprintf(why, sizeof why, "%s", code == CURLE_OK ? "the stream ended" : explain(call, code));
    courier->stream = NULL;
    call_free(call);
    courier->events->on_end(courier->stream_owner, status, why);
}

static void on_finished(void *transfer, CURLcode code)
{
    struct call *call = transfer;
    struct courier *courier = call->courier;
    if (call->is_stream) {
        stream_finished(call, code);
        return;
    }
    struct delivery delivery = {.err = curl_loop_err(code)};
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &delivery.status);
    if (delivery.err == ERR_OK)
        delivery.body = buf_str(&call->answer);
    else
        delivery.why = explain(call, code);
    courier->flying_count--;
    fly_next(courier);
    call->done(call->owner, &delivery);
    call_free(call);
}

/* ---- a call -------------------------------------------------------------------------------- */

static size_t take_bytes(char *bytes, size_t size, size_t count, void *owner)
{
    struct call *call = owner;
    struct courier *courier = call->courier;
    size_t len = size * count;
    if (!call->is_stream)
        return buf_add(&call->answer, bytes, len) == ERR_OK ? len : 0;
    if (!call->is_open) {
        call->is_open = true;
        courier->events->on_open(courier->stream_owner);
    }
    return courier->events->on_bytes(courier->stream_owner, (struct str){bytes, len}) ? len : 0;
}

static bool add_header(struct call *call, const char *name, const char *value)
{
    struct buf line = {0};
    buf_addf(&line, "%s%s", name, value);
    struct curl_slist *longer = line.failed ? NULL : curl_slist_append(call->headers, line.bytes);
    buf_fini(&line);
    if (longer != NULL)
        call->headers = longer;
    return longer != NULL;
}

static curl_socket_t open_socket(void *owner, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)owner, (void)purpose;
    return curl_loop_socket(address);
}

static void set_up(struct call *call, const char *path, long timeout_ms)
{
    char url[URL_MAX];
    const struct courier *courier = call->courier;
    snprintf(url, sizeof url, "%s%s", courier->base, path);
    curl_easy_setopt(call->easy, CURLOPT_PRIVATE, (char *)call);
    curl_easy_setopt(call->easy, CURLOPT_URL, url);
    curl_easy_setopt(call->easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(call->easy, CURLOPT_PROXY, ""); /* that of the environment is not for us */
    curl_easy_setopt(call->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(call->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(call->easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(call->easy, CURLOPT_ERRORBUFFER, call->why);
    curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers);
    curl_easy_setopt(call->easy, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(call->easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(call->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    if (courier->unix_path != NULL)
        curl_easy_setopt(call->easy, CURLOPT_UNIX_SOCKET_PATH, courier->unix_path);
    if (call->is_stream) {
        curl_easy_setopt(call->easy, CURLOPT_FAILONERROR, 1L);
        curl_easy_setopt(call->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(call->easy, CURLOPT_LOW_SPEED_TIME, (long)SILENCE_S);
        return;
    }
    curl_easy_setopt(call->easy, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(call->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(call->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
    curl_easy_setopt(call->easy, CURLOPT_POSTFIELDS, call->body.bytes);
}

static struct call *call_new(struct courier *courier)
{
    struct call *call = mem_new(sizeof *call);
    if (call == NULL)
        return NULL;
    call->courier = courier;
    call->answer.limit = ANSWER_MAX;
    call->easy = curl_easy_init();
    if (call->easy != NULL && add_header(call, courier->authorization, "")
        && add_header(call, "Expect:", ""))
        return call;
    call_free(call);
    return NULL;
}

/* Where libcurl does not take one, it and those behind it stay in line. */
static void fly_next(struct courier *courier)
{
    if (curl_loop_is_inside(courier->curl))
        return; /* a notice came, and is acknowledged: in a moment */
    LIST_EACH (at, then, &courier->waiting) {
        struct call *call = LIST_OWNER(at, struct call, in_list);
        if (courier->flying_count == AT_ONCE || courier->is_closing)
            return;
        if (!curl_loop_add(courier->curl, call->easy))
            return;
        link_remove(&call->in_list);
        list_add_last(&courier->flying, &call->in_list);
        courier->flying_count++;
    }
}

enum err courier_send(struct courier *courier, const struct errand *errand, courier_done done,
                      void *owner)
{
    struct call *call = call_new(courier);
    if (call == NULL)
        return ERR_NOMEM;
    call->done = done;
    call->owner = owner;
    if (buf_add_str(&call->body, errand->body) != ERR_OK
        || !add_header(call, "Content-Type: ", "application/json")
        || (errand->key != NULL && !add_header(call, "Idempotency-Key: ", errand->key))) {
        call_free(call);
        return ERR_NOMEM;
    }
    set_up(call, errand->path, errand->timeout_ms);
    list_add_last(&courier->waiting, &call->in_list);
    fly_next(courier);
    return ERR_OK;
}

enum err courier_listen(struct courier *courier, const char *path,
                        const struct stream_events *events, void *owner)
{
    struct call *call = call_new(courier);
    if (call == NULL)
        return ERR_NOMEM;
    call->is_stream = true;
    if (!add_header(call, "Accept: ", "text/event-stream")) {
        call_free(call);
        return ERR_NOMEM;
    }
    set_up(call, path, 0);
    if (!curl_loop_add(courier->curl, call->easy)) {
        call_free(call);
        return ERR_NOMEM;
    }
    courier->stream = call;
    courier->events = events;
    courier->stream_owner = owner;
    return ERR_OK;
}

void courier_hang_up(struct courier *courier)
{
    if (courier->stream == NULL)
        return;
    curl_loop_take_out(courier->curl, courier->stream->easy);
    call_free(courier->stream);
    courier->stream = NULL;
}

/* ---- coming and going ---------------------------------------------------------------------- */

static bool take_where(struct courier *courier, const char *where, const char *token)
{
    struct buf header = {0};
    struct str base = str_of(where);
    bool is_unix = strncmp(where, "unix:", 5) == 0;
    while (base.len > 0 && base.at[base.len - 1] == '/')
        base.len--;
    if (is_unix)
        courier->unix_path = mem_copy(str_of(where + 5));
    courier->base = mem_copy(is_unix ? STR("http://localhost") : base);
    buf_addf(&header, "Authorization: Bearer %s", token);
    courier->authorization = header.failed ? NULL : mem_copy(buf_str(&header));
    buf_fini(&header);
    return courier->base != NULL && courier->authorization != NULL
           && (!is_unix || courier->unix_path != NULL);
}

static void parts_free(struct courier *courier)
{
    mem_free(courier->base);
    mem_free(courier->unix_path);
    mem_free(courier->authorization);
    mem_free(courier);
}

static void on_turned(void *owner)
{
    fly_next(owner);
}

enum err courier_open(uv_loop_t *loop, const char *where, const char *token, struct courier **out)
{
    static const struct curl_loop_events events = {.finished = on_finished, .turned = on_turned};
    struct courier *courier = mem_new(sizeof *courier);
    if (courier == NULL)
        return ERR_NOMEM;
    list_init(&courier->waiting);
    list_init(&courier->flying);
    if (!take_where(courier, where, token)
        || curl_loop_open(loop, AT_ONCE + 1, &events, courier, &courier->curl) != ERR_OK) {
        parts_free(courier);
        return ERR_NOMEM;
    }
    *out = courier;
    return ERR_OK;
}

static void on_curl_closed(void *owner)
{
    struct courier *courier = owner;
    void (*on_closed)(void *owner) = courier->on_closed;
    owner = courier->owner;
    parts_free(courier);
    if (on_closed != NULL)
        on_closed(owner);
}

static void drop_calls(struct courier *courier, struct list *calls, bool fly)
{
    LIST_EACH (at, then, calls) {
        struct call *call = LIST_OWNER(at, struct call, in_list);
        if (fly)
            curl_loop_take_out(courier->curl, call->easy);
        call_free(call);
    }
}

void courier_close(struct courier *courier, void (*on_closed)(void *owner), void *owner)
{
    courier->is_closing = true;
    courier->on_closed = on_closed;
    courier->owner = owner;
    courier_hang_up(courier);
    drop_calls(courier, &courier->waiting, false);
    drop_calls(courier, &courier->flying, true);
    curl_loop_close(courier->curl, on_curl_closed, courier);
}
