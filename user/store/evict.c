/* SPDX-License-Identifier: BSD-2-Clause */
#include "store/evict.h"

#include <errno.h>
#include <string.h>

#include "store/store.h"

static const struct evict_policy *const policies[] = {
	&evict_policy_s3fifo, &evict_policy_lru,  &evict_policy_lfu,	 &evict_policy_random,
	&evict_policy_sieve,  &evict_policy_fifo, &evict_policy_tinylfu,
};

#define POLICY_CNT (sizeof(policies) / sizeof(policies[0]))

/* Touches are told to the others a batch at a time: many more batches than this in a turnover. */
#define BATCHES_A_TURNOVER 1024U
#define BATCH_MAX 64U

int evict_init(struct evict *evict, const struct evict_setup *setup)
{
	memset(evict, 0, sizeof(*evict));
	for (size_t i = 0; i < POLICY_CNT && !evict->policy; i++) {
		if (!setup->name || strcmp(setup->name, policies[i]->name) == 0)
			evict->policy = policies[i];
	}
	if (!evict->policy)
		return -EINVAL;
	evict->hit_max = evict->policy->hit_max;
	evict->queue_max = setup->queue_max < SEGMENT_QUEUES ? setup->queue_max : SEGMENT_QUEUES;
	if (evict->queue_max < SEGMENT_QUEUES_MIN)
		evict->queue_max = SEGMENT_QUEUES_MIN;
	rand_init(&evict->rand, setup->seed);
	evict->memory_cnt = setup->memory_cnt;
	return evict->policy->init ? evict->policy->init(evict) : 0;
}

void evict_fini(struct evict *evict)
{
	ghost_fini(&evict->ghost);
	sketch_fini(&evict->sketch);
}

const char *const *store_eviction_names(void)
{
	static const char *names[POLICY_CNT + 1];

	for (size_t i = 0; i < POLICY_CNT; i++)
		names[i] = policies[i]->name;
	return names;
}

void evict_save(const struct evict *evict, struct evict_state *ret)
{
	memset(ret, 0, sizeof(*ret));
	strncpy(ret->policy, evict->policy->name, sizeof(ret->policy) - 1);
	ret->era = atomic_load(&evict->lru.era);
	ret->oldest = atomic_load(&evict->lru.oldest);
	ret->scan = atomic_load(&evict->scan);
}

bool evict_load(struct evict *evict, const struct evict_state *state)
{
	if (strncmp(state->policy, evict->policy->name, sizeof(state->policy)))
		return false;
	atomic_store(&evict->lru.era, state->era % EVICT_ERAS);
	atomic_store(&evict->lru.oldest, state->oldest % EVICT_ERAS);
	atomic_store(&evict->scan, state->scan != 0);
	return true;
}

void evict_note_items(struct evict *evict, uint64_t item_cnt, uint32_t used_cnt, uint32_t used_max)
{
	uint64_t capacity = item_cnt;

	if (used_cnt > 0 && used_cnt < used_max)
		capacity = item_cnt * used_max / used_cnt;
	atomic_store_explicit(&evict->capacity, capacity, memory_order_relaxed);
}

bool evict_touch(struct evict *evict, struct evict_thread *thread)
{
	uint64_t batch =
		atomic_load_explicit(&evict->capacity, memory_order_relaxed) / BATCHES_A_TURNOVER;
	uint32_t cnt = ++thread->touch_cnt;

	if (cnt < batch && cnt < BATCH_MAX)
		return false;
	thread->touch_cnt = 0;
	atomic_fetch_add_explicit(&evict->touch_cnt, cnt, memory_order_relaxed);
	return true;
}
