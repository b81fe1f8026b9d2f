#include "core/orders.h"

#include "core/orders_inside.h"

/* ---- effects and calls --------------------------------------------------------------------- */
struct orders_effect *orders_want(struct orders *o, enum orders_effect_kind kind)
{
    void *item = o->todo->item;
    if (!mem_grow(&item, &o->todo->room, sizeof *o->todo->item, o->todo->count + 1)) {
        o->failed = true;
        return NULL;
    }
    o->todo->item = item;
    struct orders_effect *effect = &o->todo->item[o->todo->count++];
    *effect = (struct orders_effect){.kind = kind};
    return effect;
}

static struct str number_key(const uint64_t *number)
{
    return (struct str){(const char *)number, sizeof *number};
}

bool orders_call(struct orders *o, const struct job *job, enum job_purpose purpose, struct str root,
                 const struct store_call *call)
{
    struct job_call *sent = mem_new(sizeof *sent);
    if (sent == NULL) {
        o->failed = true;
        return false;
    }
    *sent = (struct job_call){.token = o->options.token_base + ++o->last_token, .purpose = purpose};
    if (job != NULL) {
        sent->job = job->id;
        sent->round = job->round;
    }
    (void)id_parse(root, &sent->root);
    struct orders_effect *effect = NULL;
    if (map_add(&o->calls, number_key(&sent->token), sent))
        effect = orders_want(o, ORDERS_DO_CALL);
    if (effect == NULL) {
        (void)map_take(&o->calls, number_key(&sent->token));
        mem_free(sent);
        o->failed = true;
        return false;
    }
    effect->token = sent->token;
    effect->call = *call;
    if (root.len > 0)
        effect->call.root = id_str(&sent->root);
    return true;
}

/* ---- jobs ---------------------------------------------------------------------------------- */
static struct job *job_find(const struct orders *o, struct str id)
{
    LIST_EACH (at, then, &o->jobs) {
        struct job *job = LIST_OWNER(at, struct job, in_jobs);
        if (str_eq(id_str(&job->id), id))
            return job;
    }
    return NULL;
}

static void job_drop(struct orders *o, struct job *job)
{
    link_remove(&job->in_jobs);
    o->job_count--;
    mem_free(job->root);
    mem_free(job->wanted);
    mem_free(job);
}

/* NULL: no memory, or it does not decode. */
static struct job *job_make(struct orders *o, struct str id, struct str record)
{
    struct order order;
    if (!id_is_valid(id) || !o->options.decode_order(record, &order))
        return NULL;
    struct job *job = mem_new(sizeof *job + record.len);
    if (job == NULL)
        return NULL;
    memcpy(job->bytes, record.at, record.len);
    job->len = record.len;
    (void)o->options.decode_order((struct str){job->bytes, job->len}, &job->order);
    (void)id_parse(id, &job->id);
    memcpy(job->by, "order:", 6);
    memcpy(job->by + 6, id.at, id.len);
    job->expect_at_most = -1;
    job->hold_until = instant_after(o->now, job->order.hold);
    list_add_last(&o->jobs, &job->in_jobs);
    o->job_count++;
    return job;
}

static void answer(struct orders *o, struct job *job, enum problem problem, const char *detail)
{
    if (job->ask == 0)
        return;
    struct orders_effect *effect = orders_want(o, ORDERS_DO_ANSWER);
    if (effect == NULL)
        return;
    effect->ask = job->ask;
    effect->result = (struct order_result){
        .problem = problem,
        .detail = detail,
        .id = arena_copy(&o->arena, id_str(&job->id)),
        .record = arena_copy(&o->arena, (struct str){job->bytes, job->len}),
        .dry_run = job->dry_run,
    };
    struct order_progress *progress = arena_take(&o->arena, sizeof *progress);
    if (progress != NULL)
        *progress = job->progress;
    effect->result.progress = progress;
    job->ask = 0;
}

static void refuse(struct orders *o, struct job *job, enum problem problem, const char *detail)
{
    answer(o, job, problem, detail);
    job_drop(o, job);
}

/* ---- writing it down ----------------------------------------------------------------------- */
static struct str progress_bytes(struct orders *o, const struct job *job)
{
    char *bytes = arena_take(&o->arena, MESSAGE_MAX_BYTES);
    return (struct str){bytes,
                        bytes != NULL ? o->options.encode_progress(&job->progress, bytes) : 0};
}

