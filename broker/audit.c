/* Who asked what, with what result. Never a reason to fail a cancel: what Redis does not take now
 * waits here, the newest 1,000, and is sent when it is back. */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "broker/inside.h"

enum { AUDIT_WAITING_MAX = 1000 };

struct entry {
    struct link in_order;
    struct brokerd *daemon;
    char *json;
};

static void entry_free(struct entry *entry)
{
    free(entry->json); /* jansson's */
    mem_free(entry);
}

static void entry_wait(struct entry *entry)
{
    struct brokerd *d = entry->daemon;
    if (d->audit_count == AUDIT_WAITING_MAX) {
        struct entry *oldest = LIST_OWNER(d->audit.head.next, struct entry, in_order);
        log_error("audit entry dropped", "entry=%s", oldest->json);
        link_remove(&oldest->in_order);
        entry_free(oldest);
        d->audit_count--;
    }
    list_add_last(&d->audit, &entry->in_order);
    d->audit_count++;
}

static void on_audited(void *owner, uint64_t token, const struct store_answer *answer)
{
    (void)token;
    struct entry *entry = owner;
    link_remove(&entry->in_order);
    if (answer->verdict == SAID_OFFLINE || answer->verdict == SAID_UNWRITABLE)
        entry_wait(entry); /* perhaps twice in the stream, if only the answer got lost */
    else
        entry_free(entry);
}

static void entry_send(struct entry *entry)
{
    struct brokerd *d = entry->daemon;
    struct store_call call = {.op = STORE_AUDIT, .bytes = str_of(entry->json)};
    if (d->linked && store_send(d->store, &call, on_audited, entry, 0) == ERR_OK)
        list_add_last(&d->audit_sent, &entry->in_order);
    else
        entry_wait(entry);
}

static const char *via(const struct cancel_ask *asked)
{
    if (asked == NULL || asked->hops > 0)
        return asked == NULL ? "broker" : "link";
    if ((asked->ask & OURS) != 0 && (asked->ask & OF_ORDER) != 0)
        return "order";
    return (asked->ask & OURS) != 0 && str_is(asked->reason, "deadline") ? "deadline" : "broker";
}

void audit_note(struct brokerd *d, const struct cancel_result *result,
                const struct cancel_ask *asked)
{
    json_t *json = api_audit_entry(brokerd_wall(), result, asked, via(asked), str_of(d->id));
    struct entry *entry = json == NULL ? NULL : mem_new(sizeof *entry);
    if (entry != NULL) {
        entry->daemon = d;
        entry->json = json_dumps(json, JSON_COMPACT);
    }
    json_decref(json);
    if (entry != NULL && entry->json != NULL)
        entry_send(entry);
    else
        mem_free(entry);
}

void audit_send_waiting(struct brokerd *d)
{
    /* counted: an entry that is not taken goes back to the end of the list */
    for (size_t left = d->audit_count; left > 0 && d->linked; left--) {
        struct link *first = d->audit.head.next;
        link_remove(first);
        d->audit_count--;
        entry_send(LIST_OWNER(first, struct entry, in_order));
    }
}

static void free_all(struct list *entries)
{
    LIST_EACH (at, then, entries) {
        link_remove(at);
        entry_free(LIST_OWNER(at, struct entry, in_order));
    }
}

void audit_fini(struct brokerd *d)
{
    free_all(&d->audit);
    free_all(&d->audit_sent);
}
