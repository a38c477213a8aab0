/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: a flush at any moment of a round brings nothing back; a segment in which an item is
 * still being written is left alone, even when nothing else lives in it; of what the policy would
 * keep for ever about an eighth leaves; a round that is given up loses no segment; where there is
 * no room every write is refused whole, and whoever has the last of it open is woken.
 * Method: rounds are run by hand in the test's own thread, and the clock that they read, or the
 * policy that they ask, is the test's. Where a round has to be given up, the store's own reclaimer
 * waits for a reader that never comes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "lib/store_rig.h"
#include "store/impl.h"

#define MIB (1ULL << 20)
#define SEGMENT 16384U
#define VALUE_LEN 200U
#define TTL_NS (1000 * NSEC_PER_SEC)
#define POLLS 5000

static struct span key_text(char buf[24], uint64_t n)
{
	return span_of(buf, (size_t)snprintf(buf, 24, "key:%llu", (unsigned long long)n));
}

static struct span value_of(uint8_t *buf, uint64_t n, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(n * 31 + i * 7 + (i >> 8));
	return span_of(buf, len);
}

static void run_rounds(struct store_rig *rig)
{
	store_offline(rig->t);
	store_wake_reclaimer(rig->store);
	store_reclaim_turn(rig->store);
	store_online(rig->t);
}

static enum store_status put(struct store_rig *rig, uint64_t n, uint64_t expire_ns)
{
	uint8_t value[VALUE_LEN];
	char text[24];
	struct span key = key_text(text, n);
	struct store_put how = { .key = key,
				 .hash = store_hash(rig->store, key),
				 .expire_ns = expire_ns };

	return store_put(rig->t, &how, value_of(value, n, VALUE_LEN), NULL);
}

/* As often as it takes, with rounds in between. */
static void put_by_hand(struct store_rig *rig, uint64_t n)
{
	enum store_status status = put(rig, n, 0);

	for (int tries = 0; tries < 10 && status == STORE_AGAIN; tries++) {
		run_rounds(rig);
		status = put(rig, n, 0);
	}
	assert_int_equal(status, STORE_OK);
}

/* False: absent. Anything else than the right value fails. */
static bool has(struct store_rig *rig, uint64_t n)
{
	uint8_t want[VALUE_LEN];
	char text[24];
	struct span key = key_text(text, n);
	struct item_view view;

	if (!store_peek(rig->t, key, store_hash(rig->store, key), &view))
		return false;
	assert_int_equal(view.value_len, VALUE_LEN);
	assert_memory_equal(view.value, value_of(want, n, VALUE_LEN).ptr, VALUE_LEN);
	return true;
}

static struct store_counts counts_of(struct store_rig *rig)
{
	struct store_counts counts;

	store_counts(rig->store, &counts);
	return counts;
}

/* --- a flush meanwhile --- */

/* Flushes when it is looked at for the n-th time. */
struct flushing_clock {
	struct clock clock; /* first: what the store gets */
	struct store_rig *rig;
	uint32_t looks_left; /* 0: never */
};

static uint64_t flushing_now_ns(const struct clock *self)
{
	/* The store is given a clock that it does not change; the test does. */
	struct flushing_clock *flushing = (struct flushing_clock *)(uintptr_t)self;

	if (flushing->looks_left > 0 && --flushing->looks_left == 0)
		store_flush(flushing->rig->t);
	return STORE_RIG_BOOT_NS;
}

static int64_t flushing_wall_sec(const struct clock *self)
{
	(void)self;
	return STORE_RIG_BOOT_NS / NSEC_PER_SEC;
}

/*
 * Items with a TTL, so that the clock is looked at for each, in segments most of whose bytes are
 * dead, and too few free ones: a round copies what lives. Returns what lives.
 */
