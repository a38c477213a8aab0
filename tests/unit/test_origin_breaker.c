/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: an origin that dies, by refusing or by silence, is asked no more within a second,
 * whatever it answered before; a well one, and one with a few failures, is always asked; half open
 * one query at a time; pauses grow and start anew; ends of queries from before a change of state
 * change nothing. Method: simulated time, clients at a given rate; a random walk with seeds checks
 * what must hold at every step.
 */
#include "origin/breaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/fake_clock.h"
#include "lib/runopts.h"

#define START_NS (1000 * NSEC_PER_SEC)

static struct fake_clock fake;
static struct breaker breaker;
static struct breaker_conf conf;

static int setup(void **state)
{
	(void)state;
	fake_clock_init(&fake, START_NS, 0);
	conf = BREAKER_CONF_DEFAULT;
	breaker_init(&breaker, &conf, &fake.clock, 7);
	return 0;
}

static void wait_ms(uint32_t ms)
{
	fake_clock_add(&fake, ms * NSEC_PER_MSEC);
}

static bool ask(enum breaker_end end)
{
	uint32_t era;

	if (!breaker_admit(&breaker, &era))
		return false;
	breaker_finish(&breaker, era, end);
	return true;
}

/* A query every gap_us for so long; false as soon as one is refused. */
static bool ask_for(uint32_t ms, uint32_t gap_us, enum breaker_end end)
{
	for (uint64_t us = 0; us < ms * 1000ULL; us += gap_us) {
		if (!ask(end))
			return false;
		fake_clock_add(&fake, gap_us * 1000ULL);
	}
	return true;
}

static void fail_until_open(void)
{
	while (breaker_look(&breaker) == BREAKER_CLOSED)
		ask(BREAKER_FAILED);
	assert_int_equal(breaker.state, BREAKER_OPEN);
}

static void wait_out_the_pause(void)
{
	fake_clock_add(&fake, breaker_next_ns(&breaker) - clock_now_ns(&fake.clock));
	assert_int_equal(breaker_look(&breaker), BREAKER_HALF_OPEN);
}

static void answered_queries_keep_it_closed(void **state)
{
	(void)state;
	assert_true(ask_for(10000, 1000, BREAKER_ANSWERED));
	assert_int_equal(breaker.state, BREAKER_CLOSED);
	assert_int_equal(breaker.opened_cnt, 0);
}

static void death_by_refusal_opens_it_within_a_second_at_any_rate(void **state)
{
	static const uint32_t gaps_us[] = { 20, 333, 1000, 25000, 90000 };

	(void)state;
	/* Dies at every place in the window. */
	for (uint32_t i = 0; i < 5; i++) {
		for (uint32_t before_ms = 1000; before_ms < 2000; before_ms += 130) {
			uint64_t died_ns;

			setup(NULL);
			assert_true(ask_for(before_ms, gaps_us[i], BREAKER_ANSWERED));
			died_ns = clock_now_ns(&fake.clock);
			assert_false(ask_for(2000, gaps_us[i], BREAKER_FAILED));
			assert_true(clock_now_ns(&fake.clock) - died_ns <= NSEC_PER_SEC);
			assert_int_equal(breaker.state, BREAKER_OPEN);
		}
	}
}

static void death_by_silence_opens_it_within_a_second(void **state)
{
	uint32_t era, asked_cnt = 0;
	uint64_t died_ns;

	(void)state;
	ask_for(3000, 1000, BREAKER_ANSWERED);
	died_ns = clock_now_ns(&fake.clock);
	while (breaker_admit(&breaker, &era)) {
		asked_cnt++;
		wait_ms(10);
	}
	assert_true(clock_now_ns(&fake.clock) - died_ns <= 600 * NSEC_PER_MSEC);
	assert_true(asked_cnt >= 40);
}

