#include "store/command.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { LEASE_DROP_STEPS = 5 };

static void add(struct command *c, struct str word)
{
    assert(c->argc < COMMAND_ARGS_MAX);
    c->argv[c->argc++] = word;
}

static void add_text(struct command *c, const char *word)
{
    add(c, str_of(word));
}

static struct str scribble(struct command *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static struct str scribble(struct command *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    size_t room = sizeof c->scratch - c->used;
    int len = vsnprintf(c->scratch + c->used, room, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= room) {
        c->failed = true;
        return STR_NONE;
    }
    struct str text = {c->scratch + c->used, (size_t)len};
    c->used += text.len;
    return text;
}

static void add_number(struct command *c, int64_t number)
{
    add(c, scribble(c, "%" PRId64, number));
}

static void add_flag(struct command *c, bool flag)
{
    add_text(c, flag ? "1" : "0");
}

/* "" where it is not given */
static void add_span(struct command *c, struct span span)
{
    if (span.ms < 0)
        add_text(c, "");
    else
        add_number(c, span.ms);
}

/* <namespace>:<kind><name>, name possibly empty */
static struct str key_of(struct command *c, const struct keyspace *keys, const char *kind,
                         struct str name)
{
    return scribble(c, "%s:%s%.*s", keys->prefix, kind, (int)name.len, name.len > 0 ? name.at : "");
}

static struct str tree_key(struct command *c, const struct keyspace *keys, struct str root,
                           const char *rest)
{
    return scribble(c, "%s:{%.*s}%s", keys->prefix, (int)root.len, root.at, rest);
}

static void script(struct command *c, const struct keyspace *keys, const char *name, struct str key)
{
    c->script = name;
    c->key = key;
    add_text(c, "EVALSHA");
    add_text(c, "");
    add_text(c, "1");
    add(c, key);
    add_text(c, keys->ttl);
    add_text(c, keys->publish);
}

static void plain(struct command *c, const char *verb, struct str key)
{
    c->key = key;
    add_text(c, verb);
    add(c, key);
}

static void claim(struct command *c, const struct store_call *call)
{
    add(c, call->run);
    add(c, call->path);
    add(c, call->incarnation);
    add(c, call->replica);
    add_number(c, call->flags);
    add(c, call->meta);
    add_span(c, call->deadline);
}

static void make_start(struct command *c, const struct store_call *call)
{
    claim(c, call);
    add(c, call->retry_of);
    add(c, call->tombstone_id);
    add(c, call->tombstone);
    add_number(c, call->max_runs);
    add_number(c, call->max_children);
}

static void make_assert(struct command *c, const struct store_call *call)
{
    claim(c, call);
    add_number(c, call->epoch);
    add_text(c, call->adopt ? "adopt" : "assert");
    add(c, call->token_hash);
    add(c, call->tombstone_id);
    add(c, call->tombstone);
}

static void make_cancel(struct command *c, const struct store_call *call)
{
    add(c, call->run);
    add(c, call->record);
    add_number(c, call->grace.ms < 0 ? -1 : call->grace.ms);
    add_flag(c, call->force);
    add_flag(c, call->even_if_over);
}

static void make_end(struct command *c, const struct store_call *call)
{
    add(c, call->run);
    add_number(c, call->epoch);
    add(c, scribble(c, "%c", run_state_letter(call->state)));
    add(c, call->record);
    add(c, call->story);
    add(c, call->incarnation);
}

static void make_items(struct command *c, const struct store_call *call)
{
    assert(call->item_count <= STORE_ITEMS_MAX);
    for (size_t i = 0; i < call->item_count; i++) {
        add(c, call->item[i].run);
        add_number(c, call->item[i].epoch);
        if (call->op == STORE_REPORT)
            add_number(c, call->item[i].flags);
    }
}

static void make_lost(struct command *c, const struct store_call *call)
{
    add(c, call->run);
    add_number(c, call->epoch);
    add(c, call->incarnation);
    add(c, call->replica);
    add(c, call->record);
    add_flag(c, call->only_suspect);
}

static void make_link(struct command *c, const struct store_call *call)
{
    add(c, call->run);
    add_number(c, call->epoch);
    add(c, call->link_id);
    add(c, call->link);
    add_flag(c, call->acknowledge);
}

static void make_checkpoint(struct command *c, const struct store_call *call)
{
    add(c, call->run);
    add_number(c, call->epoch);
    add(c, call->write_id);
    add(c, call->bytes);
}

static void make_peek(struct command *c, const struct store_call *call)
{
    add(c, call->run);
}

static void make_sync(struct command *c, const struct store_call *call)
{
    add(c, call->run);
    add_number(c, call->epoch);
    add(c, call->write_id);
}

static bool make_tree_script(struct command *c, const struct keyspace *keys,
                             const struct store_call *call)
{
    static void (*const make[STORE_OP_COUNT])(struct command *, const struct store_call *) = {
        [STORE_START] = make_start,
        [STORE_ASSERT] = make_assert,
        [STORE_CANCEL] = make_cancel,
        [STORE_END] = make_end,
        [STORE_REPORT] = make_items,
        [STORE_RECONCILE] = make_items,
        [STORE_LOST] = make_lost,
        [STORE_LINK] = make_link,
        [STORE_CHECKPOINT] = make_checkpoint,
        [STORE_PEEK] = make_peek,
        [STORE_SYNC] = make_sync,
    };
    if (make[call->op] == NULL)
        return false;
    script(c, keys, store_op_name(call->op), tree_key(c, keys, call->root, ""));
    make[call->op](c, call);
    return true;
}

static bool make_order_script(struct command *c, const struct keyspace *keys,
                              const struct store_call *call)
{
    struct str key = key_of(c, keys, "orders", STR_NONE);
    switch (call->op) {
    case STORE_ORDER:
        script(c, keys, "order", key);
        add(c, call->id);
        add(c, call->record);
        add_number(c, call->span.ms);
        add_number(c, call->limit);
        add_number(c, call->max_holds);
        add(c, call->bytes);
        return true;
    case STORE_ORDER_LIFT:
        script(c, keys, "lift", key);
        add(c, call->id);
        return true;
    case STORE_ORDER_PROGRESS:
        script(c, keys, "progress", key);
        add(c, call->id);
        add(c, call->bytes);
        return true;
    case STORE_ORDERS_READ:
        script(c, keys, "orders", key);
        add(c, call->id);
        return true;
    default:
        return false;
    }
}

static void make_thread_script(struct command *c, const struct keyspace *keys,
                               const struct store_call *call)
{
    static const char *const letter[] = {"", "e", "d"};
    script(c, keys, store_op_name(call->op), key_of(c, keys, "thread:", call->id));
    add(c, call->run);
    if (call->op == STORE_THREAD_READ)
        return;
    add(c, call->root);
    if (call->op == STORE_THREAD_LEAVE) {
        add_text(c, letter[call->thread_end]);
        return;
    }
    add(c, scribble(c, "%c", multitask_letter(call->multitask)));
    add_number(c, call->limit);
}

static bool make_other_script(struct command *c, const struct keyspace *keys,
                              const struct store_call *call)
{
    switch (call->op) {
    case STORE_LEASE:
        script(c, keys, "lease", key_of(c, keys, "replica:", call->replica));
        add(c, call->replica);
        add(c, call->generation);
        add_number(c, call->span.ms);
        return true;
    case STORE_REMEMBER:
        script(c, keys, "remember", key_of(c, keys, "find:", call->id));
        add(c, call->id);
        return true;
    case STORE_FIND_CLAIM:
    case STORE_FIND_DROP:
        script(c, keys, call->op == STORE_FIND_CLAIM ? "claim" : "unclaim",
               key_of(c, keys, "find:", call->id));
        add(c, call->root);
        return true;
    case STORE_ALIAS:
        script(c, keys, "alias", key_of(c, keys, "find:", call->id));
        add(c, scribble(c, "%.*s/%.*s", (int)call->root.len, call->root.at, (int)call->run.len,
                        call->run.at));
        add_flag(c, call->force);
        return true;
    case STORE_THREAD_ENTER:
    case STORE_THREAD_LEAVE:
    case STORE_THREAD_READ:
        make_thread_script(c, keys, call);
        return true;
    case STORE_LOSS_COUNT:
        script(c, keys, "losses", key_of(c, keys, "replicas", STR_NONE));
        add(c, call->replica);
        add_number(c, call->number);
        return true;
    case STORE_GENERATION:
        script(c, keys, "generation", key_of(c, keys, "gen", STR_NONE));
        add(c, call->generation);
        return true;
    case STORE_LOCK:
        script(c, keys, "lock", key_of(c, keys, "lock:", call->id));
        add(c, call->replica);
        add_number(c, call->span.ms);
        return true;
    default:
        return make_order_script(c, keys, call);
    }
}

/* The list of replicas last: a broker that sees half of it finds nothing held. */
static void make_lease_drop(struct command *c, const struct keyspace *keys,
                            const struct store_call *call, int step)
{
    static const struct {
        const char *verb, *kind;
        bool is_a_list; /* of replicas */
    } of[LEASE_DROP_STEPS] = {
        {"DEL", "replica:", false},  {"DEL", "held:", false},    {"SREM", "quarantined", true},
        {"SREM", "confirmed", true}, {"ZREM", "replicas", true},
    };
    struct str name = of[step].is_a_list ? STR_NONE : call->replica;
    plain(c, of[step].verb, key_of(c, keys, of[step].kind, name));
    if (of[step].is_a_list)
        add(c, call->replica);
}

static bool make_replica_command(struct command *c, const struct keyspace *keys,
                                 const struct store_call *call, int step)
{
    struct str lease = key_of(c, keys, "replica:", call->replica);
    struct str held = key_of(c, keys, "held:", call->replica);
    struct str replicas = key_of(c, keys, "replicas", STR_NONE);
    struct str quarantined = key_of(c, keys, "quarantined", STR_NONE);
    struct str confirmed = key_of(c, keys, "confirmed", STR_NONE);
    switch (call->op) {
    case STORE_LEASE_RENEW:
        plain(c, "PEXPIRE", lease);
        add_number(c, call->span.ms);
        return true;
    case STORE_LEASE_READ:
        plain(c, "GET", lease);
        return true;
    case STORE_LEASE_DROP:
        make_lease_drop(c, keys, call, step);
        return true;
    case STORE_CONFIRM_ADD:
    case STORE_CONFIRM_DROP:
        plain(c, call->op == STORE_CONFIRM_ADD ? "SADD" : "SREM", confirmed);
        add(c, call->replica);
        return true;
    case STORE_CONFIRM_READ:
        plain(c, "SMEMBERS", confirmed);
        return true;
    case STORE_QUARANTINE_ADD:
    case STORE_QUARANTINE_DROP:
        plain(c, call->op == STORE_QUARANTINE_ADD ? "SADD" : "SREM", quarantined);
        add(c, call->replica);
        return true;
    case STORE_QUARANTINE_READ:
        plain(c, "SMEMBERS", quarantined);
        return true;
    case STORE_HELD_ADD:
    case STORE_HELD_DROP:
        plain(c, call->op == STORE_HELD_ADD ? "SADD" : "SREM", held);
        add(c, call->root);
        return true;
    case STORE_HELD_READ:
        plain(c, "SMEMBERS", held);
        return true;
    case STORE_REPLICA_ADD:
        plain(c, "ZADD", replicas);
        add_text(c, "NX");
        add_number(c, call->number);
        add(c, call->replica);
        return true;
    case STORE_REPLICAS_READ:
        plain(c, "ZRANGE", replicas);
        add_text(c, "0");
        add_text(c, "-1");
        add_text(c, "WITHSCORES");
        return true;
    default:
        return false;
    }
}

static bool make_root_command(struct command *c, const struct keyspace *keys,
                              const struct store_call *call)
{
    uint32_t shard = call->op == STORE_ROOTS_READ ? call->shard : root_shard(call->root);
    struct str key = scribble(c, "%s:roots:%" PRIu32, keys->prefix, shard);
    switch (call->op) {
    case STORE_ROOT_ADD:
        plain(c, "ZADD", key);
        add_text(c, "NX");
        add_number(c, call->number);
        add(c, call->root);
        return true;
    case STORE_ROOT_DROP:
        plain(c, "ZREM", key);
        add(c, call->root);
        return true;
    case STORE_ROOTS_READ:
        plain(c, "ZRANGEBYSCORE", key);
        add_number(c, call->number);
        add_text(c, "+inf");
        add_text(c, "WITHSCORES");
        add_text(c, "LIMIT");
        add_text(c, "0");
        add_number(c, call->limit);
        return true;
    default:
        return false;
    }
}

static void make_audit_read(struct command *c, const struct keyspace *keys,
                            const struct store_call *call)
{
    bool newest_first = str_is(call->id, "+");
    plain(c, newest_first ? "XREVRANGE" : "XRANGE", key_of(c, keys, "audit", STR_NONE));
    if (newest_first || call->id.len == 0)
        add_text(c, newest_first ? "+" : "-");
    else
        add(c, scribble(c, "(%.*s", (int)call->id.len, call->id.at));
    add_text(c, newest_first ? "-" : "+");
    add_text(c, "COUNT");
    add_number(c, call->limit);
}

static bool make_other_command(struct command *c, const struct keyspace *keys,
                               const struct store_call *call)
{
    switch (call->op) {
    case STORE_ROOT_COUNTS:
        plain(c, "HMGET", tree_key(c, keys, call->root, ""));
        add_text(c, "n");
        add_text(c, "b");
        return true;
    case STORE_FIND_READ:
        plain(c, "GET", key_of(c, keys, "find:", call->id));
        return true;
    case STORE_AUDIT:
        plain(c, "XADD", key_of(c, keys, "audit", STR_NONE));
        add_text(c, "MAXLEN");
        add_text(c, "~");
        add_text(c, keys->audit_max);
        add_text(c, "*");
        add_text(c, "json");
        add(c, call->bytes);
        return true;
    case STORE_AUDIT_READ:
        make_audit_read(c, keys, call);
        return true;
    case STORE_PUBLISH:
        plain(c, keys->publish, tree_key(c, keys, call->root, ""));
        add(c, call->bytes);
        return true;
    case STORE_META_READ:
        plain(c, "HGET", tree_key(c, keys, call->root, ""));
        add(c, scribble(c, "m:%.*s", (int)call->run.len, call->run.at));
        return true;
    case STORE_CHECKPOINT_READ:
        plain(c, "GET",
              scribble(c, "%s:{%.*s}:cp:%.*s", keys->prefix, (int)call->root.len, call->root.at,
                       (int)call->run.len, call->run.at));
        return true;
    case STORE_TIME:
        add_text(c, "TIME");
        return true;
    case STORE_ORDERS_VERSION:
        plain(c, "HGET", key_of(c, keys, "orders", STR_NONE));
        add_text(c, "v");
        return true;
    default:
        return false;
    }
}

static void begin(struct command *command)
{
    command->script = NULL;
    command->key = STR_NONE;
    command->argc = 0;
    command->used = 0;
    command->failed = false;
}

int command_steps(enum store_op op)
{
    return op == STORE_LEASE_DROP ? LEASE_DROP_STEPS : 1;
}

bool command_make(struct command *command, const struct keyspace *keys,
                  const struct store_call *call, int step)
{
    begin(command);
    bool made = make_tree_script(command, keys, call) || make_other_script(command, keys, call);
    if (!made) {
        made = make_replica_command(command, keys, call, step);
        made = made || make_root_command(command, keys, call);
        made = made || make_other_command(command, keys, call);
    }
    assert(made); /* STORE_TREE goes by command_scan() */
    return !command->failed;
}

bool command_scan(struct command *command, const struct keyspace *keys, struct str root,
                  struct str cursor)
{
    begin(command);
    plain(command, "HSCAN", tree_key(command, keys, root, ""));
    add(command, cursor);
    add_text(command, "COUNT");
    add_text(command, "1000");
    return !command->failed;
}

struct str command_channel(struct command *command, const struct keyspace *keys, struct str root,
                           bool watch)
{
    begin(command);
    if (root.len == 0)
        return key_of(command, keys, "orders", STR_NONE);
    return tree_key(command, keys, root, watch ? ":watch" : "");
}

uint32_t root_shard(struct str root)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < root.len; i++) {
        crc ^= (unsigned char)root.at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
    }
    return ~crc % ROOT_SHARDS;
}
