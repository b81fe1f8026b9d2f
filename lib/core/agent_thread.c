/* The runs of one conversation. Each is entered into the list of its thread before it starts, and
 * the list keeps the order in which they came: of two root runs that start at once, the later one
 * finds the earlier one, and never the other way round. So the last of them alone goes on, and of
 * those that reject, the first. What the list says of an older run is only a hint: its own tree is
 * asked whether it lives. */
#include "base/buf.h"
#include "base/mem.h"
#include "core/agent_inside.h"

enum { STARTS_WITHIN_MS = 30000, TRIES = 3 };

/* Is there anything to do about the others? What goes on was there before them. */
static bool has_rivals(const struct agent *agent, const struct agent_run *run)
{
    enum multitask strategy = run->start->multitask;
    bool is_watching = agent->options.mode == MODE_OBSERVE && strategy == MULTITASK_REJECT;
    return strategy != MULTITASK_ENQUEUE && run->start->epoch == 0 && !is_watching
           && str_is(run->id, run->root->id);
}

static void fill_entry(const struct agent_run *run, struct store_call *call)
{
    call->id = run->thread;
    call->run = run->id;
    call->root = str_of(run->root->id);
    call->limit = THREAD_RUNS_MAX;
}

void thread_enter(struct agent *agent, struct agent_run *run)
{
    if (run->thread.len == 0)
        return;
    struct call about = {.kind = CALL_THREAD, .run = run};
    run->start->waits++;
    struct store_call *call = want_call(agent, STORE_THREAD_ENTER, &about);
    fill_entry(run, call);
    call->multitask = has_rivals(agent, run) || run->start->multitask != MULTITASK_REJECT
                          ? run->start->multitask
                          : MULTITASK_ENQUEUE;
}

/* As long as it lives here it is in the list, also of a Redis that has forgotten. */
void thread_renew(struct agent *agent, const struct agent_run *run)
{
    if (run->thread.len > 0)
        fill_entry(run, want_silent_call(agent, STORE_THREAD_ENTER));
}

void thread_leave(struct agent *agent, const struct agent_run *run, enum thread_end why)
{
    if (run->thread.len == 0)
        return;
    struct store_call *call = want_silent_call(agent, STORE_THREAD_LEAVE);
    fill_entry(run, call);
    call->thread_end = why;
}

/* ---- the others --------------------------------------------------------------------------------
 */
void thread_entered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    struct start *start = run->start;
    start->is_entered = answer->verdict == SAID_OK;
    start->entry_is_new = start->is_entered && answer->last;
    start->rival_count = 0;
    for (size_t i = 0; has_rivals(agent, run) && i < answer->list_count; i++) {
        struct call about = {.kind = CALL_RIVAL,
                             .run = run,
                             .text = mem_copy(answer->list[i]),
                             .is_repeat = answer->score[i] < STARTS_WITHIN_MS};
        start->waits++;
        struct store_call *peek = want_call(agent, STORE_PEEK, &about);
        peek->root = peek->run = keep_str(agent, answer->list[i]);
    }
}

static void add_rival(struct agent *agent, struct start *start, const char *id)
{
    void *grown = start->rival;
    if (!mem_grow(&grown, &start->rival_room, sizeof *start->rival, start->rival_count + 1)) {
        agent->is_starved = true;
        return;
    }
    start->rival = grown;
    if (id_parse(str_of(id), &start->rival[start->rival_count]))
        start->rival_count++;
}

static void forget_rival(struct agent *agent, const struct agent_run *run, const char *id,
                         enum thread_end why)
{
    struct store_call *call = want_silent_call(agent, STORE_THREAD_LEAVE);
    call->id = run->thread;
    call->run = call->root = keep_str(agent, str_of(id));
    call->thread_end = why;
}

void thread_rival_answered(struct agent *agent, struct call *call,
                           const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    struct start *start = run->start;
    bool is_there = answer->verdict == SAID_OK && answer->state != RUN_NEVER;
    bool is_stopped_before_it_began =
        answer->verdict == SAID_OK && !is_there && answer->ban.len > 0;
    bool is_beginning = !is_there && !is_stopped_before_it_began && call->is_repeat;
    bool lives = is_there && run_is_live(answer->state);
    bool is_told = lives && answer->ban.len > 0;
    if (call->text == NULL)
        return;
    if (lives || is_beginning) {
        if (!is_told || start->multitask == MULTITASK_REJECT)
            add_rival(agent, start, call->text);
    } else {
        forget_rival(agent, run, call->text, is_there ? THREAD_ENDED : THREAD_NEVER_BEGAN);
    }
}

static void refuse(struct agent *agent, struct agent_run *run)
{
    const struct start *start = run->start;
    const char *detail = "this thread is busy";
    struct buf text = {0};
    if (start->rival_count > 0)
        buf_addf(&text, "this thread is busy: run %s of it lives", start->rival[0].text);
    buf_add(&text, "", 1);
    char *kept = text.failed || text.len == 1 ? NULL : keep_for_step(agent, text.len);
    if (kept != NULL)
        detail = memcpy(kept, text.bytes, text.len);
    buf_fini(&text);
    start_refuse(agent, run, PROBLEM_CONFLICT, detail, NULL);
}

bool thread_decides(struct agent *agent, struct agent_run *run)
{
    struct start *start = run->start;
    bool is_rejected = run->thread.len > 0 && has_rivals(agent, run) && !start->is_entered;
    if (!is_rejected)
        return false;
    if (start->rival_count == 0 && ++start->thread_tries < TRIES)
        thread_enter(agent, run); /* those that the list had named are over */
    else
        refuse(agent, run);
    return true;
}

/* It has started: the others are stopped as by their own cancel. One that has not begun finds it.
 */
void thread_supersede(struct agent *agent, const struct agent_run *run)
{
    const struct start *start = run->start;
    char reason[sizeof "superseded by run " + RUN_ID_MAX] = "superseded by run ";
    bool stops = start->multitask == MULTITASK_INTERRUPT || start->multitask == MULTITASK_ROLLBACK;
    memcpy(reason + strlen(reason), run->id.at, run->id.len);
    for (size_t i = 0; stops && i < start->rival_count; i++) {
        struct str rival = id_str(&start->rival[i]);
        struct cancel_record record = own_record(agent, rival, rival, reason);
        if (start->multitask == MULTITASK_ROLLBACK)
            record.action = ACTION_ROLLBACK;
        if (root_make(agent, rival) != NULL)
            (void)cancel_here(agent, &record);
        else
            agent->is_starved = true;
    }
}
