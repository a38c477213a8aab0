/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: the bounds of Space-Saving (a listed rate never exceeds the true one; a key with more
 * than 1/K of all events is listed), exponential decay, and equality with the same algorithm
 * written plainly (one array, decay applied at every step, no heap, no hash).
 * Method: streams with random weights, so that no two counters tie; time handed in. Seeded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/rand.h"
#include "hotkey/topk.h"
#include "lib/runopts.h"

#define START_NS (1000 * NSEC_PER_SEC)
#define FOREVER_MS UINT32_MAX /* a half-life that no test feels */

static struct span key_text(char buf[16], uint32_t number)
{
	int len = snprintf(buf, 16, "key-%u", number);

	return span_of(buf, (size_t)len);
}

static uint64_t hash_text(struct span key)
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < key.len; i++)
		hash = (hash ^ key.ptr[i]) * 0x100000001b3ULL;
	return hash;
}

static void add_read(struct topk *topk, uint32_t number, double weight, uint64_t now_ns)
{
	char buf[16];
	struct span key = key_text(buf, number);

	topk_add_read(topk, key, hash_text(key), weight, now_ns);
}

static void add_write(struct topk *topk, uint32_t number, double weight, uint64_t now_ns)
{
	char buf[16];
	struct span key = key_text(buf, number);

	topk_add_write(topk, key, hash_text(key), weight, now_ns);
}

static uint32_t number_of(const struct hot_key *hot)
{
	char buf[XC_KEY_MAX + 1] = { 0 };

	memcpy(buf, hot->key, hot->key_len);
	assert_int_equal(strncmp(buf, "key-", 4), 0);
	assert_int_equal(hot->hash, hash_text(span_of(hot->key, hot->key_len)));
	return (uint32_t)strtoul(buf + 4, NULL, 10);
}

/* --- bounds --- */

#define K 64
#define KEYS 4000
#define EVENTS 60000

/* rate -> events, when nothing decays */
static double events_of(double rate, uint32_t half_life_ms)
{
	return rate * ((double)half_life_ms / 1000) / M_LN2;
}

static void topk_more_keys_than_counters_keeps_bounds(void **state)
{
	static double truth[KEYS];
	struct topk *topk = topk_new(K, FOREVER_MS);
	struct hot_key list[K];
	double total = 0;
	bool listed[KEYS] = { false };
	uint32_t cnt;
	struct rand r;

	(void)state;
	memset(truth, 0, sizeof(truth));
	rand_init(&r, runopts_seed());
	for (int i = 0; i < EVENTS; i++) {
		/* rank ~ u^-1: a heavy head and a tail that washes through the counters */
		uint32_t number = (uint32_t)(pow(KEYS, rand_unit(&r)) - 1);

		truth[number]++;
		total++;
		add_read(topk, number, 1, START_NS);
	}
	cnt = topk_list(topk, START_NS, list, K);
	assert_int_equal(cnt, K);
	for (uint32_t i = 0; i < cnt; i++) {
		uint32_t number = number_of(&list[i]);
		double events = events_of(list[i].read_rate, FOREVER_MS);

		assert_false(listed[number]);
		listed[number] = true;
		assert_true(events <= truth[number] * 1.0001);
		assert_true(events >= truth[number] - total / K - 1);
	}
	for (uint32_t number = 0; number < KEYS; number++) {
		if (truth[number] > total / K)
			assert_true(listed[number]);
	}
	topk_free(topk);
}

static void topk_fewer_keys_than_counters_is_exact(void **state)
{
	struct topk *topk = topk_new(K, FOREVER_MS);
	struct hot_key list[K];

	(void)state;
	for (uint32_t round = 1; round <= K; round++) {
		for (uint32_t number = 0; number < round; number++)
			add_read(topk, number, 1, START_NS);
	}
	assert_int_equal(topk_list(topk, START_NS, list, K), K);
	for (uint32_t i = 0; i < K; i++) {
		assert_int_equal(number_of(&list[i]), i);
		assert_true(fabs(events_of(list[i].read_rate, FOREVER_MS) - (K - i)) < 0.01);
	}
	assert_int_equal(topk_list(topk, START_NS, list, 5), 5);
	assert_int_equal(number_of(&list[4]), 4);
	topk_free(topk);
}

/* --- decay --- */

static void topk_half_life_passes_rate_is_half(void **state)
{
	struct topk *topk = topk_new(4, 2000);
	struct hot_key hot;
	double first;

	(void)state;
	add_read(topk, 1, 100, START_NS);
	assert_int_equal(topk_list(topk, START_NS, &hot, 1), 1);
	first = hot.read_rate;
	assert_true(first > 0);
	for (uint32_t lives = 1; lives <= 20; lives++) {
		topk_list(topk, START_NS + lives * 2 * NSEC_PER_SEC, &hot, 1);
		assert_true(fabs(hot.read_rate * exp2(lives) / first - 1) < 1e-9);
	}
	topk_free(topk);
}

