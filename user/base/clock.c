/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/clock.h"

#include <time.h>

static uint64_t system_now_ns(const struct clock *self)
{
	struct timespec ts;

	(void)self;
	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static int64_t system_wall_sec(const struct clock *self)
{
	(void)self;
	return (int64_t)time(NULL);
}

static uint64_t system_wall_ns(const struct clock *self)
{
	struct timespec ts;

	(void)self;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

const struct clock *clock_system(void)
{
	static const struct clock system = {
		.now_ns = system_now_ns,
		.wall_sec = system_wall_sec,
		.wall_ns = system_wall_ns,
	};

	return &system;
}
