/* POST /runs/cancel: runs that are named, those of a thread, or all there are.
 *
 * What is found is cancelled before the search goes on, so many at once: what waits is never more
 * than one question names, or one tree or thread has. It goes on to its end when its client has
 * hung up: it is a brake. Few are open at once, for each may ask for so many cancels that there
 * would be no room for another. */
#include "base/mem.h"
#include "broker/langgraph.h"
#include "wire/message.h"

enum { AT_ONCE = 32, SHARDS = 64, ROOTS_A_PAGE = 500 };
/* At once; a crowd that searches leaves room for who names runs. */
enum { SEARCHES_MAX = 16, MANY_MAX = 48 };

struct many {
    struct read read; /* first */
    enum action action;
    char *thread; /* NULL: all threads */
    json_t *runs; /* that are named; NULL: it searches */
    size_t run_at;
    struct list waiting, open; /* of struct target */
    size_t open_count;
    bool is_searching, is_going;
    bool is_paused; /* the search, until what it found is no longer waiting */
    bool is_of_all; /* it asks for whoever lives: those that are over do not matter */
    size_t done, missing, unrecorded;
    uint32_t shard; /* of the search */
    int64_t from;
    size_t root_count, root_room, root_at;
    struct run_id *root;
    bool has_more; /* in this shard */
};

struct target {
    struct link in_list;
    struct many *many;
    struct langgraph_seek seek; /* its root may be known */
};

static void target_free(struct target *target)
{
    link_remove(&target->in_list);
    mem_free(target->seek.thread);
    mem_free(target);
}

static void many_free(struct read *read)
{
    struct many *many = (struct many *)read;
    LIST_EACH (at, then, &many->waiting)
        target_free(LIST_OWNER(at, struct target, in_list));
    LIST_EACH (at, then, &many->open)
        target_free(LIST_OWNER(at, struct target, in_list));
    many->read.daemon->many_count--;
    json_decref(many->runs);
    mem_free(many->root);
    mem_free(many->thread);
    mem_free(many);
}

/* ---- one of them -------------------------------------------------------------------------------
 */
static void go_on(struct many *many);

static void target_over(struct target *target)
{
    struct many *many = target->many;
    many->open_count--;
    target_free(target);
    go_on(many);
}

static void on_cancelled(void *owner, const struct cancel_result *result)
{
    struct target *target = owner;
    struct many *many = target->many;
    if (langgraph_is_not_cancelable(many->read.daemon, result))
        many->missing++;
    else if (result->problem != PROBLEM_NONE)
        many->unrecorded++;
    else
        many->done++;
    target_over(target);
}

static void target_cancel(struct target *target)
{
    struct many *many = target->many;
    struct brokerd *d = many->read.daemon;
    struct cancel_ask cancel = langgraph_ask(d, &target->seek.root, &target->seek.run);
    cancel.action = many->action;
    cancel.ask = ask_open(d, target, on_cancelled);
    if (cancel.ask != 0) {
        feed_cancels(d, (struct cancels_event){.kind = CANCELS_ASK, .asked = &cancel});
        return;
    }
    many->unrecorded++;
    target_over(target);
}

static void on_sought(struct langgraph_seek *seek, bool is_found, const struct store_answer *answer)
{
    struct target *target = LIST_OWNER(seek, struct target, seek);
    if (is_found) {
        target_cancel(target);
        return;
    }
    target->many->missing += answer == NULL ? 1 : 0;
    target->many->unrecorded += answer != NULL ? 1 : 0;
    target_over(target);
}

/* root "": it has to be looked for, in the thread that the request names. */
static void add_target(struct many *many, struct str run, struct str root)
{
    struct target *target = mem_new(sizeof *target);
    bool is_sought = root.len == 0;
    if (target == NULL) {
        many->unrecorded++;
        return;
    }
    target->many = many;
    target->seek.daemon = many->read.daemon;
    target->seek.done = on_sought;
    target->seek.thread = is_sought ? mem_copy(str_of(many->thread)) : NULL;
    list_add_last(&many->waiting, &target->in_list);
    if (!id_parse(run, &target->seek.run) || (!is_sought && !id_parse(root, &target->seek.root))
        || (is_sought && target->seek.thread == NULL)) {
        many->unrecorded++;
        target_free(target);
    }
}

static void answer_many(struct many *many)
{
    struct http_request *request = many->read.pending.request;
    if (request != NULL && many->unrecorded > 0)
        langgraph_refuse(request, 503, "some cancels could not be recorded: ask again");
    else if (request != NULL && (many->done == 0 || (many->missing > 0 && !many->is_of_all)))
        langgraph_refuse(request, 404, langgraph_not_cancelable);
    else if (request != NULL)
        http_answer(request, 204, NULL, STR_NONE, NULL);
    read_end(&many->read);
}

