/* proctree against real process trees: a victim that ignores SIGTERM, double-forks and hides. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#include "io/proctree.h"

enum { WAIT_MS = 10000, VICTIM_LIFE_S = 60, PID = 1, CGROUP = 2, TOKEN = 8, NOBODY = 65534 };

/* ---- the victims: this program, started again -------------------------------------------------
 */

static void tell(pid_t pid)
{
    if (write(STDOUT_FILENO, &pid, sizeof pid) != sizeof pid)
        _exit(1);
}

static void live(bool ignores_term)
{
    alarm(VICTIM_LIFE_S); /* nothing of a failed test stays for ever */
    if (ignores_term)
        signal(SIGTERM, SIG_IGN);
    tell(getpid());
    for (;;)
        pause();
}

/* Main, a child that ignores SIGTERM, and a grandchild that has left session and parent as well. */
static void be_family(void)
{
    char go;
    if (read(STDIN_FILENO, &go, 1) != 1)
        _exit(1);
    if (fork() == 0) {
        if (fork() == 0) {
            setsid();
            if (fork() != 0)
                _exit(0);
            live(true);
        }
        wait(NULL);
        live(true);
    }
    live(false);
}

/* Every few milliseconds it is somebody else: the parent ends, the child goes on. */
static void be_runaway(void)
{
    static const struct itimerval life = {.it_value.tv_usec = 5000};
    sigset_t its_end;
    int caught;
    sigemptyset(&its_end);
    sigaddset(&its_end, SIGALRM);
    sigprocmask(SIG_BLOCK, &its_end, NULL);
    tell(getpid());
    for (int lives = 0; lives < 2000; lives++) {
        setitimer(ITIMER_REAL, &life, NULL);
        sigwait(&its_end, &caught);
        if (fork() != 0)
            _exit(0);
    }
    _exit(0);
}

/* ---- the scene ---------------------------------------------------------------------------------
 */

struct scene {
    uv_loop_t loop;
    uv_timer_t tick; /* makes UV_RUN_ONCE return, so that a wait is bounded */
    struct proctree *tree;
    unsigned exits, empties, closed;
    unsigned found, count;
    bool close_on_exit;
    int go, pids; /* pipes to and from the victim */
    pid_t main, other[2];
    char token[32]; /* of this program alone: another one may run at the same time */
    char cgroup[256], base[256];
    const char *cgroup_root;
};

static void ticked(uv_timer_t *timer)
{
    (void)timer;
}

static void on_exit_(void *owner)
{
    struct scene *scene = owner;
    scene->exits++;
    if (scene->close_on_exit) {
        proctree_close(scene->tree);
        scene->tree = NULL;
    }
}

static void on_empty(void *owner)
{
    struct scene *scene = owner;
    assert_int_equal(scene->exits, 1);
    scene->empties++;
}

static void on_closed(void *owner)
{
    ((struct scene *)owner)->closed++;
}

static const struct proctree_events events = {on_exit_, on_empty, on_closed};

