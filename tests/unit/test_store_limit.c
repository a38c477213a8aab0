/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: a lower limit moves items of every length below it and loses none that fit; when
 * they do not fit it evicts, and the rest stays right; the log's owner is told of a free tail only
 * when nothing and no reader is left in it; a higher limit makes the tail useful again; -M loses
 * nothing. Memory that comes and goes: nothing is touched where there is none, by the next process
 * either, and what was in it does not count.
 * Method: the owner of the log here fills what it was given back with garbage at once, or takes the
 * right to touch it, and gives it again with segments in it. Seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/rand.h"
#include "lib/runopts.h"
#include "lib/store_rig.h"
#include "store/impl.h"

#define MIB (1ULL << 20)
#define LOG_BYTES (16 * MIB)
#define LEN_MAX (200U << 10)
#define ITEMS_MAX 4000U
#define POLL_NS (2 * (long)NSEC_PER_MSEC)
#define POLLS 5000

struct rig {
	struct store_rig store;
	_Atomic uint64_t end; /* of what the store still uses */
	_Atomic bool broke;   /* has no memory for it */
	_Atomic bool lied;    /* gave memory back that the log still claims, or said it was less */
	uint32_t len[ITEMS_MAX];
	uint32_t cnt;
	uint64_t bytes;
};

/* A process that ends now leaves a log that says what memory it has. */
static void check_end(struct rig *rig, uint64_t end)
{
	const struct segment_pool *pool = &rig->store.store->pool;
	const struct segment_super *super = segment_super(pool);
	uint64_t said = (uint64_t)(uint32_t)atomic_load(&super->end) << pool->shift;

	if (said != end)
		atomic_store(&rig->lied, true);
}

static void on_trim(void *ctx, uint64_t end)
{
	struct rig *rig = ctx;

	check_end(rig, end);
	memset(rig->store.options.log.base + end, 0xdb, LOG_BYTES - end);
	atomic_store(&rig->end, end);
}

static void rig_init(struct rig *rig, struct store_options options)
{
	memset(rig, 0, sizeof(*rig));
	options.log.bytes = LOG_BYTES;
	options.log.trim = on_trim;
	options.log.ctx = rig;
	atomic_store(&rig->end, LOG_BYTES);
	store_rig_init(&rig->store, &options);
}

static struct span key_of(char buf[16], uint32_t n)
{
	return span_of(buf, (size_t)snprintf(buf, 16, "key-%u", n));
}

static struct span value_of(uint8_t *buf, uint32_t n, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(n * 31 + i * 7 + (i >> 8));
	return span_of(buf, len);
}

/* Mostly small, some of half a segment, some chains of several. */
static uint32_t random_len(struct rand *r)
{
	switch (rand_below(r, 8)) {
	case 0:
		return (uint32_t)rand_below(r, LEN_MAX);
	case 1:
		return (uint32_t)rand_below(r, 20000);
	default:
		return (uint32_t)rand_below(r, 600);
	}
}

static void fill(struct rig *rig, uint64_t bytes, struct rand *r)
{
	static uint8_t buf[LEN_MAX];
	char key[16];

	while (rig->bytes < bytes && rig->cnt < ITEMS_MAX) {
		uint32_t n = rig->cnt++;

		rig->len[n] = random_len(r);
		rig->bytes += rig->len[n];
		assert_int_equal(store_rig_set(&rig->store, key_of(key, n),
					       value_of(buf, n, rig->len[n]), 0),
				 STORE_OK);
	}
}

/* How many are there; each of them is right. */
static uint32_t check(struct rig *rig)
{
	static uint8_t want[LEN_MAX], got[LEN_MAX];
	uint32_t there = 0;
	char key[16];

	for (uint32_t n = 0; n < rig->cnt; n++) {
		struct item_view view;

		if (!store_rig_get(&rig->store, key_of(key, n), got, &view))
			continue;
		there++;
		assert_int_equal(view.value_len, rig->len[n]);
		value_of(want, n, rig->len[n]);
		assert_memory_equal(got, want, rig->len[n]);
	}
	store_quiesce(rig->store.t);
	return there;
}

static struct store_counts counts_of(struct rig *rig)
{
	struct store_counts counts;

	store_counts(rig->store.store, &counts);
	return counts;
}

