/* `brakectl demo`: Brakewire on this machine, with real processes, and proof that they stop. */
#include "brakectl/demo.h"

#include <dirent.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "brakectl/commands.h"
#include "brakectl/print.h"

struct demo_settings {
    const char *folder;
    bool keep;
};

volatile int demo_interrupted;

static void interrupted(int number)
{
    demo_interrupted = number;
}

/* ---- saying --------------------------------------------------------------------------------- */

void demo_say(const struct demo *demo, const char *format, ...)
{
    if (demo->ctl->json)
        return;
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    fflush(stdout);
}

bool demo_check(struct demo *demo, bool good, const char *what, const char *why, ...)
{
    char seen[200];
    struct buf line = {0};
    va_list args;
    va_start(args, why);
    vsnprintf(seen, sizeof seen, why, args);
    va_end(args);
    demo->passed += good;
    demo->failed += !good;
    paint(&line, demo->ctl->colour, good ? GREEN : RED, good ? "✔ " : "✘ ");
    demo_say(demo, "%s%s%s%s\n", line.bytes, what, good ? "" : ": ", good ? "" : seen);
    json_array_append_new(demo->checks, json_pack("{s:s, s:b, s:s}", "check", what, "passed", good,
                                                  "seen", good ? "" : seen));
    buf_fini(&line);
    return good;
}

/* ---- the place ------------------------------------------------------------------------------ */

static void make_names(struct demo *demo)
{
    unsigned char bytes[6] = {0};
    (void)!getrandom(bytes, sizeof bytes, 0);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(demo->nonce + 2 * i, 3, "%02x", bytes[i]);
    snprintf(demo->mark, sizeof demo->mark, "BRAKEWIRE_DEMO=%s", demo->nonce);
    ssize_t len = readlink("/proc/self/exe", demo->self, sizeof demo->self - 1);
    demo->self[len > 0 ? len : 0] = '\0';
}

static bool make_folder(struct demo *demo, const char *wanted)
{
    if (wanted != NULL) {
        snprintf(demo->folder, sizeof demo->folder, "%s", wanted);
        return true; /* the stack makes it */
    }
    const char *temporary = getenv("TMPDIR");
    snprintf(demo->folder, sizeof demo->folder, "%s/brakewire-demo-XXXXXX",
             temporary != NULL ? temporary : "/tmp");
    return mkdtemp(demo->folder) != NULL;
}

static void remove_folder(const char *folder)
{
    DIR *entries = opendir(folder);
    if (entries == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        char path[PROGRAM_PATH_MAX + 260];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_type == DT_DIR)
            remove_folder(path);
        else
            unlink(path);
    }
    closedir(entries);
    rmdir(folder);
}

/* Our own cgroup, where version 2 is mounted: "0::/path" of /proc/self/cgroup below the mount. */
static bool own_cgroup(char *out, size_t room)
{
    char line[512], mount[200] = "", own[200] = "";
    FILE *mounts = fopen("/proc/self/mounts", "re");
    while (mounts != NULL && mount[0] == '\0' && fgets(line, sizeof line, mounts) != NULL)
        if (sscanf(line, "%*s %199s cgroup2 ", mount) != 1 || strstr(line, " cgroup2 ") == NULL)
            mount[0] = '\0';
    if (mounts != NULL)
        fclose(mounts);
    FILE *cgroups = fopen("/proc/self/cgroup", "re");
    while (cgroups != NULL && fgets(line, sizeof line, cgroups) != NULL)
        if (strncmp(line, "0::", 3) == 0)
            sscanf(line, "0::%199s", own);
    if (cgroups != NULL)
        fclose(cgroups);
    snprintf(out, room, "%s%s", mount, strcmp(own, "/") == 0 ? "" : own);
    return mount[0] != '\0' && own[0] != '\0';
}

/* One replica gets a cgroup, if that is possible here. */
static void make_cgroup(struct demo *demo)
{
    char own[PROGRAM_PATH_MAX], procs[PROGRAM_PATH_MAX + 16];
    if (!own_cgroup(own, sizeof own))
        return;
    snprintf(procs, sizeof procs, "%s/cgroup.procs", own);
    snprintf(demo->cgroup, sizeof demo->cgroup, "%.200s/brakewire-demo-%s", own, demo->nonce);
    if (access(procs, W_OK) != 0 || mkdir(demo->cgroup, 0755) != 0)
        demo->cgroup[0] = '\0';
}

/* Those that agentd made for runs below it are its own to remove; what is left, we do. */
static void remove_cgroup(struct demo *demo)
{
    DIR *entries = demo->cgroup[0] != '\0' ? opendir(demo->cgroup) : NULL;
    if (entries == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        char path[PROGRAM_PATH_MAX + 260];
        snprintf(path, sizeof path, "%s/%s", demo->cgroup, entry->d_name);
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
            rmdir(path);
    }
    closedir(entries);
    rmdir(demo->cgroup);
}