#define WAIT_FOR(scene, condition)                             \
    do {                                                       \
        uint64_t start_ = uv_hrtime();                         \
        while (!(condition)) {                                 \
            uv_run(&(scene)->loop, UV_RUN_ONCE);               \
            if (uv_hrtime() - start_ > WAIT_MS * 1000000ull)   \
                fail_msg("waited in vain for %s", #condition); \
        }                                                      \
    } while (0)

static void start(struct scene *scene, const char *kind, const char *token, uid_t uid)
{
    int in[2], out[2];
    char variable[64], *env[] = {variable, NULL};
    snprintf(variable, sizeof variable, "BRAKEWIRE_RUN_TOKEN=%s", token);
    assert_int_equal(pipe2(in, O_CLOEXEC) + pipe2(out, O_CLOEXEC), 0);
    scene->main = fork();
    if (scene->main == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        if (uid != 0 && setuid(uid) != 0)
            _exit(1);
        execve("/proc/self/exe", (char *[]){"victim", (char *)(uintptr_t)kind, NULL}, env);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    scene->go = in[1];
    scene->pids = out[0];
}

static pid_t next_pid(struct scene *scene)
{
    pid_t pid = 0;
    struct pollfd ready = {scene->pids, POLLIN, 0};
    assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
    assert_int_equal(read(scene->pids, &pid, sizeof pid), sizeof pid);
    return pid;
}

static void start_family(struct scene *scene, const char *token)
{
    start(scene, "family", token, 0);
    if (scene->base[0] != '\0')
        assert_int_equal(proctree_cgroup_make(scene->base, "run", scene->main, scene->cgroup,
                                              sizeof scene->cgroup),
                         ERR_OK);
    assert_int_equal(write(scene->go, "g", 1), 1);
    size_t others = 0;
    for (int i = 0; i < 3; i++) {
        pid_t pid = next_pid(scene);
        if (pid != scene->main)
            scene->other[others++] = pid;
    }
    assert_int_equal(others, 2);
}

static bool lives(pid_t pid)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    const char *end = strrchr(text, ')');
    return end != NULL && end[2] != 'Z';
}

static enum err open_tree(struct scene *scene, pid_t pid, const char *token, uid_t uid)
{
    const struct proctree_options options = {
        .pid = pid,
        .token = token,
        .owner_uid = uid,
        .cgroup = scene->cgroup[0] != '\0' ? scene->cgroup : NULL,
    };
    return proctree_open(&scene->loop, &options, &events, scene, &scene->tree);
}

static void send_signal(struct scene *scene, int signal)
{
    assert_int_equal(proctree_signal(scene->tree, signal, &scene->found, &scene->count), ERR_OK);
}

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    uv_loop_init(&scene->loop);
    uv_timer_init(&scene->loop, &scene->tick);
    uv_timer_start(&scene->tick, ticked, 2, 2);
    scene->go = scene->pids = -1;
    snprintf(scene->token, sizeof scene->token, "t0ken-%d", (int)getpid());
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    unsigned due = scene->tree != NULL || scene->close_on_exit ? 1 : 0;
    if (scene->tree != NULL)
        proctree_close(scene->tree);
    uv_close((uv_handle_t *)&scene->tick, NULL);
    uv_run(&scene->loop, UV_RUN_DEFAULT);
    bool clean = uv_loop_close(&scene->loop) == 0 && scene->closed == due;
    close(scene->go);
    close(scene->pids);
    for (int i = 0; i < 2; i++)
        if (scene->other[i] != 0)
            kill(scene->other[i], SIGKILL);
    if (scene->main > 0) {
        kill(scene->main, SIGKILL);
        waitpid(scene->main, NULL, 0);
    }
    if (scene->cgroup[0] != '\0')
        proctree_cgroup_remove(scene->cgroup);
    if (scene->base[0] != '\0')
        rmdir(scene->base);
    free(scene);
    return clean ? 0 : -1;
}

/* ---- the stories -------------------------------------------------------------------------------
 */

static void by_its_token_every_process_is_found_and_killed(void **state)
{
    struct scene *scene = *state;
    start_family(scene, scene->token);
    assert_int_equal(open_tree(scene, scene->main, scene->token, getuid()), ERR_OK);
    assert_int_equal(proctree_pid(scene->tree), scene->main);
    assert_int_equal(proctree_count(scene->tree), 3);
    send_signal(scene, SIGTERM);
    assert_int_equal(scene->count, 3);
    assert_int_equal(scene->found, PID | TOKEN);
    WAIT_FOR(scene, scene->exits == 1);
    assert_int_equal(proctree_count(scene->tree), 2);
    assert_int_equal(scene->empties, 0);
    send_signal(scene, SIGKILL);
    assert_int_equal(scene->count, 2);
    WAIT_FOR(scene, scene->empties == 1);
    assert_false(lives(scene->main) || lives(scene->other[0]) || lives(scene->other[1]));
}

static void a_token_that_only_begins_alike_is_somebody_elses(void **state)
{
    struct scene *scene = *state;
    char longer[64];
    snprintf(longer, sizeof longer, "%s-of-another", scene->token);
    start_family(scene, longer);
    assert_int_equal(open_tree(scene, scene->main, scene->token, getuid()), ERR_OK);
    assert_int_equal(proctree_count(scene->tree), 2); /* by parent only */
    send_signal(scene, SIGKILL);
    assert_int_equal(scene->found, PID);
    WAIT_FOR(scene, scene->empties == 1);
    assert_true(lives(scene->other[0]) || lives(scene->other[1]));
}

