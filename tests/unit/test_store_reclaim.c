/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: the store never uses more than its log; overwriting one key a million times beside
 * cold data evicts nothing; what expired or was flushed gives its memory back unasked; -M refuses
 * and loses nothing; large values find room; neither many TTLs nor a tiny log nor a full index nor
 * threads that hold segments open stop writes while something can be evicted; a store that stops
 * while someone reads, or while someone holds what was read, frees nothing under them.
 * Method: small logs, a clock set by hand, the store's own reclaimer. Seeded where random.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/rand.h"
#include "lib/fault.h"
#include "lib/runopts.h"
#include "lib/store_rig.h"
#include "store/impl.h"

#define MIB (1ULL << 20)
#define OVERWRITES_SHORT 300000U
#define OVERWRITES_LONG 10000000U

struct text_key {
	char text[32];
	struct span span;
};

static const struct text_key *key_number(struct text_key *key, const char *prefix, uint64_t n)
{
	int len = snprintf(key->text, sizeof(key->text), "%s%llu", prefix, (unsigned long long)n);

	key->span = span_of(key->text, (size_t)len);
	return key;
}

/* A value that names its key and length. */
static struct span value_for(uint8_t *buf, uint64_t n, uint64_t len)
{
	struct rand r;

	rand_init(&r, n);
	for (uint64_t i = 0; i < len; i++)
		buf[i] = (uint8_t)rand_next(&r);
	return span_of(buf, len);
}

static struct store_counts counts_of(struct store_rig *rig)
{
	struct store_counts counts;

	store_counts(rig->store, &counts);
	return counts;
}

static void put_number(struct store_rig *rig, const char *prefix, uint64_t n, uint64_t len,
		       uint64_t expire_ns)
{
	static uint8_t buf[4 * MIB];
	struct text_key key;

	key_number(&key, prefix, n);
	assert_int_equal(store_rig_set(rig, key.span, value_for(buf, n, len), expire_ns), STORE_OK);
}

/* False: absent. Anything else than the right value fails. */
static bool has_number(struct store_rig *rig, const char *prefix, uint64_t n, uint64_t len)
{
	static uint8_t got[4 * MIB], want[4 * MIB];
	struct item_view view;
	struct text_key key;

	key_number(&key, prefix, n);
	if (!store_rig_get(rig, key.span, got, &view))
		return false;
	assert_int_equal(view.value_len, len);
	value_for(want, n, len);
	assert_memory_equal(got, want, len);
	return true;
}

static void reclaim_churn_stays_inside_the_log(void **state)
{
	struct store_options options = { .log.bytes = 2 * MIB };
	struct store_rig rig;
	uint8_t *edge;
	uint64_t present = 0;

	(void)state;
	/* Bytes behind the log belong to somebody else. */
	options.log.base = store_rig_map(options.log.bytes + 4096);
	edge = options.log.base + options.log.bytes;
	memset(edge, 0x5a, 4096);
	store_rig_init(&rig, &options);
	for (uint64_t n = 0; n < 60000; n++) {
		put_number(&rig, "k", n, n % 700, 0);
		assert_true(has_number(&rig, "k", n, n % 700));
		if (n % 64 == 0)
			store_quiesce(rig.t);
	}
	for (uint64_t n = 0; n < 60000; n++)
		present += has_number(&rig, "k", n, n % 700);
	assert_true(counts_of(&rig).evicted_cnt > 0);
	assert_true(counts_of(&rig).item_bytes <= options.log.bytes);
	/* Most of the log holds something: eviction takes no more than it must. */
	assert_true(present * 350 > options.log.bytes / 2);
	for (uint32_t i = 0; i < 4096; i++)
		assert_int_equal(edge[i], 0x5a);
	store_rig_fini(&rig);
}

