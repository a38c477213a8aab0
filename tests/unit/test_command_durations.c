/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each request counts once, under its kind, with the time from its turn's start to the next send,
 * whatever the clock was looked at for in between. Method: the clock is moved by hand between the
 * requests of a turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/command_rig.h"
#include "protocol/compose_text.h"

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

static struct histogram *taken(enum command_op op)
{
	static struct histogram h;

	histogram_init(&h);
	command_durations(rig.command, op, &h);
	return &h;
}

static void request_takes_from_its_turn_to_its_send(void **state)
{
	(void)state;
	command_rig_run(&rig, "set a 0 0 1\r\nx\r\n");
	assert_int_equal(taken(COMMAND_OP_SET)->cnt, 0);
	fake_clock_add(&rig.time, 3000);
	command_replied(rig.worker);
	assert_int_equal(taken(COMMAND_OP_SET)->cnt, 1);
	assert_int_equal(taken(COMMAND_OP_SET)->max, 3000);
	assert_int_equal(command_turn_took_ns(rig.worker), 3000);
	/* Nothing was asked since. */
	fake_clock_add(&rig.time, 1000);
	command_replied(rig.worker);
	assert_int_equal(taken(COMMAND_OP_SET)->cnt, 1);
	assert_int_equal(command_turn_took_ns(rig.worker), 3000);
	command_turn(rig.worker);
	assert_int_equal(command_turn_took_ns(rig.worker), 0);
}

static void kinds_are_told_apart(void **state)
{
	static const struct {
		const char *text;
		enum command_op op;
	} rows[] = {
		{ "get a b c\r\n", COMMAND_OP_GET },
		{ "gets a\r\n", COMMAND_OP_GET },
		{ "gat 5 a\r\n", COMMAND_OP_GET },
		{ "mg a v\r\n", COMMAND_OP_GET },
		{ "set a 0 0 1\r\n1\r\n", COMMAND_OP_SET },
		{ "cas a 0 0 1 99\r\n1\r\n", COMMAND_OP_SET },
		{ "ms a 1\r\n1\r\n", COMMAND_OP_SET },
		{ "set a 0 0 9000000\r\n", COMMAND_OP_SET }, /* too large: not let in */
		{ "set a 0 0 1 noreply\r\n1\r\n", COMMAND_OP_SET },
		{ "incr a 1\r\n", COMMAND_OP_ARITH },
		{ "ma a\r\n", COMMAND_OP_ARITH },
		{ "touch a 5\r\n", COMMAND_OP_TOUCH },
		{ "delete a\r\n", COMMAND_OP_DELETE },
		{ "md a\r\n", COMMAND_OP_DELETE },
		{ "mn\r\n", COMMAND_OP_OTHER },
		{ "version\r\n", COMMAND_OP_OTHER },
		{ "nonsense\r\n", COMMAND_OP_OTHER },
	};
	uint64_t want[COMMAND_OP_CNT] = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		command_rig_run(&rig, rows[i].text);
		command_replied(rig.worker);
		want[rows[i].op]++;
		for (int op = 0; op < COMMAND_OP_CNT; op++) {
			if (taken((enum command_op)op)->cnt != want[op])
				fail_msg("after %s kind %d has %llu, not %llu", rows[i].text, op,
					 (unsigned long long)taken((enum command_op)op)->cnt,
					 (unsigned long long)want[op]);
		}
	}
}

static void clock_read_within_the_turn_changes_nothing(void **state)
{
	struct request req = {
		.verb = REQUEST_TOUCH, .key = span_str("a"), .exptime = 10, .compose = &compose_text
	};

	(void)state;
	command_turn(rig.worker);
	fake_clock_add(&rig.time, 500);
	assert_int_equal(command_apply(rig.worker, &req, &rig.resp), COMMAND_DONE);
	fake_clock_add(&rig.time, 3000);
	command_replied(rig.worker);
	assert_int_equal(taken(COMMAND_OP_TOUCH)->max, 3500);
	assert_int_equal(command_turn_took_ns(rig.worker), 3500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(request_takes_from_its_turn_to_its_send, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(clock_read_within_the_turn_changes_nothing, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(kinds_are_told_apart, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
