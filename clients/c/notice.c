/* A run is to stop: the flag, the callback, the acknowledgement, in this order.
 *
 * The agentd repeats a notice after each reconnect and with a lower grace, so everything here
 * happens once for a run, but for the grace. */
#include <string.h>

#include "inside.h"

static void acknowledge(struct bw_run *run)
{
    json_t *body = json_pack("{s:s}", "phase", "acknowledged");
    struct op *op = body != NULL ? op_new(OP_ACK, run->client, run, body) : NULL;
    if (op != NULL)
        op_begin(op); /* a lost acknowledgement costs nothing but its place in the story */
}

static void set_grace(struct bw_run *run, const json_t *cancel)
{
    const json_t *given = json_object_get(cancel, "grace_ms");
    int64_t known = atomic_load(&run->stop_at);
    if (!json_is_integer(given))
        return;
    int64_t stop_at = now_ms() + json_integer_value(given);
    if (known < 0 || stop_at < known)
        atomic_store(&run->stop_at, stop_at);
}

void notice_tell(struct bw_run *run, const json_t *cancel)
{
    set_grace(run, cancel);
    if (atomic_load(&run->is_cancelled))
        return;
    json_t *kept = json_deep_copy(cancel);
    bool is_rollback = strcmp(word_of(kept, "action"), "rollback") == 0;
    run->cancel_json = kept;
    run->cancel = (struct bw_cancel){
        .cancel_id = word_of(kept, "cancel_id"),
        .run_id = word_of(kept, "run_id"),
        .action = is_rollback ? BW_ROLLBACK : BW_INTERRUPT,
        .reason = word_of(kept, "reason"),
        .by = word_of(kept, "by"),
    };
    atomic_store_explicit(&run->is_cancelled, true, memory_order_release);
    if (run->is_ending)
        return;
    struct bw_cancel shown;
    if (run->on_cancel != NULL && bw_run_cancel(run, &shown))
        run->on_cancel(run->owner, run, &shown);
    if (!run->acknowledges_itself && run->is_registered)
        acknowledge(run);
}

void notice_disown(struct bw_run *run, const char *reason)
{
    json_t *cancel = json_pack("{s:s, s:s, s:s, s:i}", "action", "interrupt", "reason", reason,
                               "by", "agentd", "grace_ms", 0);
    notice_tell(run, cancel);
    json_decref(cancel);
}

static struct bw_run *run_named(struct bw_client *client, const char *id)
{
    LIST_EACH (at, then, &client->runs) {
        struct bw_run *run = LIST_OWNER(at, struct bw_run, in_runs);
        const struct place *place = atomic_load(&run->place);
        if (id[0] != '\0' && strcmp(place->run_id, id) == 0)
            return run;
    }
    return NULL;
}

/* From within a callback of the stream, which must not be closed here. */
void notice_came(void *owner, const char *name, const json_t *data)
{
    struct bw_client *client = owner;
    if (strcmp(name, "resync") == 0) {
        client->must_reconnect = true;
        uv_timer_start(&client->retry, on_retry, 0, 0);
        return;
    }
    struct bw_run *run =
        strcmp(name, "cancel") == 0 ? run_named(client, word_of(data, "run")) : NULL;
    if (run != NULL && !run->is_ending)
        notice_tell(run, data);
}

bool bw_run_is_cancelled(const struct bw_run *run)
{
    return atomic_load_explicit(&run->is_cancelled, memory_order_acquire);
}

bool bw_run_cancel(const struct bw_run *run, struct bw_cancel *out)
{
    if (!bw_run_is_cancelled(run))
        return false;
    int64_t stop_at = atomic_load(&run->stop_at), left = stop_at - now_ms();
    *out = run->cancel;
    out->grace_ms = stop_at < 0 ? -1 : left > 0 ? left : 0;
    return true;
}
