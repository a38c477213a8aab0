/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * limits - bounds that the kernel program and the daemon both rely on.
 *
 * Does      names every bound of the contract once and asserts how the bounds depend on each other.
 * Units     bytes unless the name says otherwise.
 * Source    keys and values: memcached doc/protocol.txt; log addressing: docs/abi.md.
 */
#ifndef XC_ABI_LIMITS_H
#define XC_ABI_LIMITS_H

/* A memcached text key is 1 to 250 bytes. */
#define XC_KEY_MAX 250

/*
 * Largest value the kernel serves: a one-byte key with flags 0 and a value of 1441 bytes fills an
 * IPv4 datagram of a 1500-byte MTU. Larger values are the daemon's.
 */
#define XC_VALUE_MAX 1456

/* " <flags> <bytes>" with flags up to 4294967295 and bytes up to XC_VALUE_MAX: 1 + 10 + 1 + 4. */
#define XC_SUFFIX_MAX 16
#define XC_SUFFIX_MIN 4 /* " 0 0" */

/*
 * The log. An offset in the log is one 64-bit number: extent (24 bits up), block of 1 MiB (20 bits
 * up), byte. One extent is one inner map of xc_seg. 16 MiB, so that a small -m is met closely and
 * memory can be given back in small steps (docs/decisions/0002).
 */
#define XC_BLOCK_SHIFT 20
#define XC_BLOCK_SIZE (1U << XC_BLOCK_SHIFT)
#define XC_EXTENT_SHIFT 24
#define XC_EXTENT_SIZE (1U << XC_EXTENT_SHIFT)
#define XC_EXTENT_BLOCKS (XC_EXTENT_SIZE / XC_BLOCK_SIZE)
#define XC_EXTENT_MAX 16384 /* 256 GiB */

/*
 * The last bytes of a block that no resident item may start in, so that one comparison proves key
 * and value to lie inside the block. The store starts no item there.
 */
#define XC_BLOCK_TAIL 2048

/* Bytes that always precede a key in the log (its item header): the kernel's word-wise compare may
 * read them. */
#define XC_KEY_LEAD 8

/* Sizes the object has when nobody set others (plain bpftool). The daemon may load it with more. */
#define XC_ENTRY_DEFAULT 65536
#define XC_LOCAL_MAX 1024
#define XC_ALLOW_MAX 4096

/* Reply text around a value. */
#define XC_HEAD_LEN 6 /* "VALUE " */
#define XC_TAIL_LEN 7 /* "\r\nEND\r\n" */

/* Keys of one get or gets that the kernel answers; more are the daemon's. */
#define XC_KEYS_MAX 16

/* An item lives up to so much longer than it was told to: expiry is kept in tenths of a second. */
#define XC_EXPIRE_LATE_NS 100000000ULL

/* Routes that hits are counted by. */
#define XC_ROUTE_MAX 1024

/* VLAN tags the parser walks. */
#define XC_VLAN_MAX 2

_Static_assert(XC_KEY_MAX + XC_VALUE_MAX + XC_KEY_LEAD + 8 <= XC_BLOCK_TAIL,
	       "an item that starts before the block's tail ends in it, a word to spare");
_Static_assert(XC_EXTENT_SIZE % XC_BLOCK_SIZE == 0, "an extent is whole blocks");

#endif
