#include "brakectl/flags.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/str.h"

enum { FIRST_LONG = 256, HELP_COLUMN = 26 };

static bool is_one_of(struct str word, const char *choices)
{
    for (struct str rest = str_of(choices); rest.at != NULL;)
        if (str_eq(str_cut(&rest, '|'), word))
            return true;
    return false;
}

bool flag_parse_span(const char *text, struct span *out)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"", 1}};
    size_t digits = strspn(text, "0123456789");
    int64_t number = 0;
    if (digits == 0 || !str_to_int((struct str){text, digits}, &number))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(text + digits, units[i].unit) == 0 && number <= INT64_MAX / units[i].ms) {
            *out = MILLIS(number * units[i].ms);
            return true;
        }
    }
    return false;
}

static bool list_add(struct flag_list *list, const char *text)
{
    if (list->count == FLAG_LIST_MAX)
        return false;
    list->item[list->count++] = text;
    return true;
}

static bool number_of(const char *text, int64_t *out)
{
    return str_to_int(str_of(text), out) && *out >= 0;
}

/* False: the value is not one of this kind. */
static bool store(const struct flag *flag, void *settings, const char *text)
{
    void *field = (char *)settings + flag->offset;
    switch (flag->kind) {
    case FLAG_YES:
        *(bool *)field = true;
        return true;
    case FLAG_CHOICE:
        if (!is_one_of(str_of(text), flag->value))
            return false;
        *(const char **)field = text;
        return true;
    case FLAG_TEXT:
        *(const char **)field = text;
        return true;
    case FLAG_NUMBER:
        return number_of(text, field);
    case FLAG_SPAN:
        return flag_parse_span(text, field);
    case FLAG_LIST:
        return list_add(field, text);
    }
    return false;
}

static void say_wrong(const char *whose, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void say_wrong(const char *whose, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", whose);
    vfprintf(stderr, format, args);
    fprintf(stderr, "; try '%s --help'\n", whose);
    va_end(args);
}

static void complain(const char *whose, const struct flag *flag, const char *text)
{
    static const char *const wanted[] = {
        [FLAG_NUMBER] = "a whole number",
        [FLAG_SPAN] = "a length of time like 500ms, 10s or 5m",
        [FLAG_LIST] = "given at most 16 times",
    };
    const char *what = flag->kind == FLAG_CHOICE ? flag->value : wanted[flag->kind];
    say_wrong(whose, "--%s '%s': wanted %s", flag->name, text, what);
}

bool flag_is_within(const char *whose, const char *name, int64_t value, int64_t least, int64_t most)
{
    bool is_within = value >= least && value <= most;
    if (!is_within)
        say_wrong(whose, "--%s %" PRId64 ": wanted %" PRId64 " to %" PRId64, name, value, least,
                  most);
    return is_within;
}

/* All tables as getopt wants them; `of` says which set each came from. */
struct flag_index {
    size_t count;
    struct option option[FLAGS_MAX + 2];
    const struct flag *flag[FLAGS_MAX];
    void *settings[FLAGS_MAX];
};

static void index_add(struct flag_index *index, const struct flag_set *set)
{
    for (size_t i = 0; i < set->count && index->count < FLAGS_MAX; i++) {
        size_t at = index->count++;
        index->flag[at] = &set->flag[i];
        index->settings[at] = set->settings;
        index->option[at] = (struct option){
            .name = set->flag[i].name,
            .has_arg = set->flag[i].kind == FLAG_YES ? no_argument : required_argument,
            .val = FIRST_LONG + (int)at,
        };
    }
}

static bool begins_with(const char *text, struct str start)
{
    return strncmp(text, start.at, start.len) == 0;
}

/* What getopt did not understand: `word` as it was typed, of which it says no more. */
static void complain_of_word(const char *whose, const struct flag_index *index, const char *word)
{
    bool is_long = strncmp(word, "--", 2) == 0;
    struct str name = {word + 2, is_long ? strcspn(word + 2, "=") : 0};
    const struct flag *found = NULL, *other = NULL;
    for (size_t i = 0; is_long && i < index->count; i++)
        if (begins_with(index->flag[i]->name, name)) {
            other = found;
            found = index->flag[i];
        }
    if (other != NULL)
        say_wrong(whose, "'%s' may be --%s or --%s", word, other->name, found->name);
    else if (found != NULL)
        say_wrong(whose, "--%s takes no value", found->name);
    else
        say_wrong(whose, "no flag '%s'", word);
}

enum flags_outcome flags_read(const struct flag_set *sets, size_t count, const char *whose,
                              bool in_order, int argc, char *argv[], int *rest)
{
    struct flag_index index = {0};
    for (size_t i = 0; i < count; i++)
        index_add(&index, &sets[i]);
    index.option[index.count] = (struct option){.name = "help", .val = 'h'};
    optind = 0; /* glibc: start afresh */
    opterr = 0; /* we say it ourselves */
    int found;
    while ((found = getopt_long(argc, argv, in_order ? "+:h" : ":h", index.option, NULL)) != -1) {
        if (found == 'h')
            return FLAGS_HELP;
        if (found == ':') {
            say_wrong(whose, "'%s' wants a value", argv[optind - 1]);
            return FLAGS_BAD;
        }
        if (found < FIRST_LONG) {
            char letter[] = {'-', (char)optopt, '\0'};
            bool is_letter = optopt > 0 && optopt < FIRST_LONG;
            complain_of_word(whose, &index, is_letter ? letter : argv[optind - 1]);
            return FLAGS_BAD;
        }
        size_t at = (size_t)(found - FIRST_LONG);
        if (!store(index.flag[at], index.settings[at], optarg)) {
            complain(whose, index.flag[at], optarg);
            return FLAGS_BAD;
        }
    }
    *rest = optind;
    return FLAGS_GO;
}

void flags_help(const struct flag_set *set, FILE *out)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct flag *flag = &set->flag[i];
        int width = fprintf(out, "  --%s%s%s", flag->name, flag->value != NULL ? " " : "",
                            flag->value != NULL ? flag->value : "");
        if (width >= HELP_COLUMN)
            width = fprintf(out, "\n") - 1;
        fprintf(out, "%*s%s\n", HELP_COLUMN - width, "", flag->help);
    }
}
