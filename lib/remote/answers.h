/* What the answers of other protocols mean. Bytes of strangers: anything may be in them.
 *
 * A2A: https://a2a-protocol.org, versions 0.3 and 1.0, JSON-RPC and REST, with the spellings that
 * its SDKs really send. LangGraph: the run of its server's REST API. */
#ifndef REMOTE_ANSWERS_H
#define REMOTE_ANSWERS_H

#include "base/buf.h"
#include "remote/text.h"

/* ---- A2A ----------------------------------------------------------------------------------- */
enum a2a_said {
    A2A_CANCELED,  /* a Task in this state; */
    A2A_COMPLETED, /* ... completed; */
    A2A_FAILED,    /* ... failed or rejected; */
    A2A_ACTIVE,    /* ... any other */
    A2A_NO_SUCH_TASK,
    A2A_NOT_CANCELABLE,
    A2A_ERROR, /* any other error, or an answer that is none of A2A's */
    A2A_BUSY   /* its server says: later */
};
enum a2a_said a2a_read_answer(long status, struct str body);

struct a2a_interface {
    enum a2a_version version;
    enum a2a_binding binding;
    struct buf path; /* of its endpoint, "/" at least; the caller owes buf_fini() */
};
/* The endpoint to use, of those in an agent card that fit what is wanted (ANY: all): 1.0 before
 * 0.3, JSON-RPC before REST. Of its URL only the path: a card names the address for the world, and
 * we ask the one agent that we know. False: there is none. */
bool a2a_read_card(struct str body, enum a2a_version version, enum a2a_binding binding,
                   struct a2a_interface *out);

/* ---- LangGraph ----------------------------------------------------------------------------- */
enum langgraph_said {
    LANGGRAPH_INTERRUPTED,
    LANGGRAPH_SUCCESS,
    LANGGRAPH_FAILED, /* error, timeout */
    LANGGRAPH_ACTIVE, /* pending, running */
    LANGGRAPH_UNCLEAR
};
enum langgraph_said langgraph_read_run(struct str body);
/* Of a 404: does it say that there is no such run or thread? Else the path is wrong. */
bool langgraph_has_no_such_run(struct str body);

#endif
