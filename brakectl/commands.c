#include "brakectl/commands.h"

#include <assert.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = {
    &command_up,      &command_demo,   &command_exec,       &command_runs,
    &command_tree,    &command_cancel, &command_order,      &command_events,
    &command_replica, &command_check,  &command_demo_agent,
};
enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static const struct flag global_flags[] = {
    {"json", FLAG_YES, offsetof(struct ctl, json), NULL, "print JSON instead of text for people"},
    {"broker", FLAG_TEXT, offsetof(struct ctl, broker), "URL",
     "http://HOST:PORT or unix:PATH ($BRAKEWIRE_BROKER, http://127.0.0.1:7319)"},
    {"agentd", FLAG_TEXT, offsetof(struct ctl, agentd), "SOCKET",
     "the local agentd ($BRAKEWIRE_AGENTD, /run/brakewire/agentd.sock)"},
};

static void help_all(FILE *out)
{
    fputs("brakectl: stop trees of agents, and see that they have stopped\n\n"
          "usage: brakectl [--json] [--broker URL] [--agentd SOCKET] COMMAND [...]\n\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (!commands[i]->is_hidden)
            fprintf(out, "  %-9s %s\n", commands[i]->name, commands[i]->about);
    fputs("\nflags of every command:\n", out);
    const struct flag_set set = FLAGS(global_flags, NULL);
    flags_help(&set, out);
    fputs("  --help                  with examples, also after a command\n"
          "  --version               of brakectl\n\n"
          "examples:\n"
          "  brakectl up                                     everything, on this machine\n"
          "  brakectl exec --agent researcher -- ./agent.sh  a process as a run\n"
          "  brakectl cancel RUN --reason 'wrong turn'       it and all that is below it\n"
          "  brakectl demo                                   see it work\n\n"
          "exit codes: 0 done, 1 refused, 2 wrong usage, 4 not all has stopped yet,\n"
          "75 nobody answers or not now\n",
          out);
}

static void usage_of(const struct command *command, FILE *out)
{
    fprintf(out, "brakectl %s%s%s%s\n", command->name, command->flag_count > 0 ? " [FLAGS]" : "",
            command->words[0] != '\0' ? " " : "", command->words);
}

static void help_of(const struct command *command, FILE *out)
{
    fprintf(out, "brakectl %s: %s\n\nusage: ", command->name, command->about);
    usage_of(command, out);
    const struct flag_set own = {command->flag, command->flag_count, NULL};
    if (own.count > 0)
        fputc('\n', out);
    flags_help(&own, out);
    fputs("\nflags of every command:\n", out);
    const struct flag_set global = FLAGS(global_flags, NULL);
    flags_help(&global, out);
    fprintf(out, "\nexamples:\n%s", command->examples);
}

static const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

static const char *from_environment(const char *name, const char *fallback)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : fallback;
}

/* The system's agentd, or else the user's own. */
static const char *default_agentd(void)
{
    static char path[256];
    const char *system_wide = "/run/brakewire/agentd.sock";
    const char *runtime_dir = getenv("XDG_RUNTIME_DIR");
    if (runtime_dir == NULL || access(system_wide, F_OK) == 0)
        return system_wide;
    snprintf(path, sizeof path, "%s/brakewire/agentd.sock", runtime_dir);
    return path;
}

static bool have_word(const struct command *command, int count)
{
    if (count >= command->words_min && (command->words_max < 0 || count <= command->words_max))
        return true;
    fputs("brakectl: usage: ", stderr);
    usage_of(command, stderr);
    return false;
}

static int run_command(const struct command *command, struct ctl *ctl, int argc, char *argv[])
{
    alignas(max_align_t) char settings[SETTINGS_MAX] = {0};
    assert(command->settings_size <= sizeof settings);
    if (command->defaults != NULL)
        memcpy(settings, command->defaults, command->settings_size);
    const struct flag_set sets[] = {FLAGS(global_flags, ctl),
                                    {command->flag, command->flag_count, settings}};
    char whose[32];
    snprintf(whose, sizeof whose, "brakectl %s", command->name);
    int rest = 0;
    switch (flags_read(sets, 2, whose, command->in_order, argc, argv, &rest)) {
    case FLAGS_HELP:
        help_of(command, stdout);
        return EXIT_DONE;
    case FLAGS_BAD:
        return EXIT_USAGE;
    case FLAGS_GO:
        break;
    }
    if (!have_word(command, argc - rest))
        return EXIT_USAGE;
    return command->run(ctl, settings, argc - rest, argv + rest);
}

struct top {
    struct ctl ctl;
    bool version;
};

static const struct flag top_flags[] = {
    {"version", FLAG_YES, offsetof(struct top, version), NULL, ""},
};

static int show_version(const struct ctl *ctl)
{
    if (ctl->json)
        puts("{\"name\":\"brakectl\",\"version\":\"" BRAKEWIRE_VERSION "\"}");
    else
        puts("brakectl " BRAKEWIRE_VERSION);
    return EXIT_DONE;
}

static int wrong_usage(const char *word)
{
    if (word == NULL)
        help_all(stderr);
    else
        fprintf(stderr, "brakectl: no command '%s'; try 'brakectl --help'\n", word);
    return EXIT_USAGE;
}

/* `brakectl help [COMMAND]`, as people try it. */
static int help_asked(const char *name)
{
    const struct command *command = name != NULL ? command_find(name) : NULL;
    if (command != NULL)
        help_of(command, stdout);
    else
        help_all(stdout);
    return EXIT_DONE;
}

int commands_main(int argc, char *argv[])
{
    struct top top = {.ctl = {
                          .broker = from_environment("BRAKEWIRE_BROKER", "http://127.0.0.1:7319"),
                          .agentd = from_environment("BRAKEWIRE_AGENTD", default_agentd()),
                          .colour = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL,
                      }};
    const struct flag_set sets[] = {FLAGS(global_flags, &top.ctl), FLAGS(top_flags, &top)};
    int rest = 0;
    enum flags_outcome outcome = flags_read(sets, 2, "brakectl", true, argc, argv, &rest);
    if (outcome == FLAGS_BAD)
        return EXIT_USAGE;
    if (outcome == FLAGS_HELP)
        return help_asked(NULL);
    if (top.version)
        return show_version(&top.ctl);
    if (rest == argc)
        return wrong_usage(NULL);
    if (strcmp(argv[rest], "help") == 0)
        return help_asked(argv[rest + 1]);
    const struct command *command = command_find(argv[rest]);
    if (command == NULL)
        return wrong_usage(argv[rest]);
    return run_command(command, &top.ctl, argc - rest, argv + rest);
}
