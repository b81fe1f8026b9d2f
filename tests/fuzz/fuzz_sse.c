/* An event stream of a stranger: however it is cut into pieces, the same events come out.
 *
 * The first byte is the size of the pieces of the second reading. */
#include <assert.h>
#include <stdlib.h>

#include "io/sse_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void note(void *owner, const char *name, const json_t *data)
{
    struct buf *seen = owner;
    assert(name[0] != '\0' && strlen(name) < SSE_NAME_MAX);
    char *text = data == NULL ? NULL : json_dumps(data, JSON_COMPACT | JSON_ENCODE_ANY);
    buf_addf(seen, "%s ", name);
    buf_add_text(seen, text != NULL ? text : "no JSON");
    buf_add_text(seen, "\n");
    free(text);
}

static void read_in_pieces(struct str stream, size_t piece, struct buf *seen)
{
    struct sse_reader reader;
    sse_reader_init(&reader, note, seen);
    while (stream.len > 0) {
        size_t len = piece < stream.len ? piece : stream.len;
        assert(sse_reader_take(&reader, (struct str){stream.at, len}));
        stream = (struct str){stream.at + len, stream.len - len};
    }
    sse_reader_fini(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct buf whole = {0}, pieces = {0};
    if (len == 0)
        return 0;
    struct str stream = {(const char *)bytes + 1, len - 1};
    read_in_pieces(stream, stream.len, &whole);
    read_in_pieces(stream, 1 + (size_t)bytes[0] % 64, &pieces);
    assert(str_eq(buf_str(&whole), buf_str(&pieces)));
    buf_fini(&whole);
    buf_fini(&pieces);
    return 0;
}
