/* What is asked of runs that are there: cancel, end, report, reconcile, lost, link, checkpoint,
 * peek, sync. */
#include <stdlib.h>

#include "support/model_inside.h"
#include "wire/message.h"

enum { LINKS_MAX = 1000 };

struct place { /* of a run, and what is banned at or above it */
    struct model_tree *tree;
    struct model_run *run; /* NULL: not there, or never started */
    struct bans bans;
};

static void say(struct store_answer *out, enum store_verdict verdict)
{
    *out = (struct store_answer){.verdict = verdict};
}

static void say_fenced(struct store_answer *out, const struct model_run *run)
{
    *out = (struct store_answer){.verdict = SAID_FENCED, .epoch = run->epoch};
}

static void set_ban(struct store_answer *out, const struct place *place)
{
    out->ban = place->bans.count > 0 ? place->bans.id[0] : STR_NONE;
    out->record = model_record_of(place->tree, out->ban);
}

static bool find(const struct model *model, const struct store_call *call, struct place *out)
{
    out->tree = model_tree_find(model, call->root);
    out->run = model_run_find(out->tree, call->run);
    model_bans(out->tree, NULL, call->run, STR_NONE, &out->bans);
    return out->run != NULL && out->run->state != RUN_NEVER;
}

/* ---- cancel --------------------------------------------------------------------------------- */
static struct str with_grace(struct model *model, struct cancel_record *record, struct span grace)
{
    struct buf bytes = {0};
    record->grace = grace;
    if (wire_record_encode(record, &bytes) != ERR_OK)
        abort();
    struct str kept = pool_keep(model, buf_str(&bytes));
    buf_fini(&bytes);
    return kept;
}

static void cancel_again(struct model *model, const struct store_call *call, struct place *place,
                         struct store_answer *out)
{
    struct model_run *run = place->run;
    struct cancel_record record;
    bool is_lower = call->grace.ms >= 0 && wire_record_decode(run->record, &record) == ERR_OK
                    && (record.grace.ms < 0 || call->grace.ms < record.grace.ms);
    if (is_lower) {
        run->record = with_grace(model, &record, call->grace);
        model_publish(model, call->root, false, run->record);
    }
    *out = (struct store_answer){
        .verdict = SAID_ALREADY, .state = run->state, .flags = run->flags, .record = run->record};
    out->ban = place->bans.count > 1 ? place->bans.id[1] : STR_NONE;
}

void model_cancel(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct place place;
    find(model, call, &place);
    struct model_run *run = place.run;
    if (run != NULL && model_has(run, RUN_FLAG_BANNED)) {
        cancel_again(model, call, &place, out);
        return;
    }
    if (run == NULL && !call->force) {
        say(out, SAID_NOT_FOUND);
        return;
    }
    enum run_state before = run != NULL ? run->state : RUN_NONE;
    if (run_is_over(before) && before != RUN_LOST && place.bans.count == 0 && !call->even_if_over) {
        *out = (struct store_answer){.verdict = SAID_OVER,
                                     .state = before,
                                     .epoch = run->epoch,
                                     .finished_anyway = run->finished,
                                     .number = place.tree->n};
        return;
    }
    place.tree = model_tree_make(model, call->root);
    run = model_run_make(model, place.tree, call->run);
    model_stop(run);
    model_ban(model, place.tree, run, call->record);
    model_commit(model, place.tree);
    model_publish(model, call->root, false, call->record);
    *out = (struct store_answer){
        .verdict = SAID_ACCEPTED, .state = before, .flags = run->flags, .number = place.tree->n};
    out->ban = place.bans.count > 0 ? place.bans.id[0] : STR_NONE;
}

/* ---- end ------------------------------------------------------------------------------------ */
static bool is_overdue(const struct model_run *run)
{
    struct cancel_record record;
    return model_has(run, RUN_FLAG_BANNED) && wire_record_decode(run->record, &record) == ERR_OK
           && str_is(record.reason, "deadline");
}

/* RUN_NONE: it says that it was cancelled, and it was not. */
static enum run_state outcome(const struct place *place, enum run_state said,
                              enum run_state *finished)
{
    bool by_itself = said == RUN_SUCCESS || said == RUN_ERROR || said == RUN_PAUSED;
    bool is_banned = place->bans.count > 0;
    *finished = RUN_NONE;
    if (!is_banned)
        return by_itself ? said : RUN_NONE;
    if (model_has(place->run, RUN_FLAG_OBSERVE))
        return said;
    *finished = by_itself ? said : RUN_NONE;
    if (is_overdue(place->run))
        return RUN_TIMEOUT;
    return by_itself ? RUN_CANCELLED : said;
}

