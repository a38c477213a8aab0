/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: leases run as memcached's do to the second (vivify, recache window, stale, winner,
 * time to live, idle time), in sequences of several clients; large values and base64 keys take the
 * same ways; counters have memcached's names. Method: protocol text on a real store and a clock set
 * by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/command_rig.h"
#include "protocol/parse_text.h"

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

static void pass(uint64_t ms)
{
	fake_clock_add(&rig.time, ms * NSEC_PER_MSEC);
}

static void expect(const char *text, const char *want)
{
	const char *got = command_rig_run(&rig, text);

	if (strcmp(got, want) != 0)
		fail_msg("\"%s\": got \"%s\", want \"%s\"", text, got, want);
}

static void mg_ttl_counts_down_and_ends(void **state)
{
	(void)state;
	pass(37); /* expiry is kept in tenths: not at the edge of one */
	expect("ms a 1 T30\r\nx\r\n", "HD\r\n");
	expect("mg a t\r\n", "HD t30\r\n");
	pass(850);
	expect("mg a t\r\n", "HD t30\r\n");
	pass(200);
	expect("mg a t\r\n", "HD t29\r\n");
	pass(28000);
	expect("mg a t v\r\n", "VA 1 t1\r\nx\r\n");
	pass(1100);
	expect("mg a t v\r\n", "EN\r\n");
}

