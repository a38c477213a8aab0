/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * parse_text - "get <key>\r\n" and "gets <key>\r\n", exactly one key, ending with the datagram;
 * what batch takes several keys apart with is here too.
 *
 * Does      finds the key by the datagram's length alone, proves that its bytes are a key's, and
 *           makes its digest in the same walk over its words.
 * Shape     request: verb[4] [ ' ' of gets ] key[1..250] CR LF
 *           key:     whole words, then 0 to 7 bytes more, read as the 8 bytes that end with the key
 * Errors    in this order: pass_verb, pass_line (too short for one), pass_key_len, pass_line,
 *           pass_key_bytes. A second key shows as a space in the key: batch looks again.
 * Source    memcached doc/protocol.txt, "Retrieval command"; abi/hash.h.
 */
#ifndef XC_BPF_PARSE_TEXT_H
#define XC_BPF_PARSE_TEXT_H

#include "abi/hash.h"
#include "abi/wire.h"
#include "ctx.bpf.h"

/* verb, space, no key, CR LF */
#define TEXT_GET_MIN 6

#define EACH_BYTE(b) (0x0101010101010101ULL * (b))

/*
 * Not 0 if some byte of the word is 0x20 or less, or 0x7f. Per byte, the top bit of (x - n) & ~x is
 * set where x < n (x below 0x80), and only a byte that is found can borrow from the next: so "some
 * byte" is exact, which byte is not.
 */
static __always_inline __u64 text_bad_bytes(__u64 word)
{
	__u64 del = word ^ EACH_BYTE(0x7f);

	return (((word - EACH_BYTE(0x21)) & ~word) | ((del - EACH_BYTE(1)) & ~del)) &
	       EACH_BYTE(0x80);
}

/*
 * The key's bytes behind its whole words, zero padded: the end of the word that ends with the key.
 */
static __always_inline __u64 text_rest(__u64 key_tail, __u64 key_len)
{
	return key_tail >> 8 >> (56 - 8 * (key_len & 7)); /* two shifts: none may be of 64 */
}

/* Every byte of the key may be in one; c->key_len and c->key_tail are set. */
static __always_inline enum xc_outcome parse_text_bytes(const struct xc_ctx *c, const void *key)
{
	__u64 word_cnt = words_in(c->key_len);
	/* The padding must not look like control bytes. */
	__u64 bad = text_bad_bytes(text_rest(c->key_tail, c->key_len) |
				   EACH_BYTE(0x80) << 8 * (c->key_len & 7));

#pragma nounroll
	for (__u32 i = 0; i < XC_KEY_MAX / 8; i++) {
		if (i >= word_cnt)
			break;
		/* Or the compiler counts in data_end's place, which may not be added to. */
		opaque(key);
		if (key + 8 > c->data_end)
			return XC_pass_length;
		bad |= text_bad_bytes(load64(key));
		key += 8;
	}
	return bad ? XC_pass_key_bytes : XC_NEXT;
}

/*
 * A second walk over the words, and not the first one's other half: with both in one loop two of
 * the digest's four words live on the stack, and each round waits for them.
 */
static __always_inline enum xc_outcome parse_text_digest(struct xc_ctx *c, const void *key)
{
	__u64 word_cnt = words_in(c->key_len);
	struct xc_sip sip;

	xc_sip_init(&sip, c->conf->digest_key);
#pragma nounroll
	for (__u32 i = 0; i < XC_KEY_MAX / 8; i++) {
		if (i >= word_cnt)
			break;
		opaque(key);
		if (!c->batch && key + 8 > c->data_end)
			return XC_pass_length;
		xc_sip_word(&sip, load64(key), XC_SIP_C);
		key += 8;
	}
	c->digest_low = xc_sip_low(&sip, text_rest(c->key_tail, c->key_len), c->key_len, XC_SIP_C,
				   XC_SIP_D);
	c->sip = sip;
	return XC_NEXT;
}

/* Bytes before the first bad one, 0 to 7; bad is text_bad_bytes of their word and not 0. */
static __always_inline __u64 text_good_len(__u64 bad)
{
	/* Below the lowest one every top bit is set, one for each byte: counted by the product. */
	return ((((bad & -bad) - 1) & EACH_BYTE(0x80)) >> 7) * EACH_BYTE(1) >> 56;
}

static __always_inline enum xc_outcome parse_text(struct xc_ctx *c, const void *text, __u64 len)
{
	enum xc_outcome outcome;
	const void *key;
	__u64 rest;
	const void *tail; /* 8 bytes before CR LF: the frame header makes sure that they exist */
	__u32 verb;

	if (len < TEXT_GET_MIN || text + TEXT_GET_MIN > c->data_end) {
		if (len < 4 || text + 4 > c->data_end)
			return XC_pass_verb;
		verb = load32(text);
		return verb == XC_WORD_GET || verb == XC_WORD_GETS ? XC_pass_line : XC_pass_verb;
	}
	verb = load32(text);
	c->gets = is_zero(verb ^ XC_WORD_GETS);
	if (verb != XC_WORD_GET && !(c->gets && *(const __u8 *)(text + 4) == ' ')) {
		c->more = (verb & 0xffffff) == XC_WORD_MG || (__u8)verb == XC_BINARY_REQUEST;
		return XC_pass_verb;
	}
	rest = len - TEXT_GET_MIN - c->gets - 1; /* of the key, behind its first byte */
	opaque(rest);
	if (rest >= XC_KEY_MAX)
		return XC_pass_key_len;
	c->key_len = masked(rest, 0xff) + 1;
	tail = text - 8 + 4 + c->gets + c->key_len;
	if (tail + 10 > c->data_end)
		return XC_pass_length;
	if (load16(tail + 8) != XC_WORD_CRLF)
		return XC_pass_line;
	c->key_tail = load64(tail);
	c->key_off = c->l4_off + UDP_LEN + FRAME_LEN + 4 + c->gets;
	key = text + 4 + c->gets;
	outcome = parse_text_bytes(c, key);
	return outcome == XC_NEXT ? parse_text_digest(c, key) : outcome;
}

#endif
