/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * batch - "get <key> <key> ...\r\n" and gets, up to XC_KEYS_MAX keys, ending with the datagram.
 *
 * Does      takes the text out of the packet, looks key after key up and writes the reply beside
 *           the packet; only when all keys are there does the packet change.
 * Shape     request: verb[4] [ 's' of gets ] { ' ' key[1..250] }{1..16} CR LF
 *           reply:   { "VALUE " key suffix [ cas] CR LF value CR LF }{1..16} "END" CR LF
 * Errors    whatever parse_text and lookup say of the first key that cannot be answered; pass_keys.
 * Why       a program of its own (xc_next), since its frames and those of xc_fastpath are more than
 *           one stack; a global function for a key, which the verifier looks at once and not once
 *           for each key; all that functions hand on is in xc_scratch, so the verifier has nothing
 *           to tell one key from the next by.
 * Source    memcached doc/protocol.txt, "Retrieval command".
 */
#ifndef XC_BPF_BATCH_H
#define XC_BPF_BATCH_H

#include "abi/wire.h"
#include "csum.bpf.h"
#include "ctx.bpf.h"
#include "lookup.bpf.h"
#include "maps.bpf.h"
#include "parse_request.bpf.h"
#include "room.bpf.h"

#define BATCH_END_LEN 5 /* "END\r\n" */

/* "END\r\n" from an even offset. */
#define BATCH_END_SUM (0x4e45ULL + 0x0d44 + 0x0a)

/* A place in the text; what is asked for lies inside, the mask shows it. */
static __always_inline __u8 *batch_in(struct xc_scratch *s, __u64 pos)
{
	return s->in + masked(pos, XC_TEXT_IN_MAX - 1);
}

static __always_inline __u8 *batch_out(struct xc_scratch *s, __u64 pos)
{
	return s->out + masked(pos, XC_TEXT_OUT_MAX - 1);
}

/*
 * Copies words of text to the key's place in the reply, until one has a byte that ends it; what
 * follows the key there is written later.
 */
static __always_inline enum xc_outcome batch_take_key(struct xc_scratch *s)
{
	__u64 pos = s->pos, at = s->out_len + XC_HEAD_LEN, word, bad = 0;
	__u32 i;

#pragma nounroll
	for (i = 0; i < XC_KEY_MAX / 8 + 1; i++) {
		word = load64(batch_in(s, pos));
		store64(batch_out(s, at), word);
		bad = text_bad_bytes(word);
		if (bad)
			break;
		pos += 8;
		at += 8;
	}
	if (!bad)
		return XC_pass_key_len;
	pos += text_good_len(bad);
	/* To memory and back: the verifier forgets which turn the loop ended in. */
	*(volatile __u64 *)&s->key_len = pos - s->pos;
	s->pos = pos;
	return XC_NEXT;
}

/* What ends the key: a blank before another, or the end of the text. */
static __always_inline enum xc_outcome batch_pass_end(struct xc_scratch *s)
{
	__u64 pos = read_once(s->pos);

	if (*batch_in(s, pos) == ' ') {
		s->pos = pos + 1;
		return pos + 3 == s->in_len ? XC_pass_key_len : XC_NEXT;
	}
	return pos + 2 == s->in_len ? XC_NEXT : XC_pass_key_bytes;
}

/*
 * Bytes of the log, in words; up to 7 more are read, which it has, and written, where a later piece
 * follows.
 */
static __always_inline void batch_copy(struct xc_scratch *s, __u64 at, const void *from, __u64 len,
				       __u64 max)
{
	__u64 word_cnt = words_in(len + 7);

#pragma nounroll
	for (__u32 i = 0; i < (max + 7) / 8; i++) {
		if (i >= word_cnt)
			break;
		store64(batch_out(s, at), load64(from));
		at += 8;
		from += 8;
	}
}

/* The item's part of the reply, if there is room for it and what may follow. */
static __always_inline enum xc_outcome batch_add(struct xc_scratch *s, struct xc_ctx *c)
{
	__u64 at = s->out_len, len = room_item(c) + 2;

	if (at + len + BATCH_END_LEN > XC_TEXT_OUT_MAX)
		return XC_pass_no_room;
	s->out_len = at + len;
	s->sum += csum_item(c, at) + csum_at(XC_WORD_CRLF, at + len);
	store32(batch_out(s, at), XC_WORD_VALU);
	store16(batch_out(s, at + 4), XC_WORD_E_SP);
	at += XC_HEAD_LEN + c->key_len;
	store64(batch_out(s, at), load64(c->entry.suffix));
	store64(batch_out(s, at + 8), load64(c->entry.suffix + 8));
	at += c->entry.suffix_len;
	if (c->gets) {
		store64(batch_out(s, at), c->cas[0]);
		store64(batch_out(s, at + 8), c->cas[1]);
		store64(batch_out(s, at + 16), c->cas[2]);
	}
	at += c->cas_len;
	store16(batch_out(s, at), XC_WORD_CRLF);
	at += 2;
	batch_copy(s, at, c->log_key + c->key_len, c->entry.value_len, XC_VALUE_MAX);
	store16(batch_out(s, at + c->entry.value_len), XC_WORD_CRLF);
	return XC_NEXT;
}