static uint64_t fill_thinly(struct store_rig *rig)
{
	uint64_t cnt = 0, live = 0;
	char text[24];

	while (segment_free_cnt(&rig->store->pool) >= store_free_target(rig->store))
		assert_int_equal(put(rig, cnt++, STORE_RIG_BOOT_NS + TTL_NS), STORE_OK);
	/* Whoever takes one of the last ones asks for a round. */
	assert_true(rig->store->wake_asked);
	for (uint64_t n = 0; n < cnt; n++) {
		struct span key = key_text(text, n);

		if (n % 4 == 0)
			live++;
		else
			assert_int_equal(store_remove(rig->t, key, store_hash(rig->store, key), 0),
					 STORE_OK);
	}
	return live;
}

/* A round with a flush at that look at the clock; false if it ends before. */
static bool flush_at_look(uint32_t look, uint64_t *ret_moved)
{
	struct flushing_clock flushing = {
		.clock = { .now_ns = flushing_now_ns, .wall_sec = flushing_wall_sec },
	};
	struct store_options options = { .log.bytes = MIB, .clock = &flushing.clock };
	struct store_rig rig = { 0 };
	uint64_t live, there = 0;
	bool flushed;

	store_rig_open(&rig, &options);
	rig.t = store_thread_new(rig.store);
	flushing.rig = &rig;
	live = fill_thinly(&rig);
	flushing.looks_left = look;
	run_rounds(&rig);
	flushed = flushing.looks_left == 0;
	flushing.looks_left = 0;
	for (uint64_t n = 0; n < 4 * live; n++)
		there += has(&rig, n);
	assert_int_equal(there, flushed ? 0 : live);
	*ret_moved = counts_of(&rig).moved_cnt;
	store_rig_fini(&rig);
	return flushed;
}

static void round_flush_at_any_look_at_the_clock_brings_nothing_back(void **state)
{
	uint64_t moved = 0, most = 0;
	uint32_t look = 1, moments = 0;

	(void)state;
	/* Each of the first ones, then some of the many that are alike. */
	for (; flush_at_look(look, &moved); look += look < 40 ? 1 : 37) {
		most = moved > most ? moved : most;
		moments++;
	}
	printf("flushed at %u moments, after up to %llu copies\n", moments,
	       (unsigned long long)most);
	assert_true(moments > 40 && most > 0);
}

/* --- still being written --- */

static void round_leaves_a_segment_in_which_an_item_is_being_written(void **state)
{
	struct store_options options = { .log.bytes = MIB };
	uint8_t value[VALUE_LEN];
	struct store_pending pending;
	struct store_rig rig = { 0 };
	struct store_put how = { .key = span_str("slow"), .value_len = VALUE_LEN };
	struct segment *seg;
	struct item_view view;
	uint64_t n = 0;
	char text[24];

	(void)state;
	store_rig_open(&rig, &options);
	rig.t = store_thread_new(rig.store);
	how.hash = store_hash(rig.store, how.key);
	assert_int_equal(store_reserve(rig.t, &how, &pending), STORE_OK);
	store_fill(rig.t, &pending, value_of(value, 77, VALUE_LEN / 2));
	seg = &rig.store->pool.segments[segment_of(&rig.store->pool, pending.loc)];
	for (; segment_state(seg) == SEGMENT_OPEN; n++)
		put_by_hand(&rig, n);
	while (n-- > 0) {
		struct span key = key_text(text, n);

		assert_int_equal(store_remove(rig.t, key, store_hash(rig.store, key), 0), STORE_OK);
	}
	assert_int_equal(atomic_load(&seg->live_bytes), 0);
	/* Nothing lives in it; then memory runs short, several times over. */
	for (n = 1000; n < 20000; n++) {
		put_by_hand(&rig, n);
		assert_int_equal(segment_state(seg), SEGMENT_SEALED);
	}
	assert_true(counts_of(&rig).evicted_cnt > 10000);
	value_of(value, 77, VALUE_LEN);
	store_fill(rig.t, &pending, span_of(value + VALUE_LEN / 2, VALUE_LEN / 2));
	assert_int_equal(store_commit(rig.t, &pending, NULL), STORE_OK);
	assert_true(store_peek(rig.t, how.key, how.hash, &view));
	assert_memory_equal(view.value, value, VALUE_LEN);
	/* It is taken when its turn comes, as any other. */
	for (; segment_state(seg) == SEGMENT_SEALED && n < 40000; n++)
		put_by_hand(&rig, n);
	assert_int_not_equal(segment_state(seg), SEGMENT_SEALED);
	store_rig_fini(&rig);
}

