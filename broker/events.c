/* GET /v1/events: the tree of one root after each change, or the audit as it grows. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/inside.h"

enum { BETWEEN_READS_MS = 100, POLL_MS = 1000, AUDIT_POLL_MS = 500, AUDIT_A_POLL = 100 };

/* One root that is looked at. */
struct feed {
    struct run_id root; /* the key in `feeds` */
    struct brokerd *daemon;
    struct list streams; /* that get its JSON, all the same bytes */
    struct list watches;
    uv_timer_t timer; /* the next read */
    uint64_t number;  /* names it to an answer that may come too late for it */
    bool reading, again;
    uint64_t read_at;
    char *last; /* the JSON sent last, NULL at first */
};

struct stream {
    struct listener listener; /* first */
    struct link in_streams;
    struct feed *feed; /* NULL: the audit */
};

/* ---- sending ------------------------------------------------------------------------------- */
static void send_event(struct stream *stream, const char *event, const char *id, const char *data)
{
    (void)listener_send(&stream->listener, str_of(event), str_of(id), str_of(data));
}

static void send_to_all(struct list *streams, const char *event, const char *id, const char *data)
{
    LIST_EACH (at, then, streams)
        send_event(LIST_OWNER(at, struct stream, in_streams), event, id, data);
}

/* ---- trees --------------------------------------------------------------------------------- */
static void feed_freed(uv_handle_t *handle)
{
    struct feed *feed = handle->data;
    free(feed->last); /* jansson's */
    mem_free(feed);
}

static void feed_drop(struct feed *feed)
{
    struct brokerd *d = feed->daemon;
    map_take(&d->feeds, id_str(&feed->root));
    if (!d->closing) {
        store_unsubscribe(d->store, id_str(&feed->root), true);
        store_unsubscribe(d->store, id_str(&feed->root), false);
    }
    uv_close((uv_handle_t *)&feed->timer, feed_freed);
}

static void feed_drop_if_idle(struct feed *feed)
{
    if (list_is_empty(&feed->streams) && list_is_empty(&feed->watches))
        feed_drop(feed);
}

static struct feed *feed_numbered(const struct brokerd *d, uint64_t number)
{
    struct feed *feed;
    for (size_t i = 0; (feed = map_next(&d->feeds, &i)) != NULL;)
        if (feed->number == number)
            return feed;
    return NULL;
}

static void feed_read(struct feed *feed);

static void on_feed_timer(uv_timer_t *timer)
{
    feed_read(timer->data);
}

/* At most ten reads a second, and one a second when nothing is heard: a start is told to nobody. */
static void feed_soon(struct feed *feed)
{
    uint64_t now = uv_now(feed->daemon->loop), due = feed->read_at + BETWEEN_READS_MS;
    if (feed->reading)
        feed->again = true;
    else
        uv_timer_start(&feed->timer, on_feed_timer, due > now ? due - now : 0, 0);
}

/* Each may end itself in here, and the last one the feed. */
static void show_to_watches(struct feed *feed, const struct store_answer *answer)
{
    if (answer->tree == NULL && answer->verdict != SAID_OK && answer->verdict != SAID_NOT_FOUND)
        return;
    LIST_EACH (at, then, &feed->watches) {
        struct watch *watch = LIST_OWNER(at, struct watch, in_feed);
        watch->tree_read(watch, answer->tree);
    }
}

static void on_feed_tree(void *owner, uint64_t token, const struct store_answer *answer)
{
    static const struct tree_view everything = {.depth = -1, .limit = 1000};
    struct feed *feed = feed_numbered(owner, token);
    if (feed == NULL)
        return;
    feed->reading = false;
    uv_timer_start(&feed->timer, on_feed_timer, POLL_MS, 0);
    if (answer->tree != NULL && !list_is_empty(&feed->streams)) {
        json_t *json = tree_json(answer->tree, id_str(&feed->root), &everything);
        char *data = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
        json_decref(json);
        bool is_new = data != NULL && (feed->last == NULL || strcmp(data, feed->last) != 0);
        if (is_new)
            send_to_all(&feed->streams, "tree", "", data);
        free(is_new ? feed->last : data);
        feed->last = is_new ? data : feed->last;
    }
    if (feed->again)
        feed_soon(feed);
    feed->again = false;
    show_to_watches(feed, answer);
}

static void feed_read(struct feed *feed)
{
    struct store_call call = {.op = STORE_TREE, .root = id_str(&feed->root)};
    feed->read_at = uv_now(feed->daemon->loop);
    struct brokerd *d = feed->daemon;
    feed->reading = store_send(d->store, &call, on_feed_tree, d, feed->number) == ERR_OK;
    if (!feed->reading)
        uv_timer_start(&feed->timer, on_feed_timer, POLL_MS, 0);
}

void events_hint(struct brokerd *d, struct str root)
{
    struct feed *feed = map_find(&d->feeds, root);
    if (feed != NULL)
        feed_soon(feed);
}

