/* What must come true once all faults are healed: scopes are empty, Redis and the world agree, and
 * everybody was answered. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sim/sim.h"

static bool missing(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool missing(struct sim *sim, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(sim->why, sizeof sim->why, format, ap);
    va_end(ap);
    return false;
}

/* G7: kept, unless Redis lost it or never had it, and whoever held it has crashed since. */
static bool must_hold(const struct sim *sim, const struct sim_cancel *cancel)
{
    bool is_safe = !cancel->is_pending && cancel->losses == sim->losses;
    return cancel->is_accepted && cancel->includes_self
           && (is_safe || cancel->crashes == sim->crashes);
}

static struct store_answer peek(struct sim *sim, const struct sim_run *run)
{
    struct store_answer answer;
    const struct store_call call = {
        .op = STORE_PEEK, .root = str_of(run->root), .run = str_of(run->id)};
    model_call(sim->model, &call, &answer);
    return answer;
}

/* G3: what does not stop and cannot be killed is reported so; what is only observed goes on. */
bool may_live_on(struct sim *sim, const struct sim_run *run)
{
    enum agent_mode mode = sim->node[sim->client[run->client].node].mode;
    const struct store_answer said = peek(sim, run);
    bool is_killable = run->has_process && mode == MODE_ENFORCE;
    bool is_reported =
        (said.flags & RUN_FLAG_UNRESPONSIVE) != 0 || said.state == RUN_LOST || run->is_superseded;
    return mode == MODE_OBSERVE || (!is_killable && !run->obeys && is_reported);
}

/* It started without Redis, and ended before its tombstone was found; or it is below such a one. */
static bool is_out_of_reach(const struct sim_cancel *cancel, const struct sim_run *run)
{
    bool ended_untold = run->phase != RUN_ALIVE && run->told_life == 0 && !run->is_protected;
    return cancel->was_unknown && (ended_untold || strcmp(run->id, cancel->target) != 0);
}

static bool is_empty(struct sim *sim, const struct sim_cancel *cancel, bool is_linked)
{
    for (size_t i = 0; i < sim->run_count; i++) {
        const struct sim_run *run = &sim->run[i];
        bool is_promised = run->is_protected || !is_linked;
        if (is_out_of_reach(cancel, run))
            continue;
        if (run->phase == RUN_ALIVE && is_promised && is_in_scope(run, cancel->target)
            && !may_live_on(sim, run))
            return missing(sim,
                           is_linked ? "G2: %s lives on, and a link of the cancelled leads to %s"
                                     : "G2: %s lives on below the cancelled %s",
                           run->id, cancel->target);
    }
    return true;
}

/* Where nothing was lost and nobody crashed, a cancel goes down every link of its scope. A link to
 * what has ended and has nothing below it that Redis knows is settled; who started there without
 * Redis was told that it is not protected. So was a life that Redis never let in. */
static bool are_links_empty(struct sim *sim, const struct sim_cancel *cancel)
{
    for (size_t i = 0; i < sim->link_count; i++) {
        const struct sim_link *link = &sim->link[i];
        const struct sim_run *from = &sim->run[link->run];
        bool is_observed = sim->node[sim->client[from->client].node].mode == MODE_OBSERVE;
        const bool was_refused = from->is_superseded && !from->is_protected;
        if (is_observed || was_refused || is_out_of_reach(cancel, from)
            || !is_in_scope(from, cancel->target))
            continue;
        struct sim_cancel linked = {0};
        memcpy(linked.root, link->root, sizeof linked.root);
        memcpy(linked.target, link->target, sizeof linked.target);
        if (!is_empty(sim, &linked, true))
            return false;
    }
    return true;
}

static bool is_in_list(struct sim *sim, const struct store_call *call, const char *name)
{
    struct store_answer answer;
    model_call(sim->model, call, &answer);
    for (size_t i = 0; i < answer.list_count; i++)
        if (str_is(answer.list[i], name))
            return true;
    return false;
}

/* Can a broker find the run by its replica? A Redis that refuses a list and takes the run a
 * moment later leaves one that only a replica that lives repairs. */
static bool is_listed(struct sim *sim, const struct sim_run *run, struct str owner)
{
    char replica[NAME_TEXT_MAX];
    copy_text(replica, sizeof replica, owner);
    return is_in_list(sim, &(struct store_call){.op = STORE_REPLICAS_READ}, replica)
           && is_in_list(sim,
                         &(struct store_call){.op = STORE_HELD_READ, .replica = str_of(replica)},
                         run->root);
}

