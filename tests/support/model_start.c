/* start and assert: how a run comes into a tree. */
#include "support/model_inside.h"
#include "wire/message.h"

static struct str id_before(struct str *path)
{
    size_t at = path->len;
    while (at > 0 && path->at[at - 1] != '.')
        at--;
    struct str last = {path->at + at, path->len - at};
    path->len = at > 0 ? at - 1 : 0;
    return last;
}

struct claim { /* the claimed path, taken apart */
    struct str path, parent, grandparent;
    bool is_cut;
    struct str after_cut;
    size_t depth; /* of the run itself */
};

static struct claim claim_of(struct str path)
{
    struct claim claim = {.path = path, .depth = 1};
    struct str rest = path;
    claim.parent = id_before(&rest);
    claim.grandparent = rest.len > 0 ? id_before(&rest) : STR_NONE;
    for (size_t i = 0; i + 1 < path.len && !claim.is_cut; i++) {
        claim.is_cut = path.at[i] == '.' && path.at[i + 1] == '.';
        if (claim.is_cut) {
            struct str behind = {path.at + i + 2, path.len - i - 2};
            claim.after_cut = str_cut(&behind, '.');
        }
    }
    for (rest = path; rest.len > 0;)
        claim.depth += id_before(&rest).len > 0 ? 1 : 0;
    return claim;
}

static bool is_never(const struct model_run *run)
{
    return run->state == RUN_NEVER;
}

static const struct model_run *parent_of(const struct model_tree *tree, const struct claim *claim)
{
    return claim->parent.len > 0 ? model_run_find(tree, claim->parent) : NULL;
}

/* Ids nobody has stored hang where they are claimed to be; so does a tombstone that knew no parent.
 */
static void suppose(const struct model_tree *tree, const struct claim *claim,
                    struct supposition *out)
{
    struct str rest = claim->path, above = STR_NONE;
    while (rest.len > 0) {
        struct str id = str_cut(&rest, '.');
        if (id.len == 0)
            continue;
        const struct model_run *run = model_run_find(tree, id);
        bool is_loose = run != NULL && is_never(run) && run->parent.len == 0 && above.len > 0;
        if ((run == NULL || is_loose) && out->count < PATH_MAX_IDS)
            out->item[out->count++] =
                (struct supposed){.id = id, .parent = above, .flags = is_loose ? run->flags : 0};
        above = id;
    }
}

struct draft {
    struct supposition supposed; /* the run itself comes last */
    uint32_t flags, parent_epoch, children;
};

static void draft_run(const struct model_tree *tree, const struct claim *claim,
                      const struct store_call *call, bool existed, struct draft *out)
{
    const struct model_run *parent = parent_of(tree, claim), *had = model_run_find(tree, call->run);
    const struct model_run *hidden = claim->is_cut ? model_run_find(tree, claim->after_cut) : NULL;
    *out = (struct draft){.flags = call->flags & RUN_FLAGS_POLICY};
    if (claim->is_cut && (hidden == NULL || is_never(hidden)))
        out->flags |= RUN_FLAG_UNPROTECTED;
    if (claim->parent.len > 0 && (parent == NULL || is_never(parent)))
        suppose(tree, claim, &out->supposed);
    else if (parent != NULL && run_is_over(parent->state))
        out->flags |= RUN_FLAG_ORPHAN;
    if (!existed && claim->path.len > 0)
        out->flags |= RUN_FLAG_PARENT_GONE;
    if (had != NULL && model_has(had, RUN_FLAG_BANNED))
        out->flags |= RUN_FLAG_BANNED;
    out->parent_epoch = parent != NULL ? parent->epoch : 0;
    out->children = had != NULL ? had->children : 0;
    out->supposed.item[out->supposed.count++] = (struct supposed){
        .id = call->run,
        .parent = claim->parent,
        .flags = out->flags,
        .parent_epoch = out->parent_epoch,
    };
}

/* 0: none */
static int64_t deadline_at(const struct model *model, const struct model_tree *tree,
                           const struct claim *claim, struct span span)
{
    const struct model_run *parent = parent_of(tree, claim);
    int64_t above = parent != NULL ? parent->deadline : 0;
    int64_t own = span.ms >= 0 ? model->now + span.ms : 0;
    if (span.ms < 0)
        return above;
    return above != 0 && above < own ? above : own;
}

static int64_t time_left(const struct model *model, int64_t deadline)
{
    if (deadline == 0)
        return 0;
    return deadline - model->now > 0 ? deadline - model->now : 1;
}

static void write_supposed(struct model *model, struct model_tree *tree,
                           const struct supposition *supposed)
{
    for (size_t i = 0; i + 1 < supposed->count; i++) {
        struct model_run *run = model_run_make(model, tree, supposed->item[i].id);
        run->parent = pool_keep(model, supposed->item[i].parent);
    }
}