/* --- what leaves of what should stay --- */

static uint64_t asked_cnt;

static struct evict_verdict keep(struct evict *evict, const struct evict_item *item)
{
	(void)evict;
	asked_cnt++;
	return (struct evict_verdict){ .survives = true, .queue = item->queue };
}

static void round_an_eighth_leaves_of_what_the_policy_keeps(void **state)
{
	struct store_options options = { .log.bytes = 2 * MIB, .eviction = "fifo" };
	struct store_rig rig = { 0 };
	struct evict_policy policy;
	uint64_t evicted, per_mille;

	(void)state;
	store_rig_open(&rig, &options);
	rig.t = store_thread_new(rig.store);
	policy = *rig.store->evict.policy;
	policy.judge = keep;
	rig.store->evict.policy = &policy;
	asked_cnt = 0;
	for (uint64_t n = 0; n < 40000; n++)
		put_by_hand(&rig, n);
	evicted = counts_of(&rig).evicted_cnt;
	per_mille = evicted * 1000 / asked_cnt;
	printf("asked about %llu items, %llu per mille left\n", (unsigned long long)asked_cnt,
	       (unsigned long long)per_mille);
	/* 125, less the segment that may stay beyond that in each 32. */
	assert_true(evicted > 20000);
	assert_in_range(per_mille, 105, 130);
	store_rig_fini(&rig);
}

/* --- given up --- */

#define LARGE_LEN 100000U
#define LARGE_CNT 12U
#define GONE_CNT 20U
#define LIMIT (2 * MIB)

static bool has_large(struct store_rig *rig, uint64_t n)
{
	static uint8_t want[LARGE_LEN], got[LARGE_LEN];
	struct item_view view;
	char text[24];

	if (!store_rig_get(rig, key_text(text, n), got, &view))
		return false;
	assert_int_equal(view.value_len, LARGE_LEN);
	assert_memory_equal(got, value_of(want, n, LARGE_LEN).ptr, LARGE_LEN);
	return true;
}

static uint32_t blocks_used(const struct segment_pool *pool, uint32_t idx)
{
	switch (segment_state(&pool->segments[idx])) {
	case SEGMENT_CHAIN:
		return segment_block_cnt(pool);
	case SEGMENT_BLOCKS:
		return (uint32_t)__builtin_popcount(pool->segments[idx].block_map);
	default:
		return 0;
	}
}

static uint32_t blocks_of(const struct store *store, uint64_t value_len)
{
	struct chain_shape shape = chain_shape(store, value_len);

	return chain_blocks(store, &shape);
}

/* Pieces of large values that no value has, in blocks. */
static uint32_t count_stray(struct store_rig *rig)
{
	struct segment_pool *pool = &rig->store->pool;
	uint32_t cnt = 0;
	char text[24];

	for (uint32_t i = 1; i < pool->cnt; i++)
		cnt += blocks_used(pool, i);
	cnt -= rig->store->dead_blocks;
	for (uint32_t piece = rig->store->moved_pieces; piece != PIECE_NONE;
	     piece = piece_link(pool, piece)->buried)
		cnt -= piece_is_block(piece) ? 1 : segment_block_cnt(pool);
	for (uint64_t n = 0; n < LARGE_CNT; n++) {
		struct span key = key_text(text, n);
		struct item_view view;

		if (store_peek(rig->t, key, store_hash(rig->store, key), &view))
			cnt -= blocks_of(rig->store, view.value_len);
	}
	return cnt;
}

static void pause_ms(long ms)
{
	const struct timespec pause = { .tv_nsec = ms * (long)NSEC_PER_MSEC };

	nanosleep(&pause, NULL);
}

