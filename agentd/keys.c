/* Idempotency-Key: a client that repeats a start whose answer got lost means the same run. */
#include "agentd/inside.h"

#include <stdio.h>

#include "base/mem.h"

enum { KEYS_MAX = 10000 };
static const struct span key_life = {INT64_C(15) * 60 * 1000};

struct key {
    struct link by_age;
    struct instant due;
    char run[RUN_ID_MAX + 1];
    size_t len;
    char name[]; /* client, blank, key */
};

static void key_forget(struct agentd *d, struct key *key)
{
    link_remove(&key->by_age);
    map_take(&d->keys, (struct str){key->name, key->len});
    mem_free(key);
}

static void forget_old(struct agentd *d)
{
    struct instant now = agentd_now(d);
    LIST_EACH (at, then, &d->keys_by_age) {
        struct key *key = LIST_OWNER(at, struct key, by_age);
        if (!instant_reached(now, key->due) && d->keys.count < KEYS_MAX)
            return;
        key_forget(d, key);
    }
}

struct str key_run(struct agentd *d, struct str client, struct str name, struct str fresh)
{
    forget_old(d);
    size_t len = client.len + 1 + name.len;
    struct key *key = mem_new(sizeof *key + len);
    if (key == NULL)
        return fresh;
    memcpy(key->name, client.at, client.len);
    key->name[client.len] = ' ';
    memcpy(key->name + client.len + 1, name.at, name.len);
    key->len = len;
    struct key *known = map_find(&d->keys, (struct str){key->name, len});
    if (known != NULL || !map_add(&d->keys, (struct str){key->name, len}, key)) {
        mem_free(key);
        return known != NULL ? str_of(known->run) : fresh;
    }
    snprintf(key->run, sizeof key->run, "%.*s", (int)fresh.len, fresh.at);
    key->due = instant_after(agentd_now(d), key_life);
    list_add_last(&d->keys_by_age, &key->by_age);
    return str_of(key->run);
}

void keys_fini(struct agentd *d)
{
    LIST_EACH (at, then, &d->keys_by_age)
        key_forget(d, LIST_OWNER(at, struct key, by_age));
    map_fini(&d->keys);
}
