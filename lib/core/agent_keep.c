#include <assert.h>

#include "base/mem.h"
#include "core/agent_inside.h"

/* ---- clients ------------------------------------------------------------------------------- */
struct agent_client *client_find(const struct agent *agent, struct str hash)
{
    return hash.len > 0 ? map_find(&agent->clients, hash) : NULL;
}

struct agent_client *client_make(struct agent *agent, struct str hash)
{
    if (hash.len == 0 || hash.len > NAME_MAX_BYTES
        || agent->clients.count >= agent->options.max_clients)
        return NULL;
    struct agent_client *client = mem_new(sizeof *client);
    if (client == NULL || !due_reserve(&agent->heap)) {
        mem_free(client);
        return NULL;
    }
    memcpy(client->hash, hash.at, hash.len);
    memcpy(client->id, "c-", 2);
    memcpy(client->id + 2, hash.at, hash.len < 11 ? hash.len : 11);
    client->incarnation[0] = 'i';
    memcpy(client->incarnation + 1, hash.at, hash.len < 20 ? hash.len : 20);
    client->due.kind = DUE_CLIENT;
    list_init(&client->runs);
    if (!map_add(&agent->clients, str_of(client->hash), client)) {
        due_release(&agent->heap, &client->due);
        mem_free(client);
        return NULL;
    }
    return client;
}

void client_drop_if_idle(struct agent *agent, struct agent_client *client)
{
    if (client->is_open || !list_is_empty(&client->runs))
        return;
    map_take(&agent->clients, str_of(client->hash));
    due_release(&agent->heap, &client->due);
    throw_away(agent, client);
}

/* The shell writes the standing cancels itself, at the start of the stream. */
void client_came(struct agent *agent, struct str hash)
{
    struct agent_client *client = client_find(agent, hash);
    if (client == NULL)
        client = client_make(agent, hash);
    if (client == NULL)
        return;
    agent->open_clients += client->is_open ? 0 : 1;
    client->is_open = client->was_open = true;
    client->is_gone = false;
    due_set(&agent->heap, &client->due, INSTANT_NEVER);
    LIST_EACH (at, then, &client->runs)
        notice_written(agent, LIST_OWNER(at, struct agent_run, in_client));
}

void client_went(struct agent *agent, struct str hash)
{
    struct agent_client *client = client_find(agent, hash);
    if (client == NULL || !client->is_open)
        return;
    agent->open_clients--;
    client->is_open = false;
    due_set(&agent->heap, &client->due, instant_after(agent->now, agent->options.lost_grace));
    client_drop_if_idle(agent, client);
}

void client_is_awaited(struct agent *agent, struct agent_client *client)
{
    if (client->is_open)
        return;
    client->is_gone = false; /* it has just spoken */
    due_set(&agent->heap, &client->due, instant_after(agent->now, agent->options.lost_grace));
}

static void client_is_gone(struct agent *agent, struct agent_run *run)
{
    if (!run_is_live(run->state) || run->state == RUN_PENDING)
        return;
    if (run->process_has_exited) {
        process_exit_due(agent, run);
        return;
    }
    if (!run->gone_cancels || run->is_told)
        return;
    struct cancel_record record = own_record(agent, str_of(run->root->id), run->id, "client_gone");
    cancel_here(agent, &record);
}

void client_due(struct agent *agent, struct agent_client *client)
{
    client->is_gone = true;
    LIST_EACH (at, then, &client->runs) {
        struct agent_run *run = LIST_OWNER(at, struct agent_run, in_client);
        if (client->was_open || run->awaits_stream)
            client_is_gone(agent, run);
    }
}

/* ---- roots --------------------------------------------------------------------------------- */
struct agent_root *root_find(const struct agent *agent, struct str id)
{
    return map_find(&agent->roots, id);
}

struct agent_root *root_make(struct agent *agent, struct str id)
{
    struct agent_root *root = root_find(agent, id);
    if (root != NULL)
        return root;
    root = mem_new(sizeof *root);
    if (root == NULL || !due_reserve(&agent->heap)) {
        mem_free(root);
        return NULL;
    }
    memcpy(root->id, id.at, id.len);
    root->due.kind = DUE_ROOT;
    list_init(&root->runs);
    list_init(&root->held);
    list_init(&root->reports);
    if (!map_add(&agent->roots, str_of(root->id), root)) {
        due_release(&agent->heap, &root->due);
        mem_free(root);
        return NULL;
    }
    return root;
}

void root_subscribe(struct agent *agent, struct agent_root *root)
{
    if (root->is_subscribed)
        return;
    root->is_subscribed = true;
    want(agent, DO_SUBSCRIBE)->root = str_of(root->id);
}