static bool cancels_children(const struct model_run *run)
{
    return model_has(run, RUN_FLAG_END_CANCELS)
           || (!model_has(run, RUN_FLAG_END_LEAVES) && run->state == RUN_ERROR);
}

/* bans_itself: its agentd had stopped it, and says why only now */
static void record_end(struct model *model, const struct store_call *call, struct place *place,
                       bool bans_itself)
{
    struct model_run *run = place->run;
    int was_unresponsive = model_has(run, RUN_FLAG_UNRESPONSIVE) ? 1 : 0;
    run->flags &= ~(uint32_t)(RUN_FLAG_UNRESPONSIVE | RUN_FLAG_KILLING | RUN_FLAG_SUSPECT);
    run->flags |= RUN_FLAG_FROZEN;
    run->epoch = call->epoch;
    model_count(place->tree, model, &place->bans, 0, 0, 1, -was_unresponsive);
    if (place->bans.count > 0 && call->story.len > 0) {
        run->has_story = true;
        run->story = pool_keep(model, call->story);
    }
    bool bans_children = place->bans.count == 0 && call->record.len > 0 && cancels_children(run);
    if (bans_children)
        model_ban(model, place->tree, run, call->record);
    place->tree->n--;
    model_commit(model, place->tree);
    if ((bans_children || bans_itself) && place->tree->n > 0)
        model_publish(model, call->root, false, call->record);
    model_tell_ended(model, place->tree, run);
}

void model_end(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct place place;
    say(out, SAID_UNKNOWN);
    if (!find(model, call, &place))
        return;
    struct model_run *run = place.run;
    bool is_another = call->incarnation.len > 0 && !str_eq(call->incarnation, run->incarnation);
    if (run->state == RUN_LOST && is_another && call->epoch == run->epoch) {
        say_fenced(out, run);
        return;
    }
    if (run_is_over(run->state)) {
        *out = (struct store_answer){
            .verdict = SAID_ALREADY, .state = run->state, .finished_anyway = run->finished};
        return;
    }
    if (call->epoch < run->epoch || (call->epoch == run->epoch && is_another)) {
        say_fenced(out, run);
        return;
    }
    enum run_state finished, state = outcome(&place, call->state, &finished);
    if (state == RUN_NONE && call->record.len == 0) {
        say(out, SAID_NOT_CANCELLED);
        return;
    }
    bool bans_itself = state == RUN_NONE;
    if (bans_itself) {
        model_ban(model, place.tree, run, call->record);
        place.bans = (struct bans){.count = 1, .id = {run->id}};
        state = call->state;
    }
    run->state = state;
    run->finished = finished;
    record_end(model, call, &place, bans_itself);
    *out =
        (struct store_answer){.verdict = SAID_ENDED, .state = state, .finished_anyway = finished};
}

/* ---- report, reconcile ----------------------------------------------------------------------- */
static void tell_report(struct model *model, struct message *message)
{
    struct buf bytes = {0};
    if (message->report.count == 0)
        return;
    if (wire_message_encode(message, &bytes) != ERR_OK)
        abort();
    model_publish(model, message->report.root, true, buf_str(&bytes));
    buf_fini(&bytes);
}

static void note(struct model *model, struct place *place, uint32_t news, struct message *message)
{
    struct model_run *run = place->run;
    enum run_state before = run->state;
    if (place->bans.count > 0) {
        model_stop(run);
        if (news != 0)
            model_count(place->tree, model, &place->bans, (news & RUN_FLAG_DELIVERED) != 0,
                        (news & RUN_FLAG_ACKNOWLEDGED) != 0, (news & RUN_FLAG_GONE) != 0,
                        (news & RUN_FLAG_UNRESPONSIVE) != 0);
    }
    if (news == 0 && run->state == before)
        return;
    run->flags |= news;
    message->report.item[message->report.count++] =
        (struct report_item){run->id, run->epoch, run->flags};
}

static enum store_verdict report_one(struct model *model, struct place *place,
                                     const struct run_epoch *item, struct message *message)
{
    struct model_run *run = place->run;
    uint32_t settable = RUN_FLAGS_PHASES & ~(uint32_t)RUN_FLAG_GONE;
    if (item->epoch != run->epoch)
        return SAID_FENCED;
    if (run_is_live(run->state))
        note(model, place, item->flags & settable & ~run->flags, message);
    else if (run->state == RUN_LOST && (item->flags & RUN_FLAG_GONE))
        note(model, place, RUN_FLAG_GONE & ~run->flags, message);
    else
        return SAID_OVER;
    return SAID_OK;
}

