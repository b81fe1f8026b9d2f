#include "core/broker_inside.h"

/* Over all roots, shard by shard: what was cancelled and has not stopped is published again, links
 * that nobody carried are followed, and roots whose key has expired leave the list. Roots without a
 * ban cost one small read; those whose cancels are done are not looked at again until they change.
 */

enum {
    LISTED_BEFORE_STARTED_MS = 60 * 1000
}; /* a root is listed a moment before its key is there */

/* ---- what is known of a root --------------------------------------------------------------------
 */
static void seen_drop(struct broker *b, struct root_seen *seen)
{
    map_take(&b->seen, id_str(&seen->root));
    link_remove(&seen->by_age);
    mem_free(seen);
}

void walk_forget(struct broker *b)
{
    LIST_EACH (at, then, &b->seen_by_age)
        seen_drop(b, LIST_OWNER(at, struct root_seen, by_age));
}

static struct root_seen *seen_of(struct broker *b, const struct run_id *root)
{
    struct root_seen *seen = map_find(&b->seen, id_str(root));
    if (seen != NULL)
        return seen;
    if (b->seen.count == ROOTS_KNOWN_MAX)
        seen_drop(b, LIST_OWNER(b->seen_by_age.head.next, struct root_seen, by_age));
    seen = mem_new(sizeof *seen);
    if (seen == NULL)
        return NULL;
    seen->root = *root;
    if (!map_add(&b->seen, id_str(&seen->root), seen)) {
        mem_free(seen);
        return NULL;
    }
    list_add_last(&b->seen_by_age, &seen->by_age);
    return seen;
}

static bool is_wanted(const struct broker *b, const struct walked_root *root)
{
    const struct root_seen *seen = map_find(&b->seen, id_str(&root->root));
    if (root->bans == 0)
        return false;
    if (seen == NULL || seen->live != root->live || seen->bans != root->bans)
        return seen == NULL || instant_reached(b->now, seen->next);
    return !seen->settled && instant_reached(b->now, seen->next);
}

/* ---- shards ------------------------------------------------------------------------------------
 */
static void read_shard(struct broker *b)
{
    struct store_call call = {
        .op = STORE_ROOTS_READ,
        .shard = b->shard,
        .number = b->from_score,
        .limit = (uint32_t)b->options.roots_per_sweep,
    };
    broker_call(b, (struct broker_call){.purpose = FOR_ROOTS}, &call);
}

void walk_begin(struct broker *b)
{
    if (b->walking || !instant_reached(b->now, b->next_round))
        return;
    b->walking = true;
    b->walked = 0;
    read_shard(b);
}

static void shard_done(struct broker *b)
{
    if (b->shard == 0 && b->from_score == 0) {
        b->walking = false;
        b->next_round = instant_after(b->now, MILLIS(b->options.retransmit_every.ms / 2));
    } else if (b->walked >= b->options.roots_per_sweep) {
        b->walking = false; /* the next sweep goes on */
    } else {
        read_shard(b);
    }
}

static void read_next_tree(struct broker *b)
{
    for (; b->roots_at < b->roots_count; b->roots_at++) {
        const struct walked_root *root = &b->roots[b->roots_at];
        struct store_call call = {.op = STORE_TREE, .root = id_str(&root->root)};
        if (root->wanted && broker_call(b, (struct broker_call){.purpose = FOR_BANNED}, &call))
            return;
    }
    shard_done(b);
}

/* Where the next read goes on: many roots may have started in the same millisecond. */
static void advance(struct broker *b, const struct store_answer *answer)
{
    if (answer->list_count < b->options.roots_per_sweep || answer->score == NULL) {
        b->shard = (b->shard + 1) % ROOT_SHARDS;
        b->from_score = 0;
        return;
    }
    int64_t last = answer->score[answer->list_count - 1];
    b->from_score = last > b->from_score ? last : b->from_score + 1;
}

static void roots_known(struct broker *b, const struct store_answer *answer)
{
    void *grown = b->roots;
    b->roots_count = b->roots_at = 0;
    advance(b, answer);
    if (!mem_grow(&grown, &b->roots_room, sizeof *b->roots, answer->list_count)) {
        b->walking = false;
        return;
    }
    b->roots = grown;
    for (size_t i = 0; i < answer->list_count; i++) {
        struct walked_root *root = &b->roots[b->roots_count];
        *root = (struct walked_root){.started_ms = answer->score != NULL ? answer->score[i] : 0};
        if (!id_parse(answer->list[i], &root->root))
            continue;
        struct store_call call = {.op = STORE_ROOT_COUNTS, .root = id_str(&root->root)};
        struct broker_call about = {.purpose = FOR_COUNTS, .index = b->roots_count};
        if (broker_call(b, about, &call)) {
            b->roots_count++;
            b->counts_asked++;
        }
    }
    b->walked += answer->list_count;
    if (b->counts_asked == 0)
        shard_done(b);
}

