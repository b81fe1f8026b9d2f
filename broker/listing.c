/* GET /v1/runs: all runs there are, by the start of their root, then root, then run id.
 *
 * The roots are spread over shards; each shard is asked for its next few, and the first of them all
 * are read tree by tree until the page is full or enough trees were read. The cursor says where the
 * next page begins and holds a hash of the filter, so that it is good for the same question only.
 */
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "broker/inside.h"
#include "wire/message.h"

enum { SHARDS = 64, TREES_A_PAGE = 50, LIMIT_MAX = 1000, LIMIT_USUAL = 100, CURSOR_MAX = 256 };

struct filter { /* each empty or RUN_NONE: any */
    enum run_state state;
    char *agent, *thread, *label_key, *label_value;
};
struct place { /* after this one */
    int64_t started_ms;
    struct run_id root, run;
};
struct candidate {
    int64_t started_ms;
    struct run_id root;
};
struct listing {
    struct read read; /* first */
    struct filter filter;
    uint32_t filter_hash;
    size_t limit;
    struct place from;
    struct run_id only_root; /* "": all */
    size_t shards_asked;
    bool shards_failed, more_roots;
    size_t candidate_count, candidate_room, at;
    struct candidate *candidate;
    json_t *runs;
};

static void listing_free(struct read *read)
{
    struct listing *listing = (struct listing *)read;
    char *texts[] = {listing->filter.agent, listing->filter.thread, listing->filter.label_key,
                     listing->filter.label_value};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        mem_free(texts[i]);
    json_decref(listing->runs);
    mem_free(listing->candidate);
    mem_free(listing);
}

/* ---- the filter ---------------------------------------------------------------------------- */
static void hash_add(uint32_t *hash, struct str text)
{
    for (size_t i = 0; i <= text.len; i++) { /* and a mark at the end */
        *hash ^= i < text.len ? (unsigned char)text.at[i] : 0x100;
        *hash *= 16777619u;
    }
}

static uint32_t filter_hash(const struct http_request *request)
{
    static const char *const names[] = {"state", "agent", "label", "thread", "root"};
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        hash_add(&hash, http_query(request, names[i]));
    return hash;
}

static bool refuse_query(struct http_request *request, const char *member, const char *detail)
{
    struct api_fault fault;
    api_fault(&fault, PROBLEM_INVALID, member, "%s", detail);
    api_answer_fault(request, &fault);
    return false;
}

static bool copy_text(struct http_request *request, const char *name, char **out)
{
    struct str text = http_query(request, name);
    if (text.at == NULL)
        return true;
    if (text.len > TEXT_MAX_BYTES)
        return refuse_query(request, name, "longer than 1024 bytes");
    *out = mem_copy(text);
    return true;
}

static bool filter_read(struct http_request *request, struct filter *out)
{
    struct str state = http_query(request, "state"), value = http_query(request, "label");
    if (state.at != NULL && (!run_state_of_name(state, &out->state) || out->state == RUN_NONE))
        return refuse_query(request, "state",
                            "state must be one of never pending running stopping success error "
                            "timeout cancelled rolled_back lost paused");
    if (value.at != NULL) {
        struct str key = str_cut(&value, ':');
        if (value.at == NULL || key.len == 0)
            return refuse_query(request, "label", "label must be key:value");
        out->label_key = mem_copy(key);
        out->label_value = mem_copy(value);
    }
    return copy_text(request, "agent", &out->agent) && copy_text(request, "thread", &out->thread);
}

static bool has_label(const struct run_meta *meta, const struct filter *filter)
{
    for (size_t i = 0; i < meta->label_count; i++)
        if (str_is(meta->label[i].key, filter->label_key))
            return str_is(meta->label[i].value, filter->label_value);
    return false;
}

static bool is_wanted(const struct filter *filter, const struct tree_run *run)
{
    struct run_meta meta = {.label_count = 0};
    bool is_stopping = run_is_live(run->state) && run->ban != NULL;
    enum run_state state = is_stopping ? RUN_STOPPING : run->state;
    if (run->state == RUN_NONE || (filter->state == RUN_NONE && run->state == RUN_NEVER)
        || (filter->state != RUN_NONE && filter->state != state && filter->state != run->state))
        return false;
    if (run->meta.len > 0 && wire_meta_decode(run->meta, &meta) != ERR_OK)
        meta = (struct run_meta){.label_count = 0};
    return (filter->agent == NULL || str_is(meta.agent, filter->agent))
           && (filter->thread == NULL || str_is(meta.thread, filter->thread))
           && (filter->label_key == NULL || has_label(&meta, filter));
}

/* ---- the cursor --------------------------------------------------------------------------------
 */
