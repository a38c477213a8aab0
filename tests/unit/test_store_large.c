/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: a value of any length from a small part of a segment to many segments wastes little
 * of the log; what large values leave behind is of use to small ones without evicting anything,
 * while the values around it stay whole; free blocks add up to the segments that a larger one
 * needs; what came first leaves first; a block is one value's at a time, and a segment whose last
 * block is free is free.
 * Method: a log of segments of 32 blocks, filled with one length after the other, more than fits;
 * every other value removed; the pool alone. Seeded where random.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/rand.h"
#include "lib/runopts.h"
#include "lib/store_rig.h"
#include "store/impl.h"

#define SHIFT 16
#define SEGMENT (1U << SHIFT)
#define SEGMENTS 512U
#define VALUE_MAX (8 * SEGMENT)

static const struct store_options options = { .log.bytes = (uint64_t)SEGMENTS << SHIFT,
					      .segment_shift = SHIFT,
					      .item_max = VALUE_MAX };

static struct span key_number(char text[24], const char *prefix, uint32_t n)
{
	return span_of(text, (size_t)snprintf(text, 24, "%s%u", prefix, n));
}

/* A value that names its key in every word. */
static struct span value_for(uint32_t *buf, uint32_t n, uint32_t len)
{
	for (uint32_t i = 0; i < (len + 3) / 4; i++)
		buf[i] = n * 2654435761U + i;
	return span_of(buf, len);
}

static void put(struct store_rig *rig, const char *prefix, uint32_t n, uint32_t *buf, uint32_t len)
{
	char text[24];

	assert_int_equal(store_rig_set(rig, key_number(text, prefix, n), value_for(buf, n, len), 0),
			 STORE_OK);
}

static bool has(struct store_rig *rig, const char *prefix, uint32_t n, uint32_t *buf, uint32_t len)
{
	uint32_t *found = malloc(len);
	struct item_view view;
	char text[24];
	bool there = store_rig_get(rig, key_number(text, prefix, n), (uint8_t *)found, &view);

	if (there) {
		assert_int_equal(view.value_len, len);
		assert_memory_equal(found, value_for(buf, n, len).ptr, len);
	}
	free(found);
	return there;
}

static void large_any_length_wastes_little(void **state)
{
	/* Of a segment, in percent: round halves, thirds and wholes. */
	static const uint32_t shares[] = { 4,  10, 19, 26,  34,	 40,  49,  51,	67,
					   76, 90, 99, 101, 125, 151, 199, 260, 510 };
	uint32_t *buf = malloc(VALUE_MAX);

	(void)state;
	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
		uint32_t len = SEGMENT / 100 * shares[i];
		struct store_counts counts;
		struct store_rig rig;
		uint64_t wanted;

		store_rig_init(&rig, &options);
		for (uint32_t n = 0; n < 2 * options.log.bytes / len; n++)
			put(&rig, "v", n, buf, len);
		store_counts(rig.store, &counts);
		assert_true(counts.evicted_cnt > 0);
		/* What was evicted last comes back when nobody can be reading it any more. */
		wanted = options.log.bytes / 100 * 93;
		wanted -= counts.key_value_bytes < wanted ? counts.key_value_bytes : wanted;
		if (!store_rig_await_free(&rig, wanted)) {
			store_counts(rig.store, &counts);
			fail_msg("values of %u bytes: of %llu %llu in use, %llu free, not %llu",
				 len, (unsigned long long)options.log.bytes,
				 (unsigned long long)counts.key_value_bytes,
				 (unsigned long long)counts.log_free_bytes,
				 (unsigned long long)wanted);
		}
		store_rig_fini(&rig);
	}
	free(buf);
}

static void large_leaves_memory_that_small_values_use(void **state)
{
	/* A little over half a segment: 17 blocks of 32. */
	const uint32_t len = SEGMENT / 100 * 54, cnt = SEGMENTS * 3 / 2, small = 500;
	uint32_t *buf = malloc(VALUE_MAX);
	struct store_counts counts;
	struct store_rig rig;
	uint64_t removed;
	char text[24];

	(void)state;
	store_rig_init(&rig, &options);
	for (uint32_t n = 0; n < cnt; n++)
		put(&rig, "v", n, buf, len);
	for (uint32_t n = 0; n < cnt; n += 2) {
		struct span key = key_number(text, "v", n);

		assert_int_equal(store_remove(rig.t, key, store_hash(rig.store, key), 0), STORE_OK);
	}
	store_counts(rig.store, &counts);
	assert_int_equal(counts.evicted_cnt, 0);
	assert_int_equal(counts.item_cnt, cnt / 2);
	/* As much again as was removed, and half of what was free before. */
	removed = (uint64_t)len * (cnt / 2);
	for (uint32_t n = 0; n < removed / 10 * 11 / (small + 32); n++)
		put(&rig, "s", n, buf, small);
	store_counts(rig.store, &counts);
	assert_int_equal(counts.evicted_cnt, 0);
	for (uint32_t n = 1; n < cnt; n += 2)
		assert_true(has(&rig, "v", n, buf, len));
	store_rig_fini(&rig);
	free(buf);
}

