/* The questions that a program asks about its runs: waiting, and without. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "inside.h"

enum { BYTES_MAX = 1 << 20 };

/* What every ..._then() ends in. op NULL: bw_why() has been set. */
static enum bw_err post(struct op *op, enum bw_err err, bw_done done, void *owner)
{
    if (op == NULL)
        return err;
    op->done = done;
    op->owner = owner;
    client_post(op->client, op);
    return BW_OK;
}

static enum bw_err wait_for(struct op *op, enum bw_err err,
                            void (*seen)(void *seer, const struct bw_answer *answer), void *seer)
{
    if (op == NULL)
        return err;
    if (!client_is_here(op->client))
        return ask(op, seen, seer);
    op_free(op);
    return fault(BW_ERR_WOULD_BLOCK,
                 "called from a callback, or on the loop's thread: use the one that ends in _then");
}

/* Owns `body`; NULL: it could not be made. NULL: *err is set. */
static struct op *make(enum op_kind kind, struct bw_run *run, json_t *body, enum bw_err *err)
{
    struct op *op = NULL;
    if (body == NULL) {
        *err = fault(BW_ERR_INVALID,
                     "a text is not UTF-8, or a choice is none (or there is no memory)");
    } else if (!client_is_ours(run->client)) {
        json_decref(body);
        *err = fault(BW_ERR_INVALID, "after fork() the child needs a client of its own");
    } else if ((op = op_new(kind, run->client, run, body)) == NULL) {
        *err = fault(BW_ERR_NOMEM, "out of memory");
    }
    return op;
}

static bool flag_in(const struct bw_answer *answer, const char *member)
{
    json_t *json = json_loads(answer->json, 0, NULL);
    bool is_set = json_is_true(json_object_get(json, member));
    json_decref(json);
    return is_set;
}

/* ---- start --------------------------------------------------------------------------------- */

static struct op *start_op(struct bw_client *client, const struct bw_run_params *params,
                           enum bw_err *err)
{
    static const struct bw_run_params defaults;
    struct bw_run *run = run_new(client, params != NULL ? params : &defaults, err);
    if (run == NULL) {
        if (*err == BW_ERR_NOMEM)
            *err = fault(BW_ERR_NOMEM, "out of memory");
        return NULL;
    }
    struct op *op = make(OP_START, run, json_object(), err);
    if (op == NULL) {
        run_free(run);
        return NULL;
    }
    op->patience_ms =
        client->options.start_wait_ms > 0 ? client->options.start_wait_ms : START_WAIT_MS;
    return op;
}

static void see_run(void *seer, const struct bw_answer *answer)
{
    struct bw_run **out = seer;
    if (answer->err == BW_OK)
        *out = answer->run;
}

enum bw_err bw_run_start(struct bw_client *client, const struct bw_run_params *params,
                         struct bw_run **out)
{
    enum bw_err err = BW_OK;
    if (client_is_here(client))
        return wait_for(NULL, fault(BW_ERR_WOULD_BLOCK, "use bw_run_start_then() here"), NULL,
                        NULL);
    struct op *op = start_op(client, params, &err);
    return wait_for(op, err, see_run, out);
}

enum bw_err bw_run_start_then(struct bw_client *client, const struct bw_run_params *params,
                              bw_done done, void *owner)
{
    enum bw_err err = BW_OK;
    struct op *op = start_op(client, params, &err);
    return post(op, err, done, owner);
}

/* ---- ack ----------------------------------------------------------------------------------- */

static struct op *ack_op(struct bw_run *run, enum bw_phase phase, enum bw_err *err)
{
    static const char *const words[] = {"acknowledged", "cleaned_up", "checkpointed"};
    if ((unsigned)phase >= sizeof words / sizeof words[0]) {
        *err = fault(BW_ERR_INVALID, "there is no such phase");
        return NULL;
    }
    return make(OP_ACK, run, json_pack("{s:s}", "phase", words[phase]), err);
}

enum bw_err bw_run_ack(struct bw_run *run, enum bw_phase phase)
{
    enum bw_err err = BW_OK;
    struct op *op = ack_op(run, phase, &err);
    return wait_for(op, err, NULL, NULL);
}

