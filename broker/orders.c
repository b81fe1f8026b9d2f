/* /v1/orders: cancel all that match, hold what would start, and see how far it is. */
#include <openssl/sha.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/inside.h"
#include "wire/order.h"

/* ---- POST ---------------------------------------------------------------------------------- */
struct open_order {
    struct pending pending; /* first */
    struct brokerd *daemon;
    uint64_t id; /* the key in `open_orders` */
};

static struct str id_key(const uint64_t *id)
{
    return (struct str){(const char *)id, sizeof *id};
}

static void open_free(struct open_order *open)
{
    map_take(&open->daemon->open_orders, id_key(&open->id));
    mem_free(open);
}

/* The order itself stays. */
static void open_hung_up(struct pending *pending)
{
    open_free((struct open_order *)pending);
}

static struct open_order *open_new(struct brokerd *d, struct http_request *request)
{
    struct open_order *open = mem_new(sizeof *open);
    if (open != NULL) {
        open->pending = (struct pending){request, open_hung_up};
        open->daemon = d;
        open->id = ++d->last_ask;
        if (map_add(&d->open_orders, id_key(&open->id), open)) {
            http_request_own(request, open);
            return open;
        }
    }
    mem_free(open);
    api_problem(request, PROBLEM_OVERLOADED, "out of memory", NULL);
    return NULL;
}

void orders_asked_fini(struct brokerd *d)
{
    struct open_order *open;
    for (size_t i = 0; (open = map_next(&d->open_orders, &i)) != NULL;)
        open_free(open);
    map_fini(&d->open_orders);
}

/* The same key, the same order: who repeats it gets the first one. */
static bool name_order(struct brokerd *d, struct http_request *request, char out[RUN_ID_MAX + 1])
{
    enum { ID_LEN = 20 };
    struct str key = http_header(request, "Idempotency-Key");
    unsigned char hash[SHA256_DIGEST_LENGTH];
    if (key.at == NULL) {
        out[0] = 'o';
        rng_name(&d->rng, out + 1, ID_LEN);
        return true;
    }
    if (key.len == 0 || key.len > 255) {
        api_problem(request, PROBLEM_INVALID, "Idempotency-Key may have 1 to 255 characters", NULL);
        return false;
    }
    SHA256((const unsigned char *)key.at, key.len, hash);
    out[0] = 'o';
    for (size_t i = 0; i < ID_LEN / 2; i++)
        snprintf(out + 1 + 2 * i, 3, "%02x", hash[i]);
    return true;
}

static void ask(struct brokerd *d, struct http_request *request, struct api_order_ask *asked)
{
    char id[RUN_ID_MAX + 1];
    struct buf record = {.limit = MESSAGE_MAX_BYTES};
    asked->order.at = brokerd_wall();
    enum err err = wire_order_encode(&asked->order, &record);
    if (err != ERR_OK) {
        api_problem(request, PROBLEM_INVALID, "selector, reason and by are too long together",
                    NULL);
    } else if (name_order(d, request, id)) {
        struct open_order *open = open_new(d, request);
        struct order_ask order = {.ask = open != NULL ? open->id : 0,
                                  .id = str_of(id),
                                  .record = buf_str(&record),
                                  .dry_run = asked->dry_run,
                                  .expect_at_most = asked->expect_at_most};
        if (open != NULL)
            feed_orders(d, (struct orders_event){.kind = ORDERS_ASK, .asked = &order});
    }
    buf_fini(&record);
}

void serve_order_ask(void *owner, struct http_request *request,
                     const struct str part[API_PARTS_MAX])
{
    (void)part;
    struct api_order_ask asked;
    json_t *body = api_read_object(request);
    if (body == NULL)
        return;
    if (api_order_ask(request, body, &asked))
        ask(owner, request, &asked);
    json_decref(body);
}

static void answer_problem(struct http_request *request, const struct order_result *result)
{
    json_t *extra = result->progress != NULL && result->problem == PROBLEM_TOO_MANY_MATCHED
                        ? json_object()
                        : NULL;
    if (extra != NULL)
        api_set(extra, "matched", json_integer(result->progress->matched));
    api_problem(request, result->problem, result->detail, extra);
}

static void answer_stored(struct brokerd *d, struct http_request *request, struct str id);

void answer_order(struct brokerd *d, uint64_t id, const struct order_result *result)
{
    struct open_order *open = map_find(&d->open_orders, id_key(&id));
    if (open == NULL)
        return;
    struct http_request *request = open->pending.request;
    struct order order;
    open_free(open);
    if (result->problem != PROBLEM_NONE) {
        answer_problem(request, result);
    } else if (result->already) {
        answer_stored(d, request, result->id);
    } else if (wire_order_decode(result->record, &order) != ERR_OK) {
        api_problem(request, PROBLEM_UNAVAILABLE, "the stored order cannot be read", NULL);
    } else {
        struct api_order_about about = {.id = result->id,
                                        .dry_run = result->dry_run,
                                        .progress = result->progress,
                                        .hold_left = result->dry_run ? MILLIS(0) : order.hold};
        http_answer_json(request, result->dry_run ? 200 : 202, api_order(&order, &about), NULL);
    }
}