/* Lets the reclaimer begin a round that has to wait for the reader, and stops it there. */
static void give_up_a_round(struct store_rig *rig, struct store_thread *reader)
{
	uint64_t released = segment_released_cnt(&rig->store->pool);

	store_online(reader);
	assert_int_equal(store_reclaim_start(rig->store), 0);
	store_offline(rig->t);
	store_wake_reclaimer(rig->store);
	for (int i = 0; i < POLLS && atomic_load(&rig->store->epoch) <= atomic_load(&reader->seen);
	     i++)
		pause_ms(1);
	assert_true(atomic_load(&rig->store->epoch) > atomic_load(&reader->seen));
	store_reclaim_stop(rig->store);
	assert_int_equal(segment_released_cnt(&rig->store->pool), released);
	store_offline(reader);
	store_online(rig->t);
}

static void round_given_up_loses_no_piece_of_a_large_value(void **state)
{
	struct store_options options = { .log.bytes = 8 * MIB };
	static uint8_t value[LARGE_LEN];
	struct store_thread *reader;
	struct store_rig rig = { 0 };
	char text[24];

	(void)state;
	store_rig_open(&rig, &options);
	rig.t = store_thread_new(rig.store);
	reader = store_thread_new(rig.store);
	store_offline(reader);
	/* The first ones go, so that the rest lies high. */
	for (uint64_t n = GONE_CNT + LARGE_CNT; n-- > 0;)
		assert_int_equal(
			store_rig_set(&rig, key_text(text, n), value_of(value, n, LARGE_LEN), 0),
			STORE_OK);
	for (uint64_t n = LARGE_CNT; n < GONE_CNT + LARGE_CNT; n++)
		store_rig_set(&rig, key_text(text, n), span_str("gone"), 0);
	run_rounds(&rig);
	assert_true(segment_used_end(&rig.store->pool) > LIMIT / SEGMENT);
	store_set_limit(rig.store, LIMIT);
	for (uint64_t i = 0; i < 30; i++) {
		/* Now and then one is replaced: what it was waits for the reader, too. */
		if (i % 6 == 0)
			store_rig_set(&rig, key_text(text, i / 6),
				      value_of(value, i / 6, LARGE_LEN), 0);
		give_up_a_round(&rig, reader);
		assert_int_equal(count_stray(&rig), 0);
	}
	/* In the end all of them find their place. */
	assert_int_equal(store_reclaim_start(rig.store), 0);
	for (int i = 0; i < POLLS && segment_end(&rig.store->pool) > LIMIT / SEGMENT; i++) {
		store_seal_open(rig.t, true);
		store_offline(rig.t);
		pause_ms(2);
		store_online(rig.t);
	}
	assert_int_equal(segment_end(&rig.store->pool), LIMIT / SEGMENT);
	store_reclaim_stop(rig.store);
	assert_int_equal(count_stray(&rig), 0);
	for (uint64_t n = 0; n < LARGE_CNT; n++)
		assert_true(has_large(&rig, n));
	store_thread_free(reader);
	store_rig_fini(&rig);
}

/* --- no room --- */

static enum store_status refused_incr(struct store_rig *rig, struct span key, uint64_t hash)
{
	uint64_t number;

	return store_arith(rig->t, key, hash, 1, false, 0, &number, NULL);
}

static enum store_status refused_append(struct store_rig *rig, struct span key, uint64_t hash)
{
	return store_append(rig->t, key, hash, span_str("1"), 0, NULL);
}

static enum store_status refused_prepend(struct store_rig *rig, struct span key, uint64_t hash)
{
	return store_prepend(rig->t, key, hash, span_str("1"), 0, NULL);
}

static enum store_status refused_touch(struct store_rig *rig, struct span key, uint64_t hash)
{
	return store_touch(rig->t, key, hash, STORE_RIG_BOOT_NS + TTL_NS, NULL);
}

static enum store_status refused_fetch(struct store_rig *rig, struct span key, uint64_t hash)
{
	struct store_fetched fetched;

