/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * handover - the tc side of a packet that had no room in the driver.
 *
 * Does      recognises the mark that room left in the XDP metadata, and makes the skb's bytes
 *           readable in one piece.
 * Cost      a packet without the mark pays four loads and two compares.
 * Rule      nothing in xc_tc stores through a packet pointer, not even into the mark. A program
 *           that does is given a copy of a shared skb before its first instruction (the kernel's
 *           prologue), and the copy has no metadata: with a tap (tcpdump) on the interface every
 *           mark would be lost. So the mark stays; a second hook (a bridge or VLAN device above)
 *           knows it for another interface's, and finish_tc a reply that still carries its
 *           request's. Datagrams that the stack merged into one skb do not parse as one request.
 */
#ifndef XC_BPF_HANDOVER_H
#define XC_BPF_HANDOVER_H

#include "abi/conf.h"
#include "ctx.bpf.h"

static __always_inline bool handover_take(struct xc_ctx *c)
{
	struct __sk_buff *skb = c->skb;
	struct xc_handover *mark = (void *)(long)skb->data_meta;

	if ((void *)(mark + 1) > (void *)(long)skb->data || mark->magic != XC_HANDOVER_MAGIC ||
	    mark->ifindex != skb->ifindex)
		return false;
	c->entry_idx = mark->entry_idx;
	ctx_reload(c);
	if (ctx_frame_len(c) < skb->len) {
		bpf_skb_pull_data(skb, skb->len);
		ctx_reload(c);
	}
	return true;
}

#endif