enum bw_err bw_run_ack_then(struct bw_run *run, enum bw_phase phase, bw_done done, void *owner)
{
    enum bw_err err = BW_OK;
    struct op *op = ack_op(run, phase, &err);
    return post(op, err, done, owner);
}

/* ---- fence --------------------------------------------------------------------------------- */

/* base64 (RFC 4648, section 4), in fresh memory. */
static char *encode(const unsigned char *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = mem_new((len + 2) / 3 * 4 + 1), *out = text;
    for (size_t i = 0; text != NULL && i < len; i += 3) {
        size_t left = len - i;
        unsigned three = (unsigned)bytes[i] << 16 | (left > 1 ? (unsigned)bytes[i + 1] << 8 : 0)
                         | (left > 2 ? bytes[i + 2] : 0U);
        *out++ = digits[three >> 18];
        *out++ = digits[three >> 12 & 63];
        *out++ = left > 1 ? digits[three >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[three & 63] : '=';
    }
    return text;
}

static struct op *fence_op(struct bw_run *run, const char *write_id, const void *bytes, size_t len,
                           enum bw_err *err)
{
    if (write_id == NULL) {
        *err = fault(BW_ERR_INVALID, "write_id is missing");
        return NULL;
    }
    if (len > BYTES_MAX) {
        *err = fault(BW_ERR_INVALID, "bytes: at most 1 MiB");
        return NULL;
    }
    json_t *body = json_pack("{s:s}", "write_id", write_id);
    char *text = bytes != NULL ? encode(bytes, len) : NULL;
    bool fits = bytes == NULL
                || (text != NULL && json_object_set_new(body, "bytes", json_string(text)) == 0);
    mem_free(text);
    if (!fits) {
        json_decref(body);
        body = NULL;
    }
    return make(OP_FENCE, run, body, err);
}

static void see_last(void *seer, const struct bw_answer *answer)
{
    bool *is_last = seer;
    if (answer->err == BW_OK && is_last != NULL)
        *is_last = flag_in(answer, "last");
}

enum bw_err bw_run_fence(struct bw_run *run, const char *write_id, const void *bytes, size_t len,
                         bool *is_last)
{
    enum bw_err err = BW_OK;
    struct op *op = fence_op(run, write_id, bytes, len, &err);
    return wait_for(op, err, see_last, is_last);
}

enum bw_err bw_run_fence_then(struct bw_run *run, const char *write_id, const void *bytes,
                              size_t len, bw_done done, void *owner)
{
    enum bw_err err = BW_OK;
    struct op *op = fence_op(run, write_id, bytes, len, &err);
    return post(op, err, done, owner);
}

/* ---- links --------------------------------------------------------------------------------- */

static struct op *link_op(struct bw_run *run, const struct bw_link *link, enum bw_err *err)
{
    const char *const members[][2] = {
        {"kind", link->kind != NULL ? link->kind : "root"},
        {"to", link->to},
        {"url", link->url},
        {"thread_id", link->thread_id},
        {"run_id", link->run_id},
        {"task_id", link->task_id},
        {"version", link->version},
        {"binding", link->binding},
        {"method", link->method},
        {"body", link->body},
    };
    json_t *body = json_object();
    bool fits = body != NULL;
    for (size_t i = 0; fits && i < sizeof members / sizeof members[0]; i++)
        fits = members[i][1] == NULL
               || json_object_set_new(body, members[i][0], json_string(members[i][1])) == 0;
    if (!fits) {
        json_decref(body);
        body = NULL;
    }
    return make(OP_LINK, run, body, err);
}

enum bw_err bw_run_link(struct bw_run *run, const struct bw_link *link)
{
    enum bw_err err = BW_OK;
    struct op *op = link_op(run, link, &err);
    return wait_for(op, err, NULL, NULL);
}

enum bw_err bw_run_link_then(struct bw_run *run, const struct bw_link *link, bw_done done,
                             void *owner)
{
    enum bw_err err = BW_OK;
    struct op *op = link_op(run, link, &err);
    return post(op, err, done, owner);
}

/* ---- cancelling what is below -------------------------------------------------------------- */

/* It goes into a path. */
static bool is_run_id(const char *text)
{
    static const char fine[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t len = strlen(text);
    return len > 0 && len <= 64 && strspn(text, fine) == len;
}

static json_t *cancel_body(const struct bw_cancel_params *params)
{
    static const char *const actions[] = {"interrupt", "rollback"};
    static const char *const waits[] = {"none", "delivered", "stopped"};
    if ((unsigned)params->action >= 2 || (unsigned)params->wait >= 3)
        return NULL;
    json_t *body =
        json_pack("{s:s, s:s}", "action", actions[params->action], "wait", waits[params->wait]);
    bool fits =
        params->run_id != NULL || json_object_set_new(body, "include_self", json_false()) == 0;
    if (params->reason != NULL)
        fits = json_object_set_new(body, "reason", json_string(params->reason)) == 0 && fits;
    if (params->has_grace)
        fits = json_object_set_new(body, "grace_ms", json_integer(params->grace_ms)) == 0 && fits;
    if (params->timeout_ms > 0)
        fits =
            json_object_set_new(body, "timeout_ms", json_integer(params->timeout_ms)) == 0 && fits;
    if (fits)
        return body;
    json_decref(body);
    return NULL;
}

static struct op *cancel_op(struct bw_run *run, const struct bw_cancel_params *params,
                            enum bw_err *err)
{
    enum { BEYOND_THE_WAIT_MS = 5000 };
    static const struct bw_cancel_params defaults;
    if (params == NULL)
        params = &defaults;
    if (params->run_id != NULL && !is_run_id(params->run_id)) {
        *err = fault(BW_ERR_INVALID, "run_id: 1 to 64 of A-Z a-z 0-9 _ -");
        return NULL;
    }
    struct op *op = make(OP_CANCEL, run, cancel_body(params), err);
    if (op == NULL)
        return NULL;
    snprintf(op->target, sizeof op->target, "%s", params->run_id != NULL ? params->run_id : "");
    if (params->wait != BW_WAIT_NONE)
        op->patience_ms =
            BEYOND_THE_WAIT_MS + (params->timeout_ms > 0 ? params->timeout_ms : PATIENCE_MS);
    return op;
}

static void see_complete(void *seer, const struct bw_answer *answer)
{
    bool *is_complete = seer;
    if (is_complete != NULL)
        *is_complete = answer->err == BW_OK && flag_in(answer, "complete");
}

enum bw_err bw_run_cancel_children(struct bw_run *run, const struct bw_cancel_params *params,
                                   bool *is_complete)
{
    enum bw_err err = BW_OK;
    struct op *op = cancel_op(run, params, &err);
    return wait_for(op, err, see_complete, is_complete);
}

enum bw_err bw_run_cancel_children_then(struct bw_run *run, const struct bw_cancel_params *params,
                                        bw_done done, void *owner)
{
    enum bw_err err = BW_OK;
    struct op *op = cancel_op(run, params, &err);
    return post(op, err, done, owner);
}

/* ---- end ----------------------------------------------------------------------------------- */

static struct op *end_op(struct bw_run *run, enum bw_end state, enum bw_err *err)
{
    static const char *const words[] = {"success", "error", "paused", "cancelled", "rolled_back"};
    if ((unsigned)state >= sizeof words / sizeof words[0]) {
        *err = fault(BW_ERR_INVALID, "a run cannot end like that");
        return NULL;
    }
    struct op *op = make(OP_END, run, json_pack("{s:s}", "state", words[state]), err);
    if (op != NULL)
        op->patience_ms = END_WAIT_MS;
    return op;
}

enum bw_err bw_run_end(struct bw_run *run, enum bw_end state)
{
    enum bw_err err = BW_OK;
    struct op *op = end_op(run, state, &err);
    return wait_for(op, err, NULL, NULL);
}

enum bw_err bw_run_end_then(struct bw_run *run, enum bw_end state, bw_done done, void *owner)
{
    enum bw_err err = BW_OK;
    struct op *op = end_op(run, state, &err);
    return post(op, err, done, owner);
}