	return store_fetch(rig->t,
			   &(struct store_fetch){ .key = key,
						  .hash = hash,
						  .touch = true,
						  .expire_ns = STORE_RIG_BOOT_NS + TTL_NS },
			   &fetched);
}

static enum store_status refused_vivify(struct store_rig *rig, struct span key, uint64_t hash)
{
	struct span absent = span_str("absent");
	struct store_fetched fetched;

	(void)key;
	(void)hash;
	return store_fetch(rig->t,
			   &(struct store_fetch){ .key = absent,
						  .hash = store_hash(rig->store, absent),
						  .vivify = true,
						  .vivify_ns = STORE_RIG_BOOT_NS + TTL_NS },
			   &fetched);
}

static enum store_status refused_stale(struct store_rig *rig, struct span key, uint64_t hash)
{
	return store_invalidate(
		rig->t, &(struct store_invalidate){ .key = key, .hash = hash, .stale = true });
}

static enum store_status refused_large(struct store_rig *rig, struct span key, uint64_t hash)
{
	static uint8_t value[LARGE_LEN];
	struct store_put how = { .key = key, .hash = hash };

	return store_put(rig->t, &how, span_of(value, LARGE_LEN), NULL);
}

/* Whatever kind it is of: it is to be tried again, and nothing has changed. */
static void round_that_never_comes_refuses_each_write_and_changes_nothing(void **state)
{
	static enum store_status (*const writes[])(struct store_rig *, struct span, uint64_t) = {
		refused_incr,  refused_append, refused_prepend, refused_touch,
		refused_fetch, refused_vivify, refused_stale,	refused_large,
	};
	struct store_options options = { .log.bytes = MIB };
	struct span key = span_str("number");
	struct store_rig rig = { 0 };
	struct item_view before, view;
	uint64_t hash, cnt = 0;

	(void)state;
	store_rig_open(&rig, &options);
	rig.t = store_thread_new(rig.store);
	hash = store_hash(rig.store, key);
	assert_int_equal(store_rig_set(&rig, key, span_str("41"), 0), STORE_OK);
	while (put(&rig, cnt, 0) == STORE_OK)
		cnt++;
	while (refused_incr(&rig, key, hash) == STORE_OK)
		;
	assert_true(store_peek(rig.t, key, hash, &before));
	for (uint32_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
		assert_int_equal(writes[i](&rig, key, hash), STORE_AGAIN);
		assert_true(store_peek(rig.t, key, hash, &view));
		assert_int_equal(view.loc, before.loc);
		assert_int_equal(view.cas, before.cas);
		assert_int_equal(view.value_len, before.value_len);
		assert_false(view.stale || view.won);
		assert_int_equal(counts_of(&rig).item_cnt, cnt + 1);
		for (uint32_t n = 1; n < rig.store->pool.cnt; n++)
			assert_int_equal(atomic_load(&rig.store->pool.segments[n].pending_cnt), 0);
	}
	/* And then there is room, for the largest, too. */
	run_rounds(&rig);
	assert_int_equal(refused_large(&rig, key, hash), STORE_OK);
	assert_int_equal(refused_vivify(&rig, key, hash), STORE_OK);
	store_rig_fini(&rig);
}

/* All that could be freed lies in a segment that the waiting thread has open: it is woken to seal
 * it, long before its patience ends. */
static void round_without_a_sealed_segment_wakes_who_has_one_open(void **state)
{
	struct store_options options = { .log.bytes = MIB };
	static uint8_t value[MIB / 2];
	struct store_rig rig;
	uint64_t len, hash;
	struct store_put how = { .key = span_str("large") };

	(void)state;
	store_rig_init(&rig, &options);
	len = 31ULL * segment_payload(&rig.store->pool);
	assert_true(len <= sizeof(value));
	assert_int_equal(store_rig_set(&rig, span_str("first"), span_of(value, len), 0), STORE_OK);
	hash = how.hash = store_hash(rig.store, how.key);
	for (int i = 0; i < 20; i++) {
		uint64_t start_ns = clock_mono_ns();

		if (store_put(rig.t, &how, span_of(value, len), NULL) == STORE_OK)
			break;
		assert_true(i < 19);
		assert_true(store_wait(rig.t, 20 * NSEC_PER_SEC));
		assert_true(clock_mono_ns() - start_ns < 15 * NSEC_PER_SEC);
	}
	assert_true(store_peek(rig.t, how.key, hash, &(struct item_view){ 0 }));
	store_rig_fini(&rig);
}

