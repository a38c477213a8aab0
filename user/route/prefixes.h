/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * prefixes - requests counted by what stands in a key before a delimiter.
 *
 * Does      what memcached's `stats detail` asks for: prefixes are not configured, they are
 *           whatever the clients' keys have in front of the first delimiter.
 * Shape     PREFIX_MAX of them; one that comes later is only counted as not told apart. Emptied by
 *           a new table in its place (base/swap.h).
 * Errors    prefixes_new: NULL when out of memory. Nothing is allocated later.
 * Threads   prefixes_find: any thread, with a slot of its own. prefixes_walk: any.
 * Source    memcached 1.6.18: stats_prefix.c and -D of its manual, for what counts as a prefix.
 */
#ifndef XC_ROUTE_PREFIXES_H
#define XC_ROUTE_PREFIXES_H

#include <stdint.h>

#include "base/span.h"
#include "base/swap.h"
#include "route/tally.h"

#define PREFIX_MAX 1024

struct prefixes;

/* As an item of a swap, which frees it. slot_cnt: threads that count. */
struct prefixes *prefixes_new(uint32_t slot_cnt);

static inline struct prefixes *prefixes_of(struct swap_item *held)
{
	return (struct prefixes *)held;
}

/*
 * Where the slot's thread counts requests for the key's prefix. NULL: the key has no delimiter, or
 * its prefix could not be shown in a line (it holds blanks or control characters), or the table is
 * full, which is counted.
 */
struct tally *prefixes_find(struct prefixes *prefixes, uint32_t slot, struct span key,
			    uint8_t delimiter);

/* Calls each with every prefix, in the order of their first request. */
void prefixes_walk(struct prefixes *prefixes,
		   void (*each)(void *ctx, struct span prefix, const struct tally *sum), void *ctx);
/* Requests whose prefix was not told apart. */
uint64_t prefixes_overflow_cnt(const struct prefixes *prefixes);

#endif
