/* What becomes of cancels, with a Redis that says anything and trees that somebody else wrote.
 *
 * The input is a story, a byte or a few for each step. Each open call is answered at most once,
 * each question at most once; no assert of the core may fail. */
#include <assert.h>
#include <stdio.h>

#include "api/api_codec.h"
#include "base/mem.h"
#include "core/cancels.h"
#include "fuzz/hostile.h"
#include "wire/tree_fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { OPEN_MAX = 128, STEPS_MAX = 400, ASKS_MAX = 32, TOKEN_BASE = 7000 };

struct open_call {
    uint64_t token;
    enum store_op op;
};

struct story {
    struct script script;
    struct cancels *cancels;
    struct cancels_effects todo;
    struct instant now;
    struct open_call open[OPEN_MAX];
    size_t open_count;
    uint64_t asked, answered;
    bool linked;
};

static unsigned next(struct story *story)
{
    return script_next(&story->script);
}

static void feed(struct story *story, struct cancels_event event)
{
    event.at = story->now;
    event.wall = (struct wall){INT64_C(1700000000000) + story->now.ms};
    assert(cancels_step(story->cancels, &event, &story->todo) == ERR_OK);
    for (size_t i = 0; i < story->todo.count; i++) {
        const struct cancels_effect *effect = &story->todo.item[i];
        if (effect->kind == CANCELS_DO_ANSWER && effect->ask != 0)
            story->answered++;
        if (effect->kind == CANCELS_DO_CALL && effect->token != TOKEN_BASE
            && story->open_count < OPEN_MAX)
            story->open[story->open_count++] = (struct open_call){effect->token, effect->call.op};
    }
    assert(story->answered <= story->asked);
}

static struct open_call take_open(struct story *story, size_t i)
{
    struct open_call call = story->open[i];
    story->open_count--;
    memmove(&story->open[i], &story->open[i + 1], (story->open_count - i) * sizeof story->open[0]);
    return call;
}

static void tell(struct story *story, uint64_t token, const struct store_answer *answer)
{
    feed(story, (struct cancels_event){.kind = CANCELS_ANSWER, .token = token, .answer = answer});
}

/* ---- steps --------------------------------------------------------------------------------- */

static void add_run(struct story *story, struct tree *tree)
{
    static const char letters[] = "-rsSETCBLP";
    char field[16], value[96];
    struct str run = script_id(&story->script), parent = script_id(&story->script);
    unsigned letter = next(story) % (sizeof letters - 1), flags = next(story), high = next(story);
    snprintf(field, sizeof field, "s:%.*s", (int)run.len, run.at);
    snprintf(value, sizeof value, "%c:%u:%u:i:here:%.*s:1:%u", letters[letter], next(story) % 4,
             flags | high << 8, (int)parent.len, parent.at, next(story) % 3);
    assert(wire_tree_field(tree, str_of(field), str_of(value)) != ERR_NOMEM);
}

static void add_other(struct story *story, struct tree *tree)
{
    static const char *const fields[] = {"c:a", "l:a:1", "t:a", "e:a", "d:a", "x:r", "n", "b"};
    static const char *const values[] = {"", "1", "1:1:1:1", "1:x", "-1", "9223372036854775807"};
    struct str field = str_of(fields[next(story) % 8]), value = str_of(values[next(story) % 6]);
    assert(wire_tree_field(tree, field, value) != ERR_NOMEM);
}

static void answer_tree(struct story *story, uint64_t token)
{
    struct tree tree;
    tree_init(&tree);
    unsigned runs = next(story) % 12;
    for (unsigned i = 0; i < runs; i++)
        add_run(story, &tree);
    for (unsigned others = runs % 3; others > 0; others--)
        add_other(story, &tree);
    tree_join(&tree);
    tell(story, token,
         &(struct store_answer){.verdict = SAID_OK, .number = tree.live, .tree = &tree});
    tree_fini(&tree);
}

static void answer_one(struct story *story)
{
    struct store_answer answer;
    if (story->open_count == 0)
        return;
    struct open_call call = take_open(story, next(story) % story->open_count);
    if (call.op == STORE_TREE && next(story) < 240) {
        answer_tree(story, call.token);
        return;
    }
    script_answer(&story->script, call.op, &answer);
    tell(story, call.token, &answer);
}

static void ask(struct story *story)
{
    unsigned how = next(story), more = next(story);
    struct cancel_ask asked = {
        .ask = (how & 1) != 0 ? 0 : ++story->asked,
        .run = script_id(&story->script),
        .root = (how & 2) != 0 ? script_id(&story->script) : STR_NONE,
        .action = (enum action)((how >> 2) % 2),
        .reason = STR("why"),
        .by = STR("who"),
        .grace = (how & 8) != 0 ? (struct span){next(story)} : SPAN_NONE,
        .wait = (enum cancel_wait)((how >> 4) % 3),
        .timeout = {next(story) * 100},
        .remember_unknown = (more & 1) != 0,
        .force = (more & 2) != 0 && (how & 2) != 0,
        .dry_run = (more & 4) != 0,
        .expect_at_most = (more & 8) != 0 ? (int64_t)next(story) % 4 : -1,
        .include_self = (more & 16) == 0,
        .follow_links = (more & 32) != 0,
    };
    feed(story, (struct cancels_event){.kind = CANCELS_ASK, .asked = &asked});
}

static void link_changes(struct story *story)
{
    static const struct store_answer offline = {.verdict = SAID_OFFLINE};
    story->linked = !story->linked;
    if (story->linked) {
        feed(story, (struct cancels_event){.kind = CANCELS_LINK_UP,
                                           .lost = next(story) % 2 == 1,
                                           .generation = script_id(&story->script)});
        return;
    }
    while (story->open_count > 0)
        tell(story, take_open(story, 0).token, &offline);
    feed(story, (struct cancels_event){.kind = CANCELS_LINK_DOWN});
}

static void time_passes(struct story *story)
{
    unsigned amount = next(story);
    story->now.ms += (int64_t)amount * amount * 4;
    feed(story, (struct cancels_event){.kind = CANCELS_TIME_PASSED});
}

static void hear_a_hint(struct story *story)
{
    feed(story, (struct cancels_event){.kind = CANCELS_HINT, .root = script_id(&story->script)});
}

static void give_up(struct story *story)
{
    if (story->asked > 0)
        feed(story, (struct cancels_event){.kind = CANCELS_GIVE_UP,
                                           .ask = 1 + next(story) % story->asked});
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static void (*const steps[])(struct story *story) = {
        answer_one, answer_one,  answer_one,   answer_one,  ask,
        ask,        time_passes, link_changes, hear_a_hint, give_up,
    };
    static struct story story;
    story = (struct story){.script = {.bytes = bytes, .len = len}, .now = {1000}};
    story.cancels = cancels_new(&(struct cancels_options){.hold = SECONDS(900),
                                                          .hold_max = 16,
                                                          .asks_max = ASKS_MAX,
                                                          .lease = SECONDS(15),
                                                          .token_base = TOKEN_BASE,
                                                          .encode = api_encode_record,
                                                          .decode = api_decode_record,
                                                          .encode_link = api_encode_link});
    assert(story.cancels != NULL);
    for (int i = 0; i < STEPS_MAX && story.script.at < len; i++)
        steps[next(&story) % (sizeof steps / sizeof steps[0])](&story);
    cancels_free(story.cancels);
    mem_free(story.todo.item);
    return 0;
}