static void an_orphan_that_was_seen_before_is_remembered(void **state)
{
    struct scene *scene = *state;
    start_family(scene, "unused");
    assert_int_equal(open_tree(scene, scene->main, NULL, (uid_t)-1), ERR_OK);
    send_signal(scene, SIGTERM);
    assert_int_equal(scene->count, 2);
    WAIT_FOR(scene, scene->exits == 1);
    waitpid(scene->main, NULL, 0);
    scene->main = 0;
    assert_int_equal(proctree_count(scene->tree), 1);
    send_signal(scene, SIGKILL);
    assert_int_equal(scene->count, 1);
    WAIT_FOR(scene, scene->empties == 1);
}

static void a_tree_that_forks_on_is_caught(void **state)
{
    struct scene *scene = *state;
    start(scene, "runaway", scene->token, 0);
    assert_int_equal(next_pid(scene), scene->main);
    if (open_tree(scene, scene->main, scene->token, getuid()) != ERR_OK)
        skip(); /* its first life was over before we looked */
    /* It may be between two lives at a look, on a machine with many processes more than once. */
    for (int looks = 0; scene->count == 0 && looks < 50; looks++)
        send_signal(scene, SIGKILL);
    assert_true(scene->count >= 1);
    WAIT_FOR(scene, scene->empties == 1);
    assert_int_equal(proctree_count(scene->tree), 0);
}

/* Makes scene->base where cgroup v2 is mounted and ours to write. */
static void need_cgroups(struct scene *scene)
{
    static const char *const roots[] = {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"};
    for (size_t i = 0; i < 2; i++) {
        char probe[300];
        snprintf(scene->base, sizeof scene->base, "%s/brakewire-test-%d", roots[i], (int)getpid());
        snprintf(probe, sizeof probe, "%s/cgroup.events", scene->base);
        if (mkdir(scene->base, 0755) == 0 && access(probe, R_OK) == 0) {
            scene->cgroup_root = roots[i];
            return;
        }
        rmdir(scene->base);
        scene->base[0] = '\0';
    }
    print_message("skipped: no cgroup v2 that we may write\n");
    skip();
}

static void in_its_cgroup_every_process_is_found(void **state)
{
    struct scene *scene = *state;
    need_cgroups(scene);
    start_family(scene, "unused");
    assert_int_equal(open_tree(scene, scene->main, NULL, getuid()), ERR_OK);
    send_signal(scene, SIGTERM);
    assert_int_equal(scene->count, 3);
    assert_int_equal(scene->found, PID | CGROUP);
    WAIT_FOR(scene, scene->exits == 1);
    send_signal(scene, SIGKILL);
    assert_int_equal(scene->count, 2);
    WAIT_FOR(scene, scene->empties == 1);
    assert_false(lives(scene->other[0]) || lives(scene->other[1]));
}

static void a_cgroup_that_may_hold_others_is_refused(void **state)
{
    struct scene *scene = *state;
    static const char *const roots[] = {"/sys/fs/cgroup/unified", "/sys/fs/cgroup", "/tmp"};
    start(scene, "family", "x", 0);
    for (size_t i = 0; i < 3; i++) {
        strcpy(scene->cgroup, roots[i]);
        assert_int_equal(open_tree(scene, scene->main, NULL, getuid()), ERR_REFUSED);
    }
    scene->cgroup[0] = '\0';
    char out[8];
    assert_int_equal(proctree_cgroup_make("/sys/fs/cgroup", "../x", scene->main, out, sizeof out),
                     ERR_SYSTEM);
}

static void leave_cgroup(struct scene *scene)
{
    char line[256] = "", path[600];
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL && strncmp(line, "0::", 3) != 0)
        continue;
    fclose(file);
    *strrchr(line, '/') = '\0'; /* out of "us", */
    *strrchr(line, '/') = '\0'; /* out of the base, back where we were */
    snprintf(path, sizeof path, "%s%s/cgroup.procs", scene->cgroup_root, line + 3);
    file = fopen(path, "we");
    fprintf(file, "%d", (int)getpid());
    assert_int_equal(fclose(file), 0);
}