static json_t *cursor_json(const struct listing *listing, const struct place *place)
{
    char plain[CURSOR_MAX];
    unsigned char coded[2 * CURSOR_MAX];
    int len = snprintf(plain, sizeof plain, "1.%08" PRIx32 ".%" PRId64 ".%s.%s",
                       listing->filter_hash, place->started_ms, place->root.text, place->run.text);
    if (len < 0 || (size_t)len >= sizeof plain)
        return NULL;
    EVP_EncodeBlock(coded, (const unsigned char *)plain, len);
    for (unsigned char *c = coded; *c != '\0'; c++) /* fit for a query */
        *c = *c == '+' ? '-' : *c == '/' ? '_' : *c == '=' ? '.' : *c;
    return json_string((const char *)coded);
}

static bool cursor_plain(struct str text, char plain[CURSOR_MAX])
{
    unsigned char coded[CURSOR_MAX], decoded[CURSOR_MAX];
    if (text.len == 0 || text.len >= sizeof coded || text.len % 4 != 0)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        coded[i] = (unsigned char)(c == '-' ? '+' : c == '_' ? '/' : c == '.' ? '=' : c);
    }
    int len = EVP_DecodeBlock(decoded, coded, (int)text.len);
    if (len < 0)
        return false;
    memcpy(plain, decoded, (size_t)len);
    plain[len] = '\0'; /* what the padding stood for is NUL, too */
    return true;
}

static bool cursor_parse(struct str text, uint32_t hash, struct place *out)
{
    char plain[CURSOR_MAX], wanted[16];
    if (!cursor_plain(text, plain))
        return false;
    struct str rest = str_of(plain);
    snprintf(wanted, sizeof wanted, "%08" PRIx32, hash);
    struct place place = {.started_ms = 0};
    if (!str_is(str_cut(&rest, '.'), "1") || !str_is(str_cut(&rest, '.'), wanted)
        || !str_to_int(str_cut(&rest, '.'), &place.started_ms)
        || !id_parse(str_cut(&rest, '.'), &place.root))
        return false;
    if (rest.at != NULL && rest.len > 0 && !id_parse(rest, &place.run))
        return false;
    *out = place;
    return true;
}

/* ---- the answer --------------------------------------------------------------------------------
 */
static void answer(struct listing *listing, const struct place *next)
{
    json_t *json = json_object();
    api_set(json, "runs", json_incref(listing->runs));
    if (next != NULL)
        api_set(json, "cursor", cursor_json(listing, next));
    http_answer_json(listing->read.pending.request, 200, json, NULL);
    read_end(&listing->read);
}

/* ---- one tree after the other ------------------------------------------------------------------
 */
static int compare(struct str one, struct str other)
{
    size_t len = one.len < other.len ? one.len : other.len;
    int order = len > 0 ? memcmp(one.at, other.at, len) : 0;
    return order != 0 ? order : (one.len > other.len) - (one.len < other.len);
}

static int by_id(const void *a, const void *b)
{
    const struct tree_run *const *one = a, *const *other = b;
    return compare((*one)->id, (*other)->id);
}

static void read_next_tree(struct listing *listing);

/* True: the page is full, and was answered. */
static bool take_runs(struct listing *listing, const struct tree_run *const *run, size_t count,
                      const struct candidate *of)
{
    struct place last = {.started_ms = of->started_ms, .root = of->root};
    bool is_first = id_eq(&of->root, &listing->from.root);
    for (size_t i = 0; i < count; i++) {
        if (is_first && compare(run[i]->id, id_str(&listing->from.run)) <= 0)
            continue;
        if (!is_wanted(&listing->filter, run[i]))
            continue;
        if (json_array_size(listing->runs) == listing->limit) {
            answer(listing, &last);
            return true;
        }
        json_array_append_new(listing->runs, node_json(run[i], id_str(&of->root)));
        if (!id_parse(run[i]->id, &last.run))
            last.run = (struct run_id){""};
    }
    return false;
}

static void on_tree(void *owner, uint64_t token, const struct store_answer *answer_)
{
    struct listing *listing = owner;
    (void)token;
    if (read_failed(&listing->read, answer_))
        return;
    const struct tree *tree = answer_->tree;
    const struct tree_run **sorted =
        tree != NULL ? calloc(tree->run_count + 1, sizeof *sorted) : NULL;
    struct candidate of = listing->candidate[listing->at++];
    bool is_done = false;
    if (sorted != NULL) {
        memcpy(sorted, tree->run, tree->run_count * sizeof *sorted);
        qsort(sorted, tree->run_count, sizeof *sorted, by_id);
        is_done = take_runs(listing, sorted, tree->run_count, &of);
    }
    free(sorted);
    if (!is_done)
        read_next_tree(listing);
}

