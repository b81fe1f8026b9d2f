/* An agentd's core against a Redis that says anything, in any order, to clients that ask anything.
 *
 * The input is a story, a byte or a few for each step: asks, messages on the channel, time that
 * passes, connections that come and go, and replies, put together from the words of a dictionary
 * and read as a reply of Redis is read. No assert of the core may fail, whatever the server says.
 */
#include <assert.h>
#include <stdio.h>

#include "api/api_codec.h"
#include "base/mem.h"
#include "core/agent.h"
#include "fuzz/hostile.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { OPEN_MAX = 128, STEPS_MAX = 400, TOKEN_BASE = 7000, RUNS_MAX = 16, IDS = 4 };

struct open_call {
    uint64_t token;
    enum store_op op;
};

struct story {
    struct script script;
    struct agent *agent;
    struct agent_effects todo;
    struct instant now;
    struct open_call open[OPEN_MAX];
    size_t open_count;
    uint64_t last_ask;
    bool linked;
    struct { /* the last DO_CANCEL_THERE */
        char name[RUN_ID_MAX + 1], link[24];
        struct str run;
        uint64_t token;
    } asked;
};

static unsigned next(struct story *story)
{
    return script_next(&story->script);
}

static struct str next_id(struct story *story)
{
    return script_id(&story->script);
}

/* ---- steps --------------------------------------------------------------------------------- */

static void note_question(struct story *story, const struct agent_effect *effect)
{
    snprintf(story->asked.name, sizeof story->asked.name, "%.*s", (int)effect->run.len,
             effect->run.at);
    snprintf(story->asked.link, sizeof story->asked.link, "%.*s", (int)effect->text.len,
             effect->text.len > 0 ? effect->text.at : "");
    story->asked.run = str_of(story->asked.name);
    story->asked.token = effect->token;
}

static void note_calls(struct story *story)
{
    for (size_t i = 0; i < story->todo.count; i++) {
        const struct agent_effect *effect = &story->todo.item[i];
        if (effect->kind == DO_CANCEL_THERE)
            note_question(story, effect);
        if (effect->kind != DO_CALL || effect->token == TOKEN_BASE)
            continue;
        if (story->open_count == OPEN_MAX) /* nobody waits for the oldest any more */
            memmove(story->open, story->open + 1, --story->open_count * sizeof story->open[0]);
        story->open[story->open_count++] = (struct open_call){effect->token, effect->call.op};
    }
}

static void feed(struct story *story, struct agent_event event)
{
    event.at = story->now;
    event.wall = (struct wall){INT64_C(1700000000000) + story->now.ms};
    assert(agent_step(story->agent, &event, &story->todo) == ERR_OK);
    note_calls(story);
    /* an ended run that comes back is not refused for want of room */
    assert(agent_live_runs(story->agent) <= RUNS_MAX + IDS);
}

static struct open_call take_open(struct story *story, size_t i)
{
    struct open_call call = story->open[i];
    story->open_count--;
    memmove(&story->open[i], &story->open[i + 1], (story->open_count - i) * sizeof story->open[0]);
    return call;
}

static void answer_offline(struct story *story, size_t i)
{
    struct open_call call = take_open(story, i);
    feed(story, (struct agent_event){.kind = AGENT_ANSWER,
                                     .token = call.token,
                                     .answer = &(struct store_answer){.verdict = SAID_OFFLINE}});
}

static void answer_one(struct story *story)
{
    struct store_answer answer;
    if (story->open_count == 0)
        return;
    struct open_call call = take_open(story, next(story) % story->open_count);
    script_answer(&story->script, call.op, &answer);
    feed(story, (struct agent_event){.kind = AGENT_ANSWER, .token = call.token, .answer = &answer});
}

