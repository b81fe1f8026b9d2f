#include "store/answer.h"

#include <hiredis/hiredis.h>

#include "base/mem.h"

/* What follows the verdict in a script's answer, one letter an element:
 *   s state   e epoch   f flags   i incarnation   o owner   p path   F finished_anyway
 *   B BAN (id, record, id)   c ban id alone   r record alone   n number   d deadline left
 *   l last    t text */
struct shape {
    enum store_op op;
    const char *word;
    enum store_verdict verdict;
    const char *fields;
};
static const struct shape shapes[] = {
    {STORE_START, "started", SAID_STARTED, "efpBd"},
    {STORE_START, "already", SAID_ALREADY, "sefpBd"},
    {STORE_START, "exists", SAID_EXISTS, "seio"},
    {STORE_START, "refused", SAID_REFUSED, "B"},
    {STORE_START, "over", SAID_OVER, "seFB"},
    {STORE_START, "full", SAID_FULL, "t"},
    {STORE_ASSERT, "adopted", SAID_ADOPTED, "efpd"},
    {STORE_ASSERT, "stop", SAID_STOP, "efpBd"},
    {STORE_ASSERT, "over", SAID_OVER, "seFB"},
    {STORE_ASSERT, "fenced", SAID_FENCED, "eo"},
    {STORE_ASSERT, "unauthorized", SAID_UNAUTHORIZED, ""},
    {STORE_ASSERT, "unknown", SAID_UNKNOWN, ""},
    {STORE_CANCEL, "accepted", SAID_ACCEPTED, "sfcn"},
    {STORE_CANCEL, "already", SAID_ALREADY, "sfcr"},
    {STORE_CANCEL, "over", SAID_OVER, "seFn"},
    {STORE_CANCEL, "not_found", SAID_NOT_FOUND, ""},
    {STORE_END, "ended", SAID_ENDED, "sF"},
    {STORE_END, "already", SAID_ALREADY, "sF"},
    {STORE_END, "fenced", SAID_FENCED, "e"},
    {STORE_END, "not_cancelled", SAID_NOT_CANCELLED, ""},
    {STORE_END, "unknown", SAID_UNKNOWN, ""},
    {STORE_REPORT, "ok", SAID_OK, "sef"},
    {STORE_REPORT, "fenced", SAID_FENCED, "sef"},
    {STORE_REPORT, "over", SAID_OVER, "sef"},
    {STORE_REPORT, "unknown", SAID_UNKNOWN, "sef"},
    {STORE_RECONCILE, "go", SAID_GO, "sefB"},
    {STORE_RECONCILE, "stop", SAID_STOP, "sefB"},
    {STORE_RECONCILE, "over", SAID_OVER, "sefB"},
    {STORE_RECONCILE, "fenced", SAID_FENCED, "sefB"},
    {STORE_RECONCILE, "behind", SAID_BEHIND, "sefB"},
    {STORE_RECONCILE, "unknown", SAID_UNKNOWN, "sefB"},
    {STORE_LOST, "lost", SAID_LOST, ""},
    {STORE_LOST, "suspect", SAID_SUSPECT, ""},
    {STORE_LOST, "already", SAID_ALREADY, "s"},
    {STORE_LOST, "fenced", SAID_FENCED, "e"},
    {STORE_LOST, "unknown", SAID_UNKNOWN, ""},
    {STORE_LINK, "linked", SAID_LINKED, ""},
    {STORE_LINK, "refused", SAID_REFUSED, "B"},
    {STORE_LINK, "over", SAID_OVER, "seFB"},
    {STORE_LINK, "full", SAID_FULL, "t"},
    {STORE_LINK, "fenced", SAID_FENCED, "e"},
    {STORE_LINK, "unknown", SAID_UNKNOWN, ""},
    {STORE_CHECKPOINT, "granted", SAID_GRANTED, "l"},
    {STORE_CHECKPOINT, "frozen", SAID_FROZEN, ""},
    {STORE_CHECKPOINT, "fenced", SAID_FENCED, "e"},
    {STORE_CHECKPOINT, "unknown", SAID_UNKNOWN, ""},
    {STORE_PEEK, "ok", SAID_OK, "sefiopBnFd"},
    {STORE_PEEK, "unknown", SAID_UNKNOWN, ""},
    {STORE_SYNC, "ok", SAID_OK, ""},
    {STORE_SYNC, "not_found", SAID_NOT_FOUND, ""},
    {STORE_LEASE, "ok", SAID_OK, ""},
    {STORE_REMEMBER, "ok", SAID_OK, ""},
    {STORE_REMEMBER, "exists", SAID_EXISTS, "t"},
    {STORE_FIND_CLAIM, "ok", SAID_OK, ""},
    {STORE_FIND_CLAIM, "exists", SAID_EXISTS, "t"},
    {STORE_FIND_DROP, "ok", SAID_OK, ""},
    {STORE_ALIAS, "ok", SAID_OK, ""},
    {STORE_ALIAS, "exists", SAID_EXISTS, "t"},
    {STORE_GENERATION, "ok", SAID_OK, "t"},
    {STORE_GENERATION, "not_found", SAID_NOT_FOUND, ""},
    {STORE_LOCK, "ok", SAID_OK, ""},
    {STORE_LOCK, "exists", SAID_EXISTS, "t"},
    {STORE_LOSS_COUNT, "ok", SAID_OK, "n"},
    {STORE_THREAD_ENTER, "ok", SAID_OK, "l"},
    {STORE_THREAD_ENTER, "exists", SAID_EXISTS, "l"},
    {STORE_THREAD_LEAVE, "ok", SAID_OK, ""},
    {STORE_THREAD_READ, "ok", SAID_OK, ""},
    {STORE_ORDER, "ok", SAID_OK, "n"},
    {STORE_ORDER, "already", SAID_ALREADY, "r"},
    {STORE_ORDER, "full", SAID_FULL, "t"},
    {STORE_ORDER_LIFT, "ok", SAID_OK, ""},
    {STORE_ORDER_LIFT, "already", SAID_ALREADY, ""},
    {STORE_ORDER_LIFT, "not_found", SAID_NOT_FOUND, ""},
    {STORE_ORDER_PROGRESS, "ok", SAID_OK, ""},
    {STORE_ORDER_PROGRESS, "not_found", SAID_NOT_FOUND, ""},
    {STORE_ORDERS_READ, "ok", SAID_OK, "n"},
};

