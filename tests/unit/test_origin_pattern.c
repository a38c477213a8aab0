/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Property: a key is split into the parts that a pattern names, in one way or not at all, and a
 * pattern that could be read in two ways is refused with a hint. Method: a table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "origin/origin.h"

static const struct {
	const char *pattern;
	const char *key;
	const char *parts; /* apart by |; NULL: the key is not of this form */
} rows[] = {
	{ "product:{id}", "product:17", "17" },
	{ "product:{id}", "product:", NULL },
	{ "product:{id}", "produkt:17", NULL },
	{ "product:{id}", "pro", NULL },
	{ "{all}", "x", "x" },
	{ "a:{b}:{c}", "a:1:2", "1|2" },
	{ "a:{b}:{c}", "a:1:2:3", "1|2:3" },
	{ "a:{b}:{c}", "a:1:", NULL },
	{ "a:{b}:{c}", "a::2", NULL },
	{ "a:{b}:{c}", "a:1", NULL },
	{ "a:{b}:{c}", "a:", NULL },
	{ "a:{b}:end", "a:1:end", "1" },
	{ "a:{b}:end", "a:1:end:end", NULL },
	{ "a:{b}:end", "a:1:en", NULL },
	{ "fixed", "fixed", "" },
	{ "fixed", "fixed1", NULL },
};

static void keys_are_split_as_patterns_say(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct span parts[ORIGIN_PARAM_MAX];
		struct origin_pattern pattern;
		char why[ORIGIN_WHY_MAX], text[256] = "";
		bool split;

		assert_int_equal(origin_pattern_init(&pattern, rows[i].pattern, why), 0);
		split = origin_pattern_split(&pattern, span_str(rows[i].key), parts);
		if (split != (rows[i].parts != NULL))
			fail_msg("%s of %s: %d", rows[i].key, rows[i].pattern, split);
		for (uint32_t part = 0; split && part < pattern.part_cnt; part++)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%.*s",
				 part ? "|" : "", (int)parts[part].len, parts[part].ptr);
		if (split)
			assert_string_equal(text, rows[i].parts);
	}
}

static void wrong_patterns_are_refused_with_a_hint(void **state)
{
	static const char *const wrong[] = { "a{", "a}", "{}", "{a}{b}", "{a", "{a{b}}" };
	struct origin_pattern pattern;
	char why[ORIGIN_WHY_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		why[0] = '\0';
		assert_true(origin_pattern_init(&pattern, wrong[i], why) < 0);
		assert_non_null(strstr(why, "product:{id}"));
	}
}

static void more_parts_than_parameters_are_refused(void **state)
{
	char text[ORIGIN_PATTERN_MAX] = "", why[ORIGIN_WHY_MAX];
	struct origin_pattern pattern;

	(void)state;
	for (int i = 1; i < ORIGIN_PARAM_MAX; i++)
		strcat(text, "{a}:");
	assert_int_equal(origin_pattern_init(&pattern, text, why), 0);
	strcat(text, "{a}");
	assert_true(origin_pattern_init(&pattern, text, why) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_split_as_patterns_say),
		cmocka_unit_test(wrong_patterns_are_refused_with_a_hint),
		cmocka_unit_test(more_parts_than_parameters_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
