/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * reply - writes the reply over the request; the only file that writes packet bytes.
 *
 * Does      turns the packet round and puts text and value in. All that can refuse was asked
 *           before; a bound that fails here all the same ends in drop_broken, never in a half reply
 *           sent.
 * Shape     [MACs swapped][tags kept][IP rebuilt][UDP, full sum][id 0 1 0]
 *           "VALUE " key suffix [ cas] CR LF value CR LF "END" CR LF
 * Order     texts are written in whole words from their start and may reach beyond their end, where
 *           a later piece follows: key, headers and "VALUE ", suffix, cas, CR LF, value, end. There
 *           is always room: behind the key come at least 13 bytes (4 + 2 + 0 + 7), behind a suffix
 *           or cas that needs one word more, at least 9, behind the value 7.
 * Source    RFC 791, 8200, 768; memcached doc/protocol.txt. When a helper copies the value and when
 *           we do: docs/decisions/0005.
 */
#ifndef XC_BPF_REPLY_H
#define XC_BPF_REPLY_H

#include "abi/wire.h"
#include "csum.bpf.h"
#include "ctx.bpf.h"

#define REPLY_TTL 64

/* Up to here words are stored one by one; a helper call costs as much as 30 of them. */
#define REPLY_INLINE_MAX 128

/* Copies 1 to max bytes, max a constant; 0 for done. */
static __always_inline long reply_copy(struct xc_ctx *c, __u64 offset, const void *from, __u64 len,
				       __u64 max)
{
	/* len - 1 < max is a bound every verifier learns from; len != 0 is not (6.1). */
	len -= 1;
	opaque(len);
	if (len >= max)
		return -1;
	len += 1;
	if (c->tc)
		return bpf_skb_store_bytes(c->skb, offset, from, len, 0);
	return bpf_xdp_store_bytes(c->xdp, offset, (void *)from, len);
}

/*
 * No reply is longer: L2, IPv6, UDP, frame header, "VALUE ", key, suffix, cas, CR LF, value, end.
 */
#define FRAME_LEN_MASK 0xfffULL

_Static_assert(CTX_L2_MAX + IP6_LEN + UDP_LEN + FRAME_LEN + XC_HEAD_LEN + XC_KEY_MAX +
			       XC_SUFFIX_MAX + 21 + 2 + XC_VALUE_MAX + XC_TAIL_LEN <=
		       FRAME_LEN_MASK,
	       "the mask takes nothing away");

/*
 * The headers may be put together on the stack, where the verifier wants every word at its own
 * alignment: words of 4 bytes are, in each of them.
 */
static __always_inline void reply_put64(void *to, __u64 x)
{
	store32(to, x);
	store32(to + 4, x >> 32);
}

/* Ethernet and tags. What follows the tags in these 22 bytes is written over by the IP header. */
static __always_inline void reply_ether(const struct xc_ctx *c, void *data)
{
	reply_put64(data, c->mac_src | c->mac_dst << 48);
	store32(data + 8, c->mac_dst >> 16);
	reply_put64(data + 12, c->l2_rest);
	store16(data + 20, c->l2_rest2);
}

static __always_inline void reply_ip4(const struct xc_ctx *c, void *ip)
{
	__u16 total_len_be = __builtin_bswap16(IP4_LEN + UDP_LEN + c->reply_len);

	store32(ip, IP4_VERSION_LEN | (__u32)total_len_be << 16);
	store32(ip + 4, 0x00400000); /* id 0, don't fragment */
	store32(ip + 8, REPLY_TTL | IPPROTO_UDP << 8 | (__u32)csum_ip4(c, total_len_be) << 16);
	store32(ip + 12, c->dst[1] >> 32);
	store32(ip + 16, c->src[1] >> 32);
}

static __always_inline void reply_ip6(const struct xc_ctx *c, void *ip, __u16 udp_len_be)
{
	store32(ip, 0x60); /* class 0, flow label 0 */
	store32(ip + 4, udp_len_be | IPPROTO_UDP << 16 | REPLY_TTL << 24);
	reply_put64(ip + 8, c->dst[0]);
	reply_put64(ip + 16, c->dst[1]);
	reply_put64(ip + 24, c->src[0]);
	reply_put64(ip + 32, c->src[1]);
}

/* UDP header and frame header. */
static __always_inline void reply_udp(const struct xc_ctx *c, void *udp, __u16 udp_len_be)
{
	store32(udp, c->ports >> 16 | c->ports << 16);
	store32(udp + 4, udp_len_be | (__u32)csum_udp(c, udp_len_be) << 16);
	reply_put64(udp + UDP_LEN, c->request_id | 0x0100ULL << 32);
}