static void silence_is_found_by_time_alone(void **state)
{
	uint32_t era;

	(void)state;
	assert_true(breaker_next_ns(&breaker) == UINT64_MAX);
	for (uint32_t i = 0; i < conf.failure_min; i++)
		assert_true(breaker_admit(&breaker, &era));
	assert_true(breaker_next_ns(&breaker) == START_NS + conf.quiet_ms * NSEC_PER_MSEC);
	wait_ms(conf.quiet_ms - 1);
	assert_int_equal(breaker_look(&breaker), BREAKER_CLOSED);
	wait_ms(1);
	assert_int_equal(breaker_look(&breaker), BREAKER_OPEN);
}

static void few_that_wait_long_are_slow_and_not_silence(void **state)
{
	uint32_t era;

	(void)state;
	for (uint32_t i = 0; i + 1 < conf.failure_min; i++)
		assert_true(breaker_admit(&breaker, &era));
	wait_ms(10 * conf.quiet_ms);
	assert_int_equal(breaker_look(&breaker), BREAKER_CLOSED);
}

static void slow_queries_beside_answers_are_not_silence(void **state)
{
	uint32_t era;

	(void)state;
	for (uint32_t i = 0; i < 3 * conf.failure_min; i++)
		assert_true(breaker_admit(&breaker, &era));
	assert_true(ask_for(5000, 100000, BREAKER_ANSWERED));
}

static void idle_time_is_not_silence(void **state)
{
	uint32_t era;

	(void)state;
	ask(BREAKER_ANSWERED);
	wait_ms(60000);
	for (uint32_t i = 0; i < conf.failure_min; i++)
		assert_true(breaker_admit(&breaker, &era));
	assert_int_equal(breaker_look(&breaker), BREAKER_CLOSED);
}

static void few_failures_among_many_answers_keep_it_closed(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 20000; i++) {
		assert_true(ask(i % 5 > 2 ? BREAKER_FAILED : BREAKER_ANSWERED));
		wait_ms(1);
	}
	assert_int_equal(breaker.opened_cnt, 0);
}

static void failures_below_the_least_count_keep_it_closed(void **state)
{
	(void)state;
	for (uint32_t i = 0; i + 1 < conf.failure_min; i++)
		assert_true(ask(BREAKER_FAILED));
	assert_int_equal(breaker_look(&breaker), BREAKER_CLOSED);
	/* They have left the window when the next ones come. */
	wait_ms(conf.window_ms);
	for (uint32_t i = 0; i + 1 < conf.failure_min; i++)
		assert_true(ask(BREAKER_FAILED));
	assert_int_equal(breaker_look(&breaker), BREAKER_CLOSED);
	assert_true(ask(BREAKER_FAILED));
	assert_int_equal(breaker_look(&breaker), BREAKER_OPEN);
}

static void failures_in_both_halves_of_the_window_add_up(void **state)
{
	(void)state;
	wait_ms(conf.window_ms / 2 - 1);
	for (uint32_t i = 0; i + 1 < conf.failure_min; i++)
		assert_true(ask(BREAKER_FAILED));
	wait_ms(conf.window_ms / 2);
	assert_true(ask(BREAKER_FAILED));
	assert_int_equal(breaker_look(&breaker), BREAKER_OPEN);
}

static void void_ends_count_for_nothing(void **state)
{
	(void)state;
	assert_true(ask_for(3000, 1000, BREAKER_VOID));
	for (uint32_t i = 0; i < conf.failure_min; i++)
		assert_true(ask(BREAKER_FAILED));
	assert_int_equal(breaker_look(&breaker), BREAKER_OPEN);
}

static void open_refuses_for_its_pause(void **state)
{
	uint64_t pause_ns;

	(void)state;
	fail_until_open();
	pause_ns = breaker_next_ns(&breaker) - clock_now_ns(&fake.clock);
	assert_in_range(pause_ns / NSEC_PER_MSEC, 800, 1200);
	assert_false(ask(BREAKER_ANSWERED));
	fake_clock_add(&fake, pause_ns - 1);
	assert_false(ask(BREAKER_ANSWERED));
	assert_int_equal(breaker.refused_cnt, 2);
	fake_clock_add(&fake, 1);
	assert_true(ask(BREAKER_ANSWERED));
}

