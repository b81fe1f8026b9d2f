#include "core/store_call.h"

#include <assert.h>

const char *store_op_name(enum store_op op)
{
    static const char *const name[STORE_OP_COUNT] = {
        [STORE_START] = "start",
        [STORE_ASSERT] = "assert",
        [STORE_CANCEL] = "cancel",
        [STORE_END] = "end",
        [STORE_REPORT] = "report",
        [STORE_RECONCILE] = "reconcile",
        [STORE_LOST] = "lost",
        [STORE_LINK] = "link",
        [STORE_CHECKPOINT] = "checkpoint",
        [STORE_PEEK] = "peek",
        [STORE_SYNC] = "sync",
        [STORE_LEASE] = "lease",
        [STORE_REMEMBER] = "remember",
        [STORE_LEASE_RENEW] = "lease_renew",
        [STORE_LEASE_READ] = "lease_read",
        [STORE_LEASE_DROP] = "lease_drop",
        [STORE_FIND_CLAIM] = "find_claim",
        [STORE_FIND_READ] = "find_read",
        [STORE_FIND_DROP] = "find_drop",
        [STORE_ALIAS] = "alias",
        [STORE_HELD_ADD] = "held_add",
        [STORE_HELD_DROP] = "held_drop",
        [STORE_HELD_READ] = "held_read",
        [STORE_ROOT_ADD] = "root_add",
        [STORE_ROOT_DROP] = "root_drop",
        [STORE_ROOTS_READ] = "roots_read",
        [STORE_ROOT_COUNTS] = "root_counts",
        [STORE_REPLICA_ADD] = "replica_add",
        [STORE_REPLICAS_READ] = "replicas_read",
        [STORE_LOSS_COUNT] = "loss_count",
        [STORE_CONFIRM_ADD] = "confirm_add",
        [STORE_CONFIRM_DROP] = "confirm_drop",
        [STORE_CONFIRM_READ] = "confirm_read",
        [STORE_QUARANTINE_ADD] = "quarantine_add",
        [STORE_QUARANTINE_DROP] = "quarantine_drop",
        [STORE_QUARANTINE_READ] = "quarantine_read",
        [STORE_GENERATION] = "generation",
        [STORE_LOCK] = "lock",
        [STORE_AUDIT] = "audit",
        [STORE_AUDIT_READ] = "audit_read",
        [STORE_PUBLISH] = "publish",
        [STORE_TREE] = "tree",
        [STORE_THREAD_ENTER] = "enter",
        [STORE_THREAD_LEAVE] = "leave",
        [STORE_THREAD_READ] = "thread",
        [STORE_META_READ] = "meta_read",
        [STORE_CHECKPOINT_READ] = "checkpoint_read",
        [STORE_TIME] = "time",
        [STORE_ORDER] = "order",
        [STORE_ORDER_LIFT] = "order_lift",
        [STORE_ORDER_PROGRESS] = "order_progress",
        [STORE_ORDERS_READ] = "orders_read",
        [STORE_ORDERS_VERSION] = "orders_version",
    };
    assert((int)op >= 0 && op < STORE_OP_COUNT);
    return name[op];
}

static const struct {
    const char *name;
    char letter;
} multitasks[MULTITASK_COUNT] = {
    [MULTITASK_ENQUEUE] = {"enqueue", 'e'},
    [MULTITASK_REJECT] = {"reject", 'r'},
    [MULTITASK_INTERRUPT] = {"interrupt", 'i'},
    [MULTITASK_ROLLBACK] = {"rollback", 'b'},
};

const char *multitask_name(enum multitask multitask)
{
    assert((int)multitask >= 0 && multitask < MULTITASK_COUNT);
    return multitasks[multitask].name;
}

char multitask_letter(enum multitask multitask)
{
    assert((int)multitask >= 0 && multitask < MULTITASK_COUNT);
    return multitasks[multitask].letter;
}

bool multitask_of_letter(char letter, enum multitask *out)
{
    for (int i = 0; i < MULTITASK_COUNT; i++)
        if (multitasks[i].letter == letter) {
            *out = (enum multitask)i;
            return true;
        }
    return false;
}

const char *durability_name(enum durability durability)
{
    static const char *const name[DURABLE_COUNT] = {
        [DURABLE_MEMORY] = "memory",
        [DURABLE_REPLICATED] = "replicated",
        [DURABLE_FSYNCED] = "fsynced",
    };
    assert((int)durability >= 0 && durability < DURABLE_COUNT);
    return name[durability];
}

/* The words of the scripts, where a script says it. */
const char *store_verdict_name(enum store_verdict verdict)
{
    static const char *const name[SAID_COUNT] = {
        [SAID_OK] = "ok",
        [SAID_STARTED] = "started",
        [SAID_ALREADY] = "already",
        [SAID_EXISTS] = "exists",
        [SAID_REFUSED] = "refused",
        [SAID_OVER] = "over",
        [SAID_FULL] = "full",
        [SAID_ADOPTED] = "adopted",
        [SAID_STOP] = "stop",
        [SAID_FENCED] = "fenced",
        [SAID_UNAUTHORIZED] = "unauthorized",
        [SAID_ACCEPTED] = "accepted",
        [SAID_NOT_FOUND] = "not_found",
        [SAID_UNKNOWN] = "unknown",
        [SAID_ENDED] = "ended",
        [SAID_NOT_CANCELLED] = "not_cancelled",
        [SAID_GO] = "go",
        [SAID_BEHIND] = "behind",
        [SAID_LOST] = "lost",
        [SAID_SUSPECT] = "suspect",
        [SAID_LINKED] = "linked",
        [SAID_GRANTED] = "granted",
        [SAID_FROZEN] = "frozen",
        [SAID_GONE] = "gone",
        [SAID_OFFLINE] = "offline",
        [SAID_UNWRITABLE] = "unwritable",
        [SAID_ERROR] = "error",
    };
    assert((int)verdict >= 0 && verdict < SAID_COUNT);
    return name[verdict];
}
