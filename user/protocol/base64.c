/* SPDX-License-Identifier: BSD-2-Clause */
#include "protocol/base64.h"

#define PAD '='

/* The six bits that a character stands for; -1: none. */
static int32_t bits_of(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static uint8_t char_of(uint32_t bits)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	return (uint8_t)alphabet[bits & 63];
}

static size_t pad_cnt(struct span text)
{
	size_t cnt = 0;

	while (cnt < 2 && text.ptr[text.len - 1 - cnt] == PAD)
		cnt++;
	return cnt;
}

size_t base64_decoded_len(struct span text)
{
	size_t pads;

	if (text.len == 0 || text.len % 4 != 0)
		return 0;
	pads = pad_cnt(text);
	for (size_t i = 0; i < text.len - pads; i++) {
		if (bits_of(text.ptr[i]) < 0)
			return 0;
	}
	return text.len / 4 * 3 - pads;
}

void base64_decode(struct span text, uint8_t *to)
{
	size_t char_cnt = text.len - pad_cnt(text);
	uint32_t bits = 0, bit_cnt = 0;

	for (size_t i = 0; i < char_cnt; i++) {
		bits = bits << 6 | (uint32_t)bits_of(text.ptr[i]);
		bit_cnt += 6;
		if (bit_cnt >= 8) {
			bit_cnt -= 8;
			*to++ = (uint8_t)(bits >> bit_cnt);
		}
	}
}

size_t base64_encode(struct span bytes, uint8_t *to)
{
	uint8_t *pos = to;

	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t left = bytes.len - i;
		uint32_t bits = (uint32_t)bytes.ptr[i] << 16;

		if (left > 1)
			bits |= (uint32_t)bytes.ptr[i + 1] << 8;
		if (left > 2)
			bits |= bytes.ptr[i + 2];
		*pos++ = char_of(bits >> 18);
		*pos++ = char_of(bits >> 12);
		*pos++ = left > 1 ? char_of(bits >> 6) : PAD;
		*pos++ = left > 2 ? char_of(bits) : PAD;
	}
	return (size_t)(pos - to);
}
