/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: rates come out right whatever the request rate (the share that is sampled adapts) and
 * whatever the order of requests (a pattern that repeats is not sampled in step); a full ring drops
 * and counts; a sample is whole when another thread drains.
 * Method: a clock the test moves; ten drains a second, like the promoter's. Sampling has its own
 * fixed generator, so every run is the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "hotkey/tracker.h"

#define HALF_LIFE_MS 2000
#define DRAIN_MS 100
#define KEYS_MAX 1024
#define RING_SLOTS 4096 /* as in tracker.c; a ring that holds more fails the drop test */

struct fake_clock {
	struct clock clock;
	_Atomic uint64_t now_ns;
};

static uint64_t fake_now(const struct clock *self)
{
	return ((const struct fake_clock *)self)->now_ns;
}

static struct fake_clock fake = { .clock = { .now_ns = fake_now } };

/* Formatting millions of keys would be most of the run. */
static struct span key_text(uint32_t number)
{
	static char texts[2 * KEYS_MAX][8];
	static uint8_t lens[2 * KEYS_MAX];

	assert_true(number < 2 * KEYS_MAX);
	if (!lens[0]) {
		for (uint32_t i = 2 * KEYS_MAX; i > 0; i--)
			lens[i - 1] = (uint8_t)snprintf(texts[i - 1], 8, "k%u", i - 1);
	}
	return span_of(texts[number], lens[number]);
}

static struct tracker *tracker_for(uint32_t rings)
{
	struct tracker_options options = { .key_cnt = KEYS_MAX,
					   .ring_cnt = rings,
					   .half_life_ms = HALF_LIFE_MS,
					   .clock = &fake.clock };
	struct tracker *tracker;

	fake.now_ns = 5000 * NSEC_PER_SEC;
	key_text(0);
	tracker = tracker_new(&options);
	assert_non_null(tracker);
	return tracker;
}

static uint64_t hash_of(uint32_t number)
{
	return (number + 1) * 0x9e3779b97f4a7c15ULL;
}

static void read_key(struct tracker_ring *ring, uint32_t number)
{
	tracker_sample_read(ring, key_text(number), hash_of(number));
}

static void write_key(struct tracker_ring *ring, uint32_t number)
{
	tracker_sample_write(ring, key_text(number), hash_of(number));
}

static uint32_t number_of(const struct hot_key *hot)
{
	char buf[XC_KEY_MAX + 1] = { 0 };
	uint32_t number;

	memcpy(buf, hot->key, hot->key_len);
	assert_int_equal(buf[0], 'k');
	number = (uint32_t)strtoul(buf + 1, NULL, 10);
	assert_int_equal(hot->hash, hash_of(number));
	return number;
}

/* --- rates --- */

/*
 * Plays `per_drain` requests between drains for `sec` seconds; the i-th request ever is
 * pattern(i, ring).
 */
static void play(struct tracker *tracker, uint32_t sec, uint32_t per_drain,
		 void (*pattern)(struct tracker_ring *ring, uint64_t i))
{
	struct tracker_ring *ring = tracker_ring(tracker, 0);
	uint64_t i = 0;

	for (uint32_t drain = 0; drain < sec * 1000 / DRAIN_MS; drain++) {
		for (uint32_t n = 0; n < per_drain; n++)
			pattern(ring, i++);
		fake.now_ns += DRAIN_MS * NSEC_PER_MSEC;
		tracker_drain(tracker);
	}
}

static void one_key(struct tracker_ring *ring, uint64_t i)
{
	(void)i;
	read_key(ring, 1);
}

/* Events are weighed at their drain, so a rate reads high by half a drain interval's decay. */
static double bias(void)
{
	return exp2(-(double)DRAIN_MS / 2 / HALF_LIFE_MS);
}

static void assert_rate(double got, double want, double share)
{
	if (fabs(got * bias() / want - 1) > share)
		fail_msg("rate %.1f, wanted %.1f within %.0f %%", got, want, share * 100);
}

static void tracker_few_requests_are_all_counted(void **state)
{
	struct tracker *tracker = tracker_for(1);
	struct hot_key hot;

	(void)state;
	play(tracker, 30, 3, one_key); /* 30 a second */
	assert_int_equal(tracker_top(tracker, &hot, 1), 1);
	assert_int_equal(number_of(&hot), 1);
	assert_rate(hot.read_rate, 30, 0.01);
	assert_int_equal(tracker_dropped_cnt(tracker), 0);
	tracker_free(tracker);
}

