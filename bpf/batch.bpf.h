/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * batch - requests that are more than a get of one key with an item: several keys, keys known
 * absent, the binary protocol, mg.
 *
 * Does      takes the datagram's payload out of the packet, looks key after key up and writes the
 *           reply beside the packet; only when all keys are there, or known absent, does the packet
 *           change.
 * Shape     batch_text, batch_binary and batch_meta each know a protocol; no request mixes two.
 * Why       a program of its own (xc_next), since its frames and those of xc_fastpath are more than
 *           one stack; global functions, which the verifier looks at once and not once for each
 *           key; all that they hand on is in xc_scratch, so the verifier has nothing to tell one
 *           key from the next by. docs/decisions/0009.
 */
#ifndef XC_BPF_BATCH_H
#define XC_BPF_BATCH_H

#include "abi/wire.h"
#include "batch_binary.bpf.h"
#include "batch_meta.bpf.h"
#include "batch_text.bpf.h"
#include "ctx.bpf.h"
#include "maps.bpf.h"
#include "parse_request.bpf.h"

/* Takes the datagram's payload. */
static __always_inline enum xc_outcome batch_load(struct xc_ctx *c, struct xc_scratch *s)
{
	__u64 rest = c->udp_len - UDP_LEN - FRAME_LEN - TEXT_GET_MIN;
	__u64 off = c->l4_off + UDP_LEN, len;

	opaque(rest);
	if (rest >= XC_TEXT_IN_MAX - FRAME_LEN - TEXT_GET_MIN)
		return XC_pass_keys;
	len = masked(rest, XC_TEXT_IN_MAX - 1) + FRAME_LEN + TEXT_GET_MIN;
	if (c->tc ? bpf_skb_load_bytes(c->skb, off, s->in, len)
		  : bpf_xdp_load_bytes(c->xdp, off, s->in, len))
		return XC_pass_length;
	s->in_len = len;
	s->out_len = s->sum = s->key_cnt = s->absent_cnt = 0;
	s->now_ns = c->now_ns;
	return XC_NEXT;
}

/* The whole reply's text into xc_scratch. */
static __always_inline enum xc_outcome batch(struct xc_ctx *c)
{
	enum xc_outcome outcome;
	struct xc_scratch *s;
	__u32 options = read_once(c->conf->options);
	__u32 zero = 0, word;
	__u64 frame;

	s = bpf_map_lookup_elem(&xc_scratch, &zero);
	if (!s)
		return XC_pass_unconfigured;
	c->scratch = s;
	outcome = batch_load(c, s);
	if (outcome != XC_NEXT)
		return outcome;
	frame = load64(s->in);
	c->request_id = frame;
	if (frame >> 16 != FRAME_ALONE)
		return XC_pass_frame;
	word = load32(s->in + FRAME_LEN);
	if ((word & 0xff) == XC_BINARY_REQUEST)
		return options & XC_OPT_NO_BINARY ? XC_pass_verb : batch_binary(s);
	if (options & XC_OPT_NO_TEXT)
		return XC_pass_verb;
	if ((word & 0xffffff) == XC_WORD_MG)
		return batch_meta(s);
	return batch_text(s, word);
}

#endif
