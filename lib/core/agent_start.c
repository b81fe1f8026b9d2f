/* From the ask to the start script. What the answers mean is in agent_started.c. */
#include <assert.h>

#include "base/buf.h"
#include "base/mem.h"
#include "core/agent_inside.h"

/* ---- what is wrong with the ask ------------------------------------------------------------ */
static const char *targets_are_wrong(const struct ask_start *start)
{
    size_t processes = 0;
    if (start->stop_count > STOP_TARGETS_MAX)
        return "at most 4 stop targets";
    for (size_t i = 0; i < start->stop_count; i++) {
        if (start->stop[i].kind == STOP_HTTP && start->stop[i].to.len == 0)
            return "an http target needs its url";
        if (start->stop[i].kind != STOP_PROCESS)
            continue;
        if (start->stop[i].pid == 0)
            return "a process target needs its pid";
        processes++;
    }
    return processes > 1 ? "at most one process target" : NULL;
}

static const char *ask_is_wrong(const struct ask_start *start)
{
    if (start->run_id.len > 0 && !id_is_valid(start->run_id))
        return "run_id: 1 to 64 of A-Z a-z 0-9 _ -";
    if (start->incarnation.len > NAME_MAX_BYTES)
        return "incarnation: at most 64 characters";
    if (!start->entry && start->path_was_given && !path_is_valid(start->path))
        return "the parent's path is not valid";
    if (start->meta.retry_of.len > 0 && !id_is_valid(start->meta.retry_of))
        return "retry_of is not a run id";
    if (start->meta.resumed_from.len > 0 && !id_is_valid(start->meta.resumed_from))
        return "resumed_from is not a run id";
    return targets_are_wrong(start);
}

static bool is_full(const struct agent *agent)
{
    size_t open = agent->runs.count - agent->ended_count;
    return agent->is_draining || agent->is_quarantined || open >= agent->options.max_runs
           || agent->ended_count >= 2 * agent->options.max_runs;
}

/* ---- who it is ----------------------------------------------------------------------------- */
struct place { /* of a new run in its tree */
    struct run_id id;
    struct str root, parents; /* parents: root to parent, "" for a root */
    bool must_exist;
};

/* A claimed path may begin below the root, where an id tells which root that is. */
static struct str whole_path(struct agent *agent, struct str path)
{
    const struct agent_run *parent = run_find(agent, path_self(path));
    if (parent != NULL)
        return keep_str(agent, parent->path);
    struct str first = path_root(path);
    struct str root = id_minted_root(first);
    if (root.len == 0 || root.len == first.len)
        return path;
    char *whole = keep_for_step(agent, root.len + 2 + path.len);
    if (whole == NULL)
        return path;
    memcpy(whole, root.at, root.len);
    memcpy(whole + root.len, "..", 2);
    memcpy(whole + root.len + 2, path.at, path.len);
    return (struct str){whole, root.len + 2 + path.len};
}

/* An id of a shape that only we mint was minted in an earlier life of this daemon, or is a lie. */
static const char *place_brought_id(struct agent *agent, const struct ask_start *start,
                                    struct place *place)
{
    (void)id_parse(start->run_id, &place->id);
    struct str minted = keep_str(agent, id_minted_root(start->run_id));
    if (minted.len > 0 && place->parents.len == 0 && minted.len < start->run_id.len)
        place->parents = minted;
    if (place->parents.len == 0)
        place->root = keep_str(agent, start->run_id);
    else
        place->root = path_root(place->parents);
    if (minted.len == 0)
        return NULL;
    if (!str_eq(minted, place->root))
        return "run_id: this shape is minted here, bring another";
    place->must_exist = start->epoch == 0 && !start->run_id_is_ours;
    return NULL;
}

static const char *find_place(struct agent *agent, const struct ask_start *start,
                              struct place *place)
{
    bool is_below = start->path_was_given && !start->entry;
    if (is_below)
        place->parents = whole_path(agent, start->path);
    if (start->run_id.len > 0) {
        const char *wrong = place_brought_id(agent, start, place);
        if (wrong != NULL)
            return wrong;
    } else if (is_below) {
        place->root = path_root(place->parents);
        place->id = id_mint_child(&agent->rng, place->root);
    } else {
        place->id = id_mint_root(&agent->rng);
        place->root = keep_str(agent, id_str(&place->id));
    }
    if (path_has(place->parents, id_str(&place->id)))
        return "a run cannot be below itself";
    return NULL;
}

