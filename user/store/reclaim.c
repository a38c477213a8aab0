/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reclaimer: one background thread that keeps segments free, so that no worker ever evicts.
 *
 * A round picks a batch of sealed segments, in this order of reason: flushed, expired whole, (only
 * when free segments run short) most dead bytes, and only then the policy's oldest. Each is taken
 * out of its queue and emptied: every item still in the index is unlinked, or copied to the young
 * end of a queue. Then the round waits once: until every thread of ours has been quiescent, and
 * until every kernel program that started before has returned. Only then are the segments free. One
 * wait a batch, because the kernel's takes 8 to 28 ms.
 */
#include <time.h>
#include <unistd.h>

#include "store/impl.h"

#define BATCH_MAX 64
#define ROUND_IDLE_MS 100
/* Segments with at least 1/8 of their bytes dead are cleaned before any live item is evicted. */
#define DEAD_SHARE 8
#define EPOCH_POLL_NS 50000

enum reason {
	REASON_FLUSHED,
	REASON_EXPIRED,
	REASON_DEAD,
	REASON_EVICT,
};

void store_wake_reclaimer(struct store *store)
{
	pthread_mutex_lock(&store->wake_lock);
	store->wake_asked = true;
	pthread_cond_signal(&store->wake);
	pthread_mutex_unlock(&store->wake_lock);
}

/* --- emptying one segment --- */

/* Copies a live item into a queue; false when there is no room or a flush covers it. Its bucket is
 * locked. */
static bool move_item(struct store_thread *t, struct index_slot *slot, uint64_t hash, uint8_t queue,
		      uint8_t freq)
{
	struct store *store = t->store;
	uint32_t flush_gen = atomic_load(&store->flush_gen);
	uint64_t loc = index_slot_loc(slot);
	uint64_t new_loc =
		store_copy_item(t, loc, item_expire_ds(item_at(store->pool.base, loc)), queue);

	if (!new_loc)
		return false;
	if (item_is_flushed(store, loc)) {
		store_item_done(store, new_loc);
		return false;
	}
	index_slot_set_freq(slot, freq);
	store_switch(t, slot, hash, new_loc, flush_gen, STORE_CHANGE_MOVE, true);
	store_item_done(store, new_loc);
	return true;
}

static void empty_item(struct store_thread *t, uint64_t loc, uint8_t queue, enum reason reason)
{
	struct store *store = t->store;
	uint64_t hash = store_hash_at(store, loc);
	struct index_lock lock = index_lock(&store->index, hash);
	struct evict_verdict verdict = { .survives = true, .queue = queue };
	struct index_slot slot;

	if (!index_find_place(&store->index, &lock, loc, &slot)) {
		index_unlock(&lock); /* replaced or removed since */
		return;
	}
	verdict.freq = (uint8_t)index_slot_freq(&slot);
	if (item_is_flushed(store, loc)) {
		store_unlink(t, &slot, hash, STORE_CHANGE_REMOVE);
	} else if (!item_is_live(store, loc)) {
		store_unlink(t, &slot, hash, STORE_CHANGE_EXPIRE);
	} else {
		if (reason == REASON_EVICT)
			verdict = store->evict.policy->judge(&store->evict, hash, queue,
							     verdict.freq);
		if (!verdict.survives || !move_item(t, &slot, hash, verdict.queue, verdict.freq))
			store_unlink(t, &slot, hash, STORE_CHANGE_EVICT);
	}
	index_unlock(&lock);
}

static void empty_segment(struct store_thread *t, uint32_t idx, enum reason reason)
{
	struct segment_pool *pool = &t->store->pool;
	struct segment *seg = &pool->segments[idx];
	uint64_t loc = segment_loc(pool, idx) + sizeof(struct segment_header);
	uint64_t end = segment_loc(pool, idx) + seg->used;

	if (atomic_load_explicit(&seg->live_bytes, memory_order_acquire) == 0)
		return;
	while (loc < end) {
		struct item_header *item = item_at(pool->base, loc);
		uint32_t word0 = item_word0(item);

		if ((word0 & ITEM_COMMITTED) && !(word0 & ITEM_DEAD))
			empty_item(t, loc, seg->queue, reason);
		loc += item_bytes(item);
	}
}

/* --- choosing --- */

static bool may_take(const struct segment *seg)
{
	return seg->state == SEGMENT_SEALED &&
	       atomic_load_explicit(&seg->pending_cnt, memory_order_acquire) == 0;
}

