/* What a run is, and what the agentd says when it is registered: at its start, and again whenever
 * the agentd may have been another one meanwhile. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "inside.h"
#include "wire/baggage.h"

/* ---- its place in the tree ----------------------------------------------------------------- */

static void place_free(struct place *place)
{
    while (place != NULL) {
        struct place *before = place->before;
        mem_free(place->run_id);
        mem_free(place->root);
        mem_free(place->baggage);
        mem_free(place);
        place = before;
    }
}

static struct place *place_new(const char *run_id, const char *root, const char *baggage,
                               int64_t deadline_at)
{
    struct place *place = mem_new(sizeof *place);
    if (place == NULL)
        return NULL;
    place->run_id = mem_copy(str_of(run_id));
    place->root = mem_copy(str_of(root));
    place->baggage = mem_copy(str_of(baggage));
    atomic_init(&place->deadline_at, deadline_at);
    atomic_init(&place->is_protected, false);
    if (place->run_id != NULL && place->root != NULL && place->baggage != NULL)
        return place;
    place_free(place);
    return NULL;
}

static int64_t deadline_in(const json_t *json)
{
    const json_t *left = json_object_get(json, "deadline_ms");
    return json_is_integer(left) ? now_ms() + json_integer_value(left) : -1;
}

static bool says_the_same(const struct place *place, const json_t *answer)
{
    return strcmp(place->run_id, word_of(answer, "run_id")) == 0
           && strcmp(place->root, word_of(answer, "root")) == 0
           && strcmp(place->baggage, word_of(answer, "baggage")) == 0;
}

/* False: no memory; then the old one stays. A run that lives long is registered often: each time
 * in the same words, but for a deadline. */
static bool take_place(struct bw_run *run, const json_t *answer)
{
    struct place *known = atomic_load(&run->place), *place = known;
    if (!says_the_same(known, answer)
        && (place = place_new(word_of(answer, "run_id"), word_of(answer, "root"),
                              word_of(answer, "baggage"), -1))
               == NULL)
        return false;
    atomic_store(&place->deadline_at, deadline_in(answer));
    atomic_store(&place->is_protected, json_is_true(json_object_get(answer, "protected")));
    if (place != known) {
        place->before = known;
        atomic_store(&run->place, place);
    }
    atomic_store(&run->epoch, (uint32_t)json_integer_value(json_object_get(answer, "epoch")));
    return json_object_set_new(run->request, "run_id", json_string(place->run_id)) == 0;
}

const char *bw_run_id(const struct bw_run *run)
{
    return atomic_load(&run->place)->run_id;
}

const char *bw_run_root(const struct bw_run *run)
{
    return atomic_load(&run->place)->root;
}

const char *bw_run_baggage(const struct bw_run *run)
{
    return atomic_load(&run->place)->baggage;
}

bool bw_run_is_protected(const struct bw_run *run)
{
    return atomic_load(&atomic_load(&run->place)->is_protected);
}

uint32_t bw_run_epoch(const struct bw_run *run)
{
    return (uint32_t)atomic_load(&run->epoch);
}

/* The same header with what is left of the deadline now. */
static void add_current(const struct place *place, struct buf *out)
{
    struct baggage context;
    struct str known = str_of(place->baggage);
    int64_t deadline_at = atomic_load(&place->deadline_at);
    if (deadline_at >= 0 && baggage_parse(known, &context) == ERR_OK && context.path.len > 0) {
        int64_t left = deadline_at - now_ms();
        context.ttl.ms = left > 0 ? left : 0;
        if (baggage_format(&context, known, out) == ERR_OK)
            return;
    }
    (void)buf_add_str(out, known);
}

size_t bw_run_baggage_for(const struct bw_run *run, const char *existing, char *out, size_t room)
{
    struct buf current = {0}, merged = {0};
    add_current(atomic_load(&run->place), &current);
    bool fits =
        !current.failed
        && baggage_merge(buf_str(&current), str_of(existing != NULL ? existing : ""), &merged)
               == ERR_OK;
    size_t len = fits ? merged.len : 0;
    if (room > 0)
        snprintf(out, room, "%s", len > 0 ? merged.bytes : "");
    buf_fini(&current);
    buf_fini(&merged);
    return len;
}

/* ---- life ---------------------------------------------------------------------------------- */

struct bw_run *run_new(struct bw_client *client, const struct bw_run_params *params,
                       enum bw_err *err)
{
    struct bw_run *run = mem_new(sizeof *run);
    *err = BW_ERR_NOMEM;
    if (run == NULL)
        return NULL;
    const char *incoming = incoming_baggage(params);
    int64_t deadline_at = params->deadline_ms > 0 ? now_ms() + params->deadline_ms : -1;
    run->client = client;
    run->on_cancel = params->on_cancel;
    run->owner = params->owner;
    run->acknowledges_itself = params->acknowledges_itself;
    atomic_init(&run->stop_at, -1);
    atomic_init(&run->place, place_new("", "", incoming != NULL ? incoming : "", deadline_at));
    run->request = params_to_json(params, client->incarnation, err);
    if (run->request != NULL && atomic_load(&run->place) != NULL && make_secret(run->key))
        return run;
    run_free(run);
    return NULL;
}

