/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fake_clock - time that a test sets.
 *
 * Does      is a struct clock whose two times move only when told, together.
 * Units     nanoseconds; wall time since 1970.
 * Threads   readers in any; one writer.
 */
#ifndef XC_TESTS_FAKE_CLOCK_H
#define XC_TESTS_FAKE_CLOCK_H

#include "base/clock.h"

struct fake_clock {
	struct clock clock; /* first: what rooms get */
	uint64_t boot_ns;
	uint64_t unix_ns;
};

void fake_clock_init(struct fake_clock *fake, uint64_t boot_ns, uint64_t unix_ns);
void fake_clock_add(struct fake_clock *fake, uint64_t ns);

#endif