/* One that is done is never seen without that: whoever saw it so would begin its scan again, and
 * stop who has started since. */
static bool write_down(struct orders *o, struct job *job, struct span hold)
{
    struct store_call call = {.op = STORE_ORDER,
                              .id = id_str(&job->id),
                              .record = {job->bytes, job->len},
                              .span = hold,
                              .limit = ORDERS_MAX,
                              .max_holds = HOLDS_MAX,
                              .bytes = job->phase == JOB_DONE ? progress_bytes(o, job) : STR_NONE};
    return orders_call(o, job, FOR_WRITE, STR_NONE, &call);
}

static void write_first(struct orders *o, struct job *job)
{
    job->phase = JOB_WRITING;
    if (!write_down(o, job, job->order.hold))
        refuse(o, job, PROBLEM_OVERLOADED, "out of memory");
}

static void say_progress(struct orders *o, struct job *job)
{
    struct store_call call = {
        .op = STORE_ORDER_PROGRESS, .id = id_str(&job->id), .bytes = progress_bytes(o, job)};
    job->is_unsaid = call.bytes.len == 0 || !orders_call(o, job, FOR_PROGRESS, STR_NONE, &call);
}

static void lock(struct orders *o, struct job *job)
{
    struct store_call call = {
        .op = STORE_LOCK, .id = str_of(job->by), .replica = o->options.id, .span = MILLIS(LOCK_MS)};
    job->lock_due = instant_after(o->now, MILLIS(LOCK_AGAIN_MS));
    (void)orders_call(o, job, FOR_LOCK_OF_JOB, STR_NONE, &call);
}

/* Who is asserted after a loss may be so only after the scan: there is another one then. */
static bool is_too_early(const struct orders *o, const struct job *job)
{
    return job->order.action != ORDER_HOLD_ONLY && !instant_reached(o->now, o->settled);
}

void job_carried_out(struct orders *o, struct job *job)
{
    if (is_too_early(o, job)) {
        job->phase = JOB_WAITING;
        job->again = o->settled;
        say_progress(o, job);
        return;
    }
    job->phase = JOB_DONE;
    job->progress.is_done = true;
    job->progress.finished = o->wall;
    say_progress(o, job);
    struct orders_effect *effect = orders_want(o, ORDERS_DO_LOG);
    if (effect != NULL)
        effect->result = (struct order_result){
            .id = id_str(&job->id), .record = {job->bytes, job->len}, .progress = &job->progress};
    job->forget = instant_after(o->now, o->options.remember);
    if (instant_reached(job->hold_until, job->forget))
        job->forget = job->hold_until;
    if (job->is_foreign)
        job->forget = instant_after(o->now, MILLIS(LOCK_MS)); /* its writer remembers it longer */
}

void job_counted(struct orders *o, struct job *job)
{
    bool is_too_many = job->expect_at_most >= 0 && job->progress.matched > job->expect_at_most;
    if (is_too_many) {
        refuse(o, job, PROBLEM_TOO_MANY_MATCHED, "more runs match than expect_at_most allows");
    } else if (job->dry_run) {
        refuse(o, job, PROBLEM_NONE, NULL);
    } else {
        write_first(o, job);
    }
}

static void carry_out(struct orders *o, struct job *job)
{
    if (job->order.action == ORDER_HOLD_ONLY) {
        job_carried_out(o, job);
        return;
    }
    job->phase = JOB_SCANNING;
    lock(o, job);
    scan_begin(o, job);
}

static void say_already(struct orders *o, uint64_t ask, struct str record, struct str id)
{
    struct orders_effect *effect = orders_want(o, ORDERS_DO_ANSWER);
    if (effect == NULL)
        return;
    effect->ask = ask;
    effect->result = (struct order_result){
        .id = arena_copy(&o->arena, id), .record = arena_copy(&o->arena, record), .already = true};
}

static void found_written(struct orders *o, struct job *job, const struct store_answer *said)
{
    say_already(o, job->ask, said->record, id_str(&job->id));
    job_drop(o, job); /* it is carried out, or somebody finds that it is not */
}

