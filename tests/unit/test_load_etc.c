/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The load generator draws from the published distributions. Method: seeded draws are compared with
 * closed forms of the laws (distribution functions and moments), which the generator itself does
 * not use: it inverts. Bounds are at least four standard errors wide.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../bench/load/etc.c"
#include "../../bench/load/zipf.c"

#define DRAW_CNT 200000
#define RANK_CNT 1000

static struct rand seeded(void)
{
	const char *text = getenv("XC_TEST_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : 20120611;
	struct rand r;

	print_message("seed %llu\n", (unsigned long long)seed);
	rand_init(&r, seed);
	return r;
}

static void assert_within(double got, double want, double bound, const char *what)
{
	if (fabs(got - want) > bound)
		fail_msg("%s: got %f, want %f +- %f", what, got, want, bound);
}

/* Generalized extreme value law with the paper's parameters. */
static double key_cdf(double x)
{
	return exp(-pow(1 + 0.078688 * (x - 30.7984) / 8.20449, -1 / 0.078688));
}

static void etc_key_len_follows_extreme_value_law(void **state)
{
	static uint32_t lens[XC_KEY_MAX + 1];
	struct rand r = seeded();
	uint32_t below = 0;

	(void)state;
	memset(lens, 0, sizeof(lens));
	for (uint32_t i = 0; i < DRAW_CNT; i++)
		lens[etc_key_len(&r)]++;
	assert_int_equal(lens[0], 0);
	for (uint32_t len = 1; len < 120; len++) {
		double want = key_cdf(len + 0.5);

		below += lens[len];
		assert_within((double)below / DRAW_CNT, want,
			      4 * sqrt(want * (1 - want) / DRAW_CNT) + 1e-5, "key cdf");
	}
}

static void etc_key_len_has_the_laws_moments(void **state)
{
	double shape = 0.078688, scale = 8.20449;
	double g1 = tgamma(1 - shape), g2 = tgamma(1 - 2 * shape);
	double mean = 30.7984 + scale * (g1 - 1) / shape;
	/* rounding to whole bytes adds a twelfth */
	double variance = scale * scale * (g2 - g1 * g1) / (shape * shape) + 1.0 / 12;
	struct rand r = seeded();
	double sum = 0, squares = 0;

	(void)state;
	for (uint32_t i = 0; i < DRAW_CNT; i++) {
		double len = etc_key_len(&r);

		sum += len;
		squares += len * len;
	}
	sum /= DRAW_CNT;
	assert_within(sum, mean, 4 * sqrt(variance / DRAW_CNT), "mean key length");
	assert_within(squares / DRAW_CNT - sum * sum, variance, 0.04 * variance, "key variance");
}

static void etc_value_len_small_ones_follow_the_table(void **state)
{
	static const double published[] = {
		0.00536, 0.00047, 0.17820, 0.09239, 0.00018, 0.02740, 0.00065, 0.00606,
		0.00023, 0.00837, 0.00837, 0.08989, 0.00092, 0.00326, 0.01980,
	};
	uint32_t cnt[15] = { 0 };
	struct rand r = seeded();
	double all = 0;

	(void)state;
	for (uint32_t i = 0; i < DRAW_CNT; i++) {
		uint32_t len = etc_value_len(&r, 1 << 20);

		if (len < 15)
			cnt[len]++;
	}
	for (uint32_t i = 0; i < 15; i++) {
		double p = published[i];

		assert_within((double)cnt[i] / DRAW_CNT, p, 4.5 * sqrt(p * (1 - p) / DRAW_CNT),
			      "table");
		all += p;
	}
	assert_within(all, 0.44155, 1e-9, "the table's whole");
}

/* Generalized Pareto law with the paper's parameters: how many exceed x. */
static double value_above(double x)
{
	return pow(1 + 0.348238 * x / 214.476, -1 / 0.348238);
}

static void etc_value_len_large_ones_follow_pareto_law(void **state)
{
	static const uint32_t at[] = { 16, 20, 40, 80, 160, 320, 640, 1300, 2600, 5000, 10000 };
	uint32_t reached[sizeof(at) / sizeof(at[0])] = { 0 };
	struct rand r = seeded();
	double sum = 0;
	uint32_t cnt = 0;

	(void)state;
	for (uint32_t i = 0; i < 2 * DRAW_CNT; i++) {
		uint32_t len = etc_value_len(&r, 1 << 20);

		if (len < 15)
			continue;
		cnt++;
		sum += len;
		for (uint32_t k = 0; k < sizeof(at) / sizeof(at[0]); k++)
			reached[k] += len >= at[k];
	}
	for (uint32_t k = 0; k < sizeof(at) / sizeof(at[0]); k++) {
		double p = value_above(at[k]) / value_above(15);

		assert_within((double)reached[k] / cnt, p, 4.5 * sqrt(p * (1 - p) / cnt) + 1e-6,
			      "pareto tail");
	}
	/* mean excess above a threshold: (scale + shape * threshold) / (1 - shape) */
	assert_within(sum / cnt, 15 + (214.476 + 0.348238 * 15) / (1 - 0.348238) - 0.5, 12,
		      "mean of the large ones");
}

static void etc_value_len_obeys_its_bound(void **state)
{
	struct rand r = seeded();

	(void)state;
	for (uint32_t i = 0; i < DRAW_CNT; i++)
		assert_true(etc_value_len(&r, 100) <= 100);
}

static void zipf_pick_follows_the_weights(void **state)
{
	static const double exponents[] = { 0, 0.5, 0.99, 1, 1.247, 2 };
	struct rand r = seeded();

	(void)state;
	for (uint32_t k = 0; k < sizeof(exponents) / sizeof(exponents[0]); k++) {
		static uint32_t cnt[RANK_CNT];
		struct zipf zipf;
		double all = 0, chi2 = 0;

		memset(cnt, 0, sizeof(cnt));
		zipf_init(&zipf, RANK_CNT, exponents[k]);
		for (uint32_t i = 0; i < DRAW_CNT; i++) {
			uint64_t rank = zipf_pick(&zipf, &r);

			assert_true(rank < RANK_CNT);
			cnt[rank]++;
		}
		for (uint32_t i = 0; i < RANK_CNT; i++)
			all += pow(i + 1, -exponents[k]);
		for (uint32_t i = 0; i < RANK_CNT; i++) {
			double want = DRAW_CNT * pow(i + 1, -exponents[k]) / all;

			chi2 += (cnt[i] - want) * (cnt[i] - want) / want;
		}
		/* chi-square of 999 degrees: mean 999, standard deviation 44.7 */
		if (chi2 > 999 + 5 * 44.7)
			fail_msg("exponent %.3f: chi-square %.0f", exponents[k], chi2);
	}
}

static void zipf_pick_one_rank_is_always_it(void **state)
{
	struct rand r = seeded();
	struct zipf zipf;

	(void)state;
	zipf_init(&zipf, 1, 1.2);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(zipf_pick(&zipf, &r), 0);
}

static void etc_zipf_exponent_gives_half_the_keys_one_percent(void **state)
{
	static const uint32_t key_cnts[] = { 100, 5000, 100000 };

	(void)state;
	for (uint32_t k = 0; k < sizeof(key_cnts) / sizeof(key_cnts[0]); k++) {
		double exponent = etc_zipf_exponent(key_cnts[k]);
		double all = 0, unpopular = 0;

		for (uint32_t i = key_cnts[k]; i > 0; i--) {
			double weight = pow(i, -exponent);

			all += weight;
			if (i > (key_cnts[k] + 1) / 2)
				unpopular += weight;
		}
		assert_within(unpopular / all, 0.01, 1e-5, "share of the unpopular half");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(etc_key_len_follows_extreme_value_law),
		cmocka_unit_test(etc_key_len_has_the_laws_moments),
		cmocka_unit_test(etc_value_len_small_ones_follow_the_table),
		cmocka_unit_test(etc_value_len_large_ones_follow_pareto_law),
		cmocka_unit_test(etc_value_len_obeys_its_bound),
		cmocka_unit_test(zipf_pick_follows_the_weights),
		cmocka_unit_test(zipf_pick_one_rank_is_always_it),
		cmocka_unit_test(etc_zipf_exponent_gives_half_the_keys_one_percent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
