#include <assert.h>

#include "base/buf.h"
#include "core/cancels_inside.h"

/* From an ask to what is recorded. The short way, and that of every duplicate: the root is known,
 * one script, one answer. */

/* What a verdict means when the server could not do it; the call itself can not have been the
 * cancel. */
static bool refused_by_server(struct cancels *c, struct job *job, const struct store_answer *answer)
{
    switch (answer->verdict) {
    case SAID_OFFLINE:
        job_refuse(c, job, PROBLEM_UNAVAILABLE, "the connection to Redis is down");
        return true;
    case SAID_UNWRITABLE:
    case SAID_ERROR:
        job_refuse(c, job, PROBLEM_UNAVAILABLE,
                   text_kept(c, answer->text, "Redis cannot do it now"));
        return true;
    default:
        return false;
    }
}

struct cancel_record record_for(const struct job *job, const struct target *target)
{
    const struct cancel_ask *ask = &job->ask;
    return (struct cancel_record){
        .root = id_str(&target->root),
        .target = id_str(&target->run),
        .action = ask->action,
        .reason = ask->reason,
        .by = ask->by,
        .at = job->at,
        .trace_id = ask->trace_id,
        .grace = ask->grace,
        .cause = ask->cause,
        .hops = ask->hops,
    };
}

/* "<root>.<run>" into `out`. */
struct str cancel_id(struct str root, struct str run, char out[CANCEL_ID_MAX])
{
    memcpy(out, root.at, root.len);
    out[root.len] = '.';
    memcpy(out + root.len + 1, run.at, run.len);
    return (struct str){out, root.len + 1 + run.len};
}

bool record_send(struct cancels *c, struct job *job, enum purpose purpose,
                 const struct cancel_record *record, bool force, bool even_if_over)
{
    struct cancel_record whole = *record;
    char own_id[CANCEL_ID_MAX];
    if (whole.cause.len == 0)
        whole.cause = cancel_id(whole.root, whole.target, own_id);
    char *bytes = keep_bytes(c, MESSAGE_MAX_BYTES);
    if (bytes == NULL)
        return false;
    size_t len = c->options.encode(&whole, bytes);
    arena_give_back(&c->arena, MESSAGE_MAX_BYTES - ((len + 15) & ~(size_t)15));
    if (len == 0) {
        job_refuse(c, job, PROBLEM_INVALID, "the cancel's texts are longer than a record holds");
        return false;
    }
    struct store_call call = {
        .op = STORE_CANCEL,
        .root = text_str(c, whole.root),
        .run = text_str(c, whole.target),
        .record = {bytes, len},
        .grace = whole.grace,
        .force = force,
        .even_if_over = even_if_over,
    };
    return call_send(c, (struct call){.purpose = purpose, .job = job, .child = job->children_sent},
                     &call);
}

static void record(struct cancels *c, struct job *job)
{
    struct target target = {.root = job->root};
    if (!id_parse(job->ask.run, &target.run)) {
        job_refuse(c, job, PROBLEM_INVALID, "not a run id");
        return;
    }
    struct cancel_record wanted = record_for(job, &target);
    record_send(c, job, FOR_RECORD, &wanted, job->forced, job->even_if_over);
}

static void look(struct cancels *c, struct job *job, enum purpose purpose)
{
    struct store_call call = {.op = STORE_TREE, .root = id_str(&job->root)};
    call_send(c, (struct call){.purpose = purpose, .job = job}, &call);
}

/* ---- which tree? --------------------------------------------------------------------------- */
static void ask_find(struct cancels *c, struct job *job)
{
    struct store_call call = {.op = STORE_FIND_READ, .id = job->ask.run};
    call_send(c, (struct call){.purpose = FOR_FIND, .job = job}, &call);
}

static void root_is_known(struct cancels *c, struct job *job, struct str root)
{
    if (!id_parse(root, &job->root)) {
        job_refuse(c, job, PROBLEM_UNAVAILABLE, "what Redis holds for this id is no root");
        return;
    }
    const struct cancel_ask *ask = &job->ask;
    bool look_first = ask->dry_run || ask->expect_at_most >= 0 || !ask->include_self;
    if (look_first && !job->even_if_over)
        look(c, job, FOR_LOOK);
    else
        record(c, job);
}

static void conflicts(struct cancels *c, struct job *job)
{
    job_refuse(c, job, PROBLEM_CONFLICT, "this id is a run of another root than the given one");
}

