#include <assert.h>

#include "core/cancels_inside.h"

/* Waiting: subscribe first, then read the tree, read it again on every hint and every second. The
 * trees of links that were acknowledged are waited for as well. What was read last is kept, so that
 * a wait whose time is over still answers with counts. */

enum { RUNS_PER_MS = 100 }; /* a tree of 10,000 runs is read at most every 100 ms */

/* ---- lookouts ----------------------------------------------------------------------------------
 */
static struct lookout *lookout_of(struct cancels *c, const struct run_id *root)
{
    struct lookout *lookout = map_find(&c->lookouts, id_str(root));
    if (lookout != NULL)
        return lookout;
    lookout = mem_new(sizeof *lookout);
    if (lookout == NULL)
        return NULL;
    *lookout = (struct lookout){.root = *root, .next = c->now};
    list_init(&lookout->scopes);
    struct cancels_effect *effect = NULL;
    if (map_add(&c->lookouts, id_str(&lookout->root), lookout))
        effect = effect_add(c, CANCELS_DO_WATCH);
    if (effect == NULL) {
        map_take(&c->lookouts, id_str(&lookout->root));
        mem_free(lookout);
        return NULL;
    }
    effect->root = id_str(&lookout->root);
    return lookout;
}

static void lookout_drop_if_idle(struct cancels *c, struct lookout *lookout)
{
    if (lookout->reading || !list_is_empty(&lookout->scopes))
        return;
    struct str root = text_str(c, id_str(&lookout->root));
    struct cancels_effect *effect = effect_add(c, CANCELS_DO_UNWATCH);
    if (effect != NULL)
        effect->root = root;
    map_take(&c->lookouts, id_str(&lookout->root));
    mem_free(lookout);
}

void lookout_read(struct cancels *c, struct lookout *lookout)
{
    if (lookout->reading) {
        lookout->again = true;
    } else if (!instant_reached(c->now, lookout->not_before)) {
        lookout->next = instant_first(lookout->next, lookout->not_before);
        wake_at(c, lookout->next);
    } else {
        struct store_call call = {.op = STORE_TREE, .root = id_str(&lookout->root)};
        lookout->reading =
            call_send(c, (struct call){.purpose = FOR_TREE, .lookout = lookout}, &call);
        lookout->next = instant_after(c->now, READ_AGAIN_EVERY);
        wake_at(c, lookout->next);
    }
}

/* ---- scopes ------------------------------------------------------------------------------------
 */
static struct scope *scope_find(const struct job *job, const struct run_id *root)
{
    LIST_EACH (at, then, &job->scopes) {
        struct scope *scope = LIST_OWNER(at, struct scope, in_job);
        if (id_eq(&scope->lookout->root, root))
            return scope;
    }
    return NULL;
}

static struct scope *scope_new(struct cancels *c, struct job *job, const struct run_id *root)
{
    if (job->scope_count == SCOPES_MAX)
        return NULL;
    struct scope *scope = mem_new(sizeof *scope);
    struct lookout *lookout = scope != NULL ? lookout_of(c, root) : NULL;
    if (lookout == NULL) {
        mem_free(scope);
        return NULL;
    }
    scope->job = job;
    scope->lookout = lookout;
    scope->linked = !id_eq(root, &job->root);
    list_add_last(&job->scopes, &scope->in_job);
    list_add_last(&lookout->scopes, &scope->in_lookout);
    job->scope_count++;
    return scope;
}

static bool has_target(const struct scope *scope, const struct run_id *run)
{
    for (size_t i = 0; scope != NULL && i < scope->target_count; i++)
        if (id_eq(&scope->target[i], run))
            return true;
    return false;
}

/* A target that the job did not have; its tree must be read again. NULL: no room. */
static struct scope *scope_add(struct cancels *c, struct job *job, const struct target *target)
{
    struct scope *scope = scope_find(job, &target->root);
    if (scope == NULL)
        scope = scope_new(c, job, &target->root);
    if (scope == NULL || scope->target_count == CHILDREN_MAX)
        return NULL;
    void *grown = scope->target;
    if (!mem_grow(&grown, &scope->target_room, sizeof *scope->target, scope->target_count + 1))
        return NULL;
    scope->target = grown;
    scope->target[scope->target_count++] = target->run;
    scope->read = false;
    return scope;
}

void scopes_release(struct cancels *c, struct job *job)
{
    LIST_EACH (at, then, &job->scopes) {
        struct scope *scope = LIST_OWNER(at, struct scope, in_job);
        link_remove(&scope->in_lookout);
        lookout_drop_if_idle(c, scope->lookout);
        scope->lookout = NULL;
    }
}

void scopes_free(struct job *job)
{
    LIST_EACH (at, then, &job->scopes) {
        struct scope *scope = LIST_OWNER(at, struct scope, in_job);
        mem_free(scope->target);
        mem_free(scope->names);
        mem_free(scope);
    }
}

