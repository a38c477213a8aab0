/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Life of a store, its threads, and reading.
 *
 * Reclaiming memory under readers. A view points into the log. Each thread notes the epoch in which
 * it last held no view (store_quiesce); a segment that was emptied in epoch e is reused only when
 * every thread has been quiescent in an epoch after e, and, when kernel programs read the log,
 * after an RCU grace period of the kernel. So readers copy nothing and lock a bucket only while
 * they look the key up.
 */
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/rand.h"
#include "store/impl.h"

/* Items can be as small as 64 bytes with their share of the index; the ghost remembers one log's
 * worth of 256. */
#define GHOST_ITEM_BYTES 256

static uint64_t ready_bytes(const struct store_options *options)
{
	return options->log.ready_bytes ? options->log.ready_bytes : options->log.bytes;
}

static uint32_t choose_shift(const struct store_options *options)
{
	uint32_t shift = SEGMENT_SHIFT_MIN;

	if (options->segment_shift)
		return options->segment_shift;
	while (shift < SEGMENT_SHIFT_MAX && (ready_bytes(options) >> (shift + 1)) >= 1024)
		shift++;
	return shift;
}

static int make_secret(struct store *store)
{
	struct rand r;

	if (!store->options.hash_seed)
		return rand_secret(store->hash_secret, sizeof(store->hash_secret));
	rand_init(&r, store->options.hash_seed);
	for (size_t i = 0; i < sizeof(store->hash_secret) / sizeof(store->hash_secret[0]); i++)
		store->hash_secret[i] = rand_next(&r);
	return 0;
}

static int store_init(struct store *store, const struct store_options *options)
{
	struct evict_setup evict = { .name = options->eviction,
				     .memory_cnt = ready_bytes(options) / GHOST_ITEM_BYTES };
	uint32_t shift = choose_shift(options);
	uint64_t bytes = ready_bytes(options);
	bool recognised = options->log.adopted && store_recognise(&options->log, &shift, &bytes);
	int err;

	store->options = *options;
	store->opened_sec = (uint32_t)(clock_now_ns(options->clock) / NSEC_PER_SEC);
	err = segment_pool_init(&store->pool, options->log.base, bytes, options->log.bytes, shift);
	if (!err)
		err = index_init(&store->index, options->index_bytes_max);
	if (!err)
		err = make_secret(store);
	if (err)
		return err;
	store_init_limit(store);
	evict.queue_max = atomic_load(&store->open_max);
	evict.seed = store->hash_secret[0];
	err = evict_init(&store->evict, &evict);
	if (err)
		return err;
	store->threads = alloc_aligned(64, (options->thread_max + 1) * sizeof(*store->threads));
	if (!store->threads)
		return -ENOMEM;
	/* The last thread is the reclaimer's. */
	store->threads[options->thread_max].in_use = true;
	for (uint32_t i = 0; i <= options->thread_max; i++) {
		store->threads[i].store = store;
		atomic_store(&store->threads[i].seen, THREAD_OFFLINE);
		atomic_store(&store->threads[i].held, THREAD_OFFLINE);
	}
	store->threads[options->thread_max].privileged = true;
	if (recognised && bytes < ready_bytes(options) && options->log.trim)
		options->log.trim(options->log.ctx, bytes); /* its process ended before it could */
	if (recognised)
		return store_adopt(store, &store->threads[options->thread_max]);
	store_format(store);
	return 0;
}

struct store *store_new(const struct store_options *options, int *ret_error)
{
	const uint64_t log_min = (uint64_t)SEGMENT_CNT_MIN << SEGMENT_SHIFT_MIN;
	pthread_condattr_t attr;
	struct store *store;