/* As a worker between requests: it seals what it is asked to. */
static void idle(struct rig *rig)
{
	const struct timespec poll = { .tv_nsec = POLL_NS };

	store_offline(rig->store.t);
	fake_clock_add(&rig->store.time, NSEC_PER_SEC);
	nanosleep(&poll, NULL);
	store_online(rig->store.t);
	store_quiesce(rig->store.t);
}

/* False if the tail is not free after ten seconds. */
static bool await_end(struct rig *rig, uint64_t end)
{
	for (uint32_t i = 0; i < POLLS && atomic_load(&rig->end) > end; i++)
		idle(rig);
	assert_false(atomic_load(&rig->lied));
	return atomic_load(&rig->end) <= end;
}

static void await_limit(struct rig *rig, uint64_t bytes)
{
	for (uint32_t i = 0; i < POLLS && counts_of(rig).log_bytes != bytes; i++)
		idle(rig);
	assert_int_equal(counts_of(rig).log_bytes, bytes);
}

static void limit_with_room_below_loses_nothing(void **state)
{
	struct rig *rig = malloc(sizeof(*rig));
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	rig_init(rig, (struct store_options){ 0 });
	/*
	 * Other values first, so that what is left lies all over the log. A value just over half a
	 * segment takes a whole one: 3 MiB need up to 6.
	 */
	fill(rig, 4 * MIB, &r);
	rig->cnt = 0;
	rig->bytes = 0;
	fill(rig, 3 * MIB, &r);
	for (uint64_t limit = 14 * MIB; limit >= 8 * MIB; limit -= 2 * MIB) {
		store_set_limit(rig->store.store, limit);
		assert_true(await_end(rig, limit));
		await_limit(rig, limit);
		assert_int_equal(check(rig), rig->cnt);
	}
	assert_int_equal(counts_of(rig).evicted_cnt, 0);
	store_rig_fini(&rig->store);
	free(rig);
}

static void limit_below_contents_evicts_and_goes_on(void **state)
{
	struct rig *rig = malloc(sizeof(*rig));
	struct store_counts counts;
	struct rand r;
	uint32_t there;

	(void)state;
	rand_init(&r, runopts_seed());
	rig_init(rig, (struct store_options){ 0 });
	fill(rig, 12 * MIB, &r);
	store_set_limit(rig->store.store, 4 * MIB);
	assert_true(await_end(rig, 4 * MIB));
	there = check(rig);
	counts = counts_of(rig);
	assert_true(there > 0 && there < rig->cnt);
	assert_int_equal(there, rig->cnt - counts.evicted_cnt);
	assert_true(counts.item_bytes <= 4 * MIB);
	/* Most of what is left is used. */
	assert_true(counts.item_bytes >= 2 * MIB);
	/* Up again: the tail holds items once more. */
	store_set_limit(rig->store.store, LOG_BYTES);
	await_limit(rig, LOG_BYTES);
	rig->bytes = 0;
	fill(rig, 8 * MIB, &r);
	assert_int_equal(counts_of(rig).evicted_cnt, counts.evicted_cnt);
	check(rig);
	assert_true(counts_of(rig).item_bytes > 8 * MIB);
	store_rig_fini(&rig->store);
	free(rig);
}

static void limit_waits_for_readers_above_it(void **state)
{
	static uint8_t want[LEN_MAX];
	struct rig *rig = malloc(sizeof(*rig));
	const struct timespec pause = { .tv_nsec = 300 * (long)NSEC_PER_MSEC };
	struct store_thread *reader;
	struct item_view views[ITEMS_MAX];
	struct rand r;
	char key[16];

	(void)state;
	rand_init(&r, runopts_seed());
	rig_init(rig, (struct store_options){ 0 });
	fill(rig, 4 * MIB, &r);
	reader = store_thread_new(rig->store.store);
	for (uint32_t n = 0; n < rig->cnt; n++) {
		struct span span = key_of(key, n);

		assert_true(
			store_find(reader, span, store_hash(rig->store.store, span), &views[n]));
	}
	store_set_limit(rig->store.store, 9 * MIB);
	store_quiesce(rig->store.t);
	nanosleep(&pause, NULL);
	for (uint32_t n = 0; n < rig->cnt; n++) {
		value_of(want, n, rig->len[n]);
		for (uint64_t pos = 0; pos < rig->len[n];) {
			struct span part = store_value_part(rig->store.store, &views[n], pos);

			assert_memory_equal(part.ptr, want + pos, part.len);
			pos += part.len;
		}
	}
	store_thread_free(reader);
	assert_true(await_end(rig, 9 * MIB));
	assert_int_equal(check(rig), rig->cnt);
	store_rig_fini(&rig->store);
	free(rig);
}

