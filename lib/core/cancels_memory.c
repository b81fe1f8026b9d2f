#include "core/cancels_inside.h"

/* What is remembered between asks: the roots of ids that were asked for lately, the cancels issued
 * here (a Redis that forgot is told again), and which replicas have not asserted since the last
 * loss. */

/* ---- roots of recent ids
 * ------------------------------------------------------------------------- */
static void recent_drop(struct cancels *c, struct recent *recent)
{
    map_take(&c->recent, id_str(&recent->run));
    link_remove(&recent->by_age);
    mem_free(recent);
}

struct recent *recent_find(struct cancels *c, struct str run)
{
    struct recent *recent = map_find(&c->recent, run);
    if (recent == NULL || !instant_reached(c->now, recent->until))
        return recent;
    recent_drop(c, recent);
    return NULL;
}

void recent_forget(struct cancels *c, struct str run)
{
    struct recent *recent = map_find(&c->recent, run);
    if (recent != NULL)
        recent_drop(c, recent);
}

void recent_note(struct cancels *c, struct str run, struct str root)
{
    struct recent *recent = recent_find(c, run);
    if (recent != NULL && str_eq(id_str(&recent->root), root))
        return; /* its time is not prolonged: find is asked again now and then */
    if (recent != NULL)
        recent_drop(c, recent);
    if (c->recent.count >= RECENT_MAX)
        recent_drop(c, LIST_OWNER(c->recent_by_age.head.next, struct recent, by_age));
    recent = mem_new(sizeof *recent);
    if (recent == NULL)
        return;
    recent->until = instant_after(c->now, RECENT_FOR);
    if (!id_parse(run, &recent->run) || !id_parse(root, &recent->root)
        || !map_add(&c->recent, id_str(&recent->run), recent)) {
        mem_free(recent);
        return;
    }
    list_add_last(&c->recent_by_age, &recent->by_age);
}

/* ---- cancels issued here -----------------------------------------------------------------------
 */
static void held_drop(struct cancels *c, struct held *held)
{
    map_take(&c->held_by_id, held->key);
    link_remove(&held->by_age);
    link_remove(&held->in_reassert);
    mem_free(held);
}

static struct held *held_new(const struct cancel_record *record, struct str bytes)
{
    char id[CANCEL_ID_MAX];
    struct str key = cancel_id(record->root, record->target, id);
    struct held *held = mem_new(sizeof *held + key.len + bytes.len);
    if (held == NULL)
        return NULL;
    memcpy(held->text, key.at, key.len);
    memcpy(held->text + key.len, bytes.at, bytes.len);
    held->key = (struct str){held->text, key.len};
    held->record = (struct str){held->text + key.len, bytes.len};
    held->grace = record->grace;
    if (!id_parse(record->root, &held->root) || !id_parse(record->target, &held->run)) {
        mem_free(held);
        return NULL;
    }
    return held;
}

void hold_issued(struct cancels *c, const struct cancel_record *record, struct str bytes)
{
    char id[CANCEL_ID_MAX];
    struct held *before = map_find(&c->held_by_id, cancel_id(record->root, record->target, id));
    if (before != NULL && str_eq(before->record, bytes)) {
        before->until = instant_after(c->now, c->options.hold);
        link_remove(&before->by_age);
        list_add_last(&c->held_by_age, &before->by_age);
        return;
    }
    struct held *held = bytes.len > 0 ? held_new(record, bytes) : NULL;
    if (held == NULL)
        return;
    if (before != NULL && before->sent) { /* it is on its way just now */
        mem_free(held);
        return;
    }
    if (before != NULL)
        held_drop(c, before);
    held->until = instant_after(c->now, c->options.hold);
    if (!map_add(&c->held_by_id, held->key, held)) {
        mem_free(held);
        return;
    }
    list_add_last(&c->held_by_age, &held->by_age);
}

void memory_expire(struct cancels *c)
{
    LIST_EACH (at, then, &c->held_by_age) {
        struct held *held = LIST_OWNER(at, struct held, by_age);
        if (c->held_by_id.count <= c->options.hold_max && !instant_reached(c->now, held->until))
            return;
        if (held->sent)
            return; /* its answer names it */
        held_drop(c, held);
    }
}

static struct store_call cancel_again(const struct held *held, struct str root)
{
    return (struct store_call){
        .op = STORE_CANCEL,
        .root = root,
        .run = id_str(&held->run),
        .record = held->record,
        .grace = held->grace,
        .force = true,
        .even_if_over = true,
    };
}

