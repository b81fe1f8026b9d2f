#include "core/cancels_inside.h"

/* Whoever asks for more than Redis' own memory waits until replicas, or disks, have the record. It
 * is recorded and published before, so nobody is told later for that. */

static bool sync_send(struct cancels *c, struct job *job, const struct target *target)
{
    struct store_call call = {
        .op = STORE_SYNC,
        .root = text_str(c, id_str(&target->root)),
        .run = text_str(c, id_str(&target->run)),
        .durability = job->ask.durability,
    };
    return call_send(c, (struct call){.purpose = FOR_SYNC, .job = job}, &call);
}

/* False: there is nothing to wait for. */
bool durable_begin(struct cancels *c, struct job *job)
{
    if (job->ask.durability == DURABLE_MEMORY || job->ask.ask == 0)
        return false;
    struct target self = {.root = job->root};
    job->durability = job->ask.durability;
    if (job->ask.include_self && id_parse(job->ask.run, &self.run))
        return sync_send(c, job, &self) || job->over;
    for (size_t i = 0; i < job->child_count && !job->over; i++)
        (void)sync_send(c, job, &job->child[i]);
    return job->calls > 0 || job->over;
}

void durable_answered(struct cancels *c, struct job *job, const struct store_answer *answer)
{
    if (answer->verdict != SAID_OK) {
        job->durability = DURABLE_MEMORY;
        if (job->not_durable == NULL)
            job->not_durable =
                mem_copy(answer->text.len > 0 ? answer->text : STR("Redis did not confirm it"));
    }
    if (job->calls == 0)
        job_settled(c, job);
}
