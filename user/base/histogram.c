/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/histogram.h"

#include <assert.h>
#include <string.h>

#define SUB_CNT (1U << HISTOGRAM_SUB_BITS)

/*
 * Bucket numbers: group 0 holds the values below SUB_CNT one by one; group g > 0 holds
 * [SUB_CNT << (g - 1), SUB_CNT << g) in SUB_CNT steps of 1 << (g - 1).
 */
static uint32_t bucket_of(uint64_t value)
{
	uint32_t shift;

	if (value < SUB_CNT)
		return (uint32_t)value;
	shift = 63 - (uint32_t)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
	return ((shift + 1) << HISTOGRAM_SUB_BITS) + (uint32_t)(value >> shift) - SUB_CNT;
}

static uint64_t bucket_middle(uint32_t bucket)
{
	uint32_t group = bucket >> HISTOGRAM_SUB_BITS;
	uint64_t sub = bucket & (SUB_CNT - 1);

	if (group == 0)
		return sub;
	return ((SUB_CNT + sub) << (group - 1)) + ((1ULL << (group - 1)) >> 1);
}

void histogram_init(struct histogram *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

void histogram_insert(struct histogram *h, uint64_t value)
{
	if (value > HISTOGRAM_VALUE_MAX)
		value = HISTOGRAM_VALUE_MAX;
	h->cnt++;
	h->sum += value;
	if (value < h->min)
		h->min = value;
	if (value > h->max)
		h->max = value;
	h->buckets[bucket_of(value)]++;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
	to->cnt += from->cnt;
	to->sum += from->sum;
	if (from->min < to->min)
		to->min = from->min;
	if (from->max > to->max)
		to->max = from->max;
	for (uint32_t i = 0; i < HISTOGRAM_BUCKET_CNT; i++)
		to->buckets[i] += from->buckets[i];
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
	uint64_t rank, seen = 0;
	uint64_t value = h->max;

	assert(q >= 0 && q <= 1);
	if (h->cnt == 0)
		return 0;
	rank = (uint64_t)(q * (double)h->cnt);
	if ((double)rank < q * (double)h->cnt)
		rank++;
	if (rank == 0)
		return h->min;
	if (rank >= h->cnt)
		return h->max;
	for (uint32_t i = 0; i < HISTOGRAM_BUCKET_CNT; i++) {
		seen += h->buckets[i];
		if (seen >= rank) {
			value = bucket_middle(i);
			break;
		}
	}
	/* The middle of an end bucket may lie beyond what was counted. */
	if (value < h->min)
		return h->min;
	return value > h->max ? h->max : value;
}

double histogram_mean(const struct histogram *h)
{
	return h->cnt ? (double)h->sum / (double)h->cnt : 0;
}
