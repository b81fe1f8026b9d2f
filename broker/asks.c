/* Cancels that a request asked for, by the number under which the core answers them. */
#include "base/mem.h"
#include "broker/inside.h"

struct ask {
    uint64_t id; /* the key in `asks` */
    void *owner;
    cancel_answered answered;
};

static struct str id_key(const uint64_t *id)
{
    return (struct str){(const char *)id, sizeof *id};
}

static struct ask *ask_take(struct brokerd *d, uint64_t id)
{
    return map_take(&d->asks, id_key(&id));
}

uint64_t ask_open(struct brokerd *d, void *owner, cancel_answered answered)
{
    struct ask *ask = mem_new(sizeof *ask);
    if (ask == NULL)
        return 0;
    *ask = (struct ask){++d->last_ask, owner, answered};
    if (map_add(&d->asks, id_key(&ask->id), ask))
        return ask->id;
    mem_free(ask);
    return 0;
}

void ask_waits_if_there_is_room(const struct brokerd *d, struct cancel_ask *ask)
{
    size_t max = (size_t)d->settings->max_waits;
    if (d->asks.count > max - max / 4)
        ask->wait = WAIT_NONE;
}

void ask_abandon(struct brokerd *d, uint64_t id)
{
    mem_free(ask_take(d, id));
    feed_cancels(d, (struct cancels_event){.kind = CANCELS_ABANDON, .ask = id});
}

void answer_cancel(struct brokerd *d, uint64_t id, const struct cancel_result *result)
{
    struct ask *taken = ask_take(d, id);
    if (taken == NULL)
        return;
    struct ask ask = *taken;
    mem_free(taken);
    numbers_note_durability(&d->numbers, result);
    ask.answered(ask.owner, result);
}

void asks_fini(struct brokerd *d)
{
    struct ask *ask;
    for (size_t i = 0; (ask = map_next(&d->asks, &i)) != NULL;)
        mem_free(ask_take(d, ask->id));
}
