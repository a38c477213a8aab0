/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: every free segment is handed out once until it is released; the reserve is the
 * reclaimer's; numbers only rise; no item starts in the last bytes of a block or ends outside its
 * segment; sealed segments leave in order of age; who waits is woken by exactly what it needs.
 * Method: the smallest and the largest segments, a second thread that releases.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/mman.h>
#include <time.h>

#include "abi/limits.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/rand.h"
#include "lib/runopts.h"
#include "store/item.h"
#include "store/segment.h"

#define CNT 64U
#define RESERVE 4U

static struct segment_pool *pool_new(uint32_t shift)
{
	struct segment_pool *pool = alloc_aligned(64, sizeof(*pool));
	uint64_t bytes = (uint64_t)CNT << shift;
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_non_null(pool);
	assert_true(base != MAP_FAILED);
	assert_int_equal(segment_pool_init(pool, base, bytes, bytes, shift), 0);
	pool->reserve = RESERVE;
	for (uint32_t i = 1; i < pool->cnt; i++)
		segment_release(pool, i);
	return pool;
}

static void pool_free(struct segment_pool *pool)
{
	munmap(pool->base, segment_loc(pool, pool->cnt));
	segment_pool_fini(pool);
	alloc_free(pool);
}

static void segment_take_until_empty_gives_each_once(void **state)
{
	struct segment_pool *pool = pool_new(SEGMENT_SHIFT_MIN);
	bool taken[CNT] = { false };
	uint64_t last_seq = 0;
	uint32_t cnt = 0;

	(void)state;
	for (int privileged = 0; privileged <= 1; privileged++) {
		uint32_t idx;

		while ((idx = segment_take(pool, SEGMENT_OPEN, privileged)) != SEGMENT_NONE) {
			assert_true(idx < CNT && !taken[idx]);
			taken[idx] = true;
			cnt++;
			assert_true(segment_seq(&pool->segments[idx]) > last_seq);
			last_seq = segment_seq(&pool->segments[idx]);
			assert_int_equal(segment_header(pool, idx)->seq, last_seq);
		}
		/* The reserve only for the reclaimer; segment 0 for nobody. */
		assert_int_equal(cnt, privileged ? CNT - 1 : CNT - 1 - RESERVE);
	}
	pool_free(pool);
}

static void segment_release_and_take_never_repeats_a_number(void **state)
{
	struct segment_pool *pool = pool_new(SEGMENT_SHIFT_MIN);
	uint64_t last_seq = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		uint32_t idx = segment_take(pool, SEGMENT_CHAIN, false);

		assert_int_not_equal(idx, SEGMENT_NONE);
		assert_true(segment_seq(&pool->segments[idx]) > last_seq);
		last_seq = segment_seq(&pool->segments[idx]);
		segment_release(pool, idx);
		assert_int_equal(segment_header(pool, idx)->state, SEGMENT_FREE);
	}
	assert_int_equal(segment_free_cnt(pool), CNT - 1);
	assert_int_equal(segment_released_cnt(pool), CNT - 1 + 1000);
	pool_free(pool);
}

static void segment_append_stays_inside_segment_and_block(void **state)
{
	static const uint32_t shifts[] = { SEGMENT_SHIFT_MIN, 17, SEGMENT_SHIFT_MAX };
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed());
	for (uint32_t s = 0; s < 3; s++) {
		struct segment_pool *pool = pool_new(shifts[s]);
		uint32_t idx;

		while ((idx = segment_take(pool, SEGMENT_OPEN, true)) != SEGMENT_NONE) {
			uint64_t end = segment_loc(pool, idx) + segment_bytes(pool);
			uint64_t at = segment_loc(pool, idx) + sizeof(struct segment_header);
			uint32_t cnt = 0;

			for (;;) {
				uint32_t bytes = (uint32_t)(1 + rand_below(&r, 2048)) * ITEM_ALIGN;
				uint64_t loc = segment_append(pool, idx, bytes);
				uint64_t key_max = loc + ITEM_HEADER + ITEM_OPTIONS_MAX;

				if (!loc)
					break;
				assert_int_equal(loc, at);
				assert_true(loc + bytes <= end);
				assert_true(key_max % XC_BLOCK_SIZE <
					    XC_BLOCK_SIZE - XC_BLOCK_TAIL);
				at += bytes;
				cnt++;
			}
			assert_int_equal(atomic_load(&pool->segments[idx].pending_cnt), cnt);
		}
		pool_free(pool);
	}
}

