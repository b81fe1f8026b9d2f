#include "io/redis_resolver.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

static bool is_numeric(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static void resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct resolver *resolver = request->data;
    resolver->busy = false;
    if (status == 0)
        resolver->count = 0;
    for (struct addrinfo *at = found; at != NULL && resolver->count < RESOLVER_ADDRESSES;
         at = at->ai_next) {
        char *text = resolver->address[resolver->count];
        if (getnameinfo(at->ai_addr, at->ai_addrlen, text, RESOLVER_TEXT, NULL, 0, NI_NUMERICHOST)
            == 0)
            resolver->count++;
    }
    uv_freeaddrinfo(found);
    resolver->on_resolved(resolver->owner, status == 0 ? NULL : uv_strerror(status));
}

enum err resolver_ask(uv_loop_t *loop, struct resolver *resolver, const char *host, bool *out_now)
{
    assert(!resolver->busy);
    *out_now = is_numeric(host);
    if (*out_now) {
        snprintf(resolver->address[0], RESOLVER_TEXT, "%s", host);
        resolver->count = 1;
        return ERR_OK;
    }
    static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    if (uv_getaddrinfo(loop, &resolver->request, resolved, host, NULL, &hints) != 0)
        return ERR_SYSTEM;
    resolver->request.data = resolver;
    resolver->busy = true;
    return ERR_OK;
}

void resolver_cancel(struct resolver *resolver)
{
    if (resolver->busy)
        (void)uv_cancel((uv_req_t *)&resolver->request); /* EBUSY: it is being worked on */
}
