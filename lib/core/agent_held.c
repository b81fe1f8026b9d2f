#include "base/mem.h"
#include "core/agent_inside.h"

/* ---- boxes --------------------------------------------------------------------------------- */
struct record_box *box_of_bytes(struct agent *agent, struct str bytes)
{
    if (bytes.len == 0 || bytes.len > MESSAGE_MAX_BYTES)
        return NULL;
    struct record_box *box = mem_new(sizeof *box + bytes.len);
    if (box == NULL) {
        agent->is_starved = true;
        return NULL;
    }
    memcpy(box->bytes, bytes.at, bytes.len);
    box->len = bytes.len;
    box->users = 1;
    if (!agent->options.decode_record((struct str){box->bytes, box->len}, &box->record)) {
        mem_free(box);
        return NULL;
    }
    return box;
}

static struct str move_behind(char **at, struct str text)
{
    struct str moved = {*at, text.len};
    memcpy(*at, text.at, text.len);
    *at += text.len;
    return moved;
}

/* The bytes stay what they are: who reads them can. */
static struct record_box *box_unread(struct agent *agent, struct str bytes, struct str root,
                                     struct str ban)
{
    struct record_box *box = mem_new(sizeof *box + bytes.len + root.len + ban.len);
    if (box == NULL) {
        agent->is_starved = true;
        return NULL;
    }
    char *at = box->bytes;
    box->len = move_behind(&at, bytes).len;
    box->users = 1;
    box->is_unread = true;
    box->record = own_record(agent, move_behind(&at, root), move_behind(&at, ban), "");
    box->record.by = STR("a newer version");
    return box;
}

struct record_box *box_of_ban(struct agent *agent, struct str bytes, struct str root,
                              struct str ban)
{
    struct record_box *box = box_of_bytes(agent, bytes);
    if (box != NULL || bytes.len == 0 || ban.len == 0)
        return box;
    want_count(agent, COUNT_UNREADABLE, PROBLEM_NONE, (struct wall){0});
    return box_unread(agent, bytes, root, ban);
}

bool box_may_hold(const struct record_box *box)
{
    return !box->is_unread && !str_is(box->record.reason, "lost");
}

struct record_box *box_make(struct agent *agent, const struct cancel_record *record)
{
    size_t len = agent->options.encode_record(record, agent->scratch);
    return box_of_bytes(agent, (struct str){agent->scratch, len});
}

struct record_box *box_share(struct record_box *box)
{
    box->users++;
    return box;
}

void box_drop(struct agent *agent, struct record_box *box)
{
    if (box != NULL && --box->users == 0)
        throw_away(agent, box);
}

struct cancel_record own_record(const struct agent *agent, struct str root, struct str target,
                                const char *reason)
{
    return (struct cancel_record){
        .root = root,
        .target = target,
        .reason = str_of(reason),
        .by = STR("agentd"),
        .at = agent->wall,
        .grace = SPAN_NONE,
    };
}

bool is_loss_record(const struct cancel_record *record)
{
    return record->hops == 0 && str_is(record->reason, "lost");
}

/* ---- what holds here ----------------------------------------------------------------------- */
static struct str held_key(struct str root, struct str target, char out[2 * RUN_ID_MAX + 2])
{
    memcpy(out, root.at, root.len);
    out[root.len] = '.';
    memcpy(out + root.len + 1, target.at, target.len);
    return (struct str){out, root.len + 1 + target.len};
}

struct held *held_find(const struct agent *agent, struct str root, struct str target)
{
    char key[2 * RUN_ID_MAX + 2];
    if (agent->held.count == 0 || root.len > RUN_ID_MAX || target.len > RUN_ID_MAX)
        return NULL;
    return map_find(&agent->held, held_key(root, target, key));
}

/* The nearest: from the run upwards. */
struct held *held_over_path(const struct agent *agent, struct str root, struct str path)
{
    const struct agent_root *known = root_find(agent, root);
    if (known == NULL || list_is_empty(&known->held))
        return NULL;
    struct held *nearest = NULL;
    for (struct str rest = path; rest.at != NULL;) {
        struct held *held = held_find(agent, root, str_cut(&rest, '.'));
        nearest = held != NULL ? held : nearest;
    }
    return nearest;
}

void held_drop(struct agent *agent, struct held *held)
{
    struct agent_root *root = held->root;
    map_take(&agent->held, str_of(held->key));
    link_remove(&held->in_root);
    link_remove(&held->in_age);
    link_remove(&held->in_sync);
    box_drop(agent, held->box);
    throw_away(agent, held);
    root_drop_if_idle(agent, root);
}

/* An earlier asker was told that it is kept, or another one may still be told so: then it is. */
void held_withdraw(struct agent *agent, struct held *held, const struct record_box *box)
{
    bool is_ours = held != NULL && held->box == box && !held->is_promised && held->asks == 0;
    if (is_ours && !held->is_confirmed && !held->is_on_its_way)
        held_drop(agent, held);
}

static bool may_go(const struct held *held)
{
    return held->is_confirmed && !held->is_on_its_way && held->asks == 0;
}

