/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A binary min-heap of counters by score, and a chained hash table from key to counter. Replacing
 * the least counted key is a pop; both are O(log K).
 */
#include "hotkey/topk.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"

#define NONE UINT32_MAX
/* 2^60 half-lives of weight fit a double's exponent many times over; scale down long before. */
#define WEIGHT_EXP_MAX 60.0

struct counter {
	char key[XC_KEY_MAX];
	uint8_t key_len;
	uint64_t hash;
	double reads, reads_error, writes; /* decayed sums, in weight units */
	double reads_variance;		   /* of reads, since only samples are seen */
	uint32_t chain;			   /* next in hash chain */
	uint32_t heap_idx;
};

/* In the order that topk_list makes. */
struct place {
	uint32_t weight;
	uint32_t counter;
};

struct topk {
	struct counter *counters;
	uint32_t *heap;	     /* counter numbers, least reads first */
	struct place *order; /* scratch of topk_list: twice max */
	uint32_t *chains;
	uint32_t chain_mask;
	uint32_t cnt, max;
	double half_life_ns;
	uint64_t base_ns; /* weight 1 */
};

struct topk *topk_new(uint32_t key_cnt, uint32_t half_life_ms)
{
	struct topk *topk = alloc_zero(1, sizeof(*topk));
	uint32_t chains = 256;

	if (!topk)
		return NULL;
	while (chains < 2 * key_cnt)
		chains *= 2;
	topk->max = key_cnt;
	topk->chain_mask = chains - 1;
	topk->half_life_ns = (double)half_life_ms * NSEC_PER_MSEC;
	topk->counters = alloc_zero(key_cnt, sizeof(*topk->counters));
	topk->heap = alloc_zero(key_cnt, sizeof(*topk->heap));
	topk->order = alloc_zero(2 * (size_t)key_cnt, sizeof(*topk->order));
	topk->chains = alloc_zero(chains, sizeof(*topk->chains));
	if (!topk->counters || !topk->heap || !topk->order || !topk->chains) {
		topk_free(topk);
		return NULL;
	}
	memset(topk->chains, 0xff, chains * sizeof(*topk->chains));
	return topk;
}

void topk_free(struct topk *topk)
{
	if (!topk)
		return;
	alloc_free(topk->counters);
	alloc_free(topk->heap);
	alloc_free(topk->order);
	alloc_free(topk->chains);
	alloc_free(topk);
}

/* --- heap --- */

static void heap_put(struct topk *topk, uint32_t at, uint32_t counter)
{
	topk->heap[at] = counter;
	topk->counters[counter].heap_idx = at;
}

static double heap_key(const struct topk *topk, uint32_t at)
{
	return topk->counters[topk->heap[at]].reads;
}

static void heap_sink(struct topk *topk, uint32_t at)
{
	for (;;) {
		uint32_t least = at, left = 2 * at + 1, right = left + 1, moved;

		if (left < topk->cnt && heap_key(topk, left) < heap_key(topk, least))
			least = left;
		if (right < topk->cnt && heap_key(topk, right) < heap_key(topk, least))
			least = right;
		if (least == at)
			return;
		moved = topk->heap[at];
		heap_put(topk, at, topk->heap[least]);
		heap_put(topk, least, moved);
		at = least;
	}
}

static void heap_rise(struct topk *topk, uint32_t at)
{
	while (at > 0 && heap_key(topk, at) < heap_key(topk, (at - 1) / 2)) {
		uint32_t parent = (at - 1) / 2, moved = topk->heap[at];

		heap_put(topk, at, topk->heap[parent]);
		heap_put(topk, parent, moved);
		at = parent;
	}
}

/* --- counters --- */

static struct counter *find(struct topk *topk, struct span key, uint64_t hash)
{
	uint32_t at = topk->chains[hash & topk->chain_mask];

	for (; at != NONE; at = topk->counters[at].chain) {
		struct counter *c = &topk->counters[at];

		if (c->hash == hash && span_equal(key, span_of(c->key, c->key_len)))
			return c;
	}
	return NULL;
}

static void unchain(struct topk *topk, uint32_t counter)
{
	uint32_t *link = &topk->chains[topk->counters[counter].hash & topk->chain_mask];

	while (*link != counter)
		link = &topk->counters[*link].chain;
	*link = topk->counters[counter].chain;
}

/*
 * A counter for a new key: an unused one, or that of the least counted key with its count as
 * error.
 */
static struct counter *claim(struct topk *topk, struct span key, uint64_t hash)
{
	uint32_t number;
	struct counter *c;

	if (topk->cnt < topk->max) {
		number = topk->cnt++;
		c = &topk->counters[number];
		c->reads = 0;
		heap_put(topk, number, number);
		heap_rise(topk, number);
	} else {
		number = topk->heap[0];
		c = &topk->counters[number];
		unchain(topk, number);
	}
	c->reads_error = c->reads;
	c->reads_variance = 0;
	c->writes = 0;
	c->hash = hash;
	c->key_len = (uint8_t)key.len;
	memcpy(c->key, key.ptr, key.len);
	c->chain = topk->chains[hash & topk->chain_mask];
	topk->chains[hash & topk->chain_mask] = number;
	return c;
}

