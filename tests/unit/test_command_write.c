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
	command_turn(rig.worker);
	if (command_upload_start(rig.worker, &req, &up, &rig.resp)) {
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
		command_turn(rig.worker);
		assert_true(command_upload_start(rig.worker, &req, &up, &rig.resp));
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

static void set_full_without_eviction_says_so(void **state)
{
	static char text[20000];
	uint32_t stored = 0;

	(void)state;
	memset(text, 'v', sizeof(text));
	for (uint32_t i = 0;; i++) {
		int len = snprintf(text, 100, "set key%u 0 0 10000\r\n", i);

		text[len] = 'v';
		memcpy(text + len + 10000, "\r\n", 2);
		command_rig_run_bytes(&rig, text, (size_t)len + 10002);
		if (strcmp(rig.text, "STORED\r\n") != 0)
			break;
		stored++;
		assert_true(stored < COMMAND_RIG_LOG_BYTES / 10000);
	}
	assert_true(stored > COMMAND_RIG_LOG_BYTES / 10000 / 2);
	assert_string_equal(rig.text, "SERVER_ERROR out of memory storing object\r\n");
	command_rig_run(&rig, "stats\r\n");
	assert_int_equal(command_rig_stat(&rig, "store_no_memory"), 1);
	assert_int_equal(command_rig_stat(&rig, "evictions"), 0);
	assert_int_equal(command_rig_stat(&rig, "curr_items"), stored);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(upload_any_size_comes_back_whole, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(upload_judges_mode_when_the_value_is_there, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(upload_with_a_bad_end_or_abandoned_keeps_the_item,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(set_too_large_forgets_the_old_value, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(set_more_than_fits_never_fails, set_up, tear_down),
		cmocka_unit_test_setup_teardown(set_full_without_eviction_says_so, set_up_no_evict,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
