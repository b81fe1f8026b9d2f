/* Cancels asked for here: by a client, by an operator, by hand on the channel, by ourselves. What
 * is local stops at once; `cancels` records it and finds out the rest. */
#include <assert.h>

#include "base/mem.h"
#include "core/agent_inside.h"

static struct str ask_key(const uint64_t *key)
{
    return (struct str){(const char *)key, sizeof *key};
}

static struct cancel_ask ask_of_record(const struct cancel_record *record, bool force)
{
    return (struct cancel_ask){
        .run = record->target,
        .root = record->root,
        .action = record->action,
        .reason = record->reason,
        .by = record->by,
        .trace_id = record->trace_id,
        .grace = record->grace,
        .timeout = SPAN_NONE,
        .force = force,
        .expect_at_most = -1,
        .include_self = true,
        .cause = record->cause,
        .hops = record->hops,
    };
}

/* `about` is copied. False: no memory, nothing was asked. */
static bool open_ask(struct agent *agent, const struct cancel_ask *ask, struct open_ask *about)
{
    struct open_ask *open = mem_new(sizeof *open);
    if (open == NULL)
        return false;
    *open = *about;
    if (open->key == 0)
        open->key = AGENT_ASK_INTERNAL | ++agent->next_ask;
    if (map_find(&agent->asks, ask_key(&open->key)) != NULL
        || !map_add(&agent->asks, ask_key(&open->key), open)) {
        mem_free(open);
        return false;
    }
    if (open->run != NULL)
        open->run->calls++;
    if (open->box != NULL) {
        box_share(open->box);
        open->held = held_find(agent, open->box->record.root, open->box->record.target);
    }
    if (open->held != NULL)
        open->held->asks++;
    struct agent_effect *effect = want(agent, DO_ASK_CANCEL);
    effect->ask = open->key;
    effect->cancel = *ask;
    effect->cancel.ask = open->key;
    return true;
}

bool ask_cancel(struct agent *agent, const struct cancel_record *record, bool force,
                struct open_ask *about)
{
    struct cancel_ask ask = ask_of_record(record, force);
    ask.run = keep_str(agent, ask.run);
    ask.root = keep_str(agent, ask.root);
    ask.reason = keep_str(agent, ask.reason);
    return open_ask(agent, &ask, about);
}

/* ---- ours ---------------------------------------------------------------------------------- */
static struct record_box *box_with_cause(struct agent *agent, const struct cancel_record *record)
{
    struct cancel_record own = *record;
    char cause[2 * RUN_ID_MAX + 2];
    if (own.cause.len == 0) {
        memcpy(cause, own.root.at, own.root.len);
        cause[own.root.len] = '.';
        memcpy(cause + own.root.len + 1, own.target.at, own.target.len);
        own.cause = (struct str){cause, own.root.len + 1 + own.target.len};
    }
    return box_make(agent, &own);
}

size_t cancel_here(struct agent *agent, const struct cancel_record *record)
{
    struct agent_root *root = root_find(agent, record->root);
    struct record_box *box = box_with_cause(agent, record);
    if (root == NULL || box == NULL) {
        box_drop(agent, box);
        return 0;
    }
    struct record_box *kept = box_share(hold(agent, box, false));
    size_t told = apply_cancel(agent, root, kept);
    struct open_ask about = {.kind = OPEN_OWN, .box = kept};
    if (agent->is_linked)
        (void)ask_cancel(agent, &kept->record, true, &about);
    box_drop(agent, kept);
    box_drop(agent, box);
    return told;
}

/* ---- who may ------------------------------------------------------------------------------- */
static bool owns_any_of(const struct agent *agent, const struct agent_client *client,
                        struct str path)
{
    for (struct str rest = path; rest.at != NULL;) {
        const struct agent_run *run = run_find(agent, str_cut(&rest, '.'));
        if (run != NULL && run->client == client)
            return true;
    }
    return false;
}