static void told_again(struct job *job, const struct store_answer *said)
{
    if (said->verdict == SAID_OK || said->verdict == SAID_ALREADY || said->verdict == SAID_FULL)
        job->is_forgotten = false;
}

static void written(struct orders *o, struct job *job, const struct store_answer *said)
{
    if (job->phase != JOB_WRITING) {
        told_again(job, said);
        return;
    }
    switch (said->verdict) {
    case SAID_OK:
        job->progress = (struct order_progress){0};
        answer(o, job, PROBLEM_NONE, NULL);
        carry_out(o, job);
        break;
    case SAID_ALREADY:
        found_written(o, job, said);
        break;
    case SAID_FULL:
        refuse(o, job, PROBLEM_OVERLOADED,
               str_is(said->text, "holds") ? "256 orders hold already: lift one"
                                           : "1,000 orders are not done yet, or hold");
        break;
    case SAID_OFFLINE:
        refuse(o, job, PROBLEM_UNKNOWN_OUTCOME, "the connection to Redis broke");
        break;
    default:
        refuse(o, job, PROBLEM_UNAVAILABLE, "Redis cannot record it now");
        break;
    }
}

void job_wait(struct orders *o, struct job *job)
{
    job->round++;
    if (job->phase == JOB_COUNTING)
        refuse(o, job, PROBLEM_UNAVAILABLE, "Redis cannot be read now");
    else if (job->phase == JOB_WRITING)
        refuse(o, job, PROBLEM_UNKNOWN_OUTCOME, "the connection to Redis broke");
    else if (job->phase == JOB_SCANNING)
        job->phase = JOB_WAITING;
}

/* ---- asks ---------------------------------------------------------------------------------- */
static size_t open_jobs(const struct orders *o)
{
    size_t count = 0;
    LIST_EACH (at, then, &o->jobs)
        count += LIST_OWNER(at, struct job, in_jobs)->phase != JOB_DONE ? 1 : 0;
    return count;
}

static void turn_away(struct orders *o, const struct order_ask *asked, enum problem problem,
                      const char *detail)
{
    struct orders_effect *effect = orders_want(o, ORDERS_DO_ANSWER);
    if (effect == NULL)
        return;
    effect->ask = asked->ask;
    effect->result = (struct order_result){.problem = problem, .detail = detail};
}

/* Its id was asked for before: until the first one has its answer nobody knows what it will be. */
static void on_ask_again(struct orders *o, const struct order_ask *asked, const struct job *job)
{
    if (job->phase == JOB_COUNTING || job->phase == JOB_WRITING)
        turn_away(o, asked, PROBLEM_OVERLOADED, "this order is just being written down");
    else
        say_already(o, asked->ask, (struct str){job->bytes, job->len}, id_str(&job->id));
}

static void on_ask(struct orders *o, const struct order_ask *asked)
{
    if (!o->is_linked) {
        turn_away(o, asked, PROBLEM_UNAVAILABLE, "Redis is away");
        return;
    }
    struct job *job = job_find(o, asked->id);
    if (job != NULL) {
        on_ask_again(o, asked, job);
        return;
    }
    if (open_jobs(o) < o->options.jobs_max)
        job = job_make(o, asked->id, asked->record);
    if (job == NULL) {
        turn_away(o, asked, PROBLEM_OVERLOADED, "too many orders are open here");
        return;
    }
    job->ask = asked->ask;
    job->dry_run = asked->dry_run;
    job->expect_at_most = asked->expect_at_most;
    if (job->dry_run || job->expect_at_most >= 0) {
        job->phase = JOB_COUNTING;
        scan_begin(o, job);
    } else {
        write_first(o, job);
    }
}

/* ---- what another broker began and did not finish ------------------------------------------ */
static void find_unfinished(struct orders *o)
{
    o->find_due = instant_after(o->now, MILLIS(FIND_UNFINISHED_MS));
    if (o->is_finding)
        return;
    struct store_call call = {.op = STORE_ORDERS_VERSION};
    o->is_finding = orders_call(o, NULL, FOR_VERSION, STR_NONE, &call);
}

static void version_known(struct orders *o, const struct store_answer *said)
{
    o->is_finding = false;
    if (said->verdict != SAID_OK || (said->number == o->version && !o->some_are_unfinished))
        return;
    struct store_call call = {.op = STORE_ORDERS_READ, .id = STR("")};
    o->is_finding = orders_call(o, NULL, FOR_ALL, STR_NONE, &call);
}

