/* One loop over three sources: signals (a child ended, somebody wants the command to stop), the
 * event stream of the agentd, and the next moment at which something is due.
 *
 * Happy path: fork the command behind a gate -> register the run -> open the gate -> the command
 * ends -> tell the agentd -> exit with its code. Cancelled: the agentd's notice comes by the
 * stream; it sends the signals itself, we acknowledge, run the hook, and stop what the command
 * leaves behind. The agentd is away: the command goes on, we register again until it is back. The
 * agentd says that the run is over or carried by another: then nobody else will stop the command,
 * so we do. */
#include "brakectl/exec.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "brakectl/commands.h"
#include "brakectl/exec_child.h"
#include "brakectl/exec_run.h"
#include "brakectl/print.h"
#include "brakectl/sse.h"
#include "brakewire/environment.h"

enum {
    RETRY_FIRST_MS = 50,
    RETRY_MAX_MS = 1000,
    AFTER_AGENTD_MS = 200, /* what the agentd finds it signals itself, and can say so */
    GRACE_MS = 10000       /* from a notice that names none */
};

struct exec {
    const struct exec_settings *settings;
    struct exec_run run;
    struct exec_child child;
    int signals;
    struct sse *stream;
    struct instant reconnect_at; /* INSTANT_NEVER while the stream is open */
    struct span retry;
    bool is_told; /* a cancel reached us */
    bool is_rollback;
    bool is_disowned; /* the run is not ours any more */
    bool command_over, had_orphans, all_gone;
    int status; /* of the command, as wait() gives it */
    pid_t hook; /* 0: none */
    bool hook_done_well;
    struct instant term_at, kill_at; /* for what the command leaves behind */
};

int signal_of(const char *name)
{
    if (strncmp(name, "SIG", 3) == 0)
        name += 3;
    for (int number = 1; number < 32; number++)
        if (sigabbrev_np(number) != NULL && strcmp(sigabbrev_np(number), name) == 0)
            return number;
    char *end;
    long number = strtol(name, &end, 10);
    return *name != '\0' && *end == '\0' && number > 0 && number < 32 ? (int)number : 0;
}

/* ---- being told ----------------------------------------------------------------------------- */

static void hook_environment(struct buf *out, const struct exec_run *run, const json_t *cancel)
{
    static const char *const told[][2] = {
        {BRAKEWIRE_ENV_CANCEL_ID, "cancel_id"},
        {BRAKEWIRE_ENV_CANCEL_ACTION, "action"},
        {BRAKEWIRE_ENV_CANCEL_REASON, "reason"},
        {BRAKEWIRE_ENV_CANCEL_BY, "by"},
    };
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        (void)buf_addf(out, "%s=%s", told[i][0], json_text(cancel, told[i][1]));
        (void)buf_add(out, "", 1);
    }
    (void)buf_add(out, run->environment.bytes, run->environment.len);
}

static void start_hook(struct exec *exec, const json_t *cancel)
{
    struct buf environment = {0};
    hook_environment(&environment, &exec->run, cancel);
    pid_t hook = exec_hook_start(exec->settings->on_cancel, environment.bytes);
    buf_fini(&environment);
    if (hook > 0)
        exec->hook = hook;
    else
        fprintf(stderr, "brakectl: --on-cancel: %s\n", strerror(errno));
}

static void signal_command(const struct exec *exec, int number)
{
    if (!exec->command_over)
        kill(exec->child.pid, number);
}

/* Until then, what the command leaves behind may clean up: a nested exec has a notice of its own.
 */
static void set_term(struct exec *exec, const json_t *data)
{
    const json_t *given = json_object_get(data, "grace_ms");
    struct span grace = {given != NULL ? json_integer_value(given) : GRACE_MS};
    exec->term_at = instant_first(exec->term_at, instant_after(mono_now(), grace));
}

/* The notice comes once per cancel, and again after each reconnect or with a lower grace. */
static void be_told(struct exec *exec, const json_t *data, const json_t *cancel)
{
    exec_run_ack(&exec->run, "acknowledged");
    set_term(exec, data);
    if (exec->is_told)
        return;
    exec->is_told = true;
    exec->is_rollback = strcmp(json_text(cancel, "action"), "rollback") == 0;
    if (exec->settings->notice_signal != NULL)
        signal_command(exec, signal_of(exec->settings->notice_signal));
    if (exec->settings->on_cancel != NULL)
        start_hook(exec, cancel);
}