/* Of a run that is not here, its root alone tells whose it is. */
static enum problem may_cancel(const struct agent *agent, const struct agent_event *event,
                               struct str root)
{
    if (event->caller.operator_)
        return PROBLEM_NONE;
    const struct agent_client *client = client_find(agent, event->caller.token_hash);
    if (client == NULL)
        return PROBLEM_UNAUTHORIZED;
    const struct agent_run *run = run_find(agent, event->cancel->run);
    struct str path = run != NULL ? run->path : root;
    return owns_any_of(agent, client, path) ? PROBLEM_NONE : PROBLEM_FORBIDDEN;
}

/* ---- local at once ------------------------------------------------------------------------- */
static struct cancel_record record_of_ask(const struct agent *agent, const struct cancel_ask *ask,
                                          struct str root)
{
    return (struct cancel_record){
        .root = root,
        .target = ask->run,
        .action = ask->action,
        .reason = ask->reason,
        .by = ask->by,
        .at = agent->wall,
        .trace_id = ask->trace_id,
        .grace = ask->grace,
        .cause = ask->cause,
        .hops = ask->hops,
    };
}

static bool lives_below(const struct agent_root *root, struct str target)
{
    LIST_EACH (at, then, &root->runs) {
        const struct agent_run *run = LIST_OWNER(at, struct agent_run, in_root);
        if (run_is_live(run->state) && path_has(run->path, target))
            return true;
    }
    return false;
}

/* Somebody is told that it is kept: Redis is told of it whatever happens here meanwhile. Also of
 * one that was to come with the end of its run: that end may be fenced. */
static void promise(struct held *held)
{
    held->is_promised = true;
    held->is_confirmed = false;
}

/* Holds it and tells whom it hits here. `out` shares the box that is held; NULL when it hits nobody
 * or there is no room to hold it: then nothing may be promised. */
static size_t stop_scope(struct agent *agent, struct agent_root *root,
                         const struct cancel_record *record, struct record_box **out)
{
    *out = NULL;
    if (!lives_below(root, record->target))
        return 0;
    struct record_box *box = box_with_cause(agent, record);
    if (box == NULL)
        return 0;
    size_t told = apply_cancel(agent, root, hold(agent, box, false));
    struct held *held = held_find(agent, record->root, record->target);
    if (held != NULL)
        *out = box_share(held->box);
    if (held != NULL && !agent->is_linked) {
        held->asked_here = true;
        promise(held);
    }
    box_drop(agent, box);
    return told;
}

/* The id right below `target` on the way to the end of `path`; "" when it is not known. */
static struct str child_on_the_way(struct str path, struct str target)
{
    for (struct str rest = path; rest.at != NULL;)
        if (str_eq(str_cut(&rest, '.'), target))
            return rest.at != NULL ? str_cut(&rest, '.') : STR_NONE;
    return STR_NONE;
}

/* Only what is below: each child that is here, or has something here, gets its own cancel. `out` is
 * the last one's; NULL when one of them is not held. */
static size_t stop_children(struct agent *agent, struct agent_root *root,
                            const struct cancel_record *record, struct record_box **out)
{
    size_t told = 0;
    bool are_held = true;
    *out = NULL;
    LIST_EACH (at, then, &root->runs) {
        struct agent_run *run = LIST_OWNER(at, struct agent_run, in_root);
        struct cancel_record child = *record;
        struct record_box *box = NULL;
        child.target = child_on_the_way(run->path, record->target);
        if (!run_is_live(run->state) || child.target.len == 0)
            continue;
        told += stop_scope(agent, root, &child, &box);
        are_held = are_held && box != NULL;
        box_drop(agent, *out);
        *out = box;
    }
    if (!are_held) {
        box_drop(agent, *out);
        *out = NULL;
    }
    return told;
}