static void tracker_any_load_tells_its_rate(void **state)
{
	static const uint32_t per_drain[] = { 100, 700, 3000, 40000 };

	(void)state;
	for (size_t i = 0; i < sizeof(per_drain) / sizeof(per_drain[0]); i++) {
		struct tracker *tracker = tracker_for(1);
		struct hot_key hot;

		/* the share adapts within a second; then ten half-lives */
		play(tracker, 20, per_drain[i], one_key);
		assert_int_equal(tracker_top(tracker, &hot, 1), 1);
		assert_rate(hot.read_rate, per_drain[i] * 1000.0 / DRAIN_MS, 0.10);
		tracker_free(tracker);
	}
}

static void tracker_load_ceases_share_returns_to_all(void **state)
{
	struct tracker *tracker = tracker_for(1);
	struct hot_key hot;

	(void)state;
	play(tracker, 5, 50000, one_key);
	play(tracker, 60, 2, one_key);
	assert_int_equal(tracker_top(tracker, &hot, 1), 1);
	assert_rate(hot.read_rate, 20, 0.05);
	tracker_free(tracker);
}

/* --- order --- */

static uint32_t round_keys;

static void round_robin(struct tracker_ring *ring, uint64_t i)
{
	read_key(ring, (uint32_t)(i % round_keys));
}

/* All keys of a round have the same rate; a sampler in step with the round would see few. */
static void tracker_periodic_pattern_is_not_in_step(void **state)
{
	static const uint32_t periods[] = { 2, 3, 4, 7, 8, 16, 32, 64 };
	static struct hot_key list[KEYS_MAX];
	const uint32_t per_drain = 8192; /* a multiple of most periods, and of every share */

	(void)state;
	for (size_t p = 0; p < sizeof(periods) / sizeof(periods[0]); p++) {
		struct tracker *tracker = tracker_for(1);
		double want = per_drain * 1000.0 / DRAIN_MS / periods[p], total = 0;
		/* samples of one key over the window of ln 2 half-lives: ~ 250 x 29 / period */
		double spread = 5 / sqrt(250.0 * 29 / periods[p]);
		uint32_t cnt;

		round_keys = periods[p];
		play(tracker, 20, per_drain, round_robin);
		cnt = tracker_top(tracker, list, KEYS_MAX);
		assert_int_equal(cnt, periods[p]);
		for (uint32_t i = 0; i < cnt; i++) {
			assert_true(number_of(&list[i]) < periods[p]);
			assert_rate(list[i].read_rate, want, spread);
			total += list[i].read_rate;
		}
		assert_rate(total, want * periods[p], 0.05);
		tracker_free(tracker);
	}
}

static void read_then_write(struct tracker_ring *ring, uint64_t i)
{
	if (i % 2)
		write_key(ring, 1);
	else
		read_key(ring, 1);
}

static void tracker_reads_and_writes_in_turn_both_count(void **state)
{
	struct tracker *tracker = tracker_for(1);
	struct hot_key hot;

	(void)state;
	play(tracker, 20, 4096, read_then_write);
	assert_int_equal(tracker_top(tracker, &hot, 1), 1);
	assert_rate(hot.read_rate, 20480, 0.15);
	assert_rate(hot.write_rate, 20480, 0.15);
	tracker_free(tracker);
}

/* --- rings --- */

static void tracker_full_ring_drops_and_counts(void **state)
{
	struct tracker *tracker = tracker_for(1);
	struct tracker_ring *ring = tracker_ring(tracker, 0);
	struct hot_key hot;

	(void)state;
	/* no drain yet: every request is sampled */
	for (int i = 0; i < RING_SLOTS; i++)
		read_key(ring, 1);
	assert_int_equal(tracker_dropped_cnt(tracker), 0);
	for (int i = 0; i < 500; i++)
		read_key(ring, 1);
	assert_int_equal(tracker_dropped_cnt(tracker), 500);
	tracker_drain(tracker);
	assert_int_equal(tracker_top(tracker, &hot, 1), 1);
	assert_true(fabs(hot.read_rate / (RING_SLOTS * M_LN2 / (HALF_LIFE_MS / 1000.0)) - 1) <
		    1e-6);
	/* there is room again */
	for (int i = 0; i < 100; i++)
		read_key(ring, 1);
	assert_int_equal(tracker_dropped_cnt(tracker), 500);
	tracker_free(tracker);
}

