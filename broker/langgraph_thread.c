/* GET /threads/{thread}/runs: all runs of a thread, the latest first. DELETE of one of them. */
#include <stdlib.h>

#include "base/mem.h"
#include "broker/langgraph.h"

/* ---- the list ----------------------------------------------------------------------------------
 */
enum { LIMIT_MAX = 1000, LIMIT_USUAL = 10, OFFSET_MAX = 1000000, STATUS_MAX = 16 };

struct listed {
    struct langgraph_entry entry;
    bool is_read;
    json_t *json; /* NULL: it is not to be shown */
};
struct runs {
    struct read read; /* first */
    char *thread;
    char status[STATUS_MAX]; /* "": any */
    size_t limit, offset;
    size_t count;
    struct listed *listed;
    size_t at; /* all before it are read */
};

static void runs_free(struct read *read)
{
    struct runs *runs = (struct runs *)read;
    for (size_t i = 0; i < runs->count; i++)
        json_decref(runs->listed[i].json);
    free(runs->listed);
    mem_free(runs->thread);
    mem_free(runs);
}

/* Only so far as the page needs it: true when it is full. */
static bool skip_what_is_read(struct runs *runs)
{
    size_t shown = 0;
    for (runs->at = 0; runs->at < runs->count && runs->listed[runs->at].is_read; runs->at++) {
        shown += runs->listed[runs->at].json != NULL ? 1 : 0;
        if (shown == runs->offset + runs->limit)
            return true;
    }
    return runs->at == runs->count;
}

static void answer_runs(struct runs *runs)
{
    json_t *page = json_array();
    size_t seen = 0;
    for (size_t i = 0; i < runs->count && page != NULL; i++) {
        json_t *json = runs->listed[i].json;
        if (json != NULL && seen++ >= runs->offset && json_array_size(page) < runs->limit)
            json_array_append(page, json);
    }
    http_answer_json(runs->read.pending.request, 200, page, NULL);
    read_end(&runs->read);
}

static void read_next(struct runs *runs);

/* All of them that are of this tree. */
static void take_tree(struct runs *runs, const struct tree *tree, const struct run_id *root)
{
    for (size_t i = 0; i < runs->count; i++) {
        struct listed *listed = &runs->listed[i];
        if (listed->is_read || !id_eq(&listed->entry.root, root))
            continue;
        const struct tree_run *run =
            tree != NULL ? tree_find(tree, id_str(&listed->entry.run)) : NULL;
        listed->is_read = true;
        bool is_shown =
            run != NULL && run->state != RUN_NONE && run->state != RUN_NEVER
            && !langgraph_is_rolled_back(run)
            && (runs->status[0] == '\0' || strcmp(runs->status, langgraph_status(run)) == 0);
        if (is_shown)
            listed->json = langgraph_run_json(run, listed->entry.multitask);
    }
}

static void on_tree(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct runs *runs = owner;
    (void)token;
    if (read_failed(&runs->read, answer))
        return;
    struct run_id root = runs->listed[runs->at].entry.root;
    take_tree(runs, answer->tree, &root);
    read_next(runs);
}

static void read_next(struct runs *runs)
{
    if (skip_what_is_read(runs)) {
        answer_runs(runs);
        return;
    }
    struct store_call call = {.op = STORE_TREE, .root = id_str(&runs->listed[runs->at].entry.root)};
    read_call(&runs->read, &call, on_tree);
}

static int latest_first(const void *a, const void *b)
{
    const struct listed *one = a, *other = b;
    return (one->entry.number < other->entry.number) - (one->entry.number > other->entry.number);
}

static void on_thread(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct runs *runs = owner;
    (void)token;
    if (read_failed(&runs->read, answer))
        return;
    runs->listed = calloc(answer->list_count + 1, sizeof *runs->listed);
    if (runs->listed == NULL) {
        langgraph_refuse(runs->read.pending.request, 503, "out of memory");
        read_end(&runs->read);
        return;
    }
    for (size_t i = 0; i < answer->list_count; i++) {
        struct listed *listed = &runs->listed[runs->count];
        if (langgraph_entry_parse(answer->list[i], &listed->entry) && !listed->entry.is_deleted)
            runs->count++;
    }
    qsort(runs->listed, runs->count, sizeof *runs->listed, latest_first);
    read_next(runs);
}