/* The members of the cancel are in `cancel`, or beside `run`. */
static const json_t *cancel_of(const json_t *data)
{
    const json_t *inner = json_object_get(data, "cancel");
    return json_is_object(inner) ? inner : data;
}

static void event_came(void *owner, const char *name, const json_t *data)
{
    struct exec *exec = owner;
    if (strcmp(name, "resync") == 0)
        exec->reconnect_at = mono_now();
    else if (strcmp(name, "cancel") == 0 && strcmp(json_text(data, "run"), exec->run.run_id) == 0)
        be_told(exec, data, cancel_of(data));
}

/* ---- the stream ----------------------------------------------------------------------------- */

static void open_stream(struct exec *exec)
{
    exec->stream = sse_new(exec->run.where, "/v1/events", exec->run.client_token, event_came, exec);
    exec->reconnect_at = INSTANT_NEVER;
}

static void reconnect_later(struct exec *exec)
{
    sse_free(exec->stream);
    exec->stream = NULL;
    exec->reconnect_at = instant_after(mono_now(), exec->retry);
    exec->retry.ms = exec->retry.ms * 2 < RETRY_MAX_MS ? exec->retry.ms * 2 : RETRY_MAX_MS;
}

/* Whoever comes back to an agentd registers first: it may have been restarted and know nothing. */
static void reconnect(struct exec *exec)
{
    struct answer answer;
    switch (exec_run_register(&exec->run, &answer)) {
    case EXEC_GOOD:
        exec->retry = MILLIS(RETRY_FIRST_MS);
        open_stream(exec);
        break;
    case EXEC_AWAY:
        reconnect_later(exec);
        break;
    case EXEC_REFUSED:
        fprintf(stderr, "brakectl: run %s is not ours any more: %s (%s); stopping the command\n",
                exec->run.run_id, json_text(answer.json, "detail"), json_text(answer.json, "code"));
        exec->is_disowned = exec->is_told = true;
        exec->reconnect_at = INSTANT_NEVER;
        signal_command(exec, SIGTERM);
        exec->kill_at = instant_after(mono_now(), exec->settings->term_grace);
        break;
    }
    answer_fini(&answer);
}

/* ---- processes ------------------------------------------------------------------------------ */

static void process_ended(struct exec *exec, pid_t pid, int status)
{
    if (pid == exec->child.pid) {
        exec->command_over = true;
        exec->status = status;
    } else if (pid == exec->hook) {
        exec->hook = 0;
        exec->hook_done_well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (exec->hook_done_well)
            exec_run_ack(&exec->run, "cleaned_up");
    }
}

static void reap(struct exec *exec)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        process_ended(exec, pid, status);
    exec->all_gone = pid < 0 && errno == ECHILD;
}

/* The command has ended and the run is cancelled: nothing of it may be left. */
static void stop_orphans(struct exec *exec)
{
    if (exec->kill_at.ms == INSTANT_NEVER.ms && instant_reached(mono_now(), exec->term_at)) {
        exec->had_orphans = exec_orphans_signal(SIGTERM, exec->hook) > 0;
        exec->kill_at = instant_after(mono_now(), exec->settings->term_grace);
        exec->kill_at.ms += AFTER_AGENTD_MS;
    } else if (instant_reached(mono_now(), exec->kill_at)) {
        exec->had_orphans |= exec_orphans_signal(SIGKILL, 0) > 0;
    }
    reap(exec);
}

static void pass_on_signals(struct exec *exec)
{
    bool from_terminal = false;
    for (int number; (number = exec_signals_take(exec->signals, &from_terminal)) != 0;) {
        if (number == SIGCHLD)
            continue;
        /* The terminal has sent it to the command as well. */
        if (!from_terminal)
            signal_command(exec, number);
        if (exec->command_over)
            exec->term_at = mono_now(); /* somebody is in a hurry */
    }
    reap(exec);
}

/* ---- the loop ------------------------------------------------------------------------------- */