/* ---- a run of this id is here already ------------------------------------------------------ */
static void answer_known(struct agent *agent, uint64_t ask, const struct agent_run *run,
                         enum problem problem)
{
    struct agent_reply *reply = want_answer(agent, ask);
    run_fill_reply(agent, run, reply);
    reply->problem = problem;
}

static void join_pending(struct agent *agent, const struct agent_event *event,
                         struct agent_run *run, bool is_same_life)
{
    struct start *start = run->start;
    if (!is_same_life)
        answer_known(agent, event->ask, run, PROBLEM_CONFLICT);
    else if (start->ask_count == START_ASKS_MAX)
        want_refusal(agent, event->ask, PROBLEM_OVERLOADED, "this start is on its way");
    else
        start->ask[start->ask_count++] = event->ask;
}

/* Another life of the client takes the run over from one that we carry, too. */
static enum problem may_take_over(const struct agent_event *event, const struct agent_run *run,
                                  struct str hash)
{
    const struct ask_start *start = event->start;
    if (start->epoch == 0 || (start->epoch != run->epoch && start->epoch != run->given_epoch))
        return PROBLEM_CONFLICT;
    if (!event->caller.operator_ && !str_eq(hash, str_of(run->client->hash)))
        return PROBLEM_FORBIDDEN;
    if (!start->takeover && !run->client->is_gone)
        return PROBLEM_CONFLICT;
    return PROBLEM_NONE;
}

static bool may_live_again(const struct agent_run *run)
{
    return run->is_fenced || (run->state == RUN_LOST && (run->flags & RUN_FLAG_LOST_TAKEOVER) != 0);
}

/* A later life is known of: the same one does not begin again, and who else goes on from its epoch
 * needs Redis for it. */
static bool is_fenced_off(const struct agent *agent, const struct agent_run *run,
                          const struct ask_start *start, bool is_same_life)
{
    return run->is_fenced && start->epoch <= run->epoch && (is_same_life || !agent->is_linked);
}

static void replace(struct agent *agent, struct agent_run *run)
{
    if (run_is_live(run->state)) {
        run->is_end_confirmed = true; /* its state is the next life's to write */
        finish(agent, run, RUN_LOST, RUN_NONE, "adopted");
    }
    ladder_stop(agent, run);
    run_forget_if_due(agent, run);
}

/* Another parent in the same tree is no matter: what is stored of the path is the truth. */
static bool is_of_another_tree(const struct ask_start *start, const struct place *place,
                               const struct agent_run *run)
{
    bool says_where = start->path_was_given || start->entry;
    return says_where && !str_is(place->root, run->root->id);
}

/* True: answered. `old`: the life that this one replaces, as soon as nothing speaks against it. */
static bool is_known_here(struct agent *agent, const struct agent_event *event,
                          const struct place *place, struct str hash, struct agent_run **old)
{
    struct agent_run *run = run_find(agent, id_str(&place->id));
    if (run == NULL)
        return false;
    if (is_of_another_tree(event->start, place, run)) {
        want_refusal(agent, event->ask, PROBLEM_RUN_ID_TAKEN, "this id is a run of another tree");
        return true;
    }
    const struct ask_start *start = event->start;
    struct str incarnation =
        start->incarnation.len > 0 ? start->incarnation : str_of(run->client->incarnation);
    bool is_same_life =
        str_eq(hash, str_of(run->client->hash)) && str_eq(incarnation, run->incarnation);
    enum problem problem = PROBLEM_NONE;
    if (run->state == RUN_PENDING) {
        join_pending(agent, event, run, is_same_life);
        return true;
    }
    if (run_is_over(run->state) && !may_live_again(run))
        problem = PROBLEM_OVER;
    else if (is_fenced_off(agent, run, start, is_same_life))
        problem = PROBLEM_FENCED;
    else if (run_is_live(run->state) && is_same_life)
        problem = PROBLEM_NONE;
    else if (run_is_live(run->state))
        problem = may_take_over(event, run, hash);
    bool is_replaced = problem == PROBLEM_NONE && !(run_is_live(run->state) && is_same_life);
    bool is_possible = agent->is_linked || agent->options.allow_without_redis;
    if (is_replaced && !is_possible)
        want_refusal(agent, event->ask, PROBLEM_UNAVAILABLE, "Redis is away");
    else if (is_replaced)
        *old = run;
    else
        answer_known(agent, event->ask, run, problem);
    return *old == NULL;
}

