/* Everything that is not a script on one tree: leases, finds, lists, the generation, locks. */
#include <inttypes.h>

#include "base/mem.h"
#include "support/model_inside.h"

enum { LOSSES_COUNT_FOR_MS = 600000 };

static struct str key_of(struct model *model, const char *kind, struct str name)
{
    return pool_keepf(model, "%s:%.*s", kind, (int)name.len, name.at);
}

/* ---- string keys ----------------------------------------------------------------------------- */
static struct model_value *value_find(const struct model *model, struct str key)
{
    for (size_t i = 0; i < model->keys.value_count; i++)
        if (str_eq(model->keys.value[i].key, key))
            return &model->keys.value[i];
    return NULL;
}

/* life NULL: for good */
static void value_set(struct model *model, struct str key, struct str value,
                      const struct span *life)
{
    struct model_keys *keys = &model->keys;
    struct model_value *place = value_find(model, key);
    if (place == NULL)
        place = model_append((void **)&keys->value, &keys->value_count, &keys->value_room,
                             sizeof *keys->value);
    *place = (struct model_value){
        .key = key,
        .value = pool_keep(model, value),
        .expires = life != NULL ? model->now + life->ms : FOREVER,
    };
}

static void value_drop(struct model *model, struct str key)
{
    struct model_value *place = value_find(model, key);
    if (place != NULL)
        *place = model->keys.value[--model->keys.value_count];
}

static void say_value(const struct model *model, struct str key, struct store_answer *out)
{
    const struct model_value *value = value_find(model, key);
    *out = (struct store_answer){.verdict = value != NULL ? SAID_OK : SAID_NOT_FOUND};
    if (value != NULL)
        out->text = value->value;
}

/* Ours unless another value is there; repeated, it renews. */
static void take_value(struct model *model, struct str key, struct str value,
                       const struct span *life, struct store_answer *out)
{
    const struct model_value *standing = value_find(model, key);
    *out = (struct store_answer){.verdict = SAID_OK};
    if (standing != NULL && !str_eq(standing->value, value)) {
        out->verdict = SAID_EXISTS;
        out->text = standing->value;
        return;
    }
    value_set(model, key, value, life);
}

static void renew_lease(struct model *model, const struct store_call *call,
                        struct store_answer *out)
{
    struct model_value *lease = value_find(model, key_of(model, "replica", call->replica));
    *out = (struct store_answer){.verdict = lease != NULL ? SAID_OK : SAID_GONE,
                                 .number = lease != NULL};
    if (lease != NULL)
        lease->expires = model->now + call->span.ms;
}

static void remember(struct model *model, const struct store_call *call, struct store_answer *out)
{
    const struct span life = {model->ttl};
    struct str key = key_of(model, "find", call->id);
    const struct model_value *standing = value_find(model, key);
    *out = (struct store_answer){.verdict = standing != NULL ? SAID_EXISTS : SAID_OK};
    if (standing != NULL)
        out->text = standing->value;
    else
        value_set(model, key, call->id, &life);
}

/* Only the first hears OK. */
static void claim(struct model *model, const struct store_call *call, struct store_answer *out)
{
    const struct span life = {model->ttl};
    struct str key = key_of(model, "find", call->id);
    bool is_new = value_find(model, key) == NULL;
    take_value(model, key, call->root, &life, out);
    if (!is_new)
        *out = (struct store_answer){.verdict = SAID_EXISTS, .text = value_find(model, key)->value};
}

static void unclaim(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct str key = key_of(model, "find", call->id);
    const struct model_value *standing = value_find(model, key);
    if (standing != NULL && str_eq(standing->value, call->root))
        value_drop(model, key);
    *out = (struct store_answer){.verdict = SAID_OK};
}

static void alias(struct model *model, const struct store_call *call, struct store_answer *out)
{
    const struct span life = {model->ttl};
    struct str key = key_of(model, "find", call->id);
    struct str value = pool_keepf(model, "%.*s/%.*s", (int)call->root.len, call->root.at,
                                  (int)call->run.len, call->run.at);
    const struct model_value *standing = value_find(model, key);
    bool is_anothers = standing != NULL && !str_eq(standing->value, value) && !call->force;
    *out = (struct store_answer){.verdict = is_anothers ? SAID_EXISTS : SAID_OK};
    if (is_anothers)
        out->text = standing->value;
    else
        value_set(model, key, value, &life);
}