static struct model_run *enter(struct model *model, struct model_tree *tree,
                               const struct claim *claim, const struct store_call *call,
                               const struct draft *draft, uint32_t epoch)
{
    int64_t deadline = deadline_at(model, tree, claim, call->deadline);
    write_supposed(model, tree, &draft->supposed);
    if (claim->parent.len > 0)
        model_run_make(model, tree, claim->parent)->children++;
    struct model_run *run = model_run_make(model, tree, call->run);
    run->state = RUN_RUNNING;
    run->epoch = epoch;
    run->flags = draft->flags;
    run->incarnation = pool_keep(model, call->incarnation);
    run->owner = pool_keep(model, call->replica);
    run->parent = pool_keep(model, claim->parent);
    run->parent_epoch = draft->parent_epoch;
    run->has_meta = true;
    run->meta = pool_keep(model, call->meta);
    run->deadline = deadline != 0 ? deadline : run->deadline;
    model_lives_again(tree);
    return run;
}

/* A tombstone that the caller found elsewhere. */
static void bury(struct model *model, const struct store_call *call)
{
    if (call->tombstone_id.len == 0)
        return;
    const struct model_run *known =
        model_run_find(model_tree_find(model, call->root), call->tombstone_id);
    if (known != NULL && model_has(known, RUN_FLAG_BANNED))
        return;
    struct model_tree *tree = model_tree_make(model, call->root);
    struct model_run *run = model_run_make(model, tree, call->tombstone_id);
    model_stop(run);
    model_ban(model, tree, run, call->tombstone);
    model_commit(model, tree);
    model_publish(model, call->root, false, call->tombstone);
}

static struct str path_to_tell(struct model *model, const struct model_tree *tree,
                               const struct model_run *run, const struct claim *claim)
{
    const struct model_run *parent = parent_of(tree, claim);
    bool as_claimed = str_eq(run->parent, claim->parent) && !claim->is_cut
                      && (parent == NULL || str_eq(parent->parent, claim->grandparent));
    return as_claimed ? STR_NONE : model_path(model, tree, NULL, run->id);
}

static void set_ban(struct store_answer *out, const struct model_tree *tree,
                    const struct bans *bans)
{
    out->ban = bans->count > 0 ? bans->id[0] : STR_NONE;
    out->record = model_record_of(tree, out->ban);
}

static void say_over(struct store_answer *out, const struct model_tree *tree,
                     const struct model_run *run, const struct bans *bans)
{
    *out = (struct store_answer){.verdict = SAID_OVER,
                                 .state = run->state,
                                 .epoch = run->epoch,
                                 .finished_anyway = run->finished};
    set_ban(out, tree, bans);
}

static void revive(struct model_tree *tree, struct model_run *run)
{
    run->state = RUN_RUNNING;
    run->finished = RUN_NONE;
    run->flags &= ~(uint32_t)(RUN_FLAGS_PHASES | RUN_FLAG_FROZEN | RUN_FLAG_SUSPECT);
    model_lives_again(tree);
}

static void take_over(struct model *model, struct model_tree *tree, struct model_run *run,
                      const struct store_call *call)
{
    run->epoch++;
    run->incarnation = pool_keep(model, call->incarnation);
    run->owner = pool_keep(model, call->replica);
    run->flags &= ~(uint32_t)(RUN_FLAGS_POLICY | RUN_FLAG_LATE);
    run->flags |= (call->flags & RUN_FLAGS_POLICY) | RUN_FLAG_LOST_TAKEOVER;
    if (call->meta.len > 0) {
        run->has_meta = true;
        run->meta = pool_keep(model, call->meta);
    }
    revive(tree, run);
}

static bool waits_for_takeover(const struct model_run *run, const struct bans *bans)
{
    return run->state == RUN_LOST && model_has(run, RUN_FLAG_LOST_TAKEOVER) && bans->count == 0;
}

static void start_again(struct model *model, struct model_tree *tree, struct model_run *run,
                        const struct claim *claim, const struct store_call *call,
                        struct store_answer *out)
{
    if (call->deadline.ms >= 0)
        run->deadline = deadline_at(model, tree, claim, call->deadline);
    take_over(model, tree, run, call);
    *out = (struct store_answer){.verdict = SAID_STARTED, .epoch = run->epoch, .flags = run->flags};
    out->path = path_to_tell(model, tree, run, claim);
    out->deadline_ms = time_left(model, run->deadline);
}

