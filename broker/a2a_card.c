/* The agent card: one for both versions, which look at different members of it. */
#include "base/buf.h"
#include "broker/a2a.h"

#ifndef BRAKEWIRE_VERSION
#define BRAKEWIRE_VERSION "unknown"
#endif

static const char about[] =
    "Cancels agents: a task here is a run that Brakewire carries, in whatever service. Canceling "
    "it stops everything below it, and CANCELED says that everything has really stopped.";

/* The same address serves them all. */
static json_t *interfaces(const char *url)
{
    return json_pack("[{s:s, s:s, s:s}, {s:s, s:s, s:s}, {s:s, s:s, s:s}, {s:s, s:s, s:s}]", //
                     "url", url, "protocolBinding", "JSONRPC", "protocolVersion", "1.0",     //
                     "url", url, "protocolBinding", "HTTP+JSON", "protocolVersion", "1.0",   //
                     "url", url, "protocolBinding", "JSONRPC", "protocolVersion", "0.3",     //
                     "url", url, "protocolBinding", "HTTP+JSON", "protocolVersion", "0.3");
}

static json_t *capabilities(void)
{
    return json_pack("{s:b, s:b, s:b, s:[{s:s, s:s, s:b, s:{s:[s,s], s:s}}]}", "streaming", 1,
                     "pushNotifications", 0, "stateTransitionHistory", 0, "extensions",         //
                     "uri", A2A_EXTENSION, "description",                                       //
                     "A task belongs to a tree of runs across agents; its cancel stops all of " //
                     "it below the task.",
                     "required", 0, "params", //
                     "carriers", "baggage", "metadata", "cancel", "tree");
}

static json_t *skills(void)
{
    return json_pack("[{s:s, s:s, s:s, s:[s,s]}]", "id", "cancel", "name", "Cancel a tree of runs",
                     "description", "Stops a task and everything below it, on every replica.",
                     "tags", "cancel", "control");
}

json_t *a2a_card(struct str base)
{
    struct buf url = {0};
    json_t *card = json_object();
    buf_add_str(&url, base);
    buf_add_text(&url, "/a2a");
    buf_add(&url, "", 1);
    const char *text = url.failed ? "" : url.bytes;
    api_set(card, "name", json_string("Brakewire"));
    api_set(card, "description", json_string(about));
    api_set(card, "version", json_string(BRAKEWIRE_VERSION));
    api_set(card, "supportedInterfaces", interfaces(text));
    api_set(card, "capabilities", capabilities());
    api_set(card, "defaultInputModes", json_pack("[s]", "text/plain"));
    api_set(card, "defaultOutputModes", json_pack("[s]", "text/plain"));
    api_set(card, "skills", skills());
    /* what 0.3 looks at */
    api_set(card, "protocolVersion", json_string("0.3.0"));
    api_set(card, "url", json_string(text));
    api_set(card, "preferredTransport", json_string("JSONRPC"));
    api_set(card, "additionalInterfaces",
            json_pack("[{s:s, s:s}, {s:s, s:s}]", "url", text, "transport", "JSONRPC", "url", text,
                      "transport", "HTTP+JSON"));
    buf_fini(&url);
    return card;
}
