/* Messages and stored records against tests/vectors/messages.json, which every client library is
 * held to as well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "support/vectors.h"
#include "wire/message.h"

static json_t *text(struct str text)
{
    json_t *json = json_stringn(text.len > 0 ? text.at : "", text.len);
    assert_non_null(json);
    return json;
}

static const char *state_or_empty(enum run_state state)
{
    return state == RUN_NONE ? "" : run_state_name(state);
}

static json_t *cancel_json(const struct cancel_record *cancel)
{
    return json_pack("{so so ss so so sI so sI so sI sb}", "root", text(cancel->root), "target",
                     text(cancel->target), "action", action_name(cancel->action), "reason",
                     text(cancel->reason), "by", text(cancel->by), "at_ms",
                     (json_int_t)cancel->at.ms, "trace_id", text(cancel->trace_id), "grace_ms",
                     (json_int_t)cancel->grace.ms, "cause", text(cancel->cause), "hops",
                     (json_int_t)cancel->hops, "unrecorded", (int)cancel->unrecorded);
}

static json_t *ended_json(const struct message_ended *ended)
{
    return json_pack("{so so sI ss ss sI}", "root", text(ended->root), "run", text(ended->run),
                     "epoch", (json_int_t)ended->epoch, "state", run_state_name(ended->state),
                     "finished_anyway", state_or_empty(ended->finished_anyway), "flags",
                     (json_int_t)ended->flags);
}

static json_t *report_json(const struct message_report *report)
{
    json_t *items = json_array();
    for (size_t i = 0; i < report->count; i++) {
        const struct report_item *item = &report->item[i];
        json_array_append_new(items,
                              json_pack("{so sI sI}", "run", text(item->run), "epoch",
                                        (json_int_t)item->epoch, "flags", (json_int_t)item->flags));
    }
    return json_pack("{so so}", "root", text(report->root), "items", items);
}

static json_t *meta_json(const struct run_meta *meta)
{
    json_t *labels = json_array();
    for (size_t i = 0; i < meta->label_count; i++)
        json_array_append_new(labels, json_pack("[oo]", text(meta->label[i].key),
                                                text(meta->label[i].value)));
    return json_pack("{so so sI so so so so so sI so}", "agent", text(meta->agent), "thread",
                     text(meta->thread), "started_ms", (json_int_t)meta->started.ms, "born_on",
                     text(meta->born_on), "token_hash", text(meta->token_hash), "linked_from",
                     text(meta->linked_from), "retry_of", text(meta->retry_of), "resumed_from",
                     text(meta->resumed_from), "pid", (json_int_t)meta->pid, "labels", labels);
}

static json_t *link_json(const struct run_link *link)
{
    return json_pack("{ss so sb}", "kind", link_kind_name(link->kind), "to", text(link->to),
                     "acknowledged", (int)link->acknowledged);
}

static json_t *story_json(const struct stop_story *story)
{
    return json_pack("{sI sI sI sI sI sI sI ss sI}", "delivered_ms",
                     (json_int_t)story->delivered.ms, "acknowledged_ms",
                     (json_int_t)story->acknowledged.ms, "cleaned_up_ms",
                     (json_int_t)story->cleaned_up.ms, "checkpointed_ms",
                     (json_int_t)story->checkpointed.ms, "terminated_ms",
                     (json_int_t)story->terminated.ms, "killed_ms", (json_int_t)story->killed.ms,
                     "stopped_ms", (json_int_t)story->stopped.ms, "by", stopped_by_name(story->by),
                     "found", (json_int_t)story->found);
}

/* Anything that has a layout, decoded. */
struct decoded {
    struct message message;
    struct run_meta meta;
    struct run_link link;
    struct stop_story story;
};

static bool is_message(struct str kind)
{
    return str_is(kind, "cancel") || str_is(kind, "ended") || str_is(kind, "report");
}

static enum err decode(struct str kind, struct str bytes, struct decoded *out)
{
    if (str_is(kind, "meta"))
        return wire_meta_decode(bytes, &out->meta);
    if (str_is(kind, "link"))
        return wire_link_decode(bytes, &out->link);
    if (str_is(kind, "story"))
        return wire_story_decode(bytes, &out->story);
    assert_true(is_message(kind));
    return wire_message_decode(bytes, &out->message);
}

static enum err encode(struct str kind, const struct decoded *decoded, struct buf *out)
{
    if (str_is(kind, "meta"))
        return wire_meta_encode(&decoded->meta, out);
    if (str_is(kind, "link"))
        return wire_link_encode(&decoded->link, out);
    if (str_is(kind, "story"))
        return wire_story_encode(&decoded->story, out);
    return wire_message_encode(&decoded->message, out);
}