static bool is_unfinished(const struct orders *o, const struct store_order *stored)
{
    struct order order;
    struct order_progress *progress = arena_take((struct arena *)&o->arena, sizeof *progress);
    if (progress == NULL || !o->options.decode_order(stored->record, &order)
        || order.action == ORDER_HOLD_ONLY)
        return false;
    return stored->progress.len == 0 || !o->options.decode_progress(stored->progress, progress)
           || !progress->is_done;
}

/* A hold that was lifted does not come back when it is told again, whoever lifted it. */
static void note_lift(struct orders *o, struct job *job, const struct store_order *stored)
{
    if (stored->lifted_ms == 0 || job->is_lifted)
        return;
    job->is_lifted = true;
    job->hold_until = o->now;
}

static void take_over(struct orders *o, const struct store_order *stored)
{
    struct job *job =
        open_jobs(o) < o->options.jobs_max ? job_make(o, stored->id, stored->record) : NULL;
    if (job == NULL)
        return;
    job->is_foreign = true;
    job->hold_until = instant_after(o->now, stored->hold_left);
    note_lift(o, job, stored);
    job->phase = JOB_WAITING;
    lock(o, job);
}

/* Whoever gets its lock scans; who has it just now is at work. */
static void all_known(struct orders *o, const struct store_answer *said)
{
    o->is_finding = o->some_are_unfinished = false;
    if (said->verdict != SAID_OK)
        return;
    o->version = said->number;
    for (size_t i = 0; i < said->order_count; i++) {
        const struct store_order *stored = &said->order[i];
        struct job *job = job_find(o, stored->id);
        if (job != NULL) {
            note_lift(o, job, stored);
        } else if (is_unfinished(o, stored)) {
            o->some_are_unfinished = true;
            take_over(o, stored);
        }
    }
}

static void locked(struct orders *o, struct job *job, const struct store_answer *said)
{
    if (!job->is_foreign || job->phase != JOB_WAITING)
        return; /* a second one who scans does no harm */
    if (said->verdict != SAID_OK)
        job_drop(o, job);
    else if (instant_reached(o->now, job->again))
        carry_out(o, job);
}

/* ---- events -------------------------------------------------------------------------------- */
static void answered(struct orders *o, uint64_t token, const struct store_answer *said)
{
    struct job_call *found = map_take(&o->calls, number_key(&token));
    if (found == NULL)
        return;
    struct job_call call = *found;
    mem_free(found);
    if (call.purpose == FOR_VERSION) {
        version_known(o, said);
        return;
    }
    if (call.purpose == FOR_ALL) {
        all_known(o, said);
        return;
    }
    struct job *job = call.purpose != FOR_NOBODY ? job_find(o, id_str(&call.job)) : NULL;
    if (job != NULL && call.purpose == FOR_PROGRESS)
        job->is_unsaid =
            job->is_unsaid || said->verdict == SAID_OFFLINE || said->verdict == SAID_UNWRITABLE;
    if (job == NULL || job->round != call.round || call.purpose == FOR_PROGRESS)
        return;
    if (call.purpose == FOR_WRITE)
        written(o, job, said);
    else if (call.purpose == FOR_LOCK_OF_JOB)
        locked(o, job, said);
    else
        scan_answered(o, job, &call, said);
}

static void cancel_answered(struct orders *o, uint64_t ask, const struct cancel_result *result)
{
    struct job_cancel *found = map_take(&o->cancels, number_key(&ask));
    if (found == NULL)
        return;
    struct job_cancel cancel = *found;
    mem_free(found);
    struct job *job = job_find(o, id_str(&cancel.job));
    if (job != NULL && job->round == cancel.round && job->phase == JOB_SCANNING)
        scan_cancelled(o, job, &cancel, result);
}

