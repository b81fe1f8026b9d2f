/* A store_call as the words of a Redis command. Nothing is copied but numbers and keys. */
#ifndef STORE_COMMAND_H
#define STORE_COMMAND_H

#include "core/store_call.h"

enum {
    COMMAND_ARGS_MAX = 6 + 3 * STORE_ITEMS_MAX,
    COMMAND_SCRATCH = 4096,
    COMMAND_SHA = 1, /* where a script's sha goes */
    COMMAND_KEY = 3, /* where a script's key is */
    ROOT_SHARDS = 64
};

struct keyspace {
    char *prefix;        /* the namespace */
    const char *publish; /* PUBLISH; SPUBLISH on a cluster */
    char ttl[24];        /* tombstone_ttl in ms */
    char audit_max[24];
};

struct command {
    const char
        *script;    /* its name: argv is EVALSHA and argv[COMMAND_SHA] is still empty; or NULL */
    struct str key; /* the one it is about; STR_NONE: none */
    int argc;
    struct str argv[COMMAND_ARGS_MAX];
    size_t used;
    bool failed;
    char scratch[COMMAND_SCRATCH];
};

/* A call is carried out by so many commands, one after the other; the last one's answer counts. */
int command_steps(enum store_op op);
/* False when a name in it is longer than any name of ours may be. */
bool command_make(struct command *command, const struct keyspace *keys,
                  const struct store_call *call, int step);
/* HSCAN of the tree, from this cursor. */
bool command_scan(struct command *command, const struct keyspace *keys, struct str root,
                  struct str cursor);
/* bw:{root} or bw:{root}:watch, in the command's scratch. */
struct str command_channel(struct command *command, const struct keyspace *keys, struct str root,
                           bool watch);

/* CRC-32 (IEEE) of the root, mod ROOT_SHARDS. */
uint32_t root_shard(struct str root);

#endif
