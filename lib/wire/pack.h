/* Fields in and out of one msgpack array: what the layouts of message.c are written in.
 *
 * A reader and a writer both remember that something went wrong, so a layout is read as a list of
 * fields and checked once, at its end. */
#ifndef WIRE_PACK_H
#define WIRE_PACK_H

#include <msgpack.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mono.h"

enum { PACK_DEPTH_MAX = 4 };

struct reader {
    const msgpack_object *at;
    size_t left;
    enum err err; /* the first thing that was wrong */
};

/* One array, checked against the bytes before it is unpacked: lengths, counts, depth, nothing
 * behind it. The objects live in `memory`, which the caller destroys whatever is returned; their
 * texts in `bytes`. */
enum err reader_open(struct str bytes, msgpack_unpacked *memory, struct reader *out) MUST_CHECK;

/* Each takes the next field: of this type and within these bounds, else `err` is set and the
 * value is empty, or `least`. */
struct str take_text(struct reader *reader);
int64_t take_int(struct reader *reader, int64_t least, int64_t most);
uint32_t take_u32(struct reader *reader);
bool take_bool(struct reader *reader);
struct wall take_wall(struct reader *reader);
/* A version that is not one of ours is ERR_INVALID: it may be a good one of another century. */
void take_version(struct reader *reader, int64_t ours);
void take_version_between(struct reader *reader, int64_t oldest, int64_t newest);
struct reader take_array(struct reader *reader);
void reader_fail(struct reader *reader, enum err err);

struct writer {
    struct buf *out;
    size_t start; /* length of `out` before */
    enum err err;
    msgpack_packer packer;
};

void writer_open(struct writer *writer, struct buf *out);
void put_array(struct writer *writer, size_t count);
void put_text(struct writer *writer, struct str text);
void put_int(struct writer *writer, int64_t value);
void put_bool(struct writer *writer, bool value);
/* All or nothing: on an error `out` is as it was before. */
enum err writer_close(struct writer *writer) MUST_CHECK;

#endif
