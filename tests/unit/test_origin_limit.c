/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: no more tokens than burst + t * qps in any span of time, and as many to somebody who
 * always asks; the background leaves half a bucket to clients; never more queries at a time than
 * may be; lines are bounded and first in, first out; clients go first. Method: time handed in, and
 * random traffic against an independent model, with seeds.
 */
#include "origin/limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rand.h"
#include "lib/runopts.h"

#define START_NS (1000 * NSEC_PER_SEC)

/* --- rate --- */

static void no_qps_is_no_bound(void **state)
{
	struct limit_rate rate;

	(void)state;
	limit_rate_init(&rate, 0, 1);
	for (uint32_t i = 0; i < 100000; i++)
		assert_int_equal(limit_rate_take(&rate, START_NS, LIMIT_BACKGROUND), 0);
}

static void rate_beyond_the_clock_is_rounded_down(void **state)
{
	struct limit_rate rate;

	(void)state;
	limit_rate_init(&rate, UINT32_MAX, 1);
	assert_int_equal(limit_rate_take(&rate, START_NS, LIMIT_CLIENT), 0);
	assert_int_equal(limit_rate_take(&rate, START_NS, LIMIT_CLIENT), 1);
}

static void full_bucket_gives_its_burst_and_then_the_rate(void **state)
{
	struct limit_rate rate;
	uint64_t now_ns = START_NS;

	(void)state;
	limit_rate_init(&rate, 100, 20);
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(limit_rate_take(&rate, now_ns, LIMIT_CLIENT), 0);
	for (uint32_t i = 0; i < 50; i++) {
		uint64_t wait_ns = limit_rate_take(&rate, now_ns, LIMIT_CLIENT);

		assert_int_equal(wait_ns, NSEC_PER_SEC / 100);
		assert_int_not_equal(limit_rate_take(&rate, now_ns + wait_ns - 1, LIMIT_CLIENT), 0);
		now_ns += wait_ns;
		assert_int_equal(limit_rate_take(&rate, now_ns, LIMIT_CLIENT), 0);
	}
	/* A long rest fills it to its burst and no further. */
	now_ns += 3600 * NSEC_PER_SEC;
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(limit_rate_take(&rate, now_ns, LIMIT_CLIENT), 0);
	assert_int_not_equal(limit_rate_take(&rate, now_ns, LIMIT_CLIENT), 0);
}

static void background_leaves_half_a_bucket_to_clients(void **state)
{
	struct limit_rate rate;
	uint32_t background_cnt = 0, client_cnt = 0;

	(void)state;
	limit_rate_init(&rate, 100, 20);
	while (!limit_rate_take(&rate, START_NS, LIMIT_BACKGROUND))
		background_cnt++;
	while (!limit_rate_take(&rate, START_NS, LIMIT_CLIENT))
		client_cnt++;
	assert_int_equal(background_cnt, 10);
	assert_int_equal(client_cnt, 10);
	/* With clients taking all there is, nothing of it is the background's. */
	for (uint64_t ms = 1; ms < 1000; ms++) {
		uint64_t now_ns = START_NS + ms * NSEC_PER_MSEC;

		limit_rate_take(&rate, now_ns, LIMIT_CLIENT);
		assert_int_not_equal(limit_rate_take(&rate, now_ns, LIMIT_BACKGROUND), 0);
	}
}

static void bucket_of_one_token_serves_the_background_too(void **state)
{
	struct limit_rate rate;

	(void)state;
	limit_rate_init(&rate, 10, 1);
	assert_int_equal(limit_rate_take(&rate, START_NS, LIMIT_BACKGROUND), 0);
	assert_int_not_equal(limit_rate_take(&rate, START_NS, LIMIT_BACKGROUND), 0);
}

#define TAKES 20000

static void in_any_span_of_time_the_rate_holds(void **state)
{
	static uint64_t taken_ns[TAKES];
	struct rand rand;

	(void)state;
	rand_init(&rand, runopts_seed());
	for (uint32_t round = 0; round < 10; round++) {
		uint32_t qps = 1 + (uint32_t)rand_below(&rand, 30000), cnt = 0;
		uint32_t burst = 1 + (uint32_t)rand_below(&rand, 50);
		struct limit_rate rate;
		uint64_t now_ns = START_NS;

		limit_rate_init(&rate, qps, burst);
		while (cnt < TAKES) {
			if (!limit_rate_take(&rate, now_ns, (enum limit_who)rand_below(&rand, 2)))
				taken_ns[cnt++] = now_ns;
			now_ns += rand_below(&rand, NSEC_PER_SEC / qps);
		}
		/* burst + 1 tokens take at least the time of one, burst + k that of k. */
		for (uint32_t i = burst; i < cnt; i++) {
			uint32_t k = 1 + (uint32_t)rand_below(&rand, cnt - i);
			uint64_t span_ns = taken_ns[i + k - 1] - taken_ns[i - burst];

			assert_true((double)span_ns * qps >= (double)k * NSEC_PER_SEC * 0.999999);
		}
		/* And nobody is held back without need: asked for all the time, it gives qps. */
		assert_true((double)(taken_ns[cnt - 1] - START_NS) * qps <=
			    1.6 * cnt * NSEC_PER_SEC);
	}
}