void job_begin(struct cancels *c, struct job *job)
{
    const struct cancel_ask *ask = &job->ask;
    struct str minted = id_minted_root(ask->run);
    if (!c->linked) {
        job_refuse(c, job, PROBLEM_UNAVAILABLE, "the connection to Redis is down");
    } else if (ask->force && ask->root.len > 0) {
        root_is_known(c, job, ask->root);
    } else if (minted.len > 0) {
        if (ask->root.len > 0 && !str_eq(ask->root, minted))
            conflicts(c, job);
        else
            root_is_known(c, job, minted);
    } else {
        const struct recent *recent = recent_find(c, ask->run);
        if (recent == NULL || (ask->root.len > 0 && !str_eq(ask->root, id_str(&recent->root)))) {
            ask_find(c, job);
            return;
        }
        job->root_is_a_guess = true;
        root_is_known(c, job, id_str(&recent->root));
    }
}

void job_found(struct cancels *c, struct job *job, const struct store_answer *answer)
{
    const struct cancel_ask *ask = &job->ask;
    if (refused_by_server(c, job, answer))
        return;
    if (answer->verdict == SAID_OK) {
        if (ask->root.len > 0 && !str_eq(ask->root, answer->text))
            conflicts(c, job);
        else
            root_is_known(c, job, answer->text);
    } else if (ask->root.len > 0) {
        root_is_known(c, job, ask->root);
    } else if (!ask->remember_unknown || !ask->include_self) { /* nothing is below it to cancel */
        job_refuse(c, job, PROBLEM_NOT_FOUND, "nobody has seen this id");
    } else if (ask->dry_run) {
        root_is_known(c, job, ask->run);
    } else {
        struct store_call call = {.op = STORE_REMEMBER, .id = ask->run};
        call_send(c, (struct call){.purpose = FOR_REMEMBER, .job = job}, &call);
    }
}

void job_remembered(struct cancels *c, struct job *job, const struct store_answer *answer)
{
    if (refused_by_server(c, job, answer))
        return;
    if (answer->verdict == SAID_EXISTS) {
        root_is_known(c, job, answer->text);
        return;
    }
    job->forced = true;
    root_is_known(c, job, job->ask.run);
}

/* ---- the tree first: dry_run, expect_at_most, include_self false ------------------------------
 */
static size_t live_below(const struct tree *tree, const struct tree_run *target)
{
    size_t live = 0;
    for (size_t i = 0; i < tree->run_count; i++)
        if (run_is_live(tree->run[i]->state) && tree_is_below(tree->run[i], target))
            live++;
    return live;
}

/* Is there anything left that a cancel of a target that is over would still stop? */
static bool scope_is_open(struct cancels *c, const struct tree *tree, const struct tree_run *target)
{
    for (size_t i = 0; i < tree->run_count; i++) {
        const struct tree_run *run = tree->run[i];
        bool open = run_is_live(run->state)
                    || (run->state == RUN_LOST && (run->flags & RUN_FLAG_GONE) == 0);
        if (open && tree_is_below(run, target))
            return true;
    }
    for (size_t i = 0; i < tree->link_count; i++) {
        if (!tree->link[i].acknowledged && tree_is_below(tree->link[i].from, target))
            return true;
    }
    return !loss_is_settled(c);
}

static bool is_named(const struct tree_run *run)
{
    return run != NULL && run->state != RUN_NONE
           && (run->state != RUN_NEVER || (run->flags & RUN_FLAG_BANNED) != 0 || run->children > 0);
}

static bool was_started(enum run_state state)
{
    return state != RUN_NONE && state != RUN_NEVER;
}

/* The first one's record, not ours. */
static bool take_stored_record(struct cancels *c, struct job *job, struct str bytes)
{
    job->stored = mem_copy(bytes);
    if (job->stored == NULL) {
        c->failed = true;
        return false;
    }
    return c->options.decode((struct str){job->stored, bytes.len}, &job->record);
}

/* It was somebody else's, of a version that we do not speak: only that much can be told. */
static void take_unread_record(struct job *job)
{
    job->record = (struct cancel_record){
        .root = id_str(&job->root),
        .target = job->ask.run,
        .by = STR("a newer version"),
        .grace = SPAN_NONE,
        .cause = cancel_id(id_str(&job->root), job->ask.run, job->own_id),
    };
}

/* What stands now, for a dry run to say. */
static void note_target(struct cancels *c, struct job *job, const struct tree_run *target)
{
    struct target self = {.root = job->root};
    job->known = target != NULL && was_started(target->state);
    if (id_parse(job->ask.run, &self.run))
        job->record = record_for(job, &self);
    job->record.root = id_str(&job->root);
    job->record.target = job->ask.run;
    if (target == NULL)
        return;
    job->target_state = target->state;
    job->already = (target->flags & RUN_FLAG_BANNED) != 0;
    if (target->ban != NULL && target->ban != target)
        (void)id_parse(target->ban->id, &job->covered_by);
    if (job->already && !take_stored_record(c, job, target->record))
        take_unread_record(job);
}

