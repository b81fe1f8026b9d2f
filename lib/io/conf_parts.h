/* What the files of conf share; nobody else includes this. */
#ifndef IO_CONF_PARTS_H
#define IO_CONF_PARTS_H

#include "base/buf.h"
#include "io/conf.h"

enum conf_source { CONF_FROM_DEFAULT, CONF_FROM_FILE, CONF_FROM_ENV, CONF_FROM_FLAG };

/* The text that counts so far for one option. */
struct conf_given {
    char *text; /* NULL: not given */
    enum conf_source source;
    unsigned line; /* in the file */
};

struct conf_reading {
    const struct conf_program *program;
    struct conf_given *given; /* one per option */
    char *file;               /* NULL: none */
    bool prints, checks;
    FILE *out, *err;
};

/* Values of one option: text into its field and back. `why` tells a person what would be right. */
enum err conf_value_set(const struct conf_option *option, const char *text, void *settings,
                        struct buf *why) MUST_CHECK;
void conf_value_fini(const struct conf_option *option, void *settings);
/* False: it has none. */
bool conf_value_text(const struct conf_option *option, const void *settings, struct buf *out);
void conf_span_text(int64_t ms, struct buf *out);

/* NULL: no such option. */
const struct conf_option *conf_find(const struct conf_program *program, struct str name);
/* The option whose name is nearest to a misspelt one; NULL: none is near. */
const struct conf_option *conf_nearest(const struct conf_program *program, struct str name);
/* "redis_url" -> "--redis-url", "BRAKEWIRE_REDIS_URL". */
void conf_flag_name(const char *name, struct buf *out);
void conf_env_name(const char *name, struct buf *out);

/* Each tells `err` what is wrong and returns false. */
bool conf_give(struct conf_reading *reading, const struct conf_option *option, struct str text,
               enum conf_source source, unsigned line);
enum conf_outcome conf_read_flags(struct conf_reading *reading, int argc, char *argv[],
                                  int *rest_at);
bool conf_read_env(struct conf_reading *reading);
bool conf_read_file(struct conf_reading *reading);

void conf_help(const struct conf_program *program, FILE *out);

#endif