void run_free(struct bw_run *run)
{
    if (link_is_in_list(&run->in_runs)) {
        link_remove(&run->in_runs);
        ops_drop(run->client, run);
    }
    place_free(atomic_load(&run->place));
    json_decref(run->cancel_json);
    json_decref(run->request);
    mem_free(run);
}

/* ---- registering --------------------------------------------------------------------------- */

void run_register(struct bw_run *run)
{
    if (run->registration != NULL)
        return;
    struct op *op = op_new(OP_REGISTER, run->client, run, json_object());
    if (op == NULL)
        return; /* as if nobody had answered: tried again later */
    op->due = INT64_MAX;
    bool is_named = json_object_get(run->request, "run_id") != NULL;
    if (op_fly(op, "/v1/runs", is_named ? NULL : run->key, run->request))
        run->registration = op;
    else
        op_free(op);
}

static void answer_start(struct bw_run *run, enum bw_err err, const char *code, const char *detail)
{
    struct op *start = run->start;
    struct bw_answer answer = {
        .err = err, .code = code, .detail = detail, .json = "", .run = err == BW_OK ? run : NULL};
    if (start == NULL)
        return;
    run->start = NULL;
    start->run = NULL;
    link_remove(&start->in_list);
    if (err != BW_OK)
        run_free(run);
    op_answer(start, &answer);
    op_free(start);
}

void run_start_is_due(struct op *start)
{
    struct bw_run *run = start->run;
    const struct bw_client *client = run->client;
    if (client->options.require_agentd) {
        answer_start(run, BW_ERR_OFFLINE, "", "no agentd answered in time");
        return;
    }
    uplink_warn(run->client, "no answer in time");
    answer_start(run, BW_OK, "", "");
}

static bool may_wait_for_agentd(const struct bw_client *client)
{
    return client->was_linked || client->options.start_wait_ms > 0;
}

void run_begin(struct op *start)
{
    struct bw_run *run = start->run;
    struct bw_client *client = run->client;
    list_add_last(&client->runs, &run->in_runs);
    run->start = start;
    list_add_last(&client->waiting, &start->in_list);
    ops_set_clock(client);
    run_register(run);
}

static void nobody_answered(struct bw_run *run, const char *why)
{
    struct bw_client *client = run->client;
    if (run->start != NULL && !may_wait_for_agentd(client)) {
        if (client->options.require_agentd) {
            answer_start(run, BW_ERR_OFFLINE, "", why);
        } else {
            uplink_warn(client, why);
            answer_start(run, BW_OK, "", "");
        }
    }
    uplink_lost(client, why);
}

/* A run that goes on here, and that the agentd does not take. */
static void refused_later(struct bw_run *run, const json_t *json, long status)
{
    char reason[64];
    const char *code = word_of(json, "code"), *state = word_of(json, "state");
    run->given_up = err_of_code(code, status);
    snprintf(reason, sizeof reason, "%s%s%s", code, strcmp(code, "over") == 0 ? ":" : "",
             strcmp(code, "over") == 0 ? state : "");
    if (run->given_up == BW_ERR_CANCELLED)
        notice_tell(run, json_object_get(json, "cancel"));
    else if (status == 409)
        notice_disown(run, reason);
    else
        say(run->client, BW_LOG_WARNING,
            "a run cannot be registered (%s: %s): nobody can cancel it", code,
            word_of(json, "detail"));
}

static void take_verdict(struct bw_run *run, const struct delivery *delivery, const json_t *json)
{
    const char *code = word_of(json, "code");
    enum bw_err err = err_of_code(code, delivery->status);
    if (err == BW_OK) {
        run->is_registered = take_place(run, json);
        answer_start(run, BW_OK, "", "");
    } else if (run->start != NULL) {
        answer_start(run, err, code, word_of(json, "detail"));
    } else if (err != BW_ERR_UNAVAILABLE) { /* else: later */
        refused_later(run, json, delivery->status);
    }
}

void run_registered(struct op *registration, const struct delivery *delivery, const json_t *json)
{
    struct bw_client *client = registration->client;
    struct bw_run *run = registration->run;
    if (run == NULL) { /* it was given up meanwhile */
        uplink_registered(client);
        return;
    }
    run->registration = NULL;
    if (delivery->err == ERR_OK)
        take_verdict(run, delivery, json);
    else
        nobody_answered(run, delivery->why);
    uplink_registered(client);
    ops_flush(client);
}