static void segment_append_largest_item_fits_a_fresh_segment(void **state)
{
	struct segment_pool *pool = pool_new(SEGMENT_SHIFT_MIN);
	uint32_t idx = segment_take(pool, SEGMENT_OPEN, false);

	(void)state;
	assert_int_equal(segment_append(pool, idx, segment_item_max(pool) + ITEM_ALIGN), 0);
	assert_int_not_equal(segment_append(pool, idx, segment_item_max(pool)), 0);
	assert_int_equal(segment_append(pool, idx, ITEM_ALIGN), 0);
	pool_free(pool);
}

static void segment_sealed_leave_in_order_of_age(void **state)
{
	struct segment_pool *pool = pool_new(SEGMENT_SHIFT_MIN);
	uint32_t idx[6];

	(void)state;
	for (int i = 0; i < 6; i++) {
		idx[i] = segment_take(pool, SEGMENT_OPEN, false);
		pool->segments[idx[i]].queue = (uint8_t)(i % 2);
	}
	for (int i = 5; i >= 0; i--) {
		segment_seal(pool, idx[i]);
		assert_int_equal(segment_state(&pool->segments[idx[i]]), SEGMENT_SEALED);
		assert_int_equal(segment_header(pool, idx[i])->state, SEGMENT_SEALED);
	}
	assert_int_equal(pool->queues[0].head, idx[4]);
	assert_int_equal(pool->queues[1].head, idx[5]);
	/* From the middle, and back at the old end. */
	segment_detach(pool, idx[2]);
	assert_int_equal(pool->queues[0].cnt, 2);
	assert_int_equal(pool->segments[idx[4]].next, idx[0]);
	segment_attach(pool, idx[2]);
	assert_int_equal(pool->queues[0].head, idx[2]);
	assert_int_equal(pool->segments[idx[2]].next, idx[4]);
	for (int i = 0; i < 6; i++) {
		segment_detach(pool, idx[i]);
		segment_release(pool, idx[i]);
	}
	for (int q = 0; q < SEGMENT_QUEUES; q++) {
		assert_int_equal(pool->queues[q].head, SEGMENT_NONE);
		assert_int_equal(pool->queues[q].tail, SEGMENT_NONE);
		assert_int_equal(pool->queues[q].cnt, 0);
	}
	assert_int_equal(segment_free_cnt(pool), CNT - 1);
	pool_free(pool);
}

static uint64_t in_ms(uint64_t ms)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec + ms * NSEC_PER_MSEC;
}

static void segment_wait_without_room_times_out(void **state)
{
	struct segment_pool *pool = pool_new(SEGMENT_SHIFT_MIN);
	struct segment_need need = { .free_cnt = CNT - 1 - RESERVE };
	uint64_t nudge_cnt = 0;

	(void)state;
	assert_int_equal(segment_wait(pool, &need, in_ms(5), &nudge_cnt), 0);
	need.free_cnt++;
	assert_int_equal(segment_wait(pool, &need, in_ms(5), &nudge_cnt), -ETIMEDOUT);
	need = (struct segment_need){ .released_cnt = segment_released_cnt(pool) + 1 };
	assert_int_equal(segment_wait(pool, &need, in_ms(5), &nudge_cnt), -ETIMEDOUT);
	segment_nudge(pool);
	assert_int_equal(segment_wait(pool, &need, in_ms(5000), &nudge_cnt), -EAGAIN);
	assert_int_equal(nudge_cnt, 1);
	pool_free(pool);
}

static void *release_all(void *arg)
{
	struct segment_pool *pool = arg;
	const struct timespec pause = { .tv_nsec = 2 * (long)NSEC_PER_MSEC };

	for (uint32_t i = 1; i < CNT; i++) {
		if (i % 16 == 0)
			nanosleep(&pause, NULL);
		segment_release(pool, i);
	}
	return NULL;
}