/* Of the tree, as far as is known here. */
static struct wall first_start(const struct agent *agent, const struct agent_root *root)
{
    const struct agent_run *top = run_find(agent, str_of(root->id));
    if (top != NULL && top->root == root)
        return top->started;
    LIST_EACH (at, then, &root->runs)
        return LIST_OWNER(at, struct agent_run, in_root)->started;
    return agent->wall;
}

/* What is said first stays. */
static void say_tree(struct agent *agent, struct agent_root *root)
{
    struct call about = {.kind = CALL_LISTED, .root = root};
    want_call(agent, STORE_ROOT_ADD, &about)->number = first_start(agent, root).ms;
}

/* That there is a tree every agentd says that has a run of it: whoever carries the root may never
 * come, or come back, to say so. Both are answered, so that a refusal is repaired at the next
 * link-up. */
void root_list(struct agent *agent, struct agent_root *root)
{
    replica_list(agent);
    if (root->is_listed)
        return;
    root->is_listed = true;
    struct call about = {.kind = CALL_LISTED, .root = root};
    want_call(agent, STORE_HELD_ADD, &about);
    say_tree(agent, root);
}

void root_announce(struct agent *agent, const struct agent_run *run)
{
    bool is_top = run->path.len == run->id.len;
    if (is_top || (run->flags & RUN_FLAG_PARENT_GONE) != 0)
        say_tree(agent, run->root);
}

static bool is_done_with(const struct agent_root *root)
{
    if (root->live > 0)
        return false;
    LIST_EACH (at, then, &root->runs) {
        const struct agent_run *run = LIST_OWNER(at, struct agent_run, in_root);
        bool is_unsaid = run_is_over(run->state) && !run->is_end_confirmed;
        if (run->state == RUN_PENDING || is_unsaid || !links_are_done(run))
            return false;
    }
    return true;
}

/* Links of ended runs are followed too, so a root with open ones is still listened to. And as long
 * as Redis thinks that a run lives, a broker must find it by this replica. */
void root_quieten(struct agent *agent, struct agent_root *root)
{
    if (!root->is_subscribed || !is_done_with(root))
        return;
    root->is_subscribed = false;
    want(agent, DO_UNSUBSCRIBE)->root = str_of(root->id);
    if (root->is_listed)
        want_silent_call(agent, STORE_HELD_DROP)->root = str_of(root->id);
    root->is_listed = false;
}

void root_drop_if_idle(struct agent *agent, struct agent_root *root)
{
    if (root->calls > 0 || !list_is_empty(&root->runs) || !list_is_empty(&root->held))
        return;
    link_remove(&root->in_flush);
    link_remove(&root->in_sync);
    map_take(&agent->roots, str_of(root->id));
    due_release(&agent->heap, &root->due);
    throw_away(agent, root);
}

/* ---- processes ----------------------------------------------------------------------------- */
static struct str process_key(const struct agent_process *process)
{
    return (struct str){(const char *)&process->pid, sizeof process->pid};
}

static bool process_join(struct agent *agent, struct agent_run *run)
{
    struct agent_process wanted = {.pid = run->pid};
    struct agent_process *process = map_find(&agent->processes, process_key(&wanted));
    if (process == NULL) {
        process = mem_new(sizeof *process);
        if (process == NULL)
            return false;
        process->pid = run->pid;
        list_init(&process->runs);
        if (!map_add(&agent->processes, process_key(process), process)) {
            mem_free(process);
            return false;
        }
    }
    run->process = process;
    list_add_last(&process->runs, &run->in_process);
    return true;
}

static void process_leave(struct agent *agent, struct agent_run *run)
{
    struct agent_process *process = run->process;
    link_remove(&run->in_process);
    run->process = NULL;
    if (process == NULL || !list_is_empty(&process->runs))
        return;
    map_take(&agent->processes, process_key(process));
    mem_free(process);
}

/* ---- runs ---------------------------------------------------------------------------------- */
struct agent_run *run_find(const struct agent *agent, struct str id)
{
    return id.len > 0 ? map_find(&agent->runs, id) : NULL;
}

static struct str pack(char **to, struct str text)
{
    struct str packed = {*to, text.len};
    if (text.len > 0)
        memcpy(*to, text.at, text.len);
    *to += text.len;
    return packed;
}

static size_t packed_bytes(struct str id, struct str parents, const struct ask_start *start,
                           struct str incarnation, struct str meta)
{
    size_t bytes = 2 * id.len + parents.len + 1 + incarnation.len + start->meta.agent.len
                   + start->meta.thread.len + meta.len + start->alias.len;
    for (size_t i = 0; i < start->stop_count; i++)
        bytes += start->stop[i].token.len + start->stop[i].to.len + start->stop[i].headers.len;
    return bytes;
}

