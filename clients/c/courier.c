#include "courier.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/list.h"
#include "base/mem.h"

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

struct watch { /* libcurl wants to know when this socket is ready */
    uv_poll_t poll;
    struct courier *courier;
    curl_socket_t socket;
};

struct courier {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer;
    struct list waiting, flying;
    size_t flying_count;
    struct call *stream;
    const struct stream_events *events;
    void *stream_owner;
    char *base, *unix_path, *authorization;
    bool is_closing;
    bool is_inside; /* libcurl: it takes no calls from its own callbacks */
    unsigned handles;
    void (*on_closed)(void *owner);
    void *owner;
};

/* ---- life ---------------------------------------------------------------------------------- */

static void released(struct courier *courier)
{
    if (--courier->handles > 0)
        return;
    void (*on_closed)(void *owner) = courier->on_closed;
    void *owner = courier->owner;
    mem_free(courier->base);
    mem_free(courier->unix_path);
    mem_free(courier->authorization);
    mem_free(courier);
    if (on_closed != NULL)
        on_closed(owner);
}

static void on_timer_closed(uv_handle_t *handle)
{
    released(handle->data);
}

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

static enum err err_of(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return ERR_OK;
    case CURLE_OUT_OF_MEMORY:
        return ERR_NOMEM;
    case CURLE_WRITE_ERROR:
        return ERR_TOO_LARGE;
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return ERR_OFFLINE;
    }
}

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

static void finished(struct call *call, CURLcode code)
{
    struct courier *courier = call->courier;
    curl_multi_remove_handle(courier->multi, call->easy);
    if (call->is_stream) {
        stream_finished(call, code);
        return;
    }
    struct delivery delivery = {.err = err_of(code)};
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

static void read_finished(struct courier *courier)
{
    int left;
    for (CURLMsg *message;
         !courier->is_closing && (message = curl_multi_info_read(courier->multi, &left)) != NULL;) {
        struct call *call = NULL;
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        finished(call, code);
    }
}

/* ---- libcurl on the loop ------------------------------------------------------------------- */

static void act_on(struct courier *courier, curl_socket_t socket, int events)
{
    int running;
    if (courier->is_closing)
        return;
    courier->is_inside = true;
    curl_multi_socket_action(courier->multi, socket, events, &running);
    courier->is_inside = false;
    read_finished(courier);
    fly_next(courier);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    flags |= (events & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0;
    flags |= (events & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0;
    act_on(watch->courier, watch->socket, flags);
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct watch *watch = handle->data;
    struct courier *courier = watch->courier;
    mem_free(watch);
    released(courier);
}

static struct watch *watch_new(struct courier *courier, curl_socket_t socket)
{
    struct watch *watch = mem_new(sizeof *watch);
    if (watch == NULL || uv_poll_init_socket(courier->loop, &watch->poll, socket) != 0) {
        mem_free(watch);
        return NULL;
    }
    watch->poll.data = watch;
    watch->courier = courier;
    watch->socket = socket;
    courier->handles++;
    curl_multi_assign(courier->multi, socket, watch);
    return watch;
}

static int on_socket_wanted(CURL *easy, curl_socket_t socket, int what, void *owner, void *known)
{
    struct courier *courier = owner;
    struct watch *watch = known;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (watch != NULL)
            uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
        curl_multi_assign(courier->multi, socket, NULL);
        return 0;
    }
    if (watch == NULL && (watch = watch_new(courier, socket)) == NULL)
        return -1;
    int events = (what & CURL_POLL_IN) != 0 ? UV_READABLE : 0;
    events |= (what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0;
    return uv_poll_start(&watch->poll, events, on_ready) == 0 ? 0 : -1;
}

static void on_time(uv_timer_t *timer)
{
    act_on(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int on_time_wanted(CURLM *multi, long wait_ms, void *owner)
{
    struct courier *courier = owner;
    (void)multi;
    if (courier->is_closing)
        return 0;
    if (wait_ms < 0)
        uv_timer_stop(&courier->timer);
    else
        uv_timer_start(&courier->timer, on_time, (uint64_t)wait_ms, 0);
    return 0;
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

/* Not for the processes that the program starts: one that outlives it would hold the stream open,
 * and the agentd would think that the program is still there. */
static curl_socket_t open_socket(void *owner, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)owner, (void)purpose;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
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
    if (courier->is_inside)
        return; /* a notice came, and is acknowledged: in a moment */
    LIST_EACH (at, then, &courier->waiting) {
        struct call *call = LIST_OWNER(at, struct call, in_list);
        if (courier->flying_count == AT_ONCE || courier->is_closing)
            return;
        if (curl_multi_add_handle(courier->multi, call->easy) != CURLM_OK)
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
    if (curl_multi_add_handle(courier->multi, call->easy) != CURLM_OK) {
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
    curl_multi_remove_handle(courier->multi, courier->stream->easy);
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

static bool set_up_multi(struct courier *courier)
{
    courier->multi = curl_multi_init();
    if (courier->multi == NULL)
        return false;
    curl_multi_setopt(courier->multi, CURLMOPT_SOCKETFUNCTION, on_socket_wanted);
    curl_multi_setopt(courier->multi, CURLMOPT_SOCKETDATA, courier);
    curl_multi_setopt(courier->multi, CURLMOPT_TIMERFUNCTION, on_time_wanted);
    curl_multi_setopt(courier->multi, CURLMOPT_TIMERDATA, courier);
    curl_multi_setopt(courier->multi, CURLMOPT_MAXCONNECTS, (long)AT_ONCE + 1);
    return true;
}

enum err courier_open(uv_loop_t *loop, const char *where, const char *token, struct courier **out)
{
    struct courier *courier = mem_new(sizeof *courier);
    if (courier == NULL)
        return ERR_NOMEM;
    courier->loop = loop;
    courier->handles = 1;
    list_init(&courier->waiting);
    list_init(&courier->flying);
    if (!take_where(courier, where, token) || !set_up_multi(courier)) {
        released(courier);
        return ERR_NOMEM;
    }
    uv_timer_init(loop, &courier->timer);
    courier->timer.data = courier;
    *out = courier;
    return ERR_OK;
}

static void drop_calls(struct courier *courier, struct list *calls, bool fly)
{
    LIST_EACH (at, then, calls) {
        struct call *call = LIST_OWNER(at, struct call, in_list);
        if (fly)
            curl_multi_remove_handle(courier->multi, call->easy);
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
    curl_multi_cleanup(courier->multi); /* lets go of its sockets */
    uv_close((uv_handle_t *)&courier->timer, on_timer_closed);
}
