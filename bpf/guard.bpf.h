/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * guard - is this packet ours, and may its sender have an answer?
 *
 * Does      local address -> port -> honest source -> lease -> allowlist -> rate, in this order.
 * Rule      until a live lease is seen nothing may be dropped: what is not ours, and everything
 *           while no daemon serves, goes on untouched.
 * Verdicts  a way (interface, MAC, tag, both addresses) that was found local, honest and allowed is
 *           remembered per CPU for XC_VERDICT_MS, under the guard_gen read before the maps were.
 *           Only a yes is remembered: a flood of strangers displaces nobody.
 * Threads   programs of one CPU do not interrupt each other (softirq), so slots need no lock.
 * Source    docs/decisions/0005 (what each guard costs); abi/conf.h.
 */
#ifndef XC_BPF_GUARD_H
#define XC_BPF_GUARD_H

#include "clock.bpf.h"
#include "ctx.bpf.h"
#include "maps.bpf.h"
#include "parse_packet.bpf.h"
#include "rate.bpf.h"

/* struct xc_verdict.path, above the MAC's 48 bits */
#define VERDICT_TAGGED (1ULL << 48)
#define VERDICT_IP6 (1ULL << 49)

/* Bit of a MAC's first byte, which is the lowest in memory order. */
#define MAC_GROUP 1

/* ::1, and the first byte of 127.0.0.0/8, of multicast, of broadcast, in memory order. */
#define IP6_LOOPBACK_LO (1ULL << 56)
#define IP4_FIRST(addr) ((__u8)((addr)[1] >> 32))
#define IP4_WORD(addr) ((__u32)((addr)[1] >> 32))

/*
 * No daemon has ever set these maps up, or the last one left them without a port or a digest key.
 */
static __always_inline enum xc_outcome guard_configured(struct xc_ctx *c)
{
	const struct xc_conf *conf;
	__u32 zero = 0;

	conf = bpf_map_lookup_elem(&xc_conf, &zero);
	if (!conf)
		return XC_pass_unconfigured;
	c->conf = conf;
	if (read_once(conf->magic) != XC_ABI_MAGIC || read_once(conf->version) != XC_ABI_VERSION ||
	    !read_once(conf->port_be) || !(read_once(conf->digest_key[0]) | conf->digest_key[1]))
		return XC_pass_unconfigured;
	return XC_NEXT;
}

static __always_inline bool guard_is_mapped(const __u64 addr[2])
{
	return addr[0] == 0 && (__u32)addr[1] == IP4_MAPPED;
}

static __always_inline struct xc_local *guard_find_local(const struct xc_ctx *c, __u32 ifindex)
{
	struct {
		__u32 ifindex;
		__u32 addr[4];
	} key = {
		.ifindex = ifindex,
		.addr = { c->dst[0], c->dst[0] >> 32, c->dst[1], c->dst[1] >> 32 },
	};

	_Static_assert(sizeof(key) == sizeof(struct xc_local_key), "same bytes, words aligned");
	/* An IPv4 address written into an IPv6 header must not find the IPv4 address's element. */
	if (c->ip6 && guard_is_mapped(c->dst))
		return NULL;
	return bpf_map_lookup_elem(&xc_local, &key);
}

static __always_inline enum xc_outcome guard_local(struct xc_ctx *c, const struct xc_local *local)
{
	__u64 mac;

	if (!local)
		return XC_pass_not_local;
	mac = load32(local->mac) | (__u64)load16(local->mac + 4) << 32;
	if (!(local->flags & XC_LOCAL_ANY_MAC) && mac != c->mac_dst)
		return XC_pass_not_local;
	if ((local->flags & XC_LOCAL_NEEDS_TAG) && !c->tagged)
		return XC_pass_not_local;
	c->mtu = local->mtu;
	return XC_NEXT;
}

/* Addresses that cannot be answered, or that only a forger sends over a wire. */
static __always_inline enum xc_outcome guard_source(const struct xc_ctx *c, __u32 local_flags)
{
	bool wire = !(local_flags & XC_LOCAL_ANY_MAC);

	/* "Land": our own address, from outside. */
	if (wire && c->src[0] == c->dst[0] && c->src[1] == c->dst[1])
		return XC_pass_source;
	if (!c->ip6) {
		if (IP4_FIRST(c->src) == 0 || (IP4_FIRST(c->src) & 0xf0) == 0xe0 ||
		    IP4_WORD(c->src) == 0xffffffffU || (wire && IP4_FIRST(c->src) == 127))
			return XC_pass_source;
		return XC_NEXT;
	}
	if ((__u8)c->src[0] == 0xff || guard_is_mapped(c->src))
		return XC_pass_source;
	if (c->src[0] == 0 && (c->src[1] == 0 || (wire && c->src[1] == IP6_LOOPBACK_LO)))
		return XC_pass_source;
	/* 0:ffff::/32, which is nobody's: rate would take its networks for IPv4 addresses. */
	if ((__u32)c->src[0] == IP4_MAPPED)
		return XC_pass_source;
	return XC_NEXT;
}

