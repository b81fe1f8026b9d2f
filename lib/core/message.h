/* What travels on a root's channels, and what is stored of a cancel (they are the same bytes).
 * Borrowed strings: they live as long as the bytes they were decoded from. */
#ifndef CORE_MESSAGE_H
#define CORE_MESSAGE_H

#include "base/mono.h"
#include "core/id.h"
#include "core/run.h"

/* 2 in the builds that tests take for daemons of the next version: docs/PROTOCOL.md section 4. */
#ifndef BRAKEWIRE_MESSAGE_VERSION
#define BRAKEWIRE_MESSAGE_VERSION 1
#endif

enum {
    MESSAGE_VERSION = BRAKEWIRE_MESSAGE_VERSION,                            /* what is written */
    MESSAGE_VERSION_OLDEST = MESSAGE_VERSION > 1 ? MESSAGE_VERSION - 1 : 1, /* and still read */
    MESSAGE_MAX_BYTES = 16384,
    TEXT_MAX_BYTES = 1024,
    CAUSE_HOPS_MAX = 128
};

enum action { ACTION_INTERRUPT, ACTION_ROLLBACK, ACTION_COUNT };
const char *action_name(enum action action);
bool action_of_name(struct str word, enum action *out);

/* The stored record of a cancel, and the CANCEL message. */
struct cancel_record {
    struct str root, target; /* cancel_id is "<root>.<target>" */
    enum action action;
    struct str reason;   /* free text, or one of ours: deadline, parent_ended, lost, budget, loop */
    struct str by;       /* who asked: "user:…", "client:…", "channel", "broker", "agentd" */
    struct wall at;      /* when it was requested */
    struct str trace_id; /* W3C trace id, may be empty */
    struct span grace; /* caps every grace of the stop ladder; SPAN_NONE: not given, 0: kill now */
    struct str cause;  /* the cancel_id that began it all; own cancel_id unless it came by a link */
    uint32_t hops;     /* links between cause and this */
    bool unrecorded;   /* published while Redis could not record it */
};

enum message_kind { MESSAGE_CANCEL = 1, MESSAGE_ENDED = 2, MESSAGE_REPORT = 3 };

struct message_ended {
    struct str root, run;
    uint32_t epoch;
    enum run_state state;
    enum run_state finished_anyway; /* RUN_NONE unless it ended by itself under a ban */
    uint32_t flags;
};
struct report_item {
    struct str run;
    uint32_t epoch;
    uint32_t flags; /* all that are set now, not only the new ones */
};
enum { REPORT_ITEMS_MAX = 64 };
struct message_report {
    struct str root;
    size_t count;
    struct report_item item[REPORT_ITEMS_MAX];
};

struct message {
    enum message_kind kind;
    union {
        struct cancel_record cancel;
        struct message_ended ended;
        struct message_report report;
    };
};

/* The story of how a run was stopped; msgpack in `e:<run>`, written by end. 0 ms: it never was. */
enum stopped_by { STOPPED_BY_NONE, STOPPED_BY_NOTICE, STOPPED_BY_TERM, STOPPED_BY_KILL };
enum found_by { FOUND_BY_PID = 1, FOUND_BY_CGROUP = 2, FOUND_BY_SUBREAPER = 4, FOUND_BY_TOKEN = 8 };
const char *stopped_by_name(enum stopped_by by); /* "", "notice", "TERM", "KILL" */
struct stop_story {
    struct wall delivered, acknowledged, cleaned_up, checkpointed, terminated, killed, stopped;
    enum stopped_by by;
    uint32_t found; /* bits of found_by */
};

/* A child that lives outside this tree. */
enum link_kind { LINK_ROOT, LINK_A2A, LINK_LANGGRAPH, LINK_HTTP };
const char *link_kind_name(enum link_kind kind);
struct run_link {
    enum link_kind kind;
    struct str to;     /* root: "<root>" or "<root>/<run>"; others: a URL (later issues) */
    bool acknowledged; /* its cancel was accepted over there */
};

/* What never changes of a run; msgpack in `m:<run>`. Empty strings where not given. */
enum { LABELS_MAX = 16 };
struct label {
    struct str key, value;
};
struct run_meta {
    struct str agent, thread;
    struct wall started;
    struct str born_on;    /* replica that registered it first */
    struct str token_hash; /* 32 hex digits of the client's token's SHA-256; adoption asks for it */
    struct str linked_from, retry_of, resumed_from;
    uint32_t pid; /* of its process target, 0 if none */
    size_t label_count;
    struct label label[LABELS_MAX];
};

#endif
