#include "broker/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "core/id.h"
#include "io/host_list.h"

#define OPTION(name, type) #name, type, offsetof(struct settings, name)

static const struct conf_option options[] = {
    {OPTION(listen, CONF_TEXT), "127.0.0.1:7319", .unit = "ADDRESS:PORT",
     .help = "loopback address of the API; port 0 takes a free one; empty: none"},
    {OPTION(socket, CONF_TEXT), NULL, .unit = "PATH", .help = "Unix socket of the API"},
    {OPTION(socket_mode, CONF_TEXT), "0660", .unit = "OCTAL", .help = "permissions of that socket"},
    {OPTION(user, CONF_TEXT), NULL, .unit = "NAME",
     .help = "started as root, become this user (a name or a number) once the socket is bound"},
    {OPTION(group, CONF_TEXT), NULL, .unit = "NAME",
     .help = "and this group, whose members may use the socket; the user's own by default"},
    {OPTION(redis_url, CONF_TEXT), "redis://127.0.0.1:6379", .unit = "URL", .letter = 'r',
     .help = "Redis or Valkey: redis://host:port/db, unix://PATH, a path, sentinel://…, "
             "redis+cluster://…; rediss:// with TLS"},
    {OPTION(redis_user, CONF_TEXT), NULL, .unit = "NAME", .help = "ACL user of Redis"},
    {"redis_password_file", CONF_SECRET_FILE, offsetof(struct settings, redis_password), NULL,
     .unit = "PATH", .help = "file that holds the password of Redis"},
    {"redis_sentinel_password_file", CONF_SECRET_FILE,
     offsetof(struct settings, redis_sentinel_password), NULL, .unit = "PATH",
     .help = "sentinel://: file that holds the password of the sentinels"},
    {OPTION(redis_ca_file, CONF_TEXT), NULL, .unit = "PATH",
     .help = "TLS: certificates (PEM) that Redis's is signed by; else those the system trusts"},
    {OPTION(redis_cert_file, CONF_TEXT), NULL, .unit = "PATH",
     .help = "TLS: our certificate (PEM), for a Redis that asks for one"},
    {OPTION(redis_key_file, CONF_TEXT), NULL, .unit = "PATH",
     .help = "TLS: its private key (PEM), closed to everybody else"},
    {OPTION(redis_tls_name, CONF_TEXT), NULL, .unit = "NAME",
     .help = "TLS: the name in Redis's certificate, where it is not the host's"},
    {OPTION(namespace, CONF_TEXT), "bw", .unit = "NAME",
     .help = "prefix of every key and channel; the same for all daemons of one fleet"},
    {OPTION(id_prefix, CONF_TEXT), "b", .unit = "NAME",
     .help = "the broker's id, minted at each start, begins with this"},
    {OPTION(lease, CONF_SPAN), "15s", 300, 600000,
     .help =
         "of the agentds. Runs of one are suspect when this broker has seen it without a lease for "
         "so long, lost after twice that"},
    {OPTION(lost_grace, CONF_SPAN), "5s", 0, 600000,
     .help = "on_lost = continue: suspect for so much longer, then lost"},
    {OPTION(sweep, CONF_SPAN), "1s", 20, 60000, .help = "how often the fleet is looked at"},
    {OPTION(retransmit, CONF_SPAN), "5s", 50, 600000,
     .help = "how often a cancel that has not stopped everything is published again"},
    {OPTION(call_hosts, CONF_TEXT), NULL, .unit = "LIST",
     .help =
         "hosts that links of the kinds http, langgraph and a2a may lead this broker to: names, "
         "*.suffix, addresses, address/bits; any but this host and link-local ones by default"},
    {OPTION(tombstone_ttl, CONF_SPAN), "24h", 60000, 2592000000,
     .help = "how long ended trees and cancelled ids are remembered"},
    {OPTION(sse_heartbeat, CONF_SPAN), "15s", 1000, 600000,
     .help = "a comment on every event stream"},
    {OPTION(audit_max, CONF_INT), "100000", 100, 100000000, .help = "audit entries kept, about"},
    {OPTION(max_waits, CONF_INT), "4096", 1, 100000,
     .help = "cancels open at once; one more is refused as overloaded"},
    {OPTION(durability, CONF_CHOICE), "memory", .choices = "memory|replicated|fsynced",
     .help = "what the answer to a cancel waits for: Redis as it is configured, its replicas, or "
             "disks; at an agentd an adoption and a last checkpoint, too"},
    {OPTION(durable_replicas, CONF_INT), "1", 0, 100,
     .help = "replicas of Redis that must have it (replicated) or have it on disk (fsynced; 0: its "
             "own disk is enough)"},
    {OPTION(durable_timeout, CONF_SPAN), "1s", 1, 30000,
     .help = "how long an answer waits for that; then it names what was reached"},
    {OPTION(langgraph_already_cancelled, CONF_CHOICE), "accepted", .choices = "accepted|not_found",
     .help = "LangGraph routes: a run whose cancel is over is cancelled once more: as the first "
             "time, or 404"},
    {OPTION(langgraph_wait, CONF_SPAN), "30s", 100, 60000,
     .help = "LangGraph routes: how long wait=1 waits until all has stopped; then 202"},
    {OPTION(a2a_url, CONF_TEXT), NULL, .unit = "URL",
     .help = "where clients of A2A reach this broker, for its agent card: https://agents.example; "
             "else http:// and the Host that they asked"},
    {OPTION(a2a_wait, CONF_SPAN), "2s", 0, 60000,
     .help = "how long a cancel over A2A waits for everything to stop; then the task is still "
             "working, and its metadata says what is pending"},
    {OPTION(eviction_override, CONF_BOOL), "false",
     .help = "start although Redis may evict our keys (maxmemory-policy allkeys-*)"},
    {OPTION(log_level, CONF_CHOICE), "info", .choices = "error|warn|info|debug",
     .help = "least important line that is shown"},
    {OPTION(log_format, CONF_CHOICE), "text", .choices = "text|json", .help = "of the log"},
};