/* ---- the ask ------------------------------------------------------------------------------- */
/* `box` is that of one child: what is answered is the cancel of all of them. */
static void speak_of_children(struct cancel_result *result)
{
    result->record.target = result->run;
    result->record.cause = STR_NONE;
    result->closed = false;
    result->not_durable = "of the children those here alone were told, and are kept, for Redis "
                          "cannot be asked who the others are: repeat it";
}

static void answer_pending(struct agent *agent, const struct agent_event *event,
                           const struct cancel_ask *ask, const struct record_box *box, size_t told)
{
    struct cancel_result *result = keep_for_step(agent, sizeof *result);
    if (result == NULL)
        return;
    const struct agent_run *run = run_find(agent, ask->run);
    *result = (struct cancel_result){
        .root = keep_str(agent, box->record.root),
        .run = keep_str(agent, ask->run),
        .record = box->record,
        .known = true,
        .target_state = run != NULL ? run->state : RUN_RUNNING,
        .durability_asked = ask->durability,
        .wait = ask->wait,
        .closed = true,
    };
    if (!ask->include_self)
        speak_of_children(result);
    struct held *held = held_find(agent, box->record.root, box->record.target);
    if (held != NULL)
        promise(held);
    struct agent_reply *reply = want_answer(agent, event->ask);
    reply->pending = true;
    reply->told_here = told;
    reply->result = result;
    reply->run = result->run;
    reply->root = result->root;
}

static struct agent_root *root_of_ask(struct agent *agent, const struct cancel_ask *ask)
{
    const struct agent_run *run = run_find(agent, ask->run);
    if (run != NULL)
        return run->root;
    struct str root = ask->root.len > 0 ? ask->root : id_minted_root(ask->run);
    if (root.len > 0)
        return root_find(agent, root);
    struct agent_root *found = NULL; /* an id of a client's choice, held elsewhere */
    size_t at = 0;
    for (const struct agent_run *below; (below = map_next(&agent->runs, &at)) != NULL;)
        if (path_has(below->path, ask->run))
            found = below->root;
    return found;
}

static const char *cancel_is_wrong(const struct agent *agent, const struct cancel_ask *ask)
{
    if (!id_is_valid(ask->run) || (ask->root.len > 0 && !id_is_valid(ask->root)))
        return "not a run id";
    const struct agent_run *run = run_find(agent, ask->run);
    if (run != NULL && ask->root.len > 0 && !str_is(ask->root, run->root->id))
        return "root: this run is of another tree";
    if (ask->reason.len > TEXT_MAX_BYTES || ask->by.len > TEXT_MAX_BYTES
        || ask->trace_id.len > TEXT_MAX_BYTES)
        return "reason, by and trace_id: at most 1024 bytes";
    return NULL;
}

/* Not kept here either: whoever asked must ask again. */
static const char only_here[] = "the runs here were told to stop, but Redis is away and too many "
                                "cancels wait for it here: this one is not kept, ask again";

static void ask_everywhere(struct agent *agent, const struct agent_event *event,
                           struct record_box *box, size_t told)
{
    struct cancel_ask ask = *event->cancel;
    const struct agent_run *run = run_find(agent, ask.run);
    if (run != NULL) {
        ask.root = str_of(run->root->id);
        ask.force = ask.include_self && !ask.dry_run;
    }
    ask.run = keep_str(agent, ask.run);
    ask.root = keep_str(agent, ask.root);
    ask.reason = keep_str(agent, ask.reason);
    ask.by = keep_str(agent, ask.by);
    ask.trace_id = keep_str(agent, ask.trace_id);
    ask.cause = keep_str(agent, ask.cause);
    struct open_ask about = {.kind = OPEN_API,
                             .key = event->ask,
                             .told = told,
                             .box = box,
                             .is_of_children = !ask.include_self};
    (void)id_parse(ask.run, &about.target);
    if (!open_ask(agent, &ask, &about))
        want_refusal(agent, event->ask, PROBLEM_OVERLOADED, "no memory");
}

