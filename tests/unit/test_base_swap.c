/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: a thread keeps what it has picked until it picks again; an old item is freed when the
 * last one has let go of it, once, and not before. Method: items that count their own ends; four
 * threads that look at what they hold, over a thousand replacements, under the address sanitizer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

#include "base/swap.h"

struct thing {
	struct swap_item item;
	int number, copy;
};

static _Atomic int freed_cnt;

static void free_thing(struct swap_item *item)
{
	atomic_fetch_add(&freed_cnt, 1);
	free(item);
}

static struct swap_item *thing(int number)
{
	struct thing *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	*t = (struct thing){ .item.free = free_thing, .number = number, .copy = number };
	return &t->item;
}

static int number_of(struct swap_item *item)
{
	return ((struct thing *)item)->number;
}

static void swap_pick_keeps_the_old_one_until_the_next(void **state)
{
	struct swap_item *a = NULL, *b = NULL;
	struct swap swap;

	(void)state;
	freed_cnt = 0;
	swap_init(&swap);
	assert_false(swap_pick(&swap, &a));
	swap_replace(&swap, thing(1));
	assert_true(swap_pick(&swap, &a));
	assert_true(swap_pick(&swap, &b));
	assert_false(swap_pick(&swap, &b));
	swap_replace(&swap, thing(2));
	assert_int_equal(number_of(a), 1);
	assert_true(swap_pick(&swap, &a));
	assert_int_equal(number_of(a), 2);
	assert_int_equal(number_of(b), 1);
	assert_int_equal(freed_cnt, 0);
	assert_true(swap_pick(&swap, &b));
	assert_int_equal(freed_cnt, 1);
	swap_replace(&swap, NULL);
	assert_true(swap_pick(&swap, &a));
	assert_null(a);
	assert_int_equal(freed_cnt, 1);
	swap_drop(&swap, &b);
	assert_int_equal(freed_cnt, 2);
	swap_replace(&swap, thing(3));
	swap_replace(&swap, thing(4));
	assert_int_equal(freed_cnt, 3);
	swap_fini(&swap);
	assert_int_equal(freed_cnt, 4);
}

#define THREADS 4
#define ITEMS 1000

struct reader {
	struct swap *swap;
	_Atomic bool *stop;
	pthread_t thread;
	bool wrong;
};

static void *read_things(void *arg)
{
	struct reader *r = arg;
	struct swap_item *held = NULL;
	int last = 0;

	while (!atomic_load(r->stop)) {
		const struct thing *t;

		swap_pick(r->swap, &held);
		t = (struct thing *)held;
		if (t) {
			r->wrong |= t->number != t->copy || t->number < last;
			last = t->number;
		}
	}
	swap_drop(r->swap, &held);
	return NULL;
}

static void swap_replace_beside_readers_frees_each_once(void **state)
{
	struct reader readers[THREADS];
	_Atomic bool stop = false;
	struct swap swap;

	(void)state;
	freed_cnt = 0;
	swap_init(&swap);
	for (int i = 0; i < THREADS; i++) {
		readers[i] = (struct reader){ .swap = &swap, .stop = &stop };
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_things, &readers[i]),
				 0);
	}
	for (int i = 1; i <= ITEMS; i++)
		swap_replace(&swap, thing(i));
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(readers[i].thread, NULL);
		assert_false(readers[i].wrong);
	}
	assert_int_equal(freed_cnt, ITEMS - 1);
	swap_fini(&swap);
	assert_int_equal(freed_cnt, ITEMS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(swap_pick_keeps_the_old_one_until_the_next),
		cmocka_unit_test(swap_replace_beside_readers_frees_each_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