static const char odd[] = "redis answered in a shape that no script of ours has";

void answer_fail(struct store_answer *out, enum store_verdict verdict, const char *text)
{
    *out = (struct store_answer){.verdict = verdict, .text = str_of(text)};
}

static bool to_text(const redisReply *reply, struct str *out)
{
    bool is_text = reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS;
    if (is_text)
        *out = (struct str){reply->str, reply->len};
    return is_text;
}

/* An integer, its decimal text, or nothing at all (0). */
static bool to_number(const redisReply *reply, int64_t *out)
{
    struct str text;
    if (reply->type == REDIS_REPLY_INTEGER) {
        *out = reply->integer;
        return true;
    }
    if (reply->type == REDIS_REPLY_DOUBLE) {
        bool fits = reply->dval > -9e15 && reply->dval < 9e15; /* no NaN, either */
        *out = fits ? (int64_t)reply->dval : 0;
        return fits;
    }
    if (!to_text(reply, &text))
        return false;
    *out = 0;
    return text.len == 0 || str_to_int(text, out);
}

static bool to_u32(const redisReply *reply, uint32_t *out)
{
    int64_t number;
    if (!to_number(reply, &number) || number < 0 || number > UINT32_MAX)
        return false;
    *out = (uint32_t)number;
    return true;
}

static bool to_state(const redisReply *reply, enum run_state *out)
{
    struct str text;
    *out = RUN_NONE;
    if (!to_text(reply, &text) || text.len > 1)
        return false;
    return text.len == 0 || run_state_of_letter(text.at[0], out);
}