void cancel_asked(struct agent *agent, const struct agent_event *event)
{
    const struct cancel_ask *ask = event->cancel;
    const char *wrong = cancel_is_wrong(agent, ask);
    if (wrong != NULL) {
        want_refusal(agent, event->ask, PROBLEM_INVALID, wrong);
        return;
    }
    struct agent_root *root = root_of_ask(agent, ask);
    enum problem problem = may_cancel(agent, event, root != NULL ? str_of(root->id) : STR_NONE);
    if (problem != PROBLEM_NONE) {
        want_refusal(agent, event->ask, problem, NULL);
        return;
    }
    struct record_box *box = NULL;
    size_t told = 0;
    bool must_count_first = ask->dry_run || ask->expect_at_most >= 0;
    if (root != NULL && !must_count_first) {
        struct cancel_record record = record_of_ask(agent, ask, str_of(root->id));
        told = ask->include_self ? stop_scope(agent, root, &record, &box)
                                 : stop_children(agent, root, &record, &box);
    }
    if (agent->is_linked)
        ask_everywhere(agent, event, box, told);
    else if (box != NULL)
        answer_pending(agent, event, ask, box, told);
    else if (told > 0)
        want_refusal(agent, event->ask, PROBLEM_OVERLOADED, only_here);
    else
        ask_everywhere(agent, event, NULL, 0); /* refused there, and audited */
    box_drop(agent, box);
}

/* ---- answers ------------------------------------------------------------------------------- */
static bool is_unrecorded(enum problem problem)
{
    return problem == PROBLEM_UNAVAILABLE || problem == PROBLEM_UNKNOWN_OUTCOME
           || problem == PROBLEM_OVERLOADED;
}

/* What is stored holds here as well, and is confirmed. */
static void take_result(struct agent *agent, const struct cancel_result *result)
{
    bool is_recorded =
        result->problem == PROBLEM_NONE && !result->dry_run && result->record.target.len > 0;
    struct agent_root *root = root_find(agent, result->record.root);
    if (!is_recorded || root == NULL)
        return;
    struct record_box *box = box_make(agent, &result->record);
    if (box == NULL)
        return;
    (void)apply_cancel(agent, root, hold(agent, box, true));
    box_drop(agent, box);
}

/* Redis cannot record it: it stays unconfirmed here, and those who can hear are told. */
static void keep_trying(struct agent *agent, const struct record_box *box)
{
    if (box == NULL || !agent->is_linked)
        return;
    struct agent_effect *effect = want(agent, DO_PUBLISH);
    effect->root = keep_str(agent, box->record.root);
    effect->record = box->record;
    effect->record.unrecorded = true;
    sync_retry_later(agent);
}

static void answer_api(struct agent *agent, const struct agent_event *event,
                       const struct open_ask *open)
{
    const struct cancel_result *result = event->result;
    bool is_kept = is_unrecorded(result->problem) && open->box != NULL;
    if (is_kept) {
        struct cancel_ask ask = {.run = id_str(&open->target),
                                 .include_self = !open->is_of_children,
                                 .wait = result->wait,
                                 .durability = result->durability_asked};
        answer_pending(agent, event, &ask, open->box, open->told);
        return;
    }
    if (is_unrecorded(result->problem) && open->told > 0) {
        want_refusal(agent, event->ask, PROBLEM_OVERLOADED, only_here);
        return;
    }
    struct agent_reply *reply = want_answer(agent, event->ask);
    reply->problem = result->problem;
    reply->detail = result->detail;
    reply->run = result->run;
    reply->root = result->root;
    reply->result = result;
    reply->told_here = open->told;
    if (result->problem == PROBLEM_NONE && result->record.target.len > 0) {
        reply->has_record = true;
        reply->record = result->record;
    }
}