/* --- no room for a copy --- */

/* Takes every free segment once so many items have moved. */
struct thief {
	struct store_rig rig;
	uint32_t moves_left; /* 0: never */
	uint32_t taken[64];
	uint32_t taken_cnt;
};

static void take_what_is_free(struct thief *thief)
{
	struct segment_pool *pool = &thief->rig.store->pool;
	uint32_t idx;

	while ((idx = segment_take(pool, SEGMENT_CHAIN, true)) != SEGMENT_NONE)
		thief->taken[thief->taken_cnt++] = idx;
}

static void give_back(struct thief *thief)
{
	while (thief->taken_cnt > 0)
		segment_release(&thief->rig.store->pool, thief->taken[--thief->taken_cnt]);
}

static void count_moves(void *ctx, struct store_event *event)
{
	struct thief *thief = ctx;

	if (event->change == STORE_CHANGE_MOVE && thief->moves_left > 0 && --thief->moves_left == 0)
		take_what_is_free(thief);
}

static void thief_open(struct thief *thief, bool no_evict)
{
	const struct store_watcher watcher = { .on_change = count_moves, .ctx = thief };
	struct store_options options = { .log.bytes = MIB, .no_evict = no_evict };

	memset(thief, 0, sizeof(*thief));
	store_rig_open(&thief->rig, &options);
	assert_int_equal(store_watch(thief->rig.store, &watcher), 0);
	thief->rig.t = store_thread_new(thief->rig.store);
}

/* Cleaning is given up where it is; what could not be copied is where it was. */
static void round_without_room_for_copies_leaves_items_where_they_are(void **state)
{
	uint64_t cnt = 0, live, there, moved, released;
	uint32_t stuck = 0;
	struct thief thief;

	(void)state;
	thief_open(&thief, true);
	live = fill_thinly(&thief.rig);
	cnt = 4 * live;
	for (uint32_t turn = 0; turn < 12; turn++) {
		moved = counts_of(&thief.rig).moved_cnt;
		released = segment_released_cnt(&thief.rig.store->pool);
		thief.moves_left = 1 + turn % 3;
		run_rounds(&thief.rig);
		thief.moves_left = 0;
		stuck += counts_of(&thief.rig).moved_cnt > moved &&
			 segment_released_cnt(&thief.rig.store->pool) == released;
		give_back(&thief);
		there = 0;
		for (uint64_t n = 0; n < cnt; n++)
			there += has(&thief.rig, n);
		assert_int_equal(there, live);
		assert_int_equal(counts_of(&thief.rig).item_cnt, live);
		/* Short again, so that there is something to clean. */
		while (segment_free_cnt(&thief.rig.store->pool) >=
		       store_free_target(thief.rig.store)) {
			assert_int_equal(put(&thief.rig, cnt++, STORE_RIG_BOOT_NS + TTL_NS),
					 STORE_OK);
			live++;
		}
	}
	printf("stuck in %u rounds\n", stuck);
	assert_true(stuck > 0);
	assert_int_equal(counts_of(&thief.rig).evicted_cnt, 0);
	store_rig_fini(&thief.rig);
}

