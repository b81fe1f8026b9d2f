/* What comes beside the body: query and headers. */
#include "api/api.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <strings.h>

struct query_check {
    const char *const *allowed;
    struct api_fault fault;
    bool refused;
};

static bool query_name_is_allowed(void *owner, struct str name, struct str value)
{
    (void)value;
    struct query_check *check = owner;
    for (size_t i = 0; check->allowed[i] != NULL; i++)
        if (str_is(name, check->allowed[i]))
            return true;
    char text[61];
    snprintf(text, sizeof text, "%.*s", (int)(name.len < 60 ? name.len : 60), name.at);
    check->refused = true;
    return api_fault(&check->fault, PROBLEM_INVALID, text, "unknown query parameter '%s'", text);
}

bool api_check_query(struct http_request *request, const char *const allowed[])
{
    struct query_check check = {.allowed = allowed};
    http_query_each(request, query_name_is_allowed, &check);
    if (check.refused)
        api_answer_fault(request, &check.fault);
    return !check.refused;
}

bool api_query_int(struct http_request *request, const char *name, int64_t min, int64_t max,
                   int64_t *out)
{
    struct str text = http_query(request, name);
    int64_t number = 0;
    if (text.at == NULL)
        return true;
    if (str_to_int(text, &number) && number >= min && number <= max) {
        *out = number;
        return true;
    }
    struct api_fault fault;
    api_fault(&fault, PROBLEM_INVALID, name, "%s must be a whole number from %lld to %lld", name,
              (long long)min, (long long)max);
    api_answer_fault(request, &fault);
    return false;
}

bool api_query_id(struct http_request *request, const char *name, struct str *out)
{
    struct str text = http_query(request, name);
    if (text.at == NULL)
        return true;
    if (id_is_valid(text)) {
        *out = text;
        return true;
    }
    struct api_fault fault;
    api_fault(&fault, PROBLEM_INVALID, name, "%s must be an id: 1 to 64 of A-Z a-z 0-9 _ -", name);
    api_answer_fault(request, &fault);
    return false;
}

static bool token_is_well_formed(struct str token)
{
    if (token.len < 16 || token.len > 256)
        return false;
    for (size_t i = 0; i < token.len; i++)
        if (token.at[i] <= ' ' || token.at[i] > '~')
            return false;
    return true;
}

bool api_bearer(struct http_request *request, struct str *token)
{
    struct str header = http_header(request, "Authorization");
    *token = STR_NONE;
    if (header.at == NULL)
        return true;
    if (header.len > 7 && strncasecmp(header.at, "Bearer ", 7) == 0) {
        struct str sent = {header.at + 7, header.len - 7};
        if (token_is_well_formed(sent)) {
            *token = sent;
            return true;
        }
    }
    api_problem(request, PROBLEM_UNAUTHORIZED,
                "Authorization must be 'Bearer' and 16 to 256 printable characters", NULL);
    return false;
}

void api_token_hash(struct str token, char out[API_TOKEN_HASH_LEN + 1])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char hash[EVP_MAX_MD_SIZE] = {0};
    /* fails only without memory; then nobody's token has this hash, and the caller is refused */
    if (EVP_Digest(token.at, token.len, hash, NULL, EVP_sha256(), NULL) != 1)
        memset(hash, 0, sizeof hash);
    for (size_t i = 0; i < API_TOKEN_HASH_LEN / 2; i++) {
        out[2 * i] = digits[hash[i] >> 4];
        out[2 * i + 1] = digits[hash[i] & 15];
    }
    out[API_TOKEN_HASH_LEN] = '\0';
}

/* 00-<32 hex>-<16 hex>-<2 hex>, lower case; all zero is no trace. */
struct str api_trace_id(const struct http_request *request)
{
    struct str header = http_header(request, "traceparent");
    if (header.len < 55 || memcmp(header.at, "00-", 3) != 0 || header.at[35] != '-')
        return STR_NONE;
    bool is_zero = true;
    for (size_t i = 3; i < 35; i++) {
        if (header.at[i] == '\0' || strchr("0123456789abcdef", header.at[i]) == NULL)
            return STR_NONE;
        is_zero = is_zero && header.at[i] == '0';
    }
    return is_zero ? STR_NONE : (struct str){header.at + 3, 32};
}
