/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: who is in the kernel under whole workloads. A scan enters nowhere and displaces
 * nobody; uniform load, and a hot set larger than the budget, come to rest; a new hot set is in
 * within seconds and the old one out; a key of more writes than reads stays out; a rate's bound
 * holds for steady keys and falls at once when their reads end.
 * Method: the real tracker, rates and policy on simulated time (lib/hotsim.h). Seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "abi/conf.h"
#include "base/rand.h"
#include "lib/hotsim.h"
#include "lib/runopts.h"
#include "promote/rate.h"

#define ROUNDS_PER_SEC (1000 / HOTSIM_ROUND_MS)
#define CHURN_MAX 0.01 /* of the budget, a second */
#define FULL 0.95      /* of the budget: places between one key and the next are free for a round */

static struct hotsim *sim_for(uint32_t key_max, uint32_t entry_max)
{
	struct hotsim_options options = hotsim_defaults(key_max, entry_max, runopts_seed());
	struct hotsim *sim = hotsim_new(&options);

	assert_non_null(sim);
	return sim;
}

/* Keys from first on, `cnt` of them, each as likely. */
static void play_uniform(struct hotsim *sim, struct rand *r, uint32_t first, uint32_t cnt,
			 uint32_t per_sec, uint32_t rounds)
{
	for (uint32_t round = 0; round < rounds; round++) {
		for (uint32_t n = 0; n < per_sec / ROUNDS_PER_SEC; n++)
			hotsim_read(sim, first + (uint32_t)rand_below(r, cnt));
		hotsim_round(sim);
	}
}

static uint32_t resident_of(const struct hotsim *sim, uint32_t first, uint32_t cnt)
{
	uint32_t found = 0;

	for (uint32_t key = first; key < first + cnt; key++)
		found += hotsim_is_resident(sim, key);
	return found;
}

/* Promotions since, as a share of the budget, a second. */
static double churn(const struct hotsim *sim, struct hotsim_counts since, uint32_t entry_max,
		    uint32_t sec)
{
	struct hotsim_counts now = hotsim_counts(sim);

	return (double)(now.promote_cnt - since.promote_cnt) / entry_max / sec;
}

static void hotset_uniform_load_comes_to_rest(void **state)
{
	struct hotsim *sim = sim_for(2000, 200);
	struct hotsim_counts since;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() + 1);
	play_uniform(sim, &r, 0, 2000, 20000, 10 * ROUNDS_PER_SEC);
	assert_true(hotsim_resident_cnt(sim) >= FULL * 200);
	since = hotsim_counts(sim);
	play_uniform(sim, &r, 0, 2000, 20000, 20 * ROUNDS_PER_SEC);
	assert_true(churn(sim, since, 200, 20) < CHURN_MAX);
	hotsim_free(sim);
}

/* Rates from 40 to 60 a second, no two alike: ranks that no estimate can tell apart. */
static void hotset_larger_than_the_budget_comes_to_rest(void **state)
{
	struct hotsim *sim = sim_for(400, 100);
	struct hotsim_counts since = { 0 };
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() + 2);
	for (uint32_t round = 0; round < 30 * ROUNDS_PER_SEC; round++) {
		if (round == 10 * ROUNDS_PER_SEC)
			since = hotsim_counts(sim);
		for (uint32_t key = 0; key < 400; key++) {
			double want = (40 + key / 20.0) / ROUNDS_PER_SEC;
			uint32_t cnt = (uint32_t)(want + rand_unit(&r));

			while (cnt-- > 0)
				hotsim_read(sim, key);
		}
		hotsim_round(sim);
	}
	assert_true(hotsim_resident_cnt(sim) >= FULL * 100);
	assert_true(churn(sim, since, 100, 20) < CHURN_MAX);
	hotsim_free(sim);
}

/* Five times as many requests for keys that are asked for once as for the hot ones. */
static void hotset_scan_enters_nowhere(void **state)
{
	const uint32_t hot = 100, scanned = 5 * 200000;
	struct hotsim *sim = sim_for(hot + scanned, 1000);
	uint32_t next = hot;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() + 3);
	play_uniform(sim, &r, 0, hot, 40000, 5 * ROUNDS_PER_SEC);
	assert_int_equal(resident_of(sim, 0, hot), hot);
	while (next < hot + scanned) {
		for (uint32_t n = 0; n < 40000 / ROUNDS_PER_SEC; n++) {
			hotsim_read(sim, (uint32_t)rand_below(&r, hot));
			for (int i = 0; i < 5; i++)
				hotsim_read(sim, next++);
		}
		hotsim_round(sim);
	}
	assert_int_equal(hotsim_resident_cnt(sim), hot);
	assert_int_equal(resident_of(sim, 0, hot), hot);
	hotsim_free(sim);
}