static void topk_steady_stream_tells_its_rate(void **state)
{
	struct topk *topk = topk_new(4, 2000);
	struct hot_key list[2];
	uint64_t now_ns = START_NS;

	(void)state;
	/* 1000 reads and 250 writes a second for 20 s: ten half-lives. */
	for (uint32_t i = 0; i < 20000; i++, now_ns += NSEC_PER_MSEC) {
		add_read(topk, 1, 1, now_ns);
		if (i % 4 == 0)
			add_write(topk, 1, 1, now_ns);
		if (i % 10 == 0)
			add_read(topk, 2, 10, now_ns); /* one sample in ten, weighed */
	}
	assert_int_equal(topk_list(topk, now_ns, list, 2), 2);
	for (int i = 0; i < 2; i++)
		assert_true(fabs(list[i].read_rate / 1000 - 1) < 0.01);
	assert_true(fabs(list[number_of(&list[0]) == 1 ? 0 : 1].write_rate / 250 - 1) < 0.01);
	topk_free(topk);
}

/* One sample of sixteen tells less than ten requests that were all counted. */
static void topk_few_samples_are_in_doubt(void **state)
{
	struct topk *topk = topk_new(4, 2000);
	struct hot_key list[3];

	(void)state;
	add_read(topk, 1, 16, START_NS);
	for (int i = 0; i < 10; i++)
		add_read(topk, 2, 1, START_NS);
	for (int i = 0; i < 100; i++)
		add_read(topk, 3, 16, START_NS);
	assert_int_equal(topk_list(topk, START_NS, list, 3), 3);
	assert_int_equal(number_of(&list[0]), 3);
	assert_int_equal(number_of(&list[1]), 2);
	assert_int_equal(number_of(&list[2]), 1);
	assert_true(list[1].read_doubt == 0);
	assert_true(list[2].read_doubt > list[2].read_rate);
	/* sqrt(100 * 16 * 15) requests, twice */
	assert_true(fabs(events_of(list[0].read_doubt, 2000) - HOT_SURE * sqrt(24000)) < 1e-6);
	assert_true(fabs(events_of(list[0].read_rate, 2000) - 1600) < 1e-6);
	/* Both lose half in a half-life. */
	topk_list(topk, START_NS + 2 * NSEC_PER_SEC, list, 3);
	assert_true(fabs(events_of(list[0].read_doubt, 2000) - HOT_SURE * sqrt(6000)) < 1e-6);
	topk_free(topk);
}

/* Weights grow as 2^t; a day at a half-life of two seconds is far beyond any exponent. */
static void topk_days_pass_newer_key_wins(void **state)
{
	struct topk *topk = topk_new(4, 2000);
	struct hot_key list[4];
	uint64_t now_ns = START_NS;

	(void)state;
	for (uint32_t day = 1; day <= 30; day++, now_ns += 86400 * NSEC_PER_SEC) {
		add_read(topk, day, 1000, now_ns);
		topk_list(topk, now_ns, list, 1);
		assert_int_equal(number_of(&list[0]), day);
		assert_true(isfinite(list[0].read_rate) && list[0].read_rate > 0);
		assert_true(fabs(events_of(list[0].read_rate, 2000) / 1000 - 1) < 1e-6);
	}
	for (uint32_t sec = 0; sec < 1000; sec++, now_ns += NSEC_PER_SEC)
		add_read(topk, 77, 5, now_ns);
	assert_int_equal(topk_list(topk, now_ns - NSEC_PER_SEC, list, 4), 4);
	assert_int_equal(number_of(&list[0]), 77);
	for (uint32_t i = 1; i < 4; i++)
		assert_true(list[i].read_rate >= 0 && list[i].read_rate < 1e-6);
	topk_free(topk);
}

/* --- writes --- */

static void topk_write_unknown_key_lists_nothing(void **state)
{
	struct topk *topk = topk_new(4, 2000);
	struct hot_key hot;

	(void)state;
	add_write(topk, 1, 100, START_NS);
	assert_int_equal(topk_list(topk, START_NS, &hot, 1), 0);
	add_read(topk, 1, 1, START_NS);
	assert_int_equal(topk_list(topk, START_NS, &hot, 1), 1);
	assert_true(hot.write_rate == 0);
	topk_free(topk);
}

static void topk_displaced_key_leaves_no_writes_behind(void **state)
{
	struct topk *topk = topk_new(1, 2000);
	struct hot_key hot;

	(void)state;
	add_read(topk, 1, 10, START_NS);
	add_write(topk, 1, 50, START_NS);
	add_read(topk, 2, 1, START_NS);
	assert_int_equal(topk_list(topk, START_NS, &hot, 1), 1);
	assert_int_equal(number_of(&hot), 2);
	assert_true(hot.write_rate == 0);
	/* it inherited 10 as error: only its own read counts */
	assert_true(fabs(events_of(hot.read_rate, 2000) - 1) < 1e-6);
	topk_free(topk);
}

/* --- against the plain algorithm --- */

#define MODEL_K 24

struct model_counter {
	uint32_t number;
	double reads, error, writes;
};

