/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * csum - the Internet checksum's sum.
 *
 * Does      sums bytes as 16-bit words in one's complement, in memory order, so that partial sums
 *           can be stored and joined.
 * Shape     a folded 16-bit sum, not inverted. Bytes summed at an odd offset of the whole need
 *           csum_swap().
 * Source    RFC 1071.
 */
#ifndef XC_BASE_CSUM_H
#define XC_BASE_CSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t csum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Sum of the bytes as if they began at an even offset. */
static inline uint16_t csum_of(const void *bytes, size_t len)
{
	const uint8_t *pos = bytes;
	uint64_t sum = 0;

	for (; len >= 4; pos += 4, len -= 4) {
		uint32_t word;

		memcpy(&word, pos, 4);
		sum += word;
	}
	if (len >= 2) {
		uint16_t word;

		memcpy(&word, pos, 2);
		sum += word;
		pos += 2;
		len -= 2;
	}
	if (len) {
		uint16_t word = 0;

		memcpy(&word, pos, 1); /* a zero byte behind it, whatever the byte order */
		sum += word;
	}
	return csum_fold(sum);
}

static inline uint16_t csum_swap(uint16_t sum)
{
	return (uint16_t)(sum << 8 | sum >> 8);
}

#endif
