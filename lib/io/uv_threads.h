/* libuv's threads: names are looked up there, each of which may hang for as long as a name server
 * pleases. libuv gives such work half of them. */
#ifndef IO_UV_THREADS_H
#define IO_UV_THREADS_H

/* Enough of them for a daemon that calls strangers by name; UV_THREADPOOL_SIZE, where it is set,
 * stays. To be called before libuv first needs one. */
void uv_threads_set(void);

/* How many names may be looked up at once on behalf of others, so that some threads are left for
 * the names of Redis; at least 1. */
unsigned uv_threads_for_others(void);

#endif
