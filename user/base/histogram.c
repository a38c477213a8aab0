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

/* One writer; readers in other threads need whole words, not order. */
static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void store(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

void histogram_insert_many(struct histogram *h, uint64_t value, uint64_t cnt)
{
	uint64_t *bucket;

	if (cnt == 0)
		return;
	if (value > HISTOGRAM_VALUE_MAX)
		value = HISTOGRAM_VALUE_MAX;
	bucket = &h->buckets[bucket_of(value)];
	store(&h->cnt, h->cnt + cnt);
	store(&h->sum, h->sum + value * cnt);
	if (value < h->min)
		store(&h->min, value);
	if (value > h->max)
		store(&h->max, value);
	store(bucket, *bucket + cnt);
}

void histogram_insert(struct histogram *h, uint64_t value)
{
	histogram_insert_many(h, value, 1);
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
	uint64_t min = load(&from->min), max = load(&from->max);

	to->cnt += load(&from->cnt);
	to->sum += load(&from->sum);
	if (min < to->min)
		to->min = min;
	if (max > to->max)
		to->max = max;
	for (uint32_t i = 0; i < HISTOGRAM_BUCKET_CNT; i++)
		to->buckets[i] += load(&from->buckets[i]);
}

uint64_t histogram_cumulate(const struct histogram *h, const uint64_t *bounds, uint32_t cnt,
			    uint64_t *ret_cnts)
{
	uint64_t seen = 0;
	uint32_t bucket = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		for (; bucket < HISTOGRAM_BUCKET_CNT && bucket_middle(bucket) <= bounds[i];
		     bucket++)
			seen += h->buckets[bucket];
		ret_cnts[i] = seen;
	}
	for (; bucket < HISTOGRAM_BUCKET_CNT; bucket++)
		seen += h->buckets[bucket];
	return seen;
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
