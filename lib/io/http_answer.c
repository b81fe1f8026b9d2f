/* The ways to answer a request; each ends in request_settle(). */
#include <stdio.h>
#include <string.h>

#include "io/http_parts.h"

static void add_headers(struct MHD_Response *response, const char *type,
                        const char *const headers[])
{
    if (response == NULL)
        return;
    if (type != NULL)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    for (size_t i = 0; headers != NULL && headers[i] != NULL; i += 2)
        MHD_add_response_header(response, headers[i], headers[i + 1]);
}

void http_answer(struct http_request *request, unsigned status, const char *type, struct str body,
                 const char *const headers[])
{
    /* It copies, and so never writes through this pointer, whose type lacks the const. */
    union {
        const char *in;
        void *out;
    } bytes = {.in = body.len > 0 ? body.at : ""};
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body.len, bytes.out, MHD_RESPMEM_MUST_COPY);
    add_headers(response, type, headers);
    request_settle(request, status, response);
}

static void answer_json(struct http_request *request, unsigned status, const char *type,
                        json_t *json, const char *const headers[])
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    struct MHD_Response *response =
        text != NULL ? MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE)
                     : NULL;
    add_headers(response, type, headers);
    request_settle(request, status, response);
}

void http_answer_json(struct http_request *request, unsigned status, json_t *json,
                      const char *const headers[])
{
    answer_json(request, status, "application/json", json, headers);
}

json_t *http_text(struct str text)
{
    if (text.len == 0)
        return json_string("");
    if (str_is_utf8(text))
        return json_stringn(text.at, text.len);
    struct buf clean = {0};
    while (text.len > 0) {
        size_t len = str_utf8_length(text);
        buf_add_str(&clean, len == 0 ? STR("\xef\xbf\xbd") : (struct str){text.at, len});
        len = len == 0 ? 1 : len;
        text = (struct str){text.at + len, text.len - len};
    }
    json_t *json = clean.failed ? NULL : json_stringn(clean.bytes, clean.len);
    buf_fini(&clean);
    return json;
}

/* A detail may repeat what was sent, in part, and so end in the middle of a character. */
void http_problem(struct http_request *request, unsigned status, const char *code,
                  const char *title, const char *detail, json_t *extra, unsigned retry_after_s)
{
    char retry[16];
    snprintf(retry, sizeof retry, "%u", retry_after_s);
    /* Who asks too much has to come again: that costs it more than it costs us. */
    bool ends = status == MHD_HTTP_TOO_MANY_REQUESTS;
    const char *const headers[] = {"Retry-After", retry, ends ? "Connection" : NULL, "close", NULL};
    json_t *problem = json_pack("{s:s, s:s, s:i, s:s, s:o*}", "type", "about:blank", "title", title,
                                "status", (int)status, "code", code, "detail",
                                detail != NULL ? http_text(str_of(detail)) : NULL);
    if (problem != NULL && extra != NULL)
        (void)json_object_update(problem, extra);
    json_decref(extra);
    answer_json(request, status, "application/problem+json", problem,
                retry_after_s > 0 ? headers : NULL);
}
