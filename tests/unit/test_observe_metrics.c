/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is written is what Prometheus' two formats ask for, byte by byte; labels of any bytes come
 * out as UTF-8 that a parser reads back; no memory means no page. tests/net/test_metrics.py has
 * promtool read a whole page.
 */
#include "observe/metrics.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/fault.h"

static char *print(struct metrics *metrics, enum metrics_format format)
{
	char *text;
	size_t len;

	assert_int_equal(metrics_print(metrics, format, &text, &len), 0);
	assert_int_equal(strlen(text), len);
	return text;
}

static struct metrics *one_source(void (*source)(void *ctx, struct metrics_page *page), void *ctx)
{
	struct metrics *metrics = metrics_new();

	assert_non_null(metrics);
	assert_int_equal(metrics_add(metrics, source, ctx), 0);
	return metrics;
}

static void expect(void (*source)(void *ctx, struct metrics_page *page), void *ctx,
		   enum metrics_format format, const char *want)
{
	struct metrics *metrics = one_source(source, ctx);
	char *text = print(metrics, format);

	assert_string_equal(text, want);
	free(text);
	metrics_free(metrics);
}

static void two_families(void *ctx, struct metrics_page *page)
{
	(void)ctx;
	metrics_family(page, METRICS_COUNTER, "xc_sent_bytes", "Bytes sent.");
	metrics_u64(page, UINT64_MAX, "to", "peer", "kind", "full");
	metrics_u64(page, 0, "to", "peer", "kind", "part");
	metrics_family(page, METRICS_GAUGE, "xc_heat", "How hot.");
	metrics_double(page, 0.25, NULL);
}

static void text_has_total_in_the_name_of_the_family(void **state)
{
	(void)state;
	expect(two_families, NULL, METRICS_TEXT,
	       "# HELP xc_sent_bytes_total Bytes sent.\n"
	       "# TYPE xc_sent_bytes_total counter\n"
	       "xc_sent_bytes_total{to=\"peer\",kind=\"full\"} 18446744073709551615\n"
	       "xc_sent_bytes_total{to=\"peer\",kind=\"part\"} 0\n"
	       "# HELP xc_heat How hot.\n"
	       "# TYPE xc_heat gauge\n"
	       "xc_heat 0.25\n");
}

static void openmetrics_has_it_in_samples_alone_and_units_and_an_end(void **state)
{
	(void)state;
	expect(two_families, NULL, METRICS_OPEN,
	       "# HELP xc_sent_bytes Bytes sent.\n"
	       "# TYPE xc_sent_bytes counter\n"
	       "# UNIT xc_sent_bytes bytes\n"
	       "xc_sent_bytes_total{to=\"peer\",kind=\"full\"} 18446744073709551615\n"
	       "xc_sent_bytes_total{to=\"peer\",kind=\"part\"} 0\n"
	       "# HELP xc_heat How hot.\n"
	       "# TYPE xc_heat gauge\n"
	       "xc_heat 0.25\n"
	       "# EOF\n");
}

static void one_label(void *ctx, struct metrics_page *page)
{
	metrics_family(page, METRICS_GAUGE, "xc_x", "X.");
	metrics_u64(page, 1, "key", ctx);
}

/* Left: the key; right: its label. Two backslashes stand for one that a reader sees. */
static void label_of_any_bytes_is_escaped_utf8(void **state)
{
	static const char *const keys[][2] = {
		{ "plain:1", "plain:1" },
		{ "a\"b\\c", "a\\\"b\\\\c" },
		{ "line\nend", "line\\\\x0aend" },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
		{ "\xe2\x82\xac\xf0\x9f\x98\x80", "\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "\xff\xfe", "\\\\xff\\\\xfe" },
		{ "cut\xe2\x82", "cut\\\\xe2\\\\x82" },
		{ "\xc0\xaf", "\\\\xc0\\\\xaf" },			/* longer than need be */
		{ "\xed\xa0\x80", "\\\\xed\\\\xa0\\\\x80" },		/* a surrogate */
		{ "\xf4\x90\x80\x80", "\\\\xf4\\\\x90\\\\x80\\\\x80" }, /* beyond Unicode */
		{ "\xc2\x9b", "\\\\xc2\\\\x9b" },			/* steers a terminal */
		{ "\x7f", "\\\\x7f" },
	};
	char want[256];

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		snprintf(want, sizeof(want),
			 "# HELP xc_x X.\n# TYPE xc_x gauge\nxc_x{key=\"%s\"} 1\n", keys[i][1]);
		expect(one_label, (void *)keys[i][0], METRICS_TEXT, want);
	}
}