void model_report(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct message message = {.kind = MESSAGE_REPORT, .report.root = call->root};
    for (size_t i = 0; i < call->item_count; i++) {
        struct store_call one = {.root = call->root, .run = call->item[i].run};
        struct place place;
        model->item[i] = (struct store_item){.verdict = SAID_UNKNOWN};
        if (!find(model, &one, &place))
            continue;
        enum store_verdict verdict = report_one(model, &place, &call->item[i], &message);
        model->item[i] = (struct store_item){.verdict = verdict,
                                             .state = place.run->state,
                                             .epoch = place.run->epoch,
                                             .flags = place.run->flags};
    }
    tell_report(model, &message);
    *out = (struct store_answer){
        .verdict = SAID_OK, .item_count = call->item_count, .item = model->item};
}

static struct store_item judge(const struct place *place, uint32_t epoch)
{
    const struct model_run *run = place->run;
    struct store_item item = {
        .verdict = SAID_GO, .state = run->state, .epoch = run->epoch, .flags = run->flags};
    if (run->epoch < epoch) {
        item.verdict = SAID_BEHIND;
    } else if (run->epoch > epoch) {
        item.verdict = SAID_FENCED;
    } else if (run_is_over(run->state)) {
        item.verdict = model_may_return(run) ? SAID_BEHIND : SAID_OVER;
    } else if (place->bans.count > 0) {
        item.verdict = SAID_STOP;
        item.ban = place->bans.id[0];
        item.record = model_record_of(place->tree, item.ban);
    }
    return item;
}

void model_reconcile(struct model *model, const struct store_call *call, struct store_answer *out)
{
    for (size_t i = 0; i < call->item_count; i++) {
        struct store_call one = {.root = call->root, .run = call->item[i].run};
        struct place place;
        model->item[i] = (struct store_item){.verdict = SAID_UNKNOWN};
        if (find(model, &one, &place))
            model->item[i] = judge(&place, call->item[i].epoch);
    }
    *out = (struct store_answer){
        .verdict = SAID_OK, .item_count = call->item_count, .item = model->item};
}

/* ---- lost ----------------------------------------------------------------------------------- */
static void record_loss(struct model *model, const struct store_call *call, struct place *place)
{
    struct model_run *run = place->run;
    bool is_told = false;
    run->state = RUN_LOST;
    run->flags &= ~(uint32_t)RUN_FLAG_SUSPECT;
    run->flags |= RUN_FLAG_FROZEN;
    if (model_has(run, RUN_FLAG_LOST_TAKEOVER)) {
        place->tree->has_b = true;
        place->tree->b += run->is_marked ? 0 : 1;
        run->is_marked = true;
        run->lost_epoch = run->epoch;
        run->loss = pool_keep(model, call->record);
        is_told = run->children > 0;
    } else if (!model_has(run, RUN_FLAG_LOST_CONTINUE) && !model_has(run, RUN_FLAG_BANNED)) {
        model_ban(model, place->tree, run, call->record);
        is_told = true;
    }
    place->tree->n--;
    model_commit(model, place->tree);
    if (is_told)
        model_publish(model, call->root, false, call->record);
    model_tell_ended(model, place->tree, run);
}

void model_lost(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct place place;
    say(out, SAID_UNKNOWN);
    if (!find(model, call, &place))
        return;
    struct model_run *run = place.run;
    if (run_is_over(run->state)) {
        *out = (struct store_answer){.verdict = SAID_ALREADY, .state = run->state};
    } else if (run->epoch != call->epoch || !str_eq(run->incarnation, call->incarnation)
               || !str_eq(run->owner, call->replica)) {
        say_fenced(out, run);
    } else if (call->only_suspect) {
        run->flags |= RUN_FLAG_SUSPECT;
        say(out, SAID_SUSPECT);
    } else {
        record_loss(model, call, &place);
        say(out, SAID_LOST);
    }
}