static void link_changes(struct story *story)
{
    story->linked = !story->linked;
    if (story->linked) {
        feed(story, (struct agent_event){.kind = AGENT_LINK_UP, .text = next_id(story)});
        return;
    }
    while (story->open_count > 0)
        answer_offline(story, 0);
    feed(story, (struct agent_event){.kind = AGENT_LINK_DOWN});
}

static void time_passes(struct story *story)
{
    unsigned amount = next(story);
    story->now.ms += (int64_t)amount * amount * 4;
    feed(story, (struct agent_event){.kind = AGENT_TIME_PASSED});
}

/* ---- what clients ask ---------------------------------------------------------------------- */

static struct agent_caller next_caller(struct story *story)
{
    static const char *const hashes[] = {"0123456789abcdef0123456789abcdef",
                                         "fedcba9876543210fedcba9876543210"};
    unsigned who = next(story);
    return (struct agent_caller){.token_hash = str_of(hashes[who % 2]), .operator_ = who > 250};
}

static void ask_start(struct story *story)
{
    static const char *const paths[] = {"", "r", "r.a", "r..b"};
    unsigned how = next(story), more = next(story);
    struct ask_start start = {
        .run_id = (how & 7) == 7 ? STR_NONE : next_id(story),
        .path = str_of(paths[(how >> 3) % 4]),
        .path_was_given = ((how >> 3) % 4) > 0,
        .strict = (how & 32) != 0,
        .deadline = (how & 64) != 0 ? (struct span){next(story)} : SPAN_NONE,
        .on_end = (enum on_end)(more % 3),
        .on_lost = (enum on_lost)((more >> 2) % 3),
        .on_client_gone = (enum on_client_gone)((more >> 4) % 2),
        .takeover = (more & 64) != 0,
    };
    if ((more & 32) != 0) {
        start.stop_count = 1;
        start.stop[0] = (struct stop_target){.kind = STOP_HTTP,
                                             .grace = {(int64_t)(more % 4) * 100 - 1},
                                             .protocol = LINK_HTTP,
                                             .to = STR("http://x"),
                                             .headers = STR("A: b\n")};
    }
    if ((more & 128) != 0 && start.run_id.len > 0)
        start.epoch = 1 + next(story) % 3;
    feed(story, (struct agent_event){.kind = AGENT_ASKED_START,
                                     .ask = ++story->last_ask,
                                     .caller = next_caller(story),
                                     .start = &start});
}

static void ask_about_a_run(struct story *story)
{
    static const enum run_state ends[] = {RUN_SUCCESS, RUN_ERROR, RUN_PAUSED, RUN_CANCELLED,
                                          RUN_ROLLED_BACK};
    struct str run = next_id(story);
    uint32_t epoch = next(story) % 4;
    struct ask_ack ack = {.run = run, .epoch = epoch, .phase = (enum ack_phase)(epoch % 3)};
    struct ask_end end = {.run = run, .epoch = epoch, .state = ends[next(story) % 5]};
    struct ask_link link = {.run = run,
                            .epoch = epoch,
                            .link = {.kind = (enum link_kind)(next(story) % (LINK_HTTP + 1)),
                                     .to = next_id(story)}};
    struct ask_fence fence = {
        .run = run, .epoch = epoch, .write_id = next_id(story), .bytes = STR("x")};
    struct cancel_ask cancel = {.run = run,
                                .grace = {next(story)},
                                .timeout = SECONDS(1),
                                .expect_at_most = -1,
                                .include_self = true,
                                .remember_unknown = epoch != 0};
    struct agent_event event = {.ask = ++story->last_ask, .caller = next_caller(story)};
    switch (next(story) % 5) {
    case 0:
        event.kind = AGENT_ASKED_ACK;
        event.ack = &ack;
        break;
    case 1:
        event.kind = AGENT_ASKED_END;
        event.end = &end;
        break;
    case 2:
        event.kind = AGENT_ASKED_LINK;
        event.link = &link;
        break;
    case 3:
        event.kind = AGENT_ASKED_FENCE;
        event.fence = &fence;
        break;
    default:
        event.kind = AGENT_ASKED_CANCEL;
        event.cancel = &cancel;
    }
    feed(story, event);
}