/* The long form: 10^7 at -m 64, most of it cold. */
static void reclaim_overwriting_one_key_evicts_nothing(void **state)
{
	uint64_t log_bytes = runopts_long() ? 64 * MIB : 8 * MIB;
	struct store_options options = { .log.bytes = log_bytes };
	uint64_t cold = log_bytes / 2 / 256;
	uint32_t turns = (uint32_t)runopts_number("XC_TEST_OPS", runopts_long() ? OVERWRITES_LONG
										: OVERWRITES_SHORT);
	struct span key = span_str("counter"), one = span_str("1");
	struct store_rig rig;
	uint64_t number = 0, hash;
	struct timespec until, now;

	(void)state;
	store_rig_init(&rig, &options);
	hash = store_hash(rig.store, key);
	for (uint64_t n = 0; n < cold; n++)
		put_number(&rig, "cold", n, 220, 0);
	assert_int_equal(store_rig_set(&rig, key, one, 0), STORE_OK);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += runopts_budget_sec(60);
	for (uint32_t i = 0, tries = 0; i < turns;) {
		enum store_status status =
			i % 2 ? store_rig_set(&rig, key, one, 0)
			      : store_arith(rig.t, key, hash, 1, false, 0, &number, NULL);

		if (status == STORE_AGAIN) {
			store_rig_wait(rig.t, &tries);
			continue;
		}
		assert_int_equal(status, STORE_OK);
		tries = 0;
		i++;
		if (i % 32 == 0)
			store_quiesce(rig.t);
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (i % 4096 == 0 && now.tv_sec > until.tv_sec)
			break;
	}
	assert_int_equal(counts_of(&rig).evicted_cnt, 0);
	for (uint64_t n = 0; n < cold; n++)
		assert_true(has_number(&rig, "cold", n, 220));
	store_rig_fini(&rig);
}

/* Dead bytes spread thin: every segment must be cleaned by copying what lives in it. */
static void reclaim_scattered_overwrites_evict_nothing(void **state)
{
	struct store_options options = { .log.bytes = 4 * MIB };
	uint64_t cold = options.log.bytes * 55 / 100 / 256;
	struct store_rig rig;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	store_rig_init(&rig, &options);
	for (uint64_t n = 0; n < cold; n++)
		put_number(&rig, "cold", n, 220, 0);
	for (uint32_t i = 0; i < 150000; i++) {
		put_number(&rig, "cold", rand_below(&r, cold), 220, 0);
		if (i % 32 == 0)
			store_quiesce(rig.t);
	}
	assert_int_equal(counts_of(&rig).evicted_cnt, 0);
	assert_true(counts_of(&rig).moved_cnt > 0);
	for (uint64_t n = 0; n < cold; n++)
		assert_true(has_number(&rig, "cold", n, 220));
	store_rig_fini(&rig);
}

static void reclaim_expired_memory_comes_back_unasked(void **state)
{
	struct store_options options = { .log.bytes = 4 * MIB };
	struct store_counts before;
	struct store_rig rig;

	(void)state;
	store_rig_init(&rig, &options);
	before = counts_of(&rig);
	for (uint64_t n = 0; n < 4000; n++)
		put_number(&rig, "ttl", n, 200, rig.time.boot_ns + 10 * NSEC_PER_SEC);
	for (uint64_t n = 0; n < 4; n++)
		put_number(&rig, "big", n, 100000, rig.time.boot_ns + 10 * NSEC_PER_SEC);
	assert_true(counts_of(&rig).log_free_bytes < before.log_free_bytes - MIB);
	fake_clock_add(&rig.time, 9 * NSEC_PER_SEC);
	assert_true(has_number(&rig, "ttl", 17, 200));
	fake_clock_add(&rig.time, NSEC_PER_SEC);
	store_quiesce(rig.t);
	assert_true(store_rig_await_free(&rig, before.log_free_bytes));
	assert_int_equal(counts_of(&rig).evicted_cnt, 0);
	assert_int_equal(counts_of(&rig).expired_cnt, 4004);
	assert_int_equal(counts_of(&rig).item_cnt, 0);
	assert_int_equal(counts_of(&rig).item_bytes, 0);
	assert_int_equal(counts_of(&rig).key_value_bytes, 0);
	store_rig_fini(&rig);
}

