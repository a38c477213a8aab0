/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rand - the only source of randomness.
 *
 * Does      secrets from getrandom(2); fast repeatable numbers for sampling and tests from a seeded
 *           generator.
 * Errors    rand_secret: negative errno when the kernel has no entropy to give.
 * Threads   a struct rand belongs to one thread.
 * Source    splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
 *           OOPSLA'14).
 */
#ifndef XC_BASE_RAND_H
#define XC_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

struct rand {
	uint64_t state;
};

/* Fills buf with bytes fit for keys. */
int rand_secret(void *buf, size_t len);

static inline void rand_init(struct rand *r, uint64_t seed)
{
	r->state = seed;
}

static inline uint64_t rand_next(struct rand *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* A number in [0, bound); bound > 0. */
static inline uint64_t rand_below(struct rand *r, uint64_t bound)
{
	return (uint64_t)(((unsigned __int128)rand_next(r) * bound) >> 64);
}

/* A number in [0, 1). */
static inline double rand_unit(struct rand *r)
{
	return (double)(rand_next(r) >> 11) * 0x1.0p-53;
}

#endif
