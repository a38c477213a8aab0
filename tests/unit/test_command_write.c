/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The storage commands, whole or as uploads in pieces, do the same thing and count it; a value that
 * cannot be kept leaves no older one behind; a full store is waited for, then said. Method:
 * protocol text on a real store; uploads cut at random.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <string.h>

#include <cmocka.h>

#include "base/rand.h"
#include "lib/command_rig.h"
#include "protocol/compose.h"
#include "protocol/parse_text.h"

#define VALUE_MAX 900000

static struct command_rig rig;
static uint8_t value[COMMAND_RIG_ITEM_MAX + 1];

static int set_up(void **state)
{
	(void)state;
	command_rig_init(&rig, NULL);
	return 0;
}

static int set_up_no_evict(void **state)
{
	const struct command_options options = { .settings = { .no_evict = true } };

	(void)state;
	command_rig_init(&rig, &options);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	command_rig_fini(&rig);
	return 0;
}

/* Tries again while there is no room, as a connection does; gives up after about five seconds. */
static enum command_upload_state start_patiently(const struct request *req,
						 struct command_upload *up)
{
	const struct timespec pause = { .tv_nsec = (long)NSEC_PER_MSEC };
	enum command_upload_state state = COMMAND_UPLOAD_BUSY;

	for (uint32_t i = 0; i < 5000 && state == COMMAND_UPLOAD_BUSY; i++) {
		if (i > 0)
			nanosleep(&pause, NULL);
		command_turn(rig.worker);
		state = command_upload_start(rig.worker, req, up, i == 4999, &rig.resp);
	}
	return state;
}

/* Stores as a connection does that has the value in pieces; the reply. */
static const char *upload(const char *line, const void *bytes, size_t len, bool bad_end,
			  struct rand *r)
{
	static char reply[200];
	struct command_upload up;
	struct request req;
	size_t pos = 0;

	assert_true(parse_text(span_str(line), 0, &req) > 0);
	assert_int_equal(req.value_len, len);
	if (start_patiently(&req, &up) == COMMAND_UPLOAD_GOES) {
		while (pos < len) {
			size_t part = 1 + rand_below(r, 30000);

			part = part < len - pos ? part : len - pos;
			command_upload_fill(rig.worker, &up, span_of((uint8_t *)bytes + pos, part));
			pos += part;
		}
		command_upload_finish(rig.worker, &up, bad_end, &rig.resp);
	}
	assert_true(rig.resp.iov_cnt <= 1 && rig.resp.bytes < sizeof(reply));
	memcpy(reply, rig.resp.iov_cnt ? rig.resp.iov[0].iov_base : "", rig.resp.bytes);
	reply[rig.resp.bytes] = '\0';
	response_reset(&rig.resp);
	return reply;
}

/* Starts one of `len` bytes under its own key; what came of it. */
static enum command_upload_state start_one(struct command_upload *up, uint32_t n, size_t len,
					   bool last_try)
{
	struct request req;
	char line[64];

	snprintf(line, sizeof(line), "set u%u 0 0 %zu\r\n", n, len);
	assert_true(parse_text(span_str(line), 0, &req) > 0);
	command_turn(rig.worker);
	return command_upload_start(rig.worker, &req, up, last_try, &rig.resp);
}