struct model {
	struct model_counter counters[MODEL_K];
	uint32_t cnt;
	uint64_t at_ns;
};

static void model_age(struct model *m, uint64_t now_ns, double half_life_ns)
{
	double keep = exp2(-(double)(now_ns - m->at_ns) / half_life_ns);

	for (uint32_t i = 0; i < m->cnt; i++) {
		m->counters[i].reads *= keep;
		m->counters[i].error *= keep;
		m->counters[i].writes *= keep;
	}
	m->at_ns = now_ns;
}

static struct model_counter *model_find(struct model *m, uint32_t number)
{
	for (uint32_t i = 0; i < m->cnt; i++) {
		if (m->counters[i].number == number)
			return &m->counters[i];
	}
	return NULL;
}

static struct model_counter *model_claim(struct model *m, uint32_t number)
{
	struct model_counter *c = &m->counters[0];

	if (m->cnt < MODEL_K) {
		c = &m->counters[m->cnt++];
		*c = (struct model_counter){ .number = number };
		return c;
	}
	for (uint32_t i = 1; i < m->cnt; i++) {
		if (m->counters[i].reads < c->reads)
			c = &m->counters[i];
	}
	*c = (struct model_counter){ .number = number, .reads = c->reads, .error = c->reads };
	return c;
}

static void compare(struct topk *topk, struct model *m, double half_life_ns)
{
	double per_sec = M_LN2 / (half_life_ns / NSEC_PER_SEC);
	struct hot_key list[MODEL_K];
	uint32_t cnt = topk_list(topk, m->at_ns, list, MODEL_K);

	assert_int_equal(cnt, m->cnt);
	for (uint32_t i = 0; i < cnt; i++) {
		const struct model_counter *c = model_find(m, number_of(&list[i]));

		assert_non_null(c);
		assert_true(fabs(list[i].read_rate - (c->reads - c->error) * per_sec) <=
			    1e-6 * (c->reads * per_sec + 1));
		assert_true(fabs(list[i].write_rate - c->writes * per_sec) <=
			    1e-6 * (c->writes * per_sec + 1));
	}
}

static void topk_random_events_equals_plain_algorithm(void **state)
{
	const uint32_t half_life_ms = 500;
	double half_life_ns = half_life_ms * (double)NSEC_PER_MSEC;
	struct topk *topk = topk_new(MODEL_K, half_life_ms);
	struct model model = { .at_ns = START_NS };
	struct rand r;

	(void)state;
	rand_init(&r, runopts_seed() + 2);
	for (int i = 0; i < 40000; i++) {
		uint32_t number = (uint32_t)rand_below(&r, 1 + rand_below(&r, 200));
		double weight = 1 + rand_unit(&r);
		struct model_counter *c;

		/* mostly together, now and then a pause, seldom one that outgrows the weights */
		model_age(&model,
			  model.at_ns + rand_below(&r, i % 5000 == 4999 ? 60 * NSEC_PER_SEC
						       : i % 100 == 99	? NSEC_PER_SEC
									: NSEC_PER_MSEC),
			  half_life_ns);
		c = model_find(&model, number);
		if (rand_below(&r, 4) == 0) {
			add_write(topk, number, weight, model.at_ns);
			if (c)
				c->writes += weight;
		} else {
			add_read(topk, number, weight, model.at_ns);
			c = c ? c : model_claim(&model, number);
			c->reads += weight;
		}
		if (i % 97 == 0)
			compare(topk, &model, half_life_ns);
	}
	compare(topk, &model, half_life_ns);
	topk_free(topk);
}

/* --- memory --- */

static uint32_t refuse_nth;

static bool refuse(size_t bytes)
{
	(void)bytes;
	return refuse_nth-- == 1;
}

static void topk_no_memory_returns_null(void **state)
{
	struct topk *topk = NULL;
	uint32_t nth = 1;

	(void)state;
	for (; !topk && nth < 20; nth++) {
		refuse_nth = nth;
		alloc_refuse = refuse;
		topk = topk_new(16, 1000);
		alloc_refuse = NULL;
	}
	assert_non_null(topk);
	assert_true(nth > 2); /* at least one call was refused and survived */
	topk_free(topk);
	topk_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(topk_more_keys_than_counters_keeps_bounds),
		cmocka_unit_test(topk_fewer_keys_than_counters_is_exact),
		cmocka_unit_test(topk_half_life_passes_rate_is_half),
		cmocka_unit_test(topk_steady_stream_tells_its_rate),
		cmocka_unit_test(topk_few_samples_are_in_doubt),
		cmocka_unit_test(topk_days_pass_newer_key_wins),
		cmocka_unit_test(topk_write_unknown_key_lists_nothing),
		cmocka_unit_test(topk_displaced_key_leaves_no_writes_behind),
		cmocka_unit_test(topk_random_events_equals_plain_algorithm),
		cmocka_unit_test(topk_no_memory_returns_null),
	};

	return cmocka_run_group_tests_name("hotkey/topk", tests, NULL, NULL);
}
