/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tally - what one thread counted of the requests for some keys.
 *
 * Does      one number for each kind of event.
 * Shape     a cache line, so that threads that count beside each other do not share one.
 * Threads   one writer; readers in other threads need whole words, not order.
 */
#ifndef XC_ROUTE_TALLY_H
#define XC_ROUTE_TALLY_H

#include <stdint.h>

/* X(NAME, what `stats routes` calls it) */
#define TALLY_EVENTS(X)                                                                            \
	X(HIT, "get_hits")                                                                         \
	X(MISS, "get_misses")                                                                      \
	X(SET, "sets")                                                                             \
	X(DELETE, "deletes")                                                                       \
	/* of a prefix: estimated from the kernel's sample */                                      \
	X(KERNEL_HIT, "kernel_hits")                                                               \
	X(KERNEL_ABSENT, "kernel_absent")

enum tally_event {
#define X(name, text) TALLY_##name,
	TALLY_EVENTS(X)
#undef X
		TALLY_EVENT_CNT,
};

struct tally {
	_Alignas(64) uint64_t cnt[TALLY_EVENT_CNT];
};

static inline void tally_add(struct tally *tally, enum tally_event event, uint64_t n)
{
	uint64_t *cnt = &tally->cnt[event];

	__atomic_store_n(cnt, *cnt + n, __ATOMIC_RELAXED);
}

/* Adds the slots up. */
static inline struct tally tally_sum(const struct tally *slots, uint32_t slot_cnt)
{
	struct tally sum = { .cnt = { 0 } };

	for (uint32_t i = 0; i < slot_cnt; i++) {
		for (int event = 0; event < TALLY_EVENT_CNT; event++)
			sum.cnt[event] += __atomic_load_n(&slots[i].cnt[event], __ATOMIC_RELAXED);
	}
	return sum;
}

#endif