/* What Redis has not confirmed is never forgotten, nor what may still have to refuse a start. */
void held_expire(struct agent *agent)
{
    LIST_EACH (at, then, &agent->held_by_age) {
        struct held *held = LIST_OWNER(at, struct held, in_age);
        if (!instant_reached(agent->now, held->until))
            break;
        if (may_go(held) && held->root->live == 0) {
            held_drop(agent, held);
            continue;
        }
        link_remove(&held->in_age);
        held->until = instant_after(agent->now, agent->options.remember);
        list_add_last(&agent->held_by_age, &held->in_age);
    }
    agent_set_due(agent);
}

static bool make_room(struct agent *agent)
{
    if (agent->held.count < HELD_MAX)
        return true;
    LIST_EACH (at, then, &agent->held_by_age) {
        struct held *held = LIST_OWNER(at, struct held, in_age);
        if (!may_go(held))
            continue;
        held_drop(agent, held);
        return true;
    }
    return false;
}

static struct held *held_make(struct agent *agent, struct record_box *box)
{
    const struct cancel_record *record = &box->record;
    bool has_room = make_room(agent); /* first: it may drop a root */
    struct agent_root *root = root_find(agent, record->root);
    if (root == NULL || !has_room)
        return NULL;
    struct held *held = mem_new(sizeof *held);
    if (held == NULL)
        return NULL;
    struct str key = held_key(record->root, record->target, held->key);
    if (!map_add(&agent->held, key, held)) {
        mem_free(held);
        return NULL;
    }
    held->root = root;
    held->box = box_share(box);
    held->until = instant_after(agent->now, agent->options.remember);
    list_add_last(&root->held, &held->in_root);
    list_add_last(&agent->held_by_age, &held->in_age);
    agent_set_due(agent);
    return held;
}

static bool is_hastier(struct span a, struct span b)
{
    return a.ms >= 0 && (b.ms < 0 || a.ms < b.ms);
}

struct record_box *hold(struct agent *agent, struct record_box *box, bool is_confirmed)
{
    struct held *held = held_find(agent, box->record.root, box->record.target);
    if (held == NULL) {
        held = held_make(agent, box);
        if (held != NULL)
            held->is_confirmed = is_confirmed;
        return box;
    }
    bool is_stored_one = is_confirmed && !held->is_confirmed;
    if (is_stored_one || is_hastier(box->record.grace, held->box->record.grace)) {
        box_drop(agent, held->box);
        held->box = box_share(box);
    }
    held->is_confirmed = held->is_confirmed || is_confirmed;
    return held->box;
}

/* ---- telling a Redis that does not have it ------------------------------------------------- */
/* A tombstone of an id that nobody had seen: starts look for it only where bw:find says so. */
static void claim_tombstone(struct agent *agent, const struct held *held)
{
    struct str target = held->box->record.target;
    bool is_tomb = str_eq(held->box->record.root, target) && run_find(agent, target) == NULL;
    if (!is_tomb || id_is_minted(target))
        return;
    struct store_call *claim = want_silent_call(agent, STORE_FIND_CLAIM);
    claim->id = claim->root = target;
}

void held_send(struct agent *agent, struct held *held)
{
    held->is_on_its_way = true;
    claim_tombstone(agent, held);
    struct call about = {.kind = CALL_CANCEL, .root = held->root, .held = held, .is_sync = true};
    struct store_call *call = want_call(agent, STORE_CANCEL, &about);
    call->run = held->box->record.target;
    call->record = (struct str){held->box->bytes, held->box->len};
    call->grace = held->box->record.grace;
    call->force = true;
    call->even_if_over = true;
}

static void held_could_not_be_sent(struct agent *agent, struct held *held,
                                   enum store_verdict verdict)
{
    if (verdict == SAID_OFFLINE)
        return;
    held->is_refused = verdict == SAID_ERROR;
    struct agent_effect *effect = want(agent, DO_PUBLISH);
    effect->root = str_of(held->root->id);
    effect->record = held->box->record;
    effect->record.unrecorded = true;
    sync_retry_later(agent);
}

/* Asked once more the ordinary way: it is then audited, and `cancels` holds it. */
static void audit_late(struct agent *agent, struct held *held)
{
    held->asked_here = false;
    struct open_ask about = {.kind = OPEN_OWN};
    ask_cancel(agent, &held->box->record, true, &about);
}

void held_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct held *held = call->held;
    held->is_on_its_way = false;
    switch (answer->verdict) {
    case SAID_ACCEPTED:
    case SAID_ALREADY:
    case SAID_OVER:
        held->is_confirmed = true;
        break;
    default:
        held_could_not_be_sent(agent, held, answer->verdict);
        return;
    }
    sync_it_writes(agent);
    struct record_box *stored = box_of_bytes(agent, answer->record);
    if (stored != NULL && str_eq(stored->record.target, held->box->record.target)) {
        box_drop(agent, held->box);
        held->box = box_share(stored);
    }
    box_drop(agent, stored);
    if (held->asked_here)
        audit_late(agent, held);
}