static void pack_strings(struct agent_run *run, char *to, struct str id, struct str parents,
                         const struct ask_start *start, struct str incarnation, struct str meta)
{
    run->id = pack(&to, id);
    run->path = pack(&to, parents);
    if (parents.len > 0) {
        *to++ = '.';
        run->path.len++;
    }
    run->path.len += pack(&to, id).len;
    run->incarnation = pack(&to, incarnation);
    run->agent_name = pack(&to, start->meta.agent);
    run->thread = pack(&to, start->meta.thread);
    run->meta = pack(&to, meta);
    run->alias = pack(&to, start->alias);
    for (size_t i = 0; i < start->stop_count; i++) {
        run->stop[i].token = pack(&to, start->stop[i].token);
        run->stop[i].to = pack(&to, start->stop[i].to);
        run->stop[i].headers = pack(&to, start->stop[i].headers);
    }
}

static void take_policy(struct agent_run *run, const struct ask_start *start,
                        const struct agent_options *options)
{
    enum agent_mode mode = options->mode;
    run->flags |= start->on_end == ON_END_CANCEL ? RUN_FLAG_END_CANCELS : 0;
    run->flags |= start->on_end == ON_END_LEAVE ? RUN_FLAG_END_LEAVES : 0;
    run->flags |= start->on_lost == ON_LOST_TAKEOVER ? RUN_FLAG_LOST_TAKEOVER : 0;
    run->flags |= start->on_lost == ON_LOST_CONTINUE ? RUN_FLAG_LOST_CONTINUE : 0;
    run->flags |= mode == MODE_OBSERVE ? RUN_FLAG_OBSERVE : 0;
    run->flags |= mode == MODE_NOTIFY ? RUN_FLAG_NOTIFY : 0;
    run->awaits_stream = start->awaits_stream;
    run->gone_cancels = start->on_client_gone == ON_GONE_CANCEL;
    run->isolation_cancels =
        start->when_isolated == WHEN_ISOLATED_CANCEL
        || (start->when_isolated == WHEN_ISOLATED_DEFAULT && options->isolation_cancels);
    run->collateral_allowed = start->collateral_allowed;
}

/* Without a target there is one notice, with the default grace. */
static void take_targets(struct agent_run *run, const struct ask_start *start)
{
    if (start->stop_count == 0) {
        run->stop[0] = (struct stop_target){.kind = STOP_NOTIFY, .grace = SPAN_NONE};
        run->stop_count = 1;
        return;
    }
    run->stop_count = (uint8_t)start->stop_count;
    for (size_t i = 0; i < start->stop_count; i++) {
        run->stop[i] = start->stop[i];
        if (start->stop[i].kind == STOP_PROCESS)
            run->pid = start->stop[i].pid;
    }
}

static bool run_join(struct agent *agent, struct agent_run *run, struct agent_client *client,
                     struct agent_root *root)
{
    if (!due_reserve(&agent->heap))
        return false;
    if (run->pid != 0 && !process_join(agent, run)) {
        due_release(&agent->heap, &run->due);
        return false;
    }
    if (!map_add(&agent->runs, run->id, run)) {
        process_leave(agent, run);
        due_release(&agent->heap, &run->due);
        return false;
    }
    run->is_in_map = true;
    run->client = client;
    run->root = root;
    list_add_last(&client->runs, &run->in_client);
    list_add_last(&root->runs, &run->in_root);
    return true;
}

struct agent_run *run_make(struct agent *agent, struct agent_client *client,
                           struct agent_root *root, struct str id, struct str path,
                           const struct ask_start *start, struct str meta)
{
    struct str incarnation =
        start->incarnation.len > 0 ? start->incarnation : str_of(client->incarnation);
    size_t targets = start->stop_count > 0 ? start->stop_count : 1;
    size_t head = sizeof(struct agent_run) + targets * sizeof(struct stop_target);
    struct agent_run *run = mem_new(head + packed_bytes(id, path, start, incarnation, meta));
    if (run == NULL)
        return NULL;
    take_targets(run, start);
    pack_strings(run, (char *)run + head, id, path, start, incarnation, meta);
    take_policy(run, start, &agent->options);
    run->state = RUN_PENDING;
    run->cap = SPAN_NONE;
    run->started = agent->wall;
    run->epoch = 1;
    run->due.kind = DUE_RUN;
    run->ladder_due = run->deadline = run->exit_due = run->links_due = run->forget_due =
        INSTANT_NEVER;
    if (!run_join(agent, run, client, root)) {
        mem_free(run);
        return NULL;
    }
    return run;
}

bool run_move_path(struct agent_run *run, struct str path)
{
    char *copy = mem_copy(path);
    if (copy == NULL)
        return false;
    mem_free(run->moved_path);
    run->moved_path = copy;
    run->path = (struct str){copy, path.len};
    return true;
}