static void large_gets_segments_that_free_blocks_add_up_to(void **state)
{
	/* Four blocks and a rest; a fifth of the log. */
	const uint32_t len = SEGMENT / 100 * 15, cnt = SEGMENTS * 6,
		       long_len = SEGMENTS / 5 * SEGMENT;
	struct store_options long_options = options;
	uint32_t *buf = malloc(long_len);
	struct store_counts counts;
	struct store_rig rig;
	char text[24];

	(void)state;
	long_options.item_max = long_len;
	store_rig_init(&rig, &long_options);
	for (uint32_t n = 0; n < cnt; n++)
		put(&rig, "v", n, buf, len);
	/* Of every segment's blocks a quarter is free then, of none's half. */
	for (uint32_t n = 0; n < cnt; n += 4) {
		struct span key = key_number(text, "v", n);

		assert_int_equal(store_remove(rig.t, key, store_hash(rig.store, key), 0), STORE_OK);
	}
	put(&rig, "l", 0, buf, long_len);
	assert_true(has(&rig, "l", 0, buf, long_len));
	store_counts(rig.store, &counts);
	assert_int_equal(counts.evicted_cnt, 0);
	for (uint32_t n = 1; n < cnt; n += n % 4 == 3 ? 2 : 1)
		assert_true(has(&rig, "v", n, buf, len));
	store_rig_fini(&rig);
	free(buf);
}

/* Eviction stops within a segment of heads; what it left there goes next, and stays old. */
static void large_leave_in_the_order_they_came(void **state)
{
	const uint32_t len = SEGMENT / 100 * 15, cnt = SEGMENTS * 24;
	struct store_options fifo_options = options;
	uint32_t *buf = malloc(VALUE_MAX), there = 0, stray = 0;
	struct store_rig rig;

	(void)state;
	fifo_options.eviction = "fifo";
	store_rig_init(&rig, &fifo_options);
	for (uint32_t n = 0; n < cnt; n++)
		put(&rig, "v", n, buf, len);
	for (uint32_t n = cnt; n-- > 0;) {
		if (!has(&rig, "v", n, buf, len))
			continue;
		there++;
		stray += cnt - n > there + 500;
	}
	assert_in_range(there, SEGMENTS * 5, cnt / 2);
	/* But for heads that were written anew because their first block moved. */
	assert_in_range(stray, 0, there / 50);
	store_rig_fini(&rig);
	free(buf);
}

static void large_blocks_are_taken_once_and_come_back(void **state)
{
	const uint64_t bytes = (uint64_t)64 << SHIFT;
	uint8_t *base = store_rig_map(bytes);
	uint32_t pieces[64 * 32], cnt = 0, block_cnt, max;
	struct segment_pool pool;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	assert_int_equal(segment_pool_init(&pool, base, bytes, bytes, SHIFT), 0);
	for (uint32_t i = 1; i < pool.cnt; i++)
		segment_release(&pool, i);
	block_cnt = segment_block_cnt(&pool);
	max = (pool.cnt - 1) * block_cnt;
	for (int i = 0; i < 20000; i++) {
		uint32_t bias = i / 5000 % 2 ? 20 : 80;

		if (cnt == 0 || (cnt < max && rand_below(&r, 100) < bias)) {
			uint32_t piece = segment_take_piece(&pool, true, true);

			assert_int_not_equal(piece, PIECE_NONE);
			for (uint32_t n = 0; n < cnt; n++)
				assert_int_not_equal(pieces[n], piece);
			assert_true((uint64_t)(piece_data(&pool, piece) - base) +
					    piece_payload(&pool, true) <=
				    segment_loc(&pool, piece_segment(piece) + 1));
			pieces[cnt++] = piece;
		} else {
			uint32_t at = (uint32_t)rand_below(&r, cnt);

			segment_release_piece(&pool, pieces[at]);
			pieces[at] = pieces[--cnt];
		}
		/* No block is lost: used, free in a segment in use, or in a free segment. */
		assert_int_equal(cnt + segment_block_free_cnt(&pool) +
					 segment_free_cnt(&pool) * block_cnt,
				 max);
	}
	while (cnt > 0)
		segment_release_piece(&pool, pieces[--cnt]);
	assert_int_equal(segment_free_cnt(&pool), pool.cnt - 1);
	segment_pool_fini(&pool);
	munmap(base, bytes);
}

/* A number keeps its width, over all pieces: what follows it is blanks, to the last byte. */
static void large_number_keeps_its_width(void **state)
{
	const uint32_t len = 4 << 20;
	struct store_options wide = options;
	uint64_t number = 0;
	uint8_t *buf = malloc(len);
	struct span key = span_str("n");
	struct item_view view;
	struct store_rig rig;

	(void)state;
	wide.item_max = len;
	store_rig_init(&rig, &wide);
	memset(buf, ' ', len);
	memcpy(buf, "999", 3);
	assert_int_equal(store_rig_set(&rig, key, span_of(buf, len), 0), STORE_OK);
	assert_int_equal(
		store_arith(rig.t, key, store_hash(rig.store, key), 1, false, 0, &number, NULL),
		STORE_OK);
	assert_int_equal(number, 1000);
	memset(buf, 0, len);
	assert_true(store_rig_get(&rig, key, buf, &view));
	assert_int_equal(view.value_len, len);
	assert_memory_equal(buf, "1000", 4);
	for (uint32_t i = 4; i < len; i++)
		assert_true(buf[i] == ' ');
	store_rig_fini(&rig);
	free(buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(large_any_length_wastes_little),
		cmocka_unit_test(large_leaves_memory_that_small_values_use),
		cmocka_unit_test(large_gets_segments_that_free_blocks_add_up_to),
		cmocka_unit_test(large_leave_in_the_order_they_came),
		cmocka_unit_test(large_blocks_are_taken_once_and_come_back),
		cmocka_unit_test(large_number_keeps_its_width),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
