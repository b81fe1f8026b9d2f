/* Open questions of HTTP clients, and what the core answers them. */
#include "agentd/inside.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"

/* ---- open asks ----------------------------------------------------------------------------- */

static struct str ask_key(const struct open_ask *ask)
{
    return (struct str){(const char *)&ask->id, sizeof ask->id};
}

static struct open_ask *ask_find(struct agentd *d, uint64_t id)
{
    return map_find(&d->asks, (struct str){(const char *)&id, sizeof id});
}

struct open_ask *ask_open(struct agentd *d, enum ask_kind kind, struct http_request *request,
                          json_t *body)
{
    struct open_ask *ask = mem_new(sizeof *ask);
    if (ask != NULL) {
        *ask = (struct open_ask){
            .id = ++d->last_ask, .kind = kind, .daemon = d, .request = request, .body = body};
        if (map_add(&d->asks, ask_key(ask), ask)) {
            http_request_own(request, ask);
            d->starts_open += kind == ASK_START ? 1 : 0;
            return ask;
        }
    }
    mem_free(ask);
    json_decref(body);
    api_problem(request, PROBLEM_OVERLOADED, "out of memory", NULL);
    return NULL;
}

static void ask_close(struct open_ask *ask)
{
    map_take(&ask->daemon->asks, ask_key(ask));
    ask->daemon->starts_open -= ask->kind == ASK_START ? 1 : 0;
    json_decref(ask->body);
    mem_free(ask);
}

/* The core answers all the same, and nobody reads it: the answer tells it what became of the
 * cancel. It comes without further waiting. */
void answer_hung_up(void *owner, void *request_owner)
{
    struct agentd *d = owner;
    struct open_ask *ask = request_owner;
    ask->request = NULL;
    ask->others = STR_NONE; /* perhaps lent by the request */
    if (ask->kind == ASK_CANCEL && d->busy == 0)
        feed_cancels(d, (struct cancels_event){.kind = CANCELS_GIVE_UP, .ask = ask->id});
}

void asks_fini(struct agentd *d)
{
    struct open_ask *ask;
    for (size_t at = 0; (ask = map_next(&d->asks, &at)) != NULL;)
        ask_close(ask);
}

/* ---- answers ------------------------------------------------------------------------------- */

static json_t *state_word(enum run_state state)
{
    return json_string(run_state_name(state));
}

/* Where the core has no more to say than the code. */
static const char *detail_of(const struct agent_reply *reply)
{
    if (reply->detail != NULL)
        return reply->detail;
    switch (reply->problem) {
    case PROBLEM_NOT_FOUND:
        return "no such run here";
    case PROBLEM_FORBIDDEN:
        return "this run is another client's";
    case PROBLEM_UNAUTHORIZED:
        return "no token, or one that has started nothing here";
    default:
        return NULL;
    }
}

static void answer_problem(struct http_request *request, const struct agent_reply *reply)
{
    json_t *extra = json_object();
    api_set_text(extra, "run_id", reply->run);
    api_set_text(extra, "root", reply->root);
    if (reply->epoch > 0)
        api_set(extra, "epoch", json_integer(reply->epoch));
    api_set_text(extra, "owner", reply->owner);
    if (reply->state != RUN_NONE)
        api_set(extra, "state", state_word(reply->state));
    if (reply->has_record)
        api_set(extra, "cancel", api_cancel_object(&reply->record));
    api_problem(request, reply->problem, detail_of(reply), extra);
}

static json_t *baggage_of(const struct open_ask *ask, const struct agent_reply *reply)
{
    struct buf text = {.limit = 2 * BAGGAGE_MAX_BYTES};
    json_t *json = NULL;
    if (baggage_keys_format(&ask->daemon->baggage_keys, reply->path, reply->deadline, ask->others,
                            &text)
        == ERR_OK)
        json = api_text(buf_str(&text));
    buf_fini(&text);
    return json;
}

static void answer_start(struct open_ask *ask, const struct agent_reply *reply)
{
    json_t *json = json_object();
    api_set(json, "run_id", api_text(reply->run));
    api_set(json, "root", api_text(reply->root));
    api_set(json, "path", api_path(reply->path));
    api_set(json, "epoch", json_integer(reply->epoch));
    api_set(json, "state", state_word(reply->state));
    api_set(json, "protected", json_boolean(reply->is_protected));
    api_set(json, "baggage", baggage_of(ask, reply));
    api_set(json, "replica_id", json_string(ask->daemon->replica));
    api_set(json, "client_id", api_text(reply->client));
    api_set(json, "incarnation", api_text(reply->incarnation));
    if (ask->token[0] != '\0')
        api_set(json, "token", json_string(ask->token));
    api_set_span(json, "deadline_ms", reply->deadline);
    if ((reply->flags & RUN_FLAG_ORPHAN) != 0)
        api_set(json, "orphan", json_true());
    if ((reply->flags & RUN_FLAG_PARENT_GONE) != 0)
        api_set(json, "parent_gone", json_true());
    if (reply->unconfirmed)
        api_set(json, "unconfirmed", json_true());
    if (reply->would_be_cancelled)
        api_set(json, "would", json_string("cancelled"));
    if (reply->has_record)
        api_set(json, "cancel", api_cancel_object(&reply->record));
    http_answer_json(ask->request, reply->created ? 201 : 200, json, NULL);
}

