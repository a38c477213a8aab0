/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: the table holds the newest record of each key; keys are handed out oldest first, each
 * at most once at a time, newer records of a key never before older ones; what could not be given
 * comes again in its time. Method: directed cases, and random operations against a plain model.
 */
#include "origin/journal_pending.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rand.h"
#include "lib/fault.h"
#include "lib/runopts.h"

static struct pending_table table;
static uint64_t seq;

static int setup(void **state)
{
	(void)state;
	seq = 0;
	return pending_init(&table, 16, 42);
}

static int teardown(void **state)
{
	(void)state;
	pending_fini(&table);
	return 0;
}

static bool insert(const char *key, const char *value)
{
	struct journal_change change = { .key = span_str(key), .value = span_str(value) };
	struct pending *pending = pending_new(&change);

	pending->record.seq = ++seq;
	return pending_insert(&table, pending);
}

static struct pending *take(uint64_t now_ns)
{
	uint64_t next_ns;

	return pending_take(&table, now_ns, &next_ns);
}

static void assert_is(const struct pending *pending, const char *key, const char *value)
{
	assert_non_null(pending);
	assert_true(span_equal(pending->record.what.key, span_str(key)));
	assert_true(span_equal(pending->record.what.value, span_str(value)));
}

static void finish(struct pending *pending)
{
	pending_finish(&table, pending);
	pending_put(pending);
}

static void oldest_key_is_taken_first_and_once(void **state)
{
	struct pending *a, *b;

	(void)state;
	insert("a", "1");
	insert("b", "2");
	a = take(0);
	b = take(0);
	assert_is(a, "a", "1");
	assert_is(b, "b", "2");
	assert_null(take(0));
	finish(a);
	finish(b);
	assert_int_equal(table.cnt, 0);
	assert_int_equal(table.bytes, 0);
	assert_null(pending_find(&table, span_str("a")));
}

static void newer_record_takes_the_older_ones_place(void **state)
{
	struct pending *a;

	(void)state;
	assert_false(insert("a", "1"));
	assert_false(insert("b", "2"));
	assert_true(insert("a", "three"));
	assert_int_equal(table.cnt, 2);
	assert_is(pending_find(&table, span_str("a")), "a", "three");
	a = take(0);
	assert_is(a, "a", "three");
	finish(a);
}

static void record_that_came_while_its_key_was_taken_follows(void **state)
{
	struct pending *first, *second;

	(void)state;
	insert("a", "1");
	first = take(0);
	assert_true(insert("a", "2"));
	assert_is(pending_find(&table, span_str("a")), "a", "2");
	/* The origin is being given the older one. */
	assert_null(take(0));
	assert_is(first, "a", "1");
	assert_false(pending_finish(&table, first));
	pending_put(first);
	second = take(0);
	assert_is(second, "a", "2");
	assert_true(pending_finish(&table, second));
	pending_put(second);
	assert_int_equal(table.cnt, 0);
}

static void retried_record_comes_in_its_time_and_before_others(void **state)
{
	struct pending *a;
	uint64_t next_ns;

	(void)state;
	insert("a", "1");
	a = take(100);
	pending_retry(&table, a, 1000);
	pending_put(a);
	assert_null(pending_take(&table, 999, &next_ns));
	assert_int_equal(next_ns, 1000);
	insert("b", "2");
	a = take(1000);
	assert_is(a, "a", "1");
	finish(a);
	a = take(1000);
	assert_is(a, "b", "2");
	finish(a);
	assert_null(pending_take(&table, 1000, &next_ns));
	assert_true(next_ns == UINT64_MAX);
}

static void retry_of_a_superseded_record_gives_the_newer_one(void **state)
{
	struct pending *a;

	(void)state;
	insert("a", "1");
	a = take(0);
	insert("a", "2");
	pending_retry(&table, a, 10);
	pending_put(a);
	assert_null(take(9));
	insert("a", "3");
	a = take(10);
	assert_is(a, "a", "3");
	finish(a);
}

