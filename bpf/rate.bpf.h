/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * rate - how much of its allowance a source has used.
 *
 * Does      one token bucket per IPv4 address or IPv6 /64: a request costs one, a reply of several
 *           keys one more for each key behind the first.
 * Shape     a bucket is one number, the time at which it will be full again. What is missing then
 *           is that time less now; a bucket nobody uses is full, and any time in the past says so.
 * Rule      a source is refused for what it has used itself, never for what others did: a source
 *           that has no bucket takes the fullest of its set, which had the least to lose, and
 *           starts with a full one. So a flood of forged sources takes places, not allowances.
 * Threads   any CPU. Two that charge one bucket at once both charge it (an atomic add), so one may
 *           be let in too many, which the bucket then owes. A place that two sources take at once
 *           is the later one's.
 * Source    Turner's leaky bucket as in ITU-T I.371, annex A (virtual scheduling); decision 0012.
 */
#ifndef XC_BPF_RATE_H
#define XC_BPF_RATE_H

#include "ctx.bpf.h"
#include "maps.bpf.h"

/*
 * IPv4 addresses keep the word that tells them apart from all IPv6 networks that guard lets in;
 * half an IPv6 address is a network.
 */
static __always_inline __u64 rate_source(const struct xc_ctx *c)
{
	return c->ip6 ? c->src[0] : c->src[1];
}

/* Which sources share a set nobody can know: the digest's key is in it. */
static __always_inline struct xc_rate_set *rate_set(const struct xc_ctx *c, __u64 source)
{
	__u64 mix = (source ^ c->conf->digest_key[0]) * (c->conf->digest_key[1] | 1);
	__u32 number;

	mix = (mix ^ mix >> 32) * 0x9e3779b97f4a7c15ULL;
	number = mix >> (64 - XC_RATE_SET_SHIFT);
	return bpf_map_lookup_elem(&xc_rate, &number);
}

/* The source's own, or the fullest. */
static __always_inline struct xc_rate_bucket *rate_bucket(struct xc_rate_set *set, __u64 source)
{
	struct xc_rate_bucket *best = set->buckets;
	__u64 best_ns = read_once(best->full_ns);

#pragma unroll
	for (__u32 i = 0; i < XC_RATE_WAYS; i++) {
		struct xc_rate_bucket *at = set->buckets + i;
		__u64 full_ns = read_once(at->full_ns);

		if (read_once(at->source) == source)
			return at;
		if (full_ns < best_ns) {
			best = at;
			best_ns = full_ns;
		}
	}
	return best;
}

/*
 * One request. xc_tc and xc_batch go on with requests that have paid. A refused one writes nothing:
 * a flood that is held back costs no cache line.
 */
static __always_inline enum xc_outcome rate(const struct xc_ctx *c)
{
	__u64 cost_ns = read_once(c->conf->rate_cost_ns);
	__u64 source = rate_source(c), missing_ns = 0;
	struct xc_rate_bucket *bucket;
	struct xc_rate_set *set;

	if (!cost_ns || c->tc || c->batch)
		return XC_NEXT;
	set = rate_set(c, source);
	if (!set)
		return XC_NEXT;
	bucket = rate_bucket(set, source);
	if (read_once(bucket->source) == source && read_once(bucket->full_ns) > c->now_ns)
		missing_ns = read_once(bucket->full_ns) - c->now_ns;
	if (missing_ns + cost_ns > read_once(c->conf->rate_burst_ns))
		return XC_drop_rate;
	if (missing_ns) {
		__sync_fetch_and_add(&bucket->full_ns, cost_ns);
		return XC_NEXT;
	}
	/* In this order: no other CPU sees the newcomer with what the one before it had used. */
	*(volatile __u64 *)&bucket->full_ns = c->now_ns + cost_ns;
	*(volatile __u64 *)&bucket->source = source;
	return XC_NEXT;
}

/* Keys beyond the one that was paid for. They are served already: the bucket may owe them. */
static __always_inline void rate_keys(const struct xc_ctx *c, __u64 key_cnt)
{
	__u64 cost_ns = read_once(c->conf->rate_cost_ns), source = rate_source(c);
	struct xc_rate_bucket *bucket;
	struct xc_rate_set *set;

	if (!cost_ns || !key_cnt)
		return;
	set = rate_set(c, source);
	if (!set)
		return;
	bucket = rate_bucket(set, source);
	if (read_once(bucket->source) == source)
		__sync_fetch_and_add(&bucket->full_ns, cost_ns * key_cnt);
}

#endif
