/* A hostile crowd in a process of its own: it keeps so many connections to one daemon and misuses
 * each of them. Who is thrown out comes back a second later. */
#ifndef FAULTS_FLOODER_H
#define FAULTS_FLOODER_H

#include <stdatomic.h>
#include <sys/types.h>

enum flood_kind {
    FLOOD_SILENT,  /* connects and says nothing */
    FLOOD_SLOW,    /* sends a byte of its request each second */
    FLOOD_HEADERS, /* 64 KiB of headers */
    FLOOD_BODY,    /* a body of 1 GiB, its length told */
    FLOOD_CHUNKS,  /* the same in chunks, its length not told */
    FLOOD_STARTS,  /* registers runs, each a new one */
    FLOOD_STREAMS, /* opens event streams with a token of its own each, and reads nothing */
    /* at a broker: */
    FLOOD_TREES,    /* opens the event stream of another tree each, and reads nothing */
    FLOOD_JOINS,    /* waits for FLOOD_RUN as clients of LangGraph do */
    FLOOD_FOLLOWS,  /* the same as a stream */
    FLOOD_TASKS,    /* the same as clients of A2A do */
    FLOOD_SEARCHES, /* cancels all runs there are, again and again */
    FLOOD_WAITS,    /* cancels FLOOD_RUN and waits until it has stopped */
};

/* The run that is waited for. */
#define FLOOD_RUN    "flooded-run"
#define FLOOD_THREAD "flooded-thread"

/* What FLOOD_STARTS was answered, counted by the crowd while it goes on. */
struct flood_counts {
    _Atomic unsigned long long accepted, refused, strange; /* 201; 429; anything else */
};

/* Shared with the crowds that are started later; NULL: no memory. Never given back. */
struct flood_counts *flood_counts_new(void);
unsigned long long flood_answers(const struct flood_counts *counts);

/* where: "unix:PATH" or "127.0.0.1:PORT". counts: may be NULL. Returns when everybody has come
 * once; -1: no process. It dies with the caller. */
pid_t flooder_start(const char *where, enum flood_kind kind, unsigned connections,
                    struct flood_counts *counts);
void flooder_end(pid_t pid);
/* What all crowds have done so far: connections, requests, pieces of bodies, bytes of slow ones. */
unsigned long long flooder_acts(void);

#endif
