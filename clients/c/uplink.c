/* Is an agentd there?
 *
 * Happy path: the first run is registered -> the event stream is opened -> notices come. The stream
 * ends, or a call finds nobody: away; after a moment all runs are registered again, for whoever
 * comes back to an agentd may meet one that was restarted and knows nothing; then the stream is
 * opened and what waited is sent. While no run needs an agentd nobody knocks. */
#include <string.h>

#include "inside.h"

enum { RETRY_FIRST_MS = 50, RETRY_MAX_MS = 1000 };

void uplink_warn(struct bw_client *client, const char *why)
{
    if (client->has_warned)
        return;
    client->has_warned = true;
    say(client, BW_LOG_WARNING,
        "no agentd answers at %s (%s): runs go on, but nobody can cancel them until it is there",
        client->where, why);
}

static void retry_later(struct bw_client *client)
{
    unsigned char byte = 0;
    (void)uv_random(NULL, NULL, &byte, 1, 0, NULL);
    int64_t wait = client->retry_ms / 2 + client->retry_ms * byte / 512; /* half of it is luck */
    if (client->retry_ms < RETRY_MAX_MS)
        client->retry_ms =
            client->retry_ms * 2 < RETRY_MAX_MS ? client->retry_ms * 2 : RETRY_MAX_MS;
    uv_timer_start(&client->retry, on_retry, (uint64_t)wait, 0);
}

void uplink_lost(struct bw_client *client, const char *why)
{
    atomic_store(&client->is_linked, false);
    if (client->link == LINK_AWAY || client->is_closing)
        return;
    if (client->link == LINK_RETURNING) /* not the first try: it is really away */
        uplink_warn(client, why);
    courier_hang_up(client->courier);
    client->link = LINK_AWAY;
    LIST_EACH (at, then, &client->runs)
        LIST_OWNER(at, struct bw_run, in_runs)->is_registered = false;
    if (client->retry_ms == 0)
        client->retry_ms = RETRY_FIRST_MS;
    retry_later(client);
}

/* ---- the stream ---------------------------------------------------------------------------- */

static void on_open(void *owner)
{
    struct bw_client *client = owner;
    if (client->has_warned)
        say(client, BW_LOG_INFO, "an agentd is there at %s", client->where);
    client->has_warned = false;
    client->was_linked = true;
    client->retry_ms = RETRY_FIRST_MS;
    atomic_store(&client->is_linked, true);
}

static bool on_bytes(void *owner, struct str bytes)
{
    struct bw_client *client = owner;
    return sse_reader_take(&client->sse, bytes);
}

static void on_end(void *owner, long status, const char *why)
{
    (void)status;
    uplink_lost(owner, why);
}

static void go_up(struct bw_client *client)
{
    static const struct stream_events events = {
        .on_bytes = on_bytes, .on_open = on_open, .on_end = on_end};
    client->link = LINK_UP;
    sse_reader_fini(&client->sse);
    sse_reader_init(&client->sse, notice_came, client);
    if (courier_listen(client->courier, "/v1/events", &events, client) != ERR_OK)
        uplink_lost(client, "out of memory");
    ops_flush(client);
}

/* ---- coming back --------------------------------------------------------------------------- */

static bool needs_registration(const struct bw_run *run)
{
    return !run->is_registered && run->given_up == BW_OK;
}

void uplink_registered(struct bw_client *client)
{
    bool is_on_its_way = false, is_missing = false, is_there = false;
    LIST_EACH (at, then, &client->runs) {
        const struct bw_run *run = LIST_OWNER(at, struct bw_run, in_runs);
        is_on_its_way = is_on_its_way || run->registration != NULL;
        is_missing = is_missing || needs_registration(run);
        is_there = is_there || run->is_registered;
    }
    if (client->link == LINK_IDLE && is_there)
        go_up(client);
    else if (client->link == LINK_AWAY && is_there)
        uv_timer_start(&client->retry, on_retry, 0, 0); /* somebody is there after all */
    else if (client->link == LINK_RETURNING && !is_on_its_way && is_missing)
        uplink_lost(client, "it takes no runs now");
    else if (client->link == LINK_RETURNING && !is_on_its_way)
        go_up(client);
}

void on_retry(uv_timer_t *timer)
{
    struct bw_client *client = timer->data;
    if (client->must_reconnect) {
        client->must_reconnect = false;
        uplink_lost(client, "resync");
    }
    if (client->link != LINK_AWAY)
        return;
    client->link = LINK_RETURNING;
    bool is_needed = false;
    LIST_EACH (at, then, &client->runs) {
        struct bw_run *run = LIST_OWNER(at, struct bw_run, in_runs);
        is_needed = is_needed || needs_registration(run) || run->is_registered;
        if (needs_registration(run))
            run_register(run);
    }
    if (is_needed)
        uplink_registered(client);
    else
        client->link = LINK_IDLE; /* nobody needs it: the next start knocks again */
    ops_flush(client);
}
