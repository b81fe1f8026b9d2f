/* GET …/join answers the run when it is over; GET …/stream tells of it until then. Who asked for
 * cancel_on_disconnect and goes away before that has cancelled the run. */
#include <stdlib.h>

#include "base/mem.h"
#include "broker/langgraph.h"

struct join_find {
    struct langgraph_find find; /* first */
    bool cancels;               /* when its client goes away */
};

static const struct tree_run *run_in(const struct tree *tree, const struct run_id *run)
{
    const struct tree_run *found = tree != NULL ? tree_find(tree, id_str(run)) : NULL;
    return found != NULL && found->state != RUN_NONE ? found : NULL;
}

/* It was quicker than we were. */
static void find_dropped(struct langgraph_find *find)
{
    if (((const struct join_find *)find)->cancels)
        langgraph_cancel_for_gone(find->read.daemon, &find->seek.root, &find->seek.run);
}

static void find_for(struct brokerd *d, struct http_request *request, struct str thread,
                     struct str run, void (*found)(struct langgraph_find *find))
{
    bool cancels;
    if (!langgraph_query_flag(request, "cancel_on_disconnect", &cancels))
        return;
    struct join_find *find = langgraph_find_open(d, request, sizeof *find, thread, run);
    if (find == NULL)
        return;
    find->cancels = cancels;
    find->find.dropped = find_dropped;
    langgraph_find(&find->find, found);
}

static bool find_cancels(const struct langgraph_find *find)
{
    return ((const struct join_find *)find)->cancels;
}

/* ---- join --------------------------------------------------------------------------------------
 */
struct join {
    struct pending pending; /* first */
    struct brokerd *daemon;
    struct watch watch;
    struct run_id run, root;
    enum multitask multitask;
    bool cancels;
};

static bool join_has_room(const struct brokerd *d, struct http_request *request)
{
    if (d->join_count < JOINS_MAX)
        return true;
    langgraph_refuse(request, 429, "too many clients wait for a run to be over");
    return false;
}

static void join_free(struct join *join)
{
    watch_end(&join->watch);
    join->daemon->join_count--;
    mem_free(join);
}

static void join_hung_up(struct pending *pending)
{
    struct join *join = (struct join *)pending;
    if (join->cancels)
        langgraph_cancel_for_gone(join->daemon, &join->root, &join->run);
    join_free(join);
}

static void join_read(struct watch *watch, const struct tree *tree)
{
    struct join *join = LIST_OWNER(watch, struct join, watch);
    const struct tree_run *run = run_in(tree, &join->run);
    struct http_request *request = join->pending.request;
    enum multitask multitask = join->multitask;
    if (run != NULL && !run_is_over(run->state))
        return;
    join_free(join);
    if (run == NULL)
        langgraph_refuse(request, 404, langgraph_unknown);
    else
        http_answer_json(request, 200, langgraph_run_json(run, multitask), NULL);
}

static struct join *join_of(const struct langgraph_find *find)
{
    struct join *join = mem_new(sizeof *join);
    if (join == NULL)
        return NULL;
    *join = (struct join){.pending = {find->read.pending.request, join_hung_up},
                          .daemon = find->read.daemon,
                          .watch = {.tree_read = join_read},
                          .run = find->seek.run,
                          .root = find->seek.root,
                          .multitask = find->seek.multitask,
                          .cancels = find_cancels(find)};
    join->daemon->join_count++;
    if (watch_begin(join->daemon, id_str(&join->root), &join->watch))
        return join;
    join_free(join);
    return NULL;
}

/* Others may have come while it was looked for. */
static void join_found(struct langgraph_find *find)
{
    struct http_request *request = find->read.pending.request;
    if (join_has_room(find->read.daemon, request)) {
        struct join *join = join_of(find);
        if (join != NULL)
            http_request_own(request, join);
        else
            langgraph_refuse(request, 503, "out of memory");
    }
    read_end(&find->read);
}

void langgraph_join(struct brokerd *d, struct http_request *request, struct str thread,
                    struct str run)
{
    if (join_has_room(d, request))
        find_for(d, request, thread, run, join_found);
}

/* ---- stream ------------------------------------------------------------------------------------
 */
struct stream {
    struct listener listener; /* first */
    struct watch watch;
    struct run_id run, root;
    enum multitask multitask;
    bool cancels; /* until it is over */
};

static void stream_closed(struct listener *listener)
{
    struct stream *stream = (struct stream *)listener;
    watch_end(&stream->watch);
    if (stream->cancels)
        langgraph_cancel_for_gone(listener->daemon, &stream->root, &stream->run);
    mem_free(stream);
}

/* Takes over `json`. */
static void stream_send(struct stream *stream, const char *event, json_t *json)
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(json);
    if (text != NULL)
        (void)listener_send(&stream->listener, str_of(event), STR_NONE, str_of(text));
    free(text);
}

static bool is_error(const struct tree_run *run)
{
    return run->state == RUN_ERROR || run->state == RUN_LOST || run->state == RUN_TIMEOUT;
}

static void stream_read(struct watch *watch, const struct tree *tree)
{
    struct stream *stream = LIST_OWNER(watch, struct stream, watch);
    const struct tree_run *run = run_in(tree, &stream->run);
    if (run != NULL && !run_is_over(run->state))
        return;
    stream->cancels = false;
    if (run == NULL)
        stream_send(stream, "error",
                    json_pack("{s:s, s:s}", "error", "NotFound", "message", langgraph_unknown));
    else if (is_error(run))
        stream_send(stream, "error",
                    json_pack("{s:s, s:s}", "error", langgraph_status(run), "message",
                              run_state_name(run->state)));
    if (run != NULL)
        stream_send(stream, "end", langgraph_run_json(run, stream->multitask));
    watch_end(&stream->watch);
    http_stream_end(stream->listener.http);
}

static void stream_found(struct langgraph_find *find)
{
    struct brokerd *d = find->read.daemon;
    struct http_request *request = find->read.pending.request;
    struct stream *stream = mem_new(sizeof *stream);
    bool is_watched = false;
    if (stream != NULL) {
        stream->listener.closed = stream_closed;
        stream->watch.tree_read = stream_read;
        stream->run = find->seek.run;
        stream->root = find->seek.root;
        stream->multitask = find->seek.multitask;
        is_watched = watch_begin(d, id_str(&find->seek.root), &stream->watch);
    }
    if (!is_watched) {
        langgraph_refuse(request, 503, "out of memory");
    } else if (listener_open(d, request, &stream->listener, NULL)) {
        stream->cancels = find_cancels(find);
        stream_send(stream, "metadata",
                    json_pack("{s:s, s:i}", "run_id", find->seek.run.text, "attempt", 1));
        stream = NULL;
    }
    if (stream != NULL)
        watch_end(&stream->watch);
    mem_free(stream);
    read_end(&find->read);
}

void langgraph_stream(struct brokerd *d, struct http_request *request, struct str thread,
                      struct str run)
{
    if (listener_has_room(d, request))
        find_for(d, request, thread, run, stream_found);
}
