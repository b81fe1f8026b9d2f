/* `brakectl demo`, inside: a stack, agents that are real processes, and what they must do. */
#ifndef BRAKECTL_DEMO_H
#define BRAKECTL_DEMO_H

#include <sys/types.h>

#include "base/buf.h"
#include "brakectl/ctl.h"
#include "brakectl/stack.h"

enum { DEMO_PODS = 3, DEMO_AGENTS_MAX = 48, DEMO_NAME_MAX = 24, DEMO_ID_MAX = 72 };

/* How an agent behaves; see demo_agent.c. */
struct demo_plan {
    const char *name;
    const char *kind;
    unsigned pod;       /* which agentd is beside it */
    const char *calls;  /* names joined by commas; NULL: nobody */
    const char *run_id; /* NULL: minted */
    const char *link;   /* a root of its own that it links to; its agent is the one called */
};

/* One agent: the `brakectl exec` that carries it, and what it told us of itself. */
struct demo_agent {
    const struct demo_plan *plan;
    struct program exec;
    char run_id[DEMO_ID_MAX];
    char *baggage; /* what it passes on */
    pid_t pid;
    unsigned notices; /* how often it was told to stop */
    bool is_ready;
};

struct demo {
    const struct ctl *ctl;
    struct stack stack;
    char folder[PROGRAM_PATH_MAX];
    char cgroup[PROGRAM_PATH_MAX]; /* "" where there is no cgroup v2 that we may use */
    char self[PROGRAM_PATH_MAX];   /* this program */
    char nonce[20];                /* in the environment of every agent, and in chosen ids */
    char mark[40];                 /* "BRAKEWIRE_DEMO=<nonce>" */
    int calls;                     /* what agents write to us comes here, a line each */
    struct buf line;
    struct demo_agent agent[DEMO_AGENTS_MAX];
    size_t agent_count;
    const struct demo_plan *growing; /* who may be called now */
    size_t growing_count;
    size_t drawn_lines; /* of the tree on the screen, to be drawn over */
    json_t *checks, *timeline;
    unsigned passed, failed;
};

/* ---- demo.c */
extern volatile int demo_interrupted;
/* Counts it and says it. why: what was seen instead, shown when it is not so. Returns `good`. */
bool demo_check(struct demo *demo, bool good, const char *what, const char *why, ...)
    __attribute__((format(printf, 4, 5)));
void demo_say(const struct demo *demo, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- demo_agents.c */
bool demo_agents_open(struct demo *demo);
void demo_agents_close(struct demo *demo);
/* Starts the first of `plan`; the others are started when somebody calls them. True: all are ready.
 */
bool demo_grow(struct demo *demo, const struct demo_plan *plan, size_t count);
/* Reads what agents tell, for so long. */
void demo_listen(struct demo *demo, struct span how_long);
struct demo_agent *demo_find(struct demo *demo, const char *name);
/* `brakectl exec` with these flags (NULL-terminated) and `true` as its command, to its end; its
 * exit code. */
int demo_exec(struct demo *demo, unsigned pod, const char *const flags[]);

/* ---- demo_ask.c */
void demo_cancel(struct demo *demo, const char *run, json_t *body, struct answer *answer);
json_t *demo_tree(struct demo *demo, const char *root); /* NULL: no answer */
json_t *demo_node(const json_t *tree, const char *run); /* lends */
/* Until all runs of the tree are over, drawing it; the tree. NULL: not within `longest`. */
json_t *demo_until_over(struct demo *demo, const char *root, struct span longest);
/* Until this run's state is a terminal one. */
bool demo_until_run_over(struct demo *demo, const char *root, const char *run, struct span longest);
bool demo_is_over(const json_t *node);

/* ---- demo_view.c */
void demo_draw(struct demo *demo, const json_t *tree);
void demo_show_timeline(struct demo *demo, const json_t *tree);

/* ---- demo_proc.c: looking into /proc */
/* Processes whose environment has this "NAME=value"; with_token: only those of a run, not its exec.
 */
size_t demo_processes(const char *mark, bool with_token);
void demo_kill_processes(const char *mark);

/* ---- demo_burst.c */
struct burst {
    unsigned good;    /* answered 200 or 202 */
    unsigned already; /* ... and said that it had been cancelled already */
    unsigned same_id; /* ... under this cancel_id */
};
/* `count` times the same POST, all at once. */
struct burst demo_burst(const char *url, const char *body, unsigned count, const char *cancel_id);

/* ---- demo_acts.c: what is shown, in order */
void demo_act_big_tree(struct demo *demo);
void demo_act_middle(struct demo *demo);
void demo_act_ids(struct demo *demo);
void demo_act_by_hand(struct demo *demo);
void demo_act_connections(struct demo *demo);
void demo_act_link(struct demo *demo);

#endif
