/* A redis_link of a test on a loop of its own: what it was told is written down, and waited for. */
#ifndef SUPPORT_LINK_SCENE_H
#define SUPPORT_LINK_SCENE_H

#include <stdbool.h>
#include <uv.h>

#include "io/redis_link.h"
#include "support/redis_server.h"

enum { SCENE_WAIT_MS = 10000, REPLIES = 64, TEXT = 384 };

struct scene {
    uv_loop_t loop;
    uv_timer_t tick;             /* makes UV_RUN_ONCE return, so that a wait is bounded */
    struct redis_process server; /* the test's own: started and ended by it */
    struct redis_link *link;
    unsigned ups, downs, pushes, closed, lost;
    char why[TEXT], push_kind[TEXT], push_channel[TEXT], push_bytes[TEXT];
    char run_id[TEXT], history[TEXT], role[TEXT], name[TEXT];
    unsigned answers;
    char answer[REPLIES][TEXT];
    bool close_on_down;
};

struct scene *scene_new(void);
/* Closes its link; false when something was left behind on the loop. */
bool scene_free(struct scene *scene);
void scene_open(struct scene *scene, struct redis_target target);
void scene_open_until_up(struct scene *scene, struct redis_target target);
void scene_close(struct scene *scene); /* and until it is closed */
/* Words with one blank between them. */
enum err scene_say(struct scene *scene, const char *words);
void scene_ask(struct scene *scene, const char *words); /* and waits for the answer */
const char *scene_answer(const struct scene *scene);    /* the last one */
enum err scene_subscribe(struct scene *scene, const char *verb, const char *channel);
void scene_answered(void *owner, const struct redisReply *reply);
/* One turn of the loop. */
void scene_turn(struct scene *scene, uint64_t since_ns, const char *wanted);

#define WAIT_FOR(scene, condition)                   \
    do {                                             \
        uint64_t start_ = uv_hrtime();               \
        while (!(condition))                         \
            scene_turn((scene), start_, #condition); \
    } while (0)

#endif
