#include "wire/pack.h"

#include "core/message.h"

/* What the first byte of a value announces. */
enum shape { PLAIN, TEXT, ARRAY, MAP, UNUSED };

struct head {
    enum shape shape;
    size_t bytes;  /* of the head itself */
    size_t body;   /* bytes behind the head */
    size_t values; /* values behind the head, of an array or map */
};

/* 0xc0 to 0xdf: how many bytes of length follow the first one, and how many bytes beside that. */
static const struct {
    uint8_t shape, length_bytes, fixed;
} announced[32] = {
    {PLAIN, 0, 0}, {UNUSED, 0, 0}, {PLAIN, 0, 0}, {PLAIN, 0, 0}, /* nil, -, false, true */
    {TEXT, 1, 0},  {TEXT, 2, 0},   {TEXT, 4, 0},                 /* bin */
    {TEXT, 1, 1},  {TEXT, 2, 1},   {TEXT, 4, 1},                 /* ext, with a type byte */
    {PLAIN, 0, 4}, {PLAIN, 0, 8},                                /* float */
    {PLAIN, 0, 1}, {PLAIN, 0, 2},  {PLAIN, 0, 4}, {PLAIN, 0, 8}, /* uint */
    {PLAIN, 0, 1}, {PLAIN, 0, 2},  {PLAIN, 0, 4}, {PLAIN, 0, 8}, /* int */
    {PLAIN, 0, 2}, {PLAIN, 0, 3},  {PLAIN, 0, 5}, {PLAIN, 0, 9}, {PLAIN, 0, 17}, /* fixext */
    {TEXT, 1, 0},  {TEXT, 2, 0},   {TEXT, 4, 0},                                 /* str */
    {ARRAY, 2, 0}, {ARRAY, 4, 0},  {MAP, 2, 0},   {MAP, 4, 0},
};

static struct head head_of(enum shape shape, size_t bytes, size_t fixed, size_t length)
{
    struct head head = {.shape = shape, .bytes = bytes, .body = fixed};
    if (shape == ARRAY || shape == MAP)
        head.values = shape == MAP ? length * 2 : length;
    else
        head.body += length;
    return head;
}

static bool read_head(struct str bytes, struct head *out)
{
    if (bytes.len == 0)
        return false;
    const unsigned char *at = (const unsigned char *)bytes.at;
    if (at[0] < 0x80 || at[0] >= 0xe0)
        *out = head_of(PLAIN, 1, 0, 0);
    else if (at[0] < 0xa0)
        *out = head_of(at[0] < 0x90 ? MAP : ARRAY, 1, 0, at[0] & 0x0f);
    else if (at[0] < 0xc0)
        *out = head_of(TEXT, 1, 0, at[0] & 0x1f);
    else {
        size_t kind = at[0] - 0xc0u, length = 0;
        if (announced[kind].shape == UNUSED || bytes.len - 1 < announced[kind].length_bytes)
            return false;
        for (size_t i = 1; i <= announced[kind].length_bytes; i++)
            length = length << 8 | at[i];
        *out = head_of(announced[kind].shape, 1u + announced[kind].length_bytes,
                       announced[kind].fixed, length);
    }
    return true;
}

/* The unpacker believes every count: five bytes make it ask for gigabytes. So all of them are
 * walked first. */
static enum err check_counts(struct str bytes)
{
    if (bytes.len > MESSAGE_MAX_BYTES)
        return ERR_TOO_LARGE;
    size_t open[PACK_DEPTH_MAX]; /* values still to come, of each array around this place */
    size_t depth = 0;
    struct head head;
    do {
        if (!read_head(bytes, &head))
            return ERR_MALFORMED;
        if (head.shape == TEXT && head.body > TEXT_MAX_BYTES)
            return ERR_TOO_LARGE;
        if (head.body > bytes.len - head.bytes)
            return ERR_MALFORMED;
        bytes = (struct str){bytes.at + head.bytes + head.body, bytes.len - head.bytes - head.body};
        if (head.values > bytes.len || (head.values > 0 && depth == PACK_DEPTH_MAX))
            return ERR_MALFORMED;
        if (head.values > 0)
            open[depth++] = head.values;
        else /* a value is complete, and with the last one so is what it is in */
            while (depth > 0 && --open[depth - 1] == 0)
                depth--;
    } while (depth > 0);
    return bytes.len == 0 ? ERR_OK : ERR_MALFORMED;
}

