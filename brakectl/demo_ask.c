#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "brakectl/demo.h"
#include "brakectl/print.h"
#include "core/run.h"

void demo_cancel(struct demo *demo, const char *run, json_t *body, struct answer *answer)
{
    char path[160];
    const struct ctl ctl = {.broker = demo->stack.broker_url};
    snprintf(path, sizeof path, "/v1/runs/%.72s/cancel", run);
    json_object_set_new(body, "by", json_string("demo"));
    broker_answer_to(&ctl, "POST", path, body, answer);
}

json_t *demo_tree(struct demo *demo, const char *root)
{
    char path[160];
    struct answer answer;
    const struct ctl ctl = {.broker = demo->stack.broker_url};
    snprintf(path, sizeof path, "/v1/roots/%.72s/tree?limit=1000", root);
    broker_answer_to(&ctl, "GET", path, NULL, &answer);
    json_t *tree = answer_is_good(&answer) ? json_incref(answer.json) : NULL;
    answer_fini(&answer);
    return tree;
}

json_t *demo_node(const json_t *tree, const char *run)
{
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(tree, "runs"), i,
                       node) if (strcmp(json_text(node, "run_id"), run) == 0) return node;
    return NULL;
}

bool demo_is_over(const json_t *node)
{
    enum run_state state;
    return run_state_of_name(str_of(json_text(node, "state")), &state) && run_is_over(state);
}

static bool all_are_over(const json_t *tree)
{
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(tree, "runs"), i,
                       node) if (!demo_is_over(node)) return false;
    return json_array_size(json_object_get(tree, "runs")) > 0;
}

json_t *demo_until_over(struct demo *demo, const char *root, struct span longest)
{
    struct instant give_up = instant_after(mono_now(), longest);
    bool is_live_picture = demo->ctl->colour && !demo->ctl->json;
    while (!instant_reached(mono_now(), give_up) && !demo_interrupted) {
        json_t *tree = demo_tree(demo, root);
        if (tree != NULL && is_live_picture)
            demo_draw(demo, tree);
        if (all_are_over(tree)) {
            if (!is_live_picture)
                demo_draw(demo, tree);
            return tree;
        }
        json_decref(tree);
        demo_listen(demo, MILLIS(50));
    }
    return NULL;
}

bool demo_until_run_over(struct demo *demo, const char *root, const char *run, struct span longest)
{
    struct instant give_up = instant_after(mono_now(), longest);
    while (!instant_reached(mono_now(), give_up) && !demo_interrupted) {
        json_t *tree = demo_tree(demo, root);
        bool over = demo_is_over(demo_node(tree, run));
        json_decref(tree);
        if (over)
            return true;
        demo_listen(demo, MILLIS(20));
    }
    return false;
}
