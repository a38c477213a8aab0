/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Quantiles are within the stated 1/256 of the true ones, whatever the values' size; the ends are
 * exact. Method: the same seeded values are sorted, and each quantile is compared with the sorted
 * array's.
 */
#include "base/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rand.h"

#define VALUE_CNT 20000

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t seed_get(void)
{
	const char *text = getenv("XC_TEST_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : 20120611;

	print_message("seed %llu\n", (unsigned long long)seed);
	return seed;
}

static void assert_near(uint64_t got, uint64_t want)
{
	uint64_t off = got > want ? got - want : want - got;

	if (off * 256 > want)
		fail_msg("got %llu, want %llu", (unsigned long long)got, (unsigned long long)want);
}

static void histogram_quantile_any_size_is_near(void **state)
{
	static const double quantiles[] = { 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999 };
	static uint64_t values[VALUE_CNT];
	struct histogram h;
	struct rand r;

	(void)state;
	rand_init(&r, seed_get());
	histogram_init(&h);
	for (uint32_t i = 0; i < VALUE_CNT; i++) {
		/* every power of two is as likely */
		values[i] = rand_next(&r) >> (24 + rand_below(&r, 40));
		histogram_insert(&h, values[i]);
	}
	qsort(values, VALUE_CNT, sizeof(values[0]), compare);
	for (uint32_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
		double rank = quantiles[i] * VALUE_CNT;

		assert_near(histogram_quantile(&h, quantiles[i]),
			    values[(uint32_t)(rank + 0.5) - 1]);
	}
}

static void histogram_quantile_ends_are_exact(void **state)
{
	struct histogram h;

	(void)state;
	histogram_init(&h);
	histogram_insert(&h, 1000003);
	histogram_insert(&h, 77777777);
	histogram_insert(&h, 5000001);
	assert_int_equal(histogram_quantile(&h, 0), 1000003);
	assert_int_equal(histogram_quantile(&h, 1), 77777777);
	assert_near(histogram_quantile(&h, 0.5), 5000001);
}

static void histogram_quantile_empty_is_zero(void **state)
{
	struct histogram h;

	(void)state;
	histogram_init(&h);
	assert_int_equal(histogram_quantile(&h, 0.99), 0);
	assert_true(histogram_mean(&h) == 0);
}

static void histogram_insert_small_is_exact(void **state)
{
	struct histogram h;

	(void)state;
	for (uint64_t value = 0; value < 128; value++) {
		histogram_init(&h);
		histogram_insert(&h, 0);
		histogram_insert(&h, value);
		histogram_insert(&h, 127);
		histogram_insert(&h, 127);
		assert_int_equal(histogram_quantile(&h, 0.5), value);
	}
}

static void histogram_insert_too_large_counts_as_largest(void **state)
{
	struct histogram h;

	(void)state;
	histogram_init(&h);
	histogram_insert(&h, UINT64_MAX);
	assert_int_equal(h.cnt, 1);
	assert_int_equal(histogram_quantile(&h, 0.5), HISTOGRAM_VALUE_MAX);
}

static void histogram_merge_equals_one_histogram(void **state)
{
	static struct histogram all, parts[2], merged;
	struct rand r;

	(void)state;
	rand_init(&r, seed_get());
	histogram_init(&all);
	histogram_init(&parts[0]);
	histogram_init(&parts[1]);
	histogram_init(&merged);
	for (uint32_t i = 0; i < VALUE_CNT; i++) {
		uint64_t value = rand_below(&r, 1 << 20);

		histogram_insert(&all, value);
		histogram_insert(&parts[i % 2], value);
	}
	histogram_merge(&merged, &parts[0]);
	histogram_merge(&merged, &parts[1]);
	assert_memory_equal(&merged, &all, sizeof(all));
}

static void histogram_insert_many_equals_as_many_inserts(void **state)
{
	static struct histogram one, many;

	(void)state;
	histogram_init(&one);
	histogram_init(&many);
	for (uint64_t value = 1; value < (1ULL << 41); value *= 3) {
		for (uint64_t i = 0; i < value % 7; i++)
			histogram_insert(&one, value);
		histogram_insert_many(&many, value, value % 7);
	}
	assert_memory_equal(&many, &one, sizeof(one));
}

/* Bounds that lie between buckets are exact; the last value is behind them all. */
static void histogram_cumulate_counts_what_is_at_most_each_bound(void **state)
{
	static const uint64_t bounds[] = { 0, 5, 100, 1000, 1000000 };
	uint64_t cnts[5];
	struct histogram h;

	(void)state;
	histogram_init(&h);
	assert_int_equal(histogram_cumulate(&h, bounds, 5, cnts), 0);
	assert_int_equal(cnts[4], 0);
	histogram_insert(&h, 0);
	histogram_insert(&h, 5);
	histogram_insert(&h, 6);
	histogram_insert_many(&h, 900, 4);
	histogram_insert(&h, 1100);
	histogram_insert(&h, 5000000);
	assert_int_equal(histogram_cumulate(&h, bounds, 5, cnts), 9);
	assert_int_equal(cnts[0], 1);
	assert_int_equal(cnts[1], 2);
	assert_int_equal(cnts[2], 3);
	assert_int_equal(cnts[3], 7);
	assert_int_equal(cnts[4], 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(histogram_quantile_any_size_is_near),
		cmocka_unit_test(histogram_quantile_ends_are_exact),
		cmocka_unit_test(histogram_quantile_empty_is_zero),
		cmocka_unit_test(histogram_insert_small_is_exact),
		cmocka_unit_test(histogram_insert_too_large_counts_as_largest),
		cmocka_unit_test(histogram_merge_equals_one_histogram),
		cmocka_unit_test(histogram_insert_many_equals_as_many_inserts),
		cmocka_unit_test(histogram_cumulate_counts_what_is_at_most_each_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
