/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * histogram - how long things took, in fixed memory.
 *
 * Does      counts values in buckets whose width grows with the value, and answers quantiles.
 * Shape     log-linear: exact below 2^7; above, each power of two is cut into 2^7 buckets. 34 KiB.
 * Units     the caller's; any non-negative number below 2^40 (18 minutes in nanoseconds). Larger
 *           ones are counted as the largest.
 * Error     a quantile is off by at most 1/256 (0.4 %) of itself; min, max, count and sum are
 *           exact.
 * Threads   one writer; merge what several wrote. Merging may run beside the writer of `from`: each
 *           number is whole then, and what is being inserted may be in some of them only.
 */
#ifndef XC_BASE_HISTOGRAM_H
#define XC_BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 7
#define HISTOGRAM_VALUE_BITS 40
#define HISTOGRAM_VALUE_MAX ((1ULL << HISTOGRAM_VALUE_BITS) - 1)
#define HISTOGRAM_BUCKET_CNT ((HISTOGRAM_VALUE_BITS - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)

struct histogram {
	uint64_t cnt;
	uint64_t sum;
	uint64_t min; /* UINT64_MAX while empty */
	uint64_t max;
	uint64_t buckets[HISTOGRAM_BUCKET_CNT];
};

/* Also empties one that was in use. */
void histogram_init(struct histogram *h);
void histogram_insert(struct histogram *h, uint64_t value);
void histogram_insert_many(struct histogram *h, uint64_t value, uint64_t cnt);
void histogram_merge(struct histogram *to, const struct histogram *from);
/*
 * The value that a share q of all values (0 to 1) do not exceed; q = 1 is the largest. 0 when
 * empty.
 */
uint64_t histogram_quantile(const struct histogram *h, double q);
double histogram_mean(const struct histogram *h); /* 0 when empty */
/*
 * How many values are at most bounds[i], which rise. Of values as near to a bound as a bucket is
 * wide (1/128 of it) some may be counted on its other side. Returns how many there are in all.
 */
uint64_t histogram_cumulate(const struct histogram *h, const uint64_t *bounds, uint32_t cnt,
			    uint64_t *ret_cnts);

#endif
