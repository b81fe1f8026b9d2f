/* Links that lead into other programs: the question goes out, its outcome comes back as an event.
 */
#include "broker/inside.h"

#include <stdio.h>

#include "base/log.h"

static void on_answered(void *owner, const struct remote_name *name, enum remote_outcome outcome,
                        const char *why)
{
    struct brokerd *d = owner;
    log_line(outcome == REMOTE_SENT ? LOG_DEBUG : LOG_INFO, "agent was asked to cancel",
             "run=%s outcome=%s%s%s%s", name->run, remote_outcome_name(outcome),
             why != NULL ? " because=\"" : "", why != NULL ? why : "", why != NULL ? "\"" : "");
    feed_core(d, (struct broker_event){
                     .kind = BROKER_REMOTE_ANSWERED, .ask = name->token, .outcome = outcome});
}

enum err remotes_open(struct brokerd *d)
{
    struct str bad;
    enum err err = host_list_new(d->settings->call_hosts, false, &d->call_hosts, &bad);
    return err == ERR_OK ? remote_open(d->loop, d->call_hosts, on_answered, d, &d->remote) : err;
}

void remotes_close(struct brokerd *d)
{
    if (d->remote != NULL)
        remote_close(d->remote);
    d->remote = NULL;
}

void remotes_cancel(struct brokerd *d, const struct broker_effect *effect)
{
    if (d->remote == NULL)
        return; /* what is being carried out has closed us */
    struct remote_name name = {.token = effect->ask};
    snprintf(name.run, sizeof name.run, "%.*s", (int)effect->run.len, effect->run.at);
    if (remote_cancel(d->remote, &effect->remote, &name) != ERR_OK)
        log_error("link not followed", "run=%s because=\"out of memory\"", name.run);
}