static __always_inline enum xc_outcome guard_allowed(const struct xc_ctx *c)
{
	struct {
		__u32 prefix_len;
		__u32 addr[4];
	} key = {
		.prefix_len = 128,
		.addr = { c->src[0], c->src[0] >> 32, c->src[1], c->src[1] >> 32 },
	};
	const __u32 *allowed;

	_Static_assert(sizeof(key) == sizeof(struct xc_allow_key), "same bytes, words aligned");
	allowed = bpf_map_lookup_elem(&xc_allow, &key);
	return allowed && (*allowed & 1) ? XC_NEXT : XC_drop_not_allowed;
}

static __always_inline enum xc_outcome guard_port(const struct xc_ctx *c)
{
	return c->ports >> 16 == read_once(c->conf->port_be) ? XC_NEXT : XC_pass_not_port;
}

static __always_inline enum xc_outcome guard_lease(const struct xc_ctx *c)
{
	return c->now_ns < read_once(c->conf->serve_until_ns) ? XC_NEXT : XC_pass_no_lease;
}

/*
 * What no verdict covers: port 0 cannot be answered, a request from our own service's port is
 * another server's (the two would answer each other for ever), a group's MAC is nobody's, and a
 * reply to it would reach everybody. The destination port is known to be ours.
 */
static __always_inline enum xc_outcome guard_sender(const struct xc_ctx *c)
{
	__u16 port = c->ports;

	if (!port || port == c->ports >> 16 || (c->mac_src & MAC_GROUP))
		return XC_pass_source;
	return XC_NEXT;
}

static __always_inline struct xc_verdict *guard_verdict(const struct xc_ctx *c)
{
	__u64 mix = (c->src[0] ^ c->src[1] ^ c->dst[1] >> 7) * 0x9e3779b97f4a7c15ULL;
	__u32 slot = mix >> 56;

	_Static_assert(XC_VERDICT_CNT == 256, "slot is the product's top 8 bits");
	return bpf_map_lookup_elem(&xc_verdict, &slot);
}

static __always_inline bool guard_verdict_holds(const struct xc_ctx *c, const struct xc_verdict *v,
						__u64 path, __u32 ifindex, __u32 guard_gen)
{
	return v->src[0] == c->src[0] && v->src[1] == c->src[1] && v->dst[0] == c->dst[0] &&
	       v->dst[1] == c->dst[1] && v->path == path && v->ifindex == ifindex &&
	       v->guard_gen == guard_gen && c->now_ns < v->until_ns;
}

static __always_inline void guard_verdict_keep(const struct xc_ctx *c, struct xc_verdict *v,
					       __u64 path, __u32 ifindex, __u32 guard_gen)
{
	v->src[0] = c->src[0];
	v->src[1] = c->src[1];
	v->dst[0] = c->dst[0];
	v->dst[1] = c->dst[1];
	v->path = path;
	v->ifindex = ifindex;
	v->guard_gen = guard_gen;
	v->mtu = c->mtu;
	v->until_ns = c->now_ns + XC_VERDICT_MS * 1000000ULL;
}

/* The way is not remembered: look at both maps, in the order that decides which counter moves. */
static __always_inline enum xc_outcome guard_look(struct xc_ctx *c, __u32 ifindex)
{
	const struct xc_local *local = guard_find_local(c, ifindex);
	enum xc_outcome outcome = guard_local(c, local);

	if (outcome == XC_NEXT)
		outcome = guard_port(c);
	if (outcome == XC_NEXT)
		outcome = guard_source(c, local->flags);
	if (outcome == XC_NEXT)
		outcome = guard_sender(c);
	if (outcome == XC_NEXT)
		outcome = guard_lease(c);
	if (outcome == XC_NEXT)
		outcome = guard_allowed(c);
	return outcome;
}

static __always_inline enum xc_outcome guard(struct xc_ctx *c)
{
	__u32 guard_gen = read_once(c->conf->guard_gen);
	__u32 ifindex = ctx_ifindex(c);
	__u64 path = c->mac_dst | c->tagged * VERDICT_TAGGED | c->ip6 * VERDICT_IP6;
	struct xc_verdict *verdict = NULL;
	enum xc_outcome outcome;

	c->now_ns = clock_now_ns(c->conf);
	/* A datagram for another port is never remembered; what the maps say names its counter. */
	if (guard_port(c) == XC_NEXT)
		verdict = guard_verdict(c);
	if (verdict && guard_verdict_holds(c, verdict, path, ifindex, guard_gen)) {
		c->mtu = verdict->mtu;
		outcome = guard_sender(c);
		if (outcome == XC_NEXT)
			outcome = guard_lease(c);
	} else {
		outcome = guard_look(c, ifindex);
		if (outcome == XC_NEXT && verdict)
			guard_verdict_keep(c, verdict, path, ifindex, guard_gen);
	}
	return outcome == XC_NEXT ? rate(c) : outcome;
}

#endif