static void answer_ack(struct open_ask *ask, const struct agent_reply *reply)
{
    enum {
        PHASES =
            RUN_FLAG_DELIVERED | RUN_FLAG_ACKNOWLEDGED | RUN_FLAG_CLEANED_UP | RUN_FLAG_CHECKPOINTED
    };
    json_t *json = json_object();
    api_set(json, "run_id", api_text(reply->run));
    api_set(json, "epoch", json_integer(reply->epoch));
    api_set(json, "state", state_word(reply->state));
    api_set(json, "phases", api_flags(reply->flags & PHASES));
    http_answer_json(ask->request, 200, json, NULL);
}

static void answer_end(struct open_ask *ask, const struct agent_reply *reply)
{
    json_t *json = json_object();
    api_set(json, "run_id", api_text(reply->run));
    api_set(json, "state", state_word(reply->state));
    if (reply->finished_anyway != RUN_NONE)
        api_set(json, "finished_anyway", state_word(reply->finished_anyway));
    if (reply->pending)
        api_set(json, "pending", json_true());
    http_answer_json(ask->request, reply->pending ? 202 : 200, json, NULL);
}

static void answer_link(struct open_ask *ask, const struct agent_reply *reply)
{
    json_t *json = json_object();
    api_set(json, "run_id", api_text(reply->run));
    api_set(json, "link_id", api_text(reply->link_id));
    if (reply->pending)
        api_set(json, "pending", json_true());
    http_answer_json(ask->request, reply->pending ? 202 : 201, json, NULL);
}

static void answer_fence(struct open_ask *ask, const struct agent_reply *reply)
{
    json_t *json = json_object();
    api_set(json, "granted", json_true());
    api_set(json, "last", json_boolean(reply->last));
    if (reply->unconfirmed)
        api_set(json, "unconfirmed", json_true());
    http_answer_json(ask->request, 200, json, NULL);
}

static void answer_cancel(struct open_ask *ask, const struct agent_reply *reply)
{
    if (!reply->pending)
        numbers_note_durability(&ask->daemon->numbers, reply->result);
    struct api_cancel_about about = {
        .pending = reply->pending, .at_agentd = true, .told_here = reply->told_here};
    api_answer_cancel(ask->request, reply->result, &about);
}

void answer_ask(struct agentd *d, uint64_t id, const struct agent_reply *reply)
{
    static void (*const answer[])(struct open_ask *, const struct agent_reply *) = {
        [ASK_START] = answer_start, [ASK_ACK] = answer_ack,     [ASK_END] = answer_end,
        [ASK_LINK] = answer_link,   [ASK_FENCE] = answer_fence, [ASK_CANCEL] = answer_cancel,
    };
    struct open_ask *ask = ask_find(d, id);
    if (ask == NULL)
        return; /* nobody's: a link that was followed */
    if (ask->request == NULL)
        log_debug("nobody waits for the answer", "ask=%llu", (unsigned long long)id);
    else if (reply->problem != PROBLEM_NONE && reply->result == NULL)
        answer_problem(ask->request, reply);
    else
        answer[ask->kind](ask, reply);
    ask_close(ask);
}

/* ---- what is running here ------------------------------------------------------------------ */

static bool story_is_empty(const struct stop_story *story)
{
    return story->delivered.ms == 0 && story->acknowledged.ms == 0 && story->cleaned_up.ms == 0
           && story->checkpointed.ms == 0 && story->terminated.ms == 0 && story->killed.ms == 0
           && story->stopped.ms == 0;
}

json_t *answer_run(const struct agent_run_view *view)
{
    json_t *json = json_object();
    api_set(json, "run_id", api_text(view->run));
    api_set(json, "root", api_text(view->root));
    api_set(json, "path", api_path(view->path));
    api_set_text(json, "agent", view->agent_name);
    api_set_text(json, "thread_id", view->thread);
    api_set(json, "state", state_word(view->state));
    if (view->finished_anyway != RUN_NONE)
        api_set(json, "finished_anyway", state_word(view->finished_anyway));
    api_set(json, "epoch", json_integer(view->epoch));
    api_set(json, "client_id",
            json_sprintf("c-%.*s", view->client.len < 11 ? (int)view->client.len : 11,
                         view->client.at));
    api_set(json, "protected", json_boolean(view->is_protected));
    api_set(json, "confirmed", json_boolean(view->confirmed));
    api_set(json, "flags", api_flags(view->flags));
    api_set_time(json, "started_at", view->started);
    api_set_span(json, "deadline_ms", view->deadline);
    if (view->pid != 0)
        api_set(json, "pid", json_integer(view->pid));
    if (view->record != NULL)
        api_set(json, "cancel", api_cancel_object(view->record));
    if (!story_is_empty(&view->story))
        api_set(json, "stop", api_story(&view->story));
    return json;
}