static void uploads_together_hold_a_share_of_the_log(void **state)
{
	struct command_upload up[64], more;
	uint32_t cnt = 0;

	(void)state;
	/* 200 KB are 13 segments of 16 KiB, and the item's own is the 14th. */
	while (start_one(&up[cnt], cnt, 200000, false) == COMMAND_UPLOAD_GOES)
		assert_true(++cnt < 64);
	assert_int_equal(cnt, COMMAND_RIG_LOG_BYTES / 8 / (14 * 16384));
	assert_int_equal(start_one(&more, 99, 200000, false), COMMAND_UPLOAD_BUSY);
	assert_int_equal(rig.resp.bytes, 0);
	/* A set that could not be kept takes the value it was to replace along. */
	command_rig_run(&rig, "set u99 0 0 3\r\nold\r\n");
	assert_int_equal(start_one(&more, 99, 200000, true), COMMAND_UPLOAD_ANSWERED);
	assert_true(rig.resp.bytes > 0);
	response_reset(&rig.resp);
	assert_string_equal(command_rig_run(&rig, "get u99\r\n"), "END\r\n");
	/* Room that is given back, by either way, is there for the next; and small writes go on. */
	assert_string_equal(command_rig_run(&rig, "set s 0 0 1\r\nx\r\n"), "STORED\r\n");
	command_upload_abandon(rig.worker, &up[--cnt]);
	assert_int_equal(start_one(&up[cnt], 99, 200000, false), COMMAND_UPLOAD_GOES);
	command_upload_fill(rig.worker, &up[cnt], span_of(value, 200000));
	command_upload_finish(rig.worker, &up[cnt], false, &rig.resp);
	response_reset(&rig.resp);
	assert_int_equal(start_one(&up[cnt], 98, 200000, false), COMMAND_UPLOAD_GOES);
	for (uint32_t i = 0; i <= cnt; i++)
		command_upload_abandon(rig.worker, &up[i]);
}

/* One may be as large as it likes if it is alone. */
static void upload_alone_may_exceed_the_share(void **state)
{
	const struct timespec poll = { .tv_nsec = 5 * (long)NSEC_PER_MSEC };
	struct command_upload big, other;

	(void)state;
	/* The share of this log is 2 MiB; appends are charged what they take from the heap. */
	assert_int_equal(start_one(&other, 0, COMMAND_RIG_ITEM_MAX, false), COMMAND_UPLOAD_GOES);
	assert_int_equal(start_one(&big, 1, COMMAND_RIG_ITEM_MAX, false), COMMAND_UPLOAD_BUSY);
	command_upload_abandon(rig.worker, &other);
	store_set_limit(rig.store, 4U << 20);
	for (uint32_t i = 0; i < 1000 && store_log_bytes(rig.store) > 4U << 20; i++)
		nanosleep(&poll, NULL);
	assert_int_equal(start_one(&big, 1, COMMAND_RIG_ITEM_MAX, false), COMMAND_UPLOAD_GOES);
	assert_int_equal(start_one(&other, 2, 20000, false), COMMAND_UPLOAD_BUSY);
	command_upload_abandon(rig.worker, &big);
}

static void upload_silent_or_slow_is_overdue_under_pressure_only(void **state)
{
	struct command_upload first, second;
	uint64_t start_ns;

	(void)state;
	assert_int_equal(start_one(&first, 0, 600000, false), COMMAND_UPLOAD_GOES);
	start_ns = command_now_ns(rig.worker);
	fake_clock_add(&rig.time, 3600 * NSEC_PER_SEC);
	command_turn(rig.worker);
	/* Nobody wants the room. */
	assert_false(command_upload_is_overdue(rig.worker, &first, start_ns));
	assert_int_equal(start_one(&second, 1, 1000000, false), COMMAND_UPLOAD_GOES);
	start_ns = command_now_ns(rig.worker);
	assert_true(command_upload_is_overdue(rig.worker, &first, start_ns));
	fake_clock_add(&rig.time, 9 * NSEC_PER_SEC);
	command_turn(rig.worker);
	assert_false(command_upload_is_overdue(rig.worker, &second, start_ns));
	fake_clock_add(&rig.time, 2 * NSEC_PER_SEC);
	command_turn(rig.worker);
	/* Silent for eleven seconds; heard of just now, but slow; and fast enough. */
	assert_true(command_upload_is_overdue(rig.worker, &second, start_ns));
	assert_true(command_upload_is_overdue(rig.worker, &second, command_now_ns(rig.worker)));
	command_upload_fill(rig.worker, &second, span_of(value, 11 * 65536 + 1000));
	assert_false(command_upload_is_overdue(rig.worker, &second, command_now_ns(rig.worker)));
	command_upload_abandon(rig.worker, &first);
	command_upload_abandon(rig.worker, &second);
}

