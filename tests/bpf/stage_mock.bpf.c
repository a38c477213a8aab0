/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The fast path with its growing and storing helpers made to refuse, as drivers with little room
 * do, and its tc stages reachable by a test run, which cannot put metadata before an skb: the entry
 * number of the hand-over comes in skb->mark instead.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

enum {
	MOCK_TAIL = 1,	  /* no growth at the end */
	MOCK_HEAD = 2,	  /* no growth at the front */
	MOCK_META = 4,	  /* driver without metadata */
	MOCK_STORE = 8,	  /* bytes cannot be stored */
	MOCK_CHANGE = 16, /* skb cannot grow */
};

__u32 mock_refuse;

static __always_inline int mock_refuses(__u32 what)
{
	return *(volatile __u32 *)&mock_refuse & what;
}

static __always_inline long mock_adjust_tail(struct xdp_md *xdp, int delta)
{
	return mock_refuses(MOCK_TAIL) ? -1 : bpf_xdp_adjust_tail(xdp, delta);
}

static __always_inline long mock_adjust_head(struct xdp_md *xdp, int delta)
{
	return mock_refuses(MOCK_HEAD) ? -1 : bpf_xdp_adjust_head(xdp, delta);
}

static __always_inline long mock_adjust_meta(struct xdp_md *xdp, int delta)
{
	return mock_refuses(MOCK_META) ? -1 : bpf_xdp_adjust_meta(xdp, delta);
}

static __always_inline long mock_xdp_store(struct xdp_md *xdp, __u32 offset, void *from, __u32 len)
{
	return mock_refuses(MOCK_STORE) ? -1 : bpf_xdp_store_bytes(xdp, offset, from, len);
}

static __always_inline long mock_skb_store(struct __sk_buff *skb, __u32 offset, const void *from,
					   __u32 len, __u64 flags)
{
	return mock_refuses(MOCK_STORE) ? -1 : bpf_skb_store_bytes(skb, offset, from, len, flags);
}

static __always_inline long mock_change_tail(struct __sk_buff *skb, __u32 len, __u64 flags)
{
	return mock_refuses(MOCK_CHANGE) ? -1 : bpf_skb_change_tail(skb, len, flags);
}

#define bpf_xdp_adjust_tail mock_adjust_tail
#define bpf_xdp_adjust_head mock_adjust_head
#define bpf_xdp_adjust_meta mock_adjust_meta
#define bpf_xdp_store_bytes mock_xdp_store
#define bpf_skb_store_bytes mock_skb_store
#define bpf_skb_change_tail mock_change_tail

#include "fastpath.bpf.c"

SEC("tc")
int xc_tc_marked(struct __sk_buff *skb)
{
	struct xc_ctx c = { .tc = true, .skb = skb, .entry_idx = skb->mark };

	ctx_reload(&c);
	return finish(&c, stages(&c));
}

SEC("tc")
int xc_batch_tc_marked(struct __sk_buff *skb)
{
	struct xc_ctx c = { .tc = true, .skb = skb, .batch = true };

	ctx_reload(&c);
	return finish(&c, stages(&c));
}
