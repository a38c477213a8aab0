/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The two formats differ in little: OpenMetrics names a counter's family without _total, tells the
 * unit, and ends with a line that says so, which shows a page that was cut off.
 */
#include "observe/metrics.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/utf8.h"

struct metrics {
	struct {
		void (*run)(void *ctx, struct metrics_page *page);
		void *ctx;
	} sources[METRICS_SOURCE_MAX];
	uint32_t source_cnt;
};

struct metrics_page {
	FILE *out; /* in memory: it fails as a whole, at the end */
	enum metrics_format format;
	enum metrics_kind kind; /* of the current family, the last one here */
	const char *families[METRICS_FAMILY_MAX];
	uint32_t family_cnt;
};

/* The bounds of durations in ns: E6 steps over seven decades. */
#define DECADE_CNT 7
#define STEP_CNT 6
#define BOUND_CNT (DECADE_CNT * STEP_CNT + 1)

struct metrics *metrics_new(void)
{
	return alloc_zero(1, sizeof(struct metrics));
}

void metrics_free(struct metrics *metrics)
{
	alloc_free(metrics);
}

int metrics_add(struct metrics *metrics, void (*source)(void *ctx, struct metrics_page *page),
		void *ctx)
{
	if (metrics->source_cnt == METRICS_SOURCE_MAX)
		return -ENOSPC;
	metrics->sources[metrics->source_cnt].run = source;
	metrics->sources[metrics->source_cnt].ctx = ctx;
	metrics->source_cnt++;
	return 0;
}

int metrics_print(struct metrics *metrics, enum metrics_format format, char **ret, size_t *ret_len)
{
	struct metrics_page page = { .format = format };
	char *text = NULL;
	bool failed;
	size_t len;

	page.out = open_memstream(&text, &len);
	if (!page.out)
		return -ENOMEM;
	for (uint32_t i = 0; i < metrics->source_cnt; i++)
		metrics->sources[i].run(metrics->sources[i].ctx, &page);
	if (format == METRICS_OPEN)
		fputs("# EOF\n", page.out);
	failed = ferror(page.out) != 0;
	if (fclose(page.out) || failed) {
		free(text);
		return -ENOMEM;
	}
	*ret = text;
	*ret_len = len;
	return 0;
}

/* --- which format ----------------------------------------------------------------------------- */

/* The weight of a media range: what stands behind ;q=, 1 without. */
static double weight_of(const char *range)
{
	for (const char *at = strchr(range, ';'); at; at = strchr(at + 1, ';')) {
		const char *name = at + 1 + strspn(at + 1, " \t");

		if (!strncasecmp(name, "q=", 2))
			return strtod(name + 2, NULL);
	}
	return 1;
}

enum metrics_format metrics_negotiate(const char *accept)
{
	double open = 0, text = 0;
	char copy[1024];
	char *rest;

	snprintf(copy, sizeof(copy), "%s", accept ? accept : "");
	for (char *range = strtok_r(copy, ",", &rest); range; range = strtok_r(NULL, ",", &rest)) {
		double weight = weight_of(range);
		size_t len;

		range += strspn(range, " \t");
		len = strcspn(range, "; \t");
		if (len == 28 && !strncasecmp(range, "application/openmetrics-text", len))
			open = weight > open ? weight : open;
		else if (len == 10 && !strncasecmp(range, "text/plain", len))
			text = weight > text ? weight : text;
	}
	return open > 0 && open >= text ? METRICS_OPEN : METRICS_TEXT;
}

const char *metrics_content_type(enum metrics_format format)
{
	return format == METRICS_OPEN ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
				      : "text/plain; version=0.0.4; charset=utf-8";
}

/* --- families and samples --------------------------------------------------------------------- */

/* The base unit that a name ends with; NULL: none. */
static const char *unit_of(const char *name)
{
	static const char *const units[] = { "seconds", "bytes", "ratio" };
	const char *last = strrchr(name, '_');

	for (size_t i = 0; last && i < sizeof(units) / sizeof(units[0]); i++) {
		if (!strcmp(last + 1, units[i]))
			return units[i];
	}
	return NULL;
}

