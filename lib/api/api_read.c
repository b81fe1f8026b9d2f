/* Reading JSON bodies by a table, and saying exactly what is wrong with them. */
#include "api/api.h"

#include <stdarg.h>
#include <stdio.h>

bool api_fault(struct api_fault *fault, enum problem problem, const char *member,
               const char *format, ...)
{
    fault->problem = problem;
    snprintf(fault->member, sizeof fault->member, "%s", member);
    va_list args;
    va_start(args, format);
    vsnprintf(fault->detail, sizeof fault->detail, format, args);
    va_end(args);
    return false;
}

void api_answer_fault(struct http_request *request, const struct api_fault *fault)
{
    json_t *extra = NULL;
    if (fault->member[0] != '\0') {
        extra = json_object();
        api_set(extra, "member", api_text(str_of(fault->member)));
    }
    api_problem(request, fault->problem, fault->detail, extra);
}

static bool body_is_blank(struct str body)
{
    for (size_t i = 0; i < body.len; i++)
        if (strchr(" \t\r\n", body.at[i]) == NULL)
            return false;
    return true;
}

json_t *api_read_object(struct http_request *request)
{
    struct str body = http_body(request);
    json_error_t error = {0};
    json_t *json =
        body_is_blank(body)
            ? json_object()
            : json_loadb(body.at, body.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (json_is_object(json))
        return json;
    if (json != NULL) {
        json_decref(json);
        api_problem(request, PROBLEM_INVALID, "the body must be a JSON object", NULL);
    } else if (body_is_blank(body) || json_error_code(&error) == json_error_out_of_memory) {
        api_problem(request, PROBLEM_OVERLOADED, "out of memory", NULL);
    } else {
        char detail[JSON_ERROR_TEXT_LENGTH + 64];
        snprintf(detail, sizeof detail, "the body is not JSON: %s (line %d, column %d)", error.text,
                 error.line, error.column);
        /* the one place where `invalid` is a 400: there is no request yet to be unprocessable */
        http_problem(request, 400, problem_code(PROBLEM_INVALID), problem_title(PROBLEM_INVALID),
                     detail, NULL, 0);
    }
    return NULL;
}

static const struct api_member *member_named(const struct api_member *table, size_t count,
                                             const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

static bool unknown_member(const struct api_member *table, size_t count, const char *name,
                           struct api_fault *fault)
{
    char allowed[320] = "";
    size_t used = 0;
    for (size_t i = 0; i < count && used < sizeof allowed; i++)
        used += (size_t)snprintf(allowed + used, sizeof allowed - used, "%s%s", i == 0 ? "" : " ",
                                 table[i].name);
    return api_fault(fault, PROBLEM_INVALID, name, "unknown member '%.60s'; allowed: %s", name,
                     count == 0 ? "none" : allowed);
}

static bool number_fits(const struct api_member *member, int64_t value, struct api_fault *fault)
{
    bool bounded = member->min != 0 || member->max != 0;
    if (!bounded || (value >= member->min && value <= member->max))
        return true;
    return api_fault(fault, PROBLEM_INVALID, member->name, "%s must be from %lld to %lld",
                     member->name, (long long)member->min, (long long)member->max);
}

static bool length_fits(const struct api_member *member, size_t len, const char *unit,
                        struct api_fault *fault)
{
    int64_t max = member->max != 0 ? member->max : TEXT_MAX_BYTES;
    if ((int64_t)len < member->min)
        return api_fault(fault, PROBLEM_INVALID, member->name, "%s needs at least %lld %s",
                         member->name, (long long)member->min, unit);
    if ((int64_t)len > max)
        return api_fault(fault, PROBLEM_INVALID, member->name, "%s may have at most %lld %s",
                         member->name, (long long)max, unit);
    return true;
}

static bool take_text(const struct api_member *member, const json_t *value, void *field,
                      struct api_fault *fault)
{
    if (!json_is_string(value))
        return api_fault(fault, PROBLEM_INVALID, member->name, "%s must be a string", member->name);
    struct str text = {json_string_value(value), json_string_length(value)};
    if (member->type == API_ID && !id_is_valid(text))
        return api_fault(fault, PROBLEM_INVALID, member->name,
                         "%s must be an id: 1 to 64 of A-Z a-z 0-9 _ -", member->name);
    if (!length_fits(member, text.len, "bytes", fault))
        return false;
    *(struct str *)field = text;
    return true;
}

static bool take_number(const struct api_member *member, const json_t *value, void *field,
                        struct api_fault *fault)
{
    if (!json_is_integer(value))
        return api_fault(fault, PROBLEM_INVALID, member->name, "%s must be a whole number%s",
                         member->name, member->type == API_SPAN_MS ? " of milliseconds" : "");
    int64_t number = json_integer_value(value);
    if (!number_fits(member, number, fault))
        return false;
    if (member->type == API_SPAN_MS)
        *(struct span *)field = MILLIS(number);
    else
        *(int64_t *)field = number;
    return true;
}

static bool take_choice(const struct api_member *member, const json_t *value, void *field,
                        struct api_fault *fault)
{
    const char *word = json_string_value(value);
    struct str rest = str_of(member->choices);
    for (int i = 0; word != NULL && rest.at != NULL; i++)
        if (str_is(str_cut(&rest, '|'), word)) {
            *(int *)field = i;
            return true;
        }
    return api_fault(fault, PROBLEM_INVALID, member->name, "%s must be one of %s", member->name,
                     member->choices);
}

static bool take_composite(const struct api_member *member, const json_t *value, void *field,
                           struct api_fault *fault)
{
    bool wants_array = member->type == API_ARRAY;
    if (wants_array ? !json_is_array(value) : !json_is_object(value))
        return api_fault(fault, PROBLEM_INVALID, member->name, "%s must be an %s", member->name,
                         wants_array ? "array" : "object");
    size_t count = wants_array ? json_array_size(value) : json_object_size(value);
    if (!length_fits(member, count, wants_array ? "elements" : "members", fault))
        return false;
    *(const json_t **)field = value;
    return true;
}

static bool take_member(const struct api_member *member, const json_t *value, void *out,
                        struct api_fault *fault)
{
    void *field = (char *)out + member->offset;
    switch (member->type) {
    case API_TEXT:
    case API_ID:
        return take_text(member, value, field, fault);
    case API_INT:
    case API_SPAN_MS:
        return take_number(member, value, field, fault);
    case API_CHOICE:
        return take_choice(member, value, field, fault);
    case API_OBJECT:
    case API_ARRAY:
        return take_composite(member, value, field, fault);
    case API_BOOL:
        break;
    }
    if (!json_is_boolean(value))
        return api_fault(fault, PROBLEM_INVALID, member->name, "%s must be true or false",
                         member->name);
    *(bool *)field = json_is_true(value);
    return true;
}

static bool nothing_is_missing(const json_t *object, const struct api_member *table, size_t count,
                               struct api_fault *fault)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_object_get(object, table[i].name);
        if (table[i].required && (value == NULL || json_is_null(value)))
            return api_fault(fault, PROBLEM_INVALID, table[i].name, "%s is missing", table[i].name);
    }
    return true;
}