static struct span until(struct instant due, struct span longest)
{
    if (due.ms == INSTANT_NEVER.ms)
        return longest;
    int64_t left = due.ms - mono_now().ms;
    return MILLIS(left < 0 ? 0 : left < longest.ms ? left : longest.ms);
}

static void one_turn(struct exec *exec)
{
    enum { AT_LEAST_EVERY_MS = 1000, WHILE_KILLING_MS = 20 };
    bool is_killing = instant_reached(mono_now(), exec->kill_at);
    struct span wait =
        until(exec->reconnect_at, MILLIS(is_killing ? WHILE_KILLING_MS : AT_LEAST_EVERY_MS));
    if (!is_killing)
        wait = until(exec->kill_at, wait);
    if (exec->command_over && exec->kill_at.ms == INSTANT_NEVER.ms)
        wait = until(exec->term_at, wait);
    sse_wait(exec->stream, exec->signals, wait);
    pass_on_signals(exec);
    if (exec->stream != NULL
        && (!sse_is_open(exec->stream) || exec->reconnect_at.ms != INSTANT_NEVER.ms))
        reconnect_later(exec);
    if (instant_reached(mono_now(), exec->reconnect_at))
        reconnect(exec);
    if (exec->is_disowned && instant_reached(mono_now(), exec->kill_at))
        signal_command(exec, SIGKILL);
}

static void until_the_command_is_over(struct exec *exec)
{
    while (!exec->command_over)
        one_turn(exec);
}

static void until_nothing_is_left(struct exec *exec)
{
    reap(exec);
    while (!exec->all_gone) {
        stop_orphans(exec);
        if (!exec->all_gone)
            one_turn(exec);
    }
}

static const char *ended_as(const struct exec *exec)
{
    if (exec->is_told)
        return exec->is_rollback && exec->hook_done_well ? "rolled_back" : "cancelled";
    return WIFEXITED(exec->status) && WEXITSTATUS(exec->status) == 0 ? "success" : "error";
}

/* The agentd may be just restarting: register and say it again, for a while. */
static bool tell_the_end(struct exec *exec)
{
    struct instant give_up = instant_after(mono_now(), exec->settings->end_wait);
    for (;;) {
        if (exec_run_end(&exec->run, ended_as(exec), exec->had_orphans) != EXEC_AWAY)
            return true;
        if (instant_reached(mono_now(), give_up))
            return false;
        struct answer answer;
        if (exec_run_register(&exec->run, &answer) == EXEC_AWAY)
            sse_wait(NULL, -1, MILLIS(RETRY_FIRST_MS));
        answer_fini(&answer);
    }
}

static bool is_recorded_cancelled(const struct exec_run *run)
{
    static const char *const words[] = {"cancelled", "rolled_back", "timeout"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(run->state, words[i]) == 0)
            return true;
    return false;
}

/* With a grace of nothing the signal can be here before the notice that explains it. What was
 * signalled did not end by itself, whatever it said in the end. */
static void hear_the_notice(struct exec *exec)
{
    struct answer answer;
    sse_wait(exec->stream, -1, MILLIS(0));
    if (exec->is_told)
        return;
    exec_run_look(&exec->run, &answer);
    const json_t *cancel = json_object_get(answer.json, "cancel");
    const json_t *stop = json_object_get(answer.json, "stop");
    bool was_signalled = json_object_get(stop, "terminated_at") != NULL
                         || json_object_get(stop, "killed_at") != NULL;
    if (cancel != NULL && was_signalled) {
        exec->term_at = mono_now(); /* the notice's time is over */
        be_told(exec, answer.json, cancel);
    }
    answer_fini(&answer);
}

/* A cancel may be recorded that had not reached us when the command ended. */
static void finish(struct exec *exec)
{
    if (!exec->is_told)
        hear_the_notice(exec);
    if (exec->is_told)
        until_nothing_is_left(exec);
    if (exec->is_disowned)
        return;
    if (!tell_the_end(exec))
        fprintf(stderr, "brakectl: run %s: nobody took note of its end\n", exec->run.run_id);
    if (!exec->is_told && is_recorded_cancelled(&exec->run)) {
        exec->is_told = true;
        exec->term_at = mono_now();
        until_nothing_is_left(exec);
    }
}

