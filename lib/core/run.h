/* One run, from registration to its final state: the states, what moves them, and the flags kept
 * beside the state. The Lua scripts are held to this table by a test that walks every cell.
 *
 * Pure: no clock, no allocation, no I/O. */
#ifndef CORE_RUN_H
#define CORE_RUN_H

#include "base/str.h"

/* name, letter in Redis, word in JSON */
#define RUN_STATE_LIST(X)                                                                   \
    X(NONE, '0', "unknown")    /* no record at all */                                       \
    X(NEVER, '-', "never")     /* a placeholder or a tombstone: named, never started */     \
    X(PENDING, 'p', "pending") /* asked to start, no answer yet; never stored */            \
    X(RUNNING, 'r', "running")                                                              \
    X(STOPPING, 's', "stopping") /* told to stop, or targeted itself */                     \
    X(SUCCESS, 'S', "success")                                                              \
    X(ERROR, 'E', "error")                                                                  \
    X(TIMEOUT, 'T', "timeout") /* ended under its own deadline; only Brakewire writes it */ \
    X(CANCELLED, 'C', "cancelled")                                                          \
    X(ROLLED_BACK, 'B', "rolled_back")                                                      \
    X(LOST, 'L', "lost")     /* its replica's lease ran out */                              \
    X(PAUSED, 'P', "paused") /* ended by itself, wants to be resumed as a new run */

enum run_state {
#define X(name, letter, word) RUN_##name,
    RUN_STATE_LIST(X)
#undef X
        RUN_STATE_COUNT
};

enum run_event {
    RUN_EV_START,  /* a fresh start */
    RUN_EV_ADOPT,  /* another incarnation takes it over */
    RUN_EV_ASSERT, /* its owner says again that it lives (after a loss) */
    RUN_EV_CANCEL, /* it is the target of an accepted cancel */
    RUN_EV_TOLD,   /* report: delivered, acknowledged, ... */
    RUN_EV_END_SUCCESS,
    RUN_EV_END_ERROR,
    RUN_EV_END_PAUSED,
    RUN_EV_END_CANCELLED,
    RUN_EV_END_ROLLED_BACK,
    RUN_EV_LEASE_OVER, /* declared lost (on_lost = cancel) */
    RUN_EVENT_COUNT
};

/* Is the run under a ban, and of which kind? */
enum run_ban {
    RUN_FREE,    /* no ban on it or above it */
    RUN_BANNED,  /* banned, itself or above */
    RUN_OVERDUE, /* banned itself, with reason "deadline" */
    RUN_BAN_COUNT
};

enum run_verdict {
    RUN_MOVED,  /* the state changed */
    RUN_STAYED, /* already accounted for: a duplicate or a late message */
    RUN_REFUSED /* makes no sense here: count it, log it, carry on */
};

/* Feed one event; on RUN_MOVED *state is the new one, else untouched.
 * Redis delivers late, twice or not at all, so a refusal is an answer and not a bug. */
enum run_verdict run_apply(enum run_state *state, enum run_ban ban, enum run_event event);

bool run_is_over(enum run_state state);           /* a terminal state; NEVER is not one */
bool run_is_live(enum run_state state);           /* PENDING, RUNNING, STOPPING */
const char *run_state_name(enum run_state state); /* the word in JSON */
char run_state_letter(enum run_state state);
bool run_state_of_letter(char letter, enum run_state *out);
bool run_state_of_name(struct str word, enum run_state *out);

/* Bits of the flags number in `s:<run>`. PROTOCOL.md holds the same list. */
enum run_flag {
    RUN_FLAG_BANNED = 1 << 0, /* target of an accepted cancel */
    /* the phases of a stop, each set once, by report */
    RUN_FLAG_DELIVERED = 1 << 1,
    RUN_FLAG_ACKNOWLEDGED = 1 << 2,
    RUN_FLAG_CLEANED_UP = 1 << 3,
    RUN_FLAG_CHECKPOINTED = 1 << 4,
    RUN_FLAG_UNRESPONSIVE = 1 << 5, /* cleared by end */
    RUN_FLAG_GONE = 1 << 6,         /* lost, and its process proven dead: counts as stopped */
    RUN_FLAG_KILLING = 1 << 7,      /* SIGKILL was sent */
    RUN_FLAG_FROZEN = 1 << 8,       /* the one checkpoint after the ban was granted */
    RUN_FLAG_ORPHAN = 1 << 9,       /* its parent had ended when it started */
    RUN_FLAG_PARENT_GONE = 1 << 10, /* its root's key was gone when it started */
    RUN_FLAG_SUSPECT = 1 << 11,     /* its replica's lease ran out, not yet declared lost */
    RUN_FLAG_LATE = 1 << 12,        /* asserted below a ban that it did not know */
    /* what was asked for at the start, never changed */
    RUN_FLAG_END_CANCELS = 1 << 13, /* on_end = cancel; neither bit: the default of the state */
    RUN_FLAG_END_LEAVES = 1 << 14,  /* on_end = leave */
    RUN_FLAG_LOST_TAKEOVER = 1 << 15,
    RUN_FLAG_LOST_CONTINUE = 1 << 16,
    RUN_FLAG_OBSERVE = 1 << 17,    /* started by an agentd in mode observe */
    RUN_FLAG_NOTIFY = 1 << 18,     /* ... in mode notify */
    RUN_FLAG_UNPROTECTED = 1 << 19 /* started without Redis, or below ids that nobody knows */
};
enum {
    RUN_FLAGS_PHASES = RUN_FLAG_DELIVERED | RUN_FLAG_ACKNOWLEDGED | RUN_FLAG_CLEANED_UP
                       | RUN_FLAG_CHECKPOINTED | RUN_FLAG_UNRESPONSIVE | RUN_FLAG_GONE
                       | RUN_FLAG_KILLING,
    RUN_FLAGS_POLICY = RUN_FLAG_END_CANCELS | RUN_FLAG_END_LEAVES | RUN_FLAG_LOST_TAKEOVER
                       | RUN_FLAG_LOST_CONTINUE | RUN_FLAG_OBSERVE | RUN_FLAG_NOTIFY
                       | RUN_FLAG_UNPROTECTED
};

#endif
