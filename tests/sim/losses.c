/* Who has renewed its lease, and who may be declared lost. A broker concludes that from what it
 * reads every few seconds; here is what really happened, from when each lease was last renewed and
 * since when each broker has been able to see it. */
#include <string.h>

#include "sim/sim.h"

enum {
    LEASE_MS = 15000,
    LOOKED_MS = 500, /* from the last look at a lease until all its runs are declared lost, */
    CALM_MS = 5000,  /* ... unless Redis was slow, or the broker frozen for a while */
    LOOKED_SLOWLY_MS = 15000,
    UNSEEN_MS = 3000, /* a freeze that a broker cannot overlook */
    GONE_MS = 55000,  /* a lease, two more of silence, and every broker has seen it */
    LOSSES_AT_LEAST = 3,
    FIFTH = 5
};

/* ---- leases --------------------------------------------------------------------------------- */
static struct sim_replica *replica_named(struct sim *sim, struct str name)
{
    for (size_t i = 0; i < sim->replica_count; i++)
        if (str_is(name, sim->replica[i].name))
            return &sim->replica[i];
    return NULL;
}

static void renewed(struct sim *sim, struct str name)
{
    struct sim_replica *replica = replica_named(sim, name);
    if (replica == NULL) {
        if (sim->replica_count == SIM_REPLICAS_MAX)
            violated(sim, "more replicas than the simulator has room for");
        replica = &sim->replica[sim->replica_count++];
        copy_text(replica->name, sizeof replica->name, name);
        replica->renewed_at = replica->back_at = sim->now;
    }
    if (sim->now - replica->renewed_at >= 2 * LEASE_MS)
        replica->back_at = sim->now;
    replica->renewed_at = sim->now;
}

void lease_heard(struct sim *sim, struct node *node, const struct store_call *call,
                 enum store_verdict said)
{
    bool renews = call->op == STORE_LEASE || call->op == STORE_LEASE_RENEW;
    if (renews && said == SAID_OK)
        renewed(sim, call->replica);
    if (call->op == STORE_LOCK && str_is(call->id, "sweep") && said == SAID_UNWRITABLE)
        node->watches_since = sim->now;
}

void watch_begins(struct sim *sim, struct node *node)
{
    node->watches_since = sim->now;
}

void watch_goes_on(struct sim *sim, struct node *node)
{
    if (sim->now - node->frozen_at >= UNSEEN_MS)
        node->watches_since = sim->now;
}

/* ---- losses --------------------------------------------------------------------------------- */
static bool was_silent(const struct sim *sim, const struct node *broker,
                       const struct sim_replica *replica)
{
    const int64_t calm = sim->slow_until > broker->thawed_at ? sim->slow_until : broker->thawed_at;
    const int64_t silent = sim->now - replica->renewed_at;
    const int64_t looked = sim->now - calm < CALM_MS ? LOOKED_SLOWLY_MS : LOOKED_MS;
    return silent >= 2 * LEASE_MS || sim->now - replica->back_at <= looked;
}

/* Of so many at once it is said that Redis or the network is in trouble, until an operator has
 * looked. What a Redis that lost writes knows of them nobody can say. */
static bool are_too_many(const struct sim *sim)
{
    size_t gone = 0;
    for (size_t i = 0; i < sim->replica_count; i++)
        gone += sim->now - sim->replica[i].renewed_at >= GONE_MS ? 1 : 0;
    return sim->losses == 0 && gone >= LOSSES_AT_LEAST && gone * FIFTH > sim->replica_count;
}

/* G11: nobody is declared lost by a broker that has not looked for two whole leases, nor one that
 * has renewed its own within them, nor anybody while a fifth of the fleet is gone. */
void check_declared(struct sim *sim, const struct node *broker, const struct store_call *call)
{
    const int64_t watched = sim->now - broker->watches_since;
    const struct sim_replica *replica = replica_named(sim, call->replica);
    if (call->only_suspect)
        return;
    if (watched < 2 * LEASE_MS)
        violated(sim, "G11: %s declares %.*s lost, and has watched for %lld ms", broker->name,
                 S(call->run), (long long)watched);
    if (replica == NULL)
        return; /* it never had a lease */
    if (!was_silent(sim, broker, replica))
        violated(sim, "G11: %.*s is declared lost, and %s renewed its lease %lld ms ago",
                 S(call->run), replica->name, (long long)(sim->now - replica->renewed_at));
    bool is_confirmed = sim->confirmed_at - replica->renewed_at >= 2 * LEASE_MS;
    if (!is_confirmed && are_too_many(sim))
        violated(sim, "G11: %.*s is declared lost, and so are too many", S(call->run));
}