	if (ready_bytes(options) < log_min || options->log.bytes > STORE_LOG_MAX ||
	    options->item_max == 0) {
		*ret_error = -EINVAL;
		return NULL;
	}
	store = alloc_aligned(64, sizeof(*store));
	if (!store) {
		*ret_error = -ENOMEM;
		return NULL;
	}
	pthread_mutex_init(&store->flush_lock, NULL);
	pthread_mutex_init(&store->tokens.lock, NULL);
	pthread_mutex_init(&store->thread_lock, NULL);
	pthread_mutex_init(&store->wake_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&store->wake, &attr);
	pthread_condattr_destroy(&attr);
	atomic_store(&store->epoch, 1);
	*ret_error = store_init(store, options);
	if (*ret_error) {
		store_free(store);
		return NULL;
	}
	return store;
}

void store_free(struct store *store)
{
	if (!store)
		return;
	store_reclaim_stop(store);
	segment_pool_fini(&store->pool);
	index_fini(&store->index);
	evict_fini(&store->evict);
	pthread_mutex_destroy(&store->flush_lock);
	pthread_mutex_destroy(&store->tokens.lock);
	pthread_mutex_destroy(&store->thread_lock);
	pthread_mutex_destroy(&store->wake_lock);
	pthread_cond_destroy(&store->wake);
	alloc_free(store->threads);
	alloc_free(store);
}

struct store_thread *store_thread_new(struct store *store)
{
	struct store_thread *t = NULL;

	pthread_mutex_lock(&store->thread_lock);
	for (uint32_t i = 0; i < store->options.thread_max && !t; i++) {
		if (!store->threads[i].in_use)
			t = &store->threads[i];
	}
	if (t)
		t->in_use = true;
	pthread_mutex_unlock(&store->thread_lock);
	if (t)
		store_online(t);
	return t;
}

void store_thread_free(struct store_thread *t)
{
	if (!t)
		return;
	store_seal_open(t, true);
	store_let_go(t);
	store_offline(t);
	pthread_mutex_lock(&t->store->thread_lock);
	t->in_use = false;
	pthread_mutex_unlock(&t->store->thread_lock);
}

void store_quiesce(struct store_thread *t)
{
	atomic_store_explicit(&t->seen, atomic_load(&t->store->epoch), memory_order_release);
	t->turn_ns = clock_now_ns(t->store->options.clock);
	if (t->turn_ns >= t->seal_check_ns) {
		t->seal_check_ns = t->turn_ns + NSEC_PER_SEC;
		store_seal_open(t, false);
	}
}

void store_offline(struct store_thread *t)
{
	atomic_store_explicit(&t->seen, THREAD_OFFLINE, memory_order_release);
}

void store_online(struct store_thread *t)
{
	/* Sequentially consistent: the reclaimer either sees this thread, or this thread sees the
	 * unlinked index. */
	atomic_store(&t->seen, atomic_load(&t->store->epoch));
	atomic_thread_fence(memory_order_seq_cst);
	t->turn_ns = clock_now_ns(t->store->options.clock);
}

void store_hold(struct store_thread *t)
{
	/* What it has held for longer stays held as well. Released by the next store to `seen`. */
	if (atomic_load_explicit(&t->held, memory_order_relaxed) == THREAD_OFFLINE)
		atomic_store_explicit(&t->held, atomic_load(&t->seen), memory_order_release);
}

void store_let_go(struct store_thread *t)
{
	atomic_store_explicit(&t->held, THREAD_OFFLINE, memory_order_release);
}

bool store_hold_is_waited_for(const struct store_thread *t)
{
	return atomic_load_explicit(&t->store->epoch, memory_order_relaxed) >
	       atomic_load_explicit(&t->held, memory_order_relaxed);
}

bool store_wait(struct store_thread *t, uint64_t timeout_ns)
{
	struct segment_need need = t->need;
	uint64_t nudge_cnt = 0;
	uint64_t until_ns = clock_mono_ns() + timeout_ns;
	int err;

	t->need = (struct segment_need){ 0 };
	store_offline(t);
	do {
		/* The reclaimer may need what this thread has open, and nudges then. */
		store_seal_open(t, false);
		store_wake_reclaimer(t->store);
		err = segment_wait(&t->store->pool, &need, until_ns, &nudge_cnt);
	} while (err == -EAGAIN);
	store_online(t);
	return err == 0;
}