static void reclaim_flushed_memory_comes_back_unasked(void **state)
{
	struct store_options options = { .log.bytes = 4 * MIB };
	struct store_counts before;
	struct store_rig rig;

	(void)state;
	store_rig_init(&rig, &options);
	before = counts_of(&rig);
	for (uint64_t n = 0; n < 4000; n++)
		put_number(&rig, "k", n, n % 100 ? 200 : 30000, 0);
	store_flush(rig.t);
	for (uint64_t n = 0; n < 4000; n++)
		assert_false(has_number(&rig, "k", n, n % 100 ? 200 : 30000));
	fake_clock_add(&rig.time, 2 * NSEC_PER_SEC);
	store_quiesce(rig.t); /* a segment it has open goes with the next look */
	assert_true(store_rig_await_free(&rig, before.log_free_bytes));
	assert_int_equal(counts_of(&rig).item_cnt, 0);
	store_rig_fini(&rig);
}

static void reclaim_no_evict_refuses_and_loses_nothing(void **state)
{
	struct store_options options = { .log.bytes = 2 * MIB, .no_evict = true };
	static uint8_t buf[512];
	enum store_status status = STORE_OK;
	struct store_rig rig;
	struct text_key key;
	uint64_t n, refused;

	(void)state;
	store_rig_init(&rig, &options);
	for (n = 0; n < 100000 && status == STORE_OK; n++) {
		key_number(&key, "k", n);
		status = store_rig_set(&rig, key.span, value_for(buf, n, 400), 0);
	}
	assert_int_equal(status, STORE_NO_MEMORY);
	refused = n - 1;
	/* Full means full: the reserve is what is left. */
	assert_true(refused * 400 > options.log.bytes * 3 / 4);
	for (n = 0; n < refused; n++)
		assert_true(has_number(&rig, "k", n, 400));
	assert_int_equal(counts_of(&rig).evicted_cnt, 0);
	/* A tenth of it deleted everywhere: cleaned by copying, then there is room again. */
	for (n = 0; n < refused; n += 5) {
		key_number(&key, "k", n);
		assert_int_equal(store_remove(rig.t, key.span, store_hash(rig.store, key.span), 0),
				 STORE_OK);
	}
	for (uint32_t tries = 0, stored = 0; stored < refused / 8;) {
		status = store_put(
			rig.t,
			&(struct store_put){ .key = span_str("again"),
					     .hash = store_hash(rig.store, span_str("again")) },
			value_for(buf, 1, 400), NULL);
		if (status == STORE_OK)
			stored++;
		else
			store_rig_wait(rig.t, &tries);
	}
	assert_int_equal(counts_of(&rig).evicted_cnt, 0);
	for (n = 0; n < refused; n++)
		assert_int_equal(has_number(&rig, "k", n, 400), n % 5 != 0);
	store_rig_fini(&rig);
}

static void reclaim_large_values_fill_and_evict(void **state)
{
	struct store_options options = { .log.bytes = 4 * MIB };
	struct store_rig rig;
	struct rand r;
	uint64_t present = 0;

	(void)state;
	rand_init(&r, runopts_seed());
	store_rig_init(&rig, &options);
	for (uint64_t n = 0; n < 400; n++) {
		uint64_t len = 8000 + n * 1973 % 600000;

		put_number(&rig, "big", n, len, 0);
		assert_true(has_number(&rig, "big", n, len));
		for (int i = 0; i < 20; i++)
			put_number(&rig, "small", rand_below(&r, 1000), 100, 0);
		store_quiesce(rig.t);
	}
	for (uint64_t n = 0; n < 400; n++)
		present += has_number(&rig, "big", n, 8000 + n * 1973 % 600000);
	assert_true(counts_of(&rig).evicted_cnt > 0);
	assert_true(present > 2);
	/* All gone again: no segment is lost. */
	store_flush(rig.t);
	fake_clock_add(&rig.time, 2 * NSEC_PER_SEC);
	store_quiesce(rig.t);
	assert_true(store_rig_await_free(&rig, options.log.bytes - counts_of(&rig).segment_bytes));
	store_rig_fini(&rig);
}