static void mg_idle_time_is_of_the_access_before(void **state)
{
	(void)state;
	expect("ms a 1\r\nx\r\n", "HD\r\n");
	pass(5000);
	expect("mg a l h u\r\n", "HD l5 h0\r\n");
	expect("mg a l h\r\n", "HD l5 h0\r\n");
	expect("mg a l h\r\n", "HD l0 h1\r\n");
	pass(3000);
	command_rig_run(&rig, "me a\r\n");
	assert_non_null(strstr(rig.text, "la=3 "));
	assert_non_null(strstr(rig.text, "fetch=yes"));
	expect("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
	pass(2000);
	expect("mg a l\r\n", "HD l2\r\n");
	pass(100000000);
	expect("mg a l\r\n", "HD l100000\r\n");
}

static void mg_idle_time_and_hit_survive_what_is_no_new_value(void **state)
{
	(void)state;
	expect("ms n 2 T100\r\n10\r\n", "HD\r\n");
	expect("mg n\r\n", "HD\r\n");
	pass(4000);
	expect("md n I\r\n", "HD\r\n");
	expect("mg n l h u\r\n", "HD l4 h1 X W\r\n");
	expect("ms n 2\r\n10\r\n", "HD\r\n");
	expect("mg n l h u\r\n", "HD l0 h0\r\n");
	expect("mg n\r\n", "HD\r\n");
	expect("ma n\r\n", "HD\r\n");
	expect("mg n h u\r\n", "HD h1\r\n");
	expect("ma n D100\r\n", "HD\r\n");
	expect("mg n h u\r\n", "HD h0\r\n");
	/* a refused command is no access */
	pass(7000);
	expect("ms n 1 ME\r\nx\r\n", "NS\r\n");
	expect("ma n C1\r\n", "EX\r\n");
	expect("mg n l h u\r\n", "HD l7 h0\r\n");
}

static void mg_recache_window_opens_to_the_second(void **state)
{
	(void)state;
	pass(37);
	expect("ms a 1 T100\r\nx\r\n", "HD\r\n");
	for (uint32_t sec = 0; sec < 70; sec++) {
		char want[32];

		snprintf(want, sizeof(want), "HD t%u\r\n", 100 - sec);
		expect("mg a t R30\r\n", want);
		pass(1000);
	}
	/* t30 is not less than 30 */
	expect("mg a t R30\r\n", "HD t30\r\n");
	pass(1000);
	expect("mg a t R30\r\n", "HD t29 W\r\n");
	expect("mg a t R30\r\n", "HD t29 Z\r\n");
	pass(10000);
	expect("mg a t R30\r\n", "HD t19 Z\r\n");
	expect("ms a 1 T100\r\ny\r\n", "HD\r\n");
	expect("mg a t R30\r\n", "HD t100\r\n");
	/* nobody came back: the next version of the key has a winner of its own */
	pass(75000);
	expect("mg a R30\r\n", "HD W\r\n");
	pass(30000);
	expect("mg a R30 N60\r\n", "HD W\r\n");
}

static void mg_vivified_item_ends_with_its_time(void **state)
{
	(void)state;
	expect("mg a N10 v\r\n", "VA 0 W\r\n\r\n");
	expect("mg a N10 v\r\n", "VA 0 Z\r\n\r\n");
	pass(9000);
	expect("mg a N10 t\r\n", "HD t1 Z\r\n");
	pass(1200);
	expect("mg a N10 t\r\n", "HD t10 W\r\n");
	pass(11000);
	expect("mg a\r\n", "EN\r\n");
}

static void stale_while_revalidating(void **state)
{
	uint64_t cas;

	(void)state;
	expect("ms a 3 T1000\r\nold\r\n", "HD\r\n");
	expect("md a I T60\r\n", "HD\r\n");
	command_rig_run(&rig, "mg a c v t\r\n");
	assert_int_equal(sscanf(rig.text, "VA 3 c%" SCNu64 " t60 X W\r\n", &cas), 1);
	/* the others serve the stale value */
	expect("mg a v t\r\n", "VA 3 t60 Z X\r\nold\r\n");
	/* invalidated again meanwhile: what the winner brings is too old, and kept as stale */
	expect("md a I\r\n", "HD\r\n");
	assert_true(cas > 0);
	{
		char text[96];

		snprintf(text, sizeof(text), "ms a 3 I T500 C%" PRIu64 " s\r\nmid\r\n", cas);
		expect(text, "HD s3\r\n");
	}
	expect("mg a v t\r\n", "VA 3 t60 X W\r\nmid\r\n");
	command_rig_run(&rig, "mg a c\r\n");
	assert_int_equal(sscanf(rig.text, "HD c%" SCNu64 " Z X\r\n", &cas), 1);
	{
		char text[96];

		snprintf(text, sizeof(text), "ms a 3 I T500 C%" PRIu64 "\r\nnew\r\n", cas);
		expect(text, "HD\r\n");
	}
	expect("mg a v t\r\n", "VA 3 t500\r\nnew\r\n");
	/* nobody brought one: it ends at the time that was given with I */
	expect("md a I T60\r\n", "HD\r\n");
	pass(59000);
	expect("mg a v\r\n", "VA 3 X W\r\nnew\r\n");
	pass(1200);
	expect("mg a v\r\n", "EN\r\n");
}

static void invalidating_raises_the_cas(void **state)
{
	uint64_t cas = 0, last = 0;

	(void)state;
	expect("ms a 1 E18446744073709551000\r\nx\r\n", "HD\r\n");
	for (uint32_t i = 0; i < 100; i++) {
		command_rig_run(&rig, "mg a c u\r\n");
		assert_int_equal(sscanf(rig.text, "HD c%" SCNu64, &cas), 1);
		assert_true(cas > last);
		last = cas;
		expect("md a I q\r\n", "");
	}
}

static void other_commands_never_win(void **state)
{
	(void)state;
	expect("ms a 1\r\n1\r\n", "HD\r\n");
	expect("md a I\r\n", "HD\r\n");
	expect("get a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
	expect("gat 100 a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
	expect("touch a 50\r\n", "TOUCHED\r\n");
	expect("incr a 1\r\n", "2\r\n");
	command_rig_run(&rig, "me a\r\n");
	assert_non_null(strstr(rig.text, "stale=yes won=no"));
	expect("mg a t\r\n", "HD t50 X W\r\n");
	command_rig_run(&rig, "me a\r\n");
	assert_non_null(strstr(rig.text, "stale=yes won=yes"));
}

static void ms_large_value_is_an_upload_like_any(void **state)
{
	static const char head[] = "ms Zm9vYg== 100000 b k Oabcdef s c T50\r\n";
	struct command_upload upload;
	struct request req;
	char line[sizeof(head)];
	uint8_t value[1000];
	char reply[256];

	(void)state;
	memset(value, 'v', sizeof(value));
	memcpy(line, head, sizeof(head));
	assert_true(parse_text(span_str(line), 0, &req) > 0);
	command_turn(rig.worker);
	assert_true(command_admit(rig.worker, &req, &rig.resp));
	assert_int_equal(command_upload_start(rig.worker, &req, &upload, true, &rig.resp),
			 COMMAND_UPLOAD_GOES);
	/* the line's bytes are gone by the time the value is there */
	memset(line, '#', sizeof(line));
	for (uint32_t i = 0; i < 100; i++)
		command_upload_fill(rig.worker, &upload, span_of(value, sizeof(value)));
	command_upload_finish(rig.worker, &upload, false, &rig.resp);
	snprintf(reply, sizeof(reply), "%.*s", (int)rig.resp.iov[0].iov_len,
		 (char *)rig.resp.iov[0].iov_base);
	assert_memory_equal(reply, "HD kZm9vYg== b Oabcdef s100000 c", 32);
	response_reset(&rig.resp);
	expect("mg foob s t k\r\n", "HD s100000 t50 kZm9vYg== b\r\n");
	expect("md foob I\r\n", "HD\r\n");
	expect("mg foob s\r\n", "HD s100000 X W\r\n");
	expect("md foob x\r\n", "HD\r\n");
	expect("mg foob s t v\r\n", "VA 0 s0 t50 Z X\r\n\r\n");
}

static void meta_counters_have_memcacheds_names(void **state)
{
	(void)state;
	expect("mg a\r\nmg a N0\r\nmg a\r\nmg a T50\r\nmg b T50\r\n",
	       "EN\r\nHD W\r\nHD Z\r\nHD Z\r\nEN\r\n");
	expect("md a I\r\nmd a C1\r\nmd a\r\nmd a\r\n", "HD\r\nEX\r\nHD\r\nNF\r\n");
	expect("ma n\r\nma n N0\r\nma n\r\nma n MD\r\nma n C1\r\nma m MD\r\n",
	       "NF\r\nHD\r\nHD\r\nHD\r\nEX\r\nNF\r\n");
	expect("ms c 1 C1\r\nx\r\nms c 1\r\nx\r\nms c 1 C1\r\nx\r\nms c 1 I C1\r\nx\r\n",
	       "NF\r\nHD\r\nEX\r\nHD\r\n");
	expect("me a\r\n", "EN\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "cmd_get"), 4);
	assert_int_equal(command_rig_stat(&rig, "get_hits"), 2);
	assert_int_equal(command_rig_stat(&rig, "get_misses"), 2);
	assert_int_equal(command_rig_stat(&rig, "cmd_touch"), 1);
	assert_int_equal(command_rig_stat(&rig, "touch_hits"), 1);
	assert_int_equal(command_rig_stat(&rig, "delete_hits"), 1);
	assert_int_equal(command_rig_stat(&rig, "delete_misses"), 2);
	assert_int_equal(command_rig_stat(&rig, "incr_hits"), 1);
	assert_int_equal(command_rig_stat(&rig, "incr_misses"), 1);
	assert_int_equal(command_rig_stat(&rig, "decr_hits"), 1);
	assert_int_equal(command_rig_stat(&rig, "decr_misses"), 1);
	assert_int_equal(command_rig_stat(&rig, "cas_misses"), 1);
	assert_int_equal(command_rig_stat(&rig, "cas_badval"), 1);
	assert_int_equal(command_rig_stat(&rig, "cas_hits"), 1);
	assert_int_equal(command_rig_stat(&rig, "cmd_set"), 4);
	assert_int_equal(command_rig_stat(&rig, "cmd_meta"), 1);
}

int main(void)
{
#define META_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		META_TEST(mg_ttl_counts_down_and_ends),
		META_TEST(mg_idle_time_is_of_the_access_before),
		META_TEST(mg_idle_time_and_hit_survive_what_is_no_new_value),
		META_TEST(mg_recache_window_opens_to_the_second),
		META_TEST(mg_vivified_item_ends_with_its_time),
		META_TEST(stale_while_revalidating),
		META_TEST(invalidating_raises_the_cas),
		META_TEST(other_commands_never_win),
		META_TEST(ms_large_value_is_an_upload_like_any),
		META_TEST(meta_counters_have_memcacheds_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
