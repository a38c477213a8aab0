/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * incr, decr and delete do what a model does, over the whole 64-bit range, and count it. Method:
 * seeded random operations against plain arithmetic.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "lib/command_rig.h"

#define ROUNDS 20000

static struct command_rig rig;

static int set_up(void **state)
{
	(void)state;
	command_rig_init(&rig, NULL);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	command_rig_fini(&rig);
	return 0;
}

static void arith_random_operations_follow_the_model(void **state)
{
	const char *text_seed = getenv("XC_TEST_SEED");
	uint64_t seed = text_seed ? strtoull(text_seed, NULL, 0) : 64;
	uint64_t number = 0, incr_cnt = 0, decr_cnt = 0;
	char text[128], want[64];
	struct rand r;

	(void)state;
	print_message("seed %" PRIu64 "\n", seed);
	rand_init(&r, seed);
	command_rig_run(&rig, "set n 3 0 1\r\n0\r\n");
	for (uint32_t i = 0; i < ROUNDS; i++) {
		uint64_t delta = rand_next(&r) >> rand_below(&r, 64);
		bool decr = rand_below(&r, 2);

		number = !decr ? number + delta : number > delta ? number - delta : 0;
		incr_cnt += !decr;
		decr_cnt += decr;
		snprintf(text, sizeof(text), "%s n %" PRIu64 "\r\n", decr ? "decr" : "incr", delta);
		snprintf(want, sizeof(want), "%" PRIu64 "\r\n", number);
		assert_string_equal(command_rig_run(&rig, text), want);
	}
	command_rig_run(&rig, "get n\r\n");
	assert_memory_equal(rig.text, "VALUE n 3 ", 10);
	assert_true(strtoull(strchr(rig.text, '\n') + 1, NULL, 10) == number);
	command_rig_run(&rig, "incr absent 1\r\ndecr absent 1\r\ndecr absent 1\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "incr_hits"), incr_cnt);
	assert_int_equal(command_rig_stat(&rig, "decr_hits"), decr_cnt);
	assert_int_equal(command_rig_stat(&rig, "incr_misses"), 1);
	assert_int_equal(command_rig_stat(&rig, "decr_misses"), 2);
	assert_int_equal(command_rig_stat(&rig, "evictions"), 0);
}

static void arith_keeps_the_expiry(void **state)
{
	(void)state;
	command_rig_run(&rig, "set n 0 10 1\r\n5\r\nincr n 1\r\ndecr n 2\r\nincr n 1000\r\n");
	fake_clock_add(&rig.time, 9 * NSEC_PER_SEC);
	assert_string_equal(command_rig_run(&rig, "incr n 1\r\n"), "1005\r\n");
	fake_clock_add(&rig.time, 2 * NSEC_PER_SEC);
	assert_string_equal(command_rig_run(&rig, "incr n 1\r\n"), "NOT_FOUND\r\n");
}

static void remove_present_and_absent_are_counted(void **state)
{
	(void)state;
	command_rig_run(&rig, "set a 0 0 1\r\nx\r\n");
	assert_string_equal(command_rig_run(&rig, "delete a\r\ndelete a\r\nget a\r\n"),
			    "DELETED\r\nNOT_FOUND\r\nEND\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "delete_hits"), 1);
	assert_int_equal(command_rig_stat(&rig, "delete_misses"), 1);
	assert_int_equal(command_rig_stat(&rig, "curr_items"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(arith_random_operations_follow_the_model, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(arith_keeps_the_expiry, set_up, tear_down),
		cmocka_unit_test_setup_teardown(remove_present_and_absent_are_counted, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