static void reclaim_value_beyond_half_the_log_is_refused(void **state)
{
	struct store_options options = { .log.bytes = 1 * MIB };
	static uint8_t buf[MIB];
	struct store_rig rig;

	(void)state;
	store_rig_init(&rig, &options);
	assert_int_equal(store_rig_set(&rig, span_str("k"), span_of(buf, MIB * 5 / 8), 0),
			 STORE_TOO_LARGE);
	/* The largest that is taken can be taken when all is full, too. */
	for (uint64_t n = 0; n < 5000; n++)
		put_number(&rig, "k", n, 400, 0);
	for (uint64_t n = 0; n < 10; n++)
		put_number(&rig, "big", n, MIB * 15 / 32, 0);
	store_rig_fini(&rig);
}

/* Every TTL class in use, by six threads that all hold segments open; the smallest log. */
static void reclaim_many_ttls_in_a_tiny_log_go_on(void **state)
{
	struct store_options options = { .log.bytes = 1 * MIB };
	struct store_thread *others[STORE_RIG_THREADS - 1];
	struct store_rig rig;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	store_rig_init(&rig, &options);
	for (uint32_t i = 0; i < STORE_RIG_THREADS - 1; i++) {
		others[i] = store_thread_new(rig.store);
		assert_non_null(others[i]);
		store_offline(others[i]);
	}
	for (uint64_t n = 0; n < 30000; n++) {
		struct store_thread *t = rig.t;
		uint32_t other = (uint32_t)rand_below(&r, STORE_RIG_THREADS * 8);
		uint64_t ttl_sec = 1ULL << rand_below(&r, 25);

		if (other < STORE_RIG_THREADS - 1) {
			/* It writes once and sleeps on, its segments open. */
			store_offline(t);
			rig.t = others[other];
			store_online(rig.t);
		}
		put_number(&rig, "k", n, rand_below(&r, 1500),
			   ttl_sec > 1U << 23 ? 0 : rig.time.boot_ns + ttl_sec * NSEC_PER_SEC);
		if (rig.t != t) {
			store_offline(rig.t);
			store_online(t);
		}
		rig.t = t;
		if (n % 16 == 0)
			store_quiesce(rig.t);
		if (n % 100 == 0)
			fake_clock_add(&rig.time, NSEC_PER_SEC / 2);
	}
	for (uint32_t i = 0; i < STORE_RIG_THREADS - 1; i++)
		store_thread_free(others[i]);
	store_rig_fini(&rig);
}

static void reclaim_full_index_evicts_for_new_keys(void **state)
{
	/* 320 buckets: about 2500 keys in a log that would hold ten times that. */
	struct store_options options = { .log.bytes = 4 * MIB, .index_bytes_max = 1 };
	struct store_rig rig;

	(void)state;
	store_rig_init(&rig, &options);
	for (uint64_t n = 0; n < 20000; n++) {
		put_number(&rig, "k", n, 32, 0);
		assert_true(has_number(&rig, "k", n, 32));
		if (n % 32 == 0)
			store_quiesce(rig.t);
	}
	assert_true(counts_of(&rig).evicted_cnt > 0);
	assert_true(counts_of(&rig).item_cnt > 256);
	assert_true(counts_of(&rig).index_bytes <= 320 * 64);
	store_rig_fini(&rig);
}

/* All of it asked for all the time: the policy would keep everything for ever. */
static void reclaim_all_items_hot_still_gives_way(void **state)
{
	struct store_options options = { .log.bytes = 1 * MIB };
	struct store_rig rig;
	uint64_t last = 0;

	(void)state;
	store_rig_init(&rig, &options);
	for (uint64_t n = 0; n < 8000; n++) {
		put_number(&rig, "k", n, 300, 0);
		/* Everything that is left, up to its highest access count. */
		for (uint64_t old = last; n % 200 == 0 && old < n; old++) {
			for (int i = 0; i < 3; i++)
				has_number(&rig, "k", old, 300);
		}
		if (n % 16 == 0)
			store_quiesce(rig.t);
		last = n > 4000 ? n - 4000 : 0;
	}
	assert_true(counts_of(&rig).evicted_cnt > 4000);
	store_rig_fini(&rig);
}