static void half_open_asks_one_at_a_time(void **state)
{
	uint32_t era, other;

	(void)state;
	fail_until_open();
	wait_out_the_pause();
	assert_true(breaker_admit(&breaker, &era));
	assert_false(breaker_admit(&breaker, &other));
	breaker_finish(&breaker, era, BREAKER_VOID);
	assert_true(breaker_admit(&breaker, &era));
	assert_false(breaker_admit(&breaker, &other));
}

static void enough_answered_probes_close_it(void **state)
{
	(void)state;
	fail_until_open();
	wait_out_the_pause();
	for (uint32_t i = 0; i < conf.probe_cnt; i++) {
		assert_int_equal(breaker.state, BREAKER_HALF_OPEN);
		assert_true(ask(BREAKER_ANSWERED));
	}
	assert_int_equal(breaker.state, BREAKER_CLOSED);
	assert_true(ask_for(3000, 1000, BREAKER_ANSWERED));
}

static void failed_probe_opens_it_for_longer_up_to_a_bound(void **state)
{
	uint64_t expected_ms = conf.pause_ms;

	(void)state;
	fail_until_open();
	for (uint32_t i = 0; i < 10; i++) {
		uint64_t ms =
			(breaker_next_ns(&breaker) - clock_now_ns(&fake.clock)) / NSEC_PER_MSEC;

		assert_in_range(ms, expected_ms * 80 / 100, expected_ms * 120 / 100);
		expected_ms *= 2;
		if (expected_ms > conf.pause_max_ms)
			expected_ms = conf.pause_max_ms;
		wait_out_the_pause();
		/* One answer less than would close it. */
		for (uint32_t k = 0; k + 1 < conf.probe_cnt; k++)
			assert_true(ask(BREAKER_ANSWERED));
		assert_true(ask(BREAKER_FAILED));
		assert_int_equal(breaker.state, BREAKER_OPEN);
	}
	wait_out_the_pause();
	for (uint32_t k = 0; k < conf.probe_cnt; k++)
		assert_true(ask(BREAKER_ANSWERED));
	fail_until_open();
	assert_true(breaker_next_ns(&breaker) - clock_now_ns(&fake.clock) <= 1200 * NSEC_PER_MSEC);
}

static void pauses_of_two_hosts_differ(void **state)
{
	uint64_t first_ns;

	(void)state;
	fail_until_open();
	first_ns = breaker_next_ns(&breaker);
	setup(NULL);
	breaker_init(&breaker, &conf, &fake.clock, 8);
	fail_until_open();
	assert_true(breaker_next_ns(&breaker) != first_ns);
}

static void ends_from_before_a_change_change_nothing(void **state)
{
	uint32_t old[8], era;

	(void)state;
	for (uint32_t i = 0; i < 8; i++)
		assert_true(breaker_admit(&breaker, &old[i]));
	fail_until_open();
	breaker_finish(&breaker, old[0], BREAKER_ANSWERED);
	assert_int_equal(breaker.state, BREAKER_OPEN);
	wait_out_the_pause();
	assert_true(breaker_admit(&breaker, &era));
	breaker_finish(&breaker, old[1], BREAKER_FAILED);
	assert_int_equal(breaker.state, BREAKER_HALF_OPEN);
	for (uint32_t i = 2; i < 6; i++)
		breaker_finish(&breaker, old[i], BREAKER_ANSWERED);
	assert_int_equal(breaker.state, BREAKER_HALF_OPEN);
	/* The probe is still the only one. */
	assert_false(ask(BREAKER_ANSWERED));
	breaker_finish(&breaker, era, BREAKER_ANSWERED);
	while (breaker.state == BREAKER_HALF_OPEN)
		assert_true(ask(BREAKER_ANSWERED));
	for (uint32_t i = 0; i < 100; i++)
		breaker_finish(&breaker, old[6], BREAKER_FAILED);
	assert_int_equal(breaker.state, BREAKER_CLOSED);
}