enum err reader_open(struct str bytes, msgpack_unpacked *memory, struct reader *out)
{
    msgpack_unpacked_init(memory);
    enum err err = check_counts(bytes);
    if (err != ERR_OK)
        return err;
    size_t used = 0;
    msgpack_unpack_return unpacked = msgpack_unpack_next(memory, bytes.at, bytes.len, &used);
    if (unpacked == MSGPACK_UNPACK_NOMEM_ERROR)
        return ERR_NOMEM;
    if (unpacked != MSGPACK_UNPACK_SUCCESS || used != bytes.len
        || memory->data.type != MSGPACK_OBJECT_ARRAY)
        return ERR_MALFORMED;
    const msgpack_object_array *array = &memory->data.via.array;
    *out = (struct reader){.at = array->ptr, .left = array->size};
    return ERR_OK;
}

void reader_fail(struct reader *reader, enum err err)
{
    if (reader->err == ERR_OK)
        reader->err = err;
    reader->left = 0;
}

/* NULL, and the reader has failed, unless there is one more field and it is of this type. */
static const msgpack_object *take(struct reader *reader, msgpack_object_type type)
{
    if (reader->left == 0 || reader->at->type != type) {
        reader_fail(reader, ERR_MALFORMED);
        return NULL;
    }
    reader->left--;
    return reader->at++;
}

struct str take_text(struct reader *reader)
{
    const msgpack_object *field = take(reader, MSGPACK_OBJECT_STR);
    if (field == NULL)
        return STR_NONE;
    struct str text = {field->via.str.ptr, field->via.str.size};
    if (str_is_utf8(text))
        return text;
    reader_fail(reader, ERR_MALFORMED);
    return STR_NONE;
}

int64_t take_int(struct reader *reader, int64_t least, int64_t most)
{
    bool negative = reader->left > 0 && reader->at->type == MSGPACK_OBJECT_NEGATIVE_INTEGER;
    const msgpack_object *field =
        take(reader, negative ? MSGPACK_OBJECT_NEGATIVE_INTEGER : MSGPACK_OBJECT_POSITIVE_INTEGER);
    if (field == NULL)
        return least;
    bool fits = negative || field->via.u64 <= INT64_MAX;
    if (fits && field->via.i64 >= least && field->via.i64 <= most)
        return field->via.i64;
    reader_fail(reader, ERR_MALFORMED);
    return least;
}

bool take_bool(struct reader *reader)
{
    const msgpack_object *field = take(reader, MSGPACK_OBJECT_BOOLEAN);
    return field != NULL && field->via.boolean;
}

uint32_t take_u32(struct reader *reader)
{
    return (uint32_t)take_int(reader, 0, UINT32_MAX);
}

struct wall take_wall(struct reader *reader)
{
    return (struct wall){take_int(reader, 0, INT64_MAX)};
}

void take_version_between(struct reader *reader, int64_t oldest, int64_t newest)
{
    int64_t version = take_int(reader, 0, INT64_MAX);
    if (reader->err == ERR_OK && (version < oldest || version > newest))
        reader_fail(reader, ERR_INVALID);
}

void take_version(struct reader *reader, int64_t ours)
{
    take_version_between(reader, ours, ours);
}

struct reader take_array(struct reader *reader)
{
    const msgpack_object *field = take(reader, MSGPACK_OBJECT_ARRAY);
    if (field == NULL)
        return (struct reader){0};
    return (struct reader){.at = field->via.array.ptr, .left = field->via.array.size};
}

static int append(void *out, const char *bytes, size_t len)
{
    return buf_add(out, bytes, len) == ERR_OK ? 0 : -1;
}

static void note(struct writer *writer, int packed)
{
    if (packed != 0 && writer->err == ERR_OK)
        writer->err = ERR_NOMEM;
}

void writer_open(struct writer *writer, struct buf *out)
{
    *writer = (struct writer){.out = out, .start = out->len};
    msgpack_packer_init(&writer->packer, out, append);
}

void put_array(struct writer *writer, size_t count)
{
    note(writer, msgpack_pack_array(&writer->packer, count));
}

void put_text(struct writer *writer, struct str text)
{
    if (writer->err == ERR_OK && text.len > TEXT_MAX_BYTES)
        writer->err = ERR_TOO_LARGE;
    else if (writer->err == ERR_OK && !str_is_utf8(text))
        writer->err = ERR_INVALID;
    if (writer->err != ERR_OK)
        return;
    note(writer, msgpack_pack_str(&writer->packer, text.len));
    note(writer, msgpack_pack_str_body(&writer->packer, text.len > 0 ? text.at : "", text.len));
}

void put_int(struct writer *writer, int64_t value)
{
    note(writer, msgpack_pack_int64(&writer->packer, value));
}

void put_bool(struct writer *writer, bool value)
{
    note(writer, value ? msgpack_pack_true(&writer->packer) : msgpack_pack_false(&writer->packer));
}

enum err writer_close(struct writer *writer)
{
    if (writer->err == ERR_OK && writer->out->len - writer->start > MESSAGE_MAX_BYTES)
        writer->err = ERR_TOO_LARGE;
    if (writer->err != ERR_OK)
        buf_cut(writer->out, writer->start);
    return writer->err;
}