static void tracker_rings_add_up(void **state)
{
	struct tracker *tracker = tracker_for(3);
	struct hot_key list[4];

	(void)state;
	for (int drain = 0; drain < 200; drain++) {
		for (uint32_t ring = 0; ring < 3; ring++) {
			for (uint32_t n = 0; n < 5 * (ring + 1); n++)
				read_key(tracker_ring(tracker, ring), 1);
			read_key(tracker_ring(tracker, ring), 10 + ring);
		}
		fake.now_ns += DRAIN_MS * NSEC_PER_MSEC;
		tracker_drain(tracker);
	}
	assert_int_equal(tracker_top(tracker, list, 4), 4);
	assert_int_equal(number_of(&list[0]), 1);
	assert_rate(list[0].read_rate, 300, 0.01);
	for (int i = 1; i < 4; i++)
		assert_rate(list[i].read_rate, 10, 0.01);
	tracker_free(tracker);
}

static void tracker_longest_key_comes_back_whole(void **state)
{
	struct tracker *tracker = tracker_for(1);
	char key[XC_KEY_MAX];
	struct hot_key hot;

	(void)state;
	for (int i = 0; i < XC_KEY_MAX; i++)
		key[i] = (char)('!' + i % 90);
	tracker_sample_read(tracker_ring(tracker, 0), span_of(key, sizeof(key)), 42);
	tracker_drain(tracker);
	assert_int_equal(tracker_top(tracker, &hot, 1), 1);
	assert_int_equal(hot.key_len, XC_KEY_MAX);
	assert_memory_equal(hot.key, key, sizeof(key));
	assert_int_equal(hot.hash, 42);
	tracker_free(tracker);
}

struct feeder {
	struct tracker *tracker;
	uint32_t ring_idx;
	uint64_t requests;
};

static void *feed(void *arg)
{
	const struct feeder *feeder = arg;
	struct tracker_ring *ring = tracker_ring(feeder->tracker, feeder->ring_idx);

	for (uint64_t i = 0; i < feeder->requests; i++)
		read_key(ring, (uint32_t)(i % 50) + 1000 * feeder->ring_idx);
	return NULL;
}

/* The hash of every key listed is the key's own: no sample was read half written. */
static void tracker_two_feeders_and_a_drain_see_whole_samples(void **state)
{
	struct tracker *tracker = tracker_for(2);
	struct feeder feeders[2] = { { tracker, 0, 400000 }, { tracker, 1, 400000 } };
	static struct hot_key list[KEYS_MAX];
	pthread_t threads[2];
	uint32_t cnt;

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, feed, &feeders[i]), 0);
	for (int drain = 0; drain < 2000; drain++) {
		fake.now_ns += NSEC_PER_MSEC;
		tracker_drain(tracker);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	tracker_drain(tracker);
	cnt = tracker_top(tracker, list, KEYS_MAX);
	assert_true(cnt > 0 && cnt <= 100);
	for (uint32_t i = 0; i < cnt; i++)
		assert_true(number_of(&list[i]) % 1000 < 50);
	tracker_free(tracker);
}

static uint32_t refuse_nth;

static bool refuse(size_t bytes)
{
	(void)bytes;
	return refuse_nth-- == 1;
}

static void tracker_no_memory_returns_null(void **state)
{
	struct tracker_options options = {
		.key_cnt = 16, .ring_cnt = 1, .half_life_ms = 1000, .clock = &fake.clock
	};
	struct tracker *tracker = NULL;
	uint32_t nth = 1;

	(void)state;
	for (; !tracker && nth < 20; nth++) {
		refuse_nth = nth;
		alloc_refuse = refuse;
		tracker = tracker_new(&options);
		alloc_refuse = NULL;
	}
	assert_non_null(tracker);
	assert_true(nth > 2);
	tracker_free(tracker);
	tracker_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tracker_few_requests_are_all_counted),
		cmocka_unit_test(tracker_any_load_tells_its_rate),
		cmocka_unit_test(tracker_load_ceases_share_returns_to_all),
		cmocka_unit_test(tracker_periodic_pattern_is_not_in_step),
		cmocka_unit_test(tracker_reads_and_writes_in_turn_both_count),
		cmocka_unit_test(tracker_full_ring_drops_and_counts),
		cmocka_unit_test(tracker_rings_add_up),
		cmocka_unit_test(tracker_longest_key_comes_back_whole),
		cmocka_unit_test(tracker_two_feeders_and_a_drain_see_whole_samples),
		cmocka_unit_test(tracker_no_memory_returns_null),
	};

	return cmocka_run_group_tests_name("hotkey/tracker", tests, NULL, NULL);
}
