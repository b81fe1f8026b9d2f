/* A daemon of this build, run for a test: started, waited for, asked over HTTP, ended. It dies with
 * the test, however that ends. */
#ifndef SUPPORT_SERVICE_H
#define SUPPORT_SERVICE_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/mono.h"

enum { SERVICE_PATH_MAX = 108, SERVICE_WAIT_MS = 20000 };

struct service {
    pid_t pid;                     /* 0: not running */
    char folder[SERVICE_PATH_MAX]; /* private; socket and log are in it */
    char where[SERVICE_PATH_MAX];  /* "unix:<socket>", for http_client_new() */
    char program[SERVICE_PATH_MAX];
};

/* program: "brakewire-agentd". args: NULL-terminated flags beside --socket, may be NULL. Waits
 * until it answers /livez, and with `is_ready` until /readyz is 200. A daemon that does not come
 * fails the test and shows its log. */
void service_start(struct service *service, const char *program, bool is_ready,
                   const char *const args[]);
/* The same socket and folder again: a restart. */
void service_start_again(struct service *service, bool is_ready, const char *const args[]);
/* Run with these flags until it ends by itself; its exit code. Nothing is waited for but that. */
int service_run(const char *program, const char *const args[]);
void service_signal(struct service *service, int signal);
/* Its exit code, or 128 + the signal that ended it. Fails the test when it does not end. */
int service_wait(struct service *service);
/* Ends it for good and removes its folder. Fine when it is not running. */
void service_stop(struct service *service);
bool service_logged(const struct service *service, const char *text);

/* One request on a fresh connection. token, body: NULL for none. Answers the status; *json (when
 * not NULL) gets the body, NULL if it was not JSON; the caller owes json_decref(). */
long service_call(const struct service *service, const char *token, const char *method,
                  const char *path, const char *body, json_t **json);

struct service_request {
    const char *method, *path, *token, *body;
    const char *const *headers; /* NULL-terminated "Name: value" */
};
long service_ask(const struct service *service, const struct service_request *request,
                 json_t **json);

/* Asks GET `path` again and again until the member at `pointer` ("state", "redis.linked") has this
 * text or, for true, false and numbers, this JSON; fails the test after SERVICE_WAIT_MS. */
void service_wait_for(const struct service *service, const char *token, const char *path,
                      const char *pointer, const char *wanted);
/* A member by its dotted name; NULL if it is not there. Lent. */
const json_t *json_member(const json_t *json, const char *pointer);
const char *json_word(const json_t *json, const char *pointer); /* "" if it is not there */

/* A bounded wait for anything: `while (!x) waiting_turn(&wait)`. Fails the test when it is over. */
struct waiting {
    int64_t until_ms; /* 0: begins with the first turn */
    const char *file;
    int line;
};
#define WAITING ((struct waiting){0, __FILE__, __LINE__})
void waiting_turn(struct waiting *waiting);

#endif