/* Weight of an event now; scales every counter down when weights have grown large. */
static double weight_at(struct topk *topk, uint64_t now_ns)
{
	double exp_now = (double)(now_ns - topk->base_ns) / topk->half_life_ns;

	if (topk->base_ns == 0 || exp_now > WEIGHT_EXP_MAX) {
		double scale = topk->base_ns == 0 ? 0 : exp2(-exp_now);

		for (uint32_t i = 0; i < topk->cnt; i++) {
			topk->counters[i].reads *= scale;
			topk->counters[i].reads_error *= scale;
			topk->counters[i].writes *= scale;
			topk->counters[i].reads_variance *= scale * scale;
		}
		topk->base_ns = now_ns;
		exp_now = 0;
	}
	return exp2(exp_now);
}

void topk_add_read(struct topk *topk, struct span key, uint64_t hash, double weight,
		   uint64_t now_ns)
{
	double unit = weight_at(topk, now_ns);
	struct counter *c = find(topk, key, hash);

	if (!c)
		c = claim(topk, key, hash);
	c->reads += weight * unit;
	/* Of 1 in w: how many there were between two samples varies by w (w - 1). */
	c->reads_variance += weight * (weight - 1) * unit * unit;
	heap_sink(topk, c->heap_idx);
}

void topk_add_write(struct topk *topk, struct span key, uint64_t hash, double weight,
		    uint64_t now_ns)
{
	double unit = weight_at(topk, now_ns);
	struct counter *c = find(topk, key, hash);

	if (c)
		c->writes += weight * unit;
}

static double doubt_of(const struct counter *c)
{
	return c->reads_variance > 0 ? HOT_SURE * sqrt(c->reads_variance) : 0;
}

/*
 * A number that is greater the surer reads there are, and of those that nothing is sure of, the
 * more are counted. The bits of floats that are not negative are in the order of their values.
 */
static uint32_t weight_of(const struct counter *c, double per_sec)
{
	double reads = c->reads - c->reads_error, sure = reads - doubt_of(c);
	float rate = (float)((sure > 0 ? sure : fmax(reads, 0)) * per_sec);
	uint32_t bits;

	memcpy(&bits, &rate, sizeof(bits));
	return sure > 0 ? bits | 1U << 31 : bits;
}

#define DIGIT_BITS 11
#define DIGITS (1U << DIGIT_BITS)

/* By radix, greatest first: comparing all keys ten times a second was most of a round's cost. */
static void sort_places(struct place *places, struct place *other, uint32_t cnt)
{
	struct place *const sorted = places;

	for (uint32_t shift = 0; shift < 32; shift += DIGIT_BITS) {
		uint32_t at[DIGITS] = { 0 }, sum = 0;
		struct place *swap = places;

		for (uint32_t i = 0; i < cnt; i++)
			at[~(places[i].weight >> shift) & (DIGITS - 1)]++;
		for (uint32_t d = 0; d < DIGITS; d++) {
			uint32_t here = at[d];

			at[d] = sum;
			sum += here;
		}
		for (uint32_t i = 0; i < cnt; i++)
			other[at[~(places[i].weight >> shift) & (DIGITS - 1)]++] = places[i];
		places = other;
		other = swap;
	}
	/* Three digits: an odd number of turns. */
	memcpy(sorted, places, cnt * sizeof(*sorted));
}

uint32_t topk_list(struct topk *topk, uint64_t now_ns, struct hot_key *ret, uint32_t max)
{
	/* A steady rate r has a decayed sum of r * half_life / ln 2. */
	double unit = exp2((double)(now_ns - topk->base_ns) / topk->half_life_ns);
	double per_sec = M_LN2 / (topk->half_life_ns / NSEC_PER_SEC) / unit;
	uint32_t cnt = topk->cnt < max ? topk->cnt : max;

	for (uint32_t i = 0; i < topk->cnt; i++) {
		topk->order[i] = (struct place){
			.weight = weight_of(&topk->counters[i], per_sec),
			.counter = i,
		};
	}
	sort_places(topk->order, topk->order + topk->max, topk->cnt);
	for (uint32_t i = 0; i < cnt; i++) {
		const struct counter *c = &topk->counters[topk->order[i].counter];

		memcpy(ret[i].key, c->key, c->key_len);
		ret[i].key_len = c->key_len;
		ret[i].hash = c->hash;
		ret[i].read_rate = (c->reads - c->reads_error) * per_sec;
		ret[i].read_doubt = doubt_of(c) * per_sec;
		ret[i].write_rate = c->writes * per_sec;
	}
	return cnt;
}
