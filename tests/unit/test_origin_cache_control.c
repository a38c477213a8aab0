/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Properties: Cache-Control is read as a shared cache has to; what is malformed makes an answer
 * older, never younger; nothing behind the bytes is read. Method: a table, each value in front of a
 * guard page, whole and cut at every place.
 */
#include "origin/cache_control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/guard_page.h"

#define NEVER UINT64_MAX

static struct guard_page guard;

static struct answer_age age_of(const char *first, const char *second, const char *age)
{
	struct cache_control control = { 0 };

	cache_control_parse(&control, guard_page_put(&guard, first, strlen(first)));
	if (second)
		cache_control_parse(&control, guard_page_put(&guard, second, strlen(second)));
	if (age)
		cache_control_parse_age(&control, guard_page_put(&guard, age, strlen(age)));
	return cache_control_age(&control);
}

struct row {
	const char *first, *second, *age;
	uint64_t fresh_ms, stale_ms, stale_if_error_ms;
	bool no_store;
};

static const struct row rows[] = {
	{ "", NULL, NULL, NEVER, NEVER, NEVER, false },
	{ "public, x-y=1", NULL, NULL, NEVER, NEVER, NEVER, false },
	{ "max-age=60", NULL, NULL, 60000, NEVER, NEVER, false },
	{ "  MAX-Age = 60 ,public", NULL, NULL, 60000, NEVER, NEVER, false },
	{ "max-age=\"60\"", NULL, NULL, 60000, NEVER, NEVER, false },
	{ "max-age=60, s-maxage=5", NULL, NULL, 5000, NEVER, NEVER, false },
	{ "s-maxage=500, max-age=60", NULL, NULL, 500000, NEVER, NEVER, false },
	{ "max-age=60, max-age=7", NULL, NULL, 7000, NEVER, NEVER, false },
	{ "max-age=7", "max-age=60", NULL, 7000, NEVER, NEVER, false },
	{ "max-age=60", "stale-if-error=9", NULL, 60000, NEVER, 9000, false },
	{ "max-age=1,stale-while-revalidate=2,stale-if-error=3", NULL, NULL, 1000, 2000, 3000,
	  false },
	{ "max-age=60", NULL, "20", 40000, NEVER, NEVER, false },
	{ "max-age=60", NULL, "61", 0, NEVER, NEVER, false },
	{ "max-age=60", NULL, "x", 60000, NEVER, NEVER, false },
	{ "max-age=99999999999999999999", NULL, NULL, 0x7fffffffULL * 1000, NEVER, NEVER, false },
	{ "max-age=", NULL, NULL, 0, NEVER, NEVER, false },
	{ "max-age", NULL, NULL, 0, NEVER, NEVER, false },
	{ "max-age=-1", NULL, NULL, 0, NEVER, NEVER, false },
	{ "max-age=1.5", NULL, NULL, 0, NEVER, NEVER, false },
	{ "max-age=\"", NULL, NULL, 0, NEVER, NEVER, false },
	{ "no-store", NULL, NULL, NEVER, NEVER, NEVER, true },
	{ "private, max-age=60", NULL, NULL, 60000, NEVER, NEVER, true },
	{ "no-cache, max-age=60, stale-if-error=9", NULL, NULL, 0, 0, 0, false },
	{ "max-age=60, must-revalidate, stale-while-revalidate=9", NULL, NULL, 60000, 0, 0, false },
	{ "proxy-revalidate", NULL, NULL, NEVER, 0, 0, false },
	{ "x=\"a,no-store\", max-age=1", NULL, NULL, 1000, NEVER, NEVER, false },
	{ "x=\"a\\\",no-store\", max-age=1", NULL, NULL, 1000, NEVER, NEVER, false },
	{ ",,, ,max-age=1,,", NULL, NULL, 1000, NEVER, NEVER, false },
	{ "no-storefront, xno-store, max-ages=3", NULL, NULL, NEVER, NEVER, NEVER, false },
};

static void table_of_headers_is_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct answer_age age = age_of(row->first, row->second, row->age);

		if (age.fresh_ms != row->fresh_ms || age.stale_ms != row->stale_ms ||
		    age.stale_if_error_ms != row->stale_if_error_ms ||
		    age.no_store != row->no_store)
			fail_msg("%s: %llu %llu %llu %d", row->first,
				 (unsigned long long)age.fresh_ms, (unsigned long long)age.stale_ms,
				 (unsigned long long)age.stale_if_error_ms, age.no_store);
	}
}

static void cut_anywhere_nothing_behind_it_is_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t len = 0; len <= strlen(rows[i].first); len++) {
			struct cache_control control = { 0 };

			cache_control_parse(&control, guard_page_put(&guard, rows[i].first, len));
			cache_control_parse_age(&control,
						guard_page_put(&guard, rows[i].first, len));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_of_headers_is_read),
		cmocka_unit_test(cut_anywhere_nothing_behind_it_is_read),
	};
	int failed;

	guard_page_init(&guard, 4096);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	guard_page_fini(&guard);
	return failed;
}
