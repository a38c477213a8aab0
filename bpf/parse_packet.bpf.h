/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * parse_packet - Ethernet, up to two tags, IPv4 or IPv6, UDP.
 *
 * Does      finds the UDP datagram, checks every length against the frame, keeps the addresses.
 * Shape     [MACs 12][tag 4]{0..2}[type 2][IPv4 20 | IPv6 40][UDP 8][payload][Ethernet padding]
 * Errors    a named pass each for what it does not walk; never writes.
 * Rule      IP and UDP must agree on where the datagram ends; the frame may be longer (padding of
 *           short frames). Options, fragments and extension headers are the stack's.
 * Source    RFC 791, 768, 8200; IEEE 802.1Q and 802.1ad. Sums of requests are not checked, as the
 *           virtual links deliver packets whose UDP sum was never finished.
 */
#ifndef XC_BPF_PARSE_PACKET_H
#define XC_BPF_PARSE_PACKET_H

#include <linux/in.h>
#include <linux/in6.h>

#include "ctx.bpf.h"

/* Shortest frame with UDP in it: Ethernet, IPv4, UDP. */
#define FRAME_MIN 42

#define ETH_TYPE_IP4 0x0008 /* 0x0800 in memory order, as the others here */
#define ETH_TYPE_IP6 0xdd86
#define ETH_TYPE_TAG 0x0081  /* 802.1Q */
#define ETH_TYPE_STAG 0xa888 /* 802.1ad */

#define IP4_LEN 20
#define IP6_LEN 40
#define UDP_LEN 8
#define FRAME_LEN 8	     /* memcached's own header, struct xc_udp_frame */
#define IP4_VERSION_LEN 0x45 /* version 4, 5 words */
#define IP4_FRAGMENT 0xff3f  /* more-fragments bit and offset: 0x3fff in memory order */

/* ::ffff:0:0/96 as the upper half's second word. */
#define IP4_MAPPED 0xffff0000ULL

static __always_inline __u64 is_tag(__u16 type)
{
	return is_zero(type ^ ETH_TYPE_TAG) | is_zero(type ^ ETH_TYPE_STAG);
}

/* Where UDP is known to be: lengths, ports. ip_payload_len is what IP says follows its header. */
static __always_inline enum xc_outcome parse_packet_udp(struct xc_ctx *c, const void *udp,
							__u64 ip_payload_len, __u64 room)
{
	c->ports = load32(udp);
	c->udp_len = __builtin_bswap16(load16(udp + 4));
	if (c->udp_len != ip_payload_len || c->udp_len < UDP_LEN || c->udp_len > room)
		return XC_pass_length;
	return XC_NEXT;
}

/* First byte of the header is not 0x45. */
static __always_inline enum xc_outcome parse_packet_ip4_other(__u8 first)
{
	if (first >> 4 != 4 || (first & 15) < 5)
		return XC_pass_ip_header;
	return XC_pass_ip_options;
}

static __always_inline enum xc_outcome parse_packet_ip4(struct xc_ctx *c, const void *ip)
{
	const __u8 *byte = ip;

	if (ip + IP4_LEN + UDP_LEN > c->data_end)
		return XC_pass_short;
	if (byte[0] != IP4_VERSION_LEN)
		return parse_packet_ip4_other(byte[0]);
	if (load16(ip + 6) & IP4_FRAGMENT)
		return XC_pass_ip_fragment;
	if (byte[9] != IPPROTO_UDP)
		return XC_pass_not_udp;
	c->ip6 = false;
	c->l4_off = c->l3_off + IP4_LEN;
	c->src[0] = 0;
	c->src[1] = IP4_MAPPED | (__u64)load32(ip + 12) << 32;
	c->dst[0] = 0;
	c->dst[1] = IP4_MAPPED | (__u64)load32(ip + 16) << 32;
	return parse_packet_udp(c, ip + IP4_LEN, (__u64)__builtin_bswap16(load16(ip + 2)) - IP4_LEN,
				ctx_frame_len(c) - c->l4_off);
}

/* A next header that is not UDP: extension headers have a counter of their own. */
static __always_inline enum xc_outcome parse_packet_ip6_other(__u8 next)
{
	switch (next) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_FRAGMENT:
	case IPPROTO_ESP:
	case IPPROTO_AH:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
	case 139: /* HIP */
	case 140: /* Shim6 */
		return XC_pass_ip6_extension;
	default:
		return XC_pass_not_udp;
	}
}

static __always_inline enum xc_outcome parse_packet_ip6(struct xc_ctx *c, const void *ip)
{
	const __u8 *byte = ip;

	if (ip + IP6_LEN + UDP_LEN > c->data_end)
		return XC_pass_short;
	if (byte[0] >> 4 != 6)
		return XC_pass_ip_header;
	if (byte[6] != IPPROTO_UDP)
		return parse_packet_ip6_other(byte[6]);
	c->ip6 = true;
	c->l4_off = c->l3_off + IP6_LEN;
	c->src[0] = load64(ip + 8);
	c->src[1] = load64(ip + 16);
	c->dst[0] = load64(ip + 24);
	c->dst[1] = load64(ip + 32);
	return parse_packet_udp(c, ip + IP6_LEN, __builtin_bswap16(load16(ip + 4)),
				ctx_frame_len(c) - c->l4_off);
}

static __always_inline enum xc_outcome parse_packet(struct xc_ctx *c)
{
	const void *data = c->data;
	const void *rest; /* from the last tag or MAC on: type, IP header */
	__u64 tag_cnt, first, second;

	if (data + FRAME_MIN > c->data_end)
		return XC_pass_short;
	c->l2_rest = load64(data + 12);
	c->l2_rest2 = load16(data + 20);
	first = is_tag(load16(data + 12));
	second = first & is_tag(load16(data + 16));
	if (second & is_tag(c->l2_rest2))
		return XC_pass_vlan;
	tag_cnt = first + second;
	c->tagged = first;
	if (c->tc)
		c->tagged |= c->skb->vlan_present;
	c->mac_dst = load64(data) & 0xffffffffffffULL;
	c->mac_src = load16(data + 6) | (__u64)load32(data + 8) << 16;

	rest = data + 12 + tag_cnt * 4;
	if (rest + 2 > c->data_end)
		return XC_pass_short;
	c->l3_off = 14 + tag_cnt * 4;
	if (load16(rest) == ETH_TYPE_IP4)
		return parse_packet_ip4(c, rest + 2);
	if (load16(rest) == ETH_TYPE_IP6)
		return parse_packet_ip6(c, rest + 2);
	return XC_pass_not_ip;
}

#endif