static void generation(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct str key = pool_keep(model, STR("gen"));
    if (value_find(model, key) == NULL && call->generation.len > 0)
        value_set(model, key, call->generation, NULL);
    say_value(model, key, out);
}

static bool plain_value(struct model *model, const struct store_call *call,
                        struct store_answer *out)
{
    switch (call->op) {
    case STORE_LEASE:
        value_set(model, key_of(model, "replica", call->replica), call->generation, &call->span);
        *out = (struct store_answer){.verdict = SAID_OK};
        return true;
    case STORE_LEASE_RENEW:
        renew_lease(model, call, out);
        return true;
    case STORE_LEASE_READ:
        say_value(model, key_of(model, "replica", call->replica), out);
        return true;
    case STORE_REMEMBER:
        remember(model, call, out);
        return true;
    case STORE_FIND_CLAIM:
        claim(model, call, out);
        return true;
    case STORE_FIND_READ:
        say_value(model, key_of(model, "find", call->id), out);
        return true;
    case STORE_FIND_DROP:
        unclaim(model, call, out);
        return true;
    case STORE_ALIAS:
        alias(model, call, out);
        return true;
    case STORE_GENERATION:
        generation(model, call, out);
        return true;
    case STORE_LOCK:
        take_value(model, key_of(model, "lock", call->id), call->replica, &call->span, out);
        return true;
    case STORE_CHECKPOINT_READ:
        say_value(model,
                  pool_keepf(model, "{%.*s}:cp:%.*s", (int)call->root.len, call->root.at,
                             (int)call->run.len, call->run.at),
                  out);
        return true;
    default:
        return false;
    }
}

/* ---- sets and sorted sets ---------------------------------------------------------------------
 */
static struct model_member *member_find(const struct model *model, struct str key,
                                        struct str member)
{
    for (size_t i = 0; i < model->keys.member_count; i++) {
        struct model_member *at = &model->keys.member[i];
        if (str_eq(at->key, key) && str_eq(at->member, member))
            return at;
    }
    return NULL;
}

/* Its first score stays. The number is how many were new, as Redis says it. */
static void member_add(struct model *model, struct str key, struct str member, int64_t score,
                       struct store_answer *out)
{
    struct model_keys *keys = &model->keys;
    *out = (struct store_answer){.verdict = SAID_OK};
    if (member_find(model, key, member) != NULL)
        return;
    struct model_member *place = model_append((void **)&keys->member, &keys->member_count,
                                              &keys->member_room, sizeof *keys->member);
    *place = (struct model_member){key, pool_keep(model, member), score};
    out->number = 1;
}

static void member_drop(struct model *model, struct str key, struct str member,
                        struct store_answer *out)
{
    struct model_member *place = member_find(model, key, member);
    *out = (struct store_answer){.verdict = SAID_OK, .number = place != NULL};
    if (place != NULL)
        *place = model->keys.member[--model->keys.member_count];
}

static bool is_before(const struct model *model, size_t i, int64_t score, struct str member)
{
    if (model->score[i] != score)
        return model->score[i] < score;
    size_t shorter = model->list[i].len < member.len ? model->list[i].len : member.len;
    int order = memcmp(model->list[i].at, member.at, shorter);
    return order != 0 ? order < 0 : model->list[i].len < member.len;
}

/* By score, then by name: the order of a sorted set. */
static void list_members(struct model *model, struct str key, int64_t from, size_t limit,
                         struct store_answer *out)
{
    size_t count = 0;
    for (size_t i = 0; i < model->keys.member_count; i++) {
        const struct model_member *at = &model->keys.member[i];
        if (!str_eq(at->key, key) || at->score < from)
            continue;
        size_t ignored = count;
        model_append((void **)&model->list, &ignored, &model->list_room, sizeof *model->list);
        ignored = count;
        model_append((void **)&model->score, &ignored, &model->score_room, sizeof *model->score);
        size_t place = count++;
        for (; place > 0 && !is_before(model, place - 1, at->score, at->member); place--) {
            model->list[place] = model->list[place - 1];
            model->score[place] = model->score[place - 1];
        }
        model->list[place] = at->member;
        model->score[place] = at->score;
    }
    *out = (struct store_answer){.verdict = SAID_OK,
                                 .list_count = count < limit ? count : limit,
                                 .list = model->list,
                                 .score = model->score};
}

