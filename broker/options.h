/* What brakewire-broker can be told at its start. */
#ifndef BROKER_OPTIONS_H
#define BROKER_OPTIONS_H

#include "base/mono.h"
#include "io/conf.h"
#include "io/redis_link.h"

struct settings { /* texts are owned by it; NULL where nothing was said */
    char *listen, *socket, *socket_mode;
    char *user, *group;
    char *redis_url, *redis_user, *redis_password, *namespace;
    char *redis_sentinel_password;
    char *redis_ca_file, *redis_cert_file, *redis_key_file, *redis_tls_name;
    char *id_prefix, *call_hosts;
    struct span lease, lost_grace, sweep, retransmit;
    struct span tombstone_ttl, sse_heartbeat;
    int64_t audit_max, max_waits;
    char *a2a_url;
    struct span a2a_wait;
    int durability;
    int64_t durable_replicas;
    struct span durable_timeout;
    bool eviction_override;
    int langgraph_already_cancelled; /* 0 accepted, 1 not_found */
    struct span langgraph_wait;
    int log_level, log_format;
};

const struct conf_program *settings_program(void);
/* Where Redis is and how to get in; lends the texts of `settings`. */
struct redis_target settings_redis(const struct settings *settings);
/* 0660 -> its bits. */
unsigned settings_socket_mode(const struct settings *settings);

#endif