static int exit_code(const struct exec *exec)
{
    if (exec->is_told)
        return EXIT_CANCELLED;
    return WIFEXITED(exec->status) ? WEXITSTATUS(exec->status) : 128 + WTERMSIG(exec->status);
}

/* On stderr: stdout is the command's. */
static int report(const struct ctl *ctl, const struct exec *exec)
{
    int code = exit_code(exec);
    if (ctl->json) {
        json_t *line = json_pack("{s:s, s:s, s:s, s:b, s:i}", "run_id", exec->run.run_id, "root",
                                 exec->run.root, "state", exec->run.state, "cancelled",
                                 exec->is_told, "exit", code);
        json_dumpf(line, stderr, JSON_COMPACT);
        fputc('\n', stderr);
        json_decref(line);
    }
    return code;
}

/* ---- the start ------------------------------------------------------------------------------ */

/* The gate is closed with nothing written: the command never runs. */
static int give_up(struct exec *exec, int code)
{
    close(exec->child.gate);
    waitpid(exec->child.pid, NULL, 0);
    return code;
}

static int start(const struct ctl *ctl, struct exec *exec)
{
    if (!exec_run_init(&exec->run, ctl, exec->settings, exec->child.pid))
        return EXIT_USAGE;
    struct answer answer;
    enum exec_verdict verdict = exec_run_register(&exec->run, &answer);
    int code = EXIT_DONE;
    if (verdict != EXEC_GOOD) {
        (void)answer_complain(&(struct ctl){0}, &answer, ctl->agentd);
        code = verdict == EXEC_AWAY ? EXIT_UNAVAILABLE : EXIT_NOT_STARTED;
    }
    answer_fini(&answer);
    return code;
}

static bool are_sound(const struct exec_settings *settings)
{
    const char *const signals[] = {settings->signal, settings->notice_signal};
    for (size_t i = 0; i < 2; i++) {
        if (signals[i] != NULL && signal_of(signals[i]) == 0) {
            fprintf(stderr, "brakectl: '%s' is no signal\n", signals[i]);
            return false;
        }
    }
    return true;
}

static int carry_out(const struct ctl *ctl, struct exec *exec)
{
    const struct buf *environment = &exec->run.environment;
    int code = start(ctl, exec);
    if (code != EXIT_DONE)
        return give_up(exec, code);
    open_stream(exec);
    if (!exec_child_release(&exec->child, environment->bytes, environment->len)) {
        fputs("brakectl: the baggage is too large\n", stderr);
        exec->is_told = true;
    }
    until_the_command_is_over(exec);
    finish(exec);
    return report(ctl, exec);
}

/* Below another exec we carry the mark of its run, by which its processes are found and stopped. We
 * and our command are a run of our own, with a notice and a grace of its own. What others see of
 * our environment are these very bytes. */
static void leave_the_outer_run(void)
{
    char *token = getenv(BRAKEWIRE_ENV_RUN_TOKEN);
    if (token != NULL)
        memset(token, '-', strlen(token));
}

static int exec_main(const struct ctl *ctl, const void *settings, int count, char *words[])
{
    (void)count;
    struct exec exec = {.settings = settings,
                        .reconnect_at = INSTANT_NEVER,
                        .term_at = INSTANT_NEVER,
                        .kill_at = INSTANT_NEVER,
                        .retry = MILLIS(RETRY_FIRST_MS)};
    if (!are_sound(settings))
        return EXIT_USAGE;
    leave_the_outer_run();
    exec.signals = exec_signals_open();
    if (exec.signals < 0 || !exec_child_start(words, &exec.child)) {
        fprintf(stderr, "brakectl: cannot start a process: %s\n", strerror(errno));
        return EXIT_CANNOT_RUN;
    }
    int code = carry_out(ctl, &exec);
    sse_free(exec.stream);
    exec_run_fini(&exec.run);
    return code;
}