static void drop_lease(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct str held = key_of(model, "held", call->replica);
    struct model_keys *keys = &model->keys;
    value_drop(model, key_of(model, "replica", call->replica));
    for (size_t i = keys->member_count; i-- > 0;)
        if (str_eq(keys->member[i].key, held))
            keys->member[i] = keys->member[--keys->member_count];
    member_drop(model, pool_keep(model, STR("quarantined")), call->replica, out);
    member_drop(model, pool_keep(model, STR("confirmed")), call->replica, out);
    member_drop(model, pool_keep(model, STR("replicas")), call->replica, out);
}

static bool has_member(const struct model *model, struct str key, struct str member)
{
    for (size_t i = 0; i < model->keys.member_count; i++)
        if (str_eq(model->keys.member[i].key, key) && str_eq(model->keys.member[i].member, member))
            return true;
    return false;
}

/* Each replica once, its last loss, unless it is listed. */
static void count_losses(struct model *model, const struct store_call *call,
                         struct store_answer *out)
{
    struct str key = pool_keep(model, STR("losses")), listed = pool_keep(model, STR("replicas"));
    struct store_answer ignored;
    *out = (struct store_answer){.verdict = SAID_OK};
    if (call->number > 0) {
        member_drop(model, key, call->replica, &ignored);
        member_add(model, key, pool_keep(model, call->replica), model->now, &ignored);
    }
    for (size_t i = 0; i < model->keys.member_count; i++) {
        const struct model_member *at = &model->keys.member[i];
        if (str_eq(at->key, key) && at->score > model->now - LOSSES_COUNT_FOR_MS
            && !has_member(model, listed, at->member))
            out->number++;
    }
}

static struct str shard_key(struct model *model, const struct store_call *call)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < call->root.len; i++) {
        crc ^= (unsigned char)call->root.at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
    }
    uint32_t shard = call->op == STORE_ROOTS_READ ? call->shard : ~crc % 64;
    return pool_keepf(model, "roots:%" PRIu32, shard);
}

static bool plain_list(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct str replicas = pool_keep(model, STR("replicas"));
    struct str quarantined = pool_keep(model, STR("quarantined"));
    struct str confirmed = pool_keep(model, STR("confirmed"));
    switch (call->op) {
    case STORE_LEASE_DROP:
        drop_lease(model, call, out);
        return true;
    case STORE_HELD_ADD:
        member_add(model, key_of(model, "held", call->replica), call->root, 0, out);
        return true;
    case STORE_HELD_DROP:
        member_drop(model, key_of(model, "held", call->replica), call->root, out);
        return true;
    case STORE_HELD_READ:
        list_members(model, key_of(model, "held", call->replica), 0, SIZE_MAX, out);
        return true;
    case STORE_CONFIRM_ADD:
        member_add(model, confirmed, call->replica, 0, out);
        return true;
    case STORE_CONFIRM_DROP:
        member_drop(model, confirmed, call->replica, out);
        return true;
    case STORE_CONFIRM_READ:
        list_members(model, confirmed, 0, SIZE_MAX, out);
        return true;
    case STORE_QUARANTINE_ADD:
        member_add(model, quarantined, call->replica, 0, out);
        return true;
    case STORE_QUARANTINE_DROP:
        member_drop(model, quarantined, call->replica, out);
        return true;
    case STORE_QUARANTINE_READ:
        list_members(model, quarantined, 0, SIZE_MAX, out);
        return true;
    case STORE_ROOT_ADD:
        member_add(model, shard_key(model, call), call->root, call->number, out);
        return true;
    case STORE_ROOT_DROP:
        member_drop(model, shard_key(model, call), call->root, out);
        return true;
    case STORE_ROOTS_READ:
        list_members(model, shard_key(model, call), call->number, call->limit, out);
        return true;
    case STORE_REPLICA_ADD:
        member_add(model, replicas, call->replica, call->number, out);
        return true;
    case STORE_REPLICAS_READ:
        list_members(model, replicas, INT64_MIN, SIZE_MAX, out);
        return true;
    case STORE_LOSS_COUNT:
        count_losses(model, call, out);
        return true;
    default:
        return false;
    }
}

