/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: a prefix is what stands before the first delimiter; there are at most PREFIX_MAX, the
 * others are counted together; threads that meet a prefix for the first time at the same moment
 * count on one entry, and lose nothing. Method: exact keys; four threads over the same prefixes in
 * orders of their own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/rand.h"
#include "lib/fault.h"
#include "lib/runopts.h"
#include "route/prefixes.h"

static void drop(struct prefixes *p)
{
	struct swap_item *item = (struct swap_item *)p;

	item->free(item);
}

static void count(struct prefixes *p, uint32_t slot, const char *key)
{
	struct tally *tally = prefixes_find(p, slot, span_str(key), ':');

	if (tally)
		tally_add(tally, TALLY_HIT, 1);
}

static void list(void *ctx, struct span prefix, const struct tally *sum)
{
	char *text = ctx;

	sprintf(text + strlen(text), "%.*s=%d ", (int)prefix.len, (const char *)prefix.ptr,
		(int)sum->cnt[TALLY_HIT]);
}

static void prefixes_find_first_delimiter_ends_the_prefix(void **state)
{
	struct prefixes *p = prefixes_new(2);
	char text[256] = "";

	(void)state;
	count(p, 0, "user:1");
	count(p, 1, "user:2:x");
	count(p, 0, "user");
	count(p, 0, ":x");
	count(p, 0, "users:");
	count(p, 0, "a b:1");
	count(p, 0, "a\n:1");
	count(p, 0, "a\x7f:1");
	prefixes_walk(p, list, text);
	assert_string_equal(text, "user=2 =1 users=1 ");
	assert_int_equal(prefixes_overflow_cnt(p), 0);
	assert_null(prefixes_find(p, 0, span_str("user:1"), '/'));
	assert_non_null(prefixes_find(p, 0, span_str("user:1/2"), '/'));
	drop(p);
}

static void add_hits(void *ctx, struct span prefix, const struct tally *sum)
{
	uint64_t *hits = ctx;

	(void)prefix;
	hits[0]++;
	hits[1] += sum->cnt[TALLY_HIT];
}

static void prefixes_find_full_table_counts_the_rest_together(void **state)
{
	struct prefixes *p = prefixes_new(1);
	uint64_t hits[2] = { 0, 0 };
	char key[32];

	(void)state;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < PREFIX_MAX + 100; i++) {
			sprintf(key, "p%d:x", i);
			count(p, 0, key);
		}
	}
	prefixes_walk(p, add_hits, hits);
	assert_int_equal(hits[0], PREFIX_MAX);
	assert_int_equal(hits[1], 2 * PREFIX_MAX);
	assert_int_equal(prefixes_overflow_cnt(p), 200);
	drop(p);
}

#define THREADS 4
#define ROUNDS 20
#define PREFIXES 500

struct counter {
	struct prefixes *p;
	uint32_t slot;
	pthread_t thread;
};

static void *count_all(void *arg)
{
	struct counter *c = arg;
	struct rand r;
	char key[32];

	rand_init(&r, runopts_seed() + c->slot);
	for (int i = 0; i < ROUNDS * PREFIXES; i++) {
		int n = i < PREFIXES ? i : (int)rand_below(&r, PREFIXES);

		sprintf(key, "p%d:%d", n, i);
		count(c->p, c->slot, key);
	}
	return NULL;
}

static void prefixes_find_threads_at_once_lose_nothing(void **state)
{
	struct counter counters[THREADS];
	uint64_t hits[2] = { 0, 0 };
	struct prefixes *p = prefixes_new(THREADS);

	(void)state;
	runopts_seed();
	for (uint32_t i = 0; i < THREADS; i++) {
		counters[i] = (struct counter){ .p = p, .slot = i };
		assert_int_equal(pthread_create(&counters[i].thread, NULL, count_all, &counters[i]),
				 0);
	}
	for (uint32_t i = 0; i < THREADS; i++)
		pthread_join(counters[i].thread, NULL);
	prefixes_walk(p, add_hits, hits);
	assert_int_equal(hits[0], PREFIXES);
	assert_int_equal(hits[1], THREADS * ROUNDS * PREFIXES);
	drop(p);
}

static void prefixes_new_out_of_memory_is_null(void **state)
{
	(void)state;
	for (uint64_t nth = 1; nth <= 3; nth++) {
		fault_start(nth);
		assert_null(prefixes_new(1));
		fault_stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prefixes_find_first_delimiter_ends_the_prefix),
		cmocka_unit_test(prefixes_find_full_table_counts_the_rest_together),
		cmocka_unit_test(prefixes_find_threads_at_once_lose_nothing),
		cmocka_unit_test(prefixes_new_out_of_memory_is_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
