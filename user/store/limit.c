/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much of the log may be used. -m is for everything together, and the index, connections and
 * the kernel's entries grow as they are needed; so the log gives way, from its end. The reclaimer
 * lowers the limit in steps: it has a step's worth of segments freed, by the policy as always, then
 * moves what lies above the new limit into them, and when no reader is left there tells the log's
 * owner, so that the memory goes back.
 */
#include "store/impl.h"

/* Open segments cannot be reclaimed: all threads together hold at most about 1/8 of a log so. */
#define OPEN_SHARE 8
#define OPEN_MIN 2U
/* The reclaimer's own, for copies. */
#define RESERVE_SHARE 256
#define RESERVE_MIN 4
/* At the start, until the first rounds show what is needed. */
#define HEADROOM_SHARE 64
/* 1/128 of a log of usual size: what a burst after a quiet time meets. */
#define HEADROOM_MIN 8
/* At most 1/16 of the log stands free. */
#define HEADROOM_SHARE_MAX 16
/* Half of what one round empties: the other half makes room. */
#define STEP_MAX 32
#define STEP_SHARE 16

static void apply(struct store *store, uint32_t cnt)
{
	uint32_t open_max = cnt / OPEN_SHARE / (store->options.thread_max + 1);

	atomic_store(&store->open_max, open_max < OPEN_MIN ? OPEN_MIN : open_max);
	atomic_store(&store->pool.reserve,
		     cnt / RESERVE_SHARE < RESERVE_MIN ? RESERVE_MIN : cnt / RESERVE_SHARE);
	segment_limit(&store->pool, cnt);
}

/*
 * What was taken during a round will be taken during the next one, too; twice that, so that the
 * next one begins before it is gone. It rises at once and falls slowly.
 */
void store_tune_headroom(struct store *store, uint64_t taken_cnt)
{
	uint32_t max = atomic_load(&store->pool.limit) / HEADROOM_SHARE_MAX;
	uint32_t old = atomic_load(&store->headroom);
	uint64_t now = HEADROOM_MIN + 2 * taken_cnt;

	if (now < old)
		now = old - (old + 7) / 8 > now ? old - (old + 7) / 8 : now;
	if (now > max)
		now = max;
	atomic_store(&store->headroom, now < HEADROOM_MIN ? HEADROOM_MIN : (uint32_t)now);
}

void store_init_limit(struct store *store)
{
	atomic_store(&store->headroom, store->pool.cnt / HEADROOM_SHARE < HEADROOM_MIN
					       ? HEADROOM_MIN
					       : store->pool.cnt / HEADROOM_SHARE);
	store->trimmed = store->pool.cnt;
	atomic_store(&store->limit_wanted, store->pool.cnt);
	apply(store, store->pool.cnt);
}

void store_set_limit(struct store *store, uint64_t log_bytes)
{
	uint64_t wanted = log_bytes >> store->pool.shift;
	uint32_t cnt = store->pool.cnt_max;

	if (wanted < cnt)
		cnt = wanted < SEGMENT_CNT_MIN ? SEGMENT_CNT_MIN : (uint32_t)wanted;
	if (atomic_exchange(&store->limit_wanted, cnt) != cnt)
		store_wake_reclaimer(store);
}

uint64_t store_log_bytes(const struct store *store)
{
	return (uint64_t)atomic_load(&store->pool.limit) << store->pool.shift;
}

uint32_t store_limit_step(const struct store *store)
{
	uint32_t limit = atomic_load(&store->pool.limit);
	uint32_t wanted = atomic_load(&store->limit_wanted);
	uint32_t step = 1 + limit / STEP_SHARE;

	if (step > STEP_MAX)
		step = STEP_MAX;
	return limit <= wanted ? 0 : limit - wanted < step ? limit - wanted : step;
}

uint32_t store_free_target(const struct store *store)
{
	return atomic_load_explicit(&store->pool.reserve, memory_order_relaxed) +
	       atomic_load_explicit(&store->headroom, memory_order_relaxed);
}

/* As far as memory reaches, on the way to `wanted`. */
static uint32_t extend(struct store *store, uint32_t wanted)
{
	const struct store_log *log = &store->options.log;
	uint32_t shift = store->pool.shift, end = wanted;

	if (wanted <= store->trimmed)
		return wanted;
	if (log->grow)
		end = (uint32_t)(log->grow(log->ctx, (uint64_t)store->trimmed << shift,
					   (uint64_t)wanted << shift) >>
				 shift);
	if (end > wanted)
		end = wanted;
	if (end > store->trimmed) {
		segment_extend(&store->pool, store->trimmed, end);
		store->trimmed = end;
		store_note_end(store, end);
	}
	return store->trimmed;
}

bool store_move_limit(struct store *store)
{
	struct segment_pool *pool = &store->pool;
	uint32_t limit = atomic_load(&pool->limit), wanted = atomic_load(&store->limit_wanted);
	uint32_t free_cnt = segment_free_cnt(pool), step = store_limit_step(store);

	if (limit < wanted) {
		uint32_t end = extend(store, wanted);

		if (end > limit)
			apply(store, end);
		else /* until it is asked for again */
			atomic_compare_exchange_strong(&store->limit_wanted, &wanted, limit);
		return end > limit && end < wanted;
	}
	if (step > 0 && segment_end(pool) <= limit) {
		/* What was never used needs no room elsewhere. */
		if (segment_used_end(pool) <= wanted &&
		    free_cnt >= limit - wanted + store_free_target(store))
			apply(store, wanted);
		else if (free_cnt >= step + atomic_load(&pool->reserve))
			apply(store, limit - step);
	}
	return false;
}

void store_trim(struct store *store)
{
	uint32_t end = segment_end(&store->pool);

	if (end >= store->trimmed)
		return;
	store->trimmed = end;
	store_note_end(store, end); /* first: a process that ends here must not leave a lie */
	if (store->options.log.trim)
		store->options.log.trim(store->options.log.ctx, (uint64_t)end << store->pool.shift);
}
