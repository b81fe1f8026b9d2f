/* Who asked what, with what result. Never a reason to fail a cancel: what Redis does not take now
 * waits here, the newest 1,000, and is sent when it is back. */
#include "agentd/inside.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"

enum { AUDIT_WAITING_MAX = 1000 };

struct entry {
    struct link in_order;
    struct agentd *daemon;
    char *json;
};

static void entry_free(struct entry *entry)
{
    free(entry->json); /* jansson's */
    mem_free(entry);
}

static void entry_wait(struct entry *entry)
{
    struct agentd *d = entry->daemon;
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
    if (answer->verdict == SAID_OFFLINE || answer->verdict == SAID_UNWRITABLE)
        entry_wait(entry); /* perhaps twice in the stream, if only the answer got lost */
    else
        entry_free(entry);
}

static void entry_send(struct entry *entry)
{
    struct store_call call = {.op = STORE_AUDIT, .bytes = str_of(entry->json)};
    if (!entry->daemon->linked
        || store_send(entry->daemon->store, &call, on_audited, entry, 0) != ERR_OK)
        entry_wait(entry);
}

static const char *via(const struct cancel_ask *asked)
{
    static const char *const ours[] = {"deadline", "parent_ended", "lost"};
    if (asked == NULL)
        return "agentd";
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (str_is(asked->by, "agentd") && str_is(asked->reason, ours[i]))
            return ours[i];
    if (str_is(asked->by, "channel"))
        return "channel";
    return asked->hops > 0 ? "link" : "agentd";
}

void audit_note(struct agentd *d, const struct cancel_result *result,
                const struct cancel_ask *asked)
{
    enum cancel_outcome outcome = result->problem != PROBLEM_NONE ? OUTCOME_REFUSED
                                  : result->already               ? OUTCOME_ALREADY
                                                                  : OUTCOME_ACCEPTED;
    metric_add(&d->numbers.cancels[outcome], 1);
    json_t *json = api_audit_entry(agentd_wall(), result, asked, via(asked), str_of(d->replica));
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

void audit_send_waiting(struct agentd *d)
{
    /* counted: an entry that is not taken goes back to the end of the list */
    for (size_t left = d->audit_count; left > 0 && d->linked; left--) {
        struct link *first = d->audit.head.next;
        link_remove(first);
        d->audit_count--;
        entry_send(LIST_OWNER(first, struct entry, in_order));
    }
}

void audit_fini(struct agentd *d)
{
    LIST_EACH (at, then, &d->audit) {
        link_remove(at);
        entry_free(LIST_OWNER(at, struct entry, in_order));
    }
}