/* --- room --- */

static void enters_until_full_then_waits_then_is_refused(void **state)
{
	struct limit_waiter waiters[5];
	struct limit_room room;

	(void)state;
	limit_room_init(&room, 2, 1, 2);
	assert_int_equal(limit_enter(&room, &waiters[0], LIMIT_CLIENT), LIMIT_ENTERED);
	assert_int_equal(limit_enter(&room, &waiters[1], LIMIT_CLIENT), LIMIT_ENTERED);
	assert_int_equal(limit_enter(&room, &waiters[2], LIMIT_CLIENT), LIMIT_WAITS);
	assert_int_equal(limit_enter(&room, &waiters[3], LIMIT_CLIENT), LIMIT_WAITS);
	assert_int_equal(limit_enter(&room, &waiters[4], LIMIT_CLIENT), LIMIT_FULL);
	assert_int_equal(room.refused_cnt[LIMIT_CLIENT], 1);
	assert_null(limit_pick(&room));
	limit_leave(&room, LIMIT_CLIENT);
	assert_ptr_equal(limit_pick(&room), &waiters[2]);
	assert_null(limit_pick(&room));
	/* The place in line is free again, the one in the room is not. */
	assert_int_equal(limit_enter(&room, &waiters[4], LIMIT_CLIENT), LIMIT_WAITS);
}

static void background_has_its_share_and_no_more(void **state)
{
	struct limit_waiter waiters[6];
	struct limit_room room;

	(void)state;
	limit_room_init(&room, 4, 2, 8);
	assert_int_equal(limit_enter(&room, &waiters[0], LIMIT_BACKGROUND), LIMIT_ENTERED);
	assert_int_equal(limit_enter(&room, &waiters[1], LIMIT_BACKGROUND), LIMIT_ENTERED);
	assert_int_equal(limit_enter(&room, &waiters[2], LIMIT_BACKGROUND), LIMIT_WAITS);
	assert_int_equal(limit_enter(&room, &waiters[3], LIMIT_CLIENT), LIMIT_ENTERED);
	assert_int_equal(limit_enter(&room, &waiters[4], LIMIT_CLIENT), LIMIT_ENTERED);
	limit_leave(&room, LIMIT_CLIENT);
	assert_null(limit_pick(&room));
	limit_leave(&room, LIMIT_BACKGROUND);
	assert_ptr_equal(limit_pick(&room), &waiters[2]);
}

static void clients_go_first_whoever_came_first(void **state)
{
	struct limit_waiter running, refresh, miss;
	struct limit_room room;

	(void)state;
	limit_room_init(&room, 1, 1, 8);
	limit_enter(&room, &running, LIMIT_CLIENT);
	assert_int_equal(limit_enter(&room, &refresh, LIMIT_BACKGROUND), LIMIT_WAITS);
	assert_int_equal(limit_enter(&room, &miss, LIMIT_CLIENT), LIMIT_WAITS);
	limit_leave(&room, LIMIT_CLIENT);
	/* A refresh that comes just now does not slip in either. */
	assert_ptr_equal(limit_pick(&room), &miss);
	limit_leave(&room, LIMIT_CLIENT);
	assert_ptr_equal(limit_pick(&room), &refresh);
}

static void nobody_overtakes_between_a_leave_and_the_pick(void **state)
{
	struct limit_waiter running, miss, later, refresh;
	struct limit_room room;

	(void)state;
	limit_room_init(&room, 1, 1, 8);
	limit_enter(&room, &running, LIMIT_CLIENT);
	limit_enter(&room, &miss, LIMIT_CLIENT);
	limit_leave(&room, LIMIT_CLIENT);
	assert_int_equal(limit_enter(&room, &later, LIMIT_CLIENT), LIMIT_WAITS);
	assert_int_equal(limit_enter(&room, &refresh, LIMIT_BACKGROUND), LIMIT_WAITS);
	assert_ptr_equal(limit_pick(&room), &miss);
}

