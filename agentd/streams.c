/* GET /v1/events: one listener per client, with as many open streams as it likes. */
#include "agentd/inside.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"

struct listener {
    char client[API_TOKEN_HASH_LEN + 1];
    struct list streams;
};

struct stream {
    struct link in_listener;
    struct listener *listener;
    struct http_stream *http;
};

/* {"run","epoch","grace_ms"} and the cancel object's members: what to stop, and why. */
static json_t *notice(struct str run, uint32_t epoch, const struct cancel_record *record,
                      struct span grace)
{
    json_t *json = api_cancel_object(record);
    api_set(json, "run", api_text(run));
    api_set(json, "epoch", json_integer(epoch));
    api_set_span(json, "grace_ms", grace);
    return json;
}

/* False when there is no memory or the reader is too slow; its stream then ends. */
static bool send_to(struct agentd *d, struct stream *stream, struct str data)
{
    struct buf text = {0};
    buf_addf(&text, "id: %s-%llu\nevent: cancel\ndata: ", d->replica,
             (unsigned long long)++d->last_notice);
    buf_add_str(&text, data);
    buf_add_text(&text, "\n\n");
    bool sent = !text.failed && http_stream_send(stream->http, buf_str(&text)) == ERR_OK;
    buf_fini(&text);
    return sent;
}

static void tell_slow(struct agentd *d, const struct listener *listener)
{
    log_warn("client is too slow", "client=c-%.11s", listener->client);
    feed_soon(d, (struct agent_event){.kind = AGENT_CLIENT_SLOW,
                                      .caller.token_hash = str_of(listener->client)});
}

void streams_notify(struct agentd *d, const struct agent_effect *effect)
{
    struct agent_run_view view = {.epoch = 0};
    struct listener *listener = map_find(&d->streams, effect->client);
    if (listener == NULL)
        return; /* told when it connects again */
    agent_find_run(d->agent, effect->run, agentd_now(d), &view);
    json_t *json = notice(effect->run, view.epoch, &effect->record, effect->grace);
    char *data = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    json_decref(json);
    bool all_sent = data != NULL;
    LIST_EACH (at, then, &listener->streams)
        all_sent = all_sent && send_to(d, LIST_OWNER(at, struct stream, in_listener), str_of(data));
    free(data);
    if (!all_sent)
        tell_slow(d, listener);
}

static bool send_standing(struct agentd *d, struct stream *stream)
{
    struct agent_run_view view;
    struct str client = str_of(stream->listener->client);
    bool sent = true;
    for (size_t at = 0; sent && agent_next_standing(d->agent, client, &at, agentd_now(d), &view);) {
        json_t *json = notice(view.run, view.epoch, view.record, view.grace);
        char *data = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
        json_decref(json);
        sent = data != NULL && send_to(d, stream, str_of(data));
        free(data);
    }
    return sent;
}

static struct listener *listener_of(struct agentd *d, struct str client)
{
    struct listener *listener = map_find(&d->streams, client);
    if (listener != NULL)
        return listener;
    listener = mem_new(sizeof *listener);
    if (listener == NULL)
        return NULL;
    assert(client.len < sizeof listener->client);
    memcpy(listener->client, client.at, client.len);
    list_init(&listener->streams);
    if (map_add(&d->streams, str_of(listener->client), listener))
        return listener;
    mem_free(listener);
    return NULL;
}

static void forget_if_silent(struct agentd *d, struct listener *listener)
{
    if (!list_is_empty(&listener->streams))
        return;
    map_take(&d->streams, str_of(listener->client));
    mem_free(listener);
}

static void count_stream(struct agentd *d)
{
    uint64_t every = (uint64_t)d->settings->sse_heartbeat.ms;
    if (d->stream_count++ == 0)
        uv_timer_start(&d->heartbeat, streams_beat, every, every);
}

void streams_connect(struct agentd *d, struct http_request *request, struct str client)
{
    struct listener *listener = listener_of(d, client);
    struct stream *stream = listener == NULL ? NULL : mem_new(sizeof *stream);
    if (stream == NULL) {
        api_problem(request, PROBLEM_OVERLOADED, "out of memory", NULL);
        if (listener != NULL)
            forget_if_silent(d, listener);
        return;
    }
    bool is_first = list_is_empty(&listener->streams);
    stream->listener = listener;
    stream->http = http_stream(request, stream);
    if (stream->http == NULL) {
        mem_free(stream);
        forget_if_silent(d, listener);
        return;
    }
    list_add_last(&listener->streams, &stream->in_listener);
    count_stream(d);
    /* something at once, so that the client knows it is heard */
    if (http_stream_send(stream->http, STR("retry: 1000\n\n")) != ERR_OK
        || !send_standing(d, stream)) {
        http_stream_end(stream->http);
        return;
    }
    if (is_first)
        feed(d, (struct agent_event){.kind = AGENT_CLIENT_CAME,
                                     .caller.token_hash = str_of(listener->client)});
}

void streams_closed(void *owner, struct http_stream *http, void *stream_owner)
{
    (void)http;
    struct agentd *d = owner;
    struct stream *stream = stream_owner;
    struct listener *listener = stream->listener;
    link_remove(&stream->in_listener);
    mem_free(stream);
    if (--d->stream_count == 0 && !d->closing)
        uv_timer_stop(&d->heartbeat);
    if (!list_is_empty(&listener->streams))
        return;
    map_take(&d->streams, str_of(listener->client));
    feed_soon(d, (struct agent_event){.kind = AGENT_CLIENT_WENT,
                                      .caller.token_hash = str_of(listener->client)});
    mem_free(listener);
}

/* A comment: it keeps proxies from closing the stream, and shows the client that we live. */
void streams_beat(uv_timer_t *timer)
{
    struct agentd *d = timer->data;
    struct listener *listener;
    for (size_t at = 0; (listener = map_next(&d->streams, &at)) != NULL;) {
        bool all_sent = true;
        LIST_EACH (link, then, &listener->streams) {
            struct stream *stream = LIST_OWNER(link, struct stream, in_listener);
            all_sent = http_stream_send(stream->http, STR(": beat\n\n")) == ERR_OK && all_sent;
        }
        if (!all_sent)
            tell_slow(d, listener);
    }
}
