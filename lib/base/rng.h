/* Random numbers from a seed, and random names. Same seed, same numbers, on every machine. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t state;
};

uint64_t rng_next(struct rng *rng);                /* splitmix64 */
uint32_t rng_below(struct rng *rng, uint32_t end); /* 0 <= x < end; end > 0 */
/* Writes `len` characters of [0-9A-Za-z] and a NUL. Five bits and more each. */
void rng_name(struct rng *rng, char *out, size_t len);

#endif