static void assert_value(const char *key, const void *want, size_t len)
{
	char text[300];
	size_t head;

	snprintf(text, sizeof(text), "get %s\r\n", key);
	command_rig_run(&rig, text);
	head = (size_t)snprintf(text, sizeof(text), "VALUE %s 7 %zu\r\n", key, len);
	assert_int_equal(rig.text_len, head + len + strlen("\r\nEND\r\n"));
	assert_memory_equal(rig.text, text, head);
	assert_memory_equal(rig.text + head, want, len);
}

static void upload_any_size_comes_back_whole(void **state)
{
	const char *seed_text = getenv("XC_TEST_SEED");
	uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : 99;
	struct rand r;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	rand_init(&r, seed);
	for (uint32_t i = 0; i < 100; i++) {
		size_t len = rand_below(&r, i % 2 ? VALUE_MAX : 2000);
		char line[100];

		for (size_t j = 0; j < len; j++)
			value[j] = (uint8_t)rand_next(&r);
		snprintf(line, sizeof(line), "set k%u 7 0 %zu\r\n", i % 5, len);
		assert_string_equal(upload(line, value, len, false, &r), "STORED\r\n");
		assert_value(line[5] == '0' ? "k0" : (char[]){ 'k', line[5], 0 }, value, len);
	}
}

static void upload_judges_mode_when_the_value_is_there(void **state)
{
	struct rand r;

	(void)state;
	rand_init(&r, 1);
	memset(value, 'v', 50000);
	assert_string_equal(upload("add a 7 0 50000\r\n", value, 50000, false, &r), "STORED\r\n");
	assert_string_equal(upload("add a 7 0 50000\r\n", value, 50000, false, &r),
			    "NOT_STORED\r\n");
	assert_string_equal(upload("replace b 7 0 50000\r\n", value, 50000, false, &r),
			    "NOT_STORED\r\n");
	assert_string_equal(upload("cas b 7 0 50000 5\r\n", value, 50000, false, &r),
			    "NOT_FOUND\r\n");
	assert_string_equal(upload("cas a 7 0 50000 5\r\n", value, 50000, false, &r), "EXISTS\r\n");
	assert_string_equal(upload("append b 7 0 50000\r\n", value, 50000, false, &r),
			    "NOT_STORED\r\n");
	memset(value, 'w', 50000);
	assert_string_equal(upload("append a 0 0 50000\r\n", value, 50000, false, &r),
			    "STORED\r\n");
	memset(value, 'v', 50000);
	memset(value + 50000, 'w', 50000);
	assert_value("a", value, 100000);
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "cmd_set"), 7);
	assert_int_equal(command_rig_stat(&rig, "cas_misses"), 1);
	assert_int_equal(command_rig_stat(&rig, "cas_badval"), 1);
	assert_int_equal(command_rig_stat(&rig, "cas_hits"), 0);
}

static void upload_with_a_bad_end_or_abandoned_keeps_the_item(void **state)
{
	struct command_upload up;
	struct request req;
	struct rand r;

	(void)state;
	rand_init(&r, 1);
	command_rig_run(&rig, "set a 7 0 1\r\nx\r\n");
	assert_string_equal(upload("set a 7 0 50000\r\n", value, 50000, true, &r),
			    "CLIENT_ERROR bad data chunk\r\n");
	assert_string_equal(upload("append a 7 0 50000\r\n", value, 50000, true, &r),
			    "CLIENT_ERROR bad data chunk\r\n");
	for (uint32_t i = 0; i < 1000; i++) {
		/* each would take 1/20 of the store if it were not given back */
		assert_true(parse_text(span_str("set a 7 0 800000\r\n"), 0, &req) > 0);
		assert_int_equal(start_patiently(&req, &up), COMMAND_UPLOAD_GOES);
		command_upload_fill(rig.worker, &up, span_of(value, rand_below(&r, 800000)));
		command_upload_abandon(rig.worker, &up);
	}
	assert_value("a", "x", 1);
}