/* The key at s->pos. */
__attribute__((noinline)) int batch_key(struct xc_scratch *s)
{
	struct xc_ctx c = { .batch = true, .scratch = s };
	enum xc_outcome outcome;
	__u64 rest;
	__u32 zero = 0;

	if (!s)
		return XC_pass_unconfigured;
	c.conf = bpf_map_lookup_elem(&xc_conf, &zero);
	if (!c.conf)
		return XC_pass_unconfigured;
	c.key = batch_out(s, s->out_len + XC_HEAD_LEN);
	outcome = batch_take_key(s);
	if (outcome != XC_NEXT)
		return outcome;
	c.now_ns = s->now_ns;
	c.gets = s->gets;
	rest = read_once(s->key_len) - 1;
	opaque(rest);
	if (rest >= XC_KEY_MAX)
		return XC_pass_key_len;
	c.key_len = masked(rest, 0xff) + 1;
	/* The frame header and the verb make sure that they exist. */
	c.key_tail = load64(batch_in(s, s->pos - 8));
	outcome = batch_pass_end(s);
	if (outcome == XC_NEXT)
		outcome = parse_text_digest(&c, c.key);
	if (outcome == XC_NEXT)
		outcome = lookup(&c);
	if (outcome == XC_NEXT)
		outcome = batch_add(s, &c);
	if (outcome != XC_NEXT)
		return outcome;
	s->used[s->key_cnt & (XC_KEYS_MAX - 1)] = c.entry_idx;
	s->key_cnt++;
	return XC_NEXT;
}

/* Takes the datagram's payload. */
static __always_inline enum xc_outcome batch_load(struct xc_ctx *c, struct xc_scratch *s)
{
	__u64 rest = c->udp_len - UDP_LEN - FRAME_LEN - TEXT_GET_MIN - 1;
	__u64 off = c->l4_off + UDP_LEN, len;

	opaque(rest);
	if (rest >= XC_TEXT_IN_MAX - FRAME_LEN - TEXT_GET_MIN)
		return c->udp_len > XC_TEXT_IN_MAX ? XC_pass_keys : XC_pass_key_len;
	len = masked(rest, XC_TEXT_IN_MAX - 1) + FRAME_LEN + TEXT_GET_MIN + 1;
	if (c->tc ? bpf_skb_load_bytes(c->skb, off, s->in, len)
		  : bpf_xdp_load_bytes(c->xdp, off, s->in, len))
		return XC_pass_length;
	s->in_len = len;
	s->out_len = s->sum = s->key_cnt = 0;
	s->now_ns = c->now_ns;
	return XC_NEXT;
}

static __always_inline enum xc_outcome batch_head(struct xc_ctx *c, struct xc_scratch *s)
{
	__u64 frame = load64(s->in);
	__u32 verb = load32(s->in + FRAME_LEN);

	c->request_id = frame;
	if (frame >> 16 != FRAME_ALONE)
		return XC_pass_frame;
	s->gets = is_zero(verb ^ XC_WORD_GETS);
	if (verb != XC_WORD_GET && !(s->gets && s->in[FRAME_LEN + 4] == ' '))
		return XC_pass_verb;
	if (load16(batch_in(s, s->in_len - 2)) != XC_WORD_CRLF)
		return XC_pass_line;
	s->pos = FRAME_LEN + 4 + s->gets;
	return XC_NEXT;
}

/* The whole reply's text into xc_scratch. */
static __always_inline enum xc_outcome batch(struct xc_ctx *c)
{
	enum xc_outcome outcome;
	struct xc_scratch *s;
	__u32 zero = 0;

	s = bpf_map_lookup_elem(&xc_scratch, &zero);
	if (!s)
		return XC_pass_unconfigured;
	c->scratch = s;
	outcome = batch_load(c, s);
	if (outcome == XC_NEXT)
		outcome = batch_head(c, s);
	for (__u32 i = 0; i < XC_KEYS_MAX && outcome == XC_NEXT; i++) {
		outcome = batch_key(s);
		if (s->pos + 2 == s->in_len)
			break;
	}
	if (outcome != XC_NEXT)
		return outcome;
	if (s->pos + 2 != s->in_len)
		return XC_pass_keys;
	store32(batch_out(s, s->out_len), XC_WORD_CRLF_EN >> 16 | XC_WORD_D_CR << 16);
	*batch_out(s, s->out_len + 4) = '\n';
	s->sum += csum_at(BATCH_END_SUM, s->out_len);
	s->out_len += BATCH_END_LEN;
	return XC_NEXT;
}

#endif