static void read_next_tree(struct listing *listing)
{
    if (listing->at < listing->candidate_count) {
        struct store_call call = {.op = STORE_TREE,
                                  .root = id_str(&listing->candidate[listing->at].root)};
        read_call(&listing->read, &call, on_tree);
        return;
    }
    if (!listing->more_roots) {
        answer(listing, NULL);
        return;
    }
    const struct candidate *last = &listing->candidate[listing->candidate_count - 1];
    struct place done = {.started_ms = last->started_ms, .root = last->root};
    memset(done.run.text, 'z', RUN_ID_MAX); /* behind every id: that root is done */
    answer(listing, &done);
}

/* ---- the roots of a page -----------------------------------------------------------------------
 */
static int by_start(const void *a, const void *b)
{
    const struct candidate *one = a, *other = b;
    if (one->started_ms != other->started_ms)
        return one->started_ms < other->started_ms ? -1 : 1;
    return strcmp(one->root.text, other->root.text);
}

static bool candidate_add(struct listing *listing, int64_t started_ms, struct str root)
{
    struct candidate candidate = {.started_ms = started_ms};
    struct candidate from = {.started_ms = listing->from.started_ms, .root = listing->from.root};
    if (!id_parse(root, &candidate.root) || by_start(&candidate, &from) < 0)
        return true;
    void *grown = listing->candidate;
    if (!mem_grow(&grown, &listing->candidate_room, sizeof *listing->candidate,
                  listing->candidate_count + 1))
        return false;
    listing->candidate = grown;
    listing->candidate[listing->candidate_count++] = candidate;
    return true;
}

static void choose_roots(struct listing *listing)
{
    if (listing->candidate_count > 0)
        qsort(listing->candidate, listing->candidate_count, sizeof *listing->candidate, by_start);
    if (listing->candidate_count > TREES_A_PAGE) {
        listing->candidate_count = TREES_A_PAGE;
        listing->more_roots = true;
    }
    read_next_tree(listing);
}

static bool is_trouble(const struct store_answer *answer_)
{
    return answer_->verdict != SAID_OK;
}

/* All shards are asked at once; the last answer goes on, also when the first one was trouble. */
static void on_shard(void *owner, uint64_t token, const struct store_answer *answer_)
{
    struct listing *listing = owner;
    (void)token;
    if (is_trouble(answer_))
        listing->shards_failed = true;
    for (size_t i = 0; i < answer_->list_count; i++)
        if (!candidate_add(listing, answer_->score != NULL ? answer_->score[i] : 0,
                           answer_->list[i]))
            listing->shards_failed = true;
    if (--listing->shards_asked > 0)
        return;
    static const struct store_answer trouble = {.verdict = SAID_OFFLINE};
    static const struct store_answer good = {.verdict = SAID_OK};
    if (!read_failed(&listing->read, listing->shards_failed ? &trouble : &good))
        choose_roots(listing);
}

static void ask_shards(struct listing *listing)
{
    static const struct store_answer trouble = {.verdict = SAID_OFFLINE};
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
        struct store_call call = {.op = STORE_ROOTS_READ,
                                  .shard = shard,
                                  .number = listing->from.started_ms,
                                  .limit = TREES_A_PAGE + 1};
        if (store_send(listing->read.daemon->store, &call, on_shard, listing, 0) == ERR_OK)
            listing->shards_asked++;
        else
            listing->shards_failed = true;
    }
    if (listing->shards_asked == 0)
        (void)read_failed(&listing->read, &trouble);
}

static void begin(struct listing *listing)
{
    if (listing->only_root.text[0] == '\0') {
        ask_shards(listing);
        return;
    }
    if (candidate_add(listing, listing->from.started_ms, id_str(&listing->only_root)))
        read_next_tree(listing);
    else
        answer(listing, NULL);
}

void serve_runs(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX])
{
    static const char *const allowed[] = {"state", "agent", "label",  "thread",
                                          "root",  "limit", "cursor", NULL};
    (void)part;
    struct str root = STR_NONE, cursor = http_query(request, "cursor");
    int64_t limit = LIMIT_USUAL;
    struct place from = {.started_ms = 0};
    uint32_t hash = filter_hash(request);
    if (!api_check_query(request, allowed) || !api_query_id(request, "root", &root)
        || !api_query_int(request, "limit", 1, LIMIT_MAX, &limit))
        return;
    if (cursor.at != NULL && !cursor_parse(cursor, hash, &from)) {
        refuse_query(request, "cursor", "this cursor belongs to another filter, or is damaged");
        return;
    }
    struct listing *listing = read_open(owner, request, sizeof *listing, listing_free);
    if (listing == NULL)
        return;
    listing->runs = json_array();
    listing->limit = (size_t)limit;
    listing->filter_hash = hash;
    listing->from = from;
    if (root.len > 0 && !id_parse(root, &listing->only_root))
        listing->only_root = (struct run_id){""};
    if (filter_read(request, &listing->filter))
        begin(listing);
    else
        read_end(&listing->read);
}