uint64_t store_hash(const struct store *store, struct span key)
{
	return XXH3_64bits_withSecret(key.ptr, key.len, store->hash_secret,
				      sizeof(store->hash_secret));
}

uint32_t store_flush_gen(const struct store *store)
{
	return atomic_load(&store->flush_gen);
}

uint64_t store_hash_at(void *ctx, uint64_t loc)
{
	struct store *store = ctx;
	struct item_header *item = item_at(store->pool.base, loc);

	return store_hash(store, span_of(item_key(item), item_key_len(item)));
}

bool item_is_flushed(const struct store *store, uint64_t loc)
{
	if (!atomic_load_explicit(&store->flush_pending, memory_order_acquire))
		return false;
	return segment_seq(&store->pool.segments[segment_of(&store->pool, loc)]) <=
	       atomic_load_explicit(&store->flush_seq, memory_order_acquire);
}

bool item_is_expired(struct item_header *item, uint64_t now_ns)
{
	uint32_t expire_ds = item_expire_ds(item);

	return expire_ds != 0 && now_ns >= item_ns_from_ds(expire_ds);
}

bool item_is_live(const struct store *store, uint64_t loc)
{
	struct item_header *item = item_at(store->pool.base, loc);

	if (item_is_flushed(store, loc) || item_is_absent(item))
		return false;
	return !item_expire_ds(item) || !item_is_expired(item, clock_now_ns(store->options.clock));
}

bool store_is_noted_absent(const struct store *store, uint64_t loc)
{
	struct item_header *item = item_at(store->pool.base, loc);

	return item_is_absent(item) && !item_is_flushed(store, loc) &&
	       !item_is_expired(item, clock_now_ns(store->options.clock));
}

/* A segment's number is never used twice, and places are 4-byte aligned. */
uint64_t store_place_cas(const struct store *store, uint64_t loc)
{
	uint32_t idx = segment_of(&store->pool, loc);

	return segment_seq(&store->pool.segments[idx]) << (SEGMENT_SHIFT_MAX - 2) |
	       (loc - segment_loc(&store->pool, idx)) / ITEM_ALIGN;
}

void item_view_fill(const struct store *store, uint64_t loc, uint32_t flush_gen,
		    struct item_view *ret)
{
	struct item_header *item = item_at(store->pool.base, loc);
	struct item_shape shape = item_shape(item);
	uint64_t cas = item_cas(item);

	*ret = (struct item_view){
		.key = span_of(item_key(item), shape.key_len),
		.value_len = shape.value_len,
		.value = item_value(item),
		.flags = item_flags(item),
		.expire_ns = item_ns_from_ds(item_expire_ds(item)),
		.cas = cas ? cas : store_place_cas(store, loc),
		.loc = loc,
		.flush_gen = flush_gen,
		.access_ns = item_access_ns(item_access(item)),
		.fetched = item_access(item) & ITEM_FETCHED,
		.resident = shape.bits & ITEM_RESIDENT,
		.stale = shape.bits & ITEM_STALE,
		.won = shape.bits & ITEM_WON,
		.binary = shape.bits & ITEM_BINARY,
		.absent = shape.bits & ITEM_ABSENT,
	};
	if (shape.bits & ITEM_CHAINED) {
		ret->value_len = item_chain_of(item).value_len;
		ret->value = NULL;
	}
}

bool store_find_slot(struct store *store, const struct index_lock *lock, struct span key,
		     struct index_slot *ret)
{
	struct index_slot slot = { 0 };

	while (index_next(&store->index, lock, &slot)) {
		struct item_header *item = item_at(store->pool.base, index_slot_loc(&slot));

		if (item_key_len(item) == key.len &&
		    memcmp(item_key(item), key.ptr, key.len) == 0) {
			*ret = slot;
			return true;
		}
	}
	return false;
}

bool store_find_live(struct store_thread *t, const struct index_lock *lock, struct span key,
		     struct index_slot *ret)
{
	struct store *store = t->store;
	uint64_t loc;