/* It cannot be kept then: the items come first. */
static void limit_without_eviction_loses_nothing(void **state)
{
	struct rig *rig = malloc(sizeof(*rig));
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	rig_init(rig, (struct store_options){ .no_evict = true });
	fill(rig, 8 * MIB, &r);
	store_set_limit(rig->store.store, 4 * MIB);
	for (int i = 0; i < 100; i++)
		idle(rig);
	assert_true(atomic_load(&rig->end) > 4 * MIB);
	assert_int_equal(check(rig), rig->cnt);
	store_rig_fini(&rig->store);
	free(rig);
}

static void limit_is_rounded_and_bounded(void **state)
{
	struct rig *rig = malloc(sizeof(*rig));
	struct store_counts counts;

	(void)state;
	rig_init(rig, (struct store_options){ 0 });
	store_set_limit(rig->store.store, 0);
	counts = counts_of(rig);
	await_limit(rig, 64ULL * counts.segment_bytes);
	store_set_limit(rig->store.store, 2 * LOG_BYTES);
	await_limit(rig, LOG_BYTES);
	store_set_limit(rig->store.store, 3 * MIB + 1);
	await_limit(rig, 3 * MIB);
	store_rig_fini(&rig->store);
	free(rig);
}

/* --- memory that comes and goes --- */

/* Nothing but what was asked for can be touched; a process that does ends. */
static void protect(struct rig *rig, uint64_t from, uint64_t end, int rights)
{
	assert_int_equal(mprotect(rig->store.options.log.base + from, end - from, rights), 0);
}

static uint64_t on_grow(void *ctx, uint64_t from, uint64_t end)
{
	struct rig *rig = ctx;
	uint8_t *base = rig->store.options.log.base;
	uint64_t now = from + MIB < end ? from + MIB : end;

	assert_int_equal(from, atomic_load(&rig->end));
	if (atomic_load(&rig->broke))
		return from;
	protect(rig, from, now, PROT_READ | PROT_WRITE);
	/* What a log before this one may have left: whole segments. */
	memcpy(base + from, base + MIB, now - from);
	atomic_store(&rig->end, now);
	return now;
}

static void on_trim_away(void *ctx, uint64_t end)
{
	struct rig *rig = ctx;

	assert_true(end <= atomic_load(&rig->end));
	if (rig->store.store)
		check_end(rig, end);
	protect(rig, end, LOG_BYTES, PROT_NONE);
	atomic_store(&rig->end, end);
}

static void growing_init(struct rig *rig)
{
	struct store_options options = { .log = { .bytes = LOG_BYTES,
						  .ready_bytes = 4 * MIB,
						  .trim = on_trim_away,
						  .grow = on_grow,
						  .ctx = rig } };

	memset(rig, 0, sizeof(*rig));
	options.log.base = store_rig_map(LOG_BYTES);
	rig->store.options = options;
	on_trim_away(&(struct rig){ .store.options.log.base = options.log.base, .end = LOG_BYTES },
		     4 * MIB);
	atomic_store(&rig->end, 4 * MIB);
	store_rig_open(&rig->store, &options);
	store_rig_start(&rig->store);
}

/* Another process takes the log over, at the length it has. */
static void reopen(struct rig *rig, uint64_t ready_bytes)
{
	struct store_options options = rig->store.options;

	store_rig_stop(&rig->store);
	protect(rig, ready_bytes, LOG_BYTES, PROT_NONE);
	options.log.adopted = true;
	options.log.ready_bytes = ready_bytes;
	store_rig_open(&rig->store, &options);
	store_rig_start(&rig->store);
}

static void limit_grows_as_far_as_memory_comes(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	growing_init(rig);
	assert_int_equal(counts_of(rig).log_bytes, 4 * MIB);
	fill(rig, 3 * MIB / 2, &r);
	store_set_limit(rig->store.store, 12 * MIB);
	await_limit(rig, 12 * MIB);
	fill(rig, 8 * MIB, &r);
	assert_int_equal(counts_of(rig).evicted_cnt, 0);
	assert_int_equal(check(rig), rig->cnt);
	/* None to be had: it stays as it is, and gets the rest when it is asked for again. */
	atomic_store(&rig->broke, true);
	store_set_limit(rig->store.store, LOG_BYTES);
	for (int i = 0; i < 100; i++)
		idle(rig);
	assert_int_equal(counts_of(rig).log_bytes, 12 * MIB);
	atomic_store(&rig->broke, false);
	store_set_limit(rig->store.store, LOG_BYTES);
	await_limit(rig, LOG_BYTES);
	assert_int_equal(check(rig), rig->cnt);
	store_rig_fini(&rig->store);
	free(rig);
}

