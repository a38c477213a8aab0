/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * outcome - every way a packet can leave the fast path.
 *
 * Does      one table; expanded to the enum, to the fields of xc_stats (readable in bpftool map
 *           dump) and to names and meanings in user space. Names are the counters' names
 *           everywhere.
 * Rule      hit_*: a reply was sent. drop_*: the packet ends here. pass_*: the packet went on, byte
 *           for byte as it came. finish() in bpf/finish.bpf.h alone turns an outcome into a counter
 *           and an action.
 */
#ifndef XC_ABI_OUTCOME_H
#define XC_ABI_OUTCOME_H

#include <linux/types.h>

#include "abi/limits.h"
#include "abi/times.h"

/* X(name, meaning); order is ABI: new rows go to the end of the table. */
#define XC_OUTCOMES(X)                                                                             \
	X(hit_tail, "answered in the driver, packet grown at its end")                             \
	X(hit_head, "answered in the driver, packet grown at its front")                           \
	X(hit_tc, "answered at tc ingress, no room in the driver's frame")                         \
	X(drop_not_allowed, "source not in the allowlist")                                         \
	X(drop_broken, "packet could not be finished after its first changed byte")                \
	X(pass_not_local, "not addressed to this interface's MAC and an address served here")      \
	X(pass_not_ip, "neither IPv4 nor IPv6")                                                    \
	X(pass_vlan, "more VLAN tags than the parser walks")                                       \
	X(pass_short, "shorter than its headers say")                                              \
	X(pass_ip_options, "IPv4 header with options")                                             \
	X(pass_ip_fragment, "IPv4 fragment")                                                       \
	X(pass_ip_header, "bad IP version or header length")                                       \
	X(pass_ip6_extension, "IPv6 extension header or fragment")                                 \
	X(pass_not_udp, "not UDP")                                                                 \
	X(pass_length, "IP or UDP length disagrees with the frame")                                \
	X(pass_not_port, "another UDP port")                                                       \
	X(pass_source, "source MAC, address or port that no honest client has")                    \
	X(pass_unconfigured, "no daemon has configured these maps yet")                            \
	X(pass_no_lease, "the daemon's lease has run out")                                         \
	X(pass_frame, "UDP frame header: several datagrams, or reserved bits set")                 \
	X(pass_verb, "not a get, gets or mg, or not in a protocol that is spoken")                 \
	X(pass_line, "line does not end with CR LF at the datagram's end")                         \
	X(pass_key_len, "key empty or over 250 bytes")                                             \
	X(pass_key_bytes, "control byte in a key, or a blank where no key follows")                \
	X(pass_miss, "key not resident")                                                           \
	X(pass_vacant, "entry emptied by a write or delete")                                       \
	X(pass_busy, "entry was being switched")                                                   \
	X(pass_other_key, "entry belongs to another key with the same digest")                     \
	X(pass_expired, "TTL has run out")                                                         \
	X(pass_flushed, "flush_all covers this entry")                                             \
	X(pass_log, "entry names bytes outside the log")                                           \
	X(pass_mtu, "reply larger than the interface's MTU")                                       \
	X(pass_no_room, "packet could not grow, neither here nor at tc")                           \
	X(pass_keys, "more than 16 keys, or more text than the program reads")                     \
	X(pass_binary, "binary request that is no get or noop, or whose header does not add up")   \
	X(pass_meta, "mg with a flag that the kernel does not answer, or a wrong one")             \
	X(pass_absent, "key known absent, and nothing to say to a quiet request")                  \
	X(drop_rate, "source over its --rate-limit")

enum xc_outcome {
	XC_NEXT = -1, /* stage done, go on */
#define X(name, meaning) XC_##name,
	XC_OUTCOMES(X)
#undef X
		XC_OUTCOME_CNT
};

/* A power of two: a mask bounds an outcome, and more outcomes change no map. */
#define XC_STATS_WORDS 64

/* xc_stats.timed: the next request is the one to be timed; above: when its packet came. */
#define XC_TIME_NEXT 1

/* Value of xc_stats, one per CPU: packets by outcome, what replies carried, and sampled times. */
struct xc_stats {
#define X(name, meaning) __u64 name;
	XC_OUTCOMES(X)
#undef X
	__u64 spare[XC_STATS_WORDS - 3 - XC_OUTCOME_CNT]; /* 0, for outcomes to come */
	__u64 absent_keys;				  /* of the keys answered, known absent */
	__u64 reply_bytes;				  /* UDP payload */
	__u64 more_keys; /* keys answered behind the first of their datagram */
	/* Requests of the sample, in the driver: answered there, and passed or dropped. */
	__u64 hit_times[XC_TIME_BUCKETS];
	__u64 other_times[XC_TIME_BUCKETS];
	__u64 timed; /* XC_TIME_NEXT, or bpf_ktime_get_ns(); 0: nothing is timed */
};

/* Keys answered of one route. */
struct xc_route_use {
	__u64 hits;   /* with their values */
	__u64 absent; /* as having none */
};

/* Value of xc_routes, one per CPU; use[n] is of route number n. */
struct xc_routes {
	struct xc_route_use use[XC_ROUTE_MAX + 1]; /* [0]: of no route; not counted */
};

_Static_assert(__builtin_offsetof(struct xc_stats, hit_times) == XC_STATS_WORDS * 8,
	       "xc_stats begins with an array of counters by outcome");

#endif