static bool is_flushed(const struct store *store, const struct segment *seg)
{
	return atomic_load(&store->flush_pending) && seg->seq <= atomic_load(&store->flush_seq);
}

/* The sealed segment with the most dead bytes, if they are worth a copy of the rest. */
static uint32_t most_dead(struct store *store)
{
	uint32_t best = SEGMENT_NONE, best_dead = 0;

	for (uint32_t i = 1; i < store->pool.cnt; i++) {
		struct segment *seg = &store->pool.segments[i];
		uint32_t used = seg->used - (uint32_t)sizeof(struct segment_header);
		uint32_t dead;

		if (!may_take(seg))
			continue;
		dead = used - atomic_load(&seg->live_bytes);
		if (dead >= used / DEAD_SHARE && dead > best_dead) {
			best = i;
			best_dead = dead;
		}
	}
	return best;
}

static uint32_t oldest_of(struct store *store, uint8_t queue)
{
	uint32_t idx;

	pthread_mutex_lock(&store->pool.lock);
	idx = store->pool.queues[queue].head;
	while (idx != SEGMENT_NONE && !may_take(&store->pool.segments[idx]))
		idx = store->pool.segments[idx].next;
	pthread_mutex_unlock(&store->pool.lock);
	return idx;
}

static uint32_t policy_victim(struct store *store)
{
	uint32_t cnt[SEGMENT_QUEUES];
	uint32_t idx;
	uint8_t queue;

	for (uint32_t q = 0; q < SEGMENT_QUEUES; q++)
		cnt[q] = store->pool.queues[q].cnt;
	queue = store->evict.policy->victim_queue(&store->evict, cnt);
	idx = oldest_of(store, queue);
	for (uint8_t q = 0; q < SEGMENT_QUEUES && idx == SEGMENT_NONE; q++)
		idx = oldest_of(store, q);
	return idx;
}

/* --- a round --- */

struct round {
	uint32_t emptied[BATCH_MAX];
	uint32_t cnt;
	uint32_t chains; /* buried chains, linked by segment.next */
	bool flush_left; /* some flushed segment is still open or being written */
};

static void take(struct store_thread *t, struct round *round, uint32_t idx, enum reason reason)
{
	segment_detach(&t->store->pool, idx);
	empty_segment(t, idx, reason);
	round->emptied[round->cnt++] = idx;
}

/* Segments that nobody needs any more, whether or not memory is short. */
static void take_finished(struct store_thread *t, struct round *round)
{
	struct store *store = t->store;
	uint64_t now_ns = clock_now_ns(store->options.clock);

	for (uint32_t i = 1; i < store->pool.cnt && round->cnt < BATCH_MAX; i++) {
		struct segment *seg = &store->pool.segments[i];
		uint32_t last_ds = atomic_load(&seg->expire_max_ds);
		bool flushed = is_flushed(store, seg) && seg->state != SEGMENT_FREE &&
			       seg->state != SEGMENT_LIMBO && seg->state != SEGMENT_CHAIN;

		if (!may_take(seg)) {
			round->flush_left |= flushed;
			continue;
		}
		if (flushed)
			take(t, round, i, REASON_FLUSHED);
		else if (last_ds != UINT32_MAX && now_ns >= item_ns_from_ds(last_ds))
			take(t, round, i, REASON_EXPIRED);
		else if (atomic_load(&seg->live_bytes) == 0)
			take(t, round, i, REASON_DEAD);
	}
	if (round->cnt == BATCH_MAX)
		round->flush_left = true;
}

static uint32_t free_target(const struct store *store)
{
	return 2 * store->pool.reserve + atomic_load(&store->demand) + BATCH_MAX / 16;
}

static void take_needed(struct store_thread *t, struct round *round)
{
	struct store *store = t->store;
	bool evict_anyway = atomic_exchange(&store->index_full, false);

	while (round->cnt < BATCH_MAX &&
	       (evict_anyway || segment_free_cnt(&store->pool) + round->cnt < free_target(store))) {
		enum reason reason = REASON_DEAD;
		uint32_t idx = most_dead(store);

		if (idx == SEGMENT_NONE || evict_anyway) {
			if (store->options.no_evict)
				return;
			reason = REASON_EVICT;
			idx = policy_victim(store);
		}
		if (idx == SEGMENT_NONE) {
			/* All there is lies in open segments: ask for them. */
			atomic_fetch_add(&store->seal_gen, 1);
			store_seal_open(t, true);
			return;
		}
		take(t, round, idx, reason);
		evict_anyway = false;
	}
}

