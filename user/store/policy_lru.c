/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Least recently used, over segments. Time is cut into eras, about fourteen of them from the oldest
 * item to now; an item's use is the era in which it was last asked for. New items are in queue 0,
 * each segment with the era in which it was opened; what survives goes to the queue of its era. So
 * every segment has an era, no item in it was last asked for before that, and reclaim takes the
 * oldest era's: what was asked for later moves to the queue of its era, the rest leaves. Within an
 * era, a fourteenth of the whole, items leave in the order in which they were written.
 *
 * The clock that eras are cut by counts touches: births, and hits that find an older era. It stands
 * still while the same items are asked for within an era, and so measures how many others were
 * asked for since, which is what an LRU list measures.
 *
 * Eras wrap at EVICT_ERAS. One stays unused: were all in use, the next would look like the oldest.
 */
#include "store/evict.h"

#define ERA_MASK (EVICT_ERAS - 1)
#define QUEUE_NEW 0
_Static_assert((EVICT_ERAS & ERA_MASK) == 0, "eras wrap");
_Static_assert(SEGMENT_QUEUES >= EVICT_ERAS + 1, "a queue for each era and one for new items");

static uint32_t era_age(uint8_t now, uint8_t era)
{
	return (uint32_t)(now - era) & ERA_MASK;
}

static uint8_t era_now(const struct evict *evict)
{
	return atomic_load_explicit(&evict->lru.era, memory_order_relaxed);
}

/* Eras from the oldest item to now. */
static uint32_t eras_wanted(const struct evict *evict)
{
	uint32_t wanted = evict->queue_max - 1;

	return wanted < EVICT_ERAS - 2 ? wanted : EVICT_ERAS - 2;
}

/* Begins the next era if this one is as long as it should be. */
static void era_advance(struct evict *evict)
{
	struct evict_lru *lru = &evict->lru;
	uint8_t now, oldest;
	uint64_t touches, span, capacity;

	if (atomic_exchange_explicit(&lru->advancing, 1, memory_order_acquire))
		return;
	now = era_now(evict);
	oldest = atomic_load_explicit(&lru->oldest, memory_order_relaxed);
	touches = atomic_load_explicit(&evict->touch_cnt, memory_order_relaxed);
	capacity = atomic_load_explicit(&evict->capacity, memory_order_relaxed);
	span = touches - atomic_load_explicit(&lru->start[oldest], memory_order_relaxed);
	/* So many must be touched before any of them is the oldest. */
	if (span < capacity)
		span = capacity;
	if (touches - atomic_load_explicit(&lru->start[now], memory_order_relaxed) >
		    span / eras_wanted(evict) &&
	    era_age(now, oldest) + 1 < ERA_MASK) {
		now = (now + 1) & ERA_MASK;
		atomic_store_explicit(&lru->start[now], touches, memory_order_relaxed);
		atomic_store_explicit(&lru->era, now, memory_order_relaxed);
	}
	atomic_store_explicit(&lru->advancing, 0, memory_order_release);
}

static uint8_t lru_place(struct evict *evict, uint64_t hash)
{
	(void)evict;
	(void)hash;
	return QUEUE_NEW;
}

static uint8_t touch(struct evict *evict, struct evict_thread *thread)
{
	if (evict_touch(evict, thread))
		era_advance(evict);
	return era_now(evict);
}

static uint8_t lru_first_use(struct evict *evict, struct evict_thread *thread, uint64_t hash)
{
	(void)hash;
	return touch(evict, thread);
}

static uint8_t lru_on_hit(struct evict *evict, struct evict_thread *thread, uint8_t use,
			  uint32_t hits)
{
	(void)hits;
	return use == era_now(evict) ? use : touch(evict, thread);
}

static uint8_t queue_of(uint8_t use)
{
	return (uint8_t)(use + 1);
}

static uint8_t lru_home(const struct evict *evict, const struct evict_item *item)
{
	(void)evict;
	return queue_of(item->use);
}

static uint8_t lru_victim_queue(struct evict *evict,
				const struct evict_queue queues[SEGMENT_QUEUES])
{
	uint8_t now = era_now(evict), victim = QUEUE_NEW, oldest = now;

	if (queues[QUEUE_NEW].has_sealed)
		oldest = queues[QUEUE_NEW].era;
	for (uint32_t era = 0; era < EVICT_ERAS; era++) {
		if (queues[era + 1].segment_cnt == 0 ||
		    (era_age(now, (uint8_t)era) <= era_age(now, oldest) &&
		     (victim != QUEUE_NEW || queues[QUEUE_NEW].has_sealed)))
			continue;
		oldest = (uint8_t)era;
		victim = queue_of((uint8_t)era);
	}
	atomic_store_explicit(&evict->lru.oldest, oldest, memory_order_relaxed);
	return victim;
}

static struct evict_verdict lru_judge(struct evict *evict, const struct evict_item *item)
{
	uint8_t now = era_now(evict);
	uint8_t era = item->queue == QUEUE_NEW ? item->era : (uint8_t)(item->queue - 1);

	return (struct evict_verdict){ .survives = era_age(now, item->use) < era_age(now, era),
				       .queue = queue_of(item->use),
				       .use = item->use };
}

const struct evict_policy evict_policy_lru = {
	.name = "lru",
	.place = lru_place,
	.first_use = lru_first_use,
	.on_hit = lru_on_hit,
	.victim_queue = lru_victim_queue,
	.judge = lru_judge,
	.home = lru_home,
};
