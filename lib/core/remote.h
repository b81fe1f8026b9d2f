/* Work in another program, cancelled by that program's own protocol: A2A, LangGraph, plain HTTP.
 *
 * The core says whom to ask and what to conclude; how the question is put, and what an answer means
 * in its protocol, is lib/remote's business. */
#ifndef CORE_REMOTE_H
#define CORE_REMOTE_H

#include "core/message.h"

/* What came of one question. Never "stopped": no protocol of these can promise that. */
enum remote_outcome {
    REMOTE_SENT,      /* the question is written to its socket; the answer follows */
    REMOTE_CANCELLED, /* it says that it is cancelled */
    REMOTE_ASKED,     /* it has taken the wish; the work goes on as far as it says */
    REMOTE_SUCCEEDED, /* had ended well by itself before */
    REMOTE_FAILED,    /* had ended badly by itself before */
    REMOTE_NOT_HERE,  /* it knows no such work */
    REMOTE_REFUSED,   /* it cannot or will not; asking again helps little */
    REMOTE_SILENT,    /* no answer in time: it may have heard it */
    REMOTE_UNREACHED, /* nobody there, or too busy: ask again */
    REMOTE_OUTCOME_COUNT
};
const char *remote_outcome_name(enum remote_outcome outcome); /* a word for the log */

struct remote_ask {
    enum link_kind kind; /* not LINK_ROOT */
    struct str to;       /* lib/remote/text.h says what it holds */
    struct str headers;  /* lines "Name: value\n" of a stop target, never of a link */
    enum action action;
    struct span within; /* the whole conversation */
};

/* Of a link: nothing is left to do. Work that nobody knows may be about to start, so that counts
 * only REMOTE_SETTLES_MS after the cancel was requested. */
enum { REMOTE_SETTLES_MS = 10000, REMOTE_WITHIN_MS = 5000 };
bool remote_is_settled(enum remote_outcome outcome, struct wall cancelled, struct wall now);
/* How long to wait before the n-th next attempt, from 0: 1 s, doubled up to 32 s. */
struct span remote_pause(unsigned attempt);

#endif
