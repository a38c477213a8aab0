/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much of the log may be used. -m is for everything together, and the index, connections and
 * the kernel's entries grow as they are needed; so the log gives way, from its end, a segment at a
 * time. The reclaimer moves what lies above the limit below it (evicting there what no longer fits)
 * and then tells the log's owner which tail is free of items, so that its memory goes back.
 */
#include "store/impl.h"

/* Open segments cannot be reclaimed: all threads together hold at most about 1/8 of a log so. */
#define OPEN_SHARE 8
#define RESERVE_SHARE 64
#define RESERVE_MIN 4

void store_set_limit(struct store *store, uint64_t log_bytes)
{
	uint64_t wanted = log_bytes >> store->pool.shift;
	uint32_t cnt = store->pool.cnt, open_max;

	if (wanted < cnt)
		cnt = wanted < SEGMENT_CNT_MIN ? SEGMENT_CNT_MIN : (uint32_t)wanted;
	open_max = cnt / OPEN_SHARE / (store->options.thread_max + 1);
	atomic_store(&store->open_max, open_max < SEGMENT_QUEUES ? SEGMENT_QUEUES : open_max);
	atomic_store(&store->pool.reserve,
		     cnt / RESERVE_SHARE < RESERVE_MIN ? RESERVE_MIN : cnt / RESERVE_SHARE);
	if (cnt == atomic_load(&store->pool.limit))
		return;
	segment_limit(&store->pool, cnt);
	store_wake_reclaimer(store);
}

void store_trim(struct store *store)
{
	uint32_t limit = atomic_load(&store->pool.limit), end;

	if (store->trimmed < limit)
		store->trimmed = limit; /* raised: in use again */
	end = segment_end(&store->pool);
	if (end >= store->trimmed)
		return;
	store->trimmed = end;
	if (store->options.log.trim)
		store->options.log.trim(store->options.log.ctx, (uint64_t)end << store->pool.shift);
}