static void segment_wait_is_woken_when_enough_is_free(void **state)
{
	struct segment_pool *pool = pool_new(SEGMENT_SHIFT_MIN);
	struct segment_need need = { .free_cnt = 20 };
	uint64_t nudge_cnt = 0;
	pthread_t thread;

	(void)state;
	while (segment_take(pool, SEGMENT_CHAIN, true) != SEGMENT_NONE)
		;
	assert_int_equal(pthread_create(&thread, NULL, release_all, pool), 0);
	assert_int_equal(segment_wait(pool, &need, in_ms(20000), &nudge_cnt), 0);
	assert_true(segment_free_cnt(pool) >= RESERVE + need.free_cnt);
	pthread_join(thread, NULL);
	pool_free(pool);
}

/* Takes a block and gives it back, so that its segment becomes free each time, over and over. */
static void *take_and_release(void *arg)
{
	struct segment_pool *pool = arg;

	for (uint32_t i = 0; i < 200000; i++) {
		uint32_t piece = segment_take_piece(pool, true, false);

		if (piece == PIECE_NONE)
			return (void *)1;
		segment_release_piece(pool, piece);
	}
	return NULL;
}

/* The reclaimer stops draining a segment at the moment in which its last block comes back. */
static void segment_drain_beside_last_release_keeps_lists_whole(void **state)
{
	struct segment_pool *pool = pool_new(SEGMENT_SHIFT_MIN);
	bool taken[CNT] = { false };
	pthread_t thread;
	void *failed;
	uint32_t idx, cnt = 0;

	(void)state;
	/* One segment is left beside the reserve: all that happens, happens to it. */
	for (uint32_t i = 0; i < CNT - 1 - RESERVE - 1; i++)
		assert_int_not_equal(segment_take(pool, SEGMENT_CHAIN, false), SEGMENT_NONE);
	assert_int_equal(pthread_create(&thread, NULL, take_and_release, pool), 0);
	while (pthread_tryjoin_np(thread, &failed) == EBUSY) {
		for (idx = 1; idx < CNT; idx++)
			segment_drain(pool, idx, false);
	}
	assert_null(failed);
	assert_int_equal(segment_free_cnt(pool), RESERVE + 1);
	assert_int_equal(segment_block_free_cnt(pool), 0);
	while ((idx = segment_take(pool, SEGMENT_OPEN, true)) != SEGMENT_NONE) {
		assert_true(idx < CNT && !taken[idx]);
		taken[idx] = true;
		cnt++;
	}
	assert_int_equal(cnt, RESERVE + 1);
	pool_free(pool);
}

/* What was drained above the limit is to be had again when the limit has risen. */
static void segment_limit_that_rises_gives_drained_blocks_back(void **state)
{
	struct segment_pool *pool = pool_new(SEGMENT_SHIFT_MIN);
	uint32_t piece = segment_take_piece(pool, true, true), idx = piece_segment(piece);
	uint32_t free_cnt = segment_block_free_cnt(pool);

	(void)state;
	assert_int_equal(free_cnt, segment_block_cnt(pool) - 1);
	segment_limit(pool, idx);
	assert_int_equal(segment_block_free_cnt(pool), 0);
	segment_drain(pool, idx, true); /* its block stays: it is being written */
	segment_limit(pool, CNT);
	assert_int_equal(segment_block_free_cnt(pool), free_cnt);
	segment_release_piece(pool, piece);
	assert_int_equal(segment_block_free_cnt(pool), 0);
	assert_int_equal(segment_free_cnt(pool), CNT - 1);
	pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segment_take_until_empty_gives_each_once),
		cmocka_unit_test(segment_release_and_take_never_repeats_a_number),
		cmocka_unit_test(segment_append_stays_inside_segment_and_block),
		cmocka_unit_test(segment_append_largest_item_fits_a_fresh_segment),
		cmocka_unit_test(segment_sealed_leave_in_order_of_age),
		cmocka_unit_test(segment_wait_without_room_times_out),
		cmocka_unit_test(segment_wait_is_woken_when_enough_is_free),
		cmocka_unit_test(segment_drain_beside_last_release_keeps_lists_whole),
		cmocka_unit_test(segment_limit_that_rises_gives_drained_blocks_back),
	};

	return cmocka_run_group_tests_name("store_segment", tests, NULL, NULL);
}
