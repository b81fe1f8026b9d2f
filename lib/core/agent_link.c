/* Links: children that live in another tree. A link is written before its child starts, and a
 * cancel is sent after every link until it has been accepted over there. */
#include "base/mem.h"
#include "core/agent_inside.h"

bool links_are_done(const struct agent_run *run)
{
    for (size_t i = 0; i < run->link_count; i++)
        if (!run->links[i].is_acknowledged)
            return false;
    return true;
}

/* A link of another kind is in the tree, for brokers; it is not worth a place here for ever. */
bool links_hold(const struct agent_run *run)
{
    for (size_t i = 0; i < run->link_count; i++)
        if (!run->links[i].is_acknowledged && run->links[i].kind == LINK_ROOT)
            return true;
    return false;
}

static void name_link(enum link_kind kind, struct str to, char out[LINK_ID_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t hash = UINT64_C(14695981039346656037) ^ (uint64_t)kind;
    for (size_t i = 0; i < to.len; i++)
        hash = (hash ^ (unsigned char)to.at[i]) * UINT64_C(1099511628211);
    hash ^= hash >> 32;
    for (size_t i = 0; i < LINK_ID_LEN; i++)
        out[i] = digits[hash >> (4 * i) & 15];
    out[LINK_ID_LEN] = '\0';
}

static struct agent_link *find_link(struct agent_run *run, const char *id)
{
    for (size_t i = 0; i < run->link_count; i++)
        if (strcmp(run->links[i].id, id) == 0)
            return &run->links[i];
    return NULL;
}

static struct agent_link *add_link(struct agent_run *run, const char *id,
                                   const struct run_link *asked)
{
    struct agent_link *link = find_link(run, id);
    if (link != NULL)
        return link;
    void *links = run->links;
    char *copy = mem_copy(asked->to);
    if (copy == NULL
        || !mem_grow(&links, &run->link_room, sizeof *run->links, run->link_count + 1)) {
        mem_free(copy);
        return NULL;
    }
    run->links = links;
    link = &run->links[run->link_count++];
    *link = (struct agent_link){.to = copy, .kind = asked->kind};
    memcpy(link->id, id, LINK_ID_LEN + 1);
    return link;
}

static void remove_link(struct agent *agent, struct agent_run *run, const char *id)
{
    struct agent_link *link = find_link(run, id);
    if (link == NULL)
        return;
    throw_away(agent, link->to);
    *link = run->links[--run->link_count];
}

/* ---- Redis --------------------------------------------------------------------------------- */
static struct store_call *write_link(struct agent *agent, struct agent_run *run,
                                     const struct agent_link *link, enum call_kind kind,
                                     uint64_t ask)
{
    const struct run_link encoded = {
        .kind = link->kind, .to = str_of(link->to), .acknowledged = link->is_acknowledged};
    struct call about = {.kind = kind, .run = run, .ask = ask};
    memcpy(about.link_id, link->id, sizeof about.link_id);
    size_t len = agent->options.encode_link(&encoded, agent->scratch);
    struct str bytes = keep_str(agent, (struct str){agent->scratch, len});
    struct str id = keep_str(agent, str_of(link->id));
    struct store_call *call = want_call(agent, STORE_LINK, &about);
    call->epoch = run->epoch;
    call->link_id = id;
    call->link = bytes;
    call->acknowledge = kind == CALL_LINK_DONE;
    return call;
}

/* An acknowledged link is written as such: the loss took both. What was promised belongs to the
 * run, whichever life carries it: behind a fence it is written in the epoch that stands there. */
void links_resend(struct agent *agent, struct agent_run *run)
{
    for (size_t i = 0; i < run->link_count; i++)
        if (!run->links[i].is_written)
            (void)write_link(agent, run, &run->links[i], CALL_LINK, 0);
}

/* ---- following ----------------------------------------------------------------------------- */
static struct str link_root(const struct agent_link *link, struct str *target)
{
    struct str rest = str_of(link->to);
    struct str root = str_cut(&rest, '/');
    *target = rest.at != NULL ? rest : root;
    return root;
}

static void follow(struct agent *agent, struct agent_run *run, struct agent_link *link)
{
    struct cancel_record record = run->box->record;
    record.root = link_root(link, &record.target);
    record.unrecorded = false;
    record.hops++;
    link->is_asked = true;
    struct open_ask about = {.kind = OPEN_LINK, .run = run};
    memcpy(about.link_id, link->id, sizeof about.link_id);
    if (!ask_cancel(agent, &record, true, &about))
        link->is_asked = false;
}

/* While Redis is away, what a link leads to may still be here. */
static void follow_locally(struct agent *agent, const struct agent_run *run,
                           const struct agent_link *link)
{
    struct cancel_record record = run->box->record;
    record.root = link_root(link, &record.target);
    record.hops++;
    if (root_find(agent, record.root) != NULL
        && held_find(agent, record.root, record.target) == NULL)
        (void)cancel_here(agent, &record);
}

/* While one question is on its way there is no other. */
static void follow_remote(struct agent *agent, struct agent_run *run, struct agent_link *link)
{
    if (!instant_reached(agent->now, link->again))
        return;
    struct str id = keep_str(agent, str_of(link->id));
    struct agent_effect *effect = want(agent, DO_CANCEL_THERE);
    effect->run = run->id;
    effect->text = id;
    effect->remote = (struct remote_ask){.kind = link->kind,
                                         .to = str_of(link->to),
                                         .action = run->box->record.action,
                                         .within = MILLIS(REMOTE_WITHIN_MS)};
    link->again = instant_after(agent->now, MILLIS(2 * REMOTE_WITHIN_MS));
}

/* When it is looked at next. */
static struct instant follow_one(struct agent *agent, struct agent_run *run,
                                 struct agent_link *link)
{
    if (link->kind != LINK_ROOT) {
        follow_remote(agent, run, link);
        return link->again;
    }
    if (!agent->is_linked)
        follow_locally(agent, run, link);
    else if (!link->is_asked)
        follow(agent, run, link);
    return instant_after(agent->now, MILLIS(FOLLOW_AGAIN_MS));
}

void links_follow(struct agent *agent, struct agent_run *run)
{
    bool may_go_on = run->box != NULL && !run->is_isolated && run->box->record.hops < CAUSE_HOPS_MAX
                     && !str_is(run->box->record.by, "brakewire");
    run->links_due = INSTANT_NEVER;
    for (size_t i = 0; may_go_on && i < run->link_count; i++) {
        struct agent_link *link = &run->links[i];
        if (!link->is_acknowledged)
            run->links_due = instant_first(run->links_due, follow_one(agent, run, link));
    }
    run_set_due(agent, run);
}

static void link_done(struct agent *agent, struct agent_run *run, struct agent_link *link)
{
    link->is_acknowledged = true;
    (void)write_link(agent, run, link, CALL_LINK_DONE, 0);
    root_quieten(agent, run->root);
}

void link_followed(struct agent *agent, struct open_ask *open, const struct cancel_result *result)
{
    struct agent_link *link = find_link(open->run, open->link_id);
    if (link == NULL)
        return;
    link->is_asked = false;
    bool is_accepted = result->problem == PROBLEM_NONE || result->problem == PROBLEM_NOT_CANCELABLE;
    if (is_accepted && !link->is_acknowledged)
        link_done(agent, open->run, link);
}

void link_remote_answered(struct agent *agent, struct agent_run *run,
                          const struct agent_event *event)
{
    char id[LINK_ID_LEN + 1] = "";
    memcpy(id, event->text.at, event->text.len < LINK_ID_LEN ? event->text.len : LINK_ID_LEN);
    struct agent_link *link = find_link(run, id);
    bool is_news = link != NULL && !link->is_acknowledged && event->outcome != REMOTE_SENT;
    if (!is_news || run->box == NULL)
        return;
    if (remote_is_settled(event->outcome, run->box->record.at, agent->wall)) {
        link_done(agent, run, link);
        return;
    }
    link->again = instant_after(agent->now, remote_pause(link->attempts));
    link->attempts++;
    run->links_due = instant_first(run->links_due, link->again);
    run_set_due(agent, run);
}

/* ---- the ask ------------------------------------------------------------------------------- */
static const char *link_is_wrong(const struct run_link *link)
{
    struct str rest = link->to;
    if (link->kind != LINK_ROOT)
        return rest.len > 0 && rest.len <= TEXT_MAX_BYTES ? NULL : "to: 1 to 1024 bytes";
    if (!id_is_valid(str_cut(&rest, '/')))
        return "to: <root> or <root>/<run>";
    if (rest.at != NULL && !id_is_valid(rest))
        return "to: <root> or <root>/<run>";
    return NULL;
}

static struct agent_reply *answer_link(struct agent *agent, const struct agent_run *run,
                                       uint64_t ask, const char *id, enum problem problem)
{
    struct str kept = keep_str(agent, str_of(id));
    struct agent_reply *reply = want_answer(agent, ask);
    run_fill_reply(agent, run, reply);
    reply->problem = problem;
    reply->link_id = kept;
    return reply;
}

static void promise_link(struct agent *agent, struct agent_run *run, struct agent_link *link,
                         uint64_t ask)
{
    link->is_promised = true;
    answer_link(agent, run, ask, link->id, PROBLEM_NONE)->pending = true;
}

/* Too late: the child must not live, wherever it starts. */
static void refuse_link(struct agent *agent, struct agent_run *run, struct agent_link *link,
                        uint64_t ask)
{
    link->is_written = true; /* never will be: the run is banned */
    answer_link(agent, run, ask, link->id, PROBLEM_CANCELLED);
    links_follow(agent, run);
}

static void take_link(struct agent *agent, const struct agent_event *event, struct agent_run *run)
{
    char id[LINK_ID_LEN + 1];
    name_link(event->link->link.kind, event->link->link.to, id);
    if (run->link_count >= LINKS_PER_RUN_MAX && find_link(run, id) == NULL) {
        want_refusal(agent, event->ask, PROBLEM_FULL, "links");
        return;
    }
    struct agent_link *link = add_link(run, id, &event->link->link);
    if (link == NULL) {
        want_refusal(agent, event->ask, PROBLEM_OVERLOADED, "no memory");
        return;
    }
    if (run->is_told && agent->options.mode != MODE_OBSERVE)
        refuse_link(agent, run, link, event->ask);
    else if (agent->is_linked)
        (void)write_link(agent, run, link, CALL_LINK, event->ask);
    else
        promise_link(agent, run, link, event->ask);
}

void link_asked(struct agent *agent, const struct agent_event *event)
{
    const struct ask_link *asked = event->link;
    enum problem problem = PROBLEM_NONE;
    struct agent_run *run = run_owned(agent, event, asked->run, &problem);
    if (run == NULL) {
        want_refusal(agent, event->ask, problem, NULL);
        return;
    }
    if (!epoch_is_right(agent, run, event->ask, asked->epoch))
        return;
    const char *wrong = link_is_wrong(&asked->link);
    if (wrong != NULL) {
        want_refusal(agent, event->ask, PROBLEM_INVALID, wrong);
        return;
    }
    if (run_is_over(run->state)) {
        struct agent_reply *reply = want_answer(agent, event->ask);
        run_fill_reply(agent, run, reply);
        reply->problem = PROBLEM_OVER;
        return;
    }
    take_link(agent, event, run);
}

static void link_refused(struct agent *agent, struct call *call, struct agent_link *link,
                         const struct store_answer *answer)
{
    struct agent_run *run = call->run;
    struct verdict verdict = verdict_of_answer(answer);
    verdict.said = SAID_STOP;
    link->is_written = true;
    verdict_apply(agent, run, &verdict); /* it follows its links */
    if (run->box == NULL || str_is(run->box->record.by, "brakewire")) {
        box_drop(agent, run->box); /* what ended its life here says nothing of its links */
        run->box = box_of_ban(agent, answer->record, str_of(run->root->id), answer->ban);
        links_follow(agent, run);
    }
    if (call->ask != 0)
        answer_link(agent, run, call->ask, call->link_id, PROBLEM_CANCELLED);
}

static void link_impossible(struct agent *agent, struct call *call, enum problem problem,
                            const char *detail)
{
    remove_link(agent, call->run, call->link_id);
    if (call->ask != 0)
        answer_link(agent, call->run, call->ask, call->link_id, problem)->detail = detail;
}

static void link_written(struct agent *agent, struct call *call, struct agent_link *link)
{
    link->is_written = link->is_promised = true;
    bool is_late = call->run->is_told && agent->options.mode != MODE_OBSERVE;
    if (is_late)
        links_follow(agent, call->run); /* a cancel came while it was written */
    if (call->ask != 0)
        answer_link(agent, call->run, call->ask, call->link_id,
                    is_late ? PROBLEM_CANCELLED : PROBLEM_NONE);
}

/* Redis could not be asked. What was promised before stays promised; but behind an end that stands
 * here already Redis would take no new link, and the child would be in nobody's scope. */
static void answer_unwritten(struct agent *agent, struct call *call, struct agent_link *link)
{
    if (call->ask == 0)
        return;
    if (run_is_over(call->run->state) && !link->is_promised)
        link_impossible(agent, call, PROBLEM_OVER, NULL);
    else
        promise_link(agent, call->run, link, call->ask);
}

/* Another life has the link by now, and follows it. */
static void answer_inherited(struct agent *agent, struct call *call, enum store_verdict said)
{
    if (call->ask == 0)
        return;
    enum problem problem = said == SAID_REFUSED ? PROBLEM_CANCELLED : PROBLEM_NONE;
    answer_link(agent, call->run, call->ask, call->link_id, problem)->pending = said != SAID_LINKED;
}

void link_answered(struct agent *agent, struct call *call, const struct store_answer *answer)
{
    struct agent_link *link = find_link(call->run, call->link_id);
    if (link == NULL)
        answer_inherited(agent, call, answer->verdict);
    if (link == NULL || call->kind == CALL_LINK_DONE)
        return; /* what was not written down is followed again by whoever reads the tree */
    struct verdict verdict = verdict_of_answer(answer);
    switch (answer->verdict) {
    case SAID_LINKED:
        link_written(agent, call, link);
        break;
    case SAID_REFUSED:
        link_refused(agent, call, link, answer);
        break;
    case SAID_FULL:
        link_impossible(agent, call, PROBLEM_FULL, "links");
        break;
    case SAID_OVER:
        if (answer->record.len > 0)
            link_refused(agent, call, link, answer);
        else
            link_impossible(agent, call, PROBLEM_OVER, NULL);
        break;
    case SAID_FENCED:
        verdict_apply(agent, call->run, &verdict);
        if (call->run->is_fenced && call->ask != 0)
            link_impossible(agent, call, PROBLEM_FENCED, NULL);
        else
            write_link(agent, call->run, link, CALL_LINK, call->ask)->epoch = answer->epoch;
        break;
    default:
        verdict_apply(agent, call->run, &verdict); /* unknown: asserted, and its links with it */
        answer_unwritten(agent, call, link);
        break;
    }
}