static void add_named(struct many *many)
{
    const json_t *run = json_array_get(many->runs, many->run_at++);
    add_target(many, (struct str){json_string_value(run), json_string_length(run)}, STR_NONE);
}

static bool has_next(struct many *many)
{
    while (list_is_empty(&many->waiting) && many->run_at < json_array_size(many->runs))
        add_named(many);
    return !list_is_empty(&many->waiting);
}

static void read_tree(struct many *many);

/* Whoever adds or ends targets calls this last: the request may be answered in here. */
static void go_on(struct many *many)
{
    if (many->is_going)
        return; /* from within: the loop below sees it */
    many->is_going = true;
    while (many->open_count < AT_ONCE && has_next(many)) {
        struct target *target = LIST_OWNER(many->waiting.head.next, struct target, in_list);
        link_remove(&target->in_list);
        list_add_last(&many->open, &target->in_list);
        many->open_count++;
        if (target->seek.root.text[0] != '\0')
            target_cancel(target);
        else
            langgraph_seek(&target->seek);
    }
    many->is_going = false;
    if (many->is_paused && list_is_empty(&many->waiting)) {
        many->is_paused = false;
        read_tree(many);
    } else if (!many->is_searching && many->open_count == 0) {
        answer_many(many);
    }
}

/* ---- those of a thread -------------------------------------------------------------------------
 */
static void search_ends(struct many *many, bool is_trouble)
{
    many->unrecorded += is_trouble ? 1 : 0;
    many->is_searching = false;
    go_on(many);
}

static void ask(struct many *many, const struct store_call *call, store_answered done)
{
    if (store_send(many->read.daemon->store, call, done, many, 0) != ERR_OK)
        search_ends(many, true);
}

static void on_thread(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct many *many = owner;
    struct langgraph_entry entry;
    (void)token;
    for (size_t i = 0; i < answer->list_count; i++)
        if (langgraph_entry_parse(answer->list[i], &entry) && !entry.is_deleted && !entry.is_ended)
            add_target(many, id_str(&entry.run), id_str(&entry.root));
    many->is_of_all = true;
    search_ends(many, answer->verdict != SAID_OK);
}

/* ---- all there are -----------------------------------------------------------------------------
 */
static void read_shard(struct many *many);

static bool is_of_a_thread(const struct tree_run *run)
{
    struct run_meta meta;
    return run->meta.len > 0 && wire_meta_decode(run->meta, &meta) == ERR_OK && meta.thread.len > 0;
}

/* The topmost ones: what is below them stops with them. */
static bool is_topmost(const struct tree_run *run)
{
    size_t steps = 0;
    for (const struct tree_run *at = run->up; at != NULL && steps < PATH_MAX_IDS; at = at->up)
        if (steps++, run_is_live(at->state) && is_of_a_thread(at))
            return false;
    return true;
}

static void on_tree(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct many *many = owner;
    (void)token;
    const struct tree *tree = answer->tree;
    many->unrecorded += tree == NULL && answer->verdict != SAID_OK ? 1 : 0;
    for (size_t i = 0; tree != NULL && i < tree->run_count; i++)
        if (run_is_live(tree->run[i]->state) && is_of_a_thread(tree->run[i])
            && is_topmost(tree->run[i]))
            add_target(many, tree->run[i]->id, id_str(&many->root[many->root_at]));
    many->root_at++;
    many->is_paused = true;
    go_on(many);
}

static void read_tree(struct many *many)
{
    if (many->root_at == many->root_count) {
        many->shard += many->has_more ? 0 : 1;
        many->from = many->has_more ? many->from : 0;
        read_shard(many);
        return;
    }
    struct store_call call = {.op = STORE_TREE, .root = id_str(&many->root[many->root_at])};
    ask(many, &call, on_tree);
}

/* Roots of one start time that fill more than a page would be read for ever: then the next page
 * begins a moment later. */
static void on_shard(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct many *many = owner;
    (void)token;
    if (answer->verdict != SAID_OK) {
        search_ends(many, true);
        return;
    }
    many->root_count = many->root_at = 0;
    void *grown = many->root;
    if (!mem_grow(&grown, &many->root_room, sizeof *many->root, answer->list_count + 1)) {
        search_ends(many, true);
        return;
    }
    many->root = grown;
    int64_t last = many->from;
    for (size_t i = 0; i < answer->list_count; i++) {
        many->root_count += id_parse(answer->list[i], &many->root[many->root_count]) ? 1 : 0;
        last = answer->score[i];
    }
    many->has_more = answer->list_count >= ROOTS_A_PAGE;
    many->from = last > many->from ? last : last + 1;
    read_tree(many);
}

