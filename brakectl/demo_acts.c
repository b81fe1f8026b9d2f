/* What the demo shows, and what must be true of it. */
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "brakectl/demo.h"
#include "brakectl/print.h"
#include "io/http_client.h"

#define COUNT(plan) (sizeof(plan) / sizeof *(plan))

static const struct span patience = {15000};

static const char *run_of(struct demo *demo, const char *name)
{
    struct demo_agent *agent = demo_find(demo, name);
    return agent != NULL ? agent->run_id : "";
}

static bool is_alive(struct demo *demo, const char *name)
{
    struct demo_agent *agent = demo_find(demo, name);
    return agent != NULL && agent->pid > 0 && kill(agent->pid, 0) == 0;
}

/* Grows a tree, or fails the demo here. */
static bool grown(struct demo *demo, const struct demo_plan *plan, size_t count)
{
    demo->drawn_lines = 0;
    if (demo_grow(demo, plan, count))
        return true;
    demo_check(demo, false, "agents start", "not all of %zu were ready within 15 s", count);
    return false;
}

/* Cancels, and waits until it is over; what was answered first is kept in `status`. */
static bool stopped_by_cancel(struct demo *demo, const char *root, const char *reason)
{
    struct answer answer;
    demo_cancel(demo, root, json_pack("{s:s}", "reason", reason), &answer);
    bool accepted = answer_is_good(&answer);
    answer_fini(&answer);
    json_t *tree = accepted ? demo_until_over(demo, root, patience) : NULL;
    json_decref(tree);
    return tree != NULL;
}

/* ---- the big tree --------------------------------------------------------------------------- */

static const struct demo_plan big[] = {
    {.name = "supervisor", .kind = "polite", .pod = 0, .calls = "research,write,review"},
    {.name = "research", .kind = "polite", .pod = 0, .calls = "search-1,search-2,search-3"},
    {.name = "write", .kind = "plain", .pod = 1, .calls = "draft-1,draft-2,draft-3"},
    {.name = "review", .kind = "polite", .pod = 2, .calls = "facts-1,facts-2,facts-3"},
    {.name = "search-1", .kind = "careful", .pod = 0},
    {.name = "search-2", .kind = "stubborn", .pod = 1},
    {.name = "search-3", .kind = "plain", .pod = 2},
    {.name = "draft-1", .kind = "forker", .pod = 0},
    {.name = "draft-2", .kind = "runaway", .pod = 1},
    {.name = "draft-3", .kind = "polite", .pod = 2},
    {.name = "facts-1", .kind = "stubborn", .pod = 0},
    {.name = "facts-2", .kind = "plain", .pod = 1},
    {.name = "facts-3", .kind = "forker", .pod = 2},
};
enum { RESTARTED_POD = 2, RUNS_ON_RESTARTED_POD = 4 };

static size_t live_runs_at(struct demo *demo, unsigned pod)
{
    char where[PROGRAM_PATH_MAX + 8];
    struct http_client *client = NULL;
    struct answer answer;
    snprintf(where, sizeof where, "unix:%s", demo->stack.agentd_socket[pod]);
    if (http_client_new(where, NULL, &client) != ERR_OK)
        return 0;
    answer_to(client, "GET", "/v1/version", NULL, SECONDS(2), &answer);
    size_t runs = (size_t)json_number(answer.json, "runs");
    answer_fini(&answer);
    http_client_free(client);
    return runs;
}

/* `brakectl exec` keeps its command and registers again: the run is the same one. */
static void restart_an_agentd(struct demo *demo)
{
    struct instant give_up = instant_after(mono_now(), SECONDS(10));
    demo_say(demo, "\nThe agentd of the third replica is killed with SIGKILL and started again.\n");
    stack_kill_agentd(&demo->stack, RESTARTED_POD);
    bool back = stack_restart_agentd(&demo->stack, RESTARTED_POD) == ERR_OK;
    while (back && live_runs_at(demo, RESTARTED_POD) < RUNS_ON_RESTARTED_POD
           && !instant_reached(mono_now(), give_up) && !demo_interrupted)
        demo_listen(demo, MILLIS(20));
    demo_check(demo, back && live_runs_at(demo, RESTARTED_POD) == RUNS_ON_RESTARTED_POD,
               "a restarted agentd has its runs back, their processes untouched",
               "%zu of %d runs came back", live_runs_at(demo, RESTARTED_POD),
               RUNS_ON_RESTARTED_POD);
}

static bool has_word(const json_t *words, const char *wanted)
{
    size_t i;
    json_t *word;
    json_array_foreach(words, i,
                       word) if (strcmp(json_string_value(word), wanted) == 0) return true;
    return false;
}

