#include "io/uv_threads.h"

#include <stdlib.h>

enum { OF_LIBUV = 4, MOST_OF_LIBUV = 1024, FOR_REDIS = 2 };

static const char size_name[] = "UV_THREADPOOL_SIZE";

void uv_threads_set(void)
{
    (void)setenv(size_name, "16", 0);
}

/* libuv reads the number like this, too. */
unsigned uv_threads_for_others(void)
{
    const char *given = getenv(size_name);
    long count = given != NULL ? strtol(given, NULL, 10) : OF_LIBUV;
    count = count < 1 ? 1 : count > MOST_OF_LIBUV ? MOST_OF_LIBUV : count;
    long for_lookups = (count + 1) / 2;
    return for_lookups > FOR_REDIS + 1 ? (unsigned)(for_lookups - FOR_REDIS) : 1;
}