static const char examples[] =
    "  brakewire-broker --redis-url=redis://redis:6379\n"
    "  brakewire-broker --listen=127.0.0.1:0 --socket=/tmp/broker.sock --log-level=debug\n"
    "  brakewire-broker --config=/etc/brakewire/broker.conf --check-config\n";

/* Without tokens everybody who reaches the API may cancel: this host alone. */
static bool is_loopback(const char *listen)
{
    char host[64];
    const char *colon = strrchr(listen, ':');
    if (colon == NULL || (size_t)(colon - listen) >= sizeof host)
        return false;
    memcpy(host, listen, (size_t)(colon - listen));
    host[colon - listen] = '\0';
    if (strcmp(host, "[::1]") == 0)
        return true;
    struct sockaddr_in address;
    return uv_ip4_addr(host, 0, &address) == 0
           && (ntohl(address.sin_addr.s_addr) >> 24) == IN_LOOPBACKNET;
}

static bool is_octal(const char *mode)
{
    size_t len = strlen(mode);
    return len >= 3 && len <= 4 && strspn(mode, "01234567") == len
           && strtoul(mode, NULL, 8) <= 0777;
}

static bool is_for_everybody(const char *mode)
{
    return (strtoul(mode, NULL, 8) & 02) != 0;
}

static bool is_http(const char *url)
{
    const char *host = strstr(url, "://");
    size_t len = strlen(url);
    bool has_scheme = strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
    return has_scheme && host[3] != '\0' && len <= 1024 && strpbrk(url, " \t\r\n\"") == NULL;
}

static bool is_namespace(const char *text)
{
    size_t len = strlen(text);
    return len >= 1 && len <= 16 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static bool is_said(const char *text)
{
    return text != NULL && text[0] != '\0';
}

struct redis_target settings_redis(const struct settings *settings)
{
    return (struct redis_target){
        .url = settings->redis_url,
        .user = settings->redis_user,
        .password = settings->redis_password,
        .sentinel_password = settings->redis_sentinel_password,
        .tls = {.ca_file = settings->redis_ca_file,
                .cert_file = settings->redis_cert_file,
                .key_file = settings->redis_key_file,
                .name = settings->redis_tls_name},
    };
}

/* What the url or a file of TLS lacks is said at the start, and by --check-config. */
static const char *fault_of_redis(const struct settings *settings)
{
    static char text[512];
    struct redis_target target = settings_redis(settings);
    struct buf why = {0};
    bool fine = redis_target_check(&target, &why) == ERR_OK;
    snprintf(text, sizeof text, "%s", why.len > 0 ? why.bytes : "redis_url: out of memory");
    buf_fini(&why);
    return fine ? NULL : text;
}

static bool are_sound(const void *values, const char **why)
{
    enum { PREFIX_MAX = 32 };
    const struct settings *settings = values;
    *why = NULL;
    if (is_said(settings->listen) && !is_loopback(settings->listen))
        *why = "listen: only a loopback address with its port, such as 127.0.0.1:7319 or "
               "[::1]:7319; there are no tokens yet";
    else if (!is_said(settings->listen) && !is_said(settings->socket))
        *why = "listen, socket: one of them is needed";
    else if (!is_octal(settings->socket_mode))
        *why = "socket_mode: three or four octal digits, such as 0660";
    else if (is_for_everybody(settings->socket_mode))
        *why = "socket_mode: not for everybody on this machine; give the agents a group with the "
               "daemon, and 0660";
    else if (!is_namespace(settings->namespace))
        *why = "namespace: 1 to 16 of a-z 0-9 -";
    else if (!id_is_valid(str_of(settings->id_prefix)) || strlen(settings->id_prefix) > PREFIX_MAX)
        *why = "id_prefix: 1 to 32 of A-Z a-z 0-9 _ -";
    else if (is_said(settings->a2a_url) && !is_http(settings->a2a_url))
        *why = "a2a_url: http:// or https://, a host, and no blanks";
    else if ((*why = host_list_fault(settings->call_hosts)) == NULL)
        *why = fault_of_redis(settings);
    return *why == NULL;
}

const struct conf_program *settings_program(void)
{
    static const struct conf_program program = {
        .name = "brakewire-broker",
        .about = "The control plane: cancels runs, shows trees, and looks after what is gone.",
        .usage = "brakewire-broker [OPTIONS]",
        .examples = examples,
        .option = options,
        .option_count = sizeof options / sizeof options[0],
        .env_ignored = conf_env_of_runs,
        .is_sound = are_sound,
        .takes_file = true,
    };
    return &program;
}

unsigned settings_socket_mode(const struct settings *settings)
{
    return (unsigned)strtoul(settings->socket_mode, NULL, 8);
}
