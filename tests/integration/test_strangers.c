/* Another user of the same machine: what it may not do to a daemon, to its clients and to their
 * runs; and what is left to a daemon that was root. Only root can play all the parts. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "support/sidecar.h"

enum { STRANGER = 64001, DAEMON = 64002 }; /* users without a name */
#define THEIR_TOKEN "the-token-of-a-stranger"

static struct redis_process redis;
static struct service agentd;
static struct started run; /* of root's client */

/* ---- being somebody else ------------------------------------------------------------------- */

static void become(uid_t uid)
{
    if (setgroups(0, NULL) != 0 || setresgid(uid, uid, uid) != 0 || setresuid(uid, uid, uid) != 0)
        _exit(99);
}

/* Runs it as that user in a process of its own; 0 is what it should answer. */
static void as_user(uid_t uid, int (*story)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        become(uid);
        _exit(story());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Waits for a signal that ends it, as this user; it is this user already when we go on. */
static pid_t victim_start(uid_t uid)
{
    int changed[2];
    char byte;
    assert_int_equal(pipe(changed), 0);
    pid_t parent = getpid(), pid = fork();
    if (pid != 0) {
        close(changed[1]);
        assert_int_equal(read(changed[0], &byte, 1), 1);
        close(changed[0]);
        return pid;
    }
    become(uid);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (write(changed[1], "", 1) != 1)
        _exit(99);
    while (getppid() == parent)
        pause();
    _exit(0);
}

/* ---- the socket ---------------------------------------------------------------------------- */

static int connect_to_it(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%.100s", agentd.where + strlen("unix:"));
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return connect(fd, (struct sockaddr *)&to, sizeof to) != 0 && errno == EACCES ? 0 : 1;
}

static void the_socket_is_closed_to_strangers(void **state)
{
    (void)state;
    as_user(STRANGER, connect_to_it);
}

static int replace_it(void)
{
    const char *path = agentd.where + strlen("unix:");
    char other[2 * SERVICE_PATH_MAX];
    snprintf(other, sizeof other, "%.108s.mine", path);
    bool removed = unlink(path) == 0 || rename(path, other) == 0;
    return removed || symlink("/tmp", other) == 0 ? 1 : 0;
}

static void nor_can_they_put_another_in_its_place(void **state)
{
    (void)state;
    as_user(STRANGER, replace_it);
}

static void nor_is_it_ever_open_to_everybody(void **state)
{
    (void)state;
    const char *const args[] = {"--socket-mode=0666", "--check-config", NULL};
    assert_int_equal(service_run("brakewire-agentd", args), 2);
    assert_int_equal(service_run("brakewire-broker", args), 2);
}

/* ---- secrets ------------------------------------------------------------------------------- */

static int look_into_it(void)
{
    static const char *const files[] = {"environ", "mem", "maps", "fd/0"};
    char path[64];
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", (int)agentd.pid, files[i]);
        int fd = open(path, O_RDONLY);
        char byte;
        if (fd >= 0 && read(fd, &byte, 1) >= 0)
            return 1 + i;
    }
    return 0;
}

static void nobody_reads_a_token_out_of_its_memory(void **state)
{
    (void)state;
    as_user(STRANGER, look_into_it);
}

static void a_password_that_all_can_read_is_refused(void **state)
{
    (void)state;
    char path[] = "/tmp/password-XXXXXX", flag[64];
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "secret", 6), 6);
    assert_int_equal(fchmod(fd, 0644), 0);
    snprintf(flag, sizeof flag, "--redis-password-file=%s", path);
    const char *const args[] = {flag, "--check-config", NULL};
    assert_int_equal(service_run("brakewire-agentd", args), 2);
    assert_int_equal(service_run("brakewire-broker", args), 2);
    assert_int_equal(fchmod(fd, 0600), 0);
    assert_int_equal(service_run("brakewire-agentd", args), 0);
    close(fd);
    unlink(path);
}

/* Not only the words, also what they lead to: before a unit is started with them. */
static void what_is_wrong_with_redis_options_is_found_before_a_start(void **state)
{
    static const char *const programs[] = {"brakewire-agentd", "brakewire-broker"};
    static const char *const wrong[] = {"--redis-url=redis://localhost/x",
                                        "--redis-url=sentinel://localhost",
                                        "--redis-ca-file=/nowhere/to/be/found"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 3; k++) {
            const char *const args[] = {"--redis-url=rediss://localhost", wrong[k],
                                        "--check-config", NULL};
            assert_int_equal(service_run(programs[i], args), 2);
        }
        const char *const fine[] = {"--redis-url=rediss://localhost", "--check-config", NULL};
        assert_int_equal(service_run(programs[i], fine), 0);
    }
}

/* ---- runs of somebody else ----------------------------------------------------------------- */

