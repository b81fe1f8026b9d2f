#include "core/cancels_inside.h"

#include <assert.h>

/* ---- effects, and the memory they point to ------------------------------------------------- */
void *keep_bytes(struct cancels *c, size_t bytes)
{
    void *kept = arena_take(&c->arena, bytes);
    if (kept == NULL)
        c->failed = true;
    return kept;
}

struct cancels_effect *effect_add(struct cancels *c, enum cancels_effect_kind kind)
{
    struct cancels_effects *todo = c->todo;
    void *item = todo->item;
    if (!mem_grow(&item, &todo->room, sizeof *todo->item, todo->count + 1)) {
        c->failed = true;
        return NULL;
    }
    todo->item = item;
    struct cancels_effect *effect = &todo->item[todo->count++];
    *effect = (struct cancels_effect){.kind = kind};
    return effect;
}

const char *text_kept(struct cancels *c, struct str text, const char *otherwise)
{
    if (text.len == 0)
        return otherwise;
    char *copy = keep_bytes(c, text.len + 1);
    if (copy == NULL)
        return otherwise;
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    return copy;
}

struct str text_str(struct cancels *c, struct str text)
{
    const char *copy = text_kept(c, text, NULL);
    return copy != NULL ? (struct str){copy, text.len} : STR_NONE;
}

/* ---- calls --------------------------------------------------------------------------------- */
static struct str token_key(const uint64_t *token)
{
    return (struct str){(const char *)token, sizeof *token};
}

static bool call_note(struct cancels *c, struct call *sent, const struct store_call *call)
{
    if (!map_add(&c->calls, token_key(&sent->token), sent))
        return false;
    struct cancels_effect *effect = effect_add(c, CANCELS_DO_CALL);
    if (effect == NULL) {
        map_take(&c->calls, token_key(&sent->token));
        return false;
    }
    effect->token = sent->token;
    effect->call = *call;
    return true;
}

bool call_send(struct cancels *c, struct call about, const struct store_call *call)
{
    struct call *sent = mem_new(sizeof *sent);
    if (sent != NULL) {
        *sent = about;
        sent->token = c->options.token_base + ++c->last_token;
    }
    if (sent != NULL && call_note(c, sent, call)) {
        if (about.job != NULL)
            about.job->calls++;
        return true;
    }
    mem_free(sent);
    if (about.job != NULL && !about.job->over)
        job_refuse(c, about.job, PROBLEM_UNAVAILABLE, "out of memory");
    return false;
}

void wake_at(struct cancels *c, struct instant when)
{
    c->due = instant_first(c->due, when);
}

/* ---- jobs ---------------------------------------------------------------------------------- */
static struct str move_in(char **at, struct str text)
{
    struct str moved = {*at, text.len};
    if (text.len > 0)
        memcpy(*at, text.at, text.len);
    *at += text.len;
    return moved;
}

struct job *job_new(struct cancels *c, const struct cancel_ask *ask)
{
    size_t bytes = ask->run.len + ask->root.len + ask->reason.len + ask->by.len + ask->trace_id.len
                   + ask->cause.len;
    struct job *job = mem_new(sizeof *job + bytes);
    if (job == NULL) {
        c->failed = true;
        return NULL;
    }
    job->ask = *ask;
    char *at = job->text;
    job->ask.run = move_in(&at, ask->run);
    job->ask.root = move_in(&at, ask->root);
    job->ask.reason = move_in(&at, ask->reason);
    job->ask.by = move_in(&at, ask->by);
    job->ask.trace_id = move_in(&at, ask->trace_id);
    job->ask.cause = move_in(&at, ask->cause);
    job->known = true;
    job->at = c->wall;
    job->forced = ask->force;
    /* What a link leads to is in the scope for good: nothing may start below it later, though it is
     * over now. */
    job->even_if_over = ask->even_if_over || (ask->force && ask->hops > 0);
    list_init(&job->scopes);
    list_add_last(&c->jobs, &job->in_jobs);
    return job;
}

static void job_free(struct cancels *c, struct job *job)
{
    if (job->followed != NULL)
        followed_free(c, job->followed);
    scopes_free(job);
    mem_free(job->child);
    mem_free(job->stored);
    mem_free(job->not_durable);
    mem_free(job);
}

void job_end(struct cancels *c, struct job *job)
{
    if (job->over)
        return;
    job->over = true;
    c->open_asks -= job->counted ? 1 : 0;
    scopes_release(c, job);
    link_remove(&job->in_waiting);
    link_remove(&job->in_ripe);
    link_remove(&job->in_jobs);
    list_add_last(&c->buried, &job->in_jobs);
}

static void bury(struct cancels *c)
{
    LIST_EACH (at, then, &c->buried) {
        struct job *job = LIST_OWNER(at, struct job, in_jobs);
        if (job->calls > 0)
            continue; /* its answer still comes */
        link_remove(at);
        job_free(c, job);
    }
}

