/* The types of options: text -> field -> text. */
#include <string.h>

#include "base/mem.h"
#include "base/mono.h"
#include "io/conf_parts.h"
#include "io/secret_file.h"

enum { SECRET_MAX = 64 << 10 };

static const struct {
    const char *unit;
    int64_t ms;
} span_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {"", 1}};

void conf_span_text(int64_t ms, struct buf *out)
{
    size_t i = 0;
    while (i < 3 && (ms == 0 || ms % span_units[i].ms != 0))
        i++;
    buf_addf(out, "%lld%s", (long long)(ms / span_units[i].ms), span_units[i].unit);
}

static bool span_of(const char *text, int64_t *out)
{
    int64_t number;
    size_t digits = strspn(text, "0123456789");
    if (!str_to_int((struct str){text, digits}, &number))
        return false;
    for (size_t i = 0; i < sizeof span_units / sizeof *span_units; i++) {
        if (strcmp(text + digits, span_units[i].unit) == 0) {
            if (number > INT64_MAX / span_units[i].ms)
                return false;
            *out = number * span_units[i].ms;
            return true;
        }
    }
    return false;
}

static void number_text(const struct conf_option *option, int64_t number, struct buf *out)
{
    if (option->type == CONF_SPAN)
        conf_span_text(number, out);
    else
        buf_addf(out, "%lld", (long long)number);
}

static enum err number_of(const struct conf_option *option, const char *text, int64_t *out,
                          struct buf *why)
{
    bool is_span = option->type == CONF_SPAN;
    if (is_span ? !span_of(text, out) : !str_to_int(str_of(text), out)) {
        buf_add_text(why, is_span ? "is no length of time; write it like 500ms, 10s, 5m or 24h"
                                  : "is no whole number");
        return ERR_INVALID;
    }
    bool bounded = option->min != 0 || option->max != 0;
    if (!bounded || (*out >= option->min && *out <= option->max))
        return ERR_OK;
    buf_add_text(why, "must be from ");
    number_text(option, option->min, why);
    buf_add_text(why, " to ");
    number_text(option, option->max, why);
    return ERR_INVALID;
}