/* Nothing is free, and the policy would keep everything: then it goes. */
static void round_without_a_free_segment_evicts_what_would_stay(void **state)
{
	struct evict_policy policy;
	struct thief thief;
	uint64_t cnt = 0, there = 0, evicted;

	(void)state;
	thief_open(&thief, false);
	policy = *thief.rig.store->evict.policy;
	policy.judge = keep;
	thief.rig.store->evict.policy = &policy;
	while (put(&thief.rig, cnt, 0) == STORE_OK)
		cnt++;
	take_what_is_free(&thief);
	asked_cnt = 0;
	run_rounds(&thief.rig);
	give_back(&thief);
	evicted = counts_of(&thief.rig).evicted_cnt;
	assert_true(evicted > 0 && evicted < cnt);
	/* No answer came to nothing. */
	assert_int_equal(asked_cnt, evicted + counts_of(&thief.rig).moved_cnt);
	for (uint64_t n = 0; n < cnt; n++)
		there += has(&thief.rig, n);
	assert_int_equal(there, cnt - evicted);
	assert_int_equal(counts_of(&thief.rig).item_cnt, there);
	store_rig_fini(&thief.rig);
}

/* --- the limit --- */

/* Behind the last segment in which something is. */
static uint32_t end_of_items(const struct segment_pool *pool)
{
	uint32_t end = pool->cnt;

	while (end > 1 && segment_state(&pool->segments[end - 1]) == SEGMENT_FREE)
		end--;
	return end;
}

/* What nothing was ever written to goes in one step, though there are more than a step's. */
static void round_takes_a_tail_away_that_was_never_used(void **state)
{
	struct store_options options = { .log.bytes = 8 * MIB };
	struct store_rig rig = { 0 };
	uint32_t end;
	uint64_t cnt = 0;
	char text[24];

	(void)state;
	store_rig_open(&rig, &options);
	rig.t = store_thread_new(rig.store);
	while (end_of_items(&rig.store->pool) < 150)
		assert_int_equal(put(&rig, cnt++, 0), STORE_OK);
	end = end_of_items(&rig.store->pool);
	for (uint64_t n = 0; n < cnt / 2; n++) {
		struct span key = key_text(text, n);

		assert_int_equal(store_remove(rig.t, key, store_hash(rig.store, key), 0), STORE_OK);
	}
	run_rounds(&rig);
	/* The last one used is the last one wanted. */
	store_set_limit(rig.store, (uint64_t)end * SEGMENT);
	run_rounds(&rig);
	assert_int_equal(counts_of(&rig).log_bytes, (uint64_t)end * SEGMENT);
	/* Where something lies a step is made, and the next one when it has moved. */
	store_set_limit(rig.store, (uint64_t)(end - 20) * SEGMENT);
	run_rounds(&rig);
	assert_true(counts_of(&rig).log_bytes >= (uint64_t)(end - 1 - end / 16) * SEGMENT);
	for (int i = 0; i < 20; i++) {
		store_seal_open(rig.t, true);
		run_rounds(&rig);
	}
	assert_int_equal(counts_of(&rig).log_bytes, (uint64_t)(end - 20) * SEGMENT);
	assert_int_equal(segment_end(&rig.store->pool), end - 20);
	assert_int_equal(counts_of(&rig).evicted_cnt, 0);
	for (uint64_t n = cnt / 2; n < cnt; n++)
		assert_true(has(&rig, n));
	store_rig_fini(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_flush_at_any_look_at_the_clock_brings_nothing_back),
		cmocka_unit_test(round_leaves_a_segment_in_which_an_item_is_being_written),
		cmocka_unit_test(round_an_eighth_leaves_of_what_the_policy_keeps),
		cmocka_unit_test(round_given_up_loses_no_piece_of_a_large_value),
		cmocka_unit_test(round_that_never_comes_refuses_each_write_and_changes_nothing),
		cmocka_unit_test(round_without_a_sealed_segment_wakes_who_has_one_open),
		cmocka_unit_test(round_without_room_for_copies_leaves_items_where_they_are),
		cmocka_unit_test(round_without_a_free_segment_evicts_what_would_stay),
		cmocka_unit_test(round_takes_a_tail_away_that_was_never_used),
	};

	return cmocka_run_group_tests_name("store_rounds", tests, NULL, NULL);
}