/* Also where Redis kept the order and lost what was written last: that it was lifted. */
static void tell_again(struct orders *o, struct job *job)
{
    struct span left = {job->hold_until.ms - o->now.ms};
    struct store_call lift = {.op = STORE_ORDER_LIFT, .id = id_str(&job->id)};
    if (job->phase == JOB_WRITING || job->phase == JOB_COUNTING)
        return;
    job->is_forgotten = true;
    (void)write_down(o, job, left.ms > 0 ? left : MILLIS(0));
    if (job->is_lifted)
        (void)orders_call(o, NULL, FOR_NOBODY, STR_NONE, &lift);
    if (job->phase == JOB_DONE)
        say_progress(o, job);
}

static void link_came(struct orders *o, bool lost)
{
    o->is_linked = true;
    o->is_finding = false;
    o->version = -1;
    o->next_look = o->find_due = o->now;
    if (lost)
        o->settled = instant_after(o->now, MILLIS(2 * o->options.lease.ms + LOOK_EVERY_MS));
    LIST_EACH (at, then, &o->jobs)
        if (lost)
            tell_again(o, LIST_OWNER(at, struct job, in_jobs));
}

static void link_went(struct orders *o)
{
    o->is_linked = false;
    o->next_look = INSTANT_NEVER;
    LIST_EACH (at, then, &o->jobs)
        job_wait(o, LIST_OWNER(at, struct job, in_jobs));
}

static void look_after(struct orders *o, struct job *job)
{
    if (job->phase == JOB_DONE && !job->is_unsaid && instant_reached(o->now, job->forget)) {
        job_drop(o, job);
        return;
    }
    if (job->is_forgotten)
        tell_again(o, job);
    bool may_go_on = job->phase == JOB_WAITING && instant_reached(o->now, job->again);
    if (may_go_on && !job->is_foreign)
        carry_out(o, job);
    else if (job->phase == JOB_WAITING && instant_reached(o->now, job->lock_due))
        lock(o, job);
    else if (job->phase == JOB_SCANNING && instant_reached(o->now, job->lock_due))
        lock(o, job);
    if ((job->phase == JOB_SCANNING || job->phase == JOB_DONE) && job->is_unsaid)
        say_progress(o, job);
}

static void look(struct orders *o)
{
    o->next_look = instant_after(o->now, MILLIS(LOOK_EVERY_MS));
    LIST_EACH (at, then, &o->jobs)
        look_after(o, LIST_OWNER(at, struct job, in_jobs));
    if (instant_reached(o->now, o->find_due))
        find_unfinished(o);
}

enum err orders_step(struct orders *o, const struct orders_event *event,
                     struct orders_effects *todo)
{
    arena_reset(&o->arena);
    todo->count = 0;
    o->todo = todo;
    o->failed = false;
    o->now = event->at;
    o->wall = event->wall;
    switch (event->kind) {
    case ORDERS_ASK:
        on_ask(o, event->asked);
        break;
    case ORDERS_ANSWER:
        answered(o, event->token, event->answer);
        break;
    case ORDERS_CANCEL_ANSWERED:
        cancel_answered(o, event->ask, event->result);
        break;
    case ORDERS_LINK_UP:
        link_came(o, event->lost);
        break;
    case ORDERS_LINK_DOWN:
        link_went(o);
        break;
    case ORDERS_TIME_PASSED:
        if (o->is_linked && instant_reached(o->now, o->next_look))
            look(o);
        break;
    }
    return o->failed ? ERR_NOMEM : ERR_OK;
}

struct instant orders_deadline(const struct orders *o)
{
    return o->next_look;
}

size_t orders_open(const struct orders *o)
{
    return open_jobs(o);
}

struct orders *orders_new(const struct orders_options *options)
{
    struct orders *o = mem_new(sizeof *o);
    if (o == NULL)
        return NULL;
    o->options = *options;
    o->next_look = INSTANT_NEVER;
    o->version = -1;
    list_init(&o->jobs);
    return o;
}

void orders_free(struct orders *o)
{
    if (o == NULL)
        return;
    void *item;
    for (size_t i = 0; (item = map_next(&o->calls, &i)) != NULL;)
        mem_free(item);
    for (size_t i = 0; (item = map_next(&o->cancels, &i)) != NULL;)
        mem_free(item);
    LIST_EACH (at, then, &o->jobs)
        job_drop(o, LIST_OWNER(at, struct job, in_jobs));
    map_fini(&o->calls);
    map_fini(&o->cancels);
    arena_fini(&o->arena);
    mem_free(o);
}
