/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * entry - where a resident item is, and how to read it without a lock.
 *
 * Does      defines the value of xc_entry (one cache line an item) and of xc_hot (digest -> entry
 *           number).
 * Shape     xc_hot: struct xc_digest -> __u32 entry number. xc_entry: entry number -> struct
 *           xc_entry. The item's key is at key_loc in the log and its value follows the key's last
 *           byte.
 * Units     expire_ns in boot-time nanoseconds (CLOCK_BOOTTIME); lengths in bytes; checksums are
 *           16-bit one's complement sums, folded, not inverted, as if the summed bytes began at an
 *           even offset.
 * Owner     the daemon writes (user/fastpath/kmap.c alone); the kernel program only reads.
 *
 * Reading   1. read seq; odd: someone is writing, pass. 2. copy the 64 bytes. 3. read seq again;
 *           changed: pass. Only then use the copy. Both reads of seq are ordered against the copy
 *           (bpf/lookup.bpf.h: how, per CPU).
 * Writing   seq + 1 (odd), store barrier, the fields, store barrier, seq + 1 (even). One writer at
 *           a time per entry: the holder of the item's bucket lock in the store.
 * Route     only counts: a hit that falls on its change counts for either route.
 * Vacant    an entry that xc_hot does not name is vacant: the program may come to an entry by a
 *           number that it remembers (xc_hint in bpf/maps.bpf.h) after the name is gone.
 * Filter    xc_filter has a bit for each low word of a digest, shared by many. It is set while a
 *           key under it is in xc_hot; where it is not, the program need not look. A wrong 1 costs
 *           the look, a wrong 0 sends the request to the daemon: neither gives a wrong answer.
 * Log       bytes at key_loc never change while any entry names them, and for one RCU grace period
 *           after; so what a reader copied in step 2 stays readable until its program returns.
 * Source    docs/coherence.md.
 */
#ifndef XC_ABI_ENTRY_H
#define XC_ABI_ENTRY_H

#include <linux/types.h>

#include "abi/hash.h"
#include "abi/limits.h"

enum xc_entry_kind {
	XC_ENTRY_VACANT = 0, /* nothing here: the request passes */
	XC_ENTRY_VALUE = 1,  /* a small item */
	XC_ENTRY_ABSENT = 2, /* the key has no item: answered as a miss; no flags, no value */
};

struct xc_entry {
	__u32 seq;		    /* odd while being written */
	__u8 kind;		    /* enum xc_entry_kind */
	__u8 key_len;		    /* 1..XC_KEY_MAX */
	__u16 value_len;	    /* 0..XC_VALUE_MAX */
	__u64 key_loc;		    /* byte offset in the log of the key's first byte */
	__u64 expire_ns;	    /* not served from here on; 0: never expires */
	__u64 cas;		    /* unique of this version */
	__u32 flush_gen;	    /* served only while equal to xc_conf.flush_gen */
	__u32 flags;		    /* the client's */
	__u16 head_csum;	    /* of "VALUE <key> <flags> <bytes>" */
	__u16 value_csum;	    /* of the value */
	__u8 suffix_len;	    /* bytes of suffix in use */
	__u8 pad;		    /* 0 */
	__u16 route;		    /* number of the key's route; 0: none. Not under seq */
	char suffix[XC_SUFFIX_MAX]; /* " <flags> <bytes>", no terminator, rest 0 */
};

/* 2^21 bits: a hundred thousand keys set one in twenty. 256 KiB stay in a second-level cache. */
#define XC_FILTER_WORDS 32768

static inline __attribute__((always_inline)) __u32 xc_filter_word(__u64 digest_low)
{
	return digest_low >> 32 & (XC_FILTER_WORDS - 1);
}

static inline __attribute__((always_inline)) __u64 xc_filter_bit(__u64 digest_low)
{
	return 1ULL << (digest_low >> 26 & 63);
}

_Static_assert(sizeof(struct xc_entry) == 64, "an entry is one cache line");
_Static_assert(XC_VALUE_MAX <= 0xffff && XC_KEY_MAX <= 0xff, "lengths fit their fields");

#endif