/* ---- link, checkpoint, peek ------------------------------------------------------------------ */
static void add_link(struct model *model, const struct store_call *call, struct place *place,
                     struct store_answer *out)
{
    struct model_tree *tree = place->tree;
    say(out, SAID_LINKED);
    if (model_link_find(tree, call->run, call->link_id) != NULL)
        return;
    if (place->run->links >= LINKS_MAX) {
        *out = (struct store_answer){.verdict = SAID_FULL, .text = STR("links")};
        return;
    }
    struct model_link *link =
        model_append((void **)&tree->link, &tree->link_count, &tree->link_room, sizeof *tree->link);
    *link = (struct model_link){.run = place->run->id,
                                .id = pool_keep(model, call->link_id),
                                .bytes = pool_keep(model, call->link)};
    place->run->links++;
}

void model_link_op(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct place place;
    say(out, SAID_UNKNOWN);
    if (!find(model, call, &place))
        return;
    struct model_run *run = place.run;
    struct model_link *known = model_link_find(place.tree, call->run, call->link_id);
    if (call->epoch < run->epoch) {
        say_fenced(out, run);
    } else if (call->acknowledge) {
        if (known != NULL)
            known->bytes = pool_keep(model, call->link);
        say(out, SAID_LINKED);
    } else if (place.bans.count > 0 && !model_has(run, RUN_FLAG_OBSERVE)) {
        say(out, SAID_REFUSED);
        set_ban(out, &place);
    } else if (run_is_over(run->state)) {
        *out = (struct store_answer){.verdict = SAID_OVER,
                                     .state = run->state,
                                     .epoch = run->epoch,
                                     .finished_anyway = run->finished};
        set_ban(out, &place);
    } else {
        add_link(model, call, &place, out);
    }
}

static void keep_checkpoint(struct model *model, const struct store_call *call)
{
    if (call->bytes.len == 0)
        return;
    struct model_keys *keys = &model->keys;
    struct str key = pool_keepf(model, "{%.*s}:cp:%.*s", (int)call->root.len, call->root.at,
                                (int)call->run.len, call->run.at);
    struct model_value *value = NULL;
    for (size_t i = 0; i < keys->value_count; i++)
        if (str_eq(keys->value[i].key, key))
            value = &keys->value[i];
    if (value == NULL)
        value = model_append((void **)&keys->value, &keys->value_count, &keys->value_room,
                             sizeof *keys->value);
    *value = (struct model_value){key, pool_keep(model, call->bytes), model->now + model->ttl};
}

static void grant(struct model *model, const struct store_call *call, bool last,
                  struct store_answer *out)
{
    keep_checkpoint(model, call);
    *out = (struct store_answer){.verdict = SAID_GRANTED, .last = last};
}

void model_checkpoint(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct place place;
    say(out, SAID_UNKNOWN);
    if (!find(model, call, &place))
        return;
    struct model_run *run = place.run;
    bool is_banned = place.bans.count > 0 && !model_has(run, RUN_FLAG_OBSERVE);
    say(out, SAID_FROZEN);
    if (call->epoch < run->epoch) {
        say_fenced(out, run);
    } else if (is_banned && run->has_write_id && str_eq(run->write_id, call->write_id)) {
        grant(model, call, true, out);
    } else if (run_is_live(run->state) && !(is_banned && model_has(run, RUN_FLAG_FROZEN))) {
        run->epoch = call->epoch;
        if (is_banned) {
            run->flags |= RUN_FLAG_FROZEN;
            run->has_write_id = true;
            run->write_id = pool_keep(model, call->write_id);
        }
        grant(model, call, is_banned, out);
    }
}

void model_peek(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct place place;
    find(model, call, &place);
    const struct model_run *run = place.run;
    say(out, SAID_UNKNOWN);
    if (run == NULL)
        return;
    *out = (struct store_answer){.verdict = SAID_OK,
                                 .state = run->state,
                                 .epoch = run->epoch,
                                 .flags = run->flags,
                                 .incarnation = run->incarnation,
                                 .owner = run->owner,
                                 .path = model_path(model, place.tree, NULL, run->id),
                                 .number = place.tree->n,
                                 .finished_anyway = run->finished};
    set_ban(out, &place);
    if (run->deadline != 0)
        out->deadline_ms = run->deadline > model->now ? run->deadline - model->now : 1;
}

/* There is one server here, and nothing of it is lost between two calls. */
void model_sync(struct model *model, const struct store_call *call, struct store_answer *out)
{
    struct place place;
    find(model, call, &place);
    const struct model_run *run = place.run;
    bool is_there = run != NULL && (call->epoch > 0 ? run->epoch >= call->epoch : run->has_record);
    if (is_there && call->write_id.len > 0)
        is_there = run->has_write_id && str_eq(run->write_id, call->write_id);
    say(out, is_there ? SAID_OK : SAID_NOT_FOUND);
}