static void text_answered(struct agent *agent, const struct open_ask *open,
                          const struct cancel_result *result)
{
    if (result->problem == PROBLEM_NOT_FOUND)
        want_count(agent, COUNT_MALFORMED, PROBLEM_NONE, (struct wall){0});
    else if (is_unrecorded(result->problem) && open->box != NULL) {
        struct agent_root *root = root_find(agent, open->box->record.root);
        if (root != NULL && lives_below(root, open->box->record.target))
            (void)apply_cancel(agent, root, hold(agent, open->box, false));
    }
}

void cancel_answered(struct agent *agent, const struct agent_event *event)
{
    uint64_t key = event->ask;
    struct open_ask *open = map_take(&agent->asks, ask_key(&key));
    if (open == NULL)
        return;
    if (open->held != NULL)
        open->held->asks--;
    if (!open->is_of_children)
        take_result(agent, event->result);
    if (event->result->problem != PROBLEM_NONE && !is_unrecorded(event->result->problem))
        held_withdraw(agent, open->held, open->box);
    if (open->kind == OPEN_API)
        answer_api(agent, event, open);
    else if (open->kind == OPEN_TEXT)
        text_answered(agent, open, event->result);
    else if (open->kind == OPEN_LINK)
        link_followed(agent, open, event->result);
    if (is_unrecorded(event->result->problem) && open->kind != OPEN_TEXT)
        keep_trying(agent, open->box);
    box_drop(agent, open->box);
    if (open->run != NULL) {
        open->run->calls--;
        run_forget_if_due(agent, open->run);
    }
    mem_free(open);
}

/* ---- by hand ------------------------------------------------------------------------------- */
/* Every subscriber asks for the same cancel; the jitter lets the first of them be the only one
 * whose question costs anything. */
void text_seen(struct agent *agent, const struct agent_event *event)
{
    struct run_id target;
    struct agent_root *root = root_find(agent, event->root);
    bool is_sensible = id_parse(event->text, &target) && event->reason.len <= TEXT_MAX_BYTES;
    if (!is_sensible || agent->text_count >= TEXTS_MAX) {
        garbage_seen(agent, event->root);
        return;
    }
    if (root == NULL || held_find(agent, event->root, event->text) != NULL)
        return;
    struct text *text = mem_new(sizeof *text);
    if (text == NULL || !due_reserve(&agent->heap)) {
        mem_free(text);
        return;
    }
    text->run = target;
    (void)id_parse(event->root, &text->root);
    if (event->reason.len > 0)
        memcpy(text->reason, event->reason.at, event->reason.len);
    text->due.kind = DUE_TEXT;
    list_add_last(&agent->texts, &text->in_texts);
    agent->text_count++;
    int64_t jitter = (int64_t)rng_below(&agent->rng, TEXT_JITTER_MS + 1);
    due_set(&agent->heap, &text->due, instant_after(agent->now, MILLIS(jitter)));
}

static void text_drop(struct agent *agent, struct text *text)
{
    link_remove(&text->in_texts);
    agent->text_count--;
    due_release(&agent->heap, &text->due);
    throw_away(agent, text);
}

void text_due(struct agent *agent, struct text *text)
{
    struct cancel_record record =
        own_record(agent, id_str(&text->root), id_str(&text->run), text->reason);
    record.by = STR("channel");
    struct agent_root *root = root_find(agent, record.root);
    bool is_known = held_find(agent, record.root, record.target) != NULL;
    if (root != NULL && !is_known && agent->is_linked) {
        struct open_ask about = {.kind = OPEN_TEXT, .box = box_with_cause(agent, &record)};
        (void)ask_cancel(agent, &record, false, &about);
        box_drop(agent, about.box);
    } else if (root != NULL && !is_known && lives_below(root, record.target)) {
        (void)cancel_here(agent, &record);
    }
    text_drop(agent, text);
}

void texts_fini(struct agent *agent)
{
    LIST_EACH (at, then, &agent->texts)
        text_drop(agent, LIST_OWNER(at, struct text, in_texts));
}
