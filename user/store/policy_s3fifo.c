/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * S3-FIFO over segments. New items enter the small queue, a tenth of the log. When its oldest
 * segment is reclaimed, items asked for more than once move to the main queue; the others leave and
 * the ghost remembers them, for as many evictions as the main queue has items. An item that comes
 * back while it is remembered enters the main queue at once. In the main queue an item with
 * accesses left goes round again with one less.
 *
 * Source: Yang et al., "FIFO queues are all you need for cache eviction", SOSP'23.
 */
#include "store/evict.h"

enum {
	QUEUE_SMALL = 0,
	QUEUE_MAIN = 1,
};

#define SMALL_SHARE 10U /* the small queue is 1/10 */
#define MOVE_HITS 2U	/* accesses that move an item from small to main */

static int s3fifo_init(struct evict *evict)
{
	return ghost_init(&evict->ghost, evict->memory_cnt);
}

static uint8_t s3fifo_place(struct evict *evict, uint64_t hash)
{
	return ghost_take(&evict->ghost, hash) ? QUEUE_MAIN : QUEUE_SMALL;
}

static uint8_t s3fifo_victim_queue(struct evict *evict,
				   const struct evict_queue queues[SEGMENT_QUEUES])
{
	uint32_t small = queues[QUEUE_SMALL].segment_cnt, main = queues[QUEUE_MAIN].segment_cnt;
	uint64_t capacity = atomic_load_explicit(&evict->capacity, memory_order_relaxed);

	ghost_set_span(&evict->ghost, capacity / SMALL_SHARE * (SMALL_SHARE - 1));
	if (main == 0)
		return QUEUE_SMALL;
	return small > 0 && small * SMALL_SHARE >= small + main ? QUEUE_SMALL : QUEUE_MAIN;
}

static struct evict_verdict s3fifo_judge(struct evict *evict, const struct evict_item *item)
{
	if (item->queue == QUEUE_MAIN)
		return (struct evict_verdict){ .survives = item->use > 0,
					       .queue = QUEUE_MAIN,
					       .use = item->use > 0 ? item->use - 1 : 0 };
	if (item->use >= MOVE_HITS)
		return (struct evict_verdict){ .survives = true, .queue = QUEUE_MAIN };
	ghost_note(&evict->ghost, item->hash);
	return (struct evict_verdict){ .survives = false };
}

const struct evict_policy evict_policy_s3fifo = {
	.name = "s3fifo",
	.queues_kept = 2,
	.hit_max = 3,
	.init = s3fifo_init,
	.place = s3fifo_place,
	.victim_queue = s3fifo_victim_queue,
	.judge = s3fifo_judge,
};
