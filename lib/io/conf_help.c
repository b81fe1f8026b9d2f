/* --help, rendered from the table. */
#include <string.h>

#include "io/conf_parts.h"

enum { HELP_COLUMN = 8 };

static const char *unit_of(const struct conf_option *option)
{
    static const char *const units[] = {
        [CONF_TEXT] = "TEXT",       [CONF_INT] = "NUMBER",  [CONF_BOOL] = NULL,
        [CONF_SPAN] = "TIME",       [CONF_CHOICE] = "WORD", [CONF_SECRET_FILE] = "PATH",
        [CONF_TEXT_LIST] = "A,B,C",
    };
    return option->unit != NULL ? option->unit : units[option->type];
}

static void add_bounds(const struct conf_option *option, struct buf *out)
{
    if (option->min == 0 && option->max == 0)
        return;
    if (option->type == CONF_SPAN) {
        conf_span_text(option->min, out);
        buf_add_text(out, " to ");
        conf_span_text(option->max, out);
        buf_add_text(out, "; ");
    } else if (option->type == CONF_INT) {
        buf_addf(out, "%lld to %lld; ", (long long)option->min, (long long)option->max);
    }
}

static void add_choices(const struct conf_option *option, struct buf *out)
{
    if (option->type != CONF_CHOICE)
        return;
    struct str rest = str_of(option->choices);
    while (rest.len > 0) {
        buf_add_str(out, str_cut(&rest, '|'));
        buf_add_text(out, rest.len > 0 ? ", " : "; ");
    }
}

static void print_option(const struct conf_option *option, FILE *out)
{
    struct buf text = {0};
    const char *unit = unit_of(option);
    if (option->letter != 0)
        buf_addf(&text, "  -%c, ", option->letter);
    else
        buf_add_text(&text, "      ");
    conf_flag_name(option->name, &text);
    buf_addf(&text, "%s%s\n%*s%s\n%*s(", unit != NULL ? "=" : "", unit != NULL ? unit : "",
             HELP_COLUMN, "", option->help, HELP_COLUMN, "");
    add_choices(option, &text);
    add_bounds(option, &text);
    if (option->fallback != NULL && option->fallback[0] != '\0')
        buf_addf(&text, "default %s; ", option->fallback);
    conf_env_name(option->name, &text);
    buf_add_text(&text, ")\n");
    fputs(text.bytes != NULL ? text.bytes : "", out);
    buf_fini(&text);
}

static void print_own_options(const struct conf_program *program, FILE *out)
{
    if (program->takes_file)
        fputs("      --config=PATH\n"
              "        read options from this file, `name = value` lines (BRAKEWIRE_CONFIG)\n"
              "      --print-config\n"
              "        print what all of it comes to, in the form of that file\n"
              "      --check-config\n"
              "        say whether it all makes sense, and do nothing else\n",
              out);
    fputs("  -h, --help\n        print this\n"
          "      --version\n        print the version\n",
          out);
}

void conf_help(const struct conf_program *program, FILE *out)
{
    fprintf(out, "Usage: %s\n\n%s\n\nOptions (a flag counts more than the environment, that more ",
            program->usage, program->about);
    fputs(program->takes_file ? "than the\nfile, and that more than the default):\n"
                              : "than\nthe default):\n",
          out);
    for (size_t i = 0; i < program->option_count; i++)
        print_option(&program->option[i], out);
    print_own_options(program, out);
    if (program->examples != NULL)
        fprintf(out, "\nExamples:\n%s", program->examples);
}