/* ---- the demo ------------------------------------------------------------------------------- */

static bool begin(struct demo *demo)
{
    const struct stack_options options = {
        .folder = demo->folder,
        .agentds = DEMO_PODS,
        .cgroup = demo->cgroup[0] != '\0' ? demo->cgroup : NULL,
        .agentd_extra = {"--kill-patience=2s"},
    };
    demo_say(demo, "Starting a private Redis on a Unix socket, a broker and %d agentds in %s.\n",
             DEMO_PODS, demo->folder);
    if (stack_start(&demo->stack, &options) != ERR_OK)
        return demo_check(demo, false, "everything starts", "see above");
    if (!demo_agents_open(demo)) {
        stack_stop(&demo->stack);
        return demo_check(demo, false, "the folder can be used", "no FIFO in it");
    }
    return true;
}

static void play(struct demo *demo)
{
    static void (*const acts[])(struct demo *) = {
        demo_act_big_tree, demo_act_middle,      demo_act_ids,
        demo_act_by_hand,  demo_act_connections, demo_act_link,
    };
    for (size_t i = 0; i < sizeof acts / sizeof *acts && !demo_interrupted; i++)
        acts[i](demo);
    if (demo_interrupted)
        demo_check(demo, false, "nobody interrupts the demo", "signal %d", demo_interrupted);
}

/* Whatever has happened, nothing of it stays. */
static void finish(struct demo *demo)
{
    const struct program *dead = stack_find_dead(&demo->stack);
    if (dead != NULL)
        demo_check(demo, false, "every daemon lives to the end", "%s has ended", dead->name);
    demo_agents_close(demo);
    demo_kill_processes(demo->mark);
    stack_stop(&demo->stack);
    remove_cgroup(demo);
}

static void show_result(struct demo *demo, struct span took, bool kept)
{
    if (demo->ctl->json) {
        json_t *all =
            json_pack("{s:i, s:i, s:I, s:s, s:O, s:O}", "passed", (int)demo->passed, "failed",
                      (int)demo->failed, "took_ms", (json_int_t)took.ms, "folder",
                      kept ? demo->folder : "", "checks", demo->checks, "timeline", demo->timeline);
        json_show(all);
        json_decref(all);
    }
    demo_say(demo, "\ndemo: %u checks passed, %u failed, in %.1f s\n", demo->passed, demo->failed,
             (double)took.ms / 1000);
    if (kept)
        demo_say(demo, "the logs are in %s/log\n", demo->folder);
}

static int run_demo(struct demo *demo, const struct demo_settings *settings)
{
    struct instant begun = mono_now();
    make_names(demo);
    if (!make_folder(demo, settings->folder)) {
        fputs("brakectl: cannot make a folder for the demo\n", stderr);
        return EXIT_REFUSED;
    }
    make_cgroup(demo);
    if (begin(demo)) {
        play(demo);
        finish(demo);
    }
    bool kept = demo->failed > 0 || settings->keep || settings->folder != NULL;
    if (!kept)
        remove_folder(demo->folder);
    show_result(demo, MILLIS(mono_now().ms - begun.ms), kept);
    return demo->failed == 0 ? EXIT_DONE : EXIT_REFUSED;
}

static int demo_main(const struct ctl *ctl, const void *settings, int count, char *words[])
{
    (void)count;
    (void)words;
    const struct sigaction act = {.sa_handler = interrupted};
    struct demo *demo = calloc(1, sizeof *demo);
    if (demo == NULL)
        return EXIT_UNAVAILABLE;
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
    demo->ctl = ctl;
    demo->checks = json_array();
    demo->timeline = json_array();
    int code = run_demo(demo, settings);
    json_decref(demo->checks);
    json_decref(demo->timeline);
    free(demo);
    return code;
}

static const struct flag demo_flags[] = {
    {"dir", FLAG_TEXT, offsetof(struct demo_settings, folder), "FOLDER",
     "for sockets and logs (a new one in $TMPDIR)"},
    {"keep", FLAG_YES, offsetof(struct demo_settings, keep), NULL,
     "keep the logs though everything was well"},
};

const struct command command_demo = {
    .name = "demo",
    .words = "",
    .about = "grow trees of real processes on this machine, cancel them, look for survivors",
    .examples = "  brakectl demo\n"
                "  brakectl demo --keep --dir /tmp/look\n"
                "  brakectl --json demo | jq '.checks[] | select(.passed | not)'\n\n"
                "exit codes: 0 everything stopped as it must; 1 not, and the logs are kept\n",
    COMMAND_FLAGS(demo_flags),
    COMMAND_SETTINGS(struct demo_settings),
    .run = demo_main,
};