/* include_self false: the ids of the cancels that were made instead. */
static void list_cancels(struct cancels *c, const struct job *job, struct cancel_result *result)
{
    struct str *ids = keep_bytes(c, job->child_count * sizeof *ids);
    for (size_t i = 0; ids != NULL && i < job->child_count; i++) {
        const struct target *child = &job->child[i];
        char id[CANCEL_ID_MAX];
        ids[i] = text_str(c, cancel_id(id_str(&child->root), id_str(&child->run), id));
    }
    result->child = ids;
    result->child_count = ids != NULL ? job->child_count : 0;
}

struct cancel_result *result_of(struct cancels *c, const struct job *job)
{
    struct cancel_result *result = keep_bytes(c, sizeof *result);
    if (result == NULL)
        return NULL;
    *result = (struct cancel_result){
        .root = id_str(&job->root),
        .run = job->ask.run,
        .record = job->record,
        .known = job->known,
        .already = job->already,
        .covered_by = id_str(&job->covered_by),
        .target_state = job->target_state,
        .durability = job->durability,
        .durability_asked = job->ask.durability,
        .not_durable = job->not_durable,
        .wait = job->ask.wait,
        .dry_run = job->ask.dry_run,
        .closed = job->ask.include_self,
    };
    if (job->child_count > 0)
        list_cancels(c, job, result);
    return result;
}

void audit(struct cancels *c, struct job *job, const struct cancel_result *result)
{
    struct cancels_effect *effect = effect_add(c, CANCELS_DO_AUDIT);
    if (effect == NULL)
        return;
    effect->ask = job->ask.ask;
    effect->asked = &job->ask;
    effect->result = result;
}

void job_refuse(struct cancels *c, struct job *job, enum problem problem, const char *detail)
{
    assert(problem != PROBLEM_NONE);
    struct cancel_result *result = result_of(c, job);
    if (result != NULL) {
        result->problem = problem;
        result->detail = detail;
        struct cancels_effect *effect = job->ask.ask != 0 ? effect_add(c, CANCELS_DO_ANSWER) : NULL;
        if (effect != NULL) {
            effect->ask = job->ask.ask;
            effect->asked = &job->ask;
            effect->result = result;
        }
        audit(c, job, result);
    }
    job_end(c, job);
}

/* ---- events -------------------------------------------------------------------------------- */
static void asked(struct cancels *c, const struct cancel_ask *ask)
{
    struct job *job = job_new(c, ask);
    if (job == NULL)
        return;
    if (c->open_asks >= c->options.asks_max) {
        job_refuse(c, job, PROBLEM_OVERLOADED, "too many cancels are being waited for here");
        return;
    }
    job->counted = true;
    c->open_asks++;
    job_begin(c, job);
}

static void abandoned(struct cancels *c, uint64_t ask)
{
    LIST_EACH (at, then, &c->jobs) {
        struct job *job = LIST_OWNER(at, struct job, in_jobs);
        if (ask == 0 || job->ask.ask != ask)
            continue;
        job->ask.ask = 0;
        if (job->waits)
            job_end(c, job);
    }
}

static void given_up(struct cancels *c, uint64_t ask)
{
    LIST_EACH (at, then, &c->jobs) {
        struct job *job = LIST_OWNER(at, struct job, in_jobs);
        if (ask == 0 || job->ask.ask != ask)
            continue;
        if (job->waits)
            wait_give_up(c, job);
        else
            job->ask.wait = WAIT_NONE;
    }
}

static void job_answered(struct cancels *c, const struct call *call,
                         const struct store_answer *answer)
{
    struct job *job = call->job;
    switch (call->purpose) {
    case FOR_FIND:
        job_found(c, job, answer);
        break;
    case FOR_REMEMBER:
        job_remembered(c, job, answer);
        break;
    case FOR_LOOK:
        job_looked(c, job, answer);
        break;
    case FOR_OVER:
        job_looked_below(c, job, answer);
        break;
    case FOR_RECORD:
        job_recorded(c, job, answer);
        break;
    case FOR_OWNER:
        job_owner_known(c, job, answer);
        break;
    case FOR_CHILD:
        child_recorded(c, job, call->child, answer);
        break;
    case FOR_SYNC:
        durable_answered(c, job, answer);
        break;
    case FOR_FOLLOW:
        if (answer->tree != NULL)
            job_links_follow(c, job, answer->tree);
        if (job->calls == 0)
            job_end(c, job);
        break;
    default:
        assert(call->purpose == FOR_ACKNOWLEDGE);
        link_acknowledged(c, job);
    }
}