static void reclaim_stopped_under_a_view_frees_nothing(void **state)
{
	struct store_options options = { .log.bytes = 1 * MIB };
	struct store_thread *reader;
	struct item_view view;
	struct store_rig rig;
	static uint8_t want[512];
	struct span key = span_str("held");

	(void)state;
	store_rig_init(&rig, &options);
	reader = store_thread_new(rig.store);
	put_number(&rig, "k", 0, 300, 0);
	assert_int_equal(store_rig_set(&rig, key, value_for(want, 7, 500), 0), STORE_OK);
	assert_true(store_find(reader, key, store_hash(rig.store, key), &view));
	/* The reclaimer empties segments and waits for the reader, who holds on. */
	store_flush(rig.t);
	fake_clock_add(&rig.time, 2 * NSEC_PER_SEC);
	store_quiesce(rig.t);
	store_wait(rig.t, 50 * NSEC_PER_MSEC);
	store_reclaim_stop(rig.store);
	for (uint64_t n = 0; n < 3000; n++) {
		static uint8_t buf[512];
		struct text_key other;
		struct store_put put;

		key_number(&other, "n", n);
		put = (struct store_put){ .key = other.span,
					  .hash = store_hash(rig.store, other.span) };
		if (store_put(rig.t, &put, value_for(buf, n, 300), NULL) != STORE_OK)
			break;
	}
	assert_memory_equal(view.value, want, 500);
	/* Started again it finishes what it had begun. */
	store_thread_free(reader);
	assert_int_equal(store_reclaim_start(rig.store), 0);
	store_flush(rig.t);
	fake_clock_add(&rig.time, 2 * NSEC_PER_SEC);
	store_quiesce(rig.t);
	assert_true(store_rig_await_free(&rig, options.log.bytes - counts_of(&rig).segment_bytes));
	store_rig_fini(&rig);
}

/* What a thread holds stays through any number of its turns, and goes when it lets go. */
static void reclaim_frees_nothing_that_is_held(void **state)
{
	struct store_options options = { .log.bytes = 1 * MIB };
	struct store_thread *reader;
	struct item_view view;
	struct store_rig rig;
	static uint8_t want[512], buf[512];
	struct span key = span_str("held");
	uint64_t n = 0;

	(void)state;
	store_rig_init(&rig, &options);
	reader = store_thread_new(rig.store);
	assert_int_equal(store_rig_set(&rig, key, value_for(want, 7, 500), 0), STORE_OK);
	assert_true(store_find(reader, key, store_hash(rig.store, key), &view));
	store_hold(reader);
	assert_false(store_hold_is_waited_for(reader));
	store_remove(rig.t, key, store_hash(rig.store, key), 0);
	/* Until there is no room left: all that could be freed waits for what is held. */
	for (;; n++) {
		struct text_key other;
		struct store_put put;

		key_number(&other, "n", n);
		put = (struct store_put){ .key = other.span,
					  .hash = store_hash(rig.store, other.span) };
		store_quiesce(rig.t);
		store_quiesce(reader);
		store_hold(reader); /* no later one replaces the first */
		if (store_put(rig.t, &put, value_for(buf, n, 300), NULL) == STORE_OK)
			continue;
		store_offline(reader);
		if (!store_wait(rig.t, 200 * NSEC_PER_MSEC))
			break;
		store_online(reader);
	}
	assert_true(n > 1000);
	assert_true(store_hold_is_waited_for(reader));
	assert_memory_equal(view.value, want, 500);
	store_let_go(reader);
	assert_false(store_hold_is_waited_for(reader));
	assert_true(store_wait(rig.t, 10 * NSEC_PER_SEC));
	store_thread_free(reader);
	store_rig_fini(&rig);
}

