/* libcurl's transfers on a libuv loop: its sockets are watched, its one timer runs, and what is
 * over is handed out. Whose transfers they are, and what is in them, it does not know. */
#ifndef IO_CURL_LOOP_H
#define IO_CURL_LOOP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <uv.h>

#include "base/err.h"

struct curl_loop;

struct curl_loop_events {
    /* A transfer is over, and was taken out already. `transfer` is its CURLOPT_PRIVATE. */
    void (*finished)(void *transfer, CURLcode code);
    /* Some transfers were looked after; with them libcurl may be called again. May be NULL. */
    void (*turned)(void *owner);
};

/* connections: how many are kept for further use. */
enum err curl_loop_open(uv_loop_t *loop, long connections, const struct curl_loop_events *events,
                        void *owner, struct curl_loop **out) MUST_CHECK;
/* Every transfer has been taken out. It may be called from within `finished`. on_closed comes from
 * the loop, when the memory is gone; NULL: nobody asks. */
void curl_loop_close(struct curl_loop *curl, void (*on_closed)(void *owner), void *owner);

/* False: libcurl takes it not now. */
bool curl_loop_add(struct curl_loop *curl, CURL *transfer) MUST_CHECK;
void curl_loop_take_out(struct curl_loop *curl, CURL *transfer);
/* libcurl called us: then it takes nothing, and gives nothing back, before `turned`. */
bool curl_loop_is_inside(const struct curl_loop *curl);

/* A socket as libcurl asks for it (CURLOPT_OPENSOCKETFUNCTION), but not for the processes that the
 * program starts: one that outlives it would hold the connection open. */
curl_socket_t curl_loop_socket(const struct curl_sockaddr *address);
enum err curl_loop_err(CURLcode code);

#endif
