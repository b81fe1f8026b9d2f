#include <assert.h>

#include "base/mem.h"
#include "core/agent_inside.h"

/* A serial number in the upper bits makes a late answer to a slot that was used again a stranger.
 */
enum { SLOT_BITS = 20, SLOTS_MAX = 1 << SLOT_BITS };

struct agent_effect *want(struct agent *agent, enum agent_effect_kind kind)
{
    struct agent_effects *todo = agent->todo;
    void *item = todo->item;
    struct agent_effect *effect = &agent->spare;
    if (mem_grow(&item, &todo->room, sizeof *todo->item, todo->count + 1)) {
        todo->item = item;
        effect = &todo->item[todo->count++];
    } else {
        agent->is_starved = true;
    }
    *effect = (struct agent_effect){.kind = kind};
    return effect;
}

struct agent_reply *want_answer(struct agent *agent, uint64_t ask)
{
    struct agent_effect *effect = want(agent, DO_ANSWER);
    effect->ask = ask;
    effect->reply.deadline = SPAN_NONE;
    return &effect->reply;
}

void want_refusal(struct agent *agent, uint64_t ask, enum problem problem, const char *detail)
{
    struct agent_reply *reply = want_answer(agent, ask);
    reply->problem = problem;
    reply->detail = detail;
}

/* since: when the cancel was requested, by whatever clock its requester has; 0: not timed */
void want_count(struct agent *agent, enum agent_count which, enum problem problem,
                struct wall since)
{
    struct agent_effect *effect = want(agent, DO_COUNT);
    effect->which = which;
    effect->amount = 1;
    effect->problem = problem;
    effect->took = SPAN_NONE;
    if (since.ms > 0)
        effect->took.ms = agent->wall.ms > since.ms ? agent->wall.ms - since.ms : 0;
}

void want_moved(struct agent *agent, const struct agent_run *run, enum run_state from,
                const char *because)
{
    struct agent_effect *effect = want(agent, DO_MOVED);
    effect->run = run->id;
    effect->root = str_of(run->root->id);
    effect->from = from;
    effect->to = run->state;
    effect->because = because;
}

const char *agent_news_text(enum agent_news news)
{
    static const char *const text[] = {
        [NEWS_ISOLATED] = "out of reach of redis for longer than the lease",
        [NEWS_IN_REACH] = "in reach of redis again",
        [NEWS_QUARANTINED] = "quarantined: SIGKILL did not help",
        [NEWS_QUARANTINE_OVER] = "quarantine is over: the runs have ended",
        [NEWS_QUARANTINE_LIFTED] = "quarantine was lifted by an operator",
    };
    return text[news];
}

void want_news(struct agent *agent, enum agent_news news, size_t amount)
{
    struct agent_effect *effect = want(agent, DO_SAY);
    effect->news = news;
    effect->amount = amount;
}

/* ---- calls on their way -------------------------------------------------------------------- */
static struct call *slot_new(struct agent *agent, uint32_t *index)
{
    if (agent->free_call > 0) {
        *index = agent->free_call - 1;
        agent->free_call = agent->calls[*index].next_free;
        return &agent->calls[*index];
    }
    void *calls = agent->calls;
    if (agent->call_count == SLOTS_MAX
        || !mem_grow(&calls, &agent->call_room, sizeof *agent->calls, agent->call_count + 1)) {
        agent->is_starved = true;
        return NULL;
    }
    agent->calls = calls;
    *index = (uint32_t)agent->call_count++;
    return &agent->calls[*index];
}

static struct store_call *want_call_with(struct agent *agent, enum store_op op, uint64_t token)
{
    struct agent_effect *effect = want(agent, DO_CALL);
    effect->token = agent->options.token_base + token;
    effect->call.op = op;
    effect->call.replica = str_of(agent->replica);
    effect->call.deadline = SPAN_NONE;
    effect->call.grace = SPAN_NONE;
    return &effect->call;
}

struct store_call *want_call(struct agent *agent, enum store_op op, const struct call *about)
{
    uint32_t index = 0;
    struct call *call = slot_new(agent, &index);
    if (call == NULL)
        return &agent->spare.call;
    *call = *about;
    call->serial = ++agent->next_serial;
    if (call->run != NULL)
        call->run->calls++;
    if (call->root != NULL)
        call->root->calls++;
    if (call->is_sync)
        agent->sync_open++;
    struct store_call *out = want_call_with(agent, op, call->serial << SLOT_BITS | index);
    if (call->run != NULL) {
        out->root = str_of(call->run->root->id);
        out->run = call->run->id;
    } else if (call->root != NULL) {
        out->root = str_of(call->root->id);
    }
    return out;
}

struct store_call *want_silent_call(struct agent *agent, enum store_op op)
{
    return want_call_with(agent, op, 0);
}

bool call_take(struct agent *agent, uint64_t token, struct call *out)
{
    uint64_t n = token - agent->options.token_base;
    uint64_t serial = n >> SLOT_BITS;
    uint32_t index = (uint32_t)(n & (SLOTS_MAX - 1));
    if (serial == 0 || index >= agent->call_count || agent->calls[index].serial != serial)
        return false;
    *out = agent->calls[index];
    agent->calls[index] = (struct call){.next_free = agent->free_call};
    agent->free_call = index + 1;
    return true;
}

void call_done(struct agent *agent, struct call *call)
{
    assert(call->run == NULL || call->root == NULL); /* dropping the one may drop the other */
    for (size_t i = 0; call->batch != NULL && i < call->batch->count; i++) {
        call->batch->run[i]->calls--;
        run_forget_if_due(agent, call->batch->run[i]);
    }
    mem_free(call->batch);
    mem_free(call->text);
    if (call->root != NULL) {
        call->root->calls--;
        root_drop_if_idle(agent, call->root);
    }
    if (call->run != NULL) {
        call->run->calls--;
        run_forget_if_due(agent, call->run);
    }
}

/* ---- memory for one step ------------------------------------------------------------------- */
void *keep_for_step(struct agent *agent, size_t bytes)
{
    void *memory = arena_take(&agent->arena, bytes);
    agent->is_starved = agent->is_starved || memory == NULL;
    return memory;
}

struct str keep_str(struct agent *agent, struct str text)
{
    if (text.len == 0)
        return STR_NONE;
    struct str copy = arena_copy(&agent->arena, text);
    agent->is_starved = agent->is_starved || copy.len == 0;
    return copy;
}

void throw_away(struct agent *agent, void *memory)
{
    void *trash = agent->trash;
    if (memory == NULL)
        return;
    if (!mem_grow(&trash, &agent->trash_room, sizeof *agent->trash, agent->trash_count + 1)) {
        agent->is_starved = true; /* leaked: an effect of this step may still point into it */
        return;
    }
    agent->trash = trash;
    agent->trash[agent->trash_count++] = memory;
}

void want_reset(struct agent *agent)
{
    arena_reset(&agent->arena);
    for (size_t i = 0; i < agent->trash_count; i++)
        mem_free(agent->trash[i]);
    agent->trash_count = 0;
}

void want_fini(struct agent *agent)
{
    want_reset(agent);
    arena_fini(&agent->arena);
    mem_free(agent->trash);
    for (size_t i = 0; i < agent->call_count; i++) {
        if (agent->calls[i].serial == 0)
            continue;
        mem_free(agent->calls[i].batch);
        mem_free(agent->calls[i].text);
    }
    mem_free(agent->calls);
}
