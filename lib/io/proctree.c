/* Happy path: proctree_open -> main_exited -> proctree_signal -> look, again and again -> on_empty.
 * Who belongs to the tree is decided in find_members(), and only there. */
#include "io/proctree.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/proc_cgroup.h"
#include "io/proc_scan.h"

enum { FOUND_PID = 1, FOUND_CGROUP = 2, FOUND_TOKEN = 8 }; /* as core/message.h has them */
enum {
    LOOK_FIRST_MS = 5,
    LOOK_LAST_MS = 50,
    LOOK_SHARE =
        10, /* looking takes at most a tenth of the time, however many processes there are */
    KILL_ROUNDS = 16 /* against a tree that forks while it is killed */
};

struct member { /* seen in the last scan: an orphan has lost its parent, but not its place here */
    pid_t pid;
    uint64_t start;
    unsigned found;
};

struct proctree {
    uv_loop_t *loop;
    const struct proctree_events *events;
    void *owner;
    pid_t pid;
    uint64_t start;
    int pidfd;
    char *assignment, *cgroup; /* NULL: none */
    uv_poll_t exit_poll;
    uv_timer_t look_timer;
    unsigned open_handles;
    bool closing, exit_told, is_empty;
    uint64_t look_wait_ms;
    struct proc_scan scan;
    struct buf environment; /* scratch */
    struct member *member;
    size_t member_count, member_room;
};

/* pidfds have no wrapper in the C library of Debian 12. */
static int pidfd_open_of(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0u);
}

static bool pidfd_signal(int pidfd, int signal)
{
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0u) == 0;
}

/* ---- who belongs to it ----------------------------------------------------------------------- */

static void mark(struct proctree *tree, pid_t pid, uint64_t start, unsigned found)
{
    struct proc_entry *entry = proc_scan_find(&tree->scan, pid);
    if (entry != NULL && entry->start == start)
        entry->found |= found;
}

static void mark_in_cgroup(void *owner, pid_t pid)
{
    struct proctree *tree = owner;
    struct proc_entry *entry = proc_scan_find(&tree->scan, pid);
    if (entry != NULL)
        entry->found |= FOUND_CGROUP;
}

static void mark_by_token(struct proctree *tree)
{
    struct str assignment = str_of(tree->assignment);
    for (size_t i = 0; i < tree->scan.count; i++) {
        struct proc_entry *entry = &tree->scan.entry[i];
        if (entry->is_alive && proc_environment_has(entry->pid, assignment, &tree->environment))
            entry->found |= FOUND_TOKEN;
    }
}

/* Whatever happens, these are never part of a tree. */
static bool is_sacred(pid_t pid)
{
    return pid <= 1 || pid == getpid();
}

static void unmark_the_sacred(struct proctree *tree)
{
    for (size_t i = 0; i < tree->scan.count; i++)
        if (is_sacred(tree->scan.entry[i].pid))
            tree->scan.entry[i].found = 0;
}

/* A child may have a smaller pid than its parent, so one pass is not always enough. */
static void mark_descendants(struct proctree *tree)
{
    bool again = true;
    while (again) {
        again = false;
        for (size_t i = 0; i < tree->scan.count; i++) {
            struct proc_entry *entry = &tree->scan.entry[i];
            if (entry->found != 0 || is_sacred(entry->pid))
                continue;
            const struct proc_entry *parent = proc_scan_find(&tree->scan, entry->parent);
            if (parent == NULL || parent->found == 0)
                continue;
            entry->found = FOUND_PID;
            again = true;
        }
    }
}

static bool remember_members(struct proctree *tree)
{
    size_t count = 0;
    for (size_t i = 0; i < tree->scan.count; i++) {
        const struct proc_entry *entry = &tree->scan.entry[i];
        if (entry->found == 0 || !entry->is_alive)
            continue;
        void *array = tree->member;
        if (!mem_grow(&array, &tree->member_room, sizeof *tree->member, count + 1))
            return false;
        tree->member = array;
        tree->member[count++] = (struct member){entry->pid, entry->start, entry->found};
    }
    tree->member_count = count;
    return true;
}

/* Fills tree->member with all that live now. */
static enum err find_members(struct proctree *tree)
{
    enum err err = proc_scan(&tree->scan);
    if (err != ERR_OK)
        return err;
    mark(tree, tree->pid, tree->start, FOUND_PID);
    for (size_t i = 0; i < tree->member_count; i++)
        mark(tree, tree->member[i].pid, tree->member[i].start, tree->member[i].found);
    if (tree->cgroup != NULL)
        proc_cgroup_each(tree->cgroup, mark_in_cgroup, tree);
    if (tree->assignment != NULL)
        mark_by_token(tree);
    unmark_the_sacred(tree);
    mark_descendants(tree);
    return remember_members(tree) ? ERR_OK : ERR_NOMEM;
}

