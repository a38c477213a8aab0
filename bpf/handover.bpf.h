/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * handover - the tc side of a packet that had no room in the driver.
 *
 * Does      recognises the mark that room left in the XDP metadata, takes it off, and makes the
 *           skb's bytes readable in one piece.
 * Cost      a packet without the mark pays four loads and two compares.
 * Rule      a mark is taken once: should the packet pass, a second hook (a VLAN device above) must
 *           not count it again. Datagrams that the stack merged into one skb do not parse as one
 *           request.
 */
#ifndef XC_BPF_HANDOVER_H
#define XC_BPF_HANDOVER_H

#include "abi/conf.h"
#include "ctx.bpf.h"

static __always_inline bool handover_take(struct xc_ctx *c)
{
	struct __sk_buff *skb = c->skb;
	struct xc_handover *mark = (void *)(long)skb->data_meta;

	if ((void *)(mark + 1) > (void *)(long)skb->data || mark->magic != XC_HANDOVER_MAGIC)
		return false;
	c->entry_idx = mark->entry_idx;
	mark->magic = 0;
	ctx_reload(c);
	if (ctx_frame_len(c) < skb->len) {
		bpf_skb_pull_data(skb, skb->len);
		ctx_reload(c);
	}
	return true;
}

#endif
