/* What another protocol calls a run: written when the run has started and before its client hears
 * so, so that whoever knows the run by that name finds it. The run that began last has it; those
 * before only renew it while it is theirs. */
#include "core/agent_inside.h"

void alias_begin(struct agent_run *run, bool is_latest)
{
    run->alias_is_due = is_latest && run->alias.len > 0;
}

void alias_send(struct agent *agent, struct agent_run *run, uint64_t ask, bool is_created)
{
    struct call about = {.kind = CALL_ALIAS, .run = run, .ask = ask, .is_repeat = !is_created};
    struct store_call *call = want_call(agent, STORE_ALIAS, &about);
    call->id = run->alias;
    call->root = str_of(run->root->id);
    call->run = run->id;
    call->force = run->alias_is_due;
}

/* Without an answer it is due still, and goes with what is compared next. */
void alias_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    if (answer->verdict == SAID_OK || answer->verdict == SAID_EXISTS)
        call->run->alias_is_due = false;
    if (call->ask == 0)
        return;
    struct agent_reply reply = {.created = !call->is_repeat};
    run_fill_reply(agent, call->run, &reply);
    *want_answer(agent, call->ask) = reply;
}
