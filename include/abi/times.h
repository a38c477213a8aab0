/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * times - a histogram of how long the program took for a request, sampled.
 *
 * Does      says which bucket a time belongs to, and where a bucket ends.
 * Shape     log-linear: four buckets to each doubling. The first four are XC_TIME_UNIT_NS wide; the
 *           last takes everything longer, too.
 * Units     nanoseconds inside the program: what the driver, the interrupt and the wire take is
 *           not in them.
 * Source    the layout is HdrHistogram's, with two bits of precision.
 */
#ifndef XC_ABI_TIMES_H
#define XC_ABI_TIMES_H

#include <linux/types.h>

#define XC_TIME_UNIT_SHIFT 4
#define XC_TIME_SUB_SHIFT 2
#define XC_TIME_SUB (1 << XC_TIME_SUB_SHIFT)
/* The last bucket begins at 14 << 13, 115 microseconds. */
#define XC_TIME_BUCKETS 48

/* One request in 2^XC_TIME_SHIFT is timed. */
#define XC_TIME_SHIFT 8

static inline __attribute__((always_inline)) __u32 xc_time_bucket(__u64 ns)
{
	__u64 units = ns >> XC_TIME_UNIT_SHIFT;
	__u32 shift = 0;

	if (units >> (XC_TIME_BUCKETS / XC_TIME_SUB + 1))
		return XC_TIME_BUCKETS - 1;
	/* The leading bit and the two behind it tell the bucket. */
	if (units >> (8 + XC_TIME_SUB_SHIFT))
		shift = 8;
	if (units >> (shift + 4 + XC_TIME_SUB_SHIFT))
		shift += 4;
	if (units >> (shift + 2 + XC_TIME_SUB_SHIFT))
		shift += 2;
	if (units >> (shift + 1 + XC_TIME_SUB_SHIFT))
		shift += 1;
	return shift * XC_TIME_SUB + (units >> shift);
}

/* Where a bucket begins; the one before it ends there. */
static inline __attribute__((always_inline)) __u64 xc_time_bucket_ns(__u32 bucket)
{
	__u32 shift = bucket < XC_TIME_SUB ? 0 : bucket / XC_TIME_SUB - 1;

	return (__u64)(bucket - shift * XC_TIME_SUB) << (shift + XC_TIME_UNIT_SHIFT);
}

#endif