static void read_shard(struct many *many)
{
    if (many->shard == SHARDS) {
        search_ends(many, false);
        return;
    }
    struct store_call call = {
        .op = STORE_ROOTS_READ, .shard = many->shard, .number = many->from, .limit = ROOTS_A_PAGE};
    ask(many, &call, on_shard);
}

/* ---- the question ------------------------------------------------------------------------------
 */
struct selector {
    struct str status, thread;
    json_t *runs;
};

static bool take_text(const json_t *body, const char *name, struct str *out)
{
    const json_t *member = json_object_get(body, name);
    *out = STR_NONE;
    if (member == NULL || json_is_null(member))
        return true;
    *out = (struct str){json_string_value(member), json_string_length(member)};
    return json_is_string(member) && out->len > 0 && out->len <= TEXT_MAX_BYTES;
}

static bool are_ids(const json_t *runs)
{
    size_t count = json_array_size(runs);
    for (size_t i = 0; i < count; i++) {
        const json_t *run = json_array_get(runs, i);
        struct str id = {json_string_value(run), json_string_length(run)};
        if (!json_is_string(run) || !id_is_valid(id))
            return false;
    }
    return count > 0;
}

/* NULL: it is fine. */
static const char *what_is_wrong(const json_t *body, struct selector *out)
{
    *out = (struct selector){.runs = json_object_get(body, "run_ids")};
    out->runs = json_is_null(out->runs) ? NULL : out->runs;
    if (!json_is_object(body))
        return "the body must be a JSON object";
    if (!take_text(body, "status", &out->status) || !take_text(body, "thread_id", &out->thread))
        return "status and thread_id must be texts";
    if (out->status.len > 0 && !str_is(out->status, "pending") && !str_is(out->status, "running")
        && !str_is(out->status, "all"))
        return "status must be pending, running or all";
    if (out->runs != NULL && !are_ids(out->runs))
        return "run_ids must be an array of run ids";
    if (out->runs != NULL && out->status.len > 0)
        return "name run_ids or a status, not both";
    if (out->runs != NULL && out->thread.len == 0)
        return "run_ids need their thread_id";
    if (out->runs == NULL && out->status.len == 0)
        return "name a status (pending, running or all), or thread_id and run_ids";
    return NULL;
}

static void begin(struct many *many, const struct selector *selector)
{
    if (selector->runs == NULL && str_is(selector->status, "pending")) {
        search_ends(many, false); /* what waits for its start is not in any list */
    } else if (selector->runs != NULL) {
        many->runs = json_incref(selector->runs);
        search_ends(many, false);
    } else if (many->thread != NULL) {
        ask(many, &(struct store_call){.op = STORE_THREAD_READ, .id = str_of(many->thread)},
            on_thread);
    } else {
        many->is_of_all = true;
        read_shard(many);
    }
}

static bool has_room(const struct brokerd *d, struct http_request *request,
                     const struct selector *selector)
{
    if (d->many_count < (selector->runs != NULL ? MANY_MAX : SEARCHES_MAX))
        return true;
    langgraph_refuse(request, 429, "too many such cancels are open");
    return false;
}

static void open_many(struct brokerd *d, struct http_request *request, enum action action,
                      const struct selector *selector)
{
    struct many *many = read_open(d, request, sizeof *many, many_free);
    if (many == NULL)
        return;
    d->many_count++;
    list_init(&many->waiting);
    list_init(&many->open);
    many->action = action;
    many->is_searching = true;
    many->thread = selector->thread.len > 0 ? mem_copy(selector->thread) : NULL;
    if (selector->thread.len == 0 || many->thread != NULL)
        begin(many, selector);
    else
        search_ends(many, true);
}

void langgraph_cancel_many(struct brokerd *d, struct http_request *request, struct str thread,
                           struct str run)
{
    (void)thread, (void)run;
    enum action action;
    struct selector selector;
    struct str text = http_body(request);
    if (!langgraph_query_action(request, &action))
        return;
    json_t *body = text.len > 0 ? json_loadb(text.at, text.len, 0, NULL) : NULL;
    const char *wrong = body == NULL ? "the body must be JSON" : what_is_wrong(body, &selector);
    if (wrong != NULL)
        langgraph_refuse(request, 422, wrong);
    else if (has_room(d, request, &selector))
        open_many(d, request, action, &selector);
    json_decref(body);
}