/*
 * Graces are numbered. Whatever leaves the index notes the first one that begins after it, and the
 * number that its segment had: under another number its memory is in use again.
 */
#define BOOK_SEGMENTS 256

struct grace_book {
	struct store_rig rig;
	_Atomic uint32_t begun, done;
	_Atomic uint32_t needed[BOOK_SEGMENTS];
	_Atomic uint64_t seq[BOOK_SEGMENTS];
	/* The last one that left: its bytes stay through the grace that comes. */
	_Atomic(const uint8_t *) witness;
	uint32_t released_meanwhile, overwritten_meanwhile;
};

static void note_leaving(void *ctx, struct store_event *event)
{
	struct grace_book *book = ctx;
	struct segment_pool *pool = &book->rig.store->pool;
	uint32_t idx;

	if (!event->old_item)
		return;
	idx = segment_of(pool, event->old_item->loc);
	atomic_store(&book->seq[idx], segment_seq(&pool->segments[idx]));
	atomic_store(&book->needed[idx], atomic_load(&book->begun) + 1);
	if (event->change == STORE_CHANGE_EVICT)
		atomic_store(&book->witness, event->old_item->value);
}

/* Long enough for writers to use whatever had been freed too early. */
static void slow_grace(void *ctx)
{
	const struct timespec pause = { .tv_nsec = 5 * (long)NSEC_PER_MSEC };
	struct grace_book *book = ctx;
	uint64_t released = segment_released_cnt(&book->rig.store->pool);
	const uint8_t *witness = atomic_load(&book->witness);
	uint8_t before[16] = { 0 };

	atomic_fetch_add(&book->begun, 1);
	if (witness)
		memcpy(before, witness, sizeof(before));
	nanosleep(&pause, NULL);
	book->released_meanwhile += segment_released_cnt(&book->rig.store->pool) != released;
	book->overwritten_meanwhile += witness && memcmp(before, witness, sizeof(before)) != 0;
	atomic_fetch_add(&book->done, 1);
}

static void reclaim_memory_is_used_again_only_after_a_grace_period(void **state)
{
	static struct grace_book book;
	struct store_options options = {
		.log = { .bytes = 2 * MIB, .grace = slow_grace, .ctx = &book }
	};
	struct store_watcher watcher = { .on_change = note_leaving, .ctx = &book };
	uint32_t early = 0;

	(void)state;
	memset(&book, 0, sizeof(book));
	store_rig_open(&book.rig, &options);
	assert_true(book.rig.store->pool.cnt <= BOOK_SEGMENTS);
	assert_int_equal(store_watch(book.rig.store, &watcher), 0);
	store_rig_start(&book.rig);
	for (uint64_t n = 0; n < 20000; n++) {
		struct segment_pool *pool = &book.rig.store->pool;
		struct item_view view;
		struct text_key key;
		uint32_t idx, needed;

		put_number(&book.rig, "k", n, 300, 0);
		key_number(&key, "k", n);
		if (!store_peek(book.rig.t, key.span, store_hash(book.rig.store, key.span), &view))
			continue;
		idx = segment_of(pool, view.loc);
		needed = atomic_load(&book.needed[idx]);
		early += needed && segment_seq(&pool->segments[idx]) != book.seq[idx] &&
			 atomic_load(&book.done) < needed;
	}
	store_reclaim_stop(book.rig.store);
	print_message("%u grace periods\n", book.done);
	assert_true(book.done > 3);
	assert_int_equal(early, 0);
	assert_int_equal(book.released_meanwhile, 0);
	assert_int_equal(book.overwritten_meanwhile, 0);
	store_rig_fini(&book.rig);
}

static uint32_t grace_cnt;

static void note_grace(void *ctx)
{
	struct store_rig *rig = ctx;

	/* Nothing has been freed yet that this wait is for. */
	(void)rig;
	grace_cnt++;
}