static void wait_threads(struct store *store)
{
	uint64_t epoch = atomic_fetch_add(&store->epoch, 1) + 1;
	const struct timespec poll = { .tv_nsec = EPOCH_POLL_NS };

	for (uint32_t i = 0; i < store->options.thread_max; i++) {
		while (atomic_load_explicit(&store->threads[i].seen, memory_order_acquire) <
			       epoch &&
		       !atomic_load(&store->reclaimer_stop))
			nanosleep(&poll, NULL);
	}
}

static void release_round(struct store *store, struct round *round)
{
	for (uint32_t i = 0; i < round->cnt; i++)
		segment_release(&store->pool, round->emptied[i]);
	while (round->chains != SEGMENT_NONE) {
		uint32_t next = store->pool.segments[round->chains].next;

		chain_release(store, round->chains);
		round->chains = next;
	}
	atomic_fetch_add(&store->reclaimed_segment_cnt, round->cnt);
}

/* No segment that holds items from before the flush is left in the index. */
static bool flush_is_done(const struct store *store)
{
	for (uint32_t i = 1; i < store->pool.cnt; i++) {
		const struct segment *seg = &store->pool.segments[i];

		if ((seg->state == SEGMENT_OPEN || seg->state == SEGMENT_SEALED) &&
		    is_flushed(store, seg))
			return false;
	}
	return true;
}

/* True if there was something to do. */
static bool run_round(struct store_thread *t)
{
	struct store *store = t->store;
	struct round round = { .chains = SEGMENT_NONE };

	store_seal_open(t, false);
	take_finished(t, &round);
	if (!round.flush_left && atomic_load(&store->flush_pending)) {
		pthread_mutex_lock(&store->flush_lock);
		/* Unlinked whole: nothing in the index lies in a flushed segment any more. */
		if (flush_is_done(store))
			atomic_store(&store->flush_pending, false);
		pthread_mutex_unlock(&store->flush_lock);
	}
	take_needed(t, &round);

	pthread_mutex_lock(&store->pool.lock);
	round.chains = store->dead_chains;
	store->dead_chains = SEGMENT_NONE;
	pthread_mutex_unlock(&store->pool.lock);
	if (round.cnt == 0 && round.chains == SEGMENT_NONE)
		return false;

	store_offline(t);
	wait_threads(store);
	if (store->options.log.grace)
		store->options.log.grace(store->options.log.grace_ctx);
	store_online(t);
	release_round(store, &round);
	if (segment_free_cnt(&store->pool) >= free_target(store))
		atomic_store(&store->demand, 0);
	return true;
}

static void sleep_until_asked(struct store *store)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += ROUND_IDLE_MS * (long)NSEC_PER_MSEC;
	if (until.tv_nsec >= (long)NSEC_PER_SEC) {
		until.tv_nsec -= (long)NSEC_PER_SEC;
		until.tv_sec++;
	}
	pthread_mutex_lock(&store->wake_lock);
	if (!store->wake_asked)
		pthread_cond_timedwait(&store->wake, &store->wake_lock, &until);
	store->wake_asked = false;
	pthread_mutex_unlock(&store->wake_lock);
}

static void *reclaimer_main(void *arg)
{
	struct store *store = arg;
	struct store_thread *t = &store->threads[store->options.thread_max];

	while (!atomic_load(&store->reclaimer_stop)) {
		bool busy;

		store_online(t);
		busy = run_round(t);
		store_offline(t);
		if (!busy)
			sleep_until_asked(store);
	}
	return NULL;
}

int store_reclaim_start(struct store *store)
{
	int err;

	atomic_store(&store->reclaimer_stop, false);
	err = pthread_create(&store->reclaimer, NULL, reclaimer_main, store);
	if (err)
		return -err;
	pthread_setname_np(store->reclaimer, "xc-reclaim");
	store->reclaimer_runs = true;
	return 0;
}

void store_reclaim_stop(struct store *store)
{
	if (!store->reclaimer_runs)
		return;
	atomic_store(&store->reclaimer_stop, true);
	store_wake_reclaimer(store);
	pthread_join(store->reclaimer, NULL);
	store->reclaimer_runs = false;
}
