/* What is stored of a run beside its state: its meta, its links and the story of its stop. */
#include "wire/message.h"

#include "wire/pack.h"

enum { STORED_VERSION = 1 };

/* meta: version agent thread started_ms born_on token_hash linked_from retry_of resumed_from pid
 * [key value…] */

static void read_labels(struct reader *in, struct run_meta *meta)
{
    struct reader labels = take_array(in);
    if (labels.left > (size_t)LABELS_MAX * 2) {
        reader_fail(in, ERR_TOO_LARGE);
        return;
    }
    while (labels.left > 0) {
        struct label *label = &meta->label[meta->label_count++];
        label->key = take_text(&labels);
        label->value = take_text(&labels);
    }
    if (labels.err != ERR_OK)
        reader_fail(in, labels.err);
}

static struct run_meta read_meta(struct reader *in)
{
    struct run_meta meta = {0};
    take_version(in, STORED_VERSION);
    meta.agent = take_text(in);
    meta.thread = take_text(in);
    meta.started = take_wall(in);
    meta.born_on = take_text(in);
    meta.token_hash = take_text(in);
    meta.linked_from = take_text(in);
    meta.retry_of = take_text(in);
    meta.resumed_from = take_text(in);
    meta.pid = take_u32(in);
    read_labels(in, &meta);
    return meta;
}

enum err wire_meta_decode(struct str bytes, struct run_meta *out)
{
    msgpack_unpacked memory;
    struct reader in;
    struct run_meta meta;
    enum err err = reader_open(bytes, &memory, &in);
    if (err == ERR_OK) {
        meta = read_meta(&in);
        err = in.err;
    }
    msgpack_unpacked_destroy(&memory);
    if (err == ERR_OK)
        *out = meta;
    return err;
}

enum err wire_meta_encode(const struct run_meta *meta, struct buf *out)
{
    struct writer writer;
    writer_open(&writer, out);
    put_array(&writer, 11);
    put_int(&writer, STORED_VERSION);
    put_text(&writer, meta->agent);
    put_text(&writer, meta->thread);
    put_int(&writer, meta->started.ms);
    put_text(&writer, meta->born_on);
    put_text(&writer, meta->token_hash);
    put_text(&writer, meta->linked_from);
    put_text(&writer, meta->retry_of);
    put_text(&writer, meta->resumed_from);
    put_int(&writer, meta->pid);
    put_array(&writer, meta->label_count * 2);
    for (size_t i = 0; i < meta->label_count; i++) {
        put_text(&writer, meta->label[i].key);
        put_text(&writer, meta->label[i].value);
    }
    return writer_close(&writer);
}

/* link: version kind to acknowledged */

enum err wire_link_decode(struct str bytes, struct run_link *out)
{
    msgpack_unpacked memory;
    struct reader in;
    struct run_link link = {0};
    enum err err = reader_open(bytes, &memory, &in);
    if (err == ERR_OK) {
        take_version(&in, STORED_VERSION);
        link.kind = (enum link_kind)take_int(&in, LINK_ROOT, LINK_HTTP);
        link.to = take_text(&in);
        link.acknowledged = take_bool(&in);
        err = in.err;
    }
    msgpack_unpacked_destroy(&memory);
    if (err == ERR_OK)
        *out = link;
    return err;
}

enum err wire_link_encode(const struct run_link *link, struct buf *out)
{
    struct writer writer;
    writer_open(&writer, out);
    put_array(&writer, 4);
    put_int(&writer, STORED_VERSION);
    put_int(&writer, (int64_t)link->kind);
    put_text(&writer, link->to);
    put_bool(&writer, link->acknowledged);
    return writer_close(&writer);
}

/* story: version delivered acknowledged cleaned_up checkpointed terminated killed stopped (ms)
 * by found */

static struct stop_story read_story(struct reader *in)
{
    struct stop_story story = {0};
    take_version(in, STORED_VERSION);
    story.delivered = take_wall(in);
    story.acknowledged = take_wall(in);
    story.cleaned_up = take_wall(in);
    story.checkpointed = take_wall(in);
    story.terminated = take_wall(in);
    story.killed = take_wall(in);
    story.stopped = take_wall(in);
    story.by = (enum stopped_by)take_int(in, STOPPED_BY_NONE, STOPPED_BY_KILL);
    story.found = take_u32(in);
    return story;
}

enum err wire_story_decode(struct str bytes, struct stop_story *out)
{
    msgpack_unpacked memory;
    struct reader in;
    struct stop_story story;
    enum err err = reader_open(bytes, &memory, &in);
    if (err == ERR_OK) {
        story = read_story(&in);
        err = in.err;
    }
    msgpack_unpacked_destroy(&memory);
    if (err == ERR_OK)
        *out = story;
    return err;
}

enum err wire_story_encode(const struct stop_story *story, struct buf *out)
{
    struct writer writer;
    writer_open(&writer, out);
    put_array(&writer, 10);
    put_int(&writer, STORED_VERSION);
    put_int(&writer, story->delivered.ms);
    put_int(&writer, story->acknowledged.ms);
    put_int(&writer, story->cleaned_up.ms);
    put_int(&writer, story->checkpointed.ms);
    put_int(&writer, story->terminated.ms);
    put_int(&writer, story->killed.ms);
    put_int(&writer, story->stopped.ms);
    put_int(&writer, (int64_t)story->by);
    put_int(&writer, story->found);
    return writer_close(&writer);
}