static void reclaim_asks_for_grace_once_a_round(void **state)
{
	struct store_options options = { .log = { .bytes = 2 * MIB, .grace = note_grace } };
	struct store_rig rig;
	uint64_t reclaimed;

	(void)state;
	grace_cnt = 0;
	store_rig_init(&rig, &options);
	for (uint64_t n = 0; n < 20000; n++)
		put_number(&rig, "k", n, 300, 0);
	store_reclaim_stop(rig.store);
	reclaimed = counts_of(&rig).reclaimed_segment_cnt;
	assert_true(grace_cnt > 0 && grace_cnt <= reclaimed);
	store_rig_fini(&rig);
}

static void store_new_any_allocation_fails_cleanly(void **state)
{
	struct store_options options = { .log.bytes = 1 * MIB,
					 .index_bytes_max = MIB,
					 .item_max = MIB,
					 .thread_max = 2,
					 .clock = clock_system() };
	uint64_t asked;

	(void)state;
	options.log.base = store_rig_map(options.log.bytes);
	for (int adopted = 0; adopted <= 1; adopted++) {
		int error = 0;

		options.log.adopted = adopted;
		fault_start(0);
		store_free(store_new(&options, &error));
		asked = fault_stop();
		assert_int_equal(error, 0);
		assert_true(asked >= 4);
		for (uint64_t nth = 1; nth <= asked; nth++) {
			fault_start(nth);
			assert_null(store_new(&options, &error));
			fault_stop();
			assert_int_equal(error, -ENOMEM);
		}
		fault_start(asked + 1);
		store_free(store_new(&options, &error));
		fault_stop();
		assert_int_equal(error, 0);
	}
}

static void store_new_bad_options_are_refused(void **state)
{
	struct store_options good = { .log.bytes = 1 * MIB,
				      .index_bytes_max = MIB,
				      .item_max = MIB,
				      .thread_max = 2,
				      .clock = clock_system() };
	struct store_options bad;
	int error = 0;

	(void)state;
	good.log.base = store_rig_map(good.log.bytes);
	bad = good;
	bad.log.bytes = MIB / 2;
	assert_null(store_new(&bad, &error));
	assert_int_equal(error, -EINVAL);
	bad = good;
	bad.eviction = "no-such-policy";
	assert_null(store_new(&bad, &error));
	assert_int_equal(error, -EINVAL);
	bad = good;
	bad.item_max = 0;
	assert_null(store_new(&bad, &error));
	assert_int_equal(error, -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(store_new_any_allocation_fails_cleanly),
		cmocka_unit_test(store_new_bad_options_are_refused),
		cmocka_unit_test(reclaim_churn_stays_inside_the_log),
		cmocka_unit_test(reclaim_overwriting_one_key_evicts_nothing),
		cmocka_unit_test(reclaim_scattered_overwrites_evict_nothing),
		cmocka_unit_test(reclaim_expired_memory_comes_back_unasked),
		cmocka_unit_test(reclaim_flushed_memory_comes_back_unasked),
		cmocka_unit_test(reclaim_no_evict_refuses_and_loses_nothing),
		cmocka_unit_test(reclaim_large_values_fill_and_evict),
		cmocka_unit_test(reclaim_value_beyond_half_the_log_is_refused),
		cmocka_unit_test(reclaim_many_ttls_in_a_tiny_log_go_on),
		cmocka_unit_test(reclaim_full_index_evicts_for_new_keys),
		cmocka_unit_test(reclaim_all_items_hot_still_gives_way),
		cmocka_unit_test(reclaim_stopped_under_a_view_frees_nothing),
		cmocka_unit_test(reclaim_frees_nothing_that_is_held),
		cmocka_unit_test(reclaim_memory_is_used_again_only_after_a_grace_period),
		cmocka_unit_test(reclaim_asks_for_grace_once_a_round),
	};

	return cmocka_run_group_tests_name("store_reclaim", tests, NULL, NULL);
}