static void the_cgroup_we_are_in_ourselves_is_refused(void **state)
{
    struct scene *scene = *state;
    need_cgroups(scene);
    start(scene, "family", "x", 0);
    assert_int_equal(proctree_cgroup_make(scene->base, "us", getpid(), scene->cgroup,
                                          sizeof scene->cgroup),
                     ERR_OK);
    enum err err = open_tree(scene, scene->main, NULL, getuid());
    leave_cgroup(scene);
    assert_int_equal(err, ERR_REFUSED);
}

static void a_process_of_somebody_else_is_refused(void **state)
{
    struct scene *scene = *state;
    if (getuid() != 0) {
        print_message("skipped: only root can make a process of another user\n");
        skip();
    }
    start(scene, "runaway", "x", NOBODY);
    pid_t pid = next_pid(scene);
    enum err err = open_tree(scene, pid, NULL, 0);
    if (err == ERR_NOT_FOUND)
        skip(); /* its first life was over before we looked */
    assert_int_equal(err, ERR_REFUSED);
}

static void what_is_no_process_of_ours_is_not_opened(void **state)
{
    struct scene *scene = *state;
    pid_t gone = fork();
    if (gone == 0)
        _exit(0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)gone, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(open_tree(scene, gone, NULL, (uid_t)-1), ERR_NOT_FOUND); /* a zombie */
    waitpid(gone, NULL, 0);
    assert_int_equal(open_tree(scene, gone, NULL, (uid_t)-1), ERR_NOT_FOUND);
    assert_int_equal(open_tree(scene, getpid(), NULL, (uid_t)-1), ERR_REFUSED);
    assert_int_equal(open_tree(scene, 1, NULL, (uid_t)-1), ERR_REFUSED);
    assert_int_equal(open_tree(scene, 0, NULL, (uid_t)-1), ERR_REFUSED);
    assert_int_equal(open_tree(scene, -5, NULL, (uid_t)-1), ERR_REFUSED);
}

static void it_may_be_closed_while_it_looks(void **state)
{
    struct scene *scene = *state;
    start_family(scene, scene->token);
    assert_int_equal(open_tree(scene, scene->main, scene->token, getuid()), ERR_OK);
    scene->close_on_exit = true;
    send_signal(scene, SIGTERM);
    WAIT_FOR(scene, scene->closed == 1);
    assert_int_equal(scene->empties, 0);
    assert_true(lives(scene->other[0]) && lives(scene->other[1]));
}

static void a_look_is_cheap(void **state)
{
    struct scene *scene = *state;
    start_family(scene, scene->token);
    assert_int_equal(open_tree(scene, scene->main, scene->token, getuid()), ERR_OK);
    WAIT_FOR(scene, proctree_count(scene->tree) == 3); /* who forked the last is gone, too */
    uint64_t begin = uv_hrtime();
    for (int i = 0; i < 20; i++)
        assert_int_equal(proctree_count(scene->tree), 3);
    print_message("one look at all of /proc: %.2f ms\n", (double)(uv_hrtime() - begin) / 20e6);
}

#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char *argv[])
{
    const struct CMUnitTest tests[] = {
        STORY(by_its_token_every_process_is_found_and_killed),
        STORY(a_token_that_only_begins_alike_is_somebody_elses),
        STORY(an_orphan_that_was_seen_before_is_remembered),
        STORY(a_tree_that_forks_on_is_caught),
        STORY(in_its_cgroup_every_process_is_found),
        STORY(a_cgroup_that_may_hold_others_is_refused),
        STORY(the_cgroup_we_are_in_ourselves_is_refused),
        STORY(a_process_of_somebody_else_is_refused),
        STORY(what_is_no_process_of_ours_is_not_opened),
        STORY(it_may_be_closed_while_it_looks),
        STORY(a_look_is_cheap),
    };
    if (argc > 1 && strcmp(argv[1], "family") == 0)
        be_family();
    if (argc > 1 && strcmp(argv[1], "runaway") == 0)
        be_runaway();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
