/* Stop targets and links that are work in other programs: the question goes out, its outcome comes
 * back as an event. */
#include "agentd/inside.h"

#include <stdio.h>

#include "base/log.h"

static void on_answered(void *owner, const struct remote_name *name, enum remote_outcome outcome,
                        const char *why)
{
    struct agentd *d = owner;
    log_line(outcome == REMOTE_SENT ? LOG_DEBUG : LOG_INFO, "agent was asked to cancel",
             "run=%s%s%s outcome=%s%s%s%s", name->run, name->link[0] != '\0' ? " link=" : "",
             name->link, remote_outcome_name(outcome), why != NULL ? " because=\"" : "",
             why != NULL ? why : "", why != NULL ? "\"" : "");
    numbers_note_remote(&d->numbers, outcome);
    feed_soon(d, (struct agent_event){.kind = AGENT_REMOTE_ANSWERED,
                                      .run = str_of(name->run),
                                      .text = str_of(name->link),
                                      .token = name->token,
                                      .outcome = outcome});
}

void remotes_cancel(struct agentd *d, const struct agent_effect *effect)
{
    if (d->remote == NULL)
        return; /* what is being carried out has closed us */
    struct remote_name name = {.token = effect->token};
    snprintf(name.run, sizeof name.run, "%.*s", (int)effect->run.len, effect->run.at);
    snprintf(name.link, sizeof name.link, "%.*s", (int)effect->text.len,
             effect->text.len > 0 ? effect->text.at : "");
    enum err err = remote_cancel(d->remote, &effect->remote, &name);
    if (err != ERR_OK)
        on_answered(d, &name, REMOTE_UNREACHED, err_text(err));
}

enum err remotes_open(struct agentd *d)
{
    struct str bad;
    enum err err = host_list_new(d->settings->call_hosts, true, &d->call_hosts, &bad);
    return err == ERR_OK ? remote_open(d->loop, d->call_hosts, on_answered, d, &d->remote) : err;
}

void remotes_close(struct agentd *d)
{
    if (d->remote != NULL)
        remote_close(d->remote);
    d->remote = NULL;
}
