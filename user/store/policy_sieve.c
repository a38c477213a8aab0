/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SIEVE over segments. A hand walks from the oldest item to the newest; what was asked for since it
 * last came by stays where it is, the rest leaves; at the newest it starts over. New items come
 * behind the newest.
 *
 * Two queues hold the order: the one that the hand is in, new items at its young end, and the one
 * of what it has passed. A survivor goes to the young end of the second: so the order stays. When
 * the first is empty the hand is through, and the two change places.
 *
 * Difference from the paper: the hand goes on until a segment's worth has left, not an item's.
 *
 * Source: Zhang et al., "SIEVE is simpler than LRU", NSDI'24.
 */
#include "store/evict.h"

static uint8_t sieve_place(struct evict *evict, uint64_t hash)
{
	(void)hash;
	return atomic_load_explicit(&evict->scan, memory_order_relaxed);
}

static uint8_t sieve_victim_queue(struct evict *evict,
				  const struct evict_queue queues[SEGMENT_QUEUES])
{
	uint8_t scan = atomic_load_explicit(&evict->scan, memory_order_relaxed);

	if (queues[scan].segment_cnt == 0 && queues[!scan].segment_cnt > 0) {
		scan = !scan;
		atomic_store_explicit(&evict->scan, scan, memory_order_relaxed);
	}
	return scan;
}

static struct evict_verdict sieve_judge(struct evict *evict, const struct evict_item *item)
{
	(void)evict;
	return (struct evict_verdict){ .survives = item->use > 0, .queue = !item->queue };
}

const struct evict_policy evict_policy_sieve = {
	.name = "sieve",
	.queues_kept = 2,
	.hit_max = 1,
	.place = sieve_place,
	.victim_queue = sieve_victim_queue,
	.judge = sieve_judge,
};
