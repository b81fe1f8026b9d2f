/* A point on the monotonic clock, and a length of time.
 *
 * Two types, so that the compiler refuses to compare a deadline with a timeout. Milliseconds are
 * enough to decide with; what is measured is measured in nanoseconds by the shell. */
#ifndef BASE_MONO_H
#define BASE_MONO_H

#include <stdbool.h>
#include <stdint.h>

struct instant {
    int64_t ms;
};
struct span {
    int64_t ms;
};
/* Wall clock, Unix time. Only ever shown or stored, never waited for. */
struct wall {
    int64_t ms;
};

#define INSTANT_NEVER ((struct instant){INT64_MAX})
#define MILLIS(n)     ((struct span){(int64_t)(n)})
#define SECONDS(n)    ((struct span){(int64_t)(n) * 1000})
#define SPAN_NONE     ((struct span){-1}) /* "not given" */

/* RFC 3339 in UTC with milliseconds, as everywhere in the API: "2026-01-31T12:00:00.000Z". Returns
 * `out`. Times before 1970 or after 9999 are shown as the nearest that fits. */
enum { WALL_TEXT_MAX = 96 }; /* room that a compiler can prove */
const char *wall_text(struct wall at, char out[WALL_TEXT_MAX]);

/* Saturates at INSTANT_NEVER. */
static inline struct instant instant_after(struct instant start, struct span wait)
{
    if (start.ms == INT64_MAX || wait.ms > INT64_MAX - 1 - start.ms)
        return INSTANT_NEVER;
    return (struct instant){start.ms + wait.ms};
}

static inline bool instant_reached(struct instant now, struct instant due)
{
    return now.ms >= due.ms;
}

static inline struct instant instant_first(struct instant a, struct instant b)
{
    return a.ms <= b.ms ? a : b;
}

#endif