void metrics_family(struct metrics_page *page, enum metrics_kind kind, const char *name,
		    const char *help)
{
	static const char *const kinds[] = { "counter", "gauge", "histogram" };
	const char *end = kind == METRICS_COUNTER && page->format == METRICS_TEXT ? "_total" : "";

	assert(page->family_cnt < METRICS_FAMILY_MAX);
	for (uint32_t i = 0; i < page->family_cnt; i++)
		assert(strcmp(page->families[i], name) != 0);
	page->families[page->family_cnt++] = name;
	page->kind = kind;
	fprintf(page->out, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, end, help, name, end,
		kinds[kind]);
	if (page->format == METRICS_OPEN && unit_of(name))
		fprintf(page->out, "# UNIT %s %s\n", name, unit_of(name));
}

/* What is no plain text is shown as \xNN, whose backslash is escaped like any other. */
static void put_text(FILE *out, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	while (*at) {
		uint32_t len = utf8_character_len(at);

		if (*at == '"' || *at == '\\')
			fputc('\\', out);
		if (len > 0)
			fwrite(at, 1, len, out);
		else
			fprintf(out, "\\\\x%02x", *at);
		at += len > 0 ? len : 1;
	}
}

/* The sample's name and labels; bound: of a bucket, NULL for none. */
static void put_name(struct metrics_page *page, const char *suffix, const char *const *labels,
		     const char *bound)
{
	const char *open = "{";

	assert(page->family_cnt > 0);
	fprintf(page->out, "%s%s", page->families[page->family_cnt - 1], suffix);
	for (; labels[0]; labels += 2) {
		fprintf(page->out, "%s%s=\"", open, labels[0]);
		put_text(page->out, labels[1]);
		fputc('"', page->out);
		open = ",";
	}
	if (bound) {
		fprintf(page->out, "%sle=\"%s\"", open, bound);
		open = ",";
	}
	fputs(*open == ',' ? "} " : " ", page->out);
}

static const char *suffix_of(const struct metrics_page *page)
{
	assert(page->kind != METRICS_HISTOGRAM);
	return page->kind == METRICS_COUNTER ? "_total" : "";
}

void metrics_put_u64(struct metrics_page *page, uint64_t value, const char *const *labels)
{
	put_name(page, suffix_of(page), labels, NULL);
	fprintf(page->out, "%llu\n", (unsigned long long)value);
}

void metrics_put_double(struct metrics_page *page, double value, const char *const *labels)
{
	put_name(page, suffix_of(page), labels, NULL);
	fprintf(page->out, "%.12g\n", value);
}

static void fill_bounds(uint64_t ret[BOUND_CNT])
{
	static const uint64_t steps_ns[STEP_CNT] = { 1000, 1500, 2200, 3300, 4700, 6800 };
	uint64_t scale = 1;

	for (uint32_t i = 0; i < BOUND_CNT; i++) {
		ret[i] = steps_ns[i % STEP_CNT] * scale;
		if (i % STEP_CNT == STEP_CNT - 1)
			scale *= 10;
	}
}

void metrics_put_buckets(struct metrics_page *page, const struct metrics_buckets *buckets,
			 const char *const *labels)
{
	char bound[32];

	assert(page->kind == METRICS_HISTOGRAM);
	for (uint32_t i = 0; i < buckets->bucket_cnt; i++) {
		snprintf(bound, sizeof(bound), "%.10g",
			 (double)buckets->ends_ns[i] / (double)NSEC_PER_SEC);
		put_name(page, "_bucket", labels, bound);
		fprintf(page->out, "%llu\n", (unsigned long long)buckets->cnts[i]);
	}
	put_name(page, "_bucket", labels, "+Inf");
	fprintf(page->out, "%llu\n", (unsigned long long)buckets->cnt);
	put_name(page, "_sum", labels, NULL);
	fprintf(page->out, "%.12g\n", (double)buckets->sum_ns / (double)NSEC_PER_SEC);
	/* What the buckets add up to: a value must not be in one of the two alone. */
	put_name(page, "_count", labels, NULL);
	fprintf(page->out, "%llu\n", (unsigned long long)buckets->cnt);
}

void metrics_put_durations(struct metrics_page *page, const struct histogram *h,
			   const char *const *labels)
{
	uint64_t bounds_ns[BOUND_CNT], cnts[BOUND_CNT];
	struct metrics_buckets buckets = {
		.ends_ns = bounds_ns, .cnts = cnts, .bucket_cnt = BOUND_CNT, .sum_ns = h->sum
	};

	fill_bounds(bounds_ns);
	buckets.cnt = histogram_cumulate(h, bounds_ns, BOUND_CNT, cnts);
	metrics_put_buckets(page, &buckets, labels);
}