#define FIELD(name) offsetof(struct exec_settings, name)
static const struct flag exec_flags[] = {
    {"agent", FLAG_TEXT, FIELD(agent), "NAME", "what kind of agent this is"},
    {"label", FLAG_LIST, FIELD(labels), "KEY=VALUE", "may be given up to 16 times"},
    {"thread", FLAG_TEXT, FIELD(thread), "ID", "the conversation it belongs to"},
    {"run-id", FLAG_TEXT, FIELD(run_id), "ID", "its id; minted when not given"},
    {"parent", FLAG_TEXT, FIELD(parent), "RUN", "start below this run (else as $BAGGAGE says)"},
    {"root", FLAG_TEXT, FIELD(root), "RUN", "the root of the parent, where it is not known here"},
    {"baggage", FLAG_TEXT, FIELD(baggage), "VALUE", "a context instead of $BAGGAGE"},
    {"entry", FLAG_YES, FIELD(entry), NULL, "a new root: whatever context there is is ignored"},
    {"strict", FLAG_YES, FIELD(strict), NULL, "refuse to start rather than run unprotected"},
    {"deadline", FLAG_SPAN, FIELD(deadline), "TIME", "cancel it after 10s, 5m, 2h"},
    {"grace", FLAG_SPAN, FIELD(grace), "TIME",
     "from the notice to the signal (nothing, unless --on-cancel or --notice-signal is given)"},
    {"term-grace", FLAG_SPAN, FIELD(term_grace), "TIME", "from the signal to SIGKILL (5s)"},
    {"signal", FLAG_TEXT, FIELD(signal), "NAME", "the signal before SIGKILL (TERM)"},
    {"notice-signal", FLAG_TEXT, FIELD(notice_signal), "NAME",
     "sent to the command with the notice"},
    {"on-cancel", FLAG_TEXT, FIELD(on_cancel), "SHELL", "run on the notice, to clean up"},
    {"on-end", FLAG_CHOICE, FIELD(on_end), "cancel|leave", "children still running at its end"},
    {"on-lost", FLAG_CHOICE, FIELD(on_lost), "cancel|takeover|continue", "its agentd is gone"},
    {"on-client-gone", FLAG_CHOICE, FIELD(on_client_gone), "cancel|continue", "brakectl is gone"},
    {"when-isolated", FLAG_CHOICE, FIELD(when_isolated), "continue|cancel",
     "its agentd is out of reach of Redis for longer than its lease"},
    {"collateral", FLAG_CHOICE, FIELD(collateral), "refuse|allow",
     "kill a process that serves other runs too"},
    {"linked-from", FLAG_TEXT, FIELD(linked_from), "ROOT/RUN", "the run that may link to this one"},
    {"retry-of", FLAG_TEXT, FIELD(retry_of), "RUN", "the run that this one repeats"},
    {"resumed-from", FLAG_TEXT, FIELD(resumed_from), "RUN", "the run that this one goes on with"},
    {"end-wait", FLAG_SPAN, FIELD(end_wait), "TIME",
     "how long to try to report the end while the agentd is away (5s)"},
};

static const struct exec_settings exec_defaults = {
    .deadline = {-1}, .grace = {-1}, .term_grace = {5000}, .end_wait = {5000}, .signal = "TERM"};

const struct command command_exec = {
    .name = "exec",
    .words = "-- COMMAND [ARG...]",
    .about = "run a command as a run that can be cancelled, with all its processes",
    .examples =
        "  brakectl exec --agent researcher --label version=1.4 -- python agent.py\n"
        "  brakectl exec --parent RUN --deadline 5m -- ./crawl.sh\n"
        "  brakectl exec --notice-signal USR1 --on-cancel './undo.sh' --grace 3s -- ./work\n\n"
        "The command finds BAGGAGE (pass it on to the agents it calls; a nested exec does so by\n"
        "itself), BRAKEWIRE_RUN_ID, _ROOT, _EPOCH, _AGENTD and _TOKEN in its environment; the "
        "shell\n"
        "of --on-cancel also BRAKEWIRE_CANCEL_ID, _ACTION, _REASON and _BY.\n\n"
        "exit codes: the command's own; 143 cancelled; 128+N killed by signal N; 3 the run was\n"
        "refused and the command never started; 75 no agentd, or not now; 126, 127 cannot be run\n",
    COMMAND_FLAGS(exec_flags),
    COMMAND_SETTINGS(struct exec_settings),
    .defaults = &exec_defaults,
    .in_order = true,
    .words_min = 1,
    .words_max = -1,
    .run = exec_main,
};
