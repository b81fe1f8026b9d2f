/* Where Redis is, as somebody wrote it: what is read is within its bounds, and printed without its
 * login it is read the same. */
#include <assert.h>
#include <stdlib.h>

#include "io/redis_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void is_within_bounds(const struct redis_url *url)
{
    assert((url->path != NULL) == (url->host_count == 0));
    assert(url->host_count <= REDIS_HOSTS_MAX);
    assert(url->kind != REDIS_ALONE || url->host_count <= 1);
    assert((url->master != NULL) == (url->kind == REDIS_SENTINEL));
    assert(url->db >= 0 && url->db <= 65535);
    for (size_t i = 0; i < url->host_count; i++)
        assert(url->host[i].name[0] != '\0' && url->host[i].port >= 1
               && url->host[i].port <= 65535);
}

static void are_the_same(const struct redis_url *a, const struct redis_url *b)
{
    assert(a->kind == b->kind && a->is_tls == b->is_tls && a->db == b->db);
    assert(a->host_count == b->host_count);
    for (size_t i = 0; i < a->host_count; i++)
        assert(strcmp(a->host[i].name, b->host[i].name) == 0 && a->host[i].port == b->host[i].port);
    assert(a->path == NULL || strcmp(a->path, b->path) == 0);
    assert(a->master == NULL || strcmp(a->master, b->master) == 0);
}

static void print_and_read(const struct redis_url *url)
{
    struct buf out = {0};
    struct redis_url again;
    const char *why = NULL;
    redis_url_print(url, &out);
    assert(!out.failed);
    assert(redis_url_parse(out.bytes, &again, &why) == ERR_OK);
    assert(again.user == NULL && again.password == NULL);
    are_the_same(url, &again);
    redis_url_fini(&again);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct redis_url url;
    const char *why = NULL;
    char *text = malloc(len + 1);
    assert(text != NULL);
    memcpy(text, bytes, len);
    text[len] = '\0';
    if (redis_url_parse(text, &url, &why) == ERR_OK) {
        is_within_bounds(&url);
        print_and_read(&url);
        redis_url_fini(&url);
    } else {
        assert(why != NULL);
    }
    free(text);
    return 0;
}