static void limit_down_and_up_keeps_every_item_over_restarts(void **state)
{
	static const uint64_t limits[] = { 8 * MIB, 14 * MIB, 7 * MIB, LOG_BYTES, 9 * MIB };
	struct rig *rig = calloc(1, sizeof(*rig));
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	growing_init(rig);
	fill(rig, 3 * MIB / 2, &r);
	for (uint32_t turn = 0; turn < 2 * sizeof(limits) / sizeof(limits[0]); turn++) {
		uint64_t limit = limits[turn / 2], bytes;

		store_set_limit(rig->store.store, limit);
		await_limit(rig, limit);
		assert_true(await_end(rig, limit));
		fill(rig, 3 * MIB, &r);
		/* Memory may be there that it does not use; then it says so. */
		bytes = atomic_load(&rig->end);
		if (turn % 2)
			reopen(rig, bytes);
		assert_int_equal(counts_of(rig).log_bytes, limit);
		assert_int_equal(check(rig), rig->cnt);
	}
	assert_int_equal(counts_of(rig).evicted_cnt, 0);
	store_rig_fini(&rig->store);
	free(rig);
}

/* Ended between noting the new end and giving the memory back. */
static void adopted_log_gives_back_what_lies_behind_its_end(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	growing_init(rig);
	fill(rig, MIB, &r);
	protect(rig, 4 * MIB, 6 * MIB, PROT_READ | PROT_WRITE);
	atomic_store(&rig->end, 6 * MIB);
	reopen(rig, 6 * MIB);
	assert_int_equal(atomic_load(&rig->end), 4 * MIB);
	assert_int_equal(counts_of(rig).log_bytes, 4 * MIB);
	assert_int_equal(check(rig), rig->cnt);
	store_rig_fini(&rig->store);
	free(rig);
}

static void grown_memory_with_segments_in_it_holds_nothing(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct rand r;
	char key[16];

	(void)state;
	rand_init(&r, runopts_seed());
	growing_init(rig);
	fill(rig, 2 * MIB, &r);
	store_set_limit(rig->store.store, LOG_BYTES);
	await_limit(rig, LOG_BYTES);
	for (uint32_t n = 0; n < rig->cnt; n++) {
		struct span span = key_of(key, n);

		assert_int_equal(
			store_remove(rig->store.t, span, store_hash(rig->store.store, span), 0),
			STORE_OK);
	}
	reopen(rig, LOG_BYTES);
	assert_int_equal(counts_of(rig).item_cnt, 0);
	store_rig_fini(&rig->store);
	free(rig);
}

/* Somebody took extents away. */
static void adopted_log_with_less_memory_than_it_had_keeps_the_rest(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct rand r;
	uint32_t there;

	(void)state;
	rand_init(&r, runopts_seed());
	growing_init(rig);
	fill(rig, 3 * MIB, &r);
	reopen(rig, 2 * MIB);
	assert_int_equal(counts_of(rig).log_bytes, 2 * MIB);
	there = check(rig);
	assert_true(there > 0 && there < rig->cnt);
	store_rig_fini(&rig->store);
	free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limit_with_room_below_loses_nothing),
		cmocka_unit_test(limit_below_contents_evicts_and_goes_on),
		cmocka_unit_test(limit_waits_for_readers_above_it),
		cmocka_unit_test(limit_without_eviction_loses_nothing),
		cmocka_unit_test(limit_is_rounded_and_bounded),
		cmocka_unit_test(limit_grows_as_far_as_memory_comes),
		cmocka_unit_test(limit_down_and_up_keeps_every_item_over_restarts),
		cmocka_unit_test(grown_memory_with_segments_in_it_holds_nothing),
		cmocka_unit_test(adopted_log_with_less_memory_than_it_had_keeps_the_rest),
		cmocka_unit_test(adopted_log_gives_back_what_lies_behind_its_end),
	};

	return cmocka_run_group_tests_name("store_limit", tests, NULL, NULL);
}
