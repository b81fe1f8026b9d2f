/* `brakectl demo-agent`: one agent of the demo, run by `brakectl exec`. It tells the demo that it
 * lives, calls other agents with the context that it was given, and works until it is stopped:
 *
 *   plain     goes on when it is told to stop, and dies of SIGTERM
 *   polite    ends when it is told
 *   careful   when told: asks for its last checkpoint, says that it has cleaned up, ends
 *   stubborn  ignores SIGTERM
 *   forker    has a grandchild, forked twice in a session of its own, that ignores SIGTERM
 *   runaway   has such a grandchild that has dropped its environment, too
 *   left      is that grandchild */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "brakectl/commands.h"
#include "brakectl/demo.h"
#include "brakewire/environment.h"
#include "io/http_client.h"

/* Whatever goes wrong with the demo, nothing of it is left after this. */
enum { LIFE_SECONDS = 150 };

struct agent_settings {
    const char *name, *kind, *calls, *link;
};

struct self {
    const struct agent_settings *settings;
    struct http_client *agentd;
    const char *run_id;
    json_int_t epoch;
    int demo; /* what we write here, the demo reads; lines are short enough to be written whole */
};

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);
    return value != NULL ? value : "";
}

static void tell(const struct self *self, const char *what, const char *more,
                 const char *more_still)
{
    char line[4096];
    int len =
        snprintf(line, sizeof line, "%s %s %s %s\n", what, self->settings->name, more, more_still);
    if (len > 0 && (size_t)len < sizeof line)
        (void)!write(self->demo, line, (size_t)len);
}

static void post(const struct self *self, const char *what, json_t *body)
{
    char path[160];
    struct answer answer;
    snprintf(path, sizeof path, "/v1/runs/%.72s/%s", self->run_id, what);
    json_object_set_new(body, "epoch", json_integer(self->epoch));
    answer_to(self->agentd, "POST", path, body, SECONDS(5), &answer);
    printf("%s: %ld %s\n", what, answer.status, answer.why);
    fflush(stdout);
    answer_fini(&answer);
}

/* What an agent does that writes checkpoints: ask first, write, say so. */
static void take_last_checkpoint(const struct self *self)
{
    post(self, "fence", json_pack("{s:s, s:s}", "write_id", "last", "bytes", "ZG9uZQ=="));
    post(self, "ack", json_pack("{s:s}", "phase", "cleaned_up"));
    post(self, "ack", json_pack("{s:s}", "phase", "checkpointed"));
}

static void call_others(const struct self *self)
{
    struct str rest = str_of(self->settings->calls != NULL ? self->settings->calls : "");
    while (rest.at != NULL && rest.len > 0) {
        char other[DEMO_NAME_MAX];
        struct str name = str_cut(&rest, ',');
        snprintf(other, sizeof other, "%.*s", (int)name.len, name.at);
        tell(self, "call", other, from_environment(BRAKEWIRE_ENV_BAGGAGE));
    }
}

static bool is_kind(const struct self *self, const char *kind)
{
    return strcmp(self->settings->kind, kind) == 0;
}

static _Noreturn void live_on(void)
{
    alarm(LIFE_SECONDS);
    for (;;)
        pause();
}

/* Only the mark of the demo is left to it: no token, no parent that is ours. */
static _Noreturn void drop_environment(const struct self *self)
{
    char mark[64];
    char *const environment[] = {mark, NULL};
    snprintf(mark, sizeof mark, "BRAKEWIRE_DEMO=%s", from_environment("BRAKEWIRE_DEMO"));
    execle("/proc/self/exe", "brakectl", "demo-agent", "--name", self->settings->name, "--kind",
           "left", (char *)NULL, environment);
    _exit(EXIT_FAILURE);
}

static void fork_twice(const struct self *self)
{
    if (fork() != 0)
        return;
    setsid();
    if (fork() != 0)
        _exit(EXIT_SUCCESS);
    if (is_kind(self, "runaway"))
        drop_environment(self);
    signal(SIGTERM, SIG_IGN);
    live_on();
}

static void begin(const struct self *self)
{
    char pid[16];
    alarm(LIFE_SECONDS);
    if (is_kind(self, "stubborn"))
        signal(SIGTERM, SIG_IGN);
    if (is_kind(self, "forker") || is_kind(self, "runaway"))
        fork_twice(self);
    /* The link is on record before the other root starts: a cancel finds one or the other. */
    if (self->settings->link != NULL)
        post(self, "links", json_pack("{s:s, s:s}", "kind", "root", "to", self->settings->link));
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    tell(self, "ready", self->run_id, pid);
    call_others(self);
}

/* SIGUSR1 is the notice. */
static void work(const struct self *self, const sigset_t *notice)
{
    for (;;) {
        if (sigwaitinfo(notice, NULL) != SIGUSR1)
            continue;
        tell(self, "notice", "-", "-");
        if (is_kind(self, "careful"))
            take_last_checkpoint(self);
        if (is_kind(self, "careful") || is_kind(self, "polite"))
            return;
    }
}

static int demo_agent_main(const struct ctl *ctl, const void *settings, int count, char *words[])
{
    (void)count;
    (void)words;
    if (strcmp(((const struct agent_settings *)settings)->kind, "left") == 0)
        live_on();
    sigset_t notice;
    sigemptyset(&notice);
    sigaddset(&notice, SIGUSR1);
    sigprocmask(SIG_BLOCK, &notice, NULL);
    struct self self = {
        .settings = settings,
        .run_id = from_environment(BRAKEWIRE_ENV_RUN_ID),
        .epoch = atoll(from_environment(BRAKEWIRE_ENV_EPOCH)),
        .demo = open(from_environment("BRAKEWIRE_DEMO_CALLS"), O_WRONLY | O_CLOEXEC),
    };
    if (self.demo < 0 || self.settings->name == NULL
        || http_client_new(agentd_where(ctl->agentd), from_environment(BRAKEWIRE_ENV_TOKEN),
                           &self.agentd)
               != ERR_OK)
        return EXIT_USAGE;
    begin(&self);
    work(&self, &notice);
    http_client_free(self.agentd);
    return EXIT_DONE;
}

#define FIELD(name) offsetof(struct agent_settings, name)
static const struct flag agent_flags[] = {
    {"name", FLAG_TEXT, FIELD(name), "NAME", "who it is"},
    {"kind", FLAG_CHOICE, FIELD(kind), "plain|polite|careful|stubborn|forker|runaway|left",
     "what it does"},
    {"calls", FLAG_TEXT, FIELD(calls), "NAMES", "whom it calls"},
    {"link", FLAG_TEXT, FIELD(link), "ROOT", "the root that it links to before"},
};

static const struct agent_settings agent_defaults = {.kind = "plain"};

const struct command command_demo_agent = {
    .name = "demo-agent",
    .words = "",
    .about = "an agent of the demo",
    .examples = "  brakectl exec -- brakectl demo-agent --name a --kind plain\n",
    COMMAND_FLAGS(agent_flags),
    COMMAND_SETTINGS(struct agent_settings),
    .defaults = &agent_defaults,
    .is_hidden = true,
    .run = demo_agent_main,
};