struct attempt {
    const char *token, *method, *path, *body;
    long status;
    const char *code;
};

static int try_all(const struct attempt *attempt, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        json_t *json = NULL;
        long status = service_call(&agentd, attempt[i].token, attempt[i].method, attempt[i].path,
                                   attempt[i].body, &json);
        bool as_it_should =
            status == attempt[i].status
            && (attempt[i].code == NULL || strcmp(json_word(json, "code"), attempt[i].code) == 0);
        if (!as_it_should)
            print_error("%s %s as a stranger: %ld %s\n", attempt[i].method, attempt[i].path, status,
                        json_word(json, "code"));
        json_decref(json);
        if (!as_it_should)
            return 1 + (int)i;
    }
    return 0;
}

static int take_their_run(void)
{
    char ack[128], end[128], links[128], fence[128], cancel[128], one[128], adopt[256], pid[128];
    snprintf(ack, sizeof ack, "/v1/runs/%s/ack", run.run);
    snprintf(end, sizeof end, "/v1/runs/%s/end", run.run);
    snprintf(links, sizeof links, "/v1/runs/%s/links", run.run);
    snprintf(fence, sizeof fence, "/v1/runs/%s/fence", run.run);
    snprintf(cancel, sizeof cancel, "/v1/runs/%s/cancel", run.run);
    snprintf(one, sizeof one, "/v1/runs/%s", run.run);
    snprintf(adopt, sizeof adopt, "{\"run_id\":\"%s\",\"epoch\":1,\"takeover\":true}", run.run);
    snprintf(pid, sizeof pid, "{\"stop\":[{\"kind\":\"process\",\"pid\":%d}]}", (int)getppid());
    const struct attempt attempts[] = {
        {THEIR_TOKEN, "POST", end, "{\"epoch\":1,\"state\":\"success\"}", 401, "unauthorized"},
        {THEIR_TOKEN, "POST", "/v1/runs", "{}", 201, NULL}, /* from now on a client like others */
        {THEIR_TOKEN, "POST", ack, "{\"epoch\":1,\"phase\":\"acknowledged\"}", 403, "forbidden"},
        {THEIR_TOKEN, "POST", end, "{\"epoch\":1,\"state\":\"success\"}", 403, "forbidden"},
        {THEIR_TOKEN, "POST", links, "{\"epoch\":1,\"kind\":\"root\",\"to\":\"x\"}", 403,
         "forbidden"},
        {THEIR_TOKEN, "POST", fence, "{\"epoch\":1,\"write_id\":\"w\"}", 403, "forbidden"},
        {THEIR_TOKEN, "POST", cancel, "{}", 403, "forbidden"},
        {THEIR_TOKEN, "GET", one, NULL, 403, "forbidden"},
        {THEIR_TOKEN, "POST", "/v1/runs", adopt, 403, "forbidden"},
        {THEIR_TOKEN, "POST", "/v1/runs", pid, 403, "forbidden"},
        {NULL, "POST", cancel, "{}", 401, "unauthorized"},
        {NULL, "POST", end, "{\"epoch\":1,\"state\":\"success\"}", 401, "unauthorized"},
        {NULL, "GET", "/v1/runs", NULL, 401, "unauthorized"},
        {NULL, "GET", "/v1/events", NULL, 401, "unauthorized"},
    };
    return try_all(attempts, sizeof attempts / sizeof attempts[0]);
}

/* It may reach the socket here: then it is a client among others, and still nobody else. */
static void who_reaches_the_socket_has_its_own_runs_alone(void **state)
{
    (void)state;
    assert_int_equal(chmod(agentd.where + strlen("unix:"), 0666), 0);
    as_user(STRANGER, take_their_run);
    assert_int_equal(chmod(agentd.where + strlen("unix:"), 0660), 0);
    sidecar_wait_for_state(&agentd, &run, "running");
}

static pid_t their_process;

static int name_their_own_process(void)
{
    char body[128];
    snprintf(body, sizeof body, "{\"stop\":[{\"kind\":\"process\",\"pid\":%d}]}",
             (int)their_process);
    const struct attempt attempt = {THEIR_TOKEN, "POST", "/v1/runs", body, 201, NULL};
    return try_all(&attempt, 1);
}

static void a_stranger_may_name_a_process_of_its_own(void **state)
{
    (void)state;
    their_process = victim_start(STRANGER);
    assert_int_equal(chmod(agentd.where + strlen("unix:"), 0666), 0);
    as_user(STRANGER, name_their_own_process);
    assert_int_equal(chmod(agentd.where + strlen("unix:"), 0660), 0);
    kill(their_process, SIGKILL);
    assert_int_equal(waitpid(their_process, NULL, 0), their_process);
}

/* ---- a daemon that was root ---------------------------------------------------------------- */

