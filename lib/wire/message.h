/* core/message.h <-> msgpack bytes. Arrays [version, type, fields…]; unknown trailing fields are
 * ignored, missing ones refused; every declared count is checked against the bytes left before
 * anything is unpacked. docs/PROTOCOL.md is normative, tests/vectors/ holds the bytes.
 *
 * Decoded strings are borrowed from `bytes`. ERR_MALFORMED: not such a message. ERR_INVALID: a good
 * array of a version or type that we do not speak (the caller reconciles that root). ERR_TOO_LARGE:
 * a limit of core/message.h. On an error `out` is untouched. */
#ifndef WIRE_MESSAGE_H
#define WIRE_MESSAGE_H

#include "base/buf.h"
#include "base/err.h"
#include "core/message.h"

enum err wire_message_decode(struct str bytes, struct message *out) MUST_CHECK;
/* Appends, all or nothing; ERR_TOO_LARGE or, for a text that is not UTF-8, ERR_INVALID. */
enum err wire_message_encode(const struct message *message, struct buf *out) MUST_CHECK;

/* A record alone is the CANCEL message. */
enum err wire_record_decode(struct str bytes, struct cancel_record *out) MUST_CHECK;
enum err wire_record_encode(const struct cancel_record *record, struct buf *out) MUST_CHECK;

enum err wire_meta_decode(struct str bytes, struct run_meta *out) MUST_CHECK;
enum err wire_meta_encode(const struct run_meta *meta, struct buf *out) MUST_CHECK;
enum err wire_link_decode(struct str bytes, struct run_link *out) MUST_CHECK;
enum err wire_link_encode(const struct run_link *link, struct buf *out) MUST_CHECK;
enum err wire_story_decode(struct str bytes, struct stop_story *out) MUST_CHECK;
enum err wire_story_encode(const struct stop_story *story, struct buf *out) MUST_CHECK;

/* The text form that a person publishes by hand: "cancel RUN reason…" (one line, reason may be
 * empty). ERR_MALFORMED when it is not that. */
enum err wire_text_cancel(struct str bytes, struct str *run, struct str *reason) MUST_CHECK;

#endif