void run_detach(struct agent *agent, struct agent_run *run)
{
    if (run->is_in_map)
        map_take(&agent->runs, run->id);
    run->is_in_map = false;
    link_remove(&run->in_report); /* reports name runs by their ids */
}

void run_drop(struct agent *agent, struct agent_run *run)
{
    assert(run->calls == 0);
    run_detach(agent, run);
    process_leave(agent, run);
    if (link_is_in_list(&run->in_ended))
        agent->ended_count--;
    link_remove(&run->in_root);
    link_remove(&run->in_client);
    link_remove(&run->in_report);
    link_remove(&run->in_sync);
    link_remove(&run->in_unchecked);
    link_remove(&run->in_ended);
    due_release(&agent->heap, &run->due);
    client_drop_if_idle(agent, run->client);
    root_quieten(agent, run->root);
    root_drop_if_idle(agent, run->root);
    box_drop(agent, run->box);
    for (size_t i = 0; i < run->link_count; i++)
        throw_away(agent, run->links[i].to);
    mem_free(run->links);
    throw_away(agent, run->write_id);
    throw_away(agent, run->moved_path);
    throw_away(agent, run);
}

bool run_is_listed_live(const struct agent_run *run)
{
    return run_is_live(run->state) && run->state != RUN_PENDING;
}

void run_set_due(struct agent *agent, struct agent_run *run)
{
    struct instant first = instant_first(run->ladder_due, run->exit_due);
    first = instant_first(first, run->links_due);
    first = instant_first(first, run->forget_due);
    first = instant_first(first, run->deadline);
    due_set(&agent->heap, &run->due, first);
}

/* A run that ended is remembered for a while: a Redis that forgot is told again, and whoever asks
 * twice gets the same answer. */
static bool may_be_forgotten(const struct agent_run *run)
{
    return run_is_over(run->state) && run->is_end_confirmed && run->calls == 0
           && !run->process_is_open && !(run->is_told && links_hold(run));
}

bool run_forget_if_due(struct agent *agent, struct agent_run *run)
{
    bool is_due = instant_reached(agent->now, run->forget_due);
    bool is_nobody = !run->is_in_map && run->calls == 0; /* refused, or replaced */
    if (!is_nobody && !(is_due && may_be_forgotten(run)))
        return false;
    run_drop(agent, run);
    return true;
}

/* Beyond what is promised to be remembered the oldest go first, unless something holds them. */
void ended_trim(struct agent *agent)
{
    enum { LOOK_AT_MOST = 4 };
    int looked = 0;
    LIST_EACH (at, then, &agent->ended) {
        if (agent->ended_count <= agent->options.max_runs || looked++ == LOOK_AT_MOST)
            return;
        struct agent_run *run = LIST_OWNER(at, struct agent_run, in_ended);
        if (may_be_forgotten(run))
            run_drop(agent, run);
    }
}

struct str run_parent_path(const struct agent_run *run)
{
    if (run->path.len <= run->id.len)
        return STR_NONE;
    return (struct str){run->path.at, run->path.len - run->id.len - 1};
}

struct agent_run *run_owned(struct agent *agent, const struct agent_event *event, struct str id,
                            enum problem *problem)
{
    struct agent_client *client = client_find(agent, event->caller.token_hash);
    struct agent_run *run = run_find(agent, id);
    bool is_known = client != NULL || event->caller.operator_;
    if (!is_known)
        *problem = PROBLEM_UNAUTHORIZED;
    else if (run == NULL || run->state == RUN_PENDING)
        *problem = PROBLEM_NOT_FOUND;
    else if (run->client != client && !event->caller.operator_)
        *problem = PROBLEM_FORBIDDEN;
    else
        return run;
    return NULL;
}

struct span run_deadline_left(const struct agent *agent, const struct agent_run *run)
{
    if (run->deadline.ms == INSTANT_NEVER.ms)
        return SPAN_NONE;
    int64_t left = run->deadline.ms - agent->now.ms;
    return MILLIS(left > 1 ? left : 1);
}

void run_fill_reply(const struct agent *agent, const struct agent_run *run,
                    struct agent_reply *reply)
{
    reply->run = run->id;
    reply->root = str_of(run->root->id);
    reply->path = run->path;
    reply->epoch = run->epoch;
    reply->state = run->state;
    reply->finished_anyway = run->finished;
    reply->flags = run->flags;
    reply->is_protected = run->is_confirmed && (run->flags & RUN_FLAG_UNPROTECTED) == 0;
    reply->deadline = run_deadline_left(agent, run);
    reply->client = str_of(run->client->id);
    reply->incarnation = run->incarnation;
    reply->owner = str_of(agent->replica);
    if (run->box == NULL || !(run->is_told || run_is_live(run->state)))
        return;
    reply->has_record = true;
    reply->record = run->box->record;
    reply->would_be_cancelled = agent->options.mode == MODE_OBSERVE;
}