void answer_counted(struct cancels *c, struct job *job, const struct tally *tally)
{
    struct cancel_result *result = result_of(c, job);
    struct cancels_effect *effect =
        result != NULL && job->ask.ask != 0 ? effect_add(c, CANCELS_DO_ANSWER) : NULL;
    if (effect != NULL) {
        result->counted = true;
        if (tally != NULL)
            result->tally = *tally;
        result->tally.complete = result->tally.complete && job->known;
        effect->ask = job->ask.ask;
        effect->asked = &job->ask;
        effect->result = result;
    }
    job_end(c, job);
}

static void answer_dry_run(struct cancels *c, struct job *job, const struct tree *tree,
                           const struct tree_run *target)
{
    struct tally tally;
    if (target != NULL && job->ask.include_self)
        tally_scope(tree, target, &tally);
    else if (target != NULL)
        tally_below(tree, target, &tally);
    answer_counted(c, job, target != NULL ? &tally : NULL);
}

void refuse_too_many(struct cancels *c, struct job *job, size_t live)
{
    struct buf text = {0};
    buf_addf(&text, "%zu live runs match, more than the %lld expected", live,
             (long long)job->ask.expect_at_most);
    buf_add(&text, "", 1);
    char *kept = text.failed ? NULL : keep_bytes(c, text.len);
    if (kept != NULL)
        memcpy(kept, text.bytes, text.len);
    buf_fini(&text);
    job_refuse(c, job, PROBLEM_TOO_MANY_MATCHED,
               kept != NULL ? kept : "more live runs match than expected");
}

static bool too_many(struct cancels *c, struct job *job, const struct tree *tree,
                     const struct tree_run *target)
{
    if (job->ask.expect_at_most < 0 || job->has_counted || target == NULL)
        return false;
    size_t live = live_below(tree, target);
    if (!job->ask.include_self && run_is_live(target->state))
        live--;
    if ((int64_t)live <= job->ask.expect_at_most)
        return false;
    job->target_state = target->state;
    refuse_too_many(c, job, live);
    return true;
}

void job_looked(struct cancels *c, struct job *job, const struct store_answer *answer)
{
    if (refused_by_server(c, job, answer))
        return;
    const struct tree *tree = answer->tree;
    const struct tree_run *target = tree != NULL ? tree_find(tree, job->ask.run) : NULL;
    if (!is_named(target))
        target = NULL;
    if (target == NULL && job->root_is_a_guess) {
        job->root_is_a_guess = false;
        recent_forget(c, job->ask.run);
        ask_find(c, job);
        return;
    }
    bool may_be_unknown = job->ask.remember_unknown && job->ask.include_self;
    if (target == NULL && !may_be_unknown && !job->forced) {
        job_refuse(c, job, PROBLEM_NOT_FOUND, "nobody has seen this id");
        return;
    }
    if (target != NULL)
        job->target_state = target->state;
    if (too_many(c, job, tree, target))
        return;
    bool is_over = target != NULL && run_is_over(target->state) && target->ban == NULL;
    bool must_count = job->ask.dry_run || job->ask.expect_at_most >= 0;
    if (job->ask.dry_run)
        note_target(c, job, target);
    if (job->ask.dry_run && is_over && !scope_is_open(c, tree, target))
        job_refuse(c, job, PROBLEM_NOT_CANCELABLE, "the run is over and nothing below it lives");
    else if (must_count && !job->has_counted && target != NULL && leads_elsewhere(tree, target))
        count_begin(c, job);
    else if (job->ask.dry_run)
        answer_dry_run(c, job, tree, target);
    else if (!job->ask.include_self && target != NULL)
        children_look(c, job, tree);
    else
        record(c, job);
}

void record_or_look(struct cancels *c, struct job *job)
{
    if (job->ask.include_self)
        record(c, job);
    else
        look(c, job, FOR_LOOK);
}

/* ---- what the script said ----------------------------------------------------------------------
 */
void job_accepted(struct cancels *c, struct job *job)
{
    if (!durable_begin(c, job))
        job_settled(c, job);
}

void job_settled(struct cancels *c, struct job *job)
{
    struct cancel_result *result = result_of(c, job);
    if (result == NULL)
        return;
    struct recent *recent = recent_find(c, job->ask.run);
    bool quiet = job->already && recent != NULL && !instant_reached(c->now, recent->audit_again);
    if (job->already && recent != NULL && !quiet)
        recent->audit_again = instant_after(c->now, RECENT_FOR);
    if (!quiet)
        audit(c, job, result);
    job_link_followed(c, job);
    if (job->over)
        return;

    if (job->ask.wait != WAIT_NONE && job->known && job->ask.ask != 0) {
        wait_begin(c, job);
        return;
    }
    struct cancels_effect *effect = job->ask.ask != 0 ? effect_add(c, CANCELS_DO_ANSWER) : NULL;
    if (effect != NULL) {
        effect->ask = job->ask.ask;
        effect->asked = &job->ask;
        effect->result = result;
    }
    if (job->ask.follow_links && !job->already && c->options.encode_link != NULL)
        look(c, job, FOR_FOLLOW);
    else if (job->calls == 0)
        job_end(c, job);
}