	t->miss = STORE_MISS_ABSENT;
	if (!store_find_slot(store, lock, key, ret))
		return false;
	loc = index_slot_loc(ret);
	if (item_is_flushed(store, loc)) {
		t->miss = STORE_MISS_FLUSHED;
		return false;
	}
	if (store_is_noted_absent(store, loc))
		return false;
	if (!item_is_live(store, loc)) {
		if (!item_is_absent(item_at(store->pool.base, loc)))
			t->miss = STORE_MISS_EXPIRED;
		store_unlink(t, lock, ret, STORE_CHANGE_EXPIRE);
		return false;
	}
	return true;
}

uint32_t store_access(const struct store *store, uint64_t loc)
{
	struct item_header *item = item_at(store->pool.base, loc);
	uint32_t access = item_access(item), answered;
	uint64_t hit_ns = 0;

	if (item_word0(item) & ITEM_RESIDENT) {
		struct span key = span_of(item_key(item), item_key_len(item));

		hit_ns = watch_last_hit(store, key, store_hash(store, key));
	}
	if (hit_ns == 0)
		return access;
	answered = item_access_at(hit_ns, true);
	return answered > access ? answered : access | ITEM_FETCHED;
}

static bool look_up(struct store_thread *t, struct span key, uint64_t hash, bool is_access,
		    struct item_view *ret)
{
	struct store *store = t->store;
	uint32_t flush_gen = atomic_load(&store->flush_gen);
	struct index_lock lock = index_lock(&store->index, hash);
	struct index_slot slot;
	bool found = store_find_live(t, &lock, key, &slot);

	if (found) {
		item_view_fill(store, index_slot_loc(&slot), flush_gen, ret);
		if (is_access)
			store_note_fetch(t, &slot);
	}
	index_unlock(&lock);
	return found;
}

enum store_miss store_miss(const struct store_thread *t)
{
	return (enum store_miss)t->miss;
}

bool store_find(struct store_thread *t, struct span key, uint64_t hash, struct item_view *ret)
{
	return look_up(t, key, hash, true, ret);
}

bool store_peek(struct store_thread *t, struct span key, uint64_t hash, struct item_view *ret)
{
	return look_up(t, key, hash, false, ret);
}

bool store_is_noted(struct store_thread *t, struct span key, uint64_t hash)
{
	struct index_lock lock = index_lock(&t->store->index, hash);
	struct index_slot slot;
	bool noted = store_find_slot(t->store, &lock, key, &slot) &&
		     store_is_noted_absent(t->store, index_slot_loc(&slot));

	index_unlock(&lock);
	return noted;
}

void store_prefetch_slot(const struct store *store, uint64_t hash)
{
	index_prefetch(&store->index, hash);
}

void store_prefetch_item(const struct store *store, uint64_t hash)
{
	const uint8_t *item = store->pool.base + index_guess(&store->index, hash);

	/* Header, key and the value's beginning; the rest follows in order, which the processor
	 * sees by itself. */
	__builtin_prefetch(item);
	__builtin_prefetch(item + 64);
}

void store_note_hits(struct store_thread *t, struct span key, uint64_t hash, uint32_t hits)
{
	struct index_lock lock = index_lock(&t->store->index, hash);
	struct index_slot slot;

	if (hits > 0 && store_find_slot(t->store, &lock, key, &slot))
		store_note_access(t, &slot, hits);
	index_unlock(&lock);
}

bool store_walk(struct store_thread *t, uint64_t *cursor,
		bool (*fn)(void *ctx, const struct item_view *item), void *ctx)
{
	struct store *store = t->store;
	uint32_t flush_gen = atomic_load(&store->flush_gen);
	struct index_slot slot = { 0 };
	struct index_lock lock;
	struct item_view view;
	bool more = true;

	if (*cursor >= atomic_load(&store->index.bucket_cnt))
		return false;
	lock = index_lock_bucket(&store->index, (uint32_t)(*cursor)++);
	while (more && index_next_any(&store->index, &lock, &slot)) {
		uint64_t loc = index_slot_loc(&slot);

		if (!item_is_live(store, loc))
			continue;
		item_view_fill(store, loc, flush_gen, &view);
		more = fn(ctx, &view);
	}
	index_unlock(&lock);
	return true;
}