static bool status_says(const struct service *service, const char *line)
{
    char path[64], text[4096] = "";
    snprintf(path, sizeof path, "/proc/%d/status", (int)service->pid);
    FILE *file = fopen(path, "r");
    size_t len = file != NULL ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file != NULL)
        fclose(file);
    text[len] = '\0';
    return strstr(text, line) != NULL;
}

static void start_dropped(struct service *dropped, const char *program, const char *more)
{
    char url[128];
    snprintf(url, sizeof url, "--redis-url=redis://127.0.0.1:%d", redis.port);
    const char *const args[] = {url, "--user=64002", "--group=64002", "--listen=127.0.0.1:0", more,
                                NULL};
    service_start(dropped, program, true, args);
}

static void expect_dropped(const struct service *dropped, const char *capabilities)
{
    struct stat file;
    char line[64];
    assert_true(status_says(dropped, "\nUid:\t64002\t64002\t64002\t64002\n"));
    assert_true(status_says(dropped, "\nGid:\t64002\t64002\t64002\t64002\n"));
    assert_true(status_says(dropped, "\nGroups:\t64002 \n"));
    assert_true(status_says(dropped, "\nNoNewPrivs:\t1\n"));
    assert_true(status_says(dropped, "\nCapBnd:\t0000000000000000\n"));
    snprintf(line, sizeof line, "\nCapPrm:\t%s\n", capabilities);
    assert_true(status_says(dropped, line));
    assert_int_equal(stat(dropped->where + strlen("unix:"), &file), 0);
    assert_int_equal(file.st_uid, DAEMON);
    assert_int_equal(file.st_gid, DAEMON);
    assert_int_equal(file.st_mode & 0777, 0660);
}

static void root_becomes_a_user_for_good(void **state)
{
    (void)state;
    struct service dropped;
    start_dropped(&dropped, "brakewire-agentd", NULL);
    expect_dropped(&dropped, "0000000000000000");
    service_stop(&dropped);
    start_dropped(&dropped, "brakewire-broker", NULL);
    expect_dropped(&dropped, "0000000000000000");
    service_stop(&dropped);
}

/* The process is root's; who cancels it is an agentd that is not. True: it was ended. */
static bool is_ended_by(const struct service *dropped, pid_t victim)
{
    json_decref(
        sidecar_call(dropped, "a-token-of-roots-client", 201, "POST", "/v1/runs",
                     "{\"run_id\":\"of-root-%d\",\"stop\":[{\"kind\":\"process\",\"pid\":%d,"
                     "\"grace_ms\":100}]}",
                     (int)victim, (int)victim));
    char path[64], one[64];
    snprintf(path, sizeof path, "/v1/runs/of-root-%d/cancel", (int)victim);
    snprintf(one, sizeof one, "/v1/runs/of-root-%d", (int)victim);
    json_t *answer =
        sidecar_call(dropped, "a-token-of-roots-client", 202, "POST", path, "{\"grace_ms\":100}");
    json_decref(answer);
    struct waiting wait = WAITING;
    for (;; waiting_turn(&wait)) {
        json_t *view = NULL;
        (void)service_call(dropped, "a-token-of-roots-client", "GET", one, NULL, &view);
        char *text = view != NULL ? json_dumps(json_object_get(view, "flags"), 0) : NULL;
        bool is_unresponsive = text != NULL && strstr(text, "unresponsive") != NULL;
        free(text);
        json_decref(view);
        if (waitpid(victim, NULL, WNOHANG) == victim)
            return true;
        if (is_unresponsive)
            return false;
    }
}

static void without_root_it_stops_only_its_own_users_processes(void **state)
{
    (void)state;
    struct service dropped;
    pid_t victim = victim_start(0);
    start_dropped(&dropped, "brakewire-agentd", "--kill-patience=200ms");
    assert_false(is_ended_by(&dropped, victim));
    assert_int_equal(kill(victim, SIGKILL), 0);
    assert_int_equal(waitpid(victim, NULL, 0), victim);
    service_stop(&dropped);
}

