/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * S3-FIFO over segments. New items enter the small queue, a tenth of the log. When its oldest
 * segment is reclaimed, items asked for more than once move to the main queue; the others leave and
 * their fingerprint goes to the ghost table. An item that comes back while its fingerprint is there
 * enters the main queue at once. In the main queue an item with accesses left goes round again with
 * one less.
 *
 * Difference from the paper: the ghost is a direct-mapped table of 32-bit fingerprints instead of a
 * FIFO queue, so an entry's life is random around the mean of one main queue's worth of evictions.
 */
#include "store/evict.h"

enum {
	QUEUE_SMALL = 0,
	QUEUE_MAIN = 1,
};

#define SMALL_SHARE 10U /* the small queue is 1/10 */
#define MOVE_FREQ 2U	/* accesses that move an item from small to main */

static uint32_t fingerprint(uint64_t hash)
{
	return (uint32_t)(hash >> 32) | 1; /* 0 is empty */
}

static uint8_t s3fifo_place(struct evict *evict, uint64_t hash)
{
	uint32_t *seen = &evict->ghost[(uint32_t)hash & evict->ghost_mask];

	if (__atomic_load_n(seen, __ATOMIC_RELAXED) == fingerprint(hash)) {
		__atomic_store_n(seen, 0, __ATOMIC_RELAXED);
		return QUEUE_MAIN;
	}
	return QUEUE_SMALL;
}

static uint8_t s3fifo_victim_queue(const struct evict *evict,
				   const uint32_t queue_segment_cnt[SEGMENT_QUEUES])
{
	uint32_t all = queue_segment_cnt[QUEUE_SMALL] + queue_segment_cnt[QUEUE_MAIN];

	(void)evict;
	if (queue_segment_cnt[QUEUE_MAIN] == 0)
		return QUEUE_SMALL;
	return queue_segment_cnt[QUEUE_SMALL] * SMALL_SHARE >= all &&
			       queue_segment_cnt[QUEUE_SMALL] > 0
		       ? QUEUE_SMALL
		       : QUEUE_MAIN;
}

static struct evict_verdict s3fifo_judge(struct evict *evict, uint64_t hash, uint8_t queue,
					 uint8_t freq)
{
	if (queue == QUEUE_MAIN)
		return (struct evict_verdict){ .survives = freq > 0,
					       .queue = QUEUE_MAIN,
					       .freq = freq > 0 ? (uint8_t)(freq - 1) : 0 };
	if (freq >= MOVE_FREQ)
		return (struct evict_verdict){ .survives = true, .queue = QUEUE_MAIN };
	__atomic_store_n(&evict->ghost[(uint32_t)hash & evict->ghost_mask], fingerprint(hash),
			 __ATOMIC_RELAXED);
	return (struct evict_verdict){ .survives = false, .queue = QUEUE_SMALL };
}

const struct evict_policy evict_policy_s3fifo = {
	.name = "s3fifo",
	.queue_cnt = 2,
	.place = s3fifo_place,
	.victim_queue = s3fifo_victim_queue,
	.judge = s3fifo_judge,
};
