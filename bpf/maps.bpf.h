/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * maps - every map of the fast path.
 *
 * Does      defines them; nothing else. Before each: key -> value, bytes, writer, readers, when
 *           full.
 * Rule      the daemon may load xc_hot, xc_entry and xc_hits with another max_entries and fills
 *           xc_seg with as many extents as it has: no code may rely on the sizes written here.
 */
#ifndef XC_BPF_MAPS_H
#define XC_BPF_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "abi/conf.h"
#include "abi/entry.h"
#include "abi/hash.h"
#include "abi/limits.h"
#include "abi/outcome.h"

/*
 * 0 -> how to serve now. 128 bytes. Writer: the daemon that owns the instance, through its mapping.
 * Readers: the programs, for every packet. Cannot fill.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xc_conf);
} xc_conf SEC(".maps");

/*
 * Digest of a key -> entry number. About 72 bytes an element, taken at load. Writer: kmap in the
 * daemon. Readers: lookup. Full: kmap refuses the promotion and the key stays with the daemon. Not
 * an LRU map: those evict early and in batches, and what is resident is the daemon's to say.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XC_ENTRY_DEFAULT);
	__type(key, struct xc_digest);
	__type(value, __u32);
} xc_hot SEC(".maps");

/*
 * Bits by digest -> whether xc_hot can have a key there (abi/entry.h). 256 KiB. Writer: kmap,
 * through its mapping. Readers: lookup. Fuller with each resident key, and less use.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XC_FILTER_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} xc_filter SEC(".maps");

/* Slots of xc_hint; a power of two. */
#define XC_HINT_CNT 65536

/*
 * Top of a digest -> entry number that it led to last, and 32 lower bits of the digest. 512 KiB.
 * Writer and reader: lookup, on any CPU (one word, so never torn). Only a short cut past xc_hot:
 * the key compare decides, and a hint that does not lead to a hit counts for nothing. Full: newer
 * wins. Rests on this: an entry that xc_hot does not name is vacant.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XC_HINT_CNT);
	__type(key, __u32);
	__type(value, __u64);
} xc_hint SEC(".maps");

/*
 * Entry number -> where the item is. 64 bytes an entry. Writer: kmap, through its mapping, by the
 * protocol in abi/entry.h. Readers: lookup. Cannot fill: xc_hot hands out the numbers.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XC_ENTRY_DEFAULT);
	__type(key, __u32);
	__type(value, struct xc_entry);
} xc_entry SEC(".maps");

/*
 * Entry number -> sampled kernel hits, and when the last one was. 8 bytes an entry. Writers: finish
 * (an atomic add in one hit of 2^XC_HIT_SHIFT; a stamp, of any CPU, about once a second). Readers:
 * kmap, through its mapping, which also zeroes them for a new version or key. Cannot fill.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XC_ENTRY_DEFAULT);
	__type(key, __u32);
	__type(value, struct xc_use);
} xc_hits SEC(".maps");

/* What every inner map of xc_seg must look like: one extent of the log. */
struct xc_seg_extent {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XC_EXTENT_BLOCKS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, XC_BLOCK_SIZE);
};

/*
 * Extent number -> extent (16 blocks of 1 MiB). 8 bytes a slot, 16 MiB an extent in use. Writers:
 * the loader puts extents in, the store writes their bytes through its mapping. Readers: lookup and
 * reply, in place. An empty slot: pass_log. Full: the log cannot grow past XC_EXTENT_MAX extents.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, XC_EXTENT_MAX);
	__uint(key_size, sizeof(__u32));
	__array(values, struct xc_seg_extent);
} xc_seg SEC(".maps");

/*
 * 0 -> packets by outcome, reply bytes and keys, and sampled times. 1.3 KiB a CPU. Writers: finish,
 * on its own CPU. Readers: the daemon and the command line, which add the CPUs up. Cannot fill.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xc_stats);
} xc_stats SEC(".maps");

/*
 * 0 -> keys answered by route. 16 KiB a CPU. Writers: finish, on its own CPU. Readers: the daemon,
 * which adds the CPUs up. Cannot fill: the daemon has no more routes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xc_routes);
} xc_routes SEC(".maps");

/*
 * Interface and address -> how requests reach it. About 100 bytes an element. Writer: locals in the
 * daemon, from rtnetlink. Readers: guard. Full: the address is not served by the kernel.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XC_LOCAL_MAX);
	__type(key, struct xc_local_key);
	__type(value, struct xc_local);
} xc_local SEC(".maps");

/*
 * Source prefix -> 1 for allowed. About 80 bytes an element, on insert. Writer: allow in the
 * daemon. Readers: guard. Full: the daemon refuses to start with more.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, XC_ALLOW_MAX);
	__type(key, struct xc_allow_key);
	__type(value, __u32);
} xc_allow SEC(".maps");

/* Slots of xc_verdict; a power of two. */
#define XC_VERDICT_CNT 256

