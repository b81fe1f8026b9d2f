/* GET /v1/events: one listener per client, with as many open streams as it likes.
 *
 * A client may carry thousands of runs, and one cancel may hit them all. What its socket does not
 * take at once waits as the run's id, and becomes text when there is room: a reader is too slow
 * only when it took nothing from one heartbeat to the next, or when more is behind than it may
 * carry runs. Whoever still reads is told to connect again: then it finds all that stands. */
#include "agentd/inside.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

enum { TEXT_WAITING_MAX = 64 * 1024 };

struct listener {
    char client[API_TOKEN_HASH_LEN + 1];
    struct list streams;
};

struct stream {
    struct link in_listener;
    struct listener *listener;
    struct http_stream *http;
    struct buf behind; /* runs to be told of, a blank after each id */
    bool has_taken;    /* something since the last heartbeat */
    bool is_dropped;
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
static bool send_text(struct agentd *d, struct stream *stream, const char *data)
{
    struct buf text = {0};
    buf_addf(&text, "id: %s-%llu\nevent: cancel\ndata: %s\n\n", d->replica,
             (unsigned long long)++d->last_notice, data);
    bool sent = !text.failed && http_stream_send(stream->http, buf_str(&text)) == ERR_OK;
    buf_fini(&text);
    return sent;
}

static bool send_notice(struct agentd *d, struct stream *stream, const struct agent_run_view *run,
                        const struct cancel_record *record, struct span grace)
{
    json_t *json = notice(run->run, run->epoch, record, grace);
    char *data = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    json_decref(json);
    bool sent = data != NULL && send_text(d, stream, data);
    free(data);
    return sent;
}

/* What waits is always less than a stream bears, so there is room for this. */
static bool tell_to_come_again(struct stream *stream)
{
    return stream->has_taken
           && http_stream_send(stream->http, STR("event: resync\ndata: {}\n\n")) == ERR_OK;
}

static void drop(struct agentd *d, struct stream *stream)
{
    if (stream->is_dropped)
        return;
    stream->is_dropped = true;
    log_warn("client is too slow", "client=c-%.11s", stream->listener->client);
    if (tell_to_come_again(stream))
        http_stream_end(stream->http);
    else
        http_stream_cut(stream->http);
    feed_soon(d, (struct agent_event){.kind = AGENT_CLIENT_SLOW,
                                      .caller.token_hash = str_of(stream->listener->client)});
}

static bool has_room(const struct stream *stream)
{
    return http_stream_waiting(stream->http) < TEXT_WAITING_MAX;
}

/* False: it has to be dropped. */
static bool send_what_is_behind(struct agentd *d, struct stream *stream)
{
    struct agent_run_view view;
    size_t done = 0;
    bool sent = true;
    while (sent && done < stream->behind.len && has_room(stream)) {
        const char *id = stream->behind.bytes + done;
        struct str run = {id, (size_t)(strchr(id, ' ') - id)};
        bool is_known = agent_find_run(d->agent, run, agentd_now(d), &view);
        if (is_known && view.record != NULL)
            sent = send_notice(d, stream, &view, view.record, view.grace);
        done += run.len + 1;
    }
    buf_drop(&stream->behind, done);
    return sent;
}

static bool put_behind(struct stream *stream, struct str run)
{
    return buf_addf(&stream->behind, "%.*s ", (int)run.len, run.at) == ERR_OK;
}

void streams_ready(void *owner, struct http_stream *http, void *stream_owner)
{
    (void)http;
    struct agentd *d = owner;
    struct stream *stream = stream_owner;
    stream->has_taken = true;
    if (!send_what_is_behind(d, stream))
        drop(d, stream);
}

void streams_notify(struct agentd *d, const struct agent_effect *effect)
{
    struct agent_run_view view = {.epoch = 0};
    struct listener *listener = map_find(&d->streams, effect->client);
    if (listener == NULL)
        return; /* told when it connects again */
    agent_find_run(d->agent, effect->run, agentd_now(d), &view);
    view.run = effect->run;
    LIST_EACH (at, then, &listener->streams) {
        struct stream *stream = LIST_OWNER(at, struct stream, in_listener);
        if (stream->is_dropped)
            continue;
        bool is_at_once = stream->behind.len == 0 && has_room(stream);
        if (is_at_once ? !send_notice(d, stream, &view, &effect->record, effect->grace)
                       : !put_behind(stream, effect->run))
            drop(d, stream);
    }
}

static bool send_standing(struct agentd *d, struct stream *stream)
{
    struct agent_run_view view;
    struct str client = str_of(stream->listener->client);
    for (size_t at = 0; agent_next_standing(d->agent, client, &at, agentd_now(d), &view);)
        if (!put_behind(stream, view.run))
            return false;
    return send_what_is_behind(d, stream);
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

/* A stream that was dropped may still be read to its end. */
static bool has_open_stream(const struct listener *listener)
{
    LIST_EACH (at, then, &listener->streams)
        if (!LIST_OWNER(at, struct stream, in_listener)->is_dropped)
            return true;
    return false;
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
    bool is_first = !has_open_stream(listener);
    stream->listener = listener;
    stream->has_taken = true;
    stream->behind.limit = (size_t)d->settings->max_runs * (RUN_ID_MAX + 1);
    stream->http = http_stream(request, stream, NULL);
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
    buf_fini(&stream->behind);
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

/* A comment: it keeps proxies from closing the stream, and shows the client that we live. Who has
 * not even room for that, or did not read what waits for it, is not waited for. */
static void beat(struct agentd *d, struct stream *stream)
{
    bool is_stuck = !stream->has_taken && http_stream_waiting(stream->http) > 0;
    stream->has_taken = false;
    if (is_stuck || http_stream_send(stream->http, STR(": beat\n\n")) != ERR_OK)
        drop(d, stream);
}

void streams_beat(uv_timer_t *timer)
{
    struct agentd *d = timer->data;
    struct listener *listener;
    for (size_t at = 0; (listener = map_next(&d->streams, &at)) != NULL;)
        LIST_EACH (link, then, &listener->streams)
            beat(d, LIST_OWNER(link, struct stream, in_listener));
}