/* "VALUE " behind them. */
static __always_inline void reply_word(void *udp)
{
	store32(udp + UDP_LEN + FRAME_LEN, XC_WORD_VALU);
	store16(udp + UDP_LEN + FRAME_LEN + 4, XC_WORD_E_SP);
}

static __always_inline enum xc_outcome reply_headers(const struct xc_ctx *c)
{
	__u16 udp_len_be = __builtin_bswap16(UDP_LEN + c->reply_len);
	void *data = c->data;
	void *ip = data + c->l3_off;

	opaque(ip);
	if (data + CTX_L2_MAX > c->data_end)
		return XC_drop_broken;
	reply_ether(c, data);
	if (c->ip6) {
		if (ip + IP6_LEN + UDP_LEN + FRAME_LEN + XC_HEAD_LEN > c->data_end)
			return XC_drop_broken;
		reply_ip6(c, ip, udp_len_be);
		reply_udp(c, ip + IP6_LEN, udp_len_be);
		reply_word(ip + IP6_LEN);
	} else {
		if (ip + IP4_LEN + UDP_LEN + FRAME_LEN + XC_HEAD_LEN > c->data_end)
			return XC_drop_broken;
		reply_ip4(c, ip);
		reply_udp(c, ip + IP4_LEN, udp_len_be);
		reply_word(ip + IP4_LEN);
	}
	return XC_NEXT;
}

/*
 * Words of text at `to`, of which len bytes count; what lies behind them is written later.
 */
static __always_inline enum xc_outcome reply_words(const struct xc_ctx *c, void *to,
						   const __u64 *words, __u32 word_max, __u64 len)
{
	__u64 word_cnt = words_in(len + 7);

	opaque(to);
#pragma unroll
	for (__u32 i = 0; i < word_max; i++) {
		if (i && i >= word_cnt)
			break;
		if (to + 8 * i + 8 > c->data_end)
			return XC_drop_broken;
		store64(to + 8 * i, words[i]);
	}
	return XC_NEXT;
}

/* Suffix, cas and CR LF. */
static __always_inline enum xc_outcome reply_text(const struct xc_ctx *c, __u64 suffix_off)
{
	const __u64 suffix[2] = { load64(c->entry.suffix), load64(c->entry.suffix + 8) };
	void *text = c->data + suffix_off;

	if (reply_words(c, text, suffix, 2, c->entry.suffix_len) != XC_NEXT)
		return XC_drop_broken;
	text += c->entry.suffix_len;
	if (c->gets) {
		if (reply_words(c, text, c->cas, 3, c->cas_len) != XC_NEXT)
			return XC_drop_broken;
		text += c->cas_len;
	}
	opaque(text);
	if (text + 2 > c->data_end)
		return XC_drop_broken;
	store16(text, XC_WORD_CRLF);
	return XC_NEXT;
}

/* What follows every value. */
static __always_inline enum xc_outcome reply_tail(const struct xc_ctx *c)
{
	/* The mask also keeps the 7 out of the pointer, whose fixed part must not be negative. */
	void *tail = c->data + masked(c->frame_len - XC_TAIL_LEN, FRAME_LEN_MASK);

	opaque(tail);
	if (tail + XC_TAIL_LEN > c->data_end)
		return XC_drop_broken;
	store32(tail, XC_WORD_CRLF_EN);
	store16(tail + 4, XC_WORD_D_CR);
	*(__u8 *)(tail + 6) = '\n';
	return XC_NEXT;
}

/*
 * Bytes of the log, in words; reads up to 7 bytes more, which the log has (XC_BLOCK_TAIL), and
 * writes them where a later piece follows.
 */
static __always_inline enum xc_outcome reply_log(const struct xc_ctx *c, __u64 offset,
						 const __u8 *from, __u64 len, __u64 max)
{
	__u64 word_cnt = words_in(len + 7);
	void *to = c->data + offset;

	for (__u32 i = 0; i < (max + 7) / 8; i++) {
		if (i >= word_cnt)
			break;
		opaque(to);
		if (to + 8 > c->data_end)
			return XC_drop_broken;
		store64(to, load64(from));
		to += 8;
		from += 8;
	}
	return XC_NEXT;
}

static __always_inline enum xc_outcome reply_value(struct xc_ctx *c, __u64 offset)
{
	const __u8 *value = c->log_key + c->key_len;
	bool small = words_in(c->entry.value_len + 7) <= REPLY_INLINE_MAX / 8;

	if (small && reply_log(c, offset, value, c->entry.value_len, REPLY_INLINE_MAX) != XC_NEXT)
		return XC_drop_broken;
	if (reply_tail(c) != XC_NEXT)
		return XC_drop_broken;
	if (!small && reply_copy(c, offset, value, c->entry.value_len, XC_VALUE_MAX))
		return XC_drop_broken;
	return XC_NEXT;
}

