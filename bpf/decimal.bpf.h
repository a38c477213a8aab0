/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * decimal - a 64-bit number as text, in registers.
 *
 * Does      renders a space and the digits of a number without leading zeros.
 * Shape     three words in memory order, first byte lowest; bytes behind the last digit are 0.
 * Why       no table (that would be a .rodata map) and no branch (each would give the verifier one
 *           more length to follow through the whole reply). Eight digits are split by multiplying,
 *           the lanes halved each time: 4 + 4, then 2 + 2, then 1 + 1 digits.
 */
#ifndef XC_BPF_DECIMAL_H
#define XC_BPF_DECIMAL_H

#include <linux/types.h>

#include "verifier.bpf.h"

#define DECIMAL_BYTES(b) (0x0101010101010101ULL * (b))
#define DECIMAL_E8 100000000ULL
#define DECIMAL_E16 10000000000000000ULL

/* n < 10^8 as eight digits 0 to 9, one a byte, the highest in the lowest byte. */
static __always_inline __u64 decimal_eight(__u64 n)
{
	__u64 quotient, lanes;

	lanes = n / 10000 | n % 10000 << 32;
	/* 10486 / 2^20 is 1/100, exact in the quotient for lanes below 10^4 */
	quotient = (lanes * 10486) >> 20 & 0x0000007f0000007fULL;
	lanes = quotient | (lanes - quotient * 100) << 16;
	/* 103 / 2^10 is 1/10, exact in the quotient for lanes below 10^2 */
	quotient = (lanes * 103) >> 10 & 0x000f000f000f000fULL;
	return quotient | (lanes - quotient * 10) << 8;
}

/* Bytes of 0 that the word begins with, 0 to 7: not all are 0; bytes are at most 9. */
static __always_inline __u64 decimal_zeros(__u64 digits)
{
	digits |= digits << 8;
	digits |= digits << 16;
	digits |= digits << 32;
	/* a byte is now 0 only if all before it are: count the others */
	digits = (digits + DECIMAL_BYTES(0x7f)) >> 7 & DECIMAL_BYTES(1);
	return (8 - (digits * DECIMAL_BYTES(1) >> 56)) & 7;
}

/* b if choice is 1, a if it is 0. */
static __always_inline __u64 decimal_pick(__u64 choice, __u64 a, __u64 b)
{
	__u64 mask = -choice;

	opaque(mask);
	return (a & ~mask) | (b & mask);
}

/* Returns the length, 2 to 21. */
static __always_inline __u64 decimal_render(__u64 number, __u64 ret_words[3])
{
	__u64 high = number / DECIMAL_E16, mid = number / DECIMAL_E8, low;
	__u64 no_high = is_zero(high), no_mid = is_zero(mid);
	__u64 zeros, shift;

	/* Digits in three words, 8 each; the first word that has any to the front. */
	high = decimal_eight(high);
	mid = decimal_eight(mid % DECIMAL_E8);
	low = decimal_eight(number % DECIMAL_E8);
	high = decimal_pick(no_mid, decimal_pick(no_high, high, mid), low);
	mid = decimal_pick(no_mid, decimal_pick(no_high, mid, low), 0);
	low = decimal_pick(no_high, low, 0);
	/* What is left in front, but for the digit of 0 itself; to ASCII, then shifted out. */
	zeros = decimal_zeros(high | 1ULL << 56);
	shift = 8 * zeros;
	high += DECIMAL_BYTES('0');
	mid += DECIMAL_BYTES('0') & (no_mid - 1);
	low += DECIMAL_BYTES('0') & (no_high - 1);
	high = high >> shift | mid << 8 << (56 - shift);
	mid = mid >> shift | low << 8 << (56 - shift);
	low >>= shift;
	/* 20 digits at most: the last word's top byte is free. */
	ret_words[0] = high << 8 | ' ';
	ret_words[1] = mid << 8 | high >> 56;
	ret_words[2] = low << 8 | mid >> 56;
	return masked(25 - zeros - 8 * (no_high + no_mid), 31);
}

#endif
