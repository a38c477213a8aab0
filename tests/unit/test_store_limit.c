/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: a lower limit moves items of every length below it and loses none that fit; when
 * they do not fit it evicts, and the rest stays right; the log's owner is told of a free tail only
 * when nothing and no reader is left in it; a higher limit makes the tail useful again; -M loses
 * nothing.
 * Method: the owner of the log here fills what it was given back with garbage at once. Seeded.
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
#include <time.h>

#include "base/rand.h"
#include "lib/runopts.h"
#include "lib/store_rig.h"

#define MIB (1ULL << 20)
#define LOG_BYTES (16 * MIB)
#define LEN_MAX (200U << 10)
#define ITEMS_MAX 4000U
#define POLL_NS (2 * (long)NSEC_PER_MSEC)
#define POLLS 5000

struct rig {
	struct store_rig store;
	_Atomic uint64_t end; /* of what the store still uses */
	uint32_t len[ITEMS_MAX];
	uint32_t cnt;
	uint64_t bytes;
};

static void on_trim(void *ctx, uint64_t end)
{
	struct rig *rig = ctx;

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limit_with_room_below_loses_nothing),
		cmocka_unit_test(limit_below_contents_evicts_and_goes_on),
		cmocka_unit_test(limit_waits_for_readers_above_it),
		cmocka_unit_test(limit_without_eviction_loses_nothing),
		cmocka_unit_test(limit_is_rounded_and_bounded),
	};

	return cmocka_run_group_tests_name("store_limit", tests, NULL, NULL);
}