void log_order(const struct order_result *result)
{
    const struct order_progress *progress = result->progress;
    log_info("order carried out", "order=%.*s matched=%lld accepted=%lld already=%lld failed=%lld",
             (int)result->id.len, result->id.at, (long long)progress->matched,
             (long long)progress->accepted, (long long)progress->already,
             (long long)progress->failed);
}

/* ---- GET, DELETE --------------------------------------------------------------------------- */
struct order_read {
    struct read read; /* first */
    struct run_id id; /* "": all of them */
    bool is_repeated; /* a POST: the same order was given before */
};

static void release(struct read *read)
{
    mem_free(read);
}

static json_t *stored_json(const struct store_order *stored, bool already)
{
    struct order order;
    static struct order_progress progress; /* 5 kB: not on the stack; we are on one thread */
    if (wire_order_decode(stored->record, &order) != ERR_OK)
        return NULL;
    bool has_progress =
        stored->progress.len > 0 && wire_progress_decode(stored->progress, &progress) == ERR_OK;
    struct api_order_about about = {.id = stored->id,
                                    .already = already,
                                    .progress = has_progress ? &progress : NULL,
                                    .hold_left = stored->hold_left,
                                    .lifted = {stored->lifted_ms}};
    return api_order(&order, &about);
}

static void answer_one(struct http_request *request, const struct store_answer *answer,
                       bool is_repeated)
{
    json_t *json = answer->order_count == 1 ? stored_json(&answer->order[0], is_repeated) : NULL;
    if (json != NULL)
        http_answer_json(request, is_repeated ? 202 : 200, json, NULL);
    else if (is_repeated)
        api_problem(request, PROBLEM_UNAVAILABLE, "Redis has forgotten this order", NULL);
    else
        api_problem(request, PROBLEM_NOT_FOUND, "no such order", NULL);
}

static void on_orders(void *owner, uint64_t token, const struct store_answer *answer)
{
    (void)token;
    struct order_read *read = owner;
    if (read_failed(&read->read, answer))
        return;
    struct http_request *request = read->read.pending.request;
    if (read->id.text[0] != '\0') {
        answer_one(request, answer, read->is_repeated);
        read_end(&read->read);
        return;
    }
    json_t *json = json_object(), *list = json_array();
    for (size_t i = 0; i < answer->order_count; i++) {
        json_t *one = list != NULL ? stored_json(&answer->order[i], false) : NULL;
        if (one != NULL)
            json_array_append_new(list, one);
    }
    api_set(json, "orders", list);
    http_answer_json(request, 200, json, NULL);
    read_end(&read->read);
}

static void read_orders(struct order_read *read)
{
    struct store_call call = {.op = STORE_ORDERS_READ, .id = id_str(&read->id)};
    read_call(&read->read, &call, on_orders);
}

/* How far it is and whether it holds, Redis alone knows: it may have been lifted since. */
static void answer_stored(struct brokerd *d, struct http_request *request, struct str id)
{
    struct order_read *read = read_open(d, request, sizeof *read, release);
    if (read == NULL)
        return;
    (void)id_parse(id, &read->id);
    read->is_repeated = true;
    read_orders(read);
}

void serve_orders(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX])
{
    static const char *const allowed[] = {NULL};
    (void)part;
    if (!api_check_query(request, allowed))
        return;
    struct order_read *read = read_open(owner, request, sizeof *read, release);
    if (read != NULL)
        read_orders(read);
}

void serve_order(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX])
{
    struct order_read *read = read_open(owner, request, sizeof *read, release);
    if (read == NULL)
        return;
    (void)id_parse(part[0], &read->id);
    read_orders(read);
}

static void on_lifted(void *owner, uint64_t token, const struct store_answer *answer)
{
    (void)token;
    struct order_read *read = owner;
    if (!read_failed(&read->read, answer))
        read_orders(read); /* lifted now, or before: GET answers for it */
}

void serve_lift(void *owner, struct http_request *request, const struct str part[API_PARTS_MAX])
{
    struct order_read *read = read_open(owner, request, sizeof *read, release);
    if (read == NULL)
        return;
    (void)id_parse(part[0], &read->id);
    struct store_call call = {.op = STORE_ORDER_LIFT, .id = id_str(&read->id)};
    read_call(&read->read, &call, on_lifted);
}
