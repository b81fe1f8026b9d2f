#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "brakectl/demo.h"

enum { BURST_MS = 20000 };

struct shot {
    CURL *easy;
    struct buf body;
};

static size_t take_bytes(const char *bytes, size_t size, size_t count, void *owner)
{
    struct shot *shot = owner;
    return buf_add(&shot->body, bytes, size * count) == ERR_OK ? size * count : 0;
}

static void aim(struct shot *shot, CURLM *multi, const char *url, const char *body)
{
    shot->easy = curl_easy_init();
    if (shot->easy == NULL)
        return;
    curl_easy_setopt(shot->easy, CURLOPT_URL, url);
    curl_easy_setopt(shot->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(shot->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(shot->easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(shot->easy, CURLOPT_TIMEOUT_MS, (long)BURST_MS);
    curl_easy_setopt(shot->easy, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(shot->easy, CURLOPT_WRITEDATA, shot);
    curl_multi_add_handle(multi, shot->easy);
}

static void count_answer(struct shot *shot, struct burst *burst, const char *cancel_id)
{
    long status = 0;
    curl_easy_getinfo(shot->easy, CURLINFO_RESPONSE_CODE, &status);
    json_t *json = json_loadb(shot->body.bytes, shot->body.len, 0, NULL);
    bool good = status == 200 || status == 202;
    burst->good += good;
    burst->already += good && json_is_yes(json, "already");
    burst->same_id += good && strcmp(json_text(json, "cancel_id"), cancel_id) == 0;
    json_decref(json);
}

static void fire(CURLM *multi)
{
    int running = 1;
    while (running > 0 && curl_multi_perform(multi, &running) == CURLM_OK)
        if (running > 0)
            curl_multi_poll(multi, NULL, 0, 100, NULL);
}

struct burst demo_burst(const char *url, const char *body, unsigned count, const char *cancel_id)
{
    struct burst burst = {0};
    CURLM *multi = curl_multi_init();
    struct shot *shots = mem_new(count * sizeof *shots);
    if (multi == NULL || shots == NULL)
        return burst;
    for (unsigned i = 0; i < count; i++)
        aim(&shots[i], multi, url, body);
    fire(multi);
    for (unsigned i = 0; i < count; i++) {
        if (shots[i].easy == NULL)
            continue;
        count_answer(&shots[i], &burst, cancel_id);
        curl_multi_remove_handle(multi, shots[i].easy);
        curl_easy_cleanup(shots[i].easy);
        buf_fini(&shots[i].body);
    }
    curl_multi_cleanup(multi);
    mem_free(shots);
    return burst;
}
