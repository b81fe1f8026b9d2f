/* A question about a run, on its way to the agentd.
 *
 * Happy path: begun -> sent -> answered. The run is not registered, or the agentd has gone: it
 * waits until the run is registered again, or whoever asks has no more patience. All may be
 * repeated: an agentd that was restarted is told the whole story again. The end of a run alone is
 * told also when nobody asks any more. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "inside.h"

enum { PATH_MAX_LEN = 160, TRIES_OF_THE_UNKNOWN = 3 };

struct op *op_new(enum op_kind kind, struct bw_client *client, struct bw_run *run, json_t *body)
{
    struct op *op = body != NULL ? mem_new(sizeof *op) : NULL;
    if (op == NULL) {
        json_decref(body);
        return NULL;
    }
    op->kind = kind;
    op->client = client;
    op->run = run;
    op->body = body;
    op->patience_ms = PATIENCE_MS;
    return op;
}

void op_free(struct op *op)
{
    link_remove(&op->in_list);
    json_decref(op->body);
    mem_free(op);
}

/* ---- answers ------------------------------------------------------------------------------- */

void op_answer(struct op *op, const struct bw_answer *answer)
{
    if (op->is_answered)
        return;
    op->is_answered = true;
    if (op->done != NULL)
        op->done(op->owner, answer);
}

void op_answer_err(struct op *op, enum bw_err err, const char *detail)
{
    op_answer(
        op, &(struct bw_answer){.err = err, .code = "", .detail = detail, .json = "", .run = NULL});
}

/* The run is over for us, whatever else was asked about it. */
static void forget_run(struct op *end, enum bw_err err)
{
    struct bw_run *run = end->run;
    bool is_still_there =
        err == BW_ERR_NOT_CANCELLED || err == BW_ERR_UNAVAILABLE || err == BW_ERR_NOMEM;
    end->run = NULL;
    if (is_still_there && !end->is_answered) /* else nobody could end it again */
        run->is_ending = false;
    else
        run_free(run);
}

static void answer_and_free(struct op *op, const struct bw_answer *answer)
{
    enum bw_err err = answer->err;
    if (op->kind == OP_END)
        forget_run(op, err);
    op_answer(op, answer);
    op_free(op);
}

static void answer_err_and_free(struct op *op, enum bw_err err, const char *detail)
{
    answer_and_free(op, &(struct bw_answer){.err = err, .code = "", .detail = detail, .json = ""});
}

/* ---- sending ------------------------------------------------------------------------------- */

static void wait_in_line(struct op *op)
{
    list_add_last(&op->client->waiting, &op->in_list);
    ops_set_clock(op->client);
}

/* An agentd that was restarted knows neither us nor the run. */
static bool is_unknown_there(const struct op *op, long status)
{
    return (status == 401 || status == 404) && op->target[0] == '\0'
           && op->tries < TRIES_OF_THE_UNKNOWN;
}

static void take_answer(struct op *op, const struct delivery *delivery, const json_t *json)
{
    const char *code = word_of(json, "code");
    struct bw_answer answer = {.err = err_of_code(code, delivery->status),
                               .status = (int)delivery->status,
                               .code = code,
                               .detail = word_of(json, "detail"),
                               .json = delivery->body.len > 0 ? delivery->body.at : ""};
    if (is_unknown_there(op, delivery->status)) {
        wait_in_line(op);
        uplink_lost(op->client, "the agentd does not know the run");
        return;
    }
    /* the first try came through, and its answer was lost */
    if (op->kind == OP_END && answer.err == BW_ERR_OVER && op->tries > 1)
        answer.err = BW_OK;
    answer_and_free(op, &answer);
}

static void on_delivered(void *owner, const struct delivery *delivery)
{
    struct op *op = owner;
    struct bw_client *client = op->client;
    link_remove(&op->in_list);
    op->is_flying = false;
    json_t *json =
        delivery->body.len > 0 ? json_loadb(delivery->body.at, delivery->body.len, 0, NULL) : NULL;
    if (op->kind == OP_REGISTER) {
        run_registered(op, delivery, json);
        op_free(op);
    } else if (op->run == NULL || (op->is_answered && op->kind != OP_END)) {
        op_free(op);
    } else if (delivery->err == ERR_OK) {
        take_answer(op, delivery, json);
    } else if (delivery->err == ERR_OFFLINE || delivery->err == ERR_TIMEOUT) {
        wait_in_line(op);
        uplink_lost(client, delivery->why);
    } else {
        answer_err_and_free(op, BW_ERR_NOMEM, delivery->why);
    }
    json_decref(json);
}

bool op_fly(struct op *op, const char *path, const char *key, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    if (text == NULL)
        return false;
    struct errand errand = {.path = path,
                            .key = key,
                            .body = str_of(text),
                            .timeout_ms = op->patience_ms > LOCAL_CALL_MS ? (long)op->patience_ms
                                                                          : LOCAL_CALL_MS};
    enum err err = courier_send(op->client->courier, &errand, on_delivered, op);
    free(text);
    if (err != ERR_OK)
        return false;
    op->is_flying = true;
    op->tries++;
    list_add_last(&op->client->flying, &op->in_list);
    ops_set_clock(op->client);
    return true;
}

static void send_now(struct op *op)
{
    static const char *const verbs[] = {[OP_ACK] = "ack",
                                        [OP_FENCE] = "fence",
                                        [OP_LINK] = "links",
                                        [OP_CANCEL] = "cancel",
                                        [OP_END] = "end"};
    char path[PATH_MAX_LEN];
    const char *id = op->target[0] != '\0' ? op->target : bw_run_id(op->run);
    snprintf(path, sizeof path, "/v1/runs/%s/%s", id, verbs[op->kind]);
    if (op->kind != OP_CANCEL)
        json_object_set_new(op->body, "epoch", json_integer(bw_run_epoch(op->run)));
    if (!op_fly(op, path, NULL, op->body))
        answer_err_and_free(op, BW_ERR_NOMEM, "out of memory");
}