/* ---- tallies of several scopes ------------------------------------------------------------- */
static struct tally_names *names_of(struct tally *tally, int which)
{
    struct tally_names *const all[] = {
        &tally->stopped,  &tally->pending,  &tally->unresponsive,
        &tally->suspect,  &tally->lost,     &tally->finished_anyway,
        &tally->observed, &tally->isolated, NULL,
    };
    return all[which];
}

static void names_add(struct tally_names *into, const struct tally_names *from)
{
    size_t named = from->count < TALLY_NAMES_MAX ? from->count : TALLY_NAMES_MAX;
    for (size_t i = 0; i < named && into->count + i < TALLY_NAMES_MAX; i++)
        into->name[into->count + i] = from->name[i];
    into->count += from->count;
}

/* One replica may hold runs of several trees. */
static void names_join(struct tally_names *into, const struct tally_names *from)
{
    for (size_t i = 0; i < from->count; i++) {
        bool is_known = false;
        for (size_t k = 0; k < into->count; k++)
            is_known = is_known || str_eq(into->name[k], from->name[i]);
        if (!is_known && into->count < TALLY_NAMES_MAX)
            into->name[into->count++] = from->name[i];
    }
}

static void tally_add(struct tally *sum, struct tally *more)
{
    sum->runs += more->runs;
    sum->requested += more->requested;
    sum->delivered += more->delivered;
    sum->acknowledged += more->acknowledged;
    sum->finished_before += more->finished_before;
    sum->links += more->links;
    sum->links_acknowledged += more->links_acknowledged;
    sum->all_delivered = sum->all_delivered && more->all_delivered;
    sum->complete = sum->complete && more->complete;
    struct tally_names *into;
    for (int which = 0; (into = names_of(sum, which)) != NULL; which++) {
        if (into == &sum->isolated)
            names_join(into, &more->isolated);
        else
            names_add(into, names_of(more, which));
    }
}

/* The names are the tree's, which goes away: keep our own. Without memory, counts alone. */
static void keep_names(struct scope *scope)
{
    struct tally_names *names;
    char *at = mem_new((size_t)8 * TALLY_NAMES_MAX * RUN_ID_MAX);
    mem_free(scope->names);
    scope->names = at;
    for (int which = 0; (names = names_of(&scope->tally, which)) != NULL; which++) {
        for (size_t i = 0; i < names->count && i < TALLY_NAMES_MAX; i++) {
            size_t len = at != NULL && names->name[i].len <= RUN_ID_MAX ? names->name[i].len : 0;
            if (len > 0)
                memcpy(at, names->name[i].at, len);
            names->name[i] = (struct str){at, len};
            at += len;
        }
    }
}

/* ---- what was read -----------------------------------------------------------------------------
 */
static void mark_targets(const struct scope *scope, const struct tree *tree)
{
    tree_unmark(tree);
    for (size_t i = 0; i < scope->target_count; i++)
        tree_mark(tree, id_str(&scope->target[i]));
}

/* May add targets, of this very tree, too. */
static void find_links(struct cancels *c, struct scope *scope, const struct tree *tree)
{
    for (size_t i = 0; i < tree->link_count; i++) {
        struct target to;
        if (!(tree->link[i].acknowledged || scope->job->counts) || !link_target(&tree->link[i], &to)
            || !tree_is_marked(tree->link[i].from))
            continue;
        if (has_target(scope_find(scope->job, &to.root), &to.run))
            continue;
        struct scope *far = scope_add(c, scope->job, &to);
        if (far == NULL)
            scope->job->overlooks = true;
        else if (far != scope)
            lookout_read(c, far->lookout);
    }
}

static bool has_all_targets(const struct scope *scope, const struct tree *tree)
{
    for (size_t i = 0; i < scope->target_count; i++)
        if (tree_find(tree, id_str(&scope->target[i])) == NULL)
            return false;
    return true;
}

/* A count of what is below a run leaves out the run. */
static const struct tree_run *spared(const struct scope *scope, const struct tree *tree)
{
    const struct job *job = scope->job;
    bool spares = job->counts && !job->ask.include_self && !scope->linked;
    return spares ? tree_find(tree, job->ask.run) : NULL;
}

static void scope_take(struct cancels *c, struct scope *scope, const struct tree *tree)
{
    size_t known;
    do {
        known = scope->target_count;
        mark_targets(scope, tree);
        find_links(c, scope, tree);
    } while (scope->target_count > known);
    tally_marked(tree, spared(scope, tree), &scope->tally);
    scope->tally.complete =
        scope->tally.complete && (scope->linked || has_all_targets(scope, tree));
    scope->read = true;
    keep_names(scope);
    if (!scope->linked && scope->job->ask.follow_links && !scope->job->counts)
        job_links_follow(c, scope->job, tree);
}

static void ripen(struct cancels *c, struct job *job)
{
    if (!link_is_in_list(&job->in_ripe))
        list_add_last(&c->ripe, &job->in_ripe);
}

static void hand_out(struct cancels *c, struct lookout *lookout, const struct tree *tree)
{
    static const struct tree nothing; /* the key is gone */
    LIST_EACH (at, then, &lookout->scopes) {
        struct scope *scope = LIST_OWNER(at, struct scope, in_lookout);
        scope_take(c, scope, tree != NULL ? tree : &nothing);
        ripen(c, scope->job);
    }
}