static bool query_number(struct http_request *request, const char *name, int64_t min, int64_t max,
                         int64_t *out)
{
    char detail[96];
    struct str text = http_query(request, name);
    if (text.len == 0 || (str_to_int(text, out) && *out >= min && *out <= max))
        return true;
    snprintf(detail, sizeof detail, "%s must be a whole number from %lld to %lld", name,
             (long long)min, (long long)max);
    langgraph_refuse(request, 422, detail);
    return false;
}

static bool query_status(struct http_request *request, char out[STATUS_MAX])
{
    static const char *const known[] = {"pending", "running", "error",
                                        "success", "timeout", "interrupted"};
    struct str text = http_query(request, "status");
    out[0] = '\0';
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (str_is(text, known[i]))
            memcpy(out, known[i], strlen(known[i]) + 1);
    if (text.len == 0 || out[0] != '\0')
        return true;
    langgraph_refuse(request, 422,
                     "status must be pending, running, error, success, timeout or interrupted");
    return false;
}

void langgraph_list(struct brokerd *d, struct http_request *request, struct str thread,
                    struct str run)
{
    (void)run;
    char status[STATUS_MAX];
    int64_t limit = LIMIT_USUAL, offset = 0;
    if (!query_number(request, "limit", 1, LIMIT_MAX, &limit)
        || !query_number(request, "offset", 0, OFFSET_MAX, &offset)
        || !query_status(request, status))
        return;
    struct runs *runs = read_open(d, request, sizeof *runs, runs_free);
    if (runs == NULL)
        return;
    runs->thread = mem_copy(thread);
    runs->limit = (size_t)limit;
    runs->offset = (size_t)offset;
    memcpy(runs->status, status, sizeof status);
    struct store_call call = {.op = STORE_THREAD_READ,
                              .id = runs->thread != NULL ? str_of(runs->thread) : STR_NONE};
    read_call(&runs->read, &call, on_thread);
}

/* ---- DELETE ------------------------------------------------------------------------------------
 */
static void on_left(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct langgraph_find *find = owner;
    (void)token;
    if (read_failed(&find->read, answer))
        return;
    http_answer(find->read.pending.request, 204, NULL, STR_NONE, NULL);
    read_end(&find->read);
}

/* Cancelled, or over already: now it may go from the list, though its client has hung up. */
static void on_cancelled(void *owner, const struct cancel_result *result)
{
    struct langgraph_find *find = owner;
    struct http_request *request = find->read.pending.request;
    bool is_fine = result->problem == PROBLEM_NONE || result->problem == PROBLEM_NOT_CANCELABLE
                   || result->problem == PROBLEM_NOT_FOUND;
    if (!is_fine) {
        if (request != NULL)
            langgraph_refuse_problem(request, result->problem, result->detail);
        read_end(&find->read);
        return;
    }
    struct store_call call = {.op = STORE_THREAD_LEAVE,
                              .id = str_of(find->seek.thread),
                              .run = id_str(&find->seek.run),
                              .root = id_str(&find->seek.root),
                              .thread_end = THREAD_DELETED};
    read_call(&find->read, &call, on_left);
}

static void on_found(struct langgraph_find *find)
{
    struct brokerd *d = find->read.daemon;
    struct cancel_ask cancel = langgraph_ask(d, &find->seek.root, &find->seek.run);
    cancel.reason = STR("deleted");
    cancel.ask = ask_open(d, find, on_cancelled);
    if (cancel.ask != 0) {
        feed_cancels(d, (struct cancels_event){.kind = CANCELS_ASK, .asked = &cancel});
        return;
    }
    langgraph_refuse(find->read.pending.request, 503, "out of memory");
    read_end(&find->read);
}

void langgraph_delete(struct brokerd *d, struct http_request *request, struct str thread,
                      struct str run)
{
    struct langgraph_find *find = langgraph_find_open(d, request, sizeof *find, thread, run);
    if (find != NULL)
        langgraph_find(find, on_found);
}
