/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: what the kernel answered counts for `h` and `l` of the meta commands, from the first
 * hit on and for the version that it served; an item that is stale, won or waits for its first
 * value does not enter the kernel, however hot or pinned, and does as soon as it has a new value.
 * Method: a real daemon with the program on lo; its hit counter says who answered.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "lib/client.h"
#include "lib/daemon.h"

#define KEY "watched"
#define GET "get " KEY "\r\n"
#define REPLY "VALUE " KEY " 0 1\r\nx\r\nEND\r\n"
/* Rounds of the promoter are a tenth of a second apart. */
#define ROUNDS_US 400000

static struct daemon server;
static struct client client;

static void expect(const char *request, const char *want)
{
	struct span got = client_tcp(&client, span_str(request));

	if (!span_equal(got, span_str(want)))
		fail_msg("%s: got \"%.*s\", want \"%s\"", request, (int)got.len,
			 (const char *)got.ptr, want);
}

static bool kernel_answers(void)
{
	uint8_t reply[DAEMON_REPLY_MAX];
	size_t len;

	return daemon_kernel_get(&server, 1, span_str(GET), reply, &len);
}

static void await_resident(void)
{
	uint64_t end_ns = clock_now_ns(clock_system()) + 5 * NSEC_PER_SEC;

	while (!kernel_answers()) {
		if (clock_now_ns(clock_system()) > end_ns)
			fail_msg("the kernel does not answer the pinned key");
		usleep(1000);
	}
}

/* A client's GET that the kernel answers. */
static void get_from_kernel(void)
{
	uint64_t hits = daemon_hits(&server);
	struct span got = client_udp(&client, span_str(GET));

	assert_true(span_equal(got, span_str(REPLY)));
	assert_int_equal(daemon_hits(&server), hits + 1);
}

static void pin(void)
{
	expect("set " KEY " 0 0 1\r\nx\r\n", "STORED\r\n");
	daemon_pin(&server, span_str(KEY));
	await_resident();
}

/* The seconds of "HD l<seconds>...". */
static int idle_sec(void)
{
	struct span got = client_tcp(&client, span_str("mg " KEY " l u\r\n"));

	assert_true(got.len > 4 && memcmp(got.ptr, "HD l", 4) == 0);
	return atoi((const char *)got.ptr + 4);
}

static void first_kernel_hit_of_each_version_is_known(void **state)
{
	(void)state;
	pin();
	for (int round = 0; round < 50; round++) {
		expect("set " KEY " 0 0 1\r\nx\r\n", "STORED\r\n");
		expect("mg " KEY " h u\r\n", "HD h0\r\n");
		get_from_kernel();
		expect("mg " KEY " h u\r\n", "HD h1\r\n");
		expect("mg " KEY " h u\r\n", "HD h1\r\n");
	}
}

static void promotion_is_no_access(void **state)
{
	struct span got;

	(void)state;
	expect("set fresh 0 0 1\r\nx\r\n", "STORED\r\n");
	daemon_pin_unseen(&server, span_str("fresh"));
	got = client_tcp(&client, span_str("me fresh\r\n"));
	assert_non_null(memmem(got.ptr, got.len, "kernel=yes", 10));
	expect("mg fresh h u\r\n", "HD h0\r\n");
	daemon_unpin(&server, span_str("fresh"));
	expect("mg fresh h u\r\n", "HD h0\r\n");
}

static void kernel_hit_stays_known_when_the_item_goes_on(void **state)
{
	(void)state;
	pin();
	expect("set " KEY " 0 100 1\r\nx\r\n", "STORED\r\n");
	get_from_kernel();
	/* won: it leaves the kernel where it lies */
	expect("mg " KEY " R200 u h\r\n", "HD h1 W\r\n");
	expect("mg " KEY " u h\r\n", "HD h1 Z\r\n");
	expect("set " KEY " 0 0 1\r\nx\r\n", "STORED\r\n");
	await_resident();
	expect("set " KEY " 0 0 1\r\nx\r\n", "STORED\r\n");
	get_from_kernel();
	/* stale: a new item */
	expect("md " KEY " I\r\n", "HD\r\n");
	expect("mg " KEY " u h\r\n", "HD h1 X W\r\n");
	expect("set " KEY " 0 0 1\r\nx\r\n", "STORED\r\n");
	await_resident();
	expect("set " KEY " 0 0 1\r\nx\r\n", "STORED\r\n");
	get_from_kernel();
	/* no longer pinned, and not hot */
	daemon_unpin(&server, span_str(KEY));
	expect("mg " KEY " u h\r\n", "HD h1\r\n");
}