static bool lives_elsewhere(const struct sim *sim, const struct sim_run *run)
{
    for (size_t i = 0; i < sim->run_count; i++)
        if (sim->run[i].phase == RUN_ALIVE && strcmp(sim->run[i].id, run->id) == 0)
            return true;
    return false;
}

/* Two lives of one epoch, each known to a Redis that forgot the other: not promised. */
static bool may_be_forgotten(const struct sim *sim, const struct sim_run *run)
{
    size_t lives = 0;
    for (size_t i = 0; i < sim->run_count; i++)
        lives += strcmp(sim->run[i].id, run->id) == 0 ? 1 : 0;
    return sim->losses > 1 && lives > 1;
}

/* In some life of its agentd: `ann-2` is one of ann. */
static bool is_carried_by(const struct sim *sim, const struct sim_run *run, struct str owner)
{
    struct str rest = owner;
    return str_is(str_cut(&rest, '-'), sim->node[sim->client[run->client].node].name);
}

/* Redis and the world agree: who lives is live there, who has ended is over. */
static bool is_agreed(struct sim *sim, const struct sim_run *run)
{
    const struct store_answer answer = peek(sim, run);
    bool is_live = answer.verdict == SAID_OK && run_is_live(answer.state);
    if (run->phase == RUN_ALIVE && run->is_superseded && !may_live_on(sim, run))
        return missing(sim, "G4: an older life of %s goes on", run->id);
    bool is_last = run_named(sim, str_of(run->id)) == (size_t)(run - sim->run);
    if (run->phase != RUN_ALIVE && (!is_last || lives_elsewhere(sim, run)))
        return true; /* another life speaks for it */
    if (run->phase == RUN_ALIVE && !is_live && !may_live_on(sim, run))
        return missing(sim, "G7: %s lives, and Redis says %s", run->id,
                       answer.verdict == SAID_OK ? run_state_name(answer.state) : "unknown");
    enum run_state state = answer.state;
    bool must_be_over = run->phase == RUN_DEAD && (run->is_settled || run->has_process)
                        && !may_be_forgotten(sim, run) && is_carried_by(sim, run, answer.owner);
    if (must_be_over && is_live && (!sim->has_refused || is_listed(sim, run, answer.owner)))
        return missing(sim, "G6: %s has ended, and Redis says %s", run->id, run_state_name(state));
    return true;
}

static bool are_scopes_empty(struct sim *sim)
{
    for (size_t i = 0; i < sim->cancel_count; i++) {
        if (!must_hold(sim, &sim->cancel[i]))
            continue;
        if (!is_empty(sim, &sim->cancel[i], false))
            return false;
        bool was_quiet = sim->losses == 0 && sim->crashes == 0;
        if (was_quiet && !are_links_empty(sim, &sim->cancel[i]))
            return false;
    }
    return true;
}

/* Nobody is still away, and nobody is still about to do something. */
static bool are_all_there(struct sim *sim)
{
    for (size_t i = 0; i < sim->node_count; i++) {
        const struct node *node = &sim->node[i];
        if (!node->is_alive || node->is_frozen || !node->is_linked)
            return missing(sim, "%s does not come back", node->name);
    }
    for (size_t i = 0; i < sim->run_count; i++) {
        const struct sim_run *run = &sim->run[i];
        bool waits = run->phase == RUN_ASKED || (run->phase == RUN_ALIVE && run->is_ending);
        if (waits && sim->client[run->client].is_alive)
            return missing(sim, "G6: %s asks for ever", run->id);
    }
    return true;
}

static bool are_asks_answered(struct sim *sim)
{
    for (size_t i = 0; i < sim->ask_count; i++) {
        const struct ask *ask = &sim->ask[i];
        if (ask->ask != 0 && ask->kind == ASK_CANCEL)
            return missing(sim, "G6: %s never answers the cancel of %s", sim->node[ask->node].name,
                           sim->cancel[ask->cancel].target);
        if (ask->ask != 0)
            return missing(sim, "G6: an ask of %s is never answered", sim->run[ask->run].id);
    }
    return true;
}

static bool are_orders_carried_out(struct sim *sim)
{
    const struct sim_run *victim = NULL;
    const char *wrong = orders_broken(sim, &victim);
    return wrong == NULL
           || missing(sim, "%s%s%s", wrong, victim != NULL ? ": " : "",
                      victim != NULL ? victim->id : "");
}

bool check_healed(struct sim *sim)
{
    if (!are_all_there(sim) || !are_scopes_empty(sim))
        return false;
    for (size_t i = 0; i < sim->run_count; i++)
        if (!is_agreed(sim, &sim->run[i]))
            return false;
    return are_asks_answered(sim) && are_orders_carried_out(sim);
}
