#include "agentd/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "api/baggage_keys.h"
#include "core/id.h"
#include "io/host_list.h"

#define OPTION(name, type) #name, type, offsetof(struct settings, name)

static struct conf_option options[] = {
    {"socket", CONF_TEXT, offsetof(struct settings, socket), NULL, .unit = "PATH",
     .help = "Unix socket of the local API"},
    {OPTION(socket_mode, CONF_TEXT), "0660", .unit = "OCTAL", .help = "permissions of that socket"},
    {OPTION(listen, CONF_TEXT), NULL, .unit = "ADDRESS:PORT",
     .help = "serve on this loopback TCP address too"},
    {OPTION(user, CONF_TEXT), NULL, .unit = "NAME",
     .help = "started as root, become this user (a name or a number) once the socket is bound"},
    {OPTION(group, CONF_TEXT), NULL, .unit = "NAME",
     .help = "and this group, whose members may use the socket; the user's own by default"},
    {OPTION(agents_of_other_users, CONF_BOOL), "false",
     .help = "keep CAP_KILL and CAP_SYS_PTRACE, so that processes of other users can be stopped"},
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
    {OPTION(mode, CONF_CHOICE), "enforce", .choices = "observe|notify|enforce",
     .help = "observe: record what would be stopped; notify: all but killing"},
    {OPTION(replica_prefix, CONF_TEXT), "a", .unit = "NAME",
     .help = "the replica id, minted at each start, begins with this"},
    {OPTION(lease, CONF_SPAN), "15s", 500, 600000,
     .help = "sign of life in Redis, renewed three times as often"},
    {OPTION(reconcile, CONF_SPAN), "30s", 100, 3600000,
     .help = "how often all runs are compared with Redis"},
    {OPTION(lost_grace, CONF_SPAN), "5s", 0, 600000,
     .help = "how long a client may be away before on_client_gone"},
    {OPTION(grace_notify, CONF_SPAN), "10s", 0, 86400000,
     .help = "from the notice to the next stop target"},
    {OPTION(grace_term, CONF_SPAN), "5s", 0, 86400000, .help = "from SIGTERM to SIGKILL"},
    {OPTION(grace_http, CONF_SPAN), "5s", 0, 86400000,
     .help = "from the call to an agent's own cancel to the next stop target"},
    {OPTION(call_hosts, CONF_TEXT), NULL, .unit = "LIST",
     .help = "hosts that stop targets and links of the kinds http, langgraph and a2a may name: "
             "names, *.suffix, addresses, address/bits; any but link-local ones by default"},
    {OPTION(kill_patience, CONF_SPAN), "5s", 100, 600000,
     .help = "after SIGKILL, before a run is unresponsive"},
    {OPTION(tombstone_ttl, CONF_SPAN), "24h", 60000, 2592000000,
     .help = "how long ended trees and cancelled ids are remembered"},
    {OPTION(drain, CONF_SPAN), "25s", 0, 3600000,
     .help = "after SIGTERM, how long running clients are served"},
    {OPTION(sse_heartbeat, CONF_SPAN), "15s", 1000, 600000,
     .help = "a comment on every event stream"},
    {OPTION(max_runs, CONF_INT), "10000", 1, 1000000, .help = "live runs here"},
    {OPTION(max_clients, CONF_INT), "4096", 1, 100000, .help = "client processes here"},
    {OPTION(when_redis_is_down, CONF_CHOICE), "allow", .choices = "allow|refuse",
     .help = "new runs while Redis is away: start them unprotected, or answer 503"},
    {OPTION(when_isolated, CONF_CHOICE), "continue", .choices = "continue|cancel",
     .help = "runs that say nothing of it, once Redis is out of reach for longer than the lease"},
    {OPTION(baggage, CONF_CHOICE), "trust", .choices = "trust|signed|ignore",
     .help = "the brakewire member of incoming baggage; signed: what no key of ours has signed is "
             "stripped, and the run begins a tree of its own"},
    {"baggage_key_file", CONF_SECRET_FILE, offsetof(struct settings, baggage_keys), NULL,
     .unit = "PATH",
     .help = "file of lines \"<key id> <secret>\": the first signs the baggage for children, each "
             "verifies"},
    {OPTION(cgroup, CONF_TEXT), "off", .unit = "PATH",
     .help = "a delegated cgroup v2 directory: each run with a process gets one below it"},
    {OPTION(durability, CONF_CHOICE), "memory", .choices = "memory|replicated|fsynced",
     .help = "what the answer to a cancel waits for: Redis as it is configured, its replicas, or "
             "disks; at an agentd an adoption and a last checkpoint, too"},
    {OPTION(durable_replicas, CONF_INT), "1", 0, 100,
     .help = "replicas of Redis that must have it (replicated) or have it on disk (fsynced; 0: its "
             "own disk is enough)"},
    {OPTION(durable_timeout, CONF_SPAN), "1s", 1, 30000,
     .help = "how long an answer waits for that; then it names what was reached"},
    {OPTION(eviction_override, CONF_BOOL), "false",
     .help = "start although Redis may evict our keys (maxmemory-policy allkeys-*)"},
    {OPTION(log_level, CONF_CHOICE), "info", .choices = "error|warn|info|debug",
     .help = "least important line that is shown"},
    {OPTION(log_format, CONF_CHOICE), "text", .choices = "text|json", .help = "of the log"},
};