/* --- room: random traffic against a model that keeps plain arrays --- */

#define WAITERS 64
#define STEPS 100000

struct model {
	struct limit_waiter waiters[WAITERS];
	enum { IDLE, STANDS, RUNS } what[WAITERS];
	uint64_t arrived[WAITERS];
	uint64_t arrival_cnt;
};

static uint32_t count(const struct model *model, int what, enum limit_who who)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < WAITERS; i++)
		cnt += (int)model->what[i] == what && model->waiters[i].who == who;
	return cnt;
}

static int longest_waiting(const struct model *model, enum limit_who who)
{
	int first = -1;

	for (int i = 0; i < WAITERS; i++) {
		if (model->what[i] == STANDS && model->waiters[i].who == who &&
		    (first < 0 || model->arrived[i] < model->arrived[first]))
			first = i;
	}
	return first;
}

static void model_pick(struct model *model, struct limit_room *room)
{
	struct limit_waiter *picked;

	do {
		uint32_t running =
			count(model, RUNS, LIMIT_CLIENT) + count(model, RUNS, LIMIT_BACKGROUND);
		int expected = -1;

		if (running < room->running_max) {
			expected = longest_waiting(model, LIMIT_CLIENT);
			if (expected < 0 &&
			    count(model, RUNS, LIMIT_BACKGROUND) < room->background_max)
				expected = longest_waiting(model, LIMIT_BACKGROUND);
		}
		picked = limit_pick(room);
		assert_ptr_equal(picked, expected < 0 ? NULL : &model->waiters[expected]);
		if (picked)
			model->what[expected] = RUNS;
	} while (picked);
}

static void model_step(struct model *model, struct limit_room *room, struct rand *rand)
{
	uint32_t i = (uint32_t)rand_below(rand, WAITERS);
	enum limit_who who = (enum limit_who)rand_below(rand, 2);

	if (model->what[i] == RUNS) {
		model->what[i] = IDLE;
		limit_leave(room, model->waiters[i].who);
		model_pick(model, room);
	} else if (model->what[i] == STANDS) {
		if (rand_below(rand, 8))
			return;
		model->what[i] = IDLE;
		limit_remove(room, &model->waiters[i]);
		limit_remove(room, &model->waiters[i]);
		model_pick(model, room);
	} else {
		uint32_t waiting = count(model, STANDS, who);
		enum limit_verdict verdict = limit_enter(room, &model->waiters[i], who);

		assert_int_equal(verdict == LIMIT_FULL,
				 waiting >= room->waiting_max && verdict != LIMIT_ENTERED);
		model->what[i] = verdict == LIMIT_ENTERED ? RUNS
				 : verdict == LIMIT_WAITS ? STANDS
							  : IDLE;
		model->arrived[i] = model->arrival_cnt++;
		/* Whoever could have entered did. */
		model_pick(model, room);
	}
	assert_true(count(model, RUNS, LIMIT_CLIENT) + count(model, RUNS, LIMIT_BACKGROUND) <=
		    room->running_max);
	assert_true(count(model, RUNS, LIMIT_BACKGROUND) <= room->background_max);
	assert_true(count(model, STANDS, who) <= room->waiting_max);
}

static void whoever_comes_and_goes_the_room_is_the_models(void **state)
{
	struct rand rand;

	(void)state;
	rand_init(&rand, runopts_seed());
	for (uint32_t round = 0; round < 10; round++) {
		uint32_t running_max = 1 + (uint32_t)rand_below(&rand, 12);
		struct model model = { .arrival_cnt = 0 };
		struct limit_room room;

		limit_room_init(&room, running_max, (uint32_t)rand_below(&rand, running_max + 1),
				(uint32_t)rand_below(&rand, 20));
		for (uint32_t i = 0; i < STEPS / 10; i++)
			model_step(&model, &room, &rand);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_qps_is_no_bound),
		cmocka_unit_test(rate_beyond_the_clock_is_rounded_down),
		cmocka_unit_test(full_bucket_gives_its_burst_and_then_the_rate),
		cmocka_unit_test(background_leaves_half_a_bucket_to_clients),
		cmocka_unit_test(bucket_of_one_token_serves_the_background_too),
		cmocka_unit_test(in_any_span_of_time_the_rate_holds),
		cmocka_unit_test(enters_until_full_then_waits_then_is_refused),
		cmocka_unit_test(background_has_its_share_and_no_more),
		cmocka_unit_test(clients_go_first_whoever_came_first),
		cmocka_unit_test(nobody_overtakes_between_a_leave_and_the_pick),
		cmocka_unit_test(whoever_comes_and_goes_the_room_is_the_models),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