/* ---- look-ups before the script ------------------------------------------------------------ */
static struct store_call *look(struct agent *agent, struct agent_run *run, enum call_kind kind,
                               enum store_op op, struct str id)
{
    struct call about = {.kind = kind, .run = run, .text = mem_copy(id)};
    run->start->waits++;
    struct store_call *call = want_call(agent, op, &about);
    call->id = keep_str(agent, id);
    return call;
}

static void look_for_claim(struct agent *agent, struct agent_run *run)
{
    run->claimed_at = agent->now;
    if (run->is_claimed)
        look(agent, run, CALL_CLAIM, STORE_FIND_CLAIM, run->id);
}

/* A claimed id that nobody here has seen may have been cancelled before it began. */
static void look_for_parents(struct agent *agent, struct agent_run *run)
{
    struct str rest = run_parent_path(run);
    if (rest.len > 0)
        str_cut(&rest, '.'); /* the root's own tombstone is in the hash that start reads */
    while (rest.at != NULL) {
        struct str id = str_cut(&rest, '.');
        const struct agent_run *parent = run_find(agent, id);
        bool is_known = parent != NULL && parent->root == run->root && parent->was_confirmed
                        && !parent->claim_is_open;
        if (id.len > 0 && !is_known && !id_is_minted(id))
            look(agent, run, CALL_PARENT, STORE_FIND_READ, id);
    }
}

static void look_for_origin(struct agent *agent, struct agent_run *run, struct str id)
{
    if (id.len == 0 || run->start->entry)
        return;
    const struct agent_run *origin = run_find(agent, id);
    struct str root = origin != NULL ? str_of(origin->root->id) : id_minted_root(id);
    if (root.len == 0) {
        look(agent, run, CALL_ORIGIN, STORE_FIND_READ, id);
        return;
    }
    if (str_eq(root, str_of(run->root->id)) && run->start->origin_here.text[0] == '\0') {
        (void)id_parse(id, &run->start->origin_here);
        return;
    }
    struct store_call *call = look(agent, run, CALL_ORIGIN_PEEK, STORE_PEEK, id);
    call->root = keep_str(agent, root);
    call->run = call->id;
}

static void look_around(struct agent *agent, struct agent_run *run)
{
    run->is_claimed = !str_is(id_minted_root(run->id), run->root->id);
    if (!agent->is_linked) {
        start_without_redis(agent, run, true);
        return;
    }
    look_for_claim(agent, run);
    thread_enter(agent, run);
    look_for_parents(agent, run);
    look_for_origin(agent, run, id_str(&run->start->retry_of));
    look_for_origin(agent, run, id_str(&run->start->resumed_from));
    if (run->start->must_exist)
        look(agent, run, CALL_SELF, STORE_PEEK, run->id);
    if (run->start->is_held)
        look(agent, run, CALL_HELD, STORE_PEEK, run->id);
    if (run->start->waits == 0)
        start_send(agent, run);
}

static void refuse_process(struct agent *agent, struct agent_run *run, enum problem problem)
{
    struct buf text = {0};
    const char *detail = "the process target cannot be watched";
    unsigned pid = process_target(run)->pid;
    if (problem == PROBLEM_NOT_FOUND)
        buf_addf(&text, "no process %u", pid);
    else if (problem == PROBLEM_FORBIDDEN)
        buf_addf(&text, "process %u belongs to another user", pid);
    buf_add(&text, "", 1);
    char *kept = text.failed ? NULL : keep_for_step(agent, text.len);
    if (kept != NULL && text.len > 1)
        detail = memcpy(kept, text.bytes, text.len);
    buf_fini(&text);
    start_refuse(agent, run, problem, detail, NULL);
}

void start_process_opened(struct agent *agent, struct agent_run *run, enum problem problem)
{
    bool is_awaited = run->start != NULL && run->state == RUN_PENDING && !run->process_is_open;
    if (!is_awaited)
        return;
    if (problem != PROBLEM_NONE) {
        refuse_process(agent, run, problem);
        return;
    }
    run->process_is_open = true;
    look_around(agent, run);
}

static void begin(struct agent *agent, struct agent_run *run)
{
    const struct stop_target *process = process_target(run);
    root_subscribe(agent, run->root);
    if (process == NULL) {
        look_around(agent, run);
        return;
    }
    struct agent_effect *effect = want(agent, DO_OPEN_PROCESS);
    effect->run = run->id;
    effect->target = *process;
}

/* ---- the script ---------------------------------------------------------------------------- */
/* A run that was there before is not refused by a cancel but told of it: somebody must end it. */
bool start_has_begun(const struct start *start)
{
    return start->epoch > 0 || start->must_exist;
}

