/* SPDX-License-Identifier: BSD-2-Clause */
#include "store/evict.h"

static uint8_t fifo_place(struct evict *evict, uint64_t hash)
{
	(void)evict;
	(void)hash;
	return 0;
}

static uint8_t fifo_victim_queue(const struct evict *evict,
				 const uint32_t queue_segment_cnt[SEGMENT_QUEUES])
{
	(void)evict;
	(void)queue_segment_cnt;
	return 0;
}

static struct evict_verdict fifo_judge(struct evict *evict, uint64_t hash, uint8_t queue,
				       uint8_t freq)
{
	(void)evict;
	(void)hash;
	(void)freq;
	return (struct evict_verdict){ .survives = false, .queue = queue };
}

const struct evict_policy evict_policy_fifo = {
	.name = "fifo",
	.queue_cnt = 1,
	.place = fifo_place,
	.victim_queue = fifo_victim_queue,
	.judge = fifo_judge,
};
