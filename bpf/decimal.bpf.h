/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * decimal - a 64-bit number as text, in registers.
 *
 * Does      renders a space and the digits of a number without leading zeros.
 * Shape     three words in memory order, first byte lowest; bytes behind the last digit are 0.
 * Why       no table (that would be a .rodata map), no loop over digits: eight digits are split by
 *           three multiplications, halving the lanes each time (4 + 4, then 2 + 2, then 1 + 1 digits).
 */
#ifndef XC_BPF_DECIMAL_H
#define XC_BPF_DECIMAL_H

#include <linux/types.h>

#include "verifier.bpf.h"

#define DECIMAL_E8 100000000ULL
#define DECIMAL_E16 10000000000000000ULL

/* n < 10^8 as eight ASCII digits, the highest in the lowest byte. */
static __always_inline __u64 decimal_eight(__u64 n)
{
	__u64 quotient, lanes;

	lanes = n / 10000 | n % 10000 << 32;
	/* 10486 / 2^20 is 1/100, exact in the quotient for lanes below 10^4 */
	quotient = (lanes * 10486) >> 20 & 0x0000007f0000007fULL;
	lanes = quotient | (lanes - quotient * 100) << 16;
	/* 103 / 2^10 is 1/10, exact in the quotient for lanes below 10^2 */
	quotient = (lanes * 103) >> 10 & 0x000f000f000f000fULL;
	return (quotient | (lanes - quotient * 10) << 8) + 0x3030303030303030ULL;
}

/* Returns the length, 2 to 21. */
static __always_inline __u64 decimal_render(__u64 number, __u64 ret_words[3])
{
	__u64 high = decimal_eight(number / DECIMAL_E16);
	__u64 mid = decimal_eight(number / DECIMAL_E8 % DECIMAL_E8);
	__u64 low = decimal_eight(number % DECIMAL_E8);
	__u64 len = 24;

	if (number < DECIMAL_E16) {
		high = mid;
		mid = low;
		low = 0;
		len = 16;
	}
	if (number < DECIMAL_E8) {
		high = mid;
		mid = 0;
		len = 8;
	}
	/* At most 7 zeros are left in front, and one digit stays. */
	for (__u32 i = 0; i < 7; i++) {
		if ((high & 0xff) != '0')
			break;
		high = high >> 8 | mid << 56;
		mid = mid >> 8 | low << 56;
		low >>= 8;
		len--;
	}
	/* 20 digits at most: the top word's last byte is free for the shift. */
	ret_words[0] = high << 8 | ' ';
	ret_words[1] = mid << 8 | high >> 56;
	ret_words[2] = low << 8 | mid >> 56;
	return len + 1;
}

#endif
