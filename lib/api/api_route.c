#include "api/api.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

bool api_path_fits(const char *pattern, struct str path, struct str part[API_PARTS_MAX])
{
    struct str wanted = str_of(pattern), rest = path;
    size_t parts = 0;
    while (wanted.at != NULL && rest.at != NULL) {
        struct str want = str_cut(&wanted, '/'), got = str_cut(&rest, '/');
        if (str_is(want, "{id}")) {
            assert(parts < API_PARTS_MAX);
            part[parts++] = got;
        } else if (!str_eq(want, got)) {
            return false;
        }
    }
    return wanted.at == NULL && rest.at == NULL;
}

static bool method_fits(const struct api_route *route, struct str method)
{
    return str_is(method, route->method)
           || (str_is(method, "HEAD") && strcmp(route->method, "GET") == 0);
}

static bool parts_are_ids(struct http_request *request, const struct str part[API_PARTS_MAX])
{
    for (size_t i = 0; i < API_PARTS_MAX; i++)
        if (part[i].at != NULL && !id_is_valid(part[i])) {
            api_problem(request, PROBLEM_INVALID,
                        "the id in the path is not valid: 1 to 64 of A-Z a-z 0-9 _ -", NULL);
            return false;
        }
    return true;
}

void api_refuse_method(struct http_request *request, const char *allowed)
{
    json_t *body =
        json_pack("{s:s, s:s, s:i, s:s, s:o}", "type", "about:blank", "title",
                  problem_title(PROBLEM_METHOD), "status", (int)problem_status(PROBLEM_METHOD),
                  "code", problem_code(PROBLEM_METHOD), "detail",
                  json_sprintf("this path knows %s", allowed));
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    json_decref(body);
    const char *const headers[] = {"Allow", allowed, NULL};
    http_answer(request, problem_status(PROBLEM_METHOD), "application/problem+json",
                text == NULL ? STR_NONE : str_of(text), headers);
    free(text);
}

void api_route(struct http_request *request, const struct api_route *routes, size_t count,
               void *owner)
{
    char allowed[64] = "";
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        struct str part[API_PARTS_MAX] = {{NULL, 0}};
        if (!api_path_fits(routes[i].path, http_path(request), part))
            continue;
        if (!method_fits(&routes[i], http_method(request))) {
            used += (size_t)snprintf(allowed + used, sizeof allowed - used, "%s%s",
                                     used == 0 ? "" : ", ", routes[i].method);
            assert(used < sizeof allowed);
            continue;
        }
        if (parts_are_ids(request, part))
            routes[i].serve(owner, request, part);
        return;
    }
    if (used > 0)
        api_refuse_method(request, allowed);
    else
        api_problem(request, PROBLEM_NOT_FOUND, "no such path", NULL);
}
