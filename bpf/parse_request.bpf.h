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
#include "parse_packet.bpf.h"
#include "parse_text.bpf.h"

/* seq 0, total 1, reserved 0, above the id's 16 bits */
#define FRAME_ALONE 0x01000000ULL

static __always_inline enum xc_outcome parse_request(struct xc_ctx *c)
{
	const void *payload = c->data + c->l4_off + UDP_LEN;
	__u64 frame;

	if (c->udp_len < UDP_LEN + FRAME_LEN || payload + FRAME_LEN > c->data_end)
		return XC_pass_short;
	frame = load64(payload);
	c->request_id = frame;
	if (frame >> 16 != FRAME_ALONE)
		return XC_pass_frame;
	return parse_text(c, payload + FRAME_LEN, c->udp_len - UDP_LEN - FRAME_LEN);
}

#endif
