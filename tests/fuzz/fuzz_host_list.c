/* The hosts that a daemon may call, as somebody wrote them (up to the first line break), and the
 * host of a URL (what is behind it): whatever they are, "no" is final, and what only `*` allows is
 * never the machine itself or its cloud's metadata. */
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "io/host_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static bool reaches(const struct host_list *list, struct str host, const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    assert(inet_pton(AF_INET, address, &to.sin_addr) == 1);
    return host_list_reaches(list, host, (const struct sockaddr *)&to);
}

static void no_is_final(const struct host_list *list, struct str host)
{
    static const char *const addresses[] = {"8.8.8.8", "127.0.0.1", "10.1.2.3"};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        struct str same = str_of(addresses[i]);
        if (!host_list_names(list, same))
            assert(!reaches(list, same, addresses[i]));
    }
    (void)host_list_names(list, host);
    (void)reaches(list, host, "192.0.2.1");
}

/* However an address that nobody may be led to is dressed up as IPv6: `host` gives the rest. */
static void no_dress_helps(const struct host_list *all, struct str host)
{
    static const unsigned char metadata[4] = {169, 254, 169, 254};
    static const struct {
        unsigned char prefix[12];
        size_t at;
    } dresses[] = {{{0}, 12},
                   {{[10] = 0xff, [11] = 0xff}, 12},
                   {{[8] = 0xff, [9] = 0xff}, 12},
                   {{0x00, 0x64, 0xff, 0x9b}, 12},
                   {{0x20, 0x02}, 2}};
    for (size_t i = 0; i < sizeof dresses / sizeof *dresses; i++) {
        struct sockaddr_in6 to = {.sin6_family = AF_INET6};
        unsigned char *bytes = to.sin6_addr.s6_addr;
        if (dresses[i].at == 2)
            memcpy(bytes, host.at, host.len < 16 ? host.len : 16);
        memcpy(bytes, dresses[i].prefix, dresses[i].at);
        memcpy(bytes + dresses[i].at, metadata, sizeof metadata);
        assert(!host_list_reaches(all, host, (const struct sockaddr *)&to));
    }
}

/* Without a list. */
static void nobody_is_led_inside(struct str host)
{
    struct host_list *all;
    struct str bad = STR_NONE;
    assert(host_list_new(NULL, false, &all, &bad) == ERR_OK);
    assert(host_list_names(all, host) && reaches(all, host, "192.0.2.1"));
    assert(!reaches(all, host, "127.0.0.1") && !reaches(all, host, "169.254.169.254"));
    no_dress_helps(all, host);
    host_list_free(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct host_list *list;
    struct str bad = STR_NONE;
    char *words = malloc(len + 1);
    assert(words != NULL);
    memcpy(words, bytes, len);
    words[len] = '\0';
    char *line_break = strchr(words, '\n');
    struct str host = str_of(line_break != NULL ? line_break + 1 : "");
    if (line_break != NULL)
        *line_break = '\0';
    enum err err = host_list_new(words, false, &list, &bad);
    assert((err == ERR_OK) == (host_list_fault(words) == NULL));
    if (err == ERR_OK) {
        no_is_final(list, host);
        host_list_free(list);
    }
    nobody_is_led_inside(host);
    free(words);
    return 0;
}
