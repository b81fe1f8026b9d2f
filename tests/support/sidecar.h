/* A client of an agentd, as tests write it: starts, ends, notices. Where the answer is not the one
 * that is asked for, the test fails and shows it. */
#ifndef SUPPORT_SIDECAR_H
#define SUPPORT_SIDECAR_H

#include "support/redis_server.h"
#include "support/service.h"

enum { TOKEN_TEXT_MAX = 64, ID_TEXT_MAX = 80, BAGGAGE_TEXT_MAX = 2048 };

/* An agentd on this Redis, ready. more: further flags, NULL-terminated, may be NULL. */
void sidecar_start(struct service *agentd, const struct redis_process *redis,
                   const char *const more[]);
void sidecar_start_again(struct service *agentd, const struct redis_process *redis,
                         const char *const more[]);

/* Calls and compares the status; the answer is the caller's, json_decref(). format: the body. */
json_t *sidecar_call(const struct service *agentd, const char *token, long status,
                     const char *method, const char *path, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

struct started {
    char run[ID_TEXT_MAX], root[ID_TEXT_MAX], token[TOKEN_TEXT_MAX];
    char baggage[BAGGAGE_TEXT_MAX];
    int epoch;
};
/* POST /v1/runs with this body; 201. token NULL: one is minted. */
struct started sidecar_run(const struct service *agentd, const char *token, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Below `parent`, by its baggage, with the parent's token unless `token` is given. */
struct started sidecar_child(const struct service *agentd, const struct started *parent,
                             const char *token);
void sidecar_end(const struct service *agentd, const struct started *run, const char *state);
/* POST …/cancel with this body; 200 or 202. */
json_t *sidecar_cancel(const struct service *agentd, const struct started *run, const char *body);
void sidecar_wait_for_state(const struct service *agentd, const struct started *run,
                            const char *state);

/* An event stream, and the notices that came over it. */
enum { NOTICES_MAX = 64 };
struct listening {
    struct sse *stream;
    size_t count;
    json_t *notice[NOTICES_MAX];
};
void listening_open(struct listening *listening, const struct service *agentd, const char *token);
void listening_close(struct listening *listening);
/* Until there are so many; then the last one, lent. */
const json_t *listening_wait(struct listening *listening, size_t count);

#endif
