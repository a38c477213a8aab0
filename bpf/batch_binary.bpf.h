/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * batch_binary - get, getq, getk, getkq and noop of the binary protocol, one behind the other until
 * the datagram ends: what a client sends for several keys.
 *
 * Does      answers them all or none.
 * Shape     request: header[24] key[0..250]; no extras, data type and vbucket 0, cas not looked at
 *           reply:   header[24] flags[4] [ key of getk, getkq ] value; of a noop the header alone;
 *           of a key known absent header[24] "Not found" | key of getk, and of a quiet one nothing
 * Errors    pass_binary for any other request and for no key at all; pass_keys; pass_absent for no
 *           reply at all; what lookup says of the first key that cannot be answered, quiet or not.
 * Source    memcached doc/protocol-binary.txt.
 */
#ifndef XC_BPF_BATCH_BINARY_H
#define XC_BPF_BATCH_BINARY_H

#include "abi/wire.h"
#include "batch_item.bpf.h"

#define BATCH_FLAGS_LEN 4

/* The header as words: magic, opcode, key length; extras length, data type, vbucket or status. */
static __always_inline void batch_put_head(struct xc_scratch *s, __u64 at, __u64 first,
					   __u64 second, __u64 cas)
{
	store64(batch_out(s, at), first);
	store64(batch_out(s, at + 8), second);
	store64(batch_out(s, at + 16), cas);
	s->sum += csum_at(csum_words(first, second) + (__u32)cas + (cas >> 32), at);
}

static __always_inline enum xc_outcome batch_binary_add(struct xc_scratch *s, struct xc_ctx *c,
							__u64 opcode, __u64 opaque_be)
{
	__u64 with_key = is_zero(opcode ^ XC_BINARY_GETK) | is_zero(opcode ^ XC_BINARY_GETKQ);
	__u64 shown_len = c->key_len & -with_key;
	__u64 at = s->out_len, value_at = at + XC_BINARY_HEADER_LEN + BATCH_FLAGS_LEN + shown_len;
	__u64 body_len = BATCH_FLAGS_LEN + shown_len + c->entry.value_len;
	__u32 flags_be = __builtin_bswap32(c->entry.flags);

	if (value_at + c->entry.value_len > XC_TEXT_OUT_MAX)
		return XC_pass_no_room;
	batch_put_head(s, at,
		       XC_BINARY_REPLY | opcode << 8 | (__u64)__builtin_bswap16(shown_len) << 16 |
			       (__u64)BATCH_FLAGS_LEN << 32,
		       __builtin_bswap32(body_len) | opaque_be << 32,
		       __builtin_bswap64(c->entry.cas));
	at += XC_BINARY_HEADER_LEN;
	store32(batch_out(s, at), flags_be);
	s->sum += csum_at(flags_be, at);
	at += BATCH_FLAGS_LEN;
	/* The key is there already. */
	if (with_key)
		s->sum += csum_at(batch_sum(s, at, c->key_len, XC_KEY_MAX), at);
	s->sum += csum_at(c->entry.value_csum, value_at);
	batch_copy(s, value_at, c->log_key + c->key_len, c->entry.value_len, XC_VALUE_MAX);
	s->out_len = value_at + c->entry.value_len;
	return XC_NEXT;
}

/* What is said of the key known absent whose request ends at s->pos. */
__attribute__((noinline)) int batch_binary_absent(struct xc_scratch *s)
{
	const __u64 text[2] = { 0x6e756f6620746f4eULL, 'd' };
	__u64 head, opcode, len, at, opaque_be;

	_Static_assert(sizeof(XC_BINARY_NOT_FOUND_TEXT) == 10, "the words above are it");
	if (!s)
		return XC_pass_unconfigured;
	len = s->item_key_len;
	head = load64(batch_in(s, s->pos - len - XC_BINARY_HEADER_LEN));
	opaque_be = load32(batch_in(s, s->pos - len - XC_BINARY_HEADER_LEN + 12));
	opcode = head >> 8 & 0xff;
	if (opcode == XC_BINARY_GETQ || opcode == XC_BINARY_GETKQ)
		return XC_NEXT;
	at = s->out_len + XC_BINARY_HEADER_LEN;
	if (at + XC_KEY_MAX > XC_TEXT_OUT_MAX)
		return XC_pass_no_room;
	if (opcode == XC_BINARY_GET) {
		len = sizeof(XC_BINARY_NOT_FOUND_TEXT) - 1;
		store64(batch_out(s, at), text[0]);
		store64(batch_out(s, at + 8), text[1]);
	} else {
		batch_copy(s, at, batch_in(s, s->pos - len), len, XC_KEY_MAX);
	}
	batch_put_head(s, s->out_len,
		       XC_BINARY_REPLY | opcode << 8 |
			       (opcode == XC_BINARY_GET ? 0 : (__u64)len << 24) |
			       (__u64)XC_BINARY_NOT_FOUND << 56,
		       __builtin_bswap32(len) | opaque_be << 32, 0);
	s->sum += csum_at(batch_sum(s, at, len, XC_KEY_MAX), at);
	s->out_len = at + len;
	return XC_NEXT;
}