static bool read_field(char field, const redisReply *const *at, struct store_answer *out)
{
    int64_t number = 0;
    struct str ignored;
    switch (field) {
    case 's':
        return to_state(*at, &out->state);
    case 'F':
        return to_state(*at, &out->finished_anyway);
    case 'e':
        return to_u32(*at, &out->epoch);
    case 'f':
        return to_u32(*at, &out->flags);
    case 'i':
        return to_text(*at, &out->incarnation);
    case 'o':
        return to_text(*at, &out->owner);
    case 'p':
        return to_text(*at, &out->path);
    case 'c':
        return to_text(*at, &out->ban);
    case 'r':
        return to_text(*at, &out->record);
    case 't':
        return to_text(*at, &out->text);
    case 'n':
        return to_number(*at, &out->number);
    case 'B':
        return to_text(at[0], &out->ban) && to_text(at[1], &out->record)
               && to_text(at[2], &ignored);
    case 'd':
        out->deadline_ms = 0;
        if (to_text(*at, &ignored) && ignored.len == 0)
            return true; /* none; one that has passed is told as 1 ms */
        if (!to_number(*at, &out->deadline_ms))
            return false;
        out->deadline_ms = out->deadline_ms > 0 ? out->deadline_ms : 1;
        return true;
    default: /* l */
        out->last = to_number(*at, &number) && number == 1;
        return true;
    }
}

static const struct shape *shape_of(enum store_op op, struct str word)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (shapes[i].op == op && str_is(word, shapes[i].word))
            return &shapes[i];
    return NULL;
}

static bool read_script(enum store_op op, const redisReply *reply, struct store_answer *out)
{
    struct str word;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0
        || !to_text(reply->element[0], &word))
        return false;
    const struct shape *shape = shape_of(op, word);
    if (shape == NULL)
        return false;
    *out = (struct store_answer){.verdict = shape->verdict};
    size_t at = 1;
    for (const char *field = shape->fields; *field != '\0'; field++) {
        size_t width = *field == 'B' ? 3 : 1;
        if (at + width > reply->elements)
            return false;
        if (!read_field(*field, (const redisReply *const *)&reply->element[at], out))
            return false;
        at += width;
    }
    return true;
}

static bool read_items(enum store_op op, const redisReply *reply, struct answer_room *room,
                       struct store_answer *out)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements > STORE_ITEMS_MAX)
        return false;
    for (size_t i = 0; i < reply->elements; i++) {
        struct store_answer one;
        if (!read_script(op, reply->element[i], &one))
            return false;
        room->item[i] = (struct store_item){
            .verdict = one.verdict,
            .state = one.state,
            .epoch = one.epoch,
            .flags = one.flags,
            .ban = one.ban,
            .record = one.record,
        };
    }
    *out = (struct store_answer){
        .verdict = SAID_OK, .item_count = reply->elements, .item = room->item};
    return true;
}

static bool is_a_loss(struct str name)
{
    static const struct str mark = {"lost:", 5};
    return name.len > mark.len && memcmp(name.at, mark.at, mark.len) == 0;
}

/* Members, or members and scores: side by side in RESP2, in pairs in RESP3. */
static bool read_list(const redisReply *reply, bool scored, struct answer_room *room,
                      struct store_answer *out)
{
    bool is_list = reply->type == REDIS_REPLY_ARRAY || reply->type == REDIS_REPLY_SET;
    bool paired =
        scored && is_list && reply->elements > 0 && reply->element[0]->type == REDIS_REPLY_ARRAY;
    size_t step = scored && !paired ? 2 : 1;
    if (!is_list || reply->elements % step != 0)
        return false;
    size_t room_wanted = reply->elements / step;
    if (!mem_grow((void **)&room->list, &room->list_room, sizeof *room->list, room_wanted)
        || !mem_grow((void **)&room->score, &room->score_room, sizeof *room->score, room_wanted))
        return false;
    size_t count = 0;
    for (size_t i = 0; i < reply->elements; i += step) {
        redisReply *const *entry = paired ? reply->element[i]->element : &reply->element[i];
        if (paired
            && (reply->element[i]->type != REDIS_REPLY_ARRAY || reply->element[i]->elements != 2))
            return false;
        room->score[count] = 0;
        if (!to_text(entry[0], &room->list[count])
            || (scored && !to_number(entry[1], &room->score[count])))
            return false;
        count += is_a_loss(room->list[count]) ? 0 : 1;
    }
    *out = (struct store_answer){
        .verdict = SAID_OK, .list_count = count, .list = room->list, .score = room->score};
    return true;
}

/* [id, ["json", entry]] */
static bool read_entry(const redisReply *reply, struct str *id, struct str *entry)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
        return false;
    const redisReply *fields = reply->element[1];
    return to_text(reply->element[0], id) && fields->type == REDIS_REPLY_ARRAY
           && fields->elements >= 2 && to_text(fields->element[1], entry);
}