/* No agentd ever had this run, and none is there that might. */
static bool is_on_its_own(const struct bw_run *run)
{
    return bw_run_id(run)[0] == '\0' && run->registration == NULL
           && run->client->link != LINK_RETURNING;
}

static void settle_without_agentd(struct op *op)
{
    if (op->kind == OP_FENCE || op->kind == OP_END)
        answer_err_and_free(op, BW_OK, "");
    else
        answer_err_and_free(op, BW_ERR_OFFLINE, "no agentd has this run");
}

static void settle_given_up(struct op *op)
{
    enum bw_err err = op->run->given_up;
    bool was_never_there = err == BW_ERR_CANCELLED;
    bool was_told = err == BW_ERR_OVER && op->tries > 0; /* and the answer was lost */
    if (op->kind == OP_END && (was_never_there || was_told))
        answer_err_and_free(op, BW_OK, "");
    else
        answer_err_and_free(op, err, "the agentd does not hold this run any more");
}

/* In no list. */
static void proceed(struct op *op)
{
    const struct bw_run *run = op->run;
    if (run->is_registered)
        send_now(op);
    else if (run->given_up != BW_OK)
        settle_given_up(op);
    else if (is_on_its_own(run))
        settle_without_agentd(op);
    else
        wait_in_line(op);
}

void op_begin(struct op *op)
{
    op->due = now_ms() + op->patience_ms;
    if (op->kind == OP_START)
        run_begin(op);
    else {
        if (op->kind == OP_END)
            op->run->is_ending = true;
        proceed(op);
    }
}

static void move_all(struct list *from, struct list *to)
{
    LIST_EACH (at, then, from) {
        link_remove(at);
        list_add_last(to, at);
    }
}

/* The answer to one may end its run, and so drop others: they must be found, by ops_drop(). */
static struct op *take_ready(struct bw_client *client)
{
    if (list_is_empty(&client->ready))
        return NULL;
    struct op *op = LIST_OWNER(client->ready.head.next, struct op, in_list);
    link_remove(&op->in_list);
    return op;
}

void ops_begin(struct bw_client *client, struct list *posted)
{
    move_all(posted, &client->ready);
    for (struct op *op; (op = take_ready(client)) != NULL;)
        op_begin(op);
}

void ops_flush(struct bw_client *client)
{
    move_all(&client->waiting, &client->ready);
    for (struct op *op; (op = take_ready(client)) != NULL;)
        if (op->kind == OP_START)
            list_add_last(&client->waiting, &op->in_list);
        else
            proceed(op);
}

/* ---- patience ------------------------------------------------------------------------------ */

static void lose_patience(struct op *op)
{
    if (op->kind == OP_START) {
        run_start_is_due(op);
        return;
    }
    op_answer_err(op, BW_ERR_OFFLINE, "no agentd answered in time");
    if (!op->is_flying && op->kind != OP_END)
        op_free(op);
}

static void look_at(struct list *ops, int64_t now)
{
    struct link *at = ops->head.next;
    while (at != &ops->head) {
        struct op *op = LIST_OWNER(at, struct op, in_list);
        at = at->next;
        if (op->is_answered || op->due > now)
            continue;
        lose_patience(op);
        at = ops->head.next; /* whoever was told may have changed the list */
    }
}

void on_clock(uv_timer_t *timer)
{
    struct bw_client *client = timer->data;
    int64_t now = now_ms();
    look_at(&client->waiting, now);
    look_at(&client->flying, now);
    ops_set_clock(client);
}

static int64_t first_due(const struct list *ops)
{
    int64_t first = INT64_MAX;
    for (const struct link *at = ops->head.next; at != &ops->head; at = at->next) {
        const struct op *op = LIST_OWNER(at, struct op, in_list);
        if (!op->is_answered && op->due < first)
            first = op->due;
    }
    return first;
}

void ops_set_clock(struct bw_client *client)
{
    int64_t waiting = first_due(&client->waiting), flying = first_due(&client->flying);
    int64_t due = waiting < flying ? waiting : flying, wait = due - now_ms();
    if (client->is_closing)
        return;
    if (due == INT64_MAX)
        uv_timer_stop(&client->clock);
    else
        uv_timer_start(&client->clock, on_clock, wait > 1 ? (uint64_t)wait : 1, 0);
}

/* ---- no more ------------------------------------------------------------------------------- */

static void drop_from(struct list *ops, const struct bw_run *run)
{
    LIST_EACH (at, then, ops) {
        struct op *op = LIST_OWNER(at, struct op, in_list);
        if (op->run != run)
            continue;
        op->run = NULL;
        op_answer_err(op, BW_ERR_OFFLINE, "the run has ended");
        if (!op->is_flying)
            op_free(op);
    }
}

void ops_drop(struct bw_client *client, const struct bw_run *run)
{
    drop_from(&client->ready, run);
    drop_from(&client->waiting, run);
    drop_from(&client->flying, run);
}

bool ops_have_ends(const struct bw_client *client)
{
    const struct list *lists[] = {&client->waiting, &client->flying};
    for (int i = 0; i < 2; i++)
        for (const struct link *at = lists[i]->head.next; at != &lists[i]->head; at = at->next)
            if (LIST_OWNER(at, struct op, in_list)->kind == OP_END)
                return true;
    return false;
}
