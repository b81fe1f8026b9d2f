/* What brakewire-agentd can be told at its start. */
#ifndef AGENTD_OPTIONS_H
#define AGENTD_OPTIONS_H

#include "base/mono.h"
#include "io/conf.h"
#include "io/redis_link.h"

enum redis_down { REDIS_DOWN_ALLOW, REDIS_DOWN_REFUSE };
enum isolated { ISOLATED_CONTINUE, ISOLATED_CANCEL };
enum baggage_use { BAGGAGE_TRUST, BAGGAGE_SIGNED, BAGGAGE_IGNORE };

struct settings { /* texts are owned by it; NULL where nothing was said */
    char *socket, *socket_mode, *listen;
    char *user, *group;
    bool agents_of_other_users;
    char *redis_url, *redis_user, *redis_password, *namespace;
    char *redis_sentinel_password;
    char *redis_ca_file, *redis_cert_file, *redis_key_file, *redis_tls_name;
    int mode;
    char *replica_prefix;
    struct span lease, reconcile, lost_grace, grace_notify, grace_term, grace_http;
    struct span kill_patience;
    char *call_hosts;
    struct span tombstone_ttl, drain, sse_heartbeat;
    int64_t max_runs, max_clients;
    int when_redis_is_down, when_isolated, baggage;
    char *baggage_keys;
    char *cgroup;
    int durability;
    int64_t durable_replicas;
    struct span durable_timeout;
    bool eviction_override;
    int log_level, log_format;
};

const struct conf_program *settings_program(void);
/* Where Redis is and how to get in; lends the texts of `settings`. */
struct redis_target settings_redis(const struct settings *settings);
/* Its folder is the default's, which is made for it: any other may be a slip of the hand. */
bool settings_socket_folder_is_ours(const struct settings *settings);
/* 0660 -> its bits. */
unsigned settings_socket_mode(const struct settings *settings);

#endif
