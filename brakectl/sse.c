#include "brakectl/sse.h"

#include <curl/curl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

struct sse {
    CURLM *multi;
    CURL *easy;
    struct curl_slist *headers;
    struct sse_reader reader;
    char why[CURL_ERROR_SIZE];
    bool is_open;
};

static size_t take_bytes(const char *bytes, size_t size, size_t count, void *owner)
{
    struct sse *sse = owner;
    return sse_reader_take(&sse->reader, (struct str){bytes, size * count}) ? size * count : 0;
}

static bool name_headers(struct sse *sse, const char *token)
{
    char line[320];
    sse->headers = curl_slist_append(NULL, "Accept: text/event-stream");
    if (token == NULL || sse->headers == NULL)
        return sse->headers != NULL;
    snprintf(line, sizeof line, "Authorization: Bearer %s", token);
    return curl_slist_append(sse->headers, line) != NULL;
}

static void describe(struct sse *sse, const char *where, const char *path)
{
    char url[1024];
    bool is_unix = strncmp(where, "unix:", 5) == 0;
    snprintf(url, sizeof url, "%s%s", is_unix ? "http://localhost" : where, path);
    curl_easy_setopt(sse->easy, CURLOPT_URL, url);
    if (is_unix)
        curl_easy_setopt(sse->easy, CURLOPT_UNIX_SOCKET_PATH, where + 5);
    curl_easy_setopt(sse->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(sse->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(sse->easy, CURLOPT_HTTPHEADER, sse->headers);
    curl_easy_setopt(sse->easy, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(sse->easy, CURLOPT_ERRORBUFFER, sse->why);
    curl_easy_setopt(sse->easy, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(sse->easy, CURLOPT_WRITEDATA, sse);
    /* A half-open connection: agentd and broker send a comment every 15 s. */
    curl_easy_setopt(sse->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(sse->easy, CURLOPT_LOW_SPEED_TIME, 40L);
}

struct sse *sse_new(const char *where, const char *path, const char *token, sse_event on_event,
                    void *owner)
{
    struct sse *sse = mem_new(sizeof *sse);
    if (sse == NULL)
        return NULL;
    sse_reader_init(&sse->reader, on_event, owner);
    sse->multi = curl_multi_init();
    sse->easy = curl_easy_init();
    if (sse->multi == NULL || sse->easy == NULL || !name_headers(sse, token)) {
        sse_free(sse);
        return NULL;
    }
    describe(sse, where, path);
    sse->is_open = curl_multi_add_handle(sse->multi, sse->easy) == CURLM_OK;
    return sse;
}

void sse_free(struct sse *sse)
{
    if (sse == NULL)
        return;
    if (sse->multi != NULL && sse->easy != NULL)
        curl_multi_remove_handle(sse->multi, sse->easy);
    curl_easy_cleanup(sse->easy);
    curl_multi_cleanup(sse->multi);
    curl_slist_free_all(sse->headers);
    sse_reader_fini(&sse->reader);
    mem_free(sse);
}

bool sse_is_open(const struct sse *sse)
{
    return sse->is_open;
}

const char *sse_why(const struct sse *sse)
{
    return sse->why[0] != '\0' ? sse->why : "the stream ended";
}

static void wait_for_fd(int fd, struct span longest)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    (void)poll(&wanted, fd >= 0 ? 1 : 0, (int)longest.ms);
}

void sse_wait(struct sse *sse, int fd, struct span longest)
{
    if (sse == NULL || !sse->is_open) {
        wait_for_fd(fd, longest);
        return;
    }
    struct curl_waitfd other = {.fd = fd, .events = CURL_WAIT_POLLIN};
    int running = 0;
    curl_multi_perform(sse->multi, &running);
    if (running > 0) {
        curl_multi_poll(sse->multi, &other, fd >= 0 ? 1 : 0, (int)longest.ms, NULL);
        curl_multi_perform(sse->multi, &running);
    }
    sse->is_open = running > 0;
}