/* ---- signals --------------------------------------------------------------------------------- */

/* Reads it again once its pidfd holds the pid: the scan may be out of date. */
static bool signal_member(const struct member *member, int signal)
{
    struct proc_entry now;
    assert(!is_sacred(member->pid));
    int pidfd = pidfd_open_of(member->pid);
    if (pidfd < 0)
        return false;
    bool sent =
        proc_read(member->pid, &now) && now.start == member->start && pidfd_signal(pidfd, signal);
    close(pidfd);
    return sent;
}

static bool is_among(const struct member *members, size_t count, const struct member *wanted)
{
    for (size_t i = 0; i < count; i++)
        if (members[i].pid == wanted->pid && members[i].start == wanted->start)
            return true;
    return false;
}

/* Those of `before` have had it already. Returns how many were new. */
static size_t signal_members(struct proctree *tree, int signal, const struct member *before,
                             size_t before_count, unsigned *found, unsigned *count)
{
    size_t fresh = 0;
    for (size_t i = 0; i < tree->member_count; i++) {
        const struct member *member = &tree->member[i];
        if (is_among(before, before_count, member))
            continue;
        fresh++;
        if (!signal_member(member, signal))
            continue;
        *found |= member->found;
        (*count)++;
    }
    return fresh;
}

static enum err signal_once(struct proctree *tree, int signal, unsigned *found, unsigned *count)
{
    enum err err = find_members(tree);
    if (err == ERR_OK)
        (void)signal_members(tree, signal, NULL, 0, found, count);
    return err;
}

/* A process that forks between our look and its death leaves a child we have not seen: look again
 * until there is nobody new. */
static enum err kill_all(struct proctree *tree, unsigned *found, unsigned *count)
{
    struct member *before = NULL;
    size_t before_count = 0, before_room = 0;
    enum err err = find_members(tree);
    for (int round = 0; err == ERR_OK && round < KILL_ROUNDS; round++) {
        if (signal_members(tree, SIGKILL, before, before_count, found, count) == 0)
            break;
        void *array = before;
        if (!mem_grow(&array, &before_room, sizeof *before, tree->member_count)) {
            err = ERR_NOMEM;
            break;
        }
        before = array;
        memcpy(before, tree->member, tree->member_count * sizeof *before);
        before_count = tree->member_count;
        if (tree->cgroup != NULL)
            (void)proc_cgroup_kill(
                tree->cgroup); /* after the first signals, which count whom they hit */
        err = find_members(tree);
    }
    mem_free(before);
    return err;
}

static void tell_exit(struct proctree *tree)
{
    if (tree->exit_told)
        return;
    tree->exit_told = true;
    uv_poll_stop(&tree->exit_poll);
    tree->events->on_exit(tree->owner);
}

static void look(uv_timer_t *timer);

static void look_after(struct proctree *tree, uint64_t wait_ms)
{
    tree->look_wait_ms = wait_ms;
    uv_timer_start(&tree->look_timer, look, wait_ms, 0);
}

static void look(uv_timer_t *timer)
{
    struct proctree *tree = timer->data;
    uint64_t start = uv_hrtime();
    enum err err = find_members(tree);
    uint64_t took_ms = (uv_hrtime() - start) / 1000000;
    if (err == ERR_OK && tree->member_count == 0) {
        tree->is_empty = true;
        tell_exit(tree);
        if (!tree->closing)
            tree->events->on_empty(tree->owner);
        return;
    }
    uint64_t wait = tree->look_wait_ms * 2 < LOOK_LAST_MS ? tree->look_wait_ms * 2 : LOOK_LAST_MS;
    look_after(tree, wait > took_ms * LOOK_SHARE ? wait : took_ms * LOOK_SHARE);
}

enum err proctree_signal(struct proctree *tree, int signal, unsigned *found, unsigned *count)
{
    assert(!tree->closing);
    *found = *count = 0;
    enum err err =
        signal == SIGKILL ? kill_all(tree, found, count) : signal_once(tree, signal, found, count);
    if (!tree->is_empty)
        look_after(tree, LOOK_FIRST_MS);
    return err;
}

