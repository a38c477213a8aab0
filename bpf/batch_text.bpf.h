/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * batch_text - "get <key> <key> ...\r\n" and gets, ending with the datagram.
 *
 * Does      answers up to XC_KEYS_MAX keys, all or none.
 * Shape     request: verb[3] [ 's' of gets ] { ' ' key[1..250] }{1..16} CR LF
 *           reply:   { "VALUE " key suffix [ cas] CR LF value CR LF }{0..16} "END" CR LF
 * Errors    pass_line, pass_keys, and what parse_text and lookup say of the first key that cannot
 *           be answered.
 * Source    memcached doc/protocol.txt, "Retrieval command".
 */
#ifndef XC_BPF_BATCH_TEXT_H
#define XC_BPF_BATCH_TEXT_H

#include "abi/wire.h"
#include "batch_item.bpf.h"
#include "room.bpf.h"

#define BATCH_END_LEN 5 /* "END\r\n" */

/* "END\r\n" from an even offset. */
#define BATCH_END_SUM (0x4e45ULL + 0x0d44 + 0x0a)

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
__attribute__((noinline)) int batch_text_key(struct xc_scratch *s)
{
	struct xc_ctx c = { .batch = true, .scratch = s };
	enum xc_outcome outcome;

	if (!s)
		return XC_pass_unconfigured;
	c.gets = s->gets;
	c.key = batch_out(s, s->out_len + XC_HEAD_LEN);
	outcome = batch_take_key(s);
	if (outcome == XC_NEXT)
		outcome = batch_key_len(&c, read_once(s->key_len));
	if (outcome != XC_NEXT)
		return outcome;
	/* The frame header and the verb make sure that they exist. */
	c.key_tail = load64(batch_in(s, s->pos - 8));
	outcome = batch_pass_end(s);
	if (outcome == XC_NEXT)
		outcome = batch_find(s, &c);
	if (outcome == XC_pass_absent)
		return XC_NEXT;
	if (outcome == XC_NEXT)
		outcome = batch_add(s, &c);
	return outcome == XC_NEXT ? batch_used(s, &c) : outcome;
}

static __always_inline enum xc_outcome batch_text(struct xc_scratch *s, __u32 verb)
{
	enum xc_outcome outcome = XC_NEXT;

	s->gets = is_zero(verb ^ XC_WORD_GETS);
	if (verb != XC_WORD_GET && !(s->gets && s->in[FRAME_LEN + 4] == ' '))
		return XC_pass_verb;
	if (load16(batch_in(s, s->in_len - 2)) != XC_WORD_CRLF)
		return XC_pass_line;
	s->pos = FRAME_LEN + 4 + s->gets;
	for (__u32 i = 0; i < XC_KEYS_MAX && outcome == XC_NEXT; i++) {
		outcome = batch_text_key(s);
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