void start_send(struct agent *agent, struct agent_run *run)
{
    struct start *start = run->start;
    if (run->box != NULL && !start_has_begun(start) && agent->options.mode != MODE_OBSERVE) {
        start->refusal = start->refusal != NULL ? start->refusal : box_share(run->box);
        start_refuse(agent, run, PROBLEM_CANCELLED, "cancelled while it started", NULL);
        return;
    }
    root_list(agent, run->root);
    start->was_sent = true;
    struct call about = {.kind = CALL_START, .run = run};
    struct store_call *call = want_call(agent, STORE_START, &about);
    call->path = run_parent_path(run);
    call->incarnation = run->incarnation;
    call->flags = run->flags & RUN_FLAGS_POLICY;
    call->meta = run->meta;
    call->deadline = start->deadline;
    call->retry_of = keep_str(agent, id_str(&start->origin_here));
    call->max_runs = (uint32_t)agent->options.max_tree_runs;
    call->max_children = (uint32_t)agent->options.max_children;
    if (start->tomb == NULL)
        return;
    call->tombstone_id = keep_str(agent, id_str(&start->tomb_id));
    call->tombstone = keep_str(agent, (struct str){start->tomb->bytes, start->tomb->len});
}

/* ---- the ask ------------------------------------------------------------------------------- */
/* What holds here refuses at once. A brought id that Redis may know as running is Redis' to answer,
 * unless Redis has not heard of the cancel. Who goes on with a run starts none: it is told. */
static struct held *refusing_cancel(struct agent *agent, const struct ask_start *start,
                                    const struct place *place)
{
    if (agent->options.mode == MODE_OBSERVE || start->epoch > 0)
        return NULL;
    struct held *held = held_over_path(agent, place->root, place->parents);
    if (held == NULL)
        held = held_find(agent, place->root, id_str(&place->id));
    if (held == NULL)
        return NULL;
    bool is_known_there = held->is_confirmed || place->must_exist;
    bool may_be_running = start->run_id.len > 0 && agent->is_linked && is_known_there;
    return may_be_running ? NULL : held;
}

static void refuse_held(struct agent *agent, uint64_t ask, const struct held *held)
{
    struct agent_reply *reply = want_answer(agent, ask);
    reply->problem = PROBLEM_CANCELLED;
    reply->root = held->box->record.root;
    reply->has_record = true;
    reply->record = held->box->record;
    want_count(agent, COUNT_STARTS_REFUSED, PROBLEM_CANCELLED, (struct wall){0});
}

static struct str encode_meta(struct agent *agent, const struct ask_start *start, struct str hash)
{
    struct run_meta meta = start->meta;
    meta.started = agent->wall;
    meta.born_on = str_of(agent->replica);
    meta.token_hash = hash;
    meta.pid = 0;
    for (size_t i = 0; i < start->stop_count; i++)
        if (start->stop[i].kind == STOP_PROCESS)
            meta.pid = start->stop[i].pid;
    return (struct str){agent->scratch, agent->options.encode_meta(&meta, agent->scratch)};
}

static struct start *make_start(const struct agent_event *event, const struct place *place)
{
    const struct ask_start *asked = event->start;
    struct start *start = mem_new(sizeof *start);
    if (start == NULL)
        return NULL;
    start->ask[start->ask_count++] = event->ask;
    start->is_operator = event->caller.operator_;
    start->entry = asked->entry;
    start->strict = asked->strict;
    start->takeover = asked->takeover;
    start->epoch = asked->epoch;
    start->multitask = asked->multitask;
    start->must_exist = place->must_exist;
    start->deadline = asked->deadline;
    (void)id_parse(asked->meta.retry_of, &start->retry_of);
    (void)id_parse(asked->meta.resumed_from, &start->resumed_from);
    return start;
}

/* NULL: refused, for want of room. */
static struct agent_run *make_pending(struct agent *agent, const struct agent_event *event,
                                      const struct place *place, struct str hash, struct str meta)
{
    struct agent_client *client = client_find(agent, hash);
    if (client == NULL)
        client = client_make(agent, hash);
    if (client == NULL)
        return NULL;
    struct agent_root *root = root_make(agent, place->root);
    struct start *start = make_start(event, place);
    struct agent_run *run = NULL;
    if (root != NULL && start != NULL)
        run = run_make(agent, client, root, id_str(&place->id), place->parents, event->start, meta);
    if (run != NULL) {
        run->start = start;
        return run;
    }
    mem_free(start);
    if (root != NULL)
        root_drop_if_idle(agent, root);
    client_drop_if_idle(agent, client);
    return NULL;
}