static void counts_fail(struct cancels *c, struct lookout *lookout)
{
    LIST_EACH (at, then, &lookout->scopes) {
        struct job *job = LIST_OWNER(at, struct scope, in_lookout)->job;
        job->unreadable = job->counts;
        if (job->counts)
            ripen(c, job);
    }
}

void lookout_answered(struct cancels *c, struct lookout *lookout, const struct store_answer *answer)
{
    lookout->reading = false;
    if (answer->verdict == SAID_OK || answer->verdict == SAID_NOT_FOUND) {
        size_t runs = answer->tree != NULL ? answer->tree->run_count : 0;
        lookout->not_before = instant_after(c->now, MILLIS(runs / RUNS_PER_MS));
        hand_out(c, lookout, answer->tree);
    } else {
        lookout->again = false; /* LINK_UP or the next second tries again */
        counts_fail(c, lookout);
    }
    if (lookout->again && !list_is_empty(&lookout->scopes)) {
        lookout->again = false;
        lookout_read(c, lookout);
    }
    lookout_drop_if_idle(c, lookout);
}

/* ---- the answer --------------------------------------------------------------------------------
 */
static bool is_awaited(const struct cancels *c, const struct job *job)
{
    if (!loss_is_settled(c) || job->overlooks)
        return false;
    LIST_EACH (at, then, &job->scopes) {
        const struct scope *scope = LIST_OWNER(at, struct scope, in_job);
        if (!scope->read)
            return false;
        if (job->ask.wait == WAIT_DELIVERED ? !scope->tally.all_delivered : !scope->tally.complete)
            return false;
    }
    return true;
}

bool tally_of_scopes(const struct job *job, struct tally *sum)
{
    bool home_was_read = true;
    LIST_EACH (at, then, &job->scopes) {
        struct scope *scope = LIST_OWNER(at, struct scope, in_job);
        if (!scope->read && !scope->linked)
            home_was_read = false;
        if (!scope->read)
            sum->all_delivered = sum->complete = false;
        else
            tally_add(sum, &scope->tally);
    }
    return home_was_read;
}

static void answer_wait(struct cancels *c, struct job *job, bool awaited)
{
    struct cancel_result *result = result_of(c, job);
    struct cancels_effect *effect =
        result != NULL && job->ask.ask != 0 ? effect_add(c, CANCELS_DO_ANSWER) : NULL;
    if (effect == NULL) {
        job_end(c, job);
        return;
    }
    result->awaited = awaited;
    result->tally = (struct tally){.all_delivered = !job->overlooks,
                                   .complete = loss_is_settled(c) && !job->overlooks};
    result->counted = tally_of_scopes(job, &result->tally);
    result->unconfirmed = replicas_unconfirmed(c, &result->unconfirmed_count);
    effect->ask = job->ask.ask;
    effect->asked = &job->ask;
    effect->result = result;
    job_end(c, job);
}

void answer_the_ripe(struct cancels *c)
{
    while (!list_is_empty(&c->ripe)) {
        struct job *job = LIST_OWNER(c->ripe.head.next, struct job, in_ripe);
        link_remove(&job->in_ripe);
        if (job->counts)
            count_read(c, job);
        else if (is_awaited(c, job))
            answer_wait(c, job, true);
    }
}

void wait_give_up(struct cancels *c, struct job *job)
{
    if (job->counts)
        count_give_up(c, job);
    else
        answer_wait(c, job, is_awaited(c, job));
}

void scopes_drop(struct cancels *c, struct job *job)
{
    scopes_release(c, job);
    scopes_free(job);
    list_init(&job->scopes);
    job->scope_count = 0;
    link_remove(&job->in_waiting);
    link_remove(&job->in_ripe);
}

void scopes_begin(struct cancels *c, struct job *job)
{
    struct span timeout = job->ask.timeout.ms > 0 ? job->ask.timeout : TIMEOUT_DEFAULT;
    if (timeout.ms > TIMEOUT_MAX.ms)
        timeout = TIMEOUT_MAX;
    job->due = instant_after(c->now, timeout);
    wake_at(c, job->due);
    list_add_last(&c->waiting, &job->in_waiting);

    struct target self = {.root = job->root};
    if ((job->ask.include_self || job->counts) && id_parse(job->ask.run, &self.run))
        job->overlooks = scope_add(c, job, &self) == NULL;
    for (size_t i = 0; i < job->child_count; i++)
        if (scope_add(c, job, &job->child[i]) == NULL)
            job->overlooks = true;
    LIST_EACH (at, then, &job->scopes)
        lookout_read(c, LIST_OWNER(at, struct scope, in_job)->lookout);
    if (job->scope_count == 0)
        ripen(c, job);
}

void wait_begin(struct cancels *c, struct job *job)
{
    job->waits = true;
    replicas_refresh(c);
    scopes_begin(c, job);
}
