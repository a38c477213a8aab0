/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hash - the keyed digest of a cache key.
 *
 * Does      SipHash-c-d with a 128-bit result, fed one 64-bit word at a time so that the kernel
 *           program can read the key straight from the packet. The fast path uses SipHash-1-3.
 * Shape     words are the key's bytes in memory order; the last word holds the len & 7 left-over
 *           bytes, zero padded.
 * Owner     pure functions.
 * Source    Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, with the authors'
 *           128-bit extension. Digests made by others: tests/unit/test_abi_hash.c.
 */
#ifndef XC_ABI_HASH_H
#define XC_ABI_HASH_H

#include <linux/types.h>

struct xc_digest {
	__u64 lo;
	__u64 hi;
};

struct xc_sip {
	__u64 v0, v1, v2, v3;
};

#define XC_SIP_C 1
#define XC_SIP_D 3

static inline __attribute__((always_inline)) __u64 xc_sip_rotl(__u64 x, int b)
{
	return (x << b) | (x >> (64 - b));
}

static inline __attribute__((always_inline)) void xc_sip_round(struct xc_sip *s)
{
	s->v0 += s->v1;
	s->v1 = xc_sip_rotl(s->v1, 13);
	s->v1 ^= s->v0;
	s->v0 = xc_sip_rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = xc_sip_rotl(s->v3, 16);
	s->v3 ^= s->v2;
	s->v0 += s->v3;
	s->v3 = xc_sip_rotl(s->v3, 21);
	s->v3 ^= s->v0;
	s->v2 += s->v1;
	s->v1 = xc_sip_rotl(s->v1, 17);
	s->v1 ^= s->v2;
	s->v2 = xc_sip_rotl(s->v2, 32);
}

static inline __attribute__((always_inline)) void xc_sip_init(struct xc_sip *s, const __u64 key[2])
{
	s->v0 = 0x736f6d6570736575ULL ^ key[0];
	s->v1 = 0x646f72616e646f6dULL ^ key[1] ^ 0xee;
	s->v2 = 0x6c7967656e657261ULL ^ key[0];
	s->v3 = 0x7465646279746573ULL ^ key[1];
}

/* One whole word of the key; c rounds (a constant). */
static inline __attribute__((always_inline)) void xc_sip_word(struct xc_sip *s, __u64 word, int c)
{
	s->v3 ^= word;
	for (int i = 0; i < c; i++)
		xc_sip_round(s);
	s->v0 ^= word;
}

/*
 * The digest's low word: the left-over bytes (0 to 7 of them, zero padded) and the whole key's
 * length; d final rounds (a constant).
 */
static inline __attribute__((always_inline)) __u64 xc_sip_low(struct xc_sip *s, __u64 rest,
							      __u32 len, int c, int d)
{
	xc_sip_word(s, rest | (__u64)(len & 0xff) << 56, c);
	s->v2 ^= 0xee;
	for (int i = 0; i < d; i++)
		xc_sip_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* The high word, after the low one: who can do without it saves d rounds. */
static inline __attribute__((always_inline)) __u64 xc_sip_high(struct xc_sip *s, int d)
{
	s->v1 ^= 0xdd;
	for (int i = 0; i < d; i++)
		xc_sip_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* Both. */
static inline __attribute__((always_inline)) void
xc_sip_final(struct xc_sip *s, __u64 rest, __u32 len, int c, int d, struct xc_digest *ret)
{
	ret->lo = xc_sip_low(s, rest, len, c, d);
	ret->hi = xc_sip_high(s, d);
}

#endif