static void counts_known(struct broker *b, size_t index, const struct store_answer *answer)
{
    struct walked_root *root = &b->roots[index];
    int64_t redis_now = b->wall.ms + b->redis_ahead_ms;
    if (answer->verdict == SAID_OK) {
        root->live = answer->number;
        root->bans = answer->epoch;
        root->wanted = is_wanted(b, root);
    } else if (redis_now - root->started_ms > LISTED_BEFORE_STARTED_MS) {
        struct store_call call = {.op = STORE_ROOT_DROP, .root = id_str(&root->root)};
        broker_call(b, (struct broker_call){.purpose = FOR_NOTHING}, &call);
        struct root_seen *seen = map_find(&b->seen, id_str(&root->root));
        if (seen != NULL)
            seen_drop(b, seen);
    }
    if (--b->counts_asked == 0)
        read_next_tree(b);
}

/* ---- cancels of ours: links and deadlines ------------------------------------------------------
 */
static struct str ask_key(const uint64_t *ask)
{
    return (struct str){(const char *)ask, sizeof *ask};
}

static void following_free(struct broker *b, struct following *following)
{
    map_take(&b->following, ask_key(&following->ask));
    map_take(&b->following_links, str_of(following->key));
    link_remove(&following->by_age);
    mem_free(following);
}

/* Whoever was to ask had no memory to say that it could not: the next look asks anew. */
static void forget_unanswered(struct broker *b)
{
    LIST_EACH (at, then, &b->following_by_age) {
        struct following *following = LIST_OWNER(at, struct following, by_age);
        struct instant until = instant_after(following->since, MILLIS(FOLLOWED_WITHIN_MS));
        if (!instant_reached(b->now, until))
            return;
        following_free(b, following);
    }
}

/* NULL: no memory, too many, or it is on its way just now. */
static struct following *following_new(struct broker *b, struct str root, struct str run,
                                       const struct tree_link *link)
{
    struct str to = link != NULL ? link->to : STR_NONE, id = link != NULL ? link->id : STR_NONE;
    forget_unanswered(b);
    struct following *following = mem_new(sizeof *following + to.len);
    if (following == NULL || b->following.count == FOLLOWING_MAX
        || !id_parse(root, &following->root) || !id_parse(run, &following->run)
        || id.len >= sizeof following->link_id) {
        mem_free(following);
        return NULL;
    }
    memcpy(following->link_id, id.len > 0 ? id.at : "", id.len);
    memcpy(following->to, to.len > 0 ? to.at : "", to.len);
    following->to_len = to.len;
    following->is_link = link != NULL;
    following->kind = link != NULL ? link->kind : LINK_ROOT;
    following->ask = ++b->last_ask;
    char *key = following->key;
    memcpy(key, root.at, root.len);
    key[root.len] = '/';
    memcpy(key + root.len + 1, run.at, run.len);
    key[root.len + 1 + run.len] = '/';
    memcpy(key + root.len + 2 + run.len, id.len > 0 ? id.at : "", id.len);
    if (map_find(&b->following_links, str_of(key)) != NULL
        || !map_add(&b->following_links, str_of(key), following)) {
        mem_free(following);
        return NULL;
    }
    if (!map_add(&b->following, ask_key(&following->ask), following)) {
        following_free(b, following);
        return NULL;
    }
    following->since = b->now;
    list_add_last(&b->following_by_age, &following->by_age);
    return following;
}

static void ask_cancel(struct broker *b, struct following *following, struct cancel_ask ask)
{
    struct broker_effect *effect = broker_effect_add(b, BROKER_DO_ASK_CANCEL);
    if (effect == NULL) {
        following_free(b, following);
        return;
    }
    effect->ask = ask.ask = following->ask;
    effect->cancel = ask;
}

static const struct cancel_ask ask_of_ours = {
    .by = {"broker", 6},
    .grace = {-1},
    .expect_at_most = -1,
    .include_self = true,
    .follow_links = true,
};

