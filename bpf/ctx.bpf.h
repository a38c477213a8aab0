/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ctx - what the stages of one packet hand on to each other.
 *
 * Does      defines struct xc_ctx and the only two ways to the packet's bytes and length.
 * Shape     a stage fills the part under its name and reads the parts above it.
 * Units     offsets and lengths in bytes, 64 bits wide so that the verifier sees one register;
 *           addresses and ports in network order; IPv4 addresses as ::ffff:a.b.c.d.
 * Owner     one packet, on the stack. After any change of the packet's size, ctx_reload() first.
 *           Never give a helper the address of a field: the struct would have to exist in memory,
 *           and the compiler could no longer see that tc is a constant.
 * Rule      until reply the packet is only read; a stage returns XC_NEXT or the final outcome.
 */
#ifndef XC_BPF_CTX_H
#define XC_BPF_CTX_H

#include <linux/bpf.h>
#include <stdbool.h>

#include "abi/conf.h"
#include "abi/entry.h"
#include "abi/hash.h"
#include "abi/outcome.h"
#include "verifier.bpf.h"

struct xc_scratch;

/* Longest L2 header walked: Ethernet and two tags. */
#define CTX_L2_MAX (14 + 4 * XC_VLAN_MAX)

struct xc_ctx {
	/*
	 * Which hook; a constant in each program, so that one branch of every `if (c->tc)` is gone.
	 */
	bool tc;
	/* Request and reply are in xc_scratch, not in the packet; a constant too. */
	bool batch;
	struct xdp_md *xdp;    /* if !tc */
	struct __sk_buff *skb; /* if tc */
	void *data;
	void *data_end;
	const struct xc_conf *conf;

	/* parse_packet */
	__u64 mac_dst; /* 48 bits, memory order */
	__u64 mac_src;
	__u64 l2_rest;	/* frame bytes 12 to 19: tags, type, and whatever follows */
	__u16 l2_rest2; /* frame bytes 20 and 21 */
	__u64 tagged;	/* 1: a tag is in the frame, or the driver took one out */
	bool ip6;
	__u64 l3_off; /* IP header */
	__u64 l4_off; /* UDP header */
	__u64 src[2];
	__u64 dst[2];
	__u32 ports;   /* source, then destination */
	__u64 udp_len; /* header and payload */

	/* guard */
	__u64 now_ns;
	__u64 mtu;

	/* parse_request */
	__u16 request_id;
	__u64 gets;	   /* 1: reply with cas */
	bool more;	   /* no text verb, but one that batch knows */
	__u64 key_off;	   /* the key in the request */
	__u64 key_len;	   /* 1..XC_KEY_MAX */
	__u64 key_tail;	   /* the 8 bytes that end with the key */
	struct xc_sip sip; /* the key's, after the low word: the high one is made only for xc_hot */
	__u64 digest_low;

	/* lookup */
	__u64 *hint;	       /* the digest's slot of xc_hint */
	__u32 entry_idx;       /* at tc: from the hand-over mark */
	struct xc_entry entry; /* a copy that was whole */
	const __u8 *log_key;   /* the key in the log; the value follows */

	/* batch */
	struct xc_scratch *scratch;
	const void *key; /* in it */

	/* room */
	__u64 cas[3]; /* " <cas>" for gets, rest 0 */
	__u64 cas_len;
	__u64 reply_len;     /* UDP payload */
	__u64 frame_len;     /* of the reply */
	bool handed_over;    /* marked for xc_tc, which counts it */
	enum xc_outcome hit; /* which way of growing it was */
};

static __always_inline void ctx_reload(struct xc_ctx *c)
{
	if (c->tc) {
		c->data = (void *)(long)c->skb->data;
		c->data_end = (void *)(long)c->skb->data_end;
	} else {
		c->data = (void *)(long)c->xdp->data;
		c->data_end = (void *)(long)c->xdp->data_end;
	}
}

/* Bytes in the frame as it is now. */
static __always_inline __u64 ctx_frame_len(const struct xc_ctx *c)
{
	return c->data_end - c->data;
}

static __always_inline __u32 ctx_ifindex(const struct xc_ctx *c)
{
	return c->tc ? c->skb->ifindex : c->xdp->ingress_ifindex;
}

#endif