/* ---- the audit ------------------------------------------------------------------------------- */
static void audit_add(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct model_keys *keys = &model->keys;
    int64_t number = 1;
    for (size_t i = 0; i < keys->member_count; i++)
        if (str_is(keys->member[i].key, "audit") && keys->member[i].score >= number)
            number = keys->member[i].score + 1;
    struct str id = pool_keepf(model, "%" PRId64 "-%" PRId64, model->now, number);
    struct model_member *place = model_append((void **)&keys->member, &keys->member_count,
                                              &keys->member_room, sizeof *keys->member);
    *place = (struct model_member){
        .key = pool_keep(model, STR("audit")),
        .member = pool_keepf(model, "%.*s %.*s", (int)id.len, id.at, (int)call->bytes.len,
                             call->bytes.at),
        .score = number,
    };
    *out = (struct store_answer){.verdict = SAID_OK, .text = id};
}

static void reverse(struct str *list, size_t count)
{
    for (size_t i = 0; i < count / 2; i++) {
        struct str swap = list[i];
        list[i] = list[count - 1 - i];
        list[count - 1 - i] = swap;
    }
}

static void audit_read(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct str last = call->id, entry;
    int64_t from = INT64_MIN;
    bool newest_first = str_is(last, "+");
    if (!newest_first && last.len > 0) {
        str_cut(&last, '-');
        from = str_to_int(last, &from) ? from + 1 : INT64_MIN;
    }
    list_members(model, pool_keep(model, STR("audit")), from, SIZE_MAX, out);
    if (newest_first)
        reverse(model->list, out->list_count);
    out->list_count = out->list_count < call->limit ? out->list_count : call->limit;
    entry = out->list_count > 0 ? model->list[out->list_count - 1] : STR_NONE;
    out->text = str_cut(&entry, ' ');
    out->score = NULL;
}

static void say_meta(struct model *model, const struct store_call *call, struct store_answer *out)
{
    const struct model_tree *tree = model_tree_find(model, call->root);
    const struct model_run *run = tree != NULL ? model_run_find(tree, call->run) : NULL;
    bool has_meta = run != NULL && run->has_meta;
    *out = (struct store_answer){.verdict = has_meta ? SAID_OK : SAID_NOT_FOUND};
    if (has_meta)
        out->text = run->meta;
}

static void root_counts(struct model *model, const struct store_call *call,
                        struct store_answer *out)
{
    const struct model_tree *tree = model_tree_find(model, call->root);
    *out = (struct store_answer){.verdict = tree != NULL ? SAID_OK : SAID_NOT_FOUND};
    if (tree != NULL) {
        out->number = tree->n;
        out->epoch = (uint32_t)tree->b;
    }
}

bool model_plain(struct model *model, const struct store_call *call, struct store_answer *out)
{
    *out = (struct store_answer){.verdict = SAID_OK};
    if (plain_value(model, call, out) || plain_list(model, call, out)
        || model_orders(model, call, out) || model_threads(model, call, out))
        return true;
    switch (call->op) {
    case STORE_PUBLISH:
        model_publish(model, call->root, false, call->bytes);
        if (model->receivers != NULL)
            out->number = model->receivers(model->receivers_owner, call->root);
        return true;
    case STORE_TIME:
        out->number = model->now;
        return true;
    case STORE_AUDIT:
        audit_add(model, call, out);
        return true;
    case STORE_AUDIT_READ:
        audit_read(model, call, out);
        return true;
    case STORE_META_READ:
        say_meta(model, call, out);
        return true;
    case STORE_ROOT_COUNTS:
        root_counts(model, call, out);
        return true;
    default:
        return false;
    }
}