static void reassert_next(struct cancels *c)
{
    while (c->reasserting < REASSERT_WINDOW && !list_is_empty(&c->to_reassert)) {
        struct held *held = LIST_OWNER(c->to_reassert.head.next, struct held, in_reassert);
        link_remove(&held->in_reassert);
        struct store_call call = cancel_again(held, id_str(&held->root));
        held->sent = call_send(c, (struct call){.purpose = FOR_REASSERT, .held = held}, &call);
        c->reasserting += held->sent ? 1 : 0;
    }
}

void reassert_all(struct cancels *c)
{
    LIST_EACH (at, then, &c->held_by_age) {
        struct held *held = LIST_OWNER(at, struct held, by_age);
        if (!held->sent && !link_is_in_list(&held->in_reassert))
            list_add_last(&c->to_reassert, &held->in_reassert);
    }
    reassert_next(c);
}

static bool was_told(const struct store_answer *answer)
{
    return answer->verdict != SAID_OFFLINE && answer->verdict != SAID_UNWRITABLE;
}

/* Not lost again, but not told either: the next LINK_UP or the next second goes on. */
static void reassert_later(struct cancels *c, struct held *held)
{
    held->sent = false;
    c->reasserting--;
    list_add_last(&c->to_reassert, &held->in_reassert);
    c->replicas_next = instant_after(c->now, READ_AGAIN_EVERY);
    wake_at(c, c->replicas_next);
}

static void reassert_ends(struct cancels *c, struct held *held)
{
    held->sent = false;
    c->reasserting--;
    reassert_next(c);
}

/* A tombstone of an id that nobody had seen lies in a tree of its own, and starts look there only
 * when bw:find says so. */
static bool may_be_tombstone(const struct held *held)
{
    struct str id = id_str(&held->run);
    return str_eq(id_str(&held->root), id) && !id_is_minted(id);
}

/* Behind the cancel: a run of that id which had started without Redis claims it, and then looks for
 * the tombstone. So one of the two sees the other, whatever the order. */
static bool claim_again(struct cancels *c, struct held *held)
{
    struct str id = id_str(&held->run);
    struct store_call call = {.op = STORE_FIND_CLAIM, .id = id, .root = id};
    return call_send(c, (struct call){.purpose = FOR_CLAIM, .held = held}, &call);
}

void reasserted(struct cancels *c, struct held *held, const struct store_answer *answer)
{
    if (!was_told(answer))
        reassert_later(c, held);
    else if (!may_be_tombstone(held) || !claim_again(c, held))
        reassert_ends(c, held);
}

/* Where that run was faster it is cancelled where it is. */
static bool cancel_elsewhere(struct cancels *c, struct held *held,
                             const struct store_answer *claimed)
{
    bool is_elsewhere =
        claimed->verdict == SAID_EXISTS && !str_eq(claimed->text, id_str(&held->root));
    struct store_call call = cancel_again(held, claimed->text);
    return is_elsewhere
           && call_send(c, (struct call){.purpose = FOR_ELSEWHERE, .held = held}, &call);
}

void claimed_again(struct cancels *c, struct held *held, const struct store_answer *answer)
{
    if (!was_told(answer))
        reassert_later(c, held);
    else if (!cancel_elsewhere(c, held, answer))
        reassert_ends(c, held);
}

void reasserted_elsewhere(struct cancels *c, struct held *held, const struct store_answer *answer)
{
    if (was_told(answer))
        reassert_ends(c, held);
    else
        reassert_later(c, held);
}

/* ---- who has not asserted since the last loss --------------------------------------------------
 */
bool loss_is_settled(const struct cancels *c)
{
    if (!c->lost_once)
        return true;
    if (!instant_reached(c->now, instant_after(c->lost_at, MILLIS(2 * c->options.lease.ms))))
        return false;
    const struct replica *replica;
    for (size_t i = 0; (replica = map_next(&c->replicas, &i)) != NULL;)
        if (replica->unconfirmed)
            return false;
    return true;
}

const struct str *replicas_unconfirmed(struct cancels *c, size_t *count)
{
    *count = 0;
    if (!c->lost_once || c->replicas.count == 0)
        return NULL;
    struct str *names = keep_bytes(c, c->replicas.count * sizeof *names);
    const struct replica *replica;
    for (size_t i = 0; names != NULL && (replica = map_next(&c->replicas, &i)) != NULL;)
        if (replica->unconfirmed)
            names[(*count)++] = text_str(c, str_of(replica->name));
    return names;
}

static void ask_replicas(struct cancels *c)
{
    if (c->replicas_asked || c->leases_asked > 0 || !c->linked)
        return;
    struct store_call call = {.op = STORE_REPLICAS_READ};
    c->replicas_asked = call_send(c, (struct call){.purpose = FOR_REPLICAS}, &call);
}

static bool knows_generation(const struct cancels *c)
{
    return c->generation[0] != '\0';
}

