/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metrics - numbers for Prometheus: who has some, and how they are written.
 *
 * Does      keeps a list of sources; asks each of them for its numbers when somebody wants to see
 *           them, and writes the answers as text 0.0.4 or OpenMetrics 1.0.
 * Shape     a source writes families to a page: metrics_family, then a sample for each set of
 *           labels, then the next family. Labels are pairs of strings, or NULL for none:
 *
 *               metrics_family(page, METRICS_COUNTER, "xdpcache_origin_queries",
 *                              "Queries sent to the origin.");
 *               metrics_u64(page, cnt, "origin", "postgres", "result", "ok");
 *
 * Units     base units, named last: _seconds, _bytes, _ratio. A counter's name is given without
 *           _total, which is added.
 * Errors    a source cannot fail: what it does not know it leaves out. metrics_print: -ENOMEM.
 * Owner     sources belong to those who add them, and outlive the registry.
 * Threads   metrics_add: before anybody prints. metrics_print: one thread at a time; sources are
 *           called in it and read what other threads write.
 * Invariant a family comes once in a page, with all of its samples (asserted); text of labels is
 *           valid UTF-8 however it was given.
 * Source    prometheus.io/docs/instrumenting/exposition_formats; the OpenMetrics specification 1.0.
 */
#ifndef XC_OBSERVE_METRICS_H
#define XC_OBSERVE_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/histogram.h"

#define METRICS_SOURCE_MAX 16
#define METRICS_FAMILY_MAX 128

struct metrics;
struct metrics_page;

enum metrics_kind { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

enum metrics_format { METRICS_TEXT, METRICS_OPEN };

struct metrics *metrics_new(void);	    /* NULL: out of memory */
void metrics_free(struct metrics *metrics); /* NULL-safe */
/* -ENOSPC: METRICS_SOURCE_MAX of them are there. */
int metrics_add(struct metrics *metrics, void (*source)(void *ctx, struct metrics_page *page),
		void *ctx);
/* What all sources have to say; the text is the caller's (free). */
int metrics_print(struct metrics *metrics, enum metrics_format format, char **ret, size_t *ret_len);

/* What an Accept header asks for (NULL: none was sent): text unless OpenMetrics is preferred. */
enum metrics_format metrics_negotiate(const char *accept);
const char *metrics_content_type(enum metrics_format format);

/* --- for sources --- */

void metrics_family(struct metrics_page *page, enum metrics_kind kind, const char *name,
		    const char *help);
/* labels: names and values in turn, ended by NULL. */
void metrics_put_u64(struct metrics_page *page, uint64_t value, const char *const *labels);
void metrics_put_double(struct metrics_page *page, double value, const char *const *labels);
void metrics_put_durations(struct metrics_page *page, const struct histogram *h,
			   const char *const *labels);
/* A histogram whose buckets are its own: cnts[i] values are below ends_ns[i], cnt there are. */
struct metrics_buckets {
	const uint64_t *ends_ns;
	const uint64_t *cnts;
	uint32_t bucket_cnt;
	uint64_t cnt;
	uint64_t sum_ns;
};
void metrics_put_buckets(struct metrics_page *page, const struct metrics_buckets *buckets,
			 const char *const *labels);

/* Macros, since the language has no other list of strings whose end need not be written. */
#define METRICS_LABELS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define metrics_u64(page, value, ...) metrics_put_u64(page, value, METRICS_LABELS(__VA_ARGS__))
#define metrics_double(page, value, ...)                                                           \
	metrics_put_double(page, value, METRICS_LABELS(__VA_ARGS__))
#define metrics_buckets(page, buckets, ...)                                                        \
	metrics_put_buckets(page, buckets, METRICS_LABELS(__VA_ARGS__))
/* A histogram of nanoseconds, shown in seconds; from 1 us to 10 s in steps of about 1.5. */
#define metrics_durations(page, h, ...) metrics_put_durations(page, h, METRICS_LABELS(__VA_ARGS__))

#endif
