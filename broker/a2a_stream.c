/* Subscriptions: the task as it is, then each change, until it is over. Nothing is cancelled when
 * whoever listens goes away. */
#include <stdlib.h>

#include "base/mem.h"
#include "broker/a2a.h"

struct subscription {
    struct listener listener; /* first */
    struct watch watch;
    struct a2a_call call;
    struct a2a_task task; /* as it was sent last */
    struct a2a_task next; /* while other trees are asked */
    uint64_t ask;         /* the last one that was asked */
    bool is_asking, is_over;
};

static void closed(struct listener *listener)
{
    struct subscription *sub = (struct subscription *)listener;
    watch_end(&sub->watch);
    if (sub->is_asking && !listener->daemon->closing)
        ask_abandon(listener->daemon, sub->ask);
    json_decref(sub->call.id);
    mem_free(sub);
}

static void send_json(struct subscription *sub, json_t *json)
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (text == NULL || !listener_send(&sub->listener, STR_NONE, STR_NONE, str_of(text)))
        sub->is_over = true; /* it is being closed already */
    free(text);
}

/* A task that waits for input goes on in another run, which another stream shows. */
static bool ends_stream(const struct a2a_task *task)
{
    return a2a_task_is_over(task) || task->state == A2A_INPUT_REQUIRED;
}

static void end(struct subscription *sub)
{
    sub->is_over = true;
    watch_end(&sub->watch);
    http_stream_end(sub->listener.http);
}

static bool is_news(const struct a2a_task *was, const struct a2a_task *is)
{
    return was->state != is->state || was->run_state != is->run_state
           || was->is_cancelled != is->is_cancelled || was->acked != is->acked
           || was->pending != is->pending || was->unresponsive != is->unresponsive
           || was->lost != is->lost;
}

static void show(struct subscription *sub, const struct a2a_task *task)
{
    if (sub->is_over || !is_news(&sub->task, task))
        return;
    bool is_last = ends_stream(task);
    sub->task = *task;
    send_json(sub, a2a_next_event(task, &sub->call, is_last));
    if (is_last && !sub->is_over)
        end(sub);
}

static void on_looked_elsewhere(void *owner, const struct cancel_result *result)
{
    struct subscription *sub = owner;
    sub->is_asking = false;
    if (result->problem != PROBLEM_NONE || !result->tally.complete)
        a2a_task_goes_on(&sub->next);
    show(sub, &sub->next);
}

static void look_elsewhere(struct subscription *sub)
{
    sub->is_asking = true; /* the answer may come within the call */
    sub->ask = a2a_ask_whether_stopped(sub->listener.daemon, &sub->next, sub, on_looked_elsewhere);
    if (sub->ask == 0)
        sub->is_asking = false; /* no memory: the next look asks again */
}

static void tree_read(struct watch *watch, const struct tree *tree)
{
    struct subscription *sub = LIST_OWNER(watch, struct subscription, watch);
    struct brokerd *d = sub->listener.daemon;
    if (sub->is_over || sub->is_asking)
        return;
    if (!a2a_task_of(tree, &sub->task.root, &sub->task.run, &sub->next)) {
        end(sub); /* it is kept no longer */
        return;
    }
    if (sub->next.state == A2A_CANCELED && !cancels_are_settled(d->cancels))
        a2a_task_goes_on(&sub->next);
    if (sub->next.state == A2A_CANCELED && sub->next.leads_elsewhere)
        look_elsewhere(sub);
    else
        show(sub, &sub->next);
}

void a2a_subscribe(struct brokerd *d, struct http_request *request, struct a2a_call *call,
                   const struct a2a_task *task)
{
    const char *headers[A2A_HEADERS_MAX];
    struct a2a_trouble trouble = {A2A_FAULT_UNSUPPORTED, "the task is over: there is nothing to "
                                                         "subscribe to"};
    if (call->version == A2A_1_0 && a2a_task_is_over(task)) {
        a2a_answer_fault(request, call, &trouble);
        return;
    }
    struct subscription *sub = mem_new(sizeof *sub);
    trouble = (struct a2a_trouble){A2A_FAULT_OVERLOADED, NULL};
    bool is_full = d->listener_count >= STREAMS_MAX;
    if (sub == NULL || is_full || !watch_begin(d, id_str(&task->root), &sub->watch)) {
        mem_free(sub);
        a2a_answer_fault(request, call, &trouble);
        return;
    }
    sub->call = *call;
    call->id = NULL;
    sub->task = *task;
    sub->watch.tree_read = tree_read;
    sub->listener.closed = closed;
    a2a_headers(&sub->call, headers);
    if (!listener_open(d, request, &sub->listener, headers)) {
        watch_end(&sub->watch);
        json_decref(sub->call.id);
        mem_free(sub);
        return;
    }
    send_json(sub, a2a_first_event(task, &sub->call));
    if (!sub->is_over && ends_stream(task))
        end(sub);
}
