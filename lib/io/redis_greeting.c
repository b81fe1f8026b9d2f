#include "io/redis_greeting.h"

#include <hiredis/hiredis.h>
#include <stdio.h>

static const char *const command_names[GREET_COUNT] = {
    [GREET_HELLO] = "HELLO 3", [GREET_SELECT] = "SELECT", [GREET_INFO] = "INFO",
    [GREET_ROLE] = "ROLE",     [GREET_PING] = "PING",
};

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static int hello(const struct greeting_words *words, struct str *argv)
{
    int count = 0;
    argv[count++] = STR("HELLO");
    argv[count++] = STR("3");
    if (is_given(words->password)) {
        argv[count++] = STR("AUTH");
        argv[count++] = is_given(words->user) ? str_of(words->user) : STR("default");
        argv[count++] = str_of(words->password);
    }
    if (is_given(words->client_name)) {
        argv[count++] = STR("SETNAME");
        argv[count++] = str_of(words->client_name);
    }
    return count;
}

int greeting_command(enum greeting which, const struct greeting_words *words, struct str *argv)
{
    switch (which) {
    case GREET_HELLO:
        return hello(words, argv);
    case GREET_SELECT:
        argv[0] = STR("SELECT");
        argv[1] = str_of(words->db);
        return 2;
    case GREET_INFO:
        argv[0] = STR("INFO");
        argv[1] = STR("server");
        argv[2] = STR("replication");
        return 3;
    case GREET_ROLE:
        argv[0] = STR("ROLE");
        return 1;
    case GREET_PING:
    case GREET_COUNT:
        break;
    }
    argv[0] = STR("PING");
    return 1;
}

static void keep(char *out, size_t room, struct str text)
{
    snprintf(out, room, "%.*s", (int)text.len, text.at);
}

/* HELLO's map: name, value, name, value … */
static bool read_hello(const struct redisReply *reply, struct greeting_answers *answers)
{
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        const redisReply *name = reply->element[i], *value = reply->element[i + 1];
        if (name->str != NULL && value->str != NULL && strcmp(name->str, "mode") == 0)
            keep(answers->mode, sizeof answers->mode, (struct str){value->str, value->len});
    }
    return reply->elements > 0;
}

/* The value of `key:value\r\n` in INFO's text. */
static bool info_value(struct str info, const char *key, char *out, size_t room)
{
    size_t key_len = strlen(key);
    while (info.len > 0) {
        struct str line = str_cut(&info, '\n');
        if (line.len <= key_len || memcmp(line.at, key, key_len) != 0 || line.at[key_len] != ':')
            continue;
        struct str value = {line.at + key_len + 1, line.len - key_len - 1};
        keep(out, room, str_cut(&value, '\r'));
        return true;
    }
    return false;
}

/* Valkey says redis_version:7.2.4 for the sake of old clients, and the truth below its own name. */
static bool read_info(const struct redisReply *reply, struct greeting_answers *answers)
{
    if (reply->str == NULL)
        return false;
    struct str info = {reply->str, reply->len};
    bool is_valkey = info_value(info, "valkey_version", answers->version, sizeof answers->version);
    if (!is_valkey)
        (void)info_value(info, "redis_version", answers->version, sizeof answers->version);
    keep(answers->name, sizeof answers->name, is_valkey ? STR("valkey") : STR("redis"));
    (void)info_value(info, "master_replid", answers->history, sizeof answers->history);
    return info_value(info, "run_id", answers->run_id, sizeof answers->run_id)
           && answers->run_id[0] != '\0';
}

static bool read_role(const struct redisReply *reply, struct greeting_answers *answers)
{
    if (reply->elements == 0 || reply->element[0]->str == NULL)
        return false;
    struct str role = {reply->element[0]->str, reply->element[0]->len};
    keep(answers->role, sizeof answers->role, role);
    return true;
}

enum err greeting_answered(enum greeting which, const struct redisReply *reply,
                           struct greeting_answers *answers, char *why, size_t why_room)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        snprintf(why, why_room, "%s was refused: %s", command_names[which], reply->str);
        return ERR_REFUSED;
    }
    bool understood = which == GREET_HELLO  ? read_hello(reply, answers)
                      : which == GREET_INFO ? read_info(reply, answers)
                      : which == GREET_ROLE ? read_role(reply, answers)
                                            : true;
    if (understood)
        return ERR_OK;
    snprintf(why, why_room, "%s had an answer that Redis does not give", command_names[which]);
    return ERR_REFUSED;
}
