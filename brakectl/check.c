/* `brakectl check`: the doctor. Each line is one thing looked at, and what to do about it. */
#include "brakectl/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "brakectl/commands.h"
#include "brakectl/print.h"

struct check_settings {
    const char *redis, *user, *password_file, *sentinel_password_file, *namespace;
    const char *ca_file, *cert_file, *key_file, *tls_name, *durability;
    bool no_agentd, no_broker;
};

void found(struct findings *findings, enum finding finding, const char *subject, const char *advice,
           const char *format, ...)
{
    if (findings->count == FINDINGS_MAX)
        return;
    size_t at = findings->count++;
    findings->item[at].finding = finding;
    findings->item[at].subject = subject;
    findings->item[at].advice = finding == FOUND_GOOD ? "" : advice;
    va_list args;
    va_start(args, format);
    vsnprintf(findings->item[at].found, FINDING_TEXT_MAX, format, args);
    va_end(args);
}

int64_t nanoseconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

double middle_ms(int64_t *ns, size_t count)
{
    qsort(ns, count, sizeof *ns, by_size);
    size_t middle = count / 2;
    return (double)ns[middle] / 1e6;
}

static enum finding worst_of(const struct findings *findings)
{
    enum finding worst = FOUND_GOOD;
    for (size_t i = 0; i < findings->count; i++)
        if (findings->item[i].finding > worst)
            worst = findings->item[i].finding;
    return worst;
}

/* ---- printing ------------------------------------------------------------------------------- */

static const char *const words[] = {
    [FOUND_GOOD] = "good", [FOUND_DOUBTFUL] = "doubtful", [FOUND_BAD] = "bad"};

static void print_in_json(const struct findings *findings)
{
    json_t *list = json_array();
    for (size_t i = 0; i < findings->count; i++)
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:s}", "subject", findings->item[i].subject, "finding",
                            words[findings->item[i].finding], "found", findings->item[i].found,
                            "advice", findings->item[i].advice));
    json_t *all = json_pack("{s:s, s:o}", "worst", words[worst_of(findings)], "checks", list);
    json_show(all);
    json_decref(all);
}

static void print_for_people(const struct ctl *ctl, const struct findings *findings)
{
    static const char *const marks[] = {
        [FOUND_GOOD] = "✔", [FOUND_DOUBTFUL] = "!", [FOUND_BAD] = "✘"};
    static const enum colour colours[] = {
        [FOUND_GOOD] = GREEN, [FOUND_DOUBTFUL] = YELLOW, [FOUND_BAD] = RED};
    struct buf out = {0};
    for (size_t i = 0; i < findings->count; i++) {
        enum finding finding = findings->item[i].finding;
        paint(&out, ctl->colour, colours[finding], marks[finding]);
        (void)buf_addf(&out, " %-20s %s\n", findings->item[i].subject, findings->item[i].found);
        if (findings->item[i].advice[0] != '\0')
            (void)buf_addf(&out, "%24s %s\n", "→", findings->item[i].advice);
    }
    fwrite(out.bytes, 1, out.len, stdout);
    buf_fini(&out);
}

/* ---- the command ---------------------------------------------------------------------------- */

/* The first line of the file; NULL when there is none. The caller frees it. */
static char *read_secret(const char *path)
{
    char *line = NULL;
    size_t room = 0;
    FILE *file = path != NULL ? fopen(path, "re") : NULL;
    if (file == NULL)
        return NULL;
    if (getline(&line, &room, file) > 0)
        line[strcspn(line, "\r\n")] = '\0';
    fclose(file);
    return line;
}

static const char *first_of(const char *a, const char *b, const char *c)
{
    return a != NULL && a[0] != '\0' ? a : b != NULL && b[0] != '\0' ? b : c;
}