/* "<stream id> <json>" each. */
static bool read_audit(const redisReply *reply, struct answer_room *room, struct store_answer *out)
{
    struct str id = STR_NONE, entry;
    buf_clear(&room->text);
    if (reply->type != REDIS_REPLY_ARRAY
        || !mem_grow((void **)&room->list, &room->list_room, sizeof *room->list, reply->elements))
        return false;
    for (size_t i = 0; i < reply->elements; i++) {
        if (!read_entry(reply->element[i], &id, &entry))
            return false;
        room->list[i].len = id.len + 1 + entry.len;
        buf_add_str(&room->text, id);
        buf_add_text(&room->text, " ");
        buf_add_str(&room->text, entry);
    }
    if (room->text.failed)
        return false;
    const char *at = room->text.bytes; /* it does not move any more */
    for (size_t i = 0; i < reply->elements; at += room->list[i++].len)
        room->list[i].at = at;
    *out = (struct store_answer){
        .verdict = SAID_OK, .list_count = reply->elements, .list = room->list, .text = id};
    return true;
}

static bool read_text(const redisReply *reply, struct store_answer *out)
{
    *out = (struct store_answer){.verdict = SAID_NOT_FOUND};
    if (reply->type == REDIS_REPLY_NIL)
        return true;
    out->verdict = SAID_OK;
    return to_text(reply, &out->text);
}

static bool read_count(const redisReply *reply, struct store_answer *out)
{
    *out = (struct store_answer){.verdict = SAID_OK};
    return to_number(reply, &out->number);
}

/* ok version (id record hold_left_ms lifted_ms progress)… */
static bool read_orders(const redisReply *reply, struct answer_room *room, struct store_answer *out)
{
    enum { HEAD = 2, FIELDS = 5 };
    if (!read_script(STORE_ORDERS_READ, reply, out) || (reply->elements - HEAD) % FIELDS != 0)
        return false;
    size_t count = (reply->elements - HEAD) / FIELDS;
    if (!mem_grow((void **)&room->order, &room->order_room, sizeof *room->order, count))
        return false;
    for (size_t i = 0; i < count; i++) {
        redisReply *const *at = &reply->element[HEAD + i * FIELDS];
        struct store_order *order = &room->order[i];
        if (!to_text(at[0], &order->id) || !to_text(at[1], &order->record)
            || !to_number(at[2], &order->hold_left.ms) || !to_number(at[3], &order->lifted_ms)
            || !to_text(at[4], &order->progress))
            return false;
    }
    out->order_count = count;
    out->order = room->order;
    return true;
}

/* ok (entry)…, or a verdict, a flag and (run age)… */
static bool read_thread(enum store_op op, const redisReply *reply, struct answer_room *room,
                        struct store_answer *out)
{
    size_t head = op == STORE_THREAD_ENTER ? 2 : 1, step = op == STORE_THREAD_ENTER ? 2 : 1;
    if (!read_script(op, reply, out) || (reply->elements - head) % step != 0)
        return false;
    size_t count = (reply->elements - head) / step;
    if (!mem_grow((void **)&room->list, &room->list_room, sizeof *room->list, count)
        || !mem_grow((void **)&room->score, &room->score_room, sizeof *room->score, count))
        return false;
    for (size_t i = 0; i < count; i++) {
        redisReply *const *at = &reply->element[head + i * step];
        room->score[i] = 0;
        if (!to_text(at[0], &room->list[i]) || (step == 2 && !to_number(at[1], &room->score[i])))
            return false;
    }
    out->list_count = count;
    out->list = room->list;
    out->score = room->score;
    return true;
}

static bool read_version(const redisReply *reply, struct store_answer *out)
{
    *out = (struct store_answer){.verdict = SAID_OK};
    return reply->type == REDIS_REPLY_NIL || to_number(reply, &out->number);
}

static bool read_root_counts(const redisReply *reply, struct store_answer *out)
{
    *out = (struct store_answer){.verdict = SAID_NOT_FOUND};
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
        return false;
    const redisReply *live = reply->element[0], *bans = reply->element[1];
    if (live->type == REDIS_REPLY_NIL && bans->type == REDIS_REPLY_NIL)
        return true;
    out->verdict = SAID_OK;
    return (live->type == REDIS_REPLY_NIL || to_number(live, &out->number))
           && (bans->type == REDIS_REPLY_NIL || to_u32(bans, &out->epoch));
}

