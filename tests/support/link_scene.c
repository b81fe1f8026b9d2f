#include "support/link_scene.h"

#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

static void ticked(uv_timer_t *timer)
{
    (void)timer;
}

static void copy(char *out, struct str text)
{
    snprintf(out, TEXT, "%.*s", (int)text.len, text.len > 0 ? text.at : "");
}

static void on_up(void *owner, const struct redis_server *server)
{
    struct scene *scene = owner;
    scene->ups++;
    copy(scene->run_id, server->run_id);
    copy(scene->history, server->history);
    copy(scene->role, server->role);
    copy(scene->name, server->name);
}

static void on_down(void *owner, struct str why)
{
    struct scene *scene = owner;
    scene->downs++;
    copy(scene->why, why);
    if (scene->close_on_down) {
        redis_link_close(scene->link);
        scene->link = NULL;
    }
}

static void on_push(void *owner, struct str kind, struct str channel, struct str bytes)
{
    struct scene *scene = owner;
    scene->pushes++;
    copy(scene->push_kind, kind);
    copy(scene->push_channel, channel);
    copy(scene->push_bytes, bytes);
}

static void on_closed(void *owner)
{
    ((struct scene *)owner)->closed++;
}

static const struct redis_link_events events = {
    .on_up = on_up, .on_down = on_down, .on_push = on_push, .on_closed = on_closed};

void scene_answered(void *owner, const struct redisReply *reply)
{
    struct scene *scene = owner;
    if (reply == NULL) {
        scene->lost++;
        return;
    }
    char *out = scene->answer[scene->answers++ % REPLIES];
    if (reply->type == REDIS_REPLY_INTEGER)
        snprintf(out, TEXT, "%lld", reply->integer);
    else if (reply->type == REDIS_REPLY_PUSH || reply->type == REDIS_REPLY_ARRAY)
        snprintf(out, TEXT, "push %s", reply->element[0]->str);
    else
        snprintf(out, TEXT, "%s", reply->str != NULL ? reply->str : "nil");
}

struct scene *scene_new(void)
{
    struct scene *scene = calloc(1, sizeof *scene);
    uv_loop_init(&scene->loop);
    uv_timer_init(&scene->loop, &scene->tick);
    uv_timer_start(&scene->tick, ticked, 2, 2);
    return scene;
}

bool scene_free(struct scene *scene)
{
    unsigned due = scene->closed + (scene->link != NULL ? 1 : 0);
    if (scene->link != NULL)
        redis_link_close(scene->link);
    uv_close((uv_handle_t *)&scene->tick, NULL);
    uv_run(&scene->loop, UV_RUN_DEFAULT);
    bool clean = uv_loop_close(&scene->loop) == 0 && scene->closed >= due;
    free(scene);
    return clean;
}

void scene_turn(struct scene *scene, uint64_t since_ns, const char *wanted)
{
    if (uv_hrtime() - since_ns > SCENE_WAIT_MS * 1000000ull)
        fail_msg("waited in vain for %s; last why: %s", wanted, scene->why);
    uv_run(&scene->loop, UV_RUN_ONCE);
}

void scene_open(struct scene *scene, struct redis_target target)
{
    if (target.url == NULL)
        target.url = scene->server.url;
    assert_int_equal(redis_link_open(&scene->loop, &target, &events, scene, &scene->link), ERR_OK);
}

void scene_open_until_up(struct scene *scene, struct redis_target target)
{
    scene_open(scene, target);
    WAIT_FOR(scene, scene->ups == 1);
    assert_int_equal(scene->downs, 0);
}

void scene_close(struct scene *scene)
{
    unsigned before = scene->closed;
    redis_link_close(scene->link);
    scene->link = NULL;
    WAIT_FOR(scene, scene->closed > before);
}

enum err scene_say(struct scene *scene, const char *words)
{
    char text[TEXT];
    struct str argv[16], rest = str_of(strcpy(text, words));
    int argc = 0;
    while (rest.len > 0)
        argv[argc++] = str_cut(&rest, ' ');
    return redis_link_command(scene->link, argc, argv, scene_answered, scene);
}

void scene_ask(struct scene *scene, const char *words)
{
    unsigned before = scene->answers;
    assert_int_equal(scene_say(scene, words), ERR_OK);
    WAIT_FOR(scene, scene->answers > before);
}

const char *scene_answer(const struct scene *scene)
{
    return scene->answer[(scene->answers - 1) % REPLIES];
}

enum err scene_subscribe(struct scene *scene, const char *verb, const char *channel)
{
    return redis_link_subscribe(scene->link, verb, str_of(channel), scene_answered, scene);
}
