#include "wire/message.h"

#include "wire/pack.h"

static struct str take_id(struct reader *in)
{
    struct str id = take_text(in);
    if (in->err == ERR_OK && !id_is_valid(id))
        reader_fail(in, ERR_MALFORMED);
    return id;
}

/* "" where there is no state to tell. */
static enum run_state take_terminal_state(struct reader *in, bool may_be_none)
{
    struct str letter = take_text(in);
    enum run_state state = RUN_NONE;
    if (may_be_none && letter.len == 0)
        return RUN_NONE;
    if (letter.len != 1 || !run_state_of_letter(letter.at[0], &state) || !run_is_over(state))
        reader_fail(in, ERR_MALFORMED);
    return state;
}

static void put_state(struct writer *out, enum run_state state)
{
    char letter = run_state_letter(state);
    put_text(out, state == RUN_NONE ? STR_NONE : (struct str){&letter, 1});
}

/* A version adds fields behind those it knows. What a next one may add, nobody knows yet: a build
 * that plays it adds a text. */
enum { FIELDS_ADDED = MESSAGE_VERSION - 1 };

static void put_added(struct writer *out)
{
    for (int i = 0; i < FIELDS_ADDED; i++)
        put_text(out, STR("added"));
}

/* CANCEL: version type root target action reason by at_ms trace_id grace_ms cause hops unrecorded
 */

static struct cancel_record read_cancel(struct reader *in)
{
    struct cancel_record cancel = {0};
    cancel.root = take_id(in);
    cancel.target = take_id(in);
    cancel.action = (enum action)take_int(in, 0, ACTION_COUNT - 1);
    cancel.reason = take_text(in);
    cancel.by = take_text(in);
    cancel.at = take_wall(in);
    cancel.trace_id = take_text(in);
    cancel.grace = (struct span){take_int(in, SPAN_NONE.ms, INT64_MAX)};
    cancel.cause = take_text(in);
    cancel.hops = take_u32(in);
    cancel.unrecorded = take_bool(in);
    return cancel;
}

static void write_cancel(struct writer *out, const struct cancel_record *cancel)
{
    put_array(out, 13 + FIELDS_ADDED);
    put_int(out, MESSAGE_VERSION);
    put_int(out, MESSAGE_CANCEL);
    put_text(out, cancel->root);
    put_text(out, cancel->target);
    put_int(out, (int64_t)cancel->action);
    put_text(out, cancel->reason);
    put_text(out, cancel->by);
    put_int(out, cancel->at.ms);
    put_text(out, cancel->trace_id);
    put_int(out, cancel->grace.ms);
    put_text(out, cancel->cause);
    put_int(out, cancel->hops);
    put_bool(out, cancel->unrecorded);
    put_added(out);
}

/* ENDED: version type root run epoch state finished_anyway flags */

static struct message_ended read_ended(struct reader *in)
{
    struct message_ended ended = {0};
    ended.root = take_id(in);
    ended.run = take_id(in);
    ended.epoch = take_u32(in);
    ended.state = take_terminal_state(in, false);
    ended.finished_anyway = take_terminal_state(in, true);
    ended.flags = take_u32(in);
    return ended;
}

static void write_ended(struct writer *out, const struct message_ended *ended)
{
    put_array(out, 8 + FIELDS_ADDED);
    put_int(out, MESSAGE_VERSION);
    put_int(out, MESSAGE_ENDED);
    put_text(out, ended->root);
    put_text(out, ended->run);
    put_int(out, ended->epoch);
    put_state(out, ended->state);
    put_state(out, ended->finished_anyway);
    put_int(out, ended->flags);
    put_added(out);
}

/* REPORT: version type root [[run epoch flags]…] */

static void read_report(struct reader *in, struct message_report *report)
{
    report->root = take_id(in);
    struct reader items = take_array(in);
    if (items.left > REPORT_ITEMS_MAX) {
        reader_fail(in, ERR_TOO_LARGE);
        return;
    }
    report->count = 0;
    while (items.left > 0 && items.err == ERR_OK) {
        struct reader fields = take_array(&items);
        struct report_item *item = &report->item[report->count++];
        item->run = take_id(&fields);
        item->epoch = take_u32(&fields);
        item->flags = take_u32(&fields);
        if (fields.err != ERR_OK)
            reader_fail(&items, fields.err);
    }
    if (items.err != ERR_OK)
        reader_fail(in, items.err);
}