static void durations(void *ctx, struct metrics_page *page)
{
	metrics_family(page, METRICS_HISTOGRAM, "xc_wait_seconds", "Waits.");
	metrics_durations(page, ctx, "op", "get");
}

/* The number behind a sample's name and labels. */
static double sample(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	if (!at)
		fail_msg("no %s in\n%s", name, text);
	return strtod(at + strlen(name), NULL);
}

static void durations_are_cumulative_and_in_seconds(void **state)
{
	static struct histogram h;
	struct metrics *metrics = one_source(durations, &h);
	uint32_t bucket_cnt = 0;
	double last = 0;
	char *text;

	(void)state;
	histogram_init(&h);
	histogram_insert_many(&h, 900, 3);	  /* below the first bound */
	histogram_insert_many(&h, 2000000, 5);	  /* 2 ms */
	histogram_insert(&h, 60 * 1000000000ULL); /* beyond the last */
	text = print(metrics, METRICS_TEXT);
	assert_true(sample(text, "xc_wait_seconds_bucket{op=\"get\",le=\"1e-06\"} ") == 3);
	assert_true(sample(text, "xc_wait_seconds_bucket{op=\"get\",le=\"0.0015\"} ") == 3);
	assert_true(sample(text, "xc_wait_seconds_bucket{op=\"get\",le=\"0.0022\"} ") == 8);
	assert_true(sample(text, "xc_wait_seconds_bucket{op=\"get\",le=\"10\"} ") == 8);
	assert_true(sample(text, "xc_wait_seconds_bucket{op=\"get\",le=\"+Inf\"} ") == 9);
	assert_true(sample(text, "xc_wait_seconds_count{op=\"get\"} ") == 9);
	assert_true(sample(text, "xc_wait_seconds_sum{op=\"get\"} ") == 60.0100027);
	for (char *at = text; (at = strstr(at, "_bucket{")); bucket_cnt++) {
		double cnt = strtod(strchr(at, '}') + 1, NULL);

		assert_true(cnt >= last);
		last = cnt;
		at++;
	}
	assert_int_equal(bucket_cnt, 44);
	free(text);
	metrics_free(metrics);
}

static void accept_header_chooses_the_format(void **state)
{
	static const struct {
		const char *accept;
		enum metrics_format want;
	} rows[] = {
		{ NULL, METRICS_TEXT },
		{ "", METRICS_TEXT },
		{ "*/*", METRICS_TEXT },
		{ "text/plain", METRICS_TEXT },
		{ "application/openmetrics-text", METRICS_OPEN },
		{ "APPLICATION/OpenMetrics-Text; version=1.0.0", METRICS_OPEN },
		/* what Prometheus 2.42 sends */
		{ "application/openmetrics-text;version=1.0.0,"
		  "application/openmetrics-text;version=0.0.1;q=0.75,"
		  "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		  METRICS_OPEN },
		{ "text/plain;q=0.9, application/openmetrics-text;q=0.2", METRICS_TEXT },
		{ "application/openmetrics-text;q=0", METRICS_TEXT },
		{ "application/openmetrics-textual", METRICS_TEXT },
		{ "text/html,application/xhtml+xml,*/*;q=0.8", METRICS_TEXT },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (metrics_negotiate(rows[i].accept) != rows[i].want)
			fail_msg("wrong format for \"%s\"", rows[i].accept);
	}
}

static void sources_are_bounded(void **state)
{
	struct metrics *metrics = metrics_new();

	(void)state;
	for (int i = 0; i < METRICS_SOURCE_MAX; i++)
		assert_int_equal(metrics_add(metrics, one_label, NULL), 0);
	assert_int_equal(metrics_add(metrics, one_label, NULL), -ENOSPC);
	metrics_free(metrics);
}

static void no_memory_makes_no_registry(void **state)
{
	(void)state;
	fault_start(1);
	assert_null(metrics_new());
	fault_stop();
	metrics_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_has_total_in_the_name_of_the_family),
		cmocka_unit_test(openmetrics_has_it_in_samples_alone_and_units_and_an_end),
		cmocka_unit_test(label_of_any_bytes_is_escaped_utf8),
		cmocka_unit_test(durations_are_cumulative_and_in_seconds),
		cmocka_unit_test(accept_header_chooses_the_format),
		cmocka_unit_test(sources_are_bounded),
		cmocka_unit_test(no_memory_makes_no_registry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
