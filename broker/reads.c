/* GETs that read one thing from Redis: where is this run, its tree, its checkpoint, the audit. */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/inside.h"

/* ---- the life of a read ------------------------------------------------------------------------
 */
static void read_hung_up(struct pending *pending)
{
    (void)pending; /* its request is NULL now: whoever goes on sees it */
}

void *read_make(struct brokerd *d, struct http_request *request, size_t bytes,
                void (*release)(struct read *read), enum problem *problem, const char **detail)
{
    struct read *read = NULL;
    *problem = d->linked ? PROBLEM_OVERLOADED : PROBLEM_UNAVAILABLE;
    *detail = d->linked ? "too many reads are open" : "the connection to Redis is down";
    if (!d->linked || d->read_count >= READS_MAX)
        return NULL;
    *detail = "out of memory";
    read = mem_new(bytes);
    if (read == NULL)
        return NULL;
    read->pending = (struct pending){request, read_hung_up};
    read->daemon = d;
    read->release = release;
    list_add_last(&d->reads, &read->in_reads);
    d->read_count++;
    http_request_own(request, read);
    return read;
}

void *read_open(struct brokerd *d, struct http_request *request, size_t bytes,
                void (*release)(struct read *read))
{
    enum problem problem;
    const char *detail;
    void *read = read_make(d, request, bytes, release, &problem, &detail);
    if (read == NULL)
        api_problem(request, problem, detail, NULL);
    return read;
}

void read_end(struct read *read)
{
    link_remove(&read->in_reads);
    read->daemon->read_count--;
    read->release(read);
}

static void refuse(struct read *read, const char *detail)
{
    if (read->pending.request != NULL && read->refuse != NULL)
        read->refuse(read, detail);
    else if (read->pending.request != NULL)
        api_problem(read->pending.request, PROBLEM_UNAVAILABLE, detail, NULL);
    read_end(read);
}

void read_call(struct read *read, const struct store_call *call, store_answered done)
{
    if (store_send(read->daemon->store, call, done, read, 0) != ERR_OK)
        refuse(read, "no room for another question to Redis");
}

bool read_failed(struct read *read, const struct store_answer *answer)
{
    char text[256];
    if (read->pending.request == NULL) {
        read_end(read); /* nobody listens any more */
        return true;
    }
    if (answer->verdict != SAID_OFFLINE && answer->verdict != SAID_UNWRITABLE
        && answer->verdict != SAID_ERROR)
        return false;
    size_t len = answer->text.len < sizeof text ? answer->text.len : sizeof text - 1;
    memcpy(text, len > 0 ? answer->text.at : "", len);
    text[len] = '\0';
    refuse(read, len > 0 ? text : "Redis cannot do it now");
    return true;
}

void reads_fini(struct brokerd *d)
{
    LIST_EACH (at, then, &d->reads) {
        struct read *read = LIST_OWNER(at, struct read, in_reads);
        link_remove(at);
        read->release(read);
    }
}

static void free_read(struct read *read)
{
    mem_free(read);
}

/* ---- one run ------------------------------------------------------------------------------- */
struct run_read {
    struct read read; /* first */
    struct run_id run, root;
    void (*go_on)(struct run_read *read); /* the root is known */
};

static void not_found(struct read *read)
{
    api_problem(read->pending.request, PROBLEM_NOT_FOUND, "nobody has seen this id", NULL);
    read_end(read);
}

static void on_found(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct run_read *read = owner;
    (void)token;
    if (read_failed(&read->read, answer))
        return;
    if (answer->verdict != SAID_OK || !id_parse(answer->text, &read->root))
        not_found(&read->read);
    else
        read->go_on(read);
}

static void find_root(struct brokerd *d, struct http_request *request, struct str run,
                      void (*go_on)(struct run_read *read))
{
    static const char *const allowed[] = {"root", NULL};
    struct str root = STR_NONE;
    if (!api_check_query(request, allowed) || !api_query_id(request, "root", &root))
        return;
    struct run_read *read = read_open(d, request, sizeof *read, free_read);
    if (read == NULL)
        return;
    read->go_on = go_on;
    root = root.len > 0 ? root : id_minted_root(run);
    if (!id_parse(run, &read->run))
        not_found(&read->read); /* the router has checked it */
    else if (id_parse(root, &read->root))
        go_on(read);
    else
        read_call(&read->read, &(struct store_call){.op = STORE_FIND_READ, .id = run}, on_found);
}

static void on_run_tree(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct run_read *read = owner;
    (void)token;
    if (read_failed(&read->read, answer))
        return;
    const struct tree_run *run =
        answer->tree != NULL ? tree_find(answer->tree, id_str(&read->run)) : NULL;
    if (run == NULL || run->state == RUN_NONE) {
        not_found(&read->read);
        return;
    }
    http_answer_json(read->read.pending.request, 200, run_json(run, id_str(&read->root)), NULL);
    read_end(&read->read);
}

static void read_run(struct run_read *read)
{
    struct store_call call = {.op = STORE_TREE, .root = id_str(&read->root)};
    read_call(&read->read, &call, on_run_tree);
}

void serve_run(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX])
{
    find_root(owner, request, part[0], read_run);
}

static void on_checkpoint(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct run_read *read = owner;
    (void)token;
    if (read_failed(&read->read, answer))
        return;
    struct http_request *request = read->read.pending.request;
    if (answer->verdict == SAID_OK)
        http_answer(request, 200, "application/octet-stream", answer->text, NULL);
    else
        api_problem(request, PROBLEM_NOT_FOUND, "no checkpoint is kept for this run", NULL);
    read_end(&read->read);
}