static size_t count_state(const json_t *tree, const char *state)
{
    size_t i, count = 0;
    json_t *node;
    json_array_foreach(json_object_get(tree, "runs"), i, node) count +=
        strcmp(json_text(node, "state"), state) == 0;
    return count;
}

static void check_answer(struct demo *demo, const char *root)
{
    struct answer answer;
    demo_cancel(demo, root, json_pack("{s:s, s:i}", "wait", "stopped", "timeout_ms", 5000),
                &answer);
    const json_t *counts = json_object_get(answer.json, "counts");
    demo_check(demo,
               answer.status == 200 && json_is_yes(answer.json, "complete")
                   && json_number(counts, "stopped") == (int64_t)COUNT(big),
               "the answer says so: complete, and every run is counted as stopped",
               "%ld, %lld stopped", answer.status, (long long)json_number(counts, "stopped"));
    answer_fini(&answer);
}

static const json_t *story_of(struct demo *demo, const json_t *tree, const char *name)
{
    return json_object_get(demo_node(tree, run_of(demo, name)), "stop");
}

/* Three ways to find a grandchild that was forked twice and is in a session of its own. */
static void check_found(struct demo *demo, const json_t *tree)
{
    static const struct {
        const char *name, *by, *what;
    } finds[] = {
        {"draft-1", "cgroup", "draft-1's runaway grandchild was found by its cgroup"},
        {"facts-3", "token", "facts-3's by the token in its environment"},
        {"draft-2", "subreaper", "draft-2's, which dropped its environment, by its subreaper"},
    };
    for (size_t i = demo->cgroup[0] != '\0' ? 0 : 1; i < sizeof finds / sizeof *finds; i++) {
        char seen[256] = "";
        const json_t *found_by = json_object_get(story_of(demo, tree, finds[i].name), "found_by");
        char *text = json_dumps(found_by, JSON_COMPACT);
        snprintf(seen, sizeof seen, "%s", text != NULL ? text : "nothing");
        free(text);
        demo_check(demo, has_word(found_by, finds[i].by), finds[i].what, "by %s", seen);
    }
}

static void check_stories(struct demo *demo, const json_t *tree)
{
    const json_t *careful = demo_node(tree, run_of(demo, "search-1"));
    const char *by = json_text(story_of(demo, tree, "search-1"), "by");
    demo_check(demo,
               has_word(json_object_get(careful, "flags"), "checkpointed")
                   && strcmp(by, "notice") == 0,
               "search-1 cleaned up and took its last checkpoint on the notice, unkilled",
               "stopped by %s", by);
    by = json_text(story_of(demo, tree, "search-2"), "by");
    demo_check(demo, strcmp(by, "KILL") == 0, "search-2, which ignores SIGTERM, was killed",
               "stopped by %s", by);
    check_found(demo, tree);
}

/* The processes of the runs are gone when the tree says so; those that carried them soon after. */
static void check_processes(struct demo *demo, size_t before)
{
    size_t left = demo_processes(demo->mark, true);
    demo_check(demo, left == 0 && before > COUNT(big),
               "/proc: not one process of these runs is left", "%zu of %zu are", left, before);
    struct instant give_up = instant_after(mono_now(), SECONDS(5));
    while (demo_processes(demo->mark, false) > 0 && !instant_reached(mono_now(), give_up))
        demo_listen(demo, MILLIS(20));
    left = demo_processes(demo->mark, false);
    demo_check(demo, left == 0, "/proc: nor one that carried them (brakectl exec)", "%zu are",
               left);
}

void demo_act_big_tree(struct demo *demo)
{
    demo_say(demo, "A supervisor, 3 sub-agents, 9 below them, on 3 replicas. Each is a process.\n");
    if (!grown(demo, big, COUNT(big)))
        return;
    const char *root = run_of(demo, "supervisor");
    json_t *tree = demo_tree(demo, root);
    demo_draw(demo, tree);
    json_decref(tree);
    restart_an_agentd(demo);
    size_t before = demo_processes(demo->mark, true);
    demo_say(demo, "\nThe supervisor is cancelled.\n");
    demo->drawn_lines = 0;
    struct answer answer;
    demo_cancel(demo, root, json_pack("{s:s}", "reason", "the user went home"), &answer);
    answer_fini(&answer);
    tree = demo_until_over(demo, root, patience);
    if (tree == NULL) /* what is left is seen in its timeline */
        tree = demo_tree(demo, root);
    demo_say(demo, "\n");
    demo_check(demo, count_state(tree, "cancelled") == COUNT(big),
               "every run of the tree has stopped, at every depth, on every replica",
               "%zu of %zu are cancelled", count_state(tree, "cancelled"), COUNT(big));
    check_processes(demo, before);
    check_answer(demo, root);
    check_stories(demo, tree);
    demo_say(demo, "\n");
    demo_show_timeline(demo, tree);
    json_decref(tree);
}

/* ---- a run in the middle -------------------------------------------------------------------- */