bool api_take_members(const json_t *object, const struct api_member *table, size_t count, void *out,
                      struct api_fault *fault)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) /* only read: jansson's macro wants it so */
    {
        const struct api_member *member = member_named(table, count, name);
        if (member == NULL)
            return unknown_member(table, count, name, fault);
        if (!json_is_null(value) && !take_member(member, value, out, fault))
            return false;
    }
    return nothing_is_missing(object, table, count, fault);
}

bool api_read_members(struct http_request *request, const json_t *object,
                      const struct api_member *table, size_t count, void *out)
{
    struct api_fault fault;
    if (api_take_members(object, table, count, out, &fault))
        return true;
    api_answer_fault(request, &fault);
    return false;
}

bool api_take_labels(const json_t *labels, struct label *out, size_t *count,
                     struct api_fault *fault)
{
    enum { LABEL_KEY_MAX = 64, LABEL_VALUE_MAX = 256 };
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)labels, key, value) /* only read: jansson's macro wants it so */
    {
        size_t len = strlen(key);
        if (len == 0 || len > LABEL_KEY_MAX)
            return api_fault(fault, PROBLEM_INVALID, "labels", "a label's name has 1 to %d bytes",
                             LABEL_KEY_MAX);
        if (!json_is_string(value) || json_string_length(value) > LABEL_VALUE_MAX)
            return api_fault(fault, PROBLEM_INVALID, "labels",
                             "label '%s' must be a string of at most %d bytes", key,
                             LABEL_VALUE_MAX);
        out[(*count)++] =
            (struct label){{key, len}, {json_string_value(value), json_string_length(value)}};
    }
    return true;
}
