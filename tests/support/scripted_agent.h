/* An agent's HTTP server in a process of its own, which answers as its path says, and counts:
 *
 *     /ok 202 · /late never · /busy 503 twice, then 202 · /broken 500
 *
 * It dies with the test. */
#ifndef SUPPORT_SCRIPTED_AGENT_H
#define SUPPORT_SCRIPTED_AGENT_H

#include <sys/types.h>

enum { AGENT_BODY_MAX = 256 };

struct agent_seen { /* shared with its process: read it at any time */
    unsigned ok, late, busy, broken;
    char method[16], body[AGENT_BODY_MAX], extra[64]; /* of the last one; X-Extra */
};
struct scripted_agent {
    pid_t pid;
    unsigned port;
    struct agent_seen *seen;
};

void scripted_agent_start(struct scripted_agent *agent);
void scripted_agent_end(struct scripted_agent *agent);

#endif