static enum err bool_of(const char *text, bool *out, struct buf *why)
{
    static const char *const words[][2] = {
        {"false", "true"}, {"no", "yes"}, {"off", "on"}, {"0", "1"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        for (int yes = 0; yes < 2; yes++) {
            if (strcmp(text, words[i][yes]) == 0) {
                *out = yes == 1;
                return ERR_OK;
            }
        }
    }
    buf_add_text(why, "must be true or false");
    return ERR_INVALID;
}

static enum err choice_of(const struct conf_option *option, const char *text, int *out,
                          struct buf *why)
{
    struct str rest = str_of(option->choices);
    for (int at = 0; rest.len > 0; at++) {
        if (str_is(str_cut(&rest, '|'), text)) {
            *out = at;
            return ERR_OK;
        }
    }
    buf_add_text(why, "must be one of ");
    rest = str_of(option->choices);
    for (const char *between = ""; rest.len > 0; between = ", ") {
        buf_add_text(why, between);
        buf_add_str(why, str_cut(&rest, '|'));
    }
    return ERR_INVALID;
}

static struct str trimmed(struct str text)
{
    while (text.len > 0 && (text.at[0] == ' ' || text.at[0] == '\t'))
        text = (struct str){text.at + 1, text.len - 1};
    while (text.len > 0 && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
        text.len--;
    return text;
}

static void list_free(struct conf_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        mem_free(list->item[i]);
    mem_free(list->item);
    *list = (struct conf_list){0};
}

static enum err list_of(const char *text, struct conf_list *out)
{
    size_t room = 1;
    for (const char *at = text; *at != '\0'; at++)
        room += *at == ',' ? 1 : 0;
    struct conf_list list = {.item = mem_new(room * sizeof *list.item)};
    struct str rest = str_of(text);
    bool fits = list.item != NULL;
    while (fits && rest.len > 0) {
        struct str item = trimmed(str_cut(&rest, ','));
        if (item.len == 0)
            continue;
        list.item[list.count] = mem_copy(item);
        fits = list.item[list.count] != NULL;
        list.count += fits ? 1 : 0;
    }
    if (!fits) {
        list_free(&list);
        return ERR_NOMEM;
    }
    *out = list;
    return ERR_OK;
}

static void wipe(char *secret)
{
    if (secret != NULL)
        explicit_bzero(secret, strlen(secret));
    mem_free(secret);
}

/* The field gets the content; the path follows behind its NUL, for whoever prints the settings. */
static enum err secret_of(const char *path, char **out, struct buf *why)
{
    struct buf content = {0};
    enum err err = secret_file_read(path, SECRET_MAX, &content, why);
    struct str secret = buf_str(&content);
    if (secret.len > 0 && secret.at[secret.len - 1] == '\n')
        secret.len--;
    if (secret.len > 0 && secret.at[secret.len - 1] == '\r')
        secret.len--;
    if (err == ERR_OK && (secret.len == 0 || memchr(secret.at, '\0', secret.len) != NULL)) {
        buf_add_text(why, secret.len == 0 ? "is empty" : "holds a NUL byte");
        err = ERR_INVALID;
    }
    char *both = err == ERR_OK ? mem_new(secret.len + strlen(path) + 2) : NULL;
    if (both != NULL) {
        memcpy(both, secret.at, secret.len);
        strcpy(both + secret.len + 1, path);
        *out = both;
    }
    secret_wipe(&content);
    return err == ERR_OK && both == NULL ? ERR_NOMEM : err;
}

static enum err text_of(const char *text, char **out)
{
    char *copy = mem_copy(str_of(text));
    if (copy == NULL)
        return ERR_NOMEM;
    *out = copy;
    return ERR_OK;
}

static void *field_of(const struct conf_option *option, void *settings)
{
    return (char *)settings + option->offset;
}

static const void *field_read(const struct conf_option *option, const void *settings)
{
    return (const char *)settings + option->offset;
}

enum err conf_value_set(const struct conf_option *option, const char *text, void *settings,
                        struct buf *why)
{
    void *field = field_of(option, settings);
    switch (option->type) {
    case CONF_TEXT:
        return text_of(text, field);
    case CONF_INT:
        return number_of(option, text, field, why);
    case CONF_BOOL:
        return bool_of(text, field, why);
    case CONF_SPAN:
        return number_of(option, text, &((struct span *)field)->ms, why);
    case CONF_CHOICE:
        return choice_of(option, text, field, why);
    case CONF_SECRET_FILE:
        return secret_of(text, field, why);
    case CONF_TEXT_LIST:
        return list_of(text, field);
    }
    return ERR_INVALID;
}

void conf_value_fini(const struct conf_option *option, void *settings)
{
    void *field = field_of(option, settings);
    switch (option->type) {
    case CONF_TEXT:
        mem_free(*(char **)field);
        *(char **)field = NULL;
        break;
    case CONF_SECRET_FILE:
        wipe(*(char **)field);
        *(char **)field = NULL;
        break;
    case CONF_TEXT_LIST:
        list_free(field);
        break;
    case CONF_INT:
    case CONF_BOOL:
    case CONF_SPAN:
    case CONF_CHOICE:
        break;
    }
}

static void choice_text(const struct conf_option *option, int choice, struct buf *out)
{
    struct str rest = str_of(option->choices), word = STR_NONE;
    for (int at = 0; at <= choice; at++)
        word = str_cut(&rest, '|');
    buf_add_str(out, word);
}

/* An option that was never given must not come back as a 0 that its bounds refuse. */
static bool number_field_text(const struct conf_option *option, int64_t number, struct buf *out)
{
    if (option->fallback == NULL && number == 0)
        return false;
    number_text(option, number, out);
    return true;
}

static bool list_text(const struct conf_option *option, const struct conf_list *list,
                      struct buf *out)
{
    for (size_t i = 0; i < list->count; i++)
        buf_addf(out, "%s%s", i > 0 ? "," : "", list->item[i]);
    return list->count > 0 || option->fallback != NULL;
}

bool conf_value_text(const struct conf_option *option, const void *settings, struct buf *out)
{
    const void *field = field_read(option, settings);
    const char *text = NULL;
    switch (option->type) {
    case CONF_TEXT:
        text = *(const char *const *)field;
        break;
    case CONF_SECRET_FILE:
        text = *(const char *const *)field;
        text = text != NULL ? text + strlen(text) + 1 : NULL;
        break;
    case CONF_INT:
        return number_field_text(option, *(const int64_t *)field, out);
    case CONF_SPAN:
        return number_field_text(option, ((const struct span *)field)->ms, out);
    case CONF_BOOL:
        text = *(const bool *)field ? "true" : "false";
        break;
    case CONF_CHOICE:
        choice_text(option, *(const int *)field, out);
        return true;
    case CONF_TEXT_LIST:
        return list_text(option, field, out);
    }
    return text != NULL && buf_add_text(out, text) == ERR_OK;
}