static void take_own_record(struct cancels *c, struct job *job)
{
    struct target target = {.root = job->root};
    if (!id_parse(job->ask.run, &target.run))
        return;
    job->record = record_for(job, &target);
    job->record.root = id_str(&job->root);
    job->record.target = job->ask.run;
    if (job->record.cause.len == 0)
        job->record.cause = cancel_id(job->record.root, job->record.target, job->own_id);

    char *bytes = keep_bytes(c, MESSAGE_MAX_BYTES);
    if (bytes == NULL)
        return;
    size_t len = c->options.encode(&job->record, bytes);
    hold_issued(c, &job->record, (struct str){bytes, len});
}

static void not_found(struct cancels *c, struct job *job)
{
    recent_forget(c, job->ask.run);
    if (job->root_is_a_guess) {
        job->root_is_a_guess = false;
        ask_find(c, job);
    } else if (job->ask.remember_unknown && !job->forced) {
        job->forced = true;
        record(c, job);
    } else {
        job_refuse(c, job, PROBLEM_NOT_FOUND, "nobody has seen this id");
    }
}

/* In a tree of its own, where nobody had seen the id. */
static bool left_a_tombstone(const struct job *job)
{
    return !job->known && str_eq(id_str(&job->root), job->ask.run) && !id_is_minted(job->ask.run);
}

/* A run that began without Redis claims its id and then looks for a tombstone; whoever leaves one
 * looks at the claim behind it. So one of the two sees the other, whatever the order. */
static void look_at_owner(struct cancels *c, struct job *job)
{
    struct store_call call = {.op = STORE_FIND_CLAIM, .id = job->ask.run, .root = job->ask.run};
    call_send(c, (struct call){.purpose = FOR_OWNER, .job = job}, &call);
}

void job_owner_known(struct cancels *c, struct job *job, const struct store_answer *answer)
{
    switch (answer->verdict) {
    case SAID_EXISTS:
        if (str_eq(answer->text, job->ask.run)) {
            job_accepted(c, job);
            break;
        }
        job->forced = false;
        root_is_known(c, job, answer->text);
        break;
    case SAID_OK:
        job_accepted(c, job);
        break;
    default:
        job_refuse(c, job, PROBLEM_UNKNOWN_OUTCOME,
                   "recorded, but not yet where a run of that id would look; safe to repeat");
    }
}

void job_recorded(struct cancels *c, struct job *job, const struct store_answer *answer)
{
    switch (answer->verdict) {
    case SAID_ACCEPTED:
    case SAID_ALREADY:
        job->target_state = answer->state;
        job->known = was_started(answer->state);
        job->already = answer->verdict == SAID_ALREADY;
        if (!id_parse(answer->ban, &job->covered_by) || str_eq(answer->ban, job->ask.run))
            job->covered_by = (struct run_id){""};
        recent_note(c, job->ask.run, id_str(&job->root));
        if (!job->already)
            take_own_record(c, job);
        else if (take_stored_record(c, job, answer->record)) /* who recorded it may not know so */
            hold_issued(c, &job->record, (struct str){job->stored, answer->record.len});
        else
            take_unread_record(job);
        if (left_a_tombstone(job))
            look_at_owner(c, job);
        else
            job_accepted(c, job);
        break;
    case SAID_OVER:
        job->target_state = answer->state;
        look(c, job, FOR_OVER);
        break;
    case SAID_NOT_FOUND:
        not_found(c, job);
        break;
    case SAID_OFFLINE:
        job_refuse(c, job, PROBLEM_UNKNOWN_OUTCOME,
                   "the connection to Redis broke before the answer; safe to repeat");
        break;
    default:
        if (!refused_by_server(c, job, answer))
            job_refuse(c, job, PROBLEM_UNAVAILABLE, "Redis gave an answer that makes no sense");
    }
}

void job_looked_below(struct cancels *c, struct job *job, const struct store_answer *answer)
{
    if (refused_by_server(c, job, answer))
        return;
    const struct tree *tree = answer->tree;
    const struct tree_run *target = tree != NULL ? tree_find(tree, job->ask.run) : NULL;
    if (target == NULL || !scope_is_open(c, tree, target)) {
        job_refuse(c, job, PROBLEM_NOT_CANCELABLE, "the run is over and nothing below it lives");
        return;
    }
    job->even_if_over = true;
    record(c, job);
}
