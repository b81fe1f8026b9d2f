#include "brakectl/check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/http_client.h"

enum { ROUND_TRIPS = 21 };

/* 0: it stopped answering. */
static double round_trip_ms(struct http_client *client)
{
    int64_t took[ROUND_TRIPS];
    for (size_t i = 0; i < ROUND_TRIPS; i++) {
        struct answer answer;
        int64_t before = nanoseconds_now();
        answer_to(client, "GET", "/livez", NULL, SECONDS(2), &answer);
        took[i] = nanoseconds_now() - before;
        long status = answer.status;
        answer_fini(&answer);
        if (status != 200)
            return 0;
    }
    return middle_ms(took, ROUND_TRIPS);
}

static void check_ready(struct http_client *client, const char *subject, const char *advice,
                        struct findings *findings)
{
    struct answer answer;
    answer_to(client, "GET", "/readyz", NULL, SECONDS(2), &answer);
    enum finding finding = answer.status == 200 ? FOUND_GOOD : FOUND_BAD;
    found(findings, finding, subject, advice, "%s",
          finding == FOUND_GOOD ? "it is linked to Redis" : "it has no Redis");
    answer_fini(&answer);
}

/* ---- the agentd ----------------------------------------------------------------------------- */

/* Connected to the socket; -1 with errno. */
static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static const char *socket_advice(int why)
{
    switch (why) {
    case EACCES:
        return "you may not use this socket: join its group, or see socket_mode of the agentd";
    case ENOENT:
        return "no such socket: start brakewire-agentd, or name its socket with --agentd";
    case ECONNREFUSED:
        return "the socket is left over from an agentd that has ended: start it again";
    default:
        return "look at the agentd's log";
    }
}

/* To stop a process, an agentd must see it (one process namespace) and may signal it (one uid). */
static void check_peer(int fd, struct findings *findings)
{
    struct ucred peer = {0};
    socklen_t len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return;
    if (peer.pid == 0)
        found(findings, FOUND_DOUBTFUL, "agentd: processes",
              "it can notify, but not kill: set shareProcessNamespace: true in the pod",
              "it lives in another process namespace");
    else
        found(findings, FOUND_GOOD, "agentd: processes", "", "it sees our processes (it is pid %d)",
              (int)peer.pid);
    bool may_signal = peer.uid == 0 || peer.uid == getuid();
    found(findings, may_signal ? FOUND_GOOD : FOUND_DOUBTFUL, "agentd: uid",
          "it may not signal our processes: run both as the same user (runAsUser)",
          "it runs as uid %u, we as %u", (unsigned)peer.uid, (unsigned)getuid());
}

static void check_version(struct http_client *client, struct findings *findings,
                          struct check_known *known)
{
    struct answer answer;
    answer_to(client, "GET", "/v1/version", NULL, SECONDS(2), &answer);
    const json_t *redis = json_object_get(answer.json, "redis");
    const char *mode = json_text(answer.json, "mode");
    const char *version = json_text(answer.json, "version");
    snprintf(known->redis_url, sizeof known->redis_url, "%s", json_text(redis, "url"));
    snprintf(known->namespace, sizeof known->namespace, "%s", json_text(answer.json, "namespace"));
    bool same = strcmp(version, BRAKEWIRE_VERSION) == 0;
    found(findings, same ? FOUND_GOOD : FOUND_DOUBTFUL, "agentd: version",
          "brakectl and the agentd are not of one version", "%s", version);
    bool enforces = strcmp(mode, "enforce") == 0;
    found(findings, enforces ? FOUND_GOOD : FOUND_DOUBTFUL, "agentd: mode",
          "it does not kill (notify), or stops nothing at all (observe)", "%s", mode);
    answer_fini(&answer);
}

static void ask_agentd(const struct ctl *ctl, struct findings *findings, struct check_known *known)
{
    struct http_client *client = NULL;
    if (http_client_new(agentd_where(ctl->agentd), NULL, &client) != ERR_OK)
        return;
    double ms = round_trip_ms(client);
    if (ms > 0) {
        found(findings, ms < 5 ? FOUND_GOOD : FOUND_DOUBTFUL, "agentd: round trip",
              "it is slow: is this machine short of CPU?", "%.2f ms", ms);
        check_version(client, findings, known);
        check_ready(client, "agentd: ready", "see its log, and what is said of Redis below",
                    findings);
    } else {
        found(findings, FOUND_BAD, "agentd: round trip", "look at its log", "it does not answer");
    }
    http_client_free(client);
}

void check_agentd(const struct ctl *ctl, struct findings *findings, struct check_known *known)
{
    const char *where = agentd_where(ctl->agentd);
    if (strncmp(where, "unix:", 5) == 0) {
        int fd = connect_to(where + 5);
        if (fd < 0) {
            found(findings, FOUND_BAD, "agentd: socket", socket_advice(errno), "%s: %s", where + 5,
                  strerror(errno));
            return;
        }
        found(findings, FOUND_GOOD, "agentd: socket", "", "%s", where + 5);
        check_peer(fd, findings);
        close(fd);
    }
    ask_agentd(ctl, findings, known);
}

/* ---- the broker ----------------------------------------------------------------------------- */

void check_broker(const struct ctl *ctl, struct findings *findings)
{
    struct http_client *client = NULL;
    double ms = 0;
    if (http_client_new(ctl->broker, NULL, &client) == ERR_OK)
        ms = round_trip_ms(client);
    if (ms > 0) {
        found(findings, FOUND_GOOD, "broker", "", "%s, round trip %.2f ms", ctl->broker, ms);
        check_ready(client, "broker: ready", "see its log, and what is said of Redis below",
                    findings);
    } else {
        found(findings, FOUND_BAD, "broker",
              "start brakewire-broker, or name it with --broker; --no-broker where there is none",
              "nobody answers at %s", ctl->broker);
    }
    if (client != NULL)
        http_client_free(client);
}