static const char examples[] =
    "  brakewire-agentd --redis-url=redis://redis:6379\n"
    "  brakewire-agentd --socket=/tmp/agentd.sock --mode=observe --log-level=debug\n"
    "  BRAKEWIRE_REDIS_URL=unix:///run/redis.sock brakewire-agentd --listen=127.0.0.1:7320\n"
    "  brakewire-agentd --config=/etc/brakewire/agentd.conf --check-config\n";

static const char *default_socket(void)
{
    static char path[108]; /* as sockaddr_un has it */
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (geteuid() == 0 || runtime == NULL || runtime[0] == '\0')
        return "/run/brakewire/agentd.sock";
    int len = snprintf(path, sizeof path, "%s/brakewire/agentd.sock", runtime);
    return len > 0 && (size_t)len < sizeof path ? path : "/run/brakewire/agentd.sock";
}

static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? (size_t)(slash - path) : 0;
}

bool settings_socket_folder_is_ours(const struct settings *settings)
{
    const char *ours = default_socket();
    size_t len = folder_length(ours);
    return len == folder_length(settings->socket) && memcmp(ours, settings->socket, len) == 0;
}

/* The API trusts who can reach it: over TCP that is everybody on this host, never the network. */
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

static bool is_namespace(const char *text)
{
    size_t len = strlen(text);
    return len >= 1 && len <= 16 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

/* A connection that is cut again and again must be tried often enough to renew the lease: who waits
 * for two seconds between tries, with a lease that is shorter, is declared lost. */
static struct span longest_backoff(struct span lease)
{
    enum { LONGEST_MS = 2000, TRIES_A_LEASE = 8 };
    int64_t ms = lease.ms / TRIES_A_LEASE;
    return MILLIS(ms < LONGEST_MS ? ms : LONGEST_MS);
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
        .backoff_max = longest_backoff(settings->lease),
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

/* Its lines are read once more when the agentd opens. */
static const char *fault_of_baggage(const struct settings *settings)
{
    static char text[128];
    struct baggage_keys keys;
    const char *why;
    if (settings->baggage_keys == NULL)
        return settings->baggage == BAGGAGE_SIGNED ? "baggage: signed needs a baggage_key_file"
                                                   : NULL;
    if (baggage_keys_read(str_of(settings->baggage_keys), &keys, &why) == ERR_OK)
        return NULL;
    snprintf(text, sizeof text, "baggage_key_file: %s", why);
    return text;
}

/* Bounds that one option alone cannot express. */
static bool are_sound(const void *values, const char **why)
{
    enum { PREFIX_MAX = 32 };
    const struct settings *settings = values;
    *why = NULL;
    if (!is_octal(settings->socket_mode))
        *why = "socket_mode: three or four octal digits, such as 0660";
    else if (is_for_everybody(settings->socket_mode))
        *why = "socket_mode: not for everybody on this machine; give the agents a group with the "
               "daemon, and 0660";
    else if (settings->listen != NULL && settings->listen[0] != '\0'
             && !is_loopback(settings->listen))
        *why = "listen: only a loopback address with its port, such as 127.0.0.1:7320 or "
               "[::1]:7320; the local API is not for the network";
    else if (!is_namespace(settings->namespace))
        *why = "namespace: 1 to 16 of a-z 0-9 -";
    else if (!id_is_valid(str_of(settings->replica_prefix))
             || strlen(settings->replica_prefix) > PREFIX_MAX)
        *why = "replica_prefix: 1 to 32 of A-Z a-z 0-9 _ -";
    else if ((*why = fault_of_baggage(settings)) == NULL
             && (*why = host_list_fault(settings->call_hosts)) == NULL)
        *why = fault_of_redis(settings);
    return *why == NULL;
}

const struct conf_program *settings_program(void)
{
    static const struct conf_program program = {
        .name = "brakewire-agentd",
        .about =
            "The sidecar: stops the runs of the agents beside it when their tree is cancelled.",
        .usage = "brakewire-agentd [OPTIONS]",
        .examples = examples,
        .option = options,
        .option_count = sizeof options / sizeof options[0],
        .env_ignored = conf_env_of_runs,
        .is_sound = are_sound,
        .takes_file = true,
    };
    options[0].fallback = default_socket();
    return &program;
}

unsigned settings_socket_mode(const struct settings *settings)
{
    return (unsigned)strtoul(settings->socket_mode, NULL, 8);
}
