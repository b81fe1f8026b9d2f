/* Event streams, whatever is sent on them. */
#include "base/buf.h"
#include "base/log.h"
#include "broker/inside.h"

void listeners_beat(uv_timer_t *timer)
{
    struct brokerd *d = timer->data;
    LIST_EACH (at, then, &d->listeners)
        (void)!http_stream_send(LIST_OWNER(at, struct listener, in_listeners)->http, STR(":\n\n"));
}

bool listener_has_room(struct brokerd *d, struct http_request *request)
{
    if (d->linked && d->listener_count < STREAMS_MAX)
        return true;
    api_problem(request, d->linked ? PROBLEM_OVERLOADED : PROBLEM_UNAVAILABLE,
                d->linked ? "too many event streams are open" : "not linked to Redis", NULL);
    return false;
}

bool listener_open(struct brokerd *d, struct http_request *request, struct listener *listener,
                   const char *const headers[])
{
    if (!listener_has_room(d, request))
        return false;
    listener->daemon = d;
    listener->http = http_stream(request, listener, headers);
    if (listener->http == NULL)
        return false;
    uint64_t every = (uint64_t)d->settings->sse_heartbeat.ms;
    list_add_last(&d->listeners, &listener->in_listeners);
    if (d->listener_count++ == 0)
        uv_timer_start(&d->heartbeat, listeners_beat, every, every);
    return true;
}

bool listener_send(struct listener *listener, struct str event, struct str id, struct str data)
{
    struct buf text = {0};
    if (id.len > 0)
        buf_addf(&text, "id: %.*s\n", (int)id.len, id.at);
    if (event.len > 0)
        buf_addf(&text, "event: %.*s\n", (int)event.len, event.at);
    buf_add_text(&text, "data: ");
    buf_add_str(&text, data);
    buf_add_text(&text, "\n\n");
    bool sent = !text.failed && http_stream_send(listener->http, buf_str(&text)) == ERR_OK;
    buf_fini(&text);
    if (!sent)
        log_warn("listener is too slow", "event=%.*s", (int)event.len, event.at);
    return sent;
}

void listener_closed(void *owner, struct http_stream *http, void *stream_owner)
{
    struct brokerd *d = owner;
    struct listener *listener = stream_owner;
    (void)http;
    link_remove(&listener->in_listeners);
    if (--d->listener_count == 0 && !d->closing)
        uv_timer_stop(&d->heartbeat);
    listener->closed(listener);
}
