/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/fake_clock.h"

static uint64_t now_ns(const struct clock *self)
{
	return __atomic_load_n(&((const struct fake_clock *)self)->boot_ns, __ATOMIC_RELAXED);
}

static uint64_t wall_ns(const struct clock *self)
{
	return __atomic_load_n(&((const struct fake_clock *)self)->unix_ns, __ATOMIC_RELAXED);
}

static int64_t wall_sec(const struct clock *self)
{
	return (int64_t)(wall_ns(self) / NSEC_PER_SEC);
}

void fake_clock_init(struct fake_clock *fake, uint64_t boot_ns, uint64_t unix_ns)
{
	fake->clock = (struct clock){ .now_ns = now_ns, .wall_sec = wall_sec, .wall_ns = wall_ns };
	fake->boot_ns = boot_ns;
	fake->unix_ns = unix_ns;
}

void fake_clock_add(struct fake_clock *fake, uint64_t ns)
{
	__atomic_fetch_add(&fake->unix_ns, ns, __ATOMIC_RELAXED);
	__atomic_fetch_add(&fake->boot_ns, ns, __ATOMIC_RELAXED);
}