static json_t *shown(struct str kind, const struct decoded *decoded)
{
    if (str_is(kind, "meta"))
        return meta_json(&decoded->meta);
    if (str_is(kind, "link"))
        return link_json(&decoded->link);
    if (str_is(kind, "story"))
        return story_json(&decoded->story);
    if (str_is(kind, "cancel"))
        return cancel_json(&decoded->message.cancel);
    return str_is(kind, "ended") ? ended_json(&decoded->message.ended)
                                 : report_json(&decoded->message.report);
}

static void the_good_vectors_mean_what_they_say(void **state)
{
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(*state, "good"), i, vector)
    {
        struct decoded decoded;
        struct str kind = vector_text(vector, "kind");
        struct str bytes = vector_bytes(vector, "hex");
        assert_int_equal(decode(kind, bytes, &decoded), ERR_OK);
        json_t *fields = shown(kind, &decoded);
        if (!json_equal(fields, json_object_get(vector, "fields")))
            fail_msg("%s: decoded as %s", vector_text(vector, "name").at, json_dumps(fields, 0));
        json_decref(fields);
        vector_free(bytes);
    }
}

static void what_was_decoded_is_encoded_as_it_was(void **state)
{
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(*state, "good"), i, vector)
    {
        if (json_is_true(json_object_get(vector, "decode_only")))
            continue;
        struct decoded decoded;
        struct str kind = vector_text(vector, "kind");
        struct str bytes = vector_bytes(vector, "hex");
        struct buf out = {0}, hex = {0};
        assert_int_equal(decode(kind, bytes, &decoded), ERR_OK);
        assert_int_equal(encode(kind, &decoded, &out), ERR_OK);
        vector_add_hex(&hex, buf_str(&out));
        assert_string_equal(hex.bytes, vector_text(vector, "hex").at);
        buf_fini(&hex);
        buf_fini(&out);
        vector_free(bytes);
    }
}

static enum err err_of_name(struct str name)
{
    return str_is(name, "malformed")   ? ERR_MALFORMED
           : str_is(name, "invalid")   ? ERR_INVALID
           : str_is(name, "too_large") ? ERR_TOO_LARGE
                                       : ERR_OK;
}

static void the_bad_vectors_are_refused_and_leave_no_trace(void **state)
{
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(*state, "bad"), i, vector)
    {
        struct decoded decoded, before;
        memset(&before, 0x5a, sizeof before);
        memset(&decoded, 0x5a, sizeof decoded);
        struct str bytes = vector_bytes(vector, "hex");
        enum err err = decode(vector_text(vector, "kind"), bytes, &decoded);
        if (err != err_of_name(vector_text(vector, "error")))
            fail_msg("%s: %s", vector_text(vector, "name").at, err_text(err));
        assert_memory_equal(&decoded, &before, sizeof decoded);
        vector_free(bytes);
    }
}

/* Every beginning of a good message is malformed: nothing is read that is not there. */
static void a_message_cut_anywhere_is_malformed(void **state)
{
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(*state, "good"), i, vector)
    {
        struct decoded decoded;
        struct str bytes = vector_bytes(vector, "hex");
        for (size_t len = 0; len < bytes.len; len++) {
            char *part_bytes = mem_new(len);
            memcpy(part_bytes, bytes.at, len);
            struct str part = {part_bytes, len};
            assert_int_equal(decode(vector_text(vector, "kind"), part, &decoded), ERR_MALFORMED);
            vector_free(part);
        }
        vector_free(bytes);
    }
}

static void a_record_is_a_cancel_and_nothing_else(void **state)
{
    const json_t *vector;
    size_t i;
    json_array_foreach(json_object_get(*state, "good"), i, vector)
    {
        struct str kind = vector_text(vector, "kind");
        struct str bytes = vector_bytes(vector, "hex");
        struct cancel_record record;
        if (is_message(kind))
            assert_int_equal(wire_record_decode(bytes, &record),
                             str_is(kind, "cancel") ? ERR_OK : ERR_MALFORMED);
        vector_free(bytes);
    }
}

static const struct cancel_record small_cancel = {
    .root = {"r", 1}, .target = {"t", 1}, .grace = {-1}};

static void texts_live_in_the_bytes_they_came_from(void **state)
{
    (void)state;
    struct buf bytes = {0};
    struct cancel_record record = small_cancel, back;
    record.reason = STR("because");
    assert_int_equal(wire_record_encode(&record, &bytes), ERR_OK);
    assert_int_equal(wire_record_decode(buf_str(&bytes), &back), ERR_OK);
    assert_true(back.reason.at > bytes.bytes && back.reason.at < bytes.bytes + bytes.len);
    assert_true(str_is(back.reason, "because"));
    buf_fini(&bytes);
}