static void states_have_names(void **state)
{
	(void)state;
	assert_string_equal(breaker_state_name(BREAKER_CLOSED), "closed");
	assert_string_equal(breaker_state_name(BREAKER_OPEN), "open");
	assert_string_equal(breaker_state_name(BREAKER_HALF_OPEN), "half_open");
}

/* --- random walk: an origin that dies and comes back, clients that never stop --- */

#define UNDER_WAY_MAX 64
#define STEPS 200000

struct walk {
	struct rand rand;
	uint32_t eras[UNDER_WAY_MAX];
	uint32_t cnt;
	bool alive;
	uint64_t since_ns; /* the origin is as it is */
};

static void walk_finish(struct walk *walk, enum breaker_end end)
{
	uint32_t i = (uint32_t)rand_below(&walk->rand, walk->cnt);

	breaker_finish(&breaker, walk->eras[i], end);
	walk->eras[i] = walk->eras[--walk->cnt];
}

static void walk_step(struct walk *walk)
{
	uint64_t now_ns = clock_now_ns(&fake.clock);
	uint32_t era, before = breaker.era;
	enum breaker_state state = breaker.state;

	fake_clock_add(&fake, rand_below(&walk->rand, 2 * NSEC_PER_MSEC));
	if (now_ns - walk->since_ns > 20 * NSEC_PER_SEC) {
		walk->alive = !walk->alive;
		walk->since_ns = now_ns;
	}
	if (walk->cnt < UNDER_WAY_MAX && breaker_admit(&breaker, &era)) {
		assert_true(breaker.state != BREAKER_OPEN);
		/* What the first second leaves over is the breaker's. */
		if (!walk->alive && breaker.state == BREAKER_CLOSED)
			assert_true(now_ns - walk->since_ns <= NSEC_PER_SEC);
		walk->eras[walk->cnt++] = era;
	}
	if (breaker.state == BREAKER_HALF_OPEN)
		assert_true(breaker.running_cnt <= 1);
	if (walk->cnt && rand_below(&walk->rand, 2))
		walk_finish(walk, walk->alive ? BREAKER_ANSWERED : BREAKER_FAILED);
	/* A well origin is asked again at the latest a longest pause after it came back. */
	if (walk->alive && now_ns - walk->since_ns > 19 * NSEC_PER_SEC)
		assert_int_equal(breaker.state, BREAKER_CLOSED);
	assert_true((breaker.state == state) == (breaker.era == before) ||
		    breaker.era > before + 1);
}

static void whatever_happens_the_invariants_hold(void **state)
{
	struct walk walk = { .alive = true, .since_ns = START_NS };

	(void)state;
	rand_init(&walk.rand, runopts_seed());
	for (uint32_t i = 0; i < STEPS; i++)
		walk_step(&walk);
	assert_true(breaker.opened_cnt >= 4);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(answered_queries_keep_it_closed),
		TEST(death_by_refusal_opens_it_within_a_second_at_any_rate),
		TEST(death_by_silence_opens_it_within_a_second),
		TEST(silence_is_found_by_time_alone),
		TEST(few_that_wait_long_are_slow_and_not_silence),
		TEST(slow_queries_beside_answers_are_not_silence),
		TEST(idle_time_is_not_silence),
		TEST(few_failures_among_many_answers_keep_it_closed),
		TEST(failures_below_the_least_count_keep_it_closed),
		TEST(failures_in_both_halves_of_the_window_add_up),
		TEST(void_ends_count_for_nothing),
		TEST(open_refuses_for_its_pause),
		TEST(half_open_asks_one_at_a_time),
		TEST(enough_answered_probes_close_it),
		TEST(failed_probe_opens_it_for_longer_up_to_a_bound),
		TEST(pauses_of_two_hosts_differ),
		TEST(ends_from_before_a_change_change_nothing),
		TEST(states_have_names),
		TEST(whatever_happens_the_invariants_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