void replicas_begin(struct cancels *c, bool lost, struct str generation)
{
    if (lost) {
        c->lost_once = true;
        c->lost_at = c->now;
        size_t len = generation.len < sizeof c->generation ? generation.len : 0;
        memcpy(c->generation, generation.len > 0 ? generation.at : "", len);
        c->generation[len] = '\0';
        struct replica *replica;
        for (size_t i = 0; (replica = map_next(&c->replicas, &i)) != NULL;) {
            replica->unconfirmed = knows_generation(c);
            replica->seen = false;
        }
    }
    reassert_next(c);
    ask_replicas(c);
}

void replicas_refresh(struct cancels *c)
{
    if (instant_reached(c->now, instant_after(c->replicas_read_at, c->options.lease)))
        ask_replicas(c);
}

void replicas_poll(struct cancels *c)
{
    if (!instant_reached(c->now, c->replicas_next)) {
        wake_at(c, c->replicas_next);
        return;
    }
    c->replicas_next = INSTANT_NEVER;
    reassert_next(c);
    if (!loss_is_settled(c)) {
        ask_replicas(c);
        c->replicas_next = instant_after(c->now, MILLIS(c->options.lease.ms / 5 + 1));
        wake_at(c, c->replicas_next);
    }
}

static struct replica *replica_named(struct cancels *c, struct str name)
{
    struct replica *replica = map_find(&c->replicas, name);
    if (replica != NULL || name.len > NAME_MAX_BYTES || c->replicas.count == REPLICAS_MAX)
        return replica;
    replica = mem_new(sizeof *replica);
    if (replica == NULL)
        return NULL;
    memcpy(replica->name, name.at, name.len);
    replica->unconfirmed = c->lost_once && knows_generation(c);
    if (!map_add(&c->replicas, str_of(replica->name), replica)) {
        mem_free(replica);
        return NULL;
    }
    return replica;
}

/* Listed after the loss and not any more: it has left in good order, or a broker has cleared up
 * after it. Never listed since: it may be alive and cut off; after `hold` nobody asks any more. */
static void forget_those_gone(struct cancels *c)
{
    bool long_ago =
        instant_reached(c->now, instant_after(c->lost_at, c->options.hold)) || !c->lost_once;
    struct replica *replica;
    for (size_t i = 0; (replica = map_next(&c->replicas, &i)) != NULL;) {
        if (replica->listed || (!replica->seen && !long_ago))
            continue;
        map_take(&c->replicas, str_of(replica->name));
        mem_free(replica);
    }
}

static void ask_leases(struct cancels *c)
{
    struct replica *replica;
    for (size_t i = 0; (replica = map_next(&c->replicas, &i)) != NULL;) {
        if (!replica->unconfirmed)
            continue;
        struct store_call call = {.op = STORE_LEASE_READ, .replica = str_of(replica->name)};
        if (call_send(c, (struct call){.purpose = FOR_LEASE, .replica = replica}, &call))
            c->leases_asked++;
    }
}

void replicas_answered(struct cancels *c, const struct store_answer *answer)
{
    c->replicas_asked = false;
    if (answer->verdict == SAID_OK) {
        struct replica *replica;
        c->replicas_read_at = c->now;
        for (size_t i = 0; (replica = map_next(&c->replicas, &i)) != NULL;)
            replica->listed = false;
        for (size_t i = 0; i < answer->list_count; i++) {
            replica = replica_named(c, answer->list[i]);
            if (replica != NULL)
                replica->listed = replica->seen = true;
        }
        forget_those_gone(c);
        ask_leases(c);
    }
    if (!loss_is_settled(c)) {
        c->replicas_next = instant_after(c->now, MILLIS(c->options.lease.ms / 5 + 1));
        wake_at(c, c->replicas_next);
    }
}

/* A lease from before the loss may have survived it, and the generation, too: a restart that lost
 * only the last writes. One that lives a whole lease later was renewed since, and an agentd renews
 * only when it has asserted all. */
void lease_answered(struct cancels *c, struct replica *replica, const struct store_answer *answer)
{
    c->leases_asked--;
    bool is_of_now = instant_reached(c->now, instant_after(c->lost_at, c->options.lease));
    if (is_of_now && answer->verdict == SAID_OK && str_is(answer->text, c->generation))
        replica->unconfirmed = false;
}

void memory_free(struct cancels *c)
{
    void *item;
    for (size_t i = 0; (item = map_next(&c->recent, &i)) != NULL;)
        mem_free(item);
    for (size_t i = 0; (item = map_next(&c->held_by_id, &i)) != NULL;)
        mem_free(item);
    for (size_t i = 0; (item = map_next(&c->replicas, &i)) != NULL;)
        mem_free(item);
    map_fini(&c->recent);
    map_fini(&c->held_by_id);
    map_fini(&c->replicas);
}
