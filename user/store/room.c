/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Room for items: which open segment a thread appends to.
 *
 * Items of one TTL class share segments, so that a whole segment expires at about the same time.
 * Classes are two an octave: the items of a sealed segment expire within half their own lifetime of
 * each other. A thread that has as many segments open as a small log can spare puts items of other
 * classes into the nearest one.
 */
#include "store/impl.h"

/*
 * A segment whose items hold more than 1/16 of all segments in chains is sealed, so that eviction
 * finds one. Most of such a segment stays unused, so there may not be many.
 */
#define CHAIN_SHARE 16

uint32_t ttl_class(uint64_t ttl_ns)
{
	uint64_t sec = ttl_ns / NSEC_PER_SEC + 1;
	uint32_t octave = 63 - (uint32_t)__builtin_clzll(sec);
	uint32_t half = octave > 0 ? (uint32_t)(sec >> (octave - 1)) & 1 : 0;
	uint32_t class = 1 + 2 * octave + half;

	return class < TTL_CLASS_CNT ? class : TTL_CLASS_CNT - 1;
}

static bool segment_is_flushed(const struct store *store, const struct segment *seg)
{
	return atomic_load_explicit(&store->flush_pending, memory_order_acquire) &&
	       segment_seq(seg) <= atomic_load_explicit(&store->flush_seq, memory_order_acquire);
}

static void seal(struct store_thread *t, uint32_t *open, bool early)
{
	/* What the reclaimer has open is copies already: copying them once more wins nothing. */
	t->store->pool.segments[*open].sealed_early = early && !t->privileged;
	segment_seal(&t->store->pool, *open);
	*open = SEGMENT_NONE;
	t->open_cnt--;
}

void store_seal_open(struct store_thread *t, bool all)
{
	struct store *store = t->store;
	uint32_t gen = atomic_load(&store->seal_gen);
	uint64_t now_ns = clock_now_ns(store->options.clock);

	all |= gen != t->seal_gen;
	t->seal_gen = gen;
	for (uint32_t q = 0; q < SEGMENT_QUEUES; q++) {
		for (uint32_t c = 0; c < TTL_CLASS_CNT; c++) {
			uint32_t *open = &t->open[q][c];
			struct segment *seg = &store->pool.segments[*open];
			uint32_t last_ds = atomic_load(&seg->expire_max_ds);

			if (*open == SEGMENT_NONE)
				continue;
			if (all || segment_is_flushed(store, seg) ||
			    (last_ds != UINT32_MAX && now_ns >= item_ns_from_ds(last_ds)))
				seal(t, open, true);
		}
	}
}

void store_seal_queue(struct store_thread *t, uint8_t queue)
{
	for (uint32_t c = 0; c < TTL_CLASS_CNT; c++) {
		if (t->open[queue][c] != SEGMENT_NONE)
			seal(t, &t->open[queue][c], true);
	}
}

static void expire_max_raise(struct segment *seg, uint32_t expire_ds)
{
	if (expire_ds == 0)
		expire_ds = UINT32_MAX;
	if (atomic_load_explicit(&seg->expire_max_ds, memory_order_relaxed) < expire_ds)
		atomic_store_explicit(&seg->expire_max_ds, expire_ds, memory_order_release);
}

static uint32_t class_of_expiry(const struct store *store, uint32_t expire_ds)
{
	uint64_t now_ns = clock_now_ns(store->options.clock);
	uint64_t expire_ns = item_ns_from_ds(expire_ds);

	return ttl_class(expire_ns > now_ns ? expire_ns - now_ns : 0);
}

/* Never is the longest life. */
static uint32_t class_distance(uint32_t a, uint32_t b)
{
	a = a ? a : TTL_CLASS_CNT;
	b = b ? b : TTL_CLASS_CNT;
	return a > b ? a - b : b - a;
}

/* The class's own open segment; the one most like it when no more may be opened. */
static uint32_t *open_choose(struct store_thread *t, uint8_t queue, uint32_t class)
{
	uint32_t *best = &t->open[queue][class];
	uint32_t best_distance = UINT32_MAX;

	if (*best != SEGMENT_NONE ||
	    t->open_cnt < atomic_load_explicit(&t->store->open_max, memory_order_relaxed))
		return best;
	for (uint32_t q = 0; q < SEGMENT_QUEUES; q++) {
		for (uint32_t c = 0; c < TTL_CLASS_CNT; c++) {
			uint32_t distance =
				class_distance(c, class) + (q == queue ? 0 : 2 * TTL_CLASS_CNT);

			if (t->open[q][c] != SEGMENT_NONE && distance < best_distance) {
				best = &t->open[q][c];
				best_distance = distance;
			}
		}
	}
	return best;
}