/* What belongs to the run, whichever life carries it: its children elsewhere, its last write. */
static void inherit(struct agent_run *run, struct agent_run *old)
{
    run->links = old->links;
    run->link_count = old->link_count;
    run->link_room = old->link_room;
    old->links = NULL;
    old->link_count = old->link_room = 0;
    for (size_t i = 0; i < run->link_count; i++)
        run->links[i].is_asked = false; /* that answer goes to the old one */
    run->write_id = old->write_id;
    old->write_id = NULL;
    run->is_frozen = old->is_frozen;
    run->freeze_is_confirmed = old->freeze_is_confirmed;
    run->start->replaces = true;
    run->start->epoch = run_is_live(old->state) ? old->epoch : run->start->epoch;
}

/* The new life is there before the old one goes, so that their root stays listed. */
static struct agent_run *make_instead(struct agent *agent, const struct agent_event *event,
                                      const struct place *place, struct str hash, struct str meta,
                                      struct agent_run *old)
{
    run_detach(agent, old);
    struct agent_run *run = make_pending(agent, event, place, hash, meta);
    if (run == NULL) {
        old->is_in_map = map_add(&agent->runs, old->id, old);
        return NULL;
    }
    inherit(run, old);
    replace(agent, old);
    return run;
}

static const char held_by_order[] =
    "an order holds new runs like this one; a broker's /v1/orders lists it";

/* Whether a run of a brought id is new only Redis knows. True: refused. */
static bool is_held(struct agent *agent, const struct agent_event *event, struct str root)
{
    const struct ask_start *start = event->start;
    if (start->epoch > 0 || hold_over(agent, root, &start->meta) == NULL)
        return false;
    if (start->run_id.len > 0 && agent->is_linked)
        return false;
    want_refusal(agent, event->ask, PROBLEM_HELD, held_by_order);
    want_count(agent, COUNT_STARTS_REFUSED, PROBLEM_HELD, (struct wall){0});
    return true;
}

static void refuse_for_want_of_room(struct agent *agent, uint64_t ask)
{
    want_refusal(agent, ask, PROBLEM_OVERLOADED,
                 agent->is_quarantined
                     ? "this replica is quarantined: SIGKILL did not end a run here; see that it "
                       "ends, or brakectl replica resume"
                     : "no more runs or clients here now");
    want_count(agent, COUNT_STARTS_REFUSED, PROBLEM_OVERLOADED, (struct wall){0});
}

void start_asked(struct agent *agent, const struct agent_event *event)
{
    const struct ask_start *start = event->start;
    struct str hash =
        event->caller.token_hash.len > 0 ? event->caller.token_hash : start->token_hash;
    struct place place = {0};
    const char *wrong = ask_is_wrong(start);
    if (wrong == NULL)
        wrong = find_place(agent, start, &place);
    if (hash.len == 0 || hash.len > NAME_MAX_BYTES) {
        want_refusal(agent, event->ask, PROBLEM_UNAUTHORIZED, NULL);
        return;
    }
    if (wrong != NULL) {
        want_refusal(agent, event->ask, PROBLEM_INVALID, wrong);
        return;
    }
    struct agent_run *old = NULL;
    if (is_known_here(agent, event, &place, hash, &old))
        return;
    if (path_depth(place.parents) >= PATH_MAX_IDS) {
        want_refusal(agent, event->ask, PROBLEM_FULL, "path");
        return;
    }
    const struct held *held = refusing_cancel(agent, start, &place);
    if (held != NULL) {
        refuse_held(agent, event->ask, held);
        return;
    }
    if (old == NULL && is_held(agent, event, place.root))
        return;
    struct str meta = encode_meta(agent, start, hash);
    if (meta.len == 0) {
        want_refusal(agent, event->ask, PROBLEM_INVALID, "agent, thread or labels are too long");
        return;
    }
    struct agent_run *run = NULL;
    if (old != NULL)
        run = make_instead(agent, event, &place, hash, meta, old);
    else if (!is_full(agent))
        run = make_pending(agent, event, &place, hash, meta);
    if (run != NULL) {
        run->start->is_held =
            old == NULL && start->epoch == 0 && hold_over(agent, place.root, &start->meta) != NULL;
        begin(agent, run);
        return;
    }
    refuse_for_want_of_room(agent, event->ask);
}