static void start_standing(struct model *model, struct model_tree *tree, struct model_run *run,
                           const struct claim *claim, const struct store_call *call,
                           struct store_answer *out)
{
    struct bans bans;
    model_bans(tree, NULL, call->run, call->path, &bans);
    bool is_same = str_eq(run->incarnation, call->incarnation);
    if (is_same && model_may_return(run)) {
        revive(tree, run);
        if (bans.count > 0)
            model_stop(run);
    }
    if (is_same && run_is_live(run->state)) {
        run->owner = pool_keep(model, call->replica);
        run->flags &= ~(uint32_t)RUN_FLAG_SUSPECT;
        *out = (struct store_answer){.verdict = SAID_ALREADY,
                                     .state = run->state,
                                     .epoch = run->epoch,
                                     .flags = run->flags,
                                     .path = path_to_tell(model, tree, run, claim),
                                     .deadline_ms = time_left(model, run->deadline)};
        set_ban(out, tree, &bans);
    } else if (run_is_live(run->state)) {
        *out = (struct store_answer){.verdict = SAID_EXISTS,
                                     .state = run->state,
                                     .epoch = run->epoch,
                                     .incarnation = run->incarnation,
                                     .owner = run->owner};
    } else if (!is_same && waits_for_takeover(run, &bans)) {
        start_again(model, tree, run, claim, call, out);
    } else {
        say_over(out, tree, run, &bans);
    }
}

/* A cancelled run is not retried; one that failed or was lost is. */
static void bans_of_retried(const struct model_tree *tree, struct str retry_of, struct bans *out)
{
    struct cancel_record record;
    model_bans(tree, NULL, retry_of, STR_NONE, out);
    if (out->count == 0 || !str_eq(out->id[0], retry_of)
        || wire_record_decode(model_record_of(tree, retry_of), &record) != ERR_OK)
        return;
    if (str_is(record.reason, "parent_ended") || str_is(record.reason, "lost")) {
        out->count--;
        memmove(&out->id[0], &out->id[1], out->count * sizeof out->id[0]);
    }
}

static const char *what_is_full(struct model *model, const struct model_tree *tree,
                                const struct claim *claim, const struct store_call *call,
                                const struct draft *draft)
{
    const struct model_run *parent = parent_of(tree, claim);
    if ((tree != NULL ? tree->n : 0) >= call->max_runs)
        return "runs";
    if (claim->parent.len > 0 && (parent != NULL ? parent->children : 0) >= call->max_children)
        return "children";
    bool is_loose = parent != NULL && is_never(parent) && parent->parent.len == 0;
    bool as_claimed = !claim->is_cut
                      && (parent == NULL || is_loose || str_eq(parent->parent, claim->grandparent));
    struct str whole = as_claimed ? STR_NONE : model_path(model, tree, &draft->supposed, call->run);
    size_t depth = as_claimed ? claim->depth : 0;
    while (whole.len > 0)
        depth += id_before(&whole).len > 0 ? 1 : 0;
    return depth > PATH_MAX_IDS ? "path" : NULL;
}

void model_start(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct claim claim = claim_of(call->path);
    bool existed = model_tree_find(model, call->root) != NULL;
    bury(model, call);
    struct model_tree *tree = model_tree_find(model, call->root);
    struct model_run *run = model_run_find(tree, call->run);
    if (run != NULL && !is_never(run)) {
        start_standing(model, tree, run, &claim, call, out);
        return;
    }
    struct draft draft;
    struct bans bans = {0};
    draft_run(tree, &claim, call, existed, &draft);
    if (run != NULL)
        model_bans(tree, NULL, call->run, STR_NONE, &bans);
    if (bans.count == 0)
        model_bans(tree, &draft.supposed, call->run, call->path, &bans);
    if (bans.count == 0 && call->retry_of.len > 0)
        bans_of_retried(tree, call->retry_of, &bans);
    if (bans.count > 0 && !(draft.flags & RUN_FLAG_OBSERVE)) {
        *out = (struct store_answer){.verdict = SAID_REFUSED};
        set_ban(out, tree, &bans);
        return;
    }
    const char *full = what_is_full(model, tree, &claim, call, &draft);
    if (full != NULL) {
        *out = (struct store_answer){.verdict = SAID_FULL, .text = str_of(full)};
        return;
    }
    tree = model_tree_make(model, call->root);
    run = enter(model, tree, &claim, call, &draft, 1);
    *out = (struct store_answer){.verdict = SAID_STARTED, .epoch = 1, .flags = run->flags};
    out->path = path_to_tell(model, tree, run, &claim);
    out->deadline_ms = time_left(model, deadline_at(model, tree, &claim, call->deadline));
    set_ban(out, tree, &bans);
}