/* All places are taken by keys as hot as the new ones, until the moment that these begin. */
static void hotset_shifts_and_the_kernel_follows(void **state)
{
	struct hotsim *sim = sim_for(100, 50);
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() + 4);
	play_uniform(sim, &r, 0, 50, 20000, 10 * ROUNDS_PER_SEC);
	assert_int_equal(resident_of(sim, 0, 50), 50);
	play_uniform(sim, &r, 50, 50, 20000, 2 * ROUNDS_PER_SEC);
	assert_int_equal(resident_of(sim, 50, 50), 50);
	assert_int_equal(resident_of(sim, 0, 50), 0);
	hotsim_free(sim);
}

/* One new hot key, while the places are full of cooler ones: within a second. */
static void hotset_new_hot_key_is_in_within_a_second(void **state)
{
	struct hotsim *sim = sim_for(1000, 100);
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() + 5);
	play_uniform(sim, &r, 0, 200, 4000, 5 * ROUNDS_PER_SEC);
	assert_true(hotsim_resident_cnt(sim) >= FULL * 100);
	for (uint32_t key = 200; key < 220; key++) {
		uint32_t rounds = 0;

		for (; !hotsim_is_resident(sim, key); rounds++) {
			assert_true(rounds < ROUNDS_PER_SEC);
			for (uint32_t n = 0; n < 1000 / ROUNDS_PER_SEC; n++)
				hotsim_read(sim, key);
			play_uniform(sim, &r, 0, 200, 4000, 1);
		}
	}
	hotsim_free(sim);
}

static void hotset_more_writes_than_reads_stays_out(void **state)
{
	struct hotsim *sim = sim_for(2, 10);

	(void)state;
	for (uint32_t round = 0; round < 10 * ROUNDS_PER_SEC; round++) {
		for (uint32_t n = 0; n < 50; n++) {
			if (n == 0) /* writes are counted of keys that are read, too */
				hotsim_read(sim, 0);
			hotsim_read(sim, 1);
			hotsim_write(sim, 0);
			hotsim_write(sim, 1);
		}
		hotsim_round(sim);
	}
	assert_false(hotsim_is_resident(sim, 0));
	assert_true(hotsim_is_resident(sim, 1));
	hotsim_free(sim);
}

/* Steady at 800 hits a second by their law of chance, then none. */
static void rate_bound_holds_and_falls(void **state)
{
	struct rate rate = { 0 };
	struct rate_step step;
	uint32_t below = 0;
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() + 6);
	rate_step_init(&step, 0.1);
	for (uint32_t round = 0; round < 10100; round++) {
		uint32_t sampled = 0;

		for (uint32_t hit = 0; hit < 80; hit++)
			sampled += rand_below(&r, 1 << XC_HIT_SHIFT) == 0;
		rate_add(&rate, &step, sampled, true);
		below += round >= 100 && rate_most(&rate) < 800;
	}
	assert_true(below < 1000); /* of 10,000: about 510 are, over many seeds */
	assert_true(rate.slow.mean > 500 && rate.slow.mean < 1100);
	for (uint32_t round = 0; round < 10; round++)
		rate_add(&rate, &step, 0, false);
	assert_true(rate_most(&rate) < 250);
	for (uint32_t round = 0; round < 30; round++)
		rate_add(&rate, &step, 0, false);
	assert_true(rate_most(&rate) < 1.1);
	/* One read, seen by its stamp alone: no more idle. */
	rate_add(&rate, &step, 0, true);
	assert_true(rate_most(&rate) > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hotset_uniform_load_comes_to_rest),
		cmocka_unit_test(hotset_larger_than_the_budget_comes_to_rest),
		cmocka_unit_test(hotset_scan_enters_nowhere),
		cmocka_unit_test(hotset_shifts_and_the_kernel_follows),
		cmocka_unit_test(hotset_new_hot_key_is_in_within_a_second),
		cmocka_unit_test(hotset_more_writes_than_reads_stays_out),
		cmocka_unit_test(rate_bound_holds_and_falls),
	};

	return cmocka_run_group_tests_name("promote/hotset", tests, NULL, NULL);
}
