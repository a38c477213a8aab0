/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * csum - the Internet checksums of a reply, from sums that are already known.
 *
 * Does      adds up pseudo header, headers and text; the value's and the key's share comes from the
 *           entry.
 * Shape     sums are wide: 16-bit words in memory order, carries kept above, folded once at the
 *           end. What starts at an odd offset has its bytes swapped in every word, which in one's
 *           complement is the same as times 256: csum_at() shifts instead of swapping.
 * Source    RFC 1071, RFC 768; the partial sums: abi/entry.h.
 */
#ifndef XC_BPF_CSUM_H
#define XC_BPF_CSUM_H

#include <linux/in.h>

#include "abi/wire.h"
#include "ctx.bpf.h"
#include "maps.bpf.h"
#include "parse_packet.bpf.h"

/* "\r\nEND\r\n" from an even offset: 0d0a 454e 440d 0a00, as memory-order words. */
#define CSUM_TAIL (0x0a0dULL + 0x4e45 + 0x0d44 + 0x0a)

static __always_inline __u64 csum_at(__u64 sum, __u64 offset)
{
	return sum << 8 * (offset & 1);
}

static __always_inline __u64 csum_words(__u64 a, __u64 b)
{
	return (__u32)a + (a >> 32) + (__u32)b + (b >> 32);
}

/* Sums stay below 2^48 here. */
static __always_inline __u16 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* IPv4 header of the reply: what is not constant is the length and the two addresses. */
static __always_inline __u16 csum_ip4(const struct xc_ctx *c, __u16 total_len_be)
{
	return csum_fold(0x0045ULL + 0x0040 + (64 | IPPROTO_UDP << 8) + total_len_be +
			 (c->src[1] >> 32) + (c->dst[1] >> 32));
}

/* "VALUE" to the value's last byte, `offset` behind the frame header (an even place: 8 + 8). */
static __always_inline __u64 csum_item(const struct xc_ctx *c, __u64 offset)
{
	__u64 sum = csum_at(c->entry.head_csum, offset);

	offset += XC_HEAD_LEN + c->key_len + c->entry.suffix_len;
	if (c->gets) {
		sum += csum_at(csum_words(c->cas[0], c->cas[1]) + (__u32)c->cas[2] +
				       (c->cas[2] >> 32),
			       offset);
		offset += c->cas_len;
	}
	sum += csum_at(XC_WORD_CRLF, offset);
	return sum + csum_at(c->entry.value_csum, offset + 2);
}

static __always_inline __u64 csum_text(const struct xc_ctx *c)
{
	if (c->batch)
		return c->scratch->sum;
	return csum_item(c, 0) + csum_at(CSUM_TAIL, c->reply_len - FRAME_LEN - XC_TAIL_LEN);
}

/* UDP with pseudo header; never 0, which would mean "none". Swapping the ends changes no sum. */
static __always_inline __u16 csum_udp(const struct xc_ctx *c, __u16 udp_len_be)
{
	__u64 sum = csum_text(c);
	__u16 csum;

	/* frame header: id, 0, 1, 0 */
	sum += (__u64)c->request_id + 0x0100;
	sum += (__u64)c->ports + udp_len_be;
	sum += (IPPROTO_UDP << 8) + udp_len_be;
	if (c->ip6)
		sum += csum_words(c->src[0], c->src[1]) + csum_words(c->dst[0], c->dst[1]);
	else
		sum += (c->src[1] >> 32) + (c->dst[1] >> 32);
	csum = csum_fold(sum);
	return csum ? csum : 0xffff;
}

#endif
