#include "remote/answers.h"

#include <jansson.h>
#include <string.h>
#include <strings.h>

enum { PATH_MAX_LEN = 1024, INTERFACES_MAX = 32 };

static json_t *parse(struct str body)
{
    json_error_t error;
    return body.len > 0 ? json_loadb(body.at, body.len, JSON_REJECT_DUPLICATES, &error) : NULL;
}

static const char *word_of(const json_t *json, const char *key)
{
    const char *word = json_string_value(json_object_get(json, key));
    return word != NULL ? word : "";
}

/* ---- tasks --------------------------------------------------------------------------------- */
/* "canceled" (0.3), "TASK_STATE_CANCELED" (1.0), "TASK_STATE_CANCELLED" (0.3 over REST). */
static bool is_state(const char *state, const char *name)
{
    static const char prefix[] = "TASK_STATE_";
    if (strncasecmp(state, prefix, sizeof prefix - 1) == 0)
        state += sizeof prefix - 1;
    return strcasecmp(state, name) == 0;
}

static enum a2a_said said_by_state(const char *state)
{
    if (is_state(state, "canceled") || is_state(state, "cancelled"))
        return A2A_CANCELED;
    if (is_state(state, "completed"))
        return A2A_COMPLETED;
    if (is_state(state, "failed") || is_state(state, "rejected"))
        return A2A_FAILED;
    return A2A_ACTIVE;
}

/* Bare, as it should be, or wrapped. */
static const char *state_of_task(const json_t *json)
{
    const json_t *task = json_object_get(json, "task");
    const json_t *status = json_object_get(json_is_object(task) ? task : json, "status");
    return word_of(status, "state");
}

/* ---- errors -------------------------------------------------------------------------------- */
enum { CODE_NO_SUCH_TASK = -32001, CODE_NOT_CANCELABLE = -32002 };

static const char *reason_of(const json_t *error)
{
    const json_t *details = json_object_get(error, "details");
    if (!json_is_array(details))
        details = json_object_get(error, "data");
    for (size_t i = 0; i < json_array_size(details); i++) {
        const char *reason = word_of(json_array_get(details, i), "reason");
        if (reason[0] != '\0')
            return reason;
    }
    return "";
}

static enum a2a_said said_by_error(const json_t *error)
{
    const char *reason = reason_of(error);
    json_int_t code = json_integer_value(json_object_get(error, "code"));
    if (code == CODE_NO_SUCH_TASK || strcmp(reason, "TASK_NOT_FOUND") == 0)
        return A2A_NO_SUCH_TASK;
    if (code == CODE_NOT_CANCELABLE || strcmp(reason, "TASK_NOT_CANCELABLE") == 0)
        return A2A_NOT_CANCELABLE;
    return A2A_ERROR;
}

static bool is_busy(long status)
{
    return status == 429 || status == 502 || status == 503 || status == 504;
}

/* Errors over REST come as {"error":{…}}, as {"code","message"}, and as {"message"} alone, where
 * only the status tells them apart. A 404 without any of it is that of a wrong path, and so is one
 * that repeats the path, as web frameworks do ("Cannot POST /tasks/…"). */
static enum a2a_said said_by_failure(long status, const json_t *json)
{
    const json_t *error = json_object_get(json, "error");
    enum a2a_said said = said_by_error(json_is_object(error) ? error : json);
    const char *message = word_of(json_is_object(error) ? error : json, "message");
    if (message[0] == '\0')
        message = word_of(json, "message");
    bool has_message = message[0] != '\0' && strstr(message, "/tasks/") == NULL;
    bool says_which = reason_of(json_is_object(error) ? error : json)[0] != '\0'
                      || json_integer_value(json_object_get(json, "code")) < 0;
    if (said != A2A_ERROR || says_which || !has_message)
        return said;
    if (status == 404)
        return A2A_NO_SUCH_TASK;
    return status == 409 ? A2A_NOT_CANCELABLE : A2A_ERROR;
}

static enum a2a_said read_parsed(long status, const json_t *json)
{
    const json_t *result = json_object_get(json, "result");
    if (json_is_object(json_object_get(json, "error")) && status >= 200 && status < 300)
        return said_by_error(json_object_get(json, "error"));
    if (status < 200 || status >= 300)
        return is_busy(status) ? A2A_BUSY : said_by_failure(status, json);
    const char *state = state_of_task(json_is_object(result) ? result : json);
    return state[0] != '\0' ? said_by_state(state) : A2A_ERROR;
}

enum a2a_said a2a_read_answer(long status, struct str body)
{
    json_t *json = parse(body);
    enum a2a_said said = json_is_object(json) ? read_parsed(status, json)
                         : is_busy(status)    ? A2A_BUSY
                                              : A2A_ERROR;
    json_decref(json);
    return said;
}

/* ---- agent cards --------------------------------------------------------------------------- */
static enum a2a_version version_of(const char *text)
{
    if (strncmp(text, "1.", 2) == 0)
        return A2A_1_0;
    return strncmp(text, "0.3", 3) == 0 ? A2A_0_3 : A2A_ANY_VERSION;
}