void follow_deadline(struct broker *b, const struct tree *tree, const struct tree_run *run,
                     struct str root)
{
    (void)tree;
    struct following *following = run->ban == NULL ? following_new(b, root, run->id, NULL) : NULL;
    if (following == NULL)
        return;
    struct cancel_ask ask = ask_of_ours;
    ask.run = run->id;
    ask.root = id_str(&following->root);
    ask.reason = STR("deadline");
    broker_say(b, FACT_DEADLINE_PASSED, root, run->id, run->owner);
    ask_cancel(b, following, ask);
}

/* One of a version that we do not speak is followed all the same. */
static struct cancel_record record_of(const struct broker *b, const struct tree_run *ban)
{
    struct cancel_record record;
    if (b->options.decode(ban->record.len > 0 ? ban->record : ban->loss, &record))
        return record;
    return (struct cancel_record){.by = STR("a newer version"), .grace = SPAN_NONE};
}

static void follow_link(struct broker *b, const struct tree_link *link, struct str root)
{
    struct str run = link->to;
    struct str far = str_cut(&run, '/');
    run = run.at != NULL ? run : far;
    const struct cancel_record record = record_of(b, link->from->ban);
    if (!id_is_valid(far) || !id_is_valid(run) || record.hops >= CAUSE_HOPS_MAX)
        return;
    struct following *following = following_new(b, root, link->from->id, link);
    if (following == NULL)
        return;
    following->epoch = link->from->epoch;
    struct cancel_ask ask = ask_of_ours;
    ask.run = run;
    ask.root = far;
    ask.action = record.action;
    ask.reason = record.reason;
    ask.by = record.by;
    ask.trace_id = record.trace_id;
    ask.grace = record.grace;
    ask.cause = record.cause;
    ask.hops = record.hops + 1;
    ask.force = true;
    broker_say(b, FACT_LINK_FOLLOWED, root, link->from->id, STR_NONE);
    ask_cancel(b, following, ask);
}

static void acknowledge(struct broker *b, const struct following *following)
{
    struct run_link link = {
        .kind = following->kind, .to = {following->to, following->to_len}, .acknowledged = true};
    char *bytes = arena_take(&b->arena, MESSAGE_MAX_BYTES);
    size_t len = bytes != NULL ? b->options.encode_link(&link, bytes) : 0;
    if (len == 0)
        return;
    struct store_call call = {
        .op = STORE_LINK,
        .root = arena_copy(&b->arena, id_str(&following->root)),
        .run = arena_copy(&b->arena, id_str(&following->run)),
        .epoch = following->epoch,
        .link_id = arena_copy(&b->arena, str_of(following->link_id)),
        .link = {bytes, len},
        .acknowledge = true,
    };
    broker_call(b, (struct broker_call){.purpose = FOR_NOTHING}, &call);
}

/* Its agentd asks at once; what it has not settled after a while is asked for from here. False: it
 * was not asked, for one question is on its way. */
static bool call_there(struct broker *b, const struct tree_link *link, struct str root)
{
    struct following *following = following_new(b, root, link->from->id, link);
    if (following == NULL)
        return false;
    const struct cancel_record record = record_of(b, link->from->ban);
    following->epoch = link->from->epoch;
    following->cancelled = record.at;
    broker_say(b, FACT_LINK_FOLLOWED, root, link->from->id, STR_NONE);
    struct broker_effect *effect = broker_effect_add(b, BROKER_DO_CANCEL_THERE);
    if (effect == NULL) {
        following_free(b, following);
        return false;
    }
    effect->ask = following->ask;
    effect->run = id_str(&following->run);
    effect->remote = (struct remote_ask){.kind = link->kind,
                                         .to = {following->to, following->to_len},
                                         .action = record.action,
                                         .within = MILLIS(REMOTE_WITHIN_MS)};
    return true;
}

void walk_remote_answered(struct broker *b, uint64_t ask, enum remote_outcome outcome)
{
    struct following *following = map_find(&b->following, ask_key(&ask));
    if (following == NULL || outcome == REMOTE_SENT)
        return;
    if (remote_is_settled(outcome, following->cancelled, b->wall))
        acknowledge(b, following);
    following_free(b, following);
}

void walk_cancelled(struct broker *b, uint64_t ask, const struct cancel_result *result)
{
    struct following *following = map_find(&b->following, ask_key(&ask));
    if (following == NULL)
        return;
    if (following->is_link && result->problem == PROBLEM_NONE)
        acknowledge(b, following);
    following_free(b, following);
}