static void check_all(const struct ctl *ctl, const struct check_settings *check,
                      struct findings *findings)
{
    struct check_known known = {.redis_url = ""};
    const char *password_file =
        first_of(check->password_file, getenv("BRAKEWIRE_REDIS_PASSWORD_FILE"), NULL);
    char *password = read_secret(password_file);
    char *sentinel_password =
        read_secret(first_of(check->sentinel_password_file,
                             getenv("BRAKEWIRE_REDIS_SENTINEL_PASSWORD_FILE"), NULL));
    if (!check->no_agentd)
        check_agentd(ctl, findings, &known);
    if (!check->no_broker)
        check_broker(ctl, findings);
    const char *url = first_of(check->redis, getenv("BRAKEWIRE_REDIS_URL"), known.redis_url);
    const struct check_redis redis = {
        .url = first_of(url, "redis://127.0.0.1:6379", NULL),
        .user = first_of(check->user, getenv("BRAKEWIRE_REDIS_USER"), NULL),
        .password = password,
        .sentinel_password = sentinel_password,
        .namespace = first_of(check->namespace, known.namespace, "bw"),
        .durability = first_of(check->durability, getenv("BRAKEWIRE_DURABILITY"), NULL),
        .tls = {.ca_file = first_of(check->ca_file, getenv("BRAKEWIRE_REDIS_CA_FILE"), NULL),
                .cert_file = first_of(check->cert_file, getenv("BRAKEWIRE_REDIS_CERT_FILE"), NULL),
                .key_file = first_of(check->key_file, getenv("BRAKEWIRE_REDIS_KEY_FILE"), NULL),
                .name = first_of(check->tls_name, getenv("BRAKEWIRE_REDIS_TLS_NAME"), NULL)},
    };
    check_redis(&redis, findings);
    free(password);
    free(sentinel_password);
}

static int check_main(const struct ctl *ctl, const void *settings, int count, char *rest[])
{
    (void)count;
    (void)rest;
    struct findings findings = {0};
    check_all(ctl, settings, &findings);
    if (ctl->json)
        print_in_json(&findings);
    else
        print_for_people(ctl, &findings);
    return (int)worst_of(&findings);
}

#define FIELD(name) offsetof(struct check_settings, name)
static const struct flag check_flags[] = {
    {"redis", FLAG_TEXT, FIELD(redis), "URL",
     "($BRAKEWIRE_REDIS_URL, else what the agentd says, else redis://127.0.0.1:6379)"},
    {"redis-user", FLAG_TEXT, FIELD(user), "NAME", "ACL user ($BRAKEWIRE_REDIS_USER)"},
    {"redis-password-file", FLAG_TEXT, FIELD(password_file), "PATH",
     "($BRAKEWIRE_REDIS_PASSWORD_FILE)"},
    {"redis-sentinel-password-file", FLAG_TEXT, FIELD(sentinel_password_file), "PATH",
     "of sentinel:// ($BRAKEWIRE_REDIS_SENTINEL_PASSWORD_FILE)"},
    {"redis-ca-file", FLAG_TEXT, FIELD(ca_file), "PATH",
     "of rediss://: who may sign Redis's certificate ($BRAKEWIRE_REDIS_CA_FILE)"},
    {"redis-cert-file", FLAG_TEXT, FIELD(cert_file), "PATH",
     "our own certificate ($BRAKEWIRE_REDIS_CERT_FILE)"},
    {"redis-key-file", FLAG_TEXT, FIELD(key_file), "PATH",
     "its private key ($BRAKEWIRE_REDIS_KEY_FILE)"},
    {"redis-tls-name", FLAG_TEXT, FIELD(tls_name), "NAME",
     "the name in Redis's certificate ($BRAKEWIRE_REDIS_TLS_NAME)"},
    {"durability", FLAG_CHOICE, FIELD(durability), "memory|replicated|fsynced",
     "what cancels ask for: can Redis keep it? ($BRAKEWIRE_DURABILITY)"},
    {"namespace", FLAG_TEXT, FIELD(namespace), "NAME", "what the agentd says, else bw"},
    {"no-agentd", FLAG_YES, FIELD(no_agentd), NULL, "there is none here"},
    {"no-broker", FLAG_YES, FIELD(no_broker), NULL, "there is none here"},
};

const struct command command_check = {
    .name = "check",
    .words = "",
    .about = "look at Redis, the agentd and the broker, and say what to mend",
    .examples = "  brakectl check\n"
                "  brakectl check --redis redis://redis:6379 --redis-user brakewire --no-agentd\n"
                "  brakectl check --durability fsynced\n"
                "  brakectl --json check | jq '.checks[] | select(.finding != \"good\")'\n\n"
                "exit codes: 0 all is good; 1 something is doubtful; 2 something must be mended\n",
    COMMAND_FLAGS(check_flags),
    COMMAND_SETTINGS(struct check_settings),
    .run = check_main,
};
