/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * finish - the single exit: outcome -> counter and action.
 *
 * Does      counts each packet once, samples hits for the daemon's eviction and times for people,
 *           picks the action.
 * Rule      at tc only requests that XDP handed over arrive: those that cannot be answered there
 *           either had no room, whatever stopped them; everything else counts nothing. What is not
 *           for our port there is no request, but a reply that lo brings back with its mark.
 * Times     finish_begin starts the clock of a packet that is to be timed, and finish stops it: for
 *           xc_fastpath and what it tail-calls. If the next packet is no request the turn lapses:
 *           a host with other traffic does not pay for a clock that waits.
 * Threads   xc_stats is per CPU and programs of one CPU do not interrupt each other: plain adds.
 */
#ifndef XC_BPF_FINISH_H
#define XC_BPF_FINISH_H

#include <linux/pkt_cls.h>

#include "ctx.bpf.h"
#include "maps.bpf.h"
#include "rate.bpf.h"

/*
 * True for one n in 2^shift, with no period that a round of keys could be in step with: n is
 * scrambled (multiply, fold, multiply) and the top bits decide.
 */
static __always_inline bool finish_is_sample(__u64 n, __u32 shift)
{
	n *= 0x9e3779b97f4a7c15ULL;
	n ^= n >> 32;
	n *= 0xd6e8feb86659fd93ULL;
	return n >> (64 - shift) == 0;
}

static __always_inline struct xc_stats *finish_stats(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&xc_stats, &zero);
}

static __always_inline void finish_begin(void)
{
	struct xc_stats *stats = finish_stats();

	if (stats && stats->timed)
		stats->timed = bpf_ktime_get_ns();
}

/* Of those that no stage of guard has turned away. */
static __always_inline bool finish_is_request(enum xc_outcome outcome)
{
	return outcome <= XC_hit_tc || outcome >= XC_pass_frame;
}

static __always_inline void finish_time(struct xc_stats *stats, enum xc_outcome outcome)
{
	__u64 *times = outcome <= XC_hit_tc ? stats->hit_times : stats->other_times;
	__u64 start_ns = stats->timed;

	stats->timed = 0;
	if (finish_is_request(outcome) && start_ns != XC_TIME_NEXT) {
		__u64 bucket = xc_time_bucket(bpf_ktime_get_ns() - start_ns);

		if (bucket < XC_TIME_BUCKETS)
			times[bucket]++;
	}
}

static __always_inline void finish_route(__u32 idx)
{
	struct xc_entry *entry = bpf_map_lookup_elem(&xc_entry, &idx);
	struct xc_routes *routes;
	__u32 zero = 0, route;

	if (!entry)
		return;
	route = read_once(entry->route);
	if (!route || route > XC_ROUTE_MAX)
		return;
	routes = bpf_map_lookup_elem(&xc_routes, &zero);
	if (!routes)
		return;
	if (entry->kind == XC_ENTRY_ABSENT)
		routes->use[route].absent++;
	else
		routes->use[route].hits++;
}

static __always_inline void finish_use(__u64 now_ns, __u32 idx, bool is_sample)
{
	__u32 stamp = now_ns >> XC_STAMP_SHIFT;
	struct xc_use *use = bpf_map_lookup_elem(&xc_hits, &idx);

	finish_route(idx);
	if (!use)
		return;
	/* Hardly ever: the line stays shared among the CPUs that serve a hot key. */
	if (read_once(use->stamp) != stamp)
		*(volatile __u32 *)&use->stamp = stamp;
	if (is_sample)
		__sync_fetch_and_add(&use->hits, 1);
}

/* The keys of a batch. A function of its own: its stack is not the program's. */
__attribute__((noinline)) int finish_keys(struct xc_scratch *s, __u64 hit_cnt)
{
	if (!s)
		return 0;
	for (__u32 i = 0; i < XC_KEYS_MAX; i++) {
		if (i >= s->key_cnt)
			break;
		finish_use(s->now_ns, s->used[i],
			   finish_is_sample(hit_cnt * XC_KEYS_MAX + i, XC_HIT_SHIFT));
	}
	return 0;
}

/* hit_cnt: this CPU's hits that grew the same way. */
static __always_inline void finish_hit(struct xc_ctx *c, struct xc_stats *stats, __u64 hit_cnt)
{
	stats->reply_bytes += c->reply_len;
	if (!c->batch) {
		finish_use(c->now_ns, c->entry_idx, finish_is_sample(hit_cnt, XC_HIT_SHIFT));
		return;
	}
	stats->more_keys += c->scratch->key_cnt - 1;
	rate_keys(c, c->scratch->key_cnt - 1);
	stats->absent_keys += c->scratch->absent_cnt;
	finish_keys(c->scratch, hit_cnt);
}

static __always_inline void finish_count(struct xc_ctx *c, enum xc_outcome outcome)
{
	struct xc_stats *stats = finish_stats();
	__u64 *counter;

	if (!stats)
		return;
	counter = (__u64 *)stats + masked(outcome, XC_STATS_WORDS - 1);
	(*counter)++;
	if (!c->tc && stats->timed)
		finish_time(stats, outcome);
	else if (!c->tc && finish_is_request(outcome) && finish_is_sample(*counter, XC_TIME_SHIFT))
		stats->timed = XC_TIME_NEXT;
	if (outcome <= XC_hit_tc)
		finish_hit(c, stats, *counter);
}

static __always_inline int finish_xdp(struct xc_ctx *c, enum xc_outcome outcome)
{
	if (!c->handed_over)
		finish_count(c, outcome);
	switch (outcome) {
	case XC_hit_tail:
	case XC_hit_head:
		return XDP_TX;
	case XC_drop_not_allowed:
	case XC_drop_rate:
	case XC_drop_broken:
		return XDP_DROP;
	default:
		return XDP_PASS;
	}
}

/* TC_ACT_UNSPEC: the next filter on the hook has its say, as if we were not there. */
static __always_inline int finish_tc(struct xc_ctx *c, enum xc_outcome outcome)
{
	if (outcome == XC_pass_not_local || outcome == XC_pass_not_port)
		return TC_ACT_UNSPEC;
	if (outcome != XC_hit_tc && outcome != XC_drop_broken)
		outcome = XC_pass_no_room;
	finish_count(c, outcome);
	switch (outcome) {
	case XC_hit_tc:
		return bpf_redirect(c->skb->ifindex, 0);
	case XC_drop_broken:
		return TC_ACT_SHOT;
	default:
		return TC_ACT_UNSPEC;
	}
}

static __always_inline int finish(struct xc_ctx *c, enum xc_outcome outcome)
{
	return c->tc ? finish_tc(c, outcome) : finish_xdp(c, outcome);
}

#endif
