#include "faults/flooder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, TEXT_MAX = 80 << 10, PAUSE_MS = 1000, PIECE = 64 << 10 };

struct member { /* one of the crowd */
    int fd;     /* -1: comes back at `due` */
    int64_t due;
    uint64_t sent;
    bool has_spoken;
};

struct crowd {
    const char *where;
    enum flood_kind kind;
    int epoll;
    unsigned count;
    struct member *member;
    uint64_t number; /* of the next run or token */
    struct flood_counts *counts;
    int ready; /* closed when everybody has come once */
    unsigned came;
};

static _Atomic unsigned long long *acts; /* shared with all crowds */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- what is sent -------------------------------------------------------------------------- */

#define A_RUN "/threads/" FLOOD_THREAD "/runs/" FLOOD_RUN
static const char subscribe[] =
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"SubscribeToTask\",\"params\":{\"id\":\"" FLOOD_RUN
    "\"}}";
static const char cancel_body[] = "{\"wait\":\"stopped\",\"timeout_ms\":60000}";
static const char slow_text[] = "POST /v1/runs HTTP/1.1\r\nHost: brakewire\r\nX-Slow: ";

static size_t text_of(struct crowd *crowd, char *out)
{
    static const char host[] = "Host: x\r\n";
    unsigned long long n = ++crowd->number;
    char body[96];
    switch (crowd->kind) {
    case FLOOD_HEADERS: {
        size_t len = (size_t)snprintf(out, TEXT_MAX, "GET /v1/runs HTTP/1.1\r\n%s", host);
        while (len < 64 << 10)
            len += (size_t)snprintf(out + len, TEXT_MAX - len, "X-%zu: %064d\r\n", len, 0);
        return len + (size_t)snprintf(out + len, TEXT_MAX - len, "\r\n");
    }
    case FLOOD_BODY:
        return (size_t)snprintf(out, TEXT_MAX,
                                "POST /v1/runs/r/cancel HTTP/1.1\r\n%sContent-Length: 1073741824"
                                "\r\n\r\n",
                                host);
    case FLOOD_CHUNKS:
        return (size_t)snprintf(out, TEXT_MAX,
                                "POST /v1/runs/r/cancel HTTP/1.1\r\n%sTransfer-Encoding: chunked"
                                "\r\n\r\n40000000\r\n",
                                host);
    case FLOOD_STARTS:
        snprintf(body, sizeof body, "{\"run_id\":\"flood-%d-%llu\"}", (int)getpid(), n);
        return (size_t)snprintf(out, TEXT_MAX,
                                "POST /v1/runs HTTP/1.1\r\n%sAuthorization: Bearer "
                                "a-token-of-the-crowd\r\nContent-Length: %zu\r\n\r\n%s",
                                host, strlen(body), body);
    case FLOOD_STREAMS:
        return (size_t)snprintf(out, TEXT_MAX,
                                "GET /v1/events HTTP/1.1\r\n%sAuthorization: Bearer "
                                "token-of-the-crowd-%d-%llu\r\n\r\n",
                                host, (int)getpid(), n);
    case FLOOD_TREES:
        return (size_t)snprintf(out, TEXT_MAX,
                                "GET /v1/events?root=crowd-%d-%llu HTTP/1.1\r\n%s\r\n",
                                (int)getpid(), n, host);
    case FLOOD_JOINS:
        return (size_t)snprintf(out, TEXT_MAX, "GET " A_RUN "/join HTTP/1.1\r\n%s\r\n", host);
    case FLOOD_FOLLOWS:
        return (size_t)snprintf(out, TEXT_MAX, "GET " A_RUN "/stream HTTP/1.1\r\n%s\r\n", host);
    case FLOOD_TASKS:
        return (size_t)snprintf(out, TEXT_MAX,
                                "POST /a2a HTTP/1.1\r\n%sA2A-Version: 1.0\r\n"
                                "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                                host, strlen(subscribe), subscribe);
    case FLOOD_SEARCHES:
        return (size_t)snprintf(out, TEXT_MAX,
                                "POST /runs/cancel HTTP/1.1\r\n%sContent-Length: 16\r\n\r\n"
                                "{\"status\":\"all\"}",
                                host);
    case FLOOD_WAITS:
        return (size_t)snprintf(out, TEXT_MAX,
                                "POST /v1/runs/" FLOOD_RUN "/cancel HTTP/1.1\r\n%sContent-Length: "
                                "%zu\r\n\r\n%s",
                                host, strlen(cancel_body), cancel_body);
    case FLOOD_SILENT:
    case FLOOD_SLOW:
        break;
    }
    return 0;
}

static bool sends_more(const struct crowd *crowd)
{
    return crowd->kind == FLOOD_BODY || crowd->kind == FLOOD_CHUNKS;
}

/* ---- connections --------------------------------------------------------------------------- */

/* Each from an address of its own: else the ports that wait would be used up. */
static int dial_tcp(const struct crowd *crowd, uint64_t number)
{
    struct sockaddr_in to = {.sin_family = AF_INET}, from = {.sin_family = AF_INET};
    const char *colon = strrchr(crowd->where, ':');
    to.sin_port = htons((uint16_t)atoi(colon + 1));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_addr.s_addr = htonl(0x7f010001u + (uint32_t)(number % 250));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&from, sizeof from) == 0
        && (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS))
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