/* ---- assert --------------------------------------------------------------------------------- */
static void settle(struct model *model, const struct model_tree *tree, struct model_run *run,
                   const struct claim *claim, const struct bans *bans, struct store_answer *out)
{
    if (bans->count > 0)
        model_stop(run);
    *out = (struct store_answer){
        .verdict = bans->count > 0 ? SAID_STOP : SAID_ADOPTED,
        .epoch = run->epoch,
        .flags = run->flags,
        .path = path_to_tell(model, tree, run, claim),
        .deadline_ms = time_left(model, run->deadline),
    };
    set_ban(out, tree, bans);
}

static bool is_authorized(const struct model_run *run, struct str token_hash)
{
    struct run_meta meta;
    return token_hash.len == 0
           || (run->has_meta && wire_meta_decode(run->meta, &meta) == ERR_OK
               && str_eq(meta.token_hash, token_hash));
}

static void hold(struct model *model, struct model_run *run, const struct store_call *call)
{
    run->incarnation = pool_keep(model, call->incarnation);
    run->owner = pool_keep(model, call->replica);
    run->flags &= ~(uint32_t)RUN_FLAG_SUSPECT;
}

static void say_fenced(struct store_answer *out, const struct model_run *run)
{
    *out = (struct store_answer){.verdict = SAID_FENCED, .epoch = run->epoch, .owner = run->owner};
}

static void adopt(struct model *model, struct model_tree *tree, struct model_run *run,
                  const struct claim *claim, const struct store_call *call,
                  struct store_answer *out)
{
    struct bans bans;
    *out = (struct store_answer){.verdict = SAID_UNKNOWN};
    if (run == NULL || is_never(run))
        return;
    model_bans(tree, NULL, call->run, call->path, &bans);
    bool again = waits_for_takeover(run, &bans);
    if (!run_is_live(run->state) && !again) {
        say_over(out, tree, run, &bans);
        return;
    }
    bool is_mine = run_is_live(run->state) && str_eq(run->incarnation, call->incarnation);
    if (run->epoch != call->epoch && !is_mine) {
        say_fenced(out, run);
        return;
    }
    if (!is_authorized(run, call->token_hash)) {
        *out = (struct store_answer){.verdict = SAID_UNAUTHORIZED};
        return;
    }
    if (again)
        take_over(model, tree, run, call);
    else if (!is_mine)
        run->epoch++;
    hold(model, run, call);
    settle(model, tree, run, claim, &bans, out);
}

static void come_back(struct model *model, struct model_tree *tree, struct model_run *run,
                      const struct claim *claim, const struct store_call *call,
                      struct store_answer *out)
{
    struct bans bans;
    model_bans(tree, NULL, call->run, call->path, &bans);
    if (waits_for_takeover(run, &bans) && run->epoch < call->epoch)
        take_over(model, tree, run, call); /* it had been, and that was forgotten */
    bool is_mine = str_eq(run->incarnation, call->incarnation);
    if (run->state == RUN_LOST && !is_mine && run->epoch == call->epoch) {
        say_fenced(out, run);
        return;
    }
    if (run_is_over(run->state) && !(is_mine && model_may_return(run))) {
        say_over(out, tree, run, &bans);
        return;
    }
    if (run_is_over(run->state)) {
        revive(tree, run);
    } else if (!is_mine && run->epoch >= call->epoch) {
        say_fenced(out, run);
        return;
    }
    run->epoch = run->epoch > call->epoch ? run->epoch : call->epoch;
    hold(model, run, call);
    if (bans.count > 0 && run->state == RUN_RUNNING)
        run->flags |= RUN_FLAG_LATE;
    settle(model, tree, run, claim, &bans, out);
}

void model_assert(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct claim claim = claim_of(call->path);
    bool existed = model_tree_find(model, call->root) != NULL;
    bury(model, call);
    struct model_tree *tree = model_tree_find(model, call->root);
    struct model_run *run = model_run_find(tree, call->run);
    if (call->adopt) {
        adopt(model, tree, run, &claim, call, out);
        return;
    }
    if (run != NULL && !is_never(run)) {
        come_back(model, tree, run, &claim, call, out);
        return;
    }
    struct draft draft;
    struct bans bans = {0};
    draft_run(tree, &claim, call, existed, &draft);
    if (run != NULL)
        model_bans(tree, NULL, call->run, STR_NONE, &bans);
    if (bans.count == 0)
        model_bans(tree, &draft.supposed, call->run, call->path, &bans);
    if (bans.count > 0)
        draft.flags |= RUN_FLAG_LATE;
    tree = model_tree_make(model, call->root);
    run = enter(model, tree, &claim, call, &draft, call->epoch);
    settle(model, tree, run, &claim, &bans, out);
}