static void set_too_large_forgets_the_old_value(void **state)
{
	struct request req;

	(void)state;
	command_rig_run(&rig, "set a 7 0 1\r\nx\r\nset b 7 0 1\r\nx\r\n");
	assert_true(parse_text(span_str("set a 0 0 1048577\r\n"), 0, &req) > 0);
	assert_false(command_admit(rig.worker, &req, &rig.resp));
	assert_true(parse_text(span_str("replace b 0 0 1048577\r\n"), 0, &req) > 0);
	assert_false(command_admit(rig.worker, &req, &rig.resp));
	assert_memory_equal(rig.resp.iov[0].iov_base, "SERVER_ERROR object too large for cache\r\n",
			    41);
	response_reset(&rig.resp);
	assert_string_equal(command_rig_run(&rig, "get a b\r\n"), "VALUE b 7 1\r\nx\r\nEND\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "store_too_large"), 2);
	assert_int_equal(command_rig_stat(&rig, "cmd_set"), 2);
}

/* Three times what fits: the commands wait for reclaim, no client sees an error. */
static void set_more_than_fits_never_fails(void **state)
{
	static char text[20000];

	(void)state;
	memset(text, 'v', sizeof(text));
	for (uint32_t i = 0; i < 3 * COMMAND_RIG_LOG_BYTES / 10000; i++) {
		int len = snprintf(text, 100, "set key%u 0 0 10000\r\n", i);

		text[len] = 'v';
		memcpy(text + len + 10000, "\r\n", 2);
		assert_string_equal(command_rig_run_bytes(&rig, text, (size_t)len + 10002),
				    "STORED\r\n");
	}
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "store_no_memory"), 0);
	assert_true(command_rig_stat(&rig, "evictions") > 1000);
}

/* Sets until the store refuses one; how many it took. */
static uint32_t fill_up(uint32_t value_len)
{
	static char text[20000];
	uint32_t stored = 0;

	memset(text, 'v', sizeof(text));
	for (uint32_t i = 0;; i++) {
		int len = snprintf(text, 100, "set key%u 0 0 %u\r\n", i, value_len);

		text[len] = 'v';
		memcpy(text + len + value_len, "\r\n", 2);
		command_rig_run_bytes(&rig, text, (size_t)len + value_len + 2);
		if (strcmp(rig.text, "STORED\r\n") != 0)
			break;
		stored++;
		assert_true(stored < COMMAND_RIG_LOG_BYTES / value_len);
	}
	return stored;
}

