/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * get, gets, gat, gats and touch answer with what the store holds, count it under memcached's
 * names, and hold expiry to the millisecond. Method: protocol text on a real store and a clock set
 * by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/command_rig.h"

#define DAY_SEC 86400ULL

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

static void get_hits_and_misses_are_counted(void **state)
{
	(void)state;
	command_rig_run(&rig, "set a 5 0 1\r\nx\r\n");
	assert_string_equal(command_rig_run(&rig, "get a b a\r\n"),
			    "VALUE a 5 1\r\nx\r\nVALUE a 5 1\r\nx\r\nEND\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "cmd_get"), 3);
	assert_int_equal(command_rig_stat(&rig, "get_hits"), 2);
	assert_int_equal(command_rig_stat(&rig, "get_misses"), 1);
	assert_int_equal(command_rig_stat(&rig, "cmd_touch"), 0);
}

/* Found out of date by a get, unless the background was faster: so more than once each. */
static void get_expired_and_flushed_are_counted_apart(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		command_rig_run(&rig, "set a 0 -1 1\r\nx\r\nget a\r\nget absent\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "get_misses"), 200);
	assert_in_range(command_rig_stat(&rig, "get_expired"), 10, 100);
	assert_int_equal(command_rig_stat(&rig, "get_flushed"), 0);
	command_rig_run(&rig, "stats reset\r\n");
	for (uint32_t i = 0; i < 100; i++)
		command_rig_run(&rig, "set b 0 0 1\r\nx\r\nflush_all\r\nget b\r\nget absent\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "get_misses"), 200);
	assert_in_range(command_rig_stat(&rig, "get_flushed"), 10, 100);
	assert_int_equal(command_rig_stat(&rig, "get_expired"), 0);
}

static void gat_counts_as_touch(void **state)
{
	(void)state;
	command_rig_run(&rig, "set a 0 0 1\r\nx\r\n");
	assert_string_equal(command_rig_run(&rig, "gat 10 a b\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
	command_rig_run(&rig, "touch a 5\r\ntouch b 5\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "cmd_get"), 0);
	assert_int_equal(command_rig_stat(&rig, "cmd_touch"), 4);
	assert_int_equal(command_rig_stat(&rig, "touch_hits"), 2);
	assert_int_equal(command_rig_stat(&rig, "touch_misses"), 2);
}

static void get_more_than_a_reply_holds_goes_on_where_it_stopped(void **state)
{
	static char text[200000];
	size_t len = 0;

	(void)state;
	len += (size_t)sprintf(text, "set a 0 0 3000\r\n");
	memset(text + len, 'v', 3000);
	strcpy(text + len + 3000, "\r\n");
	assert_string_equal(command_rig_run(&rig, text), "STORED\r\n");
	/* far over the reply's bound in all */
	len = (size_t)sprintf(text, "get");
	for (uint32_t i = 0; i < 500; i++)
		len += (size_t)sprintf(text + len, i % 2 ? " absent%u" : " a", i);
	strcpy(text + len, "\r\n");
	command_rig_run(&rig, text);
	assert_int_equal(rig.text_len,
			 250 * (strlen("VALUE a 0 3000\r\n\r\n") + 3000) + strlen("END\r\n"));
	assert_string_equal(rig.text + rig.text_len - 7, "\r\nEND\r\n");
}

/* The last millisecond at which the item is there, and the first at which it is not. */
static void assert_expires(const char *exptime, uint64_t after_ms)
{
	char text[100];
	uint64_t start_ns = rig.time.boot_ns;
	uint64_t start_unix_ns = rig.time.unix_ns;

	snprintf(text, sizeof(text), "set a 0 %s 1\r\nx\r\n", exptime);
	command_rig_run(&rig, text);
	fake_clock_add(&rig.time, (after_ms - 100) * NSEC_PER_MSEC);
	if (strcmp(command_rig_run(&rig, "get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n") != 0)
		fail_msg("exptime %s: gone 100 ms before its time", exptime);
	fake_clock_add(&rig.time, 200 * NSEC_PER_MSEC);
	if (strcmp(command_rig_run(&rig, "get a\r\n"), "END\r\n") != 0)
		fail_msg("exptime %s: still there 100 ms after its time", exptime);
	rig.time.boot_ns = start_ns;
	rig.time.unix_ns = start_unix_ns;
}

static void exptime_relative_and_absolute_are_exact(void **state)
{
	char text[32];

	(void)state;
	assert_expires("1", 1000);
	assert_expires("100", 100000);
	assert_expires("2592000", 30 * DAY_SEC * 1000);
	/* Unix time 10 s ahead; the clock stands a quarter of a second past a full one */
	snprintf(text, sizeof(text), "%llu",
		 (unsigned long long)(COMMAND_RIG_UNIX_NS / NSEC_PER_SEC + 10));
	assert_expires(text, 9750);
}

static void exptime_gone_or_never(void **state)
{
	static const char *const gone[] = { "-1", "-9223372036854775808", "2592001", "1699999999" };
	static const char *const never[] = { "0", "9223372036854775807", "4102444800" };
	char text[100];

	(void)state;
	for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
		snprintf(text, sizeof(text), "set a 0 %s 1\r\nx\r\nget a\r\n", gone[i]);
		assert_string_equal(command_rig_run(&rig, text), "STORED\r\nEND\r\n");
	}
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
		snprintf(text, sizeof(text), "set a%zu 0 %s 1\r\nx\r\n", i, never[i]);
		command_rig_run(&rig, text);
	}
	fake_clock_add(&rig.time, 365 * DAY_SEC * NSEC_PER_SEC);
	assert_string_equal(
		command_rig_run(&rig, "get a0 a1 a2\r\n"),
		"VALUE a0 0 1\r\nx\r\nVALUE a1 0 1\r\nx\r\nVALUE a2 0 1\r\nx\r\nEND\r\n");
}

static void touch_and_gat_move_the_expiry(void **state)
{
	(void)state;
	command_rig_run(&rig, "set a 0 1 1\r\nx\r\nset b 0 1 1\r\ny\r\nset c 0 0 1\r\nz\r\n");
	command_rig_run(&rig, "touch a 100\r\ngat 100 b\r\ntouch c 1\r\n");
	fake_clock_add(&rig.time, 2 * NSEC_PER_SEC);
	assert_string_equal(command_rig_run(&rig, "get a b c\r\n"),
			    "VALUE a 0 1\r\nx\r\nVALUE b 0 1\r\ny\r\nEND\r\n");
	fake_clock_add(&rig.time, 100 * NSEC_PER_SEC);
	assert_string_equal(command_rig_run(&rig, "get a b c\r\n"), "END\r\n");
}

/* The address sanitizer watches over the room that keys are decoded into. */
static void meta_key_too_long_when_decoded_is_refused_undecoded(void **state)
{
	char line[1100] = "mg ";

	(void)state;
	memset(line + 3, 'A', 336); /* 252 bytes */
	strcpy(line + 3 + 336, " b\r\n");
	assert_string_equal(command_rig_run(&rig, line),
			    "CLIENT_ERROR bad command line format\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(get_hits_and_misses_are_counted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(get_expired_and_flushed_are_counted_apart, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(gat_counts_as_touch, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			get_more_than_a_reply_holds_goes_on_where_it_stopped, set_up, tear_down),
		cmocka_unit_test_setup_teardown(exptime_relative_and_absolute_are_exact, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(exptime_gone_or_never, set_up, tear_down),
		cmocka_unit_test_setup_teardown(touch_and_gat_move_the_expiry, set_up, tear_down),
		cmocka_unit_test_setup_teardown(meta_key_too_long_when_decoded_is_refused_undecoded,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