static const struct demo_plan middle[] = {
    {.name = "top", .kind = "plain", .pod = 0, .calls = "left,right"},
    {.name = "left", .kind = "plain", .pod = 1, .calls = "left-1,left-2"},
    {.name = "right", .kind = "plain", .pod = 2, .calls = "right-1"},
    {.name = "left-1", .kind = "stubborn", .pod = 2},
    {.name = "left-2", .kind = "plain", .pod = 0},
    {.name = "right-1", .kind = "plain", .pod = 1},
};
enum { BURST = 200 };

static void burst_at(struct demo *demo, const char *run, const char *cancel_id)
{
    char url[256];
    snprintf(url, sizeof url, "%s/v1/runs/%s/cancel", demo->stack.broker_url, run);
    struct burst burst = demo_burst(url, "{\"reason\":\"again\"}", BURST, cancel_id);
    demo_check(demo, burst.already == BURST && burst.same_id == BURST,
               "the same cancel 200 times at once: each is told that it is done, and by whom",
               "%u good, %u already, %u with the same id", burst.good, burst.already,
               burst.same_id);
}

static void check_scope(struct demo *demo, const char *root)
{
    static const char *const inside[] = {"left", "left-1", "left-2"};
    static const char *const outside[] = {"top", "right", "right-1"};
    unsigned stopped = 0, running = 0, notices = 0;
    json_t *tree = demo_tree(demo, root);
    for (size_t i = 0; i < 3; i++) {
        struct demo_agent *agent = demo_find(demo, inside[i]);
        stopped += demo_is_over(demo_node(tree, agent->run_id)) && !is_alive(demo, inside[i]);
        notices += agent->notices;
        const json_t *node = demo_node(tree, run_of(demo, outside[i]));
        running += strcmp(json_text(node, "state"), "running") == 0 && is_alive(demo, outside[i])
                   && demo_find(demo, outside[i])->notices == 0;
    }
    json_decref(tree);
    demo_check(demo, stopped == 3 && running == 3,
               "a middle run is cancelled: exactly its scope stops, the others go on",
               "%u of 3 stopped inside, %u of 3 go on outside", stopped, running);
    demo_check(demo, notices == 3, "nobody was interrupted twice", "3 runs were told %u times",
               notices);
}

void demo_act_middle(struct demo *demo)
{
    struct answer answer;
    demo_say(demo, "\nA second tree:\n");
    if (!grown(demo, middle, COUNT(middle)))
        return;
    const char *root = run_of(demo, "top"), *left = run_of(demo, "left");
    json_t *tree = demo_tree(demo, root);
    demo_draw(demo, tree);
    json_decref(tree);
    demo_cancel(demo, left, json_pack("{s:s}", "reason", "wrong turn"), &answer);
    char cancel_id[2 * DEMO_ID_MAX];
    snprintf(cancel_id, sizeof cancel_id, "%s", json_text(answer.json, "cancel_id"));
    answer_fini(&answer);
    burst_at(demo, left, cancel_id);
    static const char *const inside[] = {"left", "left-1", "left-2"};
    for (size_t i = 0; i < 3; i++)
        (void)demo_until_run_over(demo, root, run_of(demo, inside[i]), patience);
    demo_listen(demo, MILLIS(50));
    check_scope(demo, root);
    const char *baggage = demo_find(demo, "left")->baggage;
    int code = demo_exec(demo, 0, (const char *[]){"--baggage", baggage, NULL});
    demo_check(demo, code == EXIT_NOT_STARTED, "a child below the cancelled run is refused",
               "exit code %d", code);
}

/* ---- ids ------------------------------------------------------------------------------------ */

void demo_act_ids(struct demo *demo)
{
    char id[DEMO_ID_MAX];
    struct answer answer;
    snprintf(id, sizeof id, "demo-done-%s", demo->nonce);
    int code = demo_exec(demo, 1, (const char *[]){"--run-id", id, NULL});
    demo_cancel(demo, id, json_pack("{s:s}", "reason", "too late"), &answer);
    demo_check(demo,
               code == 0 && answer.status == 409
                   && strcmp(json_text(answer.json, "code"), "not_cancelable") == 0,
               "a completed run answers 409", "it ended with %d and answers %ld %s", code,
               answer.status, json_text(answer.json, "code"));
    answer_fini(&answer);

    snprintf(id, sizeof id, "demo-early-%s", demo->nonce);
    demo_cancel(demo, id, json_pack("{s:s, s:s}", "reason", "never", "if_unknown", "remember"),
                &answer);
    long status = answer.status;
    answer_fini(&answer);
    code = demo_exec(demo, 2, (const char *[]){"--run-id", id, NULL});
    demo_check(demo, status == 202 && code == EXIT_NOT_STARTED,
               "an id that was cancelled before it ever started cannot start",
               "the cancel answers %ld, the start exits with %d", status, code);
}

