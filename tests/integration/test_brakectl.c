/* brakectl against real daemons: what it prints, what it ends with, what it leaves behind. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "brakectl/demo.h"
#include "brakectl/print.h"
#include "brakectl/stack.h"
#include "io/http_client.h"
#include "support/redis_server.h"

enum { ARGS_MAX = 32, OUTPUT_MAX = 256 * 1024, PATIENCE_MS = 20000 };

static struct stack stack;
static char folder[64], brakectl[PROGRAM_PATH_MAX], mark[48];

/* ---- running it ----------------------------------------------------------------------------- */

struct process {
    pid_t pid;
    int out; /* its stdout, and stderr as well */
    char text[OUTPUT_MAX];
    size_t len;
};

/* Words up to NULL; the daemons of this test and a mark of it are in the environment. */
static void start_with(struct process *process, const char *const words[])
{
    const char *argv[ARGS_MAX + 2] = {brakectl};
    int pipe_ends[2];
    for (size_t i = 0; words[i] != NULL && i < ARGS_MAX; i++)
        argv[i + 1] = words[i];
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
    *process = (struct process){.out = pipe_ends[0], .pid = fork()};
    if (process->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        setenv("BRAKEWIRE_BROKER", stack.broker_url, 1);
        setenv("BRAKEWIRE_AGENTD", stack.agentd_socket[0], 1);
        putenv(mark);
        dup2(pipe_ends[1], STDOUT_FILENO);
        dup2(pipe_ends[1], STDERR_FILENO);
        execv(brakectl, (char *const *)argv);
        _exit(127);
    }
    close(pipe_ends[1]);
    assert_true(process->pid > 0);
}

#define START(process, ...) start_with((process), (const char *const[]){__VA_ARGS__, NULL})

/* One read; false at its end. */
static bool hear(struct process *process)
{
    struct pollfd out = {.fd = process->out, .events = POLLIN};
    if (poll(&out, 1, PATIENCE_MS) <= 0)
        fail_msg("nothing heard for %d ms; so far: %s", PATIENCE_MS, process->text);
    ssize_t got = read(process->out, process->text + process->len, OUTPUT_MAX - 1 - process->len);
    process->len += got > 0 ? (size_t)got : 0;
    process->text[process->len] = '\0';
    return got > 0;
}

