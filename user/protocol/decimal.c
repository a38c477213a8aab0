/* SPDX-License-Identifier: BSD-2-Clause */
#include "protocol/decimal.h"

static bool is_white(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Sign and magnitude; false when there is no number or the magnitude does not fit 64 bits. */
static bool parse(struct span text, bool *ret_negative, uint64_t *ret_magnitude)
{
	const uint8_t *pos = text.ptr;
	const uint8_t *end = text.ptr + text.len;
	const uint8_t *digits;
	uint64_t number = 0;
	bool negative = false;

	while (pos < end && is_white(*pos))
		pos++;
	if (pos < end && (*pos == '-' || *pos == '+'))
		negative = *pos++ == '-';
	digits = pos;
	while (pos < end && *pos >= '0' && *pos <= '9') {
		if (__builtin_mul_overflow(number, 10U, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*pos - '0'), &number))
			return false;
		pos++;
	}
	if (pos == digits || (pos < end && !is_white(*pos)))
		return false;
	*ret_negative = negative;
	*ret_magnitude = number;
	return true;
}

bool decimal_parse_u64(struct span text, uint64_t *ret)
{
	uint64_t magnitude;
	bool negative;

	if (!parse(text, &negative, &magnitude) || (negative && magnitude != 0))
		return false;
	*ret = magnitude;
	return true;
}

bool decimal_parse_i64(struct span text, int64_t *ret)
{
	uint64_t magnitude;
	bool negative;

	if (!parse(text, &negative, &magnitude) || magnitude > (uint64_t)INT64_MAX + negative)
		return false;
	*ret = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
	return true;
}

uint32_t decimal_put(uint8_t *to, uint64_t number)
{
	uint8_t digits[DECIMAL_MAX];
	uint32_t len = 0;

	do {
		digits[DECIMAL_MAX - ++len] = (uint8_t)('0' + number % 10);
		number /= 10;
	} while (number);
	for (uint32_t i = 0; i < len; i++)
		to[i] = digits[DECIMAL_MAX - len + i];
	return len;
}