/* A way that guard said yes to, and until when that may be repeated without looking again. */
struct xc_verdict {
	__u64 src[2];
	__u64 dst[2];
	__u64 path; /* destination MAC, and whether the frame had a tag */
	__u32 ifindex;
	__u32 guard_gen;
	__u64 until_ns; /* 0: slot not in use */
	__u32 mtu;
	__u32 pad;
};

_Static_assert(sizeof(struct xc_verdict) == 64, "a verdict is one cache line");

/*
 * Hash of a way -> verdict. 16 KiB a CPU. Writer and reader: guard, on its own CPU. Full: the newer
 * way takes the slot, the older looks both maps up again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XC_VERDICT_CNT);
	__type(key, __u32);
	__type(value, struct xc_verdict);
} xc_verdict SEC(".maps");

/* Sets of xc_rate, and sources in one. */
#define XC_RATE_SET_SHIFT 14
#define XC_RATE_WAYS 4

struct xc_rate_bucket {
	__u64 source;  /* IPv4 address or IPv6 network, see bpf/rate.bpf.h */
	__u64 full_ns; /* boot time at which nothing will be missing */
};

struct xc_rate_set {
	struct xc_rate_bucket buckets[XC_RATE_WAYS];
};

_Static_assert(sizeof(struct xc_rate_set) == 64, "a set is one cache line");

/*
 * Hash of a source -> buckets of four. 1 MiB; mmapable, so that a set does not lie across two cache
 * lines. Writer and reader: rate, on any CPU; the daemon zeroes it when the rate changes. Full: a
 * new source takes the bucket of its set that has most left.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1 << XC_RATE_SET_SHIFT);
	__type(key, __u32);
	__type(value, struct xc_rate_set);
} xc_rate SEC(".maps");

/* Text of one datagram, and of its reply, that xc_batch works on; powers of two. */
#define XC_TEXT_IN_MAX 2048
#define XC_TEXT_OUT_MAX 4096
/* Ethernet, two tags, IPv6, UDP, frame header: 78 bytes; a power of two, for a mask. */
#define XC_HEAD_MAX 128
/* What a mask on a place in the text cannot rule out behind its end: a key. */
#define XC_TEXT_SLACK 264

#define XC_META_FLAGS_MAX 8

/* Where xc_batch works: the datagram's payload, and the reply so far. */
struct xc_scratch {
	__u64 key_len; /* of the key at hand, which is in `out` already */
	__u64 now_ns;
	__u64 gets;		 /* 1: reply with cas */
	__u64 pos;		 /* of the next key in `in` */
	__u64 in_len;		 /* bytes in `in` */
	__u64 out_len;		 /* bytes in `out` */
	__u64 sum;		 /* of `out`, wide (bpf/csum.bpf.h) */
	__u64 key_cnt;		 /* answered */
	__u64 absent_cnt;	 /* of these, known absent */
	__u32 used[XC_KEYS_MAX]; /* their entries */
	/* mg: its flags, place << 8 | length, those there are, the one being answered; its item */
	__u32 flags[XC_META_FLAGS_MAX];
	__u64 flag_cnt;
	__u64 flag_bits;
	__u64 flag_at;
	__u64 item_key_len;
	__u64 item_expire_ns;
	__u64 item_cas;
	__u64 item_loc;
	__u64 item_value_sum;
	__u32 item_flags;
	__u32 item_value_len;
	__u8 in[XC_TEXT_IN_MAX + 8]; /* a word may reach over the end */
	/* The reply's headers, ending where its text begins. */
	__u8 head[XC_HEAD_MAX];
	__u8 out[XC_TEXT_OUT_MAX + XC_TEXT_SLACK];
};

/*
 * 0 -> scratch. 6.5 KiB a CPU. Writer and reader: batch, on its own CPU, for one packet. Cannot
 * fill.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xc_scratch);
} xc_scratch SEC(".maps");

int xc_batch(struct xdp_md *xdp);
int xc_batch_tc(struct __sk_buff *skb);

/*
 * 0 -> the program that looks at what xc_fastpath does not know: a program of its own, because one
 * stack does not hold both. Writer: libbpf, when it loads the object. Reader: xc_fastpath. Empty
 * (the map was not pinned, and the loader's process is gone): the packet passes.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} xc_next SEC(".maps") = { .values = { xc_batch } };

/* The same for xc_tc. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct __sk_buff *));
} xc_next_tc SEC(".maps") = { .values = { xc_batch_tc } };

#endif