/* The key behind the header at s->pos. */
static __always_inline enum xc_outcome batch_binary_get(struct xc_scratch *s, __u64 opcode,
							__u64 key_len, __u64 opaque_be)
{
	__u64 pos = s->pos + XC_BINARY_HEADER_LEN;
	__u64 at = s->out_len + XC_BINARY_HEADER_LEN + BATCH_FLAGS_LEN;
	struct xc_ctx c = { .batch = true, .scratch = s };
	enum xc_outcome outcome = batch_key_len(&c, key_len);

	if (outcome != XC_NEXT)
		return outcome;
	if (pos + c.key_len > s->in_len)
		return XC_pass_binary;
	s->pos = pos + c.key_len;
	s->item_key_len = c.key_len;
	c.key_tail = load64(batch_in(s, pos + c.key_len - 8));
	batch_copy(s, at, batch_in(s, pos), c.key_len, XC_KEY_MAX);
	c.key = batch_out(s, at);
	outcome = batch_find(s, &c);
	if (outcome == XC_NEXT)
		outcome = batch_binary_add(s, &c, opcode, opaque_be);
	return outcome == XC_NEXT ? batch_used(s, &c) : outcome;
}

/* The request at s->pos. */
__attribute__((noinline)) int batch_binary_request(struct xc_scratch *s)
{
	__u64 head, opaque_be, opcode, key_len;

	if (!s)
		return XC_pass_unconfigured;
	if (s->pos + XC_BINARY_HEADER_LEN > s->in_len)
		return XC_pass_binary;
	head = load64(batch_in(s, s->pos));
	opaque_be = load32(batch_in(s, s->pos + 12));
	opcode = head >> 8 & 0xff;
	key_len = __builtin_bswap16(head >> 16);
	if ((head & 0xff) != XC_BINARY_REQUEST || head >> 32 ||
	    __builtin_bswap32(load32(batch_in(s, s->pos + 8))) != key_len)
		return XC_pass_binary;
	switch (opcode) {
	case XC_BINARY_GET:
	case XC_BINARY_GETQ:
	case XC_BINARY_GETK:
	case XC_BINARY_GETKQ:
		return batch_binary_get(s, opcode, key_len, opaque_be);
	case XC_BINARY_NOOP:
		if (key_len || s->out_len + XC_BINARY_HEADER_LEN > XC_TEXT_OUT_MAX)
			return XC_pass_binary;
		batch_put_head(s, s->out_len, XC_BINARY_REPLY | opcode << 8, opaque_be << 32, 0);
		s->out_len += XC_BINARY_HEADER_LEN;
		s->pos += XC_BINARY_HEADER_LEN;
		return XC_NEXT;
	default:
		return XC_pass_binary;
	}
}

static __always_inline enum xc_outcome batch_binary(struct xc_scratch *s)
{
	enum xc_outcome outcome = XC_NEXT;

	s->pos = FRAME_LEN;
	for (__u32 i = 0; i < XC_KEYS_MAX + 1 && outcome == XC_NEXT; i++) {
		outcome = batch_binary_request(s);
		if (outcome == XC_pass_absent)
			outcome = batch_binary_absent(s);
		if (s->pos == s->in_len)
			break;
	}
	if (outcome != XC_NEXT)
		return outcome;
	if (s->pos != s->in_len)
		return XC_pass_keys;
	if (s->out_len == 0)
		return XC_pass_absent;
	return s->key_cnt ? XC_NEXT : XC_pass_binary;
}

#endif
