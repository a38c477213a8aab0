/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * First in, first out: the oldest segment leaves whole. Exact but for the order within a segment.
 */
#include "store/evict.h"

static uint8_t fifo_place(struct evict *evict, uint64_t hash)
{
	(void)evict;
	(void)hash;
	return 0;
}

static uint8_t fifo_victim_queue(struct evict *evict,
				 const struct evict_queue queues[SEGMENT_QUEUES])
{
	(void)evict;
	(void)queues;
	return 0;
}

static struct evict_verdict fifo_judge(struct evict *evict, const struct evict_item *item)
{
	(void)evict;
	(void)item;
	return (struct evict_verdict){ .survives = false };
}

const struct evict_policy evict_policy_fifo = {
	.name = "fifo",
	.place = fifo_place,
	.victim_queue = fifo_victim_queue,
	.judge = fifo_judge,
};