static void a_record_that_does_not_fit_is_not_written(void **state)
{
    (void)state;
    static char long_text[TEXT_MAX_BYTES + 1];
    memset(long_text, 'x', sizeof long_text);
    struct buf out = {0};
    assert_int_equal(buf_add_text(&out, "before"), ERR_OK);
    struct cancel_record record = small_cancel;
    record.reason = (struct str){long_text, sizeof long_text};
    assert_int_equal(wire_record_encode(&record, &out), ERR_TOO_LARGE);
    record.reason = STR("\xff");
    assert_int_equal(wire_record_encode(&record, &out), ERR_INVALID);
    assert_string_equal(out.bytes, "before");

    struct run_meta meta = {.label_count = LABELS_MAX};
    for (size_t i = 0; i < LABELS_MAX; i++)
        meta.label[i] = (struct label){{long_text, TEXT_MAX_BYTES}, {long_text, 1}};
    assert_int_equal(wire_meta_encode(&meta, &out), ERR_TOO_LARGE);
    assert_string_equal(out.bytes, "before");
    buf_fini(&out);
}

static void no_memory_leaves_the_bytes_as_they_were(void **state)
{
    (void)state;
    struct buf out = {.limit = 10}; /* a limit stands in for memory that ran out */
    assert_int_equal(buf_add_text(&out, "before"), ERR_OK);
    assert_int_equal(wire_record_encode(&small_cancel, &out), ERR_NOMEM);
    assert_string_equal(out.bytes, "before");
    buf_fini(&out);
}

static void expect_text_cancel(struct str line, const char *run, const char *reason)
{
    struct str got_run, got_reason;
    assert_int_equal(wire_text_cancel(line, &got_run, &got_reason), ERR_OK);
    assert_true(str_is(got_run, run));
    assert_true(str_is(got_reason, reason));
}

static void a_cancel_may_be_written_by_hand(void **state)
{
    (void)state;
    expect_text_cancel(STR("cancel r1"), "r1", "");
    expect_text_cancel(STR("cancel r1\n"), "r1", "");
    expect_text_cancel(STR("cancel r1 it runs wild\r\n"), "r1", "it runs wild");
    expect_text_cancel(STR("cancel \t r-1_B   two  blanks"), "r-1_B", "two  blanks");
    expect_text_cancel(STR("cancel r1 "), "r1", "");
    expect_text_cancel(STR("cancel r1 größer"), "r1", "größer");
}

static void a_reason_ends_where_it_is_no_text_and_the_cancel_holds(void **state)
{
    (void)state;
    expect_text_cancel(STR("cancel r1 gr\xf6\xdf"
                           "er"),
                       "r1", "gr");
    expect_text_cancel(STR("cancel r1 one\ntwo"), "r1", "one");
    expect_text_cancel(STR("cancel r1 \x1b[2J"), "r1", "");
}

static void other_lines_are_not_cancels(void **state)
{
    (void)state;
    static char long_line[TEXT_MAX_BYTES + 2] = "cancel r1 ";
    memset(long_line + 10, 'x', TEXT_MAX_BYTES + 1 - 10);
    const struct str line[] = {
        STR_NONE,
        STR("cancel"),
        STR("cancel "),
        STR("cancelr1"),
        STR(" cancel r1"),
        STR("Cancel r1"),
        STR("stop r1"),
        STR("cancel r.1"),
        STR("cancel\nr1"),
        STR("\n"),
        {long_line, TEXT_MAX_BYTES + 1},
        STR("cancel r1\nx"),
    };
    for (size_t i = 0; i < sizeof line / sizeof *line; i++) {
        struct str run = STR("run"), reason = STR("reason");
        assert_int_equal(wire_text_cancel(line[i], &run, &reason), ERR_MALFORMED);
        assert_true(str_is(run, "run") && str_is(reason, "reason"));
    }
    long_line[TEXT_MAX_BYTES] = '\0';
    expect_text_cancel(str_of(long_line), "r1", long_line + 10);
}

static int load(void **state)
{
    *state = vectors_load("messages.json");
    return 0;
}

static int unload(void **state)
{
    json_decref(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_good_vectors_mean_what_they_say),
        cmocka_unit_test(what_was_decoded_is_encoded_as_it_was),
        cmocka_unit_test(the_bad_vectors_are_refused_and_leave_no_trace),
        cmocka_unit_test(a_message_cut_anywhere_is_malformed),
        cmocka_unit_test(a_record_is_a_cancel_and_nothing_else),
        cmocka_unit_test(texts_live_in_the_bytes_they_came_from),
        cmocka_unit_test(a_record_that_does_not_fit_is_not_written),
        cmocka_unit_test(no_memory_leaves_the_bytes_as_they_were),
        cmocka_unit_test(a_cancel_may_be_written_by_hand),
        cmocka_unit_test(a_reason_ends_where_it_is_no_text_and_the_cancel_holds),
        cmocka_unit_test(other_lines_are_not_cancels),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
