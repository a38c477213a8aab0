/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Least frequently used, over segments. An item's use counts its accesses: one by one up to 8, from
 * there in steps that get longer, each taken with a chance that gets smaller, so that 31 stands for
 * about 20,000. Each queue holds the items of one count, or of a few neighbours; a new item is in
 * the lowest. Reclaim takes the oldest segment of the lowest queue that has one: what has been
 * counted on since it came there goes to the queue of its count, the rest leaves. So the least
 * asked for leave first, among equals the oldest. There is no aging.
 *
 * Source: the counter is R. Morris', "Counting large numbers of events in small registers", 1978.
 */
#include "store/evict.h"

#define EXACT_UP_TO 8U
/* From there two steps double the count that the use stands for. */
#define STEPS_A_DOUBLING 2U

static uint32_t noise_next(struct evict_thread *thread)
{
	thread->noise = thread->noise * 1664525U + 1013904223U;
	return thread->noise >> 8;
}

static uint8_t lfu_on_hit(struct evict *evict, struct evict_thread *thread, uint8_t use,
			  uint32_t hits)
{
	(void)evict;
	for (; hits > 0 && use < INDEX_USE_MAX; hits--) {
		uint32_t doublings =
			use < EXACT_UP_TO ? 0 : (use - EXACT_UP_TO) / STEPS_A_DOUBLING + 2;

		if ((noise_next(thread) & ((1U << doublings) - 1)) == 0)
			use++;
	}
	return use;
}

static uint8_t queue_of(const struct evict *evict, uint8_t use)
{
	uint32_t queue_cnt = evict->queue_max;

	/* The lower half of the queues are one count each. */
	if (use < queue_cnt / 2)
		return use;
	return (uint8_t)(queue_cnt / 2 + (use - queue_cnt / 2) * (queue_cnt - queue_cnt / 2) /
						 (INDEX_USE_MAX + 1 - queue_cnt / 2));
}

static uint8_t lfu_place(struct evict *evict, uint64_t hash)
{
	(void)evict;
	(void)hash;
	return 0;
}

static uint8_t lfu_victim_queue(struct evict *evict,
				const struct evict_queue queues[SEGMENT_QUEUES])
{
	uint8_t queue = 0;

	while (queue + 1U < evict->queue_max && queues[queue].segment_cnt == 0)
		queue++;
	return queue;
}

static struct evict_verdict lfu_judge(struct evict *evict, const struct evict_item *item)
{
	uint8_t queue = queue_of(evict, item->use);

	return (struct evict_verdict){ .survives = queue > item->queue,
				       .queue = queue,
				       .use = item->use };
}

const struct evict_policy evict_policy_lfu = {
	.name = "lfu",
	.place = lfu_place,
	.on_hit = lfu_on_hit,
	.victim_queue = lfu_victim_queue,
	.judge = lfu_judge,
};
