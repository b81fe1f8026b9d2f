/* What every command is given: how to print, whom to ask. */
#ifndef BRAKECTL_CTL_H
#define BRAKECTL_CTL_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/mono.h"
#include "brakectl/flags.h"
#include "brakewire/environment.h"

/* Exit codes of brakectl itself; `exec` ends with its command's, or one of these. */
enum ctl_exit {
    EXIT_DONE = 0,
    EXIT_REFUSED = 1, /* asked, and answered no */
    EXIT_USAGE = 2,   /* also: `check` found what must be mended */
    EXIT_NOT_STARTED =
        BRAKEWIRE_EXIT_NOT_STARTED, /* exec: the run was refused, the command never ran */
    EXIT_INCOMPLETE = 4,            /* cancel: the wait ended before everything had stopped */
    EXIT_UNAVAILABLE = BRAKEWIRE_EXIT_UNAVAILABLE, /* nobody answers, or not now (EX_TEMPFAIL) */
    EXIT_CANNOT_RUN = 126,
    EXIT_NO_COMMAND = 127,
    EXIT_CANCELLED = BRAKEWIRE_EXIT_CANCELLED /* exec: the run was cancelled */
};

struct ctl {
    bool json;
    bool colour; /* for stdout */
    const char *broker;
    const char *agentd;
};

/* One answer of a daemon. */
struct answer {
    long status;     /* 0: nobody answered, `why` says so */
    json_t *json;    /* NULL when the body is not JSON */
    bool is_nowhere; /* what was to be asked is no address */
    char why[160];
};

struct http_client;

/* Calls `path` (escaped, with its query) on `client`, or on nobody when that is NULL. `body` is
 * taken over; NULL: none. `timeout` 0: longer than any wait. The caller owes answer_fini(). */
void answer_to(struct http_client *client, const char *method, const char *path, json_t *body,
               struct span timeout, struct answer *answer);
/* The same, to the broker that the user named, over a connection of its own. */
void broker_answer_to(const struct ctl *ctl, const char *method, const char *path, json_t *body,
                      struct answer *answer);
void answer_fini(struct answer *answer);
/* How http_client_new() wants an agentd named: a bare path gets its "unix:". Lends static memory.
 */
const char *agentd_where(const char *agentd);
bool answer_is_good(const struct answer *answer); /* 2xx with JSON */
/* Says what went wrong: in words on stderr, or as JSON on stdout. Returns the exit code. */
int answer_complain(const struct ctl *ctl, const struct answer *answer, const char *whom);

/* The member's text; "" when there is none. Lends. */
const char *json_text(const json_t *json, const char *member);
int64_t json_number(const json_t *json, const char *member);
bool json_is_yes(const json_t *json, const char *member);
/* Members of a request; nothing is set where there is nothing to say (NULL, a negative number). */
void json_set_text(json_t *json, const char *member, const char *text);
void json_set_number(json_t *json, const char *member, int64_t number);
/* KEY=VALUE each, as the object `labels`. False: one of them is not, said why on stderr. */
bool json_set_labels(json_t *json, const struct flag_list *labels);
/* One line, or laid out when stdout is a terminal. */
void json_show(const json_t *json);

/* `text` %-escaped for a query; `out` is always terminated. */
void url_escape(const char *text, char *out, size_t room);

#endif