/* `brakectl replica …` of this broker; what it printed, and its exit code. */
static int ask_brakectl(const struct service *broker, const char *words, char *out, size_t room)
{
    char command[512];
    snprintf(command, sizeof command, "%s/brakectl --broker '%s' %s 2>&1", BRAKEWIRE_BIN,
             broker->where, words);
    FILE *output = popen(command, "r");
    assert_non_null(output);
    out[fread(out, 1, room - 1, output)] = '\0';
    int status = pclose(output);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool line_says(const char *text, const char *name, const char *word)
{
    const char *line = strstr(text, name);
    size_t len = line != NULL ? strcspn(line, "\n") : 0;
    const char *found = line != NULL ? strstr(line, word) : NULL;
    return found != NULL && found < line + len;
}

static void is_refused_for_quarantine(const struct service *sick)
{
    json_t *ready = NULL;
    json_t *refused = sidecar_call(sick, "a-token-of-roots-client", 429, "POST", "/v1/runs", "{}");
    assert_string_equal(json_word(refused, "code"), "overloaded");
    assert_non_null(strstr(json_word(refused, "detail"), "quarantined: SIGKILL did not end"));
    assert_int_equal(service_call(sick, NULL, "GET", "/readyz", NULL, &ready), 503);
    assert_non_null(strstr(json_word(ready, "detail"), "quarantined"));
    json_decref(refused);
    json_decref(ready);
}

/* The whole way: what SIGKILL does not reach is a process of root here, the agentd is not. */
static void where_a_kill_did_not_help_no_run_starts_until_an_operator_says_so(void **state)
{
    (void)state;
    struct service sick, broker;
    char replica[ID_TEXT_MAX], url[128], words[128], out[4096];
    struct waiting wait = WAITING;
    pid_t victim = victim_start(0);
    snprintf(url, sizeof url, "--redis-url=redis://127.0.0.1:%d", redis.port);
    const char *const args[] = {url,          "--user=64002",          "--group=64002",
                                "--lease=1s", "--kill-patience=200ms", NULL};
    service_start(&sick, "brakewire-agentd", true, args);
    service_start(&broker, "brakewire-broker", true,
                  (const char *const[]){url, "--listen=127.0.0.1:0", "--lease=1s", NULL});
    assert_false(is_ended_by(&sick, victim));
    service_wait_for(&sick, NULL, "/v1/version", "quarantined", "true");
    is_refused_for_quarantine(&sick);

    json_t *about = NULL;
    assert_int_equal(service_call(&sick, NULL, "GET", "/v1/version", NULL, &about), 200);
    snprintf(replica, sizeof replica, "%s", json_word(about, "replica_id"));
    json_decref(about);
    while (ask_brakectl(&broker, "replica list", out, sizeof out) != 0
           || !line_says(out, replica, "quarantined"))
        waiting_turn(&wait);
    snprintf(words, sizeof words, "replica resume %s", replica);
    assert_int_equal(ask_brakectl(&broker, words, out, sizeof out), 0);
    assert_non_null(strstr(out, "takes new runs again"));
    service_wait_for(&sick, NULL, "/v1/version", "quarantined", "false");
    assert_int_equal(service_call(&sick, NULL, "GET", "/readyz", NULL, NULL), 200);
    json_decref(sidecar_call(&sick, "a-token-of-roots-client", 201, "POST", "/v1/runs", "{}"));
    assert_int_equal(kill(victim, 0), 0); /* it is resumed although it still lives */
    assert_int_equal(kill(victim, SIGKILL), 0);
    assert_int_equal(waitpid(victim, NULL, 0), victim);
    service_stop(&broker);
    service_stop(&sick);
}

static void unless_it_keeps_the_right_to(void **state)
{
    (void)state;
    struct service dropped;
    pid_t victim = victim_start(0);
    start_dropped(&dropped, "brakewire-agentd", "--agents-of-other-users");
    expect_dropped(&dropped, "0000000000080020");
    assert_true(is_ended_by(&dropped, victim));
    service_stop(&dropped);
}

/* ---- all of it ----------------------------------------------------------------------------- */

static int begin(void **state)
{
    (void)state;
    redis_process_start(&redis, KIND_REDIS, NULL);
    sidecar_start(&agentd, &redis, NULL);
    run = sidecar_run(&agentd, "the-token-of-roots-client", "{}");
    return chmod(agentd.folder, 0755);
}

static int end(void **state)
{
    (void)state;
    service_stop(&agentd);
    redis_process_end(&redis);
    return 0;
}

int main(void)
{
    enum { SKIPPED = 77 };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_socket_is_closed_to_strangers),
        cmocka_unit_test(nor_can_they_put_another_in_its_place),
        cmocka_unit_test(nor_is_it_ever_open_to_everybody),
        cmocka_unit_test(nobody_reads_a_token_out_of_its_memory),
        cmocka_unit_test(a_password_that_all_can_read_is_refused),
        cmocka_unit_test(what_is_wrong_with_redis_options_is_found_before_a_start),
        cmocka_unit_test(who_reaches_the_socket_has_its_own_runs_alone),
        cmocka_unit_test(a_stranger_may_name_a_process_of_its_own),
        cmocka_unit_test(root_becomes_a_user_for_good),
        cmocka_unit_test(without_root_it_stops_only_its_own_users_processes),
        cmocka_unit_test(where_a_kill_did_not_help_no_run_starts_until_an_operator_says_so),
        cmocka_unit_test(unless_it_keeps_the_right_to),
    };
    if (getuid() != 0) {
        printf("skipped: only root can be somebody else\n");
        return SKIPPED;
    }
    return cmocka_run_group_tests(tests, begin, end);
}