static void set_full_without_eviction_says_so(void **state)
{
	uint32_t stored = fill_up(10000);

	(void)state;
	assert_true(stored > COMMAND_RIG_LOG_BYTES / 10000 / 2);
	assert_string_equal(rig.text, "SERVER_ERROR out of memory storing object\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "store_no_memory"), 1);
	assert_int_equal(command_rig_stat(&rig, "evictions"), 0);
	assert_int_equal(command_rig_stat(&rig, "curr_items"), stored);
}

/* A touch writes the item anew. Where there is no room for that, and none to wait for, its client
 * is told at once, and never that the item is gone. */
static void touch_full_without_eviction_says_so(void **state)
{
	const char *no_memory = "SERVER_ERROR out of memory\r\n";
	uint64_t begun_ns, spent_ns, get_hits;

	(void)state;
	fill_up(4000);
	begun_ns = clock_mono_ns();
	for (uint32_t i = 0; i < 5; i++) {
		assert_string_equal(command_rig_run(&rig, "touch key1 100\r\n"), no_memory);
		assert_string_equal(command_rig_run(&rig, "gat 100 key1 key2\r\n"), no_memory);
		assert_string_equal(command_rig_run(&rig, "gats 100 none key2\r\n"), no_memory);
		assert_string_equal(command_rig_run(&rig, "mg key1 T100\r\n"), no_memory);
		assert_string_equal(command_rig_run(&rig, "md key1 I\r\n"), no_memory);
	}
	spent_ns = clock_mono_ns() - begun_ns;
	/* Waiting takes a quarter of a second each time. */
	assert_true(spent_ns < 25 * NSEC_PER_SEC / 4 / 2);
	assert_string_equal(command_rig_run(&rig, "touch none 100\r\n"), "NOT_FOUND\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "touch_hits"), 0);
	assert_int_equal(command_rig_stat(&rig, "touch_misses"), 5 + 1);
	get_hits = command_rig_stat(&rig, "get_hits");
	assert_string_not_equal(command_rig_run(&rig, "get key1\r\n"), "END\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "get_hits"), get_hits + 1);
}

/* A command carried out late in its turn, its time in the store from then on. */
static void set_late_in_turn(const char *line)
{
	struct request req;

	command_turn(rig.worker);
	fake_clock_add(&rig.time, NSEC_PER_SEC / 2);
	assert_true(parse_text(span_str(line), 0, &req) > 0);
	req.value = span_str("x");
	assert_int_equal(command_apply(rig.worker, &req, &rig.resp), COMMAND_DONE);
	response_reset(&rig.resp);
}

static void set_late_in_a_turn_lives_its_whole_ttl(void **state)
{
	static const char hit[] = "VALUE k 0 1\r\nx\r\nEND\r\n";
	const uint64_t unix_part_ns = COMMAND_RIG_UNIX_NS % NSEC_PER_SEC;
	char line[64];

	(void)state;
	set_late_in_turn("set k 0 1 1\r\n");
	fake_clock_add(&rig.time, NSEC_PER_SEC - 1);
	assert_string_equal(command_rig_run(&rig, "get k\r\n"), hit);
	fake_clock_add(&rig.time, NSEC_PER_SEC / 10 + 1);
	assert_string_equal(command_rig_run(&rig, "get k\r\n"), "END\r\n");
	fake_clock_add(&rig.time, NSEC_PER_SEC * 4 / 10);
	/* Two seconds after the rig's start by now, and the part that it began with. */
	snprintf(line, sizeof(line), "set k 0 %llu 1\r\n",
		 (unsigned long long)(COMMAND_RIG_UNIX_NS / NSEC_PER_SEC + 4));
	set_late_in_turn(line);
	fake_clock_add(&rig.time, NSEC_PER_SEC * 3 / 2 - unix_part_ns - 1);
	assert_string_equal(command_rig_run(&rig, "get k\r\n"), hit);
	fake_clock_add(&rig.time, NSEC_PER_SEC / 10 + 1);
	assert_string_equal(command_rig_run(&rig, "get k\r\n"), "END\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			upload_silent_or_slow_is_overdue_under_pressure_only, set_up, tear_down),
		cmocka_unit_test_setup_teardown(uploads_together_hold_a_share_of_the_log, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(upload_alone_may_exceed_the_share, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(upload_any_size_comes_back_whole, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(upload_judges_mode_when_the_value_is_there, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(upload_with_a_bad_end_or_abandoned_keeps_the_item,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(set_too_large_forgets_the_old_value, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(set_more_than_fits_never_fails, set_up, tear_down),
		cmocka_unit_test_setup_teardown(set_late_in_a_turn_lives_its_whole_ttl, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(set_full_without_eviction_says_so, set_up_no_evict,
						tear_down),
		cmocka_unit_test_setup_teardown(touch_full_without_eviction_says_so,
						set_up_no_evict, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