/* Its exit code. */
static int end_of(struct process *process)
{
    int status = 0;
    while (hear(process))
        ;
    close(process->out);
    assert_int_equal(waitpid(process->pid, &status, 0), process->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void until_heard(struct process *process, const char *wanted)
{
    while (strstr(process->text, wanted) == NULL)
        assert_true(hear(process));
}

#define RUN(process, ...) (START((process), __VA_ARGS__), end_of(process))

static void has(const struct process *process, const char *wanted)
{
    if (strstr(process->text, wanted) == NULL)
        fail_msg("wanted '%s' in: %s", wanted, process->text);
}

/* ---- asking the daemons --------------------------------------------------------------------- */

static void ask(const char *path, struct answer *answer)
{
    const struct ctl ctl = {.broker = stack.broker_url};
    broker_answer_to(&ctl, "GET", path, NULL, answer);
}

static bool run_has_state(const char *run, const char *state)
{
    char path[128];
    struct answer answer;
    snprintf(path, sizeof path, "/v1/runs/%s", run);
    ask(path, &answer);
    bool has_it = strcmp(json_text(answer.json, "state"), state) == 0;
    answer_fini(&answer);
    return has_it;
}

static void until_state(const char *run, const char *state)
{
    struct instant give_up = instant_after(mono_now(), MILLIS(PATIENCE_MS));
    while (!run_has_state(run, state))
        if (instant_reached(mono_now(), give_up))
            fail_msg("%s never became %s", run, state);
}

static bool agentd_has_run(const char *run)
{
    char where[PROGRAM_PATH_MAX + 8], path[128];
    struct http_client *client = NULL;
    struct answer answer;
    snprintf(where, sizeof where, "unix:%s", stack.agentd_socket[0]);
    snprintf(path, sizeof path, "/v1/runs/%s", run);
    assert_int_equal(http_client_new(where, NULL, &client), ERR_OK);
    answer_to(client, "GET", path, NULL, SECONDS(2), &answer);
    bool found_it = answer.status == 200;
    answer_fini(&answer);
    http_client_free(client);
    return found_it;
}

static void until_agentd_has(const char *run)
{
    struct instant give_up = instant_after(mono_now(), MILLIS(PATIENCE_MS));
    while (!agentd_has_run(run))
        if (instant_reached(mono_now(), give_up))
            fail_msg("%s was never registered again", run);
}

static void until_nothing_is_left(void)
{
    struct instant give_up = instant_after(mono_now(), MILLIS(PATIENCE_MS));
    while (demo_processes(mark, false) > 0)
        if (instant_reached(mono_now(), give_up))
            fail_msg("%zu processes are left", demo_processes(mark, false));
}

static void redis_do(const char *command)
{
    redisContext *redis = redisConnectUnix(stack.redis_socket);
    assert_non_null(redis);
    freeReplyObject(redisCommand(redis, command));
    redisFree(redis);
}

/* ---- help ----------------------------------------------------------------------------------- */

static const char *const commands[] = {"up",     "demo",   "exec",    "runs", "tree",
                                       "cancel", "events", "replica", "check"};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void every_command_has_help_with_examples(void **state)
{
    (void)state;
    struct process process;
    for (size_t i = 0; i < COMMANDS; i++) {
        assert_int_equal(RUN(&process, commands[i], "--help"), 0);
        has(&process, "examples:\n  brakectl");
        has(&process, "--json");
        assert_null(strstr(process.text, " \n"));
    }
    assert_int_equal(RUN(&process, "replica", "--help"), 0); /* it has no flags of its own */
    assert_null(strstr(process.text, "[FLAGS]"));
    assert_int_equal(RUN(&process, "--help"), 0);
    for (size_t i = 0; i < COMMANDS; i++)
        has(&process, commands[i]);
}

static void wrong_usage_ends_with_2(void **state)
{
    (void)state;
    struct process process;
    assert_int_equal(RUN(&process, "no-such-command"), EXIT_USAGE);
    assert_int_equal(RUN(&process, "cancel"), EXIT_USAGE);
    assert_int_equal(RUN(&process, "cancel", "a", "b"), EXIT_USAGE);
    assert_int_equal(RUN(&process, "cancel", "a", "--wait", "long"), EXIT_USAGE);
    has(&process, "none|delivered|stopped");
    assert_int_equal(RUN(&process, "order", "--hold", "10m", "--reason", "x"), EXIT_USAGE);
    has(&process, "--all");
    assert_int_equal(RUN(&process, "exec", "--grace", "soon", "--", "true"), EXIT_USAGE);
    assert_int_equal(RUN(&process, "exec", "--label", "novalue", "--", "true"), EXIT_USAGE);
}

static void a_wrong_flag_is_named_with_where_to_read_on(void **state)
{
    (void)state;
    struct process process;
    assert_int_equal(RUN(&process, "runs", "--nope"), EXIT_USAGE);
    has(&process, "brakectl runs: no flag '--nope'; try 'brakectl runs --help'\n");
    assert_int_equal(RUN(&process, "-x", "runs"), EXIT_USAGE);
    has(&process, "brakectl: no flag '-x'; try 'brakectl --help'\n");
    assert_int_equal(RUN(&process, "runs", "--limit"), EXIT_USAGE);
    has(&process, "brakectl runs: '--limit' wants a value; try");
    assert_int_equal(RUN(&process, "runs", "--l", "x"), EXIT_USAGE);
    has(&process, "'--l' may be --label or --limit; try");
    assert_int_equal(RUN(&process, "tree", "--watch=1", "r"), EXIT_USAGE);
    has(&process, "--watch takes no value; try");
    assert_int_equal(RUN(&process, "up", "--agentds", "0"), EXIT_USAGE);
    has(&process, "brakectl up: --agentds 0: wanted 1 to 8; try");
    assert_int_equal(RUN(&process, "up", "--port", "99999999"), EXIT_USAGE);
    has(&process, "brakectl up: --port 99999999: wanted 0 to 65535; try");
}

static size_t count_of(const struct process *process, const char *word)
{
    size_t count = 0;
    for (const char *at = process->text; (at = strstr(at, word)) != NULL; at += strlen(word))
        count++;
    return count;
}

static void who_does_not_answer_is_named_once(void **state)
{
    (void)state;
    struct process process;
    assert_int_equal(RUN(&process, "--broker", "unix:/nowhere/b.sock", "runs"), EXIT_UNAVAILABLE);
    assert_int_equal(count_of(&process, "/nowhere/b.sock"), 1);
    has(&process, "No such file");
    has(&process, "'brakectl check'");
    assert_int_equal(count_of(&process, "port 80"), 0);
    assert_int_equal(RUN(&process, "--broker", "foo", "runs"), EXIT_USAGE);
    has(&process, "wanted http://HOST:PORT or unix:PATH");
}

/* ---- exec ----------------------------------------------------------------------------------- */

static void exec_ends_with_the_code_of_its_command(void **state)
{
    (void)state;
    struct process process;
    assert_int_equal(RUN(&process, "exec", "--", "true"), 0);
    assert_int_equal(RUN(&process, "exec", "--", "sh", "-c", "exit 7"), 7);
    assert_int_equal(RUN(&process, "exec", "--", "sh", "-c", "kill -KILL $$"), 128 + SIGKILL);
    assert_int_equal(RUN(&process, "exec", "--", "/no/such/program"), EXIT_NO_COMMAND);
    assert_int_equal(RUN(&process, "exec", "--", "/dev/null"), EXIT_CANNOT_RUN);
}

static void the_end_of_the_command_is_recorded(void **state)
{
    (void)state;
    struct process process;
    assert_int_equal(RUN(&process, "exec", "--run-id", "ends-well", "--", "true"), 0);
    until_state("ends-well", "success");
    assert_int_equal(RUN(&process, "exec", "--run-id", "ends-badly", "--", "false"), 1);
    until_state("ends-badly", "error");
}

static void a_nested_exec_is_a_child(void **state)
{
    (void)state;
    struct process process;
    assert_int_equal(RUN(&process, "exec", "--run-id", "outer", "--", brakectl, "exec", "--run-id",
                         "inner", "--", "sh", "-c", "echo $BAGGAGE"),
                     0);
    has(&process, "brakewire=1.outer.inner");
    assert_int_equal(RUN(&process, "exec", "--run-id", "outer-2", "--", brakectl, "exec", "--entry",
                         "--run-id", "apart", "--", "sh", "-c", "echo $BAGGAGE"),
                     0);
    has(&process, "brakewire=1.apart");
}

static void a_cancelled_exec_ends_with_143_and_leaves_nothing(void **state)
{
    (void)state;
    struct process exec, cancel;
    START(&exec, "exec", "--run-id", "victim", "--grace", "100ms", "--term-grace", "200ms", "--",
          "sh", "-c", "(trap '' TERM; setsid sleep 1000 & setsid sleep 1000) & exec sleep 1000");
    until_state("victim", "running");
    assert_int_equal(RUN(&cancel, "cancel", "victim", "--reason", "enough"), 0);
    has(&cancel, "Everything has stopped.");
    assert_int_equal(end_of(&exec), EXIT_CANCELLED);
    until_state("victim", "cancelled");
    until_nothing_is_left();
}

static void a_command_can_clean_up_on_the_notice(void **state)
{
    (void)state;
    struct process exec, cancel;
    char hook[200], path[128], reason[64] = "";
    snprintf(path, sizeof path, "%s/reason", folder);
    snprintf(hook, sizeof hook, "sleep 0.3; echo $BRAKEWIRE_CANCEL_REASON > %s", path);
    START(&exec, "exec", "--run-id", "tidy", "--grace", "5s", "--notice-signal", "USR1",
          "--on-cancel", hook, "--", "sh", "-c",
          "trap 'exit 0' USR1; echo ready; while :; do sleep 1000 & wait; done");
    until_heard(&exec, "ready");
    assert_int_equal(RUN(&cancel, "cancel", "tidy", "--action", "rollback", "--reason", "typo"), 0);
    assert_int_equal(end_of(&exec), EXIT_CANCELLED);
    until_state("tidy", "rolled_back");
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(fgets(reason, sizeof reason, file));
    fclose(file);
    assert_string_equal(reason, "typo\n");
    until_nothing_is_left();
}

static void who_is_killed_at_once_was_cancelled_and_did_not_fail(void **state)
{
    (void)state;
    struct process exec, cancel;
    char id[16];
    for (int i = 0; i < 10; i++) {
        snprintf(id, sizeof id, "abrupt-%d", i);
        START(&exec, "exec", "--run-id", id, "--", "sleep", "1000");
        until_state(id, "running");
        assert_int_equal(RUN(&cancel, "cancel", id, "--grace", "0"), 0);
        assert_null(strstr(cancel.text, "finished anyway"));
        assert_int_equal(end_of(&exec), EXIT_CANCELLED);
    }
}

/* Nobody hears the notice: the signal comes at once, and who obeys it did not finish by itself. */
static void a_command_that_hears_no_notice_is_signalled_at_once(void **state)
{
    (void)state;
    struct process exec, cancel;
    struct instant before = mono_now();
    START(&exec, "exec", "--run-id", "deaf", "--", "sh", "-c",
          "trap 'exit 0' TERM; echo ready; while :; do sleep 1000 & wait; done");
    until_heard(&exec, "ready");
    assert_int_equal(RUN(&cancel, "cancel", "deaf"), 0);
    assert_null(strstr(cancel.text, "finished anyway"));
    assert_int_equal(end_of(&exec), EXIT_CANCELLED);
    assert_true(mono_now().ms - before.ms < 5000);
    until_nothing_is_left();
}

/* The outer command obeys at once; that takes nothing from the grace of the inner one. */
static void a_nested_exec_has_its_own_grace(void **state)
{
    (void)state;
    struct process exec, cancel;
    static const char script[] =
        "trap 'exit 0' USR1\n"
        "\"$0\" exec --run-id inside --grace 5s --notice-signal USR1 -- sh -c \"\n"
        "    trap 'sleep 0.3; echo cleaned up; exit 0' USR1\n"
        "    echo ready; while :; do sleep 1000 & wait; done\" &\n"
        "wait; wait";
    START(&exec, "exec", "--run-id", "outside", "--grace", "5s", "--notice-signal", "USR1", "--",
          "sh", "-c", script, brakectl);
    until_heard(&exec, "ready");
    assert_int_equal(RUN(&cancel, "cancel", "outside"), 0);
    assert_int_equal(end_of(&exec), EXIT_CANCELLED);
    has(&exec, "cleaned up");
    until_state("inside", "cancelled");
    until_state("outside", "cancelled");
    until_nothing_is_left();
}

static void exec_survives_a_restart_of_its_agentd(void **state)
{
    (void)state;
    struct process exec, cancel;
    START(&exec, "exec", "--run-id", "survivor", "--grace", "50ms", "--", "sh", "-c",
          "echo ready; exec sleep 1000");
    until_heard(&exec, "ready");
    stack_kill_agentd(&stack, 0);
    assert_int_equal(stack_restart_agentd(&stack, 0), ERR_OK);
    until_agentd_has("survivor");
    assert_true(run_has_state("survivor", "running"));
    assert_int_equal(RUN(&cancel, "cancel", "survivor"), 0);
    assert_int_equal(end_of(&exec), EXIT_CANCELLED);
}

/* While nobody can be told, the command still ends as it ends. */
static void exec_ends_with_its_command_while_the_agentd_is_away(void **state)
{
    (void)state;
    struct process exec;
    char fifo[128], script[200];
    snprintf(fifo, sizeof fifo, "%s/go", folder);
    snprintf(script, sizeof script, "echo ready; read line < %s; exit 5", fifo);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    START(&exec, "exec", "--run-id", "alone", "--end-wait", "100ms", "--", "sh", "-c", script);
    until_heard(&exec, "ready");
    stack_kill_agentd(&stack, 0);
    int fd = open(fifo, O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, "go\n", 3), 3);
    close(fd);
    assert_int_equal(end_of(&exec), 5);
    assert_int_equal(stack_restart_agentd(&stack, 0), ERR_OK);
}

static void a_refused_command_never_runs(void **state)
{
    (void)state;
    struct process process;
    char path[128];
    snprintf(path, sizeof path, "%s/never", folder);
    assert_int_equal(
        RUN(&process, "cancel", "unborn", "--if-unknown", "remember", "--wait", "none"), 0);
    has(&process, "Nobody has seen unborn");
    assert_int_equal(RUN(&process, "exec", "--run-id", "unborn", "--", "touch", path),
                     EXIT_NOT_STARTED);
    has(&process, "cancelled");
    assert_int_equal(RUN(&process, "--agentd", "/no/such/socket", "exec", "--", "touch", path),
                     EXIT_UNAVAILABLE);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_signal_to_exec_reaches_the_command(void **state)
{
    (void)state;
    struct process exec;
    START(&exec, "exec", "--run-id", "signalled", "--", "sh", "-c",
          "trap 'exit 9' HUP; echo ready; while :; do sleep 1000 > /dev/null 2>&1 & wait; done");
    until_heard(&exec, "ready");
    kill(exec.pid, SIGHUP);
    assert_int_equal(end_of(&exec), 9);
    until_state("signalled", "error");
    demo_kill_processes(mark);
}

/* ---- asking --------------------------------------------------------------------------------- */

static void a_completed_run_is_not_cancelable(void **state)
{
    (void)state;
    struct process process;
    assert_int_equal(RUN(&process, "exec", "--run-id", "finished", "--", "true"), 0);
    assert_int_equal(RUN(&process, "cancel", "finished"), EXIT_REFUSED);
    has(&process, "not_cancelable");
    assert_int_equal(RUN(&process, "cancel", "nobody-knows-it"), EXIT_REFUSED);
    has(&process, "not_found");
}

static void a_wait_that_ends_before_the_stop_says_so(void **state)
{
    (void)state;
    struct process exec, cancel;
    START(&exec, "exec", "--run-id", "slow", "--grace", "1500ms", "--", "sleep", "1000");
    until_state("slow", "running");
    assert_int_equal(RUN(&cancel, "cancel", "slow", "--timeout", "10ms"), EXIT_INCOMPLETE);
    has(&cancel, "Not everything has");
    assert_int_equal(RUN(&cancel, "cancel", "slow", "--dry-run"), 0);
    assert_int_equal(RUN(&cancel, "cancel", "slow", "--grace", "0"), 0);
    has(&cancel, "cancelled already");
    assert_int_equal(end_of(&exec), EXIT_CANCELLED);
}

static void a_tree_is_drawn(void **state)
{
    (void)state;
    struct process process;
    assert_int_equal(RUN(&process, "exec", "--run-id", "trunk", "--agent", "oak", "--", brakectl,
                         "exec", "--run-id", "twig", "--agent", "leaf", "--", "true"),
                     0);
    assert_int_equal(RUN(&process, "tree", "trunk"), 0);
    has(&process, "oak success");
    has(&process, "└─ leaf success");
    assert_int_equal(RUN(&process, "tree", "twig"), 0);
    assert_null(strstr(process.text, "oak"));
    assert_int_equal(RUN(&process, "tree", "trunk", "--watch"), 0);
}

static void post_to_agentd(const char *path, json_t *body)
{
    char where[PROGRAM_PATH_MAX + 8];
    struct http_client *client = NULL;
    struct answer answer;
    snprintf(where, sizeof where, "unix:%s", stack.agentd_socket[0]);
    assert_int_equal(http_client_new(where, "a-token-of-the-test", &client), ERR_OK);
    answer_to(client, "POST", path, body, SECONDS(2), &answer);
    assert_int_equal(answer.status, 201);
    answer_fini(&answer);
    http_client_free(client);
}

static void a_tree_shows_what_it_links_to(void **state)
{
    (void)state;
    struct process process;
    post_to_agentd("/v1/runs", json_pack("{ss}", "run_id", "linking"));
    post_to_agentd("/v1/runs/linking/links",
                   json_pack("{si ss ss ss ss}", "epoch", 1, "kind", "langgraph", "url",
                             "http://127.0.0.1:1", "thread_id", "t", "run_id", "r"));
    assert_int_equal(RUN(&process, "tree", "linking"), 0);
    has(&process, "⇢ langgraph http://127.0.0.1:1/threads/t/runs/r not acknowledged");
}

static void is_json(const char *text)
{
    json_error_t error;
    json_t *json = json_loads(text, 0, &error);
    if (json == NULL)
        fail_msg("not JSON (%s): %s", error.text, text);
    json_decref(json);
}

static void every_answer_can_be_json(void **state)
{
    (void)state;
    struct process process;
    assert_int_equal(RUN(&process, "exec", "--run-id", "for-json", "--", "true"), 0);
    RUN(&process, "runs", "--json");
    is_json(process.text);
    RUN(&process, "--json", "replica");
    is_json(process.text);
    assert_int_equal(RUN(&process, "--json", "replica", "confirm-losses"), 0);
    is_json(process.text);
    assert_int_equal(RUN(&process, "--json", "replica", "resume", "nobody"), 1);
    assert_int_equal(RUN(&process, "replica", "resume"), 2);
    assert_int_equal(RUN(&process, "replica", "revive"), 2);
    RUN(&process, "--json", "tree", "for-json");
    is_json(process.text);
    RUN(&process, "--json", "check");
    is_json(process.text);
    RUN(&process, "--json", "--version");
    is_json(process.text);
    RUN(&process, "--json", "exec", "--", "true");
    is_json(process.text);
    assert_int_equal(RUN(&process, "--json", "cancel", "new-for-json", "--if-unknown", "remember",
                         "--wait", "none"),
                     0);
    is_json(process.text);
    assert_int_equal(RUN(&process, "--json", "events", "--limit", "1"), 0);
    is_json(process.text);
}

static void cancels_are_listed(void **state)
{
    (void)state;
    struct process process;
    assert_int_equal(RUN(&process, "cancel", "for-the-list", "--if-unknown", "remember", "--wait",
                         "none", "--reason", "a reason to list"),
                     0);
    assert_int_equal(RUN(&process, "events"), 0);
    has(&process, "for-the-list accepted: a reason to list");
}

/* ---- the doctor ----------------------------------------------------------------------------- */

static void the_doctor_tells_good_from_doubtful_from_bad(void **state)
{
    (void)state;
    struct process process;
    int code = RUN(&process, "check");
    if (code != 0)
        fail_msg("exit code %d: %s", code, process.text);
    redis_do("CONFIG SET maxmemory-policy volatile-lru");
    assert_int_equal(RUN(&process, "check"), 1);
    redis_do("CONFIG SET maxmemory-policy allkeys-lru");
    assert_int_equal(RUN(&process, "check"), 2);
    has(&process, "noeviction");
    redis_do("CONFIG SET maxmemory-policy noeviction");
    assert_int_equal(RUN(&process, "check", "--agentd", "/no/such/socket"), 2);
    has(&process, "no such socket");
    assert_int_equal(RUN(&process, "check", "--redis", "unix:///no/such/redis"), 2);
}

static void the_doctor_sees_what_an_acl_user_may_not(void **state)
{
    (void)state;
    struct process process;
    char url[PROGRAM_PATH_MAX + 8];
    redis_do("ACL SETUSER deaf on nopass ~bw:* resetchannels +@all");
    snprintf(url, sizeof url, "unix://%s", stack.redis_socket);
    char password[128];
    snprintf(password, sizeof password, "%s/password", folder);
    FILE *file = fopen(password, "we");
    assert_non_null(file);
    fputs("any\n", file);
    fclose(file);
    assert_int_equal(RUN(&process, "check", "--redis", url, "--redis-user", "deaf",
                         "--redis-password-file", password),
                     2);
    has(&process, "&bw:*");
}

static void the_doctor_tells_whether_redis_can_keep_what_is_asked_of_it(void **state)
{
    (void)state;
    struct process process;
    struct redis_process redis;
    redis_process_start(&redis, KIND_VALKEY, NULL); /* WAITAOF is not in every Redis */
    const char *const url = redis.url;
    assert_int_equal(RUN(&process, "check", "--redis", url, "--durability", "replicated"), 2);
    has(&process, "no replica is connected");
    assert_int_equal(RUN(&process, "check", "--redis", url, "--durability", "fsynced"), 2);
    has(&process, "appendonly yes: no cancel becomes fsynced");
    redis_process_do(&redis, "CONFIG SET appendonly yes");
    assert_int_equal(RUN(&process, "check", "--redis", url, "--durability", "fsynced"), 1);
    has(&process, "appendfsync always: with another one");
    redis_process_do(&redis, "CONFIG SET appendfsync always");
    assert_int_equal(RUN(&process, "check", "--redis", url, "--durability", "fsynced"), 0);
    redis_process_do(&redis, "ACL SETUSER default -waitaof");
    assert_int_equal(RUN(&process, "check", "--redis", url, "--durability", "fsynced"), 2);
    has(&process, "ACL SETUSER <user> +waitaof");
    redis_process_end(&redis);
}

/* ---- everything on one machine -------------------------------------------------------------- */

static void up_starts_everything_and_stops_it(void **state)
{
    (void)state;
    struct process up, check;
    char dir[128], socket_path[160];
    snprintf(dir, sizeof dir, "%s/up", folder);
    snprintf(socket_path, sizeof socket_path, "%s/agentd-2.sock", dir);
    START(&up, "--json", "up", "--dir", dir, "--agentds", "2", "--any-port");
    while (strchr(up.text, '\n') == NULL)
        assert_true(hear(&up));
    is_json(up.text);
    json_t *json = json_loads(up.text, 0, NULL);
    assert_int_equal(
        RUN(&check, "--broker", json_text(json, "broker"), "--agentd", socket_path, "check"), 0);
    json_decref(json);
    assert_int_not_equal(RUN(&check, "up", "--dir", dir, "--any-port"), 0);
    has(&check, "already");
    kill(up.pid, SIGTERM);
    assert_int_equal(end_of(&up), 0);
    assert_int_equal(access(socket_path, F_OK), -1);
}

static void the_demo_passes(void **state)
{
    (void)state;
    struct process demo;
    START(&demo, "demo");
    int code = end_of(&demo);
    if (code != 0)
        fail_msg("exit code %d: %s", code, demo.text);
    has(&demo, ", 0 failed");
}

/* ---- the stage ------------------------------------------------------------------------------ */

static int everything_is_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/brakectl-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(mark, sizeof mark, "BRAKECTL_TEST=%d", (int)getpid());
    program_find("brakectl", brakectl);
    const struct stack_options options = {.folder = folder, .agentds = 1, .keeps_data = true};
    return stack_start(&stack, &options) == ERR_OK ? 0 : -1;
}

static int everything_is_down(void **state)
{
    (void)state;
    demo_kill_processes(mark);
    stack_stop(&stack);
    char remove[128];
    snprintf(remove, sizeof remove, "rm -rf %s", folder);
    return system(remove);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_has_help_with_examples),
        cmocka_unit_test(wrong_usage_ends_with_2),
        cmocka_unit_test(a_wrong_flag_is_named_with_where_to_read_on),
        cmocka_unit_test(who_does_not_answer_is_named_once),
        cmocka_unit_test(exec_ends_with_the_code_of_its_command),
        cmocka_unit_test(the_end_of_the_command_is_recorded),
        cmocka_unit_test(a_nested_exec_is_a_child),
        cmocka_unit_test(a_cancelled_exec_ends_with_143_and_leaves_nothing),
        cmocka_unit_test(a_command_can_clean_up_on_the_notice),
        cmocka_unit_test(who_is_killed_at_once_was_cancelled_and_did_not_fail),
        cmocka_unit_test(a_command_that_hears_no_notice_is_signalled_at_once),
        cmocka_unit_test(a_nested_exec_has_its_own_grace),
        cmocka_unit_test(exec_survives_a_restart_of_its_agentd),
        cmocka_unit_test(exec_ends_with_its_command_while_the_agentd_is_away),
        cmocka_unit_test(a_refused_command_never_runs),
        cmocka_unit_test(a_signal_to_exec_reaches_the_command),
        cmocka_unit_test(a_completed_run_is_not_cancelable),
        cmocka_unit_test(a_wait_that_ends_before_the_stop_says_so),
        cmocka_unit_test(a_tree_is_drawn),
        cmocka_unit_test(a_tree_shows_what_it_links_to),
        cmocka_unit_test(every_answer_can_be_json),
        cmocka_unit_test(cancels_are_listed),
        cmocka_unit_test(the_doctor_tells_good_from_doubtful_from_bad),
        cmocka_unit_test(the_doctor_sees_what_an_acl_user_may_not),
        cmocka_unit_test(the_doctor_tells_whether_redis_can_keep_what_is_asked_of_it),
        cmocka_unit_test(up_starts_everything_and_stops_it),
        cmocka_unit_test(the_demo_passes),
    };
    return cmocka_run_group_tests(tests, everything_is_up, everything_is_down);
}