static int dial_unix(const struct crowd *crowd)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", crowd->where + strlen("unix:"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* A refused start ends the connection: who is counted comes again at once. */
static void leave(const struct crowd *crowd, struct member *member)
{
    if (member->fd >= 0)
        close(member->fd);
    *member = (struct member){.fd = -1, .due = now_ms() + (crowd->counts == NULL ? PAUSE_MS : 0)};
}

static void say(struct crowd *crowd, struct member *member)
{
    static char text[TEXT_MAX];
    size_t len = text_of(crowd, text);
    if (len > 0 && send(member->fd, text, len, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
        leave(crowd, member);
    atomic_fetch_add(acts, len > 0 ? 1 : 0);
}

/* It is connected: from now on only what comes is of interest, or more room for a body. */
static void begin_to_speak(struct crowd *crowd, struct member *member)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP
                                          | (sends_more(crowd) ? (uint32_t)EPOLLOUT : 0),
                                .data.ptr = member};
    member->has_spoken = true;
    epoll_ctl(crowd->epoll, EPOLL_CTL_MOD, member->fd, &event);
    say(crowd, member);
}

static void come(struct crowd *crowd, struct member *member)
{
    bool is_unix = strncmp(crowd->where, "unix:", 5) == 0;
    int fd = is_unix ? dial_unix(crowd) : dial_tcp(crowd, (uint64_t)(member - crowd->member));
    *member = (struct member){.fd = fd, .due = now_ms() + PAUSE_MS};
    if (++crowd->came == crowd->count)
        close(crowd->ready);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP, .data.ptr = member};
    if (fd >= 0)
        epoll_ctl(crowd->epoll, EPOLL_CTL_ADD, fd, &event);
    atomic_fetch_add(acts, fd >= 0 ? 1 : 0);
}