static void write_report(struct writer *out, const struct message_report *report)
{
    put_array(out, 4 + FIELDS_ADDED);
    put_int(out, MESSAGE_VERSION);
    put_int(out, MESSAGE_REPORT);
    put_text(out, report->root);
    put_array(out, report->count);
    for (size_t i = 0; i < report->count; i++) {
        put_array(out, 3);
        put_text(out, report->item[i].run);
        put_int(out, report->item[i].epoch);
        put_int(out, report->item[i].flags);
    }
    put_added(out);
}

/* A report is large: it is read in place, so `message` may hold half of one after an error. */
static void read_message(struct reader *in, struct message *message)
{
    take_version_between(in, MESSAGE_VERSION_OLDEST, MESSAGE_VERSION);
    int64_t kind = take_int(in, 0, INT64_MAX);
    message->kind = (enum message_kind)kind;
    if (kind == MESSAGE_CANCEL)
        message->cancel = read_cancel(in);
    else if (kind == MESSAGE_ENDED)
        message->ended = read_ended(in);
    else if (kind == MESSAGE_REPORT)
        read_report(in, &message->report);
    else
        reader_fail(in, ERR_INVALID);
}

enum err wire_message_decode(struct str bytes, struct message *out)
{
    msgpack_unpacked memory;
    struct reader in;
    struct message message;
    enum err err = reader_open(bytes, &memory, &in);
    if (err == ERR_OK) {
        read_message(&in, &message);
        err = in.err;
    }
    msgpack_unpacked_destroy(&memory);
    if (err == ERR_OK)
        *out = message;
    return err;
}

enum err wire_message_encode(const struct message *message, struct buf *out)
{
    struct writer writer;
    writer_open(&writer, out);
    if (message->kind == MESSAGE_CANCEL)
        write_cancel(&writer, &message->cancel);
    else if (message->kind == MESSAGE_ENDED)
        write_ended(&writer, &message->ended);
    else
        write_report(&writer, &message->report);
    return writer_close(&writer);
}

enum err wire_record_decode(struct str bytes, struct cancel_record *out)
{
    struct message message;
    enum err err = wire_message_decode(bytes, &message);
    if (err == ERR_OK && message.kind != MESSAGE_CANCEL)
        err = ERR_MALFORMED;
    if (err == ERR_OK)
        *out = message.cancel;
    return err;
}

enum err wire_record_encode(const struct cancel_record *record, struct buf *out)
{
    struct writer writer;
    writer_open(&writer, out);
    write_cancel(&writer, record);
    return writer_close(&writer);
}

static void skip_blanks(struct str *text)
{
    while (text->len > 0 && (text->at[0] == ' ' || text->at[0] == '\t'))
        *text = (struct str){text->at + 1, text->len - 1};
}

/* The part before the first blank, cut off with all the blanks behind it. */
static struct str cut_word(struct str *text)
{
    size_t len = 0;
    while (len < text->len && text->at[len] != ' ' && text->at[len] != '\t')
        len++;
    struct str word = {text->at, len};
    *text = (struct str){text->at + len, text->len - len};
    skip_blanks(text);
    return word;
}

/* A reason is for people to read: what is no text ends it, and never keeps the cancel from
 * being one. */
static struct str readable_part(struct str text)
{
    size_t len = 0;
    while (len < text.len && (unsigned char)text.at[len] >= ' ' && text.at[len] != 0x7f) {
        size_t character = str_utf8_length((struct str){text.at + len, text.len - len});
        if (character == 0)
            break;
        len += character;
    }
    return (struct str){text.at, len};
}

enum err wire_text_cancel(struct str bytes, struct str *run, struct str *reason)
{
    if (bytes.len == 0 || bytes.len > TEXT_MAX_BYTES)
        return ERR_MALFORMED;
    while (bytes.len > 0 && (bytes.at[bytes.len - 1] == '\n' || bytes.at[bytes.len - 1] == '\r'))
        bytes.len--;
    struct str word = cut_word(&bytes);
    struct str id = cut_word(&bytes);
    if (!str_is(word, "cancel") || !id_is_valid(id))
        return ERR_MALFORMED;
    *run = id;
    *reason = readable_part(bytes);
    return ERR_OK;
}
