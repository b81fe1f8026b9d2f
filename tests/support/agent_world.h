/* One agent and a Redis whose answers the test gives by hand. What the agent wants is kept as text,
 * a line for each effect, so that a test reads like the story that it checks.
 *
 * Runs, clients and replicas are plain words; a client's token hash is its name. Renewals of the
 * lease, reads of orders, news that concern no run, counts of times (told, stopped) and of refused
 * starts are not shown. */
#ifndef SUPPORT_AGENT_WORLD_H
#define SUPPORT_AGENT_WORLD_H

#include "base/buf.h"
#include "core/agent.h"

struct agent_world {
    struct agent *agent;
    struct agent_effects todo;
    struct instant now;
    struct buf said;
    size_t open_count, open_room;
    struct open_call {
        uint64_t token;
        enum store_op op;
        size_t item_count;
    } *open;
    uint64_t last_ask;  /* number of the last DO_ASK_CANCEL */
    uint64_t last_call; /* token, and link, of the last DO_CANCEL_THERE */
    char last_link[24];
    char bytes[MESSAGE_MAX_BYTES];
};

/* Options as a daemon has them: replica "here", mode enforce. */
struct agent_options agent_world_options(void);
void agent_world_init(struct agent_world *world, const struct agent_options *options);
void agent_world_fini(struct agent_world *world);

void world_feed(struct agent_world *world, struct agent_event event);
/* Lets time pass, and gives the agent its due. */
void world_pass(struct agent_world *world, int64_t ms);
/* Answers the oldest call of this op that is open. */
void world_say(struct agent_world *world, enum store_op op, struct store_answer answer);
void world_says(struct agent_world *world, enum store_op op, enum store_verdict verdict);
/* report and reconcile: the same for every run of the batch. */
void world_say_items(struct agent_world *world, enum store_op op, struct store_item item);
size_t world_open(const struct agent_world *world, enum store_op op); /* how many are open */
void world_drop_calls(struct agent_world *world); /* the link broke: each is answered offline */

/* The link comes up: everything about it is answered well, none of it shown. */
void world_link_up(struct agent_world *world, const char *server, const char *generation);
void world_link_down(struct agent_world *world);
void world_client_comes(struct agent_world *world, const char *client);
void world_client_goes(struct agent_world *world, const char *client);

/* `parents`: dotted, "" for a root. Sends the ask; the caller answers what comes of it. */
struct ask_start world_start_of(const char *run, const char *parents);
void world_ask_start(struct agent_world *world, const char *client, struct ask_start start);
/* The same, and Redis says yes to all; nothing of it is shown. */
void world_start(struct agent_world *world, const char *client, const char *run,
                 const char *parents);
void world_started(struct agent_world *world, const char *client, struct ask_start start);
void world_ask_end(struct agent_world *world, const char *client, const char *run, uint32_t epoch,
                   enum run_state state);
void world_ask_ack(struct agent_world *world, const char *client, const char *run,
                   enum ack_phase phase);
void world_ask_fence(struct agent_world *world, const char *client, const char *run,
                     const char *write_id);
void world_ask_link(struct agent_world *world, const char *client, const char *run, const char *to);
void world_ask_link_of(struct agent_world *world, const char *client, const char *run,
                       enum link_kind kind, const char *to);
/* What came of the last DO_CANCEL_THERE. */
void world_remote_says(struct agent_world *world, const char *run, enum remote_outcome outcome);
struct cancel_ask world_cancel_of(const char *run);
void world_ask_cancel(struct agent_world *world, const char *client, struct cancel_ask cancel);
void world_process(struct agent_world *world, enum agent_event_kind kind, const char *run);

/* A record as the broker "broker" would write it. */
struct cancel_record world_record(const char *root, const char *target);
/* Its bytes, lent until the next call. */
struct str world_bytes(struct agent_world *world, const struct cancel_record *record);
/* It comes over the channel. */
void world_hear(struct agent_world *world, struct cancel_record record);
/* `cancels` answers the last DO_ASK_CANCEL. */
void world_cancel_says(struct agent_world *world, enum problem problem,
                       struct cancel_record record);

/* What was wanted since the last time, exactly; then it is forgotten. */
void world_expect(struct agent_world *world, const char *story);
void world_forget(struct agent_world *world);
struct agent_run_view world_view(const struct agent_world *world, const char *run);

#endif
