/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random: any segment is as likely as any other. Of its items those that were asked for since they
 * were written go round once more, the rest leaves: so this is random eviction of several items at
 * a time, with a second chance.
 */
#include "store/evict.h"

static uint8_t random_place(struct evict *evict, uint64_t hash)
{
	(void)evict;
	(void)hash;
	return 0;
}

static uint8_t random_victim_queue(struct evict *evict,
				   const struct evict_queue queues[SEGMENT_QUEUES])
{
	(void)evict;
	(void)queues;
	return 0;
}

static struct evict_verdict random_judge(struct evict *evict, const struct evict_item *item)
{
	(void)evict;
	return (struct evict_verdict){ .survives = item->use > 0 };
}

const struct evict_policy evict_policy_random = {
	.name = "random",
	.random_victim = true,
	.hit_max = 1,
	.place = random_place,
	.victim_queue = random_victim_queue,
	.judge = random_judge,
};