static void push_body(const struct crowd *crowd, struct member *member)
{
    static const char zeros[PIECE];
    ssize_t sent = send(member->fd, zeros, sizeof zeros, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        leave(crowd, member);
    else if (sent > 0)
        member->sent += (uint64_t)sent;
    atomic_fetch_add(acts, sent > 0 ? 1 : 0);
}

/* False: that was the rest of an answer; perhaps the next one begins behind it. */
static bool count_answer(struct crowd *crowd, const char *bytes, size_t len)
{
    static const char start[] = "HTTP/1.1 ";
    const char *at = memmem(bytes, len, start, sizeof start - 1);
    if (at == NULL || at + sizeof start + 2 > bytes + len)
        return false;
    const char *status = at + sizeof start - 1;
    if (crowd->counts == NULL)
        return true;
    if (memcmp(status, "201", 3) == 0)
        atomic_fetch_add(&crowd->counts->accepted, 1);
    else if (memcmp(status, "429", 3) == 0)
        atomic_fetch_add(&crowd->counts->refused, 1);
    else
        atomic_fetch_add(&crowd->counts->strange, 1);
    return true;
}

static bool reads(const struct crowd *crowd)
{
    return crowd->kind != FLOOD_STREAMS && crowd->kind != FLOOD_TREES
           && crowd->kind != FLOOD_FOLLOWS && crowd->kind != FLOOD_TASKS;
}

/* Nothing is read while it floods with streams; what else is answered ends in the bin. */
static void serve(struct crowd *crowd, struct member *member, uint32_t events)
{
    static char bin[PIECE];
    if ((events & EPOLLIN) != 0 && reads(crowd)) {
        ssize_t len = recv(member->fd, bin, sizeof bin, 0);
        if (len == 0 || (len < 0 && errno != EAGAIN) || crowd->kind == FLOOD_WAITS) {
            leave(crowd, member);
            return;
        }
        if (len > 0 && crowd->kind == FLOOD_STARTS && count_answer(crowd, bin, (size_t)len)) {
            member->due = now_ms() + PAUSE_MS;
            say(crowd, member);
        }
    }
    if (member->fd >= 0 && (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0)
        leave(crowd, member);
    else if (member->fd >= 0 && (events & EPOLLOUT) != 0 && !member->has_spoken)
        begin_to_speak(crowd, member);
    else if (member->fd >= 0 && (events & EPOLLOUT) != 0)
        push_body(crowd, member);
}

/* Who is away comes back; who is slow says the next byte; who has waited for an answer for so long
 * has perhaps overlooked it, and asks for the next run. */
static void walk(struct crowd *crowd)
{
    int64_t now = now_ms();
    for (unsigned i = 0; i < crowd->count; i++) {
        struct member *member = &crowd->member[i];
        if (member->due > now)
            continue;
        member->due = now + PAUSE_MS;
        if (member->fd < 0)
            come(crowd, member);
        else if ((crowd->kind == FLOOD_STARTS || crowd->kind == FLOOD_SEARCHES)
                 && member->has_spoken)
            say(crowd, member);
        else if (crowd->kind == FLOOD_SLOW) {
            char byte = member->sent < sizeof slow_text - 1 ? slow_text[member->sent] : 'x';
            member->sent++;
            atomic_fetch_add(acts, 1);
            if (send(member->fd, &byte, 1, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
                leave(crowd, member);
        }
    }
}

static _Noreturn void flood(struct crowd *crowd)
{
    enum { WALK_MS = 1 };
    struct epoll_event event[EVENTS];
    crowd->epoll = epoll_create1(EPOLL_CLOEXEC);
    crowd->member = calloc(crowd->count, sizeof *crowd->member);
    if (crowd->member == NULL)
        _exit(1);
    for (unsigned i = 0; i < crowd->count; i++)
        crowd->member[i] = (struct member){.fd = -1, .due = now_ms() + (int64_t)i % PAUSE_MS};
    for (int64_t walked = 0;;) {
        int count = epoll_wait(crowd->epoll, event, EVENTS, WALK_MS);
        for (int i = 0; i < count; i++)
            serve(crowd, event[i].data.ptr, event[i].events);
        if (now_ms() - walked >= WALK_MS) {
            walk(crowd);
            walked = now_ms();
        }
    }
}

/* Behind everybody else on the CPU: what is measured is what the daemon lets the crowd do, not how
 * two CPUs are shared by three busy programs, and by what else the machine has to do. */
static _Noreturn void become_crowd(struct crowd *crowd, pid_t parent)
{
    enum { NICE = 10 };
    struct rlimit files;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || getrlimit(RLIMIT_NOFILE, &files) != 0)
        _exit(1);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    if (sched_getscheduler(0) == SCHED_OTHER)
        (void)setpriority(PRIO_PROCESS, 0, NICE);
    else
        (void)sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){0});
    flood(crowd);
}

static void *shared_new(size_t bytes)
{
    void *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return shared != MAP_FAILED ? shared : NULL;
}

struct flood_counts *flood_counts_new(void)
{
    return shared_new(sizeof(struct flood_counts));
}

unsigned long long flooder_acts(void)
{
    return acts != NULL ? *acts : 0;
}

unsigned long long flood_answers(const struct flood_counts *counts)
{
    return counts->accepted + counts->refused + counts->strange;
}

pid_t flooder_start(const char *where, enum flood_kind kind, unsigned connections,
                    struct flood_counts *counts)
{
    int ready[2];
    char nothing;
    acts = acts != NULL ? acts : shared_new(sizeof *acts);
    if (acts == NULL || pipe2(ready, O_CLOEXEC) != 0)
        return -1;
    struct crowd crowd = {
        .where = where, .kind = kind, .count = connections, .ready = ready[1], .counts = counts};
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become_crowd(&crowd, parent);
    close(ready[1]);
    ssize_t end = read(ready[0], &nothing, 1); /* ends when it says so, or is dead */
    close(ready[0]);
    return end == 0 ? pid : -1;
}

void flooder_end(pid_t pid)
{
    if (pid > 0 && kill(pid, SIGKILL) == 0)
        (void)waitpid(pid, NULL, 0);
}