static bool read_time(const redisReply *reply, struct store_answer *out)
{
    int64_t seconds, micros;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
        || !to_number(reply->element[0], &seconds) || !to_number(reply->element[1], &micros)
        || seconds < 0 || seconds > INT32_MAX * INT64_C(1000))
        return false;
    *out = (struct store_answer){.verdict = SAID_OK, .number = seconds * 1000 + micros / 1000};
    return true;
}

static bool read_reply(enum store_op op, const redisReply *reply, struct answer_room *room,
                       struct store_answer *out)
{
    switch (op) {
    case STORE_REPORT:
    case STORE_RECONCILE:
        return read_items(op, reply, room, out);
    case STORE_HELD_READ:
    case STORE_QUARANTINE_READ:
    case STORE_CONFIRM_READ:
        return read_list(reply, false, room, out);
    case STORE_ROOTS_READ:
    case STORE_REPLICAS_READ:
        return read_list(reply, true, room, out);
    case STORE_LEASE_READ:
    case STORE_FIND_READ:
    case STORE_META_READ:
    case STORE_CHECKPOINT_READ:
        return read_text(reply, out);
    case STORE_AUDIT_READ:
        return read_audit(reply, room, out);
    case STORE_ROOT_COUNTS:
        return read_root_counts(reply, out);
    case STORE_TIME:
        return read_time(reply, out);
    case STORE_THREAD_ENTER:
    case STORE_THREAD_READ:
        return read_thread(op, reply, room, out);
    case STORE_ORDERS_READ:
        return read_orders(reply, room, out);
    case STORE_ORDERS_VERSION:
        return read_version(reply, out);
    case STORE_LEASE_RENEW:
        if (!read_count(reply, out))
            return false;
        out->verdict = out->number == 1 ? SAID_OK : SAID_GONE;
        return true;
    case STORE_AUDIT:
        return read_text(reply, out);
    case STORE_PUBLISH:
    case STORE_LEASE_DROP:
    case STORE_HELD_ADD:
    case STORE_HELD_DROP:
    case STORE_CONFIRM_ADD:
    case STORE_CONFIRM_DROP:
    case STORE_QUARANTINE_ADD:
    case STORE_QUARANTINE_DROP:
    case STORE_ROOT_ADD:
    case STORE_ROOT_DROP:
    case STORE_REPLICA_ADD:
        return read_count(reply, out);
    default:
        return read_script(op, reply, out);
    }
}

bool reply_is_error(const struct redisReply *reply, const char *word)
{
    size_t len = strlen(word);
    return reply->type == REDIS_REPLY_ERROR && reply->len >= len
           && memcmp(reply->str, word, len) == 0 && (reply->len == len || reply->str[len] == ' ');
}

/* Nothing happened, and it may work later or elsewhere. */
static bool is_unwritable(const redisReply *reply)
{
    static const char *const words[] = {"READONLY", "MISCONF", "NOREPLICAS",  "OOM",
                                        "LOADING",  "BUSY",    "CLUSTERDOWN", "MASTERDOWN",
                                        "TRYAGAIN", "MOVED",   "ASK"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (reply_is_error(reply, words[i]))
            return true;
    return false;
}

void answer_read(enum store_op op, const struct redisReply *reply, struct answer_room *room,
                 struct store_answer *out)
{
    if (reply == NULL) {
        answer_fail(out, SAID_OFFLINE, "the connection to redis broke before the answer");
    } else if (reply->type == REDIS_REPLY_ERROR) {
        *out = (struct store_answer){.verdict = is_unwritable(reply) ? SAID_UNWRITABLE : SAID_ERROR,
                                     .text = {reply->str, reply->len}};
    } else if (!read_reply(op, reply, room, out)) {
        answer_fail(out, SAID_ERROR, odd);
    }
}

void answer_room_fini(struct answer_room *room)
{
    mem_free(room->list);
    mem_free(room->score);
    mem_free(room->order);
    buf_fini(&room->text);
    *room = (struct answer_room){.list = NULL};
}
