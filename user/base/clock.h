/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clock - the only source of time.
 *
 * Does      gives boot time (CLOCK_BOOTTIME, the base of every TTL and lease, comparable with the
 *           kernel program's clock) and wall time (for absolute memcached expiry times and logs).
 * Shape     a struct clock is a small vtable, so that tests and simulations pass their own.
 * Units     nanoseconds; wall time in seconds since 1970.
 * Threads   clock_system() may be read from any thread.
 */
#ifndef XC_BASE_CLOCK_H
#define XC_BASE_CLOCK_H

#include <stdint.h>

#define NSEC_PER_SEC 1000000000ULL
#define NSEC_PER_MSEC 1000000ULL

struct clock {
	uint64_t (*now_ns)(const struct clock *self);  /* boot time */
	int64_t (*wall_sec)(const struct clock *self); /* Unix time */
	uint64_t (*wall_ns)(const struct clock *self); /* Unix time in ns; NULL: from wall_sec */
};

/* Monotonic ns: for waits on condition variables, which take CLOCK_MONOTONIC. */
uint64_t clock_mono_ns(void);
/* The machine's own clocks. */
const struct clock *clock_system(void);

static inline uint64_t clock_now_ns(const struct clock *clock)
{
	return clock->now_ns(clock);
}

static inline int64_t clock_wall_sec(const struct clock *clock)
{
	return clock->wall_sec(clock);
}

/* For absolute expiry: whole seconds alone would let an item live up to a second too long. */
static inline uint64_t clock_wall_ns(const struct clock *clock)
{
	if (clock->wall_ns)
		return clock->wall_ns(clock);
	return (uint64_t)clock->wall_sec(clock) * NSEC_PER_SEC;
}

#endif