void store_counts(struct store *store, struct store_counts *ret)
{
	int64_t items = 0, bytes = 0, key_value = 0, total = 0, evicted = 0, expired = 0;
	int64_t moved = 0, moved_bytes = 0, evicted_unfetched = 0, evicted_expiring = 0;
	int64_t expired_unfetched = 0;

	for (uint32_t i = 0; i <= store->options.thread_max; i++) {
		const struct store_tally *tally = &store->threads[i].tally;

		items += atomic_load(&tally->item_cnt);
		bytes += atomic_load(&tally->item_bytes);
		key_value += atomic_load(&tally->key_value_bytes);
		total += atomic_load(&tally->total_items);
		evicted += atomic_load(&tally->evicted_cnt);
		evicted_unfetched += atomic_load(&tally->evicted_unfetched_cnt);
		evicted_expiring += atomic_load(&tally->evicted_expiring_cnt);
		expired += atomic_load(&tally->expired_cnt);
		expired_unfetched += atomic_load(&tally->expired_unfetched_cnt);
		moved += atomic_load(&tally->moved_cnt);
		moved_bytes += atomic_load(&tally->moved_bytes);
	}
	*ret = (struct store_counts){
		.item_cnt = items > 0 ? (uint64_t)items : 0,
		.item_bytes = bytes > 0 ? (uint64_t)bytes : 0,
		.key_value_bytes = key_value > 0 ? (uint64_t)key_value : 0,
		.log_bytes = (uint64_t)atomic_load(&store->pool.limit) << store->pool.shift,
		.log_free_bytes = ((uint64_t)segment_free_cnt(&store->pool) << store->pool.shift) +
				  (uint64_t)segment_block_free_cnt(&store->pool) *
					  segment_block_bytes(&store->pool),
		.index_bytes = index_bytes(&store->index),
		.total_items = (uint64_t)total,
		.evicted_cnt = (uint64_t)evicted,
		.evicted_unfetched_cnt = (uint64_t)evicted_unfetched,
		.evicted_expiring_cnt = (uint64_t)evicted_expiring,
		.expired_cnt = (uint64_t)expired,
		.expired_unfetched_cnt = (uint64_t)expired_unfetched,
		.evicted_idle_sec = atomic_load(&store->evicted_idle_sec),
		.moved_cnt = (uint64_t)moved,
		.moved_bytes = (uint64_t)moved_bytes,
		.reclaimed_segment_cnt = atomic_load(&store->reclaimed_segment_cnt),
		.recovered_cnt = store->recovered_cnt,
		.dropped_cnt = store->dropped_cnt,
		.segment_bytes = segment_bytes(&store->pool),
		.segment_cnt = atomic_load(&store->pool.limit),
		.eviction = store->evict.policy->name,
	};
}

uint32_t store_age_sec(struct store *store)
{
	uint32_t now_sec = (uint32_t)(clock_now_ns(store->options.clock) / NSEC_PER_SEC);
	uint32_t oldest_sec = now_sec;

	for (uint32_t i = 1; i < store->pool.cnt_max; i++) {
		struct segment *seg = &store->pool.segments[i];
		enum segment_state state = segment_state(seg);
		uint32_t opened_sec = atomic_load(&seg->opened_sec);

		if ((state != SEGMENT_OPEN && state != SEGMENT_SEALED) ||
		    atomic_load(&seg->live_bytes) == 0)
			continue;
		if (opened_sec < store->opened_sec)
			opened_sec = store->opened_sec;
		if (opened_sec < oldest_sec)
			oldest_sec = opened_sec;
	}
	return now_sec - oldest_sec;
}
