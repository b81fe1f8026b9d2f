/* Work in another program as one text: what is stored in a link, and kept of a stop target.
 *
 *     langgraph   <url>/threads/<thread_id>/runs/<run_id>
 *     a2a         <url>#task=<task_id>[&version=1.0|0.3][&binding=jsonrpc|rest]
 *     http        [<METHOD> ]<url>[\n<body>]
 *
 * Ids are percent-encoded. No text holds a header: links are kept in Redis. */
#ifndef REMOTE_TEXT_H
#define REMOTE_TEXT_H

#include "base/buf.h"
#include "core/message.h"

enum { REMOTE_ID_MAX = 256, REMOTE_METHOD_MAX = 16 };

enum a2a_version { A2A_ANY_VERSION, A2A_0_3, A2A_1_0 };
enum a2a_binding { A2A_ANY_BINDING, A2A_JSONRPC, A2A_REST };

struct remote_work {
    enum link_kind kind; /* LINK_LANGGRAPH, LINK_A2A, LINK_HTTP */
    struct str url;
    struct str thread_id, run_id; /* langgraph */
    struct str task_id;           /* a2a */
    enum a2a_version version;     /* a2a: ANY: as its agent card says */
    enum a2a_binding binding;
    struct str method, body; /* http; method "" = POST */
};

/* Appends it. NULL, or what is wrong with `work`, for a person (`out` is then unchanged). Nothing
 * is asked of the URL but that it can be taken apart again. */
const char *remote_text_write(const struct remote_work *work, struct buf *out);

/* Takes it apart; texts are lent by `text`, ids still encoded (they are for URLs). False: it is
 * none of ours. */
bool remote_text_read(enum link_kind kind, struct str text, struct remote_work *out);

/* Appends the bytes that an encoded id stands for: visible ASCII without quotes and backslashes, so
 * that they need no escape in JSON. ERR_MALFORMED: it holds others. */
enum err remote_text_decode(struct str encoded, struct buf *out) MUST_CHECK;

#endif
