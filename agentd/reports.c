/* What Redis is told of a stop waits a moment; that others are told does not.
 *
 * The core stops what is here before it asks for the cancel, so that a report sent at once would be
 * carried out first, and would find no ban to be counted for. And in a big tree Redis would be busy
 * with the reports of those who know, while the others do not know yet. */
#include "agentd/inside.h"

#include "base/mem.h"

enum { HELD_MS = 20 };

struct held {
    struct link in_order;
    uint64_t token;
    struct store_call call;
    struct run_epoch item[]; /* then the texts */
};

static size_t text_bytes(const struct store_call *call)
{
    size_t bytes = call->root.len;
    for (size_t i = 0; i < call->item_count; i++)
        bytes += call->item[i].run.len;
    return bytes;
}

static void move_text(char **room, struct str *text)
{
    if (text->len > 0)
        memcpy(*room, text->at, text->len);
    text->at = *room;
    *room += text->len;
}

bool reports_hold(struct agentd *d, const struct store_call *call, uint64_t token)
{
    size_t items = call->item_count * sizeof call->item[0];
    struct held *held = mem_new(sizeof *held + items + text_bytes(call));
    if (held == NULL)
        return false;
    char *room = (char *)held->item + items;
    held->token = token;
    held->call = *call;
    held->call.item = held->item;
    move_text(&room, &held->call.root);
    for (size_t i = 0; i < call->item_count; i++) {
        held->item[i] = call->item[i];
        move_text(&room, &held->item[i].run);
    }
    list_add_last(&d->reports, &held->in_order);
    if (!uv_is_active((uv_handle_t *)&d->report_timer))
        uv_timer_start(&d->report_timer, reports_due, HELD_MS, 0);
    return true;
}

void reports_send(struct agentd *d)
{
    LIST_EACH (at, then, &d->reports) {
        struct held *held = LIST_OWNER(at, struct held, in_order);
        link_remove(at);
        upstream_send_now(d, &held->call, held->token);
        mem_free(held);
    }
}

void reports_due(uv_timer_t *timer)
{
    reports_send(timer->data);
}

void reports_fini(struct agentd *d)
{
    LIST_EACH (at, then, &d->reports)
        mem_free(LIST_OWNER(at, struct held, in_order));
}