static void record_that_is_lent_outlives_the_table(void **state)
{
	struct pending *a;

	(void)state;
	insert("a", "1");
	a = take(0);
	pending_fini(&table);
	assert_is(a, "a", "1");
	pending_put(a);
	setup(NULL);
}

static void without_memory_there_is_no_table_and_no_record(void **state)
{
	struct journal_change change = { .key = span_str("a") };
	struct pending_table other = { 0 };

	(void)state;
	fault_start(1);
	assert_null(pending_new(&change));
	fault_stop();
	fault_start(1);
	assert_int_not_equal(pending_init(&other, 16, 1), 0);
	fault_stop();
	pending_fini(&other);
	pending_put(NULL);
}

/* --- random operations against a plain model --- */

#define KEYS 40
#define STEPS 60000

struct model_key {
	uint64_t newest; /* seq; 0: nothing is pending */
	struct pending *taken;
	uint64_t given; /* the last seq that was taken */
};

static struct model_key model[KEYS];

static uint32_t key_of(const struct pending *pending)
{
	return (uint32_t)atoi((const char *)pending->record.what.key.ptr);
}

static void step(struct rand *rand, uint64_t now_ns)
{
	uint32_t i = (uint32_t)rand_below(rand, KEYS);
	struct model_key *key = &model[i];
	struct pending *found;
	char text[8];

	snprintf(text, sizeof(text), "%03u", i);
	switch (rand_below(rand, 4)) {
	case 0:
		assert_int_equal(insert(text, "v"), key->newest != 0);
		key->newest = seq;
		break;
	case 1:
		found = take(now_ns);
		if (!found)
			break;
		key = &model[key_of(found)];
		assert_null(key->taken);
		assert_int_equal(found->record.seq, key->newest);
		assert_true(found->record.seq >= key->given);
		key->given = found->record.seq;
		key->taken = found;
		break;
	default:
		if (!key->taken)
			break;
		if (rand_below(rand, 3) == 0) {
			pending_retry(&table, key->taken, now_ns + 50);
		} else {
			bool newest = key->taken->record.seq == key->newest;

			assert_int_equal(pending_finish(&table, key->taken), newest);
			if (newest)
				key->newest = 0;
		}
		pending_put(key->taken);
		key->taken = NULL;
	}
	found = pending_find(&table, span_str(text));
	assert_int_equal(found ? found->record.seq : 0, model[i].newest);
}

static void whatever_comes_and_goes_the_table_is_the_models(void **state)
{
	struct rand rand;
	uint64_t cnt = 0, now_ns = STEPS;
	uint32_t left = 0;

	(void)state;
	rand_init(&rand, runopts_seed());
	for (uint64_t i = 0; i < STEPS; i++)
		step(&rand, i);
	for (uint32_t i = 0; i < KEYS; i++) {
		cnt += model[i].newest != 0;
		if (!model[i].taken)
			continue;
		pending_retry(&table, model[i].taken, STEPS + 50);
		pending_put(model[i].taken);
		model[i].taken = NULL;
	}
	assert_int_equal(table.cnt, cnt);
	/* Everything that is left comes, each once. */
	now_ns += 100;
	for (struct pending *p; (p = take(now_ns)); left++)
		finish(p);
	assert_int_equal(left, cnt);
	assert_int_equal(table.bytes, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(oldest_key_is_taken_first_and_once),
		TEST(newer_record_takes_the_older_ones_place),
		TEST(record_that_came_while_its_key_was_taken_follows),
		TEST(retried_record_comes_in_its_time_and_before_others),
		TEST(retry_of_a_superseded_record_gives_the_newer_one),
		TEST(record_that_is_lent_outlives_the_table),
		TEST(without_memory_there_is_no_table_and_no_record),
		TEST(whatever_comes_and_goes_the_table_is_the_models),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
