#include "io/curl_loop.h"

#include <sys/socket.h>

#include "base/mem.h"

struct watch { /* libcurl wants to know when this socket is ready */
    uv_poll_t poll;
    struct curl_loop *curl;
    curl_socket_t socket;
};

struct curl_loop {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer;
    const struct curl_loop_events *events;
    void *owner;
    bool is_inside, is_closing;
    unsigned handles; /* the timer and the watches: the loop knows their addresses */
    void (*on_closed)(void *owner);
    void *closed_owner;
};

/* ---- life ---------------------------------------------------------------------------------- */

static void released(struct curl_loop *curl)
{
    if (--curl->handles > 0)
        return;
    void (*on_closed)(void *owner) = curl->on_closed;
    void *owner = curl->closed_owner;
    mem_free(curl);
    if (on_closed != NULL)
        on_closed(owner);
}

static void on_timer_closed(uv_handle_t *handle)
{
    released(handle->data);
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct watch *watch = handle->data;
    struct curl_loop *curl = watch->curl;
    mem_free(watch);
    released(curl);
}

/* ---- what happens -------------------------------------------------------------------------- */

static void read_finished(struct curl_loop *curl)
{
    int left;
    for (CURLMsg *message;
         !curl->is_closing && (message = curl_multi_info_read(curl->multi, &left)) != NULL;) {
        void *transfer = NULL;
        CURLcode code = message->data.result;
        CURL *easy = message->easy_handle;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&transfer);
        curl_multi_remove_handle(curl->multi, easy); /* `message` is gone with it */
        curl->events->finished(transfer, code);
    }
}

static void act_on(struct curl_loop *curl, curl_socket_t socket, int events)
{
    int running;
    if (curl->is_closing)
        return;
    curl->is_inside = true;
    curl_multi_socket_action(curl->multi, socket, events, &running);
    curl->is_inside = false;
    read_finished(curl);
    if (!curl->is_closing && curl->events->turned != NULL)
        curl->events->turned(curl->owner);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    flags |= (events & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0;
    flags |= (events & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0;
    act_on(watch->curl, watch->socket, flags);
}

static void on_time(uv_timer_t *timer)
{
    act_on(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

/* ---- what libcurl wants -------------------------------------------------------------------- */

static struct watch *watch_new(struct curl_loop *curl, curl_socket_t socket)
{
    struct watch *watch = mem_new(sizeof *watch);
    if (watch == NULL || uv_poll_init_socket(curl->loop, &watch->poll, socket) != 0) {
        mem_free(watch);
        return NULL;
    }
    watch->poll.data = watch;
    watch->curl = curl;
    watch->socket = socket;
    curl->handles++;
    curl_multi_assign(curl->multi, socket, watch);
    return watch;
}

static int on_socket_wanted(CURL *easy, curl_socket_t socket, int what, void *owner, void *known)
{
    struct curl_loop *curl = owner;
    struct watch *watch = known;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (watch != NULL)
            uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
        curl_multi_assign(curl->multi, socket, NULL);
        return 0;
    }
    if (watch == NULL && (watch = watch_new(curl, socket)) == NULL)
        return -1;
    int events = (what & CURL_POLL_IN) != 0 ? UV_READABLE : 0;
    events |= (what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0;
    return uv_poll_start(&watch->poll, events, on_ready) == 0 ? 0 : -1;
}

static int on_time_wanted(CURLM *multi, long wait_ms, void *owner)
{
    struct curl_loop *curl = owner;
    (void)multi;
    if (curl->is_closing)
        return 0;
    if (wait_ms < 0)
        uv_timer_stop(&curl->timer);
    else
        uv_timer_start(&curl->timer, on_time, (uint64_t)wait_ms, 0);
    return 0;
}

/* ---- transfers ----------------------------------------------------------------------------- */

bool curl_loop_add(struct curl_loop *curl, CURL *transfer)
{
    return curl_multi_add_handle(curl->multi, transfer) == CURLM_OK;
}

void curl_loop_take_out(struct curl_loop *curl, CURL *transfer)
{
    curl_multi_remove_handle(curl->multi, transfer);
}

bool curl_loop_is_inside(const struct curl_loop *curl)
{
    return curl->is_inside;
}

curl_socket_t curl_loop_socket(const struct curl_sockaddr *address)
{
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

enum err curl_loop_err(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return ERR_OK;
    case CURLE_OUT_OF_MEMORY:
        return ERR_NOMEM;
    case CURLE_WRITE_ERROR: /* our callbacks took no more */
#if LIBCURL_VERSION_NUM >= 0x080600
    case CURLE_TOO_LARGE: /* nor did libcurl, of one header */
#endif
        return ERR_TOO_LARGE;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return ERR_INVALID;
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    default:
        return ERR_OFFLINE;
    }
}

/* ---- coming and going ---------------------------------------------------------------------- */

enum err curl_loop_open(uv_loop_t *loop, long connections, const struct curl_loop_events *events,
                        void *owner, struct curl_loop **out)
{
    struct curl_loop *curl = mem_new(sizeof *curl);
    if (curl == NULL || (curl->multi = curl_multi_init()) == NULL) {
        mem_free(curl);
        return ERR_NOMEM;
    }
    curl->loop = loop;
    curl->events = events;
    curl->owner = owner;
    curl->handles = 1;
    curl_multi_setopt(curl->multi, CURLMOPT_SOCKETFUNCTION, on_socket_wanted);
    curl_multi_setopt(curl->multi, CURLMOPT_SOCKETDATA, curl);
    curl_multi_setopt(curl->multi, CURLMOPT_TIMERFUNCTION, on_time_wanted);
    curl_multi_setopt(curl->multi, CURLMOPT_TIMERDATA, curl);
    curl_multi_setopt(curl->multi, CURLMOPT_MAXCONNECTS, connections);
    uv_timer_init(loop, &curl->timer);
    curl->timer.data = curl;
    *out = curl;
    return ERR_OK;
}

void curl_loop_close(struct curl_loop *curl, void (*on_closed)(void *owner), void *owner)
{
    curl->is_closing = true;
    curl->on_closed = on_closed;
    curl->closed_owner = owner;
    curl_multi_cleanup(curl->multi); /* lets go of its sockets */
    curl->multi = NULL;
    uv_close((uv_handle_t *)&curl->timer, on_timer_closed);
}