static void read_checkpoint(struct run_read *read)
{
    struct store_call call = {
        .op = STORE_CHECKPOINT_READ, .root = id_str(&read->root), .run = id_str(&read->run)};
    read_call(&read->read, &call, on_checkpoint);
}

void serve_checkpoint(void *owner, struct http_request *request,
                      const struct str part[API_PARTS_MAX])
{
    find_root(owner, request, part[0], read_checkpoint);
}

/* ---- a tree ------------------------------------------------------------------------------------
 */
enum { TREE_RUNS_MAX = 1000 };
struct tree_read {
    struct read read; /* first */
    struct run_id root, under;
    struct tree_view view;
};

static void on_tree(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct tree_read *read = owner;
    (void)token;
    if (read_failed(&read->read, answer))
        return;
    const struct tree *tree = answer->tree;
    read->view.under = id_str(&read->under);
    bool is_there = tree != NULL && tree->run_count > 0
                    && (read->under.text[0] == '\0' || tree_find(tree, read->view.under) != NULL);
    if (!is_there) {
        not_found(&read->read);
        return;
    }
    http_answer_json(read->read.pending.request, 200,
                     tree_json(tree, id_str(&read->root), &read->view), NULL);
    read_end(&read->read);
}

void serve_tree(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX])
{
    static const char *const allowed[] = {"under", "depth", "limit", NULL};
    struct str under = STR_NONE;
    int64_t depth = -1, limit = TREE_RUNS_MAX;
    if (!api_check_query(request, allowed) || !api_query_id(request, "under", &under)
        || !api_query_int(request, "depth", 0, PATH_MAX_IDS, &depth)
        || !api_query_int(request, "limit", 1, TREE_RUNS_MAX, &limit))
        return;
    struct tree_read *read = read_open(owner, request, sizeof *read, free_read);
    if (read == NULL)
        return;
    read->view = (struct tree_view){.depth = depth, .limit = (size_t)limit};
    if (under.len > 0 && !id_parse(under, &read->under)) {
        not_found(&read->read); /* api_query_id() has checked it */
        return;
    }
    if (!id_parse(part[0], &read->root)) {
        not_found(&read->read); /* the router has checked it */
        return;
    }
    struct store_call call = {.op = STORE_TREE, .root = id_str(&read->root)};
    read_call(&read->read, &call, on_tree);
}

/* ---- the audit ---------------------------------------------------------------------------------
 */
enum { AUDIT_MAX = 1000, AUDIT_USUAL = 100, AUDIT_SCAN = 10000 };
struct audit_read {
    struct read read;  /* first */
    struct run_id run; /* "": of every run */
    size_t limit;
};

static json_t *entry_json(struct str entry, const struct run_id *run)
{
    struct str json = entry;
    str_cut(&json, ' ');
    json_t *parsed = json.at != NULL ? json_loadb(json.at, json.len, 0, NULL) : NULL;
    const char *of = json_string_value(json_object_get(parsed, "run_id"));
    if (run->text[0] == '\0' || (of != NULL && strcmp(of, run->text) == 0))
        return parsed;
    json_decref(parsed);
    return NULL;
}

static void on_audit(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct audit_read *read = owner;
    (void)token;
    if (read_failed(&read->read, answer))
        return;
    json_t *json = json_object(), *entries = json_array();
    for (size_t i = 0; i < answer->list_count && json_array_size(entries) < read->limit; i++) {
        json_t *entry = entry_json(answer->list[i], &read->run);
        if (entry != NULL)
            json_array_append_new(entries, entry);
    }
    api_set(json, "entries", entries);
    http_answer_json(read->read.pending.request, 200, json, NULL);
    read_end(&read->read);
}

void serve_audit(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX])
{
    static const char *const allowed[] = {"limit", "run", NULL};
    (void)part;
    struct str run = STR_NONE;
    int64_t limit = AUDIT_USUAL;
    if (!api_check_query(request, allowed) || !api_query_id(request, "run", &run)
        || !api_query_int(request, "limit", 1, AUDIT_MAX, &limit))
        return;
    struct audit_read *read = read_open(owner, request, sizeof *read, free_read);
    if (read == NULL)
        return;
    bool is_for_one = id_parse(run, &read->run);
    read->limit = (size_t)limit;
    struct store_call call = {
        .op = STORE_AUDIT_READ, .id = STR("+"), .limit = is_for_one ? AUDIT_SCAN : (uint32_t)limit};
    read_call(&read->read, &call, on_audit);
}

/* ---- an end to a quarantine -------------------------------------------------------------------
 */
struct resume {
    struct read read; /* first */
    struct run_id replica;
};

/* Its agentd looks with each renewal of its lease. */
static void on_resumed(void *owner, uint64_t token, const struct store_answer *answer)
{
    struct resume *resume = owner;
    (void)token;
    if (read_failed(&resume->read, answer))
        return;
    struct str replica = id_str(&resume->replica);
    struct http_request *request = resume->read.pending.request;
    if (answer->number == 0) {
        api_problem(request, PROBLEM_NOT_FOUND, "no such replica is quarantined", NULL);
    } else {
        log_info("replica resumed", "replica=%.*s", (int)replica.len, replica.at);
        json_t *json = json_object();
        api_set(json, "replica_id", api_text(replica));
        api_set(json, "quarantined", json_false());
        http_answer_json(request, 200, json, NULL);
    }
    read_end(&resume->read);
}

void serve_resume(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX])
{
    struct resume *resume = read_open(owner, request, sizeof *resume, free_read);
    if (resume == NULL)
        return;
    resume->replica = (struct run_id){""};
    (void)id_parse(part[0], &resume->replica);
    struct store_call call = {.op = STORE_QUARANTINE_DROP, .replica = id_str(&resume->replica)};
    read_call(&resume->read, &call, on_resumed);
}
