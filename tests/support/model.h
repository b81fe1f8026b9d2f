/* Redis, as far as Brakewire uses it, in plain C: the same protocol as lib/store/scripts, written a
 * second time from docs/PROTOCOL.md. tests/integration/test_scripts_random.c holds the two to each
 * other; tests/sim runs whole fleets against this one.
 *
 * No clock and no I/O: time stands still until model_set_time(). Aborts when memory runs out. */
#ifndef SUPPORT_MODEL_H
#define SUPPORT_MODEL_H

#include "base/mono.h"
#include "core/store_call.h"

enum { MODEL_TOMBSTONE_TTL_MS = 24 * 60 * 60 * 1000 };

struct model;

struct model *model_new(uint64_t seed); /* empty, at Unix time 1,000,000,000,000 ms */
void model_free(struct model *model);

/* One call, carried out at once. Every op of store_call.h. The answer and all it points to belong
 * to the model and are valid until the next call, save, restore, wipe or free. */
void model_call(struct model *model, const struct store_call *call, struct store_answer *answer);

/* Never backwards. What has run out by then is gone. */
void model_set_time(struct model *model, struct wall now);
struct wall model_time(const struct model *model);
void model_set_tombstone_ttl(struct model *model, struct span ttl);

/* What was published since the messages were last forgotten, in order: by the scripts and by
 * STORE_PUBLISH. The caller delivers them to whoever it thinks is subscribed. */
struct model_message {
    struct str root; /* "": on bw:orders */
    bool watch;      /* on bw:{root}:watch, else on bw:{root} */
    struct str bytes;
};
const struct model_message *model_messages(const struct model *model, size_t *count); /* lends */
void model_forget_messages(struct model *model);
/* What STORE_PUBLISH answers: asked with the root at each call; NULL (the default): 0. */
void model_set_receivers(struct model *model, int64_t (*receivers)(void *owner, struct str root),
                         void *owner);

/* From now on every op that writes is answered SAID_UNWRITABLE with this text (copied) and does
 * nothing; NULL: writable again. PUBLISH and what only reads go on working. */
void model_set_unwritable(struct model *model, const char *text);

/* Lost writes: save, let the world go on, restore: a failover to a replica that lagged behind. The
 * clock is not turned back. Messages already published stay published. */
struct model_snapshot;
struct model_snapshot *model_save(const struct model *model);
void model_restore(struct model *model,
                   const struct model_snapshot *snapshot); /* may be repeated */
void model_snapshot_free(struct model_snapshot *snapshot);
/* Back empty, as after a restart without persistence: the generation is gone, too. */
void model_wipe(struct model *model);

/* The fields of the hash bw:{root}, in no fixed order, exactly as a server would hold them. */
typedef void model_field(void *owner, struct str field, struct str value);
void model_fields(const struct model *model, struct str root, model_field *field, void *owner);

/* The remaining life of bw:{root}: SPAN_NONE when it has no TTL; -2 ms when there is no such key
 * (as PTTL answers). */
struct span model_ttl(const struct model *model, struct str root);

#endif