static struct feed *feed_of(struct brokerd *d, struct str root)
{
    struct feed *feed = map_find(&d->feeds, root);
    if (feed != NULL)
        return feed;
    feed = mem_new(sizeof *feed);
    if (feed == NULL || !id_parse(root, &feed->root)
        || !map_add(&d->feeds, id_str(&feed->root), feed)) {
        mem_free(feed);
        return NULL;
    }
    feed->daemon = d;
    feed->number = ++d->last_feed;
    list_init(&feed->streams);
    list_init(&feed->watches);
    uv_timer_init(d->loop, &feed->timer);
    feed->timer.data = feed;
    upstream_subscribe(d, id_str(&feed->root), true);
    upstream_subscribe(d, id_str(&feed->root), false);
    feed_soon(feed);
    return feed;
}

/* ---- the audit ---------------------------------------------------------------------------------
 */
static void on_audit(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct brokerd *d = owner;
    bool is_first = token == 1; /* only to learn where its end is */
    d->audit_asked = false;
    if (d->closing || answer->verdict != SAID_OK)
        return;
    for (size_t i = 0; i < answer->list_count && !is_first; i++) {
        struct str json = answer->list[i];
        struct str id = str_cut(&json, ' ');
        char *data = mem_copy(json), *name = mem_copy(id);
        if (data != NULL && name != NULL)
            send_to_all(&d->audit_streams, "audit", name, data);
        mem_free(data);
        mem_free(name);
    }
    if (answer->text.len > 0 && answer->text.len < sizeof d->audit_from) {
        memcpy(d->audit_from, answer->text.at, answer->text.len);
        d->audit_from[answer->text.len] = '\0';
    } else if (is_first) {
        strcpy(d->audit_from, "0-0"); /* it is empty */
    }
}

void events_poll_audit(uv_timer_t *timer)
{
    struct brokerd *d = timer->data;
    bool is_first = d->audit_from[0] == '\0';
    if (list_is_empty(&d->audit_streams)) {
        uv_timer_stop(&d->audit_poll);
        d->audit_from[0] = '\0';
        return;
    }
    struct store_call call = {.op = STORE_AUDIT_READ,
                              .id = is_first ? STR("+") : str_of(d->audit_from),
                              .limit = is_first ? 1 : AUDIT_A_POLL};
    if (!d->audit_asked)
        d->audit_asked = store_send(d->store, &call, on_audit, d, is_first ? 1 : 0) == ERR_OK;
}

static void audit_listen(struct brokerd *d)
{
    if (!uv_is_active((uv_handle_t *)&d->audit_poll))
        uv_timer_start(&d->audit_poll, events_poll_audit, 0, AUDIT_POLL_MS);
}

/* ---- streams -----------------------------------------------------------------------------------
 */
static void stream_closed(struct listener *listener)
{
    struct stream *stream = (struct stream *)listener;
    link_remove(&stream->in_streams);
    if (stream->feed != NULL && list_is_empty(&stream->feed->streams)) {
        free(stream->feed->last); /* nobody keeps it up to date any more */
        stream->feed->last = NULL;
        feed_drop_if_idle(stream->feed);
    }
    mem_free(stream);
}

/* What a listener gets at first; the tree's others have had it already. */
static void begin(struct stream *stream)
{
    if (http_stream_send(stream->listener.http, STR("retry: 1000\n\n")) != ERR_OK)
        return;
    if (stream->feed == NULL)
        audit_listen(stream->listener.daemon);
    else if (stream->feed->last != NULL)
        send_event(stream, "tree", "", stream->feed->last);
    else
        feed_soon(stream->feed);
}

void serve_events(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX])
{
    static const char *const allowed[] = {"root", NULL};
    (void)part;
    struct brokerd *d = owner;
    struct str root = STR_NONE;
    if (!listener_has_room(d, request) || !api_check_query(request, allowed)
        || !api_query_id(request, "root", &root))
        return;
    struct stream *stream = mem_new(sizeof *stream);
    struct feed *feed = stream != NULL && root.len > 0 ? feed_of(d, root) : NULL;
    if (stream == NULL || (root.len > 0 && feed == NULL)) {
        mem_free(stream);
        api_problem(request, PROBLEM_OVERLOADED, "out of memory", NULL);
        return;
    }
    stream->listener.closed = stream_closed;
    stream->feed = feed;
    if (listener_open(d, request, &stream->listener, NULL)) {
        list_add_last(feed != NULL ? &feed->streams : &d->audit_streams, &stream->in_streams);
        begin(stream);
        return;
    }
    mem_free(stream);
    if (feed != NULL)
        feed_drop_if_idle(feed);
}

/* ---- watches -------------------------------------------------------------------------------- */
bool watch_begin(struct brokerd *d, struct str root, struct watch *watch)
{
    watch->feed = feed_of(d, root);
    if (watch->feed == NULL)
        return false;
    list_add_last(&watch->feed->watches, &watch->in_feed);
    feed_soon(watch->feed);
    return true;
}

void watch_end(struct watch *watch)
{
    struct feed *feed = watch->feed;
    if (feed == NULL)
        return;
    watch->feed = NULL;
    link_remove(&watch->in_feed);
    feed_drop_if_idle(feed);
}
