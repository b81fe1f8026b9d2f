#include "brakectl/ctl.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "io/http_client.h"

enum { ANSWER_MAX_BYTES = 64 * 1024 * 1024 };

static void call(struct http_client *client, const struct http_call *request, struct answer *answer)
{
    struct buf body = {.limit = ANSWER_MAX_BYTES};
    const char *why = NULL;
    enum err err = http_client_call(client, request, &answer->status, &body, &why);
    if (err != ERR_OK) {
        answer->status = 0;
        snprintf(answer->why, sizeof answer->why, "%s", why != NULL ? why : err_text(err));
    } else if (body.len > 0) {
        answer->json = json_loadb(body.bytes, body.len, JSON_DECODE_ANY, NULL);
    }
    buf_fini(&body);
}

void answer_to(struct http_client *client, const char *method, const char *path, json_t *body,
               struct span timeout, struct answer *answer)
{
    *answer = (struct answer){.why = "out of memory"};
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    if (client != NULL && (body == NULL || text != NULL)) {
        const struct http_call request = {
            .method = method,
            .path = path,
            .body = text != NULL ? str_of(text) : STR_NONE,
            .timeout = timeout,
        };
        call(client, &request, answer);
    }
    free(text);
    json_decref(body);
}

void broker_answer_to(const struct ctl *ctl, const char *method, const char *path, json_t *body,
                      struct answer *answer)
{
    struct http_client *client = NULL;
    enum err err = http_client_new(ctl->broker, NULL, &client);
    answer_to(err == ERR_OK ? client : NULL, method, path, body, MILLIS(0), answer);
    answer->is_nowhere = err == ERR_INVALID;
    if (client != NULL)
        http_client_free(client);
    else if (answer->is_nowhere)
        snprintf(answer->why, sizeof answer->why,
                 "--broker '%s': wanted http://HOST:PORT or unix:PATH", ctl->broker);
}

const char *agentd_where(const char *agentd)
{
    static char where[256];
    bool is_path = strncmp(agentd, "http", 4) != 0 && strncmp(agentd, "unix:", 5) != 0;
    snprintf(where, sizeof where, "%s%s", is_path ? "unix:" : "", agentd);
    return where;
}

void answer_fini(struct answer *answer)
{
    json_decref(answer->json);
    answer->json = NULL;
}

bool answer_is_good(const struct answer *answer)
{
    return answer->status >= 200 && answer->status < 300 && answer->json != NULL;
}

static void complain_in_json(const struct answer *answer)
{
    if (json_is_object(answer->json)) {
        json_show(answer->json);
        return;
    }
    json_t *problem = json_pack("{s:s, s:I, s:s}", "code", answer->status == 0 ? "offline" : "http",
                                "status", (json_int_t)answer->status, "detail", answer->why);
    json_show(problem);
    json_decref(problem);
}

int answer_complain(const struct ctl *ctl, const struct answer *answer, const char *whom)
{
    if (ctl->json)
        complain_in_json(answer);
    if (answer->is_nowhere) {
        fprintf(stderr, "brakectl: %s\n", answer->why);
        return EXIT_USAGE;
    }
    if (answer->status == 0) { /* `why` names the address */
        fprintf(stderr,
                "brakectl: no answer from %s\n"
                "brakectl: 'brakectl check' looks at every part and says what to do\n",
                answer->why);
        return EXIT_UNAVAILABLE;
    }
    const char *code = json_text(answer->json, "code");
    const char *detail = json_text(answer->json, "detail");
    if (code[0] == '\0')
        fprintf(stderr, "brakectl: %s answered %ld\n", whom, answer->status);
    else
        fprintf(stderr, "brakectl: %s (%s)\n", detail, code);
    return answer->status == 429 || answer->status == 503 ? EXIT_UNAVAILABLE : EXIT_REFUSED;
}

const char *json_text(const json_t *json, const char *member)
{
    const char *text = json_string_value(json_object_get(json, member));
    return text != NULL ? text : "";
}

int64_t json_number(const json_t *json, const char *member)
{
    return json_integer_value(json_object_get(json, member));
}

bool json_is_yes(const json_t *json, const char *member)
{
    return json_is_true(json_object_get(json, member));
}

void json_set_text(json_t *json, const char *member, const char *text)
{
    if (text != NULL)
        json_object_set_new(json, member, json_string(text));
}

void json_set_number(json_t *json, const char *member, int64_t number)
{
    if (number >= 0)
        json_object_set_new(json, member, json_integer(number));
}

bool json_set_labels(json_t *json, const struct flag_list *labels)
{
    json_t *object = json_object();
    for (size_t i = 0; i < labels->count; i++) {
        const char *mark = strchr(labels->item[i], '=');
        if (mark == NULL || mark == labels->item[i]) {
            fprintf(stderr, "brakectl: --label '%s': wanted KEY=VALUE\n", labels->item[i]);
            json_decref(object);
            return false;
        }
        json_object_setn_new(object, labels->item[i], (size_t)(mark - labels->item[i]),
                             json_string(mark + 1));
    }
    if (labels->count > 0)
        json_object_set(json, "labels", object);
    json_decref(object);
    return true;
}

void json_show(const json_t *json)
{
    json_dumpf(json, stdout,
               JSON_ENCODE_ANY | (isatty(STDOUT_FILENO) ? JSON_INDENT(2) : JSON_COMPACT));
    putchar('\n');
    fflush(stdout);
}

void url_escape(const char *text, char *out, size_t room)
{
    size_t len = 0;
    for (; *text != '\0' && len + 4 < room; text++) {
        unsigned char c = (unsigned char)*text;
        if (isalnum(c) || strchr("-_.~", c) != NULL)
            out[len++] = (char)c;
        else
            len += (size_t)snprintf(out + len, room - len, "%%%02X", c);
    }
    out[len] = '\0';
}