static void last_access_is_the_kernels(void **state)
{
	int sec;

	(void)state;
	pin();
	expect("set " KEY " 0 0 1\r\nx\r\n", "STORED\r\n");
	usleep(3300000);
	sec = idle_sec();
	assert_in_range(sec, 3, 4);
	get_from_kernel();
	sec = idle_sec();
	/* the stamp is up to 1.1 s early, and a second may have ended since */
	assert_in_range(sec, 0, 2);
	usleep(2200000);
	assert_in_range(idle_sec(), sec + 2, sec + 3);
	get_from_kernel();
	assert_in_range(idle_sec(), 0, 2);
}

static void must_stay_out(void)
{
	uint64_t end_ns = clock_now_ns(clock_system()) + ROUNDS_US * 1000ULL;

	while (clock_now_ns(clock_system()) < end_ns) {
		if (kernel_answers())
			fail_msg("the kernel serves an item that it must not have");
		/* and it is hot */
		client_udp(&client, span_str(GET));
	}
}

static void lease_keeps_a_key_out_until_its_new_value(void **state)
{
	static const char *const leases[][3] = {
		{ "md " KEY " I\r\n", "HD\r\n", "HD X W\r\n" },
		{ "ms " KEY " 1 I C1\r\nx\r\n", "HD\r\n", "HD X W\r\n" },
		{ "mg " KEY " T100 R200\r\n", "HD W\r\n", "HD Z\r\n" },
		{ "md " KEY "\r\n", "HD\r\n", "EN\r\n" },
	};

	(void)state;
	pin();
	for (size_t i = 0; i < sizeof(leases) / sizeof(leases[0]); i++) {
		await_resident();
		expect(leases[i][0], leases[i][1]);
		if (i < 3) /* of a deleted one the kernel may say that it is not there */
			must_stay_out();
		expect("mg " KEY "\r\n", leases[i][2]);
		if (i == 3) {
			/* waits for its first value */
			expect("mg " KEY " N100\r\n", "HD W\r\n");
			must_stay_out();
		}
		expect("ms " KEY " 1\r\nx\r\n", "HD\r\n");
		await_resident();
		get_from_kernel();
	}
}

/* Kernel hits between the moment of the win and the winner's write: none. */
static void leases_over_udp_are_not_answered_by_the_kernel(void **state)
{
	(void)state;
	pin();
	for (int round = 0; round < 200; round++) {
		uint64_t hits;

		expect("ms " KEY " 1 T100\r\nx\r\n", "HD\r\n");
		assert_true(kernel_answers());
		assert_true(span_equal(client_udp(&client, span_str("mg " KEY " R200 v\r\n")),
				       span_str("VA 1 W\r\nx\r\n")));
		hits = daemon_hits(&server);
		assert_true(span_equal(client_udp(&client, span_str(GET)), span_str(REPLY)));
		assert_true(span_equal(client_udp(&client, span_str("mg " KEY " R200 v\r\n")),
				       span_str("VA 1 Z\r\nx\r\n")));
		assert_int_equal(daemon_hits(&server), hits);
	}
}

static int start(void **state)
{
	(void)state;
	daemon_start(&server, NULL);
	client_open(&client, DAEMON_HOST, DAEMON_PORT);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	client_close(&client);
	return daemon_stop(&server) ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_kernel_hit_of_each_version_is_known),
		cmocka_unit_test(promotion_is_no_access),
		cmocka_unit_test(kernel_hit_stays_known_when_the_item_goes_on),
		cmocka_unit_test(last_access_is_the_kernels),
		cmocka_unit_test(lease_keeps_a_key_out_until_its_new_value),
		cmocka_unit_test(leases_over_udp_are_not_answered_by_the_kernel),
	};

	return cmocka_run_group_tests_name("coherence/meta", tests, start, stop);
}