/* ---- published by hand ---------------------------------------------------------------------- */

static redisReply *redis(struct demo *demo, redisContext **context, const char *format,
                         const char *a, const char *b)
{
    *context = redisConnectUnix(demo->stack.redis_socket);
    if (*context == NULL || (*context)->err != 0)
        return NULL;
    return redisCommand(*context, format, a, b);
}

static long long redis_number(struct demo *demo, const char *format, const char *a, const char *b)
{
    redisContext *context = NULL;
    redisReply *reply = redis(demo, &context, format, a, b);
    long long number = reply != NULL && reply->type == REDIS_REPLY_INTEGER ? reply->integer : -1;
    freeReplyObject(reply);
    if (context != NULL)
        redisFree(context);
    return number;
}

static bool is_on_record(struct demo *demo, const char *run, const char *via)
{
    char path[160];
    struct answer answer;
    const struct ctl ctl = {.broker = demo->stack.broker_url};
    snprintf(path, sizeof path, "/v1/audit?limit=50&run=%.72s", run);
    broker_answer_to(&ctl, "GET", path, NULL, &answer);
    size_t i, count = 0;
    json_t *entry;
    json_array_foreach(json_object_get(answer.json, "entries"), i, entry) count +=
        strcmp(json_text(entry, "via"), via) == 0
        && strcmp(json_text(entry, "reason"), "because") == 0;
    answer_fini(&answer);
    return count > 0;
}

void demo_act_by_hand(struct demo *demo)
{
    char channel[DEMO_ID_MAX + 8], text[DEMO_ID_MAX + 24];
    const char *root = run_of(demo, "top");
    snprintf(channel, sizeof channel, "bw:{%s}", root);
    snprintf(text, sizeof text, "cancel %s because", root);
    demo_say(demo,
             "\nThe supervisor of that tree publishes by hand:\n"
             "  redis-cli -s %s PUBLISH '%s' '%s'\n",
             demo->stack.redis_socket, channel, text);
    demo->drawn_lines = 0;
    long long readers = redis_number(demo, "PUBLISH %s %s", channel, text);
    json_t *tree = demo_until_over(demo, root, patience);
    demo_check(demo, tree != NULL, "what was left of the tree stops",
               "not within 15 s; %lld had subscribed", readers);
    json_decref(tree);
    demo_check(demo, is_on_record(demo, root, "channel"), "and the cancel is on record",
               "no entry in the audit");
}

/* ---- connections killed --------------------------------------------------------------------- */

static const struct demo_plan chain[] = {
    {.name = "first", .kind = "plain", .pod = 0, .calls = "second"},
    {.name = "second", .kind = "plain", .pod = 1, .calls = "third"},
    {.name = "third", .kind = "plain", .pod = 2},
};

void demo_act_connections(struct demo *demo)
{
    demo_say(demo, "\nEvery pub/sub connection is killed while a cancel goes out.\n");
    if (!grown(demo, chain, COUNT(chain)))
        return;
    long long cut = redis_number(demo, "CLIENT KILL TYPE pubsub SKIPME %s", "yes", "");
    bool stopped = stopped_by_cancel(demo, run_of(demo, "first"), "nobody listens");
    demo_check(demo, cut >= DEMO_PODS && stopped,
               "with all subscribers cut off at that moment, the tree stops",
               "%lld connections cut, stopped: %s", cut, stopped ? "yes" : "no");
}

/* ---- a link --------------------------------------------------------------------------------- */

void demo_act_link(struct demo *demo)
{
    static char linked[DEMO_ID_MAX];
    static struct demo_plan plan[] = {
        {.name = "here", .kind = "plain", .pod = 0, .calls = "elsewhere", .link = linked},
        {.name = "elsewhere", .kind = "plain", .pod = 1, .run_id = linked},
    };
    snprintf(linked, sizeof linked, "demo-linked-%s", demo->nonce);
    demo_say(demo, "\nA run calls an agent whose run has a root of its own, on another replica.\n");
    if (!grown(demo, plan, COUNT(plan)))
        return;
    bool stopped = stopped_by_cancel(demo, run_of(demo, "here"), "enough");
    demo->drawn_lines = 0; /* the other tree is drawn below */
    json_t *tree = demo_until_over(demo, linked, patience);
    const json_t *cancel = json_array_get(json_object_get(tree, "cancels"), 0);
    demo_check(demo, stopped && tree != NULL,
               "a run linked under another root stops by re-publication", "it goes on");
    demo_check(demo, strncmp(json_text(cancel, "cause"), run_of(demo, "here"), 21) == 0,
               "and its cancel names the one that caused it", "cause '%s'",
               json_text(cancel, "cause"));
    json_decref(tree);
}