/* Appends to an open segment, or seals it. */
static uint64_t append_open(struct store_thread *t, uint32_t *open, uint32_t bytes)
{
	struct segment_pool *pool = &t->store->pool;
	struct segment *seg = &pool->segments[*open];
	uint64_t loc = 0;

	if (*open == SEGMENT_NONE)
		return 0;
	if (!segment_is_flushed(t->store, seg) &&
	    seg->chain_blocks <= atomic_load(&pool->limit) / CHAIN_SHARE * segment_block_cnt(pool))
		loc = segment_append(pool, *open, bytes);
	if (!loc)
		seal(t, open, false);
	return loc;
}

static uint64_t append_fresh(struct store_thread *t, uint32_t *open, uint8_t queue, uint32_t bytes)
{
	struct segment_pool *pool = &t->store->pool;
	uint32_t limit, free_target, free_cnt;

	*open = segment_take(pool, SEGMENT_OPEN, t->privileged);
	if (*open == SEGMENT_NONE)
		return 0;
	t->open_cnt++;
	pool->segments[*open].queue = queue;
	atomic_store(&pool->segments[*open].opened_sec,
		     (uint32_t)(clock_now_ns(t->store->options.clock) / NSEC_PER_SEC));
	pool->segments[*open].era = evict_era(&t->store->evict);
	limit = atomic_load(&pool->limit);
	free_target = store_free_target(t->store);
	free_cnt = segment_free_cnt(pool);
	if (free_cnt < limit)
		evict_note_items(&t->store->evict, atomic_load(&t->store->index.item_cnt),
				 limit - free_cnt, limit - free_target);
	if (free_cnt < free_target)
		store_wake_reclaimer(t->store);
	return segment_append(pool, *open, bytes);
}

/* The reclaimer's last resort: any segment it has open. */
static uint64_t append_anywhere(struct store_thread *t, uint32_t bytes, uint32_t **ret_open)
{
	uint32_t *open = &t->open[0][0];
	uint64_t loc = 0;

	for (uint32_t i = 0; i < SEGMENT_QUEUES * TTL_CLASS_CNT && !loc; i++) {
		if (open[i] != SEGMENT_NONE &&
		    !segment_is_flushed(t->store, &t->store->pool.segments[open[i]]))
			loc = segment_append(&t->store->pool, open[i], bytes);
		*ret_open = &open[i];
	}
	return loc;
}

uint64_t store_append_item(struct store_thread *t, const struct item_shape *shape, uint8_t queue,
			   uint32_t expire_ds)
{
	struct segment_pool *pool = &t->store->pool;
	uint32_t class = expire_ds ? class_of_expiry(t->store, expire_ds) : 0;
	uint32_t *open = open_choose(t, queue, class);
	uint32_t bytes = item_shape_bytes(shape);
	uint64_t loc = append_open(t, open, bytes);
	struct item_header *item;

	if (!loc) {
		open = &t->open[queue][class];
		loc = append_fresh(t, open, queue, bytes);
	}
	if (!loc && t->privileged)
		loc = append_anywhere(t, bytes, &open);
	if (!loc)
		return 0;
	expire_max_raise(&pool->segments[*open], expire_ds);
	/* Lengths first, then `used`: whoever reads the log alone can step over an item that was
	 * never committed. */
	item = item_at(pool->base, loc);
	item->word1 = shape->key_len;
	item_set_access(item, item_access_at(t->turn_ns, false));
	atomic_store_explicit(&item->word0, shape->value_len | shape->bits, memory_order_relaxed);
	atomic_store_explicit(&segment_header(pool, *open)->used, pool->segments[*open].used,
			      memory_order_release);
	return loc;
}

void store_item_done(struct store *store, uint64_t loc)
{
	atomic_fetch_sub_explicit(&store->pool.segments[segment_of(&store->pool, loc)].pending_cnt,
				  1, memory_order_release);
}
