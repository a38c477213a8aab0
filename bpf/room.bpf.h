/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * room - makes the packet as long as its reply.
 *
 * Does      computes the reply's length, checks it against the MTU, then grows the packet: by
 *           little at its front, by more at its end, else again at its front, else marks it for
 *           xc_tc, where skbs grow freely.
 * Why       growing at the front moves one pointer (9 ns); at the end the kernel also clears what
 *           was added (47 ns), and many drivers leave no room there. But a driver needs some of the
 *           front to send, so only little is taken first (docs/decisions/0005).
 * Errors    pass_mtu, pass_no_room: a helper that refuses changes nothing, so the packet is as it
 *           came.
 * Rule      never drop for lack of room. A packet handed over is counted by xc_tc alone.
 */
#ifndef XC_BPF_ROOM_H
#define XC_BPF_ROOM_H

#include "ctx.bpf.h"
#include "decimal.bpf.h"
#include "parse_packet.bpf.h"

/*
 * Growth that goes to the front first. Of the 256 bytes that drivers leave there, the kernel keeps
 * 40 for its own frame record: 88 remain for what a driver writes before a frame (virtio-net: 12).
 */
#define ROOM_FRONT_FIRST 128

/* "VALUE" to the value's last byte; renders cas. */
static __always_inline __u64 room_item(struct xc_ctx *c)
{
	c->cas_len = 0;
	if (c->gets)
		c->cas_len = decimal_render(c->entry.cas, c->cas);
	return XC_HEAD_LEN + c->key_len + c->entry.suffix_len + c->cas_len + 2 + c->entry.value_len;
}

static __always_inline enum xc_outcome room_size(struct xc_ctx *c)
{
	__u64 ip_len;

	if (c->batch)
		c->reply_len = FRAME_LEN + c->scratch->out_len;
	else
		c->reply_len = FRAME_LEN + room_item(c) + XC_TAIL_LEN;
	ip_len = c->l4_off - c->l3_off + UDP_LEN + c->reply_len;
	c->frame_len = c->l3_off + ip_len;
	return ip_len > c->mtu ? XC_pass_mtu : XC_NEXT;
}

/* Metadata travels with the frame into its skb. Drivers without metadata refuse. */
static __always_inline enum xc_outcome room_hand_over(struct xc_ctx *c)
{
	struct xc_handover *mark;

	if (!(read_once(c->conf->options) & XC_OPT_TC) ||
	    bpf_xdp_adjust_meta(c->xdp, -(int)sizeof(*mark)))
		return XC_pass_no_room;
	mark = (void *)(long)c->xdp->data_meta;
	if ((void *)(mark + 1) > (void *)(long)c->xdp->data)
		return XC_pass_no_room;
	mark->magic = XC_HANDOVER_MAGIC;
	mark->entry_idx = c->entry_idx;
	mark->ifindex = ctx_ifindex(c);
	c->handed_over = true;
	return XC_pass_no_room;
}

static __always_inline enum xc_outcome room_xdp(struct xc_ctx *c)
{
	int grow = (int)c->frame_len - (int)ctx_frame_len(c);

	c->hit = XC_hit_head;
	if (grow > 0 && grow <= ROOM_FRONT_FIRST && bpf_xdp_adjust_head(c->xdp, -grow) == 0)
		return XC_NEXT;
	c->hit = XC_hit_tail;
	if (bpf_xdp_adjust_tail(c->xdp, grow) == 0)
		return XC_NEXT;
	c->hit = XC_hit_head;
	if (grow > ROOM_FRONT_FIRST && bpf_xdp_adjust_head(c->xdp, -grow) == 0)
		return XC_NEXT;
	return room_hand_over(c);
}

static __always_inline enum xc_outcome room_tc(struct xc_ctx *c)
{
	c->hit = XC_hit_tc;
	return bpf_skb_change_tail(c->skb, c->frame_len, 0) ? XC_pass_no_room : XC_NEXT;
}

static __always_inline enum xc_outcome room(struct xc_ctx *c)
{
	enum xc_outcome outcome = room_size(c);

	if (outcome != XC_NEXT)
		return outcome;
	return c->tc ? room_tc(c) : room_xdp(c);
}

#endif
