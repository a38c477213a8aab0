/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Numbers are accepted exactly where memcached's strtol-based readers accept them, and written back
 * without loss. Method: tables, right-aligned to an unmapped page.
 */
#include "protocol/decimal.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/guard_page.h"

static struct guard_page guard;

static struct span place(const char *text)
{
	return guard_page_put(&guard, text, strlen(text));
}

static void decimal_parse_u64_good_text_gives_number(void **state)
{
	static const struct {
		const char *text;
		uint64_t want;
	} rows[] = {
		{ "0", 0 },
		{ "7", 7 },
		{ "007", 7 },
		{ "+5", 5 },
		{ "-0", 0 },
		{ " 5", 5 },
		{ "\t\r\n5", 5 },
		{ "5 ", 5 },
		{ "5\tx", 5 },
		{ "18446744073709551615", UINT64_MAX },
		{ "0000000000000000000000000000018446744073709551615", UINT64_MAX },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t got = 1;

		if (!decimal_parse_u64(place(rows[i].text), &got) || got != rows[i].want)
			fail_msg("\"%s\": %" PRIu64, rows[i].text, got);
	}
}

static void decimal_parse_bad_text_is_refused(void **state)
{
	static const char *const texts[] = {
		"", " ", "x", "5x", "+", "-", "--5", "+-5", "0x10", "1.0", "99999999999999999999"
	};
	uint64_t u = 42;
	int64_t i = 42;

	(void)state;
	for (size_t n = 0; n < sizeof(texts) / sizeof(texts[0]); n++) {
		assert_false(decimal_parse_u64(place(texts[n]), &u));
		assert_false(decimal_parse_i64(place(texts[n]), &i));
	}
	assert_false(decimal_parse_u64(place("-1"), &u));
	assert_false(decimal_parse_u64(place("18446744073709551616"), &u));
	assert_false(decimal_parse_i64(place("9223372036854775808"), &i));
	assert_false(decimal_parse_i64(place("-9223372036854775809"), &i));
	assert_int_equal(u, 42);
	assert_int_equal(i, 42);
}

static void decimal_parse_i64_ends_of_range_are_read(void **state)
{
	int64_t got;

	(void)state;
	assert_true(decimal_parse_i64(place("-9223372036854775808"), &got));
	assert_true(got == INT64_MIN);
	assert_true(decimal_parse_i64(place("9223372036854775807"), &got));
	assert_true(got == INT64_MAX);
	assert_true(decimal_parse_i64(place("-1"), &got));
	assert_true(got == -1);
}

static void decimal_put_any_number_reads_back(void **state)
{
	(void)state;
	for (uint64_t n = 1, last = 0; n > last; last = n, n = n * 10 + 7) {
		const uint64_t numbers[] = { n, n - 1, last * 9, UINT64_MAX - n };

		for (size_t i = 0; i < 4; i++) {
			uint8_t got[DECIMAL_MAX];
			char want[32];
			int len = snprintf(want, sizeof(want), "%" PRIu64, numbers[i]);

			assert_int_equal(decimal_put(got, numbers[i]), len);
			assert_memory_equal(got, want, (size_t)len);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decimal_parse_u64_good_text_gives_number),
		cmocka_unit_test(decimal_parse_bad_text_is_refused),
		cmocka_unit_test(decimal_parse_i64_ends_of_range_are_read),
		cmocka_unit_test(decimal_put_any_number_reads_back),
	};

	guard_page_init(&guard, 4096);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