/* ---- what comes over the channel ----------------------------------------------------------- */

static void see_cancel(struct story *story)
{
    static const char *const reasons[] = {"stop", "lost", "deadline", "parent_ended", ""};
    struct cancel_record seen = {.root = next_id(story),
                                 .target = next_id(story),
                                 .action = (enum action)(next(story) % 2),
                                 .reason = str_of(reasons[next(story) % 5]),
                                 .by = STR("x"),
                                 .grace = {(int64_t)next(story) - 1},
                                 .unrecorded = next(story) % 2 == 1};
    feed(story,
         (struct agent_event){.kind = AGENT_CANCEL_SEEN, .root = next_id(story), .record = &seen});
}

static void see_something(struct story *story)
{
    static const enum agent_event_kind kinds[] = {AGENT_TEXT_SEEN,    AGENT_GARBAGE_SEEN,
                                                  AGENT_HINTS_MISSED, AGENT_ORDERS_SEEN,
                                                  AGENT_NEWER_SEEN,   AGENT_CLIENT_CAME,
                                                  AGENT_CLIENT_WENT,  AGENT_CLIENT_SLOW};
    feed(story, (struct agent_event){.kind = kinds[next(story) % 8],
                                     .root = next_id(story),
                                     .text = next_id(story),
                                     .reason = STR("by hand"),
                                     .caller = next_caller(story)});
}

/* Of the last question, as it may be; or of none that was ever put. */
static void remote_answers(struct story *story)
{
    unsigned how = next(story);
    feed(story,
         (struct agent_event){.kind = AGENT_REMOTE_ANSWERED,
                              .run = (how & 8) != 0 ? next_id(story) : story->asked.run,
                              .text = (how & 16) != 0 ? STR("x") : str_of(story->asked.link),
                              .token = story->asked.token ^ (how >> 5),
                              .outcome = (enum remote_outcome)(how % (REMOTE_OUTCOME_COUNT))});
}

static struct agent *make_agent(unsigned mode)
{
    return agent_new(&(struct agent_options){
        .replica = STR("here"),
        .mode = (enum agent_mode)(mode % 3),
        .lease = SECONDS(15),
        .reconcile_every = SECONDS(30),
        .lost_grace = SECONDS(5),
        .grace_notify = SECONDS(1),
        .grace_term = SECONDS(1),
        .grace_http = SECONDS(1),
        .kill_patience = SECONDS(1),
        .remember = SECONDS(900),
        .tombstone_ttl = SECONDS(86400),
        .max_runs = RUNS_MAX,
        .max_tree_runs = 10000,
        .max_children = 1000,
        .max_clients = 8,
        .allow_without_redis = mode % 2 == 0,
        .isolation_cancels = mode > 200,
        .seed = 1,
        .token_base = TOKEN_BASE,
        .encode_record = api_encode_record,
        .decode_record = api_decode_record,
        .encode_meta = api_encode_meta,
        .decode_meta = api_decode_meta,
        .decode_order = api_decode_order,
        .encode_link = api_encode_link,
        .encode_story = api_encode_story,
    });
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static void (*const steps[])(struct story *story) = {
        answer_one, answer_one, answer_one,      answer_one, link_changes,  time_passes,
        ask_start,  ask_start,  ask_about_a_run, see_cancel, see_something, remote_answers,
    };
    static struct story story;
    story = (struct story){.script = {.bytes = bytes, .len = len}, .now = {1000}};
    story.agent = make_agent(next(&story));
    assert(story.agent != NULL);
    for (int i = 0; i < STEPS_MAX && story.script.at < len; i++)
        steps[next(&story) % (sizeof steps / sizeof steps[0])](&story);
    agent_free(story.agent);
    mem_free(story.todo.item);
    return 0;
}