/* What reply_udp and reply_word write. */
#define REPLY_UDP_LEN (UDP_LEN + FRAME_LEN + XC_HEAD_LEN)

/* All headers at tc, from pieces on the stack. 0 for done. */
static __always_inline long reply_headers_tc(const struct xc_ctx *c)
{
	__u32 ether[(CTX_L2_MAX + 3) / 4], ip[(IP6_LEN + REPLY_UDP_LEN + 3) / 4];
	__u16 udp_len_be = __builtin_bswap16(UDP_LEN + c->reply_len);

	reply_ether(c, ether);
	if (bpf_skb_store_bytes(c->skb, 0, ether, CTX_L2_MAX, 0))
		return -1;
	if (c->ip6) {
		reply_ip6(c, ip, udp_len_be);
		reply_udp(c, (void *)ip + IP6_LEN, udp_len_be);
		reply_word((void *)ip + IP6_LEN);
		return bpf_skb_store_bytes(c->skb, c->l3_off, ip, IP6_LEN + REPLY_UDP_LEN, 0);
	}
	reply_ip4(c, ip);
	reply_udp(c, (void *)ip + IP4_LEN, udp_len_be);
	reply_word((void *)ip + IP4_LEN);
	return bpf_skb_store_bytes(c->skb, c->l3_off, ip, IP4_LEN + REPLY_UDP_LEN, 0);
}

/* Through the helper alone: bpf/handover.bpf.h says why. */
static __always_inline enum xc_outcome reply_tc(struct xc_ctx *c, __u64 suffix_off)
{
	const __u64 suffix[2] = { load64(c->entry.suffix), load64(c->entry.suffix + 8) };
	const __u64 cas[3] = { c->cas[0], c->cas[1], c->cas[2] };
	const __u32 tail[2] = { XC_WORD_CRLF_EN, XC_WORD_D_CR | '\n' << 16 };
	const __u16 crlf = XC_WORD_CRLF;
	__u64 at = suffix_off + c->entry.suffix_len;

	if (reply_headers_tc(c) ||
	    reply_copy(c, suffix_off - c->key_len, c->log_key, c->key_len, XC_KEY_MAX) ||
	    reply_copy(c, suffix_off, suffix, c->entry.suffix_len, sizeof(suffix)) ||
	    (c->gets && reply_copy(c, at, cas, c->cas_len, sizeof(cas))))
		return XC_drop_broken;
	at += c->cas_len;
	if (bpf_skb_store_bytes(c->skb, at, &crlf, sizeof(crlf), 0) ||
	    (c->entry.value_len && reply_copy(c, at + sizeof(crlf), c->log_key + c->key_len,
					      c->entry.value_len, XC_VALUE_MAX)) ||
	    bpf_skb_store_bytes(c->skb, c->frame_len - XC_TAIL_LEN, tail, XC_TAIL_LEN, 0))
		return XC_drop_broken;
	return c->hit;
}

/* Headers in front of the text that batch made, then all of it at once. */
static __always_inline enum xc_outcome reply_batch(struct xc_ctx *c)
{
	__u16 udp_len_be = __builtin_bswap16(UDP_LEN + c->reply_len);
	__u64 head_len = c->l4_off + UDP_LEN + FRAME_LEN;
	void *frame = c->scratch->head + masked(XC_HEAD_MAX - head_len, XC_HEAD_MAX - 1);
	void *ip = frame + masked(c->l3_off, 31);

	reply_ether(c, frame);
	if (c->ip6) {
		reply_ip6(c, ip, udp_len_be);
		reply_udp(c, ip + IP6_LEN, udp_len_be);
	} else {
		reply_ip4(c, ip);
		reply_udp(c, ip + IP4_LEN, udp_len_be);
	}
	if (reply_copy(c, 0, frame, c->frame_len, XC_HEAD_MAX + XC_TEXT_OUT_MAX))
		return XC_drop_broken;
	return c->hit;
}

static __always_inline enum xc_outcome reply(struct xc_ctx *c)
{
	__u64 key_off = c->l4_off + UDP_LEN + FRAME_LEN + XC_HEAD_LEN;
	__u64 suffix_off = key_off + c->key_len;
	__u64 value_off = suffix_off + c->entry.suffix_len + c->cas_len + 2;

	if (!c->tc)
		ctx_reload(c);
	if (c->batch)
		return reply_batch(c);
	if (c->tc)
		return reply_tc(c, suffix_off);
	if (reply_log(c, key_off, c->log_key, c->key_len, XC_KEY_MAX) != XC_NEXT ||
	    reply_headers(c) != XC_NEXT || reply_text(c, suffix_off) != XC_NEXT ||
	    reply_value(c, value_off) != XC_NEXT)
		return XC_drop_broken;
	return c->hit;
}

#endif