size_t proctree_count(struct proctree *tree)
{
    return find_members(tree) == ERR_OK ? tree->member_count : 0;
}

pid_t proctree_pid(const struct proctree *tree)
{
    return tree->pid;
}

pid_t proctree_ancestor(pid_t pid, bool (*is_wanted)(void *owner, pid_t pid), void *owner)
{
    enum { GENERATIONS_MAX = 256 };
    struct proc_entry entry;
    for (int i = 0; i < GENERATIONS_MAX && pid > 1 && proc_read(pid, &entry); i++) {
        pid = entry.parent;
        if (pid > 1 && is_wanted(owner, pid))
            return pid;
    }
    return 0;
}

/* ---- opening and closing --------------------------------------------------------------------- */

static void tree_free(struct proctree *tree)
{
    if (tree->pidfd >= 0)
        close(tree->pidfd);
    proc_scan_fini(&tree->scan);
    buf_fini(&tree->environment);
    mem_free(tree->member);
    mem_free(tree->assignment);
    mem_free(tree->cgroup);
    mem_free(tree);
}

static void handle_closed(uv_handle_t *handle)
{
    struct proctree *tree = handle->data;
    if (--tree->open_handles > 0)
        return;
    const struct proctree_events *events = tree->events;
    void *owner = tree->owner;
    tree_free(tree);
    events->on_closed(owner);
}

void proctree_close(struct proctree *tree)
{
    assert(!tree->closing);
    tree->closing = true;
    uv_close((uv_handle_t *)&tree->exit_poll, handle_closed);
    uv_close((uv_handle_t *)&tree->look_timer, handle_closed);
}

static void main_exited(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    tell_exit(poll->data);
}

/* The pidfd is opened first: if the process is there still after it was read, then what was read
 * was about it, not about another that got its pid. */
static enum err take_hold(struct proctree *tree, const struct proctree_options *options)
{
    struct proc_entry entry;
    uid_t uid;
    if (is_sacred(options->pid))
        return ERR_REFUSED;
    tree->pidfd = pidfd_open_of(options->pid);
    if (tree->pidfd < 0)
        return errno == ESRCH ? ERR_NOT_FOUND : ERR_SYSTEM;
    if (!proc_read(options->pid, &entry) || !entry.is_alive || !proc_read_uid(options->pid, &uid))
        return ERR_NOT_FOUND;
    if (!pidfd_signal(tree->pidfd, 0) && errno == ESRCH)
        return ERR_NOT_FOUND;
    if (options->owner_uid != (uid_t)-1 && uid != options->owner_uid)
        return ERR_REFUSED;
    tree->pid = options->pid;
    tree->start = entry.start;
    return ERR_OK;
}

static enum err copy_options(struct proctree *tree, const struct proctree_options *options)
{
    if (options->token != NULL && options->token[0] != '\0') {
        struct buf text = {0};
        buf_addf(&text, "BRAKEWIRE_RUN_TOKEN=%s", options->token);
        tree->assignment = text.failed ? NULL : mem_copy(buf_str(&text));
        buf_fini(&text);
        if (tree->assignment == NULL)
            return ERR_NOMEM;
    }
    if (options->cgroup == NULL || options->cgroup[0] == '\0')
        return ERR_OK;
    if (!proc_cgroup_is_usable(options->cgroup))
        return ERR_REFUSED;
    tree->cgroup = mem_copy(str_of(options->cgroup));
    return tree->cgroup != NULL ? ERR_OK : ERR_NOMEM;
}

enum err proctree_open(uv_loop_t *loop, const struct proctree_options *options,
                       const struct proctree_events *events, void *owner, struct proctree **out)
{
    struct proctree *tree = mem_new(sizeof *tree);
    if (tree == NULL)
        return ERR_NOMEM;
    tree->pidfd = -1;
    enum err err = take_hold(tree, options);
    if (err == ERR_OK)
        err = copy_options(tree, options);
    if (err == ERR_OK && uv_poll_init(loop, &tree->exit_poll, tree->pidfd) != 0)
        err = ERR_SYSTEM;
    if (err != ERR_OK) {
        tree_free(tree);
        return err;
    }
    tree->loop = loop;
    tree->events = events;
    tree->owner = owner;
    tree->open_handles = 2;
    uv_timer_init(loop, &tree->look_timer);
    tree->exit_poll.data = tree->look_timer.data = tree;
    (void)uv_poll_start(&tree->exit_poll, UV_READABLE,
                        main_exited); /* a fresh handle: cannot fail */
    *out = tree;
    return ERR_OK;
}