/* ---- a tree with bans --------------------------------------------------------------------------
 */
struct bans { /* those whose scope has not stopped; each is published once */
    size_t count;
    const struct tree_run *ban[CALLS_PER_TREE];
};

static void bans_add(struct bans *bans, const struct tree_run *ban)
{
    for (size_t i = 0; i < bans->count; i++)
        if (bans->ban[i] == ban)
            return;
    if (bans->count < CALLS_PER_TREE)
        bans->ban[bans->count++] = ban;
}

/* It was published only just now, by the cancel itself. */
static bool is_fresh(const struct broker *b, const struct tree_run *ban)
{
    int64_t age = b->wall.ms - record_of(b, ban).at.ms;
    return age >= 0 && age < b->options.retransmit_every.ms;
}

static void publish_again(struct broker *b, const struct bans *bans, struct str root)
{
    size_t published = 0;
    for (size_t i = 0; i < bans->count; i++) {
        const struct tree_run *ban = bans->ban[i];
        if (is_fresh(b, ban))
            continue;
        struct store_call call = {
            .op = STORE_PUBLISH,
            .root = root,
            .bytes = ban->record.len > 0 ? ban->record : ban->loss,
        };
        if (call.bytes.len > 0
            && broker_call(b, (struct broker_call){.purpose = FOR_NOTHING}, &call))
            published++;
    }
    if (published > 0)
        broker_say(b, FACT_PUBLISHED_AGAIN, root, STR_NONE, STR_NONE);
}

/* Links of runs that are only observed stay as they are. */
static bool is_followed(const struct tree_link *link)
{
    bool is_observed = link->kind != LINK_ROOT && (link->from->flags & RUN_FLAG_OBSERVE) != 0;
    return !link->acknowledged && link->from->ban != NULL && !is_observed;
}

/* What never answers is asked less and less often, as far as we remember. True: all is done. */
static bool look_at_links(struct broker *b, const struct tree *tree, struct str root,
                          struct root_seen *seen)
{
    bool settled = true, has_called = false;
    bool may_call = seen == NULL || instant_reached(b->now, seen->remote_next);
    for (size_t i = 0; i < tree->link_count; i++) {
        const struct tree_link *link = &tree->link[i];
        if (!is_followed(link))
            continue;
        settled = false;
        if (link->kind == LINK_ROOT) {
            follow_link(b, link, root);
        } else if (may_call && !is_fresh(b, link->from->ban)) {
            has_called = call_there(b, link, root) || has_called;
        }
    }
    if (has_called && seen != NULL) {
        int64_t rounds = remote_pause(seen->remote_attempts++).ms / 1000;
        seen->remote_next = instant_after(b->now, MILLIS(rounds * b->options.retransmit_every.ms));
    }
    return settled;
}

/* False: something in it has not stopped yet. In mode observe nothing ever does. */
static bool look_at(struct broker *b, const struct tree *tree, struct str root,
                    struct root_seen *seen)
{
    struct bans bans = {0};
    bool settled = true;
    for (size_t i = 0; i < tree->run_count; i++) {
        const struct tree_run *run = tree->run[i];
        if (run->ban == NULL || !run_is_live(run->state) || (run->flags & RUN_FLAG_OBSERVE) != 0)
            continue;
        settled = false;
        bans_add(&bans, run->ban);
    }
    publish_again(b, &bans, root);
    return look_at_links(b, tree, root, seen) && settled;
}

static void tree_known(struct broker *b, const struct store_answer *answer)
{
    const struct walked_root *root = &b->roots[b->roots_at++];
    struct root_seen *seen = seen_of(b, &root->root);
    bool settled = answer->tree == NULL || look_at(b, answer->tree, id_str(&root->root), seen);
    if (seen != NULL) {
        seen->settled = settled;
        seen->live = root->live;
        seen->bans = root->bans;
        seen->next = instant_after(b->now, b->options.retransmit_every);
    }
    read_next_tree(b);
}

void walk_answered(struct broker *b, const struct broker_call *call,
                   const struct store_answer *answer)
{
    if (broker_has_trouble(b, answer))
        return;
    if (call->purpose == FOR_ROOTS)
        roots_known(b, answer);
    else if (call->purpose == FOR_COUNTS)
        counts_known(b, call->index, answer);
    else
        tree_known(b, answer);
}
