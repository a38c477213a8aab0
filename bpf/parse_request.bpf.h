/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * parse_request - memcached's UDP frame header, then the protocol behind it.
 *
 * Does      accepts a request that is whole in this datagram and gives it to the parser that knows
 *           its first bytes. A parser checks the whole request, fills the context and never writes.
 * Shape     [id 2][seq 2 = 0][total 2 = 1][reserved 2 = 0][request]
 * Source    memcached doc/protocol.txt, "UDP protocol".
 */
#ifndef XC_BPF_PARSE_REQUEST_H
#define XC_BPF_PARSE_REQUEST_H

#include "abi/wire.h"
#include "ctx.bpf.h"
#include "maps.bpf.h"
#include "parse_packet.bpf.h"
#include "parse_text.bpf.h"

/* seq 0, total 1, reserved 0, above the id's 16 bits */
#define FRAME_ALONE 0x01000000ULL

/*
 * No get of one key that has an item: batch may know it, in a program of its own, which begins anew
 * and does not come back. Where there is none, this does nothing.
 */
static __always_inline void parse_request_further(const struct xc_ctx *c)
{
	if (c->tc)
		bpf_tail_call(c->skb, &xc_next_tc, 0);
	else
		bpf_tail_call(c->xdp, &xc_next, 0);
}

static __always_inline enum xc_outcome parse_request(struct xc_ctx *c)
{
	const void *payload = c->data + c->l4_off + UDP_LEN;
	enum xc_outcome outcome;
	__u64 frame;

	if (c->udp_len < UDP_LEN + FRAME_LEN || payload + FRAME_LEN > c->data_end)
		return XC_pass_short;
	frame = load64(payload);
	c->request_id = frame;
	if (frame >> 16 != FRAME_ALONE)
		return XC_pass_frame;
	outcome = parse_text(c, payload + FRAME_LEN, c->udp_len - UDP_LEN - FRAME_LEN);
	if (outcome == XC_pass_key_bytes || outcome == XC_pass_key_len || c->more)
		parse_request_further(c);
	if (outcome == XC_NEXT && (read_once(c->conf->options) & XC_OPT_NO_TEXT))
		return XC_pass_verb;
	return outcome;
}

#endif