static enum a2a_binding binding_of(const char *text)
{
    if (strcasecmp(text, "JSONRPC") == 0)
        return A2A_JSONRPC;
    return strcasecmp(text, "HTTP+JSON") == 0 ? A2A_REST : A2A_ANY_BINDING;
}

static struct str path_of(const char *url)
{
    const char *host = strstr(url, "://");
    const char *path = host != NULL ? strpbrk(host + 3, "/?#") : NULL;
    return path != NULL && *path == '/' ? (struct str){path, strcspn(path, "?#")} : STR("/");
}

struct choice {
    enum a2a_version version; /* wanted */
    enum a2a_binding binding;
    struct a2a_interface *best;
    bool is_found;
};

static bool is_better(const struct choice *choice, enum a2a_version version,
                      enum a2a_binding binding)
{
    const struct a2a_interface *best = choice->best;
    if (!choice->is_found || version > best->version)
        return true;
    return version == best->version && binding < best->binding;
}

static bool is_wanted(const struct choice *choice, enum a2a_version version,
                      enum a2a_binding binding)
{
    return version != A2A_ANY_VERSION && binding != A2A_ANY_BINDING
           && (choice->version == A2A_ANY_VERSION || choice->version == version)
           && (choice->binding == A2A_ANY_BINDING || choice->binding == binding);
}

static void consider(struct choice *choice, const char *url, enum a2a_version version,
                     enum a2a_binding binding)
{
    struct str path = path_of(url);
    if (!is_wanted(choice, version, binding) || !is_better(choice, version, binding)
        || path.len > PATH_MAX_LEN)
        return;
    for (size_t i = 0; i < path.len; i++)
        if ((unsigned char)path.at[i] <= ' ' || (unsigned char)path.at[i] >= 127)
            return;
    buf_clear(&choice->best->path);
    choice->best->version = version;
    choice->best->binding = binding;
    choice->is_found = buf_add_str(&choice->best->path, path) == ERR_OK;
}

static void consider_1_0(struct choice *choice, const json_t *card)
{
    const json_t *list = json_object_get(card, "supportedInterfaces");
    for (size_t i = 0; i < json_array_size(list) && i < INTERFACES_MAX; i++) {
        const json_t *one = json_array_get(list, i);
        consider(choice, word_of(one, "url"), version_of(word_of(one, "protocolVersion")),
                 binding_of(word_of(one, "protocolBinding")));
    }
}

static void consider_0_3(struct choice *choice, const json_t *card)
{
    const char *preferred = word_of(card, "preferredTransport");
    const json_t *list = json_object_get(card, "additionalInterfaces");
    enum a2a_version version = version_of(word_of(card, "protocolVersion"));
    if (!json_is_string(json_object_get(card, "url")))
        return;
    consider(choice, word_of(card, "url"), version,
             preferred[0] != '\0' ? binding_of(preferred) : A2A_JSONRPC);
    for (size_t i = 0; i < json_array_size(list) && i < INTERFACES_MAX; i++) {
        const json_t *one = json_array_get(list, i);
        consider(choice, word_of(one, "url"), version, binding_of(word_of(one, "transport")));
    }
}

bool a2a_read_card(struct str body, enum a2a_version version, enum a2a_binding binding,
                   struct a2a_interface *out)
{
    struct choice choice = {.version = version, .binding = binding, .best = out};
    json_t *card = parse(body);
    *out = (struct a2a_interface){.version = A2A_ANY_VERSION};
    consider_1_0(&choice, card);
    consider_0_3(&choice, card);
    json_decref(card);
    if (!choice.is_found)
        buf_fini(&out->path);
    return choice.is_found;
}

/* ---- LangGraph ----------------------------------------------------------------------------- */
enum langgraph_said langgraph_read_run(struct str body)
{
    static const struct {
        const char *word;
        enum langgraph_said said;
    } known[] = {
        {"interrupted", LANGGRAPH_INTERRUPTED},
        {"success", LANGGRAPH_SUCCESS},
        {"error", LANGGRAPH_FAILED},
        {"timeout", LANGGRAPH_FAILED},
        {"pending", LANGGRAPH_ACTIVE},
        {"running", LANGGRAPH_ACTIVE},
    };
    json_t *run = parse(body);
    enum langgraph_said said = LANGGRAPH_UNCLEAR;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(word_of(run, "status"), known[i].word) == 0)
            said = known[i].said;
    json_decref(run);
    return said;
}

static bool has_word(struct str body, const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= body.len; i++)
        if (strncasecmp(body.at + i, word, len) == 0)
            return true;
    return false;
}

/* Web frameworks repeat the path that they do not serve: "Cannot GET /threads/…/runs/…". */
bool langgraph_has_no_such_run(struct str body)
{
    return (has_word(body, "run") || has_word(body, "thread")) && !has_word(body, "/threads/");
}
