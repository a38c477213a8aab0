/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * conf - what the daemon tells the kernel program while it runs.
 *
 * Does      defines the one value of xc_conf, the keys and values of xc_local and xc_allow, the tc
 *           hand-over mark, and the names of programs and maps.
 * Shape     xc_conf: ARRAY of 1, mmapable. All zero (nobody configured it): every packet passes.
 * Units     times in boot-time nanoseconds (CLOCK_BOOTTIME); ports and addresses in network order.
 * Owner     the daemon that holds the instance's lock writes; the program reads. digest_key is
 *           written once, by the first daemon, and reused by every later one, so that pinned
 *           entries stay findable.
 * Clock     now_ns = clock_base_ns + bpf_jiffies64() * tick_ns. The kernel advances jiffies by
 *           exactly one per tick_ns of CLOCK_MONOTONIC, so the pair is calibrated once and
 *           corrected for suspends (docs/decisions/0003).
 */
#ifndef XC_ABI_CONF_H
#define XC_ABI_CONF_H

#include <linux/types.h>

#include "abi/limits.h"

#define XC_ABI_MAGIC 0x43504458U /* "XDPC" */
#define XC_ABI_VERSION 1

/* struct xc_conf.options */
#define XC_OPT_TC (1U << 0)	   /* the tc program is attached: hand over what has no room */
#define XC_OPT_NO_TEXT (1U << 1)   /* -B binary: the text protocol is not spoken */
#define XC_OPT_NO_BINARY (1U << 2) /* -B ascii */

struct xc_conf {
	__u32 magic;   /* XC_ABI_MAGIC once a daemon configured the maps */
	__u32 version; /* XC_ABI_VERSION */

	/* Read for every packet to the port: one cache line. */
	__u64 serve_until_ns; /* the lease: nothing is served and nothing dropped from here on */
	__u64 clock_base_ns;
	__u32 tick_ns;
	__be16 port_be; /* UDP port; 0: pass everything */
	__u16 pad;	/* 0 */
	__u64 digest_key[2];
	__u32 flush_gen; /* entries of another generation are not served */
	__u32 options;	 /* XC_OPT_* */

	__u64 flush_at_ns; /* a delayed flush_all: from here on nothing is served; 0: none */
	/* raised by each owner; an older process that sees another number stops */
	__u64 owner_epoch;
	/*
	 * Raised by one after every change of xc_local or xc_allow. The program remembers for up to
	 * XC_VERDICT_MS that a source is allowed at a local address, under this number.
	 */
	__u32 guard_gen;
	__u32 rate_cost_ns; /* of one request to its source's bucket; 0: no limit */
	/* Hash of the object whose programs are pinned in prog/; 0: none known. Daemon only. */
	__u64 object_id;
	__u64 rate_burst_ns; /* a full bucket: this over rate_cost_ns requests */
	__u64 reserved[4];   /* 0 */
};

_Static_assert(sizeof(struct xc_conf) == 128, "xc_conf is two cache lines");

/* xc_local: HASH; addresses served, per interface. IPv4 addresses are written as ::ffff:a.b.c.d. */
struct xc_local_key {
	__u32 ifindex;
	__u8 addr[16];
};

#define XC_LOCAL_ANY_MAC (1U << 0) /* lo: do not compare the destination MAC */
/* address of a VLAN device above: only frames with a tag in them are ours */
#define XC_LOCAL_NEEDS_TAG (1U << 1)

struct xc_local {
	__u8 mac[6];
	__u16 mtu;   /* largest IP packet the reply may be */
	__u32 flags; /* XC_LOCAL_* */
};

/* xc_allow: LPM_TRIE; sources served, IPv4 as ::ffff:a.b.c.d/96+n. The value is a flag word, 1 for
 * allowed. */
struct xc_allow_key {
	__u32 prefix_len; /* bits */
	__u8 addr[16];
};

/*
 * XDP metadata in front of a packet that had no room: "answer this one at tc", at the ingress of
 * this interface and of none above it. Anything else there is not ours.
 */
struct xc_handover {
	__u32 magic; /* XC_HANDOVER_MAGIC */
	__u32 entry_idx;
	__u32 ifindex;
};

#define XC_HANDOVER_MAGIC 0x58435443U

/* How long a remembered verdict lasts when nobody raises guard_gen (a plain bpftool map update). */
#define XC_VERDICT_MS 1000

/*
 * Context of xc_clock (SEC "syscall"), filled by one BPF_PROG_TEST_RUN with ctx_in = ctx_out.
 * jiffies is read before boot_ns, so boot_ns - jiffies * tick_ns is at or after the moment that
 * jiffies 0 would have had: the smallest of samples taken all through two ticks is that moment to
 * within a few microseconds. tick_ns is the kernel's own, (1000000000 + HZ / 2) / HZ, which
 * clock_getres(CLOCK_MONOTONIC_COARSE) tells. clock_base_ns = that moment + tick_ns: one tick
 * ahead, so that between ticks the program's clock is never late and serves nothing past its end.
 */
struct xc_clock_sample {
	__u64 jiffies;
	__u64 boot_ns;
};

/* Names that bpftool and the pins show. */
#define XC_PROG_XDP "xc_fastpath"
#define XC_PROG_TC "xc_tc"
#define XC_PROG_BATCH "xc_batch"
#define XC_PROG_BATCH_TC "xc_batch_tc"
#define XC_PROG_CLOCK "xc_clock"
#define XC_MAP_HOT "xc_hot"
#define XC_MAP_ENTRY "xc_entry"
#define XC_MAP_FILTER "xc_filter"
#define XC_MAP_HITS "xc_hits"
#define XC_MAP_SEG "xc_seg"
#define XC_MAP_CONF "xc_conf"
#define XC_MAP_STATS "xc_stats"
#define XC_MAP_ROUTES "xc_routes"
#define XC_MAP_LOCAL "xc_local"
#define XC_MAP_ALLOW "xc_allow"
#define XC_MAP_HINT "xc_hint"	    /* the program's own, as the next */
#define XC_MAP_VERDICT "xc_verdict" /* the program's own; nobody else reads or writes it */
#define XC_MAP_RATE "xc_rate"	    /* likewise, but that the daemon empties it */
#define XC_MAP_SCRATCH "xc_scratch" /* likewise */
#define XC_MAP_NEXT "xc_next"	    /* what xc_fastpath goes on with, and xc_tc */
#define XC_MAP_NEXT_TC "xc_next_tc"

/* xc_hits: ARRAY, mmapable; what the program tells of each entry. */
struct xc_use {
	__u32 hits;  /* 1 in 2^XC_HIT_SHIFT kernel hits adds 1; wraps */
	__u32 stamp; /* of the last hit: now_ns >> XC_STAMP_SHIFT; 0: none of this version */
};

#define XC_HIT_SHIFT 4
/* 1.07 s: a shift, and fine enough to tell seconds since the last access. */
#define XC_STAMP_SHIFT 30

#endif