static void answered(struct cancels *c, uint64_t token, const struct store_answer *answer)
{
    struct call *found = map_take(&c->calls, token_key(&token));
    if (found == NULL)
        return;
    struct call call = *found;
    mem_free(found);
    if (call.job != NULL)
        call.job->calls--;

    switch (call.purpose) {
    case FOR_TREE:
        lookout_answered(c, call.lookout, answer);
        break;
    case FOR_REASSERT:
        reasserted(c, call.held, answer);
        break;
    case FOR_CLAIM:
        claimed_again(c, call.held, answer);
        break;
    case FOR_ELSEWHERE:
        reasserted_elsewhere(c, call.held, answer);
        break;
    case FOR_REPLICAS:
        replicas_answered(c, answer);
        break;
    case FOR_LEASE:
        lease_answered(c, call.replica, answer);
        break;
    default:
        assert(call.job != NULL);
        if (!call.job->over)
            job_answered(c, &call, answer);
    }
}

static void link_came(struct cancels *c, bool lost, struct str generation)
{
    c->linked = true;
    replicas_begin(c, lost, generation);
    if (lost)
        reassert_all(c);
    struct lookout *lookout;
    for (size_t i = 0; (lookout = map_next(&c->lookouts, &i)) != NULL;)
        lookout_read(c, lookout);
}

static void time_passed(struct cancels *c)
{
    c->due = INSTANT_NEVER;
    LIST_EACH (at, then, &c->waiting) {
        struct job *job = LIST_OWNER(at, struct job, in_waiting);
        if (instant_reached(c->now, job->due))
            wait_give_up(c, job);
        else
            wake_at(c, job->due);
    }
    struct lookout *lookout;
    for (size_t i = 0; (lookout = map_next(&c->lookouts, &i)) != NULL;) {
        if (instant_reached(c->now, lookout->next))
            lookout_read(c, lookout);
        if (!lookout->reading)
            wake_at(c, lookout->next);
    }
    replicas_poll(c);
}

static void take_event(struct cancels *c, const struct cancels_event *event)
{
    switch (event->kind) {
    case CANCELS_ASK:
        asked(c, event->asked);
        break;
    case CANCELS_ABANDON:
        abandoned(c, event->ask);
        break;
    case CANCELS_GIVE_UP:
        given_up(c, event->ask);
        break;
    case CANCELS_ANSWER:
        answered(c, event->token, event->answer);
        break;
    case CANCELS_HINT: {
        struct lookout *lookout = map_find(&c->lookouts, event->root);
        if (lookout != NULL)
            lookout_read(c, lookout);
        break;
    }
    case CANCELS_LINK_UP:
        link_came(c, event->lost, event->generation);
        break;
    case CANCELS_LINK_DOWN:
        c->linked = false;
        break;
    case CANCELS_TIME_PASSED:
        time_passed(c);
        break;
    }
}

enum err cancels_step(struct cancels *c, const struct cancels_event *event,
                      struct cancels_effects *todo)
{
    bury(c);
    arena_reset(&c->arena);
    todo->count = 0;
    c->todo = todo;
    c->failed = false;
    c->now = event->at;
    c->wall = event->wall;

    take_event(c, event);
    answer_the_ripe(c);
    memory_expire(c);
    return c->failed ? ERR_NOMEM : ERR_OK;
}

struct instant cancels_deadline(const struct cancels *cancels)
{
    return cancels->due;
}

bool cancels_are_settled(const struct cancels *cancels)
{
    return loss_is_settled(cancels);
}

struct cancels *cancels_new(const struct cancels_options *options)
{
    struct cancels *c = mem_new(sizeof *c);
    if (c == NULL)
        return NULL;
    c->options = *options;
    c->due = INSTANT_NEVER;
    list_init(&c->jobs);
    list_init(&c->waiting);
    list_init(&c->ripe);
    list_init(&c->buried);
    list_init(&c->recent_by_age);
    list_init(&c->held_by_age);
    list_init(&c->to_reassert);
    return c;
}

void cancels_free(struct cancels *c)
{
    if (c == NULL)
        return;
    struct cancels_effects nobody_reads = {0};
    c->todo = &nobody_reads;
    LIST_EACH (open, next_open, &c->jobs)
        job_end(c, LIST_OWNER(open, struct job, in_jobs));
    LIST_EACH (at, then, &c->buried)
        job_free(c, LIST_OWNER(at, struct job, in_jobs));
    mem_free(nobody_reads.item);

    struct call *call;
    for (size_t i = 0; (call = map_next(&c->calls, &i)) != NULL;)
        mem_free(call);
    struct lookout *lookout; /* those whose read is on its way */
    for (size_t i = 0; (lookout = map_next(&c->lookouts, &i)) != NULL;)
        mem_free(lookout);
    map_fini(&c->calls);
    map_fini(&c->lookouts);
    map_fini(&c->following);
    memory_free(c);
    arena_fini(&c->arena);
    mem_free(c);
}
